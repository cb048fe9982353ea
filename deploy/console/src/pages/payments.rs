//! Payments that belong to no known client.

use axum::extract::State;
use axum::response::Html;
use jobrun_shared::db::subscriptions::{self, Unassigned};
use jobrun_shared::words;

use crate::app::App;
use crate::error::PageError;
use crate::view::{Cell, Frame, ListPage, Table, Tone};

/// The most payments that are listed.
const LISTED: i64 = 200;

/// Shows the payments.
///
/// # Errors
/// When the database fails.
pub async fn show(State(app): State<App>, frame: Frame) -> Result<Html<String>, PageError> {
    let frame = frame.titled("Payments without an owner", "payments");
    let payments = subscriptions::list_unassigned(&app.pool, LISTED).await?;
    let note = "Look the payer up in Stripe, and then: jobrun payments assign PAYMENT CLIENT.";
    let table = Table {
        note: if payments.is_empty() { String::new() } else { note.to_owned() },
        columns: vec!["Payment", "Standing", "Payer", "Amount", "First seen", "Why"],
        rows: payments.iter().map(|payment| row(&frame, payment)).collect(),
        empty: "Every payment belongs to a client.",
        ..Table::default()
    };
    let intro = "Payments that do not say for which client they are. Oldest first.";
    ListPage::new(frame, "/payments", intro, vec![table]).into_html()
}

fn row(frame: &Frame, payment: &Unassigned) -> Vec<Cell> {
    let amount = payment.amount.zip(payment.currency.as_deref());
    let standing = payment.standing.replace('_', " ");
    vec![
        Cell::new().code(payment.subscription_id.clone()),
        Cell::new().badge(Tone::of(&payment.standing), standing),
        payment.customer_id.as_ref().map_or_else(Cell::new, |payer| Cell::new().code(payer.clone())),
        Cell::new().text(amount.map(|(amount, currency)| words::money(amount, currency)).unwrap_or_default()).count(),
        Cell::new().time(frame, &payment.heard_of_at).line().ago(frame, &payment.heard_of_at),
        Cell::new().text(words::why_unassigned(payment)),
    ]
}
