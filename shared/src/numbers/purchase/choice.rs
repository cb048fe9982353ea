//! Chooses among the numbers on offer, and interprets Twilio's refusals.

use std::collections::HashSet;

use jobrun_onboarding::E164;
use jobrun_onboarding::pool_number::{Unfit, pool_number};
use jobrun_twilio::Error;
use jobrun_twilio::numbers::Offered;

use super::order::Shortfall;

/// How many more numbers are searched for than are wanted: another buyer may be faster, and some may not fit.
pub(super) const SPARE: usize = 50;

/// The choice among the offered numbers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Chosen {
    /// The numbers that fit, in the order of the offer.
    pub(super) numbers: Vec<E164>,
    /// How many more would fit if the buyer had an address.
    pub(super) needing_address: usize,
    /// Numbers that cannot be in the pool, and why.
    pub(super) unfit: Vec<(String, Unfit)>,
}

/// Chooses the numbers that take both texts and calls, are not in beta, are not `known`, and need no address unless there is one.
pub(super) fn choose(
    offered: &[Offered],
    known: &HashSet<String>,
    has_address: bool,
    onboarding_number: &E164,
) -> Chosen {
    let mut chosen = Chosen::default();
    let fits = |it: &&Offered| it.capabilities.sms && it.capabilities.voice && !it.beta;
    for offer in offered.iter().filter(fits).filter(|it| !known.contains(&it.phone_number)) {
        // Twilio writes numbers in E.164 only, so a number in another form is an error.
        let number = E164::parse(&offer.phone_number).map_err(|_| Unfit::Unreadable);
        match number.and_then(|it| pool_number(it.as_str(), Some(onboarding_number))).map(|it| it.number) {
            Ok(_) if !has_address && !["", "none"].contains(&offer.address_requirements.as_str()) => {
                chosen.needing_address += 1;
            }
            Ok(number) if !chosen.numbers.contains(&number) => chosen.numbers.push(number),
            // The number is offered twice.
            Ok(_) => {}
            Err(unfit) => chosen.unfit.push((offer.phone_number.clone(), unfit)),
        }
    }
    chosen
}

/// The consequence of a refusal for the next numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RefusalScope {
    /// Only this number is refused: another buyer was faster, or it is not for sale.
    ThisNumber,
    /// An unknown code, which may concern this number only. A few such refusals are passed over.
    Odd,
    /// Every number would be refused. Holds what the operator can do.
    Every(&'static str),
}

/// Interprets a refusal. Source: the pages of Twilio's error codes.
pub(super) fn refusal_scope(error: &Error) -> RefusalScope {
    let Error::Refused { status, code } = error else {
        return match error {
            Error::Unauthorised => RefusalScope::Every("put the account's primary token first in TWILIO_AUTH_TOKEN"),
            _ => RefusalScope::Every("try again; nothing is bought twice"),
        };
    };
    match (code, status.as_u16()) {
        (Some(21421 | 21422), _) => RefusalScope::ThisNumber,
        (Some(21404), _) => {
            RefusalScope::Every("a trial account may have only one number: upgrade it in Twilio's console")
        }
        (Some(21615 | 21631), _) => RefusalScope::Every(
            "set TWILIO_ADDRESS_SID (AD…) to an address in the account that meets the country's rules",
        ),
        (Some(21649), _) => RefusalScope::Every(
            "set TWILIO_BUNDLE_SID (BU…) to a regulatory bundle that Twilio has approved for this country and type",
        ),
        (Some(21650 | 21651), _) => {
            RefusalScope::Every("complete the documents of the bundle in TWILIO_BUNDLE_SID, in Twilio's console")
        }
        (Some(20429), _) | (_, 429) => RefusalScope::Every("too many requests at a time: try again in a minute"),
        (Some(20003 | 20005 | 20006 | 20008 | 20403), _) | (_, 401 | 403) => RefusalScope::Every(
            "see in Twilio's console that the account in TWILIO_ACCOUNT_SID is active and may buy numbers",
        ),
        (Some(_), 404) => RefusalScope::Every("Twilio does not offer numbers of this type in this country"),
        (_, 500..) => RefusalScope::Every("try again in some minutes; nothing is bought twice"),
        (Some(_), _) => RefusalScope::Odd,
        (None, _) => {
            RefusalScope::Every("something between here and Twilio answers; see TWILIO_API_BASE_URL if it is set")
        }
    }
}

