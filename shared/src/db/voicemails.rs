//! Messages that callers left: the link to each, and the deletion of its recording at Twilio.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{Error, LOOKED_AT, ensure_rows};

/// The path of the links, before their secrets.
pub const PATH: &str = "/voicemail/";

/// A message that a caller left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewVoicemail {
    /// The client who is told of it, if there is one.
    pub client_id: Option<String>,
    /// Twilio's name for the recording.
    pub recording_sid: String,
    /// The SHA-256 of the secret in the link, if there is a link.
    pub token_sha256: Option<Vec<u8>>,
    /// When the link ends, and the recording is deleted at Twilio.
    pub expires_at: DateTime<Utc>,
}

/// Adds messages. A recording that is known already is left as it is.
pub async fn insert(conn: &mut PgConnection, voicemails: &[NewVoicemail], now: DateTime<Utc>) -> Result<(), Error> {
    if voicemails.is_empty() {
        return Ok(());
    }
    let clients: Vec<Option<&str>> = voicemails.iter().map(|it| it.client_id.as_deref()).collect();
    let recordings: Vec<&str> = voicemails.iter().map(|it| it.recording_sid.as_str()).collect();
    let tokens: Vec<Option<&[u8]>> = voicemails.iter().map(|it| it.token_sha256.as_deref()).collect();
    let ends: Vec<DateTime<Utc>> = voicemails.iter().map(|it| it.expires_at).collect();
    sqlx::query!(
        "INSERT INTO voicemails (client_id, recording_sid, token_sha256, expires_at, next_attempt_at, recorded_at)
         SELECT client_id, recording_sid, token_sha256, expires_at, expires_at, $5
         FROM unnest($1::TEXT[], $2::TEXT[], $3::BYTEA[], $4::TIMESTAMPTZ[])
             AS v (client_id, recording_sid, token_sha256, expires_at)
         ON CONFLICT ON CONSTRAINT a_recording_is_known_once DO NOTHING",
        &clients as &[Option<&str>],
        &recordings as &[&str],
        &tokens as &[Option<&[u8]>],
        &ends,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// What a link leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linked {
    /// Twilio's name for the recording.
    pub recording_sid: String,
    /// When the link ends.
    pub expires_at: DateTime<Utc>,
    /// Whether the recording is deleted.
    pub is_deleted: bool,
}

/// Returns what the link with this digest leads to, if there is such a link.
pub async fn find_linked(conn: &mut PgConnection, token_sha256: &[u8]) -> Result<Option<Linked>, Error> {
    let found = sqlx::query_as!(
        Linked,
        r#"SELECT recording_sid AS "recording_sid!", expires_at AS "expires_at!", is_deleted AS "is_deleted!"
           FROM find_voicemail($1)"#,
        token_sha256
    );
    Ok(found.fetch_optional(conn).await?)
}

/// Returns whether a caller of `number` may leave a message: a live client holds it, and may be told.
pub async fn takes_messages(conn: &mut PgConnection, number: &str) -> Result<bool, Error> {
    let takes = sqlx::query_scalar!(r#"SELECT number_takes_messages($1) AS "takes!""#, number);
    Ok(takes.fetch_one(conn).await?)
}

/// Returns which of these recordings are known: as messages, or by their reports.
pub async fn list_known(conn: &mut PgConnection, sids: &[&str]) -> Result<HashSet<String>, Error> {
    let known = sqlx::query_scalar!(
        r#"SELECT recording_sid AS "sid!" FROM voicemails WHERE recording_sid = ANY($1)
           UNION SELECT external_id FROM events WHERE source = 'twilio' AND external_id = ANY($1)"#,
        sids as &[&str]
    );
    Ok(known.fetch_all(conn).await?.into_iter().collect())
}

/// A number of ours that was called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OurNumber {
    /// Whether a client holds it.
    pub is_held: bool,
    /// Since when, as far as the pool knows.
    pub assigned_at: Option<DateTime<Utc>>,
    /// When it was first given to a client: what was recorded before is not ours.
    pub first_assigned_at: Option<DateTime<Utc>>,
}

/// Returns who has a number, if it is in the pool or a client holds it.
pub async fn find_our_number(conn: &mut PgConnection, number: &str) -> Result<Option<OurNumber>, Error> {
    let found = sqlx::query_as!(
        OurNumber,
        r#"SELECT client.id IS NOT NULL AS "is_held!", pool.assigned_at,
                  (SELECT min(changed_at) FROM number_changes WHERE number = called.number AND change = 'assigned')
                      AS first_assigned_at
           FROM (SELECT $1::TEXT AS number) AS called
           LEFT JOIN twilio_number_pool pool ON pool.phone_e164 = called.number
           LEFT JOIN clients client ON client."twilioNumber" = called.number
           WHERE pool.phone_e164 IS NOT NULL OR client.id IS NOT NULL"#,
        number
    );
    Ok(found.fetch_optional(conn).await?)
}

/// The recordings that should have been deleted at Twilio before a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// How many there are, a thousand at most.
    pub count: i64,
    /// When the first was due.
    pub since: DateTime<Utc>,
}

