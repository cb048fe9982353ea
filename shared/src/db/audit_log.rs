//! What operators did: who, to whom or to what, and why. Rows are only ever added, each in the transaction of its action.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;

use super::Error;

/// Where an operator acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// In the console.
    Console,
    /// On the command line.
    Command,
}

/// An operator who acts, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The person of the console, or the user of the machine.
    pub who: String,
    /// Where.
    pub via: Via,
    /// The reason that the operator gave.
    pub why: Option<String>,
}

/// An action.
#[derive(Clone, Debug, PartialEq)]
pub struct Action<'a> {
    /// Its name: `number.released`.
    pub name: &'a str,
    /// What it was done to, if that is one thing.
    pub subject: Option<&'a str>,
    /// More about it: an object.
    pub details: Value,
}

/// Records an action, in the transaction that does it.
pub async fn record(
    conn: &mut PgConnection,
    actor: &Actor,
    action: &Action<'_>,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let via = match actor.via {
        Via::Console => "console",
        Via::Command => "command",
    };
    sqlx::query!(
        "INSERT INTO audit_log (at, who, via, action, subject, why, details) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        now,
        actor.who,
        via,
        action.name,
        action.subject,
        actor.why,
        action.details
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// `audit_log.id`.
    pub id: i64,
    /// When.
    pub at: DateTime<Utc>,
    /// Who.
    pub who: String,
    /// `console` or `command`.
    pub via: String,
    /// The name of the action.
    pub action: String,
    /// What it was done to.
    pub subject: Option<String>,
    /// The reason given.
    pub why: Option<String>,
    /// More about it.
    pub details: Value,
}

/// Returns the newest `limit` entries before `before`, all of them or those about `subject`.
pub async fn list(
    conn: &mut PgConnection,
    subject: Option<&str>,
    before: i64,
    limit: i64,
) -> Result<Vec<Entry>, Error> {
    let entries = match subject {
        None => {
            sqlx::query_as!(
                Entry,
                "SELECT id, at, who, via, action, subject, why, details FROM audit_log
                 WHERE id < $1 ORDER BY id DESC LIMIT $2",
                before,
                limit
            )
            .fetch_all(conn)
            .await?
        }
        Some(subject) => {
            sqlx::query_as!(
                Entry,
                "SELECT id, at, who, via, action, subject, why, details FROM audit_log
                 WHERE subject = $1 AND id < $2 ORDER BY id DESC LIMIT $3",
                subject,
                before,
                limit
            )
            .fetch_all(conn)
            .await?
        }
    };
    Ok(entries)
}
