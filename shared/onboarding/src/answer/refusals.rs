//! Recognises refusals: texts that ask for no more texts.
//!
//! Each sentence is searched for a refusal. One word such as "stop" refuses only if it stands alone. A phrase such as "stop
//! texting" refuses anywhere, unless it is denied or postponed.

use super::declines::{NOT_INTERESTED, WRONG_NUMBER};
use super::form::{asks, is_titled};
use super::trades::{LEGAL_FORMS, OF_BUSINESSES, TRADES};
use super::words::{
    GREETINGS, OTHER_WAYS, POLITE, SENTENCE, TEXTS, any_among, begins_with, has_phrase, is_among, is_negated, place_of,
    plain, sentences,
};

/// Phrases each of which alone asks for no more texts.
#[rustfmt::skip]
const REFUSES: &[&str] = &[
    "stop texting", "stop messaging", "stop contacting", "stop sending me", "stop sending us", "stop sending texts", "stop sending messages", "stop sending these", "stop bothering", "stop spamming",
    "remove my number", "remove me", "remove this number", "remove us", "remove my details", "remove our number",
    "delete my number", "delete this number", "delete my details", "delete my data", "lose my number",
    "do not contact", "dont contact", "never contact", "never text", "not ever text", "dont ever text", "never ever text", "not ever contact",
    "dont want these texts", "dont want these messages", "dont want your texts", "dont want your messages", "leave me be", "do not text", "dont text", "dont txt",
    "do not message", "dont message", "dont msg", "unsubscribe me", "unsub me", "opt out", "opt me out", "opting out",
    "leave me alone", "leave us alone", "no more texts", "no more messages", "no more sms", "no more texting",
    "stop these texts", "stop these messages", "stop the texts", "stop the messages", "stop your texts",
    "stop all texts", "stop all messages", "stop txting", "stop msging", "stop getting texts", "stop getting these texts", "stop getting these messages",
    "stop receiving texts", "stop receiving messages", "stop receiving these", "want to unsubscribe", "like to unsubscribe", "i unsubscribe", "stop texts", "stop messages",
    "please unsubscribe", "unsubscribe please", "unsubscribe now", "unsubscribe from", "to unsubscribe",
    "quit texting", "stop harassing", "stop pestering", "stop hassling", "fuck off", "piss off", "sod off",
    "bugger off", "f off", "stop it now", "dont want any more texts", "dont want any more messages",
    "dont want to receive", "dont want to hear from you", "dont want to be texted", "dont want to be contacted", "not want to be contacted", "not want to be texted", "not want any more texts",
    "not want to receive", "not want to hear from you",
    "end texts", "end the texts", "end these texts", "cancel texts", "cancel the texts", "cancel these texts",
    "stop msgs", "stop the msgs", "stop these msgs", "cease texting", "cease texts", "cease messaging", "cease contacting",
    "sick of your texts", "sick of these texts", "stop wasting my time", "dont want you to text", "dont want you texting",
    "dont want you to message", "dont want you to contact", "not want you to text", "not want you to message",
    "not want you to contact", "not wish to be contacted", "not wish to be texted", "not wish to receive",
    "dont wish to be contacted", "dont wish to receive", "dont want any texts", "dont want any messages",
    "dont ever contact", "dont ever message", "not ever message", "delete my no", "remove my no", "stop jobrun texts",
    "stop jobrun messages", "be removed from your", "be taken off your", "not want these texts", "not want these messages",
    "not want your texts", "not want your messages", "end messages", "cancel messages",
    "stop text me", "stop txt me", "stop msg me", "stop message me", "stop sending", "dont send", "do not send", "never send",
    "the fuck alone", "the hell alone",
];

/// Beginnings of phrases that refuse only if they are said to us: "customers stop texting me" does not.
const IMPERATIVES: &[&str] = &[
    "stop texting",
    "stop messaging",
    "stop contacting",
    "stop sending",
    "stop txting",
    "stop msging",
    "lose my",
    "remove",
    "delete",
    "end",
    "cancel",
    "cease",
    "stop bothering",
    "stop spamming",
    "stop text me",
    "stop txt me",
    "stop msg me",
    "stop message me",
];

