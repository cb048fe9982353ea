//! Reads the numbers that the operator adds to the pool, and says why a number is unfit.

use crate::E164;
use crate::phone::{as_people_write, bare};

/// The digits of a UK mobile number after +44, of which the first is 7.
const UK_MOBILE_DIGITS: usize = 10;

/// A number that can be added to the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeedNumber {
    /// The number.
    pub number: E164,
    /// Its ISO 3166 country.
    pub region: String,
}

/// Why a number cannot be in the pool.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It is not written as a phone number.
    #[error("not a phone number, such as +447911123456 or 07911 123456")]
    Unreadable,
    /// The 0 that is dialled only within the UK follows the country code. Holds the digits after it.
    #[error("has a 0 after +44, which is left out there: +44{0}")]
    ZeroAfterCode(String),
    /// Its country is unknown.
    #[error("begins with the calling code of no country")]
    NoCountry,
    /// Its country has no such numbers. Holds the ISO 3166 country.
    #[error("cannot exist: {0} has no numbers of this length that begin like this")]
    CannotExist(String),
    /// Its range has another use.
    #[error("can never be a client's: {0}")]
    OtherUse(&'static str),
    /// It is the number that clients text.
    #[error("is the number that clients text, TWILIO_ONBOARDING_NUMBER")]
    Onboarding,
}

const DRAMA: &str = "Ofcom keeps it for films and plays, and gives it to nobody";
const FREEPHONE: &str = "0800 and 0808 numbers are freephone, and take no texts";
const PERSONAL: &str = "070 numbers are personal numbers, which cost the caller extra";
const PREMIUM: &str = "09 numbers are premium rate";
const TEST: &str = "it is one of Twilio's test numbers, with which nothing is sent";

/// The ranges of numbers with another use. The first match counts.
///
/// Ofcom's numbers for drama are refused in the pool only. As callers they are accepted, and no test, demonstration or benchmark
/// needs one in the pool.
const OTHER_USES: [(&str, &str); 24] = [
    ("+447700900", DRAMA),
    ("+442079460", DRAMA),
    ("+441134960", DRAMA),
    ("+441144960", DRAMA),
    ("+441154960", DRAMA),
    ("+441164960", DRAMA),
    ("+441174960", DRAMA),
    ("+441184960", DRAMA),
    ("+441214960", DRAMA),
    ("+441314960", DRAMA),
    ("+441414960", DRAMA),
    ("+441514960", DRAMA),
    ("+441614960", DRAMA),
    ("+441914980", DRAMA),
    ("+442896496", DRAMA),
    ("+442920180", DRAMA),
    ("+441632960", DRAMA),
    ("+443069990", DRAMA),
    ("+448081570", DRAMA),
    ("+44800", FREEPHONE),
    ("+44808", FREEPHONE),
    ("+4470", PERSONAL),
    ("+449", PREMIUM),
    ("+15005550", TEST),
];

/// Returns the other use of `number`, if it has one.
fn other_use(number: &E164) -> Option<&'static str> {
    OTHER_USES.iter().find(|(beginning, _)| number.as_str().starts_with(beginning)).map(|(_, purpose)| *purpose)
}

/// Reads a number for the pool, written as a person in the UK writes it. `onboarding_number` cannot be in the pool.
///
/// # Errors
/// The reason why the number is unfit.
pub fn pool_number(text: &str, onboarding_number: Option<&E164>) -> Result<SeedNumber, Unfit> {
    let bare = bare(text);
    // A caller's number may be spelt so. A number of the pool is written once, then bought and rung, so it has to be right.
    if let Some(rest) = ["+440", "00440"].into_iter().find_map(|prefix| bare.strip_prefix(prefix)) {
        return Err(Unfit::ZeroAfterCode(rest.to_owned()));
    }
    let number = as_people_write(text).filter(|_| !bare.starts_with("+0")).ok_or(Unfit::Unreadable)?;
    if let Some(purpose) = other_use(&number) {
        return Err(Unfit::OtherUse(purpose));
    }
    let region = number.country().ok_or(Unfit::NoCountry)?;
    if !can_exist(&number) {
        return Err(Unfit::CannotExist(region));
    }
    if Some(&number) == onboarding_number { Err(Unfit::Onboarding) } else { Ok(SeedNumber { number, region }) }
}

