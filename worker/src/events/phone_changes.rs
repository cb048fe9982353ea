//! Changes of phone: a code that is asked for, and a client that moves once it has proved who it is.
//!
//! Each event is a transaction of its own that locks two clients, which no batch of the conversation does. They are rare.

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_onboarding::phone_change::{
    Answer, CODE_VALID_FOR, NotMoved, REQUESTS_COUNTED_FOR, Request, answer_request, are_used_up, may_move,
};
use jobrun_onboarding::{Client, Concern, E164, Text, home_region, wording};
use jobrun_shared::alerts::{Kind, clients as alert_of};
use jobrun_shared::cases::alert_kind;
use jobrun_shared::db::alerts::{self, NewAlert};
use jobrun_shared::db::cases::{self, NewCase};
use jobrun_shared::db::inbox::{self, Outcome, Payload, PendingEvent};
use jobrun_shared::db::outbox::{self, NewMessage};
use jobrun_shared::db::phone_changes::{self, DueChange, NewRequest};
use jobrun_shared::db::{self, Patience, clients, person, subscriptions};
use jobrun_shared::phone_changes::{any_is_being_erased, load};
use jobrun_shared::{clock, phone_codes, telemetry};
use sqlx::PgConnection;

use crate::context::JobContext;
use crate::events::{Handler, Item, handle};

const HANDLER: Handler = Handler { name: "a change of phone", retry_after: TimeDelta::seconds(60), alert: None };

/// The delay of a change while texts of one of the two phones wait for the conversation, which comes first.
const WAITS_FOR: TimeDelta = TimeDelta::seconds(1);

/// Processes the changes of phones among the `oldest` events. Returns how many.
pub(crate) async fn process(context: &JobContext, oldest: &[PendingEvent]) -> Result<usize, db::Error> {
    let events: Vec<Item<'_, &PendingEvent>> = oldest
        .iter()
        .filter(|event| {
            matches!(event.payload, Some(Payload::PhoneChangeAsked { .. } | Payload::PhoneChangeDue { .. }))
        })
        .map(Item::of_event)
        .collect();
    handle(context, HANDLER, &events, |part, patience| process_each(context, part, patience)).await
}

