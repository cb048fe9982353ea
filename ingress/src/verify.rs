//! Whether a webhook is Twilio's, or Stripe's.
//!
//! With Twilio, the address that was signed is `PUBLIC_BASE_URL` with the path and the query as they came in. Nothing else that
//! a request says of itself is believed: neither its `Host`, nor the header that names an algorithm.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri, header};
use jobrun_shared::config::{self, SignatureMode};
use jobrun_shared::stripe::event::Incoming;
use jobrun_shared::twilio::signature::{self, Content, Form, SignedDigest, WhyNot};
use jobrun_shared::{clock, stripe};

use crate::form;
use crate::refusals::{self, Kind};
use crate::rejection::Rejection;

/// How many webhooks were let in since this process started although their signature did not match.
static LET_IN: AtomicU64 = AtomicU64::new(0);

/// A form that Twilio signed.
#[derive(Clone, Debug)]
pub struct SignedForm {
    /// Its parameters: none of them twice, and the account is ours.
    pub form: Form,
    /// What the signature covers, where its boundaries are not.
    pub digest: SignedDigest,
}

/// The parameters that are named when something is wrong with them. Other names may hold anything.
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

/// Refuses a request that cannot be Twilio's, before anything is made of its body.
///
/// # Errors
/// [`Rejection::BadSignature`], if it has no signature.
pub(crate) fn ensure_twilio_may_be_it(account: &config::Twilio, headers: &HeaderMap) -> Result<(), Rejection> {
    match account.signature_mode {
        SignatureMode::Enforce if !headers.contains_key(signature::HEADER) => {
            Err(Rejection::BadSignature(WhyNot::Missing))
        }
        SignatureMode::Enforce | SignatureMode::Report => Ok(()),
    }
}

/// Refuses a request that cannot be Stripe's, before anything is made of its body.
///
/// # Errors
/// [`Rejection::NoSecret`], or [`Rejection::NotSignedByStripe`], if it has no signature.
pub(crate) fn ensure_stripe_may_be_it(account: &config::Stripe, headers: &HeaderMap) -> Result<(), Rejection> {
    if account.webhook_secrets.is_empty() {
        return Err(Rejection::NoSecret);
    }
    if !headers.contains_key(stripe::signature::HEADER) {
        return Err(Rejection::NotSignedByStripe(stripe::signature::WhyNot::Missing));
    }
    Ok(())
}

/// Reads the form if Twilio signed it, for the public address at which it reached us. An invalid UTF-8 sequence costs only
/// itself, because the signature is over bytes.
///
/// # Errors
/// [`Rejection::NotAForm`], [`Rejection::BadSignature`], [`Rejection::Repeated`], [`Rejection::Missing`], or
/// [`Rejection::OtherAccount`].
pub fn signed_form(
    account: &config::Twilio,
    uri: &Uri,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<SignedForm, Rejection> {
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
        Some(sid) if sid != account.account_sid => Err(Rejection::OtherAccount),
        Some(_) => Ok(SignedForm { form, digest }),
    }
}

/// Reads the event if Stripe signed it, just now, and in our mode. Nothing, if it is of a kind that nobody asked for.
///
/// # Errors
/// [`Rejection::NoSecret`], [`Rejection::NotSignedByStripe`], [`Rejection::NotAnEvent`], or [`Rejection::OtherMode`].
pub fn signed_event(account: &config::Stripe, headers: &HeaderMap, body: &[u8]) -> Result<Option<Incoming>, Rejection> {
    if account.webhook_secrets.is_empty() {
        return Err(Rejection::NoSecret);
    }
    let signature = text(headers, HeaderName::from_static(stripe::signature::HEADER));
    stripe::signature::verify(&account.webhook_secrets, signature, body, clock::now())
        .map_err(Rejection::NotSignedByStripe)?;
    match stripe::event::read(body).map_err(Rejection::NotAnEvent)? {
        stripe::event::Body::Thin => Ok(None),
        stripe::event::Body::Event(event) if event.livemode == account.livemode => Ok(Some(event)),
        stripe::event::Body::Event(event) => Err(Rejection::OtherMode { livemode: event.livemode }),
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
    let url = format!("{}{}", account.public_base_url, path_and_query(uri));
    let signature = text(headers, HeaderName::from_static(signature::HEADER));
    if signature.is_some_and(|signature| signature::is_valid(keys, &url, content, signature)) {
        return Ok(());
    }
    let why = signature::why_not(keys, &url, content, signature, text(headers, header::HOST));
    match account.signature_mode {
        SignatureMode::Enforce => Err(Rejection::BadSignature(why)),
        SignatureMode::Report => {
            let mismatches = LET_IN.fetch_add(1, Ordering::Relaxed) + 1;
            let path = uri.path();
            let kind = Kind { path: path.to_owned(), status: StatusCode::OK, why: why.to_string() };
            if refusals::is_to_be_told(&kind) {
                tracing::warn!(path, why = %why, mismatches, "a webhook was let in although its signature does not match");
            }
            Ok(())
        }
    }
}

fn path_and_query(uri: &Uri) -> &str {
    uri.path_and_query().map_or("/", |it| it.as_str())
}

/// A header's value; one that is no text is as good as an empty one.
fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).map(|value| value.to_str().unwrap_or_default())
}
