//! When a sweep last did all its work, and when the next success is late: one row.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{PgConnection, PgPool};

use super::{Error, ensure_rows};

/// How many sweeps in a row may be missing before they are late, and how long one may take.
const MISSED_MAX: i32 = 3;
const TAKES_AT_MOST: TimeDelta = TimeDelta::seconds(60);

/// Records that a sweep has done all its work. The next ones follow every `interval`.
pub async fn record_success(pool: &PgPool, interval: Duration, now: DateTime<Utc>) -> Result<(), Error> {
    let interval = TimeDelta::from_std(interval).unwrap_or(TimeDelta::days(1));
    let late_after = now + interval * MISSED_MAX + TAKES_AT_MOST;
    let result = sqlx::query!("UPDATE sweeps SET last_success_at = $1, late_after = $2", now, late_after);
    ensure_rows(&result.execute(pool).await?, 1, "recording a sweep")
}

/// The state of the sweeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sweeps {
    /// When a sweep last did all its work.
    pub last_success_at: Option<DateTime<Utc>>,
    /// The sweeps are late if none succeeds by then.
    pub late_after: DateTime<Utc>,
}

/// Returns the state of the sweeps.
pub async fn find(conn: &mut PgConnection) -> Result<Sweeps, Error> {
    Ok(sqlx::query_as!(Sweeps, "SELECT last_success_at, late_after FROM sweeps").fetch_one(conn).await?)
}
