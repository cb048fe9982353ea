//! Claims texts to send, as many as may leave now, and schedules the job that looks at the rest.
//!
//! A claim is committed before a text is posted. Scheduling is best effort: the sweep is the fallback.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_shared::db;
use jobrun_shared::db::outbox::{self, Due, Outgoing};
use jobrun_shared::db::restores;
use jobrun_shared::queue::{self, Queue};
use sqlx::{PgConnection, PgPool};

use crate::pace::{self, Admission};

/// An attempt without a recorded outcome after this long was cut off: its worker is gone. Longer than
/// [`jobrun_twilio::api::TIMEOUT`], which bounds every attempt.
pub(crate) const ATTEMPT_ENDS_WITHIN: TimeDelta = TimeDelta::seconds(12);

/// How long after a look that did not find a text the next one follows. How soon Twilio's list shows a text is undocumented.
pub(crate) const LOOK_AGAIN_AFTER: TimeDelta = TimeDelta::seconds(30);

/// How long scheduling the next look may take: the claimed texts must be posted before their claim goes stale.
const SCHEDULED_WITHIN: Duration = Duration::from_millis(500);

/// Claims queued texts that are due, at most `limit`, and no text whose recipient still has an earlier one unsettled. No sender
/// gets more than `segments_per_second`. While sending is parked, claims one text at each probe.
///
/// If `limit` texts are claimed, the job of another worker begins at once: more texts may be due, and they need not wait for the
/// results of these.
pub(crate) async fn claim_due(
    pool: &PgPool,
    now: DateTime<Utc>,
    limit: i64,
    segments_per_second: u32,
) -> Result<Vec<Outgoing>, db::Error> {
    let mut tx = pool.begin().await?;
    let admitted = match pace::admit(&mut tx, now).await? {
        Admission::Open => limit,
        Admission::Probe => 1,
        Admission::Parked { probe_at } => {
            tx.rollback().await?;
            look_again_at(pool, probe_at).await;
            return Ok(Vec::new());
        }
    };
    let mut due = outbox::lock_due(&mut tx, now, admitted, now + pace::BURST).await?;
    let found = due.len() as i64;
    settle_sent_before(&mut tx, &mut due, now).await?;
    drop_silenced(&mut tx, &mut due, now).await?;
    let charged = pace::charge(&mut tx, &due, segments_per_second, now).await?;
    let claimed = outbox::mark_sending(&mut tx, &charged.admitted, now, now + ATTEMPT_ENDS_WITHIN).await?;
    let come_back_at = match charged.come_back_at {
        // `lock_due` leaves out texts of a sender that is already over its pace.
        None if found < admitted => pace::next_at_pace(&mut tx, now).await?,
        at => at,
    };
    if claimed.len() as i64 == limit {
        queue::enqueue(&mut tx, Queue::SendMessages).await?;
    }
    tx.commit().await?;
    if !claimed.is_empty() {
        look_at_cut_off(pool, now + ATTEMPT_ENDS_WITHIN).await;
    }
    if let Some(at) = come_back_at {
        look_again_at(pool, at).await;
    }
    Ok(claimed)
}

/// Settles those of the texts that were sent before a restore of the database, and removes them from `due`. The next text to the
/// same person can then leave.
async fn settle_sent_before(conn: &mut PgConnection, due: &mut Vec<Due>, now: DateTime<Utc>) -> Result<(), db::Error> {
    let ids: Vec<i64> = due.iter().filter(|text| text.may_be_sent).map(|text| text.id).collect();
    if ids.is_empty() {
        return Ok(());
    }
    let sent = restores::settle_sent(conn, &ids, now).await?;
    due.retain(|text| !sent.contains(&text.id));
    if !sent.is_empty() {
        tracing::info!(texts = sent.len(), "texts had been sent before the database was restored");
        queue::enqueue(conn, Queue::SendMessages).await?;
    }
    Ok(())
}

/// Drops those of the texts that must not leave during a takeover, and removes them from `due`. The next text to the same person can
/// then leave.
async fn drop_silenced(conn: &mut PgConnection, due: &mut Vec<Due>, now: DateTime<Utc>) -> Result<(), db::Error> {
    let silenced: Vec<i64> = due.extract_if(.., |text| text.silenced).map(|text| text.id).collect();
    if silenced.is_empty() {
        return Ok(());
    }
    outbox::drop_silenced(conn, &silenced, now).await?;
    Ok(queue::enqueue(conn, Queue::SendMessages).await?)
}

/// Claims texts whose attempt ended with an unknown outcome or was cut off, and that are due to be looked for, at most `limit`.
pub(crate) async fn claim_unknown(pool: &PgPool, now: DateTime<Utc>, limit: i64) -> Result<Vec<Outgoing>, db::Error> {
    let claimed = outbox::claim_unknown(pool, now, now + LOOK_AGAIN_AFTER, limit).await?;
    if !claimed.is_empty() {
        look_again_at(pool, now + LOOK_AGAIN_AFTER).await;
    }
    Ok(claimed)
}

/// As [`look_again_at`], once for all claims of this process in the same second.
async fn look_at_cut_off(pool: &PgPool, at: DateTime<Utc>) {
    /// The last second for which it was scheduled, in Unix seconds.
    static SCHEDULED: AtomicI64 = AtomicI64::new(i64::MIN);
    if SCHEDULED.load(Ordering::Relaxed) != at.timestamp() && look_again_at(pool, at).await {
        SCHEDULED.store(at.timestamp(), Ordering::Relaxed);
    }
}

/// Schedules a send job, best effort; the sweep is the fallback. The claim is committed whether this succeeds or not.
/// Returns whether it did.
async fn look_again_at(pool: &PgPool, at: DateTime<Utc>) -> bool {
    let scheduling = queue::enqueue_once_at(pool, Queue::SendMessages, at);
    let scheduled = tokio::time::timeout(SCHEDULED_WITHIN, scheduling).await;
    match &scheduled {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "texts are not looked at again before the sweep does"),
        Err(_) => {
            tracing::warn!("texts are not looked at again before the sweep does: no job could be pushed in time")
        }
    }
    matches!(scheduled, Ok(Ok(())))
}
