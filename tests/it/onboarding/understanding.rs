//! Unexpected replies: split ones, repeats, refusals, corrections, and phones that cannot sign up.

use jobrun::demo::TestSystem;
use jobrun_shared::numbers::seed_release;
use jobrun_tests::{PATIENCE, count, eventually, numbers, say, test_system, test_system_with, texts};

const ANN: &str = "+447900000001";

async fn state(system: &TestSystem) -> Vec<String> {
    texts(&system.pool, "SELECT current_state FROM onboarding_states").await
}

async fn open_alerts(system: &TestSystem) -> Vec<String> {
    let causes = "SELECT split_part(cause, ':', 1) FROM alerts WHERE cleared_at IS NULL ORDER BY cause";
    texts(&system.pool, causes).await
}

/// Makes a client with the id `ann` at `state`.
async fn ann_at(system: &TestSystem, state: &str, pays: bool) {
    let client = r#"INSERT INTO clients (id, "phoneNumber", "paymentActive", "twilioNumber")
                    VALUES ('ann', '447900000001', $1, CASE WHEN $1 THEN '+447100000001' END)"#;
    sqlx::query(client).bind(pays).execute(&system.pool).await.unwrap();
    let stands = "INSERT INTO onboarding_states (client_id, current_state) VALUES ('ann', $1)";
    sqlx::query(stands).bind(state).execute(&system.pool).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_split_answer_is_joined_and_a_repeat_answers_no_further_question() {
    let system = test_system(1).await;
    assert!(say(&system, ANN, "Plumber").await[0].contains("where do you work"));
    assert_eq!(state(&system).await, ["S1_BUSINESS_TYPE_LOCATION"]);
    assert!(say(&system, ANN, "Leeds").await[0].contains("name of your business"));
    let progress = "SELECT concat_ws('|', current_state, collected_fields) FROM onboarding_states";
    assert_eq!(texts(&system.pool, progress).await, [r#"S2_BUSINESS_NAME|{"businessTypeLocation": "Plumber, Leeds"}"#]);
    // Two texts under two SIDs: the network delivers some texts twice.
    for _ in 0..2 {
        assert_eq!(system.stand_in.text(ANN, "John Smith").await.unwrap().status, 200);
    }
    system.settle().await.unwrap();
    assert_eq!(state(&system).await, ["S3_OWNER_NAME"]);
    let answers = system.stand_in.bodies_to(ANN);
    assert!(answers.len() == 4 && answers.iter().skip(2).all(|it| it.contains("your own name")), "{answers:?}");
    system.shut_down().await.unwrap();
}

/// No worker runs while the texts arrive, so all of them were sent before the second question.
#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_was_sent_before_the_question_is_not_taken_for_its_answer() {
    let mut system = test_system_with(0, &[]).await;
    for body in ["Plumber from London", "Are you there", "Plumber in London"] {
        assert_eq!(system.stand_in.text(ANN, body).await.unwrap().status, 200);
    }
    system.start_worker().unwrap();
    system.settle().await.unwrap();
    assert_eq!(state(&system).await, ["S2_BUSINESS_NAME"]);
    let answers = system.stand_in.bodies_to(ANN);
    assert_eq!(answers.len(), 3);
    assert!(answers[1].contains("our texts crossed") && answers.iter().all(|it| it.contains("name of your business")));
    assert!(say(&system, ANN, "ABC Plumbing").await[0].contains("your own name"));
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_business_name_is_corrected_in_both_places_unless_it_was_given_by_hand() {
    let system = test_system(1).await;
    for body in ["Plumber from London", "ABC Plumbing"] {
        say(&system, ANN, body).await;
    }
    let names = r#"SELECT concat_ws('|', "businessName", collected_fields ->> 'businessName', current_state)
                   FROM clients JOIN onboarding_states ON client_id = id"#;
    assert_eq!(texts(&system.pool, names).await, ["ABC Plumbing|ABC Plumbing|S3_OWNER_NAME"]);
    let reply = &say(&system, ANN, "sorry, business name is XYZ Plumbing").await[0];
    assert!(reply.contains("XYZ Plumbing") && reply.contains("your own name"), "{reply}");
    assert_eq!(texts(&system.pool, names).await, ["XYZ Plumbing|XYZ Plumbing|S3_OWNER_NAME"]);

    sqlx::raw_sql(r#"UPDATE clients SET "businessName" = 'By hand'"#).execute(&system.pool).await.unwrap();
    say(&system, ANN, "sorry, business name is Third Plumbing").await;
    assert_eq!(texts(&system.pool, names).await, ["By hand|Third Plumbing|S3_OWNER_NAME"]);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_third_misfit_in_a_row_raises_an_alert_until_the_client_goes_on() {
    let system = test_system(1).await;
    ann_at(&system, "S2_BUSINESS_NAME", false).await;
    say(&system, ANN, "what?").await;
    say(&system, ANN, "eh?").await;
    let updated = "SELECT count(*) FROM onboarding_states WHERE updated_at > now() - INTERVAL '1 hour'";
    sqlx::raw_sql("UPDATE onboarding_states SET updated_at = now() - INTERVAL '1 day'")
        .execute(&system.pool)
        .await
        .unwrap();
    assert!(open_alerts(&system).await.is_empty());
    assert!(say(&system, ANN, "hello??").await[0].contains("Somebody from our team"));
    assert_eq!(open_alerts(&system).await, ["stuck"]);
    assert_eq!(count(&system.pool, updated).await, 0, "a misunderstanding does not count as progress");
    let about = &texts(&system.pool, "SELECT about FROM alerts").await[0];
    assert!(about.contains("Client ann") && about.contains("S2_BUSINESS_NAME") && !about.contains("7900"), "{about}");
    assert!(say(&system, ANN, "ABC Plumbing").await[0].contains("your own name"));
    assert!(open_alerts(&system).await.is_empty());
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_alert_about_a_promised_person_stays_when_the_client_goes_on() {
    let system = test_system(1).await;
    ann_at(&system, "S2_BUSINESS_NAME", false).await;
    assert!(say(&system, ANN, "can I speak to someone").await[0].contains("our team"));
    assert!(say(&system, ANN, "ABC Plumbing").await[0].contains("your own name"));
    assert_eq!(open_alerts(&system).await, ["person-wanted"]);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_in_plain_words_opts_out_and_promises_nothing() {
    let system = test_system(1).await;
    ann_at(&system, "S2_BUSINESS_NAME", false).await;
    assert!(say(&system, ANN, "Stop Leaks Ltd").await[0].contains("your own name"));
    assert!(say(&system, ANN, "Stop. Thank you").await.is_empty());
    assert_eq!(count(&system.pool, r#"SELECT count(*) FROM clients WHERE "optedOutAt" IS NOT NULL"#).await, 1);
    assert_eq!(texts(&system.pool, "SELECT change FROM opt_changes").await, ["out"]);
    assert!(say(&system, ANN, "Ann Smith").await.is_empty());
    assert!(say(&system, ANN, "START").await[0].contains("own name"));
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paying_client_who_wants_to_cancel_is_told_how_and_raises_an_alert() {
    let system = test_system(1).await;
    ann_at(&system, "COMPLETE", true).await;
    assert!(say(&system, ANN, "cancel my subscription").await[0].contains("cancel your subscription"));
    assert_eq!(open_alerts(&system).await, ["cancel-asked"]);
    assert_eq!(count(&system.pool, r#"SELECT count(*) FROM clients WHERE "optedOutAt" IS NOT NULL"#).await, 0);
    sqlx::raw_sql("UPDATE alerts SET cleared_at = now()").execute(&system.pool).await.unwrap();
    assert!(say(&system, ANN, "CANCEL").await.is_empty(), "carriers take it for an opt-out");
    assert_eq!(open_alerts(&system).await.iter().filter(|cause| *cause == "cancel-asked").count(), 1);
    assert_eq!(count(&system.pool, r#"SELECT count(*) FROM clients WHERE "optedOutAt" IS NOT NULL"#).await, 1);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_who_pays_nothing_and_wants_to_cancel_is_told_that_nothing_is_charged() {
    let system = test_system(1).await;
    ann_at(&system, "S5_CONFIRM_LIVE", false).await;
    assert!(say(&system, ANN, "cancel my subscription").await[0].contains("nothing is being charged"));
    assert!(open_alerts(&system).await.is_empty());
    assert_eq!(state(&system).await, ["S5_CONFIRM_LIVE"]);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_landline_makes_no_client() {
    let system = test_system(1).await;
    for sender in ["+442079460000", "+441134960000"] {
        system.stand_in.text(sender, "Plumber from London").await.unwrap();
    }
    system.settle().await.unwrap();
    let filed = "SELECT count(*) FROM events WHERE outcome = 'sender_cannot_be_answered' AND processed_at IS NOT NULL";
    eventually(PATIENCE, "both are filed", async || count(&system.pool, filed).await == 2).await;
    assert_eq!(count(&system.pool, "SELECT count(*) FROM clients").await, 0);
    assert!(system.stand_in.messages().is_empty());
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_of_a_country_without_numbers_is_told_so_and_one_with_numbers_goes_on() {
    let system = test_system(1).await;
    seed_release::seed(&system.pool, &numbers(1)).await.unwrap();
    let irish = "+353871234567";
    for body in ["Hi", "Plumber from Dublin"] {
        assert!(say(&system, irish, body).await[0].contains("no numbers in your country"), "{body}");
    }
    assert_eq!(texts(&system.pool, "SELECT region FROM clients").await, ["IE"]);
    assert!(state(&system).await.iter().all(|it| it == "S1_BUSINESS_TYPE_LOCATION"));
    seed_release::seed(&system.pool, &["+353877654321".to_owned()]).await.unwrap();
    assert!(say(&system, irish, "Plumber from Dublin").await[0].contains("name of your business"));
    assert!(say(&system, ANN, "Plumber from London").await[0].contains("name of your business"));
    system.shut_down().await.unwrap();
}
