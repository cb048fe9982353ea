//! Reads what a client learned from a text of ours, for a database that has lost the row of the text.

use crate::{E164, as_people_write};

/// The parameter of a payment link that names the client.
pub(crate) const REFERENCE: &str = "client_reference_id=";

/// The words before the client's number, in every text that tells it.
pub(crate) const BEFORE_NUMBER: [&str; 5] = [
    "Your JobRun number is ",
    "Your JobRun number had to change. It's now ",
    "Enter this number:\n   ",
    "press call:\n**61*",
    "Pick up and dial:\n*61*",
];

/// Returns the payment reference in the payment link of a text.
#[must_use]
pub fn payment_reference(body: &str) -> Option<&str> {
    let (_, rest) = body.split_once(REFERENCE)?;
    let end = rest.find(|it: char| !it.is_ascii_alphanumeric() && it != '-' && it != '_').unwrap_or(rest.len());
    rest.get(..end).filter(|reference| !reference.is_empty())
}

/// Returns the client's number, if the text tells it.
#[must_use]
pub fn number_told(body: &str) -> Option<E164> {
    let rest = BEFORE_NUMBER.iter().find_map(|words| Some(body.split_once(words)?.1))?;
    let number: String = rest.chars().take_while(|it| it.is_ascii_digit() || *it == '+').collect();
    as_people_write(&number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::CallsToday;
    use crate::{PhoneType, Text, Wordings, wording};

    fn body(text: &Text) -> String {
        text.write(Wordings::built_in().of_region("UK")).body
    }

    #[test]
    fn the_client_s_number_is_read_from_every_text_that_tells_it() {
        let number = E164::parse("+447111111111").unwrap();
        let told = [wording::ask_phone_type(&number), wording::number_changed(&number)];
        let phones = [PhoneType::IPhone, PhoneType::Android, PhoneType::Landline];
        let instructions = phones.map(|phone| wording::forwarding_instructions(phone, &number));
        for text in told.into_iter().chain(instructions) {
            assert_eq!(number_told(&body(&text)), Some(number.clone()), "{}", body(&text));
        }
        assert_eq!(number_told(&body(&wording::missed_call(&number, &CallsToday::one()))), None, "a caller's number");
        assert_eq!(number_told(&body(&wording::misdirected(&number))), None, "the onboarding number");
    }

    #[test]
    fn the_payment_link_names_the_client() {
        let link = "https://buy.stripe.com/test_x?locale=en&client_reference_id=0123456789abcdef0123456789abcdef";
        let text = wording::payment_required(link);
        assert_eq!(payment_reference(&body(&text)), Some("0123456789abcdef0123456789abcdef"));
        assert_eq!(payment_reference("https://buy.stripe.com/test_XXXXX (placeholder)"), None);
    }
}
