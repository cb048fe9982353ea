//! Reads what people type: finds the meaning of a text, given the open question.
//!
//! Reading is forgiving about case, punctuation, politeness and typing errors. It is strict where a misreading would move a client
//! on by accident or store a wrong answer. It uses the text, the question and a known half of the answer to S1, but no clock and
//! no history.
//!
//! `words.rs` and `trades.rs` have the tables, and each file the tables that it alone uses. `tests/answers.txt` has examples, and a
//! test reads every line of it.

mod cancelling;
mod choices;
mod corrections;
mod declines;
mod fillers;
mod form;

mod forwarding_test;
mod forwarding_trouble;
mod machines;

mod names;
mod networks;
mod new_phone;

mod person_wanted;
mod plain_names;
mod questions;
mod refusals;
mod text_back;
mod trade_and_place;
mod trades;
mod two_answers;
mod words;

use std::fmt;

use serde::{Deserialize, Serialize};

use choices::Assent;
pub(crate) use text_back::chooses_text_back;

use crate::network::Network;
use crate::{E164, PhoneType, State};

/// The longest text that is stored as a name or a trade and place, in characters.
pub const ANSWER_CHARS_MAX: usize = 100;

/// A word that carriers and Twilio act on in every conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keyword {
    /// Opts out.
    Stop,
    /// Opts in again.
    Start,
    /// Asks for help. Twilio itself replies to it.
    Help,
}

/// Returns the keyword that is the whole of a text. A keyword inside a sentence does not count.
///
/// The lists are Twilio's defaults for long codes, with REVOKE and OPTOUT. YES is left out, because it answers questions unless the
/// client has opted out.
#[must_use]
pub fn keyword(body: &str) -> Option<Keyword> {
    match words::plain(body).join(" ").as_str() {
        "stop" | "stopall" | "unsubscribe" | "cancel" | "end" | "quit" | "revoke" | "optout" => Some(Keyword::Stop),
        "start" | "unstop" => Some(Keyword::Start),
        "help" | "info" => Some(Keyword::Help),
        _ => None,
    }
}

/// Half of the answer to S1, stored until the other half arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Half {
    /// A trade without a place.
    Trade(String),
    /// A place without a trade.
    Place(String),
}

impl Half {
    /// Reads a stored answer to S1 as a half, if it is only a half.
    pub(crate) fn of(stored: &str) -> Option<Self> {
        if let Meaning::Half(half) = trade_and_place::trade_and_place(stored, None) { Some(half) } else { None }
    }

    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Trade(text) | Self::Place(text) => text,
        }
    }
}

/// An answer that can be corrected. Its name is stored with corrections by operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// The answer to S1.
    TradeAndPlace,
    /// The answer to S2.
    BusinessName,
    /// The answer to S3.
    OwnerName,
    /// The trade in the answer to S1. The place stays.
    Trade,
    /// The last name in the answer to S3. The first name stays.
    Surname,
}

impl Field {
    /// Returns the state whose question asks for the field.
    pub(crate) const fn asked_at(self) -> State {
        match self {
            Self::TradeAndPlace | Self::Trade => State::S1BusinessTypeLocation,
            Self::BusinessName => State::S2BusinessName,
            Self::OwnerName | Self::Surname => State::S3OwnerName,
        }
    }

    /// Returns the field that was answered just before `asked` was asked.
    const fn before(asked: State) -> Option<Self> {
        match asked {
            State::S2BusinessName => Some(Self::TradeAndPlace),
            State::S3OwnerName => Some(Self::BusinessName),
            State::S4NotificationPref => Some(Self::OwnerName),
            State::S1BusinessTypeLocation
            | State::S5ConfirmLive
            | State::S6PhoneType
            | State::S7FwdSent
            | State::S8FwdConfirm
            | State::S9TestCall
            | State::Complete => None,
        }
    }
}

