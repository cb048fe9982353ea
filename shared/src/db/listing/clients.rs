//! Clients, newest first.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{LOOKED_THROUGH, PAGE_ROWS, Page};
use crate::db::Error;

/// Which clients are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientFilter {
    /// The state of the conversation.
    pub state: Option<String>,
    /// `paid`, `unpaid`, `waiting` (for a number), `optedout` or `unreachable`.
    pub flag: Option<String>,
}

impl ClientFilter {
    const fn is_filtered(&self) -> bool {
        self.state.is_some() || self.flag.is_some()
    }
}

/// Where a page of clients begins: behind this client.
pub type ClientKey = (DateTime<Utc>, String);

/// A client, as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientRow {
    /// `clients.id`.
    pub id: String,
    /// The name of the business.
    pub business_name: String,
    /// The owner's name, once given.
    pub owner_name: Option<String>,
    /// The phone, digits without the plus sign.
    pub phone: String,
    /// The region.
    pub region: String,
    /// The state of the conversation.
    pub state: String,
    /// Whether the payment gate is open.
    pub payment_active: bool,
    /// The status of the payment.
    pub payment_standing: String,
    /// The number that the client holds.
    pub number: Option<String>,
    /// When the client was created.
    pub created_at: DateTime<Utc>,
    /// When the conversation last moved.
    pub moved_at: Option<DateTime<Utc>>,
    /// Whether it opted out of texts.
    pub opted_out: bool,
    /// Whether texts do not reach it.
    pub unreachable: bool,
    /// Whether it waits for a number.
    pub waiting: bool,
}

/// Returns a page of clients.
pub async fn list_clients(
    conn: &mut PgConnection,
    filter: &ClientFilter,
    before: &ClientKey,
) -> Result<Page<ClientRow, ClientKey>, Error> {
    // Where many clients fit, the page is full after a look at a few.
    let windows: &[usize] = if filter.is_filtered() { &[LOOKED_THROUGH / 20, LOOKED_THROUGH] } else { &[PAGE_ROWS] };
    let (mut looked_at, mut keys, mut rows) = (0, Vec::new(), Vec::new());
    for window in windows {
        looked_at = *window;
        keys = list_newest(&mut *conn, before, looked_at as i64 + 1).await?;
        let ids: Vec<String> = keys.iter().take(looked_at).map(|(_, id)| id.clone()).collect();
        rows = find_clients(&mut *conn, &ids, filter).await?;
        if rows.len() > PAGE_ROWS || keys.len() <= looked_at {
            break;
        }
    }
    if rows.len() > PAGE_ROWS {
        rows.truncate(PAGE_ROWS);
        let next = rows.last().map(|row| (row.created_at, row.id.clone()));
        return Ok(Page { rows, next, is_cut: false });
    }
    let next = if keys.len() > looked_at { keys.get(looked_at - 1).cloned() } else { None };
    Ok(Page { rows, is_cut: filter.is_filtered() && next.is_some(), next })
}

/// Returns the keys of the newest clients behind `before`.
async fn list_newest(conn: &mut PgConnection, before: &ClientKey, limit: i64) -> Result<Vec<ClientKey>, Error> {
    let rows = sqlx::query!(
        r#"SELECT "createdAt" AS created_at, id FROM clients WHERE ("createdAt", id) < ($1, $2)
           ORDER BY "createdAt" DESC, id DESC LIMIT $3"#,
        before.0,
        before.1,
        limit
    );
    Ok(rows.fetch_all(conn).await?.into_iter().map(|row| (row.created_at, row.id)).collect())
}

/// Returns those of the clients `ids` that fit, newest first: one more than a page has, at most.
pub(super) async fn find_clients(
    conn: &mut PgConnection,
    ids: &[String],
    filter: &ClientFilter,
) -> Result<Vec<ClientRow>, Error> {
    let rows = sqlx::query_as!(
        ClientRow,
        r#"SELECT * FROM (
               SELECT c.id, c."businessName" AS business_name, s.collected_fields->>'ownerName' AS owner_name,
                      c."phoneNumber" AS phone, c.region,
                      COALESCE(s.current_state, 'S1_BUSINESS_TYPE_LOCATION') AS "state!", c."paymentActive" AS payment_active,
                      c."paymentStanding" AS payment_standing, c."twilioNumber" AS number, c."createdAt" AS created_at,
                      s.updated_at AS "moved_at?", c."optedOutAt" IS NOT NULL AS "opted_out!",
                      c."unreachableAt" IS NOT NULL AS "unreachable!",
                      EXISTS (SELECT FROM waiting_list w WHERE w.client_id = c.id) AS "waiting!"
               FROM clients c LEFT JOIN onboarding_states s ON s.client_id = c.id WHERE c.id = ANY($1)
           ) AS found
           WHERE ($2::TEXT IS NULL OR "state!" = $2)
             AND CASE COALESCE($3, '') WHEN 'paid' THEN payment_active WHEN 'unpaid' THEN NOT payment_active
                                       WHEN 'waiting' THEN "waiting!" WHEN 'optedout' THEN "opted_out!"
                                       WHEN 'unreachable' THEN "unreachable!" ELSE TRUE END
           ORDER BY created_at DESC, id DESC LIMIT $4"#,
        ids,
        filter.state,
        filter.flag,
        PAGE_ROWS as i64 + 1
    );
    Ok(rows.fetch_all(conn).await?)
}
