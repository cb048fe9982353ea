//! Crashes: processes are killed, responses are lost, the database goes away. Nothing is lost and nothing is done twice.

use std::collections::HashMap;
use std::time::Duration;

use futures::{StreamExt, stream};
use jobrun::demo::TestSystem;
use jobrun::local_postgres::{Data, LocalPostgres};
use jobrun_shared::numbers::seed_release;
use jobrun_stand_in::Answer;
use jobrun_stand_in::stripe::Sale;
use jobrun_tests::{
    PATIENCE, count, empty_database, eventually, numbers, paid_clients, path, phone, programs, test_system,
    test_system_with, texts,
};

/// Exceeds the time in which the jobs and texts of a killed worker are recovered: its silence is noticed after about 15 s, and
/// a text that may have been sent is looked up twice, half a minute apart.
const RECOVERY: Duration = Duration::from_secs(240);

const CLIENTS: usize = 300;

/// Exceeds the number of the ingress's database connections.
const WEBHOOKS_AT_ONCE: usize = 50;

/// Sends `body` from every client, as fast as the ingress accepts it.
async fn send_from_every_client(system: &TestSystem, body: &str) {
    let texts = (1..=CLIENTS).map(|n| async move { system.stand_in.text(&phone(n), body).await.unwrap().status });
    let statuses: Vec<u16> = stream::iter(texts).buffer_unordered(WEBHOOKS_AT_ONCE).collect().await;
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
}

