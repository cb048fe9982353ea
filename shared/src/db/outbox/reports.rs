//! Twilio's delivery reports about texts, and the texts that have none.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_twilio::errors;
use sqlx::{PgConnection, PgPool};

use crate::db::Error;
use crate::traces::{Span, SpanName, Traceparent};

/// A delivery report about a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryReport {
    /// Our `messages.id`, if the report carries it.
    pub message_id: Option<i64>,
    /// Twilio's name for the text.
    pub sid: String,
    /// The recipient, E.164, if the report contains it. A report with an id of ours but another recipient is about a
    /// text that is not ours.
    pub to: Option<String>,
    /// How far Twilio got.
    pub progress: DeliveryProgress,
    /// Twilio's error code.
    pub error_code: Option<i32>,
}

/// How far Twilio got with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeliveryProgress {
    /// Twilio has the text.
    Taken,
    /// Twilio has passed the text to the carrier.
    Sent,
    /// The carrier reports that it arrived.
    Delivered,
    /// The carrier reports that it did not arrive.
    Undelivered,
    /// Twilio gave up.
    Failed,
}

impl DeliveryProgress {
    /// Maps Twilio's MessageStatus. Every status proves that Twilio has the text.
    #[must_use]
    pub fn of_status(status: &str) -> Self {
        match status {
            "delivered" | "read" => Self::Delivered,
            "undelivered" => Self::Undelivered,
            "failed" | "canceled" => Self::Failed,
            "sent" => Self::Sent,
            _ => Self::Taken,
        }
    }

    /// Returns whether this proves that the account may send. `Undelivered` does not: the account may be the reason.
    #[must_use]
    pub const fn shows_it_left(self) -> bool {
        matches!(self, Self::Sent | Self::Delivered)
    }

    /// Returns the status of a text of which this is known, as it is stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Taken | Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Undelivered => "undelivered",
            Self::Failed => "failed",
        }
    }
}

/// A text of ours, after a report about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reported {
    /// `messages.id`.
    pub id: i64,
    /// The kind of the text, by name.
    pub kind: String,
    /// The client it is for.
    pub client_id: Option<String>,
    /// The recipient, E.164.
    pub to: String,
    /// When the reported attempt began.
    pub attempted_at: Option<DateTime<Utc>>,
    /// Whether this is the second try of a text that was not delivered.
    pub second_try: bool,
    /// Whether the report changed the status.
    pub moved: bool,
    /// Whether the text was reported as lost before, and arrived after all.
    pub arrived_after_all: bool,
    /// Twilio's error code of the text before this report.
    pub code_before: Option<i32>,
    /// The span that wrote the text, in W3C's form, if its trace is sampled.
    pub traceparent: Option<String>,
}

impl Reported {
    /// Begins the span of a report about it, which was received at `received_at` by the span `webhook`.
    #[must_use]
    pub fn report_span(&self, webhook: Option<Traceparent>, received_at: DateTime<Utc>) -> Option<Span> {
        let written_by = Traceparent::parse(self.traceparent.as_deref()?)?;
        Span::child_since(SpanName::Report, [Some(written_by), webhook].into_iter().flatten(), received_at)
    }
}

/// Applies delivery reports, in the order given. Returns for each the text of ours that it is about, if there is one.
///
/// A report that says less than is known changes nothing, and writes nothing. An arrival is final: it replaces an earlier report of a
/// loss, and no later report undoes it. Locks the texts of each round by id, so that two transactions hardly ever deadlock.
pub async fn apply_reports(
    conn: &mut PgConnection,
    reports: &[DeliveryReport],
    now: DateTime<Utc>,
) -> Result<Vec<Option<Reported>>, Error> {
    let mut ids = resolve(conn, reports).await?;
    let overtaken = overtaken(&ids, reports);
    for (place, _) in &overtaken {
        if let Some(id) = ids.get_mut(*place) {
            *id = None;
        }
    }
    let mut reported: Vec<Option<Reported>> = reports.iter().map(|_| None).collect();
    for round in rounds(&ids) {
        let together: Vec<(i64, &DeliveryReport)> =
            round.iter().filter_map(|(id, place)| Some((*id, reports.get(*place)?))).collect();
        let texts = apply_together(conn, &together, now).await?;
        for (id, place) in round {
            if let Some(answer) = reported.get_mut(place) {
                *answer = texts.get(&id).cloned();
            }
        }
    }
    for (place, later) in overtaken {
        let unchanged = |text| Reported { moved: false, arrived_after_all: false, ..text };
        let text = reported.get(later).cloned().flatten().map(unchanged);
        if let Some(answer) = reported.get_mut(place) {
            *answer = text;
        }
    }
    Ok(reported)
}

