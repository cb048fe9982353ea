//! Batching: webhooks share commits, workers handle clients, texts and reports in batches, and equal jobs run as one. A bad row or
//! a locked lane delays only itself, and a waiting migration delays no webhook.

use std::pin::pin;
use std::task::Poll;

use chrono::TimeDelta;
use futures::future::join_all;
use futures::{StreamExt, poll, stream};
use jobrun_ingress::group_commit::{RecordError, Recorder};
use jobrun_shared::db::inbox::{self, NewEvent, Payload, Source};
use jobrun_shared::queue::{self, Announcer, Queue};
use jobrun_shared::{clock, db};
use jobrun_stand_in::Reports;
use jobrun_tests::{PATIENCE, count, eventually, migrated_database, phone, say, test_system, texts};
use serde_json::json;
use sqlx::postgres::PgListener;
use sqlx::{AssertSqlSafe, PgPool, Postgres, Transaction};

/// Returns the `n`th of many texts, each from another client.
fn text(n: usize) -> NewEvent {
    NewEvent::new(
        Source::Twilio,
        format!("SM{n:032}"),
        Payload::Text {
            from: phone(n),
            to: "+447476955179".to_owned(),
            body: "Plumber from London".to_owned(),
            opt_out_type: None,
            answered_at: None,
        },
    )
}

/// Returns an event that the database refuses: its JSON holds the character U+0000, which PostgreSQL cannot store.
fn refused(n: usize) -> NewEvent {
    let id = format!("evt_{n}");
    let event = json!({ "id": id, "type": "invoice.paid", "note": "\u{0}" });
    NewEvent::new(Source::Stripe, id.clone(), Payload::Stripe { id, event })
}

/// Returns how many transactions wrote the existing events.
async fn commits(pool: &PgPool) -> i64 {
    count(pool, "SELECT count(DISTINCT xmin::TEXT) FROM events").await
}

/// Returns a transaction that blocks every write of events until it ends.
async fn obstacle(pool: &PgPool) -> Transaction<'static, Postgres> {
    let mut obstacle = pool.begin().await.unwrap();
    sqlx::raw_sql("LOCK TABLE events IN EXCLUSIVE MODE").execute(&mut *obstacle).await.unwrap();
    obstacle
}

/// Records events that all arrive before the first can be committed. Returns the result of each.
async fn record_together(pool: &PgPool, events: impl Iterator<Item = NewEvent>) -> Vec<Result<bool, RecordError>> {
    let (recorder, _recording) = Recorder::start(pool.clone(), db::Health::default());
    let obstacle = obstacle(pool).await;
    let mut recordings: Vec<_> = events.map(|event| Box::pin(recorder.record(event, 200))).collect();
    for recording in &mut recordings {
        assert_eq!(poll!(recording), Poll::Pending, "no event is acknowledged before its commit");
    }
    assert_eq!(count(pool, "SELECT count(*) FROM events").await, 0);
    obstacle.commit().await.unwrap();
    join_all(recordings).await
}

/// Returns the name of the queue's table, found by the trigger that announces its rows.
async fn table_of_jobs(pool: &PgPool) -> String {
    let table = "SELECT tgrelid::REGCLASS::TEXT FROM pg_trigger WHERE tgname = 'notify_workers'";
    sqlx::query_scalar(table).fetch_one(pool).await.unwrap()
}

/// Two hundred webhooks that arrive during the first commit share a second one; none is acknowledged before it.
#[tokio::test(flavor = "multi_thread")]
async fn webhooks_that_arrive_during_a_commit_share_the_next_one() {
    let pool = migrated_database(8).await;
    assert!(record_together(&pool, (0..=200).map(text)).await.iter().all(Result::is_ok));
    assert_eq!(count(&pool, "SELECT count(*) FROM events").await, 201);
    assert!(commits(&pool).await <= 2, "{} commits", commits(&pool).await);
    let in_order =
        "SELECT count(*) FROM (SELECT external_id < lead(external_id) OVER (ORDER BY id) AS ok FROM events) AS e
                    WHERE NOT ok";
    assert_eq!(count(&pool, in_order).await, 0, "they are recorded in the order in which they arrived");
}

