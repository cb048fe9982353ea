//! One client's whole story: who it is, and everything that has happened to it, in order.
//!
//! Only reads, from every table that knows something. It is read in one [`super::snapshot`]: what goes on meanwhile must not
//! show an answer without its question, or a number without the payment.

use chrono::{DateTime, Utc};
use jobrun_onboarding::E164;
use serde::Serialize;
use sqlx::{PgConnection, PgPool};

use super::events::{self, Payload};
use super::find_client::{Found, find_client};
use super::{Error, snapshot, waiting_list};
use crate::twilio::errors;

/// A client's story.
#[derive(Clone, Debug, Serialize)]
pub struct Story {
    /// How it stands now.
    pub client: Header,
    /// Everything that has happened, oldest first.
    pub happenings: Vec<Happening>,
}

/// How a client stands.
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
    /// Since when we know of the client.
    pub created_at: DateTime<Utc>,
    /// Where it stands in the conversation; empty before the first answer.
    pub state: Option<String>,
    /// What it has told us.
    pub collected: Option<serde_json::Value>,
    /// Whether the gate is open.
    pub payment_active: bool,
    /// How the payment stood when the conversation last heard of it.
    pub payment_standing: String,
    /// The number that it holds, E.164.
    pub number: Option<String>,
    /// Since when it wants no texts, if so.
    pub opted_out_since: Option<DateTime<Utc>>,
    /// Since when texts do not reach its phone, if so.
    pub unreachable_since: Option<DateTime<Utc>>,
    /// Its place on the waiting list, if it has one.
    pub waiting: Option<InLine>,
}

/// A place on the waiting list.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InLine {
    /// Counted from 1, among those who wait in the same region.
    pub place: usize,
    /// Since when.
    pub since: DateTime<Utc>,
    /// By when a number was promised.
    pub promised_by: DateTime<Utc>,
    /// Until when a number is kept free, if one is.
    pub held_until: Option<DateTime<Utc>>,
}

/// Something that happened.
#[derive(Clone, Debug, Serialize)]
pub struct Happening {
    /// When: by our clocks, but for payments, where it is by Stripe's and in whole seconds.
    pub at: DateTime<Utc>,
    /// The row's id in its table.
    pub id: i64,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum What {
    /// The client texted one of our numbers.
    TextIn {
        /// Our number, E.164.
        to: String,
        /// What it says.
        body: String,
        /// What came of it.
        #[serde(flatten)]
        heard: Heard,
    },
    /// A call arrived at the client's number.
    CallArrived {
        /// The caller as Twilio gave it.
        from: String,
        /// What came of it.
        #[serde(flatten)]
        heard: Heard,
    },
    /// A call to the client's number was over.
    CallEnded {
        /// The caller as Twilio gave it.
        from: String,
        /// Twilio's CallStatus.
        status: String,
        /// What came of it.
        #[serde(flatten)]
        heard: Heard,
    },
    /// Any other event.
    Event {
        /// `events.kind`.
        event: String,
        /// What came of it.
        #[serde(flatten)]
        heard: Heard,
    },
    /// The client's wish about texts changed.
    Wish {
        /// `out` or `in`.
        change: String,
    },
    /// Stripe told us something of the client's payments.
    Payment {
        /// Stripe's word for it: `invoice.paid`.
        stripe_kind: String,
        /// Stripe's name for the event: `evt_…`.
        stripe_id: String,
        /// In the smallest unit of the currency: 2900 is £29.
        amount: Option<i64>,
        /// ISO 4217, in small letters.
        currency: Option<String>,
        /// The subscription's status from then on, if it says so.
        status: Option<String>,
    },
    /// A number changed hands.
    Number {
        /// The number, E.164.
        number: String,
        /// `assigned`, `released`, or another step of its life.
        change: String,
        /// Why.
        why: String,
    },
    /// We wrote the client a text.
    TextOut(Box<TextOut>),
}

/// A text of ours, and its fate.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TextOut {
    /// Which of our texts it is.
    pub text_kind: String,
    /// From which of our numbers, E.164.
    pub from: String,
    /// What it says.
    pub body: String,
    /// How far it got.
    pub status: String,
    /// When that was last heard of.
    pub updated_at: DateTime<Utc>,
    /// How often it was tried.
    pub attempts: i32,
    /// When it is tried next, if it waits for that.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// Twilio's error code.
    pub error_code: Option<i32>,
    /// Why it is not further, in words.
    pub why: Option<String>,
    /// Whether it was only written down.
    pub held_back: bool,
    /// Whether it is the second try of a text that was not delivered.
    pub second_try: bool,
}

