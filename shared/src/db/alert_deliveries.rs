//! Alerts and all-clears that are to be delivered to where the operator looks.
//!
//! A delivery is claimed by one worker, posted with no transaction open, and recorded. A worker that dies in between leaves it to
//! be posted again: the receiver can tell a repeat by its id. This module locks no row of `alerts`.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;

use super::Error;

/// An attempt that is not recorded after this long was cut off. Longer than a post may take.
const CLAIM_LASTS: TimeDelta = TimeDelta::seconds(30);

/// An alert to be delivered; an all-clear, if it has been cleared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// `alerts.id`.
    pub alert_id: i64,
    /// The cause of the alert.
    pub cause: String,
    /// The problem and the remedy.
    pub about: String,
    /// When it was raised.
    pub raised_at: DateTime<Utc>,
    /// When it was cleared, if it was.
    pub cleared_at: Option<DateTime<Utc>>,
    /// The number of this attempt. The result of an earlier one is no longer recorded.
    pub attempt: i32,
    /// Attempts in vain before this one.
    pub failures: i32,
}

/// Begins the delivery of every open alert, and ends that of alerts that were cleared before the first attempt.
pub async fn begin(pool: &PgPool, now: DateTime<Utc>) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO alert_deliveries (alert_id, cause, due_at)
         SELECT id, cause, $1 FROM alerts WHERE cleared_at IS NULL
         ON CONFLICT ON CONSTRAINT an_alert_has_one_delivery DO NOTHING",
        now
    )
    .execute(pool)
    .await?;
    sqlx::query!(
        "DELETE FROM alert_deliveries AS d
         WHERE NOT d.was_posted AND NOT EXISTS (SELECT FROM alerts WHERE id = d.alert_id AND cleared_at IS NULL)"
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Claims the first notice that is due, if there is one. An open alert that was delivered before `repeat_before` is due again.
pub async fn claim(
    pool: &PgPool,
    repeat_before: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Result<Option<Notice>, Error> {
    let claimed = sqlx::query_file_as!(
        Notice,
        "src/db/claim_alert_delivery.sql",
        now,
        now + CLAIM_LASTS,
        repeat_before.unwrap_or(DateTime::UNIX_EPOCH)
    );
    Ok(claimed.fetch_optional(pool).await?)
}

/// Records that a notice was delivered, unless its attempt was given up meanwhile. After its all-clear, an alert has no delivery.
pub async fn record_delivered(pool: &PgPool, notice: &Notice, now: DateTime<Utc>) -> Result<(), Error> {
    let (id, attempt) = (notice.alert_id, notice.attempt);
    if notice.cleared_at.is_some() {
        let delivered = sqlx::query!("DELETE FROM alert_deliveries WHERE alert_id = $1 AND attempt = $2", id, attempt);
        delivered.execute(pool).await?;
    } else {
        let delivered = sqlx::query!(
            "UPDATE alert_deliveries SET raise_delivered_at = $3, due_at = $3, failures = 0
             WHERE alert_id = $1 AND attempt = $2",
            id,
            attempt,
            now
        );
        delivered.execute(pool).await?;
    }
    Ok(())
}

/// Records that a notice was not delivered, unless its attempt was given up meanwhile: it is tried again at `retry_at`.
pub async fn record_failed(pool: &PgPool, notice: &Notice, retry_at: DateTime<Utc>) -> Result<(), Error> {
    let failed = sqlx::query!(
        "UPDATE alert_deliveries SET due_at = $3, failures = failures + 1 WHERE alert_id = $1 AND attempt = $2",
        notice.alert_id,
        notice.attempt,
        retry_at
    );
    failed.execute(pool).await?;
    Ok(())
}
