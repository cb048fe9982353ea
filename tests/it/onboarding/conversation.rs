//! The conversation: sign-ups by text, from the first text to the live number.

use futures::future::join_all;
use futures::{StreamExt, stream};
use jobrun_shared::numbers::seed_release;
use jobrun_tests::{
    PATIENCE, count, eventually, numbers, paid_clients, phone, say, test_system, test_system_with, texts,
};

const ANN: &str = "+447900000001";

/// The next sweep is an hour away, so an event that a job leaves behind stays unprocessed.
const WITHOUT_SWEEPS: [(&str, &str); 1] = [("SWEEP_INTERVAL", "1h")];

/// From the first text to COMPLETE, for a sender who is not a client yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_signs_up_by_text_alone() {
    let system = test_system(1).await;
    seed_release::seed(&system.pool, &numbers(1)).await.unwrap();

    assert!(say(&system, ANN, "Hi").await[0].contains("What's your trade"), "a greeting does not count as an answer");
    assert!(say(&system, ANN, "Plumber from London").await[0].contains("name of your business"));
    assert!(say(&system, ANN, "ABC Plumbing").await[0].contains("your own name"));
    assert!(say(&system, ANN, "Ann Smith").await[0].contains("Reply SMS"));
    assert!(say(&system, ANN, "sms").await[0].contains("Reply YES"));
    assert!(say(&system, ANN, "Yes please!").await[0].contains("confirm payment here"));
    sqlx::raw_sql(r#"UPDATE clients SET "paymentActive" = TRUE"#).execute(&system.pool).await.unwrap();
    assert!(say(&system, ANN, "ready").await[0].contains("Your JobRun number is +447100000001"));
    assert!(say(&system, ANN, "android").await[0].contains("**61*+447100000001#"));
    assert!(say(&system, ANN, "done").await[0].contains("let's test it"));
    let (arrived, ended) = system.stand_in.call("+447700900123", "+447100000001").await.unwrap();
    assert_eq!((arrived.status, arrived.content_type.as_str(), ended.status), (200, "text/xml", 204));
    system.settle().await.unwrap();
    assert!(system.stand_in.bodies_to(ANN).last().unwrap().starts_with("You're live!"));

    let facts = texts(
        &system.pool,
        r#"SELECT concat_ws('|', "businessName", region, "phoneNumber", "twilioNumber", current_state,
                            collected_fields ->> 'ownerName', collected_fields ->> 'phoneType')
           FROM clients JOIN onboarding_states ON client_id = clients.id"#,
    );
    assert_eq!(facts.await, ["ABC Plumbing|UK|447900000001|+447100000001|COMPLETE|Ann Smith|android"]);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_texts_sent_at_once_are_answered_in_the_order_in_which_they_arrived() {
    let system = test_system_with(3, &WITHOUT_SWEEPS).await;
    let bodies: Vec<String> = (0..10).map(|n| format!("Text {n} from somebody in a hurry")).collect();
    let answers = join_all(bodies.iter().map(|body| system.stand_in.text(ANN, body))).await;
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap().status == 200));
    system.settle().await.unwrap();

    let answered = texts(&system.pool, "SELECT event_id::TEXT FROM messages ORDER BY messages.id").await;
    let arrived = texts(&system.pool, "SELECT id::TEXT FROM events WHERE kind = 'text' ORDER BY events.id").await;
    assert_eq!(answered, arrived);
    assert_eq!(answered.len(), 10);
    let owed = texts(&system.pool, "SELECT body FROM messages ORDER BY id").await;
    assert_eq!(system.stand_in.bodies_to(ANN), owed, "and they left in that order");
    system.shut_down().await.unwrap();
}

