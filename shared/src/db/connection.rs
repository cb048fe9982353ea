//! Connections to the database: how they are opened, what is asked of the server, and when they are given up.
//!
//! A server is refused that cannot keep what it is told: a standby, a read-only one, one that acknowledges before the disk has
//! it, or a pooler that drops our settings. A connection whose other end has gone silent looks like one that is waiting, for a
//! quarter of an hour; so one connection asks again and again ([`watch()`]), and when it gets no answer, every connection is
//! given up ([`Health`]). Nothing here knows a table.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::{ConnectError, connect_error, tls};
use crate::config::Secret;

/// How long a database may take to let in a program that starts.
const STARTS_WITHIN: Duration = Duration::from_secs(10);

/// How often a server is asked whether it still answers, and how long it may take to.
pub(crate) const ASKED_EVERY: Duration = Duration::from_secs(1);
pub(crate) const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// A connection that lay idle for longer than this is tried before it is used.
const TRIED_AFTER_IDLE: Duration = Duration::from_secs(1);

/// How long such a connection may take to answer. Less than the ingress waits for a connection (800 ms), so that a webhook that
/// meets a silent one still gets a new one in time.
const WAKES_WITHIN: Duration = Duration::from_millis(500);

/// A connection that is given back in the middle of a statement may take this long to be ready again.
const READY_AGAIN_WITHIN: Duration = Duration::from_secs(60);

/// How often it is said that a server is refused.
const REFUSAL_SAID_EVERY: Duration = Duration::from_secs(5);

/// The connections of a program.
#[derive(Clone, Copy, Debug)]
pub struct Connections {
    /// The program, as `pg_stat_activity` shows it.
    pub application: &'static str,
    /// Opened before anything else happens, and kept open: opening one takes longer than most of what it is used for.
    pub kept: u32,
    /// Never more than this.
    pub max: u32,
    /// How long a connection is waited for.
    pub acquire_timeout: Duration,
    /// How long a statement waits for a lock before it fails with 55P03.
    pub lock_timeout: Duration,
    /// How long a statement may take before the server ends it.
    pub statement_timeout: Duration,
}

/// Settings of the planner. Queries are planned once each, and by an index wherever there is one: what the planner would choose
/// by itself for a table that is empty, it would go on using while the table grows; and compiling a plan takes longer than
/// carrying out any of ours.
const PLANNER: [(&str, &str); 3] =
    [("plan_cache_mode", "force_generic_plan"), ("enable_seqscan", "off"), ("jit", "off")];

/// Settings that end what a program has left behind: a machine that was put to sleep, or vanished, in the middle of a
/// transaction does not keep its locks for ever.
const LEFT_BEHIND: [(&str, &str); 4] = [
    ("idle_in_transaction_session_timeout", "60s"),
    ("tcp_keepalives_idle", "5"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
];

/// Why a server is not used, although it answers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It follows another server.
    #[error("the server is a standby, which takes no writes: connect to the primary")]
    Standby,
    /// It takes no writes.
    #[error("the server takes no writes (transaction_read_only is on): connect to one that does")]
    ReadOnly,
    /// It says that a transaction is kept before it is.
    #[error("synchronous_commit is off, so that what was acknowledged could be lost: set it to on")]
    AsynchronousCommit,
    /// A setting of ours has not arrived.
    #[error(
        "{name} is {actual} although {wanted} was asked for: a connection pooler must pass on the option `options`"
    )]
    OtherSetting {
        /// The setting.
        name: &'static str,
        /// What was asked for.
        wanted: &'static str,
        /// What is in force.
        actual: String,
    },
}

/// Opens connections, and so makes sure that the database answers, and can keep what it is told.
///
/// # Errors
/// When it does not, with its address but never with the password.
pub async fn connect(url: &Secret, connections: Connections) -> Result<PgPool, ConnectError> {
    Ok(connect_watched(url, connections).await?.0)
}

