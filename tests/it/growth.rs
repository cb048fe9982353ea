//! What becomes of it all when the tables have grown: every query still finds its rows by an index, and what is over
//! goes.

use std::fs;
use std::path::Path;
use std::time::Duration;

use chrono::TimeDelta;
use futures::future::join_all;
use jobrun_shared::clock;
use jobrun_shared::retention::{self, Removed};
use jobrun_tests::{PATIENCE, count, eventually, migrated_database, stage_with, texts};
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection, PgPool};

/// Tables that have no more rows than what waits, or one: reading them whole costs what is waiting costs.
const SMALL: [&str; 6] = ["audits", "installation", "sending", "sweeps", "waiting_list", "workers"];

/// Indexes of what waits, or is being dealt with, and of nothing else: they may be read whole.
const OF_WHAT_WAITS: [&str; 11] = [
    "a_cause_has_one_open_alert",
    "a_number_is_intended_once",
    "attempted_messages",
    "cooling_numbers",
    "cooling_numbers_of_a_client",
    "messages_to_be_checked",
    "queued_messages",
    "queued_messages_that_expire",
    "unsettled_messages_of_a_recipient",
    "waiting_events",
    "waiting_events_by_lane",
];

/// Queries that read a whole table that grows, by what only they say, and why they may.
const ALLOWED: [(&str, &str); 8] = [
    (r#"clients.id AS "holder_id?""#, "`jobrun pool status` lists the whole pool"),
    (r#"AS "assigned_in_30_days!""#, "the level of the whole pool, and its forecast: once a sweep, and by hand"),
    ("WITH gone AS MATERIALIZED", "numbers whose clients were deleted are looked for in the whole pool: once a sweep"),
    ("FROM unnest($1::TEXT[]) AS r (region)", "asked only about clients of other countries, before they pay"),
    ("starts_with(id, $1)", "an operator's command finds a client by the beginning of its id"),
    ("FROM number_purchases WHERE state <> 'not_bought'", "`jobrun pool buy` counts purchases before it makes one"),
    (OLD_TEXTS, "the thousand oldest that are settled, which are nearly all"),
    (OLD_EVENTS, "the thousand oldest that are processed, which are nearly all"),
];

const OLDEST_WAITING: &str = "due_at IS NULL AND id > $3";
const OLD_TEXTS: &str = "messages again WHERE again.retry_of";
const OLD_EVENTS: &str = "messages.event_id = events.id";

/// A query as it is compiled in.
struct Query {
    text: String,
    parameters: usize,
}

impl Query {
    fn may_read_everything(&self) -> bool {
        ALLOWED.iter().any(|(words, _)| self.text.contains(words))
    }
}

fn queries() -> Vec<Query> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.sqlx");
    let queries: Vec<Query> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let described: Value = serde_json::from_slice(&fs::read(entry.unwrap().path()).unwrap()).unwrap();
            let parameters = described["describe"]["parameters"]["Left"].as_array().unwrap().len();
            Query { text: described["query"].as_str().unwrap().to_owned(), parameters }
        })
        .collect();
    assert!(queries.len() > 100, "the queries have been found");
    queries
}

async fn execute(conn: &mut PgConnection, statements: String) {
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(conn).await.unwrap();
}

/// A migrated database, in which there is much.
async fn grown_database() -> PgPool {
    let pool = migrated_database(2).await;
    sqlx::raw_sql(include_str!("growth.sql")).execute(&pool).await.unwrap();
    pool
}

/// The plan of a query, whatever values it is given, on a connection as the programs have them.
async fn generic_plan(conn: &mut PgConnection, query: &Query, options: &str, values: &[&str]) -> Value {
    execute(conn, format!("PREPARE planned AS {}", query.text)).await;
    let values = if values.is_empty() { String::new() } else { format!("({})", values.join(", ")) };
    let explain = format!("EXPLAIN (FORMAT JSON{options}) EXECUTE planned{values}");
    let plans: Value = sqlx::raw_sql(AssertSqlSafe(explain)).fetch_one(&mut *conn).await.map(first).unwrap();
    execute(conn, "DEALLOCATE planned".to_owned()).await;
    plans[0]["Plan"].clone()
}

fn first(row: sqlx::postgres::PgRow) -> Value {
    sqlx::Row::get(&row, 0)
}

