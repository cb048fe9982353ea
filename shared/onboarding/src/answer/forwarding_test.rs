//! Recognises that a client who is live wants its forwarding tested: "TEST", "is it still working".

use super::words::{all_among, any_among, has_phrase, plain};

/// Texts that ask for a test as a whole.
const ALONE: &[&str] = &["test", "tests", "testing", "retest", "check", "recheck"];

/// Words of a test.
const TESTS: &[&str] = &["test", "tests", "testing", "retest", "check", "checking", "recheck", "verify"];

/// Words of forwarding that works or not.
#[rustfmt::skip]
const WORKS: &[&str] = &["working", "works", "work", "worked", "active", "live", "on", "setup", "set", "ok", "fine", "right", "forwarded", "diverted"];

/// Words for the forwarding itself.
#[rustfmt::skip]
const FORWARDING: &[&str] = &[
    "forwarding", "forward", "forwards", "forwarded", "fowarding", "forwading", "divert", "diverts", "diverted", "diverting", "diversion",
    "jobrun",
];

/// Words that may stand beside them.
#[rustfmt::skip]
const BESIDE: &[&str] = &[
    "my", "the", "it", "its", "this", "that", "everything", "is", "are", "do", "does", "if", "whether", "still", "all", "call", "calls",
    "phone", "number", "line", "service", "can", "could", "you", "u", "i", "we", "want", "need", "like", "id", "to", "a", "please", "pls",
    "plz", "hi", "hello", "hiya", "hey", "again", "now", "just", "quick", "quickly", "actually", "thanks", "thank", "and", "how", "ok",
    "am", "be", "properly", "correctly", "today", "yes", "yeah", "for", "me", "us", "lets", "run", "another", "sure", "make", "see", "know",
    "wondering", "of", "up", "over", "through", "coming", "id", "would", "there",
];

/// Phrases of a client who says that forwarding has stopped.
#[rustfmt::skip]
const STOPPED: &[&str] = &[
    "stopped", "not working", "isnt working", "aint working", "doesnt work", "does not work", "dont work", "broken", "not going through",
    "not coming through", "arent coming through", "not being forwarded", "arent forwarding", "not forwarding", "isnt forwarding", "arent being forwarded",
    "not diverting", "isnt diverting",
];

/// Phrases of a client who has switched forwarding off.
const STOPPED_BY_SENDER: &[&str] =
    &["ive stopped", "i stopped", "i have stopped", "weve stopped", "we stopped", "we have stopped"];

/// Returns whether the sender asks whether its forwarding works, or says that it does not.
pub(super) fn asks_for_test(body: &str) -> bool {
    let said = plain(body);
    let joined = said.join(" ");
    let tests = any_among(&said, TESTS);
    let forwarding = any_among(&said, FORWARDING);
    // "Is it working" asks, and "it is working" tells.
    let asks_whether = any_among(&said, WORKS)
        && (forwarding || any_among(&said, &["it", "this", "everything"]))
        && (body.contains('?')
            || said.first().is_some_and(|word| matches!(word.as_str(), "is" | "does" | "are" | "do")));
    let is_plain = all_among(&said, &[TESTS, WORKS, FORWARDING, BESIDE]);
    // "I've stopped forwarding" is no fault.
    let stopped_itself = STOPPED_BY_SENDER.iter().any(|phrase| has_phrase(&said, phrase));
    let has_stopped = forwarding && !stopped_itself && STOPPED.iter().any(|phrase| has_phrase(&said, phrase));
    ALONE.contains(&joined.as_str()) || (is_plain && (tests || asks_whether)) || has_stopped
}
