//! A reminder that is due to a silent client, as it waits among the client's events.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// A reminder that is due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reminder {
    /// Since when the client is silent.
    pub since: DateTime<Utc>,
    /// Which reminder of this silence it is, from 1.
    pub nth: usize,
    /// Whether it is the last.
    pub is_last: bool,
    /// The stored name of the kind of our last text.
    pub last_said: Option<String>,
    /// Whether the client was asked to pay since the open question was asked.
    #[serde(default)]
    pub payment_asked: bool,
    /// Until when it may be decided. Later it could leave at night.
    pub until: DateTime<Utc>,
}
