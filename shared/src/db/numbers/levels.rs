//! Counts of the pool: every number with its use, and how fast the numbers of each region are assigned.
//!
//! This module only reads; [`super::allocate()`] decides which client gets which number.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;

use crate::db::Error;

/// A number of the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The number, E.164.
    pub number: String,
    /// `AVAILABLE`, `ASSIGNED` or `COOLING_DOWN`, as the pool has it.
    pub status: String,
    /// Its region.
    pub region: String,
    /// Its client, as the pool has it.
    pub pool_client_id: Option<String>,
    /// The client that holds it.
    pub holder_id: Option<String>,
    /// The name of the holder's business.
    pub holder_name: Option<String>,
    /// The holder's phone, digits without the plus sign.
    pub holder_phone: Option<String>,
    /// When it was assigned.
    pub assigned_at: Option<DateTime<Utc>>,
    /// Until when it cools down, if it does.
    pub cools_until: Option<DateTime<Utc>>,
    /// When it was drained, if it was.
    pub drained_at: Option<DateTime<Utc>>,
}

/// Returns the whole pool, in the order in which it was seeded.
pub async fn list_numbers(conn: &mut PgConnection) -> Result<Vec<Entry>, Error> {
    let entries = sqlx::query_as!(
        Entry,
        r#"SELECT pool.phone_e164 AS number, pool.status, pool.region, pool.client_id AS pool_client_id,
                  clients.id AS "holder_id?", clients."businessName" AS "holder_name?", clients."phoneNumber" AS "holder_phone?",
                  pool.assigned_at,
                  CASE WHEN pool.status = 'COOLING_DOWN' THEN pool.cools_until END AS cools_until, pool.drained_at
           FROM twilio_number_pool AS pool LEFT JOIN clients ON clients."twilioNumber" = pool.phone_e164
           ORDER BY pool.seed_order"#
    );
    Ok(entries.fetch_all(conn).await?)
}

/// The numbers of one region, counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionLevel {
    /// ISO 3166.
    pub region: String,
    /// Numbers that can be assigned now.
    pub free: i64,
    /// Numbers that clients hold.
    pub assigned: i64,
    /// Waiting clients for whom one of them is held, or to whom one can be offered.
    pub spoken_for: i64,
    /// Numbers that cool down before another client can get them.
    pub cooling: i64,
    /// Drained numbers that no client holds.
    pub drained: i64,
    /// How many were assigned in the last 7 days.
    pub assigned_in_7_days: i64,
    /// How many were assigned in the last 30 days.
    pub assigned_in_30_days: i64,
    /// When each number that cools down becomes available, soonest first. Drained ones do not.
    pub returns: Vec<DateTime<Utc>>,
}

/// Returns the counts of each region that has numbers or waiting clients, by the region's name.
pub async fn list_regions(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<Vec<RegionLevel>, Error> {
    let week = now - TimeDelta::days(7);
    let month = now - TimeDelta::days(30);
    let levels = sqlx::query_file_as!(RegionLevel, "src/db/numbers/list_region_levels.sql", week, month, now);
    Ok(levels.fetch_all(conn).await?)
}
