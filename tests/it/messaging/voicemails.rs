//! Callers of a live number leave messages, which its owner hears by a link, and which end after a week.

use chrono::TimeDelta;
use jobrun::demo::TestSystem;
use jobrun_shared::clock;
use jobrun_stand_in::Fault;
use jobrun_tests::{PATIENCE, count, eventually, sweep_twice, test_system, test_system_with, texts};
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, StatusCode};
use sqlx::AssertSqlSafe;

use super::{ANN, HERS, ann_at, rows};

const CALLER: &str = "+447700900123";

const SOUND: &[u8] = b"ID3: Hello, my boiler leaks. Please ring me back.";

async fn live_system(workers: usize) -> TestSystem {
    let system = test_system_with(workers, &[("VOICEMAIL", "on")]).await;
    ann_at(&system, "COMPLETE").await;
    system
}

/// Returns the link in the last text to Ann.
fn link(system: &TestSystem) -> String {
    let text = system.stand_in.bodies_to(ANN).pop().unwrap();
    let (words, link) = text.split_once('\n').unwrap();
    assert_eq!(words, "Voicemail from +447700900123 (0:42). Listen within 7 days:");
    link.to_owned()
}

fn client() -> Client {
    Client::builder().timeout(PATIENCE).build().unwrap()
}

async fn ask(method: Method, link: &str, range: Option<&str>) -> (u16, HeaderMap, Vec<u8>) {
    let mut request = client().request(method, link);
    if let Some(range) = range {
        request = request.header("range", range);
    }
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    (status, headers, response.bytes().await.unwrap().to_vec())
}

async fn status(link: &str) -> u16 {
    let (got, headers, _) = ask(Method::GET, link, None).await;
    assert_eq!(ask(Method::HEAD, link, None).await.0, got, "HEAD says the same");
    assert_eq!(headers["cache-control"], "no-store", "on every answer");
    got
}

async fn count_of(system: &TestSystem, statement: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(statement.to_owned())).fetch_one(&system.pool).await.unwrap()
}

