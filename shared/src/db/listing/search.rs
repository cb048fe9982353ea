//! Finds clients by a word: a phone, a number, an id, a name of Twilio's or Stripe's, or a business.

use chrono::{DateTime, Utc};
use jobrun_onboarding::as_people_write;
use sqlx::PgConnection;

use super::clients::{ClientFilter, ClientRow, find_clients};
use super::{LOOKED_THROUGH, PAGE_ROWS};
use crate::db::Error;

/// The clients found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// At most a page of them, newest first.
    pub clients: Vec<ClientRow>,
    /// Whether there are more than are returned.
    pub are_more: bool,
}

/// The most characters of a search that are read.
const WORDS_MAX: usize = 100;

/// Returns the clients that `words` mean. The newest client is behind `now`. Without `by_digits`, neither a phone nor digits within a
/// name find a client: a viewer could otherwise guess hidden numbers, digit by digit.
pub async fn search_clients(
    conn: &mut PgConnection,
    words: &str,
    by_digits: bool,
    now: DateTime<Utc>,
) -> Result<Found, Error> {
    let words: String = words.trim().chars().take(WORDS_MAX).collect();
    let exact = find_exactly(&mut *conn, &words, by_digits).await?;
    let may_be_a_name = by_digits || !words.contains(char::is_numeric);
    let ids = if exact.is_empty() && may_be_a_name { find_by_name(&mut *conn, &words, now).await? } else { exact };
    let mut clients = find_clients(conn, &ids, &ClientFilter::default()).await?;
    let are_more = clients.len() > PAGE_ROWS;
    clients.truncate(PAGE_ROWS);
    Ok(Found { clients, are_more })
}

/// Finds clients by names that only they have.
async fn find_exactly(conn: &mut PgConnection, words: &str, by_phone: bool) -> Result<Vec<String>, Error> {
    let phone = as_people_write(words).filter(|_| by_phone);
    let (e164, digits) = (phone.as_ref().map(|it| it.as_str()), phone.as_ref().map(|it| it.digits()));
    let ids = sqlx::query_scalar!(
        r#"SELECT id AS "id!" FROM clients WHERE id = $1
           UNION SELECT id FROM clients WHERE "phoneNumber" = $2
           UNION SELECT id FROM clients WHERE "twilioNumber" = $3
           UNION SELECT client_id FROM messages WHERE twilio_sid = $1 AND client_id IS NOT NULL
           UNION SELECT client_id FROM events WHERE source = 'twilio' AND client_id IS NOT NULL
                 AND external_id IN ($1, $1 || ':ringing', $1 || ':in-progress', $1 || ':completed')
           UNION SELECT client_id FROM subscriptions WHERE id = $1 AND client_id IS NOT NULL
           UNION SELECT s.client_id FROM payment_events p JOIN subscriptions s ON s.id = p.subscription_id
                 WHERE p.stripe_id = $1 AND s.client_id IS NOT NULL
           UNION SELECT s.client_id FROM payment_events p JOIN subscriptions s ON s.id = p.subscription_id
                 WHERE p.invoice_id = $1 AND s.client_id IS NOT NULL
           UNION SELECT s.client_id FROM payment_events p JOIN subscriptions s ON s.id = p.subscription_id
                 WHERE p.customer_id = $1 AND s.client_id IS NOT NULL
           LIMIT 51"#,
        words,
        digits,
        e164
    );
    Ok(ids.fetch_all(conn).await?)
}

/// Finds clients by the beginnings of words of the business's name, in any order, and by the owner's name among the newest.
async fn find_by_name(conn: &mut PgConnection, words: &str, now: DateTime<Utc>) -> Result<Vec<String>, Error> {
    let Some(query) = prefixes(words) else { return Ok(Vec::new()) };
    // The index does not know the order of time. The newest of all that it finds are read, unless a word is very common.
    let named = sqlx::query!(
        r#"SELECT id, count(*) OVER () AS "found!" FROM (
               SELECT id, "createdAt" AS created_at FROM clients
               WHERE to_tsvector('simple', "businessName") @@ to_tsquery('simple', $1) LIMIT $2) AS named
           ORDER BY created_at DESC, id DESC LIMIT $3"#,
        query,
        LOOKED_THROUGH as i64,
        PAGE_ROWS as i64 + 1
    )
    .fetch_all(&mut *conn)
    .await?;
    let is_common = named.first().is_some_and(|first| first.found >= LOOKED_THROUGH as i64);
    let mut ids: Vec<String> = named.into_iter().map(|row| row.id).collect();
    // Ends with the last hit that is shown: the newest clients are read in their order.
    let among_newest = sqlx::query_scalar!(
        r#"SELECT c.id FROM (
               SELECT id, "businessName" AS name, "createdAt" AS created_at FROM clients WHERE ("createdAt", id) < ($1, '')
               ORDER BY "createdAt" DESC, id DESC LIMIT $2) AS c
           LEFT JOIN onboarding_states s ON s.client_id = c.id
           WHERE starts_with(lower(s.collected_fields->>'ownerName'), lower($3))
              OR ($4 AND to_tsvector('simple', c.name) @@ to_tsquery('simple', $5))
           ORDER BY c.created_at DESC, c.id DESC LIMIT $6"#,
        now,
        LOOKED_THROUGH as i64,
        words,
        is_common,
        query,
        PAGE_ROWS as i64 + 1
    );
    ids.extend(among_newest.fetch_all(conn).await?);
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// Returns a query of the full-text search in which each word may go on. Characters with a meaning there are left out.
fn prefixes(words: &str) -> Option<String> {
    let words: Vec<String> = words
        .split(|it: char| !it.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(|word| format!("{}:*", word.to_lowercase()))
        .collect();
    (!words.is_empty()).then(|| words.join(" & "))
}

#[cfg(test)]
mod tests {
    use super::prefixes;

    #[test]
    fn words_may_go_on_and_hold_no_operators() {
        assert_eq!(prefixes("Smith & Sons!").as_deref(), Some("smith:* & sons:*"));
        assert_eq!(prefixes("a:* | !b' \\"), Some("a:* & b:*".to_owned()));
        assert_eq!(prefixes(" '; "), None);
    }
}
