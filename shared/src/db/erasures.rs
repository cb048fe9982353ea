//! Erasures of persons: their rows are deleted, or keep neither a phone nor words. Each erasure is a row that says how far it is.

use chrono::{DateTime, Utc};
use jobrun_onboarding::E164;
use serde_json::Value;
use sqlx::PgConnection;

use super::audit_log::Actor;
use super::person::{EVENTS_AT_ONCE, Person};
use super::{Error, ensure_rows, operator_words};

/// How many texts one statement removes.
const TEXTS_AT_ONCE: i64 = 500;

/// An unfinished erasure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// `erasures.id`.
    pub id: i64,
    /// The client, whose row is gone once `removed_at` is set.
    pub client_id: String,
    /// The operator who began it.
    pub who: String,
    /// The reason.
    pub why: String,
    /// When it began.
    pub begun_at: DateTime<Utc>,
    /// The last event that was looked at.
    pub scanned_to: i64,
    /// Whether the client had opted out when it began.
    pub opted_out: bool,
    /// How many events were erased so far.
    pub events: i64,
    /// How many texts were deleted so far.
    pub texts: i64,
    /// When the client's row was removed.
    pub removed_at: Option<DateTime<Utc>>,
    /// What remained then.
    pub remains: Value,
}

/// Returns the unfinished erasure of a client, or of the phone with this digest.
pub async fn find_unfinished(
    conn: &mut PgConnection,
    client_id: &str,
    phone_hmac: Option<&[u8]>,
) -> Result<Option<Unfinished>, Error> {
    let found = sqlx::query_as!(
        Unfinished,
        "SELECT id, client_id, who, why, begun_at, scanned_to, opted_out, events, texts, removed_at, remains FROM erasures
         WHERE id = (SELECT min(id) FROM (SELECT id FROM erasures WHERE finished_at IS NULL AND client_id = $1
                                          UNION SELECT id FROM erasures WHERE finished_at IS NULL AND phone_hmac = $2) AS own)",
        client_id,
        phone_hmac
    );
    Ok(found.fetch_optional(conn).await?)
}

/// Returns whether one of these clients is being erased. It reads no more of an erasure than a worker may.
pub async fn any_unfinished(conn: &mut PgConnection, client_ids: &[&str]) -> Result<bool, Error> {
    let any = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM erasures WHERE finished_at IS NULL AND client_id = ANY($1)) AS "any!""#,
        client_ids as &[&str]
    );
    Ok(any.fetch_one(conn).await?)
}

/// Returns the erasure `id`, which is not finished.
///
/// # Errors
/// When there is none.
pub async fn load(conn: &mut PgConnection, id: i64) -> Result<Unfinished, Error> {
    let found = sqlx::query_as!(
        Unfinished,
        "SELECT id, client_id, who, why, begun_at, scanned_to, opted_out, events, texts, removed_at, remains FROM erasures
         WHERE id = $1 AND finished_at IS NULL",
        id
    );
    Ok(found.fetch_one(conn).await?)
}

/// Whether a client still pays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paying {
    /// The subscriptions that are paid, or whose payment is on its way.
    pub subscriptions: Vec<String>,
    /// Whether an event about the person waits to be processed.
    pub event_waits: bool,
    /// Whether the payment gate is open to the client.
    pub gate_open: bool,
}

/// Returns whether a client pays, or its payment is on its way. The subscriptions must be locked.
pub async fn find_paying(conn: &mut PgConnection, person: &Person) -> Result<Paying, Error> {
    let subscriptions = sqlx::query_scalar!(
        "SELECT id FROM subscriptions WHERE client_id = $1 AND standing IN ('active', 'past_due', 'awaited') ORDER BY id",
        person.client_id
    );
    let subscriptions = subscriptions.fetch_all(&mut *conn).await?;
    let waits = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM events WHERE processed_at IS NULL AND kind <> 'delivery_report'
                            AND (lane = ANY($2)
                                 OR (kind IN ('stripe', 'subscription_asked') AND payload::TEXT ~ $1))) AS "waits!""#,
        person.pattern,
        &person.lanes
    );
    let event_waits = waits.fetch_one(&mut *conn).await?;
    let gate = sqlx::query_scalar!(r#"SELECT "paymentActive" AS "open!" FROM clients WHERE id = $1"#, person.client_id);
    Ok(Paying { subscriptions, event_waits, gate_open: gate.fetch_one(conn).await? })
}

