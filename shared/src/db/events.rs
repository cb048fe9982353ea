//! The inbox: everything that happens, once each.
//!
//! An event is written in the same transaction as the job that will look at it, and whoever told us is answered only after
//! the commit. Nothing here decides what an event means.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use jobrun_onboarding::{E164, State};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool, types::Json};

use super::{Error, LOOKED_AT, Patience, ensure_rows};
use crate::queue::{self, Queue};
use crate::twilio::signature::SignedDigest;

/// What happened, as it is stored.
///
/// Variants and fields may be added; a stored one is never renamed, or the previous version could not read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Payload {
    /// Somebody texted one of our numbers.
    Text {
        /// The sender as Twilio gave it: E.164, or a short code, or a name.
        from: String,
        /// Our number, E.164.
        to: String,
        /// What it says.
        body: String,
        /// Twilio's OptOutType: what it took the text for, and has answered.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        opt_out_type: Option<String>,
    },
    /// A call arrived at one of our numbers.
    CallArrived {
        /// The caller as Twilio gave it; withheld numbers have many spellings.
        from: String,
        /// Our number, E.164.
        to: String,
        /// Twilio's name for the call.
        #[serde(default)]
        sid: Option<String>,
    },
    /// A call to one of our numbers is over.
    CallEnded {
        /// The caller as Twilio gave it.
        from: String,
        /// Our number, E.164.
        to: String,
        /// Twilio's CallStatus.
        status: String,
        /// Twilio's name for the call.
        #[serde(default)]
        sid: Option<String>,
    },
    /// Twilio reports what became of a text.
    DeliveryReport {
        /// Our `messages.id`, which rode in the callback's address.
        message_id: Option<i64>,
        /// Twilio's name for the text.
        sid: String,
        /// Twilio's MessageStatus.
        status: String,
        /// Twilio's ErrorCode.
        error_code: Option<i32>,
        /// The text's recipient, E.164.
        #[serde(default)]
        to: Option<String>,
    },
    /// A client that was told so is to be given a number.
    NumberDue {
        /// `clients.id`.
        client_id: String,
    },
    /// Twilio refused a text because its recipient has opted out.
    OptedOut {
        /// The recipient, E.164.
        phone: String,
        /// Our `messages.id` of the text.
        message_id: i64,
    },
    /// Texts cannot reach a phone, says the network.
    Unreachable {
        /// The phone, E.164.
        phone: String,
        /// Our `messages.id` of the text that says so.
        message_id: i64,
    },
    /// A text arrived that was reported as unable to reach its phone.
    Reached {
        /// The phone, E.164.
        phone: String,
        /// Our `messages.id` of the text.
        message_id: i64,
    },
    /// Stripe tells us something.
    Stripe {
        /// Stripe's name for the event: `evt_…`.
        id: String,
        /// The whole event, as Stripe wrote it.
        event: serde_json::Value,
    },
    /// A client's payment stands otherwise than before; how, is in `subscriptions`.
    PaymentChanged {
        /// `clients.id`.
        client_id: String,
        /// When what changed it reached us: the client's place in line, should it have to wait.
        since: DateTime<Utc>,
    },
    /// A client's number was taken from it by hand.
    NumberLost {
        /// `clients.id`.
        client_id: String,
        /// The number, E.164.
        number: String,
    },
}

/// The kinds that this version knows. Others are left alone: they are for the next version, which may run already.
const KINDS: [&str; 11] = [
    "text",
    "call_arrived",
    "call_ended",
    "delivery_report",
    "number_due",
    "opted_out",
    "unreachable",
    "reached",
    "stripe",
    "payment_changed",
    "number_lost",
];

