//! The forwarding of live clients: which of them the sweep has to look at, and what the rows say of their calls.

use chrono::{DateTime, Utc};
use jobrun_onboarding::forwarding_checks::Calls;
use sqlx::PgConnection;

use super::{Error, ensure_rows};

/// Locks up to `limit` clients who wait for the result of a test and have to be looked at, and skips those that another transaction
/// has locked. Returns their ids, those who have waited longest first.
pub(crate) async fn lock_tests_due(
    conn: &mut PgConnection,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<String>, Error> {
    let ids = sqlx::query_scalar!(
        r#"SELECT id FROM clients WHERE "testAskedAt" IS NOT NULL AND "forwardingCheckAt" <= $1
           ORDER BY "forwardingCheckAt" LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED"#,
        now,
        limit
    );
    Ok(ids.fetch_all(conn).await?)
}

/// As [`lock_tests_due`], for the other clients.
pub(crate) async fn lock_due(conn: &mut PgConnection, now: DateTime<Utc>, limit: i64) -> Result<Vec<String>, Error> {
    let ids = sqlx::query_scalar!(
        r#"SELECT id FROM clients WHERE "testAskedAt" IS NULL AND "forwardingCheckAt" <= $1
           ORDER BY "forwardingCheckAt" LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED"#,
        now,
        limit
    );
    Ok(ids.fetch_all(conn).await?)
}

/// Locks up to `limit` clients with numbers at whom no sweep would ever look, and skips those that another transaction has locked.
/// They are older than the checks, or an earlier version brought them live. Returns their ids, in order.
pub(crate) async fn lock_without_a_check(conn: &mut PgConnection, limit: i64) -> Result<Vec<String>, Error> {
    let ids = sqlx::query_scalar!(
        r#"SELECT id FROM clients WHERE "twilioNumber" IS NOT NULL AND "forwardingCheckAt" IS NULL
           ORDER BY id LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED"#,
        limit
    );
    Ok(ids.fetch_all(conn).await?)
}

/// What the rows say of the calls of a client.
pub(crate) struct CallsOf {
    /// `clients.id`.
    pub(crate) client_id: String,
    /// The calls.
    pub(crate) calls: Calls,
    /// When the text left that told the client that no call has come for long, as far as it is among its newest.
    pub(crate) told_at: Option<DateTime<Utc>>,
}

/// Returns what the rows say of the calls of each of these clients. The clients must be locked, so that no event of theirs is
/// processed meanwhile.
pub(crate) async fn list_calls(conn: &mut PgConnection, ids: &[String]) -> Result<Vec<CallsOf>, Error> {
    let rows = sqlx::query!(
        r#"SELECT c.id AS "id!", c."createdAt" AS "created_at!", s.asked_at AS "moved_at?", called.at AS "called_at?", heard.at AS "heard_at?",
                  said.at AS "said_at?", told.at AS "told_at?", told.left_at AS "left_at?",
                  c."noCallsToldAt" AS told_before,
                  EXISTS (SELECT FROM events e
                          WHERE e.lane = ANY(ARRAY['phone:' || c."phoneNumber", 'client:' || c.id, 'number:' || c."twilioNumber"])
                            AND (e.processed_at IS NULL) IS TRUE)
                      AS "is_unread!"
           FROM clients c
           LEFT JOIN onboarding_states s ON s.client_id = c.id
           LEFT JOIN LATERAL (
               SELECT e.received_at AS at FROM events e WHERE e.client_id = c.id AND e.kind IN ('call_arrived', 'call_ended')
               ORDER BY e.id DESC LIMIT 1
           ) AS called ON TRUE
           LEFT JOIN LATERAL (
               SELECT e.received_at AS at FROM events e WHERE e.client_id = c.id AND e.kind = 'text' ORDER BY e.id DESC LIMIT 1
           ) AS heard ON TRUE
           LEFT JOIN LATERAL (
               SELECT m.created_at AS at FROM messages m WHERE m.client_id = c.id ORDER BY m.id DESC LIMIT 1
           ) AS said ON TRUE
           LEFT JOIN LATERAL (
               -- An earlier one is kept with the client, so only the newest texts are read.
               SELECT max(m.created_at) AS at, max(m.created_at) FILTER (WHERE m.attempted_at IS NOT NULL) AS left_at
               FROM (SELECT kind, created_at, attempted_at, status FROM messages WHERE client_id = c.id ORDER BY id DESC LIMIT 100) AS m
               -- One that never left has told nothing.
               WHERE m.kind = 'no_calls_lately' AND (m.attempted_at IS NOT NULL OR m.status = 'queued')
           ) AS told ON TRUE
           WHERE c.id = ANY($1)"#,
        ids
    )
    .fetch_all(conn)
    .await?;
    let calls = rows.into_iter().map(|row| {
        let calls = Calls {
            last_at: row.called_at,
            live_since: row.moved_at.map_or(row.created_at, |at| at.max(row.created_at)),
            said_at: row.heard_at.max(row.said_at),
            told_at: row.told_at.max(row.told_before),
            is_unread: row.is_unread,
        };
        CallsOf { client_id: row.id, calls, told_at: row.left_at }
    });
    Ok(calls.collect())
}

/// When the sweep looks at a client's forwarding next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextLook<'a> {
    /// `clients.id`.
    pub client_id: &'a str,
    /// `None`: not until the client is live.
    pub at: Option<DateTime<Utc>>,
    /// When the client was last told that no call has come for long. `None` leaves it as it is stored.
    pub told_at: Option<DateTime<Utc>>,
}

