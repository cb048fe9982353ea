//! A client cancels, its service ends, and it comes back: with its answers, and with its number while that cools down.

use jobrun_shared::numbers::seed_release;
use jobrun_stand_in::DeliveryOutcome;
use jobrun_stand_in::stripe::Sale;
use jobrun_tests::{PATIENCE, count, eventually, numbers, say, test_system_with, texts};

use super::subscriptions::{deliver_all, sign_up_to_payment_gate};

const ANN: &str = "+447900000001";
const SETTINGS: [(&str, &str); 1] = [("PAYMENT_LINK_URL", "https://buy.stripe.com/test_link")];
const WHERE_SHE_STANDS: &str = r#"SELECT concat_ws('|', current_state, "twilioNumber", "businessName",
                                                   collected_fields ->> 'businessTypeLocation', collected_fields ->> 'ownerName',
                                                   "paymentActive")
                                  FROM clients JOIN onboarding_states ON client_id = clients.id"#;
const CASES: &str = "SELECT count(*) FROM alerts WHERE cause LIKE 'cancel-asked%' AND cleared_at IS NULL";

#[tokio::test(flavor = "multi_thread")]
async fn a_client_who_cancels_is_told_the_codes_and_comes_back_to_its_answers_and_its_number() {
    let system = test_system_with(2, &SETTINGS).await;
    seed_release::seed(&system.pool, &numbers(2)).await.unwrap();
    let reference = sign_up_to_payment_gate(&system, ANN).await;
    let sale = Sale::new(Some(&reference));
    deliver_all(&system, &sale.paid_by_card()).await;
    for body in ["2", "DONE"] {
        say(&system, ANN, body).await;
    }
    let ring = async |number: &str| {
        system.stand_in.call("+447700900123", number).await.unwrap();
        system.settle().await.unwrap();
    };
    ring("+447100000001").await;
    let answers = "ABC Plumbing|Plumber from London|John Smith";
    assert_eq!(texts(&system.pool, WHERE_SHE_STANDS).await, [format!("COMPLETE|+447100000001|{answers}|t")]);

    // She asks on the phone, and an operator cancels for her.
    let (code, shown, errors) = system.operator(&["client", "cancel", ANN, "--why", "she rang us"]).await.unwrap();
    assert_eq!(code, 0, "{shown}{errors}");
    system.settle().await.unwrap();
    assert!(system.stand_in.bodies_to(ANN).last().unwrap().contains("Our team will cancel your subscription"));
    assert_eq!(count(&system.pool, CASES).await, 1);
    let log = "SELECT concat_ws(' ', action, why) FROM audit_log WHERE action = 'client.cancel'";
    assert_eq!(texts(&system.pool, log).await, ["client.cancel she rang us"]);
    let kinds = "SELECT kind FROM events WHERE source = 'operator'";
    assert_eq!(texts(&system.pool, kinds).await, ["operator_action_cancel"], "earlier workers leave it alone");
    assert!(say(&system, ANN, "cancel my subscription").await[0].contains("your text is all it takes"));

    deliver_all(&system, &[sale.after(1_000_000).subscription("deleted", "canceled", None)]).await;
    let over = system.stand_in.bodies_to(ANN).pop().unwrap();
    assert!(over.contains("has ended") && over.contains("##002#") && over.contains(&reference), "{over}");
    assert_eq!(count(&system.pool, CASES).await, 0, "nothing is left to cancel");
    assert_eq!(texts(&system.pool, WHERE_SHE_STANDS).await, [format!("S5_CONFIRM_LIVE|{answers}|f")]);

    // Back while it cools: the same number, which her phone may still forward to, is set up and tested again.
    deliver_all(&system, &Sale::new(Some(&reference)).after(2_000_000).paid_by_card()).await;
    let back = system.stand_in.bodies_to(ANN).pop().unwrap();
    assert!(back.starts_with("Your JobRun number is +447100000001"), "{back}");
    assert!(say(&system, ANN, "READY").await[0].contains("**61*+447100000001#"), "shown how once more");
    ring("+447100000001").await;
    assert_eq!(texts(&system.pool, WHERE_SHE_STANDS).await, [format!("COMPLETE|+447100000001|{answers}|t")]);
    assert!(system.stand_in.bodies_to(ANN).pop().unwrap().starts_with("You're live!"));
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_number_is_another_s_comes_back_to_another_number() {
    let system = test_system_with(1, &SETTINGS).await;
    seed_release::seed(&system.pool, &numbers(2)).await.unwrap();
    let reference = sign_up_to_payment_gate(&system, ANN).await;
    let sale = Sale::new(Some(&reference));
    deliver_all(&system, &sale.paid_by_card()).await;
    say(&system, ANN, "1").await;
    deliver_all(&system, &[sale.after(1_000_000).subscription("deleted", "canceled", None)]).await;
    let (code, shown, errors) =
        system.operator(&["pool", "release", "+447100000001", "--now", "--why", "x"]).await.unwrap();
    assert_eq!(code, 0, "{shown}{errors}");
    let other = r#"INSERT INTO clients (id, "phoneNumber", "paymentActive") VALUES ('other', '447900000002', TRUE)"#;
    sqlx::raw_sql(other).execute(&system.pool).await.unwrap();
    assert_eq!(system.operator(&["pool", "allocate", "other"]).await.unwrap().0, 0);

    deliver_all(&system, &Sale::new(Some(&reference)).after(2_000_000).paid_by_card()).await;
    let back = system.stand_in.bodies_to(ANN).pop().unwrap();
    assert!(back.starts_with("Your JobRun number is +447100000002"), "{back}");
    assert!(say(&system, ANN, "1").await[0].contains("+447100000002"), "she is shown how to forward to the new one");
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keyword_cancel_on_any_of_our_numbers_raises_a_case_for_a_client_who_pays() {
    let system = test_system_with(1, &SETTINGS).await;
    seed_release::seed(&system.pool, &numbers(2)).await.unwrap();
    let reference = sign_up_to_payment_gate(&system, ANN).await;
    deliver_all(&system, &Sale::new(Some(&reference)).paid_by_card()).await;
    assert!(say(&system, ANN, "CANCEL").await.is_empty(), "Twilio has opted her out");
    assert_eq!(count(&system.pool, CASES).await, 1);
    sqlx::query("UPDATE alerts SET cleared_at = now()").execute(&system.pool).await.unwrap();
    say(&system, ANN, "START").await;
    // The same by Twilio's own reading, to a number that is not hers.
    system.stand_in.text_to(ANN, "+447100000002", "CANCEL").await.unwrap();
    system.settle().await.unwrap();
    assert_eq!(count(&system.pool, CASES).await, 1);
    system.shut_down().await.unwrap();
}

/// The client may not have texted at all, so nothing but an alert tells that it does not know where to cancel.
#[tokio::test(flavor = "multi_thread")]
async fn a_portal_that_an_operator_has_told_is_tried_again_and_then_raises_an_alert() {
    let settings = [SETTINGS[0], ("PAYMENT_PORTAL_URL", "https://billing.stripe.com/p/login/test_portal")];
    let system = test_system_with(1, &settings).await;
    seed_release::seed(&system.pool, &numbers(2)).await.unwrap();
    let reference = sign_up_to_payment_gate(&system, ANN).await;
    let sale = Sale::new(Some(&reference));
    deliver_all(&system, &sale.paid_by_card()).await;
    system.stand_in.set_delivery_outcome(DeliveryOutcome::Undelivered(30003));
    // The second try goes out although the operator speaks with her.
    for arguments in [&["client", "take-over", ANN][..], &["client", "cancel", ANN, "--why", "she rang us"]] {
        let (code, shown, errors) = system.operator(arguments).await.unwrap();
        assert_eq!(code, 0, "{shown}{errors}");
    }
    let second =
        "SELECT count(*) FROM messages WHERE retry_of IS NOT NULL AND status = 'queued' AND kind = 'cancel_at_portal'";
    eventually(PATIENCE, "a second try", async || count(&system.pool, second).await == 1).await;
    let hours_later = "UPDATE messages SET next_attempt_at = now() WHERE status = 'queued'";
    sqlx::raw_sql(hours_later).execute(&system.pool).await.unwrap();
    let alerts = "SELECT count(*) FROM alerts WHERE cause LIKE 'undelivered:cancel_at_portal:%' AND cleared_at IS NULL";
    eventually(PATIENCE, "an alert", async || count(&system.pool, alerts).await == 1).await;
    let told = system.stand_in.bodies_to(ANN).into_iter().filter(|it| it.contains("/p/login/test_portal")).count();
    assert_eq!(told, 2, "once more, and no more");

    system.stand_in.set_delivery_outcome(DeliveryOutcome::Delivered);
    deliver_all(&system, &[sale.after(1_000_000).subscription("deleted", "canceled", None)]).await;
    assert_eq!(count(&system.pool, alerts).await, 0, "nothing is left to cancel");
    system.shut_down().await.unwrap();
}
