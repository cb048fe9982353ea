//! Dead workers raise no alert: the list of alerts works that out.

use jobrun_tests::{PATIENCE, eventually, test_system_with};
use serde_json::Value;

use crate::numbers::execute;

/// Thirty texts and an event that have been due for two minutes, and a sweep that is late.
const LEFT_WAITING: &str = "
    INSERT INTO messages (kind, to_phone, from_number, body, created_at, updated_at, expires_at)
    SELECT 'live', '+' || 447900000000 + n, '+447476955179', 'Hello', now() - INTERVAL '2 minutes', now(),
           now() + INTERVAL '1 hour'
    FROM generate_series(1, 30) AS n;
    INSERT INTO events (source, external_id, kind, lane, payload, received_at)
    VALUES ('system', 'due', 'number_due', 'client:nobody', '{\"kind\": \"number_due\", \"client_id\": \"nobody\"}',
            now() - INTERVAL '2 minutes');
    UPDATE sweeps SET late_after = now() - INTERVAL '1 second'";

/// The alerts of dead workers are computed when the operator lists alerts.
#[tokio::test(flavor = "multi_thread")]
async fn dead_workers_are_shown_when_the_operator_lists_alerts() {
    let mut system = test_system_with(0, &[]).await;
    execute(&system.pool, LEFT_WAITING).await;
    let (code, shown, _) = system.operator(&["alerts"]).await.unwrap();
    let says = [
        "no-worker No worker runs at all: none is known.",
        "events-waiting 1 event has been due for more than a minute",
        "texts-waiting 30 texts have been due for more than a minute",
        "no-sweep No sweep has succeeded yet",
    ];
    let unbroken = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(code == 1 && says.iter().all(|words| unbroken.contains(words)), "{shown}");
    let (code, json, _) = system.operator(&["alerts", "--json"]).await.unwrap();
    let json: Value = serde_json::from_str(&json).unwrap();
    let causes: Vec<&str> = json.as_array().unwrap().iter().map(|it| it["cause"].as_str().unwrap()).collect();
    assert_eq!((code, causes), (1, vec!["no-worker", "events-waiting", "texts-waiting", "no-sweep"]));
    assert!(json[0]["id"].is_null());

    system.start_worker().unwrap();
    let over = async || system.operator(&["alerts"]).await.unwrap().1 == "all clear\n";
    eventually(PATIENCE, "all is well", over).await;
    // A worker is killed.
    system.workers[0].kill().await.unwrap();
    let silent = async || {
        let (code, shown, _) = system.operator(&["alerts"]).await.unwrap();
        code == 1 && shown.contains("No worker runs at all: the last was seen 3")
    };
    eventually(PATIENCE, "its silence is seen", silent).await;
    system.shut_down().await.unwrap();
}
