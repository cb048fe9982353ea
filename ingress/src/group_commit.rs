//! Group commit: events that arrive while a commit is under way share the next one.
//!
//! A commit costs the same for one event and for five hundred. Batching adds no delay: an event that finds no commit under way is
//! committed at once, alone. An event that the database refuses, or whose lane another session has locked, fails or waits alone.
//!
//! This module never reports an event as recorded before its commit, and never decides what an event means.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jobrun_shared::db::inbox::{self, Received, Recording};
use jobrun_shared::db::{self, Bisect, Health, Patience};
use jobrun_shared::queue::{Announcer, Queue};
use jobrun_shared::{clock, metrics};
use sqlx::PgPool;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// The largest number of events in a commit. Each locks its lane, and the database has some thousands of locks in all.
const BATCH_MAX: usize = 500;

/// The delay before skipped events are retried. The session that has locked their lanes is usually another commit.
const SKIPPED_RETRY_DELAY: Duration = Duration::from_millis(5);

/// After this many lock timeouts in a row, the table itself is probably locked, and the rest of the batch is refused untried.
/// Finding one locked event in the largest batch takes fewer.
const LOCK_TIMEOUTS_MAX: usize = 20;

/// The time limit for recording an event. After it the webhook is refused, so that Twilio's own retry and fallback take over.
pub const RECORD_TIMEOUT: Duration = Duration::from_millis(900);

/// The limit on queued events, in bytes as they were sent: some thousands of texts, or a few of Stripe's largest events.
const QUEUE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The time for which a failed commit predicts that the next one fails. After that, only a commit can tell.
const FAILURE_TTL: Duration = Duration::from_secs(10);

/// The least number of bytes that an event counts as, however short its form.
const EVENT_BYTES_MIN: usize = 1024;

/// The reason why an event was not recorded. The event itself is in order, unless the database refused it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// Too many bytes are queued already.
    QueueFull,
    /// The database did not respond in time.
    TimedOut,
    /// The database refused, for this reason.
    Refused(String),
    /// The process is ending, and its recording task has ended.
    ShuttingDown,
}

impl fmt::Display for RecordError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::QueueFull => formatter.write_str("too many webhooks wait for the database"),
            Self::TimedOut => formatter.write_str("the database did not answer in time"),
            Self::Refused(why) => formatter.write_str(why),
            Self::ShuttingDown => formatter.write_str("the ingress is ending"),
        }
    }
}

/// Records events in batches. Clones share one queue.
#[derive(Clone, Debug)]
pub struct Recorder {
    queue: mpsc::UnboundedSender<PendingWrite>,
    queue_bytes: Arc<Semaphore>,
    last_failure: watch::Receiver<Option<CommitFailure>>,
}

#[derive(Clone, Debug)]
struct CommitFailure {
    at: Instant,
    why: RecordError,
}

/// An event that waits for its commit.
#[derive(Debug)]
struct PendingWrite {
    event: Received,
    reply: ReplySender,
}

/// The channel to the request that waits for the commit.
#[derive(Debug)]
struct ReplySender {
    sender: oneshot::Sender<Result<bool, RecordError>>,
    // Released with the reply, to make room for another event.
    _queue_bytes: OwnedSemaphorePermit,
}

impl ReplySender {
    fn send(self, outcome: Result<bool, RecordError>) {
        // The request may have stopped waiting.
        let _ = self.sender.send(outcome);
    }
}

impl Recorder {
    /// Starts the recording task. It ends when every recorder is dropped and all queued events are committed, or when it panics.
    #[must_use]
    pub fn start(pool: PgPool, health: Health) -> (Self, JoinHandle<()>) {
        let (queue, receiver) = mpsc::unbounded_channel();
        let queue_bytes = Arc::new(Semaphore::new(QUEUE_BYTES_MAX));
        let (outcome, last_failure) = watch::channel(None);
        let announcer = Announcer::start(pool.clone());
        let database = Database { pool, health, announcer, last_failure: outcome };
        (Self { queue, queue_bytes, last_failure }, tokio::spawn(commit_queue(database, receiver)))
    }

    /// Returns the failure of the last commit, unless it is more than ten seconds old.
    #[must_use]
    pub fn failure(&self) -> Option<RecordError> {
        let failure = self.last_failure.borrow();
        failure.as_ref().filter(|it| it.at.elapsed() < FAILURE_TTL).map(|it| it.why.clone())
    }

    /// Returns how many bytes of events wait for their commit.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        QUEUE_BYTES_MAX - self.queue_bytes.available_permits()
    }

    /// Records an event of about `bytes` bytes. Once this returns `Ok`, the event cannot be lost. A repeated event counts as
    /// recorded. If the caller stops waiting, or the time limit passes, the event may be recorded all the same. Returns whether the
    /// event is new.
    pub async fn record(&self, event: impl Into<Received>, bytes: usize) -> Result<bool, RecordError> {
        let event = event.into();
        let bytes = u32::try_from(bytes.max(EVENT_BYTES_MIN)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.queue_bytes).try_acquire_many_owned(bytes).map_err(|_| RecordError::QueueFull)?;
        let (sender, reply) = oneshot::channel();
        let write = PendingWrite { event, reply: ReplySender { sender, _queue_bytes: permit } };
        self.queue.send(write).map_err(|_| RecordError::ShuttingDown)?;
        match tokio::time::timeout(RECORD_TIMEOUT, reply).await {
            Ok(outcome) => outcome.unwrap_or(Err(RecordError::ShuttingDown)),
            Err(_) => Err(RecordError::TimedOut),
        }
    }
}

