//! The outbox: every text we owe somebody, and what became of it.
//!
//! A text is claimed in one short transaction, handed to Twilio with none open, and its fate recorded in another. The
//! schedule of attempts lives in the row. Statuses only move forward; one recipient's texts leave in order.

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_onboarding::{E164, Text};
use sqlx::{PgConnection, PgPool};

use super::Error;
use crate::queue::{self, Queue};

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
    /// A text with this key is said once, ever.
    pub once_key: Option<String>,
}

/// Queues texts, in order, and a job that will send them.
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
    let keys: Vec<Option<&str>> = messages.iter().map(|it| it.once_key.as_deref()).collect();
    sqlx::query!(
        "INSERT INTO messages (client_id, event_id, kind, to_phone, from_number, body, once_key, created_at, updated_at)
         SELECT client_id, event_id, kind, to_phone, from_number, body, once_key, $8, $8
         FROM unnest($1::TEXT[], $2::BIGINT[], $3::TEXT[], $4::TEXT[], $5::TEXT[], $6::TEXT[], $7::TEXT[])
             WITH ORDINALITY AS m (client_id, event_id, kind, to_phone, from_number, body, once_key, place)
         ORDER BY place
         ON CONFLICT ON CONSTRAINT a_text_with_a_key_is_said_once DO NOTHING",
        &clients as &[Option<&str>],
        &events as &[Option<i64>],
        &kinds as &[&str],
        &to as &[&str],
        &from as &[&str],
        &bodies as &[&str],
        &keys as &[Option<&str>],
        now
    )
    .execute(&mut *conn)
    .await?;
    Ok(queue::nudge(conn, Queue::SendMessages).await?)
}

/// Drops the texts that clients have not been sent yet, because they want none.
///
/// # Errors
/// When the database does not answer.
pub async fn drop_queued_of(conn: &mut PgConnection, client_ids: &[&str], now: DateTime<Utc>) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE messages SET status = 'failed', error_message = 'the recipient opted out', updated_at = $2
         WHERE status = 'queued' AND client_id = ANY($1)",
        client_ids as &[&str],
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A text that is ours to send now, or to look for.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// `messages.id`.
    pub id: i64,
    /// To whom, E.164.
    pub to: String,
    /// From which of our numbers, E.164.
    pub from: String,
    /// What it says.
    pub body: String,
    /// Which attempt this is, from 1.
    pub attempts: i32,
    /// When the attempt began.
    pub attempted_at: DateTime<Utc>,
    /// How often it was looked for in vain.
    pub looks: i32,
}

/// Claims queued texts that are due, at most `limit`, and no text whose recipient still has an earlier one unsettled.
/// Somebody who opted out is sent nothing.
///
/// # Errors
/// When the database does not answer.
pub async fn claim(pool: &PgPool, now: DateTime<Utc>, limit: i64) -> Result<Vec<Outgoing>, Error> {
    let claimed = sqlx::query_as!(
        Outgoing,
        r#"WITH due AS (
               SELECT m.id FROM messages m
               WHERE m.status = 'queued' AND (m.next_attempt_at IS NULL OR m.next_attempt_at <= $1)
                 AND NOT EXISTS (SELECT FROM messages earlier
                                 WHERE earlier.to_phone = m.to_phone AND earlier.id < m.id
                                   AND earlier.status IN ('queued', 'sending', 'unknown'))
                 AND NOT EXISTS (SELECT FROM clients c WHERE c.id = m.client_id AND c."optedOutAt" IS NOT NULL)
               ORDER BY m.id LIMIT $2
               FOR UPDATE SKIP LOCKED
           )
           UPDATE messages SET status = 'sending', attempts = attempts + 1, attempted_at = $1, looks = 0, updated_at = $1,
                               next_attempt_at = $3
           FROM due WHERE messages.id = due.id
           RETURNING messages.id, to_phone AS "to", from_number AS "from", body, attempts, attempted_at AS "attempted_at!",
                     looks"#,
        now,
        limit,
        now + ATTEMPT_ENDS_WITHIN
    )
    .fetch_all(pool)
    .await?;
    if !claimed.is_empty() {
        queue::nudge_once_at(pool, Queue::SendMessages, now + ATTEMPT_ENDS_WITHIN).await?;
    }
    Ok(claimed)
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
           RETURNING messages.id, to_phone AS "to", from_number AS "from", body, attempts, attempted_at AS "attempted_at!",
                     looks"#,
        now,
        limit,
        now + LOOK_AGAIN_AFTER
    )
    .fetch_all(pool)
    .await?;
    if !claimed.is_empty() {
        queue::nudge_once_at(pool, Queue::SendMessages, now + LOOK_AGAIN_AFTER).await?;
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
        /// Twilio's error code.
        code: Option<i32>,
        /// The HTTP status and the code.
        why: String,
    },
}

