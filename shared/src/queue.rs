//! The only door to apalis, the job queue.
//!
//! A job is a nudge: it says that there may be something to do, and carries no input. The rows say what; so a job may be
//! lost, doubled or late, and the sweeper makes up for it. Jobs are pushed inside the transaction that makes the work, and
//! become visible with it.
//!
//! They lie in the library's own tables, and are taken from there by a [`Backend`] of ours ([`Jobs`]), for two reasons. All the
//! jobs of a queue that are due say the same, so whoever takes one takes them all: a thousand cost as little as one. And an
//! idle worker is woken by the notification of each commit ([`Bell`]), none of which is missed while it looks.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use apalis::prelude::{Backend, Task, TaskBuilder, WorkerContext};
use apalis_core::backend::{BackendConfig, finalize::Ephemeral};
use apalis_postgres::queries::{keep_alive, push_tasks, reenqueue_orphaned};
use apalis_postgres::{InsertEvent, PgListener, PostgresStorage};
use backon::{BackoffBuilder, ExponentialBuilder};
use chrono::{DateTime, Utc};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Serialize;
use sqlx::migrate::Migrator;
use sqlx::postgres::PgPoolOptions;
use sqlx::{PgConnection, PgPool};
use tokio::sync::Notify;
use tokio::time::Instant;
use tower_layer::Identity;

use crate::db::{ANSWERS_WITHIN, ASKED_EVERY, ConnectionLost, Health};

/// How often a worker says that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// After so many seconds of silence a worker counts as dead, and its jobs go to others.
const DEAD_AFTER_SECONDS: u64 = 15;

/// Jobs are announced by notification. One that is not, because it is due later, or because the notification was lost, is found
/// after this long.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// How long a worker that lost its database waits before it begins anew.
const RESTART_DELAY: Duration = Duration::from_secs(1);

/// How many jobs are taken as one.
const TAKEN_AT_ONCE: i64 = 1000;

/// How many finished jobs are removed in one statement.
const REMOVED_AT_ONCE: i64 = 1000;

/// How often a job that fails is tried before it is left to the sweeper.
const ATTEMPTS_MAX: usize = 5;

/// When a job is due that is due at once, in seconds since 1970: by everybody's clock. Only what is due when its transaction
/// begins is announced, and that may be in the second before.
const LONG_AGO: u64 = 0;

/// The channel on which the library announces jobs.
pub const CHANNEL: &str = "apalis::job::insert";

/// The channel on which listeners find out that they still hear.
const ALIVE_CHANNEL: &str = "jobrun::listening";

/// How long a listener may take to connect.
const LISTENS_WITHIN: Duration = Duration::from_secs(5);

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
    const ALL: [Self; 4] = [Self::ProcessEvents, Self::SendMessages, Self::Sweep, Self::Reconcile];

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
#[derive(Serialize)]
struct Nudge {}

/// The queue refused.
pub type Error = apalis_postgres::Error;

