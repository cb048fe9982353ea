//! The conversation: load, decide, save, in one transaction for a slice of clients.
//!
//! A client's row is locked first, and all its waiting events are decided in order while it is. Nothing crosses the network
//! here, and the journal is printed only after the commit.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_onboarding::{
    Allocation, Call, Client, Concern, Decision, E164, Event, Facts, Keyword, OptChange, Payment, State, Step,
    TextKind, caller, decide, keyword, loop_guard::Admission, region_of,
};
use jobrun_shared::db::alerts::{self, NewAlert};
use jobrun_shared::db::clients::{self, Standing, Wish};
use jobrun_shared::db::events::{self, NewEvent, Outcome, Payload, Source, Waiting};
use jobrun_shared::db::messages::{self, NewMessage};
use jobrun_shared::db::{self, Patience, pool, subscriptions};
use jobrun_shared::{clock, telemetry, watch};
use sqlx::{Acquire, PgConnection, Postgres, Transaction};

use crate::hands::{Hands, LOCKED_FOR_MIN, in_halves};
use crate::{consequences, strays};

/// How long the events of a client wait whose rows refuse to be saved.
const PUT_OFF: TimeDelta = TimeDelta::seconds(60);

/// Processes those of the `oldest` events that belong to clients, and everything else that waits for the same clients.
/// Returns how many clients it had in hand; clients that others have locked are passed over. A client in hand without
/// events counts as well: others may have passed it over meanwhile, so the job looks again.
///
/// A slice that fails because of its rows is taken again in halves, so that one bad row costs only itself.
///
/// # Errors
/// When the database does not answer. Clients that exist are served all the same if others could not be made.
pub(crate) async fn process(hands: &Hands, oldest: &[Waiting]) -> Result<usize, db::Error> {
    let ensured = ensure_newcomers(hands, oldest).await;
    let is_heard = |event: &&Waiting| event.payload.as_ref().is_none_or(Payload::is_for_a_conversation);
    let lanes: BTreeSet<&String> = oldest.iter().filter(is_heard).map(|event| &event.lane).collect();
    let lanes: Vec<String> = lanes.into_iter().cloned().collect();
    let done = in_halves(
        &lanes,
        |part, patience| process_lanes(hands, part, patience),
        async |lane, error| put_off(hands, oldest, lane, &error).await,
    )
    .await?;
    Ok(done + ensured?)
}

/// Puts off a lane whose events failed alone.
async fn put_off(hands: &Hands, oldest: &[Waiting], lane: &str, error: &db::Error) -> Result<(), db::Error> {
    let first = oldest.iter().find(|event| event.lane == lane).map_or_else(clock::now, |event| event.received_at);
    if error.is_lock_timeout() {
        tracing::warn!(%error, "a client's events wait for a lock that another session holds");
    } else {
        tracing::error!(%error, "a client's events cannot be processed and are put off");
    }
    hands.put_off(lane, error, PUT_OFF, first).await
}

/// Makes clients of the phones that text the onboarding number. In a transaction of its own: another worker may be making a
/// client of the same phone, and is waited for while nothing is locked. Returns how many were put off.
async fn ensure_newcomers(hands: &Hands, oldest: &[Waiting]) -> Result<usize, db::Error> {
    let newcomers: BTreeMap<&str, E164> =
        oldest.iter().filter_map(|event| Some((event.lane.as_str(), hands.newcomer(event)?))).collect();
    let newcomers: Vec<(&str, E164)> = newcomers.into_iter().collect();
    if newcomers.is_empty() {
        return Ok(0);
    }
    let ensure = async |part: &[(&str, E164)], patience| {
        let phones: Vec<E164> = part.iter().map(|(_, phone)| phone.clone()).collect();
        if patience == Patience::Usual {
            // One statement, which needs no transaction around it.
            clients::ensure_for_phones(&mut *hands.pool.acquire().await?, &phones).await?;
        } else {
            let mut tx = db::begin(&hands.pool, patience).await?;
            let ensured = clients::ensure_for_phones(&mut tx, &phones).await;
            db::finish(tx, ensured).await?;
        }
        Ok(0)
    };
    in_halves(&newcomers, ensure, async |(lane, _), error| put_off(hands, oldest, lane, &error).await).await
}

