//! The job `process-events`: looks at what waits in the inbox until nothing does.
//!
//! It takes slices. What somebody else has locked is passed over, and never lost: a worker that holds a lock looks again after
//! giving it up, and only ends when it finds nothing; and whoever passes something over sees to it that somebody looks again
//! soon, because the lock may be an operator's.

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_shared::db::events::{self, Waiting};
use jobrun_shared::queue::{self, Queue};
use jobrun_shared::{clock, db};

use crate::hands::{Hands, Left};
use crate::{conversations, delivery_reports, payments, strays};

/// How soon somebody looks again at what was passed over.
const LOOK_AGAIN_AFTER: TimeDelta = TimeDelta::seconds(1);

/// How many events that were put off are taken at once.
const DUE_AGAIN_MAX: i64 = 20;

pub(crate) async fn run(hands: &Hands) -> Result<Left, db::Error> {
    hands.take_turn(|| slice(hands)).await
}

/// Returns how much was done: nothing only if nothing waits, or all that waits is in others' hands.
async fn slice(hands: &Hands) -> Result<usize, db::Error> {
    let now = clock::now();
    let mut passed_over_since = None;
    let new = process_new(hands, &mut passed_over_since).await?;
    let due_again = process_due_again(hands, now, &mut passed_over_since).await?;
    if new + due_again == 0
        && let Some(since) = passed_over_since
    {
        // Another worker's transaction takes milliseconds; one that has been open for longer may never end by itself.
        if now - since >= LOOK_AGAIN_AFTER {
            hands.alert_of_blockers().await;
        }
        queue::nudge_once_at(&hands.pool, Queue::ProcessEvents, now + LOOK_AGAIN_AFTER).await?;
    }
    Ok(new + due_again)
}

/// Processes the oldest events that can be had of those that are new. However many others have locked, what comes after them
/// does not wait for them. Adds to `passed_over_since` when the first of those arrived.
async fn process_new(hands: &Hands, passed_over_since: &mut Option<DateTime<Utc>>) -> Result<usize, db::Error> {
    let mut after = 0;
    loop {
        let mut conn = hands.pool.acquire().await?;
        let oldest = events::list_oldest(&mut conn, after, i64::from(hands.slice_max)).await?;
        drop(conn);
        let Some(last) = oldest.last() else { return Ok(0) };
        let done = process(hands, &oldest).await?;
        if done > 0 {
            return Ok(done);
        }
        after = last.id;
        note_passed_over(passed_over_since, &oldest);
    }
}

/// As [`process_new`], of those that were put off before. They mostly fail again, each alone, and new ones wait meanwhile: so
/// they are few at a time.
async fn process_due_again(
    hands: &Hands,
    now: DateTime<Utc>,
    passed_over_since: &mut Option<DateTime<Utc>>,
) -> Result<usize, db::Error> {
    let mut after = (DateTime::UNIX_EPOCH, 0);
    loop {
        let mut conn = hands.pool.acquire().await?;
        let oldest = events::list_due_again(&mut conn, after, now, DUE_AGAIN_MAX).await?;
        drop(conn);
        let Some((due_at, id)) = oldest.last().and_then(|last| Some((last.due_at?, last.id))) else { return Ok(0) };
        let done = process(hands, &oldest).await?;
        if done > 0 {
            return Ok(done);
        }
        after = (due_at, id);
        note_passed_over(passed_over_since, &oldest);
    }
}

fn note_passed_over(since: &mut Option<DateTime<Utc>>, events: &[Waiting]) {
    let arrivals = events.iter().map(|event| event.received_at).chain(*since);
    *since = arrivals.min();
}

/// Returns how much was done.
async fn process(hands: &Hands, oldest: &[Waiting]) -> Result<usize, db::Error> {
    // A step that fails does not keep the others from being done, but for one: an event has no client only if conversations
    // have looked for one, and found none.
    let conversations = conversations::process(hands, oldest).await;
    let reports = delivery_reports::process(hands, oldest).await;
    let payments = payments::process(hands, oldest).await;
    let strays = if conversations.is_ok() { strays::process(hands, oldest).await } else { Ok(0) };
    [conversations, reports, payments, strays].into_iter().sum()
}
