//! How far Twilio's list of texts that came in has been compared with the inbox.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{PgConnection, PgPool};

use super::{Error, ensure_rows};
use crate::queue::{self, Queue};

/// Claims the comparison if it is due, and puts off the next, so that no two workers compare at the same time. Answers until
/// when everything is known to be in the inbox. One that is never finished is begun again at the next time.
///
/// # Errors
/// When the database does not answer.
pub async fn claim(pool: &PgPool, every: Duration, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, Error> {
    let next = now + TimeDelta::from_std(every).unwrap_or(TimeDelta::hours(1));
    let until =
        sqlx::query_scalar!("UPDATE audits SET due_at = $2 WHERE due_at <= $1 RETURNING audited_until", now, next);
    Ok(until.fetch_optional(pool).await?)
}

/// Whether the comparison is due.
///
/// # Errors
/// When the database does not answer.
pub async fn is_due(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<bool, Error> {
    let due = sqlx::query_scalar!(r#"SELECT EXISTS (SELECT FROM audits WHERE due_at <= $1) AS "due!""#, now);
    Ok(due.fetch_one(conn).await?)
}

/// Makes the comparison due at once, because texts may have been missed until now, and pushes the job that makes it.
///
/// # Errors
/// When the database does not answer.
pub async fn hurry(pool: &PgPool, now: DateTime<Utc>) -> Result<(), Error> {
    let mut tx = pool.begin().await?;
    let result = sqlx::query!("UPDATE audits SET due_at = LEAST(due_at, $1)", now).execute(&mut *tx).await?;
    ensure_rows(&result, 1, "hurrying an audit")?;
    queue::nudge(&mut tx, Queue::Reconcile).await?;
    Ok(tx.commit().await?)
}

/// Takes note that everything that came in before `until` is in the inbox.
///
/// # Errors
/// When the database does not answer.
pub async fn save(conn: &mut PgConnection, until: DateTime<Utc>) -> Result<(), Error> {
    let result =
        sqlx::query!("UPDATE audits SET audited_until = GREATEST(audited_until, $1)", until).execute(conn).await?;
    ensure_rows(&result, 1, "recording an audit")
}
