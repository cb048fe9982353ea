//! Malformed input: each kind gets a clear response and changes nothing.

use jobrun::demo::TestSystem;
use jobrun_shared::db;
use jobrun_shared::numbers::seed_release;
use jobrun_tests::{
    PATIENCE, count, empty_database, eventually, numbers, paid_clients, programs, say, test_system, test_system_with,
    texts,
};
use jobrun_twilio::signature::{self, Algorithm, Content, Form, Key, RawForm};
use secrecy::{ExposeSecret, SecretString};

const EVENTS: &str = "SELECT count(*) FROM events";

const FORM: &str = "application/x-www-form-urlencoded";

/// Posts raw bytes as a form. Returns status and body of the response.
async fn post(url: &str, signature: Option<&str>, body: Vec<u8>) -> (u16, String) {
    post_as(FORM, url, signature, body).await
}

/// Posts raw bytes with a content type. Returns status and body of the response.
async fn post_as(content_type: &str, url: &str, signature: Option<&str>, body: Vec<u8>) -> (u16, String) {
    let http = reqwest::Client::builder().timeout(PATIENCE).build().unwrap();
    let mut request = http.post(url).header("content-type", content_type).body(body);
    if let Some(signature) = signature {
        request = request.header(signature::HEADER, signature);
    }
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

fn encoded(form: &Form) -> Vec<u8> {
    reqwest::Client::builder()
        .build()
        .unwrap()
        .post("http://localhost")
        .form(form)
        .build()
        .unwrap()
        .body()
        .unwrap()
        .as_bytes()
        .unwrap()
        .to_vec()
}

/// Returns the ingress's log lines about webhooks that it refused, or let in despite their signature.
fn refusals(system: &TestSystem) -> Vec<String> {
    system.ingress.lines().into_iter().filter(|line| line.starts_with("a webhook was ")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_twilio_did_not_sign_leaves_only_a_log_line() {
    let system = test_system(1).await;
    let account = &system.account;
    let form = system.stand_in.text_form("+447900000001", &account.onboarding_number, "Plumber from London");
    let mut changed = form.clone();
    changed.push(("Body".to_owned(), "another".to_owned()));
    let whole = encoded(&form);
    let truncated = whole[..whole.len() - 4].to_vec();
    for path in ["sms", "sms/status", "voice", "voice/status"] {
        let url = format!("{}/webhooks/twilio/{path}", account.webhook_base_url);
        let good = signature::sign(&account.auth_token, &url, &form);
        let strangers = signature::sign(&SecretString::from("guess"), &url, &form);
        let other_address = signature::sign(&account.auth_token, &format!("{url}?m=1"), &form);
        let other_scheme = signature::sign(&account.auth_token, &url.replace("http://", "https://"), &form);
        let other_algorithm = Key { algorithm: Algorithm::HmacSha256, secret: account.auth_token.clone() };
        let other_algorithm = signature::sign_with(&other_algorithm, &url, Content::Form(&form));
        for (signature, body, why) in [
            (None, &whole, "X-Twilio-Signature is missing"),
            (Some(""), &whole, "X-Twilio-Signature is not a signature"),
            (Some(strangers.as_str()), &whole, "the token is another, or the content was changed"),
            (Some(other_address.as_str()), &whole, "the token is another, or the content was changed"),
            (Some(other_scheme.as_str()), &whole, "PUBLIC_BASE_URL has http for https"),
            (Some(other_algorithm.as_str()), &whole, "it matches by HMAC-SHA256"),
            (Some(&good[..20]), &whole, "X-Twilio-Signature is not a signature"),
            (Some(good.as_str()), &encoded(&changed), "the token is another, or the content was changed"),
            (Some(good.as_str()), &truncated, "the token is another, or the content was changed"),
        ] {
            let before = refusals(&system).len();
            let (status, answer) = post(&url, signature, body.clone()).await;
            assert_eq!((status, answer.as_str()), (403, "X-Twilio-Signature is missing or does not match\n"), "{path}");
            eventually(PATIENCE, "it is in the log", async || refusals(&system).len() > before).await;
            let line = refusals(&system).pop().unwrap();
            let named = line.contains(why) && line.contains(&format!("path=\"/webhooks/twilio/{path}\" status=403"));
            assert!(named, "{why}: {line}");
        }
    }
    assert_eq!(refusals(&system).len(), 4 * 9, "one line each");
    assert_eq!(count(&system.pool, EVENTS).await, 0);
    let printed = system.ingress.lines().join("\n");
    assert!(!printed.contains("7900000001") && !printed.contains(account.auth_token.expose_secret()), "{printed}");
    system.shut_down().await.unwrap();
}

/// The ingress accepts forms only, and says so only to a request with a valid signature.
#[tokio::test(flavor = "multi_thread")]
async fn a_json_body_is_refused_for_its_signature_or_for_being_json() {
    let system = test_system(0).await;
    let (account, body) = (&system.account, br#"{"property": "value", "boolean": true}"#);
    let token = Key { algorithm: Algorithm::HmacSha1, secret: account.auth_token.clone() };
    let bare = format!("{}/webhooks/twilio/sms", account.webhook_base_url);
    let url = format!("{bare}?bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620");
    let good = signature::sign_with(&token, &url, Content::Json(body));
    let unhashed = signature::sign_with(&token, &bare, Content::Json(body));
    let strangers =
        signature::sign_with(&Key { secret: SecretString::from("guess"), ..token }, &url, Content::Json(body));
    for (url, signature, body, expected) in [
        (&url, Some(&good), &body[..], (400, "the body is not a form in UTF-8\n")),
        (&url, Some(&good), b"{}", (403, "X-Twilio-Signature is missing or does not match\n")),
        (&url, Some(&strangers), body, (403, "X-Twilio-Signature is missing or does not match\n")),
        (&bare, Some(&unhashed), body, (403, "X-Twilio-Signature is missing or does not match\n")),
        (&url, None, body, (403, "X-Twilio-Signature is missing or does not match\n")),
    ] {
        let signature = signature.map(String::as_str);
        let (status, answer) = post_as("Application/JSON; charset=utf-8", url, signature, body.to_vec()).await;
        assert_eq!((status, answer.as_str()), expected, "{url}");
    }
    eventually(PATIENCE, "all refusals are in the log", async || refusals(&system).len() == 5).await;
    let whys = [
        "the body is not a form",
        "whose bodySHA256 was signed",
        "the token is another",
        "has no bodySHA256",
        "X-Twilio-Signature is missing",
    ];
    for (line, why) in refusals(&system).iter().zip(whys) {
        assert!(line.contains(why), "{why}: {line}");
    }
    assert_eq!(count(&system.pool, EVENTS).await, 0);
    system.shut_down().await.unwrap();
}

/// During rotation both shared keys are accepted. With `sha256` alone, no signature by the auth token is.
#[tokio::test(flavor = "multi_thread")]
async fn a_shared_key_is_accepted_where_it_is_set_up() {
    let settings = [("TWILIO_SIGNATURE_ALGORITHMS", "sha256"), ("TWILIO_SHARED_KEYS", "old,new")];
    let system = test_system_with(0, &settings).await;
    let account = &system.account;
    let form = system.stand_in.text_form("+447900000001", &account.onboarding_number, "Plumber from London");
    let url = format!("{}/webhooks/twilio/sms", account.webhook_base_url);
    for (algorithm, secret, expected) in [
        (Algorithm::HmacSha256, SecretString::from("old"), 200),
        (Algorithm::HmacSha256, SecretString::from("new"), 200),
        (Algorithm::HmacSha256, account.auth_token.clone(), 403),
        (Algorithm::HmacSha1, account.auth_token.clone(), 403),
        (Algorithm::HmacSha1, SecretString::from("new"), 403),
    ] {
        let signature = signature::sign_with(&Key { algorithm, secret }, &url, Content::Form(&form));
        let (status, _) = post(&url, Some(&signature), encoded(&form)).await;
        assert_eq!(status, expected, "{algorithm}");
    }
    assert_eq!(count(&system.pool, EVENTS).await, 1);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn in_report_mode_a_signature_mismatch_is_let_in_counted_and_explained() {
    let mut system = test_system_with(1, &[("TWILIO_SIGNATURE_MODE", "report")]).await;
    system.ingress.wait_for_line("TWILIO_SIGNATURE_MODE is report", PATIENCE).await.unwrap();
    let account = system.account.clone();
    let url = format!("{}/webhooks/twilio/sms", account.webhook_base_url);
    for (nth, (token, signed, why)) in [
        (SecretString::from("guess"), url.clone(), "the token is another, or the content was changed"),
        (account.auth_token.clone(), url.replace("http://", "https://"), "PUBLIC_BASE_URL has http for https"),
    ]
    .into_iter()
    .enumerate()
    {
        let form = system.stand_in.text_form("+447900000001", &account.onboarding_number, "Plumber from London");
        let signature = signature::sign(&token, &signed, &form);
        let (status, answer) = post(&url, Some(&signature), encoded(&form)).await;
        assert_eq!((status, answer.as_str()), (200, "<Response/>"));
        system.ingress.wait_for_line(&format!("mismatches={}", nth + 1), PATIENCE).await.unwrap();
        let line = refusals(&system).pop().unwrap();
        assert!(line.contains("let in") && line.contains(why) && line.contains("/webhooks/twilio/sms"), "{line}");
    }
    assert_eq!(say(&system, "+447900000002", "Plumber from London").await.len(), 1);
    assert_eq!(refusals(&system).len(), 2, "a valid signature leaves no line");
    assert_eq!(count(&system.pool, "SELECT count(*) FROM events WHERE kind = 'text'").await, 3);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_parameter_is_refused_by_name_and_a_body_that_is_no_form_is_refused() {
    let system = test_system(1).await;
    let base = format!("{}/webhooks/twilio", system.account.webhook_base_url);
    let text = system.stand_in.text_form("+447900000001", &system.account.onboarding_number, "Hi");
    let sid = system.stand_in.new_sid("CA");
    let call = system.stand_in.call_form(&sid, "+447900000001", "+447111111111", "ringing");
    for (path, whole, needed) in [
        ("sms", &text, &["MessageSid", "From", "To", "AccountSid"][..]),
        ("voice", &call, &["CallSid", "CallStatus", "To"]),
        ("voice/status", &call, &["CallSid", "To"]),
    ] {
        for name in needed {
            let form: Form = whole.iter().filter(|(key, _)| key != name).cloned().collect();
            let answer = system.stand_in.post(&format!("/webhooks/twilio/{path}"), &form).await.unwrap();
            assert_eq!((answer.status, answer.body), (400, format!("{name} is missing\n")), "{path}");
        }
    }
    let signed_json = signature::sign(&system.account.auth_token, &format!("{base}/sms"), &Form::new());
    let (status, _) = post_as("application/json", &format!("{base}/sms"), Some(&signed_json), b"{}".to_vec()).await;
    assert_eq!(status, 403);
    let (status, _) = post(&format!("{base}/sms"), Some("junk"), vec![b'a'; (1 << 16) + 1]).await;
    assert_eq!(status, 413);
    let (status, _) = post(&format!("{}/nowhere", system.account.webhook_base_url), None, Vec::new()).await;
    assert_eq!(status, 404);
    let answer = system.stand_in.post("/webhooks/twilio/sms/status?m=seven", &text).await.unwrap();
    assert_eq!(answer.status, 400);
    assert_eq!(reqwest::get(format!("{base}/voice")).await.unwrap().status().as_u16(), 405);
    eventually(PATIENCE, "the last is in the log", async || {
        refusals(&system).last().is_some_and(|line| line.contains("status=405"))
    })
    .await;
    let lines = refusals(&system);
    assert_eq!(lines.len(), 13, "one for each but the address that does not exist: {lines:#?}");
    for why in ["MessageSid is missing", "CallStatus is missing", "has no bodySHA256", "Payload Too Large"] {
        assert!(lines.iter().any(|line| line.contains(why) && line.contains("path=\"/webhooks/twilio/")), "{lines:#?}");
    }
    assert_eq!(count(&system.pool, EVENTS).await, 0);
    system.shut_down().await.unwrap();
}

/// The signature of each form is valid, but a parameter is malformed, as after a boundary between parameters was moved.
#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_parameter_is_refused_by_name_and_changes_nothing() {
    let system = test_system(0).await;
    let with = |form: &Form, name: &str, value: &str| -> Form {
        let set =
            |(key, old): &(String, String)| (key.clone(), if key == name { value.to_owned() } else { old.clone() });
        form.iter().map(set).collect()
    };
    let text = system.stand_in.text_form("+447900000001", &system.account.onboarding_number, "Hi");
    let sid = system.stand_in.new_sid("CA");
    let call = system.stand_in.call_form(&sid, "+447900000001", "+447111111111", "ringing");
    let mut report = with(&text, "SmsStatus", "sent");
    report.push(("MessageStatus".to_owned(), "sent".to_owned()));
    let merged = format!("{}NumMedia0", system.stand_in.new_sid("SM"));
    for (path, whole, name, value) in [
        ("sms", &text, "MessageSid", merged.as_str()),
        ("sms", &text, "MessageSid", "SM1"),
        ("sms", &text, "From", "+447900000001FromCityLondon"),
        ("sms", &text, "From", "sip:anybody@example.com"),
        ("sms", &text, "To", "+447476955179ToCountryGB"),
        ("sms", &text, "To", "07476955179"),
        ("voice", &call, "CallSid", merged.as_str()),
        ("voice", &call, "CallStatus", "answered"),
        ("voice/status", &call, "CallStatus", "ringingCalled"),
        ("voice/status", &call, "To", "+44"),
        ("sms/status", &report, "MessageSid", sid.as_str()),
        ("sms/status", &report, "MessageStatus", "eaten"),
        ("sms/status", &report, "To", "Vodafone"),
    ] {
        let answer =
            system.stand_in.post(&format!("/webhooks/twilio/{path}"), &with(whole, name, value)).await.unwrap();
        let expected = format!("{name} does not have the form in which Twilio writes it\n");
        assert_eq!((answer.status, answer.body), (400, expected), "{path} {value}");
    }
    for (name, expected) in
        [("From", "From is given more than once\n"), ("+447900000009", "a parameter is given more than once\n")]
    {
        let twice =
            [(name, "+447900000002"), (name, "+447900000003")].map(|(name, it)| (name.to_owned(), it.to_owned()));
        let form: Form = text.iter().filter(|(key, _)| key != name).cloned().chain(twice).collect();
        let answer = system.stand_in.post("/webhooks/twilio/sms", &form).await.unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (400, expected));
    }
    let others = with(&text, "AccountSid", "AC00000000000000000000000000000bad");
    let answer = system.stand_in.post("/webhooks/twilio/sms", &others).await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (403, "AccountSid is another account's\n"));
    assert_eq!(count(&system.pool, EVENTS).await, 0);
    let printed = system.ingress.lines().join("\n");
    assert!(!printed.contains("7900000") && !printed.contains("0bad"), "{printed}");
    system.shut_down().await.unwrap();
}

/// A picture may arrive without a body. Some phones and networks send a text with half a character.
#[tokio::test(flavor = "multi_thread")]
async fn a_text_without_a_body_and_one_that_is_not_utf8_are_accepted_as_texts() {
    let system = test_system(1).await;
    let url = format!("{}/webhooks/twilio/sms", system.account.webhook_base_url);
    let mut picture = system.stand_in.text_form("+447900000001", &system.account.onboarding_number, "");
    picture.retain(|(name, _)| name != "Body");
    assert_eq!(system.stand_in.post("/webhooks/twilio/sms", &picture).await.unwrap().status, 200);

    let form = system.stand_in.text_form("+447900000002", &system.account.onboarding_number, "Caf\u{E9} in Leeds");
    // In Latin-1, é is one byte that is not valid UTF-8.
    let bytes: RawForm = form.iter().map(|(name, value)| (latin1(name), latin1(value))).collect();
    let body: Vec<String> = bytes.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value))).collect();
    let key = Key { algorithm: Algorithm::HmacSha1, secret: system.account.auth_token.clone() };
    let signature = signature::sign_with(&key, &url, Content::Raw(&bytes));
    let replaced = form.iter().map(|(name, value)| (name.clone(), value.replace('\u{E9}', "\u{FFFD}"))).collect();
    let of_the_text = signature::sign(&system.account.auth_token, &url, &replaced);
    assert_eq!(post(&url, Some(&of_the_text), body.join("&").into()).await.0, 403, "the signature covers the bytes");
    assert_eq!(post(&url, Some(&signature), body.join("&").into()).await.0, 200);
    system.settle().await.unwrap();
    let bodies = texts(&system.pool, "SELECT payload->>'body' FROM events WHERE kind = 'text' ORDER BY id").await;
    assert_eq!(bodies, ["", "Caf\u{FFFD} in Leeds"]);
    assert!(system.stand_in.bodies_to("+447900000002")[0].contains("name of your business"));
    system.shut_down().await.unwrap();
}

fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|it| u8::try_from(u32::from(it)).unwrap()).collect()
}

/// Returns the bytes, each percent-encoded.
fn escaped(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_from_a_sender_that_is_not_a_phone_is_kept_and_makes_no_client() {
    let system = test_system(1).await;
    for sender in ["12345", "Vodafone", "anonymous", "+44 7900 000001", "07900000001"] {
        assert!(say(&system, sender, "Plumber from London").await.is_empty());
    }
    let outcomes = texts(&system.pool, "SELECT DISTINCT outcome FROM events").await;
    assert_eq!(outcomes, ["sender_cannot_be_answered"]);
    assert_eq!(count(&system.pool, EVENTS).await, 5);
    assert_eq!(count(&system.pool, "SELECT count(*) FROM clients").await, 0);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_who_texts_a_pool_number_is_told_once_which_number_to_text() {
    let system = test_system(1).await;
    seed_release::seed(&system.pool, &numbers(1)).await.unwrap();
    for body in ["Are you free on Monday?", "Hello?", "STOP"] {
        system.stand_in.text_to("+447700900123", "+447100000001", body).await.unwrap();
        system.settle().await.unwrap();
    }
    system.stand_in.call("+447700900123", "+447100000001").await.unwrap();
    system.settle().await.unwrap();
    let sent: Vec<(String, String)> = system.stand_in.messages().into_iter().map(|it| (it.from, it.body)).collect();
    let words = "This number takes calls only. To join JobRun, please text +447476955179.".to_owned();
    assert_eq!(sent, [("+447100000001".to_owned(), words)]);
    assert_eq!(count(&system.pool, "SELECT count(*) FROM clients").await, 0);
    let recorded =
        count(&system.pool, "SELECT count(*) FROM events WHERE kind <> 'delivery_report' AND outcome IS NOT NULL");
    assert_eq!(recorded.await, 5);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_characters_empty_texts_and_long_texts_are_answered() {
    let system = test_system(1).await;
    assert_eq!(say(&system, "+447900000001", "Plumber\0 from\u{202E} Łódź 👩‍🔧").await.len(), 1);
    assert_eq!(say(&system, "+447900000001", "").await.len(), 1, "a picture without words");
    assert_eq!(say(&system, "+447900000001", &"long ".repeat(320)).await.len(), 1);
    assert_eq!(texts(&system.pool, "SELECT current_state FROM onboarding_states").await, ["S2_BUSINESS_NAME"]);
    system.shut_down().await.unwrap();
}

/// A constraint that was added by hand makes the rows of one client fail.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_cannot_be_saved_delays_only_its_own_client() {
    let system = test_system(1).await;
    paid_clients(&system.pool, "client", 20).await;
    sqlx::raw_sql("ALTER TABLE messages ADD CONSTRAINT somebody_s_mistake CHECK (client_id <> 'client-7')")
        .execute(&system.pool)
        .await
        .unwrap();
    let all = (1..=20).map(|n| async move { jobrun_tests::phone(n) });
    for phone in futures::future::join_all(all).await {
        assert_eq!(system.stand_in.text(&phone, "Plumber from London").await.unwrap().status, 200);
    }
    eventually(PATIENCE, "the others are answered", async || system.stand_in.messages().len() == 19).await;
    assert_eq!(
        count(&system.pool, "SELECT count(*) FROM events WHERE kind = 'text' AND processed_at IS NULL").await,
        1
    );
    for mend in ["ALTER TABLE messages DROP CONSTRAINT somebody_s_mistake", "UPDATE events SET due_at = NULL"] {
        sqlx::raw_sql(mend).execute(&system.pool).await.unwrap();
    }
    system.settle().await.unwrap();
    assert_eq!(
        system.stand_in.messages().len(),
        20,
        "once the constraint is gone, the last client is answered as well"
    );
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn seeds_are_added_once_and_an_invalid_number_is_named_and_nothing_is_added() {
    let system = test_system_with(1, &[("TWILIO_POOL_NUMBERS", "+447111111111, +447111111112,+447111111111")]).await;
    let (code, stdout, _) = system.operator(&["pool", "seed"]).await.unwrap();
    assert_eq!((code, stdout.as_str()), (0, "2 new, 0 known already\n"));
    let (code, stdout, _) = system.operator(&["pool", "seed", "+447111111112", "+447111111113"]).await.unwrap();
    assert_eq!((code, stdout.as_str()), (0, "1 new, 1 known already\n"));
    let (code, stdout, stderr) =
        system.operator(&["pool", "seed", "+447111111114", "07111111115", "+44", "hello"]).await.unwrap();
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert!(["+44", "hello"].iter().all(|wrong| stderr.contains(wrong)), "{stderr}");
    assert_eq!(count(&system.pool, "SELECT count(*) FROM twilio_number_pool").await, 3);
    let (code, _, stderr) = system.operator(&["pool", "release", "+447111111119"]).await.unwrap();
    assert!(code == 1 && stderr.contains("not in the pool"), "{stderr}");
    system.shut_down().await.unwrap();
}

/// Runs a program until it ends. Returns its exit code and everything it printed.
async fn run(program: &str, arguments: &[&str], settings: &[(&str, &str)]) -> (i32, String) {
    let mut command = tokio::process::Command::new(programs().join(program));
    command.args(arguments).env_clear().envs(settings.iter().copied()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends").unwrap();
    let printed = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(printed).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_that_cannot_start_say_why_and_never_show_the_password() {
    let unmigrated = empty_database().await;
    let settings = |url: &str| -> Vec<(&'static str, String)> {
        vec![
            ("DATABASE_URL", url.to_owned()),
            ("TWILIO_ACCOUNT_SID", "AC1".to_owned()),
            ("TWILIO_AUTH_TOKEN", "hush".to_owned()),
            ("PUBLIC_BASE_URL", "http://localhost".to_owned()),
            ("INGRESS_ADDR", "127.0.0.1:0".to_owned()),
        ]
    };
    let nobody = "postgres://jobrun:hush@127.0.0.1:1/jobrun".to_owned();
    let wrong = unmigrated.expose_secret().replace("jobrun:", "jobrun:hush");
    let cases = [
        (unmigrated.expose_secret().to_owned(), "run `jobrun migrate`"),
        (nobody, "no database at 127.0.0.1:1/jobrun"),
        (wrong, "password authentication failed"),
        ("mysql://hush@localhost".to_owned(), "DATABASE_URL"),
        ("postgres://hush@localhost:hush/jobrun".to_owned(), "DATABASE_URL cannot be read"),
    ];
    for (url, expected) in cases {
        let settings = settings(&url);
        let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let programs = [("jobrun-ingress", &[][..]), ("jobrun-worker", &[]), ("jobrun", &["pool", "status"])];
        for (program, arguments) in programs {
            let (code, printed) = run(program, arguments, &settings).await;
            assert!(
                code != 0 && printed.contains(expected) && !printed.contains("hush"),
                "{program}: {code} {printed}"
            );
        }
    }
    let (code, printed) = run("jobrun-worker", &[], &[]).await;
    let named = ["DATABASE_URL", "TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "PUBLIC_BASE_URL"];
    assert!(code != 0 && named.iter().all(|name| printed.contains(name)), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn migrating_twice_at_once_is_safe_and_makes_the_database_ready() {
    let url = empty_database().await;
    let settings = [("DATABASE_URL", url.expose_secret())];
    let (one, two) = tokio::join!(run("jobrun", &["migrate"], &settings), run("jobrun", &["migrate"], &settings));
    assert_eq!((one.0, two.0), (0, 0), "{} {}", one.1, two.1);
    let pool = db::connect(&url, jobrun::CONNECTIONS).await.unwrap();
    db::ensure_migrated(&pool).await.unwrap();
    let (code, printed) = run("jobrun", &["migrate"], &settings).await;
    assert!(code == 0, "{printed}");
}
