//! Stripe: signed events in Stripe's own shapes. `checkout.rs` has the page to pay on.
//!
//! A [`Sale`] builds the events that Stripe would send about it. Its holder chooses which to send, and in which order.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Form, Router};
use jobrun_shared::clock;
use jobrun_stripe::{WEBHOOK, signature};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{Answer, StandIn, State, Undelivered};

/// The secret of the webhook endpoint on test systems, whose databases are thrown away.
pub const SECRET: &str = "whsec_stand_in";

/// The price of a month, in pence.
const PRICE: i64 = 2900;

const MONTH_S: i64 = 30 * 24 * 60 * 60;

/// The version of Stripe's API. Some fields have moved within their objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shape {
    /// Before March 2025.
    Old,
    /// Since March 2025.
    #[default]
    New,
}

/// A subscription that was sold through a payment link. Its methods return the events that Stripe sends about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sale {
    /// The `client_reference_id` of the link.
    pub reference: Option<String>,
    /// The checkout session, `cs_…`.
    pub session: String,
    /// The subscription, `sub_…`.
    pub subscription: String,
    /// The payer, `cus_…`.
    pub customer: String,
    /// The month that was paid for last, counted from 1. Each month has an invoice and a payment of its own.
    pub month: u32,
    /// The version of the API that its events have.
    pub shape: Shape,
    /// The `created` time of its events, in seconds since 1970.
    pub at: i64,
    /// Whether it was paid by a debit that has neither arrived nor failed.
    #[serde(default)]
    pub awaits_debit: bool,
    /// The phone on whose page it was paid.
    #[serde(default)]
    pub phone: Option<String>,
}

/// How a subscription is paid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// At once.
    #[default]
    Card,
    /// In some days.
    Debit,
}

impl Sale {
    /// Returns a sale with ids of its own, at the present time.
    #[must_use]
    pub fn new(reference: Option<&str>) -> Self {
        let n = unique();
        Self {
            reference: reference.map(str::to_owned),
            session: format!("cs_test_{n}"),
            subscription: format!("sub_{n}"),
            customer: format!("cus_{n}"),
            month: 1,
            shape: Shape::default(),
            at: clock::now().timestamp(),
            awaits_debit: false,
            phone: None,
        }
    }

    /// Returns who paid, as far as is known: the phone, or the reference.
    pub(crate) fn payer(&self) -> &str {
        self.phone.as_deref().or(self.reference.as_deref()).unwrap_or("without a reference")
    }

    /// Returns the same sale, some seconds later.
    #[must_use]
    pub fn after(&self, seconds: i64) -> Self {
        Self { at: self.at + seconds, ..self.clone() }
    }

    /// Returns the same sale, one month (30 days) later.
    #[must_use]
    pub fn next_month(&self) -> Self {
        Self { month: self.month + 1, ..self.after(MONTH_S) }
    }

    /// Returns the id of an object of this month's payment: its invoice (`in`), invoice payment (`inpay`), payment intent
    /// (`pi`), charge (`ch`), refund (`re`) or dispute (`du`).
    #[must_use]
    pub fn name(&self, kind: &str) -> String {
        format!("{kind}_{}_{}", self.subscription.trim_start_matches("sub_"), self.month)
    }

    fn event(&self, kind: &str, object: &Value) -> Value {
        json!({
            "id": format!("evt_{}", unique()), "object": "event", "api_version": "2026-10-28.endive", "created": self.at,
            "livemode": false, "pending_webhooks": 1, "type": kind, "data": {"object": object},
        })
    }

    fn session(&self, payment_status: &str) -> Value {
        json!({
            "id": self.session, "object": "checkout.session", "mode": "subscription", "status": "complete",
            "payment_status": payment_status, "client_reference_id": self.reference, "customer": self.customer,
            "subscription": self.subscription, "invoice": self.name("in"), "payment_intent": null,
            "amount_total": PRICE, "currency": "gbp", "customer_details": {"email": "payer@example.com", "phone": null},
            "metadata": {}, "livemode": false,
        })
    }

