//! Reading what people type.
//!
//! Reading is forgiving about case, punctuation and politeness, and strict about everything that would move a client
//! on by accident.

use crate::PhoneType;

/// The longest answer that is taken as a name or a description, in characters.
const ANSWER_CHARS_MAX: usize = 100;

/// A word that carriers and Twilio act on, whatever the conversation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keyword {
    /// No more texts.
    Stop,
    /// Texts again.
    Start,
    /// Answered by Twilio itself.
    Help,
}

/// The keyword that a text consists of; a keyword inside a sentence is just a word.
///
/// The lists are Twilio's defaults for long codes, REVOKE and OPTOUT included. YES is left out: for everybody who has
/// not opted out it is an answer.
#[must_use]
pub fn keyword(body: &str) -> Option<Keyword> {
    match words(body).as_str() {
        "stop" | "stopall" | "unsubscribe" | "cancel" | "end" | "quit" | "revoke" | "optout" => Some(Keyword::Stop),
        "start" | "unstop" => Some(Keyword::Start),
        "help" | "info" => Some(Keyword::Help),
        _ => None,
    }
}

/// The words of a text in lower case, one space between them: `" Yes, please! "` becomes `"yes please"`.
fn words(body: &str) -> String {
    body.split(|character: char| !character.is_alphanumeric() && !is_apostrophe(character))
        .map(|word| word.replace(is_apostrophe, "").to_lowercase())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

fn is_apostrophe(character: char) -> bool {
    matches!(character, '\'' | '’' | '‘')
}

/// An answer in free words: white space folded, control characters gone, neither empty nor too long.
fn free_text(body: &str) -> Option<String> {
    let visible: String = body.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
    let folded = visible.split_whitespace().collect::<Vec<_>>().join(" ");
    let fits = folded.chars().any(char::is_alphanumeric) && folded.chars().count() <= ANSWER_CHARS_MAX;
    fits.then_some(folded)
}

/// S1: a trade and a place, so at least two words, and neither merely a greeting nor a question.
pub(crate) fn trade_and_place(body: &str) -> Option<String> {
    const GREETINGS: [&str; 14] = [
        "hi",
        "hello",
        "hey",
        "hiya",
        "good",
        "morning",
        "afternoon",
        "evening",
        "there",
        "jobrun",
        "join",
        "yes",
        "please",
        "thanks",
    ];
    let said = words(body);
    let meaningful =
        said.split(' ').filter(|word| word.chars().any(char::is_alphabetic) && !GREETINGS.contains(word)).count();
    if meaningful >= 2 && !body.contains('?') { free_text(body) } else { None }
}

/// S2: the name of the business.
pub(crate) fn business_name(body: &str) -> Option<String> {
    free_text(body)
}

/// S3: a person's name, so with at least one letter.
pub(crate) fn owner_name(body: &str) -> Option<String> {
    free_text(body).filter(|name| name.chars().any(char::is_alphabetic))
}

/// Whether somebody says no, in so many words.
fn declines(said: &str) -> bool {
    const NEGATIVES: [&str; 9] = ["no", "nope", "not", "dont", "never", "cant", "wont", "later", "wait"];
    said.split(' ').any(|word| NEGATIVES.contains(&word))
}

/// S4: texts are what we offer.
pub(crate) fn prefers_sms(body: &str) -> bool {
    let said = words(body);
    !declines(&said) && said.split(' ').any(|word| matches!(word, "sms" | "text" | "texts" | "txt"))
}

/// S5: what a client says at the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Confirmation {
    Yes,
    No,
    Unclear,
}

/// S5, and READY at S6: an assent of at most three words. "Yes but what does it cost" is a question, not an assent.
pub(crate) fn confirmation(body: &str) -> Confirmation {
    let said = words(body);
    let mut each = said.split(' ');
    let first = each.next().unwrap_or_default();
    let few = each.count() <= 2 && !body.contains('?');
    match first {
        _ if declines(&said) => Confirmation::No,
        "yes" | "y" | "yep" | "yeah" | "yup" | "ready" | "ok" | "okay" | "sure" if few => Confirmation::Yes,
        _ => Confirmation::Unclear,
    }
}

