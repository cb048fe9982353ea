//! Accidents: processes are killed, answers are lost, the database goes away. Nothing is lost, nothing is doubled.

use std::collections::HashMap;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use jobrun::demo::Stage;
use jobrun::local_postgres::{Data, LocalPostgres};
use jobrun_shared::operator;
use jobrun_stand_in::Answer;
use jobrun_stand_in::stripe::Sale;
use jobrun_tests::{
    PATIENCE, count, empty_database, eventually, numbers, paid_clients, path, phone, programs, stage, stage_with, texts,
};

/// Longer than a killed worker's jobs and texts take to come back: its silence is noticed after some 15 seconds, and a text
/// that may have been sent is looked for twice, half a minute apart.
const RECOVERY: Duration = Duration::from_secs(240);

const CLIENTS: usize = 300;

/// More at a time than the ingress has connections to its database.
const WEBHOOKS_AT_ONCE: usize = 50;

/// Everybody says the same, as fast as the ingress takes it.
async fn all_say(stage: &Stage, body: &str) {
    let texts = (1..=CLIENTS).map(|n| async move { stage.stand_in.text(&phone(n), body).await.unwrap().status });
    let statuses: Vec<u16> = stream::iter(texts).buffer_unordered(WEBHOOKS_AT_ONCE).collect().await;
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
}

