//! What an operator does by hand: the functions behind the commands, and the sweep that the worker shares with them.
//!
//! Each is one transaction, and pushes the job that lets the rest of the system follow.

use std::time::Duration;

use chrono::{DateTime, Utc};
use jobrun_onboarding::free_numbers::can_be_offered;
use jobrun_onboarding::level::Forecast;
use jobrun_onboarding::pool_number::{SeedNumber, Unfit, pool_number};
use jobrun_onboarding::{Allocation, E164, Text, as_people_write, journal, wording};
use serde::Serialize;
use sqlx::migrate::{Migrate, MigrateError as StepError, Migrator};
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool, Postgres, Transaction};

use crate::clock;
use crate::db::alerts::NewAlert;
use crate::db::events::{self, NewEvent, Payload, Source};
use crate::db::find_client::{self, Found};
use crate::db::pool::Release;
use crate::db::{self, alerts, clients, levels, messages, ownerless, pool, subscriptions, waiting_list};
use crate::queue::{self, Queue};
use crate::watch;

/// How long a migration waits for a lock before it lets those pass who wait behind it, and tries again: much less long than a
/// webhook waits.
const LOCK_TIMEOUT: &str = "SET lock_timeout = '250ms'; SET statement_timeout = 0";
const NO_LOCK_TIMEOUT: &str = "SET lock_timeout = 0";
const LET_PASS_FOR: Duration = Duration::from_secs(1);

/// PostgreSQL's code for a lock that was not to be had in time.
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// Applies every migration, the queue's own included. Safe to repeat, and to run twice at once: each waits for the other.
///
/// Waits for as long as it takes until others give up their locks, a vacuum's among them; the programs at work wait with it
/// for a quarter of a second at a time, and then pass.
///
/// # Errors
/// When the database does not take them.
pub async fn migrate(pool: &PgPool) -> Result<(), MigrateError> {
    let mut ours = Migrator::with_migrations(db::MIGRATOR.iter().cloned().collect());
    // A newer version may have applied its own steps already.
    ours.set_ignore_missing(true);
    apply(pool, &ours).await.map_err(MigrateError::Ours)?;
    apply(pool, &queue::migrations()).await.map_err(MigrateError::OfTheQueue)?;
    // After the queue's own migrations, and so not one of ours, which are applied before: its tables may not be there
    // then.
    let upkeep = sqlx::raw_sql(include_str!("queue_upkeep.sql")).execute(pool).await;
    upkeep.map_err(|error| MigrateError::OfTheQueue(error.into()))?;
    Ok(())
}

/// Again and again, for as long as others have locked something. The steps before that stay done.
async fn apply(pool: &PgPool, migrator: &Migrator) -> Result<(), StepError> {
    loop {
        // A connection of its own: the migrator's lock lasts as long as that, if a step fails.
        let mut conn = pool.acquire().await?.detach();
        let applied = apply_once(&mut conn, migrator).await;
        let locked = matches!(&applied, Err(StepError::Execute(error) | StepError::ExecuteMigration(error, _))
            if error.as_database_error().is_some_and(|error| error.code().as_deref() == Some(LOCK_NOT_AVAILABLE)));
        if locked {
            tracing::warn!("what is to be changed is locked, by a backup, a vacuum or another migration: trying again");
            // Before another migrator has its turn, which would begin to wait at once.
            tokio::time::sleep(LET_PASS_FOR).await;
        }
        // Closed or lost, its locks are gone; what became of the steps is known.
        let _ = conn.close().await;
        if !locked {
            return applied;
        }
    }
}