/// Begins an erasure, and stops all texts to the client. The client must be locked. Returns its id.
pub async fn begin(
    conn: &mut PgConnection,
    client_id: &str,
    phone_hmac: &[u8],
    by: &Actor,
    now: DateTime<Utc>,
) -> Result<i64, Error> {
    let id = sqlx::query_scalar!(
        r#"INSERT INTO erasures (client_id, phone_hmac, who, why, begun_at, opted_out)
           SELECT id, $2, $3, $4, $5, "optedOutAt" IS NOT NULL FROM clients WHERE id = $1 RETURNING id"#,
        client_id,
        phone_hmac,
        by.who,
        by.why.as_deref().unwrap_or_default(),
        now
    );
    let id = id.fetch_one(&mut *conn).await?;
    let stopped = sqlx::query!(
        r#"UPDATE clients SET "optedOutAt" = COALESCE("optedOutAt", $2), "remindAt" = NULL,
                              "testAskedAt" = NULL, "forwardingCheckAt" = NULL, "noCallsToldAt" = NULL
           WHERE id = $1"#,
        client_id,
        now
    );
    ensure_rows(&stopped.execute(conn).await?, 1, "stopping the texts to a client that is erased")?;
    Ok(id)
}

/// Erases what the next events say, some thousand ids at once, up to the event `last`. Returns the last id that was looked at. The
/// client must be locked, if it exists.
pub async fn scrub_events(
    conn: &mut PgConnection,
    erasure: &Unfinished,
    person: &Person,
    last: i64,
    now: DateTime<Utc>,
) -> Result<i64, Error> {
    let to = (erasure.scanned_to + EVENTS_AT_ONCE).min(last);
    let scrubbed = sqlx::query_file_scalar!(
        "src/db/scrub_events.sql",
        person.client_id,
        &person.lanes,
        person.pattern,
        erasure.scanned_to,
        to,
        erasure.id,
        now,
        person.phone.digits()
    );
    let scrubbed = i64::try_from(scrubbed.fetch_all(&mut *conn).await?.len()).unwrap_or(i64::MAX);
    let saved = sqlx::query!(
        "UPDATE erasures SET scanned_to = $2, events = events + $3 WHERE id = $1 AND finished_at IS NULL",
        erasure.id,
        to,
        scrubbed
    );
    ensure_rows(&saved.execute(conn).await?, 1, "saving how far an erasure is")?;
    Ok(to)
}

/// Erases what the events say that a conversation has processed since [`scrub_events`] passed them. The client must be locked.
pub async fn scrub_events_of_client(conn: &mut PgConnection, erasure: &Unfinished) -> Result<(), Error> {
    let scrubbed = sqlx::query_file_scalar!("src/db/scrub_events_of_client.sql", erasure.client_id, erasure.id);
    let scrubbed = i64::try_from(scrubbed.fetch_all(&mut *conn).await?.len()).unwrap_or(i64::MAX);
    let saved = sqlx::query!("UPDATE erasures SET events = events + $2 WHERE id = $1", erasure.id, scrubbed);
    ensure_rows(&saved.execute(conn).await?, 1, "saving how far an erasure is")
}

