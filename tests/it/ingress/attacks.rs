//! Attacks: captured webhooks that are rearranged and replayed, connections without a request, bodies that never end, and floods of
//! refused requests.

use std::collections::BTreeSet;

use futures::{StreamExt, stream};
use jobrun::demo::TestSystem;
use jobrun_tests::{PATIENCE, count, eventually, test_system, texts};
use jobrun_twilio::signature::{self, Form};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const EVENTS: &str = "SELECT count(*) FROM events";

/// Returns the text that Twilio signs for a form: names and values without separators, sorted by name.
fn signed(form: &Form) -> String {
    let sorted: BTreeSet<(&str, &str)> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    sorted.into_iter().flat_map(|(name, value)| [name, value]).collect()
}

/// Returns the offsets, in bytes, at which a text can be split.
fn split_offsets(text: &str) -> impl Iterator<Item = usize> {
    text.char_indices().map(|(at, _)| at).chain([text.len()])
}

/// Returns replacements for consecutive parameters whose signed text is `text`: one parameter with the end of its name anywhere, or
/// two with the boundary anywhere and the end of one name anywhere.
fn replacements(text: &str) -> Vec<Form> {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let one = |text: &str| -> Vec<(String, String)> {
        split_offsets(text).map(|at| pair(&text[..at], &text[at..])).collect()
    };
    let mut forms: Vec<Form> = one(text).into_iter().map(|it| vec![it]).collect();
    for boundary in split_offsets(text) {
        let (first, second) = text.split_at(boundary);
        forms.extend(one(first).into_iter().map(|it| vec![it, pair(second, "")]));
        forms.extend(one(second).into_iter().map(|it| vec![pair(first, ""), it]));
    }
    forms
}

/// Returns every form with the same signed text that differs from the given one in one place: a boundary is moved, a parameter is
/// split in two, two are joined, or one is given twice.
fn rearranged(form: &Form) -> BTreeSet<Form> {
    let mut sorted = form.clone();
    sorted.sort();
    let whole = signed(form);
    let mut forms = BTreeSet::new();
    for first in 0..sorted.len() {
        for after in first + 1..=sorted.len().min(first + 2) {
            for middle in replacements(&signed(&sorted[first..after].to_vec())) {
                let parts = [&sorted[..first], &middle, &sorted[after..]];
                let rearranged: Form = parts.concat();
                if signed(&rearranged) == whole && rearranged != sorted {
                    forms.insert(rearranged);
                }
            }
        }
        let mut twice = sorted.clone();
        twice.push(sorted[first].clone());
        forms.insert(twice);
    }
    forms
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().timeout(PATIENCE).build().unwrap()
}

/// Replays a captured webhook as each of `forms`. Returns each response status with its count.
async fn replay(system: &TestSystem, address: &str, signature: &str, forms: &BTreeSet<Form>) -> Vec<(u16, usize)> {
    let (http, url) = (client(), format!("{}{address}", system.account.webhook_base_url));
    let sent = stream::iter(forms).map(|form| {
        let request = http.post(&url).header(signature::HEADER, signature).form(form);
        async move {
            let response = request.send().await.unwrap();
            let status = response.status().as_u16();
            // The signature of each is valid, but a rearranged form may name another account.
            assert!(status != 403 || response.text().await.unwrap() == "AccountSid is another account's\n", "{form:?}");
            status
        }
    });
    let mut statuses: Vec<u16> = sent.buffer_unordered(16).collect().await;
    statuses.sort_unstable();
    statuses.chunk_by(|one, next| one == next).map(|alike| (alike[0], alike.len())).collect()
}

