//! The catalogue of alerts: every kind, its stored name, and its message for the operator. It raises none.
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

/// A kind of alert.
#[expect(missing_docs, reason = "the table says what each is")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    NoWorker,
    EventsWaiting,
    TextsWaiting,
    NoSweep,
    Stopped,
    BlockedBy,
    SignaturesNotEnforced,
    RestoreUnfinished,
    TextsMissed,
    TextsTooOld,
    StripeEventsMissed,
    StripeEventsTooOld,
    StripeUnreadable,
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
    Unfinished,
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
    CodeGuesses,
    RecordingsKept,
}

/// Every kind, in the order of [`Kind`], with its stored name.
pub const KINDS: [(Kind, &str); 40] = [
    (Kind::NoWorker, "no-worker"),
    (Kind::EventsWaiting, "events-waiting"),
    (Kind::TextsWaiting, "texts-waiting"),
    (Kind::NoSweep, "no-sweep"),
    (Kind::Stopped, "stopped"),
    (Kind::BlockedBy, "blocked-by"),
    (Kind::SignaturesNotEnforced, "signatures-not-enforced"),
    (Kind::RestoreUnfinished, "restore-unfinished"),
    (Kind::TextsMissed, "texts-missed"),
    (Kind::TextsTooOld, "texts-too-old"),
    (Kind::StripeEventsMissed, "stripe-events-missed"),
    (Kind::StripeEventsTooOld, "stripe-events-too-old"),
    (Kind::StripeUnreadable, "stripe-unreadable"),
    (Kind::Account, "account"),
    (Kind::Configuration, "configuration"),
    (Kind::Refused, "refused"),
    (Kind::Undelivered, "undelivered"),
    (Kind::Loop, "loop"),
    (Kind::PoolEmpty, "pool-empty"),
    (Kind::PoolLow, "pool-low"),
    (Kind::Waiting, "waiting"),
    (Kind::UnclearHolder, "unclear-holder"),
    (Kind::Stuck, "stuck"),
    (Kind::Unfinished, "unfinished"),
    (Kind::PersonWanted, "person-wanted"),
    (Kind::CancelAsked, "cancel-asked"),
    (Kind::Untold, "untold"),
    (Kind::Unreachable, "unreachable"),
    (Kind::OptedOut, "opted-out"),
    (Kind::PaymentUnassigned, "payment-unassigned"),
    (Kind::PaymentStuck, "payment-stuck"),
    (Kind::PaidTwice, "paid-twice"),
    (Kind::PaidAfterEnd, "paid-after-end"),
    (Kind::CheckoutUnclear, "checkout-unclear"),
    (Kind::RefundUnclear, "refund-unclear"),
    (Kind::RefundFailed, "refund-failed"),
    (Kind::Dispute, "dispute"),
    (Kind::DisputeLost, "dispute-lost"),
    (Kind::CodeGuesses, "code-guesses"),
    (Kind::RecordingsKept, "recordings-kept"),
];

/// The kinds whose alerts end when their cause has not shown for a day. All others end when a program finds that the cause is gone,
/// or when an operator clears them. Each needs a subject, because the sweep finds its causes by the name and a colon.
const END_WHEN_QUIET: [Kind; 4] = [Kind::Configuration, Kind::Refused, Kind::Loop, Kind::CodeGuesses];

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
    END_WHEN_QUIET.iter().map(|kind| kind.prefix()).collect()
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
        for (place, (kind, _)) in KINDS.iter().enumerate() {
            assert_eq!(*kind as usize, place, "{kind:?}");
        }
        assert_eq!(KINDS.len(), Kind::RecordingsKept as usize + 1, "the last kind is in it");
    }
}
