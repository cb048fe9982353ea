//! Actions on a client, on the command line: each is an event, decided in order with the client's texts, and told in its history.

use jobrun_shared::numbers::seed_release;
use jobrun_shared::{clock, liveness};
use jobrun_stand_in::DeliveryOutcome;
use jobrun_tests::{PATIENCE, count, eventually, numbers, say, test_system, texts};

const ANN: &str = "+447900000001";

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_takes_over_replies_and_hands_back() {
    let system = test_system(2).await;
    let act = async |arguments: &[&str]| {
        let (code, shown, errors) = system.operator(arguments).await.unwrap();
        system.settle().await.unwrap();
        (code, format!("{shown}{errors}"))
    };
    say(&system, ANN, "Plumber from London").await;
    say(&system, ANN, "ABC Plumbing").await;

    let (code, shown) = act(&["client", "take-over", ANN, "--silence", "60", "--why", "she rang us"]).await;
    assert_eq!(code, 0, "{shown}");
    assert!(shown.ends_with(": done\n"), "{shown}");
    assert_eq!(say(&system, ANN, "Ann Smith").await, Vec::<String>::new(), "no automatic text during a takeover");
    let before = system.stand_in.bodies_to(ANN).len();
    let (code, shown) = act(&["client", "reply", ANN, "Hi Ann, Ada here. How can I help?"]).await;
    assert_eq!(code, 0, "{shown}");
    assert_eq!(system.stand_in.bodies_to(ANN)[before..], ["Hi Ann, Ada here. How can I help?"]);
    let (code, _) = act(&["client", "hand-back", ANN, "--ask-again"]).await;
    assert_eq!(code, 0);
    assert!(system.stand_in.bodies_to(ANN).last().unwrap().contains("your own name"));
    assert!(say(&system, ANN, "Ann Smith").await[0].contains("Reply SMS"), "the conversation kept its place");

    let (code, shown) = act(&["client", "hand-back", ANN]).await;
    assert_eq!((code, shown.contains("refused, because nobody has taken the client over")), (1, true), "{shown}");

    // The history tells all of it, and the audit log names who and why.
    let (_, history) = act(&["client", ANN]).await;
    let history = history.split_whitespace().collect::<Vec<_>>().join(" ");
    for told in
        ["took the client over, until 1 hour of silence, because: she rang us", "replied", "handed the client back"]
    {
        assert!(history.contains(told), "{told} is not in\n{history}");
    }
    let log = "SELECT concat_ws(' ', action, via, COALESCE(why, '-')) FROM audit_log ORDER BY id";
    let expected = [
        "client.take_over command she rang us",
        "client.reply command -",
        "client.hand_back command -",
        "client.hand_back command -",
    ];
    assert_eq!(texts(&system.pool, log).await, expected);
    let sources = "SELECT DISTINCT source || ' ' || kind FROM events WHERE kind = 'operator_action'";
    assert_eq!(texts(&system.pool, sources).await, ["operator operator_action"]);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_helps_a_client_from_the_payment_gate_to_another_number() {
    let system = test_system(1).await;
    seed_release::seed(&system.pool, &numbers(2)).await.unwrap();
    let act = async |arguments: &[&str]| {
        let (code, shown, errors) = system.operator(arguments).await.unwrap();
        system.settle().await.unwrap();
        (code, format!("{shown}{errors}"))
    };
    for body in ["Plumber from London", "ABC Plumbing", "An Smith", "SMS"] {
        say(&system, ANN, body).await;
    }
    let (code, shown) = act(&["client", "move-to", ANN, "S6_PHONE_TYPE", "--why", "x"]).await;
    assert_eq!((code, shown.contains("refused, because the client has not paid")), (1, true), "{shown}");
    assert_eq!(act(&["client", "correct", ANN, "owner-name", "Ann Smith"]).await.0, 0);
    assert_eq!(act(&["client", "ask-again", ANN]).await.0, 0);
    assert!(system.stand_in.bodies_to(ANN).last().unwrap().contains("confirm payment here"));
    assert_eq!(act(&["client", "mark-paid", ANN, "--why", "she paid in cash"]).await.0, 0);
    assert!(system.stand_in.bodies_to(ANN).last().unwrap().contains("Your JobRun number is +447100000001"));

    // The number is taken: the client gets another one, and never the same again.
    assert_eq!(act(&["client", "take-number", ANN, "--why", "nuisance calls"]).await.0, 0);
    let told = system.stand_in.bodies_to(ANN).pop().unwrap();
    assert!(told.contains("+447100000002"), "{told} {}", act(&["client", ANN]).await.1);
    let facts = r#"SELECT concat_ws('|', current_state, "twilioNumber", collected_fields ->> 'ownerName', "paymentActive")
                   FROM clients JOIN onboarding_states ON client_id = clients.id"#;
    assert_eq!(texts(&system.pool, facts).await, ["S6_PHONE_TYPE|+447100000002|Ann Smith|t"]);
    let taken = "SELECT concat_ws('|', status, last_client_id IS NULL) FROM twilio_number_pool
                 WHERE phone_e164 = '+447100000001'";
    assert_eq!(texts(&system.pool, taken).await, ["COOLING_DOWN|t"], "it is not kept for the client");

    // An opt-out ends replies, until the client asks for texts again.
    say(&system, ANN, "STOP").await;
    let (code, shown) = act(&["client", "reply", ANN, "Are you there?"]).await;
    assert_eq!((code, shown.contains("refused, because the client has opted out")), (1, true), "{shown}");
    assert_eq!(act(&["client", "opt-in", ANN, "--why", "asked by phone"]).await.0, 0);
    assert_eq!(act(&["client", "reply", ANN, "Welcome back"]).await.0, 0);
    assert_eq!(system.stand_in.bodies_to(ANN).last().unwrap(), "Welcome back");
    assert_eq!(count(&system.pool, "SELECT count(*) FROM alerts WHERE cleared_at IS NULL").await, 0);
    system.shut_down().await.unwrap();
}

/// Ann has paid, holds the first of three numbers, and is at the question of the phone.
const ANN_AT_S6: &str = r#"
    INSERT INTO clients (id, "phoneNumber", "paymentActive", "twilioNumber")
    VALUES ('ann', '447900000001', TRUE, '+447100000001');
    UPDATE twilio_number_pool SET status = 'ASSIGNED', client_id = 'ann' WHERE phone_e164 = '+447100000001';
    INSERT INTO onboarding_states (client_id, current_state) VALUES ('ann', 'S6_PHONE_TYPE')"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_number_is_taken_and_a_client_is_moved_only_if_it_is_as_the_operator_saw_it() {
    let system = test_system(1).await;
    seed_release::seed(&system.pool, &numbers(3)).await.unwrap();
    sqlx::raw_sql(ANN_AT_S6).execute(&system.pool).await.unwrap();
    let act = async |arguments: &[&str]| {
        let (code, shown, errors) = system.operator(&[arguments, &["--why", "x"]].concat()).await.unwrap();
        system.settle().await.unwrap();
        (code, format!("{shown}{errors}"))
    };
    // Two operators have seen the first number, and both take it.
    let take = ["client", "take-number", "ann", "--number", "+447100000001"];
    assert_eq!(act(&take).await.0, 0);
    let (code, shown) = act(&take).await;
    assert_eq!(
        (code, shown.contains("the client's number has changed since the operator looked")),
        (1, true),
        "{shown}"
    );
    let holds = r#"SELECT "twilioNumber" FROM clients"#;
    assert_eq!(texts(&system.pool, holds).await, ["+447100000002"]);

    let back = act(&["client", "move-to", "ann", "S3_OWNER_NAME", "--from", "S6_PHONE_TYPE"]).await;
    assert_eq!(back.0, 0, "{}", back.1);
    let (code, shown) = act(&["client", "move-to", "ann", "S5_CONFIRM_LIVE", "--from", "S6_PHONE_TYPE"]).await;
    assert_eq!((code, shown.contains("the client has moved since the operator looked")), (1, true), "{shown}");
    assert_eq!(texts(&system.pool, "SELECT current_state FROM onboarding_states").await, ["S3_OWNER_NAME"]);

    // Without the options, the command acts on what it finds, and says in the event what that was.
    assert_eq!(act(&["client", "move-to", "ann", "S6_PHONE_TYPE"]).await.0, 0);
    assert_eq!(act(&["client", "take-number", "ann"]).await.0, 0);
    let seen = "SELECT concat_ws(' ', payload #>> '{action,action}', payload #>> '{action,from}', payload #>> '{action,number}')
                FROM events WHERE kind = 'operator_action' ORDER BY id DESC LIMIT 2";
    assert_eq!(texts(&system.pool, seen).await, ["take_number +447100000002", "move_to S3_OWNER_NAME"]);
    assert_eq!(texts(&system.pool, holds).await, ["+447100000003"]);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_automatic_text_that_was_written_or_tried_before_leaves_during_a_takeover() {
    let system = test_system(1).await;
    seed_release::seed(&system.pool, &numbers(1)).await.unwrap();
    sqlx::raw_sql(ANN_AT_S6).execute(&system.pool).await.unwrap();
    system.stand_in.set_delivery_outcome(DeliveryOutcome::Undelivered(30003));
    assert_eq!(system.stand_in.text(ANN, "2").await.unwrap().status, 200);
    let second_try = "SELECT count(*) FROM messages WHERE retry_of IS NOT NULL AND status = 'queued'";
    eventually(PATIENCE, "a second try waits", async || count(&system.pool, second_try).await == 1).await;
    system.stand_in.set_delivery_outcome(DeliveryOutcome::Delivered);
    // As if the report had come after the takeover, which drops the texts that wait at its beginning.
    let taken_over = r#"UPDATE clients SET "takenOverBy" = 'ada', "takenOverAt" = now();
                        UPDATE messages SET next_attempt_at = now() WHERE retry_of IS NOT NULL"#;
    sqlx::raw_sql(taken_over).execute(&system.pool).await.unwrap();
    eventually(PATIENCE, "its time comes", async || count(&system.pool, second_try).await == 0).await;
    system.settle().await.unwrap();
    let dropped = "SELECT concat_ws('|', status, attempts, error_message) FROM messages WHERE retry_of IS NOT NULL";
    assert_eq!(texts(&system.pool, dropped).await, ["failed|0|an operator took the client over"]);
    assert_eq!(system.stand_in.bodies_to(ANN).len(), 1);

    // The operator's own words leave, and the question that the operator asks for.
    sqlx::raw_sql(r#"UPDATE clients SET "takenOverBy" = NULL, "takenOverAt" = NULL"#)
        .execute(&system.pool)
        .await
        .unwrap();
    for words in [&["client", "reply", "ann", "Hi Ann"][..], &["client", "ask-again", "ann"]] {
        let (code, shown, errors) = system.operator(words).await.unwrap();
        assert_eq!(code, 0, "{shown}{errors}");
    }
    system.settle().await.unwrap();
    let bodies = system.stand_in.bodies_to(ANN);
    assert!(bodies.len() == 3 && bodies[1] == "Hi Ann" && bodies[2].contains("**61*"), "{bodies:?}");
    assert_eq!(count(&system.pool, r#"SELECT count(*) FROM clients WHERE "takenOverBy" IS NOT NULL"#).await, 1);
    system.shut_down().await.unwrap();
}

/// An action of a later version, whose kind is its own. Its workers may have been taken away again.
const OF_A_LATER_VERSION: &str = r#"
    INSERT INTO events (source, external_id, kind, lane, payload, received_at)
    VALUES ('operator', 'console:1', 'operator_action_snooze', 'client:ann',
            '{"kind": "operator_action", "client_id": "ann", "by": "ada", "action": {"action": "snooze"}}',
            now() - INTERVAL '2 minutes')"#;

#[tokio::test(flavor = "multi_thread")]
async fn an_action_of_a_later_version_is_left_to_its_workers_with_an_alert_and_holds_up_nothing() {
    let system = test_system(1).await;
    seed_release::seed(&system.pool, &numbers(1)).await.unwrap();
    sqlx::raw_sql(ANN_AT_S6).execute(&system.pool).await.unwrap();
    sqlx::raw_sql(OF_A_LATER_VERSION).execute(&system.pool).await.unwrap();
    assert_eq!(system.operator(&["client", "correct", "ann", "owner-name", "Ann"]).await.unwrap().0, 0);
    assert_eq!(system.stand_in.text(ANN, "2").await.unwrap().status, 200);
    let bodies = || system.stand_in.bodies_to(ANN);
    eventually(PATIENCE, "the client is answered", async || bodies().len() == 1).await;
    assert!(bodies()[0].contains("**61*"));
    let reported = "SELECT count(*) FROM messages WHERE status = 'delivered'";
    eventually(PATIENCE, "the answer is delivered", async || count(&system.pool, reported).await == 1).await;
    let others = "SELECT count(*) FROM events WHERE processed_at IS NULL AND kind <> 'operator_action_snooze'";
    eventually(PATIENCE, "all else is processed", async || count(&system.pool, others).await == 0).await;
    assert_eq!(
        texts(&system.pool, "SELECT kind FROM events WHERE processed_at IS NULL").await,
        ["operator_action_snooze"]
    );
    let waiting = async || {
        let alerts = liveness::list_alerts(&system.pool, clock::now()).await.unwrap();
        alerts.into_iter().map(|it| it.cause).filter(|cause| cause == "events-waiting").count()
    };
    assert_eq!(waiting().await, 1);
    sqlx::raw_sql("UPDATE events SET processed_at = now(), outcome = 'noted' WHERE processed_at IS NULL")
        .execute(&system.pool)
        .await
        .unwrap();
    assert_eq!(waiting().await, 0);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_taken_over_is_offered_no_number_until_it_is_handed_back() {
    let system = test_system(1).await;
    let client = r#"INSERT INTO clients (id, "phoneNumber", "paymentActive") VALUES ('ann', '447900000001', TRUE);
                    INSERT INTO onboarding_states (client_id, current_state) VALUES ('ann', 'S5_CONFIRM_LIVE')"#;
    sqlx::raw_sql(client).execute(&system.pool).await.unwrap();
    assert!(say(&system, ANN, "YES").await[0].contains("at capacity"));
    assert_eq!(system.operator(&["client", "take-over", "ann"]).await.unwrap().0, 0);
    seed_release::seed(&system.pool, &numbers(1)).await.unwrap();
    assert_eq!(system.operator(&["sweep"]).await.unwrap().0, 0);
    system.settle().await.unwrap();
    assert_eq!(system.stand_in.bodies_to(ANN).len(), 1, "nothing automatic");
    assert_eq!(system.operator(&["client", "hand-back", "ann"]).await.unwrap().0, 0);
    assert_eq!(system.operator(&["sweep"]).await.unwrap().0, 0);
    system.settle().await.unwrap();
    assert!(system.stand_in.bodies_to(ANN).last().unwrap().contains("Your JobRun number is ready"));
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_listed_with_their_names_by_state_by_words_and_stuck() {
    let system = test_system(1).await;
    sqlx::raw_sql(
        r#"INSERT INTO clients (id, "phoneNumber", "businessName", "paymentActive")
           VALUES ('ann', '447900000001', 'ABC Plumbing', TRUE), ('ben', '447900000002', 'Ben''s Boilers', FALSE);
           INSERT INTO onboarding_states (client_id, current_state, updated_at)
           VALUES ('ann', 'S5_CONFIRM_LIVE', now() - INTERVAL '3 days'), ('ben', 'S3_OWNER_NAME', now())"#,
    )
    .execute(&system.pool)
    .await
    .unwrap();
    let list = async |arguments: &[&str]| {
        let (code, shown, _) = system.operator(arguments).await.unwrap();
        (code, shown)
    };
    let ids = async |arguments: &[&str]| {
        let (_, shown) = list(&[arguments, &["--json"]].concat()).await;
        let clients: Vec<serde_json::Value> = serde_json::from_str(&shown).unwrap();
        clients.iter().map(|it| it["clientId"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&["clients"]).await.len(), 2);
    assert_eq!(ids(&["clients", "--state", "S3_OWNER_NAME"]).await, ["ben"]);
    assert_eq!(ids(&["clients", "--show", "paid"]).await, ["ann"]);
    assert_eq!(ids(&["clients", "--search", "boilers"]).await, ["ben"]);
    assert_eq!(ids(&["clients", "--stuck"]).await, ["ann"]);
    let (code, shown) = list(&["clients", "--stuck"]).await;
    assert_eq!(code, 0);
    for told in ["ABC Plumbing", "+447900000001", "has not said READY"] {
        assert!(shown.contains(told), "{told} is not in\n{shown}");
    }
    let (code, shown) = list(&["clients", "--search", "nobody"]).await;
    assert_eq!((code, shown.as_str()), (1, "no client is like this\n"));
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn completions_and_manual_pages_name_every_command() {
    let system = test_system(0).await;
    let (code, script, _) = system.operator(&["completions", "bash"]).await.unwrap();
    assert_eq!((code, script.contains("take-over")), (0, true));
    let folder = std::env::temp_dir().join(format!("jobrun-manual-{}", std::process::id()));
    let (code, _, errors) = system.operator(&["manual", folder.to_str().unwrap()]).await.unwrap();
    assert_eq!(code, 0, "{errors}");
    for page in ["jobrun.1", "jobrun-pool-status.1", "jobrun-client-reply.1", "jobrun-client-erase.1"] {
        let text = std::fs::read_to_string(folder.join(page)).unwrap();
        assert!(text.contains(".SH NAME"), "{page}: {text}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
    system.shut_down().await.unwrap();
}
