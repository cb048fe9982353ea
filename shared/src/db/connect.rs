//! Connections to the database: how they are opened, what they require of the server, and when they are given up. This
//! module knows no table.
//!
//! A server that cannot keep what it acknowledges is refused: a standby, a read-only server, one that acknowledges
//! before the disk has the data, or a pooler that drops our settings.
//!
//! A connection whose other end has gone silent looks for a quarter of an hour like a connection that waits. So one
//! connection pings the server continually ([`watch()`]); when it gets no answer, every connection is given up
//! ([`Health`]).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::connect_error::{self, Unfit};
use super::outage::Outage;
use super::{ConnectError, tls};
use crate::metrics;

/// How long a starting program waits for its first connection.
const STARTS_WITHIN: Duration = Duration::from_secs(10);

/// How often the server is pinged, and how long it may take to respond.
pub(crate) const ASKED_EVERY: Duration = Duration::from_secs(1);
pub(crate) const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// A connection that was idle for at least this long is pinged before it is used.
const TRIED_AFTER_IDLE: Duration = Duration::from_secs(1);

/// How long such a ping may take. This is less than the ingress waits for a connection (800 ms), so that a webhook that
/// meets a silent connection still gets a new one in time.
const WAKES_WITHIN: Duration = Duration::from_millis(500);

/// How long a connection that was returned in the middle of a statement may take to be ready again.
const READY_AGAIN_WITHIN: Duration = Duration::from_secs(60);

/// How often at most the log repeats that a server is refused.
const REFUSAL_SAID_EVERY: Duration = Duration::from_secs(5);

/// The connection settings of a program.
#[derive(Clone, Copy, Debug)]
pub struct Connections {
    /// The program's name, as `pg_stat_activity` shows it.
    pub application: &'static str,
    /// How many connections are opened at the start and kept open: opening one takes longer than most statements.
    pub kept: u32,
    /// The largest number of connections.
    pub max: u32,
    /// How long a caller waits for a connection.
    pub acquire_timeout: Duration,
    /// How long a statement waits for a lock before it fails with 55P03.
    pub lock_timeout: Duration,
    /// How long a statement may take before the server cancels it.
    pub statement_timeout: Duration,
}

/// Settings of the planner. Each query is planned once, and by an index where there is one: a plan that was chosen for
/// an empty table would stay in use while the table grows. Compiling a plan (JIT) takes longer than any of our queries.
const PLANNER: [(&str, &str); 3] =
    [("plan_cache_mode", "force_generic_plan"), ("enable_seqscan", "off"), ("jit", "off")];

