//! Assigns numbers to clients and takes them away.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_onboarding::E164;
use sqlx::PgConnection;

use super::changes::{self, Change, Step};
use super::lock::lock_allocation_exclusive;
use crate::db::{Error, ensure_rows, waiting_list};
use crate::queue::{self, Queue};

/// Where assigned numbers come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Numbers that were available to any client.
    Pool,
    /// Numbers that cooled down for the clients that get them.
    CoolingDown,
}

impl Origin {
    /// Returns the words in the history of the number.
    pub(super) const fn why(self) -> &'static str {
        match self {
            Self::Pool => "allocated",
            Self::CoolingDown => "the client returned",
        }
    }
}

/// Records the holders of numbers: in `clients`, which is the authority, and in the pool, which follows.
pub(super) async fn assign(
    conn: &mut PgConnection,
    taken: &Taken<'_>,
    origin: Origin,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    if taken.is_empty() {
        return Ok(());
    }
    let status = match origin {
        Origin::Pool => "AVAILABLE",
        Origin::CoolingDown => "COOLING_DOWN",
    };
    let ids: Vec<&str> = taken.keys().copied().collect();
    let numbers: Vec<&str> = taken.values().map(E164::as_str).collect();
    let clients = sqlx::query!(
        r#"UPDATE clients SET "twilioNumber" = taken.number
           FROM unnest($1::TEXT[], $2::TEXT[]) AS taken (client_id, number)
           WHERE clients.id = taken.client_id AND clients."twilioNumber" IS NULL"#,
        &ids as &[&str],
        &numbers as &[&str]
    )
    .execute(&mut *conn)
    .await?;
    ensure_rows(&clients, taken.len(), "giving clients their numbers")?;
    let pool = sqlx::query!(
        "UPDATE twilio_number_pool AS pool
         SET status = 'ASSIGNED', client_id = taken.client_id, assigned_at = $3, cools_until = NULL,
             taken_from_client_id = NULL
         FROM unnest($1::TEXT[], $2::TEXT[]) AS taken (client_id, number)
         WHERE pool.phone_e164 = taken.number AND pool.status = $4",
        &ids as &[&str],
        &numbers as &[&str],
        now,
        status
    )
    .execute(&mut *conn)
    .await?;
    ensure_rows(&pool, taken.len(), "marking numbers as assigned")?;
    let steps: Vec<Step<'_>> = taken.iter().map(|(client_id, number)| (number.as_str(), Some(*client_id))).collect();
    changes::record(conn, Change::Assigned, &steps, origin.why(), now).await?;
    Ok(())
}

/// Why a client loses its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossReason {
    /// Its service has ended.
    ServiceEnded,
    /// An operator took the number, which the client is not given again.
    Taken,
}

impl LossReason {
    /// Returns the words in the history of the number.
    const fn words(self) -> &'static str {
        match self {
            Self::ServiceEnded => "the service ended",
            Self::Taken => "taken by the operator",
        }
    }
}

/// A client that loses its number, and its place on the waiting list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// `clients.id`.
    pub client_id: String,
    /// The number that the client holds, if it holds one: it may still wait for one, or be on its way to the payment gate.
    pub number: Option<E164>,
    /// The reason.
    pub why: LossReason,
}

/// Takes their numbers from clients. Each leaves the waiting list, and its number cools down for `cooling`, or is available
/// at once if `cooling` is zero. The history of each number records why.
///
/// The clients must be locked, and `number` must have been read under that lock. Takes the allocation lock exclusively,
/// and locks the pool rows of the numbers; a number that was entered by hand may have none. Enqueues the job that
/// offers the freed numbers.
///
/// In its transaction this comes before events are inserted and before [`super::allocate()`]. The order is free only if
/// the transaction took the allocation lock exclusively before both.
///
/// # Errors
/// [`Error::RowCount`], when a client does not hold the number given.
pub async fn end_service(
    conn: &mut PgConnection,
    losses: &[Loss],
    cooling: Duration,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    if losses.is_empty() {
        return Ok(());
    }
    lock_allocation_exclusive(conn).await?;
    let ids: Vec<&str> = losses.iter().map(|loss| loss.client_id.as_str()).collect();
    leave_waiting_list(conn, &ids).await?;
    let held = losses.iter().filter_map(|loss| Some((loss.number.as_ref()?.as_str(), loss)));
    let held: Vec<(&str, &Loss)> = held.collect();
    if held.is_empty() {
        return Ok(());
    }
    for why in [LossReason::ServiceEnded, LossReason::Taken] {
        let of_why = held.iter().filter(|(_, loss)| loss.why == why);
        let of_why: Vec<(&str, &str)> = of_why.map(|(number, loss)| (*number, loss.client_id.as_str())).collect();
        if !of_why.is_empty() {
            unassign(conn, &of_why, why.words(), now).await?;
        }
    }
    let numbers: Vec<&str> = held.iter().map(|(number, _)| *number).collect();
    let known: HashSet<String> = lock(conn, &numbers).await?.into_iter().map(|row| row.number).collect();
    let known = held.into_iter().filter(|(number, _)| known.contains(*number));
    let (taken, ended): (Vec<_>, Vec<_>) = known.partition(|(_, loss)| loss.why == LossReason::Taken);
    let ended: Vec<Step<'_>> =
        ended.into_iter().map(|(number, loss)| (number, Some(loss.client_id.as_str()))).collect();
    let cools_until = cools_until(cooling, now);
    return_to_pool(conn, &ended, cools_until, None).await?;
    for (number, loss) in taken {
        // As after a release by hand: a number that cools down is not kept for the client.
        let taken_from = Some(loss.client_id.as_str()).filter(|_| cools_until.is_none());
        return_to_pool(conn, &[(number, None)], cools_until, taken_from).await?;
    }
    Ok(queue::enqueue(conn, Queue::Sweep).await?)
}

