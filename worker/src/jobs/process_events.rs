//! The job `process-events`: processes the waiting events of the inbox, in batches, until none is left.
//!
//! Events that another session has locked are passed over, and are not lost. A worker that holds a lock looks again after releasing
//! it, and ends only when it finds nothing. A worker that passes events over schedules another look soon, because the lock may be
//! an operator's.

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_shared::db::inbox::{self, PendingEvent};
use jobrun_shared::queue::{self, Queue};
use jobrun_shared::{clock, db};

use crate::context::{JobContext, Progress};
use crate::events::{conversation, delivery_reports, phone_changes, stripe, unmatched};

/// The delay before the next look at events that were passed over.
const LOOK_AGAIN_AFTER: TimeDelta = TimeDelta::seconds(1);

/// The largest batch of deferred events.
const DEFERRED_BATCH_MAX: i64 = 20;

pub(crate) async fn run(context: &JobContext) -> Result<Progress, db::Error> {
    context.run_until_drained(|| batch(context)).await
}

/// The two lists of pending events.
#[derive(Clone, Copy)]
enum EventList {
    /// Events that were never deferred.
    New,
    /// Deferred events that are due. Most of them fail again, each alone, while new ones wait, so the batches are small.
    Deferred,
}

/// Returns how much was done: 0 only if nothing waits, or other sessions have locked everything that waits.
async fn batch(context: &JobContext) -> Result<usize, db::Error> {
    let now = clock::now();
    let mut locked_since = None;
    let new = process_list(context, EventList::New, now, &mut locked_since).await?;
    let deferred = process_list(context, EventList::Deferred, now, &mut locked_since).await?;
    if new + deferred == 0
        && let Some(since) = locked_since
    {
        // Another worker's transaction takes milliseconds. One that has been open for longer may never end by itself.
        if now - since >= LOOK_AGAIN_AFTER {
            context.raise_blocker_alerts().await;
        }
        queue::enqueue_once_at(&context.pool, Queue::ProcessEvents, now + LOOK_AGAIN_AFTER).await?;
    }
    Ok(new + deferred)
}

/// Processes the first batch of `list` that other sessions have not locked as a whole. Lowers `locked_since` to the arrival of the
/// first event that was passed over.
async fn process_list(
    context: &JobContext,
    list: EventList,
    now: DateTime<Utc>,
    locked_since: &mut Option<DateTime<Utc>>,
) -> Result<usize, db::Error> {
    let mut after = (DateTime::UNIX_EPOCH, 0);
    loop {
        let events = list_pending(context, list, after, now).await?;
        let Some(last) = events.last() else { return Ok(0) };
        let done = process(context, &events).await?;
        if done > 0 {
            return Ok(done);
        }
        after = (last.due_at.unwrap_or_default(), last.id);
        *locked_since = events.iter().map(|event| event.received_at).chain(*locked_since).min();
    }
}

/// Returns the next batch of `list` after the event with this due time and id. The ids alone order new events.
async fn list_pending(
    context: &JobContext,
    list: EventList,
    after: (DateTime<Utc>, i64),
    now: DateTime<Utc>,
) -> Result<Vec<PendingEvent>, db::Error> {
    let mut conn = context.pool.acquire().await?;
    match list {
        EventList::New => inbox::list_oldest(&mut conn, after.1, i64::from(context.batch_max)).await,
        EventList::Deferred => inbox::list_due_again(&mut conn, after, now, DEFERRED_BATCH_MAX).await,
    }
}

/// Returns how much was done.
async fn process(context: &JobContext, oldest: &[PendingEvent]) -> Result<usize, db::Error> {
    // A failing step does not stop the others, with one exception: an event is unmatched only if the step for conversations has
    // looked for its client, and found none.
    let conversations = conversation::process(context, oldest).await;
    let reports = delivery_reports::process(context, oldest).await;
    let payments = stripe::process(context, oldest).await;
    // After the conversation, which comes first for the texts of both phones.
    let phone_changes = phone_changes::process(context, oldest).await;
    let unmatched = if conversations.is_ok() { unmatched::process(context, oldest).await } else { Ok(0) };
    // Most of these events are answered. Reports announce by themselves the texts that waited for them.
    if [&conversations, &phone_changes, &unmatched].into_iter().flatten().any(|done| *done > 0) {
        context.announcer.announce(Queue::SendMessages);
    }
    [conversations, reports, payments, phone_changes, unmatched].into_iter().sum()
}
