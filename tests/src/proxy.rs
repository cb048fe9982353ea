//! A proxy in front of PostgreSQL, which can make one statement fail, and can go silent.
//!
//! Messages and their types: "Frontend/Backend Protocol" in PostgreSQL's documentation. Messages of all other statements pass
//! unchanged; only a request for TLS is refused.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use secrecy::{ExposeSecret, SecretString};
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, tcp};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How a statement fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The server refuses it with this SQLSTATE; the connection stays.
    Refused(&'static str),
    /// The server ends the session (57P01), as when it shuts down.
    SessionEnded,
    /// The connection is lost before the statement arrives.
    LostBefore,
    /// The connection is lost after the statement was executed, before its response arrives.
    LostAfter,
}

/// A running proxy. Dropping it ends it and its connections.
#[derive(Debug)]
pub struct Proxy {
    url: SecretString,
    shared: Arc<Mutex<Shared>>,
    silent: watch::Sender<u64>,
    away: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    seen: BTreeSet<String>,
    armed: Option<(String, Failure)>,
    failed: bool,
    turned_away: u64,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Proxy {
    /// Starts a proxy in front of the database at `url`.
    ///
    /// # Panics
    /// When `url` is invalid, or no port is free.
    pub async fn start(url: &SecretString) -> Self {
        let options: PgConnectOptions = url.expose_secret().parse().expect("the address of a database");
        let server = (options.get_host().to_owned(), options.get_port());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Mutex::new(Shared::default()));
        let silent = watch::Sender::new(0);
        let away = watch::Sender::new(false);
        let accepting = tokio::spawn(accept(listener, server, Arc::clone(&shared), silent.clone(), away.clone()));
        let url = SecretString::from(options.host("127.0.0.1").port(port).to_url_lossy().to_string());
        Self { url, shared, silent, away, accepting }
    }

    /// Returns the URL of the database through the proxy.
    #[must_use]
    pub const fn url(&self) -> &SecretString {
        &self.url
    }

    /// Returns the statements that arrived for execution, each once, with single spaces. A COMMIT is followed by the statement
    /// before it: `COMMIT after …`.
    #[must_use]
    pub fn seen(&self) -> BTreeSet<String> {
        lock(&self.shared).seen.clone()
    }

    /// Forgets the statements that [`Proxy::seen`] returns.
    pub fn forget(&self) {
        lock(&self.shared).seen.clear();
    }

    /// Makes the next execution of `statement` fail, and only that one. `statement` is spelled as in [`Proxy::seen`].
    pub fn fail_once(&self, statement: &str, failure: Failure) {
        let mut shared = lock(&self.shared);
        (shared.armed, shared.failed) = (Some((statement.to_owned(), failure)), false);
    }

    /// Whether the failure that was ordered has happened.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        lock(&self.shared).failed
    }

    /// Ends every connection, and from now on each new one at once, or lets connections through again.
    pub fn go_away(&self, is_away: bool) {
        self.away.send_replace(is_away);
    }

    /// Returns how many connections were ended at once.
    #[must_use]
    pub fn turned_away(&self) -> u64 {
        lock(&self.shared).turned_away
    }

    /// From now on, nothing passes through the open connections, and neither end gets an error. New connections work.
    pub fn go_silent(&self) {
        self.silent.send_modify(|times| *times += 1);
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(
    listener: TcpListener,
    server: (String, u16),
    shared: Arc<Mutex<Shared>>,
    silent: watch::Sender<u64>,
    away: watch::Sender<bool>,
) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        if *away.borrow() {
            lock(&shared).turned_away += 1;
            continue;
        }
        let (server, shared, mut silenced) = (server.clone(), Arc::clone(&shared), silent.subscribe());
        let mut away = away.subscribe();
        connections.spawn(async move {
            let Ok(server) = TcpStream::connect(server).await else { return };
            let mut connection = Connection::new(client, server, shared);
            tokio::select! {
                _ = connection.relay() => {}
                // Only `go_away(true)` changes it while connections are open.
                _ = away.changed() => {}
                // The sockets stay open, so that neither end gets an error.
                _ = silenced.changed() => std::future::pending().await,
            }
        });
    }
}

/// One message of the protocol, with its type. The first message of a connection has no type, and is not read as one.
struct Message {
    kind: u8,
    bytes: Vec<u8>,
}

impl Message {
    /// Returns the bytes after type and length.
    fn content(&self) -> &[u8] {
        self.bytes.get(5..).unwrap_or_default()
    }

    /// Returns the strings at the start of the content, each of which ends with a zero byte.
    fn strings(&self) -> impl Iterator<Item = String> {
        self.content().split(|byte| *byte == 0).map(|it| String::from_utf8_lossy(it).into_owned())
    }
}

/// The reading half of one end of a connection, with the bytes read but not yet taken.
struct Source {
    from: tcp::OwnedReadHalf,
    buffer: Vec<u8>,
}

impl Source {
    const fn new(from: tcp::OwnedReadHalf) -> Self {
        Self { from, buffer: Vec::new() }
    }

    /// Returns the next message. Cancel-safe: bytes read before a cancellation stay in the buffer.
    async fn next(&mut self) -> io::Result<Message> {
        let bytes = self.take(1).await?;
        Ok(Message { kind: bytes.first().copied().unwrap_or_default(), bytes })
    }

