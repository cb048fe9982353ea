//! `jobrun`: the operator's command.
//!
//! Answers go to standard output, everything else to standard error. What exit statuses mean stands in `jobrun_shared::exit`.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anstream::{AutoStream, ColorChoice};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Parser, Subcommand};
use jobrun::demo::{self, Report, Stage};
use jobrun::local_postgres::{Data, LocalPostgres};
use jobrun::{CONNECTIONS, MINUTE, alerts, buy, client, numbers, payments, pool, programs, table, up, waiting};
use jobrun_onboarding::region_of;
use jobrun_shared::db::{ownerless, stories, waiting_list};
use jobrun_shared::operator::{self, Refusal};
use jobrun_shared::purchases::Order;
use jobrun_shared::twilio::numbers::NumberType;
use jobrun_shared::{clock, config, db, exit, liveness, shutdown, telemetry};
use sqlx::{AssertSqlSafe, PgPool};

/// Runs JobRun onboarding, and does by hand what its worker does by itself.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
#[command(after_help = "Settings come from the environment; the README lists them.\n\n\
    Try it:           jobrun up\n\
    See it proved:    jobrun demo\n\
    Set up a server:  DATABASE_URL=postgres://… jobrun migrate, then jobrun pool seed +447…\n\n\
    Exit status: 0 done; 1 the answer is no, or it could not be done; 2 settings or arguments are wrong;\n\
    130 stopped before the end.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// How a client is named on the command line.
