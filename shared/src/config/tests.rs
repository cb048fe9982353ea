//! Settings that are right, wrong and missing.

use std::time::Duration;

use jobrun_onboarding::{Switches, Wordings};
use jobrun_twilio::signature::Algorithm;
use secrecy::ExposeSecret;

use super::reader::Source;
use super::*;

struct List<'a>(&'a [(&'a str, &'a str)]);

impl Source for List<'_> {
    fn get(&self, name: &str) -> Option<String> {
        self.0.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    }
}

const GOOD: [(&str, &str); 4] = [
    ("DATABASE_URL", "postgres://jobrun@localhost/jobrun"),
    ("TWILIO_ACCOUNT_SID", "AC1"),
    ("TWILIO_AUTH_TOKEN", "old, new"),
    ("PUBLIC_BASE_URL", "https://Example.com/jobrun/"),
];

#[test]
fn a_setting_that_is_not_set_has_its_documented_default() {
    let worker = Worker::read(&List(&GOOD)).unwrap();
    assert_eq!(worker.payment_link, None);
    assert_eq!(worker.sweep_interval, Duration::from_secs(60));
    assert_eq!(worker.cooling, Duration::from_secs(30 * 24 * 60 * 60));
    assert_eq!((worker.pool_level_min, worker.batch_max), (3, 200));
    assert_eq!(worker.retention, Duration::from_secs(400 * 24 * 60 * 60));
    assert_eq!(worker.twilio.onboarding_number.as_str(), "+447476955179");
    assert_eq!(worker.twilio.account.api_base_url, "https://api.twilio.com");
    assert_eq!(worker.twilio.account.public_base_url, "https://Example.com/jobrun");
    assert_eq!(worker.twilio.webhook_keys.len(), 2);
    assert_eq!(worker.twilio.signature_mode, SignatureMode::Enforce);
    assert_eq!((worker.switches, worker.reminders.has_cases), (Switches::ON, true));
    assert_eq!(worker.log, Log { format: LogFormat::Plain, filter: "info".to_owned() });
    assert_eq!(Ingress::read(&List(&GOOD)).unwrap().addr.to_string(), "0.0.0.0:8080");
}

#[test]
fn cases_and_changes_of_phone_can_be_switched_off() {
    let with = |name, value| Worker::read(&List(&[&GOOD[..], &[(name, value)]].concat()));
    let cases = with("CASES", "off").unwrap();
    assert_eq!((cases.switches, cases.reminders.has_cases), (Switches { cases: false, ..Switches::ON }, false));
    let phone_change = with("PHONE_CHANGE", "off").unwrap();
    assert_eq!(phone_change.switches, Switches { phone_change: false, ..Switches::ON });
    for name in ["CASES", "PHONE_CHANGE"] {
        assert!(with(name, "no").unwrap_err().to_string().contains(&format!("{name} is neither on nor off")));
    }
}

#[test]
fn retention_is_zero_or_at_least_30_days() {
    let with = |retention| {
        Worker::read(&List(&[&GOOD[..], &[("RETENTION", retention)]].concat())).map(|it| it.retention.as_secs())
    };
    assert_eq!((with("0s"), with("30d")), (Ok(0), Ok(30 * 24 * 60 * 60)));
    for wrong in ["29d", "1s", "year", "-1d", "200years"] {
        assert!(with(wrong).unwrap_err().to_string().contains("RETENTION"), "{wrong}");
    }
}

#[test]
fn wordings_come_from_a_file_and_each_fault_of_it_is_named() {
    let path = std::env::temp_dir().join(format!("jobrun-wordings-{}.toml", std::process::id()));
    let path = path.to_str().unwrap();
    let read = |file: &str| {
        std::fs::write(path, file).unwrap();
        Worker::read(&List(&[&GOOD[..], &[("WORDING_FILE", path)]].concat())).map(|it| it.wordings)
    };
    let built_in = Wordings::built_in();
    assert_eq!(read("language = \"en-GB\"").as_ref(), Ok(built_in));
    assert_ne!(read("language = \"en-GB\"\n[live]\ntext = \"You are live.\"").as_ref(), Ok(built_in));
    let problems = read("language = \"en-GB\"\n[live]\ntext = \"\"\n[x]\ntext = \"\"").unwrap_err().to_string();
    for fault in ["line 3: live is empty", "line 4: x is not the name of a wording"] {
        assert!(problems.contains(&format!("\n  WORDING_FILE {path}: {fault}")), "{problems}");
    }
    std::fs::remove_file(path).unwrap();
    let operator = Operator::read(&List(&[("WORDING_FILE", path)])).unwrap_err().to_string();
    assert!(operator.contains("cannot be read"), "{operator}");
    assert_eq!(&Worker::read(&List(&GOOD)).unwrap().wordings, built_in);
}

