//! The database: a file for each smaller table, a folder for the inbox, the outbox and the numbers, and the errors that
//! they share. Functions are plain and take a connection. They take several rows at once, say in their name or docs when
//! they lock, and check how many rows they touched.
//!
//! Every function that takes the pool commits what it writes ([`inbox::record()`], [`outbox::claim_unknown()`] and others), as
//! do [`finish`] for the transaction that it is given, and [`numbers::purchases::intend`],
//! [`numbers::purchases::save_bought`] and [`numbers::purchases::save_not_bought`] for the one that they begin; every
//! other function leaves the commit to its caller. [`begin`] and [`snapshot`] begin a transaction that the caller ends. A commit returns once the disk has it, and the
//! standby if there is one. Only the queue waits for neither, when it announces, takes or ends a job: [`crate::queue`].
//!
//! Locks are taken in one order everywhere. `shared/README.md` has the full list, and says why it has no deadlock.
//!
//! # Errors
//! Every function that returns [`Error`] returns it when the database cannot be reached, refuses the statement, or does
//! not answer in time. The docs of a function name only the errors beyond that.

pub mod alert_deliveries;

pub mod alerts;

pub mod audit_log;

pub mod audits;

mod bisect;

pub mod blockers;

pub mod bulk_actions;

pub mod calls;

pub mod cases;

pub mod clients;

mod connect;

mod connect_error;

pub mod console;

pub mod erasures;

pub mod find_client;

pub mod forwarding_checks;

pub mod gauges;

pub mod history;

pub mod inbox;

pub mod installation;

pub mod leases;

pub mod listing;

mod migrate;

pub mod number_checks;

pub mod numbers;

mod operator_words;

mod outage;

pub mod outbox;

pub mod person;

pub mod phone_changes;

pub mod reminders;

pub mod restores;

pub mod server;

pub mod stops;

pub mod stripe_audits;

pub mod subscriptions;

pub mod sweeps;

pub mod text_back;

mod tls;

pub mod voicemails;

pub mod waiting_list;

use secrecy::ExposeSecret;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgQueryResult};
use sqlx::{ConnectOptions, PgPool, Postgres, Transaction};

pub use bisect::Bisect;
pub(crate) use connect::{ANSWERS_WITHIN, ASKED_EVERY};
pub use connect::{ConnectionLost, Connections, Health, connect, connect_watched, watch};
pub use connect_error::{BrokenConnection, ConnectError, Reason, Unfit};
pub use migrate::{MigrateError, make_roles, migrate, uses_roles};
pub use outage::Outage;

use secrecy::SecretString;

/// Our migrations; apalis's own are [`crate::queue::migrations`].
pub static MIGRATOR: Migrator = sqlx::migrate!("../migrations");

