//! The test system: a throw-away database, a stand-in for Twilio and Stripe, and the real ingress and workers.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use jobrun_shared::db;
use jobrun_stand_in::{Account, StandIn, stripe, stripe_api};
use secrecy::{ExposeSecret, SecretString};
use sqlx::PgPool;

use crate::CONNECTIONS;
use crate::commands::up::{self, StandInSecrets};
use crate::programs::{Environment, Lines, Program, free_port};

/// How long a program may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the system may take until no event and no text waits.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(60);

/// The interval at which the database is queried for waiting events and texts.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The number that clients text.
pub(super) const ONBOARDING_NUMBER: &str = "+447476955179";

/// The settings that differ from their defaults, above all so that a test need not wait.
const SETTINGS: [(&str, &str); 9] = [
    ("PAYMENT_LINK_URL", ""),
    // A test that is about Stripe's list sets it.
    ("STRIPE_API_KEY", ""),
    // So that it does not matter when a test runs.
    ("QUIET_HOURS", "off"),
    ("LOG_FORMAT", "plain"),
    ("RUST_LOG", "info"),
    ("SWEEP_INTERVAL", "1s"),
    ("AUDIT_INTERVAL", "1s"),
    ("TWILIO_SEGMENTS_PER_SECOND", "1000000"),
    // Most tests use a pool of a few numbers, which would count as low stock.
    ("POOL_LEVEL_MIN", "0"),
];

/// The real programs, with a stand-in for Twilio and Stripe, and a database of their own.
#[derive(Debug)]
pub struct TestSystem {
    /// The database.
    pub pool: PgPool,
    /// The stand-in.
    pub stand_in: StandIn,
    /// The account that the stand-in plays.
    pub account: Account,
    /// The running ingress.
    pub ingress: Program,
    /// The running workers.
    pub workers: Vec<Program>,
    /// The folder of the programs.
    pub programs: std::path::PathBuf,
    /// The settings that the programs run with.
    pub environment: Environment,
}

impl TestSystem {
    /// Migrates the empty database at `url`, and starts everything on it.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn start(
        programs: &Path,
        url: &SecretString,
        workers: usize,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let pool = db::connect(url, CONNECTIONS).await?;
        db::migrate(&pool).await?;

        let ingress_addr = format!("127.0.0.1:{}", free_port()?);
        // The secrets may be constants, because the database is thrown away.
        let secrets = StandInSecrets {
            auth_token: SecretString::from("stand-in-token"),
            stripe_secret: SecretString::from(stripe::SECRET),
            stripe_api_key: SecretString::from(stripe_api::KEY),
        };
        let account = up::stand_in_account(&format!("http://{ingress_addr}"), ONBOARDING_NUMBER, secrets);
        let stand_in = up::start_stand_in("127.0.0.1:0", &account).await?;
        let mut environment = up::environment_of(&account, &stand_in);
        environment.insert("DATABASE_URL".to_owned(), url.expose_secret().to_owned());
        environment.insert("PUBLIC_BASE_URL".to_owned(), account.webhook_base_url.clone());
        environment.insert("INGRESS_ADDR".to_owned(), ingress_addr.clone());
        for (name, value) in SETTINGS.iter().chain(settings) {
            environment.insert((*name).to_owned(), (*value).to_owned());
        }

        let ingress = Program::start(programs, "jobrun-ingress", &environment, Lines::Kept)?;
        let mut system =
            Self { pool, stand_in, account, ingress, workers: Vec::new(), programs: programs.to_owned(), environment };
        for _ in 0..workers {
            system.start_worker()?;
        }
        system.ingress.wait_for_line("ingress listens", START_TIMEOUT).await?;
        for worker in &mut system.workers {
            worker.wait_for_line("takes jobs", START_TIMEOUT).await?;
        }
        Ok(system)
    }

    /// Starts the ingress again, after it was stopped.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_ingress(&mut self) -> anyhow::Result<()> {
        self.ingress = Program::start(&self.programs, "jobrun-ingress", &self.environment, Lines::Kept)?;
        self.ingress.wait_for_line("ingress listens", START_TIMEOUT).await
    }

    /// Starts one more worker.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_worker(&mut self) -> anyhow::Result<()> {
        self.workers.push(Program::start(&self.programs, "jobrun-worker", &self.environment, Lines::Kept)?);
        Ok(())
    }

    /// Runs `jobrun` with `arguments`, and returns its exit code (-1 after a signal), standard output and standard error.
    ///
    /// # Errors
    /// When it cannot be run.
    pub async fn operator(&self, arguments: &[&str]) -> anyhow::Result<(i32, String, String)> {
        let mut command = tokio::process::Command::new(self.programs.join("jobrun"));
        let output = command.args(arguments).envs(&self.environment).output().await.context("running jobrun")?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr)))
    }

    /// Waits until no event waits in the inbox, and no text in the outbox.
    ///
    /// # Errors
    /// When an event or a text still waits after a minute.
    pub async fn settle(&self) -> anyhow::Result<()> {
        self.settle_within(SETTLE_TIMEOUT).await
    }

    /// As [`TestSystem::settle`], with another limit.
    ///
    /// # Errors
    /// When an event or a text still waits after `timeout`.
    pub async fn settle_within(&self, timeout: Duration) -> anyhow::Result<()> {
        let deadline = tokio::time::Instant::now() + timeout;
        loop {
            let (events, messages): (i64, i64) = sqlx::query_as(
                "SELECT (SELECT count(*) FROM events WHERE processed_at IS NULL),
                        (SELECT count(*) FROM messages WHERE status IN ('queued', 'sending', 'unknown'))",
            )
            .fetch_one(&self.pool)
            .await?;
            if events == 0 && messages == 0 {
                return Ok(());
            }
            if tokio::time::Instant::now() > deadline {
                bail!("after {timeout:?}, {events} events and {messages} texts still wait; {}", self.last_lines());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Returns the last ten lines of each worker.
    #[must_use]
    pub fn last_lines(&self) -> String {
        let last =
            |worker: &Program| worker.lines().iter().rev().take(10).rev().cloned().collect::<Vec<_>>().join("\n");
        self.workers.iter().map(last).collect::<Vec<_>>().join("\n--\n")
    }

    /// Stops everything, as an operator would.
    ///
    /// # Errors
    /// When a program does not stop in time.
    pub async fn shut_down(mut self) -> anyhow::Result<()> {
        self.ingress.stop().await?;
        for worker in &mut self.workers {
            worker.stop().await?;
        }
        self.pool.close().await;
        Ok(())
    }
}
