//! `jobrun numbers`: prints the webhook addresses, compares the account's numbers with the pool, and sets the addresses of ours.

use std::io::Write;

use jobrun_shared::db;
use jobrun_shared::db::audit_log::{self, Action, Actor};
use jobrun_shared::db::number_checks::{self, CheckedNumber, FoundProblem, NumberCheck};
use jobrun_shared::numbers::account_check::{Checked, NumberProblem, Ours, compare, mending};
use jobrun_shared::numbers::status;
use jobrun_shared::{clock, config};
use jobrun_twilio::Error;
use jobrun_twilio::api::Api;
use jobrun_twilio::webhooks::{METHOD, WEBHOOKS, Webhook};
use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::types::Json;

use crate::commands::{connect_for_account, operator};
use crate::table::{self, Column};

const COLUMNS: [Column; 3] = [Column::text("NUMBER", 17), Column::text("FOR", 11), Column::text("PROBLEM", 0)];

/// Prints the addresses to be entered at Twilio.
///
/// # Errors
/// When `out` cannot be written.
pub fn print_webhooks(out: &mut impl Write, public_base_url: &str) -> std::io::Result<()> {
    writeln!(out, "{:<11} {:<20} {:<7} ADDRESS", "NUMBER", "WHEN", "METHOD")?;
    for webhook in WEBHOOKS {
        let (number, when) = (webhook.purpose.name(), webhook.occasion.words());
        writeln!(out, "{number:<11} {when:<20} {METHOD:<7} {}", webhook.address(public_base_url))?;
    }
    Ok(())
}

/// The outcome of setting up a number.
struct Mended {
    number: String,
    fields: Vec<&'static str>,
    outcome: Result<(), Error>,
}

/// Compares the numbers of the account with the pool, prints the problems, and keeps them for the console. With `fix`, first sets up
/// the numbers that are ours. Returns whether all is well: no problem is left, and no set-up failed.
///
/// # Errors
/// When Twilio does not respond, or the database belongs to an account of the other kind.
pub async fn check(settings: &config::Numbers, fix: bool, why: Option<String>, json: bool) -> anyhow::Result<bool> {
    let (database, by) =
        (connect_for_account(&settings.database_url, settings.twilio.account_kind()).await?, operator(why));
    let pool: Vec<String> = list_pool(&database).await?;
    let ours = Ours {
        public_base_url: &settings.twilio.account.public_base_url,
        onboarding_number: settings.twilio.onboarding_number.as_str(),
        pool: &pool,
    };
    let api = Api::new(&settings.twilio.account)?;
    let mut checked = compare(&api.list_numbers().await?, &ours);
    let mut mended = Vec::new();
    if fix {
        announce(&database, &by, &checked, ours.public_base_url).await?;
        mended = mend(&api, &checked, ours.public_base_url, !json).await?;
        // Twilio's list shows which settings took effect; our requests do not.
        checked = compare(&api.list_numbers().await?, &ours);
    }
    let well = checked.iter().all(|it| it.problems.is_empty()) && mended.iter().all(|it| it.outcome.is_ok());
    keep(&database, &by, ours.public_base_url, &checked, &mended).await?;
    database.close().await;
    let mut out = table::stdout();
    if json {
        writeln!(out, "{:#}", as_json(well, &checked, &mended))?;
    } else {
        print_checked(&mut out, &checked)?;
        print_unmended(&mut out, &mended)?;
    }
    Ok(well)
}

async fn list_pool(database: &PgPool) -> anyhow::Result<Vec<String>> {
    let numbers = status::pool_status(database, clock::now()).await?.numbers;
    Ok(numbers.into_iter().map(|number| number.phone_e164).collect())
}

/// Records the fields that are going to be set. Twilio's settings have no transaction with ours: a run that is cut short must not
/// have changed a number without a trace.
async fn announce(database: &PgPool, by: &Actor, checked: &[Checked], public_base_url: &str) -> Result<(), db::Error> {
    let names = |it: &Checked| mending(it, public_base_url).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let planned =
        checked.iter().map(|it| (it, names(it))).filter(|(it, fields)| it.sid.is_some() && !fields.is_empty());
    let planned: Vec<Value> = planned.map(|(it, fields)| json!({ "number": it.number, "fields": fields })).collect();
    if planned.is_empty() {
        return Ok(());
    }
    let action = Action { name: "numbers.fix_begun", subject: None, details: json!({ "numbers": planned }) };
    audit_log::record(&mut *database.acquire().await?, by, &action, clock::now()).await
}

/// Keeps the check for the console, and records which numbers were set up.
async fn keep(
    database: &PgPool,
    by: &Actor,
    public_base_url: &str,
    checked: &[Checked],
    mended: &[Mended],
) -> Result<(), db::Error> {
    let numbers: Vec<CheckedNumber> = (1..).zip(checked).map(|(place, it)| kept_number(place, it)).collect();
    let with_problems = checked.iter().filter(|it| !it.problems.is_empty()).count();
    let check = NumberCheck {
        checked_at: clock::now(),
        checked_by: by.who.clone(),
        public_base_url: public_base_url.to_owned(),
        numbers: i64::try_from(numbers.len()).unwrap_or(i64::MAX),
        with_problems: i64::try_from(with_problems).unwrap_or(i64::MAX),
    };
    let mut tx = database.begin().await?;
    number_checks::save(&mut tx, &check, &numbers).await?;
    for it in mended {
        let error = it.outcome.as_ref().err().map(ToString::to_string);
        let name = if error.is_none() { "number.set_up" } else { "number.not_set_up" };
        let details = json!({ "fields": it.fields, "error": error });
        let action = Action { name, subject: Some(&it.number), details };
        audit_log::record(&mut tx, by, &action, check.checked_at).await?;
    }
    Ok(tx.commit().await?)
}