/// Words that say only anger, and are removed from a text.
#[rustfmt::skip]
const SWEARING: &[&str] = &[
    "fucking", "fuckin", "fking", "fkin", "effing", "feckin", "bloody", "sodding", "frigging", "friggin", "freaking", "damn", "damned",
];

/// Verbs without their last letter, and with it.
const CLIPPED: &[(&str, &str)] = &[
    ("textin", "texting"),
    ("txtin", "txting"),
    ("messagin", "messaging"),
    ("msgin", "msging"),
    ("sendin", "sending"),
    ("contactin", "contacting"),
    ("botherin", "bothering"),
    ("spammin", "spamming"),
];

/// Words that may stand between "send" and the texts.
#[rustfmt::skip]
const BEFORE_TEXTS: &[&str] = &[
    "me", "us", "any", "more", "of", "no", "this", "these", "those", "that", "your", "ur", "the", "such", "all", "a", "another",
    "further", "number", "phone", "to", "my", "our", "random", "marketing", "silly", "stupid", "anymore", "again", "please", "pls",
    "plz", "thanks", "now", "mate",
];

/// Disrespectful words for texts.
const AS_TEXTS: &[&str] = &["anything", "stuff", "rubbish", "nonsense", "crap", "shit", "spam", "things"];

/// Words that may follow "take me off" where it is about us, if no other word follows.
#[rustfmt::skip]
const OFF_THIS: &[&str] = &[
    "your", "ur", "this", "these", "it", "here", "that", "of", "please", "pls", "plz", "now", "thanks", "thank", "you", "mate",
];

/// Words that may come before an imperative.
#[rustfmt::skip]
const BEFORE_IMPERATIVE: &[&str] = &[
    "please", "pls", "plz", "just", "hi", "hello", "hey", "hiya", "and", "so", "now", "then", "mate", "said", "ffs", "no",
    "yes", "ok", "okay", "sorry", "but", "thanks", "immediately", "kindly", "again", "also", "number", "this", "wrong",
    "interested", "person", "it",
];

/// Words before a verb that is no imperative.
#[rustfmt::skip]
const SUBJECTS: &[&str] = &[
    "i", "we", "you", "u", "they", "he", "she", "it", "who", "that", "people", "customers", "customer", "clients", "client",
    "callers", "caller", "everyone", "anyone", "someone", "somebody", "everybody", "nobody", "them", "him", "her", "did", "do",
    "does", "will", "would", "wont", "cant", "cannot", "could", "should", "had", "never", "to", "not", "men", "wife", "husband",
    "boss", "google", "didnt", "doesnt", "dont", "might", "may", "number",
];

/// Words for people who opt out of texts from our clients.
const OTHERS: &[&str] =
    &["customers", "customer", "clients", "client", "people", "they", "callers", "caller", "he", "she"];

/// Words after STOP in capitals that end a subscription or the forwarding, but not the texts.
#[rustfmt::skip]
const NOT_TEXTS: &[&str] = &[
    "charging", "billing", "taking", "subscription", "payment", "payments", "membership", "debit", "forwarding", "forwarded",
    "divert", "diverting", "calls", "voicemail",
];

/// Phrases that begin a wish to us in the form of a question.
#[rustfmt::skip]
const WISHES: &[&str] = &[
    "can you", "can u", "could you", "could u", "will you", "will u", "would you", "would u", "please", "pls", "plz",
    "when will you", "when are you", "why dont you", "why wont you", "why cant you", "how many times",
];

/// Phrases with which a question how to opt out counts as an opt-out.
const ASKS_HOW: &[&str] =
    &["unsubscribe", "stop these", "stop the texts", "stop your texts", "stop getting", "stop receiving"];

/// Phrases after "remove my number" that change the number rather than remove it.
const REPLACES: &[&str] = &[
    "and use",
    "and put",
    "and add",
    "and replace",
    "and change",
    "and sign",
    "and start",
    "start again",
    "start over",
    "start afresh",
];