/// Returns the reports that a text is on its way which a later one about it follows in the same batch: the index of each, and that of
/// the last about its text. Reports that name a text's SID or recipient differently are all applied, each in its turn.
fn overtaken(ids: &[Option<i64>], reports: &[DeliveryReport]) -> Vec<(usize, usize)> {
    let mut about: HashMap<i64, Vec<usize>> = HashMap::new();
    for (place, id) in ids.iter().enumerate() {
        if let Some(id) = id {
            about.entry(*id).or_default().push(place);
        }
    }
    let name = |place: &usize| reports.get(*place).map(|report| (&report.sid, &report.to));
    let agree = |places: &&Vec<usize>| places.iter().all(|place| name(place) == places.first().and_then(name));
    let on_its_way =
        |place: &usize| reports.get(*place).is_some_and(|report| report.progress <= DeliveryProgress::Sent);
    let overtaken =
        about.values().filter(agree).filter_map(|places| places.split_last()).flat_map(|(last, earlier)| {
            earlier.iter().filter(|place| on_its_way(place)).map(|place| (*place, *last)).collect::<Vec<_>>()
        });
    overtaken.collect()
}

/// Returns the text that each report is about: by the id in the report, or else by Twilio's name for the text.
async fn resolve(conn: &mut PgConnection, reports: &[DeliveryReport]) -> Result<Vec<Option<i64>>, Error> {
    let nameless = reports.iter().filter(|report| report.message_id.is_none());
    let sids: Vec<&str> = nameless.map(|report| report.sid.as_str()).collect();
    let mut known = HashMap::new();
    if !sids.is_empty() {
        let rows = sqlx::query!(
            r#"SELECT id, twilio_sid AS "sid!" FROM messages WHERE twilio_sid = ANY($1)"#,
            &sids as &[&str]
        );
        known.extend(rows.fetch_all(conn).await?.into_iter().map(|row| (row.sid, row.id)));
    }
    Ok(reports.iter().map(|report| report.message_id.or_else(|| known.get(&report.sid).copied())).collect())
}

/// Groups reports into as few rounds as possible, so that no two in a round are about the same text: the reports about
/// one text are applied in order. Returns the texts, each with the index of its report.
fn rounds(ids: &[Option<i64>]) -> Vec<Vec<(i64, usize)>> {
    let mut rounds: Vec<Vec<(i64, usize)>> = Vec::new();
    let mut told: HashMap<i64, usize> = HashMap::new();
    for (place, id) in ids.iter().enumerate().filter_map(|(place, id)| Some((place, (*id)?))) {
        let round = told.entry(id).or_default();
        match rounds.get_mut(*round) {
            Some(places) => places.push((id, place)),
            None => rounds.push(vec![(id, place)]),
        }
        *round += 1;
    }
    rounds
}

