//! The conversation: load, decide, save, in one transaction for a slice of clients.
//!
//! A client's row is locked first, and all its waiting events are decided in order while it is. Nothing crosses the network
//! here, and the journal is printed only after the commit.

use std::collections::{HashMap, VecDeque};

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_onboarding::{Allocation, Decision, E164, Event, Facts, OptChange, Step, decide};
use jobrun_shared::db::clients::{self, Standing};
use jobrun_shared::db::events::{self, NewEvent, Payload, Source, Waiting};
use jobrun_shared::db::messages::{self, NewMessage};
use jobrun_shared::db::{self, pool};
use jobrun_shared::{clock, telemetry};
use sqlx::PgConnection;

use crate::hands::Hands;
use crate::strays;

/// How many clients share a transaction.
const CLIENTS_MAX: i64 = 100;

/// How long the events of a client wait whose rows refuse to be saved.
const PUT_OFF: TimeDelta = TimeDelta::seconds(60);

/// Processes those of the `oldest` events that belong to clients, and everything else that waits for the same clients.
/// Answers how many clients it had in hand; clients that somebody else has locked are passed over. A client in hand without
/// events counts as well: others may have passed it over meanwhile, so whoever had it looks again.
///
/// A slice that fails because of its rows is taken again client by client, so that one bad row costs only itself.
pub(crate) async fn process(hands: &Hands, oldest: &[Waiting]) -> Result<usize, db::Error> {
    let lanes = lanes_of_conversations(oldest);
    ensure_newcomers(hands, oldest).await?;
    match process_lanes(hands, &lanes).await {
        Err(error) if error.is_of_the_rows() => process_one_by_one(hands, &lanes).await,
        processed => processed,
    }
}

async fn process_one_by_one(hands: &Hands, lanes: &[String]) -> Result<usize, db::Error> {
    let mut processed = 0;
    for lane in lanes {
        match process_lanes(hands, std::slice::from_ref(lane)).await {
            Err(error) if error.is_of_the_rows() => {
                tracing::error!(%error, "a client's events cannot be processed and are put off");
                events::put_off(&hands.pool, std::slice::from_ref(lane), clock::now() + PUT_OFF).await?;
                processed += 1;
            }
            done => processed += done?,
        }
    }
    Ok(processed)
}

fn lanes_of_conversations(oldest: &[Waiting]) -> Vec<String> {
    let speaks = |event: &&Waiting| !matches!(event.payload, Some(Payload::DeliveryReport { .. }));
    let mut lanes: Vec<String> = oldest.iter().filter(speaks).map(|event| event.lane.clone()).collect();
    lanes.sort_unstable();
    lanes.dedup();
    lanes
}

/// Whoever texts the onboarding number becomes a client. In a transaction of its own: another worker may be making a client
/// of the same phone, and is waited for while nothing is locked.
async fn ensure_newcomers(hands: &Hands, oldest: &[Waiting]) -> Result<(), db::Error> {
    let phones: Vec<E164> = oldest
        .iter()
        .filter_map(|event| match &event.payload {
            Some(Payload::Text { from, to, .. }) if to == hands.onboarding_number.as_str() => E164::parse(from).ok(),
            _ => None,
        })
        .collect();
    if phones.is_empty() {
        return Ok(());
    }
    let mut conn = hands.pool.acquire().await?;
    clients::ensure_for_phones(&mut conn, &phones).await
}

async fn process_lanes(hands: &Hands, lanes: &[String]) -> Result<usize, db::Error> {
    if lanes.is_empty() {
        return Ok(0);
    }
    let now = clock::now();
    let mut tx = hands.pool.begin().await?;
    let locked = clients::lock_by_lanes(&mut tx, lanes, CLIENTS_MAX).await?;
    let mut turns = load(&mut tx, &locked).await?;
    loop {
        let asking = decide_until_asking(hands, &mut turns, now);
        if asking.is_empty() {
            break;
        }
        let seekers: Vec<pool::Seeker> = asking.iter().filter_map(|place| turns.get(*place)?.seeker()).collect();
        let answers = pool::allocate(&mut tx, &seekers, now).await?;
        for (place, answer) in asking.into_iter().zip(answers) {
            if let Some(turn) = turns.get_mut(place) {
                turn.answer(hands, answer, now);
            }
        }
    }
    save(&mut tx, hands, &turns, now).await?;
    tx.commit().await?;

    turns.iter().flat_map(|turn| &turn.journal).for_each(|block| telemetry::journal(block));
    Ok(turns.len())
}

