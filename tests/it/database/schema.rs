//! The rules that the database enforces, by the names of its constraints.

use jobrun_tests::migrated_database;

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_row_is_refused_by_a_constraint_whose_name_states_the_rule() {
    let pool = migrated_database(1).await;
    let client = r#"INSERT INTO clients (id, "phoneNumber") VALUES ('a', '447900000001')"#;
    sqlx::raw_sql(client).execute(&pool).await.unwrap();
    let message =
        "INSERT INTO messages (client_id, kind, to_phone, from_number, body, next_attempt_at, created_at, updated_at)
                   VALUES ('a', 'live', '447900000001', '+447476955179', 'Hi', now(), now(), now())";
    for (statement, rule) in [
        (r#"INSERT INTO clients ("phoneNumber") VALUES ('447900000001')"#, "a_phone_belongs_to_one_client"),
        (r#"INSERT INTO clients ("phoneNumber") VALUES ('+447900000002')"#, "a_phone_is_digits_without_plus"),
        (r#"UPDATE clients SET "twilioNumber" = '447111111111'"#, "a_twilio_number_is_e164"),
        ("INSERT INTO twilio_number_pool (phone_e164) VALUES ('07111111111')", "a_pool_number_is_e164"),
        (
            "INSERT INTO twilio_number_pool (phone_e164, status) VALUES ('+447111111111', 'GONE')",
            "a_number_is_available_assigned_or_cooling_down",
        ),
        (
            "INSERT INTO twilio_number_pool (phone_e164, status) VALUES ('+447111111111', 'COOLING_DOWN')",
            "a_number_that_cools_down_does_so_until_a_time",
        ),
        (
            "INSERT INTO number_changes (number, change, why, changed_at) VALUES ('+447111111111', 'sold', 'x', now())",
            "a_change_is_of_a_known_kind",
        ),
        (
            "INSERT INTO number_changes (number, change, why, changed_at) VALUES ('+447111111111', 'released', 'x', now())",
            "a_change_of_hands_names_the_client",
        ),
        (
            "INSERT INTO number_changes (number, change, why, changed_at) VALUES ('+447111111111', 'added', '', now())",
            "a_change_has_a_reason",
        ),
        ("INSERT INTO onboarding_states (client_id, current_state) VALUES ('a', 'S0')", "a_state_is_one_of_ten"),
        (
            "INSERT INTO onboarding_states (client_id, current_state) VALUES ('b', 'COMPLETE')",
            "a_state_belongs_to_a_client",
        ),
        (
            "INSERT INTO onboarding_states (client_id, current_state, collected_fields) VALUES ('a', 'COMPLETE', '[]')",
            "collected_fields_is_an_object",
        ),
        (
            "INSERT INTO events (source, external_id, kind, lane, payload, received_at, due_at, outcome)
          VALUES ('twilio', '1', 'text', 'phone:1', '{}', now(), now(), 'moved')",
            "a_processed_event_has_an_outcome",
        ),
        (
            "INSERT INTO waiting_list (client_id, region, joined_at, promised_by) VALUES ('b', 'GB', now(), now())",
            "who_waits_is_a_client",
        ),
        (message, "a_recipient_is_e164"),
        (
            "INSERT INTO installation (account_kind, marked_at) VALUES ('test', now())",
            "an_account_is_real_or_a_stand_in",
        ),
    ] {
        let refused = sqlx::raw_sql(statement).execute(&pool).await.expect_err(statement);
        let constraint = refused.as_database_error().and_then(|error| error.constraint().map(str::to_owned));
        assert_eq!(constraint.as_deref(), Some(rule), "{statement}: {refused}");
    }
}

/// The phone page's reset names every table that refers to the ones it empties.
#[tokio::test(flavor = "multi_thread")]
async fn a_reset_empties_every_table_that_refers_to_an_emptied_one() {
    let pool = migrated_database(1).await;
    sqlx::raw_sql(include_str!("../../../deploy/jobrun/src/begin_anew.sql")).execute(&pool).await.unwrap();
}
