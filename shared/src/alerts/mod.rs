//! The catalogue of alerts: every kind, its stored name, its message for the operator, and when it ends.
//!
//! A cause is stored as the name of its kind and, after a colon, its subject: `stuck:CLIENT_ID`. Stored names never change. The
//! operator's guide has an entry for each kind. A message names the problem and the remedy, and holds no phone number.

pub mod clients;

pub mod numbers;

pub mod operation;

pub mod payments;

pub mod texts;

use std::fmt::Display;

use jobrun_onboarding::TextKind;

/// When an alert ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// When a program finds that its cause is gone.
    WhenOver,
    /// When its cause has not shown for a day.
    WhenQuiet,
    /// When an operator clears it.
    ByHand,
}

/// A kind of alert.
#[expect(missing_docs, reason = "the table says what each is")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    NoWorker,
    EventsWaiting,
    TextsWaiting,
    NoSweep,
    BlockedBy,
    SignaturesNotEnforced,
    TextsMissed,
    TextsTooOld,
    Account,
    Configuration,
    Refused,
    Undelivered,
    Loop,
    PoolEmpty,
    PoolLow,
    Waiting,
    UnclearHolder,
    Stuck,
    PersonWanted,
    CancelAsked,
    Untold,
    Unreachable,
    OptedOut,
    PaymentUnassigned,
    PaymentStuck,
    PaidTwice,
    PaidAfterEnd,
    CheckoutUnclear,
    RefundUnclear,
    RefundFailed,
    Dispute,
    DisputeLost,
}

/// Every kind, in the order of [`Kind`], with its stored name and when its alerts end.
pub const KINDS: [(Kind, &str, Ends); 32] = [
    (Kind::NoWorker, "no-worker", Ends::WhenOver),
    (Kind::EventsWaiting, "events-waiting", Ends::WhenOver),
    (Kind::TextsWaiting, "texts-waiting", Ends::WhenOver),
    (Kind::NoSweep, "no-sweep", Ends::WhenOver),
    (Kind::BlockedBy, "blocked-by", Ends::WhenOver),
    (Kind::SignaturesNotEnforced, "signatures-not-enforced", Ends::WhenOver),
    (Kind::TextsMissed, "texts-missed", Ends::WhenOver),
    (Kind::TextsTooOld, "texts-too-old", Ends::ByHand),
    (Kind::Account, "account", Ends::WhenOver),
    (Kind::Configuration, "configuration", Ends::WhenQuiet),
    (Kind::Refused, "refused", Ends::WhenQuiet),
    (Kind::Undelivered, "undelivered", Ends::WhenOver),
    (Kind::Loop, "loop", Ends::WhenQuiet),
    (Kind::PoolEmpty, "pool-empty", Ends::WhenOver),
    (Kind::PoolLow, "pool-low", Ends::WhenOver),
    (Kind::Waiting, "waiting", Ends::WhenOver),
    (Kind::UnclearHolder, "unclear-holder", Ends::WhenOver),
    (Kind::Stuck, "stuck", Ends::WhenOver),
    (Kind::PersonWanted, "person-wanted", Ends::ByHand),
    (Kind::CancelAsked, "cancel-asked", Ends::WhenOver),
    (Kind::Untold, "untold", Ends::WhenOver),
    (Kind::Unreachable, "unreachable", Ends::WhenOver),
    (Kind::OptedOut, "opted-out", Ends::WhenOver),
    (Kind::PaymentUnassigned, "payment-unassigned", Ends::WhenOver),
    (Kind::PaymentStuck, "payment-stuck", Ends::WhenOver),
    (Kind::PaidTwice, "paid-twice", Ends::WhenOver),
    (Kind::PaidAfterEnd, "paid-after-end", Ends::WhenOver),
    (Kind::CheckoutUnclear, "checkout-unclear", Ends::WhenOver),
    (Kind::RefundUnclear, "refund-unclear", Ends::WhenOver),
    (Kind::RefundFailed, "refund-failed", Ends::ByHand),
    (Kind::Dispute, "dispute", Ends::WhenOver),
    (Kind::DisputeLost, "dispute-lost", Ends::ByHand),
];

impl Kind {
    /// Returns its stored name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        KINDS[self as usize].1
    }

    /// Returns the prefix of the causes of this kind that have a subject: the name and a colon.
    #[must_use]
    pub fn prefix(self) -> String {
        format!("{}:", self.name())
    }

    /// Returns the cause of this kind with `subject`.
    #[must_use]
    pub fn of(self, subject: impl Display) -> String {
        format!("{}:{subject}", self.name())
    }
}

/// Returns the prefixes of the causes that end when they have not shown for a day.
#[must_use]
pub fn prefixes_that_end_when_quiet() -> Vec<String> {
    KINDS.iter().filter(|(_, _, ends)| *ends == Ends::WhenQuiet).map(|(kind, _, _)| kind.prefix()).collect()
}

/// Returns the cause of the alert that clients have waited for `hours`.
#[must_use]
pub fn cause_of_waiting(hours: i32) -> String {
    // Stored in this form, without a colon, since the first version.
    format!("{}-{hours}h", Kind::Waiting.name())
}

/// Returns the cause of an alert of `kind` about texts that Twilio refuses, with `code` if it gave one.
#[must_use]
pub fn cause_of_code(kind: Kind, code: Option<i32>) -> String {
    kind.of(texts::shown(code))
}

/// Returns the cause of the alert that a text did not reach a client.
#[must_use]
pub fn cause_of_undelivered(kind: TextKind, client_id: &str) -> String {
    Kind::Undelivered.of(format_args!("{}:{client_id}", kind.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_kinds() {
        for (place, (kind, _, _)) in KINDS.iter().enumerate() {
            assert_eq!(*kind as usize, place, "{kind:?}");
        }
        assert_eq!(KINDS.len(), Kind::DisputeLost as usize + 1, "the last kind is in it");
    }
}
