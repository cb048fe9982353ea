//! Claims texts to send: each by one worker, and the texts to one recipient in order.
//!
//! The job decides how many texts may leave, and how fast each number sends.

use chrono::{DateTime, Utc};
use jobrun_onboarding::TextKind;
use sqlx::{PgConnection, PgPool};

use crate::db::Error;
use crate::traces::{Span, SpanName, Traceparent};

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
    /// When the event was received that the text follows from, unless the text was deferred on purpose, is a second try, or may
    /// have waited for the end of a stop.
    pub follows_from: Option<DateTime<Utc>>,
    /// The span that wrote it, in W3C's form, if its trace is sampled.
    pub traceparent: Option<String>,
}

impl Outgoing {
    /// Begins the span of an attempt to send it.
    #[must_use]
    pub fn attempt_span(&self) -> Option<Span> {
        Span::child_of(SpanName::Send, self.traceparent.as_deref().and_then(Traceparent::parse))
    }
}

/// A text that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// `messages.id`.
    pub id: i64,
    /// The sender, one of our numbers, E.164.
    pub from: String,
    /// The number of segments.
    pub segments: i32,
    /// Whether its recipient was sent texts that are unrecorded since a restore: it may be one of them.
    pub may_be_sent: bool,
    /// Whether it must not leave, because an operator has taken the client over: it is automatic, and no operator asked for it.
    pub silenced: bool,
}

