//! Alerts for the operator: one for each cause, until it is cleared.
//!
//! An alert is a row, and a log line after the commit when it is raised and when it is cleared. A cause that shows
//! again raises nothing new.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::json;
use sqlx::{PgConnection, PgExecutor};

use super::Error;
use super::audit_log::{self, Action, Actor};

/// An alert to be raised.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NewAlert {
    /// The cause. The same cause is the same alert.
    pub cause: String,
    /// The problem and the remedy, in a sentence, without phone numbers.
    pub about: String,
}

/// An open alert, as the operator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    /// `alerts.id`; empty for an alert that is computed when it is read, and has no row.
    pub id: Option<i64>,
    /// Its cause.
    pub cause: String,
    /// The problem and the remedy.
    pub about: String,
    /// When it was raised.
    pub raised_at: DateTime<Utc>,
    /// When its cause last showed.
    pub last_seen_at: DateTime<Utc>,
    /// How often its cause has shown.
    pub times: i64,
}

/// Raises alerts, each once until it is cleared. Returns the new ones, for [`crate::telemetry::raised`] after the
/// commit.
pub async fn raise(conn: &mut PgConnection, alerts: &[NewAlert], now: DateTime<Utc>) -> Result<Vec<NewAlert>, Error> {
    // Sorted, so that two transactions cannot deadlock.
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

/// Raises an alert about a lasting condition, once until it is cleared. While the condition lasts, only the alert's
/// words and time are updated. Returns whether it is new, for [`crate::telemetry::raised`] after the commit.
pub async fn raise_lasting(conn: &mut PgConnection, alert: &NewAlert, now: DateTime<Utc>) -> Result<bool, Error> {
    // The update locks an existing row, which PostgreSQL records in `xmax`.
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

/// Returns the causes of open alerts that begin with `beginning`.
pub async fn list_open_causes_of(conn: &mut PgConnection, beginning: &str) -> Result<Vec<String>, Error> {
    let open =
        sqlx::query_scalar!("SELECT cause FROM alerts WHERE cleared_at IS NULL AND starts_with(cause, $1)", beginning);
    Ok(open.fetch_all(conn).await?)
}

/// Returns those of `subjects` about which an alert is open: the last part of its cause, such as a client's id.
pub async fn list_open_subjects(conn: &mut PgConnection, subjects: &[&str]) -> Result<HashSet<String>, Error> {
    let open = sqlx::query_scalar!(
        r#"SELECT split_part(cause, ':', -1) AS "subject!" FROM alerts
           WHERE cleared_at IS NULL AND split_part(cause, ':', -1) = ANY($1)"#,
        subjects as &[&str]
    );
    Ok(open.fetch_all(conn).await?.into_iter().collect())
}

/// Returns which of these causes have an open alert.
pub async fn list_open_causes(conn: &mut PgConnection, causes: &[String]) -> Result<Vec<String>, Error> {
    let open = sqlx::query_scalar!("SELECT cause FROM alerts WHERE cleared_at IS NULL AND cause = ANY($1)", causes);
    Ok(open.fetch_all(conn).await?)
}

/// Clears the open alerts of these causes. An alert that another session is raising again stays open. Returns the
/// causes that were open, for [`crate::telemetry::cleared`] after the commit.
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

/// Locks the open alert of a cause until the transaction ends, if there is one.
pub async fn lock_open(conn: &mut PgConnection, cause: &str) -> Result<(), Error> {
    let open = sqlx::query_scalar!("SELECT id FROM alerts WHERE cleared_at IS NULL AND cause = $1 FOR UPDATE", cause);
    open.fetch_optional(conn).await?;
    Ok(())
}

/// Clears the open alert `id`, and records in the audit log that the operator `by` did. Returns its cause, if there is such an
/// alert.
pub async fn clear_by_id(
    conn: &mut PgConnection,
    id: i64,
    by: &Actor,
    now: DateTime<Utc>,
) -> Result<Option<String>, Error> {
    let cleared = sqlx::query_scalar!(
        "UPDATE alerts SET cleared_at = $2 WHERE cleared_at IS NULL AND id = $1 RETURNING cause",
        id,
        now
    );
    let cleared = cleared.fetch_optional(&mut *conn).await?;
    if let Some(cause) = &cleared {
        let action = Action { name: "alert.cleared", subject: Some(cause), details: json!({ "alert": id }) };
        audit_log::record(conn, by, &action, now).await?;
    }
    Ok(cleared)
}

/// Clears the open alerts whose causes begin with one of `beginnings` and have not shown since `quiet_since`, as
/// [`clear`] does.
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

/// Returns every open alert, oldest first.
pub async fn list_open(conn: impl PgExecutor<'_>) -> Result<Vec<Alert>, Error> {
    let open = sqlx::query_as!(
        Alert,
        r#"SELECT id AS "id?", cause, about, raised_at, last_seen_at, times FROM alerts
           WHERE cleared_at IS NULL ORDER BY alerts.id"#
    );
    Ok(open.fetch_all(conn).await?)
}

/// An alert that was cleared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClearedAlert {
    /// `alerts.id`.
    pub id: i64,
    /// Its cause.
    pub cause: String,
    /// The problem and the remedy.
    pub about: String,
    /// When it was raised.
    pub raised_at: DateTime<Utc>,
    /// When it was cleared.
    pub cleared_at: DateTime<Utc>,
    /// How often its cause had shown.
    pub times: i64,
}

/// Returns the newest `limit` alerts before `before` that were cleared.
pub async fn list_cleared(conn: &mut PgConnection, before: i64, limit: i64) -> Result<Vec<ClearedAlert>, Error> {
    let cleared = sqlx::query_as!(
        ClearedAlert,
        r#"SELECT id, cause, about, raised_at, cleared_at AS "cleared_at!", times FROM alerts
           WHERE cleared_at IS NOT NULL AND id < $1 ORDER BY id DESC LIMIT $2"#,
        before,
        limit
    );
    Ok(cleared.fetch_all(conn).await?)
}
