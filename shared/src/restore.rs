//! Completes a database that was restored from a backup. `jobrun restored` runs this once, before the programs start again.
//!
//! Twilio's list has the texts in both directions. Received texts that are missing are recorded as events, in the order and with the
//! times of their arrival, so that the conversation is decided as it was before. Sent texts that are missing are kept for
//! [`KEPT_FOR`] as *unrecorded texts*: when the worker writes such a text again, it counts as sent ([`restores::settle_sent`]). A
//! client that they name is created with the payment reference of its link, and a number that they tell is kept for its client.
//!
//! Everything but the events is one transaction, and comes before them: a crash at any point leaves no text that can be sent twice.
//! Running this again completes it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_onboarding::{E164, can_hold_a_conversation, sent_text};
use jobrun_twilio::api::Api;
use jobrun_twilio::lists::{Inbound, Sent, Texts};
use sqlx::{PgConnection, PgPool};

use crate::db::clients::NewClient;
use crate::db::inbox::{self, NewEvent, Payload};
use crate::db::numbers::{self, Kept, Told};
use crate::db::{self, audits, clients, outbox, restores};
use crate::missed_texts;
use crate::queue::{self, Queue};

/// How long unrecorded texts are known. Stripe repeats an event for three days.
pub const KEPT_FOR: TimeDelta = TimeDelta::days(3);

/// How far Twilio's list is read beyond the last known event: the delay until it shows a text is undocumented.
const OVERLAP: TimeDelta = TimeDelta::minutes(10);

/// The number of missed texts recorded in one transaction.
const RECORD_BATCH_MAX: usize = 100;

/// Twilio's dates are cut to whole seconds. An answer counts as written one second earlier, or a reply within the same second
/// would seem to be sent before it.
const DATE_PRECISION: TimeDelta = TimeDelta::seconds(1);

/// An error of [`find`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database.
    #[error(transparent)]
    Database(#[from] db::Error),
    /// Twilio's list.
    #[error(transparent)]
    Twilio(#[from] jobrun_twilio::Error),
    /// Daemons run.
    #[error(
        "{} runs on this database: stop it, because it could send a text again. Then run this once more",
        .0.join(" and ")
    )]
    Running(Vec<String>),
}

/// The texts that Twilio has and the database lacks.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// From when on Twilio's list was read.
    pub since: DateTime<Utc>,
    /// Until when: the time of the reading.
    pub until: DateTime<Utc>,
    /// Texts that came in, in the order of their arrival.
    missed: Vec<Missed>,
    /// Texts that we sent, in order.
    unrecorded: Vec<Sent>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Missed {
    event: NewEvent,
    arrived_at: DateTime<Utc>,
}

/// The result of [`record`].
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// How many texts came in and were recorded.
    pub missed: usize,
    /// How many of them are known to have been answered.
    pub answered: usize,
    /// How many sent texts are unrecorded.
    pub unrecorded: usize,
    /// How many queued texts had been sent.
    pub settled: usize,
    /// The numbers that clients were told, with what became of each.
    pub told: Vec<(Told, Kept)>,
}

/// Finds what the database lacks. Changes nothing.
///
/// # Errors
/// When a daemon runs, Twilio's list cannot be read to its end, or the database does not answer.
pub async fn find(pool: &PgPool, api: &Api, onboarding: &E164, now: DateTime<Utc>) -> Result<Found, Error> {
    ensure_none_runs(pool).await?;
    let since = restores::find_last_known(pool, now - KEPT_FOR).await? - OVERLAP;
    let Texts { inbound, sent } = api.list_texts(since).await?;
    let unrecorded = list_unrecorded(pool, onboarding, sent).await?;
    let inbound = missed_texts::of_our_numbers(pool, onboarding, inbound).await?;
    let missed = list_missed(pool, inbound, &unrecorded).await?;
    Ok(Found { since, until: now, missed, unrecorded })
}

async fn ensure_none_runs(pool: &PgPool) -> Result<(), Error> {
    let running = restores::list_running_daemons(pool).await?;
    if running.is_empty() { Ok(()) } else { Err(Error::Running(running)) }
}

