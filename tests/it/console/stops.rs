//! The stop switch in the console: every page names the stops, and operators stop and start.

use jobrun_tests::{count, texts};
use reqwest::StatusCode;

use super::Console;

const STOP: [(&str, &str); 4] =
    [("what", "sending"), ("to", "stopped"), ("why", "ring 07911 123456 <b>"), ("sure", "yes")];

const START: [(&str, &str); 4] = [("what", "sending"), ("to", "started"), ("why", "mended"), ("sure", "yes")];

#[tokio::test(flavor = "multi_thread")]
async fn operators_stop_and_start_and_every_page_says_so() {
    let console = Console::start(&[]).await;
    let (viewer, operator) = (console.log_in("vi").await, console.log_in("op").await);
    assert!(!console.get("/", Some(&viewer)).await.body.contains("<strong>Sending is stopped</strong>"));
    assert_eq!(console.post("/stops", Some(&viewer), &STOP).await.status, StatusCode::FORBIDDEN);
    for lacking in ["why", "sure"] {
        let form: Vec<(&str, &str)> = STOP.into_iter().filter(|(name, _)| *name != lacking).collect();
        let response = console.post("/stops", Some(&operator), &form).await;
        assert_eq!(response.status, StatusCode::BAD_REQUEST, "{lacking}");
        assert!(response.body.contains("give a reason, and confirm it"), "{}", response.body);
    }
    for (what, to) in [("everything", "stopped"), ("sending", "broken")] {
        let form = [("what", what), ("to", to), ("why", "x"), ("sure", "yes")];
        assert_eq!(console.post("/stops", Some(&operator), &form).await.status, StatusCode::BAD_REQUEST);
    }
    let foreign = [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")];
    let response = console.send_with(reqwest::Method::POST, "/stops", Some(&operator), &STOP, &foreign).await;
    assert_eq!(response.status, StatusCode::FORBIDDEN);
    assert_eq!(count(&console.pool, "SELECT count(*) FROM audit_log WHERE action LIKE 'sending.%'").await, 0);

    let response = console.post("/stops", Some(&operator), &STOP).await;
    assert_eq!((response.status, response.location()), (StatusCode::SEE_OTHER, "/stops"), "{}", response.body);
    for page in ["/", "/clients", "/texts", "/account", "/stops"] {
        let shown = console.get(page, Some(&operator)).await.body;
        assert!(shown.contains("<strong>Sending is stopped</strong>"), "{page}: {shown}");
        assert!(shown.contains("by op:") && shown.contains("ring 07911 123456 &#60;b&#62;"), "{page}: {shown}");
        assert!(!shown.contains("Conversations are stopped"), "{page}");
        let shown = console.get(page, Some(&viewer)).await.body;
        assert!(shown.contains("<strong>Sending is stopped</strong>") && !shown.contains("123456"), "{page}: {shown}");
    }
    assert!(!console.get("/stops", Some(&viewer)).await.body.contains("<form method=\"post\" action=\"/stops\""));

    let again = console.post("/stops", Some(&operator), &STOP).await;
    assert_eq!(again.status, StatusCode::CONFLICT);
    assert!(again.body.contains("sending is stopped already, since "), "{}", again.body);
    let response = console.post("/stops", Some(&operator), &START).await;
    assert_eq!((response.status, response.location()), (StatusCode::SEE_OTHER, "/stops"), "{}", response.body);
    let again = console.post("/stops", Some(&operator), &START).await;
    assert_eq!(again.status, StatusCode::CONFLICT);
    assert!(again.body.contains("sending is not stopped"), "{}", again.body);
    assert!(!console.get("/", Some(&viewer)).await.body.contains("<strong>Sending is stopped</strong>"));

    let log = "SELECT concat_ws('|', who, via, action, why) FROM audit_log WHERE action LIKE 'sending.%' ORDER BY id";
    assert_eq!(
        texts(&console.pool, log).await,
        ["op|console|sending.stopped|ring 07911 123456 <b>", "op|console|sending.started|mended"]
    );
    console.stop().await;
}

/// With the rights of the console's role.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_adds_the_time_of_the_stop_to_the_hold_on_a_number() {
    let console = Console::start(&[]).await;
    console
        .run(
            r#"INSERT INTO clients (id, "phoneNumber", "paymentActive") VALUES ('ann', '447900000001', TRUE);
               INSERT INTO waiting_list (client_id, region, joined_at, promised_by, held_at, held_until)
               SELECT 'ann', 'GB', at, at, at, at + INTERVAL '3 hours' FROM (SELECT now() - INTERVAL '2 hours' AS at) AS two_hours_ago;
               UPDATE stops SET stopped_at = now() - INTERVAL '1 hour', stopped_by = 'op', why = 'x' WHERE what = 'sending'"#,
        )
        .await;
    let operator = console.log_in("op").await;
    let response = console.post("/stops", Some(&operator), &START).await;
    assert_eq!((response.status, response.location()), (StatusCode::SEE_OTHER, "/stops"), "{}", response.body);
    let hours = "SELECT count(*) FROM waiting_list
                 WHERE held_until - held_at BETWEEN INTERVAL '4 hours' AND INTERVAL '4 hours 5 minutes'";
    assert_eq!(count(&console.pool, hours).await, 1);
    console.stop().await;
}
