//! Clients that do not get on by themselves.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;

use crate::db::Error;

/// A client is looked at if it began within this time, and is among the newest so many.
pub const STUCK_DAYS: TimeDelta = TimeDelta::days(60);
/// The most clients that are looked at.
pub const STUCK_LOOKED_AT: i64 = 5_000;

/// A client is stuck in a state that it has not left for so long.
const SILENT_FOR: TimeDelta = TimeDelta::hours(24);

/// How many clients are listed for each reason, and the most that are counted.
const LISTED: i64 = 5;
/// A reason with so many clients may have more.
pub const STUCK_COUNTED: i64 = 100;

/// Why a client does not get on, the most urgent reason first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StuckReason {
    /// It paid, waits for a number, and the promised time has passed.
    NumberLate,
    /// It paid, and texts do not reach it.
    Unreachable,
    /// It paid, and opted out of texts.
    OptedOut,
    /// It paid and has a number, and has not finished setting up.
    SetUpUnfinished,
    /// It paid, and has not confirmed.
    NotConfirmed,
    /// It was sent the payment link, and has not paid.
    NotPaid,
}

impl StuckReason {
    /// Every reason, in order.
    pub const ALL: [Self; 6] =
        [Self::NumberLate, Self::Unreachable, Self::OptedOut, Self::SetUpUnfinished, Self::NotConfirmed, Self::NotPaid];
}

/// A client that does not get on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StuckClient {
    /// `clients.id`.
    pub id: String,
    /// The name of the business.
    pub business_name: String,
    /// The phone, digits without the plus sign.
    pub phone: String,
    /// The state of the conversation.
    pub state: String,
    /// Since when it has not moved.
    pub since: DateTime<Utc>,
    /// Why.
    pub reason: StuckReason,
    /// How many clients are stuck for this reason, [`STUCK_COUNTED`] at most.
    pub alike: i64,
}

/// Returns clients that do not get on: the most urgent reason first, and a few of each, the longest first.
pub async fn list_stuck(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<Vec<StuckClient>, Error> {
    let rows = sqlx::query_file!(
        "src/db/listing/list_stuck.sql",
        now - STUCK_DAYS,
        STUCK_LOOKED_AT,
        now - SILENT_FOR,
        now,
        LISTED,
        STUCK_COUNTED
    );
    let rows = rows.fetch_all(conn).await?.into_iter().filter_map(|row| {
        let reason = StuckReason::ALL.get(usize::try_from(row.reason).ok()?).copied()?;
        Some(StuckClient {
            id: row.id,
            business_name: row.business_name,
            phone: row.phone,
            state: row.state,
            since: row.since,
            reason,
            alike: row.alike,
        })
    });
    Ok(rows.collect())
}
