//! How a payment stands, worked out from everything that Stripe has told of it.
//!
//! Stripe tells in any order, and some things twice. So nothing here keeps a state that an event changes: each time, the
//! whole is worked out anew from all that is known, and what arrived last has no more weight than what arrived first.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// How a subscription's payment stands, or a client's, who may have had more than one subscription. From worst to best: a
/// client stands as its best subscription does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Payment {
    /// Nothing has been paid.
    #[default]
    None,
    /// It was paid, and the service that was paid for is over.
    Ended,
    /// The checkout is done, and the bank takes its time.
    Awaited,
    /// A renewal has failed, and is being tried again: the service goes on meanwhile.
    PastDue,
    /// Paid.
    Active,
}

impl Payment {
    /// Every standing.
    pub const ALL: [Self; 5] = [Self::None, Self::Ended, Self::Awaited, Self::PastDue, Self::Active];

    /// The name under which it is stored.
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

    /// The standing stored under `name`, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }

    /// Whether the client is served.
    #[must_use]
    pub const fn is_served(self) -> bool {
        match self {
            Self::Active | Self::PastDue => true,
            Self::None | Self::Ended | Self::Awaited => false,
        }
    }
}

/// One thing that Stripe has told of a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// When it happened, by Stripe's clock, in whole seconds.
    pub at: DateTime<Utc>,
    /// Stripe's name for the event.
    pub id: String,
    /// What it says.
    pub what: What,
}

/// What an event of Stripe's says of how a payment stands. Stored as it is: variants and fields may be added, never renamed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum What {
    /// The payer has been through the checkout; with some ways to pay, the money comes days later.
    Checkout {
        /// Whether it has come, or none is due yet.
        paid: bool,
    },
    /// The money of a checkout has come later, or will not come.
    DelayedPayment {
        /// Which of the two.
        succeeded: bool,
    },
    /// The subscription changed.
    Subscription {
        /// How.
        change: Change,
        /// Its status from then on.
        status: Status,
        /// Its status before, if that is what changed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        was: Option<Status>,
    },
    /// An invoice was paid.
    InvoicePaid {
        /// How much, in the smallest unit of its currency: nothing, at the beginning of a trial.
        amount: i64,
    },
    /// A payment was given back, all of it.
    Refunded,
}

/// How a subscription changed, in the order in which changes of the same second can have come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It came to be.
    Created,
    /// Something about it changed.
    Updated,
    /// It was paused.
    Paused,
    /// It went on after a pause.
    Resumed,
    /// It is over for good.
    Deleted,
}

/// Stripe's statuses of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The first payment is to come.
    Incomplete,
    /// The first payment has not come in time.
    IncompleteExpired,
    /// Nothing is due yet.
    Trialing,
    /// As it should be.
    Active,
    /// A renewal has failed, and is tried again.
    PastDue,
    /// A renewal has failed for good, and the subscription is kept.
    Unpaid,
    /// Over.
    Canceled,
    /// A trial has ended without a way to pay.
    Paused,
}

/// How a payment stands after all this, in whatever order it was told.
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
        // That the first payment is to come was told before it came.
        None | Some(Status::Incomplete | Status::Trialing | Status::Active) => Payment::Active,
        Some(Status::PastDue) => Payment::PastDue,
        Some(Status::IncompleteExpired | Status::Unpaid | Status::Canceled | Status::Paused) => Payment::Ended,
    }
}

/// An active subscription proves nothing: with a bank transfer it is active days before the money comes.
const fn proves_payment(what: &What) -> bool {
    match what {
        What::Checkout { paid } | What::DelayedPayment { succeeded: paid } => *paid,
        // An invoice for nothing is paid by itself. A trial is proven by its checkout.
        What::InvoicePaid { amount } => *amount > 0,
        What::Subscription { .. } | What::Refunded => false,
    }
}

fn before_any_payment(facts: &[Fact], status: Option<Status>) -> Payment {
    let is_done = facts.iter().any(|fact| matches!(fact.what, What::Checkout { .. }));
    let has_failed = facts.iter().any(|fact| matches!(fact.what, What::DelayedPayment { succeeded: false }));
    match status {
        Some(Status::IncompleteExpired | Status::Unpaid | Status::Canceled | Status::Paused) => Payment::None,
        None | Some(Status::Incomplete | Status::Trialing | Status::Active | Status::PastDue) => {
            if is_done && !has_failed { Payment::Awaited } else { Payment::None }
        }
    }
}

/// Whoever got the money back is served again only when a later invoice is paid.
fn is_refunded(facts: &[Fact]) -> bool {
    let last = |is: fn(&What) -> bool| facts.iter().filter(|fact| is(&fact.what)).map(|fact| fact.at).max();
    let refunded = last(|what| matches!(what, What::Refunded));
    let paid = last(|what| matches!(what, What::InvoicePaid { amount } if *amount > 0));
    refunded.is_some_and(|refunded| paid.is_none_or(|paid| paid <= refunded))
}

