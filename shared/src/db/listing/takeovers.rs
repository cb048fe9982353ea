//! Clients that operators have taken over.

use chrono::{DateTime, Utc};
use jobrun_onboarding::Takeover;
use sqlx::PgConnection;

use crate::db::Error;
use crate::db::clients::read_takeover;

/// How many are listed.
const LISTED: i64 = 50;

/// A client that an operator has taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenOver {
    /// `clients.id`.
    pub client_id: String,
    /// The name of the business.
    pub business_name: String,
    /// The phone, digits without the plus sign.
    pub phone: String,
    /// The takeover.
    pub takeover: Takeover,
}

/// Returns the takeovers that are in force `now`, the longest silent first.
pub async fn list_taken_over(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<Vec<TakenOver>, Error> {
    let rows = sqlx::query!(
        r#"SELECT id, "businessName" AS business_name, "phoneNumber" AS phone, "takenOverBy" AS by, "takenOverAt" AS last_at,
                  "takenOverMinutes" AS minutes
           FROM clients
           WHERE "takenOverBy" IS NOT NULL
             AND ("takenOverMinutes" IS NULL OR "takenOverAt" + make_interval(mins => "takenOverMinutes") > $1)
           ORDER BY "takenOverAt" LIMIT $2"#,
        now,
        LISTED
    );
    let rows = rows.fetch_all(conn).await?.into_iter().filter_map(|row| {
        let takeover = read_takeover(row.by, row.last_at, row.minutes)?;
        Some(TakenOver { client_id: row.id, business_name: row.business_name, phone: row.phone, takeover })
    });
    Ok(rows.collect())
}