/// Twilio's signature covers no boundary between names and values, nor the one between the address and the first name.
#[tokio::test(flavor = "multi_thread")]
async fn a_captured_webhook_is_one_event_however_it_is_rearranged() {
    let system = test_system(0).await;
    let text = system.stand_in.text_form("+447900000001", &system.account.onboarding_number, "Plumber from London");
    let call = system.stand_in.call_form(&system.stand_in.new_sid("CA"), "+447900000001", "+447111111111", "ringing");
    let sid = system.stand_in.new_sid("SM");
    let report = [
        ("AccountSid", system.account.sid.as_str()),
        ("ErrorCode", "30003"),
        ("From", "+447476955179"),
        ("MessageSid", &sid),
        ("MessageStatus", "undelivered"),
        ("SmsSid", &sid),
        ("SmsStatus", "undelivered"),
        ("To", "+447900000001"),
    ];
    let report: Form = report.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    for (nth, (address, form)) in
        [("sms", &text), ("voice", &call), ("voice/status", &call), ("sms/status?m=12", &report)]
            .into_iter()
            .enumerate()
    {
        let address = format!("/webhooks/twilio/{address}");
        assert!(system.stand_in.post(&address, form).await.unwrap().status < 300, "{address}");
        // The same call is reported at two addresses.
        let expected = [1, 2, 2, 3][nth];
        assert_eq!(count(&system.pool, EVENTS).await, expected, "{address}");

        let url = format!("{}{address}", system.account.webhook_base_url);
        let signature = signature::sign(&system.account.auth_token, &url, form);
        let forms = rearranged(form);
        assert!(forms.len() > 1000, "{} forms", forms.len());
        let statuses = replay(&system, &address, &signature, &forms).await;
        assert!(statuses.iter().all(|(status, _)| [200, 204, 400, 403].contains(status)), "{statuses:?}");
        assert_eq!(count(&system.pool, EVENTS).await, expected, "{address}: {statuses:?}");

        // The last character of the address becomes the first of the first name.
        let with_two = |form: &Form| [&[("2".to_owned(), String::new())], form.as_slice()].concat();
        let is_signed = |moved: &Form| signed(moved) == format!("2{}", signed(form));
        let moved: BTreeSet<Form> = forms.iter().chain([form]).map(with_two).filter(is_signed).take(100).collect();
        assert_eq!(moved.len(), 100);
        if let Some(shorter) = address.strip_suffix('2') {
            replay(&system, shorter, &signature, &moved).await;
            assert_eq!(count(&system.pool, EVENTS).await, expected, "{shorter}");
        }
    }
    assert_eq!(count(&system.pool, "SELECT count(*) FROM events WHERE payload->>'message_id' = '12'").await, 1);
    system.shut_down().await.unwrap();
}

/// The sender chooses the body of a text and can embed a whole webhook in it, every parameter of which is well-formed.
#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_holds_another_text_is_one_event() {
    let system = test_system(0).await;
    let forged = system.stand_in.new_sid("SM");
    let words = format!("Hi|From+447900000002MessageSid{forged}NumMedia0To{}ToZ", system.account.onboarding_number);
    let form = system.stand_in.text_form("+447900000001", &system.account.onboarding_number, &words.replace('|', ""));
    assert_eq!(system.stand_in.post("/webhooks/twilio/sms", &form).await.unwrap().status, 200);

    let url = format!("{}/webhooks/twilio/sms", system.account.webhook_base_url);
    let signature = signature::sign(&system.account.auth_token, &url, &form);
    let mut rest: Form = form.iter().filter(|(name, _)| name.as_str() > "Body").cloned().collect();
    rest.sort();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let rearranged: Form = [
        pair("AccountSid", &system.account.sid),
        pair("ApiVersion", "2010-04-01"),
        pair("Body", "Hi"),
        pair("From", "+447900000002"),
        pair("MessageSid", &forged),
        pair("NumMedia", "0"),
        pair("To", &system.account.onboarding_number),
        pair("ToZ", &signed(&rest)),
    ]
    .into();
    assert_eq!(signed(&rearranged), signed(&form));
    let answered = replay(&system, "/webhooks/twilio/sms", &signature, &[rearranged].into()).await;
    assert_eq!(answered, [(200, 1)], "known already");
    assert_eq!(texts(&system.pool, "SELECT payload->>'from' FROM events").await, ["+447900000001"]);
    system.shut_down().await.unwrap();
}

fn addr(system: &TestSystem) -> String {
    system.account.webhook_base_url.trim_start_matches("http://").to_owned()
}

