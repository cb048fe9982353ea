//! Migrations while programs run: a waiting migration does not block others, and an unfinished index is made again.

use jobrun_ingress::group_commit::Recorder;
use jobrun_shared::db;
use jobrun_shared::db::inbox::{NewEvent, Payload, Source};
use jobrun_tests::{PATIENCE, count, empty_database, eventually, migrated_database};
use secrecy::ExposeSecret;
use sqlx::PgPool;

/// Undoes the migration that makes an index on the inbox.
async fn undo_index_step(pool: &PgPool) {
    sqlx::raw_sql(
        "DELETE FROM _sqlx_migrations WHERE version = 20261124000011;
         DROP INDEX waiting_events_by_lane",
    )
    .execute(pool)
    .await
    .unwrap();
}

async fn valid_indexes(pool: &PgPool) -> i64 {
    let valid = "SELECT count(*) FROM pg_index WHERE indexrelid = 'waiting_events_by_lane'::REGCLASS AND indisvalid";
    count(pool, valid).await
}

/// Making an index on the inbox waits until every transaction that was open before has ended. Webhooks do not wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn an_index_is_made_while_webhooks_are_recorded() {
    let pool = migrated_database(4).await;
    undo_index_step(&pool).await;
    let mut writer = pool.begin().await.unwrap();
    sqlx::raw_sql("LOCK TABLE events IN ROW EXCLUSIVE MODE").execute(&mut *writer).await.unwrap();
    let (recorder, _recording) = Recorder::start(pool.clone(), db::Health::default());
    let others = async {
        let waits =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
                       AND query LIKE '%CREATE INDEX CONCURRENTLY%'";
        eventually(PATIENCE, "the index waits", async || count(&pool, waits).await == 1).await;
        let event =
            NewEvent::new(Source::System, "number-due:1".to_owned(), Payload::NumberDue { client_id: "c".to_owned() });
        assert_eq!(recorder.record(event, 200).await, Ok(true), "recorded, although the index waits");
        assert_eq!(count(&pool, waits).await, 1, "it still waits");
        writer.rollback().await.unwrap();
    };
    let (migrated, ()) = tokio::join!(db::migrate(&pool), others);
    migrated.unwrap();
    assert_eq!(valid_indexes(&pool).await, 1);
    db::ensure_migrated(&pool).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_was_left_unfinished_is_made_anew() {
    let pool = migrated_database(4).await;
    undo_index_step(&pool).await;
    let mut writer = pool.begin().await.unwrap();
    sqlx::raw_sql("LOCK TABLE events IN ROW EXCLUSIVE MODE").execute(&mut *writer).await.unwrap();
    let mut conn = pool.acquire().await.unwrap();
    sqlx::raw_sql("SET lock_timeout = '10ms'").execute(&mut *conn).await.unwrap();
    let step =
        "CREATE INDEX CONCURRENTLY waiting_events_by_lane ON events (lane, id) WHERE (processed_at IS NULL) IS TRUE";
    assert!(sqlx::raw_sql(step).execute(&mut *conn).await.is_err(), "it is cut short");
    writer.rollback().await.unwrap();
    assert_eq!(valid_indexes(&pool).await, 0);
    drop(conn);
    db::migrate(&pool).await.unwrap();
    assert_eq!(valid_indexes(&pool).await, 1);
}

/// An ordinary role sees that another role is making an index, but not which one.
#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_index_is_made_anew_while_another_role_makes_one() {
    let url = empty_database().await;
    let admin = PgPool::connect(url.expose_secret()).await.unwrap();
    sqlx::raw_sql(
        "DO $$ BEGIN CREATE ROLE ordinary LOGIN PASSWORD 'ordinary'; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
         DO $$ BEGIN EXECUTE format('ALTER DATABASE %I OWNER TO ordinary', current_database()); END $$;",
    )
    .execute(&admin)
    .await
    .unwrap();
    let ordinary = admin.connect_options().as_ref().clone().username("ordinary").password("ordinary");
    let pool = PgPool::connect_with(ordinary).await.unwrap();
    db::migrate(&pool).await.unwrap();
    undo_index_step(&pool).await;
    let unfinished = "CREATE INDEX waiting_events_by_lane ON events (lane, id) WHERE (processed_at IS NULL) IS TRUE;
                      UPDATE pg_index SET indisvalid = FALSE WHERE indexrelid = 'waiting_events_by_lane'::REGCLASS;
                      CREATE TABLE of_another_role (id INTEGER)";
    sqlx::raw_sql(unfinished).execute(&admin).await.unwrap();

    let mut writer = admin.begin().await.unwrap();
    sqlx::raw_sql("LOCK TABLE of_another_role IN ROW EXCLUSIVE MODE").execute(&mut *writer).await.unwrap();
    let making = {
        let admin = admin.clone();
        let make = "CREATE INDEX CONCURRENTLY index_of_another_role ON of_another_role (id)";
        tokio::spawn(async move { sqlx::raw_sql(make).execute(&admin).await })
    };
    let nameless = "SELECT count(*) FROM pg_stat_progress_create_index WHERE index_relid IS NULL";
    eventually(PATIENCE, "the other index is being made", async || count(&pool, nameless).await == 1).await;
    db::migrate(&pool).await.unwrap();
    writer.rollback().await.unwrap();
    making.await.unwrap().unwrap();
    assert_eq!(valid_indexes(&pool).await, 1);
}

/// An invalid index with the name of a migration's index does not count as that index.
#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_index_that_remains_is_an_error() {
    let pool = migrated_database(2).await;
    let invalid = "UPDATE pg_index SET indisvalid = FALSE WHERE indexrelid = 'waiting_events_by_lane'::REGCLASS";
    sqlx::raw_sql(invalid).execute(&pool).await.unwrap();
    let error = db::migrate(&pool).await.unwrap_err().to_string();
    assert!(error.contains("waiting_events_by_lane"), "{error}");
}

/// A database that a newer version has migrated counts as migrated for this version.
#[tokio::test(flavor = "multi_thread")]
async fn a_newer_version_s_migrations_are_left_alone() {
    let pool = migrated_database(2).await;
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (20991231000001, 'newer', TRUE, '', 1)";
    sqlx::raw_sql(newer).execute(&pool).await.unwrap();
    db::migrate(&pool).await.unwrap();
    db::ensure_migrated(&pool).await.unwrap();
}
