//! The set-up that every section uses: a PostgreSQL server, test systems on it, and phone numbers of unknown clients.

use std::cell::Cell;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use jobrun::CONNECTIONS;
use jobrun::demo::TestSystem;
use jobrun::local_postgres::{Data, LocalPostgres};
use jobrun_shared::db;
use secrecy::{ExposeSecret, SecretString};
use sqlx::AssertSqlSafe;

/// The default intervals, which the test system shortens. It also lifts Twilio's speed limit, which stays lifted.
/// The log keeps the daemons' own lines, such as that they have started, and only warnings of all other crates.
const SETTINGS: [(&str, &str); 3] =
    [("SWEEP_INTERVAL", "60s"), ("AUDIT_INTERVAL", "5m"), ("RUST_LOG", "warn,jobrun_ingress=info,jobrun_worker=info")];

/// How often a condition is polled.
const POLL_EVERY: Duration = Duration::from_millis(2);

/// Settings of the daemons.
pub(crate) type Settings = [(&'static str, &'static str)];

pub(crate) struct Bench {
    pub(crate) programs: PathBuf,
    pub(crate) postgres: LocalPostgres,
    databases: Cell<usize>,
    people: Cell<usize>,
    /// Texts a second with one worker, once the section `texts` has measured them.
    pub(crate) one_worker_rate: Cell<Option<f64>>,
}

impl Bench {
    /// Builds the programs, and starts a PostgreSQL with durability on.
    pub(crate) async fn set_up() -> anyhow::Result<Self> {
        let programs = jobrun_tests::programs();
        let postgres = LocalPostgres::start_temporary(Data::Measured, &jobrun_tests::path()).await?;
        Ok(Self { programs, postgres, databases: Cell::new(0), people: Cell::new(0), one_worker_rate: Cell::new(None) })
    }

    fn next_name(&self) -> String {
        let number = self.databases.get() + 1;
        self.databases.set(number);
        format!("bench_{number}")
    }

    /// Creates an empty database. Returns its URL.
    pub(crate) async fn database(&self) -> SecretString {
        jobrun_tests::database_on(&self.postgres, &self.next_name()).await
    }

    /// Creates a copy of the database at `template`, to which nothing may be connected. Returns its URL. The files are copied
    /// between two checkpoints, so every copy begins at the same distance from the last one.
    pub(crate) async fn copy_of(&self, template: &SecretString) -> anyhow::Result<SecretString> {
        let (name, template) = (self.next_name(), name_of(template)?);
        self.on_server(format!("CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")).await?;
        Ok(db::sibling_url(self.postgres.url(), &name)?)
    }

    /// Starts a test system on a new database.
    pub(crate) async fn test_system(&self, workers: usize, settings: &Settings) -> anyhow::Result<TestSystem> {
        let url = self.database().await;
        self.test_system_on(&url, workers, settings).await
    }

    /// Starts a test system on the database at `url`.
    pub(crate) async fn test_system_on(
        &self,
        url: &SecretString,
        workers: usize,
        settings: &Settings,
    ) -> anyhow::Result<TestSystem> {
        let settings: Vec<(&str, &str)> = SETTINGS.iter().chain(settings).copied().collect();
        TestSystem::start(&self.programs, url, workers, &settings).await
    }

    /// Stops the programs of a test system, and drops its database.
    pub(crate) async fn drop_system(&self, system: TestSystem) -> anyhow::Result<()> {
        let url = SecretString::from(system.environment.get("DATABASE_URL").context("DATABASE_URL is set")?.as_str());
        system.shut_down().await?;
        self.drop_database(&url).await
    }

    /// Drops a database, which the server's background processes would otherwise maintain until the end.
    pub(crate) async fn drop_database(&self, url: &SecretString) -> anyhow::Result<()> {
        let name = name_of(url)?;
        self.on_server(format!("DROP DATABASE {name} WITH (FORCE)")).await
    }

    /// Gives the server's setting `name` a value, or its default.
    pub(crate) async fn configure(&self, name: &str, value: Option<&str>) -> anyhow::Result<()> {
        let change = value.map_or_else(|| format!("RESET {name}"), |value| format!("SET {name} = '{value}'"));
        self.on_server(format!("ALTER SYSTEM {change}")).await?;
        self.on_server("SELECT pg_reload_conf()".to_owned()).await
    }

    async fn on_server(&self, statement: String) -> anyhow::Result<()> {
        let server = db::connect(self.postgres.url(), CONNECTIONS).await?;
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&server).await?;
        server.close().await;
        Ok(())
    }

    /// Returns the phone numbers, E.164, of people who are not known yet.
    pub(crate) fn strangers(&self, count: usize) -> Vec<String> {
        let from = self.people.get() + 1;
        self.people.set(from + count);
        (from..from + count).map(jobrun_tests::phone).collect()
    }
}

fn name_of(url: &SecretString) -> anyhow::Result<String> {
    let options: sqlx::postgres::PgConnectOptions = url.expose_secret().parse()?;
    Ok(options.get_database().context("a database has a name")?.to_owned())
}

/// Waits until `condition` holds. Returns whether it held before `deadline`.
pub(crate) async fn wait_until(deadline: Instant, mut condition: impl FnMut() -> bool) -> bool {
    while !condition() {
        if Instant::now() > deadline {
            return false;
        }
        tokio::time::sleep(POLL_EVERY).await;
    }
    true
}

/// As [`wait_until`], but it is an error if the condition does not hold in time.
pub(crate) async fn ensure_within(within: Duration, what: &str, condition: impl FnMut() -> bool) -> anyhow::Result<()> {
    ensure!(wait_until(Instant::now() + within, condition).await, "after {within:?}, still not so: {what}");
    Ok(())
}
