//! The test harness: a PostgreSQL server for each run of the tests, a database for each test, and the real programs on it.
//!
//! The database, the queue and the processes are real. Only Twilio and Stripe are played, by the stand-in.

pub mod proxy;

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use jobrun::CONNECTIONS;
use jobrun::demo::TestSystem;
use jobrun::local_postgres::{Data, LocalPostgres};
use jobrun_shared::clock;
use jobrun_shared::config::{self};
use jobrun_shared::db::{self, Connections};
use secrecy::SecretString;
use sqlx::{AssertSqlSafe, PgPool};
use tokio::sync::OnceCell;

/// How long a condition may take to come true before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Returns the server of this run. It stops when this process ends, even if the process is killed.
///
/// # Panics
/// When PostgreSQL is not installed.
pub async fn server() -> &'static LocalPostgres {
    static SERVER: OnceCell<LocalPostgres> = OnceCell::const_new();
    SERVER
        .get_or_init(|| async {
            LocalPostgres::start_temporary(Data::ThrownAway, &path())
                .await
                .expect("PostgreSQL's programs are installed")
        })
        .await
}

/// Returns the `PATH`, in which PostgreSQL's programs may be.
///
/// # Panics
/// When the settings of this process are invalid.
#[must_use]
pub fn path() -> String {
    config::Operator::from_env().expect("settings that make sense").path
}

/// Creates an empty database. Returns its URL.
///
/// # Panics
/// When the server does not create it.
pub async fn empty_database() -> SecretString {
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    database_on(server().await, &format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed))).await
}

/// Creates an empty database called `name` on a server. Returns its URL.
///
/// # Panics
/// When the server does not create it.
pub async fn database_on(server: &LocalPostgres, name: &str) -> SecretString {
    let pool = db::connect(server.url(), CONNECTIONS).await.expect("the server answers");
    sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&pool).await.expect("a new database");
    pool.close().await;
    db::sibling_url(server.url(), name).expect("the address of the new database")
}

/// Applies every migration to the database at `url`.
///
/// # Panics
/// When the migrations do not apply.
pub async fn migrate(url: &SecretString) {
    let pool = db::connect(url, CONNECTIONS).await.expect("the new database answers");
    db::migrate(&pool).await.expect("the migrations apply");
    pool.close().await;
}

/// Creates a migrated database, for tests that need no programs. The pool has at most `connections` connections.
///
/// # Panics
/// When the database cannot be created or migrated.
pub async fn migrated_database(connections: u32) -> PgPool {
    let pool = db::connect(&empty_database().await, Connections { max: connections, ..CONNECTIONS })
        .await
        .expect("the new database answers");
    db::migrate(&pool).await.expect("the migrations apply");
    pool
}

/// Builds the programs from the present source, once. Returns their folder.
///
/// # Panics
/// When the programs do not build.
#[must_use]
pub fn programs() -> PathBuf {
    static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let test = std::env::current_exe().expect("a test knows where it lies");
        let dir = test.ancestors().nth(2).expect("tests lie in the folder deps beside the programs").to_owned();
        // A benchmark is a release build, without tests.
        let beside = if dir.ends_with("release") { None } else { Some("--tests") };
        jobrun::programs::build(&dir, beside).expect("the programs build");
        dir
    };
    PROGRAMS.get_or_init(build).clone()
}

/// Starts a test system: the programs on a new database, with `workers` workers and a sweep every second.
///
/// # Panics
/// When something does not start.
pub async fn test_system(workers: usize) -> TestSystem {
    test_system_with(workers, &[]).await
}

/// As [`test_system`], with settings of its own.
///
/// # Panics
/// When something does not start.
pub async fn test_system_with(workers: usize, settings: &[(&str, &str)]) -> TestSystem {
    TestSystem::start(&programs(), &empty_database().await, workers, settings).await.expect("the test system starts")
}

/// Sends a text, and waits until everything that it causes is done. Returns the texts that `phone` gets back.
///
/// # Panics
/// When the webhook is not acknowledged, or something still waits after a minute.
pub async fn say(system: &TestSystem, phone: &str, body: &str) -> Vec<String> {
    let before = system.stand_in.bodies_to(phone).len();
    let answer = system.stand_in.text(phone, body).await.expect("the webhook is delivered");
    assert_eq!((answer.status, answer.body.as_str()), (200, "<Response/>"));
    system.settle().await.expect("everything settles");
    system.stand_in.bodies_to(phone).split_off(before)
}

/// Returns a count, by SQL.
///
/// # Panics
/// When the statement fails.
pub async fn count(pool: &PgPool, statement: &'static str) -> i64 {
    sqlx::query_scalar(statement).fetch_one(pool).await.expect("a count")
}

/// Returns a column of strings, by SQL, in order.
///
/// # Panics
/// When the statement fails.
pub async fn texts(pool: &PgPool, statement: &'static str) -> Vec<String> {
    sqlx::query_scalar(statement).fetch_all(pool).await.expect("texts")
}

/// Inserts clients who have paid: `{prefix}-1` and so on, with phone numbers of their own. Returns their ids.
///
/// # Panics
/// When the clients cannot be inserted.
pub async fn paid_clients(pool: &PgPool, prefix: &str, count: usize) -> Vec<String> {
    let ids: Vec<String> = (1..=count).map(|n| format!("{prefix}-{n}")).collect();
    let phones: Vec<String> = (1..=count).map(phone_digits).collect();
    sqlx::query(
        r#"INSERT INTO clients (id, "phoneNumber", "paymentActive") SELECT id, phone, TRUE FROM unnest($1, $2) AS c (id, phone)"#,
    )
    .bind(&ids)
    .bind(&phones)
    .execute(pool)
    .await
    .expect("new clients");
    ids
}

fn phone_digits(n: usize) -> String {
    format!("4479{n:08}")
}

/// Returns the phone number, E.164, of the `n`th of [`paid_clients`], counted from 1.
#[must_use]
pub fn phone(n: usize) -> String {
    format!("+{}", phone_digits(n))
}

/// Returns numbers for a pool, E.164.
#[must_use]
pub fn numbers(count: usize) -> Vec<String> {
    (1..=count).map(|n| format!("+4471{n:08}")).collect()
}

/// Waits until `condition` holds.
///
/// # Panics
/// When the condition does not hold after `timeout`.
pub async fn eventually(timeout: Duration, what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + timeout;
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "after {timeout:?}, still not so: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until two sweeps have begun and ended since now, and everything that they cause is done.
///
/// # Panics
/// When no sweep succeeds within [`PATIENCE`], or something still waits after a minute.
pub async fn sweep_twice(system: &TestSystem) {
    for _ in 0..2 {
        let since = clock::now();
        eventually(PATIENCE, "a sweep succeeds", async || {
            let has_ended = "SELECT COALESCE(last_success_at > $1, FALSE) FROM sweeps";
            sqlx::query_scalar(has_ended).bind(since).fetch_one(&system.pool).await.expect("a time")
        })
        .await;
    }
    system.settle().await.expect("everything settles");
}
