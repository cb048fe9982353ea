//! `jobrun`: the operator's command.
//!
//! Answers go to standard output, everything else to standard error. Exit status 0 means done, 1 that the answer is no, 2
//! that the request makes no sense.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Parser, Subcommand};
use jobrun::demo::{self, Report, Stage};
use jobrun::local_postgres::{Data, LocalPostgres};
use jobrun::{CONNECTIONS, MINUTE, buy, client, numbers, payments, pool, programs, up, waiting};
use jobrun_onboarding::region_of;
use jobrun_shared::db::{alerts, ownerless, stories, waiting_list};
use jobrun_shared::operator::{self, Refusal};
use jobrun_shared::purchases::Order;
use jobrun_shared::twilio::numbers::NumberType;
use jobrun_shared::{clock, config, db, liveness, shutdown, telemetry};
use sqlx::{AssertSqlSafe, PgPool};

/// Runs JobRun onboarding, and does by hand what its worker does by itself.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
#[command(after_help = "Settings come from the environment; the README lists them.\n\n\
    Try it:           jobrun up\n\
    See it proved:    jobrun demo\n\
    Set up a server:  DATABASE_URL=postgres://… jobrun migrate, then jobrun pool seed +447…")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Bring everything up on this machine: database, ingress, worker, and a stand-in for Twilio unless an account is set
    ///
    /// Uses DATABASE_URL, or else a PostgreSQL of its own from the installed programs. Data survives. Ctrl-C stops all.
    Up(up::Options),
    /// Play the six scenarios on a throw-away database, and compare everything with the plan
    ///
    /// Exit status 0 only if all of it holds.
    Demo {
        /// How many worker processes share the work
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
        workers: u8,
    },
    /// Apply all migrations, the job queue's included; safe to repeat, and to run twice at once
    Migrate,
    /// The numbers that can be handed out
    #[command(subcommand)]
    Pool(Pool),
    /// Where Twilio is to reach us, and whether it would
    #[command(subcommand)]
    Numbers(Numbers),
    /// Payments that belong to nobody that we know
    ///
    /// A payment says whose it is by a reference in the payment link. One that carries none, or somebody else's, is kept here.
    Payments {
        /// For scripts
        #[arg(long)]
        json: bool,
        #[command(subcommand)]
        assign: Option<Payments>,
    },
    /// Offer free numbers to the waiting list now, and print whom that texted
    Sweep,
    /// Who waits for a number, since when, and how that stands to the promise of 24 hours
    ///
    /// In the order in which they are served. close: 20 hours have passed; late: the promise is broken; held: a number is kept
    /// free, and the client has been told; not textable: opted out, out of reach, or not paid.
    Waiting {
        /// For scripts
        #[arg(long)]
        json: bool,
    },
    /// One client's whole story: texts, calls, payments and numbers, oldest first; exit status 1 if there is no such client
    Client {
        /// clients.id, or the phone: +447700900123, 447700900123 or 07700900123
        #[arg(value_name = "ID|PHONE")]
        client: String,
        /// For scripts
        #[arg(long)]
        json: bool,
    },
    /// What needs somebody's attention; exit status 1 if anything does
    Alerts {
        /// For scripts
        #[arg(long)]
        json: bool,
        /// Clear the alert with this id, because it has been seen to
        #[arg(long, value_name = "ID", conflicts_with = "json")]
        clear: Option<i64>,
    },
}

