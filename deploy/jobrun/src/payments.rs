//! Payments that belong to nobody that we know: shown, and given to whom they belong.

use std::io::Write;

use jobrun_shared::db::subscriptions::{self, Unassigned};
use jobrun_shared::{clock, operator, telemetry};
use sqlx::PgPool;

use crate::client::money;

/// Prints every payment that belongs to nobody.
///
/// # Errors
/// When the database does not answer.
pub async fn print_unassigned(pool: &PgPool, json: bool) -> anyhow::Result<()> {
    let unassigned = subscriptions::list_unassigned(pool).await?;
    let mut out = std::io::stdout().lock();
    if json {
        return Ok(writeln!(out, "{}", serde_json::to_string_pretty(&unassigned)?)?);
    }
    if unassigned.is_empty() {
        return Ok(writeln!(out, "every payment belongs to a client")?);
    }
    Ok(print_table(&mut out, &unassigned)?)
}

fn print_table(out: &mut impl Write, unassigned: &[Unassigned]) -> std::io::Result<()> {
    writeln!(out, "{:<30} {:<9} {:<24} {:>10}  {:<20} WHY", "PAYMENT", "STANDING", "PAYER", "AMOUNT", "HEARD OF")?;
    for it in unassigned {
        let payer = it.customer_id.as_deref().unwrap_or("-");
        let (amount, heard_of) = (amount(it), it.heard_of_at.format(crate::MINUTE));
        let why = match (it.is_checked_out, &it.reference) {
            (false, _) => "its checkout has not arrived yet",
            (true, None) => "its checkout carries no reference",
            (true, Some(_)) => "its checkout carries a reference that is no client's",
        };
        writeln!(out, "{:<30} {:<9} {payer:<24} {amount:>10}  {heard_of:<20} {why}", it.subscription_id, it.standing)?;
    }
    writeln!(out, "\nLook the payer up in Stripe, and then: jobrun payments assign PAYMENT CLIENT_ID")
}

fn amount(it: &Unassigned) -> String {
    match (it.amount, &it.currency) {
        (Some(amount), Some(currency)) => money(amount, currency),
        (Some(_) | None, _) => "-".to_owned(),
    }
}

/// Gives a payment to a client.
///
/// # Errors
/// When there is no such client, or no such payment that belongs to nobody.
pub async fn assign(pool: &PgPool, subscription_id: &str, client_id: &str) -> anyhow::Result<()> {
    let assigned = operator::assign_payment(pool, subscription_id, client_id, clock::now()).await?;
    telemetry::raised(&assigned.raised);
    telemetry::cleared(&assigned.cleared);
    Ok(writeln!(std::io::stdout(), "{subscription_id} belongs to client {client_id}")?)
}