/// An error of the database, or of the rows in it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database refuses the statement, or cannot be reached.
    #[error("database: {}", BrokenConnection(.0))]
    Database(#[from] sqlx::Error),
    /// A statement touched more or fewer rows than its purpose allows.
    #[error("{what} touched {actual} rows where {expected} were meant")]
    RowCount {
        /// The statement's purpose.
        what: &'static str,
        /// How many rows it should have touched.
        expected: usize,
        /// How many it touched.
        actual: u64,
    },
    /// A row holds a value that no version of the program writes.
    #[error("{table} of client {client_id} holds what cannot be read: {column}")]
    Unreadable {
        /// The table.
        table: &'static str,
        /// The client that the row belongs to: `clients.id`.
        client_id: String,
        /// The column.
        column: &'static str,
    },
    /// The pool holds an entry that is not a phone number.
    #[error("twilio_number_pool holds an entry that is not a phone number in E.164 form")]
    UnreadableNumber,
    /// The database is marked with a kind of account that no version of the program writes.
    #[error("installation holds what cannot be read: account_kind")]
    UnreadableInstallation,
    /// The job queue refuses the job.
    #[error("queue: {0}")]
    Queue(#[from] crate::queue::Error),
    /// The connections were given up because the server does not answer.
    #[error(transparent)]
    Lost(#[from] ConnectionLost),
}

impl Error {
    /// Returns whether the rows themselves are at fault, so that the same rows fail again. Every other error, such as a
    /// lost connection or a deadlock, may pass.
    #[must_use]
    pub fn is_of_the_rows(&self) -> bool {
        match self {
            // Class 22 is bad data, class 23 a violated constraint, class 54 data beyond the database's limits.
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

    /// Returns whether a lock was not granted in time (55P03). A retry may succeed once the other session releases it.
    #[must_use]
    pub fn is_lock_timeout(&self) -> bool {
        self.sqlstate().as_deref() == Some("55P03")
    }

    /// Returns whether the connection is lost, or its server takes no more writes (25006) or shuts down (57P01 to
    /// 57P03). Other connections opened before this error cannot be relied upon either.
    #[must_use]
    pub fn is_of_the_connection(&self) -> bool {
        match self.of_the_driver() {
            Some(sqlx::Error::Io(_) | sqlx::Error::Protocol(_)) => true,
            _ => self.sqlstate().is_some_and(|code| ["25006", "57P", "08"].iter().any(|it| code.starts_with(it))),
        }
    }

    /// The classes of errors, for metrics.
    pub(crate) const CLASSES: [&str; 14] =
        ["08", "22", "23", "25", "40", "53", "54", "55", "57", "58", "io", "pool", "rows", "other"];

    /// Returns the class of the error, for metrics: that of its SQLSTATE, if it is one that operators look for.
    #[must_use]
    pub fn class(&self) -> &'static str {
        match (self, self.sqlstate()) {
            (_, Some(code)) => Self::CLASSES.into_iter().find(|class| code.starts_with(class)).unwrap_or("other"),
            (Self::RowCount { .. } | Self::Unreadable { .. }, _) => "rows",
            (Self::UnreadableNumber | Self::UnreadableInstallation, _) => "rows",
            (Self::Lost(_), _) => "io",
            (Self::Database(_) | Self::Queue(_), None) => match self.of_the_driver() {
                Some(sqlx::Error::Io(_) | sqlx::Error::Protocol(_)) => "io",
                Some(sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed) => "pool",
                _ => "other",
            },
        }
    }

    fn sqlstate(&self) -> Option<String> {
        Some(self.of_the_driver()?.as_database_error()?.code()?.into_owned())
    }

    /// Returns the driver's error, whether it reached us directly or through the queue.
    const fn of_the_driver(&self) -> Option<&sqlx::Error> {
        match self {
            Self::Database(error) | Self::Queue(crate::queue::Error::Database(error)) => Some(error),
            _ => None,
        }
    }
}

/// Fails unless a statement touched as many rows as its purpose requires.
pub(crate) fn ensure_rows(result: &PgQueryResult, expected: usize, what: &'static str) -> Result<(), Error> {
    ensure_count(result.rows_affected(), expected, what)
}

/// As [`ensure_rows`], for a part of a statement that counts its rows itself.
pub(crate) fn ensure_count(actual: u64, expected: usize, what: &'static str) -> Result<(), Error> {
    if actual == expected as u64 { Ok(()) } else { Err(Error::RowCount { what, expected, actual }) }
}

/// How long the statements of a transaction wait for a lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Patience {
    /// As long as the connection's settings allow.
    #[default]
    Usual,
    /// At most 10 ms, about the time of another's commit: part of the same batch has already timed out on a lock.
    Short,
}

/// Begins a transaction whose statements wait for locks with `patience`, and then fail with an error that
/// [`Error::is_lock_timeout`] recognises.
pub async fn begin(pool: &PgPool, patience: Patience) -> Result<Transaction<'static, Postgres>, Error> {
    let mut tx = pool.begin().await?;
    if patience == Patience::Short {
        sqlx::query_scalar!("SELECT set_config('lock_timeout', '10ms', TRUE)").fetch_one(&mut *tx).await?;
    }
    Ok(tx)
}

/// Commits `tx` if its work succeeded. Otherwise rolls it back, and returns the error once its locks are released.
///
/// A dropped transaction is rolled back later. Until then, a second attempt on another connection would find the locks
/// of the first, and skip rows that no other session holds.
///
/// # Errors
/// The error of the work, or the error of ending the transaction.
pub async fn finish<T>(tx: Transaction<'_, Postgres>, work: Result<T, Error>) -> Result<T, Error> {
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

/// How many of the oldest rows of a table one statement looks at, and at most removes.
const LOOKED_AT: i64 = 1_000;

/// Begins a read-only transaction in which every statement sees the same moment. A view built from several tables must
/// not show an answer without its question.
pub async fn snapshot(pool: &PgPool) -> Result<Transaction<'static, Postgres>, Error> {
    Ok(pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?)
}

/// Returns the address of the database `name` on the server of the database at `url`.
///
/// # Errors
/// [`ConnectError::Url`], when `url` cannot be read.
pub fn sibling_url(url: &SecretString, name: &str) -> Result<SecretString, ConnectError> {
    let options: PgConnectOptions = url.expose_secret().parse().map_err(ConnectError::Url)?;
    Ok(SecretString::from(options.database(name).to_url_lossy().to_string()))
}

/// Fails unless every migration that this program knows has been applied. Newer migrations are accepted: the previous
/// version keeps running while its successor starts.
///
/// # Errors
/// [`ConnectError::NotMigrated`], [`ConnectError::Hidden`], or [`ConnectError::Unreachable`].
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

/// Returns the schema of our tables if it is not in the search path. Every role may read the catalogue.
async fn find_hidden_tables(pool: &PgPool) -> Result<Option<String>, sqlx::Error> {
    let hidden = "SELECT relnamespace::REGNAMESPACE::TEXT FROM pg_class
                  WHERE relname = 'twilio_number_pool' AND relkind = 'r' AND NOT pg_table_is_visible(oid) LIMIT 1";
    sqlx::query_scalar(hidden).fetch_optional(pool).await
}

/// Checked at run time and not at compile time: the migrator creates this table.
async fn applied_migrations(pool: &PgPool) -> Result<Vec<i64>, sqlx::Error> {
    let exists: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL").fetch_one(pool).await?;
    if !exists {
        return Ok(Vec::new());
    }
    sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success").fetch_all(pool).await
}
