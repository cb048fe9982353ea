//! Extractors of signed requests: a handler that takes one runs only for a request that Twilio or Stripe signed.
//!
//! Twilio signs the address: `PUBLIC_BASE_URL` with the path and the query as they came in. Nothing else that a request says about
//! itself is trusted: neither its `Host`, nor the header that names an algorithm.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri, header};
use jobrun_shared::clock;
use jobrun_shared::config::{self, SignatureMode};
use jobrun_stripe::event::Incoming;
use jobrun_twilio::signature::{self, Content, Form, SignatureError, SignedDigest};
use tokio::time::Instant;

use crate::body::Room;
use crate::form;
use crate::refusal_log::{self, Kind};
use crate::rejection::Rejection;
use crate::state::AppState;

/// The number of webhooks that were let in since this process started although their signature did not match.
static LET_IN: AtomicU64 = AtomicU64::new(0);

/// The largest form, in bytes. Twilio's largest is a text of 1600 characters with its parameters.
const FORM_BYTES_MAX: usize = 64 * 1024;

/// The largest event of Stripe's, in bytes: an invoice with all its lines can be long.
const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// Room for unverified forms that are arriving, and apart from it for events of Stripe's, so that neither keeps the other out.
static FORMS: Room = Room::new(FORM_BYTES_MAX, 8 * 1024 * 1024);
static STRIPE_EVENTS: Room = Room::new(EVENT_BYTES_MAX, 16 * 1024 * 1024);

/// A webhook that Twilio signed.
#[derive(Clone, Debug)]
pub(crate) struct SignedForm {
    /// When its head arrived.
    pub(crate) arrived_at: Instant,
    /// The path and the query, as they came in.
    pub(crate) uri: Uri,
    /// Its parameters: no name occurs twice, and the account is ours.
    pub(crate) form: Form,
    /// The digest of the signed content, without the boundaries between parameters.
    pub(crate) digest: SignedDigest,
    /// The length of its body, in bytes.
    pub(crate) bytes: usize,
}

impl FromRequest<AppState> for SignedForm {
    type Rejection = Rejection;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Rejection> {
        let arrived_at = Instant::now();
        let (head, body) = request.into_parts();
        ensure_twilio_may_be_it(&state.twilio, &head.headers)?;
        let body = FORMS.read(body, head.extensions.get()).await?;
        let Verified { form, digest } = verify_form(&state.twilio, &head.uri, &head.headers, &body.bytes)?;
        Ok(Self { arrived_at, uri: head.uri, form, digest, bytes: body.bytes.len() })
    }
}

/// A webhook that Stripe signed.
#[derive(Debug)]
pub(crate) struct SignedEvent {
    /// The event; nothing for a thin event, to which we do not subscribe.
    pub(crate) event: Option<Incoming>,
    /// The length of its body, in bytes.
    pub(crate) bytes: usize,
}

impl FromRequest<AppState> for SignedEvent {
    type Rejection = Rejection;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Rejection> {
        let (head, body) = request.into_parts();
        ensure_stripe_may_be_it(&state.stripe, &head.headers)?;
        let body = STRIPE_EVENTS.read(body, head.extensions.get()).await?;
        let event = verify_event(&state.stripe, &head.headers, &body.bytes)?;
        Ok(Self { event, bytes: body.bytes.len() })
    }
}

/// The parameters of a form that Twilio signed.
#[derive(Clone, Debug)]
pub struct Verified {
    /// No name occurs twice, and the account is ours.
    pub form: Form,
    /// The digest of the signed content, without the boundaries between parameters.
    pub digest: SignedDigest,
}

/// The parameters that an error may name. Other names may hold anything.
const KNOWN: [&str; 14] = [
    "AccountSid",
    "ApiVersion",
    "Body",
    "CallSid",
    "CallStatus",
    "ErrorCode",
    "From",
    "MessageSid",
    "MessageStatus",
    "NumMedia",
    "OptOutType",
    "SmsSid",
    "SmsStatus",
    "To",
];

/// Refuses a request that cannot be Twilio's, before its body is read.
///
/// # Errors
/// [`Rejection::BadSignature`], if it has no signature and signatures are enforced.
fn ensure_twilio_may_be_it(account: &config::Twilio, headers: &HeaderMap) -> Result<(), Rejection> {
    match account.signature_mode {
        SignatureMode::Enforce if !headers.contains_key(signature::HEADER) => {
            Err(Rejection::BadSignature(SignatureError::Missing))
        }
        SignatureMode::Enforce | SignatureMode::Report => Ok(()),
    }
}

