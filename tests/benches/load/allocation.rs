//! Numbers handed out a second while everybody wants one, and whether anybody is refused although there are enough.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use jobrun_shared::db::{self, Connections};
use jobrun_shared::{clock, operator};
use jobrun_tests::{numbers, paid_clients};
use sqlx::PgPool;
use tokio::task::JoinSet;

use crate::bench::Bench;
use crate::figures::{RUNS, median};
use crate::report::{Cell, Table};

/// How many clients there are, and as many numbers.
const CLIENTS: usize = 6_000;
const CLIENTS_ALONE: usize = 1_500;

/// How many allocate side by side, each on a connection of its own.
const SIDE_BY_SIDE: u32 = 64;

/// How long an allocation may wait for its connection.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn section(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    let (mut alone, mut crowd) = (Vec::new(), Vec::new());
    for number in 1..=RUNS {
        alone.push(measure(bench, 1, CLIENTS_ALONE).await?);
        crowd.push(measure(bench, SIDE_BY_SIDE, CLIENTS).await?);
        let rate = |rates: &[f64]| rates.last().copied().unwrap_or(f64::NAN);
        let (alone, crowd) = (rate(&alone), rate(&crowd));
        eprintln!("allocation: run {number}, alone {alone:.0} a second, {SIDE_BY_SIDE} ways {crowd:.0}");
    }
    let reference = median(&alone, |rate| *rate);
    let mut table = Table::new(
        "Numbers handed out",
        ["transactions side by side", "clients", "per second", "× alone", "refused falsely"],
    );
    for (ways, clients, rates) in [(1, CLIENTS_ALONE, &alone), (SIDE_BY_SIDE, CLIENTS, &crowd)] {
        let rate = median(rates, |rate| *rate);
        table.row([
            Cell::words(ways.to_string()),
            Cell::count(clients),
            Cell::Figure(rate, 0),
            Cell::Figure(rate / reference, 2),
            // One would have ended the run.
            Cell::count(0),
        ]);
    }
    Ok(vec![table])
}

/// Allocations a second, on a database of their own.
async fn measure(bench: &Bench, ways: u32, clients: usize) -> anyhow::Result<f64> {
    let url = bench.database().await;
    jobrun_tests::migrate(&url).await;
    let pool = db::connect(&url, Connections { kept: ways, max: ways, acquire_timeout: PATIENCE }).await?;
    let ids = Arc::new(paid_clients(&pool, "client", clients).await);
    operator::seed(&pool, &numbers(clients)).await?;
    sqlx::raw_sql("ANALYZE; CHECKPOINT").execute(&pool).await?;

    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    let started = Instant::now();
    for _ in 0..ways {
        tasks.spawn(allocate(pool.clone(), Arc::clone(&ids), Arc::clone(&next)));
    }
    let mut handed_out = HashSet::new();
    while let Some(taken) = tasks.join_next().await {
        for number in taken?? {
            ensure!(handed_out.insert(number), "a number was handed out twice");
        }
    }
    let rate = clients as f64 / started.elapsed().as_secs_f64();
    ensure!(handed_out.len() == clients, "of {clients} numbers, {} were handed out", handed_out.len());
    pool.close().await;
    bench.drop_database(&url).await?;
    Ok(rate)
}

/// Gives numbers to one client after the other, as long as there are any that nobody has served.
async fn allocate(pool: PgPool, ids: Arc<Vec<String>>, next: Arc<AtomicUsize>) -> anyhow::Result<Vec<String>> {
    let mut numbers = Vec::new();
    while let Some(id) = ids.get(next.fetch_add(1, Ordering::Relaxed)) {
        let answer = operator::allocate(&pool, id, clock::now()).await?;
        ensure!(answer.success && answer.reason.is_none(), "a client was refused falsely: {:?}", answer.reason);
        numbers.push(answer.phone_e164.context("who is given a number is told which")?);
    }
    Ok(numbers)
}
