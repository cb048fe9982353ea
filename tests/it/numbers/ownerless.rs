//! A client that is deleted by hand leaves its number assigned, and the sweep takes the number back.

use std::time::Duration;

use chrono::TimeDelta;
use futures::future::try_join_all;
use jobrun_onboarding::{E164, Wordings};
use jobrun_shared::clock;
use jobrun_shared::db::numbers::ownerless;
use jobrun_shared::numbers::promise::AlertChanges;
use jobrun_shared::numbers::{allocate, offer, pool_alerts, seed_release};
use jobrun_tests::{PATIENCE, count, eventually, migrated_database, numbers, paid_clients, test_system, texts};
use sqlx::PgPool;

const COOLING: Duration = Duration::from_secs(30 * 24 * 60 * 60);

const POOL: &str =
    "SELECT concat_ws('|', status, client_id, last_client_id) FROM twilio_number_pool ORDER BY seed_order";

/// Makes clients who pay and hold the first numbers of the pool, one each.
async fn served_clients(pool: &PgPool, how_many: usize) {
    for id in paid_clients(pool, "client", how_many).await {
        assert!(allocate::allocate(pool, &id, clock::now(), None).await.unwrap().success);
    }
}

async fn execute(pool: &PgPool, statements: &'static str) {
    sqlx::raw_sql(statements).execute(pool).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_a_deleted_client_cools_down_and_one_reserved_by_hand_is_left_alone() {
    let pool = migrated_database(10).await;
    seed_release::seed(&pool, &numbers(5)).await.unwrap();
    served_clients(&pool, 4).await;
    seed_release::drain(&pool, &numbers(1)[0], false, clock::now(), None).await.unwrap();
    // The second client is deleted and its number then reserved by hand, as is the fifth number, which no client ever had.
    let by_hand = "
        DELETE FROM clients WHERE id IN ('client-1', 'client-2', 'client-3');
        UPDATE twilio_number_pool SET status = 'ASSIGNED', client_id = 'dummy-client' WHERE seed_order IN (2, 5)";
    execute(&pool, by_hand).await;
    let now = clock::now();
    let repaired = try_join_all((0..8).map(|_| ownerless::repair(&pool, COOLING, now))).await.unwrap();
    assert_eq!(repaired.iter().sum::<usize>(), 2, "eight sweeps at once do it once");
    let expected = [
        "COOLING_DOWN|client-1",
        "ASSIGNED|dummy-client",
        "COOLING_DOWN|client-3",
        "ASSIGNED|client-4",
        "ASSIGNED|dummy-client",
    ];
    assert_eq!(texts(&pool, POOL).await, expected);
    let why = "SELECT concat_ws('|', change, client_id, why) FROM number_changes WHERE why = 'the client was deleted' ORDER BY id";
    assert_eq!(
        texts(&pool, why).await,
        ["released|client-1|the client was deleted", "released|client-3|the client was deleted"]
    );
    assert_eq!(ownerless::repair(&pool, COOLING, now).await.unwrap(), 0);

    let onboarding = E164::parse("+447476955179").unwrap();
    offer::offer_free(&pool, &onboarding, Wordings::built_in(), COOLING, now + TimeDelta::days(31)).await.unwrap();
    assert_eq!(texts(&pool, POOL).await[2], "AVAILABLE|client-3", "once it has cooled down");
    execute(&pool, "DELETE FROM clients WHERE id = 'client-4'").await;
    assert_eq!(ownerless::repair(&pool, Duration::ZERO, now).await.unwrap(), 1);
    assert_eq!(texts(&pool, POOL).await[3], "AVAILABLE|client-4", "at once, if numbers need not cool down");
}

const OPEN: &str = "SELECT concat_ws('|', cause, left(about, 44)) FROM alerts WHERE cleared_at IS NULL ORDER BY cause";

/// The history says nothing of these numbers. Two facts speak for a client: an assignment from before the history, and events under
/// the client's id. With one of them alone it is unclear.
#[tokio::test(flavor = "multi_thread")]
async fn a_number_from_before_the_history_cools_down_if_a_client_had_it_and_raises_an_alert_if_that_is_unclear() {
    let pool = migrated_database(2).await;
    seed_release::seed(&pool, &numbers(8)).await.unwrap();
    served_clients(&pool, 1).await;
    let from_before = "
        DELETE FROM number_changes WHERE number <> '+447100000001' OR change = 'added';
        INSERT INTO events (source, external_id, kind, lane, payload, received_at, processed_at, outcome, client_id)
            SELECT 'twilio', id, 'text', id, '{}', now(), now(), 'done', id FROM unnest('{gone-2,gone-4}'::TEXT[]) AS gone (id);
        UPDATE twilio_number_pool SET status = 'ASSIGNED', client_id = 'gone-' || seed_order, assigned_at = now() - INTERVAL '1 year'
            WHERE seed_order BETWEEN 2 AND 7;
        UPDATE twilio_number_pool SET assigned_at = now() WHERE seed_order IN (4, 5);
        UPDATE twilio_number_pool SET assigned_at = NULL WHERE seed_order = 6;
        UPDATE twilio_number_pool SET drained_at = now() WHERE seed_order = 7";
    execute(&pool, from_before).await;
    let now = clock::now();
    assert_eq!(ownerless::repair(&pool, COOLING, now).await.unwrap(), 1);
    let raised: Vec<String> =
        pool_alerts::unclear_holders(&pool, now).await.unwrap().raised.into_iter().map(|it| it.cause).collect();
    assert_eq!(raised, ["unclear-holder:gone-3", "unclear-holder:gone-4"]);
    let expected = [
        "ASSIGNED|client-1",
        "COOLING_DOWN|gone-2",
        "ASSIGNED|gone-3",
        "ASSIGNED|gone-4",
        "ASSIGNED|gone-5",
        "ASSIGNED|gone-6",
        "ASSIGNED|gone-7",
        "AVAILABLE",
    ];
    assert_eq!(
        texts(&pool, POOL).await,
        expected,
        "reserved by hand: the time of the assignment is later or missing, and no event names the client"
    );
    assert_eq!(
        pool_alerts::unclear_holders(&pool, now).await.unwrap(),
        AlertChanges::default(),
        "each alert is raised once"
    );

    // The operator decides.
    let third = seed_release::release(&pool, &numbers(3)[2], COOLING, now, None).await.unwrap();
    assert_eq!((third.cools_until, third.is_uncooled), (Some(now + COOLING), false), "it counts as a client's number");
    seed_release::drain(&pool, &numbers(4)[3], false, now, None).await.unwrap();
    let fifth = seed_release::release(&pool, &numbers(5)[4], COOLING, now, None).await.unwrap();
    assert_eq!((fifth.cools_until, fifth.is_uncooled), (None, false), "it counts as no client's number");
    let mut cleared = pool_alerts::unclear_holders(&pool, now).await.unwrap().cleared;
    cleared.sort_unstable();
    assert_eq!(cleared, raised);
    assert_eq!(texts(&pool, OPEN).await, [""; 0]);
}

/// The sweep of a real worker raises the alert.
#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_raises_an_alert_about_numbers_that_a_client_may_have_had() {
    let system = test_system(1).await;
    seed_release::seed(&system.pool, &numbers(2)).await.unwrap();
    let from_before = "
        DELETE FROM number_changes;
        UPDATE twilio_number_pool SET status = 'ASSIGNED', client_id = 'gone', assigned_at = now() - INTERVAL '1 year'";
    execute(&system.pool, from_before).await;
    let words = "unclear-holder:gone|2 of the pool's numbers are assigned to gone";
    let raised = async || texts(&system.pool, OPEN).await.iter().any(|it| it.starts_with(words));
    eventually(PATIENCE, "the alert is raised", raised).await;
    system.shut_down().await.unwrap();
}

/// The scheduled sweep of a real worker takes the number back.
#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_takes_back_the_number_of_a_deleted_client() {
    let system = test_system(1).await;
    seed_release::seed(&system.pool, &numbers(1)).await.unwrap();
    served_clients(&system.pool, 1).await;
    execute(&system.pool, "DELETE FROM clients").await;
    let cools = "SELECT count(*) FROM twilio_number_pool WHERE status = 'COOLING_DOWN' AND cools_until > now() + INTERVAL '1 day'";
    eventually(PATIENCE, "the number cools down", async || count(&system.pool, cools).await == 1).await;
    system.shut_down().await.unwrap();
}