/// Applies the steps that are missing. Those without a transaction make indexes beside the programs at work (`CREATE INDEX
/// CONCURRENTLY`): they keep nobody waiting, and so may wait themselves for as long as it takes.
async fn apply_once(conn: &mut PgConnection, migrator: &Migrator) -> Result<(), StepError> {
    sqlx::raw_sql(LOCK_TIMEOUT).execute(&mut *conn).await?;
    // Held until the connection is closed, so that what is half made below is nobody else's work.
    conn.lock().await?;
    for step in migrator.iter().filter(|step| step.no_tx) {
        migrator.run_to(step.version - 1, &mut *conn).await?;
        sqlx::raw_sql(NO_LOCK_TIMEOUT).execute(&mut *conn).await?;
        if !is_applied(conn, step.version).await? {
            drop_unfinished_indexes(conn, step.sql.as_str()).await?;
        }
        migrator.run_to(step.version, &mut *conn).await?;
        sqlx::raw_sql(LOCK_TIMEOUT).execute(&mut *conn).await?;
    }
    migrator.run(&mut *conn).await?;
    let steps: Vec<&str> = migrator.iter().map(|step| step.sql.as_str()).collect();
    ensure_indexes_are_finished(conn, &steps.concat()).await
}

/// Not checked when it compiles: the table is the migrator's.
async fn is_applied(conn: &mut PgConnection, version: i64) -> Result<bool, sqlx::Error> {
    let applied = sqlx::query_scalar("SELECT EXISTS (SELECT FROM _sqlx_migrations WHERE version = $1)");
    applied.bind(version).fetch_one(conn).await
}

/// Drops the indexes of a step that an earlier try could not finish: they take time with every row, and serve no query.
async fn drop_unfinished_indexes(conn: &mut PgConnection, step: &str) -> Result<(), sqlx::Error> {
    for index in list_unfinished_indexes(conn, step).await? {
        let drop = format!("DROP INDEX CONCURRENTLY IF EXISTS {index}");
        sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut *conn).await?;
    }
    Ok(())
}

/// Fails if an index serves no query: `IF NOT EXISTS` in a step takes an unfinished one of the same name for its own.
async fn ensure_indexes_are_finished(conn: &mut PgConnection, steps: &str) -> Result<(), StepError> {
    let unfinished = list_unfinished_indexes(conn, steps).await?;
    if unfinished.is_empty() {
        return Ok(());
    }
    let why = format!(
        "unfinished indexes serve no query: {}; REINDEX them CONCURRENTLY, or drop them",
        unfinished.join(", ")
    );
    Err(StepError::Execute(sqlx::Error::Configuration(why.into())))
}

/// The indexes that `steps` names, and that were begun and not finished. One that is being made just now, by hand, is none of
/// them; if another role makes it, only the lock on its table says which it is.
async fn list_unfinished_indexes(conn: &mut PgConnection, steps: &str) -> Result<Vec<String>, sqlx::Error> {
    let unfinished = sqlx::query_scalar(
        "SELECT indexrelid::REGCLASS::TEXT FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
         WHERE NOT indisvalid AND position(relname IN $1) > 0
           AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'clients'::REGCLASS)
           AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index AS making
                           WHERE making.index_relid = indexrelid
                              OR (making.index_relid IS NULL
                                  AND EXISTS (SELECT FROM pg_locks AS held
                                              WHERE held.pid = making.pid AND held.relation = indrelid
                                                AND held.mode = 'ShareUpdateExclusiveLock')))",
    );
    unfinished.bind(steps).fetch_all(conn).await
}

/// The migrations could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// One of ours.
    #[error("migrating: {0}")]
    Ours(StepError),
    /// One of the job queue's.
    #[error("migrating the job queue: {0}")]
    OfTheQueue(StepError),
}

