//! Reading the forms that Twilio posts.
//!
//! The signature covers bytes, so a form is verified as bytes, and read as text afterwards. This module never checks a value.

use std::borrow::Cow;

use axum::body::Bytes;
use jobrun_twilio::signature::{Form, RawForm};

/// Parses an `application/x-www-form-urlencoded` body. Keeps the order, repetitions and empty values of its parameters.
pub(crate) fn parse(body: &Bytes) -> RawForm {
    body.split(|byte| *byte == b'&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let mut halves = pair.splitn(2, |byte| *byte == b'=');
            let mut half = || decode(halves.next().unwrap_or_default());
            (half(), half())
        })
        .collect()
}

/// Decodes one name or value: `+` is a space, `%XX` a byte. A `%` without two hexadecimal digits after it is kept.
fn decode(encoded: &[u8]) -> Vec<u8> {
    let spaced: Vec<u8> = encoded.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    let bytes: Cow<'_, [u8]> = percent_encoding::percent_decode(&spaced).into();
    bytes.into_owned()
}

/// Returns the form as text. An invalid UTF-8 sequence becomes the replacement character, so that the rest of the text is kept.
pub(crate) fn into_text(form: RawForm) -> Form {
    let text =
        |bytes| String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    form.into_iter().map(|(name, value)| (text(name), text(value))).collect()
}

/// Returns the value of `name`, if the form has it.
pub(crate) fn get<'a>(form: &'a Form, name: &str) -> Option<&'a str> {
    form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// Returns a name that the form has more than once, if there is one.
pub(crate) fn repeated_name(form: &Form) -> Option<&str> {
    let mut names: Vec<&str> = form.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.windows(2).find_map(|pair| match pair {
        [one, next] if one == next => Some(*one),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(body: &'static [u8]) -> Form {
        into_text(parse(&Bytes::from_static(body)))
    }

    #[test]
    fn a_form_is_decoded_and_keeps_order_repetitions_and_empty_values() {
        let form = parsed(b"Body=Plumber+from+London%21&From=%2B447900000001&Empty=&Body=again&Bare&100%=%zz");
        let expected = [
            ("Body", "Plumber from London!"),
            ("From", "+447900000001"),
            ("Empty", ""),
            ("Body", "again"),
            ("Bare", ""),
            ("100%", "%zz"),
        ];
        let expected: Form = expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        assert_eq!(form, expected);
        assert_eq!(get(&form, "Body"), Some("Plumber from London!"));
        assert_eq!(get(&form, "body"), None);
        assert_eq!(repeated_name(&form), Some("Body"));
        assert_eq!(parsed(b""), Form::new());
        let form = parsed("Body=\u{1F44D}=%F0%9F%91%8D&body=".as_bytes().to_vec().leak());
        assert_eq!((get(&form, "Body"), repeated_name(&form)), (Some("👍=👍"), None));
    }

    #[test]
    fn invalid_utf8_is_kept_as_bytes_and_replaced_in_the_text() {
        let body = Bytes::from_static(b"Body=caf%E9+%FF&From=\xC3\x28");
        assert_eq!(parse(&body)[0].1, b"caf\xE9 \xFF");
        let form = into_text(parse(&body));
        assert_eq!((get(&form, "Body"), get(&form, "From")), (Some("caf\u{FFFD} \u{FFFD}"), Some("\u{FFFD}(")));
    }
}
