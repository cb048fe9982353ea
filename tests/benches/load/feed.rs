//! A load that lasts until it is stopped, and that can be held back: no more requests are sent than are allowed so far.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::sender::{Caller, Request};

/// How often a connection that is held back asks again.
const HELD_BACK: Duration = Duration::from_millis(1);

/// A response: when it came, and after how long.
#[derive(Clone, Copy)]
pub(crate) struct Answered {
    pub(crate) at: Instant,
    pub(crate) took: Duration,
}

/// Requests that several connections share: each takes the next one.
struct Shared {
    requests: Vec<Request>,
    /// Whether the requests are sent over and over.
    over_again: bool,
    next: AtomicUsize,
    allowed: AtomicUsize,
    stopped: AtomicBool,
}

impl Shared {
    /// Returns the next request as soon as it is allowed, or `None` at the end.
    async fn next(&self) -> Option<&Request> {
        let place = self.next.fetch_add(1, Ordering::Relaxed);
        while place >= self.allowed.load(Ordering::Relaxed) && !self.stopped.load(Ordering::Relaxed) {
            tokio::time::sleep(HELD_BACK).await;
        }
        if self.stopped.load(Ordering::Relaxed) {
            return None;
        }
        self.requests.get(if self.over_again { place % self.requests.len() } else { place })
    }
}

/// A load under way.
pub(crate) struct Feed {
    shared: Arc<Shared>,
    connections: JoinSet<anyhow::Result<Vec<Answered>>>,
}

impl Feed {
    /// Begins to send `requests`, the first `allowed` of them, over so many connections.
    pub(crate) async fn start(
        addr: SocketAddr,
        requests: Vec<Request>,
        connections: usize,
        allowed: usize,
    ) -> anyhow::Result<Self> {
        Self::begin(addr, requests, connections, allowed, false).await
    }

    /// Begins to send `requests` over and over, for a server that does not remember them.
    pub(crate) async fn start_over_again(
        addr: SocketAddr,
        requests: Vec<Request>,
        connections: usize,
    ) -> anyhow::Result<Self> {
        Self::begin(addr, requests, connections, usize::MAX, true).await
    }

    async fn begin(
        addr: SocketAddr,
        requests: Vec<Request>,
        connections: usize,
        allowed: usize,
        over_again: bool,
    ) -> anyhow::Result<Self> {
        let mut callers = Vec::with_capacity(connections);
        for _ in 0..connections {
            callers.push(Caller::connect(addr).await?);
        }
        let (next, allowed, stopped) = (AtomicUsize::new(0), AtomicUsize::new(allowed), AtomicBool::new(false));
        let shared = Arc::new(Shared { requests, over_again, next, allowed, stopped });
        let mut connections = JoinSet::new();
        for caller in callers {
            connections.spawn(converse(caller, Arc::clone(&shared)));
        }
        Ok(Self { shared, connections })
    }

    /// Allows so many requests from the start, in all.
    pub(crate) fn allow(&self, requests: usize) {
        self.shared.allowed.store(requests, Ordering::Relaxed);
    }

    /// Returns whether every request has been sent.
    pub(crate) fn is_used_up(&self) -> bool {
        !self.shared.over_again && self.shared.next.load(Ordering::Relaxed) > self.shared.requests.len()
    }

    /// Stops sending. Returns every response.
    pub(crate) async fn stop(mut self) -> anyhow::Result<Vec<Answered>> {
        self.shared.stopped.store(true, Ordering::Relaxed);
        let mut answered = Vec::new();
        while let Some(ended) = self.connections.join_next().await {
            answered.extend(ended??);
        }
        Ok(answered)
    }
}

async fn converse(mut caller: Caller, shared: Arc<Shared>) -> anyhow::Result<Vec<Answered>> {
    let mut answered = Vec::new();
    while let Some(request) = shared.next().await {
        let sent = Instant::now();
        caller.send(request).await?;
        let at = Instant::now();
        answered.push(Answered { at, took: at - sent });
    }
    Ok(answered)
}
