//! Erases a person on its request: `jobrun client erase`.
//!
//! An erasure has steps, each of one or more transactions, and a row that says how far it is. It goes on where it was cut short:
//!
//! 1. [`begin`]: the client's texts stop, its number cools down, its place on the waiting list ends.
//! 2. [`scrub_events`]: its events lose their words, phones and lanes. The rows stay, so that no webhook or list brings them back.
//! 3. [`remove_texts`]: texts to it are deleted. Twilio's names for them are kept until the end.
//! 4. [`remove_client`]: what has arrived meanwhile is scrubbed, and the client's row goes, under its lock.
//! 5. [`redact`]: the words of its texts are redacted at Twilio, and the messages of its callers are deleted there. No transaction is open meanwhile.
//! 6. [`finish`]: the inbox is looked through once more, and the certificate is stored.
//!
//! The phone of a person who opted out remains as a keyed digest. Payments remain with Stripe's names, and changes of numbers and the
//! audit log with the client's id, which is then the name of no client.

use std::time::Duration;

use chrono::{DateTime, Utc};
use jobrun_onboarding::E164;
use jobrun_twilio::api::Api;
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};

use crate::clock;
use crate::db::audit_log::{self, Action, Actor, Via};
use crate::db::erasures::{self, Unfinished};
use crate::db::numbers::{self, Loss, LossReason};
use crate::db::person::{self, Person};
use crate::db::{self, alerts, clients, outbox, phone_changes, subscriptions, voicemails};
use crate::phone_digest::PhoneKey;
use crate::refusal::Refusal;

/// Why an erasure did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is refused. Nothing is changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The client pays.
    #[error(
        "client {client_id} still pays, or its payment is on its way ({}): cancel at Stripe, and wait until the subscription has \
         ended there. Then erase", .subscriptions.join(", ")
    )]
    Pays {
        /// `clients.id`.
        client_id: String,
        /// Stripe's names of the subscriptions.
        subscriptions: Vec<String>,
    },
    /// The payment gate is open to the client, though it has no subscription.
    #[error(
        "client {client_id} is marked as paid by hand, without a subscription. Settle with it what it has paid, and close the payment \
         gate: UPDATE clients SET \"paymentActive\" = FALSE WHERE id = '{client_id}'. Then erase"
    )]
    PaidByHand {
        /// `clients.id`.
        client_id: String,
    },
    /// An event about the client waits.
    #[error(
        "an event about this client waits to be processed, a text or a payment: run this again once a worker has processed it"
    )]
    EventWaits,
    /// A text to the client is on its way.
    #[error(
        "a text to this client is on its way, and its outcome is not known yet: run this again in some minutes, while a worker runs"
    )]
    TextOnItsWay,
    /// Twilio did not redact every text, or did not delete every recording.
    #[error(
        "{open} texts and recordings are not redacted at Twilio yet, or not deleted there ({why}). All else is erased: run this again to go on"
    )]
    NotRedacted {
        /// How many.
        open: usize,
        /// The first error.
        why: jobrun_twilio::Error,
    },
}

impl From<db::Error> for Error {
    fn from(error: db::Error) -> Self {
        Self::Refused(error.into())
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Refused(error.into())
    }
}

/// Whom to erase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `clients.id`. The client may be gone already, if an erasure was cut short.
    pub client_id: String,
    /// The phone, if it is known.
    pub phone: Option<E164>,
}

/// Erases a person, or goes on with its erasure. Returns the certificate.
///
/// # Errors
/// See [`Error`]. Run again, this goes on where it ended.
pub async fn run(
    pool: &PgPool,
    api: &Api,
    key: &PhoneKey,
    target: &Target,
    by: &Actor,
    cooling: Duration,
) -> Result<Value, Error> {
    let mut conn = pool.acquire().await?;
    let found = person::find(&mut conn, &target.client_id).await?;
    drop(conn);
    // Once the client is gone, only the phone finds what may have arrived since.
    let person = found.or_else(|| target.phone.as_ref().map(|phone| Person::of_phone(&target.client_id, phone)));
    let id = begin(pool, key, target, by, cooling).await?;
    if let Some(person) = &person {
        scrub_events(pool, id, person).await?;
        remove_texts(pool, id, person).await?;
        remove_client(pool, key, id, person).await?;
    }
    redact(pool, api, id).await?;
    finish(pool, id, person.as_ref()).await
}