/// Applies reports of which no two are about the same text. Returns by `messages.id` the texts that match their
/// reports.
async fn apply_together(
    conn: &mut PgConnection,
    reports: &[(i64, &DeliveryReport)],
    now: DateTime<Utc>,
) -> Result<HashMap<i64, Reported>, Error> {
    let ids: Vec<i64> = reports.iter().map(|(id, _)| *id).collect();
    let sids: Vec<&str> = reports.iter().map(|(_, it)| it.sid.as_str()).collect();
    let statuses: Vec<&str> = reports.iter().map(|(_, it)| it.progress.name()).collect();
    let codes: Vec<Option<i32>> = reports.iter().map(|(_, it)| it.error_code).collect();
    let to: Vec<Option<&str>> = reports.iter().map(|(_, it)| it.to.as_deref()).collect();
    let meaning =
        |it: &DeliveryReport| (it.progress > DeliveryProgress::Delivered).then(|| errors::meaning(it.error_code));
    let meanings: Vec<Option<&str>> = reports.iter().map(|(_, it)| meaning(it)).collect();
    let texts = sqlx::query_as!(
        Reported,
        r#"WITH came AS (
               SELECT * FROM unnest($1::BIGINT[], $2::TEXT[], $3::TEXT[], $4::INTEGER[], $5::TEXT[], $6::TEXT[])
                   AS came (id, sid, status, code, to_phone, meaning)
           ), texts AS MATERIALIZED (
               SELECT m.id, kind, client_id, m.to_phone, attempted_at, retry_of, error_code, traceparent
               FROM came JOIN messages m ON m.id = came.id
               WHERE (m.twilio_sid IS NULL OR m.twilio_sid = came.sid) AND m.attempted_at IS NOT NULL
                 AND (came.to_phone IS NULL OR m.to_phone = came.to_phone)
           ), before AS (
               SELECT m.id, came.sid, came.status, came.code, came.meaning, m.status AS was, m.error_code AS code_before, open
               FROM came JOIN messages m ON m.id = came.id
               CROSS JOIN LATERAL (SELECT m.status IN ('queued', 'sending', 'unknown', 'sent')
                                       OR (m.status IN ('undelivered', 'failed') AND came.status = 'delivered')) AS text (open)
               WHERE (m.twilio_sid IS NULL OR m.twilio_sid = came.sid) AND m.attempted_at IS NOT NULL
                 AND (came.to_phone IS NULL OR m.to_phone = came.to_phone)
                 -- Only those that the report changes.
                 AND (m.twilio_sid IS NULL OR m.next_attempt_at IS NOT NULL
                      OR (open AND (m.status <> came.status OR m.error_code IS DISTINCT FROM came.code
                                    OR m.error_message IS DISTINCT FROM came.meaning))
                      OR (m.check_at IS NOT NULL) <> (open AND came.status = 'sent'))
               ORDER BY m.id FOR NO KEY UPDATE OF m
           ), changed AS (
               UPDATE messages
               SET twilio_sid = COALESCE(twilio_sid, before.sid), updated_at = $7,
                   error_code = CASE WHEN open THEN before.code ELSE error_code END,
                   error_message = CASE WHEN open THEN before.meaning ELSE error_message END, next_attempt_at = NULL,
                   status = CASE WHEN open THEN before.status ELSE messages.status END,
                   check_at = CASE WHEN NOT open OR before.status <> 'sent' THEN NULL ELSE COALESCE(check_at, $8) END
               FROM before WHERE messages.id = before.id
               RETURNING messages.id, open AND was <> before.status AS moved,
                         open AND was IN ('undelivered', 'failed') AS arrived_after_all, before.code_before
           )
           SELECT texts.id, kind, client_id, to_phone AS "to", attempted_at, retry_of IS NOT NULL AS "second_try!",
                  COALESCE(moved, FALSE) AS "moved!",
                  COALESCE(arrived_after_all, FALSE) AS "arrived_after_all!",
                  CASE WHEN changed.id IS NULL THEN error_code ELSE code_before END AS code_before, traceparent
           FROM texts LEFT JOIN changed ON changed.id = texts.id"#,
        &ids,
        &sids as &[&str],
        &statuses as &[&str],
        &codes as &[Option<i32>],
        &to as &[Option<&str>],
        &meanings as &[Option<&str>],
        now,
        now + CHECK_AFTER
    )
    .fetch_all(conn)
    .await?;
    Ok(texts.into_iter().map(|text| (text.id, text)).collect())
}

/// Returns whether a text is queued to any of these phones (E.164).
pub async fn any_queued_to(conn: &mut PgConnection, phones: &[&str]) -> Result<bool, Error> {
    let any = sqlx::query_scalar!(
        // By the index of unsettled texts, which begins with the phone.
        r#"SELECT EXISTS (SELECT FROM unnest($1::TEXT[]) AS asked (phone)
                          CROSS JOIN LATERAL (SELECT FROM messages
                                              WHERE to_phone = asked.phone AND status IN ('queued', 'sending', 'unknown')
                                                AND status = 'queued' LIMIT 1) AS waits) AS "any!""#,
        phones as &[&str]
    );
    Ok(any.fetch_one(conn).await?)
}

/// Events after the sending of a text that is now known not to have arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaterActivity {
    /// The conversation went on, so that the text is out of date.
    pub went_on: bool,
    /// Its recipient opted in again.
    pub opted_in: bool,
}