/// The meaning of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// A phone reports that its owner reacted to a text of ours. It gets no reply.
    Reaction,
    /// A machine replies for its owner. It gets no reply, or two machines would go on for ever.
    AutoReply,
    /// A person or a machine says that the sender is away. It gets a reply, and is no misunderstanding.
    Away,
    /// The sender wants no more texts, in words that Twilio does not know.
    Refusal,
    /// The sender is not interested in signing up.
    NotInterested,
    /// The sender cancels a subscription.
    CancelSubscription,
    /// The sender asks how to cancel a subscription.
    AsksHowToCancel,
    /// The sender wants money back.
    Refund,
    /// The sender asks for the price or the term of the contract.
    AsksTerms,
    /// The sender doubts that we are honest.
    Doubt,
    /// The sender asks for help.
    AsksHelp,
    /// The sender asks something that only a person can answer.
    Question,
    /// The sender meant another number, or asks who we are.
    WrongNumber,
    /// The sender asks for a person, or for a call.
    WantsPerson,
    /// The sender has a new phone, and names the number of its old one.
    NewPhone(E164),
    /// The sender wants to go back to the last question.
    Back,
    /// The sender corrects an earlier answer. Holds the new answer.
    Correction(Field, String),
    /// The sender corrects a word in an earlier answer.
    Respelling {
        /// The right word.
        right: String,
        /// The word that the answer has.
        wrong: String,
    },
    /// The answer to S1.
    TradeAndPlace(String),
    /// Half of the answer to S1.
    Half(Half),
    /// The answer to S2.
    BusinessName(String),
    /// The business has no name.
    NoBusinessName,
    /// The answer to S3.
    OwnerName(String),
    /// The answer to S4.
    Sms,
    /// An assent, where the question asks for one.
    Yes,
    /// No, or not now.
    No,
    /// The answer to S6.
    Phone(PhoneType),
    /// The answer to S7. A client who went back to S6 may give it there.
    Done,
    /// Forwarding cannot be set up as it was told.
    CannotForward,
    /// The network that the sender's phone is with, while that is asked.
    Network(Network),
    /// The sender wants its forwarding tested, or says that it has stopped working.
    TestsForwarding,
    /// The sender has read our text, and answers no question.
    Thanks,
    /// A greeting, or the wish to join.
    Greeting,
    /// Too long to be stored.
    TooLong,
    /// Any other text, such as a question.
    Unclear,
}

/// Writes a meaning as `tests/answers.txt` does.
impl fmt::Display for Meaning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reaction => formatter.write_str("reaction"),
            Self::AutoReply => formatter.write_str("automatic reply"),
            Self::Away => formatter.write_str("away"),
            Self::Refusal => formatter.write_str("opt-out"),
            Self::NotInterested => formatter.write_str("not interested"),
            Self::CancelSubscription => formatter.write_str("cancels"),
            Self::AsksHowToCancel => formatter.write_str("asks how to cancel"),
            Self::Refund => formatter.write_str("refund"),
            Self::AsksTerms => formatter.write_str("asks terms"),
            Self::Doubt => formatter.write_str("doubts us"),
            Self::AsksHelp => formatter.write_str("asks for help"),
            Self::Question => formatter.write_str("question"),
            Self::WrongNumber => formatter.write_str("wrong number"),
            Self::WantsPerson => formatter.write_str("wants a person"),
            Self::NewPhone(old) => write!(formatter, "new phone: {}", old.as_str()),
            Self::Back => formatter.write_str("back"),
            Self::Correction(Field::TradeAndPlace, text) => write!(formatter, "corrected trade and place: {text}"),
            Self::Correction(Field::BusinessName, text) => write!(formatter, "corrected business: {text}"),
            Self::Correction(Field::OwnerName, text) => write!(formatter, "corrected name: {text}"),
            Self::Correction(Field::Trade, text) => write!(formatter, "corrected trade: {text}"),
            Self::Correction(Field::Surname, text) => write!(formatter, "corrected surname: {text}"),
            Self::Respelling { right, wrong } => write!(formatter, "respelt: {right} for {wrong}"),
            Self::TradeAndPlace(text) => write!(formatter, "trade and place: {text}"),
            Self::Half(Half::Trade(text)) => write!(formatter, "trade: {text}"),
            Self::Half(Half::Place(text)) => write!(formatter, "place: {text}"),
            Self::BusinessName(text) => write!(formatter, "business: {text}"),
            Self::NoBusinessName => formatter.write_str("no business name"),
            Self::OwnerName(text) => write!(formatter, "name: {text}"),
            Self::Sms => formatter.write_str("SMS"),
            Self::Yes => formatter.write_str("yes"),
            Self::No => formatter.write_str("no"),
            Self::Phone(PhoneType::IPhone) => formatter.write_str("iPhone"),
            Self::Phone(PhoneType::Android) => formatter.write_str("Android"),
            Self::Phone(PhoneType::Landline) => formatter.write_str("landline"),
            Self::Done => formatter.write_str("done"),
            Self::CannotForward => formatter.write_str("cannot forward"),
            Self::Network(network) => write!(formatter, "network: {}", network.name()),
            Self::TestsForwarding => formatter.write_str("tests forwarding"),
            Self::Thanks => formatter.write_str("thanks"),
            Self::Greeting => formatter.write_str("greeting"),
            Self::TooLong => formatter.write_str("too long"),
            Self::Unclear => formatter.write_str("unclear"),
        }
    }
}

