//! The rules for the wordings of an operator's file.

use std::collections::{BTreeMap, BTreeSet};

use super::examples::{NUMBER, examples, is_known};
use super::fault::Fault;
use super::read::Entry;
use crate::segments::{Encoding, is_gsm, segments};
use crate::sent_text::{BEFORE_NUMBER, number_told, payment_reference};
use crate::wording_name::Name;
use crate::words::{Template, Wording};

/// Carriers and Twilio act on a text that is one of these words: they stop all texts to its sender, or reply themselves.
const CARRIER_WORDS: [&str; 10] =
    ["STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT", "HELP", "INFO"];

/// The words after which a text says what to send.
const ASKING: [&str; 8] = ["reply", "text", "send", "answer", "type", "txt", "say", "write"];

/// The words between those and what to send.
const BETWEEN: [&str; 8] = ["with", "back", "us", "the", "word", "just", "a", "by"];

/// The wordings with those of an operator's file in their place.
pub(super) struct Checked {
    pub(super) wording: Wording,
    pub(super) limits: BTreeMap<Name, u32>,
    pub(super) changed: Vec<Name>,
    pub(super) faults: Vec<Fault>,
}

/// Lays the entries of a file over the built-in wording, and checks the result.
pub(super) fn check(built_in: &Wording, limits: &BTreeMap<Name, u32>, entries: Vec<Entry>) -> Checked {
    let (mut wording, mut limits) = (built_in.clone(), limits.clone());
    let mut lines = BTreeMap::new();
    let mut faults = Vec::new();
    for entry in entries {
        let before = faults.len();
        check_entry(built_in, &entry, &mut faults);
        if faults.len() == before {
            wording.set(entry.name, entry.template);
            lines.insert(entry.name, entry.line);
            limits.extend(entry.limit.map(|limit| (entry.name, limit)));
        }
    }
    for name in Name::ALL {
        check_texts(built_in, &wording, *name, limits.get(name).copied(), lines.get(name).copied(), &mut faults);
    }
    let changed = lines.into_keys().filter(|name| wording.template(*name) != built_in.template(*name)).collect();
    Checked { wording, limits, changed, faults }
}

/// Checks a wording by itself.
fn check_entry(built_in: &Wording, entry: &Entry, faults: &mut Vec<Fault>) {
    let mut add = |problem: String| faults.push(Fault::of(entry.line, entry.name, problem));
    let ours = built_in.template(entry.name);
    if entry.name.is_fixed() && entry.template != *ours {
        add("is specified to the letter, and cannot be changed".to_owned());
        return;
    }
    let placeholders = |template: &Template| template.placeholders().map(str::to_owned).collect::<BTreeSet<_>>();
    let (has, needs) = (placeholders(&entry.template), placeholders(ours));
    for missing in needs.difference(&has) {
        add(format!("lacks the placeholder {{{missing}}}"));
    }
    for other in has.difference(&needs) {
        let why = if is_known(other) { "which it is given no value for" } else { "which does not exist" };
        add(format!("has the placeholder {{{other}}}, {why}"));
    }
    if let Some(word) = carrier_word(&entry.text) {
        add(format!("asks for {word}, which carriers act on"));
    }
}

/// Checks the texts that a wording makes: its segments, and whether its number and reference are found again in it.
fn check_texts(
    built_in: &Wording,
    wording: &Wording,
    name: Name,
    limit: Option<u32>,
    line: Option<usize>,
    faults: &mut Vec<Fault>,
) {
    let mut add = |problem: String| {
        faults.push(Fault { line, wording: Some(name.as_str().to_owned()), problem });
    };
    let words = examples(name, built_in.template(name));
    let bodies = || words.iter().map(|words| wording.write(words));
    let longest = bodies().max_by_key(|body| segments(body).count).unwrap_or_default();
    let (count, limit) = (segments(&longest), limit.unwrap_or_default());
    if count.count > limit {
        add(format!("takes {} with its longest values, and may take {limit}", shown(count.count, &longest)));
    }
    // A number is told in more texts than before, or in the same; and no other number is taken for the client's.
    let is_lost = |(words, body): (&_, String)| {
        let (ours, theirs) = (number_told(&built_in.write(words)), number_told(&body));
        theirs != ours && !(ours.is_none() && theirs.is_some_and(|told| told.as_str() == NUMBER))
    };
    if words.iter().zip(bodies()).any(is_lost) {
        let known = BEFORE_NUMBER.map(|words| format!("{words:?}")).join(", ");
        add(format!("hides the client's number: it is found again after one of {known}, and nowhere else"));
    }
    let loses_reference =
        |(words, body): (&_, String)| payment_reference(&body) != payment_reference(&built_in.write(words));
    if words.iter().zip(bodies()).any(loses_reference) {
        add("hides the client's reference in the payment link: put white space around the link".to_owned());
    }
}

/// Returns a number of segments in words. If one character makes the text dearer, it is named.
fn shown(count: u32, body: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    match (segments(body).encoding, body.chars().find(|it| !is_gsm(*it))) {
        (Encoding::Ucs2, Some(other)) => {
            format!("{count} segment{s} of 70 characters (Unicode, because {other:?} is not in the GSM alphabet)")
        }
        (Encoding::Ucs2 | Encoding::Gsm7, _) => format!("{count} segment{s}"),
    }
}

/// Returns the word that carriers act on for which a text asks, if it does: one that it tells to send, or one in capitals that
/// stands alone, as in "YES or STOP". In a longer phrase in capitals it is harmless.
#[must_use]
pub fn carrier_word(text: &str) -> Option<&'static str> {
    text.split(['.', '!', '?']).find_map(carrier_word_in_sentence)
}

fn carrier_word_in_sentence(text: &str) -> Option<&'static str> {
    let known = |word: &str| CARRIER_WORDS.iter().copied().find(|it| it.eq_ignore_ascii_case(word));
    let words = split(text);
    let in_capitals = |word: &str| !word.chars().any(char::is_lowercase) && word.chars().any(char::is_alphabetic);
    let mut is_asked_for = false;
    for (place, (word, is_joined)) in words.iter().enumerate() {
        let follows_capitals =
            *is_joined && place.checked_sub(1).and_then(|at| words.get(at)).is_some_and(|it| in_capitals(it.0));
        let leads_to_capitals = words.get(place + 1).is_some_and(|(next, is_joined)| *is_joined && in_capitals(next));
        let is_alone = in_capitals(word) && !follows_capitals && !leads_to_capitals;
        let is_sent = is_asked_for && !(in_capitals(word) && leads_to_capitals);
        if let Some(known) = known(word).filter(|_| is_alone || is_sent) {
            return Some(known);
        }
        let word = word.to_lowercase();
        is_asked_for = ASKING.contains(&word.as_str()) || (is_asked_for && BETWEEN.contains(&word.as_str()));
    }
    None
}

/// Splits a text into words, each with whether only a space is between it and the word before.
fn split(text: &str) -> Vec<(&str, bool)> {
    let is_of_word = |it: char| it.is_alphanumeric() || it == '\'' || it == '’';
    let mut words: Vec<(&str, bool)> = Vec::new();
    let mut spaces = 0;
    // Each part is a word, or empty where separators follow each other, and a separator at its end.
    for part in text.split_inclusive(|it| !is_of_word(it)) {
        let word = part.trim_end_matches(|it| !is_of_word(it)).trim_matches(['\'', '’']);
        if !word.is_empty() {
            words.push((word, spaces == 1));
            spaces = 0;
        }
        spaces = if part.ends_with(' ') { spaces + 1 } else { 2 };
    }
    words
}
