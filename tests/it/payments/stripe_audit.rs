//! Events of Stripe's whose webhooks were lost for good: they are fetched from Stripe's list, if there is a key for it.

use futures::future::join_all;
use jobrun::demo::TestSystem;
use jobrun_shared::numbers::seed_release;
use jobrun_shared::queue::Queue;
use jobrun_stand_in::stripe::Sale;
use jobrun_stand_in::stripe_api;
use jobrun_tests::{PATIENCE, count, eventually, numbers, phone, test_system_with, texts};
use serde_json::Value;
use sqlx::AssertSqlSafe;

use super::subscriptions::{LINK, clients_at_payment_gate, deliver, deliver_all, standing};

const WITH_KEY: [(&str, &str); 2] = [LINK[0], ("STRIPE_API_KEY", stripe_api::KEY)];

const DAY_S: i64 = 24 * 60 * 60;

/// Returns a sale some seconds ago.
fn sale(reference: Option<&str>, seconds_ago: i64) -> Sale {
    Sale::new(reference).after(-seconds_ago)
}

fn lose_all(system: &TestSystem, events: &[Value]) {
    events.iter().for_each(|event| system.stand_in.lose(event));
}

/// Makes it so that the system was installed, and last compared with Stripe's list, some days ago.
async fn age(system: &TestSystem, installed_days_ago: i64, audited_days_ago: i64) {
    let aged = format!(
        "UPDATE installation SET marked_at = now() - INTERVAL '{installed_days_ago} days';
         UPDATE stripe_audits SET audited_until = now() - INTERVAL '{audited_days_ago} days', due_at = now()"
    );
    sqlx::raw_sql(AssertSqlSafe(aged)).execute(&system.pool).await.unwrap();
}

async fn until_stands(system: &TestSystem, client: &str, expected: &str) {
    eventually(PATIENCE, expected, async || standing(&system.pool, client).await == expected).await;
}

async fn until_count(system: &TestSystem, expected: i64, statement: &'static str) {
    eventually(PATIENCE, statement, async || count(&system.pool, statement).await == expected).await;
}

