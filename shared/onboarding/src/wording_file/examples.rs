//! Values for the placeholders of wordings: a usual one for a preview, and the longest for the count of segments.

use crate::ANSWER_CHARS_MAX;
use crate::calls::EARLIER_MAX;
use crate::wording_name::Name;
use crate::words::{Template, Words};

/// The client's number: one that Ofcom gives to no client.
pub(super) const NUMBER: &str = "+447700900123";

/// Another number of Ofcom's.
const OTHER_NUMBER: &str = "+447700900456";

/// The client's number, as a landline dials it.
const DIALLED_NUMBER: &str = "07700900123";

/// As long as the links of Stripe's, with a client's reference.
const PAYMENT_LINK: &str =
    "https://buy.stripe.com/test_8x26oG3gt2Nd5Rfdti7kc00?client_reference_id=0123456789abcdef0123456789abcdef";

const PORTAL: &str = "https://billing.stripe.com/p/login/test_8x26oG3gt2Nd5Rfdti7kc00";

/// The name of a network that is as long as any.
const NETWORK: &str = "Tesco Mobile";

/// The times of ten calls but the last one: a text lists as many.
const TIMES: &str = "09:12, 09:40, 10:01, 10:02, 10:03, 10:04, 10:05, 10:06, 10:07";

/// The time of the last call.
const LAST: &str = "11:05";

/// The times of calls but the last one, as usual.
const FEW_TIMES: &str = "09:12, 09:40";

/// As long as the link to a message.
const MESSAGE_LINK: &str = "https://onboarding.example.com/v/0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";

/// The wordings of open questions. The first is the usual one.
const QUESTIONS: [Name; 14] = [
    Name::OwnerNameAgain,
    Name::Welcome,
    Name::TradeAndPlaceAgain,
    Name::AskPlace,
    Name::AskTrade,
    Name::BusinessNameAgain,
    Name::NotificationPrefAgain,
    Name::ConfirmLiveAgain,
    Name::AskPhoneType,
    Name::AskPhoneTypeWithoutNumber,
    Name::RemindForwarding,
    Name::RemindTestCall,
    Name::TestCallUnderWay,
    Name::AlreadyLive,
];

/// The wordings of open questions in replies that have room for a short one only.
const SHORT_QUESTIONS: [Name; 12] = [
    Name::OwnerNameAgain,
    Name::TradeAndPlaceAgain,
    Name::AskPlace,
    Name::AskTrade,
    Name::BusinessNameAgain,
    Name::NotificationPrefAgain,
    Name::ConfirmLiveAgain,
    Name::PhoneTypeInShort,
    Name::NetworkInShort,
    Name::ForwardingInShort,
    Name::TestCallInShort,
    Name::TestCallUnderWay,
];

/// The replies that have such a question in them.
const REPLIES_IN_SHORT: [Name; 2] = [Name::HelpOffered, Name::QuestionPassedOn];

/// The wordings of the instructions for each phone. The longest is the first.
const INSTRUCTIONS: [Name; 3] = [Name::ForwardIPhone, Name::ForwardAndroid, Name::ForwardLandline];

/// The wordings of other steps that a client is reminded of.
const STEPS: [Name; 14] = [
    Name::PaymentAgain,
    Name::NumberReady,
    Name::InstructionsAgain,
    Name::ForwardIPhone,
    Name::ForwardAndroid,
    Name::ForwardLandline,
    Name::ForwardIPhoneAnotherWay,
    Name::ForwardAndroidAnotherWay,
    Name::ForwardLandlineAnotherWay,
    Name::AskNetwork,
    Name::ForwardOnThree,
    Name::ForwardOnHost,
    Name::ForwardOnGuest,
    Name::ForwardOnUnknownNetwork,
];