/// What of a plan costs more the more rows there are.
fn what_grows(plan: &Value, found: &mut Vec<String>) {
    let said = |key: &str| plan[key].as_str().unwrap_or_default();
    let (table, index) = (said("Relation Name"), said("Index Name"));
    if said("Node Type") == "Seq Scan" && !SMALL.contains(&table) {
        found.push(format!("reads all of {table}"));
    }
    // That somebody stops after some rows does not help: there may be none, and then all are looked at.
    let of_what_waits = OF_WHAT_WAITS.contains(&index) || SMALL.contains(&table);
    if !index.is_empty() && plan["Index Cond"].is_null() && !of_what_waits {
        found.push(format!("reads all of the index {index}"));
    }
    for child in plan["Plans"].as_array().into_iter().flatten() {
        what_grows(child, found);
    }
}

/// Every query that costs more the more rows there are, and what of it does.
async fn queries_that_grow(pool: &PgPool, queries: &[Query]) -> Vec<(String, String)> {
    let mut conn = pool.acquire().await.unwrap();
    let mut growing = Vec::new();
    for query in queries {
        let plan = generic_plan(&mut conn, query, "", &vec!["NULL"; query.parameters]).await;
        let mut found = Vec::new();
        what_grows(&plan, &mut found);
        growing.extend(found.into_iter().map(|what| (query.text.clone(), what)));
    }
    growing
}

