//! The outbox: every text we owe somebody, and what became of it.
//!
//! A text is claimed in one short transaction, handed to Twilio with none open, and its fate recorded in another. The
//! schedule of attempts lives in the row. Statuses only move forward; one recipient's texts leave in order.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_onboarding::loop_guard::{self, LoopGuard};
use jobrun_onboarding::{E164, Text, TextKind, segments::segments};
use sqlx::{PgConnection, PgPool};

use super::events::Overdue;
use super::sending::{self, Admission};
use super::{Error, LOOKED_AT, ensure_rows};
use crate::queue::{self, Queue};
use crate::twilio::errors::{self, Class};

/// A text to be sent.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// The client it is for; nobody, for a stranger.
    pub client_id: Option<String>,
    /// The event that it answers.
    pub event_id: Option<i64>,
    /// To whom.
    pub to: E164,
    /// From which of our numbers.
    pub from: E164,
    /// What it says.
    pub text: Text,
    /// Whether it is only written down, because its recipient has had too many texts in too short a time.
    pub held_back: bool,
    /// When it may leave, if it matters and its recipient has had too many texts in too short a time.
    pub deferred_until: Option<DateTime<Utc>>,
}

impl NewMessage {
    /// Writes down whether and when the loop guard lets the text leave.
    pub fn admit_as(&mut self, admission: loop_guard::Admission) {
        self.held_back = admission == loop_guard::Admission::HeldBack;
        self.deferred_until = match admission {
            loop_guard::Admission::Deferred(at) => Some(at),
            loop_guard::Admission::Now | loop_guard::Admission::HeldBack => None,
        };
    }
}

/// Queues texts, in order, and the jobs that will send them.
///
/// # Errors
/// When the database does not take them.
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
    let deferred: Vec<Option<DateTime<Utc>>> = messages.iter().map(|it| it.deferred_until).collect();
    sqlx::query!(
        "INSERT INTO messages (client_id, event_id, kind, to_phone, from_number, body, once_key, segments, encoding,
                               expires_at, held_back, deferred_until, next_attempt_at, status, error_message, created_at,
                               updated_at)
         SELECT client_id, event_id, kind, to_phone, from_number, body, once_key, segments, encoding, expires_at, held_back,
                deferred_until, deferred_until, CASE WHEN held_back THEN 'failed' ELSE 'queued' END,
                CASE WHEN held_back THEN 'too many texts to this person in too short a time' END, $13, $13
         FROM unnest($1::TEXT[], $2::BIGINT[], $3::TEXT[], $4::TEXT[], $5::TEXT[], $6::TEXT[], $7::TEXT[], $8::INTEGER[],
                     $9::TEXT[], $10::TIMESTAMPTZ[], $11::BOOLEAN[], $12::TIMESTAMPTZ[])
             WITH ORDINALITY AS m (client_id, event_id, kind, to_phone, from_number, body, once_key, segments, encoding,
                                   expires_at, held_back, deferred_until, place)
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
        now
    )
    .execute(&mut *conn)
    .await?;
    queue::nudge(conn, Queue::SendMessages).await?;
    nudge_in_each_second(conn, deferred.into_iter().flatten()).await
}

/// Pushes one job for each second in which something is due: the queue keeps time in seconds.
async fn nudge_in_each_second(conn: &mut PgConnection, due: impl Iterator<Item = DateTime<Utc>>) -> Result<(), Error> {
    let seconds: BTreeSet<i64> = due.map(|at| at.timestamp()).collect();
    for at in seconds.into_iter().filter_map(|second| DateTime::from_timestamp(second, 0)) {
        queue::nudge_at(conn, Queue::SendMessages, at).await?;
    }
    Ok(())
}

/// How far back deferred texts were written that the loop guard still counts. Longer than most deferrals.
const DEFERRALS_END_WITHIN: TimeDelta = TimeDelta::minutes(15);

/// What `phones` were sent of late, for the loop guard. Texts that were held back do not count, and a deferred text counts
/// from the time at which it may leave.
///
/// # Errors
/// When the database does not answer.
pub async fn loop_guard(conn: &mut PgConnection, phones: &[&E164], now: DateTime<Utc>) -> Result<LoopGuard, Error> {
    let mut guard = LoopGuard::default();
    let digits: Vec<&str> = phones.iter().map(|phone| phone.as_str()).collect();
    let rows = sqlx::query!(
        r#"SELECT to_phone, kind, body, GREATEST(created_at, deferred_until) AS "at!" FROM messages
           WHERE to_phone = ANY($1) AND created_at > $3 AND GREATEST(created_at, deferred_until) > $2 AND NOT held_back"#,
        &digits as &[&str],
        now - loop_guard::WINDOW,
        now - DEFERRALS_END_WITHIN
    )
    .fetch_all(conn)
    .await?;
    for row in rows {
        if let Some(phone) = phones.iter().find(|phone| phone.as_str() == row.to_phone) {
            guard.saw(phone, TextKind::from_name(&row.kind), &row.body, row.at);
        }
    }
    Ok(guard)
}

