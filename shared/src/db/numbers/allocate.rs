//! Allocates numbers to clients, under the allocation lock.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, Utc};
use jobrun_onboarding::free_numbers::{FreeNumber, hand_out};
use jobrun_onboarding::waiting::WaitingClient;
use jobrun_onboarding::{Allocation, E164, region_of};
use sqlx::{Acquire, PgConnection, Postgres, Transaction};

use super::assign::{Origin, Taken, assign, leave_waiting_list};
use super::changes::Change;
use super::lock::{ALLOCATION_LOCK, lock_allocation_exclusive};
use super::request::NumberRequest;
use crate::db::{Error, ensure_count, waiting_list};

/// Gives each request a number, in the order given, or a place on the waiting list. Returns the results in the same
/// order. A client whose last number still cools down gets that number, even if other clients wait: none of them could
/// have had it.
///
/// The clients must be locked. Takes the allocation lock and locks on pool rows, and holds them until the transaction
/// ends.
pub async fn allocate(
    tx: &mut Transaction<'_, Postgres>,
    requests: &[NumberRequest],
    now: DateTime<Utc>,
) -> Result<Vec<Allocation>, Error> {
    let (holders, empty_handed): (Vec<&NumberRequest>, Vec<&NumberRequest>) =
        requests.iter().partition(|request| request.number.is_some());
    let (taken, told_late) = match allocate_shared(tx, &empty_handed, now).await? {
        Some(taken) => (taken, HashSet::new()),
        None => allocate_exclusive(tx, &empty_handed, now).await?,
    };
    // After the allocation lock, because it locks rows of the pool.
    repair_rows_of(tx, &holders, now).await?;
    let answer = |request: &NumberRequest| match (&request.number, taken.get(request.client_id.as_str())) {
        (Some(number), _) => Allocation::AlreadyAssigned(number.clone()),
        (None, Some(number)) => Allocation::Assigned(number.clone()),
        (None, None) => Allocation::PoolEmpty { told_late: told_late.contains(&request.client_id) },
    };
    Ok(requests.iter().map(answer).collect())
}

/// Makes pool rows follow the clients that hold their numbers: a holder keeps its number, even if the pool was changed
/// by hand. No number changes its holder.
async fn repair_rows_of(conn: &mut PgConnection, holders: &[&NumberRequest], now: DateTime<Utc>) -> Result<(), Error> {
    if holders.is_empty() {
        return Ok(());
    }
    let ids: Vec<&str> = holders.iter().map(|request| request.client_id.as_str()).collect();
    let numbers: Vec<&str> = holders.iter().filter_map(|request| request.number.as_ref()).map(E164::as_str).collect();
    // Touches no row for a number that is not from the pool, or whose row is right.
    sqlx::query!(
        "UPDATE twilio_number_pool AS pool
         SET status = 'ASSIGNED', client_id = held.client_id, assigned_at = $3, cools_until = NULL,
             taken_from_client_id = NULL
         FROM unnest($1::TEXT[], $2::TEXT[]) AS held (client_id, number)
         WHERE pool.phone_e164 = held.number
           AND (pool.status <> 'ASSIGNED' OR pool.client_id IS DISTINCT FROM held.client_id)",
        &ids as &[&str],
        &numbers as &[&str],
        now
    )
    .execute(&mut *conn)
    .await?;
    waiting_list::remove(conn, &ids).await?;
    Ok(())
}

