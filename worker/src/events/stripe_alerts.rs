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

use crate::events::subscription_change::SubscriptionChange;

/// The alerts that changed.
#[derive(Default)]
pub(crate) struct Alerts {
    /// The new alerts.
    pub(crate) raised: Vec<NewAlert>,
    /// The causes of the resolved ones.
    pub(crate) cleared: Vec<String>,
}

/// Raises and clears the alerts about `facts`, and about the subscriptions in `changes`.
pub(crate) async fn update(
    conn: &mut PgConnection,
    changes: &[SubscriptionChange],
    facts: &[(i64, StripeFact)],
    now: DateTime<Utc>,
) -> Result<Alerts, db::Error> {
    let (mut alerts, mut resolved) = (Vec::new(), Vec::new());
    for change in changes {
        alerts.extend(unassigned_alert(change, facts));
        alerts.extend(money_alerts(change, facts));
        resolved.extend(resolved_causes(change));
    }
    alerts.extend(unclear_refund_alerts(conn, changes, facts).await?);
    alerts.extend(facts.iter().filter_map(|(_, fact)| failed_refund_alert(fact, changes)));
    let clients: BTreeSet<&str> = changes.iter().filter_map(SubscriptionChange::client_to_notify).collect();
    let clients: Vec<&str> = clients.into_iter().collect();
    let (paid_twice, no_longer_paid_twice) = payments::paid_twice(conn, &clients).await?;
    alerts.extend(paid_twice);
    resolved.extend(no_longer_paid_twice);

    let mut raised = alerts::raise(conn, &alerts, now).await?;
    let (lasting, closed) = dispute_alerts(conn, changes, facts).await?;
    for alert in lasting {
        if alerts::raise_lasting(conn, &alert, now).await? {
            raised.push(alert);
        }
    }
    resolved.extend(closed);
    Ok(Alerts { raised, cleared: alerts::clear(conn, &resolved, now).await? })
}

/// Returns the alert about a subscription that belongs to no client that we know.
fn unassigned_alert(change: &SubscriptionChange, facts: &[(i64, StripeFact)]) -> Option<NewAlert> {
    change.has_checkout_without_client(facts).then(|| alert_of::unassigned(&change.subscription.id))
}

/// Returns the alerts about money for which no client is served.
fn money_alerts(change: &SubscriptionChange, facts: &[(i64, StripeFact)]) -> Vec<NewAlert> {
    let id = &change.subscription.id;
    let own_facts = || facts.iter().map(|(_, fact)| fact).filter(|fact| fact.subscription_id.as_ref() == Some(id));
    let mut alerts = Vec::new();
    if own_facts().next().is_some() && is_paid_after_end(&change.subscription.facts) {
        alerts.push(alert_of::paid_after_end(id, change.client_id.as_deref()));
    }
    if !change.standing.is_served() && own_facts().any(|fact| fact.what == Some(FactKind::UnclearCheckout)) {
        alerts.push(alert_of::checkout_unclear(id, change.client_id.as_deref()));
    }
    alerts
}

/// Returns the causes that no longer hold, by the status of this subscription.
fn resolved_causes(change: &SubscriptionChange) -> Vec<String> {
    let subscription = &change.subscription;
    let refunds = subscription.facts.iter().filter(|fact| fact.what == FactKind::Refunded);
    // The payment that was refunded is known now.
    let mut resolved: Vec<String> = refunds.map(|fact| Kind::RefundUnclear.of(&fact.id)).collect();
    if change.client_id.is_some() {
        resolved.push(Kind::PaymentUnassigned.of(&subscription.id));
    }
    if !is_paid_after_end(&subscription.facts) {
        resolved.push(Kind::PaidAfterEnd.of(&subscription.id));
    }
    if change.standing.is_served() {
        resolved.push(Kind::CheckoutUnclear.of(&subscription.id));
    }
    resolved
}

/// Returns the alerts about refunds to our payers that belong to no payment that we know. A later event may still name the payment.
async fn unclear_refund_alerts(
    conn: &mut PgConnection,
    changes: &[SubscriptionChange],
    facts: &[(i64, StripeFact)],
) -> Result<Vec<NewAlert>, db::Error> {
    let customers: Vec<&str> = facts.iter().filter_map(|(_, fact)| fact.customer_id.as_deref()).collect();
    let refunds = subscriptions::list_refunds_without_alert(conn, &customers).await?;
    let is_clear = |id: &String| changes.iter().any(|change| change.has_fact(id));
    Ok(refunds.iter().filter(|id| !is_clear(id)).map(|id| alert_of::refund_unclear(id)).collect())
}

fn failed_refund_alert(fact: &StripeFact, changes: &[SubscriptionChange]) -> Option<NewAlert> {
    let Some(FactKind::RefundFailed { refund }) = &fact.what else { return None };
    Some(alert_of::refund_failed(refund, client_of(fact, changes)))
}

/// Returns the alerts about the disputes in `facts`, by their latest status, and the resolved causes. A dispute ends no service:
/// that is for the operator to decide.
async fn dispute_alerts(
    conn: &mut PgConnection,
    changes: &[SubscriptionChange],
    facts: &[(i64, StripeFact)],
) -> Result<(Vec<NewAlert>, Vec<String>), db::Error> {
    let mut by_dispute: BTreeMap<&str, Vec<&StripeFact>> = BTreeMap::new();
    for (_, fact) in facts {
        if let Some(id) = &fact.dispute_id {
            by_dispute.entry(id).or_default().push(fact);
        }
    }
    let ids: Vec<&str> = by_dispute.keys().copied().collect();
    let statuses = subscriptions::list_disputes(conn, &ids).await?;
    let (mut alerts, mut resolved) = (Vec::new(), Vec::new());
    for (id, facts) in by_dispute {
        let (open, lost) = (Kind::Dispute.of(id), Kind::DisputeLost.of(id));
        match statuses.get(id).and_then(|all| dispute::latest(all)) {
            Some(status @ (Dispute::Open | Dispute::UnderReview)) => {
                alerts.push(open_dispute_alert(id, status, &facts, changes));
                resolved.push(lost);
            }
            Some(Dispute::Lost) => {
                // A late event about the beginning of a lost dispute raises no alert.
                if facts.iter().any(|fact| matches!(fact.what, Some(FactKind::Disputed { status: Dispute::Lost, .. })))
                {
                    alerts.push(lost_dispute_alert(id, &facts, changes));
                }
                resolved.push(open);
            }
            Some(Dispute::Won) | None => resolved.extend([open, lost]),
        }
    }
    Ok((alerts, resolved))
}

fn open_dispute_alert(id: &str, status: Dispute, facts: &[&StripeFact], changes: &[SubscriptionChange]) -> NewAlert {
    let due_by = facts.iter().max_by_key(|fact| fact.happened_at).and_then(|fact| match fact.what {
        Some(FactKind::Disputed { due_by, .. }) => due_by,
        _ => None,
    });
    let client_id = facts.iter().find_map(|fact| client_of(fact, changes));
    alert_of::dispute(id, client_id, status == Dispute::UnderReview, due_by)
}

fn lost_dispute_alert(id: &str, facts: &[&StripeFact], changes: &[SubscriptionChange]) -> NewAlert {
    alert_of::dispute_lost(id, facts.iter().find_map(|fact| client_of(fact, changes)))
}

/// Returns the client whose payment the fact is about, if it is known.
fn client_of<'a>(fact: &StripeFact, changes: &'a [SubscriptionChange]) -> Option<&'a str> {
    changes.iter().filter(|change| change.has_fact(&fact.id)).find_map(|change| change.client_id.as_deref())
}
