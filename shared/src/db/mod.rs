//! The rows: one file for each table, plain functions over a connection, and the errors they share.
//!
//! Functions take slices, say in their name when they lock, and check how many rows they touched. None of them commits:
//! whoever began a transaction ends it. Locks are taken in one order everywhere: clients by id, then the pool.

pub mod alerts;

pub mod audits;

pub mod blockers;

pub mod clients;

mod connect_error;

mod connection;

pub mod events;

pub mod find_client;

mod halves;

pub mod installation;

pub mod levels;

pub mod messages;

mod number_changes;

pub mod ownerless;

pub mod pool;

pub mod purchases;

pub mod sending;

pub mod subscriptions;

pub mod stories;

pub mod sweeps;

mod tls;

pub mod waiting_list;

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgQueryResult};
use sqlx::{ConnectOptions, PgPool, Postgres, Transaction};

pub use connect_error::{ConnectError, Reason};
pub(crate) use connection::{ANSWERS_WITHIN, ASKED_EVERY};
pub use connection::{ConnectionLost, Connections, Health, Unfit, connect, connect_watched, watch};
pub use halves::Halves;

use crate::config::Secret;

/// Our migrations; apalis's own are [`crate::queue::migrations`].
pub static MIGRATOR: Migrator = sqlx::migrate!("../migrations");

/// What can go wrong with the rows.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database refused, or could not be reached.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// A statement touched another number of rows than its purpose allows.
    #[error("{what} touched {actual} rows where {expected} were meant")]
    RowCount {
        /// The statement's purpose.
        what: &'static str,
        /// How many rows it should have touched.
        expected: usize,
        /// How many it touched.
        actual: u64,
    },
    /// A row holds what no version of the program writes.
    #[error("{table} of client {client_id} holds what cannot be read: {column}")]
    Unreadable {
        /// The table.
        table: &'static str,
        /// Whose row it is.
        client_id: String,
        /// The column.
        column: &'static str,
    },
    /// The pool holds something that is not a number.
    #[error("twilio_number_pool holds an entry that is not a phone number in E.164 form")]
    UnreadableNumber,
    /// The database is marked with a kind of account that no version of the program writes.
    #[error("installation holds what cannot be read: account_kind")]
    UnreadableInstallation,
    /// The job queue refused.
    #[error("queue: {0}")]
    Queue(#[from] crate::queue::Error),
    /// The server does not answer any more.
    #[error(transparent)]
    Lost(#[from] ConnectionLost),
}

impl Error {
    /// Whether the rows themselves are at fault, so that trying again with the same rows fails again. Everything else, such
    /// as a lost connection or a deadlock, passes.
    #[must_use]
    pub fn is_of_the_rows(&self) -> bool {
        match self {
            // Class 22 is bad data, class 23 a violated constraint, class 54 data beyond the database's own limits.
            Self::Database(sqlx::Error::Database(_)) => {
                self.sqlstate().is_some_and(|code| ["22", "23", "54"].iter().any(|class| code.starts_with(class)))
            }
            Self::Database(sqlx::Error::ColumnDecode { .. }) => true,
            Self::Database(_) | Self::Queue(_) | Self::Lost(_) => false,
            Self::RowCount { .. } | Self::Unreadable { .. } | Self::UnreadableNumber | Self::UnreadableInstallation => {
                true
            }
        }
    }

    /// Whether a lock was not to be had in time (55P03). The same may succeed as soon as another session gives it up.
    #[must_use]
    pub fn is_lock_timeout(&self) -> bool {
        self.sqlstate().as_deref() == Some("55P03")
    }

    /// Whether the connection is lost, or its server is not what it was: it takes no writes any more (25006), or shuts down
    /// (57P01 to 57P03). Other connections of that time are not to be relied upon either.
    #[must_use]
    pub fn is_of_the_connection(&self) -> bool {
        match self.of_the_driver() {
            Some(sqlx::Error::Io(_) | sqlx::Error::Protocol(_)) => true,
            _ => self.sqlstate().is_some_and(|code| ["25006", "57P", "08"].iter().any(|it| code.starts_with(it))),
        }
    }

    fn sqlstate(&self) -> Option<String> {
        Some(self.of_the_driver()?.as_database_error()?.code()?.into_owned())
    }

    /// The error as the driver gave it, to us or to the queue.
    const fn of_the_driver(&self) -> Option<&sqlx::Error> {
        match self {
            Self::Database(error) | Self::Queue(crate::queue::Error::Database(error)) => Some(error),
            _ => None,
        }
    }
}

/// Fails unless a statement touched as many rows as its purpose requires.
pub(crate) fn ensure_rows(result: &PgQueryResult, expected: usize, what: &'static str) -> Result<(), Error> {
    if result.rows_affected() == expected as u64 {
        Ok(())
    } else {
        Err(Error::RowCount { what, expected, actual: result.rows_affected() })
    }
}

/// How long the statements of a transaction wait for locks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Patience {
    /// As long as the connection's settings say.
    #[default]
    Usual,
    /// Not longer than another's commit takes, because something of the same slice has waited in vain.
    Short,
}

