//! Helps a client who cannot set up forwarding: the codes first, then what its network needs, then a person.
//!
//! A landline has a provider, and is never asked for its network.

use super::decision::{Decision, Facts, Step};
use super::open_question::{asks_network, repeat_question};
use crate::answer::Meaning;
use crate::network::{Network, NetworkQuestion};
use crate::wording::{self, Text};
use crate::{Client, PhoneType, TextKind};

/// Decides a text at S7 or S8 that is no answer there. A client who cannot set up forwarding is told the codes, then asked for its
/// network. A third time in a row, it is offered a person.
pub(crate) fn another_way(client: &Client, meaning: &Meaning, facts: &Facts<'_>) -> Decision {
    if let (Meaning::Network(network), Some(phone_type), Some(number)) =
        (meaning, client.collected.phone_type, &client.number)
    {
        // The answer ends no row of misfits: it is not known yet whether it helps.
        let answered = remember(Decision::nothing(client), NetworkQuestion::Answered(*network));
        return answered.text(way_of(phone_type, Some(*network), number));
    }
    let decision = repeat_question(client, meaning, facts);
    if decision.concern.is_some() {
        return close_question(decision);
    }
    let (Some(number), Some(phone_type)) = (&client.number, client.collected.phone_type) else { return decision };
    if *meaning != Meaning::CannotForward {
        return if asks_network(client) { decision.instead(wording::ask_network()) } else { decision };
    }
    let is_mobile = phone_type != PhoneType::Landline;
    match client.collected.network.filter(|_| is_mobile) {
        Some(NetworkQuestion::AskNext | NetworkQuestion::Open) => {
            remember(decision.instead(wording::ask_network()), NetworkQuestion::Open)
        }
        Some(NetworkQuestion::Answered(network)) => decision.instead(way_of(phone_type, Some(network), number)),
        Some(NetworkQuestion::Closed) | None => {
            let told = decision.instead(way_of(phone_type, None, number));
            if is_mobile { remember(told, NetworkQuestion::AskNext) } else { told }
        }
    }
}

/// Returns the text that a client who could not set up forwarding has to act on, for a reminder.
pub(crate) fn open_way(client: &Client) -> Option<Text> {
    let (phone_type, number) = (client.collected.phone_type?, client.number.as_ref()?);
    let network = match client.collected.network {
        Some(NetworkQuestion::Open) => return Some(wording::ask_network()),
        Some(NetworkQuestion::Answered(network)) => Some(network),
        Some(NetworkQuestion::AskNext | NetworkQuestion::Closed) | None => None,
    };
    Some(way_of(phone_type, network, number))
}

/// After a move, or with new instructions, the network is not asked for any more: "3" is the third phone again.
pub(crate) fn with_network_question(client: &Client, step: Step) -> Step {
    match step {
        Step::Decided(decision) => {
            let has_instructions = decision.texts.iter().any(|text| text.kind == TextKind::ForwardingInstructions);
            let goes_on = decision.next != client.state || has_instructions;
            if goes_on { close_question(*decision).into() } else { Step::Decided(decision) }
        }
        Step::AskPool => Step::AskPool,
    }
}

fn way_of(phone_type: PhoneType, network: Option<Network>, number: &crate::E164) -> Text {
    match network.filter(|_| phone_type != PhoneType::Landline) {
        Some(network) => wording::forward_on_network(network, number),
        None => wording::forward_another_way(phone_type, number),
    }
}

fn close_question(decision: Decision) -> Decision {
    match decision.collected.network {
        Some(NetworkQuestion::AskNext | NetworkQuestion::Open) => remember(decision, NetworkQuestion::Closed),
        Some(NetworkQuestion::Closed | NetworkQuestion::Answered(_)) | None => decision,
    }
}

fn remember(mut decision: Decision, question: NetworkQuestion) -> Decision {
    decision.collected.network = Some(question);
    decision
}
