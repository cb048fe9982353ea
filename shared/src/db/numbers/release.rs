//! Releases and drains single numbers for the operator, and ends the cooling down of numbers.

use std::time::Duration;

use chrono::{DateTime, Utc};
use jobrun_onboarding::E164;
use sqlx::PgConnection;

use super::assign::{cools_until, lock, return_to_pool, unassign};
use super::changes::{self, Change, Step};
use crate::db::{Error, ensure_rows};

/// Returns whether a number has cooled down and is not available yet. Usually there is none, and the allocation lock is
/// not needed.
pub(crate) async fn any_cooled(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<bool, Error> {
    let any = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM twilio_number_pool AS pool
                          WHERE status = 'COOLING_DOWN' AND cools_until <= $1
                            AND NOT EXISTS (SELECT FROM clients WHERE "twilioNumber" = pool.phone_e164)) AS "any!""#,
        now
    );
    Ok(any.fetch_one(conn).await?)
}

/// Makes the numbers available that have cooled down. The caller must hold the allocation lock exclusively.
pub(crate) async fn cool_down(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<(), Error> {
    // Numbers that a client was given by hand meanwhile are left out: they are in use, and another transaction may lock
    // their rows to correct them.
    let cooled = sqlx::query!(
        r#"UPDATE twilio_number_pool AS pool SET status = 'AVAILABLE', cools_until = NULL
           WHERE status = 'COOLING_DOWN' AND cools_until <= $1
             AND NOT EXISTS (SELECT FROM clients WHERE "twilioNumber" = pool.phone_e164)
           RETURNING phone_e164 AS number, last_client_id"#,
        now
    )
    .fetch_all(&mut *conn)
    .await?;
    let steps: Vec<Step<'_>> = cooled.iter().map(|row| (row.number.as_str(), row.last_client_id.as_deref())).collect();
    changes::record(conn, Change::CooledDown, &steps, "its time was up", now).await?;
    Ok(())
}

/// The result of releasing a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Release {
    /// The number is back in the pool.
    Done(Released),
    /// Nothing changed: no client holds it, and it cools down until then.
    CoolsDown(DateTime<Utc>),
    /// Nothing changed: it is not in the pool.
    NotInPool,
}

/// A number that is back in the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released {
    /// `number_changes.id`, if a client held it.
    pub change: Option<i64>,
    /// Until when it cools down; empty if it is available.
    pub cools_until: Option<DateTime<Utc>>,
    /// Whether a client had it and it has not cooled down: the client's phone may still forward its calls to it.
    pub is_uncooled: bool,
    /// Whether it is drained, so that no client is given it although it was released.
    pub drained: bool,
}

/// Takes `number` from its `holder`, and lets it cool down for `cooling`. A number that no client holds but that a
/// deleted client may have had (`is_ownerless`) cools down likewise. Any other number becomes available at once, but
/// one that cools down already does so only if `cooling` is zero.
///
/// The holder must be locked, and the allocation lock held exclusively. Locks the row of the number.
///
/// # Errors
/// [`Error::RowCount`], when `holder` does not hold it.
pub async fn release(
    conn: &mut PgConnection,
    number: &E164,
    holder: Option<&str>,
    is_ownerless: bool,
    cooling: Duration,
    now: DateTime<Utc>,
) -> Result<Release, Error> {
    const WHY: &str = "released by hand";
    let Some(row) = lock(conn, &[number.as_str()]).await?.pop() else {
        return Ok(Release::NotInPool);
    };
    let still_cools = row.cools_until.filter(|until| holder.is_none() && row.status == "COOLING_DOWN" && *until > now);
    if let Some(until) = still_cools.filter(|_| !cooling.is_zero()) {
        return Ok(Release::CoolsDown(until));
    }
    let held: Vec<(&str, &str)> = holder.map(|holder| (number.as_str(), holder)).into_iter().collect();
    let change = if held.is_empty() { None } else { unassign(conn, &held, WHY, now).await?.pop() };
    let had_client = holder.is_some() || is_ownerless;
    let cools_until = cools_until(cooling, now).filter(|_| had_client);
    // The client does not get it back, as there was a reason to take it. Once it has cooled down, any client may get
    // it.
    let taken_from = holder.filter(|_| cools_until.is_none());
    return_to_pool(conn, &[(number.as_str(), None)], cools_until, taken_from).await?;
    let step = match (row.status.as_str(), &row.client_id) {
        _ if !held.is_empty() => None,
        ("COOLING_DOWN", _) => Some((Change::CooledDown, row.last_client_id.as_deref())),
        ("ASSIGNED", Some(reserved_for)) => Some((Change::Released, Some(reserved_for.as_str()))),
        _ => None,
    };
    if let Some((change, client_id)) = step {
        changes::record(conn, change, &[(number.as_str(), client_id)], WHY, now).await?;
    }
    let is_uncooled = cools_until.is_none() && (had_client || still_cools.is_some());
    Ok(Release::Done(Released { change, cools_until, is_uncooled, drained: row.drained }))
}

/// Drains `number`, held by `holder`, so that no client is given it any more, or with `undo` allows it again. Returns
/// whether that changed anything, or `None` if the number is not in the pool. A client that holds it keeps it.
///
/// The holder must be locked, and the allocation lock held exclusively. Locks the row of the number.
pub async fn drain(
    conn: &mut PgConnection,
    number: &E164,
    holder: Option<&str>,
    undo: bool,
    now: DateTime<Utc>,
) -> Result<Option<bool>, Error> {
    let Some(row) = lock(conn, &[number.as_str()]).await?.pop() else {
        return Ok(None);
    };
    if row.drained != undo {
        return Ok(Some(false));
    }
    let drained_at = (!undo).then_some(now);
    let result =
        sqlx::query!("UPDATE twilio_number_pool SET drained_at = $2 WHERE phone_e164 = $1", row.number, drained_at);
    ensure_rows(&result.execute(&mut *conn).await?, 1, "draining or undraining a number")?;
    let change = if undo { Change::Undrained } else { Change::Drained };
    changes::record(conn, change, &[(&row.number, holder)], "by hand", now).await?;
    Ok(Some(true))
}
