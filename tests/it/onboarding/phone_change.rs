//! A client with a new phone: it proves who it is by a code to the old one, or to an operator, and everything follows.

use jobrun::demo::TestSystem;
use jobrun_shared::numbers::seed_release;
use jobrun_stand_in::stripe::Sale;
use jobrun_tests::{PATIENCE, count, eventually, numbers, say, sweep_twice, test_system, test_system_with, texts};
use serde_json::json;
use sqlx::AssertSqlSafe;

const OLD: &str = "+447900000001";
const NEW: &str = "+447900000002";
const OTHER: &str = "+447900000003";
const NUMBER: &str = "+447100000001";
const ASKS: &str = "I've got a new phone, my old number is 07900 000001";

/// Ann is live on the old phone, and holds the first number.
const ANN: &str = r#"
    INSERT INTO clients (id, "phoneNumber", "paymentActive", "paymentStanding", "twilioNumber", "businessName")
    VALUES ('ann', '447900000001', TRUE, 'active', '+447100000001', 'ABC Plumbing');
    UPDATE twilio_number_pool SET status = 'ASSIGNED', client_id = 'ann' WHERE phone_e164 = '+447100000001';
    INSERT INTO onboarding_states (client_id, current_state, collected_fields)
    VALUES ('ann', 'COMPLETE', '{"businessName": "ABC Plumbing", "phoneType": "iphone"}')"#;

const CLIENTS: &str = r#"SELECT concat_ws('|', id, "phoneNumber", "twilioNumber", "paymentActive", current_state)
                         FROM clients LEFT JOIN onboarding_states ON client_id = clients.id ORDER BY "createdAt", id"#;
const MOVED: &str = "ann|447900000002|+447100000001|t|COMPLETE";

async fn with_ann(workers: usize) -> TestSystem {
    prepared(test_system(workers).await).await
}

async fn with_ann_and_erasures() -> TestSystem {
    let key = ("ERASURE_KEY", "0123456789abcdef0123456789abcdef");
    prepared(test_system_with(1, &[key]).await).await
}

/// An operator moves Ann to another phone.
async fn move_ann(system: &TestSystem, phone: &str) {
    let command = ["client", "change-phone", "ann", phone, "--yes", "--why", "lost"];
    let (code, shown, errors) = system.operator(&command).await.unwrap();
    assert_eq!(code, 0, "{shown}{errors}");
    system.settle().await.unwrap();
}

async fn prepared(system: TestSystem) -> TestSystem {
    seed_release::seed(&system.pool, &numbers(2)).await.unwrap();
    sqlx::raw_sql(ANN).execute(&system.pool).await.unwrap();
    system
}

/// Returns the code in the last text to the old phone.
fn last_code(system: &TestSystem) -> String {
    let body = system.stand_in.bodies_to(OLD).pop().expect("a text to the old phone");
    let code = body.strip_prefix("Your JobRun code is ").and_then(|rest| rest.get(..6)).expect(&body);
    assert!(body.contains("ignore this: nothing changes"), "{body}");
    code.to_owned()
}

