//! Recognises that a client cannot set up forwarding as it was told: "there is no such menu", "it says failed".

use super::words::{any_among, has_phrase, place_of, plain};

/// Phrases that say that the way is not there, or leads nowhere.
#[rustfmt::skip]
const TROUBLE: &[&str] = &[
    "no such menu", "no such option", "no such setting", "no menu", "no option", "no setting", "no settings",
    "no call forwarding", "no call forward", "no call divert", "no forwarding", "no profile", "no busy", "cant find it",
    "cant find that", "cant find the option", "cant find the menu", "cant find the setting", "cant find call", "can not find it",
    "cannot find it", "cant find any of", "cant see it", "cant see that", "cant see the", "cant see call", "can not see",
    "cannot see", "couldnt find it", "couldnt see", "dont see", "do not see", "its not there", "isnt there", "aint there",
    "not showing", "doesnt show", "not an option", "isnt an option", "greyed out", "grayed out", "dont have that", "dont have it",
    "dont have this", "dont have call", "dont have the call", "dont have the option", "dont have the menu", "havent got that",
    "havent got it", "havent got call", "havent got the option", "havent got the menu", "doesnt have that", "doesnt have it",
    "doesnt have call", "hasnt got that", "hasnt got it", "hasnt got call", "doesnt work", "does not work", "dosnt work",
    "doesn work", "didnt work", "did not work", "codes dont work", "wont work", "not working", "isnt working", "aint working",
    "hasnt worked", "not worked", "cant do it", "cannot do it", "couldnt do it", "invalid mmi", "mmi code", "didnt go through",
    "forwarding failed", "wont let me", "doesnt let me", "not let me", "cant get it to work", "cant set it up",
    "cannot set it up", "setting failed", "it failed", "says failed", "activation failed", "request failed", "error",
];

/// Words that say that it works by now, if they follow: "didn't work at first, but it's working now".
const IN_THE_END: &[&str] = &["worked", "works", "working", "done", "sorted", "fixed", "fine", "ok"];

/// Words of a text about another time, or another thing.
#[rustfmt::skip]
const OF_ANOTHER_MATTER: &[&str] = &[
    "later", "tonight", "today", "tomorrow", "till", "until", "weekend", "weekends", "minute", "moment", "time", "voicemail", "wifi",
];

/// Words that deny what follows them soon: "didn't get any error".
const DENIES: &[&str] = &["without", "didnt", "never", "not", "dont"];

/// Words of the sender itself: "I'm not working today", "my error".
const OF_THE_SENDER: &[&str] = &["im", "my", "am"];

/// Returns whether the sender says that forwarding cannot be set up as it was told.
pub(super) fn cannot_forward(body: &str) -> bool {
    let said = plain(body);
    let found = TROUBLE.iter().filter_map(|phrase| place_of(&said, phrase).map(|place| (place, phrase)));
    let told =
        found.filter(|(place, _)| !is_denied(&said, *place)).max_by_key(|(place, phrase)| place + count_words(phrase));
    told.is_some_and(|(place, phrase)| {
        let rest = said.get(place + count_words(phrase)..).unwrap_or_default();
        !any_among(rest, IN_THE_END) && !is_of_another_matter(&said)
    })
}

fn count_words(phrase: &str) -> usize {
    phrase.split(' ').count()
}

fn is_denied(said: &[String], place: usize) -> bool {
    let before = said.get(..place).unwrap_or_default();
    let nearest = before.last().map(String::as_str).unwrap_or_default();
    // "No, it doesn't work" answers a question, and "no error" denies one.
    let denies_error = nearest == "no" && said.get(place).is_some_and(|word| word == "error");
    let is_denied = before.iter().rev().take(3).any(|word| DENIES.contains(&word.as_str()));
    is_denied || denies_error || OF_THE_SENDER.contains(&nearest)
}

fn is_of_another_matter(said: &[String]) -> bool {
    // "It didn't work the first time" is of now.
    any_among(said, OF_ANOTHER_MATTER) && !has_phrase(said, "first time") && !has_phrase(said, "every time")
}
