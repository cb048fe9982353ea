//! Payments: they advance the conversation in any order in which Stripe delivers its events, and their end ends the service.

use std::collections::BTreeSet;

use futures::future::join_all;
use futures::{StreamExt, stream};
use jobrun::demo::TestSystem;
use jobrun_shared::numbers::seed_release;
use jobrun_stand_in::stripe::{Sale, Shape};
use jobrun_tests::{PATIENCE, count, eventually, numbers, phone, say, test_system, test_system_with, texts};
use serde_json::Value;
use sqlx::PgPool;

/// The payment link is set up; secret and mode are the stand-in's.
pub(crate) const LINK: [(&str, &str); 1] = [("PAYMENT_LINK_URL", "https://buy.stripe.com/test_link")];

const ANN: &str = "+447900000001";

/// Texts a reply to each of the five questions, up to the payment gate. Returns the reference in the payment link of the reply.
pub(crate) async fn sign_up_to_payment_gate(system: &TestSystem, phone: &str) -> String {
    for body in ["Plumber from London", "ABC Plumbing", "John Smith", "SMS"] {
        say(system, phone, body).await;
    }
    reference_in(&say(system, phone, "YES").await[0])
}

fn reference_in(text: &str) -> String {
    let link = "https://buy.stripe.com/test_link?client_reference_id=";
    let reference = text.split(link).nth(1).expect(text).split_whitespace().next().unwrap();
    assert!(reference.len() >= 32 && reference.chars().all(|it| it.is_ascii_alphanumeric()), "{reference}");
    reference.to_owned()
}

pub(crate) async fn deliver(system: &TestSystem, event: &Value) {
    assert_eq!(system.stand_in.stripe(event).await.unwrap().status, 200, "{event}");
}

pub(crate) async fn deliver_all(system: &TestSystem, events: &[Value]) {
    for event in events {
        deliver(system, event).await;
    }
    system.settle().await.unwrap();
}