/// Words after "remove me from" where it is about us.
#[rustfmt::skip]
const OF_US: &[&str] = &[
    "your", "ur", "this", "the", "these", "it", "here", "all", "any", "every", "everything", "list", "lists", "mailing",
    "marketing", "database", "system", "contacts", "texts", "messages", "jobrun", "future", "further", "you", "list", "records", "books", "file", "getting", "receiving",
];

/// Complaints that refuse as the whole of a sentence.
#[rustfmt::skip]
const COMPLAINTS: &[&str] = &[
    "spam text", "spam texts", "too many texts", "too many messages", "way too many texts", "sick of texts",
    "cancel text", "end text", "stop text", "stop txt", "stop txts", "end txts",
    "stop jobrun", "jobrun stop", "end jobrun texts",
];

/// Words after "don't text" where it is about our texts.
#[rustfmt::skip]
const AFTER_DONT: &[&str] = &[
    "me", "us", "this", "these", "my", "our", "again", "anymore", "any", "here", "ever", "please", "pls", "plz", "thanks",
    "thank", "back", "now", "him", "her", "it", "mate", "to", "from", "with", "the", "or", "nor",
];

/// Words that say "stop".
#[rustfmt::skip]
const STOPS: &[&str] = &["stop", "stopall", "optout", "stpo", "sotp", "stopit", "unsubscribe", "unsub", "unsubscribed", "unsubscibe", "unsuscribe", "unsubcribe", "unsubscrib"];

/// Words that may stand beside [`STOPS`] in a refusal.
#[rustfmt::skip]
const BESIDE_STOP: &[&str] = &[
    "please", "pls", "plz", "pleas", "thank", "thanks", "you", "u", "ty", "ta", "cheers", "now", "it", "this",
    "all", "me", "us", "these", "that", "just", "ok", "okay", "yes", "no", "mate", "the", "your", "i", "said", "want",
    "to", "ffs", "sms", "again", "immediately", "right", "already", "sorry", "hi", "hello", "end", "stopall", "optout",
    "can", "could", "will", "would", "told", "asked", "have", "ive", "im", "make", "guys", "so", "not", "dont", "and",
    "rubbish", "nonsense", "crap", "shit", "spam",
    "x", "xx", "xxx", "thx", "tnx", "pal", "love", "m8", "bud", "buddy", "hun", "bro", "darling", "thankyou", "mean", "meant",
];

/// Phrases that refuse only if nothing but [`BESIDE_RUDE`] stands beside them: "Go Away Pests" is a business.
const RUDE: &[&str] = &["go away", "get lost", "do one", "jog on", "get stuffed"];

#[rustfmt::skip]
const BESIDE_RUDE: &[&str] = &[
    "please", "pls", "plz", "just", "you", "u", "now", "will", "can", "could", "would", "and", "mate", "ok", "yes",
    "no", "off", "spammers", "scammers", "spam", "scam", "i", "said", "ffs", "thanks", "thank", "all", "lot", "leave",
    "me", "alone", "stop",
];

/// Pairs of words that take a number off a list, if one of [`OWN`] stands between them: "take my firm off your list".
const TAKES_OFF: &[(&str, &str)] = &[
    ("take", "off"),
    ("get", "off"),
    ("remove", "from"),
    ("delete", "from"),
    ("take", "of your"),
    ("remove", "of your"),
];

const OWN: &[&str] = &["my", "me", "our", "us", "this"];

/// Words for the list that a number is taken off.
#[rustfmt::skip]
const LISTS: &[&str] = &[
    "list", "lists", "database", "system", "books", "records", "company", "contacts", "mailing", "marketing", "phone",
    "phones", "files", "file", "spam", "group",
];

/// Words that put a condition on the refusal before them, so that it does not count, or not yet.
#[rustfmt::skip]
const CONDITIONS: &[&str] = &[
    "if", "later", "until", "untill", "till", "til", "unless", "when", "while", "whilst", "during", "instead", "between", "past",
];

/// Words that postpone a refusal if a time follows: "after 6pm", but not "before I report you".
const TIMES: &[&str] = &["after", "before", "at", "on"];

