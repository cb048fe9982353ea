//! The open question, and texts that do not fit it.

use super::decision::{Concern, Decision, Facts, Step};
use crate::answer::{Half, Meaning};
use crate::network::NetworkQuestion;
use crate::wording::{self, Text};
use crate::words::Words;
use crate::{Client, State};

/// After this many texts in a row that fit no question, a person is offered.
pub const MISFITS_MAX: u32 = 3;

/// Returns the half of the answer to S1, if only a half is known.
pub(crate) fn half_known(client: &Client) -> Option<Half> {
    let is_open = client.state == State::S1BusinessTypeLocation;
    client.collected.business_type_location.as_deref().filter(|_| is_open).and_then(Half::of)
}

/// Returns the open question. At S1 with half an answer, it asks for the other half.
pub(crate) fn open_question(client: &Client) -> Text {
    half_known(client).as_ref().map_or_else(|| wording::reminder(client), wording::ask_other_half)
}

/// Returns the words that ask the open question again within another text: without the welcome at S1, and with the question for the
/// network if that is asked. At COMPLETE they say that nothing is left to do.
pub(crate) fn asked_again(client: &Client) -> Words {
    if client.state == State::S1BusinessTypeLocation && half_known(client).is_none() {
        wording::trade_and_place_again()
    } else if asks_network(client) {
        wording::ask_network().words
    } else {
        open_question(client).words
    }
}

/// As [`asked_again`], and no longer than a reply to another text has room for in one segment.
pub(crate) fn asked_in_short(client: &Client) -> Words {
    match client.state {
        State::S6PhoneType => wording::phone_type_in_short(),
        State::S7FwdSent | State::S8FwdConfirm if asks_network(client) => wording::network_in_short(),
        State::S7FwdSent => wording::forwarding_in_short(),
        State::S8FwdConfirm => wording::test_call_in_short(),
        State::S1BusinessTypeLocation
        | State::S2BusinessName
        | State::S3OwnerName
        | State::S4NotificationPref
        | State::S5ConfirmLive
        | State::S9TestCall
        | State::Complete => asked_again(client),
    }
}

/// Returns whether the client is asked which network its phone is with.
pub(crate) fn asks_network(client: &Client) -> bool {
    let waits = matches!(client.state, State::S7FwdSent | State::S8FwdConfirm);
    waits && client.collected.network == Some(NetworkQuestion::Open)
}

/// Ends a row of misfits. An answer that fits does so even if it moves nothing.
pub(crate) fn end_misfits(mut decision: Decision) -> Decision {
    decision.exchange.misfits = 0;
    decision
}

pub(crate) fn step_that_ends_misfits(step: Step) -> Step {
    match step {
        Step::Decided(decision) => end_misfits(*decision).into(),
        Step::AskPool => Step::AskPool,
    }
}

/// Repeats the open question after a text that does not fit it. The third misfit in a row gets the offer of a person instead.
pub(crate) fn repeat_question(client: &Client, meaning: &Meaning, facts: &Facts<'_>) -> Decision {
    let mut stay = Decision::nothing(client);
    if is_misfit(client, meaning) {
        stay.exchange.misfits = stay.exchange.misfits.saturating_add(1);
        if stay.exchange.misfits == MISFITS_MAX {
            // No answer ends the row at COMPLETE, so the count starts again.
            if client.state == State::Complete {
                stay.exchange.misfits = 0;
            }
            return stay.text(wording::offer_person(facts.switches.cases)).concern(Concern::Stuck);
        }
    }
    let again = open_question(client);
    stay.text(if *meaning == Meaning::TooLong { wording::too_long(&again) } else { again })
}

/// Returns whether a text that moves nothing shows a misunderstanding between us and its sender. At COMPLETE nothing is asked, but
/// a client who pays may be in trouble.
fn is_misfit(client: &Client, meaning: &Meaning) -> bool {
    let state = client.state;
    let asks = state != State::Complete;
    match meaning {
        Meaning::Unclear | Meaning::TooLong => asks || client.may_be_charged(),
        Meaning::CannotForward => true,
        // Every client begins with a greeting.
        Meaning::Greeting => asks && state != State::S1BusinessTypeLocation,
        // After the instructions there is no hurry.
        Meaning::No => asks && state < State::S7FwdSent,
        Meaning::Reaction
        | Meaning::NewPhone(_)
        | Meaning::AutoReply
        | Meaning::Away
        | Meaning::Refusal
        | Meaning::NotInterested
        | Meaning::CancelSubscription
        | Meaning::AsksHowToCancel
        | Meaning::Refund
        | Meaning::AsksTerms
        | Meaning::Doubt
        | Meaning::AsksHelp
        | Meaning::Question
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
        | Meaning::Phone(_)
        | Meaning::Done
        | Meaning::Network(_)
        | Meaning::TestsForwarding
        | Meaning::Thanks => false,
    }
}
