//! Keeps numbers for the clients that were told them, after a restore of the database that has lost the assignment.

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
    /// The client holds another number.
    HoldsOther(String),
}

impl Kept {
    fn of(row: &Row) -> Self {
        match (&row.status, &row.client_number) {
            (None, _) => Self::NotInPool,
            (Some(_), Some(held)) if *held == row.number => Self::Holds,
            _ if row.is_held => Self::HeldByOther,
            (Some(_), Some(held)) => Self::HoldsOther(held.clone()),
            (Some(status), None) if status == "ASSIGNED" => Self::HeldByOther,
            (Some(_), None) => Self::CoolsDown,
        }
    }
}

struct Row {
    number: String,
    client_id: String,
    client_number: Option<String>,
    status: Option<String>,
    is_held: bool,
}

/// Lets numbers that no client holds cool down until `until`, each for the client that was told it: no other client is
/// given it. Returns for each of `told`, in order, what became of it. A phone must belong to a client.
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
        r#"SELECT told.number AS "number!", c.id AS client_id, c."twilioNumber" AS client_number,
                  (SELECT status FROM twilio_number_pool WHERE phone_e164 = told.number) AS status,
                  (SELECT holder.id FROM clients holder WHERE holder."twilioNumber" = told.number) IS NOT NULL AS "is_held!"
           FROM unnest($1::TEXT[], $2::TEXT[]) WITH ORDINALITY AS told (phone, number, place)
           JOIN clients c ON c."phoneNumber" = told.phone
           ORDER BY place"#,
        &phones as &[&str],
        &numbers as &[&str]
    )
    .fetch_all(&mut *conn)
    .await?;
    for row in rows.iter().filter(|row| Kept::of(row) == Kept::CoolsDown) {
        let step = [(row.number.as_str(), Some(row.client_id.as_str()))];
        return_to_pool(conn, &step, Some(until), None).await?;
        changes::record(conn, Change::Released, &step, WHY, now).await?;
    }
    Ok(rows.iter().map(Kept::of).collect())
}
