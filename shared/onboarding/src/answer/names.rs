//! Reads names: of a business, and of its owner.

use super::fillers::is_filler;
use super::form::{asks, fitting, greets, has_address, introduced, is_no_name, is_titled, tidy, without_courtesy};
use super::plain_names::{introduced_business, is_plainly_a_person, looks_like_a_business, names_company};
use super::trade_and_place::trade_and_place;
use super::trades::{BESIDE_PLACE, BETWEEN, OF_BUSINESSES, OF_WORK, PLACES, TRADES};
use super::words::{PERHAPS_SENTENCE, SENTENCE, any_among, has_phrase, plain};
use super::{ANSWER_CHARS_MAX, Meaning, two_answers};

/// The most words in the name of a person.
const PERSON_WORDS_MAX: usize = 6;

/// Phrases that say that the business has no name.
#[rustfmt::skip]
const NAMELESS: &[&str] = &[
    "dont have one", "dont have a name", "dont have a business name", "dont have a company name", "havent got one",
    "havent got a name", "not got one", "no name", "no business name", "no company name", "sole trader",
    "self employed", "work for myself", "my own name", "use my name", "just my name", "my name", "just me",
    "havent one", "doesnt have a name", "aint got one", "havent thought of one", "dont have any", "hasnt got one",
    "without a name", "not registered", "do not have one", "no company", "not a company", "dont have a company",
    "havent got a business name", "havent named it", "no name yet",
];

/// Words that may stand beside [`NAMELESS`].
#[rustfmt::skip]
const BESIDE_NAMELESS: &[&str] = &[
    "i", "im", "we", "a", "an", "the", "no", "yet", "just", "really", "actually", "sorry", "mate", "it", "its", "is",
    "use", "only", "me", "trade", "under", "as", "at", "moment", "dont", "have", "one", "name", "business", "by",
    "myself", "so", "am", "ill", "got", "haven", "please", "can", "you", "my", "own", "on", "thanks",
];

/// Phrases that introduce a person, and are no part of the name.
#[rustfmt::skip]
const OF_PERSON: &[&str] = &[
    "my full name is", "surname is", "my surname is", "the surname is", "my own name is", "my name is", "my names", "my name", "the name is", "the names", "names",
    "name is", "name", "this is", "it is", "its", "i am", "im", "just", "call me",
];

/// Words after "I'm" that are no name.
#[rustfmt::skip]
const NO_PERSON: &[&str] = &[
    "a", "an", "the", "at", "on", "in", "not", "out", "ok", "fine", "good", "here", "interested", "confused", "lost", "busy",
    "driving", "working", "going", "sorry", "away", "off", "still", "too", "so", "only", "back", "later", "tomorrow",
    "tonight", "now", "when", "after", "asap", "if", "soon", "today", "anytime", "whenever", "up",
];

/// Returns whether a text can only be the name of a business, at any question: "ABC Plumbing", but not "Plumber in London".
pub(super) fn is_plainly_a_business(name: &str) -> bool {
    looks_like_a_business(name) && !matches!(trade_and_place(name, None), Meaning::TradeAndPlace(_))
}

/// Reads the answer to S2: the name of the business.
pub(super) fn business_name(body: &str) -> Meaning {
    let text = tidy(body);
    if is_nameless(&text) {
        return Meaning::NoBusinessName;
    }
    let text = match two_answers::without_addresses(&text) {
        Some(kept) if looks_like_a_business(&kept) => kept,
        Some(_) => return Meaning::Unclear,
        None => two_answers::business_of(body).unwrap_or(text),
    };
    let polite = without_courtesy(&text);
    let name = introduced_business(polite);
    let introduced = name.len() < polite.len();
    let said = plain(name);
    let named =
        introduced && plain(polite).iter().any(|word| matches!(word.as_str(), "called" | "name" | "trading" | "call"));
    if is_of_s1(name, &said) || (is_bare_trade(&said) && !named) || is_filler(&text) {
        return Meaning::Unclear;
    }
    if !looks_like_a_business(name) && !introduced && (asks(name) || is_sentence(name, &said)) {
        return Meaning::Unclear;
    }
    if is_no_name(name) && !(introduced && name.chars().any(char::is_alphabetic)) {
        return if greets(body) { Meaning::Greeting } else { Meaning::Unclear };
    }
    // "Actually, I'm lost" introduces no name.
    let of_sender = |word: &String| matches!(word.as_str(), "i" | "im" | "ive" | "ill" | "id");
    if introduced
        && (said.first().is_some_and(of_sender)
            || asks(name)
            || said.first().is_some_and(|word| NO_PERSON.contains(&word.as_str())))
    {
        return Meaning::Unclear;
    }
    fitting(name, Meaning::BusinessName)
}

