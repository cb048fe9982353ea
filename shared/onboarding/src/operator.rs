//! Decides the actions of operators on a client. An action that does not fit is refused, and changes nothing.

use super::action::{Action, REPLY_CHARS_MAX, REPLY_SILENCE_MINUTES, Refused};
use super::decision::{Decision, Facts, OptChange, Step};
use super::open_question::{end_misfits, open_question};
use super::service::serve_payer;
use crate::payment_gate::{gate, through_the_gate, with_number};
use crate::takeover::Takeover;
use crate::{ANSWER_CHARS_MAX, Allocation, Client, Collected, Field, State, cancelling, wording};

/// Decides an action of the operator `by`. While another operator has taken the client over, `by` can only take it over in turn.
pub(crate) fn decide_action(client: &Client, by: &str, action: &Action, facts: &Facts<'_>) -> Step {
    let is_taking_over = matches!(action, Action::TakeOver { .. });
    if !is_taking_over && client.takeover_at(facts.now).is_some_and(|takeover| takeover.by != by) {
        return refuse(client, Refused::TakenOverByOther).into();
    }
    match action {
        Action::Reply { body } => reply(client, by, body, facts).into(),
        Action::TakeOver { from, silence_minutes } => {
            take_over(client, by, from.as_deref(), *silence_minutes, facts).into()
        }
        Action::HandBack { ask_again } => hand_back(client, *ask_again, facts).into(),
        Action::MoveTo { state, from } => move_to(client, *state, *from, facts).into(),
        Action::Correct { field, text } => correct(client, *field, text).into(),
        Action::MarkPaid if client.payment_active => refuse(client, Refused::AlreadySo).into(),
        Action::MarkPaid => serve_payer(client, facts, |decision| decision.payment_active(true)),
        Action::GiveNumber => give_number(client, facts),
        Action::TakeNumber { number } => take_number(client, number.as_deref()).into(),
        Action::AskAgain => texted(client, || Decision::nothing(client).text(question_of(client, facts))).into(),
        Action::OptIn if !client.opted_out => refuse(client, Refused::AlreadySo).into(),
        Action::Cancel => cancelling::cancel(client, facts).unwrap_or_else(|refused| refuse(client, refused)).into(),
        Action::OptIn => Decision::nothing(client).opt(OptChange::In).text(question_of(client, facts)).into(),
    }
}

fn refuse(client: &Client, refused: Refused) -> Decision {
    Decision { refused: Some(refused), ..Decision::nothing(client) }
}

/// Returns the decision of `decide` for a client that may be texted.
fn texted(client: &Client, decide: impl FnOnce() -> Decision) -> Decision {
    match (client.opted_out, client.unreachable) {
        (true, _) => refuse(client, Refused::OptedOut),
        (false, true) => refuse(client, Refused::Unreachable),
        (false, false) => decide(),
    }
}

/// Returns the text that asks the open question again. At the payment gate it has the payment link in it.
fn question_of(client: &Client, facts: &Facts<'_>) -> wording::Text {
    if client.state == State::S5ConfirmLive && !client.may_be_charged() {
        return wording::payment_required(&wording::payment_link(facts.payment_link, client));
    }
    if let (State::S7FwdSent, Some(phone_type), Some(number)) =
        (client.state, client.collected.phone_type, &client.number)
    {
        return wording::forwarding_instructions(phone_type, number);
    }
    open_question(client)
}

fn reply(client: &Client, by: &str, body: &str, facts: &Facts<'_>) -> Decision {
    let body = body.trim();
    if body.is_empty() || body.chars().count() > REPLY_CHARS_MAX {
        return refuse(client, Refused::BadText);
    }
    let silence_minutes =
        client.takeover_at(facts.now).map_or(Some(REPLY_SILENCE_MINUTES), |takeover| takeover.silence_minutes);
    let takeover = Takeover { by: by.to_owned(), last_at: facts.now, silence_minutes };
    texted(client, || Decision::nothing(client).take_over(takeover).text(wording::operator_reply(body)))
}

