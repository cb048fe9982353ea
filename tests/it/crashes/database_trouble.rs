//! A database in trouble: sessions that hold locks, connections that go silent, servers that refuse writes.

use std::time::Duration;

use jobrun::demo::TestSystem;
use jobrun_ingress::group_commit::{RecordError, Recorder};
use jobrun_shared::db::inbox::{NewEvent, Payload, Source};
use jobrun_shared::db::{self, ConnectError, Connections, Unfit};
use jobrun_shared::numbers::seed_release;
use jobrun_shared::queue::Queue;
use jobrun_stand_in::Answer;
use jobrun_tests::proxy::Proxy;
use jobrun_tests::{
    PATIENCE, count, empty_database, eventually, migrate, migrated_database, numbers, paid_clients, phone, programs,
    say, test_system, texts,
};
use secrecy::ExposeSecret;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, PgPool};

use crate::numbers::execute;

/// Silent connections are noticed within three seconds, or after half a minute if no check watches them.
const NOTICED_WITHIN: Duration = Duration::from_secs(15);

/// Opens a session like one that an operator forgets in psql: its transaction stays open after `statement`.
async fn open_session(system: &TestSystem, statement: &'static str) -> PgConnection {
    let options: PgConnectOptions = system.environment["DATABASE_URL"].parse().unwrap();
    let mut session = options.application_name("psql").connect().await.unwrap();
    sqlx::raw_sql("BEGIN").execute(&mut session).await.unwrap();
    sqlx::raw_sql(statement).execute(&mut session).await.unwrap();
    session
}

async fn pid(session: &mut PgConnection) -> i32 {
    sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(session).await.unwrap()
}

async fn answered(system: &TestSystem, people: impl Iterator<Item = usize>, texts: usize) -> bool {
    people.into_iter().all(|n| system.stand_in.bodies_to(&phone(n)).len() == texts)
}

async fn open_alerts(pool: &PgPool, beginning: &str) -> Vec<String> {
    let open = "SELECT about FROM alerts WHERE cleared_at IS NULL AND starts_with(cause, $1)";
    sqlx::query_scalar(open).bind(beginning.to_owned()).fetch_all(pool).await.unwrap()
}

