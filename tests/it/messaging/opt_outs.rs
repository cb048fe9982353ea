//! STOP and START on every number, and phones that no text reaches.

use jobrun_shared::numbers::seed_release;
use jobrun_stand_in::{DeliveryOutcome, Fault};
use jobrun_tests::{count, numbers, say, test_system, texts};

use super::{ANN, ANOTHERS, HERS, ann_at, rows};

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_opt_out_only_twilio_knows_gets_no_text_until_it_opts_in() {
    let system = test_system(1).await;
    // At once, in the response to the request.
    system.stand_in.fail_next(Fault::Refused(21610));
    assert!(say(&system, ANN, "Plumber from London").await.is_empty());
    assert!(say(&system, ANN, "ABC Plumbing").await.is_empty());
    assert!(say(&system, ANN, "START").await[0].contains("name of your business"));
    // Later, in a delivery report.
    system.stand_in.set_delivery_outcome(DeliveryOutcome::Failed(21610));
    say(&system, ANN, "ABC Plumbing").await;
    rows(&system, 1, r#"SELECT count(*) FROM clients WHERE "optedOutAt" IS NOT NULL"#).await;
    system.stand_in.set_delivery_outcome(DeliveryOutcome::Delivered);
    assert!(say(&system, ANN, "John Smith").await.is_empty());
    assert!(say(&system, ANN, "yes").await[0].contains("your own name"), "YES from a client who opted out opts in");
    say(&system, ANN, "Stop").await;
    let record = texts(&system.pool, "SELECT change FROM opt_changes ORDER BY id").await;
    assert_eq!(record, ["out", "in", "out", "in", "out"]);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_twilio_takes_for_an_opt_out_is_one_and_a_yes_is_still_an_answer() {
    let system = test_system(1).await;
    for (body, taken_for) in [("ARRET", "STOP"), ("Plumber from London", ""), ("REPRENDRE", "START"), ("AIDE", "HELP")]
    {
        let mut form = system.stand_in.text_form(ANN, &system.account.onboarding_number, body);
        if !taken_for.is_empty() {
            form.push(("OptOutType".to_owned(), taken_for.to_owned()));
        }
        assert_eq!(system.stand_in.post("/webhooks/twilio/sms", &form).await.unwrap().status, 200);
        system.settle().await.unwrap();
    }
    let answers = system.stand_in.bodies_to(ANN);
    assert!(answers.len() == 1 && answers[0].contains("What's your trade"), "{answers:?}");
    for body in ["Plumber from London", "ABC Plumbing", "John Smith", "SMS"] {
        say(&system, ANN, body).await;
    }
    let mut yes = system.stand_in.text_form(ANN, &system.account.onboarding_number, "YES");
    yes.push(("OptOutType".to_owned(), "START".to_owned()));
    system.stand_in.post("/webhooks/twilio/sms", &yes).await.unwrap();
    system.settle().await.unwrap();
    assert!(system.stand_in.bodies_to(ANN).last().unwrap().contains("confirm payment here"));
    system.shut_down().await.unwrap();
}

/// An opt-out change is the client's, whichever of our numbers receives it.
#[tokio::test(flavor = "multi_thread")]
async fn stop_and_start_to_any_number_of_ours_count() {
    let system = test_system(1).await;
    ann_at(&system, "S6_PHONE_TYPE").await;
    seed_release::seed(&system.pool, &numbers(2)).await.unwrap();
    let texts_another = async |body: &str| {
        system.stand_in.text_to(ANN, ANOTHERS, body).await.unwrap();
        system.settle().await.unwrap();
    };
    texts_another("STOP").await;
    let out = r#"SELECT count(*) FROM clients WHERE "optedOutAt" IS NOT NULL"#;
    assert_eq!(count(&system.pool, out).await, 1);
    assert!(say(&system, ANN, "2").await.is_empty(), "opted out on our own number as well");
    texts_another("Are you free on Monday?").await;
    assert!(system.stand_in.messages().is_empty());

    texts_another("Start").await;
    assert_eq!(count(&system.pool, out).await, 0);
    let answers = system.stand_in.bodies_to(ANN);
    assert!(answers.len() == 1 && answers[0].contains("1 iPhone"), "{answers:?}");
    texts_another("START").await;
    assert_eq!(system.stand_in.bodies_to(ANN).len(), 1, "from a client that takes texts it is no concern of ours");
    texts_another("Please stop texting me").await;
    assert_eq!(count(&system.pool, out).await, 1, "in words that Twilio does not know");
    assert_eq!(texts(&system.pool, "SELECT change FROM opt_changes ORDER BY id").await, ["out", "in", "out"]);
    system.shut_down().await.unwrap();
}

/// A STOP to a pool number is respected although its sender is not a client.
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_who_texts_stop_is_not_answered_until_it_texts_start() {
    let system = test_system(1).await;
    seed_release::seed(&system.pool, &numbers(1)).await.unwrap();
    for body in ["STOP", "Are you free on Monday?"] {
        system.stand_in.text_to("+447700900123", HERS, body).await.unwrap();
        system.settle().await.unwrap();
    }
    assert!(system.stand_in.messages().is_empty());
    for body in ["START", "Are you free on Monday?"] {
        system.stand_in.text_to("+447700900123", HERS, body).await.unwrap();
        system.settle().await.unwrap();
    }
    assert_eq!(system.stand_in.bodies_to("+447700900123").len(), 1);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_who_pays_and_opts_out_raises_an_alert_until_it_opts_in() {
    let system = test_system(1).await;
    ann_at(&system, "COMPLETE").await;
    let open = "SELECT cause FROM alerts WHERE cleared_at IS NULL";
    say(&system, ANN, "STOP").await;
    assert_eq!(texts(&system.pool, open).await, ["opted-out:ann"]);
    say(&system, ANN, "START").await;
    assert!(texts(&system.pool, open).await.is_empty());
    sqlx::raw_sql(r#"UPDATE clients SET "paymentActive" = FALSE"#).execute(&system.pool).await.unwrap();
    say(&system, ANN, "STOP").await;
    assert!(texts(&system.pool, open).await.is_empty(), "a client who does not pay raises no alert");
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_phone_gets_no_text_until_it_texts() {
    let system = test_system(1).await;
    ann_at(&system, "S8_FWD_CONFIRM").await;
    system.stand_in.set_delivery_outcome(DeliveryOutcome::Undelivered(30006));
    say(&system, ANN, "Did it work?").await;
    rows(&system, 1, r#"SELECT count(*) FROM clients WHERE "unreachableAt" IS NOT NULL"#).await;
    system.stand_in.set_delivery_outcome(DeliveryOutcome::Delivered);
    system.stand_in.call("+447700900123", HERS).await.unwrap();
    system.settle().await.unwrap();
    assert_eq!(system.stand_in.bodies_to(ANN).len(), 1, "live, without a text");
    assert_eq!(texts(&system.pool, "SELECT current_state FROM onboarding_states").await, ["COMPLETE"]);
    assert!(say(&system, ANN, "Hello?").await[0].contains("You're all set"));
    let alerts = "SELECT concat(cause, ' ', cleared_at IS NOT NULL) FROM alerts";
    assert_eq!(
        texts(&system.pool, alerts).await,
        ["unreachable:ann t"],
        "a client who pays was out of reach for a while"
    );
    system.shut_down().await.unwrap();
}