/// Returns the meaning of a text, with `asked` as the open question. `known` is the half of the answer to S1 that was given before.
#[must_use]
pub fn read(body: &str, asked: State, known: Option<&Half>) -> Meaning {
    let in_any_state = of_any_state(body, asked);
    let body = &without_signature_of_phone(body);
    let meaning = in_any_state.unwrap_or_else(|| match asked {
        State::S1BusinessTypeLocation => trade_and_place::trade_and_place(body, known),
        State::S2BusinessName | State::S3OwnerName if refusals::may_refuse(body) => Meaning::Unclear,
        State::S2BusinessName => names::business_name(body),
        State::S3OwnerName => names::owner_name(body),
        State::S4NotificationPref if choices::prefers_sms(body) => Meaning::Sms,
        State::S4NotificationPref | State::S5ConfirmLive => read_assent(body),
        State::S6PhoneType => choices::phone_type(body).map_or_else(|| read_ready(body), Meaning::Phone),
        State::S7FwdSent if choices::is_done(body) => Meaning::Done,
        State::S7FwdSent | State::S8FwdConfirm if forwarding_trouble::cannot_forward(body) => Meaning::CannotForward,
        State::S7FwdSent => choices::phone_type(body).map_or_else(|| read_unprompted(body), Meaning::Phone),
        State::S8FwdConfirm => chosen_phone(body).map_or_else(|| read_unprompted(body), Meaning::Phone),
        State::Complete if forwarding_test::asks_for_test(body) => Meaning::TestsForwarding,
        State::S9TestCall | State::Complete => read_unprompted(body),
    });
    if meaning != Meaning::Unclear {
        return meaning;
    }
    questions::for_a_person(body, asked).unwrap_or_else(|| not_understood(body, asked))
}

/// Returns the meaning of a text that answers no question, with `asked` as the open one.
pub(crate) fn not_understood(body: &str, asked: State) -> Meaning {
    let is_too_long = asked < State::S8FwdConfirm && body.chars().count() > ANSWER_CHARS_MAX;
    if is_too_long { Meaning::TooLong } else { Meaning::Unclear }
}

/// Returns the meaning of a text, with `asked` as the open question and the question for the network on top of it.
#[must_use]
pub fn read_network(body: &str, asked: State) -> Meaning {
    as_network(read(body, asked, None), body)
}

/// Returns the network that a text names while that is asked, or the `meaning` that it has otherwise.
pub(crate) fn as_network(meaning: Meaning, body: &str) -> Meaning {
    let is_landline =
        meaning == Meaning::Phone(PhoneType::Landline) && words::plain(body).iter().any(|word| word == "landline");
    let may_name_it = matches!(
        meaning,
        Meaning::Unclear
            | Meaning::TooLong
            | Meaning::Phone(_)
            | Meaning::CannotForward
            | Meaning::Greeting
            | Meaning::No
            | Meaning::Thanks
    );
    let network = networks::network(body).filter(|_| may_name_it && !is_landline);
    network.map_or(meaning, Meaning::Network)
}

/// Returns whether a text asks for no more texts in plain words. Twilio's own words are [`keyword`]s.
#[must_use]
pub fn refuses(body: &str) -> bool {
    !machines::is_reaction(body) && refusals::refuses(body)
}