/// Deletes the newest settled texts of a person, and keeps Twilio's names for them. Texts to its phone that another client had before
/// are that client's. Returns how many. The client must be locked.
pub async fn remove_texts(conn: &mut PgConnection, erasure_id: i64, person: &Person) -> Result<usize, Error> {
    // A second try is newer than its text, whose removal would remove it unseen.
    let ids = sqlx::query_scalar!(
        "SELECT id FROM messages
         WHERE id = ANY(ARRAY(SELECT id FROM messages WHERE client_id = $1
                              UNION SELECT id FROM messages WHERE to_phone = $2 AND (client_id IS NULL OR kind = 'text_back')
                              ORDER BY id DESC LIMIT $3))
           AND status NOT IN ('sending', 'unknown')
           AND (SELECT second.id FROM messages second
                WHERE second.retry_of = messages.id AND second.status IN ('sending', 'unknown')) IS NULL
         ORDER BY id FOR UPDATE",
        person.client_id,
        person.phone.as_str(),
        TEXTS_AT_ONCE
    );
    let ids = ids.fetch_all(&mut *conn).await?;
    sqlx::query!(
        "INSERT INTO erasure_texts (erasure_id, twilio_sid)
         SELECT $1, twilio_sid FROM messages WHERE id = ANY($2) AND twilio_sid IS NOT NULL
         ON CONFLICT ON CONSTRAINT an_erasure_names_a_text_once DO NOTHING",
        erasure_id,
        &ids
    )
    .execute(&mut *conn)
    .await?;
    let gone = sqlx::query!("DELETE FROM messages WHERE id = ANY($1)", &ids).execute(&mut *conn).await?;
    ensure_rows(&gone, ids.len(), "deleting the texts of a person")?;
    let count = i64::try_from(ids.len()).unwrap_or(i64::MAX);
    let saved = sqlx::query!("UPDATE erasures SET texts = texts + $2 WHERE id = $1", erasure_id, count);
    ensure_rows(&saved.execute(conn).await?, 1, "saving how far an erasure is")?;
    Ok(ids.len())
}

/// Returns whether any text of a person is left.
pub async fn any_text(conn: &mut PgConnection, person: &Person) -> Result<bool, Error> {
    let any = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM messages WHERE client_id = $1)
                  OR EXISTS (SELECT FROM messages WHERE to_phone = $2 AND (client_id IS NULL OR kind = 'text_back')) AS "any!""#,
        person.client_id,
        person.phone.as_str()
    );
    Ok(any.fetch_one(conn).await?)
}

/// Keeps the digest of a phone that opted out, or forgets it if the phone wants texts again. The last change of the phone counts, or
/// else what was so when the erasure began.
pub async fn keep_opt_out(
    conn: &mut PgConnection,
    erasure: &Unfinished,
    person: &Person,
    digest: &[u8],
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let last = sqlx::query_scalar!(
        "SELECT change FROM opt_changes WHERE phone = $1 ORDER BY id DESC LIMIT 1",
        person.phone.digits()
    );
    let is_out = last.fetch_optional(&mut *conn).await?.map_or(erasure.opted_out, |change| change == "out");
    if is_out {
        sqlx::query!(
            "INSERT INTO erased_opt_outs (phone_hmac, opted_out_at) VALUES ($1, $2)
             ON CONFLICT ON CONSTRAINT an_erased_opt_out_is_known_by_its_digest DO NOTHING",
            digest,
            now
        )
        .execute(&mut *conn)
        .await?;
    } else {
        sqlx::query!("DELETE FROM erased_opt_outs WHERE phone_hmac = $1", digest).execute(&mut *conn).await?;
    }
    Ok(is_out)
}

/// Removes the opt-outs of a phone that a person had before, and keeps its digest if it opted out last.
pub async fn keep_former_opt_out(
    conn: &mut PgConnection,
    phone: &E164,
    digest: &[u8],
    now: DateTime<Utc>,
) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO erased_opt_outs (phone_hmac, opted_out_at)
         SELECT $2, $3 FROM (SELECT change FROM opt_changes WHERE phone = $1 ORDER BY id DESC LIMIT 1) AS last WHERE change = 'out'
         ON CONFLICT ON CONSTRAINT an_erased_opt_out_is_known_by_its_digest DO NOTHING",
        phone.digits(),
        digest,
        now
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!("DELETE FROM opt_changes WHERE phone = $1", phone.digits()).execute(conn).await?;
    Ok(())
}