/// Batching adds no delay.
#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_comes_alone_is_committed_alone() {
    let pool = migrated_database(8).await;
    let (recorder, _recording) = Recorder::start(pool.clone(), db::Health::default());
    for n in 1..=5 {
        recorder.record(text(n), 200).await.unwrap();
        assert_eq!(commits(&pool).await, n as i64);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_too_many_bytes_wait_a_webhook_is_refused_at_once_and_there_is_room_again_afterwards() {
    const MEBIBYTE: usize = 1024 * 1024;
    let pool = migrated_database(8).await;
    let (recorder, _recording) = Recorder::start(pool.clone(), db::Health::default());
    let obstacle = obstacle(&pool).await;
    let mut large: Vec<_> = (0..8).map(|n| Box::pin(recorder.record(text(n), MEBIBYTE))).collect();
    for recording in &mut large {
        assert_eq!(poll!(recording), Poll::Pending);
    }
    let one_more = pin!(recorder.record(text(100), 1));
    assert_eq!(poll!(one_more), Poll::Ready(Err(RecordError::QueueFull)), "it is refused without waiting");
    obstacle.commit().await.unwrap();
    // Some of them may have waited too long; an event that was given up takes no room either.
    join_all(large).await;
    eventually(PATIENCE, "there is room again", async || recorder.record(text(101), 1).await.is_ok()).await;
    assert_eq!(count(&pool, "SELECT count(*) FROM events WHERE external_id LIKE '%100'").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_the_database_refuses_fails_alone() {
    let pool = migrated_database(8).await;
    let event = |n: usize| if n == 33 || n == 90 { refused(n) } else { text(n) };
    for (n, recorded) in record_together(&pool, (0..100).map(event)).await.into_iter().enumerate() {
        let was_refused = matches!(recorded, Err(RecordError::Refused(_)));
        assert_eq!(was_refused, n == 33 || n == 90, "{n}: {recorded:?}");
    }
    assert_eq!(count(&pool, "SELECT count(*) FROM events").await, 98);
}

/// Another session keeps a lane locked, such as an ingress that was suspended in the middle of a commit.
#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_whose_lane_is_locked_delays_only_its_own_lane() {
    let pool = migrated_database(8).await;
    let (recorder, _recording) = Recorder::start(pool.clone(), db::Health::default());
    let again = NewEvent { external_id: "SMagain".to_owned(), ..text(1) };
    let mut asleep = pool.begin().await.unwrap();
    inbox::insert(&mut asleep, &[text(1)], clock::now()).await.unwrap();

    let (locked, later_of_it) = (recorder.record(text(1), 200), recorder.record(again, 200));
    let others = join_all((2..=40).map(|n| recorder.record(text(n), 200)));
    let (mut locked, mut later_of_it) = (pin!(locked), pin!(later_of_it));
    assert_eq!(poll!(&mut locked), Poll::Pending);
    assert_eq!(poll!(&mut later_of_it), Poll::Pending);
    assert!(others.await.iter().all(Result::is_ok), "no other lane waits for it");
    asleep.rollback().await.unwrap();
    assert_eq!((locked.await, later_of_it.await), (Ok(true), Ok(true)));
    let in_order =
        "SELECT e.external_id FROM events e JOIN events a USING (lane) WHERE a.external_id = 'SMagain' ORDER BY e.id";
    assert_eq!(texts(&pool, in_order).await, [text(1).external_id, "SMagain".to_owned()]);
    assert_eq!(count(&pool, "SELECT count(*) FROM events").await, 41);
}

/// A lane is unlocked while its batch is bisected: the lane's later event must not overtake the skipped one.
#[tokio::test(flavor = "multi_thread")]
async fn a_lane_that_is_unlocked_in_the_middle_of_a_round_stays_skipped_until_the_next() {
    let pool = migrated_database(8).await;
    let (earlier, lane) = (text(1), text(1).payload.lane());
    let later = NewEvent { external_id: "SMlater".to_owned(), ..text(1) };
    let mut asleep = pool.begin().await.unwrap();
    let lock = "SELECT pg_backend_pid() FROM pg_advisory_xact_lock(1, hashtext($1))";
    let pid: i32 = sqlx::query_scalar(lock).bind(&lane).fetch_one(&mut *asleep).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!(
        "CREATE FUNCTION give_back() RETURNS TRIGGER LANGUAGE plpgsql AS $$
             BEGIN
                 PERFORM pg_terminate_backend({pid});
                 PERFORM pg_advisory_xact_lock(1, hashtext('{lane}'));
                 RETURN NEW;
             END $$;
         CREATE TRIGGER give_back BEFORE INSERT ON events FOR EACH ROW WHEN (NEW.external_id = '{}')
             EXECUTE FUNCTION give_back()",
        text(2).external_id
    )))
    .execute(&pool)
    .await
    .unwrap();
    // The first is committed alone. Of the others, the first half is recorded except the locked lane, and the refused event fails
    // the second half.
    let recorded = record_together(&pool, [text(0), earlier, text(2), later, refused(3)].into_iter()).await;
    assert_eq!(recorded.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, true, true, true, false]);
    let in_order = "SELECT external_id FROM events ORDER BY id";
    assert_eq!(
        texts(&pool, in_order).await,
        [text(0).external_id, text(2).external_id, text(1).external_id, "SMlater".to_owned()]
    );
}