async fn process_each(
    context: &JobContext,
    events: &[Item<'_, &PendingEvent>],
    patience: Patience,
) -> Result<usize, db::Error> {
    for item in events {
        process_one(context, item.value, patience).await?;
    }
    Ok(events.len())
}

/// The results of an event, for the log after the commit.
#[derive(Default)]
struct Done {
    /// The event has to wait.
    waits: bool,
    raised: Vec<NewAlert>,
    cleared: Vec<String>,
}

async fn process_one(context: &JobContext, event: &PendingEvent, patience: Patience) -> Result<(), db::Error> {
    let now = clock::now();
    let new_phone = match &event.payload {
        Some(Payload::PhoneChangeDue { change_id, .. }) => {
            phone_changes::find_due(&mut *context.pool.acquire().await?, *change_id).await?.map(|it| it.new)
        }
        _ => None,
    };
    // A phone that has never texted us gets a client first, so that there is one way to move. It waits for other workers, so it
    // holds no lock.
    if let Some(new) = new_phone {
        let mut conn = context.pool.acquire().await?;
        clients::ensure_for_phones(&mut conn, &[new], context.erasure_key.as_ref()).await?;
    }
    let mut tx = db::begin(&context.pool, patience).await?;
    let done = process_in(&mut tx, context, event.id, now).await;
    let Done { waits, raised, cleared } = db::finish(tx, done).await?;
    telemetry::raised(&raised);
    telemetry::cleared(&cleared);
    if waits { inbox::defer(&context.pool, &event.lane, now + WAITS_FOR).await } else { Ok(()) }
}

/// Locks payments first, because subscriptions may change their client: row 3 of the lock order in `shared/README.md`.
async fn process_in(
    conn: &mut PgConnection,
    context: &JobContext,
    event_id: i64,
    now: DateTime<Utc>,
) -> Result<Done, db::Error> {
    subscriptions::lock(conn).await?;
    let Some(event) = inbox::lock_pending(conn, &[event_id]).await?.pop() else {
        return Ok(Done::default());
    };
    match &event.payload {
        Some(Payload::PhoneChangeAsked { client_id, old_phone, asked_at }) => {
            ask(conn, context, &event, client_id, old_phone, *asked_at, now).await
        }
        Some(Payload::PhoneChangeDue { change_id, client_id }) => {
            make(conn, context, &event, *change_id, client_id, now).await
        }
        _ => Ok(Done::default()),
    }
}

async fn record(
    conn: &mut PgConnection,
    event: &PendingEvent,
    word: &'static str,
    client: Option<&Client>,
    now: DateTime<Utc>,
) -> Result<(), db::Error> {
    let client = client.map(|client| (client.id.clone(), client.state));
    inbox::mark_processed(conn, &[Outcome { event_id: event.id, word, client }], now).await
}

fn message(context: &JobContext, event: &PendingEvent, client_id: &str, to: &E164, text: Text) -> NewMessage {
    NewMessage {
        client_id: Some(client_id.to_owned()),
        event_id: Some(event.id),
        to: to.clone(),
        from: context.onboarding_number.clone(),
        text: text.write(context.wordings.of_region(&home_region(to))),
        answered_before: false,
        held_back: false,
        deferred_until: None,
        traceparent: event.traceparent,
    }
}

/// Sends a code to the old phone, if it is that of a client who can move. The newcomer has been told the same either way.
async fn ask(
    conn: &mut PgConnection,
    context: &JobContext,
    event: &PendingEvent,
    newcomer_id: &str,
    old_phone: &str,
    asked_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<Done, db::Error> {
    let old = E164::parse(old_phone).map_err(|_| db::Error::UnreadableNumber)?;
    let client_id = phone_changes::find_by_phone(conn, &old).await?;
    let ids: Vec<&str> = [Some(newcomer_id), client_id.as_deref()].into_iter().flatten().collect();
    phone_changes::lock_clients(conn, &ids).await?;
    let Some(newcomer) = load(conn, newcomer_id).await? else {
        record(conn, event, "no_such_client", None, now).await?;
        return Ok(Done::default());
    };
    // It may have moved while its row was being locked.
    let client = match &client_id {
        Some(id) => load(conn, id).await?.filter(|client| client.owner_phone == old),
        None => None,
    };
    let new = &newcomer.owner_phone;
    let requests = phone_changes::count_requests(conn, &old, new, now - REQUESTS_COUNTED_FOR).await?;
    let is_being_erased = any_is_being_erased(conn, [Some(newcomer_id), client_id.as_deref()]).await?;
    let (newcomer_seen, client_seen) = (&newcomer, client.as_ref());
    let is_on = context.switches.phone_change;
    let request =
        Request { newcomer: newcomer_seen, client: client_seen, is_being_erased, is_on, requests, asked_at, now };
    let answer = answer_request(&request);
    let moves = client.as_ref().filter(|_| answer == Answer::SendCode);
    let code = phone_codes::new();
    if let Some(client) = moves {
        let text = message(context, event, &client.id, &old, wording::phone_code(&code.digits));
        outbox::insert(conn, &[text], now).await?;
    }
    // A request that is open stays: its code may be on its way.
    if answer != Answer::AskOperator || !phone_changes::any_open(conn, newcomer_id).await? {
        let stored = NewRequest {
            client_id: moves.map(|client| client.id.as_str()),
            newcomer_id,
            old: &old,
            new,
            code: &code.stored,
            expires_at: now + CODE_VALID_FOR,
            event_id: moves.map(|_| event.id),
        };
        phone_changes::insert_request(conn, &stored, now).await?;
    }
    record(conn, event, answer.name(), Some(&newcomer), now).await?;
    let mut raised =
        if answer == Answer::AskOperator { ask_operator(conn, context, &newcomer, now).await? } else { Vec::new() };
    if let Some(client) = client.as_ref().filter(|_| are_used_up(&request)) {
        raised.extend(alerts::raise(conn, &[alert_of::code_guesses(&client.id)], now).await?);
    }
    Ok(Done { raised, ..Done::default() })
}

/// Alerts the operators to a newcomer that cannot prove that the old phone is its own, and opens a case if cases are on. Returns the
/// new alerts.
async fn ask_operator(
    conn: &mut PgConnection,
    context: &JobContext,
    newcomer: &Client,
    now: DateTime<Utc>,
) -> Result<Vec<NewAlert>, db::Error> {
    let case = NewCase {
        client_id: newcomer.id.clone(),
        kind: Concern::PersonWanted.case(),
        said: vec!["(asks to move to this phone)".to_owned()],
        state: newcomer.state,
    };
    let raised = alerts::raise(conn, &[alert_of::cannot_prove_old_phone(&newcomer.id)], now).await?;
    if context.switches.cases {
        cases::open(conn, &[case], now).await?;
    }
    Ok(raised)
}

/// Moves a client that has proved who it is.
async fn make(
    conn: &mut PgConnection,
    context: &JobContext,
    event: &PendingEvent,
    change_id: i64,
    client_id: &str,
    now: DateTime<Utc>,
) -> Result<Done, db::Error> {
    let Some(change) = phone_changes::find_due(conn, change_id).await? else {
        record(conn, event, "no_such_client", None, now).await?;
        return Ok(Done::default());
    };
    let newcomer_id = phone_changes::find_by_phone(conn, &change.new).await?;
    let ids: Vec<&str> = [Some(client_id), newcomer_id.as_deref()].into_iter().flatten().collect();
    phone_changes::lock_clients(conn, &ids).await?;
    // Both are read again under their locks.
    let client = load(conn, client_id).await?;
    let newcomer = match &newcomer_id {
        Some(id) => load(conn, id).await?.filter(|it| it.owner_phone == change.new),
        None => None,
    };
    let is_being_erased = any_is_being_erased(conn, [Some(client_id), newcomer_id.as_deref()]).await?;
    let may = may_move(client.as_ref(), newcomer.as_ref(), &change.old, &change.new, is_being_erased);
    match (may, client, newcomer) {
        (Err(why), client, newcomer) => {
            refuse(conn, context, event, &change, why, client.as_ref(), newcomer.as_ref(), now).await
        }
        (Ok(()), Some(client), Some(newcomer)) => {
            make_locked(conn, context, event, &change, &client, &newcomer, now).await
        }
        // The new phone became another client's just now: the next look finds it.
        (Ok(()), _, _) => Ok(Done { waits: true, ..Done::default() }),
    }
}

#[expect(clippy::too_many_arguments, reason = "both clients, and why they stay two")]
async fn refuse(
    conn: &mut PgConnection,
    context: &JobContext,
    event: &PendingEvent,
    change: &DueChange,
    why: NotMoved,
    client: Option<&Client>,
    newcomer: Option<&Client>,
    now: DateTime<Utc>,
) -> Result<Done, db::Error> {
    phone_changes::end(conn, change.id, why.name(), now).await?;
    record(conn, event, why.name(), client, now).await?;
    // An operator sees the outcome. A client that gave its code is told, and an operator looks.
    let Some(newcomer) = newcomer.filter(|_| !change.is_by_operator && why != NotMoved::AlreadySo) else {
        return Ok(Done::default());
    };
    if !newcomer.opted_out && !newcomer.unreachable {
        let text = message(context, event, &newcomer.id, &change.new, wording::phone_not_moved());
        outbox::insert(conn, &[text], now).await?;
    }
    let raised = ask_operator(conn, context, newcomer, now).await?;
    Ok(Done { raised, ..Done::default() })
}

async fn make_locked(
    conn: &mut PgConnection,
    context: &JobContext,
    event: &PendingEvent,
    change: &DueChange,
    client: &Client,
    newcomer: &Client,
    now: DateTime<Utc>,
) -> Result<Done, db::Error> {
    // Texts that arrived before the change are still the old phone's and the newcomer's: the conversation processes them first.
    let mut lanes = inbox::lanes_of(&newcomer.id, &change.new, None);
    lanes.push(inbox::phone_lane(change.old.digits()));
    if phone_changes::any_waits(conn, &lanes).await? {
        return Ok(Done { waits: true, ..Done::default() });
    }
    phone_changes::move_client(conn, change, &newcomer.id, now).await?;
    let moved = Client {
        owner_phone: change.new.clone(),
        opted_out: newcomer.opted_out,
        unreachable: newcomer.unreachable,
        ..client.clone()
    };
    let to_old = (!client.opted_out && !client.unreachable)
        .then(|| message(context, event, &client.id, &change.old, wording::phone_moved_away(&change.new)));
    let to_new = (!moved.opted_out && !moved.unreachable)
        .then(|| message(context, event, &client.id, &change.new, wording::phone_moved(&moved)));
    outbox::insert(conn, &to_old.into_iter().chain(to_new).collect::<Vec<_>>(), now).await?;
    record(conn, event, "phone_moved", Some(&moved), now).await?;
    let mut over = person::alert_causes(&newcomer.id);
    over.extend((!moved.opted_out).then(|| Kind::OptedOut.of(&moved.id)));
    over.extend((!moved.unreachable).then(|| Kind::Unreachable.of(&moved.id)));
    let cleared = alerts::clear(conn, &over, now).await?;
    let out = (moved.opted_out && moved.payment_active).then(|| alert_of::opted_out(&moved.id));
    // What the newcomer asked a person is the client's question by now.
    let asked = cases::list_open_kinds(conn, &moved.id).await?;
    let asks = asked.iter().any(|kind| alert_kind(kind) == Kind::PersonWanted);
    let asked = asks.then(|| alert_of::person_wanted(&moved.id));
    let raised = alerts::raise(conn, &out.into_iter().chain(asked).collect::<Vec<_>>(), now).await?;
    Ok(Done { raised, cleared, waits: false })
}
