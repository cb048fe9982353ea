//! What readers of the console cost the ingress and the worker: the same figures with open pages and without.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use jobrun::CONNECTIONS;
use jobrun::commands::console::{Change, apply};
use jobrun::programs::{Environment, Lines, Program, free_port};
use jobrun_shared::db::audit_log::{Actor, Via};
use jobrun_shared::db::console::Role;
use jobrun_shared::{clock, db};
use reqwest::header::{COOKIE, SET_COOKIE};
use reqwest::{Client, StatusCode, redirect};
use secrecy::{ExposeSecret, SecretString};
use tokio::task::JoinSet;

use crate::bench::Bench;
use crate::figures::{RUNS, median, median_if_known};
use crate::report::{Cell, Table};
use crate::rows::Filling;
use crate::texts::{self, Figures, Plan};
use crate::{growth, rows};

/// The pages that are open. Each has a stream, and is loaded again whenever the stream says so: every two seconds under load.
const PAGES: [&str; 10] = [
    "/",
    "/",
    "/clients",
    "/clients?q=business",
    "/clients?state=COMPLETE&flag=waiting",
    "/texts",
    "/texts?status=failed",
    "/events",
    "/events?kind=text",
    "/alerts",
];

const PASSWORD: &str = "correct horse battery";

/// How long the console may take to start.
const PATIENCE: Duration = Duration::from_secs(30);

/// The figures of one run.
struct Run {
    webhooks_per_second: f64,
    texts: Figures,
    pages_per_second: f64,
}

pub(crate) async fn section(bench: &Bench, events: i64) -> anyhow::Result<Vec<Table>> {
    let url = bench.database().await;
    jobrun_tests::migrate(&url).await;
    rows::fill(&url, Filling::of(events)).await?;
    add_reader(&url).await?;
    let mut runs: [Vec<Run>; 2] = Default::default();
    for number in 0..RUNS {
        // Each goes first in turn: the second finds a warmer machine.
        for with_readers in [number % 2 == 1, number % 2 == 0] {
            let run = measure(bench, &url, with_readers, number).await?;
            let (webhooks, texts, pages) = (run.webhooks_per_second, run.texts.per_second, run.pages_per_second);
            let who = if with_readers { "with readers" } else { "without" };
            eprintln!(
                "console: run {}, {who}: {webhooks:.0} webhooks, {texts:.0} texts, {pages:.1} pages a second",
                number + 1
            );
            runs[usize::from(with_readers)].push(run);
        }
    }
    bench.drop_database(&url).await?;
    Ok(vec![compare(&runs)])
}

fn compare([without, with]: &[Vec<Run>; 2]) -> Table {
    let mut table = Table::new("What readers of the console cost", ["", "without", "10 open pages", "with : without"]);
    let mut row = |name: &'static str, figure: fn(&Run) -> Option<f64>| {
        let (without, with) = (median_if_known(without, figure), median_if_known(with, figure));
        let ratio = without.zip(with).map(|(without, with)| with / without);
        table.row([
            Cell::words(name),
            Cell::or_nothing(without, 0),
            Cell::or_nothing(with, 0),
            Cell::or_nothing(ratio, 3),
        ]);
    };
    row("webhooks a second", |run| Some(run.webhooks_per_second));
    row("texts a second, one worker", |run| Some(run.texts.per_second));
    row("ingress, µs per text", |run| run.texts.per_text.as_ref().map(|it| it.ingress));
    row("worker, µs per text", |run| run.texts.per_text.as_ref().map(|it| it.workers));
    row("PostgreSQL, µs per text", |run| run.texts.per_text.as_ref().map(|it| it.postgres));
    let pages = median(with, |run| run.pages_per_second);
    table.row([Cell::words("pages a second"), Cell::Nothing, Cell::Figure(pages, 1), Cell::Nothing]);
    table
}