/// Refuses a request that cannot be Stripe's, before its body is read.
///
/// # Errors
/// [`Rejection::NoSecret`], or [`Rejection::NotSignedByStripe`], if it has no signature.
fn ensure_stripe_may_be_it(account: &config::Stripe, headers: &HeaderMap) -> Result<(), Rejection> {
    if account.webhook_secrets.is_empty() {
        return Err(Rejection::NoSecret);
    }
    if !headers.contains_key(jobrun_stripe::signature::HEADER) {
        return Err(Rejection::NotSignedByStripe(jobrun_stripe::signature::SignatureError::Missing));
    }
    Ok(())
}

/// Returns the form if Twilio signed it, for the public address at which it reached us. In report mode a signature that does not
/// match is only logged. An invalid UTF-8 sequence affects only itself, because the signature is over bytes.
///
/// # Errors
/// [`Rejection::NotAForm`], [`Rejection::BadSignature`], [`Rejection::Repeated`], [`Rejection::Missing`], or
/// [`Rejection::OtherAccount`].
pub fn verify_form(
    account: &config::Twilio,
    uri: &Uri,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Verified, Rejection> {
    if is_json(headers) {
        ensure_signed(account, uri, headers, Content::Json(body))?;
        return Err(Rejection::NotAForm);
    }
    let raw = form::parse(body);
    ensure_signed(account, uri, headers, Content::Raw(&raw))?;
    let digest = signature::digest(path_and_query(uri), Content::Raw(&raw));
    let form = form::as_text(raw);
    if let Some(name) = form::repeated(&form) {
        return Err(Rejection::Repeated(KNOWN.into_iter().find(|known| *known == name)));
    }
    match form::get(&form, "AccountSid") {
        None => Err(Rejection::Missing("AccountSid")),
        Some(sid) if sid != account.account.sid => Err(Rejection::OtherAccount),
        Some(_) => Ok(Verified { form, digest }),
    }
}

/// Returns the event if Stripe signed it recently, and in our mode. Returns nothing for a thin event, to which we do not subscribe.
///
/// # Errors
/// [`Rejection::NoSecret`], [`Rejection::NotSignedByStripe`], [`Rejection::NotAnEvent`], or [`Rejection::OtherMode`].
fn verify_event(account: &config::Stripe, headers: &HeaderMap, body: &[u8]) -> Result<Option<Incoming>, Rejection> {
    if account.webhook_secrets.is_empty() {
        return Err(Rejection::NoSecret);
    }
    let signature = text(headers, HeaderName::from_static(jobrun_stripe::signature::HEADER));
    jobrun_stripe::signature::verify(&account.webhook_secrets, signature, body, clock::now())
        .map_err(Rejection::NotSignedByStripe)?;
    match jobrun_stripe::event::read(body).map_err(Rejection::NotAnEvent)? {
        jobrun_stripe::event::Body::Thin => Ok(None),
        jobrun_stripe::event::Body::Event(event) if event.livemode == account.livemode => Ok(Some(event)),
        jobrun_stripe::event::Body::Event(event) => Err(Rejection::OtherMode { livemode: event.livemode }),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let essence = text(headers, header::CONTENT_TYPE).and_then(|value| value.split(';').next());
    essence.is_some_and(|it| it.trim().eq_ignore_ascii_case("application/json"))
}

fn ensure_signed(
    account: &config::Twilio,
    uri: &Uri,
    headers: &HeaderMap,
    content: Content<'_>,
) -> Result<(), Rejection> {
    let keys = &account.webhook_keys;
    let url = format!("{}{}", account.account.public_base_url, path_and_query(uri));
    let signature = text(headers, HeaderName::from_static(signature::HEADER));
    if signature.is_some_and(|signature| signature::is_valid(keys, &url, content, signature)) {
        return Ok(());
    }
    let why = signature::signature_error(keys, &url, content, signature, text(headers, header::HOST));
    match account.signature_mode {
        SignatureMode::Enforce => Err(Rejection::BadSignature(why)),
        SignatureMode::Report => {
            let mismatches = LET_IN.fetch_add(1, Ordering::Relaxed) + 1;
            let path = uri.path();
            let kind = Kind { path: path.to_owned(), status: StatusCode::OK, why: why.to_string() };
            if refusal_log::is_to_be_told(&kind) {
                tracing::warn!(path, why = %why, mismatches, "a webhook was let in although its signature does not match");
            }
            Ok(())
        }
    }
}

fn path_and_query(uri: &Uri) -> &str {
    uri.path_and_query().map_or("/", |it| it.as_str())
}

/// Returns the value of a header. A value that is not text counts as empty.
fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).map(|value| value.to_str().unwrap_or_default())
}
