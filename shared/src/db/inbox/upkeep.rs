//! Measures how long events wait, and removes old ones.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::payload::KINDS_OF_NO_CONVERSATION;
use crate::db::{Error, LOOKED_AT, ensure_rows};

/// Overdue rows, of events or of texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overdue {
    /// How many.
    pub count: i64,
    /// When the oldest of them was due; empty if there is none.
    pub since: Option<DateTime<Utc>>,
}

/// Counts the events that were due before `before` and are not processed. Those of a kind that this version does not know count
/// too: no worker of a later version may be left to process them. While conversations are stopped, their events do not count;
/// afterwards they are due from the start on.
pub async fn count_overdue(conn: &mut PgConnection, before: DateTime<Utc>) -> Result<Overdue, Error> {
    let overdue = sqlx::query_as!(
        Overdue,
        r#"SELECT count(*) AS "count!", min(GREATEST(received_at, due_at, started_at)) AS since
           FROM events LEFT JOIN stops ON what = 'conversations'
           WHERE processed_at IS NULL AND GREATEST(received_at, due_at, started_at) <= $1
             AND (stopped_at IS NULL OR kind = ANY($2))"#,
        before,
        &KINDS_OF_NO_CONVERSATION as &[&str]
    );
    Ok(overdue.fetch_one(conn).await?)
}

/// Locks the oldest events that were processed before `before`, and skips those that another transaction has locked.
/// Looks at the first thousand processed events, so that the cost does not depend on how many are old. An event to
/// which a text refers is left out: it is removed after its texts.
pub async fn lock_processed_before(conn: &mut PgConnection, before: DateTime<Utc>) -> Result<Vec<i64>, Error> {
    let ids = sqlx::query_scalar!(
        "SELECT id FROM events
         WHERE id <= (SELECT max(id) FROM (SELECT id FROM events WHERE processed_at IS NOT NULL
                                           ORDER BY id LIMIT $2) AS oldest)
           AND processed_at < $1
           -- Looked up for each: joined, it may be answered by reading every text there is.
           AND (SELECT messages.id FROM messages WHERE messages.event_id = events.id LIMIT 1) IS NULL
         ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED",
        before,
        LOOKED_AT
    );
    Ok(ids.fetch_all(conn).await?)
}

/// Removes events for good. The caller must have locked them.
///
/// # Errors
/// [`Error::RowCount`], when an event does not exist.
pub async fn remove(conn: &mut PgConnection, ids: &[i64]) -> Result<(), Error> {
    let result = sqlx::query!("DELETE FROM events WHERE id = ANY($1)", ids).execute(conn).await?;
    ensure_rows(&result, ids.len(), "removing old events")
}
