//! The alerts about payments: raised and cleared from everything that is known about the payments.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use jobrun_onboarding::dispute::{self, Dispute};
use jobrun_onboarding::payment::{FactKind, is_paid_after_end};
use jobrun_shared::alerts::{Kind, payments as alert_of};
use jobrun_shared::db::alerts::{self, NewAlert};
use jobrun_shared::db::{self, subscriptions};
use jobrun_shared::payments;
use jobrun_stripe::facts::StripeFact;
use sqlx::PgConnection;

use crate::events::subscription_change::Changed;

/// The alerts that changed.
#[derive(Default)]
pub(crate) struct Alerts {
    /// The new alerts.
    pub(crate) raised: Vec<NewAlert>,
    /// The causes of those that are over.
    pub(crate) cleared: Vec<String>,
}

/// Raises and clears the alerts about the facts in `told`, and about the subscriptions in `changes`.
pub(crate) async fn update(
    conn: &mut PgConnection,
    changes: &[Changed],
    told: &[(i64, StripeFact)],
    now: DateTime<Utc>,
) -> Result<Alerts, db::Error> {
    let (mut alerts, mut over) = (Vec::new(), Vec::new());
    for change in changes {
        alerts.extend(about_owner(change, told));
        alerts.extend(about_money(change, told));
        over.extend(causes_over(change));
    }
    alerts.extend(about_unclear_refunds(conn, changes, told).await?);
    alerts.extend(told.iter().filter_map(|(_, told)| about_failed_refund(told, changes)));
    let clients: BTreeSet<&str> = changes.iter().filter_map(Changed::client_with_news).collect();
    let clients: Vec<&str> = clients.into_iter().collect();
    let (paid_twice, not_any_more) = payments::paid_twice(conn, &clients).await?;
    alerts.extend(paid_twice);
    over.extend(not_any_more);

    let mut raised = alerts::raise(conn, &alerts, now).await?;
    let (lasting, closed) = about_disputes(conn, changes, told).await?;
    for alert in lasting {
        if alerts::raise_lasting(conn, &alert, now).await? {
            raised.push(alert);
        }
    }
    over.extend(closed);
    Ok(Alerts { raised, cleared: alerts::clear(conn, &over, now).await? })
}

/// Returns the alert about a subscription that belongs to no client that we know.
fn about_owner(change: &Changed, told: &[(i64, StripeFact)]) -> Option<NewAlert> {
    change.turns_out_to_be_nobodys(told).then(|| alert_of::unassigned(&change.subscription.id))
}

/// Returns the alerts about money for which no client is served.
fn about_money(change: &Changed, told: &[(i64, StripeFact)]) -> Vec<NewAlert> {
    let id = &change.subscription.id;
    let of_it = || told.iter().map(|(_, told)| told).filter(|told| told.subscription_id.as_ref() == Some(id));
    let mut alerts = Vec::new();
    if of_it().next().is_some() && is_paid_after_end(&change.subscription.facts) {
        alerts.push(alert_of::paid_after_end(id, change.client_id.as_deref()));
    }
    if !change.standing.is_served() && of_it().any(|told| told.what == Some(FactKind::UnclearCheckout)) {
        alerts.push(alert_of::checkout_unclear(id, change.client_id.as_deref()));
    }
    alerts
}

/// Returns the causes that no longer hold, by the status of this subscription.
fn causes_over(change: &Changed) -> Vec<String> {
    let subscription = &change.subscription;
    let refunds = subscription.facts.iter().filter(|fact| fact.what == FactKind::Refunded);
    // The payment that was refunded is known now.
    let mut over: Vec<String> = refunds.map(|fact| Kind::RefundUnclear.of(&fact.id)).collect();
    if change.client_id.is_some() {
        over.push(Kind::PaymentUnassigned.of(&subscription.id));
    }
    if !is_paid_after_end(&subscription.facts) {
        over.push(Kind::PaidAfterEnd.of(&subscription.id));
    }
    if change.standing.is_served() {
        over.push(Kind::CheckoutUnclear.of(&subscription.id));
    }
    over
}

/// Returns the alerts about refunds to our payers that belong to no payment that we know. A later event may still name the payment.
async fn about_unclear_refunds(
    conn: &mut PgConnection,
    changes: &[Changed],
    told: &[(i64, StripeFact)],
) -> Result<Vec<NewAlert>, db::Error> {
    let customers: Vec<&str> = told.iter().filter_map(|(_, told)| told.customer_id.as_deref()).collect();
    let refunds = subscriptions::list_refunds_without_alert(conn, &customers).await?;
    let is_clear = |id: &String| changes.iter().any(|change| change.knows_of(id));
    Ok(refunds.iter().filter(|id| !is_clear(id)).map(|id| alert_of::refund_unclear(id)).collect())
}

fn about_failed_refund(told: &StripeFact, changes: &[Changed]) -> Option<NewAlert> {
    let Some(FactKind::RefundFailed { refund }) = &told.what else { return None };
    Some(alert_of::refund_failed(refund, client_of(told, changes)))
}

/// Returns the alerts about the disputes in `told`, by their latest status, and the causes that are over. A dispute ends no
/// service: that is for the operator to decide.
async fn about_disputes(
    conn: &mut PgConnection,
    changes: &[Changed],
    told: &[(i64, StripeFact)],
) -> Result<(Vec<NewAlert>, Vec<String>), db::Error> {
    let mut of_each: BTreeMap<&str, Vec<&StripeFact>> = BTreeMap::new();
    for (_, told) in told {
        if let Some(id) = &told.dispute_id {
            of_each.entry(id).or_default().push(told);
        }
    }
    let ids: Vec<&str> = of_each.keys().copied().collect();
    let statuses = subscriptions::list_disputes(conn, &ids).await?;
    let (mut alerts, mut over) = (Vec::new(), Vec::new());
    for (id, told) in of_each {
        let (open, lost) = (Kind::Dispute.of(id), Kind::DisputeLost.of(id));
        match statuses.get(id).and_then(|all| dispute::latest(all)) {
            Some(status @ (Dispute::Open | Dispute::UnderReview)) => {
                alerts.push(open_dispute(id, status, &told, changes));
                over.push(lost);
            }
            Some(Dispute::Lost) => {
                // A late event about the beginning of a dispute that is lost already is no news.
                if told.iter().any(|told| matches!(told.what, Some(FactKind::Disputed { status: Dispute::Lost, .. }))) {
                    alerts.push(lost_dispute(id, &told, changes));
                }
                over.push(open);
            }
            Some(Dispute::Won) | None => over.extend([open, lost]),
        }
    }
    Ok((alerts, over))
}

fn open_dispute(id: &str, status: Dispute, told: &[&StripeFact], changes: &[Changed]) -> NewAlert {
    let due_by = told.iter().max_by_key(|told| told.happened_at).and_then(|told| match told.what {
        Some(FactKind::Disputed { due_by, .. }) => due_by,
        _ => None,
    });
    let client_id = told.iter().find_map(|told| client_of(told, changes));
    alert_of::dispute(id, client_id, status == Dispute::UnderReview, due_by)
}

fn lost_dispute(id: &str, told: &[&StripeFact], changes: &[Changed]) -> NewAlert {
    alert_of::dispute_lost(id, told.iter().find_map(|told| client_of(told, changes)))
}

/// Returns the client whose payment the fact is about, if it is known.
fn client_of<'a>(told: &StripeFact, changes: &'a [Changed]) -> Option<&'a str> {
    changes.iter().filter(|change| change.knows_of(&told.id)).find_map(|change| change.client_id.as_deref())
}
