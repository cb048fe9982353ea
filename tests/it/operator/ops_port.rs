//! The ops port: liveness, readiness and metrics.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use jobrun::demo::TestSystem;
use jobrun::programs::free_port;
use jobrun_shared::metrics::{METRICS, MetricKind};
use jobrun_tests::{PATIENCE, eventually, say, test_system};
use jobrun_twilio::api::use_tls_provider;

const ANN: &str = "+447900000001";

/// A test system whose ingress and worker have an ops port each.
struct Observed {
    system: TestSystem,
    ingress: String,
    workers: Vec<String>,
}

async fn observed(workers: usize) -> Observed {
    let mut system = test_system(0).await;
    system.ingress.stop().await.unwrap();
    let ingress = with_ops_addr(&mut system);
    system.start_ingress().await.unwrap();
    let mut addrs = Vec::new();
    for _ in 0..workers {
        addrs.push(with_ops_addr(&mut system));
        system.start_worker().unwrap();
        system.workers.last_mut().unwrap().wait_for_line("takes jobs", PATIENCE).await.unwrap();
    }
    Observed { system, ingress, workers: addrs }
}

/// Sets a new ops address for the next program to start, and returns it.
fn with_ops_addr(system: &mut TestSystem) -> String {
    let addr = format!("127.0.0.1:{}", free_port().unwrap());
    system.environment.insert("OPS_ADDR".to_owned(), addr.clone());
    addr
}

fn http() -> reqwest::Client {
    use_tls_provider();
    reqwest::Client::builder().timeout(PATIENCE).build().unwrap()
}

