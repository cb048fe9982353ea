//! What every section needs: a server for databases, stages on them, and people nobody has heard of.

use std::cell::Cell;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use jobrun::CONNECTIONS;
use jobrun::demo::Stage;
use jobrun::local_postgres::{Data, LocalPostgres};
use jobrun_shared::config::Secret;
use jobrun_shared::db;
use sqlx::AssertSqlSafe;

/// As by default, but for Twilio's speed limit, which the stage lifts. The daemons say that they have started, and of
/// everything else only what is wrong.
const SETTINGS: [(&str, &str); 3] =
    [("SWEEP_INTERVAL", "60s"), ("AUDIT_INTERVAL", "5m"), ("RUST_LOG", "warn,jobrun_ingress=info,jobrun_worker=info")];

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Settings of the daemons.
pub(crate) type Settings = [(&'static str, &'static str)];

pub(crate) struct Bench {
    programs: PathBuf,
    pub(crate) postgres: LocalPostgres,
    databases: Cell<usize>,
    people: Cell<usize>,
    /// Texts a second with one worker, once somebody has measured them.
    pub(crate) one_worker_rate: Cell<Option<f64>>,
}

impl Bench {
    /// Builds the programs, and starts a PostgreSQL that treats its data as if it mattered.
    pub(crate) async fn set_up() -> anyhow::Result<Self> {
        let programs = jobrun_tests::programs();
        let postgres = LocalPostgres::start_temporary(Data::Measured, &jobrun_tests::path()).await?;
        Ok(Self { programs, postgres, databases: Cell::new(0), people: Cell::new(0), one_worker_rate: Cell::new(None) })
    }

    /// A new, empty database.
    pub(crate) async fn database(&self) -> Secret {
        let number = self.databases.get() + 1;
        self.databases.set(number);
        jobrun_tests::database_on(&self.postgres, &format!("bench_{number}")).await
    }

    /// The programs on a new database.
    pub(crate) async fn stage(&self, workers: usize, settings: &Settings) -> anyhow::Result<Stage> {
        let url = self.database().await;
        self.stage_on(&url, workers, settings).await
    }

    /// The programs on the database at `url`.
    pub(crate) async fn stage_on(&self, url: &Secret, workers: usize, settings: &Settings) -> anyhow::Result<Stage> {
        let settings: Vec<(&str, &str)> = SETTINGS.iter().chain(settings).copied().collect();
        Stage::set(&self.programs, url, workers, &settings).await
    }

    /// Stops the programs of a stage, and removes its database.
    pub(crate) async fn clear_away(&self, stage: Stage) -> anyhow::Result<()> {
        let url = Secret::new(stage.environment.get("DATABASE_URL").context("a stage has a database")?);
        stage.strike().await?;
        self.drop_database(&url).await
    }

    /// Removes a database: the server would look after it for ever.
    pub(crate) async fn drop_database(&self, url: &Secret) -> anyhow::Result<()> {
        let options: sqlx::postgres::PgConnectOptions = url.expose().parse()?;
        let name = options.get_database().context("a database has a name")?;
        let server = db::connect(self.postgres.url(), CONNECTIONS).await?;
        sqlx::raw_sql(AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"))).execute(&server).await?;
        server.close().await;
        Ok(())
    }

    /// The phones of people nobody has heard of.
    pub(crate) fn strangers(&self, count: usize) -> Vec<String> {
        let from = self.people.get() + 1;
        self.people.set(from + count);
        (from..from + count).map(jobrun_tests::phone).collect()
    }
}

/// Waits until `condition` holds, and answers whether it came to that in time.
pub(crate) async fn comes_true(deadline: Instant, mut condition: impl FnMut() -> bool) -> bool {
    while !condition() {
        if Instant::now() > deadline {
            return false;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    true
}

/// As [`comes_true`], for what has to.
pub(crate) async fn must_come_true(
    within: Duration,
    what: &str,
    condition: impl FnMut() -> bool,
) -> anyhow::Result<()> {
    ensure!(comes_true(Instant::now() + within, condition).await, "after {within:?}, still not so: {what}");
    Ok(())
}
