//! Keeps numbers for the clients that were told them, after a restore of the database that has lost the assignment.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use jobrun_onboarding::E164;
use sqlx::PgConnection;

use super::assign::return_to_pool;
use super::changes::{self, Change};
use super::lock::lock_allocation_exclusive;
use crate::db::Error;

/// A number that a text told a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The client's phone.
    pub phone: E164,
    /// The number.
    pub number: E164,
}

/// What became of a number that a text told a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// The client holds it.
    Holds,
    /// It cools down for the client, who gets it back.
    CoolsDown,
    /// The pool lacks it.
    NotInPool,
    /// Another client holds it, or the pool says so.
    HeldByOther,
    /// Another client was told it later, and it cools down for that one.
    ToldToOther,
    /// It cools down for the client, who still holds this other number, which it replaced.
    HoldsOther(String),
}

impl Kept {
    fn of(row: &Row, is_told_last: bool) -> Self {
        match (row.status.as_deref(), &row.client_number) {
            (None, _) => Self::NotInPool,
            (Some(_), Some(held)) if *held == row.number => Self::Holds,
            (Some("ASSIGNED"), _) => Self::HeldByOther,
            _ if row.is_held => Self::HeldByOther,
            _ if !is_told_last => Self::ToldToOther,
            (Some(_), Some(held)) => Self::HoldsOther(held.clone()),
            (Some(_), None) => Self::CoolsDown,
        }
    }

    const fn cools_down_for_the_client(&self) -> bool {
        matches!(self, Self::CoolsDown | Self::HoldsOther(_))
    }
}

struct Row {
    number: String,
    client_id: String,
    client_number: Option<String>,
    status: Option<String>,
    is_held: bool,
    /// Until when it cools down for the client already.
    kept_until: Option<DateTime<Utc>>,
}

/// Lets numbers that no client holds cool down until `until`, each for the client that was told it: no other client is
/// given it. `told` is in the order in which they were told; a number that several clients were told is kept for the last of them.
/// Returns for each of `told`, in order, what became of it. A phone must belong to a client.
///
/// Repeated, this only prolongs the time, and the history has no further step.
///
/// Takes the allocation lock exclusively, and locks the pool rows that it changes.
pub async fn keep_told(
    conn: &mut PgConnection,
    told: &[Told],
    until: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<Vec<Kept>, Error> {
    const WHY: &str = "told to the client before the restore";
    if told.is_empty() {
        return Ok(Vec::new());
    }
    lock_allocation_exclusive(conn).await?;
    let phones: Vec<&str> = told.iter().map(|it| it.phone.digits()).collect();
    let numbers: Vec<&str> = told.iter().map(|it| it.number.as_str()).collect();
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT told.number AS "number!", c.id AS client_id, c."twilioNumber" AS client_number, pool.status AS "status?",
                  CASE WHEN pool.status = 'COOLING_DOWN' AND pool.last_client_id = c.id THEN pool.cools_until END AS kept_until,
                  (SELECT holder.id FROM clients holder WHERE holder."twilioNumber" = told.number) IS NOT NULL AS "is_held!"
           FROM unnest($1::TEXT[], $2::TEXT[]) WITH ORDINALITY AS told (phone, number, place)
           JOIN clients c ON c."phoneNumber" = told.phone
           LEFT JOIN twilio_number_pool pool ON pool.phone_e164 = told.number
           ORDER BY place"#,
        &phones as &[&str],
        &numbers as &[&str]
    )
    .fetch_all(&mut *conn)
    .await?;
    // Of two rows with the same number, the map keeps the later.
    let last: HashMap<&str, &str> = rows.iter().map(|row| (row.number.as_str(), row.client_id.as_str())).collect();
    let kept: Vec<Kept> =
        rows.iter().map(|row| Kept::of(row, last.get(row.number.as_str()) == Some(&row.client_id.as_str()))).collect();
    for (row, _) in rows.iter().zip(&kept).filter(|(_, kept)| kept.cools_down_for_the_client()) {
        let step = [(row.number.as_str(), Some(row.client_id.as_str()))];
        let until = row.kept_until.map_or(until, |kept_until| kept_until.max(until));
        return_to_pool(conn, &step, Some(until), None).await?;
        if row.kept_until.is_none() {
            changes::record(conn, Change::Released, &step, WHY, now).await?;
        }
    }
    Ok(kept)
}