/// Begins an erasure, unless one is under way. Takes the locks on subscriptions, on the client and on allocations. Returns its id.
/// Commits.
///
/// # Errors
/// When there is no such client, or it pays. Then nothing is changed.
pub async fn begin(
    pool: &PgPool,
    key: &PhoneKey,
    target: &Target,
    by: &Actor,
    cooling: Duration,
) -> Result<i64, Error> {
    let now = clock::now();
    let mut tx = pool.begin().await?;
    subscriptions::lock(&mut tx).await?;
    let exists = clients::lock(&mut tx, &target.client_id).await?;
    let digest = target.phone.as_ref().map(|phone| key.digest(phone));
    if let Some(begun) = erasures::find_unfinished(&mut tx, &target.client_id, digest.as_deref()).await? {
        return Ok(begun.id);
    }
    let person = person::find(&mut tx, &target.client_id).await?.filter(|_| exists).ok_or(Refusal::NoSuchClient)?;
    ensure_pays_nothing(&mut tx, &person).await?;
    let id = erasures::begin(&mut tx, &person.client_id, &key.digest(&person.phone), by, now).await?;
    let number = person.number.as_deref().map(E164::parse).transpose().map_err(|_| db::Error::UnreadableNumber)?;
    let loss = Loss { client_id: person.client_id.clone(), number, why: LossReason::ServiceEnded };
    numbers::end_service(&mut tx, &[loss], cooling, now).await?;
    outbox::drop_queued_to(&mut tx, &[&person.phone], "the client is erased", now).await?;
    tx.commit().await?;
    Ok(id)
}

async fn ensure_pays_nothing(conn: &mut PgConnection, person: &Person) -> Result<(), Error> {
    let paying = erasures::find_paying(conn, person).await?;
    if !paying.subscriptions.is_empty() {
        return Err(Error::Pays { client_id: person.client_id.clone(), subscriptions: paying.subscriptions });
    }
    if paying.event_waits {
        return Err(Error::EventWaits);
    }
    if paying.gate_open { Err(Error::PaidByHand { client_id: person.client_id.clone() }) } else { Ok(()) }
}

/// Scrubs the events that were not looked at yet, some thousand in a transaction. Commits each.
///
/// # Errors
/// When the database fails.
pub async fn scrub_events(pool: &PgPool, id: i64, person: &Person) -> Result<(), Error> {
    loop {
        let mut tx = pool.begin().await?;
        clients::lock(&mut tx, &person.client_id).await?;
        let is_done = scrub_next(&mut tx, id, person).await?;
        tx.commit().await?;
        if is_done {
            return Ok(());
        }
    }
}

/// Scrubs the next events. Returns whether no event is left to look at.
async fn scrub_next(conn: &mut PgConnection, id: i64, person: &Person) -> Result<bool, Error> {
    let erasure = erasures::load(conn, id).await?;
    let last = person::find_last_event(conn).await?;
    Ok(erasure.scanned_to >= last || erasures::scrub_events(conn, &erasure, person, last, clock::now()).await? >= last)
}

/// Deletes the texts to the person, some hundred in a transaction. Commits each. Texts that are being sent stay.
///
/// # Errors
/// When the database fails.
pub async fn remove_texts(pool: &PgPool, id: i64, person: &Person) -> Result<(), Error> {
    loop {
        let mut tx = pool.begin().await?;
        clients::lock(&mut tx, &person.client_id).await?;
        let removed = erasures::remove_texts(&mut tx, id, person).await?;
        tx.commit().await?;
        if removed == 0 {
            return Ok(());
        }
    }
}

/// Removes the client and all other rows about it, unless that is done. Commits.
///
/// # Errors
/// When a text is being sent, a payment arrived meanwhile, or the database fails. Then nothing is changed.
pub async fn remove_client(pool: &PgPool, key: &PhoneKey, id: i64, person: &Person) -> Result<(), Error> {
    let now = clock::now();
    let mut tx = pool.begin().await?;
    subscriptions::lock(&mut tx).await?;
    let exists = clients::lock(&mut tx, &person.client_id).await?;
    let erasure = erasures::load(&mut tx, id).await?;
    if !exists || erasure.removed_at.is_some() {
        return Ok(());
    }
    // Read again under the lock: a payment may have been assigned meanwhile.
    let person = &person::find(&mut tx, &person.client_id).await?.ok_or(Refusal::NoSuchClient)?;
    ensure_pays_nothing(&mut tx, person).await?;
    // No conversation goes on while the client is locked: this sees all that it has caused.
    while !scrub_next(&mut tx, id, person).await? {}
    erasures::scrub_events_of_client(&mut tx, &erasure).await?;
    while erasures::remove_texts(&mut tx, id, person).await? > 0 {}
    if erasures::any_text(&mut tx, person).await? {
        return Err(Error::TextOnItsWay);
    }
    let opted_out =
        erasures::keep_opt_out(&mut tx, &erasure, person, &key.digest(&person.phone), erasure.begun_at).await?;
    voicemails::hand_to_erasure(&mut tx, &person.client_id, id, now).await?;
    forget_former_phones(&mut tx, key, &erasure, person).await?;
    let former_phones = &person.former_phones;
    if !phone_changes::remove_of_person(&mut tx, &person.client_id, &person.phone, former_phones, now).await? {
        return Err(Error::TextOnItsWay);
    }
    let to_read = erasures::remove_client(&mut tx, id, person, now).await?;
    let remains = json!({
        "stripeCustomers": person.customers,
        "stripeSubscriptions": person.subscriptions,
        "optOutDigest": opted_out,
        "reasonsToRead": to_read,
    });
    erasures::save_removed(&mut tx, id, &remains, now).await?;
    let cleared = alerts::clear(&mut tx, &person::alert_causes(&person.client_id), now).await?;
    tx.commit().await?;
    crate::telemetry::cleared(&cleared);
    Ok(())
}

