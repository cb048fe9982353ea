//! Adds texts to the outbox, and counts recent ones for the loop guard.

use std::collections::{BTreeSet, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_onboarding::loop_guard::{self, LoopGuard};
use jobrun_onboarding::segments::segments;
use jobrun_onboarding::{E164, TextKind, WrittenText};
use sqlx::PgConnection;

use crate::db::Error;
use crate::db::restores::{self, Unpaired};
use crate::queue::{self, Queue};
use crate::traces::Traceparent;

/// A text to be sent.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// The client it is for; empty for a stranger.
    pub client_id: Option<String>,
    /// The event that it replies to.
    pub event_id: Option<i64>,
    /// The recipient.
    pub to: E164,
    /// The sender, one of our numbers.
    pub from: E164,
    /// The kind and the body.
    pub text: WrittenText,
    /// Whether it replies to a text that was answered before a restore of the database, so that it may have been sent then.
    pub answered_before: bool,
    /// Whether it is stored but not sent, because its recipient has had too many texts in too short a time.
    pub held_back: bool,
    /// The earliest time to send it, if it is important and its recipient has had too many texts in too short a time.
    pub deferred_until: Option<DateTime<Utc>>,
    /// The span that writes it, if its trace is sampled.
    pub traceparent: Option<Traceparent>,
}

impl NewMessage {
    /// Stores whether and when the loop guard lets the text leave.
    pub fn admit_as(&mut self, admission: loop_guard::Admission) {
        self.held_back = admission == loop_guard::Admission::HeldBack;
        self.deferred_until = match admission {
            loop_guard::Admission::Deferred(at) => Some(at),
            loop_guard::Admission::Now | loop_guard::Admission::HeldBack => None,
        };
    }
}

/// Queues texts, in order, and enqueues the jobs that send them. A text whose `once_key` is known is skipped.
pub async fn insert(conn: &mut PgConnection, messages: &[NewMessage], now: DateTime<Utc>) -> Result<(), Error> {
    if messages.is_empty() {
        return Ok(());
    }
    let clients: Vec<Option<&str>> = messages.iter().map(|it| it.client_id.as_deref()).collect();
    let events: Vec<Option<i64>> = messages.iter().map(|it| it.event_id).collect();
    let kinds: Vec<&str> = messages.iter().map(|it| it.text.kind.name()).collect();
    let to: Vec<&str> = messages.iter().map(|it| it.to.as_str()).collect();
    let from: Vec<&str> = messages.iter().map(|it| it.from.as_str()).collect();
    let bodies: Vec<&str> = messages.iter().map(|it| it.text.body.as_str()).collect();
    let keys: Vec<Option<&str>> = messages.iter().map(|it| it.text.once_key.as_deref()).collect();
    let (counts, encodings): (Vec<i32>, Vec<&str>) = messages
        .iter()
        .map(|it| segments(&it.text.body))
        .map(|it| (i32::try_from(it.count).unwrap_or(i32::MAX), it.encoding.name()))
        .unzip();
    let leaves_at = |it: &NewMessage| it.deferred_until.unwrap_or(now);
    let expiries: Vec<DateTime<Utc>> = messages.iter().map(|it| leaves_at(it) + it.text.kind.stale_after()).collect();
    let held_back: Vec<bool> = messages.iter().map(|it| it.held_back).collect();
    let spans: Vec<Option<String>> = messages.iter().map(|it| Some(it.traceparent?.to_string())).collect();
    let deferred: Vec<Option<DateTime<Utc>>> = messages.iter().map(|it| it.deferred_until).collect();
    sqlx::query!(
        "INSERT INTO messages (client_id, event_id, kind, to_phone, from_number, body, once_key, segments, encoding,
                               expires_at, held_back, deferred_until, next_attempt_at, status, error_message, traceparent,
                               created_at, updated_at)
         SELECT client_id, event_id, kind, to_phone, from_number, body, once_key, segments, encoding, expires_at, held_back,
                deferred_until, deferred_until, CASE WHEN held_back THEN 'failed' ELSE 'queued' END,
                CASE WHEN held_back THEN 'too many texts to this person in too short a time' END, traceparent, $14, $14
         FROM unnest($1::TEXT[], $2::BIGINT[], $3::TEXT[], $4::TEXT[], $5::TEXT[], $6::TEXT[], $7::TEXT[], $8::INTEGER[],
                     $9::TEXT[], $10::TIMESTAMPTZ[], $11::BOOLEAN[], $12::TIMESTAMPTZ[], $13::TEXT[])
             WITH ORDINALITY AS m (client_id, event_id, kind, to_phone, from_number, body, once_key, segments, encoding,
                                   expires_at, held_back, deferred_until, traceparent, place)
         ORDER BY place
         ON CONFLICT ON CONSTRAINT a_text_with_a_key_is_said_once DO NOTHING",
        &clients as &[Option<&str>],
        &events as &[Option<i64>],
        &kinds as &[&str],
        &to as &[&str],
        &from as &[&str],
        &bodies as &[&str],
        &keys as &[Option<&str>],
        &counts,
        &encodings as &[&str],
        &expiries,
        &held_back,
        &deferred as &[Option<DateTime<Utc>>],
        &spans as &[Option<String>],
        now
    )
    .execute(&mut *conn)
    .await?;
    queue::enqueue(conn, Queue::SendMessages).await?;
    enqueue_in_each_second(conn, deferred.into_iter().flatten()).await
}

