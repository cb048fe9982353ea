//! Twilio's webhooks: converts each form into an event, records it, and responds. Never decides what an event means.
//!
//! A signature does not fix the boundaries between names and values, so the format of every parameter that is read is checked.

use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use jobrun_json::storable;
use jobrun_shared::db::inbox::{NewEvent, Payload, Received, Source};
use jobrun_shared::db::numbers;
use jobrun_twilio::parameters::{self, CallProgress};
use jobrun_twilio::signature::Form;
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
    let unused = is_unused(&state, &required(&signed.form, "To")?, signed.arrived_at + RECORD_TIMEOUT).await;
    Ok(twiml_response(if unused { UNUSED_NUMBER_TWIML } else { CALL_TWIML }))
}

/// Returns whether the called number is one of ours that no client holds. The call is recorded already, so it gets its response
/// by `deadline` in any case: a number counts as held unless it is known to be unused.
async fn is_unused(state: &AppState, number: &str, deadline: Instant) -> bool {
    let lookup = async { numbers::is_unused(&mut *state.pool.acquire().await?, number).await };
    let why = match tokio::time::timeout_at(deadline, lookup).await {
        Ok(Ok(unused)) => return unused,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the database did not answer in time".to_owned(),
    };
    tracing::warn!(why, "a caller was answered without knowing whether a client holds the number");
    false
}

pub(crate) async fn voice_status(State(state): State<AppState>, signed: SignedForm) -> Result<StatusCode, Rejection> {
    record(&state, call_event(&signed.form)?, &signed).await?;
    Ok(StatusCode::NO_CONTENT)
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
pub fn twiml_response(body: &'static str) -> Response {
    ([(header::CONTENT_TYPE, "text/xml")], body).into_response()
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
    uri.query()?.split('&').find_map(|pair| pair.strip_prefix("m="))?.parse().ok()
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