#[rustfmt::skip]
const HOURS: &[&str] = &[
    "noon", "midnight", "work", "lunch", "dinner", "night", "nights", "monday", "mondays", "tuesday", "wednesday",
    "thursday", "friday", "saturday", "saturdays", "sunday", "sundays", "weekends", "weekend", "christmas", "hours",
    "six", "seven", "eight", "nine", "ten", "five", "school", "the", "evening", "evenings", "morning", "mornings",
];

/// Words after "I'm" in a reason for no texts at the moment.
const BUSY: &[&str] = &["driving", "working", "busy", "asleep", "sleeping", "at"];

/// Words before another way that is refused too: "don't text or call me".
const NO_OTHER_WAY: &[&str] = &["or", "nor", "and", "dont", "not", "never", "no", "ill", "will", "to"];

/// Words that may stand between a refusal and its condition.
#[rustfmt::skip]
const BEFORE_CONDITION: &[&str] = &[
    "me", "us", "this", "my", "number", "phone", "please", "pls", "texts", "messages", "stuff", "again", "to", "it",
    "so", "too", "now",
];

/// Returns whether a text asks for no more texts, in words that are not Twilio's. A question about stopping does not.
pub(super) fn refuses(body: &str) -> bool {
    if begins_with_stop(body) || is_bare_removal(body) {
        return true;
    }
    let text = without_swearing(body);
    let names_us = any_among(&plain(body), &["number", "details", "text", "texting", "message"]);
    sentences(body).iter().any(|sentence| {
        let said = without_swearing(sentence);
        refuses_in_words(&said, sentence, &text)
            || stops(&said, sentence)
            || ends_with_stop(&said)
            || is_rude(&said)
            || takes_off(&said)
            || (names_us
                && matches!(said.join(" ").as_str(), "remove it" | "delete it" | "remove it please" | "lose it"))
    })
}

/// Returns the words of a sentence without [`SWEARING`], and with the last letter of [`CLIPPED`] verbs.
fn without_swearing(sentence: &str) -> Vec<String> {
    let whole = |word: String| {
        CLIPPED.iter().find(|(clipped, _)| *clipped == word).map_or(word, |(_, whole)| (*whole).to_owned())
    };
    plain(sentence).into_iter().filter(|word| !SWEARING.contains(&word.as_str())).map(whole).collect()
}

/// Returns whether a text says only "remove" or "delete".
fn is_bare_removal(body: &str) -> bool {
    let said = plain(body);
    let mut rest = said.iter().filter(|word| !is_among(word, POLITE) && !GREETINGS.contains(&word.as_str()));
    let removes = rest.next().is_some_and(|word| matches!(word.as_str(), "remove" | "delete"));
    removes && rest.next().is_none() && !body.contains('?')
}

/// Returns whether the words after "send" are about texts without a condition: "any more texts", "this rubbish", but not "anything
/// until Monday".
fn sends_texts(after: &[String]) -> bool {
    let skipped = after.iter().take_while(|word| BEFORE_TEXTS.contains(&word.as_str())).count();
    let is_text = |word: &String| is_among(word, TEXTS) || AS_TEXTS.contains(&word.as_str());
    let rest = after.get(skipped + 1..).unwrap_or_default();
    after.get(skipped).is_none_or(is_text)
        && !after.is_empty()
        && !any_among(after, OTHERS)
        && !has_condition(rest)
        && !is_put_off(rest)
}

/// Returns whether a sentence is one of [`COMPLAINTS`], or has a phrase of [`REFUSES`] that is said to us, is not denied, and has
/// no condition.
fn refuses_in_words(said: &[String], sentence: &str, text: &[String]) -> bool {
    let complains = said
        .iter()
        .filter(|word| !BESIDE_RUDE.contains(&word.as_str()) || word.as_str() == "spam" || word.as_str() == "stop");
    let complains = complains.map(String::as_str).collect::<Vec<_>>().join(" ");
    COMPLAINTS.contains(&complains.as_str())
        || REFUSES.iter().any(|phrase| is_refused_by(phrase, said, sentence) && !is_qualified(phrase, text))
}

