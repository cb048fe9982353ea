//! Queries cost the same however much the tables hold.

use std::fs;
use std::path::Path;

use jobrun_tests::{count, migrated_database, texts};
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection, PgPool};

use super::execute;

/// Tables with one row, or with no more rows than there is waiting work: a scan costs no more than that work. Those of a restore are
/// empty until there is one, those of erasures have a row for each person that was erased, and changes of phone one for each client that
/// has moved.
const SMALL: [&str; 17] = [
    "alert_deliveries",
    "audits",
    "erased_opt_outs",
    "erasure_texts",
    "erasures",
    "installation",
    "leases",
    "number_checks",
    "phone_changes",
    "restores",
    "sending",
    "stops",
    "stripe_audits",
    "sweeps",
    "unrecorded_texts",
    "waiting_list",
    "workers",
];

/// Indexes that hold only rows that wait or are being handled: a query may read them whole.
const OF_WHAT_WAITS: [&str; 20] = [
    "a_client_has_one_open_case_of_a_kind",
    "a_cause_has_one_open_alert",
    "a_number_is_intended_once",
    "attempted_messages",
    "chosen_texts_in_order",
    "chosen_texts_that_wait",
    "clients_taken_over",
    "clients_without_a_check",
    "cooling_numbers",
    "cooling_numbers_of_a_client",
    "deferred_events",
    "messages_to_be_checked",
    "open_alerts_by_subject",
    "queued_messages",
    "queued_repeats_to_a_client",
    "subscriptions_to_ask_about",
    "unfinished_bulk_actions",
    "unsettled_messages_of_a_recipient",
    "waiting_events",
    "waiting_events_by_lane",
];

