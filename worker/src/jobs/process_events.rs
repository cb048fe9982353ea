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
use crate::events::{conversation, delivery_reports, stripe, unmatched};

/// The delay before the next look at events that were passed over.
const LOOK_AGAIN_AFTER: TimeDelta = TimeDelta::seconds(1);

/// The largest batch of deferred events.
const DUE_AGAIN_MAX: i64 = 20;

pub(crate) async fn run(context: &JobContext) -> Result<Progress, db::Error> {
    context.run_until_drained(|| batch(context)).await
}

/// Returns how much was done: 0 only if nothing waits, or other sessions have locked everything that waits.
async fn batch(context: &JobContext) -> Result<usize, db::Error> {
    let now = clock::now();
    let mut passed_over_since = None;
    let new = process_new(context, &mut passed_over_since).await?;
    let due_again = process_due_again(context, now, &mut passed_over_since).await?;
    if new + due_again == 0
        && let Some(since) = passed_over_since
    {
        // Another worker's transaction takes milliseconds. One that has been open for longer may never end by itself.
        if now - since >= LOOK_AGAIN_AFTER {
            context.alert_of_blockers().await;
        }
        queue::enqueue_once_at(&context.pool, Queue::ProcessEvents, now + LOOK_AGAIN_AFTER).await?;
    }
    Ok(new + due_again)
}

/// Processes the oldest new events that are not locked. Events after locked ones do not wait for them, however many those are.
/// Lowers `passed_over_since` to the arrival of the first event that was passed over.
async fn process_new(context: &JobContext, passed_over_since: &mut Option<DateTime<Utc>>) -> Result<usize, db::Error> {
    let mut after = 0;
    loop {
        let mut conn = context.pool.acquire().await?;
        let oldest = inbox::list_oldest(&mut conn, after, i64::from(context.batch_max)).await?;
        drop(conn);
        let Some(last) = oldest.last() else { return Ok(0) };
        let done = process(context, &oldest).await?;
        if done > 0 {
            return Ok(done);
        }
        after = last.id;
        note_passed_over(passed_over_since, &oldest);
    }
}

/// As [`process_new`], for events that were deferred. Most of them fail again, each alone, while new ones wait, so the batches are
/// small.
async fn process_due_again(
    context: &JobContext,
    now: DateTime<Utc>,
    passed_over_since: &mut Option<DateTime<Utc>>,
) -> Result<usize, db::Error> {
    let mut after = (DateTime::UNIX_EPOCH, 0);
    loop {
        let mut conn = context.pool.acquire().await?;
        let oldest = inbox::list_due_again(&mut conn, after, now, DUE_AGAIN_MAX).await?;
        drop(conn);
        let Some((due_at, id)) = oldest.last().and_then(|last| Some((last.due_at?, last.id))) else { return Ok(0) };
        let done = process(context, &oldest).await?;
        if done > 0 {
            return Ok(done);
        }
        after = (due_at, id);
        note_passed_over(passed_over_since, &oldest);
    }
}

fn note_passed_over(since: &mut Option<DateTime<Utc>>, events: &[PendingEvent]) {
    let arrivals = events.iter().map(|event| event.received_at).chain(*since);
    *since = arrivals.min();
}

/// Returns how much was done.
async fn process(context: &JobContext, oldest: &[PendingEvent]) -> Result<usize, db::Error> {
    // A failing step does not stop the others, with one exception: an event is unmatched only if the step for conversations has
    // looked for its client, and found none.
    let conversations = conversation::process(context, oldest).await;
    let reports = delivery_reports::process(context, oldest).await;
    let payments = stripe::process(context, oldest).await;
    let unmatched = if conversations.is_ok() { unmatched::process(context, oldest).await } else { Ok(0) };
    [conversations, reports, payments, unmatched].into_iter().sum()
}
