//! The ops port (`OPS_ADDR`): whether a program lives, whether it can do its work, and its metrics; and the sending of traces.
//!
//! It is for the operator's network only, and never takes a webhook. `/livez` tells only that the process responds, `/readyz` that
//! it can do its work, and `/metrics` has the metrics of [`jobrun_shared::metrics`] in Prometheus's text format.

mod traces;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use jobrun_shared::metrics::{self, GAUGE_TTL, METRICS, MetricKind};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_util::MetricKindMask;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub use traces::TraceExporter;

/// The time limit for a health check, and for the readiness that it asks for: shorter, so that the check learns the reason.
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);
const READINESS_TIMEOUT: Duration = Duration::from_secs(2);

/// The interval at which old samples of histograms are folded into their buckets, in case nobody asks for the metrics.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// The ops port, before it serves.
#[derive(Debug)]
pub struct OpsPort {
    listener: TcpListener,
    handle: PrometheusHandle,
}

impl OpsPort {
    /// Listens on `addr`, and begins to record metrics. Without an address, recording a metric does nothing.
    ///
    /// # Errors
    /// When the address cannot be listened on, or metrics are recorded in this process already. The error names the address.
    pub async fn open(addr: Option<SocketAddr>) -> io::Result<Option<Self>> {
        let Some(addr) = addr else { return Ok(None) };
        let named = |error: io::Error| io::Error::new(error.kind(), format!("listening on {addr}: {error}"));
        let listener = TcpListener::bind(addr).await.map_err(named)?;
        let handle = record_metrics().map_err(io::Error::other).map_err(named)?;
        Ok(Some(Self { listener, handle }))
    }

    /// Serves until it is dropped. `ready` returns the reason if the program cannot do its work. `refresh` sets the gauges of
    /// this process; it is called before each scrape.
    pub async fn serve<R>(
        self,
        ready: impl Fn() -> R + Clone + Send + Sync + 'static,
        refresh: impl Fn() + Send + Sync + 'static,
    ) where
        R: Future<Output = Result<(), String>> + Send + 'static,
    {
        if let Ok(addr) = self.listener.local_addr() {
            tracing::info!("ops port listens on {addr}");
        }
        tokio::spawn(upkeep(self.handle.clone()));
        let (handle, refresh) = (self.handle, Arc::new(refresh));
        let router = Router::new()
            .route("/livez", get(|| async { "alive\n" }))
            .route("/readyz", get(move || readiness(ready.clone())))
            .route("/metrics", get(move || scrape(handle.clone(), Arc::clone(&refresh))));
        if let Err(error) = axum::serve(self.listener, router).await {
            tracing::error!(%error, "the ops port has failed");
        }
    }
}

async fn readiness<R>(ready: impl Fn() -> R) -> (StatusCode, String)
where
    R: Future<Output = Result<(), String>>,
{
    match tokio::time::timeout(READINESS_TIMEOUT, ready()).await {
        Ok(Ok(())) => (StatusCode::OK, "ready\n".to_owned()),
        Ok(Err(why)) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the database did not answer in time\n".to_owned()),
    }
}

async fn scrape(handle: PrometheusHandle, refresh: Arc<impl Fn()>) -> impl IntoResponse {
    refresh();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], handle.render())
}

async fn upkeep(handle: PrometheusHandle) {
    loop {
        tokio::time::sleep(UPKEEP_INTERVAL).await;
        handle.run_upkeep();
    }
}

/// Installs the recorder, with the buckets of each histogram and the help text of each metric.
fn record_metrics() -> Result<PrometheusHandle, metrics_exporter_prometheus::BuildError> {
    let mut builder = PrometheusBuilder::new();
    for metric in METRICS {
        if let MetricKind::Histogram(buckets) = metric.kind {
            builder = builder.set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), buckets)?;
        }
    }
    // A worker that no longer reads the tables, because another one does, must not go on exporting what it read.
    let handle = builder.idle_timeout(MetricKindMask::GAUGE, Some(GAUGE_TTL)).install_recorder()?;
    metrics::describe();
    Ok(handle)
}

/// Asks the ops port of this machine's program whether it is ready, for images without a shell.
///
/// # Errors
/// The reason why it is not ready, or cannot be asked.
pub async fn healthcheck(addr: SocketAddr) -> Result<(), String> {
    let mut local = addr;
    local.set_ip(loopback_of(addr.ip()));
    let response = tokio::time::timeout(CHECK_TIMEOUT, ask_readiness(local)).await;
    let response = response.map_err(|_| format!("{local} did not answer in time"))?;
    let response = response.map_err(|error| format!("{local} cannot be asked: {error}"))?;
    let (head, body) = response.split_once("\r\n\r\n").unwrap_or((&response, ""));
    if head.starts_with("HTTP/1.1 200 ") { Ok(()) } else { Err(body.trim().to_owned()) }
}

fn loopback_of(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

/// One request needs no client library: the response ends with the connection.
async fn ask_readiness(addr: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(addr).await?;
    stream.write_all(format!("GET /readyz HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    let mut response = String::new();
    stream.read_to_string(&mut response).await?;
    Ok(response)
}
