//! The history of one client: who it is, and everything that has happened to it, in order.
//!
//! This module only reads. All tables are read in one [`super::snapshot`]: concurrent writes must not show an answer
//! without its question, or a number without the payment.

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_onboarding::action::Action;
use jobrun_onboarding::phone_change::without_code;
use jobrun_onboarding::{E164, Takeover};
use jobrun_twilio::errors;
use serde::Serialize;
use sqlx::{PgConnection, PgPool};

use super::clients::read_takeover;
use super::find_client::{FoundClients, find_client};
use super::inbox::{self, Payload};
use super::{Error, snapshot};
use crate::clock;

/// A client's history.
#[derive(Clone, Debug, Serialize)]
pub struct ClientHistory {
    /// The client's current state.
    pub client: Header,
    /// Everything that has happened, oldest first.
    #[serde(rename = "happenings")]
    pub entries: Vec<TimelineEntry>,
    /// Where the part before begins, if earlier entries were left out.
    #[serde(skip)]
    pub earlier: Option<Before>,
}

/// The end of a part of a history. The ids let the database begin at the right rows, however many came later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Before {
    /// All entries of the part happened before this time.
    pub at: DateTime<Utc>,
    /// Its events have smaller ids.
    pub event_id: i64,
    /// Its texts to the client have smaller ids.
    pub text_id: i64,
}

impl Before {
    /// The end of every history. No row is from the year 10000.
    pub const EVERYTHING: Self = {
        const LAST_SECOND: i64 = 253_402_300_799;
        let at = match DateTime::from_timestamp(LAST_SECOND, 0) {
            Some(at) => at,
            None => DateTime::<Utc>::MAX_UTC,
        };
        Self { at, event_id: i64::MAX, text_id: i64::MAX }
    };
}

/// The part of a history that is read from each table: the newest `limit` rows before `before`.
#[derive(Clone, Copy, Debug)]
struct Span {
    before: Before,
    limit: i64,
}

impl Span {
    const ALL: Self = Self { before: Before::EVERYTHING, limit: i64::MAX };

    /// Returns the time at which `entries` end, if there may be more of them: before that time, the history has gaps. A row that
    /// was recorded late is older than its neighbours, so several of the last are looked at.
    fn cut(&self, entries: &[TimelineEntry]) -> Option<DateTime<Utc>> {
        const LAST: usize = 8;
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        if entries.len() < limit { None } else { entries.iter().rev().take(LAST).map(|entry| entry.at).max() }
    }
}

/// The current state of a client.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// `clients.id`.
    pub id: String,
    /// The name of the business; empty if it has none yet.
    pub business_name: String,
    /// The phone that the client texts from, E.164.
    pub phone: String,
    /// `clients.region`.
    pub region: String,
    /// When the client was created.
    pub created_at: DateTime<Utc>,
    /// Its place in the conversation; empty before the first answer.
    pub state: Option<String>,
    /// The data that its texts have given.
    pub collected: Option<serde_json::Value>,
    /// Whether the payment gate is open.
    pub payment_active: bool,
    /// The status of the payment when the conversation last heard of it.
    pub payment_standing: String,
    /// The number that it holds, E.164.
    pub number: Option<String>,
    /// When it opted out of texts, if it has.
    pub opted_out_since: Option<DateTime<Utc>>,
    /// When texts stopped reaching its phone, if they do not reach it.
    pub unreachable_since: Option<DateTime<Utc>>,
    /// The takeover by an operator that is in force.
    pub takeover: Option<Takeover>,
    /// Whether it wants its callers texted back.
    pub text_back: bool,
    /// Its place on the waiting list, if it has one.
    pub waiting: Option<InLine>,
}

/// A place on the waiting list.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InLine {
    /// Counted from 1, among the clients who wait in the same region.
    pub place: i64,
    /// When it joined.
    pub since: DateTime<Utc>,
    /// The time by which a number was promised.
    pub promised_by: DateTime<Utc>,
    /// Until when a number is held, if one is.
    pub held_until: Option<DateTime<Utc>>,
}

