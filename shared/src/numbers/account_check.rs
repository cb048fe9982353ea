//! Compares the numbers of the account at Twilio with the pool, and finds the problems. Pure.

use std::collections::{HashMap, HashSet};
use std::fmt;

use jobrun_twilio::numbers::Number;
use jobrun_twilio::webhooks::{self, METHOD, Occasion, Purpose};

/// Our side of the comparison with the account at Twilio.
#[derive(Clone, Copy, Debug)]
pub struct Ours<'a> {
    /// The address at which Twilio reaches us, without a slash at the end.
    pub public_base_url: &'a str,
    /// The number that clients text.
    pub onboarding_number: &'a str,
    /// The numbers of the pool.
    pub pool: &'a [String],
}

/// A number and its problems.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The number, E.164.
    pub number: String,
    /// Its purpose, if it is ours.
    pub purpose: Option<Purpose>,
    /// Its SID at Twilio, if the account has it.
    pub sid: Option<String>,
    /// Its problems, of which a number that is set up correctly has none.
    pub problems: Vec<NumberProblem>,
}

/// A problem of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberProblem {
    /// The account does not have it, although it has a purpose.
    NotInAccount(Purpose),
    /// The account has it, and it has no purpose.
    NotInPool,
    /// It is the onboarding number, and in the pool, so that a client could be given it.
    OnboardingInPool,
    /// It cannot take texts.
    NoMessages,
    /// It cannot take calls.
    NoCalls,
    /// An application takes its texts: Twilio ignores the address.
    SmsApplication,
    /// An application takes its calls: Twilio ignores the addresses.
    VoiceApplication,
    /// A SIP trunk takes its calls: Twilio ignores the addresses.
    Trunk,
    /// The address is not set.
    NotSet(Occasion),
    /// The address is not ours.
    Elsewhere(Occasion),
    /// The address is ours, but does not ask for our retries.
    OtherRetries(Occasion),
    /// The method is not POST.
    OtherMethod(Occasion),
}

impl NumberProblem {
    /// Returns its name for scripts.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotInAccount(_) => "not_in_account",
            Self::NotInPool => "not_in_pool",
            Self::OnboardingInPool => "onboarding_in_pool",
            Self::NoMessages => "no_messages",
            Self::NoCalls => "no_calls",
            Self::SmsApplication | Self::VoiceApplication => "application",
            Self::Trunk => "trunk",
            Self::NotSet(_) => "not_set",
            Self::Elsewhere(_) => "elsewhere",
            Self::OtherRetries(_) => "other_retries",
            Self::OtherMethod(_) => "other_method",
        }
    }

    /// Returns the field of Twilio's REST API that is wrong, if one is.
    #[must_use]
    pub const fn field(self) -> Option<&'static str> {
        match self {
            Self::NotInAccount(_) | Self::NotInPool | Self::OnboardingInPool | Self::NoMessages | Self::NoCalls => None,
            Self::SmsApplication => Some("SmsApplicationSid"),
            Self::VoiceApplication => Some("VoiceApplicationSid"),
            Self::Trunk => Some("TrunkSid"),
            Self::NotSet(occasion) | Self::Elsewhere(occasion) | Self::OtherRetries(occasion) => {
                Some(occasion.url_field())
            }
            Self::OtherMethod(occasion) => Some(occasion.method_field()),
        }
    }

    /// Returns whether setting fields of the number mends it. Only the operator takes a number off a trunk.
    #[must_use]
    pub const fn is_mendable(self) -> bool {
        self.field().is_some() && !matches!(self, Self::Trunk)
    }

    /// Returns what the operator can do about it.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::NotInAccount(Purpose::Onboarding) => {
                "see that TWILIO_ONBOARDING_NUMBER belongs to the account in TWILIO_ACCOUNT_SID"
            }
            Self::NotInAccount(Purpose::Pool) => {
                "see that TWILIO_ACCOUNT_SID names the right account; a number that is gone for good has to leave the \
                 table twilio_number_pool"
            }
            Self::NotInPool => {
                "is it the one that clients text? then set TWILIO_ONBOARDING_NUMBER; jobrun pool seed NUMBER adds one to \
                 the pool; others are left alone"
            }
            Self::OnboardingInPool => "take the onboarding number out of the table twilio_number_pool",
            Self::NoMessages | Self::NoCalls => {
                "what a number can do is fixed: buy one that takes what it has to, and use that instead"
            }
            Self::Trunk => "take the number off its trunk, in Twilio's console under Elastic SIP Trunking",
            Self::SmsApplication
            | Self::VoiceApplication
            | Self::NotSet(_)
            | Self::Elsewhere(_)
            | Self::OtherRetries(_)
            | Self::OtherMethod(_) => "jobrun numbers check --fix sets addresses and methods, and empties applications",
        }
    }
}

