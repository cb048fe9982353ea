//! Recognises the wish for a person: "speak to a human", "call me please".

use super::words::{any_among, has_phrase, is_negated, place_of, plain, sentences};

/// Phrases that ask for a person as the whole of a sentence.
#[rustfmt::skip]
const ALONE: &[&str] = &[
    "operator", "human", "a human", "person", "a person", "real person", "a real person", "agent", "an agent", "someone real",
    "representative", "customer service", "customer services", "customer support", "real human", "a real human",
];

/// Phrases that ask for a person anywhere in a sentence.
#[rustfmt::skip]
const ASKS_FOR_PERSON: &[&str] = &[
    "speak to a human", "speak to a person", "speak to a real", "speak to someone", "speak to somebody", "speak to an operator",
    "speak to an agent", "speak to a manager", "speak to anyone", "speak to one of you", "speak to human", "speak with someone",
    "speak with a human", "speak with a person", "talk to a human", "talk to a person", "talk to a real", "talk to someone",
    "talk to somebody", "talk to an operator", "talk to an agent", "talk to a manager", "talk to human", "talk with someone",
    "chat to someone", "chat with someone", "connect me to",
];

/// Phrases that ask for a call if only [`BESIDE_CALL`] stands beside them: "please call me Dave" gives a name.
const ASKS_FOR_CALL: &[&str] =
    &["call me", "ring me", "phone me", "give me a call", "give me a ring", "give me a bell"];

#[rustfmt::skip]
const BESIDE_CALL: &[&str] = &[
    "can", "could", "would", "you", "u", "please", "pls", "plz", "asap", "now", "today", "back", "hi", "hello", "thanks",
    "mate", "just", "when", "possible", "free", "on", "this", "number", "i", "want", "need", "like", "id", "to", "have", "someone",
    "somebody", "anyone", "from", "your", "team", "yes", "ok", "then", "for", "a", "chat", "reply", "my", "mobile", "landline", "phone",
    "the", "in", "at", "after", "before", "around", "about", "later", "tonight", "tomorrow", "morning", "afternoon", "evening", "lunch",
    "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday", "week", "next", "soon", "as", "urgent", "its", "it", "is",
    "am", "pm", "any", "time", "anytime", "whenever", "oclock", "work", "until", "till", "best",
];

/// Words that may stand beside [`ALONE`].
#[rustfmt::skip]
const BESIDE_ALONE: &[&str] = &[
    "please", "pls", "plz", "hi", "hello", "thanks", "now", "i", "want", "need", "id", "like", "just", "can", "get", "have",
    "may", "could", "give", "me",
];

/// Words about a talk with others than us, or about a condition.
#[rustfmt::skip]
const OF_OTHERS: &[&str] = &[
    "customer", "customers", "client", "clients", "they", "he", "she", "first", "wife", "husband", "partner", "accountant", "if",
];

/// Returns whether the sender asks for a person, or to be called.
pub(super) fn wants_person(body: &str) -> bool {
    sentences(body).iter().any(|sentence| {
        let said = plain(sentence);
        let asks = ASKS_FOR_PERSON.iter().find_map(|phrase| place_of(&said, phrase));
        let asks = asks.is_some_and(|place| !is_negated(&said, place)) && !any_among(&said, OF_OTHERS);
        asks || is_alone(&said) || asks_for_call(&said)
    })
}

fn is_alone(said: &[String]) -> bool {
    let joined = said.join(" ");
    let bare =
        said.iter().map(String::as_str).filter(|word| !BESIDE_ALONE.contains(word)).collect::<Vec<_>>().join(" ");
    ALONE.contains(&joined.as_str()) || ALONE.contains(&bare.as_str())
}

fn asks_for_call(said: &[String]) -> bool {
    // A phone number, or a time: "5pm".
    let is_number = |word: &str| word.starts_with(|it: char| it.is_ascii_digit());
    ASKS_FOR_CALL.iter().any(|phrase| {
        let rest = format!(" {} ", said.join(" ")).replace(&format!(" {phrase} "), " ");
        has_phrase(said, phrase) && rest.split_whitespace().all(|word| BESIDE_CALL.contains(&word) || is_number(word))
    })
}
