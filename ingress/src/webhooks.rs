//! What happens to a webhook: verify, record, acknowledge.
//!
//! In this order, and nothing else. A webhook is acknowledged only when its event and the job that will look at it are
//! committed; one that is not what it claims to be leaves no trace but a log line.

use std::time::Duration;

use axum::http::{StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, extract::Request, extract::State};
use jobrun_shared::db::events::{NewEvent, Payload, Received, Source};
use jobrun_shared::db::pool;
use jobrun_shared::twilio::webhooks;
use jobrun_shared::{config, db, stripe};
use sqlx::PgPool;
use tokio::time::Instant;

use crate::body::Room;
use crate::recorder::Recorder;
use crate::refusals::{self, Kind};
use crate::rejection::Rejection;
use crate::twilio;
use crate::verify::{SignedForm, ensure_stripe_may_be_it, ensure_twilio_may_be_it, signed_event, signed_form};

/// The largest form that is read. Twilio's largest is a text of 1600 characters with its parameters.
const FORM_BYTES_MAX: usize = 64 * 1024;

/// The largest event of Stripe's that is read: an invoice with all its lines can be long.
const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// Forms that are arriving and are not verified yet, and events of Stripe's apart from them, so that neither keeps the other out.
static FORMS: Room = Room::new(FORM_BYTES_MAX, 8 * 1024 * 1024);
static STRIPE_EVENTS: Room = Room::new(EVENT_BYTES_MAX, 16 * 1024 * 1024);

/// How long recording may take before the webhook is told to come back: Twilio's own retry and fallback take over then.
pub const ANSWER_WITHIN: Duration = Duration::from_millis(900);

/// How long a request may take, its arrival included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The answer to a text: whatever there is to say is sent later.
pub const NO_ANSWER: &str = "<Response/>";

/// What a caller hears of a number that somebody holds, or may hold: the call has done its work by arriving.
pub const CALL_ANSWER: &str = concat!(
    r#"<?xml version="1.0" encoding="UTF-8"?><Response><Say language="en-GB">"#,
    "Thank you for calling. Nobody can take your call right now. Please try again later. Goodbye.",
    "</Say></Response>"
);

/// What a caller hears of a number of ours that nobody holds: it cools down, or waits for its next client.
pub const UNUSED_ANSWER: &str = concat!(
    r#"<?xml version="1.0" encoding="UTF-8"?><Response><Say language="en-GB">"#,
    "Sorry, the number you have called is no longer in use.",
    "</Say><Hangup/></Response>"
);

/// What the handlers share.
#[derive(Clone, Debug)]
pub struct Door {
    /// The rows.
    pub pool: PgPool,
    /// Who writes what arrives.
    pub recorder: Recorder,
    /// The account whose signature is required on what Twilio sends.
    pub twilio: config::Twilio,
    /// The account whose signature is required on what Stripe sends.
    pub stripe: config::Stripe,
}

/// Every address that is answered.
pub fn router(door: Door) -> Router {
    let webhooks = Router::new()
        .route(webhooks::SMS, post(sms))
        .route(webhooks::SMS_STATUS, post(sms_status))
        .route(webhooks::VOICE, post(voice))
        .route(webhooks::VOICE_STATUS, post(voice_status))
        .route(stripe::WEBHOOK, post(stripe_event))
        .layer(middleware::from_fn(within_time))
        // Not for addresses that are none of ours: what strangers look for would fill the log.
        .route_layer(middleware::from_fn(log_refusal));
    let health = Router::new()
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .layer(middleware::from_fn(within_time));
    webhooks.merge(health).fallback(nowhere).with_state(door)
}

/// An address that is none. One that was meant to be ours, and entered wrongly at Twilio, is worth a line.
async fn nowhere(uri: Uri) -> StatusCode {
    let path = uri.path();
    let kind = Kind { path: "elsewhere".to_owned(), status: StatusCode::NOT_FOUND, why: String::new() };
    let is_like_ours = ["webhook", "twilio"].iter().any(|word| path.to_ascii_lowercase().contains(word));
    if is_like_ours && refusals::is_to_be_told(&kind) {
        let path: String = path.chars().take(100).collect();
        tracing::warn!(path, status = 404, why = "there is no such address", "a webhook was turned away");
    }
    StatusCode::NOT_FOUND
}

/// Gives up on requests that do not arrive, so that none is waited for without end.
async fn within_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => (StatusCode::REQUEST_TIMEOUT, "the request did not arrive in time\n").into_response(),
    }
}

/// Says of a webhook that is turned away, whoever turned it away, where it was sent and why it is not taken. Of many of one kind
/// a second, some are told of and the others counted. What is in the query, the form and the signature is not for the log.
async fn log_refusal(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    let status = response.status();
    if status.is_client_error() || status.is_server_error() {
        let rejection = response.extensions().get::<Rejection>();
        let canonical = || status.canonical_reason().unwrap_or_default().to_owned();
        let kind = Kind { path, status, why: rejection.map_or_else(canonical, Rejection::reason) };
        if refusals::is_to_be_told(&kind) {
            let why = rejection.map_or_else(canonical, ToString::to_string);
            let path = kind.path;
            if status.is_server_error() {
                tracing::error!(path, status = status.as_u16(), why, "a webhook was not recorded");
            } else {
                tracing::warn!(path, status = status.as_u16(), why, "a webhook was turned away");
            }
        }
    }
    response
}

