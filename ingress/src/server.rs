//! Connections: how many may be open, and how long each may take to send a request.
//!
//! A connection that has sent a whole request is served to its end. Any other may be closed: when it takes too long, or when it is
//! the longest waiting one and a new connection finds no free slot. So connections that are opened and left alone never keep a
//! webhook out. Twilio's requests arrive in one piece, so they are not affected.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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
const FIRST_REQUEST_WITHIN: Duration = Duration::from_secs(5);

/// The time that a connection is kept for its next request. It is longer than proxies keep theirs: a proxy could otherwise send a
/// request on a connection that is being closed.
const KEPT_FOR: Duration = Duration::from_secs(75);

/// The delay after no connection could be accepted, because the process has too many files open.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// How soon another connection is closed if the first one that was chosen does not end.
const ADMIT_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// Serves connections until `stop`, and then until each has its pending response.
pub async fn serve(listener: TcpListener, router: Router, stop: impl Future<Output = ()>) {
    let (clients, graceful) = (Arc::new(Clients::new()), GracefulShutdown::new());
    let mut stop = pin!(stop);
    let mut each_second = tokio::time::interval(Duration::from_secs(1));
    each_second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = &mut stop => break,
            _ = each_second.tick() => clients.close_overdue(),
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => tokio::select! {
                    () = &mut stop => break,
                    client = clients.admit() => {
                        tokio::spawn(serve_client(stream, client, router.clone(), graceful.watcher()));
                    }
                },
                Err(error) if is_of_the_connection(&error) => {}
                Err(error) => {
                    tracing::error!(%error, "no connection can be accepted");
                    clients.close_longest_waiting();
                    tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
                }
            },
        }
    }
    drop(listener);
    graceful.shutdown().await;
}

/// Returns whether only this one connection could not be accepted.
fn is_of_the_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn serve_client(stream: TcpStream, admitted: Admitted, router: Router, watcher: Watcher) {
    let client = &admitted.client;
    let router = TowerToHyperService::new(router);
    let service = service_fn(|request: Request<Incoming>| answer(&router, Arc::clone(client), request));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(watcher.watch(connection));
    loop {
        tokio::select! {
            // The error needs no handling: no event is acknowledged before it is recorded.
            _ = &mut connection => return,
            // A whole request may have arrived meanwhile, and is served.
            () = client.close.notified() => if client.waiting_since().is_some() { return },
        }
    }
}

async fn answer(
    router: &TowerToHyperService<Router>,
    client: Arc<Client>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let mut request = request.map(Body::new);
    client.begins_to_ask();
    request.extensions_mut().insert(Arc::clone(&client));
    let response = router.call(request).await;
    client.is_answered();
    response
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct Client {
    /// The zero of `waiting_since`, the same for all connections.
    epoch: Instant,
    /// When the wait for the next request, or for the rest of it, began, in milliseconds since `epoch`; [`ASKED`] while a whole
    /// request is being served.
    waiting_since: AtomicU64,
    /// Whether the head of any request has arrived.
    has_begun: AtomicBool,
    close: Notify,
}

const ASKED: u64 = u64::MAX;

impl Client {
    fn new(epoch: Instant) -> Self {
        let client =
            Self { epoch, waiting_since: AtomicU64::new(0), has_begun: AtomicBool::new(false), close: Notify::new() };
        client.waits_from_now_on();
        client
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(ASKED - 1)
    }

    fn waits_from_now_on(&self) {
        self.waiting_since.store(self.now(), Ordering::Relaxed);
    }

    fn begins_to_ask(&self) {
        self.has_begun.store(true, Ordering::Relaxed);
        self.waits_from_now_on();
    }

    /// Marks that a whole request has arrived: it is served to its end.
    pub(crate) fn has_asked(&self) {
        self.waiting_since.store(ASKED, Ordering::Relaxed);
    }

    fn is_answered(&self) {
        self.waits_from_now_on();
    }

    /// Returns when the wait began, in milliseconds since `epoch`; nothing while a request is being served.
    fn waiting_since(&self) -> Option<u64> {
        let since = self.waiting_since.load(Ordering::Relaxed);
        (since != ASKED).then_some(since)
    }

    fn is_overdue(&self) -> bool {
        let patience = if self.has_begun.load(Ordering::Relaxed) { KEPT_FOR } else { FIRST_REQUEST_WITHIN };
        let patience = u64::try_from(patience.as_millis()).unwrap_or(ASKED);
        self.waiting_since().is_some_and(|since| self.now().saturating_sub(since) > patience)
    }
}

/// Every open connection.
#[derive(Debug)]
struct Clients {
    epoch: Instant,
    slots: Arc<Semaphore>,
    by_number: Mutex<HashMap<u64, Arc<Client>>>,
    numbers: AtomicU64,
}

/// A connection's slot. Dropping this frees the slot.
#[derive(Debug)]
struct Admitted {
    client: Arc<Client>,
    number: u64,
    clients: Arc<Clients>,
    _slot: OwnedSemaphorePermit,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.clients.by_number().remove(&self.number);
    }
}

impl Clients {
    fn new() -> Self {
        Self {
            epoch: Instant::now(),
            slots: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            by_number: Mutex::default(),
            numbers: AtomicU64::new(0),
        }
    }

    fn by_number(&self) -> MutexGuard<'_, HashMap<u64, Arc<Client>>> {
        self.by_number.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a slot for one more connection. If none is free, closes the longest waiting connection, or waits until one waits.
    async fn admit(self: &Arc<Self>) -> Admitted {
        let slot = loop {
            if let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() {
                break slot;
            }
            // The connection that was chosen may have sent a request meanwhile: then another one is chosen.
            self.close_longest_waiting();
            let freed = Arc::clone(&self.slots).acquire_owned();
            if let Ok(Ok(slot)) = tokio::time::timeout(ADMIT_AGAIN_AFTER, freed).await {
                break slot;
            }
        };
        let client = Arc::new(Client::new(self.epoch));
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        self.by_number().insert(number, Arc::clone(&client));
        Admitted { client, number, clients: Arc::clone(self), _slot: slot }
    }

    fn close_longest_waiting(&self) {
        let clients = self.by_number();
        let waiting = clients.values().filter_map(|client| Some((client.waiting_since()?, client)));
        if let Some((_, client)) = waiting.min_by_key(|(since, _)| *since) {
            client.close.notify_one();
        }
    }

    fn close_overdue(&self) {
        self.by_number().values().filter(|client| client.is_overdue()).for_each(|client| client.close.notify_one());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On a runtime of one thread, yielding lets every other task go on until it waits.
    #[tokio::test]
    async fn a_connection_that_finds_all_others_served_gets_the_slot_of_the_first_that_waits_again() {
        let clients = Arc::new(Clients::new());
        let mut others = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            let admitted = clients.admit().await;
            admitted.client.has_asked();
            others.push(admitted);
        }
        let newest = tokio::spawn({
            let clients = Arc::clone(&clients);
            async move { clients.admit().await.number }
        });
        tokio::task::yield_now().await;
        assert!(!newest.is_finished(), "no slot is free, and no connection waits");

        let other = others.swap_remove(7);
        other.client.is_answered();
        let closed = tokio::spawn(async move {
            other.client.close.notified().await;
            drop(other);
        });
        let patience = Duration::from_secs(10);
        tokio::time::timeout(patience, closed).await.expect("the connection that waits is closed").unwrap();
        assert_eq!(newest.await.unwrap(), CONNECTIONS_MAX as u64);
    }
}
