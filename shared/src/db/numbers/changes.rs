//! The history of numbers: every assignment, release and other step, when and why. Rows are only ever added.
//!
//! Each step is recorded in the transaction that takes it, so the history is what happened. Changes of the pool by
//! hand, in SQL, are not recorded.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::db::Error;

/// The steps in the life of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It was added to the pool.
    Added,
    /// It was assigned to a client.
    Assigned,
    /// It was taken from the client that held it.
    Released,
    /// It is available to any client again.
    CooledDown,
    /// It is not assigned to any client from now on.
    Drained,
    /// It may be assigned again.
    Undrained,
}

impl Change {
    /// Returns the name, as the column `change` contains it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Assigned => "assigned",
            Self::Released => "released",
            Self::CooledDown => "cooled_down",
            Self::Drained => "drained",
            Self::Undrained => "undrained",
        }
    }
}

/// A number, E.164, and the client of the step, if there is one: the client that gets the number, or held it last.
pub(crate) type Step<'a> = (&'a str, Option<&'a str>);

/// Records that numbers took the same step, for the same reason. Returns the ids of the new rows.
///
/// The table's constraint requires a client for an assignment and a release.
pub(crate) async fn record(
    conn: &mut PgConnection,
    change: Change,
    steps: &[Step<'_>],
    why: &str,
    now: DateTime<Utc>,
) -> Result<Vec<i64>, Error> {
    if steps.is_empty() {
        return Ok(Vec::new());
    }
    let (numbers, clients): (Vec<&str>, Vec<Option<&str>>) = steps.iter().copied().unzip();
    let ids = sqlx::query_scalar!(
        "INSERT INTO number_changes (number, change, client_id, why, changed_at)
         SELECT number, $1, client_id, $2, $3
         FROM unnest($4::TEXT[], $5::TEXT[]) WITH ORDINALITY AS step (number, client_id, place) ORDER BY place
         RETURNING id",
        change.name(),
        why,
        now,
        &numbers as &[&str],
        &clients as &[Option<&str>]
    );
    Ok(ids.fetch_all(conn).await?)
}