#[test]
fn every_wrong_setting_is_named_at_once_and_no_secret_is_shown() {
    let bad = [
        ("TWILIO_ACCOUNT_SID", "SKhush"),
        ("TWILIO_ONBOARDING_NUMBER", "0747"),
        ("PUBLIC_BASE_URL", "https://user:hush@example.com"),
        ("INGRESS_ADDR", "8080"),
        ("LOG_FORMAT", "xml"),
    ];
    let underscore = [("PUBLIC_BASE_URL", "https://my_host.example.com/a_b")];
    assert!(Ingress::read(&List(&underscore)).unwrap_err().to_string().contains("underscore"));
    let problems = Ingress::read(&List(&bad)).unwrap_err().to_string();
    for name in [
        "DATABASE_URL",
        "TWILIO_ACCOUNT_SID",
        "TWILIO_AUTH_TOKEN",
        "TWILIO_ONBOARDING_NUMBER",
        "PUBLIC_BASE_URL",
        "INGRESS_ADDR",
        "LOG_FORMAT",
    ] {
        assert!(problems.contains(name), "{name} is missing in: {problems}");
    }
    assert!(!problems.contains("hush"), "{problems}");
    let bad = [("SWEEP_INTERVAL", "soon"), ("PAYMENT_LINK_URL", "buy"), ("POOL_LEVEL_MIN", "-1")];
    let problems = Worker::read(&List(&bad)).unwrap_err().to_string();
    for name in ["SWEEP_INTERVAL", "PAYMENT_LINK_URL", "POOL_LEVEL_MIN"] {
        assert!(problems.contains(name), "{name} is missing in: {problems}");
    }
}

/// The operator would not find a mistake in a setting that the program does not read.
#[test]
fn jobrun_refuses_a_setting_of_the_other_programs_that_makes_no_sense() {
    for (name, value) in [
        ("SWEEP_INTERVAL", "banana"),
        ("AUDIT_INTERVAL", "5"),
        ("TWILIO_SEGMENTS_PER_SECOND", "0"),
        ("POOL_LEVEL_MIN", "-1"),
        ("POOL_BUY_MAX", "ten"),
        ("BATCH_MAX", "0"),
        ("RETENTION", "1d"),
        ("CASES", "no"),
        ("PHONE_CHANGE", "no"),
        ("STRIPE_LIVEMODE", "yes"),
        ("TWILIO_SIGNATURE_MODE", "off"),
    ] {
        let problems = Operator::read(&List(&[(name, value)])).unwrap_err().to_string();
        assert!(problems.contains(&format!("\n  {name} is n")), "{problems}");
        assert!(problems.ends_with(&format!(": {value:?}")), "{problems}");
    }
    for (name, value) in [
        ("TWILIO_ACCOUNT_SID", "SKhush"),
        ("TWILIO_API_BASE_URL", "hush"),
        ("TWILIO_SIGNATURE_ALGORITHMS", "hush"),
        ("TWILIO_BUNDLE_SID", "hush"),
        ("TWILIO_ADDRESS_SID", "hush"),
        ("PAYMENT_LINK_URL", "hush"),
        ("STRIPE_WEBHOOK_SECRET", "hush"),
        ("STRIPE_API_KEY", "sk_live_hush"),
        ("STRIPE_API_BASE_URL", "hush"),
        ("ERASURE_KEY", "hush"),
        ("SWEEP_INTERVAL", "hush0123456789abcdef01234"),
    ] {
        let problems = Operator::read(&List(&[(name, value)])).unwrap_err().to_string();
        assert!(problems.contains(&format!("\n  {name} ")) && !problems.contains("hush"), "{problems}");
    }
}

