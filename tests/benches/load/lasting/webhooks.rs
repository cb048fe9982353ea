//! Acknowledged webhooks a second, for a while, on a filled inbox.

use std::time::{Duration, Instant};

use crate::bench::Bench;
use crate::feed::Feed;
use crate::filled::Filled;
use crate::lasting::timing::{self, WARM_UP};
use crate::sender;
use crate::servers::{self, Kind};
use crate::wal::Written;

/// How many webhooks are sent to learn the rate, and how many at a time: the first ones meet cold caches.
const PROBES: usize = 4_000;
const PROBES_AT_A_TIME: usize = 1_000;

/// The rate says how many requests a run needs, with room for a higher one. A run whose requests are used up early is repeated
/// with more room.
const ROOM: [f64; 3] = [1.5, 3.0, 6.0];

/// How often a run looks whether it is over.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What responds to the webhooks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contender {
    /// A server that records each webhook in a transaction of its own.
    OneCommitEach,
    Ingress,
    /// A server that records nothing.
    NoDatabase,
}

impl Contender {
    pub(crate) const ALL: [Self; 3] = [Self::OneCommitEach, Self::Ingress, Self::NoDatabase];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::OneCommitEach => "one commit per webhook",
            Self::Ingress => "jobrun-ingress",
            Self::NoDatabase => "no database",
        }
    }

    /// Returns the server beside the ingress that it is, if it is one.
    const fn server(self) -> Option<Kind> {
        match self {
            Self::OneCommitEach => Some(Kind::Committing),
            Self::Ingress => None,
            Self::NoDatabase => Some(Kind::Forgetful),
        }
    }
}

/// The figures of a run.
pub(crate) struct Run {
    pub(crate) per_second: f64,
    /// How long each webhook took, shortest first.
    pub(crate) times: Vec<Duration>,
    pub(crate) wal_bytes: f64,
    pub(crate) images: f64,
    pub(crate) checkpoints: f64,
}

pub(crate) async fn measure(
    bench: &Bench,
    filled: &Filled,
    contender: Contender,
    connections: usize,
    window: Duration,
) -> anyhow::Result<Run> {
    for room in ROOM {
        if let Some(run) = attempt(bench, filled, contender, connections, window, room).await? {
            return Ok(run);
        }
        eprintln!("lasting: {}: the requests were used up, so the run is repeated with more", contender.name());
    }
    anyhow::bail!("the requests were used up long before the end of each run")
}

/// Returns `None` if the requests were used up early.
async fn attempt(
    bench: &Bench,
    filled: &Filled,
    contender: Contender,
    connections: usize,
    window: Duration,
    room: f64,
) -> anyhow::Result<Option<Run>> {
    let no_database = contender == Contender::NoDatabase;
    let url = if no_database { bench.database().await } else { filled.copy(bench).await? };
    let system = bench.test_system_on(&url, 0, &[]).await?;
    let server = match contender.server() {
        Some(kind) => Some(servers::start(kind, &system.environment).await?),
        None => None,
    };
    let addr = server.as_ref().map_or_else(|| sender::ingress_addr(&system), |server| Ok(server.addr))?;
    let probes = sender::texts_from(&system, &bench.strangers(PROBES));
    let feed = if no_database {
        Feed::start_over_again(addr, probes, connections).await?
    } else {
        let mut rate: f64 = 0.0;
        for probes in probes.chunks(PROBES_AT_A_TIME) {
            rate = rate.max(sender::send(addr, probes.to_vec(), connections).await?.per_second);
        }
        let count = (rate * (WARM_UP + window).as_secs_f64() * room) as usize;
        let requests = sender::texts_from(&system, &filled.senders(bench, count));
        Feed::start(addr, requests, connections, usize::MAX).await?
    };
    go_on(&feed, WARM_UP).await;
    let (from, before) = (Instant::now(), Written::now(&system.pool).await?);
    go_on(&feed, window).await;
    let (to, after) = (Instant::now(), Written::now(&system.pool).await?);
    let answered = feed.stop().await?;
    drop(server);
    bench.drop_system(system).await?;

    if !timing::is_long_enough(to - from, window) {
        return Ok(None);
    }
    let counted = answered.iter().filter(|it| it.at > from && it.at <= to);
    let mut times: Vec<Duration> = counted.map(|it| it.took).collect();
    times.sort_unstable();
    let (count, written) = (times.len() as f64, after.since(&before));
    Ok(Some(Run {
        per_second: count / (to - from).as_secs_f64(),
        times,
        wal_bytes: written.wal_bytes / count,
        images: written.images / count,
        checkpoints: written.checkpoints,
    }))
}

/// Lets the load go on for a time.
async fn go_on(feed: &Feed, lasts: Duration) {
    let until = Instant::now() + lasts;
    while Instant::now() < until && !feed.is_used_up() {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
