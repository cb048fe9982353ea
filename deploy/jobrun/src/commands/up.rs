//! Everything on one machine, in one command.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use jobrun_shared::config::{self, AccountKind, Problems, STAND_IN_ACCOUNT_SID};
use jobrun_shared::db::installation::{self, Installation};
use jobrun_shared::numbers::{seed_release, status};
use jobrun_shared::{clock, db, shutdown};
use jobrun_stand_in::{Account, StandIn};
use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpListener;

use crate::CONNECTIONS;
use crate::commands::console;
use crate::data_dir::DataDir;
use crate::local_postgres::{Data, LocalPostgres, kept_dir};
use crate::playground::{Playground, set_up_numbers};
use crate::ports::{self, Service};
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

/// How long a program may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the programs of a killed `jobrun up` may take to end by themselves: longer than an ingress waits for its connections.
const LEFTOVER_TIMEOUT: Duration = Duration::from_secs(15);

const INGRESS: Service = Service { name: "the ingress", option: "--port", setting: "INGRESS_ADDR" };

const CONSOLE: Service = Service { name: "the console", option: "--console-port", setting: "CONSOLE_ADDR" };

const STAND_IN: Service = Service { name: "the stand-in", option: "--stand-in-port", setting: "STAND_IN_ADDR" };

/// The addresses and the data folder of `jobrun up`. An option overrides its setting.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Options {
    /// The port of the ingress, at the address of INGRESS_ADDR [default: 127.0.0.1:8080, for this machine only]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// The port of the stand-in for Twilio and Stripe, at the address of STAND_IN_ADDR [default: 127.0.0.1:8090]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub stand_in_port: Option<u16>,
    /// The port of the console, at the address of CONSOLE_ADDR [default: 127.0.0.1:8070]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub console_port: Option<u16>,
    /// The folder of the data: database, secrets, and the stand-in's state [default: JOBRUN_DATA, or else
    /// /var/lib/jobrun for root, and ~/.local/share/jobrun otherwise]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// The addresses and the folder that follow from settings and options.
#[derive(Debug)]
struct Places {
    ingress: SocketAddr,
    stand_in: SocketAddr,
    console: SocketAddr,
    data: PathBuf,
}

impl Places {
    fn of(settings: &config::Operator, options: &Options) -> anyhow::Result<Self> {
        let moved = |addr: SocketAddr, port: Option<u16>| SocketAddr::new(addr.ip(), port.unwrap_or(addr.port()));
        let ingress = moved(settings.ingress_addr, options.port);
        let stand_in = moved(settings.stand_in_addr, options.stand_in_port);
        let console = moved(settings.console_addr, options.console_port);
        let all = [(ingress, INGRESS), (stand_in, STAND_IN), (console, CONSOLE)];
        for (addr, Service { option, setting, .. }) in all {
            ensure!(addr.port() != 0, Problems::one(format!("{setting} names no port: set one, or use {option}")));
        }
        if settings.twilio_account.is_none() {
            // The stand-in's payment link is http, which `PAYMENT_LINK_URL` may be only on this machine.
            let is_here = [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv4Addr::UNSPECIFIED.into()].contains(&stand_in.ip());
            ensure!(is_here, Problems::one("STAND_IN_ADDR is neither at 127.0.0.1 nor at 0.0.0.0"));
            let both = "the ingress and the stand-in are to listen on the same port: move one, with --port (or \
                        INGRESS_ADDR) or --stand-in-port (or STAND_IN_ADDR)";
            ensure!(ingress.port() != stand_in.port(), Problems::one(both));
        }
        let data = match (&options.data, &settings.data_dir) {
            (Some(dir), _) => dir.clone(),
            (None, Some(dir)) => PathBuf::from(dir),
            (None, None) => kept_dir(settings.home.as_deref())?,
        };
        Ok(Self { ingress, stand_in, console, data })
    }
}

/// Brings everything up, prints where to look, and runs until it is told to stop.
///
/// # Errors
/// When something does not start, or ends by itself.
pub async fn run(settings: &config::Operator, options: &Options) -> anyhow::Result<()> {
    let places = Places::of(settings, options)?;
    let is_reachable = settings.twilio_account.is_none() || settings.public_base_url.is_some();
    ensure!(is_reachable, Problems::not_set("PUBLIC_BASE_URL", "https://onboarding.example.com"));
    let dir = programs::dir_of_this()?;
    programs::ensure_built(&dir)?;
    let data = DataDir::open(&places.data)?;
    let ended = run_in(&data, settings, &places, &dir).await;
    ended.and(data.leave())
}

