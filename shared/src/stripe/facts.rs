//! What Stripe's events say of payments.
//!
//! Read as leniently as can be: Stripe adds fields and moves them from one version of its API to the next, and an event that
//! cannot be read today is kept as it is. What events mean together is worked out in the heart (`payment.rs`), not here.

use chrono::{DateTime, Utc};
use jobrun_onboarding::dispute::Dispute;
use jobrun_onboarding::payment::{Change, Status, What};
use serde::Deserialize;
use serde_json::Value;

/// The longest name or word that is taken. Stripe's are far shorter, and what is longer could not be looked up.
const NAME_BYTES_MAX: usize = 255;

/// What one event says, as far as it concerns us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Stripe's name for the event: `evt_…`.
    pub id: String,
    /// Stripe's word for what happened: `invoice.paid`.
    pub kind: String,
    /// When, by Stripe's clock, in whole seconds.
    pub happened_at: DateTime<Utc>,
    /// Of what: a subscription, `sub_…`, or the checkout session, `cs_…`, of a payment without one. Nothing for a refund or a
    /// dispute, which name a payment instead.
    pub subscription_id: Option<String>,
    /// The payer, `cus_…`.
    pub customer_id: Option<String>,
    /// The payment itself, `pi_…`, where it is named.
    pub payment_intent_id: Option<String>,
    /// The invoice that the payment is for, `in_…`.
    pub invoice_id: Option<String>,
    /// The charge, `ch_…`.
    pub charge_id: Option<String>,
    /// The dispute, `du_…`.
    pub dispute_id: Option<String>,
    /// The reference that rode in the payment link.
    pub reference: Option<String>,
    /// In the smallest unit of the currency.
    pub amount: Option<i64>,
    /// An ISO 4217 code, in small letters.
    pub currency: Option<String>,
    /// What it says of how the payment stands, if anything.
    pub what: Option<What>,
}

/// Reads an event. Nothing, if it is about something that does not concern us.
#[must_use]
pub fn read(event: &Value) -> Option<Told> {
    let object = event.pointer("/data/object")?;
    let told = Told {
        id: text(event, "/id")?,
        kind: text(event, "/type")?,
        happened_at: DateTime::from_timestamp(event.get("created")?.as_i64()?, 0)?,
        subscription_id: None,
        customer_id: name_at(object, "/customer"),
        payment_intent_id: name_at(object, "/payment_intent"),
        invoice_id: name_at(object, "/invoice"),
        charge_id: name_at(object, "/charge"),
        dispute_id: None,
        reference: None,
        amount: None,
        currency: text(object, "/currency"),
        what: None,
    };
    match told.kind.clone().as_str() {
        "checkout.session.completed" => checkout(told, object, checkout_completed(object)),
        "checkout.session.async_payment_succeeded" => checkout(told, object, What::DelayedPayment { succeeded: true }),
        "checkout.session.async_payment_failed" => checkout(told, object, What::DelayedPayment { succeeded: false }),
        "customer.subscription.created" => subscription(told, event, Change::Created),
        "customer.subscription.updated" => subscription(told, event, Change::Updated),
        "customer.subscription.paused" => subscription(told, event, Change::Paused),
        "customer.subscription.resumed" => subscription(told, event, Change::Resumed),
        "customer.subscription.deleted" => subscription(told, event, Change::Deleted),
        "invoice.paid" => {
            let amount = amount(object, "amount_paid");
            let what = Some(What::InvoicePaid { amount: amount.unwrap_or_default(), until: paid_until(object) });
            invoice(Told { amount, what, ..told }, object)
        }
        // Not what decides: the subscription's status does, after as many tries as Stripe makes.
        "invoice.payment_failed" => invoice(Told { amount: amount(object, "amount_due"), ..told }, object),
        "invoice_payment.paid" => Some(paid_with(told, object)),
        "charge.refunded" | "charge.updated" => Some(charge(told, object)),
        "refund.failed" | "refund.updated" | "charge.refund.updated" => refund(told, object),
        kind if kind.starts_with("charge.dispute.") => dispute(told, object),
        _ => None,
    }
}

