//! The panels beside the phones: time, Twilio's faults, payments, and the reset.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::{Form, State as Shared};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use chrono::TimeDelta;
use serde::Deserialize;

use super::page::{html, is_htmx, shown};
use crate::state_file::Entry;
use crate::stripe::Sale;
use crate::{DeliveryOutcome, Fault, Misbehaviour, Reports, State};

/// How much time can pass in one step.
const STEPS: [(i64, &str); 5] = [(1, "1 hour"), (24, "24 hours"), (48, "2 days"), (96, "4 days"), (720, "30 days")];

/// Faults of a request, in the words of the panel.
const FAULTS: [(&str, &str); 11] = [
    ("429-retry-after", "429, try again in a second"),
    ("429", "429, too many requests"),
    ("500-before", "500, nothing accepted"),
    ("500-after", "500, yet accepted"),
    ("503", "503, unavailable"),
    ("late", "accepted, answered too late"),
    ("dropped-before", "connection breaks, nothing accepted"),
    ("dropped-after", "connection breaks, yet accepted"),
    ("unreadable", "accepted, unreadable answer"),
    ("401", "401, wrong credentials"),
    ("21610", "21610, the phone has opted out"),
];

/// Ends of texts, in the words of the panel.
const ENDS: [(&str, &str); 6] = [
    ("delivered", "delivered"),
    ("queued", "queued at Twilio for ever"),
    ("sent", "sent, without a report"),
    ("undelivered-30003", "30003, the phone is off"),
    ("undelivered-30006", "30006, it is a landline"),
    ("failed-30007", "30007, filtered by the carrier"),
];

/// Ways of reports, in the words of the panel.
const REPORTS: [(&str, &str); 6] = [
    ("in-order", "in order"),
    ("twice", "twice"),
    ("reordered", "in reverse order"),
    ("late", "two seconds late"),
    ("before-answer", "before the answer to the text"),
    ("missing", "never"),
];

/// Changes of a subscription, in the words of the panel.
const STATUSES: [(&str, &str); 6] = [
    ("active", "active: another month is paid"),
    ("past_due", "past due: a payment failed"),
    ("unpaid", "unpaid: every attempt failed"),
    ("paused", "paused"),
    ("canceled", "cancelled"),
    ("refunded", "refunded"),
];

