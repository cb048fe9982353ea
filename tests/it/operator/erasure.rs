//! A person is given everything that is held about it, and is erased on its request, wherever the erasure is cut short.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use jobrun::demo::TestSystem;
use jobrun_shared::db::audit_log::{Actor, Via};
use jobrun_shared::db::person;
use jobrun_shared::erasure::{self, Target};
use jobrun_shared::numbers::seed_release;
use jobrun_shared::phone_digest::PhoneKey;
use jobrun_stand_in::Fault;
use jobrun_stand_in::stripe::Sale;
use jobrun_tests::proxy::{Failure, Proxy};
use jobrun_tests::{count, numbers, say, test_system_with, texts};
use jobrun_twilio::api::Api;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use sqlx::AssertSqlSafe;

const ANN: &str = "+447900123456";
const BEN: &str = "+447900654321";
const CALLER: &str = "+447700900123";
const KEY: &str = "0123456789abcdef0123456789abcdef";

/// What must be nowhere after the erasure: the phone, the name, and words of texts in both directions.
const ANNS: [&str; 6] =
    ["7900123456", "Annabel", "Pipework", "annabel@example.com", "which area you cover", "Zanzibar"];

async fn system(workers: usize) -> TestSystem {
    let settings = [("ERASURE_KEY", KEY), ("PAYMENT_LINK_URL", "https://buy.stripe.com/test_link")];
    let system = test_system_with(workers, &settings).await;
    seed_release::seed(&system.pool, &numbers(3)).await.unwrap();
    system
}

