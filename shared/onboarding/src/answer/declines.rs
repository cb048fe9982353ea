//! Reads texts that decline without opting out: no interest, a wrong number, going back to the last question.

use super::words::{has_phrase, meant, plain};

/// Phrases that politely decline to sign up. Their sender is not asked again.
#[rustfmt::skip]
pub(super) const NOT_INTERESTED: &[&str] = &[
    "not interested", "no interest", "no thanks", "no thank you", "no thankyou", "no ta", "no thx", "nah thanks",
    "nope thanks", "nah ta", "not for me", "not for us", "not my thing", "dont want it", "dont want this",
    "dont want one", "dont need it", "dont need this", "not really interested", "not that interested", "ill pass",
    "ill leave it", "im good thanks", "im ok thanks", "im fine thanks", "im alright thanks", "no cheers",
    "not today thanks", "not today thank you", "no longer interested", "no need thanks", "not intrested", "uninterested",
];

/// Words that may stand beside [`NOT_INTERESTED`].
#[rustfmt::skip]
const BESIDE_NOT_INTERESTED: &[&str] = &[
    "im", "i", "am", "we", "were", "are", "really", "sorry", "mate", "thanks", "thank", "you", "cheers", "ta", "at",
    "the", "moment", "all", "right", "now", "but", "no", "nah", "nope", "hi", "hello", "in", "this", "it", "that",
    "just", "please", "its", "is", "for", "me", "us", "so", "pal", "love", "bye", "good", "luck", "though", "honestly",
    "actually", "ok", "x", "today", "your", "company", "service", "services", "offer", "any", "more", "anymore",
];

/// Phrases that say that another person was meant, or ask who we are.
#[rustfmt::skip]
pub(super) const WRONG_NUMBER: &[&str] = &[
    "wrong number", "wrong num", "wrong no", "wrong person", "who is this", "whos this", "who this", "who dis",
    "who are you", "who r u", "who is it", "whos that", "who is that", "do i know you", "dont know you",
    "whos texting", "who is texting", "who am i texting", "who am i speaking to", "who am i talking to", "who are u",
    "wrong contact", "wrong chat", "wrong company", "wrong business",
];

/// Returns whether a text says only that its sender is not interested.
pub(super) fn is_not_interested(body: &str) -> bool {
    let said = plain(body);
    let padded = format!(" {} ", said.join(" "));
    let rest = |phrase: &&&str| {
        let rest = padded.replace(&format!(" {phrase} "), " ");
        let mut rest = NOT_INTERESTED.iter().fold(rest, |rest, phrase| rest.replace(&format!(" {phrase} "), " "));
        rest.retain(|it| it != '\n');
        rest.split_whitespace().all(|word| BESIDE_NOT_INTERESTED.contains(&word))
    };
    let found = NOT_INTERESTED.iter().filter(|phrase| has_phrase(&said, phrase));
    !body.contains('?') && found.clone().any(|phrase| rest(&phrase))
}

/// Returns whether the sender meant another person, or asks who we are.
pub(super) fn is_wrong_number(body: &str) -> bool {
    let said = plain(body);
    WRONG_NUMBER.iter().any(|phrase| has_phrase(&said, phrase))
}

/// Returns whether the sender wants to go back to the last question.
pub(super) fn goes_back(body: &str) -> bool {
    let said = meant(body).join(" ");
    matches!(
        said.as_str(),
        "back"
            | "go back"
            | "back please"
            | "go back please"
            | "please go back"
            | "can i go back"
            | "undo"
            | "previous"
            | "previous question"
            | "last question"
            | "i made a mistake"
            | "made a mistake"
            | "sorry i made a mistake"
            | "that was wrong"
            | "wrong answer"
            | "back up"
            | "go back a step"
            | "step back"
    )
}