/// How many pages a query touches, given real values, whatever it then does being undone.
async fn pages(pool: &PgPool, queries: &[Query], words: &str, values: &[&str]) -> u64 {
    let known_by: Vec<&Query> = queries.iter().filter(|query| query.text.contains(words)).collect();
    let [query] = known_by[..] else { panic!("{} queries say {words}", known_by.len()) };
    let mut tx = pool.begin().await.unwrap();
    let plan = generic_plan(&mut tx, query, ", ANALYZE, BUFFERS", values).await;
    tx.rollback().await.unwrap();
    ["Shared Hit Blocks", "Shared Read Blocks"].iter().map(|key| plan[key].as_u64().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_costs_the_same_however_much_there_is() {
    let pool = grown_database().await;
    let (allowed, others): (Vec<Query>, Vec<Query>) = queries().into_iter().partition(Query::may_read_everything);
    let growing = queries_that_grow(&pool, &others).await;
    assert!(growing.is_empty(), "{growing:#?}");
    for query in &allowed {
        let growing = queries_that_grow(&pool, std::slice::from_ref(query)).await;
        assert!(!growing.is_empty(), "need not be allowed any more: {}", query.text);
    }
    assert_eq!(allowed.len(), ALLOWED.len(), "all that is allowed is there");

    // And this test would tell: without an index, the queries that need it are named.
    execute(&mut pool.acquire().await.unwrap(), "DROP INDEX messages_to_be_checked".to_owned()).await;
    let growing = queries_that_grow(&pool, &others).await;
    assert!(!growing.is_empty(), "the missing index is missed");
    assert!(growing.iter().all(|(query, what)| query.contains("check_at <= $1") && what.starts_with("reads all of")));
}

/// An index may be used, and yet most of what it finds be passed over. So the hottest queries are asked.
#[tokio::test(flavor = "multi_thread")]
async fn the_hottest_queries_touch_a_few_pages_however_many_there_are() {
    let (pool, queries) = (grown_database().await, queries());
    let kinds = "ARRAY['text', 'call_ended', 'delivery_report', 'stripe']";
    let oldest_waiting = ["50", kinds, "0"];
    let hottest: [(&str, &[&str], u64); 9] = [
        (OLDEST_WAITING, &oldest_waiting, 100),
        ("AND (due_at, id) > ($4, $5)", &["now()", "20", kinds, "now() - INTERVAL '1 day'", "0"], 100),
        ("AND (due_at IS NULL OR due_at <= $1)) AS", &["now()", kinds], 100),
        ("s.free_at > $3", &["now()", "10", "now()"], 500),
        ("AND next_attempt_at <= $1\n", &["now()", "1", "now()"], 100),
        ("AND (next_attempt_at IS NULL OR next_attempt_at <= $1)) AS", &["now()"], 100),
        ("SELECT min(free_at) FROM senders", &["now()"], 100),
        // Nothing is as old as that.
        (OLD_TEXTS, &["now() - INTERVAL '9 years'", "1000"], 200),
        (OLD_EVENTS, &["now() - INTERVAL '9 years'", "1000"], 200),
    ];
    for (words, values, most) in hottest {
        let touched = pages(&pool, &queries, words, values).await;
        assert!(touched <= most, "{touched} pages for the query that says {words}");
    }

    let drop = "DROP INDEX waiting_events, waiting_events_by_lane";
    execute(&mut pool.acquire().await.unwrap(), drop.to_owned()).await;
    let touched = pages(&pool, &queries, OLDEST_WAITING, &oldest_waiting).await;
    assert!(touched > 1_000, "{touched} pages show that an index is missing");
}

/// A plan is made once, perhaps before anything waits. It must still do when much does.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_was_made_while_nothing_waited_does_when_much_waits() {
    let (pool, queries) = (migrated_database(2).await, queries());
    let lanes = "ARRAY['phone:447900000007', 'phone:447900000008']";
    let (kinds, phones) = ("ARRAY['text']", "ARRAY['447900000007', '447900000008']");
    let planned: [(&str, &[&str], u64); 5] = [
        ("s.free_at > $3", &["now()", "10", "now()"], 500),
        ("AS asked (lane)", &[lanes, kinds], 50),
        ("IS NOT FALSE AND id = ANY($1)", &["ARRAY[7, 8]"], 50),
        ("FOR NO KEY UPDATE SKIP LOCKED", &[phones, "ARRAY['']", "ARRAY['']"], 50),
        ("UPDATE events SET processed_at = $5", &["ARRAY[7, 8]", "ARRAY['x', 'x']", "NULL", "NULL", "now()"], 100),
    ];
    let mut conn = pool.acquire().await.unwrap();
    let names = planned.iter().map(|(words, values, most)| (words, values.join(", "), most)).zip(0..);
    let names: Vec<((&&str, String, &u64), i32)> = names.collect();
    for ((words, values, _), name) in &names {
        let [query] = queries.iter().filter(|query| query.text.contains(**words)).collect::<Vec<_>>()[..] else {
            panic!("not one query says {words}")
        };
        execute(&mut conn, format!("PREPARE q{name} AS {}; EXECUTE q{name}({values})", query.text)).await;
    }
    sqlx::raw_sql(
        r#"INSERT INTO clients (id, "phoneNumber") SELECT 'client-' || n, 447900000000 + n FROM generate_series(1, 4000) AS n;
           INSERT INTO events (source, external_id, kind, lane, payload, received_at)
           SELECT 'twilio', 'SM' || n, 'text', 'phone:' || 447900000000 + n, '{}', now() FROM generate_series(1, 4000) AS n;
           INSERT INTO messages (client_id, kind, to_phone, from_number, body, created_at, updated_at)
           SELECT 'client-' || n, 'welcome', '+' || 447900000000 + n, '+447476955179', 'Hello', now(), now()
           FROM generate_series(1, 4000) AS n"#,
    )
    .execute(&pool)
    .await
    .unwrap();
    for ((words, values, most), name) in &names {
        let explain = format!("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE q{name}({values})");
        let plan: Value = sqlx::raw_sql(AssertSqlSafe(explain)).fetch_one(&mut *conn).await.map(first).unwrap();
        let keys = ["Shared Hit Blocks", "Shared Read Blocks"];
        let touched: u64 = keys.iter().map(|key| plan[0]["Plan"][*key].as_u64().unwrap()).sum();
        assert!(touched <= **most, "{touched} pages for the query that says {words}");
    }
}

/// A row that is removed is looked for in every table that refers to it.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_refers_to_a_row_is_found_by_an_index() {
    let pool = migrated_database(1).await;
    let unfound = "SELECT conname::TEXT FROM pg_constraint AS rule WHERE contype = 'f' AND NOT EXISTS (
                       SELECT FROM pg_index
                       WHERE indrelid = rule.conrelid AND indkey[0] = rule.conkey[1] AND indpred IS NULL)";
    assert_eq!(texts(&pool, unfound).await, Vec::<String>::new());
    assert!(count(&pool, "SELECT count(*) FROM pg_constraint WHERE contype = 'f'").await > 8);
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const KEPT_FOR: Duration = Duration::from_secs(400 * DAY.as_secs());

async fn remove_old(pool: &PgPool) -> Removed {
    retention::remove_old(pool, KEPT_FOR, clock::now()).await.unwrap()
}

/// What is left, each row by its name.
async fn left(pool: &PgPool) -> (Vec<String>, Vec<String>) {
    let events = texts(pool, "SELECT external_id FROM events ORDER BY id").await;
    (events, texts(pool, "SELECT body FROM messages ORDER BY id").await)
}

/// Events and texts of every kind, most of them older than they are kept.
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
    INSERT INTO subscriptions (id, client_id, standing, heard_of_at) VALUES ('sub_1', 'client-1', 'active', now());
    INSERT INTO payment_events (event_id, stripe_id, kind, happened_at, subscription_id)
        SELECT id, 'evt_1', 'invoice.paid', received_at, 'sub_1' FROM events WHERE external_id = 'paid';
    INSERT INTO number_changes (number, change, why, changed_at)
        VALUES ('+447111111111', 'added', 'seeded', now() - INTERVAL '9 years');