async fn column(system: &TestSystem, phone: &str, column: &str) -> String {
    let select = format!(r#"SELECT {column} FROM clients WHERE "phoneNumber" = '{}'"#, phone.trim_start_matches('+'));
    sqlx::query_scalar(AssertSqlSafe(select)).fetch_one(&system.pool).await.unwrap()
}

/// Plays a client from the first text to the live service, and a call to its number. Returns the sale.
async fn go_live(system: &TestSystem, phone: &str, names: [&str; 2]) -> Sale {
    let trade = format!("Plumber from {}", if phone == ANN { "Zanzibar" } else { "London" });
    for body in [&trade, names[0], names[1], "SMS", "YES"] {
        say(system, phone, body).await;
    }
    let sale = Sale::new(Some(&column(system, phone, r#""paymentReference""#).await));
    for mut event in sale.paid_by_card() {
        if event["type"] == "checkout.session.completed" {
            let email = format!("{}@example.com", names[1].split(' ').next().unwrap().to_lowercase());
            event["data"]["object"]["customer_details"] =
                serde_json::json!({ "email": email, "name": names[1], "phone": phone });
        }
        system.stand_in.stripe(&event).await.unwrap();
    }
    system.settle().await.unwrap();
    for body in ["1", "DONE"] {
        say(system, phone, body).await;
    }
    let number = column(system, phone, r#""twilioNumber""#).await;
    system.stand_in.call(CALLER, &number).await.unwrap();
    system.stand_in.call(CALLER, &number).await.unwrap();
    system.settle().await.unwrap();
    sale
}

/// Ends a subscription, so that its client does not pay any more.
async fn cancel(system: &TestSystem, sale: &Sale) {
    let ended = sale.after(10).subscription("deleted", "canceled", None);
    system.stand_in.stripe(&ended).await.unwrap();
    system.settle().await.unwrap();
}

/// A system in which Ann went live, stopped paying and opted out, and Ben is live.
async fn with_ann_and_ben() -> TestSystem {
    let system = system(1).await;
    let sale = go_live(&system, ANN, ["Pipework Ltd", "Annabel Smith"]).await;
    go_live(&system, BEN, ["Ben's Boilers", "Ben Jones"]).await;
    cancel(&system, &sale).await;
    say(&system, ANN, "STOP").await;
    system
}

async fn run(system: &TestSystem, arguments: &[&str]) -> (i32, String) {
    let (code, shown, errors) = system.operator(arguments).await.unwrap();
    (code, format!("{shown}{errors}"))
}

/// Returns all data of the database, as a backup has them.
async fn dump(system: &TestSystem) -> String {
    // The driver's own parameters mean nothing to pg_dump.
    let url = system.environment["DATABASE_URL"].split('?').next().unwrap();
    let folders = format!("/usr/lib/postgresql/15/bin:{}", jobrun_tests::path());
    let output = tokio::process::Command::new("pg_dump").env("PATH", folders).args(["--data-only", url]).output().await;
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Asserts that nothing of Ann is left, and everything of Ben.
async fn assert_gone(system: &TestSystem, what: &str) {
    let dumped = dump(system).await;
    for word in ANNS {
        let line = dumped.lines().find(|line| line.contains(word));
        assert!(line.is_none(), "{what}: {word} is still there: {line:?}");
    }
    assert!(dumped.contains("447900654321") && dumped.contains("Ben's Boilers"), "{what}");
    let unredacted = system.stand_in.bodies_to(ANN).into_iter().filter(|body| !body.is_empty()).count();
    assert_eq!(unredacted, 0, "{what}: words of texts are at Twilio");
    assert!(system.stand_in.bodies_to(BEN).iter().all(|body| !body.is_empty()), "{what}: Ben's texts stay");
    let open = "SELECT count(*) FROM erasures WHERE finished_at IS NULL OR certificate IS NULL";
    assert_eq!(count(&system.pool, open).await, 0, "{what}");
    assert_eq!(count(&system.pool, "SELECT count(*) FROM audit_log WHERE action = 'client.erased'").await, 1, "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_holds_everything_about_a_client_and_nothing_of_another() {
    let system = with_ann_and_ben().await;
    let (code, shown) = run(&system, &["client", "export", ANN, "--json", "--why", "she asked"]).await;
    assert_eq!(code, 0, "{shown}");
    let export: Value = serde_json::from_str(&shown).unwrap();
    for table in ["clients", "onboarding_states", "subscriptions", "payment_events", "number_changes", "messages"] {
        assert!(!export["tables"][table].as_array().unwrap().is_empty(), "{table}");
    }
    let rows = |table: &str| export["tables"][table].as_array().unwrap().len() as i64;
    let own = r#"SELECT count(*) FROM messages WHERE to_phone = '+447900123456'"#;
    assert_eq!(rows("messages"), count(&system.pool, own).await);
    // Every event but Ben's, by what only the events of each contain.
    let events = "SELECT count(*) FROM events e WHERE payload::TEXT LIKE '%7900123456%'
                  OR client_id = (SELECT id FROM clients WHERE \"phoneNumber\" = '447900123456')";
    assert!(rows("events") >= count(&system.pool, events).await);
    assert_eq!(rows("opt_changes"), 1);
    for word in ["Annabel Smith", "Pipework Ltd", "annabel@example.com", CALLER, "Zanzibar"] {
        assert!(shown.contains(word), "{word}");
    }
    for word in ["654321", "Ben"] {
        assert!(!shown.contains(word), "{word} is another client's");
    }
    assert_eq!(
        texts(&system.pool, "SELECT concat_ws(' ', action, why) FROM audit_log").await,
        ["client.exported she asked"]
    );

    let (code, plan) = run(&system, &["client", "erase", ANN, "--dry-run"]).await;
    let names: Vec<&str> = plan.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    let missing = export["tables"].as_object().unwrap().keys().find(|table| !names.contains(&table.as_str()));
    assert_eq!((code, missing), (0, None), "the plan of an erasure says what becomes of each table: {plan}");

    // The page shows the same, and the words of a client are no HTML.
    say(&system, ANN, "START").await;
    say(&system, ANN, "<script>alert('hi')</script> & more").await;
    let file = std::env::temp_dir().join(format!("jobrun-export-{}.html", std::process::id()));
    let (code, shown) = run(&system, &["client", "export", ANN, "--page", file.to_str().unwrap()]).await;
    assert_eq!(code, 0, "{shown}");
    let page = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(page.contains("Annabel Smith") && page.contains(CALLER) && !page.contains("<script>"), "{page}");
    assert!(!page.contains("654321"));
    assert_eq!(run(&system, &["client", "export", "+447900000009"]).await.0, 1);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_who_has_moved_to_a_new_phone_is_erased_with_its_time_on_the_old_one() {
    let system = system(1).await;
    let old = "+447911222333";
    let sale = go_live(&system, old, ["Pipework Ltd", "Annabel Smith"]).await;
    for body in ["Zanzibar is where I go", "Zanzibar, Zanzibar", "Zanzibar again"] {
        say(&system, old, body).await;
    }
    assert_eq!(count(&system.pool, "SELECT count(*) FROM cases WHERE said LIKE 'Zanzibar is%Zanzibar again'").await, 1);
    say(&system, ANN, "I have a new phone, my old number is 07911 222333").await;
    let newcomers = column(&system, ANN, r#""paymentReference""#).await;
    let (code, _) = run(&system, &["client", "export", ANN, "--json", "--why", "her brother's wish"]).await;
    assert_eq!(code, 0);
    let code = system.stand_in.bodies_to(old).pop().unwrap();
    let code: String = code.chars().filter(char::is_ascii_digit).collect();
    assert!(say(&system, ANN, &code).await[0].starts_with("Done"), "{code}");
    go_live(&system, BEN, ["Ben's Boilers", "Ben Jones"]).await;
    cancel(&system, &sale).await;
    // By the link of the newcomer that the phone was, she pays and cancels once more.
    let by_newcomer = Sale::new(Some(&newcomers));
    for event in by_newcomer.paid_by_card() {
        system.stand_in.stripe(&event).await.unwrap();
    }
    cancel(&system, &by_newcomer).await;
    let (code, shown) = run(&system, &["client", "export", ANN, "--json"]).await;
    assert!(code == 0 && shown.contains("447911222333") && !shown.contains("654321"), "{shown}");
    assert!(shown.contains("former_payment_references") && shown.contains(&newcomers), "{shown}");
    let (code, shown) = run(&system, &["client", "erase", ANN, "--yes", "--why", "she asked"]).await;
    assert_eq!(code, 0, "{shown}");
    assert_gone(&system, "after a move").await;
    let dumped = dump(&system).await;
    let line = dumped.lines().find(|line| line.contains("7911222333") || line.contains("7911 222333"));
    assert!(line.is_none(), "the old phone is still there: {line:?}");
    let line = dumped.lines().find(|line| line.contains(&newcomers));
    assert!(line.is_none(), "the reference of the newcomer is still there: {line:?}");
    let line = dumped.lines().find(|line| line.contains("her brother's wish"));
    assert!(line.is_none(), "a reason about the newcomer is still there: {line:?}");
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_who_pays_is_not_erased_and_a_dry_run_changes_nothing() {
    let system = system(1).await;
    let sale = go_live(&system, ANN, ["Pipework Ltd", "Annabel Smith"]).await;
    let before = dump(&system).await;
    let (code, shown) = run(&system, &["client", "erase", ANN, "--yes", "--why", "she asked"]).await;
    assert_eq!((code, shown.contains("cancel at Stripe")), (1, true), "{shown}");
    let (code, shown) = run(&system, &["client", "erase", ANN, "--dry-run"]).await;
    assert_eq!(code, 0, "{shown}");
    for words in ["nothing is changed", "messages", "deleted; the words are redacted at Twilio", "cus_"] {
        assert!(shown.contains(words), "{words} is not in\n{shown}");
    }
    // Leases and heartbeats go on meanwhile.
    let rows = |dump: &str| -> BTreeSet<String> {
        dump.lines().filter(|line| ANNS.iter().any(|word| line.contains(word))).map(str::to_owned).collect()
    };
    assert_eq!(rows(&dump(&system).await), rows(&before));
    assert_eq!(count(&system.pool, "SELECT count(*) FROM erasures").await, 0);
    assert_eq!(run(&system, &["client", "erase", ANN, "--yes"]).await.0, 2, "a reason is needed");
    cancel(&system, &sale).await;
    assert_eq!(run(&system, &["client", "erase", ANN, "--yes", "--why", "she asked"]).await.0, 0);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_who_was_marked_as_paid_is_erased_once_its_gate_is_closed() {
    let system = system(1).await;
    for body in ["Plumber from London", "Pipework Ltd", "Annabel Smith", "SMS"] {
        say(&system, ANN, body).await;
    }
    assert_eq!(run(&system, &["client", "mark-paid", ANN, "--why", "paid in cash"]).await.0, 0);
    system.settle().await.unwrap();
    let erase = ["client", "erase", ANN, "--yes", "--why", "she asked"];
    let (code, shown) = run(&system, &erase).await;
    assert_eq!((code, shown.contains("close the payment gate")), (1, true), "{shown}");
    assert_eq!(count(&system.pool, "SELECT count(*) FROM erasures").await, 0);
    let command = shown.split("gate: ").nth(1).unwrap().split(". Then").next().unwrap().to_owned();
    sqlx::raw_sql(AssertSqlSafe(command)).execute(&system.pool).await.unwrap();
    let (code, shown) = run(&system, &erase).await;
    assert_eq!(code, 0, "{shown}");
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reason_that_has_the_phone_is_removed_and_one_that_has_a_name_is_listed() {
    let system = with_ann_and_ben().await;
    let reasons = "INSERT INTO bulk_actions (action, who, via, why, filter, begun_at, chosen)
                   VALUES ('drop', 'ada', 'command', 'rang 07900 123 456', '{}', now(), 1),
                          ('drop', 'ada', 'command', 'for annabel and others', '{}', now(), 1),
                          ('drop', 'ada', 'command', 'an outage', '{}', now(), 1);
                   INSERT INTO audit_log (at, who, via, action, why)
                   VALUES (now(), 'ada', 'command', 'sending.stopped', 'as +44 7900-123456 said');
                   UPDATE stops SET stopped_at = now(), stopped_by = 'ada', why = 'Pipework Ltd rang' WHERE what = 'sending'";
    sqlx::raw_sql(reasons).execute(&system.pool).await.unwrap();
    let (code, shown) = run(&system, &["client", "erase", ANN, "--yes", "--why", "asked", "--json"]).await;
    assert_eq!(code, 0, "{shown}");
    let certificate: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(certificate["remains"]["reasonsToRead"], serde_json::json!(["bulk_actions 2", "stops sending"]));
    let kept = "SELECT why FROM bulk_actions ORDER BY id";
    assert_eq!(texts(&system.pool, kept).await, ["(erased)", "for annabel and others", "an outage"]);
    let why = "SELECT count(*) FROM audit_log WHERE action = 'sending.stopped' AND why IS NULL";
    assert_eq!(count(&system.pool, why).await, 1);
    system.shut_down().await.unwrap();
}

/// A refund and other events of Stripe's name the payer.
#[tokio::test(flavor = "multi_thread")]
async fn events_of_stripe_about_an_erased_person_keep_what_bookkeeping_needs() {
    let system = system(1).await;
    let sale = go_live(&system, ANN, ["Pipework Ltd", "Annabel Smith"]).await;
    let ben = go_live(&system, BEN, ["Ben's Boilers", "Ben Jones"]).await;
    cancel(&system, &sale).await;
    assert_eq!(run(&system, &["client", "erase", ANN, "--yes", "--why", "she asked"]).await.0, 0);
    let payer = serde_json::json!({ "email": "annabel@example.com", "name": "Annabel Smith", "phone": ANN });
    let mut refund = sale.after(20).refunded();
    refund["data"]["object"]["billing_details"] = payer.clone();
    let mut paid = sale.after(30).delayed_payment(false);
    paid["data"]["object"]["customer_details"] = payer.clone();
    let mut changed = sale.after(40).refunded();
    changed["type"] = "customer.updated".into();
    changed["data"]["object"] =
        serde_json::json!({ "id": sale.customer, "object": "customer", "name": "Annabel Smith" });
    let mut of_ben = ben.after(20).invoice_paid();
    of_ben["data"]["object"]["customer_name"] = "Ben Jones".into();
    for event in [&refund, &paid, &changed, &of_ben] {
        assert_eq!(system.stand_in.stripe(event).await.unwrap().status, 200);
    }
    system.settle().await.unwrap();
    let dumped = dump(&system).await;
    for word in ANNS {
        assert!(dumped.lines().all(|line| !line.contains(word)), "{word}");
    }
    assert_eq!(count(&system.pool, "SELECT count(*) FROM events WHERE payload::TEXT LIKE '%customer_name%'").await, 1);
    let kept = "SELECT count(*) FROM events WHERE payload #>> '{event,data,object,amount_refunded}' = '2900'";
    assert_eq!(count(&system.pool, kept).await, 1);
    assert_eq!(count(&system.pool, "SELECT count(*) FROM payment_events WHERE kind = 'charge.refunded'").await, 1);
    let named = format!("SELECT count(*) FROM payment_events WHERE reference = '{}'", sale.reference.as_ref().unwrap());
    let named: i64 = sqlx::query_scalar(AssertSqlSafe(named)).fetch_one(&system.pool).await.unwrap();
    assert_eq!(named, 0);
    system.shut_down().await.unwrap();
}

/// The ids of events are not in the order of their commits. The scan has passed the id when the event is committed.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_stripe_that_is_committed_behind_the_scan_of_an_erasure_is_not_missed() {
    let system = with_ann_and_ben().await;
    let id = column(&system, ANN, "id").await;
    let customer =
        "SELECT DISTINCT p.customer_id FROM payment_events p JOIN subscriptions s ON s.id = p.subscription_id
                    WHERE s.client_id = $1 AND p.customer_id IS NOT NULL";
    let customer: String = sqlx::query_scalar(customer).bind(&id).fetch_one(&system.pool).await.unwrap();
    let event = serde_json::json!({
        "kind": "stripe", "id": "evt_late",
        "event": { "id": "evt_late", "object": "event", "type": "charge.refunded", "created": 1_800_000_000, "livemode": false,
                   "data": { "object": { "id": "ch_late", "object": "charge", "customer": customer, "refunded": true,
                                         "billing_details": { "name": "Annabel Smith" } } } },
    });
    let mut late = system.pool.begin().await.unwrap();
    let insert = "INSERT INTO events (source, external_id, kind, lane, payload, received_at)
                  VALUES ('stripe', 'evt_late', 'stripe', 'stripe:evt_late', $1, now())";
    sqlx::query(insert).bind(&event).execute(&mut *late).await.unwrap();
    // An event with a greater id, which the scan looks at.
    say(&system, BEN, "thanks").await;
    let target = Target { client_id: id.clone(), phone: None };
    let by = Actor { who: "ada".to_owned(), via: Via::Command, why: Some("asked".to_owned()) };
    let person = person::find(&mut system.pool.acquire().await.unwrap(), &id).await.unwrap().unwrap();
    let key = PhoneKey::new(KEY.into());
    let erasure = erasure::begin(&system.pool, &key, &target, &by, Duration::from_secs(60)).await.unwrap();
    erasure::scrub_events(&system.pool, erasure, &person).await.unwrap();
    late.commit().await.unwrap();
    // Any later event has a worker look for events.
    say(&system, BEN, "thanks again").await;
    let processed = "SELECT count(*) FROM events WHERE external_id = 'evt_late' AND processed_at IS NOT NULL";
    assert_eq!(count(&system.pool, processed).await, 1);
    let (code, shown) = run(&system, &["client", "erase", ANN, "--yes", "--why", "asked"]).await;
    assert_eq!(code, 0, "{shown}");
    assert_gone(&system, "an event behind the scan").await;
    system.shut_down().await.unwrap();
}

/// A caller who was texted back has no client of its own at that time: the text is the other client's, and holds the caller's phone.
#[tokio::test(flavor = "multi_thread")]
async fn a_text_to_a_caller_is_given_to_the_caller_and_erased_with_it() {
    let system = with_ann_and_ben().await;
    let texted = "INSERT INTO messages (client_id, kind, to_phone, from_number, body, once_key, status, created_at, updated_at)
                  SELECT id, 'text_back', '+447900123456', '+447700900999', 'Sorry we missed you', 'text-back:ben:447900123456:1',
                         'delivered', now(), now()
                  FROM clients WHERE \"phoneNumber\" = '447900654321'";
    sqlx::raw_sql(texted).execute(&system.pool).await.unwrap();
    let (code, shown) = run(&system, &["client", "export", ANN, "--json"]).await;
    assert!(code == 0 && shown.contains("Sorry we missed you"), "{shown}");
    let (code, shown) = run(&system, &["client", "erase", ANN, "--yes", "--why", "she asked"]).await;
    assert_eq!(code, 0, "{shown}");
    assert_gone(&system, "a text to a caller").await;
    system.shut_down().await.unwrap();
}

/// A text that waits may be an opt-out. A text of another client is that client's, also if it names the person.
#[tokio::test(flavor = "multi_thread")]
async fn texts_that_wait_and_texts_of_others_are_not_erased() {
    let system = with_ann_and_ben().await;
    let erase = ["client", "erase", ANN, "--yes", "--why", "she asked"];
    assert_eq!(run(&system, &["stop", "conversations", "--why", "a test"]).await.0, 0);
    let before = system.stand_in.bodies_to(BEN).len();
    assert_eq!(system.stand_in.text(BEN, "My partner is +447900123456, please ring her").await.unwrap().status, 200);
    assert_eq!(system.stand_in.text(ANN, "START").await.unwrap().status, 200);
    let (code, shown) = run(&system, &erase).await;
    assert_eq!((code, shown.contains("waits to be processed")), (1, true), "{shown}");
    assert_eq!(count(&system.pool, "SELECT count(*) FROM erasures").await, 0);
    // Ann's text is taken back, as if it had never come.
    sqlx::raw_sql("DELETE FROM events WHERE lane = 'phone:447900123456' AND processed_at IS NULL")
        .execute(&system.pool)
        .await
        .unwrap();
    let (code, shown) = run(&system, &erase).await;
    assert_eq!(code, 0, "{shown}");
    assert_eq!(run(&system, &["start", "conversations", "--why", "a test"]).await.0, 0);
    system.settle().await.unwrap();
    assert!(system.stand_in.bodies_to(BEN).len() > before, "Ben gets his answer");
    let of_ben =
        "SELECT count(*) FROM events WHERE payload ->> 'body' LIKE 'My partner is%' AND outcome = 'not_understood'";
    assert_eq!(count(&system.pool, of_ben).await, 1);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_an_erased_person_is_left_but_that_it_opted_out() {
    let mut system = with_ann_and_ben().await;
    let id = column(&system, ANN, "id").await;
    let (code, _) = run(&system, &["client", "take-over", ANN, "--why", "Annabel rang"]).await;
    assert_eq!(code, 0);
    system.settle().await.unwrap();
    // Twilio fails at first: all else is erased, and the next run goes on.
    system.stand_in.always(Some(Fault::Unauthorised));
    let (code, shown) = run(&system, &["client", "erase", ANN, "--yes", "--why", "asked by letter"]).await;
    assert_eq!((code, shown.contains("not redacted at Twilio yet")), (1, true), "{shown}");
    assert_eq!(count(&system.pool, "SELECT count(*) FROM clients").await, 1);
    system.stand_in.always(None);
    let (code, shown) = run(&system, &["client", "erase", ANN, "--yes", "--why", "again", "--json"]).await;
    assert_eq!(code, 0, "{shown}");
    let certificate: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(certificate["clientId"], id.as_str());
    assert_eq!(certificate["remains"]["optOutDigest"], true);
    assert_eq!(certificate["lookedAgain"], true);
    assert!(certificate["textsRedactedAtTwilio"].as_i64().unwrap() > 10, "{shown}");
    assert_gone(&system, "an erasure").await;
    let cools = "SELECT count(*) FROM twilio_number_pool WHERE status = 'COOLING_DOWN' AND cools_until > now() + INTERVAL '29 days'";
    assert_eq!(count(&system.pool, cools).await, 1);
    assert_eq!(run(&system, &["payments"]).await.1.matches("sub_").count(), 0, "its payment waits for no client");

    // A late delivery report brings no phone back.
    let report = [
        ("MessageSid", "SM00000000000000000000000000000009"),
        ("MessageStatus", "delivered"),
        ("To", ANN),
        ("From", "+447476955179"),
        ("AccountSid", system.account.sid.as_str()),
    ];
    let report: Vec<(String, String)> =
        report.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    assert_eq!(system.stand_in.post("/webhooks/twilio/sms/status", &report).await.unwrap().status, 204);
    system.settle().await.unwrap();
    assert_gone(&system, "a late report").await;

    // The programs' lines have no phone.
    system.ingress.stop().await.unwrap();
    let lines = system.ingress.lines().into_iter().chain(system.workers.iter().flat_map(|it| it.lines()));
    let told: Vec<String> = lines.filter(|line| line.contains("7900123456") && !line.contains("{ ")).collect();
    assert_eq!(told, Vec::<String>::new());
    system.start_ingress().await.unwrap();

    // The same phone is a new client, and still opted out until it says START.
    assert_eq!(say(&system, ANN, "Plumber from London").await, Vec::<String>::new());
    assert_ne!(column(&system, ANN, "id").await, id);
    assert!(!say(&system, ANN, "START").await.is_empty());
    system.shut_down().await.unwrap();
}

/// Inserts a person with a row in nearly every table, and returns its phone.
async fn insert_person(system: &TestSystem, n: usize) -> String {
    let insert = format!(
        r#"INSERT INTO clients (id, "phoneNumber", "businessName", "twilioNumber", "optedOutAt")
           VALUES ('p{n}', '44790088{n:04}', 'Secret & Sons', '+44710099{n:04}', now());
           INSERT INTO twilio_number_pool (phone_e164, status, client_id) VALUES ('+44710099{n:04}', 'ASSIGNED', 'p{n}');
           INSERT INTO onboarding_states (client_id, current_state, collected_fields)
           VALUES ('p{n}', 'COMPLETE', '{{"ownerName": "Secret"}}');
           INSERT INTO events (source, external_id, kind, lane, processed_at, outcome, payload, received_at)
           VALUES ('twilio', 'SMin{n}', 'text', 'phone:44790088{n:04}', now(), 'answered',
                   '{{"kind": "text", "from": "+44790088{n:04}", "to": "+447476955179", "body": "Secret"}}', now());
           INSERT INTO messages (status, client_id, kind, to_phone, from_number, body, twilio_sid, created_at, updated_at)
           VALUES ('delivered', 'p{n}', 'live', '+44790088{n:04}', '+447476955179', 'Hi Secret', 'SMout{n}', now(), now());
           INSERT INTO opt_changes (phone, change, changed_at) VALUES ('44790088{n:04}', 'out', now());
           INSERT INTO subscriptions (id, client_id, standing, heard_of_at) VALUES ('sub_{n}', 'p{n}', 'ended', now());
           INSERT INTO payment_events (stripe_id, kind, happened_at, subscription_id, customer_id, reference)
           VALUES ('evt_{n}', 'invoice.paid', now(), 'sub_{n}', 'cus_{n}', 'Secret-{n}')"#
    );
    sqlx::raw_sql(AssertSqlSafe(insert)).execute(&system.pool).await.unwrap();
    format!("+44790088{n:04}")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_that_fails_at_any_statement_is_completed_by_the_next_run() {
    let system = system(0).await;
    let proxy = Proxy::start(&SecretString::from(system.environment["DATABASE_URL"].clone())).await;
    erase_through(&system, &proxy, &insert_person(&system, 0).await).await.unwrap();
    let statements = proxy.seen();
    assert!(statements.iter().any(|it| it.starts_with("COMMIT after")), "{statements:#?}");
    assert!(statements.iter().any(|it| it.starts_with("DELETE FROM clients")), "{statements:#?}");
    let failures = [Failure::LostBefore, Failure::LostAfter, Failure::Refused("40P01")];
    for (n, (statement, failure)) in statements.iter().zip(failures.into_iter().cycle()).enumerate() {
        let phone = insert_person(&system, n + 1).await;
        proxy.fail_once(statement, failure);
        let first = erase_through(&system, &proxy, &phone).await;
        assert!(proxy.has_failed(), "{failure:?} at {statement}");
        // A failure on a connection that is only checked is met by another one, and that of the last commit finds all done.
        let done = format!("SELECT count(*) FROM erasures WHERE client_id = 'p{}' AND finished_at IS NOT NULL", n + 1);
        let done: i64 = sqlx::query_scalar(AssertSqlSafe(done)).fetch_one(&system.pool).await.unwrap();
        if done == 0 {
            assert!(first.is_err(), "{failure:?} at {statement}");
            let second = erase_through(&system, &proxy, &phone).await;
            assert_eq!(second, Ok(()), "{failure:?} at {statement}");
        }
    }
    let dumped = dump(&system).await;
    let left: Vec<&str> = dumped.lines().filter(|line| line.contains("4790088") || line.contains("Secret")).collect();
    assert_eq!(left, Vec::<&str>::new());
    assert_eq!(count(&system.pool, "SELECT count(*) FROM erasures WHERE certificate IS NULL").await, 0);
    let persons = count(&system.pool, "SELECT count(*) FROM erasures").await;
    assert_eq!(count(&system.pool, "SELECT count(*) FROM erased_opt_outs").await, persons);
    let cooling = "SELECT count(*) FROM twilio_number_pool WHERE status = 'COOLING_DOWN'";
    assert_eq!(count(&system.pool, cooling).await, persons);
    system.shut_down().await.unwrap();
}

/// Runs an erasure whose database is behind `proxy`.
async fn erase_through(system: &TestSystem, proxy: &Proxy, phone: &str) -> Result<(), String> {
    let mut command = tokio::process::Command::new(system.programs.join("jobrun"));
    command.args(["client", "erase", phone, "--yes", "--why", "asked"]).envs(&system.environment);
    let output = command.env("DATABASE_URL", proxy.url().expose_secret()).output().await.unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_that_is_cut_short_after_any_step_is_completed() {
    for steps in 1..=5 {
        let system = with_ann_and_ben().await;
        let id = column(&system, ANN, "id").await;
        let target = Target { client_id: id.clone(), phone: None };
        let by = Actor { who: "ada".to_owned(), via: Via::Command, why: Some("asked".to_owned()) };
        let (key, api) = (PhoneKey::new(KEY.into()), api(&system));
        let person = person::find(&mut system.pool.acquire().await.unwrap(), &id).await.unwrap().unwrap();
        let erasure = erasure::begin(&system.pool, &key, &target, &by, Duration::from_secs(60)).await.unwrap();
        if steps > 1 {
            erasure::scrub_events(&system.pool, erasure, &person).await.unwrap();
        }
        if steps > 2 {
            erasure::remove_texts(&system.pool, erasure, &person).await.unwrap();
        }
        if steps > 3 {
            erasure::remove_client(&system.pool, &key, erasure, &person).await.unwrap();
        }
        if steps > 4 {
            erasure::redact(&system.pool, &api, erasure).await.unwrap();
        }
        // A text arrives meanwhile: while the client exists, it is erased with it.
        if steps <= 3 {
            say(&system, ANN, "Zanzibar is nice").await;
        }
        let (code, shown) = run(&system, &["client", "erase", ANN, "--yes", "--why", "asked"]).await;
        assert_eq!(code, 0, "{steps}: {shown}");
        assert_gone(&system, &format!("cut short after {steps} steps")).await;
        system.shut_down().await.unwrap();
    }
}

fn api(system: &TestSystem) -> Api {
    let account = jobrun_twilio::api::Account {
        sid: system.account.sid.clone(),
        auth_token: system.account.auth_token.clone(),
        api_base_url: system.environment["TWILIO_API_BASE_URL"].clone(),
        public_base_url: system.account.webhook_base_url.clone(),
    };
    Api::new(&account).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_whose_process_is_killed_is_completed() {
    let system = with_ann_and_ben().await;
    // Redacting takes a while, so that later kills meet it.
    for delay in [20, 40, 60, 80, 100, 130, 160, 200] {
        let mut command = tokio::process::Command::new(system.programs.join("jobrun"));
        command.args(["client", "erase", ANN, "--yes", "--why", "asked"]).envs(&system.environment);
        let mut erasing = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // It ends earlier if it is done.
        let _ = tokio::time::timeout(Duration::from_millis(delay), erasing.wait()).await;
        erasing.kill().await.unwrap();
    }
    let finished = "SELECT count(*) FROM erasures WHERE finished_at IS NOT NULL";
    if count(&system.pool, finished).await == 0 {
        let (code, shown) = run(&system, &["client", "erase", ANN, "--yes", "--why", "asked"]).await;
        assert_eq!(code, 0, "{shown}");
    }
    assert_gone(&system, "kills").await;
    system.shut_down().await.unwrap();
}

/// What callers said is at Twilio alone. An erasure ends only once it is deleted there.
#[tokio::test(flavor = "multi_thread")]
async fn messages_of_callers_are_deleted_at_twilio_with_their_client() {
    let settings =
        [("ERASURE_KEY", KEY), ("PAYMENT_LINK_URL", "https://buy.stripe.com/test_link"), ("VOICEMAIL", "on")];
    let mut system = test_system_with(1, &settings).await;
    seed_release::seed(&system.pool, &numbers(3)).await.unwrap();
    let sale = go_live(&system, ANN, ["Pipework Ltd", "Annabel Smith"]).await;
    let number = column(&system, ANN, r#""twilioNumber""#).await;
    for _ in 0..2 {
        system.stand_in.leave_message(CALLER, &number, b"It's about the boiler").await.unwrap().unwrap();
    }
    cancel(&system, &sale).await;
    assert_eq!(
        count(&system.pool, "SELECT count(*) FROM calls").await,
        3,
        "the second call of going live, and these two"
    );
    let (code, shown) = run(&system, &["client", "export", ANN, "--json", "--why", "she asked"]).await;
    let export: Value = serde_json::from_str(&shown).unwrap();
    let rows = |table: &str| export["tables"][table].as_array().unwrap().len();
    assert_eq!((code, rows("calls"), rows("voicemails")), (0, 3, 2));
    // So that the command alone deletes them.
    for worker in &mut system.workers {
        worker.stop().await.unwrap();
    }
    let erase = ["client", "erase", ANN, "--yes", "--why", "she asked"];
    system.stand_in.always(Some(Fault::named("503").unwrap()));
    let (code, shown) = run(&system, &erase).await;
    assert_eq!((code, shown.contains("not deleted there")), (1, true), "{shown}");
    system.stand_in.always(None);
    let (code, shown) = run(&system, &erase).await;
    assert_eq!((code, shown.contains(r#""recordingsDeletedAtTwilio": 2"#)), (0, true), "{shown}");
    let recordings = system.stand_in.recordings();
    assert!(recordings.len() == 2 && recordings.iter().all(|it| it.is_deleted), "{recordings:?}");
    let left =
        "SELECT count(*) FROM voicemails WHERE client_id IS NULL AND token_sha256 IS NULL AND deleted_at IS NOT NULL";
    assert_eq!(count(&system.pool, left).await, 2);
    assert_eq!(count(&system.pool, "SELECT count(*) FROM calls").await, 0);
    system.shut_down().await.unwrap();
}
