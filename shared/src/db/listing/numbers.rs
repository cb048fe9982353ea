//! Numbers of the pool, in the order of their digits, their history, and purchases.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{LOOKED_THROUGH, PAGE_ROWS, Page, page, window};
use crate::db::Error;

/// A number of the pool, as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberRow {
    /// The number, E.164.
    pub number: String,
    /// `free`, `held`, `cooling`, `drained` or `reserved`.
    pub state: String,
    /// Its region.
    pub region: String,
    /// The client that holds it.
    pub holder_id: Option<String>,
    /// The name of the holder's business.
    pub holder_name: Option<String>,
    /// The id that it is reserved under.
    pub pool_client_id: Option<String>,
    /// When it was assigned.
    pub assigned_at: Option<DateTime<Utc>>,
    /// Until when it cools down.
    pub cools_until: Option<DateTime<Utc>>,
    /// Since when it is drained.
    pub drained_at: Option<DateTime<Utc>>,
}

/// Returns a page of numbers behind `after`, all of them or those in `state`.
pub async fn list_numbers(
    conn: &mut PgConnection,
    state: Option<&str>,
    after: &str,
) -> Result<Page<NumberRow, String>, Error> {
    let looked_at = if state.is_some() { LOOKED_THROUGH } else { PAGE_ROWS };
    let numbers = sqlx::query_scalar!(
        "SELECT phone_e164 FROM twilio_number_pool WHERE phone_e164 > $1 ORDER BY phone_e164 LIMIT $2",
        after,
        looked_at as i64 + 1
    )
    .fetch_all(&mut *conn)
    .await?;
    let looked_through: &[String] = numbers.get(..looked_at).unwrap_or(&numbers);
    let mut rows = find_numbers(conn, looked_through, state).await?;
    if rows.len() > PAGE_ROWS {
        rows.truncate(PAGE_ROWS);
        let next = rows.last().map(|row| row.number.clone());
        return Ok(Page { rows, next, is_cut: false });
    }
    let next = if numbers.len() > looked_at { numbers.get(looked_at - 1).cloned() } else { None };
    Ok(Page { rows, is_cut: state.is_some() && next.is_some(), next })
}

/// Returns those of `numbers`, E.164, that are in the pool, all of them or those in `state`.
pub async fn find_numbers(
    conn: &mut PgConnection,
    numbers: &[String],
    state: Option<&str>,
) -> Result<Vec<NumberRow>, Error> {
    let rows = sqlx::query_as!(
        NumberRow,
        r#"SELECT * FROM (
               SELECT p.phone_e164 AS number,
                      CASE WHEN c.id IS NOT NULL THEN 'held'
                           WHEN p.status = 'AVAILABLE' AND p.drained_at IS NULL THEN 'free'
                           WHEN p.status = 'AVAILABLE' THEN 'drained'
                           WHEN p.status = 'COOLING_DOWN' THEN 'cooling' ELSE 'reserved' END AS "state!",
                      p.region, c.id AS "holder_id?", c."businessName" AS "holder_name?", p.client_id AS pool_client_id,
                      p.assigned_at, CASE WHEN p.status = 'COOLING_DOWN' THEN p.cools_until END AS cools_until, p.drained_at
               FROM twilio_number_pool p LEFT JOIN clients c ON c."twilioNumber" = p.phone_e164
               WHERE p.phone_e164 = ANY($1)
           ) AS found
           WHERE $2::TEXT IS NULL OR "state!" = $2 ORDER BY number LIMIT $3"#,
        numbers,
        state,
        PAGE_ROWS as i64 + 1
    );
    Ok(rows.fetch_all(conn).await?)
}

/// A step in the life of a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberStep {
    /// `number_changes.id`.
    pub id: i64,
    /// The step.
    pub change: String,
    /// The client that was given it, or held it.
    pub client_id: Option<String>,
    /// Why.
    pub why: String,
    /// When.
    pub changed_at: DateTime<Utc>,
}

/// Returns the newest steps in the life of a number.
pub async fn list_number_steps(conn: &mut PgConnection, number: &str) -> Result<Vec<NumberStep>, Error> {
    let steps = sqlx::query_as!(
        NumberStep,
        "SELECT id, change, client_id, why, changed_at FROM number_changes WHERE number = $1 ORDER BY id DESC LIMIT $2",
        number,
        2 * PAGE_ROWS as i64
    );
    Ok(steps.fetch_all(conn).await?)
}

/// A purchase of a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PurchaseRow {
    /// `number_purchases.id`.
    pub id: i64,
    /// The number, E.164.
    pub number: String,
    /// The country.
    pub country: String,
    /// Twilio's type of it.
    pub number_type: String,
    /// `intended`, `bought` or `not_bought`.
    pub state: String,
    /// When Twilio was last going to be asked.
    pub intended_at: DateTime<Utc>,
    /// When the result was known.
    pub settled_at: Option<DateTime<Utc>>,
    /// Why it was not bought.
    pub why: Option<String>,
}

/// Returns a page of purchases, newest first.
pub async fn list_purchases(conn: &mut PgConnection, before: i64) -> Result<Page<PurchaseRow>, Error> {
    let rows = sqlx::query_as!(
        PurchaseRow,
        "SELECT id, number, country, number_type, state, intended_at, settled_at, why FROM number_purchases
         WHERE id < $1 ORDER BY id DESC LIMIT $2",
        before,
        window(false)
    )
    .fetch_all(conn)
    .await?;
    let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
    Ok(page(&ids, false, rows, |row| row.id))
}
