//! `jobrun demo`.

use std::process::ExitCode;

use anstream::{AutoStream, ColorChoice};
use jobrun_shared::{clock, config, db, exit, shutdown};
use sqlx::AssertSqlSafe;

use crate::demo::{self, Report, TestSystem};
use crate::local_postgres::{Data, LocalPostgres};
use crate::{CONNECTIONS, programs};

/// Plays the scenarios on a throw-away database: a new one on the server at DATABASE_URL, or one on a server of our own.
pub async fn run(settings: &config::Operator, workers: usize) -> anyhow::Result<ExitCode> {
    let told_to_stop = shutdown::requested(false)?;
    eprintln!("jobrun: starting the test system: database, stand-in for Twilio, ingress and {workers} worker(s)");
    let Some(url) = &settings.database_url else {
        let postgres = LocalPostgres::start_temporary(Data::ThrownAway, &settings.path).await?;
        return play_on(postgres.url(), workers, told_to_stop).await;
    };
    let server = db::connect(url, CONNECTIONS).await?;
    let name = format!("jobrun_demo_{}_{}", std::process::id(), clock::now().timestamp_millis());
    sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&server).await?;
    let played = play_on(&db::sibling_url(url, &name)?, workers, told_to_stop).await;
    sqlx::raw_sql(AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"))).execute(&server).await?;
    played
}

async fn play_on(
    url: &secrecy::SecretString,
    workers: usize,
    told_to_stop: impl Future<Output = ()>,
) -> anyhow::Result<ExitCode> {
    tokio::select! {
        played = play_to_the_end(url, workers) => played,
        () = told_to_stop => Err(exit::Interrupted.into()),
    }
}

async fn play_to_the_end(url: &secrecy::SecretString, workers: usize) -> anyhow::Result<ExitCode> {
    let dir = programs::dir_of_this()?;
    programs::ensure_built(&dir)?;
    let system = TestSystem::start(&dir, url, workers, &[]).await?;
    let mut out = std::io::stdout();
    let colours = AutoStream::choice(&out) != ColorChoice::Never;
    let mut report = Report::new(&mut out, colours);
    let played = demo::play(&system, &mut report).await;
    let holds = report.failures().is_empty();
    system.shut_down().await?;
    played?;
    Ok(ExitCode::from(u8::from(!holds)))
}