/// A client in hand, the events it still has to be told of, and what came of those it has been.
struct Turn {
    loaded: clients::Loaded,
    waiting: VecDeque<Waiting>,
    outcomes: Vec<(i64, &'static str)>,
    texts: Vec<NewMessage>,
    moved: bool,
    opt: Option<OptChange>,
    numbers_due: Vec<NewEvent>,
    journal: Vec<Vec<String>>,
}

async fn load(conn: &mut PgConnection, ids: &[String]) -> Result<Vec<Turn>, db::Error> {
    let loaded = clients::load(conn, ids).await?.into_iter().collect::<Result<Vec<_>, _>>()?;
    let lanes: Vec<Vec<String>> = loaded
        .iter()
        .map(|it| events::lanes_of(&it.client.id, &it.client.owner_phone, it.client.number.as_ref()))
        .collect();
    let mut waiting: HashMap<String, Vec<Waiting>> = HashMap::new();
    for event in events::list_waiting_in(conn, &lanes.concat()).await? {
        waiting.entry(event.lane.clone()).or_default().push(event);
    }
    let turns = loaded.into_iter().zip(lanes).map(|(loaded, lanes)| {
        let mut own: Vec<Waiting> = lanes.iter().filter_map(|lane| waiting.remove(lane)).flatten().collect();
        own.sort_unstable_by_key(|event| event.id);
        Turn::new(loaded, own)
    });
    Ok(turns.collect())
}

/// Decides event after event for each client, up to the first that needs a number. Answers which clients do, in the order
/// in which they asked.
fn decide_until_asking(hands: &Hands, turns: &mut [Turn], now: DateTime<Utc>) -> Vec<usize> {
    let mut asking: Vec<(i64, usize)> = Vec::new();
    for (place, turn) in turns.iter_mut().enumerate() {
        while let Some(event) = turn.waiting.pop_front() {
            match turn.decide(hands, &event, None, now) {
                Step::Decided(decision) => turn.apply(hands, &event, *decision),
                Step::AskPool => {
                    asking.push((event.id, place));
                    turn.waiting.push_front(event);
                    break;
                }
            }
        }
    }
    asking.sort_unstable();
    asking.into_iter().map(|(_, place)| place).collect()
}

impl Turn {
    fn new(loaded: clients::Loaded, waiting: Vec<Waiting>) -> Self {
        Self {
            loaded,
            waiting: waiting.into(),
            outcomes: Vec::new(),
            texts: Vec::new(),
            moved: false,
            opt: None,
            numbers_due: Vec::new(),
            journal: Vec::new(),
        }
    }

    fn decide(&self, hands: &Hands, event: &Waiting, allocation: Option<Allocation>, now: DateTime<Utc>) -> Step {
        let facts = Facts { payment_link: &hands.payment_link, allocation, now };
        match self.as_heard(hands, event) {
            Some(heard) => decide(&self.loaded.client, &heard, &facts),
            None => Step::Decided(Box::new(Decision::nothing(&self.loaded.client))),
        }
    }

    /// What the conversation hears of an event: nothing of a text to somebody else's number.
    fn as_heard(&self, hands: &Hands, event: &Waiting) -> Option<Event> {
        match event.payload.as_ref()? {
            Payload::Text { .. } if self.is_misdirected(hands, event) => None,
            Payload::Text { body, .. } => Some(Event::Text { body: body.clone() }),
            Payload::CallArrived { .. } => Some(Event::CallArrived),
            Payload::CallEnded { .. } => Some(Event::CallEnded),
            Payload::NumberDue { .. } => Some(Event::NumberDue),
            Payload::DeliveryReport { .. } => None,
        }
    }

    /// A client speaks to us on the onboarding number, or on its own; on somebody else's it is like everybody.
    fn is_misdirected(&self, hands: &Hands, event: &Waiting) -> bool {
        let own = self.loaded.client.number.as_ref().map(E164::as_str);
        matches!(&event.payload, Some(Payload::Text { to, .. })
            if *to != hands.onboarding_number.as_str() && Some(to.as_str()) != own)
    }

