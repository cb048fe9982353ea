//! Handing out numbers, and taking them back: `AVAILABLE → ASSIGNED → COOLING_DOWN → AVAILABLE`.
//!
//! Two locks make it both fast and truthful. While numbers are plentiful and nobody waits, any number of transactions
//! allocate side by side: each holds the *gate* shared, and takes the first rows that no other has locked. Whoever finds
//! too few, or somebody waiting, starts over with the gate to itself: then nothing is in flight, and what it sees is so.
//! Nobody is told that the pool is empty, and nobody joins or is offered anything on the waiting list, in any other way.
//!
//! A number whose client has left cools down: its old callers are still ringing it. Until it has, it is for nobody but that
//! client, should it return. Only what is AVAILABLE is ever looked for on behalf of anybody else, so a number that cools
//! down cannot be handed to another.
//!
//! No two of these ever wait for each other in a circle. Clients come first, by id; then the gate; then rows of the pool, in
//! the order in which they were seeded; the lanes of events come last. Behind the gate, one waits for a row of the pool only
//! if nothing else is in flight, or if it cools down for a client, or is held by one, that the same transaction has locked:
//! free rows that another has are passed over. Whoever means a single number ([`release`], [`drain`]) locks its holder before
//! the gate as well. What is left is a transaction that has passed the gate and then wants it closed, which two of a kind
//! would wait for without end: [`allocate`] goes back before it does, and whoever means to allocate first and
//! [`take_away`] afterwards closes the gate before both.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_onboarding::free_numbers::{FreeNumber, hand_out};
use jobrun_onboarding::waiting::Waiting;
use jobrun_onboarding::{Allocation, E164, region_of};
use sqlx::{Acquire, PgConnection, Postgres, Transaction};

use super::number_changes::{self, Change, Step};
use super::{Error, ensure_rows, waiting_list};
use crate::queue::{self, Queue};

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

/// Gives each seeker a number, in the order given, or a place on the waiting list. Answers in the same order. A seeker whose
/// last number still cools down is given that one, whoever waits: nobody else could have had it.
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
    let (taken, told_late) = match take_beside_others(tx, &empty_handed, now).await? {
        Some(taken) => (taken, HashSet::new()),
        None => take_alone(tx, &empty_handed, now).await?,
    };
    // After the gate, as it locks rows.
    repair_rows_of(tx, &holders, now).await?;
    let answer = |seeker: &Seeker| match (&seeker.number, taken.get(seeker.client_id.as_str())) {
        (Some(number), _) => Allocation::AlreadyAssigned(number.clone()),
        (None, Some(number)) => Allocation::Assigned(number.clone()),
        (None, None) => Allocation::PoolEmpty { told_late: told_late.contains(&seeker.client_id) },
    };
    Ok(seekers.iter().map(answer).collect())
}

/// A holder's number is its own, whatever was done to the pool by hand; its row follows. Nothing changes hands.
async fn repair_rows_of(conn: &mut PgConnection, holders: &[&Seeker], now: DateTime<Utc>) -> Result<(), Error> {
    if holders.is_empty() {
        return Ok(());
    }
    let ids: Vec<&str> = holders.iter().map(|seeker| seeker.client_id.as_str()).collect();
    let numbers: Vec<&str> = holders.iter().filter_map(|seeker| seeker.number.as_ref()).map(E164::as_str).collect();
    // No row is touched for a number that is not from the pool, or whose row is right.
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
    let returned = give_back(&mut savepoint, seekers, now).await?;
    let mut taken = Taken::new();
    for (region, seekers) in by_region(seekers, &returned) {
        let free = if waiting_list::is_empty(&mut savepoint, &region).await? {
            lock_free_unlocked(&mut savepoint, &region, &seekers).await?
        } else {
            Vec::new()
        };
        if free.len() < seekers.len() {
            savepoint.rollback().await?;
            return Ok(None);
        }
        taken.extend(seekers.iter().map(|seeker| seeker.client_id.as_str()).zip(free));
    }
    hand_over(&mut savepoint, &taken, Origin::Pool, now).await?;
    savepoint.commit().await?;
    taken.extend(returned);
    Ok(Some(taken))
}