/// Why an operator's request was not carried out. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Some of the numbers given cannot be in the pool.
    #[error("nothing was added, because of:{}", .0.iter().map(|(given, wrong)| format!("\n  {given}: {wrong}")).collect::<String>())]
    Unfit(Vec<(String, Unfit)>),
    /// What was given is not a number.
    #[error("{0}: {unfit}", unfit = Unfit::Unreadable)]
    NotANumber(String),
    /// No numbers were given.
    #[error("no numbers: give them as arguments, or in TWILIO_POOL_NUMBERS, comma separated")]
    NoNumbers,
    /// The number is not one of ours.
    #[error("the number is not in the pool; `jobrun pool status` lists those that are")]
    NotInPool,
    /// The number was a client's not long ago.
    #[error(
        "no client holds the number, and it cools down until {}. With --now it becomes available at once: but a phone may still \
         forward its calls to it, and the next client would answer them", until.format("%Y-%m-%d %H:%M UTC")
    )]
    CoolsDown {
        /// Until when.
        until: DateTime<Utc>,
    },
    /// Without being told to, no number is taken from the client that holds it.
    #[error(
        "client {client_id} holds the number, and is at {state}. With --yes it is taken all the same: the client is given another \
         number, or a place on the waiting list, and is texted that its number had to change; the number cools down. `jobrun pool \
         drain` lets the client keep it, and gives it to no other afterwards"
    )]
    Held {
        /// `clients.id`.
        client_id: String,
        /// Where its conversation is.
        state: &'static str,
    },
    /// Nobody has this id.
    #[error("no client has this id or phone; a phone is written +447911123456 or 07911 123456")]
    NoSuchClient,
    /// The beginning of an id that several clients have.
    #[error("that is the beginning of several ids: {}; give more of the one that is meant", .0.join(", "))]
    SeveralClients(Vec<String>),
    /// The payment is somebody's, or was never heard of.
    #[error("no payment of this name waits to be assigned; `jobrun payments` lists those that do")]
    NotUnassigned,
    /// The database.
    #[error(transparent)]
    Database(#[from] db::Error),
}

impl Refusal {
    /// Whether the request itself is at fault, so that the same again is refused again.
    #[must_use]
    pub const fn is_of_the_request(&self) -> bool {
        match self {
            Self::Unfit(_) | Self::NotANumber(_) | Self::NoNumbers | Self::SeveralClients(_) => true,
            Self::NotInPool
            | Self::CoolsDown { .. }
            | Self::Held { .. }
            | Self::NoSuchClient
            | Self::NotUnassigned
            | Self::Database(_) => false,
        }
    }
}

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

/// What seeding did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seeded {
    /// Numbers that the pool did not have.
    pub new: usize,
    /// Numbers that it had.
    pub known: usize,
}

/// Reads numbers for the pool as people write them, each once, in the order given.
///
/// # Errors
/// When any of them cannot be in the pool: all that cannot are named, each with what is wrong.
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

/// Adds numbers, as people write them, to the pool in the order given, and lets the waiting list know.
///
/// # Errors
/// As [`read_pool_numbers`]: then none is added.
pub async fn seed(pool: &PgPool, numbers: &[String]) -> Result<Seeded, Refusal> {
    add_to_pool(pool, read_pool_numbers(numbers, None)?).await
}

/// Adds numbers that have been read to the pool, in the order given, and lets the waiting list know.
///
/// # Errors
/// When the database does not answer.
pub async fn add_to_pool(pool: &PgPool, numbers: Vec<SeedNumber>) -> Result<Seeded, Refusal> {
    let numbers: Vec<(E164, String)> = numbers.into_iter().map(|it| (it.number, it.region)).collect();
    let mut tx = pool.begin().await?;
    pool::close_gate(&mut tx).await?;
    let new = pool::insert(&mut tx, &numbers, "seeded", clock::now()).await?;
    queue::nudge(&mut tx, Queue::Sweep).await?;
    tx.commit().await?;
    Ok(Seeded { new, known: numbers.len() - new })
}

/// Begins a transaction in which `number` stays in the hands in which it is: its holder, if it has one, is locked, and the
/// gate closed, in this order. Answers the holder as well.
async fn begin_for(pool: &PgPool, number: &E164) -> Result<(Transaction<'static, Postgres>, Option<String>), Refusal> {
    loop {
        let mut tx = pool.begin().await?;
        let holder = pool::find_holder(&mut tx, number).await?;
        if let Some(holder) = &holder {
            clients::lock(&mut tx, holder).await?;
        }
        pool::close_gate(&mut tx).await?;
        // If it changed hands while we waited, the new holder is not locked: once more from the start.
        if pool::find_holder(&mut tx, number).await? == holder {
            return Ok((tx, holder));
        }
    }
}

