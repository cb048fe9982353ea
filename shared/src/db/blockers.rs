//! Sessions that hold locks for long, such as a `psql` with an open transaction: what the workers wait for.
//!
//! Nothing here ends a session: that is for an operator, who is told which one it is.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;

use super::Error;
use super::alerts::{self, NewAlert};

/// Our own transactions take milliseconds, and some of the command line's seconds. Another session's transaction that is open
/// for longer than this, and holds locks on our tables, is in the way.
const OPEN_FOR: TimeDelta = TimeDelta::seconds(1);

/// A program of ours whose transaction is open for longer than this hangs.
const OURS_OPEN_FOR: TimeDelta = TimeDelta::seconds(30);

/// This many sessions are named at most. The next look names the others.
const NAMED_MAX: i64 = 5;

/// How the causes of these alerts begin; the number of the session follows.
const CAUSE: &str = "blocked-by:";

/// A session whose open transaction has locked tables of ours, or rows of them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Blocker {
    /// The number of its server process.
    pid: i32,
    /// What it calls itself.
    application: String,
    /// Since when its transaction is open; empty where the rights to see it are missing.
    since: Option<DateTime<Utc>>,
    /// The tables.
    tables: String,
}

impl Blocker {
    fn alert(&self) -> NewAlert {
        let Self { pid, application, since, tables } = self;
        let since = since.map_or_else(|| "some time".to_owned(), |at| at.format("%Y-%m-%d %H:%M:%S UTC").to_string());
        NewAlert {
            cause: format!("{CAUSE}{pid}"),
            about: format!(
                "Session {pid} ({application}) has had a transaction open since {since}, and holds locks on {tables} while workers \
                 wait for locks. Commit it or roll it back there, or end it: SELECT pg_terminate_backend({pid})."
            ),
        }
    }
}

/// Raises an alert about each session whose transaction has held locks for long, or brings its words up to date. Returns those
/// that are new.
///
/// # Errors
/// When the database does not answer.
pub async fn alert(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<Vec<NewAlert>, Error> {
    let mut new = Vec::new();
    // By number, so that two transactions never wait for each other.
    for blocker in list(conn, OPEN_FOR, Some(NAMED_MAX)).await? {
        let alert = blocker.alert();
        if alerts::raise_lasting(conn, &alert, now).await? {
            new.push(alert);
        }
    }
    Ok(new)
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
    let still = list(conn, TimeDelta::zero(), None).await?;
    over.retain(|cause| still.iter().all(|it| it.alert().cause != *cause));
    alerts::clear(conn, &over, now).await
}

/// The sessions of this database whose transactions are open for longer than `open_for`, or [`OURS_OPEN_FOR`] if they are of a
/// program of ours, and hold locks that others may wait for on tables of ours: the oldest `max` of them, or all, by number. A session that waits for
/// another's lock itself is not among them.
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