/// Starts everything, and runs until it is told to stop. Everything that it started has ended when it returns.
async fn run_in(data: &DataDir, settings: &config::Operator, places: &Places, dir: &Path) -> anyhow::Result<()> {
    let mut asked_to_stop = pin!(shutdown::requested(settings.stop_with_stdin)?);
    let mut running = tokio::select! {
        started = start(data, settings, places, dir) => started?,
        // Programs that have been started by now end when they are dropped.
        () = &mut asked_to_stop => return Ok(()),
    };
    print_where_to_look(data, places, &running)?;
    let ended = tokio::select! {
        () = &mut asked_to_stop => None,
        ended = running.ingress.wait() => Some(("jobrun-ingress", ended?)),
        ended = running.worker.wait() => Some(("jobrun-worker", ended?)),
        ended = running.console.wait() => Some(("jobrun-console", ended?)),
    };
    // The ingress stops first, so that nothing new arrives while the worker finishes; the database stops last.
    let stopped = [running.console.stop().await, running.ingress.stop().await, running.worker.stop().await];
    stopped.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    match ended {
        None => Ok(()),
        Some((name, status)) => anyhow::bail!("{name} ended by itself with {status}; everything else was stopped"),
    }
}

/// Everything that runs. Dropped in this order.
struct Running {
    console: Program,
    ingress: Program,
    worker: Program,
    /// The secret of a link that logs the first admin in to the console.
    console_link: Option<String>,
    stand_in: Option<StandIn>,
    database_url: SecretString,
    postgres: Option<LocalPostgres>,
}

async fn start(data: &DataDir, settings: &config::Operator, places: &Places, dir: &Path) -> anyhow::Result<Running> {
    // The ports are checked before anything is changed: another program may use them.
    let patience = if data.was_killed() { LEFTOVER_TIMEOUT } else { Duration::ZERO };
    let kept_free = ports::listen(places.ingress, INGRESS, patience).await?;
    let kept_free_for_console = ports::listen(places.console, CONSOLE, patience).await?;
    let for_stand_in = match settings.twilio_account {
        Some(_) => None,
        None => Some(ports::listen(places.stand_in, STAND_IN, patience).await?),
    };
    let (postgres, database_url) = match &settings.database_url {
        Some(url) => (None, url.clone()),
        None => {
            let postgres = LocalPostgres::start(data.path(), Data::Kept, &settings.path).await?;
            let url = postgres.url().clone();
            (Some(postgres), url)
        }
    };
    let prepared = prepare_database(&database_url, settings, postgres.is_some()).await?;
    let mut environment = Environment::from([
        ("DATABASE_URL".to_owned(), database_url.expose_secret().to_owned()),
        ("INGRESS_ADDR".to_owned(), places.ingress.to_string()),
    ]);
    let local = local_url(places.ingress);
    let stand_in = match for_stand_in {
        None => None,
        Some(listener) => {
            let stand_in = start_stand_in_with_file(listener, data, &local, settings, &prepared)?;
            let pool = db::connect(&database_url, CONNECTIONS).await?;
            let number = settings.onboarding_number.as_str().to_owned();
            stand_in.attach(Arc::new(Playground::new(pool, local.clone(), number, postgres.is_some())));
            environment.extend(environment_of(stand_in.account(), &stand_in));
            // The stand-in's webhooks go to the local ingress, even if PUBLIC_BASE_URL is set.
            environment.insert("PUBLIC_BASE_URL".to_owned(), local.clone());
            environment.insert("PAYMENT_LINK_URL".to_owned(), format!("{}/pay", local_url(places.stand_in)));
            Some(stand_in)
        }
    };

    drop((kept_free, kept_free_for_console));
    let mut console = start_console(dir, places, &environment, settings.ops_addr, postgres.is_some())?;
    let mut ingress = Program::start(dir, "jobrun-ingress", &environment, Lines::Shown)?;
    if let Some(addr) = settings.ops_addr {
        // The ingress has the port itself.
        environment.insert("OPS_ADDR".to_owned(), further(addr, 1).to_string());
    }
    let mut worker = Program::start(dir, "jobrun-worker", &environment, Lines::Shown)?;
    let ready_url = format!("{local}/readyz");
    tokio::select! {
        ready = programs::wait_until_ready(&ready_url, START_TIMEOUT) => ready?,
        ended = ingress.wait() => anyhow::bail!("jobrun-ingress ended with {}", ended?),
        ended = worker.wait() => anyhow::bail!("jobrun-worker ended with {}", ended?),
    }
    let ready_url = format!("{}/healthz", local_url(places.console));
    tokio::select! {
        ready = programs::wait_until_ready(&ready_url, START_TIMEOUT) => ready?,
        ended = console.wait() => anyhow::bail!("jobrun-console ended with {}", ended?),
    }
    Ok(Running { console, ingress, worker, console_link: prepared.console_link, stand_in, database_url, postgres })
}

