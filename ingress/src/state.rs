//! The state that the handlers share.

use jobrun_shared::config;
use jobrun_shared::db::inbox::Received;
use sqlx::PgPool;

use crate::group_commit::Recorder;
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
    /// Records an event of `bytes` bytes. Once this returns `Ok`, the event cannot be lost.
    ///
    /// # Errors
    /// [`Rejection::NotRecorded`].
    pub(crate) async fn record(&self, received: Received, bytes: usize) -> Result<(), Rejection> {
        let (kind, external_id) = (received.event.payload.kind(), received.event.external_id.clone());
        let recorded = self.recorder.record(received, bytes).await;
        recorded.map_err(|why| Rejection::NotRecorded { event: format!("{kind} {external_id}"), why })
    }
}
