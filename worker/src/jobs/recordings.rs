//! Deletes recordings of callers' messages at Twilio, when their links have ended. A part of the sweep.
//!
//! A deletion may be repeated: a recording that Twilio does not know any more counts as deleted. When it is tried again stands in the
//! row before the request is made, so that no failure and no crash loses it.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_shared::alerts::{Kind, operation};
use jobrun_shared::backoff::delay_after;
use jobrun_shared::db::alerts;
use jobrun_shared::db::voicemails::{self, ToDelete};
use jobrun_shared::{clock, db, telemetry};

use crate::context::JobContext;

/// How many recordings one sweep deletes at most. The next one goes on.
const DELETED_AT_ONCE: i64 = 10;

/// The delay after the first failure. It doubles with each further one, up to the longest.
const RETRY_DELAY: Duration = Duration::from_secs(60);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(6 * 60 * 60);

/// After this many failures, each is logged as an error.
const FAILURES_EXPECTED: i32 = 5;

/// A recording that is still there so long after its deletion was due is reported to the operator.
const REPORTED_AFTER: TimeDelta = TimeDelta::days(1);

/// How long a link whose recording is deleted is told from one that never was.
const FORGOTTEN_AFTER: TimeDelta = TimeDelta::days(30);

/// Deletes the recordings that are due, and forgets those that were deleted long ago.
pub(super) async fn delete_due(context: &JobContext) -> Result<(), db::Error> {
    for recording in claim(context, clock::now()).await? {
        let Some(deleted) = context.unless_stopped(context.twilio.delete_recording(&recording.recording_sid)).await
        else {
            return Ok(());
        };
        match deleted {
            Ok(()) => {
                let mut conn = context.pool.acquire().await?;
                voicemails::save_deleted(&mut conn, &recording.recording_sid, clock::now()).await?;
                tracing::info!(voicemail = recording.id, "a recording is deleted at Twilio");
            }
            Err(error) => {
                if recording.attempts > FAILURES_EXPECTED {
                    tracing::error!(voicemail = recording.id, attempts = recording.attempts, %error, "a recording is still at Twilio");
                } else {
                    tracing::warn!(voicemail = recording.id, %error, "a recording was not deleted at Twilio, and will be");
                }
                // The next sweep goes on: an outage, a limit or a wrong key concerns the others as well.
                break;
            }
        }
    }
    update_alert(context).await?;
    let mut conn = context.pool.acquire().await?;
    voicemails::remove_deleted_before(&mut conn, clock::now() - FORGOTTEN_AFTER).await?;
    Ok(())
}

/// Raises an alert while recordings are kept that should have been deleted long ago.
async fn update_alert(context: &JobContext) -> Result<(), db::Error> {
    let now = clock::now();
    let (mut raised, mut cleared) = (Vec::new(), Vec::new());
    let mut tx = context.pool.begin().await?;
    if let Some(kept) = voicemails::find_kept(&mut tx, now - REPORTED_AFTER).await? {
        let alert = operation::recordings_kept(kept.count, kept.since);
        raised.extend(alerts::raise_lasting(&mut tx, &alert, now).await?.then_some(alert));
    } else {
        cleared = alerts::clear(&mut tx, &[Kind::RecordingsKept.name().to_owned()], now).await?;
    }
    tx.commit().await?;
    telemetry::raised(&raised);
    telemetry::cleared(&cleared);
    Ok(())
}

/// Claims recordings until the time at which each is tried again.
async fn claim(context: &JobContext, now: DateTime<Utc>) -> Result<Vec<ToDelete>, db::Error> {
    let mut tx = context.pool.begin().await?;
    let due = voicemails::lock_due(&mut tx, now, DELETED_AT_ONCE).await?;
    let again_at: Vec<DateTime<Utc>> = due.iter().map(|it| again_at(it.attempts, now)).collect();
    voicemails::save_attempts(&mut tx, &due, &again_at).await?;
    tx.commit().await?;
    Ok(due)
}

fn again_at(attempts: i32, now: DateTime<Utc>) -> DateTime<Utc> {
    now + delay_after(usize::try_from(attempts).unwrap_or(1), RETRY_DELAY, RETRY_DELAY_MAX)
}
