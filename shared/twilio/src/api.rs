//! Twilio's REST API for messages.
//!
//! Creating a message is not idempotent: the same request made twice is two texts. So every outcome is classified by whether
//! Twilio may have accepted the text, and nothing here repeats a request.

use std::time::Duration;

use chrono::TimeDelta;
use reqwest::{Response, StatusCode, header};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::webhooks::{SMS_STATUS, with_retries};
use crate::errors::{self, Class};

/// The longest that one request may take, connecting included.
pub const TIMEOUT: Duration = Duration::from_secs(8);

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The range of Twilio's `ValidityPeriod`, in seconds. Twilio advises against less than a minute.
const VALIDITY_MIN: i64 = 60;
const VALIDITY_MAX: i64 = 36_000;

/// The header with the id by which Twilio's support finds a request.
const REQUEST_ID: &str = "twilio-request-id";

/// The most that a `Retry-After` can make us wait.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// The account that requests are made for.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its SID: `AC` and 32 hex digits.
    pub sid: String,
    /// The token that requests are authorised with.
    pub auth_token: SecretString,
    /// Where Twilio's API is, without a slash at the end.
    pub api_base_url: String,
    /// Where Twilio reaches our webhooks, without a slash at the end. Twilio signs this address exactly as it was entered there.
    pub public_base_url: String,
}

/// Twilio's REST API for one account.
#[derive(Clone, Debug)]
pub struct Api {
    pub(super) http: reqwest::Client,
    pub(super) messages_url: String,
    status_callback_url: String,
    pub(super) account: Account,
}

/// The outcome of sending a text to Twilio.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Posted {
    /// Twilio accepted it.
    Accepted {
        /// Its MessageSid.
        sid: String,
    },
    /// Twilio certainly did not accept it, and it may be sent again.
    NotTaken {
        /// The reason.
        why: String,
        /// How long Twilio asks us to wait.
        retry_after: Option<Duration>,
    },
    /// Twilio may have accepted it.
    Unknown {
        /// The reason for the doubt.
        why: String,
    },
    /// Twilio refused it.
    Refused {
        /// The class of the refusal; neither [`Class::Passing`] nor [`Class::Uncertain`].
        class: Class,
        /// Twilio's error code.
        code: Option<i32>,
        /// The HTTP status, the code and the request's id. Twilio's message is left out, because it repeats the phone number.
        why: String,
    },
}

/// A text to be sent to Twilio.
#[derive(Clone, Copy, Debug)]
pub struct Post<'a> {
    /// Our `messages.id`, which is part of the address of its delivery reports.
    pub message_id: i64,
    /// The number of ours that sends it, E.164.
    pub from: &'a str,
    /// The recipient, E.164.
    pub to: &'a str,
    /// Its body.
    pub body: &'a str,
    /// The time after which Twilio gives up on delivering it: ten hours at most.
    pub valid_for: TimeDelta,
}

#[derive(Deserialize)]
struct Created {
    sid: String,
}

#[derive(Deserialize)]
struct ErrorBody {
    code: Option<i32>,
}