/// A backup that reads for an hour delays a migration and nothing else: a lock request behind the waiting one would wait as well,
/// so the migration gives up its request after 250 ms and repeats it.
#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_waits_for_a_lock_delays_no_webhook() {
    let pool = migrated_database(4).await;
    sqlx::raw_sql(
        "DELETE FROM _sqlx_migrations WHERE version = 20261125000003;
         CREATE INDEX waiting_events_of_a_lane ON events (lane, id) WHERE processed_at IS NULL",
    )
    .execute(&pool)
    .await
    .unwrap();
    let mut backup = pool.begin().await.unwrap();
    sqlx::raw_sql("LOCK TABLE events IN ACCESS SHARE MODE").execute(&mut *backup).await.unwrap();
    let (recorder, _recording) = Recorder::start(pool.clone(), db::Health::default());
    let others = async {
        let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'
                     AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        eventually(PATIENCE, "the migration waits", async || count(&pool, waits).await == 1).await;
        assert_eq!(recorder.record(text(1), 200).await, Ok(true), "a webhook behind it is recorded all the same");
        backup.rollback().await.unwrap();
    };
    let (migrated, ()) = tokio::join!(db::migrate(&pool), others);
    migrated.unwrap();
    db::ensure_migrated(&pool).await.unwrap();
}

/// Jobs are announced after the commit, once for many webhooks, and not for webhooks that are known already.
#[tokio::test(flavor = "multi_thread")]
async fn recorded_webhooks_are_announced_after_their_commit() {
    let pool = migrated_database(8).await;
    let mut listener = PgListener::connect_with(&pool).await.unwrap();
    listener.listen(queue::CHANNEL).await.unwrap();
    assert!(record_together(&pool, (0..300).map(text)).await.iter().all(Result::is_ok));
    let known = record_together_again(&pool, 300).await;
    assert!(known.iter().all(|it| *it == Ok(false)), "{known:?}");
    Announcer::start(pool.clone()).announce(Queue::Sweep);
    let mut announced = Vec::new();
    while !announced.last().is_some_and(|it: &String| it.contains("sweep")) {
        let heard = tokio::time::timeout(PATIENCE, listener.recv()).await.expect("it is announced").unwrap();
        let recorded = "SELECT count(*) FROM events";
        assert!(count(&pool, recorded).await > 0, "what is announced is committed");
        announced.push(heard.payload().to_owned());
    }
    let of_events = announced.iter().filter(|it| it.contains("process-events")).count();
    assert_eq!(announced.len(), of_events + 1, "{announced:?}");
    assert!((1..=2).contains(&of_events), "once for each commit at most: {announced:?}");
}

/// Records the first `n` texts again, which are recorded already.
async fn record_together_again(pool: &PgPool, n: usize) -> Vec<Result<bool, RecordError>> {
    let (recorder, _recording) = Recorder::start(pool.clone(), db::Health::default());
    join_all((0..n).map(|n| recorder.record(text(n), 200))).await
}

