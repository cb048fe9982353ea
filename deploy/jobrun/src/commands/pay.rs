//! `jobrun pay`.

use std::io::Write;

use anyhow::Context;
use jobrun_shared::config;
use serde_json::json;

use crate::commands::stand_in::At;
use crate::table;

/// Pays with a reference, by card or by a debit that takes days, and prints the subscription.
///
/// # Errors
/// When no stand-in answers, or the webhook is refused.
pub async fn run(
    settings: &config::Operator,
    at: At,
    reference: &str,
    by_debit: bool,
    as_json: bool,
) -> anyhow::Result<()> {
    let by = if by_debit { "debit" } else { "card" };
    let words = at.post(settings, "/pay", &[("client_reference_id", reference), ("by", by)]).await?;
    let mut out = table::stdout();
    if as_json {
        let subscription = words.rsplit(' ').next().context("the stand-in names no subscription")?;
        writeln!(out, "{}", json!({"subscription": subscription, "reference": reference, "by": by}))?;
    } else {
        writeln!(out, "{words}")?;
    }
    Ok(())
}