/// As [`connect`], for programs that go on for long: they [`watch()`] the [`Health`] of their connections.
///
/// # Errors
/// As [`connect`].
pub async fn connect_watched(url: &Secret, connections: Connections) -> Result<(PgPool, Health), ConnectError> {
    let options = options(url, connections)?;
    tls::warn_if_unverified(&options);
    let address = connect_error::address_of(&options);
    let unreachable = |error| ConnectError::Unreachable { address: address.clone(), error };
    // The pool would try until its time is up, and then say only that it is.
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

fn options(url: &Secret, connections: Connections) -> Result<PgConnectOptions, ConnectError> {
    let options: PgConnectOptions = url.expose().parse().map_err(ConnectError::Url)?;
    let milliseconds = |timeout: Duration| timeout.as_millis().to_string();
    let timeouts = [
        ("lock_timeout", milliseconds(connections.lock_timeout)),
        ("statement_timeout", milliseconds(connections.statement_timeout)),
    ];
    // A statement that takes long is for the database's own log to show, not for ours.
    let options = options.disable_statement_logging().application_name(connections.application);
    Ok(options.options(PLANNER).options(LEFT_BEHIND).options(timeouts))
}

fn pool(options: PgConnectOptions, connections: Connections, health: &Health) -> PgPool {
    let (opened, acquired, released) = (health.clone(), health.clone(), health.clone());
    PgPoolOptions::new()
        .min_connections(connections.kept)
        .max_connections(connections.max)
        .acquire_timeout(connections.acquire_timeout)
        // Done below, and not each time.
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

/// Returns why the server at the other end is not to be used, if it is not.
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

/// The connections to the database were given up, because the server did not answer any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connections to the database were given up, because the server did not answer any more")]
pub struct ConnectionLost;

/// What a program knows of its connections. Clones share it.
#[derive(Clone, Debug)]
pub struct Health {
    /// Connections opened before then are closed instead of being used.
    distrusted_until: watch::Sender<Option<Instant>>,
    /// When connections were last given up in the middle of what they were used for.
    lost_at: watch::Sender<Option<Instant>>,
    refusal: Arc<Mutex<Refusal>>,
}

/// Why the last server that was tried is not used, and when that was last said.
#[derive(Debug, Default)]
struct Refusal {
    why: Option<Unfit>,
    said_at: Option<Instant>,
}

impl Default for Health {
    fn default() -> Self {
        Self { distrusted_until: watch::Sender::new(None), lost_at: watch::Sender::new(None), refusal: Arc::default() }
    }
}

impl Health {
    /// Closes every connection that is open by now, as soon as it is idle: one of them has shown that its server has changed.
    pub fn distrust(&self) {
        self.distrusted_until.send_replace(Some(Instant::now()));
    }

    /// As [`Health::distrust`], and gives up what connections are used for: their server does not answer any more.
    pub fn lose(&self) {
        self.distrust();
        self.lost_at.send_replace(Some(Instant::now()));
    }

    /// Does `work`, unless connections are given up meanwhile.
    ///
    /// # Errors
    /// [`ConnectionLost`], at once when they are. What `work` had begun may have been done or not.
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

    /// Whether a connection that lay idle still answers. If it does not, the others are not to be relied upon either.
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

    /// Whether a connection that was given back can be used again. It may still be busy with a statement whose result nobody
    /// waits for any more; until it is ready it counts as used, so that what is slow is not asked for again and again.
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

/// Asks the server again and again, over a connection of its own, whether it still answers; and when it does not, gives up all
/// the connections of `pool`. Never ends.
pub async fn watch(pool: PgPool, health: Health) {
    loop {
        let options = pool.connect_options();
        if let Ok(Ok(mut conn)) = timeout(ANSWERS_WITHIN, options.connect()).await {
            while let Ok(Ok(())) = timeout(ANSWERS_WITHIN, conn.ping()).await {
                sleep(ASKED_EVERY).await;
            }
            tracing::warn!("the database does not answer any more: connecting anew");
            health.lose();
            // Not closed with a word, which would wait for the other end.
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

    /// A server that lets everybody in, and then says nothing any more.
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
        assert!(!health.trusts(Duration::from_secs(10)), "nor are the others relied upon");
    }
}
