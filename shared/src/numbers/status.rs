//! The status of the pool, for `jobrun pool status`.

use chrono::{DateTime, Utc};
use jobrun_onboarding::level::{Forecast, Level};
use serde::Serialize;
use sqlx::{PgConnection, PgPool};

use crate::db::numbers::levels;
use crate::db::{self, waiting_list};
use crate::numbers::pool_alerts;

/// The status of the pool.
#[derive(Clone, Debug, Serialize)]
pub struct PoolStatus {
    /// Numbers that can be assigned now.
    pub free: usize,
    /// Numbers that clients hold.
    pub held: usize,
    /// Numbers kept out of use by hand: assigned, but not to a client.
    pub reserved: usize,
    /// Numbers that cool down.
    pub cooling: usize,
    /// Drained numbers that no client holds: they are given to no client any more.
    pub drained: usize,
    /// Clients on the waiting list.
    pub waiting: usize,
    /// Every region, with its counts and its forecast.
    pub regions: Vec<PoolRegion>,
    /// Every number, in the order in which it was seeded.
    pub numbers: Vec<PoolNumber>,
}

/// The counts and the forecast of a region.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolRegion {
    /// The ISO 3166 country.
    pub region: String,
    /// Numbers that can be assigned now.
    pub free: i64,
    /// Waiting clients with a claim on a free number: one is held for them, or they can be offered one.
    pub spoken_for: i64,
    /// Free numbers that no client has a claim on.
    pub unclaimed: usize,
    /// Numbers that cool down.
    pub cooling: i64,
    /// Drained numbers that no client holds: they are given to no client any more.
    pub drained: i64,
    /// Numbers that were assigned in the last 7 days.
    #[serde(rename = "assignedIn7Days")]
    pub assigned_in_7_days: i64,
    /// Numbers that were assigned in the last 30 days.
    #[serde(rename = "assignedIn30Days")]
    pub assigned_in_30_days: i64,
    /// Numbers that will have cooled down within 7 days.
    #[serde(rename = "returningIn7Days")]
    pub returning_in_7_days: usize,
    /// Numbers that will have cooled down within 30 days.
    #[serde(rename = "returningIn30Days")]
    pub returning_in_30_days: usize,
    /// In how many days no number will be left for a new client: 0 when that is so now or within a day, `None` when it is not in
    /// sight.
    pub dry_in_days: Option<u32>,
    /// The same forecast, for display.
    #[serde(skip)]
    pub forecast: Forecast,
    /// What the forecast is computed from.
    #[serde(skip)]
    pub level: Level,
}

/// A number of the pool.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolNumber {
    /// The number, E.164.
    #[serde(rename = "phoneE164")]
    pub phone_e164: String,
    /// Its use now: `free`, `held`, `cooling`, `drained` or `reserved`.
    pub state: &'static str,
    /// The status in its row, which may have been set by hand.
    pub status: String,
    /// Its region.
    pub region: String,
    /// The client that holds it, or the id that it is reserved under.
    pub client_id: Option<String>,
    /// The name of the client's business, if a client holds it and has one.
    pub business_name: Option<String>,
    /// The client's phone, E.164, if a client holds it.
    pub client_phone: Option<String>,
    /// When it was assigned.
    pub assigned_at: Option<DateTime<Utc>>,
    /// Until when it cools down, if it does.
    pub cools_until: Option<DateTime<Utc>>,
    /// Since when it is drained, if it is. A client that holds it keeps it.
    pub drained_at: Option<DateTime<Utc>>,
}

/// Returns the status of the pool, all of it at the same moment.
pub async fn pool_status(pool: &PgPool, now: DateTime<Utc>) -> Result<PoolStatus, db::Error> {
    let mut tx = db::snapshot(pool).await?;
    let numbers: Vec<PoolNumber> = levels::list_numbers(&mut tx).await?.into_iter().map(describe).collect();
    let regions = pool_regions(&mut tx, now).await?;
    let waiting = waiting_list::list_places(&mut tx).await?.len();
    let count = |state| numbers.iter().filter(|number| number.state == state).count();
    Ok(PoolStatus {
        free: count("free"),
        held: count("held"),
        reserved: count("reserved"),
        cooling: count("cooling"),
        drained: count("drained"),
        waiting,
        regions,
        numbers,
    })
}

/// Returns every region with its counts and its forecast. Reads the whole pool.
pub async fn pool_regions(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<Vec<PoolRegion>, db::Error> {
    Ok(levels::list_regions(conn, now).await?.into_iter().map(|region| forecast(region, now)).collect())
}

fn describe(entry: levels::Entry) -> PoolNumber {
    let state = match (&entry.holder_id, entry.status.as_str(), entry.drained_at) {
        (Some(_), _, _) => "held",
        (None, "AVAILABLE", None) => "free",
        (None, "AVAILABLE", Some(_)) => "drained",
        (None, "COOLING_DOWN", _) => "cooling",
        (None, _, _) => "reserved",
    };
    PoolNumber {
        phone_e164: entry.number,
        state,
        status: entry.status,
        region: entry.region,
        client_id: entry.holder_id.or(entry.pool_client_id),
        business_name: entry.holder_name.filter(|name| !name.is_empty()),
        client_phone: entry.holder_phone.map(|digits| format!("+{digits}")),
        assigned_at: entry.assigned_at,
        cools_until: entry.cools_until,
        drained_at: entry.drained_at,
    }
}

fn forecast(region: levels::RegionLevel, now: DateTime<Utc>) -> PoolRegion {
    let level = pool_alerts::to_level(&region, now);
    let returning = |days| region.returns.iter().filter(|at| **at <= now + chrono::TimeDelta::days(days)).count();
    let forecast = level.forecast();
    PoolRegion {
        free: region.free,
        spoken_for: region.spoken_for,
        unclaimed: level.unclaimed(),
        cooling: region.cooling,
        drained: region.drained,
        assigned_in_7_days: region.assigned_in_7_days,
        assigned_in_30_days: region.assigned_in_30_days,
        returning_in_7_days: returning(7),
        returning_in_30_days: returning(30),
        dry_in_days: match forecast {
            Forecast::DryNow { .. } => Some(0),
            Forecast::InDays(days) => Some(days),
            Forecast::NotInSight => None,
        },
        forecast,
        level,
        region: region.region,
    }
}
