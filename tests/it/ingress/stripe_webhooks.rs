//! Stripe's webhooks at the ingress: one without a valid signature, out of date, or of the wrong kind leaves only a log line.

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use jobrun::demo::TestSystem;
use jobrun_shared::clock;
use jobrun_stand_in::stripe::{SECRET, Sale};
use jobrun_stripe::{WEBHOOK, signature};
use jobrun_tests::{PATIENCE, count, eventually, test_system_with, texts};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Selects the number of rows of every table, the job queue's included.
const ROWS: &str = "SELECT format('%s.%s %s', table_schema, table_name,
                        (xpath('/row/n/text()', query_to_xml(
                            format('SELECT count(*) AS n FROM %I.%I', table_schema, table_name), FALSE, TRUE, '')))[1])
                    FROM information_schema.tables
                    WHERE table_schema NOT IN ('pg_catalog', 'information_schema') AND table_type = 'BASE TABLE' ORDER BY 1";

const FORBIDDEN: (u16, &str) = (403, "Stripe-Signature is missing or does not match\n");

fn bytes(event: &Value) -> Vec<u8> {
    event.to_string().into_bytes()
}

fn sale() -> Sale {
    Sale::new(Some("somebody-who-pays"))
}

fn signed(secret: &SecretString, now: DateTime<Utc>, body: &[u8]) -> Option<String> {
    Some(signature::sign(secret, body, now))
}

/// Returns the ingress's log lines about webhooks that it refused.
fn refusals(system: &TestSystem) -> Vec<String> {
    system.ingress.lines().into_iter().filter(|line| line.starts_with("a webhook was ")).collect()
}

async fn jobs(system: &TestSystem) -> i64 {
    let rows = texts(&system.pool, ROWS).await;
    rows.iter().find_map(|row| row.split_once(".jobs ")).unwrap().1.parse().unwrap()
}

/// Posts bytes to the address of Stripe's events. Asserts the response, and that exactly one log line says why.
async fn is_refused(system: &TestSystem, body: Vec<u8>, signature: Option<&str>, expected: (u16, &str), why: &str) {
    let before = refusals(system).len();
    let answer = system.stand_in.post_stripe(body, signature).await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), expected, "{why}");
    eventually(PATIENCE, "it is in the log", async || refusals(system).len() > before).await;
    let (lines, status) = (refusals(system), expected.0);
    assert_eq!(lines.len(), before + 1, "one line each: {lines:#?}");
    let line = &lines[before];
    assert!(line.contains(&format!("path=\"{WEBHOOK}\" status={status} why=")) && line.contains(why), "{why}: {line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_stripe_did_not_sign_lately_leaves_only_a_log_line() {
    let system = test_system_with(0, &[]).await;
    let (before, now, secret) = (texts(&system.pool, ROWS).await, clock::now(), &SecretString::from(SECRET));
    assert!(before.len() > 15 && before.contains(&"public.events 0".to_owned()), "{before:?}");
    let body = bytes(&sale().checkout_completed("paid"));
    let good = signed(secret, now, &body).unwrap();
    let without_prefix = SecretString::from(secret.expose_secret().trim_start_matches("whsec_"));
    let mut changed = body.clone();
    changed[20] ^= 1;
    let longer = [&body[..], b"\n"].concat();
    let (other, missing) = ("not made with a secret in STRIPE_WEBHOOK_SECRET", "there is no Stripe-Signature");
    let unreadable = "has no time, or no v1";
    for (signature, body, why) in [
        (None, &body, missing),
        (Some(String::new()), &body, unreadable),
        (Some("nonsense".to_owned()), &body, unreadable),
        (Some(good.replace("t=", "t=-")), &body, other),
        (Some(good.replace("t=", "t=99999999999")), &body, unreadable),
        (Some(format!("{good},t=1")), &body, unreadable),
        (Some(good.replace("v1=", "v0=")), &body, unreadable),
        (Some(good.replace("t=", "t=1")), &body, other),
        (Some(good[..good.len() - 2].to_owned()), &body, other),
        (signed(&SecretString::from("whsec_guess"), now, &body), &body, other),
        (signed(&without_prefix, now, &body), &body, other),
        (signed(&system.account.auth_token, now, &body), &body, other),
        (Some(good.clone()), &changed, other),
        (Some(good.clone()), &longer, other),
        (Some(good.clone()), &body[..body.len() - 1].to_vec(), other),
        (Some(good.clone()), &Vec::new(), other),
        (signed(secret, now - TimeDelta::seconds(400), &body), &body, "five minutes old"),
        (signed(secret, now - TimeDelta::days(365), &body), &body, "five minutes old"),
        (signed(secret, now + TimeDelta::seconds(400), &body), &body, "ahead of this machine's clock"),
        (signed(secret, now + TimeDelta::days(365), &body), &body, "ahead of this machine's clock"),
    ] {
        is_refused(&system, body.clone(), signature.as_deref(), FORBIDDEN, why).await;
    }
    assert_eq!(texts(&system.pool, ROWS).await, before);
    let printed = system.ingress.lines().join("\n");
    let secrets =
        [secret.expose_secret(), without_prefix.expose_secret(), &good[good.len() - 64..], "somebody-who-pays"];
    assert!(secrets.iter().all(|secret| !printed.contains(secret)), "{printed}");

    assert_eq!(system.stand_in.post_stripe(body, Some(&good)).await.unwrap().status, 200, "the good one is good");
    assert_ne!(texts(&system.pool, ROWS).await, before);
    system.shut_down().await.unwrap();
}

