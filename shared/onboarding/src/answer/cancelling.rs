//! Texts about money: cancelling a subscription, asking for money back, and questions about price and contract.
//!
//! Only a plain wish cancels. A question gets a reply, and a denial does not count. The boiler service of a client's customer is
//! not our subscription.

use super::form::asks;
use super::trades::TRADES;
use super::words::{any_among, has_phrase, is_negated, place_of, plain, sentences};

/// Words for a subscription.
#[rustfmt::skip]
const SUBSCRIPTIONS: &[&str] = &[
    "subscription", "subscriptions", "subscribtion", "subsciption", "sub", "membership", "account", "contract",
    "service", "services", "plan", "payment", "payments", "debit", "dd", "jobrun", "charging", "billing",
];

/// Words that end a subscription.
#[rustfmt::skip]
const ENDS: &[&str] = &[
    "cancel", "canceling", "cancelling", "cancelled", "canceled", "cancellation", "cancle", "terminate",
];

/// Words that end a subscription if the sentence names one.
const MAY_END: &[&str] = &["stop", "end", "quit", "close", "closed", "delete"];

/// Words before one of [`MAY_END`] that is a noun, or about others: "by month end", "put a stop on it".
const BEFORE_NO_END: &[&str] =
    &["month", "months", "year", "years", "week", "weeks", "the", "a", "at", "was", "been", "got", "bank", "put"];

/// Phrases that end a subscription.
#[rustfmt::skip]
const ENDING: &[&str] = &[
    "want to leave jobrun", "leave jobrun", "leaving jobrun", "dont want my subscription", "dont want the subscription",
    "dont want this subscription", "dont want the service", "dont want this service", "no longer want the service",
    "no longer want this service", "dont want to pay any more", "dont want to pay anymore",
    "please put a stop to", "want to put a stop to", "like to put a stop to", "stop taking my money", "stop taking money", "stop taking payments",
];

/// Phrases that end a subscription if only [`BESIDE_LEAVING`] stands beside them.
#[rustfmt::skip]
const LEAVING: &[&str] = &[
    "want to leave", "like to leave", "want out", "want to quit", "no longer need", "no longer needed", "no longer want", "not happy want out",
    "unhappy want out", "dont need any more", "dont need anymore", "dont want any more", "dont want anymore",
];

#[rustfmt::skip]
const BESIDE_LEAVING: &[&str] = &[
    "i", "id", "we", "it", "this", "that", "please", "pls", "hi", "hello", "thanks", "sorry", "now", "just", "and", "so",
    "im", "would", "the", "service", "number", "mate",
];

/// Words that may stand beside "cancel" where no subscription is named.
#[rustfmt::skip]
const BESIDE_CANCEL: &[&str] = &[
    "i", "id", "like", "want", "to", "wanna", "please", "pls", "plz", "it", "this", "now", "how", "do", "can",
    "could", "you", "u", "we", "my", "need", "wish", "would", "just", "me", "thanks", "thank", "im", "hi", "hello",
    "mate", "the", "a", "yes", "yeah", "no", "ok", "okay", "sorry", "everything", "all", "asap", "immediately", "go",
    "about", "where", "know", "tell", "possible", "way", "will", "ill", "should", "be", "is", "am", "if", "what", "happens", "when", "get",
];

/// Words about a customer of our client.
#[rustfmt::skip]
const OF_OTHERS: &[&str] = &[
    "customer", "customers", "client", "clients", "tenant", "landlord", "his", "her", "their", "he", "she", "booking",
    "appointment", "job", "order", "visit",
];

/// Phrases for our own subscription. Beside one of them, [`OF_OTHERS`] does not count.
#[rustfmt::skip]
const OURS: &[&str] = &[
    "my subscription", "my account", "my contract", "my membership", "my plan", "jobrun", "my sub", "my direct debit",
];

/// Phrases that begin a wish in the form of a question.
#[rustfmt::skip]
const WISHES: &[&str] = &[
    "can you", "can u", "could you", "could u", "will you", "will u", "would you", "would u", "please can you",
    "pls can you", "can we", "can you please", "hi can you", "please could you",
];

/// Phrases that begin the complaint that nothing was cancelled.
#[rustfmt::skip]
const COMPLAINTS: &[&str] = &[
    "you havent", "you have not", "you didnt", "you did not", "u havent", "u didnt", "why havent you",
    "why didnt you", "why have you not", "still not", "still hasnt", "still havent",
];

/// Phrases that say when cancelling is possible, so that a sentence with one cancels nothing.
#[rustfmt::skip]
const ANY_TIME: &[&str] = &[
    "any time", "anytime", "whenever", "at any point", "any point", "any moment", "when i want", "later", "easily",
    "after a month", "early",
];