/// Removes all other rows of a person, the client's own last, and the reasons of operators that hold its phone. The client must be
/// locked. Returns the places of other reasons that may name the person.
///
/// # Errors
/// [`Error::RowCount`], when the client does not exist.
pub async fn remove_client(
    conn: &mut PgConnection,
    erasure_id: i64,
    person: &Person,
    now: DateTime<Utc>,
) -> Result<Vec<String>, Error> {
    sqlx::query!("DELETE FROM opt_changes WHERE phone = $1", person.phone.digits()).execute(&mut *conn).await?;
    sqlx::query!(
        "WITH gone AS (DELETE FROM unrecorded_texts WHERE to_phone = $2 RETURNING twilio_sid)
         INSERT INTO erasure_texts (erasure_id, twilio_sid) SELECT $1, twilio_sid FROM gone
         ON CONFLICT ON CONSTRAINT an_erasure_names_a_text_once DO NOTHING",
        erasure_id,
        person.phone.as_str()
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!("UPDATE payment_events SET reference = NULL WHERE subscription_id = ANY($1)", &person.subscriptions)
        .execute(&mut *conn)
        .await?;
    sqlx::query!(
        "UPDATE subscriptions SET client_id = NULL, erased_at = $2, ask_at = NULL WHERE client_id = $1",
        person.client_id,
        now
    )
    .execute(&mut *conn)
    .await?;
    // The one change of the audit log: reasons are an operator's words about the person.
    sqlx::query!(
        "UPDATE audit_log SET why = NULL
         WHERE subject = ANY($1 || ARRAY(SELECT number FROM number_changes WHERE client_id = $2))
           AND (subject = ANY($1) OR details ->> 'holder' = ANY($3)) AND why IS NOT NULL",
        &person.audit_subjects(),
        person.client_id,
        &person.client_ids()
    )
    .execute(&mut *conn)
    .await?;
    operator_words::remove_with_phone(&mut *conn, &person.phone).await?;
    let to_read = operator_words::list_with_names(&mut *conn, &person.client_id).await?;
    let gone = sqlx::query!("DELETE FROM clients WHERE id = $1", person.client_id).execute(conn).await?;
    ensure_rows(&gone, 1, "removing an erased client")?;
    Ok(to_read)
}

/// Saves that the client is gone, and what remains.
pub async fn save_removed(
    conn: &mut PgConnection,
    erasure_id: i64,
    remains: &Value,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let saved = sqlx::query!(
        "UPDATE erasures SET removed_at = $2, remains = $3 WHERE id = $1 AND removed_at IS NULL",
        erasure_id,
        now,
        remains
    );
    ensure_rows(&saved.execute(conn).await?, 1, "saving that an erased client is gone")
}

/// Returns Twilio's names of the texts that are not redacted yet.
pub async fn list_to_redact(conn: &mut PgConnection, erasure_id: i64) -> Result<Vec<String>, Error> {
    let sids = sqlx::query_scalar!(
        "SELECT twilio_sid FROM erasure_texts WHERE erasure_id = $1 AND redacted_at IS NULL ORDER BY twilio_sid",
        erasure_id
    );
    Ok(sids.fetch_all(conn).await?)
}

/// Saves that a text is redacted at Twilio.
pub async fn save_redacted(
    conn: &mut PgConnection,
    erasure_id: i64,
    sid: &str,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let saved = sqlx::query!(
        "UPDATE erasure_texts SET redacted_at = $3 WHERE erasure_id = $1 AND twilio_sid = $2",
        erasure_id,
        sid,
        now
    );
    ensure_rows(&saved.execute(conn).await?, 1, "saving that a text is redacted")
}

/// Counts the texts of an erasure, all of which must be redacted.
pub async fn count_redacted(conn: &mut PgConnection, erasure_id: i64) -> Result<i64, Error> {
    let count =
        sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM erasure_texts WHERE erasure_id = $1"#, erasure_id);
    Ok(count.fetch_one(conn).await?)
}

/// Finishes an erasure with its certificate, and forgets Twilio's names and the digest of the phone.
pub async fn finish(
    conn: &mut PgConnection,
    erasure_id: i64,
    certificate: &Value,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    sqlx::query!("DELETE FROM erasure_texts WHERE erasure_id = $1", erasure_id).execute(&mut *conn).await?;
    let saved = sqlx::query!(
        "UPDATE erasures SET finished_at = $2, certificate = $3, phone_hmac = NULL WHERE id = $1 AND finished_at IS NULL",
        erasure_id,
        now,
        certificate
    );
    ensure_rows(&saved.execute(conn).await?, 1, "finishing an erasure")
}

/// Returns which of these payers (Stripe's names) paid for erased clients, and for clients that are being erased, alone. The
/// subscriptions must be locked.
pub async fn list_erased_payers(conn: &mut PgConnection, customers: &[&str]) -> Result<Vec<String>, Error> {
    if customers.is_empty() {
        return Ok(Vec::new());
    }
    let payers = sqlx::query_scalar!(
        r#"SELECT p.customer_id AS "id!" FROM payment_events p JOIN subscriptions s ON s.id = p.subscription_id
           WHERE p.customer_id = ANY($1) GROUP BY p.customer_id
           HAVING bool_and(s.erased_at IS NOT NULL
                           OR EXISTS (SELECT FROM erasures WHERE erasures.client_id = s.client_id AND finished_at IS NULL))"#,
        customers as &[&str]
    );
    Ok(payers.fetch_all(conn).await?)
}

/// Reduces what events of Stripe's say to these payloads, and forgets the references in the facts that were read from them. The
/// events must be locked.
///
/// # Errors
/// [`Error::RowCount`], when an event does not exist.
pub async fn reduce_payments(conn: &mut PgConnection, reduced: &[(i64, Value)]) -> Result<(), Error> {
    if reduced.is_empty() {
        return Ok(());
    }
    let (ids, payloads): (Vec<i64>, Vec<Value>) = reduced.iter().cloned().unzip();
    let result = sqlx::query!(
        "UPDATE events SET payload = reduced.payload FROM unnest($1::BIGINT[], $2::JSONB[]) AS reduced (id, payload)
         WHERE events.id = reduced.id",
        &ids,
        &payloads
    );
    ensure_rows(&result.execute(&mut *conn).await?, reduced.len(), "reducing the events of erased payers")?;
    sqlx::query!("UPDATE payment_events SET reference = NULL WHERE event_id = ANY($1) AND reference IS NOT NULL", &ids)
        .execute(conn)
        .await?;
    Ok(())
}

/// Removes the recipients from delivery reports about texts that are not ours: such a text may be an erased person's.
pub async fn forget_recipients(conn: &mut PgConnection, event_ids: &[i64]) -> Result<(), Error> {
    if event_ids.is_empty() {
        return Ok(());
    }
    let result = sqlx::query!("UPDATE events SET payload = payload - 'to' WHERE id = ANY($1)", event_ids);
    ensure_rows(&result.execute(conn).await?, event_ids.len(), "forgetting the recipients of unknown texts")
}

/// Returns whether any erased person had opted out. Without `ERASURE_KEY`, a worker would text such a person again.
pub async fn any_opt_out(conn: &mut PgConnection) -> Result<bool, Error> {
    let any = sqlx::query_scalar!(r#"SELECT EXISTS (SELECT FROM erased_opt_outs) AS "any!""#);
    Ok(any.fetch_one(conn).await?)
}
