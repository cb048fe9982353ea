//! The queues, and how jobs are put into them.

use apalis::prelude::TaskBuilder;
use apalis_postgres::queries::push_tasks;
use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgConnection, PgPool};
use ulid::Ulid;

/// How often a failing job is tried before it is left to the sweep.
pub(super) const ATTEMPTS_MAX: usize = 5;

/// `run_at` of immediate jobs, in seconds since 1970. The epoch is past by every clock.
const LONG_AGO: u64 = 0;

/// The queues. Their names are stored with the jobs: a queue is retired, never renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// Events may wait in the inbox.
    ProcessEvents,
    /// Texts may wait in the outbox.
    SendMessages,
    /// Numbers may have become free.
    Sweep,
    /// Twilio may have texts or delivery reports that did not reach us.
    Reconcile,
    /// Stripe may have events that did not reach us, or know the status of a subscription in doubt.
    ReconcileStripe,
    /// Texts may wait that an operator chose to send again, or to drop.
    BulkActions,
}

impl Queue {
    /// Every queue.
    pub const ALL: [Self; 6] = [
        Self::ProcessEvents,
        Self::SendMessages,
        Self::Sweep,
        Self::Reconcile,
        Self::ReconcileStripe,
        Self::BulkActions,
    ];

    /// Returns the name under which its jobs are stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ProcessEvents => "process-events",
            Self::SendMessages => "send-messages",
            Self::Sweep => "sweep",
            Self::Reconcile => "reconcile",
            Self::ReconcileStripe => "reconcile-stripe",
            Self::BulkActions => "bulk-actions",
        }
    }
}

/// The payload of every job, which is empty.
#[derive(Serialize)]
struct EmptyJob {}

/// An error of the job queue.
pub type Error = apalis_postgres::Error;

/// Enqueues a job that is due as soon as the transaction commits. Idle workers find it within a second, and at once if it is
/// announced after the commit ([`super::Announcer`]).
pub async fn enqueue(conn: &mut PgConnection, queue: Queue) -> Result<(), Error> {
    push_tasks(conn, queue.name(), vec![job()?.run_at_timestamp(LONG_AGO).build()]).await
}

/// Enqueues a job that runs in the second after `at`. The queue keeps whole seconds.
pub async fn enqueue_at(conn: &mut PgConnection, queue: Queue, at: DateTime<Utc>) -> Result<(), Error> {
    push_tasks(conn, queue.name(), vec![job()?.run_at_timestamp(second_after(at)).build()]).await
}

/// As [`enqueue_at`], in a transaction of its own, unless such a job for the same second waits already. Then many workers that find
/// the same unfinished work enqueue one job.
pub async fn enqueue_once_at(pool: &PgPool, queue: Queue, at: DateTime<Utc>) -> Result<(), Error> {
    let key = format!("once-{}", second_after(at));
    let mut conn = pool.acquire().await?;
    let job_of_that_second = sqlx::query!(
        r#"SELECT EXISTS (SELECT FROM apalis.jobs WHERE job_type = $1 AND idempotency_key = $2) AS "known!", now() AS "now!""#,
        queue.name(),
        key
    );
    let found = job_of_that_second.fetch_one(&mut *conn).await?;
    if found.known {
        return Ok(());
    }
    // If the database's clock is ahead of ours, `at` may be past by it: the job would run at once, and be enqueued again and again.
    let job = job()?.run_at_timestamp(second_after(at.max(found.now))).idempotency_key(key);
    match push_tasks(&mut *conn, queue.name(), vec![job.build()]).await {
        // Another worker was faster.
        Err(Error::Database(sqlx::Error::Database(error))) if error.is_unique_violation() => Ok(()),
        pushed => pushed,
    }
}

/// A job that is due at once, for a statement that inserts it with the rows that it is about: one round trip for both.
#[derive(Clone, Debug)]
pub(crate) struct ImmediateJob {
    /// `apalis.jobs.id`, a ULID.
    pub(crate) id: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) attempts_max: i32,
}

impl ImmediateJob {
    pub(crate) fn new() -> Result<Self, Error> {
        let (id, payload) = (Ulid::generate().to_string(), empty_payload()?);
        Ok(Self { id, payload, attempts_max: ATTEMPTS_MAX as i32 })
    }
}

fn second_after(at: DateTime<Utc>) -> u64 {
    u64::try_from(at.timestamp() + 1).unwrap_or_default()
}

fn job() -> Result<TaskBuilder<Vec<u8>>, Error> {
    Ok(TaskBuilder::new(empty_payload()?).max_attempts(ATTEMPTS_MAX))
}

fn empty_payload() -> Result<Vec<u8>, Error> {
    serde_json::to_vec(&EmptyJob {}).map_err(Error::JsonError)
}