/// Returns what happened since the texts `ids` were sent.
pub async fn list_later_activity(conn: &mut PgConnection, ids: &[i64]) -> Result<HashMap<i64, LaterActivity>, Error> {
    let rows = sqlx::query!(
        r#"SELECT m.id,
                  EXISTS (SELECT FROM messages newer WHERE newer.client_id = m.client_id AND newer.id > m.id
                            AND newer.event_id IS NOT NULL AND newer.retry_of IS NULL AND NOT newer.held_back
                            AND newer.status NOT IN ('undelivered', 'failed')
                            -- These leave the client where it was, and do not repeat what it missed.
                            AND newer.kind NOT IN ('missed_call', 'voicemail', 'text_back', 'no_hurry', 'ask_confirm_live', 'remind_forwarding')
                  ) AS "went_on!",
                  EXISTS (SELECT FROM opt_changes o WHERE o.phone = substr(m.to_phone, 2) AND o.change = 'in'
                            AND o.changed_at > m.attempted_at) AS "opted_in!"
           FROM messages m WHERE m.id = ANY($1)"#,
        ids
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, LaterActivity { went_on: row.went_on, opted_in: row.opted_in })).collect())
}

/// How long after sending a text without a final report Twilio is asked for its status.
pub const CHECK_AFTER: TimeDelta = TimeDelta::minutes(15);

/// How long after each question without a final status the next one follows, in seconds. After the last one the text
/// stays sent: not every carrier reports.
const CHECK_AGAIN_AFTER: [i32; 3] = [3_600, 6 * 3_600, 24 * 3_600];

/// A text without a final report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreported {
    /// `messages.id`.
    pub id: i64,
    /// Twilio's name for it.
    pub sid: String,
}

/// Claims texts whose status is due to be asked for, at most `limit`. Schedules the next question at once, so that no
/// two workers ask at the same time.
pub async fn claim_unreported(pool: &PgPool, now: DateTime<Utc>, limit: i64) -> Result<Vec<Unreported>, Error> {
    let claimed = sqlx::query_as!(
        Unreported,
        r#"UPDATE messages
           SET checks = checks + 1, check_at = $1 + make_interval(secs => ($3::INTEGER[])[checks + 1])
           -- Of a time that it does not know, the planner takes a third of all rows to be before it, empty or not.
           WHERE id IN (SELECT id FROM messages
                        WHERE check_at IS NOT NULL AND check_at <= $1 AND twilio_sid IS NOT NULL
                        ORDER BY check_at LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED)
           RETURNING id, twilio_sid AS "sid!""#,
        now,
        limit,
        &CHECK_AGAIN_AFTER
    );
    Ok(claimed.fetch_all(pool).await?)
}

/// Returns whether the status of any text is due to be asked for.
pub async fn any_unreported(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<bool, Error> {
    // `check_at IS NOT NULL` is needed here as in `claim_unreported`: without it, every look reads the whole outbox.
    let any = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM messages WHERE check_at IS NOT NULL AND check_at <= $1) AS "any!""#,
        now
    );
    Ok(any.fetch_one(conn).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_on_the_way_is_overtaken_by_a_later_one_about_the_same_text_and_recipient() {
        let report = |sid: &str, progress| DeliveryReport {
            message_id: Some(1),
            sid: sid.to_owned(),
            to: Some("+447900000001".to_owned()),
            progress,
            error_code: None,
        };
        let (sent, delivered) = (DeliveryProgress::Sent, DeliveryProgress::Delivered);
        let reports = [report("SM1", sent), report("SM2", sent), report("SM1", delivered), report("SM1", sent)];
        assert_eq!(overtaken(&[Some(1), Some(2), Some(1), Some(1)], &reports), [(0, 3)]);
        assert_eq!(overtaken(&[Some(1), Some(2), Some(1), None], &reports), [(0, 2)]);
        assert_eq!(overtaken(&[None, Some(2), Some(1), None], &reports), [], "a text that is not ours");
        let elsewhere = DeliveryReport { to: Some("+447900000002".to_owned()), ..report("SM1", delivered) };
        assert_eq!(overtaken(&[Some(1), Some(1)], &[report("SM1", sent), elsewhere]), [], "another recipient");
        let twice = [report("SM1", sent), report("SM2", sent), report("SM1", delivered)];
        assert_eq!(overtaken(&[Some(1); 3], &twice), [], "the first report says which SID is the text's");
    }
}
