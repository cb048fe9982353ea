//! Changes of phone: requests, their codes as keyed digests, and the move of a client's rows.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use jobrun_onboarding::{E164, TextKind};
use sqlx::PgConnection;

use super::{Error, ensure_rows};

/// The digest of a code, and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCode {
    /// The key.
    pub key: Vec<u8>,
    /// HMAC-SHA256 of the code.
    pub hmac: Vec<u8>,
}

/// The open request of a newcomer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenRequest {
    /// `phone_changes.id`.
    pub id: i64,
    /// The code.
    pub code: StoredCode,
    /// The number of wrong codes so far.
    pub wrong_tries: u32,
    /// When the code ends.
    pub expires_at: DateTime<Utc>,
    /// The client that moves. Empty if none does: then every code is wrong.
    pub client_id: Option<String>,
}

/// Locks the open requests of the newcomers `ids`, who must be locked. Returns them by newcomer.
async fn lock_open(conn: &mut PgConnection, ids: &[&str]) -> Result<HashMap<String, OpenRequest>, Error> {
    let rows = sqlx::query!(
        r#"SELECT id, newcomer_id AS "newcomer_id!", code_key AS "key!", code_hmac AS "hmac!", wrong_tries, expires_at AS "expires_at!",
                  client_id
           FROM phone_changes
           WHERE newcomer_id = ANY($1) AND proved_at IS NULL AND ended_at IS NULL AND code_hmac IS NOT NULL
           ORDER BY id FOR UPDATE"#,
        ids as &[&str]
    );
    let open = rows.fetch_all(conn).await?.into_iter().map(|row| {
        let code = StoredCode { key: row.key, hmac: row.hmac };
        let wrong_tries = u32::try_from(row.wrong_tries).unwrap_or(u32::MAX);
        let (id, expires_at, client_id) = (row.id, row.expires_at, row.client_id);
        (row.newcomer_id, OpenRequest { id, code, wrong_tries, expires_at, client_id })
    });
    Ok(open.collect())
}

/// The requests of a newcomer that can matter for a code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// The open one.
    pub open: Option<OpenRequest>,
    /// When the last one that is over was asked for.
    pub over_since: Option<DateTime<Utc>>,
    /// Whether the right code was given, and the change is not made yet.
    pub is_proved: bool,
}

/// Returns the requests of each of the newcomers `ids`, who must be locked, since `since`. Locks the open ones.
pub async fn lock_requests(
    conn: &mut PgConnection,
    ids: &[&str],
    since: DateTime<Utc>,
) -> Result<HashMap<String, Requests>, Error> {
    // Before the others are read, so that one that a sweep ends meanwhile is among them.
    let open = lock_open(conn, ids).await?;
    let rows = sqlx::query!(
        r#"SELECT newcomer_id AS "newcomer_id!", max(asked_at) FILTER (WHERE ended_at IS NOT NULL) AS over_since,
                  bool_or(proved_at IS NOT NULL AND ended_at IS NULL) AS "is_proved!"
           FROM phone_changes WHERE newcomer_id = ANY($1) AND asked_at > $2 GROUP BY newcomer_id"#,
        ids as &[&str],
        since
    );
    let rows = rows.fetch_all(conn).await?.into_iter();
    let mut requests: HashMap<String, Requests> = rows
        .map(|row| (row.newcomer_id, Requests { open: None, over_since: row.over_since, is_proved: row.is_proved }))
        .collect();
    for (id, open) in open {
        requests.entry(id).or_default().open = Some(open);
    }
    Ok(requests)
}

/// A phone that a client had, or has and may lose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldPhone {
    /// The client.
    pub client_id: String,
    /// Whether it has moved to another phone. If not, a code was sent to this one.
    pub has_moved: bool,
}

