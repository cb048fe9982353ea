//! What lasts: the figures of the short sections over half a minute, on an inbox of a million rows.
//!
//! Every run begins on a copy of the same inbox, with a warm-up. Nothing is emptied, vacuumed or written out by force from then
//! on, so a run pays for the checkpoints and the vacuum that it causes. Two of three texts come from clients.

mod latency;

mod texts;

mod timing;

mod webhooks;

use std::time::Duration;

use crate::bench::Bench;
use crate::extent::Extent;
use crate::figures::{median, median_if_known, median_ratio, percentile_ms};
use crate::filled::Filled;
use crate::report::{Cell, Table};

use texts::Plan;
use webhooks::Contender;

/// The counts of connections that send webhooks.
const AT_CONNECTIONS: [usize; 2] = [32, 128];

const WORKERS: [usize; 3] = [1, 2, 4];

/// The runs of each webhook server at one count of connections.
type WebhookRuns = [Vec<webhooks::Run>; 3];

/// The runs with each count of workers.
type TextRuns = [Vec<texts::Run>; 3];

/// Reads times from a run, shortest first.
type Times = fn(&latency::Run) -> &Vec<Duration>;

/// All runs.
#[derive(Default)]
struct Runs {
    webhooks: [WebhookRuns; 2],
    texts: TextRuns,
    texts_with_reports: TextRuns,
    latency: Vec<latency::Run>,
}

pub(crate) async fn section(bench: &Bench, extent: &Extent) -> anyhow::Result<Vec<Table>> {
    let filled = Filled::set_up(bench, extent.a_million_rows()).await?;
    let (mut runs, window) = (Runs::default(), extent.window());
    for number in 1..=extent.runs {
        for (connections, runs) in AT_CONNECTIONS.into_iter().zip(&mut runs.webhooks) {
            measure_webhooks(bench, &filled, connections, window, runs).await?;
        }
        for (reports, runs) in [(false, &mut runs.texts), (true, &mut runs.texts_with_reports)] {
            measure_texts(bench, &filled, reports, window, runs).await?;
        }
        let half = half_load(&runs);
        let run = latency::measure(bench, &filled, half, window).await?;
        let (p50, p99) = (percentile_ms(&run.busy, 0.5), percentile_ms(&run.busy, 0.99));
        eprintln!("lasting: {half:.0} texts a second: p50 {p50:.2} ms, p99 {p99:.2} ms; run {number} is complete");
        runs.latency.push(run);
    }
    bench.drop_database(&filled.url).await?;
    let half = half_load(&runs);
    let texts = texts_table(&runs.texts, &runs.texts_with_reports);
    Ok(vec![webhooks_table(&runs.webhooks), texts, latency_table(&runs.latency, half)])
}

/// Returns half of one worker's rate in the first round. Every round has the same load.
fn half_load(runs: &Runs) -> f64 {
    runs.texts.first().and_then(|runs| runs.first()).map_or(f64::NAN, |run| run.per_second / 2.0)
}

async fn measure_webhooks(
    bench: &Bench,
    filled: &Filled,
    connections: usize,
    window: Duration,
    runs: &mut WebhookRuns,
) -> anyhow::Result<()> {
    for (contender, runs) in Contender::ALL.into_iter().zip(runs) {
        let run = webhooks::measure(bench, filled, contender, connections, window).await?;
        let (name, rate) = (contender.name(), run.per_second);
        eprintln!("lasting: {connections} connections, {name}: {rate:.0} webhooks a second");
        runs.push(run);
    }
    Ok(())
}

async fn measure_texts(
    bench: &Bench,
    filled: &Filled,
    reports: bool,
    window: Duration,
    runs: &mut TextRuns,
) -> anyhow::Result<()> {
    for (workers, runs) in WORKERS.into_iter().zip(runs) {
        let run = texts::measure(bench, filled, Plan { workers, reports }, window).await?;
        let (rate, with) = (run.per_second, if reports { "with" } else { "without" });
        eprintln!("lasting: {workers} workers, {with} reports: {rate:.0} texts a second");
        runs.push(run);
    }
    Ok(())
}

