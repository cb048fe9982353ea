//! A database that was restored from a backup: no client is texted twice, and missed texts are answered.

use std::collections::BTreeMap;
use std::time::Duration;

use jobrun::demo::TestSystem;
use jobrun_shared::numbers::{allocate, seed_release};
use jobrun_shared::restore::{Error, Found, record};
use jobrun_shared::{clock, db};
use jobrun_stand_in::Fault;
use jobrun_stand_in::stripe::Sale;
use jobrun_tests::{
    PATIENCE, count, eventually, migrated_database, numbers, paid_clients, phone, say, server, test_system_with, texts,
};
use secrecy::ExposeSecret;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::numbers::execute;

/// Four clients: the first two before the backup, the third after it, the fourth while no ingress runs.
const ANN: usize = 1;
const BOB: usize = 2;
const CID: usize = 3;
const DOT: usize = 4;

const UP_TO_PAYMENT: [&str; 5] = ["Plumber from London", "ABC Plumbing", "John Smith", "SMS", "YES"];

/// What a test knows from before the loss.
struct Lost {
    system: TestSystem,
    /// The events of Stripe's that the restored database lacks.
    stripe: Vec<Value>,
    /// The texts that each client had before the restore.
    texts: BTreeMap<usize, Vec<String>>,
}

fn settings() -> [(&'static str, &'static str); 1] {
    [("PAYMENT_LINK_URL", "https://buy.stripe.com/test_link")]
}

/// Copies the database while no program is connected to it.
async fn back_up(system: &mut TestSystem, name: &str) -> String {
    stop(system).await;
    system.pool.close().await;
    let url: secrecy::SecretString = system.environment["DATABASE_URL"].clone().into();
    let original = url.expose_secret().rsplit('/').next().unwrap().to_owned();
    let original = original.split('?').next().unwrap();
    let admin = db::connect(server().await.url(), jobrun::CONNECTIONS).await.unwrap();
    let copy = AssertSqlSafe(format!("CREATE DATABASE {name} TEMPLATE {original}"));
    sqlx::raw_sql(copy).execute(&admin).await.unwrap();
    admin.close().await;
    system.pool = db::connect(&url, jobrun::CONNECTIONS).await.unwrap();
    db::sibling_url(&url, name).unwrap().expose_secret().to_owned()
}

async fn stop(system: &mut TestSystem) {
    system.ingress.stop().await.unwrap();
    for worker in &mut system.workers {
        worker.stop().await.unwrap();
    }
    system.workers.clear();
}

async fn start(system: &mut TestSystem) {
    system.start_ingress().await.unwrap();
    system.start_worker().unwrap();
}

async fn reference_of(system: &TestSystem, n: usize) -> String {
    let text = system.stand_in.bodies_to(&phone(n)).into_iter().find(|it| it.contains("client_reference_id=")).unwrap();
    text.split("client_reference_id=").nth(1).unwrap().split_whitespace().next().unwrap().to_owned()
}

/// Plays until the database is replaced by its backup, as `name`. Programs are stopped.
///
/// At the backup, a text to Ann is queued. After it, the text is sent, Ann goes on, Bob goes on and pays, Cid comes, signs up to
/// the payment, pays, and is told a number. While no ingress runs, Ann answers, and Dot comes.
async fn lose(name: &str) -> Lost {
    let mut system = test_system_with(1, &settings()).await;
    seed_release::seed(&system.pool, &numbers(3)).await.unwrap();
    for body in UP_TO_PAYMENT {
        say(&system, &phone(BOB), body).await;
    }
    system.stand_in.always(Some(Fault::TooMany));
    assert_eq!(system.stand_in.text(&phone(ANN), UP_TO_PAYMENT[0]).await.unwrap().status, 200);
    let refused = async || {
        count(&system.pool, "SELECT count(*) FROM messages WHERE attempts > 0 AND status = 'queued'").await == 1
    };
    eventually(PATIENCE, "a text is refused and queued", refused).await;
    let backup = back_up(&mut system, name).await;

    system.stand_in.always(None);
    start(&mut system).await;
    system.settle().await.unwrap();
    say(&system, &phone(ANN), UP_TO_PAYMENT[1]).await;
    for body in UP_TO_PAYMENT {
        say(&system, &phone(CID), body).await;
    }
    let mut stripe = Vec::new();
    // Cid first: it takes the first number, which would be Bob's if he were the first to pay after the restore.
    for n in [CID, BOB] {
        let sale = Sale::new(Some(&reference_of(&system, n).await));
        for event in sale.paid_by_card() {
            system.stand_in.stripe(&event).await.unwrap();
            stripe.push(event);
        }
        system.settle().await.unwrap();
        let told = system.stand_in.bodies_to(&phone(n)).pop().unwrap();
        assert!(told.contains(&format!("Your JobRun number is {}", numbers(2)[usize::from(n == BOB)])), "{told}");
    }
    stop(&mut system).await;
    // Twilio's dates have whole seconds: a text of the same second as an answer would count as answered by it.
    let second = clock::now().timestamp();
    eventually(PATIENCE, "another second has begun", async || clock::now().timestamp() > second).await;
    for (n, body) in [(ANN, UP_TO_PAYMENT[2]), (DOT, UP_TO_PAYMENT[0])] {
        assert!(system.stand_in.text(&phone(n), body).await.is_err(), "the ingress is down");
    }
    let texts = (ANN..=DOT).map(|n| (n, system.stand_in.bodies_to(&phone(n)))).collect();
    restore(&mut system, backup).await;
    Lost { system, stripe, texts }
}

