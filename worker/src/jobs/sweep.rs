//! The job `sweep`: does what no event starts. Its parts, in order:
//!
//! 1. takes back the numbers of deleted clients, and raises and clears the alerts about unclear holders
//! 2. makes numbers available that have cooled down, and offers free numbers to the waiting list
//! 3. tells waiting clients that their numbers take longer, and raises and clears the alerts about long waits
//! 4. records the reminders that are due to clients who have fallen silent
//! 5. records the checks that are due of the forwarding of live clients
//! 6. raises and clears the alerts about regions with few numbers, and about regions with none for waiting clients
//! 7. drops texts to clients that may not be texted, expires texts that are too late, and clears alerts that were quiet for a day
//! 8. raises alerts about payments whose client is still unknown
//! 9. clears the alerts about sessions that no longer hold locks
//! 10. raises and clears the alerts about what an operator has stopped
//! 11. enqueues jobs for rows that were left behind
//! 12. removes finished jobs, calls that are not counted any more, and events and texts that are older than `RETENTION`
//! 13. raises and clears the alert about an unfinished restore of the database, and forgets the texts that are unrecorded since an old
//!     one
//! 14. ends requests for a change of phone whose codes are over, and removes the codes, and old requests
//! 15. deletes recordings at Twilio whose links have ended. It comes last, because it waits for Twilio
//!
//! Its only input is the rows, so every worker may run it, on schedule and at once when numbers become free. `jobrun sweep` takes
//! back numbers and offers numbers, and does no other part.

use std::time::Duration;

use chrono::TimeDelta;
use jobrun_shared::alerts::{Kind, operation, prefixes_that_end_when_quiet, texts};
use jobrun_shared::db::alerts::{self, NewAlert};
use jobrun_shared::db::numbers::ownerless;
use jobrun_shared::db::outbox::{self, SETTLED_AT_ONCE};
use jobrun_shared::db::{
    self, audits, blockers, bulk_actions, inbox, phone_changes, restores, stripe_audits, subscriptions, sweeps,
};
use jobrun_shared::numbers::promise::{self, AlertChanges};
use jobrun_shared::numbers::{offer, pool_alerts};
use jobrun_shared::queue::{self, Queue};
use jobrun_shared::retention::{self, Removed};
use jobrun_shared::{clock, forwarding_checks, reminders, restore, stops, telemetry};

use crate::context::JobContext;
use crate::events::stripe;
use crate::jobs::recordings;

/// The time for which a finished job can be inspected.
const FINISHED_JOBS_KEPT_FOR: Duration = Duration::from_secs(60 * 60);

/// The time for which a request for a change of phone that changed nothing is kept: longer than requests are counted.
const PHONE_REQUESTS_KEPT_FOR: TimeDelta = TimeDelta::days(7);

/// The time after which an alert about a recurring failure counts as over, if the failure has not occurred again.
const QUIET_PERIOD: TimeDelta = TimeDelta::hours(24);

/// Does every part, even if others fail. Returns the first error.
pub(crate) async fn run(context: &JobContext) -> Result<(), db::Error> {
    let results = [
        repair_ownerless(context).await,
        offer_numbers(context).await,
        check_waiting_list(context).await,
        record_reminders(context).await,
        record_forwarding_checks(context).await,
        check_pool_level(context).await,
        check_empty_pools(context).await,
        expire_texts_and_alerts(context).await,
        stripe::raise_unassigned_payment_alerts(context, clock::now()).await,
        clear_blocker_alerts(context).await,
        update_stop_alerts(context).await,
        enqueue_missed_work(context).await,
        remove_finished_jobs(context).await,
        remove_old_rows(context).await,
        check_restores(context).await,
        forget_unrecorded_texts(context).await,
        forget_phone_codes(context).await,
        recordings::delete_due(context).await,
    ];
    results.into_iter().collect::<Result<(), db::Error>>()?;
    sweeps::record_success(&context.pool, context.sweep_interval, clock::now()).await
}

/// Comes before offers, because a number that need not cool down can be offered at once.
async fn repair_ownerless(context: &JobContext) -> Result<(), db::Error> {
    let repaired = ownerless::repair(&context.pool, context.cooling, clock::now()).await?;
    if repaired > 0 {
        tracing::warn!(numbers = repaired, "took back numbers whose clients were deleted");
    }
    print_alerts(&pool_alerts::unclear_holders(&context.pool, clock::now()).await?);
    Ok(())
}

