//! Decides where the conversation goes next, and which effects follow.
//!
//! This file has the test call, opt-outs and reachability. `callers.rs` has the calls to a live number, `texts.rs` has the texts that clients send, `service.rs` the payments, and
//! `payment_gate.rs` the payment gate and the allocation. Nothing here fails: an event that makes no sense in a state changes
//! nothing. A text always gets a helpful reply, unless its sender wants none.

use chrono::{DateTime, Utc};

use super::decision::{Concern, Decision, Facts, OptChange, Step};
use super::open_question::open_question;
use super::payment_gate::number_in_the_background;
use crate::action::Action;
use crate::answer::{self, Keyword, keyword};
use crate::{
    Client, Event, Exchange, State, callers, forwarding_checks, forwarding_help, operator, phone_change_texts,
    reminders, service, text_back, texts, wording,
};

/// Decides what happens when `event` reaches `client`.
///
/// After [`Step::AskPool`], the caller calls again with the pool's reply in `facts`. The second call always decides.
#[must_use]
pub fn decide(client: &Client, event: &Event, facts: &Facts<'_>) -> Step {
    let step = match (change_reach(client, event), event) {
        (Some(decision), _) => decision.into(),
        (None, Event::Operator { by, action }) => operator::decide_action(client, by, action, facts),
        (None, Event::Text { body, .. }) if client.takeover_at(said_at(event, facts)).is_some() => {
            to_the_operator(client, body).into()
        }
        (None, Event::CodeReply(reply)) => phone_change_texts::code_given(client, reply, facts).into(),
        (None, Event::PaymentStands(payment)) => service::payment_stands(client, *payment, facts),
        (None, Event::NumberLost(number)) => service::number_lost(client, number, facts),
        (None, Event::ReminderDue(reminder)) => reminders::remind(client, reminder, facts).into(),
        (None, Event::ForwardingCheckDue(check)) => forwarding_checks::check(client, check, facts).into(),
        (None, _) => decide_in_state(client, event, facts),
    };
    let step = with_case(facts, forwarding_help::with_network_question(client, step));
    match (with_takeover(event, facts, with_exchange(client, event, facts, step)), event) {
        (Step::AskPool, _) => Step::AskPool,
        // An operator may opt a client in, and the text about it is the first that it gets.
        (Step::Decided(mut decision), Event::Operator { .. }) => {
            if (client.opted_out && decision.opt.is_none()) || client.unreachable {
                decision.texts.clear();
            }
            Step::Decided(decision)
        }
        // A text from the client proves that its phone is in reach.
        (Step::Decided(decision), Event::Text { .. }) if client.unreachable => decision.reachable(true).into(),
        (Step::Decided(mut decision), Event::CodeReply(_)) => {
            if client.opted_out {
                decision.texts.clear();
            }
            if client.unreachable { decision.reachable(true).into() } else { Step::Decided(decision) }
        }
        (Step::Decided(decision), Event::Text { .. }) => Step::Decided(decision),
        // Other events still move a client who has opted out or is unreachable, but no text is sent.
        (Step::Decided(mut decision), _) => {
            if client.opted_out || client.unreachable {
                decision.texts.clear();
            }
            Step::Decided(decision)
        }
    }
}

/// A concern of the client opens a case, if cases are on.
fn with_case(facts: &Facts<'_>, step: Step) -> Step {
    match step {
        Step::Decided(mut decision) => {
            decision.case = decision.concern.filter(|_| facts.switches.cases).map(Concern::case);
            Step::Decided(decision)
        }
        Step::AskPool => Step::AskPool,
    }
}

/// After a move another question is open. Notes when it was asked, and which text led to it.
fn with_exchange(client: &Client, event: &Event, facts: &Facts<'_>, step: Step) -> Step {
    let led_by = match event {
        Event::Text { body, received_at, .. } => Some((body.clone(), *received_at)),
        Event::CodeReply(_)
        | Event::CallArrived(_)
        | Event::CallEnded(_)
        | Event::MessageLeft(_)
        | Event::NumberDue
        | Event::OptedOut
        | Event::Unreachable
        | Event::Reached
        | Event::PaymentStands(_)
        | Event::NumberLost(_)
        | Event::ReminderDue(_)
        | Event::ForwardingCheckDue(_)
        | Event::Operator { .. } => None,
    };
    match step {
        Step::Decided(mut decision) if decision.next != client.state => {
            decision.exchange = Exchange { asked_at: Some(facts.asked_at), led_by, misfits: 0, crossed: 0 };
            Step::Decided(decision)
        }
        Step::Decided(_) | Step::AskPool => step,
    }
}

/// Returns when a text reached us, or the time of the decision. A text that had to wait is still for the operator to whom it was
/// sent.
fn said_at(event: &Event, facts: &Facts<'_>) -> DateTime<Utc> {
    if let Event::Text { received_at, .. } = event { (*received_at).min(facts.now) } else { facts.now }
}

/// Decides a text to an operator who has taken the client over. Only a refusal counts, as ever, and a wish to cancel.
fn to_the_operator(client: &Client, body: &str) -> Decision {
    let cancels = client.may_be_charged() && answer::wants_to_cancel(body);
    match (answer::refuses(body), cancels) {
        (true, _) => texts::opt_out(client, body),
        (false, true) => Decision::nothing(client).concern(Concern::CancelAsked),
        (false, false) => Decision::nothing(client),
    }
}