/// Replaces the database by its backup. Programs must be stopped.
async fn restore(system: &mut TestSystem, backup: String) {
    system.pool.close().await;
    system.environment.insert("DATABASE_URL".to_owned(), backup.clone());
    system.pool = db::connect(&backup.into(), jobrun::CONNECTIONS).await.unwrap();
}

/// Runs `jobrun restored`, and returns its output.
async fn run_restored(system: &TestSystem) -> String {
    let (code, shown, errors) = system.operator(&["restored"]).await.unwrap();
    assert_eq!(code, 0, "{errors}");
    shown
}

/// Starts the programs on the restored database, and sends Stripe's events again, Bob's first. Returns the texts that each client
/// got since the restore.
async fn go_on(lost: &mut Lost) -> BTreeMap<usize, Vec<String>> {
    let system = &mut lost.system;
    system.start_ingress().await.unwrap();
    let half = lost.stripe.len() / 2;
    for event in lost.stripe[half..].iter().chain(&lost.stripe[..half]) {
        system.stand_in.stripe(event).await.unwrap();
    }
    system.start_worker().unwrap();
    let fetched = async || count(&system.pool, "SELECT count(*) FROM events WHERE kind = 'text'").await == 14;
    eventually(PATIENCE, "every text is recorded", fetched).await;
    system.settle().await.unwrap();
    since(lost)
}

