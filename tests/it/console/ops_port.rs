//! The console's ops port: liveness, readiness, metrics, and the health check that asks it.

use std::process::Command;

use jobrun::programs::free_port;
use jobrun_shared::metrics::METRICS;
use jobrun_tests::programs;

use super::Console;

#[tokio::test(flavor = "multi_thread")]
async fn the_console_says_whether_it_is_ready_and_its_metrics_name_no_page() {
    let addr = format!("127.0.0.1:{}", free_port().unwrap());
    let console = Console::start(&[("OPS_ADDR", &addr)]).await;
    let get = async |path: &str| {
        let response = console.http.get(format!("http://{addr}{path}")).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let health = || {
        let mut check = Command::new(programs().join("jobrun-console"));
        check.arg("healthcheck").env("OPS_ADDR", &addr).output().unwrap().status.code()
    };
    let cookie = console.log_in("op").await;
    console.get("/numbers/+447100000001", Some(&cookie)).await;
    assert_eq!((get("/livez").await.0, get("/readyz").await, health()), (200, (200, "ready\n".to_owned()), Some(0)));

    let (status, metrics) = get("/metrics").await;
    let series: Vec<&str> = metrics.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    assert_eq!(status, 200);
    assert!(series.contains(&"jobrun_db_writable 1"), "{metrics}");
    for line in &series {
        let name = line.split(['{', ' ']).next().unwrap();
        assert!(METRICS.iter().any(|metric| metric.name == name), "{line}");
        assert!(!line.contains("numbers") && !line.contains("447100000001"), "{line}");
    }
    assert!(series.len() < 30, "{series:#?}");

    console.run("ALTER TABLE _sqlx_migrations RENAME TO set_aside").await;
    let (status, why) = get("/readyz").await;
    assert!(status == 503 && why.contains("migrate"), "{status} {why}");
    assert_eq!((get("/livez").await.0, health()), (200, Some(1)), "it lives all the same");
    console.run("ALTER TABLE set_aside RENAME TO _sqlx_migrations").await;
    console.stop().await;
}
