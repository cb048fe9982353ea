//! Corrections of earlier answers: "sorry, business name is Smith & Sons".

use super::names::tidy;
use super::words::{begins_with, plain};
use super::{ANSWER_CHARS_MAX, Field};
use crate::State;

/// Comes before a correction, and says nothing by itself.
#[rustfmt::skip]
const BEFORE: &[&str] = &[
    "sorry", "oops", "actually", "correction", "no", "wait", "hi", "hey", "edit", "typo", "please", "pls", "can",
    "you", "could", "ok", "and", "also", "my", "bad", "mistake", "made", "a", "i", "oh", "ah", "but", "mate", "btw",
    "so",
];

/// The words that name what is corrected. Longer ones come first.
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

/// Begins a correction of the last answer.
#[rustfmt::skip]
const LAST_ANSWER: &[&str] = &[
    "i meant to say", "i meant to put", "i meant", "meant to say", "meant", "should be", "it should be",
    "that should be", "should have said", "it should say", "i mean",
];

/// Reads a correction: which answer, and what it is to be. At COMPLETE there is none.
pub(super) fn correction(body: &str, asked: State) -> Option<(Field, String)> {
    let text = tidy(body);
    if asked == State::Complete || text.contains('?') {
        return None;
    }
    let words: Vec<&str> = text.split(' ').collect();
    // "*Smith Heating", or "Smith Heating*", as people mend what they have typed.
    if let Some(mended) = text.strip_prefix('*').or_else(|| text.strip_suffix('*')) {
        return Some((Field::before(asked)?, value(mended)?));
    }
    let said: Vec<String> = words.iter().map(|word| plain(word).concat()).collect();
    let skipped = said.iter().take(6).take_while(|word| word.is_empty() || BEFORE.contains(&word.as_str())).count();
    (0..=skipped).find_map(|skipped| {
        let rest = Rest { words: words.get(skipped..)?, said: said.get(skipped..)? };
        NAMES_FIELD
            .iter()
            .find_map(|(begin, field)| Some((*field, value(rest.after(begin)?)?)))
            .or_else(|| LAST_ANSWER.iter().find_map(|begin| Some((Field::before(asked)?, value(rest.after(begin)?)?))))
    })
}

/// The rest of a text, as it was written and as it was said, word by word.
struct Rest<'a> {
    words: &'a [&'a str],
    said: &'a [String],
}

impl Rest<'_> {
    /// Returns the text after `begin`, as it was written.
    fn after(&self, begin: &str) -> Option<String> {
        let follows = || self.words.get(begin.split(' ').count()..).unwrap_or_default().join(" ");
        begins_with(self.said, begin).then(follows)
    }
}

/// The new answer: what is said about it is taken off.
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
    let is_complaint = plain(text).first().is_some_and(|word| says_more.contains(&word.as_str()));
    (fits && !is_complaint).then(|| text.to_owned())
}
