//! Everything on one machine, in one command.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use jobrun_shared::config::{self, Secret};
use jobrun_shared::twilio::webhooks::Purpose;
use jobrun_shared::{clock, db, numbers, operator, shutdown};
use jobrun_stand_in::{Account, Number, StandIn, stripe};
use tokio::net::TcpListener;

use crate::CONNECTIONS;
use crate::local_postgres::{Data, LocalPostgres, kept_dir};
use crate::programs::{self, Environment, Lines, Program};

/// The numbers of a fresh pool, unless `TWILIO_POOL_NUMBERS` names others.
pub const TEN_NUMBERS: [&str; 10] = [
    "+447111111111",
    "+447111111112",
    "+447111111113",
    "+447111111114",
    "+447111111115",
    "+447111111116",
    "+447111111117",
    "+447111111118",
    "+447111111119",
    "+447111111110",
];

/// Where the stand-in for Twilio listens.
const STAND_IN_ADDR: &str = "127.0.0.1:8090";

/// How long a program may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Brings everything up, prints where to look, and runs until it is told to stop.
///
/// # Errors
/// When something does not start, or ends by itself.
pub async fn run(settings: &config::Operator) -> anyhow::Result<()> {
    let mut running = tokio::select! {
        started = start(settings) => started?,
        // What has been started by now ends with its owner.
        () = shutdown::requested()? => return Ok(()),
    };
    print_where_to_look(settings, &running)?;
    let ended = tokio::select! {
        () = shutdown::requested()? => None,
        ended = running.ingress.wait() => Some(("jobrun-ingress", ended?)),
        ended = running.worker.wait() => Some(("jobrun-worker", ended?)),
    };
    // The door first, so that nothing new arrives while the rest is finished; the database last.
    let stopped = (running.ingress.stop().await, running.worker.stop().await);
    stopped.0?;
    stopped.1?;
    match ended {
        None => Ok(()),
        Some((name, status)) => anyhow::bail!("{name} ended by itself with {status}; everything else was stopped"),
    }
}

/// Everything that runs. Dropped in this order.
struct Running {
    ingress: Program,
    worker: Program,
    stand_in: Option<StandIn>,
    database_url: Secret,
    postgres: Option<LocalPostgres>,
}

async fn start(settings: &config::Operator) -> anyhow::Result<Running> {
    let dir = programs::dir_of_this()?;
    programs::ensure_built(&dir)?;
    // Found out before anything is touched: somebody else may run the same here.
    let addr = settings.ingress_addr;
    drop(std::net::TcpListener::bind(addr).with_context(|| format!("the ingress is to listen on {addr}"))?);
    let local = local_url(addr);
    let mut environment = Environment::new();
    let stand_in = if settings.has_twilio_account {
        ensure!(
            settings.public_base_url.is_some(),
            "PUBLIC_BASE_URL is not set: Twilio has to reach the ingress somewhere"
        );
        None
    } else {
        // Its webhooks are for the ingress beside it, whatever the public address is.
        let account = stand_in_account(&local, settings.onboarding_number.as_str());
        let stand_in = start_stand_in(STAND_IN_ADDR, &account).await?;
        environment.insert("PUBLIC_BASE_URL".to_owned(), local.clone());
        environment.insert("PAYMENT_LINK_URL".to_owned(), format!("{}/pay", stand_in.url()));
        environment.extend(environment_of(&account, &stand_in));
        Some(stand_in)
    };

    let (postgres, database_url) = match &settings.database_url {
        Some(url) => (None, url.clone()),
        None => {
            let postgres =
                LocalPostgres::start(&kept_dir(settings.home.as_deref())?, Data::Kept, &settings.path).await?;
            let url = postgres.url().clone();
            (Some(postgres), url)
        }
    };
    environment.insert("DATABASE_URL".to_owned(), database_url.expose().to_owned());
    let numbers = prepare_database(&database_url, settings).await?;
    if let Some(stand_in) = &stand_in {
        stand_in.set_numbers(set_up_numbers(&local, settings.onboarding_number.as_str(), &numbers));
    }

    let mut ingress = Program::start(&dir, "jobrun-ingress", &environment, Lines::Shown)?;
    let mut worker = Program::start(&dir, "jobrun-worker", &environment, Lines::Shown)?;
    let ready_url = format!("{local}/readyz");
    tokio::select! {
        ready = programs::wait_until_ready(&ready_url, START_TIMEOUT) => ready?,
        ended = ingress.wait() => anyhow::bail!("jobrun-ingress ended with {}", ended?),
        ended = worker.wait() => anyhow::bail!("jobrun-worker ended with {}", ended?),
    }
    Ok(Running { ingress, worker, stand_in, database_url, postgres })
}

