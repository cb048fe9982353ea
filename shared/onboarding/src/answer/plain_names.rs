//! Names that are told from other answers by their form alone.

use super::form::{introduced, is_no_name, is_titled, tidy};
use super::trades::{LEGAL_FORMS, OF_BUSINESSES, TRADES, is_place, is_trade};
use super::words::{ASKS, SENTENCE, any_among, is_among, plain};

/// Phrases that introduce the name of a business, and are no part of it.
#[rustfmt::skip]
const OF_BUSINESS: &[&str] = &[
    "the name of my business is", "the business is", "the name of the business is", "my business name is", "our business name is",
    "my business is called", "the business is called", "our business is called", "the business name is",
    "business name is", "the company is called", "my company is called", "company name is", "my company is",
    "my business is", "business is called", "we are called", "were called", "we trade as", "i trade as", "trading as",
    "its called", "it is called", "called", "the name is", "the names", "the name should be", "name should be", "name is", "name", "it is", "its", "its just", "just call it", "call it", "just", "my own name is", "my own name",
    "we are", "were",
];

/// Words before "company" where it is no part of a name.
const BEFORE_COMPANY: &[&str] =
    &["your", "my", "our", "ur", "this", "that", "the", "which", "what", "any", "wrong", "a", "same"];

/// Returns the name of a business without its introduction, as written: "Hi, it's ABC Plumbing" becomes "ABC Plumbing".
pub(super) fn introduced_business(text: &str) -> &str {
    let text = match text.split_once(':') {
        Some((label, name))
            if matches!(plain(label).join(" ").as_str(), "business" | "business name" | "company" | "name") =>
        {
            name.trim()
        }
        Some(_) | None => text,
    };
    let name = introduced(text, OF_BUSINESS);
    let introduction = text.strip_suffix(name).unwrap_or_default();
    if is_of_name(introduction) { text } else { name }
}

/// Returns whether an introduction is part of the name, by its capitals: "We Are Plumbers", "Just Drains". "It's" never is.
fn is_of_name(introduction: &str) -> bool {
    let mut words = introduction.split_whitespace().rev();
    let capital = |word: &str| word.chars().next().is_some_and(char::is_uppercase);
    let last = words.next().unwrap_or_default();
    capital(last)
        && !matches!(
            plain(last).concat().as_str(),
            "its" | "hi" | "hello" | "hey" | "sorry" | "yes" | "no" | "ok" | "hiya" | "yeah" | "oops"
        )
}

/// Returns whether a text looks like the name of a business, even if its words mean more elsewhere: "Stop Leaks Ltd".
pub(super) fn looks_like_a_business(text: &str) -> bool {
    let text = tidy(text);
    let said = plain(&text);
    let by_end = said.len() > 1
        && said.len() <= 6
        && !text.contains('?')
        && (is_named_for_sure(&text) || !has_word_of_sentence(&said))
        && names_company(&said, is_titled(&text));
    by_end || (is_titled(&text) && any_among(&said, TRADES))
}

/// Returns whether "company" or the like is part of a name. "Your company" is ours, and "my services" is what a client cancels.
pub(super) fn names_company(said: &[String], is_titled: bool) -> bool {
    let is_told_of = |place: usize| {
        let before = place.checked_sub(1).and_then(|before| said.get(before));
        before.is_some_and(|word| BEFORE_COMPANY.contains(&word.as_str())) && !is_titled
    };
    let mut ends = said.iter().enumerate().filter(|(_, word)| is_among(word, OF_BUSINESSES));
    ends.any(|(place, _)| !is_told_of(place))
}

/// Returns whether a word makes a sentence of a text, or a question. "Sorry, Smith Services" is still a name.
fn has_word_of_sentence(said: &[String]) -> bool {
    let is_polite = |word: &str| matches!(word, "sorry" | "please" | "sure");
    said.iter().any(|word| !is_polite(word) && (SENTENCE.contains(&word.as_str()) || ASKS.contains(&word.as_str())))
}

/// Returns whether a text is written as a name, or ends with a legal form: "Stop Leaks", "stop leaks ltd".
pub(super) fn is_named_for_sure(text: &str) -> bool {
    let said = plain(text);
    is_titled(text) || said.last().is_some_and(|word| LEGAL_FORMS.contains(&word.as_str()))
}

/// Returns whether a text can only be the name of a person, at any question: "John Smith".
pub(super) fn is_plainly_a_person(name: &str) -> bool {
    let said = plain(name);
    let is_else = |word: &String| is_trade(word) || is_place(word) || OF_BUSINESSES.contains(&word.as_str());
    (2..=3).contains(&said.len()) && is_titled(name) && !said.iter().any(is_else) && !is_no_name(name)
}
