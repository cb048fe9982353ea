//! The roles of the programs: each may do what its program does, and nothing else.

use jobrun::demo::{Report, TestSystem, play};
use jobrun::programs::free_port;
use jobrun_shared::db;
use jobrun_tests::{PATIENCE, count, migrated_database, say, test_system, texts};
use sqlx::{AssertSqlSafe, PgPool};

/// Statements that a role must not run.
const DENIED: [(&str, &[&str]); 4] = [
    (
        "jobrun_ingress",
        &[
            "SELECT FROM clients",
            r#"SELECT "phoneNumber" FROM clients"#,
            "SELECT body FROM messages",
            "SELECT payload FROM events",
            "UPDATE events SET processed_at = now()",
            "DELETE FROM events",
            "SELECT phone_e164 FROM twilio_number_pool",
            "SELECT * FROM client_reach",
            "SELECT caller FROM calls",
            "SELECT recording_sid FROM voicemails",
            "SELECT about FROM alerts",
            "DELETE FROM alerts",
            "SELECT job FROM apalis.jobs",
            "UPDATE audits SET audited_until = now()",
            "CREATE TABLE mine (id INT)",
            // Put in the place of ours, a temporary view would be read by the function as the owner.
            "CREATE TEMPORARY VIEW twilio_number_pool AS SELECT 'x'::TEXT AS phone_e164",
        ],
    ),
    (
        "jobrun_worker",
        &[
            "DELETE FROM clients",
            "DELETE FROM payment_events",
            "DELETE FROM former_payment_references",
            "DELETE FROM subscriptions",
            "DELETE FROM alerts",
            "DELETE FROM twilio_number_pool",
            "TRUNCATE events",
            "INSERT INTO bulk_action_texts (action_id, message_id) VALUES (1, 1)",
            "DELETE FROM bulk_actions",
            "UPDATE _sqlx_migrations SET success = FALSE",
            "UPDATE installation SET account_kind = 'real'",
            "CREATE TABLE mine (id INT)",
            "DROP TABLE leases",
            "UPDATE stops SET stopped_at = NULL",
        ],
    ),
    (
        "jobrun_console",
        &[
            r#"UPDATE clients SET "paymentActive" = TRUE"#,
            "UPDATE messages SET status = 'queued'",
            "DELETE FROM events",
            "UPDATE events SET processed_at = NULL",
            "INSERT INTO messages (kind, to_phone, from_number, body, created_at, updated_at)
             VALUES ('live', '+447900000001', '+447476955179', 'x', now(), now())",
            "UPDATE alerts SET about = 'x'",
            "SELECT number_is_unused('+447900000001')",
            "SELECT find_voicemail('x')",
            "UPDATE voicemails SET expires_at = now()",
            "UPDATE console_people SET role = 'admin'",
            "UPDATE console_people SET disabled_at = NULL",
            "INSERT INTO console_people (name, role, created_at) VALUES ('me', 'admin', now())",
            "INSERT INTO console_login_links (token_sha256, person_id, expires_at) VALUES ('', 1, now())",
            "UPDATE bulk_actions SET why = 'x'",
            "UPDATE bulk_action_texts SET outcome = NULL",
            "DELETE FROM bulk_action_texts",
            "INSERT INTO stops (what) VALUES ('sending')",
            "UPDATE cases SET said = 'x'",
            "DELETE FROM cases",
            "DELETE FROM stops",
            "UPDATE stops SET what = 'x'",
            "UPDATE audit_log SET who = 'x'",
            "DELETE FROM audit_log",
        ],
    ),
    (
        "jobrun_reader",
        &[
            "INSERT INTO events (source, external_id, kind, lane, payload, received_at)
             VALUES ('operator', 'x', 'number_due', 'client:x', '{}', now())",
            "UPDATE alerts SET cleared_at = now()",
            r#"UPDATE clients SET "paymentActive" = TRUE"#,
            "DELETE FROM waiting_list",
            "SELECT password_hash FROM console_people",
            "SELECT token_sha256 FROM console_sessions",
            "SELECT token_sha256 FROM console_login_links",
        ],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_role_is_denied_what_its_program_does_not_do() {
    let pool = migrated_database(1).await;
    db::make_roles(&pool).await.unwrap();
    db::make_roles(&pool).await.expect("it is safe to repeat");
    for (role, statements) in DENIED {
        for statement in statements {
            let mut tx = pool.begin().await.unwrap();
            sqlx::raw_sql(AssertSqlSafe(format!("SET LOCAL ROLE {role}"))).execute(&mut *tx).await.unwrap();
            let denied = sqlx::raw_sql(AssertSqlSafe((*statement).to_owned())).execute(&mut *tx).await;
            let code = denied.as_ref().err().and_then(|error| error.as_database_error()?.code());
            assert_eq!(code.as_deref(), Some("42501"), "{role}: {statement}: {denied:?}");
            tx.rollback().await.unwrap();
        }
    }
}

/// A function that runs as its owner must not be led to a caller's objects.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_cannot_put_a_table_of_its_own_under_the_function_of_the_owner() {
    let pool = migrated_database(1).await;
    db::make_roles(&pool).await.unwrap();
    let unsafe_functions =
        "SELECT count(*) FROM pg_proc WHERE prosecdef AND pronamespace = current_schema()::REGNAMESPACE
                              AND NOT COALESCE(proconfig @> ARRAY['search_path=pg_catalog, pg_temp'], FALSE)";
    assert_eq!(count(&pool, unsafe_functions).await, 0);
    let mut tx = pool.begin().await.unwrap();
    let database: String = sqlx::query_scalar("SELECT current_database()::TEXT").fetch_one(&mut *tx).await.unwrap();
    let grant = format!("GRANT TEMPORARY ON DATABASE {database} TO jobrun_ingress");
    sqlx::raw_sql(AssertSqlSafe(grant)).execute(&mut *tx).await.unwrap();
    let forged = "SET LOCAL ROLE jobrun_ingress;
                  CREATE TEMPORARY TABLE twilio_number_pool (phone_e164 TEXT);
                  INSERT INTO twilio_number_pool VALUES ('+447700900000')";
    sqlx::raw_sql(forged).execute(&mut *tx).await.unwrap();
    let unused: bool =
        sqlx::query_scalar("SELECT number_is_unused('+447700900000')").fetch_one(&mut *tx).await.unwrap();
    assert!(!unused, "the caller's table is not read");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_and_view_has_its_grants() {
    let pool = migrated_database(1).await;
    db::make_roles(&pool).await.unwrap();
    let forgotten = "SELECT relname::TEXT FROM pg_class
                     WHERE relkind IN ('r', 'v') AND relnamespace = current_schema()::REGNAMESPACE
                       AND NOT has_any_column_privilege('jobrun_reader', oid, 'SELECT')
                     ORDER BY relname";
    assert!(
        texts(&pool, forgotten).await.is_empty(),
        "these are not in roles.sql: {:?}",
        texts(&pool, forgotten).await
    );
}

/// Returns the address of the database for a login that has `role` and nothing else.
async fn login_of(pool: &PgPool, url: &str, role: &str) -> String {
    let database: String = sqlx::query_scalar("SELECT current_database()::TEXT").fetch_one(pool).await.unwrap();
    let login = format!("{role}_{database}");
    let make = format!("CREATE ROLE {login} LOGIN PASSWORD 'of-the-test' IN ROLE {role}");
    sqlx::raw_sql(AssertSqlSafe(make)).execute(pool).await.unwrap();
    let (scheme, rest) = url.split_once("://").unwrap();
    let at = rest.split_once('@').map_or(rest, |(_, at)| at);
    format!("{scheme}://{login}:of-the-test@{at}")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scenarios_hold_with_an_ingress_and_a_worker_that_have_their_roles_only() {
    let mut system: TestSystem = test_system(0).await;
    let (code, shown, errors) = system.operator(&["migrate", "--roles"]).await.unwrap();
    assert!(code == 0 && shown.contains("jobrun_ingress"), "{shown}{errors}");
    let owner = system.environment["DATABASE_URL"].clone();
    let (ingress, worker) =
        (login_of(&system.pool, &owner, "jobrun_ingress").await, login_of(&system.pool, &owner, "jobrun_worker").await);

    system.ingress.stop().await.unwrap();
    system.environment.insert("DATABASE_URL".to_owned(), ingress);
    // In report mode it raises an alert at its start, and clears it otherwise.
    system.environment.insert("TWILIO_SIGNATURE_MODE".to_owned(), "report".to_owned());
    system.start_ingress().await.unwrap();
    assert_eq!(count(&system.pool, "SELECT count(*) FROM alerts WHERE cleared_at IS NULL").await, 1);
    system.ingress.stop().await.unwrap();
    system.environment.remove("TWILIO_SIGNATURE_MODE");
    system.start_ingress().await.unwrap();
    assert_eq!(count(&system.pool, "SELECT count(*) FROM alerts WHERE cleared_at IS NULL").await, 0);
    system.environment.insert("DATABASE_URL".to_owned(), worker);
    system.environment.insert("OPS_ADDR".to_owned(), format!("127.0.0.1:{}", free_port().unwrap()));
    system.environment.insert("ALERT_WEBHOOK_URL".to_owned(), "http://127.0.0.1:9/".to_owned());
    system.start_worker().unwrap();
    system.workers[0].wait_for_line("takes jobs", PATIENCE).await.unwrap();
    // The scenarios use the operator's command, which is the owner's.
    system.environment.insert("DATABASE_URL".to_owned(), owner);

    let mut shown = Vec::new();
    let mut report = Report::new(&mut shown, false);
    play(&system, &mut report).await.unwrap();
    assert!(report.failures().is_empty(), "{:#?}", report.failures());
    // What the scenarios do not have: a question for a person, a change of phone, a call.
    for body in ["do you cover Leeds as well?", "I've got a new phone, my old number is 07900 000001", "123456"] {
        say(&system, "+447900000777", body).await;
    }
    let [changes, cases] = ["SELECT count(*) FROM phone_changes", "SELECT count(*) FROM cases"];
    assert!(count(&system.pool, changes).await > 0 && count(&system.pool, cases).await > 0);
    let lines = [system.ingress.lines(), system.workers[0].lines()].concat();
    let denied: Vec<&String> = lines.iter().filter(|line| line.contains("permission denied")).collect();
    assert!(denied.is_empty(), "{denied:#?}");
    system.shut_down().await.unwrap();
}
