//! Wakes workers when jobs are announced.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use apalis_postgres::PgListener;
use serde::Deserialize;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::enqueue::Queue;
use crate::db::{ANSWERS_WITHIN, ASKED_EVERY, BrokenConnection, Health, Outage};
use crate::metrics;

/// How often an idle worker polls. Polling finds the jobs that no notification announces: those that are due later, and those whose
/// notification was lost.
pub(super) const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// How long a worker that lost its database waits before it restarts.
pub(super) const RESTART_DELAY: Duration = Duration::from_secs(1);

/// The channel on which jobs are announced. It is apalis's, so that programs of earlier versions understand it.
pub const CHANNEL: &str = "apalis::job::insert";

/// The channel on which a listener notifies itself, to find out whether its connection still works.
const ALIVE_CHANNEL: &str = "jobrun::listening";

/// What the log calls the listener.
const LISTENER: &str = "listener";

/// A listener that has not heard itself for longer is deaf. It notifies itself every second.
const HEARS_ITSELF_WITHIN: Duration = Duration::from_secs(5);

/// How long a listener may take to connect.
const LISTENS_WITHIN: Duration = Duration::from_secs(5);

/// The part of an announcement that is read.
#[derive(Deserialize)]
struct Announced {
    /// The name of the queue.
    job_type: String,
}

/// Wakes the workers of this process when jobs are announced. One connection listens for all queues.
#[derive(Clone, Debug)]
pub struct JobNotifier {
    rings: Arc<HashMap<&'static str, Notify>>,
    pub(super) health: Health,
    last_heard: watch::Sender<Instant>,
}

impl JobNotifier {
    /// Listens as long as the process lives, over a connection of its own. When not even the listener's own notifications arrive
    /// any more, the connections of `pool` are given up too.
    #[must_use]
    pub fn listen(pool: &PgPool, health: &Health) -> Self {
        let rings = Arc::new(Queue::ALL.map(|queue| (queue.name(), Notify::new())).into());
        let notifier = Self { rings, health: health.clone(), last_heard: watch::Sender::new(Instant::now()) };
        tokio::spawn(notifier.clone().relay(pool.clone()));
        notifier
    }

    async fn relay(self, pool: PgPool) {
        let outage = Outage::default();
        loop {
            if let Err(error) = self.relay_from(&pool, &outage).await {
                outage.warn(
                    LISTENER,
                    &BrokenConnection(&error),
                    "no notifications of jobs arrive: workers poll every second",
                );
            }
            tokio::time::sleep(RESTART_DELAY).await;
        }
    }

    async fn relay_from(&self, pool: &PgPool, outage: &Outage) -> Result<(), sqlx::Error> {
        // A connection of the pool would be given back to it, which must not happen to one that does not respond any more.
        let own = PgPoolOptions::new().max_connections(1).acquire_timeout(LISTENS_WITHIN);
        // Its notifications need not outlive a crash: they wait for neither the disk nor the standby.
        let options = pool.connect_options().as_ref().clone().options([("synchronous_commit", "off")]);
        let own = own.test_before_acquire(false).connect_lazy_with(options);
        let mut listener = PgListener::connect_with(&own).await?;
        listener.eager_reconnect(false);
        listener.listen_all([CHANNEL, ALIVE_CHANNEL]).await?;
        outage.end(LISTENER, "notifications of jobs arrive again");
        // Notifications before LISTEN did not arrive.
        self.notify_all();
        loop {
            let says_so = sqlx::query("SELECT pg_notify($1, '')").bind(ALIVE_CHANNEL);
            let answered = tokio::time::timeout(ANSWERS_WITHIN, says_so.execute(&mut listener)).await;
            // An error is a response too: a program of an earlier version may hold the lock for notifications.
            let expects_to_hear = matches!(answered, Ok(Ok(_)));
            let is_lost = match answered {
                Ok(Err(error)) => error.as_database_error().is_none(),
                Ok(Ok(_)) => false,
                Err(_) => true,
            };
            let heard =
                if is_lost { false } else { self.relay_until(&mut listener, Instant::now() + ASKED_EVERY).await? };
            if is_lost || (expects_to_hear && !heard) {
                self.health.lose();
                self.notify_all();
                return Err(sqlx::Error::Protocol("the database does not answer any more".to_owned()));
            }
        }
    }

    /// Passes notifications on until `end`. Returns whether the listener's own was among them.
    async fn relay_until(&self, listener: &mut PgListener, end: Instant) -> Result<bool, sqlx::Error> {
        let mut heard_itself = false;
        loop {
            let Ok(announced) = tokio::time::timeout_at(end, listener.try_recv()).await else {
                return Ok(heard_itself);
            };
            let Some(announced) = announced? else {
                return Err(sqlx::Error::Protocol("the connection was closed".to_owned()));
            };
            if announced.channel() == ALIVE_CHANNEL {
                heard_itself = true;
                self.last_heard.send_replace(Instant::now());
                continue;
            }
            let announced = serde_json::from_str::<Announced>(announced.payload());
            if let Some(ring) = announced.ok().and_then(|it| self.rings.get(it.job_type.as_str())) {
                // Kept for a worker that does not wait just now: the rows that it read may be older than the job.
                ring.notify_one();
            }
        }
    }

    /// Sets the gauges of the listener. It is up as long as it hears itself: returns whether it does.
    pub fn set_gauges(&self) -> bool {
        let since = self.last_heard.borrow().elapsed();
        let up = since < HEARS_ITSELF_WITHIN;
        metrics::listener(since, up);
        up
    }

    fn notify_all(&self) {
        self.rings.values().for_each(Notify::notify_one);
    }

    /// Ends at a notification, or at once if one came since the last call; at the latest after [`POLL_INTERVAL`].
    pub(super) async fn wait(&self, queue: Queue) {
        if let Some(ring) = self.rings.get(queue.name()) {
            // With or without a notification, the caller reads the rows.
            let _ = tokio::time::timeout(POLL_INTERVAL, ring.notified()).await;
        }
    }
}