async fn execute(system: &TestSystem, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&system.pool).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_hears_a_message_by_a_link_for_a_week_and_then_it_is_deleted() {
    let system = live_system(1).await;
    let left = system.stand_in.leave_message(CALLER, HERS, SOUND).await.unwrap().expect("a message is asked for");
    assert!(left.asked.body.contains("leave a message after the tone"), "{:?}", left.asked);
    assert!(left.asked.body.contains("#rc=5&amp;rp=ct,rt,5xx"), "Twilio tries the report again: {:?}", left.asked);
    assert!(left.thanked.body.contains("Thank you. Goodbye."), "{:?}", left.thanked);
    // A report that is repeated is the same message.
    assert_eq!(system.stand_in.report(&left.report).await.unwrap().status, 204);
    system.settle().await.unwrap();
    let received = system.stand_in.bodies_to(ANN);
    assert_eq!((received.len(), received[0].as_str()), (2, "Missed call: +447700900123 rang your JobRun number."));

    let link = link(&system);
    let (secret, base) = (link.rsplit('/').next().unwrap(), system.account.webhook_base_url.as_str());
    assert!(link.starts_with(&format!("{base}/voicemail/")) && secret.len() == 43, "{link}");
    let (got, headers, body) = ask(Method::GET, &link, None).await;
    assert_eq!((got, body.as_slice()), (200, SOUND));
    for (name, value) in [
        ("content-type", "audio/mpeg"),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("x-robots-tag", "noindex, nofollow, noarchive"),
        ("referrer-policy", "no-referrer"),
    ] {
        assert_eq!(headers[name], value, "{name}");
    }
    assert!(headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
    // A player may ask for a part, and a preview for the head, which asks Twilio nothing.
    let (got, headers, body) = ask(Method::GET, &link, Some("bytes=5-9")).await;
    assert_eq!((got, body.as_slice()), (206, &SOUND[5..=9]));
    assert_eq!(headers["content-range"], format!("bytes 5-9/{}", SOUND.len()));
    assert_eq!(ask(Method::GET, &link, Some("bytes=1000-")).await.0, 416);
    let fetched = system.stand_in.recordings()[0].fetched;
    let (got, headers, _) = ask(Method::HEAD, &link, None).await;
    assert_eq!((got, headers["content-type"].as_bytes()), (200, b"audio/mpeg".as_slice()));
    assert_eq!(system.stand_in.recordings()[0].fetched, fetched);
    // Only the digest of the secret is stored, and nothing else leads to the message.
    assert_eq!(
        count_of(&system, &format!("SELECT count(*) FROM voicemails v WHERE v::TEXT LIKE '%{secret}%'")).await,
        0
    );
    let (sid, other) = (&left.sid, "x".repeat(43));
    for unknown in
        [format!("{base}/voicemail/{other}"), format!("{base}/voicemail/{sid}"), format!("{base}/voicemail/x")]
    {
        assert_eq!(status(&unknown).await, 404);
    }
    system.stand_in.always(Some(Fault::named("503").unwrap()));
    assert_eq!(ask(Method::GET, &link, None).await.0, 502);
    system.stand_in.always(None);

    execute(&system, "UPDATE voicemails SET expires_at = now() - INTERVAL '1 second'").await;
    assert_eq!(status(&link).await, 410);
    assert!(!system.stand_in.recordings()[0].is_deleted, "its deletion is not due yet");
    execute(&system, "UPDATE voicemails SET next_attempt_at = now()").await;
    eventually(PATIENCE, "it is deleted", async || system.stand_in.recordings()[0].is_deleted).await;
    rows(&system, 1, "SELECT count(*) FROM voicemails WHERE deleted_at IS NOT NULL").await;
    assert_eq!(status(&link).await, 410);
    execute(&system, "UPDATE voicemails SET deleted_at = now() - INTERVAL '31 days'").await;
    rows(&system, 0, "SELECT count(*) FROM voicemails").await;
    assert_eq!(status(&link).await, 404);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_callers_of_a_live_client_who_takes_texts_are_asked_for_a_message() {
    let system = test_system_with(1, &[("VOICEMAIL", "on")]).await;
    ann_at(&system, "S8_FWD_CONFIRM").await;
    assert_eq!(system.stand_in.leave_message(CALLER, HERS, SOUND).await.unwrap(), None, "the test call");
    system.settle().await.unwrap();
    let received = system.stand_in.bodies_to(ANN);
    assert!(received.len() == 1 && received[0].starts_with("You're live!"), "{received:?}");
    for cannot in ["optedOutAt", "unreachableAt"] {
        execute(&system, &format!(r#"UPDATE clients SET "{cannot}" = now()"#)).await;
        assert_eq!(system.stand_in.leave_message(CALLER, HERS, SOUND).await.unwrap(), None, "{cannot}");
        execute(&system, &format!(r#"UPDATE clients SET "{cannot}" = NULL"#)).await;
    }
    assert!(system.stand_in.leave_message(CALLER, HERS, SOUND).await.unwrap().is_some(), "now she is live");
    system.shut_down().await.unwrap();

    let system = test_system(1).await;
    ann_at(&system, "COMPLETE").await;
    assert_eq!(system.stand_in.leave_message(CALLER, HERS, SOUND).await.unwrap(), None, "it is off by default");
    system.shut_down().await.unwrap();
}

/// No text tells of these, so no link would ever lead to them.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_owner_cannot_be_told_is_deleted_at_once() {
    for gone in [
        r#"UPDATE clients SET "twilioNumber" = NULL; UPDATE twilio_number_pool SET status = 'AVAILABLE', client_id = NULL"#,
        r#"UPDATE clients SET "optedOutAt" = now()"#,
        "UPDATE onboarding_states SET current_state = 'S6_PHONE_TYPE'",
    ] {
        let mut system = live_system(0).await;
        assert!(system.stand_in.leave_message(CALLER, HERS, SOUND).await.unwrap().is_some());
        execute(&system, gone).await;
        system.start_worker().unwrap();
        eventually(PATIENCE, gone, async || system.stand_in.recordings()[0].is_deleted).await;
        system.settle().await.unwrap();
        let told = system.stand_in.bodies_to(ANN).into_iter().filter(|body| body.contains("Voicemail")).count();
        assert_eq!(told, 0, "{gone}");
        assert_eq!(count(&system.pool, "SELECT count(*) FROM voicemails WHERE token_sha256 IS NOT NULL").await, 0);
        system.shut_down().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_fails_is_tried_again_until_it_succeeds() {
    let system = live_system(1).await;
    system.stand_in.leave_message(CALLER, HERS, SOUND).await.unwrap().unwrap();
    system.settle().await.unwrap();
    system.stand_in.always(Some(Fault::named("503").unwrap()));
    let due = "UPDATE voicemails SET expires_at = now(), next_attempt_at = now()";
    for attempts in 1..=2 {
        execute(&system, due).await;
        let tried = format!("SELECT count(*) FROM voicemails WHERE attempts >= {attempts} AND next_attempt_at > now()");
        eventually(PATIENCE, "it is tried, and due again later", async || count_of(&system, &tried).await == 1).await;
    }
    assert!(!system.stand_in.recordings()[0].is_deleted);
    system.stand_in.always(None);
    // Twilio does not know the other one any more.
    execute(
        &system,
        "INSERT INTO voicemails (recording_sid, recorded_at, expires_at, next_attempt_at)
         VALUES ('RE00000000000000000000000000000000', now(), now(), now())",
    )
    .await;
    execute(&system, due).await;
    rows(&system, 2, "SELECT count(*) FROM voicemails WHERE deleted_at IS NOT NULL").await;
    assert!(system.stand_in.recordings()[0].is_deleted);
    system.shut_down().await.unwrap();
}

/// The address is signed, as every webhook's, and its parameter cannot be exchanged.
#[tokio::test(flavor = "multi_thread")]
async fn a_report_of_a_recording_that_is_not_signed_or_not_complete_is_refused() {
    let system = live_system(1).await;
    let left = system.stand_in.leave_message(CALLER, HERS, SOUND).await.unwrap().unwrap();
    system.settle().await.unwrap();
    let (address, form) = left.report.clone();
    let unsigned = client().post(address.split('#').next().unwrap()).form(&form).send().await.unwrap();
    assert_eq!(unsigned.status(), StatusCode::FORBIDDEN);
    let without_number = (address.split('?').next().unwrap().to_owned(), form.clone());
    assert_eq!(system.stand_in.report(&without_number).await.unwrap().status, 400);
    for (name, value, expected) in
        [("RecordingSid", "RE1", 400), ("CallSid", "CA1", 400), ("RecordingStatus", "absent", 204)]
    {
        let mut changed = form.clone();
        changed.iter_mut().filter(|(it, _)| it == name).for_each(|(_, it)| value.clone_into(it));
        assert_eq!(system.stand_in.report(&(address.clone(), changed)).await.unwrap().status, expected, "{name}");
    }
    let recorded = "SELECT concat_ws(' ', external_id, outcome) FROM events WHERE kind = 'recording_made'";
    assert_eq!(texts(&system.pool, recorded).await, [format!("{} answered", left.sid)]);
    system.shut_down().await.unwrap();
}

/// Has the worker compare Twilio's lists, and waits until it has.
async fn compare(system: &TestSystem) {
    execute(system, "UPDATE audits SET due_at = now()").await;
    eventually(PATIENCE, "the lists are compared", async || {
        count(&system.pool, "SELECT count(*) FROM audits WHERE due_at > now()").await == 1
    })
    .await;
    system.settle().await.unwrap();
    sweep_twice(system).await;
}

fn voicemails_told(system: &TestSystem) -> usize {
    system.stand_in.bodies_to(ANN).iter().filter(|body| body.starts_with("Voicemail")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_whose_report_was_lost_is_found_at_twilio_and_told_once() {
    let system = live_system(1).await;
    let left = system.stand_in.leave_unreported(CALLER, HERS, SOUND).await.unwrap().unwrap();
    system.settle().await.unwrap();
    compare(&system).await;
    assert_eq!(voicemails_told(&system), 0, "its report may be on its way");
    system.stand_in.age_recordings(TimeDelta::minutes(30));
    for _ in 0..2 {
        compare(&system).await;
        eventually(PATIENCE, "its owner is told", async || voicemails_told(&system) == 1).await;
    }
    // Its report comes after all.
    assert_eq!(system.stand_in.report(&left.report).await.unwrap().status, 204);
    system.settle().await.unwrap();
    assert_eq!(voicemails_told(&system), 1);
    let (got, _, body) = ask(Method::GET, &link(&system), None).await;
    assert_eq!((got, body.as_slice()), (200, SOUND));
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_of_no_client_is_deleted_and_one_of_another_number_is_left_alone() {
    let system = live_system(1).await;
    // The number was another client's then. The webhooks of this call are lost too, so Twilio says which number was called.
    execute(&system, "UPDATE twilio_number_pool SET assigned_at = now() - INTERVAL '1 hour'").await;
    let first = format!(
        "INSERT INTO number_changes (number, change, client_id, why, changed_at)
         VALUES ('{HERS}', 'assigned', 'another', 'allocated', now() - INTERVAL '3 hours')"
    );
    execute(&system, &first).await;
    let of_others = system.stand_in.record_call(CALLER, HERS, clock::now() - TimeDelta::hours(4));
    let before = system.stand_in.record_call(CALLER, HERS, clock::now() - TimeDelta::hours(2));
    let hers = system.stand_in.record_call(CALLER, HERS, clock::now() - TimeDelta::minutes(30));
    let not_ours = system.stand_in.record_call(CALLER, "+447700900999", clock::now() - TimeDelta::minutes(30));
    compare(&system).await;
    eventually(PATIENCE, "the one of before is deleted", async || {
        system.stand_in.recordings().iter().any(|it| it.sid == before && it.is_deleted)
    })
    .await;
    let deleted = |sid: &str| system.stand_in.recordings().iter().any(|it| it.sid == sid && it.is_deleted);
    eventually(PATIENCE, "its owner is told of hers", async || voicemails_told(&system) == 1).await;
    let compared = "SELECT count(*) FROM audits WHERE recordings_until > now() - INTERVAL '20 minutes'";
    eventually(PATIENCE, "all are looked at", async || count(&system.pool, compared).await == 1).await;
    assert_eq!((deleted(&hers), deleted(&not_ours)), (false, false));
    assert!(!deleted(&of_others), "it was made before the number had its first client");
    let known = format!("SELECT count(*) FROM voicemails WHERE recording_sid = '{not_ours}'");
    assert_eq!(count_of(&system, &known).await, 0);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_voicemail_no_recording_is_looked_for() {
    let system = test_system(1).await;
    ann_at(&system, "COMPLETE").await;
    let sid = system.stand_in.record_call(CALLER, HERS, clock::now() - TimeDelta::minutes(30));
    compare(&system).await;
    assert_eq!(count(&system.pool, "SELECT count(*) FROM voicemails").await, 0);
    assert!(system.stand_in.recordings().iter().any(|it| it.sid == sid && !it.is_deleted));
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn more_recordings_than_one_comparison_takes_are_taken_by_the_next() {
    let system = live_system(1).await;
    for minutes in 1..=70 {
        system.stand_in.record_call("anonymous", HERS, clock::now() - TimeDelta::minutes(30 + minutes));
    }
    let taken = "SELECT count(*) FROM events WHERE kind = 'recording_made'";
    execute(&system, "UPDATE audits SET due_at = now()").await;
    let reached = "SELECT count(*) FROM audits WHERE recordings_until > now() - INTERVAL '70 minutes'";
    eventually(PATIENCE, "some are taken", async || count(&system.pool, reached).await == 1).await;
    assert_eq!(count(&system.pool, taken).await, 50, "at once");
    execute(&system, "UPDATE audits SET due_at = now()").await;
    eventually(PATIENCE, "the others are taken", async || count(&system.pool, taken).await == 70).await;
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_cannot_be_deleted_for_a_day_raises_an_alert_that_ends_with_its_deletion() {
    let system = live_system(1).await;
    system.stand_in.leave_message(CALLER, HERS, SOUND).await.unwrap().unwrap();
    system.settle().await.unwrap();
    system.stand_in.always(Some(Fault::named("503").unwrap()));
    let open = "SELECT count(*) FROM alerts WHERE cause = 'recordings-kept' AND cleared_at IS NULL";
    execute(&system, "UPDATE voicemails SET expires_at = now() - INTERVAL '23 hours', next_attempt_at = now()").await;
    rows(&system, 1, "SELECT count(*) FROM voicemails WHERE attempts > 0").await;
    sweep_twice(&system).await;
    assert_eq!(count(&system.pool, open).await, 0, "not yet");
    execute(&system, "UPDATE voicemails SET expires_at = now() - INTERVAL '25 hours'").await;
    rows(&system, 1, open).await;
    sweep_twice(&system).await;
    let alert = "SELECT concat_ws('|', times, about) FROM alerts WHERE cause = 'recordings-kept'";
    let shown = texts(&system.pool, alert).await;
    assert!(shown.len() == 1 && shown[0].starts_with("1|1 recording"), "{shown:?}");
    system.stand_in.always(None);
    execute(&system, "UPDATE voicemails SET next_attempt_at = now()").await;
    rows(&system, 0, open).await;
    assert!(system.stand_in.recordings()[0].is_deleted);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_link_holds_four_places_for_listeners_and_leaves_the_others() {
    let system = live_system(1).await;
    let mut links = Vec::new();
    for _ in 0..2 {
        system.stand_in.leave_message(CALLER, HERS, SOUND).await.unwrap().unwrap();
        system.settle().await.unwrap();
        links.push(link(&system));
    }
    // Twilio is slow, so each listener holds its place for some seconds.
    system.stand_in.always(Some(Fault::named("late").unwrap()));
    let listen = |link: &str| {
        let link = link.to_owned();
        tokio::spawn(async move { ask(Method::GET, &link, None).await.0 })
    };
    let listeners: Vec<_> = (0..4).map(|_| listen(&links[0])).collect();
    eventually(PATIENCE, "four listen", async || system.stand_in.recordings()[0].fetched == 4).await;
    assert_eq!(ask(Method::GET, &links[0], None).await.0, 503, "the fifth of one link");
    assert_eq!(system.stand_in.recordings()[0].fetched, 4, "for which Twilio is not asked");
    let other = listen(&links[1]);
    eventually(PATIENCE, "another link has places", async || system.stand_in.recordings()[1].fetched == 1).await;
    // A listener who leaves gives its place back.
    for listener in listeners {
        listener.abort();
    }
    system.stand_in.always(None);
    eventually(PATIENCE, "the places are free again", async || ask(Method::GET, &links[0], None).await.0 == 200).await;
    other.abort();
    system.shut_down().await.unwrap();
}
