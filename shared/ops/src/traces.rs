//! Sends spans to a collector, by OTLP over HTTP. Never waits for it: spans that it does not take in time are dropped.
//!
//! OpenTelemetry's crates read variables of their own (`OTEL_BSP_…`, `OTEL_SPAN_…`, `OTEL_EXPORTER_OTLP_…`). Only those in the table
//! of settings have an effect, so everything that they could change is set here.

use std::time::Duration;

use jobrun_shared::config::Traces;
use jobrun_shared::traces;
use jobrun_twilio::api::use_tls_provider;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfig, BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, SpanLimits,
};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use secrecy::{ExposeSecret, SecretString};

/// The time limit for a request to the collector.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a program that ends waits for its last spans to be taken.
const FLUSHED_WITHIN: Duration = Duration::from_secs(2);

/// How often spans are sent, how many at a time, and how many may wait for it.
const SENT_EVERY: Duration = Duration::from_secs(1);
const SENT_AT_ONCE: usize = 512;
const WAITING_MAX: usize = 2048;

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
        let exporter = exporter(settings).map_err(|error| format!("sending traces: {error}"))?;
        let resource = Resource::builder_empty().with_service_name(program);
        let provider = SdkTracerProvider::builder()
            .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(batches()).build())
            .with_span_limits(SpanLimits::default())
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

fn batches() -> BatchConfig {
    BatchConfigBuilder::default()
        .with_scheduled_delay(SENT_EVERY)
        .with_max_export_batch_size(SENT_AT_ONCE)
        .with_max_queue_size(WAITING_MAX)
        .build()
}

/// The exporter has a thread of its own, and so a client that blocks. Such a client must not be built on the runtime.
fn exporter(settings: &Traces) -> Result<SpanExporter, String> {
    use_tls_provider();
    let client = std::thread::spawn(|| {
        reqwest::blocking::Client::builder().timeout(REQUEST_TIMEOUT).redirect(Policy::none()).build()
    });
    let client = client.join();
    let http = client.map_err(|_| "no client can be built".to_owned())?.map_err(|error| error.to_string())?;
    let client = Client { http, headers: headers(&settings.headers)? };
    let exporter = SpanExporter::builder().with_http().with_http_client(client).with_protocol(Protocol::HttpBinary);
    let endpoint = format!("{}/v1/traces", settings.endpoint);
    let exporter = exporter.with_endpoint(endpoint).with_timeout(REQUEST_TIMEOUT).build();
    exporter.map_err(|error| error.to_string())
}

/// Sends requests with our headers, and with none that the exporter has read from the environment.
#[derive(Debug)]
struct Client {
    http: reqwest::blocking::Client,
    headers: HeaderMap,
}

#[async_trait::async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let content_type = request.headers_mut().remove(CONTENT_TYPE);
        request.headers_mut().clone_from(&self.headers);
        request.headers_mut().extend(content_type.map(|value| (CONTENT_TYPE, value)));
        self.http.send_bytes(request).await
    }
}

fn headers(settings: &[(String, SecretString)]) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in settings {
        let name: HeaderName = name.parse().map_err(|_| "a header cannot have this name".to_owned())?;
        let mut value: HeaderValue =
            value.expose_secret().parse().map_err(|_| format!("the header {name} cannot have this value"))?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}