/// Kills the first worker as soon as some of the answers are out, and starts another in its place.
async fn kill_a_worker_in_the_middle(stage: &mut Stage, answered_before: usize) {
    let some = answered_before + CLIENTS / 10;
    eventually(PATIENCE, "some are answered", async || stage.stand_in.messages().len() >= some).await;
    stage.workers[0].kill().await.unwrap();
    assert!(stage.stand_in.messages().len() < answered_before + CLIENTS, "all were answered before the kill");
    stage.workers.remove(0);
    stage.start_worker().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_in_the_middle_of_three_hundred_conversations_costs_nobody_a_text() {
    let mut stage = stage(2).await;
    // Long enough for a kill to find texts on their way, which Twilio has and we do not know of.
    stage.stand_in.answer_after(Duration::from_millis(100));
    operator::seed(&stage.pool, &numbers(CLIENTS)).await.unwrap();
    paid_clients(&stage.pool, "client", CLIENTS).await;

    let steps = ["Plumber from London", "ABC Plumbing", "John Smith", "SMS", "YES", "1", "DONE"];
    for (step, body) in steps.into_iter().enumerate() {
        let before = stage.stand_in.messages().len();
        all_say(&stage, body).await;
        if ["ABC Plumbing", "YES"].contains(&body) {
            kill_a_worker_in_the_middle(&mut stage, before).await;
        }
        stage.settle_within(RECOVERY).await.unwrap();
        assert_eq!(stage.stand_in.messages().len(), CLIENTS * (step + 1), "after {body}");
    }
    let held = texts(&stage.pool, r#"SELECT "twilioNumber" FROM clients WHERE "twilioNumber" IS NOT NULL"#).await;
    assert_eq!(held.len(), CLIENTS);
    let calls = held.iter().map(async |number| stage.stand_in.call("+447700900123", number).await.unwrap());
    let calls: Vec<(Answer, Answer)> = stream::iter(calls).buffer_unordered(WEBHOOKS_AT_ONCE).collect().await;
    assert!(calls.iter().all(|(arrived, ended)| (arrived.status, ended.status) == (200, 204)), "{calls:?}");
    stage.settle_within(RECOVERY).await.unwrap();

    let complete = "SELECT count(*) FROM onboarding_states WHERE current_state = 'COMPLETE'";
    assert_eq!(count(&stage.pool, complete).await, 300);
    every_text_is_at_the_stand_in_once(&stage).await;
    stage.strike().await.unwrap();
}

/// What the stand-in took is what the outbox owes: each text once, in order for each person, and every row says so.
async fn every_text_is_at_the_stand_in_once(stage: &Stage) {
    let owed: Vec<(String, String)> =
        sqlx::query_as("SELECT to_phone, body FROM messages ORDER BY id").fetch_all(&stage.pool).await.unwrap();
    let by_person = |texts: Vec<(String, String)>| {
        let mut people: HashMap<String, Vec<String>> = HashMap::new();
        for (person, body) in texts {
            people.entry(person).or_default().push(body);
        }
        people
    };
    let taken = stage.stand_in.messages().into_iter().map(|it| (it.to, it.body)).collect();
    assert_eq!(by_person(taken), by_person(owed));
    let unsettled = "SELECT count(*) FROM messages WHERE status NOT IN ('sent', 'delivered') OR twilio_sid IS NULL";
    assert_eq!(count(&stage.pool, unsettled).await, 0);
}

/// Twilio takes the text, and we never hear so: it is found in Twilio's list, and not sent again.
#[tokio::test(flavor = "multi_thread")]
async fn a_text_whose_answer_is_lost_is_looked_for_and_not_sent_again() {
    let stage = stage(2).await;
    stage.stand_in.answer_after(Duration::from_secs(3600));
    stage.stand_in.text(&phone(1), "Plumber from London").await.unwrap();
    eventually(PATIENCE, "the text is taken", async || stage.stand_in.messages().len() == 1).await;
    stage.stand_in.answer_after(Duration::ZERO);
    stage.settle_within(RECOVERY).await.unwrap();
    // The next one leaves only after the first is settled.
    stage.stand_in.text(&phone(1), "ABC Plumbing").await.unwrap();
    stage.settle_within(RECOVERY).await.unwrap();
    assert_eq!(stage.stand_in.messages().len(), 2);
    assert_eq!(count(&stage.pool, "SELECT max(attempts)::BIGINT FROM messages").await, 1);
    every_text_is_at_the_stand_in_once(&stage).await;
    stage.strike().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_asked_to_stop_finishes_what_it_has_in_hand() {
    let mut stage = stage_with(1, &[("SWEEP_INTERVAL", "1h")]).await;
    stage.stand_in.answer_after(Duration::from_millis(500));
    paid_clients(&stage.pool, "client", CLIENTS).await;
    all_say(&stage, "Plumber from London").await;
    eventually(PATIENCE, "some texts are under way", async || !stage.stand_in.messages().is_empty()).await;
    let status = stage.workers[0].stop().await.unwrap();
    assert!(status.success(), "{status}: {}", stage.last_lines());
    let in_hand = "SELECT count(*) FROM messages WHERE status IN ('sending', 'unknown')";
    assert_eq!(count(&stage.pool, in_hand).await, 0, "nothing is left half done");
    assert!(stage.stand_in.messages().len() < CLIENTS, "there was more to do");

    stage.stand_in.answer_after(Duration::ZERO);
    stage.workers.clear();
    stage.start_worker().unwrap();
    stage.settle().await.unwrap();
    every_text_is_at_the_stand_in_once(&stage).await;
    assert_eq!(stage.stand_in.messages().len(), CLIENTS);
    stage.strike().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_database_webhooks_are_told_to_come_back_and_with_it_everything_goes_on() {
    let dir = std::env::temp_dir().join(format!("jobrun-restarted-{}", std::process::id()));
    let postgres = LocalPostgres::start(&dir, Data::Kept, &path()).await.unwrap();
    let stage = Stage::set(&programs(), postgres.url(), 1, &[]).await.unwrap();
    stage.stand_in.text(&phone(1), "Plumber from London").await.unwrap();
    stage.settle().await.unwrap();

    drop(postgres);
    let answer = stage.stand_in.text(&phone(1), "ABC Plumbing").await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (503, "not recorded: please send it again\n"));
    let paid = Sale::new(None).invoice_paid();
    let answer = stage.stand_in.stripe(&paid).await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (503, "not recorded: please send it again\n"));
    let says = "not recorded path=\"/webhooks/twilio/sms\" status=503 why=\"text SM";
    let named = async || stage.ingress.lines().iter().any(|line| line.contains(says));
    eventually(PATIENCE, "the ingress says so", named).await;
    let ready = reqwest::get(format!("{}/readyz", stage.account.webhook_base_url)).await.unwrap();
    assert_eq!(ready.status().as_u16(), 503);
    let alive = reqwest::get(format!("{}/healthz", stage.account.webhook_base_url)).await.unwrap();
    assert_eq!(alive.status().as_u16(), 200);

    let postgres = LocalPostgres::start(&dir, Data::Kept, &path()).await.unwrap();
    eventually(PATIENCE, "webhooks are taken again", async || {
        stage.stand_in.text(&phone(1), "ABC Plumbing").await.unwrap().status == 200
    })
    .await;
    stage.settle().await.unwrap();
    assert!(stage.stand_in.bodies_to(&phone(1))[1].contains("your own name"));
    stage.strike().await.unwrap();
    drop(postgres);
    std::fs::remove_dir_all(&dir).unwrap();
}

/// Somebody connects, and sends half a webhook.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_never_ends_does_not_keep_the_ingress_from_stopping() {
    use tokio::io::AsyncWriteExt;
    let mut stage = stage(0).await;
    let addr = stage.account.webhook_base_url.trim_start_matches("http://").to_owned();
    let mut half = tokio::net::TcpStream::connect(&addr).await.unwrap();
    half.write_all(b"POST /webhooks/twilio/sms HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nFro").await.unwrap();
    let status = stage.ingress.stop().await.unwrap();
    assert!(status.success(), "{status}: {:?}", stage.ingress.lines());
    drop(half);
}

/// A webhook that arrives while no worker runs is answered when one does.
#[tokio::test(flavor = "multi_thread")]
async fn what_arrives_while_no_worker_runs_waits_for_one() {
    let mut stage = Stage::set(&programs(), &empty_database().await, 0, &[]).await.unwrap();
    all_say(&stage, "Plumber from London").await;
    assert_eq!(count(&stage.pool, "SELECT count(*) FROM events WHERE processed_at IS NULL").await, 300);
    stage.start_worker().unwrap();
    stage.settle().await.unwrap();
    every_text_is_at_the_stand_in_once(&stage).await;
    stage.strike().await.unwrap();
}