/// Drops the texts that have not left yet for people who are not to be sent any, or whom none reaches.
///
/// # Errors
/// When the database does not answer.
pub async fn drop_queued_to(
    conn: &mut PgConnection,
    phones: &[&E164],
    why: &'static str,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let phones: Vec<&str> = phones.iter().map(|phone| phone.as_str()).collect();
    sqlx::query!(
        "UPDATE messages SET status = 'failed', error_message = $3, updated_at = $2
         WHERE id IN (SELECT id FROM messages WHERE status = 'queued' AND to_phone = ANY($1) ORDER BY id FOR UPDATE)",
        &phones as &[&str],
        now,
        why
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Drops second tries that have not left yet, because the conversation with their clients went on without them.
///
/// # Errors
/// When the database does not answer.
pub async fn drop_second_tries_to(
    conn: &mut PgConnection,
    client_ids: &[&str],
    now: DateTime<Utc>,
) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE messages SET status = 'failed', error_message = 'the conversation went on', updated_at = $2
         WHERE id IN (SELECT id FROM messages WHERE status = 'queued' AND retry_of IS NOT NULL AND client_id = ANY($1)
                      ORDER BY id FOR UPDATE)",
        client_ids as &[&str],
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Drops what waits for people who opted out, or whom no text reaches: it may have been written, or come back from an attempt,
/// just after they did. Returns how many texts that were, at most [`SETTLED_AT_ONCE`].
///
/// # Errors
/// When the database does not answer.
pub async fn drop_unwanted(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<u64, Error> {
    let dropped = sqlx::query!(
        r#"UPDATE messages SET status = 'failed', error_message = 'the recipient is not to be texted', updated_at = $1
           WHERE id IN (SELECT m.id FROM messages m JOIN clients c ON c."phoneNumber" = substr(m.to_phone, 2)
                        WHERE m.status = 'queued' AND (c."optedOutAt" IS NOT NULL OR c."unreachableAt" IS NOT NULL)
                        ORDER BY m.id LIMIT $2 FOR UPDATE OF m SKIP LOCKED)"#,
        now,
        SETTLED_AT_ONCE as i64
    );
    Ok(dropped.execute(conn).await?.rows_affected())
}

/// How many texts one call of [`drop_unwanted`] or [`expire`] settles at most.
pub const SETTLED_AT_ONCE: usize = 1_000;

/// Drops the second tries, if they have not left yet, of texts that arrived after all. One that somebody else has locked is
/// leaving.
///
/// # Errors
/// When the database does not answer.
pub async fn drop_second_tries_of(conn: &mut PgConnection, ids: &[i64], now: DateTime<Utc>) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE messages SET status = 'failed', error_message = 'the first one arrived after all', updated_at = $2
         -- Said in this way, no index of what is queued fits, all of which would be read: each is looked up.
         WHERE id IN (SELECT id FROM messages WHERE retry_of = ANY($1) AND (status = 'queued') IS NOT FALSE
                      ORDER BY id FOR UPDATE SKIP LOCKED)",
        ids,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A text that will not be sent, or that was not delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// `messages.id`.
    pub id: i64,
    /// Which of our texts it is; empty for a kind that this version does not know.
    pub kind: Option<TextKind>,
    /// The client it is for.
    pub client_id: Option<String>,
}

/// Gives up on texts that are too old to be of use, at most [`SETTLED_AT_ONCE`]. Returns them.
///
/// # Errors
/// When the database does not answer.
pub async fn expire(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<Vec<Lost>, Error> {
    let expired = sqlx::query!(
        "UPDATE messages SET status = 'failed', error_message = 'too late to be of use', updated_at = $1
         WHERE id IN (SELECT id FROM messages WHERE status = 'queued' AND expires_at <= $1
                      ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED)
         RETURNING id, kind, client_id",
        now,
        SETTLED_AT_ONCE as i64
    )
    .fetch_all(conn)
    .await?;
    let lost = expired.into_iter().map(|row| Lost {
        id: row.id,
        kind: TextKind::from_name(&row.kind),
        client_id: row.client_id,
    });
    Ok(lost.collect())
}

/// A text that is ours to send now, or to look for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// `messages.id`.
    pub id: i64,
    /// Which of our texts it is, by name.
    pub kind: String,
    /// The client it is for.
    pub client_id: Option<String>,
    /// To whom, E.164.
    pub to: String,
    /// From which of our numbers, E.164.
    pub from: String,
    /// What it says.
    pub body: String,
    /// How often it was claimed, this time included: what came of an earlier claim is not recorded any more.
    pub claims: i32,
    /// Which attempt this is, from 1.
    pub attempts: i32,
    /// When the attempt began.
    pub attempted_at: DateTime<Utc>,
    /// How often it was looked for in vain.
    pub looks: i32,
    /// When it stops making sense.
    pub expires_at: Option<DateTime<Utc>>,
    /// Whether this is the second try of a text that was not delivered.
    pub second_try: bool,
    /// Twilio's error code that kept it waiting until now.
    pub waited_for: Option<i32>,
}

/// Claims queued texts that are due, at most `limit`, and no text whose recipient still has an earlier one unsettled. No
/// sender takes more than `segments_per_second`. While sending is parked, it is one text now and then. If it is as many as
/// asked for, the job of somebody else begins at once: there may be more, and they need not wait until these are answered.
///
/// # Errors
/// When the database does not answer. Nothing is claimed then.
pub async fn claim(
    pool: &PgPool,
    now: DateTime<Utc>,
    limit: i64,
    segments_per_second: u32,
) -> Result<Vec<Outgoing>, Error> {
    let mut tx = pool.begin().await?;
    let asked_for = limit;
    let limit = match sending::admit(&mut tx, now).await? {
        Admission::Open => limit,
        Admission::Probe => 1,
        Admission::Parked { probe_at } => {
            tx.rollback().await?;
            look_again_at(pool, probe_at).await;
            return Ok(Vec::new());
        }
    };
    let due = lock_due(&mut tx, now, limit).await?;
    let charged = sending::charge(&mut tx, &due, segments_per_second, now).await?;
    let claimed = mark_sending(&mut tx, &charged.admitted, now).await?;
    let come_back_at = match charged.come_back_at {
        // Those of a sender that is over its pace already were not even looked at.
        None if (due.len() as i64) < limit => sending::next_at_pace(&mut tx, now).await?,
        at => at,
    };
    if claimed.len() as i64 == asked_for {
        queue::nudge(&mut tx, Queue::SendMessages).await?;
    }
    tx.commit().await?;
    if !claimed.is_empty() {
        look_again_at(pool, now + ATTEMPT_ENDS_WITHIN).await;
    }
    if let Some(at) = come_back_at {
        look_again_at(pool, at).await;
    }
    Ok(claimed)
}

/// How long it may take to see to it that somebody looks again: what is claimed must be posted before that goes stale.
const ANNOUNCED_WITHIN: Duration = Duration::from_millis(500);

/// Sees to it that somebody looks again then. What is claimed is claimed: whether that can be announced or not, it goes on, and
/// the sweeper looks as well.
async fn look_again_at(pool: &PgPool, at: DateTime<Utc>) {
    let announcing = queue::nudge_once_at(pool, Queue::SendMessages, at);
    match tokio::time::timeout(ANNOUNCED_WITHIN, announcing).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "texts are not looked at again before the sweeper does"),
        Err(_) => {
            tracing::warn!("texts are not looked at again before the sweeper does: no job could be pushed in time")
        }
    }
}

