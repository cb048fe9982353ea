//! Finds the live clients whose forwarding may have stopped working, and records for each that a check is due.
//!
//! The check itself is decided among the client's other events, so that it never crosses a call. Nothing here sends a text.

use chrono::{DateTime, Utc};
use jobrun_onboarding::forwarding_checks::{
    FIRST_LOOK_AFTER, LOOK_AGAIN_AFTER, LOOK_AT_LIVE_AFTER, Next, Schedule, next,
};
use jobrun_onboarding::{State, TextKind};
use sqlx::{PgConnection, PgPool};

use crate::db::forwarding_checks::{self, CallsOf, NextLook};
use crate::db::inbox::{self, NewEvent, Payload, Source};
use crate::db::{self, clients, outbox, reminders, stops};

/// The most clients that are looked at in one transaction.
const LOOKED_AT_ONCE: i64 = 50;

/// The most clients without a check that one sweep finds. The next one goes on.
const FOUND_AT_ONCE: i64 = 500;

/// While so many checks wait, none but results of tests are recorded, so that answers do not wait behind them.
const WAITING_MAX: i64 = 50;

/// Which clients are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// Those who wait for the result of a test. They do not wait behind the others.
    Tests,
    /// The others.
    Silences,
}

/// Records the checks that are due. Returns how many. The others follow in later sweeps. While an operator has stopped sending or
/// conversations, or sending is parked, none is recorded.
///
/// Takes no input but the rows, the settings and the time, and records each check once, so that every worker may call it at any
/// time. Commits, once for each `LOOKED_AT_ONCE` clients.
///
/// # Errors
/// When the database does not answer. The clients of the transaction are then looked at again.
pub async fn record_due(pool: &PgPool, schedule: &Schedule, now: DateTime<Utc>) -> Result<usize, db::Error> {
    find_without_a_check(pool, now).await?;
    let mut recorded = 0;
    for due in [Due::Tests, Due::Silences] {
        while let Some(looked_at) = record_some(pool, due, schedule, now).await? {
            recorded += looked_at.recorded;
            if looked_at.is_last {
                break;
            }
        }
    }
    Ok(recorded)
}

/// Says when to look at clients at whom no sweep would: spread over a month, so that they are not all told in one night. Commits.
async fn find_without_a_check(pool: &PgPool, now: DateTime<Utc>) -> Result<(), db::Error> {
    let mut tx = pool.begin().await?;
    let ids = forwarding_checks::lock_without_a_check(&mut tx, FOUND_AT_ONCE).await?;
    if ids.is_empty() {
        return Ok(());
    }
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let apart = (LOOK_AT_LIVE_AFTER - FIRST_LOOK_AFTER) / i32::try_from(ids.len()).unwrap_or(i32::MAX);
    let look = |(place, client_id)| {
        let at = now + FIRST_LOOK_AFTER + apart * place;
        NextLook { client_id, at: Some(at), told_at: None }
    };
    let looks: Vec<NextLook<'_>> = (0..).zip(ids.iter().copied()).map(look).collect();
    forwarding_checks::save_next(&mut tx, &looks).await?;
    reminders::look_at_forgotten(&mut tx, &ids, now).await?;
    tx.commit().await?;
    Ok(())
}

struct LookedAt {
    recorded: usize,
    is_last: bool,
}

async fn are_many_waiting(conn: &mut PgConnection) -> Result<bool, db::Error> {
    let waiting = reminders::count_waiting(conn, "forwarding_check_due", TextKind::NoCallsLately, WAITING_MAX).await?;
    Ok(waiting >= WAITING_MAX)
}

/// Looks at some clients. Returns `None` if no check may be recorded now.
async fn record_some(
    pool: &PgPool,
    due: Due,
    schedule: &Schedule,
    now: DateTime<Utc>,
) -> Result<Option<LookedAt>, db::Error> {
    let mut tx = pool.begin().await?;
    if stops::any(&mut tx).await? || outbox::pace::find_probe(&mut tx).await?.is_some() {
        return Ok(None);
    }
    let ids = match due {
        Due::Tests => forwarding_checks::lock_tests_due(&mut tx, now, LOOKED_AT_ONCE).await?,
        Due::Silences if are_many_waiting(&mut tx).await? => return Ok(None),
        Due::Silences => forwarding_checks::lock_due(&mut tx, now, LOOKED_AT_ONCE).await?,
    };
    let recorded = record_of(&mut tx, &ids, schedule, now).await?;
    tx.commit().await?;
    Ok(Some(LookedAt { recorded, is_last: ids.len() < LOOKED_AT_ONCE as usize }))
}

async fn record_of(
    conn: &mut PgConnection,
    ids: &[String],
    schedule: &Schedule,
    now: DateTime<Utc>,
) -> Result<usize, db::Error> {
    if ids.is_empty() {
        return Ok(0);
    }
    let calls = forwarding_checks::list_calls(conn, ids).await?;
    let loaded = clients::load(conn, ids).await?;
    let mut due = Vec::new();
    let mut looked_at = Vec::new();
    for CallsOf { client_id: id, calls, told_at } in &calls {
        // A client that cannot be read has an alert of its own, from the conversation.
        let client = loaded.iter().flatten().find(|it| it.client.id == *id);
        let found = client
            .map_or(Next::LookAgain(now + LOOK_AGAIN_AFTER), |it| next(&it.client, &it.region, calls, schedule, now));
        let at = match found {
            Next::Never => None,
            Next::LookAgain(at) => Some(at),
            Next::Check(check) => {
                let name = format!("forwarding-check-due:{id}:{}", now.timestamp_millis());
                let payload = Payload::ForwardingCheckDue { client_id: id.clone(), check };
                due.push(NewEvent::new(Source::System, name, payload));
                Some(now + LOOK_AGAIN_AFTER)
            }
        };
        looked_at.push(NextLook { client_id: id, at, told_at: *told_at });
    }
    forwarding_checks::save_next(conn, &looked_at).await?;
    let is_unfinished = |it: &&clients::Loaded| it.client.state != State::Complete && it.client.number.is_some();
    let unfinished = loaded.iter().flatten().filter(is_unfinished).map(|it| it.client.id.as_str());
    reminders::look_at_forgotten(conn, &unfinished.collect::<Vec<_>>(), now).await?;
    inbox::insert(conn, &due, now).await
}