fn one_number(number: &str) -> Result<E164, Refusal> {
    as_people_write(number).ok_or_else(|| Refusal::NotANumber(number.to_owned()))
}

/// What releasing did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released {
    /// The number, E.164.
    pub number: String,
    /// The client that held the number.
    pub holder: Option<String>,
    /// Until when it cools down. Empty, it is available.
    pub cools_until: Option<DateTime<Utc>>,
    /// Whether it has not cooled down although a client had it, whose phone may still forward its calls to it.
    pub is_uncooled: bool,
    /// Whether it is drained, so that no client is given it all the same.
    pub drained: bool,
}

/// Puts a number back into the pool, and lets the waiting list know. Taken from a client, it first cools down for as long as
/// `cooling`, and does not go back to that client, whose conversation hears of it.
///
/// # Errors
/// When that is not a number, or not one of the pool. [`Refusal::CoolsDown`], unless `cooling` is nothing, when no client holds
/// it and it cools down already.
pub async fn release(pool: &PgPool, number: &str, cooling: Duration, now: DateTime<Utc>) -> Result<Released, Refusal> {
    release_from(pool, number, true, cooling, now).await
}

/// As [`release`], but for a number that a client holds.
///
/// # Errors
/// [`Refusal::Held`] when a client holds it, and as [`release`].
pub async fn release_unheld(
    pool: &PgPool,
    number: &str,
    cooling: Duration,
    now: DateTime<Utc>,
) -> Result<Released, Refusal> {
    release_from(pool, number, false, cooling, now).await
}

async fn release_from(
    pool: &PgPool,
    number: &str,
    holder_too: bool,
    cooling: Duration,
    now: DateTime<Utc>,
) -> Result<Released, Refusal> {
    let number = one_number(number)?;
    let (mut tx, holder) = begin_for(pool, &number).await?;
    if let Some(holder) = holder.as_ref().filter(|_| !holder_too) {
        return Err(held_by(&mut tx, holder).await?);
    }
    let is_ownerless = holder.is_none() && ownerless::may_be_ownerless(&mut tx, &number).await?;
    let pool::Released { change, cools_until, is_uncooled, drained } =
        match pool::release(&mut tx, &number, holder.as_deref(), is_ownerless, cooling, now).await? {
            Release::Done(released) => released,
            Release::CoolsDown(until) => return Err(Refusal::CoolsDown { until }),
            Release::NotInPool => return Err(Refusal::NotInPool),
        };
    if let (Some(client_id), Some(change)) = (&holder, change) {
        let lost = NewEvent {
            source: Source::System,
            external_id: format!("number-lost:{change}"),
            payload: Payload::NumberLost { client_id: client_id.clone(), number: number.as_str().to_owned() },
        };
        // Last, as in a conversation: lanes are locked after the pool.
        events::insert(&mut tx, &[lost], now).await?;
    }
    queue::nudge(&mut tx, Queue::Sweep).await?;
    tx.commit().await?;
    Ok(Released { number: number.as_str().to_owned(), holder, cools_until, is_uncooled, drained })
}

async fn held_by(conn: &mut PgConnection, client_id: &str) -> Result<Refusal, db::Error> {
    let loaded = clients::load(conn, &[client_id.to_owned()]).await?.pop();
    let state = loaded.and_then(Result::ok).map_or("an unreadable state", |it| it.client.state.name());
    Ok(Refusal::Held { client_id: client_id.to_owned(), state })
}

