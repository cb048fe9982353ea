//! `jobrun doctor`.

use std::collections::BTreeMap;

use jobrun::demo::TestSystem;
use jobrun::playground::set_up_numbers;
use jobrun_stand_in::stripe_api;
use jobrun_tests::test_system;
use serde_json::Value;

/// Returns the exit status, and the verdicts of each check.
async fn examine(system: &TestSystem) -> (i32, BTreeMap<String, Vec<String>>) {
    let (code, json, _) = system.operator(&["doctor", "--json"]).await.unwrap();
    let findings: Value = serde_json::from_str(&json).unwrap();
    let mut verdicts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for finding in findings.as_array().unwrap() {
        let word = |key: &str| finding[key].as_str().unwrap().to_owned();
        let needs_remedy = ["warning", "fault"].contains(&word("verdict").as_str());
        assert_eq!(finding["remedy"].is_string(), needs_remedy, "{finding}");
        verdicts.entry(word("check")).or_default().push(word("verdict"));
    }
    (code, verdicts)
}

fn faults(verdicts: &BTreeMap<String, Vec<String>>) -> Vec<&str> {
    let faulty = verdicts.iter().filter(|(_, verdicts)| verdicts.iter().any(|verdict| verdict == "fault"));
    faulty.map(|(check, _)| check.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_finds_what_is_broken_and_says_so_by_its_exit_status() {
    let mut system = test_system(1).await;
    let (base_url, onboarding_number) = (&system.account.webhook_base_url, &system.account.onboarding_number);
    system.stand_in.set_up_numbers(set_up_numbers(base_url, onboarding_number, &[]));

    let (code, healthy) = examine(&system).await;
    for check in
        ["settings", "database", "migrations", "clock", "workers", "stops", "alerts", "twilio", "public address"]
    {
        assert!(healthy[check].iter().all(|verdict| verdict == "ok"), "{check}: {healthy:?}");
    }
    assert_eq!(healthy["stripe"], ["warning"], "there is no payment link");
    assert_eq!(healthy["stripe key"], ["skipped"], "there is no key");
    // The test server is fast instead of safe.
    assert_eq!((code, faults(&healthy)), (1, vec!["durability"]));

    system.ingress.stop().await.unwrap();
    assert_eq!(faults(&examine(&system).await.1), ["durability", "public address"]);

    sqlx::raw_sql("ALTER TABLE _sqlx_migrations RENAME TO set_aside").execute(&system.pool).await.unwrap();
    assert_eq!(faults(&examine(&system).await.1), ["migrations", "public address"]);
    sqlx::raw_sql("ALTER TABLE set_aside RENAME TO _sqlx_migrations").execute(&system.pool).await.unwrap();

    system.environment.insert("TWILIO_AUTH_TOKEN".to_owned(), "hush".to_owned());
    assert_eq!(faults(&examine(&system).await.1), ["durability", "public address", "twilio"]);
    let (_, shown, _) = system.operator(&["doctor"]).await.unwrap();
    assert!(shown.contains("FAULT") && shown.contains("→ ") && !shown.contains("hush"), "{shown}");

    system.environment.insert("DATABASE_URL".to_owned(), "postgres://127.0.0.1:1/nothing".to_owned());
    let (code, found) = examine(&system).await;
    assert_eq!((code, found["database"].as_slice()), (1, ["fault".to_owned()].as_slice()));
    assert_eq!(found["workers"], ["skipped"]);
}

/// A payment of a client that the stand-in does not know.
const PAYMENT_ELSEWHERE: &str = r#"
    INSERT INTO clients (id, "phoneNumber") VALUES ('ann', '447900000001');
    INSERT INTO subscriptions (id, client_id, standing, heard_of_at) VALUES ('sub_1', 'ann', 'active', now());
    WITH event AS (
        INSERT INTO events (source, external_id, kind, lane, payload, received_at, processed_at, outcome)
        VALUES ('stripe', 'evt_1', 'stripe', 'stripe:evt_1', '{}', now(), now(), 'applied') RETURNING id
    )
    INSERT INTO payment_events (event_id, stripe_id, kind, happened_at, subscription_id)
    SELECT id, 'evt_1', 'invoice.paid', now(), 'sub_1' FROM event"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_asks_stripe_whether_the_key_has_its_rights() {
    let mut system = test_system(0).await;
    system.environment.insert("STRIPE_API_KEY".to_owned(), stripe_api::KEY.to_owned());
    assert_eq!(examine(&system).await.1["stripe key"], ["ok"]);
    for status in [401, 403, 500] {
        system.stand_in.stripe_api_fault(Some(status));
        assert_eq!(examine(&system).await.1["stripe key"], ["fault"], "{status}");
    }
    system.stand_in.stripe_api_fault(None);
    for (sql, finding) in [("SELECT 1", "ok"), (PAYMENT_ELSEWHERE, "fault")] {
        sqlx::raw_sql(sql).execute(&system.pool).await.unwrap();
        assert_eq!(examine(&system).await.1["stripe key"], [finding], "{sql}");
    }
    system.environment.insert("STRIPE_API_KEY".to_owned(), "rk_test_hush".to_owned());
    let (_, shown, _) = system.operator(&["doctor"]).await.unwrap();
    assert!(shown.contains("Stripe does not accept STRIPE_API_KEY") && !shown.contains("hush"), "{shown}");
    system.environment.insert("STRIPE_API_KEY".to_owned(), "rk_live_hush".to_owned());
    assert_eq!(examine(&system).await.1["stripe key"], ["skipped"], "the worker would not start with it");
}
