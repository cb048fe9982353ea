//! Computes the status of a payment from all facts that Stripe has reported about it.
//!
//! Stripe's events arrive in any order, and some arrive twice. So no event updates a stored status. Each time, the status is
//! computed anew from all facts, and the order of arrival does not matter.
//!
//! A refund names a payment: its invoice, payment intent or charge. Events that share such a name are about the same payment.
//! A refund ends the service only if the payment for the latest period was refunded.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::dispute::Dispute;

/// The status of a subscription's payment, or of a client's. The variants are ordered from worst to best: the best subscription
/// decides the status of a client that has had several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Payment {
    /// Nothing has been paid.
    #[default]
    None,
    /// A payment was made, and the service that it paid for is over.
    Ended,
    /// The checkout is complete, and the money has not arrived yet.
    Awaited,
    /// A renewal has failed and is tried again. The service goes on meanwhile.
    PastDue,
    /// Paid.
    Active,
}

impl Payment {
    /// Every status.
    pub const ALL: [Self; 5] = [Self::None, Self::Ended, Self::Awaited, Self::PastDue, Self::Active];

    /// Returns the name under which the status is stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Ended => "ended",
            Self::Awaited => "awaited",
            Self::PastDue => "past_due",
            Self::Active => "active",
        }
    }

    /// Returns the status that is stored under `name`, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }

    /// Returns whether the client is served.
    #[must_use]
    pub const fn is_served(self) -> bool {
        match self {
            Self::Active | Self::PastDue => true,
            Self::None | Self::Ended | Self::Awaited => false,
        }
    }
}

/// A fact that Stripe has reported about a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// The time of the event by Stripe's clock, in whole seconds.
    pub at: DateTime<Utc>,
    /// Stripe's id of the event, `evt_…`.
    pub id: String,
    /// Stripe's ids of the payment that it is about: invoice, payment intent and charge, as far as the event names them.
    pub names: Vec<String>,
    /// The content of the fact.
    pub what: FactKind,
}

/// The kind and content of a fact. It is stored as JSON: variants and fields may be added, but must not be renamed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum FactKind {
    /// The payer has completed the checkout. With some payment methods the money arrives days later.
    Checkout {
        /// Whether the money has arrived, or none is due yet.
        paid: bool,
    },
    /// The money of a checkout has arrived later, or will not arrive.
    DelayedPayment {
        /// Whether it has arrived.
        succeeded: bool,
    },
    /// The subscription changed.
    Subscription {
        /// The kind of change.
        change: Change,
        /// The status after the change.
        status: Status,
        /// The status before the change, if the status changed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        was: Option<Status>,
    },
    /// The payer has completed the checkout. The event does not tell whether the money has arrived.
    UnclearCheckout,
    /// An invoice was paid.
    InvoicePaid {
        /// The amount in the smallest unit of its currency. It is 0 at the start of a trial.
        amount: i64,
        /// The end of the period that it pays for. Facts that earlier versions stored lack it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<DateTime<Utc>>,
    },
    /// The names of an invoice and of a payment that paid it. Since 2025 no other event of Stripe names both.
    PaidWith,
    /// A payment was refunded in full.
    Refunded,
    /// A payment is refunded in part only, or not at all any more.
    NotRefunded,
    /// A refund failed or was canceled, so the money stays.
    RefundFailed {
        /// Stripe's id of the refund, `re_…`. Stripe reports each failure more than once.
        refund: String,
    },
    /// A payment is disputed.
    Disputed {
        /// The status of the dispute.
        status: Dispute,
        /// The deadline for evidence.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        due_by: Option<DateTime<Utc>>,
    },
}

/// The kind of change of a subscription. The variants are ordered as changes of the same second can have followed each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It was created.
    Created,
    /// It changed in some way.
    Updated,
    /// It was paused.
    Paused,
    /// It was resumed after a pause.
    Resumed,
    /// It ended for good.
    Deleted,
}

/// Stripe's statuses of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The first payment has not arrived yet.
    Incomplete,
    /// The first payment did not arrive in time.
    IncompleteExpired,
    /// Nothing is due yet.
    Trialing,
    /// In good standing.
    Active,
    /// A renewal has failed and is tried again.
    PastDue,
    /// A renewal has failed for good, and the subscription is kept.
    Unpaid,
    /// The subscription has ended.
    Canceled,
    /// A trial has ended without a payment method.
    Paused,
}

