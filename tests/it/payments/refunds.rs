//! Refunds, disputes and unexpected payments: which of them end a service, and which raise an alert.

use jobrun::demo::TestSystem;
use jobrun_shared::numbers::seed_release;
use jobrun_stand_in::stripe::{Sale, Shape};
use jobrun_tests::{count, numbers, phone, test_system_with, texts};
use serde_json::{Value, json};

use crate::payments::subscriptions::{LINK, clients_at_payment_gate, deliver_all, deliver_in_every_order, standing};

const SERVED: &str = "active t t S6_PHONE_TYPE";

const ENDED: &str = "ended f f S5_CONFIRM_LIVE";

/// Starts a test system with clients who wait at the payment gate and enough numbers. Returns it with a sale to each client.
async fn sales(how_many: usize) -> (TestSystem, Vec<Sale>) {
    let system = test_system_with(1, &LINK).await;
    seed_release::seed(&system.pool, &numbers(how_many)).await.unwrap();
    let references = clients_at_payment_gate(&system.pool, how_many).await;
    (system, references.iter().map(|reference| Sale::new(Some(reference))).collect())
}

async fn open_alerts(system: &TestSystem) -> Vec<String> {
    texts(&system.pool, "SELECT cause FROM alerts WHERE cleared_at IS NULL ORDER BY cause").await
}

async fn alert_message(system: &TestSystem, cause: &str) -> String {
    let about = sqlx::query_scalar("SELECT about FROM alerts WHERE cause = $1 AND cleared_at IS NULL");
    let about: String = about.bind(cause).fetch_one(&system.pool).await.unwrap();
    assert!(!about.contains("  "), "a line continuation is lost in: {about}");
    about
}

/// Returns the events about the payment of a month.
fn renewed(sale: &Sale) -> Vec<Value> {
    let mut events = vec![sale.invoice_paid()];
    if sale.shape == Shape::New {
        events.push(sale.invoice_payment_paid());
    }
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_ends_a_service_only_if_it_is_of_the_current_month() {
    let (system, mut sales) = sales(2).await;
    sales[1].shape = Shape::Old;
    for (n, first) in (1..).zip(&sales) {
        let client = format!("client-{n}");
        let (second, third) = (first.next_month(), first.next_month().next_month());
        deliver_all(&system, &[first.paid_by_card(), renewed(&second), renewed(&third)].concat()).await;
        for earlier in [first, &second] {
            deliver_all(&system, &[Sale { at: third.at + 10, ..earlier.clone() }.refunded()]).await;
            assert_eq!(standing(&system.pool, &client).await, SERVED, "month {} is refunded", earlier.month);
        }
        assert_eq!(open_alerts(&system).await, [""; 0]);
        deliver_all(&system, &[third.after(20).refunded()]).await;
        assert_eq!(standing(&system.pool, &client).await, ENDED, "the current month is refunded");
        let fourth = third.next_month();
        deliver_all(&system, &renewed(&fourth)).await;
        assert_eq!(standing(&system.pool, &client).await, SERVED, "until the next month is paid");
    }
    assert_eq!(count(&system.pool, "SELECT count(*) FROM payment_events WHERE kind = 'charge.refunded'").await, 6);
    system.shut_down().await.unwrap();
}

/// A payer may buy something else as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_refund_of_another_payment_of_the_same_payer_ends_nothing() {
    let (system, sales) = sales(2).await;
    let sale = &sales[0];
    deliver_all(&system, &sale.paid_by_card()).await;
    // Sold by a link of ours: the payment is known by the checkout that names it.
    let once = Sale { customer: sale.customer.clone(), ..Sale::new(sales[1].reference.as_deref()) };
    let mut checkout = once.checkout_completed("paid");
    let session = &mut checkout["data"]["object"];
    session["mode"] = json!("payment");
    session["payment_intent"] = json!(once.name("pi"));
    (session["subscription"], session["invoice"]) = (Value::Null, Value::Null);
    deliver_all(&system, &[checkout]).await;
    assert_eq!(standing(&system.pool, "client-2").await, SERVED);
    deliver_all(&system, &[once.after(60).refunded()]).await;
    assert_eq!(standing(&system.pool, "client-1").await, SERVED);
    assert_eq!(standing(&system.pool, "client-2").await, ENDED, "the one-off payment is refunded");
    assert_eq!(open_alerts(&system).await, [""; 0]);

    // Sold in another way: only the refund is known.
    let unheard = Sale { customer: sale.customer.clone(), ..Sale::new(None) }.after(60).refunded();
    deliver_all(&system, std::slice::from_ref(&unheard)).await;
    assert_eq!(standing(&system.pool, "client-1").await, SERVED);
    let cause = format!("refund-unclear:{}", unheard["id"].as_str().unwrap());
    assert_eq!(open_alerts(&system).await, [cause]);
    let stranger = Sale::new(None).refunded();
    deliver_all(&system, &[stranger]).await;
    assert_eq!(open_alerts(&system).await.len(), 1, "a payer of something else is of no concern");
    system.shut_down().await.unwrap();
}