fn is_refused_by(phrase: &str, said: &[String], sentence: &str) -> bool {
    let Some(place) = place_of(said, phrase) else { return false };
    let after = said.get(place + phrase.split(' ').count()..).unwrap_or_default();
    let before = said.get(..place).unwrap_or_default();
    let may_be = phrase.starts_with("be ") && before.last().is_some_and(|word| matches!(word.as_str(), "i" | "we"));
    let is_wish = may_be || is_wish(before, said);
    let of_sender = has_any(phrase, after, &["me", "us"]);
    let is_imperative = is_wish || is_imperative(phrase, before, sentence) || (of_sender && !ends_with_subject(before));
    let asks_how = ASKS_HOW.iter().any(|how| phrase.starts_with(how) || phrase.ends_with(how));
    // "Who gave you my number remove me" goes on after a question.
    let goes_on = of_sender && is_imperative && !sentence.contains('?');
    let is_asked = asks(sentence)
        && !is_wish
        && !asks_how
        && !goes_on
        && !begins_clause(phrase, sentence)
        && !follows_question(before);
    let of_customers = ["opt", "unsub", "off"].iter().any(|word| phrase.contains(word)) && any_among(before, OTHERS);
    // "What if I opt out?" is a question.
    let supposes = any_among(before, &["if", "before"]) && sentence.contains('?');
    let wants_calls = phrase.ends_with("receive")
        && !any_among(after, TEXTS)
        && !any_among(after, &["these", "this", "anything", "any"]);
    let of_thing = phrase == "stop it now" && asks_about_it(said, sentence);
    let needs_imperative = IMPERATIVES.iter().any(|verb| phrase.starts_with(verb));
    !is_negated(said, place)
        && is_about_us(phrase, before, after)
        && !is_asked
        && !supposes
        && !wants_calls
        && !of_thing
        && !of_customers
        && (!needs_imperative || is_imperative)
        && !is_replaced(phrase, after)
        && !has_condition(after)
}

/// Returns whether a phrase is about our texts. "I don't text much" is about the sender, "don't message much" about a habit, and
/// "don't text my customers" about others.
fn is_about_us(phrase: &str, before: &[String], after: &[String]) -> bool {
    let is_plea = is_plea(phrase);
    let is_stop = ["texting", "messaging", "contacting", "bothering", "spamming"].iter().any(|it| phrase.ends_with(it));
    let to_others = phrase.starts_with("stop") && any_among(after.get(..4).unwrap_or(after), OTHERS);
    let subject = before.last().map(String::as_str).unwrap_or_default();
    let of_sender = matches!(subject, "i" | "we" | "they" | "he" | "she" | "who" | "people" | "customers" | "clients")
        && !phrase.contains("want");
    let word = |place: usize| after.get(place).map(String::as_str).unwrap_or_default();
    let of_others = matches!(word(0), "my" | "our" | "the")
        && !after.iter().skip(1).take(3).any(|word| {
            matches!(
                word.as_str(),
                "phone" | "number" | "mobile" | "num" | "no" | "cell" | "company" | "business" | "firm"
            )
        });
    let sends = phrase.ends_with("send") || phrase.ends_with("sending");
    let to_us = after.is_empty() || sends || AFTER_DONT.contains(&word(0));
    let of_others = of_others && !sends;
    (!sends || sends_texts(after))
        && !(to_others || is_stop && of_others)
        && (!is_plea || (!of_sender && to_us && !of_others))
}

/// Returns whether a phrase is a plea for no texts: "don't text".
fn is_plea(phrase: &str) -> bool {
    let ends = ["text", "txt", "message", "msg", "contact", "send"].iter().any(|verb| phrase.ends_with(verb));
    ends && ["do", "never", "not"].iter().any(|begin| phrase.starts_with(begin))
}

/// Returns whether the words after a plea, in its sentence or the next, name another way or a reason: "Don't text me. I'm driving".
fn is_qualified(phrase: &str, text: &[String]) -> bool {
    let place = place_of(text, phrase).map_or(text.len(), |place| place + phrase.split(' ').count());
    let after = text.get(place..).unwrap_or_default();
    let may_be = is_plea(phrase) || phrase.contains("want any");
    may_be && (names_other_way(phrase, after) || is_put_off(after))
}