/// The database in which events are recorded.
struct Database {
    pool: PgPool,
    health: Health,
    announcer: Announcer,
    /// The failure of the last commit, if it failed.
    last_failure: watch::Sender<Option<CommitFailure>>,
}

impl Database {
    /// Stores the result of a commit. Callers do not store the refusal of one event's rows: it says nothing about other events.
    fn store_outcome(&self, failure: Option<&RecordError>) {
        if failure.is_some() || self.last_failure.borrow().is_some() {
            self.last_failure.send_replace(failure.map(|why| CommitFailure { at: Instant::now(), why: why.clone() }));
        }
    }

    /// Stores a failed commit, and returns the reason. Closes connections to a server that was lost or takes no writes, so that
    /// new ones can find a server that takes writes.
    fn store_failure(&self, error: &db::Error) -> RecordError {
        if error.is_of_the_connection() {
            self.health.distrust();
        }
        let why = self.health.refusal().map_or_else(|| error.to_string(), |unfit| unfit.to_string());
        let failure = RecordError::Refused(why);
        self.store_outcome(Some(&failure));
        failure
    }
}

/// Commits queued events in rounds, in the order in which they arrived, until the queue is closed and empty.
async fn commit_queue(database: Database, mut queue: mpsc::UnboundedReceiver<PendingWrite>) {
    let mut writes = Vec::new();
    while receive(&mut writes, &mut queue).await {
        let mut skipped = Skipped::default();
        while !writes.is_empty() {
            let later = writes.split_off(writes.len().min(BATCH_MAX));
            // The request was refused meanwhile, and its sender sends the event again.
            writes.retain(|write| !write.reply.sender.is_closed());
            commit_batch(&database, writes, &mut skipped).await;
            writes = later;
        }
        writes = skipped.writes;
    }
}

/// The events that a round leaves to the next, because another session has locked their lanes.
#[derive(Default)]
struct Skipped {
    writes: Vec<PendingWrite>,
    /// A lane is skipped until the next round, even if it is unlocked meanwhile: a later event must not overtake an earlier one.
    lanes: HashSet<String>,
}

/// Adds new events behind the skipped ones in `writes`. Waits for one, but [`SKIPPED_RETRY_DELAY`] at most if any were skipped.
/// Returns `false` once there are none and every recorder is dropped.
async fn receive(writes: &mut Vec<PendingWrite>, queue: &mut mpsc::UnboundedReceiver<PendingWrite>) -> bool {
    if writes.is_empty() {
        return queue.recv_many(writes, BATCH_MAX).await > 0;
    }
    let received = tokio::time::timeout(SKIPPED_RETRY_DELAY, queue.recv_many(writes, BATCH_MAX)).await;
    if received == Ok(0) {
        // The queue is closed, so the call above did not wait. The skipped events still need the delay.
        tokio::time::sleep(SKIPPED_RETRY_DELAY).await;
    }
    true
}

/// Commits a batch, and replies for each event that is not skipped. Bisects the batch if rows are refused or a lock times out.
async fn commit_batch(database: &Database, writes: Vec<PendingWrite>, skipped: &mut Skipped) {
    let (events, replies): (Vec<Received>, Vec<ReplySender>) =
        writes.into_iter().map(|write| (write.event, write.reply)).unzip();
    // Parts are processed in order, so one iterator serves them all.
    let mut replies = replies.into_iter();
    let mut parts = Bisect::of(&events);
    let (mut patience, mut lock_timeouts, mut any_recorded) = (Patience::Usual, 0, false);
    while let Some(part) = parts.next_part() {
        let began_at = Instant::now();
        let recording = inbox::record_free(&database.pool, part, &mut skipped.lanes, patience, clock::now());
        let recorded = tokio::time::timeout(RECORD_TIMEOUT, recording).await;
        metrics::commit(part.len(), began_at.elapsed());
        if let Ok(Err(error)) = &recorded {
            metrics::db_error(error);
        }
        let failure = match recorded {
            Ok(Ok(recorded)) => {
                (lock_timeouts, any_recorded) = (0, true);
                database.store_outcome(None);
                if recorded.contains(&Recording::New) {
                    database.announcer.announce(Queue::ProcessEvents);
                }
                for ((event, reply), recording) in part.iter().zip(replies.by_ref()).zip(recorded) {
                    match recording {
                        Recording::New => reply.send(Ok(true)),
                        Recording::Repeat => reply.send(Ok(false)),
                        Recording::Skipped => skipped.writes.push(PendingWrite { event: event.clone(), reply }),
                    }
                }
                continue;
            }
            Ok(Err(error)) if error.is_of_the_rows() && parts.halve(part).is_none() => continue,
            Ok(Err(error)) if error.is_of_the_rows() => RecordError::Refused(error.to_string()),
            Ok(Err(error)) if error.is_lock_timeout() && lock_timeouts < LOCK_TIMEOUTS_MAX => {
                (patience, lock_timeouts) = (Patience::Short, lock_timeouts + 1);
                if parts.halve(part).is_none() {
                    continue;
                }
                // If others are recorded, an event that waits for a lock says nothing about the database.
                if any_recorded { RecordError::Refused(error.to_string()) } else { database.store_failure(&error) }
            }
            Ok(Err(error)) if error.is_lock_timeout() => {
                let failure = database.store_failure(&error);
                return replies.for_each(|reply| reply.send(Err(failure.clone())));
            }
            Ok(Err(error)) => database.store_failure(&error),
            Err(_) => {
                database.store_outcome(Some(&RecordError::TimedOut));
                RecordError::TimedOut
            }
        };
        replies.by_ref().take(part.len()).for_each(|reply| reply.send(Err(failure.clone())));
    }
}