/// The id of the client that `words` mean: an id, a phone, or the beginning of an id that no other client has.
///
/// # Errors
/// [`Refusal::NoSuchClient`], or [`Refusal::SeveralClients`] with the ids of those that could be meant.
pub async fn find_client(pool: &PgPool, words: &str) -> Result<String, Refusal> {
    match find_client::find_client(&mut *pool.acquire().await?, words).await? {
        Found::One(id) => Ok(id),
        Found::Several(ids) => Err(Refusal::SeveralClients(ids)),
        Found::Nobody => Err(Refusal::NoSuchClient),
    }
}

/// What draining a number, or undoing it, did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drained {
    /// The number, E.164.
    pub number: String,
    /// Whether anything changed: it may have been so before.
    pub changed: bool,
    /// The client that holds the number, and keeps it.
    pub holder: Option<String>,
}

/// Says that no client is to be given a number any more; with `undo`, that clients may be again, which the waiting list is
/// let know. Whoever holds it keeps it. Safe to repeat.
///
/// # Errors
/// When that is not a number, or not one of the pool.
pub async fn drain(pool: &PgPool, number: &str, undo: bool, now: DateTime<Utc>) -> Result<Drained, Refusal> {
    let number = one_number(number)?;
    let (mut tx, holder) = begin_for(pool, &number).await?;
    let drained = pool::drain(&mut tx, &number, holder.as_deref(), undo, now).await?;
    let changed = drained.ok_or(Refusal::NotInPool)?;
    if changed && undo {
        queue::nudge(&mut tx, Queue::Sweep).await?;
    }
    tx.commit().await?;
    Ok(Drained { number: number.as_str().to_owned(), changed, holder })
}

impl From<queue::Error> for Refusal {
    fn from(error: queue::Error) -> Self {
        Self::Database(error.into())
    }
}

/// What `allocate` answers. The names of the fields are a contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AllocationAnswer {
    /// Whether the client has a number now.
    pub success: bool,
    /// The number, E.164.
    #[serde(rename = "phoneE164")]
    pub phone_e164: Option<String>,
    /// Why there is none, or that there was one before.
    pub reason: Option<&'static str>,
    /// `clients.id`.
    pub client_id: String,
    /// The lines to print, once this has been committed.
    #[serde(skip)]
    pub journal: Vec<String>,
    /// Alerts that are new, for [`crate::telemetry::raised`].
    #[serde(skip)]
    pub raised: Vec<NewAlert>,
}

/// Gives a client a number, exactly as the conversation does.
///
/// # Errors
/// When the database does not answer.
pub async fn allocate(pool: &PgPool, client_id: &str, now: DateTime<Utc>) -> Result<AllocationAnswer, db::Error> {
    let refused = |reason: &'static str, words: &str| AllocationAnswer {
        success: false,
        phone_e164: None,
        reason: Some(reason),
        client_id: client_id.to_owned(),
        journal: vec![format!("❌ [POOL] {reason} - {words}")],
        raised: Vec::new(),
    };
    let mut tx = pool.begin().await?;
    if !clients::lock(&mut tx, client_id).await? {
        return Ok(refused("CLIENT_NOT_FOUND", "No client has this id"));
    }
    let Some(loaded) = clients::load(&mut tx, &[client_id.to_owned()]).await?.pop() else {
        return Ok(refused("CLIENT_NOT_FOUND", "No client has this id"));
    };
    let clients::Loaded { client, region } = loaded?;
    if !client.payment_active && client.number.is_none() {
        return Ok(refused("PAYMENT_NOT_ACTIVE", "The client has not paid"));
    }
    let if_empty = watch::pool_empty(&region);
    let seeker = pool::Seeker { client_id: client.id.clone(), region, number: client.number, since: now };
    let allocated =
        pool::allocate(&mut tx, &[seeker], now).await?.pop().unwrap_or(Allocation::PoolEmpty { told_late: false });
    let raised = match &allocated {
        Allocation::PoolEmpty { .. } => alerts::raise(&mut tx, &[if_empty], now).await?,
        Allocation::Assigned(_) | Allocation::AlreadyAssigned(_) => Vec::new(),
    };
    tx.commit().await?;

    let (success, number, reason) = match &allocated {
        Allocation::Assigned(number) => (true, Some(number), None),
        Allocation::AlreadyAssigned(number) => (true, Some(number), Some("ALREADY_ASSIGNED")),
        Allocation::PoolEmpty { .. } => (false, None, Some("POOL_EMPTY")),
    };
    Ok(AllocationAnswer {
        success,
        phone_e164: number.map(|number| number.as_str().to_owned()),
        reason,
        client_id: client.id.clone(),
        journal: journal::allocation(&client.id, &allocated, now),
        raised,
    })
}

