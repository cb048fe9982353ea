//! How far Twilio's lists of received texts and of recordings have been compared with the inbox.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{PgConnection, PgPool};

use super::{Error, ensure_rows, stripe_audits};
use crate::queue::{self, Queue};

/// Claims the comparison if it is due, and schedules the next one after `every`, so that no two workers compare at the
/// same time. Returns the time up to which all texts are known to be in the inbox. An unfinished comparison is repeated
/// at the next time.
pub async fn claim(pool: &PgPool, every: Duration, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, Error> {
    let next = now + TimeDelta::from_std(every).unwrap_or(TimeDelta::hours(1));
    let until =
        sqlx::query_scalar!("UPDATE audits SET due_at = $2 WHERE due_at <= $1 RETURNING audited_until", now, next);
    Ok(until.fetch_optional(pool).await?)
}

/// Returns whether the comparison is due.
pub async fn is_due(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<bool, Error> {
    let due = sqlx::query_scalar!(r#"SELECT EXISTS (SELECT FROM audits WHERE due_at <= $1) AS "due!""#, now);
    Ok(due.fetch_one(conn).await?)
}

/// Makes a claimed comparison due at `now`: the worker that claimed it stops.
pub async fn release(pool: &PgPool, now: DateTime<Utc>) -> Result<(), Error> {
    let result = sqlx::query!("UPDATE audits SET due_at = LEAST(due_at, $1)", now).execute(pool).await?;
    ensure_rows(&result, 1, "releasing an audit")
}

/// Makes the comparisons with Twilio's and Stripe's lists due now, because texts and events may have been missed, and
/// enqueues their jobs.
pub async fn hurry(pool: &PgPool, now: DateTime<Utc>) -> Result<(), Error> {
    let mut tx = pool.begin().await?;
    let result = sqlx::query!("UPDATE audits SET due_at = LEAST(due_at, $1)", now).execute(&mut *tx).await?;
    ensure_rows(&result, 1, "hurrying an audit")?;
    stripe_audits::hurry(&mut tx, now).await?;
    queue::enqueue(&mut tx, Queue::Reconcile).await?;
    queue::enqueue(&mut tx, Queue::ReconcileStripe).await?;
    Ok(tx.commit().await?)
}

/// Returns the time up to which Twilio's list of recordings has been compared with ours, if it has been at all.
pub async fn find_recordings_until(pool: &PgPool) -> Result<Option<DateTime<Utc>>, Error> {
    Ok(sqlx::query_scalar!("SELECT recordings_until FROM audits").fetch_one(pool).await?)
}

/// Records that all recordings made before `until` are known. Another worker may have come further.
pub async fn save_recordings_until(pool: &PgPool, until: DateTime<Utc>) -> Result<(), Error> {
    let saved = sqlx::query!("UPDATE audits SET recordings_until = GREATEST(recordings_until, $1)", until);
    ensure_rows(&saved.execute(pool).await?, 1, "recording how far recordings were compared")
}

/// Records that all texts received before `until` are in the inbox.
pub async fn save(conn: &mut PgConnection, until: DateTime<Utc>) -> Result<(), Error> {
    let result =
        sqlx::query!("UPDATE audits SET audited_until = GREATEST(audited_until, $1)", until).execute(conn).await?;
    ensure_rows(&result, 1, "recording an audit")
}
