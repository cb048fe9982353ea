//! `jobrun doctor`: looks at everything that the programs need, and says for each fault what to do. It changes nothing.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_onboarding::Name;
use jobrun_onboarding::wording_file::Language;
use jobrun_shared::db::server::{self, ServerFacts};
use jobrun_shared::db::stops::{self, Stop};
use jobrun_shared::db::{self, installation, restores};
use jobrun_shared::numbers::account_check::{Ours, compare};
use jobrun_shared::numbers::status;
use jobrun_shared::stripe_account::{self, Account};
use jobrun_shared::{clock, config, liveness};
use jobrun_twilio::api::{Api, use_tls_provider};
use jobrun_twilio::webhooks;
use serde::Serialize;
use sqlx::PgPool;

use crate::table::{self, Column};
use crate::{CONNECTIONS, MINUTE};

const COLUMNS: [Column; 3] = [Column::text("CHECK", 14), Column::state("RESULT", 7), Column::text("FINDING", 0)];

/// The oldest version of PostgreSQL that the programs are tested with.
const VERSION_MIN: i32 = 150_000;

/// The connections of an ingress, two workers and a command.
const CONNECTIONS_MIN: i32 = 70;

/// A commit of received events locks up to 500 lanes, and others lock rows beside it.
const LOCKS_MIN: i32 = 5_000;

/// The clocks of this machine and of the database may differ by this much.
const CLOCKS_DIFFER_MAX: TimeDelta = TimeDelta::seconds(2);

/// A transaction that is open for longer keeps the database from tidying up, and perhaps others from their locks.
const TRANSACTION_AGE_MAX: TimeDelta = TimeDelta::minutes(10);

/// The time whose events are listed, to see whether they can be.
const LISTED_FOR: TimeDelta = TimeDelta::days(1);

/// How long the public address may take to answer.
const PUBLIC_TIMEOUT: Duration = Duration::from_secs(10);

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    /// All is well.
    Ok,
    /// It works, and can be better.
    Warning,
    /// It does not work.
    Fault,
    /// It could not be looked at.
    Skipped,
}

/// The result of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    check: &'static str,
    verdict: Verdict,
    finding: String,
    /// What to do about it.
    remedy: Option<String>,
}

fn ok(check: &'static str, finding: impl Into<String>) -> Finding {
    Finding { check, verdict: Verdict::Ok, finding: finding.into(), remedy: None }
}

fn warning(check: &'static str, finding: impl Into<String>, remedy: &str) -> Finding {
    Finding { check, verdict: Verdict::Warning, finding: finding.into(), remedy: Some(remedy.to_owned()) }
}

fn fault(check: &'static str, finding: impl Into<String>, remedy: &str) -> Finding {
    Finding { check, verdict: Verdict::Fault, finding: finding.into(), remedy: Some(remedy.to_owned()) }
}

fn skipped(check: &'static str, finding: &str) -> Finding {
    Finding { check, verdict: Verdict::Skipped, finding: finding.to_owned(), remedy: None }
}

/// Prints every finding. Returns exit status 1 if there is a fault.
///
/// # Errors
/// When the output fails.
pub async fn run(json: bool) -> anyhow::Result<ExitCode> {
    let findings = find_all().await;
    let mut out = table::stdout();
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&findings)?)?;
    } else {
        table::print(&mut out, &COLUMNS, findings.iter().map(row).collect())?;
    }
    let is_well = findings.iter().all(|finding| finding.verdict != Verdict::Fault);
    Ok(ExitCode::from(u8::from(!is_well)))
}

fn row(finding: &Finding) -> Vec<String> {
    let verdict = match finding.verdict {
        Verdict::Ok => "ok",
        Verdict::Warning => "warning",
        Verdict::Fault => "FAULT",
        Verdict::Skipped => "skipped",
    };
    let remedy = finding.remedy.as_ref().map(|remedy| format!("\n→ {remedy}")).unwrap_or_default();
    vec![finding.check.to_owned(), verdict.to_owned(), format!("{}{remedy}", finding.finding)]
}

