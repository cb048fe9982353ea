//! Twilio's webhooks: converts each form into an event, records it, and responds. Never decides what an event means.
//!
//! A signature does not fix the boundaries between names and values, so the format of every parameter that is read is checked.

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use jobrun_json::storable;
use jobrun_shared::db::inbox::{NewEvent, Payload, Received, Source};
use jobrun_shared::db::{self, numbers, voicemails};
use jobrun_twilio::parameters::{self, CallProgress};
use jobrun_twilio::signature::Form;
use jobrun_twilio::webhooks::{VOICE_RECORDING, with_retries};
use tokio::time::Instant;

use crate::form;
use crate::group_commit::RECORD_TIMEOUT;
use crate::rejection::Rejection;
use crate::signed::SignedForm;
use crate::state::AppState;

/// The response to a text: empty, because a reply is sent later.
pub const EMPTY_TWIML: &str = "<Response/>";

/// The response to a call to a number that a client holds, or may hold. The arrival of the call is the event.
pub const CALL_TWIML: &str = concat!(
    r#"<?xml version="1.0" encoding="UTF-8"?><Response><Say language="en-GB">"#,
    "Thank you for calling. Nobody can take your call right now. Please try again later. Goodbye.",
    "</Say></Response>"
);

/// The response to a caller who has left a message.
pub const THANKS_TWIML: &str = concat!(
    r#"<?xml version="1.0" encoding="UTF-8"?><Response><Say language="en-GB">"#,
    "Thank you. Goodbye.",
    "</Say><Hangup/></Response>"
);

/// The response to a caller who is asked for a message: before the recording, and after it if nothing was said.
const ASK_FOR_MESSAGE_TWIML: &str = concat!(
    r#"<?xml version="1.0" encoding="UTF-8"?><Response><Say language="en-GB">"#,
    "Thank you for calling. Nobody can take your call right now. Please leave a message after the tone.",
    "</Say>"
);
const NO_MESSAGE_TWIML: &str = r#"<Say language="en-GB">Goodbye.</Say></Response>"#;

/// The longest message of a caller, and the silence that ends it, in seconds.
const MESSAGE_SECONDS_MAX: u32 = 120;
const SILENCE_SECONDS: u32 = 5;

/// The response to a call to a number of ours that no client holds: it cools down, or is free.
pub const UNUSED_NUMBER_TWIML: &str = concat!(
    r#"<?xml version="1.0" encoding="UTF-8"?><Response><Say language="en-GB">"#,
    "Sorry, the number you have called is no longer in use.",
    "</Say><Hangup/></Response>"
);

pub(crate) async fn sms(State(state): State<AppState>, signed: SignedForm) -> Result<Response, Rejection> {
    record(&state, text_event(&signed.form)?, &signed).await?;
    Ok(twiml_response(EMPTY_TWIML))
}

pub(crate) async fn voice(State(state): State<AppState>, signed: SignedForm) -> Result<Response, Rejection> {
    record(&state, call_event(&signed.form)?, &signed).await?;
    let number = required(&signed.form, "To")?;
    Ok(match find_holder(&state, &number, signed.arrived_at + RECORD_TIMEOUT).await {
        Holder::None => twiml_response(UNUSED_NUMBER_TWIML),
        Holder::Client => twiml_response(CALL_TWIML),
        Holder::TakesMessages => twiml_response(message_twiml(&state.twilio.account.public_base_url, &number)),
    })
}

/// Returns the response that asks a caller of `number` for a message. A caller who says nothing hears the last sentence.
#[must_use]
pub fn message_twiml(public_base_url: &str, number: &str) -> String {
    let address = format!("{public_base_url}{VOICE_RECORDING}?to={}", number.replace('+', "%2B"));
    let (done, made) = (escaped(&address), escaped(&with_retries(&address)));
    let record = format!(
        r#"<Record maxLength="{MESSAGE_SECONDS_MAX}" timeout="{SILENCE_SECONDS}" playBeep="true" action="{done}" method="POST" "#
    );
    let callback = format!(
        r#"recordingStatusCallback="{made}" recordingStatusCallbackMethod="POST" recordingStatusCallbackEvent="completed"/>"#
    );
    format!("{ASK_FOR_MESSAGE_TWIML}{record}{callback}{NO_MESSAGE_TWIML}")
}

/// Returns a text as the value of an attribute.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

/// The holder of a called number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    /// It is one of ours that no client holds.
    None,
    /// A client holds it, or may.
    Client,
    /// A live client holds it, whose callers are asked for a message.
    TakesMessages,
}

/// Finds out who holds the called number. The call is recorded already, so it gets its response by `deadline` in any case: a client
/// counts as the holder unless it is known to be otherwise.
async fn find_holder(state: &AppState, number: &str, deadline: Instant) -> Holder {
    let lookup = async {
        let mut conn = state.pool.acquire().await?;
        if numbers::is_unused(&mut conn, number).await? {
            return Ok::<_, db::Error>(Holder::None);
        }
        let takes_messages = state.voicemail && voicemails::takes_messages(&mut conn, number).await?;
        Ok(if takes_messages { Holder::TakesMessages } else { Holder::Client })
    };
    let why = match tokio::time::timeout_at(deadline, lookup).await {
        Ok(Ok(holder)) => return holder,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the database did not answer in time".to_owned(),
    };
    tracing::warn!(why, "a caller was answered without knowing whether a client holds the number");
    Holder::Client
}