/// Somebody who opted out, or whom no text reaches, is sent nothing, client or not.
///
/// An earlier text to the same person holds a later one up until it is settled, with three exceptions: a second try waits for
/// its hour, an expired text will never leave, and news of callers does not wait for a deferred text of the conversation.
async fn lock_due(conn: &mut PgConnection, now: DateTime<Utc>, limit: i64) -> Result<Vec<sending::Due>, Error> {
    let due = sqlx::query_as!(
        sending::Due,
        r#"SELECT m.id, m.from_number AS "from", COALESCE(m.segments, 1) AS "segments!" FROM messages m
           WHERE m.status = 'queued' AND (m.next_attempt_at IS NULL OR m.next_attempt_at <= $1)
             AND (m.expires_at IS NULL OR m.expires_at > $1)
             -- Looked up for each: joined, it may be answered by reading all that waits.
             AND (SELECT earlier.id FROM messages earlier
                  WHERE earlier.to_phone = m.to_phone AND earlier.id < m.id
                    AND earlier.status IN ('queued', 'sending', 'unknown')
                    AND (earlier.status <> 'queued'
                         OR (earlier.retry_of IS NULL AND (earlier.expires_at IS NULL OR earlier.expires_at > $1)
                             AND (m.kind <> 'missed_call' OR earlier.deferred_until IS NULL
                                  OR earlier.next_attempt_at <= $1))) LIMIT 1) IS NULL
             AND NOT EXISTS (SELECT FROM clients c WHERE c."phoneNumber" = substr(m.to_phone, 2)
                               AND (c."optedOutAt" IS NOT NULL OR c."unreachableAt" IS NOT NULL))
             AND (m.client_id IS NOT NULL
                  OR COALESCE((SELECT o.change FROM opt_changes o WHERE o.phone = substr(m.to_phone, 2)
                               ORDER BY o.id DESC LIMIT 1), 'in') = 'in')
             AND NOT EXISTS (SELECT FROM senders s WHERE s.number = m.from_number AND s.free_at > $3)
           ORDER BY m.id LIMIT $2
           FOR UPDATE OF m SKIP LOCKED"#,
        now,
        limit,
        now + sending::BURST
    );
    Ok(due.fetch_all(conn).await?)
}

