//! How much one machine takes, with everything on it: acknowledged webhooks a second, beside the same server without a
//! database, and texts in to texts out.
//!
//! Durability is on in every figure: each acknowledged webhook has reached the disk. Figures of one run can be compared with
//! each other, and with nothing else.

#![expect(clippy::print_stdout, reason = "the tables are what a benchmark is run for")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::ensure;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use axum::routing::post;
use futures::{StreamExt, stream};
use jobrun::demo::Stage;
use jobrun::local_postgres::{Data, LocalPostgres};
use jobrun::up::stand_in_account;
use jobrun_ingress::verify::signed_form;
use jobrun_ingress::webhooks::{self, NO_ANSWER, Rejection};
use jobrun_onboarding::E164;
use jobrun_shared::config;
use jobrun_shared::twilio::signature::{self, Algorithm, Key};
use jobrun_stand_in::Account;
use jobrun_tests::{path, phone, programs};

/// How often each figure is taken; the median is printed.
const RUNS: usize = 3;

/// How many webhooks each run sends.
const WEBHOOKS: usize = 6_000;

/// How many texts go all the way in each run.
const TEXTS: usize = 2_000;

/// At how many connections webhooks are sent.
const CONNECTIONS: [usize; 3] = [1, 32, 128];

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let programs = programs();
    let postgres = LocalPostgres::start_temporary(Data::Measured, &path()).await?;
    println!("{WEBHOOKS} webhooks and {TEXTS} texts a run, medians of {RUNS} runs, fsync and synchronous_commit on\n");

    let memory = forgetful_server().await?;
    let stage = Stage::set(&programs, postgres.url(), 0, &[]).await?;
    println!(
        "{:<34} {:>11} {:>12} {:>9} {:>9}",
        "acknowledged webhooks", "connections", "per second", "p50 ms", "p99 ms"
    );
    for connections in CONNECTIONS {
        let without = median_of(async |run| send(&memory, connections, run).await).await?;
        let with = median_of(async |run| send(&stage.account, connections, run).await).await?;
        without.print("without a database", connections);
        with.print("on PostgreSQL", connections);
        println!("{:<34} {:>11} {:>11.0}%", "  share", "", 100.0 * with.per_second / without.per_second);
    }
    stage.strike().await?;

    println!("\n{:<34} {:>11} {:>12}", "texts in to texts out", "workers", "per second");
    for workers in [1, 2] {
        let mut rates = Vec::new();
        for run in 0..RUNS {
            rates.push(texts_in_to_texts_out(&programs, &postgres, workers, run).await?);
        }
        println!("{:<34} {workers:>11} {:>12.0}", "from webhook to Twilio's stand-in", median(&mut rates));
    }
    Ok(())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What was measured of one way to answer webhooks.
struct Figures {
    per_second: f64,
    p50: Duration,
    p99: Duration,
}

impl Figures {
    fn print(&self, name: &str, connections: usize) {
        let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
        let (rate, p50, p99) = (self.per_second, ms(self.p50), ms(self.p99));
        println!("{name:<34} {connections:>11} {rate:>12.0} {p50:>9.2} {p99:>9.2}");
    }
}

/// The run with the median rate.
async fn median_of(mut measure: impl AsyncFnMut(usize) -> anyhow::Result<Figures>) -> anyhow::Result<Figures> {
    let mut runs = Vec::new();
    for run in 0..RUNS {
        runs.push(measure(run).await?);
    }
    runs.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
    Ok(runs.swap_remove(RUNS / 2))
}

/// Posts texts of different people, signed beforehand, over so many connections.
async fn send(account: &Account, connections: usize, run: usize) -> anyhow::Result<Figures> {
    let http =
        reqwest::Client::builder().pool_max_idle_per_host(connections).timeout(Duration::from_secs(30)).build()?;
    let url = format!("{}/webhooks/twilio/sms", account.webhook_base_url);
    let requests: Vec<reqwest::Request> = (0..WEBHOOKS)
        .map(|n| {
            let sid = format!("SM{connections:04}{run:04}{n:024}");
            let form = [
                ("MessageSid", sid),
                ("From", phone(n + 1)),
                ("To", account.onboarding_number.clone()),
                ("Body", "Plumber from London".to_owned()),
                ("AccountSid", account.sid.clone()),
            ];
            let form: signature::Form = form.map(|(name, value)| (name.to_owned(), value)).into();
            let signed = signature::sign(&account.auth_token, &url, &form);
            Ok(http.post(&url).header(signature::HEADER, signed).form(&form).build()?)
        })
        .collect::<anyhow::Result<_>>()?;

    let started = Instant::now();
    let mut times: Vec<Duration> = stream::iter(requests)
        .map(|request| async {
            let started = Instant::now();
            let response = http.execute(request).await?;
            ensure!(response.status().is_success(), "a webhook was answered {}", response.status());
            response.bytes().await?;
            Ok(started.elapsed())
        })
        .buffer_unordered(connections)
        .collect::<Vec<anyhow::Result<Duration>>>()
        .await
        .into_iter()
        .collect::<anyhow::Result<_>>()?;
    let per_second = WEBHOOKS as f64 / started.elapsed().as_secs_f64();
    times.sort_unstable();
    Ok(Figures { per_second, p50: times[WEBHOOKS / 2], p99: times[WEBHOOKS * 99 / 100] })
}

/// The same server, which verifies and answers as the ingress does, and records nothing.
async fn forgetful_server() -> anyhow::Result<Account> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let addr: SocketAddr = listener.local_addr()?;
    let account = stand_in_account(&format!("http://{addr}"), "+447476955179");
    let twilio = config::Twilio {
        account_sid: account.sid.clone(),
        auth_tokens: vec![account.auth_token.clone()],
        api_base_url: String::new(),
        onboarding_number: E164::parse(&account.onboarding_number)?,
        public_base_url: account.webhook_base_url.clone(),
        webhook_keys: vec![Key { algorithm: Algorithm::HmacSha1, secret: account.auth_token.clone() }],
        signature_mode: config::SignatureMode::Enforce,
    };
    let router = Router::new().route("/webhooks/twilio/sms", post(acknowledge)).with_state(twilio);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(account)
}

async fn acknowledge(
    State(account): State<config::Twilio>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Rejection> {
    let form = signed_form(&account, &uri, &headers, &body)?;
    webhooks::text_event(&form)?;
    Ok(webhooks::xml(NO_ANSWER))
}

/// From the first webhook to the last text at the stand-in, which answers at once: so many texts a second.
async fn texts_in_to_texts_out(
    programs: &std::path::Path,
    postgres: &LocalPostgres,
    workers: usize,
    run: usize,
) -> anyhow::Result<f64> {
    let url = jobrun_tests::database_on(postgres, &format!("bench_{workers}_{run}")).await;
    let stage = Stage::set(programs, &url, workers, &[]).await?;
    let started = Instant::now();
    let posts = (1..=TEXTS).map(|n| {
        let stand_in = &stage.stand_in;
        async move { Ok::<u16, anyhow::Error>(stand_in.text(&phone(n), "Plumber from London").await?.status) }
    });
    let mut posts = stream::iter(posts).buffer_unordered(32);
    while let Some(status) = posts.next().await {
        ensure!(status? == 200, "a webhook was not acknowledged");
    }
    drop(posts);
    while stage.stand_in.messages().len() < TEXTS {
        ensure!(started.elapsed() < Duration::from_secs(120), "texts are missing after two minutes");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let rate = TEXTS as f64 / started.elapsed().as_secs_f64();
    stage.settle().await?;
    stage.strike().await?;
    Ok(rate)
}
