//! The harness: a PostgreSQL server for each run of the tests, a database for each test, and the real programs on it.
//!
//! Nothing here stands in for the database, the queue or a process; only Twilio is played.

pub mod proxy;

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use jobrun::CONNECTIONS;
use jobrun::demo::Stage;
use jobrun::local_postgres::{Data, LocalPostgres};
use jobrun_shared::config::{self, Secret};
use jobrun_shared::db::{self, Connections};
use jobrun_shared::operator;
use sqlx::{AssertSqlSafe, PgPool};
use tokio::sync::OnceCell;

/// How long a condition may take to come true before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The server of this run. It stops when this process ends, however it ends.
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

/// Where programs are looked for.
///
/// # Panics
/// When the settings of this process make no sense.
#[must_use]
pub fn path() -> String {
    config::Operator::from_env().expect("settings that make sense").path
}

/// A new, empty database.
///
/// # Panics
/// When the server does not make one.
pub async fn empty_database() -> Secret {
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    database_on(server().await, &format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed))).await
}

/// A new, empty database called `name` on a server.
///
/// # Panics
/// When the server does not make one.
pub async fn database_on(server: &LocalPostgres, name: &str) -> Secret {
    let pool = db::connect(server.url(), CONNECTIONS).await.expect("the server answers");
    sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&pool).await.expect("a new database");
    pool.close().await;
    db::sibling_url(server.url(), name).expect("the address of the new database")
}

/// Applies every migration to the database at `url`.
///
/// # Panics
/// When they do not apply.
pub async fn migrate(url: &Secret) {
    let pool = db::connect(url, CONNECTIONS).await.expect("the new database answers");
    operator::migrate(&pool).await.expect("the migrations apply");
    pool.close().await;
}

/// A new, migrated database, for tests that need no programs. Allows `connections` at a time.
///
/// # Panics
/// When it cannot be made.
pub async fn migrated_database(connections: u32) -> PgPool {
    let pool = db::connect(&empty_database().await, Connections { max: connections, ..CONNECTIONS })
        .await
        .expect("the new database answers");
    operator::migrate(&pool).await.expect("the migrations apply");
    pool
}

/// The folder of the programs, built to the latest state.
///
/// # Panics
/// When they do not build.
#[must_use]
pub fn programs() -> PathBuf {
    static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let test = std::env::current_exe().expect("a test knows where it lies");
        let dir = test.ancestors().nth(2).expect("tests lie in the folder deps beside the programs").to_owned();
        // A benchmark is built without tests.
        let beside = if dir.ends_with("release") { None } else { Some("--tests") };
        jobrun::programs::build(&dir, beside).expect("the programs build");
        dir
    };
    PROGRAMS.get_or_init(build).clone()
}

/// The programs on a new database, with `workers` workers and a sweep every second.
///
/// # Panics
/// When something does not start.
pub async fn stage(workers: usize) -> Stage {
    stage_with(workers, &[]).await
}

/// As [`stage`], with settings of its own.
///
/// # Panics
/// When something does not start.
pub async fn stage_with(workers: usize, settings: &[(&str, &str)]) -> Stage {
    Stage::set(&programs(), &empty_database().await, workers, settings).await.expect("the stage is set")
}

/// Sends a text, waits until everything it causes is done, and answers what came back.
///
/// # Panics
/// When the webhook is not acknowledged, or something still waits after a minute.
pub async fn say(stage: &Stage, phone: &str, body: &str) -> Vec<String> {
    let before = stage.stand_in.bodies_to(phone).len();
    let answer = stage.stand_in.text(phone, body).await.expect("the webhook is delivered");
    assert_eq!((answer.status, answer.body.as_str()), (200, "<Response/>"));
    stage.settle().await.expect("everything settles");
    stage.stand_in.bodies_to(phone).split_off(before)
}

/// A count, by SQL.
///
/// # Panics
/// When the statement fails.
pub async fn count(pool: &PgPool, statement: &'static str) -> i64 {
    sqlx::query_scalar(statement).fetch_one(pool).await.expect("a count")
}

/// Texts, by SQL, in order.
///
/// # Panics
/// When the statement fails.
pub async fn texts(pool: &PgPool, statement: &'static str) -> Vec<String> {
    sqlx::query_scalar(statement).fetch_all(pool).await.expect("texts")
}

/// Makes clients who have paid: `{prefix}-1` and so on, with phones of their own. Answers their ids.
///
/// # Panics
/// When they cannot be made.
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

/// The phone of the `n`th of [`paid_clients`], counted from 1.
#[must_use]
pub fn phone(n: usize) -> String {
    format!("+{}", phone_digits(n))
}

/// Numbers for a pool.
#[must_use]
pub fn numbers(count: usize) -> Vec<String> {
    (1..=count).map(|n| format!("+4471{n:08}")).collect()
}

/// Waits until `condition` holds.
///
/// # Panics
/// When it does not after `timeout`.
pub async fn eventually(timeout: Duration, what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + timeout;
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "after {timeout:?}, still not so: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