fn wrong(code: &str) -> String {
    if code == "111111" { "222222" } else { "111111" }.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_a_new_phone_proves_itself_by_a_code_and_everything_follows() {
    let system = with_ann(2).await;
    assert!(say(&system, NEW, "Hi").await[0].contains("What's your trade"));
    let told = say(&system, NEW, ASKS).await;
    assert_eq!(told.len(), 1);
    assert!(told[0].contains("we've texted a code to it"), "{told:?}");
    let code = last_code(&system);
    assert!(say(&system, NEW, &wrong(&code)).await[0].contains("that isn't the code"));
    let told = say(&system, NEW, &format!("My code is {code}")).await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].starts_with("Done: your JobRun is on this phone now.") && told[0].contains("**61*+447100000001#"),
        "{told:?}"
    );
    let away = system.stand_in.bodies_to(OLD).pop().unwrap();
    assert!(away.starts_with("Your JobRun has moved to a new phone ending 002."), "{away}");
    assert_eq!(texts(&system.pool, CLIENTS).await, [MOVED], "the newcomer is no client of its own any more");

    // What the newcomer said is the client's, and no event waits or was processed twice.
    let said = "SELECT count(*) FROM events WHERE client_id = 'ann' AND kind = 'text'";
    assert_eq!(count(&system.pool, said).await, 4);
    assert_eq!(
        count(&system.pool, "SELECT count(*) FROM events WHERE processed_at IS NULL AND kind <> 'delivery_report'")
            .await,
        0
    );
    assert_eq!(count(&system.pool, "SELECT count(*) FROM messages WHERE client_id IS DISTINCT FROM 'ann'").await, 0);
    let kept = "SELECT count(*) FROM phone_changes WHERE code_hmac IS NOT NULL OR code_key IS NOT NULL";
    assert_eq!(count(&system.pool, kept).await, 0, "the digest is forgotten");
    eventually(PATIENCE, "the code leaves the outbox", async || {
        count(&system.pool, "SELECT count(*) FROM messages WHERE kind = 'phone_code' AND body ~ '[0-9]{6}'").await == 0
    })
    .await;

    // Calls are told to the new phone, but not its own. The same code moves nothing again.
    let before = (system.stand_in.bodies_to(OLD).len(), system.stand_in.bodies_to(NEW).len());
    for caller in ["+447700900123", NEW] {
        system.stand_in.call(caller, NUMBER).await.unwrap();
    }
    system.settle().await.unwrap();
    let news = system.stand_in.bodies_to(NEW).split_off(before.1);
    assert_eq!(news, ["Missed call: +447700900123 rang your JobRun number."]);
    assert_eq!(system.stand_in.bodies_to(OLD).len(), before.0, "the old phone hears of no call");
    assert!(say(&system, NEW, &code).await[0].contains("You're all set"), "it is a text like others now");

    // The old phone is a stranger, and signs up anew.
    assert!(say(&system, OLD, "Hello").await[0].contains("What's your trade"));
    let clients = texts(&system.pool, CLIENTS).await;
    assert_eq!(clients.len(), 2);
    assert!(clients.iter().any(|it| it == MOVED), "{clients:?}");
    let (_, history, _) = system.operator(&["client", NEW]).await.unwrap();
    assert!(history.contains("the phone was to change, phone_moved at COMPLETE"), "{history}");
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_stranger_learns_whose_number_is_a_client_s_or_guesses_a_code() {
    let system = with_ann(1).await;
    let of_ann = say(&system, NEW, ASKS).await;
    let of_nobody = say(&system, OTHER, "I've got a new phone, my old number is 07900 999999").await;
    assert_eq!(of_ann, of_nobody);
    assert!(system.stand_in.bodies_to("+447900999999").is_empty());
    let code = wrong(&last_code(&system));
    for nth in 1..=5 {
        let (of_ann, of_nobody) = (say(&system, NEW, &code).await, say(&system, OTHER, &code).await);
        assert_eq!(of_ann, of_nobody, "try {nth}");
        assert_eq!(of_ann[0].contains("has run out"), nth == 5, "{of_ann:?}");
    }
    // After five wrong ones, the right one is none.
    let right = last_code(&system);
    assert!(say(&system, NEW, &right).await[0].contains("has run out"), "no request is open");
    assert_eq!(texts(&system.pool, CLIENTS).await[0], "ann|447900000001|+447100000001|t|COMPLETE");

    // Three codes a day, from one phone or to one phone: the rest is an operator's.
    for _ in 0..2 {
        say(&system, NEW, ASKS).await;
    }
    assert_eq!(system.stand_in.bodies_to(OLD).len(), 3);
    let cases = "SELECT count(*) FROM alerts WHERE cause LIKE 'person-wanted%' AND cleared_at IS NULL";
    assert_eq!(count(&system.pool, cases).await, 0);
    for phone in [NEW, OTHER] {
        assert_eq!(say(&system, phone, ASKS).await, of_nobody);
    }
    assert_eq!(system.stand_in.bodies_to(OLD).len(), 3, "no fourth code");
    assert_eq!(count(&system.pool, cases).await, 2);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stop_of_the_old_phone_stays_with_it_and_that_of_the_new_one_counts() {
    let system = with_ann(1).await;
    // A second request ends the first: only the newest code is right.
    say(&system, NEW, ASKS).await;
    let first = last_code(&system);
    say(&system, NEW, ASKS).await;
    let second = last_code(&system);
    if first != second {
        assert!(say(&system, NEW, &first).await[0].contains("that isn't the code"));
    }
    say(&system, OLD, "STOP").await;
    let told = say(&system, NEW, &second).await;
    assert!(told[0].starts_with("Done: your JobRun"), "{told:?}");
    let out = r#"SELECT count(*) FROM clients WHERE "optedOutAt" IS NOT NULL"#;
    assert_eq!(count(&system.pool, out).await, 0, "the old phone's STOP is not the new one's");
    assert_eq!(
        count(&system.pool, "SELECT count(*) FROM alerts WHERE cause LIKE 'opted-out%' AND cleared_at IS NULL").await,
        0
    );
    assert!(say(&system, OLD, "Hello").await.is_empty(), "it is still the old phone's");

    // To a phone that has opted out, an operator can move a client, which then gets no texts.
    say(&system, OTHER, "STOP").await;
    let (code, shown, errors) =
        system.operator(&["client", "change-phone", "ann", OTHER, "--yes", "--why", "she came by"]).await.unwrap();
    assert_eq!((code, shown.contains(": done")), (0, true), "{shown}{errors}");
    system.settle().await.unwrap();
    assert!(system.stand_in.bodies_to(OTHER).is_empty());
    assert_eq!(count(&system.pool, out).await, 2, "Ann's new phone, and the first one");
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_moves_a_client_whose_old_phone_is_gone() {
    let system = with_ann(1).await;
    let act = async |arguments: &[&str]| {
        let (code, shown, errors) = system.operator(arguments).await.unwrap();
        system.settle().await.unwrap();
        (code, format!("{shown}{errors}"))
    };
    let (code, shown) = act(&["client", "change-phone", "ann", NEW]).await;
    assert_eq!((code, shown.contains("would move from +447900000001 to +447900000002")), (0, true), "{shown}");
    assert_eq!(texts(&system.pool, CLIENTS).await[0], "ann|447900000001|+447100000001|t|COMPLETE", "a dry run");
    for (arguments, why) in [
        (["client", "change-phone", "ann", "07900 000002"], "E.164"),
        (["client", "change-phone", "ann", "+447100000002"], "number of ours"),
        (["client", "change-phone", "ann", OLD], "the client has this phone already"),
    ] {
        let (code, shown) = act(&arguments).await;
        assert!(code != 0 && shown.contains(why), "{code} {shown}");
    }
    let seen = ["client", "change-phone", "ann", NEW, "--from", OTHER, "--yes"];
    let (code, shown) = act(&seen).await;
    assert_eq!((code, shown.contains("phone has changed since")), (1, true), "{shown}");

    // A phone with a service of its own is no other client's new phone.
    let bob = r#"INSERT INTO clients (id, "phoneNumber", "paymentActive") VALUES ('bob', '447900000003', TRUE)"#;
    sqlx::raw_sql(bob).execute(&system.pool).await.unwrap();
    let (code, shown) = act(&["client", "change-phone", "ann", OTHER, "--yes"]).await;
    assert_eq!((code, shown.contains("pays or holds a number itself")), (1, true), "{shown}");

    let (code, shown) = act(&["client", "change-phone", "ann", NEW, "--yes", "--json", "--why", "old SIM gone"]).await;
    assert_eq!((code, shown.contains(r#""outcome":"phone_moved""#)), (0, true), "{shown}");
    assert!(texts(&system.pool, CLIENTS).await.contains(&MOVED.to_owned()));
    assert!(system.stand_in.bodies_to(NEW)[0].starts_with("Done: your JobRun"));
    let log =
        "SELECT concat_ws(' ', action, why, details ->> 'new') FROM audit_log WHERE action = 'client.change_phone'";
    assert_eq!(texts(&system.pool, log).await, ["client.change_phone old SIM gone +44…002"]);

    // Everything about her is given and erased, also from her time on the old phone.
    let (code, shown) = act(&["client", "export", "ann", "--json"]).await;
    assert!(code == 0 && shown.contains("\"phone_changes\"") && !shown.contains("code_hmac"), "{shown}");
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_of_both_phones_that_wait_are_processed_before_the_move_and_once() {
    let system = with_ann(3).await;
    say(&system, NEW, ASKS).await;
    let code = last_code(&system);
    // The code, and texts of both phones around it, all at once.
    let all =
        [(OLD, "hello?"), (NEW, "Plumber from London"), (NEW, code.as_str()), (OLD, "are you there?"), (NEW, "thanks")];
    let sent = all.map(|(phone, body)| system.stand_in.text(phone, body));
    for answer in futures::future::join_all(sent).await {
        assert_eq!(answer.unwrap().status, 200);
    }
    system.settle().await.unwrap();
    assert!(texts(&system.pool, CLIENTS).await.contains(&MOVED.to_owned()), "{:?}", texts(&system.pool, CLIENTS).await);
    let (waiting, twice) = (
        "SELECT count(*) FROM events WHERE processed_at IS NULL AND kind <> 'delivery_report'",
        "SELECT count(*) FROM (SELECT event_id FROM messages WHERE kind NOT LIKE 'phone%' GROUP BY event_id HAVING count(*) > 1) AS twice",
    );
    assert_eq!((count(&system.pool, waiting).await, count(&system.pool, twice).await), (0, 0));
    assert_eq!(count(&system.pool, "SELECT count(*) FROM messages WHERE kind = 'phone_moved'").await, 1);
    system.shut_down().await.unwrap();
}

/// The texts that Ann got on her old phone and the payments that name it are hers, also when it is another person's.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_person_with_the_old_phone_is_given_none_of_the_client_s_rows_and_erases_none() {
    let system = with_ann_and_erasures().await;
    assert!(say(&system, OLD, "Hello").await[0].contains("You're all set"));
    // She gave the phone to Stripe as well.
    let reference = texts(&system.pool, r#"SELECT "paymentReference" FROM clients WHERE id = 'ann'"#).await;
    for mut event in Sale::new(Some(&reference[0])).paid_by_card() {
        if event["type"] == "checkout.session.completed" {
            event["data"]["object"]["customer_details"] = json!({ "phone": OLD, "name": "Ann Carver" });
        }
        assert_eq!(system.stand_in.stripe(&event).await.unwrap().status, 200);
    }
    system.settle().await.unwrap();
    // One of Stripe's events about her names no subscription.
    let of_no_subscription = r#"INSERT INTO events (source, external_id, kind, lane, payload, received_at, processed_at, outcome)
           VALUES ('stripe', 'evt_customer', 'stripe', 'stripe:evt_customer',
                   '{"kind": "stripe", "phone": "+447900000001", "name": "Ann Carver"}', now(), now(), 'noted')"#;
    execute(&system, of_no_subscription).await;
    move_ann(&system, NEW).await;
    say(&system, OLD, "Hi").await;
    let of_ann = "SELECT count(*) FROM messages WHERE client_id = 'ann' AND to_phone = '+447900000001'";
    assert_eq!(count(&system.pool, of_ann).await, 2);
    let hers = ["all set", "has moved to a new phone", "Ann Carver"];
    for command in [&["client", "export", OLD, "--json", "--why", "it asked"][..], &["client", OLD]] {
        let (code, shown, errors) = system.operator(command).await.unwrap();
        assert!(code == 0 && shown.contains("What's your trade"), "{shown}{errors}");
        assert_eq!(hers.into_iter().find(|words| shown.contains(words)), None, "{command:?}: {shown}");
    }
    let erase = ["client", "erase", OLD, "--yes", "--why", "it asked"];
    let (code, shown, errors) = system.operator(&erase).await.unwrap();
    assert_eq!(code, 0, "{shown}{errors}");
    assert_eq!(count(&system.pool, of_ann).await, 2, "they are not erased with another person");
    let (_, history, _) = system.operator(&["client", "ann"]).await.unwrap();
    assert!(hers[..2].iter().all(|words| history.contains(words)), "{history}");
    let (code, shown, errors) = system.operator(&["client", "export", "ann", "--json"]).await.unwrap();
    assert!(code == 0 && hers.into_iter().all(|words| shown.contains(words)), "{shown}{errors}");
    system.shut_down().await.unwrap();
}

/// Ann has had two phones before. Another person has the second one now.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_person_is_told_no_other_phone_of_the_client() {
    let system = with_ann(1).await;
    for phone in [NEW, OTHER] {
        move_ann(&system, phone).await;
    }
    say(&system, NEW, "Hi").await;
    let other_phones = [OLD, OTHER].map(|phone| phone.trim_start_matches('+'));
    for command in [&["client", "export", NEW, "--json", "--why", "it asked"][..], &["client", NEW]] {
        let (code, shown, errors) = system.operator(command).await.unwrap();
        assert!(code == 0 && shown.contains("What's your trade"), "{shown}{errors}");
        assert_eq!(other_phones.into_iter().find(|phone| shown.contains(phone)), None, "{command:?}: {shown}");
    }
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_of_a_newcomer_forgets_the_code_that_the_old_phone_got() {
    let system = with_ann_and_erasures().await;
    say(&system, NEW, ASKS).await;
    let with_a_code = "SELECT count(*) FROM messages WHERE kind = 'phone_code' AND body ~ '[0-9]{6}'";
    assert_eq!(count(&system.pool, with_a_code).await, 1);
    // While the text is on its way it is looked for at Twilio by its words.
    execute(
        &system,
        "UPDATE messages SET status = 'unknown', next_attempt_at = now() + INTERVAL '1 day' WHERE kind = 'phone_code'",
    )
    .await;
    let erase = ["client", "erase", NEW, "--yes", "--why", "it asked"];
    let (code, _, errors) = system.operator(&erase).await.unwrap();
    assert!(code == 1 && errors.contains("on its way"), "{errors}");
    execute(&system, "UPDATE messages SET status = 'delivered', next_attempt_at = NULL WHERE kind = 'phone_code'")
        .await;
    let (code, shown, errors) = system.operator(&erase).await.unwrap();
    assert_eq!(code, 0, "{shown}{errors}");
    assert_eq!(count(&system.pool, with_a_code).await, 0);
    system.shut_down().await.unwrap();
}

/// The newcomer whom Ann's second phone was had asked to move from a number of nobody's.
#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_removes_requests_that_name_a_former_phone() {
    let system = with_ann_and_erasures().await;
    execute(&system, r#"UPDATE clients SET "paymentActive" = FALSE"#).await;
    say(&system, NEW, "I've got a new phone, my old number is 07900000009").await;
    for phone in [NEW, OTHER] {
        move_ann(&system, phone).await;
    }
    assert_eq!(count(&system.pool, "SELECT count(*) FROM phone_changes").await, 3);
    let (code, shown, errors) =
        system.operator(&["client", "erase", OTHER, "--yes", "--why", "she asked"]).await.unwrap();
    assert_eq!(code, 0, "{shown}{errors}");
    assert_eq!(count(&system.pool, "SELECT count(*) FROM phone_changes").await, 0);
    system.shut_down().await.unwrap();
}

/// The new phone was live once, and a caller left a message then: its erasure would not find it otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn the_messages_of_the_new_phone_s_callers_follow() {
    let system = with_ann(1).await;
    say(&system, NEW, "Hi").await;
    let left = r#"INSERT INTO voicemails (client_id, recording_sid, recorded_at, expires_at, next_attempt_at)
                  SELECT id, 'RE00000000000000000000000000000001', now(), now() + INTERVAL '7 days', now() + INTERVAL '7 days'
                  FROM clients WHERE "phoneNumber" = '447900000002'"#;
    sqlx::raw_sql(left).execute(&system.pool).await.unwrap();
    move_ann(&system, NEW).await;
    assert_eq!(count(&system.pool, "SELECT count(*) FROM voicemails WHERE client_id = 'ann'").await, 1);
}

async fn execute(system: &TestSystem, statement: impl Into<String>) {
    sqlx::raw_sql(AssertSqlSafe(statement.into())).execute(&system.pool).await.unwrap();
}

/// Returns the reference in the payment link of a phone's client.
async fn reference_of(system: &TestSystem, phone: &str) -> String {
    let select = r#"SELECT "paymentReference" FROM clients WHERE "phoneNumber" = $1"#;
    sqlx::query_scalar(select).bind(phone.trim_start_matches('+')).fetch_one(&system.pool).await.unwrap()
}

async fn pay(system: &TestSystem, sale: &Sale) {
    for event in sale.paid_by_card() {
        assert_eq!(system.stand_in.stripe(&event).await.unwrap().status, 200);
    }
    system.settle().await.unwrap();
}

async fn prove(system: &TestSystem) -> Vec<String> {
    say(system, NEW, ASKS).await;
    let code = last_code(system);
    say(system, NEW, &code).await
}

const PAYERS: &str = "SELECT concat_ws(' ', client_id, standing) FROM subscriptions ORDER BY heard_of_at, id";
const OPEN_ALERTS: &str = "SELECT cause FROM alerts WHERE cleared_at IS NULL ORDER BY cause";

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_by_the_link_of_a_newcomer_reaches_the_client_that_it_became() {
    let system = with_ann(1).await;
    say(&system, NEW, "Hi").await;
    let (own, newcomers) = (reference_of(&system, OLD).await, reference_of(&system, NEW).await);
    pay(&system, &Sale::new(Some(&own))).await;
    assert!(prove(&system).await[0].starts_with("Done"));
    assert_eq!(reference_of(&system, NEW).await, own, "her own link stays");
    // She pays already, so this is one payment too many.
    let second = Sale::new(Some(&newcomers));
    pay(&system, &second).await;
    assert_eq!(texts(&system.pool, PAYERS).await, ["ann active", "ann active"]);
    assert_eq!(texts(&system.pool, OPEN_ALERTS).await, ["paid-twice:ann"]);
    system.stand_in.stripe(&second.after(60).subscription("deleted", "canceled", None)).await.unwrap();
    system.settle().await.unwrap();
    assert_eq!(texts(&system.pool, OPEN_ALERTS).await, [""; 0]);

    // The references go along from move to move: this client was another one's phone before it became Ann's.
    let third = "+447900000004";
    say(&system, OTHER, "Hi").await;
    let others = reference_of(&system, OTHER).await;
    say(&system, third, "Hi").await;
    let thirds = reference_of(&system, third).await;
    let id: String = sqlx::query_scalar(r#"SELECT id FROM clients WHERE "phoneNumber" = '447900000004'"#)
        .fetch_one(&system.pool)
        .await
        .unwrap();
    for (client, phone) in [(id.as_str(), OTHER), ("ann", OTHER)] {
        let (code, shown, errors) = system.operator(&["client", "change-phone", client, phone, "--yes"]).await.unwrap();
        assert_eq!(code, 0, "{shown}{errors}");
        system.settle().await.unwrap();
    }
    for reference in [&others, &thirds] {
        pay(&system, &Sale::new(Some(reference))).await;
    }
    assert_eq!(texts(&system.pool, PAYERS).await.iter().filter(|it| it.starts_with("ann ")).count(), 4);
    assert_eq!(texts(&system.pool, OPEN_ALERTS).await, ["paid-twice:ann"]);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_who_does_not_pay_any_more_is_served_for_a_payment_by_its_newcomer_s_link() {
    let system = with_ann(1).await;
    execute(
        &system,
        r#"UPDATE clients SET "paymentActive" = FALSE, "paymentStanding" = 'ended', "twilioNumber" = NULL WHERE id = 'ann';
           UPDATE onboarding_states SET current_state = 'S5_CONFIRM_LIVE' WHERE client_id = 'ann';
           UPDATE twilio_number_pool SET status = 'AVAILABLE', client_id = NULL"#,
    )
    .await;
    say(&system, NEW, "Hi").await;
    let newcomers = reference_of(&system, NEW).await;
    assert!(prove(&system).await[0].starts_with("Done"));
    pay(&system, &Sale::new(Some(&newcomers))).await;
    let ann = texts(&system.pool, CLIENTS).await;
    assert!(ann.len() == 1 && ann[0].starts_with("ann|447900000002|+447100000001|t|"), "{ann:?}");
    system.shut_down().await.unwrap();
}

/// Either the payment comes first, and the two stay two; or the move does, and the payment is the client's.
#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_crosses_a_move_belongs_to_a_client_in_either_order() {
    for _ in 0..3 {
        let system = with_ann(2).await;
        say(&system, NEW, ASKS).await;
        let (code, reference) = (last_code(&system), reference_of(&system, NEW).await);
        let sale = Sale::new(Some(&reference));
        let (told, paid) = tokio::join!(system.stand_in.text(NEW, &code), async {
            for event in sale.paid_by_card() {
                system.stand_in.stripe(&event).await.unwrap();
            }
        });
        assert_eq!((told.unwrap().status, paid), (200, ()));
        system.settle().await.unwrap();
        let newcomer = r#"SELECT count(*) FROM clients WHERE id <> 'ann' AND "paymentActive""#;
        let whose = if count(&system.pool, newcomer).await == 1 { "the newcomer" } else { "ann" };
        let payers = texts(&system.pool, PAYERS).await;
        assert_eq!((payers.len(), payers[0] == "ann active"), (1, whose == "ann"), "{payers:?}");
        assert!(payers[0].ends_with(" active"), "{payers:?}");
        assert_eq!(count(&system.pool, "SELECT count(*) FROM alerts WHERE cause LIKE 'payment-unassigned%'").await, 0);
        system.shut_down().await.unwrap();
    }
}

const ABOUT_PERSON: &str = "SELECT about FROM alerts WHERE cause LIKE 'person-wanted:%' AND cleared_at IS NULL";

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_did_not_ask_for_the_move_is_heard_as_its_client() {
    // Before the move: the client itself says so.
    let system = with_ann(1).await;
    say(&system, NEW, ASKS).await;
    say(&system, OLD, "PERSON").await;
    let about = texts(&system.pool, ABOUT_PERSON).await;
    assert!(about.len() == 1 && about[0].contains("client ann") && about[0].contains("new phone"), "{about:?}");
    let case = "SELECT concat_ws('|', client_id, said) FROM cases WHERE closed_at IS NULL";
    let said = texts(&system.pool, case).await;
    assert!(
        said.len() == 1 && said[0].starts_with("ann|PERSON") && said[0].contains("a code was asked for"),
        "{said:?}"
    );
    system.shut_down().await.unwrap();

    // After it, the old phone is a stranger's.
    let system = with_ann(1).await;
    assert!(prove(&system).await[0].starts_with("Done"));
    say(&system, OLD, "PERSON").await;
    let about = texts(&system.pool, ABOUT_PERSON).await;
    assert!(about.len() == 1 && about[0].contains("client ann"), "{about:?}");
    let said = texts(&system.pool, case).await;
    assert!(said.len() == 1 && !said[0].starts_with("ann|") && said[0].contains("client ann"), "{said:?}");
    let (_, shown, _) = system.operator(&["cases"]).await.unwrap();
    assert!(shown.contains("client ann"), "{shown}");
    // Much later, the phone may be another person's.
    execute(
        &system,
        "UPDATE phone_changes SET asked_at = asked_at - INTERVAL '31 days', ended_at = ended_at - INTERVAL '31 days';
         UPDATE cases SET closed_at = now(), closed_by = 'ada'; UPDATE alerts SET cleared_at = now()",
    )
    .await;
    say(&system, OLD, "PERSON").await;
    let about = texts(&system.pool, ABOUT_PERSON).await;
    assert!(about.len() == 1 && !about[0].contains("client ann"), "{about:?}");
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn guessed_codes_raise_an_alert_that_names_the_client_and_ends_by_itself() {
    let system = with_ann(1).await;
    say(&system, NEW, ASKS).await;
    say(&system, OTHER, "I've got a new phone, my old number is 07900 999999").await;
    let code = wrong(&last_code(&system));
    let open =
        "SELECT concat_ws('|', cause, times) FROM alerts WHERE cleared_at IS NULL AND cause LIKE 'code-guesses%'";
    for nth in 1..=5 {
        assert_eq!(texts(&system.pool, open).await, [""; 0], "before wrong code {nth}");
        say(&system, NEW, &code).await;
        say(&system, OTHER, &code).await;
    }
    assert_eq!(texts(&system.pool, open).await, ["code-guesses:ann|1"], "none is about a number of no client");
    let about = texts(&system.pool, "SELECT about FROM alerts WHERE cause = 'code-guesses:ann'").await;
    assert!(about[0].contains("lient ann") && !about[0].contains("4479000000"), "{about:?}");
    execute(&system, "UPDATE alerts SET last_seen_at = now() - INTERVAL '25 hours'").await;
    eventually(PATIENCE, "it ends by itself", async || texts(&system.pool, open).await.is_empty()).await;

    // Three requests in a day, and one more.
    for _ in 0..2 {
        say(&system, NEW, ASKS).await;
    }
    assert_eq!(texts(&system.pool, open).await, [""; 0]);
    say(&system, NEW, ASKS).await;
    assert_eq!(texts(&system.pool, open).await, ["code-guesses:ann|1"]);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_comes_after_its_request_is_over_is_no_answer_to_a_question() {
    let system = with_ann(1).await;
    say(&system, NEW, "Plumber from London").await;
    say(&system, NEW, ASKS).await;
    let code = last_code(&system);
    execute(
        &system,
        "UPDATE phone_changes SET asked_at = now() - INTERVAL '20 minutes', expires_at = now() - INTERVAL '5 minutes'",
    )
    .await;
    let over = "SELECT count(*) FROM phone_changes WHERE outcome = 'expired' AND code_hmac IS NULL";
    eventually(PATIENCE, "the request is over", async || count(&system.pool, over).await == 1).await;
    let newcomer = "SELECT concat_ws(' ', current_state, misfits, collected_fields) FROM onboarding_states JOIN clients ON id = client_id
                    WHERE client_id <> 'ann'";
    let before = texts(&system.pool, newcomer).await;
    assert!(before.len() == 1 && before[0].starts_with("S2_BUSINESS_NAME"), "{before:?}");
    let told = say(&system, NEW, &code).await;
    assert!(told.len() == 1 && told[0].contains("that code has run out"), "{told:?}");
    assert_eq!(texts(&system.pool, newcomer).await, before, "nothing changes");
    assert!(texts(&system.pool, CLIENTS).await.contains(&"ann|447900000001|+447100000001|t|COMPLETE".to_owned()));
    // Words are answers as before, and so are digits a day later.
    assert!(say(&system, NEW, "1st Choice Plumbing").await[0].contains("your own name"));
    execute(&system, "UPDATE phone_changes SET asked_at = now() - INTERVAL '25 hours'").await;
    let told = say(&system, NEW, &code).await;
    assert!(!told[0].contains("has run out"), "{told:?}");
    sweep_twice(&system).await;
    system.shut_down().await.unwrap();
}