/// Returns the status of the payment after `facts`, in any order.
#[must_use]
pub fn standing(facts: &[Fact]) -> Payment {
    let status = last_status(facts);
    if !facts.iter().any(|fact| proves_payment(&fact.what)) {
        return before_any_payment(facts, status);
    }
    if is_refunded(facts) {
        return Payment::Ended;
    }
    match status {
        // `Incomplete` is out of date here: a payment has arrived since.
        None | Some(Status::Incomplete | Status::Trialing | Status::Active) => Payment::Active,
        Some(Status::PastDue) => Payment::PastDue,
        Some(Status::IncompleteExpired | Status::Unpaid | Status::Canceled | Status::Paused) => Payment::Ended,
    }
}

/// Returns whether money arrived for a subscription after its end, and has not been refunded.
#[must_use]
pub fn is_paid_after_end(facts: &[Fact]) -> bool {
    let ended = facts.iter().filter(|fact| is_end(&fact.what)).map(|fact| fact.at).min();
    let is_late = |fact: &Fact| ended.is_some_and(|ended| fact.at > ended) && proves_payment(&fact.what);
    facts.iter().any(|fact| is_late(fact) && !is_payment_refunded(facts, fact))
}

const fn is_end(what: &FactKind) -> bool {
    matches!(
        what,
        FactKind::Subscription { change: Change::Deleted, .. }
            | FactKind::Subscription { status: Status::Canceled, .. }
    )
}

/// Returns whether a fact proves that money has arrived. An active subscription does not: with a bank transfer it is active days
/// before.
const fn proves_payment(what: &FactKind) -> bool {
    match what {
        FactKind::Checkout { paid } | FactKind::DelayedPayment { succeeded: paid } => *paid,
        // Stripe marks an invoice over 0 as paid at once. A trial is proven by its checkout.
        FactKind::InvoicePaid { amount, .. } => *amount > 0,
        FactKind::Subscription { .. }
        | FactKind::UnclearCheckout
        | FactKind::PaidWith
        | FactKind::Refunded
        | FactKind::NotRefunded
        | FactKind::RefundFailed { .. }
        | FactKind::Disputed { .. } => false,
    }
}

fn before_any_payment(facts: &[Fact], status: Option<Status>) -> Payment {
    // A payer whose checkout is unclear may have paid, so it is not asked to pay again.
    let is_done = facts.iter().any(|fact| matches!(fact.what, FactKind::Checkout { .. } | FactKind::UnclearCheckout));
    let has_failed = facts.iter().any(|fact| matches!(fact.what, FactKind::DelayedPayment { succeeded: false }));
    match status {
        Some(Status::IncompleteExpired | Status::Unpaid | Status::Canceled | Status::Paused) => Payment::None,
        None | Some(Status::Incomplete | Status::Trialing | Status::Active | Status::PastDue) => {
            if is_done && !has_failed { Payment::Awaited } else { Payment::None }
        }
    }
}

/// Returns whether every payment for the latest period was refunded. A refund for an earlier period ends nothing.
fn is_refunded(facts: &[Fact]) -> bool {
    // A checkout does not say which period it pays for. It counts only if no invoice was reported.
    let by_invoice = facts.iter().filter_map(|fact| {
        let FactKind::InvoicePaid { amount, until } = fact.what else { return None };
        (amount > 0).then_some((until.unwrap_or(fact.at), fact))
    });
    let mut paid: Vec<(DateTime<Utc>, &Fact)> = by_invoice.collect();
    if paid.is_empty() {
        paid.extend(facts.iter().filter(|fact| proves_payment(&fact.what)).map(|fact| (fact.at, fact)));
    }
    let Some(latest) = paid.iter().map(|(until, _)| *until).max() else { return false };
    paid.iter().filter(|(until, _)| *until == latest).all(|(_, fact)| is_payment_refunded(facts, fact))
}

/// Returns whether the payment that `fact` is about was refunded in full, and stayed so. An invoice can be paid in parts, and each
/// part has to be refunded.
fn is_payment_refunded(facts: &[Fact], fact: &Fact) -> bool {
    let names = names_of_payment(facts, fact);
    let parts = facts_about(facts, &names).filter(|it| it.what == FactKind::PaidWith);
    let parts: Vec<BTreeSet<&str>> = parts.map(|it| it.names.iter().map(String::as_str).collect()).collect();
    if parts.is_empty() {
        is_part_refunded(facts, &names)
    } else {
        parts.iter().all(|names| is_part_refunded(facts, names))
    }
}