impl Payload {
    /// The name of the kind, as the column `kind` has it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Text { .. } => "text",
            Self::CallArrived { .. } => "call_arrived",
            Self::CallEnded { .. } => "call_ended",
            Self::DeliveryReport { .. } => "delivery_report",
            Self::NumberDue { .. } => "number_due",
            Self::OptedOut { .. } => "opted_out",
            Self::Unreachable { .. } => "unreachable",
            Self::Reached { .. } => "reached",
            Self::Stripe { .. } => "stripe",
            Self::PaymentChanged { .. } => "payment_changed",
            Self::NumberLost { .. } => "number_lost",
        }
    }

    /// Whether a conversation hears of it, in order with whatever else happens to its client.
    #[must_use]
    pub const fn is_for_a_conversation(&self) -> bool {
        !matches!(self, Self::DeliveryReport { .. } | Self::Stripe { .. })
    }

    /// Whose event it is; events of one lane are taken in order.
    #[must_use]
    pub fn lane(&self) -> String {
        match self {
            Self::Text { from: phone, .. }
            | Self::OptedOut { phone, .. }
            | Self::Unreachable { phone, .. }
            | Self::Reached { phone, .. } => phone_lane(phone),
            Self::CallArrived { to, .. } | Self::CallEnded { to, .. } => number_lane(to),
            Self::DeliveryReport { message_id: Some(id), .. } => format!("message:{id}"),
            Self::DeliveryReport { message_id: None, sid, .. } => format!("message:{sid}"),
            // In any order: what they mean together does not depend on it.
            Self::Stripe { id, .. } => format!("stripe:{id}"),
            Self::NumberDue { client_id }
            | Self::PaymentChanged { client_id, .. }
            | Self::NumberLost { client_id, .. } => client_lane(client_id),
        }
    }
}

/// Text as PostgreSQL can keep it: it keeps every character but one. The text is worth more than that character.
#[must_use]
pub fn storable(text: &str) -> String {
    text.replace('\0', "\u{FFFD}")
}

fn phone_lane(phone: &str) -> String {
    format!("phone:{}", phone.trim_start_matches('+'))
}

fn number_lane(number: &str) -> String {
    format!("number:{number}")
}

fn client_lane(client_id: &str) -> String {
    format!("client:{client_id}")
}

/// The lanes in which a client's events arrive.
#[must_use]
pub fn lanes_of(client_id: &str, phone: &E164, number: Option<&E164>) -> Vec<String> {
    let mut lanes = vec![phone_lane(phone.digits()), client_lane(client_id)];
    lanes.extend(number.map(|number| number_lane(number.as_str())));
    lanes
}

/// Who tells us of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A webhook of Twilio's.
    Twilio,
    /// A webhook of Stripe's.
    Stripe,
    /// An operator, by a command.
    Operator,
    /// We ourselves, as a consequence of something else.
    System,
}

impl Source {
    const fn name(self) -> &'static str {
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
    /// Who tells us.
    pub source: Source,
    /// The name that the source gives it: the same name is the same event, however often it is told.
    pub external_id: String,
    /// What happened.
    pub payload: Payload,
}

/// An event as a webhook told us of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The event.
    pub event: NewEvent,
    /// The digest of what was signed, where its boundaries are not: one digest is one event, under any name.
    pub signed_digest: Option<SignedDigest>,
}

impl From<NewEvent> for Received {
    fn from(event: NewEvent) -> Self {
        Self { event, signed_digest: None }
    }
}

/// Records events and the job that will look at them, in a transaction of its own. Once this returns, nothing can be lost.
///
/// Answers how many of them were new.
///
/// # Errors
/// When the database does not take them; then nothing is recorded.
pub async fn record(pool: &PgPool, events: &[NewEvent], now: DateTime<Utc>) -> Result<usize, Error> {
    let mut tx = pool.begin().await?;
    let recorded = insert(&mut tx, events, now).await?;
    tx.commit().await?;
    Ok(recorded)
}

/// As [`record`], but passes over the events whose lanes somebody else has locked, rather than wait for them. So it does those
/// whose lanes are in `passed_over`, to which it adds the lanes that it finds locked. Answers of each, in order, whether it is
/// recorded.
///
/// # Errors
/// When the database does not take them; then nothing is recorded.
pub async fn record_free(
    pool: &PgPool,
    events: &[Received],
    passed_over: &mut HashSet<String>,
    patience: Patience,
    now: DateTime<Utc>,
) -> Result<Vec<bool>, Error> {
    let mut tx = super::begin(pool, patience).await?;
    let recorded = write_free(&mut tx, events, passed_over, now).await;
    super::finish(tx, recorded).await
}

