//! Closes a case: the client has been answered.

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgPool;

use crate::alerts::Kind;
use crate::db::audit_log::{self, Action, Actor};
use crate::db::cases::{self, Closed};
use crate::db::{self, alerts};

/// A case that was closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The case.
    pub closed: Closed,
    /// The causes of the alerts that ended with it, for [`crate::telemetry::cleared`].
    pub cleared: Vec<String>,
}

/// Returns the cause of the alert about a client's case. One alert stands for all that a client asks a person.
#[must_use]
pub fn cause_of(client_id: &str, kind: &str) -> String {
    match kind {
        "misfits" => Kind::Stuck.of(client_id),
        "cancel" => Kind::CancelAsked.of(client_id),
        _ => Kind::PersonWanted.of(client_id),
    }
}

/// Closes a case, with its entry in the audit log, and clears its alert. Commits. Returns nothing if no open case has this id: another
/// operator may have been faster.
///
/// # Errors
/// When the database fails. Then nothing is changed.
pub async fn close(pool: &PgPool, id: i64, by: &Actor, now: DateTime<Utc>) -> Result<Option<Outcome>, db::Error> {
    let mut tx = pool.begin().await?;
    let Some(closed) = cases::close(&mut tx, id, &by.who, by.why.as_deref(), now).await? else { return Ok(None) };
    let details = json!({ "case": id, "kind": closed.kind });
    let action = Action { name: "case.closed", subject: Some(&closed.client_id), details };
    audit_log::record(&mut tx, by, &action, now).await?;
    let cause = cause_of(&closed.client_id, &closed.kind);
    let is_open = closed.others.iter().any(|kind| cause_of(&closed.client_id, kind) == cause);
    let causes: Vec<String> = Some(cause).filter(|_| !is_open).into_iter().collect();
    let cleared = alerts::clear(&mut tx, &causes, now).await?;
    tx.commit().await?;
    Ok(Some(Outcome { closed, cleared }))
}