/// Returns until when a number that is released `now` cools down, or `None` if `cooling` is zero.
pub(super) fn cools_until(cooling: Duration, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    (!cooling.is_zero()).then(|| now + TimeDelta::from_std(cooling).unwrap_or(TimeDelta::days(30)))
}

/// Takes numbers, E.164, from the clients that hold them, and records the changes. Returns the ids of the changes.
pub(super) async fn unassign(
    conn: &mut PgConnection,
    held: &[(&str, &str)],
    why: &str,
    now: DateTime<Utc>,
) -> Result<Vec<i64>, Error> {
    let (numbers, ids): (Vec<&str>, Vec<&str>) = held.iter().copied().unzip();
    let clients = sqlx::query!(
        r#"UPDATE clients SET "twilioNumber" = NULL
           FROM unnest($1::TEXT[], $2::TEXT[]) AS held (number, client_id)
           WHERE clients.id = held.client_id AND clients."twilioNumber" = held.number"#,
        &numbers as &[&str],
        &ids as &[&str]
    )
    .execute(&mut *conn)
    .await?;
    ensure_rows(&clients, held.len(), "taking numbers from clients")?;
    let steps: Vec<Step<'_>> = held.iter().map(|(number, client_id)| (*number, Some(*client_id))).collect();
    changes::record(conn, Change::Released, &steps, why, now).await
}

/// Returns locked numbers to the pool: they cool down, or are available at once. Each row records the client that held
/// the number last, and `taken_from`, the client that must not get it again.
pub(super) async fn return_to_pool(
    conn: &mut PgConnection,
    steps: &[Step<'_>],
    cools_until: Option<DateTime<Utc>>,
    taken_from: Option<&str>,
) -> Result<(), Error> {
    let (numbers, ids): (Vec<&str>, Vec<Option<&str>>) = steps.iter().copied().unzip();
    let result = sqlx::query!(
        "UPDATE twilio_number_pool AS pool
         SET status = CASE WHEN $3::TIMESTAMPTZ IS NULL THEN 'AVAILABLE' ELSE 'COOLING_DOWN' END, cools_until = $3,
             client_id = NULL, assigned_at = NULL, last_client_id = gone.client_id, taken_from_client_id = $4
         FROM unnest($1::TEXT[], $2::TEXT[]) AS gone (number, client_id)
         WHERE pool.phone_e164 = gone.number",
        &numbers as &[&str],
        &ids as &[Option<&str>],
        cools_until,
        taken_from
    )
    .execute(conn)
    .await?;
    ensure_rows(&result, steps.len(), "putting numbers back into the pool")
}

/// A locked row of the pool.
pub(super) struct Locked {
    pub(super) number: String,
    pub(super) status: String,
    pub(super) client_id: Option<String>,
    pub(super) last_client_id: Option<String>,
    pub(super) cools_until: Option<DateTime<Utc>>,
    pub(super) drained: bool,
}

/// Locks those of `numbers` that are in the pool, in the order in which they were seeded.
pub(super) async fn lock(conn: &mut PgConnection, numbers: &[&str]) -> Result<Vec<Locked>, Error> {
    let rows = sqlx::query_as!(
        Locked,
        r#"SELECT phone_e164 AS number, status, client_id, last_client_id, cools_until, drained_at IS NOT NULL AS "drained!"
           FROM twilio_number_pool WHERE phone_e164 = ANY($1) ORDER BY seed_order FOR UPDATE"#,
        numbers as &[&str]
    );
    Ok(rows.fetch_all(conn).await?)
}

pub(super) type Taken<'a> = HashMap<&'a str, E164>;

/// Removes clients from the waiting list. A hold ends with its place, so a number may become free for the next client.
pub(super) async fn leave_waiting_list(conn: &mut PgConnection, client_ids: &[&str]) -> Result<(), Error> {
    if !client_ids.is_empty() && waiting_list::remove(conn, client_ids).await? > 0 {
        queue::enqueue(conn, Queue::Sweep).await?;
    }
    Ok(())
}
