//! Sessions that hold locks for long, such as a `psql` with an open transaction: what the workers wait for.
//!
//! Nothing here ends a session: that is for an operator, who is told which one it is.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;

use super::Error;
use super::alerts::{self, NewAlert};

/// Our own transactions take milliseconds. One that is open for longer than this, and has locked or written rows, is in the way.
const OPEN_FOR: TimeDelta = TimeDelta::seconds(1);

/// How the causes of these alerts begin; the number of the session follows.
const CAUSE: &str = "blocked-by:";

/// A session whose open transaction has locked rows or tables, or written to them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Blocker {
    /// The number of its server process.
    pid: i32,
    /// What it calls itself.
    application: String,
    /// Since when its transaction is open; empty where the rights to see it are missing.
    since: Option<DateTime<Utc>>,
}

impl Blocker {
    fn alert(&self) -> NewAlert {
        let Self { pid, application, since } = self;
        let since = since.map_or_else(|| "some time".to_owned(), |at| at.format("%Y-%m-%d %H:%M:%S UTC").to_string());
        NewAlert {
            cause: format!("{CAUSE}{pid}"),
            about: format!(
                "Session {pid} ({application}) has had a transaction open since {since}, and holds locks that the workers wait for. \
                 Commit it or roll it back there, or end it: SELECT pg_terminate_backend({pid})."
            ),
        }
    }
}

/// Raises an alert about the session whose transaction holds locks for longest, if there is one. Returns the alert, if it is
/// new.
///
/// # Errors
/// When the database does not answer.
pub async fn alert(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<Vec<NewAlert>, Error> {
    let oldest: Vec<NewAlert> = list(conn, OPEN_FOR).await?.first().map(Blocker::alert).into_iter().collect();
    alerts::raise(conn, &oldest, now).await
}

/// Clears the alerts about sessions that hold no locks any more. Returns their causes.
///
/// # Errors
/// When the database does not answer.
pub async fn clear(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<Vec<String>, Error> {
    let mut over = alerts::list_open_causes_of(conn, CAUSE).await?;
    if over.is_empty() {
        return Ok(over);
    }
    let still: Vec<String> = list(conn, TimeDelta::zero()).await?.iter().map(|it| it.alert().cause).collect();
    over.retain(|cause| !still.contains(cause));
    alerts::clear(conn, &over, now).await
}

/// The sessions of this database whose transactions are open for longer than `open_for` and hold such locks, oldest first. A
/// session that waits for another's lock itself is not among them.
async fn list(conn: &mut PgConnection, open_for: TimeDelta) -> Result<Vec<Blocker>, Error> {
    let blockers = sqlx::query_as!(
        Blocker,
        r#"SELECT session.pid AS "pid!", COALESCE(NULLIF(session.application_name, ''), 'unnamed') AS "application!",
                  session.xact_start AS since
           FROM pg_stat_activity AS session
           WHERE session.datname = current_database() AND session.pid <> pg_backend_pid()
             AND session.backend_type = 'client backend' AND session.wait_event_type IS DISTINCT FROM 'Lock'
             -- Without the right to see more of it than its locks, a session has no state.
             AND (session.state IS NULL OR session.xact_start < clock_timestamp() - make_interval(secs => $1))
             AND EXISTS (SELECT FROM pg_locks AS held
                         WHERE held.pid = session.pid AND held.granted AND held.locktype IN ('relation', 'advisory')
                           AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
                           AND held.mode IN ('RowShareLock', 'RowExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock',
                                             'ExclusiveLock', 'AccessExclusiveLock'))
           ORDER BY session.xact_start"#,
        open_for.as_seconds_f64()
    );
    Ok(blockers.fetch_all(conn).await?)
}
