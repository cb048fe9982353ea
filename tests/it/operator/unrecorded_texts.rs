//! Unrecorded texts: which texts of ours they stand for after a restore of the database, and which count towards the loop guard.

use jobrun_onboarding::loop_guard::Admission;
use jobrun_onboarding::{E164, Wordings, wording};
use jobrun_shared::clock;
use jobrun_shared::db::{outbox, restores};
use jobrun_tests::{count, migrated_database, phone};
use jobrun_twilio::lists::Sent;

use crate::numbers::execute;

const ANN: usize = 1;

/// Texts with the same words: of an event after both restores, of one between them, and of one before both.
#[tokio::test(flavor = "multi_thread")]
async fn a_text_settles_with_a_restore_after_its_event_whichever_texts_are_queued_before_it() {
    let pool = migrated_database(2).await;
    execute(
        &pool,
        "INSERT INTO events (source, external_id, kind, lane, payload, received_at)
         SELECT 'twilio', 'SM' || n, 'text', 'phone:447900000001', '{}', now() FROM generate_series(1, 3) AS n;
         INSERT INTO restores (restored_at, listed_since, last_event_id) VALUES (now(), now(), 1), (now(), now(), 2);
         INSERT INTO unrecorded_texts (twilio_sid, restore_id, to_phone, from_number, body, sent_at)
         SELECT 'SENT' || id, id, '+447900000001', '+447111111111', 'Hi', now() FROM restores;
         INSERT INTO messages (event_id, kind, to_phone, from_number, body, created_at, updated_at)
         SELECT id, 'reminder', '+447900000001', '+447111111111', 'Hi', now(), now() FROM events ORDER BY id DESC",
    )
    .await;
    let settled = async |ids: &[i64]| {
        let mut tx = pool.begin().await.unwrap();
        let mut settled = restores::settle_sent(&mut tx, ids, clock::now()).await.unwrap();
        settled.sort_unstable();
        settled
    };
    let ids: Vec<i64> = sqlx::query_scalar("SELECT id FROM messages ORDER BY id").fetch_all(&pool).await.unwrap();
    let [after, between, before] = ids[..] else { panic!("three texts") };
    assert_eq!(settled(&[after]).await, [0_i64; 0]);
    assert_eq!(settled(&[between]).await, [between], "the text of the earlier restore is none of its");
    assert_eq!(settled(&[after, between]).await, [between], "the one before it takes no place");
    assert_eq!(settled(&[after, between, before]).await, [between, before]);
    let unfinished = "UPDATE restores SET last_event_id = NULL WHERE id = (SELECT max(id) FROM restores)";
    execute(&pool, unfinished).await;
    assert_eq!(settled(&[after]).await, [after], "until a restore is finished, any text may be one of before it");
    assert_eq!(settled(&[after, between, before]).await, [after, before], "the earlier restore comes first");
}

/// Texts that differ from the unrecorded one in the recipient, the sender or the words, and two that do not.
#[tokio::test(flavor = "multi_thread")]
async fn an_unrecorded_text_stands_for_one_text_with_the_same_recipient_sender_and_words() {
    let pool = migrated_database(2).await;
    execute(
        &pool,
        "INSERT INTO restores (restored_at, listed_since, last_event_id) VALUES (now(), now(), 1);
         INSERT INTO unrecorded_texts (twilio_sid, restore_id, to_phone, from_number, body, sent_at)
         SELECT 'SENT', id, '+447900000001', '+447111111111', 'Hi', now() FROM restores;
         INSERT INTO messages (kind, to_phone, from_number, body, created_at, updated_at)
         SELECT 'reminder', to_phone, from_number, body, now(), now()
         FROM (VALUES ('+447900000002', '+447111111111', 'Hi'), ('+447900000001', '+447111111112', 'Hi'),
                      ('+447900000001', '+447111111111', 'Hi!'), ('+447900000001', '+447111111111', 'Hi'),
                      ('+447900000001', '+447111111111', 'Hi')) AS m (to_phone, from_number, body)",
    )
    .await;
    let ids: Vec<i64> = sqlx::query_scalar("SELECT id FROM messages ORDER BY id").fetch_all(&pool).await.unwrap();
    let mut conn = pool.acquire().await.unwrap();
    assert_eq!(restores::settle_sent(&mut conn, &ids, clock::now()).await.unwrap(), [ids[3]]);
    assert_eq!(restores::settle_sent(&mut conn, &ids, clock::now()).await.unwrap(), [0_i64; 0], "and for one only");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_a_second_restore_finds_again_stays_that_of_the_first() {
    let pool = migrated_database(2).await;
    let mut conn = pool.acquire().await.unwrap();
    let text = Sent {
        sid: "SENT".to_owned(),
        from: "+447111111111".to_owned(),
        to: "+447900000001".to_owned(),
        body: "Hi".to_owned(),
        sent_at: clock::now(),
    };
    for added in [1, 0] {
        let id = restores::begin(&mut conn, clock::now(), clock::now()).await.unwrap();
        assert_eq!(restores::insert_unrecorded(&mut conn, id, std::slice::from_ref(&text)).await.unwrap(), added);
    }
    let first = "SELECT count(*) FROM unrecorded_texts WHERE restore_id = (SELECT min(id) FROM restores)";
    assert_eq!(count(&pool, first).await, 1);
}

/// As many replies as the loop guard lets pass. Each was sent before the restore, and is still queued, or settled.
#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_was_sent_before_a_restore_does_not_count_before_or_after_it_is_settled() {
    let pool = migrated_database(2).await;
    execute(
        &pool,
        r#"INSERT INTO events (source, external_id, kind, lane, payload, received_at)
         SELECT 'twilio', 'SM' || n, 'text', 'phone:447900000001', '{"answered_at": "2026-01-02T03:04:05Z"}', now()
         FROM generate_series(1, 20) AS n;
         INSERT INTO restores (restored_at, listed_since, last_event_id) SELECT now(), now(), max(id) FROM events;
         INSERT INTO messages (event_id, kind, to_phone, from_number, body, created_at, updated_at)
         SELECT id, 'no_hurry', '+447900000001', '+447111111111', 'Hi ' || id, now(), now() FROM events;
         INSERT INTO unrecorded_texts (twilio_sid, restore_id, to_phone, from_number, body, sent_at)
         SELECT 'SENT' || m.id, r.id, to_phone, from_number, body, now() FROM messages m CROSS JOIN restores r"#,
    )
    .await;
    let ann = E164::parse(&phone(ANN)).unwrap();
    let still_waiting = wording::still_waiting().write(Wordings::built_in().of_region("UK"));
    let admits = async || {
        let mut conn = pool.acquire().await.unwrap();
        let (mut guard, _) = outbox::loop_guard(&mut conn, &[&ann], false, clock::now()).await.unwrap();
        guard.admit(&ann, &still_waiting, clock::now()) == Admission::Now
    };
    assert!(admits().await, "they are queued");
    execute(&pool, "UPDATE unrecorded_texts SET body = body || '!'").await;
    assert!(!admits().await, "they are other texts");
    execute(&pool, "UPDATE messages SET status = 'sent', twilio_sid = 'SENT' || id, attempted_at = now()").await;
    assert!(admits().await, "they are settled");
    execute(&pool, "UPDATE messages SET twilio_sid = 'NEW' || id").await;
    assert!(!admits().await, "they are sent anew");
}
