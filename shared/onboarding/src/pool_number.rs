//! Whether what somebody wrote can be a number of the pool, and what is wrong with it if not.

use crate::E164;
use crate::phone::{as_people_write, bare};

/// How many digits a mobile number of the UK has after +44, beginning with 7.
const UK_MOBILE_DIGITS: usize = 10;

/// A number that can be added to the pool, with the ISO 3166 country that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeedNumber {
    /// The number.
    pub number: E164,
    /// Its country.
    pub region: String,
}

/// Why a number cannot be in the pool.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It is not written like a phone number.
    #[error("not a phone number, such as +447911123456 or 07911 123456")]
    Unreadable,
    /// The 0 with which numbers begin within the UK stands after the country's code.
    #[error("has a 0 after +44, which is left out there: +44{0}")]
    ZeroAfterCode(String),
    /// Its country is not known.
    #[error("begins with the calling code of no country")]
    NoCountry,
    /// Its country has no such numbers.
    #[error("cannot exist: {0} has no numbers of this length that begin like this")]
    CannotExist(String),
    /// It is the number that clients text.
    #[error("is the number that clients text, TWILIO_ONBOARDING_NUMBER")]
    Onboarding,
}

/// Reads a number for the pool. `onboarding_number` cannot be one of its numbers.
///
/// # Errors
/// What is wrong with it.
pub fn pool_number(text: &str, onboarding_number: Option<&E164>) -> Result<SeedNumber, Unfit> {
    let bare = bare(text);
    // A caller's number is read in this spelling; what is to be bought and rung is written once, and has to be right.
    if let Some(rest) = ["+440", "00440"].into_iter().find_map(|prefix| bare.strip_prefix(prefix)) {
        return Err(Unfit::ZeroAfterCode(rest.to_owned()));
    }
    let number = as_people_write(text).filter(|_| !bare.starts_with("+0")).ok_or(Unfit::Unreadable)?;
    let region = number.country().ok_or(Unfit::NoCountry)?;
    if !can_exist(&number) {
        return Err(Unfit::CannotExist(region));
    }
    if Some(&number) == onboarding_number { Err(Unfit::Onboarding) } else { Ok(SeedNumber { number, region }) }
}

/// Ranges of UK mobile numbers are opened before tables of them are updated, so their shape is enough.
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
    fn numbers_are_read_as_people_write_them() {
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
        for good in ["+447111111110", "+447100000190", "+442079460018", "+353871234567", "+14158675309"] {
            assert!(pool_number(good, None).is_ok(), "{good}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_number_is_said() {
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
        ] {
            assert_eq!(pool_number(written, Some(&onboarding)), Err(wrong), "{written}");
        }
    }
}
