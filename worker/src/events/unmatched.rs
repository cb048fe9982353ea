//! Unmatched events: a stranger texts a pool number, a short code texts us, a number rings that no client holds.
//!
//! Each gets an outcome, and a reply if its sender can be texted back. None makes its sender a client.

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_onboarding::{
    E164, Keyword, OptChange, WrittenText, can_hold_a_conversation, home_region, keyword, refuses, wording,
};
use jobrun_shared::db::clients::{self, OptChangeRecord};
use jobrun_shared::db::inbox::{self, Outcome, Payload, PendingEvent};
use jobrun_shared::db::outbox::{self, NewMessage};
use jobrun_shared::db::voicemails::{self, NewVoicemail};
use jobrun_shared::db::{self, Patience, numbers};
use jobrun_shared::{clock, metrics};
use sqlx::PgConnection;

use crate::context::JobContext;
use crate::events::{Handler, Item, handle, is_for_a_conversation};

const HANDLER: Handler = Handler { name: "an event of no client", retry_after: TimeDelta::minutes(10), alert: None };

/// Processes the unmatched events among the `oldest`. Returns how many.
pub(crate) async fn process(context: &JobContext, oldest: &[PendingEvent]) -> Result<usize, db::Error> {
    let unmatched = list_unmatched(context, oldest).await?;
    let unmatched: Vec<Item<'_, &PendingEvent>> = unmatched.into_iter().map(Item::of_event).collect();
    handle(context, HANDLER, &unmatched, |part, patience| process_batch(context, part, patience)).await
}

/// Returns those of the `oldest` events that are for a conversation and have no client. A text that makes its sender a client is
/// never among them, and neither is an event that would overtake a deferred one of its lane.
async fn list_unmatched<'a>(
    context: &JobContext,
    oldest: &'a [PendingEvent],
) -> Result<Vec<&'a PendingEvent>, db::Error> {
    let candidates: Vec<&PendingEvent> =
        oldest.iter().filter(|event| is_for_a_conversation(event) && context.signup_phone(event).is_none()).collect();
    if candidates.is_empty() {
        return Ok(candidates);
    }
    let lanes: Vec<String> = candidates.iter().map(|event| event.lane.clone()).collect();
    let mut conn = context.pool.acquire().await?;
    let known = clients::list_known_lanes(&mut conn, &lanes).await?;
    let unmatched: Vec<&PendingEvent> = candidates.into_iter().filter(|event| !known.contains(&event.lane)).collect();
    if unmatched.is_empty() {
        return Ok(unmatched);
    }
    let behind = inbox::defer_behind(&mut conn, &unmatched).await?;
    Ok(unmatched.into_iter().filter(|event| !behind.contains(&event.id)).collect())
}

