//! The job `bulk-actions`: handles the texts that operators chose to send again, or to drop, in batches, until none waits.
//!
//! Each batch is one transaction, which records what became of its texts. So an action that was cut off goes on with the rest, and any
//! number of workers may share it. Rows that another session has locked are passed over, and looked at again a second later.
//!
//! A replay waits while enough replays are due already: texts of conversations that go on must not wait behind thousands of them.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_onboarding::loop_guard::Admission;
use jobrun_onboarding::{E164, TextKind, WrittenText};
use jobrun_shared::bulk_actions::{self, Assessed};
use jobrun_shared::clock;
use jobrun_shared::db::bulk_actions::{self as rows, Kind, Outcome, Unfinished};
use jobrun_shared::db::outbox::{self, Ended, Replay};
use jobrun_shared::db::{self, clients, stops};
use jobrun_shared::queue::{self, Queue};
use sqlx::PgConnection;

use crate::context::{JobContext, Progress};

/// The most texts of a batch.
const BATCH_MAX: i64 = 100;

/// No further replays are queued while this many second tries and replays are due.
const DUE_REPLAYS_MAX: i64 = 100;

/// The delay before the next look at an action that could not go on.
const LOOK_AGAIN_AFTER: TimeDelta = TimeDelta::seconds(1);

/// The same delay while sending or conversations are stopped: thousands of texts may wait for the end of the stop.
const LOOK_AGAIN_IN_A_STOP_AFTER: TimeDelta = TimeDelta::seconds(10);

pub(crate) async fn run(context: &JobContext) -> Result<Progress, db::Error> {
    context.run_until_drained(|| batch(context)).await
}

/// Returns how much was done: 0 only if every action is finished or cannot go on now.
async fn batch(context: &JobContext) -> Result<usize, db::Error> {
    let unfinished = rows::list_unfinished(&mut *context.pool.acquire().await?).await?;
    let mut are_left = false;
    for action in unfinished {
        let done = handle_batch(context, action).await?;
        if done > 0 {
            context.announcer.announce(Queue::SendMessages);
            return Ok(done);
        }
        if rows::finish(&mut *context.pool.acquire().await?, action.id, clock::now()).await? {
            tracing::info!(bulk_action = action.id, "a bulk action is finished");
        } else {
            are_left = true;
        }
    }
    if are_left {
        // The end of a stop enqueues the job as well.
        let is_stopped = stops::any(&mut *context.pool.acquire().await?).await?;
        let delay = if is_stopped { LOOK_AGAIN_IN_A_STOP_AFTER } else { LOOK_AGAIN_AFTER };
        queue::enqueue_once_at(&context.pool, Queue::BulkActions, clock::now() + delay).await?;
    }
    Ok(0)
}

/// Handles the first batch of an action that other sessions have not locked as a whole. Returns how many texts were settled.
async fn handle_batch(context: &JobContext, action: Unfinished) -> Result<usize, db::Error> {
    let mut after = (0, 0);
    let mut held_up = HashSet::new();
    loop {
        let now = clock::now();
        let mut tx = context.pool.begin().await?;
        let handled = handle_after(&mut tx, context, action, after, &mut held_up, now).await;
        let Some((settled, last)) = db::finish(tx, handled).await? else { return Ok(0) };
        if settled > 0 {
            return Ok(settled);
        }
        after = last;
    }
}

/// Handles the texts at the places that follow `after`. Returns how many were settled, and the last place that was looked at; nothing
/// if none waits, or none may be handled now. `held_up` has the recipients with a text that waits on.
async fn handle_after(
    conn: &mut PgConnection,
    context: &JobContext,
    action: Unfinished,
    after: (i64, i64),
    held_up: &mut HashSet<String>,
    now: DateTime<Utc>,
) -> Result<Option<(usize, (i64, i64))>, db::Error> {
    // A version that knows the action handles it.
    let Some(kind) = action.kind else { return Ok(None) };
    let limit = BATCH_MAX.min(i64::from(context.batch_max));
    if kind == Kind::Replay && outbox::count_due_retries(&mut *conn, DUE_REPLAYS_MAX, now).await? >= DUE_REPLAYS_MAX {
        return Ok(None);
    }
    // Two workers would queue the texts to one person out of order.
    if kind == Kind::Replay && !rows::lock(&mut *conn, action.id).await? {
        return Ok(None);
    }
    let waiting = rows::lock_waiting(&mut *conn, action.id, after, limit).await?;
    let Some(last) = waiting.last().map(|it| (it.place, it.id)) else { return Ok(None) };
    let waiting: Vec<i64> = waiting.into_iter().map(|it| it.id).collect();
    let outcomes = match kind {
        Kind::Replay => replay(&mut *conn, context, &waiting, held_up, now).await?,
        Kind::Drop => drop_texts(&mut *conn, &waiting, now).await?,
    };
    rows::settle(conn, action.id, &outcomes, now).await?;
    Ok(Some((outcomes.len(), last)))
}

