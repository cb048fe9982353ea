//! Texts in to texts out, for a while: the load is held back, so that the run measures a flow and not a backlog.

use std::time::{Duration, Instant};

use anyhow::ensure;
use jobrun::demo::TestSystem;
use jobrun_stand_in::Reports;

use crate::bench::Bench;
use crate::cost::{PerText, Usage};
use crate::feed::Feed;
use crate::filled::Filled;
use crate::lasting::timing::{self, WARM_UP};
use crate::sender;
use crate::wal::Written;

/// How many connections send the webhooks.
const CONNECTIONS: usize = 64;

/// How many texts are under way at most.
const UNDER_WAY_MAX: usize = 2_000;

/// More texts a second than a machine takes. They are signed before the clock starts.
const PER_SECOND_MAX: usize = 8_000;

/// How often the load is given leave to go on, without reports, and with them, which are counted in the database.
const LOOK_EVERY: Duration = Duration::from_millis(2);
const COUNT_EVERY: Duration = Duration::from_millis(200);

/// How long the last texts may take.
const SETTLED_WITHIN: Duration = Duration::from_secs(120);

#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) workers: usize,
    /// Whether each text gets its two delivery reports. If so, a text counts once both are applied.
    pub(crate) reports: bool,
}

/// The figures of a run.
pub(crate) struct Run {
    pub(crate) per_second: f64,
    /// `None` if the system does not report processor time.
    pub(crate) per_text: Option<PerText>,
    pub(crate) wal_bytes: f64,
    pub(crate) images: f64,
    pub(crate) checkpoints: f64,
}

pub(crate) async fn measure(bench: &Bench, filled: &Filled, plan: Plan, window: Duration) -> anyhow::Result<Run> {
    let url = filled.copy(bench).await?;
    let system = bench.test_system_on(&url, plan.workers, &[]).await?;
    system.stand_in.reports(if plan.reports { Reports::InOrder } else { Reports::Missing });
    let phones = filled.senders(bench, PER_SECOND_MAX * (WARM_UP + window).as_secs() as usize);
    let requests = sender::texts_from(&system, &phones);
    let feed = Feed::start(sender::ingress_addr(&system)?, requests, CONNECTIONS, UNDER_WAY_MAX).await?;
    let flow = Flow { bench, system: &system, feed: &feed, reports: plan.reports };
    flow.keep_up(WARM_UP).await?;
    let before = flow.mark().await?;
    flow.keep_up(window).await?;
    let after = flow.mark().await?;
    let answered = feed.stop().await?;
    system.settle_within(SETTLED_WITHIN).await?;
    let taken = system.stand_in.message_count();
    ensure!(taken == answered.len(), "{} texts were acknowledged, and {taken} answered", answered.len());
    bench.drop_system(system).await?;
    after.since(&before, window)
}

/// A run under way.
struct Flow<'a> {
    bench: &'a Bench,
    system: &'a TestSystem,
    feed: &'a Feed,
    reports: bool,
}

impl Flow<'_> {
    /// Lets the load go on for a time, with no more than [`UNDER_WAY_MAX`] texts under way.
    async fn keep_up(&self, lasts: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + lasts;
        while Instant::now() < until && !self.feed.is_used_up() {
            self.feed.allow(self.done().await? + UNDER_WAY_MAX);
            let pause = if self.reports { COUNT_EVERY } else { LOOK_EVERY };
            tokio::time::sleep(pause.min(until.saturating_duration_since(Instant::now()))).await;
        }
        Ok(())
    }

    /// Returns how many texts are done: the stand-in has them, and with reports, the last one is applied.
    async fn done(&self) -> anyhow::Result<usize> {
        let taken = self.system.stand_in.message_count();
        if !self.reports {
            return Ok(taken);
        }
        // Each of the two indexes holds only texts under way, so counting them costs little.
        let under_way: i64 = sqlx::query_scalar(
            "SELECT (SELECT count(*) FROM messages WHERE status IN ('sending', 'unknown'))
                  + (SELECT count(*) FROM messages WHERE check_at IS NOT NULL)",
        )
        .fetch_one(&self.system.pool)
        .await?;
        Ok(taken.saturating_sub(under_way as usize))
    }

    async fn mark(&self) -> anyhow::Result<Mark> {
        let written = Written::now(&self.system.pool).await?;
        let (at, done, usage) = (Instant::now(), self.done().await?, Usage::now(self.bench, self.system));
        Ok(Mark { at, done, usage, written })
    }
}

/// What has been done by one end of the window.
struct Mark {
    at: Instant,
    done: usize,
    usage: Option<Usage>,
    written: Written,
}

impl Mark {
    fn since(&self, before: &Self, window: Duration) -> anyhow::Result<Run> {
        let (lasted, texts) = (self.at - before.at, self.done - before.done);
        ensure!(timing::is_long_enough(lasted, window), "the texts were used up after {lasted:?} of {window:?}");
        let used = before.usage.zip(self.usage);
        let written = self.written.since(&before.written);
        Ok(Run {
            per_second: texts as f64 / lasted.as_secs_f64(),
            per_text: used.map(|(before, after)| after.per_text_since(&before, texts)),
            wal_bytes: written.wal_bytes / texts as f64,
            images: written.images / texts as f64,
            checkpoints: written.checkpoints,
        })
    }
}