/// Makes numbers available that have cooled down, and offers what is free to the waiting list: holds a place for as many
/// clients as there are numbers, and texts each once.
///
/// Takes no input but the rows, so that running it by hand, or twice at once, is always safe. Answers the ids of the
/// clients texted.
///
/// # Errors
/// When the database does not answer.
pub async fn sweep(
    pool: &PgPool,
    onboarding_number: &E164,
    hold: Duration,
    now: DateTime<Utc>,
) -> Result<Vec<String>, db::Error> {
    let mut tx = pool.begin().await?;
    // Mostly nobody waits, and nothing has cooled down; then allocations need not be held up.
    if !pool::any_cooled(&mut tx, now).await? && waiting_list::list_regions(&mut tx).await?.is_empty() {
        return Ok(Vec::new());
    }
    pool::close_gate(&mut tx).await?;
    pool::cool_down(&mut tx, now).await?;
    waiting_list::remove_served(&mut tx).await?;
    let mut offered = Vec::new();
    for region in waiting_list::list_regions(&mut tx).await? {
        offered.extend(offer_in(&mut tx, &region, hold, now).await?);
    }
    tell(&mut tx, &offered, onboarding_number, &wording::number_ready(), now).await?;
    tx.commit().await?;
    Ok(offered)
}

/// Writes the same text to each of the clients `ids`, which no event of theirs asked for.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn tell(
    conn: &mut PgConnection,
    ids: &[String],
    onboarding_number: &E164,
    text: &Text,
    now: DateTime<Utc>,
) -> Result<(), db::Error> {
    let loaded = clients::load(conn, ids).await?.into_iter().filter_map(Result::ok);
    let texts: Vec<messages::NewMessage> = loaded
        .map(|loaded| messages::NewMessage {
            to: loaded.client.owner_phone,
            client_id: Some(loaded.client.id),
            event_id: None,
            from: onboarding_number.clone(),
            text: text.clone(),
            held_back: false,
            deferred_until: None,
        })
        .collect();
    messages::insert(conn, &texts, now).await
}

async fn offer_in(
    conn: &mut PgConnection,
    region: &str,
    hold: Duration,
    now: DateTime<Utc>,
) -> Result<Vec<String>, db::Error> {
    let waiting = waiting_list::list(conn, region).await?;
    let free = pool::list_free(conn, region, &waiting, &[]).await?;
    let offers = jobrun_onboarding::waiting::offers(free.len(), &can_be_offered(&free, &waiting), now);
    let held_until = now + chrono::TimeDelta::from_std(hold).unwrap_or(chrono::TimeDelta::hours(48));
    waiting_list::save_offers(conn, &offers, now, held_until).await?;
    Ok(offers.offer)
}

/// The pool at a glance.
#[derive(Clone, Debug, Serialize)]
pub struct PoolStatus {
    /// Numbers that can be handed out now.
    pub free: usize,
    /// Numbers that clients hold.
    pub held: usize,
    /// Numbers kept out of use by hand: assigned, and to nobody that we know.
    pub reserved: usize,
    /// Numbers that cool down before somebody else gets them.
    pub cooling: usize,
    /// Numbers that nobody holds, and that no client is given any more.
    pub drained: usize,
    /// Clients on the waiting list.
    pub waiting: usize,
    /// How the numbers of each region go.
    pub regions: Vec<PoolRegion>,
    /// Every number, in the order in which it was seeded.
    pub numbers: Vec<PoolNumber>,
}

