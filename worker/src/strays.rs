//! Events that belong to no client: a stranger texts a pool number, a short code texts us, a number rings that nobody holds.
//!
//! They are kept like all others, marked with what they were, and answered where somebody is there to be answered. They
//! never make anybody a client.

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_onboarding::{E164, Keyword, OptChange, Text, can_hold_a_conversation, keyword, refuses, wording};
use jobrun_shared::clock;
use jobrun_shared::db::clients::{self, Wish};
use jobrun_shared::db::events::{self, Outcome, Payload, Waiting};
use jobrun_shared::db::messages::{self, NewMessage};
use jobrun_shared::db::{self, Patience, pool};
use sqlx::PgConnection;

use crate::hands::{Hands, in_halves};

/// How long an event waits that refuses to be dealt with.
const PUT_OFF: TimeDelta = TimeDelta::minutes(10);

/// Deals with those of the `oldest` events that belong to no client. Answers how many.
///
/// A slice that fails because of its rows is taken again in halves, so that a bad one costs only itself.
pub(crate) async fn process(hands: &Hands, oldest: &[Waiting]) -> Result<usize, db::Error> {
    let strays = list_strays(hands, oldest).await?;
    in_halves(
        &strays,
        |part, patience| file(hands, part, patience),
        async |event, error| {
            tracing::error!(event = event.id, %error, "an event of no client cannot be filed and is put off");
            hands.put_off(&event.lane, &error, PUT_OFF, event.received_at).await
        },
    )
    .await
}

/// Those of the `oldest` events that a conversation would hear of, if there were one. A newcomer's text is never among them, nor
/// is what comes after it: while nobody could be made a client of its sender, that waits with it.
async fn list_strays<'a>(hands: &Hands, oldest: &'a [Waiting]) -> Result<Vec<&'a Waiting>, db::Error> {
    let is_heard = |event: &&Waiting| event.payload.as_ref().is_none_or(Payload::is_for_a_conversation);
    let heard: Vec<&Waiting> = oldest.iter().filter(is_heard).filter(|event| hands.newcomer(event).is_none()).collect();
    if heard.is_empty() {
        return Ok(heard);
    }
    let lanes: Vec<String> = heard.iter().map(|event| event.lane.clone()).collect();
    let mut conn = hands.pool.acquire().await?;
    let known = clients::list_known_lanes(&mut conn, &lanes).await?;
    let strays: Vec<&Waiting> = heard.into_iter().filter(|event| !known.contains(&event.lane)).collect();
    if strays.is_empty() {
        return Ok(strays);
    }
    let behind = events::put_off_behind(&mut conn, &strays).await?;
    Ok(strays.into_iter().filter(|event| !behind.contains(&event.id)).collect())
}

async fn file(hands: &Hands, strays: &[&Waiting], patience: Patience) -> Result<usize, db::Error> {
    let ids: Vec<i64> = strays.iter().map(|event| event.id).collect();
    let mut tx = db::begin(&hands.pool, patience).await?;
    let outcomes = file_in(&mut tx, hands, &ids).await;
    let outcomes = db::finish(tx, outcomes).await?;
    for Outcome { event_id, word, .. } in &outcomes {
        tracing::warn!(event = event_id, outcome = word, "an event belongs to no client");
    }
    Ok(outcomes.len())
}

async fn file_in(conn: &mut PgConnection, hands: &Hands, ids: &[i64]) -> Result<Vec<Outcome>, db::Error> {
    let strays = events::lock_waiting(conn, ids).await?;
    let outcomes: Vec<Outcome> = strays.iter().map(|event| Outcome::of_nobody(event.id, outcome(event))).collect();
    let now = clock::now();
    let opted_out = record_wishes(conn, &strays, now).await?;
    let ours = pool_numbers(conn, hands, &strays).await?;
    let answers: Vec<NewMessage> = strays
        .iter()
        .filter_map(|event| answer(event, hands, &ours))
        .filter(|answer| !opted_out.contains(answer.to.digits()))
        .collect();
    messages::insert(conn, &answers, now).await?;
    events::mark_processed(conn, &outcomes, now).await?;
    Ok(outcomes)
}

