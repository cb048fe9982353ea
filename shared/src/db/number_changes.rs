//! The lives of numbers: every change of hands and every other step, when and why. Rows are only ever added.
//!
//! Each step is written in the transaction that takes it, so that what stands here is what happened. What somebody does to
//! the pool by hand, in SQL, is not seen.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::Error;

/// The steps in the life of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It came into the pool.
    Added,
    /// A client was given it.
    Assigned,
    /// A client that held it holds it no more.
    Released,
    /// Anybody may be given it again.
    CooledDown,
    /// No client is given it from now on.
    Drained,
    /// Clients may be given it again.
    Undrained,
}

impl Change {
    /// The name, as the column `change` has it.
    const fn name(self) -> &'static str {
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

/// A number, E.164, and the client whose step it is as well, if there is one: who is given it, or held it last.
pub(crate) type Step<'a> = (&'a str, Option<&'a str>);

/// Writes down that numbers have taken the same step, for the same reason. Answers the ids of the new rows.
///
/// A change of hands names its client, says the table's constraint.
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
