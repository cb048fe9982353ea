//! Extractors of signed requests: a handler that takes one runs only for a request that Twilio or Stripe signed.
//!
//! Twilio signs the address: `PUBLIC_BASE_URL` with the path and the query as they arrived. Nothing else that a request says
//! about itself is ever trusted: neither its `Host`, nor the header that names an algorithm.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri, header};
use jobrun_shared::clock;
use jobrun_shared::config::{self, SignatureMode};
use jobrun_shared::metrics;
use jobrun_stripe::event::Incoming;
use jobrun_twilio::signature::{self, Content, Form, SignatureError, SignedDigest};
use tokio::time::Instant;

use crate::body::BodyBudget;
use crate::form;
use crate::refusal_log::{self, RefusalKind};
use crate::rejection::Rejection;
use crate::state::AppState;

/// The number of webhooks that report mode accepted since this process started although their signature did not match.
static ACCEPTED_MISMATCHES: AtomicU64 = AtomicU64::new(0);

/// The largest form, in bytes. Twilio's largest is a text of 1600 characters with its parameters.
const FORM_BYTES_MAX: usize = 64 * 1024;

/// The largest event of Stripe's, in bytes: an invoice with all its lines can be long.
const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// The budgets for unverified bodies. Twilio and Stripe have one each, so that neither keeps the other out.
static TWILIO_BODIES: BodyBudget = BodyBudget::new(FORM_BYTES_MAX, 8 * 1024 * 1024);
static STRIPE_BODIES: BodyBudget = BodyBudget::new(EVENT_BYTES_MAX, 16 * 1024 * 1024);

/// A webhook that Twilio signed.
#[derive(Clone, Debug)]
pub(crate) struct SignedForm {
    /// When its head arrived.
    pub(crate) arrived_at: Instant,
    /// The path and the query, as they arrived.
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
        ensure_twilio_signature_present(&state.twilio, &head.headers)?;
        let body = TWILIO_BODIES.read(body, head.extensions.get()).await?;
        let VerifiedForm { form, digest } = verify_form(&state.twilio, &head.uri, &head.headers, &body.bytes)?;
        Ok(Self { arrived_at, uri: head.uri, form, digest, bytes: body.bytes.len() })
    }
}

/// A webhook that Stripe signed.
#[derive(Debug)]
pub(crate) struct SignedEvent {
    /// When its head arrived.
    pub(crate) arrived_at: Instant,
    /// The event; `None` for a thin event, to which we do not subscribe.
    pub(crate) event: Option<Incoming>,
    /// The length of its body, in bytes.
    pub(crate) bytes: usize,
}

impl FromRequest<AppState> for SignedEvent {
    type Rejection = Rejection;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Rejection> {
        let arrived_at = Instant::now();
        let (head, body) = request.into_parts();
        ensure_stripe_signature_present(&state.stripe, &head.headers)?;
        let body = STRIPE_BODIES.read(body, head.extensions.get()).await?;
        let event = verify_event(&state.stripe, &head.headers, &body.bytes)?;
        Ok(Self { arrived_at, event, bytes: body.bytes.len() })
    }
}

/// The parameters of a form that Twilio signed.
#[derive(Clone, Debug)]
pub struct VerifiedForm {
    /// No name occurs twice, and the account is ours.
    pub form: Form,
    /// The digest of the signed content, without the boundaries between parameters.
    pub digest: SignedDigest,
}

/// The parameters that an error may name. Other names may contain anything.
const KNOWN_PARAMETERS: [&str; 16] = [
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
    "RecordingSid",
    "RecordingStatus",
    "SmsSid",
    "SmsStatus",
    "To",
];

/// Refuses a request that cannot be Twilio's, before its body is read.
///
/// # Errors
/// [`Rejection::BadTwilioSignature`], if it has no signature and signatures are enforced.
fn ensure_twilio_signature_present(settings: &config::Twilio, headers: &HeaderMap) -> Result<(), Rejection> {
    match settings.signature_mode {
        SignatureMode::Enforce if !headers.contains_key(signature::HEADER) => {
            metrics::signature_failure("twilio", SignatureError::Missing.name());
            Err(Rejection::BadTwilioSignature(SignatureError::Missing))
        }
        SignatureMode::Enforce | SignatureMode::Report => Ok(()),
    }
}

