//! Cases: what clients said that a person has to answer, until an operator closes them.

use chrono::{DateTime, Utc};
use jobrun_onboarding::State;
use serde::Serialize;
use sqlx::PgConnection;

use super::Error;
use super::audit_log::Actor;

/// The most characters of a client's words that a case keeps.
pub const SAID_CHARS_MAX: i32 = 2_000;

/// How many closed cases one statement removes.
const REMOVED_AT_ONCE: i64 = 500;

/// Words of a client that a person has to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCase {
    /// `clients.id`.
    pub client_id: String,
    /// The stored name of the reason ([`jobrun_onboarding::Concern::case`]).
    pub kind: &'static str,
    /// The words of the client, each text on a line of its own; empty if an event without words leads to the case.
    pub said: Vec<String>,
    /// Where the conversation stands.
    pub state: State,
}

/// A case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Case {
    /// `cases.id`.
    pub id: i64,
    /// `clients.id`.
    pub client_id: String,
    /// The reason: `question`.
    pub kind: String,
    /// The words of the client, a line for each text.
    pub said: String,
    /// Where the conversation stood.
    pub state: String,
    /// How many texts are in it.
    pub times: i32,
    /// When it was opened.
    pub opened_at: DateTime<Utc>,
    /// When the client last said something that is in it.
    pub last_said_at: DateTime<Utc>,
}

/// Opens cases. What a client says adds to the open case of the same kind, if there is one.
pub async fn open(conn: &mut PgConnection, cases: &[NewCase], now: DateTime<Utc>) -> Result<(), Error> {
    // One statement for each: two texts of one client may belong to one case. They are few.
    for case in cases {
        let times = i32::try_from(case.said.len()).unwrap_or(i32::MAX).max(1);
        sqlx::query!(
            "INSERT INTO cases (client_id, kind, said, state, times, opened_at, last_said_at)
             VALUES ($1, $2, right($3, $6), $4, $7, $5, $5)
             ON CONFLICT (client_id, kind) WHERE closed_at IS NULL
             DO UPDATE SET said = right(concat_ws(E'\\n', nullif(cases.said, ''), nullif(excluded.said, '')), $6),
                           times = cases.times + excluded.times, last_said_at = excluded.last_said_at",
            case.client_id,
            case.kind,
            case.said.join("\n"),
            case.state.name(),
            now,
            SAID_CHARS_MAX,
            times
        )
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

/// Closes the open cases of these clients and kinds.
pub async fn close_kinds(
    conn: &mut PgConnection,
    of: &[(&str, &str)],
    by: &str,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    if of.is_empty() {
        return Ok(());
    }
    let (client_ids, kinds): (Vec<&str>, Vec<&str>) = of.iter().copied().unzip();
    sqlx::query!(
        "UPDATE cases SET closed_at = $4, closed_by = $3
         FROM unnest($1::TEXT[], $2::TEXT[]) AS over (client_id, kind)
         WHERE cases.client_id = over.client_id AND cases.kind = over.kind AND closed_at IS NULL",
        &client_ids as &[&str],
        &kinds as &[&str],
        by,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Closes the open cases of a client that an operator has answered: all but a wish to cancel, which words do not fulfil.
pub async fn close_answered(
    conn: &mut PgConnection,
    client_id: &str,
    by: &str,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE cases SET closed_at = $3, closed_by = $2 WHERE client_id = $1 AND closed_at IS NULL AND kind <> 'cancel'",
        client_id,
        by,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Returns the client and the kind of the open case `id`. Locks nothing.
pub async fn find_open(conn: &mut PgConnection, id: i64) -> Result<Option<(String, String)>, Error> {
    let open = sqlx::query!("SELECT client_id, kind FROM cases WHERE id = $1 AND closed_at IS NULL", id);
    Ok(open.fetch_optional(conn).await?.map(|row| (row.client_id, row.kind)))
}

/// Closes the case `id`, unless the client has said more than the `seen` texts. Returns nothing if no open case is so.
pub async fn close(
    conn: &mut PgConnection,
    id: i64,
    seen: Option<i32>,
    by: &Actor,
    now: DateTime<Utc>,
) -> Result<Option<Case>, Error> {
    let closed = sqlx::query_as!(
        Case,
        "UPDATE cases SET closed_at = $3, closed_by = $4, why = $5
         WHERE id = $1 AND closed_at IS NULL AND times = COALESCE($2, times)
         RETURNING id, client_id, kind, said, state, times, opened_at, last_said_at",
        id,
        seen,
        now,
        by.who,
        by.why
    );
    Ok(closed.fetch_optional(conn).await?)
}

/// Returns the kinds of the open cases of a client.
pub async fn list_open_kinds(conn: &mut PgConnection, client_id: &str) -> Result<Vec<String>, Error> {
    let kinds = sqlx::query_scalar!("SELECT kind FROM cases WHERE client_id = $1 AND closed_at IS NULL", client_id);
    Ok(kinds.fetch_all(conn).await?)
}

/// Returns up to `limit` open cases, the oldest first.
pub async fn list_open(conn: &mut PgConnection, limit: i64) -> Result<Vec<Case>, Error> {
    let open = sqlx::query_as!(
        Case,
        "SELECT id, client_id, kind, said, state, times, opened_at, last_said_at FROM cases
         WHERE closed_at IS NULL ORDER BY opened_at, id LIMIT $1",
        limit
    );
    Ok(open.fetch_all(conn).await?)
}

/// Removes some of the cases that were closed before `before`. Returns how many.
pub async fn remove_closed_before(conn: &mut PgConnection, before: DateTime<Utc>) -> Result<usize, Error> {
    let removed = sqlx::query!(
        "DELETE FROM cases WHERE id = ANY(ARRAY(SELECT id FROM cases WHERE closed_at < $1 ORDER BY closed_at LIMIT $2
                                                FOR UPDATE SKIP LOCKED))",
        before,
        REMOVED_AT_ONCE
    );
    Ok(usize::try_from(removed.execute(conn).await?.rows_affected()).unwrap_or(usize::MAX))
}
