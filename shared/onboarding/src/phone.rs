//! Phone numbers as networks and people write them.
//!
//! [`E164`] masks its number in `Debug` and has no `Display`, so that a number does not reach a log by accident. Code that prints
//! one has to call [`E164::as_str`].

use std::fmt;

/// A phone number in E.164 form: a plus sign, the country code and the subscriber's number, at most 15 digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct E164(String);

/// The text is not a phone number in E.164 form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a phone number in E.164 form, such as +447700900123")]
pub struct NotE164;

impl E164 {
    /// Reads a number with its plus sign: `+447900000001`.
    ///
    /// # Errors
    /// When the text has another form, or fewer than 7 or more than 15 digits. The tables enforce the same form.
    pub fn parse(text: &str) -> Result<Self, NotE164> {
        let digits = text.strip_prefix('+').ok_or(NotE164)?;
        let shaped = (7..=15).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && !digits.starts_with('0');
        if shaped { Ok(Self(text.to_owned())) } else { Err(NotE164) }
    }

    /// Reads a number in the form of `clients."phoneNumber"`: digits without the plus sign.
    ///
    /// # Errors
    /// As [`E164::parse`].
    pub fn from_digits(digits: &str) -> Result<Self, NotE164> {
        Self::parse(&format!("+{digits}"))
    }

    /// Returns the whole number with its plus sign.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the whole number without its plus sign.
    #[must_use]
    pub fn digits(&self) -> &str {
        self.0.trim_start_matches('+')
    }

    /// Returns enough of the number to recognise it in a log, and not enough to call it: `+44…001`.
    #[must_use]
    pub fn masked(&self) -> String {
        let head: String = self.0.chars().take(3).collect();
        let tail = self.0.get(self.0.len().saturating_sub(3)..).unwrap_or_default();
        format!("{head}…{tail}")
    }

    /// Returns the ISO 3166 country of the number, if its calling code is known.
    #[must_use]
    pub fn country(&self) -> Option<String> {
        let parsed = phonenumber::parse(None, &self.0).ok()?;
        let code = parsed.code().value();
        // Jersey, Guernsey and the Isle of Man share +44, and the same numbers serve them.
        if code == 44 { Some("GB".to_owned()) } else { parsed.country().id().map(|id| id.as_ref().to_owned()) }
    }
}

/// The digits that networks put in place of a withheld number. They spell a word on the keypad: ANONYMOUS, RESTRICTED, BLOCKED,
/// UNKNOWN and UNAVAILABLE.
const WITHHELD: [&str; 5] = ["+266696687", "+7378742833", "+2562533", "+8656696", "+86282452253"];

/// Reads a caller's number. Returns `None` if it is withheld or could not be rung back. Twilio gives it in E.164 where it can, and
/// otherwise as the network does: `07…`, `447…`, `0044…` or `+4407…`, or any of these after a plus sign.
#[must_use]
pub fn caller(from: &str) -> Option<E164> {
    let number = as_written(from)?;
    (!WITHHELD.contains(&number.as_str())).then_some(number)
}

/// Reads a number as a person in the UK writes it: `+447900000001`, `447900000001`, `07900 000001`, `+44 (0)7900-000001` or
/// `0044 7900 000001`.
#[must_use]
pub fn as_people_write(text: &str) -> Option<E164> {
    as_written(text).or_else(|| E164::from_digits(&bare(text)).ok())
}

/// Returns a number without the marks between its digits, and without the bracketed zero that is dialled within a country only.
pub(crate) fn bare(text: &str) -> String {
    let digits =
        |text: &str| text.chars().filter(|it| !it.is_whitespace() && !"-().".contains(*it)).collect::<String>();
    let bare = digits(text);
    if bare.starts_with('+') || bare.starts_with("00") { digits(&text.replace("(0)", "")) } else { bare }
}

