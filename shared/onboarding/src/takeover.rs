//! Takeovers: an operator speaks with a client in the place of the conversation.
//!
//! Until the client is handed back, it gets no automatic text but the news of missed calls, which it pays for. Its texts are
//! recorded and move nothing. Calls, payments and opt-outs count as ever.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

/// The takeover of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Takeover {
    /// The operator who took over.
    pub by: String,
    /// When either side last said something.
    pub last_at: DateTime<Utc>,
    /// The minutes of silence that end it. `None` if it lasts until the operator hands the client back.
    pub silence_minutes: Option<u32>,
}

impl Takeover {
    /// Returns when silence ends it, if it does.
    #[must_use]
    pub fn ends_at(&self) -> Option<DateTime<Utc>> {
        self.silence_minutes.map(|minutes| self.last_at + TimeDelta::minutes(minutes.into()))
    }

    /// Returns whether it is still in force.
    #[must_use]
    pub fn is_on(&self, now: DateTime<Utc>) -> bool {
        self.ends_at().is_none_or(|at| now < at)
    }
}