/// A checkout that only keeps a card for later (`setup`) pays nothing.
fn checkout(told: Told, object: &Value, what: What) -> Option<Told> {
    if object.get("mode").and_then(Value::as_str) == Some("setup") {
        return None;
    }
    let subscription_id = name_at(object, "/subscription").or_else(|| name_at(object, "/id"))?;
    Some(Told {
        subscription_id: Some(subscription_id),
        reference: text(object, "/client_reference_id"),
        amount: amount(object, "amount_total"),
        what: Some(what),
        ..told
    })
}

/// Nothing is guessed where the mode or the status of the payment is missing or new to us.
fn checkout_completed(object: &Value) -> What {
    let is_known = matches!(text(object, "/mode").as_deref(), Some("subscription" | "payment"));
    match text(object, "/payment_status").as_deref() {
        Some("paid" | "no_payment_required") if is_known => What::Checkout { paid: true },
        Some("unpaid") if is_known => What::Checkout { paid: false },
        Some(_) | None => What::UnclearCheckout,
    }
}

/// Part of a payment given back is an apology, and not an end.
fn charge(told: Told, object: &Value) -> Told {
    let is_refunded = object.get("refunded") == Some(&Value::Bool(true));
    Told {
        charge_id: name_at(object, "/id"),
        amount: amount(object, "amount_refunded"),
        what: Some(if is_refunded { What::Refunded } else { What::NotRefunded }),
        ..told
    }
}

/// A refund that is made is told of by its charge. Here it matters only if it fails.
fn refund(told: Told, object: &Value) -> Option<Told> {
    let has_failed = told.kind == "refund.failed" || matches!(text(object, "/status")?.as_str(), "failed" | "canceled");
    let what = What::RefundFailed { refund: text(object, "/id")? };
    has_failed.then(|| Told { amount: amount(object, "amount"), what: Some(what), ..told })
}

fn dispute(told: Told, object: &Value) -> Option<Told> {
    let due_by = object.pointer("/evidence_details/due_by").and_then(Value::as_i64);
    let what = What::Disputed {
        status: Dispute::from_stripe(&text(object, "/status").unwrap_or_default()),
        due_by: due_by.and_then(|it| DateTime::from_timestamp(it, 0)),
    };
    Some(Told { dispute_id: Some(text(object, "/id")?), amount: amount(object, "amount"), what: Some(what), ..told })
}

fn paid_with(told: Told, object: &Value) -> Told {
    Told {
        payment_intent_id: name_at(object, "/payment/payment_intent"),
        charge_id: name_at(object, "/payment/charge"),
        amount: amount(object, "amount_paid"),
        what: Some(What::PaidWith),
        ..told
    }
}

fn subscription(told: Told, event: &Value, change: Change) -> Option<Told> {
    let object = event.pointer("/data/object")?;
    let status = object.get("status").and_then(|status| Status::deserialize(status).ok());
    // Nobody is billed meanwhile, though the status says nothing of it.
    let is_paused = |value: Option<&Value>| value.is_some_and(|it| !it.is_null());
    let status = if is_paused(object.get("pause_collection")) { status.map(|_| Status::Paused) } else { status };
    let was_paused = is_paused(event.pointer("/data/previous_attributes/pause_collection"));
    let was = if was_paused { Some(Status::Paused) } else { status_before(event) };
    let what = status.map(|status| What::Subscription { change, status, was });
    // Whatever its status is called, what is deleted is over.
    let deleted = What::Subscription { change, status: Status::Canceled, was: None };
    let what = if change == Change::Deleted { Some(deleted) } else { what };
    Some(Told { subscription_id: Some(text(event, "/data/object/id")?), what, ..told })
}

fn status_before(event: &Value) -> Option<Status> {
    Status::deserialize(event.pointer("/data/previous_attributes/status")?).ok()
}

/// The subscription and the payment moved within the invoice in 2025; accounts keep the version of the API that they had.
fn invoice(told: Told, object: &Value) -> Option<Told> {
    let subscription =
        name_at(object, "/parent/subscription_details/subscription").or_else(|| name_at(object, "/subscription"));
    let payments = || object.pointer("/payments/data").and_then(Value::as_array).into_iter().flatten();
    let paid = payments().find(|it| it.get("status") == Some(&"paid".into())).or_else(|| payments().next());
    let payment = |name: &str| paid.and_then(|it| name_at(it, name));
    Some(Told {
        subscription_id: Some(subscription?),
        invoice_id: name_at(object, "/id"),
        payment_intent_id: told.payment_intent_id.or_else(|| payment("/payment/payment_intent")),
        charge_id: told.charge_id.or_else(|| payment("/payment/charge")),
        ..told
    })
}