/// Phrases that ask for money back.
#[rustfmt::skip]
const REFUNDS: &[&str] = &[
    "want a refund", "refund please", "please refund", "refund me", "refund my", "refund pls", "need a refund",
    "like a refund", "my money back", "give me a refund", "get a refund", "have a refund", "want my refund",
    "where is my refund", "wheres my refund", "want refund", "claim a refund", "refund now", "refund the money",
    "refund the payment", "refund it", "our money back", "request a refund", "owed a refund", "demand a refund",
];

/// Phrases that ask about the price.
#[rustfmt::skip]
const PRICES: &[&str] = &[
    "how much", "what does it cost", "what does this cost", "what do you charge", "what do u charge", "whats the cost",
    "what is the cost", "whats the price", "what is the price", "what price", "what are the costs", "what will it cost",
    "what would it cost", "whats it cost", "what it costs", "what are your prices", "whats your price", "is it free",
    "is this free", "is it really free", "do i have to pay", "do we have to pay", "is it monthly",
    "is it a month", "is it per month", "per month or", "a month or", "is there a charge", "is there a fee",
    "is there a cost", "any fees", "any hidden", "any setup fee", "hidden costs", "hidden fees", "is it really",
    "really 29", "is it 29", "is there a free trial", "do you charge", "does it cost", "will it cost", "how expensive",
    "is it expensive", "are there any costs", "are there any charges", "any charges", "any costs", "plus vat",
    "monthly cost", "monthly price", "monthly fee", "cancellation fee", "cancellation charge",
];

/// Phrases that ask about the price as the whole of a sentence.
#[rustfmt::skip]
const PRICES_ALONE: &[&str] = &["price", "prices", "cost", "costs", "pricing", "fees", "price please", "cost please", "free trial", "free trial please"];

/// Phrases with "how much" or "is it really" that are not about money.
#[rustfmt::skip]
const NO_PRICES: &[&str] = &[
    "how much longer", "how much time", "how much more time", "how much notice", "how much work", "how much data",
    "is it really you", "is it really a person", "is it really live", "is it really working", "is it really done",
];

/// Phrases that ask about the contract.
#[rustfmt::skip]
const CONTRACTS: &[&str] = &[
    "is there a contract", "is it a contract", "any contract", "is there any contract", "what contract",
    "how long is the contract", "long is the contract", "contract length", "is there a minimum", "minimum term",
    "minimum contract", "tied in", "tied into", "tie in", "tie me in", "locked in", "lock in", "notice period",
    "how much notice", "no contract", "rolling contract", "on contract", "whats the contract", "what is the contract",
    "a contract", "sign a contract", "the contract",
];

/// Phrases that begin a question about leaving.
#[rustfmt::skip]
const MAY_LEAVE: &[&str] = &[
    "can i leave", "can i stop paying", "can i quit", "can you leave", "can i end it", "can i get out", "can i pull out",
];

/// The meaning of a sentence about cancelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Cancels,
    AsksHow,
}

/// Returns whether the sender cancels a subscription, which is more than an opt-out.
pub(super) fn cancels(body: &str) -> bool {
    sentences(body).iter().any(|sentence| wish(sentence) == Some(Wish::Cancels))
}

/// Returns whether the sender asks how to cancel.
pub(super) fn asks_how_to_cancel(body: &str) -> bool {
    sentences(body).iter().any(|sentence| wish(sentence) == Some(Wish::AsksHow))
}

fn wish(sentence: &str) -> Option<Wish> {
    let said = plain(sentence);
    let ours = OURS.iter().any(|phrase| has_phrase(&said, phrase));
    if (any_among(&said, OF_OTHERS) && !ours) || has_any(&said, ANY_TIME) {
        return None;
    }
    if has_any(&said, ENDING) || is_leaving(&said) {
        return Some(Wish::Cancels);
    }
    let end = ending_word(&said)?;
    let is_complaint = has_any(&said, COMPLAINTS);
    let asks_how = |end: usize| said.iter().take(end).any(|word| matches!(word.as_str(), "how" | "where" | "what"));
    match () {
        () if is_complaint => Some(Wish::Cancels),
        () if said.get(end.wrapping_sub(1)).is_some_and(|word| matches!(word.as_str(), "cant" | "cannot")) => {
            Some(Wish::AsksHow)
        }
        () if is_negated(&said, end) => None,
        () if asks_how(end) => Some(Wish::AsksHow),
        () if asks(sentence) && !begins_wish(&said) => Some(Wish::AsksHow),
        () => Some(Wish::Cancels),
    }
}

