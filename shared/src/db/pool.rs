//! Handing out numbers.
//!
//! Two locks make it both fast and truthful. While numbers are plentiful and nobody waits, any number of transactions
//! allocate side by side: each holds the *gate* shared, and takes the first rows that no other has locked. Whoever finds
//! too few, or somebody waiting, starts over with the gate to itself: then nothing is in flight, and what it sees is so.
//! Nobody is told that the pool is empty, and nobody joins, leaves or is offered anything on the waiting list, in any other
//! way.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, Utc};
use jobrun_onboarding::{Allocation, E164, region_of, waiting};
use sqlx::{Acquire, PgConnection, Postgres, Transaction};

use super::{Error, ensure_rows, waiting_list};

/// The key of the gate among PostgreSQL's advisory locks of this database.
const GATE: i32 = 2;

/// A client that asks for a number. Its row is locked by whoever asks on its behalf.
#[derive(Clone, Debug)]
pub struct Seeker {
    /// `clients.id`.
    pub client_id: String,
    /// `clients.region`.
    pub region: String,
    /// The number that the client holds already.
    pub number: Option<E164>,
    /// When the client asked: its place in line, should it have to wait.
    pub since: DateTime<Utc>,
}

/// Gives each seeker a number, in the order given, or a place on the waiting list. Answers in the same order.
///
/// The clients must be locked. Takes the gate and locks on pool rows, and holds them until the transaction ends.
///
/// # Errors
/// When the database does not answer.
pub async fn allocate(
    tx: &mut Transaction<'_, Postgres>,
    seekers: &[Seeker],
    now: DateTime<Utc>,
) -> Result<Vec<Allocation>, Error> {
    let (holders, empty_handed): (Vec<&Seeker>, Vec<&Seeker>) =
        seekers.iter().partition(|seeker| seeker.number.is_some());
    repair_rows_of(tx, &holders, now).await?;

    let taken = match take_beside_others(tx, &empty_handed, now).await? {
        Some(taken) => taken,
        None => take_alone(tx, &empty_handed, now).await?,
    };
    let answer = |seeker: &Seeker| match (&seeker.number, taken.get(seeker.client_id.as_str())) {
        (Some(number), _) => Allocation::AlreadyAssigned(number.clone()),
        (None, Some(number)) => Allocation::Assigned(number.clone()),
        (None, None) => Allocation::PoolEmpty,
    };
    Ok(seekers.iter().map(answer).collect())
}

/// A holder's number is its own, whatever was done to the pool by hand; its row follows.
async fn repair_rows_of(conn: &mut PgConnection, holders: &[&Seeker], now: DateTime<Utc>) -> Result<(), Error> {
    if holders.is_empty() {
        return Ok(());
    }
    let ids: Vec<&str> = holders.iter().map(|seeker| seeker.client_id.as_str()).collect();
    let numbers: Vec<&str> = holders.iter().filter_map(|seeker| seeker.number.as_ref()).map(E164::as_str).collect();
    // No row is touched for a number that is not from the pool, or whose row is right.
    sqlx::query!(
        "UPDATE twilio_number_pool AS pool SET status = 'ASSIGNED', client_id = held.client_id, assigned_at = $3
         FROM unnest($1::TEXT[], $2::TEXT[]) AS held (client_id, number)
         WHERE pool.phone_e164 = held.number
           AND (pool.status <> 'ASSIGNED' OR pool.client_id IS DISTINCT FROM held.client_id)",
        &ids as &[&str],
        &numbers as &[&str],
        now
    )
    .execute(&mut *conn)
    .await?;
    waiting_list::remove(conn, &ids).await
}

type Taken<'a> = HashMap<&'a str, E164>;

/// Allocates while others do the same. Answers nothing, and has done nothing, if that does not serve everybody.
async fn take_beside_others<'a>(
    tx: &mut Transaction<'_, Postgres>,
    seekers: &[&'a Seeker],
    now: DateTime<Utc>,
) -> Result<Option<Taken<'a>>, Error> {
    if seekers.is_empty() {
        return Ok(Some(Taken::new()));
    }
    // Rolling back to the savepoint gives up the locks taken after it, the gate's among them, so that nobody who waits for
    // the gate alone is waited for.
    let mut savepoint = tx.begin().await?;
    sqlx::query!("SELECT pg_advisory_xact_lock_shared($1, 0)", GATE).execute(&mut *savepoint).await?;
    let mut taken = Taken::new();
    for (region, seekers) in by_region(seekers) {
        let free = if waiting_list::is_empty(&mut savepoint, &region).await? {
            lock_free_unlocked(&mut savepoint, &region, seekers.len()).await?
        } else {
            Vec::new()
        };
        if free.len() < seekers.len() {
            savepoint.rollback().await?;
            return Ok(None);
        }
        taken.extend(seekers.iter().map(|seeker| seeker.client_id.as_str()).zip(free));
    }
    hand_over(&mut savepoint, &taken, now).await?;
    savepoint.commit().await?;
    Ok(Some(taken))
}

