//! Tests of the status of a payment.

use proptest::prelude::*;

use super::*;

fn fact(second: i64, what: FactKind) -> Fact {
    Fact { at: time(second), id: format!("evt_{second}_{what:?}"), names: Vec::new(), what }
}

fn time(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(second, 0).unwrap()
}

/// Returns a fact about the payment with these names.
fn of(names: &[&str], second: i64, what: FactKind) -> Fact {
    Fact { names: names.iter().map(|name| (*name).to_owned()).collect(), ..fact(second, what) }
}

fn invoice_paid(amount: i64) -> FactKind {
    FactKind::InvoicePaid { amount, until: None }
}

fn failed(refund: &str) -> FactKind {
    FactKind::RefundFailed { refund: refund.to_owned() }
}

fn changed(second: i64, change: Change, status: Status, was: Option<Status>) -> Fact {
    fact(second, FactKind::Subscription { change, status, was })
}

/// Returns the facts that Stripe reports for a subscription paid by card.
fn paid_by_card() -> Vec<Fact> {
    vec![
        changed(1, Change::Created, Status::Incomplete, None),
        changed(1, Change::Updated, Status::Active, Some(Status::Incomplete)),
        of(&["in_1", "pi_1"], 1, invoice_paid(2900)),
        of(&["in_1"], 2, FactKind::Checkout { paid: true }),
    ]
}

fn after(more: &[Fact]) -> Payment {
    standing(&[paid_by_card(), more.to_vec()].concat())
}

#[test]
fn a_payment_is_active_only_when_the_money_has_arrived() {
    assert_eq!(standing(&[]), Payment::None);
    let active = changed(1, Change::Created, Status::Active, None);
    let checkout = |paid| fact(2, FactKind::Checkout { paid });
    let bank = |succeeded| fact(9, FactKind::DelayedPayment { succeeded });
    let is = |facts: &[&Fact]| standing(&facts.iter().map(|fact| (*fact).clone()).collect::<Vec<_>>());
    assert_eq!(is(&[&active]), Payment::None, "an active subscription proves nothing");
    assert_eq!(is(&[&active, &checkout(false)]), Payment::Awaited);
    assert_eq!(is(&[&active, &checkout(false), &bank(true)]), Payment::Active);
    assert_eq!(is(&[&active, &checkout(false), &bank(false)]), Payment::None);
    assert_eq!(is(&[&active, &checkout(false), &fact(9, invoice_paid(2900))]), Payment::Active);
    assert_eq!(is(&[&active, &checkout(false), &fact(9, invoice_paid(0))]), Payment::Awaited);
    assert_eq!(is(&[&checkout(true)]), Payment::Active, "a payment without a subscription");
    let given_up = changed(9, Change::Updated, Status::IncompleteExpired, Some(Status::Incomplete));
    assert_eq!(is(&[&checkout(false), &given_up]), Payment::None, "a service that never began has not ended");
}

#[test]
fn each_status_of_a_subscription_maps_to_a_payment_status() {
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
    assert_eq!(after(&[gone, late]), Payment::Ended, "a deleted subscription stays ended at any time of the facts");
}