impl fmt::Display for NumberProblem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotInAccount(purpose) => write!(formatter, "{} number that the account lacks", purpose.name()),
            Self::NotInPool => formatter.write_str("in the account, but not in the pool"),
            Self::OnboardingInPool => formatter.write_str("in the pool, though it is the onboarding number"),
            Self::NoMessages => formatter.write_str("cannot take messages"),
            Self::NoCalls => formatter.write_str("cannot take calls"),
            Self::SmsApplication => formatter.write_str("an application takes its messages (SmsApplicationSid)"),
            Self::VoiceApplication => formatter.write_str("an application takes its calls (VoiceApplicationSid)"),
            Self::Trunk => formatter.write_str("a SIP trunk takes its calls (TrunkSid)"),
            Self::NotSet(occasion) => write!(formatter, "{}: no address is set", occasion.words()),
            Self::Elsewhere(occasion) => write!(formatter, "{}: the address is not ours", occasion.words()),
            Self::OtherRetries(occasion) => {
                write!(formatter, "{}: the address does not ask for our retries", occasion.words())
            }
            Self::OtherMethod(occasion) => write!(formatter, "{}: the method is not {METHOD}", occasion.words()),
        }
    }
}

/// Returns the onboarding number, then the numbers of the pool, then the other numbers of the account, each with its problems.
#[must_use]
pub fn compare(account: &[Number], ours: &Ours<'_>) -> Vec<Checked> {
    let by_number: HashMap<&str, &Number> = account.iter().map(|it| (it.phone_number.as_str(), it)).collect();
    let pool: HashSet<&str> = ours.pool.iter().map(String::as_str).collect();
    let onboarding = std::iter::once((ours.onboarding_number, Purpose::Onboarding));
    let handed_out = ours.pool.iter().map(|number| (number.as_str(), Purpose::Pool));
    let known = onboarding.chain(handed_out.filter(|(number, _)| *number != ours.onboarding_number));
    let mut checked: Vec<Checked> = known
        .map(|(number, purpose)| check(number, purpose, by_number.get(number).copied(), ours.public_base_url))
        .collect();
    if pool.contains(ours.onboarding_number) {
        checked[0].problems.push(NumberProblem::OnboardingInPool);
    }
    let is_ours = |number: &str| number == ours.onboarding_number || pool.contains(number);
    checked.extend(account.iter().filter(|it| !is_ours(&it.phone_number)).map(not_ours));
    checked
}

fn check(number: &str, purpose: Purpose, found: Option<&Number>, public_base_url: &str) -> Checked {
    let problems = match found {
        None => vec![NumberProblem::NotInAccount(purpose)],
        Some(found) => {
            let addresses = webhooks::for_purpose(purpose).flat_map(|webhook| {
                let ours = webhook.address(public_base_url);
                check_address(found, webhook.occasion, &ours)
            });
            check_itself(found, purpose).into_iter().chain(addresses).collect()
        }
    };
    Checked { number: number.to_owned(), purpose: Some(purpose), sid: found.map(|it| it.sid.clone()), problems }
}

fn not_ours(number: &Number) -> Checked {
    Checked {
        number: number.phone_number.clone(),
        purpose: None,
        sid: Some(number.sid.clone()),
        problems: vec![NumberProblem::NotInPool],
    }
}

/// Checks the capabilities of the number, and whether an application or a trunk takes its texts or calls.
fn check_itself(number: &Number, purpose: Purpose) -> Vec<NumberProblem> {
    // No client is told to ring the onboarding number.
    let rings = purpose == Purpose::Pool;
    let looked_for = [
        (!number.capabilities.sms, NumberProblem::NoMessages),
        (rings && !number.capabilities.voice, NumberProblem::NoCalls),
        (!number.sms_application_sid.is_empty(), NumberProblem::SmsApplication),
        (rings && !number.voice_application_sid.is_empty(), NumberProblem::VoiceApplication),
        (rings && !number.trunk_sid.is_empty(), NumberProblem::Trunk),
    ];
    looked_for.into_iter().filter_map(|(found, problem)| found.then_some(problem)).collect()
}