#[derive(Subcommand)]
enum Pool {
    /// Add numbers to the pool; tells the waiting list at once
    Seed {
        /// Numbers such as +447700900123, separated by spaces or commas [default: TWILIO_POOL_NUMBERS]
        numbers: Vec<String>,
    },
    /// Count the numbers, say how long those of each region last, and list them
    ///
    /// When a region runs dry is a forecast: it takes for granted that numbers go on being handed out as fast as in the last
    /// 7 days, that those that cool down come back on their days, and that none are added or drained.
    Status {
        /// For scripts
        #[arg(long)]
        json: bool,
    },
    /// Take a number from whoever holds it, and put it back into the pool; tells the waiting list at once
    Release {
        /// The number, such as +447700900123
        number: String,
        /// Let it cool down for NUMBER_COOLING first; until then, its last client gets it back if it returns
        #[arg(long)]
        cool_down: bool,
    },
    /// Give a number to no client from now on; whoever holds it keeps it
    Drain {
        /// The number, such as +447700900123
        number: String,
        /// Let clients be given it again; tells the waiting list at once
        #[arg(long)]
        undo: bool,
    },
    /// Give a client a number exactly as the conversation does; JSON on standard output, exit status 1 when refused
    Allocate {
        /// clients.id
        client_id: String,
    },
    /// Buy numbers at Twilio, with our webhooks, and put them into the pool; only shows what it would do, unless told --yes
    ///
    /// Numbers take both texts and calls. They are bought under TWILIO_BUNDLE_SID and TWILIO_ADDRESS_SID, where those are set.
    /// At most POOL_BUY_MAX numbers (10 by default) are bought within 30 days, by all runs together: a limit on how many, since
    /// Twilio does not tell prices when it offers numbers.
    ///
    /// May be run again whatever happened: what an earlier run left open is settled first, and counts towards what is asked for.
    ///
    /// Exit status 0 if all are bought, or would be; 1 if fewer; 2 if that is more than may be bought.
    Buy {
        /// How many
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
        count: u16,
        /// The country, by the two letters of ISO 3166
        #[arg(long, default_value = "GB", value_parser = country)]
        country: String,
        /// Which type of number
        #[arg(long = "type", value_name = "TYPE", default_value = NumberType::Mobile.name(), value_parser = number_type())]
        kind: NumberType,
        /// Buy, and pay, instead of only showing what would be bought
        #[arg(long)]
        yes: bool,
        /// For scripts
        #[arg(long)]
        json: bool,
    },
}

fn country(given: &str) -> Result<String, &'static str> {
    let country = region_of(given);
    let is_shaped = country.len() == 2 && country.bytes().all(|byte| byte.is_ascii_uppercase());
    if is_shaped { Ok(country) } else { Err("not a country by the two letters of ISO 3166, such as GB") }
}

fn number_type() -> impl TypedValueParser<Value = NumberType> {
    let named = |name: String| NumberType::named(&name).ok_or("no such type");
    PossibleValuesParser::new(NumberType::ALL.map(NumberType::name)).try_map(named)
}

#[derive(Subcommand)]
enum Payments {
    /// Give a payment to a client, as if it had named the client itself
    Assign {
        /// The subscription, sub_…, or the checkout session, cs_…, of a payment without one
        payment: String,
        /// clients.id
        client_id: String,
    },
}

