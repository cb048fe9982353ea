//! A sign-up with cases and changes of phone switched off: nothing but the conversation itself, and what an operator must know.

use jobrun_shared::numbers::seed_release;
use jobrun_tests::{count, numbers, say, test_system_with, texts};

const ANN: &str = "+447900000001";
const NEW: &str = "+447900000002";
const NUMBER: &str = "+447100000001";
const MOVES: &str = "I've got a new phone, my old number is 07900 000001";

#[tokio::test(flavor = "multi_thread")]
async fn with_cases_and_changes_of_phone_off_a_client_signs_up_as_without_them() {
    let system = test_system_with(2, &[("CASES", "off"), ("PHONE_CHANGE", "off")]).await;
    seed_release::seed(&system.pool, &numbers(2)).await.unwrap();
    let open_alerts = async || {
        let causes = "SELECT split_part(cause, ':', 1) FROM alerts WHERE cleared_at IS NULL ORDER BY cause";
        texts(&system.pool, causes).await
    };
    let mut said = Vec::new();
    let mut ask = async |body: &str| {
        let answer = say(&system, ANN, body).await;
        said.extend(answer.clone());
        answer.concat()
    };
    assert!(ask("Plumber from London").await.contains("name of your business"));
    assert_eq!(ask("do you cover Leeds as well?").await, "What's the name of your business?");
    assert_eq!(ask("is this a scam").await, "What's the name of your business?");
    assert_eq!(open_alerts().await, Vec::<String>::new());
    assert!(ask("can someone help me please").await.contains("Somebody from our team will get in touch"));
    assert_eq!(open_alerts().await, ["stuck"], "the third in a row, as ever");
    assert!(ask("ABC Plumbing").await.contains("your own name"));
    assert_eq!(open_alerts().await, Vec::<String>::new(), "the client has gone on");
    assert!(ask("Ann Smith").await.contains("Reply SMS"));
    assert!(ask("SMS").await.contains("Reply YES"));
    assert!(ask("YES").await.contains("£29/month"));
    sqlx::raw_sql(r#"UPDATE clients SET "paymentActive" = TRUE"#).execute(&system.pool).await.unwrap();
    assert!(ask("READY").await.contains("Reply 1, 2 or 3"));
    assert!(ask("1").await.contains("iPhone Setup"));
    assert!(ask("what does it cost my callers?").await.contains("reply DONE"));
    assert!(ask("DONE").await.contains("ring your usual number"));
    system.stand_in.call("+447700900123", NUMBER).await.unwrap();
    system.settle().await.unwrap();
    assert!(system.stand_in.bodies_to(ANN).last().unwrap().starts_with("You're live!"));

    // An operator must know of these.
    assert!(ask("cancel my subscription").await.contains("our team will do it"));
    assert!(ask("can I speak to a human?").await.contains("Somebody from our team will get in touch"));
    assert_eq!(open_alerts().await, ["cancel-asked", "person-wanted"]);

    // A new phone is a newcomer like others. No code is sent.
    assert!(say(&system, NEW, "Hi").await[0].contains("What's your trade"));
    let told = say(&system, NEW, MOVES).await.concat();
    assert!(told.contains("What's your trade") && !told.contains("code"), "{told}");
    assert_eq!(count(&system.pool, "SELECT count(*) FROM messages WHERE kind LIKE 'phone%'").await, 0);
    assert_eq!(count(&system.pool, "SELECT count(*) FROM phone_changes").await, 0);
    let (code, shown, errors) = system.operator(&["client", "change-phone", ANN, NEW, "--yes"]).await.unwrap();
    assert_eq!((code, shown.contains(": done")), (0, true), "{shown}{errors}");
    system.settle().await.unwrap();
    assert!(system.stand_in.bodies_to(NEW).last().unwrap().starts_with("Done: your JobRun is on this phone now."));

    assert_eq!(count(&system.pool, "SELECT count(*) FROM cases").await, 0);
    assert!(said.iter().all(|it| !it.contains("CALL ME")), "{said:?}");
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn with_changes_of_phone_off_alone_a_person_helps() {
    let system = test_system_with(1, &[("PHONE_CHANGE", "off")]).await;
    say(&system, NEW, "Hi").await;
    assert!(say(&system, NEW, MOVES).await[0].contains("Somebody from our team will get in touch"));
    let cases = "SELECT concat_ws('|', kind, said) FROM cases WHERE closed_at IS NULL";
    assert_eq!(texts(&system.pool, cases).await, [format!("person|{MOVES}")]);
    assert_eq!(count(&system.pool, "SELECT count(*) FROM phone_changes").await, 0);
    system.shut_down().await.unwrap();
}
