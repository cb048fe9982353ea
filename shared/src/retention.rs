//! What is kept, and for how long: events and texts that are over go once they are old, a few at a time.
//!
//! Never what still waits, and never what says how a client or a number stands: payments, subscriptions, opt-outs and
//! the changes of numbers are kept for good. A step is one short transaction that passes over what somebody else has
//! locked, so that nobody waits for it.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{PgConnection, PgPool};

use crate::db::{Error, events, messages};

/// The key of whoever removes among PostgreSQL's advisory locks of this database.
const REMOVAL: i32 = 5;

/// How many steps one call takes for each table at most: what is left is for the next.
const STEPS_MAX: usize = 20;

/// How much was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Texts.
    pub texts: usize,
    /// Events.
    pub events: usize,
}

/// Where old rows are.
#[derive(Clone, Copy, Debug)]
enum Table {
    Messages,
    Events,
}

/// Removes events and texts that have been over for longer than `kept_for`, oldest first; nothing, if that is no time
/// at all. Leaves it to somebody else who is at it.
///
/// # Errors
/// When the database does not answer. What was removed until then stays so.
pub async fn remove_old(pool: &PgPool, kept_for: Duration, now: DateTime<Utc>) -> Result<Removed, Error> {
    let Some(before) = TimeDelta::from_std(kept_for).ok().and_then(|age| now.checked_sub_signed(age)) else {
        return Ok(Removed::default());
    };
    if kept_for.is_zero() {
        return Ok(Removed::default());
    }
    // Texts first: an event that one answers goes after it.
    let texts = remove_from(pool, Table::Messages, before).await?;
    let events = remove_from(pool, Table::Events, before).await?;
    Ok(Removed { texts, events })
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

/// Removes some of the oldest rows, and answers how many; none, if none is old enough, or if somebody else is at it.
async fn take_step(pool: &PgPool, table: Table, before: DateTime<Utc>) -> Result<usize, Error> {
    let mut tx = pool.begin().await?;
    if !is_alone(&mut tx).await? {
        return Ok(0);
    }
    let ids = match table {
        Table::Messages => messages::lock_settled_before(&mut tx, before).await?,
        Table::Events => events::lock_processed_before(&mut tx, before).await?,
    };
    match table {
        Table::Messages => messages::remove(&mut tx, &ids).await?,
        Table::Events => events::remove(&mut tx, &ids).await?,
    }
    // Even if nothing was removed: left to itself, a transaction ends a moment later, and so would keep the next step
    // out.
    tx.commit().await?;
    Ok(ids.len())
}

/// Whether nobody else removes, until the transaction ends.
async fn is_alone(conn: &mut PgConnection) -> Result<bool, Error> {
    let alone = sqlx::query_scalar!(r#"SELECT pg_try_advisory_xact_lock($1, 0) AS "alone!""#, REMOVAL);
    Ok(alone.fetch_one(conn).await?)
}
