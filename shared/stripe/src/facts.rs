//! The facts about payments in Stripe's events.
//!
//! Reading is as lenient as possible: Stripe adds fields and moves them from one version of its API to the next, and an event that
//! cannot be read today is kept as it is. The core (`payment/mod.rs`) works out what events mean together.

use chrono::{DateTime, Utc};
use jobrun_onboarding::dispute::Dispute;
use jobrun_onboarding::payment::{Change, FactKind, Status};
use serde::Deserialize;
use serde_json::Value;

/// The types of events that the endpoint at Stripe subscribes to, and that a comparison with Stripe's list asks for. Stripe takes 20
/// types in a request at most.
pub const TYPES: [&str; 20] = [
    CHECKOUT,
    "checkout.session.async_payment_succeeded",
    "checkout.session.async_payment_failed",
    "customer.subscription.created",
    "customer.subscription.updated",
    "customer.subscription.deleted",
    "customer.subscription.paused",
    "customer.subscription.resumed",
    "invoice.paid",
    "invoice.payment_failed",
    "invoice_payment.paid",
    "charge.refunded",
    "refund.failed",
    "refund.updated",
    "charge.refund.updated",
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.closed",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
];

/// The type of the event that names the client: its checkout is completed.
pub const CHECKOUT: &str = "checkout.session.completed";

/// The kind of a fact that Stripe was asked for, instead of a type of Stripe's.
pub const ASKED: &str = "subscription_asked";

/// The longest id or word that is accepted. Stripe's are far shorter, and a longer one could not be looked up.
const NAME_BYTES_MAX: usize = 255;

/// The content of one event, as far as it concerns us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StripeFact {
    /// Stripe's id for the event: `evt_…`.
    pub id: String,
    /// Stripe's type for the event: `invoice.paid`.
    pub kind: String,
    /// When it happened, by Stripe's clock, in whole seconds.
    pub happened_at: DateTime<Utc>,
    /// The subscription, `sub_…`, or the checkout session, `cs_…`, of a payment without one. Nothing for a refund or a dispute,
    /// which name a payment instead.
    pub subscription_id: Option<String>,
    /// The payer, `cus_…`.
    pub customer_id: Option<String>,
    /// The payment intent, `pi_…`, where it is named.
    pub payment_intent_id: Option<String>,
    /// The invoice that the payment is for, `in_…`.
    pub invoice_id: Option<String>,
    /// The charge, `ch_…`.
    pub charge_id: Option<String>,
    /// The dispute, `du_…`.
    pub dispute_id: Option<String>,
    /// The reference from the payment link.
    pub reference: Option<String>,
    /// The amount, in the smallest unit of the currency.
    pub amount: Option<i64>,
    /// The ISO 4217 code, in lower case.
    pub currency: Option<String>,
    /// The fact about the status of the payment, if the event has one.
    pub what: Option<FactKind>,
}

