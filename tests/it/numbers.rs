//! The numbers at Twilio: every fault is found, what is ours is mended, and nothing else is touched.

use jobrun::demo::Stage;
use jobrun::up::set_up_numbers;
use jobrun_shared::operator;
use jobrun_stand_in::Number;
use jobrun_tests::{PATIENCE, numbers, programs, stage};
use serde_json::Value;

/// What the scripts of an operator read.
const JSON: [&str; 3] = ["numbers", "check", "--json"];

/// A stage whose pool, and whose account at Twilio, holds the onboarding number and `count` others, all set up.
async fn stage_with_numbers(count: usize) -> Stage {
    let stage = stage(0).await;
    let pool = numbers(count);
    if count > 0 {
        operator::seed(&stage.pool, &pool).await.unwrap();
    }
    stage.stand_in.set_numbers(set_up_numbers(
        &stage.account.webhook_base_url,
        &stage.account.onboarding_number,
        &pool,
    ));
    stage
}

/// Changes the `n`th number of the account; the onboarding number is the 0th.
fn change(stage: &Stage, n: usize, change: impl FnOnce(&mut Number)) {
    let mut numbers = stage.stand_in.numbers();
    change(&mut numbers[n]);
    stage.stand_in.set_numbers(numbers);
}

/// What a check finds: number, name of the problem, and field.
async fn find(stage: &Stage) -> Vec<(String, String, Option<String>)> {
    let (code, stdout, stderr) = stage.operator(&JSON).await.unwrap();
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
async fn the_addresses_are_printed_as_twilio_is_to_be_given_them() {
    let stage = stage(0).await;
    let (code, stdout, _) = stage.operator(&["numbers", "webhooks"]).await.unwrap();
    let base = &stage.account.webhook_base_url;
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
        let form = stage.stand_in.text_form("+447900000001", "+447111111111", "Hi");
        let answer = stage.stand_in.post(&format!("/webhooks/twilio/{path}"), &form).await.unwrap();
        assert_ne!(answer.status, 404, "{path} is served");
    }
    assert_eq!((code, stdout), (0, expected));
    stage.strike().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_is_found_and_named() {
    let stage = stage_with_numbers(9).await;
    let pool = numbers(9);
    assert_eq!(find(&stage).await, []);
    let (code, stdout, _) = stage.operator(&["numbers", "check"]).await.unwrap();
    assert_eq!((code, stdout.as_str()), (0, "10 numbers: all is well\n"));

    let elsewhere = "https://demo.twilio.com/welcome/sms/reply";
    let set = |n: usize, field: &str, value: &str| change(&stage, n, |it| *it = it.clone().with(field, value));
    set(0, "SmsUrl", elsewhere);
    set(1, "SmsUrl", "");
    set(2, "VoiceUrl", elsewhere);
    set(3, "StatusCallback", &format!("{}/webhooks/twilio/voice/status#rc=1", stage.account.webhook_base_url));
    set(4, "VoiceMethod", "GET");
    set(5, "SmsApplicationSid", "AP1");
    set(6, "TrunkSid", "TK1");
    change(&stage, 7, |it| it.voice = false);
    change(&stage, 8, |it| it.sms = false);
    let mut numbers = stage.stand_in.numbers();
    numbers[9] = Number::new("+447222222222");
    stage.stand_in.set_numbers(numbers);
    let expected = [
        fault(&stage.account.onboarding_number, "elsewhere", Some("SmsUrl")),
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
    assert_eq!(find(&stage).await, expected);
    let (code, stdout, _) = stage.operator(&["numbers", "check"]).await.unwrap();
    assert_eq!(code, 1);
    assert!(
        stdout.contains(&format!("{:<17} pool        a message comes in: no address is set\n", pool[0])),
        "{stdout}"
    );
    assert!(stdout.contains("\n11 numbers: 0 well, 11 with 11 problems\n\nWhat to do:\n"), "{stdout}");
    assert_eq!(stdout.matches("jobrun numbers check --fix").count(), 1, "{stdout}");
    stage.stand_in.set_numbers(stage.stand_in.numbers().split_off(1));
    assert_eq!(find(&stage).await[0], fault(&stage.account.onboarding_number, "not_in_account", None));
    stage.strike().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_ours_is_mended_once_and_the_rest_is_left_alone() {
    let stage = stage_with_numbers(3).await;
    let stranger = Number::new("+447222222222").with("SmsApplicationSid", "AP2");
    let bought = Number::new(&numbers(1)[0]).with("VoiceApplicationSid", "AP1").with("TrunkSid", "TK1");
    let onboarding = Number::new(&stage.account.onboarding_number).with("VoiceApplicationSid", "AP1");
    let well = stage.stand_in.numbers().split_off(2);
    let account = [vec![onboarding, bought], well, vec![stranger]].concat();
    stage.stand_in.set_numbers(account.clone());

    let (code, stdout, stderr) = stage.operator(&["numbers", "check", "--fix"]).await.unwrap();
    assert_eq!((code, stderr.as_str()), (1, ""));
    let first = &numbers(1)[0];
    let set = "set SmsUrl, VoiceUrl, StatusCallback, VoiceApplicationSid";
    assert!(stdout.contains(&format!("{first:<17} {set}\n")), "{stdout}");
    assert!(stdout.contains("\n5 numbers: 3 well, 2 with 2 problems\n"), "{stdout}");
    let mended = stage.stand_in.numbers();
    let updates: Vec<u32> = mended.iter().map(|number| number.updates).collect();
    assert_eq!(updates, [1, 1, 0, 0, 0]);
    assert_eq!(mended[2..], account[2..]);
    assert_eq!(mended[0].fields["VoiceApplicationSid"], "AP1", "nobody is to ring the onboarding number");
    assert_eq!(mended[1].fields["VoiceApplicationSid"], "");
    let remaining = [fault(first, "trunk", Some("TrunkSid")), fault("+447222222222", "not_in_pool", None)];
    assert_eq!(find(&stage).await, remaining);

    let (code, again, _) = stage.operator(&["numbers", "check", "--fix"]).await.unwrap();
    assert_eq!(code, 1);
    assert!(!again.contains("set Sms") && again.contains("2 with 2 problems"), "{again}");
    assert_eq!(stage.stand_in.numbers(), mended);
    stage.strike().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_number_that_cannot_be_mended_does_not_stop_the_others() {
    let stage = stage_with_numbers(0).await;
    operator::seed(&stage.pool, &numbers(3)).await.unwrap();
    let mut account: Vec<Number> = numbers(3).iter().map(|number| Number::new(number)).collect();
    account[1].refuses_updates = true;
    account.extend(stage.stand_in.numbers());
    stage.stand_in.set_numbers(account);
    let (code, stdout, _) = stage.operator(&["numbers", "check", "--fix"]).await.unwrap();
    assert_eq!(code, 1);
    let refused = format!("{:<17} not changed: Twilio answered HTTP 503, error 20503\n", numbers(2)[1]);
    assert!(stdout.contains(&refused) && stdout.contains("  1 number could not be set up"), "{stdout}");
    assert!(stdout.contains("\n4 numbers: 3 well, 1 with 3 problems\n"), "{stdout}");

    let (code, stdout, _) = stage.operator(&["numbers", "check", "--json", "--fix"]).await.unwrap();
    let shown: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, shown["mended"][0]["error"].as_str()), (1, Some("Twilio answered HTTP 503, error 20503")));
    change(&stage, 1, |it| it.refuses_updates = false);
    let (code, stdout, _) = stage.operator(&["numbers", "check", "--fix"]).await.unwrap();
    assert_eq!(code, 0);
    assert!(stdout.ends_with("\n\n4 numbers: all is well\n"), "{stdout}");
    stage.strike().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_of_many_pages_is_read_to_its_end() {
    let stage = stage_with_numbers(120).await;
    let (code, stdout, stderr) = stage.operator(&["numbers", "check"]).await.unwrap();
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (0, "121 numbers: all is well\n", ""));
    change(&stage, 120, |it| it.sms = false);
    assert_eq!(find(&stage).await, [fault(&numbers(120)[119], "no_messages", None)]);
    stage.strike().await.unwrap();
}

/// Runs the command with nothing but these settings, and answers its exit code and everything it printed.
async fn run(arguments: &[&str], settings: &[(&str, &str)]) -> (i32, String) {
    let mut command = tokio::process::Command::new(programs().join("jobrun"));
    command.args(arguments).env_clear().envs(settings.iter().copied()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends").unwrap();
    (output.status.code().unwrap(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_settings_are_named_at_once_and_only_those_needed() {
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
async fn a_token_that_twilio_does_not_accept_is_said_to_be_that() {
    let mut stage = stage_with_numbers(1).await;
    stage.environment.insert("TWILIO_AUTH_TOKEN".to_owned(), "hush".to_owned());
    let (code, stdout, stderr) = stage.operator(&["numbers", "check", "--fix"]).await.unwrap();
    assert_eq!((code, stdout.as_str()), (1, ""));
    let words = "Twilio does not accept TWILIO_ACCOUNT_SID with the first token in TWILIO_AUTH_TOKEN (HTTP 401)";
    assert_eq!(stderr, format!("jobrun: {words}\n"));
    stage.environment.insert("TWILIO_API_BASE_URL".to_owned(), "http://127.0.0.1:1".to_owned());
    let (code, _, stderr) = stage.operator(&JSON).await.unwrap();
    assert!(code == 1 && stderr.contains("no connection to Twilio"), "{stderr}");
    stage.strike().await.unwrap();
}
