//! Twilio's REST API for messages.
//!
//! Creating a message is not idempotent: the same request made twice is two texts. So every outcome is sorted by whether
//! the text may have been taken, and nothing here ever repeats a request by itself.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::{Response, StatusCode, header};
use serde::Deserialize;

use crate::config;

/// The longest that one request may take, connecting included.
pub const TIMEOUT: Duration = Duration::from_secs(8);

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How far Twilio's clock and ours may differ when a text is looked for.
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::seconds(60);

/// The most that a `Retry-After` can make us wait.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// A connection to the account at Twilio.
#[derive(Clone, Debug)]
pub struct Api {
    http: reqwest::Client,
    messages_url: String,
    status_callback_url: String,
    account: config::Twilio,
}

/// What came of handing a text to Twilio.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Posted {
    /// Twilio has it, under this name.
    Accepted {
        /// Twilio's name for it.
        sid: String,
    },
    /// It surely was not taken, and may be tried again.
    NotTaken {
        /// Why.
        why: String,
        /// How long Twilio asks us to wait.
        retry_after: Option<Duration>,
    },
    /// It may have been taken.
    Unknown {
        /// Why we do not know.
        why: String,
    },
    /// It was refused for what it is, and would be again.
    Refused {
        /// Twilio's error code.
        code: Option<i32>,
        /// The HTTP status and the code. Twilio's words are left out: they repeat the phone number.
        why: String,
    },
}

#[derive(Deserialize)]
struct Created {
    sid: String,
}

#[derive(Deserialize)]
struct Problem {
    code: Option<i32>,
}

/// A text as Twilio's list shows it.
#[derive(Clone, Debug, Deserialize)]
pub struct Listed {
    /// Twilio's name for it.
    pub sid: String,
    /// Who began: `outbound-api` for texts that we created.
    direction: String,
    body: String,
    /// RFC 2822.
    date_created: Option<String>,
}

impl Listed {
    /// Whether this is the text with `body` that we created in an attempt that began at `attempted_at`.
    #[must_use]
    pub fn is_attempt(&self, body: &str, attempted_at: DateTime<Utc>) -> bool {
        let created = self.date_created.as_deref().and_then(|date| DateTime::parse_from_rfc2822(date).ok());
        self.direction == "outbound-api"
            && self.body == body
            && created.is_none_or(|created| created >= attempted_at - CLOCK_TOLERANCE)
    }
}

#[derive(Deserialize)]
struct List {
    messages: Vec<Listed>,
}

/// Twilio's list could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// Nobody answered in time, or the answer makes no sense.
    #[error("Twilio's list of messages: {0}")]
    Http(#[from] reqwest::Error),
    /// Twilio refused.
    #[error("Twilio's list of messages: HTTP {0}")]
    Status(StatusCode),
}