/// Reads an event. Returns nothing if it is about something that does not concern us, or cannot be read.
#[must_use]
pub fn read(event: &Value) -> Option<StripeFact> {
    let object = event.pointer("/data/object")?;
    let fact = StripeFact {
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
    match fact.kind.clone().as_str() {
        "checkout.session.completed" => checkout(fact, object, checkout_completed(object)),
        "checkout.session.async_payment_succeeded" => {
            checkout(fact, object, FactKind::DelayedPayment { succeeded: true })
        }
        "checkout.session.async_payment_failed" => {
            checkout(fact, object, FactKind::DelayedPayment { succeeded: false })
        }
        "customer.subscription.created" => subscription(fact, event, Change::Created),
        "customer.subscription.updated" => subscription(fact, event, Change::Updated),
        "customer.subscription.paused" => subscription(fact, event, Change::Paused),
        "customer.subscription.resumed" => subscription(fact, event, Change::Resumed),
        "customer.subscription.deleted" => subscription(fact, event, Change::Deleted),
        "invoice.paid" => {
            let amount = amount(object, "amount_paid");
            let what = Some(FactKind::InvoicePaid { amount: amount.unwrap_or_default(), until: paid_until(object) });
            invoice(StripeFact { amount, what, ..fact }, object)
        }
        // Has no fact: the subscription's status decides, after as many attempts as Stripe makes.
        "invoice.payment_failed" => invoice(StripeFact { amount: amount(object, "amount_due"), ..fact }, object),
        "invoice_payment.paid" => Some(paid_with(fact, object)),
        "charge.refunded" | "charge.updated" => Some(charge(fact, object)),
        "refund.failed" | "refund.updated" | "charge.refund.updated" => refund(fact, object),
        kind if kind.starts_with("charge.dispute.") => dispute(fact, object),
        _ => None,
    }
}

/// Reads a subscription that was fetched from Stripe, whose status was as it says at the time `at` or later. `name` identifies the
/// fact. It counts as an update of that second.
#[must_use]
pub fn of_subscription(name: &str, object: &Value, at: DateTime<Utc>) -> Option<StripeFact> {
    let event = serde_json::json!({
        "id": name, "type": "customer.subscription.updated", "created": at.timestamp(), "data": {"object": object},
    });
    read(&event).map(|fact| StripeFact { kind: ASKED.to_owned(), ..fact })
}

/// Reads a checkout. One that only keeps a card for later (`setup`) pays nothing.
fn checkout(fact: StripeFact, object: &Value, what: FactKind) -> Option<StripeFact> {
    if object.get("mode").and_then(Value::as_str) == Some("setup") {
        return None;
    }
    let subscription_id = name_at(object, "/subscription").or_else(|| name_at(object, "/id"))?;
    Some(StripeFact {
        subscription_id: Some(subscription_id),
        reference: text(object, "/client_reference_id"),
        amount: amount(object, "amount_total"),
        what: Some(what),
        ..fact
    })
}

/// Reads whether a checkout is paid. Nothing is guessed if the mode or the status of the payment is missing or unknown.
fn checkout_completed(object: &Value) -> FactKind {
    let is_known = matches!(text(object, "/mode").as_deref(), Some("subscription" | "payment"));
    match text(object, "/payment_status").as_deref() {
        Some("paid" | "no_payment_required") if is_known => FactKind::Checkout { paid: true },
        Some("unpaid") if is_known => FactKind::Checkout { paid: false },
        Some(_) | None => FactKind::UnclearCheckout,
    }
}

/// Reads a charge. A refund in part is an apology, and does not end the service.
fn charge(fact: StripeFact, object: &Value) -> StripeFact {
    let is_refunded = object.get("refunded") == Some(&Value::Bool(true));
    StripeFact {
        charge_id: name_at(object, "/id"),
        amount: amount(object, "amount_refunded"),
        what: Some(if is_refunded { FactKind::Refunded } else { FactKind::NotRefunded }),
        ..fact
    }
}

/// Reads a refund. It matters only if it fails: a refund that succeeds is reported by its charge.
fn refund(fact: StripeFact, object: &Value) -> Option<StripeFact> {
    let has_failed = fact.kind == "refund.failed" || matches!(text(object, "/status")?.as_str(), "failed" | "canceled");
    let what = FactKind::RefundFailed { refund: text(object, "/id")? };
    has_failed.then(|| StripeFact { amount: amount(object, "amount"), what: Some(what), ..fact })
}

fn dispute(fact: StripeFact, object: &Value) -> Option<StripeFact> {
    let due_by = object.pointer("/evidence_details/due_by").and_then(Value::as_i64);
    let what = FactKind::Disputed {
        status: Dispute::from_stripe(&text(object, "/status").unwrap_or_default()),
        due_by: due_by.and_then(|it| DateTime::from_timestamp(it, 0)),
    };
    Some(StripeFact {
        dispute_id: Some(text(object, "/id")?),
        amount: amount(object, "amount"),
        what: Some(what),
        ..fact
    })
}

fn paid_with(fact: StripeFact, object: &Value) -> StripeFact {
    StripeFact {
        payment_intent_id: name_at(object, "/payment/payment_intent"),
        charge_id: name_at(object, "/payment/charge"),
        amount: amount(object, "amount_paid"),
        what: Some(FactKind::PaidWith),
        ..fact
    }
}

fn subscription(fact: StripeFact, event: &Value, change: Change) -> Option<StripeFact> {
    let object = event.pointer("/data/object")?;
    let status = object.get("status").and_then(|status| Status::deserialize(status).ok());
    // The payer is not billed while collection is paused, though the status does not show it.
    let is_paused = |value: Option<&Value>| value.is_some_and(|it| !it.is_null());
    let status = if is_paused(object.get("pause_collection")) { status.map(|_| Status::Paused) } else { status };
    let was_paused = is_paused(event.pointer("/data/previous_attributes/pause_collection"));
    let was = if was_paused { Some(Status::Paused) } else { status_before(event) };
    let what = status.map(|status| FactKind::Subscription { change, status, was });
    // A deleted subscription is over, even if its status is unknown.
    let deleted = FactKind::Subscription { change, status: Status::Canceled, was: None };
    let what = if change == Change::Deleted { Some(deleted) } else { what };
    Some(StripeFact { subscription_id: Some(text(event, "/data/object/id")?), what, ..fact })
}

fn status_before(event: &Value) -> Option<Status> {
    Status::deserialize(event.pointer("/data/previous_attributes/status")?).ok()
}

/// Reads an invoice. Its subscription and its payment moved to other fields in 2025, and accounts keep the version of the API
/// that they had, so both places are read.
fn invoice(fact: StripeFact, object: &Value) -> Option<StripeFact> {
    let subscription =
        name_at(object, "/parent/subscription_details/subscription").or_else(|| name_at(object, "/subscription"));
    let payments = || object.pointer("/payments/data").and_then(Value::as_array).into_iter().flatten();
    let paid = payments().find(|it| it.get("status") == Some(&"paid".into())).or_else(|| payments().next());
    let payment = |name: &str| paid.and_then(|it| name_at(it, name));
    Some(StripeFact {
        subscription_id: Some(subscription?),
        invoice_id: name_at(object, "/id"),
        payment_intent_id: fact.payment_intent_id.or_else(|| payment("/payment/payment_intent")),
        charge_id: fact.charge_id.or_else(|| payment("/payment/charge")),
        ..fact
    })
}

/// Returns the end of the period that an invoice pays for: the latest of its lines, without credits. The period of the invoice
/// itself is the one before, and is used only if no line has an end.
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

/// Returns the id of another object, which may be given by its id or as a whole.
fn name_at(value: &Value, pointer: &str) -> Option<String> {
    text(value, pointer).or_else(|| text(value.pointer(pointer)?, "/id"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_type_that_is_asked_for_is_read() {
        let object = json!({"id": "x_1", "mode": "payment", "status": "failed", "subscription": "sub_1",
                            "parent": {"subscription_details": {"subscription": "sub_1"}}});
        for kind in TYPES {
            assert!(read(&event(kind, object.clone())).is_some(), "{kind}");
        }
    }

    #[test]
    fn a_subscription_that_was_fetched_counts_as_an_update() {
        let at = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let object = json!({"id": "sub_1", "object": "subscription", "customer": "cus_1", "status": "unpaid"});
        let fact = of_subscription("asked:sub_1:1700000000", &object, at).unwrap();
        assert_eq!((fact.id.as_str(), fact.kind.as_str(), fact.happened_at), ("asked:sub_1:1700000000", ASKED, at));
        assert_eq!((fact.subscription_id.as_deref(), fact.customer_id.as_deref()), (Some("sub_1"), Some("cus_1")));
        let status = |status, was| FactKind::Subscription { change: Change::Updated, status, was };
        assert_eq!(fact.what, Some(status(Status::Unpaid, None)));
        let paused = json!({"id": "sub_1", "status": "active", "pause_collection": {"behavior": "void"}});
        assert_eq!(of_subscription("a", &paused, at).unwrap().what, Some(status(Status::Paused, None)));
    }

    fn event(kind: &str, object: Value) -> Value {
        json!({"id": "evt_1", "object": "event", "type": kind, "created": 1_700_000_000, "livemode": false,
               "data": {"object": object}})
    }

    fn session(mode: &str, payment_status: &str) -> Value {
        json!({"id": "cs_1", "mode": mode, "payment_status": payment_status, "customer": "cus_1",
               "subscription": "sub_1", "client_reference_id": "ref", "amount_total": 2900, "currency": "gbp"})
    }

    #[test]
    fn a_checkout_names_its_payer_and_subscription_and_whether_it_is_paid() {
        let fact = read(&event("checkout.session.completed", session("subscription", "paid"))).unwrap();
        assert_eq!(fact.subscription_id.as_deref(), Some("sub_1"));
        assert_eq!((fact.customer_id.as_deref(), fact.reference.as_deref()), (Some("cus_1"), Some("ref")));
        assert_eq!((fact.amount, fact.currency.as_deref()), (Some(2900), Some("gbp")));
        assert_eq!(fact.what, Some(FactKind::Checkout { paid: true }));
        assert_eq!(fact.happened_at.timestamp(), 1_700_000_000);
        let what = |kind: &str, status: &str| read(&event(kind, session("subscription", status))).unwrap().what;
        assert_eq!(what("checkout.session.completed", "unpaid"), Some(FactKind::Checkout { paid: false }));
        assert_eq!(what("checkout.session.completed", "no_payment_required"), Some(FactKind::Checkout { paid: true }));
        let later = FactKind::DelayedPayment { succeeded: true };
        assert_eq!(what("checkout.session.async_payment_succeeded", "paid"), Some(later));
        let never = FactKind::DelayedPayment { succeeded: false };
        assert_eq!(what("checkout.session.async_payment_failed", "unpaid"), Some(never));
        let setup = session("setup", "no_payment_required");
        assert_eq!(read(&event("checkout.session.completed", setup)), None, "a card kept for later pays nothing");
    }

    #[test]
    fn a_payment_without_a_subscription_is_identified_by_its_checkout() {
        let mut session = session("payment", "paid");
        session["subscription"] = Value::Null;
        let fact = read(&event("checkout.session.completed", session)).unwrap();
        assert_eq!(fact.subscription_id.as_deref(), Some("cs_1"));
    }

    #[test]
    fn a_subscription_has_its_status_before_and_after_the_change() {
        let mut updated = event("customer.subscription.updated", json!({"id": "sub_1", "status": "past_due"}));
        updated["data"]["previous_attributes"] = json!({"status": "active", "latest_invoice": "in_1"});
        let changed = |status, was| Some(FactKind::Subscription { change: Change::Updated, status, was });
        assert_eq!(read(&updated).unwrap().what, changed(Status::PastDue, Some(Status::Active)));
        updated["data"]["object"]["status"] = json!("something new");
        let fact = read(&updated).unwrap();
        assert_eq!(
            (fact.subscription_id.as_deref(), fact.what),
            (Some("sub_1"), None),
            "an unknown status gives no fact"
        );
        let mut paused = event("customer.subscription.updated", json!({"id": "sub_1", "status": "active"}));
        paused["data"]["object"]["pause_collection"] = json!({"behavior": "void"});
        assert_eq!(read(&paused).unwrap().what, changed(Status::Paused, None), "by hand, in Stripe's dashboard");
        paused["data"]["object"]["pause_collection"] = Value::Null;
        paused["data"]["previous_attributes"] = json!({"pause_collection": {"behavior": "void"}});
        assert_eq!(read(&paused).unwrap().what, changed(Status::Active, Some(Status::Paused)), "and on again");
        let deleted = event("customer.subscription.deleted", json!({"id": "sub_1", "status": "something new"}));
        let over = FactKind::Subscription { change: Change::Deleted, status: Status::Canceled, was: None };
        assert_eq!(read(&deleted).unwrap().what, Some(over));
    }

    #[test]
    fn an_invoice_names_its_subscription_in_either_version_of_the_api() {
        let old = json!({"id": "in_1", "customer": {"id": "cus_1"}, "subscription": "sub_1", "amount_paid": 2900});
        let new = json!({"id": "in_1", "customer": "cus_1", "amount_paid": 2900,
                         "parent": {"subscription_details": {"subscription": "sub_1"}}});
        for shape in [old, new] {
            let fact = read(&event("invoice.paid", shape)).unwrap();
            assert_eq!(fact.subscription_id.as_deref(), Some("sub_1"));
            assert_eq!(fact.customer_id.as_deref(), Some("cus_1"));
            assert_eq!(fact.what, Some(FactKind::InvoicePaid { amount: 2900, until: None }));
            assert_eq!(fact.invoice_id.as_deref(), Some("in_1"));
        }
        let failed = read(&event("invoice.payment_failed", json!({"subscription": "sub_1", "amount_due": 2900})));
        assert_eq!(failed.unwrap().what, None);
        assert_eq!(read(&event("invoice.paid", json!({"id": "in_2", "amount_paid": 1}))), None, "of something else");
    }

    #[test]
    fn a_refund_in_part_does_not_count_as_refunded() {
        let charge = |refunded: bool| json!({"id": "ch_1", "customer": "cus_1", "payment_intent": "pi_1", "refunded": refunded, "amount_refunded": 2900});
        let fact = read(&event("charge.refunded", charge(true))).unwrap();
        assert_eq!((fact.what, fact.payment_intent_id.as_deref()), (Some(FactKind::Refunded), Some("pi_1")));
        assert_eq!(fact.charge_id.as_deref(), Some("ch_1"));
        assert_eq!(read(&event("charge.refunded", charge(false))).unwrap().what, Some(FactKind::NotRefunded));
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
            let fact = read(&event("invoice.paid", shape)).unwrap();
            assert_eq!(fact.payment_intent_id.as_deref(), Some("pi_1"));
            assert_eq!((fact.invoice_id.as_deref(), fact.charge_id.as_deref()), (Some("in_1"), Some("ch_1")));
            let until = DateTime::from_timestamp(100, 0);
            assert_eq!(fact.what, Some(FactKind::InvoicePaid { amount: 2900, until }));
        }
        let fact = json!({"id": "inpay_1", "object": "invoice_payment", "invoice": "in_1", "amount_paid": 2900,
                          "payment": {"type": "payment_intent", "payment_intent": "pi_1"}, "status": "paid"});
        let fact = read(&event("invoice_payment.paid", fact)).unwrap();
        assert_eq!((fact.invoice_id.as_deref(), fact.payment_intent_id.as_deref()), (Some("in_1"), Some("pi_1")));
        assert_eq!((fact.subscription_id, fact.what), (None, Some(FactKind::PaidWith)));
    }

    #[test]
    fn a_checkout_without_a_known_mode_and_status_is_unclear() {
        for (field, value) in [
            ("mode", Value::Null),
            ("mode", json!("something new")),
            ("payment_status", Value::Null),
            ("payment_status", json!("something new")),
            ("payment_status", json!(7)),
        ] {
            let mut session = session("subscription", "paid");
            session[field] = value;
            let fact = read(&event("checkout.session.completed", session.clone())).unwrap();
            assert_eq!((fact.subscription_id.as_deref(), fact.reference.as_deref()), (Some("sub_1"), Some("ref")));
            assert_eq!(fact.what, Some(FactKind::UnclearCheckout), "{field}");
            let later = read(&event("checkout.session.async_payment_succeeded", session)).unwrap();
            assert_eq!(later.what, Some(FactKind::DelayedPayment { succeeded: true }), "its kind says so");
        }
    }

    #[test]
    fn a_refund_counts_only_if_it_fails() {
        let refund = |status: &str| json!({"id": "re_1", "object": "refund", "status": status, "amount": 2900, "charge": "ch_1", "payment_intent": "pi_1"});
        let failed = Some(FactKind::RefundFailed { refund: "re_1".into() });
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
            let fact = read(&event(kind, refund(status)));
            assert_eq!(fact.as_ref().map(|it| it.what.clone()), expected.then(|| failed.clone()), "{kind} {status}");
            let names = |fact: StripeFact| (fact.charge_id, fact.payment_intent_id);
            assert!(fact.is_none_or(|it| names(it) == (Some("ch_1".into()), Some("pi_1".into()))));
        }
    }

    #[test]
    fn a_dispute_has_its_status_and_the_deadline_for_evidence() {
        let dispute = json!({"id": "du_1", "object": "dispute", "amount": 2900, "charge": "ch_1", "payment_intent": "pi_1",
                             "status": "needs_response", "evidence_details": {"due_by": 1_700_500_000}});
        let fact = read(&event("charge.dispute.created", dispute.clone())).unwrap();
        assert_eq!((fact.dispute_id.as_deref(), fact.payment_intent_id.as_deref()), (Some("du_1"), Some("pi_1")));
        let due_by = DateTime::from_timestamp(1_700_500_000, 0);
        assert_eq!(fact.what, Some(FactKind::Disputed { status: Dispute::Open, due_by }));
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
            assert_eq!(what, Some(FactKind::Disputed { status: expected, due_by: None }), "{kind}");
        }
    }

    #[test]
    fn irrelevant_and_unreadable_events_are_ignored() {
        assert_eq!(read(&event("customer.created", json!({"id": "cus_1"}))), None);
        assert_eq!(read(&json!({})), None);
        assert_eq!(read(&json!([1])), None);
        assert_eq!(read(&event("checkout.session.completed", json!("cs_1"))), None);
        let mut endless = event("invoice.paid", json!({"subscription": "sub_1"}));
        endless["created"] = json!(i64::MAX);
        assert_eq!(read(&endless), None);
    }
}
