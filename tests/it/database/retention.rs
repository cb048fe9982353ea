//! Finished rows go after the retention period, a limited number at a time.

use std::time::Duration;

use chrono::TimeDelta;
use futures::future::join_all;
use jobrun_shared::clock;
use jobrun_shared::retention::{self, Removed};
use jobrun_tests::{PATIENCE, count, eventually, migrated_database, test_system_with, texts};
use sqlx::{AssertSqlSafe, PgPool};

use super::execute;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const KEPT_FOR: Duration = Duration::from_secs(400 * DAY.as_secs());

async fn remove_old(pool: &PgPool) -> Removed {
    retention::remove_old(pool, KEPT_FOR, clock::now()).await.unwrap()
}

/// Returns the remaining events and texts, each by its name.
async fn left(pool: &PgPool) -> (Vec<String>, Vec<String>) {
    let events = texts(pool, "SELECT external_id FROM events ORDER BY id").await;
    (events, texts(pool, "SELECT body FROM messages ORDER BY id").await)
}

/// Events and texts of every kind, nearly all older than the retention period.
const OF_EVERY_KIND: &str = r#"
    INSERT INTO clients (id, "phoneNumber") VALUES ('client-1', '447900000001');
    INSERT INTO events (source, external_id, kind, lane, payload, received_at, processed_at, outcome)
        SELECT 'twilio', name, 'text', 'phone:447900000001', '{}', now() - INTERVAL '401 days',
               now() - done * INTERVAL '1 day', CASE WHEN done IS NOT NULL THEN 'moved' END
        FROM (VALUES ('answered', 401), ('waits', NULL), ('opted out', 401), ('paid', 401), ('answer waits', 401),
                     ('done lately', 399)) AS e (name, done);
    INSERT INTO messages (client_id, event_id, status, kind, to_phone, from_number, body, attempted_at, created_at,
                          updated_at)
        SELECT 'client-1', (SELECT id FROM events WHERE external_id = event), status, 'live', '+447900000001',
               '+447476955179', name, now(), now() - INTERVAL '401 days', now() - settled * INTERVAL '1 day'
        FROM (VALUES ('delivered', 'delivered', 'answered', 401), ('queued', 'queued', 'answer waits', 401),
                     ('sending', 'sending', NULL, 401), ('unknown', 'unknown', NULL, 401), ('sent', 'sent', NULL, 401),
                     ('failed', 'failed', NULL, 401), ('settled lately', 'delivered', NULL, 399),
                     ('tried again', 'undelivered', NULL, 401), ('being tried again', 'undelivered', NULL, 401))
            AS m (name, status, event, settled);
    INSERT INTO messages (status, kind, to_phone, from_number, body, retry_of, created_at, updated_at)
        SELECT CASE body WHEN 'tried again' THEN 'delivered' ELSE 'queued' END, kind, to_phone, from_number,
               'second of ' || body, id, created_at, updated_at
        FROM messages WHERE body LIKE '%tried again' ORDER BY id;
    INSERT INTO opt_changes (phone, change, changed_at, event_id)
        SELECT '447900000001', 'out', received_at, id FROM events WHERE external_id = 'opted out';
    INSERT INTO cases (client_id, kind, said, state, opened_at, last_said_at, closed_at, closed_by)
        SELECT 'client-1', kind, kind, 'COMPLETE', now() - INTERVAL '402 days', now(), now() - closed * INTERVAL '1 day',
               CASE WHEN closed IS NOT NULL THEN 'ada' END
        FROM (VALUES ('question', 401), ('help', 399), ('person', NULL)) AS c (kind, closed);
    INSERT INTO subscriptions (id, client_id, standing, heard_of_at) VALUES ('sub_1', 'client-1', 'active', now());
    INSERT INTO payment_events (event_id, stripe_id, kind, happened_at, subscription_id)
        SELECT id, 'evt_1', 'invoice.paid', received_at, 'sub_1' FROM events WHERE external_id = 'paid';
    INSERT INTO number_changes (number, change, why, changed_at)
        VALUES ('+447111111111', 'added', 'seeded', now() - INTERVAL '9 years');
"#;

#[tokio::test(flavor = "multi_thread")]
async fn only_finished_rows_past_the_retention_period_are_removed() {
    let pool = migrated_database(2).await;
    execute(&mut pool.acquire().await.unwrap(), OF_EVERY_KIND.to_owned()).await;
    let before = left(&pool).await;
    assert_eq!(retention::remove_old(&pool, Duration::ZERO, clock::now()).await.unwrap(), Removed::default());
    assert_eq!(retention::remove_old(&pool, KEPT_FOR + 2 * DAY, clock::now()).await.unwrap(), Removed::default());
    assert_eq!(left(&pool).await, before);

    assert_eq!(remove_old(&pool).await, Removed { texts: 5, events: 3, cases: 1 });
    let (events, messages) = left(&pool).await;
    assert_eq!(events, ["waits", "answer waits", "done lately"]);
    let kept = ["queued", "sending", "unknown", "settled lately", "being tried again", "second of being tried again"];
    assert_eq!(messages, kept);
    assert_eq!(texts(&pool, "SELECT kind FROM cases ORDER BY id").await, ["help", "person"]);
    for table in ["opt_changes", "payment_events", "subscriptions", "number_changes"] {
        let rows = sqlx::query_scalar::<_, i64>(AssertSqlSafe(format!("SELECT count(*) FROM {table}")));
        assert_eq!(rows.fetch_one(&pool).await.unwrap(), 1, "{table} is kept");
    }
    let answers = "SELECT count(*) FROM messages JOIN events ON events.id = event_id";
    assert_eq!(count(&pool, answers).await, 1, "a text keeps the event that it answers");
    assert_eq!(remove_old(&pool).await, Removed::default());

    execute(&mut pool.acquire().await.unwrap(), "UPDATE messages SET status = 'failed'".to_owned()).await;
    let later = clock::now() + TimeDelta::days(2);
    let removed = retention::remove_old(&pool, KEPT_FOR, later).await.unwrap();
    assert_eq!(removed, Removed { texts: 6, events: 2, cases: 1 });
    assert_eq!(left(&pool).await.0, ["waits"], "however old it is");
}

