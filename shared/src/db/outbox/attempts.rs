//! The results of attempts to send.

use chrono::{DateTime, Utc};
use jobrun_twilio::errors::Class;
use sqlx::{PgConnection, PgPool};

use super::claim::Outgoing;
use super::insert::enqueue_in_each_second;
use super::reports::CHECK_AFTER;
use crate::db::Error;

/// The result of an attempt to send a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendResult {
    /// Twilio has accepted it.
    Sent {
        /// Twilio's name for it.
        sid: String,
    },
    /// It certainly did not reach Twilio: to be retried.
    NotSent {
        /// The earliest time of the retry.
        retry_at: DateTime<Utc>,
        /// The reason.
        why: String,
    },
    /// It was refused for a reason outside the text: to be retried, and this attempt does not count.
    Kept {
        /// The earliest time of the retry.
        retry_at: DateTime<Utc>,
        /// The class of the error, which decides the reaction.
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
        /// Why the result is unknown.
        why: String,
    },
    /// A look did not find it: to be looked for again.
    NotFound {
        /// When to look.
        look_at: DateTime<Utc>,
    },
    /// Twilio refuses it for good.
    Refused {
        /// The class of the error, which decides the reaction.
        class: Class,
        /// Twilio's error code.
        code: Option<i32>,
        /// The HTTP status and the code.
        why: String,
    },
}

/// The outcome of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptOutcome {
    /// The text as it was claimed. An outcome is not recorded once a later claim has replaced this one.
    pub message: Outgoing,
    /// The result.
    pub result: SendResult,
}

/// Records outcomes of attempts, and enqueues jobs for texts that are not settled. Returns how many outcomes came too
/// late, because the attempt was given up and another begun.
///
/// A text that a delivery report has settled does not move back. Locks the texts by id, so that two transactions cannot
/// deadlock.
pub async fn record(conn: &mut PgConnection, outcomes: &[AttemptOutcome], now: DateTime<Utc>) -> Result<usize, Error> {
    let recorded = Recorded::of(outcomes);
    let result = sqlx::query!(
        "WITH came AS (
             SELECT * FROM unnest($1::BIGINT[], $2::INTEGER[], $3::TEXT[], $4::TEXT[], $5::TIMESTAMPTZ[], $6::INTEGER[],
                                  $7::INTEGER[], $8::TEXT[], $9::INTEGER[])
                 AS came (id, claims, sid, status, due, looks, code, why, refund)
         ), ours AS (
             SELECT came.* FROM messages m JOIN came ON came.id = m.id AND came.claims = m.claims
             ORDER BY m.id FOR NO KEY UPDATE OF m
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
    enqueue_in_each_second(conn, recorded.due.iter().copied().flatten()).await?;
    Ok(outcomes.len().saturating_sub(usize::try_from(result.rows_affected()).unwrap_or(usize::MAX)))
}

/// The columns of the recorded outcomes.
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
    fn of(outcomes: &'a [AttemptOutcome]) -> Self {
        let mut recorded = Self::default();
        for AttemptOutcome { message, result } in outcomes {
            let (status, sid, due, code, why) = match result {
                SendResult::Sent { sid } => ("sent", Some(sid.as_str()), None, None, None),
                SendResult::NotSent { retry_at, why } => ("queued", None, Some(*retry_at), None, Some(why.as_str())),
                SendResult::Kept { retry_at, code, why, .. } => {
                    ("queued", None, Some(*retry_at), *code, Some(why.as_str()))
                }
                SendResult::Unknown { look_at, why } => ("unknown", None, Some(*look_at), None, Some(why.as_str())),
                SendResult::NotFound { look_at } => ("unknown", None, Some(*look_at), None, None),
                SendResult::Refused { code, why, .. } => ("failed", None, None, *code, Some(why.as_str())),
            };
            recorded.ids.push(message.id);
            recorded.claims.push(message.claims);
            recorded.statuses.push(status);
            recorded.sids.push(sid);
            recorded.due.push(due);
            recorded.codes.push(code);
            recorded.why.push(why);
            recorded.looks.push(i32::from(matches!(result, SendResult::NotFound { .. })));
            recorded.refunds.push(i32::from(matches!(result, SendResult::Kept { .. })));
        }
        recorded
    }
}

/// Returns which of Twilio's names for texts belong to texts of ours.
pub async fn list_known_sids(pool: &PgPool, sids: &[String]) -> Result<Vec<String>, Error> {
    let known = sqlx::query_scalar!(r#"SELECT twilio_sid AS "sid!" FROM messages WHERE twilio_sid = ANY($1)"#, sids);
    Ok(known.fetch_all(pool).await?)
}
