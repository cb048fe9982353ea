//! Texts out.

use chrono::{DateTime, Utc};
use jobrun_twilio::errors;
use sqlx::PgConnection;

use super::{PAGE_ROWS, Page, page, window};
use crate::db::Error;

/// Which texts are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextFilter {
    /// `queued`, `underway` (sending or unknown), `failed` (undelivered or failed), `held` (held back), or a status; all if
    /// empty.
    pub status: Option<String>,
    /// Twilio's error code.
    pub code: Option<i32>,
    /// Only texts that were written before.
    pub written_before: Option<DateTime<Utc>>,
}

impl TextFilter {
    /// Returns whether the condition needs more than an index.
    fn is_filtered(&self) -> bool {
        let by_index = matches!(self.status.as_deref(), None | Some("queued" | "underway" | "failed"));
        !by_index || self.code.is_some() || self.written_before.is_some()
    }
}

/// A text, as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextRow {
    /// `messages.id`.
    pub id: i64,
    /// The client, if it is one's.
    pub client_id: Option<String>,
    /// The name of the client's business.
    pub business_name: Option<String>,
    /// Its kind.
    pub kind: String,
    /// The recipient, E.164.
    pub to_phone: String,
    /// The body.
    pub body: String,
    /// Its status.
    pub status: String,
    /// Whether it was stored but never sent.
    pub held_back: bool,
    /// How many attempts were made.
    pub attempts: i32,
    /// When the next attempt is due.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// Twilio's name.
    pub twilio_sid: Option<String>,
    /// Twilio's error code.
    pub error_code: Option<i32>,
    /// Twilio's words for the error.
    pub error_message: Option<String>,
    /// When it was written.
    pub created_at: DateTime<Utc>,
    /// When its status last changed.
    pub updated_at: DateTime<Utc>,
}

impl TextRow {
    /// Returns why the text failed or waits, in words.
    #[must_use]
    pub fn why(&self) -> Option<String> {
        let known = self.error_code.and_then(errors::find).map(|known| known.meaning.to_owned());
        known.or_else(|| self.error_message.clone())
    }
}

/// Returns a page of texts, newest first.
pub async fn list_texts(conn: &mut PgConnection, filter: &TextFilter, before: i64) -> Result<Page<TextRow>, Error> {
    let is_filtered = filter.is_filtered();
    let ids = list_ids(&mut *conn, filter.status.as_deref(), before, window(is_filtered)).await?;
    let status = filter.status.as_deref().filter(|it| !["queued", "underway", "failed", "held"].contains(it));
    let looked_through: &[i64] = ids.get(..(window(is_filtered) - 1) as usize).unwrap_or(&ids);
    let rows = sqlx::query_as!(
        TextRow,
        r#"SELECT m.id, m.client_id, c."businessName" AS "business_name?", m.kind, m.to_phone, m.body, m.status, m.held_back,
                  m.attempts, m.next_attempt_at, m.twilio_sid, m.error_code, m.error_message, m.created_at, m.updated_at
           FROM messages m LEFT JOIN clients c ON c.id = m.client_id
           WHERE m.id = ANY($1) AND ($2::TEXT IS NULL OR m.status = $2) AND ($3::INT IS NULL OR m.error_code = $3)
             AND ($4::TIMESTAMPTZ IS NULL OR m.created_at < $4) AND (NOT $5 OR m.held_back)
           ORDER BY m.id DESC LIMIT $6"#,
        looked_through,
        status,
        filter.code,
        filter.written_before,
        filter.status.as_deref() == Some("held"),
        PAGE_ROWS as i64 + 1
    );
    Ok(page(&ids, is_filtered, rows.fetch_all(conn).await?, |row| row.id))
}

async fn list_ids(conn: &mut PgConnection, status: Option<&str>, before: i64, limit: i64) -> Result<Vec<i64>, Error> {
    // A status in the text of the query, and not as a parameter, is served by the index of its texts.
    let ids = match status {
        Some("queued") => {
            sqlx::query_scalar!(
                "SELECT id FROM messages WHERE status = 'queued' AND id < $1 ORDER BY id DESC LIMIT $2",
                before,
                limit
            )
            .fetch_all(conn)
            .await?
        }
        Some("underway") => {
            sqlx::query_scalar!(
                "WITH under_way AS MATERIALIZED (SELECT id FROM messages WHERE status IN ('sending', 'unknown'))
                 SELECT id FROM under_way WHERE id < $1 ORDER BY id DESC LIMIT $2",
                before,
                limit
            )
            .fetch_all(conn)
            .await?
        }
        Some("failed") => sqlx::query_scalar!(
            "SELECT id FROM messages WHERE status IN ('undelivered', 'failed') AND id < $1 ORDER BY id DESC LIMIT $2",
            before,
            limit
        )
        .fetch_all(conn)
        .await?,
        Some(_) | None => {
            sqlx::query_scalar!("SELECT id FROM messages WHERE id < $1 ORDER BY id DESC LIMIT $2", before, limit)
                .fetch_all(conn)
                .await?
        }
    };
    Ok(ids)
}
