//! The state that the handlers share.

use jobrun_shared::db::inbox::Received;
use jobrun_shared::metrics::{self, WebhookOutcome};
use jobrun_shared::{config, db};
use sqlx::PgPool;

use crate::group_commit::{RECORD_TIMEOUT, Recorder};
use crate::rejection::Rejection;

/// The state that the handlers share.
#[derive(Clone, Debug)]
pub struct AppState {
    /// Connections to the database.
    pub pool: PgPool,
    /// Records events.
    pub recorder: Recorder,
    /// The account whose signature is required on Twilio's webhooks.
    pub twilio: config::Twilio,
    /// The account whose signature is required on Stripe's webhooks.
    pub stripe: config::Stripe,
}

impl AppState {
    /// Fails if webhooks cannot be recorded now, as far as the last commit shows, or the database is not migrated. The error is the
    /// reason.
    pub async fn ensure_ready(&self) -> Result<(), String> {
        if let Some(failure) = self.recorder.failure() {
            return Err(format!("the last webhook could not be recorded: {failure}"));
        }
        match tokio::time::timeout(RECORD_TIMEOUT, db::ensure_migrated(&self.pool)).await {
            Ok(migrated) => migrated.map_err(|error| error.to_string()),
            Err(_) => Err("the database did not answer in time".to_owned()),
        }
    }

    /// Records an event of `bytes` bytes. Once this returns `Ok`, the event cannot be lost.
    ///
    /// # Errors
    /// [`Rejection::NotRecorded`].
    pub(crate) async fn record(&self, received: Received, bytes: usize) -> Result<(), Rejection> {
        let (kind, source) = (received.event.payload.kind(), received.event.source.name());
        let external_id = received.event.external_id.clone();
        let recorded = self.recorder.record(received, bytes).await;
        let is_new = recorded.map_err(|why| Rejection::NotRecorded { event: format!("{kind} {external_id}"), why })?;
        metrics::webhook(source, kind, if is_new { WebhookOutcome::Accepted } else { WebhookOutcome::Duplicate });
        Ok(())
    }
}