/// Reads the meanings that every state has. At S2 a text that looks like a business name has none of them, unless it refuses.
fn of_any_state(body: &str, asked: State) -> Option<Meaning> {
    if machines::is_reaction(body) {
        return Some(Meaning::Reaction);
    }
    let wants_no_more = refusals::refuses(body) || cancelling::cancels(body) || cancelling::wants_refund(body);
    if let Some(old) = new_phone::old_number(body).filter(|_| !wants_no_more) {
        return Some(Meaning::NewPhone(old));
    }
    if asked == State::S2BusinessName
        && plain_names::looks_like_a_business(plain_names::introduced_business(&form::tidy(body)))
    {
        let to_us = refusals::is_said_to_us(body, form::is_titled(body.trim()));
        let may_be_sentence = !plain_names::is_named_for_sure(body.trim());
        let refuses = (to_us || may_be_sentence) && refusals::refuses(body);
        return if refuses { Some(Meaning::Refusal) } else { corrected(body, asked) };
    }
    if machines::is_automatic(body) {
        return Some(Meaning::AutoReply);
    }
    if let Some(beside) = machines::beside_excuse(body) {
        return Some(said_by_person(body, &beside, asked).unwrap_or(Meaning::AutoReply));
    }
    match () {
        () if refusals::refuses(body) => Some(Meaning::Refusal),
        () if machines::is_away(body) => Some(Meaning::Away),
        () if cancelling::cancels(body) => Some(Meaning::CancelSubscription),
        () if cancelling::wants_refund(body) => Some(Meaning::Refund),
        () if person_wanted::wants_person(body) => Some(Meaning::WantsPerson),
        () if cancelling::asks_how_to_cancel(body) => Some(Meaning::AsksHowToCancel),
        () if cancelling::asks_terms(body) => Some(Meaning::AsksTerms),
        () if declines::is_wrong_number(body) => Some(Meaning::WrongNumber),
        () if declines::is_not_interested(body) && !may_answer_no(body, asked) => Some(Meaning::NotInterested),
        () if declines::goes_back(body) => Some(Meaning::Back),
        () => corrected(body, asked),
    }
}

/// Returns the answer that a person gives `beside` a clause that may be a machine's. Names are left out, because any words can be
/// one. A refusal with the word "reply" is left out, because a machine says how to opt out.
fn said_by_person(body: &str, beside: &str, asked: State) -> Option<Meaning> {
    if refusals::refuses(body) && !words::plain(body).iter().any(|word| word == "reply") {
        return Some(Meaning::Refusal);
    }
    let meaning = read(beside, asked, None);
    // A machine says "We are plumbers in Leeds" of its owner.
    let is_of_person = words::any_among(&words::plain(beside), &["i", "im"]);
    let is_trade = matches!(meaning, Meaning::TradeAndPlace(_)) && is_of_person;
    let is_answer = matches!(
        meaning,
        Meaning::Sms
            | Meaning::Yes
            | Meaning::No
            | Meaning::Phone(_)
            | Meaning::Done
            | Meaning::NotInterested
            | Meaning::CancelSubscription
            | Meaning::Refund
            | Meaning::AsksTerms
    );
    (is_trade || is_answer).then_some(meaning)
}

/// Returns whether a no answers the question: "no thanks" at S4, every plain no at S5, and "I'm good thanks", which may agree, at
/// both.
fn may_answer_no(body: &str, asked: State) -> bool {
    match asked {
        State::S1BusinessTypeLocation | State::S2BusinessName | State::S3OwnerName => false,
        State::S4NotificationPref => choices::begins_with_no(body) || choices::is_content(body),
        State::S5ConfirmLive => choices::assent(body) == Assent::No || choices::is_content(body),
        State::S6PhoneType | State::S7FwdSent | State::S8FwdConfirm | State::S9TestCall | State::Complete => true,
    }
}

/// Reads a correction of an earlier answer. A correction of the answer that is asked for is that answer. A correction of a later
/// answer is unclear.
fn corrected(body: &str, asked: State) -> Option<Meaning> {
    if let Some((right, wrong)) = corrections::respelling(body, asked) {
        return Some(Meaning::Respelling { right, wrong });
    }
    let (field, text) = corrections::correction(body, asked)?;
    if field.asked_at() > asked {
        return Some(Meaning::Unclear);
    }
    let read = match field {
        Field::TradeAndPlace => trade_and_place::trade_and_place(&text, None),
        Field::BusinessName => names::business_name(&text),
        Field::OwnerName | Field::Surname => names::owner_name(&text),
        Field::Trade => Meaning::TradeAndPlace(text.clone()),
    };
    let fits = matches!(read, Meaning::TradeAndPlace(_) | Meaning::BusinessName(_) | Meaning::OwnerName(_));
    match (fits, field.asked_at() == asked) {
        (_, true) => Some(read),
        (true, false) => Some(Meaning::Correction(field, text)),
        (false, false) => Some(Meaning::Unclear),
    }
}

fn without_signature_of_phone(body: &str) -> String {
    body.lines().filter(|line| !form::is_added_by_the_phone(line)).collect::<Vec<_>>().join("\n")
}

/// Returns the phone that a text chooses while a test call is awaited. "I rang from my landline" chooses none.
fn chosen_phone(body: &str) -> Option<PhoneType> {
    const OF_A_CALL: &[&str] = &[
        "rang", "rung", "ring", "ringing", "call", "called", "calling", "phoned", "from", "tried", "test", "answered",
        "works", "second",
    ];
    let said = words::plain(body);
    choices::phone_type(body).filter(|_| said.len() <= 4 && !words::any_among(&said, OF_A_CALL))
}