/// Returns the last change since `since`, made or begun by a code, of each of these old phones (digits).
pub async fn list_of_old_phones(
    conn: &mut PgConnection,
    phones: &[&str],
    since: DateTime<Utc>,
) -> Result<HashMap<String, OldPhone>, Error> {
    let rows = sqlx::query!(
        r#"SELECT DISTINCT ON (old_phone) old_phone, client_id AS "client_id!", outcome IS NOT DISTINCT FROM 'moved' AS "has_moved!"
           FROM phone_changes
           WHERE old_phone = ANY($1) AND asked_at > $2 AND client_id IS NOT NULL AND (operator IS NULL OR outcome = 'moved')
           ORDER BY old_phone, id DESC"#,
        phones as &[&str],
        since
    );
    let rows = rows.fetch_all(conn).await?.into_iter();
    Ok(rows.map(|row| (row.old_phone, OldPhone { client_id: row.client_id, has_moved: row.has_moved })).collect())
}

/// Counts the requests of a new phone and those for an old one since `since`, without those by operators. The clients with
/// these phones must be locked.
pub async fn count_requests(
    conn: &mut PgConnection,
    old: &E164,
    new: &E164,
    since: DateTime<Utc>,
) -> Result<(i64, i64), Error> {
    let counts = sqlx::query!(
        r#"SELECT (SELECT count(*) FROM phone_changes WHERE new_phone = $2 AND asked_at > $3 AND operator IS NULL) AS "by_new!",
                  (SELECT count(*) FROM phone_changes WHERE old_phone = $1 AND asked_at > $3 AND operator IS NULL
                                                        AND client_id IS NOT NULL) AS "for_old!""#,
        old.digits(),
        new.digits(),
        since
    );
    let counts = counts.fetch_one(conn).await?;
    Ok((counts.by_new, counts.for_old))
}

/// A request to be stored.
#[derive(Clone, Debug)]
pub struct NewRequest<'a> {
    /// The client that moves, if one does.
    pub client_id: Option<&'a str>,
    /// The newcomer who asks.
    pub newcomer_id: &'a str,
    /// The old phone.
    pub old: &'a E164,
    /// The new phone.
    pub new: &'a E164,
    /// The code.
    pub code: &'a StoredCode,
    /// When the code ends.
    pub expires_at: DateTime<Utc>,
    /// The event whose text has the code, if one was sent.
    pub event_id: Option<i64>,
}

/// Returns whether a newcomer has an open request.
pub async fn any_open(conn: &mut PgConnection, newcomer_id: &str) -> Result<bool, Error> {
    let any = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM phone_changes WHERE newcomer_id = $1 AND proved_at IS NULL AND ended_at IS NULL) AS "any!""#,
        newcomer_id
    );
    Ok(any.fetch_one(conn).await?)
}

/// Stores a request, and ends the open one of the same newcomer, who must be locked.
pub async fn insert_request(
    conn: &mut PgConnection,
    request: &NewRequest<'_>,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE phone_changes SET ended_at = $2, outcome = 'superseded', code_key = NULL, code_hmac = NULL
         WHERE newcomer_id = $1 AND proved_at IS NULL AND ended_at IS NULL",
        request.newcomer_id,
        now
    )
    .execute(&mut *conn)
    .await?;
    let stored = sqlx::query!(
        "INSERT INTO phone_changes (client_id, newcomer_id, old_phone, new_phone, asked_at, code_key, code_hmac, expires_at, message_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, (SELECT max(id) FROM messages WHERE event_id = $9))",
        request.client_id,
        request.newcomer_id,
        request.old.digits(),
        request.new.digits(),
        now,
        request.code.key,
        request.code.hmac,
        request.expires_at,
        request.event_id
    );
    ensure_rows(&stored.execute(conn).await?, 1, "storing a request for a change of phone")
}

/// Stores the change that an operator asks for. Returns its id.
pub async fn insert_by_operator(
    conn: &mut PgConnection,
    client_id: &str,
    old: &E164,
    new: &E164,
    operator: &str,
    now: DateTime<Utc>,
) -> Result<i64, Error> {
    let id = sqlx::query_scalar!(
        "INSERT INTO phone_changes (client_id, old_phone, new_phone, asked_at, operator, proved_at) VALUES ($1, $2, $3, $4, $5, $4)
         RETURNING id",
        client_id,
        old.digits(),
        new.digits(),
        now,
        operator
    );
    Ok(id.fetch_one(conn).await?)
}