/// Migrates, and fills an empty pool. Answers the numbers of the pool.
async fn prepare_database(url: &Secret, settings: &config::Operator) -> anyhow::Result<Vec<String>> {
    let pool = db::connect(url, CONNECTIONS).await?;
    operator::migrate(&pool).await?;
    if operator::pool_status(&pool, clock::now()).await?.numbers.is_empty() {
        let ten = || TEN_NUMBERS.map(str::to_owned).to_vec();
        let numbers = if settings.pool_numbers.is_empty() { ten() } else { settings.pool_numbers.clone() };
        operator::seed(&pool, &numbers).await?;
    }
    let numbers = operator::pool_status(&pool, clock::now()).await?.numbers;
    pool.close().await;
    Ok(numbers.into_iter().map(|number| number.phone_e164).collect())
}

/// The numbers of a stand-in's account, with every address entered as it should be.
#[must_use]
pub fn set_up_numbers(public_base_url: &str, onboarding_number: &str, pool: &[String]) -> Vec<Number> {
    let set_up = |number: &str, purpose: Purpose| {
        let fields = numbers::set_up(purpose, public_base_url);
        fields.iter().fold(Number::new(number), |number, (field, value)| number.with(field, value))
    };
    let handed_out = pool.iter().map(|number| set_up(number, Purpose::Pool));
    std::iter::once(set_up(onboarding_number, Purpose::Onboarding)).chain(handed_out).collect()
}

/// An account for a stand-in, with a token that nobody else knows anything of.
#[must_use]
pub fn stand_in_account(webhook_base_url: &str, onboarding_number: &str) -> Account {
    Account {
        sid: "AC00000000000000000000000000000000".to_owned(),
        auth_token: Secret::new("stand-in-token"),
        onboarding_number: onboarding_number.to_owned(),
        webhook_base_url: webhook_base_url.to_owned(),
        delivery_reports: true,
    }
}

/// Starts a stand-in for Twilio at `addr`.
///
/// # Errors
/// When the address is taken.
pub async fn start_stand_in(addr: &str, account: &Account) -> anyhow::Result<StandIn> {
    let listener = TcpListener::bind(addr).await.with_context(|| format!("listening on {addr}"))?;
    Ok(StandIn::start(listener, account.clone()))
}

/// The settings with which programs use a stand-in. It signs as accounts do that were not set up otherwise, whatever this
/// process's own environment says of another account.
#[must_use]
pub fn environment_of(account: &Account, stand_in: &StandIn) -> Environment {
    Environment::from([
        ("TWILIO_ACCOUNT_SID".to_owned(), account.sid.clone()),
        ("TWILIO_AUTH_TOKEN".to_owned(), account.auth_token.expose().to_owned()),
        ("TWILIO_API_BASE_URL".to_owned(), stand_in.url()),
        ("TWILIO_ONBOARDING_NUMBER".to_owned(), account.onboarding_number.clone()),
        ("TWILIO_SIGNATURE_ALGORITHMS".to_owned(), String::new()),
        ("TWILIO_SIGNATURE_MODE".to_owned(), String::new()),
        ("TWILIO_SHARED_KEYS".to_owned(), String::new()),
        ("STRIPE_WEBHOOK_SECRET".to_owned(), stripe::SECRET.to_owned()),
        ("STRIPE_LIVEMODE".to_owned(), "false".to_owned()),
    ])
}

/// How this machine reaches what listens on `addr`.
fn local_url(addr: SocketAddr) -> String {
    if addr.ip().is_unspecified() { format!("http://127.0.0.1:{}", addr.port()) } else { format!("http://{addr}") }
}

fn print_where_to_look(settings: &config::Operator, running: &Running) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let ingress = local_url(settings.ingress_addr);
    writeln!(out, "\nJobRun onboarding is up. Ctrl-C stops all of it; data survives.\n")?;
    writeln!(out, "  webhooks   {ingress}/webhooks/…  ({ingress}/readyz)")?;
    match &running.postgres {
        None => writeln!(out, "  database   the one in DATABASE_URL")?,
        Some(_) => writeln!(out, "  database   psql {}", running.database_url.expose())?,
    }
    match &running.stand_in {
        None => writeln!(out, "  Twilio     the account in TWILIO_ACCOUNT_SID")?,
        Some(stand_in) => {
            let url = stand_in.url();
            writeln!(out, "  Twilio     a stand-in at {url}, which plays Stripe as well\n")?;
            writeln!(out, "Be a client:\n")?;
            writeln!(out, "  curl -d from=+447900000001 --data-urlencode 'body=Plumber from London' {url}/texts")?;
            writeln!(out, "  curl {url}/messages")?;
            writeln!(out, "  curl {url}          (how to pay, to ring, and to make things go wrong)")?;
        }
    }
    writeln!(out)
}