/// Returns the start of the status line for a signed webhook whose body is one byte larger than allowed.
///
/// The length is claimed and the body never sent: the ingress refuses the body unread and closes the connection, and a sender that
/// is still sending may see only the close.
async fn status_of_a_body_that_is_too_large(system: &TestSystem) -> String {
    let large = vec![b' '; 1024 * 1024 + 1];
    let signature = signed(&SecretString::from(SECRET), clock::now(), &large).unwrap();
    let address = system.account.webhook_base_url.strip_prefix("http://").unwrap();
    let mut connection = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST {WEBHOOK} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {}\r\nStripe-Signature: {signature}\r\n\r\n",
        large.len()
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut status = [0; "HTTP/1.1 413".len()];
    connection.read_exact(&mut status).await.unwrap();
    String::from_utf8_lossy(&status).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_body_that_is_no_event_for_us_changes_nothing() {
    let system = test_system_with(0, &[]).await;
    let before = texts(&system.pool, ROWS).await;
    let event = sale().invoice_paid();
    let without = |field: &str| {
        let mut event = event.clone();
        event.as_object_mut().unwrap().remove(field);
        bytes(&event)
    };
    let mut live = event.clone();
    live["livemode"] = json!(true);
    for (body, expected) in [
        (b"id=evt_1&type=invoice.paid".to_vec(), "the body is not JSON"),
        (bytes(&event)[..100].to_vec(), "the body is not JSON"),
        (Vec::new(), "the body is not JSON"),
        (bytes(&json!([event])), "the event has no id, or not as it should be"),
        (without("id"), "the event has no id, or not as it should be"),
        (without("type"), "the event has no type, or not as it should be"),
        (without("created"), "the event has no created, or not as it should be"),
        (without("livemode"), "the event has no livemode, or not as it should be"),
        (without("data"), "the event has no data.object, or not as it should be"),
        (bytes(&live), "the event is a live one, and we are in test mode: see STRIPE_LIVEMODE"),
    ] {
        let signature = signed(&SecretString::from(SECRET), clock::now(), &body);
        is_refused(&system, body, signature.as_deref(), (400, &format!("{expected}\n")), expected).await;
    }
    assert_eq!(status_of_a_body_that_is_too_large(&system).await, "HTTP/1.1 413");
    let answer = reqwest::get(format!("{}{WEBHOOK}", system.account.webhook_base_url)).await.unwrap();
    assert_eq!(answer.status().as_u16(), 405);

    let thin = json!({"id": "evt_thin", "object": "v2.core.event", "type": "v1.billing.meter.no_meter_found"});
    let answer = system.stand_in.stripe(&thin).await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, ""), "a thin event is acknowledged");
    assert_eq!(texts(&system.pool, ROWS).await, before);
    system.shut_down().await.unwrap();
}