/// Removes the opt-outs of the phones that the person had before, of which the last is kept as a digest. The client must be locked.
async fn forget_former_phones(
    conn: &mut PgConnection,
    key: &PhoneKey,
    erasure: &Unfinished,
    person: &Person,
) -> Result<(), Error> {
    for digits in &person.former_phones {
        let phone = E164::from_digits(digits).map_err(|_| db::Error::UnreadableNumber)?;
        erasures::keep_former_opt_out(conn, &phone, &key.digest(&phone), erasure.begun_at).await?;
    }
    Ok(())
}

/// Redacts the words of the texts at Twilio, and deletes the recordings there. Each success is saved at once.
///
/// # Errors
/// [`Error::NotRedacted`], when Twilio does not redact all of them; or when the database fails.
pub async fn redact(pool: &PgPool, api: &Api, id: i64) -> Result<(), Error> {
    let sids = erasures::list_to_redact(&mut *pool.acquire().await?, id).await?;
    let (mut open, mut first_error) = (0, None);
    for sid in &sids {
        match api.redact_message(sid).await {
            Ok(()) => erasures::save_redacted(&mut *pool.acquire().await?, id, sid, clock::now()).await?,
            Err(error) => {
                open += 1;
                first_error.get_or_insert(error);
            }
        }
    }
    let recordings = voicemails::list_of_erasure(&mut *pool.acquire().await?, id).await?;
    for sid in &recordings {
        match api.delete_recording(sid).await {
            Ok(()) => voicemails::save_deleted(&mut *pool.acquire().await?, sid, clock::now()).await?,
            Err(error) => {
                open += 1;
                first_error.get_or_insert(error);
            }
        }
    }
    match first_error {
        None => Ok(()),
        Some(why) => Err(Error::NotRedacted { open, why }),
    }
}

/// Looks through the events that arrived since, stores the certificate, and records the erasure in the audit log. Returns the
/// certificate. Commits. Without the person, because only its former id was given, the last look is left out.
///
/// # Errors
/// When the database fails.
pub async fn finish(pool: &PgPool, id: i64, person: Option<&Person>) -> Result<Value, Error> {
    if let Some(person) = person {
        scrub_events(pool, id, person).await?;
    }
    let now = clock::now();
    let mut tx = pool.begin().await?;
    let erasure = erasures::load(&mut tx, id).await?;
    let redacted = erasures::count_redacted(&mut tx, id).await?;
    let recordings = voicemails::count_of_erasure(&mut tx, id).await?;
    let certificate = certificate(&erasure, (redacted, recordings), person.is_some(), now);
    erasures::finish(&mut tx, id, &certificate, now).await?;
    let by = Actor { who: erasure.who, via: Via::Command, why: Some(erasure.why) };
    let action = Action {
        name: "client.erased",
        subject: Some(&erasure.client_id),
        details: json!({ "certificate": certificate }),
    };
    audit_log::record(&mut tx, &by, &action, now).await?;
    tx.commit().await?;
    Ok(certificate)
}

fn certificate(
    erasure: &Unfinished,
    (redacted, recordings): (i64, i64),
    looked_again: bool,
    now: DateTime<Utc>,
) -> Value {
    json!({
        "erasure": erasure.id,
        "clientId": erasure.client_id,
        "by": erasure.who,
        "begunAt": erasure.begun_at,
        "removedAt": erasure.removed_at,
        "finishedAt": now,
        "eventsScrubbed": erasure.events,
        "textsDeleted": erasure.texts,
        "textsRedactedAtTwilio": redacted,
        "recordingsDeletedAtTwilio": recordings,
        "lookedAgain": looked_again,
        "remains": erasure.remains,
    })
}