/// Begins a transaction whose statements wait for locks with `patience`, before they fail as [`Error::is_lock_timeout`] says.
///
/// # Errors
/// When the database does not answer.
pub async fn begin(pool: &PgPool, patience: Patience) -> Result<Transaction<'static, Postgres>, Error> {
    let mut tx = pool.begin().await?;
    if patience == Patience::Short {
        sqlx::query_scalar!("SELECT set_config('lock_timeout', '10ms', TRUE)").fetch_one(&mut *tx).await?;
    }
    Ok(tx)
}

/// Commits `tx` if the work in it succeeded. Otherwise rolls it back, and returns the error once its locks are given up.
///
/// A transaction that is merely dropped is rolled back some time later. Until then, a second attempt on another connection would
/// find the locks of the first, and leave out rows that no other session holds.
///
/// # Errors
/// The error of the work, or that of ending the transaction.
pub async fn finish<T>(tx: Transaction<'static, Postgres>, work: Result<T, Error>) -> Result<T, Error> {
    match work {
        Ok(done) => {
            tx.commit().await?;
            Ok(done)
        }
        Err(error) => {
            tx.rollback().await?;
            Err(error)
        }
    }
}

/// How many of the oldest rows of a table are looked at, and at most removed, in one statement.
const LOOKED_AT: i64 = 1_000;

/// A transaction that only reads, and in which every statement sees the same moment: what is pieced together from several
/// tables must not show an answer without its question.
///
/// # Errors
/// When the database does not answer.
pub async fn snapshot(pool: &PgPool) -> Result<Transaction<'static, Postgres>, Error> {
    Ok(pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?)
}

/// The address of the database `name` on the server of the database at `url`.
///
/// # Errors
/// [`ConnectError::Url`], when `url` cannot be read.
pub fn sibling_url(url: &Secret, name: &str) -> Result<Secret, ConnectError> {
    let options: PgConnectOptions = url.expose().parse().map_err(ConnectError::Url)?;
    Ok(Secret::new(options.database(name).to_url_lossy().to_string()))
}

/// Fails unless every migration that this program knows has been applied. Newer ones may have been: the previous version
/// keeps running while its successor starts.
///
/// # Errors
/// [`ConnectError::NotMigrated`], [`ConnectError::Hidden`], or [`ConnectError::Unreachable`] when the database does not answer.
pub async fn ensure_migrated(pool: &PgPool) -> Result<(), ConnectError> {
    let address = connect_error::address_of(&pool.connect_options());
    let unreachable = |error| ConnectError::Unreachable { address: address.clone(), error };
    let applied = applied_migrations(pool).await.map_err(unreachable)?;
    let (ours, all) = (MIGRATOR.iter().filter(|it| !applied.contains(&it.version)).count(), MIGRATOR.iter().count());
    if ours == all
        && let Some(schema) = find_hidden_tables(pool).await.map_err(unreachable)?
    {
        return Err(ConnectError::Hidden { schema });
    }
    if ours > 0 {
        return Err(ConnectError::NotMigrated { missing: format!("{ours} of {all} steps are missing") });
    }
    if !crate::queue::is_migrated(pool).await.map_err(unreachable)? {
        return Err(ConnectError::NotMigrated { missing: "the job queue's tables are missing".to_owned() });
    }
    Ok(())
}

/// The schema that our tables are in, if it is not one that we look into. The catalogue may be read by every role.
async fn find_hidden_tables(pool: &PgPool) -> Result<Option<String>, sqlx::Error> {
    let hidden = "SELECT relnamespace::REGNAMESPACE::TEXT FROM pg_class
                  WHERE relname = 'twilio_number_pool' AND relkind = 'r' AND NOT pg_table_is_visible(oid) LIMIT 1";
    sqlx::query_scalar(hidden).fetch_optional(pool).await
}

/// Checked when it runs and not when it compiles: the table in question is made by the migrator.
async fn applied_migrations(pool: &PgPool) -> Result<Vec<i64>, sqlx::Error> {
    let exists: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL").fetch_one(pool).await?;
    if !exists {
        return Ok(Vec::new());
    }
    sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success").fetch_all(pool).await
}
