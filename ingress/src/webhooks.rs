//! What happens to a webhook: verify, record, acknowledge.
//!
//! In this order, and nothing else. A webhook is acknowledged only when its event and the job that will look at it are
//! committed; one that is not what it claims to be leaves no trace but a log line.

use std::fmt;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, extract::Request};
use jobrun_shared::db::events::{self, NewEvent, Payload, Source};
use jobrun_shared::db::pool;
use jobrun_shared::stripe::event::NotAnEvent;
use jobrun_shared::twilio::signature::{Form, WhyNot};
use jobrun_shared::twilio::webhooks;
use jobrun_shared::{config, db, stripe};
use sqlx::PgPool;
use tokio::time::Instant;

use crate::form;
use crate::recorder::Recorder;
use crate::verify::{signed_event, signed_form};

/// The largest form that is read. Twilio's largest is a text of 1600 characters with its parameters.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// The largest event of Stripe's that is read: an invoice with all its lines can be long.
const EVENT_BYTES_MAX: usize = 1024 * 1024;

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
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .merge(Router::new().route(stripe::WEBHOOK, post(stripe_event)).layer(DefaultBodyLimit::max(EVENT_BYTES_MAX)))
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
    if ["webhook", "twilio"].iter().any(|word| path.to_ascii_lowercase().contains(word)) {
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

/// Says of every webhook that is turned away, whoever turned it away, where it was sent and why it is not taken. This is the
/// only line about it. What is in the query, the form and the signature is not for the log.
async fn log_refusal(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    let status = response.status();
    if status.is_client_error() || status.is_server_error() {
        let why = response.extensions().get::<Rejection>().map(ToString::to_string);
        let why = why.as_deref().or(status.canonical_reason()).unwrap_or_default();
        if status.is_server_error() {
            tracing::error!(path, status = status.as_u16(), why, "a webhook was not recorded");
        } else {
            tracing::warn!(path, status = status.as_u16(), why, "a webhook was turned away");
        }
    }
    response
}

/// Why a webhook is turned away.
#[derive(Clone, Debug)]
pub enum Rejection {
    /// The body is no form in UTF-8.
    NotAForm,
    /// The signature is missing, or not that of our account.
    BadSignature(WhyNot),
    /// The signature is not one that Stripe makes with our secret, now.
    NotSignedByStripe(stripe::signature::WhyNot),
    /// Stripe's webhooks cannot be verified, because no secret is set.
    NoSecret,
    /// The body is no event of Stripe's.
    NotAnEvent(NotAnEvent),
    /// The event is of the other mode than ours: test events are not for a live system, nor live ones for a test.
    OtherMode {
        /// The mode of the event.
        livemode: bool,
    },
    /// A parameter that Twilio always sends is not there, or empty.
    Missing(&'static str),
    /// The database did not record it in time. Nothing is wrong with the webhook.
    NotRecorded(String),
}

impl fmt::Display for Rejection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAForm => formatter.write_str("the body is not a form in UTF-8"),
            Self::BadSignature(why) => write!(formatter, "the signature does not match: {why}"),
            Self::NotSignedByStripe(why) => write!(formatter, "the signature does not match: {why}"),
            Self::NoSecret => formatter.write_str("STRIPE_WEBHOOK_SECRET is not set"),
            Self::NotAnEvent(NotAnEvent::NotJson) => formatter.write_str("the body is not JSON"),
            Self::NotAnEvent(NotAnEvent::TooDeep) => formatter.write_str("the event is nested too deeply"),
            Self::NotAnEvent(NotAnEvent::Missing(name)) => {
                write!(formatter, "the event has no {name}, or not as it should be")
            }
            Self::OtherMode { livemode: true } => {
                formatter.write_str("the event is a live one, and we are in test mode: see STRIPE_LIVEMODE")
            }
            Self::OtherMode { livemode: false } => {
                formatter.write_str("the event is a test, and we are in live mode: see STRIPE_LIVEMODE")
            }
            Self::Missing(name) => write!(formatter, "{name} is missing"),
            Self::NotRecorded(why) => formatter.write_str(why),
        }
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        let mut response = match &self {
            Self::NotAForm => (StatusCode::BAD_REQUEST, "the body is not a form in UTF-8\n").into_response(),
            // Why it does not match is nothing for whoever may be trying.
            Self::BadSignature(_) => {
                (StatusCode::FORBIDDEN, "X-Twilio-Signature is missing or does not match\n").into_response()
            }
            Self::NotSignedByStripe(_) => {
                (StatusCode::FORBIDDEN, "Stripe-Signature is missing or does not match\n").into_response()
            }
            // Stripe goes on trying for three days: time to mend a setting.
            Self::NoSecret => (StatusCode::SERVICE_UNAVAILABLE, "payments are not set up\n").into_response(),
            Self::NotAnEvent(_) | Self::OtherMode { .. } => {
                (StatusCode::BAD_REQUEST, format!("{self}\n")).into_response()
            }
            Self::Missing(name) => (StatusCode::BAD_REQUEST, format!("{name} is missing\n")).into_response(),
            Self::NotRecorded(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], "not recorded: please send it again\n")
                    .into_response()
            }
        };
        // For the line about it.
        response.extensions_mut().insert(self);
        response
    }
}

