//! Applies the migrations while the programs run.

use std::time::Duration;

use sqlx::migrate::{Migrate, MigrateError as StepError, Migrator};
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};

use crate::{db, queue};

/// How long a migration waits for a lock. Then it gives way to the sessions that wait behind it, and tries again. This
/// is much shorter than a webhook waits.
const LOCK_TIMEOUT: &str = "SET lock_timeout = '250ms'; SET statement_timeout = 0";
const NO_LOCK_TIMEOUT: &str = "SET lock_timeout = 0";
const LET_PASS_FOR: Duration = Duration::from_secs(1);

/// PostgreSQL's code for a lock that was not granted in time.
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// Applies every migration, the queue's included. It is safe to repeat, and to run twice at once: one run waits for the
/// other.
///
/// It waits until other sessions release their locks, a vacuum's among them. The running programs wait with it for at
/// most a quarter of a second at a time.
pub async fn migrate(pool: &PgPool) -> Result<(), MigrateError> {
    let mut ours = Migrator::with_migrations(db::MIGRATOR.iter().cloned().collect());
    // A newer version may have applied its own steps already.
    ours.set_ignore_missing(true);
    apply(pool, &ours).await.map_err(MigrateError::Ours)?;
    apply(pool, &queue::migrations()).await.map_err(MigrateError::OfTheQueue)?;
    // This follows the queue's migrations and so cannot be one of ours, which run first: the queue's tables may not
    // exist by then.
    let upkeep = sqlx::raw_sql(include_str!("queue_upkeep.sql")).execute(pool).await;
    upkeep.map_err(|error| MigrateError::OfTheQueue(error.into()))?;
    Ok(())
}

/// Returns whether the roles of the programs are used in this database. Then new tables need grants.
pub async fn uses_roles(pool: &PgPool) -> Result<bool, MigrateError> {
    let used = "SELECT EXISTS (SELECT FROM pg_roles
                               WHERE rolname = 'jobrun_ingress' AND has_any_column_privilege(oid, 'events', 'INSERT'))";
    sqlx::query_scalar(used).fetch_one(pool).await.map_err(MigrateError::Roles)
}

/// Makes the roles of the programs, and grants each what it needs. Roles that exist are granted what they lack.
pub async fn make_roles(pool: &PgPool) -> Result<(), MigrateError> {
    sqlx::raw_sql(include_str!("roles.sql")).execute(pool).await.map_err(MigrateError::Roles)?;
    Ok(())
}

/// Retries as long as another session holds a lock. Applied steps stay applied.
async fn apply(pool: &PgPool, migrator: &Migrator) -> Result<(), StepError> {
    loop {
        // The migrator's lock outlives a failed step and ends with its connection, so it gets a connection of its own.
        let mut conn = pool.acquire().await?.detach();
        let applied = apply_once(&mut conn, migrator).await;
        let locked = matches!(&applied, Err(StepError::Execute(error) | StepError::ExecuteMigration(error, _))
            if error.as_database_error().is_some_and(|error| error.code().as_deref() == Some(LOCK_NOT_AVAILABLE)));
        if locked {
            tracing::warn!("a table to be migrated is locked by a backup, a vacuum or another migration: trying again");
            // Sleeps before the lock is released: another migrator would begin to wait at once.
            tokio::time::sleep(LET_PASS_FOR).await;
        }
        // The locks end with the connection, however it closes. The outcome of the steps is known, so errors do not
        // matter.
        let _ = conn.close().await;
        if !locked {
            return applied;
        }
    }
}

/// Applies the missing steps. Steps without a transaction create indexes beside the running programs (`CREATE INDEX
/// CONCURRENTLY`): they block no session, and so have no lock timeout.
async fn apply_once(conn: &mut PgConnection, migrator: &Migrator) -> Result<(), StepError> {
    sqlx::raw_sql(LOCK_TIMEOUT).execute(&mut *conn).await?;
    // Held until the connection is closed, so that another migrator does not touch a half-made index.
    conn.lock().await?;
    for step in migrator.iter().filter(|step| step.no_tx) {
        migrator.run_to(step.version - 1, &mut *conn).await?;
        sqlx::raw_sql(NO_LOCK_TIMEOUT).execute(&mut *conn).await?;
        if !is_applied(conn, step.version).await? {
            drop_unfinished_indexes(conn, step.sql.as_str()).await?;
        }
        migrator.run_to(step.version, &mut *conn).await?;
        sqlx::raw_sql(LOCK_TIMEOUT).execute(&mut *conn).await?;
    }
    migrator.run(&mut *conn).await?;
    let steps: Vec<&str> = migrator.iter().map(|step| step.sql.as_str()).collect();
    ensure_indexes_are_finished(conn, &steps.concat()).await
}

/// Checked at run time and not at compile time: the migrator creates this table.
async fn is_applied(conn: &mut PgConnection, version: i64) -> Result<bool, sqlx::Error> {
    let applied = sqlx::query_scalar("SELECT EXISTS (SELECT FROM _sqlx_migrations WHERE version = $1)");
    applied.bind(version).fetch_one(conn).await
}

/// Drops the indexes of a step that an earlier attempt did not finish: each write maintains them, and no query uses
/// them.
async fn drop_unfinished_indexes(conn: &mut PgConnection, step: &str) -> Result<(), sqlx::Error> {
    for index in list_unfinished_indexes(conn, step).await? {
        let drop = format!("DROP INDEX CONCURRENTLY IF EXISTS {index}");
        sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut *conn).await?;
    }
    Ok(())
}

/// Fails if an index is unfinished, as no query uses it: `IF NOT EXISTS` in a step accepts an unfinished index of the
/// same name.
async fn ensure_indexes_are_finished(conn: &mut PgConnection, steps: &str) -> Result<(), StepError> {
    let unfinished = list_unfinished_indexes(conn, steps).await?;
    if unfinished.is_empty() {
        return Ok(());
    }
    let why = format!(
        "unfinished indexes serve no query: {}; REINDEX them CONCURRENTLY, or drop them",
        unfinished.join(", ")
    );
    Err(StepError::Execute(sqlx::Error::Configuration(why.into())))
}

/// Returns the unfinished indexes that `steps` names, but not those that another session is creating now. If another
/// role creates one, only the lock on its table shows which index it is.
async fn list_unfinished_indexes(conn: &mut PgConnection, steps: &str) -> Result<Vec<String>, sqlx::Error> {
    let unfinished = sqlx::query_scalar(
        "SELECT indexrelid::REGCLASS::TEXT FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
         WHERE NOT indisvalid AND position(relname IN $1) > 0
           AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'clients'::REGCLASS)
           AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index AS making
                           WHERE making.index_relid = indexrelid
                              OR (making.index_relid IS NULL
                                  AND EXISTS (SELECT FROM pg_locks AS held
                                              WHERE held.pid = making.pid AND held.relation = indrelid
                                                AND held.mode = 'ShareUpdateExclusiveLock')))",
    );
    unfinished.bind(steps).fetch_all(conn).await
}

/// The migrations could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// One of our migrations.
    #[error("migrating: {0}")]
    Ours(StepError),
    /// One of the job queue's migrations.
    #[error("migrating the job queue: {0}")]
    OfTheQueue(StepError),
    /// The roles.
    #[error("making the roles, which needs the right CREATEROLE and the ownership of the tables: {0}")]
    Roles(sqlx::Error),
}