#[test]
fn changes_of_the_same_second_are_ordered_by_their_previous_status() {
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
fn only_changes_of_one_second_that_no_rule_orders_are_in_doubt() {
    let failed = changed(9, Change::Updated, Status::PastDue, Some(Status::Active));
    let mended = changed(9, Change::Updated, Status::Active, Some(Status::PastDue));
    let lost = changed(9, Change::Updated, Status::Unpaid, Some(Status::PastDue));
    let plain = changed(9, Change::Updated, Status::Active, None);
    let doubt = |more: &[&Fact]| {
        let more: Vec<Fact> = more.iter().map(|fact| (*fact).clone()).collect();
        is_in_doubt(&[paid_by_card(), more].concat())
    };
    assert!(!doubt(&[]) && !is_in_doubt(&[]));
    assert!(!doubt(&[&failed]) && !doubt(&[&failed, &lost]) && !doubt(&[&failed, &plain]));
    assert!(doubt(&[&plain, &lost]), "the change that leads from one to the other is missing");
    assert!(!doubt(&[&plain, &lost, &failed]), "and has arrived");
    assert!(doubt(&[&failed, &mended]), "back and forth, and no money");
    assert!(!doubt(&[&failed, &mended, &fact(9, invoice_paid(2900))]), "money came last");
    assert!(!doubt(&[&plain, &changed(9, Change::Paused, Status::Paused, None)]), "the later kind");
    assert!(!doubt(&[&plain, &lost, &changed(10, Change::Updated, Status::Active, None)]), "a later second");
    assert!(!doubt(&[&plain, &lost, &changed(5, Change::Deleted, Status::Canceled, None)]), "the end is final");
}

#[test]
fn a_refund_ends_the_service_until_a_later_invoice_is_paid() {
    let refunded = of(&["ch_1", "pi_1"], 5, FactKind::Refunded);
    let invoice = |name: &str, second, amount| of(&[name], second, invoice_paid(amount));
    assert_eq!(after(std::slice::from_ref(&refunded)), Payment::Ended);
    assert_eq!(after(&[refunded.clone(), invoice("in_1", 5, 2900)]), Payment::Ended, "the refunded invoice");
    assert_eq!(after(&[refunded.clone(), invoice("in_2", 6, 0)]), Payment::Ended);
    assert_eq!(after(&[refunded.clone(), invoice("in_2", 6, 2900)]), Payment::Active);
    let over = changed(7, Change::Deleted, Status::Canceled, None);
    assert_eq!(after(&[refunded, invoice("in_2", 6, 2900), over]), Payment::Ended);
}

/// Returns three months of invoices, each with its payment, as the newer version of Stripe's API reports them.
fn three_months() -> Vec<Fact> {
    let month = |n: i64| {
        let (invoice, payment) = (format!("in_{n}"), format!("pi_{n}"));
        let paid = FactKind::InvoicePaid { amount: 2900, until: Some(time(100 * n + 100)) };
        [of(&[&invoice], 100 * n, paid), of(&[&invoice, &payment], 100 * n, FactKind::PaidWith)]
    };
    (1..=3).flat_map(month).collect()
}

#[test]
fn only_a_refund_for_the_latest_period_ends_the_service() {
    let with = |more: &[Fact]| standing(&[three_months(), more.to_vec()].concat());
    let refund = |payment: &str| of(&["ch_x", payment], 350, FactKind::Refunded);
    for (payment, expected) in [
        ("pi_1", Payment::Active),
        ("pi_2", Payment::Active),
        ("pi_3", Payment::Ended),
        ("pi_of_something_else", Payment::Active),
    ] {
        assert_eq!(with(&[refund(payment)]), expected, "{payment}");
    }
    assert_eq!(with(&[fact(350, FactKind::Refunded)]), Payment::Active, "it names no payment");
    // An invoice for an early month that is paid late does not pay for the latest period.
    let late = of(&["in_0", "pi_0"], 340, FactKind::InvoicePaid { amount: 2900, until: Some(time(100)) });
    assert_eq!(with(&[late.clone(), refund("pi_0")]), Payment::Active);
    assert_eq!(with(&[late, refund("pi_3")]), Payment::Ended);
    // With two payments for one period, as after a change of plan, the other one still pays for it.
    let second = of(&["in_4", "pi_4"], 340, FactKind::InvoicePaid { amount: 500, until: Some(time(400)) });
    assert_eq!(with(&[second.clone(), refund("pi_4")]), Payment::Active);
    assert_eq!(with(&[second.clone(), refund("pi_3")]), Payment::Active);
    assert_eq!(with(&[second, refund("pi_3"), refund("pi_4")]), Payment::Ended);
    // One invoice is paid in two parts.
    let rest = of(&["in_3", "pi_5"], 310, FactKind::PaidWith);
    assert_eq!(with(&[rest.clone(), refund("pi_3")]), Payment::Active);
    assert_eq!(with(&[rest, refund("pi_3"), of(&["ch_y", "pi_5"], 350, FactKind::Refunded)]), Payment::Ended);
}

#[test]
fn a_payment_without_an_invoice_is_refunded_by_its_payment_intent() {
    let checkout = of(&["pi_1"], 1, FactKind::Checkout { paid: true });
    let bank = [
        of(&["pi_1"], 1, FactKind::Checkout { paid: false }),
        of(&["pi_1"], 9, FactKind::DelayedPayment { succeeded: true }),
    ];
    for paid in [&[checkout][..], &bank] {
        let with = |refund: Fact| standing(&[paid, &[refund]].concat());
        assert_eq!(with(of(&["pi_1", "ch_1"], 20, FactKind::Refunded)), Payment::Ended);
        assert_eq!(with(of(&["pi_2", "ch_2"], 20, FactKind::Refunded)), Payment::Active);
    }
}

#[test]
fn a_refund_that_fails_does_not_end_the_service() {
    let of_it = |second, what| of(&["ch_1", "pi_1"], second, what);
    let refunded = of_it(10, FactKind::Refunded);
    let with = |more: &[Fact]| after(&[std::slice::from_ref(&refunded), more].concat());
    assert_eq!(with(&[of_it(20, failed("re_1"))]), Payment::Active);
    assert_eq!(with(&[of_it(20, FactKind::NotRefunded)]), Payment::Active, "the charge says so");
    assert_eq!(with(&[of_it(9, FactKind::NotRefunded)]), Payment::Ended, "a part was given back before the rest");
    assert_eq!(with(&[of_it(10, FactKind::NotRefunded)]), Payment::Ended, "and in the same second");
    assert_eq!(with(&[of_it(5, failed("re_0"))]), Payment::Ended, "an earlier attempt");
    assert_eq!(with(&[of(&["ch_2", "pi_2"], 20, failed("re_2"))]), Payment::Ended, "of another payment");
    let again = of_it(30, FactKind::Refunded);
    let told_again = of_it(40, failed("re_1"));
    assert_eq!(with(&[of_it(20, failed("re_1")), again.clone(), told_again.clone()]), Payment::Ended);
    assert_eq!(with(&[told_again, again]), Payment::Active, "the first known failure is after both refunds");
}

#[test]
fn a_payment_after_the_end_is_reported_until_it_is_refunded() {
    let over = changed(100, Change::Deleted, Status::Canceled, None);
    let with = |more: &[Fact]| is_paid_after_end(&[&paid_by_card(), std::slice::from_ref(&over), more].concat());
    assert!(!with(&[]));
    assert!(!is_paid_after_end(&three_months()));
    let late = of(&["in_2", "pi_2"], 101, invoice_paid(2900));
    assert!(with(std::slice::from_ref(&late)));
    assert!(!with(&[of(&["in_2"], 100, invoice_paid(2900))]), "the last invoice, in the second of the end");
    assert!(!with(&[of(&["in_2"], 101, invoice_paid(0))]));
    assert!(with(&[fact(101, FactKind::Checkout { paid: true })]));
    assert!(with(&[fact(101, FactKind::DelayedPayment { succeeded: true })]));
    assert!(!with(&[late.clone(), of(&["pi_2"], 102, FactKind::Refunded)]));
    assert!(with(&[late, of(&["pi_1"], 102, FactKind::Refunded)]));
}

#[test]
fn an_unclear_checkout_counts_as_awaited_and_a_dispute_changes_no_status() {
    assert_eq!(standing(&[fact(1, FactKind::UnclearCheckout)]), Payment::Awaited);
    assert_eq!(standing(&[fact(1, FactKind::UnclearCheckout), fact(2, invoice_paid(1))]), Payment::Active);
    let lost = FactKind::Disputed { status: Dispute::Lost, due_by: None };
    assert_eq!(after(&[of(&["pi_1"], 9, lost)]), Payment::Active);
}

#[test]
fn the_best_subscription_decides_the_payment_status_of_a_client() {
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
        any::<bool>().prop_map(|paid| FactKind::Checkout { paid }),
        any::<bool>().prop_map(|succeeded| FactKind::DelayedPayment { succeeded }),
        (change, status(), prop::option::of(status())).prop_map(|(change, status, was)| FactKind::Subscription {
            change,
            status,
            was
        }),
        (0i64..2, prop::option::of(0i64..9))
            .prop_map(|(amount, until)| FactKind::InvoicePaid { amount, until: until.map(time) }),
        Just(FactKind::UnclearCheckout),
        Just(FactKind::PaidWith),
        Just(FactKind::Refunded),
        Just(FactKind::NotRefunded),
        prop::sample::select(vec!["re_1", "re_2"]).prop_map(failed),
        Just(FactKind::Disputed { status: Dispute::Lost, due_by: None }),
        Just(FactKind::Subscription { change: Change::Deleted, status: Canceled, was: None }),
    ];
    let names = prop::sample::subsequence(vec!["in_1", "in_2", "pi_1", "pi_2", "ch_1"], 0..=3);
    (0i64..4, names, what).prop_map(|(second, names, what)| of(&names, second, what))
}