fn check_address(number: &Number, occasion: Occasion, ours: &str) -> Vec<NumberProblem> {
    let (address, method) = match occasion {
        Occasion::Message => (&number.sms_url, &number.sms_method),
        Occasion::Call => (&number.voice_url, &number.voice_method),
        Occasion::CallStatus => (&number.status_callback, &number.status_callback_method),
    };
    let (place, fragment) = address.split_once('#').unwrap_or((address, ""));
    let looked_for = [
        (address.is_empty(), NumberProblem::NotSet(occasion)),
        // Compared exactly, because Twilio's signature covers the address.
        (ours.split_once('#').is_none_or(|(wanted, _)| place != wanted), NumberProblem::Elsewhere(occasion)),
        (!webhooks::asks_for_retries(fragment), NumberProblem::OtherRetries(occasion)),
    ];
    // Only the first problem is reported: an address that is not ours need not ask for our retries.
    let address = looked_for.into_iter().find_map(|(found, problem)| found.then_some(problem));
    address.into_iter().chain((method != METHOD).then_some(NumberProblem::OtherMethod(occasion))).collect()
}

/// Returns the fields to set on a number of ours, with their values. Empty when there is nothing to mend.
#[must_use]
pub fn mending(checked: &Checked, public_base_url: &str) -> Vec<(&'static str, String)> {
    let Some(purpose) = checked.purpose else { return Vec::new() };
    let wrong: Vec<&str> = checked.problems.iter().filter(|it| it.is_mendable()).filter_map(|it| it.field()).collect();
    let no_application =
        [NumberProblem::SmsApplication, NumberProblem::VoiceApplication].map(|it| (it.field(), String::new()));
    let no_application = no_application.into_iter().filter_map(|(field, empty)| Some((field?, empty)));
    set_up(purpose, public_base_url).into_iter().chain(no_application).filter(|it| wrong.contains(&it.0)).collect()
}

