//! Stripe's events, and its answers to our questions, applied to subscriptions. A client whose payment status changes is told by
//! its conversation.
//!
//! Stripe's events come in any order, so the status of a subscription never follows from the last event: it is computed from all
//! facts that are known. The conversation decides what that means for the client.
//!
//! Of an event about an erased client's payment, only the part that bookkeeping needs stays. An erasure takes the same lock when it
//! begins: it finds all events that were applied before, and the others are reduced here.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_shared::alerts::{Kind, payments as alert_of};
use jobrun_shared::db::alerts::{self, NewAlert};
use jobrun_shared::db::inbox::{self, NewEvent, Outcome, Payload, PendingEvent, Source};
use jobrun_shared::db::subscriptions::{self, Saved};
use jobrun_shared::db::{self, Patience, erasures};
use jobrun_shared::traces::{Span, SpanName};
use jobrun_shared::{clock, telemetry};
use jobrun_stripe::bookkeeping;
use jobrun_stripe::facts::{self, StripeFact};
use serde_json::Value;
use sqlx::PgConnection;

use super::subscription_change::SubscriptionChange;
use crate::context::JobContext;
use crate::events::{Handler, Item, handle, stripe_alerts};

const HANDLER: Handler =
    Handler { name: "an event of Stripe's", retry_after: TimeDelta::minutes(10), alert: Some(alert_of::payment_stuck) };

/// Applies the `oldest` events that are Stripe's. Returns how many.
pub(crate) async fn process(context: &JobContext, oldest: &[PendingEvent]) -> Result<usize, db::Error> {
    let events: Vec<Item<'_, &PendingEvent>> = oldest
        .iter()
        .filter(|event| matches!(event.payload, Some(Payload::Stripe { .. } | Payload::SubscriptionAsked { .. })))
        .map(Item::of_event)
        .collect();
    handle(context, HANDLER, &events, |part, patience| apply(context, part, patience)).await
}

