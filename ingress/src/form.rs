//! Reading the forms that Twilio posts.
//!
//! Stricter than the usual decoder: bytes that are not UTF-8 are refused and not replaced, because a text that was changed on
//! the way in can never be set right again.

use std::borrow::Cow;

use axum::body::Bytes;
use jobrun_shared::twilio::signature::Form;

/// A form that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotUtf8;

/// Reads an `application/x-www-form-urlencoded` body, keeping the order, repetitions and empty values of its parameters.
pub(crate) fn parse(body: &Bytes) -> Result<Form, NotUtf8> {
    body.split(|byte| *byte == b'&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let mut halves = pair.splitn(2, |byte| *byte == b'=');
            let mut half = || decode(halves.next().unwrap_or_default());
            Ok((half()?, half()?))
        })
        .collect()
}

/// Undoes the encoding of one name or value: `+` is a space, `%XX` a byte; a `%` that begins no byte is itself.
fn decode(encoded: &[u8]) -> Result<String, NotUtf8> {
    let spaced: Vec<u8> = encoded.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    let bytes: Cow<'_, [u8]> = percent_encoding::percent_decode(&spaced).into();
    String::from_utf8(bytes.into_owned()).map_err(|_| NotUtf8)
}

/// The value of `name`, if the form has it.
pub(crate) fn get<'a>(form: &'a Form, name: &str) -> Option<&'a str> {
    form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(body: &'static [u8]) -> Result<Form, NotUtf8> {
        parse(&Bytes::from_static(body))
    }

    #[test]
    fn a_form_is_read_as_it_was_written() {
        let form = parsed(b"Body=Plumber+from+London%21&From=%2B447900000001&Empty=&Body=again&Bare&100%=%zz").unwrap();
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
        assert_eq!(parsed(b"").unwrap(), Form::new());
        assert_eq!(
            get(&parsed("Body=\u{1F44D}=%F0%9F%91%8D".as_bytes().to_vec().leak()).unwrap(), "Body"),
            Some("👍=👍")
        );
    }

    #[test]
    fn what_is_not_utf8_is_refused() {
        assert_eq!(parsed(b"Body=%FF%FE"), Err(NotUtf8));
        assert_eq!(parsed(b"Body=\xC3\x28"), Err(NotUtf8));
    }
}