/// Returns the fields that a number of this purpose should have, with their values.
#[must_use]
pub fn set_up(purpose: Purpose, public_base_url: &str) -> Vec<(&'static str, String)> {
    let fields = |webhook: webhooks::Webhook| {
        let occasion = webhook.occasion;
        let method = (occasion.method_field(), METHOD.to_owned());
        [(occasion.url_field(), webhook.address(public_base_url)), method]
    };
    webhooks::for_purpose(purpose).flat_map(fields).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jobrun_twilio::numbers::Capabilities;

    const BASE: &str = "https://example.com";
    const ONBOARDING: &str = "+447476955179";
    const FIRST: &str = "+447111111111";

    fn ours<'a>(pool: &'a [String]) -> Ours<'a> {
        Ours { public_base_url: BASE, onboarding_number: ONBOARDING, pool }
    }

    fn number(phone_number: &str) -> Number {
        Number {
            sid: format!("PN{}", &phone_number[1..]),
            phone_number: phone_number.to_owned(),
            capabilities: Capabilities { sms: true, voice: true },
            sms_url: format!("{BASE}/webhooks/twilio/sms#rc=5&rp=ct,rt,5xx&ct=2000&rt=2500"),
            sms_method: METHOD.to_owned(),
            voice_url: format!("{BASE}/webhooks/twilio/voice#rc=5&rp=ct,rt,5xx&ct=2000&rt=2500"),
            voice_method: METHOD.to_owned(),
            status_callback: format!("{BASE}/webhooks/twilio/voice/status#rc=5&rp=ct,rt,5xx&ct=2000&rt=2500"),
            status_callback_method: METHOD.to_owned(),
            ..Number::default()
        }
    }

    /// Checks a pool of one number, after `change` has been made to it.
    fn after(change: impl Fn(&mut Number)) -> Checked {
        let mut first = number(FIRST);
        change(&mut first);
        let checked = compare(&[number(ONBOARDING), first], &ours(&[FIRST.to_owned()]));
        assert_eq!((checked.len(), checked[0].problems.as_slice()), (2, [].as_slice()));
        checked[1].clone()
    }

    #[test]
    fn a_number_that_is_set_up_has_no_problems() {
        assert_eq!(after(|_| {}).problems, []);
        assert_eq!(
            after(|it| it.sms_url = format!("{BASE}/webhooks/twilio/sms#e=dublin&rp=ct,rt,5xx&rc=5&ct=2000&rt=2500"))
                .problems,
            []
        );
    }

    #[test]
    fn every_problem_is_found_and_only_the_wrong_fields_are_set() {
        use NumberProblem::*;
        use Occasion::{Call, CallStatus, Message};
        type Case = (fn(&mut Number), NumberProblem, &'static [&'static str]);
        let cases: [Case; 14] = [
            (|it| it.sms_url.clear(), NotSet(Message), &["SmsUrl"]),
            (|it| it.voice_url.clear(), NotSet(Call), &["VoiceUrl"]),
            (|it| it.status_callback.clear(), NotSet(CallStatus), &["StatusCallback"]),
            (|it| it.sms_url = "https://demo.twilio.com/welcome".to_owned(), Elsewhere(Message), &["SmsUrl"]),
            (|it| it.voice_url = it.sms_url.clone(), Elsewhere(Call), &["VoiceUrl"]),
            (|it| it.status_callback.insert(8, 'x'), Elsewhere(CallStatus), &["StatusCallback"]),
            (|it| it.sms_url.truncate(it.sms_url.len() - 1), OtherRetries(Message), &["SmsUrl"]),
            (|it| it.sms_method = "GET".to_owned(), OtherMethod(Message), &["SmsMethod"]),
            (|it| it.voice_method.clear(), OtherMethod(Call), &["VoiceMethod"]),
            (|it| it.sms_application_sid = "AP1".to_owned(), SmsApplication, &["SmsApplicationSid"]),
            (|it| it.voice_application_sid = "AP1".to_owned(), VoiceApplication, &["VoiceApplicationSid"]),
            (|it| it.trunk_sid = "TK1".to_owned(), Trunk, &[]),
            (|it| it.capabilities.sms = false, NoMessages, &[]),
            (|it| it.capabilities.voice = false, NoCalls, &[]),
        ];
        for (change, problem, set) in cases {
            let checked = after(change);
            assert_eq!(checked.problems, [problem]);
            let fields: Vec<&str> = mending(&checked, BASE).into_iter().map(|(field, _)| field).collect();
            assert_eq!(fields, set, "{problem}");
        }
    }

    #[test]
    fn the_onboarding_number_need_not_take_calls() {
        let onboarding = Number {
            capabilities: Capabilities { sms: true, voice: false },
            voice_url: String::new(),
            voice_method: String::new(),
            status_callback: String::new(),
            voice_application_sid: "AP1".to_owned(),
            trunk_sid: "TK1".to_owned(),
            ..number(ONBOARDING)
        };
        assert_eq!(compare(&[onboarding], &ours(&[]))[0].problems, []);
    }

    #[test]
    fn numbers_that_only_the_account_or_only_the_pool_has_are_reported_and_not_changed() {
        let stranger = Number { sms_url: String::new(), ..number("+447222222222") };
        let checked = compare(&[stranger], &ours(&[FIRST.to_owned()]));
        let problems: Vec<NumberProblem> = checked.iter().flat_map(|it| it.problems.clone()).collect();
        let missing = [Purpose::Onboarding, Purpose::Pool].map(NumberProblem::NotInAccount);
        assert_eq!(problems, [missing[0], missing[1], NumberProblem::NotInPool]);
        assert_eq!(checked[2].purpose, None);
        assert!(checked.iter().all(|it| mending(it, BASE).is_empty()));
        let both = compare(&[number(ONBOARDING)], &ours(&[ONBOARDING.to_owned()]));
        assert_eq!((both.len(), both[0].problems.as_slice()), (1, [NumberProblem::OnboardingInPool].as_slice()));
    }

    #[test]
    fn the_fields_that_are_set_are_those_that_are_checked() {
        let fields = set_up(Purpose::Pool, BASE);
        let first = number(FIRST);
        let found = [&first.sms_url, &first.sms_method, &first.voice_url, &first.voice_method];
        let found = found.into_iter().chain([&first.status_callback, &first.status_callback_method]);
        assert!(fields.iter().map(|(_, value)| value).eq(found), "{fields:?}");
    }
}