    /// Returns the next `before` bytes, and the block after them. A block begins with its length, 4 bytes, which counts itself.
    async fn take(&mut self, before: usize) -> io::Result<Vec<u8>> {
        loop {
            let length = self.buffer.get(before..before + 4).and_then(|it| it.try_into().ok()).map(u32::from_be_bytes);
            let end = length.map(|length| before + length as usize);
            if let Some(end) = end.filter(|end| self.buffer.len() >= *end) {
                return Ok(self.buffer.drain(..end).collect());
            }
            if self.from.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

struct Connection {
    from_client: Source,
    to_client: tcp::OwnedWriteHalf,
    from_server: Source,
    to_server: tcp::OwnedWriteHalf,
    shared: Arc<Mutex<Shared>>,
    /// The prepared statements, by name.
    prepared: HashMap<String, String>,
    /// The statement that was executed last.
    last: String,
    /// How many `ReadyForQuery` messages of the server are still to come.
    outstanding: usize,
    /// The transaction status in the last `ReadyForQuery`: `I` (idle), `T` (open) or `E` (failed).
    status: u8,
}

impl Connection {
    fn new(client: TcpStream, server: TcpStream, shared: Arc<Mutex<Shared>>) -> Self {
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        Self {
            from_client: Source::new(from_client),
            to_client,
            from_server: Source::new(from_server),
            to_server,
            shared,
            prepared: HashMap::new(),
            last: String::new(),
            outstanding: 0,
            status: b'I',
        }
    }

    async fn relay(&mut self) -> io::Result<()> {
        self.relay_startup().await?;
        let mut round = Vec::new();
        loop {
            tokio::select! {
                message = self.from_server.next() => self.pass_to_client(&message?).await?,
                message = self.from_client.next() => {
                    let message = message?;
                    let ends = matches!(message.kind, b'S' | b'Q' | b'X' | b'p' | b'H');
                    round.push(message);
                    if ends && self.pass_round(std::mem::take(&mut round)).await?.is_none() {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Passes on the startup message, which has no type. A request for TLS gets `N`, which refuses it.
    async fn relay_startup(&mut self) -> io::Result<()> {
        loop {
            let first = self.from_client.take(0).await?;
            if first.get(4..) == Some(&80_877_103_u32.to_be_bytes()) {
                self.to_client.write_all(b"N").await?;
                continue;
            }
            self.to_server.write_all(&first).await?;
            self.outstanding = 1;
            return Ok(());
        }
    }

    async fn pass_to_client(&mut self, message: &Message) -> io::Result<()> {
        self.note_answer(message);
        self.to_client.write_all(&message.bytes).await
    }

    fn note_answer(&mut self, message: &Message) {
        if message.kind == b'Z' {
            self.outstanding = self.outstanding.saturating_sub(1);
            self.status = message.content().first().copied().unwrap_or(b'I');
        }
    }

    /// Passes on messages, of which the last asks for a response, or makes them fail. Returns `None` if the connection is to end.
    async fn pass_round(&mut self, round: Vec<Message>) -> io::Result<Option<()>> {
        let statement = self.statement_of(&round);
        let failure = statement.as_ref().and_then(|statement| self.failure_of(statement));
        if failure.is_some() {
            // The responses to earlier messages come first.
            while self.outstanding > 0 {
                let message = self.from_server.next().await?;
                self.pass_to_client(&message).await?;
            }
        }
        match failure {
            Some(Failure::LostBefore) => return Ok(None),
            Some(Failure::SessionEnded) => {
                self.to_client.write_all(&error("FATAL", "57P01")).await?;
                return Ok(None);
            }
            Some(Failure::Refused(code)) => {
                self.to_client.write_all(&error("ERROR", code)).await?;
                let status = if self.status == b'I' { b'I' } else { b'E' };
                self.to_client.write_all(&[b'Z', 0, 0, 0, 5, status]).await?;
                return Ok(Some(()));
            }
            Some(Failure::LostAfter) | None => {}
        }
        for message in &round {
            self.to_server.write_all(&message.bytes).await?;
        }
        self.outstanding += usize::from(round.last().is_some_and(|last| matches!(last.kind, b'S' | b'Q')));
        self.last = statement.unwrap_or_else(|| std::mem::take(&mut self.last));
        if failure == Some(Failure::LostAfter) {
            while self.outstanding > 0 {
                let message = self.from_server.next().await?;
                self.note_answer(&message);
            }
            return Ok(None);
        }
        Ok(Some(()))
    }

    /// Returns the statement that the messages execute, if there is one, in the spelling of [`Proxy::seen`].
    fn statement_of(&mut self, round: &[Message]) -> Option<String> {
        let mut statement = None;
        for message in round {
            let mut strings = message.strings();
            match message.kind {
                b'Q' => statement = strings.next(),
                b'P' => {
                    let (name, text) = (strings.next()?, strings.next()?);
                    self.prepared.insert(name, text);
                }
                b'B' => statement = self.prepared.get(&strings.nth(1)?).cloned(),
                _ => {}
            }
        }
        let statement = statement?.split_whitespace().collect::<Vec<_>>().join(" ");
        Some(if statement == "COMMIT" { format!("COMMIT after {}", self.last) } else { statement })
    }

    fn failure_of(&self, statement: &str) -> Option<Failure> {
        let mut shared = lock(&self.shared);
        shared.seen.insert(statement.to_owned());
        let (_, failure) = shared.armed.take_if(|(armed, _)| armed == statement)?;
        shared.failed = true;
        Some(failure)
    }
}

fn error(severity: &str, code: &str) -> Vec<u8> {
    let fields = [(b'S', severity), (b'V', severity), (b'C', code), (b'M', "made to fail by a test")];
    let mut content = Vec::new();
    for (field, value) in fields {
        content.push(field);
        content.extend(value.as_bytes());
        content.push(0);
    }
    content.push(0);
    let length = u32::try_from(content.len() + 4).unwrap_or(u32::MAX);
    [&[b'E'][..], &length.to_be_bytes(), &content].concat()
}
