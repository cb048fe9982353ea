//! Withdraws texts that must not be sent any more, and repeats undelivered ones.

use chrono::{DateTime, Utc};
use jobrun_onboarding::{E164, TextKind};
use sqlx::PgConnection;

use crate::db::{Error, ensure_rows};
use crate::queue::{self, Queue};

/// Drops the queued texts to recipients who opted out or whom no text reaches.
pub async fn drop_queued_to(
    conn: &mut PgConnection,
    phones: &[&E164],
    why: &'static str,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let phones: Vec<&str> = phones.iter().map(|phone| phone.as_str()).collect();
    sqlx::query!(
        "UPDATE messages SET status = 'failed', error_message = $3, updated_at = $2
         WHERE id IN (SELECT id FROM messages WHERE status = 'queued' AND to_phone = ANY($1) ORDER BY id FOR NO KEY UPDATE)",
        &phones as &[&str],
        now,
        why
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Drops the queued texts to clients whom an operator has taken over, but for the news of missed calls and what operators wrote.
pub async fn drop_automatic_to(conn: &mut PgConnection, client_ids: &[&str], now: DateTime<Utc>) -> Result<(), Error> {
    if client_ids.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "UPDATE messages SET status = 'failed', error_message = 'an operator took the client over', updated_at = $2
         WHERE id IN (SELECT id FROM messages WHERE status = 'queued' AND client_id = ANY($1) AND kind <> ALL($3)
                      ORDER BY id FOR NO KEY UPDATE)",
        client_ids as &[&str],
        now,
        &TextKind::SENT_IN_A_TAKEOVER.map(TextKind::name) as &[&str]
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Drops texts that must not leave during a takeover. The caller must have locked them: [`super::lock_due`] names them. A second try
/// may be written during a takeover, and an attempt that was under way when it began may end without success.
pub async fn drop_silenced(conn: &mut PgConnection, ids: &[i64], now: DateTime<Utc>) -> Result<(), Error> {
    let dropped = sqlx::query!(
        "UPDATE messages SET status = 'failed', error_message = 'an operator took the client over', next_attempt_at = NULL,
                             updated_at = $2
         WHERE id = ANY($1) AND status = 'queued'",
        ids,
        now
    );
    ensure_rows(&dropped.execute(conn).await?, ids.len(), "dropping texts during a takeover")
}

/// Drops queued second tries and reminders to clients whose conversation went on without them. A missed call is news all the same, and no other
/// text says what an operator wrote.
pub async fn drop_second_tries_to(
    conn: &mut PgConnection,
    client_ids: &[&str],
    now: DateTime<Utc>,
) -> Result<(), Error> {
    if client_ids.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "UPDATE messages SET status = 'failed', error_message = 'the conversation went on', updated_at = $2
         WHERE id IN (SELECT id FROM messages WHERE status = 'queued' AND (retry_of IS NOT NULL OR kind = 'reminder')
                        AND client_id = ANY($1) AND kind <> ALL($3)
                      ORDER BY id FOR NO KEY UPDATE)",
        client_ids as &[&str],
        now,
        &TextKind::SENT_IN_A_TAKEOVER.map(TextKind::name) as &[&str]
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Drops queued texts to clients who opted out or whom no text reaches: a text may be written, or return from an
/// attempt, just after that. Returns how many were dropped, at most [`SETTLED_AT_ONCE`].
pub async fn drop_unwanted(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<u64, Error> {
    let dropped = sqlx::query!(
        r#"UPDATE messages SET status = 'failed', error_message = 'the recipient is not to be texted', updated_at = $1
           WHERE id IN (SELECT m.id FROM messages m JOIN client_reach r ON r.phone = substr(m.to_phone, 2)
                        WHERE m.status = 'queued' AND NOT r.may_be_texted
                        ORDER BY m.id LIMIT $2 FOR NO KEY UPDATE OF m SKIP LOCKED)"#,
        now,
        SETTLED_AT_ONCE as i64
    );
    Ok(dropped.execute(conn).await?.rows_affected())
}

/// How many texts one call of [`drop_unwanted`] or [`expire`] settles at most.
pub const SETTLED_AT_ONCE: usize = 1_000;

/// Drops the queued second tries and replays of texts that arrived after all, and those of their tries. One that another transaction
/// has locked is being sent.
pub async fn drop_second_tries_of(conn: &mut PgConnection, ids: &[i64], now: DateTime<Utc>) -> Result<(), Error> {
    sqlx::query!(
        "WITH RECURSIVE again AS (SELECT id FROM messages WHERE retry_of = ANY($1)
                                  UNION ALL
                                  SELECT m.id FROM again JOIN messages m ON m.retry_of = again.id)
         UPDATE messages SET status = 'failed', error_message = 'the first one arrived after all', updated_at = $2
         -- Said in this way, no index of what is queued fits, all of which would be read: each is looked up.
         WHERE id IN (SELECT id FROM messages WHERE id IN (SELECT id FROM again) AND (status = 'queued') IS NOT FALSE
                      ORDER BY id FOR NO KEY UPDATE SKIP LOCKED)",
        ids,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A text that will not be sent, or was not delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expired {
    /// `messages.id`.
    pub id: i64,
    /// The kind of the text; empty for a kind that this version does not know.
    pub kind: Option<TextKind>,
    /// The client it is for.
    pub client_id: Option<String>,
}

/// Gives up queued texts that are too old to be of use, at most [`SETTLED_AT_ONCE`]. Returns them.
pub async fn expire(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<Vec<Expired>, Error> {
    let expired = sqlx::query!(
        "UPDATE messages SET status = 'failed', error_message = 'too late to be of use', updated_at = $1
         WHERE id IN (SELECT id FROM messages WHERE status = 'queued' AND expires_at <= $1
                      ORDER BY id LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED)
         RETURNING id, kind, client_id",
        now,
        SETTLED_AT_ONCE as i64
    )
    .fetch_all(conn)
    .await?;
    let lost = expired.into_iter().map(|row| Expired {
        id: row.id,
        kind: TextKind::from_name(&row.kind),
        client_id: row.client_id,
    });
    Ok(lost.collect())
}

/// Inserts the second try of an undelivered text, to be sent at `at`, and enqueues its job. A text gets at most one
/// second try.
pub async fn try_again(
    conn: &mut PgConnection,
    id: i64,
    at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    sqlx::query!(
        r#"INSERT INTO messages (client_id, event_id, kind, to_phone, from_number, body, segments, encoding, expires_at,
                               next_attempt_at, retry_of, traceparent, created_at, updated_at)
         -- A client may have a new phone by now. What was meant for its old one stays there.
         SELECT client_id, event_id, kind,
                COALESCE((SELECT '+' || "phoneNumber" FROM clients
                          WHERE clients.id = messages.client_id AND kind NOT IN ('phone_code', 'phone_moved_away')), to_phone), from_number,
                body, segments, encoding, $3, $2, id, traceparent, $4, $4
         FROM messages WHERE id = $1
         ON CONFLICT ON CONSTRAINT a_message_is_tried_once_more DO NOTHING"#,
        id,
        at,
        expires_at,
        now
    )
    .execute(&mut *conn)
    .await?;
    Ok(queue::enqueue_at(conn, Queue::SendMessages, at).await?)
}