/// Returns whether a text at S2 is an answer to S1: a place alone, or a trade from a place.
fn is_of_s1(name: &str, said: &[String]) -> bool {
    let place = said.iter().any(|word| PLACES.contains(&word.as_str()))
        && said.iter().all(|word| [PLACES, BESIDE_PLACE, BETWEEN].iter().any(|list| list.contains(&word.as_str())));
    let from = said.iter().any(|word| matches!(word.as_str(), "from" | "covering" | "based"));
    let trade = said.first().is_some_and(|word| TRADES.contains(&word.as_str()));
    place || (trade && from && !looks_like_a_business(name)) || (trade && from && !any_among(said, OF_BUSINESSES))
}

/// Returns whether a text is only a trade: "plumber", "a gas engineer".
fn is_bare_trade(said: &[String]) -> bool {
    let beside = |word: &String| matches!(word.as_str(), "a" | "an" | "and" | "im");
    said.iter().any(|word| !beside(word)) && said.iter().all(|word| beside(word) || TRADES.contains(&word.as_str()))
}

fn is_nameless(text: &str) -> bool {
    let said = plain(text);
    let whole = matches!(
        said.join(" ").as_str(),
        "none" | "na" | "n a" | "no name" | "nothing" | "i dont" | "no i dont" | "nope i dont"
    );
    let phrase = NAMELESS.iter().find(|phrase| has_phrase(&said, phrase));
    let alone = phrase.is_some_and(|phrase| {
        let rest = format!(" {} ", said.join(" ")).replace(&format!(" {phrase} "), " ");
        rest.split_whitespace().all(|word| BESIDE_NAMELESS.contains(&word))
    });
    whole || alone
}

/// Returns whether the words make a sentence rather than a name.
fn is_sentence(text: &str, said: &[String]) -> bool {
    let titled = is_titled(text);
    let of_trade = any_among(said, TRADES) || names_company(said, titled);
    let sure = any_among(said, SENTENCE);
    let perhaps = any_among(said, PERHAPS_SENTENCE);
    !titled && said.len() > 1 && (sure || (perhaps && !of_trade))
}

/// Reads the answer to S3: the name of a person. The lines below it may be a signature.
pub(super) fn owner_name(body: &str) -> Meaning {
    let first = body.trim().lines().next().unwrap_or_default();
    // "Dave Smith, Smith Plumbing": the words after the comma are no part of the person's name.
    let (named, rest) = first.split_once(',').unwrap_or((first, ""));
    if is_plainly_a_person(named.trim()) && two_answers::is_no_person(rest) {
        return person(named);
    }
    match (person(body), person(first)) {
        (Meaning::Unclear, Meaning::OwnerName(name)) => Meaning::OwnerName(name),
        (whole, _) => whole,
    }
}

fn person(body: &str) -> Meaning {
    let text = tidy(body);
    let name = introduced(&text, OF_PERSON);
    // "Hi Dave here", "Yes Dave"
    let greetings = ["Hi ", "hi ", "Hello ", "hello ", "Hey ", "hey ", "Yes ", "yes ", "Ok ", "ok "];
    let name = without_courtesy(greetings.iter().find_map(|it| name.strip_prefix(it)).unwrap_or(name));
    let said = plain(name);
    let is_name =
        name.chars().any(char::is_alphabetic) && !name.chars().any(|it| it.is_ascii_digit()) && !has_address(name);
    let of_business =
        any_among(&said, OF_WORK) || said.iter().any(|word| matches!(word.as_str(), "ltd" | "limited" | "llp" | "plc"));
    if asks(name) && (name.contains('?') || !is_titled(name)) {
        return Meaning::Unclear;
    }
    if !is_name || is_no_name(name) || is_filler(&text) {
        return if greets(body) { Meaning::Greeting } else { Meaning::Unclear };
    }
    if name.chars().count() > ANSWER_CHARS_MAX {
        return Meaning::TooLong;
    }
    let no_person = (name.len() < text.len() || name.starts_with("a ") || name.starts_with("an "))
        && said.first().is_some_and(|word| NO_PERSON.contains(&word.as_str()));
    if of_business || no_person || said.len() > PERSON_WORDS_MAX || is_sentence(name, &said) {
        return Meaning::Unclear;
    }
    Meaning::OwnerName(name.trim_end_matches(['.', '!']).to_owned())
}
