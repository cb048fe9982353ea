//! The operator adds numbers to the pool, releases them and drains them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use jobrun_onboarding::pool_number::{SeedNumber, pool_number};
use jobrun_onboarding::{E164, as_people_write};
use serde_json::json;
use sqlx::{PgConnection, PgPool, Postgres, Transaction};

use crate::clock;
use crate::db::audit_log::{self, Action, Actor};
use crate::db::inbox::{self, NewEvent, Payload, Source};
use crate::db::numbers::{self, Release, ownerless};
use crate::db::{self, clients};
use crate::queue::{self, Queue};
use crate::refusal::Refusal;

/// The result of seeding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seeded {
    /// How many numbers the pool did not have.
    pub new: usize,
    /// How many numbers it had already.
    pub known: usize,
}

/// Parses numbers for the pool, as people write them. Returns each once, in the order given.
///
/// # Errors
/// [`Refusal::NoNumbers`], or [`Refusal::Unfit`] with every number that cannot be in the pool and the reason.
pub fn read_pool_numbers(given: &[String], onboarding_number: Option<&E164>) -> Result<Vec<SeedNumber>, Refusal> {
    if given.is_empty() {
        return Err(Refusal::NoNumbers);
    }
    let (mut read, mut wrong) = (Vec::new(), Vec::new());
    for text in given {
        match pool_number(text, onboarding_number) {
            Ok(number) if read.contains(&number) => {}
            Ok(number) => read.push(number),
            Err(unfit) => wrong.push((text.clone(), unfit)),
        }
    }
    if wrong.is_empty() { Ok(read) } else { Err(Refusal::Unfit(wrong)) }
}

/// Adds numbers, as people write them, to the pool in the order given, and enqueues a sweep.
///
/// # Errors
/// As [`read_pool_numbers`]; then no number is added.
pub async fn seed(pool: &PgPool, numbers: &[String]) -> Result<Seeded, Refusal> {
    add_to_pool(pool, read_pool_numbers(numbers, None)?, None).await
}

/// Adds parsed numbers to the pool, in the order given, and enqueues a sweep. Takes the exclusive allocation lock. The audit
/// log names the operator `by`, if there is one. Commits.
pub async fn add_to_pool(pool: &PgPool, numbers: Vec<SeedNumber>, by: Option<&Actor>) -> Result<Seeded, Refusal> {
    let numbers: Vec<(E164, String)> = numbers.into_iter().map(|it| (it.number, it.region)).collect();
    let mut tx = pool.begin().await?;
    numbers::lock_allocation_exclusive(&mut tx).await?;
    let new = numbers::insert(&mut tx, &numbers, "seeded", clock::now()).await?;
    queue::enqueue(&mut tx, Queue::Sweep).await?;
    let names: Vec<&str> = numbers.iter().map(|(number, _)| number.as_str()).collect();
    let details = json!({ "new": new, "numbers": names });
    record(&mut tx, by, &Action { name: "numbers.added", subject: None, details }, clock::now()).await?;
    tx.commit().await?;
    Ok(Seeded { new, known: numbers.len() - new })
}

/// Begins a transaction in which the holder of `number` cannot change. Locks the holder, if there is one, and then takes the
/// exclusive allocation lock. Returns the transaction and the holder.
async fn begin_for(pool: &PgPool, number: &E164) -> Result<(Transaction<'static, Postgres>, Option<String>), Refusal> {
    loop {
        let mut tx = pool.begin().await?;
        let holder = numbers::find_holder(&mut tx, number).await?;
        if let Some(holder) = &holder {
            clients::lock(&mut tx, holder).await?;
        }
        numbers::lock_allocation_exclusive(&mut tx).await?;
        // If the holder changed during the wait, the new one is not locked: start again.
        if numbers::find_holder(&mut tx, number).await? == holder {
            return Ok((tx, holder));
        }
    }
}

fn one_number(number: &str) -> Result<E164, Refusal> {
    as_people_write(number).ok_or_else(|| Refusal::NotANumber(number.to_owned()))
}

/// The result of releasing a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released {
    /// The number, E.164.
    pub number: String,
    /// The client that held the number.
    pub holder: Option<String>,
    /// Until when it cools down. If `None`, it is available.
    pub cools_until: Option<DateTime<Utc>>,
    /// Whether it is available without having cooled down after a client. That client's phone may still forward its calls to it.
    pub is_uncooled: bool,
    /// Whether it is drained, so that it is given to no client in spite of this.
    pub drained: bool,
}

