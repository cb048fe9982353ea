//! The payment page, which stands in for Stripe's: a payment by card, a debit that takes days, a card that is declined.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::{Form, Query, State as Shared};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use chrono::TimeDelta;
use jobrun_shared::clock;
use serde::Deserialize;

use crate::State;
use crate::phones::{html, local_path};
use crate::stripe::{By, Sale, deliver};

/// How long a debit takes.
const DEBIT_TAKES: TimeDelta = TimeDelta::days(4);

#[derive(Template)]
#[template(path = "pay.html")]
struct Page {
    reference: String,
    phone: String,
    back: String,
    result: Option<&'static str>,
    /// Whether nothing is left to pay.
    is_over: bool,
}

#[derive(Default, Deserialize)]
struct Checkout {
    client_reference_id: Option<String>,
    #[serde(default)]
    phone: String,
    #[serde(default)]
    back: String,
    result: Option<String>,
}

pub(crate) fn router() -> Router<Arc<State>> {
    Router::new().route("/pay", get(page)).route("/pay/sheet", post(pay))
}

async fn page(Query(checkout): Query<Checkout>) -> Response {
    let result = match checkout.result.as_deref() {
        Some("card") => Some("Thank you. £29.00 was paid by card."),
        Some("debit") => Some("Thank you. The debit is under way, and takes about four days."),
        Some("declined") => Some("Your card was declined. Nothing was paid."),
        Some("refused") => Some("The payment was made, but JobRun did not accept the webhook."),
        _ => None,
    };
    html(&Page {
        reference: usable(&checkout.client_reference_id.unwrap_or_default()),
        phone: checkout.phone,
        back: local_path(&checkout.back),
        is_over: result.is_some() && checkout.result.as_deref() != Some("declined"),
        result,
    })
}

/// As Stripe does, the page drops silently what cannot be a reference; here, only the characters that cannot.
fn usable(reference: &str) -> String {
    reference.chars().filter(|it| it.is_ascii_alphanumeric() || "-_".contains(*it)).collect()
}

#[derive(Deserialize)]
struct Payment {
    client_reference_id: String,
    phone: String,
    back: String,
    by: String,
}

async fn pay(Shared(state): Shared<Arc<State>>, Form(payment): Form<Payment>) -> Response {
    let reference = usable(&payment.client_reference_id);
    let result = match payment.by.as_str() {
        "declined" => {
            state.note_payment(&payment.phone, "Your card was declined. Nothing was paid.");
            "declined"
        }
        by => {
            let by = if by == "debit" { By::Debit } else { By::Card };
            let (changes, before) = (state.changes.subscribe(), state.message_count());
            let phone = Some(payment.phone.clone()).filter(|phone| !phone.is_empty());
            let sale = Sale { phone, ..Sale::new(Some(&reference).filter(|it| !it.is_empty()).map(String::as_str)) };
            let name = if by == By::Debit { "debit" } else { "card" };
            match state.sell(sale, by).await {
                Ok(_) => {
                    // The text that follows is then on the page to which the button leads.
                    state.wait_for_reply(changes, before).await;
                    name
                }
                Err(_) => "refused",
            }
        }
    };
    let query: String = form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("client_reference_id", &reference), ("phone", &payment.phone), ("back", &payment.back)])
        .append_pair("result", result)
        .finish();
    Redirect::to(&format!("/pay?{query}")).into_response()
}

impl State {
    /// Sells a subscription, and tells the project about it.
    pub(crate) async fn sell(&self, sale: Sale, by: By) -> Result<String, (axum::http::StatusCode, String)> {
        let sale = Sale { awaits_debit: by == By::Debit, ..sale };
        let words = match by {
            By::Card => "You paid £29.00 by card.",
            By::Debit => "You paid £29.00 by Direct Debit. It takes about four days.",
        };
        self.note_payment(sale.phone.as_deref().unwrap_or_default(), words);
        let events = if by == By::Card { sale.paid_by_card() } else { sale.paid_by_debit() };
        let subscription = sale.subscription.clone();
        // Stripe has the subscription even if the webhook is refused.
        let delivered = deliver(self, &events).await;
        self.add_sale(sale);
        self.everything_changed();
        delivered.map(|()| subscription)
    }

    fn note_payment(&self, phone: &str, words: &str) {
        if !phone.is_empty() {
            self.note(phone, words.to_owned(), None, Vec::new());
        }
    }

    /// Lets the debits arrive that have been under way for long enough.
    pub(crate) async fn settle_debits(&self) -> Result<(), String> {
        let due = clock::now().timestamp() - DEBIT_TAKES.num_seconds();
        let due: Vec<String> = {
            let sales = self.sales();
            let due = sales.values().filter(|it| it.awaits_debit && it.at <= due);
            due.map(|it| it.subscription.clone()).collect()
        };
        for subscription in due {
            self.change_sale(&subscription, "debit-arrives").await.map_err(|(_, why)| why)?;
        }
        Ok(())
    }
}