/// Returns how many of these connections the ingress has closed.
fn closed(connections: &[TcpStream]) -> usize {
    let is_closed = |it: &&TcpStream| match it.try_read(&mut [0; 64]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    };
    connections.iter().filter(is_closed).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_without_a_request_keep_no_webhook_out() {
    let system = test_system(0).await;
    let addr = addr(&system);
    let mut idle = Vec::new();
    for n in 0..1100 {
        let mut connection = TcpStream::connect(&addr).await.unwrap();
        if n % 2 == 0 {
            connection.write_all(b"POST /webhooks/twilio/sms HTTP/1.1\r\nHost: a\r\n").await.unwrap();
        }
        idle.push(connection);
    }
    let answer = system.stand_in.text("+447900000001", "Plumber from London").await.unwrap();
    assert_eq!(answer.status, 200);
    eventually(PATIENCE, "the oldest connections are closed for the newest", async || closed(&idle) >= 1100 - 900)
        .await;
    eventually(PATIENCE, "every connection without a request is closed", async || closed(&idle) == 1100).await;
    assert_eq!(count(&system.pool, EVENTS).await, 1);
    system.shut_down().await.unwrap();
}

const MEBIBYTE: usize = 1024 * 1024;

/// Sends a request whose body never completes. Returns the start of the response's first line (`HTTP/1.1 403`), or an empty string
/// if the ingress closes the connection without a response.
async fn send_without_end(addr: &str, path: &str, headers: &str, sent: usize) -> String {
    let mut connection = TcpStream::connect(addr).await.unwrap();
    let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\n{headers}Content-Length: {MEBIBYTE}\r\n\r\n");
    connection.write_all(head.as_bytes()).await.unwrap();
    let (mut from, mut to) = connection.into_split();
    let body = tokio::spawn(async move {
        // The ingress may close the connection meanwhile.
        let _ = to.write_all(&vec![b'a'; sent]).await;
        to
    });
    let mut answer = [0; 12];
    let read = from.read_exact(&mut answer).await;
    body.abort();
    if read.is_ok() { String::from_utf8_lossy(&answer).into_owned() } else { String::new() }
}

/// Returns the peak memory of the ingress, in bytes.
fn peak_memory(system: &TestSystem) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", system.ingress.pid().unwrap())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_without_a_signature_are_not_read_and_those_with_one_have_limited_memory() {
    let system = test_system(0).await;
    let addr = addr(&system);
    let before = peak_memory(&system);
    for path in ["/webhooks/twilio/sms", "/webhooks/stripe"] {
        // No byte of the body is sent: the ingress refuses without waiting for it.
        let unsigned = (0..300).map(|_| send_without_end(&addr, path, "", 0));
        let answers = futures::future::join_all(unsigned).await;
        assert!(answers.iter().all(|answer| answer == "HTTP/1.1 403"), "{path}: {answers:?}");
    }
    let signed = "Stripe-Signature: t=1,v1=00\r\n";
    let signed = (0..300).map(|_| send_without_end(&addr, "/webhooks/stripe", signed, MEBIBYTE - 1));
    let (answers, text) =
        tokio::join!(futures::future::join_all(signed), system.stand_in.text("+447900000001", "Plumber from London"));
    assert_eq!(text.unwrap().status, 200, "texts have memory of their own");
    let refused = answers.iter().filter(|answer| *answer == "HTTP/1.1 503").count();
    assert!(refused >= 100, "{refused} are refused for lack of room: {answers:?}");
    let lines = system.ingress.lines();
    assert!(lines.iter().any(|line| line.contains("too many bodies are arriving")), "{lines:?}");
    let taken = (peak_memory(&system) - before) / MEBIBYTE;
    assert!(taken < 70, "{taken} MiB for 16 MiB of bodies, and what each connection takes");
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_refused_requests_is_counted_in_the_log_and_not_listed_one_by_one() {
    const ATTEMPTS: usize = 5000;
    let system = test_system(0).await;
    let http = client();
    let sent = stream::iter(0..ATTEMPTS).map(|nth| {
        let path = if nth % 2 == 0 { "sms".to_owned() } else { format!("attempt-{nth}") };
        let request = http.post(format!("{}/webhooks/twilio/{path}", system.account.webhook_base_url));
        async move { request.send().await.unwrap().status().as_u16() }
    });
    let statuses: Vec<u16> = sent.buffer_unordered(32).collect().await;
    assert!(statuses.iter().all(|status| [403, 404].contains(status)));
    // Each request has a log line of its own or is counted in one; none is missing.
    let count_log_lines = |lines: &[String], status: &str| -> (usize, usize) {
        let of_it: Vec<&String> = lines.iter().filter(|line| line.contains(status)).collect();
        let single = of_it.iter().filter(|line| line.starts_with("a webhook was turned away")).count();
        let counts = of_it.iter().filter_map(|line| line.strip_prefix("and ")?.split_once(" more"));
        (single, counts.map(|(count, _)| count.replace(',', "").parse::<usize>().unwrap()).sum())
    };
    for status in ["status=403", "status=404"] {
        eventually(PATIENCE, "every request is in the log", async || {
            let (single, counted) = count_log_lines(&system.ingress.lines(), status);
            single + counted == ATTEMPTS / 2
        })
        .await;
        let (single, counted) = count_log_lines(&system.ingress.lines(), status);
        assert!(counted > single, "{single} lines, {counted} counted");
    }
    system.shut_down().await.unwrap();
}
