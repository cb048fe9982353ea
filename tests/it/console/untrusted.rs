//! What clients write is shown as text, and nothing else.

use std::time::{Duration, Instant};

use jobrun_shared::queue::CHANNEL;
use reqwest::StatusCode;

use super::Console;

/// Texts that a page must not take for anything but text.
const BODIES: [&str; 7] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "</textarea></details></main><h1>owned",
    "{{ frame.person.name }} {% include \"x\" %} ${7*7}",
    "' onmouseover='alert(1)",
    "javascript:alert(1)",
    "pay\u{202e}1 ecnuop\u{202c} 👷🏽‍♀️ \u{0}",
];

fn sql(text: &str) -> String {
    // PostgreSQL stores no zero character, and the ingress replaces it.
    text.replace('\u{0}', "\u{fffd}").replace('\'', "''")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_from_a_client_is_shown_as_text() {
    let console = Console::start(&[]).await;
    let long = "wide ".repeat(320);
    for (place, body) in BODIES.iter().copied().chain([long.as_str()]).enumerate() {
        let (id, body) = (format!("client-{place}"), sql(body));
        let payload = serde_json::json!({"kind": "text", "from": "+447900000001", "to": "+447476955179", "body": body});
        let fields = serde_json::json!({"ownerName": body, body.clone(): body});
        console
            .run(&format!(
                r#"INSERT INTO clients (id, "businessName", "phoneNumber") VALUES ('{id}', '{body}', '44790000000{place}');
                   INSERT INTO onboarding_states (client_id, current_state, collected_fields)
                       VALUES ('{id}', 'S5_CONFIRM_LIVE', '{fields}');
                   INSERT INTO events (source, external_id, kind, lane, payload, received_at, processed_at, outcome, client_id)
                       VALUES ('twilio', 'SM{place}{body}', 'text', '{body}', '{payload}', now(), now(), '{body}', '{id}');
                   INSERT INTO messages (client_id, kind, to_phone, from_number, body, error_message, created_at, updated_at)
                       VALUES ('{id}', '{body}', '+447900000001', '+447476955179', '{body}', '{body}', now(), now());
                   INSERT INTO number_changes (number, change, client_id, why, changed_at)
                       VALUES ('+447100000001', 'assigned', '{id}', '{body}', now());
                   INSERT INTO audit_log (at, who, via, action, subject, why, details)
                       VALUES (now(), '{body}', 'console', 'x.y', '{body}', '{body}', '{fields}');
                   INSERT INTO alerts (cause, about, raised_at, last_seen_at) VALUES ('loop:{body}', '{body}', now(), now())"#
            ))
            .await;
    }
    let admin = console.log_in("ad").await;
    let mut pages = vec!["/", "/clients", "/texts", "/events", "/alerts", "/audit"]
        .into_iter()
        .map(str::to_owned)
        .collect::<Vec<_>>();
    pages.extend((0..=BODIES.len()).map(|place| format!("/clients/client-{place}")));
    let asked: String =
        "?q=%22%3E%3Cscript%3Ealert(1)%3C/script%3E&outcome=%22%3E%3Cscript%3E&code=%22%3E%3Cscript%3E".to_owned();
    pages.extend(["/clients", "/events", "/texts", "/login"].map(|path| format!("{path}{asked}")));
    for path in pages {
        let page = console.get(&path, Some(&admin)).await;
        assert_eq!(page.status, StatusCode::OK, "{path}");
        for raw in ["<script>alert", "<img src=x", "<h1>owned", "onerror=alert(1)>", "'alert(1)'"] {
            assert!(!page.body.contains(raw), "{path} contains {raw}");
        }
        assert!(!page.body.contains(['\u{202e}', '\u{202c}']), "{path} contains a character that reorders a line");
        assert!(!page.body.contains("href=\"javascript"), "{path} has a link that is a script");
    }
    let story = console.get("/clients/client-0", Some(&admin)).await.body;
    assert!(story.contains("&#60;script&#62;alert(1)&#60;/script&#62;"), "the words themselves are shown: {story}");
    let story = console.get("/clients/client-7", Some(&admin)).await.body;
    assert!(story.contains(long.trim_end()), "1,600 characters are shown in full");
    console.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_that_make_no_sense_are_answered_and_not_with_an_error() {
    let console = Console::start(&[]).await;
    let admin = console.log_in("ad").await;
    for (path, status) in [
        ("/clients/nobody", StatusCode::NOT_FOUND),
        ("/numbers/1%27%20OR%201=1", StatusCode::NOT_FOUND),
        ("/clients?before=9223372036854775807&id=x", StatusCode::OK),
        ("/clients?before=-9223372036854775808", StatusCode::OK),
        ("/clients?before=x", StatusCode::BAD_REQUEST),
        ("/clients?q=%00%27%22%5C", StatusCode::BAD_REQUEST),
        ("/clients?q=%26%7C%21%3A%2A", StatusCode::OK),
        ("/clients?state=%00", StatusCode::BAD_REQUEST),
        ("/texts?before=-1&status=nothing&code=x&age=x", StatusCode::OK),
        ("/events?before=0&kind=%00&outcome=%00", StatusCode::BAD_REQUEST),
        ("/clients/%00", StatusCode::BAD_REQUEST),
        ("/audit?subject=%00", StatusCode::BAD_REQUEST),
        ("/numbers?after=%00", StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(console.get(path, Some(&admin)).await.status, status, "{path}");
    }
    let too_long = "x".repeat(20_000);
    let response = console.post("/login", None, &[("name", "ad"), ("password", &too_long)]).await;
    assert_eq!(response.status, StatusCode::PAYLOAD_TOO_LARGE);
    console.stop().await;
}

/// A page is told that a text has arrived, over one stream, without its content.
#[tokio::test(flavor = "multi_thread")]
async fn an_open_page_is_told_of_a_change() {
    let console = Console::start(&[]).await;
    let cookie = console.log_in("vi").await;
    let request = console.http.get(format!("{}/live", console.url)).header("cookie", &cookie);
    let mut stream = request.send().await.unwrap();
    // Sooner than a page is told without a change.
    let (begun, mut told) = (Instant::now(), String::new());
    while !told.contains("event: changed\n") {
        console.run(&format!("SELECT pg_notify('{CHANNEL}', '{{}}')")).await;
        // The program may not listen yet, so a notification may be missed.
        if let Ok(chunk) = tokio::time::timeout(Duration::from_secs(3), stream.chunk()).await {
            told.push_str(&String::from_utf8_lossy(&chunk.unwrap().unwrap()));
        }
        assert!(begun.elapsed() < Duration::from_secs(15), "the page is not told: {told:?}");
    }
    assert!(!told.contains("+44"), "{told}");
    drop(stream);
    console.stop().await;
}
