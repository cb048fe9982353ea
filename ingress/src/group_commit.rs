//! Group commit: events that arrive while a commit is under way share the next one.
//!
//! A commit costs the same for one event and for five hundred, so the cost of an event falls with the load. Batching adds no delay:
//! an event that finds no commit under way is committed at once, alone. A webhook is acknowledged only after the commit of its
//! event.
//!
//! One event does not cost another: if the database refuses it, or another session has locked its lane, only that event fails or
//! waits. This module knows neither the meaning of an event nor the response to its sender.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jobrun_shared::clock;
use jobrun_shared::db::inbox::{self, Received};
use jobrun_shared::db::{self, Bisect, Health, Patience};
use sqlx::PgPool;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// The largest number of events in a commit. Each takes a lock for the order of its lane, and the database has some thousands of
/// locks for all its transactions together.
const COMMITTED_AT_ONCE: usize = 500;

/// The delay before events whose lanes another session had locked are tried again. That session is usually another commit.
const LEFT_OUT_FOR: Duration = Duration::from_millis(5);

/// After this many commits in a row that waited in vain for a lock, the table itself is probably locked, and the rest is refused
/// untried. Finding one locked event in the largest batch takes fewer.
const LOCKED_IN_A_ROW_MAX: usize = 20;

/// The time limit for recording an event. After it the webhook is refused, so that Twilio's own retry and fallback take over.
pub const ANSWER_WITHIN: Duration = Duration::from_millis(900);

/// The limit on waiting events, in bytes as they were sent: some thousands of texts, or a few of the largest events that Stripe may
/// send.
const WAITING_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The time for which a failed commit predicts that the next one fails. After that, only a commit can tell.
const FAILURE_COUNTS_FOR: Duration = Duration::from_secs(10);

/// The least number of bytes that an event counts as, however short its form.
const EVENT_BYTES_MIN: usize = 1024;

/// The reason why an event was not recorded. The event itself is in order, unless the database refused it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotRecorded {
    /// Too many bytes wait already.
    Full,
    /// The database did not respond in time.
    Late,
    /// The database refused, for this reason.
    Refused(String),
    /// The process is ending, and its recording task has ended.
    Ending,
}

impl fmt::Display for NotRecorded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => formatter.write_str("too many webhooks wait for the database"),
            Self::Late => formatter.write_str("the database did not answer in time"),
            Self::Refused(why) => formatter.write_str(why),
            Self::Ending => formatter.write_str("the ingress is ending"),
        }
    }
}

/// Records events in batches.
#[derive(Clone, Debug)]
pub struct Recorder {
    waiting: mpsc::UnboundedSender<Entry>,
    room: Arc<Semaphore>,
    failed: watch::Receiver<Option<Failure>>,
}

/// A failed commit.
#[derive(Clone, Debug)]
struct Failure {
    at: Instant,
    why: NotRecorded,
}

/// An event that waits for its commit, and the request that waits for the result.
#[derive(Debug)]
struct Entry {
    event: Received,
    answer: Answer,
}

/// The channel to the request that waits for the result.
#[derive(Debug)]
struct Answer {
    to: oneshot::Sender<Result<(), NotRecorded>>,
    // Released with the answer, to make room for another event.
    _room: OwnedSemaphorePermit,
}

impl Answer {
    fn say(self, outcome: Result<(), NotRecorded>) {
        // The request may have stopped waiting.
        let _ = self.to.send(outcome);
    }
}

impl Recorder {
    /// Starts the recording task. It ends when every recorder is dropped and all waiting events are committed, or when it panics.
    #[must_use]
    pub fn start(pool: PgPool, health: Health) -> (Self, JoinHandle<()>) {
        let (waiting, entries) = mpsc::unbounded_channel();
        let room = Arc::new(Semaphore::new(WAITING_BYTES_MAX));
        let (outcome, failed) = watch::channel(None);
        let rows = Rows { pool, health, outcome };
        (Self { waiting, room, failed }, tokio::spawn(commit_all(rows, entries)))
    }

    /// Returns why events cannot be recorded, as far as the last commit shows. A failure of more than ten seconds ago does not
    /// count.
    #[must_use]
    pub fn failure(&self) -> Option<NotRecorded> {
        let failure = self.failed.borrow();
        failure.as_ref().filter(|it| it.at.elapsed() < FAILURE_COUNTS_FOR).map(|it| it.why.clone())
    }

    /// Records an event of about `bytes` bytes. Once this returns `Ok`, the event cannot be lost. An event that was recorded before
    /// counts as recorded.
    ///
    /// If the caller stops waiting, or the time limit passes, the event may be recorded all the same.
    pub async fn record(&self, event: impl Into<Received>, bytes: usize) -> Result<(), NotRecorded> {
        let event = event.into();
        let bytes = u32::try_from(bytes.max(EVENT_BYTES_MIN)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).try_acquire_many_owned(bytes).map_err(|_| NotRecorded::Full)?;
        let (to, answer) = oneshot::channel();
        let entry = Entry { event, answer: Answer { to, _room: room } };
        self.waiting.send(entry).map_err(|_| NotRecorded::Ending)?;
        match tokio::time::timeout(ANSWER_WITHIN, answer).await {
            Ok(answer) => answer.unwrap_or(Err(NotRecorded::Ending)),
            Err(_) => Err(NotRecorded::Late),
        }
    }
}