/// Makes clients who wait at the payment gate and have not paid: `client-1` and so on. Returns their references.
pub(crate) async fn clients_at_payment_gate(pool: &PgPool, how_many: usize) -> Vec<String> {
    jobrun_tests::paid_clients(pool, "client", how_many).await;
    let at_the_gate = r#"UPDATE clients SET "paymentActive" = FALSE;
                         INSERT INTO onboarding_states (client_id, current_state) SELECT id, 'S5_CONFIRM_LIVE' FROM clients"#;
    sqlx::raw_sql(at_the_gate).execute(pool).await.unwrap();
    let mut references = Vec::new();
    for n in 1..=how_many {
        let reference = sqlx::query_scalar(r#"SELECT "paymentReference" FROM clients WHERE id = $1"#);
        references.push(reference.bind(format!("client-{n}")).fetch_one(pool).await.unwrap());
    }
    references
}

/// Returns a client's payment status, whether its payment gate is open, whether it holds a number, and its state.
pub(crate) async fn standing(pool: &PgPool, id: &str) -> String {
    let standing = r#"SELECT concat_ws(' ', "paymentStanding", "paymentActive", "twilioNumber" IS NOT NULL, current_state)
                      FROM clients LEFT JOIN onboarding_states ON client_id = id WHERE id = $1"#;
    sqlx::query_scalar(standing).bind(id).fetch_one(pool).await.unwrap()
}

async fn ann_s_standing(system: &TestSystem) -> String {
    let id: String = sqlx::query_scalar("SELECT id FROM clients").fetch_one(&system.pool).await.unwrap();
    standing(&system.pool, &id).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_lets_a_client_through_the_payment_gate_without_another_text() {
    let system = test_system_with(2, &LINK).await;
    seed_release::seed(&system.pool, &numbers(2)).await.unwrap();
    let reference = sign_up_to_payment_gate(&system, ANN).await;
    let before = system.stand_in.bodies_to(ANN).len();
    deliver_all(&system, &Sale::new(Some(&reference)).paid_by_card()).await;

    let said = system.stand_in.bodies_to(ANN).split_off(before);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("Your JobRun number is +447100000001"), "{said:?}");
    assert_eq!(ann_s_standing(&system).await, "active t t S6_PHONE_TYPE");
    let journal = system.workers.iter().flat_map(|worker| worker.lines()).collect::<Vec<_>>().join("\n");
    assert!(journal.contains("✅ [PAYMENT_GATE] Number allocated: +447100000001"), "{journal}");
    assert!(say(&system, ANN, "1").await[0].contains("+447100000001"), "and the conversation goes on");
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delayed_payment_is_awaited_and_one_that_fails_is_asked_for_again() {
    let system = test_system_with(1, &LINK).await;
    seed_release::seed(&system.pool, &numbers(1)).await.unwrap();
    let reference = sign_up_to_payment_gate(&system, ANN).await;
    let sale = Sale::new(Some(&reference));
    // A subscription paid by the bank is active days before the money arrives.
    deliver_all(&system, &[sale.subscription("created", "active", None), sale.checkout_completed("unpaid")]).await;
    let last = async || system.stand_in.bodies_to(ANN).pop().unwrap();
    assert!(last().await.contains("still confirming"), "{}", last().await);
    assert_eq!(ann_s_standing(&system).await, "awaited f f S5_CONFIRM_LIVE");
    assert!(say(&system, ANN, "READY").await[0].contains("still confirming"), "and is not asked to pay twice");

    deliver_all(&system, &[sale.after(60).delayed_payment(false)]).await;
    assert!(last().await.contains("didn't go through"), "{}", last().await);
    assert_eq!(reference_in(&last().await), reference);
    assert_eq!(ann_s_standing(&system).await, "none f f S5_CONFIRM_LIVE");

    let again = Sale::new(Some(&reference));
    deliver_all(&system, &[again.checkout_completed("unpaid"), again.after(60).delayed_payment(true)]).await;
    assert_eq!(ann_s_standing(&system).await, "active t t S6_PHONE_TYPE");
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn past_due_keeps_the_service_and_the_end_of_the_subscription_takes_the_number() {
    let system = test_system_with(2, &LINK).await;
    seed_release::seed(&system.pool, &numbers(2)).await.unwrap();
    let reference = sign_up_to_payment_gate(&system, ANN).await;
    let sale = Sale { shape: Shape::Old, ..Sale::new(Some(&reference)) };
    deliver_all(&system, &sale.paid_by_card()).await;
    for body in ["1", "DONE"] {
        say(&system, ANN, body).await;
    }
    system.stand_in.call("+447700900123", "+447100000001").await.unwrap();
    system.settle().await.unwrap();
    assert_eq!(ann_s_standing(&system).await, "active t t COMPLETE");

    let before = system.stand_in.bodies_to(ANN).len();
    let late = sale.after(3600);
    let failed = [late.invoice_payment_failed(), late.subscription("updated", "past_due", Some("active"))];
    deliver_all(&system, &failed).await;
    deliver_all(&system, &[late.after(3600).subscription("updated", "past_due", None), failed[0].clone()]).await;
    let said = system.stand_in.bodies_to(ANN).split_off(before);
    assert_eq!(said.len(), 1, "one friendly text: {said:?}");
    assert!(said[0].contains("your number stays yours"), "{said:?}");
    assert_eq!(ann_s_standing(&system).await, "past_due t t COMPLETE");
    deliver_all(&system, &[late.after(7200).subscription("updated", "active", Some("past_due"))]).await;
    assert_eq!(ann_s_standing(&system).await, "active t t COMPLETE");

    let over = sale.after(1_000_000);
    deliver_all(&system, &[over.subscription("updated", "unpaid", Some("past_due"))]).await;
    let said = system.stand_in.bodies_to(ANN).split_off(before + 1);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0]
            .starts_with("Your JobRun service has ended. To switch call forwarding off, dial ##002# and press call."),
        "{said:?}"
    );
    assert_eq!(reference_in(&said[0]), reference);
    assert_eq!(ann_s_standing(&system).await, "ended f f S5_CONFIRM_LIVE");
    assert_eq!(
        texts(&system.pool, "SELECT status FROM twilio_number_pool ORDER BY 1").await,
        ["AVAILABLE", "COOLING_DOWN"]
    );

    // A client who returns while its number cools down gets it back.
    deliver_all(&system, &Sale::new(Some(&reference)).paid_by_card()).await;
    let back = system.stand_in.bodies_to(ANN).pop().unwrap();
    assert!(back.starts_with("Your JobRun number is +447100000001"), "{back}");
    assert_eq!(ann_s_standing(&system).await, "active t t S6_PHONE_TYPE");
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_for_a_subscription_to_end_ends_the_service() {
    let system = test_system_with(1, &LINK).await;
    seed_release::seed(&system.pool, &numbers(4)).await.unwrap();
    let sales: Vec<Sale> =
        clients_at_payment_gate(&system.pool, 4).await.iter().map(|reference| Sale::new(Some(reference))).collect();
    for sale in &sales {
        deliver_all(&system, &sale.paid_by_card()).await;
    }
    let later: Vec<Sale> = sales.iter().map(|sale| sale.after(100)).collect();
    let ends = [
        later[0].subscription("deleted", "canceled", None),
        later[1].subscription("paused", "paused", None),
        later[2].subscription("updated", "unpaid", Some("past_due")),
        later[3].refunded(),
    ];
    deliver_all(&system, &ends).await;
    for n in 1..=4 {
        assert_eq!(standing(&system.pool, &format!("client-{n}")).await, "ended f f S5_CONFIRM_LIVE", "client-{n}");
        assert!(system.stand_in.bodies_to(&phone(n))[1].contains("service has ended"));
    }
    system.shut_down().await.unwrap();
}

/// Returns every order of `events`.
fn permutations(events: &[usize]) -> Vec<Vec<usize>> {
    let Some((first, rest)) = events.split_first() else { return vec![Vec::new()] };
    let into = |shorter: Vec<usize>| {
        (0..=shorter.len()).map(move |place| {
            let mut longer = shorter.clone();
            longer.insert(place, *first);
            longer
        })
    };
    permutations(rest).into_iter().flat_map(into).collect()
}

/// Returns the events of a subscription that is paid by card, fails to be renewed, and ends.
fn by_card(sale: &Sale) -> Vec<Value> {
    let mut events = sale.paid_by_card();
    // The event that names the payment of the invoice matters to refunds only.
    events.truncate(CHECKOUT + 1);
    events.push(sale.after(100).subscription("updated", "past_due", Some("active")));
    events.push(sale.after(200).subscription("deleted", "canceled", None));
    events
}

const INVOICE: usize = 1;
const CHECKOUT: usize = 3;

/// Returns the events of a subscription that is paid by the bank, with a delay.
fn by_bank(sale: &Sale) -> Vec<Value> {
    vec![
        sale.subscription("created", "active", None),
        sale.checkout_completed("unpaid"),
        sale.after(60).delayed_payment(true),
        sale.after(100).subscription("updated", "past_due", Some("active")),
        sale.after(200).subscription("updated", "active", Some("past_due")),
    ]
}

/// Returns the events of a subscription paid by card and cancelled, and of a second one by the bank that is never paid.
fn by_card_and_never_by_bank(sale: &Sale) -> Vec<Value> {
    let second = Sale::new(sale.reference.as_deref());
    vec![
        sale.checkout_completed("paid"),
        sale.after(100).subscription("deleted", "canceled", None),
        second.checkout_completed("unpaid"),
        second.after(60).delayed_payment(false),
        second.after(200).subscription("deleted", "canceled", None),
    ]
}

/// Delivers the same events for each client in an order of its own, one event a round, some of them twice. Asserts that a client
/// holds a number only after all events of one of the sets `paid`, and that each ends in the status `expected`.
pub(crate) async fn deliver_in_every_order(
    events_of: fn(&Sale) -> Vec<Value>,
    how_many: usize,
    paid: &[&[usize]],
    expected: &str,
) {
    let system = test_system_with(2, &LINK).await;
    let orders = permutations(&(0..how_many).collect::<Vec<_>>());
    seed_release::seed(&system.pool, &numbers(orders.len())).await.unwrap();
    let references = clients_at_payment_gate(&system.pool, orders.len()).await;
    let events_by_client: Vec<Vec<Value>> =
        references.iter().map(|reference| events_of(&Sale::new(Some(reference)))).collect();
    for round in 0..how_many {
        let deliveries = orders.iter().zip(&events_by_client).enumerate().map(|(n, (order, events_of))| {
            let system = &system;
            async move {
                deliver(system, &events_of[order[round]]).await;
                // Every third client gets one of its earlier events again.
                if n % 3 == 0 {
                    deliver(system, &events_of[order[n % (round + 1)]]).await;
                }
            }
        });
        stream::iter(deliveries).buffer_unordered(40).collect::<Vec<()>>().await;
        system.settle().await.unwrap();
        let holders: BTreeSet<String> =
            texts(&system.pool, r#"SELECT id FROM clients WHERE "twilioNumber" IS NOT NULL OR "paymentActive""#)
                .await
                .into_iter()
                .collect();
        for (n, order) in orders.iter().enumerate().filter(|(n, _)| holders.contains(&format!("client-{}", n + 1))) {
            let delivered = &order[..=round];
            let is_paid = paid.iter().any(|all| all.iter().all(|event| delivered.contains(event)));
            assert!(is_paid, "client-{} after {delivered:?} of {order:?}", n + 1);
        }
    }
    for (n, order) in orders.iter().enumerate() {
        let id = format!("client-{}", n + 1);
        assert_eq!(standing(&system.pool, &id).await, expected, "{id}, told in the order {order:?}");
    }
    let distinct = r#"SELECT count(DISTINCT "twilioNumber") - count("twilioNumber") FROM clients"#;
    assert_eq!(count(&system.pool, distinct).await, 0);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_goes_on_has_the_same_standing_in_every_order_of_its_events() {
    deliver_in_every_order(by_card, 5, &[&[CHECKOUT]], "past_due t t S6_PHONE_TYPE").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_ends_has_the_same_standing_in_every_order_of_its_events() {
    deliver_in_every_order(by_card, 6, &[&[CHECKOUT]], "ended f f S5_CONFIRM_LIVE").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_is_paid_later_has_the_same_standing_in_every_order_of_its_events() {
    // The event of the delayed payment names the client as well.
    deliver_in_every_order(by_bank, 5, &[&[2]], "active t t S6_PHONE_TYPE").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_subscriptions_of_a_client_have_the_same_standing_in_every_order_of_their_events() {
    deliver_in_every_order(by_card_and_never_by_bank, 5, &[&[0]], "ended f f S5_CONFIRM_LIVE").await;
}

/// One subscription is paid by card and fails to be renewed; the other awaits a payment by the bank, which fails.
#[tokio::test(flavor = "multi_thread")]
async fn no_client_is_served_for_a_payment_that_is_only_on_its_way() {
    let system = test_system_with(1, &LINK).await;
    seed_release::seed(&system.pool, &numbers(1)).await.unwrap();
    let reference = clients_at_payment_gate(&system.pool, 1).await.remove(0);
    let (card, bank) = (Sale::new(Some(&reference)), Sale::new(Some(&reference)));
    deliver_all(&system, &card.paid_by_card()).await;
    deliver_all(&system, &[card.after(10).subscription("updated", "past_due", Some("active"))]).await;
    deliver_all(&system, &[bank.after(20).checkout_completed("unpaid")]).await;
    assert_eq!(standing(&system.pool, "client-1").await, "past_due t t S6_PHONE_TYPE");
    deliver_all(&system, &[card.after(30).subscription("updated", "unpaid", Some("past_due"))]).await;
    assert_eq!(standing(&system.pool, "client-1").await, "awaited f f S5_CONFIRM_LIVE");
    deliver_all(&system, &[bank.after(40).delayed_payment(false)]).await;
    assert_eq!(standing(&system.pool, "client-1").await, "ended f f S5_CONFIRM_LIVE");
    assert!(system.stand_in.bodies_to(&phone(1)).pop().unwrap().contains("didn't go through"));
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_of_an_old_subscription_does_not_end_a_new_one_of_the_same_payer() {
    let system = test_system_with(1, &LINK).await;
    seed_release::seed(&system.pool, &numbers(1)).await.unwrap();
    let reference = clients_at_payment_gate(&system.pool, 1).await.remove(0);
    let old = Sale::new(Some(&reference));
    let new = Sale { customer: old.customer.clone(), ..Sale::new(Some(&reference)) };
    deliver_all(&system, &old.paid_by_card()).await;
    deliver_all(&system, &[old.after(10).subscription("deleted", "canceled", None)]).await;
    deliver_all(&system, &new.after(20).paid_by_card()).await;
    deliver_all(&system, &[old.after(25).refunded()]).await;
    assert_eq!(standing(&system.pool, "client-1").await, "active t t S6_PHONE_TYPE");
    let open = "SELECT cause FROM alerts WHERE cleared_at IS NULL";
    assert_eq!(texts(&system.pool, open).await, [""; 0], "it is known which subscription was refunded");
    let mut refund = old.after(30).refunded();
    refund["data"]["object"]["id"] = "ch_unheard".into();
    refund["data"]["object"]["payment_intent"] = "pi_unheard".into();
    deliver_all(&system, std::slice::from_ref(&refund)).await;
    assert_eq!(standing(&system.pool, "client-1").await, "active t t S6_PHONE_TYPE");
    assert_eq!(texts(&system.pool, open).await, [format!("refund-unclear:{}", refund["id"].as_str().unwrap())]);
    system.shut_down().await.unwrap();
}

/// A client who opts out before it pays gets no text about the service that it pays for.
#[tokio::test(flavor = "multi_thread")]
async fn an_opted_out_client_raises_an_alert_while_it_pays() {
    let system = test_system_with(1, &LINK).await;
    seed_release::seed(&system.pool, &numbers(1)).await.unwrap();
    let reference = clients_at_payment_gate(&system.pool, 1).await.remove(0);
    system.stand_in.text(&phone(1), "STOP").await.unwrap();
    system.settle().await.unwrap();
    assert_eq!(count(&system.pool, "SELECT count(*) FROM alerts").await, 0);
    let sale = Sale::new(Some(&reference));
    deliver_all(&system, &sale.paid_by_card()).await;
    let open = "SELECT count(*) FROM alerts WHERE cleared_at IS NULL AND cause = 'opted-out:client-1'";
    assert_eq!(count(&system.pool, open).await, 1);
    deliver_all(&system, &[sale.after(10).subscription("deleted", "canceled", None)]).await;
    assert_eq!(count(&system.pool, open).await, 0);
    system.shut_down().await.unwrap();
}

/// Only the checkout names the client.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_a_subscription_that_arrives_before_the_checkout_waits_for_it() {
    let system = test_system_with(1, &LINK).await;
    seed_release::seed(&system.pool, &numbers(1)).await.unwrap();
    let references = clients_at_payment_gate(&system.pool, 1).await;
    let events = by_card(&Sale::new(Some(&references[0])));
    deliver_all(&system, &[events[INVOICE].clone(), events[2].clone(), events[0].clone()]).await;
    assert_eq!(standing(&system.pool, "client-1").await, "none f f S5_CONFIRM_LIVE");
    assert_eq!(count(&system.pool, "SELECT count(*) FROM alerts").await, 0, "the checkout may still name the client");
    let (code, stdout, _) = system.operator(&["payments"]).await.unwrap();
    assert!(code == 0 && stdout.contains("its checkout has not arrived yet") && stdout.contains("£29.00"), "{stdout}");
    deliver_all(&system, &[events[CHECKOUT].clone()]).await;
    assert_eq!(standing(&system.pool, "client-1").await, "active t t S6_PHONE_TYPE");
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_names_no_client_is_kept_and_shown_and_can_be_assigned() {
    let system = test_system_with(1, &LINK).await;
    seed_release::seed(&system.pool, &numbers(1)).await.unwrap();
    clients_at_payment_gate(&system.pool, 1).await;
    let (nameless, stranger) = (Sale::new(None), Sale::new(Some("nobody-that-we-know")));
    deliver_all(&system, &[nameless.paid_by_card(), stranger.paid_by_card()].concat()).await;
    let (code, stdout, _) = system.operator(&["alerts"]).await.unwrap();
    for sale in [&nameless, &stranger] {
        assert!(code == 1 && stdout.contains(&format!("payment-unassigned:{}", sale.subscription)), "{stdout}");
    }
    let (_, stdout, _) = system.operator(&["payments", "--json"]).await.unwrap();
    let shown: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(shown.as_array().unwrap().len(), 2);
    assert_eq!(shown[1]["reference"], "nobody-that-we-know");
    assert_eq!((&shown[0]["standing"], &shown[0]["amount"]), (&Value::from("active"), &Value::from(2900)));

    let assign = |payment: &str, client: &str| {
        let arguments = ["payments", "assign", payment, client].map(str::to_owned);
        let system = &system;
        async move { system.operator(&arguments.each_ref().map(String::as_str)).await.unwrap() }
    };
    let (code, _, stderr) = assign(&nameless.subscription, "nobody").await;
    assert!(code == 1 && stderr.contains("no client has this id"), "{stderr}");
    let (code, _, stderr) = assign("sub_unheard", "client-1").await;
    assert!(code == 1 && stderr.contains("waits to be assigned"), "{stderr}");
    assert_eq!(assign(&nameless.subscription, "client-1").await.0, 0);
    system.settle().await.unwrap();
    assert_eq!(standing(&system.pool, "client-1").await, "active t t S6_PHONE_TYPE");
    let open = "SELECT cause FROM alerts WHERE cleared_at IS NULL";
    assert_eq!(texts(&system.pool, open).await, [format!("payment-unassigned:{}", stranger.subscription)]);
    let (code, _, _) = assign(&nameless.subscription, "client-1").await;
    assert_eq!(code, 1, "and only once");
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_whose_checkout_never_comes_raises_one_alert() {
    let system = test_system(1).await;
    let sale = Sale::new(Some("reference"));
    deliver_all(&system, &[sale.subscription("created", "active", None), sale.invoice_paid()]).await;
    let cause = format!("payment-unassigned:{}", sale.subscription);
    assert_eq!(count(&system.pool, "SELECT count(*) FROM alerts").await, 0);
    let an_hour = "UPDATE subscriptions SET heard_of_at = heard_of_at - INTERVAL '61 minutes'";
    sqlx::raw_sql(an_hour).execute(&system.pool).await.unwrap();
    let raised = async || texts(&system.pool, "SELECT cause FROM alerts").await == [cause.clone()];
    eventually(PATIENCE, "the alert is raised", raised).await;
    let (_, stdout, _) = system.operator(&["alerts", "--json"]).await.unwrap();
    let alerts: Value = serde_json::from_str(&stdout).unwrap();
    system.operator(&["alerts", "--clear", &alerts[0]["id"].to_string()]).await.unwrap();
    deliver_all(&system, &[sale.after(3600).invoice_paid()]).await;
    assert_eq!(count(&system.pool, "SELECT max(times) FROM alerts").await, 1, "and not again by each renewal");
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_who_pays_twice_is_served_once_and_raises_an_alert() {
    let system = test_system_with(1, &LINK).await;
    seed_release::seed(&system.pool, &numbers(2)).await.unwrap();
    let reference = clients_at_payment_gate(&system.pool, 1).await.remove(0);
    let (first, second) = (Sale::new(Some(&reference)), Sale::new(Some(&reference)));
    deliver_all(&system, &[first.paid_by_card(), second.paid_by_card()].concat()).await;
    assert_eq!(texts(&system.pool, "SELECT cause FROM alerts").await, ["paid-twice:client-1"]);
    deliver_all(&system, &[first.after(60).subscription("deleted", "canceled", None)]).await;
    assert_eq!(standing(&system.pool, "client-1").await, "active t t S6_PHONE_TYPE", "the other one goes on");
    assert_eq!(count(&system.pool, "SELECT count(*) FROM alerts WHERE cleared_at IS NULL").await, 0);
    assert_eq!(system.stand_in.bodies_to(&phone(1)).len(), 1);
    system.shut_down().await.unwrap();
}

/// The plan opens the payment gate by hand, and the client then texts READY.
#[tokio::test(flavor = "multi_thread")]
async fn a_payment_gate_that_is_opened_by_hand_waits_for_ready() {
    let system = test_system_with(1, &LINK).await;
    seed_release::seed(&system.pool, &numbers(1)).await.unwrap();
    sign_up_to_payment_gate(&system, ANN).await;
    sqlx::raw_sql(r#"UPDATE clients SET "paymentActive" = TRUE"#).execute(&system.pool).await.unwrap();
    let (code, ..) = system.operator(&["sweep"]).await.unwrap();
    assert_eq!((code, ann_s_standing(&system).await.as_str()), (0, "none t f S5_CONFIRM_LIVE"));
    assert!(say(&system, ANN, "READY").await[0].starts_with("Your JobRun number is"));
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn when_a_hundred_clients_pay_for_forty_numbers_each_released_number_reaches_the_longest_waiting() {
    const READY: &str = "Good news! Your JobRun number is ready for you.\n\nReply READY to continue.";
    let system = test_system_with(2, &LINK).await;
    seed_release::seed(&system.pool, &numbers(40)).await.unwrap();
    let references = clients_at_payment_gate(&system.pool, 100).await;
    let sales: Vec<Sale> = references.iter().map(|reference| Sale::new(Some(reference))).collect();
    join_all(sales.iter().map(|sale| async {
        for event in sale.paid_by_card() {
            deliver(&system, &event).await;
        }
    }))
    .await;
    system.settle().await.unwrap();
    let holding = r#"SELECT count(*) FROM clients WHERE "twilioNumber" IS NOT NULL"#;
    assert_eq!(count(&system.pool, holding).await, 40);
    let line = texts(&system.pool, "SELECT client_id FROM waiting_list ORDER BY lapsed, joined_at, client_id").await;
    assert_eq!(line.len(), 60);
    let paid_in_order = "SELECT client_id FROM waiting_list JOIN events e USING (client_id)
                         WHERE e.kind = 'payment_changed' ORDER BY (e.payload->>'since')::TIMESTAMPTZ, client_id";
    assert_eq!(texts(&system.pool, paid_in_order).await, line, "in the order in which they paid");

    let count_ready_texts = |id: &str| {
        let n: usize = id.trim_start_matches("client-").parse().unwrap();
        system.stand_in.bodies_to(&phone(n)).iter().filter(|body| *body == READY).count()
    };
    let held = texts(&system.pool, r#"SELECT "twilioNumber" FROM clients WHERE "twilioNumber" IS NOT NULL"#).await;
    for (place, number) in held.iter().take(10).enumerate() {
        // The operator had a reason to take the number from its holder, who joins the end of the waiting list.
        assert_eq!(system.operator(&["pool", "release", number, "--yes", "--now"]).await.unwrap().0, 0);
        eventually(PATIENCE, "the next in line is told", async || count_ready_texts(&line[place]) == 1).await;
        system.settle().await.unwrap();
        assert_eq!(line.iter().map(|id| count_ready_texts(id)).sum::<usize>(), place + 1, "and no other client");
        if place % 2 == 0 {
            let n: usize = line[place].trim_start_matches("client-").parse().unwrap();
            assert!(say(&system, &phone(n), "READY").await[0].starts_with("Your JobRun number is"));
        }
    }
    assert_eq!(
        line.iter().map(|id| count_ready_texts(id)).collect::<Vec<_>>(),
        [[1; 10].to_vec(), [0; 50].to_vec()].concat()
    );
    system.shut_down().await.unwrap();
}
