//! Whether a webhook is Twilio's, or Stripe's.
//!
//! With Twilio, the address that was signed is `PUBLIC_BASE_URL` with the path and the query as they came in. Nothing else that
//! a request says of itself is believed: neither its `Host`, nor the header that names an algorithm.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, Uri, header};
use jobrun_shared::config::{self, SignatureMode};
use jobrun_shared::stripe::event::Incoming;
use jobrun_shared::twilio::signature::{self, Content, Form};
use jobrun_shared::{clock, stripe};

use crate::form;
use crate::webhooks::Rejection;

/// How many webhooks were let in since this process started although their signature did not match.
static LET_IN: AtomicU64 = AtomicU64::new(0);

/// Reads the form if Twilio signed it, for the public address at which it reached us.
///
/// # Errors
/// [`Rejection::NotAForm`], or [`Rejection::BadSignature`].
pub fn signed_form(account: &config::Twilio, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Result<Form, Rejection> {
    if is_json(headers) {
        ensure_signed(account, uri, headers, Content::Json(body))?;
        return Err(Rejection::NotAForm);
    }
    let form = form::parse(body).map_err(|form::NotUtf8| Rejection::NotAForm)?;
    ensure_signed(account, uri, headers, Content::Form(&form))?;
    Ok(form)
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
    let path = uri.path_and_query().map_or("/", |it| it.as_str());
    let url = format!("{}{path}", account.public_base_url);
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
            tracing::warn!(path, why = %why, mismatches, "a webhook was let in although its signature does not match");
            Ok(())
        }
    }
}

/// A header's value; one that is no text is as good as an empty one.
fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).map(|value| value.to_str().unwrap_or_default())
}
