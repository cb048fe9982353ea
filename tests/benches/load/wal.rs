//! The write-ahead log of the server: how much of it a run writes, and of which parts it consists.

use anyhow::Context;
use sqlx::PgPool;

/// What the server has written so far.
#[derive(Clone, Copy)]
pub(crate) struct Written {
    pub(crate) wal_bytes: f64,
    /// Images of whole pages, each of which a page gets when it is first changed after a checkpoint.
    pub(crate) images: f64,
    pub(crate) checkpoints: f64,
}

impl Written {
    /// Returns the present counts. A backend reports its images once a second.
    pub(crate) async fn now(pool: &PgPool) -> anyhow::Result<Self> {
        let has_checkpointer = "SELECT to_regclass('pg_catalog.pg_stat_checkpointer') IS NOT NULL";
        let counts = if sqlx::query_scalar(has_checkpointer).fetch_one(pool).await? {
            "SELECT (pg_current_wal_insert_lsn() - '0/0')::FLOAT8, wal_fpi::FLOAT8, (num_timed + num_requested)::FLOAT8
             FROM pg_stat_wal, pg_stat_checkpointer"
        } else {
            "SELECT (pg_current_wal_insert_lsn() - '0/0')::FLOAT8, wal_fpi::FLOAT8,
                    (checkpoints_timed + checkpoints_req)::FLOAT8
             FROM pg_stat_wal, pg_stat_bgwriter"
        };
        let (wal_bytes, images, checkpoints) = sqlx::query_as(counts).fetch_one(pool).await?;
        Ok(Self { wal_bytes, images, checkpoints })
    }

    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            wal_bytes: self.wal_bytes - earlier.wal_bytes,
            images: self.images - earlier.images,
            checkpoints: self.checkpoints - earlier.checkpoints,
        }
    }
}

/// A place in the log, as the server writes it.
pub(crate) async fn position(pool: &PgPool) -> anyhow::Result<String> {
    Ok(sqlx::query_scalar("SELECT pg_current_wal_flush_lsn()::TEXT").fetch_one(pool).await?)
}

/// A part of the log, by pg_walinspect. Unlike pg_stat_wal, that knows the bytes of images, which have no unused space.
#[derive(Clone, Copy)]
pub(crate) struct Wal {
    pub(crate) bytes: f64,
    pub(crate) image_bytes: f64,
    pub(crate) records: f64,
    /// Commits that wrote something.
    pub(crate) commits: f64,
}

impl Wal {
    /// Reads the log from `start` to the present. It must still be there: a checkpoint removes what lies before the last one.
    pub(crate) async fn since(pool: &PgPool, start: &str) -> anyhow::Result<Self> {
        let (bytes, image_bytes, records, commits) = sqlx::query_as(
            r#"SELECT sum(combined_size)::FLOAT8, sum(fpi_size)::FLOAT8, sum(count)::FLOAT8,
                      coalesce(sum(count) FILTER (WHERE "resource_manager/record_type" = 'Transaction/COMMIT'), 0)::FLOAT8
               FROM pg_get_wal_stats($1::PG_LSN, pg_current_wal_flush_lsn(), per_record => TRUE)"#,
        )
        .bind(start)
        .fetch_one(pool)
        .await
        .context("reading the log of a run; a shorter one (--seconds) writes less of it")?;
        Ok(Self { bytes, image_bytes, records, commits })
    }

    pub(crate) fn divided_by(&self, count: usize) -> Self {
        let each = |whole: f64| whole / count as f64;
        Self {
            bytes: each(self.bytes),
            image_bytes: each(self.image_bytes),
            records: each(self.records),
            commits: each(self.commits),
        }
    }
}