async fn get(addr: &str, path: &str) -> (u16, String) {
    let response = http().get(format!("http://{addr}{path}")).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

/// Returns the value of every series of a scrape.
async fn scrape(addr: &str) -> BTreeMap<String, f64> {
    let (status, text) = get(addr, "/metrics").await;
    assert_eq!(status, 200);
    check_with_promtool(&text);
    let series = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    series
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

/// Has Prometheus's own tool read a scrape, where it is installed.
fn check_with_promtool(scrape: &str) {
    let promtool =
        Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut promtool) = promtool else { return };
    promtool.stdin.take().unwrap().write_all(scrape.as_bytes()).unwrap();
    let checked = promtool.wait_with_output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

/// Returns the name of a metric in the catalogue: that of a histogram has no `_bucket`, `_sum` or `_count`.
fn base_name(series: &str) -> &str {
    let name = series.split('{').next().unwrap();
    let is_known = |name: &str| METRICS.iter().any(|metric| metric.name == name);
    ["_bucket", "_sum", "_count"]
        .iter()
        .find_map(|end| name.strip_suffix(end).filter(|name| is_known(name)))
        .unwrap_or(name)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_up_is_seen_in_the_metrics_and_no_phone_is() {
    let Observed { system, ingress, workers } = observed(1).await;
    assert_eq!(say(&system, ANN, "Plumber from London").await.len(), 1);
    let form = system.stand_in.text_form(ANN, &system.account.onboarding_number, "Ann's Plumbing");
    for _ in 0..2 {
        assert_eq!(system.stand_in.post("/webhooks/twilio/sms", &form).await.unwrap().status, 200);
    }
    let forged = http().post(format!("{}/webhooks/twilio/sms", system.account.webhook_base_url)).form(&form);
    assert_eq!(forged.send().await.unwrap().status(), 403);
    system.settle().await.unwrap();

    let at_ingress = scrape(&ingress).await;
    let webhooks = |outcome: &str| {
        at_ingress.get(&format!(r#"jobrun_webhooks_total{{source="twilio",kind="text",outcome="{outcome}"}}"#)).copied()
    };
    assert_eq!(webhooks("accepted"), Some(2.0), "{at_ingress:#?}");
    assert_eq!(
        (webhooks("duplicate"), webhooks("forbidden"), webhooks("unavailable")),
        (Some(1.0), Some(1.0), Some(0.0))
    );
    assert_eq!(at_ingress[r#"jobrun_signature_failures_total{source="twilio",reason="missing"}"#], 1.0);
    assert_eq!(at_ingress["jobrun_db_writable"], 1.0);

    let delivered =
        async || scrape(&workers[0]).await.get("jobrun_delivery_seconds_count").is_some_and(|it| *it >= 2.0);
    eventually(PATIENCE, "the reports are counted", delivered).await;
    let at_worker = scrape(&workers[0]).await;
    assert_eq!(at_worker["jobrun_ack_to_text_seconds_count"], 2.0);
    assert_eq!(at_worker[r#"jobrun_twilio_requests_total{code_class="accepted"}"#], 2.0);
    assert_eq!((at_worker["jobrun_listener_up"], at_worker["jobrun_events_waiting"]), (1.0, 0.0));
    assert!(at_worker[r#"jobrun_queue_wait_seconds_count{queue="process-events"}"#] >= 2.0);
    assert!(at_worker[r#"jobrun_queue_wait_seconds_sum{queue="process-events"}"#] < 60.0, "waits are not since 1970");

    for series in at_ingress.keys().chain(at_worker.keys()) {
        let name = base_name(series);
        assert!(METRICS.iter().any(|metric| metric.name == name), "{name} is not in the catalogue");
        let digits = series.split(|it: char| !it.is_ascii_digit()).map(str::len).max();
        assert!(digits < Some(6), "{series} may show a phone or an id");
    }
    system.shut_down().await.unwrap();
}

/// A counter that appears with its first increment has no increase that a rule could see.
#[tokio::test(flavor = "multi_thread")]
async fn every_counter_of_a_fresh_program_begins_at_zero_with_all_its_labels() {
    let Observed { system, ingress, workers } = observed(1).await;
    let (at_ingress, at_worker) = (scrape(&ingress).await, scrape(&workers[0]).await);
    let counters = METRICS.iter().filter(|metric| matches!(metric.kind, MetricKind::Counter));
    for counter in counters {
        let series: Vec<f64> = at_ingress
            .iter()
            .chain(&at_worker)
            .filter(|(series, _)| base_name(series) == counter.name)
            .map(|(_, value)| *value)
            .collect();
        assert!(!series.is_empty() && series.iter().all(|value| *value == 0.0), "{}: {series:?}", counter.name);
    }
    let lines = |of: &BTreeMap<String, f64>, name: &str| of.keys().filter(|series| base_name(series) == name).count();
    let numbers = ["jobrun_webhooks_total", "jobrun_signature_failures_total", "jobrun_db_errors_total"];
    assert_eq!(numbers.map(|name| lines(&at_ingress, name)), [30, 15, 14]);
    let numbers = ["jobrun_jobs_orphaned_total", "jobrun_twilio_requests_total", "jobrun_unmatched_total"];
    assert_eq!(numbers.map(|name| lines(&at_worker, name)), [6, 15, 5]);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_names_the_reason_and_the_health_check_follows_it() {
    let Observed { system, ingress, workers } = observed(1).await;
    let health_of = |program: &str, addr: &str| {
        let program = system.programs.join(program);
        Command::new(program).arg("healthcheck").env("OPS_ADDR", addr).output().unwrap().status.code()
    };
    for (program, addr) in [("jobrun-ingress", &ingress), ("jobrun-worker", &workers[0])] {
        assert_eq!(get(addr, "/livez").await, (200, "alive\n".to_owned()));
        assert_eq!(get(addr, "/readyz").await, (200, "ready\n".to_owned()));
        assert_eq!(health_of(program, addr), Some(0));
    }
    sqlx::raw_sql("ALTER TABLE _sqlx_migrations RENAME TO set_aside").execute(&system.pool).await.unwrap();
    for (program, addr) in [("jobrun-ingress", &ingress), ("jobrun-worker", &workers[0])] {
        let (status, why) = get(addr, "/readyz").await;
        assert!(status == 503 && why.contains("migrate"), "{status} {why}");
        assert_eq!(get(addr, "/livez").await.0, 200, "it lives all the same");
        assert_eq!(health_of(program, addr), Some(1));
    }
    assert_eq!(health_of("jobrun-worker", "127.0.0.1:1"), Some(1), "nothing listens there");
    sqlx::raw_sql("ALTER TABLE set_aside RENAME TO _sqlx_migrations").execute(&system.pool).await.unwrap();
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_worker_at_a_time_counts_tables_and_another_takes_over() {
    let Observed { mut system, workers, .. } = observed(2).await;
    let counts = async |addr: &str| scrape(addr).await.contains_key("jobrun_events_waiting");
    eventually(PATIENCE, "the first worker counts", async || counts(&workers[0]).await).await;
    assert!(!counts(&workers[1]).await, "the second does not");
    system.workers[0].stop().await.unwrap();
    // Instead of waiting until the lease has run out.
    sqlx::raw_sql("UPDATE leases SET until = now()").execute(&system.pool).await.unwrap();
    eventually(PATIENCE, "the second takes over", async || counts(&workers[1]).await).await;
    system.shut_down().await.unwrap();
}

/// The rules and the boards name only metrics of this list.
#[test]
fn the_list_of_metrics_for_rules_and_boards_is_the_catalogue() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/monitoring/metrics.txt");
    let listed = fs::read_to_string(file).unwrap();
    let listed: Vec<&str> = listed.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let catalogue = METRICS.map(|metric| {
        let kind = match metric.kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram(_) => "histogram",
        };
        format!("{} {kind}", metric.name)
    });
    assert_eq!(listed, catalogue);
}
