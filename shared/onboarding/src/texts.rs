//! Decides the texts of a client. An answer to the open question moves the client on, and any other text gets a fitting reply.

use chrono::{DateTime, TimeDelta, Utc};

use super::corrections::correct_answer;
use super::decision::{Concern, Decision, Facts, OptChange, Step, Switches};
use super::forwarding_help::another_way;
use super::open_question::{
    asked_again, asked_in_short, asks_network, end_misfits, half_known, open_question, repeat_question,
    step_that_ends_misfits,
};
use super::payment_gate::{gate, instructions, ready_for_phone_type, through_the_gate};
use crate::answer::{self, Meaning};
use crate::wording::{self, Text};
use crate::{Client, Collected, Payment, State, forwarding_checks, phone_change_texts, text_back};

/// The text that led to the open question counts as repeated if it arrives again within this time: networks deliver some texts
/// twice. A person who replies to two questions with the same word takes longer.
const REPEATED_WITHIN: TimeDelta = TimeDelta::seconds(5);

/// Decides a text that is not a keyword.
pub(crate) fn decide_text(client: &Client, body: &str, received_at: DateTime<Utc>, facts: &Facts<'_>) -> Step {
    if let Some(chosen) = text_back::choose(client, body, facts) {
        return chosen.into();
    }
    let meaning = read(client, body, facts);
    of_any_state(client, body, &meaning, facts)
        .or_else(|| out_of_region(client, facts))
        .or_else(|| (meaning == Meaning::AsksTerms).then(|| asked_terms(client)))
        .or_else(|| needs_person(client, &meaning))
        .or_else(|| correct_answer(client, &meaning, facts))
        .or_else(|| too_early(client, body, &meaning, received_at))
        .or_else(|| go_back(client, &meaning))
        .map_or_else(|| answer_question(client, meaning, facts), Step::from)
}

/// Reads a text. One that only a person can answer is not understood, if cases are off.
fn read(client: &Client, body: &str, facts: &Facts<'_>) -> Meaning {
    let read = answer::read(body, client.state, half_known(client).as_ref());
    let Switches { cases, phone_change } = facts.switches;
    let is_for_a_person = match read {
        Meaning::Doubt | Meaning::AsksHelp | Meaning::Question => true,
        Meaning::NewPhone(_) => !phone_change,
        Meaning::Reaction
        | Meaning::AutoReply
        | Meaning::Away
        | Meaning::Refusal
        | Meaning::NotInterested
        | Meaning::CancelSubscription
        | Meaning::AsksHowToCancel
        | Meaning::Refund
        | Meaning::AsksTerms
        | Meaning::WrongNumber
        | Meaning::WantsPerson
        | Meaning::Back
        | Meaning::Correction(..)
        | Meaning::Respelling { .. }
        | Meaning::TradeAndPlace(_)
        | Meaning::Half(_)
        | Meaning::BusinessName(_)
        | Meaning::NoBusinessName
        | Meaning::OwnerName(_)
        | Meaning::Sms
        | Meaning::Yes
        | Meaning::No
        | Meaning::Phone(_)
        | Meaning::Done
        | Meaning::CannotForward
        | Meaning::Network(_)
        | Meaning::TestsForwarding
        | Meaning::Thanks
        | Meaning::Greeting
        | Meaning::TooLong
        | Meaning::Unclear => false,
    };
    let meaning = if is_for_a_person && !cases { answer::not_understood(body, client.state) } else { read };
    if asks_network(client) { answer::as_network(meaning, body) } else { meaning }
}