/// How the numbers of a region go.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolRegion {
    /// ISO 3166.
    pub region: String,
    /// Numbers that can be handed out now.
    pub free: i64,
    /// Waiting clients whom one of them is kept for, or who are to be offered one.
    pub spoken_for: i64,
    /// Free numbers that nobody has a claim on.
    pub unclaimed: usize,
    /// Numbers that cool down.
    pub cooling: i64,
    /// Numbers that nobody holds, and that no client is given any more.
    pub drained: i64,
    /// How many were handed out in the last 7 days.
    #[serde(rename = "assignedIn7Days")]
    pub assigned_in_7_days: i64,
    /// How many were handed out in the last 30 days.
    #[serde(rename = "assignedIn30Days")]
    pub assigned_in_30_days: i64,
    /// How many have cooled down within 7 days.
    #[serde(rename = "returningIn7Days")]
    pub returning_in_7_days: usize,
    /// How many have cooled down within 30 days.
    #[serde(rename = "returningIn30Days")]
    pub returning_in_30_days: usize,
    /// In how many days there will be no number left for somebody new: 0 when it is so now, or within a day; empty when that
    /// is not in sight.
    pub dry_in_days: Option<u32>,
    /// The same, in words.
    #[serde(skip)]
    pub forecast: Forecast,
}

/// A number of the pool.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolNumber {
    /// The number, E.164.
    #[serde(rename = "phoneE164")]
    pub phone_e164: String,
    /// What it may be used for now: `free`, `held`, `cooling`, `drained` or `reserved`.
    pub state: &'static str,
    /// The status that its row has, which may have been set by hand.
    pub status: String,
    /// Its region.
    pub region: String,
    /// The client that holds it, or the id that it is reserved under.
    pub client_id: Option<String>,
    /// When it was assigned.
    pub assigned_at: Option<DateTime<Utc>>,
    /// Until when it cools down, if it does.
    pub cools_until: Option<DateTime<Utc>>,
    /// Since when no client is given it, if so. Whoever holds it keeps it.
    pub drained_at: Option<DateTime<Utc>>,
}

/// Reads the pool.
///
/// # Errors
/// When the database does not answer.
pub async fn pool_status(pool: &PgPool, now: DateTime<Utc>) -> Result<PoolStatus, db::Error> {
    let mut tx = db::snapshot(pool).await?;
    let numbers: Vec<PoolNumber> = levels::list_numbers(&mut tx).await?.into_iter().map(describe).collect();
    let regions = levels::list_regions(&mut tx, now).await?.into_iter().map(|region| forecast(region, now)).collect();
    let waiting = waiting_list::list_places(&mut tx).await?.len();
    let count = |state| numbers.iter().filter(|number| number.state == state).count();
    Ok(PoolStatus {
        free: count("free"),
        held: count("held"),
        reserved: count("reserved"),
        cooling: count("cooling"),
        drained: count("drained"),
        waiting,
        regions,
        numbers,
    })
}

fn describe(entry: levels::Entry) -> PoolNumber {
    let state = match (&entry.holder_id, entry.status.as_str(), entry.drained_at) {
        (Some(_), _, _) => "held",
        (None, "AVAILABLE", None) => "free",
        (None, "AVAILABLE", Some(_)) => "drained",
        (None, "COOLING_DOWN", _) => "cooling",
        (None, _, _) => "reserved",
    };
    PoolNumber {
        phone_e164: entry.number,
        state,
        status: entry.status,
        region: entry.region,
        client_id: entry.holder_id.or(entry.pool_client_id),
        assigned_at: entry.assigned_at,
        cools_until: entry.cools_until,
        drained_at: entry.drained_at,
    }
}