async fn sms(State(door): State<Door>, request: Request) -> Result<Response, Rejection> {
    let arrived = signed_by_twilio(&door, request).await?;
    record(&door, twilio::text_event(&arrived.signed.form)?, &arrived).await?;
    Ok(xml(NO_ANSWER))
}

async fn voice(State(door): State<Door>, request: Request) -> Result<Response, Rejection> {
    let deadline = Instant::now() + ANSWER_WITHIN;
    let arrived = signed_by_twilio(&door, request).await?;
    record(&door, twilio::call_event(&arrived.signed.form)?, &arrived).await?;
    let unused = is_unused(&door, &twilio::required(&arrived.signed.form, "To")?, deadline).await;
    Ok(xml(if unused { UNUSED_ANSWER } else { CALL_ANSWER }))
}

/// Whether nobody holds the number that was called. The call is recorded, and is answered in time whether that can be told
/// by `deadline` or not: what is not known to be unused is taken to be somebody's.
async fn is_unused(door: &Door, number: &str, deadline: Instant) -> bool {
    let asking = async { pool::is_unused(&mut *door.pool.acquire().await?, number).await };
    let why = match tokio::time::timeout_at(deadline, asking).await {
        Ok(Ok(unused)) => return unused,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the database did not answer in time".to_owned(),
    };
    tracing::warn!(why, "a caller was answered without knowing whether anybody holds the number");
    false
}

async fn voice_status(State(door): State<Door>, request: Request) -> Result<StatusCode, Rejection> {
    let arrived = signed_by_twilio(&door, request).await?;
    record(&door, twilio::call_event(&arrived.signed.form)?, &arrived).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn sms_status(State(door): State<Door>, request: Request) -> Result<StatusCode, Rejection> {
    let arrived = signed_by_twilio(&door, request).await?;
    record(&door, twilio::report_event(&arrived.signed.form, &arrived.uri)?, &arrived).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A webhook of Twilio's.
struct Arrived {
    uri: Uri,
    signed: SignedForm,
    bytes: usize,
}

async fn signed_by_twilio(door: &Door, request: Request) -> Result<Arrived, Rejection> {
    let (head, body) = request.into_parts();
    ensure_twilio_may_be_it(&door.twilio, &head.headers)?;
    let body = FORMS.read(body, head.extensions.get()).await?;
    let signed = signed_form(&door.twilio, &head.uri, &head.headers, &body.bytes)?;
    Ok(Arrived { uri: head.uri, signed, bytes: body.bytes.len() })
}

/// What Stripe tells is kept as it is; what it means is found out later.
async fn stripe_event(State(door): State<Door>, request: Request) -> Result<StatusCode, Rejection> {
    let (head, body) = request.into_parts();
    ensure_stripe_may_be_it(&door.stripe, &head.headers)?;
    let body = STRIPE_EVENTS.read(body, head.extensions.get()).await?;
    let Some(incoming) = signed_event(&door.stripe, &head.headers, &body.bytes)? else {
        return Ok(StatusCode::OK);
    };
    let bytes = body.bytes.len();
    drop(body);
    let payload = Payload::Stripe { id: incoming.id.clone(), event: incoming.event };
    let event = NewEvent { source: Source::Stripe, external_id: incoming.id, payload };
    record_received(&door, event.into(), bytes).await?;
    Ok(StatusCode::OK)
}

async fn record(door: &Door, event: NewEvent, arrived: &Arrived) -> Result<(), Rejection> {
    let received = Received { event, signed_digest: Some(arrived.signed.digest) };
    record_received(door, received, arrived.bytes).await
}

/// Once this returns, nothing can be lost.
async fn record_received(door: &Door, received: Received, bytes: usize) -> Result<(), Rejection> {
    let (kind, external_id) = (received.event.payload.kind(), received.event.external_id.clone());
    let recorded = door.recorder.record(received, bytes).await;
    recorded.map_err(|why| Rejection::NotRecorded { event: format!("{kind} {external_id}"), why })
}

/// An answer as Twilio wants it.
#[must_use]
pub fn xml(body: &'static str) -> Response {
    ([(header::CONTENT_TYPE, "text/xml")], body).into_response()
}

/// Ready when webhooks can be recorded, as far as the last commit shows, and the database has every table that this version
/// needs.
async fn ready(State(door): State<Door>, _: Request) -> Result<&'static str, (StatusCode, String)> {
    let unavailable = |why: String| (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n"));
    if let Some(failed) = door.recorder.failure() {
        return Err(unavailable(format!("the last webhook could not be recorded: {failed}")));
    }
    match tokio::time::timeout(ANSWER_WITHIN, db::ensure_migrated(&door.pool)).await {
        Ok(Ok(())) => Ok("ready\n"),
        Ok(Err(error)) => Err(unavailable(error.to_string())),
        Err(_) => Err(unavailable("the database did not answer in time".to_owned())),
    }
}
