//! Twilio's delivery reports, applied to the outbox.
//!
//! Reports come in any order, twice, or never. A text's status only moves forward.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_onboarding::TextKind;
use jobrun_shared::alerts::cause_of_undelivered;
use jobrun_shared::db::alerts::{self, NewAlert};
use jobrun_shared::db::inbox::{self, Outcome, Payload, PendingEvent};
use jobrun_shared::db::outbox::pace::KnownBy;
use jobrun_shared::db::outbox::{self, DeliveryProgress, DeliveryReport, LaterActivity, Reported};
use jobrun_shared::db::{self, Patience, erasures};
use jobrun_shared::queue::{self, Queue};
use jobrun_shared::traces::Span;
use jobrun_shared::{clock, metrics, telemetry};
use jobrun_twilio::errors;
use sqlx::PgConnection;

use crate::context::JobContext;
use crate::events::{Handler, Item, handle};
use crate::send_failures::{self, Arrived, Failed};

const HANDLER: Handler = Handler { name: "a delivery report", retry_after: TimeDelta::minutes(10), alert: None };

/// Applies the delivery reports among the `oldest` events. Returns how many.
pub(crate) async fn process(context: &JobContext, oldest: &[PendingEvent]) -> Result<usize, db::Error> {
    let reports: Vec<Item<'_, &PendingEvent>> =
        oldest.iter().filter(|event| as_report(event).is_some()).map(Item::of_event).collect();
    handle(context, HANDLER, &reports, |part, patience| apply(context, part, patience)).await
}