/// Returns whether the sender wants another way than texts: "don't text me, call me", but not "don't text or call me".
fn names_other_way(phrase: &str, after: &[String]) -> bool {
    let word = |place: usize| after.get(place).map(String::as_str).unwrap_or_default();
    let is_wished = |place: usize| match word(place + 1) {
        "me" | "us" | "instead" | "only" => true,
        // "Don't contact me by email" wants no other way.
        _ if phrase.ends_with("contact") => false,
        "" | "please" | "pls" | "plz" | "thanks" | "on" | "if" => true,
        "is" | "are" => any_among(after, &["better", "best", "easier", "fine", "good"]),
        _ => false,
    };
    (0..after.len()).any(|place| {
        let before = place.checked_sub(1).map(word).unwrap_or_default();
        OTHER_WAYS.contains(&word(place)) && is_wished(place) && !NO_OTHER_WAY.contains(&before)
    })
}

/// Returns whether a plea is only for the moment or a time of day: "don't text me I'm driving", "this late".
fn is_put_off(after: &[String]) -> bool {
    let before_reason = |word: &&String| BEFORE_CONDITION.contains(&word.as_str());
    let rest: Vec<&str> = after.iter().skip_while(before_reason).map(String::as_str).collect();
    match rest.as_slice() {
        ["late" | "early" | "today" | "tonight" | "tomorrow", ..] | ["yet"] | ["at", "this", "time" | "hour", ..] => {
            true
        }
        ["im", "in", "a", ..] | ["i", "am", "in", "a", ..] => true,
        ["im", reason, ..] | ["i", "am", reason, ..] => BUSY.contains(reason),
        ["on" | "in" | "at" | "over", "a" | "any" | "the" | "work", day, ..] => HOURS.contains(day),
        _ => false,
    }
}

/// Returns whether "can you stop it?" may be about a thing, such as a leaking tap, rather than about texts.
fn asks_about_it(said: &[String], sentence: &str) -> bool {
    any_among(said, &["it"]) && (sentence.contains('?') || any_among(said, &["can", "could"]))
}

/// Returns whether a wish to us begins a sentence: "can you remove my number?".
fn is_wish(before: &[String], said: &[String]) -> bool {
    let begins = WISHES.iter().filter_map(|wish| place_of(said, wish).map(|place| (place, wish)));
    let greeted = |place: usize| {
        said.iter()
            .take(place)
            .all(|word| GREETINGS.contains(&word.as_str()) || BEFORE_IMPERATIVE.contains(&word.as_str()))
    };
    begins.into_iter().any(|(place, wish)| place + wish.split(' ').count() <= before.len() && greeted(place))
}

/// Returns whether a phrase is said to us: it is first in a clause, after "please", or after "I want you to".
fn is_imperative(phrase: &str, before: &[String], sentence: &str) -> bool {
    let last = before.last().map(String::as_str).unwrap_or_default();
    let to_you = last == "to" && any_among(before, &["you", "u"]) && !any_among(before, &["why"]);
    let wanted = last == "to"
        && before.iter().rev().nth(1).is_some_and(|word| matches!(word.as_str(), "want" | "like" | "need" | "asked"));
    let about_sender = phrase.starts_with("stop");
    before.is_empty()
        || BEFORE_IMPERATIVE.contains(&last)
        || to_you
        || (wanted && !about_sender)
        || begins_clause(phrase, sentence)
        || follows_question(before)
}

/// Returns whether a phrase, or the word after it, has a word of `list`: "stop texting me".
fn has_any(phrase: &str, after: &[String], list: &[&str]) -> bool {
    let next = after.first().map(String::as_str).unwrap_or_default();
    list.contains(&next) || phrase.split(' ').any(|word| list.contains(&word))
}

/// Returns whether the words before a verb end with its subject: "my customers stop texting me".
fn ends_with_subject(before: &[String]) -> bool {
    let last = before.last().map(String::as_str).unwrap_or_default();
    let is_plural = last.len() > 4 && last.ends_with('s') && !last.ends_with("ss") && last != "thanks";
    is_plural || SUBJECTS.contains(&last)
}