/// Asserts that the other clients are answered while the session holds locks, that an alert names the session, and that the client
/// held up is answered once the session ends.
async fn delays_only_the_locked_client(
    system: &TestSystem,
    mut session: PgConnection,
    held_up: usize,
    others: &[usize],
    before: usize,
) {
    eventually(PATIENCE, "the other clients are answered", async || {
        answered(system, others.iter().copied(), before + 1).await
    })
    .await;
    eventually(PATIENCE, "the operator is told", async || !open_alerts(&system.pool, "blocked-by:").await.is_empty())
        .await;
    let about = open_alerts(&system.pool, "blocked-by:").await.concat();
    assert!(
        about.starts_with(&format!("Session {} (psql) has had a transaction open since", pid(&mut session).await)),
        "{about}"
    );
    assert!(answered(system, [held_up].into_iter(), before).await, "the locked client waits");
    sqlx::raw_sql("ROLLBACK").execute(&mut session).await.unwrap();
    eventually(PATIENCE, "the locked client is answered", async || {
        answered(system, [held_up].into_iter(), before + 1).await
    })
    .await;
    eventually(PATIENCE, "the alert is cleared", async || open_alerts(&system.pool, "blocked-by:").await.is_empty())
        .await;
    system.settle().await.unwrap();
    let deferred = "SELECT count(*) FROM events WHERE outcome = 'misdirected'";
    assert_eq!(count(&system.pool, deferred).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_insert_of_a_client_delays_only_that_client() {
    let system = test_system(2).await;
    let insert = r#"INSERT INTO clients ("phoneNumber") VALUES ('447900000001')"#;
    let session = open_session(&system, insert).await;
    for n in 1..=30 {
        assert_eq!(system.stand_in.text(&phone(n), "Plumber from London").await.unwrap().status, 200);
    }
    delays_only_the_locked_client(&system, session, 1, &(2..=30).collect::<Vec<_>>(), 0).await;
    system.shut_down().await.unwrap();
}

/// A worker does not wait for each of many locked clients in turn.
#[tokio::test(flavor = "multi_thread")]
async fn many_open_inserts_delay_only_those_clients() {
    let system = test_system(1).await;
    let insert =
        r#"INSERT INTO clients ("phoneNumber") SELECT (447900000000 + n)::TEXT FROM generate_series(1, 300) AS n"#;
    let mut session = open_session(&system, insert).await;
    for n in 1..=300 {
        assert_eq!(system.stand_in.text(&phone(n), "Plumber from London").await.unwrap().status, 200);
    }
    let deferred = "SELECT count(*) FROM events WHERE due_at IS NOT NULL AND processed_at IS NULL";
    eventually(PATIENCE, "the texts of all locked clients are deferred", async || {
        count(&system.pool, deferred).await == 300
    })
    .await;
    let waits = || system.workers[0].lines().iter().filter(|line| line.contains("wait for a lock")).count();
    for n in 301..=304 {
        let before = waits();
        assert_eq!(system.stand_in.text(&phone(n), "Plumber from London").await.unwrap().status, 200);
        eventually(PATIENCE, "a newcomer is answered", async || answered(&system, n..=n, 1).await).await;
        assert!(waits() - before < 100, "a newcomer waits for a few lock timeouts, not for all");
    }
    assert_eq!(count(&system.pool, deferred).await, 300);
    assert!(answered(&system, 1..=300, 0).await);
    sqlx::raw_sql("ROLLBACK").execute(&mut session).await.unwrap();
    eventually(PATIENCE, "the locked clients are answered", async || answered(&system, 1..=300, 1).await).await;
    system.shut_down().await.unwrap();
}

/// A STOP to another of our numbers is not taken for a stranger's while the insert of its sender's client is blocked.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_behind_the_text_that_makes_its_sender_a_client() {
    let system = test_system(1).await;
    seed_release::seed(&system.pool, &numbers(1)).await.unwrap();
    let insert = r#"INSERT INTO clients ("phoneNumber") VALUES ('447900000001')"#;
    let mut session = open_session(&system, insert).await;
    assert_eq!(system.stand_in.text(&phone(1), "Plumber from London").await.unwrap().status, 200);
    let deferred = "SELECT count(*) FROM events WHERE due_at IS NOT NULL AND processed_at IS NULL";
    eventually(PATIENCE, "the text is deferred", async || count(&system.pool, deferred).await == 1).await;
    assert_eq!(system.stand_in.text_to(&phone(1), &numbers(1)[0], "STOP").await.unwrap().status, 200);
    eventually(PATIENCE, "the STOP is deferred with it", async || count(&system.pool, deferred).await == 2).await;
    sqlx::raw_sql("ROLLBACK").execute(&mut session).await.unwrap();
    system.settle().await.unwrap();
    let outcomes = "SELECT outcome FROM events WHERE kind = 'text' ORDER BY id";
    assert_eq!(texts(&system.pool, outcomes).await, ["moved", "noted"]);
    let opted_out = r#"SELECT count(*) FROM clients WHERE "optedOutAt" IS NOT NULL"#;
    assert_eq!(count(&system.pool, opted_out).await, 1);
    system.shut_down().await.unwrap();
}

/// A deferred event that is due again still precedes events that arrived after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_does_not_overtake_a_stop_that_is_due_again() {
    let mut system = test_system(0).await;
    seed_release::seed(&system.pool, &numbers(1)).await.unwrap();
    for body in ["STOP", "START"] {
        assert_eq!(system.stand_in.text_to(&phone(1), &numbers(1)[0], body).await.unwrap().status, 200);
    }
    let due_again = "UPDATE events SET due_at = now() - INTERVAL '1 second' WHERE id = (SELECT min(id) FROM events)";
    sqlx::raw_sql(due_again).execute(&system.pool).await.unwrap();
    system.start_worker().unwrap();
    system.settle().await.unwrap();
    assert_eq!(texts(&system.pool, "SELECT change FROM opt_changes ORDER BY id").await, ["out", "in"]);
    system.shut_down().await.unwrap();
}

