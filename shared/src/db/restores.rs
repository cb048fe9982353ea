//! Restores of the database from a backup, and the texts that are unrecorded since then.
//!
//! An unrecorded text is one that Twilio has from us and whose row the restored database lacks. What caused it happens again when
//! its event is fetched or repeated, and the same text is then written once more. [`settle_sent`] finds such texts before
//! they leave.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use jobrun_onboarding::E164;
use jobrun_twilio::lists::Sent;
use sqlx::{PgConnection, PgPool};

use super::Error;

/// How many ids of texts are left out after a restore. Twilio may still report about unrecorded texts by their ids.
const IDS_LEFT_OUT: i64 = 1_000_000;

/// Returns the time up to which the database surely has every text: that of its last event, or that of the last comparison
/// with Twilio's list, whichever is earlier. Restores since `recent` and unfinished ones were perhaps not complete, so their lists
/// count anew: a number may have been added to the pool since then.
pub async fn find_last_known(pool: &PgPool, recent: DateTime<Utc>) -> Result<DateTime<Utc>, Error> {
    let known = sqlx::query_scalar!(
        r#"SELECT LEAST(audited_until, (SELECT received_at FROM events WHERE id = (SELECT max(id) FROM events)),
                        (SELECT min(listed_since) FROM restores WHERE restored_at > $1 OR last_event_id IS NULL)) AS "known!"
           FROM audits"#,
        recent
    );
    Ok(known.fetch_one(pool).await?)
}

/// Returns which of our daemons are connected to this database, by name.
pub async fn list_running_daemons(pool: &PgPool) -> Result<Vec<String>, Error> {
    let running = sqlx::query_scalar!(
        r#"SELECT DISTINCT application_name AS "name!" FROM pg_stat_activity
           WHERE datname = current_database() AND application_name IN ('jobrun-ingress', 'jobrun-worker') ORDER BY 1"#
    );
    Ok(running.fetch_all(pool).await?)
}

/// Records a restore. Returns its id.
pub async fn begin(conn: &mut PgConnection, listed_since: DateTime<Utc>, now: DateTime<Utc>) -> Result<i64, Error> {
    let id = sqlx::query_scalar!(
        "INSERT INTO restores (restored_at, listed_since) VALUES ($1, $2) RETURNING id",
        now,
        listed_since
    );
    Ok(id.fetch_one(conn).await?)
}

/// Leaves out the ids that unrecorded texts may have had: a late delivery report would be taken for one about another text.
/// A rollback does not undo this.
pub async fn leave_out_unrecorded_ids(conn: &mut PgConnection) -> Result<(), Error> {
    sqlx::query_scalar!(
        "SELECT setval(pg_get_serial_sequence('messages', 'id'), nextval(pg_get_serial_sequence('messages', 'id')) + $1)",
        IDS_LEFT_OUT
    )
    .fetch_one(conn)
    .await?;
    Ok(())
}

/// Adds unrecorded texts. Returns how many were not known yet.
pub async fn insert_unrecorded(conn: &mut PgConnection, restore_id: i64, unrecorded: &[Sent]) -> Result<u64, Error> {
    let sids: Vec<&str> = unrecorded.iter().map(|text| text.sid.as_str()).collect();
    let to: Vec<&str> = unrecorded.iter().map(|text| text.to.as_str()).collect();
    let from: Vec<&str> = unrecorded.iter().map(|text| text.from.as_str()).collect();
    let bodies: Vec<&str> = unrecorded.iter().map(|text| text.body.as_str()).collect();
    let times: Vec<DateTime<Utc>> = unrecorded.iter().map(|text| text.sent_at).collect();
    let inserted = sqlx::query!(
        "INSERT INTO unrecorded_texts (twilio_sid, restore_id, to_phone, from_number, body, sent_at)
         SELECT sid, $1, to_phone, from_number, body, sent_at
         FROM unnest($2::TEXT[], $3::TEXT[], $4::TEXT[], $5::TEXT[], $6::TIMESTAMPTZ[])
             AS unrecorded (sid, to_phone, from_number, body, sent_at)
         ON CONFLICT ON CONSTRAINT an_unrecorded_text_is_known_by_its_sid DO NOTHING",
        restore_id,
        &sids as &[&str],
        &to as &[&str],
        &from as &[&str],
        &bodies as &[&str],
        &times
    );
    Ok(inserted.execute(conn).await?.rows_affected())
}