async fn mark_sending(conn: &mut PgConnection, ids: &[i64], now: DateTime<Utc>) -> Result<Vec<Outgoing>, Error> {
    let claimed = sqlx::query_as!(
        Outgoing,
        r#"UPDATE messages SET status = 'sending', claims = claims + 1, attempts = attempts + 1, attempted_at = $1,
                               looks = 0, updated_at = $1, next_attempt_at = $2
           WHERE id = ANY($3)
           RETURNING id, kind, client_id, to_phone AS "to", from_number AS "from", body, claims, attempts,
                     attempted_at AS "attempted_at!", looks, expires_at, retry_of IS NOT NULL AS "second_try!",
                     error_code AS waited_for"#,
        now,
        now + ATTEMPT_ENDS_WITHIN,
        ids
    );
    Ok(claimed.fetch_all(conn).await?)
}

/// An attempt that has not been recorded after this long was cut off: its worker is gone. Longer than
/// [`crate::twilio::api::TIMEOUT`], which bounds every attempt.
pub const ATTEMPT_ENDS_WITHIN: TimeDelta = TimeDelta::seconds(12);

/// How long after a fruitless look for a text the next one follows: how soon Twilio's list shows a text is undocumented.
pub const LOOK_AGAIN_AFTER: TimeDelta = TimeDelta::seconds(30);

/// Claims texts whose attempt ended with an unknown outcome, or was cut off, and that are due to be looked for, at most
/// `limit`. The next look is put off at once, so that no two workers look at the same time.
///
/// # Errors
/// When the database does not answer.
pub async fn claim_unknown(pool: &PgPool, now: DateTime<Utc>, limit: i64) -> Result<Vec<Outgoing>, Error> {
    let claimed = sqlx::query_as!(
        Outgoing,
        r#"WITH due AS (
               SELECT id FROM messages WHERE status IN ('sending', 'unknown') AND next_attempt_at <= $1
               ORDER BY next_attempt_at, id LIMIT $2
               FOR UPDATE SKIP LOCKED
           )
           UPDATE messages SET status = 'unknown', next_attempt_at = $3, updated_at = $1
           FROM due WHERE messages.id = due.id
           RETURNING messages.id, kind, client_id, to_phone AS "to", from_number AS "from", body, claims, attempts,
                     attempted_at AS "attempted_at!", looks, expires_at, retry_of IS NOT NULL AS "second_try!",
                     error_code AS waited_for"#,
        now,
        limit,
        now + LOOK_AGAIN_AFTER
    )
    .fetch_all(pool)
    .await?;
    if !claimed.is_empty() {
        look_again_at(pool, now + LOOK_AGAIN_AFTER).await;
    }
    Ok(claimed)
}

/// What became of an attempt to send a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Twilio has it, under this name.
    Sent {
        /// Twilio's name for it.
        sid: String,
    },
    /// It surely never reached Twilio: to be tried again.
    NotSent {
        /// Not before.
        retry_at: DateTime<Utc>,
        /// Why.
        why: String,
    },
    /// It was refused for something that is not its fault: to be tried again, as if nothing had been tried.
    Kept {
        /// Not before.
        retry_at: DateTime<Utc>,
        /// What is to be done about it.
        class: Class,
        /// Twilio's error code.
        code: Option<i32>,
        /// The HTTP status and the code.
        why: String,
    },
    /// It may have reached Twilio: to be looked for before anything else.
    Unknown {
        /// When to look.
        look_at: DateTime<Utc>,
        /// Why it is not known.
        why: String,
    },
    /// It was looked for in vain: to be looked for again.
    NotFound {
        /// When to look.
        look_at: DateTime<Utc>,
    },
    /// Twilio will not take it.
    Refused {
        /// What is to be done about it.
        class: Class,
        /// Twilio's error code.
        code: Option<i32>,
        /// The HTTP status and the code.
        why: String,
    },
}

/// What became of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The text as it was claimed: what came of a claim that another has replaced is not recorded.
    pub message: Outgoing,
    /// What became of it.
    pub fate: Fate,
}

