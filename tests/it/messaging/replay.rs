//! Failed texts are sent again, and queued ones dropped, many at once: each text once, and none that is of no use any more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::TimeDelta;
use jobrun::demo::TestSystem;
use jobrun_shared::bulk_actions::{Started, assess, start};
use jobrun_shared::db::audit_log::{Actor, Via};
use jobrun_shared::db::bulk_actions::{self as rows_of, CHOSEN_MAX, Kind, Progress, Selection};
use jobrun_shared::db::listing::TextFilter;
use jobrun_shared::db::outbox;
use jobrun_shared::db::stops::Activity;
use jobrun_shared::{clock, stops};
use jobrun_stand_in::Fault;
use jobrun_tests::{PATIENCE, count, eventually, paid_clients, phone, test_system, test_system_with, texts};
use serde_json::Value;

use super::{ANN, LONG, ann_at, rows, texts_in};
use crate::numbers::execute;

/// A failed question to each paid client, from an outage an hour ago. Each client is where the question left it.
const FAILED_QUESTIONS: &str = r#"
    INSERT INTO onboarding_states (client_id, current_state) SELECT id, 'S2_BUSINESS_NAME' FROM clients;
    INSERT INTO messages (status, client_id, kind, to_phone, from_number, body, segments, encoding, error_code, attempted_at,
                          created_at, updated_at)
    SELECT 'failed', id, 'ask_business_name', '+' || "phoneNumber", '+447476955170', 'The name of your business?', 1, 'gsm7',
           30001, now() - INTERVAL '1 hour', now() - INTERVAL '1 hour', now() - INTERVAL '1 hour'
    FROM clients ORDER BY id"#;

fn failed() -> TextFilter {
    TextFilter { status: Some("failed".to_owned()), ..TextFilter::default() }
}

/// Begins an action on all texts that match. Returns its id, or nothing if no text matches.
async fn begin(system: &TestSystem, kind: Kind, filter: TextFilter) -> Option<i64> {
    let by = Actor { who: "ada".to_owned(), via: Via::Console, why: Some("an outage".to_owned()) };
    let now = clock::now();
    let selection = Selection { filter, ids: None, until: now, limit: CHOSEN_MAX };
    match start(&system.pool, kind, &selection, &by, None, now).await.unwrap() {
        Started::Begun(begun) => Some(begun.id),
        Started::Before(_) | Started::NoTexts => None,
    }
}

async fn progress(system: &TestSystem, id: i64) -> Progress {
    rows_of::find(&mut system.pool.acquire().await.unwrap(), id).await.unwrap().unwrap()
}

async fn finished(system: &TestSystem, id: i64) -> Progress {
    eventually(LONG, "the action is finished", async || progress(system, id).await.finished_at.is_some()).await;
    progress(system, id).await
}