    /// Returns `checkout.session.completed`, with a payment status of `paid`, `unpaid` or `no_payment_required`.
    #[must_use]
    pub fn checkout_completed(&self, payment_status: &str) -> Value {
        self.event("checkout.session.completed", &self.session(payment_status))
    }

    /// Returns `checkout.session.async_payment_succeeded`, or `…_failed`.
    #[must_use]
    pub fn delayed_payment(&self, succeeded: bool) -> Value {
        let (end, status) = if succeeded { ("succeeded", "paid") } else { ("failed", "unpaid") };
        self.event(&format!("checkout.session.async_payment_{end}"), &self.session(status))
    }

    /// Returns `customer.subscription.created`, `updated`, `deleted`, `paused` or `resumed`, with the new status, and with the
    /// previous one (`was`) if it changed.
    #[must_use]
    pub fn subscription(&self, change: &str, status: &str, was: Option<&str>) -> Value {
        let end = self.at + MONTH_S;
        let (ends, item_ends) =
            if self.shape == Shape::Old { (json!(end), Value::Null) } else { (Value::Null, json!(end)) };
        let object = json!({
            "id": self.subscription, "object": "subscription", "customer": self.customer, "status": status,
            "cancel_at_period_end": false, "current_period_end": ends,
            "items": {"data": [{"current_period_end": item_ends, "price": {"unit_amount": PRICE}}]},
        });
        let mut event = self.event(&format!("customer.subscription.{change}"), &object);
        if let Some(was) = was {
            event["data"]["previous_attributes"] = json!({"status": was});
        }
        event
    }

    fn invoice(&self, kind: &str, paid: i64, status: &str) -> Value {
        let mut invoice = json!({
            "id": self.name("in"), "object": "invoice", "customer": self.customer, "status": status,
            "amount_due": PRICE, "amount_paid": paid, "currency": "gbp", "billing_reason": "subscription_cycle",
            "period_end": self.at, "lines": {"object": "list", "data": [
                {"amount": PRICE, "period": {"start": self.at, "end": self.at + MONTH_S}},
            ]},
        });
        match self.shape {
            Shape::Old => {
                invoice["subscription"] = json!(self.subscription);
                invoice["payment_intent"] = json!(self.name("pi"));
                invoice["charge"] = json!(self.name("ch"));
            }
            // The payment is in an event of its own, `invoice_payment.paid`.
            Shape::New => {
                invoice["parent"] = json!({"type": "subscription_details",
                                           "subscription_details": {"subscription": self.subscription}});
            }
        }
        self.event(kind, &invoice)
    }

    /// Returns `invoice.paid`.
    #[must_use]
    pub fn invoice_paid(&self) -> Value {
        self.invoice("invoice.paid", PRICE, "paid")
    }

    /// Returns `invoice.payment_failed`.
    #[must_use]
    pub fn invoice_payment_failed(&self) -> Value {
        self.invoice("invoice.payment_failed", 0, "open")
    }

    /// Returns `invoice_payment.paid`, which links this month's invoice to its payment intent.
    #[must_use]
    pub fn invoice_payment_paid(&self) -> Value {
        let payment = json!({
            "id": self.name("inpay"), "object": "invoice_payment", "invoice": self.name("in"), "status": "paid",
            "amount_paid": PRICE, "amount_requested": PRICE, "currency": "gbp", "is_default": true,
            "payment": {"type": "payment_intent", "payment_intent": self.name("pi")},
        });
        self.event("invoice_payment.paid", &payment)
    }

    /// Returns `charge.refunded`, for the full amount of this month's payment.
    #[must_use]
    pub fn refunded(&self) -> Value {
        let mut charge = json!({
            "id": self.name("ch"), "object": "charge", "customer": self.customer, "payment_intent": self.name("pi"),
            "amount": PRICE, "amount_refunded": PRICE, "refunded": true, "currency": "gbp",
        });
        if self.shape == Shape::Old {
            charge["invoice"] = json!(self.name("in"));
        }
        self.event("charge.refunded", &charge)
    }