/// Records what became of attempts, and sees to it that somebody comes back to texts that are not settled. Answers how many
/// outcomes came too late, because the attempt was given up and another begun.
///
/// A delivery report may have settled a text already: then nothing moves back. Locks the texts in order, so that two
/// transactions never wait for each other.
///
/// # Errors
/// When the database does not answer.
pub async fn record(conn: &mut PgConnection, outcomes: &[Outcome], now: DateTime<Utc>) -> Result<usize, Error> {
    let recorded = Recorded::of(outcomes);
    let result = sqlx::query!(
        "WITH came AS (
             SELECT * FROM unnest($1::BIGINT[], $2::INTEGER[], $3::TEXT[], $4::TEXT[], $5::TIMESTAMPTZ[], $6::INTEGER[],
                                  $7::INTEGER[], $8::TEXT[], $9::INTEGER[])
                 AS came (id, claims, sid, status, due, looks, code, why, refund)
         ), ours AS (
             SELECT came.* FROM messages m JOIN came ON came.id = m.id AND came.claims = m.claims
             ORDER BY m.id FOR UPDATE OF m
         )
         UPDATE messages AS m
         SET twilio_sid = COALESCE(m.twilio_sid, ours.sid), updated_at = $10, looks = m.looks + ours.looks,
             attempts = m.attempts - ours.refund,
             next_attempt_at = CASE WHEN ours.status = 'sent' THEN NULL ELSE COALESCE(ours.due, m.next_attempt_at) END,
             -- What was surely sent is not sent again, even if it had been given up.
             status = CASE WHEN m.status IN ('sending', 'unknown') OR (m.status = 'queued' AND ours.status = 'sent')
                           THEN ours.status ELSE m.status END,
             check_at = CASE WHEN m.status IN ('sending', 'unknown', 'queued') AND ours.status = 'sent' THEN $11
                             ELSE m.check_at END,
             error_code = CASE WHEN m.status IN ('sending', 'unknown') THEN ours.code ELSE m.error_code END,
             error_message = CASE WHEN ours.status = 'sent' THEN NULL
                                  WHEN m.status IN ('sending', 'unknown') THEN COALESCE(ours.why, m.error_message)
                                  ELSE m.error_message END
         FROM ours WHERE m.id = ours.id",
        &recorded.ids,
        &recorded.claims,
        &recorded.sids as &[Option<&str>],
        &recorded.statuses as &[&str],
        &recorded.due as &[Option<DateTime<Utc>>],
        &recorded.looks,
        &recorded.codes as &[Option<i32>],
        &recorded.why as &[Option<&str>],
        &recorded.refunds,
        now,
        now + CHECK_AFTER
    )
    .execute(&mut *conn)
    .await?;
    nudge_in_each_second(conn, recorded.due.iter().copied().flatten()).await?;
    Ok(outcomes.len().saturating_sub(usize::try_from(result.rows_affected()).unwrap_or(usize::MAX)))
}

/// What is written of outcomes, column by column.
#[derive(Default)]
struct Recorded<'a> {
    ids: Vec<i64>,
    claims: Vec<i32>,
    statuses: Vec<&'static str>,
    sids: Vec<Option<&'a str>>,
    due: Vec<Option<DateTime<Utc>>>,
    codes: Vec<Option<i32>>,
    why: Vec<Option<&'a str>>,
    looks: Vec<i32>,
    refunds: Vec<i32>,
}

impl<'a> Recorded<'a> {
    fn of(outcomes: &'a [Outcome]) -> Self {
        let mut recorded = Self::default();
        for Outcome { message, fate } in outcomes {
            let (status, sid, due, code, why) = match fate {
                Fate::Sent { sid } => ("sent", Some(sid.as_str()), None, None, None),
                Fate::NotSent { retry_at, why } => ("queued", None, Some(*retry_at), None, Some(why.as_str())),
                Fate::Kept { retry_at, code, why, .. } => ("queued", None, Some(*retry_at), *code, Some(why.as_str())),
                Fate::Unknown { look_at, why } => ("unknown", None, Some(*look_at), None, Some(why.as_str())),
                Fate::NotFound { look_at } => ("unknown", None, Some(*look_at), None, None),
                Fate::Refused { code, why, .. } => ("failed", None, None, *code, Some(why.as_str())),
            };
            recorded.ids.push(message.id);
            recorded.claims.push(message.claims);
            recorded.statuses.push(status);
            recorded.sids.push(sid);
            recorded.due.push(due);
            recorded.codes.push(code);
            recorded.why.push(why);
            recorded.looks.push(i32::from(matches!(fate, Fate::NotFound { .. })));
            recorded.refunds.push(i32::from(matches!(fate, Fate::Kept { .. })));
        }
        recorded
    }
}

/// Which of Twilio's names for texts are known to be other texts of ours.
///
/// # Errors
/// When the database does not answer.
pub async fn list_known_sids(pool: &PgPool, sids: &[String]) -> Result<Vec<String>, Error> {
    let known = sqlx::query_scalar!(r#"SELECT twilio_sid AS "sid!" FROM messages WHERE twilio_sid = ANY($1)"#, sids);
    Ok(known.fetch_all(pool).await?)
}

/// A delivery report, as far as a text is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Our `messages.id`, if the report carries it.
    pub message_id: Option<i64>,
    /// Twilio's name for the text.
    pub sid: String,
    /// To whom it is, E.164, if the report says so: a text of ours by number, and to somebody else, is another's.
    pub to: Option<String>,
    /// How far Twilio got.
    pub progress: Progress,
    /// Twilio's error code.
    pub error_code: Option<i32>,
}

/// How far Twilio got with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Progress {
    /// It has the text.
    Taken,
    /// It has handed the text to the carrier.
    Sent,
    /// The carrier says that it arrived.
    Delivered,
    /// The carrier says that it did not.
    Undelivered,
    /// Twilio gave up.
    Failed,
}

