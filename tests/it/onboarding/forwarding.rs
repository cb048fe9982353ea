//! Forwarding that stops working is found out: by a test that the client asks for, or because no call has come for long.

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use futures::future::join_all;
use jobrun::demo::TestSystem;
use jobrun_onboarding::forwarding_checks::Schedule;
use jobrun_onboarding::quiet_hours::QuietHours;
use jobrun_shared::db::audit_log::{Actor, Via};
use jobrun_shared::db::stops::Activity;
use jobrun_shared::{clock, forwarding_checks, stops};
use jobrun_tests::{
    PATIENCE, count, eventually, migrated_database, say, sweep_twice, test_system, test_system_with, texts,
};
use sqlx::PgPool;

const ANN: &str = "+447900000001";
const NUMBER: &str = "+447100000001";
const CALLER: &str = "+447700900123";

const CHECKS: &str = "SELECT count(*) FROM events WHERE kind = 'forwarding_check_due'";

async fn execute(pool: &PgPool, statements: impl Into<String>) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(statements.into())).execute(pool).await.unwrap();
}

/// Makes Ann a live client with an Android phone.
async fn with_ann(system: &TestSystem) {
    let ann = format!(
        r#"INSERT INTO clients (id, "phoneNumber", "paymentActive", "paymentStanding", "twilioNumber")
           VALUES ('ann', '447900000001', TRUE, 'active', '{NUMBER}');
           INSERT INTO onboarding_states (client_id, current_state, collected_fields)
           VALUES ('ann', 'COMPLETE', '{{"phoneType": "android"}}')"#
    );
    execute(&system.pool, ann).await;
}

/// Makes everything older, as if nothing had happened for so long.
async fn pass(pool: &PgPool, time: &str) {
    let statements = format!(
        r#"UPDATE events SET received_at = received_at - INTERVAL '{time}';
           UPDATE messages SET created_at = created_at - INTERVAL '{time}';
           UPDATE onboarding_states SET asked_at = asked_at - INTERVAL '{time}';
           UPDATE clients SET "createdAt" = "createdAt" - INTERVAL '{time}', "testAskedAt" = "testAskedAt" - INTERVAL '{time}',
                              "forwardingCheckAt" = "forwardingCheckAt" - INTERVAL '{time}',
                              "noCallsToldAt" = "noCallsToldAt" - INTERVAL '{time}'"#
    );
    execute(pool, statements).await;
}

