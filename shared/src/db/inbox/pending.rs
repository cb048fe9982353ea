//! Events that wait to be processed, and their outcomes.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use jobrun_onboarding::State;
use sqlx::{PgConnection, PgPool};

use super::payload::{KINDS, KINDS_OF_NO_CONVERSATION, Payload};
use crate::db::{Error, ensure_rows};
use crate::queue::{self, Queue};
use crate::traces::Traceparent;

/// An event that has not been processed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingEvent {
    /// `events.id`.
    pub id: i64,
    /// The lane of the event.
    pub lane: String,
    /// When it arrived.
    pub received_at: DateTime<Utc>,
    /// The time until which it is or was deferred; empty if it never was.
    pub due_at: Option<DateTime<Utc>>,
    /// The payload; empty when the stored one cannot be read.
    pub payload: Option<Payload>,
    /// The span that recorded it, if its trace is sampled.
    pub traceparent: Option<Traceparent>,
}

impl PendingEvent {
    /// Returns whether it is a text.
    #[must_use]
    pub const fn is_text(&self) -> bool {
        matches!(self.payload, Some(Payload::Text { .. }))
    }
}

struct Row {
    id: i64,
    lane: String,
    received_at: DateTime<Utc>,
    due_at: Option<DateTime<Utc>>,
    payload: serde_json::Value,
    traceparent: Option<String>,
}

impl From<Row> for PendingEvent {
    fn from(row: Row) -> Self {
        let payload = serde_json::from_value(row.payload).ok();
        let traceparent = row.traceparent.as_deref().and_then(Traceparent::parse);
        Self { id: row.id, lane: row.lane, received_at: row.received_at, due_at: row.due_at, payload, traceparent }
    }
}

/// Returns the oldest pending events after the event `after` that were never deferred, at most `limit`, without locking
/// them. While conversations are stopped, their events are left out, as in every list of pending events here.
pub async fn list_oldest(conn: &mut PgConnection, after: i64, limit: i64) -> Result<Vec<PendingEvent>, Error> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT id, lane, received_at, due_at, payload, traceparent FROM events
         WHERE processed_at IS NULL AND kind = ANY($2) AND due_at IS NULL AND id > $3
           AND (kind = ANY($4) OR NOT EXISTS (SELECT FROM stops WHERE what = 'conversations' AND stopped_at IS NOT NULL))
         ORDER BY id LIMIT $1",
        limit,
        &KINDS as &[&str],
        after,
        &KINDS_OF_NO_CONVERSATION as &[&str]
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(PendingEvent::from).collect())
}

/// Returns the deferred events that are due again, the longest due first: those after `after`, the due time and the id
/// of an event, at most `limit`, without locking them.
pub async fn list_due_again(
    conn: &mut PgConnection,
    after: (DateTime<Utc>, i64),
    now: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<PendingEvent>, Error> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT id, lane, received_at, due_at, payload, traceparent FROM events
         WHERE processed_at IS NULL AND due_at IS NOT NULL AND kind = ANY($3) AND due_at <= $1 AND (due_at, id) > ($4, $5)
           AND (kind = ANY($6) OR NOT EXISTS (SELECT FROM stops WHERE what = 'conversations' AND stopped_at IS NOT NULL))
         ORDER BY due_at, id LIMIT $2",
        now,
        limit,
        &KINDS as &[&str],
        after.0,
        after.1,
        &KINDS_OF_NO_CONVERSATION as &[&str]
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(PendingEvent::from).collect())
}

/// Returns every pending event of `lanes`, oldest first. The caller must hold the lock on their client.
pub async fn list_pending_in(conn: &mut PgConnection, lanes: &[String]) -> Result<Vec<PendingEvent>, Error> {
    let rows = sqlx::query_as!(
        Row,
        // Queried lane by lane, and with the predicate of the lane index: by any other index, every pending event would
        // be read.
        r#"SELECT event.id AS "id!", event.lane AS "lane!", event.received_at AS "received_at!", event.due_at,
                  event.payload AS "payload!", event.traceparent
           FROM unnest($1::TEXT[]) AS asked (lane)
           CROSS JOIN LATERAL (SELECT id, lane, received_at, due_at, payload, traceparent FROM events
                               WHERE events.lane = asked.lane AND (processed_at IS NULL) IS TRUE AND kind = ANY($2)
                                 AND (kind = ANY($3)
                                      OR NOT EXISTS (SELECT FROM stops
                                                     WHERE what = 'conversations' AND stopped_at IS NOT NULL))
                               OFFSET 0) AS event
           ORDER BY event.id"#,
        lanes,
        &KINDS as &[&str],
        &KINDS_OF_NO_CONVERSATION as &[&str]
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(PendingEvent::from).collect())
}