/// Returns the ops address of the program that comes `places` after the ingress.
const fn further(addr: SocketAddr, places: u16) -> SocketAddr {
    SocketAddr::new(addr.ip(), addr.port().saturating_add(places))
}

/// Starts the console. On a server of our own, it has the rights of its role only.
fn start_console(
    dir: &Path,
    places: &Places,
    environment: &Environment,
    ops_addr: Option<SocketAddr>,
    is_own_server: bool,
) -> anyhow::Result<Program> {
    let mut environment = environment.clone();
    environment.insert("CONSOLE_ADDR".to_owned(), places.console.to_string());
    if let Some(addr) = ops_addr {
        environment.insert("OPS_ADDR".to_owned(), further(addr, 2).to_string());
    }
    if let Some(url) = environment.get_mut("DATABASE_URL").filter(|_| is_own_server) {
        let sign = if url.contains('?') { '&' } else { '?' };
        url.push_str(&format!("{sign}options=-c%20role%3Djobrun_console"));
    }
    Program::start(dir, "jobrun-console", &environment, Lines::Shown)
}

/// A database that is ready for the programs.
struct Prepared {
    installation: Installation,
    /// The numbers of the pool.
    numbers: Vec<String>,
    /// The secret of a link that logs the first admin in to the console.
    console_link: Option<String>,
}

/// Migrates, and fills an empty pool. A database that belongs to an account of the other kind is left as it is.
async fn prepare_database(
    url: &SecretString,
    settings: &config::Operator,
    is_own_server: bool,
) -> anyhow::Result<Prepared> {
    let pool = db::connect(url, CONNECTIONS).await?;
    let account_kind = settings.twilio_account.unwrap_or(AccountKind::StandIn);
    if let Some(installation) = installation::find(&pool).await? {
        installation.ensure_is_of(account_kind)?;
    }
    db::migrate(&pool).await?;
    if is_own_server {
        db::make_roles(&pool).await?;
    }
    let installation = installation::mark(&pool, account_kind, clock::now()).await?;
    installation.ensure_is_of(account_kind)?;
    if status::pool_status(&pool, clock::now()).await?.numbers.is_empty() {
        let ten = || TEN_NUMBERS.map(str::to_owned).to_vec();
        let numbers = if settings.pool_numbers.is_empty() { ten() } else { settings.pool_numbers.clone() };
        seed_release::seed(&pool, &numbers).await?;
    }
    let numbers = status::pool_status(&pool, clock::now()).await?.numbers;
    let console_link = console::first_link(&pool, clock::now()).await?;
    pool.close().await;
    let numbers = numbers.into_iter().map(|number| number.phone_e164).collect();
    Ok(Prepared { installation, numbers, console_link })
}

/// Starts a stand-in that keeps its state for this database, with secrets that were generated for this folder.
fn start_stand_in_with_file(
    listener: std::net::TcpListener,
    data: &DataDir,
    local: &str,
    settings: &config::Operator,
    prepared: &Prepared,
) -> anyhow::Result<StandIn> {
    let with_prefix = |prefix: &str, name: &str| {
        anyhow::Ok(SecretString::from(format!("{prefix}{}", data.secret(name)?.expose_secret())))
    };
    let secrets = StandInSecrets {
        auth_token: data.secret("stand-in-auth-token")?,
        stripe_secret: with_prefix("whsec_", "stand-in-stripe-secret")?,
        stripe_api_key: with_prefix("rk_test_", "stand-in-stripe-key")?,
    };
    let account = stand_in_account(local, settings.onboarding_number.as_str(), secrets);
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    // One file per database: texts of another database would be taken for texts that this one has missed.
    let file = data.path().join(format!("stand-in-{}.jsonl", prepared.installation.id));
    let stand_in = StandIn::start_with_file(listener, account, &file).context("reading what the stand-in remembers")?;
    stand_in.set_up_numbers(set_up_numbers(local, settings.onboarding_number.as_str(), &prepared.numbers));
    Ok(stand_in)
}

