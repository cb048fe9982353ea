//! What an operator has to know of: one alert for each cause, until it is cleared.
//!
//! An alert is a row, and a line in the log when it is raised and when it is cleared, after the commit. That the same thing
//! goes wrong again raises nothing new.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgConnection, PgExecutor, PgPool};

use super::Error;

/// Something that an operator has to know of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NewAlert {
    /// The same cause is the same alert.
    pub cause: String,
    /// What is wrong and what to do, in a sentence, without phone numbers.
    pub about: String,
}

/// An open alert, as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    /// `alerts.id`; empty for one that is worked out when it is read, and stands in no table.
    pub id: Option<i64>,
    /// Its cause.
    pub cause: String,
    /// What is wrong and what to do.
    pub about: String,
    /// When it was raised.
    pub raised_at: DateTime<Utc>,
    /// When its cause last showed.
    pub last_seen_at: DateTime<Utc>,
    /// How often its cause has shown.
    pub times: i64,
}

/// Raises alerts, each once as long as it is not cleared. Answers those that are new, for [`crate::telemetry::raised`] to be
/// told after the commit.
///
/// # Errors
/// When the database does not answer.
pub async fn raise(conn: &mut PgConnection, alerts: &[NewAlert], now: DateTime<Utc>) -> Result<Vec<NewAlert>, Error> {
    // Sorted, so that two transactions never wait for each other.
    let mut alerts: Vec<&NewAlert> = alerts.iter().collect();
    alerts.sort_unstable();
    alerts.dedup_by(|one, other| one.cause == other.cause);
    let mut new = Vec::new();
    for alert in alerts {
        let raised = sqlx::query_scalar!(
            r#"INSERT INTO alerts (cause, about, raised_at, last_seen_at) VALUES ($1, $2, $3, $3)
               ON CONFLICT (cause) WHERE cleared_at IS NULL
               DO UPDATE SET times = alerts.times + 1, last_seen_at = EXCLUDED.last_seen_at
               RETURNING times = 1 AS "new!""#,
            alert.cause,
            alert.about,
            now
        );
        if raised.fetch_one(&mut *conn).await? {
            new.push(alert.clone());
        }
    }
    Ok(new)
}

/// Raises an alert about something that lasts, once as long as it is not cleared: that it still lasts is nothing new, and only
/// its words are brought up to date. Answers whether it is new, for [`crate::telemetry::raised`] to be told after the commit.
///
/// # Errors
/// When the database does not answer.
pub async fn raise_lasting(conn: &mut PgConnection, alert: &NewAlert, now: DateTime<Utc>) -> Result<bool, Error> {
    // A row that was there has been locked by the update, which PostgreSQL keeps in `xmax`.
    let raised = sqlx::query_scalar!(
        r#"INSERT INTO alerts (cause, about, raised_at, last_seen_at) VALUES ($1, $2, $3, $3)
           ON CONFLICT (cause) WHERE cleared_at IS NULL
           DO UPDATE SET about = EXCLUDED.about, last_seen_at = EXCLUDED.last_seen_at
           RETURNING xmax = 0 AS "new!""#,
        alert.cause,
        alert.about,
        now
    );
    Ok(raised.fetch_one(conn).await?)
}

/// The causes of open alerts that begin with `beginning`.
///
/// # Errors
/// When the database does not answer.
pub async fn list_open_causes_of(conn: &mut PgConnection, beginning: &str) -> Result<Vec<String>, Error> {
    let open =
        sqlx::query_scalar!("SELECT cause FROM alerts WHERE cleared_at IS NULL AND starts_with(cause, $1)", beginning);
    Ok(open.fetch_all(conn).await?)
}

/// Which of these causes have an open alert.
///
/// # Errors
/// When the database does not answer.
pub async fn list_open_causes(conn: &mut PgConnection, causes: &[String]) -> Result<Vec<String>, Error> {
    let open = sqlx::query_scalar!("SELECT cause FROM alerts WHERE cleared_at IS NULL AND cause = ANY($1)", causes);
    Ok(open.fetch_all(conn).await?)
}

/// Clears the open alerts of these causes. One that somebody is just raising again is not over, and stays. Answers those that
/// were open, for [`crate::telemetry::cleared`] to be told after the commit.
///
/// # Errors
/// When the database does not answer.
pub async fn clear(conn: &mut PgConnection, causes: &[String], now: DateTime<Utc>) -> Result<Vec<String>, Error> {
    if causes.is_empty() {
        return Ok(Vec::new());
    }
    let cleared = sqlx::query_scalar!(
        "UPDATE alerts SET cleared_at = $2
         WHERE id IN (SELECT id FROM alerts WHERE cleared_at IS NULL AND cause = ANY($1) FOR UPDATE SKIP LOCKED)
         RETURNING cause",
        causes,
        now
    );
    Ok(cleared.fetch_all(conn).await?)
}

/// Clears the open alert `id`. Answers its cause, if there is such an alert.
///
/// # Errors
/// When the database does not answer.
pub async fn clear_by_id(pool: &PgPool, id: i64, now: DateTime<Utc>) -> Result<Option<String>, Error> {
    let cleared = sqlx::query_scalar!(
        "UPDATE alerts SET cleared_at = $2 WHERE cleared_at IS NULL AND id = $1 RETURNING cause",
        id,
        now
    );
    Ok(cleared.fetch_optional(pool).await?)
}

/// Clears the open alerts whose causes begin with one of `beginnings`, and that have not shown since `quiet_since`, as in
/// [`clear`].
///
/// # Errors
/// When the database does not answer.
pub async fn clear_quiet(
    conn: &mut PgConnection,
    beginnings: &[&str],
    quiet_since: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<Vec<String>, Error> {
    let cleared = sqlx::query_scalar!(
        "UPDATE alerts SET cleared_at = $3
         WHERE id IN (SELECT id FROM alerts
                      WHERE cleared_at IS NULL AND last_seen_at <= $2
                        AND EXISTS (SELECT FROM unnest($1::TEXT[]) AS b (beginning) WHERE starts_with(cause, beginning))
                      FOR UPDATE SKIP LOCKED)
         RETURNING cause",
        beginnings as &[&str],
        quiet_since,
        now
    );
    Ok(cleared.fetch_all(conn).await?)
}

/// Every open alert, oldest first.
///
/// # Errors
/// When the database does not answer.
pub async fn list_open(conn: impl PgExecutor<'_>) -> Result<Vec<Alert>, Error> {
    let open = sqlx::query_as!(
        Alert,
        r#"SELECT id AS "id?", cause, about, raised_at, last_seen_at, times FROM alerts
           WHERE cleared_at IS NULL ORDER BY alerts.id"#
    );
    Ok(open.fetch_all(conn).await?)
}
