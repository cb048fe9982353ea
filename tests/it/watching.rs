//! What is watched: the promise of 24 hours, and how many numbers are left.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use jobrun_onboarding::{E164, wording};
use jobrun_shared::db::alerts::{self, Alert};
use jobrun_shared::watch::{self, Watched};
use jobrun_shared::{clock, operator};
use jobrun_tests::{PATIENCE, count, eventually, migrated_database, numbers, paid_clients, phone, stage_with, texts};
use serde_json::Value;
use sqlx::PgPool;

fn onboarding() -> E164 {
    E164::parse("+447476955179").unwrap()
}

/// Puts clients on the list at `at`, in order.
async fn waiting_clients(pool: &PgPool, how_many: usize, at: DateTime<Utc>) -> Vec<String> {
    let ids = paid_clients(pool, "client", how_many).await;
    for (place, id) in ids.iter().enumerate() {
        let at = at + TimeDelta::milliseconds(i64::try_from(place).unwrap());
        assert!(!operator::allocate(pool, id, at).await.unwrap().success);
    }
    ids
}

async fn watch_at(pool: &PgPool, at: DateTime<Utc>) -> Watched {
    watch::waiting(pool, &onboarding(), at).await.unwrap()
}

/// A sweep, and then a look at the waiting, as in the worker.
async fn sweep_at(pool: &PgPool, at: DateTime<Utc>) -> Watched {
    operator::sweep(pool, &onboarding(), Duration::from_secs(48 * 3_600), at).await.unwrap();
    watch_at(pool, at).await
}

/// Alerts but those about an empty pool, which have a test of their own.
async fn open(pool: &PgPool) -> Vec<(String, i64)> {
    let alerts = alerts::list_open(pool).await.unwrap().into_iter();
    let others = alerts.filter(|alert| !alert.cause.starts_with("pool-empty:"));
    others.map(|alert: Alert| (alert.cause, alert.times)).collect()
}

fn causes(watched: &Watched) -> Vec<&str> {
    watched.raised.iter().map(|alert| alert.cause.as_str()).collect()
}