/// An entry of the history.
#[derive(Clone, Debug, Serialize)]
pub struct TimelineEntry {
    /// The time by our clocks; for payments the time by Stripe's, in whole seconds.
    pub at: DateTime<Utc>,
    /// The row's id in its table.
    pub id: i64,
    /// The kind of the entry, with its details.
    #[serde(flatten)]
    pub what: EntryKind,
}

/// The kinds of entries.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum EntryKind {
    /// The client texted one of our numbers.
    TextIn {
        /// Our number, E.164.
        to: String,
        /// The body of the text.
        body: String,
        /// How it was processed.
        #[serde(flatten)]
        heard: EventOutcome,
    },
    /// A call arrived at the client's number.
    CallArrived {
        /// The caller as Twilio gave it.
        from: String,
        /// How it was processed.
        #[serde(flatten)]
        heard: EventOutcome,
    },
    /// A call to the client's number ended.
    CallEnded {
        /// The caller as Twilio gave it.
        from: String,
        /// Twilio's CallStatus.
        status: String,
        /// How it was processed.
        #[serde(flatten)]
        heard: EventOutcome,
    },
    /// An operator acted on the client.
    OperatorAction {
        /// The operator.
        by: String,
        /// The reason that the operator gave.
        why: Option<String>,
        /// The action.
        #[serde(flatten)]
        action: Action,
        /// How it was processed.
        #[serde(flatten)]
        heard: EventOutcome,
    },
    /// Any other event.
    Event {
        /// `events.kind`.
        event: String,
        /// How it was processed.
        #[serde(flatten)]
        heard: EventOutcome,
    },
    /// The client opted out of texts, or in again.
    #[serde(rename = "wish")]
    OptChange {
        /// `out` or `in`.
        change: String,
    },
    /// Stripe reported a fact about the client's payments.
    Payment {
        /// Stripe's type of the event: `invoice.paid`.
        stripe_kind: String,
        /// Stripe's name for the event: `evt_…`.
        stripe_id: String,
        /// In the smallest unit of the currency: 2900 is £29.
        amount: Option<i64>,
        /// An ISO 4217 code, in small letters.
        currency: Option<String>,
        /// The subscription's status from then on, if the event contains one.
        status: Option<String>,
    },
    /// A number was assigned to the client or taken from it, or took another step.
    Number {
        /// The number, E.164.
        number: String,
        /// `assigned`, `released`, or another step in the number's life.
        change: String,
        /// The reason.
        why: String,
    },
    /// We wrote a text to the client.
    TextOut(Box<TextOut>),
}

/// A text of ours, and what became of it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TextOut {
    /// The kind of the text.
    pub text_kind: String,
    /// From which of our numbers, E.164.
    pub from: String,
    /// To which phone, E.164: the client's, or that of a caller who is texted back.
    pub to: String,
    /// The body of the text.
    pub body: String,
    /// Its status.
    pub status: String,
    /// When the status last changed.
    pub updated_at: DateTime<Utc>,
    /// How many attempts were made.
    pub attempts: i32,
    /// When the next attempt is due, if there is one.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// Twilio's error code.
    pub error_code: Option<i32>,
    /// Why the text failed or waits, in words.
    pub why: Option<String>,
    /// Whether it was stored but never sent.
    pub held_back: bool,
    /// Whether it is the second try of a text that was not delivered.
    pub second_try: bool,
}

/// How an event was processed.
#[derive(Clone, Debug, Serialize)]
pub struct EventOutcome {
    /// The outcome in a word; empty if the event is unprocessed.
    pub outcome: Option<String>,
    /// The client's place in the conversation afterwards; empty for events that an earlier version processed.
    pub state: Option<String>,
}

