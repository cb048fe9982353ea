//! Handlers of events, one for each kind, and the loop that they share: bisect, log, defer.
//!
//! A batch that fails because of its rows is done again in halves, so that a bad row costs only itself. An event that fails alone
//! is deferred with its lane, so that nothing of the lane overtakes it.

pub(crate) mod conversation;

pub(crate) mod delivery_reports;

pub(crate) mod stripe;

mod stripe_alerts;

mod subscription_change;

pub(crate) mod unmatched;

use crate::context::JobContext;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_shared::db::alerts::{self, NewAlert};
use jobrun_shared::db::inbox::{self, PendingEvent};
use jobrun_shared::db::{self, Patience};
use jobrun_shared::{clock, telemetry};

use crate::batch::run_bisecting;

/// The first delay of a lane whose lock was not released in time. The longer the lane has waited already, the longer the next
/// delay, up to [`LOCKED_FOR_MAX`].
pub(crate) const LOCKED_FOR_MIN: TimeDelta = TimeDelta::seconds(1);
const LOCKED_FOR_MAX: TimeDelta = TimeDelta::seconds(15);

/// An item of a handler's work, and the lane that is deferred if the item fails alone.
pub(super) struct Item<'a, T> {
    pub(super) lane: &'a str,
    /// The arrival of the first event of the lane.
    pub(super) since: DateTime<Utc>,
    /// `events.id`, if the item is one event.
    pub(super) event: Option<i64>,
    pub(super) of: T,
}

impl<'a, T> Item<'a, T> {
    /// Makes an item of the whole lane of `event`.
    pub(super) fn of_lane(event: &'a PendingEvent, of: T) -> Self {
        Self { lane: &event.lane, since: event.received_at, event: None, of }
    }
}

impl<'a> Item<'a, &'a PendingEvent> {
    pub(super) fn of_event(event: &'a PendingEvent) -> Self {
        Self { lane: &event.lane, since: event.received_at, event: Some(event.id), of: event }
    }
}

/// The treatment of items that fail alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handler {
    /// The word for an item in the log.
    pub(super) name: &'static str,
    /// The delay of an item whose rows are refused.
    pub(super) retry_after: TimeDelta,
    /// The alert about an event whose row is refused, if there is one. It is raised before the event is deferred.
    pub(super) alert: Option<fn(i64) -> NewAlert>,
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
    run_bisecting(items, work, |item, error| defer(context, handler, item.event, item.lane, item.since, error)).await
}

async fn defer(
    context: &JobContext,
    handler: Handler,
    event: Option<i64>,
    lane: &str,
    since: DateTime<Utc>,
    error: Arc<db::Error>,
) -> Result<(), db::Error> {
    let item = handler.name;
    if error.is_lock_timeout() {
        tracing::warn!(item, event, %error, "waits for a lock that another session holds");
        context.alert_of_blockers().await;
    } else {
        tracing::error!(item, event, %error, "cannot be processed, and is deferred");
        if let Some(alert) = handler.alert.zip(event).map(|(alert, event)| alert(event)) {
            raise(context, alert).await?;
        }
    }
    let now = clock::now();
    inbox::defer(&context.pool, lane, now + deferral(&error, handler.retry_after, since, now)).await
}

async fn raise(context: &JobContext, alert: NewAlert) -> Result<(), db::Error> {
    let mut tx = context.pool.begin().await?;
    let raised = alerts::raise(&mut tx, &[alert], clock::now()).await?;
    tx.commit().await?;
    telemetry::raised(&raised);
    Ok(())
}

/// Returns the delay of an item that failed alone. It is short for a lock, which may be released at any time.
fn deferral(error: &db::Error, refused_for: TimeDelta, waiting_since: DateTime<Utc>, now: DateTime<Utc>) -> TimeDelta {
    if error.is_lock_timeout() {
        ((now - waiting_since) / 2).clamp(LOCKED_FOR_MIN, LOCKED_FOR_MAX)
    } else {
        refused_for
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
        assert_eq!(deferral(&refused, TimeDelta::seconds(60), now, now), TimeDelta::seconds(60));
        for (waited, wait) in [(0, 1), (10, 5), (3_600, 15)] {
            let since = now - TimeDelta::seconds(waited);
            assert_eq!(deferral(&lock_timeout(), TimeDelta::seconds(60), since, now), TimeDelta::seconds(wait));
        }
    }
}
