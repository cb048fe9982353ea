//! Why a webhook is turned away, and what its sender is told.

use std::fmt;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use jobrun_shared::stripe;
use jobrun_shared::stripe::event::NotAnEvent;
use jobrun_shared::twilio::signature::WhyNot;

use crate::recorder::NotRecorded;

/// Why a webhook is turned away.
#[derive(Clone, Debug)]
pub enum Rejection {
    /// The body is no form.
    NotAForm,
    /// The body is longer than any that we know of.
    TooLarge,
    /// The connection broke before the body had arrived.
    BrokenOff,
    /// The bodies that are arriving, and are not verified yet, take all the room that there is for them.
    NoRoom,
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
    /// A parameter does not have the form in which Twilio writes it.
    Malformed(&'static str),
    /// A parameter is given more than once. It is named if it is one that we know: other names may hold anything.
    Repeated(Option<&'static str>),
    /// The webhook is another account's.
    OtherAccount,
    /// The database did not record it in time. Nothing is wrong with the webhook.
    NotRecorded {
        /// Kind and name of the event.
        event: String,
        /// Why not.
        why: NotRecorded,
    },
}

impl Rejection {
    /// What is the same of all refusals of this kind.
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
            // Stripe goes on trying for three days: time to mend a setting.
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
            // Why it does not match is nothing for the sender, who may be trying.
            Self::BadSignature(_) => (status, "X-Twilio-Signature is missing or does not match\n").into_response(),
            Self::NotSignedByStripe(_) => (status, "Stripe-Signature is missing or does not match\n").into_response(),
            Self::NoSecret => (status, "payments are not set up\n").into_response(),
            Self::OtherAccount => (status, "AccountSid is another account's\n").into_response(),
            Self::NotRecorded { .. } | Self::NoRoom => {
                (status, [(header::RETRY_AFTER, "1")], "not recorded: please send it again\n").into_response()
            }
            told => (status, format!("{told}\n")).into_response(),
        };
        // For the line about it.
        response.extensions_mut().insert(self);
        response
    }
}