async fn find_all() -> Vec<Finding> {
    let (ingress, worker) = (config::Ingress::from_env(), config::Worker::from_env());
    let mut findings = vec![
        check_settings("jobrun-ingress", ingress.as_ref().err()),
        check_settings("jobrun-worker", worker.as_ref().err()),
    ];
    findings.push(check_wordings());
    let pool = match connect().await {
        Ok(pool) => Some(pool),
        Err(finding) => {
            findings.push(finding);
            None
        }
    };
    match &pool {
        Some(pool) => findings.extend(check_database(pool).await),
        None => findings.extend(
            ["migrations", "clock", "restore", "workers", "stops", "alerts"]
                .map(|check| skipped(check, "there is no database to ask")),
        ),
    }
    findings.push(check_twilio(pool.as_ref()).await);
    findings.push(match (&ingress, &worker) {
        (Ok(ingress), Ok(worker)) => check_stripe(ingress, worker, pool.as_ref()).await,
        _ => skipped("stripe", "the settings of the programs are not complete"),
    });
    findings.push(match &worker {
        Ok(worker) => check_stripe_key(worker, pool.as_ref()).await,
        Err(_) => skipped("stripe key", "the settings of the worker are not complete"),
    });
    findings.push(match &ingress {
        Ok(ingress) => check_public_address(ingress).await,
        Err(_) => skipped("public address", "the settings of the ingress are not complete"),
    });
    findings
}

/// A program that runs elsewhere may have other settings: these are the ones of this environment.
fn check_settings(program: &str, problems: Option<&config::Problems>) -> Finding {
    match problems {
        None => ok("settings", format!("those of {program} make sense")),
        Some(problems) => fault(
            "settings",
            format!("{program} would not start with the settings of this environment: {problems}"),
            "set them as deploy/guide/settings.md says; `jobrun settings` shows where each comes from",
        ),
    }
}

/// The faults of the file are among those of the settings.
fn check_wordings() -> Finding {
    let Ok(wordings) = config::wordings() else {
        return skipped("wordings", "the settings of the worker are not complete");
    };
    let changed = wordings.previews(Language::EnGb).iter().filter(|it| it.is_changed).count();
    ok("wordings", format!("{changed} of {} are changed by WORDING_FILE", Name::ALL.len()))
}

async fn connect() -> Result<PgPool, Finding> {
    const REMEDY: &str =
        "see that the server runs, and that DATABASE_URL names it, its database and a role that may log in";
    let settings = config::Operator::from_env()
        .map_err(|problems| fault("database", problems.to_string(), "set them as deploy/guide/settings.md says"))?;
    let Some(url) = settings.database_url else {
        return Err(fault("database", "DATABASE_URL is not set", "set it to postgres://user:password@host/database"));
    };
    db::connect(&url, CONNECTIONS).await.map_err(|error| fault("database", error.to_string(), REMEDY))
}

async fn check_database(pool: &PgPool) -> Vec<Finding> {
    let mut findings = Vec::new();
    match db::ensure_migrated(pool).await {
        Ok(()) => findings.push(ok("migrations", "all that this version knows are applied")),
        Err(error) => {
            findings.push(fault(
                "migrations",
                error.to_string(),
                "run `jobrun migrate`; the programs may go on meanwhile",
            ));
            // The tables that are asked below may be missing.
            return findings;
        }
    }
    let now = clock::now();
    let facts = async {
        let mut conn = pool.acquire().await?;
        let asked_at = clock::now();
        Ok::<_, db::Error>((server::find_facts(&mut conn).await?, asked_at))
    };
    match facts.await {
        Ok((facts, asked_at)) => findings.extend(judge(&facts, asked_at, clock::now())),
        Err(error) => findings.push(fault("database", error.to_string(), "see the server's log")),
    }
    findings.push(check_restores(pool).await);
    findings.extend(check_work(pool, now).await);
    findings.extend(check_stops(pool).await);
    findings
}

/// Looks for a `jobrun restored` that was cut short.
async fn check_restores(pool: &PgPool) -> Finding {
    let unfinished = async { restores::find_unfinished(&mut *pool.acquire().await?).await };
    match unfinished.await {
        Ok(None) => ok("restore", "none is unfinished"),
        Ok(Some(at)) => fault(
            "restore",
            format!("`jobrun restored` of {} was cut short, and texts may be missing", at.format(MINUTE)),
            "stop every ingress and worker, run `jobrun restored` again, and start them",
        ),
        Err(error) => fault("restore", error.to_string(), "see the server's log"),
    }
}

