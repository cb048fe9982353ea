//! What Stripe tells us, applied to what clients pay for; and each client told whose payment stands otherwise than before.
//!
//! Stripe tells in any order. So nothing here goes by the last event: how a subscription stands is worked out anew from all
//! that is known of it. What that means for the client is not decided here, but by its conversation, which hears of it.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_onboarding::Payment;
use jobrun_onboarding::payment::{What, standing};
use jobrun_shared::db::alerts::{self, NewAlert};
use jobrun_shared::db::events::{self, NewEvent, Outcome, Payload, Source, Waiting};
use jobrun_shared::db::subscriptions::{self, Subscription};
use jobrun_shared::db::{self, Patience};
use jobrun_shared::stripe::facts::{self, Told};
use jobrun_shared::{clock, operator, telemetry};
use sqlx::PgConnection;

use crate::hands::{Hands, in_halves};
use crate::payment_alerts;

/// How long an event waits that refuses to be applied.
const PUT_OFF: TimeDelta = TimeDelta::minutes(10);

/// Applies those of the `oldest` events that are Stripe's. Answers how many.
///
/// A slice that fails because of its rows is taken again in halves, so that a bad one costs only itself.
pub(crate) async fn process(hands: &Hands, oldest: &[Waiting]) -> Result<usize, db::Error> {
    let of_stripe: Vec<&Waiting> =
        oldest.iter().filter(|event| matches!(event.payload, Some(Payload::Stripe { .. }))).collect();
    in_halves(
        &of_stripe,
        |part, patience| apply(hands, part, patience),
        async |event, error| {
            tracing::error!(event = event.id, %error, "an event of Stripe's cannot be applied and is put off");
            if !error.is_lock_timeout() {
                alert_of_put_off(hands, event.id).await?;
            }
            hands.put_off(&event.lane, &error, PUT_OFF, event.received_at).await
        },
    )
    .await
}

async fn alert_of_put_off(hands: &Hands, event_id: i64) -> Result<(), db::Error> {
    let about = format!(
        "Event {event_id} of Stripe's refuses to be applied, and is tried again every ten minutes: the worker's log says why. Look \
         whose payment it is in `events`."
    );
    let alert = NewAlert { cause: cause_of_put_off(event_id), about };
    let mut tx = hands.pool.begin().await?;
    let raised = alerts::raise(&mut tx, &[alert], clock::now()).await?;
    tx.commit().await?;
    telemetry::raised(&raised);
    Ok(())
}

fn cause_of_put_off(event_id: i64) -> String {
    format!("payment-stuck:{event_id}")
}

async fn apply(hands: &Hands, of_stripe: &[&Waiting], patience: Patience) -> Result<usize, db::Error> {
    let ids: Vec<i64> = of_stripe.iter().map(|event| event.id).collect();
    let now = clock::now();
    let mut tx = db::begin(&hands.pool, patience).await?;
    let applied = apply_in(&mut tx, &ids, now).await;
    let (count, raised, cleared) = db::finish(tx, applied).await?;
    telemetry::raised(&raised);
    telemetry::cleared(&cleared);
    Ok(count)
}

/// Returns how many events were applied, and the alerts that are new and over.
async fn apply_in(
    conn: &mut PgConnection,
    ids: &[i64],
    now: DateTime<Utc>,
) -> Result<(usize, Vec<NewAlert>, Vec<String>), db::Error> {
    subscriptions::lock(conn).await?;
    let waiting = events::lock_waiting(conn, ids).await?;
    let told: Vec<(i64, Told)> = waiting.iter().filter_map(|event| Some((event.id, as_told(event)?))).collect();
    subscriptions::record(conn, &told, now).await?;
    let changes: Vec<Changed> =
        subscriptions::load_concerned(conn, &told).await?.into_iter().map(Changed::of).collect();
    let saved: Vec<(&str, Option<&str>, Payment)> = changes.iter().map(Changed::as_saved).collect();
    subscriptions::save(conn, &saved).await?;

    events::insert(conn, &news(&changes, &waiting, &told), now).await?;
    let alerts = payment_alerts::update(conn, &changes, &told, now).await?;
    let settled: Vec<String> = told.iter().map(|(event_id, _)| cause_of_put_off(*event_id)).collect();
    let settled = alerts::clear(conn, &settled, now).await?;
    let outcomes: Vec<Outcome> = waiting.iter().map(|event| outcome(event, &told)).collect();
    events::mark_processed(conn, &outcomes, now).await?;
    Ok((outcomes.len(), alerts.raised, [alerts.cleared, settled].concat()))
}

fn as_told(event: &Waiting) -> Option<Told> {
    match event.payload.as_ref()? {
        Payload::Stripe { event, .. } => facts::read(event),
        _ => None,
    }
}

