//! Reads corrections: "sorry, business name is Smith & Sons".

use super::form::{is_no_name, tidy};
use super::trade_and_place::trade_and_place;
use super::trades::TRADES;
use super::words::{LATER, NO, SENTENCE, TEXTS, YES, any_among, begins_with, has_phrase, plain};
use super::{ANSWER_CHARS_MAX, Field, Half, Meaning};
use crate::State;

/// Words that may come before a correction.
#[rustfmt::skip]
const BEFORE: &[&str] = &[
    "sorry", "oops", "actually", "correction", "no", "wait", "hi", "hey", "edit", "typo", "please", "pls", "can",
    "you", "could", "ok", "and", "also", "my", "bad", "mistake", "made", "a", "i", "oh", "ah", "but", "mate", "btw",
    "so",
];

/// Phrases that name the corrected answer. Longer ones come first.
const NAMES_FIELD: &[(&str, Field)] = &[
    ("change my business name to", Field::BusinessName),
    ("change the business name to", Field::BusinessName),
    ("change business name to", Field::BusinessName),
    ("the name of the business is", Field::BusinessName),
    ("the name of my business is", Field::BusinessName),
    ("my business name should be", Field::BusinessName),
    ("the business name should be", Field::BusinessName),
    ("business name should be", Field::BusinessName),
    ("my business name is", Field::BusinessName),
    ("our business name is", Field::BusinessName),
    ("the business name is", Field::BusinessName),
    ("business name is", Field::BusinessName),
    ("my business is called", Field::BusinessName),
    ("the business is called", Field::BusinessName),
    ("business is called", Field::BusinessName),
    ("my company name is", Field::BusinessName),
    ("the company name is", Field::BusinessName),
    ("company name should be", Field::BusinessName),
    ("company name is", Field::BusinessName),
    ("company is called", Field::BusinessName),
    ("business name", Field::BusinessName),
    ("change my name to", Field::OwnerName),
    ("my own name is", Field::OwnerName),
    ("my name should be", Field::OwnerName),
    ("my name is", Field::OwnerName),
    ("my names", Field::OwnerName),
    ("my trade is", Field::TradeAndPlace),
    ("trade is", Field::TradeAndPlace),
    ("my trade and area is", Field::TradeAndPlace),
];

/// Phrases that name the corrected answer only after S3, because until then they introduce an answer.
const NAMES_OWNER: &[(&str, Field)] = &[
    ("surname should be", Field::Surname),
    ("surname is", Field::Surname),
    ("last name is", Field::Surname),
    ("second name is", Field::Surname),
    ("name is", Field::OwnerName),
    ("full name is", Field::OwnerName),
];

/// Phrases that introduce another trade after one of [`TAKES_BACK`]: "actually I'm an electrician".
const NAMES_TRADE: &[&str] = &["im an", "im a", "i am an", "i am a", "were", "we are", "i do", "we do"];

#[rustfmt::skip]
const TAKES_BACK: &[&str] = &["actually", "sorry", "no", "wait", "oops", "correction", "mistake"];

/// Phrases that begin the right spelling, if " not " and the wrong one follow.
#[rustfmt::skip]
const SPELLS: &[&str] = &[
    "it should be", "should be", "thats", "that is", "its spelt", "it is spelt", "its spelled", "spelt", "spelled",
    "its", "it is",
];

/// Words that begin a correction of the last answer, if a mark or a capital follows.
const MARKS_TYPO: &[&str] = &["typo", "correction", "oops"];

/// Phrases that begin a correction of the last answer, if it is a name.
#[rustfmt::skip]
const LAST_NAME: &[&str] = &[
    "the name should be", "name should be", "it should be spelt", "should be spelt", "its spelt", "it is spelt",
    "its spelled", "should read", "it should read",
];

/// Phrases that begin a correction of the last answer.
#[rustfmt::skip]
const LAST_ANSWER: &[&str] = &[
    "i meant to say", "i meant to put", "i meant", "meant to say", "meant", "should be", "it should be",
    "that should be", "should have said", "it should say", "i mean",
];

/// Words that are no new answer: "business name is fine", "I meant yes".
#[rustfmt::skip]
const NO_VALUES: &[&str] = &[
    "fine", "correct", "right", "ok", "okay", "same", "good", "great", "perfect", "unchanged", "yes", "yeah", "yep",
    "no", "nope", "stop", "start", "help", "back", "sms", "text", "ready", "done", "iphone", "android", "landline", "it",
    "that", "this", "there", "above", "everything", "nothing", "thanks", "different", "important", "on", "all",
];