async fn open_tests(pool: &PgPool) -> i64 {
    count(pool, r#"SELECT count(*) FROM clients WHERE "testAskedAt" IS NOT NULL"#).await
}

/// A call comes. Returns the texts that Ann gets about it.
async fn ring(system: &TestSystem, from: &str) -> Vec<String> {
    let before = system.stand_in.bodies_to(ANN).len();
    system.stand_in.call(from, NUMBER).await.unwrap();
    system.settle().await.unwrap();
    system.stand_in.bodies_to(ANN).split_off(before)
}

fn schedule() -> Schedule {
    Schedule { after: Some(TimeDelta::days(30)), quiet: None }
}

/// A winter's noon in London.
fn noon() -> DateTime<Utc> {
    "2026-01-10T12:00:00Z".parse().unwrap()
}

/// Makes live `clients` whose last call came at noon, and at whom the sweep looks at `look_at`, in rows alone.
async fn live_clients(pool: &PgPool, clients: i32, look_at: DateTime<Utc>) {
    let noon = noon();
    let statements = format!(
        r#"INSERT INTO clients (id, "phoneNumber", "paymentActive", "paymentStanding", "twilioNumber", "createdAt", "forwardingCheckAt")
           SELECT 'c' || n, 447900000000 + n, TRUE, 'active', '+' || 447100000000 + n, '{noon}', '{look_at}'
           FROM generate_series(1, {clients}) n;
           INSERT INTO onboarding_states (client_id, current_state) SELECT id, 'COMPLETE' FROM clients;
           INSERT INTO events (source, external_id, kind, lane, payload, received_at, processed_at, outcome, client_id)
           SELECT 'twilio', id, 'call_ended', 'number:' || "twilioNumber",
                  jsonb_build_object('kind', 'call_ended', 'from', '{CALLER}', 'to', "twilioNumber", 'status', 'completed'),
                  '{noon}', '{noon}', 'answered', id FROM clients"#
    );
    execute(pool, statements).await;
}

async fn process_all(pool: &PgPool) {
    execute(pool, "UPDATE events SET processed_at = now(), outcome = 'noted' WHERE processed_at IS NULL").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_succeeds_once_with_the_next_call_of_any_caller() {
    let system = test_system(2).await;
    with_ann(&system).await;
    for (from, words) in
        [(CALLER, "a call from +447700900123"), (ANN, "your test call"), ("anonymous", "your test call")]
    {
        let asked = say(&system, ANN, "TEST").await;
        assert!(asked[0].contains("ring your usual number"), "{asked:?}");
        assert_eq!(open_tests(&system.pool).await, 1);
        let told = ring(&system, from).await;
        assert!(
            told.len() == 1 && told[0].starts_with("Your forwarding works: ") && told[0].contains(words),
            "{told:?}"
        );
        assert_eq!(open_tests(&system.pool).await, 0);
    }
    let told = ring(&system, "+447700900124").await;
    assert!(told.len() == 1 && told[0].starts_with("Missed call: +447700900124"), "{told:?}");
    pass(&system.pool, "20 minutes").await;
    sweep_twice(&system).await;
    assert_eq!(count(&system.pool, CHECKS).await, 0, "no test is left");
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_without_a_call_tells_the_codes_and_can_be_repeated() {
    let system = test_system(2).await;
    with_ann(&system).await;
    for n in 1..=2 {
        say(&system, ANN, "is it still working?").await;
        sweep_twice(&system).await;
        assert_eq!(count(&system.pool, CHECKS).await, n - 1, "there is time yet");
        pass(&system.pool, "15 minutes").await;
        eventually(PATIENCE, "the test is over", async || open_tests(&system.pool).await == 0).await;
        system.settle().await.unwrap();
        let told = system.stand_in.bodies_to(ANN).pop().unwrap();
        let codes = "**61*+447100000001#\n**67*+447100000001#\n**62*+447100000001#";
        assert!(told.starts_with("No call has come through") && told.contains(codes), "{told}");
        sweep_twice(&system).await;
        assert_eq!((count(&system.pool, CHECKS).await, system.stand_in.bodies_to(ANN).len() as i64), (n, 2 * n));
    }
    system.shut_down().await.unwrap();
}

/// A call that still waits when the time is over ends the test before anything says that none came.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_no_worker_has_read_yet_is_not_overlooked() {
    let mut system = test_system_with(1, &[("SWEEP_INTERVAL", "1h")]).await;
    with_ann(&system).await;
    say(&system, ANN, "TEST").await;
    system.workers.remove(0).stop().await.unwrap();
    system.stand_in.call(CALLER, NUMBER).await.unwrap();
    pass(&system.pool, "15 minutes").await;
    assert_eq!(forwarding_checks::record_due(&system.pool, &schedule(), clock::now()).await.unwrap(), 0);
    system.start_worker().unwrap();
    system.settle().await.unwrap();
    let told = system.stand_in.bodies_to(ANN).split_off(1);
    assert!(
        told.len() == 2 && told[0].starts_with("Missed call") && told[1].starts_with("Your forwarding works"),
        "{told:?}"
    );
    assert_eq!(open_tests(&system.pool).await, 0);
    system.shut_down().await.unwrap();
}

/// A worker of the version before tells the test call as a missed one, and leaves the test open.
#[tokio::test(flavor = "multi_thread")]
async fn a_test_call_that_another_version_has_handled_is_still_its_success() {
    let system = test_system_with(1, &[("SWEEP_INTERVAL", "1h")]).await;
    with_ann(&system).await;
    ring(&system, CALLER).await;
    execute(
        &system.pool,
        r#"UPDATE clients SET "testAskedAt" = now() - INTERVAL '1 hour', "forwardingCheckAt" = now()"#,
    )
    .await;
    assert_eq!(forwarding_checks::record_due(&system.pool, &schedule(), clock::now()).await.unwrap(), 1);
    eventually(PATIENCE, "the result", async || system.stand_in.bodies_to(ANN).len() == 2).await;
    assert!(system.stand_in.bodies_to(ANN)[1].starts_with("Your forwarding works"));
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_a_call_for_a_month_is_told_once_until_a_call_comes() {
    let system = test_system_with(1, &[("QUIET_HOURS", "off")]).await;
    with_ann(&system).await;
    ring(&system, CALLER).await;
    let looked_at = r#"SELECT count(*) FROM clients WHERE "forwardingCheckAt" > now()"#;
    assert_eq!(count(&system.pool, looked_at).await, 1, "from its first event on");
    pass(&system.pool, "29 days").await;
    sweep_twice(&system).await;
    assert_eq!(count(&system.pool, CHECKS).await, 0);
    let said = async || system.stand_in.bodies_to(ANN).len();
    let before = said().await;
    pass(&system.pool, "1 day").await;
    eventually(PATIENCE, "the client is told", async || said().await == before + 1).await;
    let told = system.stand_in.bodies_to(ANN).pop().unwrap();
    assert!(told.contains("for 30 days") && told.contains("reply TEST"), "{told}");
    system.settle().await.unwrap();

    // Not again, even if the text itself has been removed as an old one.
    pass(&system.pool, "2 hours").await;
    sweep_twice(&system).await;
    execute(&system.pool, "DELETE FROM messages").await;
    for _ in 0..3 {
        pass(&system.pool, "30 days").await;
        sweep_twice(&system).await;
    }
    assert_eq!((count(&system.pool, CHECKS).await, said().await), (1, before + 1));

    // A call begins another silence. It writes nothing to the client.
    let client = r#"SELECT md5(c::TEXT) FROM clients c"#;
    let written = texts(&system.pool, client).await;
    ring(&system, CALLER).await;
    assert_eq!(texts(&system.pool, client).await, written);
    pass(&system.pool, "31 days").await;
    eventually(PATIENCE, "the client is told again", async || said().await == before + 3).await;
    system.shut_down().await.unwrap();
}

/// Ten sweeps at once. Returns how many checks they record.
async fn record_ten_times(pool: &PgPool, now: DateTime<Utc>) -> usize {
    let schedule = schedule();
    let recorded = join_all((0..10).map(|_| forwarding_checks::record_due(pool, &schedule, now))).await;
    recorded.into_iter().map(Result::unwrap).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_sweeps_at_once_record_each_check_once_and_fifty_wait_at_a_time() {
    let pool = migrated_database(10).await;
    live_clients(&pool, 300, noon()).await;
    let month = noon() + TimeDelta::days(30);
    assert_eq!(forwarding_checks::record_due(&pool, &schedule(), month - TimeDelta::hours(1)).await.unwrap(), 0);
    let mut rounds = 0;
    loop {
        if record_ten_times(&pool, month).await == 0 {
            break;
        }
        rounds += 1;
        assert_eq!(forwarding_checks::record_due(&pool, &schedule(), month).await.unwrap(), 0, "fifty wait already");
        process_all(&pool).await;
        if rounds == 1 {
            // The result of a test does not wait behind them.
            let waits = format!(
                r#"UPDATE clients SET "testAskedAt" = '{noon}', "forwardingCheckAt" = '{noon}'
                   WHERE id = (SELECT payload ->> 'client_id' FROM events WHERE kind = 'forwarding_check_due' LIMIT 1);
                   INSERT INTO events (source, external_id, kind, lane, payload, received_at)
                   SELECT 'system', 'w' || n, 'forwarding_check_due', 'client:none-' || n, '{{}}', '{noon}' FROM generate_series(1, 60) n"#,
                noon = noon()
            );
            execute(&pool, waits).await;
            assert_eq!(record_ten_times(&pool, month + TimeDelta::seconds(1)).await, 1);
            execute(&pool, "DELETE FROM events WHERE external_id LIKE 'w%'").await;
            process_all(&pool).await;
        }
    }
    assert!(rounds > 0);
    let each = "SELECT count(*) FROM events WHERE kind = 'forwarding_check_due' AND payload -> 'check' ->> 'check' = 'no_calls'";
    let clients = "SELECT count(DISTINCT payload ->> 'client_id') FROM events WHERE kind = 'forwarding_check_due'";
    assert_eq!((count(&pool, each).await, count(&pool, clients).await), (300, 300));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_check_is_recorded_at_night_during_a_stop_or_when_it_is_switched_off() {
    let pool = migrated_database(2).await;
    live_clients(&pool, 1, noon()).await;
    let month = noon() + TimeDelta::days(30);
    let by = Actor { who: "ada".to_owned(), via: Via::Command, why: Some("an outage".to_owned()) };
    stops::stop(&pool, Activity::Conversations, &by, clock::now()).await.unwrap();
    assert_eq!(forwarding_checks::record_due(&pool, &schedule(), month).await.unwrap(), 0, "stopped");
    stops::start(&pool, Activity::Conversations, &by, clock::now()).await.unwrap();

    let hour = |hour| NaiveTime::from_hms_opt(hour, 0, 0).unwrap();
    let at_night = Schedule { quiet: Some(QuietHours { from: hour(20), to: hour(8) }), ..schedule() };
    let evening = month + TimeDelta::hours(8);
    assert_eq!(forwarding_checks::record_due(&pool, &at_night, evening).await.unwrap(), 0, "at night");
    let next: DateTime<Utc> =
        sqlx::query_scalar(r#"SELECT "forwardingCheckAt" FROM clients"#).fetch_one(&pool).await.unwrap();
    assert_eq!(next, month + TimeDelta::hours(20), "at eight in the morning");
    let off = Schedule { after: None, quiet: None };
    assert_eq!(forwarding_checks::record_due(&pool, &off, next).await.unwrap(), 0, "switched off");
    execute(&pool, format!(r#"UPDATE clients SET "forwardingCheckAt" = '{next}'"#)).await;
    assert_eq!(forwarding_checks::record_due(&pool, &at_night, next).await.unwrap(), 1);
}

/// A worker of an earlier version brings clients live without saying when the sweep looks at them.
#[tokio::test(flavor = "multi_thread")]
async fn a_holder_at_whom_no_sweep_would_look_is_found_some_hundred_at_a_time_and_once() {
    let pool = migrated_database(2).await;
    live_clients(&pool, 1_100, noon()).await;
    execute(
        &pool,
        r#"UPDATE clients SET "forwardingCheckAt" = NULL;
           UPDATE clients SET "twilioNumber" = NULL WHERE id = 'c1';
           UPDATE onboarding_states SET current_state = 'S7_FWD_SENT' WHERE client_id = 'c2'"#,
    )
    .await;
    let without = r#"SELECT count(*) FROM clients WHERE "forwardingCheckAt" IS NULL"#;
    let mut left = vec![count(&pool, without).await];
    while *left.last().unwrap() > 1 && left.len() < 10 {
        forwarding_checks::record_due(&pool, &schedule(), noon()).await.unwrap();
        left.push(count(&pool, without).await);
    }
    assert_eq!(left, [1_100, 600, 100, 1], "the one without a number stays");
    let month = format!(
        r#"SELECT count(*) FROM clients WHERE "forwardingCheckAt" > '{0}' AND "forwardingCheckAt" <= '{0}'::TIMESTAMPTZ + INTERVAL '30 days'"#,
        noon()
    );
    let in_a_month: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(month)).fetch_one(&pool).await.unwrap();
    assert_eq!(in_a_month, 1_099);
    let most =
        r#"SELECT max(many) FROM (SELECT count(*) AS many FROM clients GROUP BY "forwardingCheckAt"::DATE) AS days"#;
    assert!(count(&pool, most).await < 110, "a tenth at most in one night");

    // The client that has a number and is not live is looked at in a month, and not found again before then.
    execute(&pool, format!(r#"UPDATE clients SET "forwardingCheckAt" = '{}' WHERE id = 'c2'"#, noon())).await;
    forwarding_checks::record_due(&pool, &schedule(), noon()).await.unwrap();
    let look: DateTime<Utc> = sqlx::query_scalar(r#"SELECT "forwardingCheckAt" FROM clients WHERE id = 'c2'"#)
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(look, noon() + TimeDelta::days(30));
}

/// The first look comes a day after a client goes live, although the sweep had a later one in mind.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_who_goes_live_is_looked_at_the_next_day() {
    let system = test_system(1).await;
    with_ann(&system).await;
    execute(
        &system.pool,
        r#"UPDATE onboarding_states SET current_state = 'S9_TEST_CALL';
           UPDATE clients SET "forwardingCheckAt" = now() + INTERVAL '20 days'"#,
    )
    .await;
    ring(&system, CALLER).await;
    let live = r#"SELECT count(*) FROM clients JOIN onboarding_states ON client_id = id
                  WHERE current_state = 'COMPLETE' AND "forwardingCheckAt" BETWEEN now() + INTERVAL '23 hours' AND now() + INTERVAL '25 hours'"#;
    assert_eq!(count(&system.pool, live).await, 1);
    system.shut_down().await.unwrap();
}

/// Events are removed after `RETENTION`, and the last call with them.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_last_call_is_not_known_is_told_of_no_days() {
    let system = test_system_with(1, &[("QUIET_HOURS", "off")]).await;
    with_ann(&system).await;
    ring(&system, CALLER).await;
    pass(&system.pool, "200 days").await;
    let before = system.stand_in.bodies_to(ANN).len();
    execute(&system.pool, "DELETE FROM events").await;
    execute(&system.pool, r#"UPDATE clients SET "forwardingCheckAt" = now()"#).await;
    eventually(PATIENCE, "the client is told", async || system.stand_in.bodies_to(ANN).len() == before + 1).await;
    let told = system.stand_in.bodies_to(ANN).pop().unwrap();
    assert!(told.starts_with("No call has come through") && told.contains("reply TEST"), "{told}");
    assert!(!told.contains("day"), "{told}");
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_network_that_a_client_names_is_kept() {
    let system = test_system(1).await;
    with_ann(&system).await;
    execute(&system.pool, "UPDATE onboarding_states SET current_state = 'S7_FWD_SENT'").await;
    assert!(say(&system, ANN, "it says error").await[0].contains("##002#"));
    assert!(say(&system, ANN, "still not working").await[0].contains("Which network"));
    assert!(say(&system, ANN, "three").await[0].contains("ring 333"));
    let kept = "SELECT collected_fields ->> 'network' FROM onboarding_states";
    assert_eq!(texts(&system.pool, kept).await, ["Three"]);
    let phone = "SELECT collected_fields ->> 'phoneType' FROM onboarding_states";
    assert_eq!(texts(&system.pool, phone).await, ["android"], "and no landline");
    let stuck = "SELECT count(*) FROM alerts WHERE cause LIKE 'stuck:%' AND cleared_at IS NULL";
    say(&system, ANN, "it says error").await;
    assert_eq!(count(&system.pool, stuck).await, 1);
    say(&system, ANN, "it says error").await;
    assert_eq!(count(&system.pool, stuck).await, 1, "a second answer about the network is no progress");
    say(&system, ANN, "DONE").await;
    assert_eq!(count(&system.pool, stuck).await, 0);
    system.shut_down().await.unwrap();
}
