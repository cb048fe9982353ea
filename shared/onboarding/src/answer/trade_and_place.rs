//! Reads the answer to S1: a trade and a place, or half of it.

use super::fillers::{is_chatter, is_whereabouts};
use super::form::{asks, fitting, greets, has_address, introduced, is_no_name, tidy, without_courtesy};
use super::trades::{BESIDE_PLACE, BESIDE_TRADE, BETWEEN, is_place, is_trade};
use super::words::{ASKS, GREETINGS, NO, PERHAPS_SENTENCE, SENTENCE, any_among, has_phrase, is_among, plain};
use super::{ANSWER_CHARS_MAX, Half, Meaning, two_answers};

/// Phrases that introduce a trade or a place, and are no part of it.
#[rustfmt::skip]
const OF_TRADE: &[&str] = &[
    "actually im a", "actually im an", "actually i am a", "actually i am an", "sorry im a", "sorry im an",
    "i work as a", "i work as an", "i am an", "i am a", "im an", "im a", "we are a", "we are", "were a", "were", "we do",
    "i do", "i cover", "we cover", "i live", "i am based", "im based", "i run a", "i have a", "i work", "i am", "im", "it is", "its", "my trade is", "trade is",
];

/// Words of people who look for a trade rather than offer one, or who set a condition.
#[rustfmt::skip]
const OF_CUSTOMERS: &[&str] = &[
    "need", "needs", "needed", "wanted", "require", "required", "requires", "asap", "urgent", "urgently", "quote",
    "recommend", "recommended", "broken", "leaking", "if", "unless", "provided",
];

/// Reads a trade and a place, or half of it, which is joined with the known `half`. A name of a business or of its owner that
/// follows is left out.
pub(super) fn trade_and_place(body: &str, half: Option<&Half>) -> Meaning {
    let before = two_answers::trade_and_place_of(body).map(|before| whole_or_half(&before, half));
    match before {
        Some(Meaning::TradeAndPlace(text)) => Meaning::TradeAndPlace(text),
        Some(_) | None => whole_or_half(body, half),
    }
}

fn whole_or_half(body: &str, half: Option<&Half>) -> Meaning {
    let text = tidy(body);
    let answer = introduced(without_courtesy(&text), OF_TRADE).trim_end_matches('.');
    let answer = ["ok ", "Ok ", "OK ", "yes ", "Yes ", "hi ", "Hi "]
        .iter()
        .find_map(|it| answer.strip_prefix(it))
        .unwrap_or(answer);
    let said = plain(answer);
    let wants = [
        "need a",
        "need an",
        "looking for",
        "can you",
        "do you",
        "want to",
        "have you",
        "not interested",
        "interested in",
        "as long as",
        "after a",
        "after an",
        "know a",
        "know any",
        "a burst",
        "leak in",
        "leak at",
        "my boiler",
        "my toilet",
        "my sink",
    ];
    let is_else = any_among(&said, ASKS)
        || any_among(&said, OF_CUSTOMERS)
        || is_whereabouts(answer)
        || is_chatter(answer)
        || is_chatter(&text);
    if asks(answer) || is_else || has_address(answer) || wants.iter().any(|phrase| has_phrase(&said, phrase)) {
        return if greets(body) { Meaning::Greeting } else { Meaning::Unclear };
    }
    let meaningful = |word: &&String| word.chars().any(char::is_alphabetic) && !is_among(word, GREETINGS);
    let meaningful = said.iter().filter(meaningful).count();
    if meaningful == 0 || is_no_name(answer) {
        return if greets(body) { Meaning::Greeting } else { Meaning::Unclear };
    }
    if answer.chars().count() > ANSWER_CHARS_MAX {
        return Meaning::TooLong;
    }
    let whole = || Meaning::TradeAndPlace(answer.to_owned());
    match parts(answer, &said) {
        // "Plumber", "Dog walking", but not "Plumber Nempnett", whose second word may be a place.
        Parts { trade: true, place: false, between: false, sentence } if ends_with_trade(&said) => {
            if sentence {
                return Meaning::Unclear;
            }
            complete(half, Half::Trade(answer.to_owned()))
        }
        Parts { trade: false, place, between, sentence: false }
            if (place || between) && half_of_place(answer, &said) =>
        {
            complete(half, Half::Place(answer.to_owned()))
        }
        Parts { trade: false, sentence: false, .. } if matches!(half, Some(Half::Trade(_))) => {
            complete(half, Half::Place(answer.to_owned()))
        }
        Parts { place: false, between: false, .. }
            if said.iter().any(|word| matches!(word.as_str(), "ltd" | "limited")) =>
        {
            Meaning::Unclear
        }
        Parts { trade, place, between, sentence } if meaningful >= 2 && (trade || place || between) => {
            let clear = !sentence || (trade && (place || between));
            if clear { whole() } else { Meaning::Unclear }
        }
        Parts { sentence: false, .. } => match half {
            Some(Half::Trade(_)) => complete(half, Half::Place(answer.to_owned())),
            Some(Half::Place(_)) => complete(half, Half::Trade(answer.to_owned())),
            None => Meaning::Unclear,
        },
        Parts { .. } => Meaning::Unclear,
    }
}

/// The parts of a trade and a place that are in a text.
struct Parts {
    trade: bool,
    place: bool,
    /// Whether a word such as "from", a comma or a slash divides the text into two parts.
    between: bool,
    sentence: bool,
}

fn parts(answer: &str, said: &[String]) -> Parts {
    Parts {
        trade: said.iter().any(|word| is_trade(word)),
        place: said.iter().any(|word| is_place(word)),
        between: any_among(said, BETWEEN) || answer.contains([',', '/']),
        sentence: any_among(said, SENTENCE) || any_among(said, NO) || any_among(said, PERHAPS_SENTENCE),
    }
}

/// Returns whether the last word is a trade, or there is only a trade and words that may stand beside it.
fn ends_with_trade(said: &[String]) -> bool {
    said.last().is_some_and(|word| is_trade(word)) || only_of(said, is_trade, BESIDE_TRADE)
}

fn only_of(said: &[String], is_one: impl Fn(&str) -> bool, beside: &[&str]) -> bool {
    said.iter().all(|word| is_one(word) || is_among(word, beside) || is_among(word, GREETINGS))
}

/// Returns whether a text is only a place: "Leeds", "from Leeds", "in the Leeds area".
fn half_of_place(answer: &str, said: &[String]) -> bool {
    let begins = said.first().is_some_and(|word| BETWEEN.contains(&word.as_str()));
    begins || (!answer.contains('/') && only_of(said, |word| is_place(word) || BETWEEN.contains(&word), BESIDE_PLACE))
}

/// Joins two halves. Without a fitting known half, the new one stays a half.
fn complete(known: Option<&Half>, new: Half) -> Meaning {
    let (trade, place) = match (known, &new) {
        (Some(Half::Trade(trade)), Half::Place(place)) | (Some(Half::Place(place)), Half::Trade(trade)) => {
            (trade, place)
        }
        (Some(Half::Trade(_) | Half::Place(_)) | None, Half::Trade(_) | Half::Place(_)) => return Meaning::Half(new),
    };
    let first = plain(place).into_iter().next().unwrap_or_default();
    let joint = if BETWEEN.contains(&first.as_str()) { " " } else { ", " };
    fitting(&format!("{trade}{joint}{place}"), Meaning::TradeAndPlace)
}
