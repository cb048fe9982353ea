//! The stop switch: while sending or conversations are stopped nothing leaves or is answered, and nothing is lost.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use jobrun::demo::TestSystem;
use jobrun_onboarding::Wordings;
use jobrun_shared::db::audit_log::{Actor, Via};
use jobrun_shared::db::stops::Activity;
use jobrun_shared::db::{gauges, outbox};
use jobrun_shared::numbers::{allocate, offer, promise, seed_release};
use jobrun_shared::refusal::Refusal;
use jobrun_shared::{clock, liveness, stops};
use jobrun_stand_in::stripe::Sale;
use jobrun_tests::{
    PATIENCE, count, eventually, migrated_database, numbers, paid_clients, phone, test_system, test_system_with, texts,
};
use serde_json::Value;
use sqlx::PgPool;

const CLIENTS: usize = 20;

const WAITING_EVENTS: &str = "SELECT count(*) FROM events WHERE processed_at IS NULL";

const QUEUED: &str = "SELECT count(*) FROM messages WHERE status = 'queued'";

fn ada() -> Actor {
    Actor { who: "ada".to_owned(), via: Via::Command, why: Some("a test".to_owned()) }
}

async fn run(system: &TestSystem, arguments: &[&str]) -> String {
    let (code, shown, errors) = system.operator(arguments).await.unwrap();
    assert_eq!(code, 0, "{arguments:?}: {shown}{errors}");
    shown
}

/// Waits until three sweeps have begun and ended. Each enqueues jobs for what it finds left behind.
async fn three_sweeps(system: &TestSystem) {
    let last = async || -> Option<DateTime<Utc>> {
        sqlx::query_scalar("SELECT last_success_at FROM sweeps").fetch_one(&system.pool).await.unwrap()
    };
    // The first of them may have begun before now.
    for _ in 0..4 {
        let before = last().await;
        eventually(PATIENCE, "a sweep", async || last().await > before).await;
    }
}

async fn text(system: &TestSystem, from: &str, body: &str) {
    let answer = system.stand_in.text(from, body).await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, "<Response/>"));
}

/// Returns the bodies of the outbox for each person, in the order of their writing.
async fn owed(system: &TestSystem) -> HashMap<String, Vec<String>> {
    let owed: Vec<(String, String)> =
        sqlx::query_as("SELECT to_phone, body FROM messages ORDER BY id").fetch_all(&system.pool).await.unwrap();
    by_person(owed)
}

fn taken(system: &TestSystem) -> HashMap<String, Vec<String>> {
    by_person(system.stand_in.messages().into_iter().map(|it| (it.to, it.body)).collect())
}

fn by_person(texts: Vec<(String, String)>) -> HashMap<String, Vec<String>> {
    let mut people: HashMap<String, Vec<String>> = HashMap::new();
    for (person, body) in texts {
        people.entry(person).or_default().push(body);
    }
    people
}

async fn open_causes(system: &TestSystem) -> Vec<String> {
    let (_, json, errors) = system.operator(&["alerts", "--json"]).await.unwrap();
    let open: Vec<Value> = serde_json::from_str(&json).expect(&errors);
    open.iter().map(|alert| alert["cause"].as_str().unwrap().to_owned()).collect()
}

/// Counts the jobs for texts and for events from now on.
const COUNT_JOBS: &str = "
    CREATE TABLE jobs_made (queue TEXT);
    CREATE FUNCTION count_job() RETURNS TRIGGER LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO public.jobs_made VALUES (NEW.job_type); RETURN NULL; END $$;
    CREATE TRIGGER count_job AFTER INSERT ON apalis.jobs FOR EACH ROW
    WHEN (NEW.job_type IN ('send-messages', 'process-events')) EXECUTE FUNCTION count_job()";