/// A test payment must not open the payment gate in live mode.
#[tokio::test(flavor = "multi_thread")]
async fn a_test_event_is_refused_in_live_mode() {
    let system =
        test_system_with(0, &[("STRIPE_LIVEMODE", ""), ("PAYMENT_LINK_URL", "https://buy.stripe.com/live")]).await;
    let before = texts(&system.pool, ROWS).await;
    let mut event = sale().checkout_completed("paid");
    let body = bytes(&event);
    let signature = signed(&SecretString::from(SECRET), clock::now(), &body);
    let expected = "the event is a test, and we are in live mode: see STRIPE_LIVEMODE";
    is_refused(&system, body, signature.as_deref(), (400, &format!("{expected}\n")), expected).await;
    assert_eq!(texts(&system.pool, ROWS).await, before);
    event["livemode"] = json!(true);
    assert_eq!(system.stand_in.stripe(&event).await.unwrap().status, 200, "the same event, live");
    assert_eq!(count(&system.pool, "SELECT count(*) FROM events").await, 1);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_one_row_however_often_and_concurrently_it_is_delivered() {
    let system = test_system_with(0, &[]).await;
    let jobs_before = jobs(&system).await;
    let sale = sale();
    let mut events = [sale.checkout_completed("paid"), sale.subscription("created", "active", None), sale.refunded()];
    let odd = &mut events[2]["data"]["object"];
    odd["description\0"] = json!("what the database cannot keep:\0");
    odd["padding"] = json!("£".repeat(200_000));
    let deliveries = (0..20).flat_map(|_| &events).map(|event| system.stand_in.stripe(event));
    for answer in join_all(deliveries).await {
        let answer = answer.unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    }
    let rows: Vec<(String, String, String, Value)> =
        sqlx::query_as("SELECT source, kind, external_id, payload FROM events ORDER BY external_id")
            .fetch_all(&system.pool)
            .await
            .unwrap();
    assert_eq!(rows.len(), 3);
    for ((source, kind, external_id, payload), event) in rows.iter().zip(&events) {
        assert_eq!(
            (source.as_str(), kind.as_str(), external_id.as_str()),
            ("stripe", "stripe", event["id"].as_str().unwrap())
        );
        assert_eq!((&payload["id"], &payload["event"]["type"]), (&event["id"], &event["type"]));
    }
    assert_eq!(rows[0].3["event"], events[0], "as Stripe wrote it");
    assert_eq!(rows[2].3["event"]["data"]["object"]["description\u{FFFD}"], "what the database cannot keep:\u{FFFD}");
    let jobs = jobs(&system).await - jobs_before;
    assert!((1..=3).contains(&jobs), "one job for each event at most: {jobs}");
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn either_secret_is_accepted_during_rotation_and_none_that_is_not_set() {
    let system = test_system_with(0, &[("STRIPE_WEBHOOK_SECRET", "whsec_old, whsec_new")]).await;
    for (secret, expected) in [("whsec_old", 200), ("whsec_new", 200), ("whsec_old, whsec_new", 403)] {
        let body = bytes(&sale().invoice_paid());
        let signature = signed(&SecretString::from(secret), clock::now(), &body).unwrap();
        // While a secret is rolled, Stripe signs with both.
        let both =
            format!("{},v0={}", signature.replace(",v1=", &format!(",v1={},v1=", "0".repeat(64))), "0".repeat(64));
        assert_eq!(system.stand_in.post_stripe(body, Some(&both)).await.unwrap().status, expected, "{secret}");
    }
    assert_eq!(count(&system.pool, "SELECT count(*) FROM events").await, 2);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_secret_stripe_s_webhooks_are_answered_with_503() {
    let system = test_system_with(0, &[("STRIPE_WEBHOOK_SECRET", "")]).await;
    let body = bytes(&sale().invoice_paid());
    let signature = signed(&SecretString::from(""), clock::now(), &body);
    let expected = (503, "payments are not set up\n");
    is_refused(&system, body, signature.as_deref(), expected, "STRIPE_WEBHOOK_SECRET is not set").await;
    assert_eq!(count(&system.pool, "SELECT count(*) FROM events").await, 0);
    system.shut_down().await.unwrap();
}

/// A string may be cut in the middle of a character, such as the payer's name.
#[tokio::test(flavor = "multi_thread")]
async fn a_broken_character_is_replaced_and_the_event_is_recorded() {
    let system = test_system_with(0, &[]).await;
    let mut event = sale().checkout_completed("paid");
    event["data"]["object"]["customer_details"]["name"] = json!("Ann CUT 😀");
    let body = event.to_string().replace("CUT", r"\ud83d \\ud83d").into_bytes();
    let signature = signed(&SecretString::from(SECRET), clock::now(), &body);
    let answer = system.stand_in.post_stripe(body, signature.as_deref()).await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    let name = "SELECT payload#>>'{event,data,object,customer_details,name}' FROM events";
    assert_eq!(texts(&system.pool, name).await, ["Ann \u{FFFD} \\ud83d 😀"]);
    system.shut_down().await.unwrap();
}
