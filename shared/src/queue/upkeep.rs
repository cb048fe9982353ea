//! Upkeep of apalis's tables: migrations, heartbeats, and the removal of finished jobs.

use std::collections::HashMap;
use std::time::Duration;

use apalis_postgres::PostgresStorage;
use chrono::{DateTime, Utc};
use sqlx::migrate::Migrator;
use sqlx::{PgConnection, PgPool};

use super::enqueue::Queue;

/// The most finished jobs that one statement removes.
const REMOVED_AT_ONCE: i64 = 1000;

/// Returns apalis's migrations, which make a schema of their own.
#[must_use]
pub fn migrations() -> Migrator {
    PostgresStorage::migrations()
}

/// Returns whether apalis's migrations have been applied. The queries are not checked at compile time: the table is apalis's.
pub async fn is_migrated(pool: &PgPool) -> Result<bool, sqlx::Error> {
    let exists = sqlx::query_scalar::<_, bool>("SELECT to_regclass('apalis._sqlx_migrations') IS NOT NULL");
    if !exists.fetch_one(pool).await? {
        return Ok(false);
    }
    let applied: Vec<i64> =
        sqlx::query_scalar("SELECT version FROM apalis._sqlx_migrations WHERE success").fetch_all(pool).await?;
    Ok(migrations().iter().all(|migration| applied.contains(&migration.version)))
}

/// Returns the time of the last heartbeat of a worker of each queue, if one is known.
pub async fn last_seen(conn: &mut PgConnection) -> Result<Vec<(Queue, Option<DateTime<Utc>>)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT worker_type AS queue, max(last_seen) AS "at!" FROM apalis.workers GROUP BY worker_type"#
    );
    let seen: HashMap<String, DateTime<Utc>> =
        rows.fetch_all(conn).await?.into_iter().map(|row| (row.queue, row.at)).collect();
    Ok(Queue::ALL.map(|queue| (queue, seen.get(queue.name()).copied())).to_vec())
}

/// Removes jobs that finished longer than `age` ago, a step at a time, and workers without a heartbeat for a day. Returns how many
/// jobs were removed. Jobs are removed when they end: these were left by an earlier version, and these workers were killed.
///
/// The queries are not checked at compile time, as in [`is_migrated`].
pub async fn remove_finished(pool: &PgPool, age: Duration) -> Result<u64, sqlx::Error> {
    let mut removed = 0;
    loop {
        let step = sqlx::query(
            "DELETE FROM apalis.jobs WHERE id IN (
                 SELECT id FROM apalis.jobs
                 WHERE (status IN ('Done', 'Killed') OR (status = 'Failed' AND attempts >= max_attempts))
                   AND done_at < now() - $1
                 LIMIT $2 FOR UPDATE SKIP LOCKED)",
        );
        let step = step.bind(age).bind(REMOVED_AT_ONCE).execute(pool).await?.rows_affected();
        removed += step;
        if step < REMOVED_AT_ONCE.unsigned_abs() {
            break;
        }
    }
    let gone = "DELETE FROM apalis.workers WHERE last_seen < now() - INTERVAL '1 day'
                  AND NOT EXISTS (SELECT FROM apalis.jobs WHERE lock_by = workers.id)";
    sqlx::query(gone).execute(pool).await?;
    Ok(removed)
}