/// Returns those of `lanes` in which an event is due, whether or not it may be processed now.
pub async fn list_lanes_with_due(
    conn: &mut PgConnection,
    lanes: &[String],
    now: DateTime<Utc>,
) -> Result<HashSet<String>, Error> {
    let due = sqlx::query_scalar!(
        r#"SELECT asked.lane AS "lane!" FROM unnest($1::TEXT[]) AS asked (lane)
           CROSS JOIN LATERAL (SELECT FROM events
                               WHERE events.lane = asked.lane AND (processed_at IS NULL) IS TRUE AND kind = ANY($2)
                                 AND (due_at IS NULL OR due_at <= $3)
                               LIMIT 1) AS event"#,
        lanes,
        &KINDS as &[&str],
        now
    );
    Ok(due.fetch_all(conn).await?.into_iter().collect())
}

/// Locks those of the events `ids` that are still pending, and skips those that another transaction has locked. For
/// events that have no client whose lock would cover them.
pub async fn lock_pending(conn: &mut PgConnection, ids: &[i64]) -> Result<Vec<PendingEvent>, Error> {
    let rows = sqlx::query_as!(
        Row,
        // This predicate matches no index of pending events, which would be read as a whole: each event is looked up by
        // id.
        "SELECT id, lane, received_at, due_at, payload, traceparent FROM events WHERE (processed_at IS NULL) IS NOT FALSE AND id = ANY($1)
           AND (kind = ANY($2) OR NOT EXISTS (SELECT FROM stops WHERE what = 'conversations' AND stopped_at IS NOT NULL))
         ORDER BY id
         FOR UPDATE SKIP LOCKED",
        ids,
        &KINDS_OF_NO_CONVERSATION as &[&str]
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(PendingEvent::from).collect())
}

/// The outcome of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// `events.id`.
    pub event_id: i64,
    /// The outcome in a word.
    pub word: &'static str,
    /// The client (`clients.id`) and its place in the conversation afterwards; empty if the event belongs to no client.
    pub client: Option<(String, State)>,
}

impl Outcome {
    /// Returns the outcome of an event that belongs to no client.
    #[must_use]
    pub const fn of_nobody(event_id: i64, word: &'static str) -> Self {
        Self { event_id, word, client: None }
    }
}

/// Marks events as processed, with their outcomes. Every event must still be pending.
///
/// # Errors
/// [`Error::RowCount`], when an event is not pending.
pub async fn mark_processed(conn: &mut PgConnection, outcomes: &[Outcome], now: DateTime<Utc>) -> Result<(), Error> {
    if outcomes.is_empty() {
        return Ok(());
    }
    let ids: Vec<i64> = outcomes.iter().map(|it| it.event_id).collect();
    let words: Vec<&str> = outcomes.iter().map(|it| it.word).collect();
    let clients: Vec<Option<&str>> = outcomes.iter().map(|it| Some(it.client.as_ref()?.0.as_str())).collect();
    let states: Vec<Option<&str>> = outcomes.iter().map(|it| Some(it.client.as_ref()?.1.name())).collect();
    let result = sqlx::query!(
        "UPDATE events SET processed_at = $5, outcome = done.outcome, client_id = done.client_id, state = done.state
         FROM unnest($1::BIGINT[], $2::TEXT[], $3::TEXT[], $4::TEXT[]) AS done (id, outcome, client_id, state)
         -- As above: each is looked up.
         WHERE events.id = done.id AND (events.processed_at IS NULL) IS NOT FALSE",
        &ids,
        &words as &[&str],
        &clients as &[Option<&str>],
        &states as &[Option<&str>],
        now
    )
    .execute(conn)
    .await?;
    ensure_rows(&result, outcomes.len(), "marking events as processed")
}

