//! What the gauges over whole tables show. Every query reads an index of rows that wait, but [`count_clients`], which reads all.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::Error;
use super::inbox::KINDS_OF_NO_CONVERSATION;

/// The gauges that have no label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gauges {
    /// Events that wait, those that were deferred included.
    pub events_waiting: i64,
    /// Events that were deferred.
    pub events_deferred: i64,
    /// Since when the oldest event waits that is due.
    pub oldest_event: Option<DateTime<Utc>>,
    /// Whether sending is parked.
    pub sending_parked: bool,
    /// Whether an operator has stopped sending.
    pub sending_stopped: bool,
    /// Whether an operator has stopped conversations.
    pub conversations_stopped: bool,
    /// Since when the client waits that has waited longest without an offer.
    pub oldest_place: Option<DateTime<Utc>>,
    /// Subscriptions that are paid and belong to no client.
    pub payments_unassigned: i64,
    /// When a sweep last did all its work.
    pub last_sweep: Option<DateTime<Utc>>,
    /// Until when all received texts are known to be in the inbox.
    pub audited_until: DateTime<Utc>,
    /// Until when all events of Stripe's are known to be in the inbox, if that was ever found out.
    pub stripe_audited_until: Option<DateTime<Utc>>,
}

/// Returns the gauges that have no label.
pub async fn read(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<Gauges, Error> {
    Ok(sqlx::query_file_as!(Gauges, "src/db/read_gauges.sql", now, &KINDS_OF_NO_CONVERSATION as &[&str])
        .fetch_one(conn)
        .await?)
}

/// The texts of a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextsOf {
    /// `messages.status`.
    pub status: String,
    /// How many there are.
    pub count: i64,
    /// Since when the oldest waits that is due.
    pub oldest: Option<DateTime<Utc>>,
}

/// Returns the texts of each status that is not settled, if there are any.
pub async fn count_texts(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<Vec<TextsOf>, Error> {
    let texts = sqlx::query_as!(
        TextsOf,
        r#"SELECT status, count(*) AS "count!",
                  -- From when it could have left first: an attempt in vain does not make it younger.
                  -- What a stop has kept back waits from its end on.
                  min(GREATEST(since, started_at)) FILTER (
                      WHERE since <= $1 AND (status <> 'queued' OR stopped_at IS NULL)) AS oldest
           FROM messages LEFT JOIN stops ON what = 'sending' CROSS JOIN LATERAL (
               SELECT CASE WHEN retry_of IS NOT NULL AND attempts = 0 THEN next_attempt_at
                           ELSE GREATEST(created_at, deferred_until) END AS since) AS due
           WHERE status IN ('queued', 'sending', 'unknown') GROUP BY status"#,
        now
    );
    Ok(texts.fetch_all(conn).await?)
}

/// How many rows have a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountOf {
    /// The value.
    pub value: String,
    /// How many rows have it.
    pub count: i64,
}

/// Returns how many alerts of each kind are open, if any are.
pub async fn count_alerts(conn: &mut PgConnection) -> Result<Vec<CountOf>, Error> {
    let counts = sqlx::query_as!(
        CountOf,
        r#"SELECT split_part(cause, ':', 1) AS "value!", count(*) AS "count!" FROM alerts WHERE cleared_at IS NULL GROUP BY 1"#
    );
    Ok(counts.fetch_all(conn).await?)
}

/// Returns how many clients wait in each region.
pub async fn count_waiting(conn: &mut PgConnection) -> Result<Vec<CountOf>, Error> {
    let counts =
        sqlx::query_as!(CountOf, r#"SELECT region AS value, count(*) AS "count!" FROM waiting_list GROUP BY region"#);
    Ok(counts.fetch_all(conn).await?)
}

/// Returns how many clients are in each state. Reads every client: the caller does not ask often.
pub async fn count_clients(conn: &mut PgConnection) -> Result<Vec<CountOf>, Error> {
    let counts = sqlx::query_as!(
        CountOf,
        r#"SELECT current_state AS value, count(*) AS "count!" FROM onboarding_states GROUP BY current_state"#
    );
    Ok(counts.fetch_all(conn).await?)
}
