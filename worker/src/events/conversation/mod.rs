//! The conversation: load, decide, save, in one transaction for a batch of clients.
//!
//! A client's row is locked first, and all its waiting events are decided in order under that lock. No request is sent over the
//! network here, and the journal is printed only after the commit.

mod alerts;

mod inbound;

mod save;

mod work;

use crate::context::JobContext;
use crate::events::LOCKED_FOR_MIN;
use crate::events::conversation::inbound::Inbound;
use crate::events::conversation::work::ClientWork;
use crate::events::unmatched;
use crate::events::{Handler, Item, handle};
use jobrun_onboarding::{Allocation, Client, E164, Payment, State, region_of};
use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_shared::db::alerts::NewAlert;
use jobrun_shared::db::clients;
use jobrun_shared::db::inbox::{self, Payload, PendingEvent};
use jobrun_shared::db::{self, Patience, numbers, subscriptions};
use jobrun_shared::{clock, telemetry};
use sqlx::{Acquire, PgConnection, Postgres, Transaction};

const HANDLER: Handler = Handler { name: "a client's events", retry_after: TimeDelta::seconds(60), alert: None };

/// Processes the `oldest` events that belong to clients, and all other waiting events of the same clients. Clients that others have
/// locked are passed over. Returns the number of clients in hand, and of those whose events were deferred.
///
/// A client in hand without events counts as well: others may have passed it over meanwhile, so the job looks again. Clients that
/// exist are processed even if others could not be made.
pub(crate) async fn process(context: &JobContext, oldest: &[PendingEvent]) -> Result<usize, db::Error> {
    let ensured = ensure_newcomers(context, oldest).await;
    let is_heard = |event: &&PendingEvent| event.payload.as_ref().is_none_or(Payload::is_for_a_conversation);
    let mut lanes: BTreeMap<&str, Item<'_, ()>> = BTreeMap::new();
    for event in oldest.iter().filter(is_heard) {
        lanes.entry(&event.lane).or_insert(Item::of_lane(event, ()));
    }
    let lanes: Vec<Item<'_, ()>> = lanes.into_values().collect();
    let done = handle(context, HANDLER, &lanes, |part, patience| process_lanes(context, part, patience)).await?;
    Ok(done + ensured?)
}

/// Makes clients of the phones that text the onboarding number. Returns how many were deferred. It has a transaction of its own:
/// another worker may be making a client of the same phone, and is waited for while nothing is locked.
async fn ensure_newcomers(context: &JobContext, oldest: &[PendingEvent]) -> Result<usize, db::Error> {
    let mut newcomers: BTreeMap<&str, Item<'_, E164>> = BTreeMap::new();
    for event in oldest {
        if let Some(phone) = context.newcomer(event) {
            newcomers.entry(&event.lane).or_insert(Item::of_lane(event, phone));
        }
    }
    let newcomers: Vec<Item<'_, E164>> = newcomers.into_values().collect();
    if newcomers.is_empty() {
        return Ok(0);
    }
    let ensure = async |part: &[Item<'_, E164>], patience| {
        let phones: Vec<E164> = part.iter().map(|item| item.of.clone()).collect();
        if patience == Patience::Usual {
            // One statement needs no transaction around it.
            clients::ensure_for_phones(&mut *context.pool.acquire().await?, &phones).await?;
        } else {
            let mut tx = db::begin(&context.pool, patience).await?;
            let ensured = clients::ensure_for_phones(&mut tx, &phones).await;
            db::finish(tx, ensured).await?;
        }
        Ok(0)
    };
    handle(context, HANDLER, &newcomers, ensure).await
}

