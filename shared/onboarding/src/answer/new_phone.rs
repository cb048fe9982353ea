//! Recognises that a client texts from a new phone, and names its old number: "I've got a new phone, my old number is 07700 900123".
//!
//! The number must follow words that call it the old one. Other texts with a number, such as "call me on" or "my new number is", are
//! about something else.

use super::words::{any_among, has_phrase, plain};
use crate::E164;
use crate::phone::as_people_write;

/// Phrases that call the number behind them the old one, without more.
#[rustfmt::skip]
const OLD: &[&str] = &[
    "my old number", "our old number", "the old number", "old number", "my old phone number", "old phone number", "my old mobile number",
    "old mobile number", "my previous number", "previous number", "my former number", "former number", "my old one", "my old mobile",
    "my old phone", "my old sim", "my last number", "my number used to be", "my number before", "i used to be", "i was on",
];

/// Phrases that call the number behind them the old one, if the text says that the phone is new.
#[rustfmt::skip]
const OLD_BESIDE_NEW: &[&str] = &[
    "used to be", "was", "it was", "before it was", "my number was", "previously", "formerly", "from", "instead of", "not", "old one", "old phone",
    "old", "i was", "signed up with", "signed up on", "account is on", "account was on", "account is under", "registered on", "moving from",
];

/// Phrases that say that the phone is new.
#[rustfmt::skip]
const NEW: &[&str] = &[
    "new phone", "new number", "new sim", "new mobile", "new handset", "new fone", "second phone", "another phone", "different phone",
    "different number", "changed my number", "changed number", "changed numbers", "changed phone", "changed phones", "changed my phone",
    "changed sim", "switched phone", "switched phones", "switched number", "swapped phone", "swapped phones", "swapped sim",
    "lost my phone", "lost phone", "broke my phone", "phone got stolen", "phone was stolen", "moved number", "moved to this number",
    "moved to a new", "on a new", "this is my new",
];

/// Words that may stand between such a phrase and the number.
const BETWEEN: &[&str] = &[
    "is", "was", "its", "ending", "of", "no", "num", "number", "the", "one", "it", "being", "with", "jobrun", "to",
    "be",
];

/// The most words between such a phrase and the number.
const BETWEEN_MAX: usize = 3;

/// Words of a text that wants something else of a number.
#[rustfmt::skip]
const OF_ANOTHER_MATTER: &[&str] = &[
    "call", "ring", "rang", "rung", "ringing", "called", "calling", "reach", "contact", "customer", "customers", "client", "clients", "tenant",
    "keep", "keeping", "forward", "forwarding", "divert", "diverted", "port", "porting", "his", "her", "their", "wife", "husband", "boss", "van", "website",
    "stop", "delete", "remove", "advert",
];

/// Returns the old number that a text names, if the sender says that it has a new phone.
pub(super) fn old_number(body: &str) -> Option<E164> {
    let (before, number, after) = only_number(body)?;
    let (said, rest) = (plain(before), plain(after));
    if any_among(&said, OF_ANOTHER_MATTER) || any_among(&rest, OF_ANOTHER_MATTER) {
        return None;
    }
    let is_new = [&said, &rest].into_iter().any(|said| NEW.iter().any(|phrase| has_phrase(said, phrase)));
    let stands_before = |phrases: &[&str]| phrases.iter().any(|phrase| is_just_before(&said, phrase));
    let is_old = stands_before(OLD) || (is_new && stands_before(OLD_BESIDE_NEW));
    is_old.then_some(number)
}

/// Returns whether `phrase` ends just before the number, with a few words of [`BETWEEN`] at most.
fn is_just_before(said: &[String], phrase: &str) -> bool {
    let length = phrase.split(' ').count();
    (0..=BETWEEN_MAX).any(|between| {
        let Some(end) = said.len().checked_sub(between) else { return false };
        let Some(begin) = end.checked_sub(length) else { return false };
        let phrase_said = said.get(begin..end).unwrap_or_default().join(" ");
        phrase_said == phrase && said.get(end..).unwrap_or_default().iter().all(|word| BETWEEN.contains(&word.as_str()))
    })
}

/// Splits a text at the one phone number in it. `None` if there is none, or more than one.
fn only_number(body: &str) -> Option<(&str, E164, &str)> {
    let is_part = |it: char| it.is_ascii_digit() || matches!(it, '+' | '(' | ')' | '-' | '.' | ' ');
    let mut found = None;
    let mut at = 0;
    while let Some(rest) = body.get(at..) {
        let Some(begin) = rest.find(|it: char| it.is_ascii_digit() || it == '+' || it == '(') else { break };
        let run = rest.get(begin..).unwrap_or_default();
        let length = run.find(|it| !is_part(it)).unwrap_or(run.len());
        let written = run.get(..length).unwrap_or_default().trim_end_matches([' ', '.', '-', '(']);
        let digits = written.bytes().filter(u8::is_ascii_digit).count();
        if digits >= 10
            && let Some(number) = as_people_write(written)
        {
            if found.is_some() {
                return None;
            }
            let (from, to) = (at + begin, at + begin + written.len());
            found = Some((body.get(..from)?, number, body.get(to..)?));
        }
        at += begin + length.max(1);
    }
    found
}
