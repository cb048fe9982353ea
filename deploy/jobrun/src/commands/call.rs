//! `jobrun call`.

use jobrun_shared::config;

use crate::commands::stand_in::At;

/// Places a call that arrives, is answered, and ends, and prints the answers of its webhooks.
///
/// # Errors
/// When no stand-in answers, or a webhook is refused.
pub async fn run(settings: &config::Operator, at: At, from: &str, to: &str) -> anyhow::Result<()> {
    at.post_and_print(settings, "/calls", &[("from", from), ("to", to)]).await
}
