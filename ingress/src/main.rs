//! `jobrun-ingress`: start-up and shut-down of the door.

use std::time::Duration;

use anyhow::Context;
use jobrun_ingress::webhooks;
use jobrun_shared::{config, db, telemetry};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// What webhooks share. They wait for a connection less long than [`webhooks::ANSWER_WITHIN`], so that this wait is what is
/// reported.
const CONNECTIONS: db::Connections = db::Connections { kept: 16, max: 16, acquire_timeout: Duration::from_millis(800) };

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let settings = config::Ingress::from_env()?;
    telemetry::start(&settings.log, telemetry::Output::Stdout);
    let pool = db::connect(&settings.database_url, CONNECTIONS).await?;
    db::ensure_migrated(&pool).await?;

    let listener = TcpListener::bind(settings.addr).await.with_context(|| format!("listening on {}", settings.addr))?;
    let router = webhooks::router(webhooks::Door { pool, twilio: settings.twilio });
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tracing::info!("ingress listens on {}", listener.local_addr()?);
    axum::serve(listener, router)
        .with_graceful_shutdown(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
        .await?;
    tracing::info!("ingress has answered what had arrived");
    Ok(())
}
