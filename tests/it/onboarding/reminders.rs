//! Reminders of clients who fall silent: once each, from rows, and never on top of an answer.

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use futures::future::join_all;
use jobrun::demo::TestSystem;
use jobrun_onboarding::quiet_hours::QuietHours;
use jobrun_onboarding::reminders::Schedule;
use jobrun_shared::db::audit_log::{Actor, Via};
use jobrun_shared::db::stops::Activity;
use jobrun_shared::numbers::seed_release;
use jobrun_shared::queue::{self, Queue};
use jobrun_shared::{clock, reminders, stops};
use jobrun_stand_in::stripe::Sale;
use jobrun_tests::{
    PATIENCE, count, eventually, migrated_database, numbers, say, sweep_twice, test_system, test_system_with, texts,
};
use sqlx::PgPool;

const ANN: &str = "+447900000001";

const REMINDERS_DUE: &str = "SELECT count(*) FROM events WHERE kind = 'reminder_due'";

/// Makes everything that was said older, as if nothing had happened for so long.
async fn pass(pool: &PgPool, time: &'static str) {
    let statements = format!(
        r#"UPDATE events SET received_at = received_at - INTERVAL '{time}';
           UPDATE messages SET created_at = created_at - INTERVAL '{time}';
           UPDATE onboarding_states SET asked_at = asked_at - INTERVAL '{time}', led_by_at = led_by_at - INTERVAL '{time}';
           UPDATE clients SET "remindAt" = "remindAt" - INTERVAL '{time}'"#
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(statements)).execute(pool).await.unwrap();
}

/// Ann has paid, has a number, and is asked for the kind of her phone.
async fn ann_chooses_her_phone(pool: &PgPool) {
    let ann = r#"INSERT INTO clients (id, "phoneNumber", "paymentActive", "twilioNumber")
                 VALUES ('ann', '447900000001', TRUE, '+447100000001');
                 INSERT INTO onboarding_states (client_id, current_state, collected_fields)
                 VALUES ('ann', 'S6_PHONE_TYPE', '{}')"#;
    sqlx::raw_sql(ann).execute(pool).await.unwrap();
}

async fn open_alerts(system: &TestSystem) -> Vec<String> {
    let causes = "SELECT split_part(cause, ':', 1) FROM alerts WHERE cleared_at IS NULL ORDER BY cause";
    texts(&system.pool, causes).await
}

fn schedule() -> Schedule {
    Schedule { after: vec![TimeDelta::hours(1), TimeDelta::days(1), TimeDelta::days(3)], quiet: None, has_cases: true }
}

/// A winter's noon in London.
fn noon() -> DateTime<Utc> {
    "2026-01-10T12:00:00Z".parse().unwrap()
}

