//! `jobrun payments`: lists the payments without a known client, and assigns one to a client.

use std::io::Write;

use jobrun_shared::db::subscriptions::{self, Unassigned};
use jobrun_shared::{clock, payments, refusal, telemetry, words};
use serde_json::json;
use sqlx::PgPool;

use crate::commands::operator;
use crate::table::{self, Column};

const COLUMNS: [Column; 6] = [
    Column::text("PAYMENT", 30),
    Column::state("STANDING", 9),
    Column::text("PAYER", 24),
    Column::count("AMOUNT", 10),
    Column::text("FIRST SEEN", 21),
    Column::text("WHY", 0),
];

/// Prints every payment without a known client.
pub async fn print_unassigned(pool: &PgPool, json: bool) -> anyhow::Result<()> {
    let unassigned = subscriptions::list_unassigned(pool, i64::MAX).await?;
    let mut out = table::stdout();
    if json {
        return Ok(writeln!(out, "{}", serde_json::to_string_pretty(&unassigned)?)?);
    }
    if unassigned.is_empty() {
        return Ok(writeln!(out, "every payment belongs to a client")?);
    }
    Ok(print_table(&mut out, &unassigned)?)
}

fn print_table(out: &mut impl Write, unassigned: &[Unassigned]) -> std::io::Result<()> {
    table::print(out, &COLUMNS, unassigned.iter().map(row).collect())?;
    writeln!(out, "\nLook the payer up in Stripe, and then: jobrun payments assign PAYMENT CLIENT")
}

fn row(it: &Unassigned) -> Vec<String> {
    vec![
        it.subscription_id.clone(),
        it.standing.to_string(),
        it.customer_id.clone().unwrap_or_else(|| "-".to_owned()),
        amount(it),
        it.heard_of_at.format(crate::MINUTE).to_string(),
        words::why_unassigned(it).to_owned(),
    ]
}

fn amount(it: &Unassigned) -> String {
    match (it.amount, &it.currency) {
        (Some(amount), Some(currency)) => words::money(amount, currency),
        (Some(_) | None, _) => "-".to_owned(),
    }
}

/// Assigns a payment to the client that `words` name.
///
/// # Errors
/// When there is no such client, or no such unassigned payment.
pub async fn assign(
    pool: &PgPool,
    subscription_id: &str,
    words: &str,
    why: Option<String>,
    as_json: bool,
) -> anyhow::Result<()> {
    let client_id = refusal::find_client(pool, words).await?;
    let assigned = payments::assign_payment(pool, subscription_id, &client_id, &operator(why), clock::now()).await?;
    telemetry::raised(&assigned.raised);
    telemetry::cleared(&assigned.cleared);
    let mut out = table::stdout();
    if as_json {
        return Ok(writeln!(out, "{:#}", json!({ "payment": subscription_id, "clientId": client_id }))?);
    }
    Ok(writeln!(out, "{subscription_id} belongs to client {client_id}")?)
}