#[derive(Subcommand)]
enum Numbers {
    /// Print the addresses to be entered at Twilio
    Webhooks,
    /// Compare every number of the account with the pool, and say what is wrong; exit status 0 only if nothing is
    Check {
        /// First set the addresses of the onboarding number and of the pool; other numbers are never touched
        #[arg(long)]
        fix: bool,
        /// For scripts
        #[arg(long)]
        json: bool,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments.command).await {
        Ok(code) => code,
        // Whoever read our answer has read enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("jobrun: {error:#}");
            // What was asked makes no sense, as opposed to what could not be done.
            let senseless = error.is::<config::Problems>()
                || matches!(error.downcast_ref(), Some(Refusal::NotE164(_) | Refusal::NoNumbers));
            ExitCode::from(if senseless { 2 } else { 1 })
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let causes = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    causes.into_iter().any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    let settings = config::Operator::from_env()?;
    telemetry::start(&settings.log, telemetry::Output::Stderr);
    match command {
        Command::Up(options) => up::run(&settings, &options).await?,
        Command::Demo { workers } => return play(&settings, usize::from(workers)).await,
        Command::Migrate => migrate(&settings).await?,
        Command::Pool(Pool::Seed { numbers }) => seed(&settings, &numbers).await?,
        Command::Pool(Pool::Status { json }) => status(&settings, json).await?,
        Command::Pool(Pool::Release { number, cool_down }) => release(&settings, &number, cool_down).await?,
        Command::Pool(Pool::Drain { number, undo }) => drain(&settings, &number, undo).await?,
        Command::Pool(Pool::Allocate { client_id }) => return allocate(&settings, &client_id).await,
        Command::Pool(Pool::Buy { count, country, kind, yes, json }) => {
            let order = Order { country, kind, count: usize::from(count) };
            return Ok(ExitCode::from(buy::run(&config::Buying::from_env()?, &order, yes, json).await?));
        }
        Command::Numbers(Numbers::Webhooks) => webhooks(&settings)?,
        Command::Numbers(Numbers::Check { fix, json }) => {
            let well = numbers::check(&config::Numbers::from_env()?, fix, json).await?;
            return Ok(ExitCode::from(u8::from(!well)));
        }
        Command::Payments { assign: Some(Payments::Assign { payment, client_id }), .. } => {
            payments::assign(&connect_migrated(&settings).await?, &payment, &client_id).await?;
        }
        Command::Payments { json, assign: None } => {
            payments::print_unassigned(&connect_migrated(&settings).await?, json).await?;
        }
        Command::Sweep => sweep(&settings).await?,
        Command::Waiting { json } => list_waiting(&settings, json).await?,
        Command::Client { client, json } => return tell_story(&settings, &client, json).await,
        Command::Alerts { clear: Some(id), .. } => return clear_alert(&settings, id).await,
        Command::Alerts { json, clear: None } => return alerts(&settings, json).await,
    }
    Ok(ExitCode::SUCCESS)
}

async fn connect(settings: &config::Operator) -> anyhow::Result<PgPool> {
    let url = settings
        .database_url
        .as_ref()
        .context("DATABASE_URL is not set (example: postgres://jobrun:password@localhost/jobrun)")?;
    Ok(db::connect(url, CONNECTIONS).await?)
}

/// For every command but `migrate`: they need the tables.
async fn connect_migrated(settings: &config::Operator) -> anyhow::Result<PgPool> {
    let pool = connect(settings).await?;
    db::ensure_migrated(&pool).await?;
    Ok(pool)
}

async fn migrate(settings: &config::Operator) -> anyhow::Result<()> {
    operator::migrate(&connect(settings).await?).await?;
    Ok(writeln!(std::io::stdout(), "the database is migrated")?)
}

async fn seed(settings: &config::Operator, numbers: &[String]) -> anyhow::Result<()> {
    let given: Vec<String> = numbers
        .iter()
        .flat_map(|it| it.split(','))
        .map(str::trim)
        .filter(|it| !it.is_empty())
        .map(str::to_owned)
        .collect();
    let numbers = if given.is_empty() { &settings.pool_numbers } else { &given };
    let seeded = operator::seed(&connect_migrated(settings).await?, numbers).await?;
    Ok(writeln!(std::io::stdout(), "{} new, {} known already", seeded.new, seeded.known)?)
}

async fn release(settings: &config::Operator, number: &str, cool_down: bool) -> anyhow::Result<()> {
    let cooling = if cool_down { settings.cooling } else { Duration::ZERO };
    let released = operator::release(&connect_migrated(settings).await?, number, cooling, clock::now()).await?;
    let holder = released.holder.map_or_else(|| "nobody".to_owned(), |id| format!("client {id}"));
    let state = match released.cools_until {
        Some(until) => format!("cools down until {}", until.format(MINUTE)),
        None if released.drained => "is back in the pool, but drained".to_owned(),
        None => "is available".to_owned(),
    };
    Ok(writeln!(std::io::stdout(), "{number} {state}; it was held by {holder}")?)
}

async fn drain(settings: &config::Operator, number: &str, undo: bool) -> anyhow::Result<()> {
    let drained = operator::drain(&connect_migrated(settings).await?, number, undo, clock::now()).await?;
    let state = match (undo, drained.changed) {
        (false, true) => "is drained: no client will be given it",
        (false, false) => "was drained already: no client will be given it",
        (true, true) => "is drained no more: clients may be given it",
        (true, false) => "was not drained: clients may be given it",
    };
    let holder = drained.holder.map_or_else(|| "nobody holds it".to_owned(), |id| format!("client {id} holds it"));
    Ok(writeln!(std::io::stdout(), "{number} {state}; {holder}")?)
}

async fn allocate(settings: &config::Operator, client_id: &str) -> anyhow::Result<ExitCode> {
    let answer = operator::allocate(&connect_migrated(settings).await?, client_id, clock::now()).await?;
    telemetry::journal(&answer.journal);
    telemetry::raised(&answer.raised);
    writeln!(std::io::stdout(), "{}", serde_json::to_string(&answer)?)?;
    Ok(ExitCode::from(u8::from(!answer.success)))
}

fn webhooks(settings: &config::Operator) -> anyhow::Result<()> {
    let missing = || config::Problems::not_set("PUBLIC_BASE_URL", "https://onboarding.example.com");
    let public_base_url = settings.public_base_url.as_ref().ok_or_else(missing)?;
    Ok(numbers::print_webhooks(&mut std::io::stdout().lock(), public_base_url)?)
}

async fn sweep(settings: &config::Operator) -> anyhow::Result<()> {
    let pool = connect_migrated(settings).await?;
    ownerless::repair(&pool, settings.cooling, clock::now()).await?;
    let offered = operator::sweep(&pool, &settings.onboarding_number, settings.hold, clock::now()).await?;
    let mut out = std::io::stdout().lock();
    if offered.is_empty() {
        writeln!(out, "nobody was texted: nobody waits, or no number is free")?;
    }
    for client in offered {
        writeln!(out, "texted client {client}: a number is ready")?;
    }
    Ok(())
}

async fn list_waiting(settings: &config::Operator, json: bool) -> anyhow::Result<()> {
    let mut conn = connect_migrated(settings).await?.acquire().await?;
    let (places, now) = (waiting_list::list_places(&mut conn).await?, clock::now());
    let mut out = std::io::stdout().lock();
    if json {
        return Ok(writeln!(out, "{:#}", waiting::as_json(&places, now))?);
    }
    Ok(waiting::print(&mut out, &places, now)?)
}

async fn tell_story(settings: &config::Operator, words: &str, json: bool) -> anyhow::Result<ExitCode> {
    let Some(story) = stories::find(&connect_migrated(settings).await?, words).await? else {
        eprintln!(
            "jobrun: no client has this id or phone; a phone is written +447700900123, 447700900123 or 07700900123"
        );
        return Ok(ExitCode::FAILURE);
    };
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&story)?)?;
    } else {
        client::print(&mut out, &story, &settings.onboarding_number)?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn alerts(settings: &config::Operator, json: bool) -> anyhow::Result<ExitCode> {
    let open = liveness::list_alerts(&connect_migrated(settings).await?, clock::now()).await?;
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&open)?)?;
    } else if open.is_empty() {
        writeln!(out, "all clear")?;
    }
    for alert in open.iter().filter(|_| !json) {
        // What is worked out just now has no number, and cannot be cleared by hand.
        let id = alert.id.map_or_else(|| "now".to_owned(), |id| id.to_string());
        let (times, cause) = (alert.times, &alert.cause);
        let (since, last) = (alert.raised_at.format(MINUTE), alert.last_seen_at.format(MINUTE));
        writeln!(out, "{id:>5}  {cause}\n       {}", alert.about)?;
        let seen = if times == 1 { "once".to_owned() } else { format!("{times} times, last {last}") };
        writeln!(out, "       since {since}, seen {seen}")?;
    }
    Ok(ExitCode::from(u8::from(!open.is_empty())))
}

