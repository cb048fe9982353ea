//! Claims texts to send: each by one worker, and the texts to one recipient in order.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{PgConnection, PgPool};

use crate::db::Error;
use crate::db::outbox::pace::{self, Admission};
use crate::queue::{self, Queue};

/// A text that this worker has claimed, to send or to look for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// `messages.id`.
    pub id: i64,
    /// The kind of the text, by name.
    pub kind: String,
    /// The client it is for.
    pub client_id: Option<String>,
    /// The recipient, E.164.
    pub to: String,
    /// The sender, one of our numbers, E.164.
    pub from: String,
    /// The body of the text.
    pub body: String,
    /// How often it was claimed, including this time: the outcome of an earlier claim is no longer recorded.
    pub claims: i32,
    /// The number of the attempt, from 1.
    pub attempts: i32,
    /// When the attempt began.
    pub attempted_at: DateTime<Utc>,
    /// How many looks did not find it.
    pub looks: i32,
    /// When it is no longer of use.
    pub expires_at: Option<DateTime<Utc>>,
    /// Whether this is the second try of a text that was not delivered.
    pub second_try: bool,
    /// Twilio's error code for which it waited until now.
    pub waited_for: Option<i32>,
}

/// Claims queued texts that are due, at most `limit`, and no text whose recipient still has an earlier one unsettled.
/// No sender gets more than `segments_per_second`. While sending is parked, claims one text at each probe.
///
/// If `limit` texts are claimed, the job of another worker begins at once: more texts may be due, and they need not
/// wait for the results of these.
///
/// # Errors
/// When the database does not answer. Then nothing is claimed.
pub async fn claim(
    pool: &PgPool,
    now: DateTime<Utc>,
    limit: i64,
    segments_per_second: u32,
) -> Result<Vec<Outgoing>, Error> {
    let mut tx = pool.begin().await?;
    let asked_for = limit;
    let limit = match pace::admit(&mut tx, now).await? {
        Admission::Open => limit,
        Admission::Probe => 1,
        Admission::Parked { probe_at } => {
            tx.rollback().await?;
            look_again_at(pool, probe_at).await;
            return Ok(Vec::new());
        }
    };
    let due = lock_due(&mut tx, now, limit).await?;
    let charged = pace::charge(&mut tx, &due, segments_per_second, now).await?;
    let claimed = mark_sending(&mut tx, &charged.admitted, now).await?;
    let come_back_at = match charged.come_back_at {
        // `lock_due` leaves out texts of a sender that is already over its pace.
        None if (due.len() as i64) < limit => pace::next_at_pace(&mut tx, now).await?,
        at => at,
    };
    if claimed.len() as i64 == asked_for {
        queue::enqueue(&mut tx, Queue::SendMessages).await?;
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

/// How long scheduling the next look may take: the claimed texts must be posted before their claim goes stale.
const ANNOUNCED_WITHIN: Duration = Duration::from_millis(500);

/// Schedules a send job, best effort; the sweep is the fallback. The claim is committed whether this succeeds or not.
async fn look_again_at(pool: &PgPool, at: DateTime<Utc>) {
    let announcing = queue::enqueue_once_at(pool, Queue::SendMessages, at);
    match tokio::time::timeout(ANNOUNCED_WITHIN, announcing).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "texts are not looked at again before the sweep does"),
        Err(_) => {
            tracing::warn!("texts are not looked at again before the sweep does: no job could be pushed in time")
        }
    }
}

/// A recipient who opted out or is unreachable is sent nothing, client or not.
///
/// An earlier text to the same recipient holds up a later one until it is settled, with three exceptions: a second try
/// waits for its time, an expired text will never leave, and a text about a missed call does not wait for a deferred
/// text of the conversation.
async fn lock_due(conn: &mut PgConnection, now: DateTime<Utc>, limit: i64) -> Result<Vec<pace::Due>, Error> {
    let due = sqlx::query_as!(
        pace::Due,
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
        now + pace::BURST
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

/// An attempt without a recorded outcome after this long was cut off: its worker is gone. Longer than
/// [`jobrun_twilio::api::TIMEOUT`], which bounds every attempt.
pub const ATTEMPT_ENDS_WITHIN: TimeDelta = TimeDelta::seconds(12);

/// How long after a look that did not find a text the next one follows. How soon Twilio's list shows a text is
/// undocumented.
pub const LOOK_AGAIN_AFTER: TimeDelta = TimeDelta::seconds(30);

/// Claims texts whose attempt ended with an unknown outcome or was cut off, and that are due to be looked for, at most
/// `limit`. Schedules the next look at once, so that no two workers look at the same time.
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
