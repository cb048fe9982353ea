//! The kind of account that a database belongs to. The first program that starts on a database marks it; a program with
//! an account of the other kind does not start on it.

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use super::Error;
use crate::config::{AccountKind, Problems};

/// The mark of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// The id of this database's history. A database that was created anew has another id.
    pub id: String,
    /// The kind of account that it belongs to.
    pub account_kind: AccountKind,
}

impl Installation {
    /// Fails if a program with an account of the kind `ours` must not work on this database.
    ///
    /// # Errors
    /// A problem that names the kind of account that the database belongs to, and the remedy.
    pub fn ensure_is_of(&self, ours: AccountKind) -> Result<(), Problems> {
        let problem = match (self.account_kind, ours) {
            (AccountKind::Real, AccountKind::Real) | (AccountKind::StandIn, AccountKind::StandIn) => return Ok(()),
            (AccountKind::Real, AccountKind::StandIn) => {
                "the database has been used with a real account at Twilio, and this is the stand-in's: set \
                 TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN to the real account, or use another database (DATABASE_URL, or \
                 another folder with `jobrun up --data`)"
            }
            (AccountKind::StandIn, AccountKind::Real) => {
                "the database has been used with the stand-in, and TWILIO_ACCOUNT_SID is a real account: use another \
                 database (DATABASE_URL, or another folder with `jobrun up --data`), because the clients and payments in \
                 this one are made up"
            }
        };
        Err(Problems::one(problem))
    }
}

/// Marks a database that has no mark yet, and returns its mark. If two programs start at once, one of them marks it.
pub async fn mark(pool: &PgPool, ours: AccountKind, now: DateTime<Utc>) -> Result<Installation, Error> {
    let mark = sqlx::query!(
        "INSERT INTO installation (account_kind, marked_at) VALUES ($1, $2) ON CONFLICT (one_row) DO NOTHING",
        ours.name(),
        now
    );
    mark.execute(pool).await?;
    read(pool).await?.ok_or(Error::RowCount { what: "marking the database", expected: 1, actual: 0 })
}

/// Returns the mark of a database, or `None` if the database is older than the table of marks.
pub async fn find(pool: &PgPool) -> Result<Option<Installation>, Error> {
    let exists = sqlx::query_scalar!(r#"SELECT to_regclass('installation') IS NOT NULL AS "exists!""#);
    if exists.fetch_one(pool).await? { read(pool).await } else { Ok(None) }
}

async fn read(pool: &PgPool) -> Result<Option<Installation>, Error> {
    let row = sqlx::query!("SELECT id, account_kind FROM installation").fetch_optional(pool).await?;
    let read = |kind: &str| AccountKind::named(kind).ok_or(Error::UnreadableInstallation);
    row.map(|row| Ok(Installation { account_kind: read(&row.account_kind)?, id: row.id })).transpose()
}
