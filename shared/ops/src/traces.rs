//! Sends spans to a collector, by OTLP over HTTP. Never waits for it: spans that it does not take in time are dropped.

use std::time::Duration;

use jobrun_shared::config::Traces;
use jobrun_shared::traces;
use jobrun_twilio::api::use_tls_provider;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use reqwest::redirect::Policy;

/// The time limit for a request to the collector.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a program that ends waits for its last spans to be taken.
const FLUSHED_WITHIN: Duration = Duration::from_secs(2);

/// The sender of spans, for as long as a program runs.
#[derive(Debug)]
pub struct TraceExporter(SdkTracerProvider);

impl TraceExporter {
    /// Begins to record spans and to send them, if `settings` say where.
    ///
    /// # Errors
    /// When the address is not one that can be asked. Whether a collector is there shows later, in the log.
    pub fn start(
        settings: Option<&Traces>,
        program: &'static str,
        version: &'static str,
    ) -> Result<Option<Self>, String> {
        let Some(settings) = settings else { return Ok(None) };
        let exporter = exporter(&settings.endpoint).map_err(|error| format!("sending traces: {error}"))?;
        let resource = Resource::builder_empty().with_service_name(program);
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            // The row that leads to a step says whether its trace is sampled.
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.share))))
            .with_resource(resource.with_attribute(opentelemetry::KeyValue::new("service.version", version)).build())
            .build();
        opentelemetry::global::set_tracer_provider(provider.clone());
        traces::turn_on();
        Ok(Some(Self(provider)))
    }

    /// Sends the last spans, before the program ends.
    pub async fn finish(self) {
        let flushed = tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(FLUSHED_WITHIN)).await;
        if let Ok(Err(error)) = flushed {
            tracing::warn!(%error, "the last spans were not taken");
        }
    }
}

/// The exporter has a thread of its own, and so a client that blocks. Such a client must not be built on the runtime.
fn exporter(endpoint: &str) -> Result<SpanExporter, String> {
    use_tls_provider();
    let client = std::thread::spawn(|| {
        reqwest::blocking::Client::builder().timeout(REQUEST_TIMEOUT).redirect(Policy::none()).build()
    });
    let client = client.join();
    let client = client.map_err(|_| "no client can be built".to_owned())?.map_err(|error| error.to_string())?;
    let exporter = SpanExporter::builder().with_http().with_http_client(client).with_protocol(Protocol::HttpBinary);
    let exporter = exporter.with_endpoint(format!("{endpoint}/v1/traces")).with_timeout(REQUEST_TIMEOUT).build();
    exporter.map_err(|error| error.to_string())
}
