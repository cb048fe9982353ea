//! JSON text repaired before it is parsed.
//!
//! Other services cut texts in the middle of a character, and their JSON then holds half a surrogate pair (`"\ud83d"`) or an
//! invalid UTF-8 sequence. A strict parser refuses the whole document for it. Here such a character becomes U+FFFD, the
//! replacement character, and everything else stays as it is.

use std::borrow::Cow;

/// The length of an escape like `\ud83d`.
const ESCAPE: usize = 6;

/// Returns `bytes` as JSON text in which every invalid UTF-8 sequence and every escaped lone surrogate is the replacement
/// character. Borrows if nothing had to be repaired. Text that is no JSON stays no JSON.
#[must_use]
pub fn repair(bytes: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(bytes);
    let lone = lone_surrogates(text.as_bytes());
    if lone.is_empty() {
        return text;
    }
    let mut text = text.into_owned();
    for at in lone {
        text.replace_range(at..at + ESCAPE, r"\ufffd");
    }
    Cow::Owned(text)
}

/// Replaces U+0000, the only character that PostgreSQL cannot store: the text is worth more than that character.
#[must_use]
pub fn storable(text: &str) -> String {
    text.replace('\0', "\u{FFFD}")
}

/// Returns where escapes of lone surrogates begin. In JSON, a backslash stands only in strings, and begins an escape there.
fn lone_surrogates(text: &[u8]) -> Vec<usize> {
    let mut lone = Vec::new();
    let mut at = 0;
    while let Some(ahead) = text.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == b'\\')) {
        at += ahead;
        at += match (code_unit(text, at), code_unit(text, at + ESCAPE)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => 2 * ESCAPE,
            (Some(0xD800..=0xDFFF), _) => {
                lone.push(at);
                ESCAPE
            }
            (Some(_), _) => ESCAPE,
            // Another escape, as `\\` or `\"`: the backslash and one more character.
            (None, _) => 2,
        };
    }
    lone
}

/// Returns the UTF-16 code unit of the escape that begins at `at`, if a whole one does.
fn code_unit(text: &[u8], at: usize) -> Option<u16> {
    let digits = text.get(at..at + ESCAPE)?.strip_prefix(br"\u")?;
    digits
        .iter()
        .try_fold(0, |unit: u16, digit| Some(unit << 4 | u16::try_from(char::from(*digit).to_digit(16)?).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn is_repaired(text: &str, expected: &str) {
        assert_eq!(repair(text.as_bytes()), expected, "{text}");
    }

    #[test]
    fn a_lone_surrogate_becomes_the_replacement_character() {
        is_repaired(r#""\ud83d""#, r#""\ufffd""#);
        is_repaired(r#""\uDE00 and \uDBFF.""#, r#""\ufffd and \ufffd.""#);
        is_repaired(r#"{"\ud83d": ["a\uD83Db"]}"#, r#"{"\ufffd": ["a\ufffdb"]}"#);
        is_repaired(r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#);
        is_repaired(r#""\ude00\ud83d""#, r#""\ufffd\ufffd""#);
        is_repaired(r#""\ud83d\n\ude00""#, r#""\ufffd\n\ufffd""#);
        is_repaired(r#""\ud83d\u0041""#, r#""\ufffd\u0041""#);
    }

    #[test]
    fn everything_else_stays_as_it_is() {
        for text in [
            r#""\ud83d\ude00 \uD83D\uDE00 \uDbFf\uDfFf""#,
            r#""\ud7ff\ue000\ufffd\u0000""#,
            // An escaped backslash, and no escape after it.
            r#""\\ud83d""#,
            r#""\\\\ud83d \"ud83d""#,
            r#""ud83d""#,
            // No escapes at all, which the parser refuses.
            r#""\ud83""#,
            r#""\ud8"#,
            r#""\uD83"#,
            r#""\u"#,
            r#""\"#,
            r#""\ud83g""#,
            r#""\u+83d""#,
            "",
            "é😀",
        ] {
            is_repaired(text, text);
            assert!(matches!(repair(text.as_bytes()), Cow::Borrowed(_)), "{text}");
        }
        is_repaired(r#""\\\ud83d""#, r#""\\\ufffd""#);
    }

    #[test]
    fn repaired_text_can_be_parsed() {
        let parsed = |text: &[u8]| serde_json::from_str::<Value>(&repair(text)).ok();
        assert_eq!(
            parsed(br#"["\ud83d", "\ud83d\ude00", "\\ud83d"]"#),
            Some(serde_json::json!(["\u{FFFD}", "😀", r"\ud83d"]))
        );
        assert_eq!(parsed(b"\"a\xF0\x9F\""), Some(Value::from("a\u{FFFD}")));
        assert_eq!(parsed(b"\xFF{}"), None);
        assert_eq!(parsed(br#""\ud83""#), None);
    }
}
