//! What an operator has to know of payments: raised, and cleared, from everything that is known of them.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use jobrun_onboarding::dispute::{self, Dispute};
use jobrun_onboarding::payment::{What, is_paid_after_end};
use jobrun_shared::db::alerts::{self, NewAlert};
use jobrun_shared::db::{self, subscriptions};
use jobrun_shared::operator;
use jobrun_shared::stripe::facts::Told;
use sqlx::PgConnection;

use crate::payments::Changed;

/// What changed in the alerts.
#[derive(Default)]
pub(crate) struct Alerts {
    /// Those that are new.
    pub(crate) raised: Vec<NewAlert>,
    /// The causes of those that are over.
    pub(crate) cleared: Vec<String>,
}

/// Raises and clears the alerts about what was `told`, and about the subscriptions that `changes` are of.
pub(crate) async fn update(
    conn: &mut PgConnection,
    changes: &[Changed],
    told: &[(i64, Told)],
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
    let (paid_twice, not_any_more) = operator::paid_twice(conn, &clients).await?;
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

/// The subscription belongs to no client that we know.
fn about_owner(change: &Changed, told: &[(i64, Told)]) -> Option<NewAlert> {
    change.turns_out_to_be_nobodys(told).then(|| operator::unassigned(&change.subscription.id))
}

/// Money came that nobody is served for.
fn about_money(change: &Changed, told: &[(i64, Told)]) -> Vec<NewAlert> {
    let id = &change.subscription.id;
    let of_it = || told.iter().map(|(_, told)| told).filter(|told| told.subscription_id.as_ref() == Some(id));
    let mut alerts = Vec::new();
    if of_it().next().is_some() && is_paid_after_end(&change.subscription.facts) {
        let about = format!(
            "{} paid for {id} after it had ended, and is not served for it. Refund the payment in Stripe, and see that no \
             further invoice is collected.",
            payer(change.client_id.as_deref())
        );
        alerts.push(NewAlert { cause: cause_of_paid_after_end(id), about });
    }
    if !change.standing.is_served() && of_it().any(|told| told.what == Some(What::UnclearCheckout)) {
        let about = format!(
            "{} went through the checkout of {id}, whose mode or payment status is missing or unknown, so it opens no gate. Look \
             in Stripe whether the money is there. If it is, set \"paymentActive\" of the client by hand.",
            payer(change.client_id.as_deref())
        );
        alerts.push(NewAlert { cause: cause_of_unclear_checkout(id), about });
    }
    alerts
}

/// The causes that do not hold any more, as this subscription stands.
fn causes_over(change: &Changed) -> Vec<String> {
    let subscription = &change.subscription;
    let refunds = subscription.facts.iter().filter(|fact| fact.what == What::Refunded);
    // It is known now which payment was refunded.
    let mut over: Vec<String> = refunds.map(|fact| cause_of_unclear_refund(&fact.id)).collect();
    if change.client_id.is_some() {
        over.push(operator::cause_of_unassigned(&subscription.id));
    }
    if !is_paid_after_end(&subscription.facts) {
        over.push(cause_of_paid_after_end(&subscription.id));
    }
    if change.standing.is_served() {
        over.push(cause_of_unclear_checkout(&subscription.id));
    }
    over
}

/// Refunds of our payers that belong to no payment that we know. An event that says so may still come.
async fn about_unclear_refunds(
    conn: &mut PgConnection,
    changes: &[Changed],
    told: &[(i64, Told)],
) -> Result<Vec<NewAlert>, db::Error> {
    let customers: Vec<&str> = told.iter().filter_map(|(_, told)| told.customer_id.as_deref()).collect();
    let refunds = subscriptions::list_refunds_without_alert(conn, &customers).await?;
    let is_clear = |id: &String| changes.iter().any(|change| change.knows_of(id));
    Ok(refunds.iter().filter(|id| !is_clear(id)).map(|id| unclear_refund(id)).collect())
}

fn unclear_refund(event: &str) -> NewAlert {
    NewAlert {
        cause: cause_of_unclear_refund(event),
        about: format!(
            "A payer who has a subscription was refunded ({event}), and it is not known for which payment. Nothing ends by it. If \
             a service is to end, cancel its subscription in Stripe; then clear this."
        ),
    }
}

fn about_failed_refund(told: &Told, changes: &[Changed]) -> Option<NewAlert> {
    let Some(What::RefundFailed { refund }) = &told.what else { return None };
    let about = format!(
        "Refund {refund} failed, so its payer still waits for the money: {}. If the service was to end, cancel the subscription \
         in Stripe; if the money is owed, give it back in another way. Then clear this.",
        payer(client_of(told, changes))
    );
    Some(NewAlert { cause: format!("refund-failed:{refund}"), about })
}

/// The alerts of the disputes that were told of, as they stand, and the causes that are over. A dispute ends no service: that
/// is for the operator to decide.
async fn about_disputes(
    conn: &mut PgConnection,
    changes: &[Changed],
    told: &[(i64, Told)],
) -> Result<(Vec<NewAlert>, Vec<String>), db::Error> {
    let mut of_each: BTreeMap<&str, Vec<&Told>> = BTreeMap::new();
    for (_, told) in told {
        if let Some(id) = &told.dispute_id {
            of_each.entry(id).or_default().push(told);
        }
    }
    let ids: Vec<&str> = of_each.keys().copied().collect();
    let statuses = subscriptions::list_disputes(conn, &ids).await?;
    let (mut alerts, mut over) = (Vec::new(), Vec::new());
    for (id, told) in of_each {
        let (open, lost) = (format!("dispute:{id}"), format!("dispute-lost:{id}"));
        match statuses.get(id).and_then(|all| dispute::latest(all)) {
            Some(status @ (Dispute::Open | Dispute::UnderReview)) => {
                alerts.push(NewAlert { about: open_dispute(id, status, &told, changes), cause: open });
                over.push(lost);
            }
            Some(Dispute::Lost) => {
                // What is told late of its beginning is no news.
                if told.iter().any(|told| matches!(told.what, Some(What::Disputed { status: Dispute::Lost, .. }))) {
                    alerts.push(NewAlert { about: lost_dispute(id, &told, changes), cause: lost });
                }
                over.push(open);
            }
            Some(Dispute::Won) | None => over.extend([open, lost]),
        }
    }
    Ok((alerts, over))
}

fn open_dispute(id: &str, status: Dispute, told: &[&Told], changes: &[Changed]) -> String {
    let due_by = told.iter().max_by_key(|told| told.happened_at).and_then(|told| match told.what {
        Some(What::Disputed { due_by, .. }) => due_by,
        _ => None,
    });
    let payer = payer(told.iter().find_map(|told| client_of(told, changes)));
    let what_now = match (status, due_by) {
        (Dispute::UnderReview, _) => {
            "The bank has the evidence, and decides. Nothing is to be done until then".to_owned()
        }
        (_, Some(due_by)) => format!("Answer it in Stripe by {} UTC", due_by.format("%Y-%m-%d %H:%M")),
        (_, None) => "Look in Stripe whether it has to be answered".to_owned(),
    };
    format!("{payer} disputes a payment ({id}). {what_now}. The service goes on meanwhile.")
}

fn lost_dispute(id: &str, told: &[&Told], changes: &[Changed]) -> String {
    let payer = payer(told.iter().find_map(|told| client_of(told, changes)));
    format!(
        "{payer} disputed a payment ({id}) and won, so the money is gone. The service does not end by it: to end it, \
         cancel the subscription in Stripe. Then clear this."
    )
}

/// The client whose payment was told of, if that is known.
fn client_of<'a>(told: &Told, changes: &'a [Changed]) -> Option<&'a str> {
    changes.iter().filter(|change| change.knows_of(&told.id)).find_map(|change| change.client_id.as_deref())
}

fn payer(client_id: Option<&str>) -> String {
    client_id.map_or_else(|| "A payer whom we do not know".to_owned(), |id| format!("Client {id}"))
}

fn cause_of_unclear_refund(event: &str) -> String {
    format!("refund-unclear:{event}")
}

fn cause_of_paid_after_end(subscription_id: &str) -> String {
    format!("paid-after-end:{subscription_id}")
}

fn cause_of_unclear_checkout(subscription_id: &str) -> String {
    format!("checkout-unclear:{subscription_id}")
}