fn forecast(region: levels::RegionLevel, now: DateTime<Utc>) -> PoolRegion {
    let level = watch::level_of(&region, now);
    let returning = |days| region.returns.iter().filter(|at| **at <= now + chrono::TimeDelta::days(days)).count();
    let forecast = level.forecast();
    PoolRegion {
        free: region.free,
        spoken_for: region.spoken_for,
        unclaimed: level.unclaimed(),
        cooling: region.cooling,
        drained: region.drained,
        assigned_in_7_days: region.assigned_in_7_days,
        assigned_in_30_days: region.assigned_in_30_days,
        returning_in_7_days: returning(7),
        returning_in_30_days: returning(30),
        dry_in_days: match forecast {
            Forecast::DryNow { .. } => Some(0),
            Forecast::InDays(days) => Some(days),
            Forecast::NotInSight => None,
        },
        forecast,
        region: region.region,
    }
}

/// The cause of the alert that a payment belongs to nobody that we know.
#[must_use]
pub fn cause_of_unassigned(subscription_id: &str) -> String {
    format!("payment-unassigned:{subscription_id}")
}

/// The alert that a payment belongs to nobody that we know.
#[must_use]
pub fn unassigned(subscription_id: &str) -> NewAlert {
    NewAlert {
        cause: cause_of_unassigned(subscription_id),
        about: format!(
            "A payment was made that names no client that we know: {subscription_id}. Look the payer up in Stripe, and then \
             `jobrun payments assign {subscription_id} CLIENT_ID`; if it is not for us, clear this."
        ),
    }
}

/// Of `clients`, the alerts about those that pay more than once, and the causes that are gone for the others.
///
/// # Errors
/// When the database does not answer.
pub async fn paid_twice(conn: &mut PgConnection, clients: &[&str]) -> Result<(Vec<NewAlert>, Vec<String>), db::Error> {
    let served = subscriptions::list_served(conn, clients).await?;
    let (mut alerts, mut gone) = (Vec::new(), Vec::new());
    for client in clients {
        let cause = format!("paid-twice:{client}");
        match served.get(*client) {
            Some(paid) if paid.len() > 1 => {
                let paid = paid.join(", ");
                let about = format!(
                    "Client {client} pays more than once: {paid}. Cancel all but one in Stripe, and refund them."
                );
                alerts.push(NewAlert { cause, about });
            }
            Some(_) | None => gone.push(cause),
        }
    }
    Ok((alerts, gone))
}

/// What assigning a payment did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// The alerts that are new with it.
    pub raised: Vec<NewAlert>,
    /// The causes of those that are over.
    pub cleared: Vec<String>,
}

/// Gives a payment that names nobody to a client, whose conversation hears of it as if it had named the client itself.
///
/// # Errors
/// When there is no such client, or no such payment that belongs to nobody.
pub async fn assign_payment(
    pool: &PgPool,
    subscription_id: &str,
    client_id: &str,
    now: DateTime<Utc>,
) -> Result<Assigned, Refusal> {
    let mut tx = pool.begin().await?;
    subscriptions::lock(&mut tx).await?;
    if clients::load(&mut tx, &[client_id.to_owned()]).await?.is_empty() {
        return Err(Refusal::NoSuchClient);
    }
    if !subscriptions::assign(&mut tx, subscription_id, client_id).await? {
        return Err(Refusal::NotUnassigned);
    }
    let news = NewEvent {
        source: Source::Operator,
        // It may be assigned again, should its client be deleted.
        external_id: format!("payment-assigned:{subscription_id}:{}", now.timestamp_micros()),
        payload: Payload::PaymentChanged { client_id: client_id.to_owned(), since: now },
    };
    events::insert(&mut tx, &[news], now).await?;
    let (paid_twice, _) = paid_twice(&mut tx, &[client_id]).await?;
    let raised = alerts::raise(&mut tx, &paid_twice, now).await?;
    let cleared = alerts::clear(&mut tx, &[cause_of_unassigned(subscription_id)], now).await?;
    tx.commit().await?;
    Ok(Assigned { raised, cleared })
}
