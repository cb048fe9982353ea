//! Every statement of a worker fails once in each possible way, and the sign-up still ends as it should.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use jobrun::demo::TestSystem;
use jobrun_shared::clock;
use jobrun_shared::db::audits;
use jobrun_shared::numbers::seed_release;
use jobrun_shared::queue::{self, Queue};
use jobrun_stand_in::stripe::Sale;
use jobrun_tests::proxy::{Failure, Proxy};
use jobrun_tests::{PATIENCE, count, empty_database, eventually, numbers, phone, programs, texts};
use secrecy::ExposeSecret;
use sqlx::AssertSqlSafe;

/// The ways to fail: the server shuts down, two conflicts with other transactions (serialization failure and deadlock), and the
/// connection is lost before or after the statement runs.
const FAILURES: [Failure; 5] = [
    Failure::SessionEnded,
    Failure::Refused("40001"),
    Failure::Refused("40P01"),
    Failure::LostBefore,
    Failure::LostAfter,
];

/// The number of test systems that share the statements.
const SYSTEMS: usize = 8;

/// How long one step may take to recover.
const RECOVERY: Duration = Duration::from_secs(60);

/// A test system whose worker reaches the database through a proxy.
struct System {
    test_system: TestSystem,
    proxy: Proxy,
}

impl System {
    async fn start(sweep_interval: &str) -> Self {
        let url = empty_database().await;
        let settings =
            [("SWEEP_INTERVAL", sweep_interval), ("AUDIT_INTERVAL", "1h"), ("PAYMENT_LINK_URL", "https://pay/test_1")];
        let mut test_system = TestSystem::start(&programs(), &url, 0, &settings).await.unwrap();
        let proxy = Proxy::start(&url).await;
        test_system.environment.insert("DATABASE_URL".to_owned(), proxy.url().expose_secret().to_owned());
        test_system.start_worker().unwrap();
        test_system.workers[0].wait_for_line("takes jobs", RECOVERY).await.unwrap();
        seed_release::seed(&test_system.pool, &numbers(200)).await.unwrap();
        test_system.settle().await.unwrap();
        proxy.forget();
        Self { test_system, proxy }
    }

