//! Buying numbers at Twilio: no number is bought twice, the cap holds, and no bought number is lost after a failure.

use std::process::Stdio;

use jobrun::demo::TestSystem;
use jobrun::playground::set_up_numbers;
use jobrun_shared::clock;
use jobrun_shared::numbers::{allocate, seed_release};
use jobrun_stand_in::{Fault, Offer};
use jobrun_tests::{PATIENCE, count, eventually, paid_clients, phone, programs, test_system_with, texts};
use serde_json::Value;

const BUNDLE: (&str, &str) = ("TWILIO_BUNDLE_SID", "BU0123456789abcdef0123456789abcdef");
const ADDRESS: (&str, &str) = ("TWILIO_ADDRESS_SID", "AD0123456789abcdef0123456789abcdef");

/// The first numbers that the stand-in offers.
const FIRST: &str = "+447400100001";
const SECOND: &str = "+447400100002";
const THIRD: &str = "+447400100003";

const PURCHASES: &str = "SELECT number || ' ' || state FROM number_purchases ORDER BY id";
const POOL: &str = "SELECT phone_e164 || ' ' || status || ' ' || region FROM twilio_number_pool ORDER BY seed_order";

/// Starts a test system whose account has the onboarding number and an approved bundle.
async fn test_system(workers: usize, settings: &[(&str, &str)]) -> TestSystem {
    let system = test_system_with(workers, &[&[BUNDLE, ("SWEEP_INTERVAL", "1h")], settings].concat()).await;
    let account = &system.account;
    system.stand_in.set_numbers(set_up_numbers(&account.webhook_base_url, &account.onboarding_number, &[]));
    system
}

/// Runs `jobrun pool buy --json`. Returns its exit status and the JSON that it prints.
async fn buy(system: &TestSystem, arguments: &[&str]) -> (i32, Value) {
    let arguments = [&["pool", "buy", "--json"], arguments].concat();
    let (code, stdout, stderr) = system.operator(&arguments).await.unwrap();
    (code, serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("no JSON, but: {stdout}{stderr}")))
}

/// Returns the numbers that the JSON lists under `name`.
fn numbers(shown: &Value, name: &str) -> Vec<String> {
    let number = |it: &Value| it.as_str().or_else(|| it["phoneE164"].as_str()).unwrap().to_owned();
    shown[name].as_array().unwrap().iter().map(number).collect()
}

/// Returns the account's numbers except the onboarding number.
fn account(system: &TestSystem) -> Vec<String> {
    system.stand_in.numbers().into_iter().skip(1).map(|number| number.phone_number).collect()
}