fn since(lost: &Lost) -> BTreeMap<usize, Vec<String>> {
    let new = |n: usize| lost.system.stand_in.bodies_to(&phone(n)).split_off(lost.texts[&n].len());
    lost.texts.keys().map(|n| (*n, new(*n))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restore_no_text_is_sent_twice_and_missed_texts_are_answered_once() {
    let mut lost = lose("restored").await;
    let (code, planned, errors) = lost.system.operator(&["restored", "--dry-run"]).await.unwrap();
    assert_eq!((code, count(&lost.system.pool, "SELECT count(*) FROM restores").await), (0, 0), "{errors}");
    let (code, shown, errors) = lost.system.operator(&["restored"]).await.unwrap();
    assert_eq!(code, 0, "{errors}");
    for line in [
        // Ann's two and Cid's five answers, and Dot's first text; the last two of them have no answer.
        "texts received and missing: 8, recorded now; 6 of them had an answer",
        // Ann's two, Cid's six, and the number of Bob.
        "texts sent and missing: 9; for 3 days, none of them is sent again",
        "queued texts that had been sent: 1, which count as sent now",
    ] {
        assert!(shown.contains(line) && planned.contains(line), "{line}\n{shown}\n{planned}");
    }
    let kept =
        texts(&lost.system.pool, "SELECT phone_e164 FROM twilio_number_pool WHERE status = 'COOLING_DOWN' ORDER BY 1")
            .await;
    assert_eq!(kept, numbers(2));
    // Twice is as good as once.
    let first_id_left = "SELECT last_value FROM messages_id_seq";
    assert!(count(&lost.system.pool, first_id_left).await > 1_000_000, "ids of lost texts are not given again");
    let (code, again, _) = lost.system.operator(&["restored"]).await.unwrap();
    assert!(
        code == 0
            && again.contains("texts received and missing: 0")
            && again.contains("queued texts that had been sent: 0")
    );
    assert_eq!(count(&lost.system.pool, "SELECT count(*) FROM unrecorded_texts").await, 9);

    let new = go_on(&mut lost).await;
    assert_eq!((new[&BOB].len(), new[&CID].len()), (0, 0), "{new:?}");
    assert_eq!((new[&ANN].len(), new[&DOT].len()), (1, 1), "{new:?}");
    assert!(new[&ANN][0].contains("Reply SMS") && new[&DOT][0].contains("name of your business"), "{new:?}");
    // The conversations go on where they were, and everyone has the number that it was told.
    for (n, number) in [(CID, 0), (BOB, 1)] {
        let told = say(&lost.system, &phone(n), "1").await;
        assert!(told.len() == 1 && told[0].contains(&numbers(2)[number]), "{told:?}");
    }
    // A new text is not taken for a lost one, although its answer has the same words as a lost text.
    for expected in ["Reply SMS", "What's your own name?"] {
        let reply = say(&lost.system, &phone(ANN), if expected == "Reply SMS" { "hmm?" } else { "back" }).await;
        assert!(reply.len() == 1 && reply[0].contains(expected), "{reply:?}");
    }
    lost.system.shut_down().await.unwrap();
}

/// Shows that the other test can fail.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_command_a_restored_database_sends_texts_twice() {
    let mut lost = lose("restored_without").await;
    let new = go_on(&mut lost).await;
    assert!(new[&ANN].contains(&lost.texts[&ANN][0]), "the text that was queued: {new:?}");
    assert!(lost.texts[&CID].iter().filter(|text| new[&CID].contains(text)).count() > 2, "{new:?}");
    lost.system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_refuses_while_a_daemon_runs_and_when_twilio_is_away() {
    let mut system = test_system_with(1, &[]).await;
    system.stand_in.always(Some(Fault::Unavailable));
    let (code, _, errors) = system.operator(&["restored"]).await.unwrap();
    assert!(code == 1 && errors.contains("jobrun-ingress and jobrun-worker runs on this database"), "{errors}");
    stop(&mut system).await;
    let (code, _, errors) = system.operator(&["restored"]).await.unwrap();
    assert!(code == 1 && errors.contains("Twilio answered HTTP 503"), "{errors}");
    assert_eq!(count(&system.pool, "SELECT count(*) FROM restores").await, 0);
    system.stand_in.always(None);
    let (code, _, errors) = system.operator(&["restored"]).await.unwrap();
    assert_eq!(code, 0, "{errors}");
    assert_eq!(count(&system.pool, "SELECT count(*) FROM restores WHERE last_event_id IS NOT NULL").await, 1);
}

/// A run that is cut short after its first transaction: the programs start, and no text is sent twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_cut_short_leaves_no_text_to_be_sent_twice() {
    let mut lost = lose("restored_in_part").await;
    execute(
        &lost.system.pool,
        "CREATE FUNCTION no_events() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'cut short'; END $$;
         CREATE TRIGGER no_events BEFORE INSERT ON events EXECUTE FUNCTION no_events()",
    )
    .await;
    let (code, _, errors) = lost.system.operator(&["restored"]).await.unwrap();
    assert!(code == 1 && errors.contains("cut short"), "{errors}");
    execute(&lost.system.pool, "DROP TRIGGER no_events ON events").await;
    let shown = run_restored(&lost.system).await;
    assert!(shown.contains("texts received and missing: 8"), "{shown}");
    assert_eq!(count(&lost.system.pool, "SELECT count(*) FROM restores WHERE last_event_id IS NULL").await, 0);
    let new = go_on(&mut lost).await;
    assert_eq!(new.values().map(Vec::len).collect::<Vec<_>>(), [1, 0, 0, 1], "{new:?}");
    lost.system.shut_down().await.unwrap();
}

const UNFINISHED: &str = "SELECT count(*) FROM alerts WHERE cause = 'restore-unfinished' AND cleared_at IS NULL";

/// Returns what `jobrun doctor` says about restores.
async fn doctor_on_restores(system: &TestSystem) -> String {
    let (_, shown, _) = system.operator(&["doctor"]).await.unwrap();
    shown.lines().skip_while(|line| !line.starts_with("restore ")).take(2).collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_was_cut_short_is_said_until_the_command_has_finished() {
    let mut system = test_system_with(1, &[]).await;
    stop(&mut system).await;
    assert!(doctor_on_restores(&system).await.contains("ok"));
    // As a run leaves it that is cut short after its first transaction, four days ago.
    execute(
        &system.pool,
        "INSERT INTO restores (restored_at, listed_since) VALUES (now() - interval '4 days', '2026-01-02 03:04:00Z')",
    )
    .await;
    let said = doctor_on_restores(&system).await;
    assert!(said.contains("FAULT") && said.contains("run `jobrun restored` again"), "{said}");
    start(&mut system).await;
    eventually(PATIENCE, "a worker says so", async || count(&system.pool, UNFINISHED).await == 1).await;
    let (_, alerts, _) = system.operator(&["alerts"]).await.unwrap();
    assert!(alerts.contains("run `jobrun restored` again") && alerts.contains("once"), "{alerts}");

    stop(&mut system).await;
    let shown = run_restored(&system).await;
    assert!(shown.contains("list since 2026-01-02 02:54 UTC"), "what it may have left out is read again: {shown}");
    assert!(doctor_on_restores(&system).await.contains("ok"));
    start(&mut system).await;
    eventually(PATIENCE, "the alert ends by itself", async || count(&system.pool, UNFINISHED).await == 0).await;
    system.shut_down().await.unwrap();
}

/// Client 1 and client 2 hold the first two numbers at the backup. After it, client 2 is told the third, and then client 1.
#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_replaced_another_is_kept_for_the_last_client_who_was_told_it() {
    let mut system = test_system_with(1, &[]).await;
    seed_release::seed(&system.pool, &numbers(3)).await.unwrap();
    paid_clients(&system.pool, "client", 3).await;
    for id in ["client-1", "client-2"] {
        allocate::allocate(&system.pool, id, clock::now(), None).await.unwrap();
    }
    execute(
        &system.pool,
        r#"INSERT INTO onboarding_states (client_id, current_state) SELECT id, 'COMPLETE' FROM clients WHERE "twilioNumber" IS NOT NULL"#,
    )
    .await;
    let backup = back_up(&mut system, "restored_numbers").await;
    start(&mut system).await;
    let [first, second, third] = &numbers(3)[..] else { panic!("three numbers") };
    for number in [&[second.as_str()][..], &[third, "--now"], &[first]] {
        let release = [&["pool", "release", "--yes"], number].concat();
        assert_eq!(system.operator(&release).await.unwrap().0, 0);
        system.settle().await.unwrap();
    }
    let (one, two) = (system.stand_in.bodies_to(&phone(1)), system.stand_in.bodies_to(&phone(2)));
    assert!(one.len() == 1 && one[0].contains(third) && two.len() == 2 && two[0].contains(third), "{one:?} {two:?}");
    stop(&mut system).await;
    restore(&mut system, backup).await;

    let shown = run_restored(&system).await;
    assert!(shown.contains(&format!("kept for the client, who holds {first}, which it replaced")), "{shown}");
    assert!(shown.contains("kept for another client, who was told it later"), "{shown}");
    run_restored(&system).await;
    let history =
        "SELECT concat_ws(' ', client_id, number_changes.number, change) FROM number_changes WHERE why LIKE 'told %'";
    assert_eq!(texts(&system.pool, history).await, [format!("client-1 {third} released")], "once");
    let refused = allocate::allocate(&system.pool, "client-3", clock::now(), None).await.unwrap();
    assert_eq!(refused.phone_e164, None, "no other client is given it");

    start(&mut system).await;
    assert_eq!(system.operator(&["pool", "release", first, "--yes"]).await.unwrap().0, 0);
    system.settle().await.unwrap();
    let holder = r#"SELECT id || ' ' || "twilioNumber" FROM clients WHERE "twilioNumber" IS NOT NULL ORDER BY id"#;
    assert_eq!(texts(&system.pool, holder).await, [format!("client-1 {third}"), format!("client-2 {second}")]);
    assert_eq!(system.stand_in.bodies_to(&phone(1)), one, "it was told before the restore");
    system.shut_down().await.unwrap();
}

/// Plays until the database is replaced by its backup, as `name`. After the backup, Ann gets as many answers as the loop guard lets
/// pass, and sends one more text while no ingress runs. Returns the system, and Ann's texts.
async fn lose_twenty_answers(name: &str) -> (TestSystem, Vec<String>) {
    let mut system = test_system_with(1, &settings()).await;
    let backup = back_up(&mut system, name).await;
    start(&mut system).await;
    let [up_to_confirmation @ .., yes] = &UP_TO_PAYMENT;
    let back_and_forth = ["back", "SMS"].repeat(7);
    for body in up_to_confirmation.iter().chain(&back_and_forth).chain(&[*yes, "hmm?"]) {
        assert_eq!(say(&system, &phone(ANN), body).await.len(), 1, "{body}");
    }
    stop(&mut system).await;
    // Twilio's dates have whole seconds: a text of the same second as an answer would count as answered by it.
    let second = clock::now().timestamp();
    eventually(PATIENCE, "another second has begun", async || clock::now().timestamp() > second).await;
    let another = "Sorry, the business name is XYZ Plumbing";
    assert!(system.stand_in.text(&phone(ANN), another).await.is_err(), "the ingress is down");
    let before = system.stand_in.bodies_to(&phone(ANN));
    assert_eq!(before.len(), 20);
    restore(&mut system, backup).await;
    let shown = run_restored(&system).await;
    assert!(shown.contains("missing: 21, recorded now; 20 of them had an answer"), "{shown}");
    (system, before)
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_that_were_answered_before_a_restore_do_not_count_towards_the_loop_guard() {
    let (mut system, before) = lose_twenty_answers("restored_many").await;
    start(&mut system).await;
    system.settle().await.unwrap();
    let new = system.stand_in.bodies_to(&phone(ANN)).split_off(before.len());
    assert!(new.len() == 1 && new[0].contains("XYZ Plumbing"), "{new:?}");
    assert_eq!(say(&system, &phone(ANN), "back").await.len(), 1, "nor do they count later");
    assert_eq!(count(&system.pool, "SELECT count(*) FROM alerts WHERE cause LIKE 'loop:%'").await, 0);
    system.shut_down().await.unwrap();
}

/// As when another version words its texts differently.
#[tokio::test(flavor = "multi_thread")]
async fn replies_that_are_no_unrecorded_texts_count_towards_the_loop_guard() {
    let (mut system, before) = lose_twenty_answers("restored_reworded").await;
    execute(&system.pool, "UPDATE unrecorded_texts SET body = body || ' Bye.'").await;
    start(&mut system).await;
    let decided = async || count(&system.pool, "SELECT count(*) FROM events WHERE processed_at IS NULL").await == 0;
    eventually(PATIENCE, "every text is decided", decided).await;
    // With the text of before the restore that was not answered, they are one too many.
    let kept_back = "SELECT count(*) FROM messages WHERE held_back OR deferred_until IS NOT NULL";
    assert_eq!(count(&system.pool, kept_back).await, 1);
    let twenty = async || system.stand_in.bodies_to(&phone(ANN)).len() == before.len() + 20;
    eventually(PATIENCE, "the others are sent", twenty).await;
    assert_eq!(system.stand_in.text(&phone(ANN), "back").await.unwrap().status, 200);
    eventually(PATIENCE, "a new text is decided", decided).await;
    assert_eq!(count(&system.pool, kept_back).await, 2, "they also count later");
    system.shut_down().await.unwrap();
}

/// A session of a daemon that began while Twilio's list was read.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_recorded_if_a_daemon_has_started_since_the_list_was_read() {
    let pool = migrated_database(2).await;
    let daemon = pool.connect_options().as_ref().clone().application_name("jobrun-worker");
    let daemon = PgConnection::connect_with(&daemon).await.unwrap();
    let found = Found::default();
    let refused = record(&pool, &found, Duration::ZERO, false).await;
    assert!(matches!(refused, Err(Error::Running(running)) if running == ["jobrun-worker"]));
    assert_eq!(count(&pool, "SELECT count(*) FROM restores").await, 0);
    daemon.close().await.unwrap();
    record(&pool, &found, Duration::ZERO, false).await.unwrap();
    assert_eq!(count(&pool, "SELECT count(*) FROM restores WHERE last_event_id IS NOT NULL").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_restore_reads_the_list_from_where_a_recent_one_did() {
    let mut system = test_system_with(1, &[]).await;
    stop(&mut system).await;
    let restored = "INSERT INTO restores (restored_at, listed_since, last_event_id) VALUES
                    (now() - INTERVAL '4 days', '2026-01-01 03:04:00Z', 0), (now() - INTERVAL '2 days', '2026-01-02 03:04:00Z', 0)";
    execute(&system.pool, restored).await;
    execute(&system.pool, "UPDATE audits SET audited_until = now() - INTERVAL '1 day'").await;
    let shown = run_restored(&system).await;
    assert!(shown.contains("list since 2026-01-02 02:54 UTC"), "{shown}");
    let audited = "SELECT count(*) FROM audits WHERE audited_until > now() - INTERVAL '1 minute'";
    assert_eq!(count(&system.pool, audited).await, 1, "the workers need not read it once more");
    system.shut_down().await.unwrap();
}
