//! `jobrun-ingress`: start-up and shut-down. It never handles a webhook itself.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};
use jobrun_ingress::group_commit::Recorder;
use jobrun_ingress::recordings::Recordings;
use jobrun_ingress::state::AppState;
use jobrun_ingress::{routes, server};
use jobrun_ops::{OpsPort, TraceExporter};
use jobrun_shared::alerts::operation;
use jobrun_shared::config::{self, SignatureMode};
use jobrun_shared::db::{self, alerts, audits, installation};
use jobrun_shared::{clock, exit, metrics, shutdown, telemetry};
use jobrun_twilio::api::Api;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// The database connections. `acquire_timeout` is less than [`RECORD_TIMEOUT`](jobrun_ingress::group_commit::RECORD_TIMEOUT), so
/// that a wait for a connection is reported as such.
const CONNECTIONS: db::Connections = db::Connections {
    application: "jobrun-ingress",
    kept: 16,
    max: 16,
    acquire_timeout: Duration::from_millis(800),
    lock_timeout: Duration::from_millis(250),
    statement_timeout: Duration::from_secs(5),
};

/// The time that requests under way have to end at shut-down: longer than any request may take.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Receives the webhooks of Twilio and Stripe: verifies each, records it, and acknowledges it once it is committed.
///
/// Runs until SIGTERM or Ctrl-C, and then finishes the requests under way. Any number may run at a time.
#[derive(Parser)]
#[command(version)]
#[command(
    after_help = "Settings come from the environment; deploy/guide/settings.md lists them. These are needed:\n\n\
    DATABASE_URL          postgres://user:password@host/database, migrated by `jobrun migrate`\n\
    TWILIO_ACCOUNT_SID    the account at Twilio\n\
    TWILIO_AUTH_TOKEN     its auth token, by which webhooks are verified\n\
    PUBLIC_BASE_URL       what Twilio was given as this program's address\n\
    INGRESS_ADDR          where to listen [default: 0.0.0.0:8080]\n\n\
    Exit status: 0 after it was told to stop, 1 when it cannot go on, 2 when settings or arguments are wrong."
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Asks the ingress at OPS_ADDR on this machine whether it is ready: exit status 0 if it is, else 1
    Healthcheck,
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        None => run().await,
        Some(Command::Healthcheck) => healthcheck().await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("jobrun-ingress: {error:#}");
            ExitCode::from(exit::status_of(error.chain()))
        }
    }
}

async fn healthcheck() -> anyhow::Result<()> {
    jobrun_ops::healthcheck(config::ops_addr()?).await.map_err(anyhow::Error::msg)
}

async fn run() -> anyhow::Result<()> {
    let settings = config::Ingress::from_env()?;
    telemetry::start(&settings.log, telemetry::Output::Stdout);
    let ops_port = OpsPort::open(settings.ops_addr).await?;
    let traces = TraceExporter::start(settings.traces.as_ref(), "jobrun-ingress", env!("CARGO_PKG_VERSION"))
        .map_err(anyhow::Error::msg)?;
    let (pool, health) = db::connect_watched(&settings.database_url, CONNECTIONS).await?;
    db::ensure_migrated(&pool).await?;
    let account_kind = settings.twilio.account_kind();
    installation::mark(&pool, account_kind, clock::now()).await?.ensure_is_of(account_kind)?;
    // Texts may have been missed while no ingress ran. Fetching them now records them before later texts of their senders.
    audits::hurry(&pool, clock::now()).await?;
    update_report_mode_alert(&pool, settings.twilio.signature_mode).await?;

    if settings.twilio.signature_mode == config::SignatureMode::Report {
        tracing::warn!(
            "TWILIO_SIGNATURE_MODE is report: webhooks are let in without a valid signature, and anyone can pretend to be Twilio"
        );
    }
    let listener = TcpListener::bind(settings.addr).await.with_context(|| format!("listening on {}", settings.addr))?;
    tokio::spawn(db::watch(pool.clone(), health.clone()));
    let (recorder, recording) = Recorder::start(pool.clone(), health.clone());
    let recordings = Recordings::new(Api::new(&settings.twilio.account).context("preparing requests to Twilio")?);
    let state = AppState {
        pool,
        recorder,
        twilio: settings.twilio,
        voicemail: settings.voicemail,
        recordings,
        stripe: settings.stripe,
    };
    let (connections, stopping) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    if let Some(ops_port) = ops_port {
        tokio::spawn(serve_ops(ops_port, state.clone(), health, Arc::clone(&connections), Arc::clone(&stopping)));
    }
    let router = routes::router(state);
    let stop_requested = shutdown::requested(settings.stop_with_stdin)?;
    tracing::info!("ingress listens on {}", listener.local_addr()?);
    let drain = Arc::new(Notify::new());
    let drain_started = Arc::clone(&drain);
    let serve = server::serve(listener, router, connections, async move { drain_started.notified().await });
    let drain_timed_out = async move {
        stop_requested.await;
        stopping.store(true, Ordering::Relaxed);
        drain.notify_one();
        tokio::time::sleep(DRAIN_TIMEOUT).await;
    };
    tokio::select! {
        () = serve => {}
        () = drain_timed_out => tracing::warn!("ingress leaves connections that did not finish in time"),
        ended = recording => bail!("recording has failed, and a new process is needed: {ended:?}"),
    }
    tracing::info!("ingress has answered what had arrived");
    if let Some(traces) = traces {
        traces.finish().await;
    }
    Ok(())
}

async fn serve_ops(
    ops_port: OpsPort,
    state: AppState,
    health: db::Health,
    connections: Arc<AtomicUsize>,
    stopping: Arc<AtomicBool>,
) {
    metrics::begin_ingress();
    metrics::begin_webhooks(&routes::KINDS);
    let ready = state.clone();
    ops_port
        .serve(
            move || {
                let (state, is_stopping) = (ready.clone(), stopping.load(Ordering::Relaxed));
                async move {
                    if is_stopping { Err("the ingress is stopping".to_owned()) } else { state.ensure_ready().await }
                }
            },
            move || {
                let is_writable = health.refusal().is_none() && state.recorder.failure().is_none();
                metrics::process(&state.pool, is_writable, env!("CARGO_PKG_VERSION"));
                metrics::ingress(state.recorder.waiting_bytes(), connections.load(Ordering::Relaxed));
            },
        )
        .await;
}

/// Raises an alert while report mode is on, because in that mode a webhook needs no valid signature. Clears it otherwise.
async fn update_report_mode_alert(pool: &PgPool, mode: SignatureMode) -> Result<(), db::Error> {
    let alert = operation::signatures_not_enforced();
    let mut tx = pool.begin().await?;
    let (raised, cleared) = match mode {
        SignatureMode::Enforce => (Vec::new(), alerts::clear(&mut tx, &[alert.cause], clock::now()).await?),
        SignatureMode::Report => (alerts::raise(&mut tx, &[alert], clock::now()).await?, Vec::new()),
    };
    tx.commit().await?;
    telemetry::raised(&raised);
    telemetry::cleared(&cleared);
    Ok(())
}
