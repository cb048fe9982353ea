//! Names in free words: of a business, and of its owner.

use super::fillers::is_filler;
use super::trade_and_place::{is_place, is_trade, trade_and_place};
use super::trades::{BESIDE_PLACE, BETWEEN, LEGAL_FORMS, OF_BUSINESSES, OF_WORK, PLACES, TRADES};
use super::two_answers;
use super::words::{
    AGREES, ASKED, ASKS, COURTESY, GREETINGS, HELLOS, MAY_ASK, NO, NO_NAME, PERHAPS_SENTENCE, SENTENCE, YES, all_among,
    any_among, begins_with, has_phrase, is_among, is_emoji, meant, plain,
};
use super::{ANSWER_CHARS_MAX, Meaning};

/// The longest name of a person, in words.
const PERSON_WORDS_MAX: usize = 6;

/// Says that the business has no name.
#[rustfmt::skip]
const NAMELESS: &[&str] = &[
    "dont have one", "dont have a name", "dont have a business name", "dont have a company name", "havent got one",
    "havent got a name", "not got one", "no name", "no business name", "no company name", "sole trader",
    "self employed", "work for myself", "my own name", "use my name", "just my name", "my name", "just me",
    "havent one", "doesnt have a name", "aint got one", "havent thought of one", "dont have any", "hasnt got one",
    "without a name", "not registered", "do not have one", "no company", "not a company", "dont have a company",
    "havent got a business name", "havent named it", "no name yet",
];

/// Stands beside [`NAMELESS`].
#[rustfmt::skip]
const BESIDE_NAMELESS: &[&str] = &[
    "i", "im", "we", "a", "an", "the", "no", "yet", "just", "really", "actually", "sorry", "mate", "it", "its", "is",
    "use", "only", "me", "trade", "under", "as", "at", "moment", "dont", "have", "one", "name", "business", "by",
    "myself", "so", "am", "ill", "got", "haven", "please", "can", "you", "my", "own", "on", "thanks",
];

/// Introduces the name of a business, and is no part of it.
#[rustfmt::skip]
const OF_BUSINESS: &[&str] = &[
    "the name of my business is", "the business is", "the name of the business is", "my business name is", "our business name is",
    "my business is called", "the business is called", "our business is called", "the business name is",
    "business name is", "the company is called", "my company is called", "company name is", "my company is",
    "my business is", "business is called", "we are called", "were called", "we trade as", "i trade as", "trading as",
    "its called", "it is called", "called", "the name is", "the names", "the name should be", "name should be", "name is", "name", "it is", "its", "its just", "just call it", "call it", "just", "my own name is", "my own name",
    "we are", "were",
];

/// Introduces a person, and is no part of the name.
#[rustfmt::skip]
const OF_PERSON: &[&str] = &[
    "my full name is", "surname is", "my surname is", "the surname is", "my own name is", "my name is", "my names", "my name", "the name is", "the names", "names",
    "name is", "name", "this is", "it is", "its", "i am", "im", "just", "call me",
];

/// Stands before "company" where no name is told.
const BEFORE_COMPANY: &[&str] =
    &["your", "my", "our", "ur", "this", "that", "the", "which", "what", "any", "wrong", "a", "same"];

/// Comes before a question, and is no part of it.
#[rustfmt::skip]
const BEFORE_QUESTION: &[&str] = &[
    "hi", "hello", "hey", "hiya", "heya", "morning", "ok", "okay", "so", "and", "yes", "yeah", "sorry", "mate", "thanks", "oh",
    "right", "well", "cool", "great", "but",
];

/// Follows "I'm" where no name does.
#[rustfmt::skip]
const NO_PERSON: &[&str] = &[
    "a", "an", "the", "at", "on", "in", "not", "out", "ok", "fine", "good", "here", "interested", "confused", "lost", "busy",
    "driving", "working", "going", "sorry", "away", "off", "still", "too", "so", "only", "back", "later", "tomorrow",
    "tonight", "now", "when", "after", "asap", "if", "soon", "today", "anytime", "whenever", "up",
];

