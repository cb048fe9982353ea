//! Every statement of a worker's turn fails once, in every way in which it can, and the sign-up still ends as it should.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use jobrun::demo::Stage;
use jobrun_shared::operator;
use jobrun_shared::queue::{self, Queue};
use jobrun_stand_in::stripe::Sale;
use jobrun_tests::proxy::{Failure, Proxy};
use jobrun_tests::{PATIENCE, count, empty_database, eventually, numbers, phone, programs, texts};
use sqlx::AssertSqlSafe;

/// The ways to fail: a server that shuts down, two conflicts with other transactions, and a connection lost on either way.
const FAILURES: [Failure; 5] = [
    Failure::SessionEnded,
    Failure::Refused("40001"),
    Failure::Refused("40P01"),
    Failure::LostBefore,
    Failure::LostAfter,
];

/// How many systems share the work.
const SYSTEMS: usize = 8;

/// How long one step may take to recover.
const RECOVERY: Duration = Duration::from_secs(60);

/// A system whose worker reaches the database through a proxy.
struct System {
    stage: Stage,
    proxy: Proxy,
}

impl System {
    async fn start(sweep_interval: &str) -> Self {
        let url = empty_database().await;
        let settings =
            [("SWEEP_INTERVAL", sweep_interval), ("AUDIT_INTERVAL", "1h"), ("PAYMENT_LINK_URL", "https://pay/test_1")];
        let mut stage = Stage::set(&programs(), &url, 0, &settings).await.unwrap();
        let proxy = Proxy::start(&url).await;
        stage.environment.insert("DATABASE_URL".to_owned(), proxy.url().expose().to_owned());
        stage.start_worker().unwrap();
        stage.workers[0].wait_for_line("takes jobs", RECOVERY).await.unwrap();
        operator::seed(&stage.pool, &numbers(200)).await.unwrap();
        stage.settle().await.unwrap();
        proxy.forget();
        Self { stage, proxy }
    }

