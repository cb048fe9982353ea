//! What every job needs at hand.

use std::time::Duration;

use jobrun_onboarding::E164;
use jobrun_shared::twilio::api::Api;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

/// What every job needs at hand.
#[derive(Clone, Debug)]
pub(crate) struct Hands {
    /// The rows.
    pub(crate) pool: PgPool,
    /// The account at Twilio.
    pub(crate) twilio: Api,
    /// The number that clients text, and that texts come from.
    pub(crate) onboarding_number: E164,
    /// Where clients pay.
    pub(crate) payment_link: String,
    /// How long a number is kept free for a waiting client.
    pub(crate) hold: Duration,
    /// Set when the process is to end: jobs finish the slice in hand, and begin no other.
    pub(crate) stop: CancellationToken,
}