/// Makes `clients` who were asked for the names of their businesses at noon, in rows alone.
async fn silent_clients(pool: &PgPool, clients: i32) {
    let noon = noon();
    let statements = format!(
        r#"INSERT INTO clients (id, "phoneNumber", "remindAt")
           SELECT 'c' || n, 447900000000 + n, '{noon}'::TIMESTAMPTZ + INTERVAL '1 hour' FROM generate_series(1, {clients}) n;
           INSERT INTO onboarding_states (client_id, current_state, asked_at) SELECT id, 'S2_BUSINESS_NAME', '{noon}' FROM clients;
           INSERT INTO events (source, external_id, kind, lane, payload, received_at, processed_at, outcome, client_id)
           SELECT 'twilio', id, 'text', 'phone:' || "phoneNumber",
                  jsonb_build_object('kind', 'text', 'from', '+' || "phoneNumber", 'to', '+447476955179', 'body', 'Hi'),
                  '{noon}', '{noon}', 'answered', id FROM clients"#
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(statements)).execute(pool).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_client_is_reminded_three_times_and_goes_on_where_it_stopped() {
    let system = test_system(2).await;
    say(&system, ANN, "Plumber from London").await;
    for (n, (time, words)) in [
        ("1 hour", "Hi from JobRun! Shall we carry on?"),
        ("23 hours", "Hi again from JobRun."),
        ("48 hours", "we won't remind you again"),
    ]
    .into_iter()
    .enumerate()
    {
        pass(&system.pool, time).await;
        eventually(PATIENCE, words, async || system.stand_in.bodies_to(ANN).len() == n + 2).await;
        let last = system.stand_in.bodies_to(ANN).pop().unwrap();
        assert!(last.contains(words) && last.contains("What's the name of your business?"), "{last}");
        sweep_twice(&system).await;
    }
    pass(&system.pool, "200 hours").await;
    sweep_twice(&system).await;
    assert_eq!(system.stand_in.bodies_to(ANN).len(), 4, "nothing after the last reminder");
    assert!(say(&system, ANN, "ABC Plumbing").await[0].contains("your own name"), "it goes on where it stopped");
    pass(&system.pool, "1 hour").await;
    eventually(PATIENCE, "a new silence begins anew", async || system.stand_in.bodies_to(ANN).len() == 6).await;
    assert!(system.stand_in.bodies_to(ANN).pop().unwrap().contains("What's your own name?"));
    assert_eq!(open_alerts(&system).await, [""; 0]);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_its_client_never_sets_up_is_raised_to_the_operator_until_the_client_goes_on() {
    let system = test_system(1).await;
    ann_chooses_her_phone(&system.pool).await;
    assert!(say(&system, ANN, "2").await[0].contains("**61*+447100000001#"));
    for (n, time) in ["1 hour", "23 hours", "48 hours"].into_iter().enumerate() {
        assert_eq!(open_alerts(&system).await, [""; 0]);
        pass(&system.pool, time).await;
        eventually(PATIENCE, "a reminder", async || system.stand_in.bodies_to(ANN).len() == n + 2).await;
        assert!(system.stand_in.bodies_to(ANN).pop().unwrap().contains("**61*+447100000001#"), "with the instructions");
        system.settle().await.unwrap();
    }
    sweep_twice(&system).await;
    assert_eq!(open_alerts(&system).await, [""; 0], "the client may still answer the last reminder");
    pass(&system.pool, "24 hours").await;
    eventually(PATIENCE, "the alert", async || open_alerts(&system).await == ["unfinished"]).await;
    assert_eq!(system.stand_in.bodies_to(ANN).len(), 4, "no reminder after the last");
    assert!(say(&system, ANN, "DONE").await[0].contains("test"));
    assert_eq!(open_alerts(&system).await, [""; 0], "ends by itself");
    system.shut_down().await.unwrap();
}

/// No text tells of the number, so no text leads to a look at the client.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_who_takes_no_texts_and_gets_a_number_is_reported_after_some_days() {
    let system = test_system(1).await;
    seed_release::seed(&system.pool, &numbers(1)).await.unwrap();
    let ann = r#"INSERT INTO clients (id, "phoneNumber") VALUES ('ann', '447900000001');
                 INSERT INTO onboarding_states (client_id, current_state) VALUES ('ann', 'S5_CONFIRM_LIVE')"#;
    sqlx::raw_sql(ann).execute(&system.pool).await.unwrap();
    assert_eq!(say(&system, ANN, "STOP").await, [""; 0]);
    sqlx::raw_sql(r#"UPDATE clients SET "remindAt" = NULL"#).execute(&system.pool).await.unwrap();
    let reference: String =
        sqlx::query_scalar(r#"SELECT "paymentReference" FROM clients"#).fetch_one(&system.pool).await.unwrap();
    for event in Sale::new(Some(&reference)).paid_by_card() {
        assert_eq!(system.stand_in.stripe(&event).await.unwrap().status, 200);
    }
    system.settle().await.unwrap();
    assert_eq!(count(&system.pool, r#"SELECT count(*) FROM clients WHERE "twilioNumber" IS NOT NULL"#).await, 1);
    let is_raised = async || open_alerts(&system).await.contains(&"unfinished".to_owned());
    pass(&system.pool, "72 hours").await;
    sweep_twice(&system).await;
    assert!(!is_raised().await);
    pass(&system.pool, "24 hours").await;
    eventually(PATIENCE, "the alert", is_raised).await;
    assert_eq!(system.stand_in.bodies_to(ANN), [""; 0]);
    system.shut_down().await.unwrap();
}

/// The instructions are sent again to a client who went back, and its DONE goes on from there.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_who_went_back_to_its_phone_is_reminded_with_the_instructions_and_goes_on() {
    let system = test_system(1).await;
    ann_chooses_her_phone(&system.pool).await;
    say(&system, ANN, "2").await;
    assert!(say(&system, ANN, "back").await[0].contains("Reply 1, 2 or 3"));
    pass(&system.pool, "1 hour").await;
    eventually(PATIENCE, "a reminder", async || system.stand_in.bodies_to(ANN).len() == 3).await;
    assert!(system.stand_in.bodies_to(ANN)[2].contains("**61*+447100000001#"));
    say(&system, ANN, "DONE").await;
    assert_eq!(texts(&system.pool, "SELECT current_state FROM onboarding_states").await, ["S8_FWD_CONFIRM"]);
    system.shut_down().await.unwrap();
}

/// Returns a system without a worker. Ann was asked for the name of her business, and a reminder is recorded.
async fn system_with_a_recorded_reminder() -> TestSystem {
    let mut system = test_system_with(1, &[("SWEEP_INTERVAL", "1h")]).await;
    say(&system, ANN, "Plumber from London").await;
    system.workers.remove(0).stop().await.unwrap();
    pass(&system.pool, "2 hours").await;
    assert_eq!(reminders::record_due(&system.pool, &schedule(), clock::now()).await.unwrap(), 1);
    system
}

/// The reminder is recorded first, and the text arrives before a worker comes to either.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_read_yet_goes_before_a_reminder() {
    let mut system = system_with_a_recorded_reminder().await;
    assert_eq!(system.stand_in.text(ANN, "ABC Plumbing").await.unwrap().status, 200);
    system.start_worker().unwrap();
    system.settle().await.unwrap();
    let bodies = system.stand_in.bodies_to(ANN);
    assert!(bodies.len() == 2 && bodies[1].contains("your own name"), "{bodies:?}");
    // The other way round: the text waits, and no reminder is recorded.
    system.workers.remove(0).stop().await.unwrap();
    pass(&system.pool, "2 hours").await;
    assert_eq!(system.stand_in.text(ANN, "Ann Smith").await.unwrap().status, 200);
    assert_eq!(reminders::record_due(&system.pool, &schedule(), clock::now()).await.unwrap(), 0);
    system.start_worker().unwrap();
    system.settle().await.unwrap();
    assert_eq!(system.stand_in.bodies_to(ANN).len(), 3);
    system.shut_down().await.unwrap();
}

/// The move of the phone asks the open question anew, a moment before a worker comes to the reminder.
#[tokio::test(flavor = "multi_thread")]
async fn a_reminder_does_not_follow_a_text_that_was_said_after_it_was_recorded() {
    let mut system = system_with_a_recorded_reminder().await;
    let id = texts(&system.pool, "SELECT id FROM clients").await.concat();
    let move_phone = ["client", "change-phone", &id, "+447900000002", "--yes", "--why", "new SIM"];
    let (code, shown, errors) = system.operator(&move_phone).await.unwrap();
    assert_eq!(code, 0, "{shown}{errors}");
    let reminder = |rest: &str| sqlx::AssertSqlSafe(format!("UPDATE events SET {rest} WHERE kind = 'reminder_due'"));
    sqlx::raw_sql(reminder("processed_at = now(), outcome = 'noted'")).execute(&system.pool).await.unwrap();
    system.start_worker().unwrap();
    system.settle().await.unwrap();
    sqlx::raw_sql(reminder("processed_at = NULL, outcome = NULL")).execute(&system.pool).await.unwrap();
    let mut conn = system.pool.acquire().await.unwrap();
    queue::enqueue(&mut conn, Queue::ProcessEvents).await.unwrap();
    drop(conn);
    system.settle().await.unwrap();
    let kinds = "SELECT kind FROM messages WHERE to_phone = '+447900000002'";
    assert_eq!(texts(&system.pool, kinds).await, ["phone_moved"]);
    assert_eq!(texts(&system.pool, "SELECT outcome FROM events WHERE kind = 'reminder_due'").await, ["noted"]);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_sweeps_at_once_record_each_reminder_once() {
    let pool = migrated_database(10).await;
    silent_clients(&pool, 500).await;
    assert_eq!(reminders::record_due(&pool, &schedule(), noon()).await.unwrap(), 0, "nobody is silent yet");
    let later = noon() + TimeDelta::minutes(61);
    let schedule = schedule();
    let mut rounds = 0;
    loop {
        let recorded = join_all((0..10).map(|_| reminders::record_due(&pool, &schedule, later))).await;
        let recorded: usize = recorded.into_iter().map(Result::unwrap).sum();
        if recorded == 0 {
            break;
        }
        rounds += 1;
        assert_eq!(reminders::record_due(&pool, &schedule, later).await.unwrap(), 0, "fifty wait already");
        let processed = "UPDATE events SET processed_at = now(), outcome = 'noted' WHERE processed_at IS NULL";
        sqlx::raw_sql(processed).execute(&pool).await.unwrap();
    }
    assert!(rounds > 0);
    assert_eq!(count(&pool, REMINDERS_DUE).await, 500);
    let due = "SELECT count(DISTINCT payload ->> 'client_id') FROM events WHERE kind = 'reminder_due'";
    assert_eq!(count(&pool, due).await, 500);
    assert_eq!(reminders::record_due(&pool, &schedule, later).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_reminder_is_recorded_at_night_or_during_a_stop_or_for_a_client_of_before() {
    let pool = migrated_database(2).await;
    silent_clients(&pool, 1).await;
    let later = noon() + TimeDelta::minutes(61);
    let by = Actor { who: "ada".to_owned(), via: Via::Command, why: Some("an outage".to_owned()) };
    stops::stop(&pool, Activity::Conversations, &by, clock::now()).await.unwrap();
    assert_eq!(reminders::record_due(&pool, &schedule(), later).await.unwrap(), 0, "stopped");
    stops::start(&pool, Activity::Conversations, &by, clock::now()).await.unwrap();

    let hour = |hour| NaiveTime::from_hms_opt(hour, 0, 0).unwrap();
    let at_night = Schedule { quiet: Some(QuietHours { from: hour(20), to: hour(8) }), ..schedule() };
    let evening = noon() + TimeDelta::hours(8);
    assert_eq!(reminders::record_due(&pool, &at_night, evening).await.unwrap(), 0, "at night");
    let next: DateTime<Utc> = sqlx::query_scalar(r#"SELECT "remindAt" FROM clients"#).fetch_one(&pool).await.unwrap();
    assert_eq!(next, noon() + TimeDelta::hours(20), "at eight in the morning");
    assert_eq!(reminders::record_due(&pool, &at_night, next).await.unwrap(), 1);

    sqlx::raw_sql(r#"UPDATE clients SET "remindAt" = NULL"#).execute(&pool).await.unwrap();
    assert_eq!(reminders::record_due(&pool, &schedule(), later).await.unwrap(), 0, "a client of before");
}

/// While Twilio refuses the account, a reminder would be given up before it could leave.
#[tokio::test(flavor = "multi_thread")]
async fn no_reminder_is_recorded_while_sending_is_parked_and_one_that_never_left_does_not_count() {
    let pool = migrated_database(2).await;
    silent_clients(&pool, 1).await;
    let later = noon() + TimeDelta::minutes(61);
    let parked = "UPDATE sending SET parked_at = now(), probe_at = now() + INTERVAL '1 hour'";
    sqlx::raw_sql(parked).execute(&pool).await.unwrap();
    assert_eq!(reminders::record_due(&pool, &schedule(), later).await.unwrap(), 0);
    sqlx::raw_sql("UPDATE sending SET parked_at = NULL, probe_at = NULL").execute(&pool).await.unwrap();

    let text = |status: &str, attempted: &str| {
        format!(
            "INSERT INTO messages (client_id, kind, to_phone, from_number, body, status, attempted_at, created_at, updated_at)
             VALUES ('c1', 'reminder', '+447900000001', '+447476955179', 'Hi', '{status}', {attempted}, '{later}', '{later}')"
        )
    };
    let nth = "SELECT payload -> 'reminder' ->> 'nth' FROM events WHERE kind = 'reminder_due' ORDER BY id";
    sqlx::raw_sql(sqlx::AssertSqlSafe(text("failed", "NULL"))).execute(&pool).await.unwrap();
    assert_eq!(reminders::record_due(&pool, &schedule(), later).await.unwrap(), 1);
    assert_eq!(texts(&pool, nth).await, ["1"], "the first never left");
    sqlx::raw_sql("UPDATE events SET processed_at = now(), outcome = 'noted' WHERE processed_at IS NULL")
        .execute(&pool)
        .await
        .unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(text("delivered", "now()"))).execute(&pool).await.unwrap();
    let next_day = later + TimeDelta::hours(24);
    assert_eq!(reminders::record_due(&pool, &schedule(), next_day).await.unwrap(), 1);
    assert_eq!(texts(&pool, nth).await, ["1", "2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_looked_at_again_once_something_was_said_to_it() {
    let system = test_system(1).await;
    say(&system, ANN, "Plumber from London").await;
    sqlx::raw_sql(r#"UPDATE clients SET "remindAt" = NULL"#).execute(&system.pool).await.unwrap();
    assert!(say(&system, ANN, "what do you mean").await[0].contains("name of your business"), "moves nothing");
    assert_eq!(count(&system.pool, r#"SELECT count(*) FROM clients WHERE "remindAt" > now()"#).await, 1);
    system.shut_down().await.unwrap();
}

/// They fell silent before the sweep looked at silent clients.
#[tokio::test(flavor = "multi_thread")]
async fn a_holder_of_before_the_reminders_is_reported_once() {
    let system = test_system(1).await;
    ann_chooses_her_phone(&system.pool).await;
    say(&system, ANN, "2").await;
    pass(&system.pool, "60 days").await;
    let forgotten = r#"UPDATE clients SET "remindAt" = NULL, "forwardingCheckAt" = NULL"#;
    sqlx::raw_sql(forgotten).execute(&system.pool).await.unwrap();
    eventually(PATIENCE, "the alert", async || open_alerts(&system).await == ["unfinished"]).await;
    sqlx::raw_sql("UPDATE alerts SET cleared_at = now()").execute(&system.pool).await.unwrap();
    sqlx::raw_sql(forgotten).execute(&system.pool).await.unwrap();
    sweep_twice(&system).await;
    sweep_twice(&system).await;
    assert_eq!(open_alerts(&system).await, [""; 0], "the operator has dealt with it");
    system.shut_down().await.unwrap();
}