/// The status that the last change left. Stripe's time is in whole seconds, and several changes may bear the same: then one
/// whose status is what another changed from came before it; and if that does not tell, money that came in that second does.
fn last_status(facts: &[Fact]) -> Option<Status> {
    let changes = facts.iter().filter_map(|fact| match fact.what {
        What::Subscription { change, status, was } => Some((fact, change, status, was)),
        What::Checkout { .. } | What::DelayedPayment { .. } | What::InvoicePaid { .. } | What::Refunded => None,
    });
    let changes: Vec<_> = changes.collect();
    if changes.iter().any(|(_, change, _, _)| *change == Change::Deleted) {
        return Some(Status::Canceled);
    }
    let last = changes.iter().map(|(fact, ..)| fact.at).max()?;
    let ties: Vec<_> = changes.iter().filter(|(fact, ..)| fact.at == last).collect();
    let is_overtaken = |status: Status| ties.iter().any(|(_, _, to, was)| *was == Some(status) && *to != status);
    let has_paid = facts.iter().any(|fact| fact.at == last && proves_payment(&fact.what));
    let latest = |(fact, change, status, _): &&&(&Fact, Change, Status, Option<Status>)| {
        (!is_overtaken(*status), *change, has_paid && *status == Status::Active, fact.id.clone())
    };
    ties.iter().max_by_key(latest).map(|(_, _, status, _)| *status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fact(second: i64, what: What) -> Fact {
        Fact { at: DateTime::from_timestamp(second, 0).unwrap(), id: format!("evt_{second}_{what:?}"), what }
    }

    fn changed(second: i64, change: Change, status: Status, was: Option<Status>) -> Fact {
        fact(second, What::Subscription { change, status, was })
    }

    /// A subscription paid by card, as Stripe tells of it.
    fn paid_by_card() -> Vec<Fact> {
        vec![
            changed(1, Change::Created, Status::Incomplete, None),
            changed(1, Change::Updated, Status::Active, Some(Status::Incomplete)),
            fact(1, What::InvoicePaid { amount: 2900 }),
            fact(2, What::Checkout { paid: true }),
        ]
    }

    fn after(more: &[Fact]) -> Payment {
        standing(&[paid_by_card(), more.to_vec()].concat())
    }

    #[test]
    fn nothing_is_paid_until_the_money_has_come() {
        assert_eq!(standing(&[]), Payment::None);
        let active = changed(1, Change::Created, Status::Active, None);
        let checkout = |paid| fact(2, What::Checkout { paid });
        let bank = |succeeded| fact(9, What::DelayedPayment { succeeded });
        let is = |facts: &[&Fact]| standing(&facts.iter().map(|fact| (*fact).clone()).collect::<Vec<_>>());
        assert_eq!(is(&[&active]), Payment::None, "an active subscription proves nothing");
        assert_eq!(is(&[&active, &checkout(false)]), Payment::Awaited);
        assert_eq!(is(&[&active, &checkout(false), &bank(true)]), Payment::Active);
        assert_eq!(is(&[&active, &checkout(false), &bank(false)]), Payment::None);
        assert_eq!(is(&[&active, &checkout(false), &fact(9, What::InvoicePaid { amount: 2900 })]), Payment::Active);
        assert_eq!(is(&[&active, &checkout(false), &fact(9, What::InvoicePaid { amount: 0 })]), Payment::Awaited);
        assert_eq!(is(&[&checkout(true)]), Payment::Active, "a payment without a subscription");
        let given_up = changed(9, Change::Updated, Status::IncompleteExpired, Some(Status::Incomplete));
        assert_eq!(is(&[&checkout(false), &given_up]), Payment::None, "nothing has ended that never began");
    }

    #[test]
    fn a_status_is_what_stripe_says_it_means() {
        use Status::{Active, Canceled, PastDue, Paused, Trialing, Unpaid};
        for (status, expected) in [
            (Active, Payment::Active),
            (Trialing, Payment::Active),
            (PastDue, Payment::PastDue),
            (Unpaid, Payment::Ended),
            (Paused, Payment::Ended),
            (Canceled, Payment::Ended),
        ] {
            assert_eq!(after(&[changed(9, Change::Updated, status, None)]), expected, "{status:?}");
        }
        let late = changed(2, Change::Updated, Active, None);
        let gone = changed(1, Change::Deleted, Canceled, None);
        assert_eq!(after(&[gone, late]), Payment::Ended, "what is deleted does not come back, whatever the times say");
    }

    #[test]
    fn changes_of_the_same_second_are_told_apart_by_what_they_changed() {
        let failed = changed(9, Change::Updated, Status::PastDue, Some(Status::Active));
        let mended = changed(9, Change::Updated, Status::Active, Some(Status::PastDue));
        let lost = changed(9, Change::Updated, Status::Unpaid, Some(Status::PastDue));
        let other = changed(9, Change::Updated, Status::PastDue, None);
        assert_eq!(after(&[lost.clone(), failed.clone(), other.clone()]), Payment::Ended);
        assert_eq!(after(&[other, mended]), Payment::Active);
        let back_and_forth = [failed.clone(), changed(9, Change::Updated, Status::Active, Some(Status::PastDue))];
        let paid = fact(9, What::InvoicePaid { amount: 2900 });
        assert_eq!(after(&[back_and_forth[0].clone(), paid, back_and_forth[1].clone()]), Payment::Active);
        let resumed = changed(9, Change::Resumed, Status::Active, None);
        let was_paused = changed(9, Change::Updated, Status::Active, Some(Status::Paused));
        let paused = changed(9, Change::Paused, Status::Paused, None);
        assert_eq!(after(&[resumed, was_paused, paused]), Payment::Active);
    }

    #[test]
    fn a_refund_ends_the_service_until_a_later_invoice_is_paid() {
        let refunded = fact(5, What::Refunded);
        let invoice = |second, amount| fact(second, What::InvoicePaid { amount });
        assert_eq!(after(std::slice::from_ref(&refunded)), Payment::Ended);
        assert_eq!(after(&[refunded.clone(), invoice(5, 2900)]), Payment::Ended);
        assert_eq!(after(&[refunded.clone(), invoice(6, 0)]), Payment::Ended);
        assert_eq!(after(&[refunded.clone(), invoice(6, 2900)]), Payment::Active);
        let over = changed(7, Change::Deleted, Status::Canceled, None);
        assert_eq!(after(&[refunded, invoice(6, 2900), over]), Payment::Ended);
    }

    #[test]
    fn a_client_stands_as_its_best_subscription_does() {
        assert_eq!([Payment::Ended, Payment::Active, Payment::Awaited].into_iter().max(), Some(Payment::Active));
        assert_eq!([Payment::Ended, Payment::Awaited].into_iter().max(), Some(Payment::Awaited));
        for it in Payment::ALL {
            assert_eq!(Payment::from_name(it.name()), Some(it));
        }
    }

    fn a_fact() -> impl Strategy<Value = Fact> {
        use Status::{Active, Canceled, Incomplete, IncompleteExpired, PastDue, Paused, Trialing, Unpaid};
        let status = || {
            let all = vec![Incomplete, IncompleteExpired, Trialing, Active, PastDue, Unpaid, Canceled, Paused];
            prop::sample::select(all)
        };
        let change = prop::sample::select(vec![Change::Created, Change::Updated, Change::Paused, Change::Resumed]);
        let what = prop_oneof![
            any::<bool>().prop_map(|paid| What::Checkout { paid }),
            any::<bool>().prop_map(|succeeded| What::DelayedPayment { succeeded }),
            (change, status(), prop::option::of(status())).prop_map(|(change, status, was)| What::Subscription {
                change,
                status,
                was
            }),
            (0i64..2).prop_map(|amount| What::InvoicePaid { amount }),
            Just(What::Refunded),
            Just(What::Subscription { change: Change::Deleted, status: Canceled, was: None }),
        ];
        (0i64..4, what).prop_map(|(second, what)| fact(second, what))
    }

    proptest! {
        #[test]
        fn the_order_in_which_it_is_told_does_not_matter_nor_how_often(
            (facts, shuffled) in prop::collection::vec(a_fact(), 0..10)
                .prop_flat_map(|facts| (Just(facts.clone()), Just(facts).prop_shuffle())),
            twice in any::<prop::sample::Index>(),
        ) {
            let mut again = shuffled;
            if !again.is_empty() {
                again.extend(again.get(twice.index(again.len())).cloned());
            }
            prop_assert_eq!(standing(&facts), standing(&again));
        }

        #[test]
        fn nobody_is_served_who_has_paid_nothing(facts in prop::collection::vec(a_fact(), 0..10)) {
            let paid = facts.iter().any(|fact| proves_payment(&fact.what));
            prop_assert!(paid || !standing(&facts).is_served());
        }
    }

    #[test]
    fn what_is_stored_is_read_back() {
        let what = What::Subscription { change: Change::Updated, status: Status::PastDue, was: Some(Status::Active) };
        let stored = serde_json::json!({
            "what": "subscription", "change": "updated", "status": "past_due", "was": "active",
        });
        assert_eq!(serde_json::to_value(&what).unwrap(), stored);
        assert_eq!(serde_json::from_value::<What>(stored).unwrap(), what);
    }
}
