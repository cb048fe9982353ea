//! Viewers see no phone number, wherever one stands.

use super::Console;

/// Puts phone numbers wherever the tables can hold one.
const ROWS: &str = r#"
INSERT INTO clients (id, "phoneNumber", "businessName", "paymentActive", "twilioNumber", "unreachableAt", "paymentStanding")
VALUES ('ann', '447911123456', 'Ring 07911 123456', TRUE, '+447100654321', now(), 'active'),
       ('ben', '447911123457', 'Ring 07911 123457', TRUE, NULL, NULL, 'active');
INSERT INTO onboarding_states (client_id, current_state, collected_fields, updated_at)
VALUES ('ann', 'S8_FWD_CONFIRM', '{"ownerName": "Ann (07911) 123-456", "businessTypeLocation": "+44 7911 123456"}',
        now() - INTERVAL '3 days'),
       ('ben', 'S5_CONFIRM_LIVE', '{}', now() - INTERVAL '3 days');
INSERT INTO waiting_list (client_id, region, joined_at, promised_by)
VALUES ('ben', 'GB', now() - INTERVAL '30 hours', now() - INTERVAL '6 hours');
INSERT INTO twilio_number_pool (phone_e164, status, client_id) VALUES ('+447100654321', 'ASSIGNED', 'ann');
INSERT INTO twilio_number_pool (phone_e164) VALUES ('+447100654322');
INSERT INTO number_changes (number, change, client_id, why, changed_at)
VALUES ('+447100654321', 'assigned', 'ann', 'paid', now());
INSERT INTO number_purchases (number, country, number_type, intended_at) VALUES ('+447100654322', 'GB', 'mobile', now());
INSERT INTO opt_changes (phone, change, changed_at) VALUES ('447911123456', 'out', now());
INSERT INTO events (source, external_id, kind, lane, payload, received_at, processed_at, outcome, client_id, state)
VALUES ('twilio', 'SM1', 'text', 'phone:447911123456',
        '{"kind": "text", "from": "+447911123456", "to": "+447100654321",
          "body": "I am on 07911-123-456 or 0 7 9 1 1 1 2 3 4 5 6"}', now(), now(), 'moved', 'ann', 'S8_FWD_CONFIRM'),
       ('twilio', 'CA1:ringing', 'call_arrived', 'number:+447100654321',
        '{"kind": "call_arrived", "from": "+447911123458", "to": "+447100654321"}', now(), now(), 'moved', 'ann', 'S9_TEST_CALL'),
       ('twilio', 'CA1:completed', 'call_ended', 'number:+447100654321',
        '{"kind": "call_ended", "from": "+447911123458", "to": "+447100654321", "status": "completed"}', now(), NULL, NULL,
        NULL, NULL),
       ('stripe', 'evt_1', 'stripe', 'stripe:evt_1',
        '{"kind": "stripe", "id": "evt_1", "event": {"type": "invoice.paid", "customer_phone": "+447911123456",
                                                     "customer_email": "ann@example.com"}}', now(), now(), 'applied', NULL, NULL);
INSERT INTO messages (status, client_id, kind, to_phone, from_number, body, error_message, created_at, updated_at)
VALUES ('failed', 'ann', 'live', '+447911123456', '+447476955179', 'Your number is +447100654321', '+447911123456 is off',
        now(), now());
INSERT INTO cases (client_id, kind, said, state, opened_at, last_said_at)
VALUES ('ann', 'person', 'Ring me on 07911 123456', 'S8_FWD_CONFIRM', now(), now());
UPDATE stops SET stopped_at = now(), stopped_by = 'ada', why = 'Ring 07911 123456';
"#;

/// The digits that must not be seen, in order, however they are spaced.
const SECRETS: [&str; 5] = ["7911123456", "7911123457", "7911123458", "7100654321", "7100654322"];

const PAGES: [&str; 16] = [
    "/",
    "/clients",
    "/clients?q=ring",
    "/clients/ann",
    "/clients/ben",
    "/waiting",
    "/numbers",
    "/numbers?state=held",
    "/purchases",
    "/payments",
    "/texts",
    "/events",
    "/alerts",
    "/cases",
    "/stops",
    "/account",
];

/// Returns the text with nothing but its digits and letters, so that no spacing hides a number.
fn bare(page: &str) -> String {
    page.chars().filter(char::is_ascii_alphanumeric).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_sees_no_phone_number_and_an_operator_does() {
    let console = Console::start(&[]).await;
    console.run(ROWS).await;
    let (viewer, operator) = (console.log_in("vi").await, console.log_in("op").await);
    let mut seen_by_operator = String::new();
    for path in PAGES {
        let page = console.get(path, Some(&viewer)).await;
        assert!(page.status.is_success(), "{path}: {}", page.status);
        for secret in SECRETS {
            assert!(!bare(&page.body).contains(secret), "{path} shows {secret}: {}", page.body);
        }
        assert!(!page.body.contains("ann@example.com"), "{path} shows the payload of an event");
        seen_by_operator.push_str(&bare(&console.get(path, Some(&operator)).await.body));
    }
    for secret in SECRETS {
        assert!(seen_by_operator.contains(secret), "an operator sees {secret}");
    }
    let page = console.get("/clients/ann", Some(&viewer)).await.body;
    assert!(page.contains("••••456"), "the last digits tell clients apart");
    console.stop().await;
}

/// A viewer cannot guess hidden digits by searching for them.
#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_finds_no_client_by_digits_and_an_operator_does() {
    let console = Console::start(&[]).await;
    console.run(ROWS).await;
    let (viewer, operator) = (console.log_in("vi").await, console.log_in("op").await);
    for words in ["07911123456", "%2B447100654321", "ring+07911+12345", "07911"] {
        let path = format!("/clients?q={words}");
        let (seen, found) = (console.get(&path, Some(&viewer)).await, console.get(&path, Some(&operator)).await);
        assert!(seen.status.is_success() && !seen.body.contains("/clients/ann"), "{words}: {}", seen.body);
        assert!(found.status.is_redirection() || found.body.contains("/clients/ann"), "{words}: {}", found.body);
    }
    assert!(console.get("/clients?q=ring", Some(&viewer)).await.body.contains("/clients/ann"));
    console.stop().await;
}
