//! Hides phone numbers from viewers, and characters that deceive from everyone.
//!
//! A phone number is hidden wherever it stands: in a column, in a text, in the name of a business. In free text, every run of
//! seven or more digits counts as one, however it is spaced. Dates can be hidden by this rule too; a hidden date harms less
//! than a shown phone number.
//!
//! The secrets of links to messages of callers are hidden from everyone: what a caller said is for the owner.

use jobrun_shared::db::voicemails;

/// The least number of digits that is taken for a phone number in free text.
const DIGITS_MIN: usize = 7;

/// The digits that stay visible at the end of a number: they tell two clients apart.
const KEPT: usize = 3;

/// Whether phone numbers are hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mask {
    /// Whether they are.
    pub hides: bool,
}

impl Mask {
    /// Returns a phone number, E.164, or digits without the plus sign.
    #[must_use]
    pub fn phone(&self, number: &str) -> String {
        let digits = number.trim_start_matches('+');
        let is_e164 = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !is_e164 {
            return self.text(number);
        }
        if !self.hides {
            return format!("+{digits}");
        }
        let kept = digits.get(digits.len().saturating_sub(KEPT)..).unwrap_or_default();
        format!("+{}••••{kept}", digits.get(..2).unwrap_or_default())
    }

    /// Returns a text that people wrote, or that we wrote to them.
    #[must_use]
    pub fn text(&self, text: &str) -> String {
        let shown = without_secrets(&shown(text));
        if self.hides { without_numbers(&shown) } else { shown }
    }
}

/// Replaces control characters, and those that change the direction of writing: a text must not reorder what stands around it.
#[must_use]
pub fn shown(text: &str) -> String {
    let reorders = |it: char| matches!(it, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let visible = |it: char| {
        if (it.is_control() && it != '\n' && it != '\t') || reorders(it) { char::REPLACEMENT_CHARACTER } else { it }
    };
    text.replace("\r\n", "\n").chars().map(visible).collect()
}

/// Replaces the secret in each link to a message.
fn without_secrets(text: &str) -> String {
    let mut parts = text.split(voicemails::PATH);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let is_of_secret = |it: char| it.is_ascii_alphanumeric() || it == '-' || it == '_';
        out.push_str(voicemails::PATH);
        out.push_str("••••");
        out.push_str(part.trim_start_matches(is_of_secret));
    }
    out
}

fn without_numbers(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(first) = chars.get(at) {
        if !first.is_numeric() {
            out.push(*first);
            at += 1;
            continue;
        }
        let end = end_of_run(&chars, at);
        let run: &[char] = chars.get(at..end).unwrap_or_default();
        let digits = run.iter().filter(|it| it.is_numeric()).count();
        if digits < DIGITS_MIN {
            out.extend(run);
        } else {
            out.push_str("••••");
            out.extend(run.iter().filter(|it| it.is_numeric()).skip(digits - KEPT));
        }
        at = end;
    }
    out
}

/// Returns the end of the digits that begin at `start`, with what people put between digits.
fn end_of_run(chars: &[char], start: usize) -> usize {
    // A longer gap ends a number. Zero-width characters and other marks count as gaps too.
    const GAP_MAX: usize = 10;
    let mut end = start;
    let mut at = start;
    while let Some(it) = chars.get(at) {
        if it.is_numeric() {
            at += 1;
            end = at;
        } else if it.is_alphabetic() || "£€$".contains(*it) || at - end >= GAP_MAX {
            break;
        } else {
            at += 1;
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    const HIDES: Mask = Mask { hides: true };
    const SHOWS: Mask = Mask { hides: false };

    #[test]
    fn a_viewer_sees_the_last_three_digits_of_a_number() {
        assert_eq!(HIDES.phone("+447900000123"), "+44••••123");
        assert_eq!(HIDES.phone("447900000123"), "+44••••123");
        assert_eq!(SHOWS.phone("447900000123"), "+447900000123");
        assert_eq!(HIDES.phone("anonymous"), "anonymous");
    }

    #[test]
    fn numbers_in_texts_are_hidden_however_they_are_written() {
        for written in [
            "07900000123",
            "07900 000 123",
            "(07900) 000-123",
            "07900.000.123",
            "07900 / 000123",
            "07900 -- 000123",
            "07900 ... 000123",
            "07900\u{200b}000123",
            "٠٧٩٠٠٠٠٠١٢٣",
            "tel07900000123",
        ] {
            let shown = HIDES.text(&format!("Ring me on {written} please"));
            assert!(shown.contains("••••") && !shown.contains("0790") && !shown.contains("٠٧٩"), "{shown}");
        }
        assert_eq!(HIDES.text("3 vans, since 1998, £29.00"), "3 vans, since 1998, £29.00");
        assert_eq!(SHOWS.text("07900 000123"), "07900 000123");
    }

    #[test]
    fn links_to_messages_are_hidden_from_everyone() {
        let text = "Voicemail from a withheld number. Listen:\nhttps://a.example.com/voicemail/aB3-_x\n\nBye";
        for mask in [HIDES, SHOWS] {
            let hidden = "Voicemail from a withheld number. Listen:\nhttps://a.example.com/voicemail/••••\n\nBye";
            assert_eq!(mask.text(text), hidden);
        }
    }

    #[test]
    fn characters_that_reorder_a_line_are_replaced() {
        assert_eq!(SHOWS.text("pay\u{202e}dekcah\u{7}\r\nnext"), "pay\u{fffd}dekcah\u{fffd}\nnext");
        assert_eq!(SHOWS.text("👷🏽‍♀️ Ünïcode"), "👷🏽‍♀️ Ünïcode");
    }
}
