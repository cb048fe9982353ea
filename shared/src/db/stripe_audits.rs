//! How far Stripe's list of events has been compared with the inbox.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{PgConnection, PgPool};

use super::{Error, ensure_rows};

/// A comparison that a worker makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The time up to which all events are known to be in the inbox; `None` if no comparison has got anywhere yet.
    pub audited_until: Option<DateTime<Utc>>,
    /// Where the next step begins, if a step has recorded it.
    pub resume_at: Option<DateTime<Utc>>,
    /// When the database was marked as that of an installation: events that happened before concern another system.
    pub installed_at: DateTime<Utc>,
    /// When the next comparison is due: this worker has the step until then.
    pub due_at: DateTime<Utc>,
}

/// Claims the comparison if it is due and Stripe takes requests, and schedules the next one after `every`, so that no two workers compare at the
/// same time. An unfinished comparison is repeated at the next time, from where it got.
pub async fn claim(pool: &PgPool, every: Duration, now: DateTime<Utc>) -> Result<Option<Claimed>, Error> {
    let next = now + TimeDelta::from_std(every).unwrap_or(TimeDelta::hours(1));
    let claimed = sqlx::query_as!(
        Claimed,
        r#"UPDATE stripe_audits SET due_at = $2 WHERE GREATEST(due_at, quiet_until) <= $1
           RETURNING audited_until, resume_at, due_at,
                     COALESCE((SELECT marked_at FROM installation), $1) AS "installed_at!""#,
        now,
        next
    );
    Ok(claimed.fetch_optional(pool).await?)
}

/// Renews a claim that lasts until `due_at`, so that no other worker takes the step over. Returns until when it lasts now; nothing if
/// another worker has the step, or may take it because the comparison was hurried.
pub async fn renew(
    pool: &PgPool,
    due_at: DateTime<Utc>,
    every: Duration,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, Error> {
    let next = now + TimeDelta::from_std(every).unwrap_or(TimeDelta::hours(1));
    let renewed = sqlx::query_scalar!(
        "UPDATE stripe_audits SET due_at = GREATEST(due_at, $2) WHERE due_at = $1 RETURNING due_at",
        due_at,
        next
    );
    Ok(renewed.fetch_optional(pool).await?)
}

/// Returns whether the comparison is due, and Stripe takes requests.
pub async fn is_due(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<bool, Error> {
    let due = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM stripe_audits WHERE GREATEST(due_at, quiet_until) <= $1) AS "due!""#,
        now
    );
    Ok(due.fetch_one(conn).await?)
}

/// Makes the comparison due at `at`, if it is due later: events may have been missed. Its job is enqueued by
/// [`super::audits::hurry`] or by the sweep.
pub async fn hurry(conn: &mut PgConnection, at: DateTime<Utc>) -> Result<(), Error> {
    let result = sqlx::query!("UPDATE stripe_audits SET due_at = LEAST(due_at, $1)", at).execute(conn).await?;
    ensure_rows(&result, 1, "hurrying an audit of Stripe's events")
}

/// Records that all events that happened before `until` are in the inbox, and that the next step begins at `resume_at`.
pub async fn save(conn: &mut PgConnection, until: DateTime<Utc>, resume_at: DateTime<Utc>) -> Result<(), Error> {
    let saved = sqlx::query!(
        "UPDATE stripe_audits SET audited_until = GREATEST(audited_until, $1), resume_at = $2",
        until,
        resume_at
    );
    ensure_rows(&saved.execute(conn).await?, 1, "recording an audit of Stripe's events")
}

/// Records that Stripe wants no requests until `until`, of any kind.
pub async fn keep_quiet(conn: &mut PgConnection, until: DateTime<Utc>) -> Result<(), Error> {
    let result = sqlx::query!("UPDATE stripe_audits SET quiet_until = GREATEST(quiet_until, $1)", until);
    ensure_rows(&result.execute(conn).await?, 1, "keeping quiet towards Stripe")
}

/// Records that the list could be read.
pub async fn record_success(conn: &mut PgConnection) -> Result<(), Error> {
    let result = sqlx::query!("UPDATE stripe_audits SET failing_since = NULL").execute(conn).await?;
    ensure_rows(&result, 1, "recording that Stripe's list was read")
}

/// Records that the list cannot be read. Returns since when.
pub async fn record_failure(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<DateTime<Utc>, Error> {
    let since = sqlx::query_scalar!(
        r#"UPDATE stripe_audits SET failing_since = COALESCE(failing_since, $1) RETURNING failing_since AS "since!""#,
        now
    );
    Ok(since.fetch_one(conn).await?)
}