fn take_over(
    client: &Client,
    by: &str,
    from: Option<&str>,
    silence_minutes: Option<u32>,
    facts: &Facts<'_>,
) -> Decision {
    let holder = client.takeover_at(facts.now).map(|takeover| takeover.by.as_str());
    // Of two operators who take over at once, the second has not seen the first.
    if holder.is_some_and(|holder| holder != by && from != Some(holder)) {
        return refuse(client, Refused::TakenOverByOther);
    }
    let takeover = Takeover { by: by.to_owned(), last_at: facts.now, silence_minutes };
    end_misfits(Decision::nothing(client).take_over(takeover))
}

fn hand_back(client: &Client, ask_again: bool, facts: &Facts<'_>) -> Decision {
    if client.takeover_at(facts.now).is_none() {
        return refuse(client, Refused::NotTakenOver);
    }
    let back = Decision { takeover: None, ..end_misfits(Decision::nothing(client)) };
    if ask_again { back.text(question_of(client, facts)) } else { back }
}

/// Moves the client, unless it is not at `from` any more, the state that the operator saw.
fn move_to(client: &Client, state: State, from: Option<State>, facts: &Facts<'_>) -> Decision {
    let (is_past_gate, needs_phone_type) = (state > State::S5ConfirmLive, state == State::S7FwdSent);
    let lacks = [
        (state == client.state, Refused::AlreadySo),
        (from.is_some_and(|from| from != client.state), Refused::StateChanged),
        (is_past_gate && !client.payment_active, Refused::NotPaid),
        (is_past_gate && client.number.is_none(), Refused::NoNumber),
        (needs_phone_type && client.collected.phone_type.is_none(), Refused::NoPhoneType),
    ];
    if let Some((_, refused)) = lacks.into_iter().find(|(is_lacking, _)| *is_lacking) {
        return refuse(client, refused);
    }
    let there = Client { state, ..client.clone() };
    end_misfits(Decision::nothing(client).to(state).text(question_of(&there, facts)))
}

/// Corrects an answer, and says nothing about it: the operator does, if it has to be said.
fn correct(client: &Client, field: Field, text: &str) -> Decision {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > ANSWER_CHARS_MAX || text.chars().any(char::is_control) {
        return refuse(client, Refused::BadText);
    }
    let mut collected: Collected = client.collected.clone();
    *collected.answer_mut(field) = Some(text.to_owned());
    if collected == client.collected {
        return refuse(client, Refused::AlreadySo);
    }
    Decision::nothing(client).collect(collected)
}

fn give_number(client: &Client, facts: &Facts<'_>) -> Step {
    if client.number.is_some() {
        return refuse(client, Refused::AlreadySo).into();
    }
    if !client.payment_active {
        return refuse(client, Refused::NotPaid).into();
    }
    if matches!(facts.allocation, Some(Allocation::PoolEmpty { .. })) {
        return refuse(client, Refused::NoNumberLeft).into();
    }
    gate(client, facts, |number| match client.state {
        State::S5ConfirmLive => through_the_gate(client, number),
        State::S6PhoneType => with_number(client, number),
        State::S1BusinessTypeLocation
        | State::S2BusinessName
        | State::S3OwnerName
        | State::S4NotificationPref
        | State::S7FwdSent
        | State::S8FwdConfirm
        | State::S9TestCall
        | State::Complete => Decision::nothing(client),
    })
}

/// Takes the number, unless it is not the one that the operator saw. An event of its own then decides what the client gets instead.
fn take_number(client: &Client, seen: Option<&str>) -> Decision {
    let Some(number) = &client.number else { return refuse(client, Refused::NoNumber) };
    if seen.is_some_and(|seen| seen != number.as_str()) {
        return refuse(client, Refused::NumberChanged);
    }
    Decision { takes_number: Some(number.clone()), ..Decision::nothing(client) }
}