pub(crate) async fn voice_status(State(state): State<AppState>, signed: SignedForm) -> Result<StatusCode, Rejection> {
    record(&state, call_event(&signed.form)?, &signed).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Comes twice for each message: when its caller has hung up or fallen silent, and when its recording is ready, which is the event.
pub(crate) async fn voice_recording(State(state): State<AppState>, signed: SignedForm) -> Result<Response, Rejection> {
    match form::get(&signed.form, "RecordingStatus") {
        None => Ok(twiml_response(THANKS_TWIML)),
        Some("completed") => {
            record(&state, recording_event(&signed.form, &signed.uri)?, &signed).await?;
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        // Nothing was recorded.
        Some(_) => Ok(StatusCode::NO_CONTENT.into_response()),
    }
}

pub(crate) async fn sms_status(State(state): State<AppState>, signed: SignedForm) -> Result<StatusCode, Rejection> {
    record(&state, delivery_report_event(&signed.form, &signed.uri)?, &signed).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn record(state: &AppState, event: NewEvent, signed: &SignedForm) -> Result<(), Rejection> {
    let received = Received { event, signed_digest: Some(signed.digest) };
    state.record(received, signed.arrived_at, signed.bytes).await
}

/// Returns a response of the type that Twilio expects.
#[must_use]
pub fn twiml_response(body: impl Into<Body>) -> Response {
    ([(header::CONTENT_TYPE, "text/xml")], body.into()).into_response()
}

/// Returns the event of a received text.
///
/// # Errors
/// [`Rejection::MissingParameter`] or [`Rejection::MalformedParameter`], with the name of the parameter.
pub fn text_event(form: &Form) -> Result<NewEvent, Rejection> {
    Ok(NewEvent::new(
        Source::Twilio,
        validated(form, "MessageSid", parameters::is_message_sid)?,
        Payload::Text {
            from: validated(form, "From", parameters::is_sender)?,
            to: validated(form, "To", parameters::is_our_number)?,
            // A picture may have no words.
            body: storable(form::get(form, "Body").unwrap_or_default()),
            opt_out_type: form::get(form, "OptOutType").map(storable),
            answered_at: None,
        },
    ))
}

/// Returns the event of a call that arrives or has ended, by its `CallStatus`: either may come to both addresses. The caller may
/// be absent or in any format, because the call matters more than its caller.
fn call_event(form: &Form) -> Result<NewEvent, Rejection> {
    let sid = validated(form, "CallSid", parameters::is_call_sid)?;
    let status = required(form, "CallStatus")?;
    let progress = parameters::call_progress(&status).ok_or(Rejection::MalformedParameter("CallStatus"))?;
    let to = validated(form, "To", parameters::is_our_number)?;
    let from = storable(form::get(form, "From").unwrap_or_default());
    let external_id = format!("{sid}:{status}");
    let payload = match progress {
        CallProgress::Arrived => Payload::CallArrived { from, to, sid: Some(sid) },
        CallProgress::Ended => Payload::CallEnded { from, to, status, sid: Some(sid) },
    };
    Ok(NewEvent::new(Source::Twilio, external_id, payload))
}

/// Returns the event of a message that a caller left. `uri` is the address that Twilio was given with the response to the call.
fn recording_event(form: &Form, uri: &Uri) -> Result<NewEvent, Rejection> {
    let sid = validated(form, "RecordingSid", parameters::is_recording_sid)?;
    let to = parameter(uri, "to").map(|to| to.replace("%2B", "+")).filter(|to| parameters::is_our_number(to));
    let payload = Payload::RecordingMade {
        to: to.ok_or(Rejection::MissingParameter("to"))?,
        sid: sid.clone(),
        call_sid: validated(form, "CallSid", parameters::is_call_sid)?,
        seconds: form::get(form, "RecordingDuration").and_then(|seconds| seconds.parse().ok()),
    };
    Ok(NewEvent::new(Source::Twilio, sid, payload))
}

/// Returns the event of a delivery report. `uri` is the address that Twilio was given with the text.
fn delivery_report_event(form: &Form, uri: &Uri) -> Result<NewEvent, Rejection> {
    let sid = validated(form, "MessageSid", parameters::is_message_sid)?;
    let status = validated(form, "MessageStatus", parameters::is_message_status)?;
    let to = form::get(form, "To").map(|_| validated(form, "To", parameters::is_our_number)).transpose()?;
    Ok(NewEvent::new(
        Source::Twilio,
        format!("{sid}:{status}"),
        Payload::DeliveryReport {
            message_id: message_id(uri),
            sid,
            status,
            error_code: form::get(form, "ErrorCode").and_then(|code| code.parse().ok()),
            to,
        },
    ))
}

/// Returns our id of the text, which the address of its delivery reports contains: `?m=<messages.id>`.
fn message_id(uri: &Uri) -> Option<i64> {
    parameter(uri, "m")?.parse().ok()
}

/// Returns a parameter of an address of ours.
fn parameter<'a>(uri: &'a Uri, name: &str) -> Option<&'a str> {
    uri.query()?.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// Returns the value of a parameter that must be present and valid.
fn validated(form: &Form, name: &'static str, is_valid: fn(&str) -> bool) -> Result<String, Rejection> {
    let value = required(form, name)?;
    if is_valid(&value) { Ok(value) } else { Err(Rejection::MalformedParameter(name)) }
}

fn required(form: &Form, name: &'static str) -> Result<String, Rejection> {
    match form::get(form, name) {
        Some(value) if !value.is_empty() => Ok(storable(value)),
        _ => Err(Rejection::MissingParameter(name)),
    }
}
