//! The conversation: load, decide, save, in one transaction for a batch of clients.
//!
//! A client's row is locked first, and all its pending events are decided in order under that lock. No request is sent over the
//! network here, and the journal is printed only after the commit.

mod alerts;

mod calls;

mod inbound;

mod save;

mod text_back;

mod work;

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_onboarding::phone_change::{CODE_KNOWN_FOR, code_in};
use jobrun_onboarding::{Allocation, Client, E164, Payment, State, region_of};
use jobrun_shared::db::alerts::NewAlert;
use jobrun_shared::db::inbox::{self, Payload, PendingEvent};
use jobrun_shared::db::phone_changes::{self, Requests};
use jobrun_shared::db::{self, Patience, clients, numbers, reminders, subscriptions};
use jobrun_shared::{clock, telemetry};
use sqlx::{Acquire, PgConnection, Postgres, Transaction};

use crate::context::JobContext;
use crate::events::conversation::inbound::Inbound;
use crate::events::conversation::work::ClientWork;
use crate::events::{Handler, Item, LOCK_RETRY_DELAY_MIN, handle, is_for_a_conversation, unmatched};

const HANDLER: Handler = Handler { name: "a client's events", retry_after: TimeDelta::seconds(60), alert: None };

/// Processes the `oldest` events that belong to clients, and all other pending events of these clients. Passes over clients that
/// others have locked. Returns the number of clients processed or deferred.
///
/// A client that was locked and had nothing to do counts too: while it was locked, another worker may have skipped a new event of
/// it.
pub(crate) async fn process(context: &JobContext, oldest: &[PendingEvent]) -> Result<usize, db::Error> {
    // If a client cannot be inserted, those that exist are processed all the same.
    let ensured = ensure_clients(context, oldest).await;
    let mut lanes: BTreeMap<&str, Item<'_, ()>> = BTreeMap::new();
    for event in oldest.iter().filter(|event| is_for_a_conversation(event)) {
        lanes.entry(&event.lane).or_insert(Item::of_lane(event, ()));
    }
    let lanes: Vec<Item<'_, ()>> = lanes.into_values().collect();
    let done = handle(context, HANDLER, &lanes, |part, patience| process_lanes(context, part, patience)).await?;
    Ok(done + ensured?)
}

/// Inserts a client for each new phone that texts the onboarding number. Returns how many were deferred. It holds no other lock,
/// because it may have to wait for another worker that inserts the same phone.
async fn ensure_clients(context: &JobContext, oldest: &[PendingEvent]) -> Result<usize, db::Error> {
    let mut phones: BTreeMap<&str, Item<'_, E164>> = BTreeMap::new();
    for event in oldest {
        if let Some(phone) = context.signup_phone(event) {
            phones.entry(&event.lane).or_insert(Item::of_lane(event, phone));
        }
    }
    let phones: Vec<Item<'_, E164>> = phones.into_values().collect();
    if phones.is_empty() {
        return Ok(0);
    }
    let ensure = async |part: &[Item<'_, E164>], patience| {
        let phones: Vec<E164> = part.iter().map(|item| item.value.clone()).collect();
        if patience == Patience::Usual {
            // One statement needs no transaction around it.
            let key = context.erasure_key.as_ref();
            clients::ensure_for_phones(&mut *context.pool.acquire().await?, &phones, key).await?;
        } else {
            let mut tx = db::begin(&context.pool, patience).await?;
            let ensured = clients::ensure_for_phones(&mut tx, &phones, context.erasure_key.as_ref()).await;
            db::finish(tx, ensured).await?;
        }
        Ok(0)
    };
    handle(context, HANDLER, &phones, ensure).await
}