/// Returns a placeholder of a wording, with values of it: the usual one first, and the longest. Empty if there is no such placeholder.
fn values(name: Name, placeholder: &str) -> Option<(&'static str, Vec<Words>)> {
    let of_names = |names: &[Name]| names.iter().copied().map(nested).collect();
    Some(match placeholder {
        "number" => ("number", vec![NUMBER.into()]),
        "caller" => ("caller", vec![OTHER_NUMBER.into()]),
        "onboarding_number" => ("onboarding_number", vec![OTHER_NUMBER.into()]),
        "dialled_number" => ("dialled_number", vec![DIALLED_NUMBER.into()]),
        "payment_link" => ("payment_link", vec![PAYMENT_LINK.into()]),
        "portal" => ("portal", vec![PORTAL.into()]),
        "limit" => ("limit", vec![ANSWER_CHARS_MAX.to_string().into()]),
        "answer" => ("answer", vec!["ABC Plumbing".into(), "w".repeat(ANSWER_CHARS_MAX).into()]),
        "business" => ("business", vec!["ABC Plumbing".into(), "w".repeat(ANSWER_CHARS_MAX).into()]),
        "network" => ("network", vec!["EE".into(), NETWORK.into()]),
        "how_often" => (
            "how_often",
            [counts().map(|it| Name::CallsTimes.with("count", it)).to_vec(), vec![Name::CallsTwice.into()]].concat(),
        ),
        "count" => ("count", counts().to_vec()),
        "day" => ("day", vec![Name::CallsToday.into(), Name::CallsInDay.into()]),
        "when" => ("when", times().to_vec()),
        "times" => ("times", vec![FEW_TIMES.into(), TIMES.into()]),
        "first" => ("first", vec!["09:12".into()]),
        "last" => ("last", vec![LAST.into()]),
        "length" => ("length", vec![" (0:42)".into()]),
        "link" => ("link", vec![MESSAGE_LINK.into()]),
        "days" => ("days", vec!["30".into()]),
        "code" => ("code", vec!["123456".into()]),
        "ending" => ("ending", vec!["456".into()]),
        "instructions" => ("instructions", of_names(&INSTRUCTIONS)),
        "question" if name == Name::Terms => {
            ("question", of_names(&[&SHORT_QUESTIONS[..], &[Name::AlreadyLive]].concat()))
        }
        "question" if REPLIES_IN_SHORT.contains(&name) => ("question", of_names(&SHORT_QUESTIONS)),
        "question" => ("question", of_names(&QUESTIONS)),
        "next_step" => ("next_step", [of_names(&QUESTIONS), of_names(&STEPS)].concat()),
        _ => return None,
    })
}

/// Returns counts of calls.
fn counts() -> [Words; 2] {
    ["3".into(), Name::CallsOver.with("limit", EARLIER_MAX.to_string())]
}

/// Returns the times of calls, in each form.
fn times() -> [Words; 5] {
    let at = |times: &str| Name::CallsAt.with("times", times).with("last", LAST);
    let from_to = Name::CallsFromTo.with("first", "09:12").with("last", LAST);
    [at(FEW_TIMES), at(TIMES), from_to, Name::CallsLastAt.with("last", LAST), "".into()]
}

/// Returns a wording that stands in another one. It takes the values that it has placeholders for.
fn nested(name: Name) -> Words {
    let words = name.with("number", NUMBER).with("dialled_number", DIALLED_NUMBER);
    let words = words.with("payment_link", PAYMENT_LINK).with("network", NETWORK);
    if name == Name::InstructionsAgain { words.with("instructions", nested(Name::ForwardIPhone)) } else { words }
}

/// Returns whether the programs can give a value to this placeholder of some wording.
pub(super) fn is_known(placeholder: &str) -> bool {
    Name::ALL.first().is_some_and(|name| values(*name, placeholder).is_some())
}

/// Returns a wording with values in every combination. The first has the usual ones.
pub(super) fn examples(name: Name, template: &Template) -> Vec<Words> {
    let mut placeholders: Vec<&str> = template.placeholders().collect();
    placeholders.sort_unstable();
    placeholders.dedup();
    placeholders.into_iter().filter_map(|it| values(name, it)).fold(
        vec![Words::from(name)],
        |all, (placeholder, values)| {
            let with_each = |words: Words| {
                let with = |value: &Words| words.clone().with(placeholder, value.clone());
                values.iter().map(with).collect::<Vec<_>>()
            };
            all.into_iter().flat_map(with_each).collect()
        },
    )
}