/// Returns how many checkpoints began in the windows of all runs together.
fn all_checkpoints<T>(runs: &[T], of: impl Fn(&T) -> f64) -> Cell {
    Cell::Figure(runs.iter().map(of).sum(), 0)
}

fn webhooks_table(measured: &[WebhookRuns; 2]) -> Table {
    let columns = [
        "server",
        "connections",
        "per second",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "× one commit",
        "% of no db",
        "WAL bytes each",
        "page images each",
        "checkpoints in all runs",
    ];
    let mut table = Table::new("Acknowledged webhooks that last", columns);
    for (connections, servers) in AT_CONNECTIONS.into_iter().zip(measured) {
        let [one_commit, _, no_database] = servers;
        for (contender, runs) in Contender::ALL.into_iter().zip(servers) {
            let percentile = |share| Cell::Figure(median(runs, |run| percentile_ms(&run.times, share)), 2);
            let writes = contender != Contender::NoDatabase;
            let written = |figure: fn(&webhooks::Run) -> f64, decimals| {
                Cell::or_nothing(writes.then(|| median(runs, figure)), decimals)
            };
            table.row([
                Cell::words(contender.name()),
                Cell::count(connections),
                Cell::Figure(median(runs, |run| run.per_second), 0),
                percentile(0.5),
                percentile(0.99),
                percentile(0.999),
                Cell::Figure(median_ratio(runs, one_commit, |run| run.per_second), 2),
                Cell::Figure(100.0 * median_ratio(runs, no_database, |run| run.per_second), 0),
                written(|run| run.wal_bytes, 0),
                written(|run| run.images, 2),
                if writes { all_checkpoints(runs, |run| run.checkpoints) } else { Cell::Nothing },
            ]);
        }
    }
    table
}

fn texts_table(without: &TextRuns, with: &TextRuns) -> Table {
    let columns = [
        "texts in to texts out",
        "workers",
        "per second",
        "× one worker",
        "PostgreSQL µs",
        "programs µs",
        "WAL bytes each",
        "page images each",
        "checkpoints in all runs",
    ];
    let mut table = Table::new("Texts that last", columns);
    for (name, all) in [("without reports", without), ("with both reports", with)] {
        let [one_worker, ..] = all;
        for (workers, runs) in WORKERS.into_iter().zip(all) {
            let programs = median_if_known(runs, |run| run.per_text.as_ref().map(|it| it.ingress + it.workers));
            table.row([
                Cell::words(name),
                Cell::count(workers),
                Cell::Figure(median(runs, |run| run.per_second), 0),
                Cell::Figure(median_ratio(runs, one_worker, |run| run.per_second), 2),
                Cell::or_nothing(median_if_known(runs, |run| run.per_text.as_ref().map(|it| it.postgres)), 0),
                Cell::or_nothing(programs, 0),
                Cell::Figure(median(runs, |run| run.wal_bytes), 0),
                Cell::Figure(median(runs, |run| run.images), 2),
                all_checkpoints(runs, |run| run.checkpoints),
            ]);
        }
    }
    table
}

fn latency_table(runs: &[latency::Run], half: f64) -> Table {
    let columns =
        ["from webhook to stand-in", "texts/s beside it", "p50 ms", "p99 ms", "p99.9 ms", "× four bare commits"];
    let mut table = Table::new("A single text, on a filled inbox", columns);
    let times: [(&str, f64, Times); 2] =
        [("four bare commits", 0.0, |run| &run.bare), ("at half load", half, |run| &run.busy)];
    for (name, beside, times) in times {
        let percentile = |share| Cell::Figure(median(runs, |run| percentile_ms(times(run), share)), 2);
        let ratios: Vec<f64> =
            runs.iter().map(|run| percentile_ms(times(run), 0.5) / percentile_ms(&run.bare, 0.5)).collect();
        table.row([
            Cell::words(name),
            Cell::Figure(beside, 0),
            percentile(0.5),
            percentile(0.99),
            percentile(0.999),
            Cell::Figure(median(&ratios, |ratio| *ratio), 2),
        ]);
    }
    table
}
