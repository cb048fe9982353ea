//! Recognises texts that answer no question and want a person's answer: a doubt about us, a call for help, a question of the
//! sender's own.
//!
//! It is asked only about texts that mean nothing else, so that it cannot take a name or a trade for a question.

use super::Meaning;
use super::form::asks;
use super::words::{any_among, has_phrase, is_among, plain, sentences};
use crate::State;

/// Words of a sender who doubts that we are honest.
#[rustfmt::skip]
const DOUBTS: &[&str] = &[
    "scam", "scammer", "scammers", "scamming", "fraud", "fraudulent", "fake", "phishing", "legit", "legitimate", "genuine", "con",
    "dodgy", "suspicious",
];

/// Phrases of a sender who doubts that we are honest.
const DOUBTING: &[&str] =
    &["can i trust", "how do i trust", "a real company", "a real business", "rip off", "is this real"];

/// Words beside which a doubt is about another matter: "had a scam call today", "genuine question".
#[rustfmt::skip]
const OF_OTHERS: &[&str] = &[
    "call", "calls", "called", "caller", "callers", "calling", "rang", "number", "was", "were", "had", "question", "lol", "customer",
];

/// Phrases that ask for help.
#[rustfmt::skip]
const HELP: &[&str] = &[
    "need help", "need some help", "need a hand", "want help", "can you help", "can u help", "could you help", "can someone help",
    "can somebody help", "can anyone help", "help please", "pls help me", "please help me", "help pls", "bit of help", "im stuck",
    "i am stuck", "im lost", "im confused", "i dont understand", "dont understand this", "dont get it", "i dont get this", "dont know how",
    "dont know what to do",
];

/// Phrases that ask for help as the whole of a text.
const HELP_ALONE: &[&str] = &["help me", "please help", "pls help", "any help", "some help"];

/// The fewest words of a question that a person can answer. "1 or 2?" and "yes?" are about our question.
const QUESTION_WORDS_MIN: usize = 3;

/// Phrases of a question that our open question answers once it is asked again.
#[rustfmt::skip]
const ABOUT_OURS: &[&str] = &[
    "which one", "which number", "1 or", "2 or", "what now", "what next", "whats next", "what happens next", "what do i reply",
    "is it done", "did it work", "has it worked", "is it live", "am i live", "is it working", "is it set up", "is it ok", "is that ok",
    "is it all good", "is that it", "did i do it", "have you activated it", "get my call", "got my call", "see my call", "are you there",
    "is anyone there", "anybody there", "how are you", "how do i know",
];

/// Phrases of a first text, which the welcome answers.
#[rustfmt::skip]
const ABOUT_WELCOME: &[&str] = &[
    "sign up", "signup", "get started", "this work", "it work", "how it works", "get a number", "have a number", "join", "still available",
    "what is this", "whats this",
];

/// Words at the end of an answer that asks whether it will do: "first name ok?"
const WILL_DO: &[&str] = &["ok", "okay", "right", "yeah", "fine", "alright"];

/// Words that begin a question after "when": "when people stop calling me" is none.
const AFTER_WHEN: &[&str] = &["do", "does", "did", "will", "is", "are", "can", "should", "would"];

/// Returns the meaning of a text that means nothing else, if a person has to answer it.
pub(super) fn for_a_person(body: &str, asked: State) -> Option<Meaning> {
    let said = plain(body);
    let doubts = (any_among(&said, DOUBTS) || any_phrase(&said, DOUBTING)) && !any_among(&said, OF_OTHERS);
    match () {
        () if doubts => Some(Meaning::Doubt),
        () if any_phrase(&said, HELP) || HELP_ALONE.contains(&said.join(" ").as_str()) => Some(Meaning::AsksHelp),
        () if sentences(body).iter().any(|sentence| is_question(sentence, asked)) => Some(Meaning::Question),
        () => None,
    }
}

fn any_phrase(said: &[String], phrases: &[&str]) -> bool {
    phrases.iter().any(|phrase| has_phrase(said, phrase))
}

fn is_question(sentence: &str, asked: State) -> bool {
    let said = plain(sentence);
    let has = |word: &str| said.iter().any(|it| it == word);
    let follows = |first: &str, is_allowed: fn(&str) -> bool| {
        let next = said.iter().skip_while(|word| *word != first).nth(1);
        next.is_none_or(|next| is_allowed(next))
    };
    let is_marked = sentence.contains('?');
    let tells = !follows("what", |next| next != "a") || (!is_marked && !follows("when", |it| AFTER_WHEN.contains(&it)));
    // "iPhone or landline?" and "first name ok?" are about an answer.
    let is_answer =
        !asks(&sentence.replace('?', "")) && (has("or") || said.last().is_some_and(|it| is_among(it, WILL_DO)));
    let is_greeted = asked == State::S1BusinessTypeLocation && any_phrase(&said, ABOUT_WELCOME);
    said.len() >= QUESTION_WORDS_MIN
        && asks(sentence)
        && !(tells || is_answer || is_greeted || any_phrase(&said, ABOUT_OURS))
}