impl EntryKind {
    /// The order of entries with the same time: the event received, its effects, the texts that answer it.
    const fn rank(&self) -> u8 {
        match self {
            Self::TextIn { .. }
            | Self::CallArrived { .. }
            | Self::CallEnded { .. }
            | Self::OperatorAction { .. }
            | Self::Event { .. } => 0,
            Self::OptChange { .. } => 1,
            Self::Payment { .. } => 2,
            Self::Number { .. } => 3,
            Self::TextOut(_) => 4,
        }
    }
}

/// Returns the history of the client that `words` mean, as [`find_client`] reads them, or `None` if there is none.
pub async fn find(pool: &PgPool, words: &str) -> Result<Option<ClientHistory>, Error> {
    let mut tx = snapshot(pool).await?;
    let FoundClients::One(id) = find_client(&mut tx, words).await? else {
        return Ok(None);
    };
    find_span(&mut tx, &id, Span::ALL).await
}

/// Returns a client by its id, with the newest of its history before `before`: about `limit` entries at most.
pub async fn find_recent(
    pool: &PgPool,
    client_id: &str,
    before: Before,
    limit: i64,
) -> Result<Option<ClientHistory>, Error> {
    find_span(&mut *snapshot(pool).await?, client_id, Span { before, limit }).await
}

async fn find_span(conn: &mut PgConnection, id: &str, span: Span) -> Result<Option<ClientHistory>, Error> {
    let Some(client) = find_header(&mut *conn, id).await? else {
        return Ok(None);
    };
    let events = list_events(&mut *conn, &client, span).await?;
    let texts = list_texts(&mut *conn, &client, span).await?;
    let others = [
        list_opt_changes(&mut *conn, &client, span).await?,
        list_payments(&mut *conn, &client, span).await?,
        list_numbers(&mut *conn, &client, span).await?,
    ];
    let read = others.iter().chain([&events, &texts.of_client, &texts.to_phone]);
    let cut = read.filter_map(|entries| span.cut(entries)).max();
    let earlier = cut.map(|cut| Before {
        at: cut + TimeDelta::microseconds(1),
        event_id: bound(&events, cut).unwrap_or(span.before.event_id),
        text_id: bound(&texts.of_client, cut).unwrap_or(span.before.text_id),
    });
    let mut entries: Vec<TimelineEntry> = others.into_iter().flatten().chain(events).chain(texts.all()).collect();
    entries.sort_by_key(|it| (it.at, it.what.rank(), it.id));
    if let Some(cut) = cut
        && entries.iter().any(|it| it.at > cut)
    {
        entries.retain(|it| it.at > cut);
    }
    Ok(Some(ClientHistory { client, entries, earlier }))
}

/// Returns an id that is greater than those of all entries until `cut`, and than those that were not read: `entries` were read by
/// their ids, the greatest first.
fn bound(entries: &[TimelineEntry], cut: DateTime<Utc>) -> Option<i64> {
    let left = entries.iter().filter(|entry| entry.at <= cut).map(|entry| entry.id + 1).max();
    left.or_else(|| entries.iter().map(|entry| entry.id).min())
}

async fn find_header(conn: &mut PgConnection, id: &str) -> Result<Option<Header>, Error> {
    let row = sqlx::query!(
        r#"SELECT c.id, c."businessName" AS business_name, c."phoneNumber" AS phone, c.region, c."createdAt" AS created_at,
                  s.current_state AS "state?", s.collected_fields AS "collected?", c."paymentActive" AS payment_active,
                  c."paymentStanding" AS payment_standing, c."twilioNumber" AS number,
                  c."optedOutAt" AS opted_out_since, c."unreachableAt" AS unreachable_since, c."takenOverBy" AS taken_over_by,
                  c."takenOverAt" AS taken_over_at, c."takenOverMinutes" AS taken_over_minutes,
                  c."textBack" AS text_back
           FROM clients c LEFT JOIN onboarding_states s ON s.client_id = c.id
           WHERE c.id = $1"#,
        id
    );
    let Some(row) = row.fetch_optional(&mut *conn).await? else {
        return Ok(None);
    };
    Ok(Some(Header {
        waiting: find_in_line(conn, &row.id).await?,
        id: row.id,
        business_name: row.business_name,
        phone: format!("+{}", row.phone),
        region: row.region,
        created_at: row.created_at,
        state: row.state,
        collected: row.collected,
        payment_active: row.payment_active,
        payment_standing: row.payment_standing,
        number: row.number,
        opted_out_since: row.opted_out_since,
        unreachable_since: row.unreachable_since,
        text_back: row.text_back,
        takeover: read_takeover(row.taken_over_by, row.taken_over_at, row.taken_over_minutes)
            .filter(|takeover| takeover.is_on(clock::now())),
    }))
}

