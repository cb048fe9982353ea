//! Payments: they move the conversation, in whatever order Stripe tells of them, and end it when they end.

use std::collections::BTreeSet;

use futures::StreamExt;
use futures::future::join_all;
use futures::stream;
use jobrun::demo::Stage;
use jobrun_shared::operator;
use jobrun_stand_in::stripe::{Sale, Shape};
use jobrun_tests::{PATIENCE, count, eventually, numbers, phone, say, stage, stage_with, texts};
use serde_json::Value;
use sqlx::PgPool;

/// Somebody has set up the link; the secret and the mode are the stand-in's.
pub(crate) const LINK: [(&str, &str); 1] = [("PAYMENT_LINK_URL", "https://buy.stripe.com/test_link")];

const ANN: &str = "+447900000001";

/// Answers the five questions, up to the gate, and the reference that the payment link in the answer carries.
async fn up_to_the_gate(stage: &Stage, phone: &str) -> String {
    for body in ["Plumber from London", "ABC Plumbing", "John Smith", "SMS"] {
        say(stage, phone, body).await;
    }
    reference_in(&say(stage, phone, "YES").await[0])
}

fn reference_in(text: &str) -> String {
    let link = "https://buy.stripe.com/test_link?client_reference_id=";
    let reference = text.split(link).nth(1).expect(text).split_whitespace().next().unwrap();
    assert!(reference.len() >= 32 && reference.chars().all(|it| it.is_ascii_alphanumeric()), "{reference}");
    reference.to_owned()
}

pub(crate) async fn tell(stage: &Stage, event: &Value) {
    assert_eq!(stage.stand_in.stripe(event).await.unwrap().status, 200, "{event}");
}

pub(crate) async fn tell_all(stage: &Stage, events: &[Value]) {
    for event in events {
        tell(stage, event).await;
    }
    stage.settle().await.unwrap();
}