/// Locks queued texts that are due, at most `limit`, and returns them in the order in which they were written. Leaves out
/// texts of numbers that are charged beyond `charged_until`. Skips texts that another transaction has locked. Returns none
/// while sending is stopped.
///
/// A recipient who opted out or is unreachable is sent nothing, client or not.
///
/// An earlier text to the same recipient holds up a later one until it is settled, with three exceptions: a second try or
/// replay holds up only others, once it is due, an expired text will never leave, and a text about a missed call does not
/// wait for a deferred text of the conversation.
pub async fn lock_due(
    conn: &mut PgConnection,
    now: DateTime<Utc>,
    limit: i64,
    charged_until: DateTime<Utc>,
) -> Result<Vec<Due>, Error> {
    let due = sqlx::query_as!(
        Due,
        r#"SELECT m.id, m.from_number AS "from", COALESCE(m.segments, 1) AS "segments!",
                  (SELECT l.restore_id FROM unrecorded_texts l WHERE l.to_phone = m.to_phone LIMIT 1) IS NOT NULL AS "may_be_sent!",
                  m.kind <> ALL($4)
                      AND EXISTS (SELECT FROM clients c
                                  WHERE c.id = m.client_id AND c."takenOverBy" IS NOT NULL
                                    AND COALESCE(c."takenOverAt" + make_interval(mins => c."takenOverMinutes") > $1, TRUE))
                      -- An operator may ask for the open question, or cancel. Its second try is automatic.
                      AND NOT (m.retry_of IS NULL
                               AND EXISTS (SELECT FROM events e WHERE e.id = m.event_id AND (e.kind = 'operator_action_cancel'
                                                  OR (e.kind = 'operator_action'
                                                      AND e.payload #>> '{action,action}' = 'ask_again')))) AS "silenced!"
           FROM messages m
           WHERE m.status = 'queued' AND (m.next_attempt_at IS NULL OR m.next_attempt_at <= $1)
             AND (m.expires_at IS NULL OR m.expires_at > $1)
             -- Looked up for each: joined, it may be answered by reading all that waits.
             AND (SELECT earlier.id FROM messages earlier
                  WHERE earlier.to_phone = m.to_phone AND earlier.id < m.id
                    AND earlier.status IN ('queued', 'sending', 'unknown')
                    AND (earlier.status <> 'queued'
                         OR ((earlier.retry_of IS NULL
                              OR (m.retry_of IS NOT NULL
                                  AND (earlier.next_attempt_at IS NULL OR earlier.next_attempt_at <= $1)))
                             AND (earlier.expires_at IS NULL OR earlier.expires_at > $1)
                             AND (m.kind NOT IN ('missed_call', 'voicemail') OR earlier.deferred_until IS NULL
                                  OR earlier.next_attempt_at <= $1))) LIMIT 1) IS NULL
             AND NOT EXISTS (SELECT FROM client_reach r WHERE r.phone = substr(m.to_phone, 2) AND NOT r.may_be_texted)
             -- A text to a caller is of a client, and goes to a stranger.
             AND ((m.client_id IS NOT NULL AND m.kind <> 'text_back')
                  OR COALESCE((SELECT o.change FROM opt_changes o WHERE o.phone = substr(m.to_phone, 2)
                               ORDER BY o.id DESC LIMIT 1), 'in') = 'in')
             AND NOT EXISTS (SELECT FROM senders s WHERE s.number = m.from_number AND s.free_at > $3)
             AND NOT EXISTS (SELECT FROM stops WHERE what = 'sending' AND stopped_at IS NOT NULL)
           ORDER BY m.id LIMIT $2
           FOR NO KEY UPDATE OF m SKIP LOCKED"#,
        now,
        limit,
        charged_until,
        &TextKind::SENT_IN_A_TAKEOVER.map(TextKind::name) as &[&str]
    );
    Ok(due.fetch_all(conn).await?)
}

/// Locks every queued text, due or not. Returns their ids, in order.
pub async fn lock_queued(conn: &mut PgConnection) -> Result<Vec<i64>, Error> {
    let queued = sqlx::query_scalar!("SELECT id FROM messages WHERE status = 'queued' ORDER BY id FOR NO KEY UPDATE");
    Ok(queued.fetch_all(conn).await?)
}

/// Marks texts as being sent that [`lock_due`] has locked in the same transaction: they are claimed once this is
/// committed. An attempt without a recorded outcome by `cut_off_at` was cut off, and [`claim_unknown`] returns its text.
pub async fn mark_sending(
    conn: &mut PgConnection,
    ids: &[i64],
    now: DateTime<Utc>,
    cut_off_at: DateTime<Utc>,
) -> Result<Vec<Outgoing>, Error> {
    let claimed = sqlx::query_as!(
        Outgoing,
        r#"UPDATE messages SET status = 'sending', claims = claims + 1, attempts = attempts + 1, attempted_at = $1,
                               looks = 0, updated_at = $1, next_attempt_at = $2
           WHERE id = ANY($3)
           RETURNING id, kind, client_id, to_phone AS "to", from_number AS "from", body, claims, attempts,
                     attempted_at AS "attempted_at!", looks, expires_at, retry_of IS NOT NULL AS "second_try!",
                     error_code AS waited_for,
                     (SELECT received_at FROM events
                      WHERE events.id = messages.event_id AND messages.deferred_until IS NULL
                        AND messages.retry_of IS NULL
                        AND events.received_at >= (SELECT COALESCE(max(started_at), '-infinity') FROM stops)) AS follows_from,
                     messages.traceparent"#,
        now,
        cut_off_at,
        ids
    );
    Ok(claimed.fetch_all(conn).await?)
}

/// Claims texts whose attempt ended with an unknown outcome or was cut off, and that are due to be looked for, at most
/// `limit`. The next look at them is at `look_again_at`, so that no two workers look at the same time.
pub async fn claim_unknown(
    pool: &PgPool,
    now: DateTime<Utc>,
    look_again_at: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Outgoing>, Error> {
    let claimed = sqlx::query_as!(
        Outgoing,
        r#"WITH due AS (
               SELECT id FROM messages WHERE status IN ('sending', 'unknown') AND next_attempt_at <= $1
               ORDER BY next_attempt_at, id LIMIT $2
               FOR NO KEY UPDATE SKIP LOCKED
           )
           UPDATE messages SET status = 'unknown', next_attempt_at = $3, updated_at = $1
           FROM due WHERE messages.id = due.id
           RETURNING messages.id, kind, client_id, to_phone AS "to", from_number AS "from", body, claims, attempts,
                     attempted_at AS "attempted_at!", looks, expires_at, retry_of IS NOT NULL AS "second_try!",
                     error_code AS waited_for,
                     (SELECT received_at FROM events
                      WHERE events.id = messages.event_id AND messages.deferred_until IS NULL
                        AND messages.retry_of IS NULL
                        AND events.received_at >= (SELECT COALESCE(max(started_at), '-infinity') FROM stops)) AS follows_from,
                     messages.traceparent"#,
        now,
        limit,
        look_again_at
    );
    Ok(claimed.fetch_all(pool).await?)
}
