//! `jobrun text`.

use jobrun_shared::config;

use crate::commands::stand_in::At;

/// Sends a text from a phone, to the onboarding number unless `to` names another, and prints the answer of the webhook.
///
/// # Errors
/// When no stand-in answers, or the webhook is refused.
pub async fn run(settings: &config::Operator, at: At, from: &str, body: &str, to: Option<&str>) -> anyhow::Result<()> {
    let mut form = vec![("from", from), ("body", body)];
    form.extend(to.map(|to| ("to", to)));
    at.post_and_print(settings, "/texts", &form).await
}
