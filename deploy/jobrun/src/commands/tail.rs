//! `jobrun tail`.

use std::io::Write;

use anyhow::Context;
use jobrun_shared::config;

use crate::commands::stand_in::At;
use crate::table;

/// Prints the texts in both directions, or those of one phone, and then each new one, until the stand-in ends.
///
/// # Errors
/// When no stand-in answers, or the output fails.
pub async fn run(
    settings: &config::Operator,
    at: At,
    phone: Option<&str>,
    only_new: bool,
    as_json: bool,
) -> anyhow::Result<()> {
    let mut query: Vec<(&str, &str)> = phone.map(|phone| ("phone", phone)).into_iter().collect();
    if only_new {
        query.push(("new", "yes"));
    }
    let accepts = if as_json { "application/x-ndjson" } else { "text/plain" };
    let mut texts = at.get(settings, "/tail", &query, accepts).await?;
    let mut out = table::stdout();
    while let Some(chunk) = texts.chunk().await.context("the stand-in has ended")? {
        out.write_all(&chunk)?;
        out.flush()?;
    }
    Ok(())
}