/// Returns whether the words before end with "who is this", "not interested" or the like.
fn follows_question(before: &[String]) -> bool {
    WRONG_NUMBER.iter().chain(NOT_INTERESTED).any(|phrase| before.join(" ").ends_with(phrase))
}

/// Returns whether a phrase is first after a comma or a dash, or follows a "please" there.
fn begins_clause(phrase: &str, sentence: &str) -> bool {
    let clauses = sentence.split([',', ':', '…', '–', '(']).flat_map(|clause| clause.split(" -")).skip(1);
    clauses.map(without_swearing).any(|clause| {
        let clause: Vec<String> =
            clause.into_iter().skip_while(|word| BEFORE_IMPERATIVE.contains(&word.as_str())).collect();
        begins_with(&clause, phrase)
    })
}

/// Returns whether the sender replaces rather than removes a number, or is removed from a list that is not ours.
fn is_replaced(phrase: &str, after: &[String]) -> bool {
    let from =
        after.iter().position(|word| matches!(word.as_str(), "from" | "off")).and_then(|place| after.get(place + 1));
    let of_others = from.is_some_and(|word| !OF_US.contains(&word.as_str()) && !OWN.contains(&word.as_str()));
    let is_removed = ["remove", "delete", "lose"].iter().any(|verb| phrase.starts_with(verb));
    (is_removed && REPLACES.iter().any(|it| has_phrase(after, it))) || of_others
}

/// Returns whether the words after a refusal put a condition on it: "don't text me after 6pm".
fn has_condition(after: &[String]) -> bool {
    let mut rest = after.iter().map(String::as_str).skip_while(|word| BEFORE_CONDITION.contains(word));
    let (first, second) = (rest.next().unwrap_or_default(), rest.next().unwrap_or_default());
    let is_time = second.starts_with(|it: char| it.is_ascii_digit()) || HOURS.contains(&second);
    let is_courtesy = first == "if" && matches!(second, "you" | "possible" | "thats" | "its");
    (CONDITIONS.contains(&first) && !is_courtesy) || (TIMES.contains(&first) && is_time)
}

/// Returns whether a sentence says only "stop": "stop at 5" says more.
fn stops(said: &[String], sentence: &str) -> bool {
    let is_stop = |word: &String| is_among(word, STOPS);
    let Some(place) = said.iter().position(is_stop) else { return false };
    let rest = said.join(" ");
    let rest = NOT_INTERESTED.iter().chain(WRONG_NUMBER).fold(rest, |rest, phrase| rest.replace(phrase, " "));
    let alone = rest.split_whitespace().all(|word| is_among(word, STOPS) || BESIDE_STOP.contains(&word));
    let until_or = said.iter().take_while(|word| word.as_str() != "or");
    let threatens = place == 0
        && said.iter().any(|word| word == "or")
        && until_or.clone().all(|word| is_among(word, STOPS) || BESIDE_STOP.contains(&word.as_str()));
    // "Can I stop?" is a question, and "can you stop?" is a wish.
    let asks = asks_about_it(said, sentence)
        || (sentence.contains('?') && !any_among(said, &["you", "u", "please", "pls", "this"]))
        || matches!(said.iter().map(String::as_str).collect::<Vec<_>>().as_slice(), ["can" | "could", "i" | "we", ..]);
    (alone || threatens) && !asks && !is_negated(said, place)
}