/// What came of an event.
#[derive(Clone, Debug, Serialize)]
pub struct Heard {
    /// In a word; empty if it still waits.
    pub outcome: Option<String>,
    /// Where the client stood afterwards; empty for events that an earlier version processed.
    pub state: Option<String>,
}

impl What {
    /// What comes first of things that happened at the same time: what was heard, what it changed, what was answered.
    const fn rank(&self) -> u8 {
        match self {
            Self::TextIn { .. } | Self::CallArrived { .. } | Self::CallEnded { .. } | Self::Event { .. } => 0,
            Self::Wish { .. } => 1,
            Self::Payment { .. } => 2,
            Self::Number { .. } => 3,
            Self::TextOut(_) => 4,
        }
    }
}

/// The story of the client that `words` mean, as [`find_client`] reads them. Returns nothing if there is none.
///
/// # Errors
/// When the database does not answer.
pub async fn find(pool: &PgPool, words: &str) -> Result<Option<Story>, Error> {
    let mut tx = snapshot(pool).await?;
    let Found::One(id) = find_client(&mut tx, words).await? else {
        return Ok(None);
    };
    let Some(client) = find_header(&mut tx, &id).await? else {
        return Ok(None);
    };
    let mut happenings = list_events(&mut tx, &client).await?;
    happenings.extend(list_wishes(&mut tx, &client).await?);
    happenings.extend(list_payments(&mut tx, &client).await?);
    happenings.extend(list_numbers(&mut tx, &client).await?);
    happenings.extend(list_texts(&mut tx, &client).await?);
    happenings.sort_by_key(|it| (it.at, it.what.rank(), it.id));
    Ok(Some(Story { client, happenings }))
}

async fn find_header(conn: &mut PgConnection, id: &str) -> Result<Option<Header>, Error> {
    let row = sqlx::query!(
        r#"SELECT c.id, c."businessName" AS business_name, c."phoneNumber" AS phone, c.region, c."createdAt" AS created_at,
                  s.current_state AS "state?", s.collected_fields AS "collected?", c."paymentActive" AS payment_active,
                  c."paymentStanding" AS payment_standing, c."twilioNumber" AS number,
                  c."optedOutAt" AS opted_out_since, c."unreachableAt" AS unreachable_since
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
    }))
}

async fn find_in_line(conn: &mut PgConnection, client_id: &str) -> Result<Option<InLine>, Error> {
    let places = waiting_list::list_places(conn).await?;
    Ok(places.iter().find(|place| place.client_id == client_id).map(|own| InLine {
        place: 1 + places
            .iter()
            .filter(|other| other.region == own.region)
            .take_while(|other| other.client_id != client_id)
            .count(),
        since: own.joined_at,
        promised_by: own.promised_by,
        held_until: own.held_until,
    }))
}

