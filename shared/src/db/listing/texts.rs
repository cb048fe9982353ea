//! Texts out.

use chrono::{DateTime, Utc};
use jobrun_onboarding::phone_change::without_code;
use jobrun_twilio::errors;
use serde::Serialize;
use sqlx::PgConnection;

use super::{PAGE_ROWS, Page, page, window};
use crate::db::Error;

/// Which texts are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TextFilter {
    /// `queued`, `underway` (sending or unknown), `unsettled` (both), `failed` (undelivered or failed), `held` (held back), or a
    /// status; all if empty.
    pub status: Option<String>,
    /// Twilio's error code.
    pub code: Option<i32>,
    /// The kind.
    pub kind: Option<String>,
    /// The client: `clients.id`.
    pub client_id: Option<String>,
    /// Only texts that were written then or later.
    pub written_since: Option<DateTime<Utc>>,
    /// Only texts that were written before.
    pub written_before: Option<DateTime<Utc>>,
}

impl TextFilter {
    /// Returns whether the condition needs more than an index.
    fn is_filtered(&self) -> bool {
        let by_index = match &self.client_id {
            Some(_) => self.status.is_none(),
            None => matches!(self.status.as_deref(), None | Some("queued" | "underway" | "unsettled" | "failed")),
        };
        let is_timed = self.written_since.is_some() || self.written_before.is_some();
        !by_index || self.code.is_some() || self.kind.is_some() || is_timed
    }

    /// Returns the stored statuses, if only some are meant.
    #[must_use]
    pub fn statuses(&self) -> Option<Vec<&str>> {
        match self.status.as_deref()? {
            "held" => None,
            "underway" => Some(vec!["sending", "unknown"]),
            "unsettled" => Some(vec!["queued", "sending", "unknown"]),
            "failed" => Some(vec!["undelivered", "failed"]),
            status => Some(vec![status]),
        }
    }

    /// Returns whether only texts are meant that were held back.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.status.as_deref() == Some("held")
    }
}

/// A text, as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
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
    let ids = match &filter.client_id {
        Some(client_id) => list_ids_of(&mut *conn, client_id, before, window(is_filtered)).await?,
        None => list_ids(&mut *conn, filter.status.as_deref(), before, window(is_filtered)).await?,
    };
    let looked_through: &[i64] = ids.get(..(window(is_filtered) - 1) as usize).unwrap_or(&ids);
    let rows = sqlx::query_as!(
        TextRow,
        r#"SELECT m.id, m.client_id, c."businessName" AS "business_name?", m.kind, m.to_phone, m.body, m.status, m.held_back,
                  m.attempts, m.next_attempt_at, m.twilio_sid, m.error_code, m.error_message, m.created_at, m.updated_at
           FROM messages m LEFT JOIN clients c ON c.id = m.client_id
           WHERE m.id = ANY($1) AND ($2::TEXT[] IS NULL OR m.status = ANY($2)) AND ($3::INT IS NULL OR m.error_code = $3)
             AND ($4::TIMESTAMPTZ IS NULL OR m.created_at < $4) AND (NOT $5 OR m.held_back)
             AND ($6::TEXT IS NULL OR m.kind = $6) AND ($7::TIMESTAMPTZ IS NULL OR m.created_at >= $7)
           ORDER BY m.id DESC LIMIT $8"#,
        looked_through,
        filter.statuses() as Option<Vec<&str>>,
        filter.code,
        filter.written_before,
        filter.is_held(),
        filter.kind.as_deref(),
        filter.written_since,
        PAGE_ROWS as i64 + 1
    );
    let mut rows = rows.fetch_all(conn).await?;
    for row in &mut rows {
        row.body = without_code(&row.kind, std::mem::take(&mut row.body));
    }
    Ok(page(&ids, is_filtered, rows, |row| row.id))
}

async fn list_ids_of(conn: &mut PgConnection, client_id: &str, before: i64, limit: i64) -> Result<Vec<i64>, Error> {
    let ids = sqlx::query_scalar!(
        "SELECT id FROM messages WHERE client_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3",
        client_id,
        before,
        limit
    );
    Ok(ids.fetch_all(conn).await?)
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
        Some("unsettled") => {
            sqlx::query_scalar!(
            "WITH unsettled AS MATERIALIZED (SELECT id FROM messages WHERE status IN ('queued', 'sending', 'unknown'))
                 SELECT id FROM unsettled WHERE id < $1 ORDER BY id DESC LIMIT $2",
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