/// The secrets of a stand-in's account.
#[derive(Clone, Debug)]
pub struct StandInSecrets {
    /// The auth token.
    pub auth_token: SecretString,
    /// The secret of Stripe's webhook endpoint, `whsec_…`.
    pub stripe_secret: SecretString,
    /// The key of Stripe's API, `rk_test_…`.
    pub stripe_api_key: SecretString,
}

/// Returns the account of a stand-in.
#[must_use]
pub fn stand_in_account(webhook_base_url: &str, onboarding_number: &str, secrets: StandInSecrets) -> Account {
    Account {
        sid: STAND_IN_ACCOUNT_SID.to_owned(),
        auth_token: secrets.auth_token,
        stripe_secret: secrets.stripe_secret,
        stripe_api_key: secrets.stripe_api_key,
        onboarding_number: onboarding_number.to_owned(),
        webhook_base_url: webhook_base_url.to_owned(),
        delivery_reports: true,
    }
}

/// Starts a stand-in for Twilio at `addr`. Its state is lost when it stops.
///
/// # Errors
/// When the address is taken.
pub async fn start_stand_in(addr: &str, account: &Account) -> anyhow::Result<StandIn> {
    let listener = TcpListener::bind(addr).await.with_context(|| format!("listening on {addr}"))?;
    Ok(StandIn::start(listener, account.clone()))
}

/// Returns the settings with which programs use a stand-in. It signs with Twilio's default algorithm, so signature settings that
/// this process's environment has for another account are cleared.
#[must_use]
pub fn environment_of(account: &Account, stand_in: &StandIn) -> Environment {
    Environment::from([
        ("TWILIO_ACCOUNT_SID".to_owned(), account.sid.clone()),
        ("TWILIO_AUTH_TOKEN".to_owned(), account.auth_token.expose_secret().to_owned()),
        ("TWILIO_API_BASE_URL".to_owned(), stand_in.url()),
        ("TWILIO_ONBOARDING_NUMBER".to_owned(), account.onboarding_number.clone()),
        ("TWILIO_SIGNATURE_ALGORITHMS".to_owned(), String::new()),
        ("TWILIO_SIGNATURE_MODE".to_owned(), String::new()),
        ("TWILIO_SHARED_KEYS".to_owned(), String::new()),
        ("STRIPE_WEBHOOK_SECRET".to_owned(), account.stripe_secret.expose_secret().to_owned()),
        ("STRIPE_LIVEMODE".to_owned(), "false".to_owned()),
        ("STRIPE_API_KEY".to_owned(), account.stripe_api_key.expose_secret().to_owned()),
        ("STRIPE_API_BASE_URL".to_owned(), stand_in.url()),
    ])
}

/// Returns the URL at which this machine reaches a listener on `addr`.
pub(crate) fn local_url(addr: SocketAddr) -> String {
    if addr.ip().is_unspecified() { format!("http://127.0.0.1:{}", addr.port()) } else { format!("http://{addr}") }
}

fn print_where_to_look(data: &DataDir, places: &Places, running: &Running) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let ingress = local_url(places.ingress);
    writeln!(out, "\nJobRun onboarding is up. Ctrl-C stops all of it; data survives.\n")?;
    writeln!(out, "  webhooks   {ingress}/webhooks/…  ({ingress}/readyz)")?;
    let console = local_url(places.console);
    match &running.console_link {
        None => {
            writeln!(out, "  console    {console}  (`jobrun console user link admin` prints a link that logs you in)")?
        }
        Some(link) => writeln!(out, "  console    {console}/login?token={link}  (logs you in once, within an hour)")?,
    }
    match &running.postgres {
        None => writeln!(out, "  database   the one in DATABASE_URL")?,
        Some(_) => writeln!(out, "  database   psql {}", running.database_url.expose_secret())?,
    }
    writeln!(out, "  data       {}", data.path().display())?;
    match &running.stand_in {
        None => writeln!(out, "  Twilio     the account in TWILIO_ACCOUNT_SID")?,
        Some(_) => {
            let url = local_url(places.stand_in);
            writeln!(out, "  Twilio     a stand-in, which plays Stripe as well\n")?;
            writeln!(out, "Be a client: open {url}/ in a browser, and text from the phone there. Or with curl:\n")?;
            writeln!(out, "  curl -d from=+447900000001 --data-urlencode 'body=Plumber from London' {url}/texts")?;
            writeln!(out, "  curl {url}/messages")?;
            writeln!(out, "  curl {url}          (how to pay, to ring, and to make things go wrong)")?;
        }
    }
    writeln!(out)
}
