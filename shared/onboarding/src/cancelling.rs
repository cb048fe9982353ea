//! Decides how a client cancels its subscription, and what it is told at the end of the time that it has paid for.

use crate::action::Refused;
use crate::decision::{Concern, Decision, Facts};
use crate::{Client, wording};

/// Decides that an operator cancels for a client. A client with a subscription gets the link at which it cancels by itself, if there
/// is one. In every other case, and for a client that cannot be texted, the operators are alerted that there is something to cancel.
///
/// # Errors
/// When there is nothing to cancel.
pub(crate) fn cancel(client: &Client, facts: &Facts<'_>) -> Result<Decision, Refused> {
    if !client.may_be_charged() {
        return Err(Refused::NotPaid);
    }
    let stay = Decision::nothing(client);
    let can_be_texted = !client.opted_out && !client.unreachable;
    Ok(match facts.payment_portal {
        Some(portal) if client.payment.is_served() && can_be_texted => {
            stay.text(wording::cancel_at_portal_for_operator(portal))
        }
        Some(_) | None => stay.text(wording::cancelling_for_you()).concern(Concern::CancelAsked),
    })
}
