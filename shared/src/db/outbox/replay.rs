//! Sends failed texts again, and drops queued ones, when an operator asks for that.
//!
//! A text that is sent again is a new row that refers to the failed one, as a second try does: the failed row keeps its history, and
//! `a_message_is_tried_once_more` lets no two rows refer to it. If the new row fails too, that one may be sent again.

use chrono::{DateTime, Utc};
use jobrun_onboarding::E164;
use sqlx::PgConnection;

use super::insert::enqueue_in_each_second;
use crate::db::Error;
use crate::queue::{self, Queue};

/// Locks texts, by id, and skips those that another transaction has locked. Returns the ids of the locked ones.
pub async fn lock_texts(conn: &mut PgConnection, ids: &[i64]) -> Result<Vec<i64>, Error> {
    let locked = sqlx::query_scalar!(
        "SELECT id FROM messages WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED",
        ids
    );
    Ok(locked.fetch_all(conn).await?)
}

/// A text that may be sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// `messages.id`.
    pub id: i64,
    /// Its kind, by name.
    pub kind: String,
    /// Its status.
    pub status: String,
    /// The client it was for.
    pub client_id: Option<String>,
    /// The recipient, E.164.
    pub to: String,
    /// The body.
    pub body: String,
    /// When it was written.
    pub written_at: DateTime<Utc>,
    /// Whether it was tried again.
    pub tried_again: bool,
    /// Whether it is a try of a text that arrived after all, by an earlier try.
    pub first_arrived: bool,
    /// Whether a later text to the same phone says the same.
    pub said_again: bool,
    /// Whether the recipient, by the last opt-out or opt-in of its phone, wants no texts.
    pub phone_opted_out: bool,
    /// Whether a number is held for the client.
    pub number_held: bool,
}

/// Returns texts with the facts that decide whether they are sent again, by id.
pub async fn list_ended(conn: &mut PgConnection, ids: &[i64], now: DateTime<Utc>) -> Result<Vec<Ended>, Error> {
    let texts = sqlx::query_as!(
        Ended,
        r#"SELECT m.id, m.kind, m.status, m.client_id, m.to_phone AS "to", m.body, m.created_at AS written_at,
                  (SELECT again.id FROM messages again WHERE again.retry_of = m.id) IS NOT NULL AS "tried_again!",
                  (WITH RECURSIVE earlier AS (
                       SELECT t.status, t.retry_of FROM messages t WHERE t.id = m.retry_of
                       UNION ALL
                       SELECT t.status, t.retry_of FROM earlier JOIN messages t ON t.id = earlier.retry_of
                   ) SELECT COALESCE(bool_or(status = 'delivered'), FALSE) FROM earlier) AS "first_arrived!",
                  EXISTS (SELECT FROM messages newer WHERE newer.to_phone = m.to_phone AND newer.id > m.id
                            AND newer.created_at >= m.created_at AND newer.retry_of IS NULL AND newer.body = m.body)
                      AS "said_again!",
                  COALESCE((SELECT o.change FROM opt_changes o WHERE o.phone = substr(m.to_phone, 2)
                            ORDER BY o.id DESC LIMIT 1), 'in') = 'out' AS "phone_opted_out!",
                  EXISTS (SELECT FROM waiting_list w WHERE w.client_id = m.client_id AND w.held_until > $2) AS "number_held!"
           FROM messages m WHERE m.id = ANY($1) ORDER BY m.id"#,
        ids,
        now
    );
    Ok(texts.fetch_all(conn).await?)
}

/// A text to be sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// The failed text: `messages.id`.
    pub id: i64,
    /// The sender, if it is not to be the one of the failed text.
    pub from: Option<E164>,
    /// The earliest time to send it, if its recipient has had too many texts in too short a time.
    pub deferred_until: Option<DateTime<Utc>>,
    /// When it is no longer of use.
    pub expires_at: DateTime<Utc>,
}

