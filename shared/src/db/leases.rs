//! Leases: tasks that one process does at a time. A process that dies lets its lease run out.

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use super::Error;

/// Takes or renews the lease of `task` for `holder`, until `until`. Returns whether it has the lease.
pub async fn take(
    pool: &PgPool,
    task: &'static str,
    holder: &str,
    until: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let taken = sqlx::query!(
        "INSERT INTO leases (task, holder, until) VALUES ($1, $2, $3)
         ON CONFLICT ON CONSTRAINT a_task_has_one_holder
         DO UPDATE SET holder = EXCLUDED.holder, until = EXCLUDED.until
         WHERE leases.holder = EXCLUDED.holder OR leases.until <= $4",
        task,
        holder,
        until,
        now
    );
    Ok(taken.execute(pool).await?.rows_affected() == 1)
}