async fn process_lanes(hands: &Hands, lanes: &[String], patience: Patience) -> Result<usize, db::Error> {
    let now = clock::now();
    let mut tx = db::begin(&hands.pool, patience).await?;
    let decided = decide_lanes(&mut tx, hands, lanes, now).await;
    let Decided { turns, without_pool, raised, cleared } = db::finish(tx, decided).await?;

    turns.iter().flat_map(|turn| &turn.journal).for_each(|block| telemetry::journal(block));
    telemetry::raised(&raised);
    telemetry::cleared(&cleared);
    put_off_without_pool(hands, &without_pool, now).await?;
    Ok(turns.len() + without_pool.len())
}

/// What was decided in one transaction.
struct Decided {
    turns: Vec<Turn>,
    /// Clients who asked for a number while the pool was locked. Nothing that was decided for them is saved.
    without_pool: Vec<Turn>,
    /// The alerts that are new, and the causes of those that are over.
    raised: Vec<NewAlert>,
    cleared: Vec<String>,
}

async fn decide_lanes(
    tx: &mut Transaction<'_, Postgres>,
    hands: &Hands,
    lanes: &[String],
    now: DateTime<Utc>,
) -> Result<Decided, db::Error> {
    let locked = clients::lock_by_lanes(tx, lanes).await?;
    let mut turns = load(tx, &locked, now).await?;
    let ours = strays::pool_numbers(tx, hands, turns.iter().flat_map(|turn| &turn.waiting)).await?;
    // Giving up a number closes the gate, which two who have passed it side by side would wait for each other to do.
    let gives_up = turns.iter().any(|turn| turn.payment.is_some_and(|payment| !payment.is_served()));
    if gives_up {
        pool::close_gate(tx).await?;
    }
    let mut without_pool = Vec::new();
    loop {
        let asking = decide_until_asking(hands, &mut turns, &ours, now);
        give_up_numbers(tx, hands, &mut turns, now).await?;
        if asking.is_empty() {
            break;
        }
        let seekers: Vec<pool::Seeker> = asking.iter().filter_map(|place| turns.get(*place)?.seeker()).collect();
        let answers = match allocate(tx, &seekers, now).await {
            // What the pool would answer cannot be told while another session holds locks on it. The others go on. A client
            // that gave up its number in this transaction could not be left out of it any more.
            Err(error) if error.is_lock_timeout() && !gives_up => {
                without_pool = turns.extract_if(.., |turn| turn.asking.is_some()).collect();
                continue;
            }
            answers => answers?,
        };
        for (place, answer) in asking.into_iter().zip(answers) {
            if let Some(turn) = turns.get_mut(place) {
                turn.answer(hands, answer, now);
            }
        }
    }
    let (raised, cleared) = save(tx, &mut turns, now).await?;
    Ok(Decided { turns, without_pool, raised, cleared })
}

