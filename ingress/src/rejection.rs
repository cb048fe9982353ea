//! The reasons to refuse a webhook, and the response to its sender.

use std::fmt;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use jobrun_stripe::event::NotAnEvent;
use jobrun_twilio::signature::SignatureError;

use crate::group_commit::NotRecorded;

/// A reason to refuse a webhook.
#[derive(Clone, Debug)]
pub enum Rejection {
    /// The body is not a form.
    NotAForm,
    /// The body is longer than the largest one that is accepted.
    TooLarge,
    /// The connection broke before the body had arrived.
    BrokenOff,
    /// The unverified bodies that are arriving take all the room that is set aside for them.
    NoRoom,
    /// Twilio's signature is missing, or was not made with a secret of our account.
    BadSignature(SignatureError),
    /// Stripe's signature is missing, was not made with our secret, or is not recent.
    NotSignedByStripe(jobrun_stripe::signature::SignatureError),
    /// Stripe's webhooks cannot be verified, because no secret is set.
    NoSecret,
    /// The body is not an event of Stripe's.
    NotAnEvent(NotAnEvent),
    /// The event is of the other mode: a live system takes no test events, and a test system takes no live ones.
    OtherMode {
        /// The mode of the event.
        livemode: bool,
    },
    /// A parameter that Twilio always sends is missing or empty.
    Missing(&'static str),
    /// A parameter does not have the form in which Twilio writes it.
    Malformed(&'static str),
    /// A parameter is given more than once. It is named only if it is a known one: other names may hold anything.
    Repeated(Option<&'static str>),
    /// The webhook is for another account.
    OtherAccount,
    /// The event was not recorded in time. The webhook itself is in order.
    NotRecorded {
        /// Kind and external id of the event.
        event: String,
        /// The reason.
        why: NotRecorded,
    },
}

impl Rejection {
    /// Returns the reason, without the details that differ between refusals of this kind.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::NotRecorded { why: NotRecorded::Refused(_), .. } => "the database refused".to_owned(),
            Self::NotRecorded { why, .. } => why.to_string(),
            other => other.to_string(),
        }
    }

    const fn status(&self) -> StatusCode {
        match self {
            Self::BadSignature(_) | Self::NotSignedByStripe(_) | Self::OtherAccount => StatusCode::FORBIDDEN,
            // Stripe retries for three days: time to correct a setting.
            Self::NoSecret | Self::NoRoom | Self::NotRecorded { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotAForm
            | Self::BrokenOff
            | Self::NotAnEvent(_)
            | Self::OtherMode { .. }
            | Self::Missing(_)
            | Self::Malformed(_)
            | Self::Repeated(_) => StatusCode::BAD_REQUEST,
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAForm => formatter.write_str("the body is not a form in UTF-8"),
            Self::TooLarge => formatter.write_str("Payload Too Large"),
            Self::BrokenOff => formatter.write_str("the connection broke before the body had arrived"),
            Self::NoRoom => formatter.write_str("too many bodies are arriving that are not verified yet"),
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
            Self::Malformed(name) => write!(formatter, "{name} does not have the form in which Twilio writes it"),
            Self::Repeated(Some(name)) => write!(formatter, "{name} is given more than once"),
            Self::Repeated(None) => formatter.write_str("a parameter is given more than once"),
            Self::OtherAccount => formatter.write_str("AccountSid is not the one in TWILIO_ACCOUNT_SID"),
            Self::NotRecorded { event, why } => write!(formatter, "{event}: {why}"),
        }
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        let status = self.status();
        let mut response = match &self {
            // The sender, who may be probing, does not learn the reason of the mismatch.
            Self::BadSignature(_) => (status, "X-Twilio-Signature is missing or does not match\n").into_response(),
            Self::NotSignedByStripe(_) => (status, "Stripe-Signature is missing or does not match\n").into_response(),
            Self::NoSecret => (status, "payments are not set up\n").into_response(),
            Self::OtherAccount => (status, "AccountSid is another account's\n").into_response(),
            Self::NotRecorded { .. } | Self::NoRoom => {
                (status, [(header::RETRY_AFTER, "1")], "not recorded: please send it again\n").into_response()
            }
            told => (status, format!("{told}\n")).into_response(),
        };
        // For the log line.
        response.extensions_mut().insert(self);
        response
    }
}
