//! The rows: one file for each table, plain functions over a connection, and the errors they share.
//!
//! Functions take slices, say in their name when they lock, and check how many rows they touched. None of them commits:
//! whoever began a transaction ends it. Locks are taken in one order everywhere: clients by id, then the pool.

pub mod alerts;

pub mod audits;

pub mod clients;

mod connect_error;

pub mod events;

pub mod find_client;

mod halves;

pub mod levels;

pub mod messages;

mod number_changes;

pub mod pool;

pub mod purchases;

pub mod sending;

pub mod subscriptions;

pub mod stories;

mod tls;

pub mod waiting_list;

use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgQueryResult};
use sqlx::{ConnectOptions, Connection, PgPool, Postgres, Transaction};

pub use connect_error::{ConnectError, Reason};
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
    /// The job queue refused.
    #[error("queue: {0}")]
    Queue(#[from] crate::queue::Error),
}

impl Error {
    /// Whether the rows themselves are at fault, so that trying again with the same rows fails again. Everything else, such
    /// as a lost connection or a deadlock, passes.
    #[must_use]
    pub fn is_of_the_rows(&self) -> bool {
        match self {
            // Class 22 is bad data, class 23 a violated constraint, class 54 data beyond the database's own limits.
            Self::Database(sqlx::Error::Database(error)) => {
                error.code().is_some_and(|code| ["22", "23", "54"].iter().any(|class| code.starts_with(class)))
            }
            Self::Database(sqlx::Error::ColumnDecode { .. }) => true,
            Self::Database(_) | Self::Queue(_) => false,
            Self::RowCount { .. } | Self::Unreadable { .. } | Self::UnreadableNumber => true,
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

/// How many of the oldest rows of a table are looked at, and at most removed, in one statement.
const LOOKED_AT: i64 = 1_000;

/// How long a database may take to let a program in that starts.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// How many connections a program has to its database.
#[derive(Clone, Copy, Debug)]
pub struct Connections {
    /// Opened before anything else happens, and kept open: opening one takes longer than most of what it is used for.
    pub kept: u32,
    /// Never more than this.
    pub max: u32,
    /// How long somebody who needs one waits for it.
    pub acquire_timeout: Duration,
}

/// How our connections differ from others.
///
/// Queries are planned once each, and by an index wherever there is one: what the planner would choose by itself for a table that
/// is empty, it would go on using while the table grows; and compiling a plan takes longer than carrying out any of ours. And
/// whoever stops in the middle of a transaction, such as a machine that was put to sleep, does not keep its locks for ever.
const SETTINGS: [(&str, &str); 4] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("jit", "off"),
    ("idle_in_transaction_session_timeout", "60s"),
];

/// Opens connections, and so makes sure that the database answers.
///
/// # Errors
/// When it does not, with its address but never with the password.
pub async fn connect(url: &Secret, connections: Connections) -> Result<PgPool, ConnectError> {
    let options: PgConnectOptions = url.expose().parse().map_err(ConnectError::Url)?;
    // A statement that takes long is for the database's own log to show, not for ours.
    let options = options.disable_statement_logging().options(SETTINGS);
    tls::warn_if_unverified(&options);
    let address = connect_error::address_of(&options);
    // The pool would try until its time is up, and then say only that it is.
    let probe = async { options.connect().await?.close().await };
    let answered = tokio::time::timeout(ANSWER_WITHIN, probe).await.unwrap_or(Err(sqlx::Error::PoolTimedOut));
    answered.map_err(|error| ConnectError::Unreachable { address: address.clone(), error })?;
    let pool = PgPoolOptions::new()
        .min_connections(connections.kept)
        .max_connections(connections.max)
        .acquire_timeout(connections.acquire_timeout)
        .connect_lazy_with(options);
    let mut open = Vec::new();
    for _ in 0..connections.kept {
        open.push(pool.acquire().await.map_err(|error| ConnectError::Unreachable { address: address.clone(), error })?);
    }
    drop(open);
    Ok(pool)
}

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