#[derive(Template)]
#[template(path = "panel_time.html")]
struct TimePanel {
    said: Option<String>,
    steps: [(i64, &'static str); 5],
}

#[derive(Template)]
#[template(path = "panel_twilio.html")]
struct TwilioPanel {
    said: Option<String>,
    orders: Vec<String>,
    counts: Vec<(String, u64)>,
    faults: [(&'static str, &'static str); 11],
    ends: [(&'static str, &'static str); 6],
    reports: [(&'static str, &'static str); 6],
}

#[derive(Template)]
#[template(path = "panel_payments.html")]
struct PaymentsPanel {
    said: Option<String>,
    sales: Vec<Sale>,
    statuses: [(&'static str, &'static str); 6],
}

#[derive(Template)]
#[template(path = "panel_reset.html")]
struct ResetPanel;

/// Returns the panels. Time and reset are there only if a system is attached.
pub(super) fn all(state: &State) -> Vec<String> {
    let mut panels = vec![shown(&payments_panel(state, None)), shown(&twilio_panel(state, None))];
    if state.system().is_some() {
        panels.insert(0, shown(&TimePanel { said: None, steps: STEPS }));
        panels.push(shown(&ResetPanel));
    }
    panels
}

pub(super) fn router() -> Router<Arc<State>> {
    Router::new()
        .route("/panels/time", post(pass))
        .route("/panels/twilio", post(order))
        .route("/panels/payments", get(payments).post(change))
}

/// Returns the panel itself to htmx, and the whole page otherwise.
fn answer(headers: &HeaderMap, panel: &impl Template, id: &str) -> Response {
    if is_htmx(headers) { html(panel) } else { Redirect::to(&format!("/#{id}")).into_response() }
}

#[derive(Deserialize)]
struct Pass {
    hours: i64,
}

async fn pass(Shared(state): Shared<Arc<State>>, headers: HeaderMap, Form(pass): Form<Pass>) -> Response {
    let said = match state.pass(pass.hours.clamp(0, 24 * 365)).await {
        Ok(()) if pass.hours == 0 => "A worker has been told to sweep.".to_owned(),
        Ok(()) => format!("{} hours have passed, and a worker has been told to sweep.", pass.hours),
        Err(why) => format!("No time has passed: {why}"),
    };
    answer(&headers, &TimePanel { said: Some(said), steps: STEPS }, "time")
}

impl State {
    /// Lets hours pass, or only sweeps. Debits that have been under way for four days arrive.
    async fn pass(&self, hours: i64) -> Result<(), String> {
        let system = self.system().ok_or("nothing that could pass the time is attached")?;
        if hours == 0 {
            return system.sweep().await;
        }
        let time = TimeDelta::hours(hours);
        system.pass(time).await?;
        self.age(time);
        self.persist(&Entry::Passed { seconds: time.num_seconds() });
        self.everything_changed();
        self.settle_debits().await
    }
}

/// A form of the panel of faults. An empty field leaves the order as it is.
#[derive(Deserialize)]
struct Orders {
    next: String,
    always: String,
    end: String,
    reports: String,
    percent: String,
    clear: Option<String>,
}

async fn order(Shared(state): Shared<Arc<State>>, headers: HeaderMap, Form(form): Form<Orders>) -> Response {
    let mut orders = state.faults.orders();
    if form.clear.is_some() {
        orders.clear();
    } else {
        orders.next.extend(Fault::named(&form.next));
        if form.always == "none" {
            orders.always = None;
        }
        orders.always = Fault::named(&form.always).or(orders.always);
        orders.outcome = DeliveryOutcome::named(&form.end).or(orders.outcome);
        orders.reports = Reports::named(&form.reports).or(orders.reports);
        let percent = form.percent.parse().ok().filter(|percent: &u8| *percent <= 100);
        let seed = u64::from(jobrun_shared::clock::now().timestamp_subsec_micros());
        orders.misbehaviour = percent.map(|percent| Misbehaviour { seed, percent }).or(orders.misbehaviour);
    }
    drop(orders);
    let said = if form.clear.is_some() { "All works again." } else { "Applied." };
    answer(&headers, &twilio_panel(&state, Some(said.to_owned())), "twilio")
}

fn twilio_panel(state: &State, said: Option<String>) -> TwilioPanel {
    let orders = state.faults.orders();
    let mut in_force: Vec<String> =
        orders.next.iter().map(|fault| format!("Next text: {}", in_words(&FAULTS, &fault.to_string()))).collect();
    in_force.extend(orders.always.map(|fault| format!("Every request: {}", in_words(&FAULTS, &fault.to_string()))));
    let outcome = orders.outcome.filter(|it| *it != DeliveryOutcome::Delivered);
    let named = |outcome| ENDS.iter().find(|(name, _)| DeliveryOutcome::named(name) == Some(outcome));
    in_force.extend(
        outcome.map(|it| {
            named(it).map_or_else(|| format!("Texts end: {it:?}"), |(_, words)| format!("Texts end: {words}"))
        }),
    );
    let reports = orders.reports.filter(|it| *it != Reports::InOrder);
    let named = |reports| REPORTS.iter().find(|(name, _)| Reports::named(name) == Some(reports));
    in_force.extend(reports.and_then(named).map(|(_, words)| format!("Delivery reports: {words}")));
    in_force.extend(orders.misbehaviour.filter(|it| it.percent > 0).map(|it| it.to_string()));
    TwilioPanel {
        said,
        orders: in_force,
        counts: orders.counts.iter().map(|(name, count)| (name.clone(), *count)).collect(),
        faults: FAULTS,
        ends: ENDS,
        reports: REPORTS,
    }
}

fn in_words(table: &[(&str, &str)], name: &str) -> String {
    table.iter().find(|(it, _)| *it == name).map_or_else(|| name.to_owned(), |(_, words)| (*words).to_owned())
}

fn payments_panel(state: &State, said: Option<String>) -> PaymentsPanel {
    let sales = state.sales().values().rev().take(20).cloned().collect();
    PaymentsPanel { said, sales, statuses: STATUSES }
}

async fn payments(Shared(state): Shared<Arc<State>>) -> Response {
    html(&payments_panel(&state, None))
}

#[derive(Deserialize)]
struct Change {
    subscription: String,
    status: String,
}

async fn change(Shared(state): Shared<Arc<State>>, headers: HeaderMap, Form(form): Form<Change>) -> Response {
    let said = match state.change_sale(&form.subscription, &form.status).await {
        Ok(()) => "Done.".to_owned(),
        Err((_, why)) => why,
    };
    answer(&headers, &payments_panel(&state, Some(said)), "payments")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_in_the_panel_is_an_order() {
        assert!(FAULTS.iter().all(|(name, _)| Fault::named(name).is_some()));
        assert!(ENDS.iter().all(|(name, _)| DeliveryOutcome::named(name).is_some()));
        assert!(REPORTS.iter().all(|(name, _)| Reports::named(name).is_some()));
    }
}