/// The event that names the refunded payment may arrive last.
#[tokio::test(flavor = "multi_thread")]
async fn an_unclear_refund_ends_nothing_until_it_becomes_clear() {
    let (system, sales) = sales(1).await;
    let mut events = sales[0].paid_by_card();
    let paid_with = events.pop().unwrap();
    let refund = sales[0].after(60).refunded();
    let cause = format!("refund-unclear:{}", refund["id"].as_str().unwrap());
    // The refund arrives before the payer is known.
    deliver_all(&system, &[refund]).await;
    assert_eq!(open_alerts(&system).await, [""; 0]);
    deliver_all(&system, &events).await;
    assert_eq!(standing(&system.pool, "client-1").await, SERVED);
    assert_eq!(open_alerts(&system).await, [cause]);
    deliver_all(&system, &[paid_with]).await;
    assert_eq!(standing(&system.pool, "client-1").await, ENDED);
    assert_eq!(open_alerts(&system).await, [""; 0]);
    assert_eq!(count(&system.pool, "SELECT max(times) FROM alerts").await, 1);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_that_fails_restores_the_service_and_raises_an_alert() {
    let (system, sales) = sales(1).await;
    let sale = &sales[0];
    deliver_all(&system, &sale.paid_by_card()).await;
    deliver_all(&system, &[sale.after(60).refunded(), sale.after(60).refund("refund.updated", "pending")]).await;
    assert_eq!(standing(&system.pool, "client-1").await, ENDED);
    let failed = sale.after(3600);
    deliver_all(&system, &[failed.refund("refund.failed", "failed"), failed.refund("charge.refund.updated", "failed")])
        .await;
    assert_eq!(standing(&system.pool, "client-1").await, SERVED);
    assert!(system.stand_in.bodies_to(&phone(1)).pop().unwrap().starts_with("Your JobRun number is +447100000001"));
    let cause = format!("refund-failed:{}", sale.name("re"));
    assert!(alert_message(&system, &cause).await.contains("client-1"));
    assert_eq!(open_alerts(&system).await, [cause]);
    system.shut_down().await.unwrap();
}

fn refunded_and_failed(sale: &Sale) -> Vec<Value> {
    vec![
        sale.checkout_completed("paid"),
        sale.invoice_paid(),
        sale.invoice_payment_paid(),
        sale.after(100).refunded(),
        sale.after(200).refund("refund.updated", "failed"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_has_the_same_effect_in_every_order_of_events() {
    deliver_in_every_order(refunded_and_failed, 4, &[&[0]], ENDED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_that_fails_has_the_same_effect_in_every_order_of_events() {
    deliver_in_every_order(refunded_and_failed, 5, &[&[0]], SERVED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dispute_raises_an_alert_and_ends_no_service() {
    let (system, sales) = sales(3).await;
    for sale in &sales {
        deliver_all(&system, &sale.paid_by_card()).await;
    }
    let (won, lost) = (&sales[0], &sales[1]);
    let open = |sale: &Sale| format!("dispute:{}", sale.name("du"));
    let gone = |sale: &Sale| format!("dispute-lost:{}", sale.name("du"));
    deliver_all(&system, &[won.dispute("created", "needs_response"), lost.dispute("created", "needs_response")]).await;
    let mut both = vec![open(won), open(lost)];
    both.sort();
    assert_eq!(open_alerts(&system).await, both);
    let words = alert_message(&system, &open(won)).await;
    let due_by = chrono::DateTime::from_timestamp(won.at + 7 * 24 * 60 * 60, 0).unwrap();
    let due_by = due_by.format("%Y-%m-%d %H:%M UTC").to_string();
    assert!(words.contains("client-1") && words.contains(&due_by), "{words}");

    deliver_all(&system, &[won.after(60).dispute("updated", "under_review")]).await;
    assert!(alert_message(&system, &open(won)).await.contains("The bank has the evidence"));
    deliver_all(&system, &[won.after(90).dispute("closed", "won"), lost.after(90).dispute("closed", "lost")]).await;
    assert_eq!(open_alerts(&system).await, [gone(lost)]);
    assert!(alert_message(&system, &gone(lost)).await.contains("client-2"));
    // A late event about the beginning of a dispute reopens no alert.
    deliver_all(&system, &[won.after(1).dispute("funds_withdrawn", "needs_response")]).await;
    deliver_all(&system, &[lost.after(1).dispute("funds_withdrawn", "needs_response")]).await;
    assert_eq!(open_alerts(&system).await, [gone(lost)]);

    deliver_all(
        &system,
        &[sales[2].after(90).dispute("closed", "lost"), sales[2].dispute("created", "needs_response")],
    )
    .await;
    assert!(
        !open_alerts(&system).await.contains(&open(&sales[2])) && open_alerts(&system).await.contains(&gone(&sales[2]))
    );
    let nobody_s = Sale::new(None);
    deliver_all(&system, &[nobody_s.dispute("created", "warning_needs_response")]).await;
    assert!(alert_message(&system, &open(&nobody_s)).await.contains("whom we do not know"));
    for n in 1..=3 {
        assert_eq!(standing(&system.pool, &format!("client-{n}")).await, SERVED, "client-{n}");
    }
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_after_the_end_of_its_subscription_raises_an_alert() {
    let (system, sales) = sales(2).await;
    let (renewed_late, sold_late) = (&sales[0], &sales[1]);
    deliver_all(&system, &renewed_late.paid_by_card()).await;
    let over = renewed_late.after(100);
    deliver_all(&system, &[over.subscription("deleted", "canceled", None)]).await;
    assert_eq!(standing(&system.pool, "client-1").await, ENDED);
    assert_eq!(open_alerts(&system).await, [""; 0]);
    let late = over.next_month();
    deliver_all(&system, &renewed(&late)).await;
    assert_eq!(standing(&system.pool, "client-1").await, ENDED);
    let cause = format!("paid-after-end:{}", late.subscription);
    assert!(alert_message(&system, &cause).await.contains("Client client-1 paid"));
    assert_eq!(open_alerts(&system).await, [cause]);
    deliver_all(&system, &[late.after(60).refunded()]).await;
    assert_eq!(open_alerts(&system).await, [""; 0], "the payment is refunded");

    let deleted = sold_late.subscription("deleted", "canceled", None);
    deliver_all(&system, &[deleted, sold_late.after(60).checkout_completed("paid")]).await;
    assert_eq!(open_alerts(&system).await, [format!("paid-after-end:{}", sold_late.subscription)]);
    assert_eq!(standing(&system.pool, "client-2").await, ENDED);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkout_that_does_not_say_whether_it_is_paid_raises_an_alert() {
    let (system, sales) = sales(4).await;
    let fields = [
        ("payment_status", Value::Null),
        ("payment_status", json!("new")),
        ("mode", Value::Null),
        ("mode", json!("new")),
    ];
    for (n, (sale, (field, value))) in (1..).zip(sales.iter().zip(fields)) {
        let mut checkout = sale.checkout_completed("paid");
        checkout["data"]["object"][field] = value;
        deliver_all(&system, &[checkout]).await;
        let cause = format!("checkout-unclear:{}", sale.subscription);
        assert!(alert_message(&system, &cause).await.contains(&format!("Client client-{n} went through the checkout")));
        assert_eq!(open_alerts(&system).await, [cause], "{field}");
        let id = format!("client-{n}");
        assert_eq!(standing(&system.pool, &id).await, "awaited f f S5_CONFIRM_LIVE", "and is not asked to pay twice");
        deliver_all(&system, &[sale.invoice_paid()]).await;
        assert_eq!(standing(&system.pool, &id).await, SERVED);
        assert_eq!(open_alerts(&system).await, [""; 0]);
    }
    system.shut_down().await.unwrap();
}