/// Reads a number in any spelling of networks and of people in the UK. Returns `None` if its country is unclear.
fn as_written(text: &str) -> Option<E164> {
    let bare = bare(text);
    let (has_plus, dialled) = bare.strip_prefix('+').map_or((false, bare.as_str()), |dialled| (true, dialled));
    // No country code begins with a zero, so these digits are written as dialled, even after a plus sign.
    if let Some(international) = dialled.strip_prefix("00") {
        return international_number(international);
    }
    if dialled.starts_with('0') {
        return uk_number(dialled);
    }
    let international = international_number(dialled);
    if has_plus {
        return international;
    }
    // Without a plus sign or a zero, the digits may begin with the country code or the area code.
    let international = international.filter(|number| dialled.starts_with("44") || is_valid(number));
    international.or_else(|| uk_number(&format!("0{dialled}")).filter(is_valid))
}

/// Reads digits that begin with the country code. A zero after 44 is dropped, as it is dialled within the UK only.
fn international_number(digits: &str) -> Option<E164> {
    match digits.strip_prefix("440") {
        Some(_) => uk_number(digits.strip_prefix("44")?),
        None => E164::from_digits(digits).ok(),
    }
}

/// Reads a number as dialled within the UK: a zero, and nine or ten more digits.
fn uk_number(dialled: &str) -> Option<E164> {
    let national = dialled.strip_prefix('0').filter(|it| (9..=10).contains(&it.len()) && !it.starts_with('0'))?;
    E164::parse(&format!("+44{national}")).ok()
}

fn is_valid(number: &E164) -> bool {
    phonenumber::parse(None, number.as_str()).is_ok_and(|number| number.is_valid())
}

/// Returns whether a phone can hold a conversation by text. UK landlines, `+441…` and `+442…`, cannot.
#[must_use]
pub fn can_hold_a_conversation(phone: &E164) -> bool {
    !["+441", "+442"].iter().any(|landline| phone.as_str().starts_with(landline))
}

/// Returns whether a number is a mobile of this country (ISO 3166). In the UK the range decides, because new ranges are opened before
/// the tables have them: +4470 is for personal numbers, and +4476 for pagers.
#[must_use]
pub(crate) fn is_mobile_of(number: &E164, region: &str) -> bool {
    let uk_mobile = number.as_str().strip_prefix("+447").filter(|rest| rest.len() == 9);
    if region == "GB" {
        return uk_mobile.is_some_and(|rest| !rest.starts_with(['0', '6']));
    }
    phonenumber::parse(None, number.as_str()).is_ok_and(|parsed| {
        parsed.number_type(&phonenumber::metadata::DATABASE) == phonenumber::Type::Mobile
            && number.country().as_deref() == Some(region)
    })
}

/// Returns the region of a phone's country in the form of `clients.region`: the ISO 3166 country, but `UK` for GB and for an
/// unknown country.
#[must_use]
pub fn home_region(phone: &E164) -> String {
    // Nearly all phones are British, and the lookup costs more than all the rest of a text.
    if phone.as_str().starts_with("+44") {
        return "UK".to_owned();
    }
    match phone.country() {
        Some(country) if country != "GB" => country,
        Some(_) | None => "UK".to_owned(),
    }
}

impl fmt::Debug for E164 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.masked())
    }
}