/// The alert names the session that has locked our rows, and no other, however long its transaction is open.
#[tokio::test(flavor = "multi_thread")]
async fn only_sessions_that_lock_our_rows_are_named_in_an_alert() {
    let system = test_system(1).await;
    let mut bystanders = Vec::new();
    for statement in [
        "CREATE TEMPORARY TABLE own (id INTEGER); INSERT INTO own VALUES (1)",
        "SELECT pg_advisory_xact_lock(1)",
        "SELECT count(*) FROM clients",
        "CREATE SCHEMA elsewhere; CREATE TABLE elsewhere.clients (id INTEGER); INSERT INTO elsewhere.clients VALUES (1)",
    ] {
        bystanders.push(open_session(&system, statement).await);
    }
    let insert = r#"INSERT INTO clients ("phoneNumber") VALUES ('447900000001')"#;
    let session = open_session(&system, insert).await;
    assert_eq!(system.stand_in.text(&phone(1), "Plumber from London").await.unwrap().status, 200);
    delays_only_the_locked_client(&system, session, 1, &[], 0).await;
    assert_eq!(count(&system.pool, "SELECT count(*) FROM alerts WHERE starts_with(cause, 'blocked-by:')").await, 1);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_update_of_a_client_s_state_delays_only_that_client() {
    let system = test_system(1).await;
    for n in 1..=5 {
        say(&system, &phone(n), "Plumber from London").await;
    }
    let update = "UPDATE onboarding_states SET updated_at = now()
                  WHERE client_id = (SELECT id FROM clients WHERE \"phoneNumber\" = '447900000003')";
    let session = open_session(&system, update).await;
    for n in 1..=5 {
        assert_eq!(system.stand_in.text(&phone(n), "ABC Plumbing").await.unwrap().status, 200);
    }
    delays_only_the_locked_client(&system, session, 3, &[1, 2, 4, 5], 1).await;
    system.shut_down().await.unwrap();
}

/// The session runs the plan's reset of the pool, without its COMMIT.
#[tokio::test(flavor = "multi_thread")]
async fn an_open_update_of_the_pool_delays_only_clients_who_ask_for_a_number() {
    let system = test_system(2).await;
    seed_release::seed(&system.pool, &numbers(10)).await.unwrap();
    paid_clients(&system.pool, "client", 1).await;
    for body in ["Plumber from London", "ABC Plumbing", "John Smith", "SMS"] {
        say(&system, &phone(1), body).await;
    }
    let update = r#"UPDATE twilio_number_pool SET status = 'AVAILABLE', "client_id" = NULL, "assigned_at" = NULL"#;
    let session = open_session(&system, update).await;
    assert_eq!(system.stand_in.text(&phone(1), "YES").await.unwrap().status, 200);
    let newcomers: Vec<usize> = (2..=20).collect();
    for n in &newcomers {
        for body in ["Plumber from London", "ABC Plumbing", "John Smith", "SMS"] {
            assert_eq!(system.stand_in.text(&phone(*n), body).await.unwrap().status, 200);
        }
    }
    eventually(PATIENCE, "the newcomers are answered", async || answered(&system, newcomers.iter().copied(), 4).await)
        .await;
    delays_only_the_locked_client(&system, session, 1, &[], 4).await;
    assert_eq!(
        texts(&system.pool, r#"SELECT "twilioNumber" FROM clients WHERE id = 'client-1'"#).await,
        [numbers(1)[0].clone()]
    );
    system.shut_down().await.unwrap();
}

/// Starts a test system that reaches its database through a proxy. Returns both.
async fn test_system_behind_a_proxy() -> (TestSystem, Proxy) {
    let url = empty_database().await;
    let proxy = Proxy::start(&url).await;
    let system =
        TestSystem::start(&programs(), &url, 1, &[("DATABASE_URL", proxy.url().expose_secret())]).await.unwrap();
    (system, proxy)
}

async fn listening_sessions(pool: &PgPool) -> Vec<String> {
    texts(
        pool,
        "SELECT pid::TEXT FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = 'jobrun-worker' AND query ~ '^LISTEN|jobrun::listening|pg_notify'",
    )
    .await
}

/// Five queues and the listener try again every second: the log tells of it once, and of its end.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_database_is_told_of_once_and_so_is_its_end() {
    let (system, proxy) = test_system_behind_a_proxy().await;
    assert_eq!(say(&system, &phone(1), "Plumber from London").await.len(), 1);
    let told = |words: &str| system.workers[0].lines().iter().filter(|line| line.contains(words)).count();
    // A queue with a job in hand notices it only at its next heartbeat.
    let in_hand = "SELECT count(*) FROM apalis.jobs WHERE status = 'Queued'";
    eventually(PATIENCE, "no job is in hand", async || count(&system.pool, in_hand).await == 0).await;
    proxy.go_away(true);
    eventually(NOTICED_WITHIN, "a queue begins anew", async || told("the job queues lost their database") > 0).await;
    // Every second, each of the queues makes an attempt.
    let attempts = proxy.turned_away();
    eventually(NOTICED_WITHIN, "many attempts", async || proxy.turned_away() >= attempts + 30).await;
    assert_eq!(told("the job queues lost their database"), 1, "{:#?}", system.workers[0].lines());
    assert_eq!(told("no notifications of jobs arrive"), 1, "{:#?}", system.workers[0].lines());
    proxy.go_away(false);
    eventually(NOTICED_WITHIN, "its end", async || told("the job queues have their database again") == 1).await;
    let ends = |line: &String| line.contains("the job queues have their database again");
    let end = system.workers[0].lines().into_iter().find(ends).unwrap();
    assert!(Queue::ALL.iter().all(|queue| end.contains(queue.name())), "{end}");
    eventually(NOTICED_WITHIN, "its end", async || told("notifications of jobs arrive again") == 1).await;
    assert_eq!(say(&system, &phone(1), "ABC Plumbing").await.len(), 1);
    system.shut_down().await.unwrap();
}

/// A queue whose heartbeats fail, although its worker can register.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_one_queue_is_over_when_its_heartbeats_succeed_again() {
    let system = test_system(1).await;
    let line = |words: &str| system.workers[0].lines().into_iter().find(|line| line.contains(words));
    execute(
        &system.pool,
        "CREATE FUNCTION no_heartbeat() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no heartbeat'; END $$;
         CREATE TRIGGER no_heartbeat BEFORE UPDATE ON apalis.workers FOR EACH ROW
         WHEN (OLD.worker_type = 'reconcile') EXECUTE FUNCTION no_heartbeat()",
    )
    .await;
    let again = "SELECT count(*) FROM apalis.workers WHERE worker_type = 'reconcile'";
    let before = count(&system.pool, again).await;
    let three = async || count(&system.pool, again).await >= before + 3;
    eventually(NOTICED_WITHIN, "its worker registers three times", three).await;
    let lost = line("the job queues lost their database").expect("the outage is told of");
    assert!(lost.contains(r#"what="reconcile""#) && lost.contains("no heartbeat"), "{lost}");
    let over = "the job queues have their database again";
    assert_eq!(line(over), None, "neither a registration nor another queue ends it");
    execute(&system.pool, "DROP TRIGGER no_heartbeat ON apalis.workers").await;
    eventually(NOTICED_WITHIN, "its end", async || line(over).is_some()).await;
    assert!(line(over).unwrap().contains(r#"what="reconcile""#), "{:?}", line(over));
    system.shut_down().await.unwrap();
}

/// The server vanishes silently, as when its machine loses its network; a new one is reachable at the same address.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_go_silent_are_given_up() {
    let (system, proxy) = test_system_behind_a_proxy().await;
    assert_eq!(say(&system, &phone(1), "Plumber from London").await.len(), 1);
    eventually(NOTICED_WITHIN, "the worker listens", async || listening_sessions(&system.pool).await.len() == 1).await;
    let before = listening_sessions(&system.pool).await;
    proxy.go_silent();
    eventually(NOTICED_WITHIN, "webhooks are recorded again", async || {
        system.stand_in.text(&phone(1), "ABC Plumbing").await.is_ok_and(|answer: Answer| answer.status == 200)
    })
    .await;
    eventually(NOTICED_WITHIN, "texts are answered again", async || system.stand_in.bodies_to(&phone(1)).len() == 2)
        .await;
    eventually(NOTICED_WITHIN, "the worker listens over another connection", async || {
        listening_sessions(&system.pool).await.iter().any(|session| !before.contains(session))
    })
    .await;
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_read_only_or_commits_asynchronously_is_refused_by_name() {
    let cases = [
        ("default_transaction_read_only = on", Unfit::ReadOnly),
        ("synchronous_commit = off", Unfit::AsynchronousCommit),
    ];
    for (setting, expected) in cases {
        let url = empty_database().await;
        migrate(&url).await;
        let name: String = {
            let pool = db::connect(&url, jobrun::CONNECTIONS).await.unwrap();
            sqlx::query_scalar("SELECT current_database()").fetch_one(&pool).await.unwrap()
        };
        let mut conn = PgConnection::connect(url.expose_secret()).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(format!("ALTER DATABASE {name} SET {setting}"))).execute(&mut conn).await.unwrap();
        let refused = db::connect(&url, jobrun::CONNECTIONS).await;
        assert!(matches!(&refused, Err(ConnectError::Unfit { why, .. }) if *why == expected), "{refused:?}");
    }
}

/// The server becomes read-only while the programs run, and later accepts writes again.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_becomes_read_only_is_left_and_is_used_again_once_it_is_writable() {
    let system = test_system(1).await;
    assert_eq!(say(&system, &phone(1), "Plumber from London").await.len(), 1);
    let mut admin = PgConnection::connect(&system.environment["DATABASE_URL"]).await.unwrap();
    let name: String = sqlx::query_scalar("SELECT current_database()").fetch_one(&mut admin).await.unwrap();
    let read_only = format!(
        "ALTER DATABASE {name} SET default_transaction_read_only = on;
         SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND application_name IN ('jobrun-ingress', 'jobrun-worker')"
    );
    sqlx::raw_sql(AssertSqlSafe(read_only)).execute(&mut admin).await.unwrap();
    let ready = format!("{}/readyz", system.account.webhook_base_url);
    eventually(PATIENCE, "the ingress is not ready", async || {
        reqwest::get(&ready).await.unwrap().status().as_u16() == 503
    })
    .await;
    assert_eq!(system.stand_in.text(&phone(1), "ABC Plumbing").await.unwrap().status, 503);
    eventually(PATIENCE, "the log says why", async || {
        system.ingress.lines().iter().any(|line| line.contains("the server takes no writes"))
    })
    .await;
    let writable = format!("ALTER DATABASE {name} RESET default_transaction_read_only");
    sqlx::raw_sql(AssertSqlSafe(writable)).execute(&mut admin).await.unwrap();
    eventually(PATIENCE, "webhooks are recorded again", async || {
        system.stand_in.text(&phone(1), "ABC Plumbing").await.unwrap().status == 200
    })
    .await;
    system.settle().await.unwrap();
    assert_eq!(system.stand_in.bodies_to(&phone(1)).len(), 2);
    eventually(PATIENCE, "the ingress is ready again", async || {
        reqwest::get(&ready).await.unwrap().status().is_success()
    })
    .await;
    system.shut_down().await.unwrap();
}

/// Another session has inserted an event with the same external id and has not committed.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_another_session_is_inserting_fails_alone() {
    let url = empty_database().await;
    migrate(&url).await;
    let patience = Connections { lock_timeout: Duration::from_millis(250), ..jobrun::CONNECTIONS };
    let pool = db::connect(&url, patience).await.unwrap();
    let (recorder, _recording) = Recorder::start(pool.clone(), db::Health::default());
    let event = |n: usize| {
        NewEvent::new(Source::System, format!("number-due:{n}"), Payload::NumberDue { client_id: format!("c{n}") })
    };
    let mut other = pool.begin().await.unwrap();
    sqlx::raw_sql(
        "INSERT INTO events (source, external_id, kind, lane, payload, received_at)
         VALUES ('system', 'number-due:7', 'number_due', 'client:other', '{}', now())",
    )
    .execute(&mut *other)
    .await
    .unwrap();
    let recorded = futures::future::join_all((0..40).map(|n| recorder.record(event(n), 200))).await;
    let refused: Vec<usize> = recorded.iter().enumerate().filter(|(_, it)| it.is_err()).map(|(n, _)| n).collect();
    assert_eq!(refused, [7]);
    other.rollback().await.unwrap();
    recorder.record(event(7), 200).await.unwrap();
}

/// A write can fail although the connection works: readiness comes from the outcome of the last commit, not from a query per probe.
#[tokio::test(flavor = "multi_thread")]
async fn ready_means_that_the_last_commit_succeeded() {
    let pool = migrated_database(4).await;
    let (recorder, _recording) = Recorder::start(pool.clone(), db::Health::default());
    assert_eq!(recorder.failure(), None);
    let mut obstacle = pool.begin().await.unwrap();
    sqlx::raw_sql("LOCK TABLE events IN ACCESS EXCLUSIVE MODE").execute(&mut *obstacle).await.unwrap();
    let event =
        NewEvent::new(Source::System, "number-due:1".to_owned(), Payload::NumberDue { client_id: "c".to_owned() });
    assert!(recorder.record(event.clone(), 200).await.is_err());
    eventually(PATIENCE, "the failure is known", async || {
        matches!(recorder.failure(), Some(RecordError::TimedOut | RecordError::Refused(_)))
    })
    .await;
    obstacle.rollback().await.unwrap();
    eventually(PATIENCE, "it is recorded", async || recorder.record(event.clone(), 200).await.is_ok()).await;
    assert_eq!(recorder.failure(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_session_says_which_program_it_is() {
    let system = test_system(1).await;
    let sessions = "SELECT DISTINCT application_name FROM pg_stat_activity WHERE datname = current_database()
                    ORDER BY application_name";
    assert_eq!(texts(&system.pool, sessions).await, ["jobrun", "jobrun-ingress", "jobrun-worker"]);
    system.shut_down().await.unwrap();
}
