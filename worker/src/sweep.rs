//! The sweep: looks after the waiting, and after whatever was left behind.
//!
//! It takes no input but the rows, so that every worker may run it on schedule, at once when numbers free up, and by hand.

use std::time::Duration;

use chrono::TimeDelta;
use jobrun_shared::db::alerts::{self, NewAlert};
use jobrun_shared::db::messages::SETTLED_AT_ONCE;
use jobrun_shared::db::{self, audits, blockers, events, messages, ownerless, sweeps};
use jobrun_shared::queue::{self, Queue};
use jobrun_shared::retention::Removed;
use jobrun_shared::watch::Watched;
use jobrun_shared::{clock, operator, retention, telemetry, watch};

use crate::hands::Hands;
use crate::{consequences, payments};

/// How long a finished job can be looked at by whoever wonders what happened.
const FINISHED_JOBS_KEPT_FOR: Duration = Duration::from_secs(60 * 60);

/// Alerts about something that goes wrong again and again, and that count as over once it has not for this long.
const QUIET_FOR: TimeDelta = TimeDelta::hours(24);
const OVER_WHEN_QUIET: [&str; 3] = ["configuration:", "refused:", "loop:"];

/// Does every part, whatever becomes of the others, and answers the first failure.
pub(crate) async fn run(hands: &Hands) -> Result<(), db::Error> {
    let repaired = repair_ownerless(hands).await;
    let offered = offer_numbers(hands).await;
    let watched = watch_the_waiting(hands).await;
    let levelled = watch_the_level(hands).await;
    let emptied = watch_the_empty(hands).await;
    let given_up = give_up_on_what_is_too_late(hands).await;
    let forgotten = payments::alert_of_forgotten(hands, clock::now()).await;
    let unblocked = clear_what_blocks_no_more(hands).await;
    let nudged = nudge_for_what_was_left_behind(hands).await;
    let removed = queue::remove_finished(&hands.pool, FINISHED_JOBS_KEPT_FOR).await;
    tracing::debug!(?removed, "removed finished jobs");
    let removed = removed.map(|_| ()).map_err(db::Error::from);
    let outgrown = remove_what_is_old(hands).await;
    let done =
        [repaired, offered, watched, levelled, emptied, given_up, forgotten, unblocked, nudged, removed, outgrown];
    done.into_iter().collect::<Result<(), db::Error>>()?;
    sweeps::record_success(&hands.pool, hands.sweep_interval, clock::now()).await
}

/// Before numbers are offered: one that need not cool down can be.
async fn repair_ownerless(hands: &Hands) -> Result<(), db::Error> {
    let repaired = ownerless::repair(&hands.pool, hands.cooling, clock::now()).await?;
    if repaired > 0 {
        tracing::warn!(numbers = repaired, "took back numbers whose clients were deleted");
    }
    say(&watch::unclear_holders(&hands.pool, clock::now()).await?);
    Ok(())
}

async fn offer_numbers(hands: &Hands) -> Result<(), db::Error> {
    let offered = operator::sweep(&hands.pool, &hands.onboarding_number, hands.hold, clock::now()).await?;
    if !offered.is_empty() {
        tracing::info!(clients = offered.len(), "told waiting clients that their numbers are ready");
    }
    Ok(())
}

/// After numbers were offered: who has just been offered one is not told that it will take longer.
async fn watch_the_waiting(hands: &Hands) -> Result<(), db::Error> {
    let watched = watch::waiting(&hands.pool, &hands.onboarding_number, clock::now()).await?;
    if !watched.told.is_empty() {
        tracing::info!(clients = watched.told.len(), "told waiting clients that their numbers take longer");
    }
    say(&watched);
    Ok(())
}

fn say(watched: &Watched) {
    telemetry::raised(&watched.raised);
    telemetry::cleared(&watched.cleared);
}

async fn watch_the_level(hands: &Hands) -> Result<(), db::Error> {
    say(&watch::level(&hands.pool, hands.pool_level_min, clock::now()).await?);
    Ok(())
}

async fn watch_the_empty(hands: &Hands) -> Result<(), db::Error> {
    say(&watch::empty_pools(&hands.pool, clock::now()).await?);
    Ok(())
}

/// Texts that nobody could send while they made sense, and alerts whose cause has not shown for a long time.
async fn give_up_on_what_is_too_late(hands: &Hands) -> Result<(), db::Error> {
    // Each step is a transaction of its own, and settles what it finds: the loops end when nothing is left.
    while messages::drop_unwanted(&mut *hands.pool.acquire().await?, clock::now()).await? >= SETTLED_AT_ONCE as u64 {}
    while expire_some(hands).await? >= SETTLED_AT_ONCE {}
    let now = clock::now();
    let mut tx = hands.pool.begin().await?;
    let cleared = alerts::clear_quiet(&mut tx, &OVER_WHEN_QUIET, now - QUIET_FOR, now).await?;
    tx.commit().await?;
    telemetry::cleared(&cleared);
    Ok(())
}

/// Gives up on texts that are too late, one step of them, and raises alerts about those that matter. Returns how many.
async fn expire_some(hands: &Hands) -> Result<usize, db::Error> {
    let now = clock::now();
    let mut tx = hands.pool.begin().await?;
    let lost = messages::expire(&mut tx, now).await?;
    let missed: Vec<NewAlert> = lost
        .iter()
        .filter_map(|text| {
            let kind = text.kind.filter(|kind| kind.matters())?;
            Some(consequences::not_delivered(kind, text.client_id.as_deref(), "it could not be sent in time"))
        })
        .collect();
    let raised = alerts::raise(&mut tx, &missed, now).await?;
    tx.commit().await?;
    for text in &lost {
        tracing::warn!(message_id = text.id, "a text was given up, because it could not be sent in time");
    }
    telemetry::raised(&raised);
    Ok(lost.len())
}

/// Alerts about sessions that held locks, and do not any more.
async fn clear_what_blocks_no_more(hands: &Hands) -> Result<(), db::Error> {
    let mut tx = hands.pool.begin().await?;
    let cleared = blockers::clear(&mut tx, clock::now()).await?;
    tx.commit().await?;
    telemetry::cleared(&cleared);
    Ok(())
}

/// Every row that waits has a job somewhere, unless something went wrong: then it gets one again.
async fn nudge_for_what_was_left_behind(hands: &Hands) -> Result<(), db::Error> {
    let now = clock::now();
    let mut conn = hands.pool.acquire().await?;
    if events::any_waiting(&mut conn, now).await? {
        queue::nudge(&mut conn, Queue::ProcessEvents).await?;
    }
    if messages::any_due(&mut conn, now).await? {
        queue::nudge(&mut conn, Queue::SendMessages).await?;
    }
    if messages::any_unreported(&mut conn, now).await? || audits::is_due(&mut conn, now).await? {
        queue::nudge(&mut conn, Queue::Reconcile).await?;
    }
    Ok(())
}

/// Last: nobody waits for it.
async fn remove_what_is_old(hands: &Hands) -> Result<(), db::Error> {
    let removed = retention::remove_old(&hands.pool, hands.retention, clock::now()).await?;
    if removed != Removed::default() {
        tracing::info!(texts = removed.texts, events = removed.events, "removed what was over long ago");
    }
    Ok(())
}
