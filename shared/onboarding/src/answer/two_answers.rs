//! Reads two answers in one text: "Smith Plumbing, Dave Smith". The one that was asked for is used, if it is clear which it is.

use super::form::{has_address, is_titled, tidy};
use super::plain_names::{is_plainly_a_person, looks_like_a_business};
use super::trades::{BETWEEN, OF_BUSINESSES, OF_WORK, is_place, is_trade};
use super::words::{AGREES, COURTESY, TEXTS, YES, all_among, any_among, has_phrase, place_of, plain};

/// Phrases that introduce the sender after another answer.
#[rustfmt::skip]
const INTRODUCES: &[&str] = &["my name is", "my names", "and my name is", "owner is", "the owner is", "im called"];

/// Returns the parts of a text, divided by commas, semicolons, lines or dashes.
fn parts(body: &str) -> Vec<String> {
    let dashed = body.replace(" - ", "\n").replace(" – ", "\n");
    let parts = dashed.split(['\n', ',', ';']).map(tidy);
    parts.filter(|part| part.chars().any(char::is_alphanumeric)).collect()
}

/// Returns whether a part is not of a business's name: it is a person, a trade and a place, or the wish for texts.
fn is_of_somebody(part: &str) -> bool {
    let said = plain(part);
    let small = |word: &String| matches!(word.as_str(), "and" | "the" | "of" | "for" | "no" | "in" | "all" | "your");
    let is_else =
        |word: &String| is_trade(word) || is_place(word) || OF_BUSINESSES.contains(&word.as_str()) || small(word);
    let first_name = said.len() == 1 && part.starts_with(char::is_uppercase);
    let lower =
        ((2..=3).contains(&said.len()) || first_name) && !said.iter().any(is_else) && !part.contains(['&', '/']);
    let lower = lower && part.chars().all(|it| it.is_alphabetic() || matches!(it, ' ' | '\'' | '’' | '-' | '.'));
    let of_s1 = said.first().is_some_and(|word| is_trade(word))
        && any_among(&said, BETWEEN)
        && said.iter().any(|word| is_place(word));
    of_s1 || is_plainly_a_person(part) || lower || introduces(part) || wants_texts(&said)
}

fn introduces(part: &str) -> bool {
    let said = plain(part);
    INTRODUCES
        .iter()
        .chain(&["im", "i am", "names", "name is", "name"])
        .any(|phrase| place_of(&said, phrase) == Some(0))
}

fn wants_texts(said: &[String]) -> bool {
    any_among(said, TEXTS) && all_among(said, &[TEXTS, YES, AGREES, COURTESY])
}

fn is_business(part: &str) -> bool {
    let said = plain(part);
    let last = said.last().map(String::as_str).unwrap_or_default();
    looks_like_a_business(part) || (said.len() > 1 && (OF_WORK.contains(&last) || is_of_trade(last)))
}

/// Returns whether a word is a trade that ends the name of a business: "Smith Roofers", "jones electrics".
fn is_of_trade(word: &str) -> bool {
    super::trades::TRADES.contains(&word) && !word.ends_with("er")
}

/// Returns the name of the business in a text that also names its owner.
pub(super) fn business_of(body: &str) -> Option<String> {
    let parts = parts(body);
    if let (Some(first), Some(second), 2..=4) = (parts.first(), parts.get(1), parts.len()) {
        if is_business(first) && parts.iter().skip(1).all(|part| is_of_somebody(part)) {
            return Some(first.clone());
        }
        if parts.len() == 2 && is_plainly_a_person(first) && is_business(second) && has_own_name(second) {
            return Some(second.clone());
        }
    }
    let text = tidy(body);
    let words: Vec<&str> = text.split(' ').collect();
    let said: Vec<String> = words.iter().map(|word| plain(word).concat()).collect();
    let place = INTRODUCES.iter().filter_map(|phrase| place_of(&said, phrase)).min().filter(|place| *place > 0)?;
    let before = words.get(..place)?.join(" ");
    let before = before.trim_end_matches([',', '.', ' ', '-']).trim_end_matches(" and");
    is_business(before).then(|| before.to_owned())
}

/// Returns whether a part is a name of its own, such as "Smith Plumbing". "Smith & Sons Ltd" after "Jones" is the rest of one name.
fn has_own_name(part: &str) -> bool {
    !part.contains('&') && is_titled(part)
}

/// Returns whether the words after a person's name are the name of a business, or the wish for texts.
pub(super) fn is_no_person(rest: &str) -> bool {
    let rest = tidy(rest);
    is_business(&rest) || wants_texts(&plain(&rest))
}

/// Returns the text before the name of the business or of the sender, for a text that ends with one.
pub(super) fn trade_and_place_of(body: &str) -> Option<String> {
    let commas: Vec<(usize, char)> =
        body.char_indices().filter(|(_, it)| matches!(it, ',' | '\n' | ';' | '.')).collect();
    let text_before = commas.iter().rev().find_map(|(at, mark)| {
        let (before, after) = (body.get(..*at)?, tidy(body.get(at + mark.len_utf8()..)?));
        let said = plain(&after);
        let named = OF_BUSINESSES.iter().any(|word| *word != "services" && said.contains(&(*word).to_owned()));
        let titled = looks_like_a_business(&after)
            && said.last().is_some_and(|word| OF_WORK.contains(&word.as_str()))
            && !said.first().is_some_and(|word| is_trade(word) || is_place(word));
        let ours = has_phrase(&said, "business name") || has_phrase(&said, "company name");
        (named || titled || ours || introduces(&after)).then(|| before.to_owned())
    });
    text_before.filter(|before| plain(before).len() > 1)
}

/// Returns a text without its addresses, or `None` if it has none.
pub(super) fn without_addresses(text: &str) -> Option<String> {
    let kept: Vec<&str> = text.split(' ').filter(|word| !is_address(word)).collect();
    (kept.len() < text.split(' ').count()).then(|| kept.join(" ").trim_end_matches([',', '-', ' ']).to_owned())
}

/// Returns whether a word is an address of a web page or a mailbox: "abcplumbing.co.uk".
fn is_address(word: &str) -> bool {
    const ENDS: [&str; 9] = [".uk", ".com", ".net", ".org", ".biz", ".info", ".wales", ".scot", ".london"];
    let word = word.trim_matches([',', '.', '(', ')']).to_lowercase();
    let page = word.split('/').next().unwrap_or_default();
    has_address(&word) || (page.len() > 4 && ENDS.iter().any(|end| page.ends_with(end)))
}
