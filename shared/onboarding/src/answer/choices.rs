//! Reads the answers of S4 to S7: yes or no, texts, a kind of phone, done.

use super::form;
use super::words::{
    AGREES, ANDROID, ANY_WAY, BESIDE_CHOICE, BESIDE_DONE, BESIDE_NO, BESIDE_TEXTS, BESIDE_YES, BUT, COURTESY, DONE,
    GOES_AHEAD, IPHONE, LANDLINE, LANDLINE_PLACES, LATER, NO, OTHER_WAYS, PLAIN_NO, POLITE, TEXTS, WHAT_NEXT, WILLING,
    YES, all_among, any_among, has_phrase, is_among, meant, plain, uttered,
};
use crate::PhoneType;

/// The most typing errors with which the name of a phone is still clear.
const TYPOS_MAX: usize = 2;

/// Texts that decline as often as they agree.
const DECLINES: &[&str] = &["its fine", "its ok", "its okay", "it is fine", "it is ok", "its alright"];

/// The reply to a request to go ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Assent {
    Yes,
    No,
    /// Only thanks, or emoji.
    Thanks,
    Unclear,
}

/// Returns the first line of a text if the other lines only sign it, and otherwise the whole text.
fn unsigned(body: &str) -> &str {
    let Some((first, rest)) = body.trim().split_once('\n') else {
        return body;
    };
    let rest_said = meant(rest);
    let is_signature = !rest.contains('?') && !any_among(&rest_said, NO) && !any_among(&rest_said, BUT);
    if is_signature && !meant(first).is_empty() { first } else { body }
}

/// Returns whether a text asks a question other than "what next?". "Why not?" is an assent.
fn asks(body: &str, said: &[String]) -> bool {
    plain(body) != ["why", "not"] && form::asks(body) && said.len() == said_before_what_next(said).len()
}

/// Returns the words before "what next?".
fn said_before_what_next(said: &[String]) -> &[String] {
    let ends =
        |phrase: &&&str| said.len() > phrase.split(' ').count() && said.join(" ").ends_with(&format!(" {phrase}"));
    let asked = WHAT_NEXT.iter().find(ends).map_or(0, |phrase| phrase.split(' ').count());
    said.get(..said.len() - asked).unwrap_or(said)
}

/// Reads an assent. "Yes but what does it cost" is a question, and "no problem" is a yes.
pub(super) fn assent(body: &str) -> Assent {
    let body = unsigned(body);
    let said = meant(body);
    let asks = asks(body, &said);
    let said = said_before_what_next(&said);
    if any_among(said, NO) || any_among(said, LATER) {
        let definite = [PLAIN_NO, LATER].iter().any(|list| any_among(said, list)) || has_phrase(said, "dont want");
        let plain = all_among(said, &[NO, LATER, YES, AGREES, COURTESY, BESIDE_NO]);
        return if definite && plain { Assent::No } else { Assent::Unclear };
    }
    if asks || any_among(said, BUT) {
        return Assent::Unclear;
    }
    // "You ok" asks even without its question mark.
    let of_us = said.first().is_some_and(|word| matches!(word.as_str(), "you" | "u"));
    let declines = DECLINES.contains(&said.join(" ").as_str());
    if of_us || declines {
        return Assent::Unclear;
    }
    let agrees = any_among(said, YES) || any_among(said, AGREES);
    let first_agrees = said.first().is_some_and(|word| is_among(word, YES) || is_among(word, AGREES));
    match () {
        () if agrees && all_among(said, &[YES, AGREES, COURTESY]) => Assent::Yes,
        () if goes_ahead(body, said) => Assent::Yes,
        () if first_agrees && said.len() <= 4 && all_among(said, &[YES, AGREES, COURTESY, BESIDE_YES]) => Assent::Yes,
        () if all_among(said, &[COURTESY]) => Assent::Thanks,
        () => Assent::Unclear,
    }
}

/// Returns whether a text begins with "no", so that it answers the question.
pub(super) fn begins_with_no(body: &str) -> bool {
    plain(body).first().is_some_and(|word| matches!(word.as_str(), "no" | "nope" | "nah"))
}

/// Returns whether a text says "I'm good" or the like, which declines as often as it agrees.
pub(super) fn is_content(body: &str) -> bool {
    any_among(&meant(body), &["content"])
}

/// Returns whether a text says only "go" or "I'm in". "I'm in a meeting" says where its sender is.
fn goes_ahead(body: &str, said: &[String]) -> bool {
    let core: Vec<&str> = said
        .iter()
        .filter(|word| [POLITE, YES, AGREES].iter().all(|list| !is_among(word, list)))
        .map(String::as_str)
        .collect();
    let core = core.join(" ");
    let is_share = !core.starts_with("100") || body.contains('%') || core.contains("percent");
    GOES_AHEAD.contains(&core.as_str()) && is_share
}