/// A transaction with a notification commits alone, and while it waits for the standby no other one can. So ours has none. Programs
/// of earlier versions rely on the trigger.
#[tokio::test(flavor = "multi_thread")]
async fn only_transactions_of_earlier_versions_contain_notifications() {
    let pool = migrated_database(8).await;
    let mut listener = PgListener::connect_with(&pool).await.unwrap();
    listener.listen(queue::CHANNEL).await.unwrap();
    assert_eq!(inbox::record(&pool, &[text(1)], clock::now()).await.unwrap(), 1);
    let mut conn = pool.acquire().await.unwrap();
    sqlx::raw_sql("SET jobrun.announces_after_commit = ''").execute(&mut *conn).await.unwrap();
    queue::enqueue(&mut conn, Queue::Sweep).await.unwrap();
    let announced = tokio::time::timeout(PATIENCE, listener.recv()).await.expect("it is announced").unwrap();
    assert!(announced.payload().contains("sweep"), "{announced:?}");
}

/// An announcement is a hint: without it, the work is done within a second or two.
#[tokio::test(flavor = "multi_thread")]
async fn a_text_is_answered_although_its_announcement_was_lost() {
    let system = test_system(1).await;
    // As an ingress that is killed between the commit and the announcement.
    assert_eq!(inbox::record(&system.pool, &[text(1)], clock::now()).await.unwrap(), 1);
    let answered = "SELECT count(*) FROM messages WHERE status <> 'queued'";
    eventually(PATIENCE, "it is answered", async || count(&system.pool, answered).await == 1).await;
    system.shut_down().await.unwrap();
}

/// A worker that gets no notification polls for jobs, and soon listens again.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_listening_connection_is_lost_goes_on() {
    let system = test_system(1).await;
    // The last query of that connection: LISTEN, or the notification with which it tests itself.
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
               WHERE datname = current_database() AND query ~ '^LISTEN|^SELECT pg_notify'";
    let listens = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND query ~ '^LISTEN|^SELECT pg_notify'";
    eventually(PATIENCE, "one connection of the worker listens", async || count(&system.pool, listens).await == 1)
        .await;
    assert_eq!(count(&system.pool, cut).await, 1);
    assert_eq!(say(&system, &phone(1), "Plumber from London").await.len(), 1);
    eventually(PATIENCE, "the worker listens again", async || count(&system.pool, listens).await == 1).await;
    assert_eq!(say(&system, &phone(1), "ABC Plumbing").await.len(), 1);
    system.shut_down().await.unwrap();
}

/// Three hundred equal jobs run as one, and none is left afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn equal_jobs_run_as_one_and_none_is_left() {
    let mut system = test_system(0).await;
    let jobs = table_of_jobs(&system.pool).await;
    sqlx::raw_sql(AssertSqlSafe(format!(
        "CREATE VIEW waiting AS SELECT id FROM {jobs} WHERE job_type = 'process-events';
         CREATE TABLE taken (id TEXT);
         CREATE FUNCTION note_taken() RETURNS TRIGGER LANGUAGE plpgsql AS $$
             BEGIN INSERT INTO taken VALUES (NEW.id); RETURN NULL; END $$;
         CREATE TRIGGER note_taken AFTER UPDATE ON {jobs} FOR EACH ROW
             WHEN (NEW.job_type = 'process-events' AND NEW.status = 'Queued') EXECUTE FUNCTION note_taken()"
    )))
    .execute(&system.pool)
    .await
    .unwrap();
    let mut conn = system.pool.acquire().await.unwrap();
    for _ in 0..300 {
        queue::enqueue(&mut conn, Queue::ProcessEvents).await.unwrap();
    }
    drop(conn);
    assert_eq!(count(&system.pool, "SELECT count(*) FROM waiting").await, 300);
    system.start_worker().unwrap();
    eventually(PATIENCE, "none is left", async || count(&system.pool, "SELECT count(*) FROM waiting").await == 0).await;
    assert_eq!(count(&system.pool, "SELECT count(*) FROM taken").await, 1);
    system.shut_down().await.unwrap();
}