/// Settings that end abandoned sessions: a machine that sleeps or vanishes in the middle of a transaction does not keep
/// its locks for ever.
const LEFT_BEHIND: [(&str, &str); 4] = [
    ("idle_in_transaction_session_timeout", "60s"),
    ("tcp_keepalives_idle", "5"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
];

/// How many prepared statements a connection keeps: all that a program has, so that a sweep does not displace those of every batch.
const STATEMENTS_KEPT: usize = 500;

/// The programs announce jobs after the commit (`queue::Announcer`), so the queue's trigger does not: see `queue_upkeep.sql`.
const ANNOUNCEMENTS: [(&str, &str); 1] = [("jobrun.announces_after_commit", "on")];

/// Opens connections, and verifies that the database responds and keeps what it acknowledges.
///
/// # Errors
/// [`ConnectError`], which contains the address but never the password.
pub async fn connect(url: &SecretString, connections: Connections) -> Result<PgPool, ConnectError> {
    Ok(connect_watched(url, connections).await?.0)
}

/// Like [`connect`], for long-running programs: they [`watch()`] the [`Health`] of their connections.
///
/// # Errors
/// As [`connect`].
pub async fn connect_watched(url: &SecretString, connections: Connections) -> Result<(PgPool, Health), ConnectError> {
    let options = options(url, connections)?;
    tls::warn_if_unverified(&options);
    let address = connect_error::address_of(&options);
    let unreachable = |error| ConnectError::Unreachable { address: address.clone(), error };
    // The pool would retry until its timeout, and then report only the timeout.
    let probe = async {
        let mut conn = options.connect().await.map_err(unreachable)?;
        let unfit = check(&mut conn).await.map_err(unreachable)?;
        conn.close().await.map_err(unreachable)?;
        match unfit {
            Some(why) => Err(ConnectError::Unfit { address: address.clone(), why }),
            None => Ok(()),
        }
    };
    timeout(STARTS_WITHIN, probe).await.unwrap_or_else(|_| Err(unreachable(sqlx::Error::PoolTimedOut)))?;
    let health = Health::default();
    let pool = pool(options, connections, &health);
    let mut open = Vec::new();
    for _ in 0..connections.kept {
        open.push(pool.acquire().await.map_err(unreachable)?);
    }
    drop(open);
    Ok((pool, health))
}

fn options(url: &SecretString, connections: Connections) -> Result<PgConnectOptions, ConnectError> {
    let options: PgConnectOptions = url.expose_secret().parse().map_err(ConnectError::Url)?;
    let milliseconds = |timeout: Duration| timeout.as_millis().to_string();
    let timeouts = [
        ("lock_timeout", milliseconds(connections.lock_timeout)),
        ("statement_timeout", milliseconds(connections.statement_timeout)),
    ];
    // Slow statements belong in the database's log, not in ours.
    let options = options.disable_statement_logging().application_name(connections.application);
    let options = options.statement_cache_capacity(STATEMENTS_KEPT);
    Ok(options.options(PLANNER).options(LEFT_BEHIND).options(ANNOUNCEMENTS).options(timeouts))
}

fn pool(options: PgConnectOptions, connections: Connections, health: &Health) -> PgPool {
    let (opened, acquired, released) = (health.clone(), health.clone(), health.clone());
    PgPoolOptions::new()
        .min_connections(connections.kept)
        .max_connections(connections.max)
        .acquire_timeout(connections.acquire_timeout)
        // `before_acquire` pings instead, and only after idle time.
        .test_before_acquire(false)
        .after_connect(move |conn, _| {
            let health = opened.clone();
            Box::pin(async move { health.admit(check(conn).await?) })
        })
        .before_acquire(move |conn, meta| {
            let health = acquired.clone();
            Box::pin(async move { Ok(health.trusts(meta.age) && health.is_awake(conn, meta.idle_for).await) })
        })
        .after_release(move |conn, meta| {
            let health = released.clone();
            Box::pin(async move { health.is_ready_again(conn, meta.age).await })
        })
        .connect_lazy_with(options)
}

/// Returns why this server must not be used, or `None` if it may be used.
async fn check(conn: &mut PgConnection) -> Result<Option<Unfit>, sqlx::Error> {
    const QUESTION: &str = "SELECT pg_is_in_recovery(), current_setting('transaction_read_only'), \
                            current_setting('synchronous_commit'), current_setting('plan_cache_mode'), \
                            current_setting('enable_seqscan'), current_setting('jit')";
    let answer = sqlx::query_as::<_, (bool, String, String, String, String, String)>(QUESTION).persistent(false);
    let (is_standby, read_only, commit, plan_cache_mode, seqscan, jit) = answer.fetch_one(conn).await?;
    let other = PLANNER.into_iter().zip([plan_cache_mode, seqscan, jit]).find(|((_, wanted), actual)| wanted != actual);
    Ok(match other {
        _ if is_standby => Some(Unfit::Standby),
        _ if read_only == "on" => Some(Unfit::ReadOnly),
        _ if commit == "off" => Some(Unfit::AsynchronousCommit),
        Some(((name, wanted), actual)) => Some(Unfit::OtherSetting { name, wanted, actual }),
        None => None,
    })
}

/// The connections to the database were given up, because the server does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connections to the database were given up, because the server did not answer any more")]
pub struct ConnectionLost;

/// The state of a program's connections. Clones share it.
#[derive(Clone, Debug)]
pub struct Health {
    /// Connections opened before this time are closed instead of being used.
    distrusted_until: watch::Sender<Option<Instant>>,
    /// When connections were last given up in the middle of their work.
    lost_at: watch::Sender<Option<Instant>>,
    refusal: Arc<Mutex<Refusal>>,
    /// What the log says of the queues that have no database.
    pub outage: Outage,
}

/// Why the last server that was tried is not used, and when the log last said so.
#[derive(Debug, Default)]
struct Refusal {
    why: Option<Unfit>,
    said_at: Option<Instant>,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            distrusted_until: watch::Sender::new(None),
            lost_at: watch::Sender::new(None),
            refusal: Arc::default(),
            outage: Outage::default(),
        }
    }
}

impl Health {
    /// Closes every connection that is open now, as soon as it is idle: one of them has shown that its server has
    /// changed.
    pub fn distrust(&self) {
        metrics::db_reconnect();
        self.distrusted_until.send_replace(Some(Instant::now()));
    }

    /// Like [`Health::distrust`], and interrupts the work on the connections: their server does not answer.
    pub fn lose(&self) {
        self.distrust();
        self.lost_at.send_replace(Some(Instant::now()));
    }

    /// Does `work`, unless the connections are given up meanwhile.
    ///
    /// # Errors
    /// [`ConnectionLost`], as soon as they are given up. The effect of `work` is then unknown.
    pub async fn unless_lost<T>(&self, work: impl Future<Output = T>) -> Result<T, ConnectionLost> {
        let mut lost = self.lost_at.subscribe();
        tokio::select! {
            done = work => Ok(done),
            _ = lost.changed() => Err(ConnectionLost),
        }
    }

