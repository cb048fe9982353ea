//! The promise to waiting clients: each is told before it is broken, and the operator is alerted.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use jobrun_onboarding::{Wordings, wording};
use jobrun_shared::clock;
use jobrun_shared::numbers::promise::{self, AlertChanges};
use jobrun_shared::numbers::{offer, seed_release};
use jobrun_tests::{PATIENCE, count, eventually, migrated_database, numbers, phone, test_system_with, texts};
use serde_json::Value;
use sqlx::PgPool;

use super::{causes, onboarding, open};
use crate::numbers::{execute, waiting_clients};

async fn watch_at(pool: &PgPool, at: DateTime<Utc>) -> AlertChanges {
    promise::waiting(pool, &onboarding(), Wordings::built_in(), at).await.unwrap()
}

fn still_waiting() -> String {
    wording::still_waiting().write(Wordings::built_in().of_region("UK")).body
}

/// Runs a sweep and then the watch over the waiting list, as the worker does.
async fn sweep_at(pool: &PgPool, at: DateTime<Utc>) -> AlertChanges {
    offer::offer_free(pool, &onboarding(), Wordings::built_in(), Duration::from_secs(48 * 3_600), at).await.unwrap();
    watch_at(pool, at).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_client_is_told_once_before_the_promise_runs_out() {
    let pool = migrated_database(10).await;
    let start = clock::now();
    let ids = waiting_clients(&pool, 3, start).await;
    assert!(watch_at(&pool, start + TimeDelta::minutes(21 * 60 + 59)).await.told.is_empty());

    let at = start + TimeDelta::hours(22) + TimeDelta::seconds(1);
    let told_ids: Vec<String> =
        join_all((0..10).map(|_| watch_at(&pool, at))).await.into_iter().flat_map(|it| it.told).collect();
    assert_eq!(told_ids, ids, "ten looks at once tell each client once, and in order");
    for hours in 1..100 {
        assert!(watch_at(&pool, at + TimeDelta::hours(hours)).await.told.is_empty(), "{hours} hours later");
    }
    let said =
        texts(&pool, "SELECT client_id || '|' || kind || '|' || to_phone || '|' || body FROM messages ORDER BY id")
            .await;
    let body = still_waiting();
    assert_eq!(said, [1, 2, 3].map(|n| format!("client-{n}|still_waiting|{}|{body}", phone(n))));
    assert_eq!(count(&pool, "SELECT count(*) FROM waiting_list WHERE told_late_at IS NOT NULL").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_who_was_offered_a_number_or_takes_no_texts_is_not_told_that_it_takes_longer() {
    let pool = migrated_database(2).await;
    let start = clock::now();
    let ids = waiting_clients(&pool, 6, start).await;
    seed_release::seed(&pool, &numbers(1)).await.unwrap();
    let late = start + TimeDelta::hours(23);
    execute(
        &pool,
        r#"UPDATE clients SET "optedOutAt" = now() WHERE id = 'client-2';
           UPDATE clients SET "unreachableAt" = now() WHERE id = 'client-3';
           UPDATE clients SET "paymentActive" = FALSE WHERE id = 'client-4';
           UPDATE waiting_list SET lapsed = 1 WHERE client_id = 'client-5'"#,
    )
    .await;
    assert_eq!(sweep_at(&pool, late).await.told, ids[5..], "the first has just been offered the number");
    execute(&pool, r#"UPDATE clients SET "optedOutAt" = NULL WHERE id = 'client-2'"#).await;
    assert_eq!(watch_at(&pool, late).await.told, ids[1..2], "a client who takes texts again is told then");
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_are_raised_at_twenty_and_twenty_four_hours_and_cleared_when_the_wait_is_over() {
    let pool = migrated_database(10).await;
    let start = clock::now();
    waiting_clients(&pool, 2, start).await;
    // The second joined ten hours after the first.
    execute(
        &pool,
        "UPDATE waiting_list SET joined_at = joined_at + INTERVAL '10 hours', promised_by = promised_by + INTERVAL '10 hours'
         WHERE client_id = 'client-2'",
    )
    .await;
    let at = |hours| start + TimeDelta::hours(hours) + TimeDelta::seconds(1);
    assert_eq!(watch_at(&pool, at(19)).await, AlertChanges::default());

    let raised = join_all((0..10).map(|_| watch_at(&pool, at(20)))).await;
    assert_eq!(raised.iter().flat_map(causes).collect::<Vec<_>>(), ["waiting-20h"]);
    assert_eq!(open(&pool).await, [("waiting-20h".to_owned(), 1)], "crossings are counted, not sweeps");
    assert_eq!(causes(&watch_at(&pool, at(24)).await), ["waiting-24h"]);
    assert!(causes(&watch_at(&pool, at(30)).await).is_empty());
    assert_eq!(open(&pool).await, [("waiting-20h".to_owned(), 2), ("waiting-24h".to_owned(), 1)]);

    seed_release::seed(&pool, &numbers(1)).await.unwrap();
    let offered = sweep_at(&pool, at(31)).await;
    assert_eq!(offered.cleared, ["waiting-24h"], "the second is still over twenty hours");
    let number = &numbers(2)[1..];
    seed_release::seed(&pool, number).await.unwrap();
    assert_eq!(sweep_at(&pool, at(32)).await.cleared, ["waiting-20h"]);
    assert!(open(&pool).await.is_empty());
}

/// Another session holds the allocation lock in shared mode for as long as the test wants.
#[tokio::test(flavor = "multi_thread")]
async fn the_watch_takes_the_allocation_lock_only_if_a_client_is_due() {
    let pool = migrated_database(4).await;
    let start = clock::now();
    waiting_clients(&pool, 1, start).await;
    let mut allocation = pool.begin().await.unwrap();
    sqlx::query("SELECT pg_advisory_xact_lock_shared(2, 0)").execute(&mut *allocation).await.unwrap();
    let early = tokio::time::timeout(PATIENCE, watch_at(&pool, start + TimeDelta::hours(19))).await;
    assert_eq!(
        early.expect("a watch without a due client does not wait for the allocation lock"),
        AlertChanges::default()
    );

    let due = tokio::spawn({
        let pool = pool.clone();
        async move { watch_at(&pool, start + TimeDelta::hours(23)).await }
    });
    let waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    eventually(PATIENCE, "a watch with a due client waits for the allocation lock", async || {
        count(&pool, waits).await == 1
    })
    .await;
    allocation.rollback().await.unwrap();
    assert_eq!(due.await.unwrap().told, ["client-1"]);
}

/// The sweeps of two real workers text the client and log the alerts, and the operator's command shows the wait.
#[tokio::test(flavor = "multi_thread")]
async fn a_broken_promise_reaches_the_client_the_log_and_the_operator() {
    let system = test_system_with(2, &[]).await;
    let (code, stdout, _) = system.operator(&["waiting"]).await.unwrap();
    assert_eq!((code, stdout.as_str()), (0, "nobody waits for a number\n"));
    waiting_clients(&system.pool, 5, clock::now()).await;
    execute(
        &system.pool,
        r#"UPDATE waiting_list SET joined_at = joined_at - INTERVAL '25 hours', promised_by = promised_by - INTERVAL '25 hours'
           WHERE client_id = 'client-1';
           UPDATE waiting_list SET joined_at = joined_at - INTERVAL '20 hours 30 minutes',
                                   promised_by = promised_by - INTERVAL '20 hours 30 minutes' WHERE client_id = 'client-2';
           UPDATE clients SET "optedOutAt" = now() WHERE id = 'client-4';
           UPDATE waiting_list SET held_at = now(), held_until = '2030-01-02 03:04Z', lapsed = 1 WHERE client_id = 'client-5'"#,
    )
    .await;
    let received = || system.stand_in.bodies_to(&phone(1));
    eventually(PATIENCE, "the client is told", async || received() == [still_waiting()]).await;
    let lines = || system.workers.iter().flat_map(|worker| worker.lines()).collect::<Vec<String>>();
    let alert = |hours: &str| {
        lines().iter().filter(|line| line.contains(&format!("ALERT Clients who paid have waited {hours}"))).count()
    };
    eventually(PATIENCE, "both marks are in the log", async || (alert("20"), alert("24")) == (1, 1)).await;

    let (code, shown, _) = system.operator(&["waiting"]).await.unwrap();
    let rows: Vec<&str> = shown.lines().collect();
    assert_eq!(rows[0], "5 clients wait: 2 close to the promise or past it, 1 with a number held");
    assert!(rows[3].starts_with("1     GB     client-1 ") && rows[3].contains(" 25 h 00 min "), "{shown}");
    assert!(rows[3].contains(&phone(1)), "a client is named by its phone too: {shown}");
    let stands = ["late", "close", "waiting", "not textable", "held until 2030-01-02 03:04, 1 hold let lapse"];
    for (row, stands) in rows[3..].iter().zip(stands) {
        assert!(row.ends_with(stands), "{row}");
    }
    assert_eq!((code, rows.len()), (0, 8));
    let (code, json, _) = system.operator(&["waiting", "--json"]).await.unwrap();
    let json: Value = serde_json::from_str(&json).unwrap();
    let field = |name: &str| json.as_array().unwrap().iter().map(|it| it[name].clone()).collect::<Vec<Value>>();
    assert_eq!(code, 0);
    assert_eq!(field("place"), [1, 2, 3, 4, 5]);
    assert_eq!(field("standing"), ["late", "close", "waiting", "notTextable", "held"]);
    assert_eq!(field("heldUntil")[4], "2030-01-02T03:04:00Z");

    seed_release::seed(&system.pool, &numbers(5)).await.unwrap();
    let clear = || lines().iter().filter(|line| line.starts_with("ALL CLEAR cause=\"waiting-2")).count();
    eventually(PATIENCE, "both alerts are cleared", async || clear() == 2).await;
    system.settle().await.unwrap();
    assert_eq!(system.stand_in.bodies_to(&phone(1)).len(), 2, "told that it takes longer, and that it is ready");
    system.shut_down().await.unwrap();
}
