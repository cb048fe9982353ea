//! The sweep: looks after the waiting, and after whatever was left behind.
//!
//! It takes no input but the rows, so that every worker may run it on schedule, at once when numbers free up, and by hand.

use std::time::Duration;

use jobrun_shared::db::{self, events, messages};
use jobrun_shared::queue::{self, Queue};
use jobrun_shared::{clock, operator};

use crate::hands::Hands;

/// How long a finished job can be looked at by whoever wonders what happened.
const FINISHED_JOBS_KEPT_FOR: Duration = Duration::from_secs(60 * 60);

pub(crate) async fn run(hands: &Hands) -> Result<(), db::Error> {
    let offered = operator::sweep(&hands.pool, &hands.onboarding_number, hands.hold, clock::now()).await?;
    if !offered.is_empty() {
        tracing::info!(clients = offered.len(), "told waiting clients that their numbers are ready");
    }
    nudge_for_what_was_left_behind(hands).await?;
    let removed = queue::remove_finished(&hands.pool, FINISHED_JOBS_KEPT_FOR).await?;
    tracing::debug!(removed, "removed finished jobs");
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
    Ok(())
}
