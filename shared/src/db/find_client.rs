//! Finds the client that an operator means: by id, by phone, or by the beginning of an id that no other client has.

use jobrun_onboarding::as_people_write;
use sqlx::PgConnection;

use super::Error;

/// How many of several clients are named.
const NAMED: i64 = 10;

/// Whom words mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// This client: `clients.id`.
    One(String),
    /// The ids of these begin so; no more than ten of them are given.
    Several(Vec<String>),
    /// No client.
    Nobody,
}

/// Finds the client that `words` mean. An id comes before a phone, and a phone before the beginning of an id.
///
/// # Errors
/// When the database does not answer.
pub async fn find_client(conn: &mut PgConnection, words: &str) -> Result<Found, Error> {
    let words = words.trim();
    let phone = as_people_write(words);
    let exact = sqlx::query_scalar!(
        r#"SELECT id FROM clients WHERE id = $1 OR "phoneNumber" = $2 ORDER BY id = $1 DESC LIMIT 1"#,
        words,
        phone.as_ref().map(jobrun_onboarding::E164::digits)
    );
    if let Some(id) = exact.fetch_optional(&mut *conn).await? {
        return Ok(Found::One(id));
    }
    if words.is_empty() {
        return Ok(Found::Nobody);
    }
    let begin_so =
        sqlx::query_scalar!("SELECT id FROM clients WHERE starts_with(id, $1) ORDER BY id LIMIT $2", words, NAMED);
    let mut ids = begin_so.fetch_all(conn).await?;
    Ok(match ids.len() {
        0 => Found::Nobody,
        1 => Found::One(ids.remove(0)),
        _ => Found::Several(ids),
    })
}