async fn apply(
    context: &JobContext,
    reports: &[Item<'_, &PendingEvent>],
    patience: Patience,
) -> Result<usize, db::Error> {
    let ids: Vec<i64> = reports.iter().map(|item| item.value.id).collect();
    let mut tx = db::begin(&context.pool, patience).await?;
    let applied = apply_in(&mut tx, &ids).await;
    let applied = db::finish(tx, applied).await?;

    for failed in applied.failed {
        let (message_id, code) = (failed.id, failed.code);
        tracing::warn!(message_id, code, why = errors::meaning(code), "a text was not delivered");
    }
    applied.delivery_times.into_iter().for_each(metrics::delivery);
    telemetry::raised(&applied.raised);
    telemetry::cleared(&applied.cleared);
    applied.spans.into_iter().for_each(Span::succeed);
    if applied.texts_may_leave {
        context.announcer.announce(Queue::SendMessages);
    }
    Ok(applied.count)
}

async fn apply_in(conn: &mut PgConnection, ids: &[i64]) -> Result<Applied, db::Error> {
    let locked = inbox::lock_pending(conn, ids).await?;
    if locked.is_empty() {
        return Ok(Applied::default());
    }
    let mut reports: Vec<(&PendingEvent, DeliveryReport)> =
        locked.iter().filter_map(|event| Some((event, as_report(event)?))).collect();
    reports.sort_by_key(|(event, report)| (report.message_id, event.id));

    let now = clock::now();
    let (events, reports): (Vec<&PendingEvent>, Vec<DeliveryReport>) = reports.into_iter().unzip();
    let reported = outbox::apply_reports(conn, &reports, now).await?;
    let outcome = |text: &Option<Reported>| if text.is_some() { "applied" } else { "not_our_text" };
    let outcomes: Vec<Outcome> =
        events.iter().zip(&reported).map(|(event, text)| Outcome::of_nobody(event.id, outcome(text))).collect();
    inbox::mark_processed(conn, &outcomes, now).await?;
    let unknown = events.iter().zip(&reported).filter(|(_, text)| text.is_none()).map(|(event, _)| event.id);
    erasures::forget_recipients(conn, &unknown.collect::<Vec<_>>()).await?;
    let matched: Vec<(&DeliveryReport, &Reported)> =
        reports.iter().zip(&reported).filter_map(|(report, text)| Some((report, text.as_ref()?))).collect();
    let applied = act_on(conn, &matched, now).await?;
    let spans = events.iter().zip(&reports).zip(&reported).filter_map(|((event, report), text)| {
        let span = text.as_ref()?.report_span(event.traceparent, event.received_at)?;
        Some(span.with("status", report.progress.name()))
    });
    let spans = spans.collect();
    // The next text to a person leaves once the one before is settled. A cleared alert may have been that sending was parked.
    let recipients: Vec<&str> = matched.iter().map(|(_, text)| text.to.as_str()).collect();
    let texts_may_leave = !applied.cleared.is_empty() || outbox::any_queued_to(conn, &recipients).await?;
    if texts_may_leave {
        queue::enqueue(conn, Queue::SendMessages).await?;
    }
    Ok(Applied { count: outcomes.len(), spans, texts_may_leave, ..applied })
}

/// The results of a batch, for the log after the commit.
#[derive(Default)]
struct Applied {
    /// The number of reports that were processed.
    count: usize,
    /// Whether a text may leave now that could not before.
    texts_may_leave: bool,
    failed: Vec<Failed>,
    /// The time from its attempt to now, of each text that arrived.
    delivery_times: Vec<Duration>,
    raised: Vec<NewAlert>,
    cleared: Vec<String>,
    /// A span for each report about a text of a sampled trace.
    spans: Vec<Span>,
}

/// Carries out the actions that follow from `matched`, the reports that have a text. Does not set the count.
async fn act_on(
    conn: &mut PgConnection,
    matched: &[(&DeliveryReport, &Reported)],
    now: DateTime<Utc>,
) -> Result<Applied, db::Error> {
    let left = matched.iter().filter(|(report, _)| report.progress.shows_it_left());
    let mut cleared = match left.filter_map(|(_, text)| text.attempted_at).max() {
        Some(began_at) => send_failures::account_accepted(conn, began_at, KnownBy::Report, now).await?,
        None => Vec::new(),
    };
    let mut failed: Vec<Failed> = matched.iter().filter_map(|(report, text)| as_failed(report, text)).collect();
    if !failed.is_empty() {
        let ids: Vec<i64> = failed.iter().map(|failed| failed.id).collect();
        let later = outbox::list_later_activity(conn, &ids).await?;
        for failed in &mut failed {
            failed.later = later.get(&failed.id).copied().unwrap_or_default();
        }
    }
    let arrived: Vec<Arrived> = matched.iter().filter_map(|(_, text)| as_arrived(text)).collect();
    let raised = send_failures::carry_out(conn, &failed, &arrived, now).await?;
    let resolved: Vec<String> = matched.iter().filter_map(|(report, text)| resolved_cause(report, text)).collect();
    cleared.extend(alerts::clear(conn, &resolved, now).await?);
    let delivered =
        matched.iter().filter(|(report, text)| text.moved && report.progress == DeliveryProgress::Delivered);
    let delivery_times = delivered.filter_map(|(_, text)| (now - text.attempted_at?).to_std().ok()).collect();
    Ok(Applied { failed, delivery_times, raised, cleared, ..Applied::default() })
}

/// Returns the failed text, if a report says for the first time that it was not delivered.
fn as_failed(report: &DeliveryReport, text: &Reported) -> Option<Failed> {
    (text.moved && report.progress > DeliveryProgress::Delivered).then(|| Failed {
        id: text.id,
        kind: TextKind::from_name(&text.kind),
        client_id: text.client_id.clone(),
        to: text.to.clone(),
        began_at: text.attempted_at.unwrap_or(DateTime::UNIX_EPOCH),
        second_try: text.second_try,
        class: errors::class_of(report.error_code),
        code: report.error_code,
        kept: false,
        reported: true,
        later: LaterActivity::default(),
    })
}

/// Returns the text, if it arrived after it was reported as lost.
fn as_arrived(text: &Reported) -> Option<Arrived> {
    text.arrived_after_all.then(|| Arrived {
        id: text.id,
        is_for_a_client: text.client_id.is_some()
            && !TextKind::from_name(&text.kind).is_some_and(TextKind::is_to_a_caller),
        to: text.to.clone(),
        class_before: errors::class_of(text.code_before),
    })
}

/// Returns the cause of the alert that a delivered text ends, if there is one.
fn resolved_cause(report: &DeliveryReport, text: &Reported) -> Option<String> {
    let kind = TextKind::from_name(&text.kind).filter(|kind| kind.matters())?;
    let client_id = text.client_id.as_deref()?;
    (report.progress == DeliveryProgress::Delivered).then(|| cause_of_undelivered(kind, client_id))
}

fn as_report(event: &PendingEvent) -> Option<DeliveryReport> {
    match event.payload.as_ref()? {
        Payload::DeliveryReport { message_id, sid, status, error_code, to } => Some(DeliveryReport {
            message_id: *message_id,
            sid: sid.clone(),
            to: to.clone(),
            progress: DeliveryProgress::of_status(status),
            error_code: *error_code,
        }),
        Payload::Text { .. }
        | Payload::CallArrived { .. }
        | Payload::CallEnded { .. }
        | Payload::RecordingMade { .. }
        | Payload::NumberDue { .. }
        | Payload::OptedOut { .. }
        | Payload::Unreachable { .. }
        | Payload::Reached { .. }
        | Payload::Stripe { .. }
        | Payload::SubscriptionAsked { .. }
        | Payload::PaymentChanged { .. }
        | Payload::OperatorAction { .. }
        | Payload::ReminderDue { .. }
        | Payload::ForwardingCheckDue { .. }
        | Payload::NumberLost { .. }
        | Payload::PhoneChangeAsked { .. }
        | Payload::PhoneChangeDue { .. } => None,
    }
}
