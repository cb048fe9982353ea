//! Where the processor time goes: to PostgreSQL, to HTTP, to our own code, or to the other end (stand-in and generator).
//!
//! The daemons' time for HTTP is measured separately: the time to respond to the same requests without reading them, and the
//! time to post the same forms and do nothing else.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, ensure};
use chrono::TimeDelta;
use futures::{StreamExt, stream};
use jobrun::demo::TestSystem;
use jobrun_shared::config;
use jobrun_stand_in::Reports;
use jobrun_twilio::api::{Api, Post, Posted};

use crate::bench::Bench;
use crate::processes::{cpu_of, cpu_of_tree};
use crate::sender;
use crate::servers::{self, Kind};

/// How many webhooks get a response unread, over how many connections.
const WEBHOOKS: usize = 20_000;
const CONNECTIONS: usize = 64;

/// How many texts are posted, and how many at once: as many as one job of the worker posts at once.
const POSTS: usize = 5_000;
const AT_ONCE: usize = 100;

/// How long posting may take.
const POSTED_WITHIN: Duration = Duration::from_secs(120);

/// The words before the result in the output of the process that posts.
const A_POST_TAKES: &str = "a post takes µs ";

/// About as long as the texts at the beginning of a conversation.
const BODY: &str =
    "Hi! Welcome to JobRun. To get you set up I have a few quick questions. What is the name of your business?";

/// The processor time used so far, by process.
#[derive(Clone, Copy)]
pub(crate) struct Usage {
    postgres: Duration,
    ingress: Duration,
    workers: Duration,
    /// This process, which holds the stand-in and the load generator.
    this: Duration,
}

impl Usage {
    /// Returns the present usage, or `None` where the system does not report it.
    pub(crate) fn now(bench: &Bench, system: &TestSystem) -> Option<Self> {
        Some(Self {
            postgres: cpu_of_tree(bench.postgres.pid().ok()?)?,
            ingress: cpu_of(system.ingress.pid()?)?,
            workers: system.workers.iter().map(|worker| cpu_of(worker.pid()?)).sum::<Option<Duration>>()?,
            this: cpu_of(std::process::id())?,
        })
    }

    /// Returns the time used since `earlier`, divided by the count of texts.
    pub(crate) fn per_text_since(&self, earlier: &Self, texts: usize) -> PerText {
        let each = |now: Duration, then: Duration| micros(now.saturating_sub(then), texts);
        PerText {
            postgres: each(self.postgres, earlier.postgres),
            ingress: each(self.ingress, earlier.ingress),
            workers: each(self.workers, earlier.workers),
            other_end: each(self.this, earlier.this),
        }
    }
}

fn micros(time: Duration, count: usize) -> f64 {
    time.as_secs_f64() * 1e6 / count as f64
}

/// Processor time for each text, in microseconds.
#[derive(Clone, Copy)]
pub(crate) struct PerText {
    pub(crate) postgres: f64,
    pub(crate) ingress: f64,
    pub(crate) workers: f64,
    pub(crate) other_end: f64,
}

impl PerText {
    /// Returns the time of the system itself. In production, the other end is not part of it.
    pub(crate) fn of_the_system(&self) -> f64 {
        self.postgres + self.ingress + self.workers
    }

    pub(crate) fn total(&self) -> f64 {
        self.of_the_system() + self.other_end
    }

    /// Returns how much of the daemons' time goes to HTTP, if each text has that many webhooks.
    pub(crate) fn http(&self, calibration: Calibration, webhooks: usize) -> f64 {
        let http = calibration.per_webhook * webhooks as f64 + calibration.per_post;
        http.min(self.ingress + self.workers)
    }
}

/// The processor time of HTTP alone, in microseconds.
#[derive(Clone, Copy)]
pub(crate) struct Calibration {
    /// To respond to a webhook without reading it.
    pub(crate) per_webhook: f64,
    /// To post a text to the stand-in.
    pub(crate) per_post: f64,
}

impl Calibration {
    /// Returns `None` where the system does not report processor time.
    pub(crate) async fn measure(bench: &Bench) -> anyhow::Result<Option<Self>> {
        let system = bench.test_system(0, &[]).await?;
        system.stand_in.reports(Reports::Missing);
        let per_webhook = answering(bench, &system).await?;
        let per_post = posting(&system).await?;
        bench.drop_system(system).await?;
        Ok(per_webhook.zip(per_post).map(|(per_webhook, per_post)| Self { per_webhook, per_post }))
    }
}

async fn answering(bench: &Bench, system: &TestSystem) -> anyhow::Result<Option<f64>> {
    let server = servers::start(Kind::Plain, &system.environment).await?;
    let requests = sender::texts_from(system, &bench.strangers(WEBHOOKS));
    let pid = server.program.pid().context("the server runs")?;
    let before = cpu_of(pid);
    sender::send(server.addr, requests, CONNECTIONS).await?;
    Ok(before.zip(cpu_of(pid)).map(|(before, after)| micros(after.saturating_sub(before), WEBHOOKS)))
}

async fn posting(system: &TestSystem) -> anyhow::Result<Option<f64>> {
    let mut program = servers::start_again(&["post", &POSTS.to_string()], &system.environment)?;
    program.wait_for_line(A_POST_TAKES, POSTED_WITHIN).await?;
    program.wait().await?;
    Ok(program.lines().iter().find_map(|line| line.strip_prefix(A_POST_TAKES)?.parse().ok()))
}

/// Runs in the process that posts: posts texts to the stand-in as the worker does, and prints the processor time of each.
pub(crate) async fn post(count: usize) -> anyhow::Result<()> {
    let settings = config::Numbers::from_env()?;
    let api = Api::new(&settings.twilio.account)?;
    let from = settings.twilio.onboarding_number.as_str();
    let phones: Vec<String> = (1..=count).map(jobrun_tests::phone).collect();
    let before = cpu_of(std::process::id());
    let mut posted = stream::iter(phones.iter().zip(1..))
        .map(|(to, message_id)| {
            let post = Post { message_id, from, to, body: BODY, valid_for: TimeDelta::hours(4) };
            api.create_message(post)
        })
        .buffer_unordered(AT_ONCE);
    while let Some(posted) = posted.next().await {
        ensure!(matches!(posted, Posted::Accepted { .. }), "the stand-in did not take a text: {posted:?}");
    }
    let took = before.zip(cpu_of(std::process::id())).map(|(before, after)| micros(after - before, count));
    writeln!(std::io::stdout(), "{A_POST_TAKES}{}", took.map_or("unknown".to_owned(), |took| took.to_string()))?;
    Ok(())
}
