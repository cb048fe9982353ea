//! What Twilio reports about our texts, applied to the outbox.
//!
//! Reports come in any order, twice, or never, and a text's status only moves forward.

use jobrun_shared::db::events::{self, Payload, Waiting};
use jobrun_shared::db::messages::{self, Progress, Report};
use jobrun_shared::queue::{self, Queue};
use jobrun_shared::{clock, db};

use crate::hands::Hands;

/// Applies those of the `oldest` events that are delivery reports. Answers how many.
pub(crate) async fn process(hands: &Hands, oldest: &[Waiting]) -> Result<usize, db::Error> {
    let ids: Vec<i64> = oldest.iter().filter(|event| as_report(event).is_some()).map(|event| event.id).collect();
    if ids.is_empty() {
        return Ok(0);
    }
    let mut tx = hands.pool.begin().await?;
    let locked = events::lock_waiting(&mut tx, &ids).await?;
    let mut reports: Vec<(i64, Report)> =
        locked.iter().filter_map(|event| Some((event.id, as_report(event)?))).collect();
    reports.sort_by_key(|(id, report)| (report.message_id, *id));

    let now = clock::now();
    let (event_ids, reports): (Vec<i64>, Vec<Report>) = reports.into_iter().unzip();
    let ours = messages::apply_reports(&mut tx, &reports, now).await?;
    let outcome = |ours: bool| if ours { "applied" } else { "not_our_text" };
    let outcomes: Vec<(i64, &'static str)> =
        event_ids.iter().zip(&ours).map(|(id, ours)| (*id, outcome(*ours))).collect();
    events::mark_processed(&mut tx, &outcomes, now).await?;
    // A text of unknown outcome may be settled by this, and the next one to the same person can go.
    queue::nudge(&mut tx, Queue::SendMessages).await?;
    tx.commit().await?;

    for report in reports.iter().filter(|report| report.progress > Progress::Delivered) {
        tracing::warn!(
            message_id = report.message_id,
            twilio_sid = report.sid,
            error_code = report.error_code,
            "a text was not delivered"
        );
    }
    Ok(outcomes.len())
}

fn as_report(event: &Waiting) -> Option<Report> {
    match event.payload.as_ref()? {
        Payload::DeliveryReport { message_id, sid, status, error_code } => Some(Report {
            message_id: *message_id,
            sid: sid.clone(),
            progress: Progress::of_status(status),
            error_code: *error_code,
        }),
        Payload::Text { .. } | Payload::CallArrived { .. } | Payload::CallEnded { .. } | Payload::NumberDue { .. } => {
            None
        }
    }
}