fn outcome(event: &Waiting, told: &[(i64, Told)]) -> Outcome {
    let concerns_us = told.iter().any(|(id, _)| *id == event.id);
    Outcome::of_nobody(event.id, if concerns_us { "applied" } else { "of_no_concern" })
}

/// A subscription, whose it is, and how it stands now.
pub(crate) struct Changed {
    pub(crate) subscription: Subscription,
    pub(crate) client_id: Option<String>,
    pub(crate) standing: Payment,
}

impl Changed {
    /// A subscription belongs to whom its checkout names, and for good: nobody else's checkout can take it away.
    fn of(subscription: Subscription) -> Self {
        let client_id = subscription.client_id.clone().or_else(|| subscription.named_client_id.clone());
        let standing = standing(&subscription.facts);
        Self { subscription, client_id, standing }
    }

    fn as_saved(&self) -> (&str, Option<&str>, Payment) {
        (&self.subscription.id, self.client_id.as_deref(), self.standing)
    }

    /// Whose conversation has to hear of it.
    pub(crate) fn client_with_news(&self) -> Option<&str> {
        let Subscription { client_id: before, standing, .. } = &self.subscription;
        let is_news = *before != self.client_id || *standing != self.standing;
        self.client_id.as_deref().filter(|_| is_news)
    }

    /// Whether an event (Stripe's name) is about one of its payments.
    pub(crate) fn knows_of(&self, event: &str) -> bool {
        self.subscription.facts.iter().any(|fact| fact.id == event)
    }

    /// Its checkout is among what was told, and names nobody.
    pub(crate) fn turns_out_to_be_nobodys(&self, told: &[(i64, Told)]) -> bool {
        let is_own = |told: &Told| told.subscription_id.as_deref() == Some(self.subscription.id.as_str());
        let is_checkout = |told: &Told| matches!(told.what, Some(What::Checkout { .. } | What::UnclearCheckout));
        self.client_id.is_none() && told.iter().any(|(_, told)| is_own(told) && is_checkout(told))
    }
}

/// What the conversations hear of a slice of events: that there is something to look at, and since when it was. Named after the
/// latest event of the slice, so that the same news is never two.
fn news(changes: &[Changed], slice: &[Waiting], told: &[(i64, Told)]) -> Vec<NewEvent> {
    let Some((first, last)) = slice.first().zip(slice.last()) else { return Vec::new() };
    let received: HashMap<i64, DateTime<Utc>> = slice.iter().map(|event| (event.id, event.received_at)).collect();
    // The earliest of what the slice tells of each: the slice is in order.
    let mut since: HashMap<&str, DateTime<Utc>> = HashMap::new();
    for (event_id, told) in told.iter().rev() {
        since.extend(told.subscription_id.as_deref().zip(received.get(event_id).copied()));
    }
    let mut clients: BTreeMap<&str, DateTime<Utc>> = BTreeMap::new();
    for change in changes {
        // A refund names no subscription.
        let since = since.get(change.subscription.id.as_str()).copied().unwrap_or(first.received_at);
        clients.extend(change.client_with_news().map(|client| (client, since)));
    }
    // Numbers may be few: whoever paid first asks first.
    let mut clients: Vec<(&str, DateTime<Utc>)> = clients.into_iter().collect();
    clients.sort_by_key(|(_, since)| *since);
    let event = |(client_id, since): (&str, DateTime<Utc>)| NewEvent {
        source: Source::System,
        external_id: format!("payment-changed:{}:{client_id}", last.id),
        payload: Payload::PaymentChanged { client_id: client_id.to_owned(), since },
    };
    clients.into_iter().map(event).collect()
}

/// A subscription waits for the checkout that says whose it is. One that is paid for, and still waits after this long, was
/// made in another way, and somebody has to say whose it is.
const CHECKOUT_COMES_WITHIN: TimeDelta = TimeDelta::hours(1);

/// Raises an alert for each payment that nobody knows anything of, once. A part of the sweep.
pub(crate) async fn alert_of_forgotten(hands: &Hands, now: DateTime<Utc>) -> Result<(), db::Error> {
    let mut tx = hands.pool.begin().await?;
    subscriptions::lock(&mut tx).await?;
    let forgotten = subscriptions::list_forgotten(&mut tx, now - CHECKOUT_COMES_WITHIN).await?;
    let alerts: Vec<NewAlert> = forgotten.iter().map(|id| operator::unassigned(id)).collect();
    let raised = alerts::raise(&mut tx, &alerts, now).await?;
    tx.commit().await?;
    telemetry::raised(&raised);
    Ok(())
}