/// Marks restores as done, those that were cut short included. From now on, texts that follow from a webhook are new.
pub async fn finish(conn: &mut PgConnection) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE restores SET last_event_id = COALESCE((SELECT max(id) FROM events), 0) WHERE last_event_id IS NULL"
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Returns when the oldest unfinished restore was made: `jobrun restored` was cut short and not run again.
pub async fn find_unfinished(conn: &mut PgConnection) -> Result<Option<DateTime<Utc>>, Error> {
    let since = sqlx::query_scalar!("SELECT min(restored_at) FROM restores WHERE last_event_id IS NULL");
    Ok(since.fetch_one(conn).await?)
}

/// Marks those of the queued texts `ids` as sent that are unrecorded texts: the same recipient, sender and words. Each unrecorded text
/// stands for one. Returns the ids of the texts that were sent.
///
/// A text that follows from a text or call received after the restore is never among them: that was not answered before.
/// The caller must have locked the texts.
pub async fn settle_sent(conn: &mut PgConnection, ids: &[i64], now: DateTime<Utc>) -> Result<Vec<i64>, Error> {
    // The earliest restore comes first: a text that fits it fits the later ones as well, so none takes the place of another.
    let restores = sqlx::query!(
        "SELECT id, last_event_id FROM restores
         WHERE (SELECT twilio_sid FROM unrecorded_texts WHERE restore_id = restores.id LIMIT 1) IS NOT NULL
         ORDER BY last_event_id NULLS LAST, restores.id"
    );
    let mut sent = Vec::new();
    for restore in restores.fetch_all(&mut *conn).await? {
        sent.extend(settle_sent_before(conn, restore.id, restore.last_event_id, ids, now).await?);
    }
    Ok(sent)
}

/// Does [`settle_sent`] for the unrecorded texts of one restore.
async fn settle_sent_before(
    conn: &mut PgConnection,
    restore_id: i64,
    last_event_id: Option<i64>,
    ids: &[i64],
    now: DateTime<Utc>,
) -> Result<Vec<i64>, Error> {
    // Texts are numbered after those that cannot have been sent before are left out, or these would take the places of others.
    let sent = sqlx::query_scalar!(
        r#"WITH ours AS (
               SELECT m.id, m.to_phone, m.from_number, m.body,
                      row_number() OVER (PARTITION BY m.to_phone, m.from_number, m.body ORDER BY m.id) AS place
               FROM messages m LEFT JOIN events e ON e.id = m.event_id AND e.source = 'twilio'
               WHERE m.id = ANY($1) AND m.status = 'queued' AND (e.id IS NULL OR $4::BIGINT IS NULL OR e.id <= $4)
           ), unrecorded AS (
               SELECT l.twilio_sid, l.to_phone, l.from_number, l.body, l.sent_at,
                      row_number() OVER (PARTITION BY l.to_phone, l.from_number, l.body ORDER BY l.sent_at, l.twilio_sid) AS place
               FROM unrecorded_texts l
               WHERE l.restore_id = $3 AND l.to_phone IN (SELECT to_phone FROM ours)
                 -- Looked up for each: joined, it may be answered by reading all texts.
                 AND (SELECT m.id FROM messages m WHERE m.twilio_sid = l.twilio_sid) IS NULL
           )
           UPDATE messages
           SET status = 'sent', twilio_sid = unrecorded.twilio_sid, attempted_at = unrecorded.sent_at, next_attempt_at = NULL,
               check_at = $2, updated_at = $2, error_message = NULL
           FROM ours JOIN unrecorded USING (to_phone, from_number, body, place)
           WHERE messages.id = ours.id
           RETURNING messages.id"#,
        ids,
        now,
        restore_id,
        last_event_id
    );
    Ok(sent.fetch_all(conn).await?)
}

