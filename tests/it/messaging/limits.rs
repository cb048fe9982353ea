//! How many texts one phone gets: loops are stopped, important texts are deferred.

use chrono::TimeDelta;
use jobrun_shared::clock;
use jobrun_shared::db::outbox;
use jobrun_tests::{count, migrated_database, say, test_system};

use super::{ANN, ann_at, printed, rows, texts_in};

#[tokio::test(flavor = "multi_thread")]
async fn two_machines_that_answer_each_other_are_stopped() {
    let system = test_system(1).await;
    for n in 0..40 {
        texts_in(&system, ANN, &format!("I am away until Monday. Ref {n}?")).await;
    }
    system.settle().await.unwrap();
    assert_eq!(system.stand_in.bodies_to(ANN).len(), 8);
    assert_eq!(count(&system.pool, "SELECT count(*) FROM messages WHERE held_back AND status = 'failed'").await, 32);
    assert_eq!(printed(&system, "ALERT"), 1);
    // Minutes later, a person texts.
    sqlx::raw_sql("UPDATE messages SET created_at = created_at - INTERVAL '6 minutes'")
        .execute(&system.pool)
        .await
        .unwrap();
    assert!(say(&system, ANN, "Plumber from London").await[0].contains("name of your business"));
    system.shut_down().await.unwrap();
}

/// Twenty different texts of the conversation, sent to Ann a minute ago.
const TWENTY_TEXTS: &str = "
    INSERT INTO messages (client_id, kind, to_phone, from_number, body, status, created_at, updated_at)
    SELECT 'ann', 'no_hurry', '+447900000001', '+447476955179', n::TEXT, 'delivered', now() - INTERVAL '1 minute', now()
    FROM generate_series(1, 20) AS n";

#[tokio::test(flavor = "multi_thread")]
async fn an_important_text_above_the_limit_is_sent_later() {
    let system = test_system(1).await;
    ann_at(&system, "S6_PHONE_TYPE").await;
    sqlx::raw_sql(TWENTY_TEXTS).execute(&system.pool).await.unwrap();
    texts_in(&system, ANN, "2").await;
    let deferred = "SELECT count(*) FROM messages WHERE kind = 'forwarding_instructions' AND status = 'queued'
                      AND next_attempt_at BETWEEN now() + INTERVAL '3 minutes' AND now() + INTERVAL '5 minutes'
                      AND expires_at > next_attempt_at + INTERVAL '23 hours'";
    rows(&system, 1, deferred).await;
    texts_in(&system, ANN, "What?").await;
    rows(&system, 1, "SELECT count(*) FROM messages WHERE kind = 'remind_forwarding' AND held_back").await;
    rows(&system, 1, "SELECT count(*) FROM alerts WHERE cause = 'loop:ann'").await;
    assert!(system.stand_in.messages().is_empty());

    // Minutes later.
    let later = "UPDATE messages SET created_at = created_at - INTERVAL '5 minutes',
                                     deferred_until = deferred_until - INTERVAL '5 minutes',
                                     next_attempt_at = next_attempt_at - INTERVAL '5 minutes'";
    sqlx::raw_sql(later).execute(&system.pool).await.unwrap();
    system.settle().await.unwrap();
    let received = system.stand_in.bodies_to(ANN);
    assert!(received.len() == 1 && received[0].contains("**61*"), "{received:?}");
    system.shut_down().await.unwrap();
}

/// A deferred text of the conversation, and two texts that were written after it.
const AFTER_A_DEFERRED_TEXT: &str = "
    INSERT INTO messages (kind, to_phone, from_number, body, created_at, updated_at, deferred_until, next_attempt_at)
    SELECT kind, '+447900000001', '+447476955179', kind, now(), now(), until, until
    FROM (VALUES ('number_changed', now() + INTERVAL '4 minutes'), ('missed_call', NULL), ('live', NULL))
        AS m (kind, until)";

#[tokio::test(flavor = "multi_thread")]
async fn a_deferred_text_is_overtaken_by_missed_call_texts_and_by_no_other() {
    let pool = migrated_database(2).await;
    sqlx::raw_sql(AFTER_A_DEFERRED_TEXT).execute(&pool).await.unwrap();
    let claim = async |at| {
        let mut tx = pool.begin().await.unwrap();
        let due = outbox::lock_due(&mut tx, at, 100, at).await.unwrap();
        let ids: Vec<i64> = due.into_iter().map(|text| text.id).collect();
        let claimed = outbox::mark_sending(&mut tx, &ids, at, at).await.unwrap().into_iter();
        sqlx::raw_sql("UPDATE messages SET status = 'sent' WHERE status = 'sending'").execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
        claimed.map(|text| text.kind).collect::<Vec<String>>()
    };
    let now = clock::now();
    assert_eq!(claim(now).await, ["missed_call"]);
    assert!(claim(now + TimeDelta::minutes(3)).await.is_empty());
    assert_eq!(claim(now + TimeDelta::minutes(5)).await, ["number_changed"]);
    assert_eq!(claim(now + TimeDelta::minutes(5)).await, ["live"]);
}