/// Allocates with nothing else in flight: what is not there now is nowhere. Answers as well who of those who have to wait has
/// been told that it takes longer than promised.
async fn take_alone<'a>(
    conn: &mut PgConnection,
    seekers: &[&'a Seeker],
    now: DateTime<Utc>,
) -> Result<(Taken<'a>, HashSet<String>), Error> {
    close_gate(conn).await?;
    let returned = give_back(conn, seekers, now).await?;
    let (mut taken, mut told_late) = (Taken::new(), HashSet::new());
    for (region, seekers) in by_region(seekers, &returned) {
        let waiting = waiting_list::list(conn, &region).await?;
        let ids: Vec<&str> = seekers.iter().map(|seeker| seeker.client_id.as_str()).collect();
        let free = list_free(conn, &region, &waiting, &ids).await?;
        let served: Taken<'a> = hand_out(&free, &waiting, &ids).into_iter().collect();
        let refused = seekers.into_iter().filter(|seeker| !served.contains_key(seeker.client_id.as_str()));
        told_late.extend(waiting_list::join(conn, &region, refused).await?);
        taken.extend(served);
    }
    let leaving: Vec<&str> = taken.keys().copied().collect();
    waiting_list::remove(conn, &leaving).await?;
    hand_over(conn, &taken, Origin::Pool, now).await?;
    taken.extend(returned);
    Ok((taken, told_late))
}

/// Gives seekers who return the numbers that cool down for them, and takes them off the waiting list. For whoever has passed
/// the gate, or closed it.
async fn give_back<'a>(
    conn: &mut PgConnection,
    seekers: &[&'a Seeker],
    now: DateTime<Utc>,
) -> Result<Taken<'a>, Error> {
    let cooling = lock_cooling(conn, seekers).await?;
    let number = |seeker: &&'a Seeker| Some((seeker.client_id.as_str(), cooling.get(&seeker.client_id)?.clone()));
    let returned: Taken<'a> = seekers.iter().filter_map(number).collect();
    let ids: Vec<&str> = returned.keys().copied().collect();
    leave_waiting_list(conn, &ids).await?;
    hand_over(conn, &returned, Origin::CoolingDown, now).await?;
    Ok(returned)
}

/// Locks the numbers that cool down for seekers, each in the region in which its seeker needs one. Answers the number of each
/// seeker who has one, and of several the one that it held last.
async fn lock_cooling(conn: &mut PgConnection, seekers: &[&Seeker]) -> Result<HashMap<String, E164>, Error> {
    let ids: Vec<&str> = seekers.iter().map(|seeker| seeker.client_id.as_str()).collect();
    let regions: Vec<String> = seekers.iter().map(|seeker| region_of(&seeker.region)).collect();
    let mut cooling = sqlx::query!(
        r#"SELECT pool.phone_e164 AS number, seeker.client_id AS "client_id!", pool.cools_until
           FROM unnest($1::TEXT[], $2::TEXT[]) AS seeker (client_id, region)
           JOIN twilio_number_pool AS pool ON pool.last_client_id = seeker.client_id AND pool.region = seeker.region
           WHERE pool.status = 'COOLING_DOWN' AND pool.drained_at IS NULL
             AND NOT EXISTS (SELECT FROM clients WHERE "twilioNumber" = pool.phone_e164)
           ORDER BY pool.seed_order
           FOR UPDATE OF pool"#,
        &ids as &[&str],
        &regions
    )
    .fetch_all(conn)
    .await?;
    // The later of two with the same key stays.
    cooling.sort_by_key(|row| row.cools_until);
    cooling.into_iter().map(|row| Ok((row.client_id, readable(&row.number)?))).collect()
}

/// Takes clients off the waiting list. A hold ends with its place, and then a number may be free for the next in line.
async fn leave_waiting_list(conn: &mut PgConnection, client_ids: &[&str]) -> Result<(), Error> {
    if !client_ids.is_empty() && waiting_list::remove(conn, client_ids).await? > 0 {
        queue::nudge(conn, Queue::Sweep).await?;
    }
    Ok(())
}

/// Waits until no allocation is in flight, and lets none begin until the transaction ends.
///
/// Whoever changes the waiting list on behalf of others, or frees numbers, does it behind the closed gate. Comes before
/// [`allocate`] in the same transaction, if at all; closing it twice is closing it once.
///
/// # Errors
/// When the database does not answer, or would have two transactions wait for each other.
pub async fn close_gate(conn: &mut PgConnection) -> Result<(), Error> {
    sqlx::query!("SELECT pg_advisory_xact_lock($1, 0)", GATE).execute(conn).await?;
    Ok(())
}