    /// The client as one that asks for a number, because of its first waiting event.
    fn seeker(&self) -> Option<pool::Seeker> {
        let client = &self.loaded.client;
        Some(pool::Seeker {
            client_id: client.id.clone(),
            region: self.loaded.region.clone(),
            number: client.number.clone(),
            since: self.waiting.front()?.received_at,
        })
    }

    /// Takes up the event that asked the pool, now that the pool has answered.
    fn answer(&mut self, hands: &Hands, allocation: Allocation, now: DateTime<Utc>) {
        let Some(event) = self.waiting.pop_front() else {
            return;
        };
        let step = self.decide(hands, &event, Some(allocation.clone()), now);
        if let Allocation::Assigned(number) = allocation {
            self.loaded.client.number = Some(number);
        }
        match step {
            Step::Decided(decision) => self.apply(hands, &event, *decision),
            Step::AskPool => tracing::error!(event = event.id, "a decision asked the pool twice"),
        }
    }

    fn apply(&mut self, hands: &Hands, event: &Waiting, decision: Decision) {
        if self.is_misdirected(hands, event) {
            self.outcomes.push((event.id, "misdirected"));
            self.texts.extend(strays::answer(event, hands).filter(|_| !self.loaded.client.opted_out));
            return;
        }
        let client = &mut self.loaded.client;
        let outcome = match (&event.payload, decision.next == client.state, decision.texts.is_empty()) {
            (None, _, _) => "unreadable",
            (Some(_), false, _) => "moved",
            (Some(_), true, false) => "answered",
            (Some(_), true, true) => "noted",
        };
        self.outcomes.push((event.id, outcome));
        self.moved |= decision.next != client.state || decision.collected != client.collected;
        client.state = decision.next;
        client.collected = decision.collected;
        if let Some(change) = decision.opt {
            self.opt = Some(change);
            client.opted_out = change == OptChange::Out;
        }
        if client.opted_out {
            self.texts.clear();
        }
        self.texts.extend(decision.texts.into_iter().map(|text| NewMessage {
            client_id: Some(client.id.clone()),
            event_id: Some(event.id),
            to: client.owner_phone.clone(),
            from: hands.onboarding_number.clone(),
            text,
            once_key: None,
        }));
        if decision.number_due {
            self.numbers_due.push(NewEvent {
                source: Source::System,
                external_id: format!("number-due:{}", event.id),
                payload: Payload::NumberDue { client_id: client.id.clone() },
            });
        }
        self.journal.push(decision.journal);
    }
}

/// The one place that writes decisions. What the pool gave is written already, in the same transaction.
async fn save(conn: &mut PgConnection, hands: &Hands, turns: &[Turn], now: DateTime<Utc>) -> Result<(), db::Error> {
    let standings: Vec<Standing<'_>> = turns
        .iter()
        .filter(|turn| turn.moved)
        .map(|turn| &turn.loaded.client)
        .map(|client| Standing { client_id: &client.id, state: client.state, collected: &client.collected })
        .collect();
    clients::save_standings(conn, &standings, now).await?;

    let changes: Vec<(&str, OptChange)> =
        turns.iter().filter_map(|turn| Some((turn.loaded.client.id.as_str(), turn.opt?))).collect();
    clients::save_opt_changes(conn, &changes, now).await?;
    let silenced: Vec<&str> =
        changes.iter().filter(|(_, change)| *change == OptChange::Out).map(|(id, _)| *id).collect();
    messages::drop_queued_of(conn, &silenced, now).await?;

    let texts: Vec<NewMessage> = turns.iter().flat_map(|turn| turn.texts.clone()).collect();
    messages::insert(conn, &texts, now).await?;
    let due: Vec<NewEvent> = turns.iter().flat_map(|turn| turn.numbers_due.clone()).collect();
    events::insert(conn, &due, now).await?;

    let outcomes: Vec<(i64, &'static str)> = turns.iter().flat_map(|turn| turn.outcomes.clone()).collect();
    events::mark_processed(conn, &outcomes, now).await?;
    tracing::debug!(clients = turns.len(), events = outcomes.len(), texts = texts.len(), from = ?hands.onboarding_number,
        "saved a slice");
    Ok(())
}
