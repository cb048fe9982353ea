//! How long a single text takes, from the webhook until the stand-in has the answer: idle, and at half of one worker's rate.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use chrono::{DateTime, Utc};
use jobrun::demo::TestSystem;
use jobrun_shared::clock;
use jobrun_stand_in::Reports;
use tokio::task::JoinSet;

use crate::bench::{Bench, ensure_within};
use crate::figures::{RUNS, median, percentile_ms};
use crate::report::{Cell, Table};
use crate::sender::{self, Caller};
use crate::texts::{self, Plan};

/// How many texts are timed in each run.
const PROBES: usize = 300;

/// How long one text may take.
const TAKEN_WITHIN: Duration = Duration::from_secs(30);

/// How long the test system may take to settle after the load.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// How long the background load lasts: longer than the probes take.
const LOAD_LASTS_SECONDS: f64 = 30.0;

/// How long it lasts before the first probe.
const WARM_UP: Duration = Duration::from_secs(1);

/// The commits that a text needs: the event, the decision, the claim, and the outcome.
const COMMITS: usize = 4;

/// How often that many bare commits are timed in each run.
const BARE: usize = 100;

pub(crate) async fn section(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    let rate = match bench.one_worker_rate.get() {
        Some(rate) => rate,
        None => texts::measure(bench, &Plan::ours(1, Duration::ZERO)).await?.per_second,
    };
    let (mut bare, mut idle, mut busy) = (Vec::new(), Vec::new(), Vec::new());
    for number in 1..=RUNS {
        let system = bench.test_system(1, &[]).await?;
        system.stand_in.reports(Reports::Missing);
        bare.push(bare_commits(&system).await?);
        idle.push(while_idle(bench, &system, PROBES).await?);
        let others = bench.strangers((rate / 2.0 * LOAD_LASTS_SECONDS) as usize);
        let load = Load { per_second: rate / 2.0, others, warm_up: WARM_UP };
        busy.push(under_load(&system, &bench.strangers(PROBES), load).await?);
        bench.drop_system(system).await?;
        let p50 = |runs: &[Vec<Duration>]| runs.last().map_or(f64::NAN, |run| percentile_ms(run, 0.5));
        let (bare, idle, busy) = (p50(&bare), p50(&idle), p50(&busy));
        eprintln!("latency: run {number}, bare commits {bare:.2} ms, idle {idle:.2} ms, half load {busy:.2} ms");
    }
    let p50 = |runs: &[Vec<Duration>]| median(runs, |run| percentile_ms(run, 0.5));
    let bare_p50 = p50(&bare);
    let mut table = Table::new(
        "A single text",
        ["from webhook to stand-in", "texts/s beside it", "p50 ms", "p99 ms", "× four bare commits"],
    );
    for (name, beside, runs) in
        [("four bare commits", 0.0, &bare), ("idle", 0.0, &idle), ("at half load", rate / 2.0, &busy)]
    {
        table.row([
            Cell::words(name),
            Cell::Figure(beside, 0),
            Cell::Figure(p50(runs), 2),
            Cell::Figure(median(runs, |run| percentile_ms(run, 0.99)), 2),
            Cell::Figure(p50(runs) / bare_p50, 2),
        ]);
    }
    Ok(vec![table])
}

/// Times [`COMMITS`] commits of a single row each, without anything else. Returns the times, shortest first.
pub(crate) async fn bare_commits(system: &TestSystem) -> anyhow::Result<Vec<Duration>> {
    let mut conn = system.pool.acquire().await?;
    sqlx::query("CREATE TABLE bare_commits (at TIMESTAMPTZ NOT NULL DEFAULT now())").execute(&mut *conn).await?;
    let mut times = Vec::new();
    for _ in 0..BARE {
        let began = Instant::now();
        for _ in 0..COMMITS {
            sqlx::query("INSERT INTO bare_commits DEFAULT VALUES").execute(&mut *conn).await?;
        }
        times.push(began.elapsed());
    }
    times.sort_unstable();
    Ok(times)
}

/// Sends texts one after the other, each once everything that the one before caused is done. Returns the times that they
/// took, shortest first.
pub(crate) async fn while_idle(bench: &Bench, system: &TestSystem, probes: usize) -> anyhow::Result<Vec<Duration>> {
    let phones = bench.strangers(probes);
    let mut caller = Caller::connect(sender::ingress_addr(system)?).await?;
    let mut sent = HashMap::new();
    for (place, (phone, request)) in phones.iter().zip(sender::texts_from(system, &phones)).enumerate() {
        let taken = system.stand_in.message_count();
        pause(place).await;
        sent.insert(phone.as_str(), clock::now());
        caller.send(&request).await?;
        ensure_within(TAKEN_WITHIN, "the text is taken", || system.stand_in.message_count() > taken).await?;
        system.settle().await?;
    }
    times(system, &sent)
}

/// A steady background load.
pub(crate) struct Load {
    pub(crate) per_second: f64,
    /// The phones that text. There must be enough of them to last until the last probe.
    pub(crate) others: Vec<String>,
    /// How long the load lasts before the first probe.
    pub(crate) warm_up: Duration,
}

/// As [`while_idle`], from `phones`, beside a load, and without waiting for the outcome of the text before.
pub(crate) async fn under_load(system: &TestSystem, phones: &[String], load: Load) -> anyhow::Result<Vec<Duration>> {
    let addr = sender::ingress_addr(system)?;
    let probes = sender::texts_from(system, phones);
    let (others, warm_up) = (sender::texts_from(system, &load.others), load.warm_up);
    let mut load_task = JoinSet::new();
    load_task.spawn(sender::trickle(addr, others, load.per_second));
    tokio::time::sleep(warm_up).await;

    let mut caller = Caller::connect(addr).await?;
    let mut sent = HashMap::new();
    for (place, (phone, request)) in phones.iter().zip(probes).enumerate() {
        pause(place).await;
        sent.insert(phone.as_str(), clock::now());
        caller.send(&request).await?;
    }
    if let Some(ended) = load_task.try_join_next() {
        ended??;
        anyhow::bail!("the load ended before the probes did");
    }
    load_task.shutdown().await;
    system.settle_within(SETTLED_WITHIN).await?;
    times(system, &sent)
}

/// Sleeps between 5 and 23 ms, never the same twice in a row, so that no probe falls into step with a periodic task.
async fn pause(place: usize) {
    tokio::time::sleep(Duration::from_millis(5 + (place as u64 * 7) % 19)).await;
}

/// Returns the times from `sent` to `date_created` of the replies, shortest first. Both are by the clock of this process.
fn times(system: &TestSystem, sent: &HashMap<&str, DateTime<Utc>>) -> anyhow::Result<Vec<Duration>> {
    let messages = system.stand_in.messages();
    let mut times: Vec<Duration> = messages
        .iter()
        .filter_map(|message| Some(message.date_created - *sent.get(message.to.as_str())?))
        .map(|time| time.to_std().context("an answer was taken before its text was sent"))
        .collect::<anyhow::Result<_>>()?;
    ensure!(times.len() == sent.len(), "of {} texts, {} were answered", sent.len(), times.len());
    times.sort_unstable();
    Ok(times)
}
