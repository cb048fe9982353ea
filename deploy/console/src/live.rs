//! Tells open pages that rows have changed, by server-sent events.
//!
//! The queue's notifications say that there is work: a text has arrived, one is to be sent, a report has come in. A page that
//! is told so loads its live part again. Nothing else is sent, so a stream shows nobody anything.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use jobrun_shared::queue;
use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

/// A page is told at most this often.
const TOLD_EVERY: Duration = Duration::from_secs(2);

/// A page is told at least this often: ages grow, and workers fall silent, without a notification.
const TOLD_AT_LEAST_EVERY: Duration = Duration::from_secs(20);

/// A stream ends after this, and the browser begins another: so the session is checked again.
const STREAM_LASTS: Duration = Duration::from_secs(600);

/// The most streams at a time. Without a stream, a page is as it was when it was loaded.
const STREAMS_MAX: usize = 200;

/// How long the listener waits after an error.
const RETRY_DELAY: Duration = Duration::from_secs(2);

/// The news for open pages.
#[derive(Clone, Debug)]
pub struct Live {
    changes: watch::Sender<u64>,
    stopping: watch::Sender<bool>,
    streams: Arc<Semaphore>,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            changes: watch::Sender::new(0),
            stopping: watch::Sender::new(false),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
        }
    }
}

impl Live {
    /// Ends every stream.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Waits until the console is told to stop.
    pub async fn stopped(&self) {
        // The sender lives as long as `self`.
        let _ = self.stopping.subscribe().wait_for(|stopping| *stopping).await;
    }

    fn tell(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }
}

/// Listens for notifications as long as the process lives.
pub async fn listen(pool: PgPool, live: Live) {
    loop {
        if let Err(error) = relay(&pool, &live).await {
            tracing::warn!(%error, "no notifications arrive: open pages are told every 20 seconds");
        }
        tokio::time::sleep(RETRY_DELAY).await;
    }
}

async fn relay(pool: &PgPool, live: &Live) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(queue::CHANNEL).await?;
    loop {
        listener.recv().await?;
        live.tell();
    }
}

struct Stream {
    changes: watch::Receiver<u64>,
    stopping: watch::Receiver<bool>,
    ends_at: Instant,
    _permit: OwnedSemaphorePermit,
}

/// Tells a page about changes until the stream ends.
pub async fn stream(State(live): State<Live>) -> Response {
    let Ok(permit) = Arc::clone(&live.streams).try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many open pages").into_response();
    };
    let mut changes = live.changes.subscribe();
    // The page may be older than its stream: what changed in between is told at once.
    changes.mark_changed();
    let stopping = live.stopping.subscribe();
    let stream = Stream { changes, stopping, ends_at: Instant::now() + STREAM_LASTS, _permit: permit };
    // Browsers pass over an event without data.
    let events = futures::stream::unfold(stream, |mut stream| async move {
        let next = Instant::now() + TOLD_EVERY;
        let told = tokio::select! {
            _ = stream.stopping.wait_for(|stopping| *stopping) => return None,
            () = tokio::time::sleep_until(stream.ends_at) => return None,
            () = wait_for_change(&mut stream.changes) => Event::default().event("changed").data("rows"),
        };
        // Changes meanwhile are told together.
        tokio::select! {
            _ = stream.stopping.wait_for(|stopping| *stopping) => return None,
            () = tokio::time::sleep_until(next) => {}
        }
        stream.changes.mark_unchanged();
        Some((Ok::<Event, Infallible>(told), stream))
    });
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}

async fn wait_for_change(changes: &mut watch::Receiver<u64>) {
    // With or without a change, the page is told.
    let _ = tokio::time::timeout(TOLD_AT_LEAST_EVERY, changes.changed()).await;
}