/// Regions in order, and the seekers of each in the order given, but for those that have `returned` to their numbers: two
/// transactions never lock the same rows the other way round.
fn by_region<'a>(seekers: &[&'a Seeker], returned: &Taken<'_>) -> BTreeMap<String, Vec<&'a Seeker>> {
    let mut regions: BTreeMap<String, Vec<&'a Seeker>> = BTreeMap::new();
    for seeker in seekers.iter().filter(|seeker| !returned.contains_key(seeker.client_id.as_str())) {
        regions.entry(region_of(&seeker.region)).or_default().push(seeker);
    }
    regions
}

/// Locks the first free numbers that nobody else has locked, one for each seeker, in the order in which they were seeded. Passes
/// over those that were taken from one of the seekers.
async fn lock_free_unlocked(conn: &mut PgConnection, region: &str, seekers: &[&Seeker]) -> Result<Vec<E164>, Error> {
    let ids: Vec<&str> = seekers.iter().map(|seeker| seeker.client_id.as_str()).collect();
    // The pool may say AVAILABLE, by somebody's hand, of a number that a client holds: the client is right.
    let free = sqlx::query_scalar!(
        r#"SELECT phone_e164 FROM twilio_number_pool AS pool
           WHERE status = 'AVAILABLE' AND region = $1 AND drained_at IS NULL
             AND (taken_from_client_id IS NULL OR taken_from_client_id <> ALL ($3))
             AND NOT EXISTS (SELECT FROM clients WHERE "twilioNumber" = pool.phone_e164)
           ORDER BY seed_order LIMIT $2
           FOR UPDATE OF pool SKIP LOCKED"#,
        region,
        i64::try_from(seekers.len()).unwrap_or(i64::MAX),
        &ids as &[&str]
    )
    .fetch_all(conn)
    .await?;
    free.iter().map(|row| readable(row)).collect()
}

/// As many free numbers as `waiting` and `seekers` can need, in the order in which they were seeded. For whoever has closed the
/// gate.
pub(crate) async fn list_free(
    conn: &mut PgConnection,
    region: &str,
    waiting: &[Waiting],
    seekers: &[&str],
) -> Result<Vec<FreeNumber>, Error> {
    let ids: Vec<&str> = waiting.iter().map(|it| it.client_id.as_str()).chain(seekers.iter().copied()).collect();
    // Numbers that do not suit one of them take the place of none that does.
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

/// A row that does not hold a number cannot be handed out; the table's constraint keeps it from being written.
fn readable(number: &str) -> Result<E164, Error> {
    E164::parse(number).map_err(|_| Error::UnreadableNumber)
}

/// Where numbers come from that are handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// Anybody could have had them.
    Pool,
    /// They cooled down for the clients that they are given to.
    CoolingDown,
}

/// Writes who holds what: in `clients`, which is the authority, and in the pool, which follows.
async fn hand_over(
    conn: &mut PgConnection,
    taken: &Taken<'_>,
    origin: Origin,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    if taken.is_empty() {
        return Ok(());
    }
    let (status, why) = match origin {
        Origin::Pool => ("AVAILABLE", "allocated"),
        Origin::CoolingDown => ("COOLING_DOWN", "the client returned"),
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
    number_changes::record(conn, Change::Assigned, &steps, why, now).await?;
    Ok(())
}

/// A client whose service ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// `clients.id`.
    pub client_id: String,
    /// The number that the client holds, if it holds one: it may have been waiting for one, or on its way to the gate.
    pub number: Option<E164>,
}

/// Ends the service of clients: each leaves the waiting list, and its number cools down for as long as `cooling`, or is
/// available at once if that is nothing. `why` is written down with each number: "the subscription ended".
///
/// The clients must be locked, and `number` be what was read under that lock. Closes the gate, and locks the rows of the
/// numbers that are in the pool, which one that was entered by hand need not be. Pushes the job that lets the waiting list
/// know. Comes before events are inserted, and before [`allocate`] in the same transaction; only if that transaction has
/// closed the gate before both, in any order.
///
/// # Errors
/// When a client does not hold the number that is said to be its own, or the database does not answer.
pub async fn take_away(
    conn: &mut PgConnection,
    losses: &[Loss],
    cooling: Duration,
    why: &str,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    if losses.is_empty() {
        return Ok(());
    }
    close_gate(conn).await?;
    let ids: Vec<&str> = losses.iter().map(|loss| loss.client_id.as_str()).collect();
    leave_waiting_list(conn, &ids).await?;
    let held = losses.iter().filter_map(|loss| Some((loss.number.as_ref()?.as_str(), loss.client_id.as_str())));
    let held: Vec<(&str, &str)> = held.collect();
    if held.is_empty() {
        return Ok(());
    }
    unhand(conn, &held, why, now).await?;
    let numbers: Vec<&str> = held.iter().map(|(number, _)| *number).collect();
    let known: HashSet<String> = lock(conn, &numbers).await?.into_iter().map(|row| row.number).collect();
    let steps = held.into_iter().filter(|(number, _)| known.contains(*number));
    let steps: Vec<Step<'_>> = steps.map(|(number, client_id)| (number, Some(client_id))).collect();
    put_back(conn, &steps, cools_until(cooling, now), None).await?;
    Ok(queue::nudge(conn, Queue::Sweep).await?)
}

