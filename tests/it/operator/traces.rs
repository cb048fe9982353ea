//! Traces: a collector of our own sees what the programs send.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use jobrun_shared::numbers::seed_release;
use jobrun_stand_in::Reports;
use jobrun_stand_in::stripe::Sale;
use jobrun_tests::{PATIENCE, count, eventually, numbers, phone, say, test_system_with, texts};
use jobrun_twilio::api::use_tls_provider;
use jobrun_twilio::{signature, webhooks};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message;

use crate::payments::subscriptions::{LINK, clients_at_payment_gate};

/// A collector that keeps every span, with the name of the program that sent it, and the headers of the latest request.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<(String, Span)>>>, Arc<Mutex<HeaderMap>>);

impl Collector {
    /// Starts it. Returns it, and its address.
    async fn start() -> (Self, String) {
        let collector = Self::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/v1/traces", post(take)).with_state(collector.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (collector, address)
    }

    fn spans(&self) -> Vec<(String, Span)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for a span of this name, and returns the latest.
    async fn span(&self, name: &str) -> Span {
        let found = || self.spans().into_iter().rev().map(|(_, span)| span).find(|span| span.name == name);
        eventually(PATIENCE, name, async || found().is_some()).await;
        found().unwrap()
    }
}

async fn take(State(collector): State<Collector>, headers: HeaderMap, body: Bytes) {
    *collector.1.lock().unwrap() = headers;
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    for of_program in request.resource_spans {
        let name = of_program.resource.unwrap().attributes.into_iter().find(|it| it.key == "service.name").unwrap();
        let Some(any_value::Value::StringValue(name)) = name.value.unwrap().value else { panic!("a name is a string") };
        let spans = of_program.scope_spans.into_iter().flat_map(|scope| scope.spans);
        collector.0.lock().unwrap().extend(spans.map(|span| (name.clone(), span)));
    }
}

/// The settings with which every webhook is traced.
fn traced(endpoint: &str) -> [(&str, &str); 2] {
    [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint), ("OTEL_TRACES_SAMPLER_ARG", "1")]
}

fn has_succeeded(span: &Span) -> bool {
    span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Ok)
}

/// The rows carry the trace, so it goes on although the worker that sent the reply is killed.
#[tokio::test(flavor = "multi_thread")]
async fn one_trace_goes_from_the_webhook_to_the_delivery_report_although_a_worker_is_killed() {
    let (collector, endpoint) = Collector::start().await;
    let mut system = test_system_with(1, &traced(&endpoint)).await;
    system.stand_in.reports(Reports::Missing);
    assert_eq!(say(&system, &phone(1), "Plumber from London").await.len(), 1);
    let steps = ["webhook", "record", "decide", "send"];
    let mut spans = Vec::new();
    for step in steps {
        spans.push(collector.span(step).await);
    }
    system.workers[0].kill().await.unwrap();
    system.workers.clear();

    let (account, sid) = (system.account.sid.clone(), system.stand_in.messages().remove(0).sid);
    let form = [("AccountSid", account), ("MessageSid", sid), ("MessageStatus", "delivered".to_owned())];
    let form = form.map(|(name, value)| (name.to_owned(), value)).to_vec();
    let path = format!("{}?m={}", webhooks::SMS_STATUS, count(&system.pool, "SELECT id FROM messages").await);
    assert_eq!(system.stand_in.post(&path, &form).await.unwrap().status, 204);
    system.start_worker().unwrap();
    spans.push(collector.span("report").await);

    for (parent, child) in spans.iter().zip(spans.iter().skip(1)) {
        assert_eq!(parent.trace_id, child.trace_id, "{} and {}", parent.name, child.name);
    }
    let id_of = |name: &str| spans.iter().find(|span| span.name == name).unwrap().span_id.clone();
    let parents: Vec<Vec<u8>> = spans.iter().map(|span| span.parent_span_id.clone()).collect();
    assert_eq!(parents, [Vec::new(), id_of("webhook"), id_of("record"), id_of("decide"), id_of("decide")]);
    assert!(spans.iter().all(has_succeeded), "{spans:#?}");
    let link = &spans.last().unwrap().links[0];
    assert_ne!(link.trace_id, spans[0].trace_id, "the webhook of the report has a trace of its own, which is linked");

    let programs: HashMap<String, String> =
        collector.spans().into_iter().map(|(program, span)| (span.name, program)).collect();
    assert_eq!((programs["record"].as_str(), programs["report"].as_str()), ("jobrun-ingress", "jobrun-worker"));
    nothing_personal_is_in(&collector, &phone(1));
    system.shut_down().await.unwrap();
}

/// Asserts that no span holds a phone, the words of a text, or an id of Twilio's.
fn nothing_personal_is_in(collector: &Collector, phone: &str) {
    let all = format!("{:?}", collector.spans());
    for personal in [phone.trim_start_matches('+'), "Plumber", "SM0", "SM1", "447476955179"] {
        assert!(!all.contains(personal), "{personal} is in {all}");
    }
}

/// Texts of one client that are decided together lead to one decision, which belongs to the trace of the first and links the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_decision_about_two_texts_links_the_trace_of_the_second() {
    let (collector, endpoint) = Collector::start().await;
    let mut system = test_system_with(0, &traced(&endpoint)).await;
    system.stand_in.reports(Reports::Missing);
    for body in ["Plumber from London", "ABC Plumbing"] {
        assert_eq!(system.stand_in.text(&phone(1), body).await.unwrap().status, 200);
    }
    system.start_worker().unwrap();
    system.settle().await.unwrap();
    let decide = collector.span("decide").await;
    let records: Vec<Span> =
        collector.spans().into_iter().map(|(_, span)| span).filter(|span| span.name == "record").collect();
    assert_eq!(records.len(), 2);
    assert_eq!(decide.parent_span_id, records[0].span_id);
    assert_eq!(decide.links.iter().map(|link| link.span_id.clone()).collect::<Vec<_>>(), [records[1].span_id.clone()]);
    assert_eq!(decide.links[0].trace_id, records[1].trace_id);
    system.shut_down().await.unwrap();
}

