//! The allocation lock: shared by transactions that allocate side by side, exclusive where no allocation may be in flight.

use sqlx::PgConnection;

use crate::db::Error;

/// The key of the allocation lock among the database's advisory locks.
pub(super) const ALLOCATION_LOCK: i32 = 2;

/// Waits until no allocation is in flight, and excludes others until the transaction ends.
///
/// Needed by each transaction that changes the waiting list on behalf of other clients, or frees numbers. It must come
/// before [`allocate`](super::allocate()) in the same transaction. Taking the lock twice is harmless.
///
/// # Errors
/// [`Error::Database`], also when PostgreSQL detects a deadlock.
pub async fn lock_allocation_exclusive(conn: &mut PgConnection) -> Result<(), Error> {
    sqlx::query!("SELECT pg_advisory_xact_lock($1, 0)", ALLOCATION_LOCK).execute(conn).await?;
    Ok(())
}