async fn write_free(
    conn: &mut PgConnection,
    events: &[Received],
    passed_over: &mut HashSet<String>,
    now: DateTime<Utc>,
) -> Result<Vec<bool>, Error> {
    let locked_by_others = sqlx::query_scalar!(
        r#"SELECT lane AS "lane!" FROM unnest($1::TEXT[]) AS l (lane) WHERE NOT pg_try_advisory_xact_lock(1, hashtext(lane))"#,
        &lanes_to_lock(events.iter().map(|it| &it.event))
    );
    passed_over.extend(locked_by_others.fetch_all(&mut *conn).await?);
    let is_free = |it: &Received| passed_over.is_empty() || !passed_over.contains(&it.event.payload.lane());
    let recorded: Vec<bool> = events.iter().map(is_free).collect();
    let free = events.iter().zip(&recorded).filter(|(_, recorded)| **recorded);
    let free: Vec<(&NewEvent, Option<&[u8]>)> =
        free.map(|(it, _)| (&it.event, it.signed_digest.as_ref().map(|digest| digest.as_slice()))).collect();
    write(conn, &free, now).await?;
    Ok(recorded)
}

/// Which of `events` are not recorded yet, in order.
///
/// # Errors
/// When the database does not answer.
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

/// Writes events, in the order given, and one job if any of them was new. Locks their lanes until the transaction ends.
///
/// # Errors
/// When the database does not take them.
pub async fn insert(conn: &mut PgConnection, events: &[NewEvent], now: DateTime<Utc>) -> Result<usize, Error> {
    if events.is_empty() {
        return Ok(0);
    }
    // Sorted by what is locked, so that two transactions never wait for each other.
    sqlx::query!(
        "SELECT pg_advisory_xact_lock(1, hashtext(lane)) FROM unnest($1::TEXT[]) WITH ORDINALITY AS l (lane, place)
         ORDER BY hashtext(lane)",
        &lanes_to_lock(events)
    )
    .execute(&mut *conn)
    .await?;
    let events: Vec<(&NewEvent, Option<&[u8]>)> = events.iter().map(|event| (event, None)).collect();
    write(conn, &events, now).await
}

/// The lanes of events, once each.
///
/// Ids are given out at insertion, and transactions commit in any order. Without a lock on the lane a later text could become
/// visible, and be answered, before an earlier one of the same sender. The lock is on a hash, so that two lanes may share one,
/// which costs a moment and nothing else.
fn lanes_to_lock<'a>(events: impl IntoIterator<Item = &'a NewEvent>) -> Vec<String> {
    let mut lanes: Vec<String> = events.into_iter().map(|event| event.payload.lane()).collect();
    lanes.sort_unstable();
    lanes.dedup();
    lanes
}

/// Writes events whose lanes are locked, in the order given, and one job if any of them was new. Answers how many were.
///
/// Each comes with the digest of what was signed, if anything was. An event is a repeat by its name as well as by its digest.
async fn write(
    conn: &mut PgConnection,
    events: &[(&NewEvent, Option<&[u8]>)],
    now: DateTime<Utc>,
) -> Result<usize, Error> {
    if events.is_empty() {
        return Ok(0);
    }
    let ids: Vec<&str> = events.iter().map(|(event, _)| event.external_id.as_str()).collect();
    let sources: Vec<&str> = events.iter().map(|(event, _)| event.source.name()).collect();
    let kinds: Vec<&str> = events.iter().map(|(event, _)| event.payload.kind()).collect();
    let lanes: Vec<String> = events.iter().map(|(event, _)| event.payload.lane()).collect();
    let payloads: Vec<Json<&Payload>> = events.iter().map(|(event, _)| Json(&event.payload)).collect();
    let digests: Vec<Option<&[u8]>> = events.iter().map(|(_, digest)| *digest).collect();
    let result = sqlx::query!(
        "INSERT INTO events (source, external_id, kind, lane, payload, signed_digest, received_at)
         SELECT source, external_id, kind, lane, payload, signed_digest, $7
         FROM unnest($1::TEXT[], $2::TEXT[], $3::TEXT[], $4::TEXT[], $5::JSONB[], $6::BYTEA[])
             WITH ORDINALITY AS e (source, external_id, kind, lane, payload, signed_digest, place)
         ORDER BY place
         ON CONFLICT DO NOTHING",
        &sources as &[&str],
        &ids as &[&str],
        &kinds as &[&str],
        &lanes,
        &payloads as &[Json<&Payload>],
        &digests as &[Option<&[u8]>],
        now
    )
    .execute(&mut *conn)
    .await?;
    let recorded = usize::try_from(result.rows_affected()).unwrap_or(usize::MAX);
    if recorded > 0 {
        queue::nudge(conn, Queue::ProcessEvents).await?;
    }
    Ok(recorded)
}

