//! Records events: each once, in the order given, with the job that processes it.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use jobrun_stripe::event::Incoming;
use jobrun_twilio::signature::SignedDigest;
use sqlx::types::Json;
use sqlx::{Connection, PgConnection, PgPool};

use super::payload::Payload;
use crate::db::{Error, Patience};
use crate::queue::{ImmediateJob, Queue};
use crate::traces::Traceparent;

/// Where an event comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A webhook of Twilio's.
    Twilio,
    /// A webhook of Stripe's.
    Stripe,
    /// An operator, by a command.
    Operator,
    /// Our own program, as a consequence of another event.
    System,
}

impl Source {
    /// Returns its name, as it is stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Twilio => "twilio",
            Self::Stripe => "stripe",
            Self::Operator => "operator",
            Self::System => "system",
        }
    }
}

/// An event to be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// Where the event comes from.
    pub source: Source,
    /// The name that the source gives it. The same name is the same event, however often it arrives.
    pub external_id: String,
    /// The payload.
    pub payload: Payload,
    /// The span that records it, if its trace is sampled.
    pub traceparent: Option<Traceparent>,
}

impl NewEvent {
    /// Returns an event that belongs to no trace.
    #[must_use]
    pub fn new(source: Source, external_id: impl Into<String>, payload: Payload) -> Self {
        Self { source, external_id: external_id.into(), payload, traceparent: None }
    }
}

impl From<Incoming> for NewEvent {
    /// Returns the event of an event of Stripe's, which is the same from a webhook and from Stripe's list.
    fn from(incoming: Incoming) -> Self {
        let payload = Payload::Stripe { id: incoming.id.clone(), event: incoming.event };
        Self::new(Source::Stripe, incoming.id, payload)
    }
}

/// An event as a webhook received it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The event.
    pub event: NewEvent,
    /// The digest of the signed content, if the signature does not fix the boundaries of its parts: one digest is one
    /// event, under any name.
    pub signed_digest: Option<SignedDigest>,
}

impl From<NewEvent> for Received {
    fn from(event: NewEvent) -> Self {
        Self { event, signed_digest: None }
    }
}

/// Records events and the job that processes them, in a transaction of its own. Once this returns, nothing can be lost.
/// Returns how many events were new.
///
/// # Errors
/// When the database does not accept them. Then nothing is recorded.
pub async fn record(pool: &PgPool, events: &[NewEvent], now: DateTime<Utc>) -> Result<usize, Error> {
    let mut tx = pool.begin().await?;
    let recorded = insert(&mut tx, events, now).await?;
    tx.commit().await?;
    Ok(recorded)
}

/// What became of a received event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recording {
    /// It is recorded now.
    New,
    /// It was recorded before.
    Repeat,
    /// Its lane is locked: it is not recorded.
    Skipped,
}

/// Like [`record`], but skips events whose lanes another session has locked instead of waiting for them. Skips also the
/// events whose lanes are in `passed_over`, and adds to it the lanes that it finds locked. Returns for each event, in
/// order, what became of it.
///
/// # Errors
/// When the database does not accept them. Then nothing is recorded.
pub async fn record_free(
    pool: &PgPool,
    events: &[Received],
    passed_over: &mut HashSet<String>,
    patience: Patience,
    now: DateTime<Utc>,
) -> Result<Vec<Recording>, Error> {
    let is_tried = |it: &&Received| passed_over.is_empty() || !passed_over.contains(&it.event.payload.lane());
    let rows: Vec<(&NewEvent, Option<&[u8]>)> = events
        .iter()
        .filter(is_tried)
        .map(|it| (&it.event, it.signed_digest.as_ref().map(|digest| digest.as_slice())))
        .collect();
    let written = match patience {
        Patience::Usual => write_alone(pool, &rows, now).await?,
        Patience::Short => {
            let mut tx = crate::db::begin(pool, patience).await?;
            let written = write(&mut tx, &rows, now).await;
            crate::db::finish(tx, written).await?
        }
    };
    let mut recordings = written.recordings.into_iter();
    let recordings = events
        .iter()
        .map(|it| if is_tried(&it) { recordings.next().unwrap_or(Recording::Skipped) } else { Recording::Skipped });
    let recordings = recordings.collect();
    passed_over.extend(written.locked_lanes);
    Ok(recordings)
}