/// The database in which events are recorded.
struct Rows {
    pool: PgPool,
    health: Health,
    /// The failure of the last commit, if it failed.
    outcome: watch::Sender<Option<Failure>>,
}

impl Rows {
    /// Stores the result of a commit. The caller leaves out an event that is refused for its own rows: that says nothing about
    /// others.
    fn observe(&self, failure: Option<&NotRecorded>) {
        if failure.is_some() || self.outcome.borrow().is_some() {
            self.outcome.send_replace(failure.map(|why| Failure { at: Instant::now(), why: why.clone() }));
        }
    }

    /// Stores a failed commit, and returns the reason. Connections to a server that was lost or takes no writes are closed, so that
    /// new ones can find a server that takes writes.
    fn failed(&self, error: &db::Error) -> NotRecorded {
        if error.is_of_the_connection() {
            self.health.distrust();
        }
        let why = self.health.refusal().map_or_else(|| error.to_string(), |unfit| unfit.to_string());
        let failed = NotRecorded::Refused(why);
        self.observe(Some(&failed));
        failed
    }
}

/// Commits waiting events until no more can come. Commits follow one another, so that events are recorded in the order in which
/// they came.
async fn commit_all(rows: Rows, mut entries: mpsc::UnboundedReceiver<Entry>) {
    let mut waiting = Vec::new();
    while gather(&mut waiting, &mut entries).await {
        let mut left_out = LeftOut::default();
        while !waiting.is_empty() {
            let later = waiting.split_off(waiting.len().min(COMMITTED_AT_ONCE));
            // The request was refused meanwhile, and its sender sends the event again.
            waiting.retain(|entry| !entry.answer.to.is_closed());
            commit(&rows, waiting, &mut left_out).await;
            waiting = later;
        }
        waiting = left_out.entries;
    }
}

/// The events that a round leaves to the next, because another session has locked their lanes.
#[derive(Default)]
struct LeftOut {
    entries: Vec<Entry>,
    /// A lane stays left out until the next round, even if its lock is released meanwhile: a later event must not overtake an
    /// earlier one.
    lanes: HashSet<String>,
}

/// Adds new events behind those that were left out. Waits until one comes, but [`LEFT_OUT_FOR`] at most if any were left out.
/// Returns whether there may be events to commit: `false` once none is left and every recorder is dropped.
async fn gather(waiting: &mut Vec<Entry>, entries: &mut mpsc::UnboundedReceiver<Entry>) -> bool {
    if waiting.is_empty() {
        return entries.recv_many(waiting, COMMITTED_AT_ONCE).await > 0;
    }
    let new = tokio::time::timeout(LEFT_OUT_FOR, entries.recv_many(waiting, COMMITTED_AT_ONCE)).await;
    if new == Ok(0) {
        // The channel is closed, so the call above did not wait. The left-out events still need the delay.
        tokio::time::sleep(LEFT_OUT_FOR).await;
    }
    true
}

/// Commits events together, and reports the result of each, except those that are left out. If rows are refused, or a lock is not
/// released in time, the events are retried in halves.
async fn commit(rows: &Rows, entries: Vec<Entry>, left_out: &mut LeftOut) {
    let (events, answers): (Vec<Received>, Vec<Answer>) =
        entries.into_iter().map(|entry| (entry.event, entry.answer)).unzip();
    // Parts are processed in order, so one iterator serves them all.
    let mut answers = answers.into_iter();
    let mut parts = Bisect::of(&events);
    let (mut patience, mut locked_in_a_row, mut any_recorded) = (Patience::Usual, 0, false);
    while let Some(part) = parts.next_part() {
        let recording = inbox::record_free(&rows.pool, part, &mut left_out.lanes, patience, clock::now());
        let failed = match tokio::time::timeout(ANSWER_WITHIN, recording).await {
            Ok(Ok(recorded)) => {
                (locked_in_a_row, any_recorded) = (0, true);
                rows.observe(None);
                for ((event, answer), recorded) in part.iter().zip(answers.by_ref()).zip(recorded) {
                    if recorded {
                        answer.say(Ok(()));
                    } else {
                        left_out.entries.push(Entry { event: event.clone(), answer });
                    }
                }
                continue;
            }
            Ok(Err(error)) if error.is_of_the_rows() && parts.halve(part).is_none() => continue,
            Ok(Err(error)) if error.is_of_the_rows() => NotRecorded::Refused(error.to_string()),
            Ok(Err(error)) if error.is_lock_timeout() && locked_in_a_row < LOCKED_IN_A_ROW_MAX => {
                (patience, locked_in_a_row) = (Patience::Short, locked_in_a_row + 1);
                if parts.halve(part).is_none() {
                    continue;
                }
                // If others are recorded, an event that waits for a lock says nothing about the database.
                if any_recorded { NotRecorded::Refused(error.to_string()) } else { rows.failed(&error) }
            }
            Ok(Err(error)) if error.is_lock_timeout() => {
                let failed = rows.failed(&error);
                return answers.for_each(|answer| answer.say(Err(failed.clone())));
            }
            Ok(Err(error)) => rows.failed(&error),
            Err(_) => {
                rows.observe(Some(&NotRecorded::Late));
                NotRecorded::Late
            }
        };
        answers.by_ref().take(part.len()).for_each(|answer| answer.say(Err(failed.clone())));
    }
}
