//! Recognises texts that only say where their sender is, or fill a pause: "up a ladder", "brb". They answer no question.

use super::form::{is_titled, without_courtesy};
use super::trades::{OF_BUSINESSES, PLACES, TRADES};
use super::words::{any_among, begins_with, has_phrase, plain};

/// Phrases that begin an excuse rather than a name, in small letters.
#[rustfmt::skip]
const BEGINS: &[&str] = &[
    "in", "on", "at", "up", "just", "under", "out", "off to", "off out", "with a", "with my", "with the", "bear with",
    "about to", "stuck in", "stuck at", "sat in", "having", "eating", "cooking", "driving", "working", "parking",
    "finishing", "sleeping", "shopping", "doing a", "doing the", "call you", "ring you", "text you", "speak later",
    "talk later", "speak soon", "back soon", "back later", "be right back", "give me", "gimme", "hold on", "hang on",
    "one sec", "one second", "one moment", "one min", "one mo", "two secs", "two mins", "wait a", "half way",
    "halfway", "mid job", "away from", "busy", "tied up", "on my", "got to", "gotta", "need to", "about", "later",
    "should be", "will be", "i am in", "i am at", "i am on", "i am up", "im in", "im at", "im on", "im up", "im just", "i am just", "were at",
];

/// Texts that fill a pause.
#[rustfmt::skip]
const FILLERS: &[&str] = &[
    "meh", "brb", "bbl", "ttyl", "afk", "omg", "ugh", "argh", "arghh", "zzz", "zz", "yawn", "bored", "tired",
    "asleep", "eating", "working", "cooking", "parking", "shopping", "sleeping", "soz", "dunno mate", "whoops",
    "oops", "oi", "ffs", "jeez", "blimey", "crikey", "boo", "bah", "hmph", "huh", "nm", "nvm", "ikr", "tba", "wait",
    "out", "away", "lunch", "dinner", "later", "soon", "tomorrow", "nope", "meeting", "shower", "bath", "bed",
];

/// Words that end an excuse even where a trade or a place is asked for: "in a meeting".
#[rustfmt::skip]
const WHEREABOUTS: &[&str] = &[
    "meeting", "work", "job", "shop", "shops", "pub", "gym", "van", "car", "bed", "shower", "hospital", "doctors",
    "dentist", "dentists", "school", "traffic", "roof", "ladder", "phone", "site", "lunch", "break", "call",
    "minute", "min", "sec", "bit", "moment", "mo", "toilet", "loo", "meantime", "middle", "driving", "parking",
    "eating", "finishing", "leaving", "waiting", "arriving", "arrived", "customers", "customer", "client", "clients",
    "funeral", "wedding", "holiday", "holidays", "train", "bus", "plane", "court", "hurry", "rush", "home",
];

/// Things that a trade works on, and places of work. They do not end the name of a business: "on the roof".
#[rustfmt::skip]
const NO_BUSINESS: &[&str] = &[
    "roof", "roofs", "kitchen", "kitchens", "bathroom", "bathrooms", "garden", "gardens", "window", "windows", "boiler",
    "boilers", "drain", "drains", "van", "tree", "floors", "gas", "carpet", "carpets", "locks", "driveways", "hair",
    "nails", "chimney", "appliance", "appliances", "vet", "training", "driving", "moving", "removing", "sitting",
    "walking", "teaching", "building",
];

/// Texts that are chatter.
#[rustfmt::skip]
const CHATTER: &[&str] = &[
    "start again", "start over", "restart", "begin again", "never mind", "nevermind", "too expensive", "too dear", "too much",
    "still waiting", "running late", "menu", "main menu", "options", "more info", "more information", "more details",
    "info", "free trial", "price list", "prices list", "opening times", "opening hours", "send info", "send me info", "on my way", "on the way",
    "too pricey", "reset", "new customer", "not a customer", "boiler not working", "heating not working", "customer", "a customer", "im a customer", "i am a customer", "existing customer",
];

