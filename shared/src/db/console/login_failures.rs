//! Failed attempts to log in, counted by name and by address.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;

use crate::db::{Error, LOOKED_AT};

/// How long attempts count. The count begins anew with the first attempt after that.
pub const COUNTED_FOR: TimeDelta = TimeDelta::minutes(15);

/// Counts an attempt for each subject before the password is checked, so that attempts at the same time count too. Returns the
/// count of each, in the order of `subjects`. Removes old counts.
pub async fn count_attempt(
    conn: &mut PgConnection,
    subjects: &[String],
    now: DateTime<Utc>,
) -> Result<Vec<i32>, Error> {
    let old = now - COUNTED_FOR;
    sqlx::query!(
        "DELETE FROM console_login_failures WHERE subject IN (
             SELECT subject FROM console_login_failures WHERE since <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)",
        old,
        LOOKED_AT
    )
    .execute(&mut *conn)
    .await?;
    let mut counts = Vec::new();
    for subject in subjects {
        let count = sqlx::query_scalar!(
            "INSERT INTO console_login_failures AS f (subject, failures, since) VALUES ($1, 1, $2)
             ON CONFLICT ON CONSTRAINT a_subject_has_one_count_of_failures DO UPDATE
             SET failures = CASE WHEN f.since <= $3 THEN 1 ELSE f.failures + 1 END,
                 since = CASE WHEN f.since <= $3 THEN $2 ELSE f.since END
             RETURNING failures",
            subject,
            now,
            old
        );
        counts.push(count.fetch_one(&mut *conn).await?);
    }
    Ok(counts)
}

/// Forgets the attempts for a subject.
pub async fn forget_attempts(conn: &mut PgConnection, subject: &str) -> Result<(), Error> {
    sqlx::query!("DELETE FROM console_login_failures WHERE subject = $1", subject).execute(conn).await?;
    Ok(())
}

/// Takes one attempt back: it has succeeded.
pub async fn take_attempt_back(conn: &mut PgConnection, subject: &str) -> Result<(), Error> {
    sqlx::query!("UPDATE console_login_failures SET failures = GREATEST(failures - 1, 0) WHERE subject = $1", subject)
        .execute(conn)
        .await?;
    Ok(())
}