#[test]
fn joined_problems_are_each_named_once() {
    let joined = Problems::one("a").and(Some(Problems(vec!["b".to_owned(), "a".to_owned()]))).and(None);
    assert_eq!(joined, Problems(vec!["a".to_owned(), "b".to_owned()]));
}

fn with<'a>(settings: &[(&'a str, &'a str)]) -> Result<Ingress, Problems> {
    Ingress::read(&List(&[&GOOD, settings].concat()))
}

#[test]
fn the_settings_choose_which_signatures_are_accepted() {
    let keys = |settings: &[(&str, &str)]| -> Vec<(Algorithm, String)> {
        let keys = with(settings).unwrap().twilio.webhook_keys.into_iter();
        keys.map(|key| (key.algorithm, key.secret.expose_secret().to_owned())).collect()
    };
    let tokens = [(Algorithm::HmacSha1, "old".to_owned()), (Algorithm::HmacSha1, "new".to_owned())];
    let shared = [(Algorithm::HmacSha256, "one".to_owned()), (Algorithm::HmacSha256, "two".to_owned())];
    let shared_keys = ("TWILIO_SHARED_KEYS", "one, two");
    assert_eq!(keys(&[]), tokens);
    assert_eq!(keys(&[("TWILIO_SIGNATURE_ALGORITHMS", "sha256"), shared_keys]), shared);
    assert_eq!(keys(&[("TWILIO_SIGNATURE_ALGORITHMS", "sha256, sha1"), shared_keys]), [tokens, shared].concat());
    let report = with(&[("TWILIO_SIGNATURE_MODE", "report")]).unwrap();
    assert_eq!(report.twilio.signature_mode, SignatureMode::Report);
}

#[test]
fn contradictory_settings_of_signatures_are_named() {
    let not_set = "TWILIO_SHARED_KEYS is not set, and";
    let not_listed = "TWILIO_SHARED_KEYS is set, and";
    let no_list = "TWILIO_SIGNATURE_ALGORITHMS is not a list";
    let keys = ("TWILIO_SHARED_KEYS", "hush");
    for (settings, expected) in [
        (&[("TWILIO_SIGNATURE_ALGORITHMS", "sha256")][..], not_set),
        (&[("TWILIO_SIGNATURE_ALGORITHMS", "sha1,sha256"), ("TWILIO_SHARED_KEYS", " , ")], not_set),
        (&[keys], not_listed),
        (&[("TWILIO_SIGNATURE_ALGORITHMS", "sha1"), keys], not_listed),
        (&[("TWILIO_SIGNATURE_ALGORITHMS", "sha256,md5"), keys], no_list),
        (&[("TWILIO_SIGNATURE_ALGORITHMS", "SHA256"), keys], no_list),
        (&[("TWILIO_SIGNATURE_ALGORITHMS", ",")], no_list),
        (&[("TWILIO_SIGNATURE_MODE", "off")], "TWILIO_SIGNATURE_MODE is neither"),
    ] {
        let problems = with(settings).unwrap_err().to_string();
        assert!(problems.contains(expected) && !problems.contains("hush"), "{settings:?}: {problems}");
    }
}

