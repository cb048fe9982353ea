//! What operators have stopped: sending texts, processing conversations. Each has one row.
//!
//! The queries that claim texts and list events read the rows themselves ([`super::outbox::lock_due`],
//! [`super::inbox::list_oldest`] and others), so a stop needs no statement of its own there.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;

use super::Error;

/// An activity of the workers that operators can stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Activity {
    /// Texts are claimed and sent.
    Sending,
    /// Events of conversations are processed.
    Conversations,
}

impl Activity {
    /// Every activity.
    pub const ALL: [Self; 2] = [Self::Sending, Self::Conversations];

    /// Returns its name, as it is stored and as operators write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sending => "sending",
            Self::Conversations => "conversations",
        }
    }

    /// Returns the activity with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }

    /// Returns its name with the verb: "sending is".
    #[must_use]
    pub const fn is(self) -> &'static str {
        match self {
            Self::Sending => "sending is",
            Self::Conversations => "conversations are",
        }
    }
}

/// A stop that lasts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stop {
    /// The activity.
    pub what: Activity,
    /// Since when.
    pub stopped_at: DateTime<Utc>,
    /// By whom.
    pub stopped_by: String,
    /// The reason given.
    pub why: String,
}

struct Row {
    what: String,
    stopped_at: DateTime<Utc>,
    stopped_by: String,
    why: String,
}

impl Row {
    /// Returns nothing for an activity of a later version.
    fn into_stop(self) -> Option<Stop> {
        let Self { what, stopped_at, stopped_by, why } = self;
        Some(Stop { what: Activity::named(&what)?, stopped_at, stopped_by, why })
    }
}

/// Returns the stops that last, the oldest first.
pub async fn list(conn: &mut PgConnection) -> Result<Vec<Stop>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT what, stopped_at AS "stopped_at!", stopped_by AS "stopped_by!", why AS "why!" FROM stops
           WHERE stopped_at IS NOT NULL ORDER BY stopped_at, what"#
    );
    Ok(rows.fetch_all(conn).await?.into_iter().filter_map(Row::into_stop).collect())
}

/// Returns whether anything is stopped.
pub async fn any(conn: &mut PgConnection) -> Result<bool, Error> {
    let any = sqlx::query_scalar!(r#"SELECT EXISTS (SELECT FROM stops WHERE stopped_at IS NOT NULL) AS "any!""#);
    Ok(any.fetch_one(conn).await?)
}

/// Begins a stop. Returns whether the activity was running.
pub async fn begin(conn: &mut PgConnection, stop: &Stop) -> Result<bool, Error> {
    let begun = sqlx::query!(
        "UPDATE stops SET stopped_at = $2, stopped_by = $3, why = $4 WHERE what = $1 AND stopped_at IS NULL",
        stop.what.name(),
        stop.stopped_at,
        stop.stopped_by,
        stop.why
    );
    Ok(begun.execute(conn).await?.rows_affected() == 1)
}

/// Ends a stop, and returns it. Returns nothing if the activity is running.
pub async fn end(conn: &mut PgConnection, what: Activity, now: DateTime<Utc>) -> Result<Option<Stop>, Error> {
    let ended = sqlx::query_as!(
        Row,
        r#"UPDATE stops SET stopped_at = NULL, stopped_by = NULL, why = NULL, started_at = $2
           FROM stops AS stopped
           WHERE stops.what = $1 AND stopped.what = stops.what AND stops.stopped_at IS NOT NULL
           RETURNING stops.what, stopped.stopped_at AS "stopped_at!", stopped.stopped_by AS "stopped_by!",
                     stopped.why AS "why!""#,
        what.name(),
        now
    );
    Ok(ended.fetch_optional(conn).await?.and_then(Row::into_stop))
}
