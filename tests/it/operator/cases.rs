//! Cases: what a client asks a person is kept until an operator answers, and the conversation keeps its place.

use jobrun::demo::TestSystem;
use jobrun_tests::{count, say, test_system, texts};
use serde_json::Value;

const ANN: &str = "+447900000001";

async fn run(system: &TestSystem, arguments: &[&str]) -> (i32, String) {
    let (code, shown, errors) = system.operator(arguments).await.unwrap();
    system.settle().await.unwrap();
    (code, format!("{shown}{errors}"))
}

async fn cases(system: &TestSystem) -> Vec<String> {
    let cases = "SELECT concat_ws('|', kind, state, times, said, COALESCE(closed_by, 'open')) FROM cases ORDER BY id";
    texts(&system.pool, cases).await
}

async fn open_alerts(system: &TestSystem) -> Vec<String> {
    let causes = "SELECT split_part(cause, ':', 1) FROM alerts WHERE cleared_at IS NULL ORDER BY cause";
    texts(&system.pool, causes).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_kept_for_a_person_until_an_operator_closes_its_case() {
    let system = test_system(2).await;
    say(&system, ANN, "Plumber from London").await;
    let answer = say(&system, ANN, "do you cover Leeds as well?").await;
    assert!(
        answer[0].contains("Reply CALL ME") && answer[0].ends_with("What's the name of your business?"),
        "{answer:?}"
    );
    say(&system, ANN, "and how do calls reach me?").await;
    say(&system, ANN, "call me").await;
    let asked = "question|S2_BUSINESS_NAME|2|do you cover Leeds as well?\nand how do calls reach me?|open";
    assert_eq!(cases(&system).await, [asked, "person|S2_BUSINESS_NAME|1|call me|open"]);
    assert_eq!(open_alerts(&system).await, ["person-wanted"]);
    assert!(say(&system, ANN, "ABC Plumbing").await[0].contains("your own name"), "the conversation keeps its place");

    let (code, shown) = run(&system, &["cases"]).await;
    assert_eq!(code, 1, "{shown}");
    assert!(shown.contains("do you cover Leeds as well?") && shown.contains("call me"), "{shown}");
    let (_, listed) = run(&system, &["cases", "--json"]).await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(
        (listed.as_array().unwrap().len(), &listed[0]["kind"], &listed[0]["times"]),
        (2, &"question".into(), &2.into())
    );

    let ids = texts(&system.pool, "SELECT id::TEXT FROM cases ORDER BY id").await;
    let (code, shown) = run(&system, &["cases", "--close", &ids[0], "--why", "told her"]).await;
    assert_eq!(code, 0, "{shown}");
    assert_eq!(open_alerts(&system).await, ["person-wanted"], "another case of the client is open");
    let (code, shown) = run(&system, &["cases", "--close", &ids[0]]).await;
    assert_eq!((code, shown.contains("no open case")), (1, true), "{shown}");
    assert_eq!(run(&system, &["cases", "--close", &ids[1], "--why", "rang her"]).await.0, 0);
    assert_eq!(open_alerts(&system).await, Vec::<String>::new());
    let (code, shown) = run(&system, &["cases"]).await;
    assert_eq!((code, shown.as_str()), (0, "no case is open\n"));
    let log = "SELECT concat_ws('|', action, why, details ->> 'kind') FROM audit_log ORDER BY id";
    assert_eq!(texts(&system.pool, log).await, ["case.closed|told her|question", "case.closed|rang her|person"]);

    // A question after that opens a new case.
    say(&system, ANN, "can somebody help me?").await;
    assert_eq!(cases(&system).await.last().unwrap(), "help|S3_OWNER_NAME|1|can somebody help me?|open");
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_closes_when_the_client_goes_on_or_is_handed_back() {
    let system = test_system(1).await;
    say(&system, ANN, "Plumber from London").await;
    for body in ["what?", "eh?", "asdf"] {
        say(&system, ANN, body).await;
    }
    assert_eq!(cases(&system).await, ["misfits|S2_BUSINESS_NAME|1|asdf|open"]);
    assert_eq!(open_alerts(&system).await, ["stuck"]);
    // An operator who takes over has not answered yet.
    assert_eq!(run(&system, &["client", "take-over", ANN]).await.0, 0);
    assert_eq!(count(&system.pool, "SELECT count(*) FROM cases WHERE closed_at IS NULL").await, 1);
    assert_eq!(run(&system, &["client", "hand-back", ANN]).await.0, 0);
    assert_eq!(count(&system.pool, "SELECT count(*) FROM cases WHERE closed_at IS NULL").await, 0);
    assert_eq!(open_alerts(&system).await, Vec::<String>::new());

    for body in ["what?", "eh?", "asdf"] {
        say(&system, ANN, body).await;
    }
    say(&system, ANN, "is this a scam?").await;
    say(&system, ANN, "ABC Plumbing").await;
    let closed = "SELECT concat_ws('|', kind, COALESCE(closed_by, 'open')) FROM cases ORDER BY id DESC LIMIT 2";
    assert_eq!(texts(&system.pool, closed).await, ["doubt|open", "misfits|the client, who went on"]);
    assert_eq!(open_alerts(&system).await, ["person-wanted"]);
    system.shut_down().await.unwrap();
}
