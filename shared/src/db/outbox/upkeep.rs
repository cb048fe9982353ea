//! Measures how long texts wait, and removes old ones.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::db::inbox::Overdue;
use crate::db::{Error, LOOKED_AT, ensure_rows};

/// Returns whether a text waits to be sent, unless sending is stopped, or to be looked for.
pub async fn any_due(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<bool, Error> {
    let any = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM messages WHERE status IN ('queued', 'sending', 'unknown')
                            AND (next_attempt_at IS NULL OR next_attempt_at <= $1)
                            AND (status <> 'queued' OR NOT EXISTS (SELECT FROM stops WHERE what = 'sending'
                                                                     AND stopped_at IS NOT NULL))) AS "any!""#,
        now
    );
    Ok(any.fetch_one(conn).await?)
}

/// Counts the texts that were due before `before`, may be sent, and are still queued. Texts that wait for an earlier
/// one to the same recipient do not count, and neither do expired ones. While sending is stopped, no text counts;
/// afterwards, texts are due from the start on.
pub async fn count_overdue(
    conn: &mut PgConnection,
    before: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<Overdue, Error> {
    let overdue = sqlx::query_as!(
        Overdue,
        r#"SELECT count(*) AS "count!", min(GREATEST(m.created_at, m.next_attempt_at, started_at)) AS since
           FROM messages m LEFT JOIN stops ON what = 'sending'
           WHERE m.status = 'queued' AND GREATEST(m.created_at, m.next_attempt_at, started_at) <= $1 AND stopped_at IS NULL
             AND (m.expires_at IS NULL OR m.expires_at > $2)
             AND (SELECT earlier.id FROM messages earlier
                  WHERE earlier.to_phone = m.to_phone AND earlier.id < m.id
                    AND earlier.status IN ('queued', 'sending', 'unknown')
                    AND (earlier.status <> 'queued'
                         OR ((earlier.retry_of IS NULL
                              OR (m.retry_of IS NOT NULL
                                  AND (earlier.next_attempt_at IS NULL OR earlier.next_attempt_at <= $2)))
                             AND (earlier.expires_at IS NULL OR earlier.expires_at > $2)))
                  LIMIT 1) IS NULL"#,
        before,
        now
    );
    Ok(overdue.fetch_one(conn).await?)
}

/// Locks the oldest texts that have been settled since before `before`, and skips those that another transaction has
/// locked. Looks at the first thousand settled texts, so that the cost does not depend on how many are old. A text that
/// has a second try is left out: its removal would remove the second try.
pub async fn lock_settled_before(conn: &mut PgConnection, before: DateTime<Utc>) -> Result<Vec<i64>, Error> {
    let ids = sqlx::query_scalar!(
        "SELECT id FROM messages
         WHERE id <= (SELECT max(id) FROM (SELECT id FROM messages WHERE status NOT IN ('queued', 'sending', 'unknown')
                                           ORDER BY id LIMIT $2) AS oldest)
           AND status NOT IN ('queued', 'sending', 'unknown') AND updated_at < $1
           -- Looked up for each: joined, it may be answered by reading every second try there is.
           AND (SELECT again.id FROM messages again WHERE again.retry_of = messages.id) IS NULL
         ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED",
        before,
        LOOKED_AT
    );
    Ok(ids.fetch_all(conn).await?)
}

/// Removes texts for good. The caller must have locked them.
///
/// # Errors
/// [`Error::RowCount`], when a text does not exist.
pub async fn remove(conn: &mut PgConnection, ids: &[i64]) -> Result<(), Error> {
    let result = sqlx::query!("DELETE FROM messages WHERE id = ANY($1)", ids).execute(conn).await?;
    ensure_rows(&result, ids.len(), "removing old texts")
}