#[test]
fn livemode_is_on_unless_the_payment_link_is_a_test_link() {
    let stripe = |settings: &[(&str, &str)]| with(settings).map(|it| it.stripe);
    let livemode = |settings: &[(&str, &str)]| stripe(settings).unwrap().livemode;
    let secret = ("STRIPE_WEBHOOK_SECRET", "whsec_old, whsec_new");
    let live = ("PAYMENT_LINK_URL", "https://buy.stripe.com/3cs8xy?locale=en");
    let test = ("PAYMENT_LINK_URL", "https://buy.stripe.com/test_3cs8xy");
    assert!(!livemode(&[]), "the placeholder is a test link");
    assert!(livemode(&[secret, live]) && !livemode(&[secret, test]));
    assert!(!livemode(&[secret, live, ("STRIPE_LIVEMODE", "false")]));
    assert_eq!(stripe(&[secret]).unwrap().webhook_secrets.len(), 2);
    let here = [("PAYMENT_LINK_URL", "http://127.0.0.1:8090/pay"), secret];
    assert_eq!(Worker::read(&List(&[&GOOD[..], &here].concat())).unwrap().payment_link.as_deref(), Some(here[0].1));
    for (settings, expected) in [
        (&[live][..], "STRIPE_WEBHOOK_SECRET is not set, and"),
        (&[("STRIPE_WEBHOOK_SECRET", "sk_hush")], "STRIPE_WEBHOOK_SECRET does not begin with whsec_"),
        (&[secret, test, ("STRIPE_LIVEMODE", "true")], "PAYMENT_LINK_URL is a test link"),
        (&[("STRIPE_LIVEMODE", "yes")], "STRIPE_LIVEMODE is neither"),
        (&[secret, ("PAYMENT_LINK_URL", "http://example.com/pay")], "PAYMENT_LINK_URL is not an https://"),
        (&[secret, ("PAYMENT_LINK_URL", "https://example.com/a b")], "PAYMENT_LINK_URL has a #"),
    ] {
        let problems = with(settings).unwrap_err().to_string();
        assert!(problems.contains(expected) && !problems.contains("hush"), "{settings:?}: {problems}");
    }
}

#[test]
fn the_key_for_stripe_is_a_restricted_one_of_the_mode_of_the_events() {
    let worker = |settings: &[(&str, &str)]| Worker::read(&List(&[&GOOD[..], settings].concat()));
    let (live, test) = (("STRIPE_API_KEY", "rk_live_hush"), ("STRIPE_API_KEY", "rk_test_hush"));
    let link = ("PAYMENT_LINK_URL", "https://buy.stripe.com/3cs8xy");
    assert!(worker(&[link]).unwrap().stripe_audit.is_none(), "without a key Stripe is not asked");
    let audit = worker(&[link, live]).unwrap().stripe_audit.unwrap();
    assert!(audit.livemode && audit.access.api_base_url == "https://api.stripe.com");
    assert!(!worker(&[test]).unwrap().stripe_audit.unwrap().livemode);
    assert!(!format!("{:?}", worker(&[test])).contains("hush"));
    for (settings, expected) in [
        (&[link, test][..], "STRIPE_API_KEY is a key of test mode, and live events are taken"),
        (&[live], "STRIPE_API_KEY is a key of live mode, and test events are taken"),
        (&[link, live, ("STRIPE_LIVEMODE", "false")], "STRIPE_API_KEY is a key of live mode"),
        (&[("STRIPE_API_KEY", "sk_test_hush")], "STRIPE_API_KEY does not begin with rk_live_ or rk_test_"),
        (&[test, ("STRIPE_API_BASE_URL", "ftp://hush")], "STRIPE_API_BASE_URL does not begin with"),
    ] {
        let problems = worker(settings).unwrap_err().to_string();
        assert!(problems.contains(expected) && !problems.contains("hush"), "{settings:?}: {problems}");
    }
}

#[test]
fn number_cooling_is_from_zero_to_five_years() {
    let cooling = |value| Operator::read(&List(&[("NUMBER_COOLING", value)])).map(|it| it.cooling.as_secs());
    assert_eq!(cooling("0s"), Ok(0));
    assert_eq!(cooling("90 days"), Ok(90 * 24 * 60 * 60));
    for senseless in ["30", "-1d", "6y", "a while"] {
        assert!(cooling(senseless).unwrap_err().to_string().contains("NUMBER_COOLING"), "{senseless}");
    }
}

