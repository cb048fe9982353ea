//! A client that is deleted by hand leaves its number behind, and the sweep takes it back.

use std::time::Duration;

use chrono::TimeDelta;
use futures::future::try_join_all;
use jobrun_onboarding::E164;
use jobrun_shared::db::ownerless;
use jobrun_shared::watch::{self, Watched};
use jobrun_shared::{clock, operator};
use jobrun_tests::{PATIENCE, count, eventually, migrated_database, numbers, paid_clients, stage, texts};
use sqlx::PgPool;

const COOLING: Duration = Duration::from_secs(30 * 24 * 60 * 60);

const POOL: &str =
    "SELECT concat_ws('|', status, client_id, last_client_id) FROM twilio_number_pool ORDER BY seed_order";

/// Clients who pay and hold the first numbers of the pool, one each.
async fn served_clients(pool: &PgPool, how_many: usize) {
    for id in paid_clients(pool, "client", how_many).await {
        assert!(operator::allocate(pool, &id, clock::now()).await.unwrap().success);
    }
}

async fn execute(pool: &PgPool, statements: &'static str) {
    sqlx::raw_sql(statements).execute(pool).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_a_deleted_client_cools_down_and_one_kept_by_hand_is_left_alone() {
    let pool = migrated_database(10).await;
    operator::seed(&pool, &numbers(5)).await.unwrap();
    served_clients(&pool, 4).await;
    operator::drain(&pool, &numbers(1)[0], false, clock::now()).await.unwrap();
    // The second is deleted and its number then kept out of use by hand, and so is the fifth, which nobody ever had.
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
    operator::sweep(&pool, &onboarding, COOLING, now + TimeDelta::days(31)).await.unwrap();
    assert_eq!(texts(&pool, POOL).await[2], "AVAILABLE|client-3", "once it has cooled down");
    execute(&pool, "DELETE FROM clients WHERE id = 'client-4'").await;
    assert_eq!(ownerless::repair(&pool, Duration::ZERO, now).await.unwrap(), 1);
    assert_eq!(texts(&pool, POOL).await[3], "AVAILABLE|client-4", "at once, if numbers need not cool down");
}

const OPEN: &str = "SELECT concat_ws('|', cause, left(about, 44)) FROM alerts WHERE cleared_at IS NULL ORDER BY cause";

/// They were assigned when no history was written yet. Of some it can be told whether a client had them.
#[tokio::test(flavor = "multi_thread")]
async fn a_number_from_before_the_history_cools_down_if_a_client_had_it_and_is_raised_if_that_is_unclear() {
    let pool = migrated_database(2).await;
    operator::seed(&pool, &numbers(8)).await.unwrap();
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
        watch::unclear_holders(&pool, now).await.unwrap().raised.into_iter().map(|it| it.cause).collect();
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
        "by hand: the time is of later or missing, and there was no such client"
    );
    assert_eq!(watch::unclear_holders(&pool, now).await.unwrap(), Watched::default(), "once");

    // The operator decides.
    let third = operator::release(&pool, &numbers(3)[2], COOLING, now).await.unwrap();
    assert_eq!((third.cools_until, third.is_uncooled), (Some(now + COOLING), false), "as somebody's number");
    operator::drain(&pool, &numbers(4)[3], false, now).await.unwrap();
    let fifth = operator::release(&pool, &numbers(5)[4], COOLING, now).await.unwrap();
    assert_eq!((fifth.cools_until, fifth.is_uncooled), (None, false), "nobody's");
    let mut cleared = watch::unclear_holders(&pool, now).await.unwrap().cleared;
    cleared.sort_unstable();
    assert_eq!(cleared, raised);
    assert_eq!(texts(&pool, OPEN).await, [""; 0]);
}

/// The sweep of a real worker says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_raises_a_number_of_which_it_is_unclear_whether_a_client_had_it() {
    let stage = stage(1).await;
    operator::seed(&stage.pool, &numbers(2)).await.unwrap();
    let from_before = "
        DELETE FROM number_changes;
        UPDATE twilio_number_pool SET status = 'ASSIGNED', client_id = 'gone', assigned_at = now() - INTERVAL '1 year'";
    execute(&stage.pool, from_before).await;
    let words = "unclear-holder:gone|2 of the pool's numbers are assigned to gone";
    let raised = async || texts(&stage.pool, OPEN).await.iter().any(|it| it.starts_with(words));
    eventually(PATIENCE, "the alert is raised", raised).await;
    stage.strike().await.unwrap();
}

/// Through the schedule of a real worker.
#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_takes_back_the_number_of_a_deleted_client() {
    let stage = stage(1).await;
    operator::seed(&stage.pool, &numbers(1)).await.unwrap();
    served_clients(&stage.pool, 1).await;
    execute(&stage.pool, "DELETE FROM clients").await;
    let cools = "SELECT count(*) FROM twilio_number_pool WHERE status = 'COOLING_DOWN' AND cools_until > now() + INTERVAL '1 day'";
    eventually(PATIENCE, "the number cools down", async || count(&stage.pool, cools).await == 1).await;
    stage.strike().await.unwrap();
}
