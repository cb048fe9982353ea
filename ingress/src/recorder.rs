//! Recording events: those that arrive while a commit is under way share the next one.
//!
//! A commit costs the same for one event and for five hundred, so the busier it is, the more share one. Nothing waits for
//! company: an event that finds nothing under way is committed at once, alone. Each is answered only after its own commit. What
//! an event means is nothing to this module, nor is what is answered to whoever sent it.

use std::fmt;
use std::sync::Arc;

use jobrun_shared::db::Halves;
use jobrun_shared::db::events::{self, NewEvent};
use jobrun_shared::{clock, db};
use sqlx::PgPool;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::webhooks::ANSWER_WITHIN;

/// How many events share a commit at most. Each takes a lock for the order of its lane, of which the database has some
/// thousands for all its transactions together.
const COMMITTED_AT_ONCE: usize = 500;

/// How much may wait to be committed: some thousands of texts, or a few of Stripe's largest events.
const WAITING_BYTES_MAX: usize = 8 * 1024 * 1024;

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
}

/// An event that waits to be committed, and whoever waits for that.
#[derive(Debug)]
struct Entry {
    event: NewEvent,
    recorded: oneshot::Sender<Result<(), NotRecorded>>,
    // Given up with the answer: then there is room for another.
    room: OwnedSemaphorePermit,
}

impl Recorder {
    /// Begins to record. The task ends when every recorder is gone and what waited is committed, or when it fails.
    #[must_use]
    pub fn start(pool: PgPool) -> (Self, JoinHandle<()>) {
        let (waiting, entries) = mpsc::unbounded_channel();
        let room = Arc::new(Semaphore::new(WAITING_BYTES_MAX));
        (Self { waiting, room }, tokio::spawn(commit_all(pool, entries)))
    }

    /// Once this returns, nothing can be lost. An event that was recorded before is as good as recorded now. `bytes` is how
    /// much it takes, about.
    ///
    /// Whoever gives up waiting may have the event recorded all the same.
    pub async fn record(&self, event: NewEvent, bytes: usize) -> Result<(), NotRecorded> {
        let bytes = u32::try_from(bytes.max(EVENT_BYTES_MIN)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).try_acquire_many_owned(bytes).map_err(|_| NotRecorded::Full)?;
        let (recorded, answer) = oneshot::channel();
        self.waiting.send(Entry { event, recorded, room }).map_err(|_| NotRecorded::Ending)?;
        match tokio::time::timeout(ANSWER_WITHIN, answer).await {
            Ok(answer) => answer.unwrap_or(Err(NotRecorded::Ending)),
            Err(_) => Err(NotRecorded::Late),
        }
    }
}

/// Commits what waits, again and again. One commit at a time, so that events are recorded in the order in which they came.
async fn commit_all(pool: PgPool, mut entries: mpsc::UnboundedReceiver<Entry>) {
    let mut waiting = Vec::new();
    while entries.recv_many(&mut waiting, COMMITTED_AT_ONCE).await > 0 {
        // Whoever has given up has told the sender to come back.
        waiting.retain(|entry| !entry.recorded.is_closed());
        let (events, answers): (Vec<NewEvent>, Vec<_>) =
            waiting.drain(..).map(|entry| (entry.event, (entry.recorded, entry.room))).unzip();
        for ((recorded, room), outcome) in answers.into_iter().zip(commit(&pool, &events).await) {
            drop(room);
            // Nobody may be waiting any more.
            let _ = recorded.send(outcome);
        }
    }
}

/// Commits events together, and says of each, in order, what became of it. One that the database refuses costs only itself.
async fn commit(pool: &PgPool, events: &[NewEvent]) -> Vec<Result<(), NotRecorded>> {
    let mut outcomes = Vec::with_capacity(events.len());
    let mut parts = Halves::of(events);
    while let Some(part) = parts.next_part() {
        match tokio::time::timeout(ANSWER_WITHIN, events::record(pool, part, clock::now())).await {
            Ok(Ok(new)) => {
                tracing::debug!(events = part.len(), new, "recorded events");
                outcomes.extend(part.iter().map(|_| Ok(())));
            }
            Ok(Err(error)) if error.is_of_the_rows() => {
                outcomes.extend(parts.halve(part).map(|_| Err(refused(&error))));
            }
            Ok(Err(error)) => outcomes.extend(part.iter().map(|_| Err(refused(&error)))),
            Err(_) => outcomes.extend(part.iter().map(|_| Err(NotRecorded::Late))),
        }
    }
    outcomes
}

fn refused(error: &db::Error) -> NotRecorded {
    NotRecorded::Refused(error.to_string())
}
