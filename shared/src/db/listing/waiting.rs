//! The waiting list, with names.

use chrono::{DateTime, Utc};
use jobrun_onboarding::waiting::Place;
use sqlx::PgConnection;

use crate::db::Error;

/// How many places are listed.
pub const PLACES_LISTED: usize = 200;

/// A place on the waiting list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceRow {
    /// The place, as decisions see it.
    pub place: Place,
    /// Counted from 1 in its region.
    pub in_line: i64,
    /// How many wait in all regions.
    pub total: i64,
    /// The name of the business.
    pub business_name: String,
    /// The phone, digits without the plus sign.
    pub phone: String,
    /// When the hold began, if there is one.
    pub held_at: Option<DateTime<Utc>>,
}

/// Returns the first `limit` places of the waiting list, by region, in the order in which they are served.
pub async fn list_places(conn: &mut PgConnection, limit: i64) -> Result<Vec<PlaceRow>, Error> {
    let rows = sqlx::query!(
        r#"SELECT w.client_id, w.region, w.joined_at, w.promised_by, w.held_at, w.held_until, w.lapsed,
                  r.payment_active AND r.may_be_offered AS "reachable!", w.told_late_at IS NOT NULL AS "told_late!",
                  w.alerted_hours, r.phone AS "phone!", c."businessName" AS business_name,
                  row_number() OVER (PARTITION BY w.region ORDER BY w.lapsed, w.joined_at, w.client_id) AS "in_line!",
                  count(*) OVER () AS "total!"
           FROM waiting_list w JOIN client_reach r ON r.id = w.client_id JOIN clients c ON c.id = w.client_id
           WHERE r.number IS NULL ORDER BY w.region, w.lapsed, w.joined_at, w.client_id LIMIT $1"#,
        limit
    );
    let rows = rows.fetch_all(conn).await?.into_iter().map(|row| PlaceRow {
        in_line: row.in_line,
        total: row.total,
        business_name: row.business_name,
        phone: row.phone,
        held_at: row.held_at,
        place: Place {
            client_id: row.client_id,
            region: row.region,
            joined_at: row.joined_at,
            promised_by: row.promised_by,
            held_until: row.held_until,
            lapsed: row.lapsed,
            reachable: row.reachable,
            told_late: row.told_late,
            alerted_hours: row.alerted_hours,
        },
    });
    Ok(rows.collect())
}