/// Phrases that begin chatter, in capitals or small letters.
#[rustfmt::skip]
const CHATTER_BEGINS: &[&str] = &[
    "running late", "be there", "thanks for", "thank you for", "cheers for", "still waiting", "too expensive", "never mind",
    "job in", "job at", "a job in", "a job at", "job as", "jobs in", "got a job", "see you", "see u", "start again", "start over", "send me more",
];

/// Phrases of people who look for a trade. They are in no name.
#[rustfmt::skip]
const NEEDS: &[&str] = &[
    "burst pipe", "burst pipes", "blocked drain", "blocked toilet", "blocked sink", "no hot water", "no heating", "boiler broken",
    "broken boiler", "leaking tap", "leaking pipe", "leaking roof", "is leaking", "leak in", "leak at", "not working",
];

/// Returns whether a text is chatter, so that it is no answer.
pub(super) fn is_chatter(text: &str) -> bool {
    let text = without_courtesy(text);
    let said = plain(text);
    let last = said.last().map(String::as_str).unwrap_or_default();
    // "Be There Removals"
    let is_titled_trade = is_titled(text) && any_among(&said, TRADES);
    let is_business = OF_BUSINESSES.contains(&last);
    let is_work = any_among(
        &said,
        &["repairs", "repair", "plumbing", "heating", "drainage", "specialist", "specialists", "plumber"],
    );
    let wanted = matches!(last, "wanted" | "needed" | "required")
        || ["wanted in", "needed in", "required in", "wanted for", "wanted asap", "needed asap", "wanted near"]
            .iter()
            .any(|phrase| has_phrase(&said, phrase));
    let needs = wanted || (!is_work && NEEDS.iter().any(|phrase| has_phrase(&said, phrase)));
    // "Back in 10", "dinner's ready"
    let is_minutes =
        |pair: &[String]| matches!(pair, [first, then] if first == "in" && then.chars().all(|it| it.is_ascii_digit()));
    let in_minutes = said.windows(2).any(is_minutes);
    let is_ready = said.len() > 1 && last == "ready" && !is_titled(text);
    CHATTER.contains(&said.join(" ").as_str())
        || (!is_titled_trade && CHATTER_BEGINS.iter().any(|begin| begins_with(&said, begin)))
        || (needs && !is_business)
        || in_minutes
        || is_ready
}

/// Returns whether a text excuses its sender, or fills a pause, where a name is asked for.
pub(super) fn is_filler(text: &str) -> bool {
    let said = plain(text);
    if FILLERS.contains(&said.join(" ").as_str()) || is_chatter(text) {
        return true;
    }
    let begins = BEGINS.iter().any(|begin| begins_with(&said, begin));
    // "just John Smith" introduces a name.
    let introduces = said.first().is_some_and(|word| word == "just")
        && text.split(' ').nth(1).is_some_and(|word| word.starts_with(char::is_uppercase));
    begins && !introduces && !is_titled(text) && !names_a_business(&said)
}

/// Returns whether words in small letters name a business: "up and running electrics", but not "just painting".
fn names_a_business(said: &[String]) -> bool {
    let last = said.last().map(String::as_str).unwrap_or_default();
    let before = said.iter().rev().nth(1).map(String::as_str).unwrap_or_default();
    let is_thing = NO_BUSINESS.contains(&last)
        || matches!(before, "a" | "an" | "the" | "my" | "of" | "still" | "been" | "finished" | "some")
        || said.first().is_some_and(|word| word == "just");
    let ends = OF_BUSINESSES.contains(&last) && !matches!(before, "the" | "a" | "my" | "your");
    said.len() > 2 && (ends || (TRADES.contains(&last) && !is_thing))
}

/// Returns whether a text says where its sender is at the moment, where a trade and a place are asked for.
pub(super) fn is_whereabouts(text: &str) -> bool {
    let said = plain(text);
    let begins = ["in", "on", "at", "up", "just", "out", "with"].iter().any(|begin| begins_with(&said, begin));
    let fills = said.len() == 1 && FILLERS.contains(&said.concat().as_str());
    let elsewhere = any_among(&said, PLACES) || said.len() > 6;
    (begins && any_among(&said, WHEREABOUTS) && !elsewhere) || (fills && !any_among(&said, PLACES))
}