/// Returns the takeover of a client that is in force `now`, if there is one.
pub async fn find_takeover(
    conn: &mut PgConnection,
    client_id: &str,
    now: DateTime<Utc>,
) -> Result<Option<Takeover>, Error> {
    let row = sqlx::query!(
        r#"SELECT "takenOverBy" AS by, "takenOverAt" AS last_at, "takenOverMinutes" AS minutes FROM clients WHERE id = $1"#,
        client_id
    );
    let row = row.fetch_optional(conn).await?;
    let takeover = row.and_then(|row| read_takeover(row.by, row.last_at, row.minutes));
    Ok(takeover.filter(|takeover| takeover.is_on(now)))
}

async fn find_in_line(conn: &mut PgConnection, client_id: &str) -> Result<Option<InLine>, Error> {
    // Of a client that does not wait, only the index is read. As in `waiting_list::list_places`, a place of a client that
    // holds a number does not count.
    let own = sqlx::query!(
        r#"SELECT w.joined_at, w.promised_by, w.held_until, 1 + (
               SELECT count(*) FROM waiting_list before JOIN client_reach other ON other.id = before.client_id
               WHERE before.region = w.region AND other.number IS NULL
                 AND (before.lapsed, before.joined_at, before.client_id) < (w.lapsed, w.joined_at, w.client_id)) AS "place!"
           FROM waiting_list w JOIN client_reach r ON r.id = w.client_id
           WHERE w.client_id = $1 AND r.number IS NULL"#,
        client_id
    );
    Ok(own.fetch_optional(conn).await?.map(|own| InLine {
        place: own.place,
        since: own.joined_at,
        promised_by: own.promised_by,
        held_until: own.held_until,
    }))
}

/// Delivery reports show in the status of texts, and Stripe's events as payments.
async fn list_events(conn: &mut PgConnection, client: &Header, span: Span) -> Result<Vec<TimelineEntry>, Error> {
    let (phone, number) = (E164::parse(&client.phone), client.number.as_deref().map(E164::parse));
    let lanes = phone.map(|phone| inbox::lanes_of(&client.id, &phone, number.and_then(Result::ok).as_ref()));
    // Unprocessed events are found by their lane. Events from before `events.client_id` existed are found by the texts
    // and the opt-out changes that they caused. Each part reads the newest rows of an index, and no more than the limit.
    let rows = sqlx::query!(
        "WITH own AS (
             (SELECT id FROM events
              WHERE client_id = $1 AND id < $6 AND kind NOT IN ('delivery_report', 'stripe') AND received_at < $4
              ORDER BY id DESC LIMIT $5)
             UNION SELECT id FROM events WHERE (processed_at IS NULL) IS TRUE AND lane = ANY($2)
             -- A text is written at most two days after its event.
             UNION SELECT id FROM (
                 SELECT e.id, m.client_id FROM messages m JOIN events e ON e.id = m.event_id
                 WHERE m.to_phone = $3 AND m.created_at < $4::TIMESTAMPTZ + INTERVAL '2 days' AND e.received_at < $4 AND e.id < $6
                 ORDER BY m.created_at DESC LIMIT $5) AS answered WHERE client_id = $1
             UNION SELECT event_id FROM opt_changes WHERE phone = substr($3, 2)
         )
         SELECT events.id, kind, payload, received_at, outcome, state FROM events JOIN own ON own.id = events.id
         WHERE kind NOT IN ('delivery_report', 'stripe') AND received_at < $4 AND events.id < $6
         ORDER BY events.id DESC LIMIT $5",
        client.id,
        &lanes.unwrap_or_default(),
        client.phone,
        span.before.at,
        span.limit,
        span.before.event_id
    );
    let entry = |(id, at, what)| TimelineEntry { at, id, what };
    let rows = rows.fetch_all(conn).await?.into_iter().map(|row| {
        let heard = EventOutcome { outcome: row.outcome, state: row.state };
        let what = match serde_json::from_value(row.payload) {
            Ok(Payload::Text { to, body, .. }) => EntryKind::TextIn { to, body, heard },
            Ok(Payload::CallArrived { from, .. }) => EntryKind::CallArrived { from, heard },
            Ok(Payload::CallEnded { from, status, .. }) => EntryKind::CallEnded { from, status, heard },
            Ok(Payload::OperatorAction { by, why, action, .. }) => EntryKind::OperatorAction { by, why, action, heard },
            Ok(_) | Err(_) => EntryKind::Event { event: row.kind, heard },
        };
        (row.id, row.received_at, what)
    });
    Ok(rows.map(entry).collect())
}

