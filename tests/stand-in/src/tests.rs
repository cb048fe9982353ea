//! Tests of the stand-in, as its callers see it.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use axum::http::StatusCode;
use reqwest::{RequestBuilder, Response};
use secrecy::SecretString;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::stripe::{self, Sale};
use crate::stripe_api;
use crate::{Account, DeliveryOutcome, Fault, Misbehaviour, Reports, StandIn};

const PHONE: &str = "+447900000001";
const NUMBER: &str = "+447100000000";

/// Starts a stand-in whose webhooks reach no server.
async fn stand_in() -> StandIn {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    stand_in_beside(nobody).await
}

/// Starts a stand-in whose webhooks go to `addr`.
async fn stand_in_beside(addr: SocketAddr) -> StandIn {
    let account = Account {
        sid: "AC00000000000000000000000000000000".to_owned(),
        auth_token: SecretString::from("token"),
        stripe_secret: SecretString::from(stripe::SECRET),
        stripe_api_key: SecretString::from(stripe_api::KEY),
        onboarding_number: NUMBER.to_owned(),
        webhook_base_url: format!("http://{addr}"),
        delivery_reports: true,
    };
    StandIn::start(TcpListener::bind("127.0.0.1:0").await.unwrap(), account)
}

fn path(stand_in: &StandIn, rest: &str) -> String {
    format!("/2010-04-01/Accounts/{}/{rest}", stand_in.state.account.sid)
}

fn authorised(stand_in: &StandIn, request: RequestBuilder) -> RequestBuilder {
    request.basic_auth(&stand_in.state.account.sid, Some("token"))
}

async fn create_with(stand_in: &StandIn, fields: &[(&str, &str)]) -> reqwest::Result<Response> {
    let form: Vec<(&str, &str)> = [("To", PHONE), ("From", NUMBER)].into_iter().chain(fields.iter().copied()).collect();
    let url = stand_in.url() + &path(stand_in, "Messages.json");
    authorised(stand_in, stand_in.state.http.post(url)).form(&form).send().await
}

async fn create(stand_in: &StandIn, body: &str) -> reqwest::Result<Response> {
    create_with(stand_in, &[("Body", body)]).await
}

