//! The numbers in the pool.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use jobrun_onboarding::E164;
use sqlx::PgConnection;

use super::changes::{self, Change, Step};
use crate::db::Error;

/// Adds numbers to the pool, in the order given, each with its region, and records `why`. Returns how many were new.
pub async fn insert(
    conn: &mut PgConnection,
    numbers: &[(E164, String)],
    why: &str,
    now: DateTime<Utc>,
) -> Result<usize, Error> {
    let (e164, regions): (Vec<&str>, Vec<&str>) =
        numbers.iter().map(|(number, region)| (number.as_str(), region.as_str())).unzip();
    let new = sqlx::query_scalar!(
        "INSERT INTO twilio_number_pool (phone_e164, region)
         SELECT number, region FROM unnest($1::TEXT[], $2::TEXT[]) WITH ORDINALITY AS seed (number, region, place)
         ORDER BY place
         ON CONFLICT ON CONSTRAINT a_number_is_in_the_pool_once DO NOTHING
         RETURNING phone_e164",
        &e164 as &[&str],
        &regions as &[&str]
    )
    .fetch_all(&mut *conn)
    .await?;
    let steps: Vec<Step<'_>> = new.iter().map(|number| (number.as_str(), None)).collect();
    changes::record(conn, Change::Added, &steps, why, now).await?;
    Ok(new.len())
}

/// Returns which of `numbers`, E.164, are in the pool.
pub async fn list_known(conn: &mut PgConnection, numbers: &[&str]) -> Result<HashSet<String>, Error> {
    let known =
        sqlx::query_scalar!("SELECT phone_e164 FROM twilio_number_pool WHERE phone_e164 = ANY($1)", numbers as &[&str]);
    Ok(known.fetch_all(conn).await?.into_iter().collect())
}

/// Returns which of `regions`, ISO 3166 countries, have a number in the pool, free or not.
pub async fn list_served_regions(conn: &mut PgConnection, regions: &[String]) -> Result<Vec<String>, Error> {
    let served = sqlx::query_scalar!(
        r#"SELECT region AS "region!" FROM unnest($1::TEXT[]) AS r (region)
           WHERE EXISTS (SELECT FROM twilio_number_pool p WHERE p.region = r.region)"#,
        regions
    );
    Ok(served.fetch_all(conn).await?)
}

/// Returns the client that holds `number`, if there is one.
pub async fn find_holder(conn: &mut PgConnection, number: &E164) -> Result<Option<String>, Error> {
    let holder = sqlx::query_scalar!(r#"SELECT id FROM clients WHERE "twilioNumber" = $1"#, number.as_str());
    Ok(holder.fetch_optional(conn).await?)
}

/// Returns whether callers of `number`, E.164, reach no client any more: it is in the pool, and no client holds it.
pub async fn is_unused(conn: &mut PgConnection, number: &str) -> Result<bool, Error> {
    let unused = sqlx::query_scalar!(r#"SELECT number_is_unused($1) AS "unused!""#, number);
    Ok(unused.fetch_one(conn).await?)
}
