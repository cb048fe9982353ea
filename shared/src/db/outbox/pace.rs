//! State that all senders share: whether sending is parked, and until when each number is charged.
//!
//! While Twilio refuses the account, every attempt would fail for the same reason. So only one text now and then is
//! sent, as a probe. This module only keeps the rows; the worker decides how often it probes and how fast numbers send.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::db::{Error, ensure_rows};

/// Returns when the next probe may be sent, if sending is parked.
pub async fn find_probe(conn: &mut PgConnection) -> Result<Option<DateTime<Utc>>, Error> {
    Ok(sqlx::query_scalar!("SELECT probe_at FROM sending").fetch_one(conn).await?)
}

/// Takes the probe that is due, if one is: the next one follows at `next`, or at `next_by_report` if only a delivery
/// report tells whether the account is accepted. Locks the row until the transaction ends. Returns whether it was due.
pub async fn take_probe(
    conn: &mut PgConnection,
    now: DateTime<Utc>,
    next: DateTime<Utc>,
    next_by_report: DateTime<Utc>,
) -> Result<bool, Error> {
    let taken = sqlx::query!(
        "UPDATE sending SET probe_at = CASE WHEN awaits_report THEN $3::TIMESTAMPTZ ELSE $2 END WHERE probe_at <= $1",
        now,
        next,
        next_by_report
    );
    Ok(taken.execute(conn).await?.rows_affected() == 1)
}

/// How it becomes known whether Twilio accepts the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownBy {
    /// Twilio's response to the attempt.
    Answer,
    /// A delivery report, some time after Twilio took the text.
    Report,
}

/// Parks sending, because an attempt that began at `began_at` was refused for the account's sake. An attempt that began
/// before sending was last unparked changes nothing. The next probe is due at `probe_at`, or later if it was. Returns
/// whether it changed anything.
pub async fn park(
    conn: &mut PgConnection,
    began_at: DateTime<Utc>,
    known_by: KnownBy,
    probe_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let parked = sqlx::query!(
        "UPDATE sending SET parked_at = COALESCE(parked_at, $2), probe_at = GREATEST(probe_at, $3),
                            awaits_report = awaits_report OR $4
         WHERE unparked_at IS NULL OR unparked_at < $1",
        began_at,
        now,
        probe_at,
        known_by == KnownBy::Report
    );
    Ok(parked.execute(conn).await?.rows_affected() == 1)
}

/// Unparks sending, because the account was accepted in an attempt that began at `began_at`. Returns whether sending
/// was parked when that attempt began.
pub async fn unpark(
    conn: &mut PgConnection,
    began_at: DateTime<Utc>,
    known_by: KnownBy,
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let unparked = sqlx::query!(
        "UPDATE sending SET parked_at = NULL, probe_at = NULL, awaits_report = FALSE, unparked_at = $2
         WHERE parked_at <= $1 AND ($3 OR NOT awaits_report)",
        began_at,
        now,
        known_by == KnownBy::Report
    );
    Ok(unparked.execute(conn).await?.rows_affected() == 1)
}

/// Returns until when the least charged of the senders is charged that have queued texts and are charged beyond `until`.
pub async fn find_charged_beyond(
    conn: &mut PgConnection,
    until: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, Error> {
    let charged_until = sqlx::query_scalar!(
        "SELECT min(free_at) FROM senders
         WHERE free_at > $1 AND EXISTS (SELECT FROM messages WHERE status = 'queued' AND from_number = senders.number)",
        until
    );
    Ok(charged_until.fetch_one(conn).await?)
}

/// Returns until when each of the senders is charged. Locks them until the transaction ends.
pub async fn lock_senders(
    conn: &mut PgConnection,
    senders: &[&str],
    now: DateTime<Utc>,
) -> Result<BTreeMap<String, DateTime<Utc>>, Error> {
    let rows = sqlx::query!(
        "INSERT INTO senders (number, free_at) SELECT number, $2 FROM unnest($1::TEXT[]) AS s (number)
         ON CONFLICT ON CONSTRAINT a_sender_is_charged_once DO UPDATE SET free_at = senders.free_at
         RETURNING number, free_at",
        senders as &[&str],
        now
    );
    Ok(rows.fetch_all(conn).await?.into_iter().map(|row| (row.number, row.free_at)).collect())
}

/// Saves until when each of the locked senders is charged.
pub async fn save_senders(
    conn: &mut PgConnection,
    charged_until: BTreeMap<String, DateTime<Utc>>,
) -> Result<(), Error> {
    let (numbers, times): (Vec<String>, Vec<DateTime<Utc>>) = charged_until.into_iter().unzip();
    let saved = sqlx::query!(
        "UPDATE senders SET free_at = charged.free_at
         FROM unnest($1::TEXT[], $2::TIMESTAMPTZ[]) AS charged (number, free_at) WHERE senders.number = charged.number",
        &numbers,
        &times
    );
    ensure_rows(&saved.execute(conn).await?, numbers.len(), "charging senders")
}
