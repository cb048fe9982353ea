//! Everything that is held about a person, for the person: `jobrun client export`.
//!
//! The rows are given as they are stored, by table. Calls to the client's number name their callers: that is data about the client's
//! calls, and about the callers. Rows of other clients are never among them.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use sqlx::PgPool;

use crate::db::audit_log::{self, Action, Actor};
use crate::db::person::{self, Rows};
use crate::db::{self, snapshot};
use crate::refusal::Refusal;

/// What the reader of an export is told about it.
pub const ABOUT_CALLERS: &str =
    "The numbers of callers are data about the client's calls, and about the callers: do not publish them.";

/// Everything that is held about a person.
#[derive(Clone, Debug, PartialEq)]
pub struct Export {
    /// `clients.id`.
    pub client_id: String,
    /// When it was read.
    pub exported_at: DateTime<Utc>,
    /// The rows, by table, as of that time.
    pub tables: Vec<Rows>,
    /// Stripe's names of the payer, who is known there as well.
    pub stripe_customers: Vec<String>,
}

impl Export {
    /// Returns one object, in which each table is a list of rows.
    #[must_use]
    pub fn as_json(&self) -> Value {
        let tables: Map<String, Value> =
            self.tables.iter().map(|it| (it.table.to_owned(), Value::Array(it.rows.clone()))).collect();
        json!({
            "clientId": self.client_id,
            "exportedAt": self.exported_at,
            "aboutCallers": ABOUT_CALLERS,
            "stripeCustomers": self.stripe_customers,
            "tables": tables,
        })
    }

    /// Returns how many rows of `table` there are.
    #[must_use]
    pub fn count(&self, table: &str) -> usize {
        self.tables.iter().filter(|it| it.table == table).map(|it| it.rows.len()).sum()
    }
}

/// Reads everything about a client, as of one moment. Records nothing.
///
/// # Errors
/// [`Refusal::NoSuchClient`], or when the database fails.
pub async fn read(pool: &PgPool, client_id: &str, now: DateTime<Utc>) -> Result<Export, Refusal> {
    let mut tx = snapshot(pool).await?;
    let person = person::find(&mut tx, client_id).await?.ok_or(Refusal::NoSuchClient)?;
    let tables = person::list_rows(&mut tx, &person).await?;
    Ok(Export { client_id: client_id.to_owned(), exported_at: now, tables, stripe_customers: person.customers })
}

/// Reads everything about a client, and records in the audit log that the operator `by` did. Commits.
///
/// # Errors
/// As [`read`].
pub async fn export(pool: &PgPool, client_id: &str, by: &Actor, now: DateTime<Utc>) -> Result<Export, Refusal> {
    let export = read(pool, client_id, now).await?;
    let rows: usize = export.tables.iter().map(|it| it.rows.len()).sum();
    let action = Action { name: "client.exported", subject: Some(client_id), details: json!({ "rows": rows }) };
    let mut tx = pool.begin().await?;
    audit_log::record(&mut tx, by, &action, now).await?;
    tx.commit().await.map_err(db::Error::from)?;
    Ok(export)
}