/// Returns whether the sender chooses texts. A yes is enough, because we offer nothing else.
pub(super) fn prefers_sms(body: &str) -> bool {
    let said = meant(unsigned(body));
    let chosen = all_among(&said, &[TEXTS, YES, AGREES, COURTESY, BESIDE_TEXTS]) && !any_among(&said, &["got"]);
    // "Ok, can you text me" without a question mark is a wish.
    let asks = form::asks(body) && (body.contains('?') || !has_phrase(&said, "can you"));
    let named = any_among(&said, TEXTS) && chosen && !any_among(&said, OTHER_WAYS) && !asks;
    named || is_any_way(&said) || assent(body) == Assent::Yes
}

/// Returns whether the sender accepts any way: "easiest is best", "not bothered", but not "not easy".
fn is_any_way(said: &[String]) -> bool {
    let chooses = any_among(said, ANY_WAY) || has_phrase(said, "is best");
    let denies = any_among(said, &["not"]) && !any_among(said, &["fussed", "bothered"]);
    chooses && !denies && all_among(said, &[ANY_WAY, COURTESY, &["not", "best"]])
}

/// Returns the chosen kind of phone, by digit or by name. Two kinds in one text choose none, and a digit in a sentence is a number.
pub(super) fn phone_type(body: &str) -> Option<PhoneType> {
    let body = unsigned(body);
    let said = meant(body);
    if is_on_network(&said) {
        let kinds = named(&said);
        return kinds.first().copied().filter(|kind| kinds.iter().all(|other| other == kind));
    }
    if let Some(chosen) = by_digit(&said, body) {
        return Some(chosen);
    }
    let kinds = named(&said);
    // "1 samsung" names two kinds.
    let digit = said.first().and_then(|word| digit(word));
    let mut kinds = kinds.into_iter().chain(digit);
    let kind = kinds.next().filter(|_| !named(&said).is_empty())?;
    (!any_among(&said, NO) && kinds.all(|other| other == kind)).then_some(kind)
}

/// Returns whether "3" is the network Three: "I'm on 3". "I'll go with 3" chooses.
fn is_on_network(said: &[String]) -> bool {
    let begins = |place: usize| said.get(place).is_some_and(|word| matches!(word.as_str(), "on" | "with"));
    let chooses = any_among(said, &["go", "going", "option", "choose", "number", "landline", "ill"]);
    let three = |place: usize| said.get(place).is_some_and(|word| matches!(word.as_str(), "3" | "three"));
    let follows = (1..said.len()).any(|place| three(place) && begins(place - 1));
    let names_it = any_among(said, &["network", "sim", "contract"]) && (0..said.len()).any(three);
    (follows && !chooses) || names_it
}

/// Returns the kind of phone that a digit chooses, in any spelling.
fn digit(word: &str) -> Option<PhoneType> {
    match word {
        "1" | "one" | "1st" | "first" => Some(PhoneType::IPhone),
        "2" | "two" | "2nd" | "second" => Some(PhoneType::Android),
        "3" | "three" | "3rd" | "third" | "last" => Some(PhoneType::Landline),
        _ => None,
    }
}

fn by_digit(said: &[String], body: &str) -> Option<PhoneType> {
    // "No" beside only a digit is short for "number".
    let mut others = said.iter().filter(|word| digit(word).is_none());
    let beside =
        others.clone().all(|word| all_among(std::slice::from_ref(word), &[COURTESY, BESIDE_CHOICE, YES, AGREES]));
    let is_number = said.len() == 2 || !others.any(|word| word == "no");
    let mut digits = said.iter().filter_map(|word| digit(word));
    let first = digits.next()?;
    // In "the second one", "one" is not the first.
    let ordinal = |word: &String| matches!(word.as_str(), "second" | "third" | "last" | "2nd" | "3rd");
    let chosen = said.iter().find(|word| ordinal(word)).and_then(|word| digit(word)).unwrap_or(first);
    let agree = said.iter().filter(|word| word.as_str() != "one").filter_map(|word| digit(word)).all(|it| it == chosen);
    (beside && is_number && agree && !body.contains('?')).then_some(chosen)
}

/// Returns the kinds of phone that are named, with repetitions.
fn named(said: &[String]) -> Vec<PhoneType> {
    let landline = |place: usize, word: &str| {
        let before = place.checked_sub(1).and_then(|before| said.get(before));
        is_among(word, LANDLINE) || (word == "phone" && before.is_some_and(|it| LANDLINE_PLACES.contains(&it.as_str())))
    };
    said.iter()
        .enumerate()
        .filter_map(|(place, word)| kind_named(word).or(landline(place, word).then_some(PhoneType::Landline)))
        .collect()
}

