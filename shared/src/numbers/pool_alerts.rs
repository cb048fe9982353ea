//! Alerts about the pool: few numbers left, no number for waiting clients, and numbers whose holder is unclear.
//!
//! The functions take no input but the rows, the settings and the time, and raise each alert once. So every worker may call
//! them at any time. Each commits a transaction of its own.

use chrono::{DateTime, Utc};
use jobrun_onboarding::level::Level;
use sqlx::{PgPool, Postgres, Transaction};

use super::promise::AlertChanges;
use crate::alerts::{Kind, numbers as alert_of};
use crate::db::alerts::{self, NewAlert};
use crate::db::numbers::levels::{self, RegionLevel};
use crate::db::numbers::ownerless;
use crate::db::{self, waiting_list};

/// Raises an alert for each region that has fewer than `min` free numbers that no client has a claim on, and clears it when the
/// region has enough again.
pub async fn low_pools(pool: &PgPool, min: u32, now: DateTime<Utc>) -> Result<AlertChanges, db::Error> {
    let mut tx = pool.begin().await?;
    // A region without such an alert below has enough numbers again, or has no numbers and no waiting clients any more.
    let open = alerts::list_open_causes_of(&mut tx, &Kind::PoolLow.prefix()).await?;
    let mut current = Vec::new();
    for region in levels::list_regions(&mut tx, now).await? {
        let level = to_level(&region, now);
        if level.unclaimed() < min as usize {
            current.push(alert_of::pool_low(&region.region, &level, min));
        }
    }
    update_alerts(tx, open, current, now).await
}

/// Raises the alerts in `current`, or updates their messages, and clears the causes in `open` that are not among them. Commits.
async fn update_alerts(
    mut tx: Transaction<'_, Postgres>,
    mut open: Vec<String>,
    current: Vec<NewAlert>,
    now: DateTime<Utc>,
) -> Result<AlertChanges, db::Error> {
    let mut raised = Vec::new();
    for alert in current {
        open.retain(|cause| *cause != alert.cause);
        if alerts::raise_lasting(&mut tx, &alert, now).await? {
            raised.push(alert);
        }
    }
    let cleared = alerts::clear(&mut tx, &open, now).await?;
    tx.commit().await?;
    Ok(AlertChanges { told: Vec::new(), raised, cleared })
}

/// Raises an alert for each region whose free numbers are too few for the waiting clients with a claim on one, and clears it when
/// there are enough. The transaction in which a client gets no number raises the same alert at once.
pub async fn empty_pools(pool: &PgPool, now: DateTime<Utc>) -> Result<AlertChanges, db::Error> {
    let mut tx = pool.begin().await?;
    let open = alerts::list_open_causes_of(&mut tx, &Kind::PoolEmpty.prefix()).await?;
    // While no client waits, the levels need not be read.
    if open.is_empty() && waiting_list::list_regions(&mut tx).await?.is_empty() {
        return Ok(AlertChanges::default());
    }
    let regions = levels::list_regions(&mut tx, now).await?;
    let empty = regions.iter().filter(|region| region.spoken_for > region.free);
    let current = empty.map(|region| alert_of::pool_empty(&region.region)).collect();
    update_alerts(tx, open, current, now).await
}

/// Raises an alert for each unclear holder, and clears it when that is settled. An unclear holder is an id that is no client's,
/// with numbers assigned to it that a client may have had before the history of numbers began.
pub async fn unclear_holders(pool: &PgPool, now: DateTime<Utc>) -> Result<AlertChanges, db::Error> {
    let mut tx = pool.begin().await?;
    let open = alerts::list_open_causes_of(&mut tx, &Kind::UnclearHolder.prefix()).await?;
    let unclear = ownerless::count_unclear(&mut tx).await?;
    let current = unclear.iter().map(|(id, numbers)| alert_of::unclear_holder(id, *numbers)).collect();
    update_alerts(tx, open, current, now).await
}

/// Converts a row to the form that the core computes with.
pub(crate) fn to_level(region: &RegionLevel, now: DateTime<Utc>) -> Level {
    let count = |rows: i64| usize::try_from(rows).unwrap_or_default();
    let in_days = |at: &DateTime<Utc>| (*at - now).as_seconds_f64() / 86_400.0;
    Level {
        free: count(region.free),
        spoken_for: count(region.spoken_for),
        assigned_in_7_days: count(region.assigned_in_7_days),
        returns_in_days: region.returns.iter().map(in_days).collect(),
    }
}