/// A payment is confirmed in the trace of Stripe's webhook.
#[tokio::test(flavor = "multi_thread")]
async fn the_confirmation_of_a_payment_belongs_to_the_trace_of_stripes_webhook() {
    let (collector, endpoint) = Collector::start().await;
    let system = test_system_with(1, &[&traced(&endpoint)[..], &LINK].concat()).await;
    seed_release::seed(&system.pool, &numbers(1)).await.unwrap();
    let reference = clients_at_payment_gate(&system.pool, 1).await.remove(0);
    for event in Sale::new(Some(&reference)).paid_by_card() {
        assert_eq!(system.stand_in.stripe(&event).await.unwrap().status, 200);
    }
    system.settle().await.unwrap();
    let whole = ["apply", "decide", "record", "send", "webhook"];
    eventually(PATIENCE, "one trace has it all", async || {
        let mut traces: HashMap<Vec<u8>, BTreeSet<String>> = HashMap::new();
        for (_, span) in collector.spans() {
            traces.entry(span.trace_id).or_default().insert(span.name);
        }
        traces.values().any(|names| whole.iter().all(|name| names.contains(*name)))
    })
    .await;
    system.shut_down().await.unwrap();
}

/// A trace that a request brings is not believed: its sender would decide which traces are kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_trace_that_a_request_brings_is_not_believed() {
    const BROUGHT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let (collector, endpoint) = Collector::start().await;
    let system = test_system_with(0, &traced(&endpoint)).await;
    let form = system.stand_in.text_form(&phone(1), &system.account.onboarding_number, "Plumber from London");
    let url = format!("{}{}", system.account.webhook_base_url, webhooks::SMS);
    let signature = signature::sign(&system.account.auth_token, &url, &form);
    use_tls_provider();
    let client = reqwest::Client::builder().timeout(PATIENCE).build().unwrap();
    let request = client.post(&url).header(signature::HEADER, signature).header("traceparent", BROUGHT);
    assert_eq!(request.form(&form).send().await.unwrap().status(), 200);
    let webhook = collector.span("webhook").await;
    assert!(webhook.parent_span_id.is_empty(), "{webhook:?}");
    let kept = texts(&system.pool, "SELECT traceparent FROM events").await.remove(0);
    assert!(!kept.contains("4bf92f3577b34da6a3ce929d0e0e4736"), "{kept}");
    system.shut_down().await.unwrap();
}

/// A collector that is away costs spans, and neither webhooks nor replies.
#[tokio::test(flavor = "multi_thread")]
async fn a_sign_up_goes_on_although_no_collector_is_there() {
    let system = test_system_with(1, &traced("http://127.0.0.1:9")).await;
    system.stand_in.reports(Reports::Missing);
    assert_eq!(say(&system, &phone(1), "Plumber from London").await.len(), 1);
    assert_eq!(count(&system.pool, "SELECT count(*) FROM events WHERE traceparent IS NOT NULL").await, 1);
    system.shut_down().await.unwrap();
}

/// OpenTelemetry's crates read variables of their own. With these, spans would leave after an hour, elsewhere, with other headers.
#[tokio::test(flavor = "multi_thread")]
async fn variables_of_opentelemetry_that_are_no_settings_have_no_effect() {
    let (collector, endpoint) = Collector::start().await;
    let others = [
        ("OTEL_BSP_SCHEDULE_DELAY", "3600000"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "1"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "1"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "0"),
        ("OTEL_SPAN_LINK_COUNT_LIMIT", "0"),
        ("OTEL_TRACES_SAMPLER", "always_off"),
        ("OTEL_SDK_DISABLED", "true"),
        ("OTEL_SERVICE_NAME", "other"),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:9"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x-of-traces=1"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "0"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20of%2Cours,x-tenant=7"),
    ];
    let system = test_system_with(1, &[&traced(&endpoint)[..], &others].concat()).await;
    assert_eq!(say(&system, &phone(1), "Plumber from London").await.len(), 1);
    let webhook = collector.span("webhook").await;
    collector.span("send").await;
    assert_eq!(webhook.attributes.len(), 3, "{webhook:?}");
    let programs: BTreeSet<String> = collector.spans().into_iter().map(|(program, _)| program).collect();
    assert_eq!(programs, BTreeSet::from(["jobrun-ingress", "jobrun-worker"].map(str::to_owned)));
    let headers = collector.1.lock().unwrap().clone();
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap());
    assert_eq!((header("authorization"), header("x-tenant")), (Some("Bearer of,ours"), Some("7")));
    assert_eq!((header("x-of-traces"), header("content-type")), (None, Some("application/x-protobuf")));
    system.shut_down().await.unwrap();
}

/// Without the setting, rows have no span.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_collector_nothing_is_traced() {
    let system = test_system_with(1, &[]).await;
    assert_eq!(say(&system, &phone(1), "Plumber from London").await.len(), 1);
    let traced = "SELECT (SELECT count(*) FROM events WHERE traceparent IS NOT NULL)
                       + (SELECT count(*) FROM messages WHERE traceparent IS NOT NULL)";
    assert_eq!(count(&system.pool, traced).await, 0);
    system.shut_down().await.unwrap();
}
