//! `jobrun numbers check`: every fault of the numbers at Twilio is found, our settings are mended, and nothing else is changed.

use jobrun::demo::TestSystem;
use jobrun::playground::set_up_numbers;
use jobrun_shared::numbers::seed_release;
use jobrun_stand_in::Number;
use jobrun_tests::{PATIENCE, numbers, programs, test_system, texts};
use serde_json::Value;

/// The check, with output for an operator's scripts.
const JSON: [&str; 3] = ["numbers", "check", "--json"];

/// Starts a test system with `count` numbers in the pool, whose account at Twilio has them and the onboarding number, all set up.
async fn test_system_with_numbers(count: usize) -> TestSystem {
    let system = test_system(0).await;
    let pool = numbers(count);
    if count > 0 {
        seed_release::seed(&system.pool, &pool).await.unwrap();
    }
    system.stand_in.set_numbers(set_up_numbers(
        &system.account.webhook_base_url,
        &system.account.onboarding_number,
        &pool,
    ));
    system
}

/// Changes the `n`th number of the account; the onboarding number is the 0th.
fn change(system: &TestSystem, n: usize, change: impl FnOnce(&mut Number)) {
    let mut numbers = system.stand_in.numbers();
    change(&mut numbers[n]);
    system.stand_in.set_numbers(numbers);
}

/// Runs a check. Returns its findings: number, name of the problem, and field.
async fn find(system: &TestSystem) -> Vec<(String, String, Option<String>)> {
    let (code, stdout, stderr) = system.operator(&JSON).await.unwrap();
    let shown: Value = serde_json::from_str(&stdout).expect(&stderr);
    let mut found = Vec::new();
    for number in shown["numbers"].as_array().unwrap() {
        for problem in number["problems"].as_array().unwrap() {
            let text = |value: &Value| value.as_str().map(str::to_owned);
            found.push((text(&number["phoneE164"]).unwrap(), text(&problem["name"]).unwrap(), text(&problem["field"])));
        }
    }
    assert_eq!(shown["well"].as_bool().unwrap(), found.is_empty());
    assert_eq!(code, i32::from(!found.is_empty()), "{stderr}");
    found
}