/// Words that may stand beside [`NO_VALUES`].
#[rustfmt::skip]
const BESIDE_NO_VALUES: &[&str] = &[
    "the", "still", "as", "is", "be", "already", "now", "a", "before", "you", "have", "put", "said", "i", "do", "done",
    "please", "thanks", "mate", "really", "quite", "very", "spelt", "me", "up", "one",
];

/// Phrases that begin no new answer: "my business name is on the website".
#[rustfmt::skip]
const NO_VALUE_BEGINS: &[&str] = &[
    "to", "on the", "on my", "in the", "in my", "at the", "as above", "as before", "is", "a secret", "for", "going to", "the same", "already", "still",
    "too", "very", "under", "with", "about", "what", "that i", "i", "you",
];

/// Reads a correction: the field, and its new answer. At COMPLETE there is none.
pub(super) fn correction(body: &str, asked: State) -> Option<(Field, String)> {
    let text = tidy(body);
    if asked == State::Complete || text.contains('?') {
        return None;
    }
    let words: Vec<&str> = text.split(' ').collect();
    // People mark a correction of their typing with an asterisk: "*Smith Heating" or "Smith Heating*".
    if let Some(mended) = text.strip_prefix('*').or_else(|| text.strip_suffix('*')) {
        return Some((Field::before(asked)?, value(mended)?));
    }
    let said: Vec<String> = words.iter().map(|word| plain(word).concat()).collect();
    let skipped = said.iter().take(6).take_while(|word| word.is_empty() || BEFORE.contains(&word.as_str())).count();
    let named = (0..=skipped).find_map(|skipped| {
        let rest = Rest { words: words.get(skipped..)?, said: said.get(skipped..)? };
        let owner = NAMES_OWNER.iter().filter(|_| asked > State::S3OwnerName);
        let last_name = LAST_NAME.iter().filter(|_| asked > State::S2BusinessName);
        NAMES_FIELD
            .iter()
            .chain(owner)
            .find_map(|(begin, field)| Some((*field, value(rest.after(begin)?)?)))
            .or_else(|| rest.another_trade(skipped > 0 && said.iter().take(skipped).any(|it| takes_back(it)), asked))
            .or_else(|| {
                let written = last_name.chain(LAST_ANSWER).find_map(|begin| rest.after(begin));
                Some((Field::before(asked)?, value(written.filter(|written| is_marked(written))?)?))
            })
    });
    let typo = |skipped| {
        let rest = Rest { words: words.get(skipped..)?, said: said.get(skipped..)? };
        MARKS_TYPO.iter().find_map(|begin| Some((Field::before(asked)?, marked(&rest.after(begin)?)?)))
    };
    named.or_else(|| (0..=skipped).find_map(typo))
}

/// The rest of a text, word by word: as written, and in the plain form of [`plain`].
struct Rest<'a> {
    words: &'a [&'a str],
    said: &'a [String],
}

impl Rest<'_> {
    /// Returns the text after `begin`, as written.
    fn after(&self, begin: &str) -> Option<String> {
        let follows = || self.words.get(begin.split(' ').count()..).unwrap_or_default().join(" ");
        begins_with(self.said, begin).then(follows)
    }

    /// Reads another trade than the given one, if `is_back` says that the text takes something back.
    fn another_trade(&self, is_back: bool, asked: State) -> Option<(Field, String)> {
        if !is_back || asked == State::S1BusinessTypeLocation || asked > State::S5ConfirmLive {
            return None;
        }
        NAMES_TRADE.iter().find_map(|begin| {
            let text = value(self.after(begin)?).filter(|text| !is_of_the_moment(text))?;
            let read = trade_and_place(&text, None);
            let is_known = any_among(&plain(&text), TRADES);
            let field = match (&read, is_known) {
                (Meaning::Half(Half::Trade(_)), true) => Field::Trade,
                (Meaning::TradeAndPlace(_), true) => Field::TradeAndPlace,
                (_, true | false) => return None,
            };
            Some((field, text))
        })
    }
}