/// Enqueues one job for each second in which a text is due: the queue keeps time in seconds.
pub(super) async fn enqueue_in_each_second(
    conn: &mut PgConnection,
    due: impl Iterator<Item = DateTime<Utc>>,
) -> Result<(), Error> {
    let seconds: BTreeSet<i64> = due.map(|at| at.timestamp()).collect();
    for at in seconds.into_iter().filter_map(|second| DateTime::from_timestamp(second, 0)) {
        queue::enqueue_at(conn, Queue::SendMessages, at).await?;
    }
    Ok(())
}

/// How old a deferred text may be for the loop guard to still count it. Longer than most deferrals.
const DEFERRALS_END_WITHIN: TimeDelta = TimeDelta::minutes(15);

/// Returns the recent texts to `phones`, for the loop guard. Held-back texts do not count, nor texts that were sent before a restore
/// of the database, and a deferred text counts from the time at which it may leave.
///
/// Returns also the unrecorded texts that no queued text takes, if there are replies to texts that were answered before a restore:
/// among those texts, or as `repeats_replies` tells.
pub async fn loop_guard(
    conn: &mut PgConnection,
    phones: &[&E164],
    repeats_replies: bool,
    now: DateTime<Utc>,
) -> Result<(LoopGuard, Unpaired), Error> {
    let mut guard = LoopGuard::default();
    let digits: Vec<&str> = phones.iter().map(|phone| phone.as_str()).collect();
    let rows = sqlx::query!(
        r#"SELECT to_phone, from_number, kind, body, event_id, GREATEST(created_at, deferred_until) AS "at!",
                  status = 'queued' AND (SELECT payload ? 'answered_at' FROM events WHERE events.id = messages.event_id) IS TRUE
                      AS "repeats_reply!"
           FROM messages
           WHERE to_phone = ANY($1) AND created_at > $3 AND GREATEST(created_at, deferred_until) > $2 AND NOT held_back
             AND (SELECT u.twilio_sid FROM unrecorded_texts u WHERE u.twilio_sid = messages.twilio_sid) IS NULL
           ORDER BY id"#,
        &digits as &[&str],
        now - loop_guard::WINDOW,
        now - DEFERRALS_END_WITHIN
    )
    .fetch_all(&mut *conn)
    .await?;
    let repeats_replies = repeats_replies || rows.iter().any(|row| row.repeats_reply);
    let mut unpaired = if repeats_replies { restores::list_unpaired(conn, phones).await? } else { Unpaired::default() };
    for row in rows {
        let counts = !row.repeats_reply || !unpaired.take(&row.to_phone, &row.from_number, &row.body, row.event_id);
        if let Some(phone) = phones.iter().find(|phone| phone.as_str() == row.to_phone).filter(|_| counts) {
            guard.saw(phone, TextKind::from_name(&row.kind), &row.body, row.at);
        }
    }
    Ok((guard, unpaired))
}

/// Returns which of `keys` belong to texts that are stored already.
pub async fn list_known_keys(conn: &mut PgConnection, keys: &[&str]) -> Result<HashSet<String>, Error> {
    let known =
        sqlx::query_scalar!(r#"SELECT once_key AS "key!" FROM messages WHERE once_key = ANY($1)"#, keys as &[&str]);
    Ok(known.fetch_all(conn).await?.into_iter().collect())
}
