//! Texts that answer no question: refusals, cancellations, reactions, automatic replies, somebody else's phone.

use super::words::{ASKS, any_among, has_phrase, is_among, meant, plain};

/// Each alone says that no more texts are wanted.
#[rustfmt::skip]
const REFUSES: &[&str] = &[
    "stop texting", "stop messaging", "stop contacting", "stop sending", "stop bothering", "stop spamming",
    "remove my number", "remove me", "remove this number", "delete my number", "delete this number", "lose my number",
    "take me off", "take my number off", "do not contact", "dont contact", "never contact", "do not text",
    "dont text", "do not message", "dont message", "unsubscribe me", "opt out", "opt me out", "opting out",
    "leave me alone", "no more texts", "no more messages", "no more sms", "stop these texts", "stop these messages",
    "stop the texts", "stop the messages", "stop your texts", "stop all texts", "stop all messages", "stop txting",
    "stop msging", "want to unsubscribe", "like to unsubscribe", "want to stop receiving", "stop texts",
    "stop messages", "please unsubscribe", "unsubscribe please", "unsubscribe now", "quit texting", "stop harassing",
    "go away", "get lost", "fuck off", "piss off", "sod off", "bugger off", "f off", "stop it now",
];

/// Makes a refusal of STOP, if nothing else stands beside it.
#[rustfmt::skip]
const BESIDE_STOP: &[&str] = &[
    "stop", "stopp", "please", "pls", "plz", "thank", "thanks", "you", "u", "ty", "ta", "cheers", "now", "it", "this",
    "all", "me", "us", "these", "that", "just", "ok", "okay", "yes", "no", "mate", "the", "your", "i", "said", "want",
    "to", "ffs", "sms", "again", "immediately", "right", "already", "sorry", "hi", "hello", "unsubscribe", "end",
    "stopall", "optout",
];

/// Puts a condition on a refusal, so that it is none, or not yet.
#[rustfmt::skip]
const CONDITIONS: &[&str] = &[
    "if", "later", "until", "till", "before", "after", "unless", "when", "while", "during", "today", "tonight",
    "instead", "between", "unlike", "how", "ringing",
];

/// Begins a wish that has a question mark.
#[rustfmt::skip]
const WISHES: &[&str] = &[
    "can", "could", "will", "would", "please", "pls", "plz", "stop", "why",
];

/// Names a subscription.
#[rustfmt::skip]
const SUBSCRIPTIONS: &[&str] = &[
    "subscription", "subscriptions", "subscribtion", "sub", "membership", "account", "contract", "service", "plan",
    "payment", "payments", "debit", "jobrun", "charging", "billing",
];

/// Stands beside "cancel" when nothing else is named.
#[rustfmt::skip]
const BESIDE_CANCEL: &[&str] = &[
    "i", "id", "like", "want", "to", "wanna", "please", "pls", "plz", "it", "this", "now", "how", "do", "can",
    "could", "you", "we", "my", "need", "wish", "would", "just", "me", "thanks", "thank", "im", "hi", "hello", "mate",
    "the", "a",
];

/// Ends a subscription.
#[rustfmt::skip]
const ENDS: &[&str] = &[
    "cancel", "canceling", "cancelling", "cancelled", "cancellation", "terminate",
];

/// Ends a subscription if that is named beside it.
const MAY_END: &[&str] = &["stop", "end", "quit", "close", "leave"];

/// The beginnings that phones give to what they send for a reaction.
#[rustfmt::skip]
const REACTIONS: &[&str] = &[
    "Liked", "Loved", "Disliked", "Laughed at", "Emphasized", "Emphasised", "Questioned", "Removed a", "Reacted",
    "Removed",
];

/// Is said by phones and mailboxes rather than by people.
#[rustfmt::skip]
const AUTOMATIC: &[&str] = &[
    "do not disturb", "driving focus", "not receiving notifications", "auto reply", "autoreply", "automatic reply",
    "automated reply", "automated response", "automated message", "auto response", "autoresponse", "out of office",
    "out of the office", "im driving right now", "i am driving right now", "im currently driving",
    "i am currently driving", "annual leave", "have notifications silenced", "has notifications silenced",
    "currently unavailable and will", "your message has been received", "thank you for contacting",
    "thanks for contacting", "thank you for your message", "this mailbox is not monitored",
    "this number is not monitored", "cannot receive messages", "away from my desk",
];

/// Says that somebody else was meant, or asks who we are.
#[rustfmt::skip]
const WRONG_NUMBER: &[&str] = &[
    "wrong number", "wrong num", "wrong no", "wrong person", "who is this", "whos this", "who this", "who dis",
    "who are you", "who r u", "who is it", "whos that", "who is that", "do i know you", "dont know you",
    "whos texting", "who is texting", "who am i texting", "who am i speaking to", "who am i talking to", "who are u",
    "wrong contact",
];

/// Whether a phone sent this because its owner reacted to a text of ours.
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
    // As some Android phones write it: 👍 to “Great, thanks!”.
    let emoji_to = body.split_once(" to ").is_some_and(|(before, quoted)| {
        !before.is_empty() && !before.contains(char::is_alphanumeric) && quotes(quoted)
    });
    begins || emoji_to
}

/// Whether little stands between the verb of a reaction and what it quotes: an emoji, or "heart".
fn is_short(rest: &str, quoted: Option<&str>) -> bool {
    quoted.is_some_and(|quoted| rest.len() - quoted.len() < 40)
}

/// Whether a machine answers for its owner.
pub(super) fn is_automatic(body: &str) -> bool {
    let said = plain(body);
    AUTOMATIC.iter().any(|phrase| has_phrase(&said, phrase))
}

/// Whether somebody is away for a while.
pub(super) fn is_away(body: &str) -> bool {
    let said = plain(body);
    ["away until", "away till", "im away", "i am away", "on holiday"].iter().any(|phrase| has_phrase(&said, phrase))
}

/// Whether no more texts are wanted, in words that are not Twilio's. What looks like the name of a business is none of it.
pub(super) fn refuses(body: &str) -> bool {
    let said = plain(body);
    if any_among(&said, CONDITIONS) && said.first().is_none_or(|word| word != "why") {
        return false;
    }
    let asks = body.contains('?') && !said.first().is_some_and(|word| is_among(word, WISHES));
    let stop_alone =
        said.iter().any(|word| word == "stop") && said.iter().all(|word| BESIDE_STOP.contains(&word.as_str()));
    let phrase = REFUSES.iter().any(|phrase| has_phrase(&said, phrase));
    !asks && (phrase || (stop_alone && !body.contains('?')))
}

/// Whether a subscription is to end, which is more than no more texts.
pub(super) fn cancels(body: &str) -> bool {
    let said = plain(body);
    let is_plan = ["any time", "anytime", "whenever", "dont cancel", "not cancel", "do not cancel", "not cancelling"];
    if is_plan.iter().any(|phrase| has_phrase(&said, phrase)) {
        return false;
    }
    let named = any_among(&said, SUBSCRIPTIONS);
    let only_cancel = said.iter().all(|word| ENDS.contains(&word.as_str()) || BESIDE_CANCEL.contains(&word.as_str()));
    let may_end = named && any_among(&said, MAY_END) && !any_among(&said, CONDITIONS) && !any_among(&said, ASKS);
    may_end || (any_among(&said, ENDS) && (named || only_cancel))
}

/// Whether somebody else was meant, or asks who we are.
pub(super) fn is_wrong_number(body: &str) -> bool {
    let said = plain(body);
    WRONG_NUMBER.iter().any(|phrase| has_phrase(&said, phrase))
}

/// Whether the last question is to be asked again.
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
