//! Stripe's events, applied to subscriptions. Each client whose payment status changes is told through its conversation.
//!
//! Stripe's events come in any order. So the status of a subscription never follows from the last event: it is computed anew from
//! everything that is known. The conversation decides what that means for the client.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_onboarding::Payment;
use jobrun_shared::alerts::{Kind, payments as alert_of};
use jobrun_shared::db::alerts::{self, NewAlert};
use jobrun_shared::db::inbox::{self, NewEvent, Outcome, Payload, PendingEvent, Source};
use jobrun_shared::db::{self, Patience, subscriptions};
use jobrun_shared::{clock, telemetry};
use jobrun_stripe::facts::{self, StripeFact};
use sqlx::PgConnection;

use super::subscription_change::Changed;
use crate::context::JobContext;
use crate::events::{Handler, Item, handle, stripe_alerts};

const HANDLER: Handler =
    Handler { name: "an event of Stripe's", retry_after: TimeDelta::minutes(10), alert: Some(alert_of::stuck) };

/// Applies the `oldest` events that are Stripe's. Returns how many.
pub(crate) async fn process(context: &JobContext, oldest: &[PendingEvent]) -> Result<usize, db::Error> {
    let of_stripe: Vec<Item<'_, &PendingEvent>> = oldest
        .iter()
        .filter(|event| matches!(event.payload, Some(Payload::Stripe { .. })))
        .map(Item::of_event)
        .collect();
    handle(context, HANDLER, &of_stripe, |part, patience| apply(context, part, patience)).await
}

async fn apply(
    context: &JobContext,
    of_stripe: &[Item<'_, &PendingEvent>],
    patience: Patience,
) -> Result<usize, db::Error> {
    let ids: Vec<i64> = of_stripe.iter().map(|item| item.of.id).collect();
    let now = clock::now();
    let mut tx = db::begin(&context.pool, patience).await?;
    let applied = apply_in(&mut tx, &ids, now).await;
    let (count, raised, cleared) = db::finish(tx, applied).await?;
    telemetry::raised(&raised);
    telemetry::cleared(&cleared);
    Ok(count)
}

/// Returns the number of events applied, the new alerts, and the causes of those that are over.
///
/// Locks subscriptions first, before any other lock.
async fn apply_in(
    conn: &mut PgConnection,
    ids: &[i64],
    now: DateTime<Utc>,
) -> Result<(usize, Vec<NewAlert>, Vec<String>), db::Error> {
    subscriptions::lock(conn).await?;
    let waiting = inbox::lock_pending(conn, ids).await?;
    let told: Vec<(i64, StripeFact)> = waiting.iter().filter_map(|event| Some((event.id, as_fact(event)?))).collect();
    subscriptions::record(conn, &told, now).await?;
    let changes: Vec<Changed> =
        subscriptions::load_concerned(conn, &told).await?.into_iter().map(Changed::of).collect();
    let saved: Vec<(&str, Option<&str>, Payment)> = changes.iter().map(Changed::as_saved).collect();
    subscriptions::save(conn, &saved).await?;

    inbox::insert(conn, &news(&changes, &waiting, &told), now).await?;
    let alerts = stripe_alerts::update(conn, &changes, &told, now).await?;
    let settled: Vec<String> = told.iter().map(|(event_id, _)| Kind::PaymentStuck.of(*event_id)).collect();
    let settled = alerts::clear(conn, &settled, now).await?;
    let outcomes: Vec<Outcome> = waiting.iter().map(|event| outcome(event, &told)).collect();
    inbox::mark_processed(conn, &outcomes, now).await?;
    Ok((outcomes.len(), alerts.raised, [alerts.cleared, settled].concat()))
}

fn as_fact(event: &PendingEvent) -> Option<StripeFact> {
    match event.payload.as_ref()? {
        Payload::Stripe { event, .. } => facts::read(event),
        _ => None,
    }
}

fn outcome(event: &PendingEvent, told: &[(i64, StripeFact)]) -> Outcome {
    let concerns_us = told.iter().any(|(id, _)| *id == event.id);
    Outcome::of_nobody(event.id, if concerns_us { "applied" } else { "of_no_concern" })
}

/// Returns the events for the conversations: that there is something to look at, and since when. Each is named after the latest
/// event of the batch, so that the same news is recorded once.
fn news(changes: &[Changed], batch: &[PendingEvent], told: &[(i64, StripeFact)]) -> Vec<NewEvent> {
    let Some((first, last)) = batch.first().zip(batch.last()) else { return Vec::new() };
    let received: HashMap<i64, DateTime<Utc>> = batch.iter().map(|event| (event.id, event.received_at)).collect();
    // The batch is in order. It is read backwards, so that the earliest event about each subscription counts.
    let mut since: HashMap<&str, DateTime<Utc>> = HashMap::new();
    for (event_id, told) in told.iter().rev() {
        since.extend(told.subscription_id.as_deref().zip(received.get(event_id).copied()));
    }
    let mut clients: BTreeMap<&str, DateTime<Utc>> = BTreeMap::new();
    for change in changes {
        // A refund names no subscription, so the first event of the batch counts.
        let since = since.get(change.subscription.id.as_str()).copied().unwrap_or(first.received_at);
        clients.extend(change.client_with_news().map(|client| (client, since)));
    }
    // Numbers may be few: the client who paid first asks first.
    let mut clients: Vec<(&str, DateTime<Utc>)> = clients.into_iter().collect();
    clients.sort_by_key(|(_, since)| *since);
    let event = |(client_id, since): (&str, DateTime<Utc>)| NewEvent {
        source: Source::System,
        external_id: format!("payment-changed:{}:{client_id}", last.id),
        payload: Payload::PaymentChanged { client_id: client_id.to_owned(), since },
    };
    clients.into_iter().map(event).collect()
}

/// The time in which the checkout arrives that names the client of a subscription. A paid subscription without one after this long
/// was made in another way, and the operator has to assign it.
const CHECKOUT_COMES_WITHIN: TimeDelta = TimeDelta::hours(1);

/// Raises an alert, once, for each payment of which the client is still unknown after [`CHECKOUT_COMES_WITHIN`]. A part of the
/// sweep.
pub(crate) async fn alert_of_forgotten(context: &JobContext, now: DateTime<Utc>) -> Result<(), db::Error> {
    let mut tx = context.pool.begin().await?;
    subscriptions::lock(&mut tx).await?;
    let forgotten = subscriptions::list_forgotten(&mut tx, now - CHECKOUT_COMES_WITHIN).await?;
    let alerts: Vec<NewAlert> = forgotten.iter().map(|id| alert_of::unassigned(id)).collect();
    let raised = alerts::raise(&mut tx, &alerts, now).await?;
    tx.commit().await?;
    telemetry::raised(&raised);
    Ok(())
}
