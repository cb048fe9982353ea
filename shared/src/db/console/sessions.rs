//! Sessions of the console, and links that log a person in once. Both are known by the SHA-256 of their secret.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::people::{Role, role_of};
use crate::db::{Error, LOOKED_AT};

/// The person of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedIn {
    /// `console_people.id`.
    pub id: i64,
    /// The name.
    pub name: String,
    /// What the person may do.
    pub role: Role,
}

/// Begins a session of a person, and removes sessions that have expired.
pub async fn begin_session(
    conn: &mut PgConnection,
    digest: &[u8],
    person_id: i64,
    now: DateTime<Utc>,
    expires_at: DateTime<Utc>,
) -> Result<(), Error> {
    sqlx::query!(
        "DELETE FROM console_sessions WHERE token_sha256 IN (
             SELECT token_sha256 FROM console_sessions WHERE expires_at <= $1 LIMIT $2)",
        now,
        LOOKED_AT
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "INSERT INTO console_sessions (token_sha256, person_id, created_at, expires_at) VALUES ($1, $2, $3, $4)",
        digest,
        person_id,
        now,
        expires_at
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!("UPDATE console_people SET last_login_at = $2 WHERE id = $1", person_id, now).execute(conn).await?;
    Ok(())
}

/// Returns the person of a session that has not expired, unless the person is disabled.
pub async fn find_session(
    conn: &mut PgConnection,
    digest: &[u8],
    now: DateTime<Utc>,
) -> Result<Option<LoggedIn>, Error> {
    let row = sqlx::query!(
        "SELECT p.id, p.name, p.role FROM console_sessions s JOIN console_people p ON p.id = s.person_id
         WHERE s.token_sha256 = $1 AND s.expires_at > $2 AND p.disabled_at IS NULL",
        digest,
        now
    );
    let row = row.fetch_optional(conn).await?;
    Ok(row.map(|row| LoggedIn { id: row.id, role: role_of(&row.role), name: row.name }))
}

/// Returns the person of this name, unless the person is disabled. For a name that a trusted proxy gives.
pub async fn find_enabled(conn: &mut PgConnection, name: &str) -> Result<Option<LoggedIn>, Error> {
    let row = sqlx::query!("SELECT id, name, role FROM console_people WHERE name = $1 AND disabled_at IS NULL", name);
    let row = row.fetch_optional(conn).await?;
    Ok(row.map(|row| LoggedIn { id: row.id, role: role_of(&row.role), name: row.name }))
}

/// Ends a session.
pub async fn end_session(conn: &mut PgConnection, digest: &[u8]) -> Result<(), Error> {
    sqlx::query!("DELETE FROM console_sessions WHERE token_sha256 = $1", digest).execute(conn).await?;
    Ok(())
}

/// Ends the sessions of a person, except the one of `but_for`. Returns how many there were.
pub async fn end_sessions(conn: &mut PgConnection, person_id: i64, but_for: Option<&[u8]>) -> Result<u64, Error> {
    let ended = sqlx::query!(
        "DELETE FROM console_sessions WHERE person_id = $1 AND token_sha256 IS DISTINCT FROM $2",
        person_id,
        but_for
    );
    Ok(ended.execute(conn).await?.rows_affected())
}

/// Adds a link that logs a person in, once, and removes the person's earlier ones.
pub async fn add_login_link(
    conn: &mut PgConnection,
    digest: &[u8],
    person_id: i64,
    expires_at: DateTime<Utc>,
) -> Result<(), Error> {
    remove_login_links(&mut *conn, person_id).await?;
    sqlx::query!(
        "INSERT INTO console_login_links (token_sha256, person_id, expires_at) VALUES ($1, $2, $3)",
        digest,
        person_id,
        expires_at
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Removes the links of a person.
pub async fn remove_login_links(conn: &mut PgConnection, person_id: i64) -> Result<(), Error> {
    sqlx::query!("DELETE FROM console_login_links WHERE person_id = $1", person_id).execute(conn).await?;
    Ok(())
}

/// Uses a link up. Returns the person's id and name, if the link has not expired and the person is not disabled.
pub async fn take_login_link(
    conn: &mut PgConnection,
    digest: &[u8],
    now: DateTime<Utc>,
) -> Result<Option<(i64, String)>, Error> {
    let taken = sqlx::query!(
        r#"DELETE FROM console_login_links l USING console_people p
           WHERE l.token_sha256 = $1 AND p.id = l.person_id
           RETURNING p.id, p.name, l.expires_at > $2 AND p.disabled_at IS NULL AS "is_good!""#,
        digest,
        now
    );
    Ok(taken.fetch_optional(conn).await?.filter(|row| row.is_good).map(|row| (row.id, row.name)))
}
