//! The form of a text, before a meaning is read into it: greetings, courtesy, capitals, addresses, questions.

use super::words::{
    AGREES, ASKED, ASKS, COURTESY, GREETINGS, HELLOS, MAY_ASK, NO, NO_NAME, PERHAPS_SENTENCE, YES, all_among,
    any_among, begins_with, is_among, is_emoji, meant, plain,
};
use super::{ANSWER_CHARS_MAX, Meaning};

/// Words that may come before a question.
#[rustfmt::skip]
pub(super) const BEFORE_QUESTION: &[&str] = &[
    "hi", "hello", "hey", "hiya", "heya", "morning", "ok", "okay", "so", "and", "yes", "yeah", "sorry", "mate", "thanks", "oh",
    "right", "well", "cool", "great", "but",
];

/// Returns a text with folded white space, and without control characters, emoji and the line that some phones add.
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

/// Returns whether a phone added the line: "Sent from my iPhone".
pub(super) fn is_added_by_the_phone(line: &str) -> bool {
    let line = line.trim().to_lowercase();
    ["sent from my ", "sent from outlook", "sent from yahoo", "sent from mail", "get outlook for", "sent via "]
        .iter()
        .any(|begins| line.starts_with(begins))
}

/// Returns the text after a greeting and one of `introductions`, as written.
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

/// Returns the plain form of each word, split at spaces.
fn said_by_word(text: &str) -> Vec<String> {
    text.split(' ').map(|word| plain(word).concat()).collect()
}

/// Returns a text without the polite words at its end.
pub(super) fn without_courtesy(text: &str) -> &str {
    const POLITE: [&str; 10] =
        [" please", " pls", " mate", " thanks", " thank you", " cheers", " ta", " x", " here", " yes"];
    POLITE.iter().find_map(|end| text.strip_suffix(end)).unwrap_or(text).trim_end_matches([' ', ','])
}

/// Returns whether a text contains an address of a web page or a mailbox.
pub(super) fn has_address(text: &str) -> bool {
    text.contains("://") || text.contains("www.") || text.contains('@')
}

/// Returns a text without its greeting, if a mark or an introduction follows. Otherwise it may be a name: "Hi-Tec Heating".
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

/// Returns whether every word begins with a capital, some go on in small letters, and none is "I".
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

/// Returns whether the sender asks a question.
pub(super) fn asks(text: &str) -> bool {
    let said: Vec<String> =
        plain(text).into_iter().skip_while(|word| BEFORE_QUESTION.contains(&word.as_str())).collect();
    let word = |place: usize| said.get(place).map(String::as_str).unwrap_or_default();
    let (first, second) = (word(0), word(1));
    // "Do it", "did it" and "have it done" are no questions.
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

/// Returns whether a text says only greetings, or the wish to join.
pub(super) fn greets(body: &str) -> bool {
    let said = meant(body);
    let to_us =
        |word: &String| is_among(word, GREETINGS) || is_among(word, COURTESY) || is_among(word, PERHAPS_SENTENCE);
    any_among(&said, GREETINGS) && !any_among(&said, NO) && said.iter().all(to_us)
}

/// Returns whether a text says only hello, and nothing that could be an answer.
pub(super) fn only_greets(body: &str) -> bool {
    let said = meant(body);
    any_among(&said, HELLOS) && all_among(&said, &[HELLOS, GREETINGS, COURTESY])
}

/// Returns whether a text cannot be a name: yes, no, thanks, digits, "same", "dunno".
pub(super) fn is_no_name(text: &str) -> bool {
    let said = meant(text);
    let letters = text.chars().any(char::is_alphabetic);
    !letters || all_among(&said, &[YES, NO, AGREES, COURTESY, GREETINGS, NO_NAME])
}

/// Returns the meaning of a text that is short enough to be stored, and otherwise [`Meaning::TooLong`].
pub(super) fn fitting(text: &str, meaning: impl FnOnce(String) -> Meaning) -> Meaning {
    if text.chars().count() > ANSWER_CHARS_MAX { Meaning::TooLong } else { meaning(text.to_owned()) }
}
