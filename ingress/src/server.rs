//! Connections: how many may be open, and how long each may take to send a request.
//!
//! A connection is closed when it times out, or when it has waited longest and a new connection needs its slot. So idle and slow
//! connections keep no webhook out. A connection whose whole request has arrived is never closed before its response. Twilio's
//! requests arrive in one piece, so these limits do not affect them.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, MissedTickBehavior};

/// The largest number of open connections: below the 1,024 files that a process may have open by default.
const CONNECTIONS_MAX: usize = 900;

/// The time that a new connection has to send the head of its first request.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The time that a connection is kept for its next request. It is longer than the timeout of proxies, which could otherwise send
/// a request on a connection that is being closed.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(75);

/// The delay after a failed `accept`, which usually means that the process has too many files open.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(50);

/// The time that a connection has to close and free its slot. After it, another one is closed.
const SLOT_RETRY_DELAY: Duration = Duration::from_millis(20);

/// Serves connections until `stop`, and then until each has its pending response. Counts the open ones in `open`.
pub async fn serve(listener: TcpListener, router: Router, open: Arc<AtomicUsize>, stop: impl Future<Output = ()>) {
    let (connections, graceful) = (Arc::new(Connections::new(open)), GracefulShutdown::new());
    let mut stop = pin!(stop);
    let mut each_second = tokio::time::interval(Duration::from_secs(1));
    each_second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = &mut stop => break,
            _ = each_second.tick() => connections.close_timed_out(),
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => tokio::select! {
                    () = &mut stop => break,
                    slot = connections.acquire_slot() => {
                        tokio::spawn(serve_connection(stream, slot, router.clone(), graceful.watcher()));
                    }
                },
                Err(error) if is_connection_error(&error) => {}
                Err(error) => {
                    tracing::error!(%error, "no connection can be accepted");
                    connections.close_longest_waiting();
                    tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                }
            },
        }
    }
    drop(listener);
    graceful.shutdown().await;
}