/// Installs the cryptography of every TLS connection of this process. Must be called before the first HTTP client is built.
pub fn use_tls_provider() {
    // Only the first call installs it; the error of a later call does not matter.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

impl Api {
    /// Prepares requests to `account`. Nothing is sent yet.
    ///
    /// # Errors
    /// When this machine's certificates cannot be loaded.
    pub fn new(account: &Account) -> Result<Self, reqwest::Error> {
        use_tls_provider();
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        let (api, sid, public) = (&account.api_base_url, &account.sid, &account.public_base_url);
        Ok(Self {
            http,
            messages_url: format!("{api}/2010-04-01/Accounts/{sid}/Messages.json"),
            status_callback_url: format!("{public}{SMS_STATUS}"),
            account: account.clone(),
        })
    }

    /// Sends a text to Twilio, in one request that is never repeated.
    pub async fn create_message(&self, post: Post<'_>) -> Posted {
        let callback = with_retries(&format!("{}?m={}", self.status_callback_url, post.message_id));
        let validity = post.valid_for.num_seconds().clamp(VALIDITY_MIN, VALIDITY_MAX).to_string();
        let form = [
            ("To", post.to),
            ("From", post.from),
            ("Body", post.body),
            ("StatusCallback", &callback),
            ("ValidityPeriod", &validity),
        ];
        let request = self.authorised(self.http.post(&self.messages_url)).form(&form);
        match request.send().await {
            Ok(response) => read_posted(response).await,
            // The error itself is left out, because it contains the address, and so the account.
            Err(error) if error.is_connect() || error.is_builder() => {
                Posted::NotTaken { why: "no connection to Twilio".to_owned(), retry_after: None }
            }
            Err(error) if error.is_timeout() => Posted::Unknown { why: "Twilio did not answer in time".to_owned() },
            Err(_) => Posted::Unknown { why: "the connection broke before Twilio answered".to_owned() },
        }
    }

    pub(super) fn authorised(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        request.basic_auth(&self.account.sid, Some(self.account.auth_token.expose_secret()))
    }
}

async fn read_posted(response: Response) -> Posted {
    let status = response.status();
    let retry_after = retry_after(&response);
    if status.is_success() {
        return match response.json::<Created>().await {
            Ok(created) => Posted::Accepted { sid: created.sid },
            Err(_) => Posted::Unknown { why: format!("HTTP {status} with an answer that cannot be read") },
        };
    }
    let request_id = response.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).map(str::to_owned);
    let code = response.json::<ErrorBody>().await.ok().and_then(|problem| problem.code);
    let mut why = format!("HTTP {}", status.as_u16());
    why.extend(code.map(|code| format!(", error {code}")));
    why.extend(request_id.map(|id| format!(", request {id}")));
    classify_refusal(status, code, why, retry_after)
}

/// Classifies a response that is no success. Source: Twilio's error pages for 20429, 20500 and 20503.
fn classify_refusal(status: StatusCode, code: Option<i32>, why: String, retry_after: Option<Duration>) -> Posted {
    if !status.is_client_error() {
        // No code changes this: "retrying after a 500 can send twice".
        return Posted::Unknown { why };
    }
    match code.and_then(errors::find).map(|known| known.class) {
        Some(Class::Passing(after)) => {
            Posted::NotTaken { why, retry_after: retry_after.max(after.to_std().ok().filter(|it| !it.is_zero())) }
        }
        Some(Class::Uncertain) => Posted::Unknown { why },
        Some(class) => Posted::Refused { class, code, why },
        None => match status {
            StatusCode::REQUEST_TIMEOUT => Posted::Unknown { why },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => {
                Posted::Refused { class: Class::Account, code, why }
            }
            // A 429 is "never processed, always safe to retry". A response without a code is not from Twilio, but from a machine on
            // the way to it, so the request did not get there.
            _ if status == StatusCode::TOO_MANY_REQUESTS || code.is_none() => Posted::NotTaken { why, retry_after },
            _ => Posted::Refused { class: Class::Unlisted, code, why },
        },
    }
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classified(status: u16, code: Option<i32>) -> Posted {
        classify_refusal(StatusCode::from_u16(status).unwrap(), code, String::new(), None)
    }

    #[test]
    fn only_a_text_that_twilio_certainly_did_not_accept_may_be_sent_again() {
        assert!(matches!(classified(429, Some(20429)), Posted::NotTaken { .. }));
        assert!(matches!(classified(429, None), Posted::NotTaken { .. }));
        assert!(matches!(classified(400, None), Posted::NotTaken { .. }), "a response that is not Twilio's");
        assert!(matches!(classified(408, None), Posted::Unknown { .. }));
        assert!(matches!(classified(400, Some(21611)), Posted::NotTaken { retry_after: Some(_), .. }));
        for status in [500, 502, 503, 504, 302] {
            assert!(matches!(classified(status, None), Posted::Unknown { .. }), "{status}");
            assert!(matches!(classified(status, Some(20429)), Posted::Unknown { .. }), "{status}");
        }
    }

    #[test]
    fn a_refusal_is_classified_by_its_code_or_else_by_its_status() {
        for (status, code, expected) in [
            (401, Some(20003), Class::Account),
            (403, None, Class::Account),
            (404, Some(20404), Class::Account),
            (400, Some(21610), Class::OptedOut),
            (400, Some(21211), Class::Recipient),
            (400, Some(21606), Class::Configuration),
            (400, Some(99999), Class::Unlisted),
        ] {
            let Posted::Refused { class, .. } = classified(status, code) else {
                panic!("{status} {code:?} is a refusal");
            };
            assert_eq!(class, expected, "{status} {code:?}");
        }
    }
}
