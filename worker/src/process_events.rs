//! The job `process-events`: looks at what waits in the inbox until nothing does.
//!
//! It takes slices. What somebody else has locked is passed over, and never lost: a worker that holds a lock looks again after
//! giving it up, and only ends when it finds nothing; and whoever passes something over sees to it that somebody looks again
//! soon, because the lock may be an operator's.

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_shared::queue::{self, Queue};
use jobrun_shared::{clock, db, db::events};

use crate::hands::{Hands, Left};
use crate::{conversations, delivery_reports, payments, strays};

/// How soon somebody looks again at what was passed over.
const LOOK_AGAIN_AFTER: TimeDelta = TimeDelta::seconds(1);

pub(crate) async fn run(hands: &Hands) -> Result<Left, db::Error> {
    hands.take_turn(|| slice(hands)).await
}

/// Answers how much was done: nothing only if nothing waits, or all that waits is in others' hands.
async fn slice(hands: &Hands) -> Result<usize, db::Error> {
    let now = clock::now();
    let mut passed_over = 0;
    // However much waits that others have locked, what comes after it does not wait for them.
    while let Some((last, done)) = process_after(hands, passed_over, now).await? {
        if done > 0 {
            return Ok(done);
        }
        passed_over = last;
    }
    if passed_over > 0 {
        // Another worker's transaction takes milliseconds; one that has been open for longer may never end by itself.
        hands.alert_of_blocker().await;
        queue::nudge_once_at(&hands.pool, Queue::ProcessEvents, now + LOOK_AGAIN_AFTER).await?;
    }
    Ok(0)
}

/// Looks at the oldest events after the event `after`. Answers the last of them, and how much was done; nothing, if there are
/// none.
async fn process_after(hands: &Hands, after: i64, now: DateTime<Utc>) -> Result<Option<(i64, usize)>, db::Error> {
    let mut conn = hands.pool.acquire().await?;
    let oldest = events::list_oldest(&mut conn, after, now, i64::from(hands.slice_max)).await?;
    drop(conn);
    let Some(last) = oldest.last() else {
        return Ok(None);
    };
    // A step that fails does not keep the others from being done, but for one: an event has no client only if conversations
    // have looked for one, and found none.
    let conversations = conversations::process(hands, &oldest).await;
    let reports = delivery_reports::process(hands, &oldest).await;
    let payments = payments::process(hands, &oldest).await;
    let strays = if conversations.is_ok() { strays::process(hands, &oldest).await } else { Ok(0) };
    let done = [conversations, reports, payments, strays].into_iter().sum::<Result<usize, db::Error>>()?;
    Ok(Some((last.id, done)))
}
