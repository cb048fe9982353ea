//! Events that belong to no client: a stranger texts a pool number, a short code texts us, a number rings that nobody holds.
//!
//! They are kept like all others, marked with what they were, and answered where somebody is there to be answered. They
//! never make anybody a client.

use jobrun_onboarding::{E164, keyword, wording};
use jobrun_shared::db::events::{self, Payload, Waiting};
use jobrun_shared::db::messages::{self, NewMessage};
use jobrun_shared::{clock, db, db::clients};

use crate::hands::Hands;

/// Deals with those of the `oldest` events that belong to no client. Answers how many.
pub(crate) async fn process(hands: &Hands, oldest: &[Waiting]) -> Result<usize, db::Error> {
    let mut tx = hands.pool.begin().await?;
    let lanes: Vec<String> = oldest.iter().map(|event| event.lane.clone()).collect();
    let known = clients::list_known_lanes(&mut tx, &lanes).await?;
    let ids: Vec<i64> = oldest
        .iter()
        .filter(|event| !matches!(event.payload, Some(Payload::DeliveryReport { .. })) && !known.contains(&event.lane))
        .map(|event| event.id)
        .collect();
    if ids.is_empty() {
        return Ok(0);
    }
    let strays = events::lock_waiting(&mut tx, &ids).await?;
    let outcomes: Vec<(i64, &'static str)> = strays.iter().map(|event| (event.id, outcome(event))).collect();
    let answers: Vec<NewMessage> = strays.iter().filter_map(|event| answer(event, hands)).collect();
    let now = clock::now();
    messages::insert(&mut tx, &answers, now).await?;
    events::mark_processed(&mut tx, &outcomes, now).await?;
    tx.commit().await?;

    for (event, outcome) in &outcomes {
        tracing::warn!(event, outcome, "an event belongs to no client");
    }
    Ok(outcomes.len())
}

fn outcome(event: &Waiting) -> &'static str {
    match &event.payload {
        None => "unreadable",
        Some(Payload::Text { from, .. }) if E164::parse(from).is_err() => "sender_cannot_be_answered",
        Some(Payload::Text { .. }) => "misdirected",
        Some(Payload::CallArrived { .. } | Payload::CallEnded { .. }) => "nobody_holds_the_number",
        Some(Payload::NumberDue { .. }) => "no_such_client",
        Some(Payload::DeliveryReport { .. }) => "not_our_text",
    }
}

/// A stranger who texts a pool number is told once, from that number, where to turn; a word for Twilio is left to Twilio.
pub(crate) fn answer(event: &Waiting, hands: &Hands) -> Option<NewMessage> {
    let Some(Payload::Text { from, to, body }) = &event.payload else {
        return None;
    };
    let (to_stranger, from_number) = (E164::parse(from).ok()?, E164::parse(to).ok()?);
    if keyword(body).is_some() || from_number == hands.onboarding_number {
        return None;
    }
    Some(NewMessage {
        client_id: None,
        event_id: Some(event.id),
        once_key: Some(format!("misdirected:{}:{}", to_stranger.digits(), from_number.digits())),
        to: to_stranger,
        from: from_number,
        text: wording::misdirected(&hands.onboarding_number),
    })
}
