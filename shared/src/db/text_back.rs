//! Texts to the callers of missed calls: which clients want them, and which callers may be texted.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use jobrun_onboarding::E164;
use sqlx::PgConnection;

use super::{Error, ensure_rows};
use crate::phone_digest::PhoneKey;

/// Returns which of these phones no text goes to: those of clients, numbers of the pool, and phones that have opted out, with `key`
/// also those of erased persons.
pub async fn list_not_to_text(
    conn: &mut PgConnection,
    phones: &[&E164],
    key: Option<&PhoneKey>,
) -> Result<HashSet<E164>, Error> {
    let digests: Vec<Option<Vec<u8>>> = phones.iter().map(|phone| Some(key?.digest(phone))).collect();
    let digits: Vec<&str> = phones.iter().map(|phone| phone.digits()).collect();
    let found = sqlx::query_scalar!(
        r#"SELECT asked.place AS "place!"
           FROM unnest($1::TEXT[], $2::BYTEA[]) WITH ORDINALITY AS asked (phone, digest, place)
           LEFT JOIN LATERAL (SELECT change FROM opt_changes WHERE opt_changes.phone = asked.phone
                              ORDER BY id DESC LIMIT 1) AS last ON TRUE
           -- Each is looked up by an index: joined, whole tables may be read.
           WHERE (SELECT c.id FROM clients c WHERE c."phoneNumber" = asked.phone) IS NOT NULL
              OR (SELECT p.phone_e164 FROM twilio_number_pool p WHERE p.phone_e164 = '+' || asked.phone) IS NOT NULL
              OR COALESCE(last.change = 'out',
                          (SELECT e.opted_out_at FROM erased_opt_outs e WHERE e.phone_hmac = asked.digest) IS NOT NULL)"#,
        &digits as &[&str],
        &digests as &[Option<Vec<u8>>]
    );
    let places = found.fetch_all(conn).await?.into_iter();
    let phone = |place: i64| phones.get(usize::try_from(place - 1).ok()?).copied().cloned();
    Ok(places.filter_map(phone).collect())
}

/// Returns how many callers of each of these clients were texted back since `since`.
pub async fn count_callers(
    conn: &mut PgConnection,
    client_ids: &[&str],
    since: DateTime<Utc>,
) -> Result<HashMap<String, usize>, Error> {
    let rows = sqlx::query!(
        r#"SELECT client_id, count(*) AS "count!" FROM calls
           WHERE client_id = ANY($1) AND called_at > $2 AND texted_back GROUP BY client_id"#,
        client_ids as &[&str],
        since
    );
    let rows = rows.fetch_all(conn).await?.into_iter();
    Ok(rows.map(|row| (row.client_id, usize::try_from(row.count).unwrap_or(usize::MAX))).collect())
}

/// Saves whether clients want their callers texted back, and that they were asked or have chosen. The clients must be locked.
///
/// # Errors
/// [`Error::RowCount`], when a client does not exist.
pub async fn save(conn: &mut PgConnection, choices: &[(&str, bool)], now: DateTime<Utc>) -> Result<(), Error> {
    if choices.is_empty() {
        return Ok(());
    }
    let (ids, wanted): (Vec<&str>, Vec<bool>) = choices.iter().copied().unzip();
    let result = sqlx::query!(
        r#"UPDATE clients SET "textBack" = choice.wanted, "textBackAskedAt" = COALESCE(clients."textBackAskedAt", $3)
           FROM unnest($1::TEXT[], $2::BOOLEAN[]) AS choice (id, wanted) WHERE clients.id = choice.id"#,
        &ids as &[&str],
        &wanted,
        now
    )
    .execute(conn)
    .await?;
    ensure_rows(&result, choices.len(), "saving whether clients want their callers texted back")
}
