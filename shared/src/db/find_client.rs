//! Finds the client that the operator means: by id, by phone, or by the beginning of an id that no other client shares.

use jobrun_onboarding::as_people_write;
use sqlx::PgConnection;

use super::Error;

/// How many ids are listed when several clients match.
const NAMED: i64 = 10;

/// The client or clients that match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FoundClients {
    /// This client: `clients.id`.
    One(String),
    /// The ids of several clients that begin with the words; at most ten of them.
    Several(Vec<String>),
    /// No client.
    Nobody,
}

/// Finds the client that `words` mean. An id takes precedence over a phone, and a phone over the beginning of an id.
pub async fn find_client(conn: &mut PgConnection, words: &str) -> Result<FoundClients, Error> {
    let words = words.trim();
    let phone = as_people_write(words);
    let exact = sqlx::query_scalar!(
        r#"SELECT id FROM clients WHERE id = $1 OR "phoneNumber" = $2 ORDER BY id = $1 DESC LIMIT 1"#,
        words,
        phone.as_ref().map(jobrun_onboarding::E164::digits)
    );
    if let Some(id) = exact.fetch_optional(&mut *conn).await? {
        return Ok(FoundClients::One(id));
    }
    if words.is_empty() {
        return Ok(FoundClients::Nobody);
    }
    let begin_so =
        sqlx::query_scalar!("SELECT id FROM clients WHERE starts_with(id, $1) ORDER BY id LIMIT $2", words, NAMED);
    let mut ids = begin_so.fetch_all(conn).await?;
    Ok(match ids.len() {
        0 => FoundClients::Nobody,
        1 => FoundClients::One(ids.remove(0)),
        _ => FoundClients::Several(ids),
    })
}
