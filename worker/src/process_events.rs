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

/// Returns how much was done: nothing only if nothing waits, or all that waits is in others' hands.
async fn slice(hands: &Hands) -> Result<usize, db::Error> {
    let now = clock::now();
    let mut passed_over: Option<PassedOver> = None;
    // However much waits that others have locked, what comes after it does not wait for them.
    loop {
        let after = passed_over.map_or(0, |it| it.last);
        match process_after(hands, after, now).await? {
            Looked::Nothing => break,
            Looked::Done(done) => return Ok(done),
            Looked::PassedOver(more) => {
                passed_over = Some(PassedOver { since: passed_over.map_or(more.since, |it| it.since), ..more });
            }
        }
    }
    if let Some(PassedOver { since, .. }) = passed_over {
        // Another worker's transaction takes milliseconds; one that has been open for longer may never end by itself.
        if now - since >= LOOK_AGAIN_AFTER {
            hands.alert_of_blockers().await;
        }
        queue::nudge_once_at(&hands.pool, Queue::ProcessEvents, now + LOOK_AGAIN_AFTER).await?;
    }
    Ok(0)
}

/// What came of a look at the inbox.
enum Looked {
    /// Nothing waits there.
    Nothing,
    /// So much was done.
    Done(usize),
    /// What waits there is in others' hands.
    PassedOver(PassedOver),
}

/// Events that are in others' hands.
#[derive(Clone, Copy)]
struct PassedOver {
    /// When the oldest of them arrived.
    since: DateTime<Utc>,
    /// `events.id` of the last of them.
    last: i64,
}

/// Looks at the oldest events after the event `after`.
async fn process_after(hands: &Hands, after: i64, now: DateTime<Utc>) -> Result<Looked, db::Error> {
    let mut conn = hands.pool.acquire().await?;
    let oldest = events::list_oldest(&mut conn, after, now, i64::from(hands.slice_max)).await?;
    drop(conn);
    let (Some(first), Some(last)) = (oldest.first(), oldest.last()) else {
        return Ok(Looked::Nothing);
    };
    // A step that fails does not keep the others from being done, but for one: an event has no client only if conversations
    // have looked for one, and found none.
    let conversations = conversations::process(hands, &oldest).await;
    let reports = delivery_reports::process(hands, &oldest).await;
    let payments = payments::process(hands, &oldest).await;
    let strays = if conversations.is_ok() { strays::process(hands, &oldest).await } else { Ok(0) };
    match [conversations, reports, payments, strays].into_iter().sum::<Result<usize, db::Error>>()? {
        0 => Ok(Looked::PassedOver(PassedOver { since: first.received_at, last: last.id })),
        done => Ok(Looked::Done(done)),
    }
}