/// Returns the ISO 3166 country of a client's region. `UK` is the everyday name of GB.
#[must_use]
pub fn region_of(region: &str) -> String {
    match region.trim().to_ascii_uppercase().as_str() {
        "UK" => "GB".to_owned(),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_in_e164_form_are_parsed() {
        for good in ["+447111111111", "+447900000001", "+14158675309", "+35312345678"] {
            assert!(E164::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "447111111111",
            "+0447111111",
            "07111111111",
            "+44",
            "+4471111111119999",
            "+44 7111 111111",
            "",
            "+",
            "anonymous",
            "12345",
            "+44711111111a",
            "+44711111111١",
        ] {
            assert_eq!(E164::parse(bad), Err(NotE164), "{bad}");
        }
    }

    #[test]
    fn a_caller_is_read_in_every_spelling_unless_the_number_is_withheld() {
        assert_eq!(caller("+447700900123"), E164::parse("+447700900123").ok());
        for written in [
            "+447700900123",
            "447700900123",
            "07700900123",
            "00447700900123",
            "+4407700900123",
            "004407700900123",
            "4407700900123",
            "+44 (0)7700 900123",
            "+44 7700-900-123",
            "07700 900 123",
            "+07700900123",
            "+00447700900123",
            "+004407700900123",
        ] {
            assert_eq!(caller(written), E164::parse("+447700900123").ok(), "{written}");
        }
        for (written, number) in [
            ("07400123456", "+447400123456"),
            ("7400123456", "+447400123456"),
            ("02079460000", "+442079460000"),
            ("0035312345678", "+35312345678"),
            ("14158675309", "+14158675309"),
            ("+02079460000", "+442079460000"),
            ("+0035312345678", "+35312345678"),
        ] {
            assert_eq!(caller(written), E164::parse(number).ok(), "{written}");
        }
        for withheld in WITHHELD.into_iter().chain([
            "anonymous",
            "Restricted",
            "unknown",
            "",
            "+",
            "sip:x@example.com",
            "0",
            "01",
            "12345",
            "266696687",
            "00266696687",
            "+00266696687",
            "+0",
            "+07",
            "+00",
            "++447700900123",
            "8656696",
            "2562533",
            "+44",
            "440",
            "+440",
            "000",
            "+٤٤٧٧٠٠٩٠٠١٢٣",
        ]) {
            assert_eq!(caller(withheld), None, "{withheld}");
        }
    }

    #[test]
    fn a_mobile_is_one_of_its_own_country() {
        let is_mobile = |number: &str, region| is_mobile_of(&E164::parse(number).unwrap(), region);
        for mobile in ["+447900000001", "+447111111111", "+447700900123", "+447500123456", "+447300123456"] {
            assert!(is_mobile(mobile, "GB"), "{mobile}");
            assert!(!is_mobile(mobile, "IE") && !is_mobile(mobile, "US") && !is_mobile(mobile, "ZZ"), "{mobile}");
        }
        for other in [
            "+447012345678",
            "+447612345678",
            "+442079460000",
            "+441632960000",
            "+443300000000",
            "+448081570000",
            "+44790000000",
            "+4479000000011",
            "+353851234567",
            "+14158675309",
        ] {
            assert!(!is_mobile(other, "GB"), "{other}");
        }
        assert!(is_mobile("+353851234567", "IE"));
        assert!(!is_mobile("+35312345678", "IE"), "a landline");
    }

    #[test]
    fn a_number_is_read_in_every_way_in_which_people_write_it() {
        let number = E164::parse("+447900000001").ok();
        for written in ["+447900000001", "447900000001", "07900000001", "07900 000 001", " +44 7900 000001"] {
            assert_eq!(as_people_write(written), number, "{written}");
        }
        for written in [
            "0044 7900-000 001",
            "+44 (0)7900 000001",
            "(+44) (0)7900.000.001",
            "0044 (0)7900 000001",
            "(07900) 000001",
        ] {
            assert_eq!(as_people_write(written), number, "{written}");
        }
        assert_eq!(as_people_write("0044 07900 000001"), number, "the zero after 44 is dropped here too");
        for nonsense in ["client-1", "", "0", "0d9f4c1e-7", "++447900000001"] {
            assert_eq!(as_people_write(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn a_number_has_a_country_and_is_masked_in_debug() {
        let number = E164::parse("+447111111111").unwrap();
        assert_eq!(number.country().as_deref(), Some("GB"));
        assert_eq!(number.digits(), "447111111111");
        assert_eq!(format!("{number:?}"), "+44…111");
        assert_eq!(E164::parse("+14158675309").unwrap().country().as_deref(), Some("US"));
        assert_eq!(region_of("uk"), "GB");
        assert_eq!(region_of("IE"), "IE");
    }
}
