//! The job `reconcile`: asks Twilio for what it has not reported. Stripe has a job of its own (`reconcile_stripe.rs`): neither
//! waits for the other.
//!
//! Delivery reports get lost, and so do texts that arrive while no ingress can take them, and reports of recordings
//! (`lost_recordings.rs`). Twilio does not deliver any of them again. The job records its findings in the inbox like any other event,
//! once, however often it finds them.

use chrono::TimeDelta;
use futures::StreamExt;
use jobrun_shared::alerts::{Kind, operation};
use jobrun_shared::db::alerts::{self, NewAlert};
use jobrun_shared::db::inbox::{self, NewEvent, Payload, Source};
use jobrun_shared::db::outbox::{self, DeliveryProgress, Unreported};
use jobrun_shared::db::{self, audits};
use jobrun_shared::queue::{self, Queue};
use jobrun_shared::{clock, missed_texts, telemetry};

use crate::context::{JobContext, Progress};
use crate::jobs::lost_recordings;

/// The number of texts looked up at a time.
const LOOKUPS_MAX: usize = 10;

/// The number of received texts recorded in one transaction.
const RECORD_BATCH_MAX: usize = 100;

/// The time for which Twilio tries to deliver a text: a younger one may still be on its way to us.
const DELIVERY_GRACE: TimeDelta = TimeDelta::seconds(15);

/// How far each comparison looks back beyond the last one: the delay until Twilio's list shows a text is undocumented.
const OVERLAP: TimeDelta = TimeDelta::minutes(10);

/// Texts older than this are not fetched, because they are not answered any more.
const AGE_MAX: TimeDelta = TimeDelta::hours(24);

pub(crate) async fn run(context: &JobContext) -> Result<Progress, db::Error> {
    let was_due = audit(context).await?;
    if was_due && context.voicemail {
        lost_recordings::take_in(context).await?;
    }
    context.run_until_drained(|| look_up_unreported(context)).await
}

async fn look_up_unreported(context: &JobContext) -> Result<usize, db::Error> {
    let unreported = outbox::claim_unreported(&context.pool, clock::now(), LOOKUPS_MAX as i64).await?;
    let count = unreported.len();
    let lookups = futures::stream::iter(unreported).map(|text| look_up(context, text)).buffer_unordered(LOOKUPS_MAX);
    let reports: Vec<NewEvent> = lookups.filter_map(std::future::ready).collect().await;
    if !reports.is_empty() {
        inbox::record(&context.pool, &reports, clock::now()).await?;
        context.announcer.announce(Queue::ProcessEvents);
    }
    Ok(count)
}

/// Returns the report that Twilio would have sent. Returns nothing if the text has not left Twilio yet, or Twilio does not say: the
/// next look-up is scheduled already.
async fn look_up(context: &JobContext, text: Unreported) -> Option<NewEvent> {
    let message = match context.unless_stopped(context.twilio.find_message(&text.sid)).await? {
        Ok(message) => message?,
        Err(error) => {
            tracing::warn!(message_id = text.id, %error, "cannot find out what became of a text");
            return None;
        }
    };
    (DeliveryProgress::of_status(&message.status) >= DeliveryProgress::Sent).then(|| {
        NewEvent::new(
            Source::System,
            format!("asked:{}:{}", text.sid, message.status),
            Payload::DeliveryReport {
                message_id: Some(text.id),
                sid: text.sid,
                status: message.status,
                error_code: message.error_code,
                to: None,
            },
        )
    })
}

/// Compares Twilio's list of received texts with the inbox, and records those that never arrived. Returns whether that was due.
async fn audit(context: &JobContext) -> Result<bool, db::Error> {
    let now = clock::now();
    let Some(audited_until) = audits::claim(&context.pool, context.audit_interval, now).await? else {
        return Ok(false);
    };
    // Each comparison schedules the next, so that its interval does not depend on another schedule. If that job is lost, the sweep
    // enqueues one.
    let next = now + TimeDelta::from_std(context.audit_interval).unwrap_or(TimeDelta::hours(1));
    queue::enqueue_once_at(&context.pool, Queue::Reconcile, next).await?;
    // Twilio's dates are cut to whole seconds. One second more includes the texts of the first second.
    let since = (audited_until - OVERLAP).max(now - AGE_MAX) - TimeDelta::seconds(1);
    let until = now - DELIVERY_GRACE;
    let listed = match context.unless_stopped(context.twilio.list_inbound(since)).await {
        Some(Ok(listed)) => listed,
        // The job is enqueued again, for another worker.
        None => {
            audits::release(&context.pool, now).await?;
            return Ok(false);
        }
        Some(Err(error)) => {
            tracing::warn!(%error, "cannot compare Twilio's list with the inbox, and will try again");
            return Ok(true);
        }
    };
    let listed = listed.into_iter().filter(|text| text.sent_at >= since && text.sent_at <= until).collect();
    let ours = missed_texts::of_our_numbers(&context.pool, &context.onboarding_number, listed).await?;
    let arrived: Vec<NewEvent> = ours.iter().map(missed_texts::as_event).collect();
    let compared = arrived.len();
    // Recording an event locks the lane of its sender, so texts that are recorded already are left out.
    let arrived = inbox::list_new(&mut *context.pool.acquire().await?, arrived).await?;
    let mut missed = 0;
    for texts in arrived.chunks(RECORD_BATCH_MAX) {
        missed += inbox::record(&context.pool, texts, now).await?;
    }
    let mut tx = context.pool.begin().await?;
    audits::save(&mut tx, until).await?;
    let mut alerts: Vec<NewAlert> = (missed > 0).then(operation::texts_missed).into_iter().collect();
    alerts.extend((audited_until < now - AGE_MAX).then(|| operation::texts_too_old(audited_until, since)));
    let raised = alerts::raise(&mut tx, &alerts, now).await?;
    let resolved: Vec<String> = (missed == 0).then(|| Kind::TextsMissed.name().to_owned()).into_iter().collect();
    let cleared = alerts::clear(&mut tx, &resolved, now).await?;
    tx.commit().await?;
    telemetry::raised(&raised);
    telemetry::cleared(&cleared);
    if missed > 0 {
        context.announcer.announce(Queue::ProcessEvents);
        tracing::warn!(missed, "fetched texts that had not reached us");
    }
    tracing::debug!(compared, missed, "compared Twilio's list with the inbox");
    Ok(true)
}