/// Counts a wrong code. The request must be locked.
pub async fn count_wrong(conn: &mut PgConnection, id: i64) -> Result<(), Error> {
    let counted = sqlx::query!(
        "UPDATE phone_changes SET wrong_tries = wrong_tries + 1 WHERE id = $1 AND proved_at IS NULL AND ended_at IS NULL",
        id
    );
    ensure_rows(&counted.execute(conn).await?, 1, "counting a wrong code")
}

/// Saves that the right code was given, and forgets it. The request must be locked.
pub async fn save_proved(conn: &mut PgConnection, id: i64, now: DateTime<Utc>) -> Result<(), Error> {
    let proved = sqlx::query!(
        "UPDATE phone_changes SET proved_at = $2, code_key = NULL, code_hmac = NULL
         WHERE id = $1 AND proved_at IS NULL AND ended_at IS NULL",
        id,
        now
    );
    ensure_rows(&proved.execute(conn).await?, 1, "saving that the code of a change of phone was given")
}

/// Ends a request or a change.
pub async fn end(conn: &mut PgConnection, id: i64, outcome: &'static str, now: DateTime<Utc>) -> Result<(), Error> {
    let ended = sqlx::query!(
        "UPDATE phone_changes SET ended_at = $2, outcome = $3, code_key = NULL, code_hmac = NULL
         WHERE id = $1 AND ended_at IS NULL",
        id,
        now,
        outcome
    );
    ensure_rows(&ended.execute(conn).await?, 1, "ending a change of phone")
}

/// A change that is proved and not made yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueChange {
    /// `phone_changes.id`.
    pub id: i64,
    /// The client that moves.
    pub client_id: String,
    /// The phone that it has, as far as the person who asked knows.
    pub old: E164,
    /// The phone that it gets.
    pub new: E164,
    /// Whether an operator asked.
    pub is_by_operator: bool,
}

/// Returns a change that is proved and not made yet. Locks nothing: it is read again under the locks.
pub async fn find_due(conn: &mut PgConnection, id: i64) -> Result<Option<DueChange>, Error> {
    let row = sqlx::query!(
        r#"SELECT client_id AS "client_id!", old_phone, new_phone, operator IS NOT NULL AS "is_by_operator!" FROM phone_changes
           WHERE id = $1 AND proved_at IS NOT NULL AND ended_at IS NULL AND client_id IS NOT NULL"#,
        id
    );
    let Some(row) = row.fetch_optional(conn).await? else { return Ok(None) };
    let read = |digits: &str| E164::from_digits(digits).map_err(|_| Error::UnreadableNumber);
    let (old, new) = (read(&row.old_phone)?, read(&row.new_phone)?);
    Ok(Some(DueChange { id, client_id: row.client_id, old, new, is_by_operator: row.is_by_operator }))
}

/// Returns the id of the client with a phone, if there is one. Locks nothing.
pub async fn find_by_phone(conn: &mut PgConnection, phone: &E164) -> Result<Option<String>, Error> {
    let id = sqlx::query_scalar!(r#"SELECT id FROM clients WHERE "phoneNumber" = $1"#, phone.digits());
    Ok(id.fetch_optional(conn).await?)
}

/// Locks clients by id, and waits for other transactions that have them locked. Stronger than the usual lock, because a phone is
/// a key: rows that refer to these clients are written before or after. Returns the ids of those that exist.
pub async fn lock_clients(conn: &mut PgConnection, ids: &[&str]) -> Result<Vec<String>, Error> {
    let locked =
        sqlx::query_scalar!("SELECT id FROM clients WHERE id = ANY($1) ORDER BY id FOR UPDATE", ids as &[&str]);
    Ok(locked.fetch_all(conn).await?)
}

/// Returns whether an event of any kind waits in `lanes`.
pub async fn any_waits(conn: &mut PgConnection, lanes: &[String]) -> Result<bool, Error> {
    let any = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM unnest($1::TEXT[]) AS asked (lane)
                          CROSS JOIN LATERAL (SELECT FROM events
                                              WHERE events.lane = asked.lane AND (processed_at IS NULL) IS TRUE
                                              LIMIT 1) AS event) AS "any!""#,
        lanes
    );
    Ok(any.fetch_one(conn).await?)
}