"#;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_goes_once_it_is_old_and_nothing_else_does() {
    let pool = migrated_database(2).await;
    execute(&mut pool.acquire().await.unwrap(), OF_EVERY_KIND.to_owned()).await;
    let before = left(&pool).await;
    assert_eq!(retention::remove_old(&pool, Duration::ZERO, clock::now()).await.unwrap(), Removed::default());
    assert_eq!(retention::remove_old(&pool, KEPT_FOR + 2 * DAY, clock::now()).await.unwrap(), Removed::default());
    assert_eq!(left(&pool).await, before);

    assert_eq!(remove_old(&pool).await, Removed { texts: 5, events: 3 });
    let (events, messages) = left(&pool).await;
    assert_eq!(events, ["waits", "answer waits", "done lately"]);
    let kept = ["queued", "sending", "unknown", "settled lately", "being tried again", "second of being tried again"];
    assert_eq!(messages, kept);
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
    assert_eq!(removed, Removed { texts: 6, events: 2 });
    assert_eq!(left(&pool).await.0, ["waits"], "however old it is");
}

/// Many events and texts that are old, and a last one of each that is not.
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
async fn one_sweep_removes_only_so_much_and_the_next_goes_on() {
    let pool = migrated_database(2).await;
    many_old_rows(&pool, 21_501, 2_501).await;
    assert_eq!(remove_old(&pool).await, Removed { texts: 2_500, events: 20_000 });
    assert_eq!(count(&pool, "SELECT min(external_id::BIGINT) FROM events").await, 20_001, "the oldest first");
    assert_eq!(remove_old(&pool).await, Removed { texts: 0, events: 1_500 });
    assert_eq!(left(&pool).await, (vec!["21501".to_owned()], vec!["2501".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn several_at_once_remove_everything_once_and_do_not_wait_for_each_other() {
    let pool = migrated_database(10).await;
    many_old_rows(&pool, 5_001, 5_001).await;
    let removed = join_all((0..8).map(|_| remove_old(&pool))).await;
    let total = |of: fn(&Removed) -> usize| removed.iter().map(of).sum::<usize>();
    assert!(total(|it| it.texts) <= 5_000 && total(|it| it.events) <= 5_000, "{removed:?}");
    assert!(total(|it| it.texts) >= 1_000, "{removed:?}");
    remove_old(&pool).await;
    assert_eq!(left(&pool).await, (vec!["5001".to_owned()], vec!["5001".to_owned()]));

    let mut somebody = pool.begin().await.unwrap();
    sqlx::query(
        "UPDATE events SET received_at = now() - INTERVAL '500 days', processed_at = now() - INTERVAL '500 days'",
    )
    .execute(&pool)
    .await
    .unwrap();
    sqlx::query("SELECT pg_advisory_xact_lock(5, 0)").execute(&mut *somebody).await.unwrap();
    let skipped = tokio::time::timeout(PATIENCE, remove_old(&pool)).await.expect("it does not wait for its turn");
    assert_eq!(skipped, Removed::default());
    somebody.rollback().await.unwrap();
    assert_eq!(remove_old(&pool).await, Removed { texts: 0, events: 1 });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_somebody_holds_is_passed_over_and_not_waited_for() {
    let pool = migrated_database(4).await;
    many_old_rows(&pool, 11, 11).await;
    let mut somebody = pool.begin().await.unwrap();
    for hold in
        ["SELECT id FROM events WHERE external_id = '5' FOR UPDATE", "UPDATE messages SET looks = 1 WHERE body = '5'"]
    {
        sqlx::query(hold).execute(&mut *somebody).await.unwrap();
    }
    let removed = tokio::time::timeout(PATIENCE, remove_old(&pool)).await.expect("it does not wait for the row");
    assert_eq!(removed, Removed { texts: 9, events: 9 });
    somebody.commit().await.unwrap();
    let named = |names: [&str; 2]| names.map(str::to_owned).to_vec();
    assert_eq!(left(&pool).await, (named(["5", "11"]), named(["5", "11"])));
    assert_eq!(remove_old(&pool).await, Removed { texts: 1, events: 1 });
}

/// The setting reaches the sweep of real workers.
#[tokio::test(flavor = "multi_thread")]
async fn workers_remove_what_they_are_told_to() {
    let stage = stage_with(2, &[("RETENTION", "499d")]).await;
    many_old_rows(&stage.pool, 3, 3).await;
    let gone = async || left(&stage.pool).await == (vec!["3".to_owned()], vec!["3".to_owned()]);
    eventually(PATIENCE, "what is old is gone", gone).await;
    stage.strike().await.unwrap();
}