pub(super) fn refused(error: Error) -> Shortfall {
    let advice = match refusal_scope(&error) {
        RefusalScope::Every(advice) => advice,
        RefusalScope::ThisNumber | RefusalScope::Odd => "look the error up in Twilio's documentation",
    };
    Shortfall::Refused { error, advice }
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::*;
    use jobrun_twilio::numbers::Capabilities;

    fn offered(number: &str) -> Offered {
        Offered {
            phone_number: number.to_owned(),
            capabilities: Capabilities { sms: true, voice: true },
            address_requirements: "none".to_owned(),
            beta: false,
        }
    }

    #[test]
    fn only_unknown_numbers_that_take_texts_and_calls_are_chosen() {
        let mut offers: Vec<Offered> = (0..7).map(|n| offered(&format!("+44740000000{n}"))).collect();
        offers[0].capabilities.sms = false;
        offers[1].capabilities.voice = false;
        offers[2].beta = true;
        offers[4].address_requirements = "local".to_owned();
        offers[5].phone_number = "07400000005".to_owned();
        offers.push(offers[6].clone());
        let known = HashSet::from(["+447400000003".to_owned()]);
        let number = |n: u32| E164::parse(&format!("+44740000000{n}")).unwrap();
        offers.extend(["+4407400000009", "+447400000009"].map(offered));
        let unfit = || {
            let wrong = |number: &str, unfit| (number.to_owned(), unfit);
            vec![
                wrong("07400000005", Unfit::Unreadable),
                wrong("+4407400000009", Unfit::ZeroAfterCode("7400000009".to_owned())),
                wrong("+447400000009", Unfit::Onboarding),
            ]
        };
        let chosen = |numbers, needing_address| Chosen { numbers, needing_address, unfit: unfit() };
        assert_eq!(choose(&offers, &known, false, &number(9)), chosen(vec![number(6)], 1));
        assert_eq!(choose(&offers, &known, true, &number(9)), chosen(vec![number(4), number(6)], 0));
    }

    #[test]
    fn a_refusal_concerns_one_number_or_every_number() {
        let refusal = |status: u16, code: i32| Error::Refused {
            status: StatusCode::from_u16(status).unwrap(),
            code: (code > 0).then_some(code),
        };
        for (status, code) in [(400, 21421), (400, 21422)] {
            assert_eq!(refusal_scope(&refusal(status, code)), RefusalScope::ThisNumber, "{code}");
        }
        assert_eq!(refusal_scope(&refusal(400, 21999)), RefusalScope::Odd);
        for (status, code, says) in [
            (400, 21404, "upgrade"),
            (400, 21615, "TWILIO_ADDRESS_SID"),
            (400, 21631, "TWILIO_ADDRESS_SID"),
            (400, 21649, "TWILIO_BUNDLE_SID"),
            (400, 21651, "TWILIO_BUNDLE_SID"),
            (429, 20429, "in a minute"),
            (429, 0, "in a minute"),
            (403, 20008, "active"),
            (404, 20404, "country"),
            (503, 20503, "some minutes"),
            (400, 0, "TWILIO_API_BASE_URL"),
        ] {
            let RefusalScope::Every(advice) = refusal_scope(&refusal(status, code)) else {
                panic!("{status} {code} is met by every number");
            };
            assert!(advice.contains(says), "{status} {code}: {advice}");
        }
    }

    #[test]
    fn only_a_4xx_status_other_than_408_counts_as_a_refusal() {
        let refusal = |status: u16| Error::Refused { status: StatusCode::from_u16(status).unwrap(), code: None };
        for status in [400, 401, 403, 404, 429] {
            assert!(refusal(status).is_refusal(), "{status}");
        }
        for status in [302, 408, 500, 502, 503] {
            assert!(!refusal(status).is_refusal(), "{status}");
        }
        assert!(Error::Unauthorised.is_refusal() && !Error::Unreachable("").is_refusal());
        assert!(!Error::Unreadable("").is_refusal());
    }
}
