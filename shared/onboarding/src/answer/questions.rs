//! Recognises texts that answer no question and want a person's answer: a doubt about us, a call for help, a question of the
//! sender's own.
//!
//! It is asked only about texts that mean nothing else, so that it cannot take a name or a trade for a question.

use super::Meaning;
use super::form::asks;
use super::words::{any_among, has_phrase, plain, sentences};

/// Words of a sender who doubts that we are honest.
#[rustfmt::skip]
const DOUBTS: &[&str] = &[
    "scam", "scammer", "scammers", "scamming", "fraud", "fraudulent", "fake", "phishing", "legit", "legitimate", "genuine", "con",
    "dodgy", "suspicious",
];

/// Phrases of a sender who doubts that we are honest.
const DOUBTING: &[&str] =
    &["can i trust", "how do i trust", "a real company", "a real business", "rip off", "is this real"];

/// Phrases that ask for help.
#[rustfmt::skip]
const HELP: &[&str] = &[
    "help me", "need help", "need some help", "need a hand", "want help", "can you help", "can u help", "could you help",
    "can someone help", "can somebody help", "can anyone help", "help please", "please help", "pls help", "help pls", "bit of help",
    "some help", "any help", "im stuck", "i am stuck", "im lost", "im confused", "i dont understand", "dont understand this",
    "dont get it", "i dont get this", "no idea how", "not sure how", "dont know how", "dont know what to do",
];

/// The fewest words of a question that a person can answer. "1 or 2?" and "yes?" are about our question.
const QUESTION_WORDS_MIN: usize = 3;

/// Phrases of a question that our open question answers once it is asked again.
#[rustfmt::skip]
const ABOUT_OURS: &[&str] = &[
    "which one", "which number", "1 or", "2 or", "what now", "what next", "whats next", "what happens next", "what do i reply",
    "is it done", "did it work", "is it live", "is it working", "is it set up", "is it ok", "is it all good", "did i do it",
    "have you activated it", "are you there", "is anyone there", "anybody there",
];

/// Words that begin a question after "when": "when people stop calling me" is none.
const AFTER_WHEN: &[&str] = &["do", "does", "did", "will", "is", "are", "can", "should", "would"];

/// Returns the meaning of a text that means nothing else, if a person has to answer it.
pub(super) fn for_a_person(body: &str) -> Option<Meaning> {
    let said = plain(body);
    match () {
        () if any_among(&said, DOUBTS) || any_phrase(&said, DOUBTING) => Some(Meaning::Doubt),
        () if any_phrase(&said, HELP) => Some(Meaning::AsksHelp),
        () if sentences(body).iter().any(|sentence| is_question(sentence)) => Some(Meaning::Question),
        () => None,
    }
}

fn any_phrase(said: &[String], phrases: &[&str]) -> bool {
    phrases.iter().any(|phrase| has_phrase(said, phrase))
}

fn is_question(sentence: &str) -> bool {
    let said = plain(sentence);
    let follows = |first: &str, is_allowed: fn(&str) -> bool| {
        let next = said.iter().skip_while(|word| *word != first).nth(1);
        next.is_none_or(|next| is_allowed(next))
    };
    let tells = !follows("what", |next| next != "a")
        || (!sentence.contains('?') && !follows("when", |it| AFTER_WHEN.contains(&it)));
    // "iPhone or landline?" chooses between our answers.
    let chooses = said.len() == QUESTION_WORDS_MIN && said.get(1).is_some_and(|word| word == "or");
    said.len() >= QUESTION_WORDS_MIN && asks(sentence) && !tells && !chooses && !any_phrase(&said, ABOUT_OURS)
}