/// Chooses the cryptography of every TLS connection that this process makes. To be called before the first HTTP client.
pub fn use_tls_provider() {
    // Only the first call installs it; that one is there already is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

impl Api {
    /// Prepares requests to `account`. Nothing is sent yet.
    ///
    /// # Errors
    /// When this machine's certificates cannot be loaded.
    pub fn new(account: &config::Twilio) -> Result<Self, reqwest::Error> {
        use_tls_provider();
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        let (api, sid, public) = (&account.api_base_url, &account.account_sid, &account.public_base_url);
        Ok(Self {
            http,
            messages_url: format!("{api}/2010-04-01/Accounts/{sid}/Messages.json"),
            status_callback_url: format!("{public}/webhooks/twilio/sms/status"),
            account: account.clone(),
        })
    }

    /// Hands a text to Twilio, once. `message_id` rides in the address of its delivery reports.
    pub async fn create_message(&self, message_id: i64, from: &str, to: &str, body: &str) -> Posted {
        let callback = format!("{}?m={message_id}", self.status_callback_url);
        let form = [("To", to), ("From", from), ("Body", body), ("StatusCallback", &callback)];
        let request = self.authorised(self.http.post(&self.messages_url)).form(&form);
        match request.send().await {
            Ok(response) => read_posted(response).await,
            // The address never appears: it holds the account.
            Err(error) if error.is_connect() || error.is_builder() => {
                Posted::NotTaken { why: "no connection to Twilio".to_owned(), retry_after: None }
            }
            Err(error) if error.is_timeout() => Posted::Unknown { why: "Twilio did not answer in time".to_owned() },
            Err(_) => Posted::Unknown { why: "the connection broke before Twilio answered".to_owned() },
        }
    }

    /// The latest texts from `from` to `to`, newest first, as far as one page of Twilio's list goes.
    ///
    /// # Errors
    /// When the list cannot be read.
    pub async fn list_messages(&self, from: &str, to: &str) -> Result<Vec<Listed>, ListError> {
        let query = [("From", from), ("To", to), ("PageSize", "50")];
        let request = self.authorised(self.http.get(&self.messages_url)).query(&query);
        let response = request.send().await.map_err(reqwest::Error::without_url)?;
        if !response.status().is_success() {
            return Err(ListError::Status(response.status()));
        }
        let list: List = response.json().await.map_err(reqwest::Error::without_url)?;
        Ok(list.messages)
    }

    fn authorised(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        let token = self.account.auth_tokens.first().map(config::Secret::expose);
        request.basic_auth(&self.account.account_sid, token)
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
    let code = response.json::<Problem>().await.ok().and_then(|problem| problem.code);
    let why = match code {
        Some(code) => format!("HTTP {}, error {code}", status.as_u16()),
        None => format!("HTTP {}", status.as_u16()),
    };
    sort_refusal(status, code, why, retry_after)
}

/// Sorts what is not a success. Source: Twilio's error pages for 20003, 20429, 20500 and 20503.
fn sort_refusal(status: StatusCode, code: Option<i32>, why: String, retry_after: Option<Duration>) -> Posted {
    match status {
        // "Never processed, always safe to retry."
        StatusCode::TOO_MANY_REQUESTS => Posted::NotTaken { why, retry_after },
        // The fault is the account's, not the text's: it is kept until somebody has mended it.
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => {
            Posted::NotTaken { why, retry_after: Some(Duration::from_secs(60)) }
        }
        status if status.is_client_error() => Posted::Refused { code, why },
        _ => Posted::Unknown { why },
    }
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(status: u16, code: Option<i32>) -> Posted {
        sort_refusal(StatusCode::from_u16(status).unwrap(), code, String::new(), None)
    }

    #[test]
    fn only_what_surely_was_not_taken_may_be_sent_again() {
        assert!(matches!(sorted(429, Some(20429)), Posted::NotTaken { .. }));
        assert!(matches!(sorted(401, Some(20003)), Posted::NotTaken { .. }));
        assert!(matches!(sorted(400, Some(21610)), Posted::Refused { code: Some(21610), .. }));
        for status in [500, 502, 503, 504, 302] {
            assert!(matches!(sorted(status, None), Posted::Unknown { .. }), "{status}");
        }
    }

    #[test]
    fn a_listed_text_is_recognised_by_what_it_says_and_when() {
        let listed = |date: Option<&str>| Listed {
            sid: "SM1".to_owned(),
            direction: "outbound-api".to_owned(),
            body: "Hi".to_owned(),
            date_created: date.map(str::to_owned),
        };
        let at = DateTime::parse_from_rfc3339("2026-11-22T12:00:00Z").unwrap().to_utc();
        assert!(listed(Some("Sun, 22 Nov 2026 12:00:01 +0000")).is_attempt("Hi", at));
        assert!(listed(Some("Sun, 22 Nov 2026 11:59:30 +0000")).is_attempt("Hi", at));
        assert!(listed(None).is_attempt("Hi", at));
        assert!(!listed(Some("Sun, 22 Nov 2026 11:00:00 +0000")).is_attempt("Hi", at));
        assert!(!listed(None).is_attempt("Hello", at));
    }
}
