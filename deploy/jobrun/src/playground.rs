//! The database of `jobrun up`, as far as the stand-in's phone page commands it: time passes, a worker sweeps, all begins anew.

use std::fmt;
use std::time::Duration;

use chrono::TimeDelta;
use jobrun_shared::clock;
use jobrun_shared::numbers::{account_check, status};
use jobrun_shared::queue::{self, Queue};
use jobrun_stand_in::{Done, Number, System};
use jobrun_twilio::webhooks::Purpose;
use sqlx::PgPool;

/// How often the tables are locked anew after a deadlock with the programs at work.
const ATTEMPTS_MAX: usize = 5;

/// The pause between such attempts.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// The system around the stand-in.
pub struct Playground {
    pool: PgPool,
    public_base_url: String,
    onboarding_number: String,
    /// Whether this `jobrun up` runs the database itself. Another one may be shared, and is not emptied.
    owns_database: bool,
}

impl fmt::Debug for Playground {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Playground").field("owns_database", &self.owns_database).finish_non_exhaustive()
    }
}

impl Playground {
    /// Returns the system of a database.
    #[must_use]
    pub const fn new(pool: PgPool, public_base_url: String, onboarding_number: String, owns_database: bool) -> Self {
        Self { pool, public_base_url, onboarding_number, owns_database }
    }

    /// Makes every row older.
    async fn age(&self, time: TimeDelta) -> anyhow::Result<()> {
        let seconds = format!("{} seconds", time.num_seconds());
        self.run_beside_the_programs(include_str!("pass_time.sql"), &seconds).await
    }

    /// Deletes all that clients did.
    async fn empty(&self) -> anyhow::Result<()> {
        self.run_beside_the_programs(include_str!("begin_anew.sql"), "0 seconds").await
    }

    /// Runs statements that lock many tables, in one transaction, with the setting `jobrun.passed`. Begins anew after a
    /// deadlock with the programs at work.
    async fn run_beside_the_programs(&self, statements: &'static str, passed: &str) -> anyhow::Result<()> {
        let mut attempts_left = ATTEMPTS_MAX;
        loop {
            let done = self.run_once(statements, passed).await;
            attempts_left -= 1;
            match done {
                Err(error) if attempts_left > 0 && is_deadlock(&error) => tokio::time::sleep(RETRY_AFTER).await,
                Err(error) => return Err(error.into()),
                Ok(()) => return Ok(()),
            }
        }
    }

    async fn run_once(&self, statements: &'static str, passed: &str) -> sqlx::Result<()> {
        let mut tx = self.pool.begin().await?;
        sqlx::query("SELECT set_config('jobrun.passed', $1, TRUE)").bind(passed).execute(&mut *tx).await?;
        sqlx::raw_sql(statements).execute(&mut *tx).await?;
        tx.commit().await
    }

    /// Fails if others may use the database.
    fn ensure_owned(&self) -> Result<(), String> {
        if self.owns_database {
            return Ok(());
        }
        Err("The database in DATABASE_URL may be shared, and is left as it is.".to_owned())
    }

    async fn enqueue_sweep(&self) -> anyhow::Result<()> {
        let mut tx = self.pool.begin().await?;
        for queue in [Queue::ProcessEvents, Queue::SendMessages, Queue::Sweep] {
            queue::enqueue(&mut tx, queue).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    async fn pool_numbers(&self) -> anyhow::Result<Vec<Number>> {
        let numbers = status::pool_status(&self.pool, clock::now()).await?.numbers;
        let numbers: Vec<String> = numbers.into_iter().map(|number| number.phone_e164).collect();
        Ok(set_up_numbers(&self.public_base_url, &self.onboarding_number, &numbers))
    }
}

/// Returns the numbers of a stand-in's account, each with its webhook addresses set.
#[must_use]
pub fn set_up_numbers(public_base_url: &str, onboarding_number: &str, pool: &[String]) -> Vec<Number> {
    let set_up = |number: &str, purpose: Purpose| {
        let fields = account_check::set_up(purpose, public_base_url);
        fields.iter().fold(Number::new(number), |number, (field, value)| number.with(field, value))
    };
    let handed_out = pool.iter().map(|number| set_up(number, Purpose::Pool));
    std::iter::once(set_up(onboarding_number, Purpose::Onboarding)).chain(handed_out).collect()
}

fn is_deadlock(error: &sqlx::Error) -> bool {
    const DEADLOCK_OR_LOCK_TIMEOUT: [&str; 2] = ["40P01", "55P03"];
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| DEADLOCK_OR_LOCK_TIMEOUT.contains(&code.as_ref()))
}

impl System for Playground {
    fn pass(&self, time: TimeDelta) -> Done<'_, ()> {
        Box::pin(async move {
            self.ensure_owned()?;
            self.age(time).await.map_err(|error| error.to_string())?;
            self.enqueue_sweep().await.map_err(|error| error.to_string())
        })
    }

    fn sweep(&self) -> Done<'_, ()> {
        Box::pin(async move { self.enqueue_sweep().await.map_err(|error| error.to_string()) })
    }

    fn reset(&self) -> Done<'_, ()> {
        Box::pin(async move {
            self.ensure_owned()?;
            self.empty().await.map_err(|error| error.to_string())
        })
    }

    fn numbers(&self) -> Done<'_, Vec<Number>> {
        Box::pin(async move { self.pool_numbers().await.map_err(|error| error.to_string()) })
    }
}
