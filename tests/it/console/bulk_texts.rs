//! Many texts at once, in the browser: a page shows what would happen, a form begins it once, and a page shows how far it is.

use jobrun_tests::{count, texts};
use reqwest::StatusCode;

use super::Console;

const ROWS: &str = r#"
INSERT INTO clients (id, "phoneNumber") SELECT 'client-' || n, (447911123400 + n)::TEXT FROM generate_series(1, 3) AS n;
INSERT INTO onboarding_states (client_id, current_state)
SELECT id, CASE WHEN id = 'client-3' THEN 'COMPLETE' ELSE 'S2_BUSINESS_NAME' END FROM clients;
INSERT INTO messages (status, client_id, kind, to_phone, from_number, body, error_code, created_at, updated_at)
SELECT 'failed', id, 'ask_business_name', '+' || "phoneNumber", '+447476955179', 'Your <b>name</b>?', 30001,
       now() - INTERVAL '1 hour', now() - INTERVAL '1 hour'
FROM clients ORDER BY id"#;

/// Returns the value of a hidden field of a page.
fn field<'a>(page: &'a str, name: &str) -> &'a str {
    let (_, rest) = page.split_once(&format!(r#"name="{name}" value=""#)).unwrap();
    rest.split('"').next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sends_texts_again_once_however_often_the_form_is_sent() {
    let console = Console::start(&[]).await;
    console.run(ROWS).await;
    let (operator, viewer) = (console.log_in("op").await, console.log_in("vi").await);
    let list = console.get("/texts?status=failed", Some(&operator)).await.body;
    assert!(list.contains(r#"type="checkbox" name="id""#) && list.contains("Send failed ones again"), "{list}");
    let list = console.get("/texts?status=failed", Some(&viewer)).await.body;
    assert!(!list.contains("checkbox") && !list.contains("/texts/bulk"), "a viewer sees nothing of it");

    let check = "/texts/bulk?action=replay&which=all&status=failed&code=30001";
    let page = console.get(check, Some(&operator)).await;
    assert_eq!(page.status, StatusCode::OK);
    let page = page.body;
    assert!(page.contains("<strong>2</strong> of 3 texts would be sent again"), "{page}");
    assert!(page.contains("the client has moved on") && page.contains("Your &#60;b&#62;name"), "{page}");
    assert_eq!(count(&console.pool, "SELECT count(*) FROM bulk_actions").await, 0, "nothing is changed yet");

    let (until, token) = (field(&page, "until"), field(&page, "token"));
    let form = [("action", "replay"), ("which", "all"), ("status", "failed"), ("until", until), ("token", token)];
    let without_reason = console.post("/texts/bulk", Some(&operator), &form).await;
    assert_eq!(without_reason.status, StatusCode::BAD_REQUEST);
    assert!(without_reason.body.contains("Say why") && field(&without_reason.body, "token") == token);
    let form: Vec<(&str, &str)> = form.into_iter().chain([("why", "an outage")]).collect();
    let refused = console.post("/texts/bulk", Some(&viewer), &form).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let elsewhere = [("origin", "https://example.com"), ("sec-fetch-site", "cross-site")];
    let refused = console.send_with(reqwest::Method::POST, "/texts/bulk", Some(&operator), &form, &elsewhere).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let (one, two) = tokio::join!(
        console.post("/texts/bulk", Some(&operator), &form),
        console.post("/texts/bulk", Some(&operator), &form)
    );
    assert_eq!((one.status, one.location()), (StatusCode::SEE_OTHER, two.location()));
    let log = "SELECT who || ' ' || via || ' ' || action || ' ' || why FROM audit_log WHERE action LIKE 'texts.%'";
    assert_eq!(texts(&console.pool, log).await, ["op console texts.replayed an outage"]);
    assert_eq!(count(&console.pool, "SELECT count(*) FROM bulk_action_texts").await, 3);

    let progress = console.get(one.location(), Some(&operator)).await.body;
    assert!(progress.contains("Under way") && progress.contains("an outage"), "{progress}");
    console.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_texts_that_were_ticked_are_chosen() {
    let console = Console::start(&[]).await;
    console.run(ROWS).await;
    let operator = console.log_in("op").await;
    let page = console.get("/texts/bulk?action=replay&which=chosen&id=1&id=2", Some(&operator)).await.body;
    assert!(page.contains("<strong>2</strong> of 2 texts"), "{page}");
    let (until, token) = (field(&page, "until"), field(&page, "token"));
    let form = [("action", "replay"), ("id", "1"), ("id", "2"), ("until", until), ("token", token), ("why", "x")];
    let begun = console.post("/texts/bulk", Some(&operator), &form).await;
    assert_eq!(begun.status, StatusCode::SEE_OTHER);
    let chosen = "SELECT message_id::TEXT FROM bulk_action_texts ORDER BY message_id";
    assert_eq!(texts(&console.pool, chosen).await, ["1", "2"]);
    for nothing in ["action=replay", "action=replay&which=chosen", "which=all", "action=replay&id=x"] {
        let page = console.get(&format!("/texts/bulk?{nothing}"), Some(&operator)).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{nothing}");
    }
    let page = console.get("/texts/bulk?action=drop&which=all", Some(&operator)).await;
    assert!(page.status.is_success() && page.body.contains("No queued text is among them"), "{}", page.body);
    console.stop().await;
}