/// Puts a number back into the pool, and enqueues a sweep. A number that is taken from a client first cools down for as long as
/// `cooling`. That client does not get it back, unless it has cooled down. An event tells the client's conversation.
///
/// Locks the holder, then takes the exclusive allocation lock, then locks the lane of the event. Commits.
///
/// # Errors
/// [`Refusal::NotANumber`] or [`Refusal::NotInPool`]. [`Refusal::CoolsDown`] when no client holds the number and it cools down
/// already, unless `cooling` is zero.
pub async fn release(
    pool: &PgPool,
    number: &str,
    cooling: Duration,
    now: DateTime<Utc>,
    by: Option<&Actor>,
) -> Result<Released, Refusal> {
    release_from(pool, number, true, cooling, now, by).await
}

/// As [`release`], but takes no number from a client.
///
/// # Errors
/// [`Refusal::Held`] when a client holds it. Otherwise as [`release`].
pub async fn release_unheld(
    pool: &PgPool,
    number: &str,
    cooling: Duration,
    now: DateTime<Utc>,
    by: Option<&Actor>,
) -> Result<Released, Refusal> {
    release_from(pool, number, false, cooling, now, by).await
}

async fn release_from(
    pool: &PgPool,
    number: &str,
    holder_too: bool,
    cooling: Duration,
    now: DateTime<Utc>,
    by: Option<&Actor>,
) -> Result<Released, Refusal> {
    let number = one_number(number)?;
    let (mut tx, holder) = begin_for(pool, &number).await?;
    if let Some(holder) = holder.as_ref().filter(|_| !holder_too) {
        return Err(held_by(&mut tx, holder).await?);
    }
    let is_ownerless = holder.is_none() && ownerless::may_be_ownerless(&mut tx, &number).await?;
    let numbers::Released { change, cools_until, is_uncooled, drained } =
        match numbers::release(&mut tx, &number, holder.as_deref(), is_ownerless, cooling, now).await? {
            Release::Done(released) => released,
            Release::CoolsDown(until) => return Err(Refusal::CoolsDown { until }),
            Release::NotInPool => return Err(Refusal::NotInPool),
        };
    if let (Some(client_id), Some(change)) = (&holder, change) {
        let lost = NewEvent::new(
            Source::System,
            format!("number-lost:{change}"),
            Payload::NumberLost { client_id: client_id.clone(), number: number.as_str().to_owned() },
        );
        // Lanes are locked after the pool, as in a conversation.
        inbox::insert(&mut tx, &[lost], now).await?;
    }
    queue::enqueue(&mut tx, Queue::Sweep).await?;
    let details = json!({ "holder": holder, "coolsUntil": cools_until });
    record(&mut tx, by, &Action { name: "number.released", subject: Some(number.as_str()), details }, now).await?;
    tx.commit().await?;
    Ok(Released { number: number.as_str().to_owned(), holder, cools_until, is_uncooled, drained })
}

/// Records an action in the audit log, if an operator does it.
async fn record(
    conn: &mut PgConnection,
    by: Option<&Actor>,
    action: &Action<'_>,
    now: DateTime<Utc>,
) -> Result<(), db::Error> {
    match by {
        Some(by) => audit_log::record(conn, by, action, now).await,
        None => Ok(()),
    }
}

async fn held_by(conn: &mut PgConnection, client_id: &str) -> Result<Refusal, db::Error> {
    let loaded = clients::load(conn, &[client_id.to_owned()]).await?.pop();
    let state = loaded.and_then(Result::ok).map_or("an unreadable state", |it| it.client.state.name());
    Ok(Refusal::Held { client_id: client_id.to_owned(), state })
}

/// The result of draining a number, or of undoing it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drained {
    /// The number, E.164.
    pub number: String,
    /// Whether anything changed. The number may have been drained, or not drained, before.
    pub changed: bool,
    /// The client that holds the number, and keeps it.
    pub holder: Option<String>,
}

/// Drains a number, so that it is given to no client any more; a client that holds it keeps it. With `undo`, the number may be
/// given to clients again, and a sweep is enqueued. Safe to repeat.
///
/// Locks the holder, then takes the exclusive allocation lock. Commits.
///
/// # Errors
/// [`Refusal::NotANumber`] or [`Refusal::NotInPool`].
pub async fn drain(
    pool: &PgPool,
    number: &str,
    undo: bool,
    now: DateTime<Utc>,
    by: Option<&Actor>,
) -> Result<Drained, Refusal> {
    let number = one_number(number)?;
    let (mut tx, holder) = begin_for(pool, &number).await?;
    let drained = numbers::drain(&mut tx, &number, holder.as_deref(), undo, now).await?;
    let changed = drained.ok_or(Refusal::NotInPool)?;
    if changed && undo {
        queue::enqueue(&mut tx, Queue::Sweep).await?;
    }
    if changed {
        let name = if undo { "number.undrained" } else { "number.drained" };
        let details = json!({ "holder": holder });
        record(&mut tx, by, &Action { name, subject: Some(number.as_str()), details }, now).await?;
    }
    tx.commit().await?;
    Ok(Drained { number: number.as_str().to_owned(), changed, holder })
}
