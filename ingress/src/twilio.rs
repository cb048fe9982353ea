//! Twilio's forms as events.
//!
//! A valid signature proves neither where a value ends nor what it is called, so every parameter that is read must have its
//! form as well.

use axum::http::Uri;
use jobrun_shared::db::events::{self, NewEvent, Payload, Source};
use jobrun_shared::twilio::parameters::{self, CallProgress};
use jobrun_shared::twilio::signature::Form;

use crate::form;
use crate::rejection::Rejection;

/// A text that came in.
///
/// # Errors
/// [`Rejection::Missing`] or [`Rejection::Malformed`], by name.
pub fn text_event(form: &Form) -> Result<NewEvent, Rejection> {
    Ok(NewEvent {
        source: Source::Twilio,
        external_id: shaped(form, "MessageSid", parameters::is_message_sid)?,
        payload: Payload::Text {
            from: shaped(form, "From", parameters::is_sender)?,
            to: shaped(form, "To", parameters::is_our_number)?,
            // A picture may come without words.
            body: events::storable(form::get(form, "Body").unwrap_or_default()),
            opt_out_type: form::get(form, "OptOutType").map(events::storable),
        },
    })
}

/// A call that arrives, or is over, by its CallStatus: both addresses are told of both.
///
/// Every spelling of the caller is taken, an empty and an absent one included: a call is worth more than the name of its caller.
pub(crate) fn call_event(form: &Form) -> Result<NewEvent, Rejection> {
    let sid = shaped(form, "CallSid", parameters::is_call_sid)?;
    let status = required(form, "CallStatus")?;
    let progress = parameters::call_progress(&status).ok_or(Rejection::Malformed("CallStatus"))?;
    let to = shaped(form, "To", parameters::is_our_number)?;
    let from = events::storable(form::get(form, "From").unwrap_or_default());
    let external_id = format!("{sid}:{status}");
    let payload = match progress {
        CallProgress::Arrived => Payload::CallArrived { from, to, sid: Some(sid) },
        CallProgress::Ended => Payload::CallEnded { from, to, status, sid: Some(sid) },
    };
    Ok(NewEvent { source: Source::Twilio, external_id, payload })
}

/// A report on a text of ours, at the address that it was given.
pub(crate) fn report_event(form: &Form, uri: &Uri) -> Result<NewEvent, Rejection> {
    let sid = shaped(form, "MessageSid", parameters::is_message_sid)?;
    let status = shaped(form, "MessageStatus", parameters::is_message_status)?;
    let to = form::get(form, "To").map(|_| shaped(form, "To", parameters::is_our_number)).transpose()?;
    Ok(NewEvent {
        source: Source::Twilio,
        external_id: format!("{sid}:{status}"),
        payload: Payload::DeliveryReport {
            message_id: message_id(uri),
            sid,
            status,
            error_code: form::get(form, "ErrorCode").and_then(|code| code.parse().ok()),
            to,
        },
    })
}

/// The address of a text's delivery reports carries our own name for it: `?m=<messages.id>`.
fn message_id(uri: &Uri) -> Option<i64> {
    uri.query()?.split('&').find_map(|pair| pair.strip_prefix("m="))?.parse().ok()
}

/// The value of a parameter that must be there, and have its form.
fn shaped(form: &Form, name: &'static str, has_shape: fn(&str) -> bool) -> Result<String, Rejection> {
    let value = required(form, name)?;
    if has_shape(&value) { Ok(value) } else { Err(Rejection::Malformed(name)) }
}

pub(crate) fn required(form: &Form, name: &'static str) -> Result<String, Rejection> {
    match form::get(form, name) {
        Some(value) if !value.is_empty() => Ok(events::storable(value)),
        _ => Err(Rejection::Missing(name)),
    }
}