/// Decides the meanings that have the same effect in every state.
fn of_any_state(client: &Client, body: &str, meaning: &Meaning, facts: &Facts<'_>) -> Option<Decision> {
    let stay = Decision::nothing(client);
    let has_paid = client.payment_active || client.payment != Payment::None;
    let question = || open_question(client);
    match meaning {
        // The same machine would reply to our reply.
        Meaning::Reaction | Meaning::AutoReply => Some(stay),
        // A refusal gets no reply: a confirmation would be one more text.
        Meaning::Refusal => Some(opt_out(client, body)),
        Meaning::NotInterested => Some(stay.text(wording::closing(client))),
        Meaning::CancelSubscription | Meaning::AsksHowToCancel
            if client.payment.is_served()
                && let Some(portal) = facts.payment_portal =>
        {
            Some(stay.text(wording::cancel_at_portal(portal)))
        }
        Meaning::CancelSubscription if client.may_be_charged() => {
            Some(stay.text(wording::how_to_cancel(true)).concern(Concern::CancelAsked))
        }
        Meaning::CancelSubscription => Some(stay.text(wording::nothing_charged())),
        Meaning::AsksHowToCancel if client.may_be_charged() => Some(stay.text(wording::how_to_cancel(false))),
        Meaning::AsksHowToCancel => Some(stay.text(wording::can_cancel_later(&question()))),
        Meaning::Refund if has_paid => Some(stay.text(wording::refund_asked()).concern(Concern::CancelAsked)),
        Meaning::Refund => Some(stay.text(wording::nothing_to_refund())),
        Meaning::WrongNumber => Some(stay.text(wording::who_we_are())),
        Meaning::WantsPerson => Some(stay.text(wording::person_asked_for()).concern(Concern::PersonWanted)),
        Meaning::NewPhone(old) => phone_change_texts::asked(client, old, facts),
        Meaning::Away
        | Meaning::AsksTerms
        | Meaning::Doubt
        | Meaning::AsksHelp
        | Meaning::Question
        | Meaning::Back
        | Meaning::Correction(..)
        | Meaning::Respelling { .. }
        | Meaning::TradeAndPlace(_)
        | Meaning::Half(_)
        | Meaning::BusinessName(_)
        | Meaning::NoBusinessName
        | Meaning::OwnerName(_)
        | Meaning::Sms
        | Meaning::Yes
        | Meaning::No
        | Meaning::Phone(_)
        | Meaning::Done
        | Meaning::CannotForward
        | Meaning::Network(_)
        | Meaning::TestsForwarding
        | Meaning::Thanks
        | Meaning::Greeting
        | Meaning::TooLong
        | Meaning::Unclear => None,
    }
}

/// Decides a text that a person has to answer.
fn needs_person(client: &Client, meaning: &Meaning) -> Option<Decision> {
    let stay = Decision::nothing(client);
    // At COMPLETE nothing is asked.
    let place = Some(asked_in_short(client)).filter(|_| client.state != State::Complete);
    let passed_on = || wording::question_passed_on(place.clone());
    if *meaning == Meaning::Question {
        Some(stay.text(passed_on()).concern(Concern::QuestionAsked))
    } else if *meaning == Meaning::AsksHelp {
        Some(stay.text(wording::help_offered(place.clone())).concern(Concern::HelpWanted))
    } else if *meaning == Meaning::Doubt {
        // A client who is live knows what JobRun is.
        let text = if client.state == State::Complete { passed_on() } else { wording::doubt_answered() };
        Some(stay.text(text).concern(Concern::DoubtsUs))
    } else {
        None
    }
}

/// Opts the client out. The operator is alerted if the same text cancels the subscription.
pub(crate) fn opt_out(client: &Client, body: &str) -> Decision {
    let out = Decision::nothing(client).opt(OptChange::Out);
    let cancels = client.may_be_charged() && answer::wants_to_cancel(body);
    if cancels { out.concern(Concern::CancelAsked) } else { out }
}

/// Tells a client in a country without numbers so, before it is asked to pay.
fn out_of_region(client: &Client, facts: &Facts<'_>) -> Option<Decision> {
    let before_payment = client.state <= State::S5ConfirmLive && !client.payment_active && client.number.is_none();
    (!facts.region_served && before_payment).then(|| Decision::nothing(client).text(wording::no_numbers_there()))
}

fn asked_terms(client: &Client) -> Decision {
    Decision::nothing(client).text(wording::terms(asked_in_short(client)))
}