async fn sms(State(door): State<Door>, uri: Uri, headers: HeaderMap, body: Bytes) -> Result<Response, Rejection> {
    let form = signed_form(&door.twilio, &uri, &headers, &body)?;
    record(&door, text_event(&form)?, &body).await?;
    Ok(xml(NO_ANSWER))
}

/// A text that came in.
///
/// # Errors
/// [`Rejection::Missing`], by name.
pub fn text_event(form: &Form) -> Result<NewEvent, Rejection> {
    Ok(NewEvent {
        source: Source::Twilio,
        external_id: required(form, "MessageSid")?,
        payload: Payload::Text {
            from: required(form, "From")?,
            to: required(form, "To")?,
            // A picture without words is a text all the same.
            body: events::storable(form::get(form, "Body").ok_or(Rejection::Missing("Body"))?),
            opt_out_type: form::get(form, "OptOutType").map(events::storable),
        },
    })
}

async fn voice(State(door): State<Door>, uri: Uri, headers: HeaderMap, body: Bytes) -> Result<Response, Rejection> {
    let deadline = Instant::now() + ANSWER_WITHIN;
    let form = signed_form(&door.twilio, &uri, &headers, &body)?;
    record(&door, call_event(&form)?, &body).await?;
    let unused = is_unused(&door, &required(&form, "To")?, deadline).await;
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

async fn voice_status(
    State(door): State<Door>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, Rejection> {
    let form = signed_form(&door.twilio, &uri, &headers, &body)?;
    record(&door, call_event(&form)?, &body).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn sms_status(
    State(door): State<Door>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, Rejection> {
    let form = signed_form(&door.twilio, &uri, &headers, &body)?;
    let (sid, status) = (required(&form, "MessageSid")?, required(&form, "MessageStatus")?);
    let event = NewEvent {
        source: Source::Twilio,
        external_id: format!("{sid}:{status}"),
        payload: Payload::DeliveryReport {
            message_id: message_id(&uri),
            sid,
            status,
            error_code: form::get(&form, "ErrorCode").and_then(|code| code.parse().ok()),
            to: form::get(&form, "To").map(events::storable),
        },
    };
    record(&door, event, &body).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What Stripe tells is kept as it is; what it means is found out later.
async fn stripe_event(State(door): State<Door>, headers: HeaderMap, body: Bytes) -> Result<StatusCode, Rejection> {
    let Some(incoming) = signed_event(&door.stripe, &headers, &body)? else {
        return Ok(StatusCode::OK);
    };
    let payload = Payload::Stripe { id: incoming.id.clone(), event: incoming.event };
    record(&door, NewEvent { source: Source::Stripe, external_id: incoming.id, payload }, &body).await?;
    Ok(StatusCode::OK)
}

/// The address of a text's delivery reports carries our own name for it: `?m=<messages.id>`.
fn message_id(uri: &Uri) -> Option<i64> {
    uri.query()?.split('&').find_map(|pair| pair.strip_prefix("m="))?.parse().ok()
}

/// A call that arrives, or is over, by its CallStatus: both addresses are told of both.
fn call_event(form: &Form) -> Result<NewEvent, Rejection> {
    let (sid, status) = (required(form, "CallSid")?, required(form, "CallStatus")?);
    let (from, to) = (required(form, "From")?, required(form, "To")?);
    let external_id = format!("{sid}:{status}");
    let sid = Some(sid);
    let payload = match status.as_str() {
        "completed" | "busy" | "failed" | "no-answer" | "canceled" => Payload::CallEnded { from, to, status, sid },
        _ => Payload::CallArrived { from, to, sid },
    };
    Ok(NewEvent { source: Source::Twilio, external_id, payload })
}

fn required(form: &Form, name: &'static str) -> Result<String, Rejection> {
    match form::get(form, name) {
        Some(value) if !value.is_empty() => Ok(events::storable(value)),
        _ => Err(Rejection::Missing(name)),
    }
}

/// Once this returns, nothing can be lost.
async fn record(door: &Door, event: NewEvent, body: &Bytes) -> Result<(), Rejection> {
    let (kind, external_id) = (event.payload.kind(), event.external_id.clone());
    let recorded = door.recorder.record(event, body.len()).await;
    recorded.map_err(|why| Rejection::NotRecorded(format!("{kind} {external_id}: {why}")))
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