async fn list_opt_changes(conn: &mut PgConnection, client: &Header, span: Span) -> Result<Vec<TimelineEntry>, Error> {
    let rows = sqlx::query!(
        "SELECT id, change, changed_at FROM opt_changes
         WHERE phone = substr($1, 2) AND changed_at < $2 ORDER BY id DESC LIMIT $3",
        client.phone,
        span.before.at,
        span.limit
    );
    let wish = |(id, at, change)| TimelineEntry { at, id, what: EntryKind::OptChange { change } };
    Ok(rows.fetch_all(conn).await?.into_iter().map(|row| (row.id, row.changed_at, row.change)).map(wish).collect())
}

/// The times are Stripe's: its events arrive in any order, and some of them days later.
async fn list_payments(conn: &mut PgConnection, client: &Header, span: Span) -> Result<Vec<TimelineEntry>, Error> {
    // A refund names no subscription, but the payer or the payment; a dispute names only the payment.
    // `invoice_payment.paid` only links an invoice to its payment, and tells a reader nothing.
    let rows = sqlx::query!(
        "WITH RECURSIVE own AS (
             SELECT p.id, p.customer_id, p.payment_intent_id, p.invoice_id, p.charge_id
             FROM payment_events p JOIN subscriptions s ON s.id = p.subscription_id WHERE s.client_id = $1
         ),
         of_payments AS (
             SELECT id, payment_intent_id, invoice_id, charge_id FROM own
             UNION
             SELECT same.* FROM of_payments AS it CROSS JOIN LATERAL (
                 SELECT id, payment_intent_id, invoice_id, charge_id FROM payment_events
                 WHERE payment_intent_id = it.payment_intent_id AND subscription_id IS NULL
                 UNION ALL
                 SELECT id, payment_intent_id, invoice_id, charge_id FROM payment_events
                 WHERE invoice_id = it.invoice_id AND subscription_id IS NULL
                 UNION ALL
                 SELECT id, payment_intent_id, invoice_id, charge_id FROM payment_events
                 WHERE charge_id = it.charge_id AND subscription_id IS NULL
             ) AS same
         ),
         related AS (
             SELECT id FROM of_payments
             UNION SELECT id FROM payment_events
                   WHERE subscription_id IS NULL AND customer_id IN (SELECT customer_id FROM own)
         )
         SELECT p.id, p.stripe_id, p.kind, p.happened_at, p.amount, p.currency, p.fact->>'status' AS status
         FROM payment_events p WHERE p.id = ANY(ARRAY(SELECT id FROM related)) AND p.kind <> 'invoice_payment.paid'
           AND p.happened_at < $2 ORDER BY p.happened_at DESC LIMIT $3",
        client.id,
        span.before.at,
        span.limit
    );
    let rows = rows.fetch_all(conn).await?.into_iter().map(|row| TimelineEntry {
        at: row.happened_at,
        id: row.id,
        what: EntryKind::Payment {
            stripe_kind: row.kind,
            stripe_id: row.stripe_id,
            amount: row.amount,
            currency: row.currency,
            status: row.status,
        },
    });
    Ok(rows.collect())
}