/// What became of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// `messages.id`.
    pub message_id: i64,
    /// Which attempt: that of an attempt which another has replaced is not recorded.
    pub attempt: i32,
    /// What became of it.
    pub fate: Fate,
}

/// Records what became of attempts, and sees to it that somebody comes back to texts that are not settled. Answers how many
/// outcomes came too late, because the attempt was given up and another begun.
///
/// A delivery report may have settled a text already: then nothing moves back.
///
/// # Errors
/// When the database does not answer.
pub async fn record(pool: &PgPool, outcomes: &[Outcome], now: DateTime<Utc>) -> Result<usize, Error> {
    // In one order everywhere, so that two transactions never wait for each other.
    let mut outcomes: Vec<&Outcome> = outcomes.iter().collect();
    outcomes.sort_unstable_by_key(|outcome| outcome.message_id);
    let mut late = 0;
    let mut tx = pool.begin().await?;
    for outcome in outcomes {
        if !record_one(&mut tx, outcome, now).await? {
            late += 1;
        }
        match outcome.fate {
            Fate::NotSent { retry_at: at, .. } | Fate::Unknown { look_at: at, .. } | Fate::NotFound { look_at: at } => {
                queue::nudge_at(&mut tx, Queue::SendMessages, at).await?;
            }
            Fate::Sent { .. } | Fate::Refused { .. } => {}
        }
    }
    tx.commit().await?;
    Ok(late)
}

async fn record_one(conn: &mut PgConnection, outcome: &Outcome, now: DateTime<Utc>) -> Result<bool, Error> {
    let (status, sid, due, looks, code, why) = match &outcome.fate {
        Fate::Sent { sid } => ("sent", Some(sid.as_str()), None, 0, None, None),
        Fate::NotSent { retry_at, why } => ("queued", None, Some(*retry_at), 0, None, Some(why.as_str())),
        Fate::Unknown { look_at, why } => ("unknown", None, Some(*look_at), 0, None, Some(why.as_str())),
        Fate::NotFound { look_at } => ("unknown", None, Some(*look_at), 1, None, None),
        Fate::Refused { code, why } => ("failed", None, None, 0, *code, Some(why.as_str())),
    };
    let result = sqlx::query!(
        "UPDATE messages
         SET twilio_sid = COALESCE(twilio_sid, $3), updated_at = $8, looks = looks + $6,
             next_attempt_at = COALESCE($5, next_attempt_at),
             -- What was surely sent is not sent again, even if it had been given up.
             status = CASE WHEN status IN ('sending', 'unknown') OR (status = 'queued' AND $4 = 'sent') THEN $4
                           ELSE status END,
             error_code = CASE WHEN status IN ('sending', 'unknown') THEN $7 ELSE error_code END,
             error_message = CASE WHEN status IN ('sending', 'unknown') THEN COALESCE($9, error_message)
                                  ELSE error_message END
         WHERE id = $1 AND attempts = $2",
        outcome.message_id,
        outcome.attempt,
        sid,
        status,
        due,
        looks,
        code,
        now,
        why
    )
    .execute(conn)
    .await?;
    Ok(result.rows_affected() == 1)
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
    /// How far Twilio got.
    pub progress: Progress,
    /// Twilio's error code.
    pub error_code: Option<i32>,
}

/// How far Twilio got with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Progress {
    /// It has the text.
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
            _ => Self::Sent,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Undelivered => "undelivered",
            Self::Failed => "failed",
        }
    }
}

/// Applies delivery reports, in the order given, and answers for each whether it is about a text of ours. A report that says
/// less than is known already changes nothing. Sort them by text, so that two transactions never wait for each other.
///
/// # Errors
/// When the database does not answer.
pub async fn apply_reports(
    conn: &mut PgConnection,
    reports: &[Report],
    now: DateTime<Utc>,
) -> Result<Vec<bool>, Error> {
    let mut ours = Vec::with_capacity(reports.len());
    for report in reports {
        let result = sqlx::query!(
            "UPDATE messages
             SET twilio_sid = COALESCE(twilio_sid, $2), updated_at = $5,
                 error_code = CASE WHEN status IN ('queued', 'sending', 'unknown', 'sent') THEN $4 ELSE error_code END,
                 status = CASE WHEN status IN ('queued', 'sending', 'unknown', 'sent') THEN $3 ELSE status END
             WHERE (id = $1 AND (twilio_sid IS NULL OR twilio_sid = $2)) OR ($1 IS NULL AND twilio_sid = $2)",
            report.message_id,
            report.sid,
            report.progress.name(),
            report.error_code,
            now
        )
        .execute(&mut *conn)
        .await?;
        ours.push(result.rows_affected() > 0);
    }
    Ok(ours)
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