async fn sql(system: &TestSystem, statement: &'static str) {
    sqlx::raw_sql(statement).execute(&system.pool).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_yes_everything_is_shown_and_nothing_is_done() {
    let system = test_system(0, &[]).await;
    let (account, offers) = (system.stand_in.numbers(), system.stand_in.offers());
    let (code, stdout, stderr) = system.operator(&["pool", "buy", "--count", "2"]).await.unwrap();
    assert_eq!((code, stderr.as_str()), (0, ""));
    let base = &system.account.webhook_base_url;
    for line in [
        "+447400100001     would be bought",
        "+447400100002     would be bought",
        "2 would be bought of 2 asked for (GB, mobile)",
        "bundle                BU0123456789abcdef0123456789abcdef",
        "address               none: TWILIO_ADDRESS_SID is not set",
        &format!("VoiceUrl              {base}/webhooks/twilio/voice#rc=5&rp=ct,rt,5xx&ct=2000&rt=2500"),
        "cap                   10 within 30 days (POOL_BUY_MAX): 0 bought, 0 open, 10 left",
        "Nothing was bought. With --yes, numbers are bought, and paid for.",
    ] {
        assert!(stdout.lines().any(|it| it == line), "{line} is not in:\n{stdout}");
    }
    let (code, shown) = buy(&system, &["--count", "2"]).await;
    assert_eq!((code, numbers(&shown, "wouldBuy")), (0, vec![FIRST.to_owned(), SECOND.to_owned()]));
    assert_eq!((shown["dryRun"].as_bool(), shown["complete"].as_bool()), (Some(true), Some(true)));
    assert_eq!((system.stand_in.numbers(), system.stand_in.offers()), (account, offers));
    assert_eq!(count(&system.pool, "SELECT count(*) FROM number_purchases").await, 0);
    assert_eq!(count(&system.pool, "SELECT count(*) FROM twilio_number_pool").await, 0);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn bought_numbers_lead_to_our_webhooks_and_are_offered_to_waiting_clients() {
    let system = test_system(1, &[]).await;
    let ids = paid_clients(&system.pool, "client", 1).await;
    assert!(!allocate::allocate(&system.pool, &ids[0], clock::now(), None).await.unwrap().success);

    let arguments = ["pool", "buy", "--count", "2", "--yes", "--why", "clients wait"];
    let (code, stdout, stderr) = system.operator(&arguments).await.unwrap();
    assert_eq!((code, stderr.as_str()), (0, ""));
    let cap = "cap                   10 within 30 days (POOL_BUY_MAX): 2 bought, 0 open, 8 left";
    let expected = format!(
        "{FIRST}     bought; in the pool\n{SECOND}     bought; in the pool\n\n2 bought of 2 asked for (GB, mobile)\n\n{cap}\n"
    );
    assert_eq!(stdout, expected);
    assert_eq!(account(&system), [FIRST, SECOND]);
    assert_eq!(texts(&system.pool, POOL).await, [format!("{FIRST} AVAILABLE GB"), format!("{SECOND} AVAILABLE GB")]);
    let log = "SELECT action || ' ' || subject || ' ' || why FROM audit_log ORDER BY id";
    let bought = [FIRST, SECOND].map(|number| {
        [format!("number.ordered {number} clients wait"), format!("number.bought {number} clients wait")]
    });
    assert_eq!(texts(&system.pool, log).await, bought.concat());
    let settled = "SELECT count(*) FROM number_purchases WHERE state = 'bought' AND sid LIKE 'PN%'";
    assert_eq!(count(&system.pool, settled).await, 2);
    assert_eq!(system.stand_in.numbers()[1].fields["FriendlyName"], "JobRun pool");
    let (code, stdout, _) = system.operator(&["numbers", "check"]).await.unwrap();
    assert_eq!((code, stdout.as_str()), (0, "3 numbers: all is well\n"));

    let was_told = async || system.stand_in.bodies_to(&phone(1)).iter().any(|body| body.contains("number is ready"));
    eventually(PATIENCE, "the waiting client is told", was_told).await;
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cap_covers_all_runs_within_thirty_days() {
    let system = test_system(0, &[("POOL_BUY_MAX", "3")]).await;
    assert_eq!(buy(&system, &["--count", "2", "--yes"]).await.0, 0);
    for arguments in [&["--count", "2", "--yes"][..], &["--count", "2"]] {
        let (code, shown) = buy(&system, arguments).await;
        assert_eq!((code, shown["complete"].as_bool()), (2, Some(false)));
        let words =
            "POOL_BUY_MAX allows 3 within 30 days; 2 were bought, 0 are open, and 1 are left, but 2 more are wanted";
        assert_eq!(shown["why"].as_str(), Some(words));
    }
    assert_eq!(account(&system).len(), 2, "nothing is bought then");
    assert_eq!(buy(&system, &["--count", "1", "--yes"]).await.0, 0);
    assert_eq!(buy(&system, &["--count", "1", "--yes"]).await.0, 2);
    // The time of the purchase counts, not the time of its intent.
    sql(&system, "UPDATE number_purchases SET intended_at = now() - INTERVAL '31 days'").await;
    assert_eq!(buy(&system, &["--count", "1", "--yes"]).await.0, 2);
    sql(&system, "UPDATE number_purchases SET settled_at = now() - INTERVAL '31 days' WHERE id = 1").await;
    let (code, shown) = buy(&system, &["--count", "1", "--yes"]).await;
    assert_eq!((code, shown["cap"]["left"].as_u64(), account(&system).len()), (0, Some(0), 4));
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_runs_keep_the_cap_together() {
    let system = test_system(0, &[("POOL_BUY_MAX", "3")]).await;
    let mut codes: Vec<i32> = futures::future::join_all((0..6).map(|_| buy(&system, &["--count", "1", "--yes"])))
        .await
        .into_iter()
        .map(|(code, _)| code)
        .collect();
    codes.sort_unstable();
    assert_eq!(codes, [0, 0, 0, 2, 2, 2]);
    assert_eq!(account(&system), [FIRST, SECOND, THIRD]);
    assert_eq!(count(&system.pool, "SELECT count(*) FROM twilio_number_pool").await, 3);
    assert_eq!(count(&system.pool, "SELECT count(*) FROM number_purchases WHERE state = 'bought'").await, 3);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_under_way_is_left_alone_by_a_concurrent_run() {
    let system = test_system(0, &[]).await;
    // Another run has recorded its intent and waits for Twilio.
    let mut other = system.pool.acquire().await.unwrap();
    sqlx::raw_sql("SELECT pg_advisory_lock(4, 0)").execute(&mut *other).await.unwrap();
    sql(
        &system,
        "INSERT INTO number_purchases (number, country, number_type, intended_at)
         VALUES ('+447400100001', 'GB', 'mobile', now() - INTERVAL '1 hour')",
    )
    .await;
    let beside = async {
        let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = 4 AND NOT granted
                         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        eventually(PATIENCE, "the second run waits", async || count(&system.pool, waiting).await == 1).await;
        assert_eq!(texts(&system.pool, PURCHASES).await, [format!("{FIRST} intended")]);
        assert_eq!(account(&system), [""; 0]);
        sql(&system, "UPDATE number_purchases SET state = 'bought', sid = 'PN1', settled_at = now()").await;
        system.stand_in.offer(system.stand_in.offers().split_off(1));
        sqlx::raw_sql("SELECT pg_advisory_unlock(4, 0)").execute(&mut *other).await.unwrap();
    };
    let arguments = ["pool", "buy", "--count", "1", "--yes"];
    let (run, ()) = tokio::join!(system.operator(&arguments), beside);
    let (code, _, stderr) = run.unwrap();
    assert_eq!((code, stderr.as_str()), (0, "somebody else is buying numbers: waiting until that is done\n"));
    assert_eq!(texts(&system.pool, PURCHASES).await, [format!("{FIRST} bought"), format!("{SECOND} bought")]);
    drop(other);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_whose_response_is_lost_is_settled_at_once() {
    let system = test_system(0, &[]).await;
    let mut bought = 0;
    for (fault, found) in [
        (Fault::DroppedAfter, true),
        (Fault::ErrorAfter, true),
        (Fault::Unreadable, true),
        (Fault::DroppedBefore, false),
        (Fault::ErrorBefore, false),
    ] {
        system.stand_in.fail_next_purchase(fault);
        let (code, shown) = buy(&system, &["--count", "1", "--yes"]).await;
        bought += 1;
        assert_eq!((code, shown["bought"][0]["found"].as_bool()), (0, Some(found)), "{fault}: {shown}");
        assert_eq!((account(&system).len(), system.stand_in.offers().len()), (bought, 100 - bought), "{fault}");
        assert_eq!(
            count(&system.pool, "SELECT count(*) FROM twilio_number_pool").await,
            i64::try_from(bought).unwrap()
        );
    }
    assert_eq!(system.operator(&["numbers", "check"]).await.unwrap().0, 0);
    assert_eq!(count(&system.pool, "SELECT count(*) FROM number_purchases WHERE state = 'bought'").await, 5);
    assert_eq!(count(&system.pool, "SELECT count(*) FROM number_purchases").await, 5);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_that_cannot_be_settled_stays_open_and_the_next_run_begins_with_it() {
    let system = test_system(0, &[]).await;
    system.stand_in.fail_next_purchase(Fault::ErrorBefore);
    system.stand_in.fail_next_purchase(Fault::ErrorBefore);
    let (code, shown) = buy(&system, &["--count", "2", "--yes"]).await;
    assert_eq!((code, numbers(&shown, "open")), (1, vec![FIRST.to_owned()]));
    assert!(shown["why"].as_str().unwrap().contains("HTTP 500, error 20500, so nobody knows"), "{shown}");
    assert_eq!(account(&system), [""; 0], "no other is bought in its place");
    let (code, shown) = buy(&system, &["--count", "1"]).await;
    assert_eq!(
        (code, numbers(&shown, "wouldBuy"), numbers(&shown, "open")),
        (0, vec![FIRST.into()], vec![FIRST.into()])
    );

    let (code, shown) = buy(&system, &["--count", "2", "--yes"]).await;
    assert_eq!((code, numbers(&shown, "bought")), (0, vec![FIRST.to_owned(), SECOND.to_owned()]));
    assert_eq!(texts(&system.pool, PURCHASES).await, [format!("{FIRST} bought"), format!("{SECOND} bought")]);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_killed_leaves_a_number_that_the_next_run_finds() {
    let system = test_system(0, &[]).await;
    system.stand_in.fail_next_purchase(Fault::Late);
    let mut command = tokio::process::Command::new(programs().join("jobrun"));
    command.args(["pool", "buy", "--count", "3", "--yes"]).envs(&system.environment);
    let mut run = command.stdout(Stdio::null()).kill_on_drop(true).spawn().unwrap();
    eventually(PATIENCE, "Twilio has sold one", async || account(&system) == [FIRST]).await;
    run.kill().await.unwrap();
    assert_eq!(texts(&system.pool, PURCHASES).await, [format!("{FIRST} intended")]);
    assert_eq!(texts(&system.pool, POOL).await, [""; 0]);

    let (code, shown) = buy(&system, &["--count", "2", "--yes"]).await;
    assert_eq!((code, numbers(&shown, "bought")), (0, vec![FIRST.to_owned(), SECOND.to_owned()]), "{shown}");
    let found = [&shown["bought"][0]["found"], &shown["bought"][1]["found"]].map(Value::as_bool);
    assert_eq!(found, [Some(true), Some(false)]);
    assert_eq!(account(&system), [FIRST, SECOND]);
    assert_eq!(texts(&system.pool, POOL).await, [format!("{FIRST} AVAILABLE GB"), format!("{SECOND} AVAILABLE GB")]);
    let (code, stdout, _) = system.operator(&["numbers", "check"]).await.unwrap();
    assert_eq!((code, stdout.as_str()), (0, "3 numbers: all is well\n"));
    system.shut_down().await.unwrap();
}

/// A run was killed before it sent its request, and another account has bought the number meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn an_intended_purchase_is_given_up_once_its_request_can_no_longer_arrive() {
    let system = test_system(0, &[]).await;
    sql(
        &system,
        "INSERT INTO number_purchases (number, country, number_type, intended_at)
         VALUES ('+447400999999', 'GB', 'mobile', now()), ('+447400888888', 'GB', 'local', now())",
    )
    .await;
    let (code, shown) = buy(&system, &["--count", "1", "--yes"]).await;
    assert_eq!((code, numbers(&shown, "open")), (1, vec!["+447400999999".to_owned(), "+447400888888".to_owned()]));
    assert_eq!(account(&system), [""; 0], "it may still turn out to be bought");

    sql(&system, "UPDATE number_purchases SET intended_at = intended_at - INTERVAL '3 minutes'").await;
    let (code, shown) = buy(&system, &["--count", "1", "--yes"]).await;
    assert_eq!((code, numbers(&shown, "bought"), numbers(&shown, "open")), (0, vec![FIRST.to_owned()], Vec::new()));
    let expected = ["+447400999999 not_bought", "+447400888888 not_bought", "+447400100001 bought"];
    assert_eq!(texts(&system.pool, PURCHASES).await, expected);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_another_account_buys_first_gives_way_to_the_next() {
    let system = test_system(0, &[]).await;
    system.stand_in.sell_elsewhere(FIRST);
    let (code, stdout, _) = system.operator(&["pool", "buy", "--count", "2", "--yes"]).await.unwrap();
    assert_eq!((code, account(&system)), (0, vec![SECOND.to_owned(), THIRD.to_owned()]));
    let refused = format!("{FIRST}     not bought: Twilio answered HTTP 400, error 21422\n");
    assert!(stdout.contains(&refused) && stdout.contains("\n2 bought of 2 asked for"), "{stdout}");
    let expected = [format!("{FIRST} not_bought"), format!("{SECOND} bought"), format!("{THIRD} bought")];
    assert_eq!(texts(&system.pool, PURCHASES).await, expected);
    let cap = "(POOL_BUY_MAX): 2 bought, 0 open, 8 left\n";
    assert!(stdout.ends_with(cap), "a number that was not bought does not count: {stdout}");
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_numbers_that_take_texts_and_calls_are_bought_and_an_address_is_asked_for() {
    let mut system = test_system(0, &[]).await;
    let silent = Offer { voice: false, ..Offer::new("+447400200001") };
    let mute = Offer { sms: false, ..Offer::new("+447400200002") };
    let beta = Offer { beta: true, ..Offer::new("+447400200003") };
    let local = Offer { kind: "Local", ..Offer::new("+442071838750") };
    let held = Offer { address_requirements: "any", ..Offer::new("+447400200004") };
    seed_release::seed(&system.pool, &[FIRST.to_owned()]).await.unwrap();
    system.stand_in.offer(vec![silent, mute, beta, local, Offer::new(FIRST)]);
    for arguments in [&["--count", "1"][..], &["--count", "1", "--yes"]] {
        let (code, shown) = buy(&system, arguments).await;
        assert_eq!((code, shown["why"].as_str()), (1, Some("Twilio does not offer more that fit")));
    }
    system.stand_in.offer(vec![Offer::new(SECOND), held]);
    let (code, shown) = buy(&system, &["--count", "2"]).await;
    let words = "Twilio does not offer more that fit; 1 need an address: set TWILIO_ADDRESS_SID";
    assert_eq!((code, shown["why"].as_str(), numbers(&shown, "wouldBuy")), (1, Some(words), vec![SECOND.to_owned()]));
    system.environment.insert(ADDRESS.0.to_owned(), ADDRESS.1.to_owned());
    let (code, shown) = buy(&system, &["--count", "2", "--yes", "--type", "mobile", "--country", "uk"]).await;
    assert_eq!((code, numbers(&shown, "bought")), (0, vec![SECOND.to_owned(), "+447400200004".to_owned()]), "{shown}");
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_that_every_number_would_meet_stops_the_run_and_says_what_to_do() {
    let mut system = test_system(0, &[]).await;
    system.environment.remove(BUNDLE.0);
    let (code, shown) = buy(&system, &["--count", "3", "--yes"]).await;
    assert_eq!((code, numbers(&shown, "notBought"), numbers(&shown, "open")), (1, vec![FIRST.to_owned()], Vec::new()));
    let why = shown["why"].as_str().unwrap();
    assert!(why.contains("error 21649: set TWILIO_BUNDLE_SID (BU…)"), "{why}");
    system.environment.insert(BUNDLE.0.to_owned(), BUNDLE.1.to_owned());

    for (fault, says) in [
        (Fault::Unauthorised, "TWILIO_AUTH_TOKEN"),
        (Fault::TooMany, "try again in a minute"),
        (Fault::Refused(21615), "TWILIO_ADDRESS_SID"),
        (Fault::Refused(21404), "trial account"),
    ] {
        system.stand_in.fail_next_purchase(fault);
        let (code, shown) = buy(&system, &["--count", "3", "--yes"]).await;
        let why = shown["why"].as_str().unwrap();
        assert!(code == 1 && why.contains(says) && numbers(&shown, "notBought").len() == 1, "{fault}: {shown}");
    }
    // The error code is unknown: the run goes on to other numbers, and after three it takes the account for the cause.
    (0..4).for_each(|_| system.stand_in.fail_next_purchase(Fault::Refused(21999)));
    let (code, shown) = buy(&system, &["--count", "1", "--yes"]).await;
    assert_eq!((code, numbers(&shown, "notBought").len(), system.stand_in.count("21999")), (1, 3, 3), "{shown}");

    let (code, shown) = buy(&system, &["--count", "1", "--country", "IE"]).await;
    assert!(code == 1 && shown["why"].as_str().unwrap().contains("in this country"), "{shown}");
    system.stand_in.always(Some(Fault::Unavailable));
    let (code, shown) = buy(&system, &["--count", "1", "--yes"]).await;
    assert!(code == 1 && shown["why"].as_str().unwrap().contains("HTTP 503, error 20503: try again"), "{shown}");
    assert_eq!(account(&system), [""; 0]);
    let open = "SELECT count(*) FROM number_purchases WHERE state <> 'not_bought'";
    assert_eq!(count(&system.pool, open).await, 0);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_argument_or_setting_is_refused_by_name() {
    let system = test_system(0, &[("TWILIO_BUNDLE_SID", "BU1"), ("POOL_BUY_MAX", "many")]).await;
    for (arguments, says) in [
        (&["--count", "1"][..], "TWILIO_BUNDLE_SID is not BU and 32 hexadecimal digits"),
        (&["--count", "1"], "POOL_BUY_MAX is not a number"),
        (&["--count", "0"], "0 is not in 1.."),
        (&["--count", "1", "--type", "satellite"], "[possible values: mobile, local, national, toll-free]"),
        (&["--count", "1", "--country", "Great Britain"], "not a country by the two letters"),
        (&[], "--count <COUNT>"),
    ] {
        let (code, _, stderr) = system.operator(&[&["pool", "buy"], arguments].concat()).await.unwrap();
        assert!(code == 2 && stderr.contains(says), "{arguments:?}: {stderr}");
    }
    let (code, help, _) = system.operator(&["pool", "buy", "--help"]).await.unwrap();
    assert!(code == 0 && help.contains("POOL_BUY_MAX") && help.contains("prices"), "{help}");
    system.shut_down().await.unwrap();
}