fn kind_named(word: &str) -> Option<PhoneType> {
    // "iphone15": the model follows the name.
    let name = word.trim_end_matches(|it: char| it.is_ascii_digit());
    match name {
        _ if IPHONE.contains(&name) || name.starts_with("iphone") || is_typo_of(name, "iphone") => {
            Some(PhoneType::IPhone)
        }
        // "S24", "A53": models of Samsung, the most common make.
        _ if matches!(name, "s" | "a") && word.len() == 3 => Some(PhoneType::Android),
        _ if ANDROID.contains(&name) || is_typo_of(name, "android") || is_typo_of(name, "samsung") => {
            Some(PhoneType::Android)
        }
        _ if is_typo_of(name, "landline") => Some(PhoneType::Landline),
        _ => None,
    }
}

/// Returns whether `name` is `right` with at most [`TYPOS_MAX`] typing errors. The first letter has to be the same.
fn is_typo_of(name: &str, right: &str) -> bool {
    name.len() >= 5 && name.chars().next() == right.chars().next() && edits(name, right) <= TYPOS_MAX
}

/// Returns the Levenshtein distance of two words: the letters added, left out or changed.
fn edits(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.chars().count()).collect();
    for (place, letter) in one.chars().enumerate() {
        let mut next = vec![place + 1];
        for (change, pair) in other.chars().zip(row.windows(2)) {
            let (before, above) = (pair.first().copied().unwrap_or_default(), pair.last().copied().unwrap_or_default());
            let left = next.last().copied().unwrap_or_default();
            next.push((before + usize::from(change != letter)).min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

/// Returns whether a text says that forwarding is set up.
pub(super) fn is_done(body: &str) -> bool {
    let body = unsigned(body);
    let said = meant(body);
    let asks = asks(body, &said);
    let said = said_before_what_next(&said);
    let names_phone = |word: &String| {
        kind_named(word).is_some() || is_among(word, LANDLINE) || LANDLINE_PLACES.contains(&word.as_str())
    };
    let beside: Vec<String> = said.iter().filter(|word| !names_phone(word)).cloned().collect();
    let may_ask = matches!(said, [first, second] if first == "did" && matches!(second.as_str(), "it" | "that"));
    if may_ask || is_planned(said) || is_at_work(said) || is_don(said, body) {
        return false;
    }
    let says_so = any_among(said, DONE) || (all_among(said, &[YES, COURTESY]) && is_yes_to_done(body));
    says_so && all_among(&beside, &[DONE, YES, AGREES, COURTESY, BESIDE_DONE]) && !asks
}

/// Returns whether a yes says that forwarding is set up. "Sure", "yes please" and "yes, doing it now" say that it will be.
fn is_yes_to_done(body: &str) -> bool {
    let said = uttered(body);
    let says_yes = said.iter().any(|word| is_among(word, YES) && !is_among(word, WILLING));
    let is_to_be =
        any_among(&said, &["please", "pls", "plz", "pleas", "will", "doing", "setting"]) || has_phrase(&said, "do it");
    (says_yes || has_phrase(&said, "all good")) && !is_to_be
}

/// Returns whether a text says that forwarding will be set up, asks us to do it, or says that it is off again.
fn is_planned(said: &[String]) -> bool {
    let asked = said.windows(2).any(|pair| {
        matches!(pair, [first, then] if matches!(first.as_str(), "please" | "pls" | "you" | "to" | "ill" | "lets")
            && matches!(then.as_str(), "set" | "setup"))
    });
    let planned = ["need", "want", "ill", "will", "going", "gonna", "lets", "let", "soon", "off", "like", "would"];
    let owed = has_phrase(said, "have to") || has_phrase(said, "got to") || has_phrase(said, "for me");
    asked || any_among(said, &planned) || owed
}

/// Returns whether "working" is about the sender rather than the forwarding: "im working".
fn is_at_work(said: &[String]) -> bool {
    let what = [
        "it",
        "its",
        "is",
        "thats",
        "that",
        "all",
        "everything",
        "both",
        "forwarding",
        "calls",
        "code",
        "codes",
        "divert",
        "diverting",
        "phone",
        "yes",
        "now",
        "fine",
        "great",
        "good",
    ];
    any_among(said, &["working"])
        && (!any_among(said, &what) || any_among(said, &["im", "am"]) || has_phrase(said, "on it"))
}

/// Returns whether "don" is a name rather than a misspelt "done": "thanks Don".
fn is_don(said: &[String], body: &str) -> bool {
    let alone = said.iter().all(|word| matches!(word.as_str(), "don" | "all" | "it" | "its" | "yes" | "ok" | "now"));
    let says_done = said.iter().any(|word| word != "don" && is_among(word, DONE));
    !says_done && said.iter().any(|word| word == "don") && (!alone || (said.len() > 1 && body.contains("Don")))
}

/// Returns whether a text says only that ours was read.
pub(super) fn acknowledges(body: &str) -> bool {
    let said = meant(unsigned(body));
    !asks(body, &said) && !any_among(&said, NO) && all_among(&said, &[YES, AGREES, DONE, COURTESY])
}