/// Decides a text that arrived before the open question was asked and is not plainly its answer. Also decides a repeat of the text
/// that led to the question.
fn too_early(client: &Client, body: &str, meaning: &Meaning, received_at: DateTime<Utc>) -> Option<Decision> {
    let mut stay = Decision::nothing(client);
    // It asks for the instructions again, or for those of another phone, and moves nothing.
    if matches!(client.state, State::S7FwdSent | State::S8FwdConfirm) && matches!(meaning, Meaning::Phone(_)) {
        return None;
    }
    // "back" twice goes back two questions.
    if *meaning == Meaning::Back {
        return None;
    }
    let is_repeat =
        client.exchange.led_by.as_ref().is_some_and(|(led_by, at)| {
            answer::is_the_same(led_by, body) && (received_at - *at).abs() < REPEATED_WITHIN
        });
    let came_before = client.exchange.asked_at.is_some_and(|asked_at| received_at <= asked_at);
    let has_crossed = came_before && !answer::is_plain(meaning, body);
    match (is_repeat, has_crossed) {
        (false, false) => None,
        (true, _) => Some(stay.text(wording::reminder(client))),
        (false, true) => {
            let first = stay.exchange.crossed == 0;
            stay.exchange.crossed += 1;
            Some(stay.text(if first { wording::crossed(asked_again(client)) } else { wording::reminder(client) }))
        }
    }
}

/// Goes back to the last question. A payment and a number stay as they are.
fn go_back(client: &Client, meaning: &Meaning) -> Option<Decision> {
    let pays = client.may_be_charged();
    let before = match client.state {
        State::S2BusinessName => Some(State::S1BusinessTypeLocation),
        State::S3OwnerName => Some(State::S2BusinessName),
        State::S4NotificationPref => Some(State::S3OwnerName),
        State::S5ConfirmLive if !pays => Some(State::S4NotificationPref),
        State::S7FwdSent => Some(State::S6PhoneType),
        State::S8FwdConfirm => Some(State::S7FwdSent),
        State::S1BusinessTypeLocation
        | State::S5ConfirmLive
        | State::S6PhoneType
        | State::S9TestCall
        | State::Complete => None,
    };
    if *meaning != Meaning::Back {
        return None;
    }
    let Some(before) = before else {
        return Some(Decision::nothing(client).text(open_question(client)));
    };
    let there = Client { state: before, ..client.clone() };
    Some(Decision::nothing(client).to(before).text(wording::reminder(&there)))
}

fn answer_question(client: &Client, meaning: Meaning, facts: &Facts<'_>) -> Step {
    match client.state {
        State::S1BusinessTypeLocation => trade_and_place(client, &meaning, facts).into(),
        State::S2BusinessName => business_name(client, &meaning, facts).into(),
        State::S3OwnerName => owner_name(client, &meaning, facts).into(),
        State::S4NotificationPref => notification_pref(client, &meaning, facts).into(),
        State::S5ConfirmLive => confirm_live(client, &meaning, facts),
        State::S6PhoneType => phone_type(client, &meaning, facts),
        State::S7FwdSent => forwarding_sent(client, &meaning, facts),
        State::S8FwdConfirm => test_call(client, &meaning, facts),
        State::Complete if meaning == Meaning::TestsForwarding && client.number.is_some() => {
            forwarding_checks::begin_test(client, facts).into()
        }
        State::S9TestCall | State::Complete => repeat_question(client, &meaning, facts).into(),
    }
}

/// Stores an answer, and asks the next question.
fn store_answer(client: &Client, keep: impl FnOnce(&mut Collected), next: State, ask: Text) -> Decision {
    let mut collected = client.collected.clone();
    keep(&mut collected);
    Decision::nothing(client).collect(collected).to(next).text(ask)
}