/// Pushes a job, to run as soon as the transaction commits.
///
/// # Errors
/// When the database does not take it.
pub async fn nudge(conn: &mut PgConnection, queue: Queue) -> Result<(), Error> {
    push_tasks(conn, queue.name(), vec![job()?.run_at_timestamp(LONG_AGO).build()]).await
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
    // Due by the database's clock, which may be ahead of ours: not at once even so, or it would come again and again.
    let job = job()?.run_at_timestamp(second_after(at.max(found.now))).idempotency_key(key);
    match push_tasks(&mut *conn, queue.name(), vec![job.build()]).await {
        // Somebody else was faster.
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

/// Wakes the workers of this process when jobs are announced: one connection that listens, for all its queues.
#[derive(Clone, Debug)]
pub struct Bell {
    rings: Arc<HashMap<&'static str, Notify>>,
    health: Health,
}

impl Bell {
    /// Listens for as long as the process lives, over a connection of its own. When nothing is heard over it any more, not even
    /// what the listener announces itself, the connections of `pool` are given up as well.
    #[must_use]
    pub fn listen(pool: &PgPool, health: &Health) -> Self {
        let rings = Arc::new(Queue::ALL.map(|queue| (queue.name(), Notify::new())).into());
        let bell = Self { rings, health: health.clone() };
        tokio::spawn(bell.clone().relay(pool.clone()));
        bell
    }

    async fn relay(self, pool: PgPool) {
        loop {
            if let Err(error) = self.relay_from(&pool).await {
                tracing::warn!(%error, "announcements of jobs are not heard, and jobs are looked for every second");
            }
            tokio::time::sleep(RESTART_DELAY).await;
        }
    }

    async fn relay_from(&self, pool: &PgPool) -> Result<(), sqlx::Error> {
        // Not from the pool, to which it would be given back: one that has gone silent has to be left alone.
        let own = PgPoolOptions::new().max_connections(1).acquire_timeout(LISTENS_WITHIN);
        let own = own.test_before_acquire(false).connect_lazy_with(pool.connect_options().as_ref().clone());
        let mut listener = PgListener::connect_with(&own).await?;
        listener.eager_reconnect(false);
        listener.listen_all([CHANNEL, ALIVE_CHANNEL]).await?;
        // What was announced until now was not heard.
        self.ring_all();
        loop {
            let says_so = sqlx::query("SELECT pg_notify($1, '')").bind(ALIVE_CHANNEL);
            let answered = tokio::time::timeout(ANSWERS_WITHIN, says_so.execute(&mut listener)).await;
            // An error is an answer as well: the lock for announcements may be held while a standby is waited for.
            let expects_to_hear = matches!(answered, Ok(Ok(_)));
            let is_lost = match answered {
                Ok(Err(error)) => error.as_database_error().is_none(),
                Ok(Ok(_)) => false,
                Err(_) => true,
            };
            let heard =
                if is_lost { false } else { self.relay_until(&mut listener, Instant::now() + ASKED_EVERY).await? };
            if is_lost || (expects_to_hear && !heard) {
                self.health.lose();
                self.ring_all();
                return Err(sqlx::Error::Protocol("the database does not answer any more".to_owned()));
            }
        }
    }

    /// Passes on what is announced until `end`. Returns whether the listener's own announcement was among it.
    async fn relay_until(&self, listener: &mut PgListener, end: Instant) -> Result<bool, sqlx::Error> {
        let mut heard_itself = false;
        loop {
            let Ok(announced) = tokio::time::timeout_at(end, listener.try_recv()).await else {
                return Ok(heard_itself);
            };
            let Some(announced) = announced? else {
                return Err(sqlx::Error::Protocol("the connection was closed".to_owned()));
            };
            if announced.channel() == ALIVE_CHANNEL {
                heard_itself = true;
                continue;
            }
            let event = serde_json::from_str::<InsertEvent>(announced.payload());
            if let Some(ring) = event.ok().and_then(|event| self.rings.get(event.job_type.as_str())) {
                // Kept until the worker listens, if it does not just now: what it is looking at may be older.
                ring.notify_one();
            }
        }
    }

    fn ring_all(&self) {
        self.rings.values().for_each(Notify::notify_one);
    }

    /// Ends when the bell rings, or has rung since the last time; else after [`POLL_INTERVAL`].
    async fn wait(&self, queue: Queue) {
        if let Some(ring) = self.rings.get(queue.name()) {
            // Whether it rang or not, the rows are looked at.
            let _ = tokio::time::timeout(POLL_INTERVAL, ring.notified()).await;
        }
    }
}

/// A job in hand.
#[derive(Clone, Debug)]
pub struct Job {
    queue: Queue,
    id: String,
    worker: String,
    /// Which attempt this is, from 1.
    pub attempt: usize,
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// There was nothing more to do.
    Done,
    /// There may be more to do, for whoever takes it next.
    Again,
    /// It could not be done, and is tried again after a while.
    Failed,
}

/// The jobs of one queue, as one worker takes them.
pub struct Jobs {
    pool: PgPool,
    queue: Queue,
    bell: Bell,
    life: Life,
    taking: Option<BoxFuture<'static, Result<Job, Error>>>,
    closing: Option<BoxFuture<'static, Result<(), Error>>>,
}

/// How far a worker is in telling others that it lives.
enum Life {
    Unregistered { delay: Duration },
    Registering(BoxFuture<'static, Result<(), Error>>),
    Alive(BoxFuture<'static, Error>),
}

impl Jobs {
    /// The jobs of `queue`, for a worker that began anew so many times.
    #[must_use]
    pub fn new(pool: &PgPool, queue: Queue, bell: &Bell, restarts: usize) -> Self {
        let delay = if restarts == 0 { Duration::ZERO } else { RESTART_DELAY };
        let life = Life::Unregistered { delay };
        Self { pool: pool.clone(), queue, bell: bell.clone(), life, taking: None, closing: None }
    }
}

impl Backend for Jobs {
    type Task = Task<Job>;
    type Error = Error;

    /// Ready once the worker is registered; keeps telling that it lives.
    fn poll_ready(&mut self, cx: &mut Context<'_>, worker: &WorkerContext) -> Poll<Result<(), Error>> {
        loop {
            match &mut self.life {
                Life::Unregistered { delay } => {
                    let registering = register(self.pool.clone(), self.queue, worker.clone(), *delay);
                    self.life = Life::Registering(unless_lost(self.bell.health.clone(), registering).boxed());
                }
                Life::Registering(registering) => {
                    ready!(registering.poll_unpin(cx))?;
                    let alive = stay_alive(self.pool.clone(), self.queue, self.bell.clone(), worker.clone());
                    self.life = Life::Alive(alive.boxed());
                }
                Life::Alive(alive) => {
                    return match alive.poll_unpin(cx) {
                        Poll::Pending => Poll::Ready(Ok(())),
                        Poll::Ready(error) => Poll::Ready(Err(error)),
                    };
                }
            }
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>, worker: &WorkerContext) -> Poll<Option<Result<Task<Job>, Error>>> {
        let taking = self.taking.get_or_insert_with(|| {
            take_next(self.pool.clone(), self.queue, self.bell.clone(), worker.name().to_owned()).boxed()
        });
        let taken = ready!(taking.poll_unpin(cx));
        self.taking = None;
        Poll::Ready(Some(taken.map(|job| TaskBuilder::new(job).build())))
    }

    /// By then every job in hand has ended. One that was being taken just now goes back.
    fn poll_close(&mut self, cx: &mut Context<'_>, worker: &WorkerContext) -> Poll<Result<(), Error>> {
        self.taking = None;
        let closing = self.closing.get_or_insert_with(|| leave(self.pool.clone(), worker.name().to_owned()).boxed());
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

/// Makes the worker known, so that its jobs are given to others should it die.
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

/// Says again and again that the worker lives, and gives away the jobs of those that do not any more. Ends when it cannot.
async fn stay_alive(pool: PgPool, queue: Queue, bell: Bell, worker: WorkerContext) -> Error {
    loop {
        if let Err(error) = unless_lost(bell.health.clone(), heartbeat(&pool, queue, &worker)).await {
            return error;
        }
        tokio::time::sleep(HEARTBEAT).await;
    }
}

async fn heartbeat(pool: &PgPool, queue: Queue, worker: &WorkerContext) -> Result<(), Error> {
    let mut conn = pool.acquire().await?;
    keep_alive(&mut *conn, queue.name(), worker).await?;
    reenqueue_orphaned(&mut *conn, queue.name(), DEAD_AFTER_SECONDS).await?;
    Ok(())
}

/// Takes the jobs that are due, or waits until there are some.
async fn take_next(pool: PgPool, queue: Queue, bell: Bell, worker: String) -> Result<Job, Error> {
    loop {
        if let Some(job) = unless_lost(bell.health.clone(), take(&pool, queue, &worker)).await? {
            return Ok(job);
        }
        bell.wait(queue).await;
    }
}

/// Gives up `work` when the connections to the database are.
async fn unless_lost<T>(health: Health, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let lost =
        |_: ConnectionLost| Error::Database(sqlx::Error::Protocol("the database does not answer any more".to_owned()));
    health.unless_lost(work).await.map_err(lost)?
}

/// Takes all the jobs that are due as one: the one that was tried least often stands for all, and the others are done with it.
async fn take(pool: &PgPool, queue: Queue, worker: &str) -> Result<Option<Job>, Error> {
    let taken = sqlx::query!(
        r#"WITH due AS (
               SELECT id, attempts FROM apalis.jobs
               WHERE job_type = $2 AND run_at < now() AND (status = 'Pending' OR (status = 'Failed' AND attempts < max_attempts))
               ORDER BY priority DESC, run_at LIMIT $3
               FOR UPDATE SKIP LOCKED
           ), kept AS (
               SELECT id FROM due ORDER BY attempts LIMIT 1
           ), dropped AS (
               DELETE FROM apalis.jobs AS jobs USING due WHERE jobs.id = due.id AND due.id <> (SELECT id FROM kept)
           )
           -- In hand, it keeps nobody from pushing another for the same time: that one may be needed again.
           UPDATE apalis.jobs AS jobs SET status = 'Queued', lock_by = $1, lock_at = now(), idempotency_key = NULL
           FROM kept WHERE jobs.id = kept.id
           RETURNING jobs.id, jobs.attempts"#,
        worker,
        queue.name(),
        TAKEN_AT_ONCE
    )
    .fetch_optional(pool)
    .await?;
    let job = |id, attempts| {
        let (worker, attempt) = (worker.to_owned(), usize::try_from(attempts).unwrap_or(0) + 1);
        Job { queue, id, worker, attempt }
    };
    Ok(taken.map(|row| job(row.id, row.attempts)))
}

/// Ends a job: it is gone, or waits to be taken again. Nothing happens to it if it was given to somebody else, because its
/// worker was taken for dead.
///
/// # Errors
/// When the database does not answer. To be tried again: for as long as its worker lives, nobody else is given the job.
pub async fn end(pool: &PgPool, job: &Job, end: End) -> Result<(), Error> {
    match end {
        End::Failed if job.attempt < ATTEMPTS_MAX => put_off(pool, job, delay_after_failure(job.attempt)).await,
        End::Done | End::Failed => remove(pool, job).await,
        End::Again => {
            // A new one, because new ones are announced. Whoever dies in between leaves two, which are as good as one.
            nudge(&mut *pool.acquire().await?, job.queue).await?;
            remove(pool, job).await
        }
    }
}

async fn remove(pool: &PgPool, job: &Job) -> Result<(), Error> {
    let gone = sqlx::query!("DELETE FROM apalis.jobs WHERE id = $1 AND lock_by = $2", job.id, job.worker);
    gone.execute(pool).await?;
    Ok(())
}

async fn put_off(pool: &PgPool, job: &Job, delay: Duration) -> Result<(), Error> {
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

/// Gives back what a worker holds that ends, and forgets the worker. If that cannot be said, others find out by its silence.
async fn leave(pool: PgPool, worker: String) -> Result<(), Error> {
    let left = async {
        sqlx::query!(
            "UPDATE apalis.jobs SET status = 'Pending', lock_by = NULL, lock_at = NULL
             WHERE lock_by = $1 AND status = 'Queued'",
            worker
        )
        .execute(&pool)
        .await?;
        sqlx::query!("DELETE FROM apalis.workers WHERE id = $1", worker).execute(&pool).await
    };
    if let Err(error) = left.await {
        tracing::warn!(%error, worker, "a worker ends without saying so");
    }
    Ok(())
}

/// How long a job that failed for the `attempt`th time waits before it is tried again. Half a second at first, doubling, at
/// most eight.
fn delay_after_failure(attempt: usize) -> Duration {
    let delays =
        ExponentialBuilder::new().with_min_delay(Duration::from_millis(500)).with_max_delay(Duration::from_secs(8));
    delays.without_max_times().build().nth(attempt.saturating_sub(1)).unwrap_or(Duration::from_secs(8))
}

/// The queue's own migrations, which live in a schema of their own.
#[must_use]
pub fn migrations() -> Migrator {
    PostgresStorage::migrations()
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
    Ok(migrations().iter().all(|migration| applied.contains(&migration.version)))
}

/// When a worker of each queue last said that it is alive; empty if none is known.
///
/// # Errors
/// When the database does not answer.
pub async fn last_seen(conn: &mut PgConnection) -> Result<Vec<(Queue, Option<DateTime<Utc>>)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT worker_type AS queue, max(last_seen) AS "at!" FROM apalis.workers GROUP BY worker_type"#
    );
    let seen: HashMap<String, DateTime<Utc>> =
        rows.fetch_all(conn).await?.into_iter().map(|row| (row.queue, row.at)).collect();
    Ok(Queue::ALL.map(|queue| (queue, seen.get(queue.name()).copied())).to_vec())
}

/// Removes finished jobs that are older than `age`, a step at a time, and workers that are long gone. Our jobs are gone as soon
/// as they end: these are what an earlier version has left, and workers that were killed. Not checked when it compiles, as
/// above.
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