const OPEN: &str = "SELECT cause FROM alerts WHERE cleared_at IS NULL ORDER BY cause";

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_and_a_cancellation_whose_webhooks_were_lost_for_good_are_fetched_once() {
    let mut system = test_system_with(1, &WITH_KEY).await;
    seed_release::seed(&system.pool, &numbers(3)).await.unwrap();
    let references = clients_at_payment_gate(&system.pool, 2).await;
    let (ann, ben) = (sale(Some(&references[0]), 5 * DAY_S), sale(Some(&references[1]), 4 * DAY_S));
    deliver_all(&system, &ann.paid_by_card()).await;
    assert_eq!(standing(&system.pool, "client-1").await, "active t t S6_PHONE_TYPE");

    // No worker runs while webhooks are lost, as when the machine is down.
    system.workers.pop().unwrap().stop().await.unwrap();
    lose_all(&system, &ben.paid_by_card());
    let over = ann.after(DAY_S + DAY_S / 2).subscription("deleted", "canceled", None);
    lose_all(&system, std::slice::from_ref(&over));
    age(&system, 10, 5).await;
    system.start_worker().unwrap();

    until_stands(&system, "client-2", "active t t S6_PHONE_TYPE").await;
    until_stands(&system, "client-1", "ended f f S5_CONFIRM_LIVE").await;
    until_count(&system, 2, "SELECT count(*) FROM events WHERE kind = 'subscription_asked' AND outcome = 'applied'")
        .await;
    system.settle().await.unwrap();
    let said = |n| system.stand_in.bodies_to(&phone(n));
    assert!(said(2)[0].starts_with("Your JobRun number is") && said(2).len() == 1, "{:?}", said(2));
    assert!(said(1)[1].contains("ended") && said(1).len() == 2, "{:?}", said(1));
    let (_, history, _) = system.operator(&["client", "client-1"]).await.unwrap();
    assert!(history.contains("Stripe was asked about the subscription: canceled"), "{history}");

    // The alert is raised, and cleared by later comparisons, which miss nothing.
    let cleared = "SELECT count(*) FROM alerts WHERE cause = 'stripe-events-missed' AND cleared_at IS NOT NULL";
    until_count(&system, 1, cleared).await;
    assert_eq!(texts(&system.pool, OPEN).await, Vec::<String>::new());
    assert_eq!(count(&system.pool, "SELECT count(*) FROM events WHERE kind = 'stripe'").await, 11, "each once");
    let recent = "SELECT count(*) FROM stripe_audits WHERE audited_until > now() - INTERVAL '3 minutes'";
    assert_eq!(count(&system.pool, recent).await, 1);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn missed_events_of_many_pages_and_webhooks_of_the_same_events_are_recorded_once_each() {
    const PAYERS: usize = 48;
    let mut system = test_system_with(2, &WITH_KEY).await;
    seed_release::seed(&system.pool, &numbers(PAYERS)).await.unwrap();
    let references = clients_at_payment_gate(&system.pool, PAYERS).await;
    for mut worker in std::mem::take(&mut system.workers) {
        worker.stop().await.unwrap();
    }
    let events: Vec<Value> =
        references.iter().zip(600..).flat_map(|(reference, ago)| sale(Some(reference), ago).paid_by_card()).collect();
    assert!(events.len() > 200, "more than two pages");
    lose_all(&system, &events);
    age(&system, 1, 0).await;
    system.start_worker().unwrap();
    system.start_worker().unwrap();
    // A sixth of the webhooks comes at the same time after all.
    join_all(events.iter().step_by(6).map(|event| deliver(&system, event))).await;

    let served = r#"SELECT count(*) FROM clients WHERE "paymentActive" AND "twilioNumber" IS NOT NULL"#;
    until_count(&system, PAYERS as i64, served).await;
    system.settle().await.unwrap();
    let recorded = count(&system.pool, "SELECT count(*) FROM events WHERE kind = 'stripe'").await;
    assert_eq!(recorded, events.len() as i64);
    assert_eq!(
        count(&system.pool, "SELECT count(*) FROM payment_events WHERE kind <> 'subscription_asked'").await,
        recorded
    );
    for n in 1..=PAYERS {
        assert_eq!(system.stand_in.bodies_to(&phone(n)).len(), 1, "client-{n}");
    }
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_cannot_be_read_raises_an_alert_and_webhooks_go_on() {
    let system = test_system_with(1, &WITH_KEY).await;
    seed_release::seed(&system.pool, &numbers(1)).await.unwrap();
    let references = clients_at_payment_gate(&system.pool, 1).await;
    age(&system, 1, 0).await;
    let open = async |expected: &[&str]| {
        eventually(PATIENCE, &format!("{expected:?}"), async || texts(&system.pool, OPEN).await == expected).await;
    };
    for status in [401, 403] {
        system.stand_in.stripe_api_fault(Some(status));
        open(&["stripe-unreadable:events"]).await;
        system.stand_in.stripe_api_fault(None);
        open(&[]).await;
    }
    // Other failures pass, and raise an alert only if they last.
    let failing = "SELECT count(*) FROM stripe_audits WHERE failing_since IS NOT NULL";
    for status in [429, 500] {
        system.stand_in.stripe_api_fault(Some(status));
        until_count(&system, 1, failing).await;
        assert_eq!(texts(&system.pool, OPEN).await, Vec::<String>::new(), "{status}");
        let long_ago = "UPDATE stripe_audits SET failing_since = now() - INTERVAL '61 minutes'";
        sqlx::raw_sql(long_ago).execute(&system.pool).await.unwrap();
        open(&["stripe-unreadable:events"]).await;
        system.stand_in.stripe_api_fault(None);
        open(&[]).await;
        until_count(&system, 0, failing).await;
    }
    system.stand_in.stripe_api_fault(Some(401));
    deliver_all(&system, &sale(Some(&references[0]), 120).paid_by_card()).await;
    assert_eq!(standing(&system.pool, "client-1").await, "active t t S6_PHONE_TYPE");
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_stripe_does_not_keep_any_more_raise_an_alert() {
    let system = test_system_with(1, &WITH_KEY).await;
    let references = clients_at_payment_gate(&system.pool, 1).await;
    lose_all(&system, &sale(Some(&references[0]), 29 * DAY_S).paid_by_card());
    age(&system, 50, 40).await;
    until_count(&system, 1, "SELECT count(*) FROM alerts WHERE cause = 'stripe-events-too-old'").await;
    until_stands(&system, "client-1", "active t f S5_CONFIRM_LIVE").await;
    let recent = "SELECT count(*) FROM stripe_audits WHERE audited_until > now() - INTERVAL '3 minutes'";
    until_count(&system, 1, recent).await;
    assert_eq!(count(&system.pool, "SELECT times FROM alerts WHERE cause = 'stripe-events-too-old'").await, 1);
    system.shut_down().await.unwrap();
}

/// Returns two changes of the same second that no rule orders. The greater id, which decides then, ends the service.
fn contradicting(sale: &Sale) -> (Value, Value) {
    let later = sale.after(60);
    let active = later.subscription("updated", "active", None);
    (active, later.subscription("updated", "unpaid", Some("past_due")))
}

#[tokio::test(flavor = "multi_thread")]
async fn stripe_is_asked_about_a_subscription_whose_events_contradict_each_other() {
    let system = test_system_with(1, &WITH_KEY).await;
    seed_release::seed(&system.pool, &numbers(1)).await.unwrap();
    let references = clients_at_payment_gate(&system.pool, 1).await;
    let sale = sale(Some(&references[0]), 600);
    deliver_all(&system, &sale.paid_by_card()).await;
    let (active, unpaid) = contradicting(&sale);
    deliver_all(&system, &[unpaid, active]).await;
    assert_eq!(standing(&system.pool, "client-1").await, "ended f f S5_CONFIRM_LIVE", "a guess");
    let in_doubt = "SELECT count(*) FROM subscriptions WHERE ask_at > now() + INTERVAL '30 seconds'";
    assert_eq!(count(&system.pool, in_doubt).await, 1, "webhooks may be on their way");

    system.stand_in.stripe_api_fault(Some(403));
    sqlx::raw_sql("UPDATE subscriptions SET ask_at = now()").execute(&system.pool).await.unwrap();
    until_count(&system, 1, "SELECT count(*) FROM alerts WHERE cause = 'stripe-unreadable:subscriptions'").await;
    system.stand_in.stripe_api_fault(None);
    sqlx::raw_sql("UPDATE subscriptions SET ask_at = now()").execute(&system.pool).await.unwrap();
    until_stands(&system, "client-1", "active t t S6_PHONE_TYPE").await;
    until_count(&system, 0, "SELECT count(*) FROM subscriptions WHERE ask_at IS NOT NULL").await;
    until_count(&system, 0, "SELECT count(*) FROM alerts WHERE cleared_at IS NULL").await;
    system.shut_down().await.unwrap();
}

/// Returns a payment that is not of a client.
fn payment_of_a_stranger() -> Vec<Value> {
    sale(None, 3 * 60 * 60).paid_by_card()
}

async fn until_open(system: &TestSystem, expected: &[&str]) {
    eventually(PATIENCE, &format!("{expected:?}"), async || texts(&system.pool, OPEN).await == expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_recorded_of_a_key_of_another_account_which_raises_an_alert() {
    let system = test_system_with(1, &WITH_KEY).await;
    seed_release::seed(&system.pool, &numbers(1)).await.unwrap();
    let references = clients_at_payment_gate(&system.pool, 1).await;
    deliver_all(&system, &sale(Some(&references[0]), 4 * 60 * 60).paid_by_card()).await;
    assert_eq!(standing(&system.pool, "client-1").await, "active t t S6_PHONE_TYPE");
    let recorded = count(&system.pool, "SELECT count(*) FROM events WHERE kind = 'stripe'").await;

    system.stand_in.stripe_key_of_another_account(true);
    payment_of_a_stranger().iter().for_each(|event| system.stand_in.happen_elsewhere(event));
    age(&system, 1, 1).await;
    until_open(&system, &["stripe-unreadable:events"]).await;
    let why = texts(&system.pool, "SELECT about FROM alerts WHERE cleared_at IS NULL").await.remove(0);
    assert!(why.contains("STRIPE_API_KEY is a key of another account"), "{why}");
    let behind = "SELECT count(*) FROM stripe_audits WHERE audited_until < now() - INTERVAL '23 hours'";
    assert_eq!(count(&system.pool, behind).await, 1, "nothing is compared");
    assert_eq!(count(&system.pool, "SELECT count(*) FROM events WHERE kind = 'stripe'").await, recorded);

    system.stand_in.stripe_key_of_another_account(false);
    until_open(&system, &[]).await;
    until_count(&system, 0, behind).await;
    assert_eq!(count(&system.pool, "SELECT count(*) FROM events WHERE kind = 'stripe'").await, recorded);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_without_a_payment_of_a_client_is_not_taken_before_there_is_one() {
    let system = test_system_with(1, &WITH_KEY).await;
    seed_release::seed(&system.pool, &numbers(1)).await.unwrap();
    let references = clients_at_payment_gate(&system.pool, 1).await;
    lose_all(&system, &payment_of_a_stranger());
    age(&system, 1, 1).await;
    until_open(&system, &["stripe-unreadable:events"]).await;
    assert_eq!(count(&system.pool, "SELECT count(*) FROM events WHERE kind = 'stripe'").await, 0);

    lose_all(&system, &sale(Some(&references[0]), 120).paid_by_card());
    until_stands(&system, "client-1", "active t t S6_PHONE_TYPE").await;
    until_count(
        &system,
        0,
        "SELECT count(*) FROM alerts WHERE cause = 'stripe-unreadable:events' AND cleared_at IS NULL",
    )
    .await;
    until_count(&system, 10, "SELECT count(*) FROM events WHERE kind = 'stripe'").await;
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_list_of_another_account_does_not_count_as_compared() {
    let system = test_system_with(1, &WITH_KEY).await;
    seed_release::seed(&system.pool, &numbers(1)).await.unwrap();
    let references = clients_at_payment_gate(&system.pool, 1).await;
    lose_all(&system, &sale(Some(&references[0]), 20 * 60 * 60).paid_by_card());
    system.stand_in.stripe_key_of_another_account(true);
    age(&system, 1, 1).await;
    let requests = system.stand_in.stripe_requests();
    // Each comparison asks for the list twice.
    eventually(PATIENCE, "three comparisons", async || system.stand_in.stripe_requests() >= requests + 6).await;
    let behind = "SELECT count(*) FROM stripe_audits WHERE audited_until < now() - INTERVAL '23 hours'";
    assert_eq!(count(&system.pool, behind).await, 1, "nothing shows that it is the account of the clients");
    assert_eq!(texts(&system.pool, OPEN).await, Vec::<String>::new(), "nor that it is another");

    system.stand_in.stripe_key_of_another_account(false);
    until_stands(&system, "client-1", "active t t S6_PHONE_TYPE").await;
    until_count(&system, 0, behind).await;
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_the_other_mode_are_not_taken() {
    let system = test_system_with(1, &WITH_KEY).await;
    let references = clients_at_payment_gate(&system.pool, 1).await;
    let mut events = sale(Some(&references[0]), 600).paid_by_card();
    events.iter_mut().for_each(|event| event["livemode"] = true.into());
    lose_all(&system, &events);
    age(&system, 1, 0).await;
    until_count(&system, 1, "SELECT count(*) FROM stripe_audits WHERE failing_since IS NOT NULL").await;
    assert_eq!(count(&system.pool, "SELECT count(*) FROM events WHERE kind = 'stripe'").await, 0);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_of_a_former_account_is_not_asked_about_again() {
    let system = test_system_with(1, &WITH_KEY).await;
    seed_release::seed(&system.pool, &numbers(1)).await.unwrap();
    let references = clients_at_payment_gate(&system.pool, 1).await;
    deliver_all(&system, &sale(Some(&references[0]), 600).paid_by_card()).await;
    let in_doubt =
        "INSERT INTO subscriptions (id, heard_of_at, ask_at) VALUES ('sub_former', now() - INTERVAL '1 year', now())";
    sqlx::raw_sql(in_doubt).execute(&system.pool).await.unwrap();
    until_count(&system, 0, "SELECT count(*) FROM subscriptions WHERE ask_at IS NOT NULL").await;
    assert_eq!(texts(&system.pool, OPEN).await, Vec::<String>::new(), "the account has the newest payment");
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_the_account_lacks_raises_an_alert_and_is_asked_about_again() {
    let system = test_system_with(1, &WITH_KEY).await;
    seed_release::seed(&system.pool, &numbers(1)).await.unwrap();
    let references = clients_at_payment_gate(&system.pool, 1).await;
    deliver_all(&system, &sale(Some(&references[0]), 600).paid_by_card()).await;
    system.stand_in.stripe_key_of_another_account(true);
    let ask = "UPDATE subscriptions SET ask_at = now()";
    // The list is not read meanwhile: its alert is another.
    let only_asked = "UPDATE stripe_audits SET due_at = now() + INTERVAL '1 day'";
    sqlx::raw_sql(only_asked).execute(&system.pool).await.unwrap();
    sqlx::raw_sql(ask).execute(&system.pool).await.unwrap();
    eventually(PATIENCE, "an alert", async || {
        texts(&system.pool, OPEN).await.contains(&"stripe-unreadable:subscriptions".to_owned())
    })
    .await;
    let again = "SELECT count(*) FROM subscriptions WHERE ask_at > now() + INTERVAL '5 minutes'";
    assert_eq!(count(&system.pool, again).await, 1);

    system.stand_in.stripe_key_of_another_account(false);
    sqlx::raw_sql(ask).execute(&system.pool).await.unwrap();
    until_count(&system, 0, "SELECT count(*) FROM subscriptions WHERE ask_at IS NOT NULL").await;
    let open = "SELECT count(*) FROM alerts WHERE cause = 'stripe-unreadable:subscriptions' AND cleared_at IS NULL";
    until_count(&system, 0, open).await;
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn more_events_than_a_step_can_hold_are_all_fetched() {
    const PAYERS: i64 = 48;
    let mut system = test_system_with(1, &WITH_KEY).await;
    let references = clients_at_payment_gate(&system.pool, PAYERS as usize).await;
    system.workers.pop().unwrap().stop().await.unwrap();
    // One event a page makes a step too long. A step that is shorter than the overlap leads on all the same.
    let times = (0..PAYERS).map(|n| 600 + n * 30);
    let events: Vec<Value> =
        references.iter().zip(times).flat_map(|(reference, ago)| sale(Some(reference), ago).paid_by_card()).collect();
    assert!(events.len() > 200, "more than a step reads");
    lose_all(&system, &events);
    system.stand_in.stripe_api_page_max(1);
    age(&system, 1, 0).await;
    let before_all = "UPDATE stripe_audits SET resume_at = now() - INTERVAL '40 minutes'";
    sqlx::raw_sql(before_all).execute(&system.pool).await.unwrap();
    system.start_worker().unwrap();
    until_count(&system, events.len() as i64, "SELECT count(*) FROM events WHERE kind = 'stripe'").await;
    until_count(&system, 1, "SELECT count(*) FROM stripe_audits WHERE audited_until > now() - INTERVAL '3 minutes'")
        .await;
    assert_eq!(count(&system.pool, "SELECT count(*) FROM alerts WHERE cause LIKE 'stripe-unreadable%'").await, 0);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_claim_of_a_long_step_is_renewed_and_the_step_is_left_to_a_worker_that_took_it_over() {
    let settings = [WITH_KEY[0], WITH_KEY[1], ("AUDIT_INTERVAL", "1h")];
    let mut system = test_system_with(1, &settings).await;
    let references = clients_at_payment_gate(&system.pool, 12).await;
    system.workers.pop().unwrap().stop().await.unwrap();
    let events: Vec<Value> =
        references.iter().zip(600..).flat_map(|(reference, ago)| sale(Some(reference), ago).paid_by_card()).collect();
    assert!(events.len() > 50, "more than forty pages");
    lose_all(&system, &events);
    system.stand_in.stripe_api_page_max(1);
    age(&system, 1, 0).await;
    let observed = "UPDATE stripe_audits SET resume_at = now() - INTERVAL '5 hours';
         CREATE TABLE claims (n BIGINT GENERATED ALWAYS AS IDENTITY, due_at TIMESTAMPTZ NOT NULL);
         CREATE FUNCTION observe() RETURNS TRIGGER LANGUAGE plpgsql AS
         $$ BEGIN INSERT INTO claims (due_at) VALUES (NEW.due_at); RETURN NULL; END $$;
         CREATE TRIGGER observed AFTER UPDATE OF due_at ON stripe_audits FOR EACH ROW EXECUTE FUNCTION observe()";
    sqlx::raw_sql(observed).execute(&system.pool).await.unwrap();
    system.stand_in.stripe_api_hangs_after(30);
    system.start_worker().unwrap();
    eventually(PATIENCE, "thirty pages", async || system.stand_in.stripe_requests_under_way() == 1).await;
    let longer = "SELECT count(*) FROM claims later JOIN claims earlier ON later.n > earlier.n AND later.due_at > earlier.due_at";
    assert_eq!(count(&system.pool, longer).await, 1, "the claim was renewed once");

    let taken_over = "UPDATE stripe_audits SET due_at = now() + INTERVAL '2 hours'";
    sqlx::raw_sql(taken_over).execute(&system.pool).await.unwrap();
    system.stand_in.stripe_api_hangs(false);
    let in_hand = "SELECT count(*) FROM apalis.jobs WHERE job_type = 'reconcile-stripe' AND status = 'Queued'";
    until_count(&system, 0, in_hand).await;
    assert_eq!(
        count(&system.pool, "SELECT count(*) FROM events WHERE kind = 'stripe'").await,
        0,
        "it gave the step up"
    );
    assert_eq!(count(&system.pool, "SELECT count(*) FROM claims").await, 3, "and left the other's claim as it was");

    sqlx::raw_sql("UPDATE stripe_audits SET due_at = now()").execute(&system.pool).await.unwrap();
    until_count(&system, events.len() as i64, "SELECT count(*) FROM events WHERE kind = 'stripe'").await;
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_follow_each_other_at_once_and_the_client_who_paid_first_is_recorded_first() {
    let settings = [WITH_KEY[0], WITH_KEY[1], ("AUDIT_INTERVAL", "1h")];
    let mut system = test_system_with(1, &settings).await;
    let references = clients_at_payment_gate(&system.pool, 3).await;
    system.workers.pop().unwrap().stop().await.unwrap();
    // The first two are of one step, the third of the last one.
    for (n, ago) in [(1, 19 * 60 * 60), (0, 20 * 60 * 60), (2, 600)] {
        lose_all(&system, &sale(Some(&references[n]), ago).paid_by_card());
    }
    age(&system, 1, 1).await;
    system.start_worker().unwrap();
    until_count(&system, 1, "SELECT count(*) FROM stripe_audits WHERE audited_until > now() - INTERVAL '3 minutes'")
        .await;
    let order = "SELECT payload->'event'->'data'->'object'->>'client_reference_id' FROM events
                 WHERE payload->'event'->>'type' = 'checkout.session.completed' ORDER BY id";
    assert_eq!(texts(&system.pool, order).await, references);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_is_not_asked_for_before_the_time_that_stripe_names() {
    let system = test_system_with(1, &WITH_KEY).await;
    system.stand_in.stripe_api_retry_after(3000);
    system.stand_in.stripe_api_fault(Some(429));
    age(&system, 1, 0).await;
    let quiet = "SELECT count(*) FROM stripe_audits WHERE quiet_until > now() + INTERVAL '40 minutes'";
    until_count(&system, 1, quiet).await;
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn stripe_is_not_asked_before_the_time_that_it_names() {
    let system = test_system_with(1, &WITH_KEY).await;
    seed_release::seed(&system.pool, &numbers(1)).await.unwrap();
    let references = clients_at_payment_gate(&system.pool, 1).await;
    deliver_all(&system, &sale(Some(&references[0]), 600).paid_by_card()).await;
    sqlx::raw_sql("UPDATE stripe_audits SET due_at = now() + INTERVAL '1 day'").execute(&system.pool).await.unwrap();
    system.stand_in.stripe_api_retry_after(3000);
    system.stand_in.stripe_api_fault(Some(429));
    sqlx::raw_sql("UPDATE subscriptions SET ask_at = now()").execute(&system.pool).await.unwrap();
    until_count(&system, 1, "SELECT count(*) FROM stripe_audits WHERE quiet_until > now() + INTERVAL '40 minutes'")
        .await;

    let requests = system.stand_in.stripe_requests();
    let due = "UPDATE subscriptions SET ask_at = now(); UPDATE stripe_audits SET due_at = now();
               UPDATE sweeps SET last_success_at = now() - INTERVAL '1 hour'";
    sqlx::raw_sql(due).execute(&system.pool).await.unwrap();
    jobrun_shared::queue::enqueue(&mut system.pool.acquire().await.unwrap(), Queue::ReconcileStripe).await.unwrap();
    until_count(&system, 1, "SELECT count(*) FROM sweeps WHERE last_success_at > now() - INTERVAL '50 minutes'").await;
    until_count(&system, 0, "SELECT count(*) FROM apalis.jobs WHERE job_type = 'reconcile-stripe' AND run_at <= now()")
        .await;
    assert_eq!(system.stand_in.stripe_requests(), requests);

    system.stand_in.stripe_api_fault(None);
    sqlx::raw_sql("UPDATE stripe_audits SET quiet_until = now()").execute(&system.pool).await.unwrap();
    until_count(&system, 0, "SELECT count(*) FROM subscriptions WHERE ask_at IS NOT NULL").await;
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_stripe_delays_neither_the_comparison_with_twilio_nor_a_worker_that_stops() {
    let mut system = test_system_with(1, &WITH_KEY).await;
    system.stand_in.stripe_api_hangs(true);
    age(&system, 1, 1).await;
    eventually(PATIENCE, "a request", async || system.stand_in.stripe_requests_under_way() == 1).await;
    let due = "UPDATE audits SET due_at = now(), audited_until = now() - INTERVAL '1 hour'";
    sqlx::raw_sql(due).execute(&system.pool).await.unwrap();
    until_count(&system, 1, "SELECT count(*) FROM audits WHERE audited_until > now() - INTERVAL '10 minutes'").await;
    assert_eq!(system.stand_in.stripe_requests_under_way(), 1, "Stripe is still silent");

    system.workers.pop().unwrap().stop().await.unwrap();
    let given_back = "SELECT count(*) FROM stripe_audits WHERE due_at <= now() AND failing_since IS NULL";
    assert_eq!(count(&system.pool, given_back).await, 1, "the request was given up, and has not failed");
    let waits = "SELECT count(*) FROM apalis.jobs WHERE job_type = 'reconcile-stripe' AND status = 'Pending' AND run_at <= now()";
    assert!(count(&system.pool, waits).await > 0, "for another worker");
    system.stand_in.stripe_api_hangs(false);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_stripe_is_never_called() {
    let system = test_system_with(1, &LINK).await;
    seed_release::seed(&system.pool, &numbers(1)).await.unwrap();
    let references = clients_at_payment_gate(&system.pool, 1).await;
    age(&system, 10, 5).await;
    lose_all(&system, &sale(Some(&references[0]), 3 * DAY_S).paid_by_card());
    let known = sale(Some(&references[0]), 600);
    deliver_all(&system, &known.paid_by_card()).await;
    let (active, unpaid) = contradicting(&known);
    deliver_all(&system, &[unpaid, active]).await;
    sqlx::raw_sql("UPDATE subscriptions SET ask_at = now()").execute(&system.pool).await.unwrap();

    // The job and the sweep have both run since.
    let twilio = "UPDATE audits SET audited_until = now() - INTERVAL '1 hour';
                  UPDATE sweeps SET last_success_at = now() - INTERVAL '1 hour'";
    sqlx::raw_sql(twilio).execute(&system.pool).await.unwrap();
    until_count(
        &system,
        1,
        "SELECT count(*) FROM audits, sweeps
         WHERE audited_until > now() - INTERVAL '50 minutes' AND last_success_at > now() - INTERVAL '50 minutes'",
    )
    .await;
    assert_eq!(system.stand_in.stripe_requests(), 0);
    let untouched = "SELECT count(*) FROM stripe_audits WHERE audited_until < now() - INTERVAL '4 days'";
    assert_eq!(count(&system.pool, untouched).await, 1);
    assert_eq!(count(&system.pool, "SELECT count(*) FROM events WHERE kind = 'stripe'").await, 7);
    system.shut_down().await.unwrap();
}