/// Queues those of the texts `ids`, in their order, once more that may be sent. Texts that another session has locked, or whose client
/// it has locked, get no outcome. Neither do those whose client has events to be processed, as while conversations are stopped: they
/// decide whether the text is still of use. The later texts to the same person then wait as well.
async fn replay(
    conn: &mut PgConnection,
    context: &JobContext,
    ids: &[i64],
    held_up: &mut HashSet<String>,
    now: DateTime<Utc>,
) -> Result<Vec<(i64, Outcome)>, db::Error> {
    let texts = outbox::list_ended(&mut *conn, ids, now).await?;
    let of_clients: Vec<&str> = texts.iter().filter_map(|text| text.client_id.as_deref()).collect();
    // The client must not move on between the assessment and the commit: its lock keeps the conversation out.
    let clients = clients::lock_unlocked(&mut *conn, &of_clients).await?;
    let is_free = |text: &&Ended| text.client_id.as_ref().is_none_or(|id| clients.contains(id));
    let free: Vec<i64> = texts.iter().filter(is_free).map(|text| text.id).collect();
    let locked = outbox::lock_texts(&mut *conn, &free).await?;
    let assessed = bulk_actions::assess(&mut *conn, &locked, context.payment_link.as_deref(), now).await?;
    let mut assessed: HashMap<i64, Assessed> = assessed.into_iter().map(|it| (it.text.id, it)).collect();
    let recipients: HashMap<i64, &str> = texts.iter().map(|text| (text.id, text.to.as_str())).collect();
    let in_order = ids.iter().filter_map(|id| {
        let to = *recipients.get(id)?;
        let ready = assessed.remove(id).filter(|it| !it.waits && !held_up.contains(to));
        if ready.is_none() {
            held_up.insert(to.to_owned());
        }
        ready
    });
    let assessed: Vec<Assessed> = in_order.collect();
    let (replays, mut outcomes) = admit(&mut *conn, context, assessed, now).await?;
    let queued: HashSet<i64> = outbox::insert_replays(conn, &replays, now).await?.into_iter().collect();
    outcomes.extend(replays.iter().map(|replay| {
        let is_queued = queued.contains(&replay.id);
        (replay.id, if is_queued { Outcome::Replayed } else { Outcome::Skipped(bulk_actions::TRIED_AGAIN) })
    }));
    Ok(outcomes)
}

/// Separates the texts to be sent, each with the time at which the loop guard lets it leave, from those that are skipped.
async fn admit(
    conn: &mut PgConnection,
    context: &JobContext,
    assessed: Vec<Assessed>,
    now: DateTime<Utc>,
) -> Result<(Vec<Replay>, Vec<(i64, Outcome)>), db::Error> {
    let phones: Vec<E164> = assessed.iter().filter_map(|it| E164::parse(&it.text.to).ok()).collect();
    let (mut guard, _) = outbox::loop_guard(conn, &phones.iter().collect::<Vec<_>>(), false, now).await?;
    let (mut replays, mut outcomes) = (Vec::new(), Vec::new());
    for Assessed { text, against, .. } in assessed {
        let known = TextKind::from_name(&text.kind).zip(E164::parse(&text.to).ok());
        let (kind, to) = match (against, known) {
            (None, Some(known)) => known,
            (against, _) => {
                outcomes.push((text.id, Outcome::Skipped(against.unwrap_or(bulk_actions::UNREADABLE))));
                continue;
            }
        };
        let words = WrittenText { kind, body: text.body, once_key: None };
        let deferred_until = match guard.admit_asked_for(&to, &words, now) {
            Admission::Now => None,
            Admission::Deferred(at) => Some(at),
            Admission::HeldBack => {
                outcomes.push((text.id, Outcome::Skipped(bulk_actions::SAID_TOO_OFTEN)));
                continue;
            }
        };
        // A text to a client always comes from the onboarding number, which may have been set wrong when the text failed.
        let from = text.client_id.is_some().then(|| context.onboarding_number.clone());
        let expires_at = deferred_until.unwrap_or(now) + kind.stale_after();
        replays.push(Replay { id: text.id, from, deferred_until, expires_at });
    }
    Ok((replays, outcomes))
}

/// Drops those texts that are still queued. Texts that another session has locked get no outcome: it may be about to send them.
async fn drop_texts(
    conn: &mut PgConnection,
    ids: &[i64],
    now: DateTime<Utc>,
) -> Result<Vec<(i64, Outcome)>, db::Error> {
    let locked = outbox::lock_texts(&mut *conn, ids).await?;
    let statuses = outbox::list_statuses(&mut *conn, &locked).await?;
    let dropped: HashSet<i64> = outbox::drop_queued(conn, &locked, now).await?.into_iter().collect();
    let outcome = |(id, status): (i64, String)| match status.as_str() {
        _ if dropped.contains(&id) => (id, Outcome::Dropped),
        "sending" | "unknown" | "sent" => (id, Outcome::Skipped(bulk_actions::UNDER_WAY)),
        _ => (id, Outcome::Skipped(bulk_actions::ENDED)),
    };
    Ok(statuses.into_iter().map(outcome).collect())
}