async fn clear_alert(settings: &config::Operator, id: i64) -> anyhow::Result<ExitCode> {
    match alerts::clear_by_id(&connect_migrated(settings).await?, id, clock::now()).await? {
        Some(cause) => {
            writeln!(std::io::stdout(), "cleared {cause}")?;
            Ok(ExitCode::SUCCESS)
        }
        None => {
            eprintln!("jobrun: there is no open alert {id}; `jobrun alerts` lists those that are");
            Ok(ExitCode::FAILURE)
        }
    }
}

async fn status(settings: &config::Operator, json: bool) -> anyhow::Result<()> {
    let status = operator::pool_status(&connect_migrated(settings).await?, clock::now()).await?;
    let mut out = std::io::stdout().lock();
    if json {
        return Ok(writeln!(out, "{}", serde_json::to_string_pretty(&status)?)?);
    }
    Ok(pool::print_status(&mut out, &status)?)
}

/// Plays the scenarios on a database that is thrown away: one made for the purpose on the server at DATABASE_URL, or a
/// server of our own.
async fn play(settings: &config::Operator, workers: usize) -> anyhow::Result<ExitCode> {
    eprintln!("jobrun: setting the stage: a database, a stand-in for Twilio, the ingress and {workers} worker(s)");
    let Some(url) = &settings.database_url else {
        let postgres = LocalPostgres::start_temporary(Data::ThrownAway, &settings.path).await?;
        return play_on(postgres.url(), workers).await;
    };
    let server = db::connect(url, CONNECTIONS).await?;
    let name = format!("jobrun_demo_{}_{}", std::process::id(), clock::now().timestamp_millis());
    sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&server).await?;
    let played = play_on(&db::sibling_url(url, &name)?, workers).await;
    sqlx::raw_sql(AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"))).execute(&server).await?;
    played
}

async fn play_on(url: &config::Secret, workers: usize) -> anyhow::Result<ExitCode> {
    tokio::select! {
        played = play_to_the_end(url, workers) => played,
        () = shutdown::requested(false)? => anyhow::bail!("stopped before the end"),
    }
}

async fn play_to_the_end(url: &config::Secret, workers: usize) -> anyhow::Result<ExitCode> {
    let dir = programs::dir_of_this()?;
    programs::ensure_built(&dir)?;
    let stage = Stage::set(&dir, url, workers, &[]).await?;
    let mut out = std::io::stdout();
    let colours = out.is_terminal();
    let mut report = Report::new(&mut out, colours);
    let played = demo::play(&stage, &mut report).await;
    let holds = report.failures().is_empty();
    stage.strike().await?;
    played?;
    Ok(ExitCode::from(u8::from(!holds)))
}
