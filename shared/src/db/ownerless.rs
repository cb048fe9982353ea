//! Numbers whose clients were deleted: they stay assigned to an id that does not exist any more, and go back into the pool.
//!
//! A number that was kept out of use by hand, under an id that never was a client's, looks alike. The history tells them
//! apart: only a number that we assigned to that very id, and that has not changed hands since, is taken back.

use std::time::Duration;

use chrono::{DateTime, Utc};
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
    if list(&mut tx).await?.is_empty() {
        return Ok(0);
    }
    pool::close_gate(&mut tx).await?;
    let ownerless = list(&mut tx).await?;
    take_back(&mut tx, &ownerless, pool::cools_until(cooling, now)).await?;
    let steps: Vec<Step<'_>> = ownerless.iter().map(|it| (it.number.as_str(), Some(it.client_id.as_str()))).collect();
    number_changes::record(&mut tx, Change::Released, &steps, WHY, now).await?;
    queue::nudge(&mut tx, Queue::Sweep).await?;
    tx.commit().await?;
    Ok(ownerless.len())
}

struct Ownerless {
    number: String,
    client_id: String,
}

/// The numbers that we assigned to clients that do not exist any more, in the order in which they were seeded.
async fn list(conn: &mut PgConnection) -> Result<Vec<Ownerless>, Error> {
    let ownerless = sqlx::query_as!(
        Ownerless,
        // The few without a client are found first, and the history of those alone is looked up.
        r#"WITH gone AS MATERIALIZED (
               SELECT pool.phone_e164, pool.client_id, pool.seed_order FROM twilio_number_pool AS pool
               WHERE pool.status = 'ASSIGNED' AND pool.client_id IS NOT NULL
                 AND NOT EXISTS (SELECT FROM clients WHERE clients.id = pool.client_id)
           )
           SELECT gone.phone_e164 AS number, gone.client_id AS "client_id!" FROM gone
           WHERE NOT EXISTS (SELECT FROM clients WHERE clients."twilioNumber" = gone.phone_e164)
             AND (SELECT last.change || ' ' || last.client_id FROM number_changes AS last
                  WHERE last.number = gone.phone_e164 AND last.change NOT IN ('drained', 'undrained')
                  ORDER BY last.id DESC LIMIT 1) = 'assigned ' || gone.client_id
           ORDER BY gone.seed_order"#
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