/// Clients who wait at the gate and have not paid: `client-1` and so on. Answers their references.
pub(crate) async fn clients_at_the_gate(pool: &PgPool, how_many: usize) -> Vec<String> {
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

/// How things stand with a client: payment, gate, whether it holds a number, and state.
pub(crate) async fn standing(pool: &PgPool, id: &str) -> String {
    let standing = r#"SELECT concat_ws(' ', "paymentStanding", "paymentActive", "twilioNumber" IS NOT NULL, current_state)
                      FROM clients LEFT JOIN onboarding_states ON client_id = id WHERE id = $1"#;
    sqlx::query_scalar(standing).bind(id).fetch_one(pool).await.unwrap()
}

async fn ann_s_standing(stage: &Stage) -> String {
    let id: String = sqlx::query_scalar("SELECT id FROM clients").fetch_one(&stage.pool).await.unwrap();
    standing(&stage.pool, &id).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_lets_whoever_waits_at_the_gate_through_without_another_text() {
    let stage = stage_with(2, &LINK).await;
    operator::seed(&stage.pool, &numbers(2)).await.unwrap();
    let reference = up_to_the_gate(&stage, ANN).await;
    let before = stage.stand_in.bodies_to(ANN).len();
    tell_all(&stage, &Sale::new(Some(&reference)).paid_by_card()).await;

    let said = stage.stand_in.bodies_to(ANN).split_off(before);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("Your JobRun number is +447100000001"), "{said:?}");
    assert_eq!(ann_s_standing(&stage).await, "active t t S6_PHONE_TYPE");
    let journal = stage.workers.iter().flat_map(|worker| worker.lines()).collect::<Vec<_>>().join("\n");
    assert!(journal.contains("✅ [PAYMENT_GATE] Number allocated: +447100000001"), "{journal}");
    assert!(say(&stage, ANN, "1").await[0].contains("+447100000001"), "and the conversation goes on");
    stage.strike().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn money_that_comes_later_is_waited_for_and_money_that_does_not_come_is_asked_for_again() {
    let stage = stage_with(1, &LINK).await;
    operator::seed(&stage.pool, &numbers(1)).await.unwrap();
    let reference = up_to_the_gate(&stage, ANN).await;
    let sale = Sale::new(Some(&reference));
    // A subscription paid by the bank is active days before the money comes.
    tell_all(&stage, &[sale.subscription("created", "active", None), sale.checkout_completed("unpaid")]).await;
    let last = async || stage.stand_in.bodies_to(ANN).pop().unwrap();
    assert!(last().await.contains("still confirming"), "{}", last().await);
    assert_eq!(ann_s_standing(&stage).await, "awaited f f S5_CONFIRM_LIVE");
    assert!(say(&stage, ANN, "READY").await[0].contains("still confirming"), "and is not asked to pay twice");

    tell_all(&stage, &[sale.after(60).delayed_payment(false)]).await;
    assert!(last().await.contains("didn't go through"), "{}", last().await);
    assert_eq!(reference_in(&last().await), reference);
    assert_eq!(ann_s_standing(&stage).await, "none f f S5_CONFIRM_LIVE");

    let again = Sale::new(Some(&reference));
    tell_all(&stage, &[again.checkout_completed("unpaid"), again.after(60).delayed_payment(true)]).await;
    assert_eq!(ann_s_standing(&stage).await, "active t t S6_PHONE_TYPE");
    stage.strike().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn past_due_is_a_grace_period_and_the_end_takes_the_number() {
    let stage = stage_with(2, &LINK).await;
    operator::seed(&stage.pool, &numbers(2)).await.unwrap();
    let reference = up_to_the_gate(&stage, ANN).await;
    let sale = Sale { shape: Shape::Old, ..Sale::new(Some(&reference)) };
    tell_all(&stage, &sale.paid_by_card()).await;
    for body in ["1", "DONE"] {
        say(&stage, ANN, body).await;
    }
    stage.stand_in.call("+447700900123", "+447100000001").await.unwrap();
    stage.settle().await.unwrap();
    assert_eq!(ann_s_standing(&stage).await, "active t t COMPLETE");

    let before = stage.stand_in.bodies_to(ANN).len();
    let late = sale.after(3600);
    let failed = [late.invoice_payment_failed(), late.subscription("updated", "past_due", Some("active"))];
    tell_all(&stage, &failed).await;
    tell_all(&stage, &[late.after(3600).subscription("updated", "past_due", None), failed[0].clone()]).await;
    let said = stage.stand_in.bodies_to(ANN).split_off(before);
    assert_eq!(said.len(), 1, "one friendly text: {said:?}");
    assert!(said[0].contains("your number stays yours"), "{said:?}");
    assert_eq!(ann_s_standing(&stage).await, "past_due t t COMPLETE");
    tell_all(&stage, &[late.after(7200).subscription("updated", "active", Some("past_due"))]).await;
    assert_eq!(ann_s_standing(&stage).await, "active t t COMPLETE");

    let over = sale.after(1_000_000);
    tell_all(&stage, &[over.subscription("updated", "unpaid", Some("past_due"))]).await;
    let said = stage.stand_in.bodies_to(ANN).split_off(before + 1);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("Your JobRun service has ended. Please switch off call forwarding"), "{said:?}");
    assert_eq!(reference_in(&said[0]), reference);
    assert_eq!(ann_s_standing(&stage).await, "ended f f S5_CONFIRM_LIVE");
    assert_eq!(
        texts(&stage.pool, "SELECT status FROM twilio_number_pool ORDER BY 1").await,
        ["AVAILABLE", "COOLING_DOWN"]
    );

    // Whoever returns while the number cools down gets it back.
    tell_all(&stage, &Sale::new(Some(&reference)).paid_by_card()).await;
    let back = stage.stand_in.bodies_to(ANN).pop().unwrap();
    assert!(back.starts_with("Your JobRun number is +447100000001"), "{back}");
    assert_eq!(ann_s_standing(&stage).await, "active t t S6_PHONE_TYPE");
    stage.strike().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_for_a_subscription_to_end_ends_the_service() {
    let stage = stage_with(1, &LINK).await;
    operator::seed(&stage.pool, &numbers(4)).await.unwrap();
    let sales: Vec<Sale> =
        clients_at_the_gate(&stage.pool, 4).await.iter().map(|reference| Sale::new(Some(reference))).collect();
    for sale in &sales {
        tell_all(&stage, &sale.paid_by_card()).await;
    }
    let later: Vec<Sale> = sales.iter().map(|sale| sale.after(100)).collect();
    let ends = [
        later[0].subscription("deleted", "canceled", None),
        later[1].subscription("paused", "paused", None),
        later[2].subscription("updated", "unpaid", Some("past_due")),
        later[3].refunded(),
    ];
    tell_all(&stage, &ends).await;
    for n in 1..=4 {
        assert_eq!(standing(&stage.pool, &format!("client-{n}")).await, "ended f f S5_CONFIRM_LIVE", "client-{n}");
        assert!(stage.stand_in.bodies_to(&phone(n))[1].contains("service has ended"));
    }
    stage.strike().await.unwrap();
}

/// All orders in which `events` can be told.
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

/// The life of a subscription that is paid by card, fails to be renewed, and ends.
fn by_card(sale: &Sale) -> Vec<Value> {
    let mut events = sale.paid_by_card();
    // Which payment it was matters to refunds only.
    events.truncate(CHECKOUT + 1);
    events.push(sale.after(100).subscription("updated", "past_due", Some("active")));
    events.push(sale.after(200).subscription("deleted", "canceled", None));
    events
}

const INVOICE: usize = 1;
const CHECKOUT: usize = 3;

/// Paid by the bank, which takes its time.
fn by_bank(sale: &Sale) -> Vec<Value> {
    vec![
        sale.subscription("created", "active", None),
        sale.checkout_completed("unpaid"),
        sale.after(60).delayed_payment(true),
        sale.after(100).subscription("updated", "past_due", Some("active")),
        sale.after(200).subscription("updated", "active", Some("past_due")),
    ]
}

/// Paid by card and cancelled, while a second subscription, by a bank, is never paid.
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

/// Each client is told of its own subscriptions in an order of its own, one event a round, some of them twice. Nobody is given a
/// number who has not been told `paid`, or what it is paid for.
pub(crate) async fn told_in_every_order(
    life: fn(&Sale) -> Vec<Value>,
    how_many: usize,
    paid: &[&[usize]],
    expected: &str,
) {
    let stage = stage_with(2, &LINK).await;
    let orders = permutations(&(0..how_many).collect::<Vec<_>>());
    operator::seed(&stage.pool, &numbers(orders.len())).await.unwrap();
    let references = clients_at_the_gate(&stage.pool, orders.len()).await;
    let lives: Vec<Vec<Value>> = references.iter().map(|reference| life(&Sale::new(Some(reference)))).collect();
    for round in 0..how_many {
        let told = orders.iter().zip(&lives).enumerate().map(|(n, (order, life))| {
            let stage = &stage;
            async move {
                tell(stage, &life[order[round]]).await;
                // One that was told before, sometimes.
                if n % 3 == 0 {
                    tell(stage, &life[order[n % (round + 1)]]).await;
                }
            }
        });
        stream::iter(told).buffer_unordered(40).collect::<Vec<()>>().await;
        stage.settle().await.unwrap();
        let holders: BTreeSet<String> =
            texts(&stage.pool, r#"SELECT id FROM clients WHERE "twilioNumber" IS NOT NULL OR "paymentActive""#)
                .await
                .into_iter()
                .collect();
        for (n, order) in orders.iter().enumerate().filter(|(n, _)| holders.contains(&format!("client-{}", n + 1))) {
            let heard = &order[..=round];
            let is_paid = paid.iter().any(|all| all.iter().all(|event| heard.contains(event)));
            assert!(is_paid, "client-{} after {heard:?} of {order:?}", n + 1);
        }
    }
    for (n, order) in orders.iter().enumerate() {
        let id = format!("client-{}", n + 1);
        assert_eq!(standing(&stage.pool, &id).await, expected, "{id}, told in the order {order:?}");
    }
    let distinct = r#"SELECT count(DISTINCT "twilioNumber") - count("twilioNumber") FROM clients"#;
    assert_eq!(count(&stage.pool, distinct).await, 0);
    stage.strike().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_goes_on_stands_the_same_in_whatever_order_it_is_told() {
    told_in_every_order(by_card, 5, &[&[CHECKOUT]], "past_due t t S6_PHONE_TYPE").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_ends_stands_the_same_in_whatever_order_it_is_told() {
    told_in_every_order(by_card, 6, &[&[CHECKOUT]], "ended f f S5_CONFIRM_LIVE").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_is_paid_later_stands_the_same_in_whatever_order_it_is_told() {
    // The event of the delayed payment names the client as well.
    told_in_every_order(by_bank, 5, &[&[2]], "active t t S6_PHONE_TYPE").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_subscriptions_of_a_client_stand_the_same_in_whatever_order_they_are_told() {
    told_in_every_order(by_card_and_never_by_bank, 5, &[&[0]], "ended f f S5_CONFIRM_LIVE").await;
}

/// One is paid by card and fails; the other is on its way from the bank, and never comes.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_served_for_a_payment_that_is_only_on_its_way() {
    let stage = stage_with(1, &LINK).await;
    operator::seed(&stage.pool, &numbers(1)).await.unwrap();
    let reference = clients_at_the_gate(&stage.pool, 1).await.remove(0);
    let (card, bank) = (Sale::new(Some(&reference)), Sale::new(Some(&reference)));
    tell_all(&stage, &card.paid_by_card()).await;
    tell_all(&stage, &[card.after(10).subscription("updated", "past_due", Some("active"))]).await;
    tell_all(&stage, &[bank.after(20).checkout_completed("unpaid")]).await;
    assert_eq!(standing(&stage.pool, "client-1").await, "past_due t t S6_PHONE_TYPE");
    tell_all(&stage, &[card.after(30).subscription("updated", "unpaid", Some("past_due"))]).await;
    assert_eq!(standing(&stage.pool, "client-1").await, "awaited f f S5_CONFIRM_LIVE");
    tell_all(&stage, &[bank.after(40).delayed_payment(false)]).await;
    assert_eq!(standing(&stage.pool, "client-1").await, "ended f f S5_CONFIRM_LIVE");
    assert!(stage.stand_in.bodies_to(&phone(1)).pop().unwrap().contains("didn't go through"));
    stage.strike().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_of_an_old_subscription_does_not_end_a_new_one_of_the_same_payer() {
    let stage = stage_with(1, &LINK).await;
    operator::seed(&stage.pool, &numbers(1)).await.unwrap();
    let reference = clients_at_the_gate(&stage.pool, 1).await.remove(0);
    let old = Sale::new(Some(&reference));
    let new = Sale { customer: old.customer.clone(), ..Sale::new(Some(&reference)) };
    tell_all(&stage, &old.paid_by_card()).await;
    tell_all(&stage, &[old.after(10).subscription("deleted", "canceled", None)]).await;
    tell_all(&stage, &new.after(20).paid_by_card()).await;
    tell_all(&stage, &[old.after(25).refunded()]).await;
    assert_eq!(standing(&stage.pool, "client-1").await, "active t t S6_PHONE_TYPE");
    let open = "SELECT cause FROM alerts WHERE cleared_at IS NULL";
    assert_eq!(texts(&stage.pool, open).await, [""; 0], "it is known which one it was");
    let mut refund = old.after(30).refunded();
    refund["data"]["object"]["id"] = "ch_unheard".into();
    refund["data"]["object"]["payment_intent"] = "pi_unheard".into();
    tell_all(&stage, std::slice::from_ref(&refund)).await;
    assert_eq!(standing(&stage.pool, "client-1").await, "active t t S6_PHONE_TYPE");
    assert_eq!(texts(&stage.pool, open).await, [format!("refund-unclear:{}", refund["id"].as_str().unwrap())]);
    stage.strike().await.unwrap();
}

/// Opted out before it pays, a client hears of nothing that it pays for.
#[tokio::test(flavor = "multi_thread")]
async fn who_opted_out_is_an_alert_while_it_pays() {
    let stage = stage_with(1, &LINK).await;
    operator::seed(&stage.pool, &numbers(1)).await.unwrap();
    let reference = clients_at_the_gate(&stage.pool, 1).await.remove(0);
    stage.stand_in.text(&phone(1), "STOP").await.unwrap();
    stage.settle().await.unwrap();
    assert_eq!(count(&stage.pool, "SELECT count(*) FROM alerts").await, 0);
    let sale = Sale::new(Some(&reference));
    tell_all(&stage, &sale.paid_by_card()).await;
    let open = "SELECT count(*) FROM alerts WHERE cleared_at IS NULL AND cause = 'opted-out:client-1'";
    assert_eq!(count(&stage.pool, open).await, 1);
    tell_all(&stage, &[sale.after(10).subscription("deleted", "canceled", None)]).await;
    assert_eq!(count(&stage.pool, open).await, 0);
    stage.strike().await.unwrap();
}

/// The checkout names the client, and nothing else does.
#[tokio::test(flavor = "multi_thread")]
async fn what_arrives_before_its_checkout_waits_for_it() {
    let stage = stage_with(1, &LINK).await;
    operator::seed(&stage.pool, &numbers(1)).await.unwrap();
    let references = clients_at_the_gate(&stage.pool, 1).await;
    let events = by_card(&Sale::new(Some(&references[0])));
    tell_all(&stage, &[events[INVOICE].clone(), events[2].clone(), events[0].clone()]).await;
    assert_eq!(standing(&stage.pool, "client-1").await, "none f f S5_CONFIRM_LIVE");
    assert_eq!(count(&stage.pool, "SELECT count(*) FROM alerts").await, 0, "it may still turn out whose it is");
    let (code, stdout, _) = stage.operator(&["payments"]).await.unwrap();
    assert!(code == 0 && stdout.contains("its checkout has not arrived yet") && stdout.contains("£29.00"), "{stdout}");
    tell_all(&stage, &[events[CHECKOUT].clone()]).await;
    assert_eq!(standing(&stage.pool, "client-1").await, "active t t S6_PHONE_TYPE");
    stage.strike().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_names_nobody_is_kept_and_shown_and_can_be_given_to_whom_it_belongs() {
    let stage = stage_with(1, &LINK).await;
    operator::seed(&stage.pool, &numbers(1)).await.unwrap();
    clients_at_the_gate(&stage.pool, 1).await;
    let (nameless, stranger) = (Sale::new(None), Sale::new(Some("nobody-that-we-know")));
    tell_all(&stage, &[nameless.paid_by_card(), stranger.paid_by_card()].concat()).await;
    let (code, stdout, _) = stage.operator(&["alerts"]).await.unwrap();
    for sale in [&nameless, &stranger] {
        assert!(code == 1 && stdout.contains(&format!("payment-unassigned:{}", sale.subscription)), "{stdout}");
    }
    let (_, stdout, _) = stage.operator(&["payments", "--json"]).await.unwrap();
    let shown: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(shown.as_array().unwrap().len(), 2);
    assert_eq!(shown[1]["reference"], "nobody-that-we-know");
    assert_eq!((&shown[0]["standing"], &shown[0]["amount"]), (&Value::from("active"), &Value::from(2900)));

    let assign = |payment: &str, client: &str| {
        let arguments = ["payments", "assign", payment, client].map(str::to_owned);
        let stage = &stage;
        async move { stage.operator(&arguments.each_ref().map(String::as_str)).await.unwrap() }
    };
    let (code, _, stderr) = assign(&nameless.subscription, "nobody").await;
    assert!(code == 1 && stderr.contains("no client has this id"), "{stderr}");
    let (code, _, stderr) = assign("sub_unheard", "client-1").await;
    assert!(code == 1 && stderr.contains("waits to be assigned"), "{stderr}");
    assert_eq!(assign(&nameless.subscription, "client-1").await.0, 0);
    stage.settle().await.unwrap();
    assert_eq!(standing(&stage.pool, "client-1").await, "active t t S6_PHONE_TYPE");
    let open = "SELECT cause FROM alerts WHERE cleared_at IS NULL";
    assert_eq!(texts(&stage.pool, open).await, [format!("payment-unassigned:{}", stranger.subscription)]);
    let (code, _, _) = assign(&nameless.subscription, "client-1").await;
    assert_eq!(code, 1, "and only once");
    stage.strike().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_whose_checkout_never_comes_is_raised_to_the_operator_once() {
    let stage = stage(1).await;
    let sale = Sale::new(Some("reference"));
    tell_all(&stage, &[sale.subscription("created", "active", None), sale.invoice_paid()]).await;
    let cause = format!("payment-unassigned:{}", sale.subscription);
    assert_eq!(count(&stage.pool, "SELECT count(*) FROM alerts").await, 0);
    let an_hour = "UPDATE subscriptions SET heard_of_at = heard_of_at - INTERVAL '61 minutes'";
    sqlx::raw_sql(an_hour).execute(&stage.pool).await.unwrap();
    let raised = async || texts(&stage.pool, "SELECT cause FROM alerts").await == [cause.clone()];
    eventually(PATIENCE, "the alert is raised", raised).await;
    let (_, stdout, _) = stage.operator(&["alerts", "--json"]).await.unwrap();
    let alerts: Value = serde_json::from_str(&stdout).unwrap();
    stage.operator(&["alerts", "--clear", &alerts[0]["id"].to_string()]).await.unwrap();
    tell_all(&stage, &[sale.after(3600).invoice_paid()]).await;
    assert_eq!(count(&stage.pool, "SELECT max(times) FROM alerts").await, 1, "and not again by each renewal");
    stage.strike().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_pays_twice_is_served_once_and_the_operator_hears_of_it() {
    let stage = stage_with(1, &LINK).await;
    operator::seed(&stage.pool, &numbers(2)).await.unwrap();
    let reference = clients_at_the_gate(&stage.pool, 1).await.remove(0);
    let (first, second) = (Sale::new(Some(&reference)), Sale::new(Some(&reference)));
    tell_all(&stage, &[first.paid_by_card(), second.paid_by_card()].concat()).await;
    assert_eq!(texts(&stage.pool, "SELECT cause FROM alerts").await, ["paid-twice:client-1"]);
    tell_all(&stage, &[first.after(60).subscription("deleted", "canceled", None)]).await;
    assert_eq!(standing(&stage.pool, "client-1").await, "active t t S6_PHONE_TYPE", "the other one goes on");
    assert_eq!(count(&stage.pool, "SELECT count(*) FROM alerts WHERE cleared_at IS NULL").await, 0);
    assert_eq!(stage.stand_in.bodies_to(&phone(1)).len(), 1);
    stage.strike().await.unwrap();
}

/// The plan opens the gate by hand, and its client then texts READY.
#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_is_opened_by_hand_waits_for_ready_as_before() {
    let stage = stage_with(1, &LINK).await;
    operator::seed(&stage.pool, &numbers(1)).await.unwrap();
    up_to_the_gate(&stage, ANN).await;
    sqlx::raw_sql(r#"UPDATE clients SET "paymentActive" = TRUE"#).execute(&stage.pool).await.unwrap();
    let (code, ..) = stage.operator(&["sweep"]).await.unwrap();
    assert_eq!((code, ann_s_standing(&stage).await.as_str()), (0, "none t f S5_CONFIRM_LIVE"));
    assert!(say(&stage, ANN, "READY").await[0].starts_with("Your JobRun number is"));
    stage.strike().await.unwrap();
}

/// 40 numbers for 100 who pay at the same moment.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_pay_at_once_for_forty_numbers_and_each_that_is_released_reaches_the_longest_waiting() {
    const READY: &str = "Good news! Your JobRun number is ready for you.\n\nReply READY to continue.";
    let stage = stage_with(2, &LINK).await;
    operator::seed(&stage.pool, &numbers(40)).await.unwrap();
    let references = clients_at_the_gate(&stage.pool, 100).await;
    let sales: Vec<Sale> = references.iter().map(|reference| Sale::new(Some(reference))).collect();
    join_all(sales.iter().map(|sale| async {
        for event in sale.paid_by_card() {
            tell(&stage, &event).await;
        }
    }))
    .await;
    stage.settle().await.unwrap();
    let holding = r#"SELECT count(*) FROM clients WHERE "twilioNumber" IS NOT NULL"#;
    assert_eq!(count(&stage.pool, holding).await, 40);
    let line = texts(&stage.pool, "SELECT client_id FROM waiting_list ORDER BY lapsed, joined_at, client_id").await;
    assert_eq!(line.len(), 60);
    let paid_in_order = "SELECT client_id FROM waiting_list JOIN events e USING (client_id)
                         WHERE e.kind = 'payment_changed' ORDER BY e.payload->>'since'";
    assert_eq!(texts(&stage.pool, paid_in_order).await, line, "in the order in which they paid");

    let told = |id: &str| {
        let n: usize = id.trim_start_matches("client-").parse().unwrap();
        stage.stand_in.bodies_to(&phone(n)).iter().filter(|body| *body == READY).count()
    };
    let held = texts(&stage.pool, r#"SELECT "twilioNumber" FROM clients WHERE "twilioNumber" IS NOT NULL"#).await;
    for (place, number) in held.iter().take(10).enumerate() {
        // Whoever held it, an operator had a reason to take it from: it joins the line, behind everybody else.
        assert_eq!(stage.operator(&["pool", "release", number, "--yes", "--now"]).await.unwrap().0, 0);
        eventually(PATIENCE, "the next in line is told", async || told(&line[place]) == 1).await;
        stage.settle().await.unwrap();
        assert_eq!(line.iter().map(|id| told(id)).sum::<usize>(), place + 1, "and nobody else");
        if place % 2 == 0 {
            let n: usize = line[place].trim_start_matches("client-").parse().unwrap();
            assert!(say(&stage, &phone(n), "READY").await[0].starts_with("Your JobRun number is"));
        }
    }
    assert_eq!(line.iter().map(|id| told(id)).collect::<Vec<_>>(), [[1; 10].to_vec(), [0; 50].to_vec()].concat());
    stage.strike().await.unwrap();
}
