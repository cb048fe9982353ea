//! Facts about the database server, for `jobrun doctor`. This module judges none of them.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::Error;

/// Facts about the database server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFacts {
    /// Its version, such as `15.8`.
    pub version: String,
    /// Its version, such as 150008.
    pub version_number: i32,
    /// The role that we are connected as.
    pub role: String,
    /// Whether that role may do everything.
    pub is_superuser: bool,
    /// Whether this connection is encrypted.
    pub is_encrypted: bool,
    /// Whether the server runs on this machine.
    pub is_local: bool,
    /// Whether it keeps what it acknowledged when the power fails.
    pub survives_power_cuts: bool,
    /// Its `synchronous_commit`.
    pub synchronous_commit: String,
    /// The most connections that it takes.
    pub max_connections: i32,
    /// With the most connections, its number of locks.
    pub max_locks_per_transaction: i32,
    /// The time by its clock.
    pub now: DateTime<Utc>,
    /// When the oldest transaction of another session began.
    pub oldest_transaction: Option<DateTime<Utc>>,
    /// Whether we see since when the transactions of other roles have been open.
    pub sees_others: bool,
}

/// Returns facts about the server.
pub async fn find_facts(conn: &mut PgConnection) -> Result<ServerFacts, Error> {
    Ok(sqlx::query_file_as!(ServerFacts, "src/db/server_facts.sql").fetch_one(conn).await?)
}

/// Returns whether any event of Stripe's has ever arrived.
pub async fn knows_stripe(conn: &mut PgConnection) -> Result<bool, Error> {
    let known = sqlx::query_scalar!(r#"SELECT EXISTS (SELECT FROM payment_events) AS "knows_stripe!""#);
    Ok(known.fetch_one(conn).await?)
}