/// The unrecorded texts that no text of ours has been paired with by [`settle_sent`].
#[derive(Clone, Debug, Default)]
pub struct Unpaired {
    /// By recipient, sender and words: the last event of the restore of each text; nothing if the restore is unfinished.
    last_event_ids: HashMap<(String, String, String), Vec<Option<i64>>>,
}

impl Unpaired {
    /// Takes the text that [`settle_sent`] will pair with one of ours that follows from the event `event_id`. Returns whether there
    /// is one.
    pub fn take(&mut self, to: &str, from: &str, body: &str, event_id: Option<i64>) -> bool {
        let words = (to.to_owned(), from.to_owned(), body.to_owned());
        let Some(last_event_ids) = self.last_event_ids.get_mut(&words) else { return false };
        let fits = |last: &Option<i64>| last.zip(event_id).is_none_or(|(last, event_id)| event_id <= last);
        let place = last_event_ids.iter().position(fits);
        place.map(|place| last_event_ids.remove(place)).is_some()
    }
}

/// Returns the unrecorded texts to `phones` that are not paired yet.
pub async fn list_unpaired(conn: &mut PgConnection, phones: &[&E164]) -> Result<Unpaired, Error> {
    let digits: Vec<&str> = phones.iter().map(|phone| phone.as_str()).collect();
    let rows = sqlx::query!(
        "SELECT u.to_phone, u.from_number, u.body, r.last_event_id FROM unrecorded_texts u JOIN restores r ON r.id = u.restore_id
         WHERE u.to_phone = ANY($1) AND (SELECT m.id FROM messages m WHERE m.twilio_sid = u.twilio_sid) IS NULL
         ORDER BY r.last_event_id NULLS LAST, r.id",
        &digits as &[&str]
    );
    let mut unpaired = Unpaired::default();
    for row in rows.fetch_all(conn).await? {
        let words = (row.to_phone, row.from_number, row.body);
        unpaired.last_event_ids.entry(words).or_default().push(row.last_event_id);
    }
    Ok(unpaired)
}

/// Removes the unrecorded texts of restores before `before`. Returns how many.
pub async fn forget_unrecorded(conn: &mut PgConnection, before: DateTime<Utc>) -> Result<u64, Error> {
    let gone = sqlx::query!(
        "DELETE FROM unrecorded_texts WHERE restore_id IN (SELECT id FROM restores WHERE restored_at < $1)",
        before
    );
    Ok(gone.execute(conn).await?.rows_affected())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unrecorded_text_is_taken_once_and_by_no_text_that_follows_from_a_later_event_than_its_restore() {
        let words = || ("ann".to_owned(), "us".to_owned(), "Hi".to_owned());
        let mut unpaired = Unpaired { last_event_ids: HashMap::from([(words(), vec![Some(10), Some(20)])]) };
        assert!(!unpaired.take("ann", "us", "Hi!", Some(5)) && !unpaired.take("ann", "another", "Hi", Some(5)));
        assert!(!unpaired.take("ben", "us", "Hi", Some(5)), "another recipient");
        assert!(!unpaired.take("ann", "us", "Hi", Some(21)));
        assert!(unpaired.take("ann", "us", "Hi", Some(20)), "of the later restore");
        assert!(!unpaired.take("ann", "us", "Hi", Some(20)), "the other is of an earlier restore");
        assert!(unpaired.take("ann", "us", "Hi", Some(10)) && !unpaired.take("ann", "us", "Hi", Some(10)));
        let mut unpaired = Unpaired { last_event_ids: HashMap::from([(words(), vec![None, Some(1)])]) };
        assert!(unpaired.take("ann", "us", "Hi", Some(99)), "a restore that is unfinished");
        assert!(unpaired.take("ann", "us", "Hi", None), "no event");
    }
}