/// Returns the texts of our numbers whose rows the database lacks.
async fn list_unrecorded(pool: &PgPool, onboarding: &E164, sent: Vec<Sent>) -> Result<Vec<Sent>, db::Error> {
    let senders: Vec<&str> = sent.iter().map(|text| text.from.as_str()).collect();
    let ours = numbers::list_known(&mut *pool.acquire().await?, &senders).await?;
    let sids: Vec<String> = sent.iter().map(|text| text.sid.clone()).collect();
    let known: HashSet<String> = outbox::list_known_sids(pool, &sids).await?.into_iter().collect();
    let is_ours = |text: &Sent| text.from == onboarding.as_str() || ours.contains(&text.from);
    Ok(sent.into_iter().filter(|text| is_ours(text) && !known.contains(&text.sid)).collect())
}

/// Returns the received texts that the inbox lacks, each with the time of its answer among the `unrecorded` texts.
async fn list_missed(pool: &PgPool, inbound: Vec<Inbound>, unrecorded: &[Sent]) -> Result<Vec<Missed>, db::Error> {
    let events: Vec<NewEvent> = inbound.iter().map(missed_texts::as_event).collect();
    let new = inbox::list_new(&mut *pool.acquire().await?, events).await?;
    let new: HashSet<String> = new.into_iter().map(|event| event.external_id).collect();
    let mut answers = Answers::of(unrecorded);
    let missed = inbound.iter().filter(|text| new.contains(&text.sid)).map(|text| {
        let mut event = missed_texts::as_event(text);
        if let Payload::Text { answered_at, .. } = &mut event.payload {
            *answered_at = answers.answer_to(&text.from, text.sent_at).map(|at| at - DATE_PRECISION);
        }
        Missed { event, arrived_at: text.sent_at }
    });
    Ok(missed.collect())
}

/// When each person was sent unrecorded texts.
#[derive(Debug, Default)]
struct Answers<'a> {
    /// By recipient, in order.
    times: HashMap<&'a str, Vec<DateTime<Utc>>>,
    /// The number of texts of a person and a second that an answer was found for.
    of_the_second: HashMap<(String, DateTime<Utc>), usize>,
}

impl<'a> Answers<'a> {
    fn of(unrecorded: &'a [Sent]) -> Self {
        let mut answers = Self::default();
        for text in unrecorded {
            answers.times.entry(&text.to).or_default().push(text.sent_at);
        }
        answers
    }

    /// Returns the time of the answer to the next missed text of `from`, which arrived at `at`.
    ///
    /// Twilio's dates have whole seconds, so an answer of the same second may have been sent before the text arrived. If a second has
    /// more texts than answers, the last of them are answered later, or not at all.
    fn answer_to(&mut self, from: &str, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let times = self.times.get(from)?;
        let answered = self.of_the_second.entry((from.to_owned(), at)).or_default();
        if *answered < times.iter().filter(|time| **time == at).count() {
            *answered += 1;
            return Some(at);
        }
        times.iter().find(|time| **time > at).copied()
    }
}

/// Records what was found. Numbers that clients were told are kept for them, for [`KEPT_FOR`] or `cooling`, whichever is longer.
/// With `dry_run`, changes nothing, and returns what it would have done.
///
/// # Errors
/// When a daemon runs, which may have connected while the list was read, or the database does not answer. Run again, this does
/// the rest.
pub async fn record(pool: &PgPool, found: &Found, cooling: Duration, dry_run: bool) -> Result<Restored, Error> {
    let now = found.until;
    let answered = found.missed.iter().filter(|it| is_answered(&it.event)).count();
    let mut tx = pool.begin().await.map_err(db::Error::from)?;
    let restored = prepare(&mut tx, found, cooling).await?;
    // The queued texts are locked now. Dropping the transaction undoes everything.
    ensure_none_runs(pool).await?;
    if dry_run {
        tx.rollback().await.map_err(db::Error::from)?;
        return Ok(Restored { missed: found.missed.len(), answered, ..restored });
    }
    restores::leave_out_unrecorded_ids(&mut tx).await?;
    tx.commit().await.map_err(db::Error::from)?;
    let mut missed = 0;
    for texts in found.missed.chunks(RECORD_BATCH_MAX) {
        missed += record_missed(pool, texts).await?;
    }
    let mut tx = pool.begin().await.map_err(db::Error::from)?;
    restores::finish(&mut tx).await?;
    audits::save(&mut tx, now).await?;
    tx.commit().await.map_err(db::Error::from)?;
    Ok(Restored { missed, answered, ..restored })
}

fn is_answered(event: &NewEvent) -> bool {
    event.payload.answered_at().is_some()
}

