//! The settings of the delivery of alerts.

use secrecy::SecretString;

use super::reader::Reader;

/// Where alerts are delivered.
#[derive(Clone, Debug)]
pub struct AlertWebhook {
    /// `ALERT_WEBHOOK_URL`. Some receivers take its path for a secret.
    pub url: SecretString,
    /// `ALERT_WEBHOOK_FORMAT`.
    pub format: AlertFormat,
    /// `ALERT_WEBHOOK_SECRET`, which signs each request, if it is set.
    pub secret: Option<SecretString>,
}

/// The form in which alerts are delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlertFormat {
    /// Our own JSON.
    Json,
    /// A message of Slack's incoming webhooks.
    Slack,
    /// A post to Alertmanager's `/api/v2/alerts`.
    Alertmanager,
}

impl Reader<'_> {
    /// Reads where alerts are delivered, if that is set.
    pub(super) fn alert_webhook(&mut self) -> Option<AlertWebhook> {
        let format = match self.get("ALERT_WEBHOOK_FORMAT").unwrap_or_default().as_str() {
            "json" => Some(AlertFormat::Json),
            "slack" => Some(AlertFormat::Slack),
            "alertmanager" => Some(AlertFormat::Alertmanager),
            _ => {
                self.add_invalid("ALERT_WEBHOOK_FORMAT", "not json, slack or alertmanager");
                None
            }
        };
        let secret = self.get("ALERT_WEBHOOK_SECRET").map(SecretString::from);
        let url = self.get("ALERT_WEBHOOK_URL")?;
        if !["https://", "http://"].iter().any(|scheme| url.starts_with(scheme)) || url.contains(char::is_whitespace) {
            self.add_problem("ALERT_WEBHOOK_URL is not an address that begins with https:// or http://");
        }
        Some(AlertWebhook { url: url.into(), format: format?, secret })
    }
}
