//! The load generator. It shares the machine with the programs under load, so it does little work: requests are signed and
//! serialised before the clock starts, and each connection sends one request and reads its response before the next.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures::future::try_join_all;
use jobrun::demo::TestSystem;
use jobrun_ingress::twilio::EMPTY_TWIML;
use jobrun_twilio::{signature, webhooks};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// The text that every client sends: the beginning of a conversation.
pub(crate) const BODY: &str = "Plumber from London";

/// How many tasks share the connections.
const TASKS: usize = 4;

/// The longest time that one load may take.
const TIME_MAX: Duration = Duration::from_secs(180);

/// Larger than any response.
const ANSWER_BYTES_MAX: usize = 4096;

const SUCCESS: &[u8] = b"HTTP/1.1 200 ";

/// A request to a webhook, as bytes on the wire.
pub(crate) type Request = Vec<u8>;

/// Returns the address of a test system's ingress.
pub(crate) fn ingress_addr(system: &TestSystem) -> anyhow::Result<SocketAddr> {
    let addr = system.account.webhook_base_url.strip_prefix("http://").context("the ingress listens on plain HTTP")?;
    Ok(addr.parse()?)
}

/// Returns a text from each of `phones`, as a request signed by the test system's account. Each has a SID of its own.
pub(crate) fn texts_from(system: &TestSystem, phones: &[String]) -> Vec<Request> {
    phones.iter().map(|phone| text_from(system, phone)).collect()
}

fn text_from(system: &TestSystem, phone: &str) -> Request {
    let account = &system.account;
    let form = system.stand_in.text_form(phone, &account.onboarding_number, BODY);
    let url = format!("{}{}", account.webhook_base_url, webhooks::SMS);
    let signature = signature::sign(&account.auth_token, &url, &form);
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(&form).finish();
    let host = account.webhook_base_url.trim_start_matches("http://");
    let (path, header, length) = (webhooks::SMS, signature::HEADER, body.len());
    let head = [
        format!("POST {path} HTTP/1.1"),
        format!("host: {host}"),
        "content-type: application/x-www-form-urlencoded; charset=UTF-8".to_owned(),
        format!("{header}: {signature}"),
        format!("content-length: {length}"),
    ];
    format!("{}\r\n\r\n{body}", head.join("\r\n")).into_bytes()
}

/// The result of a load.
pub(crate) struct Sent {
    /// When the first request was sent.
    pub(crate) started: Instant,
    pub(crate) per_second: f64,
    /// How long each request took, shortest first.
    pub(crate) times: Vec<Duration>,
}

/// Requests that several connections share: each takes the next one.
struct Load {
    requests: Vec<Request>,
    next: AtomicUsize,
}

impl Load {
    fn next(&self) -> Option<&Request> {
        self.requests.get(self.next.fetch_add(1, Ordering::Relaxed))
    }
}

/// Sends all of `requests`, the next on each connection as soon as it has the response to the last.
pub(crate) async fn send(addr: SocketAddr, requests: Vec<Request>, connections: usize) -> anyhow::Result<Sent> {
    let mut open = open(addr, connections).await?;
    let load = Arc::new(Load { requests, next: AtomicUsize::new(0) });
    let mut tasks = JoinSet::new();
    let each = connections.div_ceil(TASKS);
    let started = Instant::now();
    while !open.is_empty() {
        let (mine, load) = (open.split_off(open.len().saturating_sub(each)), Arc::clone(&load));
        tasks.spawn(async move { try_join_all(mine.into_iter().map(|stream| converse(stream, &load))).await });
    }
    let mut times = Vec::with_capacity(load.requests.len());
    let finish = async {
        while let Some(done) = tasks.join_next().await {
            times.extend(done??.into_iter().flatten());
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(TIME_MAX, finish).await.context("webhooks are still not answered")??;
    let per_second = times.len() as f64 / started.elapsed().as_secs_f64();
    times.sort_unstable();
    Ok(Sent { started, per_second, times })
}

/// Sends `requests` at a steady pace, over enough connections that no request waits for another.
pub(crate) async fn trickle(addr: SocketAddr, requests: Vec<Request>, per_second: f64) -> anyhow::Result<()> {
    const CONNECTIONS: usize = 32;
    let load = Load { requests, next: AtomicUsize::new(0) };
    let pause = Duration::from_secs_f64(CONNECTIONS as f64 / per_second);
    let began = tokio::time::Instant::now();
    let paced = open(addr, CONNECTIONS).await?.into_iter().zip(0..).map(|(mut stream, place)| {
        let load = &load;
        async move {
            let first = began + pause * place / CONNECTIONS as u32;
            let mut ticks = tokio::time::interval_at(first, pause);
            let mut answer = vec![0; ANSWER_BYTES_MAX];
            while let Some(request) = load.next() {
                ticks.tick().await;
                exchange(&mut stream, request, &mut answer).await?;
            }
            anyhow::Ok(())
        }
    });
    try_join_all(paced).await?;
    Ok(())
}

/// A connection that sends one request at a time.
pub(crate) struct Caller {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Caller {
    pub(crate) async fn connect(addr: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self { stream: connect(addr).await?, answer: vec![0; ANSWER_BYTES_MAX] })
    }

    pub(crate) async fn send(&mut self, request: &Request) -> anyhow::Result<()> {
        exchange(&mut self.stream, request, &mut self.answer).await
    }
}

async fn open(addr: SocketAddr, connections: usize) -> anyhow::Result<Vec<TcpStream>> {
    let mut open = Vec::with_capacity(connections);
    for _ in 0..connections {
        open.push(connect(addr).await?);
    }
    Ok(open)
}

async fn connect(addr: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(addr).await.with_context(|| format!("connecting to {addr}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn converse(mut stream: TcpStream, load: &Load) -> anyhow::Result<Vec<Duration>> {
    let mut answer = vec![0; ANSWER_BYTES_MAX];
    let mut times = Vec::new();
    while let Some(request) = load.next() {
        let sent = Instant::now();
        exchange(&mut stream, request, &mut answer).await?;
        times.push(sent.elapsed());
    }
    Ok(times)
}

/// Sends one request, and reads its response to the end.
async fn exchange(stream: &mut TcpStream, request: &Request, answer: &mut [u8]) -> anyhow::Result<()> {
    stream.write_all(request).await?;
    let mut length = 0;
    loop {
        let read = stream.read(&mut answer[length..]).await?;
        ensure!(read > 0, "a connection was closed before its webhook was answered");
        length += read;
        let so_far = &answer[..length];
        if length >= SUCCESS.len() && !so_far.starts_with(SUCCESS) {
            let status = String::from_utf8_lossy(so_far).lines().next().unwrap_or_default().to_owned();
            anyhow::bail!("a webhook was answered {status}");
        }
        if so_far.ends_with(EMPTY_TWIML.as_bytes()) {
            return Ok(());
        }
        ensure!(length < answer.len(), "a webhook's answer does not end as it should");
    }
}