    /// Returns `refund.failed`, `refund.updated` or `charge.refund.updated`, about the refund of this month's payment.
    #[must_use]
    pub fn refund(&self, kind: &str, status: &str) -> Value {
        let refund = json!({
            "id": self.name("re"), "object": "refund", "amount": PRICE, "currency": "gbp", "status": status,
            "charge": self.name("ch"), "payment_intent": self.name("pi"),
        });
        self.event(kind, &refund)
    }

    /// Returns `charge.dispute.created`, `updated`, `closed` or others, about this month's payment.
    #[must_use]
    pub fn dispute(&self, change: &str, status: &str) -> Value {
        let dispute = json!({
            "id": self.name("du"), "object": "dispute", "amount": PRICE, "currency": "gbp", "status": status,
            "charge": self.name("ch"), "payment_intent": self.name("pi"), "reason": "fraudulent",
            "evidence_details": {"due_by": self.at + 7 * 24 * 60 * 60, "has_evidence": false},
        });
        self.event(&format!("charge.dispute.{change}"), &dispute)
    }

    /// Returns the events that Stripe sends about a payment by card, in their usual order.
    #[must_use]
    pub fn paid_by_card(&self) -> Vec<Value> {
        let mut events = vec![
            self.subscription("created", "incomplete", None),
            self.invoice_paid(),
            self.subscription("updated", "active", Some("incomplete")),
            self.checkout_completed("paid"),
        ];
        if self.shape == Shape::New {
            events.push(self.invoice_payment_paid());
        }
        events
    }

    /// Returns the events that Stripe sends when a debit has been ordered: the subscription is active, and unpaid.
    #[must_use]
    pub fn paid_by_debit(&self) -> Vec<Value> {
        vec![self.subscription("created", "active", None), self.checkout_completed("unpaid")]
    }

    /// Returns the events that Stripe sends when the subscription gets `status`, when the payment is refunded, or when a debit
    /// ends.
    fn becomes(&self, status: &str) -> Option<Vec<Value>> {
        Some(match status {
            "debit-arrives" => vec![self.invoice_paid(), self.delayed_payment(true), self.invoice_payment_paid()],
            "debit-fails" => vec![self.delayed_payment(false)],
            "active" => {
                vec![self.invoice_paid(), self.invoice_payment_paid(), self.subscription("updated", "active", None)]
            }
            "past_due" => vec![self.invoice_payment_failed(), self.subscription("updated", "past_due", Some("active"))],
            "unpaid" => vec![self.subscription("updated", "unpaid", Some("past_due"))],
            "paused" => vec![self.subscription("paused", "paused", None)],
            "canceled" => vec![self.subscription("deleted", "canceled", None)],
            "refunded" => vec![self.refunded()],
            _ => return None,
        })
    }
}

/// Returns an id that no event, subscription or payer has had, in this process or an earlier one.
fn unique() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let began = clock::now().timestamp_micros().unsigned_abs();
    format!("{began:x}{:06x}", NEXT.fetch_add(1, Ordering::Relaxed))
}

impl StandIn {
    /// Sends an event of Stripe's, signed. Retries it as Stripe does.
    ///
    /// # Errors
    /// When the webhook cannot be delivered.
    pub async fn stripe(&self, event: &Value) -> Result<Answer, Undelivered> {
        self.state.stripe(event).await
    }

    /// Posts any body to the webhook of Stripe's events, once, with any signature or none.
    ///
    /// # Errors
    /// When the request cannot be delivered.
    pub async fn post_stripe(&self, body: Vec<u8>, signature: Option<&str>) -> Result<Answer, Undelivered> {
        self.state.post_stripe(body, signature).await
    }
}