/// Asks the pool. Has taken nothing if that fails, and the transaction can go on.
///
/// # Errors
/// When the database does not answer, or another session holds locks on the pool for too long.
async fn allocate(
    tx: &mut Transaction<'_, Postgres>,
    seekers: &[pool::Seeker],
    now: DateTime<Utc>,
) -> Result<Vec<Allocation>, db::Error> {
    let mut savepoint = tx.begin().await?;
    match pool::allocate(&mut savepoint, seekers, now).await {
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

/// Puts off the clients who asked for a number while the pool was locked. Nothing of what was decided for them was saved.
async fn put_off_without_pool(hands: &Hands, turns: &[Turn], now: DateTime<Utc>) -> Result<(), db::Error> {
    if turns.is_empty() {
        return Ok(());
    }
    tracing::warn!(clients = turns.len(), "clients who ask for a number wait for a lock that another session holds");
    hands.alert_of_blockers().await;
    for Client { id, owner_phone, number, .. } in turns.iter().map(|turn| &turn.loaded.client) {
        for lane in events::lanes_of(id, owner_phone, number.as_ref()) {
            events::put_off(&hands.pool, &lane, now + LOCKED_FOR_MIN).await?;
        }
    }
    Ok(())
}

/// A client in hand, the events it still has to be told of, and what came of those it has been.
struct Turn {
    loaded: clients::Loaded,
    waiting: VecDeque<Waiting>,
    /// The event that needs a number, and the pool's answer.
    asking: Option<(Waiting, Event)>,
    /// How the client's payment stands, whatever it has heard of it, if there is news of that.
    payment: Option<Payment>,
    /// Whether the client gives up its place on the waiting list, and this number.
    gives_up: Option<Option<E164>>,
    payment_heard: bool,
    outcomes: Vec<Outcome>,
    texts: Vec<NewMessage>,
    moved: bool,
    misfits_changed: bool,
    /// Whether the pool has numbers of the client's region.
    region_served: bool,
    /// When a question that is asked now counts as asked: after everything in hand has arrived.
    asked_at: DateTime<Utc>,
    /// What the operator is to be told, and whether the client and the conversation misunderstand each other.
    cancel_asked: bool,
    person_wanted: bool,
    stuck: bool,
    wishes: Vec<Wish>,
    reach_changed: bool,
    /// Whether the pool had no number for it.
    found_pool_empty: bool,
    /// Whether something happened to its service that could not be said: it takes no texts, or none reaches it.
    is_in_the_dark: bool,
    numbers_due: Vec<NewEvent>,
    journal: Vec<Vec<String>>,
}

/// What the conversation hears of an event.
enum Heard {
    /// This happened.
    Event(Event),
    /// A text to somebody else's number.
    Misdirected,
    /// Something that no conversation hears of, or that cannot be read.
    Nothing,
}

async fn load(conn: &mut PgConnection, ids: &[String], now: DateTime<Utc>) -> Result<Vec<Turn>, db::Error> {
    let loaded = clients::load(conn, ids).await?.into_iter().collect::<Result<Vec<_>, _>>()?;
    let lanes: Vec<Vec<String>> = loaded
        .iter()
        .map(|it| events::lanes_of(&it.client.id, &it.client.owner_phone, it.client.number.as_ref()))
        .collect();
    let mut waiting: HashMap<String, Vec<Waiting>> = HashMap::new();
    for event in events::list_waiting_in(conn, &lanes.concat()).await? {
        waiting.entry(event.lane.clone()).or_default().push(event);
    }
    let payments = payments_of(conn, waiting.values().flatten()).await?;
    let unserved = unserved_regions(conn, &loaded).await?;
    let turns = loaded.into_iter().zip(lanes).map(|(loaded, lanes)| {
        let mut own: Vec<Waiting> = lanes.iter().filter_map(|lane| waiting.remove(lane)).flatten().collect();
        own.sort_unstable_by_key(|event| event.id);
        let payment = payments.get(&loaded.client.id).copied();
        let asked_at = own.iter().map(|event| event.received_at).fold(now, DateTime::max);
        let region_served = !unserved.contains(&region_of(&loaded.region));
        Turn { payment, asked_at, region_served, ..Turn::new(loaded, own) }
    });
    Ok(turns.collect())
}

/// How the payments stand of those clients who are to hear of it. Mostly nobody is, and then nothing is asked.
async fn payments_of(
    conn: &mut PgConnection,
    waiting: impl Iterator<Item = &Waiting>,
) -> Result<HashMap<String, Payment>, db::Error> {
    let changed: Vec<&str> = waiting
        .filter_map(|event| match &event.payload {
            Some(Payload::PaymentChanged { client_id, .. }) => Some(client_id.as_str()),
            _ => None,
        })
        .collect();
    if changed.is_empty() { Ok(HashMap::new()) } else { subscriptions::standings_of(conn, &changed).await }
}

/// The regions of clients before the payment gate of which the pool has no number at all. Numbers of GB are always to come, and
/// mostly nobody is of another region: then the pool is not asked.
async fn unserved_regions(conn: &mut PgConnection, loaded: &[clients::Loaded]) -> Result<HashSet<String>, db::Error> {
    let before_gate = loaded.iter().filter(|it| it.client.state <= State::S5ConfirmLive && !it.client.payment_active);
    let mut regions: HashSet<String> = before_gate.map(|it| region_of(&it.region)).filter(|it| it != "GB").collect();
    if !regions.is_empty() {
        let asked: Vec<String> = regions.iter().cloned().collect();
        for served in pool::list_served_regions(conn, &asked).await? {
            regions.remove(&served);
        }
    }
    Ok(regions)
}

/// Takes the numbers from those whose service has ended, before anybody asks for one.
async fn give_up_numbers(
    conn: &mut PgConnection,
    hands: &Hands,
    turns: &mut [Turn],
    now: DateTime<Utc>,
) -> Result<(), db::Error> {
    let losses: Vec<pool::Loss> = turns
        .iter_mut()
        .filter_map(|turn| {
            let number = turn.gives_up.take()?;
            Some(pool::Loss { client_id: turn.loaded.client.id.clone(), number })
        })
        .collect();
    pool::take_away(conn, &losses, hands.cooling, "the service ended", now).await
}

/// Decides event after event for each client, up to the first that needs a number. Answers which clients do, in the order
/// in which they asked.
fn decide_until_asking(hands: &Hands, turns: &mut [Turn], ours: &HashSet<String>, now: DateTime<Utc>) -> Vec<usize> {
    let mut asking: Vec<(i64, usize)> = Vec::new();
    for (place, turn) in turns.iter_mut().enumerate() {
        while turn.asking.is_none()
            && let Some(event) = turn.waiting.pop_front()
        {
            match turn.hear(hands, &event) {
                Heard::Event(heard) => turn.take_up(hands, event, heard, now),
                Heard::Misdirected => turn.turn_away(hands, &event, ours),
                Heard::Nothing => turn.note(&event, "unreadable"),
            }
        }
        asking.extend(turn.asking.as_ref().map(|(event, _)| (event.id, place)));
    }
    asking.sort_unstable();
    asking.into_iter().map(|(_, place)| place).collect()
}

impl Turn {
    fn new(loaded: clients::Loaded, waiting: Vec<Waiting>) -> Self {
        Self {
            loaded,
            waiting: waiting.into(),
            asking: None,
            payment: None,
            gives_up: None,
            payment_heard: false,
            outcomes: Vec::new(),
            texts: Vec::new(),
            moved: false,
            misfits_changed: false,
            region_served: true,
            asked_at: DateTime::default(),
            cancel_asked: false,
            person_wanted: false,
            stuck: false,
            wishes: Vec::new(),
            reach_changed: false,
            found_pool_empty: false,
            is_in_the_dark: false,
            numbers_due: Vec::new(),
            journal: Vec::new(),
        }
    }

    fn hear(&self, hands: &Hands, event: &Waiting) -> Heard {
        let call = |from: &str, sid: &Option<String>| Call { sid: sid.clone(), caller: caller(from) };
        match &event.payload {
            Some(Payload::Text { to, body, opt_out_type, .. }) if !self.speaks_to_us_on(hands, to) => {
                self.hear_elsewhere(event, body, opt_out_type.as_deref())
            }
            Some(Payload::Text { body, opt_out_type, .. }) => {
                let taken_for = opt_out_type.as_deref().and_then(keyword);
                Heard::Event(Event::Text { body: body.clone(), taken_for, received_at: event.received_at })
            }
            Some(Payload::CallArrived { from, sid, .. }) => Heard::Event(Event::CallArrived(call(from, sid))),
            Some(Payload::CallEnded { from, sid, .. }) => Heard::Event(Event::CallEnded(call(from, sid))),
            Some(Payload::NumberDue { .. }) => Heard::Event(Event::NumberDue),
            Some(Payload::OptedOut { .. }) => Heard::Event(Event::OptedOut),
            Some(Payload::Unreachable { .. }) => Heard::Event(Event::Unreachable),
            Some(Payload::Reached { .. }) => Heard::Event(Event::Reached),
            Some(Payload::PaymentChanged { .. }) => {
                Heard::Event(Event::PaymentStands(self.payment.unwrap_or_default()))
            }
            Some(Payload::NumberLost { number, .. }) => {
                E164::parse(number).map_or(Heard::Nothing, |it| Heard::Event(Event::NumberLost(it)))
            }
            Some(Payload::DeliveryReport { .. } | Payload::Stripe { .. }) | None => Heard::Nothing,
        }
    }

    /// A client speaks to us on the onboarding number, or on its own; on somebody else's it is like everybody.
    fn speaks_to_us_on(&self, hands: &Hands, number: &str) -> bool {
        let own = self.loaded.client.number.as_ref().map(E164::as_str);
        number == hands.onboarding_number.as_str() || Some(number) == own
    }

    /// STOP and START count on every number of ours, because the wish is the person's. Anything else is for that number's
    /// holder, and so is a START from a client that takes texts.
    fn hear_elsewhere(&self, event: &Waiting, body: &str, opt_out_type: Option<&str>) -> Heard {
        let taken_for = strays::wished(body, opt_out_type);
        let counts = match taken_for {
            Some(Keyword::Stop) => true,
            Some(Keyword::Start) => self.loaded.client.opted_out,
            Some(Keyword::Help) | None => false,
        };
        let text = || Event::Text { body: body.to_owned(), taken_for, received_at: event.received_at };
        if counts { Heard::Event(text()) } else { Heard::Misdirected }
    }

    /// What came of an event, and where it left the client.
    fn note(&mut self, event: &Waiting, word: &'static str) {
        let client = &self.loaded.client;
        self.outcomes.push(Outcome { event_id: event.id, word, client: Some((client.id.clone(), client.state)) });
    }

    fn turn_away(&mut self, hands: &Hands, event: &Waiting, ours: &HashSet<String>) {
        self.note(event, "misdirected");
        self.texts.extend(strays::answer(event, hands, ours).filter(|_| !self.loaded.client.opted_out));
    }

    fn facts<'a>(&self, hands: &'a Hands, allocation: Option<Allocation>, now: DateTime<Utc>) -> Facts<'a> {
        Facts {
            payment_link: hands.payment_link.as_deref(),
            allocation,
            region_served: self.region_served,
            now,
            asked_at: self.asked_at,
        }
    }

    fn take_up(&mut self, hands: &Hands, event: Waiting, heard: Event, now: DateTime<Utc>) {
        let facts = self.facts(hands, None, now);
        match decide(&self.loaded.client, &heard, &facts) {
            Step::Decided(decision) => self.apply(hands, &event, *decision),
            Step::AskPool => self.asking = Some((event, heard)),
        }
    }

    /// The client as one that asks for a number.
    fn seeker(&self) -> Option<pool::Seeker> {
        let (event, _) = self.asking.as_ref()?;
        let client = &self.loaded.client;
        let since = match event.payload {
            Some(Payload::PaymentChanged { since, .. }) => since,
            _ => event.received_at,
        };
        Some(pool::Seeker {
            client_id: client.id.clone(),
            region: self.loaded.region.clone(),
            number: client.number.clone(),
            since,
        })
    }

    /// Takes up the event that asked the pool, now that the pool has answered.
    fn answer(&mut self, hands: &Hands, allocation: Allocation, now: DateTime<Utc>) {
        let Some((event, heard)) = self.asking.take() else {
            return;
        };
        let facts = self.facts(hands, Some(allocation.clone()), now);
        let step = decide(&self.loaded.client, &heard, &facts);
        match allocation {
            Allocation::Assigned(number) => self.loaded.client.number = Some(number),
            Allocation::AlreadyAssigned(_) => {}
            Allocation::PoolEmpty { .. } => self.found_pool_empty = true,
        }
        match step {
            Step::Decided(decision) => self.apply(hands, &event, *decision),
            Step::AskPool => tracing::error!(event = event.id, "a decision asked the pool twice"),
        }
    }

    /// The alerts that come to an end with what happened: the client can be reached again, or has gone on without the text.
    fn causes_that_are_gone(&self) -> Vec<String> {
        let client = &self.loaded.client;
        let missed = TextKind::ALL.into_iter().filter(|kind| self.moved && kind.matters());
        let missed = missed.map(|kind| consequences::cause_of_not_delivered(kind, &client.id));
        let missed = missed.chain((self.moved && !self.is_in_the_dark).then(|| cause_of_dark(&client.id)));
        let missed = missed.chain((self.moved && !self.stuck).then(|| cause_of_stuck(&client.id)));
        // The service has ended: no alert about a client who pays stands any more, and there is nothing left to cancel.
        let ended = self.payment_heard && !client.payment_active;
        let reached = (self.reach_changed && !client.unreachable) || ended;
        let opted_in = (!self.wishes.is_empty() && !client.opted_out) || ended;
        missed
            .chain(ended.then(|| cause_of_cancel(&client.id)))
            .chain(reached.then(|| cause_of_unreachable(&client.id)))
            .chain(opted_in.then(|| cause_of_opted_out(&client.id)))
            .collect()
    }

    /// Whoever cannot be told that its service has begun or ended, or that its number has changed, has to hear of it in another
    /// way: its callers may reach somebody else by and by.
    fn in_the_dark(&self) -> Option<NewAlert> {
        let Client { id, .. } = &self.loaded.client;
        self.is_in_the_dark.then(|| NewAlert {
            cause: cause_of_dark(id),
            about: format!(
                "Something happened to the service of client {id}, who takes no texts, or whom none reaches: see `jobrun client \
                 {id}`, and get in touch another way. Then clear this."
            ),
        })
    }

    /// A client who pays and takes no texts, or whom none reaches, has to be told things another way.
    fn out_of_reach(&self) -> Vec<NewAlert> {
        let Client { id, payment_active, opted_out, unreachable, .. } = &self.loaded.client;
        let unreachable = (self.reach_changed && *unreachable && *payment_active).then(|| NewAlert {
            cause: cause_of_unreachable(id),
            about: format!("No text reaches client {id}, who pays. Get in touch another way."),
        });
        let is_news = !self.wishes.is_empty() || self.payment_heard;
        let opted_out = (is_news && *opted_out && *payment_active).then(|| NewAlert {
            cause: cause_of_opted_out(id),
            about: format!(
                "Client {id} pays, and has opted out of texts: it hears of no missed call and of no change. Get in touch \
                 another way. This is over when it texts START, or stops paying."
            ),
        });
        unreachable.into_iter().chain(opted_out).collect()
    }

    /// Clients who paid wait: the operator hears of it in the transaction that found the pool empty.
    fn waits_for_a_number(&self) -> Option<NewAlert> {
        self.found_pool_empty.then(|| watch::pool_empty(&self.loaded.region))
    }

    /// A client whom the conversation does not understand, or who asked to cancel or for its money back, needs a person.
    fn concerns(&self) -> Vec<NewAlert> {
        let Client { id, state, .. } = &self.loaded.client;
        let stuck = self.stuck.then(|| NewAlert {
            cause: cause_of_stuck(id),
            about: format!(
                "Client {id} and the conversation do not understand each other at {}. The client was told that our team will get in \
                 touch: see `jobrun client {id}`.",
                state.name()
            ),
        });
        let cancels = self.cancel_asked.then(|| NewAlert {
            cause: cause_of_cancel(id),
            about: format!(
                "Client {id} asked to cancel, or for its money back. Cancel or refund in Stripe, or get in touch."
            ),
        });
        let wants_person = self.person_wanted.then(|| NewAlert {
            cause: format!("person-wanted:{id}"),
            about: format!(
                "Client {id} asked for a person, and was told that our team will get in touch: see `jobrun client {id}`. Get in touch, \
                 then clear this."
            ),
        });
        stuck.into_iter().chain(cancels).chain(wants_person).collect()
    }

    /// What the client has heard of its payment, if anything.
    fn heard_of_payment(&self) -> Option<clients::Heard<'_>> {
        let Client { id, payment, payment_active, .. } = &self.loaded.client;
        let heard = clients::Heard { client_id: id, payment: *payment, payment_active: *payment_active };
        self.payment_heard.then_some(heard)
    }

    fn apply(&mut self, hands: &Hands, event: &Waiting, decision: Decision) {
        let client = &mut self.loaded.client;
        let outcome = match (decision.next == client.state, decision.texts.is_empty()) {
            (false, _) => "moved",
            (true, false) => "answered",
            (true, true) => "noted",
        };
        self.moved |= decision.next != client.state || decision.collected != client.collected;
        self.misfits_changed |= decision.exchange.misfits != client.exchange.misfits;
        let goes_on = decision.next != client.state;
        client.state = decision.next;
        client.collected = decision.collected;
        client.exchange = decision.exchange;
        self.cancel_asked |= decision.concern == Some(Concern::CancelAsked);
        self.person_wanted |= decision.concern == Some(Concern::PersonWanted);
        self.stuck = decision.concern == Some(Concern::Stuck) || (self.stuck && !goes_on);
        self.payment_heard |= decision.payment.is_some();
        let of_service = matches!(event.payload, Some(Payload::PaymentChanged { .. } | Payload::NumberLost { .. }));
        self.is_in_the_dark |= of_service
            && (client.opted_out || client.unreachable)
            && (outcome == "moved" || decision.payment_active.is_some());
        client.payment = decision.payment.unwrap_or(client.payment);
        client.payment_active = decision.payment_active.unwrap_or(client.payment_active);
        if decision.gives_up_number {
            self.gives_up = Some(client.number.take());
        }
        if let Some(change) = decision.opt {
            client.opted_out = change == OptChange::Out;
            self.wishes.push(Wish { phone: client.owner_phone.clone(), change, event_id: event.id });
        }
        if let Some(reachable) = decision.reachable {
            client.unreachable = !reachable;
            self.reach_changed = true;
        }
        if client.opted_out || client.unreachable {
            self.texts.clear();
        }
        self.texts.extend(decision.texts.into_iter().map(|text| NewMessage {
            client_id: Some(client.id.clone()),
            event_id: Some(event.id),
            to: client.owner_phone.clone(),
            from: hands.onboarding_number.clone(),
            text,
            held_back: false,
            deferred_until: None,
        }));
        if decision.number_due {
            self.numbers_due.push(NewEvent {
                source: Source::System,
                external_id: format!("number-due:{}", event.id),
                payload: Payload::NumberDue { client_id: client.id.clone() },
            });
        }
        self.journal.push(decision.journal);
        self.note(event, outcome);
    }
}

