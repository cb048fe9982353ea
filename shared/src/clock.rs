//! The current time, for the edges of the programs: everything further in takes it as an argument.

use chrono::{DateTime, DurationRound, TimeDelta, Utc};

/// The current time in whole microseconds, which is what PostgreSQL keeps.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is where the time comes from")]
pub fn now() -> DateTime<Utc> {
    let now = Utc::now();
    now.duration_trunc(TimeDelta::microseconds(1)).unwrap_or(now)
}
