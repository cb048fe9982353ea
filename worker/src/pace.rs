//! How fast texts may leave: none but a probe while Twilio refuses the account, each number at its pace, retries ever later.
//!
//! The rows are in [`jobrun_shared::db::outbox::pace`]. This module does not know why sending was parked; the alerts do.

use std::collections::BTreeMap;

use backon::{BackoffBuilder, ExponentialBuilder};
use chrono::{DateTime, TimeDelta, Utc};
use jobrun_shared::db;
use jobrun_shared::db::outbox::Due;
use jobrun_shared::db::outbox::pace::{self, KnownBy};
use sqlx::PgConnection;

/// How long after a probe the next one follows, and how long if only a delivery report tells the result, which takes longer.
const PROBE_EVERY: TimeDelta = TimeDelta::seconds(10);
const PROBE_BY_REPORT_EVERY: TimeDelta = TimeDelta::seconds(60);

/// How far ahead of its pace a number may send: texts are claimed by jobs that run once a second.
pub(crate) const BURST: TimeDelta = TimeDelta::seconds(2);

/// Whether texts may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// As many as are due.
    Open,
    /// One, to test whether the account is still refused.
    Probe,
    /// None before the next probe.
    Parked { probe_at: DateTime<Utc> },
}

/// Returns whether texts may be sent. After [`Admission::Probe`], no other worker may probe for a while; the caller holds the
/// row's lock.
pub(crate) async fn admit(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<Admission, db::Error> {
    let Some(probe_at) = pace::find_probe(conn).await? else {
        return Ok(Admission::Open);
    };
    let (next, next_by_report) = (next_probe(KnownBy::Answer, now), next_probe(KnownBy::Report, now));
    let taken = pace::take_probe(conn, now, next, next_by_report).await?;
    Ok(if taken { Admission::Probe } else { Admission::Parked { probe_at: probe_at.max(now) } })
}

/// Returns when the account is probed next.
pub(crate) fn next_probe(known_by: KnownBy, now: DateTime<Utc>) -> DateTime<Utc> {
    match known_by {
        KnownBy::Answer => now + PROBE_EVERY,
        KnownBy::Report => now + PROBE_BY_REPORT_EVERY,
    }
}

/// Which texts may leave now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Charged {
    /// The texts that may leave: `messages.id`.
    pub(crate) admitted: Vec<i64>,
    /// When the first of the others may leave, if there are others.
    pub(crate) come_back_at: Option<DateTime<Utc>>,
}

/// Charges texts, in the order given, to their senders, as long as those are not too far ahead of their pace. Locks the senders
/// until the transaction ends.
pub(crate) async fn charge(
    conn: &mut PgConnection,
    due: &[Due],
    segments_per_second: u32,
    now: DateTime<Utc>,
) -> Result<Charged, db::Error> {
    let mut senders: Vec<&str> = due.iter().map(|text| text.from.as_str()).collect();
    senders.sort_unstable();
    senders.dedup();
    if senders.is_empty() {
        return Ok(Charged::default());
    }
    let mut charged_until = pace::lock_senders(conn, &senders, now).await?;
    let charged = admit_at_pace(due, &mut charged_until, segments_per_second, now);
    pace::save_senders(conn, charged_until).await?;
    Ok(charged)
}

/// Returns when the first sender that has queued texts is back at its pace, if one is over it.
pub(crate) async fn next_at_pace(
    conn: &mut PgConnection,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, db::Error> {
    Ok(pace::find_charged_beyond(conn, now + BURST).await?.map(|at| at - BURST))
}

fn admit_at_pace(
    due: &[Due],
    charged_until: &mut BTreeMap<String, DateTime<Utc>>,
    segments_per_second: u32,
    now: DateTime<Utc>,
) -> Charged {
    let mut charged = Charged::default();
    for text in due {
        let until = charged_until.entry(text.from.clone()).or_insert(now);
        if *until > now + BURST {
            let at = *until - BURST;
            charged.come_back_at = Some(charged.come_back_at.map_or(at, |other| other.min(at)));
            continue;
        }
        let cost = i64::from(text.segments) * 1_000_000 / i64::from(segments_per_second.max(1));
        *until = (*until).max(now) + TimeDelta::microseconds(cost);
        charged.admitted.push(text.id);
    }
    charged
}

/// Returns the delay before the attempt after `attempts`: one second after the first, doubling, at most five minutes. It is spread,
/// so that texts that failed together do not come back together.
pub(crate) fn delay_before_retry(message_id: i64, attempts: i32) -> TimeDelta {
    let delays = ExponentialBuilder::new()
        .with_min_delay(std::time::Duration::from_secs(1))
        .with_max_delay(std::time::Duration::from_secs(300))
        .without_max_times()
        .with_jitter()
        .with_jitter_seed(message_id.unsigned_abs());
    let before = usize::try_from(attempts - 1).unwrap_or_default();
    delays.build().nth(before).and_then(|delay| TimeDelta::from_std(delay).ok()).unwrap_or(TimeDelta::minutes(5))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(id: i64, from: &str, segments: i32) -> Due {
        Due { id, from: from.to_owned(), segments, may_be_sent: false, silenced: false }
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