impl Progress {
    /// What Twilio's MessageStatus means. Every status proves that Twilio has the text.
    #[must_use]
    pub fn of_status(status: &str) -> Self {
        match status {
            "delivered" | "read" => Self::Delivered,
            "undelivered" => Self::Undelivered,
            "failed" | "canceled" => Self::Failed,
            "sent" => Self::Sent,
            _ => Self::Taken,
        }
    }

    /// Whether this shows that the account may send. What is undelivered may be so because it may not.
    #[must_use]
    pub const fn shows_it_left(self) -> bool {
        matches!(self, Self::Sent | Self::Delivered)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Taken | Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Undelivered => "undelivered",
            Self::Failed => "failed",
        }
    }
}

/// A text of ours, after a report about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reported {
    /// `messages.id`.
    pub id: i64,
    /// Which of our texts it is, by name.
    pub kind: String,
    /// The client it is for.
    pub client_id: Option<String>,
    /// To whom, E.164.
    pub to: String,
    /// When the attempt began that Twilio reports on.
    pub attempted_at: Option<DateTime<Utc>>,
    /// Whether this is the second try of a text that was not delivered.
    pub second_try: bool,
    /// Whether the report said more than was known.
    pub moved: bool,
    /// Whether the text was taken for lost, and has arrived after all.
    pub arrived_after_all: bool,
    /// Twilio's code of what was said of it before this report.
    pub code_before: Option<i32>,
}

/// Applies delivery reports, in the order given, and answers for each the text of ours that it is about, if it is about one.
/// A report that says less than is known already changes nothing. That a text arrived is the last word: it is believed of one
/// that was reported as lost, and no later report undoes it. Locks the texts of each round in order, so that two
/// transactions hardly ever wait for each other.
///
/// # Errors
/// When the database does not answer.
pub async fn apply_reports(
    conn: &mut PgConnection,
    reports: &[Report],
    now: DateTime<Utc>,
) -> Result<Vec<Option<Reported>>, Error> {
    let ids = resolve(conn, reports).await?;
    let mut reported: Vec<Option<Reported>> = reports.iter().map(|_| None).collect();
    for round in rounds(&ids) {
        let together: Vec<(i64, &Report)> =
            round.iter().filter_map(|(id, place)| Some((*id, reports.get(*place)?))).collect();
        let texts = apply_together(conn, &together, now).await?;
        for (id, place) in round {
            if let Some(answer) = reported.get_mut(place) {
                *answer = texts.get(&id).cloned();
            }
        }
    }
    Ok(reported)
}

/// Which text of ours each report is about. Mostly it says so; where it does not, Twilio's name may be known.
async fn resolve(conn: &mut PgConnection, reports: &[Report]) -> Result<Vec<Option<i64>>, Error> {
    let nameless = reports.iter().filter(|report| report.message_id.is_none());
    let sids: Vec<&str> = nameless.map(|report| report.sid.as_str()).collect();
    let mut known = HashMap::new();
    if !sids.is_empty() {
        let rows = sqlx::query!(
            r#"SELECT id, twilio_sid AS "sid!" FROM messages WHERE twilio_sid = ANY($1)"#,
            &sids as &[&str]
        );
        known.extend(rows.fetch_all(conn).await?.into_iter().map(|row| (row.sid, row.id)));
    }
    Ok(reports.iter().map(|report| report.message_id.or_else(|| known.get(&report.sid).copied())).collect())
}

/// The places of reports, each with the text that it is about, in as few rounds as it takes for no two of a round to be about
/// the same: what is told of one text is applied in order.
fn rounds(ids: &[Option<i64>]) -> Vec<Vec<(i64, usize)>> {
    let mut rounds: Vec<Vec<(i64, usize)>> = Vec::new();
    let mut told: HashMap<i64, usize> = HashMap::new();
    for (place, id) in ids.iter().enumerate().filter_map(|(place, id)| Some((place, (*id)?))) {
        let round = told.entry(id).or_default();
        match rounds.get_mut(*round) {
            Some(places) => places.push((id, place)),
            None => rounds.push(vec![(id, place)]),
        }
        *round += 1;
    }
    rounds
}

