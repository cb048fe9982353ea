//! The promise to clients who wait for a number: each is told before it is broken, and the operator is alerted.
//!
//! [`waiting()`] takes no input but the rows, the settings and the time, and tells each client once. So every worker may call
//! it at any time.

use chrono::{DateTime, Utc};
use jobrun_onboarding::waiting::{self, Watch};
use jobrun_onboarding::{E164, Wordings, wording};
use sqlx::{PgConnection, PgPool};

use crate::alerts::{cause_of_waiting, numbers as alert_of};
use crate::db::alerts::{self, NewAlert};
use crate::db::{self, numbers, stops, waiting_list};
use crate::numbers::offer;

/// The changes that a check made, for the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertChanges {
    /// The clients who were told that it will take longer.
    pub told: Vec<String>,
    /// New alerts, for [`crate::telemetry::raised`].
    pub raised: Vec<NewAlert>,
    /// The causes of cleared alerts, for [`crate::telemetry::cleared`].
    pub cleared: Vec<String>,
}

/// Tells each waiting client once, two hours before the promise runs out, that it takes longer; during a stop, after its end.
/// Alerts the operator when the first clients are close to the end of the promise, and when they are past it; clears the alerts
/// when that is over.
///
/// Takes the exclusive allocation lock, but only if there is something to do. Commits.
pub async fn waiting(
    pool: &PgPool,
    onboarding_number: &E164,
    wordings: &Wordings,
    now: DateTime<Utc>,
) -> Result<AlertChanges, db::Error> {
    let mut tx = pool.begin().await?;
    // Usually nothing is due. Then allocations are not blocked.
    let watch = find_actions(&mut tx, now).await?;
    if !is_due(&mut tx, &watch).await? {
        return Ok(AlertChanges::default());
    }
    numbers::lock_allocation_exclusive(&mut tx).await?;
    let watch = find_actions(&mut tx, now).await?;
    waiting_list::save_watch(&mut tx, &watch, now).await?;
    offer::queue_text(&mut tx, &watch.tell, onboarding_number, wordings, &wording::still_waiting(), now).await?;
    let crossed: Vec<NewAlert> = watch.crossed.iter().map(|hours| alert_of::waiting(*hours)).collect();
    let raised = alerts::raise(&mut tx, &crossed, now).await?;
    let cleared = alerts::clear(&mut tx, &causes_of(&watch.clear), now).await?;
    tx.commit().await?;
    Ok(AlertChanges { told: watch.tell, raised, cleared })
}

async fn find_actions(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<Watch, db::Error> {
    let mut watch = waiting::watch(&waiting_list::list_places(conn).await?, now);
    // A text that waits for the end of a stop may be outdated by then.
    if !watch.tell.is_empty() && stops::any(conn).await? {
        watch.tell.clear();
    }
    Ok(watch)
}

async fn is_due(conn: &mut PgConnection, watch: &Watch) -> Result<bool, db::Error> {
    if !watch.tell.is_empty() || !watch.marked.is_empty() {
        return Ok(true);
    }
    Ok(!alerts::list_open_causes(conn, &causes_of(&watch.clear)).await?.is_empty())
}

fn causes_of(marks: &[i32]) -> Vec<String> {
    marks.iter().copied().map(cause_of_waiting).collect()
}
