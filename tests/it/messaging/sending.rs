//! Texts are sent once and in order, also when Twilio fails or refuses.

use std::collections::HashMap;
use std::time::Duration;

use futures::future::join_all;
use futures::{StreamExt, stream};
use jobrun::demo::TestSystem;
use jobrun_shared::clock;
use jobrun_shared::db::outbox;
use jobrun_shared::numbers::seed_release;
use jobrun_stand_in::{Fault, Misbehaviour};
use jobrun_tests::{
    PATIENCE, count, eventually, migrated_database, numbers, paid_clients, phone, say, test_system, test_system_with,
    texts,
};

use super::{ANN, LONG, ann_at, printed, rows, texts_in};

/// Returns the seed, which is printed and can be set: `SEED=8 cargo test -p jobrun-tests --test it thirty_percent`.
fn seed() -> u64 {
    option_env!("SEED").and_then(|seed| seed.parse().ok()).unwrap_or(20_261_123)
}

#[tokio::test(flavor = "multi_thread")]
async fn with_thirty_percent_failing_and_workers_dying_every_text_is_sent_once_and_in_order() {
    const PEOPLE: usize = 400;
    const SAID: [&str; 5] = ["Plumber from London", "ABC Plumbing", "John Smith", "SMS", "Not yet"];
    let mut system = test_system(2).await;
    let misbehaviour = Misbehaviour { seed: seed(), percent: 30 };
    eprintln!("{misbehaviour}");
    system.stand_in.misbehave(misbehaviour);
    let conversations = (1..=PEOPLE).map(|n| {
        let stand_in = &system.stand_in;
        async move {
            for body in SAID {
                assert_eq!(stand_in.text(&phone(n), body).await.unwrap().status, 200);
            }
        }
    });
    stream::iter(conversations).buffer_unordered(20).collect::<Vec<()>>().await;

    kill_workers_until_all_is_sent(&mut system, PEOPLE * SAID.len()).await;
    every_text_was_taken_once_and_in_order(&system).await;
    eventually(LONG, "every row agrees with Twilio", async || rows_that_differ_from_twilio(&system).await.is_empty())
        .await;
    for fault in [
        "429-retry-after",
        "429",
        "500-before",
        "500-after",
        "503",
        "late",
        "dropped-before",
        "dropped-after",
        "unreadable",
    ] {
        assert!(system.stand_in.count(fault) > 0, "{fault} never happened");
    }
    system.shut_down().await.unwrap();
}

/// Kills one of the two workers every four seconds and starts another in its place.
async fn kill_workers_until_all_is_sent(system: &mut TestSystem, expected: usize) {
    let mut kills = tokio::time::interval(Duration::from_secs(4));
    let deadline = tokio::time::Instant::now() + LONG;
    let open = "SELECT (SELECT count(*) FROM messages WHERE status IN ('queued', 'sending', 'unknown'))
                     + (SELECT count(*) FROM events WHERE processed_at IS NULL AND kind = 'text')";
    while count(&system.pool, open).await > 0
        || count(&system.pool, "SELECT count(*) FROM messages").await < expected as i64
    {
        assert!(tokio::time::Instant::now() < deadline, "not all is sent: {}", system.last_lines());
        kills.tick().await;
        system.workers[0].kill().await.unwrap();
        system.workers.remove(0);
        system.start_worker().unwrap();
    }
}

async fn every_text_was_taken_once_and_in_order(system: &TestSystem) {
    let owed: Vec<(String, String)> =
        sqlx::query_as("SELECT to_phone, body FROM messages ORDER BY id").fetch_all(&system.pool).await.unwrap();
    let taken = system.stand_in.messages().into_iter().map(|it| (it.to, it.body));
    let by_person = |texts: &mut dyn Iterator<Item = (String, String)>| {
        texts.fold(HashMap::<String, Vec<String>>::new(), |mut people, (person, body)| {
            people.entry(person).or_default().push(body);
            people
        })
    };
    assert_eq!(by_person(&mut taken.into_iter()), by_person(&mut owed.into_iter()));
}

