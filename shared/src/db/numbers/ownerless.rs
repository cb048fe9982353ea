//! Numbers whose clients were deleted. They stay assigned to an id that no longer exists, and are returned to the pool.
//!
//! A number that was kept out of use by hand, under an id that never was a client's, looks alike. The history tells
//! them apart: a number is returned only if we assigned it to that id, and it was not released or assigned since.
//!
//! A number without history was assigned before the history began. Two facts indicate a client: the time of the
//! assignment is from before the history, and events name the id as a client's. If both hold, the number is returned.
//! If one holds, the case is unclear, and the operator decides. If none holds, the number was assigned by hand.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use jobrun_onboarding::E164;
use sqlx::{PgConnection, PgPool};

use super::changes::{self, Change, Step};
use crate::db::{Error, ensure_rows, numbers};
use crate::queue::{self, Queue};

/// The reason that the history of such a number records.
const WHY: &str = "the client was deleted";

/// Lets numbers whose clients were deleted cool down for `cooling`, or makes them available if `cooling` is zero. Safe
/// to repeat. Returns how many there were.
///
/// Takes the allocation lock exclusively, but only if there is such a number.
pub async fn repair(pool: &PgPool, cooling: Duration, now: DateTime<Utc>) -> Result<usize, Error> {
    let mut tx = pool.begin().await?;
    if list_clear(&mut tx).await?.is_empty() {
        return Ok(0);
    }
    numbers::lock_allocation_exclusive(&mut tx).await?;
    let ownerless = list_clear(&mut tx).await?;
    take_back(&mut tx, &ownerless, numbers::cools_until(cooling, now)).await?;
    let steps: Vec<Step<'_>> = ownerless.iter().map(|it| (it.number.as_str(), Some(it.client_id.as_str()))).collect();
    changes::record(&mut tx, Change::Released, &steps, WHY, now).await?;
    queue::enqueue(&mut tx, Queue::Sweep).await?;
    tx.commit().await?;
    Ok(ownerless.len())
}

/// Returns the ids, not of existing clients, to which numbers are assigned where it is unclear whether a client had
/// them, each with the count of its numbers. Drained numbers do not count: they are out of use already.
pub async fn count_unclear(conn: &mut PgConnection) -> Result<BTreeMap<String, usize>, Error> {
    let mut counts = BTreeMap::new();
    for it in list(conn).await?.into_iter().filter(|it| !it.is_clear && !it.is_drained) {
        *counts.entry(it.client_id).or_default() += 1;
    }
    Ok(counts)
}

/// Returns whether `number` belongs or may belong to a deleted client, whose phone may still forward its calls to it.
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

/// Returns the numbers that belong or may belong to deleted clients, in the order in which they were seeded.
async fn list(conn: &mut PgConnection) -> Result<Vec<Ownerless>, Error> {
    let ownerless = sqlx::query_as!(
        Ownerless,
        // The few numbers without a client are found first, and only their history is looked up.
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

/// Makes the numbers available or lets them cool down. The caller must hold the allocation lock exclusively, so that no
/// other transaction assigns them meanwhile.
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
