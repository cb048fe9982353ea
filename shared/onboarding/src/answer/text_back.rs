//! Recognises that a live client wants its callers texted back, or not any more: "text back", "text back off".

use super::refusals::refuses;
use super::words::{all_among, any_among, has_phrase, plain};

/// The words that the client is asked for, in the ways in which they are written.
const NAMES: &[&str] = &["text back", "texts back", "texting back", "textback", "textbacks", "text backs"];

/// The words of those.
const NAMED: &[&str] = &["text", "texts", "texting", "back", "backs", "textback", "textbacks"];

/// Words that switch it on.
#[rustfmt::skip]
const ON: &[&str] = &["on", "yes", "yeah", "yep", "ok", "okay", "sure", "start", "want", "like", "activate", "enable", "enabled"];

/// Words that switch it off.
#[rustfmt::skip]
const OFF: &[&str] = &["off", "no", "not", "nope", "dont", "stop", "end", "cancel", "disable", "disabled", "without", "deactivate"];

/// Words that may stand beside them.
#[rustfmt::skip]
const BESIDE: &[&str] = &[
    "switch", "turn", "switched", "turned", "set", "put", "it", "the", "a", "my", "our", "i", "we", "id", "wed", "would", "do", "can", "you",
    "please", "pls", "plz", "thanks", "thank", "hi", "hello", "again", "now", "callers", "caller", "customers", "them", "to", "for", "me", "us",
];

/// Words that switch it, beside others.
const SWITCH: &[&str] = &["switch", "turn", "switched", "turned", "set", "put"];

/// Words of a request to us, unless others of these lists are beside them.
const OF_A_REQUEST: &[&str] = &["can", "you", "would", "do", "me", "us", "now"];

/// Returns whether the sender wants its callers texted back, if the text says nothing else. A text that may ask for no more texts at
/// all says nothing of its callers.
pub(crate) fn chooses_text_back(body: &str) -> Option<bool> {
    let said = plain(body);
    let is_named = NAMES.iter().any(|name| has_phrase(&said, name));
    let is_plain = all_among(&said, &[NAMED, ON, OFF, BESIDE]);
    // "Can you text back please" asks us for an answer.
    let asks_us =
        any_among(&said, OF_A_REQUEST) && !any_among(&said, ON) && !any_among(&said, OFF) && !any_among(&said, SWITCH);
    let asks_us = asks_us || has_phrase(&said, "would you") || has_phrase(&said, "do you");
    (is_named && is_plain && !asks_us && !body.contains('?') && !refuses(body)).then(|| !any_among(&said, OFF))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_read_in_usual_words() {
        for on in [
            "TEXT BACK",
            "text back",
            "Text back please",
            "Textback",
            "text-back",
            "yes text back",
            "TEXT BACK ON",
            "Switch text back on, thanks!",
            "I want text back",
            "\"TEXT BACK\"",
        ] {
            assert_eq!(chooses_text_back(on), Some(true), "{on}");
        }
        for off in ["TEXT BACK OFF", "text back off please", "turn text back off", "no text back", "textback off"] {
            assert_eq!(chooses_text_back(off), Some(false), "{off}");
        }
        for neither in [
            "",
            "yes",
            "back",
            "text me back",
            "can you text back?",
            "Hi can you text back please",
            "please text back now",
            "would you like me to text back",
            "Please text back about my invoice",
            "I will text back later",
            "stop texting me",
            "text",
            "stop texting back",
        ] {
            assert_eq!(chooses_text_back(neither), None, "{neither}");
        }
    }
}