/// Gives a client the phone of another, and makes the two one. Both must be locked by [`lock_clients`], the newcomer must pay
/// nothing and hold no number, and no event of the two phones may wait.
///
/// The newcomer's events, texts, old payments, payment link and callers' messages become the client's. Whether the new phone may be
/// texted is as it was for the newcomer. Texts that wait for the old phone go to the new one; the newcomer's own questions are dropped.
pub async fn move_client(
    conn: &mut PgConnection,
    change: &DueChange,
    newcomer_id: &str,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let (id, old, new) = (&change.client_id, &change.old, &change.new);
    drop_overtaken_texts(conn, change, newcomer_id, now).await?;
    sqlx::query!("UPDATE events SET client_id = $1 WHERE client_id = $2", id, newcomer_id).execute(&mut *conn).await?;
    sqlx::query!("UPDATE messages SET client_id = $1 WHERE client_id = $2", id, newcomer_id)
        .execute(&mut *conn)
        .await?;
    sqlx::query!("UPDATE subscriptions SET client_id = $1 WHERE client_id = $2", id, newcomer_id)
        .execute(&mut *conn)
        .await?;
    sqlx::query!("UPDATE number_changes SET client_id = $1 WHERE client_id = $2", id, newcomer_id)
        .execute(&mut *conn)
        .await?;
    sqlx::query!("UPDATE voicemails SET client_id = $1 WHERE client_id = $2", id, newcomer_id)
        .execute(&mut *conn)
        .await?;
    sqlx::query!(
        "UPDATE messages SET to_phone = $3, updated_at = $4
         WHERE id IN (SELECT id FROM messages WHERE client_id = $1 AND to_phone = $2 AND status = 'queued'
                      ORDER BY id FOR NO KEY UPDATE)",
        id,
        old.as_str(),
        new.as_str(),
        now
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!("UPDATE phone_changes SET client_id = $1 WHERE client_id = $2", id, newcomer_id)
        .execute(&mut *conn)
        .await?;
    // The client may have asked the same of a person: its own case then stands for both.
    sqlx::query!(
        "UPDATE cases SET client_id = $1
         WHERE client_id = $2
           AND (closed_at IS NOT NULL
                OR kind NOT IN (SELECT kind FROM cases AS own WHERE own.client_id = $1 AND own.closed_at IS NULL))",
        id,
        newcomer_id
    )
    .execute(&mut *conn)
    .await?;
    // Both wishes are the new phone's: the old one's STOP is not, and stays with the old phone in `opt_changes`.
    let wishes = sqlx::query!(
        r#"SELECT "optedOutAt" AS out, "unreachableAt" AS unreachable, "takenOverBy" AS by, "takenOverAt" AS at, "takenOverMinutes" AS minutes
           FROM clients WHERE id = $1"#,
        newcomer_id
    );
    let wishes = wishes.fetch_one(&mut *conn).await?;
    keep_references(conn, id, newcomer_id).await?;
    let removed = sqlx::query_scalar!(r#"SELECT remove_newcomer($1) AS "removed!""#, newcomer_id);
    if removed.fetch_one(&mut *conn).await? != 1 {
        return Err(Error::RowCount {
            what: "removing a newcomer whose phone is another client's",
            expected: 1,
            actual: 0,
        });
    }
    let moved = sqlx::query!(
        r#"UPDATE clients SET "phoneNumber" = $2, "optedOutAt" = $3, "unreachableAt" = $4,
                  "takenOverBy" = COALESCE("takenOverBy", $6),
                  "takenOverAt" = CASE WHEN "takenOverBy" IS NULL THEN $7 ELSE "takenOverAt" END,
                  "takenOverMinutes" = CASE WHEN "takenOverBy" IS NULL THEN $8 ELSE "takenOverMinutes" END
           WHERE id = $1 AND "phoneNumber" = $5"#,
        id,
        new.digits(),
        wishes.out,
        wishes.unreachable,
        old.digits(),
        wishes.by,
        wishes.at,
        wishes.minutes
    );
    ensure_rows(&moved.execute(&mut *conn).await?, 1, "giving a client its new phone")?;
    // Other requests for this client, or of this phone, are overtaken.
    sqlx::query!(
        "UPDATE phone_changes SET ended_at = $3, outcome = 'overtaken', code_key = NULL, code_hmac = NULL
         WHERE id <> $4 AND proved_at IS NULL AND ended_at IS NULL AND (client_id = $1 OR new_phone = $2)",
        id,
        new.digits(),
        now,
        change.id
    )
    .execute(&mut *conn)
    .await?;
    end(conn, change.id, "moved", now).await
}

/// Keeps the reference in the newcomer's payment link, and those that were kept for the newcomer: a payment by these links may still
/// arrive, and is the client's. Subscriptions are locked, so no payment is read meanwhile.
async fn keep_references(conn: &mut PgConnection, id: &str, newcomer_id: &str) -> Result<(), Error> {
    sqlx::query!("UPDATE former_payment_references SET client_id = $1 WHERE client_id = $2", id, newcomer_id)
        .execute(&mut *conn)
        .await?;
    let kept = sqlx::query!(
        r#"INSERT INTO former_payment_references (reference, client_id, former_client_id)
           SELECT "paymentReference", $1, id FROM clients WHERE id = $2"#,
        id,
        newcomer_id
    );
    ensure_rows(&kept.execute(conn).await?, 1, "keeping the payment reference of a newcomer")
}

/// Drops the queued texts that the move makes pointless: codes to the old phone, and the newcomer's questions.
async fn drop_overtaken_texts(
    conn: &mut PgConnection,
    change: &DueChange,
    newcomer_id: &str,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE messages SET status = 'failed', error_message = 'the client has a new phone', next_attempt_at = NULL, updated_at = $4
         WHERE id IN (SELECT id FROM messages
                      WHERE status = 'queued' AND ((client_id = $1 AND kind = $3) OR (client_id = $2 AND kind <> ALL($5)))
                      ORDER BY id FOR NO KEY UPDATE)",
        change.client_id,
        newcomer_id,
        TextKind::PhoneCode.name(),
        now,
        &TextKind::SENT_IN_A_TAKEOVER.map(TextKind::name) as &[&str]
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends the requests whose codes are over, at most `limit`, and forgets the codes. Returns how many.
pub async fn expire(conn: &mut PgConnection, limit: i64, now: DateTime<Utc>) -> Result<u64, Error> {
    let expired = sqlx::query!(
        "UPDATE phone_changes SET ended_at = $1, outcome = 'expired', code_key = NULL, code_hmac = NULL
         WHERE id IN (SELECT id FROM phone_changes WHERE code_hmac IS NOT NULL AND expires_at < $1
                      ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
        now,
        limit
    );
    Ok(expired.execute(conn).await?.rows_affected())
}

/// Removes the codes from texts whose request is over, at most `limit`. A text that is on its way keeps its code, because a worker may
/// have to find it by its words. Returns how many.
pub async fn remove_codes(conn: &mut PgConnection, limit: i64, now: DateTime<Utc>) -> Result<usize, Error> {
    let over = sqlx::query!(
        r#"SELECT c.id, c.message_id AS "message_id!" FROM phone_changes c JOIN messages m ON m.id = c.message_id
           WHERE c.message_id IS NOT NULL AND (c.ended_at IS NOT NULL OR c.proved_at IS NOT NULL)
             AND NOT EXISTS (SELECT FROM messages try WHERE (try.id = m.id OR try.retry_of = m.id)
                                                        AND try.status IN ('queued', 'sending', 'unknown'))
           ORDER BY c.id LIMIT $1 FOR UPDATE OF c SKIP LOCKED"#,
        limit
    );
    let over = over.fetch_all(&mut *conn).await?;
    let (ids, texts): (Vec<i64>, Vec<i64>) = over.into_iter().map(|row| (row.id, row.message_id)).unzip();
    if ids.is_empty() {
        return Ok(0);
    }
    mask_codes(conn, &texts, now).await?;
    let forgotten = sqlx::query!("UPDATE phone_changes SET message_id = NULL WHERE id = ANY($1)", &ids);
    ensure_rows(&forgotten.execute(conn).await?, ids.len(), "forgetting the texts of codes")?;
    Ok(ids.len())
}

/// Masks the codes in texts, and in their second tries.
async fn mask_codes(conn: &mut PgConnection, texts: &[i64], now: DateTime<Utc>) -> Result<(), Error> {
    let tries: Vec<i64> =
        sqlx::query_scalar!("SELECT id FROM messages WHERE retry_of = ANY($1)", texts).fetch_all(&mut *conn).await?;
    let texts = [texts, &tries].concat();
    let masked = sqlx::query!(
        "UPDATE messages SET body = regexp_replace(body, '[0-9]{6}', '******', 'g'), updated_at = $2 WHERE id = ANY($1)",
        &texts,
        now
    );
    ensure_rows(&masked.execute(conn).await?, texts.len(), "removing codes from texts")
}

/// Removes the requests that ended before `before` and changed nothing, at most `limit`. Returns how many.
pub async fn remove_ended(conn: &mut PgConnection, before: DateTime<Utc>, limit: i64) -> Result<u64, Error> {
    let removed = sqlx::query!(
        "DELETE FROM phone_changes
         WHERE id IN (SELECT id FROM phone_changes WHERE outcome <> 'moved' AND ended_at < $1 AND message_id IS NULL
                      ORDER BY ended_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
        before,
        limit
    );
    Ok(removed.execute(conn).await?.rows_affected())
}

/// Returns the phones that a client had before, digits without the plus sign, unless they are other clients' by now.
pub async fn list_former_phones(conn: &mut PgConnection, client_id: &str) -> Result<Vec<String>, Error> {
    let phones = sqlx::query_scalar!(
        r#"SELECT DISTINCT old_phone AS "phone!" FROM phone_changes
           WHERE client_id = $1 AND outcome = 'moved'
             AND NOT EXISTS (SELECT FROM clients WHERE "phoneNumber" = phone_changes.old_phone)
           ORDER BY 1"#,
        client_id
    );
    Ok(phones.fetch_all(conn).await?)
}

/// Removes every request and change that names the phone of the client `client_id`, every request that names one of its former phones
/// (digits), and the codes in texts to other phones. Keeps moves of others that name a former phone only. Returns false, and has done
/// nothing, while a text with such a code is on its way: a worker may have to find it by its words.
pub async fn remove_of_person(
    conn: &mut PgConnection,
    client_id: &str,
    phone: &E164,
    former_phones: &[String],
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let phones = [former_phones, &[phone.digits().to_owned()]].concat();
    let named = sqlx::query!(
        r#"SELECT c.id, c.message_id,
                  EXISTS (SELECT FROM messages try WHERE (try.id = c.message_id OR try.retry_of = c.message_id)
                                                     AND try.status IN ('queued', 'sending', 'unknown')) AS "on_its_way!"
           FROM phone_changes c
           WHERE c.id = ANY(ARRAY(SELECT id FROM phone_changes WHERE old_phone = ANY($1)
                                  UNION SELECT id FROM phone_changes WHERE new_phone = ANY($1)))
             AND (c.old_phone = $2 OR c.new_phone = $2 OR c.client_id = $3 OR c.outcome IS DISTINCT FROM 'moved')
           ORDER BY c.id FOR UPDATE OF c"#,
        &phones,
        phone.digits(),
        client_id
    );
    let named = named.fetch_all(&mut *conn).await?;
    if named.iter().any(|row| row.on_its_way) {
        return Ok(false);
    }
    let texts: Vec<i64> = named.iter().filter_map(|row| row.message_id).collect();
    mask_codes(conn, &texts, now).await?;
    let ids: Vec<i64> = named.iter().map(|row| row.id).collect();
    let removed = sqlx::query!("DELETE FROM phone_changes WHERE id = ANY($1)", &ids).execute(conn).await?;
    ensure_rows(&removed, ids.len(), "removing changes of phone")?;
    Ok(true)
}
