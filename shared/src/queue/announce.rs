//! Announces jobs to the workers of other processes, after the commit that enqueued them.
//!
//! PostgreSQL lets one transaction with a notification commit at a time, and keeps the others waiting while the standby is waited
//! for. So a notification has a transaction of its own, which waits for neither the disk nor the standby. An announcement that is
//! lost costs a second at most, because idle workers poll. This module never enqueues a job.

use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::mpsc;

use super::enqueue::Queue;
use super::notify::CHANNEL;

/// After this long, polling has found the job.
const ANNOUNCED_WITHIN: Duration = Duration::from_secs(1);

/// The most announcements that share a transaction.
const ANNOUNCED_AT_ONCE: usize = 1_000;

/// Announces jobs from a task of its own, so that no caller waits. Clones share the task, which ends with the last of them.
#[derive(Clone, Debug)]
pub struct Announcer {
    queues: mpsc::UnboundedSender<Queue>,
}

impl Announcer {
    /// Starts the task, which uses a connection of `pool` at a time.
    #[must_use]
    pub fn start(pool: PgPool) -> Self {
        let (queues, receiver) = mpsc::unbounded_channel();
        tokio::spawn(announce_all(pool, receiver));
        Self { queues }
    }

    /// Announces that `queue` has a job. Call it after the commit: before, the workers would find nothing.
    pub fn announce(&self, queue: Queue) {
        // The task ends before its senders only when the runtime ends.
        let _ = self.queues.send(queue);
    }
}

/// Announcements that come while others are under way share the next transaction.
async fn announce_all(pool: PgPool, mut queues: mpsc::UnboundedReceiver<Queue>) {
    let mut announced = Vec::new();
    while queues.recv_many(&mut announced, ANNOUNCED_AT_ONCE).await > 0 {
        match tokio::time::timeout(ANNOUNCED_WITHIN, announce(&pool, &announced)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "jobs are not announced: workers find them within a second"),
            Err(_) => tracing::warn!("jobs are not announced in time: workers find them within a second"),
        }
        announced.clear();
    }
}

/// PostgreSQL delivers equal notifications of a transaction once. The payload is apalis's, with an id that names no job.
async fn announce(pool: &PgPool, queues: &[Queue]) -> Result<(), sqlx::Error> {
    let names: Vec<&str> = queues.iter().map(|queue| queue.name()).collect();
    sqlx::query!(
        "SELECT set_config('synchronous_commit', 'off', TRUE),
                pg_notify($1, json_build_object('job_type', queue, 'id', repeat('0', 26))::TEXT)
         FROM unnest($2::TEXT[]) AS announced (queue)",
        CHANNEL,
        &names as &[&str]
    )
    .fetch_all(pool)
    .await?;
    Ok(())
}
