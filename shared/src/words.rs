//! Words for stored names, for the operator's command and the console.

use jobrun_onboarding::Field;
use jobrun_onboarding::action::{Action, Refused};

use crate::db::history::EventOutcome;
use crate::db::listing::{STUCK_COUNTED, StuckReason};
use crate::db::subscriptions::Unassigned;

/// Returns the outcome of an event, and the client's state after it.
#[must_use]
pub fn outcome_words(heard: &EventOutcome) -> String {
    match (heard.outcome.as_deref(), heard.state.as_deref()) {
        (None, _) => "not looked at yet".to_owned(),
        (Some("moved"), Some(state)) => format!("moved to {state}"),
        (Some(outcome), _) if let Some(refused) = Refused::from_name(outcome) => {
            format!("refused: {}", refused.words())
        }
        (Some(outcome), Some(state)) => format!("{outcome} at {state}"),
        (Some(outcome), None) => outcome.to_owned(),
    }
}

/// Returns what a kind of event means.
#[must_use]
pub fn event_words(kind: &str) -> &str {
    match kind {
        "reminder_due" => "a reminder was due",
        "forwarding_check_due" => "a check of the forwarding was due",
        "number_due" => "a number was due",
        "opted_out" => "Twilio says that the client has opted out",
        "unreachable" => "the network says that texts do not reach the phone",
        "payment_changed" => "the payment's standing changed",
        "number_lost" => "the number was taken from the client",
        "phone_change_asked" => "a code for a change of phone was asked for",
        "phone_change_due" => "the phone was to change",
        other => other,
    }
}

/// Returns what an operator did, after the operator's name. The words of a reply are a text of their own.
#[must_use]
pub fn action_words(action: &Action) -> String {
    match action {
        Action::Reply { .. } => "replied".to_owned(),
        Action::TakeOver { silence_minutes: None, .. } => "took the client over".to_owned(),
        Action::TakeOver { silence_minutes: Some(minutes), .. } => {
            format!("took the client over, until {} of silence", minutes_words(*minutes))
        }
        Action::HandBack { ask_again: false } => "handed the client back".to_owned(),
        Action::HandBack { ask_again: true } => "handed the client back, with the open question".to_owned(),
        Action::MoveTo { state, .. } => format!("moved the client to {}", state.name()),
        Action::Correct { field, text } => format!("corrected the {} to {text}", field_words(*field)),
        Action::MarkPaid => "marked the client as paid".to_owned(),
        Action::GiveNumber => "gave the client a number".to_owned(),
        Action::TakeNumber { .. } => "took the number from the client".to_owned(),
        Action::AskAgain => "asked the open question again".to_owned(),
        Action::OptIn => "opted the client in".to_owned(),
        Action::Cancel => "asked to cancel for the client".to_owned(),
    }
}

/// Returns a number of minutes in words: in hours, where they are whole.
fn minutes_words(minutes: u32) -> String {
    match (minutes / 60, minutes % 60) {
        (0, 1) => "1 minute".to_owned(),
        (1, 0) => "1 hour".to_owned(),
        (hours, 0) if hours > 0 => format!("{hours} hours"),
        _ => format!("{minutes} minutes"),
    }
}

/// Returns why a client is stuck, and what can be done.
#[must_use]
pub const fn stuck_words(reason: StuckReason) -> (&'static str, &'static str) {
    match reason {
        StuckReason::NumberLate => ("Paid, promised a number by now, and has none", "Add numbers to the pool"),
        StuckReason::Unreachable => ("Paid, and texts do not reach the phone", "Ring, or write by e-mail from Stripe"),
        StuckReason::OptedOut => ("Paid, and opted out of texts", "Ring: START opts in again"),
        StuckReason::SetUpUnfinished => ("Has a number, and forwarding is not proved", "Ring, and set it up together"),
        StuckReason::NotConfirmed => ("Paid, and has not said READY", "Ring: a text with READY goes on"),
        StuckReason::NotPaid => ("Has the payment link, and has not paid", "Ask what is missing"),
    }
}

/// Returns how many clients are stuck for a reason.
#[must_use]
pub fn stuck_count(alike: i64) -> String {
    if alike >= STUCK_COUNTED { format!("{STUCK_COUNTED} or more") } else { alike.to_string() }
}

/// Returns what an answer tells.
#[must_use]
pub const fn field_words(field: Field) -> &'static str {
    match field {
        Field::TradeAndPlace | Field::Trade => "trade and place",
        Field::BusinessName => "name of the business",
        Field::OwnerName | Field::Surname => "owner's name",
    }
}

/// Returns what an event of Stripe's means.
#[must_use]
pub fn payment_words(kind: &str) -> &str {
    match kind {
        "checkout.session.completed" => "checkout completed",
        "checkout.session.async_payment_succeeded" => "the payment of a checkout came through",
        "checkout.session.async_payment_failed" => "the payment of a checkout failed",
        "checkout.session.expired" => "checkout not completed in time",
        "customer.subscription.created" => "subscription created",
        "customer.subscription.updated" => "subscription changed",
        "customer.subscription.deleted" => "subscription ended",
        "customer.subscription.paused" => "subscription paused",
        "customer.subscription.resumed" => "subscription resumed",
        "subscription_asked" => "Stripe was asked about the subscription",
        "invoice.paid" => "invoice paid",
        "invoice.payment_failed" => "the payment of an invoice failed",
        "charge.refunded" => "refunded",
        "refund.failed" | "refund.updated" | "charge.refund.updated" => "a refund failed",
        "charge.dispute.created" => "the payer disputes a payment",
        "charge.dispute.updated" => "the dispute of a payment changed",
        "charge.dispute.closed" => "the dispute of a payment is over",
        "charge.dispute.funds_withdrawn" => "a disputed payment was taken back",
        "charge.dispute.funds_reinstated" => "a disputed payment was returned to us",
        other => other,
    }
}

/// Formats an amount in the smallest unit of its currency: 2900 gbp is £29.00. Other currencies do not all have hundredths, and
/// are printed as Stripe counts them.
#[must_use]
pub fn money(amount: i64, currency: &str) -> String {
    if currency.eq_ignore_ascii_case("gbp") {
        let sign = if amount < 0 { "-" } else { "" };
        let pence = amount.unsigned_abs();
        return format!("{sign}£{}.{:02}", pence / 100, pence % 100);
    }
    format!("{amount} of the smallest unit of {}", currency.to_uppercase())
}

/// Returns why a payment belongs to no client.
#[must_use]
pub const fn why_unassigned(payment: &Unassigned) -> &'static str {
    match (payment.is_checked_out, &payment.reference) {
        (false, _) => "its checkout has not arrived yet",
        (true, None) => "its checkout carries no reference",
        (true, Some(_)) => "its checkout carries a reference that is no client's",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_is_said_in_hours_where_they_are_whole() {
        let words = [1, 45, 60, 90, 240, 1_440].map(minutes_words);
        assert_eq!(words, ["1 minute", "45 minutes", "1 hour", "90 minutes", "4 hours", "24 hours"]);
    }
}
