//! The backend of a worker: takes jobs from apalis's tables, and gives them back.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use apalis::prelude::{Backend, Task, TaskBuilder, WorkerContext};
use apalis_core::backend::BackendConfig;
use apalis_core::backend::finalize::Ephemeral;
use apalis_postgres::queries::{keep_alive, reenqueue_orphaned};
use chrono::{DateTime, Utc};
use futures::FutureExt;
use futures::future::BoxFuture;
use sqlx::PgPool;
use tower_layer::Identity;

use super::enqueue::{ATTEMPTS_MAX, Error, Queue, enqueue};
use super::notify::{JobNotifier, RESTART_DELAY};
use crate::db::{BrokenConnection, ConnectionLost, Health};
use crate::{backoff, metrics};

/// The time between two heartbeats of a worker.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// After so many seconds without a heartbeat a worker counts as dead, and its jobs go to others.
const DEAD_AFTER_SECONDS: u64 = 15;

/// How often a worker that ends tries to unregister. Each attempt waits for a lock for at most 250 ms.
const UNREGISTER_ATTEMPTS: usize = 5;

/// The most jobs that are taken as one.
const TAKEN_AT_ONCE: i64 = 1000;

/// A job that a worker has taken.
#[derive(Clone, Debug)]
pub struct Job {
    queue: Queue,
    id: String,
    worker: String,
    /// Which attempt this is, from 1.
    pub attempt: usize,
    /// Since when the job was due, if its id tells.
    pub due_since: Option<DateTime<Utc>>,
}

/// An error of the queue in words for an operator.
struct Described<'a>(&'a Error);

impl fmt::Display for Described<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Error::Database(error) => BrokenConnection(error).fmt(formatter),
            other => other.fmt(formatter),
        }
    }
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// No work is left.
    Done,
    /// There may be more work: the job is enqueued again, for any worker.
    Again,
    /// The job failed, and is tried again after a delay.
    Failed,
}

impl End {
    /// Returns its name, for metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Again => "again",
            Self::Failed => "failed",
        }
    }
}

/// The backend of one worker, which takes the jobs of one queue.
pub struct Jobs {
    pool: PgPool,
    queue: Queue,
    notifier: JobNotifier,
    registration: Registration,
    taking: Option<BoxFuture<'static, Result<Job, Error>>>,
    closing: Option<BoxFuture<'static, Result<(), Error>>>,
    /// Whether a heartbeat has succeeded. Only then does a take show that the database is back.
    has_beaten: Arc<AtomicBool>,
}

