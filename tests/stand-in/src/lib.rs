//! A stand-in for Twilio and Stripe, for demonstrations and tests.
//!
//! It serves Twilio's REST API for messages, numbers and recordings, sends signed webhooks and delivery reports, and places calls.
//! It takes payments, sends signed events about them as Stripe does (`stripe.rs`), and lists them (`stripe_api.rs`).
//! Given a file, it keeps its state over a restart (`state_file.rs`).
//!
//! People use it in a browser (`phones/`) or with curl (`control.rs`); tests call its methods. It must never be more
//! lenient than Twilio, and it misbehaves as Twilio can, on command or at random (`faults.rs`).

mod api;

mod checkout;

mod connection;

mod control;

mod faults;

mod state_file;

mod listing;

mod market;

mod message;

mod numbers;

mod phones;

mod recordings;

pub mod stripe;

pub mod stripe_api;

mod system;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use jobrun_onboarding::segments::segments;
use jobrun_twilio::signature::{self, Form};
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;

use connection::{Connection, Connections};
use faults::Faults;
use phones::{Change, Phones};
use state_file::StateFile;

pub use faults::{DeliveryOutcome, Fault, Misbehaviour, Reports};
pub use market::Offer;
pub use message::{Direction, Message, MessageStatus};
pub use numbers::Number;
pub use recordings::{Left, Recording};
pub use system::{Done, System};

/// The account that the stand-in plays, and the address of its webhooks.
#[derive(Clone, Debug)]
pub struct Account {
    /// The account's SID.
    pub sid: String,
    /// The auth token, which authorises requests and signs webhooks.
    pub auth_token: SecretString,
    /// The secret of Stripe's webhook endpoint, which signs events.
    pub stripe_secret: SecretString,
    /// The key of Stripe's API.
    pub stripe_api_key: SecretString,
    /// The number that clients text, E.164.
    pub onboarding_number: String,
    /// The base URL that webhooks are signed for and sent to.
    pub webhook_base_url: String,
    /// Whether delivery reports are sent.
    pub delivery_reports: bool,
}

/// A running stand-in. It stops when dropped.
#[derive(Debug)]
pub struct StandIn {
    addr: SocketAddr,
    state: Arc<State>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    account: Account,
    http: reqwest::Client,
    messages: Mutex<Vec<Message>>,
    /// How many of the messages are outbound.
    taken: AtomicUsize,
    numbers: Mutex<Vec<Number>>,
    recordings: Mutex<Vec<Recording>>,
    sales: Mutex<stripe::Sales>,
    stripe_log: Mutex<stripe_api::Log>,
    phones: Mutex<Phones>,
    /// Tells open pages what to load again.
    changes: broadcast::Sender<Change>,
    system: OnceLock<Arc<dyn System>>,
    market: Mutex<Vec<Offer>>,
    state_file: Option<StateFile>,
    /// A random number and a counter. Together they make SIDs unique, over restarts as well.
    sids: (u64, AtomicU64),
    answer_after_ms: AtomicU64,
    faults: Faults,
}

/// The response to a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The Content-Type.
    pub content_type: String,
    /// The body.
    pub body: String,
}

impl Answer {
    async fn of(response: reqwest::Response) -> Result<Self, Undelivered> {
        let content_type = response.headers().get("content-type").and_then(|value| value.to_str().ok());
        Ok(Self {
            status: response.status().as_u16(),
            content_type: content_type.unwrap_or_default().to_owned(),
            body: response.text().await?,
        })
    }
}

/// The error of a webhook that could not be delivered.
pub type Undelivered = reqwest::Error;

impl StandIn {
    /// Starts a stand-in on `listener`. Its state is lost when it stops.
    ///
    /// # Panics
    /// When the listener has no address, or no HTTP client can be made.
    #[must_use]
    pub fn start(listener: TcpListener, account: Account) -> Self {
        Self::serve(listener, State::new(account, None))
    }

    /// Starts a stand-in on `listener`, with the state that the last one wrote to `file`.
    ///
    /// # Errors
    /// When the file cannot be read or written, or a complete line of it cannot be parsed.
    ///
    /// # Panics
    /// As [`StandIn::start`].
    pub fn start_with_file(listener: TcpListener, account: Account, file: &Path) -> io::Result<Self> {
        let (state_file, entries) = StateFile::open(file)?;
        let state = State::new(account, Some(state_file));
        entries.into_iter().for_each(|entry| state.restore(entry));
        Ok(Self::serve(listener, state))
    }

    #[expect(clippy::expect_used, reason = "without a listener there is nothing to stand in with")]
    fn serve(listener: TcpListener, state: State) -> Self {
        let state = Arc::new(state);
        let addr = listener.local_addr().expect("a listener has an address");
        let router = api::router()
            .merge(numbers::router())
            .merge(market::router())
            .merge(recordings::router())
            .merge(control::router())
            .merge(stripe::router())
            .merge(stripe_api::router())
            .merge(phones::guarded(phones::router().merge(checkout::router())))
            .with_state(Arc::clone(&state));
        let service = router.into_make_service_with_connect_info::<Connection>();
        let server = tokio::spawn(async move {
            // It serves until the process ends or the stand-in is dropped.
            let _ = axum::serve(Connections(listener), service).await;
        });
        Self { addr, state, server }
    }

