//! Recording events: those that arrive while a commit is under way share the next one.
//!
//! A commit costs the same for one event and for five hundred, so the busier it is, the more share one. Nothing waits for
//! company: an event that finds nothing under way is committed at once, alone. Each is answered only after its own commit, and
//! none waits for another's sake: one that the database refuses, or whose lane somebody else has locked, costs only itself. What
//! an event means is nothing to this module, nor is what is answered to whoever sent it.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jobrun_shared::clock;
use jobrun_shared::db::events::{self, Received};
use jobrun_shared::db::{self, Halves, Health, Patience};
use sqlx::PgPool;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::webhooks::ANSWER_WITHIN;

/// How many events share a commit at most. Each takes a lock for the order of its lane, of which the database has some
/// thousands for all its transactions together.
const COMMITTED_AT_ONCE: usize = 500;

/// How soon it is tried again to commit events whose lanes somebody else had locked. Mostly that is another commit.
const LEFT_OUT_FOR: Duration = Duration::from_millis(5);

/// After this many commits in a row that waited in vain for a lock it is the table that is locked, and the rest is refused
/// rather than tried: as many as find one locked event among the most that share a commit, and a few more.
const LOCKED_IN_A_ROW_MAX: usize = 20;

/// How much may wait to be committed, as it was sent: some thousands of texts, or a few of the largest events that Stripe may
/// send.
const WAITING_BYTES_MAX: usize = 8 * 1024 * 1024;

/// For how long a commit that failed says that the next one will: then it has to be tried.
const FAILURE_COUNTS_FOR: Duration = Duration::from_secs(10);

/// What an event takes at least, however short its form.
const EVENT_BYTES_MIN: usize = 1024;

/// Why an event was not recorded. Nothing is wrong with the event, unless the database says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotRecorded {
    /// Too much waits already.
    Full,
    /// The database did not answer in time.
    Late,
    /// The database refused.
    Refused(String),
    /// Nobody is there to record it: the process ends.
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

/// Records events, together with those that arrive meanwhile.
#[derive(Clone, Debug)]
pub struct Recorder {
    waiting: mpsc::UnboundedSender<Entry>,
    room: Arc<Semaphore>,
    failed: watch::Receiver<Option<Failure>>,
}

/// When and why the last commit failed, if it did.
#[derive(Clone, Debug)]
struct Failure {
    at: Instant,
    why: NotRecorded,
}

/// An event that waits to be committed, and whoever waits for that.
#[derive(Debug)]
struct Entry {
    event: Received,
    answer: Answer,
}

/// Where it is said what became of an event.
#[derive(Debug)]
struct Answer {
    to: oneshot::Sender<Result<(), NotRecorded>>,
    // Given up with the answer: then there is room for another.
    _room: OwnedSemaphorePermit,
}

impl Answer {
    fn say(self, outcome: Result<(), NotRecorded>) {
        // Nobody may be waiting any more.
        let _ = self.to.send(outcome);
    }
}

impl Recorder {
    /// Begins to record. The task ends when every recorder is gone and what waited is committed, or when it fails.
    #[must_use]
    pub fn start(pool: PgPool, health: Health) -> (Self, JoinHandle<()>) {
        let (waiting, entries) = mpsc::unbounded_channel();
        let room = Arc::new(Semaphore::new(WAITING_BYTES_MAX));
        let (outcome, failed) = watch::channel(None);
        let rows = Rows { pool, health, outcome };
        (Self { waiting, room, failed }, tokio::spawn(commit_all(rows, entries)))
    }

    /// Returns why events cannot be recorded, as far as the last commit shows. A failure of some seconds ago shows nothing any
    /// more.
    #[must_use]
    pub fn failure(&self) -> Option<NotRecorded> {
        let failure = self.failed.borrow();
        failure.as_ref().filter(|it| it.at.elapsed() < FAILURE_COUNTS_FOR).map(|it| it.why.clone())
    }

    /// Once this returns, nothing can be lost. An event that was recorded before is as good as recorded now. `bytes` is how
    /// much it takes, about.
    ///
    /// Whoever gives up waiting may have the event recorded all the same.
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

/// Where events are recorded.
struct Rows {
    pool: PgPool,
    health: Health,
    /// What became of the last commit.
    outcome: watch::Sender<Option<Failure>>,
}

impl Rows {
    /// Takes note of what became of a commit. That the database refuses an event for its own sake says nothing of others.
    fn observe(&self, failure: Option<&NotRecorded>) {
        if failure.is_some() || self.outcome.borrow().is_some() {
            self.outcome.send_replace(failure.map(|why| Failure { at: Instant::now(), why: why.clone() }));
        }
    }

    /// Takes note of a commit that failed, and returns why. A server that was lost, or takes no writes, is left for one that
    /// does.
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

/// Commits what waits, again and again. One commit at a time, so that events are recorded in the order in which they came.
async fn commit_all(rows: Rows, mut entries: mpsc::UnboundedReceiver<Entry>) {
    let mut waiting = Vec::new();
    while gather(&mut waiting, &mut entries).await {
        let mut left_out = LeftOut::default();
        while !waiting.is_empty() {
            let later = waiting.split_off(waiting.len().min(COMMITTED_AT_ONCE));
            // Whoever has given up is not told any more that it is recorded, and comes again.
            waiting.retain(|entry| !entry.answer.to.is_closed());
            commit(&rows, waiting, &mut left_out).await;
            waiting = later;
        }
        waiting = left_out.entries;
    }
}

/// What a round leaves to the next, because somebody else has locked its lanes.
#[derive(Default)]
struct LeftOut {
    entries: Vec<Entry>,
    /// Given back in the middle of a round, a lane stays left out until the next: a later event must not overtake an earlier.
    lanes: HashSet<String>,
}

/// Waits until there may be something to commit; what was left out comes first. Answers whether there will ever be anything.
async fn gather(waiting: &mut Vec<Entry>, entries: &mut mpsc::UnboundedReceiver<Entry>) -> bool {
    if waiting.is_empty() {
        return entries.recv_many(waiting, COMMITTED_AT_ONCE).await > 0;
    }
    let new = tokio::time::timeout(LEFT_OUT_FOR, entries.recv_many(waiting, COMMITTED_AT_ONCE)).await;
    if new == Ok(0) {
        // No more will come, and what was left out has still to be waited for.
        tokio::time::sleep(LEFT_OUT_FOR).await;
    }
    true
}

/// Commits events together, and says of each what became of it, but for those that are left out. Where a row of theirs is
/// refused, or a lock is not to be had in time, they are taken again in halves.
async fn commit(rows: &Rows, entries: Vec<Entry>, left_out: &mut LeftOut) {
    let (events, answers): (Vec<Received>, Vec<Answer>) =
        entries.into_iter().map(|entry| (entry.event, entry.answer)).unzip();
    // Parts are done in order, and so are their answers.
    let mut answers = answers.into_iter();
    let mut parts = Halves::of(&events);
    let (mut patience, mut locked_in_a_row, mut any_recorded) = (Patience::Usual, 0, false);
    while let Some(part) = parts.next_part() {
        let recording = events::record_free(&rows.pool, part, &mut left_out.lanes, patience, clock::now());
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
                // Where others are recorded, one that waits for a lock says nothing of the database.
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
