//! What begins, interrupts and ends a client's service: its payment, and the loss of its number.
//!
//! The same in every state of the conversation, except for who waits at the gate: it is let through by the payment itself.
//! How a payment stands is worked out elsewhere (`payment.rs`), and known here.

use crate::decide::{Decision, Facts, Step, gate, through_the_gate, with_number};
use crate::wording;
use crate::{Allocation, Client, E164, Payment, State};

/// The client's payment stands so. That is news only if it stood otherwise when the client last heard of it.
pub(crate) fn payment_stands(client: &Client, payment: Payment, facts: &Facts<'_>) -> Step {
    let noted = Decision::nothing(client).payment(payment);
    if payment == client.payment {
        return Decision::nothing(client).into();
    }
    let link = || wording::payment_link(facts.payment_link, client);
    match (client.payment, payment) {
        (_, Payment::Active | Payment::PastDue) => paid(client, payment, facts),
        // Even if another payment is on its way: until it comes, nothing is paid for.
        (Payment::Active | Payment::PastDue, _) => ended(client, payment, facts).into(),
        // An operator has opened the gate meanwhile.
        (Payment::Awaited, Payment::Ended | Payment::None) if client.payment_active => noted.into(),
        (Payment::Awaited, Payment::Ended | Payment::None) => noted.text(wording::payment_failed(&link())).into(),
        (_, Payment::Ended) => ended(client, payment, facts).into(),
        (_, Payment::Awaited) if !client.payment_active => noted.text(wording::payment_awaited()).into(),
        (_, Payment::Awaited | Payment::None) => noted.into(),
    }
}

/// Whoever waits at the gate goes on; whose renewal has failed is told, once for each time.
fn paid(client: &Client, payment: Payment, facts: &Facts<'_>) -> Step {
    let serve = |decision: Decision| {
        let told = payment == Payment::PastDue;
        let decision = decision.payment(payment).payment_active(true);
        if told { decision.text(wording::payment_overdue(client.number.is_some())) } else { decision }
    };
    // Whoever was served before has been let through, or stands on the waiting list and has been told so.
    if client.payment.is_served() {
        return serve(Decision::nothing(client)).into();
    }
    let payer = Client { payment_active: true, ..client.clone() };
    let step = match client.state {
        State::S5ConfirmLive => gate(&payer, facts, |number| through_the_gate(client, number)),
        State::S6PhoneType if client.number.is_none() => gate(&payer, facts, |number| with_number(client, number)),
        State::S1BusinessTypeLocation
        | State::S2BusinessName
        | State::S3OwnerName
        | State::S4NotificationPref
        | State::S6PhoneType
        | State::S7FwdSent
        | State::S8FwdConfirm
        | State::S9TestCall
        | State::Complete => Decision::nothing(client).into(),
    };
    match step {
        Step::AskPool => Step::AskPool,
        Step::Decided(decision) => serve(*decision).into(),
    }
}

/// The number is given up, and whoever had got beyond the gate stands before it again.
fn ended(client: &Client, payment: Payment, facts: &Facts<'_>) -> Decision {
    let link = wording::payment_link(facts.payment_link, client);
    Decision::nothing(client)
        .payment(payment)
        .payment_active(false)
        .gives_up_number()
        .to(client.state.min(State::S5ConfirmLive))
        .text(wording::service_ended(client.number.is_some(), &link))
}

/// The number `lost` was taken from the client by hand. Whoever has paid is given another, or waits for one, and sets up
/// forwarding again: calls that still go to the old number reach nobody, or somebody else.
pub(crate) fn number_lost(client: &Client, lost: &E164, facts: &Facts<'_>) -> Step {
    if client.state < State::S6PhoneType {
        return Decision::nothing(client).into();
    }
    let at_gate = Client { state: State::S5ConfirmLive, ..client.clone() };
    let changed = |number: &E164| {
        let kept = number == lost;
        let with_another = || Decision::nothing(&at_gate).to(State::S6PhoneType).text(wording::number_changed(number));
        if kept { Decision::nothing(client) } else { with_another() }
    };
    match (&client.number, &facts.allocation) {
        // It was given one by hand meanwhile.
        (Some(number), _) => changed(number).into(),
        (None, _) if !client.payment_active => {
            Decision::nothing(&at_gate).text(wording::number_taken_back(false)).into()
        }
        (None, Some(Allocation::PoolEmpty { .. })) => match gate(&at_gate, facts, changed) {
            Step::Decided(waits) => waits.instead(wording::number_taken_back(true)).into(),
            Step::AskPool => Step::AskPool,
        },
        (None, _) => gate(&at_gate, facts, changed),
    }
}