/// Until when a number cools down that is let go `now`: not at all, if `cooling` is nothing.
pub(super) fn cools_until(cooling: Duration, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    (!cooling.is_zero()).then(|| now + TimeDelta::from_std(cooling).unwrap_or(TimeDelta::days(30)))
}

/// Takes numbers, E.164, from the clients that hold them, and writes it down. Answers the ids of the changes.
async fn unhand(
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
    number_changes::record(conn, Change::Released, &steps, why, now).await
}

/// Puts numbers back that are in the pool, and locked: they cool down, or are available at once. The client that held one is
/// remembered as the last that did. They do not go back to the client `taken_from`.
async fn put_back(
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

/// A number of the pool, locked.
struct Locked {
    number: String,
    status: String,
    client_id: Option<String>,
    last_client_id: Option<String>,
    cools_until: Option<DateTime<Utc>>,
    drained: bool,
}

/// Locks those of `numbers` that are in the pool, in the order in which they were seeded.
async fn lock(conn: &mut PgConnection, numbers: &[&str]) -> Result<Vec<Locked>, Error> {
    let rows = sqlx::query_as!(
        Locked,
        r#"SELECT phone_e164 AS number, status, client_id, last_client_id, cools_until, drained_at IS NOT NULL AS "drained!"
           FROM twilio_number_pool WHERE phone_e164 = ANY($1) ORDER BY seed_order FOR UPDATE"#,
        numbers as &[&str]
    );
    Ok(rows.fetch_all(conn).await?)
}

/// Whether a number has cooled down, and nobody has said so yet. Mostly none has, and then the gate need not be closed.
pub(crate) async fn any_cooled(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<bool, Error> {
    let any = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM twilio_number_pool AS pool
                          WHERE status = 'COOLING_DOWN' AND cools_until <= $1
                            AND NOT EXISTS (SELECT FROM clients WHERE "twilioNumber" = pool.phone_e164)) AS "any!""#,
        now
    );
    Ok(any.fetch_one(conn).await?)
}

