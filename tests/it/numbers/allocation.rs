//! Concurrent allocation of numbers.
//!
//! `jobrun pool allocate` runs `allocate::allocate`, which allocates with the function that the conversation uses.

use std::collections::HashSet;
use std::time::Duration;

use chrono::TimeDelta;
use futures::future::join_all;
use jobrun_onboarding::Allocation;
use jobrun_shared::clock;
use jobrun_shared::db::clients;
use jobrun_shared::db::numbers::NumberRequest;
use jobrun_shared::numbers::allocate::{self, AllocationAnswer};
use jobrun_shared::numbers::{seed_release, status};
use jobrun_tests::{count, migrated_database, numbers, paid_clients, texts};
use sqlx::PgPool;

async fn allocate_all(pool: &PgPool, ids: &[String]) -> Vec<AllocationAnswer> {
    let start = clock::now();
    // Each client asks a microsecond after the one before, so that their order is defined.
    let ask = async |(place, id): (usize, &String)| {
        let asked_at = start + TimeDelta::microseconds(i64::try_from(place).unwrap());
        allocate::allocate(pool, id, asked_at, None).await.unwrap()
    };
    join_all(ids.iter().enumerate().map(ask)).await
}

fn distinct_numbers(answers: &[AllocationAnswer]) -> usize {
    answers.iter().filter_map(|answer| answer.phone_e164.as_deref()).collect::<HashSet<_>>().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_raced_against_itself_a_hundred_times_holds_one_number() {
    let pool = migrated_database(64).await;
    seed_release::seed(&pool, &numbers(100)).await.unwrap();
    let ids = vec![paid_clients(&pool, "client", 1).await.remove(0); 100];
    let answers = allocate_all(&pool, &ids).await;
    assert!(answers.iter().all(|answer| answer.success));
    assert_eq!(distinct_numbers(&answers), 1);
    assert_eq!(answers.iter().filter(|answer| answer.reason == Some("ALREADY_ASSIGNED")).count(), 99);
    assert_eq!(count(&pool, "SELECT count(*) FROM twilio_number_pool WHERE status = 'ASSIGNED'").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_clients_racing_for_two_hundred_numbers_all_get_one() {
    let pool = migrated_database(64).await;
    seed_release::seed(&pool, &numbers(200)).await.unwrap();
    let answers = allocate_all(&pool, &paid_clients(&pool, "client", 200).await).await;
    assert!(
        answers.iter().all(|answer| answer.success && answer.reason.is_none()),
        "no client is told that the pool is empty"
    );
    assert_eq!(distinct_numbers(&answers), 200);
    assert_eq!(count(&pool, "SELECT count(*) FROM waiting_list").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_clients_racing_for_a_hundred_numbers_share_them_out_and_the_rest_wait_in_order() {
    let pool = migrated_database(64).await;
    seed_release::seed(&pool, &numbers(100)).await.unwrap();
    let ids = paid_clients(&pool, "client", 200).await;
    let answers = allocate_all(&pool, &ids).await;
    assert_eq!(answers.iter().filter(|answer| answer.success).count(), 100);
    assert_eq!(distinct_numbers(&answers), 100);
    let refused: Vec<&str> =
        answers.iter().filter(|answer| !answer.success).map(|answer| answer.client_id.as_str()).collect();
    assert_eq!(texts(&pool, "SELECT client_id FROM waiting_list ORDER BY lapsed, joined_at").await, refused);
    let held = r#"SELECT count(*) FROM clients JOIN twilio_number_pool ON phone_e164 = "twilioNumber"
                  WHERE client_id = clients.id AND status = 'ASSIGNED'"#;
    assert_eq!(count(&pool, held).await, 100);
}

/// An open transaction holds the last number and rolls back: the pool was never empty.
#[tokio::test(flavor = "multi_thread")]
async fn a_number_in_an_open_transaction_does_not_make_the_pool_empty() {
    let pool = migrated_database(8).await;
    seed_release::seed(&pool, &numbers(1)).await.unwrap();
    let ids = paid_clients(&pool, "client", 2).await;

    let mut in_flight = pool.begin().await.unwrap();
    assert!(clients::lock(&mut in_flight, &ids[0]).await.unwrap());
    let request =
        NumberRequest { client_id: ids[0].clone(), region: "UK".to_owned(), number: None, since: clock::now() };
    let taken = jobrun_shared::db::numbers::allocate(&mut in_flight, &[request], clock::now()).await.unwrap();
    assert!(matches!(taken[..], [Allocation::Assigned(_)]));

    let other = tokio::spawn({
        let (pool, id) = (pool.clone(), ids[1].clone());
        async move { allocate::allocate(&pool, &id, clock::now(), None).await.unwrap() }
    });
    let waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    jobrun_tests::eventually(jobrun_tests::PATIENCE, "the other client waits for the allocation lock", async || {
        count(&pool, waits).await == 1
    })
    .await;
    in_flight.rollback().await.unwrap();
    assert!(other.await.unwrap().success);
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_handed_out_in_the_order_in_which_they_were_seeded() {
    let pool = migrated_database(2).await;
    let seeded = ["+447111111119", "+447111111110", "+447111111115"].map(str::to_owned);
    seed_release::seed(&pool, &seeded).await.unwrap();
    for (id, number) in paid_clients(&pool, "client", 3).await.iter().zip(seeded) {
        assert_eq!(allocate::allocate(&pool, id, clock::now(), None).await.unwrap().phone_e164, Some(number));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_does_not_overtake_a_waiting_client() {
    let pool = migrated_database(2).await;
    let ids = paid_clients(&pool, "client", 3).await;
    assert!(!allocate::allocate(&pool, &ids[0], clock::now(), None).await.unwrap().success);
    seed_release::seed(&pool, &numbers(1)).await.unwrap();
    let newcomer = allocate::allocate(&pool, &ids[1], clock::now(), None).await.unwrap();
    assert_eq!(newcomer.reason, Some("POOL_EMPTY"), "the one number is for the waiting client");
    seed_release::seed(&pool, &numbers(3)).await.unwrap();
    assert!(
        allocate::allocate(&pool, &ids[2], clock::now(), None).await.unwrap().success,
        "a third number is left over"
    );
    assert!(allocate::allocate(&pool, &ids[0], clock::now(), None).await.unwrap().success);
    assert!(allocate::allocate(&pool, &ids[1], clock::now(), None).await.unwrap().success);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_gets_a_number_of_its_own_region() {
    let pool = migrated_database(2).await;
    let ids = paid_clients(&pool, "client", 2).await;
    sqlx::raw_sql("UPDATE clients SET region = 'IE' WHERE id = 'client-1'").execute(&pool).await.unwrap();
    seed_release::seed(&pool, &["+447111111111".to_owned(), "+353871234567".to_owned()]).await.unwrap();
    for (id, number) in ids.iter().zip(["+353871234567", "+447111111111"]) {
        let answer = allocate::allocate(&pool, id, clock::now(), None).await.unwrap();
        assert_eq!(answer.phone_e164.as_deref(), Some(number));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_a_client_holds_goes_to_no_other_client_even_if_the_pool_says_available() {
    let pool = migrated_database(2).await;
    seed_release::seed(&pool, &numbers(1)).await.unwrap();
    let ids = paid_clients(&pool, "client", 2).await;
    assert!(allocate::allocate(&pool, &ids[0], clock::now(), None).await.unwrap().success);
    let reset = "UPDATE twilio_number_pool SET status = 'AVAILABLE', client_id = NULL, assigned_at = NULL";
    sqlx::raw_sql(reset).execute(&pool).await.unwrap();
    assert_eq!(allocate::allocate(&pool, &ids[1], clock::now(), None).await.unwrap().reason, Some("POOL_EMPTY"));
    let again = allocate::allocate(&pool, &ids[0], clock::now(), None).await.unwrap();
    assert_eq!(again.reason, Some("ALREADY_ASSIGNED"));
    assert_eq!(texts(&pool, "SELECT client_id FROM twilio_number_pool").await, ["client-1"], "the row is repaired");
    let stolen = r#"UPDATE clients SET "twilioNumber" = '+447100000001' WHERE id = 'client-2'"#;
    let refused = sqlx::raw_sql(stolen).execute(&pool).await.unwrap_err();
    assert!(refused.to_string().contains("a_number_has_one_holder"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unpaid_or_unknown_client_gets_no_number_by_hand() {
    let pool = migrated_database(2).await;
    seed_release::seed(&pool, &numbers(1)).await.unwrap();
    paid_clients(&pool, "client", 1).await;
    sqlx::raw_sql(r#"UPDATE clients SET "paymentActive" = FALSE"#).execute(&pool).await.unwrap();
    for (id, reason) in [("client-1", "PAYMENT_NOT_ACTIVE"), ("somebody", "CLIENT_NOT_FOUND")] {
        let answer = allocate::allocate(&pool, id, clock::now(), None).await.unwrap();
        assert_eq!((answer.success, answer.reason), (false, Some(reason)));
    }
    assert_eq!(count(&pool, "SELECT count(*) FROM twilio_number_pool WHERE status = 'AVAILABLE'").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_released_number_is_free_again_and_its_holder_has_none() {
    let pool = migrated_database(2).await;
    seed_release::seed(&pool, &numbers(1)).await.unwrap();
    paid_clients(&pool, "client", 1).await;
    allocate::allocate(&pool, "client-1", clock::now(), None).await.unwrap();
    let released = seed_release::release(&pool, "+447100000001", Duration::ZERO, clock::now(), None).await.unwrap();
    assert_eq!(released.holder.as_deref(), Some("client-1"));
    let status = status::pool_status(&pool, clock::now()).await.unwrap();
    assert_eq!((status.free, status.held, status.waiting), (1, 0, 0));
    assert!(
        seed_release::release(&pool, "+447100000009", Duration::ZERO, clock::now(), None)
            .await
            .unwrap_err()
            .to_string()
            .contains("not in the pool")
    );
}