async fn apply(
    context: &JobContext,
    events: &[Item<'_, &PendingEvent>],
    patience: Patience,
) -> Result<usize, db::Error> {
    let ids: Vec<i64> = events.iter().map(|item| item.value.id).collect();
    let now = clock::now();
    let mut tx = db::begin(&context.pool, patience).await?;
    let applied = apply_in(&mut tx, &ids, now).await;
    let applied = db::finish(tx, applied).await?;
    telemetry::raised(&applied.raised);
    telemetry::cleared(&applied.cleared);
    applied.spans.into_values().for_each(Span::succeed);
    Ok(applied.count)
}

/// The results of a batch, for the log after the commit.
struct Applied {
    /// The number of events.
    count: usize,
    /// The new alerts, and the causes of the resolved ones.
    raised: Vec<NewAlert>,
    cleared: Vec<String>,
    /// The spans of events of sampled traces, by `events.id`.
    spans: HashMap<i64, Span>,
}

/// Locks subscriptions first: row 3 of the lock order in `shared/README.md` comes before rows 4 to 13.
async fn apply_in(conn: &mut PgConnection, ids: &[i64], now: DateTime<Utc>) -> Result<Applied, db::Error> {
    subscriptions::lock(conn).await?;
    let pending = inbox::lock_pending(conn, ids).await?;
    let spans =
        pending.iter().filter_map(|event| Some((event.id, Span::child_of(SpanName::Apply, event.traceparent)?)));
    let spans: HashMap<i64, Span> = spans.collect();
    let facts: Vec<(i64, StripeFact)> = pending.iter().filter_map(|event| Some((event.id, as_fact(event)?))).collect();
    subscriptions::record(conn, &facts, now).await?;
    let changes: Vec<SubscriptionChange> =
        subscriptions::load_concerned(conn, &facts).await?.into_iter().map(SubscriptionChange::new).collect();
    let rows: Vec<Saved<'_>> = changes.iter().map(|change| change.as_row(now)).collect();
    subscriptions::save(conn, &rows).await?;
    reduce_of_erased(conn, &pending, &facts, &changes).await?;

    inbox::insert(conn, &payment_changed_events(&changes, &pending, &facts, &spans), now).await?;
    // Alerts come before `mark_processed`, against the lock order. It waits for no session, because the events are locked already.
    let alerts = stripe_alerts::update(conn, &changes, &facts, now).await?;
    let no_longer_stuck: Vec<String> = facts.iter().map(|(event_id, _)| Kind::PaymentStuck.of(*event_id)).collect();
    let no_longer_stuck = alerts::clear(conn, &no_longer_stuck, now).await?;
    let outcomes: Vec<Outcome> = pending.iter().map(|event| outcome(event, &facts)).collect();
    inbox::mark_processed(conn, &outcomes, now).await?;
    let cleared = [alerts.cleared, no_longer_stuck].concat();
    Ok(Applied { count: outcomes.len(), raised: alerts.raised, cleared, spans })
}

fn as_fact(event: &PendingEvent) -> Option<StripeFact> {
    match event.payload.as_ref()? {
        Payload::Stripe { event, .. } => facts::read(event),
        Payload::SubscriptionAsked { name, subscription, not_before } => {
            facts::of_subscription(name, subscription, *not_before)
        }
        _ => None,
    }
}

/// Reduces the events about payments of erased clients.
async fn reduce_of_erased(
    conn: &mut PgConnection,
    pending: &[PendingEvent],
    facts: &[(i64, StripeFact)],
    changes: &[SubscriptionChange],
) -> Result<(), db::Error> {
    let payers: HashMap<i64, String> = pending.iter().filter_map(|event| Some((event.id, payer(event)?))).collect();
    let named: Vec<&str> = payers.values().map(String::as_str).collect();
    let erased_payers: HashSet<String> = erasures::list_erased_payers(conn, &named).await?.into_iter().collect();
    let erased: Vec<&SubscriptionChange> = changes.iter().filter(|change| change.subscription.is_erased).collect();
    let is_about_erased = |event: &&PendingEvent| {
        let mut own = facts.iter().filter(|(id, _)| *id == event.id);
        payers.get(&event.id).is_some_and(|payer| erased_payers.contains(payer))
            || own.any(|(_, fact)| erased.iter().any(|change| change.is_named_by(fact)))
    };
    let reduced = pending.iter().filter(is_about_erased);
    let reduced: Vec<(i64, Value)> = reduced.filter_map(|event| Some((event.id, reduced_payload(event)?))).collect();
    erasures::reduce_payments(conn, &reduced).await
}

fn payer(event: &PendingEvent) -> Option<String> {
    match event.payload.as_ref()? {
        Payload::Stripe { event, .. } => bookkeeping::payer(event),
        Payload::SubscriptionAsked { subscription, .. } => bookkeeping::payer_of(subscription),
        _ => None,
    }
}

fn reduced_payload(event: &PendingEvent) -> Option<Value> {
    let reduced = match event.payload.clone()? {
        Payload::Stripe { id, event } => Payload::Stripe { id, event: bookkeeping::of_event(&event) },
        Payload::SubscriptionAsked { name, subscription, not_before } => {
            let subscription = bookkeeping::of_object(&subscription);
            Payload::SubscriptionAsked { name, subscription, not_before }
        }
        _ => return None,
    };
    serde_json::to_value(reduced).ok()
}

fn outcome(event: &PendingEvent, facts: &[(i64, StripeFact)]) -> Outcome {
    let concerns_us = facts.iter().any(|(id, _)| *id == event.id);
    Outcome::of_nobody(event.id, if concerns_us { "applied" } else { "of_no_concern" })
}

/// Returns an event `payment_changed` for each client whose payment changed, with the time since when. Each is named after the
/// latest event of the batch, so that a repetition is recorded once.
fn payment_changed_events(
    changes: &[SubscriptionChange],
    batch: &[PendingEvent],
    facts: &[(i64, StripeFact)],
    spans: &HashMap<i64, Span>,
) -> Vec<NewEvent> {
    let Some((first, last)) = batch.first().zip(batch.last()) else { return Vec::new() };
    let events: HashMap<i64, &PendingEvent> = batch.iter().map(|event| (event.id, event)).collect();
    // The batch is in order. It is read backwards, so that the earliest event about each subscription counts.
    let mut causes: HashMap<&str, &PendingEvent> = HashMap::new();
    for (event_id, fact) in facts.iter().rev() {
        causes.extend(fact.subscription_id.as_deref().zip(events.get(event_id).copied()));
    }
    let mut clients: BTreeMap<&str, &PendingEvent> = BTreeMap::new();
    for change in changes {
        // A refund names no subscription, so the first event of the batch counts.
        let cause = causes.get(change.subscription.id.as_str()).copied().unwrap_or(first);
        clients.extend(change.client_to_notify().map(|client| (client, cause)));
    }
    // Numbers may be few: the client who paid first asks first.
    let mut clients: Vec<(&str, &PendingEvent)> = clients.into_iter().collect();
    clients.sort_by_key(|(_, cause)| cause.received_at);
    let event = |(client_id, cause): (&str, &PendingEvent)| {
        let changed = Payload::PaymentChanged { client_id: client_id.to_owned(), since: cause.received_at };
        let event = NewEvent::new(Source::System, format!("payment-changed:{}:{client_id}", last.id), changed);
        NewEvent { traceparent: spans.get(&cause.id).map(Span::traceparent), ..event }
    };
    clients.into_iter().map(event).collect()
}

/// The time in which the checkout that names the client of a subscription arrives. A paid subscription that has none by then was
/// made in another way, and the operator has to assign it.
const CHECKOUT_TIMEOUT: TimeDelta = TimeDelta::hours(1);

/// Raises an alert, once, for each payment whose client is still unknown after [`CHECKOUT_TIMEOUT`]. A part of the sweep.
pub(crate) async fn raise_unassigned_payment_alerts(context: &JobContext, now: DateTime<Utc>) -> Result<(), db::Error> {
    let mut tx = context.pool.begin().await?;
    subscriptions::lock(&mut tx).await?;
    let unassigned = subscriptions::list_unassigned_without_alert(&mut tx, now - CHECKOUT_TIMEOUT).await?;
    let alerts: Vec<NewAlert> = unassigned.iter().map(|id| alert_of::unassigned(id)).collect();
    let raised = alerts::raise(&mut tx, &alerts, now).await?;
    tx.commit().await?;
    telemetry::raised(&raised);
    Ok(())
}
