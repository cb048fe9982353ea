//! Sessions that hold locks for long, such as a `psql` with an open transaction, and so make the workers wait.
//!
//! This module ends no session: it tells the operator which session it is.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;

use super::Error;
use super::alerts::{self, NewAlert};
use crate::alerts::{Kind, operation};

/// Our own transactions take milliseconds, and some of the command line's take seconds. Another session whose
/// transaction is open for longer than this and locks our tables is a blocker.
const OPEN_FOR: TimeDelta = TimeDelta::seconds(1);

/// A program of ours whose transaction is open for longer than this hangs.
const OURS_OPEN_FOR: TimeDelta = TimeDelta::seconds(30);

/// How many sessions are named at most. The next look names the others.
const NAMED_MAX: i64 = 5;

/// A session whose open transaction has locked our tables, or rows of them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Blocker {
    /// The process id of its server process.
    pid: i32,
    /// Its `application_name`.
    application: String,
    /// Since when its transaction is open; empty without the right to see it.
    since: Option<DateTime<Utc>>,
    /// The locked tables.
    tables: String,
}

impl Blocker {
    fn alert(&self) -> NewAlert {
        operation::blocked_by(self.pid, &self.application, self.since, &self.tables)
    }
}

/// Raises an alert about each session whose transaction has held locks for long, or updates the alert's words. Returns
/// the new alerts.
pub async fn alert(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<Vec<NewAlert>, Error> {
    let mut new = Vec::new();
    // By process id, so that two transactions cannot deadlock.
    for blocker in list(conn, OPEN_FOR, Some(NAMED_MAX)).await? {
        let alert = blocker.alert();
        if alerts::raise_lasting(conn, &alert, now).await? {
            new.push(alert);
        }
    }
    Ok(new)
}

/// Clears the alerts about sessions that hold no locks any more. Returns their causes.
pub async fn clear(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<Vec<String>, Error> {
    let mut over = alerts::list_open_causes_of(conn, &Kind::BlockedBy.prefix()).await?;
    if over.is_empty() {
        return Ok(over);
    }
    let still = list(conn, TimeDelta::zero(), None).await?;
    over.retain(|cause| still.iter().all(|it| it.alert().cause != *cause));
    alerts::clear(conn, &over, now).await
}

/// Returns the sessions of this database that hold blocking locks on our tables, and whose transactions are open for
/// longer than `open_for`, or than [`OURS_OPEN_FOR`] if they belong to a program of ours. Returns the oldest `max` of
/// them, or all, by process id. A session that itself waits for a lock is left out.
async fn list(conn: &mut PgConnection, open_for: TimeDelta, max: Option<i64>) -> Result<Vec<Blocker>, Error> {
    let blockers = sqlx::query_as!(
        Blocker,
        r#"SELECT pid AS "pid!", application AS "application!", since, tables AS "tables!"
           FROM (SELECT session.pid, COALESCE(NULLIF(session.application_name, ''), 'unnamed') AS application,
                        session.xact_start AS since, string_agg(DISTINCT held.relname, ', ') AS tables
                 FROM pg_stat_activity AS session
                 JOIN (SELECT pg_locks.pid, pg_class.relname FROM pg_locks JOIN pg_class ON pg_class.oid = pg_locks.relation
                       WHERE pg_locks.granted AND pg_locks.locktype = 'relation'
                         AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
                         -- Ours are beside the clients.
                         AND pg_class.relkind = 'r'
                         AND pg_class.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'clients'::REGCLASS)
                         AND pg_locks.mode IN ('RowShareLock', 'RowExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock',
                                               'ExclusiveLock', 'AccessExclusiveLock')) AS held ON held.pid = session.pid
                 WHERE session.datname = current_database() AND session.pid <> pg_backend_pid()
                   AND session.backend_type = 'client backend' AND session.wait_event_type IS DISTINCT FROM 'Lock'
                   -- Without the right to see more of it than its locks, a session has no state.
                   AND (session.state IS NULL
                        OR session.xact_start < clock_timestamp()
                                                - make_interval(secs => CASE WHEN session.application_name LIKE 'jobrun%'
                                                                             THEN $2::FLOAT8 ELSE $1::FLOAT8 END))
                 GROUP BY session.pid, session.application_name, session.xact_start
                 ORDER BY session.xact_start LIMIT $3) AS oldest
           ORDER BY pid"#,
        open_for.as_seconds_f64(),
        OURS_OPEN_FOR.as_seconds_f64(),
        max
    );
    Ok(blockers.fetch_all(conn).await?)
}