/// Does everything but record the missed texts.
async fn prepare(conn: &mut PgConnection, found: &Found, cooling: Duration) -> Result<Restored, db::Error> {
    let now = found.until;
    clients::insert_with_references(conn, &clients_of(&found.unrecorded)).await?;
    let told = numbers_told(&found.unrecorded);
    let until = now + KEPT_FOR.max(TimeDelta::from_std(cooling).unwrap_or(KEPT_FOR));
    let kept = numbers::keep_told(conn, &told, until, now).await?;
    let id = restores::begin(conn, found.since, now).await?;
    restores::insert_unrecorded(conn, id, &found.unrecorded).await?;
    let queued = outbox::lock_queued(conn).await?;
    let settled = restores::settle_sent(conn, &queued, now).await?.len();
    queue::enqueue(conn, Queue::SendMessages).await?;
    let told = told.into_iter().zip(kept).collect();
    Ok(Restored { unrecorded: found.unrecorded.len(), settled, told, ..Restored::default() })
}

async fn record_missed(pool: &PgPool, texts: &[Missed]) -> Result<usize, db::Error> {
    let mut tx = pool.begin().await?;
    let mut recorded = 0;
    // Their lanes are locked in the order of arrival. No daemon runs that could lock them in another.
    for text in texts {
        recorded += inbox::insert(&mut tx, std::slice::from_ref(&text.event), text.arrived_at).await?;
    }
    tx.commit().await?;
    Ok(recorded)
}

/// Returns the clients that unrecorded texts name: those with a payment link or a number of their own.
fn clients_of(unrecorded: &[Sent]) -> Vec<NewClient> {
    let mut clients: BTreeMap<E164, Option<String>> = BTreeMap::new();
    for text in unrecorded {
        let reference = sent_text::payment_reference(&text.body).map(str::to_owned);
        let is_a_client = reference.is_some() || sent_text::number_told(&text.body).is_some();
        if let Some(phone) = E164::parse(&text.to).ok().filter(|it| is_a_client && can_hold_a_conversation(it)) {
            let known = clients.entry(phone).or_default();
            *known = known.take().or(reference);
        }
    }
    clients.into_iter().map(|(phone, payment_reference)| NewClient { phone, payment_reference }).collect()
}

/// Returns the number that each client was told last, in the order in which they were told.
fn numbers_told(unrecorded: &[Sent]) -> Vec<Told> {
    let told = unrecorded.iter().enumerate().filter_map(|(place, text)| {
        let phone = E164::parse(&text.to).ok().filter(can_hold_a_conversation)?;
        Some((phone, (place, sent_text::number_told(&text.body)?)))
    });
    let last: BTreeMap<E164, (usize, E164)> = told.collect();
    let mut last: Vec<(usize, Told)> =
        last.into_iter().map(|(phone, (place, number))| (place, Told { phone, number })).collect();
    last.sort_unstable_by_key(|(place, _)| *place);
    last.into_iter().map(|(_, told)| told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: &str = "+447900000001";

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(second)
    }

    /// Returns for texts of these seconds in which seconds they were answered, if texts were sent in the seconds `sent`.
    fn answered(sent: &[i64], arrived: &[i64]) -> Vec<Option<i64>> {
        let sent: Vec<Sent> = sent
            .iter()
            .map(|second| Sent {
                sid: format!("SM{second}"),
                from: "+447111111111".to_owned(),
                to: ANN.to_owned(),
                body: "Hi".to_owned(),
                sent_at: at(*second),
            })
            .collect();
        let mut answers = Answers::of(&sent);
        arrived.iter().map(|second| Some(answers.answer_to(ANN, at(*second))?.timestamp())).collect()
    }

    #[test]
    fn a_text_is_answered_by_the_next_text_that_was_sent() {
        assert_eq!(answered(&[2, 5], &[1, 2, 3, 5, 6]), [Some(2), Some(2), Some(5), Some(5), None]);
        let mut answers = Answers::default();
        assert_eq!(answers.answer_to(ANN, at(1)), None, "nothing was sent");
    }

    #[test]
    fn of_more_texts_than_answers_in_a_second_the_last_are_answered_later_or_not_at_all() {
        assert_eq!(answered(&[7], &[7, 7, 7]), [Some(7), None, None]);
        assert_eq!(answered(&[7, 7], &[7, 7, 7]), [Some(7), Some(7), None]);
        assert_eq!(answered(&[7, 9], &[7, 7]), [Some(7), Some(9)]);
        assert_eq!(answered(&[7], &[6, 7]), [Some(7), Some(7)], "texts of other seconds do not count");
    }
}
