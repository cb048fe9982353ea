//! What is watched: the promise to those who wait, and how many numbers are left.
//!
//! Takes no input but the rows and the time, so that every worker may look as often as it likes: each thing is said once.

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_onboarding::level::{Forecast, Level};
use jobrun_onboarding::waiting::{self, MARKS, Watch};
use jobrun_onboarding::{E164, region_of, wording};
use sqlx::{PgConnection, PgPool, Postgres, Transaction};

use crate::db::alerts::{self, NewAlert};
use crate::db::levels::{self, RegionLevel};
use crate::db::{self, ownerless, pool, waiting_list};
use crate::operator;

/// What came of a look, for the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    /// The clients who were told that it will take longer.
    pub told: Vec<String>,
    /// Alerts that are new, for [`crate::telemetry::raised`].
    pub raised: Vec<NewAlert>,
    /// Causes that are over, for [`crate::telemetry::cleared`].
    pub cleared: Vec<String>,
}

/// Sees to it that nobody waits past the promise unheard: tells each client once, two hours before, and the operator when
/// the first are close to it, and past it.
///
/// Takes the gate, but only when there is something to say.
///
/// # Errors
/// When the database does not answer.
pub async fn waiting(pool: &PgPool, onboarding_number: &E164, now: DateTime<Utc>) -> Result<Watched, db::Error> {
    let mut tx = pool.begin().await?;
    // Mostly nobody is due; then allocations need not be held up.
    let watch = look(&mut tx, now).await?;
    if !is_due(&mut tx, &watch).await? {
        return Ok(Watched::default());
    }
    pool::close_gate(&mut tx).await?;
    let watch = look(&mut tx, now).await?;
    waiting_list::save_watch(&mut tx, &watch, now).await?;
    operator::tell(&mut tx, &watch.tell, onboarding_number, &wording::still_waiting(), now).await?;
    let crossed: Vec<NewAlert> = watch.crossed.iter().map(|hours| waiting_alert(*hours)).collect();
    let raised = alerts::raise(&mut tx, &crossed, now).await?;
    let cleared = alerts::clear(&mut tx, &causes_of(&watch.clear), now).await?;
    tx.commit().await?;
    Ok(Watched { told: watch.tell, raised, cleared })
}

