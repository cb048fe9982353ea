//! The audit log: what operators do on the command line is recorded with the action, or not at all.

use jobrun_tests::{count, empty_database, paid_clients, programs, test_system, texts};
use secrecy::ExposeSecret;
use sqlx::Row;

const NUMBER: &str = "+447100000001";

#[tokio::test(flavor = "multi_thread")]
async fn what_operators_do_on_the_command_line_is_recorded_with_who_and_why() {
    let system = test_system(0).await;
    let run = async |arguments: &[&str]| {
        let (code, shown, errors) = system.operator(arguments).await.unwrap();
        assert_eq!(code, 0, "{arguments:?}: {shown}{errors}");
        shown
    };
    sqlx::raw_sql(
        r#"INSERT INTO clients (id, "phoneNumber") VALUES ('ann', '447900000099');
           INSERT INTO subscriptions (id, standing, heard_of_at) VALUES ('sub_1', 'active', now());
           INSERT INTO alerts (id, cause, about, raised_at, last_seen_at) OVERRIDING SYSTEM VALUE
           VALUES (7, 'x:1', 'x', now(), now())"#,
    )
    .execute(&system.pool)
    .await
    .unwrap();
    run(&["pool", "seed", NUMBER]).await;
    run(&["pool", "drain", NUMBER, "--why", "complaints about noise"]).await;
    run(&["pool", "drain", NUMBER, "--undo"]).await;
    run(&["pool", "release", NUMBER, "--now", "--why", "set by hand"]).await;
    paid_clients(&system.pool, "client", 1).await;
    run(&["pool", "allocate", "client-1", "--why", "promised on the phone"]).await;
    run(&["payments", "assign", "sub_1", "ann", "--why", "the payer rang"]).await;
    run(&["alerts", "--clear", "7", "--why", "seen to"]).await;
    let shown = run(&["console", "user", "add", "Ada@Example.com", "--role", "admin"]).await;
    let password = shown.rsplit(' ').next().unwrap().trim().to_owned();
    run(&["console", "user", "role", "ada@example.com", "viewer"]).await;
    run(&["console", "user", "disable", "ada@example.com"]).await;

    let log = "SELECT action || ' ' || COALESCE(subject, '-') || ' ' || COALESCE(why, '-') FROM audit_log ORDER BY id";
    let expected = [
        "numbers.added - -".to_owned(),
        format!("number.drained {NUMBER} complaints about noise"),
        format!("number.undrained {NUMBER} -"),
        format!("number.released {NUMBER} set by hand"),
        "number.allocated client-1 promised on the phone".to_owned(),
        "payment.assigned ann the payer rang".to_owned(),
        "alert.cleared x:1 seen to".to_owned(),
        "person.added ada@example.com -".to_owned(),
        "person.role_changed ada@example.com -".to_owned(),
        "person.disabled ada@example.com -".to_owned(),
    ];
    assert_eq!(texts(&system.pool, log).await, expected);
    let who = sqlx::query("SELECT DISTINCT who, via FROM audit_log").fetch_all(&system.pool).await.unwrap();
    assert_eq!((who.len(), who[0].get::<String, _>("via")), (1, "command".to_owned()));
    assert!(!who[0].get::<String, _>("who").is_empty());
    let secrets = "SELECT count(*) FROM audit_log, console_people
                   WHERE details::TEXT LIKE '%' || password_hash || '%' OR password_hash NOT LIKE '$argon2id$%'";
    assert_eq!((password.len(), count(&system.pool, secrets).await), (43, 0), "the log holds no secret");

    // A refused action is not recorded, and an action that cannot be recorded does not happen.
    let (code, ..) = system.operator(&["pool", "release", "+447100000009"]).await.unwrap();
    assert_ne!(code, 0);
    sqlx::raw_sql("ALTER TABLE audit_log ADD CONSTRAINT nothing_more CHECK (id < 0) NOT VALID")
        .execute(&system.pool)
        .await
        .unwrap();
    sqlx::raw_sql("UPDATE clients SET \"twilioNumber\" = NULL").execute(&system.pool).await.unwrap();
    for refused in [&["pool", "drain", NUMBER][..], &["pool", "allocate", "client-1"]] {
        let (code, ..) = system.operator(refused).await.unwrap();
        assert_ne!(code, 0, "{refused:?}");
    }
    assert_eq!(count(&system.pool, r#"SELECT count(*) FROM clients WHERE "twilioNumber" IS NOT NULL"#).await, 0);
    assert_eq!(count(&system.pool, "SELECT count(*) FROM twilio_number_pool WHERE drained_at IS NOT NULL").await, 0);
    assert_eq!(count(&system.pool, "SELECT count(*) FROM audit_log").await, 10);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_console_names_its_wrong_settings_and_refuses_a_database_without_its_tables() {
    let run = async |settings: &[(&str, &str)]| {
        let mut command = tokio::process::Command::new(programs().join("jobrun-console"));
        let output = command.envs(settings.iter().copied()).output().await.unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let url = empty_database().await;
    let database = ("DATABASE_URL", url.expose_secret());
    let (code, errors) = run(&[
        database,
        ("CONSOLE_PUBLIC_URL", "https://example.com/console"),
        ("CONSOLE_SESSION_LIFETIME", "1y"),
        ("CONSOLE_PROXY_HEADER", "X-Forwarded-Email"),
        ("CONSOLE_ADDR", "8070"),
    ])
    .await;
    assert_eq!(code, Some(2), "{errors}");
    for name in ["CONSOLE_PUBLIC_URL", "CONSOLE_SESSION_LIFETIME", "CONSOLE_TRUSTED_PROXIES", "CONSOLE_ADDR"] {
        assert!(errors.contains(name), "{name}: {errors}");
    }
    let (code, errors) = run(&[database, ("CONSOLE_ADDR", "127.0.0.1:0")]).await;
    assert!(code != Some(0) && errors.contains("jobrun migrate"), "{errors}");
}