/// Keeps a record of what strangers wish about texts, and drops those that have not left yet. Answers which of them want
/// none, digits without the plus sign.
async fn record_wishes(
    conn: &mut PgConnection,
    strays: &[Waiting],
    now: DateTime<Utc>,
) -> Result<HashSet<String>, db::Error> {
    let wishes: Vec<Wish> = strays.iter().filter_map(wish).collect();
    clients::record_wishes(conn, &wishes, now).await?;
    let out: Vec<&E164> = wishes.iter().filter(|it| it.change == OptChange::Out).map(|wish| &wish.phone).collect();
    messages::drop_queued_to(conn, &out, "the recipient opted out", now).await?;
    let phones: Vec<&str> = strays
        .iter()
        .filter_map(|event| match &event.payload {
            Some(Payload::Text { from, .. }) => Some(from.trim_start_matches('+')),
            _ => None,
        })
        .collect();
    clients::list_opted_out(conn, &phones).await
}

fn wish(event: &Waiting) -> Option<Wish> {
    let Some(Payload::Text { from, body, opt_out_type, .. }) = &event.payload else {
        return None;
    };
    let change = match wished(body, opt_out_type.as_deref())? {
        Keyword::Stop => OptChange::Out,
        Keyword::Start => OptChange::In,
        Keyword::Help => return None,
    };
    Some(Wish { phone: E164::parse(from).ok()?, change, event_id: event.id })
}

/// The keyword that a text to any number of ours comes to: as Twilio took it, or else in words that Twilio may not know.
pub(crate) fn wished(body: &str, opt_out_type: Option<&str>) -> Option<Keyword> {
    match opt_out_type {
        Some(taken_for) => keyword(taken_for),
        None => keyword(body).or_else(|| refuses(body).then_some(Keyword::Stop)),
    }
}

/// The sender of a text, if it can be texted back: a short code, a name, `whatsapp:` and a landline cannot.
fn sender(from: &str) -> Option<E164> {
    E164::parse(from).ok().filter(can_hold_a_conversation)
}

fn outcome(event: &Waiting) -> &'static str {
    match &event.payload {
        None => "unreadable",
        Some(Payload::Text { from, .. }) if sender(from).is_none() => "sender_cannot_be_answered",
        Some(Payload::Text { .. }) => "misdirected",
        Some(Payload::CallArrived { .. } | Payload::CallEnded { .. }) => "nobody_holds_the_number",
        Some(
            Payload::NumberDue { .. }
            | Payload::OptedOut { .. }
            | Payload::Unreachable { .. }
            | Payload::Reached { .. }
            | Payload::PaymentChanged { .. }
            | Payload::NumberLost { .. },
        ) => "no_such_client",
        Some(Payload::DeliveryReport { .. } | Payload::Stripe { .. }) => "not_for_a_conversation",
    }
}

/// Which of the numbers that were texted, other than the onboarding number, are in the pool. A number that is not may be
/// somebody else's by now. Mostly nobody texted another, and then the pool is not asked.
pub(crate) async fn pool_numbers(
    conn: &mut PgConnection,
    hands: &Hands,
    events: impl IntoIterator<Item = &Waiting>,
) -> Result<HashSet<String>, db::Error> {
    let texted: Vec<&str> = events
        .into_iter()
        .filter_map(|event| match &event.payload {
            Some(Payload::Text { to, .. }) if to != hands.onboarding_number.as_str() => Some(to.as_str()),
            _ => None,
        })
        .collect();
    if texted.is_empty() {
        return Ok(HashSet::new());
    }
    pool::list_known(conn, &texted).await
}

/// A stranger who texts a pool number is told once, from that number, where to turn; a word for Twilio is left to Twilio.
pub(crate) fn answer(event: &Waiting, hands: &Hands, ours: &HashSet<String>) -> Option<NewMessage> {
    let Some(Payload::Text { from, to, body, opt_out_type }) = &event.payload else {
        return None;
    };
    let (to_stranger, from_number) = (sender(from)?, E164::parse(to).ok()?);
    if opt_out_type.is_some() || keyword(body).is_some() || refuses(body) || !ours.contains(to) {
        return None;
    }
    Some(NewMessage {
        client_id: None,
        event_id: Some(event.id),
        text: Text {
            once_key: Some(format!("misdirected:{}:{}", to_stranger.digits(), from_number.digits())),
            ..wording::misdirected(&hands.onboarding_number)
        },
        to: to_stranger,
        from: from_number,
        held_back: false,
        deferred_until: None,
    })
}
