//! `jobrun-console`: start-up and shut-down.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};
use jobrun_console::app::App;
use jobrun_console::{live, routes};
use jobrun_ops::OpsPort;
use jobrun_shared::config;
use jobrun_shared::db;
use jobrun_shared::{exit, metrics, shutdown, telemetry};
use tokio::net::TcpListener;

/// Few connections, so that readers of pages take none from the programs that answer clients.
const CONNECTIONS: db::Connections = db::Connections {
    application: "jobrun-console",
    kept: 1,
    max: 6,
    acquire_timeout: Duration::from_secs(3),
    lock_timeout: Duration::from_secs(1),
    statement_timeout: Duration::from_secs(5),
};

/// How long pages that are being computed may take at shut-down.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves the operator's console: pages about clients, numbers, payments, texts and alerts.
///
/// Runs until SIGTERM or Ctrl-C. People are added with `jobrun console user add`.
#[derive(Parser)]
#[command(version)]
#[command(after_help = "Settings come from the environment; deploy/guide/settings.md lists them. These matter:\n\n\
    DATABASE_URL          postgres://user:password@host/database, of a login with the role jobrun_console\n\
    CONSOLE_ADDR          where to listen [default: 127.0.0.1:8070]\n\
    CONSOLE_PUBLIC_URL    the address that browsers use: https://console.example.com\n    \
    OPS_ADDR              where /livez, /readyz and /metrics are served [default: nowhere]\n\n\
    Exit status: 0 after it was told to stop, 1 when it cannot go on, 2 when settings or arguments are wrong.")]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Asks the console at OPS_ADDR on this machine whether it is ready: exit status 0 if it is, else 1
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
            eprintln!("jobrun-console: {error:#}");
            ExitCode::from(exit::status_of(error.chain()))
        }
    }
}

async fn healthcheck() -> anyhow::Result<()> {
    jobrun_ops::healthcheck(config::ops_addr()?).await.map_err(anyhow::Error::msg)
}

async fn run() -> anyhow::Result<()> {
    let settings = config::Console::from_env()?;
    telemetry::start(&settings.log, telemetry::Output::Stdout);
    let ops_port = OpsPort::open(settings.ops_addr).await?;
    let (pool, health) = db::connect_watched(&settings.database_url, CONNECTIONS).await?;
    db::ensure_migrated(&pool).await?;
    let listener = TcpListener::bind(settings.addr).await.with_context(|| format!("listening on {}", settings.addr))?;
    let stop_requested = shutdown::requested(settings.stop_with_stdin)?;
    tokio::spawn(db::watch(pool.clone(), health.clone()));
    let app = App::new(pool.clone(), health, settings);
    let stopping = Arc::new(AtomicBool::new(false));
    if let Some(ops_port) = ops_port {
        tokio::spawn(serve_ops(ops_port, app.clone(), Arc::clone(&stopping)));
    }
    tokio::spawn(live::listen(pool, app.live.clone()));
    let router = routes::router(app.clone()).into_make_service_with_connect_info::<SocketAddr>();
    tracing::info!("console listens on {}", listener.local_addr()?);
    let live = app.live.clone();
    let serve = axum::serve(listener, router).with_graceful_shutdown(async move {
        stop_requested.await;
        stopping.store(true, Ordering::Relaxed);
        live.stop();
    });
    let drained = async {
        app.live.stopped().await;
        tokio::time::sleep(DRAIN_TIMEOUT).await;
    };
    tokio::select! {
        served = serve => served.context("serving")?,
        () = drained => tracing::warn!("the console leaves requests that did not finish in time"),
    }
    Ok(())
}

/// Serves the ops port. Every metric is one that all programs have: pages are no labels.
async fn serve_ops(ops_port: OpsPort, app: App, stopping: Arc<AtomicBool>) {
    metrics::begin_console();
    let ready = app.clone();
    ops_port
        .serve(
            move || {
                let (app, is_stopping) = (ready.clone(), stopping.load(Ordering::Relaxed));
                async move {
                    if is_stopping { Err("the console is stopping".to_owned()) } else { app.ensure_ready().await }
                }
            },
            move || metrics::process(&app.pool, app.health.refusal().is_none(), env!("CARGO_PKG_VERSION")),
        )
        .await;
}
