//! The state that the handlers share.

use jobrun_shared::db::inbox::Received;
use jobrun_shared::metrics::{self, WebhookOutcome};
use jobrun_shared::traces::{Span, SpanName};
use jobrun_shared::{config, db};
use sqlx::PgPool;
use tokio::time::Instant;

use crate::group_commit::{RECORD_TIMEOUT, Recorder};
use crate::recordings::Recordings;
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
    /// Whether callers of live numbers are asked to leave a message.
    pub voicemail: bool,
    /// The messages that callers left.
    pub recordings: Recordings,
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

    /// Records an event of `bytes` bytes, whose webhook arrived at `arrived_at`. Once this returns `Ok`, the event cannot be lost.
    /// Its trace begins with the webhook.
    ///
    /// # Errors
    /// [`Rejection::NotRecorded`].
    pub(crate) async fn record(
        &self,
        mut received: Received,
        arrived_at: Instant,
        bytes: usize,
    ) -> Result<(), Rejection> {
        let (kind, source) = (received.event.payload.kind(), received.event.source.name());
        let external_id = received.event.external_id.clone();
        let webhook = Span::of_webhook(source, kind, arrived_at.elapsed());
        let record = Span::child_of(SpanName::Record, webhook.as_ref().map(Span::traceparent));
        received.event.traceparent = record.as_ref().map(Span::traceparent);
        let recorded = self.recorder.record(received, bytes).await;
        let is_new = recorded.map_err(|why| Rejection::NotRecorded { event: format!("{kind} {external_id}"), why })?;
        let outcome = if is_new { WebhookOutcome::Accepted } else { WebhookOutcome::Duplicate };
        metrics::webhook(source, kind, outcome);
        for span in [record, webhook].into_iter().flatten() {
            span.with("outcome", outcome.name()).succeed();
        }
        Ok(())
    }
}