/// Returns the SIDs of the texts whose rows differ from Twilio's state, and makes the checks of those texts due.
async fn rows_that_differ_from_twilio(system: &TestSystem) -> Vec<String> {
    let rows: Vec<(String, String, Option<i32>)> =
        sqlx::query_as("SELECT twilio_sid, status, error_code FROM messages").fetch_all(&system.pool).await.unwrap();
    let known: HashMap<String, (String, Option<i32>)> =
        rows.into_iter().map(|(sid, status, code)| (sid, (status, code))).collect();
    let differing: Vec<String> = system
        .stand_in
        .messages()
        .into_iter()
        .filter(|it| known.get(&it.sid) != Some(&(it.status.name().to_owned(), it.error_code.map(|code| code as i32))))
        .map(|it| it.sid)
        .collect();
    let later = "UPDATE messages SET check_at = now(), checks = 0
                 WHERE id IN (SELECT id FROM messages WHERE twilio_sid = ANY($1) ORDER BY id FOR UPDATE SKIP LOCKED)";
    sqlx::query(later).bind(&differing).execute(&system.pool).await.unwrap();
    differing
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_account_is_refused_nothing_is_lost_and_one_alert_says_so() {
    const PEOPLE: usize = 30;
    let system = test_system(2).await;
    system.stand_in.always(Some(Fault::Unauthorised));
    join_all((1..=PEOPLE).map(async |n| texts_in(&system, &phone(n), "Plumber from London").await)).await;
    let a_minute = "SELECT count(*) FROM sending WHERE parked_at < now() - INTERVAL '1 minute'";
    eventually(LONG, "a minute has passed", async || count(&system.pool, a_minute).await == 1).await;
    rows(&system, PEOPLE as i64, "SELECT count(*) FROM messages WHERE status = 'queued' AND attempts = 0").await;
    let attempts = count(&system.pool, "SELECT sum(claims) FROM messages").await;
    assert!(attempts < 2 * PEOPLE as i64, "{attempts} attempts in a minute is no parking");
    let (code, open, _) = system.operator(&["alerts"]).await.unwrap();
    assert!(code == 1 && open.contains("account:20003"), "{open}");

    system.stand_in.always(None);
    system.settle().await.unwrap();
    every_text_was_taken_once_and_in_order(&system).await;
    assert_eq!(system.stand_in.messages().len(), PEOPLE);
    assert_eq!(
        count(&system.pool, "SELECT count(*) FROM messages WHERE attempts <> 1").await,
        0,
        "no attempt was used up"
    );
    assert_eq!((printed(&system, "ALERT"), printed(&system, "ALL CLEAR")), (1, 1));
    assert_eq!(count(&system.pool, "SELECT count(*) FROM alerts WHERE cleared_at IS NOT NULL").await, 1);
    assert_eq!(count(&system.pool, "SELECT count(*) FROM alerts").await, 1);
    assert_eq!(system.operator(&["alerts"]).await.unwrap().0, 0);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_that_wait_for_a_setting_are_kept_and_raise_one_alert() {
    let system = test_system(1).await;
    paid_clients(&system.pool, "client", 3).await;
    system.stand_in.always(Some(Fault::Refused(21606)));
    for n in 1..=3 {
        texts_in(&system, &phone(n), "Plumber from London").await;
    }
    rows(&system, 3, "SELECT count(*) FROM messages WHERE status = 'queued' AND attempts = 0 AND error_code = 21606")
        .await;
    assert_eq!(count(&system.pool, "SELECT count(*) FROM alerts WHERE cause = 'configuration:21606'").await, 1);
    assert_eq!(printed(&system, "ALERT"), 1);
    system.stand_in.always(None);
    sqlx::raw_sql("UPDATE messages SET next_attempt_at = now()").execute(&system.pool).await.unwrap();
    system.settle().await.unwrap();
    assert_eq!(system.stand_in.messages().len(), 3);
    // After a day without a recurrence, the alert is cleared.
    sqlx::raw_sql("UPDATE alerts SET last_seen_at = now() - INTERVAL '25 hours'").execute(&system.pool).await.unwrap();
    rows(&system, 1, "SELECT count(*) FROM alerts WHERE cleared_at IS NOT NULL").await;
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_text_is_not_sent_and_an_important_one_raises_an_alert() {
    let system = test_system(1).await;
    ann_at(&system, "S6_PHONE_TYPE").await;
    system.stand_in.always(Some(Fault::Unauthorised));
    texts_in(&system, ANN, "2").await;
    texts_in(&system, &phone(2), "Plumber from London").await;
    rows(&system, 2, "SELECT count(*) FROM messages").await;
    sqlx::raw_sql("UPDATE messages SET expires_at = now()").execute(&system.pool).await.unwrap();
    rows(&system, 2, "SELECT count(*) FROM messages WHERE status = 'failed' AND error_message LIKE 'too late%'").await;
    assert!(system.stand_in.messages().is_empty());
    let raised = texts(&system.pool, "SELECT cause FROM alerts WHERE cause LIKE 'undelivered:%'").await;
    assert_eq!(raised, ["undelivered:forwarding_instructions:ann"]);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_has_a_validity_period_and_its_encoding_and_segments_are_recorded() {
    let system = test_system(1).await;
    ann_at(&system, "S6_PHONE_TYPE").await;
    say(&system, ANN, "2").await;
    say(&system, ANN, "1").await;
    let costs = texts(&system.pool, "SELECT concat(encoding, ' ', segments) FROM messages ORDER BY id").await;
    assert_eq!(costs, ["gsm7 1", "ucs2 4"], "the iPhone instructions begin with a picture of a phone");
    let periods: Vec<Option<u32>> = system.stand_in.messages().iter().map(|it| it.validity_period).collect();
    assert!(periods.iter().all(|period| *period == Some(36_000)), "{periods:?}: instructions make sense all day");
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_keeps_its_pace_counted_in_segments() {
    let system = test_system_with(2, &[("TWILIO_SEGMENTS_PER_SECOND", "5")]).await;
    join_all((1..=40).map(async |n| texts_in(&system, &phone(n), "Plumber from London").await)).await;
    system.settle().await.unwrap();
    let sent = system.stand_in.messages();
    assert_eq!(sent.len(), 40);
    let took = "SELECT EXTRACT(EPOCH FROM max(attempted_at) - min(attempted_at))::BIGINT FROM messages";
    // 40 segments at 5 a second, less the two seconds that a sender may be ahead.
    assert!(count(&system.pool, took).await >= 5);
    system.shut_down().await.unwrap();
}

/// A job that finds a sender over its pace enqueues a later job.
#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_waits_for_its_sender_s_pace_is_not_forgotten() {
    let system = test_system_with(1, &[("SWEEP_INTERVAL", "1h")]).await;
    say(&system, ANN, "Plumber from London").await;
    sqlx::raw_sql("UPDATE senders SET free_at = now() + INTERVAL '20 seconds'").execute(&system.pool).await.unwrap();
    texts_in(&system, &phone(2), "Plumber from London").await;
    eventually(PATIENCE, "it is sent in the end", async || system.stand_in.messages().len() == 2).await;
    system.shut_down().await.unwrap();
}

/// Six thousand expired texts to Ann, and one that is not expired.
const EXPIRED_TEXTS: &str = "
    INSERT INTO messages (kind, to_phone, from_number, body, created_at, updated_at, expires_at)
    SELECT CASE WHEN n > 6000 THEN 'live' ELSE 'missed_call' END, '+447900000001', '+447476955179', n::TEXT,
           now() - INTERVAL '2 hours', now(), now() + CASE WHEN n > 6000 THEN 1 ELSE -1 END * INTERVAL '1 hour'
    FROM generate_series(1, 6001) AS n";

#[tokio::test(flavor = "multi_thread")]
async fn expired_texts_do_not_delay_other_texts() {
    let pool = migrated_database(2).await;
    sqlx::raw_sql(EXPIRED_TEXTS).execute(&pool).await.unwrap();
    let now = clock::now();
    let mut conn = pool.begin().await.unwrap();
    let due: Vec<i64> =
        outbox::lock_due(&mut conn, now, 100, now).await.unwrap().into_iter().map(|text| text.id).collect();
    let claimed = outbox::mark_sending(&mut conn, &due, now, now).await.unwrap();
    assert_eq!(claimed.into_iter().map(|text| text.kind).collect::<Vec<_>>(), ["live"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_sweep_settles_every_expired_text() {
    let system = test_system_with(1, &[("SWEEP_INTERVAL", "1h")]).await;
    sqlx::raw_sql(EXPIRED_TEXTS).execute(&system.pool).await.unwrap();
    // Adding numbers enqueues one sweep.
    seed_release::seed(&system.pool, &numbers(1)).await.unwrap();
    rows(&system, 6000, "SELECT count(*) FROM messages WHERE status = 'failed' AND error_message LIKE 'too late%'")
        .await;
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn twilio_s_requests_to_wait_are_respected() {
    let system = test_system(1).await;
    system.stand_in.fail_next(Fault::Refused(21611));
    texts_in(&system, ANN, "Plumber from London").await;
    // The queue at Twilio is full: the retry is minutes away, not seconds.
    let waits =
        "SELECT count(*) FROM messages WHERE status = 'queued' AND next_attempt_at > now() + INTERVAL '4 minutes'";
    rows(&system, 1, waits).await;
    system.stand_in.fail_next(Fault::RetryAfter);
    texts_in(&system, &phone(2), "Plumber from London").await;
    eventually(PATIENCE, "the other is sent", async || system.stand_in.messages().len() == 1).await;
    assert_eq!(count(&system.pool, "SELECT attempts::BIGINT FROM messages WHERE to_phone = '+447900000002'").await, 2);
    system.shut_down().await.unwrap();
}
