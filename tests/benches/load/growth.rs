//! Whether costs rise as the inbox grows: the same figures on few rows and on many.

use std::time::Duration;

use anyhow::ensure;
use jobrun_stand_in::Reports;
use secrecy::SecretString;

use crate::bench::Bench;
use crate::figures::{RUNS, median_if_known, percentile_ms};
use crate::latency::while_idle;
use crate::report::{Cell, Table};
use crate::rows::Filling;
use crate::texts::{self, Figures, Plan};
use crate::webhooks::webhooks_of_a_run;
use crate::{rows, sender};

/// How many events the smaller inbox holds.
pub(crate) const FEW: i64 = 10_000;

/// How many connections send webhooks.
const CONNECTIONS: usize = 32;

/// How many webhooks the warm-up sends. Its rate sets the size of a run.
const WARM_UP: usize = 500;

/// How many texts are timed one by one in each run.
const PROBES: usize = 100;

/// One in this many texts is from an existing client.
const ONE_IN: usize = 3;

/// Reads a figure from a run; `None` where the system does not report it.
type Reading = fn(&Run) -> Option<f64>;

/// The figures of one run.
struct Run {
    texts: Figures,
    webhooks_per_second: f64,
    idle_p50_ms: f64,
}

pub(crate) async fn section(bench: &Bench, many: i64) -> anyhow::Result<Vec<Table>> {
    let sizes = [FEW, many];
    let mut databases = Vec::new();
    for events in sizes {
        let url = bench.database().await;
        jobrun_tests::migrate(&url).await;
        rows::fill(&url, Filling::of(events)).await?;
        databases.push(url);
    }
    let mut runs: [Vec<Run>; 2] = Default::default();
    for number in 0..RUNS {
        for ((url, events), runs) in databases.iter().zip(sizes).zip(&mut runs) {
            let run = measure(bench, url, number).await?;
            let (texts, webhooks, idle) = (run.texts.per_second, run.webhooks_per_second, run.idle_p50_ms);
            let rates = format!("{texts:.0} texts and {webhooks:.0} webhooks a second");
            eprintln!("growth: run {}, {events} rows: {rates}, idle {idle:.2} ms", number + 1);
            runs.push(run);
        }
    }
    for url in &databases {
        bench.drop_database(url).await?;
    }
    Ok(vec![sizes_table(sizes), compare(&runs)])
}

fn sizes_table([few, many]: [i64; 2]) -> Table {
    let mut table = Table::new("Rows in the inbox", ["", "few", "many"]);
    table.row([Cell::words("events"), Cell::Figure(few as f64, 0), Cell::Figure(many as f64, 0)]);
    table
}

fn compare([few, many]: &[Vec<Run>; 2]) -> Table {
    let mut table = Table::new("What growth costs", ["", "few", "many", "cost many : few"]);
    let rates: [(&str, Reading); 2] = [
        ("texts a second, one worker", |run| Some(run.texts.per_second)),
        ("webhooks a second", |run| Some(run.webhooks_per_second)),
    ];
    for (name, rate) in rates {
        let (few, many) = (median_if_known(few, rate), median_if_known(many, rate));
        let ratio = few.zip(many).map(|(few, many)| few / many);
        table.row([Cell::words(name), Cell::or_nothing(few, 0), Cell::or_nothing(many, 0), Cell::or_nothing(ratio, 2)]);
    }
    let costs: [(&str, usize, Reading); 3] = [
        ("PostgreSQL, µs per text", 0, |run| run.texts.per_text.map(|it| it.postgres)),
        ("PostgreSQL and programs, µs per text", 0, |run| run.texts.per_text.map(|it| it.of_the_system())),
        ("a single text while idle, p50 ms", 2, |run| Some(run.idle_p50_ms)),
    ];
    for (name, decimals, cost) in costs {
        let (few, many) = (median_if_known(few, cost), median_if_known(many, cost));
        let ratio = few.zip(many).map(|(few, many)| many / few);
        let cells = (Cell::or_nothing(few, decimals), Cell::or_nothing(many, decimals));
        table.row([Cell::words(name), cells.0, cells.1, Cell::or_nothing(ratio, 2)]);
    }
    table
}

async fn measure(bench: &Bench, url: &SecretString, number: usize) -> anyhow::Result<Run> {
    let webhooks_per_second = webhooks(bench, url).await?;
    let system = bench.test_system_on(url, 1, &[]).await?;
    let plan = Plan::ours(1, Duration::ZERO);
    let phones = with_existing_clients(bench.strangers(plan.texts), number)?;
    let texts = texts::measure_on(bench, &system, &plan, &phones).await?;
    system.settle().await?;
    system.stand_in.reports(Reports::Missing);
    let idle = while_idle(bench, &system, PROBES).await?;
    system.shut_down().await?;
    Ok(Run { texts, webhooks_per_second, idle_p50_ms: percentile_ms(&idle, 0.5) })
}

/// Replaces every [`ONE_IN`]th unknown client by an existing one: by others in each run, because a client who texts again
/// and again does not always get an answer.
pub(crate) fn with_existing_clients(mut phones: Vec<String>, number: usize) -> anyhow::Result<Vec<String>> {
    let each = phones.len().div_ceil(ONE_IN);
    ensure!(each * RUNS <= rows::CLIENTS_MIN as usize, "there are not enough existing clients for every run");
    for (place, phone) in phones.iter_mut().step_by(ONE_IN).enumerate() {
        *phone = rows::phone(number * each + place);
    }
    Ok(phones)
}

/// Measures webhooks a second without a worker, and removes the unprocessed events afterwards.
pub(crate) async fn webhooks(bench: &Bench, url: &SecretString) -> anyhow::Result<f64> {
    let system = bench.test_system_on(url, 0, &[]).await?;
    let addr = sender::ingress_addr(&system)?;
    let warm_up = sender::texts_from(&system, &bench.strangers(WARM_UP));
    let warm_up = sender::send(addr, warm_up, CONNECTIONS).await?;
    let count = webhooks_of_a_run(warm_up.per_second, CONNECTIONS);
    let sent = sender::send(addr, sender::texts_from(&system, &bench.strangers(count)), CONNECTIONS).await?;
    for statement in ["DELETE FROM events WHERE processed_at IS NULL", "VACUUM events", "CHECKPOINT"] {
        sqlx::raw_sql(statement).execute(&system.pool).await?;
    }
    system.shut_down().await?;
    Ok(sent.per_second)
}