fn cause_of_unreachable(client_id: &str) -> String {
    format!("unreachable:{client_id}")
}

fn cause_of_opted_out(client_id: &str) -> String {
    format!("opted-out:{client_id}")
}

fn cause_of_stuck(client_id: &str) -> String {
    format!("stuck:{client_id}")
}

fn cause_of_cancel(client_id: &str) -> String {
    format!("cancel-asked:{client_id}")
}

fn cause_of_dark(client_id: &str) -> String {
    format!("untold:{client_id}")
}

/// The one place that writes decisions. What the pool gave is written already, in the same transaction. Answers the alerts
/// that are new, and the causes of those that are over.
async fn save(
    conn: &mut PgConnection,
    turns: &mut [Turn],
    now: DateTime<Utc>,
) -> Result<(Vec<NewAlert>, Vec<String>), db::Error> {
    drop_what_was_said_before(conn, turns).await?;
    let mut raised = hold_back(conn, turns, now).await?;
    raised.extend(turns.iter().flat_map(Turn::out_of_reach));
    raised.extend(turns.iter().filter_map(Turn::waits_for_a_number));
    raised.extend(turns.iter().filter_map(Turn::in_the_dark));
    raised.extend(turns.iter().flat_map(Turn::concerns));
    let standings: Vec<Standing<'_>> = turns
        .iter()
        .filter(|turn| turn.moved)
        .map(|turn| &turn.loaded.client)
        .map(|client| Standing {
            client_id: &client.id,
            state: client.state,
            collected: &client.collected,
            exchange: &client.exchange,
        })
        .collect();
    clients::save_standings(conn, &standings, now).await?;
    let misfits = turns.iter().filter(|turn| turn.misfits_changed).map(|turn| &turn.loaded.client);
    let misfits: Vec<(&str, u32)> = misfits.map(|client| (client.id.as_str(), client.exchange.misfits)).collect();
    clients::save_misfits(conn, &misfits).await?;
    let heard: Vec<clients::Heard<'_>> = turns.iter().filter_map(Turn::heard_of_payment).collect();
    clients::save_payments(conn, &heard).await?;
    save_reach(conn, turns, now).await?;

    // A reminder does not repeat what was missed: only what moves the client, or says it again, overtakes it.
    let went_on = turns.iter().filter(|turn| turn.moved || turn.texts.iter().any(|text| text.text.kind.matters()));
    let went_on: Vec<&str> = went_on.map(|turn| turn.loaded.client.id.as_str()).collect();
    messages::drop_second_tries_to(conn, &went_on, now).await?;
    let texts: Vec<NewMessage> = turns.iter().flat_map(|turn| turn.texts.clone()).collect();
    messages::insert(conn, &texts, now).await?;
    let due: Vec<NewEvent> = turns.iter().flat_map(|turn| turn.numbers_due.clone()).collect();
    events::insert(conn, &due, now).await?;

    let outcomes: Vec<Outcome> = turns.iter().flat_map(|turn| turn.outcomes.clone()).collect();
    events::mark_processed(conn, &outcomes, now).await?;
    tracing::debug!(clients = turns.len(), events = outcomes.len(), texts = texts.len(), "saved a slice");
    let over: Vec<String> = turns.iter().flat_map(Turn::causes_that_are_gone).collect();
    let cleared = alerts::clear(conn, &over, now).await?;
    Ok((alerts::raise(conn, &raised, now).await?, cleared))
}

