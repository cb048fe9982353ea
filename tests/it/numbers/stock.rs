//! The stock of the pool: counted, forecast, and an alert when it is low or empty.

use std::time::Duration;

use futures::future::join_all;
use jobrun_onboarding::Wordings;
use jobrun_shared::clock;
use jobrun_shared::numbers::promise::AlertChanges;
use jobrun_shared::numbers::{allocate, offer, pool_alerts, seed_release, status};
use jobrun_tests::{PATIENCE, eventually, migrated_database, numbers, paid_clients, phone, test_system_with, texts};
use serde_json::Value;

use super::{causes, onboarding, open};
use crate::numbers::{execute, waiting_clients};

/// Nine numbers in every state, and ten steps in the history of the first.
const POOL: &str = r#"
    UPDATE twilio_number_pool SET status = 'COOLING_DOWN', cools_until = now() + INTERVAL '5 days' WHERE seed_order = 2;
    UPDATE twilio_number_pool SET status = 'COOLING_DOWN', cools_until = now() + INTERVAL '20 days' WHERE seed_order = 3;
    UPDATE twilio_number_pool SET status = 'COOLING_DOWN', cools_until = now() + INTERVAL '6 days', drained_at = now()
        WHERE seed_order = 4;
    UPDATE twilio_number_pool SET drained_at = now() WHERE seed_order = 5;
    UPDATE twilio_number_pool SET status = 'ASSIGNED', client_id = 'dummy-client' WHERE seed_order = 6;
    UPDATE clients SET "twilioNumber" = (SELECT phone_e164 FROM twilio_number_pool WHERE seed_order = 1) WHERE id = 'client-1';
    INSERT INTO number_changes (number, change, client_id, why, changed_at)
        SELECT '+447100000001', 'assigned', 'client-' || n, 'paid', now() - n * INTERVAL '23 hours'
        FROM generate_series(1, 7) AS n
        UNION ALL SELECT '+447100000001', 'assigned', 'x', 'paid', now() - INTERVAL '8 days'
        UNION ALL SELECT '+447100000001', 'assigned', 'x', 'paid', now() - INTERVAL '31 days'
        UNION ALL SELECT '+447100000001', 'released', 'x', 'ended', now() - INTERVAL '1 day';