/// Jobs of three workers contend for the same clients, and none leaves an event to the sweep.
#[tokio::test(flavor = "multi_thread")]
async fn bursts_from_many_clients_leave_nothing_behind() {
    let system = test_system_with(3, &WITHOUT_SWEEPS).await;
    for round in 0..5 {
        let texts = (1..=10).flat_map(|n| (0..4).map(move |_| phone(10 * round + n)));
        join_all(texts.map(async |phone| system.stand_in.text(&phone, "And another thing!").await.unwrap())).await;
        system.settle().await.unwrap();
    }
    assert_eq!(system.stand_in.messages().len(), 200);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_s_text_to_a_pool_number_does_not_advance_the_sign_up() {
    let system = test_system(1).await;
    seed_release::seed(&system.pool, &numbers(1)).await.unwrap();
    say(&system, ANN, "Plumber from London").await;
    for body in ["Are you free on Monday?", "STOP"] {
        system.stand_in.text_to(ANN, "+447100000001", body).await.unwrap();
        system.settle().await.unwrap();
    }
    assert_eq!(texts(&system.pool, "SELECT current_state FROM onboarding_states").await, ["S2_BUSINESS_NAME"]);
    assert!(system.stand_in.bodies_to(ANN)[1].starts_with("This number takes calls only."));
    assert!(say(&system, ANN, "ABC Plumbing").await.is_empty(), "but a STOP counts on every number of ours");
    assert!(say(&system, ANN, "START").await[0].contains("name of your business"));
    assert!(say(&system, ANN, "ABC Plumbing").await[0].contains("your own name"));
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_webhook_delivered_ten_times_is_one_event() {
    let system = test_system(3).await;
    let form = system.stand_in.text_form(ANN, &system.account.onboarding_number, "Plumber from London");
    let answers = join_all((0..10).map(|_| system.stand_in.post("/webhooks/twilio/sms", &form))).await;
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap().status == 200));
    system.settle().await.unwrap();
    let again = system.stand_in.post("/webhooks/twilio/sms", &form).await.unwrap();
    assert_eq!(again.status, 200);
    system.settle().await.unwrap();
    assert_eq!(count(&system.pool, "SELECT count(*) FROM events WHERE kind = 'text'").await, 1);
    assert_eq!(system.stand_in.bodies_to(ANN).len(), 1);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_clients_do_not_wait_for_one_whose_row_is_locked() {
    let system = test_system_with(3, &WITHOUT_SWEEPS).await;
    paid_clients(&system.pool, "client", 300).await;
    let mut held = system.pool.begin().await.unwrap();
    sqlx::query("SELECT FROM clients WHERE id = 'client-7' FOR UPDATE").execute(&mut *held).await.unwrap();

    let texts = (1..=300).map(|n| {
        let stand_in = &system.stand_in;
        async move { stand_in.text(&phone(n), "Plumber from London").await.unwrap().status }
    });
    let statuses: Vec<u16> = stream::iter(texts).buffer_unordered(50).collect().await;
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    eventually(PATIENCE, "all but one are answered", async || system.stand_in.messages().len() >= 299).await;
    assert!(system.stand_in.bodies_to(&phone(7)).is_empty());
    held.rollback().await.unwrap();
    system.settle().await.unwrap();
    assert!((1..=300).all(|n| system.stand_in.bodies_to(&phone(n)).len() == 1));
    system.shut_down().await.unwrap();
}

/// 250 texts exceed a batch (200): if they filled it, the other client's text would not be among them.
#[tokio::test(flavor = "multi_thread")]
async fn texts_that_wait_for_a_locked_client_delay_no_other_client() {
    let system = test_system_with(1, &WITHOUT_SWEEPS).await;
    paid_clients(&system.pool, "client", 2).await;
    let mut held = system.pool.begin().await.unwrap();
    sqlx::query("SELECT FROM clients WHERE id = 'client-1' FOR UPDATE").execute(&mut *held).await.unwrap();
    let texts = (0..250).map(|_| {
        let stand_in = &system.stand_in;
        async move { stand_in.text(&phone(1), "Hello?").await.unwrap().status }
    });
    let statuses: Vec<u16> = stream::iter(texts).buffer_unordered(50).collect().await;
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    system.stand_in.text(&phone(2), "Plumber from London").await.unwrap();
    eventually(PATIENCE, "the other is answered", async || system.stand_in.bodies_to(&phone(2)).len() == 1).await;
    assert!(system.stand_in.bodies_to(&phone(1)).is_empty());
    held.rollback().await.unwrap();
    system.settle().await.unwrap();
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_does_not_fit_gets_a_reply_and_changes_no_state() {
    let system = test_system(1).await;
    paid_clients(&system.pool, "client", 1).await;
    for state in [
        "S1_BUSINESS_TYPE_LOCATION",
        "S4_NOTIFICATION_PREF",
        "S5_CONFIRM_LIVE",
        "S6_PHONE_TYPE",
        "S7_FWD_SENT",
        "S8_FWD_CONFIRM",
        "S9_TEST_CALL",
        "COMPLETE",
    ] {
        let set = "INSERT INTO onboarding_states (client_id, current_state) VALUES ('client-1', $1)
                   ON CONFLICT (client_id) DO UPDATE SET current_state = $1";
        sqlx::query(set).bind(state).execute(&system.pool).await.unwrap();
        let replies = say(&system, &phone(1), "what do you mean?!").await;
        assert_eq!(replies.len(), 1, "{state}: {replies:?}");
        assert_eq!(texts(&system.pool, "SELECT current_state FROM onboarding_states").await, [state]);
    }
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_who_opts_out_gets_no_text_until_it_opts_in_again() {
    let system = test_system(1).await;
    say(&system, ANN, "Plumber from London").await;
    assert!(say(&system, ANN, "Stop").await.is_empty());
    assert_eq!(count(&system.pool, r#"SELECT count(*) FROM clients WHERE "optedOutAt" IS NOT NULL"#).await, 1);
    assert!(say(&system, ANN, "ABC Plumbing").await.is_empty());
    assert!(say(&system, ANN, "START").await[0].contains("name of your business"), "where they left off");
    assert!(say(&system, ANN, "ABC Plumbing").await[0].contains("your own name"));
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_arrives_before_done_proves_the_forwarding_as_well() {
    let system = test_system(1).await;
    let at_s7 = r#"INSERT INTO clients (id, "phoneNumber", "paymentActive", "twilioNumber")
                   VALUES ('client-1', '447900000001', TRUE, '+447111111111');
                   INSERT INTO onboarding_states (client_id, current_state) VALUES ('client-1', 'S7_FWD_SENT')"#;
    sqlx::raw_sql(at_s7).execute(&system.pool).await.unwrap();
    // The end of the call is reported first, and again after its arrival.
    let (sid, number) = (system.stand_in.new_sid("CA"), "+447111111111");
    for (path, status) in [("voice/status", "completed"), ("voice", "ringing"), ("voice/status", "completed")] {
        let form = system.stand_in.call_form(&sid, "anonymous", number, status);
        system.stand_in.post(&format!("/webhooks/twilio/{path}"), &form).await.unwrap();
        system.settle().await.unwrap();
        assert_eq!(texts(&system.pool, "SELECT current_state FROM onboarding_states").await, ["COMPLETE"]);
    }
    assert_eq!(system.stand_in.bodies_to(ANN).len(), 1);
    system.shut_down().await.unwrap();
}