/// Returns whether a text begins with STOP in capitals, or with "stop" and a comma or a dash.
fn begins_with_stop(body: &str) -> bool {
    let body = body.trim_start_matches(|it: char| !it.is_alphanumeric());
    let Some((first, rest)) = body.split_at_checked(4).filter(|(first, _)| first.eq_ignore_ascii_case("stop")) else {
        return false;
    };
    let said = plain(rest);
    let of_texts = !any_among(&said, NOT_TEXTS) || any_among(&said, TEXTS);
    let cried = first == "STOP" && rest.starts_with(' ') && of_texts;
    let marked = rest.starts_with([',', '–', '—', ':'])
        || rest.starts_with(" -")
        || rest.starts_with(" –")
        || rest.starts_with("- ");
    // "STOP LEAKS LTD" is written in capitals throughout.
    let is_named = is_titled(body) || !body.contains(char::is_lowercase);
    let is_business = is_named && is_trade_or_form(&said) && !any_among(&said, SENTENCE) && !any_among(&said, OWN);
    (marked || (cried && !rest.contains('?'))) && !is_business && !has_condition(&said)
}

fn is_trade_or_form(said: &[String]) -> bool {
    any_among(said, TRADES) || any_among(said, OF_BUSINESSES)
}

/// Returns whether a sentence about texts ends with the wish that they stop: "you keep texting me please stop".
fn ends_with_stop(said: &[String]) -> bool {
    let joined = said.join(" ");
    let wishes =
        ["please stop", "pls stop", "plz stop", "just stop", "now stop", "stop please", "stop pls", "stop now"];
    let repeats = ["have to say stop", "need to say stop", "got to say stop", "must i say stop", "said stop"];
    let about_texts = ["texting", "texts", "messaging", "messages", "spam", "spamming", "contacting", "bothering"];
    (any_among(said, &about_texts) && wishes.iter().any(|wish| joined.ends_with(wish)))
        || has_phrase(said, "what part of stop")
        || repeats.iter().any(|wish| joined.ends_with(wish))
}

fn is_rude(said: &[String]) -> bool {
    RUDE.iter().any(|phrase| {
        let rest = format!(" {} ", said.join(" ")).replace(&format!(" {phrase} "), " ");
        has_phrase(said, phrase) && rest.split_whitespace().all(|word| BESIDE_RUDE.contains(&word))
    })
}

/// Returns whether a sentence takes a number off a list, or off something of ours.
fn takes_off(said: &[String]) -> bool {
    TAKES_OFF.iter().any(|(verb, off)| {
        let (Some(from), Some(to)) = (place_of(said, verb), place_of(said, off)) else { return false };
        let between = said.get(from + 1..to).unwrap_or_default();
        let rest = said.get(to + off.split(' ').count()..).unwrap_or_default();
        let of_us = off.ends_with("your")
            || rest.first().is_some_and(|word| matches!(word.as_str(), "your" | "ur" | "please" | "pls" | "now"))
            || any_among(rest, LISTS)
            || rest.iter().all(|word| OFF_THIS.contains(&word.as_str()));
        (1..=4).contains(&between.len()) && any_among(between, OWN) && of_us && !is_negated(said, from)
    })
}

/// Returns whether a refusal is said to us: "remove my number" in small letters is no name.
pub(super) fn is_said_to_us(text: &str, is_titled: bool) -> bool {
    let said = plain(text);
    any_among(&said, &["your", "ur"]) || !is_titled && any_among(&said, &["my", "me", "our", "us", "i", "im", "you"])
}

/// Returns whether a text begins as a refusal does. Such a text is not stored as a name, even if it may be one ("Stop Cocks
/// Plumbing"), unless it ends with a legal form and does not refuse ("Stop Leaks Ltd").
pub(super) fn may_refuse(body: &str) -> bool {
    let said = plain(body);
    let word = |place: usize| said.get(place).map(String::as_str).unwrap_or_default();
    let is_masked = matches!(word(0), "f" | "p") && body.contains('*');
    let is_of_trade =
        (word(0) == "block" && word(1).starts_with("pav")) || (word(0) == "blocked" && word(1).starts_with("drain"));
    let begins = is_among(word(0), STOPS)
        || matches!(
            word(0),
            "remove" | "delete" | "block" | "blocked" | "blocking" | "report" | "reported" | "reporting"
        )
        || ["unsub", "unsuscrib", "unsus"].iter().any(|begin| word(0).starts_with(begin));
    let has_form = said.last().is_some_and(|word| LEGAL_FORMS.contains(&word.as_str())) && !refuses(body);
    is_masked || (begins && !has_form && !is_of_trade)
}
