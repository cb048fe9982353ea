//! How far Twilio's list of received texts has been compared with the inbox.

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

/// Records that all texts received before `until` are in the inbox.
pub async fn save(conn: &mut PgConnection, until: DateTime<Utc>) -> Result<(), Error> {
    let result =
        sqlx::query!("UPDATE audits SET audited_until = GREATEST(audited_until, $1)", until).execute(conn).await?;
    ensure_rows(&result, 1, "recording an audit")
}