/// S6: the kind of phone, by digit or by name. Two kinds in one text are no answer, and a digit in a sentence is just a
/// number.
pub(crate) fn phone_type(body: &str) -> Option<PhoneType> {
    let said = words(body);
    let matters = |word: &&str| !matches!(*word, "please" | "option" | "number");
    let only_digit = match said.split(' ').filter(matters).collect::<Vec<_>>()[..] {
        ["1"] => Some(PhoneType::IPhone),
        ["2"] => Some(PhoneType::Android),
        ["3"] => Some(PhoneType::Landline),
        _ => None,
    };
    let named = |word: &str| match word {
        "iphone" => Some(PhoneType::IPhone),
        "android" => Some(PhoneType::Android),
        "landline" => Some(PhoneType::Landline),
        _ => None,
    };
    let mut kinds = only_digit.into_iter().chain(said.split(' ').filter_map(named));
    let kind = kinds.next()?;
    (!declines(&said) && kinds.all(|other| other == kind)).then_some(kind)
}

/// S7: forwarding is set up.
pub(crate) fn is_done(body: &str) -> bool {
    matches!(
        words(body).as_str(),
        "done" | "all done" | "its done" | "done it" | "done thanks" | "done now" | "ok done" | "yes done"
    )
}

/// Whether somebody who opted out is asking to be texted again. YES does, from them alone.
pub(crate) fn asks_back_in(body: &str) -> bool {
    keyword(body) == Some(Keyword::Start) || words(body) == "yes"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_stand_alone() {
        for body in [
            "STOP",
            "stop.",
            " Stop! ",
            "\"STOP\"",
            "STOPALL",
            "unsubscribe",
            "Cancel",
            "END",
            "quit",
            "REVOKE",
            "optout",
        ] {
            assert_eq!(keyword(body), Some(Keyword::Stop), "{body}");
        }
        for body in ["STOP PLEASE", "please cancel", "Plumber from World's End", "yes", "", "🙂"] {
            assert_eq!(keyword(body), None, "{body}");
        }
        assert_eq!(keyword("Start"), Some(Keyword::Start));
        assert_eq!(keyword("unstop"), Some(Keyword::Start));
        assert_eq!(keyword("INFO"), Some(Keyword::Help));
    }

    #[test]
    fn trade_and_place_wants_both() {
        assert_eq!(trade_and_place(" Plumber\n from  London ").as_deref(), Some("Plumber from London"));
        assert!(trade_and_place("Plumber, London").is_some());
        for body in ["Hi", "Good morning", "hello there", "Plumber", "", "🙂🙂", "1 2", "Hi plumber", "What is this?"]
        {
            assert_eq!(trade_and_place(body), None, "{body}");
        }
        assert_eq!(trade_and_place(&"very long ".repeat(20)), None);
    }

    #[test]
    fn names_are_names() {
        assert_eq!(business_name("ABC\tPlumbing").as_deref(), Some("ABC Plumbing"));
        assert!(business_name("4U").is_some());
        assert_eq!(business_name("???"), None);
        assert_eq!(owner_name("Seán O'Brien").as_deref(), Some("Seán O'Brien"));
        assert_eq!(owner_name("42"), None);
    }

    #[test]
    fn assent_is_short() {
        for body in ["YES", "yes please", "Ready", "READY!", "ok", "Yeah go on"] {
            assert_eq!(confirmation(body), Confirmation::Yes, "{body}");
        }
        for body in ["no", "Not yet", "later", "ok not now", "sure, later"] {
            assert_eq!(confirmation(body), Confirmation::No, "{body}");
        }
        for body in ["yes but what does it cost", "yes?", "what", "", "DONE"] {
            assert_eq!(confirmation(body), Confirmation::Unclear, "{body}");
        }
    }

    #[test]
    fn a_phone_is_named_by_digit_or_name() {
        assert_eq!(phone_type("1"), Some(PhoneType::IPhone));
        assert_eq!(phone_type("1 iPhone"), Some(PhoneType::IPhone));
        assert_eq!(phone_type("2."), Some(PhoneType::Android));
        assert_eq!(phone_type("it's an Android"), Some(PhoneType::Android));
        assert_eq!(phone_type("landline"), Some(PhoneType::Landline));
        for body in ["4", "", "iphone or android", "12", "give me 2 minutes", "I have 1 question", "not an iphone"] {
            assert_eq!(phone_type(body), None, "{body}");
        }
    }

    #[test]
    fn done_is_done_and_not_done_is_not() {
        for body in ["DONE", "done!", "All done", "it's done"] {
            assert!(is_done(body), "{body}");
        }
        for body in ["not done", "nearly done", "done?? it says error", ""] {
            assert!(!is_done(body), "{body}");
        }
        assert!(prefers_sms("SMS please"));
        assert!(prefers_sms("by text"));
        for body in ["email", "I don't want texts", "no SMS please, email me"] {
            assert!(!prefers_sms(body), "{body}");
        }
        assert!(asks_back_in("Yes") && asks_back_in("UNSTOP") && !asks_back_in("ready"));
    }
}
