//! How a payment stands, worked out from everything that Stripe has told of it.
//!
//! Stripe tells in any order, and some things twice. So nothing here keeps a state that an event changes: each time, the
//! whole is worked out anew from all that is known, and what arrived last has no more weight than what arrived first.
//!
//! A refund names a payment: its invoice, payment intent or charge. Events that share such a name are about the same payment.
//! The service ends only if the payment for the latest period was given back.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::dispute::Dispute;

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
    /// The payment that it is about: its invoice, payment intent and charge, as far as the event names them.
    pub names: Vec<String>,
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
    /// The payer has been through the checkout, and whether the money has come cannot be told from it.
    UnclearCheckout,
    /// An invoice was paid.
    InvoicePaid {
        /// How much, in the smallest unit of its currency: nothing, at the beginning of a trial.
        amount: i64,
        /// The end of the period that it pays for. Missing in what earlier versions stored.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<DateTime<Utc>>,
    },
    /// Which payment an invoice was paid with. Since 2025 no other event names both.
    PaidWith,
    /// A payment was given back, all of it.
    Refunded,
    /// What is given back of a payment is less than all of it, or nothing any more.
    NotRefunded,
    /// A refund failed or was canceled: the money stays.
    RefundFailed {
        /// Stripe's name for the refund, `re_…`. Each is told of more than once.
        refund: String,
    },
    /// A payment is disputed.
    Disputed {
        /// How the dispute stands.
        status: Dispute,
        /// Until when evidence is taken.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        due_by: Option<DateTime<Utc>>,
    },
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

/// Returns whether money came for a subscription that was over, and has not been given back.
#[must_use]
pub fn is_paid_after_end(facts: &[Fact]) -> bool {
    let ended = facts.iter().filter(|fact| is_end(&fact.what)).map(|fact| fact.at).min();
    let is_late = |fact: &Fact| ended.is_some_and(|ended| fact.at > ended) && proves_payment(&fact.what);
    facts.iter().any(|fact| is_late(fact) && !is_given_back(facts, fact))
}

const fn is_end(what: &What) -> bool {
    matches!(
        what,
        What::Subscription { change: Change::Deleted, .. } | What::Subscription { status: Status::Canceled, .. }
    )
}

/// An active subscription proves nothing: with a bank transfer it is active days before the money comes.
const fn proves_payment(what: &What) -> bool {
    match what {
        What::Checkout { paid } | What::DelayedPayment { succeeded: paid } => *paid,
        // An invoice for nothing is paid by itself. A trial is proven by its checkout.
        What::InvoicePaid { amount, .. } => *amount > 0,
        What::Subscription { .. }
        | What::UnclearCheckout
        | What::PaidWith
        | What::Refunded
        | What::NotRefunded
        | What::RefundFailed { .. }
        | What::Disputed { .. } => false,
    }
}

fn before_any_payment(facts: &[Fact], status: Option<Status>) -> Payment {
    // A payer whose checkout is unclear may have paid, and is not asked to pay a second time.
    let is_done = facts.iter().any(|fact| matches!(fact.what, What::Checkout { .. } | What::UnclearCheckout));
    let has_failed = facts.iter().any(|fact| matches!(fact.what, What::DelayedPayment { succeeded: false }));
    match status {
        Some(Status::IncompleteExpired | Status::Unpaid | Status::Canceled | Status::Paused) => Payment::None,
        None | Some(Status::Incomplete | Status::Trialing | Status::Active | Status::PastDue) => {
            if is_done && !has_failed { Payment::Awaited } else { Payment::None }
        }
    }
}

/// Returns whether every payment for the latest period was given back. A refund of an earlier period ends nothing.
fn is_refunded(facts: &[Fact]) -> bool {
    // A checkout does not say what period it pays for. It counts only where no invoice was told of.
    let by_invoice = facts.iter().filter_map(|fact| {
        let What::InvoicePaid { amount, until } = fact.what else { return None };
        (amount > 0).then_some((until.unwrap_or(fact.at), fact))
    });
    let mut paid: Vec<(DateTime<Utc>, &Fact)> = by_invoice.collect();
    if paid.is_empty() {
        paid.extend(facts.iter().filter(|fact| proves_payment(&fact.what)).map(|fact| (fact.at, fact)));
    }
    let Some(latest) = paid.iter().map(|(until, _)| *until).max() else { return false };
    paid.iter().filter(|(until, _)| *until == latest).all(|(_, fact)| is_given_back(facts, fact))
}