async fn list_numbers(conn: &mut PgConnection, client: &Header, span: Span) -> Result<Vec<TimelineEntry>, Error> {
    let rows = sqlx::query!(
        "SELECT id, number, change, why, changed_at FROM number_changes
         WHERE client_id = $1 AND changed_at < $2 ORDER BY id DESC LIMIT $3",
        client.id,
        span.before.at,
        span.limit
    );
    let rows = rows.fetch_all(conn).await?.into_iter().map(|row| TimelineEntry {
        at: row.changed_at,
        id: row.id,
        what: EntryKind::Number { number: row.number, change: row.change, why: row.why },
    });
    Ok(rows.collect())
}

/// The texts of a part of a history. A text is in both lists, unless it was written to the phone before it was a client's, or to
/// another phone of the client.
struct Texts {
    of_client: Vec<TimelineEntry>,
    to_phone: Vec<TimelineEntry>,
}

impl Texts {
    /// Returns each text once.
    fn all(self) -> impl Iterator<Item = TimelineEntry> {
        let known: HashSet<i64> = self.of_client.iter().map(|text| text.id).collect();
        self.of_client.into_iter().chain(self.to_phone.into_iter().filter(move |text| !known.contains(&text.id)))
    }
}

/// Includes texts to the client's phone that were written before it was a client's. Those to a client that had the phone before are
/// that client's. An index serves each of the two lists; asked for both at once, the database would read every text of the client.
async fn list_texts(conn: &mut PgConnection, client: &Header, span: Span) -> Result<Texts, Error> {
    let of_client = sqlx::query_scalar!(
        "SELECT id FROM messages WHERE client_id = $1 AND id < $2 AND created_at < $3 ORDER BY id DESC LIMIT $4",
        client.id,
        span.before.text_id,
        span.before.at,
        span.limit
    );
    let of_client = of_client.fetch_all(&mut *conn).await?;
    let to_phone = sqlx::query_scalar!(
        "SELECT id FROM messages WHERE to_phone = $1 AND created_at < $2 AND (client_id = $4 OR client_id IS NULL)
         ORDER BY created_at DESC LIMIT $3",
        client.phone,
        span.before.at,
        span.limit,
        client.id
    );
    let to_phone = to_phone.fetch_all(&mut *conn).await?;
    Ok(Texts { of_client: find_texts(&mut *conn, &of_client).await?, to_phone: find_texts(conn, &to_phone).await? })
}

async fn find_texts(conn: &mut PgConnection, ids: &[i64]) -> Result<Vec<TimelineEntry>, Error> {
    let rows = sqlx::query!(
        r#"SELECT id, kind, from_number, to_phone, body, status, created_at, updated_at, attempts, next_attempt_at, error_code,
                  error_message, held_back, retry_of IS NOT NULL AS "second_try!"
           FROM messages WHERE id = ANY($1) ORDER BY messages.id DESC"#,
        ids
    );
    let rows = rows.fetch_all(conn).await?.into_iter().map(|row| TimelineEntry {
        at: row.created_at,
        id: row.id,
        what: EntryKind::TextOut(Box::new(TextOut {
            body: without_code(&row.kind, row.body),
            text_kind: row.kind,
            from: row.from_number,
            to: row.to_phone,
            status: row.status,
            updated_at: row.updated_at,
            attempts: row.attempts,
            next_attempt_at: row.next_attempt_at,
            error_code: row.error_code,
            why: row.error_code.and_then(errors::find).map(|known| known.meaning.to_owned()).or(row.error_message),
            held_back: row.held_back,
            second_try: row.second_try,
        })),
    });
    Ok(rows.collect())
}