fn read_assent(body: &str) -> Meaning {
    if form::only_greets(body) {
        return Meaning::Greeting;
    }
    match choices::assent(body) {
        Assent::Yes => Meaning::Yes,
        Assent::No => Meaning::No,
        Assent::Thanks => Meaning::Thanks,
        Assent::Unclear if form::greets(body) => Meaning::Greeting,
        Assent::Unclear => Meaning::Unclear,
    }
}

/// Reads a text where READY goes on, and DONE does for a client who has had the instructions.
fn read_ready(body: &str) -> Meaning {
    let meaning = read_assent(body);
    if meaning == Meaning::Unclear && choices::is_done(body) { Meaning::Done } else { meaning }
}

/// Reads a text where no assent is asked for: an assent says that our text was read.
fn read_unprompted(body: &str) -> Meaning {
    if form::only_greets(body) {
        return Meaning::Greeting;
    }
    match choices::assent(body) {
        Assent::No => Meaning::No,
        Assent::Yes | Assent::Thanks | Assent::Unclear if choices::acknowledges(body) => Meaning::Thanks,
        Assent::Yes | Assent::Thanks | Assent::Unclear if form::greets(body) => Meaning::Greeting,
        Assent::Yes | Assent::Thanks | Assent::Unclear => Meaning::Unclear,
    }
}

/// Returns whether a text can be no other answer, so that it counts even if sent before the question: people who know the
/// questions send all answers at once. No answer at the payment gate or after it counts so.
pub(crate) fn is_plain(meaning: &Meaning, body: &str) -> bool {
    if let Meaning::BusinessName(name) = meaning {
        names::is_plainly_a_business(name)
    } else if let Meaning::OwnerName(name) = meaning {
        plain_names::is_plainly_a_person(name)
    } else {
        *meaning == Meaning::Sms && words::plain(body) == ["sms"]
    }
}

/// Returns the stored answer to S1 with another trade, if a word or a comma marks where the trade ends: "Plumber from London".
pub(crate) fn with_trade(stored: &str, trade: &str) -> Option<String> {
    let words: Vec<&str> = stored.split(' ').collect();
    let between = words.iter().position(|word| trades::BETWEEN.contains(&word.to_lowercase().as_str()));
    let by_word =
        between.filter(|place| *place > 0).map(|place| format!("{trade} {}", words.split_at(place).1.join(" ")));
    by_word.or_else(|| stored.split_once(", ").map(|(_, place)| format!("{trade}, {place}")))
}

/// Returns the stored name with another last name. A `surname` of several words replaces the whole name.
pub(crate) fn with_surname(stored: Option<&str>, surname: &str) -> String {
    let first = stored.and_then(|name| name.split(' ').next()).filter(|_| !surname.contains(' '));
    first.map_or_else(|| surname.to_owned(), |first| format!("{first} {surname}"))
}

/// Returns the stored answer with `right` in place of `wrong`, if it contains `wrong` as a whole word.
pub(crate) fn respelt(stored: &str, right: &str, wrong: &str) -> Option<String> {
    let (lower, wrong) = (stored.to_ascii_lowercase(), wrong.to_ascii_lowercase());
    let at = lower.find(&wrong)?;
    let (before, rest) = stored.split_at_checked(at)?;
    let after = rest.get(wrong.len()..)?;
    let is_word = !before.ends_with(char::is_alphanumeric) && !after.starts_with(char::is_alphanumeric);
    is_word.then(|| format!("{before}{right}{after}"))
}

/// Returns the words of a text in lower case, without punctuation.
pub(crate) fn words_of(body: &str) -> Vec<String> {
    words::plain(body)
}

/// Returns whether two texts say the same, word by word.
pub(crate) fn is_the_same(one: &str, other: &str) -> bool {
    one == other || words::meant(one) == words::meant(other)
}

/// Returns whether the sender cancels a subscription, by the keyword CANCEL or in other words, or wants money back.
pub(crate) fn wants_to_cancel(body: &str) -> bool {
    !machines::is_reaction(body) && (cancelling::cancels(body) || cancelling::wants_refund(body))
}

/// Returns whether a client who has opted out asks to be texted again. YES means this only from such a client.
pub(crate) fn asks_back_in(body: &str) -> bool {
    keyword(body) == Some(Keyword::Start) || words::plain(body).join(" ") == "yes"
}

#[cfg(test)]
mod tests;