/// Refuses a request that cannot be Stripe's, before its body is read.
///
/// # Errors
/// [`Rejection::NoStripeSecret`], or [`Rejection::BadStripeSignature`], if it has no signature.
fn ensure_stripe_signature_present(settings: &config::Stripe, headers: &HeaderMap) -> Result<(), Rejection> {
    if settings.webhook_secrets.is_empty() {
        return Err(Rejection::NoStripeSecret);
    }
    if !headers.contains_key(jobrun_stripe::signature::HEADER) {
        let missing = jobrun_stripe::signature::SignatureError::Missing;
        metrics::signature_failure("stripe", missing.name());
        return Err(Rejection::BadStripeSignature(missing));
    }
    Ok(())
}

/// Returns the form if Twilio signed it, for the public address that it was sent to. In report mode a signature that does not
/// match is only logged. The signature is over bytes, so it also covers invalid UTF-8.
///
/// # Errors
/// [`Rejection::NotAForm`], [`Rejection::BadTwilioSignature`], [`Rejection::RepeatedParameter`],
/// [`Rejection::MissingParameter`], or [`Rejection::WrongAccount`].
pub fn verify_form(
    settings: &config::Twilio,
    uri: &Uri,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<VerifiedForm, Rejection> {
    if is_json(headers) {
        ensure_signed_by_twilio(settings, uri, headers, Content::Json(body))?;
        return Err(Rejection::NotAForm);
    }
    let raw = form::parse(body);
    ensure_signed_by_twilio(settings, uri, headers, Content::Raw(&raw))?;
    let digest = signature::digest(path_and_query(uri), Content::Raw(&raw));
    let form = form::into_text(raw);
    if let Some(name) = form::repeated_name(&form) {
        return Err(Rejection::RepeatedParameter(KNOWN_PARAMETERS.into_iter().find(|known| *known == name)));
    }
    match form::get(&form, "AccountSid") {
        None => Err(Rejection::MissingParameter("AccountSid")),
        Some(sid) if sid != settings.account.sid => Err(Rejection::WrongAccount),
        Some(_) => Ok(VerifiedForm { form, digest }),
    }
}

/// Returns the event if Stripe signed it recently, and in our mode. Returns `None` for a thin event: we subscribe to none.
///
/// # Errors
/// [`Rejection::NoStripeSecret`], [`Rejection::BadStripeSignature`], [`Rejection::NotAnEvent`], or [`Rejection::WrongMode`].
fn verify_event(settings: &config::Stripe, headers: &HeaderMap, body: &[u8]) -> Result<Option<Incoming>, Rejection> {
    if settings.webhook_secrets.is_empty() {
        return Err(Rejection::NoStripeSecret);
    }
    let signature = header_text(headers, HeaderName::from_static(jobrun_stripe::signature::HEADER));
    jobrun_stripe::signature::verify(&settings.webhook_secrets, signature, body, clock::now())
        .inspect_err(|why| metrics::signature_failure("stripe", why.name()))
        .map_err(Rejection::BadStripeSignature)?;
    match jobrun_stripe::event::read(body).map_err(Rejection::NotAnEvent)? {
        jobrun_stripe::event::Body::Thin => Ok(None),
        jobrun_stripe::event::Body::Event(event) if event.livemode == settings.livemode => Ok(Some(event)),
        jobrun_stripe::event::Body::Event(event) => Err(Rejection::WrongMode { livemode: event.livemode }),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let essence = header_text(headers, header::CONTENT_TYPE).and_then(|value| value.split(';').next());
    essence.is_some_and(|it| it.trim().eq_ignore_ascii_case("application/json"))
}

fn ensure_signed_by_twilio(
    settings: &config::Twilio,
    uri: &Uri,
    headers: &HeaderMap,
    content: Content<'_>,
) -> Result<(), Rejection> {
    let keys = &settings.webhook_keys;
    let url = format!("{}{}", settings.account.public_base_url, path_and_query(uri));
    let signature = header_text(headers, HeaderName::from_static(signature::HEADER));
    if signature.is_some_and(|signature| signature::is_valid(keys, &url, content, signature)) {
        return Ok(());
    }
    let why = signature::signature_error(keys, &url, content, signature, header_text(headers, header::HOST));
    metrics::signature_failure("twilio", why.name());
    match settings.signature_mode {
        SignatureMode::Enforce => Err(Rejection::BadTwilioSignature(why)),
        SignatureMode::Report => {
            let mismatches = ACCEPTED_MISMATCHES.fetch_add(1, Ordering::Relaxed) + 1;
            let path = uri.path();
            let kind = RefusalKind { path: path.to_owned(), status: StatusCode::OK, why: why.to_string() };
            if refusal_log::should_log(&kind) {
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
fn header_text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).map(|value| value.to_str().unwrap_or_default())
}