/// Allocates with nothing else in flight: what is not there now is nowhere.
async fn take_alone<'a>(
    conn: &mut PgConnection,
    seekers: &[&'a Seeker],
    now: DateTime<Utc>,
) -> Result<Taken<'a>, Error> {
    close_gate(conn).await?;
    let mut taken = Taken::new();
    for (region, seekers) in by_region(seekers) {
        let waiting = waiting_list::list(conn, &region).await?;
        let free = list_free(conn, &region, waiting.len() + seekers.len()).await?;
        let ids: Vec<&str> = seekers.iter().map(|seeker| seeker.client_id.as_str()).collect();
        let served = waiting::serve(free.len(), &waiting, &ids);

        let (served, refused): (Vec<_>, Vec<_>) = seekers.iter().zip(served).partition(|(_, served)| *served);
        waiting_list::join(conn, &region, refused.into_iter().map(|(seeker, _)| *seeker)).await?;
        taken.extend(served.into_iter().map(|(seeker, _)| seeker.client_id.as_str()).zip(free));
    }
    let leaving: Vec<&str> = taken.keys().copied().collect();
    waiting_list::remove(conn, &leaving).await?;
    hand_over(conn, &taken, now).await?;
    Ok(taken)
}

/// Waits until no allocation is in flight, and lets none begin until the transaction ends.
///
/// Whoever changes the waiting list, or frees numbers, does it behind the closed gate.
pub(crate) async fn close_gate(conn: &mut PgConnection) -> Result<(), Error> {
    sqlx::query!("SELECT pg_advisory_xact_lock($1, 0)", GATE).execute(conn).await?;
    Ok(())
}

/// Regions in order, and the seekers of each in the order given: two transactions never lock the same rows the other way
/// round.
fn by_region<'s, 'a>(seekers: &'s [&'a Seeker]) -> BTreeMap<String, Vec<&'a Seeker>>
where
    'a: 's,
{
    let mut regions: BTreeMap<String, Vec<&'a Seeker>> = BTreeMap::new();
    for seeker in seekers {
        regions.entry(region_of(&seeker.region)).or_default().push(seeker);
    }
    regions
}

/// Locks the first free numbers that nobody else has locked, in the order in which they were seeded.
async fn lock_free_unlocked(conn: &mut PgConnection, region: &str, limit: usize) -> Result<Vec<E164>, Error> {
    // The pool may say AVAILABLE, by somebody's hand, of a number that a client holds: the client is right.
    let free = sqlx::query_scalar!(
        r#"SELECT phone_e164 FROM twilio_number_pool AS pool
           WHERE status = 'AVAILABLE' AND region = $1
             AND NOT EXISTS (SELECT FROM clients WHERE "twilioNumber" = pool.phone_e164)
           ORDER BY seed_order LIMIT $2
           FOR UPDATE OF pool SKIP LOCKED"#,
        region,
        i64::try_from(limit).unwrap_or(i64::MAX)
    )
    .fetch_all(conn)
    .await?;
    numbers(free)
}

/// The first free numbers, in the order in which they were seeded. For whoever has closed the gate.
pub(crate) async fn list_free(conn: &mut PgConnection, region: &str, limit: usize) -> Result<Vec<E164>, Error> {
    let free = sqlx::query_scalar!(
        r#"SELECT phone_e164 FROM twilio_number_pool AS pool
           WHERE status = 'AVAILABLE' AND region = $1
             AND NOT EXISTS (SELECT FROM clients WHERE "twilioNumber" = pool.phone_e164)
           ORDER BY seed_order LIMIT $2
           FOR UPDATE OF pool"#,
        region,
        i64::try_from(limit).unwrap_or(i64::MAX)
    )
    .fetch_all(conn)
    .await?;
    numbers(free)
}

/// A row that does not hold a number cannot be handed out; the table's constraint keeps it from being written.
fn numbers(rows: Vec<String>) -> Result<Vec<E164>, Error> {
    rows.iter().map(|row| E164::parse(row).map_err(|_| Error::UnreadableNumber)).collect()
}

/// Writes who holds what: in `clients`, which is the authority, and in the pool, which follows.
async fn hand_over(conn: &mut PgConnection, taken: &Taken<'_>, now: DateTime<Utc>) -> Result<(), Error> {
    if taken.is_empty() {
        return Ok(());
    }
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
        "UPDATE twilio_number_pool AS pool SET status = 'ASSIGNED', client_id = taken.client_id, assigned_at = $3
         FROM unnest($1::TEXT[], $2::TEXT[]) AS taken (client_id, number)
         WHERE pool.phone_e164 = taken.number AND pool.status = 'AVAILABLE'",
        &ids as &[&str],
        &numbers as &[&str],
        now
    )
    .execute(conn)
    .await?;
    ensure_rows(&pool, taken.len(), "marking numbers as assigned")
}