/// Names what operators have stopped.
async fn check_stops(pool: &PgPool) -> Vec<Finding> {
    let stopped = async { stops::list(&mut *pool.acquire().await?).await };
    match stopped.await {
        Ok(stopped) if stopped.is_empty() => vec![ok("stops", "nothing is stopped")],
        Ok(stopped) => stopped.iter().map(stop_finding).collect(),
        Err(error) => vec![fault("stops", error.to_string(), "see the server's log")],
    }
}

fn stop_finding(stop: &Stop) -> Finding {
    let Stop { what, stopped_at, stopped_by, why } = stop;
    let finding = format!("{} stopped since {} by {stopped_by}: {why}", what.is(), stopped_at.format(MINUTE));
    warning("stops", finding, &format!("run `jobrun start {}` when the reason is gone", what.name()))
}

/// Judges the server, which was asked at `asked_at` and has answered by `now`. Pure.
fn judge(facts: &ServerFacts, asked_at: DateTime<Utc>, now: DateTime<Utc>) -> Vec<Finding> {
    let version = format!("PostgreSQL {}, as role {}", facts.version, facts.role);
    let locks = facts.max_locks_per_transaction.saturating_mul(facts.max_connections);
    let capacity = format!("{} connections, {locks} locks", facts.max_connections);
    // The server looked at its clock at some time in between.
    let differ = (asked_at - facts.now).max(facts.now - now);
    let open_for = facts.oldest_transaction.map(|since| now - since).filter(|age| *age > TRANSACTION_AGE_MAX);
    vec![
        if facts.version_number < VERSION_MIN {
            fault("database", version, "use PostgreSQL 15 or later")
        } else {
            ok("database", version)
        },
        match (facts.is_encrypted, facts.is_local) {
            (true, _) => ok("encryption", "the connection is encrypted"),
            (false, true) => ok("encryption", "none, and the server is on this machine"),
            (false, false) => warning(
                "encryption",
                "the connection to a server on another machine is not encrypted",
                "set sslmode=verify-full, and sslrootcert, in DATABASE_URL",
            ),
        },
        if facts.is_superuser {
            warning("role", format!("{} may do everything", facts.role), "use a role that only owns the tables")
        } else {
            ok("role", format!("{} is not a superuser", facts.role))
        },
        if facts.survives_power_cuts {
            ok("durability", format!("synchronous_commit is {}", facts.synchronous_commit))
        } else {
            fault(
                "durability",
                "fsync or full_page_writes is off",
                "switch both on: without them a power cut loses clients",
            )
        },
        if facts.max_connections < CONNECTIONS_MIN || locks < LOCKS_MIN {
            warning(
                "capacity",
                capacity,
                "allow 70 connections or more, and 5,000 locks (max_connections × max_locks_per_transaction)",
            )
        } else {
            ok("capacity", capacity)
        },
        if differ > CLOCKS_DIFFER_MAX {
            fault(
                "clock",
                format!("this machine and the database differ by {} s", differ.num_seconds()),
                "keep both by NTP: a signature of Stripe's is refused when it seems five minutes old",
            )
        } else {
            ok("clock", "this machine and the database agree")
        },
        match open_for {
            Some(age) => warning(
                "transactions",
                format!("one has been open for {} min", age.num_minutes()),
                "find it in pg_stat_activity, and end it: it keeps the tables from being tidied up",
            ),
            None if !facts.sees_others => skipped(
                "transactions",
                "those of other roles cannot be seen: grant pg_read_all_stats to this role, and to the worker's",
            ),
            None => ok("transactions", "none has been open for long"),
        },
    ]
}

/// Checks the workers and the alerts.
async fn check_work(pool: &PgPool, now: DateTime<Utc>) -> Vec<Finding> {
    let alerts = match liveness::list_alerts(pool, now).await {
        Ok(alerts) => alerts,
        Err(error) => return vec![fault("workers", error.to_string(), "see the server's log")],
    };
    let (open, computed): (Vec<_>, Vec<_>) = alerts.into_iter().partition(|alert| alert.id.is_some());
    let mut findings: Vec<Finding> = computed
        .iter()
        .map(|alert| fault("workers", format!("{}: {}", alert.cause, alert.about), "see deploy/guide/operating.md"))
        .collect();
    if findings.is_empty() {
        findings.push(ok("workers", "each queue has one, and nothing waits for long"));
    }
    findings.push(match open.len() {
        0 => ok("alerts", "none is open"),
        count => warning("alerts", format!("{count} open"), "run `jobrun alerts`"),
    });
    findings
}

