//! The command line: help, exit statuses, how arguments name numbers and clients, and messages about mistakes.

use std::process::Stdio;

use jobrun_shared::db::find_client::{FoundClients, find_client};
use jobrun_shared::db::{self, ConnectError, Reason};
use jobrun_shared::numbers::seed_release;
use jobrun_shared::refusal::{self, Refusal};
use jobrun_tests::{
    PATIENCE, count, empty_database, eventually, migrate, migrated_database, numbers, paid_clients, path, programs,
    server, test_system, texts,
};
use secrecy::ExposeSecret;
use serde_json::Value;
use sqlx::AssertSqlSafe;

/// Runs a program with only these settings until it ends. Returns its exit status, standard output and standard error.
async fn run(program: &str, arguments: &[&str], settings: &[(&str, &str)]) -> (i32, String, String) {
    let mut command = tokio::process::Command::new(programs().join(program));
    command.args(arguments).env_clear().envs(settings.iter().copied()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends").unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn daemons_print_their_help_and_refuse_unknown_arguments() {
    for program in ["jobrun-ingress", "jobrun-worker"] {
        for help in ["--help", "-h"] {
            let (code, stdout, stderr) = run(program, &[help], &[]).await;
            assert_eq!((code, stderr.as_str()), (0, ""), "{program} {help}");
            for says in ["Usage: jobrun-", "Settings come from the environment", "DATABASE_URL", "Exit status: 0"] {
                assert!(stdout.contains(says), "{program}: {says:?} is not in: {stdout}");
            }
        }
        let (code, stdout, _) = run(program, &["--version"], &[]).await;
        assert_eq!((code, stdout), (0, format!("{program} {}\n", env!("CARGO_PKG_VERSION"))));
        for unknown in ["--port", "start", "-x"] {
            let (code, stdout, stderr) = run(program, &[unknown], &[]).await;
            assert_eq!((code, stdout.as_str()), (2, ""), "{program} {unknown}");
            assert!(stderr.contains(unknown) && stderr.contains("--help"), "{stderr}");
        }
        assert_eq!(run(program, &[], &[]).await.0, 2, "settings are missing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_shown_with_their_origin_and_secrets_are_hidden() {
    let file = std::env::temp_dir().join(format!("jobrun-settings-{}", std::process::id()));
    std::fs::write(&file, "hush-in-a-file\n").unwrap();
    let path = file.to_str().unwrap();
    let link = format!("https://buy.stripe.com/{}", "x".repeat(100));
    let settings = [
        ("TWILIO_AUTH_TOKEN_FILE", path),
        ("DATABASE_URL", "postgres://jobrun:hush@localhost/jobrun"),
        ("SLICE_MAX", "7"),
        ("PAYMENT_LINK_URL", &link),
    ];
    let (code, table, _) = run("jobrun", &["settings"], &settings).await;
    let cells = |name: &str| {
        let row = table.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap_or_default();
        row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(code, 0, "{table}");
    let token = cells("TWILIO_AUTH_TOKEN");
    assert!(token[0] == "(hidden)" && token[1].starts_with(&format!("file {path}")), "{table}");
    assert_eq!(cells("DATABASE_URL"), ["(hidden)", "environment", "all"], "{table}");
    assert_eq!(cells("BATCH_MAX"), ["7", "environment, as SLICE_MAX", "worker"], "{table}");
    assert_eq!(cells("RETENTION"), ["400d", "default", "worker"], "{table}");
    assert_eq!(cells("PUBLIC_BASE_URL")[..2], ["-", "not set"], "{table}");
    assert!(cells("PAYMENT_LINK_URL")[0].contains("xxx…") && !table.contains("hush"), "{table}");

    let (_, json, _) = run("jobrun", &["settings", "--json"], &settings).await;
    let shown: Vec<Value> = serde_json::from_str(&json).unwrap();
    assert_eq!(shown.iter().find(|it| it["name"] == "PAYMENT_LINK_URL").unwrap()["value"], link.as_str());
    assert!(!json.contains("hush"), "{json}");

    std::fs::remove_file(&file).unwrap();
    let (code, table, _) = run("jobrun", &["settings"], &settings).await;
    assert_eq!(code, 2);
    assert!(table.contains("TWILIO_AUTH_TOKEN_FILE cannot be read"), "{table}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_settings_and_usage_exit_with_2_and_a_refusal_exits_with_1() {
    let url = empty_database().await;
    migrate(&url).await;
    let unmigrated = empty_database().await;
    let with = async |arguments: &[&str], url: &str| run("jobrun", arguments, &[("DATABASE_URL", url)]).await;
    for arguments in [
        &["pool", "status"][..],
        &["pool", "seed", "+447111111111"],
        &["waiting"],
        &["alerts"],
        &["cases"],
        &["client", "x"],
        &["migrate"],
        &["sweep"],
        &["payments"],
        &["stop"],
        &["start", "sending"],
    ] {
        let (code, _, stderr) = run("jobrun", arguments, &[]).await;
        assert!(code == 2 && stderr.contains("DATABASE_URL is not set"), "{arguments:?}: {code} {stderr}");
        let (code, _, stderr) = with(arguments, "postgres://hush@localhost:hush/jobrun").await;
        assert!(code == 2 && stderr.contains("DATABASE_URL cannot be read"), "{arguments:?}: {code} {stderr}");
        assert!(!stderr.contains("hush"), "{stderr}");
    }
    for (arguments, code) in [
        (&["pool", "status"][..], 0),
        (&["pool", "fly"], 2),
        (&["pool", "status", "--colour"], 2),
        (&["pool", "seed"], 2),
        (&["pool", "seed", "hello"], 2),
        (&["pool", "release", "hello"], 2),
        (&["pool", "drain", "07"], 2),
        (&["alerts", "--clear", "first"], 2),
        (&["pool", "buy", "--count", "0"], 2),
        (&["numbers", "check"], 2),
        (&["pool", "release", "+447111111111"], 1),
        (&["pool", "allocate", "client-1"], 1),
        (&["client", "07911 123456"], 1),
        (&["alerts", "--clear", "1"], 1),
        (&["cases"], 0),
        (&["cases", "--close", "1"], 1),
        (&["cases", "--why", "x"], 2),
        (&["payments", "assign", "sub_1", "client-1"], 1),
        // No worker runs.
        (&["alerts"], 1),
    ] {
        let ended = with(arguments, url.expose_secret()).await;
        assert_eq!(ended.0, code, "{arguments:?}: {ended:?}");
    }
    let (head, tail) = url.expose_secret().split_once('@').unwrap();
    let (server, _) = tail.split_once('/').unwrap();
    for (url, words) in [
        (
            format!("postgres://unknown:hush@{tail}"),
            "refuses the login: check the user and the password in DATABASE_URL",
        ),
        (format!("{head}@{server}/x"), "has no such database: check its name in DATABASE_URL, or create it"),
    ] {
        let daemon = [
            ("DATABASE_URL", url.as_str()),
            ("TWILIO_ACCOUNT_SID", "AC1"),
            ("TWILIO_AUTH_TOKEN", "hush"),
            ("PUBLIC_BASE_URL", "https://example.com"),
            ("INGRESS_ADDR", "127.0.0.1:0"),
        ];
        for (code, stdout, stderr) in [
            with(&["pool", "status"], &url).await,
            with(&["migrate"], &url).await,
            run("jobrun-worker", &[], &daemon).await,
            run("jobrun-ingress", &[], &daemon).await,
        ] {
            let said = stdout + &stderr;
            assert!(code == 2 && said.contains(words) && !said.contains("hush"), "{code}: {said}");
        }
    }
    assert_eq!(with(&["pool", "status"], unmigrated.expose_secret()).await.0, 1, "nothing is wrong with the settings");
}

/// Settings of the other programs are checked as well, because an operator tries out a setting with a command.
#[tokio::test(flavor = "multi_thread")]
async fn every_command_names_an_invalid_setting_with_its_value() {
    let url = empty_database().await;
    migrate(&url).await;
    let database = ("DATABASE_URL", url.expose_secret());
    for arguments in [&["sweep"][..], &["pool", "status"], &["alerts"], &["numbers", "webhooks"]] {
        let (code, stdout, stderr) = run("jobrun", arguments, &[database, ("SWEEP_INTERVAL", "banana")]).await;
        assert_eq!((code, stdout.as_str()), (2, ""), "{arguments:?}: {stderr}");
        let named = "SWEEP_INTERVAL is not a duration in whole seconds, such as 60s or 5m: \"banana\"";
        assert!(stderr.contains(named), "{stderr}");
    }
    let bad = [database, ("SWEEP_INTERVAL", "banana"), ("POOL_BUY_MAX", "few")];
    let (code, _, stderr) = run("jobrun", &["pool", "buy", "--count", "1"], &bad).await;
    let names = ["SWEEP_INTERVAL is", "POOL_BUY_MAX is", "TWILIO_ACCOUNT_SID is not set"];
    assert!(code == 2 && names.iter().all(|name| stderr.matches(name).count() == 1), "{code}: {stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_that_is_cut_short_does_not_exit_with_success() {
    let url = server().await.url().expose_secret();
    let start = || {
        let mut command = tokio::process::Command::new(programs().join("jobrun"));
        command.arg("demo").env_clear().env("PATH", path()).env("DATABASE_URL", url).kill_on_drop(true);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    // The reader of its output closes before the demo writes anything.
    let mut unread = start().spawn().unwrap();
    drop(unread.stdout.take());
    let ended = tokio::time::timeout(PATIENCE, unread.wait_with_output()).await.expect("it ends").unwrap();
    assert_eq!(ended.status.code(), Some(1), "{}", String::from_utf8_lossy(&ended.stderr));

    let interrupted = start().spawn().unwrap();
    let pid = interrupted.id().unwrap().to_string();
    let signals = format!("/proc/{pid}/status");
    let ready = async || {
        // SIGINT is the second bit of the mask of caught signals.
        let caught = std::fs::read_to_string(&signals).unwrap();
        let mask = caught.lines().find_map(|line| line.strip_prefix("SigCgt:\t")).unwrap();
        u64::from_str_radix(mask.trim(), 16).unwrap() & 2 != 0
    };
    eventually(PATIENCE, "it listens for Ctrl-C", ready).await;
    let sent = tokio::process::Command::new("kill").args(["-INT", &pid]).status().await.unwrap();
    assert!(sent.success());
    let ended = tokio::time::timeout(PATIENCE, interrupted.wait_with_output()).await.expect("it ends").unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(130), "{said}");
    assert!(said.ends_with("jobrun: stopped before the end\n"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_that_cannot_be_in_the_pool_are_named_with_the_reason() {
    let system = test_system(0).await;
    let ten = jobrun::commands::up::TEN_NUMBERS.join(",");
    let given = ["pool", "seed", &ten, "07911 123456", "+44 (0)7911-123457", "0044 7911 123458", "020 7123 4567"];
    let (code, stdout, stderr) = system.operator(&given).await.unwrap();
    assert_eq!((code, stdout.as_str()), (0, "14 new, 0 known already\n"), "{stderr}");
    let seeded = texts(&system.pool, "SELECT phone_e164 FROM twilio_number_pool ORDER BY seed_order").await;
    assert_eq!(seeded[10..], ["+447911123456", "+447911123457", "+447911123458", "+442071234567"]);

    let wrong = [
        ("+4407911123456", "has a 0 after +44, which is left out there: +447911123456"),
        ("+44791112345", "cannot exist: GB has no numbers of this length"),
        ("+446001234567", "cannot exist: GB has no numbers of this length"),
        ("+447476955179", "is the number that clients text"),
        ("hello", "not a phone number"),
        ("+9991234567", "begins with the calling code of no country"),
        ("0800 123 4567", "can never be a client's: 0800 and 0808 numbers are freephone"),
        ("07700 900123", "can never be a client's: Ofcom keeps it for films and plays"),
        ("+15005550006", "can never be a client's: it is one of Twilio's test numbers"),
    ];
    let arguments = ["pool", "seed", "+447911123459"].into_iter().chain(wrong.map(|(number, _)| number));
    let (code, stdout, stderr) = system.operator(&arguments.collect::<Vec<_>>()).await.unwrap();
    assert_eq!((code, stdout.as_str()), (2, ""));
    for (number, wrong) in wrong {
        assert!(stderr.contains(&format!("\n  {number}: {wrong}")), "{number}: {stderr}");
    }
    assert!(!stderr.contains("+447911123459"), "{stderr}");
    assert_eq!(count(&system.pool, "SELECT count(*) FROM twilio_number_pool").await, 14, "and none is added");

    let (code, stdout, _) = system.operator(&["pool", "drain", "07911 123456"]).await.unwrap();
    assert_eq!((code, stdout.starts_with("+447911123456 is drained")), (0, true), "{stdout}");
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_found_by_its_id_its_phone_or_the_beginning_of_its_id() {
    let pool = migrated_database(1).await;
    let clients = r#"INSERT INTO clients (id, "phoneNumber") VALUES
        ('anna-1', '447900000001'), ('anna-22', '447900000002'), ('anna', '447900000003'), ('ben_x', '447900000004'),
        ('447900000001', '447900000005'), ('benox', '447900000006')"#;
    sqlx::raw_sql(clients).execute(&pool).await.unwrap();
    let mut conn = pool.acquire().await.unwrap();
    let one = |id: &str| FoundClients::One(id.to_owned());
    for (words, found) in [
        ("anna-22", one("anna-22")),
        ("anna-2", one("anna-22")),
        ("anna", one("anna")),
        (" anna-1 ", one("anna-1")),
        ("+44 7900 000002", one("anna-22")),
        ("07900-000003", one("anna")),
        ("447900000001", one("447900000001")),
        ("+447900000001", one("anna-1")),
        ("ben_", one("ben_x")),
        ("ann", FoundClients::Several(vec!["anna".to_owned(), "anna-1".to_owned(), "anna-22".to_owned()])),
        ("ben%", FoundClients::Nobody),
        ("", FoundClients::Nobody),
        ("07900 000009", FoundClients::Nobody),
    ] {
        assert_eq!(find_client(&mut conn, words).await.unwrap(), found, "{words:?}");
    }
    drop(conn);
    let several = refusal::find_client(&pool, "ann").await.unwrap_err();
    assert!(matches!(several, Refusal::SeveralClients(ids) if ids.len() == 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_accepts_a_client_by_id_by_phone_or_by_an_unambiguous_beginning() {
    let system = test_system(0).await;
    seed_release::seed(&system.pool, &numbers(3)).await.unwrap();
    paid_clients(&system.pool, "client", 12).await;
    for words in ["client-2", "07900 000002", "+447900000002"] {
        let (code, stdout, stderr) = system.operator(&["pool", "allocate", words]).await.unwrap();
        let answer: Value = serde_json::from_str(&stdout).expect(&stderr);
        assert_eq!((code, answer["clientId"].as_str()), (0, Some("client-2")), "{words}");
    }
    sqlx::raw_sql("INSERT INTO subscriptions (id, heard_of_at, standing) VALUES ('sub_1', now(), 'active')")
        .execute(&system.pool)
        .await
        .unwrap();
    let unclear =
        [&["client", "client-"][..], &["pool", "allocate", "client-"], &["payments", "assign", "sub_1", "cl"]];
    for arguments in unclear {
        let (code, stdout, stderr) = system.operator(arguments).await.unwrap();
        assert_eq!((code, stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(stderr.contains("client-1, client-10, client-11, client-12, client-2, "), "{stderr}");
    }
    let (code, stdout, stderr) = system.operator(&["payments", "assign", "sub_1", "07900 000003"]).await.unwrap();
    assert_eq!((code, stdout.as_str()), (0, "sub_1 belongs to client client-3\n"), "{stderr}");
    let (code, stdout, _) = system.operator(&["client", "client-12"]).await.unwrap();
    assert!(code == 0 && stdout.starts_with("client client-12\n"), "{stdout}");
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_misspelt_setting_is_warned_of_and_its_value_is_not_shown() {
    let url = empty_database().await;
    migrate(&url).await;
    let warning = "TWILIO_AUTH_TOKN is set, which is no setting: is TWILIO_AUTH_TOKEN meant?";
    let misspelt = [
        ("DATABASE_URL", url.expose_secret()),
        ("TWILIO_AUTH_TOKN", "hush"),
        ("PUBLIC_UL", "hush"),
        ("TWILIO_REGION", "hush"),
    ];
    let (code, stdout, stderr) = run("jobrun", &["pool", "status"], &misspelt).await;
    assert!(code == 0 && stderr.contains(warning), "{stderr}");
    assert!(stderr.contains("PUBLIC_UL is set, which is no setting: is PUBLIC_BASE_URL meant?"), "{stderr}");
    assert!(!stderr.contains("TWILIO_REGION") && !stderr.contains("hush") && !stdout.contains("AUTH"), "{stderr}");
    for program in ["jobrun-ingress", "jobrun-worker"] {
        let (code, _, stderr) = run(program, &[], &misspelt).await;
        assert!(code == 2 && stderr.contains("TWILIO_AUTH_TOKEN is not set"), "{stderr}");
        assert!(stderr.contains(warning) && !stderr.contains("hush"), "{stderr}");
    }
    // With no setting missing, the daemons start and log the warning.
    let mut system = test_system(0).await;
    system.environment.insert("SWEEP_INTERVALL".to_owned(), "hush".to_owned());
    system.start_worker().unwrap();
    let lines = || system.workers[0].lines();
    let warned = async || lines().iter().any(|line| line.contains("is SWEEP_INTERVAL meant?"));
    eventually(PATIENCE, "the worker warns", warned).await;
    assert!(!lines().iter().any(|line| line.contains("hush")));
    system.shut_down().await.unwrap();
}

/// Runs a command on a terminal of 60 columns. Returns its output.
#[cfg(target_os = "linux")]
async fn on_a_terminal(system: &jobrun::demo::TestSystem, arguments: &str, settings: &[(&str, &str)]) -> String {
    let shell = format!("stty cols 60; exec {} {arguments}", programs().join("jobrun").display());
    let mut command = tokio::process::Command::new("script");
    command.args(["--quiet", "--return", "--command", &shell, "/dev/null"]).env_clear().kill_on_drop(true);
    command.env("PATH", path()).env("DATABASE_URL", &system.environment["DATABASE_URL"]).envs(settings.iter().copied());
    let output = tokio::time::timeout(PATIENCE, command.stdin(Stdio::null()).output()).await.expect("it ends").unwrap();
    String::from_utf8(output.stdout).unwrap().replace("\r\n", "\n")
}

/// Returns the output without the terminal's escape sequences.
#[cfg(target_os = "linux")]
fn without_escapes(shown: &str) -> String {
    let mut pieces = shown.split("\u{1b}[");
    let first = pieces.next().unwrap().to_owned();
    pieces.fold(first, |text, piece| text + piece.split_once('m').unwrap().1)
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn tables_fit_a_narrow_terminal_and_colours_are_left_out_where_they_are_not_wanted() {
    let system = test_system(0).await;
    seed_release::seed(&system.pool, &numbers(3)).await.unwrap();
    paid_clients(&system.pool, "a-client-with-a-rather-long-id", 1).await;
    let allocated = system.operator(&["pool", "allocate", "a-client"]).await.unwrap();
    assert_eq!(allocated.0, 0, "{allocated:?}");
    let alert = "INSERT INTO alerts (cause, about, raised_at, last_seen_at) VALUES
        ('a-cause', 'Something is wrong, and this says at length what to do.', now(), now())";
    sqlx::raw_sql(alert).execute(&system.pool).await.unwrap();
    for arguments in ["pool status", "alerts", "client a-client"] {
        let plain = system.operator(&arguments.split(' ').collect::<Vec<_>>()).await.unwrap().1;
        assert!(!plain.contains('\u{1b}'), "{plain}");
        let shown = on_a_terminal(&system, arguments, &[("TERM", "xterm")]).await;
        assert_eq!(shown.contains('\u{1b}'), arguments != "client a-client", "{arguments}: {shown:?}");
        let letters = without_escapes(&shown);
        let too_wide: Vec<&str> = letters.lines().filter(|line| line.trim_end().chars().count() > 60).collect();
        let allowed = |line: &&str| line.contains("held by clients") || line.contains("cooling down,");
        assert!(too_wide.iter().all(allowed), "{arguments}: {too_wide:?}");
        assert!(letters.lines().count() > plain.lines().count(), "{letters}");
        for settings in [[("TERM", "xterm"), ("NO_COLOR", "1")], [("TERM", "dumb"), ("LANG", "C")]] {
            assert_eq!(on_a_terminal(&system, arguments, &settings).await, letters, "{settings:?}");
        }
    }
    system.shut_down().await.unwrap();
}

/// Returns the reason and the message of the error with which a connection to this address fails.
async fn refused(url: &str) -> (Option<Reason>, String) {
    let url = secrecy::SecretString::from(url);
    let error = match db::connect(&url, jobrun::CONNECTIONS).await {
        Ok(pool) => db::ensure_migrated(&pool).await.unwrap_err(),
        Err(error) => error,
    };
    (error.reason(), error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reasons_for_a_failed_connection_are_told_apart() {
    let empty = empty_database().await;
    let migrated = empty_database().await;
    migrate(&migrated).await;
    let pool = db::connect(&migrated, jobrun::CONNECTIONS).await.unwrap();
    sqlx::raw_sql("CREATE ROLE stranger LOGIN PASSWORD 'hush'").execute(&pool).await.unwrap();
    let (head, tail) = migrated.expose_secret().split_once('@').unwrap();
    let stranger = format!("postgres://stranger:hush@{tail}");
    let elsewhere = |host: &str| format!("{head}@{host}/x");
    let (server, _) = tail.split_once('/').unwrap();
    for (url, reason, words) in [
        (elsewhere("127.0.0.1:1"), Reason::Refused, "no database at 127.0.0.1:1/x: nothing listens there"),
        (elsewhere("nowhere.invalid"), Reason::NoHost, "the host name is not known"),
        (elsewhere(server), Reason::NoDatabase, "has no such database"),
        (format!("postgres://stranger:wrong@{tail}"), Reason::Login, "refuses the login"),
        (format!("{head}@{server}/x?sslmode=require"), Reason::NoTls, "does not speak TLS"),
        (stranger.clone(), Reason::NoRight, "lacks a right"),
    ] {
        let (found, said) = refused(&url).await;
        assert_eq!(found, Some(reason), "{said}");
        assert!(said.contains(words) && !said.contains("hush"), "{said}");
        assert_eq!(said.contains("no database at"), [Reason::Refused, Reason::NoHost].contains(&reason), "{said}");
    }
    sqlx::raw_sql("REVOKE USAGE ON SCHEMA public FROM public").execute(&pool).await.unwrap();
    let (_, said) = refused(&stranger).await;
    assert!(
        said.starts_with("the tables are in the schema public, which the role in DATABASE_URL may not use"),
        "{said}"
    );
    sqlx::raw_sql("DROP OWNED BY stranger; DROP ROLE stranger").execute(&pool).await.unwrap();

    let all = db::MIGRATOR.iter().count();
    let (_, said) = refused(empty.expose_secret()).await;
    assert_eq!(said, format!("the database is not migrated: {all} of {all} steps are missing; run `jobrun migrate`"));
    let last: i64 = db::MIGRATOR.iter().map(|it| it.version).max().unwrap();
    let forget = format!("DELETE FROM _sqlx_migrations WHERE version = {last}");
    sqlx::raw_sql(AssertSqlSafe(forget)).execute(&pool).await.unwrap();
    let (_, said) = refused(migrated.expose_secret()).await;
    assert!(said.starts_with(&format!("the database is not migrated: 1 of {all} steps are missing")), "{said}");
    let late = ConnectError::NotMigrated { missing: String::new() };
    assert!(!late.is_of_the_settings());
}