/// Returns whether the payment that `fact` is about was given back, all of it, and stayed so. An invoice can be paid in parts,
/// and each has to be given back.
fn is_given_back(facts: &[Fact], fact: &Fact) -> bool {
    let names = names_of_payment(facts, fact);
    let parts = facts_about(facts, &names).filter(|it| it.what == What::PaidWith);
    let parts: Vec<BTreeSet<&str>> = parts.map(|it| it.names.iter().map(String::as_str).collect()).collect();
    if parts.is_empty() { is_returned(facts, &names) } else { parts.iter().all(|names| is_returned(facts, names)) }
}

fn is_returned(facts: &[Fact], names: &BTreeSet<&str>) -> bool {
    let last = |what: &What| facts_about(facts, names).filter(|it| it.what == *what).map(|it| it.at).max();
    let Some(refunded) = last(&What::Refunded) else { return false };
    let is_less_again = last(&What::NotRefunded).is_some_and(|at| at > refunded);
    !is_less_again && first_failures(facts_about(facts, names)).values().all(|failed| *failed < refunded)
}

fn facts_about<'a>(facts: &'a [Fact], names: &'a BTreeSet<&str>) -> impl Iterator<Item = &'a Fact> {
    facts.iter().filter(|fact| fact.names.iter().any(|name| names.contains(name.as_str())))
}

/// Returns every name of the payment that `fact` is about: the names of all facts that share one.
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

/// Returns when each refund that failed was first told to have failed. It may be told again after another refund worked.
fn first_failures<'a>(facts: impl Iterator<Item = &'a Fact>) -> BTreeMap<&'a str, DateTime<Utc>> {
    let mut first = BTreeMap::new();
    for fact in facts {
        if let What::RefundFailed { refund } = &fact.what {
            let at = first.entry(refund.as_str()).or_insert(fact.at);
            *at = fact.at.min(*at);
        }
    }
    first
}