/// Returns whether a text has a capital or a mark, which tells a name from chatter: "I meant Smyth", but not "it should be quick".
fn is_marked(written: &str) -> bool {
    written.contains(char::is_uppercase) || written.contains(['"', '“', '&', ':', '*'])
}

/// Returns whether a text is about the moment, so that it is no trade: "a driver at the moment".
fn is_of_the_moment(text: &str) -> bool {
    let said = plain(text);
    ["at the moment", "right now", "today", "atm", "now", "at work", "tonight"]
        .iter()
        .any(|phrase| has_phrase(&said, phrase))
}

fn takes_back(word: &str) -> bool {
    TAKES_BACK.contains(&word)
}

/// Reads the answer after "typo". It follows a mark or begins with a capital, and is not a sentence.
fn marked(written: &str) -> Option<String> {
    let first = written.chars().next()?;
    let is_marked = matches!(first, '-' | '–' | ':' | ',') || first.is_uppercase();
    let text = written.trim_start_matches(['-', '–', ':', ',', ' ']);
    let words: Vec<&str> = text.split(' ').collect();
    let said: Vec<String> = words.iter().map(|word| plain(word).concat()).collect();
    let rest = Rest { words: &words, said: &said };
    let text = ["its", "it is", "should be"].iter().find_map(|begin| rest.after(begin)).unwrap_or(text.to_owned());
    let is_sentence = [SENTENCE, NO].iter().any(|list| any_among(&said, list)) || is_no_name(&text);
    (is_marked && !is_sentence).then(|| value(text)).flatten()
}

/// Reads a right spelling and the wrong one: "its Smyth not Smith".
pub(super) fn respelling(body: &str, asked: State) -> Option<(String, String)> {
    let text = tidy(body);
    let is_open = asked > State::S1BusinessTypeLocation && asked < State::S6PhoneType;
    if !is_open || text.contains('?') {
        return None;
    }
    let words: Vec<&str> = text.split(' ').collect();
    let said: Vec<String> = words.iter().map(|word| plain(word).concat()).collect();
    let skipped = said.iter().take(4).take_while(|word| BEFORE.contains(&word.as_str())).count();
    let after = (0..=skipped).find_map(|skipped| {
        let rest = Rest { words: words.get(skipped..)?, said: said.get(skipped..)? };
        SPELLS.iter().find_map(|begin| rest.after(begin))
    })?;
    let marks = |it: char| it.is_whitespace() || matches!(it, '"' | '“' | '”' | ',' | '.' | '!');
    let (right, wrong) = after.split_once(" not ")?;
    let (right, wrong) = (right.trim_matches(marks), wrong.trim_matches(marks));
    let is_name = |part: &str| {
        let said = plain(part);
        (1..=3).contains(&said.len()) && ![YES, NO, TEXTS].iter().any(|list| any_among(&said, list))
    };
    (is_name(right) && is_name(wrong)).then(|| (right.to_owned(), wrong.to_owned()))
}

/// Returns the new answer without the words about it, if it is one.
fn value(written: impl AsRef<str>) -> Option<String> {
    let marks = |it: char| it.is_whitespace() || matches!(it, '"' | '“' | '”' | ':' | ',' | '*' | '!');
    let mut text = written.as_ref().trim_matches(marks);
    for begin in ["actually ", "really ", "now ", "supposed to be ", "to be "] {
        text = text.strip_prefix(begin).unwrap_or(text);
    }
    for end in [" not ", ", not ", ". Not "] {
        text = text.split_once(end).map_or(text, |(kept, _)| kept);
    }
    for end in [" please", " sorry", " thanks", " mate", "."] {
        text = text.strip_suffix(end).unwrap_or(text);
    }
    let text = text.trim_matches(marks);
    let fits = text.chars().any(char::is_alphanumeric) && text.chars().count() <= ANSWER_CHARS_MAX;
    let says_more = ["wrong", "not", "incorrect", "spelt", "spelled", "misspelt"];
    let said = plain(text);
    let is_value = !NO_VALUE_BEGINS.iter().any(|begin| begins_with(&said, begin))
        && !said
            .iter()
            .all(|word| [NO_VALUES, BESIDE_NO_VALUES, LATER].iter().any(|list| list.contains(&word.as_str())));
    let is_complaint = said.first().is_some_and(|word| says_more.contains(&word.as_str()));
    (fits && is_value && !is_complaint).then(|| text.to_owned())
}