async fn look(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<Watch, db::Error> {
    Ok(waiting::watch(&waiting_list::list_places(conn).await?, now))
}

async fn is_due(conn: &mut PgConnection, watch: &Watch) -> Result<bool, db::Error> {
    if !watch.tell.is_empty() || !watch.marked.is_empty() {
        return Ok(true);
    }
    Ok(!alerts::list_open_causes(conn, &causes_of(&watch.clear)).await?.is_empty())
}

fn cause_of_waiting(hours: i32) -> String {
    format!("waiting-{hours}h")
}

fn causes_of(marks: &[i32]) -> Vec<String> {
    marks.iter().copied().map(cause_of_waiting).collect()
}

fn waiting_alert(hours: i32) -> NewAlert {
    let promise = MARKS.into_iter().find(|(mark, _)| *mark == hours).map_or(TimeDelta::zero(), |(_, before)| before);
    let stands = match promise.num_hours() {
        0 => "which is all that they were promised".to_owned(),
        left => format!("and the promised time is over in {left}"),
    };
    NewAlert {
        cause: cause_of_waiting(hours),
        about: format!(
            "Clients who paid have waited {hours} hours for a number, {stands}. `jobrun waiting` shows whom; `jobrun pool buy` \
             or `jobrun pool seed` adds numbers."
        ),
    }
}

/// Sees to it that the operator hears when a region has fewer than `min` numbers that nobody has a claim on, and when it has
/// enough again.
///
/// # Errors
/// When the database does not answer.
pub async fn level(pool: &PgPool, min: u32, now: DateTime<Utc>) -> Result<Watched, db::Error> {
    let mut tx = pool.begin().await?;
    // A region that is low no more has enough again, or is nobody's concern any more.
    let open = alerts::list_open_causes_of(&mut tx, LEVEL).await?;
    let mut current = Vec::new();
    for region in levels::list_regions(&mut tx, now).await? {
        let level = level_of(&region, now);
        if level.unclaimed() < min as usize {
            current.push(level_alert(&region.region, &level, min));
        }
    }
    bring_up_to_date(tx, open, current, now).await
}

/// Raises the alerts of `current`, or brings their words up to date, and clears those of the causes in `open` that are not among
/// them. Commits.
async fn bring_up_to_date(
    mut tx: Transaction<'_, Postgres>,
    mut open: Vec<String>,
    current: Vec<NewAlert>,
    now: DateTime<Utc>,
) -> Result<Watched, db::Error> {
    let mut raised = Vec::new();
    for alert in current {
        open.retain(|cause| *cause != alert.cause);
        if alerts::raise_lasting(&mut tx, &alert, now).await? {
            raised.push(alert);
        }
    }
    let cleared = alerts::clear(&mut tx, &open, now).await?;
    tx.commit().await?;
    Ok(Watched { told: Vec::new(), raised, cleared })
}

/// Raises an alert for each region in which clients who paid wait and there is no number for all of them, and clears it when
/// it is over. The transaction in which a client is refused raises the same alert at once.
///
/// # Errors
/// When the database does not answer.
pub async fn empty_pools(pool: &PgPool, now: DateTime<Utc>) -> Result<Watched, db::Error> {
    let mut tx = pool.begin().await?;
    let open = alerts::list_open_causes_of(&mut tx, POOL_EMPTY).await?;
    // Allocations need not be looked at while nobody waits.
    if open.is_empty() && waiting_list::list_regions(&mut tx).await?.is_empty() {
        return Ok(Watched::default());
    }
    let regions = levels::list_regions(&mut tx, now).await?;
    let empty = regions.iter().filter(|region| region.spoken_for > region.free);
    let current = empty.map(|region| pool_empty(&region.region)).collect();
    bring_up_to_date(tx, open, current, now).await
}

/// Raises an alert for each id that is no client's and to which numbers are assigned that a client may have had before the history
/// of numbers began, and clears it when it is over.
///
/// # Errors
/// When the database does not answer.
pub async fn unclear_holders(pool: &PgPool, now: DateTime<Utc>) -> Result<Watched, db::Error> {
    let mut tx = pool.begin().await?;
    let open = alerts::list_open_causes_of(&mut tx, UNCLEAR_HOLDER).await?;
    let unclear = ownerless::count_unclear(&mut tx).await?;
    let current = unclear.iter().map(|(id, numbers)| unclear_holder(id, *numbers)).collect();
    bring_up_to_date(tx, open, current, now).await
}

/// How the causes of alerts about numbers of unclear holders begin.
const UNCLEAR_HOLDER: &str = "unclear-holder:";

fn unclear_holder(id: &str, numbers: usize) -> NewAlert {
    NewAlert {
        cause: format!("{UNCLEAR_HOLDER}{id}"),
        about: format!(
            "{numbers} of the pool's numbers are assigned to {id}, which is no client, and it is not known whether a client had \
             them that was deleted. `jobrun pool status` shows them. If one did, or they may be given out again, let each cool \
             down with `jobrun pool release`; if they are kept out of use, say so with `jobrun pool drain`."
        ),
    }
}

/// How the causes of alerts about empty pools begin.
const POOL_EMPTY: &str = "pool-empty:";

/// The alert that clients who paid wait, because their region has no number left for them. `region` is written as clients have
/// it.
#[must_use]
pub fn pool_empty(region: &str) -> NewAlert {
    let region = region_of(region);
    NewAlert {
        cause: format!("{POOL_EMPTY}{region}"),
        about: format!(
            "Clients who paid wait for a number: the pool of {region} has none left for them. `jobrun waiting` shows whom; \
             `jobrun pool buy` or `jobrun pool seed` adds numbers."
        ),
    }
}

/// The rows as the heart reads them.
pub(crate) fn level_of(region: &RegionLevel, now: DateTime<Utc>) -> Level {
    let count = |rows: i64| usize::try_from(rows).unwrap_or_default();
    let in_days = |at: &DateTime<Utc>| (*at - now).as_seconds_f64() / 86_400.0;
    Level {
        free: count(region.free),
        spoken_for: count(region.spoken_for),
        assigned_in_7_days: count(region.assigned_in_7_days),
        returns_in_days: region.returns.iter().map(in_days).collect(),
    }
}

/// How the causes of alerts about the level begin.
const LEVEL: &str = "pool-low:";

fn level_alert(region: &str, level: &Level, min: u32) -> NewAlert {
    let free = match level.unclaimed() {
        1 => "1 free number".to_owned(),
        free => format!("{free} free numbers"),
    };
    let lasts = match level.forecast() {
        Forecast::DryNow { waiting: 0 } => "Whoever pays next has to wait.".to_owned(),
        dry @ Forecast::DryNow { .. } => format!("It is {dry}."),
        at @ Forecast::InDays(_) => format!("At the pace of the last 7 days, the pool runs dry {at}."),
        Forecast::NotInSight => "At the pace of the last 7 days, they last.".to_owned(),
    };
    NewAlert {
        cause: format!("{LEVEL}{region}"),
        about: format!(
            "The pool of {region} has {free} left that nobody has a claim on, fewer than {min}. {lasts} `jobrun pool buy` or \
             `jobrun pool seed` adds numbers."
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_say_how_it_stands_and_what_to_do() {
        let about = |free, spoken_for, assigned_in_7_days| {
            let level = Level { free, spoken_for, assigned_in_7_days, returns_in_days: Vec::new() };
            level_alert("GB", &level, 3).about
        };
        assert!(about(2, 0, 7).starts_with(
            "The pool of GB has 2 free numbers left that nobody has a claim on, fewer than 3. At the pace of the last 7 days, the \
             pool runs dry in about 2 days. `jobrun pool buy`"
        ));
        assert!(about(1, 0, 0).contains("1 free number left") && about(1, 0, 0).contains("they last."));
        assert!(about(1, 3, 0).contains("0 free numbers left") && about(1, 3, 0).contains("dry now: 2 clients wait."));
        assert!(about(0, 0, 0).contains("Whoever pays next has to wait."));
        assert!(waiting_alert(20).about.contains("waited 20 hours for a number, and the promised time is over in 4."));
        assert!(
            waiting_alert(24).about.contains("waited 24 hours for a number, which is all that they were promised.")
        );
    }
}