/// Returns the recordings whose deletion was due before `before`, if there are any.
pub async fn find_kept(conn: &mut PgConnection, before: DateTime<Utc>) -> Result<Option<Kept>, Error> {
    let kept = sqlx::query!(
        r#"SELECT count(*) AS "count!", min(expires_at) AS since
           FROM (SELECT expires_at FROM voicemails WHERE deleted_at IS NULL AND expires_at < $1 ORDER BY expires_at LIMIT $2) AS kept"#,
        before,
        LOOKED_AT
    );
    let kept = kept.fetch_one(conn).await?;
    Ok(kept.since.map(|since| Kept { count: kept.count, since }))
}

/// A recording that is to be deleted at Twilio.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToDelete {
    /// `voicemails.id`.
    pub id: i64,
    /// Twilio's name for it.
    pub recording_sid: String,
    /// How often its deletion was tried, this time included.
    pub attempts: i32,
}

/// Locks recordings whose deletion is due, the longest due first, at most `limit`, and skips those that another transaction has
/// locked.
pub async fn lock_due(conn: &mut PgConnection, now: DateTime<Utc>, limit: i64) -> Result<Vec<ToDelete>, Error> {
    let due = sqlx::query_as!(
        ToDelete,
        r#"SELECT id, recording_sid, attempts + 1 AS "attempts!" FROM voicemails
           WHERE deleted_at IS NULL AND next_attempt_at <= $1
           ORDER BY next_attempt_at LIMIT $2 FOR UPDATE SKIP LOCKED"#,
        now,
        limit
    );
    Ok(due.fetch_all(conn).await?)
}

/// Saves that deletions are tried now, and when each is tried again if it fails or its outcome is lost. The rows must be locked.
pub async fn save_attempts(
    conn: &mut PgConnection,
    tried: &[ToDelete],
    again_at: &[DateTime<Utc>],
) -> Result<(), Error> {
    let ids: Vec<i64> = tried.iter().map(|it| it.id).collect();
    let saved = sqlx::query!(
        "UPDATE voicemails SET attempts = attempts + 1, next_attempt_at = tried.again_at
         FROM unnest($1::BIGINT[], $2::TIMESTAMPTZ[]) AS tried (id, again_at) WHERE voicemails.id = tried.id",
        &ids,
        again_at
    );
    ensure_rows(&saved.execute(conn).await?, tried.len(), "saving that recordings are being deleted")
}

/// Saves that Twilio has deleted a recording. It may have been saved before.
pub async fn save_deleted(conn: &mut PgConnection, recording_sid: &str, now: DateTime<Utc>) -> Result<(), Error> {
    let saved = sqlx::query!(
        "UPDATE voicemails SET deleted_at = COALESCE(deleted_at, $2), expires_at = LEAST(expires_at, $2) WHERE recording_sid = $1",
        recording_sid,
        now
    );
    ensure_rows(&saved.execute(conn).await?, 1, "saving that a recording is deleted")
}

/// Removes what was deleted before `before`, a thousand rows at most, and skips those that another transaction has locked. From then
/// on the link is unknown. Returns how many.
pub async fn remove_deleted_before(conn: &mut PgConnection, before: DateTime<Utc>) -> Result<usize, Error> {
    let removed = sqlx::query!(
        "DELETE FROM voicemails WHERE id = ANY(ARRAY(SELECT id FROM voicemails WHERE deleted_at < $1
                                                     ORDER BY deleted_at LIMIT $2 FOR UPDATE SKIP LOCKED))",
        before,
        LOOKED_AT
    );
    Ok(usize::try_from(removed.execute(conn).await?.rows_affected()).unwrap_or(usize::MAX))
}

/// Ends the links to a client's messages, whose recordings the erasure deletes. The client must be locked.
pub async fn hand_to_erasure(
    conn: &mut PgConnection,
    client_id: &str,
    erasure_id: i64,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE voicemails SET client_id = NULL, erasure_id = $2, token_sha256 = NULL, expires_at = LEAST(expires_at, $3),
                               next_attempt_at = LEAST(next_attempt_at, $3)
         WHERE client_id = $1",
        client_id,
        erasure_id,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Returns the recordings of an erasure that are not deleted yet.
pub async fn list_of_erasure(conn: &mut PgConnection, erasure_id: i64) -> Result<Vec<String>, Error> {
    let recordings = sqlx::query_scalar!(
        "SELECT recording_sid FROM voicemails WHERE erasure_id = $1 AND deleted_at IS NULL ORDER BY id",
        erasure_id
    );
    Ok(recordings.fetch_all(conn).await?)
}

/// Counts the recordings of an erasure.
pub async fn count_of_erasure(conn: &mut PgConnection, erasure_id: i64) -> Result<i64, Error> {
    let count = sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM voicemails WHERE erasure_id = $1"#, erasure_id);
    Ok(count.fetch_one(conn).await?)
}
