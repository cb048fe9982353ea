//! Removes old events, texts and cases that are over, a few at a time.
//!
//! Events and texts that wait are kept. Payments, subscriptions, opt-outs and changes of numbers are kept for ever, because they
//! record the status of clients and numbers. Counted calls go much sooner, because they name strangers. A step is one short transaction that skips locked rows, so that it blocks no other.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{PgConnection, PgPool};

use crate::db::{Error, calls, cases, inbox, outbox};

/// The key of the removal among PostgreSQL's advisory locks of this database.
const REMOVAL: i32 = 5;

/// The most steps that one call takes for each table. The next call goes on.
const STEPS_MAX: usize = 20;

/// How long counted calls are kept: longer than the day in which they count.
const CALLS_KEPT_FOR: TimeDelta = TimeDelta::days(2);

/// How many rows were removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Texts.
    pub texts: usize,
    /// Events.
    pub events: usize,
    /// Closed cases.
    pub cases: usize,
}

/// A table with old rows.
#[derive(Clone, Copy, Debug)]
enum Table {
    Messages,
    Events,
    Cases,
}

/// Removes events, texts and cases that have been over for longer than `kept_for`, oldest first. Removes nothing if `kept_for` is
/// zero, or if another worker is removing.
///
/// # Errors
/// When the database does not answer. The steps before then are committed.
pub async fn remove_old(pool: &PgPool, kept_for: Duration, now: DateTime<Utc>) -> Result<Removed, Error> {
    let Some(before) = TimeDelta::from_std(kept_for).ok().and_then(|age| now.checked_sub_signed(age)) else {
        return Ok(Removed::default());
    };
    if kept_for.is_zero() {
        return Ok(Removed::default());
    }
    // Texts first: an event is removed after the texts that it caused.
    let texts = remove_from(pool, Table::Messages, before).await?;
    let events = remove_from(pool, Table::Events, before).await?;
    let cases = remove_from(pool, Table::Cases, before).await?;
    Ok(Removed { texts, events, cases })
}

/// Removes the calls that no text can tell of any more, oldest first. Returns how many.
///
/// # Errors
/// As [`remove_old`].
pub async fn remove_old_calls(pool: &PgPool, now: DateTime<Utc>) -> Result<usize, Error> {
    let mut removed = 0;
    for _ in 0..STEPS_MAX {
        match calls::remove_before(&mut *pool.acquire().await?, now - CALLS_KEPT_FOR).await? {
            0 => break,
            step => removed += step,
        }
    }
    Ok(removed)
}

async fn remove_from(pool: &PgPool, table: Table, before: DateTime<Utc>) -> Result<usize, Error> {
    let mut removed = 0;
    for _ in 0..STEPS_MAX {
        match take_step(pool, table, before).await? {
            0 => break,
            step => removed += step,
        }
    }
    Ok(removed)
}

/// Removes some of the oldest rows, and returns how many: none if no row is old enough, or if another worker is removing.
async fn take_step(pool: &PgPool, table: Table, before: DateTime<Utc>) -> Result<usize, Error> {
    let mut tx = pool.begin().await?;
    if !try_lock_removal(&mut tx).await? {
        return Ok(0);
    }
    let removed = match table {
        Table::Messages => {
            let ids = outbox::lock_settled_before(&mut tx, before).await?;
            outbox::remove(&mut tx, &ids).await?;
            ids.len()
        }
        Table::Events => {
            let ids = inbox::lock_processed_before(&mut tx, before).await?;
            inbox::remove(&mut tx, &ids).await?;
            ids.len()
        }
        Table::Cases => cases::remove_closed_before(&mut tx, before).await?,
    };
    // Even if nothing was removed: a dropped transaction ends a moment later, and its lock would keep the next step out.
    tx.commit().await?;
    Ok(removed)
}

/// Takes the removal lock until the transaction ends. Returns false if another session has it.
async fn try_lock_removal(conn: &mut PgConnection) -> Result<bool, Error> {
    let alone = sqlx::query_scalar!(r#"SELECT pg_try_advisory_xact_lock($1, 0) AS "alone!""#, REMOVAL);
    Ok(alone.fetch_one(conn).await?)
}
