//! Decides the texts about a change of phone: the old number that a newcomer names, and the code that it gives.

use crate::decision::{Concern, Decision, Facts};
use crate::phone_change::{CodeReply, PhoneChangeStep, WRONG_TRIES_MAX, has_own_service};
use crate::{Client, E164, wording};

/// Decides that the sender names its old number. `None` if it is the number that it texts from.
pub(crate) fn asked(client: &Client, old: &E164, facts: &Facts<'_>) -> Option<Decision> {
    if *old == client.owner_phone {
        return None;
    }
    if has_own_service(client) || !facts.switches.phone_change {
        return Some(left_to_person(client));
    }
    let told = Decision::nothing(client).text(wording::phone_code_asked());
    Some(Decision { phone_change: Some(PhoneChangeStep::Asked(old.clone())), ..told })
}

fn left_to_person(client: &Client) -> Decision {
    Decision::nothing(client).text(wording::person_asked_for()).concern(Concern::PersonWanted)
}

/// Decides a code that the sender gives.
pub(crate) fn code_given(client: &Client, reply: &CodeReply, facts: &Facts<'_>) -> Decision {
    // It was sent before changes of phone were switched off.
    if !facts.switches.phone_change {
        return Decision { phone_change: Some(PhoneChangeStep::Over), ..left_to_person(client) };
    }
    let stay = Decision::nothing(client);
    let is_over = reply.received_at > reply.expires_at || reply.wrong_before >= WRONG_TRIES_MAX;
    let is_last = reply.wrong_before + 1 >= WRONG_TRIES_MAX;
    let (step, decision) = match (is_over, reply.is_right) {
        (true, _) => (PhoneChangeStep::Over, stay.text(wording::phone_code_over())),
        // A text about the change follows, once it is done.
        (false, true) => (PhoneChangeStep::Proved, stay),
        (false, false) if is_last => (PhoneChangeStep::Over, stay.text(wording::phone_code_over())),
        (false, false) => (PhoneChangeStep::WrongTry, stay.text(wording::phone_code_wrong())),
    };
    Decision { phone_change: Some(step), ..decision }
}