/// As [`write()`], whose statement is a transaction by itself. So it may commit after its caller has given up.
async fn write_alone(
    pool: &PgPool,
    events: &[(&NewEvent, Option<&[u8]>)],
    now: DateTime<Utc>,
) -> Result<Written, Error> {
    let mut conn = pool.acquire().await?;
    let written = write(&mut conn, events, now).await;
    if written.is_err() {
        // PostgreSQL reports an error before it releases the locks, and the next attempt would find them on its lanes.
        let _ = conn.ping().await;
    }
    written
}

/// Returns the outcome of the event that `source` named so: `None` while it is not processed.
///
/// # Errors
/// When there is no such event.
pub async fn find_outcome(conn: &mut PgConnection, source: Source, external_id: &str) -> Result<Option<String>, Error> {
    let outcome = sqlx::query_scalar!(
        "SELECT outcome FROM events WHERE source = $1 AND external_id = $2",
        source.name(),
        external_id
    );
    Ok(outcome.fetch_one(conn).await?)
}

/// Returns the payload of the event that `source` named so, if there is one that can be read.
pub async fn find_payload(
    conn: &mut PgConnection,
    source: Source,
    external_id: &str,
) -> Result<Option<Payload>, Error> {
    let payload = sqlx::query_scalar!(
        "SELECT payload FROM events WHERE source = $1 AND external_id = $2",
        source.name(),
        external_id
    );
    Ok(payload.fetch_optional(conn).await?.and_then(|payload| serde_json::from_value(payload).ok()))
}

/// Returns the events that are not recorded yet, in order.
pub async fn list_new(conn: &mut PgConnection, events: Vec<NewEvent>) -> Result<Vec<NewEvent>, Error> {
    let ids: Vec<&str> = events.iter().map(|event| event.external_id.as_str()).collect();
    let sources: Vec<&str> = events.iter().map(|event| event.source.name()).collect();
    let are_new = sqlx::query_scalar!(
        r#"SELECT (SELECT events.id FROM events WHERE events.source = e.source AND events.external_id = e.external_id) IS NULL
               AS "is_new!"
           FROM unnest($1::TEXT[], $2::TEXT[]) WITH ORDINALITY AS e (source, external_id, place) ORDER BY place"#,
        &sources as &[&str],
        &ids as &[&str]
    );
    let are_new = are_new.fetch_all(conn).await?;
    Ok(events.into_iter().zip(are_new).filter_map(|(event, is_new)| is_new.then_some(event)).collect())
}

/// Inserts events, in the order given, and one job if any of them is new. Returns how many are new. Locks their lanes
/// until the transaction ends.
pub async fn insert(conn: &mut PgConnection, events: &[NewEvent], now: DateTime<Utc>) -> Result<usize, Error> {
    if events.is_empty() {
        return Ok(0);
    }
    let lanes: Vec<String> = events.iter().map(|event| event.payload.lane()).collect();
    // Sorted by the locked hash, so that two transactions cannot deadlock.
    sqlx::query!(
        "SELECT pg_advisory_xact_lock(1, hashtext(lane)) FROM unnest($1::TEXT[]) WITH ORDINALITY AS l (lane, place)
         ORDER BY hashtext(lane)",
        &once_each(&lanes) as &[&str]
    )
    .execute(&mut *conn)
    .await?;
    let events: Vec<(&NewEvent, Option<&[u8]>)> = events.iter().map(|event| (event, None)).collect();
    let written = write(conn, &events, now).await?;
    Ok(written.recordings.into_iter().filter(|it| *it == Recording::New).count())
}

fn once_each(lanes: &[String]) -> Vec<&str> {
    let mut lanes: Vec<&str> = lanes.iter().map(String::as_str).collect();
    lanes.sort_unstable();
    lanes.dedup();
    lanes
}

/// The result of [`write()`].
struct Written {
    /// For each event, in order.
    recordings: Vec<Recording>,
    /// The lanes that another session has locked.
    locked_lanes: HashSet<String>,
}