/// Queries that may read a growing table whole, each with words that no other query contains and the reason.
const ALLOWED: [(&str, &str); 15] = [
    (r#"clients.id AS "holder_id?""#, "`jobrun pool status` lists the whole pool"),
    (r#"AS "assigned_in_30_days!""#, "the level of the whole pool, and its forecast: once a sweep, and by hand"),
    ("WITH gone AS MATERIALIZED", "numbers whose clients were deleted are looked for in the whole pool: once a sweep"),
    ("FROM unnest($1::TEXT[]) AS r (region)", "asked only about clients of other countries, before they pay"),
    ("starts_with(id, $1)", "an operator's command finds a client by the beginning of its id"),
    ("FROM number_purchases WHERE state <> 'not_bought'", "`jobrun pool buy` counts purchases before it makes one"),
    ("DELETE FROM checked_numbers", "`jobrun numbers check` replaces the numbers of the last check"),
    (r#"AS "knows_stripe!""#, "`jobrun doctor` asks whether there is any row, and reads one"),
    ("UPDATE audit_log SET why = NULL WHERE strpos", "an erasure looks for the phone in every reason"),
    ("UPDATE cases SET why = NULL WHERE strpos", "an erasure looks for the phone in every reason"),
    ("UPDATE bulk_actions SET why", "an erasure looks for the phone in every reason"),
    ("SELECT 'audit_log ' || id AS place", "an erasure looks for names in every reason"),
    ("FROM onboarding_states GROUP BY", "clients are counted for the metrics: every five minutes, by one worker"),
    (OLD_TEXTS, "the thousand oldest that are settled, which are nearly all"),
    (OLD_EVENTS, "the thousand oldest that are processed, which are nearly all"),
];

const OLDEST_WAITING: &str = "due_at IS NULL AND id > $3";
const AMONG_NEWEST: &str = "starts_with(lower(s.collected_fields->>'ownerName'), lower($3))";
const NEWEST: &str = "9223372036854775807";
const OLD_TEXTS: &str = "again.retry_of = messages.id";
const OLD_EVENTS: &str = "messages.event_id = events.id";

/// A query as it is compiled into the programs.
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

/// Returns a migrated database with large tables.
async fn grown_database() -> PgPool {
    let pool = migrated_database(2).await;
    sqlx::raw_sql(include_str!("query_plans.sql")).execute(&pool).await.unwrap();
    pool
}

/// Returns the generic plan of a query, which does not depend on its values, on a connection like those of the programs.
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

/// Collects the parts of a plan whose cost grows with the number of rows.
fn what_grows(plan: &Value, found: &mut Vec<String>) {
    let said = |key: &str| plan[key].as_str().unwrap_or_default();
    let (table, index) = (said("Relation Name"), said("Index Name"));
    if said("Node Type") == "Seq Scan" && !SMALL.contains(&table) {
        found.push(format!("reads all of {table}"));
    }
    // A limit does not help: when no row matches, the whole index is read.
    let of_what_waits = OF_WHAT_WAITS.contains(&index) || SMALL.contains(&table);
    if !index.is_empty() && plan["Index Cond"].is_null() && !of_what_waits {
        found.push(format!("reads all of the index {index}"));
    }
    for child in plan["Plans"].as_array().into_iter().flatten() {
        what_grows(child, found);
    }
}

/// Returns every query whose cost grows with the number of rows, and the part of it that grows.
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

/// Returns how many pages a query touches with real values. Rolls back its writes.
async fn pages(pool: &PgPool, queries: &[Query], words: &str, values: &[&str]) -> u64 {
    let known_by: Vec<&Query> = queries.iter().filter(|query| query.text.contains(words)).collect();
    let [query] = known_by[..] else { panic!("{} queries say {words}", known_by.len()) };
    let mut tx = pool.begin().await.unwrap();
    let plan = generic_plan(&mut tx, query, ", ANALYZE, BUFFERS", values).await;
    tx.rollback().await.unwrap();
    ["Shared Hit Blocks", "Shared Read Blocks"].iter().map(|key| plan[key].as_u64().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_query_reads_a_growing_table_or_index_whole() {
    let pool = grown_database().await;
    let (allowed, others): (Vec<Query>, Vec<Query>) = queries().into_iter().partition(Query::may_read_everything);
    let growing = queries_that_grow(&pool, &others).await;
    assert!(growing.is_empty(), "{growing:#?}");
    for query in &allowed {
        let growing = queries_that_grow(&pool, std::slice::from_ref(query)).await;
        assert!(!growing.is_empty(), "need not be allowed any more: {}", query.text);
    }
    assert_eq!(allowed.len(), ALLOWED.len(), "every allowed query exists");

    // The check detects a missing index: it names the queries that need it.
    execute(&mut pool.acquire().await.unwrap(), "DROP INDEX messages_to_be_checked".to_owned()).await;
    let growing = queries_that_grow(&pool, &others).await;
    assert!(!growing.is_empty(), "the missing index is detected");
    assert!(growing.iter().all(|(query, what)| query.contains("check_at <= $1") && what.starts_with("reads all of")));
}

/// A query can use an index and still skip nearly all the rows that it finds, so the hottest queries are measured.
#[tokio::test(flavor = "multi_thread")]
async fn the_hottest_queries_touch_few_pages_of_large_tables() {
    let (pool, queries) = (grown_database().await, queries());
    let kinds = "ARRAY['text', 'call_ended', 'delivery_report', 'stripe']";
    let of_no_conversation = "ARRAY['delivery_report', 'stripe']";
    let oldest_waiting = ["50", kinds, "0", of_no_conversation];
    let events_of_a_client = ["'client-7'", "'{}'", "'+447900000007'", "'infinity'", "150", NEWEST];
    let hottest: [(&str, &[&str], u64); 27] = [
        (OLDEST_WAITING, &oldest_waiting, 100),
        (
            "AND (due_at, id) > ($4, $5)",
            &["now()", "20", kinds, "now() - INTERVAL '1 day'", "0", of_no_conversation],
            100,
        ),
        (r#"split_part(cause, ':', -1) AS "subject!""#, &["ARRAY['client-7', 'client-8']"], 50),
        ("'the conversation went on'", &["ARRAY['client-7', 'client-8']", "now()", "'{missed_call}'"], 50),
        ("AND (due_at IS NULL OR due_at <= $1)\n", &["now()", kinds, of_no_conversation], 100),
        ("s.free_at > $3", &["now()", "10", "now()", "'{missed_call,voicemail,operator_reply}'"], 500),
        ("('sending', 'unknown') AND next_attempt_at <= $1\n", &["now()", "1", "now()"], 100),
        ("AND (next_attempt_at IS NULL OR next_attempt_at <= $1)\n", &["now()"], 100),
        ("SELECT min(free_at) FROM senders", &["now()"], 100),
        // The forwarding of live clients.
        (r#""testAskedAt" IS NOT NULL AND "forwardingCheckAt" <= $1"#, &["now()", "50"], 100),
        (r#""testAskedAt" IS NULL AND "forwardingCheckAt" <= $1"#, &["now()", "50"], 150),
        (r#"AS "called_at?""#, &["ARRAY['client-7']"], 150),
        // No row is that old.
        (OLD_TEXTS, &["now() - INTERVAL '9 years'", "1000"], 200),
        (OLD_EVENTS, &["now() - INTERVAL '9 years'", "1000"], 200),
        // Calls and messages.
        ("ORDER BY earlier.called_at", &["ARRAY['client-7', 'client-8']", "ARRAY['+447700901000', '']", "100"], 50),
        ("FROM calls WHERE called_at < $1", &["now() - INTERVAL '2 days'", "1000"], 50),
        ("deleted_at IS NULL AND next_attempt_at <= $1", &["now()", "50"], 50),
        ("FROM voicemails WHERE deleted_at < $1", &["now() - INTERVAL '30 days'", "1000"], 50),
        // The console's lists.
        ("status IN ('undelivered', 'failed') AND id < $1", &[NEWEST, "51"], 100),
        ("WHERE problems <> '[]' AND place > $1", &["0", "51"], 100),
        (r#"WHERE ("createdAt", id) < ($1, $2)"#, &["now()", "''", "51"], 100),
        ("AS named\n", &["'business:* & 77:*'", "5000", "51"], 500),
        // A common word: ends with the fifty-first of the newest.
        (AMONG_NEWEST, &["now()", "5000", "'zebra'", "TRUE", "'business:*'", "51"], 600),
        // A client's page.
        ("WITH own AS (\n             (SELECT", &events_of_a_client, 300),
        ("WHERE client_id = $1 AND id < $2 AND created_at < $3", &["'client-7'", NEWEST, "'infinity'", "150"], 100),
        ("WHERE to_phone = $1 AND created_at < $2", &["'+447900000007'", "'infinity'", "150", "'client-7'"], 100),
        ("(w.lapsed, w.joined_at, w.client_id)) AS", &["'client-19999'"], 150),
    ];
    for (words, values, most) in hottest {
        let touched = pages(&pool, &queries, words, values).await;
        assert!(touched <= most, "{touched} pages for the query that says {words}");
    }

    // However busy a client is, its page reads the newest of its events and texts, and an earlier page those before.
    let busy = "UPDATE events SET client_id = 'client-7' WHERE kind = 'text' AND id > 100000;
                UPDATE messages SET client_id = 'client-7', to_phone = '+447900000007'
                WHERE id > 30000 AND status IN ('sent', 'delivered')";
    sqlx::raw_sql(busy).execute(&pool).await.unwrap();
    sqlx::raw_sql("VACUUM ANALYZE events, messages").execute(&pool).await.unwrap();
    let earlier = ["'client-7'", "'{}'", "'+447900000007'", "now() - INTERVAL '200 days'", "150", "110000"];
    for values in [&events_of_a_client, &earlier] {
        let touched = pages(&pool, &queries, "WITH own AS (\n             (SELECT", values).await;
        assert!(touched <= 2_000, "{touched} pages for the events of a busy client");
    }
    for (words, values) in [
        ("WHERE client_id = $1 AND id < $2 AND created_at < $3", &["'client-7'", NEWEST, "'infinity'", "150"][..]),
        ("WHERE to_phone = $1 AND created_at < $2", &["'+447900000007'", "'infinity'", "150", "'client-7'"]),
    ] {
        let touched = pages(&pool, &queries, words, values).await;
        assert!(touched <= 400, "{touched} pages for the texts of a busy client: {words}");
    }

    let drop = "DROP INDEX waiting_events, waiting_events_by_lane";
    execute(&mut pool.acquire().await.unwrap(), drop.to_owned()).await;
    let touched = pages(&pool, &queries, OLDEST_WAITING, &oldest_waiting).await;
    assert!(touched > 1_000, "{touched} pages show that an index is missing");
}

/// A plan is made once, perhaps while no work waits. It must stay good when much work waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_made_while_no_work_waits_stays_good_when_much_work_waits() {
    let (pool, queries) = (migrated_database(2).await, queries());
    let lanes = "ARRAY['phone:447900000007', 'phone:447900000008']";
    let (kinds, phones) = ("ARRAY['text']", "ARRAY['447900000007', '447900000008']");
    let planned: [(&str, &[&str], u64); 6] = [
        ("s.free_at > $3", &["now()", "10", "now()", "'{missed_call,voicemail,operator_reply}'"], 500),
        (r#"event.lane AS "lane!""#, &[lanes, kinds, kinds], 50),
        (r#"SELECT asked.lane AS "lane!""#, &[lanes, kinds, "now()"], 50),
        ("IS NOT FALSE AND id = ANY($1)", &["ARRAY[7, 8]", kinds], 50),
        ("OR id = ANY($3)\n           ORDER BY id", &[phones, "ARRAY['']", "ARRAY['']"], 50),
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

/// Deleting a row searches every table that refers to it.
#[tokio::test(flavor = "multi_thread")]
async fn every_foreign_key_has_an_index() {
    let pool = migrated_database(1).await;
    let unfound = "SELECT conname::TEXT FROM pg_constraint AS rule WHERE contype = 'f' AND NOT EXISTS (
                       SELECT FROM pg_index
                       WHERE indrelid = rule.conrelid AND indkey[0] = rule.conkey[1] AND indpred IS NULL)";
    assert_eq!(texts(&pool, unfound).await, Vec::<String>::new());
    assert!(count(&pool, "SELECT count(*) FROM pg_constraint WHERE contype = 'f'").await > 8);
}