/// Delivery reports show in the fates of texts, and Stripe's events as payments.
async fn list_events(conn: &mut PgConnection, client: &Header) -> Result<Vec<Happening>, Error> {
    let (phone, number) = (E164::parse(&client.phone), client.number.as_deref().map(E164::parse));
    let lanes = phone.map(|phone| events::lanes_of(&client.id, &phone, number.and_then(Result::ok).as_ref()));
    // Those that nobody has looked at yet are known by their lane, and those from before events knew whose they were by
    // what they caused.
    let rows = sqlx::query!(
        "WITH own AS (
             SELECT id FROM events WHERE client_id = $1
             UNION SELECT id FROM events WHERE (processed_at IS NULL) IS TRUE AND lane = ANY($2)
             UNION SELECT event_id FROM messages WHERE client_id = $1
             UNION SELECT event_id FROM opt_changes WHERE phone = substr($3, 2)
         )
         SELECT events.id, kind, payload, received_at, outcome, state FROM events JOIN own ON own.id = events.id
         WHERE kind NOT IN ('delivery_report', 'stripe')",
        client.id,
        &lanes.unwrap_or_default(),
        client.phone
    );
    let happening = |(id, at, what)| Happening { at, id, what };
    let rows = rows.fetch_all(conn).await?.into_iter().map(|row| {
        let heard = Heard { outcome: row.outcome, state: row.state };
        let what = match serde_json::from_value(row.payload) {
            Ok(Payload::Text { to, body, .. }) => What::TextIn { to, body, heard },
            Ok(Payload::CallArrived { from, .. }) => What::CallArrived { from, heard },
            Ok(Payload::CallEnded { from, status, .. }) => What::CallEnded { from, status, heard },
            Ok(_) | Err(_) => What::Event { event: row.kind, heard },
        };
        (row.id, row.received_at, what)
    });
    Ok(rows.map(happening).collect())
}

async fn list_wishes(conn: &mut PgConnection, client: &Header) -> Result<Vec<Happening>, Error> {
    let rows = sqlx::query!("SELECT id, change, changed_at FROM opt_changes WHERE phone = substr($1, 2)", client.phone);
    let wish = |(id, at, change)| Happening { at, id, what: What::Wish { change } };
    Ok(rows.fetch_all(conn).await?.into_iter().map(|row| (row.id, row.changed_at, row.change)).map(wish).collect())
}

/// When they happened is Stripe's word: its events arrive in any order, and some of them days later.
async fn list_payments(conn: &mut PgConnection, client: &Header) -> Result<Vec<Happening>, Error> {
    // A refund names no subscription, but the payer or the payment; a dispute names the payment alone. What an invoice was paid
    // with says nothing to a reader.
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
         FROM payment_events p WHERE p.id = ANY(ARRAY(SELECT id FROM related)) AND p.kind <> 'invoice_payment.paid'",
        client.id
    );
    let rows = rows.fetch_all(conn).await?.into_iter().map(|row| Happening {
        at: row.happened_at,
        id: row.id,
        what: What::Payment {
            stripe_kind: row.kind,
            stripe_id: row.stripe_id,
            amount: row.amount,
            currency: row.currency,
            status: row.status,
        },
    });
    Ok(rows.collect())
}

async fn list_numbers(conn: &mut PgConnection, client: &Header) -> Result<Vec<Happening>, Error> {
    let rows =
        sqlx::query!("SELECT id, number, change, why, changed_at FROM number_changes WHERE client_id = $1", client.id);
    let rows = rows.fetch_all(conn).await?.into_iter().map(|row| Happening {
        at: row.changed_at,
        id: row.id,
        what: What::Number { number: row.number, change: row.change, why: row.why },
    });
    Ok(rows.collect())
}

/// Texts to the client's phone that were written to it as to a stranger are among them.
async fn list_texts(conn: &mut PgConnection, client: &Header) -> Result<Vec<Happening>, Error> {
    let rows = sqlx::query!(
        r#"SELECT id, kind, from_number, body, status, created_at, updated_at, attempts, next_attempt_at, error_code,
                  error_message, held_back, retry_of IS NOT NULL AS "second_try!"
           FROM messages WHERE client_id = $1 OR to_phone = $2"#,
        client.id,
        client.phone
    );
    let rows = rows.fetch_all(conn).await?.into_iter().map(|row| Happening {
        at: row.created_at,
        id: row.id,
        what: What::TextOut(Box::new(TextOut {
            text_kind: row.kind,
            from: row.from_number,
            body: row.body,
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