fn trade_and_place(client: &Client, meaning: &Meaning, facts: &Facts<'_>) -> Decision {
    let keep = |text: &str| {
        let text = text.to_owned();
        move |collected: &mut Collected| collected.business_type_location = Some(text)
    };
    if let Meaning::TradeAndPlace(text) = meaning {
        store_answer(client, keep(text), State::S2BusinessName, wording::ask_business_name())
    } else if let Meaning::Half(half) = meaning {
        let is_news = half_known(client).as_ref() != Some(half);
        let decision = store_answer(client, keep(half.as_str()), client.state, wording::ask_other_half(half));
        if is_news { end_misfits(decision) } else { repeat_question(client, &Meaning::Unclear, facts) }
    } else {
        repeat_question(client, meaning, facts)
    }
}

fn business_name(client: &Client, meaning: &Meaning, facts: &Facts<'_>) -> Decision {
    if let Meaning::BusinessName(name) = meaning {
        let keep = |collected: &mut Collected| collected.business_name = Some(name.clone());
        store_answer(client, keep, State::S3OwnerName, wording::ask_owner_name())
    } else if *meaning == Meaning::NoBusinessName {
        end_misfits(Decision::nothing(client).text(wording::own_name_will_do()))
    } else {
        repeat_question(client, meaning, facts)
    }
}

fn owner_name(client: &Client, meaning: &Meaning, facts: &Facts<'_>) -> Decision {
    if let Meaning::OwnerName(name) = meaning {
        let keep = |collected: &mut Collected| collected.owner_name = Some(name.clone());
        store_answer(client, keep, State::S4NotificationPref, wording::ask_notification_pref())
    } else {
        repeat_question(client, meaning, facts)
    }
}

fn notification_pref(client: &Client, meaning: &Meaning, facts: &Facts<'_>) -> Decision {
    if *meaning == Meaning::Sms {
        let keep = |collected: &mut Collected| collected.notification_pref = Some("SMS".to_owned());
        store_answer(client, keep, State::S5ConfirmLive, wording::ask_confirm_live())
    } else {
        repeat_question(client, meaning, facts)
    }
}

fn confirm_live(client: &Client, meaning: &Meaning, facts: &Facts<'_>) -> Step {
    if *meaning == Meaning::Yes {
        step_that_ends_misfits(gate(client, facts, |number| through_the_gate(client, number)))
    } else if *meaning == Meaning::No {
        end_misfits(Decision::nothing(client).text(wording::no_hurry())).into()
    } else {
        repeat_question(client, meaning, facts).into()
    }
}

fn phone_type(client: &Client, meaning: &Meaning, facts: &Facts<'_>) -> Step {
    if let Meaning::Phone(phone_type) = meaning {
        step_that_ends_misfits(instructions(client, *phone_type, facts))
    } else if *meaning == Meaning::Yes {
        step_that_ends_misfits(ready_for_phone_type(client, facts))
    } else if *meaning == Meaning::Done && client.number.is_some() && client.collected.phone_type.is_some() {
        // A client who went back has had the instructions, and a reminder repeats them.
        Decision::nothing(client).to(State::S8FwdConfirm).text(wording::ask_test_call()).into()
    } else {
        repeat_question(client, meaning, facts).into()
    }
}

fn forwarding_sent(client: &Client, meaning: &Meaning, facts: &Facts<'_>) -> Step {
    if *meaning == Meaning::Done {
        Decision::nothing(client).to(State::S8FwdConfirm).text(wording::ask_test_call()).into()
    } else if let Meaning::Phone(phone_type) = meaning {
        // A client who chose the wrong phone gets the right instructions.
        step_that_ends_misfits(instructions(client, *phone_type, facts))
    } else {
        another_way(client, meaning, facts).into()
    }
}

/// Waits for the test call. Until it comes, a client can choose another phone, or hear of another way.
fn test_call(client: &Client, meaning: &Meaning, facts: &Facts<'_>) -> Step {
    if let Meaning::Phone(phone_type) = meaning {
        step_that_ends_misfits(instructions(client, *phone_type, facts))
    } else {
        another_way(client, meaning, facts).into()
    }
}
