//! The only door to apalis, the job queue.
//!
//! A job is a nudge: it says that there may be something to do, and carries no input. The rows say what; so a job may be
//! lost, doubled or late, and the sweeper makes up for it. Jobs are pushed inside the transaction that makes the work, and
//! become visible with it.

use std::time::Duration;

use apalis::prelude::TaskBuilder;
use apalis_postgres::{Config, PostgresStorage, queries::push_tasks};
use backon::{BackoffBuilder, ExponentialBuilder};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};

/// How often a worker says that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// After this many silent heartbeats its jobs go to others: about 15 seconds after it died.
const HEARTBEATS_MISSED_MAX: usize = 3;

/// How many jobs of a queue one process does side by side, and takes at a time: with more in reserve, it would not say that it
/// is alive while it is busy.
pub const JOBS_AT_ONCE: usize = 2;

/// How many finished jobs are removed in one statement.
const REMOVED_AT_ONCE: i64 = 1000;

/// How often a job that fails is tried before it is left to the sweeper.
const ATTEMPTS_MAX: usize = 5;

/// What jobs there are. The names are stored with jobs that wait: a queue is retired, never renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// Events wait in the inbox.
    ProcessEvents,
    /// Texts wait in the outbox.
    SendMessages,
    /// Numbers may have become free.
    Sweep,
    /// Twilio may know something that it has not told us.
    Reconcile,
}

impl Queue {
    /// The name under which its jobs are stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ProcessEvents => "process-events",
            Self::SendMessages => "send-messages",
            Self::Sweep => "sweep",
            Self::Reconcile => "reconcile",
        }
    }
}

/// The payload of every job: nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nudge {}

/// The queue refused.
pub type Error = apalis_postgres::Error;

/// Pushes a job, to run as soon as the transaction commits.
///
/// # Errors
/// When the database does not take it.
pub async fn nudge(conn: &mut PgConnection, queue: Queue) -> Result<(), Error> {
    push_tasks(conn, queue.name(), vec![job()?.build()]).await
}

/// Pushes a job that runs in the second after `at`, which is as fine as the queue keeps time.
///
/// # Errors
/// When the database does not take it.
pub async fn nudge_at(conn: &mut PgConnection, queue: Queue, at: DateTime<Utc>) -> Result<(), Error> {
    push_tasks(conn, queue.name(), vec![job()?.run_at_timestamp(second_after(at)).build()]).await
}

/// As [`nudge_at`], in a transaction of its own, and not if there is such a job for the same second: so that many who find
/// the same thing unfinished do not make many jobs of it.
///
/// # Errors
/// When the database does not take it.
pub async fn nudge_once_at(pool: &PgPool, queue: Queue, at: DateTime<Utc>) -> Result<(), Error> {
    let second = second_after(at);
    let job = job()?.run_at_timestamp(second).idempotency_key(format!("once-{second}"));
    let mut conn = pool.acquire().await?;
    match push_tasks(&mut *conn, queue.name(), vec![job.build()]).await {
        Err(Error::Database(sqlx::Error::Database(error))) if error.is_unique_violation() => Ok(()),
        pushed => pushed,
    }
}

fn second_after(at: DateTime<Utc>) -> u64 {
    u64::try_from(at.timestamp() + 1).unwrap_or_default()
}

fn job() -> Result<TaskBuilder<Vec<u8>>, Error> {
    Ok(TaskBuilder::new(serde_json::to_vec(&Nudge {}).map_err(Error::JsonError)?).max_attempts(ATTEMPTS_MAX))
}

/// How a worker takes jobs from `queue`.
#[must_use]
pub fn config(queue: Queue) -> Config {
    Config::default()
        .queue(queue.name())
        .batch_size(JOBS_AT_ONCE)
        .heartbeat_interval(HEARTBEAT)
        .missed_heartbeats(HEARTBEATS_MISSED_MAX)
        // A lock written at the start of each job would only say what taking it from the queue has said already.
        .lock_tasks(false)
}

/// How long a job that failed for the `attempt`th time waits before it fails for good: the queue itself would try again
/// at once. Half a second at first, doubling, at most eight.
#[must_use]
pub fn delay_after_failure(attempt: usize) -> Duration {
    let delays =
        ExponentialBuilder::new().with_min_delay(Duration::from_millis(500)).with_max_delay(Duration::from_secs(8));
    delays.without_max_times().build().nth(attempt.saturating_sub(1)).unwrap_or(Duration::from_secs(8))
}

/// Applies the queue's own migrations, which live in a schema of their own.
///
/// # Errors
/// When the database does not take them.
pub async fn migrate(pool: &PgPool) -> Result<(), Error> {
    PostgresStorage::setup(pool).await
}

/// Whether the queue's own migrations have been applied. Checked when it runs and not when it compiles: they are not ours.
///
/// # Errors
/// When the database does not answer.
pub async fn is_migrated(pool: &PgPool) -> Result<bool, sqlx::Error> {
    let exists = sqlx::query_scalar::<_, bool>("SELECT to_regclass('apalis._sqlx_migrations') IS NOT NULL");
    if !exists.fetch_one(pool).await? {
        return Ok(false);
    }
    let applied: Vec<i64> =
        sqlx::query_scalar("SELECT version FROM apalis._sqlx_migrations WHERE success").fetch_all(pool).await?;
    Ok(PostgresStorage::migrations().iter().all(|migration| applied.contains(&migration.version)))
}

/// Removes finished jobs that are older than `age`, a step at a time, and workers that are long gone: the queue looks through
/// both at every heartbeat. Not checked when it compiles, as above.
///
/// # Errors
/// When the database does not answer.
pub async fn remove_finished(pool: &PgPool, age: Duration) -> Result<u64, sqlx::Error> {
    let mut removed = 0;
    loop {
        let step = sqlx::query(
            "DELETE FROM apalis.jobs WHERE id IN (
                 SELECT id FROM apalis.jobs
                 WHERE (status IN ('Done', 'Killed') OR (status = 'Failed' AND attempts >= max_attempts))
                   AND done_at < now() - $1
                 LIMIT $2 FOR UPDATE SKIP LOCKED)",
        );
        let step = step.bind(age).bind(REMOVED_AT_ONCE).execute(pool).await?.rows_affected();
        removed += step;
        if step < REMOVED_AT_ONCE.unsigned_abs() {
            break;
        }
    }
    let gone = "DELETE FROM apalis.workers WHERE last_seen < now() - INTERVAL '1 day'
                  AND NOT EXISTS (SELECT FROM apalis.jobs WHERE lock_by = workers.id)";
    sqlx::query(gone).execute(pool).await?;
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_job_waits_longer_each_time_and_not_for_ever() {
        let delays: Vec<u128> = (1..=6).map(|attempt| delay_after_failure(attempt).as_millis()).collect();
        assert_eq!(delays, [500, 1000, 2000, 4000, 8000, 8000]);
    }
}