proptest! {
    #[test]
    fn neither_the_order_of_facts_nor_a_repetition_matters(
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
        prop_assert_eq!(is_in_doubt(&facts), is_in_doubt(&again));
    }

    /// A status that nobody doubts does not depend on the ids of events, which say nothing about their order.
    #[test]
    fn without_doubt_the_ids_of_events_do_not_matter(facts in prop::collection::vec(a_fact(), 0..10)) {
        let renamed: Vec<Fact> =
            facts.iter().zip(0..).map(|(fact, n)| Fact { id: format!("evt_{n}"), ..fact.clone() }).collect();
        let reversed: Vec<Fact> =
            facts.iter().zip((0..10).rev()).map(|(fact, n)| Fact { id: format!("evt_{n}"), ..fact.clone() }).collect();
        prop_assert!(is_in_doubt(&facts) || last_status(&renamed) == last_status(&reversed));
    }

    #[test]
    fn a_client_who_has_paid_nothing_is_not_served(facts in prop::collection::vec(a_fact(), 0..10)) {
        let paid = facts.iter().any(|fact| proves_payment(&fact.what));
        prop_assert!(paid || !standing(&facts).is_served());
    }
}

#[test]
fn stored_facts_are_read_back() {
    let what = FactKind::Subscription { change: Change::Updated, status: Status::PastDue, was: Some(Status::Active) };
    let stored = serde_json::json!({
        "what": "subscription", "change": "updated", "status": "past_due", "was": "active",
    });
    assert_eq!(serde_json::to_value(&what).unwrap(), stored);
    assert_eq!(serde_json::from_value::<FactKind>(stored).unwrap(), what);
    let read = |stored| serde_json::from_value::<FactKind>(stored).unwrap();
    let of_earlier_versions = serde_json::json!({"what": "invoice_paid", "amount": 2900});
    assert_eq!(read(of_earlier_versions), invoice_paid(2900));
    assert_eq!(read(serde_json::json!({"what": "refunded"})), FactKind::Refunded);
}