/// White space folded, control characters, emoji and the line that some phones add taken out.
pub(super) fn tidy(body: &str) -> String {
    let lines = body.lines().filter(|line| !is_added_by_the_phone(line));
    let visible: String = lines.collect::<Vec<_>>().join(" ");
    let visible: String = visible
        .chars()
        .filter(|character| !is_emoji(*character))
        .map(|character| if character.is_control() { ' ' } else { character })
        .collect();
    visible.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// "Sent from my iPhone", and the like.
pub(super) fn is_added_by_the_phone(line: &str) -> bool {
    let line = line.trim().to_lowercase();
    ["sent from my ", "sent from outlook", "sent from yahoo", "sent from mail", "get outlook for", "sent via "]
        .iter()
        .any(|begins| line.starts_with(begins))
}

/// The name of a business without its introduction, as it was written: "Hi, it's ABC Plumbing" becomes "ABC Plumbing".
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

/// Whether the words of an introduction are written as a name is: "We Are Plumbers", "Just Drains". "It's" is never one.
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

/// The text after a greeting and one of `introductions`, as it was written.
pub(super) fn introduced<'a>(text: &'a str, introductions: &[&str]) -> &'a str {
    let greeted = after_greeting(text, introductions);
    let said = said_by_word(greeted);
    let fits = |begin: &&&str| begins_with(&said, begin) && said.len() > begin.split(' ').count();
    let longest = introductions.iter().filter(fits).map(|begin| begin.split(' ').count()).max();
    let rest = longest.map_or(greeted, |count| greeted.splitn(count + 1, ' ').last().unwrap_or(greeted));
    // "my name is actually Bob"
    let rest = ["actually ", "really ", "now "].iter().find_map(|word| rest.strip_prefix(word)).unwrap_or(rest);
    rest.trim_matches(|it: char| it.is_whitespace() || matches!(it, '"' | '“' | '”' | ':' | ',' | '*'))
}

/// Splits at white space, and returns the plain form of each word.
fn said_by_word(text: &str) -> Vec<String> {
    text.split(' ').map(|word| plain(word).concat()).collect()
}

/// A text without what is merely polite at its end.
pub(super) fn without_courtesy(text: &str) -> &str {
    const POLITE: [&str; 10] =
        [" please", " pls", " mate", " thanks", " thank you", " cheers", " ta", " x", " here", " yes"];
    POLITE.iter().find_map(|end| text.strip_suffix(end)).unwrap_or(text).trim_end_matches([' ', ','])
}

/// Whether a text holds an address of the web or of a mailbox.
pub(super) fn has_address(text: &str) -> bool {
    text.contains("://") || text.contains("www.") || text.contains('@')
}

/// A greeting is taken off only where a comma, a mark or an introduction follows: "Hi-Tec Heating" is a name.
fn after_greeting<'a>(text: &'a str, introductions: &[&str]) -> &'a str {
    let Some((first, rest)) = text.split_once(' ') else {
        return text;
    };
    let bare = first.trim_end_matches([',', '!', '.']);
    let greets = ["hi", "hello", "hey", "hiya", "yes", "no", "sorry", "ok", "oops", "yeah"]
        .contains(&bare.to_lowercase().as_str());
    let marked = bare.len() < first.len();
    if !greets {
        return text;
    }
    let said = said_by_word(rest);
    let introduced = introductions.iter().any(|begin| begins_with(&said, begin));
    if marked || introduced { rest.trim_start() } else { text }
}

/// Whether every word begins with a capital, some go on in small letters, and none is "I".
pub(super) fn is_titled(text: &str) -> bool {
    const SMALL: [&str; 12] = ["and", "of", "the", "for", "in", "to", "a", "n", "&", "by", "de", "van"];
    let words: Vec<&str> = text.split(' ').filter(|word| word.chars().any(char::is_alphabetic)).collect();
    let titled = |word: &&str| {
        SMALL.contains(word) || word.chars().find(|it| it.is_alphanumeric()).is_some_and(|it| !it.is_lowercase())
    };
    words.len() > 1
        && words.iter().all(titled)
        && text.chars().any(char::is_lowercase)
        && text.chars().any(char::is_uppercase)
}

/// Whether this is the name of a business, whatever its words would mean elsewhere: "Stop Leaks Ltd".
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

/// Whether "company" or the like stands in a name. "Your company" is ours, and "my services" are to be cancelled.
fn names_company(said: &[String], is_titled: bool) -> bool {
    let is_told_of = |place: usize| {
        let before = place.checked_sub(1).and_then(|before| said.get(before));
        before.is_some_and(|word| BEFORE_COMPANY.contains(&word.as_str())) && !is_titled
    };
    let mut ends = said.iter().enumerate().filter(|(_, word)| is_among(word, OF_BUSINESSES));
    ends.any(|(place, _)| !is_told_of(place))
}

/// Whether a word makes a sentence of a text, or a question. "Sorry, Smith Services" is still a name.
fn has_word_of_sentence(said: &[String]) -> bool {
    let is_polite = |word: &str| matches!(word, "sorry" | "please" | "sure");
    said.iter().any(|word| !is_polite(word) && (SENTENCE.contains(&word.as_str()) || ASKS.contains(&word.as_str())))
}

