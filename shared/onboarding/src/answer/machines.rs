//! Recognises texts that a machine sends for its owner: reactions, automatic replies, absences.

use super::words::{DONE, YES, has_phrase, is_among, plain, sentences};

/// The words with which phones begin the text of a reaction.
#[rustfmt::skip]
const REACTIONS: &[&str] = &[
    "Liked", "Loved", "Disliked", "Laughed at", "Emphasized", "Emphasised", "Questioned", "Removed a", "Reacted",
    "Removed",
];

/// Phrases of phones and mailboxes rather than of people.
#[rustfmt::skip]
const AUTOMATIC: &[&str] = &[
    "driving focus", "not receiving notifications", "auto reply", "autoreply", "automatic reply", "automated reply",
    "automated response", "automated message", "auto response", "autoresponse", "have notifications silenced",
    "has notifications silenced", "message blocking is active", "unable to send message", "currently unavailable and will",
    "your message has been received", "this mailbox is not monitored", "this number is not monitored", "cannot receive messages",
];

/// Phrases of machines and of people.
#[rustfmt::skip]
const PERHAPS_AUTOMATIC: &[&str] = &[
    "do not disturb", "out of office", "out of the office", "im driving right now", "i am driving right now", "im currently driving",
    "i am currently driving", "annual leave", "thank you for contacting", "thanks for contacting", "thank you for your message",
    "away from my desk",
];

/// Returns whether a phone sent this because its owner reacted to a text of ours.
pub(super) fn is_reaction(body: &str) -> bool {
    let body = body.trim();
    let quotes = |rest: &str| rest.trim_start().starts_with(['“', '"', '”', '«', '„']);
    let what = |rest: &str| ["an image", "a photo", "a movie", "an attachment"].iter().any(|it| rest.trim() == *it);
    let begins = REACTIONS.iter().any(|verb| {
        body.strip_prefix(verb).is_some_and(|rest| {
            let quoted = rest.split_once(" to ").or_else(|| rest.split_once(" from ")).map(|(_, quoted)| quoted);
            quotes(rest) || what(rest) || (is_short(rest, quoted) && quoted.is_some_and(quotes))
        })
    });
    // Some Android phones write: 👍 to “Great, thanks!”.
    let emoji_to = body.split_once(" to ").is_some_and(|(before, quoted)| {
        !before.is_empty() && !before.contains(char::is_alphanumeric) && quotes(quoted)
    });
    begins || emoji_to
}

/// Returns whether little stands between the verb of a reaction and its quotation: an emoji, or "heart".
fn is_short(rest: &str, quoted: Option<&str>) -> bool {
    quoted.is_some_and(|quoted| rest.len() - quoted.len() < 40)
}

/// Returns whether a machine replies for its owner.
pub(super) fn is_automatic(body: &str) -> bool {
    let said = plain(body);
    AUTOMATIC.iter().any(|phrase| has_phrase(&said, phrase))
}

/// Returns the words beside a clause that may be a machine's, if there is such a clause: "YES" of "YES, I'm on annual leave".
pub(super) fn beside_excuse(body: &str) -> Option<String> {
    let is_excuse = |clause: &str| {
        let said = plain(clause);
        PERHAPS_AUTOMATIC.iter().any(|phrase| has_phrase(&said, phrase))
    };
    // "Yes but I'm on annual leave" keeps its "but".
    let clauses = sentences(body).into_iter().flat_map(|it| it.split(',')).flat_map(|it| it.split_inclusive(" but "));
    let clauses: Vec<&str> = clauses.collect();
    let beside = |clause: &&str| if is_excuse(clause) { answer_before_excuse(clause) } else { (*clause).to_owned() };
    clauses.iter().any(|clause| is_excuse(clause)).then(|| clauses.iter().map(beside).collect::<Vec<_>>().join(" "))
}

/// Returns the yes, no or "done" with which a clause begins: "YES I'm on annual leave".
fn answer_before_excuse(clause: &str) -> String {
    let is_answer = |word: &String| [YES, DONE, &["no", "nope", "nah"]].iter().any(|list| is_among(word, list));
    plain(clause).into_iter().take_while(is_answer).collect::<Vec<_>>().join(" ")
}

/// Returns whether the sender is away for a while.
pub(super) fn is_away(body: &str) -> bool {
    let said = plain(body);
    ["away until", "away till", "im away", "i am away", "on holiday"].iter().any(|phrase| has_phrase(&said, phrase))
}
