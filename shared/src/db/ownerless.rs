//! Numbers whose clients were deleted: they stay assigned to an id that does not exist any more, and go back into the pool.
//!
//! A number that was kept out of use by hand, under an id that never was a client's, looks alike. The history tells them
//! apart: only a number that we assigned to that very id, and that has not changed hands since, is taken back.
//!
//! A number of which the history says nothing was assigned before the history began. Two things speak for a client: the time of
//! the assignment is from then, and events name the id as a client's. Both: it is taken back. One: it is unclear, and the
//! operator decides. Neither: it was assigned by hand.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use jobrun_onboarding::E164;
use sqlx::{PgConnection, PgPool};

use super::number_changes::{self, Change, Step};
use super::{Error, ensure_rows, pool};
use crate::queue::{self, Queue};

/// Why such a number goes back, in its history.
const WHY: &str = "the client was deleted";

/// Lets numbers whose clients were deleted cool down for as long as `cooling`, or makes them available if that is nothing.
/// Safe to repeat. Returns how many there were.
///
/// Closes the gate, but only when there is something to do.
///
/// # Errors
/// When the database does not answer.
pub async fn repair(pool: &PgPool, cooling: Duration, now: DateTime<Utc>) -> Result<usize, Error> {
    let mut tx = pool.begin().await?;
    if list_clear(&mut tx).await?.is_empty() {
        return Ok(0);
    }
    pool::close_gate(&mut tx).await?;
    let ownerless = list_clear(&mut tx).await?;
    take_back(&mut tx, &ownerless, pool::cools_until(cooling, now)).await?;
    let steps: Vec<Step<'_>> = ownerless.iter().map(|it| (it.number.as_str(), Some(it.client_id.as_str()))).collect();
    number_changes::record(&mut tx, Change::Released, &steps, WHY, now).await?;
    queue::nudge(&mut tx, Queue::Sweep).await?;
    tx.commit().await?;
    Ok(ownerless.len())
}

/// Returns the ids that are no clients' and to which numbers are assigned of which it is unclear whether a client had them, and
/// how many numbers each has. Drained ones do not count: they are out of use already.
///
/// # Errors
/// When the database does not answer.
pub async fn count_unclear(conn: &mut PgConnection) -> Result<BTreeMap<String, usize>, Error> {
    let mut counts = BTreeMap::new();
    for it in list(conn).await?.into_iter().filter(|it| !it.is_clear && !it.is_drained) {
        *counts.entry(it.client_id).or_default() += 1;
    }
    Ok(counts)
}

/// Whether `number` is or may be that of a client that was deleted, whose phone may still forward its calls to it.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn may_be_ownerless(conn: &mut PgConnection, number: &E164) -> Result<bool, Error> {
    Ok(list(conn).await?.iter().any(|it| it.number == number.as_str()))
}

struct Ownerless {
    number: String,
    client_id: String,
    is_clear: bool,
    is_drained: bool,
}

async fn list_clear(conn: &mut PgConnection) -> Result<Vec<Ownerless>, Error> {
    Ok(list(conn).await?.into_iter().filter(|it| it.is_clear).collect())
}

/// The numbers that are or may be those of clients that do not exist any more, in the order in which they were seeded.
async fn list(conn: &mut PgConnection) -> Result<Vec<Ownerless>, Error> {
    let ownerless = sqlx::query_as!(
        Ownerless,
        // The few without a client are found first, and the history of those alone is looked up.
        r#"WITH gone AS MATERIALIZED (
               SELECT pool.phone_e164, pool.client_id, pool.assigned_at, pool.drained_at, pool.seed_order
               FROM twilio_number_pool AS pool
               WHERE pool.status = 'ASSIGNED' AND pool.client_id IS NOT NULL
                 AND NOT EXISTS (SELECT FROM clients WHERE clients.id = pool.client_id)
           ), judged AS MATERIALIZED (
               SELECT gone.*,
                   (SELECT concat_ws(' ', last.change, last.client_id) FROM number_changes AS last
                    WHERE last.number = gone.phone_e164 AND last.change NOT IN ('drained', 'undrained')
                    ORDER BY last.id DESC LIMIT 1) AS last_change,
                   -- Assigned by us, a number has a time; after the first change it would have a history as well.
                   coalesce(gone.assigned_at < coalesce((SELECT min(changed_at) FROM number_changes), 'infinity'), FALSE)
                       AS is_from_before,
                   EXISTS (SELECT FROM events WHERE events.client_id = gone.client_id) AS was_a_client
               FROM gone
               WHERE NOT EXISTS (SELECT FROM clients WHERE clients."twilioNumber" = gone.phone_e164)
           )
           SELECT phone_e164 AS number, client_id AS "client_id!", drained_at IS NOT NULL AS "is_drained!",
                  last_change IS NOT NULL OR (is_from_before AND was_a_client) AS "is_clear!"
           FROM judged
           WHERE CASE WHEN last_change IS NULL THEN is_from_before OR was_a_client
                      ELSE last_change = 'assigned ' || client_id END
           ORDER BY seed_order"#
    );
    Ok(ownerless.fetch_all(conn).await?)
}

/// The gate is closed, so that nobody else hands the numbers out meanwhile.
async fn take_back(
    conn: &mut PgConnection,
    ownerless: &[Ownerless],
    cools_until: Option<DateTime<Utc>>,
) -> Result<(), Error> {
    let numbers: Vec<&str> = ownerless.iter().map(|it| it.number.as_str()).collect();
    let clients: Vec<&str> = ownerless.iter().map(|it| it.client_id.as_str()).collect();
    let taken = sqlx::query!(
        "UPDATE twilio_number_pool AS pool
         SET status = CASE WHEN $3::TIMESTAMPTZ IS NULL THEN 'AVAILABLE' ELSE 'COOLING_DOWN' END, cools_until = $3,
             client_id = NULL, assigned_at = NULL, last_client_id = gone.client_id
         FROM unnest($1::TEXT[], $2::TEXT[]) AS gone (number, client_id)
         WHERE pool.phone_e164 = gone.number AND pool.status = 'ASSIGNED' AND pool.client_id = gone.client_id",
        &numbers as &[&str],
        &clients as &[&str],
        cools_until
    );
    ensure_rows(&taken.execute(conn).await?, ownerless.len(), "taking back numbers whose clients were deleted")
}