/// The status that the last change left. Stripe's time is in whole seconds, and several changes may bear the same: then one
/// whose status is what another changed from came before it; and if that does not tell, money that came in that second does.
fn last_status(facts: &[Fact]) -> Option<Status> {
    let changes = facts.iter().filter_map(|fact| {
        let What::Subscription { change, status, was } = fact.what else { return None };
        Some((fact, change, status, was))
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
        Fact { at: time(second), id: format!("evt_{second}_{what:?}"), names: Vec::new(), what }
    }

    fn time(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    /// A fact about the payment with these names.
    fn of(names: &[&str], second: i64, what: What) -> Fact {
        Fact { names: names.iter().map(|name| (*name).to_owned()).collect(), ..fact(second, what) }
    }

    fn invoice_paid(amount: i64) -> What {
        What::InvoicePaid { amount, until: None }
    }

    fn failed(refund: &str) -> What {
        What::RefundFailed { refund: refund.to_owned() }
    }

    fn changed(second: i64, change: Change, status: Status, was: Option<Status>) -> Fact {
        fact(second, What::Subscription { change, status, was })
    }

    /// A subscription paid by card, as Stripe tells of it.
    fn paid_by_card() -> Vec<Fact> {
        vec![
            changed(1, Change::Created, Status::Incomplete, None),
            changed(1, Change::Updated, Status::Active, Some(Status::Incomplete)),
            of(&["in_1", "pi_1"], 1, invoice_paid(2900)),
            of(&["in_1"], 2, What::Checkout { paid: true }),
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
        assert_eq!(is(&[&active, &checkout(false), &fact(9, invoice_paid(2900))]), Payment::Active);
        assert_eq!(is(&[&active, &checkout(false), &fact(9, invoice_paid(0))]), Payment::Awaited);
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
        let paid = fact(9, invoice_paid(2900));
        assert_eq!(after(&[back_and_forth[0].clone(), paid, back_and_forth[1].clone()]), Payment::Active);
        let resumed = changed(9, Change::Resumed, Status::Active, None);
        let was_paused = changed(9, Change::Updated, Status::Active, Some(Status::Paused));
        let paused = changed(9, Change::Paused, Status::Paused, None);
        assert_eq!(after(&[resumed, was_paused, paused]), Payment::Active);
    }

    #[test]
    fn a_refund_ends_the_service_until_a_later_invoice_is_paid() {
        let refunded = of(&["ch_1", "pi_1"], 5, What::Refunded);
        let invoice = |name: &str, second, amount| of(&[name], second, invoice_paid(amount));
        assert_eq!(after(std::slice::from_ref(&refunded)), Payment::Ended);
        assert_eq!(after(&[refunded.clone(), invoice("in_1", 5, 2900)]), Payment::Ended, "the same one");
        assert_eq!(after(&[refunded.clone(), invoice("in_2", 6, 0)]), Payment::Ended);
        assert_eq!(after(&[refunded.clone(), invoice("in_2", 6, 2900)]), Payment::Active);
        let over = changed(7, Change::Deleted, Status::Canceled, None);
        assert_eq!(after(&[refunded, invoice("in_2", 6, 2900), over]), Payment::Ended);
    }

    /// Three months, each with the payment that it was paid with, told in the newer version of the API.
    fn three_months() -> Vec<Fact> {
        let month = |n: i64| {
            let (invoice, payment) = (format!("in_{n}"), format!("pi_{n}"));
            let paid = What::InvoicePaid { amount: 2900, until: Some(time(100 * n + 100)) };
            [of(&[&invoice], 100 * n, paid), of(&[&invoice, &payment], 100 * n, What::PaidWith)]
        };
        (1..=3).flat_map(month).collect()
    }

    #[test]
    fn a_refund_ends_the_service_only_if_it_is_of_the_time_that_is_served() {
        let with = |more: &[Fact]| standing(&[three_months(), more.to_vec()].concat());
        let refund = |payment: &str| of(&["ch_x", payment], 350, What::Refunded);
        for (payment, expected) in [
            ("pi_1", Payment::Active),
            ("pi_2", Payment::Active),
            ("pi_3", Payment::Ended),
            ("pi_of_something_else", Payment::Active),
        ] {
            assert_eq!(with(&[refund(payment)]), expected, "{payment}");
        }
        assert_eq!(with(&[fact(350, What::Refunded)]), Payment::Active, "it names no payment");
        // An invoice of an early month that is paid late does not carry the time that is served.
        let late = of(&["in_0", "pi_0"], 340, What::InvoicePaid { amount: 2900, until: Some(time(100)) });
        assert_eq!(with(&[late.clone(), refund("pi_0")]), Payment::Active);
        assert_eq!(with(&[late, refund("pi_3")]), Payment::Ended);
        // Two payments for the same period, as after a change of the plan: the other one still pays for it.
        let second = of(&["in_4", "pi_4"], 340, What::InvoicePaid { amount: 500, until: Some(time(400)) });
        assert_eq!(with(&[second.clone(), refund("pi_4")]), Payment::Active);
        assert_eq!(with(&[second.clone(), refund("pi_3")]), Payment::Active);
        assert_eq!(with(&[second, refund("pi_3"), refund("pi_4")]), Payment::Ended);
        // One invoice that is paid in two parts.
        let rest = of(&["in_3", "pi_5"], 310, What::PaidWith);
        assert_eq!(with(&[rest.clone(), refund("pi_3")]), Payment::Active);
        assert_eq!(with(&[rest, refund("pi_3"), of(&["ch_y", "pi_5"], 350, What::Refunded)]), Payment::Ended);
    }

    #[test]
    fn a_payment_without_an_invoice_is_refunded_by_its_own_name() {
        let checkout = of(&["pi_1"], 1, What::Checkout { paid: true });
        let bank = [
            of(&["pi_1"], 1, What::Checkout { paid: false }),
            of(&["pi_1"], 9, What::DelayedPayment { succeeded: true }),
        ];
        for paid in [&[checkout][..], &bank] {
            let with = |refund: Fact| standing(&[paid, &[refund]].concat());
            assert_eq!(with(of(&["pi_1", "ch_1"], 20, What::Refunded)), Payment::Ended);
            assert_eq!(with(of(&["pi_2", "ch_2"], 20, What::Refunded)), Payment::Active);
        }
    }

    #[test]
    fn a_refund_that_fails_is_no_refund() {
        let of_it = |second, what| of(&["ch_1", "pi_1"], second, what);
        let refunded = of_it(10, What::Refunded);
        let with = |more: &[Fact]| after(&[std::slice::from_ref(&refunded), more].concat());
        assert_eq!(with(&[of_it(20, failed("re_1"))]), Payment::Active);
        assert_eq!(with(&[of_it(20, What::NotRefunded)]), Payment::Active, "the charge says so");
        assert_eq!(with(&[of_it(9, What::NotRefunded)]), Payment::Ended, "a part was given back before the rest");
        assert_eq!(with(&[of_it(10, What::NotRefunded)]), Payment::Ended, "and in the same second");
        assert_eq!(with(&[of_it(5, failed("re_0"))]), Payment::Ended, "an earlier attempt");
        assert_eq!(with(&[of(&["ch_2", "pi_2"], 20, failed("re_2"))]), Payment::Ended, "of another payment");
        let again = of_it(30, What::Refunded);
        let told_again = of_it(40, failed("re_1"));
        assert_eq!(with(&[of_it(20, failed("re_1")), again.clone(), told_again.clone()]), Payment::Ended);
        assert_eq!(with(&[told_again, again]), Payment::Active, "all that is known is that it failed last");
    }

    #[test]
    fn money_that_comes_after_the_end_is_noticed_until_it_is_given_back() {
        let over = changed(100, Change::Deleted, Status::Canceled, None);
        let with = |more: &[Fact]| is_paid_after_end(&[&paid_by_card(), std::slice::from_ref(&over), more].concat());
        assert!(!with(&[]));
        assert!(!is_paid_after_end(&three_months()));
        let late = of(&["in_2", "pi_2"], 101, invoice_paid(2900));
        assert!(with(std::slice::from_ref(&late)));
        assert!(!with(&[of(&["in_2"], 100, invoice_paid(2900))]), "the last invoice, as it ended");
        assert!(!with(&[of(&["in_2"], 101, invoice_paid(0))]));
        assert!(with(&[fact(101, What::Checkout { paid: true })]));
        assert!(with(&[fact(101, What::DelayedPayment { succeeded: true })]));
        assert!(!with(&[late.clone(), of(&["pi_2"], 102, What::Refunded)]));
        assert!(with(&[late, of(&["pi_1"], 102, What::Refunded)]));
    }

    #[test]
    fn an_unclear_checkout_is_awaited_and_a_dispute_changes_nothing() {
        assert_eq!(standing(&[fact(1, What::UnclearCheckout)]), Payment::Awaited);
        assert_eq!(standing(&[fact(1, What::UnclearCheckout), fact(2, invoice_paid(1))]), Payment::Active);
        let lost = What::Disputed { status: Dispute::Lost, due_by: None };
        assert_eq!(after(&[of(&["pi_1"], 9, lost)]), Payment::Active);
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
            (0i64..2, prop::option::of(0i64..9))
                .prop_map(|(amount, until)| What::InvoicePaid { amount, until: until.map(time) }),
            Just(What::UnclearCheckout),
            Just(What::PaidWith),
            Just(What::Refunded),
            Just(What::NotRefunded),
            prop::sample::select(vec!["re_1", "re_2"]).prop_map(failed),
            Just(What::Disputed { status: Dispute::Lost, due_by: None }),
            Just(What::Subscription { change: Change::Deleted, status: Canceled, was: None }),
        ];
        let names = prop::sample::subsequence(vec!["in_1", "in_2", "pi_1", "pi_2", "ch_1"], 0..=3);
        (0i64..4, names, what).prop_map(|(second, names, what)| of(&names, second, what))
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
            prop_assert_eq!(is_paid_after_end(&facts), is_paid_after_end(&again));
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
        let read = |stored| serde_json::from_value::<What>(stored).unwrap();
        let of_earlier_versions = serde_json::json!({"what": "invoice_paid", "amount": 2900});
        assert_eq!(read(of_earlier_versions), invoice_paid(2900));
        assert_eq!(read(serde_json::json!({"what": "refunded"})), What::Refunded);
    }
}