/// Returns whether a number can exist. For UK mobile numbers the length decides, because new ranges are opened before the tables
/// have them.
fn can_exist(number: &E164) -> bool {
    let uk_mobile = number.as_str().strip_prefix("+44").filter(|rest| rest.starts_with('7'));
    match uk_mobile {
        Some(rest) => rest.len() == UK_MOBILE_DIGITS,
        None => phonenumber::parse(None, number.as_str()).is_ok_and(|number| number.is_valid()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_every_usual_spelling() {
        for written in [
            "+447911123456",
            "07911123456",
            "07911 123 456",
            "(07911) 123-456",
            "447911123456",
            "0044 7911 123456",
            "+44 (0)7911 123456",
        ] {
            let read = pool_number(written, None).unwrap();
            assert_eq!((read.number.as_str(), read.region.as_str()), ("+447911123456", "GB"), "{written}");
        }
        for good in ["+447111111110", "+447100000190", "+442071234567", "+353871234567", "+14158675309"] {
            assert!(pool_number(good, None).is_ok(), "{good}");
        }
    }

    /// Covers the ranges next to the refused ones.
    #[test]
    fn a_number_next_to_a_refused_range_is_accepted() {
        for good in
            ["+447700901000", "+447699900123", "+442079461000", "+441134961000", "+447100000190", "+442890123456"]
        {
            assert!(pool_number(good, None).is_ok(), "{good}");
        }
    }

    #[test]
    fn every_unfit_number_is_refused_with_its_reason() {
        let onboarding = E164::parse("+447476955179").unwrap();
        for (written, wrong) in [
            ("hello", Unfit::Unreadable),
            ("", Unfit::Unreadable),
            ("+44", Unfit::Unreadable),
            ("07911", Unfit::Unreadable),
            ("+07911 123456", Unfit::Unreadable),
            ("+0044 7911 123456", Unfit::Unreadable),
            ("0044 07911 123456", Unfit::ZeroAfterCode("7911123456".to_owned())),
            ("+4407911123456", Unfit::ZeroAfterCode("7911123456".to_owned())),
            ("+44 07911 123456", Unfit::ZeroAfterCode("7911123456".to_owned())),
            ("+9991234567", Unfit::NoCountry),
            ("+44791112345", Unfit::CannotExist("GB".to_owned())),
            ("+4479111234567", Unfit::CannotExist("GB".to_owned())),
            ("+446001234567", Unfit::CannotExist("GB".to_owned())),
            ("+35387123456789", Unfit::CannotExist("IE".to_owned())),
            ("07476 955179", Unfit::Onboarding),
            ("0800 123 4567", Unfit::OtherUse(FREEPHONE)),
            ("0808 123 4567", Unfit::OtherUse(FREEPHONE)),
            ("070 1234 5678", Unfit::OtherUse(PERSONAL)),
            ("+449061234567", Unfit::OtherUse(PREMIUM)),
            ("+15005550006", Unfit::OtherUse(TEST)),
            ("+15005550009", Unfit::OtherUse(TEST)),
            ("07700 900000", Unfit::OtherUse(DRAMA)),
            ("07700 900999", Unfit::OtherUse(DRAMA)),
            ("020 7946 0018", Unfit::OtherUse(DRAMA)),
            ("0113 496 0000", Unfit::OtherUse(DRAMA)),
            ("0161 496 0999", Unfit::OtherUse(DRAMA)),
            ("0191 498 0123", Unfit::OtherUse(DRAMA)),
            ("028 9649 6123", Unfit::OtherUse(DRAMA)),
            ("029 2018 0123", Unfit::OtherUse(DRAMA)),
            ("01632 960123", Unfit::OtherUse(DRAMA)),
            ("03069 990123", Unfit::OtherUse(DRAMA)),
            ("08081 570123", Unfit::OtherUse(DRAMA)),
        ] {
            assert_eq!(pool_number(written, Some(&onboarding)), Err(wrong), "{written}");
        }
    }
}
