//! Recognises that a client cannot set up forwarding as it was told: "there is no such menu", "it says failed".

use super::words::{is_negated, place_of, plain, sentences};

/// Phrases that say that the way is not there, or leads nowhere.
#[rustfmt::skip]
const TROUBLE: &[&str] = &[
    "no such menu", "no such option", "no such setting", "no menu", "no option", "no setting", "no settings", "no call forwarding",
    "no call forward", "no call divert", "no forwarding", "no profile", "no busy", "cant find", "can not find", "cannot find",
    "cant see", "can not see", "cannot see", "couldnt find", "couldnt see", "dont see", "do not see", "not there", "isnt there",
    "aint there", "not showing", "doesnt show", "not an option", "isnt an option", "greyed out", "grayed out",
    "dont have that", "dont have it", "dont have this", "dont have the", "dont have call", "havent got that", "havent got it",
    "havent got the", "havent got call", "doesnt have that", "doesnt have it", "doesnt have the", "doesnt have call",
    "hasnt got that", "hasnt got it", "hasnt got the",
    "doesnt work", "does not work", "dosnt work", "doesn work", "didnt work", "did not work", "dont work", "wont work", "not working", "isnt working",
    "aint working", "hasnt worked", "not worked", "cant do it", "cannot do it", "couldnt do it", "wont let me", "doesnt let me", "not let me",
    "cant get it to work", "cant set it up", "cannot set it up", "setting failed", "it failed", "says failed", "activation failed",
    "request failed", "error", "not possible",
];

/// Returns whether the sender says that forwarding cannot be set up as it was told.
pub(super) fn cannot_forward(body: &str) -> bool {
    sentences(body).iter().any(|sentence| {
        let said = plain(sentence);
        let denied = |place| {
            is_negated(&said, place) || said.get(..place).is_some_and(|it| it.last().is_some_and(|it| it == "no"))
        };
        TROUBLE.iter().any(|phrase| place_of(&said, phrase).is_some_and(|place| !denied(place)))
    })
}