const CLIENT: &str = "ID|PHONE";

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
        /// clients.id or its beginning, or the phone: +447911123456 or 07911 123456
        #[arg(value_name = CLIENT)]
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
        /// Numbers such as +447911123456 or 07911123456, separated by spaces or commas [default: TWILIO_POOL_NUMBERS]
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
    /// Put a number back into the pool; tells the waiting list as soon as it can be given out
    ///
    /// A number that a client holds is only taken with --yes. Its client is given another number, or a place on the waiting
    /// list, and is texted that its number had to change; it does not get the same number back. The number first cools down
    /// for NUMBER_COOLING, because the client's phone may go on forwarding its calls to it.
    Release {
        /// The number, such as +447911123456 or "07911 123456"
        number: String,
        /// Take the number although a client holds it
        #[arg(long)]
        yes: bool,
        /// Make it available at once instead of letting it cool down: the next client may then answer calls that the former
        /// client's phone still forwards
        #[arg(long)]
        now: bool,
    },
    /// Give a number to no client from now on; whoever holds it keeps it
    Drain {
        /// The number, such as +447911123456 or "07911 123456"
        number: String,
        /// Let clients be given it again; tells the waiting list at once
        #[arg(long)]
        undo: bool,
    },
    /// Give a client a number exactly as the conversation does; JSON on standard output, exit status 1 when refused
    Allocate {
        /// clients.id or its beginning, or the phone
        #[arg(value_name = CLIENT)]
        client: String,
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
        /// clients.id or its beginning, or the phone
        #[arg(value_name = CLIENT)]
        client: String,
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
    // A demonstration that nobody reads to its end has shown nothing.
    let may_be_cut_short = !matches!(arguments.command, Command::Demo { .. });
    match run(arguments.command).await {
        Ok(code) => code,
        // The reader of our answer has read enough.
        Err(error) if may_be_cut_short && is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("jobrun: {error:#}");
            ExitCode::from(exit::status_of(error.chain()))
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let causes = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    causes.into_iter().any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}

/// What is wrong with the settings that only this command needs.
fn problems_of(command: &Command) -> Option<config::Problems> {
    match command {
        Command::Pool(Pool::Buy { .. }) => config::Buying::from_env().err(),
        Command::Numbers(Numbers::Check { .. }) => config::Numbers::from_env().err(),
        _ => None,
    }
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    let settings = config::Operator::from_env().map_err(|problems| problems.and(problems_of(&command)))?;
    telemetry::start(&settings.log, telemetry::Output::Stderr);
    match command {
        Command::Up(options) => up::run(&settings, &options).await?,
        Command::Demo { workers } => return play(&settings, usize::from(workers)).await,
        Command::Migrate => migrate(&settings).await?,
        Command::Pool(Pool::Seed { numbers }) => seed(&settings, &numbers).await?,
        Command::Pool(Pool::Status { json }) => status(&settings, json).await?,
        Command::Pool(Pool::Release { number, yes, now }) => release(&settings, &number, yes, now).await?,
        Command::Pool(Pool::Drain { number, undo }) => drain(&settings, &number, undo).await?,
        Command::Pool(Pool::Allocate { client }) => return allocate(&settings, &client).await,
        Command::Pool(Pool::Buy { count, country, kind, yes, json }) => {
            let order = Order { country, kind, count: usize::from(count) };
            return Ok(ExitCode::from(buy::run(&config::Buying::from_env()?, &order, yes, json).await?));
        }
        Command::Numbers(Numbers::Webhooks) => webhooks(&settings)?,
        Command::Numbers(Numbers::Check { fix, json }) => {
            let well = numbers::check(&config::Numbers::from_env()?, fix, json).await?;
            return Ok(ExitCode::from(u8::from(!well)));
        }
        Command::Payments { assign: Some(Payments::Assign { payment, client }), .. } => {
            payments::assign(&connect_migrated(&settings).await?, &payment, &client).await?;
        }
        Command::Payments { json, assign: None } => {
            payments::print_unassigned(&connect_migrated(&settings).await?, json).await?;
        }
        Command::Sweep => sweep(&settings).await?,
        Command::Waiting { json } => list_waiting(&settings, json).await?,
        Command::Client { client, json } => return tell_story(&settings, &client, json).await,
        Command::Alerts { clear: Some(id), .. } => return clear_alert(&settings, id).await,
        Command::Alerts { json, clear: None } => return list_alerts(&settings, json).await,
    }
    Ok(ExitCode::SUCCESS)
}

async fn connect(settings: &config::Operator) -> anyhow::Result<PgPool> {
    let missing = || config::Problems::not_set("DATABASE_URL", "postgres://jobrun:password@localhost/jobrun");
    let url = settings.database_url.as_ref().ok_or_else(missing)?;
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
    let numbers = operator::read_pool_numbers(numbers, Some(&settings.onboarding_number))?;
    let seeded = operator::add_to_pool(&connect_migrated(settings).await?, numbers).await?;
    Ok(writeln!(std::io::stdout(), "{} new, {} known already", seeded.new, seeded.known)?)
}

async fn release(settings: &config::Operator, number: &str, yes: bool, at_once: bool) -> anyhow::Result<()> {
    let cooling = if at_once { Duration::ZERO } else { settings.cooling };
    let (pool, now) = (connect_migrated(settings).await?, clock::now());
    let released = if yes {
        operator::release(&pool, number, cooling, now).await?
    } else {
        operator::release_unheld(&pool, number, cooling, now).await?
    };
    let holder = released.holder.map_or_else(|| "nobody".to_owned(), |id| format!("client {id}"));
    let state = match (released.cools_until, released.drained) {
        (Some(until), _) => format!("cools down until {}", until.format(MINUTE)),
        (None, true) => "is back in the pool, but drained".to_owned(),
        (None, false) => "is available".to_owned(),
    };
    writeln!(std::io::stdout(), "{} {state}; it was held by {holder}", released.number)?;
    if released.is_uncooled && !released.drained {
        eprintln!(
            "jobrun: it has not cooled down: the former client's phone may still forward its calls to it, and the next client \
             would answer them"
        );
    }
    Ok(())
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
    Ok(writeln!(std::io::stdout(), "{} {state}; {holder}", drained.number)?)
}

async fn allocate(settings: &config::Operator, client: &str) -> anyhow::Result<ExitCode> {
    let pool = connect_migrated(settings).await?;
    let client_id = match operator::find_client(&pool, client).await {
        // The answer says so as well, for scripts.
        Err(Refusal::NoSuchClient) => client.to_owned(),
        found => found?,
    };
    let answer = operator::allocate(&pool, &client_id, clock::now()).await?;
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
    let mut out = table::stdout();
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
    let mut out = table::stdout();
    if json {
        return Ok(writeln!(out, "{:#}", waiting::as_json(&places, now))?);
    }
    Ok(waiting::print(&mut out, &places, now)?)
}

async fn tell_story(settings: &config::Operator, words: &str, json: bool) -> anyhow::Result<ExitCode> {
    let pool = connect_migrated(settings).await?;
    let id = operator::find_client(&pool, words).await?;
    let story = stories::find(&pool, &id).await?.ok_or(Refusal::NoSuchClient)?;
    let mut out = table::stdout();
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&story)?)?;
    } else {
        client::print(&mut out, &story, &settings.onboarding_number, table::terminal_width())?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn list_alerts(settings: &config::Operator, json: bool) -> anyhow::Result<ExitCode> {
    let open = liveness::list_alerts(&connect_migrated(settings).await?, clock::now()).await?;
    let mut out = table::stdout();
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&open)?)?;
    } else {
        alerts::print(&mut out, &open)?;
    }
    Ok(ExitCode::from(u8::from(!open.is_empty())))
}