/// Saves when the sweep looks at clients next. The clients must be locked.
///
/// # Errors
/// [`Error::RowCount`], when a client does not exist.
pub async fn save_next(conn: &mut PgConnection, next: &[NextLook<'_>]) -> Result<(), Error> {
    if next.is_empty() {
        return Ok(());
    }
    let ids: Vec<&str> = next.iter().map(|it| it.client_id).collect();
    let times: Vec<Option<DateTime<Utc>>> = next.iter().map(|it| it.at).collect();
    let told: Vec<Option<DateTime<Utc>>> = next.iter().map(|it| it.told_at).collect();
    let result = sqlx::query!(
        r#"UPDATE clients SET "forwardingCheckAt" = next.at, "noCallsToldAt" = COALESCE(next.told_at, clients."noCallsToldAt")
           FROM unnest($1::TEXT[], $2::TIMESTAMPTZ[], $3::TIMESTAMPTZ[]) AS next (id, at, told_at)
           WHERE clients.id = next.id"#,
        &ids as &[&str],
        &times as &[Option<DateTime<Utc>>],
        &told as &[Option<DateTime<Utc>>]
    )
    .execute(conn)
    .await?;
    ensure_rows(&result, next.len(), "saving when the forwarding of clients is looked at")
}

/// A test that a client asked for, or whose end is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TestChange<'a> {
    /// `clients.id`.
    pub client_id: &'a str,
    /// When it was asked for. `None`: it is over.
    pub asked_at: Option<DateTime<Utc>>,
    /// When the sweep looks at the client next. `None` leaves it as it is stored.
    pub look_at: Option<DateTime<Utc>>,
}

/// Saves the tests that begin and end. The clients must be locked.
///
/// # Errors
/// [`Error::RowCount`], when a client does not exist.
pub async fn save_tests(conn: &mut PgConnection, changes: &[TestChange<'_>]) -> Result<(), Error> {
    if changes.is_empty() {
        return Ok(());
    }
    let ids: Vec<&str> = changes.iter().map(|it| it.client_id).collect();
    let asked: Vec<Option<DateTime<Utc>>> = changes.iter().map(|it| it.asked_at).collect();
    let look: Vec<Option<DateTime<Utc>>> = changes.iter().map(|it| it.look_at).collect();
    let result = sqlx::query!(
        r#"UPDATE clients SET "testAskedAt" = test.asked_at, "forwardingCheckAt" = COALESCE(test.look_at, clients."forwardingCheckAt")
           FROM unnest($1::TEXT[], $2::TIMESTAMPTZ[], $3::TIMESTAMPTZ[]) AS test (id, asked_at, look_at)
           WHERE clients.id = test.id"#,
        &ids as &[&str],
        &asked as &[Option<DateTime<Utc>>],
        &look as &[Option<DateTime<Utc>>]
    )
    .execute(conn)
    .await?;
    ensure_rows(&result, changes.len(), "saving the tests of forwarding")
}