/// Returns the place of the word that ends a subscription: "cancel" alone, or a word in a sentence that names a subscription.
fn ending_word(said: &[String]) -> Option<usize> {
    // "Stripe cancelled my payment" reports what others did, and "had to cancel" what the sender did.
    let is_wish = |(place, word): (usize, &String)| {
        let before = said.get(..place).unwrap_or_default();
        let is_past = matches!(word.as_str(), "cancelled" | "canceled" | "closed");
        let asked_after = said.get(place + 1).is_some_and(|word| matches!(word.as_str(), "please" | "pls" | "plz"));
        let wished = any_among(before, &["want", "wanted", "like", "need", "please", "pls", "get"])
            || (before.last().is_some_and(|word| word == "be") && any_among(before, &["can", "could", "to"]))
            || asked_after;
        let reports_past = any_among(before, &["was", "had"]);
        (!is_past && !has_phrase(before, "had to")) || (is_past && wished && !reports_past) || has_any(said, COMPLAINTS)
    };
    let is_moment = |place: usize| said.get(place + 1).is_some_and(|word| word == "of");
    let is_no_end = |place: usize| {
        let word = said.get(place).map(String::as_str).unwrap_or_default();
        let before = place.checked_sub(1).and_then(|before| said.get(before));
        let is_noun = word != "closed" && before.is_some_and(|word| BEFORE_NO_END.contains(&word.as_str()));
        MAY_END.contains(&word) && (is_moment(place) || is_noun)
    };
    let among = |list: &[&str]| {
        said.iter()
            .enumerate()
            .position(|(place, word)| list.contains(&word.as_str()) && is_wish((place, word)) && !is_no_end(place))
    };
    let named = said.iter().enumerate().any(|(place, word)| {
        let before = place.checked_sub(1).and_then(|before| said.get(before));
        // "A boiler service" is work and not a subscription.
        let of_trade = before.is_some_and(|word| TRADES.contains(&word.as_str()) || word == "car");
        SUBSCRIPTIONS.contains(&word.as_str()) && !of_trade
    });
    let only_cancel = said.iter().all(|word| ENDS.contains(&word.as_str()) || BESIDE_CANCEL.contains(&word.as_str()));
    let ends = among(ENDS).filter(|_| named || only_cancel);
    ends.or_else(|| among(MAY_END).filter(|_| named && !has_condition(said)))
}

/// Returns whether a sentence says only that its sender leaves.
fn is_leaving(said: &[String]) -> bool {
    let rest = said.iter().map(String::as_str).filter(|word| !BESIDE_LEAVING.contains(word));
    LEAVING.contains(&rest.collect::<Vec<_>>().join(" ").as_str())
}

fn has_condition(said: &[String]) -> bool {
    any_among(said, &["if", "until", "till", "unless", "while", "instead", "when"])
}

fn begins_wish(said: &[String]) -> bool {
    WISHES.iter().any(|begin| place_of(said, begin).is_some_and(|place| place <= 2))
}

/// Returns whether the sender wants money back.
pub(super) fn wants_refund(body: &str) -> bool {
    sentences(body).iter().any(|sentence| {
        let said = plain(sentence);
        let alone = matches!(
            said.join(" ").as_str(),
            "refund" | "a refund" | "money back" | "money back please" | "refund thanks"
        );
        let place = REFUNDS.iter().find_map(|phrase| place_of(&said, phrase));
        let wanted = place.is_some_and(|place| !is_negated(&said, place)) && !any_among(&said, OF_OTHERS);
        let is_condition = any_among(&said, &["if", "guarantee", "guaranteed"]);
        (alone || wanted) && !is_condition
    })
}

/// Returns whether the sender asks about the price or the contract.
pub(super) fn asks_terms(body: &str) -> bool {
    sentences(body).iter().any(|sentence| {
        let said = plain(sentence);
        // "Price" is also a surname.
        let alone = PRICES_ALONE.contains(&said.join(" ").as_str()) && (sentence.contains('?') || said.len() > 1);
        let names_price = sentence.contains('?') && said.iter().any(|word| word == "29");
        let price = has_any(&said, PRICES) || alone || names_price;
        let price = price && !has_any(&said, NO_PRICES);
        let asks =
            asks(sentence) || said.iter().any(|word| matches!(word.as_str(), "is" | "any" | "can" | "am" | "what"));
        let contract = has_any(&said, CONTRACTS) && asks;
        let may_leave = has_any(&said, ANY_TIME) && any_among(&said, ENDS) && !is_statement(&said);
        price || contract || may_leave || has_any(&said, MAY_LEAVE)
    })
}

/// Returns whether a sentence states rather than asks: "I will cancel later".
fn is_statement(said: &[String]) -> bool {
    said.first().is_some_and(|word| matches!(word.as_str(), "i" | "ill" | "im" | "we" | "id"))
}

fn has_any(said: &[String], phrases: &[&str]) -> bool {
    phrases.iter().any(|phrase| has_phrase(said, phrase))
}