    /// Returns the account that the stand-in plays.
    #[must_use]
    pub fn account(&self) -> &Account {
        &self.state.account
    }

    /// Returns the base URL of the REST API.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Returns every outbound message, in the order in which they were accepted.
    #[must_use]
    pub fn messages(&self) -> Vec<Message> {
        self.state.messages().iter().filter(|message| message.direction == Direction::Outbound).cloned().collect()
    }

    /// Returns how many outbound messages there are. Cheaper than [`StandIn::messages`] for polling.
    #[must_use]
    pub fn message_count(&self) -> usize {
        self.state.taken.load(Ordering::Acquire)
    }

    /// Returns the bodies of the messages sent to `phone` (E.164), in order.
    #[must_use]
    pub fn bodies_to(&self, phone: &str) -> Vec<String> {
        let messages = self.state.messages();
        let sent = messages.iter().filter(|it| it.direction == Direction::Outbound && it.to == phone);
        sent.map(|message| message.body.clone()).collect()
    }

    /// From now on, a message is accepted at once, and its response is sent after `delay`. A caller with a shorter timeout
    /// does not learn that its message was accepted.
    pub fn answer_after(&self, delay: Duration) {
        self.state.answer_after_ms.store(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Queues a fault. Each message to come takes the oldest fault of the queue.
    pub fn fail_next(&self, fault: Fault) {
        self.state.faults.orders().next.push_back(fault);
    }

    /// Queues a fault of purchases. Each purchase of a number to come takes the oldest fault of the queue.
    pub fn fail_next_purchase(&self, fault: Fault) {
        self.state.faults.orders().purchases.push_back(fault);
    }

    /// From now on, every request of the REST API gets this fault, or none. Lists and fetches are included, updates of numbers
    /// are not. Queued faults come first.
    pub fn always(&self, fault: Option<Fault>) {
        self.state.faults.orders().always = fault;
    }

    /// From now on, messages have this delivery outcome.
    pub fn set_delivery_outcome(&self, outcome: DeliveryOutcome) {
        self.state.faults.orders().outcome = Some(outcome);
    }

    /// From now on, delivery reports are sent in this way.
    pub fn reports(&self, reports: Reports) {
        self.state.faults.orders().reports = Some(reports);
    }

    /// From now on, requests and messages misbehave at random unless something was ordered for them. 0 percent ends that.
    pub fn misbehave(&self, misbehaviour: Misbehaviour) {
        self.state.faults.orders().misbehaviour = Some(misbehaviour);
    }

    /// Returns how many requests got the fault of this name, such as `401` or `500-after`.
    #[must_use]
    pub fn count(&self, fault: &str) -> u64 {
        self.state.faults.orders().counts.get(fault).copied().unwrap_or_default()
    }

    /// Returns how many requests got each fault, by its name.
    #[must_use]
    pub fn refusals(&self) -> BTreeMap<String, u64> {
        self.state.faults.orders().counts.clone()
    }

    /// Sends a text to the onboarding number. The account keeps the text even if its webhook cannot be delivered.
    ///
    /// # Errors
    /// When the webhook cannot be delivered.
    pub async fn text(&self, from: &str, body: &str) -> Result<Answer, Undelivered> {
        self.state.text(from, &self.state.account.onboarding_number, body).await
    }

    /// Sends a text to `to`, a number of the account. The account keeps it even if its webhook cannot be delivered.
    ///
    /// # Errors
    /// When the webhook cannot be delivered.
    pub async fn text_to(&self, from: &str, to: &str, body: &str) -> Result<Answer, Undelivered> {
        self.state.text(from, to, body).await
    }

    /// Places a call that arrives, is answered, and ends. Returns the responses to its two webhooks.
    ///
    /// # Errors
    /// When a webhook cannot be delivered.
    pub async fn call(&self, from: &str, to: &str) -> Result<(Answer, Answer), Undelivered> {
        self.state.call(from, to).await
    }

    /// Returns the form of a text, as Twilio posts it.
    #[must_use]
    pub fn text_form(&self, from: &str, to: &str, body: &str) -> Form {
        self.state.text_form(&self.new_sid("SM"), from, to, body)
    }

    /// Returns the form of a call with the `CallStatus` given, as Twilio posts it.
    #[must_use]
    pub fn call_form(&self, sid: &str, from: &str, to: &str, status: &str) -> Form {
        self.state.call_form(sid, from, to, status)
    }

    /// Posts a signed form to a path below the base URL of the webhooks, once.
    ///
    /// # Errors
    /// When the form cannot be delivered.
    pub async fn post(&self, path: &str, form: &Form) -> Result<Answer, Undelivered> {
        self.state.post(&format!("{}{path}", self.state.account.webhook_base_url), form).await
    }

    /// Returns a SID that no message or call has had.
    #[must_use]
    pub fn new_sid(&self, prefix: &str) -> String {
        self.state.new_sid(prefix)
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl State {
    #[expect(clippy::expect_used, reason = "without a client or random numbers there is nothing to stand in with")]
    fn new(account: Account, state_file: Option<StateFile>) -> Self {
        jobrun_twilio::api::use_tls_provider();
        let http = reqwest::Client::builder().timeout(Duration::from_secs(15)).build().expect("an HTTP client");
        let mut random = [0; 8];
        File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut random)).expect("random numbers");
        Self {
            account,
            http,
            messages: Mutex::default(),
            taken: AtomicUsize::new(0),
            numbers: Mutex::default(),
            recordings: Mutex::default(),
            sales: Mutex::default(),
            stripe_log: Mutex::default(),
            phones: Mutex::default(),
            changes: broadcast::Sender::new(phones::CHANGES_KEPT),
            system: OnceLock::new(),
            market: Mutex::new(market::fresh_numbers()),
            state_file,
            sids: (u64::from_be_bytes(random), AtomicU64::new(0)),
            answer_after_ms: AtomicU64::new(0),
            faults: Faults::default(),
        }
    }

    fn messages(&self) -> std::sync::MutexGuard<'_, Vec<Message>> {
        self.messages.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn sales(&self) -> std::sync::MutexGuard<'_, stripe::Sales> {
        self.sales.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Returns two letters and 32 hexadecimal digits, the format of Twilio's SIDs.
    fn new_sid(&self, prefix: &str) -> String {
        let (random, next) = &self.sids;
        format!("{prefix}{:016x}{random:016x}", scattered(next.fetch_add(1, Ordering::Relaxed)))
    }

    fn text_form(&self, sid: &str, from: &str, to: &str, body: &str) -> Form {
        form(&[
            ("ToCountry", "GB"),
            ("SmsMessageSid", sid),
            ("NumMedia", "0"),
            ("FromCity", ""),
            ("SmsSid", sid),
            ("SmsStatus", "received"),
            ("Body", body),
            ("To", to),
            ("NumSegments", &segments(body).count.to_string()),
            ("MessageSid", sid),
            ("AccountSid", &self.account.sid),
            ("From", from),
            ("ApiVersion", "2010-04-01"),
        ])
    }

    async fn text(&self, from: &str, to: &str, body: &str) -> Result<Answer, Undelivered> {
        let url = format!("{}/webhooks/twilio/sms", self.account.webhook_base_url);
        let sid = self.new_sid("SM");
        self.add_message(Message::received(&sid, from, to, body));
        let answer = self.deliver(&url, &self.text_form(&sid, from, to, body)).await;
        self.record_end(&sid, from, &answer);
        answer
    }

    fn call_form(&self, sid: &str, from: &str, to: &str, status: &str) -> Form {
        form(&[
            ("CallSid", sid),
            ("AccountSid", &self.account.sid),
            ("From", from),
            ("To", to),
            ("Caller", from),
            ("Called", to),
            ("CallStatus", status),
            ("Direction", "inbound"),
            ("ApiVersion", "2010-04-01"),
        ])
    }

    async fn call(&self, from: &str, to: &str) -> Result<(Answer, Answer), Undelivered> {
        let (base, sid) = (&self.account.webhook_base_url, self.new_sid("CA"));
        let arrived = self.call_form(&sid, from, to, "ringing");
        let arrived = self.deliver(&format!("{base}/webhooks/twilio/voice"), &arrived).await?;
        let ended = self.call_form(&sid, from, to, "completed");
        let ended = self.deliver(&format!("{base}/webhooks/twilio/voice/status"), &ended).await?;
        Ok((arrived, ended))
    }

    /// Posts a form, with up to 5 retries, as the fragment `#rc=5&rp=ct,rt,5xx` of a webhook's address asks Twilio to.
    async fn deliver(&self, url: &str, form: &Form) -> Result<Answer, Undelivered> {
        let mut retries = 5;
        loop {
            let answer = self.post(url, form).await;
            if retries == 0 || answer.as_ref().is_ok_and(|answer| answer.status < 500) {
                return answer;
            }
            retries -= 1;
        }
    }

    async fn post(&self, url: &str, form: &Form) -> Result<Answer, Undelivered> {
        // The fragment is meant for Twilio itself: it is neither sent nor signed.
        let url = url.split('#').next().unwrap_or_default();
        let signature = signature::sign(&self.account.auth_token, url, form);
        let request = self.http.post(url).header(signature::HEADER, signature).form(form);
        Answer::of(request.send().await?).await
    }
}

/// Returns a number of its own for each `n`, and distant numbers for consecutive ones: Twilio's SIDs are random, so an index of
/// them grows everywhere.
const fn scattered(n: u64) -> u64 {
    // Every odd factor makes a bijection. This one, 2^64 divided by the golden ratio, keeps the numbers evenly spread.
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn form(pairs: &[(&str, &str)]) -> Form {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}
