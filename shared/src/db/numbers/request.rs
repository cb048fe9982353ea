//! The request of a client for a number.

use chrono::{DateTime, Utc};
use jobrun_onboarding::E164;

/// A client that asks for a number. The caller must have locked its row.
#[derive(Clone, Debug)]
pub struct NumberRequest {
    /// `clients.id`.
    pub client_id: String,
    /// `clients.region`.
    pub region: String,
    /// The number that the client holds already.
    pub number: Option<E164>,
    /// When the client asked: its place on the waiting list, if it has to wait.
    pub since: DateTime<Utc>,
}