/// Asserts that each of `count` clients was sent one text, from the onboarding number.
fn each_was_sent_one(system: &TestSystem, count: usize) {
    let sent = system.stand_in.messages();
    let people: BTreeSet<&String> = sent.iter().map(|it| &it.to).collect();
    assert_eq!((sent.len(), people.len()), (count, count), "each once");
    assert!(sent.iter().all(|it| it.from == "+447476955179"), "{:?}", sent.first());
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_failed_texts_are_each_sent_once_while_a_worker_is_killed() {
    const PEOPLE: usize = 500;
    let mut system = test_system(2).await;
    system.stand_in.answer_after(Duration::from_millis(100));
    paid_clients(&system.pool, "client", PEOPLE).await;
    execute(&system.pool, FAILED_QUESTIONS).await;
    let id = begin(&system, Kind::Replay, failed()).await.unwrap();
    let settled = "SELECT count(*) FROM bulk_action_texts WHERE outcome IS NOT NULL";
    eventually(PATIENCE, "a batch is done", async || count(&system.pool, settled).await > 0).await;
    system.workers[0].kill().await.unwrap();
    assert!(count(&system.pool, settled).await < PEOPLE as i64, "there was more to do");
    system.workers.remove(0);
    system.start_worker().unwrap();

    let done = finished(&system, id).await;
    assert_eq!((done.chosen, done.done, done.skipped), (500, 500, 0));
    system.settle_within(LONG).await.unwrap();
    each_was_sent_one(&system, PEOPLE);
    let kept = "SELECT count(*) FROM messages WHERE status = 'failed' AND error_code = 30001 AND retry_of IS NULL";
    assert_eq!(count(&system.pool, kept).await, 500, "the failed rows keep their history");
    assert_eq!(begin(&system, Kind::Replay, failed()).await, None, "what was tried again is not chosen again");
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_that_is_cut_off_between_two_batches_goes_on_with_the_rest() {
    let mut system = test_system(1).await;
    paid_clients(&system.pool, "client", 250).await;
    execute(&system.pool, FAILED_QUESTIONS).await;
    // The worker can handle the first batch only.
    let mut others = system.pool.begin().await.unwrap();
    let lock = "SELECT FROM clients WHERE id IN (SELECT client_id FROM messages WHERE id > 100) FOR NO KEY UPDATE";
    sqlx::query(lock).execute(&mut *others).await.unwrap();
    let id = begin(&system, Kind::Replay, failed()).await.unwrap();
    eventually(PATIENCE, "the first batch is done", async || progress(&system, id).await.done == 100).await;
    system.workers[0].kill().await.unwrap();
    others.rollback().await.unwrap();
    assert_eq!(progress(&system, id).await.done, 100, "nothing happens without a worker");
    system.workers.clear();
    system.start_worker().unwrap();
    assert_eq!(finished(&system, id).await.done, 250);
    system.settle_within(LONG).await.unwrap();
    each_was_sent_one(&system, 250);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_actions_that_share_texts_send_each_once() {
    let mut system = test_system(0).await;
    paid_clients(&system.pool, "client", 150).await;
    execute(&system.pool, FAILED_QUESTIONS).await;
    let first = begin(&system, Kind::Replay, failed()).await.unwrap();
    let second = begin(&system, Kind::Replay, failed()).await.unwrap();
    system.start_worker().unwrap();
    system.start_worker().unwrap();
    let (first, second) = (finished(&system, first).await, finished(&system, second).await);
    assert_eq!((first.chosen, second.chosen), (150, 150));
    assert_eq!(first.done + second.done, 150, "{first:?} {second:?}");
    let again: i64 = [&first, &second].iter().filter_map(|it| it.reasons.get("tried_again")).sum();
    assert_eq!((again, first.skipped + second.skipped), (150, 150));
    system.settle_within(LONG).await.unwrap();
    each_was_sent_one(&system, 150);
    system.shut_down().await.unwrap();
}

/// A failed text for each reason not to send it again, and one that is sent.
const OF_NO_USE: &str = r#"
    UPDATE clients SET "optedOutAt" = now() WHERE id = 'client-2';
    UPDATE clients SET "unreachableAt" = now() WHERE id = 'client-3';
    INSERT INTO onboarding_states (client_id, current_state)
    SELECT id, CASE WHEN id = 'client-4' THEN 'S3_OWNER_NAME' ELSE 'S2_BUSINESS_NAME' END FROM clients;
    INSERT INTO messages (status, client_id, kind, to_phone, from_number, body, created_at, updated_at)
    SELECT 'undelivered', id, CASE id WHEN 'client-7' THEN 'missed_call' WHEN 'client-8' THEN 'of_a_later_version'
                                      WHEN 'client-9' THEN 'ask_phone_type' ELSE 'ask_business_name' END,
           '+' || "phoneNumber", '+447476955179', 'Your question', now() - INTERVAL '2 hours', now() - INTERVAL '2 hours'
    FROM clients ORDER BY id;
    INSERT INTO messages (status, client_id, kind, to_phone, from_number, body, created_at, updated_at)
    SELECT 'delivered', id, 'ask_business_name', '+' || "phoneNumber", '+447476955179', 'Your question', now(), now()
    FROM clients WHERE id = 'client-5';
    INSERT INTO events (id, source, external_id, kind, lane, payload, received_at, processed_at, outcome) OVERRIDING SYSTEM VALUE
    VALUES (1, 'twilio', 'SM1', 'text', 'phone:1', '{}', now(), now(), 'answered');
    INSERT INTO messages (status, client_id, event_id, kind, to_phone, from_number, body, created_at, updated_at)
    SELECT 'delivered', id, 1, 'terms', '+' || "phoneNumber", '+447476955179', 'Other words', now(), now()
    FROM clients WHERE id = 'client-6'"#;

#[tokio::test(flavor = "multi_thread")]
async fn texts_that_are_of_no_use_any_more_are_skipped_each_with_its_reason() {
    let mut system = test_system(0).await;
    paid_clients(&system.pool, "client", 9).await;
    execute(&system.pool, OF_NO_USE).await;
    let id = begin(&system, Kind::Replay, failed()).await.unwrap();
    system.start_worker().unwrap();
    let done = finished(&system, id).await;
    let expected = [
        ("opted_out", 1),
        ("unreachable", 1),
        ("out_of_date", 2),
        ("said_again", 1),
        ("went_on", 1),
        ("too_old", 1),
        ("unknown_kind", 1),
    ];
    let expected: BTreeMap<String, i64> =
        expected.into_iter().map(|(reason, count)| (reason.to_owned(), count)).collect();
    assert_eq!((done.reasons, done.done, done.skipped), (expected, 1, 8));
    system.settle().await.unwrap();
    let sent = system.stand_in.messages();
    assert_eq!((sent.len(), sent[0].to.as_str()), (1, phone(1).as_str()));
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_moves_on_after_the_choice_is_not_sent_the_old_question() {
    let mut system = test_system(0).await;
    paid_clients(&system.pool, "client", 1).await;
    execute(&system.pool, FAILED_QUESTIONS).await;
    let id = begin(&system, Kind::Replay, failed()).await.unwrap();
    execute(&system.pool, "UPDATE onboarding_states SET current_state = 'S3_OWNER_NAME'").await;
    system.start_worker().unwrap();
    assert_eq!(finished(&system, id).await.reasons, BTreeMap::from([("out_of_date".to_owned(), 1)]));
    assert!(system.stand_in.messages().is_empty());
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_above_the_limit_of_a_phone_are_sent_later_and_none_is_lost() {
    let mut system = test_system(0).await;
    ann_at(&system, "COMPLETE").await;
    let many = "INSERT INTO messages (status, client_id, kind, to_phone, from_number, body, created_at, updated_at)
                SELECT 'failed', 'ann', 'corrected', '+447900000001', '+447476955179', 'Words ' || n,
                       now() - INTERVAL '1 hour', now() - INTERVAL '1 hour' FROM generate_series(1, 25) AS n";
    execute(&system.pool, many).await;
    let id = begin(&system, Kind::Replay, failed()).await.unwrap();
    system.start_worker().unwrap();
    assert_eq!(finished(&system, id).await.done, 25);
    eventually(PATIENCE, "twenty are sent", async || system.stand_in.bodies_to(ANN).len() == 20).await;
    rows(&system, 5, "SELECT count(*) FROM messages WHERE status = 'queued' AND deferred_until > now()").await;
    execute(
        &system.pool,
        "UPDATE messages SET created_at = created_at - INTERVAL '6 minutes', next_attempt_at = now(), deferred_until = now()
         WHERE status = 'queued'",
    )
    .await;
    system.settle().await.unwrap();
    assert_eq!(system.stand_in.bodies_to(ANN).len(), 25);
    system.shut_down().await.unwrap();
}

/// While the account is refused, nothing leaves: an action must not fill the outbox, where conversations would wait behind it.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_queues_no_more_texts_than_leave() {
    let system = test_system(1).await;
    paid_clients(&system.pool, "client", 350).await;
    execute(&system.pool, FAILED_QUESTIONS).await;
    system.stand_in.always(Some(Fault::Unauthorised));
    let id = begin(&system, Kind::Replay, failed()).await.unwrap();
    eventually(PATIENCE, "a batch is queued", async || progress(&system, id).await.done >= 100).await;
    let (jobs, mut seen) = ("SELECT id FROM apalis.jobs WHERE job_type = 'bulk-actions'", BTreeSet::new());
    eventually(PATIENCE, "the job has run several times", async || {
        seen.extend(texts(&system.pool, jobs).await);
        seen.len() >= 4
    })
    .await;
    let queued = progress(&system, id).await.done;
    assert!((100..=200).contains(&queued), "{queued} are queued");
    system.stand_in.always(None);
    assert_eq!(finished(&system, id).await.done, 350);
    system.settle_within(LONG).await.unwrap();
    each_was_sent_one(&system, 350);
    system.shut_down().await.unwrap();
}

/// Everything that an action could change.
const EVERYTHING: &str = "SELECT string_agg(everything, ' ') FROM (
    SELECT 'actions ' || count(*) AS everything FROM bulk_actions
    UNION ALL SELECT 'chosen ' || count(*) FROM bulk_action_texts
    UNION ALL SELECT 'log ' || count(*) FROM audit_log
    UNION ALL SELECT 'jobs ' || count(*) FROM apalis.jobs
    UNION ALL SELECT 'texts ' || md5(string_agg(m::TEXT, ',' ORDER BY id)) FROM messages m) AS counted";

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_changes_nothing_and_counts_what_the_action_then_does() {
    let mut system = test_system(0).await;
    paid_clients(&system.pool, "client", 9).await;
    execute(&system.pool, OF_NO_USE).await;
    let before = texts(&system.pool, EVERYTHING).await;
    let ask = ["texts", "--failed", "--replay", "--json"];
    let (code, shown, errors) = system.operator(&ask).await.unwrap();
    assert_eq!(code, 0, "{errors}");
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&shown["chosen"], &shown["wouldDo"]), (&9.into(), &1.into()), "{shown}");
    assert_eq!(shown["wouldSkip"]["out_of_date"], 2);
    assert_eq!(shown["alike"][0]["count"], 6);
    let (code, shown, _) = system.operator(&["texts", "--failed", "--replay"]).await.unwrap();
    assert!(
        code == 0 && shown.contains("1 text would be sent again") && shown.contains("Nothing is changed"),
        "{shown}"
    );
    let (code, shown, _) = system.operator(&["texts", "--drop", "--error", "7"]).await.unwrap();
    assert!(code == 1 && shown.contains("no queued text matches"), "{shown}");
    assert_eq!(texts(&system.pool, EVERYTHING).await, before);

    system.start_worker().unwrap();
    let act = ["texts", "--failed", "--replay", "--yes", "--why", "an outage", "--json"];
    let (code, shown, errors) = system.operator(&act).await.unwrap();
    assert_eq!(code, 0, "{errors}");
    let done: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&done["chosen"], &done["done"], &done["skipped"]), (&9.into(), &1.into(), &8.into()), "{shown}");
    assert!(errors.contains("9 of 9"), "{errors}");
    let log = "SELECT action || ' ' || why || ' ' || (details->>'texts') FROM audit_log";
    assert_eq!(texts(&system.pool, log).await, ["texts.replayed an outage 9"]);
    let id = done["id"].to_string();
    let (code, shown, _) = system.operator(&["texts", "--progress", &id]).await.unwrap();
    assert!(code == 0 && shown.contains("1 text sent again") && shown.contains("opted out"), "{shown}");
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_needs_a_reason_and_goes_on_after_ctrl_c() {
    let mut system = test_system(0).await;
    paid_clients(&system.pool, "client", 3).await;
    execute(&system.pool, FAILED_QUESTIONS).await;
    for arguments in [&["texts", "--replay", "--yes"][..], &["texts", "--replay", "--yes", "--why", ""]] {
        let (code, _, errors) = system.operator(arguments).await.unwrap();
        assert!(code == 2 && errors.contains("--why"), "{errors}");
    }
    let mut command = tokio::process::Command::new(system.programs.join("jobrun"));
    command.args(["texts", "--replay", "--yes", "--why", "x"]).envs(&system.environment);
    let mut command = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let begun = "SELECT count(*) FROM bulk_actions";
    eventually(PATIENCE, "it has begun", async || count(&system.pool, begun).await == 1).await;
    let pid = command.id().unwrap().to_string();
    tokio::process::Command::new("kill").args(["-INT", &pid]).status().await.unwrap();
    let status = command.wait().await.unwrap();
    assert_eq!(status.code(), Some(130));
    system.start_worker().unwrap();
    let id = count(&system.pool, "SELECT max(id) FROM bulk_actions").await;
    assert_eq!(finished(&system, id).await.done, 3);
    system.settle().await.unwrap();
    each_was_sent_one(&system, 3);
    system.shut_down().await.unwrap();
}

