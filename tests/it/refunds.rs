//! Money that goes back, is disputed, or comes when it should not: what ends a service, and what the operator hears of.

use jobrun::demo::Stage;
use jobrun_shared::operator;
use jobrun_stand_in::stripe::{Sale, Shape};
use jobrun_tests::{count, numbers, phone, stage_with, texts};
use serde_json::{Value, json};

use crate::payments::{LINK, clients_at_the_gate, standing, tell_all, told_in_every_order};

const SERVED: &str = "active t t S6_PHONE_TYPE";

const ENDED: &str = "ended f f S5_CONFIRM_LIVE";

/// Clients who wait at the gate, enough numbers for them, and a sale to each.
async fn sales(how_many: usize) -> (Stage, Vec<Sale>) {
    let stage = stage_with(1, &LINK).await;
    operator::seed(&stage.pool, &numbers(how_many)).await.unwrap();
    let references = clients_at_the_gate(&stage.pool, how_many).await;
    (stage, references.iter().map(|reference| Sale::new(Some(reference))).collect())
}

async fn open_alerts(stage: &Stage) -> Vec<String> {
    texts(&stage.pool, "SELECT cause FROM alerts WHERE cleared_at IS NULL ORDER BY cause").await
}

async fn words_of(stage: &Stage, cause: &str) -> String {
    let about = sqlx::query_scalar("SELECT about FROM alerts WHERE cause = $1 AND cleared_at IS NULL");
    let about: String = about.bind(cause).fetch_one(&stage.pool).await.unwrap();
    assert!(!about.contains("  "), "a line continuation is lost in: {about}");
    about
}

/// What the payment of a month is told with.
fn renewed(sale: &Sale) -> Vec<Value> {
    let mut events = vec![sale.invoice_paid()];
    if sale.shape == Shape::New {
        events.push(sale.invoice_payment_paid());
    }
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_ends_a_service_only_if_it_is_of_the_month_that_is_served() {
    let (stage, mut sales) = sales(2).await;
    sales[1].shape = Shape::Old;
    for (n, first) in (1..).zip(&sales) {
        let client = format!("client-{n}");
        let (second, third) = (first.next_month(), first.next_month().next_month());
        tell_all(&stage, &[first.paid_by_card(), renewed(&second), renewed(&third)].concat()).await;
        for earlier in [first, &second] {
            tell_all(&stage, &[Sale { at: third.at + 10, ..earlier.clone() }.refunded()]).await;
            assert_eq!(standing(&stage.pool, &client).await, SERVED, "month {} is refunded", earlier.month);
        }
        assert_eq!(open_alerts(&stage).await, [""; 0]);
        tell_all(&stage, &[third.after(20).refunded()]).await;
        assert_eq!(standing(&stage.pool, &client).await, ENDED, "the month that is served is");
        let fourth = third.next_month();
        tell_all(&stage, &renewed(&fourth)).await;
        assert_eq!(standing(&stage.pool, &client).await, SERVED, "until the next one is paid");
    }
    assert_eq!(count(&stage.pool, "SELECT count(*) FROM payment_events WHERE kind = 'charge.refunded'").await, 6);
    stage.strike().await.unwrap();
}

/// A payer may buy something else, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_refund_of_another_payment_of_the_same_payer_ends_nothing() {
    let (stage, sales) = sales(2).await;
    let sale = &sales[0];
    tell_all(&stage, &sale.paid_by_card()).await;
    // Sold by a link of ours: it is known by its checkout, and by the payment that the checkout names.
    let once = Sale { customer: sale.customer.clone(), ..Sale::new(sales[1].reference.as_deref()) };
    let mut checkout = once.checkout_completed("paid");
    let session = &mut checkout["data"]["object"];
    session["mode"] = json!("payment");
    session["payment_intent"] = json!(once.name("pi"));
    (session["subscription"], session["invoice"]) = (Value::Null, Value::Null);
    tell_all(&stage, &[checkout]).await;
    assert_eq!(standing(&stage.pool, "client-2").await, SERVED);
    tell_all(&stage, &[once.after(60).refunded()]).await;
    assert_eq!(standing(&stage.pool, "client-1").await, SERVED);
    assert_eq!(standing(&stage.pool, "client-2").await, ENDED, "what the one-off paid for");
    assert_eq!(open_alerts(&stage).await, [""; 0]);

    // Sold in another way: nothing but the refund was ever told of it.
    let unheard = Sale { customer: sale.customer.clone(), ..Sale::new(None) }.after(60).refunded();
    tell_all(&stage, std::slice::from_ref(&unheard)).await;
    assert_eq!(standing(&stage.pool, "client-1").await, SERVED);
    let cause = format!("refund-unclear:{}", unheard["id"].as_str().unwrap());
    assert_eq!(open_alerts(&stage).await, [cause]);
    let stranger = Sale::new(None).refunded();
    tell_all(&stage, &[stranger]).await;
    assert_eq!(open_alerts(&stage).await.len(), 1, "a payer of something else is of no concern");
    stage.strike().await.unwrap();
}

