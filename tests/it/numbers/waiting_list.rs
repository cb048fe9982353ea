//! The waiting list: the longest wait comes first, each client gets one text, and no client is forgotten.

use std::time::Duration;

use chrono::TimeDelta;
use futures::future::join_all;
use jobrun_onboarding::{E164, Wordings};
use jobrun_shared::clock;
use jobrun_shared::numbers::{allocate, offer, seed_release};
use jobrun_tests::{
    PATIENCE, count, eventually, migrated_database, numbers, paid_clients, phone, say, test_system_with, texts,
};
use sqlx::PgPool;

const HOLD: Duration = Duration::from_secs(48 * 60 * 60);

const READY: &str = "Good news! Your JobRun number is ready for you.\n\nReply READY to continue.";

async fn sweep_at(pool: &PgPool, hours: i64) -> Vec<String> {
    let onboarding = E164::parse("+447476955179").unwrap();
    offer::offer_free(pool, &onboarding, Wordings::built_in(), HOLD, clock::now() + TimeDelta::hours(hours))
        .await
        .unwrap()
}

/// Puts clients on the waiting list, in order. Returns their ids.
async fn waiting_clients(pool: &PgPool, how_many: usize) -> Vec<String> {
    let ids = paid_clients(pool, "client", how_many).await;
    for id in &ids {
        assert!(!allocate::allocate(pool, id, clock::now(), None).await.unwrap().success);
    }
    ids
}

/// The scheduled sweep is an hour away, so only the enqueued one can reach the clients.
#[tokio::test(flavor = "multi_thread")]
async fn numbers_freed_by_hand_reach_the_longest_waiting_at_once() {
    let system = test_system_with(3, &[("SWEEP_INTERVAL", "1h")]).await;
    waiting_clients(&system.pool, 4).await;
    let count_ready_texts =
        |n: usize| system.stand_in.bodies_to(&phone(n)).iter().filter(|body| *body == READY).count();

    let (code, stdout, _) = system.operator(&["pool", "seed", "+447111111111", "+447111111112"]).await.unwrap();
    assert_eq!((code, stdout.as_str()), (0, "2 new, 0 known already\n"));
    eventually(PATIENCE, "the first two are told", async || count_ready_texts(1) == 1 && count_ready_texts(2) == 1)
        .await;
    system.settle().await.unwrap();
    assert_eq!((count_ready_texts(3), count_ready_texts(4)), (0, 0));

    assert!(say(&system, &phone(1), "yes").await[0].contains("trade"), "the conversation is where it was");
    sqlx::raw_sql("INSERT INTO onboarding_states (client_id, current_state) SELECT id, 'S5_CONFIRM_LIVE' FROM clients")
        .execute(&system.pool)
        .await
        .unwrap();
    assert!(say(&system, &phone(1), "READY").await[0].contains("Your JobRun number is +447111111111"));

    let (code, stdout, _) = system.operator(&["pool", "release", "+447111111111", "--yes", "--now"]).await.unwrap();
    assert_eq!((code, stdout.as_str()), (0, "+447111111111 is available; it was held by client client-1\n"));
    eventually(PATIENCE, "the third is told", async || count_ready_texts(3) == 1).await;
    system.settle().await.unwrap();
    assert_eq!([1, 2, 3, 4].map(count_ready_texts), [1, 1, 1, 0]);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_concurrent_sweeps_tell_each_client_once_and_in_order() {
    let pool = migrated_database(10).await;
    let ids = waiting_clients(&pool, 5).await;
    seed_release::seed(&pool, &numbers(3)).await.unwrap();
    let offered: Vec<String> = join_all((0..10).map(|_| sweep_at(&pool, 0))).await.concat();
    assert_eq!(offered, ids[..3]);
    assert_eq!(texts(&pool, "SELECT client_id FROM messages WHERE kind = 'number_ready' ORDER BY id").await, ids[..3]);
    let promised = "SELECT count(*) FROM waiting_list WHERE promised_by = joined_at + INTERVAL '24 hours'";
    assert_eq!(count(&pool, promised).await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ignored_hold_passes_on_and_returns_to_its_client_in_the_next_round() {
    let pool = migrated_database(2).await;
    let ids = waiting_clients(&pool, 2).await;
    seed_release::seed(&pool, &numbers(1)).await.unwrap();
    assert_eq!(sweep_at(&pool, 0).await, ids[..1]);
    assert!(sweep_at(&pool, 47).await.is_empty(), "the hold stands");
    assert_eq!(sweep_at(&pool, 49).await, ids[1..], "and passes on");
    assert_eq!(sweep_at(&pool, 98).await, ids[..1], "and comes back");
    let early = allocate::allocate(&pool, &ids[1], clock::now(), None).await.unwrap();
    assert!(!early.success, "a client whose hold has passed on waits again");
    assert!(allocate::allocate(&pool, &ids[0], clock::now(), None).await.unwrap().success);
}

/// A number that is drained while it is held for a client is not available.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_whose_number_is_drained_ends_when_its_client_asks_and_the_client_gets_the_next_number() {
    let pool = migrated_database(2).await;
    let ids = waiting_clients(&pool, 1).await;
    seed_release::seed(&pool, &numbers(1)).await.unwrap();
    assert_eq!(sweep_at(&pool, 0).await, ids);
    seed_release::drain(&pool, &numbers(1)[0], false, clock::now(), None).await.unwrap();
    assert!(!allocate::allocate(&pool, &ids[0], clock::now(), None).await.unwrap().success);
    assert_eq!(count(&pool, "SELECT count(*) FROM waiting_list WHERE held_until IS NULL").await, 1);
    seed_release::seed(&pool, &numbers(2)).await.unwrap();
    assert_eq!(sweep_at(&pool, 0).await, ids, "the next number is offered");
    assert!(allocate::allocate(&pool, &ids[0], clock::now(), None).await.unwrap().success);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_who_waits_alone_is_told_once() {
    let pool = migrated_database(2).await;
    let ids = waiting_clients(&pool, 1).await;
    seed_release::seed(&pool, &numbers(1)).await.unwrap();
    assert_eq!(sweep_at(&pool, 0).await, ids);
    for days in 1..30 {
        assert!(sweep_at(&pool, 24 * days).await.is_empty());
    }
    assert!(allocate::allocate(&pool, &ids[0], clock::now(), None).await.unwrap().success, "and the place is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opted_out_client_is_skipped_and_keeps_its_place() {
    let pool = migrated_database(2).await;
    let ids = waiting_clients(&pool, 2).await;
    sqlx::raw_sql(r#"UPDATE clients SET "optedOutAt" = now() WHERE id = 'client-1'"#).execute(&pool).await.unwrap();
    seed_release::seed(&pool, &numbers(1)).await.unwrap();
    assert_eq!(sweep_at(&pool, 0).await, ids[1..]);
    assert_eq!(count(&pool, "SELECT count(*) FROM waiting_list").await, 2);
}
