//! Recognises that a client cannot set up forwarding as it was told: "there is no such menu", "it says failed".

use super::words::{any_among, has_phrase, place_of, plain};

/// Phrases that say that the way is not there, or leads nowhere.
#[rustfmt::skip]
const TROUBLE: &[&str] = &[
    "no such menu", "no such option", "no such setting", "no menu", "no option", "no setting", "no settings", "no call forwarding",
    "no call forward", "no call divert", "no forwarding", "no profile", "no busy", "cant find", "can not find", "cannot find",
    "cant see it", "cant see that", "cant see the", "cant see call", "can not see", "cannot see", "couldnt find", "couldnt see",
    "dont see", "do not see", "its not there", "isnt there", "aint there", "not showing", "doesnt show", "not an option", "isnt an option", "greyed out", "grayed out",
    "dont have that", "dont have it", "dont have this", "dont have call", "dont have the option", "dont have the menu",
    "havent got that", "havent got it", "havent got call", "havent got the option", "havent got the menu", "doesnt have that",
    "doesnt have it", "doesnt have call", "hasnt got that", "hasnt got it", "hasnt got call",
    "doesnt work", "does not work", "dosnt work", "doesn work", "didnt work", "did not work", "dont work", "wont work", "not working", "isnt working",
    "aint working", "hasnt worked", "not worked", "cant do it", "cannot do it", "couldnt do it", "wont let me", "doesnt let me", "not let me",
    "cant get it to work", "cant set it up", "cannot set it up", "setting failed", "it failed", "says failed", "activation failed",
    "request failed", "error", "not possible",
];

/// Words that say that it works by now, if they follow: "didn't work at first, but it's working now".
const IN_THE_END: &[&str] = &["now", "worked", "works", "done", "sorted", "fixed"];

/// Words of a text about another time, or a condition.
const OF_ANOTHER_TIME: &[&str] = &["yet", "later", "tonight", "tomorrow", "till", "until", "if", "time"];

/// Words that deny what follows them soon: "didn't get any error".
const DENIES: &[&str] = &["no", "without", "didnt", "never", "not", "dont"];

/// Returns whether the sender says that forwarding cannot be set up as it was told.
pub(super) fn cannot_forward(body: &str) -> bool {
    let said = plain(body);
    let found = TROUBLE.iter().filter_map(|phrase| place_of(&said, phrase).map(|place| (place, phrase)));
    let told =
        found.filter(|(place, _)| !is_denied(&said, *place)).max_by_key(|(place, phrase)| place + count_words(phrase));
    told.is_some_and(|(place, phrase)| {
        let rest = said.get(place + count_words(phrase)..).unwrap_or_default();
        !any_among(rest, IN_THE_END) && !is_of_another_time(&said)
    })
}

fn count_words(phrase: &str) -> usize {
    phrase.split(' ').count()
}

fn is_denied(said: &[String], place: usize) -> bool {
    let before = said.get(..place).unwrap_or_default();
    before.iter().rev().take(3).any(|word| DENIES.contains(&word.as_str()))
}

fn is_of_another_time(said: &[String]) -> bool {
    // "It didn't work the first time" is of now.
    any_among(said, OF_ANOTHER_TIME) && !has_phrase(said, "first time") && !has_phrase(said, "every time")
}