/// Inserts events, in the order given, and one job if any of them is new. Skips those whose lanes another session has locked.
///
/// Ids are assigned at insertion, and transactions commit in any order. Without a lock on the lane a later text could
/// become visible, and be answered, before an earlier one of the same sender. So the lane of each row is locked before
/// the row gets its id. The lock is on a hash, and two lanes may share one; the only cost is a short wait.
///
/// Each event comes with the digest of its signed content, if it has one. An event is a repeat by its name or by its
/// digest.
async fn write(
    conn: &mut PgConnection,
    events: &[(&NewEvent, Option<&[u8]>)],
    now: DateTime<Utc>,
) -> Result<Written, Error> {
    if events.is_empty() {
        return Ok(Written { recordings: Vec::new(), locked_lanes: HashSet::new() });
    }
    let ids: Vec<&str> = events.iter().map(|(event, _)| event.external_id.as_str()).collect();
    let sources: Vec<&str> = events.iter().map(|(event, _)| event.source.name()).collect();
    let kinds: Vec<&str> = events.iter().map(|(event, _)| event.payload.kind()).collect();
    let lanes: Vec<String> = events.iter().map(|(event, _)| event.payload.lane()).collect();
    let payloads: Vec<Json<&Payload>> = events.iter().map(|(event, _)| Json(&event.payload)).collect();
    let digests: Vec<Option<&[u8]>> = events.iter().map(|(_, digest)| *digest).collect();
    let spans: Vec<Option<String>> = events.iter().map(|(event, _)| Some(event.traceparent?.to_string())).collect();
    let job = ImmediateJob::new()?;
    let rows = sqlx::query!(
        r#"WITH lanes AS MATERIALIZED (
               SELECT lane, pg_try_advisory_xact_lock(1, hashtext(lane)) AS is_ours FROM unnest($9::TEXT[]) AS l (lane)
           ), new AS (
               INSERT INTO events (source, external_id, kind, lane, payload, signed_digest, traceparent, received_at)
               SELECT source, external_id, kind, lane, payload, signed_digest, traceparent, $8
               FROM unnest($1::TEXT[], $2::TEXT[], $3::TEXT[], $4::TEXT[], $5::JSONB[], $6::BYTEA[], $7::TEXT[])
                   WITH ORDINALITY AS e (source, external_id, kind, lane, payload, signed_digest, traceparent, place)
               WHERE lane IN (SELECT lane FROM lanes WHERE is_ours)
               ORDER BY place
               ON CONFLICT DO NOTHING
               RETURNING source, external_id
           ), job AS (
               INSERT INTO apalis.jobs (id, job_type, job, max_attempts, run_at, metadata)
               SELECT $10, $11, $12, $13, to_timestamp(0), '' WHERE EXISTS (SELECT FROM new)
           )
           SELECT source AS "source?", external_id AS "external_id?", NULL AS "locked_lane?" FROM new
           UNION ALL
           SELECT NULL, NULL, lane FROM lanes WHERE NOT is_ours"#,
        &sources as &[&str],
        &ids as &[&str],
        &kinds as &[&str],
        &lanes,
        &payloads as &[Json<&Payload>],
        &digests as &[Option<&[u8]>],
        &spans as &[Option<String>],
        now,
        &once_each(&lanes) as &[&str],
        job.id,
        Queue::ProcessEvents.name(),
        job.payload,
        job.attempts_max
    )
    .fetch_all(conn)
    .await?;
    let mut inserted = HashSet::new();
    let mut locked_lanes = HashSet::new();
    for row in rows {
        inserted.extend(row.source.zip(row.external_id));
        locked_lanes.extend(row.locked_lane);
    }
    if inserted.len() == events.len() {
        // As is usual, each event is new.
        return Ok(Written { recordings: vec![Recording::New; events.len()], locked_lanes });
    }
    let recordings = events.iter().zip(&lanes).map(|((event, _), lane)| {
        // The first of two that are the same event is the new one.
        if inserted.remove(&(event.source.name().to_owned(), event.external_id.clone())) {
            Recording::New
        } else if locked_lanes.contains(lane) {
            Recording::Skipped
        } else {
            Recording::Repeat
        }
    });
    Ok(Written { recordings: recordings.collect(), locked_lanes })
}