async fn measure(bench: &Bench, url: &SecretString, with_readers: bool, number: usize) -> anyhow::Result<Run> {
    let readers = if with_readers { Some(Readers::start(bench, url).await?) } else { None };
    let webhooks_per_second = growth::webhooks(bench, url).await?;
    let system = bench.test_system_on(url, 1, &[]).await?;
    let plan = Plan::ours(1, Duration::ZERO);
    let phones = growth::with_existing_clients(bench.strangers(plan.texts), number)?;
    let texts = texts::measure_on(bench, &system, &plan, &phones).await?;
    system.settle().await?;
    system.shut_down().await?;
    let pages_per_second = match readers {
        Some(readers) => readers.stop().await?,
        None => 0.0,
    };
    Ok(Run { webhooks_per_second, texts, pages_per_second })
}

async fn add_reader(url: &SecretString) -> anyhow::Result<()> {
    let pool = db::connect(url, CONNECTIONS).await?;
    let actor = Actor { who: "the benchmark".to_owned(), via: Via::Command, why: None };
    apply(&pool, &actor, "reader", &Change::Add(Role::Operator), Some(PASSWORD), clock::now()).await?;
    pool.close().await;
    Ok(())
}

/// A console, and readers with their pages open.
struct Readers {
    program: Program,
    pages: JoinSet<anyhow::Result<()>>,
    loads: Arc<AtomicUsize>,
    began: Instant,
}

impl Readers {
    async fn start(bench: &Bench, url: &SecretString) -> anyhow::Result<Self> {
        let addr = format!("127.0.0.1:{}", free_port()?);
        let environment = Environment::from([
            ("DATABASE_URL".to_owned(), url.expose_secret().to_owned()),
            ("CONSOLE_ADDR".to_owned(), addr.clone()),
            ("RUST_LOG".to_owned(), "info".to_owned()),
        ]);
        let mut program = Program::start(&bench.programs, "jobrun-console", &environment, Lines::Kept)?;
        program.wait_for_line("console listens", PATIENCE).await?;
        let http = Client::builder().redirect(redirect::Policy::none()).build()?;
        let cookie = log_in(&http, &addr).await?;
        let loads = Arc::new(AtomicUsize::new(0));
        let mut pages = JoinSet::new();
        for page in PAGES {
            pages.spawn(read(http.clone(), format!("http://{addr}"), page, cookie.clone(), Arc::clone(&loads)));
        }
        Ok(Self { program, pages, loads, began: Instant::now() })
    }

    /// Closes the pages. Returns how many were loaded a second.
    async fn stop(mut self) -> anyhow::Result<f64> {
        if let Some(ended) = self.pages.try_join_next() {
            ended??;
        }
        self.pages.shutdown().await;
        let rate = self.loads.load(Ordering::Relaxed) as f64 / self.began.elapsed().as_secs_f64();
        self.program.stop().await?;
        Ok(rate)
    }
}

async fn log_in(http: &Client, addr: &str) -> anyhow::Result<String> {
    let form = [("name", "reader"), ("password", PASSWORD)];
    let login = http.post(format!("http://{addr}/login")).header("sec-fetch-site", "same-origin").form(&form);
    let answer = login.send().await?;
    let cookie = answer.headers().get(SET_COOKIE).context("the reader is logged in")?.to_str()?;
    Ok(cookie.split(';').next().unwrap_or_default().to_owned())
}

/// Loads a page whenever its stream says that rows have changed, as a browser does.
async fn read(
    http: Client,
    console: String,
    page: &'static str,
    cookie: String,
    loads: Arc<AtomicUsize>,
) -> anyhow::Result<()> {
    let mut stream = http.get(format!("{console}/live")).header(COOKIE, &cookie).send().await?;
    while let Some(part) = stream.chunk().await? {
        if part.windows(7).any(|it| it == b"changed") {
            let answer = http.get(format!("{console}{page}")).header(COOKIE, &cookie).send().await?;
            ensure!(answer.status() == StatusCode::OK, "{page}: {}", answer.status());
            answer.bytes().await?;
            loads.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}