/// Allocates concurrently with other transactions, to clients of one region. Returns `None`, and has done nothing, if
/// that does not serve every request.
async fn allocate_shared<'a>(
    tx: &mut Transaction<'_, Postgres>,
    requests: &[&'a NumberRequest],
    now: DateTime<Utc>,
) -> Result<Option<Taken<'a>>, Error> {
    let Some(first) = requests.first() else { return Ok(Some(Taken::new())) };
    let region = region_of(&first.region);
    if requests.iter().any(|request| region_of(&request.region) != region) {
        return Ok(None);
    }
    // Rolling back to the savepoint releases the locks taken after it, the allocation lock among them. Otherwise
    // transactions that wait for the exclusive lock would deadlock with this one.
    let mut savepoint = tx.begin().await?;
    sqlx::query!("SELECT pg_advisory_xact_lock_shared($1, 0)", ALLOCATION_LOCK).execute(&mut *savepoint).await?;
    let taken = assign_free(&mut savepoint, &region, requests, now).await?;
    if taken.is_some() {
        savepoint.commit().await?;
    } else {
        savepoint.rollback().await?;
    }
    Ok(taken)
}

/// Allocates with no other allocation in flight, so that a number not found now does not exist. Also returns the
/// waiting clients who were told that it takes longer than promised.
async fn allocate_exclusive<'a>(
    conn: &mut PgConnection,
    requests: &[&'a NumberRequest],
    now: DateTime<Utc>,
) -> Result<(Taken<'a>, HashSet<String>), Error> {
    lock_allocation_exclusive(conn).await?;
    let returned = give_back(conn, requests, now).await?;
    let (mut taken, mut told_late) = (Taken::new(), HashSet::new());
    for (region, requests) in by_region(requests, &returned) {
        let waiting = waiting_list::list(conn, &region).await?;
        let ids: Vec<&str> = requests.iter().map(|request| request.client_id.as_str()).collect();
        let free = list_free(conn, &region, &waiting, &ids).await?;
        let served: Taken<'a> = hand_out(&free, &waiting, &ids).into_iter().collect();
        let refused = requests.into_iter().filter(|request| !served.contains_key(request.client_id.as_str()));
        told_late.extend(waiting_list::join(conn, &region, refused).await?);
        taken.extend(served);
    }
    let leaving: Vec<&str> = taken.keys().copied().collect();
    waiting_list::remove(conn, &leaving).await?;
    assign(conn, &taken, Origin::Pool, now).await?;
    taken.extend(returned);
    Ok((taken, told_late))
}

/// Gives returning clients the numbers that cool down for them, and removes them from the waiting list. The caller must
/// hold the allocation lock exclusively.
async fn give_back<'a>(
    conn: &mut PgConnection,
    requests: &[&'a NumberRequest],
    now: DateTime<Utc>,
) -> Result<Taken<'a>, Error> {
    let cooling = lock_cooling(conn, requests).await?;
    let number =
        |request: &&'a NumberRequest| Some((request.client_id.as_str(), cooling.get(&request.client_id)?.clone()));
    let returned: Taken<'a> = requests.iter().filter_map(number).collect();
    let ids: Vec<&str> = returned.keys().copied().collect();
    leave_waiting_list(conn, &ids).await?;
    assign(conn, &returned, Origin::CoolingDown, now).await?;
    Ok(returned)
}

/// Locks the numbers that cool down for clients, each in the region in which its client needs one. Returns each
/// client's number; of several, the one that it held last.
async fn lock_cooling(conn: &mut PgConnection, requests: &[&NumberRequest]) -> Result<HashMap<String, E164>, Error> {
    let ids: Vec<&str> = requests.iter().map(|request| request.client_id.as_str()).collect();
    let regions: Vec<String> = requests.iter().map(|request| region_of(&request.region)).collect();
    let mut cooling = sqlx::query!(
        r#"SELECT pool.phone_e164 AS number, request.client_id AS "client_id!", pool.cools_until
           FROM unnest($1::TEXT[], $2::TEXT[]) AS request (client_id, region)
           JOIN twilio_number_pool AS pool ON pool.last_client_id = request.client_id AND pool.region = request.region
           WHERE pool.status = 'COOLING_DOWN' AND pool.drained_at IS NULL
             AND NOT EXISTS (SELECT FROM clients WHERE "twilioNumber" = pool.phone_e164)
           ORDER BY pool.seed_order
           FOR UPDATE OF pool"#,
        &ids as &[&str],
        &regions
    )
    .fetch_all(conn)
    .await?;
    // Of two rows with the same client, the map keeps the later.
    cooling.sort_by_key(|row| row.cools_until);
    cooling.into_iter().map(|row| Ok((row.client_id, readable(&row.number)?))).collect()
}