/// Applies reports of which no two are about the same text. Answers the texts, by `messages.id`, that they are really about.
async fn apply_together(
    conn: &mut PgConnection,
    reports: &[(i64, &Report)],
    now: DateTime<Utc>,
) -> Result<HashMap<i64, Reported>, Error> {
    let ids: Vec<i64> = reports.iter().map(|(id, _)| *id).collect();
    let sids: Vec<&str> = reports.iter().map(|(_, it)| it.sid.as_str()).collect();
    let statuses: Vec<&str> = reports.iter().map(|(_, it)| it.progress.name()).collect();
    let codes: Vec<Option<i32>> = reports.iter().map(|(_, it)| it.error_code).collect();
    let to: Vec<Option<&str>> = reports.iter().map(|(_, it)| it.to.as_deref()).collect();
    let meaning = |it: &Report| (it.progress > Progress::Delivered).then(|| errors::meaning(it.error_code));
    let meanings: Vec<Option<&str>> = reports.iter().map(|(_, it)| meaning(it)).collect();
    let texts = sqlx::query_as!(
        Reported,
        r#"WITH came AS (
               SELECT * FROM unnest($1::BIGINT[], $2::TEXT[], $3::TEXT[], $4::INTEGER[], $5::TEXT[], $6::TEXT[])
                   AS came (id, sid, status, code, to_phone, meaning)
           ), before AS (
               SELECT m.id, came.sid, came.status, came.code, came.meaning, m.status AS was, m.error_code AS code_before,
                      m.status IN ('queued', 'sending', 'unknown', 'sent')
                          OR (m.status IN ('undelivered', 'failed') AND came.status = 'delivered') AS open
               FROM came JOIN messages m ON m.id = came.id
               WHERE (m.twilio_sid IS NULL OR m.twilio_sid = came.sid) AND m.attempted_at IS NOT NULL
                 AND (came.to_phone IS NULL OR m.to_phone = came.to_phone)
               ORDER BY m.id FOR UPDATE OF m
           )
           UPDATE messages
           SET twilio_sid = COALESCE(twilio_sid, before.sid), updated_at = $7,
               error_code = CASE WHEN open THEN before.code ELSE error_code END,
               error_message = CASE WHEN open THEN before.meaning ELSE error_message END, next_attempt_at = NULL,
               status = CASE WHEN open THEN before.status ELSE messages.status END,
               check_at = CASE WHEN NOT open OR before.status <> 'sent' THEN NULL ELSE COALESCE(check_at, $8) END
           FROM before WHERE messages.id = before.id
           RETURNING messages.id, kind, client_id, to_phone AS "to", attempted_at, retry_of IS NOT NULL AS "second_try!",
                     open AND was <> before.status AS "moved!",
                     open AND was IN ('undelivered', 'failed') AS "arrived_after_all!", before.code_before"#,
        &ids,
        &sids as &[&str],
        &statuses as &[&str],
        &codes as &[Option<i32>],
        &to as &[Option<&str>],
        &meanings as &[Option<&str>],
        now,
        now + CHECK_AFTER
    )
    .fetch_all(conn)
    .await?;
    Ok(texts.into_iter().map(|text| (text.id, text)).collect())
}

/// What happened after a text was sent that is now known not to have arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Since {
    /// The conversation went on: whatever the text said has been overtaken.
    pub went_on: bool,
    /// Its recipient asked for texts again.
    pub opted_in: bool,
}

/// What happened since the texts `ids` were sent.
///
/// # Errors
/// When the database does not answer.
pub async fn list_since(conn: &mut PgConnection, ids: &[i64]) -> Result<HashMap<i64, Since>, Error> {
    let rows = sqlx::query!(
        r#"SELECT m.id,
                  EXISTS (SELECT FROM messages newer WHERE newer.client_id = m.client_id AND newer.id > m.id
                            AND newer.event_id IS NOT NULL AND newer.retry_of IS NULL AND NOT newer.held_back
                            AND newer.status NOT IN ('undelivered', 'failed')
                            -- These leave the client where it was, and do not repeat what it missed.
                            AND newer.kind NOT IN ('missed_call', 'no_hurry', 'ask_confirm_live', 'remind_forwarding')
                  ) AS "went_on!",
                  EXISTS (SELECT FROM opt_changes o WHERE o.phone = substr(m.to_phone, 2) AND o.change = 'in'
                            AND o.changed_at > m.attempted_at) AS "opted_in!"
           FROM messages m WHERE m.id = ANY($1)"#,
        ids
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, Since { went_on: row.went_on, opted_in: row.opted_in })).collect())
}

/// Which of `keys` belong to texts that were written already.
///
/// # Errors
/// When the database does not answer.
pub async fn list_known_keys(conn: &mut PgConnection, keys: &[&str]) -> Result<HashSet<String>, Error> {
    let known =
        sqlx::query_scalar!(r#"SELECT once_key AS "key!" FROM messages WHERE once_key = ANY($1)"#, keys as &[&str]);
    Ok(known.fetch_all(conn).await?.into_iter().collect())
}

/// Writes a second try of a text that was not delivered, to leave at `at`, and a job that will send it.
///
/// # Errors
/// When the database does not take it.
pub async fn try_again(
    conn: &mut PgConnection,
    id: i64,
    at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO messages (client_id, event_id, kind, to_phone, from_number, body, segments, encoding, expires_at,
                               next_attempt_at, retry_of, created_at, updated_at)
         SELECT client_id, event_id, kind, to_phone, from_number, body, segments, encoding, $3, $2, id, $4, $4
         FROM messages WHERE id = $1
         ON CONFLICT ON CONSTRAINT a_message_is_tried_once_more DO NOTHING",
        id,
        at,
        expires_at,
        now
    )
    .execute(&mut *conn)
    .await?;
    Ok(queue::nudge_at(conn, Queue::SendMessages, at).await?)
}