/// Returns whether `accept` failed because of this one connection. Others can be accepted at once.
fn is_connection_error(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn serve_connection(stream: TcpStream, slot: Slot, router: Router, watcher: Watcher) {
    let connection = &slot.connection;
    let router = TowerToHyperService::new(router);
    let service = service_fn(|request: Request<Incoming>| serve_request(&router, Arc::clone(connection), request));
    let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let mut serving = pin!(watcher.watch(serving));
    loop {
        tokio::select! {
            // The error needs no handling: no event is acknowledged before it is recorded.
            _ = &mut serving => return,
            // A whole request may have arrived meanwhile, and is served.
            () = connection.close.notified() => if connection.waiting_since().is_some() { return },
        }
    }
}

async fn serve_request(
    router: &TowerToHyperService<Router>,
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let mut request = request.map(Body::new);
    connection.mark_head_received();
    request.extensions_mut().insert(Arc::clone(&connection));
    let response = router.call(request).await;
    connection.mark_waiting();
    response
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The zero of `waiting_since`, the same for all connections.
    epoch: Instant,
    /// When the wait for the next request, or for the rest of it, began, in milliseconds since `epoch`; [`SERVING`] while a whole
    /// request is being served.
    waiting_since: AtomicU64,
    /// Whether the head of any request has arrived.
    head_received: AtomicBool,
    close: Notify,
}

const SERVING: u64 = u64::MAX;

impl Connection {
    fn new(epoch: Instant) -> Self {
        let waiting_since = AtomicU64::new(0);
        let connection = Self { epoch, waiting_since, head_received: AtomicBool::new(false), close: Notify::new() };
        connection.mark_waiting();
        connection
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(SERVING - 1)
    }

    fn mark_waiting(&self) {
        self.waiting_since.store(self.now(), Ordering::Relaxed);
    }

    fn mark_head_received(&self) {
        self.head_received.store(true, Ordering::Relaxed);
        self.mark_waiting();
    }

    /// Marks that a whole request has arrived: it is served to its end.
    pub(crate) fn mark_request_received(&self) {
        self.waiting_since.store(SERVING, Ordering::Relaxed);
    }

    /// Returns when the wait began, in milliseconds since `epoch`; nothing while a request is being served.
    fn waiting_since(&self) -> Option<u64> {
        let since = self.waiting_since.load(Ordering::Relaxed);
        (since != SERVING).then_some(since)
    }

    fn is_timed_out(&self) -> bool {
        let is_kept_alive = self.head_received.load(Ordering::Relaxed);
        let timeout = if is_kept_alive { KEEP_ALIVE_TIMEOUT } else { FIRST_REQUEST_TIMEOUT };
        let timeout = u64::try_from(timeout.as_millis()).unwrap_or(SERVING);
        self.waiting_since().is_some_and(|since| self.now().saturating_sub(since) > timeout)
    }
}

/// Every open connection.
#[derive(Debug)]
struct Connections {
    epoch: Instant,
    slots: Arc<Semaphore>,
    by_id: Mutex<HashMap<u64, Arc<Connection>>>,
    next_id: AtomicU64,
    open: Arc<AtomicUsize>,
}

/// A connection's slot. Dropping this frees the slot.
#[derive(Debug)]
struct Slot {
    connection: Arc<Connection>,
    id: u64,
    connections: Arc<Connections>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connections.by_id().remove(&self.id);
        self.connections.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connections {
    fn new(open: Arc<AtomicUsize>) -> Self {
        Self {
            epoch: Instant::now(),
            slots: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            by_id: Mutex::default(),
            next_id: AtomicU64::new(0),
            open,
        }
    }

    fn by_id(&self) -> MutexGuard<'_, HashMap<u64, Arc<Connection>>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a slot for one more connection. If none is free, closes the longest waiting connection, or waits until one waits.
    async fn acquire_slot(self: &Arc<Self>) -> Slot {
        let permit = loop {
            if let Ok(permit) = Arc::clone(&self.slots).try_acquire_owned() {
                break permit;
            }
            // The connection that was chosen may have sent a request meanwhile: then another one is chosen.
            self.close_longest_waiting();
            let freed = Arc::clone(&self.slots).acquire_owned();
            if let Ok(Ok(permit)) = tokio::time::timeout(SLOT_RETRY_DELAY, freed).await {
                break permit;
            }
        };
        let connection = Arc::new(Connection::new(self.epoch));
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        self.by_id().insert(id, Arc::clone(&connection));
        self.open.fetch_add(1, Ordering::Relaxed);
        Slot { connection, id, connections: Arc::clone(self), _permit: permit }
    }

    fn close_longest_waiting(&self) {
        let connections = self.by_id();
        let waiting = connections.values().filter_map(|connection| Some((connection.waiting_since()?, connection)));
        if let Some((_, connection)) = waiting.min_by_key(|(since, _)| *since) {
            connection.close.notify_one();
        }
    }

    fn close_timed_out(&self) {
        self.by_id().values().filter(|it| it.is_timed_out()).for_each(|it| it.close.notify_one());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On a runtime of one thread, yielding lets every other task go on until it waits.
    #[tokio::test]
    async fn a_connection_that_finds_all_others_served_gets_the_slot_of_the_first_that_waits_again() {
        let connections = Arc::new(Connections::new(Arc::default()));
        let mut others = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            let slot = connections.acquire_slot().await;
            slot.connection.mark_request_received();
            others.push(slot);
        }
        let newest = tokio::spawn({
            let connections = Arc::clone(&connections);
            async move { connections.acquire_slot().await.id }
        });
        tokio::task::yield_now().await;
        assert!(!newest.is_finished(), "no slot is free, and no connection waits");

        let other = others.swap_remove(7);
        other.connection.mark_waiting();
        let closed = tokio::spawn(async move {
            other.connection.close.notified().await;
            drop(other);
        });
        let patience = Duration::from_secs(10);
        tokio::time::timeout(patience, closed).await.expect("the connection that waits is closed").unwrap();
        assert_eq!(newest.await.unwrap(), CONNECTIONS_MAX as u64);
    }
}
