//! What Twilio reports about our texts, applied to the outbox.
//!
//! Reports come in any order, twice, or never, and a text's status only moves forward.

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_onboarding::TextKind;
use jobrun_shared::db::alerts::{self, NewAlert};
use jobrun_shared::db::events::{self, Outcome, Payload, Waiting};
use jobrun_shared::db::messages::{self, Progress, Report, Reported, Since};
use jobrun_shared::db::sending::KnownBy;
use jobrun_shared::db::{self, Patience};
use jobrun_shared::queue::{self, Queue};
use jobrun_shared::twilio::errors;
use jobrun_shared::{clock, telemetry};
use sqlx::PgConnection;

use crate::consequences::{self, Arrived, Failed};
use crate::hands::{Hands, in_halves};

/// How long a report waits that refuses to be applied.
const PUT_OFF: TimeDelta = TimeDelta::minutes(10);

/// Applies those of the `oldest` events that are delivery reports. Answers how many.
///
/// A slice that fails because of its rows is taken again in halves, so that a bad one costs only itself.
pub(crate) async fn process(hands: &Hands, oldest: &[Waiting]) -> Result<usize, db::Error> {
    let reports: Vec<&Waiting> = oldest.iter().filter(|event| as_report(event).is_some()).collect();
    in_halves(
        &reports,
        |part, patience| apply(hands, part, patience),
        async |report, error| {
            tracing::error!(event = report.id, %error, "a delivery report cannot be applied and is put off");
            hands.put_off(&report.lane, &error, PUT_OFF, report.received_at).await
        },
    )
    .await
}

async fn apply(hands: &Hands, reports: &[&Waiting], patience: Patience) -> Result<usize, db::Error> {
    let ids: Vec<i64> = reports.iter().map(|event| event.id).collect();
    let mut tx = db::begin(&hands.pool, patience).await?;
    let told = apply_in(&mut tx, &ids).await;
    let told = db::finish(tx, told).await?;

    for failed in told.failed {
        let (message_id, code) = (failed.id, failed.code);
        tracing::warn!(message_id, code, why = errors::meaning(code), "a text was not delivered");
    }
    telemetry::raised(&told.raised);
    telemetry::cleared(&told.cleared);
    Ok(told.applied)
}

async fn apply_in(conn: &mut PgConnection, ids: &[i64]) -> Result<Told, db::Error> {
    let locked = events::lock_waiting(conn, ids).await?;
    if locked.is_empty() {
        return Ok(Told::default());
    }
    let mut reports: Vec<(i64, Report)> =
        locked.iter().filter_map(|event| Some((event.id, as_report(event)?))).collect();
    reports.sort_by_key(|(id, report)| (report.message_id, *id));

    let now = clock::now();
    let (event_ids, reports): (Vec<i64>, Vec<Report>) = reports.into_iter().unzip();
    let reported = messages::apply_reports(conn, &reports, now).await?;
    let outcome = |text: &Option<Reported>| if text.is_some() { "applied" } else { "not_our_text" };
    let outcomes: Vec<Outcome> =
        event_ids.into_iter().zip(&reported).map(|(id, text)| Outcome::of_nobody(id, outcome(text))).collect();
    events::mark_processed(conn, &outcomes, now).await?;
    let news: Vec<(&Report, &Reported)> =
        reports.iter().zip(&reported).filter_map(|(report, text)| Some((report, text.as_ref()?))).collect();
    let told = follow(conn, &news, now).await?;
    // A text of unknown outcome may be settled by this, and the next one to the same person can go.
    queue::nudge(conn, Queue::SendMessages).await?;
    Ok(Told { applied: outcomes.len(), ..told })
}

/// What is to be said after the commit.
#[derive(Default)]
struct Told {
    /// How many reports were applied.
    applied: usize,
    failed: Vec<Failed>,
    raised: Vec<NewAlert>,
    cleared: Vec<String>,
}

/// Carries out what follows from reports.
async fn follow(conn: &mut PgConnection, news: &[(&Report, &Reported)], now: DateTime<Utc>) -> Result<Told, db::Error> {
    let left = news.iter().filter(|(report, _)| report.progress.shows_it_left());
    let mut cleared = match left.filter_map(|(_, text)| text.attempted_at).max() {
        Some(began_at) => consequences::account_accepted(conn, began_at, KnownBy::Report, now).await?,
        None => Vec::new(),
    };
    let mut failed: Vec<Failed> = news.iter().filter_map(|(report, text)| as_failed(report, text)).collect();
    if !failed.is_empty() {
        let ids: Vec<i64> = failed.iter().map(|failed| failed.id).collect();
        let since = messages::list_since(conn, &ids).await?;
        for failed in &mut failed {
            failed.since = since.get(&failed.id).copied().unwrap_or_default();
        }
    }
    let arrived: Vec<Arrived> = news.iter().filter_map(|(_, text)| as_arrived(text)).collect();
    let raised = consequences::carry_out(conn, &failed, &arrived, now).await?;
    let over: Vec<String> = news.iter().filter_map(|(report, text)| cause_that_is_gone(report, text)).collect();
    cleared.extend(alerts::clear(conn, &over, now).await?);
    Ok(Told { failed, raised, cleared, ..Told::default() })
}

/// What is to follow a report that says for the first time that a text was not delivered.
fn as_failed(report: &Report, text: &Reported) -> Option<Failed> {
    (text.moved && report.progress > Progress::Delivered).then(|| Failed {
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
        since: Since::default(),
    })
}

/// What is to follow a report that says that a text arrived after all.
fn as_arrived(text: &Reported) -> Option<Arrived> {
    text.arrived_after_all.then(|| Arrived {
        id: text.id,
        is_for_a_client: text.client_id.is_some(),
        to: text.to.clone(),
        class_before: errors::class_of(text.code_before),
    })
}

/// The alert that a delivered text puts an end to, if there is one.
fn cause_that_is_gone(report: &Report, text: &Reported) -> Option<String> {
    let kind = TextKind::from_name(&text.kind).filter(|kind| kind.matters())?;
    let client_id = text.client_id.as_deref()?;
    (report.progress == Progress::Delivered).then(|| consequences::cause_of_not_delivered(kind, client_id))
}

fn as_report(event: &Waiting) -> Option<Report> {
    match event.payload.as_ref()? {
        Payload::DeliveryReport { message_id, sid, status, error_code, to } => Some(Report {
            message_id: *message_id,
            sid: sid.clone(),
            to: to.clone(),
            progress: Progress::of_status(status),
            error_code: *error_code,
        }),
        Payload::Text { .. }
        | Payload::CallArrived { .. }
        | Payload::CallEnded { .. }
        | Payload::NumberDue { .. }
        | Payload::OptedOut { .. }
        | Payload::Unreachable { .. }
        | Payload::Reached { .. }
        | Payload::Stripe { .. }
        | Payload::PaymentChanged { .. }
        | Payload::NumberLost { .. } => None,
    }
}