/// Texts that wait: three queued, one of them deferred, and one each that may be at Twilio.
const WAITING: &str = "
    INSERT INTO messages (status, kind, to_phone, from_number, body, attempted_at, next_attempt_at, created_at, updated_at)
    SELECT status, 'live', '+4479000000' || n, '+447476955179', 'Hi', now(), now() + INTERVAL '1 hour',
           now() - INTERVAL '10 minutes', now()
    FROM (VALUES (11, 'queued'), (12, 'queued'), (13, 'queued'), (14, 'sending'), (15, 'unknown'), (16, 'sent')) AS m (n, status)";

#[tokio::test(flavor = "multi_thread")]
async fn queued_texts_are_dropped_and_none_that_may_be_at_twilio() {
    let mut system = test_system_with(0, &[("SWEEP_INTERVAL", "1h")]).await;
    execute(&system.pool, WAITING).await;
    let (code, shown, _) = system.operator(&["texts", "--stuck", "--json"]).await.unwrap();
    let stuck: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((code, stuck.as_array().unwrap().len()), (0, 5), "{shown}");
    let id = begin(&system, Kind::Drop, TextFilter::default()).await.unwrap();
    assert_eq!(progress(&system, id).await.chosen, 3);
    // One of the chosen texts leaves before the worker comes to it.
    execute(&system.pool, "UPDATE messages SET status = 'sending' WHERE to_phone = '+447900000013'").await;
    system.start_worker().unwrap();
    let done = finished(&system, id).await;
    assert_eq!((done.done, done.reasons), (2, BTreeMap::from([("under_way".to_owned(), 1)])));
    let statuses =
        "SELECT right(to_phone, 2) || ' ' || status || ' ' || COALESCE(error_message, '-') FROM messages ORDER BY id";
    let expected = [
        "11 failed dropped by an operator",
        "12 failed dropped by an operator",
        "13 sending -",
        "14 sending -",
        "15 unknown -",
        "16 sent -",
    ];
    assert_eq!(texts(&system.pool, statuses).await, expected);
    assert_eq!(texts(&system.pool, "SELECT action FROM audit_log").await, ["texts.dropped"]);
    assert!(system.stand_in.messages().is_empty());
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_is_sent_twice_begins_one_action_on_the_texts_that_were_seen() {
    let system = test_system(0).await;
    paid_clients(&system.pool, "client", 3).await;
    execute(&system.pool, FAILED_QUESTIONS).await;
    let by = Actor { who: "ada".to_owned(), via: Via::Console, why: Some("an outage".to_owned()) };
    let seen_at = clock::now() - TimeDelta::minutes(1);
    execute(&system.pool, "UPDATE messages SET updated_at = now() WHERE client_id = 'client-3'").await;
    let selection = Selection { filter: failed(), ids: None, until: seen_at, limit: CHOSEN_MAX };
    let send = async || {
        start(&system.pool, Kind::Replay, &selection, &by, Some("a token of the form"), clock::now()).await.unwrap()
    };
    let (one, two) = tokio::join!(send(), send());
    let begun = [one, two].iter().filter(|it| matches!(it, Started::Begun(begun) if begun.chosen == 2)).count();
    let before = [one, two].iter().filter(|it| matches!(it, Started::Before(_))).count();
    assert_eq!((begun, before), (1, 1), "{one:?} {two:?}");
    assert_eq!(count(&system.pool, "SELECT count(*) FROM bulk_action_texts").await, 2);
    assert_eq!(count(&system.pool, "SELECT count(*) FROM audit_log").await, 1);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_whose_client_has_unprocessed_events_is_judged_after_them() {
    let mut system = test_system(0).await;
    paid_clients(&system.pool, "client", 2).await;
    execute(&system.pool, FAILED_QUESTIONS).await;
    let by = Actor { who: "ada".to_owned(), via: Via::Command, why: Some("wrong answers".to_owned()) };
    stops::stop(&system.pool, Activity::Conversations, &by, clock::now()).await.unwrap();
    // The first client answers the question meanwhile.
    let first = texts(&system.pool, r#"SELECT '+' || "phoneNumber" FROM clients ORDER BY id LIMIT 1"#).await.remove(0);
    texts_in(&system, &first, "ABC Plumbing").await;
    let (code, shown, errors) = system.operator(&["texts", "--failed", "--replay", "--json"]).await.unwrap();
    let found: Value = serde_json::from_str(&shown).expect(&errors);
    assert_eq!((code, &found["chosen"], &found["wouldDo"], &found["wouldWait"]), (0, &2.into(), &1.into(), &1.into()));

    let id = begin(&system, Kind::Replay, failed()).await.unwrap();
    system.start_worker().unwrap();
    eventually(PATIENCE, "the other is sent", async || system.stand_in.messages().len() == 1).await;
    let now = progress(&system, id).await;
    assert_eq!((now.done, now.skipped, now.finished_at), (1, 0, None));
    assert!(system.stand_in.bodies_to(&first).is_empty());
    stops::start(&system.pool, Activity::Conversations, &by, clock::now()).await.unwrap();
    let done = finished(&system, id).await;
    assert_eq!((done.done, done.reasons), (1, BTreeMap::from([("out_of_date".to_owned(), 1)])));
    system.shut_down().await.unwrap();
}

/// Ann was asked twice, and the first question was tried again later, in vain as well.
const TRIED_TWICE: &str = "
    INSERT INTO messages (status, client_id, kind, to_phone, from_number, body, error_code, retry_of, attempted_at, created_at,
                          updated_at)
    SELECT status, 'ann', kind, '+447900000001', '+447476955179', body, 30001, retry_of, now() - INTERVAL '1 hour',
           now() - INTERVAL '1 hour', now() - INTERVAL '1 hour'
    FROM (VALUES ('failed', 'ask_business_name', 'First', NULL::BIGINT), ('failed', 'own_name_will_do', 'Second', NULL),
                 ('failed', 'ask_business_name', 'First', 1)) AS m (status, kind, body, retry_of)";

#[tokio::test(flavor = "multi_thread")]
async fn texts_to_one_person_are_sent_again_in_the_order_in_which_they_were_written_at_first() {
    for batch_max in ["1", "100"] {
        let mut system = test_system_with(0, &[("BATCH_MAX", batch_max), ("SWEEP_INTERVAL", "1h")]).await;
        ann_at(&system, "S2_BUSINESS_NAME").await;
        execute(&system.pool, TRIED_TWICE).await;
        let id = begin(&system, Kind::Replay, failed()).await.unwrap();
        system.stand_in.answer_after(Duration::from_millis(200));
        system.start_worker().unwrap();
        assert_eq!(finished(&system, id).await.done, 2);
        system.settle().await.unwrap();
        assert_eq!(system.stand_in.bodies_to(ANN), ["First", "Second"], "{batch_max}");
        let written = "SELECT body FROM messages WHERE id > 3 ORDER BY id";
        assert_eq!(texts(&system.pool, written).await, ["First", "Second"], "{batch_max}");
        system.shut_down().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_replays_to_one_person_that_are_due_the_second_waits_and_a_later_second_try_holds_up_none() {
    let system = test_system(0).await;
    ann_at(&system, "S2_BUSINESS_NAME").await;
    execute(&system.pool, TRIED_TWICE).await;
    let queued = "INSERT INTO messages (client_id, kind, to_phone, from_number, body, retry_of, created_at, updated_at)
                  SELECT client_id, kind, to_phone, from_number, body, id, now(), now() FROM messages WHERE id > 1 ORDER BY id DESC";
    execute(&system.pool, queued).await;
    let due = async || {
        let mut tx = system.pool.begin().await.unwrap();
        let now = clock::now();
        let due = outbox::lock_due(&mut tx, now, 10, now).await.unwrap();
        due.into_iter().map(|text| text.id).collect::<Vec<i64>>()
    };
    assert_eq!(due().await, [4]);
    execute(&system.pool, "UPDATE messages SET next_attempt_at = now() + INTERVAL '2 hours' WHERE id = 4").await;
    assert_eq!(due().await, [5]);
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn all_tries_of_a_text_count_however_many_there_are() {
    let system = test_system(0).await;
    ann_at(&system, "S2_BUSINESS_NAME").await;
    execute(&system.pool, TRIED_TWICE).await;
    let third = "INSERT INTO messages (status, client_id, kind, to_phone, from_number, body, retry_of, created_at, updated_at)
                 SELECT 'failed', client_id, kind, to_phone, from_number, body, id, created_at, created_at FROM messages WHERE id = 3;
                 UPDATE messages SET status = 'delivered' WHERE id = 1";
    execute(&system.pool, third).await;
    let mut conn = system.pool.acquire().await.unwrap();
    let assessed = assess(&mut conn, &[2, 4], None, clock::now()).await.unwrap();
    let against: Vec<_> = assessed.iter().map(|it| (it.text.id, it.against)).collect();
    assert_eq!(against, [(2, None), (4, Some("not_failed"))], "the first of three tries has arrived");

    // It arrives while the third try waits.
    execute(&system.pool, "UPDATE messages SET status = 'queued' WHERE id = 4").await;
    outbox::drop_second_tries_of(&mut conn, &[1], clock::now()).await.unwrap();
    assert_eq!(texts(&system.pool, "SELECT status FROM messages WHERE id = 4").await, ["failed"]);

    drop(conn);
    // An action shows what became of the latest try of each of its texts.
    let id = begin(&system, Kind::Replay, TextFilter::default()).await.unwrap();
    execute(
        &system.pool,
        "INSERT INTO messages (status, client_id, kind, to_phone, from_number, body, retry_of, created_at, updated_at)
         VALUES ('failed', 'ann', 'own_name_will_do', '+447900000001', '+447476955179', 'Second', 2, now(), now());
         INSERT INTO messages (status, client_id, kind, to_phone, from_number, body, retry_of, created_at, updated_at)
         SELECT 'delivered', client_id, kind, to_phone, from_number, body, id, now(), now() FROM messages WHERE retry_of = 2;
         UPDATE bulk_action_texts SET outcome = 'replayed', settled_at = now() WHERE message_id = 2",
    )
    .await;
    assert_eq!(progress(&system, id).await.statuses, BTreeMap::from([("delivered".to_owned(), 1)]));
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_leave_and_change_while_a_dry_run_looks_at_them() {
    let system = test_system(0).await;
    paid_clients(&system.pool, "client", 1).await;
    execute(&system.pool, WAITING).await;
    execute(&system.pool, "UPDATE messages SET next_attempt_at = NULL, client_id = 'client-1' WHERE status = 'queued'")
        .await;
    // The first step of a dry run, which is rolled back at its end.
    let mut dry_run = system.pool.begin().await.unwrap();
    let by = Actor { who: "dry run".to_owned(), via: Via::Command, why: Some("dry run".to_owned()) };
    let now = clock::now();
    let selection = Selection { filter: TextFilter::default(), ids: None, until: now, limit: CHOSEN_MAX };
    let begun = rows_of::begin(&mut dry_run, Kind::Drop, &selection, &by, None, now).await.unwrap();
    assert_eq!(begun.map(|it| it.chosen), Some(3));

    let mut conn = system.pool.acquire().await.unwrap();
    execute_on(&mut conn, "SET lock_timeout = '1s'").await;
    let due = outbox::lock_due(&mut conn, now, 10, now).await.unwrap();
    assert_eq!(due.len(), 3, "{due:?}");
    outbox::drop_automatic_to(&mut conn, &["client-1"], now).await.unwrap();
    dry_run.rollback().await.unwrap();
    drop(conn);
    assert_eq!(count(&system.pool, "SELECT count(*) FROM messages WHERE status = 'queued'").await, 0);
    system.shut_down().await.unwrap();
}

async fn execute_on(conn: &mut sqlx::PgConnection, statement: &'static str) {
    sqlx::raw_sql(statement).execute(conn).await.unwrap();
}