/// While an operator has taken the client over, it gets no automatic text but the news of missed calls, and its texts prolong the
/// takeover. A takeover that has ended is forgotten.
fn with_takeover(event: &Event, facts: &Facts<'_>, step: Step) -> Step {
    let Step::Decided(mut decision) = step else { return Step::AskPool };
    let said_at = said_at(event, facts);
    match decision.takeover.as_mut().filter(|takeover| takeover.is_on(said_at)) {
        None => decision.takeover = None,
        Some(takeover) => {
            if matches!(event, Event::Text { .. }) {
                takeover.last_at = takeover.last_at.max(said_at);
            }
            // An operator who asks for the question again, or cancels, wants the text.
            let is_asked_for = matches!(event, Event::Operator { action: Action::AskAgain | Action::Cancel, .. });
            decision.texts.retain(|text| is_asked_for || text.kind.is_sent_in_a_takeover());
        }
    }
    Step::Decided(decision)
}

fn decide_in_state(client: &Client, event: &Event, facts: &Facts<'_>) -> Step {
    match (event, client.state) {
        (Event::Text { body, received_at, .. }, _) => texts::decide_text(client, body, *received_at, facts),
        (Event::MessageLeft(message), _) => callers::message_left(client, message).into(),
        (Event::NumberDue, State::S6PhoneType) => number_in_the_background(client, facts),
        // A call proves the forwarding, so S7 does not wait for DONE.
        (Event::CallArrived(_) | Event::CallEnded(_), State::S7FwdSent | State::S8FwdConfirm | State::S9TestCall) => {
            advance_by_call(client, event, facts).into()
        }
        // The first report tells the owner, because the other may be lost. The once key of the text prevents a second.
        (Event::CallArrived(call), State::Complete) => {
            forwarding_checks::end_test(client, call, facts, || callers::missed_call(client, call, facts)).into()
        }
        // It may be the end of a call that came before a test was begun, so it ends none.
        (Event::CallEnded(call), State::Complete) => callers::missed_call(client, call, facts).into(),
        (
            Event::CodeReply(_)
            | Event::CallArrived(_)
            | Event::CallEnded(_)
            | Event::NumberDue
            | Event::OptedOut
            | Event::Unreachable
            | Event::Reached
            | Event::PaymentStands(_)
            | Event::NumberLost(_)
            | Event::ReminderDue(_)
            | Event::ForwardingCheckDue(_)
            | Event::Operator { .. },
            State::S1BusinessTypeLocation
            | State::S2BusinessName
            | State::S3OwnerName
            | State::S4NotificationPref
            | State::S5ConfirmLive
            | State::S6PhoneType
            | State::S7FwdSent
            | State::S8FwdConfirm
            | State::S9TestCall
            | State::Complete,
        ) => Decision::nothing(client).into(),
    }
}

/// Decides the events that change whether the client may and can be texted. They come first, in every state.
fn change_reach(client: &Client, event: &Event) -> Option<Decision> {
    let stay = Decision::nothing(client);
    match event {
        Event::Text { body, taken_for, .. } => opt_in_or_out(client, body, *taken_for),
        Event::OptedOut if client.opted_out => Some(stay),
        Event::OptedOut => Some(stay.opt(OptChange::Out)),
        Event::Unreachable if client.unreachable => Some(stay),
        Event::Unreachable => Some(stay.reachable(false)),
        Event::Reached if client.unreachable => Some(stay.reachable(true)),
        Event::Reached => Some(stay),
        Event::CodeReply(_)
        | Event::CallArrived(_)
        | Event::CallEnded(_)
        | Event::MessageLeft(_)
        | Event::NumberDue
        | Event::PaymentStands(_)
        | Event::NumberLost(_)
        | Event::ReminderDue(_)
        | Event::ForwardingCheckDue(_)
        | Event::Operator { .. } => None,
    }
}

/// Decides the keywords that stop and restart texts.
fn opt_in_or_out(client: &Client, body: &str, taken_for: Option<Keyword>) -> Option<Decision> {
    let stay = Decision::nothing(client);
    if client.opted_out {
        let back = taken_for == Some(Keyword::Start) || answer::asks_back_in(body);
        return Some(match () {
            () if back => stay.opt(OptChange::In).text(open_question(client)),
            // The client gets no text, but the operator can reach a paying client in another way.
            () if client.may_be_charged() && answer::wants_to_cancel(body) => stay.concern(Concern::CancelAsked),
            () => stay,
        });
    }
    // Twilio may take YES for START. From a client who has not opted out, YES answers the question.
    match taken_for.filter(|taken| *taken != Keyword::Start).or_else(|| keyword(body))? {
        // Twilio has replied already, and would refuse a text of ours.
        Keyword::Stop => Some(texts::opt_out(client, body)),
        Keyword::Start => Some(stay.text(open_question(client))),
        // Twilio replies to it.
        Keyword::Help => Some(stay),
    }
}

/// Decides a call on the client's number at S7 to S9. The end may be reported first, and proves the arrival.
fn advance_by_call(client: &Client, event: &Event, facts: &Facts<'_>) -> Decision {
    let stay = Decision::nothing(client);
    match event {
        Event::CallArrived(_) => stay.to(State::S9TestCall),
        Event::CallEnded(call) => {
            text_back::ask(client, facts, stay.to(State::Complete).text(wording::live().once_for(call)))
        }
        Event::Text { .. }
        | Event::CodeReply(_)
        | Event::MessageLeft(_)
        | Event::NumberDue
        | Event::OptedOut
        | Event::Unreachable
        | Event::Reached
        | Event::PaymentStands(_)
        | Event::NumberLost(_)
        | Event::ReminderDue(_)
        | Event::ForwardingCheckDue(_)
        | Event::Operator { .. } => stay,
    }
}