fn is_part_refunded(facts: &[Fact], names: &BTreeSet<&str>) -> bool {
    let last = |what: &FactKind| facts_about(facts, names).filter(|it| it.what == *what).map(|it| it.at).max();
    let Some(refunded) = last(&FactKind::Refunded) else { return false };
    let is_less_again = last(&FactKind::NotRefunded).is_some_and(|at| at > refunded);
    !is_less_again && first_failures(facts_about(facts, names)).values().all(|failed| *failed < refunded)
}

fn facts_about<'a>(facts: &'a [Fact], names: &'a BTreeSet<&str>) -> impl Iterator<Item = &'a Fact> {
    facts.iter().filter(|fact| fact.names.iter().any(|name| names.contains(name.as_str())))
}

/// Returns every name of the payment that `fact` is about. Facts that share a name share all their names.
fn names_of_payment<'a>(facts: &'a [Fact], fact: &'a Fact) -> BTreeSet<&'a str> {
    let mut names: BTreeSet<&str> = fact.names.iter().map(String::as_str).collect();
    loop {
        let before = names.len();
        for fact in facts {
            if fact.names.iter().any(|name| names.contains(name.as_str())) {
                names.extend(fact.names.iter().map(String::as_str));
            }
        }
        if names.len() == before {
            return names;
        }
    }
}

/// Returns the first report of each failed refund. Stripe may report the failure again after another refund has succeeded.
fn first_failures<'a>(facts: impl Iterator<Item = &'a Fact>) -> BTreeMap<&'a str, DateTime<Utc>> {
    let mut first = BTreeMap::new();
    for fact in facts {
        if let FactKind::RefundFailed { refund } = &fact.what {
            let at = first.entry(refund.as_str()).or_insert(fact.at);
            *at = fact.at.min(*at);
        }
    }
    first
}

/// Returns whether the last status of the subscription is a guess: changes of the last second contradict each other, and no rule says
/// which of them came last. Stripe can be asked then.
#[must_use]
pub fn is_in_doubt(facts: &[Fact]) -> bool {
    match last_changes(facts) {
        LastChanges::Deleted => false,
        LastChanges::Of(ties) => ties.windows(2).any(|pair| matches!(pair, [(_, one), (_, other)] if one != other)),
    }
}

/// The changes of a subscription of which none is known to be earlier than another.
enum LastChanges<'a> {
    /// It was deleted, which is final.
    Deleted,
    /// The facts, with the status of each. There is none if the subscription never changed.
    Of(Vec<(&'a Fact, Status)>),
}

/// Returns the status after the last change. Among changes of which none is known to be the last, the greatest id decides: a guess,
/// and the same guess in every order of arrival.
fn last_status(facts: &[Fact]) -> Option<Status> {
    match last_changes(facts) {
        LastChanges::Deleted => Some(Status::Canceled),
        LastChanges::Of(ties) => ties.into_iter().max_by_key(|(fact, _)| &fact.id).map(|(_, status)| status),
    }
}

/// Returns the last changes. Several changes can share a second, the unit of Stripe's clock. Then a status from which another one
/// changed is the earlier. Further ties fall to the later kind of change, and to `Active` if money arrived.
fn last_changes(facts: &[Fact]) -> LastChanges<'_> {
    let changes = facts.iter().filter_map(|fact| {
        let FactKind::Subscription { change, status, was } = fact.what else { return None };
        Some((fact, change, status, was))
    });
    let changes: Vec<_> = changes.collect();
    if changes.iter().any(|(_, change, _, _)| *change == Change::Deleted) {
        return LastChanges::Deleted;
    }
    let Some(last) = changes.iter().map(|(fact, ..)| fact.at).max() else { return LastChanges::Of(Vec::new()) };
    let of_last_second: Vec<_> = changes.iter().filter(|(fact, ..)| fact.at == last).collect();
    let is_overtaken =
        |status: Status| of_last_second.iter().any(|(_, _, to, was)| *was == Some(status) && *to != status);
    let has_paid = facts.iter().any(|fact| fact.at == last && proves_payment(&fact.what));
    let rank = |change: Change, status: Status| (!is_overtaken(status), change, has_paid && status == Status::Active);
    let latest = of_last_second.iter().map(|(_, change, status, _)| rank(*change, *status)).max();
    let ties = of_last_second.iter().filter(|(_, change, status, _)| Some(rank(*change, *status)) == latest);
    LastChanges::Of(ties.map(|(fact, _, status, _)| (*fact, *status)).collect())
}

#[cfg(test)]
mod tests;