/// Groups requests by region, regions in order and requests in the order given, without the clients that have
/// `returned` to their numbers. The fixed order keeps two transactions from locking the same rows in opposite orders.
fn by_region<'a>(requests: &[&'a NumberRequest], returned: &Taken<'_>) -> BTreeMap<String, Vec<&'a NumberRequest>> {
    let mut regions: BTreeMap<String, Vec<&'a NumberRequest>> = BTreeMap::new();
    for request in requests.iter().filter(|request| !returned.contains_key(request.client_id.as_str())) {
        regions.entry(region_of(&request.region)).or_default().push(request);
    }
    regions
}

/// Gives each request one of the first free numbers that no other transaction has locked, both in order. Skips numbers
/// that were taken from one of these clients. Returns `None`, and has assigned nothing, if there are too few, if a
/// client waits in the region, or if a number cools down for one of these. The caller must hold the allocation lock.
async fn assign_free<'a>(
    conn: &mut PgConnection,
    region: &str,
    requests: &[&'a NumberRequest],
    now: DateTime<Utc>,
) -> Result<Option<Taken<'a>>, Error> {
    let ids: Vec<&str> = requests.iter().map(|request| request.client_id.as_str()).collect();
    let assigned = sqlx::query_file!(
        "src/db/numbers/assign_free.sql",
        region,
        &ids as &[&str],
        now,
        Change::Assigned.name(),
        Origin::Pool.why()
    )
    .fetch_all(conn)
    .await?;
    let Some(first) = assigned.first() else { return Ok(None) };
    ensure_count(first.holders as u64, requests.len(), "giving clients their numbers")?;
    ensure_count(first.numbers as u64, requests.len(), "marking numbers as assigned")?;
    let taken = requests.iter().zip(&assigned).map(|(it, row)| Ok((it.client_id.as_str(), readable(&row.number)?)));
    taken.collect::<Result<Taken<'a>, Error>>().map(Some)
}

/// Returns as many free numbers as `waiting` and `requests` can need, in the order in which they were seeded. The
/// caller must hold the allocation lock exclusively.
pub(crate) async fn list_free(
    conn: &mut PgConnection,
    region: &str,
    waiting: &[WaitingClient],
    requests: &[&str],
) -> Result<Vec<FreeNumber>, Error> {
    let ids: Vec<&str> = waiting.iter().map(|it| it.client_id.as_str()).chain(requests.iter().copied()).collect();
    // Numbers that do not suit one of these clients are read in addition, so that they displace no suitable one.
    let unsuitable = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM twilio_number_pool WHERE taken_from_client_id = ANY ($1)"#,
        &ids as &[&str]
    );
    let unsuitable = unsuitable.fetch_one(&mut *conn).await?;
    let free = sqlx::query!(
        r#"SELECT phone_e164 AS number, taken_from_client_id AS taken_from FROM twilio_number_pool AS pool
           WHERE status = 'AVAILABLE' AND region = $1 AND drained_at IS NULL
             AND NOT EXISTS (SELECT FROM clients WHERE "twilioNumber" = pool.phone_e164)
           ORDER BY seed_order LIMIT $2
           FOR UPDATE OF pool"#,
        region,
        i64::try_from(ids.len()).unwrap_or(i64::MAX).saturating_add(unsuitable)
    )
    .fetch_all(conn)
    .await?;
    free.into_iter().map(|row| Ok(FreeNumber { number: readable(&row.number)?, taken_from: row.taken_from })).collect()
}

/// Parses a number of the pool. The table's constraint keeps other values out.
fn readable(number: &str) -> Result<E164, Error> {
    E164::parse(number).map_err(|_| Error::UnreadableNumber)
}