/// Whether a text is written as a name, or ends with a legal form: "Stop Leaks", "stop leaks ltd".
pub(super) fn is_named_for_sure(text: &str) -> bool {
    let said = plain(text);
    is_titled(text) || said.last().is_some_and(|word| LEGAL_FORMS.contains(&word.as_str()))
}

/// Whether this can be nothing but the name of a business, however it came: "ABC Plumbing", and not "Plumber in London".
pub(super) fn is_plainly_a_business(name: &str) -> bool {
    looks_like_a_business(name) && !matches!(trade_and_place(name, None), Meaning::TradeAndPlace(_))
}

/// Whether this can be nothing but a person's name, however it came: "John Smith".
pub(super) fn is_plainly_a_person(name: &str) -> bool {
    let said = plain(name);
    let is_else = |word: &String| is_trade(word) || is_place(word) || OF_BUSINESSES.contains(&word.as_str());
    (2..=3).contains(&said.len()) && is_titled(name) && !said.iter().any(is_else) && !is_no_name(name)
}

/// Whether the sender asks something rather than answers.
pub(super) fn asks(text: &str) -> bool {
    let said: Vec<String> =
        plain(text).into_iter().skip_while(|word| BEFORE_QUESTION.contains(&word.as_str())).collect();
    let word = |place: usize| said.get(place).map(String::as_str).unwrap_or_default();
    let (first, second) = (word(0), word(1));
    // "Do it", "did it" and "have it done" tell.
    let is_thing = matches!(second, "it" | "this" | "that");
    let tells = match first {
        "do" => is_thing,
        "did" | "have" => is_thing && matches!(word(2), "" | "done" | "set" | "now" | "mate" | "thanks" | "all"),
        _ => false,
    };
    text.contains('?')
        || (said.len() > 1 && ASKS.contains(&first))
        || (MAY_ASK.contains(&first) && ASKED.contains(&second) && !tells)
}

/// Nothing but greetings, or the wish to join.
pub(super) fn greets(body: &str) -> bool {
    let said = meant(body);
    let to_us =
        |word: &String| is_among(word, GREETINGS) || is_among(word, COURTESY) || is_among(word, PERHAPS_SENTENCE);
    any_among(&said, GREETINGS) && !any_among(&said, NO) && said.iter().all(to_us)
}

/// Hello, and nothing that could be an answer.
pub(super) fn only_greets(body: &str) -> bool {
    let said = meant(body);
    any_among(&said, HELLOS) && all_among(&said, &[HELLOS, GREETINGS, COURTESY])
}

/// Whether a text cannot be a name: yes, no, thanks, digits, "same", "dunno".
pub(super) fn is_no_name(text: &str) -> bool {
    let said = meant(text);
    let letters = text.chars().any(char::is_alphabetic);
    !letters || all_among(&said, &[YES, NO, AGREES, COURTESY, GREETINGS, NO_NAME])
}

/// Only what fits into our memory of it is an answer.
pub(super) fn fitting(text: &str, meaning: impl FnOnce(String) -> Meaning) -> Meaning {
    if text.chars().count() > ANSWER_CHARS_MAX { Meaning::TooLong } else { meaning(text.to_owned()) }
}

/// S2: the name of the business.
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
    // "Actually, I'm lost" introduces nothing.
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

/// Whether this answers S1 once more rather than S2: a place alone, or a trade from a place.
fn is_of_s1(name: &str, said: &[String]) -> bool {
    let place = said.iter().any(|word| PLACES.contains(&word.as_str()))
        && said.iter().all(|word| [PLACES, BESIDE_PLACE, BETWEEN].iter().any(|list| list.contains(&word.as_str())));
    let from = said.iter().any(|word| matches!(word.as_str(), "from" | "covering" | "based"));
    let trade = said.first().is_some_and(|word| TRADES.contains(&word.as_str()));
    place || (trade && from && !looks_like_a_business(name)) || (trade && from && !any_among(said, OF_BUSINESSES))
}

/// Whether there is a trade and nothing else: "plumber", "a gas engineer".
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

/// Whether the words make a sentence, and no name.
fn is_sentence(text: &str, said: &[String]) -> bool {
    let titled = is_titled(text);
    let of_trade = any_among(said, TRADES) || names_company(said, titled);
    let sure = any_among(said, SENTENCE);
    let perhaps = any_among(said, PERHAPS_SENTENCE);
    !titled && said.len() > 1 && (sure || (perhaps && !of_trade))
}

/// S3: a person's name. What stands below it may be a signature.
pub(super) fn owner_name(body: &str) -> Meaning {
    let first = body.trim().lines().next().unwrap_or_default();
    // "Dave Smith, Smith Plumbing": what follows the name belongs to no name.
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
