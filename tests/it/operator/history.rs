//! A client's history: everything that happened to the client, in order, and nothing of any other client.

use jobrun::demo::TestSystem;
use jobrun_shared::db::history;
use jobrun_tests::{migrated_database, paid_clients, say, test_system};
use serde_json::Value;

const ANN: &str = "+447900000001";

const BEN: &str = "+447900000002";

async fn client(system: &TestSystem, words: &str) -> (i32, String, String) {
    system.operator(&["client", words]).await.unwrap()
}

/// Returns the lines of a history without their times.
fn lines(shown: &str) -> Vec<&str> {
    let from = shown.lines().position(|line| line.starts_with("WHEN")).unwrap();
    shown.lines().skip(from + 1).map(|line| line.get(21..).unwrap_or_default()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_of_a_sign_up_is_shown_in_order_by_id_and_by_phone() {
    let system = test_system(1).await;
    for body in ["Plumber from London", "ABC Plumbing", "Ann Smith", "sms"] {
        say(&system, ANN, body).await;
    }
    say(&system, BEN, "Builder from Leeds").await;
    let (texts_in, texts_out) =
        (["Plumber from London", "ABC Plumbing", "Ann Smith", "sms"], system.stand_in.bodies_to(ANN));
    assert_eq!(texts_out.len(), 4);

    let (code, shown, _) = client(&system, ANN).await;
    assert_eq!(code, 0);
    let shown_lines = lines(&shown);
    let mut rest = shown_lines.as_slice();
    for (text_in, text_out) in texts_in.iter().zip(&texts_out) {
        assert!(rest[0].starts_with("text in   moved"), "{shown}");
        assert_eq!(rest[1].trim_start(), *text_in, "{shown}");
        assert!(rest[2].starts_with("text out  ask_") && rest[2].ends_with(", delivered"), "{shown}");
        let body = text_out.lines().count();
        let set_in: Vec<&str> = rest[3..3 + body].iter().map(|line| line.trim_start()).collect();
        // Lines that are too long for a screen are broken between words.
        let whole: String =
            rest[3..].iter().take_while(|line| !line.starts_with("text")).map(|line| line.trim()).collect();
        let unbroken = |text: &str| text.split_whitespace().collect::<String>();
        assert_eq!(unbroken(&whole), unbroken(text_out), "{set_in:?}");
        let next = rest.iter().skip(3).position(|line| line.starts_with("text")).map_or(rest.len(), |at| at + 3);
        rest = &rest[next..];
    }
    assert!(rest.is_empty(), "and nothing else: {rest:?}");
    assert!(shown.contains("state        S5_CONFIRM_LIVE") && shown.contains("business     ABC Plumbing"), "{shown}");
    assert!(shown.contains("ownerName: Ann Smith") && !shown.contains("Leeds"), "{shown}");
    assert!(shown.lines().all(|line| line.chars().count() <= 100), "{shown}");

    let id: String = sqlx::query_scalar(r#"SELECT id FROM clients WHERE "phoneNumber" = '447900000001'"#)
        .fetch_one(&system.pool)
        .await
        .unwrap();
    for words in [id.as_str(), "447900000001", "07900000001", "07900 000 001"] {
        assert_eq!(client(&system, words).await, (0, shown.clone(), String::new()), "{words}");
    }
    for nobody in ["+447900000003", "client-1", "", "07900"] {
        let (code, stdout, stderr) = client(&system, nobody).await;
        assert_eq!((code, stdout.as_str()), (1, ""), "{nobody}");
        assert!(stderr.starts_with("jobrun: no client has this id or phone;"), "{stderr}");
    }
    system.shut_down().await.unwrap();
}

/// Rows about a client, inserted by hand: ten entries of its history, at nine times.
const LIFE: &str = r#"
    INSERT INTO onboarding_states (client_id, current_state, collected_fields)
        VALUES ('client-1', 'S6_PHONE_TYPE', '{"ownerName": "Ann"}');
    UPDATE clients SET "businessName" = 'ABC', "paymentStanding" = 'active', "unreachableAt" = '2026-11-01 10:08Z'
        WHERE id = 'client-1';
    INSERT INTO waiting_list (client_id, region, joined_at, promised_by)
        VALUES ('client-2', 'GB', '2026-11-01 08:00Z', '2026-11-02 08:00Z'),
               ('client-1', 'GB', '2026-11-01 09:00Z', '2026-11-02 09:00Z');
    INSERT INTO events (source, external_id, kind, lane, payload, received_at, processed_at, outcome, client_id, state)
        VALUES ('twilio', 'c1', 'call_arrived', 'number:+447100000001',
                '{"kind": "call_arrived", "from": "+447700900123", "to": "+447100000001", "sid": "c1"}',
                '2026-11-01 10:05Z', now(), 'moved', 'client-1', 'S9_TEST_CALL'),
               ('twilio', 'c2', 'text', 'phone:447900000002',
                '{"kind": "text", "from": "+447900000002", "to": "+447476955179", "body": "somebody else"}',
                '2026-11-01 10:05Z', now(), 'noted', 'client-2', 'S5_CONFIRM_LIVE'),
               ('system', 'e1', 'number_lost', 'client:client-1', '{"kind": "number_lost", "client_id": "client-1"}',
                '2026-11-01 10:06Z', now(), 'noted', 'client-1', 'S6_PHONE_TYPE');
    INSERT INTO events (source, external_id, kind, lane, payload, received_at)
        VALUES ('twilio', 't9', 'text', 'phone:447900000001',
                '{"kind": "text", "from": "+447900000001", "to": "+447100000009", "body": "not yet"}', '2026-11-01 10:09Z');
    INSERT INTO messages (client_id, kind, to_phone, from_number, body, status, attempts, error_code, held_back, error_message,
                          created_at, updated_at)
        VALUES ('client-1', 'number_ready', '+447900000001', '+447476955179', 'Ready', 'undelivered', 2, 30003, FALSE, 'x',
                '2026-11-01 10:04Z', now()),
               (NULL, 'misdirected', '+447900000001', '+447100000009', 'Calls only', 'failed', 0, NULL, TRUE,
                'too many texts to this person in too short a time', '2026-11-01 10:07Z', now());
    INSERT INTO subscriptions (id, client_id, heard_of_at) VALUES ('sub_1', 'client-1', now()), ('sub_2', 'client-2', now());
    INSERT INTO payment_events (stripe_id, kind, happened_at, subscription_id, customer_id, amount, currency)
        VALUES ('evt_3', 'charge.refunded', '2026-11-01 10:10Z', NULL, 'cus_1', 2900, 'gbp'),
               ('evt_1', 'invoice.paid', '2026-11-01 10:02Z', 'sub_1', 'cus_1', 2900, 'gbp'),
               ('evt_2', 'customer.subscription.created', '2026-11-01 10:01Z', 'sub_1', 'cus_1', NULL, NULL),
               ('evt_4', 'invoice.paid', '2026-11-01 10:02Z', 'sub_2', 'cus_2', 1, 'gbp'),
               ('evt_5', 'charge.refunded', '2026-11-01 10:02Z', NULL, NULL, 1, 'gbp');
    INSERT INTO number_changes (number, change, client_id, why, changed_at)
        VALUES ('+447100000001', 'assigned', 'client-1', 'paid', '2026-11-01 10:02Z'),
               ('+447100000002', 'assigned', 'client-2', 'paid', '2026-11-01 10:02Z');
    INSERT INTO opt_changes (phone, change, changed_at) VALUES ('447900000001', 'out', '2026-11-01 10:03Z');
"#;

#[tokio::test(flavor = "multi_thread")]
async fn payments_numbers_calls_and_opt_changes_have_their_place_in_a_history() {
    let system = test_system(0).await;
    paid_clients(&system.pool, "client", 2).await;
    sqlx::raw_sql(LIFE).execute(&system.pool).await.unwrap();
    let (code, shown, _) = client(&system, "client-1").await;
    assert_eq!(code, 0);
    let expected = [
        "payment   subscription created",
        "payment   invoice paid, £29.00",
        "number    +447100000001 assigned: paid",
        "wish      no more texts",
        "text out  number_ready, undelivered after 2 attempts: the phone is off or out of reach (30003)",
        "          Ready",
        "call      from +447700900123, moved to S9_TEST_CALL",
        "event     the number was taken from the client, noted at S6_PHONE_TYPE",
        "text out  misdirected, held back: too many texts to this person in too short a time",
        "          Calls only",
        "text in   to +447100000009, not looked at yet",
        "          not yet",
        "payment   refunded, £29.00",
    ];
    let unbroken = |lines: &[&str]| lines.iter().flat_map(|line| line.split_whitespace()).collect::<Vec<_>>().join(" ");
    assert_eq!(unbroken(&lines(&shown)), unbroken(&expected), "{shown}");
    assert!(shown.contains("2026-11-01 10:01:00  payment   subscription created"), "by Stripe's clock: {shown}");
    for fact in [
        "payment      the gate is open; standing: active",
        "texts        unreachable since 2026-11-01 10:08:00",
        "waiting      place 2 since 2026-11-01 09:00:00, promised by 2026-11-02 09:00:00",
    ] {
        assert!(shown.contains(fact), "{shown}");
    }

    let (code, json, _) = system.operator(&["client", "client-1", "--json"]).await.unwrap();
    let story: Value = serde_json::from_str(&json).unwrap();
    let entries = story["happenings"].as_array().unwrap();
    let kinds: Vec<&str> = entries.iter().map(|it| it["kind"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        ["payment", "payment", "number", "wish", "text_out", "call_arrived", "event", "text_out", "text_in", "payment"]
    );
    assert_eq!((code, &entries[1]["at"], &entries[1]["amount"]), (0, &"2026-11-01T10:02:00Z".into(), &2900.into()));
    assert_eq!(entries[4]["textKind"], "number_ready");
    assert_eq!((&story["client"]["id"], &story["client"]["waiting"]["place"]), (&"client-1".into(), &2.into()));
    system.shut_down().await.unwrap();
}

/// An argument that is a client's id and another client's phone is taken for the id.
#[tokio::test(flavor = "multi_thread")]
async fn an_id_comes_before_a_phone() {
    let pool = migrated_database(1).await;
    sqlx::raw_sql(
        r#"INSERT INTO clients (id, "phoneNumber") VALUES ('a', '447900000001'), ('447900000001', '447900000002')"#,
    )
    .execute(&pool)
    .await
    .unwrap();
    let found = async |words: &str| history::find(&pool, words).await.unwrap().unwrap().client.id;
    assert_eq!(found("447900000001").await, "447900000001");
    assert_eq!(found("+447900000001").await, "a");
}