async fn check_twilio(pool: Option<&PgPool>) -> Finding {
    let Ok(settings) = config::Numbers::from_env() else {
        return skipped("twilio", "its settings are not complete");
    };
    let listed = async {
        let api = Api::new(&settings.twilio.account)?;
        anyhow::Ok(api.list_numbers().await?)
    };
    let numbers = match listed.await {
        Ok(numbers) => numbers,
        Err(error) => {
            let remedy =
                "see that TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN belong together, and that Twilio can be reached";
            return fault("twilio", format!("{error:#}"), remedy);
        }
    };
    let Some(pool) = pool else { return ok("twilio", "the credentials are accepted") };
    match pool_numbers(pool, &settings).await {
        Ok(pool) => {
            let account = &settings.twilio.account;
            let onboarding_number = settings.twilio.onboarding_number.as_str();
            let ours = Ours { public_base_url: &account.public_base_url, onboarding_number, pool: &pool };
            match compare(&numbers, &ours).iter().filter(|it| !it.problems.is_empty()).count() {
                0 => ok("twilio", format!("{} numbers are set up", numbers.len())),
                wrong => fault("twilio", format!("{wrong} numbers have problems"), "run `jobrun numbers check`"),
            }
        }
        Err(error) => fault("twilio", format!("{error:#}"), "use the database of this account"),
    }
}

async fn pool_numbers(pool: &PgPool, settings: &config::Numbers) -> anyhow::Result<Vec<String>> {
    if let Some(installation) = installation::find(pool).await? {
        installation.ensure_is_of(settings.twilio.account_kind())?;
    }
    let numbers = status::pool_status(pool, clock::now()).await?.numbers;
    Ok(numbers.into_iter().map(|number| number.phone_e164).collect())
}

async fn check_stripe(ingress: &config::Ingress, worker: &config::Worker, pool: Option<&PgPool>) -> Finding {
    if worker.payment_link.is_none() {
        let remedy = "create a payment link at Stripe, and set PAYMENT_LINK_URL";
        return warning("stripe", "there is no payment link: clients are sent a placeholder", remedy);
    }
    let mode = if ingress.stripe.livemode { "live mode" } else { "test mode" };
    let Some(pool) = pool else { return ok("stripe", mode) };
    let knows_stripe = async { server::knows_stripe(&mut *pool.acquire().await?).await };
    match knows_stripe.await {
        Ok(true) => ok("stripe", format!("{mode}; events have arrived")),
        Ok(false) => warning(
            "stripe",
            format!("{mode}; no event has ever arrived"),
            "create the endpoint as deploy/guide/payments.md says, and send a test event",
        ),
        Err(error) => fault("stripe", error.to_string(), "run `jobrun migrate`, or see the server's log"),
    }
}

/// Asks Stripe whether the key is valid, and has the rights that the worker needs. Without a key, Stripe is not asked.
async fn check_stripe_key(worker: &config::Worker, pool: Option<&PgPool>) -> Finding {
    const REMEDY: &str =
        "make a restricted key that may read events and subscriptions, as deploy/guide/payments.md says";
    let Some(audit) = &worker.stripe_audit else {
        return skipped("stripe key", "STRIPE_API_KEY is not set: events that are missed are not fetched");
    };
    let asked = async {
        let api = jobrun_stripe::api::Api::new(&audit.access)?;
        let now = clock::now();
        let page = api.list_events(now - LISTED_FOR, now, None).await?;
        // The key's right is checked before it is found that there is no such subscription.
        api.find_subscription("sub_doctor").await?;
        let is_of_the_mode = page.events.iter().all(|event| event.livemode == audit.livemode);
        anyhow::Ok((is_of_the_mode, is_other_account(&api, pool, now).await?))
    };
    let mode = if audit.livemode { "live mode" } else { "test mode" };
    match asked.await {
        Ok((true, false)) => ok("stripe key", format!("{mode}; it may read events and subscriptions")),
        Ok((true, true)) => {
            fault("stripe key", "it is one of another account, which lacks the latest payments of our clients", REMEDY)
        }
        Ok((false, _)) => fault("stripe key", format!("it is for {mode}, and lists events of the other one"), REMEDY),
        Err(error) => fault("stripe key", format!("{error:#}"), REMEDY),
    }
}