/// An event that has not been processed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// `events.id`.
    pub id: i64,
    /// Whose event it is.
    pub lane: String,
    /// When it arrived.
    pub received_at: DateTime<Utc>,
    /// Until when it is put off, or was; empty if it never was.
    pub due_at: Option<DateTime<Utc>>,
    /// What happened; empty when a stored payload cannot be read.
    pub payload: Option<Payload>,
}

struct Row {
    id: i64,
    lane: String,
    received_at: DateTime<Utc>,
    due_at: Option<DateTime<Utc>>,
    payload: serde_json::Value,
}

impl From<Row> for Waiting {
    fn from(row: Row) -> Self {
        let payload = serde_json::from_value(row.payload).ok();
        Self { id: row.id, lane: row.lane, received_at: row.received_at, due_at: row.due_at, payload }
    }
}

/// The oldest waiting events after the event `after` that were never put off, at most `limit`, without locking them.
///
/// # Errors
/// When the database does not answer.
pub async fn list_oldest(conn: &mut PgConnection, after: i64, limit: i64) -> Result<Vec<Waiting>, Error> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT id, lane, received_at, due_at, payload FROM events
         WHERE processed_at IS NULL AND kind = ANY($2) AND due_at IS NULL AND id > $3
         ORDER BY id LIMIT $1",
        limit,
        &KINDS as &[&str],
        after
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(Waiting::from).collect())
}

/// The events that were put off and are due again, the longest due first: those after `after`, the time and the id of an event,
/// at most `limit`, without locking them.
///
/// # Errors
/// When the database does not answer.
pub async fn list_due_again(
    conn: &mut PgConnection,
    after: (DateTime<Utc>, i64),
    now: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Waiting>, Error> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT id, lane, received_at, due_at, payload FROM events
         WHERE processed_at IS NULL AND kind = ANY($3) AND due_at <= $1 AND (due_at, id) > ($4, $5)
         ORDER BY due_at, id LIMIT $2",
        now,
        limit,
        &KINDS as &[&str],
        after.0,
        after.1
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(Waiting::from).collect())
}

/// Every waiting event of `lanes`, oldest first. For whoever holds the lock on their client.
///
/// # Errors
/// When the database does not answer.
pub async fn list_waiting_in(conn: &mut PgConnection, lanes: &[String]) -> Result<Vec<Waiting>, Error> {
    let rows = sqlx::query_as!(
        Row,
        // Lane by lane, and in the words of its index, so that no other fits, by which all that waits would be read.
        r#"SELECT event.id AS "id!", event.lane AS "lane!", event.received_at AS "received_at!", event.due_at,
                  event.payload AS "payload!"
           FROM unnest($1::TEXT[]) AS asked (lane)
           CROSS JOIN LATERAL (SELECT id, lane, received_at, due_at, payload FROM events
                               WHERE events.lane = asked.lane AND (processed_at IS NULL) IS TRUE AND kind = ANY($2)
                               OFFSET 0) AS event
           ORDER BY event.id"#,
        lanes,
        &KINDS as &[&str]
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(Waiting::from).collect())
}