/// Makes the numbers available that have cooled down. The gate must be closed.
pub(crate) async fn cool_down(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<(), Error> {
    // Not one that a client was given by hand meanwhile: it is in use, and its row may be locked by whoever puts it right.
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
    number_changes::record(conn, Change::CooledDown, &steps, "its time was up", now).await?;
    Ok(())
}

/// Adds numbers to the pool, in the order given, each with its region, and writes down `why`. Answers how many were new.
///
/// # Errors
/// When the database does not answer.
pub async fn insert(
    conn: &mut PgConnection,
    numbers: &[(E164, String)],
    why: &str,
    now: DateTime<Utc>,
) -> Result<usize, Error> {
    let (e164, regions): (Vec<&str>, Vec<&str>) =
        numbers.iter().map(|(number, region)| (number.as_str(), region.as_str())).unzip();
    let new = sqlx::query_scalar!(
        "INSERT INTO twilio_number_pool (phone_e164, region)
         SELECT number, region FROM unnest($1::TEXT[], $2::TEXT[]) WITH ORDINALITY AS seed (number, region, place)
         ORDER BY place
         ON CONFLICT ON CONSTRAINT a_number_is_in_the_pool_once DO NOTHING
         RETURNING phone_e164",
        &e164 as &[&str],
        &regions as &[&str]
    )
    .fetch_all(&mut *conn)
    .await?;
    let steps: Vec<Step<'_>> = new.iter().map(|number| (number.as_str(), None)).collect();
    number_changes::record(conn, Change::Added, &steps, why, now).await?;
    Ok(new.len())
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

/// Which of `regions`, ISO 3166 countries, the pool has a number of, free or not.
///
/// # Errors
/// When the database does not answer.
pub async fn list_served_regions(conn: &mut PgConnection, regions: &[String]) -> Result<Vec<String>, Error> {
    let served = sqlx::query_scalar!(
        r#"SELECT region AS "region!" FROM unnest($1::TEXT[]) AS r (region)
           WHERE EXISTS (SELECT FROM twilio_number_pool p WHERE p.region = r.region)"#,
        regions
    );
    Ok(served.fetch_all(conn).await?)
}

/// The client that holds `number`, if one does.
///
/// # Errors
/// When the database does not answer.
pub async fn find_holder(conn: &mut PgConnection, number: &E164) -> Result<Option<String>, Error> {
    let holder = sqlx::query_scalar!(r#"SELECT id FROM clients WHERE "twilioNumber" = $1"#, number.as_str());
    Ok(holder.fetch_optional(conn).await?)
}

/// Whether callers of `number`, E.164, can reach nobody any more: it is in the pool, and no client holds it.
///
/// # Errors
/// When the database does not answer.
pub async fn is_unused(conn: &mut PgConnection, number: &str) -> Result<bool, Error> {
    let unused = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM twilio_number_pool WHERE phone_e164 = $1)
              AND NOT EXISTS (SELECT FROM clients WHERE "twilioNumber" = $1) AS "unused!""#,
        number
    );
    Ok(unused.fetch_one(conn).await?)
}

/// What releasing a number did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Release {
    /// The number is back in the pool.
    Done(Released),
    /// Nothing: no client holds it, and it cools down until then.
    CoolsDown(DateTime<Utc>),
    /// Nothing: it is not in the pool.
    NotInPool,
}

/// A number that is back in the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released {
    /// `number_changes.id`, if a client held it.
    pub change: Option<i64>,
    /// Until when it cools down. Empty, it is available.
    pub cools_until: Option<DateTime<Utc>>,
    /// Whether it has not cooled down although a client had it, whose phone may still forward its calls to it.
    pub is_uncooled: bool,
    /// Whether it is drained, so that no client is given it all the same.
    pub drained: bool,
}

/// Takes `number` from its `holder`, and lets it cool down for as long as `cooling`, as one that no client holds but may have held
/// (`is_ownerless`). Another one becomes available at once, unless it cools down already: that is only cut short if `cooling` is
/// nothing.
///
/// The holder must be locked, and the gate closed. Locks the row of the number.
///
/// # Errors
/// When `holder` does not hold it, or the database does not answer.
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
    let change = if held.is_empty() { None } else { unhand(conn, &held, WHY, now).await?.pop() };
    let had_client = holder.is_some() || is_ownerless;
    let cools_until = cools_until(cooling, now).filter(|_| had_client);
    // Its client does not get it back: there was a reason to take it. Once it has cooled down, anybody may have it.
    let taken_from = holder.filter(|_| cools_until.is_none());
    put_back(conn, &[(number.as_str(), None)], cools_until, taken_from).await?;
    let step = match (row.status.as_str(), &row.client_id) {
        _ if !held.is_empty() => None,
        ("COOLING_DOWN", _) => Some((Change::CooledDown, row.last_client_id.as_deref())),
        ("ASSIGNED", Some(reserved_for)) => Some((Change::Released, Some(reserved_for.as_str()))),
        _ => None,
    };
    if let Some((change, client_id)) = step {
        number_changes::record(conn, change, &[(number.as_str(), client_id)], WHY, now).await?;
    }
    let is_uncooled = cools_until.is_none() && (had_client || still_cools.is_some());
    Ok(Release::Done(Released { change, cools_until, is_uncooled, drained: row.drained }))
}

/// Says that no client is to be given `number`, held by `holder`, any more, or with `undo` that clients may be again. Answers
/// whether that is new, or nothing if the number is not in the pool. Whoever holds it keeps it.
///
/// The holder must be locked, and the gate closed. Locks the row of the number.
///
/// # Errors
/// When the database does not answer.
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
    ensure_rows(&result.execute(&mut *conn).await?, 1, "draining a number, or no more")?;
    let change = if undo { Change::Undrained } else { Change::Drained };
    number_changes::record(conn, change, &[(&row.number, holder)], "by hand", now).await?;
    Ok(Some(true))
}