/// The registration of a worker. Its heartbeats tell the others that it lives.
enum Registration {
    Unregistered { delay: Duration },
    Registering(BoxFuture<'static, Result<(), Error>>),
    Alive(BoxFuture<'static, Error>),
}

impl Jobs {
    /// Returns the backend of a worker of `queue`. A worker that has restarted (`restarts` > 0) waits before it registers.
    #[must_use]
    pub fn new(pool: &PgPool, queue: Queue, notifier: &JobNotifier, restarts: usize) -> Self {
        let delay = if restarts == 0 { Duration::ZERO } else { RESTART_DELAY };
        let registration = Registration::Unregistered { delay };
        let (pool, notifier) = (pool.clone(), notifier.clone());
        Self { pool, queue, notifier, registration, taking: None, closing: None, has_beaten: Arc::default() }
    }

    /// Has the log tell that the queue begins anew.
    fn lost(&self, error: Error) -> Error {
        let words = Described(&error);
        self.notifier.health.outage.warn(
            self.queue.name(),
            &words,
            "the job queues lost their database, and begin anew every second until they have it again",
        );
        error
    }
}

impl Backend for Jobs {
    type Task = Task<Job>;
    type Error = Error;

    /// Ready once the worker is registered. Polling drives its heartbeats.
    fn poll_ready(&mut self, cx: &mut Context<'_>, worker: &WorkerContext) -> Poll<Result<(), Error>> {
        loop {
            match &mut self.registration {
                Registration::Unregistered { delay } => {
                    let registering = register(self.pool.clone(), self.queue, worker.clone(), *delay);
                    self.registration =
                        Registration::Registering(unless_lost(self.notifier.health.clone(), registering).boxed());
                }
                Registration::Registering(registering) => {
                    ready!(registering.poll_unpin(cx)).map_err(|error| self.lost(error))?;
                    let (health, has_beaten) = (self.notifier.health.clone(), Arc::clone(&self.has_beaten));
                    let alive = send_heartbeats(self.pool.clone(), self.queue, health, worker.clone(), has_beaten);
                    self.registration = Registration::Alive(alive.boxed());
                }
                Registration::Alive(alive) => {
                    return match alive.poll_unpin(cx) {
                        Poll::Pending => Poll::Ready(Ok(())),
                        Poll::Ready(error) => Poll::Ready(Err(self.lost(error))),
                    };
                }
            }
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>, worker: &WorkerContext) -> Poll<Option<Result<Task<Job>, Error>>> {
        let taking = self.taking.get_or_insert_with(|| {
            let has_beaten = Arc::clone(&self.has_beaten);
            take_next(self.pool.clone(), self.queue, self.notifier.clone(), worker.name().to_owned(), has_beaten)
                .boxed()
        });
        let taken = ready!(taking.poll_unpin(cx));
        self.taking = None;
        Poll::Ready(Some(taken.map(|job| TaskBuilder::new(job).build()).map_err(|error| self.lost(error))))
    }

    /// Called when every taken job has ended. A job that was just being taken goes back to the queue.
    fn poll_close(&mut self, cx: &mut Context<'_>, worker: &WorkerContext) -> Poll<Result<(), Error>> {
        self.taking = None;
        let closing =
            self.closing.get_or_insert_with(|| unregister(self.pool.clone(), worker.name().to_owned()).boxed());
        closing.poll_unpin(cx)
    }
}

impl BackendConfig for Jobs {
    type Args = Job;
    type Id = String;
    type Kind = Ephemeral;
    type Config = Queue;
    type Layer = Identity;

    fn config(&self) -> &Queue {
        &self.queue
    }

    fn middleware(&mut self, _: &mut WorkerContext) -> Identity {
        Identity::new()
    }
}

/// Registers the worker, so that its jobs are given to others if it dies.
async fn register(pool: PgPool, queue: Queue, worker: WorkerContext, delay: Duration) -> Result<(), Error> {
    tokio::time::sleep(delay).await;
    sqlx::query!(
        "INSERT INTO apalis.workers (id, worker_type, storage_name, layers, last_seen) VALUES ($1, $2, 'jobrun', '', now())
         ON CONFLICT (id) DO UPDATE SET last_seen = now()",
        worker.name(),
        queue.name()
    )
    .execute(&pool)
    .await?;
    Ok(())
}

/// Sends heartbeats, and gives the jobs of dead workers to others. Returns the first error.
async fn send_heartbeats(
    pool: PgPool,
    queue: Queue,
    health: Health,
    worker: WorkerContext,
    has_beaten: Arc<AtomicBool>,
) -> Error {
    loop {
        if let Err(error) = unless_lost(health.clone(), heartbeat(&pool, queue, &worker)).await {
            return error;
        }
        has_beaten.store(true, Ordering::Release);
        tokio::time::sleep(HEARTBEAT).await;
    }
}

async fn heartbeat(pool: &PgPool, queue: Queue, worker: &WorkerContext) -> Result<(), Error> {
    let mut conn = pool.acquire().await?;
    keep_alive(&mut *conn, queue.name(), worker).await?;
    let orphaned = reenqueue_orphaned(&mut *conn, queue.name(), DEAD_AFTER_SECONDS).await?;
    metrics::jobs_orphaned(queue.name(), orphaned);
    Ok(())
}

/// Takes the due jobs, or waits until there are some.
async fn take_next(
    pool: PgPool,
    queue: Queue,
    notifier: JobNotifier,
    worker: String,
    has_beaten: Arc<AtomicBool>,
) -> Result<Job, Error> {
    loop {
        let taken = unless_lost(notifier.health.clone(), take(&pool, queue, &worker)).await?;
        if has_beaten.load(Ordering::Acquire) {
            notifier.health.outage.end(queue.name(), "the job queues have their database again");
        }
        if let Some(job) = taken {
            return Ok(job);
        }
        notifier.wait(queue).await;
    }
}

/// Gives up `work` when the connections to the database are given up.
async fn unless_lost<T>(health: Health, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let lost =
        |_: ConnectionLost| Error::Database(sqlx::Error::Protocol("the database does not answer any more".to_owned()));
    health.unless_lost(work).await.map_err(lost)?
}

/// Takes all due jobs as one: keeps the one with the fewest attempts, and deletes the others.
///
/// This commit, and that of [`remove`], wait for neither the disk nor the standby. A job that is there again after a crash of the
/// server finds nothing to do; one that still belongs to this worker is taken again when the worker is gone.
async fn take(pool: &PgPool, queue: Queue, worker: &str) -> Result<Option<Job>, Error> {
    let taken = sqlx::query!(
        r#"WITH without_waiting AS MATERIALIZED (
               SELECT set_config('synchronous_commit', 'off', TRUE)
           ), due AS (
               SELECT id, attempts FROM apalis.jobs AS jobs CROSS JOIN without_waiting
               WHERE job_type = $2 AND run_at < now() AND (status = 'Pending' OR (status = 'Failed' AND attempts < max_attempts))
               ORDER BY priority DESC, run_at LIMIT $3
               FOR UPDATE OF jobs SKIP LOCKED
           ), kept AS (
               -- Ids begin with the time, so this is the oldest.
               SELECT id FROM due ORDER BY attempts, id LIMIT 1
           ), dropped AS (
               DELETE FROM apalis.jobs AS jobs USING due WHERE jobs.id = due.id AND due.id <> (SELECT id FROM kept)
           )
           -- In hand, it keeps nobody from pushing another for the same time: that one may be needed again.
           UPDATE apalis.jobs AS jobs SET status = 'Queued', lock_by = $1, lock_at = now(), idempotency_key = NULL
           FROM kept WHERE jobs.id = kept.id
           RETURNING jobs.id, jobs.attempts, jobs.run_at"#,
        worker,
        queue.name(),
        TAKEN_AT_ONCE
    )
    .fetch_optional(pool)
    .await?;
    Ok(taken.map(|row| Job {
        queue,
        due_since: enqueued_at(&row.id).map(|at| at.max(row.run_at)),
        id: row.id,
        worker: worker.to_owned(),
        attempt: usize::try_from(row.attempts).unwrap_or(0) + 1,
    }))
}

/// Returns when a job was enqueued, which its id tells: it is a ULID.
fn enqueued_at(id: &str) -> Option<DateTime<Utc>> {
    let id = ulid::Ulid::from_string(id).ok()?;
    DateTime::from_timestamp_millis(i64::try_from(id.timestamp_ms()).ok()?)
}

/// Ends a job: removes it, or gives it back to be tried again. Does nothing if the worker was taken for dead and another one has
/// the job.
///
/// # Errors
/// The caller has to try again: as long as the worker lives, no other is given the job.
pub async fn end(pool: &PgPool, job: &Job, end: End) -> Result<(), Error> {
    match end {
        End::Failed if job.attempt < ATTEMPTS_MAX => defer(pool, job, delay_after_failure(job.attempt)).await,
        End::Done | End::Failed => remove(pool, job).await,
        End::Again => {
            // A new job, so that its attempts begin anew. A crash in between leaves two jobs, which are taken as one.
            enqueue(&mut *pool.acquire().await?, job.queue).await?;
            remove(pool, job).await
        }
    }
}

async fn remove(pool: &PgPool, job: &Job) -> Result<(), Error> {
    let gone = sqlx::query!(
        "WITH without_waiting AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', TRUE))
         DELETE FROM apalis.jobs USING without_waiting WHERE id = $1 AND lock_by = $2",
        job.id,
        job.worker
    );
    gone.execute(pool).await?;
    Ok(())
}

async fn defer(pool: &PgPool, job: &Job, delay: Duration) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE apalis.jobs SET status = 'Pending', lock_by = NULL, lock_at = NULL, attempts = $3,
                                run_at = now() + make_interval(secs => $4)
         WHERE id = $1 AND lock_by = $2",
        job.id,
        job.worker,
        i32::try_from(job.attempt).unwrap_or(i32::MAX),
        delay.as_secs_f64()
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Gives back the jobs of a worker that ends, and unregisters it. If that fails, the others notice that its heartbeats stop.
///
/// The server finishes a take whose future was dropped. If that commits in between, the worker has a job again and cannot be
/// deleted.
async fn unregister(pool: PgPool, worker: String) -> Result<(), Error> {
    let mut left = give_back_and_unregister(&pool, &worker).await;
    for _ in 1..UNREGISTER_ATTEMPTS {
        // The take has committed, or its lock was waited for in vain.
        if !matches!(left, Err(sqlx::Error::Database(_))) {
            break;
        }
        left = give_back_and_unregister(&pool, &worker).await;
    }
    if let Err(error) = left {
        tracing::warn!(%error, worker, "a worker that ends could not give back its jobs");
    }
    Ok(())
}

async fn give_back_and_unregister(pool: &PgPool, worker: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE apalis.jobs SET status = 'Pending', lock_by = NULL, lock_at = NULL
         WHERE lock_by = $1 AND status = 'Queued'",
        worker
    )
    .execute(pool)
    .await?;
    sqlx::query!("DELETE FROM apalis.workers WHERE id = $1", worker).execute(pool).await?;
    Ok(())
}

/// Returns how long a job waits after its `attempt`th failure: half a second at first, doubling up to eight seconds.
fn delay_after_failure(attempt: usize) -> Duration {
    backoff::delay_after(attempt, Duration::from_millis(500), Duration::from_secs(8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_of_a_failing_job_doubles_up_to_eight_seconds() {
        let delays: Vec<u128> = (1..=6).map(|attempt| delay_after_failure(attempt).as_millis()).collect();
        assert_eq!(delays, [500, 1000, 2000, 4000, 8000, 8000]);
    }
}
