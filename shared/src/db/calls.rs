//! Calls to live numbers, which are counted for a day.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use jobrun_onboarding::calls::{CountedCall, EARLIER_MAX, EarlierCall};
use jobrun_onboarding::{Call, E164};
use sqlx::PgConnection;

use super::{Error, LOOKED_AT};

/// A client and one of its callers: `None` for all whose numbers are withheld.
pub type ClientAndCaller = (String, Option<E164>);

/// Returns which of these CallSids are of calls that count already, or that a text was about.
pub async fn list_known(conn: &mut PgConnection, sids: &[&str]) -> Result<HashSet<String>, Error> {
    let keys: Vec<String> = sids.iter().map(|sid| Call::once_key(sid)).collect();
    let known = sqlx::query_scalar!(
        r#"SELECT sid AS "sid!" FROM calls WHERE sid = ANY($1)
           UNION SELECT asked.sid FROM unnest($1::TEXT[], $2::TEXT[]) AS asked (sid, once_key)
                 JOIN messages ON messages.once_key = asked.once_key"#,
        sids as &[&str],
        &keys
    );
    Ok(known.fetch_all(conn).await?.into_iter().collect())
}

/// Returns the last calls of each caller, oldest first, at most [`EARLIER_MAX`] of each.
pub async fn list_earlier(
    conn: &mut PgConnection,
    callers: &[ClientAndCaller],
) -> Result<HashMap<ClientAndCaller, Vec<EarlierCall>>, Error> {
    let clients: Vec<&str> = callers.iter().map(|(client_id, _)| client_id.as_str()).collect();
    let numbers: Vec<&str> = callers.iter().map(|(_, caller)| stored(caller.as_ref())).collect();
    let rows = sqlx::query!(
        r#"SELECT asked.place AS "place!", earlier.called_at AS "at!", earlier.told AS "told!",
                  earlier.texted_back AS "texted_back!"
           FROM unnest($1::TEXT[], $2::TEXT[]) WITH ORDINALITY AS asked (client_id, caller, place)
           CROSS JOIN LATERAL (SELECT called_at, told, texted_back FROM calls
                               WHERE calls.client_id = asked.client_id AND calls.caller = asked.caller
                               ORDER BY called_at DESC LIMIT $3) AS earlier
           ORDER BY earlier.called_at"#,
        &clients as &[&str],
        &numbers as &[&str],
        EARLIER_MAX as i64
    );
    let mut earlier: HashMap<ClientAndCaller, Vec<EarlierCall>> = HashMap::new();
    for row in rows.fetch_all(conn).await? {
        let asked = usize::try_from(row.place - 1).ok().and_then(|place| callers.get(place));
        if let Some(asked) = asked {
            let call = EarlierCall { at: row.at, told: row.told, texted_back: row.texted_back };
            earlier.entry(asked.clone()).or_default().push(call);
        }
    }
    Ok(earlier)
}

/// The caller of a call that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Twilio's CallSid.
    pub sid: String,
    /// The client whose number was called.
    pub client_id: String,
    /// The caller, unless its number is withheld.
    pub caller: Option<E164>,
}

/// Returns the callers of those of these calls that count.
pub async fn list_callers(conn: &mut PgConnection, sids: &[&str]) -> Result<Vec<Caller>, Error> {
    let rows = sqlx::query!("SELECT sid, client_id, caller FROM calls WHERE sid = ANY($1)", sids as &[&str]);
    let rows = rows.fetch_all(conn).await?.into_iter();
    Ok(rows.map(|it| Caller { sid: it.sid, client_id: it.client_id, caller: E164::parse(&it.caller).ok() }).collect())
}

/// Returns how a caller is stored.
fn stored(caller: Option<&E164>) -> &str {
    caller.map_or("", E164::as_str)
}

/// Adds the calls of these clients, who must be locked. A call that counts already is left as it is.
pub async fn insert(conn: &mut PgConnection, calls: &[(&str, &CountedCall)]) -> Result<(), Error> {
    if calls.is_empty() {
        return Ok(());
    }
    let clients: Vec<&str> = calls.iter().map(|(client_id, _)| *client_id).collect();
    let sids: Vec<&str> = calls.iter().map(|(_, call)| call.sid.as_str()).collect();
    let callers: Vec<&str> = calls.iter().map(|(_, call)| stored(call.caller.as_ref())).collect();
    let times: Vec<DateTime<Utc>> = calls.iter().map(|(_, call)| call.at).collect();
    let told: Vec<bool> = calls.iter().map(|(_, call)| call.told).collect();
    let texted_back: Vec<bool> = calls.iter().map(|(_, call)| call.texted_back).collect();
    sqlx::query!(
        "INSERT INTO calls (client_id, sid, caller, called_at, told, texted_back)
         SELECT * FROM unnest($1::TEXT[], $2::TEXT[], $3::TEXT[], $4::TIMESTAMPTZ[], $5::BOOLEAN[], $6::BOOLEAN[])
         ON CONFLICT ON CONSTRAINT a_call_counts_once DO NOTHING",
        &clients as &[&str],
        &sids as &[&str],
        &callers as &[&str],
        &times,
        &told,
        &texted_back
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Removes the oldest calls before `before`, a thousand at most, and skips those that another transaction has locked. Returns how
/// many.
pub async fn remove_before(conn: &mut PgConnection, before: DateTime<Utc>) -> Result<usize, Error> {
    let removed = sqlx::query!(
        "DELETE FROM calls WHERE sid = ANY(ARRAY(SELECT sid FROM calls WHERE called_at < $1
                                                 ORDER BY called_at LIMIT $2 FOR UPDATE SKIP LOCKED))",
        before,
        LOOKED_AT
    );
    Ok(usize::try_from(removed.execute(conn).await?.rows_affected()).unwrap_or(usize::MAX))
}
