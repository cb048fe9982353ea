//! Numbers allocated a second when many transactions allocate at once, and whether any client is refused although there are
//! enough: with one client a transaction, as by an operator's command, and with batches of clients, as by the workers.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use jobrun_onboarding::Allocation;
use jobrun_shared::clock;
use jobrun_shared::db::numbers::NumberRequest;
use jobrun_shared::db::{self, Connections, clients};
use jobrun_shared::numbers::{allocate, seed_release};
use jobrun_tests::{numbers, paid_clients};
use sqlx::PgPool;
use tokio::task::JoinSet;

use crate::bench::Bench;
use crate::figures::{RUNS, median};
use crate::report::{Cell, Table};

/// How many clients there are. There are as many numbers.
const CLIENTS: usize = 6_000;
const CLIENTS_ALONE: usize = 1_500;

/// How many transactions run at once, each on a connection of its own.
const SIDE_BY_SIDE: u32 = 64;

/// How long an allocation may wait for its connection.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a run allocates.
#[derive(Clone, Copy)]
struct Plan {
    name: &'static str,
    ways: u32,
    /// How many clients share a transaction.
    batch: usize,
    clients: usize,
}

const PLANS: [Plan; 3] = [
    Plan { name: "one client a transaction", ways: 1, batch: 1, clients: CLIENTS_ALONE },
    Plan { name: "one client a transaction", ways: SIDE_BY_SIDE, batch: 1, clients: CLIENTS },
    Plan { name: "batches of clients", ways: SIDE_BY_SIDE, batch: 10, clients: CLIENTS },
];

pub(crate) async fn section(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    let mut runs: [Vec<f64>; 3] = Default::default();
    for number in 1..=RUNS {
        for (plan, runs) in PLANS.iter().zip(&mut runs) {
            let rate = measure(bench, plan).await?;
            eprintln!("allocation: run {number}, {}, {} ways: {rate:.0} a second", plan.name, plan.ways);
            runs.push(rate);
        }
    }
    let rates = runs.each_ref().map(|rates| median(rates, |rate| *rate));
    let mut table = Table::new(
        "Numbers handed out",
        ["", "transactions side by side", "clients in each", "per second", "× alone", "refused falsely"],
    );
    for (plan, rate) in PLANS.iter().zip(rates) {
        table.row([
            Cell::words(plan.name),
            Cell::count(plan.ways as usize),
            Cell::count(plan.batch),
            Cell::Figure(rate, 0),
            Cell::Figure(rate / rates[0], 2),
            // The first false refusal ends the benchmark with an error.
            Cell::count(0),
        ]);
    }
    Ok(vec![table])
}

/// Returns the allocations a second of a plan, on a database of its own.
async fn measure(bench: &Bench, plan: &Plan) -> anyhow::Result<f64> {
    let Plan { ways, clients, batch, .. } = *plan;
    let url = bench.database().await;
    jobrun_tests::migrate(&url).await;
    let pool =
        db::connect(&url, Connections { kept: ways, max: ways, acquire_timeout: PATIENCE, ..jobrun::CONNECTIONS })
            .await?;
    let ids = Arc::new(paid_clients(&pool, "client", clients).await);
    seed_release::seed(&pool, &numbers(clients)).await?;
    sqlx::raw_sql("ANALYZE; CHECKPOINT").execute(&pool).await?;

    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    let started = Instant::now();
    for _ in 0..ways {
        tasks.spawn(allocate(pool.clone(), Arc::clone(&ids), Arc::clone(&next), batch));
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

/// Allocates numbers to batch after batch, until every client is in one. Concurrent tasks share `next`.
async fn allocate(
    pool: PgPool,
    ids: Arc<Vec<String>>,
    next: Arc<AtomicUsize>,
    batch: usize,
) -> anyhow::Result<Vec<String>> {
    let mut numbers = Vec::new();
    while let Some(ids) = ids.chunks(batch).nth(next.fetch_add(1, Ordering::Relaxed)) {
        match ids {
            [id] => {
                let answer = allocate::allocate(&pool, id, clock::now(), None).await?;
                ensure!(answer.success && answer.reason.is_none(), "a client was refused falsely: {:?}", answer.reason);
                numbers.push(answer.phone_e164.context("an allocation returns its number")?);
            }
            ids => numbers.extend(allocate_together(&pool, ids).await?),
        }
    }
    Ok(numbers)
}

/// Allocates as a worker does for the clients of a batch that have passed the payment gate.
async fn allocate_together(pool: &PgPool, ids: &[String]) -> anyhow::Result<Vec<String>> {
    let now = clock::now();
    let lanes: Vec<String> = ids.iter().map(|id| format!("client:{id}")).collect();
    let mut tx = pool.begin().await?;
    let locked = clients::lock_by_lanes(&mut tx, &lanes).await?;
    let loaded = clients::load(&mut tx, &locked).await?.into_iter().collect::<Result<Vec<_>, _>>()?;
    let request = |loaded: clients::Loaded| NumberRequest {
        client_id: loaded.client.id,
        region: loaded.region,
        number: loaded.client.number,
        since: now,
    };
    let requests: Vec<NumberRequest> = loaded.into_iter().map(request).collect();
    ensure!(requests.len() == ids.len(), "a client is missing, or another transaction has locked it");
    let answers = db::numbers::allocate(&mut tx, &requests, now).await?;
    tx.commit().await?;
    let number = |answer: Allocation| match answer {
        Allocation::Assigned(number) => Ok(number.as_str().to_owned()),
        refused => bail!("a client was refused falsely: {refused:?}"),
    };
    answers.into_iter().map(number).collect()
}
