//! A check of a client's forwarding that is due, as it waits among the client's events.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// A check that is due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "check", rename_all = "snake_case")]
pub enum ForwardingCheck {
    /// The time for a test call is over.
    TestOver {
        /// When the client asked for the test.
        asked_at: DateTime<Utc>,
        /// Whether a call has come since. It was not taken for the test if it was decided late, or by an earlier version.
        called: bool,
    },
    /// No call has come for long.
    NoCalls {
        /// When the last call came, or when the client went live.
        since: DateTime<Utc>,
        /// Whether it is the time of the last call. If not, a call may have come that is not known any more.
        #[serde(default)]
        is_of_call: bool,
        /// Until when it may be decided. Later the text could leave at night.
        until: DateTime<Utc>,
    },
}