async fn offer_numbers(context: &JobContext) -> Result<(), db::Error> {
    let offered =
        offer::offer_free(&context.pool, &context.onboarding_number, &context.wordings, context.hold, clock::now())
            .await?;
    if !offered.is_empty() {
        context.announcer.announce(Queue::SendMessages);
        tracing::info!(clients = offered.len(), "told waiting clients that their numbers are ready");
    }
    Ok(())
}

/// Comes after offers, so that a client with a new offer is not told that its number takes longer.
async fn check_waiting_list(context: &JobContext) -> Result<(), db::Error> {
    let changes = promise::waiting(&context.pool, &context.onboarding_number, &context.wordings, clock::now()).await?;
    if !changes.told.is_empty() {
        context.announcer.announce(Queue::SendMessages);
        tracing::info!(clients = changes.told.len(), "told waiting clients that their numbers take longer");
    }
    print_alerts(&changes);
    Ok(())
}

/// Each statement settles the rows that it finds, so the loops end when none is left.
async fn forget_phone_codes(context: &JobContext) -> Result<(), db::Error> {
    const AT_ONCE: i64 = 500;
    let mut conn = context.pool.acquire().await?;
    while phone_changes::expire(&mut conn, AT_ONCE, clock::now()).await? > 0 {}
    loop {
        let mut tx = context.pool.begin().await?;
        let removed = phone_changes::remove_codes(&mut tx, AT_ONCE, clock::now()).await?;
        tx.commit().await?;
        if removed == 0 {
            break;
        }
    }
    while phone_changes::remove_ended(&mut conn, clock::now() - PHONE_REQUESTS_KEPT_FOR, AT_ONCE).await? > 0 {}
    Ok(())
}

fn print_alerts(changes: &AlertChanges) {
    telemetry::raised(&changes.raised);
    telemetry::cleared(&changes.cleared);
}

async fn record_reminders(context: &JobContext) -> Result<(), db::Error> {
    let recorded = reminders::record_due(&context.pool, &context.reminders, clock::now()).await?;
    if recorded > 0 {
        context.announcer.announce(Queue::ProcessEvents);
        tracing::info!(clients = recorded, "clients have fallen silent, and are reminded");
    }
    Ok(())
}

async fn record_forwarding_checks(context: &JobContext) -> Result<(), db::Error> {
    let recorded = forwarding_checks::record_due(&context.pool, &context.forwarding_checks, clock::now()).await?;
    if recorded > 0 {
        context.announcer.announce(Queue::ProcessEvents);
        tracing::info!(clients = recorded, "the forwarding of clients is checked");
    }
    Ok(())
}

async fn check_pool_level(context: &JobContext) -> Result<(), db::Error> {
    print_alerts(&pool_alerts::low_pools(&context.pool, context.pool_level_min, clock::now()).await?);
    Ok(())
}

async fn check_empty_pools(context: &JobContext) -> Result<(), db::Error> {
    print_alerts(&pool_alerts::empty_pools(&context.pool, clock::now()).await?);
    Ok(())
}

/// Gives up on texts that could not be sent in time, and clears alerts whose cause has not shown for [`QUIET_PERIOD`].
async fn expire_texts_and_alerts(context: &JobContext) -> Result<(), db::Error> {
    // Each batch is a transaction of its own and settles the texts that it finds, so the loops end when none is left.
    while outbox::drop_unwanted(&mut *context.pool.acquire().await?, clock::now()).await? >= SETTLED_AT_ONCE as u64 {}
    while expire_batch(context).await? >= SETTLED_AT_ONCE {}
    let now = clock::now();
    let prefixes = prefixes_that_end_when_quiet();
    let prefixes: Vec<&str> = prefixes.iter().map(String::as_str).collect();
    let mut tx = context.pool.begin().await?;
    let cleared = alerts::clear_quiet(&mut tx, &prefixes, now - QUIET_PERIOD, now).await?;
    tx.commit().await?;
    telemetry::cleared(&cleared);
    Ok(())
}