    /// Waits until nothing waits any more. The clock of texts whose outcome is unknown is moved on meanwhile: they would be
    /// looked for after half a minute.
    async fn settle(&self, what: &str) {
        let moves_clock = async {
            loop {
                let overdue = "UPDATE messages SET next_attempt_at = now() - INTERVAL '1 second'
                               WHERE status IN ('sending', 'unknown') AND next_attempt_at > now()
                                 AND updated_at < now() - INTERVAL '500 milliseconds'";
                sqlx::raw_sql(overdue).execute(&self.stage.pool).await.unwrap();
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::select! {
            settled = self.stage.settle_within(RECOVERY) => settled.unwrap_or_else(|error| panic!("{what}: {error}")),
            () = moves_clock => {}
        }
    }

    /// A whole sign-up, from the first text to the test call.
    async fn sign_up(&self, client: &str, what: &str) {
        let Self { stage, .. } = self;
        let says = async |body: &str| {
            let answer = stage.stand_in.text(client, body).await.unwrap();
            assert_eq!(answer.status, 200, "{what}");
            self.settle(what).await;
        };
        for body in ["Plumber from London", "ABC Plumbing", "John Smith", "SMS", "YES"] {
            says(body).await;
        }
        let reference = self.column(client, r#""paymentReference""#, what).await;
        for event in Sale::new(Some(&reference)).paid_by_card() {
            assert_eq!(stage.stand_in.stripe(&event).await.unwrap().status, 200, "{what}");
        }
        self.settle(what).await;
        for body in ["1", "DONE"] {
            says(body).await;
        }
        let number = self.column(client, r#""twilioNumber""#, what).await;
        stage.stand_in.call("+447700900123", &number).await.unwrap();
        self.settle(what).await;
    }

    /// Some statements come by themselves, such as a heartbeat's, some only when a connection is used for the first time, and some
    /// with jobs that a sign-up brings about only if it takes long enough.
    async fn wait_for_strike(&self, others: &str, what: &str) {
        eventually(PATIENCE, what, async || {
            if !self.proxy.has_struck() {
                let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                           WHERE datname = current_database() AND application_name = 'jobrun-worker'";
                count(&self.stage.pool, cut).await;
                let mut conn = self.stage.pool.acquire().await.unwrap();
                queue::nudge(&mut conn, Queue::Sweep).await.unwrap();
                queue::nudge(&mut conn, Queue::Reconcile).await.unwrap();
                self.stage.stand_in.text(others, "Plumber from London").await.unwrap();
                self.settle(what).await;
            }
            self.proxy.has_struck()
        })
        .await;
    }

    async fn column(&self, client: &str, column: &str, what: &str) -> String {
        let select =
            format!(r#"SELECT {column} FROM clients WHERE "phoneNumber" = '{}'"#, client.trim_start_matches('+'));
        let found: Option<Option<String>> =
            sqlx::query_scalar(AssertSqlSafe(select)).fetch_optional(&self.stage.pool).await.unwrap();
        found.flatten().unwrap_or_else(|| panic!("{what}: {client} has no {column}; {}", self.stage.last_lines()))
    }

    /// What a sign-up has left behind: where the client stands, the texts in order and what became of its events.
    async fn outcome(&self, client: &str, what: &str) -> (String, Vec<String>, Vec<String>) {
        let id = self.column(client, "id", what).await;
        let select = |sql: String| async move {
            sqlx::query_scalar::<_, String>(AssertSqlSafe(sql)).fetch_all(&self.stage.pool).await.unwrap()
        };
        let state =
            select(format!("SELECT current_state FROM onboarding_states WHERE client_id = '{id}'")).await.concat();
        let kinds = select(format!("SELECT kind FROM messages WHERE to_phone = '{client}' ORDER BY id")).await;
        let outcomes = select(format!(
            "SELECT kind || ' ' || coalesce(outcome, 'waits') FROM events WHERE client_id = '{id}' ORDER BY id"
        ))
        .await;
        let owed = select(format!("SELECT body FROM messages WHERE to_phone = '{client}' ORDER BY id")).await;
        assert_eq!(self.stage.stand_in.bodies_to(client), owed, "each text is sent once, in order");
        let assigned = "SELECT count(*) FROM twilio_number_pool WHERE status = 'ASSIGNED'";
        let holding = r#"SELECT count(*) FROM clients WHERE "twilioNumber" IS NOT NULL"#;
        assert_eq!(count(&self.stage.pool, assigned).await, count(&self.stage.pool, holding).await);
        (state, kinds, outcomes)
    }
}

/// The statements that two sign-ups have in common: what else there is depends on who was faster.
async fn statements_of_a_sign_up() -> (BTreeSet<String>, (String, Vec<String>, Vec<String>)) {
    let system = System::start("1h").await;
    system.sign_up(&phone(1), "nothing fails").await;
    let first = system.proxy.seen();
    let expected = system.outcome(&phone(1), "nothing fails").await;
    assert_eq!(expected.0, "COMPLETE");
    drop(system);
    let system = System::start("1h").await;
    system.sign_up(&phone(1), "nothing fails").await;
    assert_eq!(system.outcome(&phone(1), "nothing fails").await, expected, "a sign-up always leaves the same behind");
    let second = system.proxy.seen();
    (first.intersection(&second).cloned().collect(), expected)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_statement_of_a_worker_s_turn_may_fail_once() {
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
                system.wait_for_strike(&phone(n + 100_000), &what).await;
                system.settle(&what).await;
                assert_eq!(&system.outcome(&client, &what).await, expected, "{what}");
            }
            let nobody_s =
                "SELECT external_id FROM events WHERE outcome IN ('misdirected', 'no_such_client', 'unreadable')";
            assert_eq!(texts(&system.stage.pool, nobody_s).await, Vec::<String>::new());
        }
    };
    join_all((0..SYSTEMS).map(of_one_system)).await;
}
