//! Finds the clients who have fallen silent, and records for each that a reminder is due. Raises the alert about those who leave a
//! number unused.
//!
//! The reminder itself is decided among the client's other events, so that it never crosses an answer. Nothing here sends a text.

use chrono::{DateTime, Utc};
use jobrun_onboarding::TextKind;
use jobrun_onboarding::reminders::{LOOK_AGAIN_AFTER, Next, Schedule, next};
use sqlx::{PgConnection, PgPool};

use crate::alerts::clients as alert_of;
use crate::db::alerts::{self, NewAlert};
use crate::db::inbox::{self, NewEvent, Payload, Source};
use crate::db::{self, clients, outbox, reminders, stops};
use crate::telemetry;

/// The most clients that are looked at in one transaction.
const LOOKED_AT_ONCE: i64 = 50;

/// While so many reminders wait, no more are recorded, so that answers do not wait behind them.
const WAITING_MAX: i64 = 50;

/// Records the reminders that are due. Returns how many. The others follow in later sweeps. While an operator has stopped sending or
/// conversations, or sending is parked, none is recorded.
///
/// Takes no input but the rows, the settings and the time, and records each reminder once, so that every worker may call it at any
/// time. Commits, once for each `LOOKED_AT_ONCE` clients.
///
/// # Errors
/// When the database does not answer. The clients of the transaction are then looked at again.
pub async fn record_due(pool: &PgPool, schedule: &Schedule, now: DateTime<Utc>) -> Result<usize, db::Error> {
    let mut recorded = 0;
    loop {
        let mut tx = pool.begin().await?;
        let is_full =
            reminders::count_waiting(&mut tx, "reminder_due", TextKind::Reminder, WAITING_MAX).await? >= WAITING_MAX;
        if is_full || stops::any(&mut tx).await? || outbox::pace::find_probe(&mut tx).await?.is_some() {
            return Ok(recorded);
        }
        let ids = reminders::lock_due(&mut tx, now, LOOKED_AT_ONCE).await?;
        let found = look_at(&mut tx, &ids, schedule, now).await?;
        tx.commit().await?;
        telemetry::raised(&found.raised);
        recorded += found.recorded;
        if ids.len() < LOOKED_AT_ONCE as usize {
            return Ok(recorded);
        }
    }
}

/// What was found about some clients.
#[derive(Default)]
struct Found {
    /// How many reminders were recorded.
    recorded: usize,
    /// The new alerts, for the log after the commit.
    raised: Vec<NewAlert>,
}

async fn look_at(
    conn: &mut PgConnection,
    ids: &[String],
    schedule: &Schedule,
    now: DateTime<Utc>,
) -> Result<Found, db::Error> {
    if ids.is_empty() {
        return Ok(Found::default());
    }
    let silences = reminders::list_silences(conn, ids).await?;
    let loaded = clients::load(conn, ids).await?;
    let mut due = Vec::new();
    let mut unfinished = Vec::new();
    let mut looked_at = Vec::new();
    for (id, silence) in &silences {
        // A client that cannot be read has an alert of its own, from the conversation.
        let client = loaded.iter().flatten().find(|it| it.client.id == *id);
        let found = client.map_or(Next::Never, |it| next(&it.client, &it.region, silence, schedule, now));
        let at = match found {
            Next::Never => None,
            Next::LookAgain(at) => Some(at),
            Next::ReportUnfinished => {
                unfinished.extend(client.map(|it| alert_of::unfinished(id, it.client.state)));
                None
            }
            Next::Remind(reminder) => {
                let name = format!("reminder-due:{id}:{}", now.timestamp_millis());
                let payload = Payload::ReminderDue { client_id: id.clone(), reminder };
                due.push(NewEvent::new(Source::System, name, payload));
                Some(now + LOOK_AGAIN_AFTER)
            }
        };
        looked_at.push((id.as_str(), at));
    }
    reminders::save_next(conn, &looked_at).await?;
    let recorded = inbox::insert(conn, &due, now).await?;
    Ok(Found { recorded, raised: alerts::raise(conn, &unfinished, now).await? })
}
