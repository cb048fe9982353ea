//! The stop switch: an operator stops sending texts, or processing conversations, and starts them again.
//!
//! A stop is a row that the workers' queries read, so it needs no restart. Work that is under way goes on: a text that is on its way to
//! Twilio, a batch of events whose clients are locked.

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::{PgConnection, PgPool};

use crate::alerts::{Kind, operation};
use crate::db;
use crate::db::alerts::{self, NewAlert};
use crate::db::audit_log::{self, Action, Actor};
use crate::db::stops::{self, Activity, Stop};
use crate::db::{numbers, waiting_list};
use crate::queue::{self, Queue};
use crate::refusal::Refusal;

/// Stops an activity. Every worker keeps to it from its next claim on. Enqueues a sweep, which raises the alert. Commits.
///
/// # Errors
/// [`Refusal::NoReason`] if `by` gives none, or [`Refusal::StoppedAlready`].
pub async fn stop(pool: &PgPool, what: Activity, by: &Actor, now: DateTime<Utc>) -> Result<Stop, Refusal> {
    let why = by.why.as_deref().map(str::trim).filter(|why| !why.is_empty()).ok_or(Refusal::NoReason)?;
    let stop = Stop { what, stopped_at: now, stopped_by: by.who.clone(), why: why.to_owned() };
    let mut tx = pool.begin().await?;
    if !stops::begin(&mut tx, &stop).await? {
        let earlier = stops::list(&mut tx).await?.into_iter().find(|it| it.what == what);
        return Err(Refusal::StoppedAlready(what, earlier));
    }
    let action = match what {
        Activity::Sending => "sending.stopped",
        Activity::Conversations => "conversations.stopped",
    };
    audit_log::record(&mut tx, by, &Action { name: action, subject: None, details: json!({}) }, now).await?;
    queue::enqueue(&mut tx, Queue::Sweep).await?;
    tx.commit().await?;
    Ok(stop)
}

/// The end of a stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// The stop that has ended.
    pub stop: Stop,
    /// The causes of the cleared alerts.
    pub cleared: Vec<String>,
}

/// Starts an activity again, prolongs the holds on offered numbers by the time of the stop, clears the alert about the stop, and
/// enqueues the jobs for the work that has waited. Commits.
///
/// # Errors
/// [`Refusal::NotStopped`].
pub async fn start(pool: &PgPool, what: Activity, by: &Actor, now: DateTime<Utc>) -> Result<Started, Refusal> {
    let mut tx = pool.begin().await?;
    let stop = stops::end(&mut tx, what, now).await?.ok_or(Refusal::NotStopped(what))?;
    let (action, queue) = match what {
        Activity::Sending => ("sending.started", Queue::SendMessages),
        Activity::Conversations => ("conversations.started", Queue::ProcessEvents),
    };
    prolong_holds(&mut tx, &stop, now).await?;
    let details = json!({ "stoppedAt": stop.stopped_at, "stoppedBy": stop.stopped_by, "stoppedWhy": stop.why });
    audit_log::record(&mut tx, by, &Action { name: action, subject: None, details }, now).await?;
    let cleared = alerts::clear(&mut tx, &[Kind::Stopped.of(what.name())], now).await?;
    queue::enqueue(&mut tx, queue).await?;
    // Replays have waited for events of their clients, or for earlier ones to leave.
    queue::enqueue(&mut tx, Queue::BulkActions).await?;
    // Offers have waited as well.
    queue::enqueue(&mut tx, Queue::Sweep).await?;
    tx.commit().await?;
    Ok(Started { stop, cleared })
}

/// Adds the time of a stop to the holds: meanwhile the client may not have heard of its number, or its READY waits. While another stop
/// lasts, only the time before that is added, because its own end adds the rest.
async fn prolong_holds(conn: &mut PgConnection, ended: &Stop, now: DateTime<Utc>) -> Result<(), Refusal> {
    if !waiting_list::any_hold(&mut *conn).await? {
        return Ok(());
    }
    let others = stops::list(&mut *conn).await?;
    let until = others.iter().map(|other| other.stopped_at).fold(now, DateTime::min);
    numbers::lock_allocation_exclusive(&mut *conn).await?;
    Ok(waiting_list::prolong_holds(conn, ended.stopped_at, until).await?)
}

/// The alerts that a look at the stops raised and cleared, for the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertChanges {
    /// New alerts.
    pub raised: Vec<NewAlert>,
    /// The causes of cleared alerts.
    pub cleared: Vec<String>,
}

/// Raises an alert for each stop that lasts, and clears those about others. One that was cleared by hand is raised again, because
/// the stop lasts. Commits.
pub async fn update_alerts(pool: &PgPool, now: DateTime<Utc>) -> Result<AlertChanges, db::Error> {
    let mut tx = pool.begin().await?;
    let mut over = alerts::list_open_causes_of(&mut tx, &Kind::Stopped.prefix()).await?;
    let mut raised = Vec::new();
    for stop in stops::list(&mut tx).await? {
        let alert = operation::stopped(&stop);
        over.retain(|cause| *cause != alert.cause);
        if alerts::raise_lasting(&mut tx, &alert, now).await? {
            raised.push(alert);
        }
    }
    let cleared = alerts::clear(&mut tx, &over, now).await?;
    tx.commit().await?;
    Ok(AlertChanges { raised, cleared })
}
