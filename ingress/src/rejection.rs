//! The reasons to refuse a webhook, and the response to its sender. A response never tells why a signature does not match.

use std::fmt;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use jobrun_shared::metrics::WebhookOutcome;
use jobrun_stripe::event::NotAnEvent;
use jobrun_twilio::signature::SignatureError;

use crate::group_commit::RecordError;

/// A reason to refuse a webhook.
#[derive(Clone, Debug)]
pub enum Rejection {
    /// The body is JSON, and not a form.
    NotAForm,
    /// The body is longer than the largest one that is accepted.
    PayloadTooLarge,
    /// The connection broke before the whole body had arrived.
    BodyIncomplete,
    /// The unverified bodies that are arriving use up the budget for them.
    BodyBudgetExhausted,
    /// Twilio's signature is missing, or was not made with a secret of our account.
    BadTwilioSignature(SignatureError),
    /// Stripe's signature is missing, was not made with our secret, or is not recent.
    BadStripeSignature(jobrun_stripe::signature::SignatureError),
    /// Stripe's webhooks cannot be verified, because no secret is set.
    NoStripeSecret,
    /// The body is not an event of Stripe's.
    NotAnEvent(NotAnEvent),
    /// The event is of the wrong mode: a live system takes no test events, and a test system takes no live ones.
    WrongMode {
        /// The mode of the event.
        livemode: bool,
    },
    /// A parameter that Twilio always sends is missing or empty.
    MissingParameter(&'static str),
    /// A parameter does not have the form in which Twilio writes it.
    MalformedParameter(&'static str),
    /// A parameter is given more than once. It is named only if it is known: other names may contain anything.
    RepeatedParameter(Option<&'static str>),
    /// The webhook is for another account.
    WrongAccount,
    /// The event was not recorded in time. The webhook itself is in order.
    NotRecorded {
        /// Kind and external id of the event.
        event: String,
        /// The reason.
        why: RecordError,
    },
}

impl Rejection {
    /// Returns the reason, without the details that differ between refusals of this kind.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::NotRecorded { why: RecordError::Refused(_), .. } => "the database refused".to_owned(),
            Self::NotRecorded { why, .. } => why.to_string(),
            other => other.to_string(),
        }
    }

    /// Returns the outcome of the webhook, for metrics. One that cannot be shown to come from our account is forbidden, although its
    /// sender may be told to try again.
    pub(crate) const fn outcome(&self) -> WebhookOutcome {
        match self {
            Self::BadTwilioSignature(_) | Self::BadStripeSignature(_) | Self::WrongAccount | Self::NoStripeSecret => {
                WebhookOutcome::Forbidden
            }
            Self::NotRecorded { .. } => WebhookOutcome::Unavailable,
            Self::BodyBudgetExhausted
            | Self::NotAForm
            | Self::PayloadTooLarge
            | Self::BodyIncomplete
            | Self::NotAnEvent(_)
            | Self::WrongMode { .. }
            | Self::MissingParameter(_)
            | Self::MalformedParameter(_)
            | Self::RepeatedParameter(_) => WebhookOutcome::Invalid,
        }
    }

    const fn status(&self) -> StatusCode {
        match self {
            Self::BadTwilioSignature(_) | Self::BadStripeSignature(_) | Self::WrongAccount => StatusCode::FORBIDDEN,
            // Stripe retries for three days: time to correct a setting.
            Self::NoStripeSecret | Self::BodyBudgetExhausted | Self::NotRecorded { .. } => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotAForm
            | Self::BodyIncomplete
            | Self::NotAnEvent(_)
            | Self::WrongMode { .. }
            | Self::MissingParameter(_)
            | Self::MalformedParameter(_)
            | Self::RepeatedParameter(_) => StatusCode::BAD_REQUEST,
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAForm => formatter.write_str("the body is not a form in UTF-8"),
            Self::PayloadTooLarge => formatter.write_str("Payload Too Large"),
            Self::BodyIncomplete => formatter.write_str("the connection broke before the body had arrived"),
            Self::BodyBudgetExhausted => formatter.write_str("too many bodies are arriving that are not verified yet"),
            Self::BadTwilioSignature(why) => write!(formatter, "the signature does not match: {why}"),
            Self::BadStripeSignature(why) => write!(formatter, "the signature does not match: {why}"),
            Self::NoStripeSecret => formatter.write_str("STRIPE_WEBHOOK_SECRET is not set"),
            Self::NotAnEvent(NotAnEvent::NotJson) => formatter.write_str("the body is not JSON"),
            Self::NotAnEvent(NotAnEvent::TooDeep) => formatter.write_str("the event is nested too deeply"),
            Self::NotAnEvent(NotAnEvent::Missing(name)) => {
                write!(formatter, "the event has no {name}, or not as it should be")
            }
            Self::WrongMode { livemode: true } => {
                formatter.write_str("the event is a live one, and we are in test mode: see STRIPE_LIVEMODE")
            }
            Self::WrongMode { livemode: false } => {
                formatter.write_str("the event is a test, and we are in live mode: see STRIPE_LIVEMODE")
            }
            Self::MissingParameter(name) => write!(formatter, "{name} is missing"),
            Self::MalformedParameter(name) => {
                write!(formatter, "{name} does not have the form in which Twilio writes it")
            }
            Self::RepeatedParameter(Some(name)) => write!(formatter, "{name} is given more than once"),
            Self::RepeatedParameter(None) => formatter.write_str("a parameter is given more than once"),
            Self::WrongAccount => formatter.write_str("AccountSid is not the one in TWILIO_ACCOUNT_SID"),
            Self::NotRecorded { event, why } => write!(formatter, "{event}: {why}"),
        }
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        let status = self.status();
        let mut response = match &self {
            // The sender may be probing, so it does not learn the reason of the mismatch.
            Self::BadTwilioSignature(_) => {
                (status, "X-Twilio-Signature is missing or does not match\n").into_response()
            }
            Self::BadStripeSignature(_) => (status, "Stripe-Signature is missing or does not match\n").into_response(),
            Self::NoStripeSecret => (status, "payments are not set up\n").into_response(),
            Self::WrongAccount => (status, "AccountSid is another account's\n").into_response(),
            Self::NotRecorded { .. } | Self::BodyBudgetExhausted => {
                (status, [(header::RETRY_AFTER, "1")], "not recorded: please send it again\n").into_response()
            }
            other => (status, format!("{other}\n")).into_response(),
        };
        // For the log line.
        response.extensions_mut().insert(self);
        response
    }
}
