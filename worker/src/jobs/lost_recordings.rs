//! Finds recordings at Twilio whose reports have not reached us. A part of the job `reconcile`.
//!
//! A message that a caller left is told to the owner late, as if its report came now. One that is no client's is deleted, or it would
//! stay at Twilio for ever. Recordings of other numbers of the account, and those from before a number had its first client, do not
//! concern us, and are left alone.

use chrono::{DateTime, NaiveTime, SubsecRound, TimeDelta, Utc};
use jobrun_onboarding::calls::LINK_LASTS;
use jobrun_shared::clock;
use jobrun_shared::db::inbox::{self, NewEvent, Payload, Source};
use jobrun_shared::db::voicemails::{self, NewVoicemail, OurNumber};
use jobrun_shared::db::{self, audits};
use jobrun_shared::queue::Queue;
use jobrun_twilio::recordings::Listed;

use crate::context::JobContext;

/// A younger recording may still be reported.
const REPORT_GRACE: TimeDelta = TimeDelta::minutes(15);

/// How far the first comparison looks back.
const FIRST_LOOK_BACK: TimeDelta = TimeDelta::days(30);

/// The most days whose lists one comparison reads. The next one goes on.
const DAYS_AT_ONCE: usize = 10;

/// The most unknown recordings that one comparison handles: each is a request to Twilio.
const HANDLED_AT_ONCE: usize = 50;

/// Compares Twilio's list of recordings with ours, from where the last comparison ended.
pub(super) async fn take_in(context: &JobContext) -> Result<(), db::Error> {
    let now = clock::now();
    let until = now - REPORT_GRACE;
    let mut from = audits::find_recordings_until(&context.pool).await?.unwrap_or(now - FIRST_LOOK_BACK);
    let mut left = HANDLED_AT_ONCE;
    for _ in 0..DAYS_AT_ONCE {
        if from >= until || left == 0 {
            break;
        }
        let Some(reached) = compare_day(context, from, until, &mut left, now).await? else { break };
        from = reached;
        audits::save_recordings_until(&context.pool, from).await?;
    }
    Ok(())
}

/// Compares the recordings of the day of `from`. Returns how far it came; nothing, if Twilio does not answer or the worker stops.
async fn compare_day(
    context: &JobContext,
    from: DateTime<Utc>,
    until: DateTime<Utc>,
    left: &mut usize,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, db::Error> {
    let day = from.date_naive();
    let listed = match context.unless_stopped(context.twilio.list_recordings(day)).await {
        Some(Ok(listed)) => listed,
        Some(Err(error)) => {
            tracing::warn!(%error, "cannot compare Twilio's list of recordings with ours, and will try again");
            return Ok(None);
        }
        None => return Ok(None),
    };
    // The dates of the list have whole seconds.
    let first = from.trunc_subsecs(0);
    let mut listed: Vec<Listed> = listed.into_iter().filter(|it| it.made_at >= first && it.made_at <= until).collect();
    listed.sort_by_key(|it| it.made_at);
    let sids: Vec<&str> = listed.iter().map(|it| it.sid.as_str()).collect();
    let known = voicemails::list_known(&mut *context.pool.acquire().await?, &sids).await?;
    for recording in listed.iter().filter(|it| !known.contains(&it.sid)) {
        if *left == 0 {
            return Ok(Some(recording.made_at));
        }
        *left -= 1;
        if !handle(context, recording, now).await? {
            return Ok(None);
        }
    }
    let next_day = (day + TimeDelta::days(1)).and_time(NaiveTime::MIN).and_utc();
    Ok(Some(next_day.min(until)))
}

/// Takes one recording in, or has it deleted. One that is older than the number's first client is not ours. Returns whether Twilio said
/// which number was called.
async fn handle(context: &JobContext, recording: &Listed, now: DateTime<Utc>) -> Result<bool, db::Error> {
    let called = match context.unless_stopped(context.twilio.find_called_number(&recording.call_sid)).await {
        Some(Ok(called)) => called,
        Some(Err(error)) => {
            tracing::warn!(%error, "cannot find out whose a recording is, and will try again");
            return Ok(false);
        }
        None => return Ok(false),
    };
    // Of a call that Twilio does not know any more, no number is known.
    let Some(number) = called else { return Ok(true) };
    let ours = voicemails::find_our_number(&mut *context.pool.acquire().await?, &number).await?;
    let Some(ours) = ours else { return Ok(true) };
    if is_of_its_holder(&ours, recording, now) {
        let payload = Payload::RecordingMade {
            to: number,
            sid: recording.sid.clone(),
            call_sid: recording.call_sid.clone(),
            seconds: recording.seconds,
        };
        // As the webhook names it, so that both are one event.
        let event = NewEvent::new(Source::Twilio, recording.sid.clone(), payload);
        inbox::record(&context.pool, &[event], now).await?;
        context.announcer.announce(Queue::ProcessEvents);
        tracing::warn!("a message of a caller was not reported, and is taken in now");
    } else if ours.first_assigned_at.is_some_and(|at| at <= recording.made_at) {
        let unwanted =
            NewVoicemail { client_id: None, recording_sid: recording.sid.clone(), token_sha256: None, expires_at: now };
        voicemails::insert(&mut *context.pool.acquire().await?, &[unwanted], now).await?;
        tracing::warn!("a recording of no client was not reported, and is deleted");
    }
    Ok(true)
}

/// Returns whether a recording was left for the client that holds the number now, and its link would not be over.
fn is_of_its_holder(ours: &OurNumber, recording: &Listed, now: DateTime<Utc>) -> bool {
    let held_then = ours.assigned_at.is_none_or(|at| at <= recording.made_at + TimeDelta::seconds(1));
    ours.is_held && held_then && recording.made_at > now - LINK_LASTS
}