/// Returns whether the key is one of another account. Other checks tell of faults of the database.
async fn is_other_account(
    api: &jobrun_stripe::api::Api,
    pool: Option<&PgPool>,
    now: DateTime<Utc>,
) -> Result<bool, jobrun_stripe::api::Error> {
    let Some(pool) = pool else { return Ok(false) };
    match stripe_account::check(pool, api, now).await {
        Ok(account) => Ok(account? == Account::Other),
        Err(_) => Ok(false),
    }
}

async fn check_public_address(settings: &config::Ingress) -> Finding {
    // The proxy may pass nothing but the webhooks on. Ours is the one that takes no GET there.
    let url = format!("{}{}", settings.twilio.account.public_base_url, webhooks::SMS);
    const REMEDY: &str = "see that an ingress runs behind PUBLIC_BASE_URL, and that the proxy in front of it passes path, query and body on";
    use_tls_provider();
    let asked = async { reqwest::Client::builder().timeout(PUBLIC_TIMEOUT).build()?.get(&url).send().await };
    match asked.await {
        Ok(response) if response.status() == reqwest::StatusCode::METHOD_NOT_ALLOWED => {
            ok("public address", format!("{url} takes webhooks"))
        }
        Ok(response) => fault("public address", format!("{url} answers {}", response.status()), REMEDY),
        Err(error) => fault("public address", format!("{url} cannot be reached: {}", error.without_url()), REMEDY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> ServerFacts {
        ServerFacts {
            version: "15.8".to_owned(),
            version_number: 150_008,
            role: "jobrun".to_owned(),
            is_superuser: false,
            is_encrypted: false,
            is_local: true,
            survives_power_cuts: true,
            synchronous_commit: "on".to_owned(),
            max_connections: 100,
            max_locks_per_transaction: 64,
            now: DateTime::UNIX_EPOCH,
            oldest_transaction: None,
            sees_others: true,
        }
    }

    /// Returns the checks of these facts that are not well.
    fn wrong(facts: &ServerFacts) -> Vec<(&'static str, Verdict)> {
        let found =
            judge(facts, DateTime::UNIX_EPOCH, DateTime::UNIX_EPOCH).into_iter().filter(|it| it.verdict != Verdict::Ok);
        found.map(|it| (it.check, it.verdict)).collect()
    }

    #[test]
    fn each_fault_of_a_server_is_found_and_no_other() {
        assert_eq!(wrong(&facts()), []);
        assert_eq!(wrong(&ServerFacts { version_number: 140_000, ..facts() }), [("database", Verdict::Fault)]);
        assert_eq!(wrong(&ServerFacts { is_local: false, ..facts() }), [("encryption", Verdict::Warning)]);
        assert_eq!(wrong(&ServerFacts { is_local: false, is_encrypted: true, ..facts() }), []);
        assert_eq!(wrong(&ServerFacts { is_superuser: true, ..facts() }), [("role", Verdict::Warning)]);
        assert_eq!(wrong(&ServerFacts { survives_power_cuts: false, ..facts() }), [("durability", Verdict::Fault)]);
        assert_eq!(wrong(&ServerFacts { max_connections: 20, ..facts() }), [("capacity", Verdict::Warning)]);
        let fast = DateTime::UNIX_EPOCH + TimeDelta::seconds(3);
        assert_eq!(wrong(&ServerFacts { now: fast, ..facts() }), [("clock", Verdict::Fault)]);
        assert_eq!(wrong(&ServerFacts { sees_others: false, ..facts() }), [("transactions", Verdict::Skipped)]);
        let long_ago = Some(DateTime::UNIX_EPOCH - TimeDelta::minutes(11));
        assert_eq!(
            wrong(&ServerFacts { oldest_transaction: long_ago, ..facts() }),
            [("transactions", Verdict::Warning)]
        );
    }
}