/// Waits for three sweeps that must make no job: nothing is left behind that may be done.
async fn three_idle_sweeps(system: &TestSystem) {
    three_sweeps(system).await;
    sqlx::raw_sql(COUNT_JOBS).execute(&system.pool).await.unwrap();
    three_sweeps(system).await;
    assert_eq!(texts(&system.pool, "SELECT queue FROM jobs_made").await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn while_sending_is_stopped_no_text_leaves_and_after_the_start_all_leave_in_order() {
    let mut system = test_system(2).await;
    run(&system, &["stop", "sending", "--why", "the wording is wrong"]).await;
    for n in 1..=CLIENTS {
        text(&system, &phone(n), "Plumber from London").await;
        text(&system, &phone(n), "ABC Plumbing").await;
    }
    eventually(PATIENCE, "every text is decided", async || count(&system.pool, WAITING_EVENTS).await == 0).await;
    let queued = count(&system.pool, QUEUED).await;
    assert!(queued >= CLIENTS as i64, "{queued}");

    // A worker that has just started knows of the stop, and one that was killed leaves no text to another.
    system.workers[0].kill().await.unwrap();
    system.workers.remove(0);
    system.start_worker().unwrap();
    system.workers[1].wait_for_line("takes jobs", PATIENCE).await.unwrap();
    three_idle_sweeps(&system).await;
    assert!(system.stand_in.messages().is_empty(), "{:?}", system.stand_in.messages());
    assert_eq!(count(&system.pool, QUEUED).await, queued);

    // They are overdue, and one alert says why.
    sqlx::raw_sql("UPDATE messages SET created_at = created_at - INTERVAL '10 minutes'")
        .execute(&system.pool)
        .await
        .unwrap();
    assert_eq!(open_causes(&system).await, ["stopped:sending"]);

    run(&system, &["start", "sending"]).await;
    system.settle().await.unwrap();
    assert_eq!(taken(&system), owed(&system).await, "each once, and each person's in order");
    assert_eq!(open_causes(&system).await, Vec::<String>::new());
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn while_conversations_are_stopped_nobody_is_answered_and_after_the_start_all_are_in_order() {
    let mut system = test_system(2).await;
    let (ann, leaver) = (phone(1), phone(2));
    text(&system, &ann, "Plumber from London").await;
    text(&system, &leaver, "Plumber from London").await;
    system.settle().await.unwrap();
    run(&system, &["stop", "conversations", "--why", "the answers are wrong"]).await;
    let before = count(&system.pool, "SELECT count(*) FROM events").await;

    text(&system, &ann, "ABC Plumbing").await;
    text(&system, &ann, "John Smith").await;
    text(&system, &leaver, "STOP").await;
    for n in 3..=CLIENTS {
        text(&system, &phone(n), "Plumber from London").await;
    }
    // A stranger's text to no number of ours, and a call.
    let (arrived, ended) = system.stand_in.call("+447700900123", "+447100000001").await.unwrap();
    assert_eq!((arrived.status, ended.status), (200, 204));
    assert_eq!(system.stand_in.stripe(&Sale::new(None).invoice_paid()).await.unwrap().status, 200);
    let others =
        "SELECT count(*) FROM events WHERE processed_at IS NULL AND kind NOT IN ('text', 'call_arrived', 'call_ended')";
    eventually(PATIENCE, "Stripe's event is processed", async || {
        count(&system.pool, "SELECT count(*) FROM events WHERE kind = 'stripe' AND processed_at IS NOT NULL").await == 1
    })
    .await;

    system.workers[0].kill().await.unwrap();
    system.workers.remove(0);
    system.start_worker().unwrap();
    system.workers[1].wait_for_line("takes jobs", PATIENCE).await.unwrap();
    three_idle_sweeps(&system).await;
    assert_eq!(count(&system.pool, others).await, 0);
    let recorded = count(&system.pool, "SELECT count(*) FROM events").await - before;
    assert_eq!(count(&system.pool, WAITING_EVENTS).await, recorded - 1, "all but Stripe's wait");
    assert_eq!(system.stand_in.messages().len(), 2, "nobody is answered");

    assert_eq!(open_causes(&system).await, ["stopped:conversations"]);

    run(&system, &["start", "conversations"]).await;
    system.settle().await.unwrap();
    let states = "SELECT state FROM events WHERE kind = 'text' AND lane = 'phone:447900000001' ORDER BY id";
    let states = texts(&system.pool, states).await;
    assert!(states.len() == 3 && states.is_sorted() && states[1] == "S3_OWNER_NAME", "{states:?}");
    assert_eq!(taken(&system), owed(&system).await, "each once, and each person's in order");
    let twice = "SELECT count(*) FROM (SELECT FROM messages GROUP BY event_id HAVING count(*) > 1) AS twice";
    assert_eq!(count(&system.pool, twice).await, 0);
    for n in 3..=CLIENTS {
        assert_eq!(system.stand_in.bodies_to(&phone(n)).len(), 1, "client {n}");
    }
    assert_eq!(system.stand_in.bodies_to(&leaver).len(), 1, "the opt-out is not forgotten");
    assert_eq!(texts(&system.pool, "SELECT change FROM opt_changes").await, ["out"]);
    assert_eq!(open_causes(&system).await, Vec::<String>::new());
    system.shut_down().await.unwrap();
}

/// The scheduled sweep is an hour away, so only the jobs of the start can do the work.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_start_the_work_that_waited_is_done_at_once() {
    let system = test_system_with(1, &[("SWEEP_INTERVAL", "1h")]).await;
    run(&system, &["stop", "conversations", "--why", "a test"]).await;
    run(&system, &["stop", "sending", "--why", "a test"]).await;
    text(&system, &phone(1), "Plumber from London").await;
    let waits =
        "SELECT count(*) FROM apalis.jobs WHERE job_type IN ('process-events', 'send-messages') AND status <> 'Done'";
    eventually(PATIENCE, "the job has found nothing", async || count(&system.pool, waits).await == 0).await;
    run(&system, &["start", "conversations"]).await;
    eventually(PATIENCE, "it is decided", async || count(&system.pool, QUEUED).await == 1).await;
    eventually(PATIENCE, "the job has found nothing", async || count(&system.pool, waits).await == 0).await;
    run(&system, &["start", "sending"]).await;
    eventually(PATIENCE, "it is sent", async || system.stand_in.messages().len() == 1).await;
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_stops_and_starts_and_refuses_what_is_so_already() {
    let system = test_system(0).await;
    let refused = async |arguments: &[&str], code: i32, words: &str| {
        let ended = system.operator(arguments).await.unwrap();
        assert!(ended.0 == code && ended.2.contains(words), "{arguments:?}: {ended:?}");
    };
    assert_eq!(run(&system, &["stop"]).await, "nothing is stopped\n");
    assert_eq!(run(&system, &["stop", "--json"]).await, "[]\n");
    refused(&["start", "sending"], 1, "sending is not stopped").await;
    refused(&["stop", "sending"], 2, "--why").await;
    refused(&["stop", "sending", "--why", " "], 2, "say why").await;
    refused(&["stop", "everything", "--why", "x"], 2, "everything").await;
    refused(&["start"], 2, "").await;

    let shown = run(&system, &["stop", "conversations", "--why", "wrong answers", "--json"]).await;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&shown["what"], &shown["why"]), (&"conversations".into(), &"wrong answers".into()));
    refused(&["stop", "conversations", "--why", "again"], 1, "conversations are stopped already, since ").await;
    refused(&["stop", "conversations", "--why", "again"], 1, ": wrong answers").await;
    refused(&["start", "sending"], 1, "sending is not stopped").await;
    let shown = run(&system, &["stop"]).await;
    assert!(shown.contains("conversations") && shown.contains("wrong answers"), "{shown}");
    assert!(!shown.contains("sending"), "{shown}");
    let (_, doctor, _) = system.operator(&["doctor", "--json"]).await.unwrap();
    let findings: Vec<Value> = serde_json::from_str(&doctor).unwrap();
    let stops: Vec<&Value> = findings.iter().filter(|finding| finding["check"] == "stops").collect();
    assert!(stops.len() == 1 && stops[0]["verdict"] == "warning", "{stops:?}");
    let words = stops[0]["finding"].as_str().unwrap();
    assert!(words.starts_with("conversations are stopped since ") && words.ends_with(": wrong answers"), "{words}");

    let shown = run(&system, &["start", "conversations", "--why", "mended"]).await;
    assert!(shown.starts_with("conversations are started; "), "{shown}");
    let log = "SELECT action || ' ' || COALESCE(why, '-') || ' ' || COALESCE(details->>'stoppedWhy', '-') FROM audit_log ORDER BY id";
    assert_eq!(
        texts(&system.pool, log).await,
        ["conversations.stopped wrong answers -", "conversations.started mended wrong answers"]
    );
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_stop_or_start_at_once_one_is_refused() {
    let pool = migrated_database(8).await;
    for _ in 0..10 {
        let by = ada();
        let stop = || stops::stop(&pool, Activity::Sending, &by, clock::now());
        let (one, other) = tokio::join!(stop(), stop());
        assert_eq!(usize::from(one.is_ok()) + usize::from(other.is_ok()), 1);
        assert!(matches!(one.and(other), Err(Refusal::StoppedAlready(Activity::Sending, _))));
        let start = || stops::start(&pool, Activity::Sending, &by, clock::now());
        let (one, other) = tokio::join!(start(), start());
        assert_eq!(usize::from(one.is_ok()) + usize::from(other.is_ok()), 1);
        assert!(matches!(one.and(other), Err(Refusal::NotStopped(Activity::Sending))));
    }
    assert_eq!(count(&pool, "SELECT count(*) FROM audit_log").await, 20);
}

async fn set(pool: &PgPool, what: Activity, stopped: bool, now: DateTime<Utc>) {
    if stopped {
        stops::stop(pool, what, &ada(), now).await.unwrap();
    } else {
        stops::start(pool, what, &ada(), now).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_number_is_offered_and_no_delay_is_told_while_either_is_stopped() {
    let onboarding = crate::numbers::onboarding();
    for what in Activity::ALL {
        let pool = migrated_database(4).await;
        let (now, hold) = (clock::now(), std::time::Duration::from_secs(3_600));
        let ids = paid_clients(&pool, "client", 2).await;
        for id in &ids {
            assert!(!allocate::allocate(&pool, id, now, None).await.unwrap().success);
        }
        seed_release::seed(&pool, &numbers(1)).await.unwrap();
        let late = now + TimeDelta::hours(23);
        set(&pool, what, true, now).await;
        assert!(
            offer::offer_free(&pool, &onboarding, Wordings::built_in(), hold, now).await.unwrap().is_empty(),
            "{what:?}"
        );
        assert!(
            promise::waiting(&pool, &onboarding, Wordings::built_in(), late).await.unwrap().told.is_empty(),
            "{what:?}"
        );
        assert_eq!(count(&pool, "SELECT count(*) FROM messages").await, 0);
        assert_eq!(count(&pool, "SELECT count(*) FROM waiting_list WHERE held_until IS NOT NULL").await, 0);
        set(&pool, what, false, now).await;
        assert_eq!(
            offer::offer_free(&pool, &onboarding, Wordings::built_in(), hold, late).await.unwrap(),
            ids[..1],
            "{what:?}"
        );
        assert_eq!(
            promise::waiting(&pool, &onboarding, Wordings::built_in(), late).await.unwrap().told,
            ids[1..],
            "{what:?}"
        );
    }
}

/// A client whose READY waits for the end of the stop keeps its number.
#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_a_stop_does_not_count_against_a_hold_and_two_stops_at_once_count_once() {
    let onboarding = crate::numbers::onboarding();
    let pool = migrated_database(4).await;
    let now = DateTime::from_timestamp_micros(clock::now().timestamp_micros()).unwrap();
    let (at, hold) = (|minutes| now + TimeDelta::minutes(minutes), std::time::Duration::from_secs(3_600));
    let held = async || -> Vec<DateTime<Utc>> {
        let held = "SELECT held_until FROM waiting_list WHERE held_until IS NOT NULL";
        sqlx::query_scalar(held).fetch_all(&pool).await.unwrap()
    };
    let ids = paid_clients(&pool, "client", 1).await;
    assert!(!allocate::allocate(&pool, &ids[0], now, None).await.unwrap().success);
    seed_release::seed(&pool, &numbers(1)).await.unwrap();
    assert_eq!(offer::offer_free(&pool, &onboarding, Wordings::built_in(), hold, now).await.unwrap(), ids);
    // Conversations are stopped for three hours, and sending in the two hours from the second on.
    set(&pool, Activity::Conversations, true, at(30)).await;
    set(&pool, Activity::Sending, true, at(90)).await;
    set(&pool, Activity::Conversations, false, at(210)).await;
    set(&pool, Activity::Sending, false, at(210)).await;
    assert_eq!(held().await, [at(60 + 180)]);
    offer::offer_free(&pool, &onboarding, Wordings::built_in(), hold, at(211)).await.unwrap();
    assert_eq!(held().await, [at(240)], "the hold lasts");
    assert!(allocate::allocate(&pool, &ids[0], at(212), None).await.unwrap().success);

    // A stop within another adds nothing, and a hold that ended before is over.
    let pool = migrated_database(4).await;
    let hold = "INSERT INTO waiting_list (client_id, region, joined_at, promised_by, held_at, held_until)
                SELECT id, 'GB', $1, $1, $1, $1 + make_interval(mins => CASE id WHEN 'client-1' THEN 10 ELSE 60 END) FROM clients";
    paid_clients(&pool, "client", 2).await;
    sqlx::query(hold).bind(now).execute(&pool).await.unwrap();
    set(&pool, Activity::Sending, true, at(30)).await;
    set(&pool, Activity::Conversations, true, at(40)).await;
    set(&pool, Activity::Conversations, false, at(50)).await;
    set(&pool, Activity::Sending, false, at(90)).await;
    let held = "SELECT held_until FROM waiting_list ORDER BY client_id";
    let held: Vec<DateTime<Utc>> = sqlx::query_scalar(held).fetch_all(&pool).await.unwrap();
    assert_eq!(held, [at(10), at(120)]);
}

/// An event and a text of a client, both from an hour ago.
const AN_HOUR_OLD: &str = "
    INSERT INTO events (source, external_id, kind, lane, payload, received_at)
    VALUES ('twilio', 'SM1', 'text', 'phone:447900000001', '{}', now() - INTERVAL '1 hour');
    INSERT INTO messages (kind, event_id, to_phone, from_number, body, created_at, updated_at)
    SELECT 'live', id, '+447900000001', '+447476955179', 'Hello', now() - INTERVAL '1 hour', now() FROM events";

#[tokio::test(flavor = "multi_thread")]
async fn work_that_a_stop_keeps_back_is_not_overdue_and_waits_from_the_end_of_the_stop_on() {
    let pool = migrated_database(4).await;
    sqlx::raw_sql(AN_HOUR_OLD).execute(&pool).await.unwrap();
    let now = clock::now();
    let overdue = async |at: DateTime<Utc>| -> Vec<String> {
        let alerts = liveness::list_alerts(&pool, at).await.unwrap();
        alerts.into_iter().map(|it| it.cause).filter(|cause| cause.ends_with("-waiting")).collect()
    };
    let oldest = async |at: DateTime<Utc>| {
        let mut conn = pool.acquire().await.unwrap();
        let texts = gauges::count_texts(&mut conn, at).await.unwrap();
        (gauges::read(&mut conn, at).await.unwrap().oldest_event, texts[0].oldest)
    };
    assert_eq!(overdue(now).await, ["events-waiting", "texts-waiting"]);
    set(&pool, Activity::Sending, true, now).await;
    assert_eq!(overdue(now).await, ["events-waiting"]);
    assert!(matches!(oldest(now).await, (Some(_), None)));
    set(&pool, Activity::Conversations, true, now).await;
    assert_eq!(overdue(now).await, Vec::<String>::new());
    assert_eq!(oldest(now).await, (None, None));
    // What goes on is overdue all the same.
    let report = "INSERT INTO events (source, external_id, kind, lane, payload, received_at)
                  VALUES ('twilio', 'SM2', 'delivery_report', 'message:7', '{}', now() - INTERVAL '1 hour')";
    sqlx::raw_sql(report).execute(&pool).await.unwrap();
    assert_eq!(overdue(now).await, ["events-waiting"]);
    sqlx::raw_sql("DELETE FROM events WHERE external_id = 'SM2'").execute(&pool).await.unwrap();

    let started = DateTime::from_timestamp_micros(now.timestamp_micros()).unwrap() + TimeDelta::minutes(5);
    set(&pool, Activity::Sending, false, started).await;
    set(&pool, Activity::Conversations, false, started).await;
    let soon = started + TimeDelta::seconds(30);
    assert_eq!(overdue(soon).await, Vec::<String>::new());
    assert_eq!(oldest(soon).await, (Some(started), Some(started)));
    assert_eq!(overdue(started + TimeDelta::seconds(61)).await, ["events-waiting", "texts-waiting"]);
}

/// A deliberate stop spends nothing of the objective of ten seconds.
#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_may_have_waited_for_the_end_of_a_stop_is_not_measured() {
    let pool = migrated_database(4).await;
    sqlx::raw_sql(AN_HOUR_OLD).execute(&pool).await.unwrap();
    let now = clock::now();
    let follows_from = async || {
        let mut tx = pool.begin().await.unwrap();
        let due: Vec<i64> =
            outbox::lock_due(&mut tx, now, 10, now).await.unwrap().into_iter().map(|text| text.id).collect();
        let claimed = outbox::mark_sending(&mut tx, &due, now, now).await.unwrap();
        claimed.into_iter().map(|text| text.follows_from.is_some()).collect::<Vec<bool>>()
    };
    assert_eq!(follows_from().await, [true]);
    set(&pool, Activity::Conversations, true, now).await;
    assert_eq!(follows_from().await, [true], "conversations are stopped, and not sending");
    set(&pool, Activity::Sending, true, now).await;
    assert_eq!(follows_from().await, Vec::<bool>::new());
    set(&pool, Activity::Sending, false, now).await;
    assert_eq!(follows_from().await, [false]);
    let long_ago = "UPDATE stops SET started_at = started_at - INTERVAL '2 hours' WHERE what = 'sending'";
    sqlx::raw_sql(long_ago).execute(&pool).await.unwrap();
    assert_eq!(follows_from().await, [true], "it was received after that stop");
}

/// The alert is there as long as the stop lasts, also if it is cleared by hand.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_has_one_alert_that_names_no_reason_and_ends_by_itself() {
    let pool = migrated_database(4).await;
    let now = clock::now();
    let by = Actor { why: Some("ring 07911 123456".to_owned()), ..ada() };
    stops::stop(&pool, Activity::Sending, &by, now).await.unwrap();
    let raised = stops::update_alerts(&pool, now).await.unwrap().raised;
    assert!(raised.len() == 1 && raised[0].about.contains("ada has stopped it") && !raised[0].about.contains("07911"));
    assert_eq!(stops::update_alerts(&pool, now).await.unwrap(), stops::AlertChanges::default());
    sqlx::raw_sql("UPDATE alerts SET cleared_at = now()").execute(&pool).await.unwrap();
    assert_eq!(stops::update_alerts(&pool, now).await.unwrap().raised, raised);
    let started = stops::start(&pool, Activity::Sending, &by, now).await.unwrap();
    assert_eq!(started.cleared, ["stopped:sending"]);
    let jobs = "SELECT DISTINCT job_type FROM apalis.jobs ORDER BY job_type";
    assert_eq!(
        texts(&pool, jobs).await,
        ["bulk-actions", "send-messages", "sweep"],
        "what has waited is done without waiting for a sweep"
    );
    assert_eq!(count(&pool, "SELECT count(*) FROM alerts WHERE cleared_at IS NULL").await, 0);
    // A sweep that read the stop just before its end raises the alert once more, and the next one clears it.
    sqlx::raw_sql("UPDATE alerts SET cleared_at = NULL WHERE id = (SELECT max(id) FROM alerts)")
        .execute(&pool)
        .await
        .unwrap();
    assert_eq!(stops::update_alerts(&pool, now).await.unwrap().cleared, ["stopped:sending"]);
}
