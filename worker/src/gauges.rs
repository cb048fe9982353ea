//! The gauges over whole tables, for the ops port. One worker reads them at a time, so that many workers cost the database no more
//! than one. A gauge that is not read any more is no longer exported.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_shared::db::numbers::levels;
use jobrun_shared::db::{self, gauges, leases};
use jobrun_shared::{clock, metrics};
use sqlx::PgConnection;

use crate::context::JobContext;

/// How often the gauges are read.
const INTERVAL: Duration = Duration::from_secs(15);

/// How long a worker has the lease of reading them: another one takes over when it has died.
const LEASE: TimeDelta = TimeDelta::seconds(40);

/// How often clients are counted, which reads all of them.
const CLIENTS_INTERVAL: TimeDelta = TimeDelta::minutes(5);

/// Reads the gauges for ever, as `holder` of the lease.
pub(crate) async fn report(context: Arc<JobContext>, holder: &str) {
    let mut clients = ClientCounts::default();
    loop {
        if let Err(error) = context.unless_lost(read_if_first(&context, holder, &mut clients)).await {
            tracing::debug!(%error, "the gauges over tables cannot be read");
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// The counts of clients, and when they were made. They are exported again at each reading, and made anew more seldom.
#[derive(Default)]
struct ClientCounts {
    counted_at: Option<DateTime<Utc>>,
    counts: Vec<gauges::CountOf>,
}

async fn read_if_first(context: &JobContext, holder: &str, clients: &mut ClientCounts) -> Result<(), db::Error> {
    let (pool, now) = (&context.pool, clock::now());
    if !leases::take(pool, "gauges", holder, now + LEASE, now).await? {
        return Ok(());
    }
    let mut tx = db::snapshot(pool).await?;
    read(&mut tx, context.stripe.is_some(), now).await?;
    if clients.counted_at.is_none_or(|at| now - at >= CLIENTS_INTERVAL) {
        // Also after a failure it is some minutes until the next try.
        *clients = ClientCounts { counted_at: Some(now), counts: Vec::new() };
        clients.counts = gauges::count_clients(&mut tx).await?;
    }
    for state in &clients.counts {
        metrics::table_by("jobrun_clients", "state", &state.value, state.count as f64);
    }
    Ok(())
}

async fn read(conn: &mut PgConnection, audits_stripe: bool, now: DateTime<Utc>) -> Result<(), db::Error> {
    let age = |since: Option<DateTime<Utc>>| since.map_or(0.0, |since| (now - since).as_seconds_f64().max(0.0));
    let read = gauges::read(conn, now).await?;
    metrics::table("jobrun_events_waiting", read.events_waiting as f64);
    metrics::table("jobrun_events_deferred", read.events_deferred as f64);
    metrics::table("jobrun_events_oldest_waiting_seconds", age(read.oldest_event));
    metrics::table("jobrun_sending_parked", f64::from(u8::from(read.sending_parked)));
    for (what, is_stopped) in [("sending", read.sending_stopped), ("conversations", read.conversations_stopped)] {
        metrics::table_by("jobrun_stopped", "what", what, f64::from(u8::from(is_stopped)));
    }
    metrics::table("jobrun_waiting_oldest_seconds", age(read.oldest_place));
    metrics::table("jobrun_payments_unassigned", read.payments_unassigned as f64);
    // Without the key nothing is compared with Stripe's list, and an old time would look like a fault.
    let stripe_audited_until = read.stripe_audited_until.filter(|_| audits_stripe);
    for (source, until) in [("twilio", Some(read.audited_until)), ("stripe", stripe_audited_until)] {
        if let Some(until) = until {
            let audited_until = until.timestamp() as f64;
            metrics::table_by("jobrun_audit_last_success_timestamp_seconds", "source", source, audited_until);
        }
    }
    if let Some(at) = read.last_sweep {
        metrics::table("jobrun_sweep_last_success_timestamp_seconds", at.timestamp() as f64);
    }
    // A status without texts is exported too: a rule about texts that are stuck needs a zero.
    let texts = gauges::count_texts(conn, now).await?;
    for status in ["queued", "sending", "unknown"] {
        let found = texts.iter().find(|texts| texts.status == status);
        metrics::table_by("jobrun_messages", "status", status, found.map_or(0.0, |texts| texts.count as f64));
        metrics::table_by(
            "jobrun_messages_oldest_seconds",
            "status",
            status,
            age(found.and_then(|texts| texts.oldest)),
        );
    }
    for alerts in gauges::count_alerts(conn).await? {
        metrics::table_by("jobrun_alerts_open", "kind", &alerts.value, alerts.count as f64);
    }
    for waiting in gauges::count_waiting(conn).await? {
        metrics::table_by("jobrun_waiting_clients", "region", &waiting.value, waiting.count as f64);
    }
    for level in levels::list_regions(conn, now).await? {
        let states = [
            ("free", level.free),
            ("spoken_for", level.spoken_for),
            ("assigned", level.assigned),
            ("cooling", level.cooling),
            ("drained", level.drained),
        ];
        for (state, count) in states {
            metrics::pool_numbers(&level.region, state, count as f64);
        }
    }
    Ok(())
}
