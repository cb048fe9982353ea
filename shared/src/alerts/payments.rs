//! Alerts about money: payments that name no client, come twice or come too late; refunds; and disputes.

use chrono::{DateTime, Utc};

use super::Kind;
use crate::db::alerts::NewAlert;

/// A payment names no client that we know.
#[must_use]
pub fn unassigned(subscription: &str) -> NewAlert {
    NewAlert {
        cause: Kind::PaymentUnassigned.of(subscription),
        about: format!(
            "A payment was made that names no client that we know: {subscription}. Look the payer up in Stripe, and then \
             `jobrun payments assign {subscription} CLIENT_ID`; if it is not for us, clear this."
        ),
    }
}

/// The database refuses an event from Stripe, which is deferred.
#[must_use]
pub fn payment_stuck(event_id: i64) -> NewAlert {
    NewAlert {
        cause: Kind::PaymentStuck.of(event_id),
        about: format!(
            "Event {event_id} of Stripe's refuses to be applied, and is tried again every ten minutes: the worker's log says why. \
             Look whose payment it is in `events`."
        ),
    }
}

/// A client pays for several subscriptions.
#[must_use]
pub fn paid_twice(client_id: &str, subscriptions: &[String]) -> NewAlert {
    let paid = subscriptions.join(", ");
    NewAlert {
        cause: Kind::PaidTwice.of(client_id),
        about: format!(
            "Client {client_id} pays more than once: {paid}. Cancel all but one in Stripe, and refund them."
        ),
    }
}

/// Money came for a subscription that had ended.
#[must_use]
pub fn paid_after_end(subscription: &str, client_id: Option<&str>) -> NewAlert {
    NewAlert {
        cause: Kind::PaidAfterEnd.of(subscription),
        about: format!(
            "{} paid for {subscription} after it had ended, and is not served for it. Refund the payment in Stripe, and see that \
             no further invoice is collected.",
            payer(client_id)
        ),
    }
}

/// A checkout whose mode or payment status is missing or unknown.
#[must_use]
pub fn checkout_unclear(subscription: &str, client_id: Option<&str>) -> NewAlert {
    NewAlert {
        cause: Kind::CheckoutUnclear.of(subscription),
        about: format!(
            "{} went through the checkout of {subscription}, whose mode or payment status is missing or unknown, so it opens no \
             gate. Look in Stripe whether the money is there. If it is, set \"paymentActive\" of the client by hand.",
            payer(client_id)
        ),
    }
}

/// A payer was refunded, and it is not known for which payment. `event` is Stripe's name of the event.
#[must_use]
pub fn refund_unclear(event: &str) -> NewAlert {
    NewAlert {
        cause: Kind::RefundUnclear.of(event),
        about: format!(
            "A payer who has a subscription was refunded ({event}), and it is not known for which payment. Nothing ends by it. If \
             a service is to end, cancel its subscription in Stripe; then clear this."
        ),
    }
}

/// A refund failed.
#[must_use]
pub fn refund_failed(refund: &str, client_id: Option<&str>) -> NewAlert {
    NewAlert {
        cause: Kind::RefundFailed.of(refund),
        about: format!(
            "Refund {refund} failed, so its payer still waits for the money: {}. If the service was to end, cancel the \
             subscription in Stripe; if the money is owed, give it back in another way. Then clear this.",
            payer(client_id)
        ),
    }
}

/// A dispute is open. The operator has to respond by `due_by`, unless the dispute is under review.
#[must_use]
pub fn dispute(
    dispute: &str,
    client_id: Option<&str>,
    is_under_review: bool,
    due_by: Option<DateTime<Utc>>,
) -> NewAlert {
    let what_now = match due_by {
        _ if is_under_review => "The bank has the evidence, and decides. Nothing is to be done until then".to_owned(),
        Some(due_by) => format!("Answer it in Stripe by {} UTC", due_by.format("%Y-%m-%d %H:%M")),
        None => "Look in Stripe whether it has to be answered".to_owned(),
    };
    NewAlert {
        cause: Kind::Dispute.of(dispute),
        about: format!(
            "{} disputes a payment ({dispute}). {what_now}. The service goes on meanwhile.",
            payer(client_id)
        ),
    }
}

/// A dispute is lost.
#[must_use]
pub fn dispute_lost(dispute: &str, client_id: Option<&str>) -> NewAlert {
    NewAlert {
        cause: Kind::DisputeLost.of(dispute),
        about: format!(
            "{} disputed a payment ({dispute}) and won, so the money is gone. The service does not end by it: to end it, cancel the \
             subscription in Stripe. Then clear this.",
            payer(client_id)
        ),
    }
}

fn payer(client_id: Option<&str>) -> String {
    client_id.map_or_else(|| "A payer whom we do not know".to_owned(), |id| format!("Client {id}"))
}
