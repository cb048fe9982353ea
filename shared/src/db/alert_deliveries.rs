//! Alerts and all-clears that are to be delivered to where the operator looks.
//!
//! Each is claimed by one worker, posted with no transaction open, and recorded. A worker that dies in between leaves it to be
//! posted again: the receiver can tell a repeat by its id.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;

use super::{Error, ensure_rows};

/// An attempt that is not recorded after this long was cut off.
const CLAIM_LASTS: TimeDelta = TimeDelta::seconds(30);

/// An alert to be delivered; an all-clear, if it has been cleared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// `alerts.id`.
    pub id: i64,
    /// The cause of the alert.
    pub cause: String,
    /// The problem and the remedy.
    pub about: String,
    /// When it was raised.
    pub raised_at: DateTime<Utc>,
    /// When it was cleared, if it was.
    pub cleared_at: Option<DateTime<Utc>>,
    /// The number of this attempt, from 1.
    pub attempt: i32,
}

/// Claims notices that are due, oldest first, at most `limit`.
pub async fn claim(pool: &PgPool, limit: i64, now: DateTime<Utc>) -> Result<Vec<Notice>, Error> {
    let claimed = sqlx::query_as!(
        Notice,
        r#"UPDATE alerts SET delivery_due_at = $2, delivery_attempts = delivery_attempts + 1
           WHERE id IN (SELECT id FROM alerts
                        WHERE CASE WHEN cleared_at IS NULL THEN raise_delivered_at IS NULL
                                   ELSE raise_delivered_at IS NOT NULL AND clear_delivered_at IS NULL END
                          AND (delivery_due_at IS NULL OR delivery_due_at <= $1)
                        ORDER BY id LIMIT $3 FOR UPDATE SKIP LOCKED)
           RETURNING id, cause, about, raised_at, cleared_at, delivery_attempts AS attempt"#,
        now,
        now + CLAIM_LASTS,
        limit
    );
    let mut claimed = claimed.fetch_all(pool).await?;
    claimed.sort_unstable_by_key(|notice| notice.id);
    Ok(claimed)
}

/// Records that a notice was delivered. The all-clear of the same alert begins with a first attempt.
pub async fn record_delivered(pool: &PgPool, notice: &Notice, now: DateTime<Utc>) -> Result<(), Error> {
    let result = sqlx::query!(
        "UPDATE alerts SET raise_delivered_at = COALESCE(raise_delivered_at, $2),
                           clear_delivered_at = CASE WHEN $3 THEN $2 END,
                           delivery_due_at = NULL, delivery_attempts = 0
         WHERE id = $1",
        notice.id,
        now,
        notice.cleared_at.is_some()
    );
    ensure_rows(&result.execute(pool).await?, 1, "recording that an alert was delivered")
}

/// Records that a notice was not delivered: it is tried again at `retry_at`.
pub async fn record_failed(pool: &PgPool, notice: &Notice, retry_at: DateTime<Utc>) -> Result<(), Error> {
    let result = sqlx::query!("UPDATE alerts SET delivery_due_at = $2 WHERE id = $1", notice.id, retry_at);
    ensure_rows(&result.execute(pool).await?, 1, "recording that an alert was not delivered")
}