/// Drops texts that are said once and have been said, so that the loop guard does not count them.
async fn drop_what_was_said_before(conn: &mut PgConnection, turns: &mut [Turn]) -> Result<(), db::Error> {
    let texts = turns.iter().flat_map(|turn| &turn.texts);
    let keys: Vec<&str> = texts.filter_map(|text| text.text.once_key.as_deref()).collect();
    if keys.is_empty() {
        return Ok(());
    }
    let mut said = messages::list_known_keys(conn, &keys).await?;
    for turn in turns {
        turn.texts.retain(|text| text.text.once_key.as_ref().is_none_or(|key| said.insert(key.clone())));
    }
    Ok(())
}

/// Marks the texts that would be too many: those that matter are deferred, the others held back. Returns what the operator has
/// to know about it.
async fn hold_back(
    conn: &mut PgConnection,
    turns: &mut [Turn],
    now: DateTime<Utc>,
) -> Result<Vec<NewAlert>, db::Error> {
    let phones: Vec<&E164> = turns.iter().flat_map(|turn| &turn.texts).map(|text| &text.to).collect();
    if phones.is_empty() {
        return Ok(Vec::new());
    }
    let mut guard = messages::loop_guard(conn, &phones, now).await?;
    let mut alerts = Vec::new();
    for turn in turns {
        let client_id = &turn.loaded.client.id;
        for text in &mut turn.texts {
            let admission = guard.admit(&text.to, &text.text, now);
            text.admit_as(admission);
            // One who rings again and again is no loop.
            if admission != Admission::Now && text.text.kind != TextKind::MissedCall {
                alerts.push(too_many_texts(client_id));
            }
        }
    }
    Ok(alerts)
}