impl State {
    /// Sends an event, each time with a new signature, until the response is not a 5xx. The 16 attempts are as many as Stripe
    /// makes in its three days.
    async fn stripe(&self, event: &Value) -> Result<Answer, Undelivered> {
        self.remember(event);
        let body = event.to_string().into_bytes();
        let mut attempts_left = 16;
        loop {
            let signature = signature::sign(&self.account.stripe_secret, &body, clock::now());
            let answer = self.post_stripe(body.clone(), Some(&signature)).await;
            attempts_left -= 1;
            if attempts_left == 0 || answer.as_ref().is_ok_and(|answer| answer.status < 500) {
                return answer;
            }
        }
    }

    async fn post_stripe(&self, body: Vec<u8>, signature: Option<&str>) -> Result<Answer, Undelivered> {
        let url = format!("{}{WEBHOOK}", self.account.webhook_base_url);
        let request = self.http.post(url).header("content-type", "application/json; charset=utf-8").body(body);
        let signed = signature.into_iter().fold(request, |request, it| request.header(signature::HEADER, it));
        Answer::of(signed.send().await?).await
    }
}

/// The sales made on the page, by subscription.
pub(crate) type Sales = BTreeMap<String, Sale>;

pub(crate) fn router() -> Router<Arc<State>> {
    Router::new().route("/pay", post(pay)).route("/subscriptions", post(change).get(list))
}

#[derive(Deserialize)]
struct Checkout {
    client_reference_id: Option<String>,
    #[serde(default)]
    by: By,
}

type Outcome = Result<String, (StatusCode, String)>;

async fn pay(Shared(state): Shared<Arc<State>>, Form(checkout): Form<Checkout>) -> Outcome {
    let sale = Sale::new(checkout.client_reference_id.as_deref().filter(|it| !it.is_empty()));
    let subscription = state.sell(sale, checkout.by).await?;
    Ok(format!("paid: subscription {subscription}\n"))
}

#[derive(Deserialize)]
struct StatusChange {
    subscription: String,
    status: String,
}

async fn change(Shared(state): Shared<Arc<State>>, Form(change): Form<StatusChange>) -> Outcome {
    let StatusChange { subscription, status } = change;
    state.change_sale(&subscription, &status).await?;
    Ok(format!("{subscription} is {status}\n"))
}

impl State {
    /// Gives a subscription a status, or ends its debit, and tells the project about it.
    pub(crate) async fn change_sale(&self, subscription: &str, status: &str) -> Result<(), (StatusCode, String)> {
        let sale = self.sales().get(subscription).cloned();
        let sale = sale.ok_or((StatusCode::NOT_FOUND, format!("no such subscription: {subscription}\n")))?;
        // The status `active` pays for another month.
        let month = sale.month + u32::from(status == "active");
        let awaits_debit = sale.awaits_debit && !status.starts_with("debit-");
        let sale = Sale { month, awaits_debit, at: clock::now().timestamp(), ..sale };
        let events = sale.becomes(status);
        let events = events.ok_or((StatusCode::BAD_REQUEST, format!("no such status: {status}\n")))?;
        deliver(self, &events).await?;
        self.add_sale(sale);
        Ok(())
    }
}

async fn list(Shared(state): Shared<Arc<State>>) -> String {
    let mut page = String::new();
    for sale in state.sales().values() {
        // Writing to a string does not fail.
        let _ = writeln!(page, "{}  {}", sale.subscription, sale.reference.as_deref().unwrap_or("without a reference"));
    }
    page
}

pub(crate) async fn deliver(state: &State, events: &[Value]) -> Result<(), (StatusCode, String)> {
    for event in events {
        if state.loses_webhooks() {
            state.remember(event);
            continue;
        }
        let refused = |why: String| (StatusCode::BAD_GATEWAY, format!("the webhook was not taken: {why}\n"));
        let answer = state.stripe(event).await.map_err(|error| refused(error.to_string()))?;
        if answer.status != 200 {
            return Err(refused(format!("{} {}", answer.status, answer.body.trim())));
        }
    }
    Ok(())
}
