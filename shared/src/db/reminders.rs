//! Silent clients: which of them the sweep has to look at, and what the rows say of their silence.

use chrono::{DateTime, Utc};
use jobrun_onboarding::TextKind;
use jobrun_onboarding::reminders::Silence;
use sqlx::PgConnection;

use super::{Error, ensure_rows};
use crate::alerts::Kind;

/// Locks up to `limit` clients whose silence has to be looked at, and skips those that another transaction has locked. Returns
/// their ids, those who have waited longest first.
pub(crate) async fn lock_due(conn: &mut PgConnection, now: DateTime<Utc>, limit: i64) -> Result<Vec<String>, Error> {
    let ids = sqlx::query_scalar!(
        r#"SELECT id FROM clients WHERE "remindAt" <= $1 ORDER BY "remindAt" LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED"#,
        now,
        limit
    );
    Ok(ids.fetch_all(conn).await?)
}

/// Returns how many texts of this kind are due or queued, at most about `limit`: an event of `event_kind` leads to each.
pub(crate) async fn count_waiting(
    conn: &mut PgConnection,
    event_kind: &str,
    text: TextKind,
    limit: i64,
) -> Result<i64, Error> {
    let waiting = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM (
               (SELECT FROM events WHERE (processed_at IS NULL) IS TRUE AND kind = $2 LIMIT $1)
               UNION ALL
               (SELECT FROM messages WHERE status = 'queued' AND kind = $3 LIMIT $1)
           ) AS waiting"#,
        limit,
        event_kind,
        text.name()
    );
    Ok(waiting.fetch_one(conn).await?)
}

/// Returns what the rows say of the silence of each of these clients, with its id. The clients must be locked, so that no text of
/// theirs is processed meanwhile.
pub async fn list_silences(conn: &mut PgConnection, ids: &[String]) -> Result<Vec<(String, Silence)>, Error> {
    let rows = sqlx::query!(
        r#"SELECT c.id, s.asked_at AS "asked_at?", heard.at AS "heard_at?", said.at AS "said_at?", said.kind AS "said?",
                  EXISTS (SELECT FROM events e WHERE e.lane = ANY(ARRAY['phone:' || c."phoneNumber", 'client:' || c.id])
                            AND (e.processed_at IS NULL) IS TRUE)
                      AS "is_unread!",
                  asked.open AS "case_open!", asked.answered_at AS "answered_at?",
                  EXISTS (SELECT FROM waiting_list w WHERE w.client_id = c.id AND w.held_until IS NOT NULL) AS "number_held!",
                  EXISTS (SELECT FROM messages m WHERE m.client_id = c.id AND m.kind IN ('payment_required', 'payment_failed')
                            AND m.created_at >= s.asked_at) AS "payment_asked!",
                  reminded.count AS "reminded!", reminded.at AS "reminded_at?"
           FROM clients c
           LEFT JOIN onboarding_states s ON s.client_id = c.id
           LEFT JOIN LATERAL (
               SELECT e.received_at AS at FROM events e WHERE e.client_id = c.id AND e.kind = 'text' ORDER BY e.id DESC LIMIT 1
           ) AS heard ON TRUE
           LEFT JOIN LATERAL (
               SELECT m.id, m.kind, m.created_at AS at FROM messages m WHERE m.client_id = c.id AND m.kind NOT IN ('reminder', 'text_back')
               ORDER BY m.id DESC LIMIT 1
           ) AS said ON TRUE
           CROSS JOIN LATERAL (
               SELECT count(*) AS count, max(m.created_at) AS at FROM messages m
               WHERE m.client_id = c.id AND m.id > coalesce(said.id, 0) AND m.kind = 'reminder'
                 -- One that never left is no reminder.
                 AND (m.attempted_at IS NOT NULL OR m.status = 'queued')
           ) AS reminded
           CROSS JOIN LATERAL (
               SELECT max(k.closed_at) AS answered_at,
                      -- An operator who has replied waits for the client.
                      COALESCE(bool_or(k.closed_at IS NULL AND NOT EXISTS (
                          SELECT FROM messages r
                          WHERE r.client_id = c.id AND r.kind = 'operator_reply' AND r.created_at > k.last_said_at
                      )), FALSE) AS open
               FROM cases k WHERE k.client_id = c.id
           ) AS asked
           WHERE c.id = ANY($1)"#,
        ids
    )
    .fetch_all(conn)
    .await?;
    let silences = rows.into_iter().map(|row| {
        let last = [row.asked_at, row.heard_at, row.said_at, row.answered_at].into_iter().flatten().max();
        let silence = Silence {
            since: last.unwrap_or_default(),
            has_written: row.heard_at.is_some(),
            is_unread: row.is_unread,
            case_open: row.case_open,
            last_said: row.said.as_deref().and_then(TextKind::from_name),
            payment_asked: row.payment_asked,
            number_held: row.number_held,
            reminded: usize::try_from(row.reminded).unwrap_or(usize::MAX),
            reminded_at: row.reminded_at,
        };
        (row.id, silence)
    });
    Ok(silences.collect())
}

/// Has the sweep look at the silence of those of these clients at whom it never would: they fell silent before there were reminders.
/// One that was reported once is left out, because an operator knows of it. The clients must be locked.
pub(crate) async fn look_at_forgotten(conn: &mut PgConnection, ids: &[&str], at: DateTime<Utc>) -> Result<(), Error> {
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        r#"UPDATE clients SET "remindAt" = $2
           WHERE id = ANY($1) AND "remindAt" IS NULL
             AND NOT EXISTS (SELECT FROM onboarding_states s WHERE s.client_id = clients.id AND s.current_state = 'COMPLETE')
             AND NOT EXISTS (SELECT FROM alerts WHERE cause = $3 || clients.id)"#,
        ids as &[&str],
        at,
        Kind::Unfinished.prefix()
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Saves when the sweep looks at each client next; `None` for not until something is said to it. The clients must be locked.
///
/// # Errors
/// [`Error::RowCount`], when a client does not exist.
pub async fn save_next(conn: &mut PgConnection, next: &[(&str, Option<DateTime<Utc>>)]) -> Result<(), Error> {
    if next.is_empty() {
        return Ok(());
    }
    let (ids, times): (Vec<&str>, Vec<Option<DateTime<Utc>>>) = next.iter().copied().unzip();
    let result = sqlx::query!(
        r#"UPDATE clients SET "remindAt" = next.at FROM unnest($1::TEXT[], $2::TIMESTAMPTZ[]) AS next (id, at)
           WHERE clients.id = next.id"#,
        &ids as &[&str],
        &times as &[Option<DateTime<Utc>>]
    )
    .execute(conn)
    .await?;
    ensure_rows(&result, next.len(), "saving when clients are reminded")
}
