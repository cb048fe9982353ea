//! Cases: what a client asks a person is kept until an operator answers, and the conversation keeps its place.

use jobrun::demo::TestSystem;
use jobrun_shared::db::audit_log::{Actor, Via};
use jobrun_shared::db::stops::Activity;
use jobrun_shared::{clock, stops};
use jobrun_tests::{PATIENCE, count, eventually, migrated_database, say, test_system, texts};
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
    assert_eq!(cases(&system).await, ["misfits|S2_BUSINESS_NAME|3|what?\neh?\nasdf|open"]);
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
    assert_eq!(texts(&system.pool, closed).await, ["doubt|open", "misfits|the conversation"]);
    assert_eq!(open_alerts(&system).await, ["person-wanted"]);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_of_misfits_has_the_whole_row_of_texts() {
    let system = test_system(2).await;
    // A row that an answer ended, and texts that are no misfits, are not in it.
    for body in ["Plumber from London", "what?", "eh?", "ABC Plumbing", "why?", "Liked “Hi”", "why?"] {
        say(&system, ANN, body).await;
    }
    assert_eq!(cases(&system).await, Vec::<String>::new());
    say(&system, ANN, &format!("{} end", "so ".repeat(500))).await;
    let said: Vec<String> = cases(&system).await.remove(0).split('|').map(str::to_owned).collect();
    assert_eq!(said[..3], ["misfits", "S3_OWNER_NAME", "3"]);
    let lines: Vec<&str> = said[3].lines().collect();
    assert_eq!((lines.len(), &lines[..2]), (3, &["why?", "why?"][..]), "{said:?}");
    assert!(lines[2].starts_with("so so") && lines[2].len() == 665, "a long one is cut: {}", lines[2].len());
    let (_, shown) = run(&system, &["cases"]).await;
    assert!(shown.contains("why?") && shown.contains("so so so"), "{shown}");
    let (_, history) = run(&system, &["client", ANN]).await;
    assert!(history.contains("not_understood at S3_OWNER_NAME"), "{history}");

    say(&system, ANN, "Ann Smith").await;
    // Of one batch: the fourth misfit is not in the case of the first three.
    let operator = Actor { who: "ada".to_owned(), via: Via::Command, why: Some("a test".to_owned()) };
    stops::stop(&system.pool, Activity::Conversations, &operator, clock::now()).await.unwrap();
    for body in ["what?", "how?", "why?", "what?"] {
        assert_eq!(system.stand_in.text(ANN, body).await.unwrap().status, 200);
    }
    stops::start(&system.pool, Activity::Conversations, &operator, clock::now()).await.unwrap();
    eventually(PATIENCE, "the case", async || cases(&system).await.len() == 2).await;
    assert_eq!(cases(&system).await[1], "misfits|S4_NOTIFICATION_PREF|3|what?\nhow?\nwhy?|open");

    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_and_its_alert_end_together() {
    let system = test_system(1).await;
    say(&system, ANN, "Plumber from London").await;
    // Of one batch: the client is understood again before its misfits are saved.
    let operator = Actor { who: "ada".to_owned(), via: Via::Command, why: Some("test".to_owned()) };
    stops::stop(&system.pool, Activity::Conversations, &operator, clock::now()).await.unwrap();
    for body in ["what?", "eh?", "asdf", "ABC Plumbing"] {
        assert_eq!(system.stand_in.text(ANN, body).await.unwrap().status, 200);
    }
    stops::start(&system.pool, Activity::Conversations, &operator, clock::now()).await.unwrap();
    eventually(PATIENCE, "the texts are processed", async || {
        count(&system.pool, "SELECT count(*) FROM onboarding_states WHERE current_state = 'S3_OWNER_NAME'").await == 1
    })
    .await;
    system.settle().await.unwrap();
    assert_eq!((cases(&system).await, open_alerts(&system).await), (Vec::new(), Vec::new()));

    // Clearing the alert closes the case, and taking over and moving the client does not leave one of them behind.
    say(&system, ANN, "why do you need my name?").await;
    let ids = texts(&system.pool, "SELECT id::TEXT FROM alerts WHERE cleared_at IS NULL").await;
    assert_eq!(run(&system, &["alerts", "--clear", &ids[0]]).await.0, 0);
    assert_eq!(count(&system.pool, "SELECT count(*) FROM cases WHERE closed_at IS NULL").await, 0);
    for body in ["what?", "eh?", "asdf"] {
        say(&system, ANN, body).await;
    }
    assert_eq!(run(&system, &["client", "take-over", ANN]).await.0, 0);
    assert_eq!(run(&system, &["client", "move-to", ANN, "S4_NOTIFICATION_PREF"]).await.0, 0);
    assert_eq!(count(&system.pool, "SELECT count(*) FROM cases WHERE closed_at IS NULL").await, 0);
    assert_eq!(open_alerts(&system).await, Vec::<String>::new());

    // A wish to cancel outlives the talk about it.
    sqlx::raw_sql(r#"UPDATE clients SET "paymentActive" = TRUE"#).execute(&system.pool).await.unwrap();
    say(&system, ANN, "cancel my subscription").await;
    assert_eq!(run(&system, &["client", "hand-back", ANN]).await.0, 0);
    assert_eq!(cases(&system).await.last().unwrap(), "cancel|S4_NOTIFICATION_PREF|1|cancel my subscription|open");
    assert_eq!(open_alerts(&system).await, ["cancel-asked"]);
    system.shut_down().await.unwrap();
}

/// Every other closing sees one more case, so the last one clears the alert.
#[tokio::test(flavor = "multi_thread")]
async fn two_operators_who_close_two_cases_at_once_end_the_alert() {
    let pool = migrated_database(4).await;
    let operator = Actor { who: "ada".to_owned(), via: Via::Command, why: None };
    for round in 0..20 {
        let rows = format!(
            r#"INSERT INTO clients (id, "phoneNumber") VALUES ('c{round}', '44790000{round:04}');
               INSERT INTO cases (client_id, kind, said, state, opened_at, last_said_at)
               SELECT 'c{round}', kind, 'x', 'COMPLETE', now(), now() FROM (VALUES ('help'), ('question')) AS k (kind);
               INSERT INTO alerts (cause, about, raised_at, last_seen_at) VALUES ('person-wanted:c{round}', 'x', now(), now())"#
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(rows)).execute(&pool).await.unwrap();
        let ids: Vec<i64> =
            sqlx::query_scalar("SELECT id FROM cases WHERE closed_at IS NULL").fetch_all(&pool).await.unwrap();
        let close = async |id| jobrun_shared::cases::close(&pool, id, Some(1), &operator, clock::now()).await.unwrap();
        let (one, other) = tokio::join!(close(ids[0]), close(ids[1]));
        let cleared = [one, other].into_iter().flatten().flat_map(|closed| closed.cleared).count();
        assert_eq!(cleared, 1, "round {round}");
    }
}
