//! Stories of people who do not answer as they were asked: halves, repeats, refusals, corrections, and phones that cannot sign up.

use jobrun::demo::Stage;
use jobrun_shared::operator;
use jobrun_tests::{PATIENCE, count, eventually, numbers, say, stage, stage_with, texts};

const ANN: &str = "+447900000001";

async fn state(stage: &Stage) -> Vec<String> {
    texts(&stage.pool, "SELECT current_state FROM onboarding_states").await
}

async fn open_alerts(stage: &Stage) -> Vec<String> {
    let causes = "SELECT split_part(cause, ':', 1) FROM alerts WHERE cleared_at IS NULL ORDER BY cause";
    texts(&stage.pool, causes).await
}

/// Ann, a client with this id, stands at `state`.
async fn ann_at(stage: &Stage, state: &str, pays: bool) {
    let client = r#"INSERT INTO clients (id, "phoneNumber", "paymentActive", "twilioNumber")
                    VALUES ('ann', '447900000001', $1, CASE WHEN $1 THEN '+447100000001' END)"#;
    sqlx::query(client).bind(pays).execute(&stage.pool).await.unwrap();
    let stands = "INSERT INTO onboarding_states (client_id, current_state) VALUES ('ann', $1)";
    sqlx::query(stands).bind(state).execute(&stage.pool).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_split_answer_is_joined_and_a_repeat_answers_nothing_more() {
    let stage = stage(1).await;
    assert!(say(&stage, ANN, "Plumber").await[0].contains("where do you work"));
    assert_eq!(state(&stage).await, ["S1_BUSINESS_TYPE_LOCATION"]);
    assert!(say(&stage, ANN, "Leeds").await[0].contains("name of your business"));
    let told = "SELECT concat_ws('|', current_state, collected_fields) FROM onboarding_states";
    assert_eq!(texts(&stage.pool, told).await, [r#"S2_BUSINESS_NAME|{"businessTypeLocation": "Plumber, Leeds"}"#]);
    // Two texts under two names: the network delivers some twice.
    for _ in 0..2 {
        assert_eq!(stage.stand_in.text(ANN, "John Smith").await.unwrap().status, 200);
    }
    stage.settle().await.unwrap();
    assert_eq!(state(&stage).await, ["S3_OWNER_NAME"]);
    let answers = stage.stand_in.bodies_to(ANN);
    assert!(answers.len() == 4 && answers.iter().skip(2).all(|it| it.contains("your own name")), "{answers:?}");
    stage.strike().await.unwrap();
}

/// No worker runs while the texts arrive, so that all of them were sent before the second question.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_before_the_question_is_not_taken_for_its_answer() {
    let mut stage = stage_with(0, &[]).await;
    for body in ["Plumber from London", "Are you there", "Plumber in London"] {
        assert_eq!(stage.stand_in.text(ANN, body).await.unwrap().status, 200);
    }
    stage.start_worker().unwrap();
    stage.settle().await.unwrap();
    assert_eq!(state(&stage).await, ["S2_BUSINESS_NAME"]);
    let answers = stage.stand_in.bodies_to(ANN);
    assert_eq!(answers.len(), 3);
    assert!(answers[1].contains("our texts crossed") && answers.iter().all(|it| it.contains("name of your business")));
    assert!(say(&stage, ANN, "ABC Plumbing").await[0].contains("your own name"));
    stage.strike().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_business_name_is_corrected_in_both_places_unless_it_was_given_by_hand() {
    let stage = stage(1).await;
    for body in ["Plumber from London", "ABC Plumbing"] {
        say(&stage, ANN, body).await;
    }
    let names = r#"SELECT concat_ws('|', "businessName", collected_fields ->> 'businessName', current_state)
                   FROM clients JOIN onboarding_states ON client_id = id"#;
    assert_eq!(texts(&stage.pool, names).await, ["ABC Plumbing|ABC Plumbing|S3_OWNER_NAME"]);
    let reply = &say(&stage, ANN, "sorry, business name is XYZ Plumbing").await[0];
    assert!(reply.contains("XYZ Plumbing") && reply.contains("your own name"), "{reply}");
    assert_eq!(texts(&stage.pool, names).await, ["XYZ Plumbing|XYZ Plumbing|S3_OWNER_NAME"]);

    sqlx::raw_sql(r#"UPDATE clients SET "businessName" = 'By hand'"#).execute(&stage.pool).await.unwrap();
    say(&stage, ANN, "sorry, business name is Third Plumbing").await;
    assert_eq!(texts(&stage.pool, names).await, ["By hand|Third Plumbing|S3_OWNER_NAME"]);
    stage.strike().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_third_misfit_in_a_row_alerts_until_the_client_goes_on() {
    let stage = stage(1).await;
    ann_at(&stage, "S2_BUSINESS_NAME", false).await;
    say(&stage, ANN, "what do you mean").await;
    say(&stage, ANN, "is this a scam").await;
    let updated = "SELECT count(*) FROM onboarding_states WHERE updated_at > now() - INTERVAL '1 hour'";
    sqlx::raw_sql("UPDATE onboarding_states SET updated_at = now() - INTERVAL '1 day'")
        .execute(&stage.pool)
        .await
        .unwrap();
    assert!(open_alerts(&stage).await.is_empty());
    assert!(say(&stage, ANN, "hello??").await[0].contains("Somebody from our team"));
    assert_eq!(open_alerts(&stage).await, ["stuck"]);
    assert_eq!(count(&stage.pool, updated).await, 0, "a misunderstanding is no step forward");
    let about = &texts(&stage.pool, "SELECT about FROM alerts").await[0];
    assert!(about.contains("Client ann") && about.contains("S2_BUSINESS_NAME") && !about.contains("7900"), "{about}");
    assert!(say(&stage, ANN, "ABC Plumbing").await[0].contains("your own name"));
    assert!(open_alerts(&stage).await.is_empty());
    stage.strike().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_was_promised_is_not_forgotten_when_the_client_goes_on() {
    let stage = stage(1).await;
    ann_at(&stage, "S2_BUSINESS_NAME", false).await;
    assert!(say(&stage, ANN, "can I speak to someone").await[0].contains("our team"));
    assert!(say(&stage, ANN, "ABC Plumbing").await[0].contains("your own name"));
    assert_eq!(open_alerts(&stage).await, ["person-wanted"]);
    stage.strike().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_in_plain_words_opts_out_and_promises_nothing() {
    let stage = stage(1).await;
    ann_at(&stage, "S2_BUSINESS_NAME", false).await;
    assert!(say(&stage, ANN, "Stop Leaks Ltd").await[0].contains("your own name"));
    assert!(say(&stage, ANN, "Stop. Thank you").await.is_empty());
    assert_eq!(count(&stage.pool, r#"SELECT count(*) FROM clients WHERE "optedOutAt" IS NOT NULL"#).await, 1);
    assert_eq!(texts(&stage.pool, "SELECT change FROM opt_changes").await, ["out"]);
    assert!(say(&stage, ANN, "Ann Smith").await.is_empty());
    assert!(say(&stage, ANN, "START").await[0].contains("own name"));
    stage.strike().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_pays_and_cancels_is_told_how_and_the_operator_hears_of_it() {
    let stage = stage(1).await;
    ann_at(&stage, "COMPLETE", true).await;
    assert!(say(&stage, ANN, "cancel my subscription").await[0].contains("cancel your subscription"));
    assert_eq!(open_alerts(&stage).await, ["cancel-asked"]);
    assert_eq!(count(&stage.pool, r#"SELECT count(*) FROM clients WHERE "optedOutAt" IS NOT NULL"#).await, 0);
    sqlx::raw_sql("UPDATE alerts SET cleared_at = now()").execute(&stage.pool).await.unwrap();
    assert!(say(&stage, ANN, "CANCEL").await.is_empty(), "carriers take it for an opt-out");
    assert_eq!(open_alerts(&stage).await.iter().filter(|cause| *cause == "cancel-asked").count(), 1);
    assert_eq!(count(&stage.pool, r#"SELECT count(*) FROM clients WHERE "optedOutAt" IS NOT NULL"#).await, 1);
    stage.strike().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_pays_nothing_is_told_that_nothing_is_charged() {
    let stage = stage(1).await;
    ann_at(&stage, "S5_CONFIRM_LIVE", false).await;
    assert!(say(&stage, ANN, "cancel my subscription").await[0].contains("nothing is being charged"));
    assert!(open_alerts(&stage).await.is_empty());
    assert_eq!(state(&stage).await, ["S5_CONFIRM_LIVE"]);
    stage.strike().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_landline_and_a_short_code_make_no_client() {
    let stage = stage(1).await;
    for sender in ["+442079460000", "+441134960000"] {
        stage.stand_in.text(sender, "Plumber from London").await.unwrap();
    }
    stage.settle().await.unwrap();
    let filed = "SELECT count(*) FROM events WHERE outcome = 'sender_cannot_be_answered' AND processed_at IS NOT NULL";
    eventually(PATIENCE, "both are filed", async || count(&stage.pool, filed).await == 2).await;
    assert_eq!(count(&stage.pool, "SELECT count(*) FROM clients").await, 0);
    assert!(stage.stand_in.messages().is_empty());
    stage.strike().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_of_a_country_without_numbers_is_told_so_and_one_with_numbers_goes_on() {
    let stage = stage(1).await;
    operator::seed(&stage.pool, &numbers(1)).await.unwrap();
    let irish = "+353871234567";
    for body in ["Hi", "Plumber from Dublin"] {
        assert!(say(&stage, irish, body).await[0].contains("no numbers in your country"), "{body}");
    }
    assert_eq!(texts(&stage.pool, "SELECT region FROM clients").await, ["IE"]);
    assert!(state(&stage).await.iter().all(|it| it == "S1_BUSINESS_TYPE_LOCATION"));
    operator::seed(&stage.pool, &["+353877654321".to_owned()]).await.unwrap();
    assert!(say(&stage, irish, "Plumber from Dublin").await[0].contains("name of your business"));
    assert!(say(&stage, ANN, "Plumber from London").await[0].contains("name of your business"));
    stage.strike().await.unwrap();
}