/// Queues failed texts once more, in the order of `replays`, and enqueues the jobs that send them. A text that was tried again
/// before is left out. Returns the ids of the failed texts that were queued.
pub async fn insert_replays(
    conn: &mut PgConnection,
    replays: &[Replay],
    now: DateTime<Utc>,
) -> Result<Vec<i64>, Error> {
    let ids: Vec<i64> = replays.iter().map(|it| it.id).collect();
    let from: Vec<Option<&str>> = replays.iter().map(|it| Some(it.from.as_ref()?.as_str())).collect();
    let deferred: Vec<Option<DateTime<Utc>>> = replays.iter().map(|it| it.deferred_until).collect();
    let expiries: Vec<DateTime<Utc>> = replays.iter().map(|it| it.expires_at).collect();
    let queued = sqlx::query_scalar!(
        r#"INSERT INTO messages (client_id, event_id, kind, to_phone, from_number, body, segments, encoding, expires_at,
                                 deferred_until, next_attempt_at, retry_of, created_at, updated_at)
           -- A client may have a new phone by now. What was meant for its old one stays there.
           SELECT m.client_id, m.event_id, m.kind,
                  COALESCE((SELECT '+' || c."phoneNumber" FROM clients c
                            WHERE c.id = m.client_id AND m.kind NOT IN ('phone_code', 'phone_moved_away')), m.to_phone),
                  COALESCE(r.from_number, m.from_number), m.body, m.segments, m.encoding, r.expires_at, r.deferred_until, r.deferred_until, m.id, $5, $5
           FROM unnest($1::BIGINT[], $2::TEXT[], $3::TIMESTAMPTZ[], $4::TIMESTAMPTZ[])
               WITH ORDINALITY AS r (id, from_number, deferred_until, expires_at, nth)
           JOIN messages m ON m.id = r.id
           ORDER BY r.nth
           ON CONFLICT ON CONSTRAINT a_message_is_tried_once_more DO NOTHING
           RETURNING retry_of AS "id!""#,
        &ids,
        &from as &[Option<&str>],
        &deferred as &[Option<DateTime<Utc>>],
        &expiries,
        now
    )
    .fetch_all(&mut *conn)
    .await?;
    queue::enqueue(conn, Queue::SendMessages).await?;
    enqueue_in_each_second(conn, deferred.into_iter().flatten()).await?;
    Ok(queued)
}

/// Counts the second tries and replays that are due and have not left, at most `limit`.
pub async fn count_due_retries(conn: &mut PgConnection, limit: i64, now: DateTime<Utc>) -> Result<i64, Error> {
    let due = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM (
               SELECT FROM messages WHERE status = 'queued' AND retry_of IS NOT NULL
                 AND (next_attempt_at IS NULL OR next_attempt_at <= $1) LIMIT $2) AS due"#,
        now,
        limit
    );
    Ok(due.fetch_one(conn).await?)
}

/// Drops those of the texts `ids` that are still queued, and enqueues the job that sends the texts behind them. The caller must have
/// locked them. Returns the ids of the dropped ones.
pub async fn drop_queued(conn: &mut PgConnection, ids: &[i64], now: DateTime<Utc>) -> Result<Vec<i64>, Error> {
    let dropped = sqlx::query_scalar!(
        "UPDATE messages SET status = 'failed', error_message = 'dropped by an operator', next_attempt_at = NULL, updated_at = $2
         WHERE id = ANY($1) AND status = 'queued' RETURNING id",
        ids,
        now
    )
    .fetch_all(&mut *conn)
    .await?;
    queue::enqueue(conn, Queue::SendMessages).await?;
    Ok(dropped)
}

/// Returns the status of each of the texts `ids`.
pub async fn list_statuses(conn: &mut PgConnection, ids: &[i64]) -> Result<Vec<(i64, String)>, Error> {
    let rows = sqlx::query!("SELECT id, status FROM messages WHERE id = ANY($1) ORDER BY id", ids);
    Ok(rows.fetch_all(conn).await?.into_iter().map(|row| (row.id, row.status)).collect())
}