/// A job that enqueues its successor for the same time while it runs does not count as that successor.
#[tokio::test(flavor = "multi_thread")]
async fn a_running_job_does_not_count_as_the_next_one() {
    let mut system = test_system(0).await;
    let jobs = table_of_jobs(&system.pool).await;
    let view = format!("CREATE VIEW jobs AS SELECT status, run_at FROM {jobs} WHERE job_type = 'process-events'");
    sqlx::raw_sql(AssertSqlSafe(view)).execute(&system.pool).await.unwrap();
    let mut obstacle = system.pool.begin().await.unwrap();
    sqlx::raw_sql("LOCK TABLE events IN ACCESS EXCLUSIVE MODE").execute(&mut *obstacle).await.unwrap();
    let at = clock::now() - TimeDelta::seconds(5);
    queue::enqueue_once_at(&system.pool, Queue::ProcessEvents, at).await.unwrap();
    queue::enqueue_once_at(&system.pool, Queue::ProcessEvents, at).await.unwrap();
    assert_eq!(count(&system.pool, "SELECT count(*) FROM jobs").await, 1);
    system.start_worker().unwrap();
    let in_hand = "SELECT count(*) FROM jobs WHERE status = 'Queued'";
    eventually(PATIENCE, "the job is running", async || count(&system.pool, in_hand).await == 1).await;
    let pushed_at = clock::now();
    queue::enqueue_once_at(&system.pool, Queue::ProcessEvents, at).await.unwrap();
    assert_eq!(count(&system.pool, "SELECT count(*) FROM jobs").await, 2);
    let not_at_once = sqlx::query_scalar("SELECT count(*) FROM jobs WHERE run_at > $1").bind(pushed_at);
    assert_eq!(not_at_once.fetch_one(&system.pool).await.ok(), Some(1_i64), "the next job is not due at once");
    obstacle.rollback().await.unwrap();
    eventually(PATIENCE, "none is left", async || count(&system.pool, "SELECT count(*) FROM jobs").await == 0).await;
    system.shut_down().await.unwrap();
}

/// The rows of three clients cannot be saved: the others of the same batch are answered, and so are the three once the constraints
/// are gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_a_batch_that_cannot_be_saved_delays_only_itself() {
    const PEOPLE: usize = 120;
    let mut system = test_system(0).await;
    system.stand_in.reports(Reports::InOrder);
    sqlx::raw_sql(AssertSqlSafe(format!(
        "ALTER TABLE messages ADD CONSTRAINT not_to_the_first CHECK (to_phone <> '{first}' OR status <> 'queued'),
                              ADD CONSTRAINT the_second_is_not_sent
                                  CHECK (to_phone <> '{second}' OR status NOT IN ('sent', 'delivered')),
                              ADD CONSTRAINT the_third_is_not_delivered CHECK (to_phone <> '{third}' OR status <> 'delivered')",
        first = phone(1),
        second = phone(2),
        third = phone(3)
    )))
    .execute(&system.pool)
    .await
    .unwrap();
    let said = (1..=PEOPLE).map(|n| {
        let stand_in = &system.stand_in;
        async move { stand_in.text(&phone(n), "Plumber from London").await.unwrap().status }
    });
    let statuses: Vec<u16> = stream::iter(said).buffer_unordered(32).collect().await;
    assert!(statuses.iter().all(|status| *status == 200));
    system.start_worker().unwrap();

    let delivered = "SELECT count(*) FROM messages WHERE status = 'delivered'";
    eventually(PATIENCE, "the texts of all but three are delivered, and known to be", async || {
        count(&system.pool, delivered).await == PEOPLE as i64 - 3
    })
    .await;
    let put_off = "SELECT lane FROM events WHERE processed_at IS NULL AND kind = 'text' AND due_at IS NOT NULL";
    let lane_of_the_first = format!("phone:{}", phone(1).trim_start_matches('+'));
    assert_eq!(texts(&system.pool, put_off).await, [lane_of_the_first]);
    assert_eq!(system.stand_in.bodies_to(&phone(1)).len(), 0);
    assert_eq!(system.stand_in.bodies_to(&phone(2)).len(), 1, "it was sent, but that cannot be saved");
    assert_eq!(system.stand_in.bodies_to(&phone(3)).len(), 1);

    sqlx::raw_sql(
        "ALTER TABLE messages DROP CONSTRAINT not_to_the_first, DROP CONSTRAINT the_second_is_not_sent,
                              DROP CONSTRAINT the_third_is_not_delivered;
         UPDATE events SET due_at = now() WHERE processed_at IS NULL",
    )
    .execute(&system.pool)
    .await
    .unwrap();
    eventually(PATIENCE, "all texts are delivered", async || count(&system.pool, delivered).await == PEOPLE as i64)
        .await;
    assert_eq!(system.stand_in.messages().len(), PEOPLE, "and no client was texted twice");
    system.shut_down().await.unwrap();
}
