//! State that all senders share: whether sending is parked, and how fast each number may send.
//!
//! While Twilio refuses the account, every attempt would fail for the same reason. So only one text now and then is
//! sent, as a probe. This module does not know why sending was parked; the alerts do.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;

use crate::db::Error;

/// How long after a probe the next one follows, and how long if only a delivery report tells the result, which takes
/// longer.
const PROBE_EVERY: TimeDelta = TimeDelta::seconds(10);
const PROBE_BY_REPORT_EVERY: TimeDelta = TimeDelta::seconds(60);

/// How far ahead of its pace a number may send: texts are claimed by jobs that run once a second.
pub const BURST: TimeDelta = TimeDelta::seconds(2);

/// Whether texts may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// As many as are due.
    Open,
    /// One, to test whether the account is still refused.
    Probe,
    /// None.
    Parked {
        /// When the next probe may be sent.
        probe_at: DateTime<Utc>,
    },
}

/// Returns whether texts may be sent. After [`Admission::Probe`], no other worker may probe for a while; the caller
/// holds the row's lock.
pub async fn admit(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<Admission, Error> {
    let Some(probe_at) = sqlx::query_scalar!("SELECT probe_at FROM sending").fetch_one(&mut *conn).await? else {
        return Ok(Admission::Open);
    };
    let granted = sqlx::query!(
        "UPDATE sending SET probe_at = CASE WHEN awaits_report THEN $3::TIMESTAMPTZ ELSE $2 END WHERE probe_at <= $1",
        now,
        now + PROBE_EVERY,
        now + PROBE_BY_REPORT_EVERY
    );
    let granted = granted.execute(conn).await?.rows_affected() == 1;
    Ok(if granted { Admission::Probe } else { Admission::Parked { probe_at: probe_at.max(now) } })
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
/// before sending was last unparked changes nothing. Returns whether it changed anything.
pub async fn park(
    conn: &mut PgConnection,
    began_at: DateTime<Utc>,
    known_by: KnownBy,
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let probe_at = match known_by {
        KnownBy::Answer => now + PROBE_EVERY,
        KnownBy::Report => now + PROBE_BY_REPORT_EVERY,
    };
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

/// Returns when the first sender that has queued texts is back at its pace, if one is over it.
pub async fn next_at_pace(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, Error> {
    let free_at = sqlx::query_scalar!(
        "SELECT min(free_at) FROM senders
         WHERE free_at > $1 AND EXISTS (SELECT FROM messages WHERE status = 'queued' AND from_number = senders.number)",
        now + BURST
    );
    Ok(free_at.fetch_one(conn).await?.map(|at| at - BURST))
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
}

/// Which texts may leave now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Charged {
    /// The texts that may leave: `messages.id`.
    pub admitted: Vec<i64>,
    /// When the first of the others may leave, if there are others.
    pub come_back_at: Option<DateTime<Utc>>,
}

/// Charges texts, in the order given, to their senders, as long as those are not too far ahead of their pace. Locks the
/// senders until the transaction ends.
pub async fn charge(
    conn: &mut PgConnection,
    due: &[Due],
    segments_per_second: u32,
    now: DateTime<Utc>,
) -> Result<Charged, Error> {
    let mut senders: Vec<&str> = due.iter().map(|text| text.from.as_str()).collect();
    senders.sort_unstable();
    senders.dedup();
    if senders.is_empty() {
        return Ok(Charged::default());
    }
    let rows = sqlx::query!(
        "INSERT INTO senders (number, free_at) SELECT number, $2 FROM unnest($1::TEXT[]) AS s (number)
         ON CONFLICT ON CONSTRAINT a_sender_is_charged_once DO UPDATE SET free_at = senders.free_at
         RETURNING number, free_at",
        &senders as &[&str],
        now
    );
    let mut free_at: BTreeMap<String, DateTime<Utc>> =
        rows.fetch_all(&mut *conn).await?.into_iter().map(|row| (row.number, row.free_at)).collect();
    let charged = admit_at_pace(due, &mut free_at, segments_per_second, now);
    let (numbers, times): (Vec<String>, Vec<DateTime<Utc>>) = free_at.into_iter().unzip();
    sqlx::query!(
        "UPDATE senders SET free_at = charged.free_at
         FROM unnest($1::TEXT[], $2::TIMESTAMPTZ[]) AS charged (number, free_at) WHERE senders.number = charged.number",
        &numbers,
        &times
    )
    .execute(conn)
    .await?;
    Ok(charged)
}

fn admit_at_pace(
    due: &[Due],
    free_at: &mut BTreeMap<String, DateTime<Utc>>,
    segments_per_second: u32,
    now: DateTime<Utc>,
) -> Charged {
    let mut charged = Charged::default();
    for text in due {
        let line = free_at.entry(text.from.clone()).or_insert(now);
        if *line > now + BURST {
            let at = *line - BURST;
            charged.come_back_at = Some(charged.come_back_at.map_or(at, |other| other.min(at)));
            continue;
        }
        let cost = i64::from(text.segments) * 1_000_000 / i64::from(segments_per_second.max(1));
        *line = (*line).max(now) + TimeDelta::microseconds(cost);
        charged.admitted.push(text.id);
    }
    charged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(id: i64, from: &str, segments: i32) -> Due {
        Due { id, from: from.to_owned(), segments }
    }

    #[test]
    fn a_sender_is_charged_by_segments_and_others_do_not_wait_for_it() {
        let now = DateTime::UNIX_EPOCH;
        let mut lines = BTreeMap::new();
        let texts = [due(1, "a", 15), due(2, "a", 10), due(3, "a", 1), due(4, "b", 1)];
        let charged = admit_at_pace(&texts, &mut lines, 10, now);
        assert_eq!(charged.admitted, [1, 2, 4], "after 25 segments, a is 2.5 seconds ahead");
        assert_eq!(charged.come_back_at, Some(now + TimeDelta::milliseconds(500)));
        let later = now + TimeDelta::milliseconds(500);
        assert_eq!(admit_at_pace(&texts[2..3], &mut lines, 10, later).admitted, [3]);
    }

    #[test]
    fn over_a_minute_a_sender_keeps_its_pace() {
        let (mut lines, mut sent) = (BTreeMap::new(), 0);
        let texts: Vec<Due> = (0..100).map(|id| due(id, "a", 1)).collect();
        for second in 0..60 {
            let now = DateTime::UNIX_EPOCH + TimeDelta::seconds(second);
            sent += admit_at_pace(&texts, &mut lines, 10, now).admitted.len();
        }
        assert!((600..=620).contains(&sent), "{sent}");
    }
}