/// Locks those of the events `ids` that are still waiting and that nobody else has locked. For events that have no client
/// whose lock would stand for them.
///
/// # Errors
/// When the database does not answer.
pub async fn lock_waiting(conn: &mut PgConnection, ids: &[i64]) -> Result<Vec<Waiting>, Error> {
    let rows = sqlx::query_as!(
        Row,
        // Said in this way, no index of what waits fits, all of which would be read: each is looked up.
        "SELECT id, lane, received_at, due_at, payload FROM events WHERE (processed_at IS NULL) IS NOT FALSE AND id = ANY($1)
         ORDER BY id
         FOR UPDATE SKIP LOCKED",
        ids
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(Waiting::from).collect())
}

/// What came of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// `events.id`.
    pub event_id: i64,
    /// What came of it, in a word.
    pub word: &'static str,
    /// Whose event it was, and where that client stood afterwards; nothing, if it was nobody's.
    pub client: Option<(String, State)>,
}

impl Outcome {
    /// Of an event that was no client's.
    #[must_use]
    pub const fn of_nobody(event_id: i64, word: &'static str) -> Self {
        Self { event_id, word, client: None }
    }
}

/// Marks events as processed, each with what came of it. Every one of them must still be waiting.
///
/// # Errors
/// When one is not, or the database does not answer.
pub async fn mark_processed(conn: &mut PgConnection, outcomes: &[Outcome], now: DateTime<Utc>) -> Result<(), Error> {
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

/// Puts off every waiting event of `lane` until `due_at`, after a failure that only time or a person can mend.
///
/// # Errors
/// When the database does not answer.
pub async fn put_off(pool: &PgPool, lane: &str, due_at: DateTime<Utc>) -> Result<(), Error> {
    let mut tx = pool.begin().await?;
    // One that another session has locked is passed over: it comes again, at once, and keeps nothing else waiting.
    sqlx::query!(
        "UPDATE events SET due_at = $2
         WHERE id IN (SELECT id FROM events WHERE (processed_at IS NULL) IS TRUE AND lane = $1 FOR UPDATE SKIP LOCKED)",
        lane,
        due_at
    )
    .execute(&mut *tx)
    .await?;
    queue::nudge_at(&mut tx, Queue::ProcessEvents, due_at).await?;
    Ok(tx.commit().await?)
}

/// Puts off those of `in_hand`, and what comes after them, that an earlier event of their lane comes before which was put off and
/// is not in hand, until that one is due: nothing of a lane overtakes. Returns the ids of those in hand that wait.
///
/// # Errors
/// When the database does not answer.
pub async fn put_off_behind(conn: &mut PgConnection, in_hand: &[&Waiting]) -> Result<HashSet<i64>, Error> {
    let ids: Vec<i64> = in_hand.iter().map(|event| event.id).collect();
    let lanes: Vec<&str> = in_hand.iter().map(|event| event.lane.as_str()).collect();
    let behind = sqlx::query_scalar!(
        r#"WITH in_hand AS (SELECT id, lane FROM unnest($1::BIGINT[], $2::TEXT[]) AS h (id, lane)),
                first AS (SELECT asked.lane, put_off.id, put_off.due_at
                          FROM (SELECT DISTINCT lane FROM in_hand) AS asked
                          CROSS JOIN LATERAL (SELECT id, due_at FROM events
                                              WHERE events.lane = asked.lane AND (processed_at IS NULL) IS TRUE
                                                AND due_at IS NOT NULL AND id <> ALL ($1)
                                              ORDER BY id LIMIT 1) AS put_off),
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

/// Whether any event waits to be looked at.
///
/// # Errors
/// When the database does not answer.
pub async fn any_waiting(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<bool, Error> {
    let any = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM events
                          WHERE processed_at IS NULL AND kind = ANY($2) AND (due_at IS NULL OR due_at <= $1)) AS "any!""#,
        now,
        &KINDS as &[&str]
    );
    Ok(any.fetch_one(conn).await?)
}

/// What is overdue, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overdue {
    /// How many.
    pub count: i64,
    /// When the oldest of them was due; empty if none is.
    pub since: Option<DateTime<Utc>>,
}

/// The events of kinds that this version knows that were due before `before` and are not processed.
///
/// # Errors
/// When the database does not answer.
pub async fn count_overdue(conn: &mut PgConnection, before: DateTime<Utc>) -> Result<Overdue, Error> {
    let overdue = sqlx::query_as!(
        Overdue,
        r#"SELECT count(*) AS "count!", min(GREATEST(received_at, due_at)) AS since FROM events
           WHERE processed_at IS NULL AND kind = ANY($2) AND GREATEST(received_at, due_at) <= $1"#,
        before,
        &KINDS as &[&str]
    );
    Ok(overdue.fetch_one(conn).await?)
}

/// Locks the oldest events that were processed before `before`, and that nobody else has locked: some of the first
/// thousand, so that it costs the same whether any is that old or none. An event that a text answers is not
/// among them: it goes after its texts.
///
/// # Errors
/// When the database does not answer.
pub async fn lock_processed_before(conn: &mut PgConnection, before: DateTime<Utc>) -> Result<Vec<i64>, Error> {
    let ids = sqlx::query_scalar!(
        "SELECT id FROM events
         WHERE id <= (SELECT max(id) FROM (SELECT id FROM events WHERE processed_at IS NOT NULL
                                           ORDER BY id LIMIT $2) AS oldest)
           AND processed_at < $1
           -- Looked up for each: joined, it may be answered by reading every text there is.
           AND (SELECT messages.id FROM messages WHERE messages.event_id = events.id LIMIT 1) IS NULL
         ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED",
        before,
        LOOKED_AT
    );
    Ok(ids.fetch_all(conn).await?)
}

/// Removes events for good. For whoever has locked them.
///
/// # Errors
/// When one of them is not there, or the database does not answer.
pub async fn remove(conn: &mut PgConnection, ids: &[i64]) -> Result<(), Error> {
    let result = sqlx::query!("DELETE FROM events WHERE id = ANY($1)", ids).execute(conn).await?;
    ensure_rows(&result, ids.len(), "removing old events")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kind that is not in the list would wait for ever.
    #[test]
    fn every_kind_is_known_by_the_name_under_which_it_is_stored() {
        let (from, to) = (String::new, String::new);
        let payloads = [
            Payload::Text { from: from(), to: to(), body: String::new(), opt_out_type: None },
            Payload::CallArrived { from: from(), to: to(), sid: None },
            Payload::CallEnded { from: from(), to: to(), status: String::new(), sid: None },
            Payload::DeliveryReport {
                message_id: None,
                sid: String::new(),
                status: String::new(),
                error_code: None,
                to: None,
            },
            Payload::NumberDue { client_id: String::new() },
            Payload::OptedOut { phone: String::new(), message_id: 1 },
            Payload::Unreachable { phone: String::new(), message_id: 1 },
            Payload::Reached { phone: String::new(), message_id: 1 },
            Payload::Stripe { id: String::new(), event: serde_json::json!({}) },
            Payload::PaymentChanged { client_id: String::new(), since: DateTime::UNIX_EPOCH },
            Payload::NumberLost { client_id: String::new(), number: String::new() },
        ];
        let names = payloads.each_ref().map(Payload::kind);
        assert_eq!(names, KINDS);
        for (payload, name) in payloads.iter().zip(names) {
            let stored = serde_json::to_value(payload).unwrap();
            assert_eq!(stored.get("kind").and_then(|kind| kind.as_str()), Some(name));
            assert_eq!(&serde_json::from_value::<Payload>(stored).unwrap(), payload);
        }
    }

    /// Rows that an earlier version wrote are still there.
    #[test]
    fn what_an_earlier_version_stored_is_read() {
        let call = serde_json::json!({"kind": "call_arrived", "from": "+447700900123", "to": "+447111111111"});
        assert!(matches!(serde_json::from_value(call), Ok(Payload::CallArrived { sid: None, .. })));
    }
}