#[test]
fn the_bundle_and_the_address_of_purchases_must_be_sids_of_their_kind() {
    let read = |settings: &[(&str, &str)]| Buying::read(&List(&[&GOOD, settings].concat()));
    let plain = read(&[]).unwrap();
    assert_eq!((plain.bundle_sid, plain.address_sid, plain.max), (None, None, 10));
    let (bundle, address) = ("BU0123456789abcdef0123456789ABCDEF", "AD0123456789abcdef0123456789ABCDEF");
    let set = [("TWILIO_BUNDLE_SID", bundle), ("TWILIO_ADDRESS_SID", address), ("POOL_BUY_MAX", "0")];
    let set = read(&set).unwrap();
    assert_eq!((set.bundle_sid.as_deref(), set.address_sid.as_deref(), set.max), (Some(bundle), Some(address), 0));
    let swapped = [("TWILIO_BUNDLE_SID", address), ("TWILIO_ADDRESS_SID", "ADhush"), ("POOL_BUY_MAX", "-1")];
    let problems = read(&swapped).unwrap_err().to_string();
    for (name, _) in swapped {
        assert!(problems.contains(&format!("{name} is not ")), "{name} is missing in: {problems}");
    }
    assert!(!problems.contains("hush") && !problems.contains(address), "{problems}");
}

/// Records which settings are read.
struct Recorded(std::cell::RefCell<std::collections::BTreeSet<String>>);

impl Source for Recorded {
    fn get(&self, name: &str) -> Option<String> {
        self.0.borrow_mut().insert(name.to_owned());
        List(&GOOD).get(name)
    }
}

#[test]
fn every_setting_of_the_table_is_read_by_a_program() {
    let recorded = Recorded(std::cell::RefCell::default());
    Ingress::read(&recorded).unwrap();
    Worker::read(&recorded).unwrap();
    Operator::read(&recorded).unwrap();
    Numbers::read(&recorded).unwrap();
    Buying::read(&recorded).unwrap();
    let asked_for = recorded.0.into_inner();
    for setting in SETTINGS {
        assert!(asked_for.contains(setting.name), "no program reads {}", setting.name);
    }
    let names: Vec<&str> = SETTINGS.iter().map(|setting| setting.name).collect();
    assert!(names.is_sorted(), "{names:?}");
}

#[test]
fn jobrun_up_listens_on_this_machine_only_unless_told_otherwise() {
    let up = Operator::read(&List(&[])).unwrap();
    assert_eq!(
        (up.ingress_addr.to_string(), up.stand_in_addr.to_string()),
        ("127.0.0.1:8080".to_owned(), "127.0.0.1:8090".to_owned())
    );
    assert_eq!((up.data_dir, up.twilio_account, up.stop_with_stdin), (None, None, false));
    let told = Operator::read(&List(&[("INGRESS_ADDR", "0.0.0.0:80"), ("STOP_WITH_STDIN", "true")])).unwrap();
    assert_eq!((told.ingress_addr.to_string(), told.stop_with_stdin), ("0.0.0.0:80".to_owned(), true));
    let bad = [("STAND_IN_ADDR", "8090"), ("STOP_WITH_STDIN", "maybe")];
    let problems = Operator::read(&List(&bad)).unwrap_err().to_string();
    assert!(bad.iter().all(|(name, _)| problems.contains(&format!("{name} is not "))), "{problems}");
}

#[test]
fn the_account_of_the_stand_in_is_recognised_by_its_sid_alone() {
    let settings = |sid| [&[("TWILIO_ACCOUNT_SID", sid)], &GOOD[..]].concat();
    let kind = |sid| Ingress::read(&List(&settings(sid))).unwrap().twilio.account_kind();
    assert_eq!(kind(STAND_IN_ACCOUNT_SID), AccountKind::StandIn);
    assert_eq!(kind("AC00000000000000000000000000000001"), AccountKind::Real);
    let up = |sid| Operator::read(&List(&[("TWILIO_ACCOUNT_SID", sid)])).unwrap().twilio_account;
    assert_eq!(up(STAND_IN_ACCOUNT_SID), Some(AccountKind::StandIn));
    for kind in AccountKind::ALL {
        assert_eq!(AccountKind::named(kind.name()), Some(kind));
    }
}

#[test]
fn a_setting_is_read_under_its_earlier_name() {
    let with = |settings: &[(&str, &str)]| Worker::read(&List(&[&GOOD[..], settings].concat())).map(|it| it.batch_max);
    assert_eq!((with(&[("SLICE_MAX", "7")]), with(&[("BATCH_MAX", "8")])), (Ok(7), Ok(8)));
    let problems = with(&[("SLICE_MAX", "7"), ("BATCH_MAX", "8")]).unwrap_err().to_string();
    assert!(problems.contains("BATCH_MAX and SLICE_MAX are both set") && !problems.contains("is not"), "{problems}");
    let problems = with(&[("SLICE_MAX", "0")]).unwrap_err().to_string();
    assert!(problems.contains("SLICE_MAX is not") && !problems.contains("BATCH_MAX"), "{problems}");
}