/// Kills the first worker as soon as a tenth of the clients have an answer, and starts another in its place.
async fn kill_a_worker_in_the_middle(system: &mut TestSystem, answered_before: usize) {
    let some = answered_before + CLIENTS / 10;
    eventually(PATIENCE, "some clients are answered", async || system.stand_in.messages().len() >= some).await;
    system.workers[0].kill().await.unwrap();
    assert!(system.stand_in.messages().len() < answered_before + CLIENTS, "all were answered before the kill");
    system.workers.remove(0);
    system.start_worker().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_in_the_middle_of_three_hundred_conversations_costs_no_client_a_text() {
    let mut system = test_system(2).await;
    // Long enough for the kill to hit texts that Twilio has accepted and whose responses are still outstanding.
    system.stand_in.answer_after(Duration::from_millis(100));
    seed_release::seed(&system.pool, &numbers(CLIENTS)).await.unwrap();
    paid_clients(&system.pool, "client", CLIENTS).await;

    let steps = ["Plumber from London", "ABC Plumbing", "John Smith", "SMS", "YES", "1", "DONE"];
    for (step, body) in steps.into_iter().enumerate() {
        let before = system.stand_in.messages().len();
        send_from_every_client(&system, body).await;
        if ["ABC Plumbing", "YES"].contains(&body) {
            kill_a_worker_in_the_middle(&mut system, before).await;
        }
        system.settle_within(RECOVERY).await.unwrap();
        assert_eq!(system.stand_in.messages().len(), CLIENTS * (step + 1), "after {body}");
    }
    let held = texts(&system.pool, r#"SELECT "twilioNumber" FROM clients WHERE "twilioNumber" IS NOT NULL"#).await;
    assert_eq!(held.len(), CLIENTS);
    let calls = held.iter().map(async |number| system.stand_in.call("+447700900123", number).await.unwrap());
    let calls: Vec<(Answer, Answer)> = stream::iter(calls).buffer_unordered(WEBHOOKS_AT_ONCE).collect().await;
    assert!(calls.iter().all(|(arrived, ended)| (arrived.status, ended.status) == (200, 204)), "{calls:?}");
    system.settle_within(RECOVERY).await.unwrap();

    let complete = "SELECT count(*) FROM onboarding_states WHERE current_state = 'COMPLETE'";
    assert_eq!(count(&system.pool, complete).await, 300);
    every_text_is_at_the_stand_in_once(&system).await;
    system.shut_down().await.unwrap();
}

/// Asserts that the stand-in accepted each text of the outbox once, in order for each client, and that every row is settled.
async fn every_text_is_at_the_stand_in_once(system: &TestSystem) {
    let owed: Vec<(String, String)> =
        sqlx::query_as("SELECT to_phone, body FROM messages ORDER BY id").fetch_all(&system.pool).await.unwrap();
    let by_person = |texts: Vec<(String, String)>| {
        let mut people: HashMap<String, Vec<String>> = HashMap::new();
        for (person, body) in texts {
            people.entry(person).or_default().push(body);
        }
        people
    };
    let taken = system.stand_in.messages().into_iter().map(|it| (it.to, it.body)).collect();
    assert_eq!(by_person(taken), by_person(owed));
    let unsettled = "SELECT count(*) FROM messages WHERE status NOT IN ('sent', 'delivered') OR twilio_sid IS NULL";
    assert_eq!(count(&system.pool, unsettled).await, 0);
}

/// Twilio accepts the text and its response is lost: the worker finds the text in Twilio's list and does not send it again.
#[tokio::test(flavor = "multi_thread")]
async fn a_text_whose_response_from_twilio_is_lost_is_looked_up_and_not_sent_again() {
    let system = test_system(2).await;
    system.stand_in.answer_after(Duration::from_secs(3600));
    system.stand_in.text(&phone(1), "Plumber from London").await.unwrap();
    eventually(PATIENCE, "the text is taken", async || system.stand_in.messages().len() == 1).await;
    system.stand_in.answer_after(Duration::ZERO);
    system.settle_within(RECOVERY).await.unwrap();
    // The next text is sent only after the first is settled.
    system.stand_in.text(&phone(1), "ABC Plumbing").await.unwrap();
    system.settle_within(RECOVERY).await.unwrap();
    assert_eq!(system.stand_in.messages().len(), 2);
    assert_eq!(count(&system.pool, "SELECT max(attempts)::BIGINT FROM messages").await, 1);
    every_text_is_at_the_stand_in_once(&system).await;
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_asked_to_stop_finishes_the_texts_it_has_claimed() {
    let mut system = test_system_with(1, &[("SWEEP_INTERVAL", "1h")]).await;
    system.stand_in.answer_after(Duration::from_millis(500));
    paid_clients(&system.pool, "client", CLIENTS).await;
    send_from_every_client(&system, "Plumber from London").await;
    eventually(PATIENCE, "some texts are under way", async || !system.stand_in.messages().is_empty()).await;
    let status = system.workers[0].stop().await.unwrap();
    assert!(status.success(), "{status}: {}", system.last_lines());
    let in_hand = "SELECT count(*) FROM messages WHERE status IN ('sending', 'unknown')";
    assert_eq!(count(&system.pool, in_hand).await, 0, "nothing is left half done");
    assert!(system.stand_in.messages().len() < CLIENTS, "there was more to do");

    system.stand_in.answer_after(Duration::ZERO);
    system.workers.clear();
    system.start_worker().unwrap();
    system.settle().await.unwrap();
    every_text_is_at_the_stand_in_once(&system).await;
    assert_eq!(system.stand_in.messages().len(), CLIENTS);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_database_webhooks_get_503_and_once_it_returns_everything_goes_on() {
    let dir = std::env::temp_dir().join(format!("jobrun-restarted-{}", std::process::id()));
    let postgres = LocalPostgres::start(&dir, Data::Kept, &path()).await.unwrap();
    let system = TestSystem::start(&programs(), postgres.url(), 1, &[]).await.unwrap();
    system.stand_in.text(&phone(1), "Plumber from London").await.unwrap();
    system.settle().await.unwrap();

    drop(postgres);
    let answer = system.stand_in.text(&phone(1), "ABC Plumbing").await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (503, "not recorded: please send it again\n"));
    let paid = Sale::new(None).invoice_paid();
    let answer = system.stand_in.stripe(&paid).await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (503, "not recorded: please send it again\n"));
    let says = "not recorded path=\"/webhooks/twilio/sms\" status=503 why=\"text SM";
    let named = async || system.ingress.lines().iter().any(|line| line.contains(says));
    eventually(PATIENCE, "the ingress says so", named).await;
    let ready = reqwest::get(format!("{}/readyz", system.account.webhook_base_url)).await.unwrap();
    assert_eq!(ready.status().as_u16(), 503);
    let alive = reqwest::get(format!("{}/healthz", system.account.webhook_base_url)).await.unwrap();
    assert_eq!(alive.status().as_u16(), 200);

    let postgres = LocalPostgres::start(&dir, Data::Kept, &path()).await.unwrap();
    eventually(PATIENCE, "webhooks are taken again", async || {
        system.stand_in.text(&phone(1), "ABC Plumbing").await.unwrap().status == 200
    })
    .await;
    system.settle().await.unwrap();
    assert!(system.stand_in.bodies_to(&phone(1))[1].contains("your own name"));
    system.shut_down().await.unwrap();
    drop(postgres);
    std::fs::remove_dir_all(&dir).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_whose_body_never_ends_does_not_keep_the_ingress_from_stopping() {
    use tokio::io::AsyncWriteExt;
    let mut system = test_system(0).await;
    let addr = system.account.webhook_base_url.trim_start_matches("http://").to_owned();
    let mut half = tokio::net::TcpStream::connect(&addr).await.unwrap();
    half.write_all(b"POST /webhooks/twilio/sms HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nFro").await.unwrap();
    let status = system.ingress.stop().await.unwrap();
    assert!(status.success(), "{status}: {:?}", system.ingress.lines());
    drop(half);
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_that_arrive_while_no_worker_runs_are_answered_once_one_starts() {
    let mut system = TestSystem::start(&programs(), &empty_database().await, 0, &[]).await.unwrap();
    send_from_every_client(&system, "Plumber from London").await;
    assert_eq!(count(&system.pool, "SELECT count(*) FROM events WHERE processed_at IS NULL").await, 300);
    system.start_worker().unwrap();
    system.settle().await.unwrap();
    every_text_is_at_the_stand_in_once(&system).await;
    system.shut_down().await.unwrap();
}

/// Plays a take whose future was dropped: the server finishes it, and it commits while the worker unregisters.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_taken_while_its_worker_ends_goes_back_to_the_queue() {
    let mut system = test_system(1).await;
    let registered = "SELECT count(*) FROM apalis.workers WHERE worker_type = 'process-events'";
    eventually(PATIENCE, "the worker is registered", async || count(&system.pool, registered).await == 1).await;
    let mut take = system.pool.begin().await.unwrap();
    let taken = "INSERT INTO apalis.jobs (job, id, job_type, status, run_at, lock_at, lock_by)
                 SELECT '\\x7b7d', 'taken', 'process-events', 'Queued', now() + INTERVAL '1 day', now(), id
                 FROM apalis.workers WHERE worker_type = 'process-events'";
    sqlx::query(taken).execute(&mut *take).await.unwrap();

    let mut worker = system.workers.remove(0);
    let stopping = tokio::spawn(async move { worker.stop().await.unwrap() });
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
                 AND query LIKE 'DELETE FROM apalis.workers%'";
    eventually(PATIENCE, "the worker waits for the take", async || count(&system.pool, waits).await == 1).await;
    take.commit().await.unwrap();
    assert!(stopping.await.unwrap().success());
    assert_eq!(
        texts(&system.pool, "SELECT status FROM apalis.jobs WHERE id = 'taken' AND lock_by IS NULL").await,
        ["Pending"]
    );
    assert_eq!(count(&system.pool, registered).await, 0);
    system.shut_down().await.unwrap();
}