async fn process_lanes(context: &JobContext, lanes: &[Item<'_, ()>], patience: Patience) -> Result<usize, db::Error> {
    let lanes: Vec<String> = lanes.iter().map(|item| item.lane.to_owned()).collect();
    let now = clock::now();
    let mut tx = db::begin(&context.pool, patience).await?;
    let decided = decide_lanes(&mut tx, context, &lanes, now).await;
    let Decided { mut batch, to_defer, raised, cleared } = db::finish(tx, decided).await?;

    batch.iter().flat_map(|work| &work.journal).for_each(|block| telemetry::journal(block));
    batch.iter_mut().for_each(ClientWork::end_span);
    telemetry::raised(&raised);
    telemetry::cleared(&cleared);
    defer_clients(context, &to_defer, now).await?;
    Ok(batch.len() + to_defer.len())
}

/// The decisions of one transaction.
#[derive(Default)]
struct Decided {
    batch: Vec<ClientWork>,
    /// Clients who need a number while another session holds locks on the pool. Nothing that was decided for them is saved.
    to_defer: Vec<ClientWork>,
    /// The new alerts, and the causes of the resolved ones.
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
    if locked.is_empty() {
        return Ok(Decided::default());
    }
    let mut batch = load(tx, context, &locked, now).await?;
    let pool_numbers = unmatched::list_pool_numbers(tx, context, batch.iter().flat_map(|work| &work.pending)).await?;
    // The end of a service takes the allocation lock exclusively. It is taken before anything is allocated, because two
    // transactions that upgrade it from shared to exclusive would deadlock.
    let ends_service = batch.iter().any(ClientWork::may_lose_number);
    if ends_service {
        numbers::lock_allocation_exclusive(tx).await?;
    }
    let mut to_defer = Vec::new();
    loop {
        let requesters = decide_until_number_needed(context, &mut batch, &pool_numbers, now);
        // Numbers of ended services go back to the pool before any client asks for one.
        let losses: Vec<numbers::Loss> = batch.iter_mut().filter_map(|work| work.loss.take()).collect();
        numbers::end_service(tx, &losses, context.cooling, now).await?;
        if requesters.is_empty() {
            break;
        }
        let requests: Vec<numbers::NumberRequest> =
            requesters.iter().filter_map(|index| batch.get(*index)?.number_request()).collect();
        let allocations = match allocate(tx, &requests, now).await {
            // Another session holds locks on the pool: the clients who need a number are deferred, and the others go on. The end of
            // a service is written already, so after one the whole batch fails.
            Err(error) if error.is_lock_timeout() && !ends_service => {
                to_defer = batch.extract_if(.., |work| work.awaiting_number.is_some()).collect();
                continue;
            }
            allocations => allocations?,
        };
        for (index, allocation) in requesters.into_iter().zip(allocations) {
            if let Some(work) = batch.get_mut(index) {
                work.decide_with_allocation(context, allocation, now);
            }
        }
    }
    let (raised, cleared) = save::save(tx, &mut batch, now).await?;
    Ok(Decided { batch, to_defer, raised, cleared })
}

/// Asks the pool for numbers, behind a savepoint: after an error nothing is taken, and the transaction can go on.
async fn allocate(
    tx: &mut Transaction<'_, Postgres>,
    requests: &[numbers::NumberRequest],
    now: DateTime<Utc>,
) -> Result<Vec<Allocation>, db::Error> {
    let mut savepoint = tx.begin().await?;
    let allocations = numbers::allocate(&mut savepoint, requests, now).await;
    db::finish(savepoint, allocations).await
}

async fn defer_clients(context: &JobContext, batch: &[ClientWork], now: DateTime<Utc>) -> Result<(), db::Error> {
    if batch.is_empty() {
        return Ok(());
    }
    tracing::warn!(clients = batch.len(), "clients who ask for a number wait for a lock that another session holds");
    context.raise_blocker_alerts().await;
    for Client { id, owner_phone, number, .. } in batch.iter().map(|work| &work.loaded.client) {
        for lane in inbox::lanes_of(id, owner_phone, number.as_ref()) {
            inbox::defer(&context.pool, &lane, now + LOCK_RETRY_DELAY_MIN).await?;
        }
    }
    Ok(())
}

async fn load(
    conn: &mut PgConnection,
    context: &JobContext,
    ids: &[String],
    now: DateTime<Utc>,
) -> Result<Vec<ClientWork>, db::Error> {
    let loaded = clients::load(conn, ids).await?.into_iter().collect::<Result<Vec<_>, _>>()?;
    let lanes: Vec<Vec<String>> = loaded
        .iter()
        .map(|it| inbox::lanes_of(&it.client.id, &it.client.owner_phone, it.client.number.as_ref()))
        .collect();
    let mut pending: HashMap<String, Vec<PendingEvent>> = HashMap::new();
    for event in inbox::list_pending_in(conn, &lanes.concat()).await? {
        pending.entry(event.lane.clone()).or_default().push(event);
    }
    let payments = load_payment_statuses(conn, pending.values().flatten()).await?;
    let silent_since = load_silences(conn, pending.values().flatten()).await?;
    let unserved = unserved_regions(conn, &loaded).await?;
    let mut requests = load_phone_requests(conn, &loaded, &lanes, &pending, now).await?;
    let mut calls = calls::load(conn, &loaded, &lanes, &pending).await?;
    let mut callers = text_back::load(conn, context, &loaded, &lanes, &pending, now).await?;
    let batch = loaded.into_iter().zip(lanes).map(|(loaded, lanes)| {
        let mut own: Vec<PendingEvent> = lanes.iter().filter_map(|lane| pending.remove(lane)).flatten().collect();
        own.sort_unstable_by_key(|event| event.id);
        let payment = payments.get(&loaded.client.id).copied();
        let asked_at = own.iter().map(|event| event.received_at).fold(now, DateTime::max);
        let calls = calls.remove(&loaded.client.id).unwrap_or_default();
        let callers = callers.remove(&loaded.client.id).unwrap_or_default();
        let region_served = !unserved.contains(&region_of(&loaded.region));
        let phone_requests = requests.remove(&loaded.client.id).unwrap_or_default();
        let silent_since = silent_since.get(&loaded.client.id).copied();
        ClientWork {
            payment,
            asked_at,
            region_served,
            calls,
            callers,
            phone_requests,
            silent_since,
            ..ClientWork::new(loaded, own)
        }
    });
    Ok(batch.collect())
}

/// Returns the requests for a change of phone of the clients whose texts have a code. Does not query if there are none, as is
/// usual.
async fn load_phone_requests(
    conn: &mut PgConnection,
    loaded: &[clients::Loaded],
    lanes: &[Vec<String>],
    pending: &HashMap<String, Vec<PendingEvent>>,
    now: DateTime<Utc>,
) -> Result<HashMap<String, Requests>, db::Error> {
    let has_code =
        |event: &PendingEvent| matches!(&event.payload, Some(Payload::Text { body, .. }) if code_in(body).is_some());
    let own = |lanes: &[String]| lanes.iter().filter_map(|lane| pending.get(lane)).flatten().any(has_code);
    let ids = loaded.iter().zip(lanes).filter(|(_, lanes)| own(lanes)).map(|(loaded, _)| loaded.client.id.as_str());
    let ids: Vec<&str> = ids.collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    phone_changes::lock_requests(conn, &ids, now - CODE_KNOWN_FOR).await
}

/// Returns the payment status of the clients whose payment has changed. Does not query if there are none, as is usual.
async fn load_payment_statuses(
    conn: &mut PgConnection,
    pending: impl Iterator<Item = &PendingEvent>,
) -> Result<HashMap<String, Payment>, db::Error> {
    let changed: Vec<&str> = pending
        .filter_map(|event| match &event.payload {
            Some(Payload::PaymentChanged { client_id, .. }) => Some(client_id.as_str()),
            _ => None,
        })
        .collect();
    if changed.is_empty() { Ok(HashMap::new()) } else { subscriptions::standings_of(conn, &changed).await }
}

/// Returns since when the clients are silent to whom a reminder is due. Does not query if there are none, as is usual.
async fn load_silences(
    conn: &mut PgConnection,
    pending: impl Iterator<Item = &PendingEvent>,
) -> Result<HashMap<String, DateTime<Utc>>, db::Error> {
    let reminded: Vec<String> = pending
        .filter_map(|event| match &event.payload {
            Some(Payload::ReminderDue { client_id, .. }) => Some(client_id.clone()),
            _ => None,
        })
        .collect();
    if reminded.is_empty() {
        return Ok(HashMap::new());
    }
    let silences = reminders::list_silences(conn, &reminded).await?;
    Ok(silences.into_iter().map(|(id, silence)| (id, silence.since)).collect())
}

/// Returns the regions of clients before the payment gate for which the pool has no number at all. GB is never among them: more of
/// its numbers are always to come. Does not query if there is no other region, as is usual.
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

/// Decides the events of each client in order, up to the first that needs a number. Returns the indices in `batch` of the clients
/// who need one, in the order of these events.
fn decide_until_number_needed(
    context: &JobContext,
    batch: &mut [ClientWork],
    pool_numbers: &HashSet<String>,
    now: DateTime<Utc>,
) -> Vec<usize> {
    let mut requesters: Vec<(i64, usize)> = Vec::new();
    for (index, work) in batch.iter_mut().enumerate() {
        while work.awaiting_number.is_none()
            && let Some(stored) = work.pending.pop_front()
        {
            match work.to_domain_event(context, &stored) {
                Inbound::Event(event) => work.decide_event(context, stored, event, now),
                Inbound::Misdirected => work.reply_to_misdirected(context, &stored, pool_numbers),
                Inbound::Overtaken => work.record_outcome(&stored, "noted"),
                Inbound::Nothing => work.record_outcome(&stored, "unreadable"),
            }
        }
        requesters.extend(work.awaiting_number.as_ref().map(|(event, _)| (event.id, index)));
    }
    requesters.sort_unstable();
    requesters.into_iter().map(|(_, index)| index).collect()
}