fn too_many_texts(client_id: &str) -> NewAlert {
    NewAlert {
        cause: format!("loop:{client_id}"),
        about: format!(
            "Client {client_id} had too many texts in a few minutes, and further ones were held back, or are sent later if they \
             matter: a machine may be answering. Read its last texts in `messages`."
        ),
    }
}

/// Saves who wants texts, and whom they reach, and drops those that are not to leave any more.
async fn save_reach(conn: &mut PgConnection, turns: &[Turn], now: DateTime<Utc>) -> Result<(), db::Error> {
    if turns.iter().all(|turn| turn.wishes.is_empty() && !turn.reach_changed) {
        return Ok(());
    }
    let wishes: Vec<Wish> = turns.iter().flat_map(|turn| turn.wishes.clone()).collect();
    clients::record_wishes(conn, &wishes, now).await?;
    let client = |turn: &Turn| turn.loaded.client.clone();
    let opted: Vec<Client> = turns.iter().filter(|turn| !turn.wishes.is_empty()).map(client).collect();
    let out: Vec<(&str, bool)> = opted.iter().map(|client| (client.id.as_str(), client.opted_out)).collect();
    clients::save_opted_out(conn, &out, now).await?;
    let phones: Vec<&E164> = opted.iter().filter(|it| it.opted_out).map(|client| &client.owner_phone).collect();
    messages::drop_queued_to(conn, &phones, "the recipient opted out", now).await?;

    let reached: Vec<Client> = turns.iter().filter(|turn| turn.reach_changed).map(client).collect();
    let gone: Vec<(&str, bool)> = reached.iter().map(|client| (client.id.as_str(), client.unreachable)).collect();
    clients::save_unreachable(conn, &gone, now).await?;
    let phones: Vec<&E164> = reached.iter().filter(|it| it.unreachable).map(|client| &client.owner_phone).collect();
    messages::drop_queued_to(conn, &phones, "texts do not reach the recipient", now).await
}