/// Defers every pending event of `lane` until `due_at`, after a failure that only time or the operator can fix.
pub async fn defer(pool: &PgPool, lane: &str, due_at: DateTime<Utc>) -> Result<(), Error> {
    let mut tx = pool.begin().await?;
    // Events that another session has locked are skipped: they stay due at once, and this statement does not wait for
    // them.
    sqlx::query!(
        "UPDATE events SET due_at = $2
         WHERE id IN (SELECT id FROM events WHERE (processed_at IS NULL) IS TRUE AND lane = $1 FOR UPDATE SKIP LOCKED)",
        lane,
        due_at
    )
    .execute(&mut *tx)
    .await?;
    queue::enqueue_at(&mut tx, Queue::ProcessEvents, due_at).await?;
    Ok(tx.commit().await?)
}

/// Defers events behind an earlier deferred event of their lane that is not `in_hand`, until that event is due: those
/// in hand, and all later events of the lane. No event overtakes another of its lane. Returns the ids of the events in
/// hand that have to wait.
pub async fn defer_behind(conn: &mut PgConnection, in_hand: &[&PendingEvent]) -> Result<HashSet<i64>, Error> {
    let ids: Vec<i64> = in_hand.iter().map(|event| event.id).collect();
    let lanes: Vec<&str> = in_hand.iter().map(|event| event.lane.as_str()).collect();
    let behind = sqlx::query_scalar!(
        r#"WITH in_hand AS (SELECT id, lane FROM unnest($1::BIGINT[], $2::TEXT[]) AS h (id, lane)),
                first AS (SELECT asked.lane, defer.id, defer.due_at
                          FROM (SELECT DISTINCT lane FROM in_hand) AS asked
                          CROSS JOIN LATERAL (SELECT id, due_at FROM events
                                              WHERE events.lane = asked.lane AND (processed_at IS NULL) IS TRUE
                                                AND due_at IS NOT NULL AND id <> ALL ($1)
                                              ORDER BY id LIMIT 1) AS defer),
                -- One that another session has locked is passed over, and looked at again.
                behind AS (SELECT events.id, first.due_at FROM first
                           CROSS JOIN LATERAL (SELECT id FROM events
                                               WHERE events.lane = first.lane AND (processed_at IS NULL) IS TRUE
                                                 AND events.id > first.id
                                                 AND (events.due_at IS NULL OR events.due_at < first.due_at)
                                               ORDER BY id FOR UPDATE SKIP LOCKED) AS events),
                moved AS (UPDATE events SET due_at = behind.due_at FROM behind WHERE events.id = behind.id)
           SELECT in_hand.id AS "id!" FROM in_hand JOIN first ON first.lane = in_hand.lane AND first.id < in_hand.id"#,
        &ids,
        &lanes as &[&str]
    );
    Ok(behind.fetch_all(conn).await?.into_iter().collect())
}

/// Returns whether any event is due that may be processed.
pub async fn any_pending(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<bool, Error> {
    let any = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM events
                          WHERE processed_at IS NULL AND kind = ANY($2) AND (due_at IS NULL OR due_at <= $1)
                            AND (kind = ANY($3) OR NOT EXISTS (SELECT FROM stops WHERE what = 'conversations'
                                                                 AND stopped_at IS NOT NULL))) AS "any!""#,
        now,
        &KINDS as &[&str],
        &KINDS_OF_NO_CONVERSATION as &[&str]
    );
    Ok(any.fetch_one(conn).await?)
}

/// The outcome of a text that no question could make anything of.
pub const NOT_UNDERSTOOD: &str = "not_understood";

/// Returns the last texts of a client that were not understood, at most `limit`, the oldest first: the event `last`, and those before.
pub async fn list_not_understood(
    conn: &mut PgConnection,
    client_id: &str,
    last: i64,
    limit: i64,
) -> Result<Vec<String>, Error> {
    let bodies = sqlx::query_scalar!(
        r#"SELECT body AS "body!" FROM (
               SELECT id, payload ->> 'body' AS body FROM events
               WHERE client_id = $1 AND id <= $2 AND kind = 'text' AND outcome = $4 ORDER BY id DESC LIMIT $3
           ) AS newest
           WHERE body IS NOT NULL ORDER BY id"#,
        client_id,
        last,
        limit,
        NOT_UNDERSTOOD
    );
    Ok(bodies.fetch_all(conn).await?)
}
