//! Decides the events that begin, interrupt and end a client's service: payments, and the loss of its number.
//!
//! The decision is the same in every state of the conversation, but a payment lets a client through that waits at the payment gate.
//! `payment/mod.rs` computes the status of the payment.

use super::decision::{Decision, Facts, Step};
use super::payment_gate::{gate, through_the_gate, with_number};
use crate::{Allocation, Client, E164, Payment, State, wording};

/// Decides a payment status. It changes something only if it differs from the status about which the client was last told.
pub(crate) fn payment_stands(client: &Client, payment: Payment, facts: &Facts<'_>) -> Step {
    let noted = Decision::nothing(client).payment(payment);
    if payment == client.payment {
        return Decision::nothing(client).into();
    }
    let link = || wording::payment_link(facts.payment_link, client);
    match (client.payment, payment) {
        (_, Payment::Active | Payment::PastDue) => paid(client, payment, facts),
        // The service ends even if another payment is on its way: until it arrives, nothing is paid.
        (Payment::Active | Payment::PastDue, _) => ended(client, payment, facts).into(),
        // The operator has opened the payment gate meanwhile.
        (Payment::Awaited, Payment::Ended | Payment::None) if client.payment_active => noted.into(),
        (Payment::Awaited, Payment::Ended | Payment::None) => noted.text(wording::payment_failed(&link())).into(),
        (_, Payment::Ended) => ended(client, payment, facts).into(),
        (_, Payment::Awaited) if !client.payment_active => noted.text(wording::payment_awaited()).into(),
        (_, Payment::Awaited | Payment::None) => noted.into(),
    }
}

/// Lets a client through that waits at the payment gate. Tells a client whose renewal has failed, once for each failure.
fn paid(client: &Client, payment: Payment, facts: &Facts<'_>) -> Step {
    let serve = |decision: Decision| {
        let is_past_due = payment == Payment::PastDue;
        let decision = decision.payment(payment).payment_active(true);
        if is_past_due { decision.text(wording::payment_overdue(client.number.is_some())) } else { decision }
    };
    serve_payer(client, facts, serve)
}

/// Lets a client who pays from now on through the payment gate, if it waits there. `serve` adds what the payment changes.
pub(crate) fn serve_payer(client: &Client, facts: &Facts<'_>, serve: impl Fn(Decision) -> Decision) -> Step {
    // A client that was served before is past the payment gate, or is on the waiting list and has been told so.
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

/// Ends the service: the client gives up its number, and goes back to the payment gate if it was past it.
fn ended(client: &Client, payment: Payment, facts: &Facts<'_>) -> Decision {
    let link = wording::payment_link(facts.payment_link, client);
    Decision::nothing(client)
        .payment(payment)
        .payment_active(false)
        .gives_up_number()
        .to(client.state.min(State::S5ConfirmLive))
        .text(wording::service_ended(client.number.is_some(), client.collected.phone_type, &link))
}

/// The operator took the number `lost` from the client. A client who has paid gets another number, or waits for one, and sets up
/// forwarding again, because calls to the old number reach no client or another one.
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
        // The operator has assigned a number meanwhile.
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