async fn process_batch(
    context: &JobContext,
    unmatched: &[Item<'_, &PendingEvent>],
    patience: Patience,
) -> Result<usize, db::Error> {
    let ids: Vec<i64> = unmatched.iter().map(|item| item.value.id).collect();
    let mut tx = db::begin(&context.pool, patience).await?;
    let outcomes = process_in(&mut tx, context, &ids).await;
    let outcomes = db::finish(tx, outcomes).await?;
    for Outcome { event_id, word, .. } in &outcomes {
        metrics::unmatched(word);
        tracing::warn!(event = event_id, outcome = word, "an event belongs to no client");
    }
    Ok(outcomes.len())
}

async fn process_in(conn: &mut PgConnection, context: &JobContext, ids: &[i64]) -> Result<Vec<Outcome>, db::Error> {
    let unmatched = inbox::lock_pending(conn, ids).await?;
    let outcomes: Vec<Outcome> = unmatched.iter().map(|event| Outcome::of_nobody(event.id, outcome(event))).collect();
    let now = clock::now();
    let opted_out = insert_opt_changes(conn, &unmatched, now).await?;
    let pool_numbers = list_pool_numbers(conn, context, &unmatched).await?;
    let replies: Vec<NewMessage> = unmatched
        .iter()
        .filter_map(|event| misdirected_reply(event, context, &pool_numbers))
        .filter(|reply| !opted_out.contains(reply.to.digits()))
        .collect();
    outbox::insert(conn, &replies, now).await?;
    voicemails::insert(conn, &unwanted_recordings(&unmatched, now), now).await?;
    inbox::mark_processed(conn, &outcomes, now).await?;
    Ok(outcomes)
}

/// Returns the recordings that a client left no owner for: they are deleted at once.
fn unwanted_recordings(unmatched: &[PendingEvent], now: DateTime<Utc>) -> Vec<NewVoicemail> {
    let of = |event: &PendingEvent| match &event.payload {
        Some(Payload::RecordingMade { sid, .. }) => {
            Some(NewVoicemail { client_id: None, recording_sid: sid.clone(), token_sha256: None, expires_at: now })
        }
        _ => None,
    };
    unmatched.iter().filter_map(of).collect()
}

/// Records the opt-out changes of strangers, and drops queued texts to those who opted out. Returns the senders who have opted out,
/// in digits without the plus sign.
async fn insert_opt_changes(
    conn: &mut PgConnection,
    unmatched: &[PendingEvent],
    now: DateTime<Utc>,
) -> Result<HashSet<String>, db::Error> {
    let opt_changes: Vec<OptChangeRecord> = unmatched.iter().filter_map(opt_change).collect();
    clients::insert_opt_changes(conn, &opt_changes, now).await?;
    let out: Vec<&E164> =
        opt_changes.iter().filter(|it| it.change == OptChange::Out).map(|opt_change| &opt_change.phone).collect();
    outbox::drop_queued_to(conn, &out, "the recipient opted out", now).await?;
    let phones: Vec<&str> = unmatched
        .iter()
        .filter_map(|event| match &event.payload {
            Some(Payload::Text { from, .. }) => Some(from.trim_start_matches('+')),
            _ => None,
        })
        .collect();
    clients::list_opted_out(conn, &phones).await
}

fn opt_change(event: &PendingEvent) -> Option<OptChangeRecord> {
    let Some(Payload::Text { from, body, opt_out_type, .. }) = &event.payload else {
        return None;
    };
    let change = match opt_keyword(body, opt_out_type.as_deref())? {
        Keyword::Stop => OptChange::Out,
        Keyword::Start => OptChange::In,
        Keyword::Help => return None,
    };
    Some(OptChangeRecord { phone: E164::parse(from).ok()?, change, event_id: event.id })
}

/// Returns the keyword in a text to any number of ours: the one that Twilio recognised, or else one that only we recognise.
pub(crate) fn opt_keyword(body: &str, opt_out_type: Option<&str>) -> Option<Keyword> {
    match opt_out_type {
        Some(taken_for) => keyword(taken_for),
        None => keyword(body).or_else(|| refuses(body).then_some(Keyword::Stop)),
    }
}

/// Returns the sender of a text, if it can be texted back: a short code, a name, `whatsapp:` and a landline cannot.
fn sender(from: &str) -> Option<E164> {
    E164::parse(from).ok().filter(can_hold_a_conversation)
}

fn outcome(event: &PendingEvent) -> &'static str {
    match &event.payload {
        None => "unreadable",
        Some(Payload::Text { from, .. }) if sender(from).is_none() => "sender_cannot_be_answered",
        Some(Payload::Text { .. }) => "misdirected",
        Some(Payload::CallArrived { .. } | Payload::CallEnded { .. } | Payload::RecordingMade { .. }) => {
            "nobody_holds_the_number"
        }
        Some(
            Payload::NumberDue { .. }
            | Payload::OptedOut { .. }
            | Payload::Unreachable { .. }
            | Payload::Reached { .. }
            | Payload::PaymentChanged { .. }
            | Payload::OperatorAction { .. }
            | Payload::ReminderDue { .. }
            | Payload::ForwardingCheckDue { .. }
            | Payload::NumberLost { .. },
        ) => "no_such_client",
        Some(
            Payload::DeliveryReport { .. }
            | Payload::Stripe { .. }
            | Payload::SubscriptionAsked { .. }
            | Payload::PhoneChangeAsked { .. }
            | Payload::PhoneChangeDue { .. },
        ) => "not_for_a_conversation",
    }
}

/// Returns which of the numbers that were texted, other than the onboarding number, are in the pool. A number that is not may
/// belong to another account by now. Does not query if only the onboarding number was texted, as is usual.
pub(crate) async fn list_pool_numbers(
    conn: &mut PgConnection,
    context: &JobContext,
    events: impl IntoIterator<Item = &PendingEvent>,
) -> Result<HashSet<String>, db::Error> {
    let texted: Vec<&str> = events
        .into_iter()
        .filter_map(|event| match &event.payload {
            Some(Payload::Text { to, .. }) if to != context.onboarding_number.as_str() => Some(to.as_str()),
            _ => None,
        })
        .collect();
    if texted.is_empty() {
        return Ok(HashSet::new());
    }
    numbers::list_known(conn, &texted).await
}

/// Returns the text that gives a stranger who texts a pool number the onboarding number: once, and from the pool number. Twilio
/// replies to its own keywords.
pub(crate) fn misdirected_reply(
    event: &PendingEvent,
    context: &JobContext,
    pool_numbers: &HashSet<String>,
) -> Option<NewMessage> {
    let Some(Payload::Text { from, to, body, opt_out_type, .. }) = &event.payload else {
        return None;
    };
    let (to_stranger, from_number) = (sender(from)?, E164::parse(to).ok()?);
    if opt_out_type.is_some() || keyword(body).is_some() || refuses(body) || !pool_numbers.contains(to) {
        return None;
    }
    Some(NewMessage {
        client_id: None,
        event_id: Some(event.id),
        text: WrittenText {
            once_key: Some(format!("misdirected:{}:{}", to_stranger.digits(), from_number.digits())),
            ..wording::misdirected(&context.onboarding_number)
                .write(context.wordings.of_region(&home_region(&to_stranger)))
        },
        to: to_stranger,
        from: from_number,
        answered_before: false,
        held_back: false,
        deferred_until: None,
        traceparent: event.traceparent,
    })
}