async fn execute(pool: &PgPool, statements: &'static str) {
    sqlx::raw_sql(statements).execute(pool).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_is_told_once_before_the_promise_runs_out() {
    let pool = migrated_database(10).await;
    let start = clock::now();
    let ids = waiting_clients(&pool, 3, start).await;
    assert!(watch_at(&pool, start + TimeDelta::minutes(21 * 60 + 59)).await.told.is_empty());

    let at = start + TimeDelta::hours(22) + TimeDelta::seconds(1);
    let told: Vec<String> =
        join_all((0..10).map(|_| watch_at(&pool, at))).await.into_iter().flat_map(|it| it.told).collect();
    assert_eq!(told, ids, "ten looks at once tell each client once, and in order");
    for hours in 1..100 {
        assert!(watch_at(&pool, at + TimeDelta::hours(hours)).await.told.is_empty(), "{hours} hours later");
    }
    let said =
        texts(&pool, "SELECT client_id || '|' || kind || '|' || to_phone || '|' || body FROM messages ORDER BY id")
            .await;
    let body = wording::still_waiting().body;
    assert_eq!(said, [1, 2, 3].map(|n| format!("client-{n}|still_waiting|{}|{body}", phone(n))));
    assert_eq!(count(&pool, "SELECT count(*) FROM waiting_list WHERE told_late_at IS NOT NULL").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_offered_a_number_or_takes_no_texts_is_not_told_that_it_takes_longer() {
    let pool = migrated_database(2).await;
    let start = clock::now();
    let ids = waiting_clients(&pool, 6, start).await;
    operator::seed(&pool, &numbers(1)).await.unwrap();
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
    assert_eq!(watch_at(&pool, late).await.told, ids[1..2], "who takes texts again is told then");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_hears_at_twenty_and_at_twenty_four_hours_and_when_it_is_over() {
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
    assert_eq!(watch_at(&pool, at(19)).await, Watched::default());

    let raised = join_all((0..10).map(|_| watch_at(&pool, at(20)))).await;
    assert_eq!(raised.iter().flat_map(causes).collect::<Vec<_>>(), ["waiting-20h"]);
    assert_eq!(open(&pool).await, [("waiting-20h".to_owned(), 1)], "crossings are counted, not sweeps");
    assert_eq!(causes(&watch_at(&pool, at(24)).await), ["waiting-24h"]);
    assert!(causes(&watch_at(&pool, at(30)).await).is_empty());
    assert_eq!(open(&pool).await, [("waiting-20h".to_owned(), 2), ("waiting-24h".to_owned(), 1)]);

    operator::seed(&pool, &numbers(1)).await.unwrap();
    let offered = sweep_at(&pool, at(31)).await;
    assert_eq!(offered.cleared, ["waiting-24h"], "the second is still over twenty hours");
    let number = &numbers(2)[1..];
    operator::seed(&pool, number).await.unwrap();
    assert_eq!(sweep_at(&pool, at(32)).await.cleared, ["waiting-20h"]);
    assert!(open(&pool).await.is_empty());
}

/// Somebody else allocates behind the shared gate, for as long as this test likes.
#[tokio::test(flavor = "multi_thread")]
async fn as_long_as_nobody_is_due_allocations_are_not_held_up() {
    let pool = migrated_database(4).await;
    let start = clock::now();
    waiting_clients(&pool, 1, start).await;
    let mut allocation = pool.begin().await.unwrap();
    sqlx::query("SELECT pg_advisory_xact_lock_shared(2, 0)").execute(&mut *allocation).await.unwrap();
    let early = tokio::time::timeout(PATIENCE, watch_at(&pool, start + TimeDelta::hours(19))).await;
    assert_eq!(early.expect("who has nothing to say does not wait for the gate"), Watched::default());

    let due = tokio::spawn({
        let pool = pool.clone();
        async move { watch_at(&pool, start + TimeDelta::hours(23)).await }
    });
    let waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    eventually(PATIENCE, "who has something to say waits for the gate", async || count(&pool, waits).await == 1).await;
    allocation.rollback().await.unwrap();
    assert_eq!(due.await.unwrap().told, ["client-1"]);
}

/// Through the schedule of two real workers, to the client's phone and the operator's screen.
#[tokio::test(flavor = "multi_thread")]
async fn a_broken_promise_reaches_the_client_the_log_and_the_operator() {
    let stage = stage_with(2, &[]).await;
    let (code, stdout, _) = stage.operator(&["waiting"]).await.unwrap();
    assert_eq!((code, stdout.as_str()), (0, "nobody waits for a number\n"));
    waiting_clients(&stage.pool, 5, clock::now()).await;
    execute(
        &stage.pool,
        r#"UPDATE waiting_list SET joined_at = joined_at - INTERVAL '25 hours', promised_by = promised_by - INTERVAL '25 hours'
           WHERE client_id = 'client-1';
           UPDATE waiting_list SET joined_at = joined_at - INTERVAL '20 hours 30 minutes',
                                   promised_by = promised_by - INTERVAL '20 hours 30 minutes' WHERE client_id = 'client-2';
           UPDATE clients SET "optedOutAt" = now() WHERE id = 'client-4';
           UPDATE waiting_list SET held_at = now(), held_until = '2030-01-02 03:04Z', lapsed = 1 WHERE client_id = 'client-5'"#,
    )
    .await;
    let told = || stage.stand_in.bodies_to(&phone(1));
    eventually(PATIENCE, "the client is told", async || told() == [wording::still_waiting().body]).await;
    let lines = || stage.workers.iter().flat_map(|worker| worker.lines()).collect::<Vec<String>>();
    let alert = |hours: &str| {
        lines().iter().filter(|line| line.contains(&format!("ALERT Clients who paid have waited {hours}"))).count()
    };
    eventually(PATIENCE, "both marks are in the log", async || (alert("20"), alert("24")) == (1, 1)).await;

    let (code, shown, _) = stage.operator(&["waiting"]).await.unwrap();
    let rows: Vec<&str> = shown.lines().collect();
    assert_eq!(rows[0], "5 clients wait: 2 close to the promise or past it, 1 with a number held");
    assert!(rows[3].starts_with("1     GB     client-1 ") && rows[3].contains(" 25 h 00 min "), "{shown}");
    let stands = ["late", "close", "waiting", "not textable", "held until 2030-01-02 03:04, 1 hold let lapse"];
    for (row, stands) in rows[3..].iter().zip(stands) {
        assert!(row.ends_with(stands), "{row}");
    }
    assert_eq!((code, rows.len()), (0, 8));
    let (code, json, _) = stage.operator(&["waiting", "--json"]).await.unwrap();
    let json: Value = serde_json::from_str(&json).unwrap();
    let field = |name: &str| json.as_array().unwrap().iter().map(|it| it[name].clone()).collect::<Vec<Value>>();
    assert_eq!(code, 0);
    assert_eq!(field("place"), [1, 2, 3, 4, 5]);
    assert_eq!(field("standing"), ["late", "close", "waiting", "notTextable", "held"]);
    assert_eq!(field("heldUntil")[4], "2030-01-02T03:04:00Z");

    operator::seed(&stage.pool, &numbers(5)).await.unwrap();
    let clear = || lines().iter().filter(|line| line.starts_with("ALL CLEAR cause=\"waiting-2")).count();
    eventually(PATIENCE, "and it is over", async || clear() == 2).await;
    stage.settle().await.unwrap();
    assert_eq!(stage.stand_in.bodies_to(&phone(1)).len(), 2, "told that it takes longer, and that it is ready");
    stage.strike().await.unwrap();
}

/// Nine numbers of every kind, ten that were handed out of late, and three clients who wait.
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
async fn the_pool_s_level_is_counted_and_forecast() {
    let stage = stage_with(0, &[]).await;
    operator::seed(&stage.pool, &numbers(9)).await.unwrap();
    paid_clients(&stage.pool, "client", 1).await;
    execute(&stage.pool, POOL).await;
    let (code, shown, _) = stage.operator(&["pool", "status"]).await.unwrap();
    let rows: Vec<&str> = shown.lines().collect();
    assert_eq!(rows[0], "3 free, 1 held by clients, 1 reserved by hand; 0 waiting; 3 cooling down, 1 drained");
    let level: Vec<&str> = rows[4].split_whitespace().collect();
    assert_eq!(level.join(" "), "GB 3 0 3 1 7 / 8 1 / 2 in about 3 days");
    assert_eq!(code, 0);

    let (_, json, _) = stage.operator(&["pool", "status", "--json"]).await.unwrap();
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

    execute(&stage.pool, "DELETE FROM number_changes").await;
    let (_, shown, _) = stage.operator(&["pool", "status"]).await.unwrap();
    assert!(shown.lines().nth(4).unwrap().ends_with("not in sight"), "{shown}");
    stage.strike().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_that_the_waiting_have_a_claim_on_are_not_left() {
    let pool = migrated_database(2).await;
    let now = clock::now();
    waiting_clients(&pool, 5, now).await;
    execute(&pool, r#"UPDATE clients SET "optedOutAt" = now() WHERE id IN ('client-4', 'client-5')"#).await;
    operator::seed(&pool, &numbers(2)).await.unwrap();
    operator::sweep(&pool, &onboarding(), Duration::from_secs(3_600), now).await.unwrap();
    let region = operator::pool_status(&pool, now).await.unwrap().regions.remove(0);
    assert_eq!((region.free, region.spoken_for, region.unclaimed), (2, 3, 0));
    assert_eq!(region.forecast.to_string(), "dry now: 1 client waits");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_hears_once_when_few_numbers_are_left_and_when_there_are_enough_again() {
    let pool = migrated_database(10).await;
    let now = clock::now();
    let level = async |min: u32| watch::level(&pool, min, now).await.unwrap();
    assert_eq!(level(3).await, Watched::default(), "a pool that has never had a number is not low");
    operator::seed(&pool, &numbers(3)).await.unwrap();
    assert_eq!(level(3).await, Watched::default());
    let id = paid_clients(&pool, "client", 1).await.remove(0);
    assert!(operator::allocate(&pool, &id, now).await.unwrap().success);

    let looks = join_all((0..10).map(|_| watch::level(&pool, 3, now))).await;
    let raised: Vec<String> = looks.into_iter().flat_map(|it| it.unwrap().raised).map(|alert| alert.about).collect();
    assert_eq!(raised.len(), 1, "{raised:?}");
    assert!(raised[0].starts_with("The pool of GB has 2 free numbers left that nobody has a claim on, fewer than 3."));
    assert_eq!(open(&pool).await, [("pool-low:GB".to_owned(), 1)]);

    operator::release(&pool, &numbers(1)[0], Duration::ZERO, clock::now()).await.unwrap();
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
async fn a_worker_watches_the_level_that_it_is_told_to() {
    let stage = stage_with(2, &[("POOL_LEVEL_MIN", "2")]).await;
    operator::seed(&stage.pool, &numbers(1)).await.unwrap();
    let said =
        |words: &str| stage.workers.iter().flat_map(|it| it.lines()).filter(|line| line.starts_with(words)).count();
    eventually(PATIENCE, "the alert is in the log", async || said("ALERT The pool of GB has 1 free number") == 1).await;
    operator::seed(&stage.pool, &numbers(2)).await.unwrap();
    eventually(PATIENCE, "and that it is over", async || said("ALL CLEAR cause=\"pool-low:GB\"") == 1).await;
    assert_eq!(said("ALERT The pool of GB"), 1);
    stage.strike().await.unwrap();
}

/// Thirty texts that have been due for two minutes, and an event.
const LEFT_WAITING: &str = "
    INSERT INTO messages (kind, to_phone, from_number, body, created_at, updated_at, expires_at)
    SELECT 'live', '+' || 447900000000 + n, '+447476955179', 'Hello', now() - INTERVAL '2 minutes', now(),
           now() + INTERVAL '1 hour'
    FROM generate_series(1, 30) AS n;
    INSERT INTO events (source, external_id, kind, lane, payload, received_at)
    VALUES ('system', 'due', 'number_due', 'client:nobody', '{\"kind\": \"number_due\", \"client_id\": \"nobody\"}',
            now() - INTERVAL '2 minutes');
    UPDATE sweeps SET late_after = now() - INTERVAL '1 second'";

/// What dead workers would have to say is worked out when somebody asks.
#[tokio::test(flavor = "multi_thread")]
async fn dead_workers_are_seen_by_whoever_asks_for_alerts() {
    let mut stage = stage_with(0, &[]).await;
    execute(&stage.pool, LEFT_WAITING).await;
    let (code, shown, _) = stage.operator(&["alerts"]).await.unwrap();
    let says = [
        "no-worker No worker runs at all: none is known.",
        "events-waiting 1 event has been due for more than a minute",
        "texts-waiting 30 texts have been due for more than a minute",
        "no-sweep No sweep has succeeded yet",
    ];
    let unbroken = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(code == 1 && says.iter().all(|words| unbroken.contains(words)), "{shown}");
    let (code, json, _) = stage.operator(&["alerts", "--json"]).await.unwrap();
    let json: Value = serde_json::from_str(&json).unwrap();
    let causes: Vec<&str> = json.as_array().unwrap().iter().map(|it| it["cause"].as_str().unwrap()).collect();
    assert_eq!((code, causes), (1, vec!["no-worker", "events-waiting", "texts-waiting", "no-sweep"]));
    assert!(json[0]["id"].is_null());

    stage.start_worker().unwrap();
    let over = async || stage.operator(&["alerts"]).await.unwrap().1 == "all clear\n";
    eventually(PATIENCE, "all is well", over).await;
    // And one that dies without a word.
    stage.workers[0].kill().await.unwrap();
    let silent = async || {
        let (code, shown, _) = stage.operator(&["alerts"]).await.unwrap();
        code == 1 && shown.contains("No worker runs at all: the last was seen 3")
    };
    eventually(PATIENCE, "its silence is seen", silent).await;
    stage.strike().await.unwrap();
}

const OPEN: &str = "SELECT cause FROM alerts WHERE cleared_at IS NULL";

/// No sweep has to come by, and the warning of few numbers may be off.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_pool_is_an_alert_as_soon_as_a_client_who_paid_is_refused() {
    let stage = stage_with(1, &[("SWEEP_INTERVAL", "1h"), ("POOL_LEVEL_MIN", "0")]).await;
    paid_clients(&stage.pool, "client", 2).await;
    execute(
        &stage.pool,
        "INSERT INTO onboarding_states (client_id, current_state) VALUES ('client-1', 'S5_CONFIRM_LIVE')",
    )
    .await;
    stage.stand_in.text(&phone(1), "YES").await.unwrap();
    stage.settle().await.unwrap();
    assert_eq!(texts(&stage.pool, OPEN).await, ["pool-empty:GB"]);
    let lines = || stage.workers.iter().flat_map(|worker| worker.lines()).collect::<Vec<String>>();
    let said = |words: &str| lines().iter().filter(|line| line.starts_with(words)).count();
    assert_eq!(said("ALERT Clients who paid wait for a number: the pool of GB has none left"), 1);

    execute(&stage.pool, "UPDATE alerts SET cleared_at = now()").await;
    let (code, _, stderr) = stage.operator(&["pool", "allocate", "client-2"]).await.unwrap();
    assert!(code == 1 && stderr.contains("ALERT Clients who paid wait for a number"), "{stderr}");
    assert_eq!(texts(&stage.pool, OPEN).await, ["pool-empty:GB"]);
    operator::seed(&stage.pool, &numbers(1)).await.unwrap();
    let first = async || stage.stand_in.bodies_to(&phone(1)).len() == 2;
    eventually(PATIENCE, "the first is offered a number", first).await;
    assert_eq!(texts(&stage.pool, OPEN).await, ["pool-empty:GB"], "the second still waits for one");
    operator::seed(&stage.pool, &numbers(2)).await.unwrap();
    eventually(PATIENCE, "the operator hears that it is over", async || texts(&stage.pool, OPEN).await.is_empty())
        .await;
    stage.strike().await.unwrap();
}