/// Which payment it was may be told last.
#[tokio::test(flavor = "multi_thread")]
async fn a_refund_that_is_unclear_ends_nothing_until_it_becomes_clear() {
    let (stage, sales) = sales(1).await;
    let mut events = sales[0].paid_by_card();
    let paid_with = events.pop().unwrap();
    let refund = sales[0].after(60).refunded();
    let cause = format!("refund-unclear:{}", refund["id"].as_str().unwrap());
    // Even before anything is known of the payer.
    tell_all(&stage, &[refund]).await;
    assert_eq!(open_alerts(&stage).await, [""; 0]);
    tell_all(&stage, &events).await;
    assert_eq!(standing(&stage.pool, "client-1").await, SERVED);
    assert_eq!(open_alerts(&stage).await, [cause]);
    tell_all(&stage, &[paid_with]).await;
    assert_eq!(standing(&stage.pool, "client-1").await, ENDED);
    assert_eq!(open_alerts(&stage).await, [""; 0]);
    assert_eq!(count(&stage.pool, "SELECT max(times) FROM alerts").await, 1);
    stage.strike().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_that_fails_is_no_refund_and_the_operator_hears_of_it() {
    let (stage, sales) = sales(1).await;
    let sale = &sales[0];
    tell_all(&stage, &sale.paid_by_card()).await;
    tell_all(&stage, &[sale.after(60).refunded(), sale.after(60).refund("refund.updated", "pending")]).await;
    assert_eq!(standing(&stage.pool, "client-1").await, ENDED);
    let failed = sale.after(3600);
    tell_all(&stage, &[failed.refund("refund.failed", "failed"), failed.refund("charge.refund.updated", "failed")])
        .await;
    assert_eq!(standing(&stage.pool, "client-1").await, SERVED);
    assert!(stage.stand_in.bodies_to(&phone(1)).pop().unwrap().starts_with("Your JobRun number is +447100000001"));
    let cause = format!("refund-failed:{}", sale.name("re"));
    assert!(words_of(&stage, &cause).await.contains("client-1"));
    assert_eq!(open_alerts(&stage).await, [cause]);
    stage.strike().await.unwrap();
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
async fn a_refund_stands_the_same_in_whatever_order_it_is_told() {
    told_in_every_order(refunded_and_failed, 4, &[&[0]], ENDED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_that_fails_stands_the_same_in_whatever_order_it_is_told() {
    told_in_every_order(refunded_and_failed, 5, &[&[0]], SERVED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dispute_reaches_the_operator_and_ends_nothing() {
    let (stage, sales) = sales(3).await;
    for sale in &sales {
        tell_all(&stage, &sale.paid_by_card()).await;
    }
    let (won, lost) = (&sales[0], &sales[1]);
    let open = |sale: &Sale| format!("dispute:{}", sale.name("du"));
    let gone = |sale: &Sale| format!("dispute-lost:{}", sale.name("du"));
    tell_all(&stage, &[won.dispute("created", "needs_response"), lost.dispute("created", "needs_response")]).await;
    let mut both = vec![open(won), open(lost)];
    both.sort();
    assert_eq!(open_alerts(&stage).await, both);
    let words = words_of(&stage, &open(won)).await;
    let due_by = chrono::DateTime::from_timestamp(won.at + 7 * 24 * 60 * 60, 0).unwrap();
    let due_by = due_by.format("%Y-%m-%d %H:%M UTC").to_string();
    assert!(words.contains("client-1") && words.contains(&due_by), "{words}");

    tell_all(&stage, &[won.after(60).dispute("updated", "under_review")]).await;
    assert!(words_of(&stage, &open(won)).await.contains("The bank has the evidence"));
    tell_all(&stage, &[won.after(90).dispute("closed", "won"), lost.after(90).dispute("closed", "lost")]).await;
    assert_eq!(open_alerts(&stage).await, [gone(lost)]);
    assert!(words_of(&stage, &gone(lost)).await.contains("client-2"));
    // What is told late of its beginning opens nothing again.
    tell_all(&stage, &[won.after(1).dispute("funds_withdrawn", "needs_response")]).await;
    tell_all(&stage, &[lost.after(1).dispute("funds_withdrawn", "needs_response")]).await;
    assert_eq!(open_alerts(&stage).await, [gone(lost)]);

    tell_all(&stage, &[sales[2].after(90).dispute("closed", "lost"), sales[2].dispute("created", "needs_response")])
        .await;
    assert!(
        !open_alerts(&stage).await.contains(&open(&sales[2])) && open_alerts(&stage).await.contains(&gone(&sales[2]))
    );
    let nobody_s = Sale::new(None);
    tell_all(&stage, &[nobody_s.dispute("created", "warning_needs_response")]).await;
    assert!(words_of(&stage, &open(&nobody_s)).await.contains("whom we do not know"));
    for n in 1..=3 {
        assert_eq!(standing(&stage.pool, &format!("client-{n}")).await, SERVED, "client-{n}");
    }
    stage.strike().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn money_that_comes_after_the_end_reaches_the_operator() {
    let (stage, sales) = sales(2).await;
    let (renewed_late, sold_late) = (&sales[0], &sales[1]);
    tell_all(&stage, &renewed_late.paid_by_card()).await;
    let over = renewed_late.after(100);
    tell_all(&stage, &[over.subscription("deleted", "canceled", None)]).await;
    assert_eq!(standing(&stage.pool, "client-1").await, ENDED);
    assert_eq!(open_alerts(&stage).await, [""; 0]);
    let late = over.next_month();
    tell_all(&stage, &renewed(&late)).await;
    assert_eq!(standing(&stage.pool, "client-1").await, ENDED);
    let cause = format!("paid-after-end:{}", late.subscription);
    assert!(words_of(&stage, &cause).await.contains("Client client-1 paid"));
    assert_eq!(open_alerts(&stage).await, [cause]);
    tell_all(&stage, &[late.after(60).refunded()]).await;
    assert_eq!(open_alerts(&stage).await, [""; 0], "given back");

    let deleted = sold_late.subscription("deleted", "canceled", None);
    tell_all(&stage, &[deleted, sold_late.after(60).checkout_completed("paid")]).await;
    assert_eq!(open_alerts(&stage).await, [format!("paid-after-end:{}", sold_late.subscription)]);
    assert_eq!(standing(&stage.pool, "client-2").await, ENDED);
    stage.strike().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkout_that_does_not_say_whether_it_is_paid_reaches_the_operator() {
    let (stage, sales) = sales(4).await;
    let fields = [
        ("payment_status", Value::Null),
        ("payment_status", json!("new")),
        ("mode", Value::Null),
        ("mode", json!("new")),
    ];
    for (n, (sale, (field, value))) in (1..).zip(sales.iter().zip(fields)) {
        let mut checkout = sale.checkout_completed("paid");
        checkout["data"]["object"][field] = value;
        tell_all(&stage, &[checkout]).await;
        let cause = format!("checkout-unclear:{}", sale.subscription);
        assert!(words_of(&stage, &cause).await.contains(&format!("Client client-{n} went through the checkout")));
        assert_eq!(open_alerts(&stage).await, [cause], "{field}");
        let id = format!("client-{n}");
        assert_eq!(standing(&stage.pool, &id).await, "awaited f f S5_CONFIRM_LIVE", "and is not asked to pay twice");
        tell_all(&stage, &[sale.invoice_paid()]).await;
        assert_eq!(standing(&stage.pool, &id).await, SERVED);
        assert_eq!(open_alerts(&stage).await, [""; 0]);
    }
    stage.strike().await.unwrap();
}
