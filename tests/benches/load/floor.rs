//! What PostgreSQL alone takes for a text: the same rows, indexes and commits as the programs write, by the fewest statements,
//! with no program in front. Beside it, the programs on the same inbox.
//!
//! Every run exchanges the same count of texts on a copy of the same inbox, made by a checkpoint, so that all runs write about as
//! many images of pages.

use std::time::Duration;

use anyhow::{Context, ensure};
use jobrun::CONNECTIONS;
use jobrun_shared::db;
use secrecy::SecretString;

use crate::bench::Bench;
use crate::extent::Extent;
use crate::figures::{median, median_if_known, median_ratio};
use crate::filled::Filled;
use crate::pgbench::Pgbench;
use crate::processes::cpu_of_tree;
use crate::report::{Cell, Table};
use crate::sender;
use crate::texts::{self, Plan};
use crate::wal::{self, Wal};

/// How many texts a run exchanges for each second of `--seconds`: a multiple of what pgbench's clients do at a time.
const TEXTS_A_SECOND: usize = 1_200;

/// How much the server may write without a checkpoint: more than a run writes. A checkpoint would remove the log that is read at
/// the end of the run, and would cost further images.
const MAX_WAL_SIZE: (&str, &str) = ("max_wal_size", "16GB");

/// How many texts share the commits of the floor.
const BATCHES: [usize; 3] = [1, 10, 100];

/// The programs, which batch up to 200 texts, are compared with the floor of this batch.
const BATCH_OF_REFERENCE: usize = 100;

const SETUP: &str = include_str!("../floor/setup.sql");
const FILL: &str = include_str!("../floor/fill.sql");
const INPUT: &str = include_str!("../floor/input.sql");
const TEXT: &str = include_str!("../floor/text.sql");
const REPORTS: &str = include_str!("../floor/reports.sql");

/// What exchanges the texts.
#[derive(Clone, Copy)]
enum Contender {
    Floor { batch: usize },
    Programs,
}

#[derive(Clone, Copy)]
struct Arm {
    contender: Contender,
    reports: bool,
}

impl Arm {
    fn all() -> Vec<Self> {
        let floors = BATCHES.map(|batch| Contender::Floor { batch });
        let contenders = || floors.into_iter().chain([Contender::Programs]);
        [false, true]
            .into_iter()
            .flat_map(|reports| contenders().map(move |contender| Self { contender, reports }))
            .collect()
    }

    const fn name(self) -> &'static str {
        match (self.contender, self.reports) {
            (Contender::Floor { .. }, false) => "floor",
            (Contender::Floor { .. }, true) => "floor, with reports",
            (Contender::Programs, false) => "programs, one worker",
            (Contender::Programs, true) => "programs, with reports",
        }
    }

    const fn batch(self) -> Option<usize> {
        match self.contender {
            Contender::Floor { batch } => Some(batch),
            Contender::Programs => None,
        }
    }

    fn is_reference_of(self, other: Self) -> bool {
        self.batch() == Some(BATCH_OF_REFERENCE) && self.reports == other.reports
    }
}

/// The figures of a run, for each text. Processor time is in microseconds; `None` where the system does not report it.
struct Run {
    postgres: Option<f64>,
    programs: Option<f64>,
    wal: Wal,
}

/// What every run needs.
struct Floor<'a> {
    bench: &'a Bench,
    filled: Filled,
    pgbench: Pgbench,
    texts: usize,
}

pub(crate) async fn section(bench: &Bench, extent: &Extent) -> anyhow::Result<Vec<Table>> {
    let filled = Filled::set_up(bench, extent.a_million_rows()).await?;
    let texts = TEXTS_A_SECOND * extent.seconds();
    let floor = Floor { bench, filled, pgbench: Pgbench::find(bench).await?, texts };
    floor.add_input().await?;
    let (setting, value) = MAX_WAL_SIZE;
    bench.configure(setting, Some(value)).await?;
    let arms = Arm::all();
    let mut runs: Vec<Vec<Run>> = arms.iter().map(|_| Vec::new()).collect();
    let mut inputs = Vec::new();
    for number in 1..=extent.runs {
        let input = floor.read_input().await?;
        for (arm, runs) in arms.iter().zip(&mut runs) {
            let run = floor.measure(*arm, input).await?;
            let (name, batch, postgres) =
                (arm.name(), arm.batch().unwrap_or_default(), run.postgres.unwrap_or(f64::NAN));
            eprintln!(
                "floor: run {number}, {name}, batch {batch}: PostgreSQL {postgres:.0} µs, {:.0} bytes",
                run.wal.bytes
            );
            runs.push(run);
        }
        inputs.push(input);
    }
    bench.configure(setting, None).await?;
    bench.drop_database(&floor.filled.url).await?;
    let measured: Vec<(Arm, Vec<Run>)> = arms.into_iter().zip(runs).collect();
    Ok(vec![costs(&measured, median_if_known(&inputs, |input| *input)), log(&measured)])
}

fn reference_of(arm: Arm, measured: &[(Arm, Vec<Run>)]) -> Option<&Vec<Run>> {
    measured.iter().find(|(other, _)| other.is_reference_of(arm)).map(|(_, runs)| runs)
}

fn costs(measured: &[(Arm, Vec<Run>)], input: Option<f64>) -> Table {
    let columns = ["µs of the processor a text", "batch", "PostgreSQL", "programs", "PostgreSQL × floor of 100"];
    let mut table = Table::new("The floor of a text: processor time", columns);
    for (arm, runs) in measured {
        let time = |run: &Run| run.postgres.unwrap_or(f64::NAN);
        let ratio = reference_of(*arm, measured).map(|references| median_ratio(runs, references, time));
        table.row([
            Cell::words(arm.name()),
            arm.batch().map_or(Cell::Nothing, Cell::count),
            Cell::or_nothing(median_if_known(runs, |run| run.postgres), 0),
            Cell::or_nothing(median_if_known(runs, |run| run.programs), 0),
            Cell::or_nothing(ratio.filter(|ratio| ratio.is_finite()), 2),
        ]);
    }
    let name = Cell::words("reading the input, which is subtracted");
    table.row([name, Cell::count(BATCH_OF_REFERENCE), Cell::or_nothing(input, 1), Cell::Nothing, Cell::Nothing]);
    table
}

