//! Events.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;

use super::{PAGE_ROWS, Page, page, window};
use crate::db::Error;

/// Which events are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Only those that wait to be processed.
    pub only_waiting: bool,
    /// The kind.
    pub kind: Option<String>,
    /// The outcome.
    pub outcome: Option<String>,
    /// Only events that arrived before.
    pub received_before: Option<DateTime<Utc>>,
}

impl EventFilter {
    fn is_filtered(&self) -> bool {
        self.kind.is_some() || self.outcome.is_some() || self.received_before.is_some()
    }
}

/// An event, as a list shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRow {
    /// `events.id`.
    pub id: i64,
    /// Its source.
    pub source: String,
    /// The source's name for it.
    pub external_id: String,
    /// Its kind.
    pub kind: String,
    /// Its lane.
    pub lane: String,
    /// Its content.
    pub payload: Value,
    /// When it arrived.
    pub received_at: DateTime<Utc>,
    /// Until when it was deferred.
    pub due_at: Option<DateTime<Utc>>,
    /// When it was processed.
    pub processed_at: Option<DateTime<Utc>>,
    /// The outcome.
    pub outcome: Option<String>,
    /// The client, if it is one's.
    pub client_id: Option<String>,
    /// The name of the client's business.
    pub business_name: Option<String>,
    /// The client's state afterwards.
    pub state: Option<String>,
}

/// Returns a page of events, newest first.
pub async fn list_events(conn: &mut PgConnection, filter: &EventFilter, before: i64) -> Result<Page<EventRow>, Error> {
    let is_filtered = filter.is_filtered();
    let limit = window(is_filtered);
    let ids = if filter.only_waiting {
        sqlx::query_scalar!(
            "SELECT id FROM events WHERE processed_at IS NULL AND id < $1 ORDER BY id DESC LIMIT $2",
            before,
            limit
        )
        .fetch_all(&mut *conn)
        .await?
    } else {
        sqlx::query_scalar!("SELECT id FROM events WHERE id < $1 ORDER BY id DESC LIMIT $2", before, limit)
            .fetch_all(&mut *conn)
            .await?
    };
    let looked_through: &[i64] = ids.get(..(limit - 1) as usize).unwrap_or(&ids);
    let rows = sqlx::query_as!(
        EventRow,
        r#"SELECT e.id, e.source, e.external_id, e.kind, e.lane, e.payload, e.received_at, e.due_at, e.processed_at, e.outcome,
                  e.client_id, c."businessName" AS "business_name?", e.state
           FROM events e LEFT JOIN clients c ON c.id = e.client_id
           WHERE e.id = ANY($1) AND ($2::TEXT IS NULL OR e.kind = $2) AND ($3::TEXT IS NULL OR e.outcome = $3)
             AND ($4::TIMESTAMPTZ IS NULL OR e.received_at < $4)
           ORDER BY e.id DESC LIMIT $5"#,
        looked_through,
        filter.kind,
        filter.outcome,
        filter.received_before,
        PAGE_ROWS as i64 + 1
    );
    Ok(page(&ids, is_filtered, rows.fetch_all(conn).await?, |row| row.id))
}
