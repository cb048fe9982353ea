//! Handlers of events, one for each kind, and the loop that they share: bisect, log, defer.
//!
//! A batch that fails because of its rows is done again in halves, so that a bad row costs only itself. An event that fails alone
//! is deferred with its lane, so that nothing of the lane overtakes it.

pub(crate) mod conversation;

pub(crate) mod delivery_reports;

pub(crate) mod phone_changes;

pub(crate) mod stripe;

mod stripe_alerts;

mod subscription_change;

pub(crate) mod unmatched;

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_shared::db::alerts::{self, NewAlert};
use jobrun_shared::db::inbox::{self, Payload, PendingEvent};
use jobrun_shared::db::{self, Patience};
use jobrun_shared::{clock, telemetry};

use crate::batch::run_bisecting;
use crate::context::JobContext;

/// The first delay of a lane whose lock was not released in time. It grows with the time that the lane has waited, up to
/// [`LOCK_RETRY_DELAY_MAX`].
pub(crate) const LOCK_RETRY_DELAY_MIN: TimeDelta = TimeDelta::seconds(1);
const LOCK_RETRY_DELAY_MAX: TimeDelta = TimeDelta::seconds(15);

/// An item of a handler's work, and the lane that is deferred if the item fails alone.
pub(super) struct Item<'a, T> {
    pub(super) lane: &'a str,
    /// The arrival of the first event of the lane.
    pub(super) waiting_since: DateTime<Utc>,
    /// `events.id`, if the item is one event.
    pub(super) event_id: Option<i64>,
    pub(super) value: T,
}

impl<'a, T> Item<'a, T> {
    /// Makes an item of the whole lane of `event`.
    pub(super) fn of_lane(event: &'a PendingEvent, value: T) -> Self {
        Self { lane: &event.lane, waiting_since: event.received_at, event_id: None, value }
    }
}

impl<'a> Item<'a, &'a PendingEvent> {
    pub(super) fn of_event(event: &'a PendingEvent) -> Self {
        Self { lane: &event.lane, waiting_since: event.received_at, event_id: Some(event.id), value: event }
    }
}

/// How items that fail alone are logged and deferred.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handler {
    /// The word for an item in the log.
    pub(super) name: &'static str,
    /// The delay of an item whose rows are refused.
    pub(super) retry_after: TimeDelta,
    /// The alert about an event whose row is refused, if there is one. It is raised before the event is deferred.
    pub(super) alert: Option<fn(i64) -> NewAlert>,
}

/// Returns whether an event is for a conversation. One that cannot be read counts, so that it gets an outcome.
pub(super) fn is_for_a_conversation(event: &PendingEvent) -> bool {
    event.payload.as_ref().is_none_or(Payload::is_for_a_conversation)
}

/// Applies `work` to `items`, together where possible ([`run_bisecting`]). An item that fails alone is logged and deferred: for the
/// handler's `retry_after` if its rows are refused, and for less if it waits for a lock, about which an alert is raised.
pub(super) async fn handle<'a, T, W>(
    context: &JobContext,
    handler: Handler,
    items: &'a [Item<'a, T>],
    work: impl FnMut(&'a [Item<'a, T>], Patience) -> W + Send,
) -> Result<usize, db::Error>
where
    T: Sync,
    W: Future<Output = Result<usize, db::Error>> + Send,
{
    run_bisecting(items, work, |item, error| {
        defer(context, handler, item.event_id, item.lane, item.waiting_since, error)
    })
    .await
}

async fn defer(
    context: &JobContext,
    handler: Handler,
    event: Option<i64>,
    lane: &str,
    waiting_since: DateTime<Utc>,
    error: Arc<db::Error>,
) -> Result<(), db::Error> {
    let item = handler.name;
    if error.is_lock_timeout() {
        tracing::warn!(item, event, %error, "waits for a lock that another session holds");
        context.raise_blocker_alerts().await;
    } else {
        tracing::error!(item, event, %error, "cannot be processed, and is deferred");
        if let Some(alert) = handler.alert.zip(event).map(|(alert, event)| alert(event)) {
            raise(context, alert).await?;
        }
    }
    let now = clock::now();
    inbox::defer(&context.pool, lane, now + delay_of(&error, handler.retry_after, waiting_since, now)).await
}

async fn raise(context: &JobContext, alert: NewAlert) -> Result<(), db::Error> {
    let mut tx = context.pool.begin().await?;
    let raised = alerts::raise(&mut tx, &[alert], clock::now()).await?;
    tx.commit().await?;
    telemetry::raised(&raised);
    Ok(())
}

/// Returns the delay of an item that failed alone. It is short for a lock, which may be released at any time.
fn delay_of(error: &db::Error, retry_after: TimeDelta, waiting_since: DateTime<Utc>, now: DateTime<Utc>) -> TimeDelta {
    if error.is_lock_timeout() {
        ((now - waiting_since) / 2).clamp(LOCK_RETRY_DELAY_MIN, LOCK_RETRY_DELAY_MAX)
    } else {
        retry_after
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::tests::lock_timeout;

    #[test]
    fn a_lane_that_has_waited_longer_for_a_lock_is_retried_less_often() {
        let now = DateTime::UNIX_EPOCH + TimeDelta::days(1);
        let refused = db::Error::UnreadableNumber;
        assert_eq!(delay_of(&refused, TimeDelta::seconds(60), now, now), TimeDelta::seconds(60));
        for (waited, wait) in [(0, 1), (10, 5), (3_600, 15)] {
            let since = now - TimeDelta::seconds(waited);
            assert_eq!(delay_of(&lock_timeout(), TimeDelta::seconds(60), since, now), TimeDelta::seconds(wait));
        }
    }
}