/// Adds numbers to the pool, in the order given, each with its region. Answers how many were new.
///
/// # Errors
/// When the database does not answer.
pub async fn insert(conn: &mut PgConnection, numbers: &[(E164, String)]) -> Result<u64, Error> {
    let (e164, regions): (Vec<&str>, Vec<&str>) =
        numbers.iter().map(|(number, region)| (number.as_str(), region.as_str())).unzip();
    let result = sqlx::query!(
        "INSERT INTO twilio_number_pool (phone_e164, region)
         SELECT number, region FROM unnest($1::TEXT[], $2::TEXT[]) WITH ORDINALITY AS seed (number, region, place)
         ORDER BY place
         ON CONFLICT ON CONSTRAINT a_number_is_in_the_pool_once DO NOTHING",
        &e164 as &[&str],
        &regions as &[&str]
    )
    .execute(conn)
    .await?;
    Ok(result.rows_affected())
}

/// Which of `numbers` are in the pool, E.164.
///
/// # Errors
/// When the database does not answer.
pub async fn list_known(conn: &mut PgConnection, numbers: &[&str]) -> Result<HashSet<String>, Error> {
    let known =
        sqlx::query_scalar!("SELECT phone_e164 FROM twilio_number_pool WHERE phone_e164 = ANY($1)", numbers as &[&str]);
    Ok(known.fetch_all(conn).await?.into_iter().collect())
}

/// The client that holds `number`, if one does.
///
/// # Errors
/// When the database does not answer.
pub async fn find_holder(conn: &mut PgConnection, number: &E164) -> Result<Option<String>, Error> {
    let holder = sqlx::query_scalar!(r#"SELECT id FROM clients WHERE "twilioNumber" = $1"#, number.as_str());
    Ok(holder.fetch_optional(conn).await?)
}

/// Takes `number` from whoever holds it, and makes it available. Answers whether the number is in the pool at all.
///
/// The holder must be locked, and the gate closed.
///
/// # Errors
/// When the database does not answer.
pub async fn release(conn: &mut PgConnection, number: &E164) -> Result<bool, Error> {
    sqlx::query!(r#"UPDATE clients SET "twilioNumber" = NULL WHERE "twilioNumber" = $1"#, number.as_str())
        .execute(&mut *conn)
        .await?;
    let result = sqlx::query!(
        "UPDATE twilio_number_pool SET status = 'AVAILABLE', client_id = NULL, assigned_at = NULL WHERE phone_e164 = $1",
        number.as_str()
    )
    .execute(conn)
    .await?;
    Ok(result.rows_affected() > 0)
}

/// A number of the pool as an operator sees it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The number, E.164.
    pub number: String,
    /// `AVAILABLE` or `ASSIGNED`, as the pool has it.
    pub status: String,
    /// Its region.
    pub region: String,
    /// Whose it is, as the pool has it.
    pub pool_client_id: Option<String>,
    /// The client that holds it.
    pub holder_id: Option<String>,
    /// When it was assigned.
    pub assigned_at: Option<DateTime<Utc>>,
}

/// The whole pool, in the order in which it was seeded.
///
/// # Errors
/// When the database does not answer.
pub async fn list(conn: &mut PgConnection) -> Result<Vec<Entry>, Error> {
    let entries = sqlx::query_as!(
        Entry,
        r#"SELECT pool.phone_e164 AS number, pool.status, pool.region, pool.client_id AS pool_client_id,
                  clients.id AS "holder_id?", pool.assigned_at
           FROM twilio_number_pool AS pool LEFT JOIN clients ON clients."twilioNumber" = pool.phone_e164
           ORDER BY pool.seed_order"#
    )
    .fetch_all(conn)
    .await?;
    Ok(entries)
}

/// TEMPORARY until the life of numbers is merged.
#[derive(Clone, Debug)]
pub struct Loss {
    /// `clients.id`.
    pub client_id: String,
    /// The number it holds.
    pub number: Option<E164>,
}

/// TEMPORARY until the life of numbers is merged.
///
/// # Errors
/// When the database does not answer.
pub async fn take_away(
    conn: &mut PgConnection,
    losses: &[Loss],
    _why: &str,
    _cooling: std::time::Duration,
    _now: DateTime<Utc>,
) -> Result<(), Error> {
    close_gate(conn).await?;
    for loss in losses {
        waiting_list::remove(conn, &[&loss.client_id]).await?;
        if let Some(number) = &loss.number {
            release(conn, number).await?;
        }
    }
    Ok(())
}
