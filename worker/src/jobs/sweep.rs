//! The job `sweep`: looks after the waiting list and the pool, and after everything that was left behind.
//!
//! Its only input is the rows, so every worker may run it, on schedule and at once when numbers become free. `jobrun sweep`
//! does only two of its parts: it repairs numbers of deleted clients, and offers numbers.

use std::time::Duration;

use chrono::TimeDelta;
use jobrun_shared::alerts::{prefixes_that_end_when_quiet, texts};
use jobrun_shared::db::alerts::{self, NewAlert};
use jobrun_shared::db::numbers::ownerless;
use jobrun_shared::db::outbox::{self, SETTLED_AT_ONCE};
use jobrun_shared::db::{self, audits, blockers, inbox, sweeps};
use jobrun_shared::numbers::promise::{self, Watched};
use jobrun_shared::numbers::{low_stock, offer};
use jobrun_shared::queue::{self, Queue};
use jobrun_shared::retention::{self, Removed};
use jobrun_shared::{clock, telemetry};

use crate::context::JobContext;
use crate::events::stripe;

/// The time for which a finished job can be inspected.
const FINISHED_JOBS_KEPT_FOR: Duration = Duration::from_secs(60 * 60);

/// The time after which an alert about a recurring failure counts as over, if the failure has not occurred again.
const QUIET_FOR: TimeDelta = TimeDelta::hours(24);

/// Does every part, even if others fail. Returns the first error.
pub(crate) async fn run(context: &JobContext) -> Result<(), db::Error> {
    let repaired = repair_ownerless(context).await;
    let offered = offer_numbers(context).await;
    let watched = watch_the_waiting(context).await;
    let levelled = watch_the_level(context).await;
    let emptied = watch_the_empty(context).await;
    let given_up = give_up_on_what_is_too_late(context).await;
    let forgotten = stripe::alert_of_forgotten(context, clock::now()).await;
    let unblocked = clear_what_blocks_no_more(context).await;
    let enqueued = enqueue_what_was_left_behind(context).await;
    let removed = queue::remove_finished(&context.pool, FINISHED_JOBS_KEPT_FOR).await;
    tracing::debug!(?removed, "removed finished jobs");
    let removed = removed.map(|_| ()).map_err(db::Error::from);
    let outgrown = remove_what_is_old(context).await;
    let done =
        [repaired, offered, watched, levelled, emptied, given_up, forgotten, unblocked, enqueued, removed, outgrown];
    done.into_iter().collect::<Result<(), db::Error>>()?;
    sweeps::record_success(&context.pool, context.sweep_interval, clock::now()).await
}

/// Comes before numbers are offered: a number that need not cool down can be offered at once.
async fn repair_ownerless(context: &JobContext) -> Result<(), db::Error> {
    let repaired = ownerless::repair(&context.pool, context.cooling, clock::now()).await?;
    if repaired > 0 {
        tracing::warn!(numbers = repaired, "took back numbers whose clients were deleted");
    }
    say(&low_stock::unclear_holders(&context.pool, clock::now()).await?);
    Ok(())
}

async fn offer_numbers(context: &JobContext) -> Result<(), db::Error> {
    let offered = offer::sweep(&context.pool, &context.onboarding_number, context.hold, clock::now()).await?;
    if !offered.is_empty() {
        tracing::info!(clients = offered.len(), "told waiting clients that their numbers are ready");
    }
    Ok(())
}

/// Comes after numbers were offered: a client with a new offer is not told that it will take longer.
async fn watch_the_waiting(context: &JobContext) -> Result<(), db::Error> {
    let watched = promise::waiting(&context.pool, &context.onboarding_number, clock::now()).await?;
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

async fn watch_the_level(context: &JobContext) -> Result<(), db::Error> {
    say(&low_stock::level(&context.pool, context.pool_level_min, clock::now()).await?);
    Ok(())
}

async fn watch_the_empty(context: &JobContext) -> Result<(), db::Error> {
    say(&low_stock::empty_pools(&context.pool, clock::now()).await?);
    Ok(())
}

/// Gives up on texts that could not be sent while they made sense, and clears alerts whose cause has not shown for a long time.
async fn give_up_on_what_is_too_late(context: &JobContext) -> Result<(), db::Error> {
    // Each step is a transaction of its own and settles the texts that it finds, so the loops end when none is left.
    while outbox::drop_unwanted(&mut *context.pool.acquire().await?, clock::now()).await? >= SETTLED_AT_ONCE as u64 {}
    while expire_some(context).await? >= SETTLED_AT_ONCE {}
    let now = clock::now();
    let prefixes = prefixes_that_end_when_quiet();
    let prefixes: Vec<&str> = prefixes.iter().map(String::as_str).collect();
    let mut tx = context.pool.begin().await?;
    let cleared = alerts::clear_quiet(&mut tx, &prefixes, now - QUIET_FOR, now).await?;
    tx.commit().await?;
    telemetry::cleared(&cleared);
    Ok(())
}

/// Gives up on texts that are too late, one step of them, and raises alerts about those that matter. Returns how many.
async fn expire_some(context: &JobContext) -> Result<usize, db::Error> {
    let now = clock::now();
    let mut tx = context.pool.begin().await?;
    let lost = outbox::expire(&mut tx, now).await?;
    let missed: Vec<NewAlert> = lost
        .iter()
        .filter_map(|text| {
            let kind = text.kind.filter(|kind| kind.matters())?;
            Some(texts::undelivered(kind, text.client_id.as_deref(), "it could not be sent in time"))
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

/// Clears the alerts about sessions that no longer hold locks.
async fn clear_what_blocks_no_more(context: &JobContext) -> Result<(), db::Error> {
    let mut tx = context.pool.begin().await?;
    let cleared = blockers::clear(&mut tx, clock::now()).await?;
    tx.commit().await?;
    telemetry::cleared(&cleared);
    Ok(())
}

/// Enqueues a job for rows that wait. Every such row has a job already, unless something went wrong.
async fn enqueue_what_was_left_behind(context: &JobContext) -> Result<(), db::Error> {
    let now = clock::now();
    let mut conn = context.pool.acquire().await?;
    if inbox::any_pending(&mut conn, now).await? {
        queue::enqueue(&mut conn, Queue::ProcessEvents).await?;
    }
    if outbox::any_due(&mut conn, now).await? {
        queue::enqueue(&mut conn, Queue::SendMessages).await?;
    }
    if outbox::any_unreported(&mut conn, now).await? || audits::is_due(&mut conn, now).await? {
        queue::enqueue(&mut conn, Queue::Reconcile).await?;
    }
    Ok(())
}

/// Comes last, because nothing waits for it.
async fn remove_what_is_old(context: &JobContext) -> Result<(), db::Error> {
    let removed = retention::remove_old(&context.pool, context.retention, clock::now()).await?;
    if removed != Removed::default() {
        tracing::info!(texts = removed.texts, events = removed.events, "removed what was over long ago");
    }
    Ok(())
}