async fn clear_alert(settings: &config::Operator, id: i64) -> anyhow::Result<ExitCode> {
    match db::alerts::clear_by_id(&connect_migrated(settings).await?, id, clock::now()).await? {
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
    let mut out = table::stdout();
    if json {
        return Ok(writeln!(out, "{}", serde_json::to_string_pretty(&status)?)?);
    }
    Ok(pool::print_status(&mut out, &status)?)
}

/// Plays the scenarios on a database that is thrown away: one made for the purpose on the server at DATABASE_URL, or a
/// server of our own.
async fn play(settings: &config::Operator, workers: usize) -> anyhow::Result<ExitCode> {
    let told_to_stop = shutdown::requested(false)?;
    eprintln!("jobrun: setting the stage: a database, a stand-in for Twilio, the ingress and {workers} worker(s)");
    let Some(url) = &settings.database_url else {
        let postgres = LocalPostgres::start_temporary(Data::ThrownAway, &settings.path).await?;
        return play_on(postgres.url(), workers, told_to_stop).await;
    };
    let server = db::connect(url, CONNECTIONS).await?;
    let name = format!("jobrun_demo_{}_{}", std::process::id(), clock::now().timestamp_millis());
    sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&server).await?;
    let played = play_on(&db::sibling_url(url, &name)?, workers, told_to_stop).await;
    sqlx::raw_sql(AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"))).execute(&server).await?;
    played
}

async fn play_on(
    url: &config::Secret,
    workers: usize,
    told_to_stop: impl Future<Output = ()>,
) -> anyhow::Result<ExitCode> {
    tokio::select! {
        played = play_to_the_end(url, workers) => played,
        () = told_to_stop => Err(exit::Interrupted.into()),
    }
}

async fn play_to_the_end(url: &config::Secret, workers: usize) -> anyhow::Result<ExitCode> {
    let dir = programs::dir_of_this()?;
    programs::ensure_built(&dir)?;
    let stage = Stage::set(&dir, url, workers, &[]).await?;
    let mut out = std::io::stdout();
    let colours = AutoStream::choice(&out) != ColorChoice::Never;
    let mut report = Report::new(&mut out, colours);
    let played = demo::play(&stage, &mut report).await;
    let holds = report.failures().is_empty();
    stage.strike().await?;
    played?;
    Ok(ExitCode::from(u8::from(!holds)))
}
