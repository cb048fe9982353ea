//! The current time. Only the outer functions of the programs read it: the others take it as an argument.

use chrono::{DateTime, DurationRound, TimeDelta, Utc};

/// Returns the current time in whole microseconds, the precision of PostgreSQL.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is where the time comes from")]
pub fn now() -> DateTime<Utc> {
    let now = Utc::now();
    now.duration_trunc(TimeDelta::microseconds(1)).unwrap_or(now)
}