async fn get(stand_in: &StandIn, path: &str) -> (u16, Value) {
    let request = stand_in.state.http.get(stand_in.url() + path);
    let response = authorised(stand_in, request).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

/// Returns the bodies of the messages on a page.
fn bodies(page: &Value) -> Vec<&str> {
    page["messages"].as_array().unwrap().iter().map(|message| message["body"].as_str().unwrap()).collect()
}

async fn listed(stand_in: &StandIn, query: &str) -> Vec<String> {
    let (status, page) = get(stand_in, &path(stand_in, &format!("Messages.json?{query}"))).await;
    assert_eq!(status, 200, "{page}");
    bodies(&page).into_iter().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_fault_drops_the_connection_before_or_after_the_text_is_accepted() {
    let stand_in = stand_in().await;
    for (fault, taken) in [(Fault::DroppedBefore, 0), (Fault::DroppedAfter, 1)] {
        stand_in.fail_next(fault);
        let error = create(&stand_in, "Hi").await.unwrap_err();
        assert!(!error.is_connect() && !error.is_timeout() && error.status().is_none(), "{error:?}");
        assert_eq!(listed(&stand_in, "").await.len(), taken, "{fault}");
        assert_eq!(stand_in.count(&fault.to_string()), 1);
    }
    assert_eq!(create(&stand_in, "Hi").await.unwrap().status(), 201, "the next message is accepted");
}

#[tokio::test]
async fn faults_come_in_the_order_in_which_they_were_ordered() {
    let stand_in = stand_in().await;
    let faults = [Fault::RetryAfter, Fault::ErrorAfter, Fault::Unreadable, Fault::Refused(21610)];
    faults.into_iter().for_each(|fault| stand_in.fail_next(fault));
    let limited = create(&stand_in, "1").await.unwrap();
    assert_eq!((limited.status().as_u16(), limited.headers()["retry-after"].to_str().unwrap()), (429, "1"));
    assert_eq!(create(&stand_in, "2").await.unwrap().status(), 500);
    let unreadable = create(&stand_in, "3").await.unwrap();
    assert_eq!(unreadable.status(), 201);
    assert!(unreadable.json::<Value>().await.is_err());
    let refused: Value = create(&stand_in, "4").await.unwrap().json().await.unwrap();
    assert_eq!((&refused["code"], &refused["status"]), (&21610.into(), &400.into()));
    assert_eq!(listed(&stand_in, "").await, ["3", "2"]);
    assert_eq!(stand_in.refusals().len(), 4);
}

#[tokio::test]
async fn a_permanent_fault_affects_lists_and_fetches_as_well() {
    let stand_in = stand_in().await;
    stand_in.always(Some(Fault::Unauthorised));
    assert_eq!(create(&stand_in, "Hi").await.unwrap().status(), 401);
    for file in ["Messages.json", "Messages/SM1.json"] {
        let (status, problem) = get(&stand_in, &path(&stand_in, file)).await;
        assert_eq!((status, &problem["code"]), (401, &20003.into()));
    }
    assert_eq!(stand_in.count("401"), 3);
    stand_in.always(None);
    assert_eq!(create(&stand_in, "Hi").await.unwrap().status(), 201);
}

#[tokio::test]
async fn a_message_is_fetched_by_its_sid_and_shows_its_final_status() {
    let stand_in = stand_in().await;
    stand_in.set_delivery_outcome(DeliveryOutcome::Undelivered(30003));
    let created: Value = create(&stand_in, "Hi").await.unwrap().json().await.unwrap();
    assert_eq!((&created["status"], &created["date_sent"]), (&"queued".into(), &Value::Null));
    let (status, fetched) = get(&stand_in, created["uri"].as_str().unwrap()).await;
    assert_eq!((status, &fetched["status"], &fetched["error_code"]), (200, &"undelivered".into(), &30003.into()));
    assert_eq!(fetched["date_sent"], fetched["date_created"]);
    let (status, problem) = get(&stand_in, &path(&stand_in, "Messages/SM0.json")).await;
    assert_eq!((status, &problem["code"]), (404, &20404.into()));
}

#[tokio::test]
async fn pages_of_the_list_link_to_each_other_even_if_messages_are_sent_meanwhile() {
    let stand_in = stand_in().await;
    for n in 1..=5 {
        create(&stand_in, &n.to_string()).await.unwrap();
    }
    let query = "Messages.json?PageSize=2&To=%2B447900000001";
    let (_, first) = get(&stand_in, &path(&stand_in, query)).await;
    create(&stand_in, "6").await.unwrap();
    let (_, second) = get(&stand_in, first["next_page_uri"].as_str().unwrap()).await;
    let (_, third) = get(&stand_in, second["next_page_uri"].as_str().unwrap()).await;
    assert_eq!((bodies(&first), bodies(&second), bodies(&third)), (vec!["5", "4"], vec!["3", "2"], vec!["1"]));
    assert_eq!((&second["page"], &third["next_page_uri"]), (&1.into(), &Value::Null));
    for wrong in ["PageSize=0", "PageSize=1001", "DateSent=yesterday"] {
        assert_eq!(get(&stand_in, &path(&stand_in, &format!("Messages.json?{wrong}"))).await.0, 400, "{wrong}");
    }
}

#[tokio::test]
async fn an_inbound_text_is_kept_and_listed_even_if_its_webhook_cannot_be_delivered() {
    let stand_in = stand_in().await;
    stand_in.text(PHONE, "Hello").await.unwrap_err();
    stand_in.set_delivery_outcome(DeliveryOutcome::Queued);
    create(&stand_in, "Not sent yet").await.unwrap();
    let (_, page) = get(&stand_in, &path(&stand_in, "Messages.json?To=%2B447100000000")).await;
    let message = &page["messages"][0];
    assert_eq!((&message["direction"], &message["status"]), (&"inbound".into(), &"received".into()));
    assert_eq!(stand_in.messages().len(), 1);

    stand_in.state.messages()[0].date_sent = Some("2026-11-22T10:00:00.5Z".parse().unwrap());
    for (query, expected) in [
        ("DateSent%3E=2026-11-22T10:00:00Z", 1),
        ("DateSent>=2026-11-22T10:00:01Z", 0),
        ("DateSent%3E%3D=2026-11-22", 1),
        ("DateSent%3C=2026-11-22T10:00:00Z", 1),
        ("DateSent<=2026-11-22T09:59:59Z", 0),
        ("DateSent=2026-11-22", 1),
        ("DateSent=2026-11-21", 0),
    ] {
        assert_eq!(listed(&stand_in, query).await.len(), expected, "{query}");
    }
}

#[tokio::test]
async fn a_validity_period_out_of_range_is_refused() {
    let stand_in = stand_in().await;
    for (seconds, status) in [("0", 400), ("1", 201), ("36000", 201), ("36001", 400), ("soon", 400)] {
        let response = create_with(&stand_in, &[("Body", "Hi"), ("ValidityPeriod", seconds)]).await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{seconds}");
    }
    assert_eq!(stand_in.messages()[0].validity_period, Some(1));
}

#[tokio::test]
async fn under_random_faults_every_text_is_accepted_after_retries_and_soon_listed() {
    let stand_in = stand_in().await;
    stand_in.misbehave(Misbehaviour { seed: 1, percent: 60 });
    for n in 0..20 {
        let body = n.to_string();
        let taken = || stand_in.messages().iter().any(|message| message.body == body);
        while !taken() {
            // The timeout is shorter than a late response.
            let _ = tokio::time::timeout(Duration::from_millis(200), create(&stand_in, &body)).await;
        }
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    stand_in.misbehave(Misbehaviour { seed: 1, percent: 0 });
    assert_eq!(listed(&stand_in, "").await.len(), stand_in.messages().len());
    assert!(!stand_in.refusals().is_empty());
}

#[tokio::test]
async fn a_form_orders_faults_and_an_invalid_order_is_refused() {
    let stand_in = stand_in().await;
    let order = async |form: &'static str| {
        let request = stand_in.state.http.post(stand_in.url() + "/faults").body(form);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(order("next=503&end=failed-30007&reports=missing&seed=7&percent=0").await, 200);
    assert_eq!(create(&stand_in, "Hi").await.unwrap().status(), 503);
    assert_eq!(order("always=21611").await, 200);
    assert_eq!(create(&stand_in, "Hi").await.unwrap().status(), 400);
    assert_eq!(order("always=none").await, 200);
    assert_eq!(create(&stand_in, "Hi").await.unwrap().status(), 201);
    assert_eq!(stand_in.messages()[0].error_code, Some(30007));
    for wrong in ["next=sunday", "always=", "end=well", "reports=often", "seed=7", "seed=7&percent=101"] {
        assert_eq!(order(wrong).await, 400, "{wrong}");
    }
}

/// Starts a server that refuses every webhook, and passes on its body.
async fn refuser() -> (SocketAddr, UnboundedReceiver<String>) {
    let (sender, bodies) = unbounded_channel();
    let refuse = async move |body: String| {
        sender.send(body).unwrap();
        (StatusCode::FORBIDDEN, "no")
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let router = axum::Router::new().fallback(refuse);
    tokio::spawn(async move { axum::serve(listener, router).await });
    (addr, bodies)
}

#[tokio::test]
async fn delivery_reports_are_sent_as_ordered_and_carry_the_error_code() {
    let (addr, mut bodies) = refuser().await;
    let stand_in = stand_in_beside(addr).await;
    stand_in.set_delivery_outcome(DeliveryOutcome::Undelivered(30003));
    let callback = format!("http://{addr}/status?m=1");
    for (reports, expected) in [
        (Reports::InOrder, &["sent", "undelivered"][..]),
        (Reports::Twice, &["sent", "sent", "undelivered", "undelivered"]),
        (Reports::Reordered, &["undelivered", "sent"]),
        (Reports::Late(Duration::from_millis(10)), &["sent", "undelivered"]),
        (Reports::Missing, &[]),
        (Reports::BeforeAnswer, &["sent", "undelivered"]),
    ] {
        stand_in.reports(reports);
        create_with(&stand_in, &[("Body", "Hi"), ("StatusCallback", &callback)]).await.unwrap();
        if reports == Reports::BeforeAnswer {
            assert_eq!(bodies.len(), expected.len(), "all reports arrive before the response");
        }
        for status in expected {
            let body = bodies.recv().await.unwrap();
            assert!(body.contains(&format!("MessageStatus={status}&")), "{reports:?}: {body}");
            assert_eq!(body.contains("ErrorCode=30003"), *status == "undelivered", "{body}");
        }
    }
    assert!(bodies.is_empty());
}

#[tokio::test]
async fn the_sender_of_a_text_sees_that_the_webhook_was_refused() {
    let (addr, _bodies) = refuser().await;
    let stand_in = stand_in_beside(addr).await;
    let request = stand_in.state.http.post(stand_in.url() + "/texts").form(&[("from", PHONE), ("body", "Hi")]);
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 502);
    assert_eq!(response.text().await.unwrap(), "text: answered 403 no\n");
}

#[tokio::test]
async fn a_typed_phone_number_is_sent_as_e164_where_it_can_be_parsed() {
    let (addr, mut bodies) = refuser().await;
    let stand_in = stand_in_beside(addr).await;
    for (typed, named) in [
        ("+447900000001", "%2B447900000001"),
        ("%2B447900000001", "%2B447900000001"),
        ("447900000001", "%2B447900000001"),
        ("07900+000001", "%2B447900000001"),
        ("+07900000001", "%2B447900000001"),
        ("0044+7900+000001", "%2B447900000001"),
        ("+14155550100", "%2B14155550100"),
        ("60777", "60777"),
        ("anonymous", "anonymous"),
    ] {
        let request = stand_in.state.http.post(stand_in.url() + "/texts").body(format!("from={typed}&body=Hi"));
        request.header("content-type", "application/x-www-form-urlencoded").send().await.unwrap();
        let body = bodies.recv().await.unwrap();
        assert!(body.contains(&format!("From={named}&")), "{typed}: {body}");
    }
}

async fn stripe_get(stand_in: &StandIn, path: &str, key: &str) -> (u16, Value) {
    let response = stand_in.state.http.get(stand_in.url() + path).bearer_auth(key).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test]
async fn stripe_s_api_shows_what_happened_and_refuses_what_stripe_refuses() {
    let stand_in = stand_in().await;
    let sale = Sale::new(None);
    let paid = sale.paid_by_card();
    assert!(stand_in.stripe(&paid[0]).await.is_err(), "its webhook reaches no server");
    paid.iter().for_each(|event| stand_in.lose(event));
    let get = async |path: &str| stripe_get(&stand_in, path, stripe_api::KEY).await;
    let (status, list) = get("/v1/events?limit=100&types[]=invoice.paid&types[]=checkout.session.completed").await;
    let kinds: Vec<&str> = list["data"].as_array().unwrap().iter().map(|it| it["type"].as_str().unwrap()).collect();
    assert_eq!((status, kinds), (200, vec!["checkout.session.completed", "invoice.paid"]), "newest first, once each");
    let (status, subscription) = get(&format!("/v1/subscriptions/{}", sale.subscription)).await;
    assert_eq!((status, &subscription["status"]), (200, &"active".into()));
    for (path, expected, code) in [
        ("/v1/events?limit=101", 400, "parameter_invalid_integer"),
        ("/v1/events?delivery=false", 400, "parameter_unknown"),
        ("/v1/events?starting_after=evt_none", 400, "resource_missing"),
        ("/v1/subscriptions/sub_none", 404, "resource_missing"),
        ("/v1/subscriptions/sub_none?limit=1", 400, "parameter_unknown"),
    ] {
        let (status, problem) = get(path).await;
        assert_eq!((status, &problem["error"]["code"]), (expected, &code.into()), "{path}");
    }
    assert_eq!(stripe_get(&stand_in, "/v1/events", "rk_test_other").await.0, 401);
    stand_in.stripe_api_fault(Some(429));
    assert_eq!(get("/v1/events").await.0, 429);
    assert_eq!(stand_in.stripe_requests(), 9);
}

#[tokio::test]
async fn webhooks_that_are_lost_on_command_are_in_the_list_of_events() {
    let stand_in = stand_in().await;
    let post = async |path: &str, form: &[(&str, &str)]| {
        let response = stand_in.state.http.post(stand_in.url() + path).form(form).send().await.unwrap();
        response.status().as_u16()
    };
    assert_eq!(post("/faults", &[("webhooks", "misplaced")]).await, 400);
    assert_eq!(post("/faults", &[("webhooks", "lost")]).await, 200);
    assert_eq!(post("/pay", &[("client_reference_id", "reference")]).await, 200);
    let (_, list) = stripe_get(&stand_in, "/v1/events", stripe_api::KEY).await;
    assert_eq!(list["data"].as_array().unwrap().len(), 5);
    assert_eq!(post("/faults", &[("webhooks", "sent")]).await, 200);
    assert_eq!(post("/pay", &[("client_reference_id", "reference")]).await, 502, "its webhook reaches no server");
}

/// Returns a path of its own in the folder for temporary files, and removes any file there.
fn kept_file(name: &str) -> std::path::PathBuf {
    let file = std::env::temp_dir().join(format!("jobrun-stand-in-{}-{name}", std::process::id()));
    let _ = std::fs::remove_file(&file);
    file
}

async fn start_with_file(file: &std::path::Path) -> std::io::Result<StandIn> {
    let account = stand_in().await.state.account.clone();
    StandIn::start_with_file(TcpListener::bind("127.0.0.1:0").await.unwrap(), account, file)
}

#[tokio::test]
async fn a_stand_in_with_a_file_restores_the_state_of_the_last_one() {
    let file = kept_file("goes-on");
    let first = start_with_file(&file).await.unwrap();
    first.text(PHONE, "Hello").await.unwrap_err();
    create(&first, "1").await.unwrap();
    create(&first, "2").await.unwrap();
    let bundle = format!("BU{:032x}", 1);
    let number = [("PhoneNumber", "+447400100001"), ("BundleSid", &bundle), ("SmsUrl", "https://example.com/sms")];
    let url = first.url() + &path(&first, "IncomingPhoneNumbers.json");
    let bought = authorised(&first, first.state.http.post(url)).form(&number).send().await.unwrap();
    assert_eq!(bought.status(), 201);
    let sale = Sale::new(Some("reference"));
    first.lose(&sale.subscription("created", "active", None));
    first.state.add_sale(sale);
    let (all, numbers, sales) = (first.state.messages().clone(), first.numbers(), first.state.sales().clone());
    let used = [first.new_sid("SM"), first.new_sid("CA")];
    drop(first);

    let second = start_with_file(&file).await.unwrap();
    assert_eq!((all.len(), second.message_count()), (3, 2));
    assert_eq!((&*second.state.messages(), second.numbers(), &*second.state.sales()), (&all, numbers, &sales));
    assert_eq!(stripe_get(&second, "/v1/events", stripe_api::KEY).await.1["data"].as_array().unwrap().len(), 1);
    assert!(second.offers().iter().all(|offer| offer.phone_number != "+447400100001"), "it is sold already");
    assert_eq!(listed(&second, "To=%2B447900000001").await, ["2", "1"]);
    create(&second, "3").await.unwrap();
    let sids: Vec<String> = second.state.messages().iter().map(|message| message.sid.clone()).collect();
    let new = [sids[3].clone(), second.new_sid("SM"), second.new_sid("CA")];
    assert!(new.iter().all(|sid| sid.len() == 34 && !sids[..3].contains(sid) && !used.contains(sid)), "{new:?}");
    drop(second);
    assert_eq!(start_with_file(&file).await.unwrap().message_count(), 3);
    std::fs::remove_file(file).unwrap();
}

#[tokio::test]
async fn consecutive_sids_are_unique_and_lie_far_apart() {
    let stand_in = stand_in().await;
    let sids: Vec<String> = (0..256).map(|_| stand_in.new_sid("SM")).collect();
    assert_eq!(sids.iter().collect::<HashSet<_>>().len(), sids.len());
    let beginnings: HashSet<&str> = sids.iter().map(|sid| &sid[..4]).collect();
    assert!(beginnings.len() > 128, "256 SIDs have only {} beginnings", beginnings.len());
}

#[tokio::test]
async fn an_incomplete_last_line_is_cut_off_and_a_broken_line_before_it_is_an_error() {
    let file = kept_file("torn");
    let first = start_with_file(&file).await.unwrap();
    create(&first, "1").await.unwrap();
    create(&first, "2").await.unwrap();
    drop(first);
    let whole = std::fs::read(&file).unwrap();
    for cut in [1, 20] {
        std::fs::write(&file, &whole[..whole.len() - cut]).unwrap();
        let second = start_with_file(&file).await.unwrap();
        assert_eq!(second.message_count(), 1, "the last {cut} bytes are missing");
        create(&second, "3").await.unwrap();
        assert_eq!(start_with_file(&file).await.unwrap().bodies_to(PHONE), ["1", "3"]);
    }
    std::fs::write(&file, [b"{\"text\":\n".as_slice(), &whole].concat()).unwrap();
    let error = start_with_file(&file).await.unwrap_err().to_string();
    assert!(error.contains("line 1, cannot be read") && error.contains(file.to_str().unwrap()), "{error}");
    std::fs::remove_file(file).unwrap();
}

/// Gets a page as a browser does.
async fn page(stand_in: &StandIn, path: &str) -> (u16, String) {
    let request = stand_in.state.http.get(stand_in.url() + path).header("accept", "text/html,*/*;q=0.8");
    let response = request.send().await.unwrap();
    let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'; script-src 'self'"), "{path}: {policy}");
    (response.status().as_u16(), response.text().await.unwrap())
}

async fn submit(stand_in: &StandIn, path: &str, form: &[(&str, &str)]) {
    let response = stand_in.state.http.post(stand_in.url() + path).form(form).send().await.unwrap();
    assert!(response.status().is_success(), "{path}: {}", response.status());
}

#[tokio::test]
async fn browsers_get_the_phone_page_and_others_get_the_help() {
    let stand_in = stand_in().await;
    let help = stand_in.state.http.get(stand_in.url()).send().await.unwrap().text().await.unwrap();
    assert!(help.starts_with("This stands in for Twilio and Stripe."), "{help}");
    let (status, front) = page(&stand_in, "/").await;
    assert_eq!(status, 200);
    assert!(front.contains("<!doctype html>") && front.contains(r#"id="phone-447900000001""#), "{front}");
    assert!(!front.contains(r#"id="time""#), "no system is attached whose time could pass");
    assert_eq!(page(&stand_in, "/phones/no-number").await.0, 404);
}

#[tokio::test]
async fn phones_calls_forwarding_and_passed_time_survive_a_restart_and_a_reset_forgets_them() {
    let file = kept_file("phones");
    let first = start_with_file(&file).await.unwrap();
    let other = "/phones/+447900000002";
    submit(&first, "/phones", &[("number", "07900 000002")]).await;
    submit(&first, &format!("{other}/number"), &[("number", "+447111111111"), ("do", "forward")]).await;
    submit(&first, &format!("{other}/ring"), &[("from", "anonymous")]).await;
    submit(&first, &format!("{other}/texts"), &[("body", "Hello <b>\r\nthere")]).await;
    submit(&first, "/phones/+447900000001/hide", &[]).await;
    let passed = chrono::TimeDelta::days(2);
    first.state.age(passed);
    first.state.persist(&crate::state_file::Entry::Passed { seconds: passed.num_seconds() });
    let before = page(&first, "/").await.1;
    for part in ["no number of the account", "forwarded to +447111111111", "Hello &#60;b&#62;\nthere", "not delivered"]
    {
        assert!(before.contains(part), "{part} is missing in {before}");
    }
    assert!(!before.contains("phone-447900000001"), "it is hidden");
    drop(first);

    let second = start_with_file(&file).await.unwrap();
    assert_eq!(page(&second, "/").await.1, before);
    second.state.forget().unwrap();
    let anew = page(&second, "/").await.1;
    assert!(anew.contains("phone-447900000001") && !anew.contains("phone-447900000002"), "{anew}");
    drop(second);
    assert_eq!(page(&start_with_file(&file).await.unwrap(), "/").await.1, anew);
    std::fs::remove_file(file).unwrap();
}