    /// Waits until no work is left. Meanwhile makes texts of unknown outcome due, which would be looked up after half a minute.
    async fn settle(&self, what: &str) {
        let moves_clock = async {
            loop {
                let overdue = "UPDATE messages SET next_attempt_at = now() - INTERVAL '1 second'
                               WHERE status IN ('sending', 'unknown') AND next_attempt_at > now()
                                 AND updated_at < now() - INTERVAL '500 milliseconds'";
                sqlx::raw_sql(overdue).execute(&self.test_system.pool).await.unwrap();
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::select! {
            settled = self.test_system.settle_within(RECOVERY) => settled.unwrap_or_else(|error| panic!("{what}: {error}")),
            () = moves_clock => {}
        }
    }

    /// Performs a whole sign-up, from the first text to the test call.
    async fn sign_up(&self, client: &str, what: &str) {
        let Self { test_system, .. } = self;
        let says = async |body: &str| {
            let answer = test_system.stand_in.text(client, body).await.unwrap();
            assert_eq!(answer.status, 200, "{what}");
            self.settle(what).await;
        };
        for body in ["Plumber from London", "ABC Plumbing", "John Smith", "SMS", "YES"] {
            says(body).await;
        }
        let reference = self.column(client, r#""paymentReference""#, what).await;
        for event in Sale::new(Some(&reference)).paid_by_card() {
            assert_eq!(test_system.stand_in.stripe(&event).await.unwrap().status, 200, "{what}");
        }
        self.settle(what).await;
        for body in ["1", "DONE"] {
            says(body).await;
        }
        let number = self.column(client, r#""twilioNumber""#, what).await;
        test_system.stand_in.call("+447700900123", &number).await.unwrap();
        self.settle(what).await;
    }

    /// Waits until the statement has failed. Some statements are periodic, such as a heartbeat's, some run only on a new
    /// connection, some in jobs that only a long sign-up causes, and some when a text waits for the report on the one before. So
    /// this cuts connections, enqueues these jobs, makes the comparison with Twilio's list due, and has new phones send two texts
    /// at once.
    async fn wait_for_failure(&self, first_other: usize, what: &str) {
        let tries = Cell::new(0_usize);
        eventually(PATIENCE, what, async || {
            if !self.proxy.has_failed() {
                // Cut each time, a job that takes a second would never come to its end.
                let cuts = tries.replace(tries.get() + 1).is_multiple_of(4);
                let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                           WHERE datname = current_database() AND application_name = 'jobrun-worker'";
                if cuts {
                    count(&self.test_system.pool, cut).await;
                }
                let mut conn = self.test_system.pool.acquire().await.unwrap();
                queue::enqueue(&mut conn, Queue::Sweep).await.unwrap();
                drop(conn);
                audits::hurry(&self.test_system.pool, clock::now()).await.unwrap();
                let other = phone(first_other + tries.get());
                for body in ["Plumber from London", "ABC Plumbing"] {
                    self.test_system.stand_in.text(&other, body).await.unwrap();
                }
                self.settle(what).await;
            }
            self.proxy.has_failed()
        })
        .await;
    }

    async fn column(&self, client: &str, column: &str, what: &str) -> String {
        let select =
            format!(r#"SELECT {column} FROM clients WHERE "phoneNumber" = '{}'"#, client.trim_start_matches('+'));
        let found: Option<Option<String>> =
            sqlx::query_scalar(AssertSqlSafe(select)).fetch_optional(&self.test_system.pool).await.unwrap();
        found.flatten().unwrap_or_else(|| panic!("{what}: {client} has no {column}; {}", self.test_system.last_lines()))
    }

    /// Returns the result of a sign-up: the client's state, the kinds of its texts in order, and the outcomes of its events.
    async fn outcome(&self, client: &str, what: &str) -> (String, Vec<String>, Vec<String>) {
        let id = self.column(client, "id", what).await;
        let select = |sql: String| async move {
            sqlx::query_scalar::<_, String>(AssertSqlSafe(sql)).fetch_all(&self.test_system.pool).await.unwrap()
        };
        let state =
            select(format!("SELECT current_state FROM onboarding_states WHERE client_id = '{id}'")).await.concat();
        let kinds = select(format!("SELECT kind FROM messages WHERE to_phone = '{client}' ORDER BY id")).await;
        let outcomes = select(format!(
            "SELECT kind || ' ' || coalesce(outcome, 'waits') FROM events WHERE client_id = '{id}' ORDER BY id"
        ))
        .await;
        let owed = select(format!("SELECT body FROM messages WHERE to_phone = '{client}' ORDER BY id")).await;
        assert_eq!(self.test_system.stand_in.bodies_to(client), owed, "each text is sent once, in order");
        let assigned = "SELECT count(*) FROM twilio_number_pool WHERE status = 'ASSIGNED'";
        let holding = r#"SELECT count(*) FROM clients WHERE "twilioNumber" IS NOT NULL"#;
        assert_eq!(count(&self.test_system.pool, assigned).await, count(&self.test_system.pool, holding).await);
        (state, kinds, outcomes)
    }
}

/// Returns the statements that two sign-ups have in common, and the result of a sign-up. Other statements depend on timing.
async fn statements_of_a_sign_up() -> (BTreeSet<String>, (String, Vec<String>, Vec<String>)) {
    let system = System::start("1h").await;
    system.sign_up(&phone(1), "nothing fails").await;
    let first = system.proxy.seen();
    let expected = system.outcome(&phone(1), "nothing fails").await;
    assert_eq!(expected.0, "COMPLETE");
    drop(system);
    let system = System::start("1h").await;
    system.sign_up(&phone(1), "nothing fails").await;
    assert_eq!(system.outcome(&phone(1), "nothing fails").await, expected, "every sign-up has the same result");
    let second = system.proxy.seen();
    (first.intersection(&second).cloned().collect(), expected)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_up_survives_one_failure_of_any_statement_of_a_worker() {
    let (statements, expected) = statements_of_a_sign_up().await;
    assert!(statements.iter().any(|it| it.starts_with("COMMIT after")), "{statements:#?}");
    assert!(statements.iter().any(|it| it.starts_with("INSERT INTO clients")), "{statements:#?}");
    let all: Vec<(&String, Failure)> =
        statements.iter().flat_map(|statement| FAILURES.map(|failure| (statement, failure))).collect();
    let of_one_system = |first: usize| {
        let (all, expected) = (&all, &expected);
        async move {
            let system = System::start("1s").await;
            for (n, (statement, failure)) in all.iter().enumerate().skip(first).step_by(SYSTEMS) {
                let (client, what) = (phone(n + 2), format!("{failure:?} at {statement}"));
                system.proxy.fail_once(statement, *failure);
                system.sign_up(&client, &what).await;
                system.wait_for_failure(100_000 + n * 1_000, &what).await;
                system.settle(&what).await;
                assert_eq!(&system.outcome(&client, &what).await, expected, "{what}");
            }
            let unmatched =
                "SELECT external_id FROM events WHERE outcome IN ('misdirected', 'no_such_client', 'unreadable')";
            assert_eq!(texts(&system.test_system.pool, unmatched).await, Vec::<String>::new());
        }
    };
    join_all((0..SYSTEMS).map(of_one_system)).await;
}