/// Inserts many old events and texts, and a last one of each that is recent.
async fn many_old_rows(pool: &PgPool, events: usize, messages: usize) {
    let rows = format!(
        "INSERT INTO events (source, external_id, kind, lane, payload, received_at, processed_at, outcome)
         SELECT 'twilio', n::TEXT, 'text', 'phone:1', '{{}}', at, at, 'moved'
         FROM (SELECT n, now() - CASE WHEN n < {events} THEN 500 ELSE 1 END * INTERVAL '1 day' AS at
               FROM generate_series(1, {events}) AS n) AS e;
         INSERT INTO messages (status, kind, to_phone, from_number, body, created_at, updated_at)
         SELECT 'delivered', 'live', '+447900000001', '+447476955179', n::TEXT, at, at
         FROM (SELECT n, now() - CASE WHEN n < {messages} THEN 500 ELSE 1 END * INTERVAL '1 day' AS at
               FROM generate_series(1, {messages}) AS n) AS m"
    );
    execute(&mut pool.acquire().await.unwrap(), rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_sweep_removes_a_limited_number_of_rows_and_the_next_goes_on() {
    let pool = migrated_database(2).await;
    many_old_rows(&pool, 21_501, 2_501).await;
    assert_eq!(remove_old(&pool).await, Removed { texts: 2_500, events: 20_000, cases: 0 });
    assert_eq!(count(&pool, "SELECT min(external_id::BIGINT) FROM events").await, 20_001, "the oldest first");
    assert_eq!(remove_old(&pool).await, Removed { texts: 0, events: 1_500, cases: 0 });
    assert_eq!(left(&pool).await, (vec!["21501".to_owned()], vec!["2501".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_removals_remove_each_row_once_and_do_not_wait_for_each_other() {
    let pool = migrated_database(10).await;
    many_old_rows(&pool, 5_001, 5_001).await;
    let removed = join_all((0..8).map(|_| remove_old(&pool))).await;
    let total = |of: fn(&Removed) -> usize| removed.iter().map(of).sum::<usize>();
    assert!(total(|it| it.texts) <= 5_000 && total(|it| it.events) <= 5_000, "{removed:?}");
    assert!(total(|it| it.texts) >= 1_000, "{removed:?}");
    remove_old(&pool).await;
    assert_eq!(left(&pool).await, (vec!["5001".to_owned()], vec!["5001".to_owned()]));

    let mut other_session = pool.begin().await.unwrap();
    sqlx::query(
        "UPDATE events SET received_at = now() - INTERVAL '500 days', processed_at = now() - INTERVAL '500 days'",
    )
    .execute(&pool)
    .await
    .unwrap();
    sqlx::query("SELECT pg_advisory_xact_lock(5, 0)").execute(&mut *other_session).await.unwrap();
    let skipped = tokio::time::timeout(PATIENCE, remove_old(&pool)).await.expect("it does not wait for its turn");
    assert_eq!(skipped, Removed::default());
    other_session.rollback().await.unwrap();
    assert_eq!(remove_old(&pool).await, Removed { texts: 0, events: 1, cases: 0 });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_row_is_skipped_without_waiting() {
    let pool = migrated_database(4).await;
    many_old_rows(&pool, 11, 11).await;
    let mut other_session = pool.begin().await.unwrap();
    for hold in
        ["SELECT id FROM events WHERE external_id = '5' FOR UPDATE", "UPDATE messages SET looks = 1 WHERE body = '5'"]
    {
        sqlx::query(hold).execute(&mut *other_session).await.unwrap();
    }
    let removed = tokio::time::timeout(PATIENCE, remove_old(&pool)).await.expect("it does not wait for the row");
    assert_eq!(removed, Removed { texts: 9, events: 9, cases: 0 });
    other_session.commit().await.unwrap();
    let named = |names: [&str; 2]| names.map(str::to_owned).to_vec();
    assert_eq!(left(&pool).await, (named(["5", "11"]), named(["5", "11"])));
    assert_eq!(remove_old(&pool).await, Removed { texts: 1, events: 1, cases: 0 });
}

/// The setting reaches the sweep of real workers.
#[tokio::test(flavor = "multi_thread")]
async fn workers_remove_rows_older_than_the_retention_setting() {
    let system = test_system_with(2, &[("RETENTION", "499d")]).await;
    many_old_rows(&system.pool, 3, 3).await;
    let gone = async || left(&system.pool).await == (vec!["3".to_owned()], vec!["3".to_owned()]);
    eventually(PATIENCE, "the old rows are gone", gone).await;
    system.shut_down().await.unwrap();
}