async fn process_lanes(context: &JobContext, lanes: &[Item<'_, ()>], patience: Patience) -> Result<usize, db::Error> {
    let lanes: Vec<String> = lanes.iter().map(|item| item.lane.to_owned()).collect();
    let now = clock::now();
    let mut tx = db::begin(&context.pool, patience).await?;
    let decided = decide_lanes(&mut tx, context, &lanes, now).await;
    let Decided { batch, without_pool, raised, cleared } = db::finish(tx, decided).await?;

    batch.iter().flat_map(|work| &work.journal).for_each(|block| telemetry::journal(block));
    telemetry::raised(&raised);
    telemetry::cleared(&cleared);
    defer_without_pool(context, &without_pool, now).await?;
    Ok(batch.len() + without_pool.len())
}

/// The decisions of one transaction.
struct Decided {
    batch: Vec<ClientWork>,
    /// Clients who asked for a number while the pool was locked. Nothing that was decided for them is saved.
    without_pool: Vec<ClientWork>,
    /// The new alerts, and the causes of those that are over.
    raised: Vec<NewAlert>,
    cleared: Vec<String>,
}

async fn decide_lanes(
    tx: &mut Transaction<'_, Postgres>,
    context: &JobContext,
    lanes: &[String],
    now: DateTime<Utc>,
) -> Result<Decided, db::Error> {
    let locked = clients::lock_by_lanes(tx, lanes).await?;
    let mut batch = load(tx, &locked, now).await?;
    let ours = unmatched::pool_numbers(tx, context, batch.iter().flat_map(|work| &work.waiting)).await?;
    // Giving up a number takes the allocation lock exclusively. Two transactions that hold it shared and both upgrade it would
    // deadlock, so it is taken exclusively before anything is allocated.
    let gives_up = batch.iter().any(|work| work.payment.is_some_and(|payment| !payment.is_served()));
    if gives_up {
        numbers::lock_allocation_exclusive(tx).await?;
    }
    let mut without_pool = Vec::new();
    loop {
        let asking = decide_until_asking(context, &mut batch, &ours, now);
        give_up_numbers(tx, context, &mut batch, now).await?;
        if asking.is_empty() {
            break;
        }
        let requests: Vec<numbers::NumberRequest> =
            asking.iter().filter_map(|place| batch.get(*place)?.number_request()).collect();
        let answers = match allocate(tx, &requests, now).await {
            // Another session holds locks on the pool: the clients who ask for a number are left out, and the others go on. Once a
            // number was given up, that is written, and its client can no longer be left out.
            Err(error) if error.is_lock_timeout() && !gives_up => {
                without_pool = batch.extract_if(.., |work| work.asking.is_some()).collect();
                continue;
            }
            answers => answers?,
        };
        for (place, answer) in asking.into_iter().zip(answers) {
            if let Some(work) = batch.get_mut(place) {
                work.answer(context, answer, now);
            }
        }
    }
    let (raised, cleared) = save::save(tx, &mut batch, now).await?;
    Ok(Decided { batch, without_pool, raised, cleared })
}

/// Asks the pool for numbers, behind a savepoint: if that fails, nothing is taken, and the transaction can go on.
///
/// # Errors
/// A lock timeout, if another session holds locks on the pool for too long.
async fn allocate(
    tx: &mut Transaction<'_, Postgres>,
    requests: &[numbers::NumberRequest],
    now: DateTime<Utc>,
) -> Result<Vec<Allocation>, db::Error> {
    let mut savepoint = tx.begin().await?;
    match numbers::allocate(&mut savepoint, requests, now).await {
        Ok(answers) => {
            savepoint.commit().await?;
            Ok(answers)
        }
        Err(error) => {
            savepoint.rollback().await?;
            Err(error)
        }
    }
}

/// Defers the clients who asked for a number while the pool was locked. Nothing that was decided for them was saved.
async fn defer_without_pool(context: &JobContext, batch: &[ClientWork], now: DateTime<Utc>) -> Result<(), db::Error> {
    if batch.is_empty() {
        return Ok(());
    }
    tracing::warn!(clients = batch.len(), "clients who ask for a number wait for a lock that another session holds");
    context.alert_of_blockers().await;
    for Client { id, owner_phone, number, .. } in batch.iter().map(|work| &work.loaded.client) {
        for lane in inbox::lanes_of(id, owner_phone, number.as_ref()) {
            inbox::defer(&context.pool, &lane, now + LOCKED_FOR_MIN).await?;
        }
    }
    Ok(())
}

async fn load(conn: &mut PgConnection, ids: &[String], now: DateTime<Utc>) -> Result<Vec<ClientWork>, db::Error> {
    let loaded = clients::load(conn, ids).await?.into_iter().collect::<Result<Vec<_>, _>>()?;
    let lanes: Vec<Vec<String>> = loaded
        .iter()
        .map(|it| inbox::lanes_of(&it.client.id, &it.client.owner_phone, it.client.number.as_ref()))
        .collect();
    let mut waiting: HashMap<String, Vec<PendingEvent>> = HashMap::new();
    for event in inbox::list_pending_in(conn, &lanes.concat()).await? {
        waiting.entry(event.lane.clone()).or_default().push(event);
    }
    let payments = payments_of(conn, waiting.values().flatten()).await?;
    let unserved = unserved_regions(conn, &loaded).await?;
    let batch = loaded.into_iter().zip(lanes).map(|(loaded, lanes)| {
        let mut own: Vec<PendingEvent> = lanes.iter().filter_map(|lane| waiting.remove(lane)).flatten().collect();
        own.sort_unstable_by_key(|event| event.id);
        let payment = payments.get(&loaded.client.id).copied();
        let asked_at = own.iter().map(|event| event.received_at).fold(now, DateTime::max);
        let region_served = !unserved.contains(&region_of(&loaded.region));
        ClientWork { payment, asked_at, region_served, ..ClientWork::new(loaded, own) }
    });
    Ok(batch.collect())
}

/// Returns the payment status of the clients who are to be told of a change. Usually there are none, and the database is not asked.
async fn payments_of(
    conn: &mut PgConnection,
    waiting: impl Iterator<Item = &PendingEvent>,
) -> Result<HashMap<String, Payment>, db::Error> {
    let changed: Vec<&str> = waiting
        .filter_map(|event| match &event.payload {
            Some(Payload::PaymentChanged { client_id, .. }) => Some(client_id.as_str()),
            _ => None,
        })
        .collect();
    if changed.is_empty() { Ok(HashMap::new()) } else { subscriptions::standings_of(conn, &changed).await }
}

/// Returns the regions of clients before the payment gate for which the pool has no number at all. GB is never among them, because
/// more of its numbers are always to come. Usually no client is of another region, and the pool is not asked.
async fn unserved_regions(conn: &mut PgConnection, loaded: &[clients::Loaded]) -> Result<HashSet<String>, db::Error> {
    let before_gate = loaded.iter().filter(|it| it.client.state <= State::S5ConfirmLive && !it.client.payment_active);
    let mut regions: HashSet<String> = before_gate.map(|it| region_of(&it.region)).filter(|it| it != "GB").collect();
    if !regions.is_empty() {
        let asked: Vec<String> = regions.iter().cloned().collect();
        for served in numbers::list_served_regions(conn, &asked).await? {
            regions.remove(&served);
        }
    }
    Ok(regions)
}

/// Takes the numbers from clients whose service has ended, before any client asks for one.
async fn give_up_numbers(
    conn: &mut PgConnection,
    context: &JobContext,
    batch: &mut [ClientWork],
    now: DateTime<Utc>,
) -> Result<(), db::Error> {
    let losses: Vec<numbers::Loss> = batch
        .iter_mut()
        .filter_map(|work| {
            let number = work.gives_up.take()?;
            Some(numbers::Loss { client_id: work.loaded.client.id.clone(), number })
        })
        .collect();
    numbers::end_service(conn, &losses, context.cooling, "the service ended", now).await
}

/// Decides the events of each client in order, up to the first that needs a number. Returns the places in `batch` of the clients
/// who need one, in the order in which they asked.
fn decide_until_asking(
    context: &JobContext,
    batch: &mut [ClientWork],
    ours: &HashSet<String>,
    now: DateTime<Utc>,
) -> Vec<usize> {
    let mut asking: Vec<(i64, usize)> = Vec::new();
    for (place, work) in batch.iter_mut().enumerate() {
        while work.asking.is_none()
            && let Some(event) = work.waiting.pop_front()
        {
            match work.to_domain_event(context, &event) {
                Inbound::Event(heard) => work.take_up(context, event, heard, now),
                Inbound::Misdirected => work.answer_misdirected(context, &event, ours),
                Inbound::Nothing => work.record_outcome(&event, "unreadable"),
            }
        }
        asking.extend(work.asking.as_ref().map(|(event, _)| (event.id, place)));
    }
    asking.sort_unstable();
    asking.into_iter().map(|(_, place)| place).collect()
}