fn fault(number: &str, name: &str, field: Option<&str>) -> (String, String, Option<String>) {
    (number.to_owned(), name.to_owned(), field.map(str::to_owned))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_webhook_addresses_are_printed_as_twilio_takes_them() {
    let system = test_system(0).await;
    let (code, stdout, _) = system.operator(&["numbers", "webhooks"]).await.unwrap();
    let base = &system.account.webhook_base_url;
    let rows = [
        ("onboarding", "a message comes in", "sms"),
        ("pool", "a message comes in", "sms"),
        ("pool", "a call comes in", "voice"),
        ("pool", "call status changes", "voice/status"),
    ];
    let mut expected = "NUMBER      WHEN                 METHOD  ADDRESS\n".to_owned();
    for (number, when, path) in rows {
        let address = format!("{base}/webhooks/twilio/{path}#rc=5&rp=ct,rt,5xx&ct=2000&rt=2500");
        expected += &format!("{number:<11} {when:<20} POST    {address}\n");
        let form = system.stand_in.text_form("+447900000001", "+447111111111", "Hi");
        let answer = system.stand_in.post(&format!("/webhooks/twilio/{path}"), &form).await.unwrap();
        assert_ne!(answer.status, 404, "{path} is served");
    }
    assert_eq!((code, stdout), (0, expected));
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_is_found_and_named() {
    let system = test_system_with_numbers(9).await;
    let pool = numbers(9);
    assert_eq!(find(&system).await, []);
    let (code, stdout, _) = system.operator(&["numbers", "check"]).await.unwrap();
    assert_eq!((code, stdout.as_str()), (0, "10 numbers: all is well\n"));

    let elsewhere = "https://demo.twilio.com/welcome/sms/reply";
    let set = |n: usize, field: &str, value: &str| change(&system, n, |it| *it = it.clone().with(field, value));
    set(0, "SmsUrl", elsewhere);
    set(1, "SmsUrl", "");
    set(2, "VoiceUrl", elsewhere);
    set(3, "StatusCallback", &format!("{}/webhooks/twilio/voice/status#rc=1", system.account.webhook_base_url));
    set(4, "VoiceMethod", "GET");
    set(5, "SmsApplicationSid", "AP1");
    set(6, "TrunkSid", "TK1");
    change(&system, 7, |it| it.voice = false);
    change(&system, 8, |it| it.sms = false);
    let mut numbers = system.stand_in.numbers();
    numbers[9] = Number::new("+447222222222");
    system.stand_in.set_numbers(numbers);
    let expected = [
        fault(&system.account.onboarding_number, "elsewhere", Some("SmsUrl")),
        fault(&pool[0], "not_set", Some("SmsUrl")),
        fault(&pool[1], "elsewhere", Some("VoiceUrl")),
        fault(&pool[2], "other_retries", Some("StatusCallback")),
        fault(&pool[3], "other_method", Some("VoiceMethod")),
        fault(&pool[4], "application", Some("SmsApplicationSid")),
        fault(&pool[5], "trunk", Some("TrunkSid")),
        fault(&pool[6], "no_calls", None),
        fault(&pool[7], "no_messages", None),
        fault(&pool[8], "not_in_account", None),
        fault("+447222222222", "not_in_pool", None),
    ];
    assert_eq!(find(&system).await, expected);
    let (code, stdout, _) = system.operator(&["numbers", "check"]).await.unwrap();
    assert_eq!(code, 1);
    assert!(
        stdout.contains(&format!("{:<17} pool        a message comes in: no address is set\n", pool[0])),
        "{stdout}"
    );
    assert!(stdout.contains("\n11 numbers: 0 well, 11 with 11 problems\n\nWhat to do:\n"), "{stdout}");
    assert_eq!(stdout.matches("jobrun numbers check --fix").count(), 1, "{stdout}");
    system.stand_in.set_numbers(system.stand_in.numbers().split_off(1));
    assert_eq!(find(&system).await[0], fault(&system.account.onboarding_number, "not_in_account", None));
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn our_settings_are_mended_once_and_the_rest_is_left_alone() {
    let system = test_system_with_numbers(3).await;
    let stranger = Number::new("+447222222222").with("SmsApplicationSid", "AP2");
    let bought = Number::new(&numbers(1)[0]).with("VoiceApplicationSid", "AP1").with("TrunkSid", "TK1");
    let onboarding = Number::new(&system.account.onboarding_number).with("VoiceApplicationSid", "AP1");
    let well = system.stand_in.numbers().split_off(2);
    let account = [vec![onboarding, bought], well, vec![stranger]].concat();
    system.stand_in.set_numbers(account.clone());

    let arguments = ["numbers", "check", "--fix", "--why", "a new address"];
    let (code, stdout, stderr) = system.operator(&arguments).await.unwrap();
    assert_eq!((code, stderr.as_str()), (1, ""));
    let log = "SELECT action || ' ' || COALESCE(subject, '-') || ' ' || why FROM audit_log ORDER BY id";
    let expected = [
        "numbers.fix_begun - a new address".to_owned(),
        format!("number.set_up {} a new address", system.account.onboarding_number),
        format!("number.set_up {} a new address", numbers(1)[0]),
    ];
    assert_eq!(texts(&system.pool, log).await, expected);
    let kept =
        "SELECT numbers || ' ' || with_problems || ' ' || (SELECT count(*) FROM checked_numbers) FROM number_checks";
    assert_eq!(texts(&system.pool, kept).await, ["5 2 5"]);
    let first = &numbers(1)[0];
    let set = "set SmsUrl, VoiceUrl, StatusCallback, VoiceApplicationSid";
    assert!(stdout.contains(&format!("{first:<17} {set}\n")), "{stdout}");
    assert!(stdout.contains("\n5 numbers: 3 well, 2 with 2 problems\n"), "{stdout}");
    let mended = system.stand_in.numbers();
    let updates: Vec<u32> = mended.iter().map(|number| number.updates).collect();
    assert_eq!(updates, [1, 1, 0, 0, 0]);
    assert_eq!(mended[2..], account[2..]);
    assert_eq!(mended[0].fields["VoiceApplicationSid"], "AP1", "the onboarding number takes no calls");
    assert_eq!(mended[1].fields["VoiceApplicationSid"], "");
    let remaining = [fault(first, "trunk", Some("TrunkSid")), fault("+447222222222", "not_in_pool", None)];
    assert_eq!(find(&system).await, remaining);

    let (code, again, _) = system.operator(&["numbers", "check", "--fix"]).await.unwrap();
    assert_eq!(code, 1);
    assert!(!again.contains("set Sms") && again.contains("2 with 2 problems"), "{again}");
    assert_eq!(system.stand_in.numbers(), mended);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_number_that_cannot_be_mended_does_not_stop_the_others() {
    let system = test_system_with_numbers(0).await;
    seed_release::seed(&system.pool, &numbers(3)).await.unwrap();
    let mut account: Vec<Number> = numbers(3).iter().map(|number| Number::new(number)).collect();
    account[1].refuses_updates = true;
    account.extend(system.stand_in.numbers());
    system.stand_in.set_numbers(account);
    let (code, stdout, _) = system.operator(&["numbers", "check", "--fix"]).await.unwrap();
    assert_eq!(code, 1);
    let refused = format!("{:<17} not changed: Twilio answered HTTP 503, error 20503\n", numbers(2)[1]);
    assert!(stdout.contains(&refused) && stdout.contains("  1 number could not be set up"), "{stdout}");
    assert!(stdout.contains("\n4 numbers: 3 well, 1 with 3 problems\n"), "{stdout}");

    let (code, stdout, _) = system.operator(&["numbers", "check", "--json", "--fix"]).await.unwrap();
    let shown: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, shown["mended"][0]["error"].as_str()), (1, Some("Twilio answered HTTP 503, error 20503")));
    change(&system, 1, |it| it.refuses_updates = false);
    let (code, stdout, _) = system.operator(&["numbers", "check", "--fix"]).await.unwrap();
    assert_eq!(code, 0);
    assert!(stdout.ends_with("\n\n4 numbers: all is well\n"), "{stdout}");
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_of_many_pages_is_read_to_its_end() {
    let system = test_system_with_numbers(120).await;
    let (code, stdout, stderr) = system.operator(&["numbers", "check"]).await.unwrap();
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (0, "121 numbers: all is well\n", ""));
    change(&system, 120, |it| it.sms = false);
    assert_eq!(find(&system).await, [fault(&numbers(120)[119], "no_messages", None)]);
    let kept = "SELECT place || ' ' || number || ' ' || (problems -> 0 ->> 'name') FROM checked_numbers WHERE problems <> '[]'";
    assert_eq!(
        texts(&system.pool, kept).await,
        [format!("121 {} no_messages", numbers(120)[119])],
        "the newest is kept"
    );
    system.shut_down().await.unwrap();
}

/// Runs the command with only these settings. Returns its exit code and everything it printed.
async fn run(arguments: &[&str], settings: &[(&str, &str)]) -> (i32, String) {
    let mut command = tokio::process::Command::new(programs().join("jobrun"));
    command.args(arguments).env_clear().envs(settings.iter().copied()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends").unwrap();
    (output.status.code().unwrap(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_settings_are_all_named_at_once_and_only_those_needed() {
    let (code, printed) = run(&["numbers", "check"], &[]).await;
    assert_eq!(code, 2, "{printed}");
    for name in ["TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "PUBLIC_BASE_URL", "DATABASE_URL"] {
        assert!(printed.contains(&format!("{name} is not set")), "{name} is not in: {printed}");
    }
    let (code, printed) = run(&["numbers", "webhooks"], &[]).await;
    assert!(code == 2 && printed.contains("PUBLIC_BASE_URL is not set"), "{printed}");
    let (code, printed) = run(&["numbers", "webhooks"], &[("PUBLIC_BASE_URL", "https://example.com/")]).await;
    assert!(code == 0 && printed.contains(" https://example.com/webhooks/twilio/sms#"), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_twilio_does_not_accept_is_named_as_the_cause() {
    let mut system = test_system_with_numbers(1).await;
    system.environment.insert("TWILIO_AUTH_TOKEN".to_owned(), "hush".to_owned());
    let (code, stdout, stderr) = system.operator(&["numbers", "check", "--fix"]).await.unwrap();
    assert_eq!((code, stdout.as_str()), (1, ""));
    let words = "Twilio does not accept TWILIO_ACCOUNT_SID with the first token in TWILIO_AUTH_TOKEN (HTTP 401)";
    assert_eq!(stderr, format!("jobrun: {words}\n"));
    system.environment.insert("TWILIO_API_BASE_URL".to_owned(), "http://127.0.0.1:1".to_owned());
    let (code, _, stderr) = system.operator(&JSON).await.unwrap();
    assert!(code == 1 && stderr.contains("no connection to Twilio"), "{stderr}");
    system.shut_down().await.unwrap();
}
