//! Delivery reports, in any order, late or never.

use jobrun_stand_in::{DeliveryOutcome, Reports};
use jobrun_tests::{PATIENCE, count, eventually, phone, say, test_system, texts};

use super::{ANN, FIRST_TEXT, ann_at, carrier_reports, count_to, printed, rows, texts_in};

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_is_delivered_after_all_undoes_the_effects_of_its_reported_loss() {
    let system = test_system(1).await;
    ann_at(&system, "S6_PHONE_TYPE").await;
    system.stand_in.set_delivery_outcome(DeliveryOutcome::Undelivered(30005));
    say(&system, ANN, "2").await;
    rows(&system, 2, "SELECT count(*) FROM alerts WHERE cleared_at IS NULL AND cause LIKE 'un%:ann'").await;
    let unreachable = r#"SELECT count(*) FROM clients WHERE "unreachableAt" IS NOT NULL"#;
    rows(&system, 1, unreachable).await;

    carrier_reports(&system, "delivered").await;
    rows(&system, 0, unreachable).await;
    assert_eq!(texts(&system.pool, FIRST_TEXT).await, ["delivered"]);
    rows(&system, 0, "SELECT count(*) FROM alerts WHERE cleared_at IS NULL").await;
    // Reports may arrive in the wrong order: one after `delivered` changes nothing.
    carrier_reports(&system, "undelivered").await;
    assert_eq!(texts(&system.pool, FIRST_TEXT).await, ["delivered"]);
    assert_eq!(count(&system.pool, unreachable).await, 0);
    assert_eq!(count(&system.pool, "SELECT count(*) FROM messages").await, 1);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_try_of_a_text_that_was_delivered_after_all_is_not_sent() {
    let system = test_system(1).await;
    ann_at(&system, "S6_PHONE_TYPE").await;
    system.stand_in.set_delivery_outcome(DeliveryOutcome::Undelivered(30003));
    texts_in(&system, ANN, "2").await;
    rows(&system, 1, "SELECT count(*) FROM messages WHERE retry_of IS NOT NULL AND status = 'queued'").await;
    carrier_reports(&system, "delivered").await;
    assert_eq!(texts(&system.pool, FIRST_TEXT).await, ["delivered"]);
    let dropped = "SELECT concat_ws('|', status, attempts, error_message) FROM messages WHERE retry_of IS NOT NULL";
    assert_eq!(texts(&system.pool, dropped).await, ["failed|0|the first one arrived after all"]);
    system.shut_down().await.unwrap();
}

/// Payment links, "your number is ready" and instructions are tried a second time, and then raise an alert.
#[tokio::test(flavor = "multi_thread")]
async fn an_important_text_is_tried_once_more_and_then_raises_an_alert() {
    let system = test_system(1).await;
    ann_at(&system, "S6_PHONE_TYPE").await;
    system.stand_in.set_delivery_outcome(DeliveryOutcome::Undelivered(30003));
    assert_eq!(system.stand_in.text(ANN, "2").await.unwrap().status, 200);
    let second = "SELECT count(*) FROM messages WHERE retry_of IS NOT NULL AND status = 'queued' AND next_attempt_at > now() + INTERVAL '1 hour'";
    rows(&system, 1, second).await;
    // Hours later.
    sqlx::raw_sql("UPDATE messages SET next_attempt_at = now() WHERE status = 'queued'")
        .execute(&system.pool)
        .await
        .unwrap();
    rows(&system, 1, "SELECT count(*) FROM alerts WHERE cause = 'undelivered:forwarding_instructions:ann'").await;
    let bodies = system.stand_in.bodies_to(ANN);
    assert!(bodies.len() == 2 && bodies[0] == bodies[1], "{bodies:?}");
    assert_eq!(count(&system.pool, "SELECT count(*) FROM messages").await, 2, "and not a third time");

    // The client asks again, and the text is delivered: the alert is cleared.
    system.stand_in.set_delivery_outcome(DeliveryOutcome::Delivered);
    assert!(say(&system, ANN, "2").await[0].contains("**61*"));
    rows(&system, 1, "SELECT count(*) FROM alerts WHERE cleared_at IS NOT NULL").await;
    assert_eq!((printed(&system, "ALERT"), printed(&system, "ALL CLEAR")), (1, 1));
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_try_is_dropped_when_the_conversation_goes_on_and_delays_no_text() {
    let system = test_system(1).await;
    ann_at(&system, "S6_PHONE_TYPE").await;
    system.stand_in.set_delivery_outcome(DeliveryOutcome::Undelivered(30003));
    assert_eq!(system.stand_in.text(ANN, "2").await.unwrap().status, 200);
    rows(&system, 1, "SELECT count(*) FROM messages WHERE retry_of IS NOT NULL").await;
    system.stand_in.set_delivery_outcome(DeliveryOutcome::Delivered);
    texts_in(&system, ANN, "What do you mean?").await;
    eventually(PATIENCE, "a reminder is sent", async || count_to(&system, ANN) == 2).await;
    let waits = "SELECT count(*) FROM messages WHERE retry_of IS NOT NULL AND status = 'queued'";
    assert_eq!(count(&system.pool, waits).await, 1, "a reminder does not repeat the instructions");
    assert!(say(&system, ANN, "DONE").await[0].contains("let's test it"));
    let dropped = "SELECT count(*) FROM messages WHERE retry_of IS NOT NULL AND status = 'failed' AND attempts = 0";
    assert_eq!(count(&system.pool, dropped).await, 1);
    system.shut_down().await.unwrap();
}

/// Twilio accepts the texts, and reports of each afterwards that the account may not send.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_refused_in_reports_is_probed_until_a_report_says_that_a_text_was_sent() {
    let system = test_system(1).await;
    system.stand_in.set_delivery_outcome(DeliveryOutcome::Failed(30037));
    texts_in(&system, ANN, "Plumber from London").await;
    rows(&system, 1, "SELECT count(*) FROM sending WHERE awaits_report").await;
    for n in 2..=5 {
        texts_in(&system, &phone(n), "Plumber from London").await;
    }
    let probe_now = "UPDATE sending SET probe_at = now() WHERE parked_at IS NOT NULL";
    sqlx::raw_sql(probe_now).execute(&system.pool).await.unwrap();
    rows(&system, 2, "SELECT count(*) FROM messages WHERE status = 'failed' AND error_code = 30037").await;
    assert_eq!(system.stand_in.messages().len(), 2, "one probe is sent, and the others wait");
    assert_eq!((printed(&system, "ALERT"), printed(&system, "ALL CLEAR")), (1, 0));

    system.stand_in.set_delivery_outcome(DeliveryOutcome::Delivered);
    let soon = "UPDATE messages SET next_attempt_at = now() WHERE status = 'queued'";
    sqlx::raw_sql(soon).execute(&system.pool).await.unwrap();
    sqlx::raw_sql(probe_now).execute(&system.pool).await.unwrap();
    system.settle().await.unwrap();
    // Which of the four texts was the probe depends on which was answered first.
    let mut counts: Vec<usize> = (2..=5).map(|n| count_to(&system, &phone(n))).collect();
    counts.sort_unstable();
    assert_eq!((count_to(&system, ANN), counts), (2, vec![1, 1, 1, 2]), "each lost text is sent once more");
    rows(&system, 1, "SELECT count(*) FROM alerts WHERE cleared_at IS NOT NULL").await;
    assert_eq!((printed(&system, "ALERT"), printed(&system, "ALL CLEAR")), (1, 1));
    system.shut_down().await.unwrap();
}

/// A report can be hours late: by then the conversation has gone on, or the client has opted in again.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_report_does_not_undo_later_activity() {
    let system = test_system(1).await;
    ann_at(&system, "S6_PHONE_TYPE").await;
    system.stand_in.reports(Reports::Missing);
    system.stand_in.set_delivery_outcome(DeliveryOutcome::Undelivered(30003));
    say(&system, ANN, "2").await;
    system.stand_in.set_delivery_outcome(DeliveryOutcome::Failed(21610));
    say(&system, &phone(2), "Plumber from London").await;

    system.stand_in.set_delivery_outcome(DeliveryOutcome::Delivered);
    say(&system, ANN, "DONE").await;
    for body in ["STOP", "START"] {
        say(&system, &phone(2), body).await;
    }
    sqlx::raw_sql("UPDATE messages SET check_at = now()").execute(&system.pool).await.unwrap();
    rows(&system, 2, "SELECT count(*) FROM messages WHERE error_code IN (30003, 21610)").await;
    system.settle().await.unwrap();
    assert_eq!(count(&system.pool, "SELECT count(*) FROM messages WHERE retry_of IS NOT NULL").await, 0);
    assert_eq!(count(&system.pool, "SELECT count(*) FROM alerts").await, 0);
    assert_eq!(count(&system.pool, r#"SELECT count(*) FROM clients WHERE "optedOutAt" IS NOT NULL"#).await, 0);
    system.shut_down().await.unwrap();
}

/// A report names one text by its id and another by its SID.
#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_cannot_be_applied_delays_no_text() {
    let system = test_system(1).await;
    system.stand_in.reports(Reports::Missing);
    for n in 1..=2 {
        say(&system, &phone(n), "Plumber from London").await;
    }
    let sid = system.stand_in.messages()[0].sid.clone();
    sqlx::raw_sql("UPDATE messages SET twilio_sid = NULL WHERE id = 2").execute(&system.pool).await.unwrap();
    let report = |sid: &str, status: &str, to: &str| {
        let account = system.account.sid.as_str();
        let form = [("AccountSid", account), ("MessageSid", sid), ("MessageStatus", status), ("To", to)];
        form.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    };
    let form = report(&sid, "delivered", "+447900000002");
    assert_eq!(system.stand_in.post("/webhooks/twilio/sms/status?m=2", &form).await.unwrap().status, 204);
    rows(&system, 1, "SELECT count(*) FROM events WHERE kind = 'delivery_report' AND due_at > now()").await;
    // A report with the id of this text and another recipient is not applied either.
    let form = report(&system.stand_in.new_sid("SM"), "failed", "+447900000009");
    assert_eq!(system.stand_in.post("/webhooks/twilio/sms/status?m=2", &form).await.unwrap().status, 204);
    texts_in(&system, &phone(1), "ABC Plumbing").await;
    eventually(PATIENCE, "the next answer is sent", async || count_to(&system, &phone(1)) == 2).await;
    rows(&system, 1, "SELECT count(*) FROM events WHERE outcome = 'not_our_text'").await;
    assert_eq!(texts(&system.pool, "SELECT status FROM messages WHERE id = 2").await, ["sent"]);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn twilio_is_asked_about_a_text_that_it_never_reported_on() {
    let system = test_system(1).await;
    system.stand_in.reports(Reports::Missing);
    system.stand_in.set_delivery_outcome(DeliveryOutcome::Undelivered(30008));
    say(&system, ANN, "Plumber from London").await;
    rows(
        &system,
        1,
        "SELECT count(*) FROM messages WHERE status = 'sent' AND check_at > now() + INTERVAL '10 minutes'",
    )
    .await;
    sqlx::raw_sql("UPDATE messages SET check_at = now()").execute(&system.pool).await.unwrap();
    rows(&system, 1, "SELECT count(*) FROM messages WHERE status = 'undelivered' AND error_code = 30008").await;
    system.shut_down().await.unwrap();
}