    /// Returns why the last server that was tried is not used.
    #[must_use]
    pub fn refusal(&self) -> Option<Unfit> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).why.clone()
    }

    fn admit(&self, unfit: Option<Unfit>) -> Result<(), sqlx::Error> {
        let mut refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        refusal.why.clone_from(&unfit);
        let Some(why) = unfit else { return Ok(()) };
        if refusal.said_at.is_none_or(|at| at.elapsed() >= REFUSAL_SAID_EVERY) {
            refusal.said_at = Some(Instant::now());
            tracing::error!(%why, "a database server is not used");
        }
        Err(sqlx::Error::Configuration(Box::new(why)))
    }

    fn trusts(&self, age: Duration) -> bool {
        self.distrusted_until.borrow().is_none_or(|until| until.elapsed() > age)
    }

    /// Returns whether an idle connection still responds. If it does not, the other connections are distrusted as well.
    async fn is_awake(&self, conn: &mut PgConnection, idle_for: Duration) -> bool {
        if idle_for < TRIED_AFTER_IDLE {
            return true;
        }
        match timeout(WAKES_WITHIN, conn.ping()).await {
            Ok(answered) => answered.is_ok(),
            Err(_) => {
                self.distrust();
                false
            }
        }
    }

    /// Returns whether a returned connection can be used again. It may still run a statement whose caller has gone.
    /// Until it is ready it counts as in use, so that a slow statement is not started again and again.
    async fn is_ready_again(&self, conn: &mut PgConnection, age: Duration) -> Result<bool, sqlx::Error> {
        let mut distrusted = self.distrusted_until.subscribe();
        if !self.trusts(age) {
            return Err(sqlx::Error::PoolTimedOut);
        }
        tokio::select! {
            ready = timeout(READY_AGAIN_WITHIN, conn.ping()) => ready.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map(|()| true),
            _ = distrusted.changed() => Err(sqlx::Error::PoolTimedOut),
        }
    }
}

/// Pings the server continually over a connection of its own. When the server does not answer, gives up all the
/// connections of `pool`. Never returns.
pub async fn watch(pool: PgPool, health: Health) {
    loop {
        let options = pool.connect_options();
        if let Ok(Ok(mut conn)) = timeout(ANSWERS_WITHIN, options.connect()).await {
            while let Ok(Ok(())) = timeout(ANSWERS_WITHIN, conn.ping()).await {
                sleep(ASKED_EVERY).await;
            }
            tracing::warn!("the database does not answer any more: connecting anew");
            health.lose();
            // A clean close would wait for the other end.
            let _ = conn.close_hard().await;
        }
        sleep(ASKED_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// A server that accepts the login, and then sends nothing.
    async fn silent_server() -> String {
        const LET_IN: &[u8] = b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I";
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("postgres://jobrun@{}/jobrun?sslmode=disable", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(LET_IN).await.unwrap();
            while stream.read(&mut [0; 1024]).await.is_ok_and(|bytes| bytes > 0) {}
        });
        url
    }

    #[tokio::test]
    async fn a_silent_connection_is_given_up_while_a_webhook_still_waits_for_another() {
        let of_the_ingress = Duration::from_millis(800);
        let options: PgConnectOptions = silent_server().await.parse().unwrap();
        let mut conn = options.connect().await.unwrap();
        let health = Health::default();
        let is_awake = timeout(of_the_ingress, health.is_awake(&mut conn, Duration::from_secs(2))).await;
        assert_eq!(is_awake.ok(), Some(false));
        assert!(!health.trusts(Duration::from_secs(10)), "the other connections are distrusted too");
    }

    /// A proxy that takes the connection, and has no server to pass it on to. Returns its address.
    async fn proxy_without_a_server(reads_first: bool) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                if reads_first {
                    let _ = stream.read(&mut [0; 1024]).await;
                }
            }
        });
        address
    }

    #[tokio::test]
    async fn a_proxy_without_a_database_behind_it_is_called_that() {
        const CONNECTIONS: Connections = Connections {
            application: "test",
            kept: 1,
            max: 1,
            acquire_timeout: Duration::from_secs(5),
            lock_timeout: Duration::from_secs(1),
            statement_timeout: Duration::from_secs(1),
        };
        for reads_first in [true, false] {
            let address = proxy_without_a_server(reads_first).await;
            for mode in ["disable", "prefer", "require"] {
                let url = SecretString::from(format!("postgres://jobrun@{address}/jobrun?sslmode={mode}"));
                let error = connect(&url, CONNECTIONS).await.unwrap_err();
                assert!(error.to_string().contains("a proxy that has no database behind it"), "{mode}: {error}");
                assert!(!error.is_of_the_settings());
            }
        }
    }
}