/// The end of the period that an invoice pays for: the latest of its lines, without those that give something back. The period
/// of the invoice itself is the one before.
fn paid_until(object: &Value) -> Option<DateTime<Utc>> {
    let lines = object.pointer("/lines/data").and_then(Value::as_array).into_iter().flatten();
    let charged = lines.filter(|line| amount(line, "amount").is_none_or(|amount| amount >= 0));
    let ends = charged.filter_map(|line| line.pointer("/period/end")?.as_i64()).max();
    let end = ends.or_else(|| object.get("period_end")?.as_i64())?;
    DateTime::from_timestamp(end, 0)
}

fn amount(object: &Value, field: &str) -> Option<i64> {
    object.get(field)?.as_i64()
}

fn text(value: &Value, pointer: &str) -> Option<String> {
    let fits = |text: &&str| !text.is_empty() && text.len() <= NAME_BYTES_MAX;
    value.pointer(pointer)?.as_str().filter(fits).map(str::to_owned)
}

/// The name of another object, which may stand there as a whole.
fn name_at(value: &Value, pointer: &str) -> Option<String> {
    text(value, pointer).or_else(|| text(value.pointer(pointer)?, "/id"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(kind: &str, object: Value) -> Value {
        json!({"id": "evt_1", "object": "event", "type": kind, "created": 1_700_000_000, "livemode": false,
               "data": {"object": object}})
    }

    fn session(mode: &str, payment_status: &str) -> Value {
        json!({"id": "cs_1", "mode": mode, "payment_status": payment_status, "customer": "cus_1",
               "subscription": "sub_1", "client_reference_id": "ref", "amount_total": 2900, "currency": "gbp"})
    }

    #[test]
    fn a_checkout_says_who_pays_for_what_and_whether_the_money_is_there() {
        let told = read(&event("checkout.session.completed", session("subscription", "paid"))).unwrap();
        assert_eq!(told.subscription_id.as_deref(), Some("sub_1"));
        assert_eq!((told.customer_id.as_deref(), told.reference.as_deref()), (Some("cus_1"), Some("ref")));
        assert_eq!((told.amount, told.currency.as_deref()), (Some(2900), Some("gbp")));
        assert_eq!(told.what, Some(What::Checkout { paid: true }));
        assert_eq!(told.happened_at.timestamp(), 1_700_000_000);
        let what = |kind: &str, status: &str| read(&event(kind, session("subscription", status))).unwrap().what;
        assert_eq!(what("checkout.session.completed", "unpaid"), Some(What::Checkout { paid: false }));
        assert_eq!(what("checkout.session.completed", "no_payment_required"), Some(What::Checkout { paid: true }));
        let later = What::DelayedPayment { succeeded: true };
        assert_eq!(what("checkout.session.async_payment_succeeded", "paid"), Some(later));
        let never = What::DelayedPayment { succeeded: false };
        assert_eq!(what("checkout.session.async_payment_failed", "unpaid"), Some(never));
        let setup = session("setup", "no_payment_required");
        assert_eq!(read(&event("checkout.session.completed", setup)), None, "a card kept for later pays nothing");
    }

    #[test]
    fn a_payment_without_a_subscription_is_known_by_its_checkout() {
        let mut session = session("payment", "paid");
        session["subscription"] = Value::Null;
        let told = read(&event("checkout.session.completed", session)).unwrap();
        assert_eq!(told.subscription_id.as_deref(), Some("cs_1"));
    }

    #[test]
    fn a_subscription_says_what_changed_from_what() {
        let mut updated = event("customer.subscription.updated", json!({"id": "sub_1", "status": "past_due"}));
        updated["data"]["previous_attributes"] = json!({"status": "active", "latest_invoice": "in_1"});
        let changed = |status, was| Some(What::Subscription { change: Change::Updated, status, was });
        assert_eq!(read(&updated).unwrap().what, changed(Status::PastDue, Some(Status::Active)));
        updated["data"]["object"]["status"] = json!("something new");
        let told = read(&updated).unwrap();
        assert_eq!(
            (told.subscription_id.as_deref(), told.what),
            (Some("sub_1"), None),
            "kept, and nothing read into it"
        );
        let mut paused = event("customer.subscription.updated", json!({"id": "sub_1", "status": "active"}));
        paused["data"]["object"]["pause_collection"] = json!({"behavior": "void"});
        assert_eq!(read(&paused).unwrap().what, changed(Status::Paused, None), "by hand, in Stripe's dashboard");
        paused["data"]["object"]["pause_collection"] = Value::Null;
        paused["data"]["previous_attributes"] = json!({"pause_collection": {"behavior": "void"}});
        assert_eq!(read(&paused).unwrap().what, changed(Status::Active, Some(Status::Paused)), "and on again");
        let deleted = event("customer.subscription.deleted", json!({"id": "sub_1", "status": "something new"}));
        let over = What::Subscription { change: Change::Deleted, status: Status::Canceled, was: None };
        assert_eq!(read(&deleted).unwrap().what, Some(over));
    }

    #[test]
    fn an_invoice_names_its_subscription_in_either_version_of_the_api() {
        let old = json!({"id": "in_1", "customer": {"id": "cus_1"}, "subscription": "sub_1", "amount_paid": 2900});
        let new = json!({"id": "in_1", "customer": "cus_1", "amount_paid": 2900,
                         "parent": {"subscription_details": {"subscription": "sub_1"}}});
        for shape in [old, new] {
            let told = read(&event("invoice.paid", shape)).unwrap();
            assert_eq!(told.subscription_id.as_deref(), Some("sub_1"));
            assert_eq!(told.customer_id.as_deref(), Some("cus_1"));
            assert_eq!(told.what, Some(What::InvoicePaid { amount: 2900, until: None }));
            assert_eq!(told.invoice_id.as_deref(), Some("in_1"));
        }
        let failed = read(&event("invoice.payment_failed", json!({"subscription": "sub_1", "amount_due": 2900})));
        assert_eq!(failed.unwrap().what, None);
        assert_eq!(read(&event("invoice.paid", json!({"id": "in_2", "amount_paid": 1}))), None, "of something else");
    }

    #[test]
    fn a_refund_in_part_is_no_end() {
        let charge = |refunded: bool| json!({"id": "ch_1", "customer": "cus_1", "payment_intent": "pi_1", "refunded": refunded, "amount_refunded": 2900});
        let told = read(&event("charge.refunded", charge(true))).unwrap();
        assert_eq!((told.what, told.payment_intent_id.as_deref()), (Some(What::Refunded), Some("pi_1")));
        assert_eq!(told.charge_id.as_deref(), Some("ch_1"));
        assert_eq!(read(&event("charge.refunded", charge(false))).unwrap().what, Some(What::NotRefunded));
        let mut of_invoice = charge(true);
        of_invoice["invoice"] = json!("in_1");
        assert_eq!(read(&event("charge.refunded", of_invoice)).unwrap().invoice_id.as_deref(), Some("in_1"));
    }

    #[test]
    fn an_invoice_names_its_payment_and_its_period_in_either_version_of_the_api() {
        let old = json!({"id": "in_1", "subscription": "sub_1", "amount_paid": 2900, "payment_intent": {"id": "pi_1"},
                         "charge": "ch_1", "period_end": 50,
                         "lines": {"data": [{"amount": 2900, "period": {"end": 100}}, {"period": {"end": 90}},
                                            {"amount": -100, "period": {"end": 200}}]}});
        let payment = |status, name| json!({"status": status, "payment": {"type": "payment_intent", "payment_intent": name, "charge": "ch_1"}});
        let new = json!({"id": "in_1", "amount_paid": 2900, "period_end": 100,
                         "parent": {"subscription_details": {"subscription": "sub_1"}},
                         "payments": {"data": [payment("open", "pi_0"), payment("paid", "pi_1")]}});
        for shape in [old, new] {
            let told = read(&event("invoice.paid", shape)).unwrap();
            assert_eq!(told.payment_intent_id.as_deref(), Some("pi_1"));
            assert_eq!((told.invoice_id.as_deref(), told.charge_id.as_deref()), (Some("in_1"), Some("ch_1")));
            let until = DateTime::from_timestamp(100, 0);
            assert_eq!(told.what, Some(What::InvoicePaid { amount: 2900, until }));
        }
        let told = json!({"id": "inpay_1", "object": "invoice_payment", "invoice": "in_1", "amount_paid": 2900,
                          "payment": {"type": "payment_intent", "payment_intent": "pi_1"}, "status": "paid"});
        let told = read(&event("invoice_payment.paid", told)).unwrap();
        assert_eq!((told.invoice_id.as_deref(), told.payment_intent_id.as_deref()), (Some("in_1"), Some("pi_1")));
        assert_eq!((told.subscription_id, told.what), (None, Some(What::PaidWith)));
    }

    #[test]
    fn a_checkout_that_does_not_say_how_it_stands_is_kept_as_unclear() {
        for (field, value) in [
            ("mode", Value::Null),
            ("mode", json!("something new")),
            ("payment_status", Value::Null),
            ("payment_status", json!("something new")),
            ("payment_status", json!(7)),
        ] {
            let mut session = session("subscription", "paid");
            session[field] = value;
            let told = read(&event("checkout.session.completed", session.clone())).unwrap();
            assert_eq!((told.subscription_id.as_deref(), told.reference.as_deref()), (Some("sub_1"), Some("ref")));
            assert_eq!(told.what, Some(What::UnclearCheckout), "{field}");
            let later = read(&event("checkout.session.async_payment_succeeded", session)).unwrap();
            assert_eq!(later.what, Some(What::DelayedPayment { succeeded: true }), "its kind says so");
        }
    }

    #[test]
    fn a_refund_counts_only_if_it_fails() {
        let refund = |status: &str| json!({"id": "re_1", "object": "refund", "status": status, "amount": 2900, "charge": "ch_1", "payment_intent": "pi_1"});
        let failed = Some(What::RefundFailed { refund: "re_1".into() });
        for (kind, status, expected) in [
            ("refund.failed", "failed", true),
            ("refund.failed", "something new", true),
            ("refund.updated", "failed", true),
            ("refund.updated", "canceled", true),
            ("charge.refund.updated", "failed", true),
            ("refund.updated", "succeeded", false),
            ("refund.updated", "pending", false),
            ("refund.created", "failed", false),
        ] {
            let told = read(&event(kind, refund(status)));
            assert_eq!(told.as_ref().map(|it| it.what.clone()), expected.then(|| failed.clone()), "{kind} {status}");
            let names = |told: Told| (told.charge_id, told.payment_intent_id);
            assert!(told.is_none_or(|it| names(it) == (Some("ch_1".into()), Some("pi_1".into()))));
        }
    }

    #[test]
    fn a_dispute_says_how_it_stands_and_until_when_it_can_be_answered() {
        let dispute = json!({"id": "du_1", "object": "dispute", "amount": 2900, "charge": "ch_1", "payment_intent": "pi_1",
                             "status": "needs_response", "evidence_details": {"due_by": 1_700_500_000}});
        let told = read(&event("charge.dispute.created", dispute.clone())).unwrap();
        assert_eq!((told.dispute_id.as_deref(), told.payment_intent_id.as_deref()), (Some("du_1"), Some("pi_1")));
        let due_by = DateTime::from_timestamp(1_700_500_000, 0);
        assert_eq!(told.what, Some(What::Disputed { status: Dispute::Open, due_by }));
        for (kind, status, expected) in [
            ("charge.dispute.updated", json!("under_review"), Dispute::UnderReview),
            ("charge.dispute.closed", json!("lost"), Dispute::Lost),
            ("charge.dispute.closed", json!("won"), Dispute::Won),
            ("charge.dispute.funds_withdrawn", json!("needs_response"), Dispute::Open),
            ("charge.dispute.funds_reinstated", json!("won"), Dispute::Won),
            ("charge.dispute.created", Value::Null, Dispute::Open),
        ] {
            let mut dispute = dispute.clone();
            dispute["status"] = status;
            dispute["evidence_details"] = json!({"due_by": null});
            let what = read(&event(kind, dispute)).unwrap().what;
            assert_eq!(what, Some(What::Disputed { status: expected, due_by: None }), "{kind}");
        }
    }

    #[test]
    fn what_does_not_concern_us_or_cannot_be_read_is_nothing() {
        assert_eq!(read(&event("customer.created", json!({"id": "cus_1"}))), None);
        assert_eq!(read(&json!({})), None);
        assert_eq!(read(&json!([1])), None);
        assert_eq!(read(&event("checkout.session.completed", json!("cs_1"))), None);
        let mut endless = event("invoice.paid", json!({"subscription": "sub_1"}));
        endless["created"] = json!(i64::MAX);
        assert_eq!(read(&endless), None);
    }
}
