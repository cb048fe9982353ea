//! Acknowledged webhooks a second, and how long each waits for its response.

use std::net::SocketAddr;

use jobrun::CONNECTIONS;
use jobrun::demo::TestSystem;
use jobrun_shared::db;
use secrecy::ExposeSecret;
use sqlx::PgPool;

use crate::bench::Bench;
use crate::figures::{RUNS, median, percentile_ms};
use crate::report::{Cell, Table};
use crate::sender::{self, Sent};
use crate::servers::{self, Kind};

/// The counts of connections that send webhooks.
const AT_CONNECTIONS: [usize; 4] = [1, 32, 128, 512];

/// How long a run should take, and how many webhooks it sends at most.
const SECONDS: f64 = 2.0;
const WEBHOOKS_MAX: usize = 60_000;

/// How many webhooks the warm-up sends, in all and for each connection. Its rate sets the size of a run.
const WARM_UP: usize = 400;
const WARM_UP_EACH: usize = 4;

/// A server, and the database that it fills, if it has one.
struct Contender {
    name: &'static str,
    addr: SocketAddr,
    rows: Option<PgPool>,
}

pub(crate) async fn section(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    let system = bench.test_system(0, &[]).await?;
    let url = bench.database().await;
    jobrun_tests::migrate(&url).await;
    let mut environment = system.environment.clone();
    environment.insert("DATABASE_URL".to_owned(), url.expose_secret().to_owned());
    let committing = servers::start(Kind::Committing, &environment).await?;
    let forgetful = servers::start(Kind::Forgetful, &environment).await?;
    let rows = db::connect(&url, CONNECTIONS).await?;
    let contenders = [
        Contender { name: "one commit per webhook", addr: committing.addr, rows: Some(rows.clone()) },
        Contender { name: "jobrun-ingress", addr: sender::ingress_addr(&system)?, rows: Some(system.pool.clone()) },
        Contender { name: "no database", addr: forgetful.addr, rows: None },
    ];

    let columns = ["server", "connections", "per second", "p50 ms", "p99 ms", "p99.9 ms", "× one commit", "% of no db"];
    let mut table = Table::new("Acknowledged webhooks", columns);
    for connections in AT_CONNECTIONS {
        compare(bench, &system, &contenders, connections, &mut table).await?;
    }
    drop((committing, forgetful));
    rows.close().await;
    bench.drop_database(&url).await?;
    bench.drop_system(system).await?;
    Ok(vec![table])
}

async fn compare(
    bench: &Bench,
    system: &TestSystem,
    contenders: &[Contender; 3],
    connections: usize,
    table: &mut Table,
) -> anyhow::Result<()> {
    let mut counts = Vec::new();
    for contender in contenders {
        let warm_up = run(bench, system, contender, connections, WARM_UP + WARM_UP_EACH * connections).await?;
        counts.push(webhooks_of_a_run(warm_up.per_second, connections));
    }
    let mut runs: [Vec<Sent>; 3] = Default::default();
    for number in 1..=RUNS {
        for ((contender, count), runs) in contenders.iter().zip(&counts).zip(&mut runs) {
            let sent = run(bench, system, contender, connections, *count).await?;
            let (name, rate) = (contender.name, sent.per_second);
            eprintln!("webhooks: {connections} connections, run {number}, {name}: {rate:.0} a second");
            runs.push(sent);
        }
    }
    let rates = runs.each_ref().map(|runs| median(runs, |sent| sent.per_second));
    for ((contender, runs), rate) in contenders.iter().zip(&runs).zip(rates) {
        let percentile = |share| Cell::Figure(median(runs, |sent| percentile_ms(&sent.times, share)), 2);
        table.row([
            Cell::words(contender.name),
            Cell::count(connections),
            Cell::Figure(rate, 0),
            percentile(0.5),
            percentile(0.99),
            percentile(0.999),
            Cell::Figure(rate / rates[0], 2),
            Cell::Figure(100.0 * rate / rates[2], 0),
        ]);
    }
    Ok(())
}

/// Returns how many webhooks keep a server busy for as long as a run should take.
pub(crate) fn webhooks_of_a_run(per_second: f64, connections: usize) -> usize {
    ((per_second * SECONDS) as usize).clamp(WARM_UP_EACH * connections, WEBHOOKS_MAX)
}

async fn run(
    bench: &Bench,
    system: &TestSystem,
    contender: &Contender,
    connections: usize,
    count: usize,
) -> anyhow::Result<Sent> {
    if let Some(pool) = &contender.rows {
        forget_events(pool).await?;
    }
    sender::send(contender.addr, sender::texts_from(system, &bench.strangers(count)), connections).await
}

/// Empties the inbox and runs a checkpoint, so that no run pays for the writes of the one before.
async fn forget_events(pool: &PgPool) -> anyhow::Result<()> {
    sqlx::raw_sql("TRUNCATE events CASCADE").execute(pool).await?;
    sqlx::raw_sql("CHECKPOINT").execute(pool).await?;
    Ok(())
}
