//! `jobrun sweep`.

use std::io::Write;

use jobrun_shared::db::numbers::ownerless;
use jobrun_shared::numbers::offer;
use jobrun_shared::{clock, config};
use serde_json::json;

use crate::commands::connect_migrated;
use crate::table;

/// Takes back the numbers of deleted clients, and then offers free numbers to the waiting list.
///
/// # Errors
/// When the settings, the database or the output fail.
pub async fn run(settings: &config::Operator, json: bool) -> anyhow::Result<()> {
    let pool = connect_migrated(settings).await?;
    ownerless::repair(&pool, settings.cooling, clock::now()).await?;
    let (from, wordings) = (&settings.onboarding_number, &settings.wordings);
    let offered = offer::offer_free(&pool, from, wordings, settings.hold, clock::now()).await?;
    let mut out = table::stdout();
    if json {
        return Ok(writeln!(out, "{:#}", json!({ "texted": offered }))?);
    }
    if offered.is_empty() {
        writeln!(out, "no client was texted: none waits, no number is free, or an operator has stopped offers")?;
    }
    for client in offered {
        writeln!(out, "texted client {client}: a number is ready")?;
    }
    Ok(())
}
