//! Closes a case: the client has been answered. A case and its alert end together.

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgPool;

use crate::alerts::Kind;
use crate::db::audit_log::{self, Action, Actor};
use crate::db::cases::{self, Case};
use crate::db::{self, alerts};

/// The kinds of cases that one alert stands for.
const OF_ALERTS: [(Kind, &[&str]); 3] = [
    (Kind::Stuck, &["misfits"]),
    (Kind::CancelAsked, &["cancel"]),
    (Kind::PersonWanted, &["person", "help", "question", "doubt"]),
];

/// Returns the alert that stands for cases of this kind.
#[must_use]
pub fn alert_kind(kind: &str) -> Kind {
    OF_ALERTS.iter().find(|(_, kinds)| kinds.contains(&kind)).map_or(Kind::PersonWanted, |(alert, _)| *alert)
}

/// Returns the clients and the kinds of the cases that end with the alerts of these causes.
#[must_use]
pub fn of_causes(causes: &[String]) -> Vec<(&str, &'static str)> {
    let mut cases = Vec::new();
    for (name, client_id) in causes.iter().filter_map(|cause| cause.split_once(':')) {
        let kinds = OF_ALERTS.iter().filter(|(alert, _)| alert.name() == name).flat_map(|(_, kinds)| *kinds);
        cases.extend(kinds.map(|kind| (client_id, *kind)));
    }
    cases
}

/// A case that was closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The case.
    pub case: Case,
    /// The causes of the alerts that ended with it, for [`crate::telemetry::cleared`].
    pub cleared: Vec<String>,
}

/// Closes a case, with its entry in the audit log, and clears its alert unless another case needs it. Commits. Returns nothing if no
/// open case has this id, or the client has said more than the `seen` texts.
///
/// # Errors
/// When the database fails. Then nothing is changed.
pub async fn close(
    pool: &PgPool,
    id: i64,
    seen: Option<i32>,
    by: &Actor,
    now: DateTime<Utc>,
) -> Result<Option<Closed>, db::Error> {
    let mut tx = pool.begin().await?;
    let Some((client_id, kind)) = cases::find_open(&mut tx, id).await? else { return Ok(None) };
    let cause = alert_kind(&kind).of(&client_id);
    // The alert is locked first, as by workers. Meanwhile a case that another transaction opens is either seen below, or raises the
    // alert anew.
    alerts::lock_open(&mut tx, &cause).await?;
    let Some(case) = cases::close(&mut tx, id, seen, by, now).await? else { return Ok(None) };
    let details = json!({ "case": id, "kind": case.kind });
    let action = Action { name: "case.closed", subject: Some(&case.client_id), details };
    audit_log::record(&mut tx, by, &action, now).await?;
    let others = cases::list_open_kinds(&mut tx, &case.client_id).await?;
    let is_needed = others.iter().any(|kind| alert_kind(kind) == alert_kind(&case.kind));
    let causes: Vec<String> = Some(cause).filter(|_| !is_needed).into_iter().collect();
    let cleared = alerts::clear(&mut tx, &causes, now).await?;
    tx.commit().await?;
    Ok(Some(Closed { case, cleared }))
}

/// Clears the open alert `id`, closes its cases, and records in the audit log that the operator `by` did. Commits. Returns the cause,
/// if there is such an alert.
///
/// # Errors
/// When the database fails. Then nothing is changed.
pub async fn clear_alert(pool: &PgPool, id: i64, by: &Actor, now: DateTime<Utc>) -> Result<Option<String>, db::Error> {
    let mut tx = pool.begin().await?;
    let cleared = alerts::clear_by_id(&mut tx, id, by, now).await?;
    cases::close_kinds(&mut tx, &of_causes(cleared.as_slice()), &by.who, now).await?;
    tx.commit().await?;
    Ok(cleared)
}
