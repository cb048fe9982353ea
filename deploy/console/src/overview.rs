//! The figures of the first page that take more than a look at a few rows. They are computed at most every half minute, for all
//! readers together, and only while pages are read: however many pages are open, the database works for one.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_onboarding::State;
use jobrun_shared::clock;
use jobrun_shared::db;
use jobrun_shared::db::listing::{self, MinuteCount, Step, StepTime, StuckClient};
use jobrun_shared::numbers::status::{self, PoolRegion};
use sqlx::PgPool;
use tokio::sync::{Mutex, RwLock};

/// How old the figures may be.
const FRESH_FOR: TimeDelta = TimeDelta::seconds(30);

/// The minutes that texts are counted by.
pub const MINUTES: usize = 60;

/// A state of the funnel.
#[derive(Clone, Debug, PartialEq)]
pub struct FunnelStep {
    /// The state.
    pub state: &'static str,
    /// How many clients have reached it.
    pub reached: i64,
    /// How many are in it now.
    pub here: i64,
    /// The median time that clients took to leave it, in seconds.
    pub median_seconds: Option<f64>,
}

/// The figures.
#[derive(Clone, Debug)]
pub struct Overview {
    /// When they were computed.
    pub at: DateTime<Utc>,
    /// The funnel of the newest clients, in the order of the conversation.
    pub funnel: Vec<FunnelStep>,
    /// Clients that do not get on by themselves.
    pub stuck: Vec<StuckClient>,
    /// Texts that arrived in each of the last minutes, the oldest first.
    pub texts_in: Vec<i64>,
    /// Texts that were written in each of the last minutes, the oldest first.
    pub texts_out: Vec<i64>,
    /// The regions of the pool.
    pub regions: Vec<PoolRegion>,
}

/// The latest figures.
#[derive(Clone, Debug, Default)]
pub struct Overviews {
    latest: Arc<RwLock<Option<Arc<Overview>>>>,
    /// Held while they are computed.
    computing: Arc<Mutex<()>>,
}

impl Overviews {
    /// Returns the figures. If they are old, computes them anew in the background: only the first reader waits.
    ///
    /// # Errors
    /// When there are none yet, and the database fails.
    pub async fn get(&self, pool: &PgPool) -> Result<Arc<Overview>, db::Error> {
        let latest = self.latest.read().await.clone();
        let Some(latest) = latest else {
            let _computing = self.computing.lock().await;
            if let Some(latest) = self.latest.read().await.clone() {
                return Ok(latest);
            }
            return self.compute(pool).await;
        };
        if clock::now() - latest.at > FRESH_FOR
            && let Ok(computing) = Arc::clone(&self.computing).try_lock_owned()
        {
            let (overviews, pool) = (self.clone(), pool.clone());
            tokio::spawn(async move {
                if let Err(error) = overviews.compute(&pool).await {
                    tracing::warn!(%error, "the figures of the first page could not be computed");
                }
                drop(computing);
            });
        }
        Ok(latest)
    }

    async fn compute(&self, pool: &PgPool) -> Result<Arc<Overview>, db::Error> {
        let at = clock::now();
        let mut tx = db::snapshot(pool).await?;
        let overview = Arc::new(Overview {
            at,
            funnel: funnel(&listing::count_funnel(&mut tx, at).await?, &listing::measure_steps(&mut tx, at).await?),
            stuck: listing::list_stuck(&mut tx, at).await?,
            texts_in: by_minute(&listing::count_texts_in(&mut tx, at).await?),
            texts_out: by_minute(&listing::count_texts_out(&mut tx, at).await?),
            regions: status::pool_regions(&mut tx, at).await?,
        });
        *self.latest.write().await = Some(Arc::clone(&overview));
        Ok(overview)
    }
}

/// A client in a state has reached every state before it.
fn funnel(steps: &[Step], times: &[StepTime]) -> Vec<FunnelStep> {
    let here = |state: &str| steps.iter().find(|step| step.state == state).map_or(0, |step| step.here);
    let mut reached = 0;
    let mut funnel: Vec<FunnelStep> = State::ALL
        .iter()
        .rev()
        .map(|state| {
            let state = state.name();
            reached += here(state);
            let median_seconds = times.iter().find(|time| time.state == state).map(|time| time.median_seconds);
            FunnelStep { state, reached, here: here(state), median_seconds }
        })
        .collect();
    funnel.reverse();
    funnel
}

fn by_minute(counts: &[MinuteCount]) -> Vec<i64> {
    let in_minute = |ago: usize| {
        let count = counts.iter().find(|count| usize::try_from(count.minutes_ago).is_ok_and(|minutes| minutes == ago));
        count.map_or(0, |count| count.texts)
    };
    (0..MINUTES).rev().map(in_minute).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_reached_every_state_before_its_own() {
        let steps =
            [Step { state: "S5_CONFIRM_LIVE".to_owned(), here: 3 }, Step { state: "COMPLETE".to_owned(), here: 2 }];
        let funnel = funnel(&steps, &[]);
        assert_eq!(funnel.first().map(|step| (step.reached, step.here)), Some((5, 0)));
        assert_eq!(funnel.get(4).map(|step| (step.reached, step.here)), Some((5, 3)));
        assert_eq!(funnel.get(5).map(|step| (step.reached, step.here)), Some((2, 0)));
    }

    #[test]
    fn minutes_are_in_order() {
        let counts = [MinuteCount { minutes_ago: 0, texts: 7 }, MinuteCount { minutes_ago: 59, texts: 1 }];
        let minutes = by_minute(&counts);
        assert_eq!((minutes.len(), minutes.first(), minutes.last()), (60, Some(&1), Some(&7)));
    }
}
