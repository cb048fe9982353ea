//! How long a single text takes at half load, on a filled inbox.

use std::time::Duration;

use jobrun_stand_in::Reports;

use crate::bench::Bench;
use crate::filled::Filled;
use crate::lasting::timing::WARM_UP;
use crate::latency::{self, Load};

/// How many texts are timed for each second of the window: 3,000 in thirty.
const PROBES_A_SECOND: usize = 100;

/// How long the load lasts for each probe: four times as long as one should take, so that the load outlasts the probes. It is
/// stopped after the last one.
const LASTS_PER_PROBE: Duration = Duration::from_millis(80);

/// Times of a run, shortest first.
pub(crate) struct Run {
    /// Of as many bare commits as a text needs.
    pub(crate) bare: Vec<Duration>,
    pub(crate) busy: Vec<Duration>,
}

/// Measures beside a load of so many texts a second.
pub(crate) async fn measure(bench: &Bench, filled: &Filled, per_second: f64, window: Duration) -> anyhow::Result<Run> {
    let url = filled.copy(bench).await?;
    let system = bench.test_system_on(&url, 1, &[]).await?;
    system.stand_in.reports(Reports::Missing);
    let bare = latency::bare_commits(&system).await?;
    let probes = PROBES_A_SECOND * window.as_secs() as usize;
    let lasts = WARM_UP + LASTS_PER_PROBE * probes as u32;
    let mut others = filled.senders(bench, probes + (per_second * lasts.as_secs_f64()) as usize);
    let phones = others.split_off(others.len() - probes);
    let busy = latency::under_load(&system, &phones, Load { per_second, others, warm_up: WARM_UP }).await?;
    bench.drop_system(system).await?;
    Ok(Run { bare, busy })
}