#[test]
fn a_secret_may_be_in_a_file_and_no_other_setting_may() {
    let path = std::env::temp_dir().join(format!("jobrun-secret-{}", std::process::id()));
    let path = path.to_str().unwrap();
    let read = |settings: &[(&str, &str)]| {
        let good: Vec<(&str, &str)> = GOOD.into_iter().filter(|(name, _)| *name != "TWILIO_AUTH_TOKEN").collect();
        Worker::read(&List(&[&good, settings].concat()))
    };
    std::fs::write(path, "from-a-file\n").unwrap();
    let from_file = read(&[("TWILIO_AUTH_TOKEN_FILE", path)]).unwrap();
    assert_eq!(from_file.twilio.account.auth_token.expose_secret(), "from-a-file");
    let both = read(&[("TWILIO_AUTH_TOKEN_FILE", path), ("TWILIO_AUTH_TOKEN", "hush")]).unwrap_err().to_string();
    assert!(
        both.contains("TWILIO_AUTH_TOKEN and TWILIO_AUTH_TOKEN_FILE are both set") && !both.contains("hush"),
        "{both}"
    );
    std::fs::write(path, " \n").unwrap();
    let empty = read(&[("TWILIO_AUTH_TOKEN_FILE", path)]).unwrap_err().to_string();
    assert!(empty.contains("TWILIO_AUTH_TOKEN_FILE names an empty file"), "{empty}");
    std::fs::remove_file(path).unwrap();
    let missing = read(&[("TWILIO_AUTH_TOKEN_FILE", path)]).unwrap_err().to_string();
    assert!(missing.contains("TWILIO_AUTH_TOKEN_FILE cannot be read: ") && !missing.contains("not set"), "{missing}");
    let operator = Operator::read(&List(&[("STRIPE_WEBHOOK_SECRET_FILE", path)]));
    assert!(operator.is_ok(), "a file of the ingress is not the operator's to read");
    let plain = [("TWILIO_AUTH_TOKEN", "token"), ("BATCH_MAX_FILE", path)];
    assert_eq!(read(&plain).unwrap().batch_max, 200, "it is no secret");
}

#[test]
fn debug_output_shows_no_secrets() {
    assert!(!format!("{:?}", Worker::read(&List(&GOOD)).unwrap()).contains("localhost/jobrun"));
}

#[test]
fn the_console_listens_on_this_machine_and_believes_no_header_by_default() {
    let console = Console::read(&List(&GOOD)).unwrap();
    assert_eq!(console.addr.to_string(), "127.0.0.1:8070");
    assert_eq!((console.public_url, console.proxy_header), (None, None));
    assert!(console.trusted_proxies.is_empty());
    assert_eq!(console.session_lifetime, Duration::from_secs(12 * 60 * 60));
}

#[test]
fn a_header_that_names_a_person_needs_a_trusted_proxy() {
    let with = |settings: &[(&str, &str)]| Console::read(&List(&[&GOOD[..], settings].concat()));
    let header = ("CONSOLE_PROXY_HEADER", "X-Forwarded-Email");
    assert!(with(&[header]).unwrap_err().to_string().contains("CONSOLE_TRUSTED_PROXIES"));
    let console = with(&[header, ("CONSOLE_TRUSTED_PROXIES", "10.0.0.7, ::1")]).unwrap();
    assert_eq!((console.trusted_proxies.len(), console.proxy_header.as_deref()), (2, Some("x-forwarded-email")));
    for wrong in
        [("CONSOLE_TRUSTED_PROXIES", "10.0.0.0/8"), ("CONSOLE_SESSION_LIFETIME", "31d"), ("CONSOLE_PUBLIC_URL", "x")]
    {
        assert!(with(&[wrong]).unwrap_err().to_string().contains(wrong.0), "{wrong:?}");
    }
}