fn kept_number(place: i64, checked: &Checked) -> CheckedNumber {
    let problem = |it: &NumberProblem| FoundProblem {
        name: it.name().to_owned(),
        field: it.field().map(str::to_owned),
        words: it.to_string(),
        advice: it.advice().to_owned(),
    };
    CheckedNumber {
        place,
        number: checked.number.clone(),
        purpose: checked.purpose.map(|it| it.name().to_owned()),
        sid: checked.sid.clone(),
        problems: Json(checked.problems.iter().map(problem).collect()),
    }
}

/// Sets up one number after the other. A failure does not stop the rest, which do not depend on it.
async fn mend(api: &Api, checked: &[Checked], public_base_url: &str, shown: bool) -> std::io::Result<Vec<Mended>> {
    let mut mended = Vec::new();
    for it in checked {
        let fields = mending(it, public_base_url);
        let Some(sid) = it.sid.as_ref().filter(|_| !fields.is_empty()) else { continue };
        let outcome = api.update_number(sid, &fields).await;
        let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
        if shown {
            let said = match &outcome {
                Ok(()) => format!("set {}", names.join(", ")),
                Err(error) => format!("not changed: {error}"),
            };
            writeln!(std::io::stdout(), "{:<17} {said}", it.number)?;
        }
        mended.push(Mended { number: it.number.clone(), fields: names, outcome });
    }
    if shown && !mended.is_empty() {
        writeln!(std::io::stdout())?;
    }
    Ok(mended)
}

fn print_checked(out: &mut impl Write, checked: &[Checked]) -> std::io::Result<()> {
    let wrong: Vec<&Checked> = checked.iter().filter(|it| !it.problems.is_empty()).collect();
    if wrong.is_empty() {
        return writeln!(out, "{}: all is well", counted(checked.len(), "number"));
    }
    let problems: Vec<NumberProblem> = wrong.iter().flat_map(|it| it.problems.iter().copied()).collect();
    let row = |it: &Checked, problem: &NumberProblem| {
        let purpose = it.purpose.map_or("-", |purpose| purpose.name());
        vec![it.number.clone(), purpose.to_owned(), problem.to_string()]
    };
    let rows = wrong.iter().flat_map(|it| it.problems.iter().map(|problem| row(it, problem)));
    table::print(out, &COLUMNS, rows.collect())?;
    let (all, found) = (counted(checked.len(), "number"), counted(problems.len(), "problem"));
    writeln!(out, "\n{all}: {} well, {} with {found}\n\nWhat to do:", checked.len() - wrong.len(), wrong.len())?;
    print_advice(out, &problems)
}

/// Prints each piece of advice once, even if it is for several numbers.
fn print_advice(out: &mut impl Write, problems: &[NumberProblem]) -> std::io::Result<()> {
    let mut given: Vec<&str> = Vec::new();
    for advice in problems.iter().map(|problem| problem.advice()) {
        if !given.contains(&advice) {
            writeln!(out, "  {advice}")?;
            given.push(advice);
        }
    }
    Ok(())
}

fn print_unmended(out: &mut impl Write, mended: &[Mended]) -> std::io::Result<()> {
    match mended.iter().filter(|it| it.outcome.is_err()).count() {
        0 => Ok(()),
        failed => writeln!(out, "  {} could not be set up, as said above: try again", counted(failed, "number")),
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn as_json(well: bool, checked: &[Checked], mended: &[Mended]) -> Value {
    let problem = |it: &NumberProblem| {
        json!({
            "name": it.name(),
            "field": it.field(),
            "mendable": it.is_mendable(),
            "words": it.to_string(),
            "advice": it.advice(),
        })
    };
    let number = |it: &Checked| {
        let problems: Vec<Value> = it.problems.iter().map(problem).collect();
        let purpose = it.purpose.map(|purpose| purpose.name());
        json!({"phoneE164": it.number, "for": purpose, "sid": it.sid, "problems": problems})
    };
    let outcome = |it: &Mended| {
        let error = it.outcome.as_ref().err().map(ToString::to_string);
        json!({"phoneE164": it.number, "error": error})
    };
    json!({
        "well": well,
        "numbers": checked.iter().map(number).collect::<Vec<Value>>(),
        "mended": mended.iter().map(outcome).collect::<Vec<Value>>(),
    })
}

/// Prints the addresses to be entered at Twilio.
///
/// # Errors
/// When `PUBLIC_BASE_URL` is not set, or the output fails.
pub fn print_addresses(settings: &config::Operator, json: bool) -> anyhow::Result<()> {
    let missing = || config::Problems::not_set("PUBLIC_BASE_URL", "https://onboarding.example.com");
    let public_base_url = settings.public_base_url.as_ref().ok_or_else(missing)?;
    let mut out = std::io::stdout().lock();
    if json {
        let address = |it: &Webhook| {
            let (number, when) = (it.purpose.name(), it.occasion.words());
            json!({ "for": number, "when": when, "method": METHOD, "address": it.address(public_base_url) })
        };
        return Ok(writeln!(out, "{:#}", WEBHOOKS.iter().map(address).collect::<Value>())?);
    }
    Ok(print_webhooks(&mut out, public_base_url)?)
}
