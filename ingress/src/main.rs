//! `jobrun-ingress`: start-up and shut-down of the door.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use jobrun_ingress::{recorder::Recorder, server, webhooks};
use jobrun_shared::config::SignatureMode;
use jobrun_shared::db::alerts::{self, NewAlert};
use jobrun_shared::db::{audits, installation};
use jobrun_shared::{clock, config, db, exit, shutdown, telemetry};
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// What webhooks share. They wait for a connection less long than [`webhooks::ANSWER_WITHIN`], so that this wait is what is
/// reported.
const CONNECTIONS: db::Connections = db::Connections {
    application: "jobrun-ingress",
    kept: 16,
    max: 16,
    acquire_timeout: Duration::from_millis(800),
    lock_timeout: Duration::from_millis(250),
    statement_timeout: Duration::from_secs(5),
};

/// How long requests that are under way may take to end when the process is to end: longer than any may take.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Receives the webhooks of Twilio and Stripe: verifies each, records it, and acknowledges it once it is committed.
///
/// Runs until SIGTERM or Ctrl-C, and then finishes what it has in hand. Any number may run at a time.
#[derive(Parser)]
#[command(version)]
#[command(after_help = "Settings come from the environment; the README lists them. These are needed:\n\n\
    DATABASE_URL          postgres://user:password@host/database, migrated by `jobrun migrate`\n\
    TWILIO_ACCOUNT_SID    the account at Twilio\n\
    TWILIO_AUTH_TOKEN     its auth token, by which webhooks are verified\n\
    PUBLIC_BASE_URL       what Twilio was given as this program's address\n\
    INGRESS_ADDR          where to listen [default: 0.0.0.0:8080]\n\n\
    Exit status: 0 after it was told to stop, 1 when it cannot go on, 2 when settings or arguments are wrong.")]
struct Arguments {}

#[tokio::main]
async fn main() -> ExitCode {
    Arguments::parse();
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("jobrun-ingress: {error:#}");
            ExitCode::from(exit::status_of(error.chain()))
        }
    }
}

async fn run() -> anyhow::Result<()> {
    let settings = config::Ingress::from_env()?;
    telemetry::start(&settings.log, telemetry::Output::Stdout);
    let (pool, health) = db::connect_watched(&settings.database_url, CONNECTIONS).await?;
    db::ensure_migrated(&pool).await?;
    let account_kind = settings.twilio.account_kind();
    installation::mark(&pool, account_kind, clock::now()).await?.ensure_is_of(account_kind)?;
    // Texts may have come in while nobody was here, and come before whatever their senders text next.
    audits::hurry(&pool, clock::now()).await?;
    alert_of_report_mode(&pool, settings.twilio.signature_mode).await?;

    if settings.twilio.signature_mode == config::SignatureMode::Report {
        tracing::warn!(
            "TWILIO_SIGNATURE_MODE is report: webhooks are let in whoever signed them, and anyone can pretend to be Twilio"
        );
    }
    let listener = TcpListener::bind(settings.addr).await.with_context(|| format!("listening on {}", settings.addr))?;
    tokio::spawn(db::watch(pool.clone(), health.clone()));
    let (recorder, recording) = Recorder::start(pool.clone(), health);
    let door = webhooks::Door { pool, recorder, twilio: settings.twilio, stripe: settings.stripe };
    let router = webhooks::router(door);
    let asked_to_stop = shutdown::requested(settings.stop_with_stdin)?;
    tracing::info!("ingress listens on {}", listener.local_addr()?);
    let stop = Arc::new(Notify::new());
    let told = Arc::clone(&stop);
    let serve = server::serve(listener, router, async move { told.notified().await });
    let stopping = async move {
        asked_to_stop.await;
        stop.notify_one();
        tokio::time::sleep(DRAIN_TIMEOUT).await;
    };
    tokio::select! {
        () = serve => {}
        () = stopping => tracing::warn!("ingress leaves connections that did not finish in time"),
        ended = recording => bail!("recording has failed, and a new process is needed: {ended:?}"),
    }
    tracing::info!("ingress has answered what had arrived");
    Ok(())
}

/// Whoever forgets to switch report mode off leaves the door open.
async fn alert_of_report_mode(pool: &PgPool, mode: SignatureMode) -> Result<(), db::Error> {
    const CAUSE: &str = "signatures-not-enforced";
    let mut tx = pool.begin().await?;
    let (raised, cleared) = match mode {
        SignatureMode::Enforce => (Vec::new(), alerts::clear(&mut tx, &[CAUSE.to_owned()], clock::now()).await?),
        SignatureMode::Report => {
            let about = "Webhooks are taken whoever signed them: set TWILIO_SIGNATURE_MODE to enforce as soon as no more \
                         mismatches come in.";
            let alert = NewAlert { cause: CAUSE.to_owned(), about: about.to_owned() };
            (alerts::raise(&mut tx, &[alert], clock::now()).await?, Vec::new())
        }
    };
    tx.commit().await?;
    telemetry::raised(&raised);
    telemetry::cleared(&cleared);
    Ok(())
}