/// How long after a text was sent Twilio is asked what became of it, if no report has said so by then.
pub const CHECK_AFTER: TimeDelta = TimeDelta::minutes(15);

/// How long after each question in vain the next one follows. After the last, the text stays sent: not every carrier reports.
const CHECK_AGAIN_AFTER: [i32; 3] = [3_600, 6 * 3_600, 24 * 3_600];

/// A text without a final report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreported {
    /// `messages.id`.
    pub id: i64,
    /// Twilio's name for it.
    pub sid: String,
}

/// Claims texts that are due to be asked about, at most `limit`. The next question is put off at once, so that no two workers
/// ask at the same time.
///
/// # Errors
/// When the database does not answer.
pub async fn claim_unreported(pool: &PgPool, now: DateTime<Utc>, limit: i64) -> Result<Vec<Unreported>, Error> {
    let claimed = sqlx::query_as!(
        Unreported,
        r#"UPDATE messages
           SET checks = checks + 1, check_at = $1 + make_interval(secs => ($3::INTEGER[])[checks + 1])
           -- Of a time that it does not know, the planner takes a third of all rows to be before it, empty or not.
           WHERE id IN (SELECT id FROM messages
                        WHERE check_at IS NOT NULL AND check_at <= $1 AND twilio_sid IS NOT NULL
                        ORDER BY check_at LIMIT $2 FOR UPDATE SKIP LOCKED)
           RETURNING id, twilio_sid AS "sid!""#,
        now,
        limit,
        &CHECK_AGAIN_AFTER
    );
    Ok(claimed.fetch_all(pool).await?)
}

/// Whether any text is due to be asked about.
///
/// # Errors
/// When the database does not answer.
pub async fn any_unreported(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<bool, Error> {
    // That `check_at` is not empty has to be said, as above: otherwise every look reads the whole outbox.
    let any = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM messages WHERE check_at IS NOT NULL AND check_at <= $1) AS "any!""#,
        now
    );
    Ok(any.fetch_one(conn).await?)
}

/// Whether any text waits to be sent, or to be looked for.
///
/// # Errors
/// When the database does not answer.
pub async fn any_due(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<bool, Error> {
    let any = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM messages WHERE status IN ('queued', 'sending', 'unknown')
                            AND (next_attempt_at IS NULL OR next_attempt_at <= $1)) AS "any!""#,
        now
    );
    Ok(any.fetch_one(conn).await?)
}

/// The texts that were due before `before`, could leave, and have not: those that wait for an earlier text to the same person
/// do not count, and neither do expired ones.
///
/// # Errors
/// When the database does not answer.
pub async fn count_overdue(
    conn: &mut PgConnection,
    before: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<Overdue, Error> {
    let overdue = sqlx::query_as!(
        Overdue,
        r#"SELECT count(*) AS "count!", min(GREATEST(m.created_at, m.next_attempt_at)) AS since FROM messages m
           WHERE m.status = 'queued' AND GREATEST(m.created_at, m.next_attempt_at) <= $1
             AND (m.expires_at IS NULL OR m.expires_at > $2)
             AND (SELECT earlier.id FROM messages earlier
                  WHERE earlier.to_phone = m.to_phone AND earlier.id < m.id
                    AND earlier.status IN ('queued', 'sending', 'unknown')
                    AND (earlier.status <> 'queued'
                         OR (earlier.retry_of IS NULL AND (earlier.expires_at IS NULL OR earlier.expires_at > $2)))
                  LIMIT 1) IS NULL"#,
        before,
        now
    );
    Ok(overdue.fetch_one(conn).await?)
}

/// Locks the oldest texts that are settled, and have been since before `before`, and that nobody else has locked:
/// some of the first thousand, so that it costs the same whether any is that old or none. A text of which there
/// is a second try is not among them: it would take the second try along.
///
/// # Errors
/// When the database does not answer.
pub async fn lock_settled_before(conn: &mut PgConnection, before: DateTime<Utc>) -> Result<Vec<i64>, Error> {
    let ids = sqlx::query_scalar!(
        "SELECT id FROM messages
         WHERE id <= (SELECT max(id) FROM (SELECT id FROM messages WHERE status NOT IN ('queued', 'sending', 'unknown')
                                           ORDER BY id LIMIT $2) AS oldest)
           AND status NOT IN ('queued', 'sending', 'unknown') AND updated_at < $1
           -- Looked up for each: joined, it may be answered by reading every second try there is.
           AND (SELECT again.id FROM messages again WHERE again.retry_of = messages.id) IS NULL
         ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED",
        before,
        LOOKED_AT
    );
    Ok(ids.fetch_all(conn).await?)
}

/// Removes texts for good. For whoever has locked them.
///
/// # Errors
/// When one of them is not there, or the database does not answer.
pub async fn remove(conn: &mut PgConnection, ids: &[i64]) -> Result<(), Error> {
    let result = sqlx::query!("DELETE FROM messages WHERE id = ANY($1)", ids).execute(conn).await?;
    ensure_rows(&result, ids.len(), "removing old texts")
}