"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_stock_of_the_pool_is_counted_and_forecast() {
    let system = test_system_with(0, &[]).await;
    seed_release::seed(&system.pool, &numbers(9)).await.unwrap();
    paid_clients(&system.pool, "client", 1).await;
    execute(&system.pool, POOL).await;
    let (code, shown, _) = system.operator(&["pool", "status"]).await.unwrap();
    let rows: Vec<&str> = shown.lines().collect();
    assert_eq!(rows[0], "3 free, 1 held by clients, 1 reserved by hand; 0 waiting; 3 cooling down, 1 drained");
    let level: Vec<&str> = rows[4].split_whitespace().collect();
    assert_eq!(level.join(" "), "GB 3 0 3 1 7 / 8 1 / 2 in about 3 days");
    assert_eq!(code, 0);

    let (_, json, _) = system.operator(&["pool", "status", "--json"]).await.unwrap();
    let json: Value = serde_json::from_str(&json).unwrap();
    let counts = ["free", "held", "reserved", "waiting", "cooling", "drained"].map(|key| json[key].as_u64().unwrap());
    assert_eq!(counts, [3, 1, 1, 0, 3, 1]);
    let states: Vec<&str> =
        json["numbers"].as_array().unwrap().iter().map(|it| it["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["held", "cooling", "cooling", "cooling", "drained", "reserved", "free", "free", "free"]);
    let region = &json["regions"][0];
    let keys = ["free", "spokenFor", "unclaimed", "cooling", "drained", "assignedIn7Days", "assignedIn30Days"];
    assert_eq!(keys.map(|key| region[key].as_u64().unwrap()), [3, 0, 3, 3, 1, 7, 8]);
    let keys = ["returningIn7Days", "returningIn30Days", "dryInDays"];
    assert_eq!(keys.map(|key| region[key].as_u64().unwrap()), [1, 2, 3]);

    execute(&system.pool, "DELETE FROM number_changes").await;
    let (_, shown, _) = system.operator(&["pool", "status"]).await.unwrap();
    assert!(shown.lines().nth(4).unwrap().ends_with("not in sight"), "{shown}");
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_that_waiting_clients_have_a_claim_on_do_not_count_as_left() {
    let pool = migrated_database(2).await;
    let now = clock::now();
    waiting_clients(&pool, 5, now).await;
    execute(&pool, r#"UPDATE clients SET "optedOutAt" = now() WHERE id IN ('client-4', 'client-5')"#).await;
    seed_release::seed(&pool, &numbers(2)).await.unwrap();
    offer::offer_free(&pool, &onboarding(), Wordings::built_in(), Duration::from_secs(3_600), now).await.unwrap();
    let region = status::pool_status(&pool, now).await.unwrap().regions.remove(0);
    assert_eq!((region.free, region.spoken_for, region.unclaimed), (2, 3, 0));
    assert_eq!(region.forecast.to_string(), "dry now: 1 client waits");
}

#[tokio::test(flavor = "multi_thread")]
async fn low_stock_raises_one_alert_that_is_cleared_once_there_are_enough_numbers() {
    let pool = migrated_database(10).await;
    let now = clock::now();
    let level = async |min: u32| pool_alerts::low_pools(&pool, min, now).await.unwrap();
    assert_eq!(level(3).await, AlertChanges::default(), "a pool that has never had a number is not low");
    seed_release::seed(&pool, &numbers(3)).await.unwrap();
    assert_eq!(level(3).await, AlertChanges::default());
    let id = paid_clients(&pool, "client", 1).await.remove(0);
    assert!(allocate::allocate(&pool, &id, now, None).await.unwrap().success);

    let looks = join_all((0..10).map(|_| pool_alerts::low_pools(&pool, 3, now))).await;
    let raised: Vec<String> = looks.into_iter().flat_map(|it| it.unwrap().raised).map(|alert| alert.about).collect();
    assert_eq!(raised.len(), 1, "{raised:?}");
    assert!(raised[0].starts_with("The pool of GB has 2 free numbers left that nobody has a claim on, fewer than 3."));
    assert_eq!(open(&pool).await, [("pool-low:GB".to_owned(), 1)]);

    seed_release::release(&pool, &numbers(1)[0], Duration::ZERO, clock::now(), None).await.unwrap();
    execute(
        &pool,
        "UPDATE twilio_number_pool SET status = 'AVAILABLE', cools_until = NULL, last_client_id = NULL, client_id = NULL",
    )
    .await;
    assert_eq!(level(3).await.cleared, ["pool-low:GB"]);
    assert_eq!(causes(&level(4).await), ["pool-low:GB"], "and raised anew when it crosses again");
    assert_eq!(level(0).await.cleared, ["pool-low:GB"], "switched off");
}

/// The setting reaches the sweep of a real worker.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_watches_the_stock_level_of_its_setting() {
    let system = test_system_with(2, &[("POOL_LEVEL_MIN", "2")]).await;
    seed_release::seed(&system.pool, &numbers(1)).await.unwrap();
    let said =
        |words: &str| system.workers.iter().flat_map(|it| it.lines()).filter(|line| line.starts_with(words)).count();
    eventually(PATIENCE, "the alert is in the log", async || said("ALERT The pool of GB has 1 free number") == 1).await;
    seed_release::seed(&system.pool, &numbers(2)).await.unwrap();
    eventually(PATIENCE, "the end of the alert is in the log", async || said("ALL CLEAR cause=\"pool-low:GB\"") == 1)
        .await;
    assert_eq!(said("ALERT The pool of GB"), 1);
    system.shut_down().await.unwrap();
}

const OPEN: &str = "SELECT cause FROM alerts WHERE cleared_at IS NULL";

/// The alert needs no sweep, and is raised even if the alert about low stock is off.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_pool_raises_an_alert_as_soon_as_a_client_who_paid_is_refused() {
    let system = test_system_with(1, &[("SWEEP_INTERVAL", "1h"), ("POOL_LEVEL_MIN", "0")]).await;
    paid_clients(&system.pool, "client", 2).await;
    execute(
        &system.pool,
        "INSERT INTO onboarding_states (client_id, current_state) VALUES ('client-1', 'S5_CONFIRM_LIVE')",
    )
    .await;
    system.stand_in.text(&phone(1), "YES").await.unwrap();
    system.settle().await.unwrap();
    assert_eq!(texts(&system.pool, OPEN).await, ["pool-empty:GB"]);
    let lines = || system.workers.iter().flat_map(|worker| worker.lines()).collect::<Vec<String>>();
    let said = |words: &str| lines().iter().filter(|line| line.starts_with(words)).count();
    assert_eq!(said("ALERT Clients who paid wait for a number: the pool of GB has none left"), 1);

    execute(&system.pool, "UPDATE alerts SET cleared_at = now()").await;
    let (code, _, stderr) = system.operator(&["pool", "allocate", "client-2"]).await.unwrap();
    assert!(code == 1 && stderr.contains("ALERT Clients who paid wait for a number"), "{stderr}");
    assert_eq!(texts(&system.pool, OPEN).await, ["pool-empty:GB"]);
    seed_release::seed(&system.pool, &numbers(1)).await.unwrap();
    let first = async || system.stand_in.bodies_to(&phone(1)).len() == 2;
    eventually(PATIENCE, "the first is offered a number", first).await;
    assert_eq!(texts(&system.pool, OPEN).await, ["pool-empty:GB"], "the second still waits for one");
    seed_release::seed(&system.pool, &numbers(2)).await.unwrap();
    eventually(PATIENCE, "the alert is cleared", async || texts(&system.pool, OPEN).await.is_empty()).await;
    system.shut_down().await.unwrap();
}
