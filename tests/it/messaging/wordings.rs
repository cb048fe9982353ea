//! The operator's wordings: those of the file reach clients, and no program starts with a file that has a fault.

use std::path::PathBuf;

use jobrun_tests::{PATIENCE, programs, say, test_system_with};
use serde_json::Value;
use sqlx::PgPool;

use super::ANN;

/// Writes a file of wordings for one test.
fn file(name: &str, lines: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("jobrun-wording-{name}-{}.toml", std::process::id()));
    std::fs::write(&path, format!("language = \"en-GB\"\n{lines}")).unwrap();
    path
}

/// Runs a program with these settings until it ends. Returns its exit status and what it printed.
async fn run(program: &str, arguments: &[&str], settings: &[(&str, &str)]) -> (i32, String) {
    let mut command = tokio::process::Command::new(programs().join(program));
    command.args(arguments).env_clear().envs(settings.iter().copied()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends").unwrap();
    let printed = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (output.status.code().unwrap(), printed)
}

const CHANGED: &str = r#"
[welcome]
text = """
Hello from JobRun. What do you do, and where?

For example: Plumber from London
"""

[ask_business_name]
text = "Thank you. What's your business called?"

[number_ready]
text = "It's here: a number of your own.\n\nReply READY to go on."

[misdirected]
text = "Wrong number. Please text {onboarding_number}."
"#;

async fn messages(pool: &PgPool, kind: &str) -> Vec<String> {
    let bodies = sqlx::query_scalar("SELECT body FROM messages WHERE kind = $1 ORDER BY id").bind(kind);
    bodies.fetch_all(pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_get_the_wordings_of_the_operator_s_file_and_the_others_unchanged() {
    let path = file("good", CHANGED);
    let setting = [("WORDING_FILE", path.to_str().unwrap())];
    let system = test_system_with(1, &setting).await;
    assert_eq!(
        say(&system, ANN, "Hi").await,
        ["Hello from JobRun. What do you do, and where?\n\nFor example: Plumber from London"]
    );
    assert_eq!(say(&system, ANN, "Plumber from London").await, ["Thank you. What's your business called?"]);
    assert_eq!(say(&system, ANN, "ABC Plumbing").await, ["Lovely. And what's your own name?"], "ours");

    // Ben waits while there is no number. Once there is one, the worker's sweep tells him.
    sqlx::raw_sql(
        r#"INSERT INTO clients (id, "phoneNumber", "paymentActive", region) VALUES ('ben', '447900000002', TRUE, 'UK');
           INSERT INTO onboarding_states (client_id, current_state) VALUES ('ben', 'S5_CONFIRM_LIVE');"#,
    )
    .execute(&system.pool)
    .await
    .unwrap();
    let ben = "+447900000002";
    assert!(say(&system, ben, "YES").await[0].starts_with("We're currently at capacity."), "specified");
    let (code, said, _) = system.operator(&["pool", "seed", "+447100000001", "+447100000002"]).await.unwrap();
    assert_eq!(code, 0, "{said}");
    jobrun_tests::eventually(PATIENCE, "Ben is told", async || {
        system.operator(&["sweep"]).await.unwrap();
        messages(&system.pool, "number_ready").await == ["It's here: a number of your own.\n\nReply READY to go on."]
    })
    .await;

    // A stranger who texts a number of the pool is sent to the onboarding number.
    let answer = system.stand_in.text_to("+447900000003", "+447100000002", "Hello").await.unwrap();
    assert_eq!(answer.status, 200);
    system.settle().await.unwrap();
    let misdirected = messages(&system.pool, "misdirected").await;
    assert_eq!(misdirected, ["Wrong number. Please text +447476955179."]);
    system.shut_down().await.unwrap();
    std::fs::remove_file(path).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_program_starts_with_a_file_that_has_faults_and_each_of_them_is_named() {
    let path = file(
        "bad",
        "[at_capacity]\ntext = \"Full.\"\n[missed_call]\ntext = \"A call.\"\n[live]\ntext = \"Reply STOP\"\n[nothing]\ntext = \"\"",
    );
    let path = path.to_str().unwrap();
    let faults = [
        "line 3: at_capacity is specified to the letter, and cannot be changed",
        "line 5: missed_call lacks the placeholder {caller}",
        "line 7: live asks for STOP, which carriers act on",
        "line 8: nothing is not the name of a wording",
    ];
    let settings = [
        ("WORDING_FILE", path),
        ("DATABASE_URL", "postgres://jobrun@127.0.0.1:1/jobrun"),
        ("TWILIO_ACCOUNT_SID", "AC00000000000000000000000000000000"),
        ("TWILIO_AUTH_TOKEN", "token"),
        ("PUBLIC_BASE_URL", "https://example.com"),
    ];
    for (program, arguments, code) in [
        ("jobrun-worker", &[][..], 2),
        ("jobrun", &["sweep"][..], 2),
        ("jobrun", &["wording"][..], 2),
        ("jobrun", &["doctor"][..], 1),
    ] {
        let (exit, printed) = run(program, arguments, &settings).await;
        assert_eq!(exit, code, "{program} {arguments:?}: {printed}");
        for fault in faults {
            assert!(printed.contains(&format!("WORDING_FILE {path}: {fault}")), "{program} {arguments:?}: {printed}");
        }
    }
    let (exit, printed) = run("jobrun", &["wording", "--check", path], &[]).await;
    assert_eq!((exit, printed), (1, format!("{path} has 4 faults:\n  {}\n", faults.join("\n  "))));
    let (exit, printed) = run("jobrun", &["wording", "--check", "/nowhere"], &[]).await;
    assert!(exit == 1 && printed.contains("it cannot be read"), "{printed}");
    std::fs::remove_file(path).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_shows_each_wording_as_it_would_be_sent() {
    let path =
        file("shown", "[live]\ntext = \"You’re live “now”.\"\n[offer_person]\nsegments = 2\ntext = \"Człowiek\"");
    let path = path.to_str().unwrap();
    let (code, printed) = run("jobrun", &["wording", "missed_call"], &[]).await;
    assert_eq!(
        (code, printed.as_str()),
        (0, "missed_call: 1 segment GSM, {caller}\n    Missed call: +447700900456 rang your JobRun number.\n\n")
    );
    let (_, printed) = run("jobrun", &["wording", "assigning_number"], &[]).await;
    assert!(printed.starts_with("assigning_number: 1 segment GSM, fixed by the specification\n    We're assigning"));
    let (code, printed) = run("jobrun", &["wording"], &[("WORDING_FILE", path)]).await;
    assert_eq!(code, 0, "{printed}");
    assert!(printed.contains("live: 1 segment GSM, changed by the operator\n    You're live \"now\".\n"), "{printed}");
    let changed = "offer_person: 1 segment Unicode, 2 at most, changed by the operator\n    Człowiek\n";
    assert!(printed.contains(changed), "{printed}");
    let (code, printed) = run("jobrun", &["wording", "--check", path], &[]).await;
    assert_eq!(code, 0);
    assert!(printed.starts_with(&format!("{path} has no fault, and changes 2 wordings.\n\nlive:")), "{printed}");
    let (_, json) = run("jobrun", &["wording", "--json"], &[("WORDING_FILE", path)]).await;
    let all: Vec<Value> = serde_json::from_str(&json).unwrap();
    let of = |name: &str| all.iter().find(|it| it["name"] == name).unwrap().clone();
    assert_eq!((&of("offer_person")["encoding"], &of("offer_person")["changed"]), (&"ucs2".into(), &true.into()));
    assert_eq!((&of("at_capacity")["fixed"], &of("at_capacity")["limit"]), (&true.into(), &1.into()));
    let (code, printed) = run("jobrun", &["wording", "nothing"], &[]).await;
    assert!(code == 2 && printed.contains("there is no wording of this name"), "{printed}");
    std::fs::remove_file(path).unwrap();
}