/// Gives up on one batch of texts that are too late, and raises alerts about those that matter. Returns how many.
async fn expire_batch(context: &JobContext) -> Result<usize, db::Error> {
    let now = clock::now();
    let mut tx = context.pool.begin().await?;
    let expired = outbox::expire(&mut tx, now).await?;
    let missed: Vec<NewAlert> = expired
        .iter()
        .filter_map(|text| {
            let kind = text.kind.filter(|kind| kind.matters())?;
            Some(texts::undelivered(kind, text.client_id.as_deref(), "it could not be sent in time"))
        })
        .collect();
    let raised = alerts::raise(&mut tx, &missed, now).await?;
    tx.commit().await?;
    for text in &expired {
        tracing::warn!(message_id = text.id, "a text was given up, because it could not be sent in time");
    }
    telemetry::raised(&raised);
    Ok(expired.len())
}

/// Clears the alerts about sessions that no longer hold locks.
async fn clear_blocker_alerts(context: &JobContext) -> Result<(), db::Error> {
    let mut tx = context.pool.begin().await?;
    let cleared = blockers::clear(&mut tx, clock::now()).await?;
    tx.commit().await?;
    telemetry::cleared(&cleared);
    Ok(())
}

async fn update_stop_alerts(context: &JobContext) -> Result<(), db::Error> {
    let changes = stops::update_alerts(&context.pool, clock::now()).await?;
    telemetry::raised(&changes.raised);
    telemetry::cleared(&changes.cleared);
    Ok(())
}

/// Enqueues a job for rows that wait. Every such row has a job already, unless something went wrong.
async fn enqueue_missed_work(context: &JobContext) -> Result<(), db::Error> {
    let now = clock::now();
    let mut conn = context.pool.acquire().await?;
    if inbox::any_pending(&mut conn, now).await? {
        queue::enqueue(&mut conn, Queue::ProcessEvents).await?;
    }
    if outbox::any_due(&mut conn, now).await? {
        queue::enqueue(&mut conn, Queue::SendMessages).await?;
    }
    if bulk_actions::any_unfinished(&mut conn).await? {
        queue::enqueue(&mut conn, Queue::BulkActions).await?;
    }
    let asks_stripe = context.stripe.is_some()
        && (stripe_audits::is_due(&mut conn, now).await? || subscriptions::any_to_ask(&mut conn, now).await?);
    if asks_stripe {
        queue::enqueue(&mut conn, Queue::ReconcileStripe).await?;
    }
    if outbox::any_unreported(&mut conn, now).await? || audits::is_due(&mut conn, now).await? {
        queue::enqueue(&mut conn, Queue::Reconcile).await?;
    }
    Ok(())
}

async fn remove_finished_jobs(context: &JobContext) -> Result<(), db::Error> {
    let removed = queue::remove_finished(&context.pool, FINISHED_JOBS_KEPT_FOR).await;
    tracing::debug!(?removed, "removed finished jobs");
    removed.map(|_| ()).map_err(db::Error::from)
}

/// Raises an alert while a restore is unfinished. `jobrun restored` finishes it, and runs only while no worker does.
async fn check_restores(context: &JobContext) -> Result<(), db::Error> {
    let now = clock::now();
    let mut tx = context.pool.begin().await?;
    let mut raised = Vec::new();
    let mut cleared = Vec::new();
    if let Some(restored_at) = restores::find_unfinished(&mut tx).await? {
        let alert = operation::restore_unfinished(restored_at);
        raised.extend(alerts::raise_lasting(&mut tx, &alert, now).await?.then_some(alert));
    } else {
        cleared = alerts::clear(&mut tx, &[Kind::RestoreUnfinished.name().to_owned()], now).await?;
    }
    tx.commit().await?;
    telemetry::raised(&raised);
    telemetry::cleared(&cleared);
    Ok(())
}

async fn forget_unrecorded_texts(context: &JobContext) -> Result<(), db::Error> {
    let mut conn = context.pool.acquire().await?;
    let forgotten = restores::forget_unrecorded(&mut conn, clock::now() - restore::KEPT_FOR).await?;
    if forgotten > 0 {
        tracing::info!(texts = forgotten, "forgot the texts that were unrecorded since a restore of the database");
    }
    Ok(())
}

/// Comes late, because nothing waits for it.
async fn remove_old_rows(context: &JobContext) -> Result<(), db::Error> {
    let calls = retention::remove_old_calls(&context.pool, clock::now()).await?;
    tracing::debug!(calls, "removed calls that are not counted any more");
    let removed = retention::remove_old(&context.pool, context.retention, clock::now()).await?;
    if removed != Removed::default() {
        tracing::info!(texts = removed.texts, events = removed.events, "removed what was over long ago");
    }
    Ok(())
}