fn log(measured: &[(Arm, Vec<Run>)]) -> Table {
    let columns = [
        "write-ahead log of a text",
        "batch",
        "bytes",
        "of these images of pages",
        "records",
        "commits",
        "bytes without images × floor of 100",
    ];
    let mut table = Table::new("The floor of a text: what is written", columns);
    for (arm, runs) in measured {
        let without_images = |run: &Run| run.wal.bytes - run.wal.image_bytes;
        let ratio = reference_of(*arm, measured).map(|references| median_ratio(runs, references, without_images));
        table.row([
            Cell::words(arm.name()),
            arm.batch().map_or(Cell::Nothing, Cell::count),
            Cell::Figure(median(runs, |run| run.wal.bytes), 0),
            Cell::Figure(median(runs, |run| run.wal.image_bytes), 0),
            Cell::Figure(median(runs, |run| run.wal.records), 1),
            Cell::Figure(median(runs, |run| run.wal.commits), 3),
            Cell::or_nothing(ratio, 2),
        ]);
    }
    table
}

impl Floor<'_> {
    /// Adds the input to the inbox, and so to every copy of it.
    async fn add_input(&self) -> anyhow::Result<()> {
        let pool = db::connect(&self.filled.url, CONNECTIONS).await?;
        sqlx::raw_sql(SETUP).execute(&pool).await?;
        let phones = self.filled.senders(self.bench, self.texts);
        let filled = sqlx::query(FILL).bind(phones).bind(sender::BODY).execute(&pool).await?;
        ensure!(filled.rows_affected() == self.texts as u64, "each text is a row of the input");
        sqlx::raw_sql("VACUUM ANALYZE floor.input").execute(&pool).await?;
        pool.close().await;
        Ok(())
    }

    fn postgres_time(&self) -> anyhow::Result<Option<Duration>> {
        Ok(cpu_of_tree(self.bench.postgres.pid()?))
    }

    /// Returns the processor time since `before`, in microseconds a text.
    fn postgres_since(&self, before: Option<Duration>) -> anyhow::Result<Option<f64>> {
        let micros = |time: Duration| time.as_secs_f64() * 1e6 / self.texts as f64;
        Ok(before.zip(self.postgres_time()?).map(|(before, now)| micros(now.saturating_sub(before))))
    }

    /// Measures how long reading the input takes. It is read from the inbox itself, because that writes nothing.
    async fn read_input(&self) -> anyhow::Result<Option<f64>> {
        let before = self.postgres_time()?;
        self.pgbench.run(&self.filled.url, INPUT, self.texts, BATCH_OF_REFERENCE).await?;
        self.postgres_since(before)
    }

    async fn measure(&self, arm: Arm, input: Option<f64>) -> anyhow::Result<Run> {
        let url = self.filled.copy(self.bench).await?;
        match arm.contender {
            Contender::Floor { batch } => self.measure_floor(&url, batch, arm.reports, input).await,
            Contender::Programs => self.measure_programs(&url, arm.reports).await,
        }
    }

    async fn measure_floor(
        &self,
        url: &SecretString,
        batch: usize,
        reports: bool,
        input: Option<f64>,
    ) -> anyhow::Result<Run> {
        let pool = db::connect(url, CONNECTIONS).await?;
        let script = if reports { format!("{TEXT}{REPORTS}") } else { TEXT.to_owned() };
        let (start, before) = (wal::position(&pool).await?, self.postgres_time()?);
        self.pgbench.run(url, &script, self.texts, batch).await?;
        let used = self.postgres_since(before)?;
        let wal = Wal::since(&pool, &start).await?.divided_by(self.texts);
        let (pending, sent): (i64, i64) = sqlx::query_as(
            "SELECT (SELECT count(*) FROM events WHERE processed_at IS NULL),
                    (SELECT count(*) FROM messages WHERE check_at IS NOT NULL)",
        )
        .fetch_one(&pool)
        .await?;
        let left = if reports { 0 } else { self.texts as i64 };
        ensure!((pending, sent) == (0, left), "the floor left {pending} events and {sent} texts without their reports");
        pool.close().await;
        self.bench.drop_database(url).await?;
        let postgres = used.zip(input).map(|(used, input)| used - input);
        Ok(Run { postgres, programs: Some(0.0), wal })
    }

    async fn measure_programs(&self, url: &SecretString, reports: bool) -> anyhow::Result<Run> {
        let system = self.bench.test_system_on(url, 1, &[]).await?;
        let plan = Plan::ours(1, Duration::ZERO).with(self.texts, reports);
        let phones = self.filled.senders(self.bench, self.texts);
        let start = wal::position(&system.pool).await?;
        let figures = texts::measure_on(self.bench, &system, &plan, &phones).await?;
        // Without reports, the run ends when the stand-in has the last text. Its outcome is still to be recorded.
        system.settle().await.context("recording the outcome of the last texts")?;
        let wal = Wal::since(&system.pool, &start).await?.divided_by(self.texts);
        self.bench.drop_system(system).await?;
        let per_text = figures.per_text.as_ref();
        let programs = per_text.map(|it| it.ingress + it.workers);
        Ok(Run { postgres: per_text.map(|it| it.postgres), programs, wal })
    }
}
