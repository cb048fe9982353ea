//! The payment gate: who pays gets a number, and then the next question.

use super::decision::{Decision, Facts, Step};
use crate::{Allocation, Client, Collected, Payment, PhoneType, State, journal, wording};

/// The payment gate and the allocation behind it. Only a client to whom the gate is open gets a number.
pub(crate) fn gate(client: &Client, facts: &Facts<'_>, passed: impl FnOnce(&crate::E164) -> Decision) -> Step {
    let stay = Decision::nothing(client);
    if !client.payment_active {
        return payment_missing(client, facts).into();
    }
    let Some(allocation) = &facts.allocation else {
        return Step::AskPool;
    };
    let mut decision = match allocation {
        Allocation::Assigned(number) | Allocation::AlreadyAssigned(number) => passed(number),
        Allocation::PoolEmpty { told_late } => stay.text(wording::no_number_yet(*told_late)),
    };
    let rest = std::mem::replace(&mut decision.journal, journal::gate_passed(client, allocation, facts.now));
    decision.journal(rest).into()
}

/// Returns the decision for a client at the payment gate who has just got its number.
pub(crate) fn through_the_gate(client: &Client, number: &crate::E164) -> Decision {
    Decision::nothing(client).to(State::S6PhoneType).text(wording::ask_phone_type(number))
}

/// Asks for the payment, unless it is on its way.
fn payment_missing(client: &Client, facts: &Facts<'_>) -> Decision {
    let stay = Decision::nothing(client);
    if client.payment == Payment::Awaited {
        return stay.text(wording::payment_awaited());
    }
    stay.journal(journal::payment_required(client, facts.now))
        .text(wording::payment_required(&wording::payment_link(facts.payment_link, client)))
}

/// Decides READY at S6: goes on if the kind of phone is known, and asks for it again otherwise.
pub(crate) fn ready_for_phone_type(client: &Client, facts: &Facts<'_>) -> Step {
    if client.number.is_none() {
        return gate(client, facts, |number| with_number(client, number));
    }
    match client.collected.phone_type {
        Some(phone_type) => instructions(client, phone_type, facts),
        None => Decision::nothing(client).text(wording::reminder(client)).into(),
    }
}

/// Returns the decision for a client at S6 who has just got its number.
pub(crate) fn with_number(client: &Client, number: &crate::E164) -> Decision {
    match client.collected.phone_type {
        Some(phone_type) => send_instructions(client, phone_type, number),
        None => Decision::nothing(client).text(wording::ask_phone_type(number)),
    }
}

/// Allocates the number that the client was told is on its way. It gets a text only if no number is left.
pub(super) fn number_in_the_background(client: &Client, facts: &Facts<'_>) -> Step {
    let stay = Decision::nothing(client);
    if client.number.is_some() || !client.payment_active {
        return stay.into();
    }
    let Some(allocation) = &facts.allocation else {
        return Step::AskPool;
    };
    let decision = stay.journal(journal::allocated_in_the_background(client, allocation, facts.now));
    match allocation {
        Allocation::Assigned(_) | Allocation::AlreadyAssigned(_) => decision.into(),
        Allocation::PoolEmpty { told_late } => decision.text(wording::no_number_yet(*told_late)).into(),
    }
}

/// Sends the forwarding instructions. Without a number to forward to, the number is allocated first.
pub(crate) fn instructions(client: &Client, phone_type: PhoneType, facts: &Facts<'_>) -> Step {
    if let Some(number) = &client.number {
        return send_instructions(client, phone_type, number).into();
    }
    if !client.payment_active {
        return gate(client, facts, |number| with_number(client, number));
    }
    let collected = Collected { phone_type: Some(phone_type), ..client.collected.clone() };
    Decision::nothing(client)
        .collect(collected)
        .to(State::S6PhoneType)
        .journal(journal::blocked_without_number(client, facts.now))
        .text(wording::assigning_number())
        .number_due()
        .into()
}

fn send_instructions(client: &Client, phone_type: PhoneType, number: &crate::E164) -> Decision {
    let collected = Collected { phone_type: Some(phone_type), ..client.collected.clone() };
    Decision::nothing(client)
        .collect(collected)
        .to(State::S7FwdSent)
        .journal(journal::forwarding_instructions(number.as_str()))
        .text(wording::forwarding_instructions(phone_type, number))
}
