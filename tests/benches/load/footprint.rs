//! Memory and processor time of the daemons, idle and under full load.

use std::time::{Duration, Instant};

use anyhow::Context;
use jobrun::demo::TestSystem;
use jobrun_stand_in::Reports;

use crate::bench::Bench;
use crate::figures::{RUNS, median_if_known};
use crate::processes::{self, Memory, cpu_of};
use crate::report::{Cell, Table};
use crate::sender;
use crate::texts::{self, Plan};

/// How long the idle phase lasts.
const IDLE: Duration = Duration::from_secs(10);

/// The first load: webhooks, over many connections.
const WEBHOOKS: usize = 20_000;
const CONNECTIONS: usize = 512;

/// How long the worker may take to catch up with the first load.
const SETTLED_WITHIN: Duration = Duration::from_secs(300);

/// The daemons, and their memory limits in megabytes.
const LIMITS: [(&str, f64); 2] = [("jobrun-ingress", 40.0), ("jobrun-worker", 80.0)];

/// The figures of one daemon in one run. Shares of the processor are in percent of one core.
struct Footprint {
    idle: Option<Memory>,
    idle_cpu: Option<f64>,
    loaded: Option<Memory>,
    webhooks_cpu: Option<f64>,
    texts_cpu: Option<f64>,
}

pub(crate) async fn section(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    let mut runs: [Vec<Footprint>; 2] = Default::default();
    for number in 1..=RUNS {
        let footprints = measure(bench).await?;
        for (footprint, runs) in footprints.into_iter().zip(&mut runs) {
            runs.push(footprint);
        }
        let peak = |runs: &Vec<Footprint>| runs.last().and_then(|run| run.loaded).map_or(f64::NAN, |it| it.peak);
        let [ingress, worker] = runs.each_ref().map(peak);
        eprintln!("footprint: run {number}, at most: ingress {ingress:.1} MB, worker {worker:.1} MB");
    }
    let mut memory =
        Table::new("Memory, in megabytes", ["", "idle", "after the load", "peak", "limit", "peak : limit"]);
    let mut cpu = Table::new("Processor, in % of one core", ["", "idle", "webhooks, 512 connections", "texts"]);
    for ((name, limit), runs) in LIMITS.into_iter().zip(&runs) {
        let median = |figure: fn(&Footprint) -> Option<f64>| median_if_known(runs, figure);
        let peak = median(|it| it.loaded.map(|it| it.peak));
        memory.row([
            Cell::words(name),
            Cell::or_nothing(median(|it| it.idle.map(|it| it.now)), 1),
            Cell::or_nothing(median(|it| it.loaded.map(|it| it.now)), 1),
            Cell::or_nothing(peak, 1),
            Cell::Figure(limit, 0),
            Cell::or_nothing(peak.map(|peak| peak / limit), 2),
        ]);
        cpu.row([
            Cell::words(name),
            Cell::or_nothing(median(|it| it.idle_cpu), 1),
            Cell::or_nothing(median(|it| it.webhooks_cpu), 0),
            Cell::or_nothing(median(|it| it.texts_cpu), 0),
        ]);
    }
    Ok(vec![memory, cpu])
}

async fn measure(bench: &Bench) -> anyhow::Result<[Footprint; 2]> {
    let system = bench.test_system(1, &[]).await?;
    system.stand_in.reports(Reports::Missing);
    let pids = pids(&system)?;
    let watch = Watch::start(pids);
    tokio::time::sleep(IDLE).await;
    let (idle, idle_cpu) = (pids.map(processes::memory_of), watch.shares());

    let requests = sender::texts_from(&system, &bench.strangers(WEBHOOKS));
    let watch = Watch::start(pids);
    sender::send(sender::ingress_addr(&system)?, requests, CONNECTIONS).await?;
    let webhooks_cpu = watch.shares();
    system.settle_within(SETTLED_WITHIN).await?;

    let plan = Plan::ours(1, Duration::ZERO);
    let phones = bench.strangers(plan.texts);
    let watch = Watch::start(pids);
    texts::measure_on(bench, &system, &plan, &phones).await?;
    let (loaded, texts_cpu) = (pids.map(processes::memory_of), watch.shares());
    bench.drop_system(system).await?;
    Ok([0, 1].map(|daemon| Footprint {
        idle: idle[daemon],
        idle_cpu: idle_cpu[daemon],
        loaded: loaded[daemon],
        webhooks_cpu: webhooks_cpu[daemon],
        texts_cpu: texts_cpu[daemon],
    }))
}

/// Returns the process ids of the ingress and of the worker, in this order.
fn pids(system: &TestSystem) -> anyhow::Result<[u32; 2]> {
    let worker = system.workers.first().and_then(|worker| worker.pid()).context("the worker runs")?;
    Ok([system.ingress.pid().context("the ingress runs")?, worker])
}

/// Measures the processor time of the two processes.
struct Watch {
    pids: [u32; 2],
    began: Instant,
    before: [Option<Duration>; 2],
}

impl Watch {
    fn start(pids: [u32; 2]) -> Self {
        Self { pids, began: Instant::now(), before: pids.map(cpu_of) }
    }

    /// Returns the shares of the processor since the start, in percent of one core.
    fn shares(&self) -> [Option<f64>; 2] {
        let elapsed = self.began.elapsed().as_secs_f64();
        [0, 1].map(|place| {
            let used = cpu_of(self.pids[place])?.saturating_sub(self.before[place]?);
            Some(100.0 * used.as_secs_f64() / elapsed)
        })
    }
}
