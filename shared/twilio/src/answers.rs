//! Requests that may be repeated, and their responses: reading, setting up a number, and buying one.
//!
//! Sending a text may not be repeated; that is in `api.rs`.

use std::time::Duration;

use jobrun_json::repair;
use reqwest::{Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::api::Api;

/// The path of the accounts. Twilio's links to next pages begin with it as well.
pub(super) const ROOT: &str = "/2010-04-01/Accounts/";

/// The number of entries that a page is asked to hold: the most that Twilio allows.
pub(super) const PAGE_SIZE: u32 = 1000;

/// How long a page may take: longer than a request about a text.
const PAGE_TIMEOUT: Duration = Duration::from_secs(30);

/// The most pages of a list that are read. A longer list is taken for endless.
const MOST_PAGES: usize = 200;

#[derive(Deserialize)]
struct ErrorBody {
    code: Option<i32>,
}

/// A request to Twilio failed. No error message contains an address, a number or a secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The credentials are wrong.
    #[error("Twilio does not accept TWILIO_ACCOUNT_SID with the first token in TWILIO_AUTH_TOKEN (HTTP 401)")]
    Unauthorised,
    /// Twilio refused for another reason.
    #[error("Twilio answered HTTP {}{}", .status.as_u16(), .code.map(|code| format!(", error {code}")).unwrap_or_default())]
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// Twilio's error code.
        code: Option<i32>,
    },
    /// There was no response.
    #[error("{0}")]
    Unreachable(&'static str),
    /// The response differs from Twilio's documentation.
    #[error("Twilio's answer cannot be read: {0}")]
    Unreadable(&'static str),
}

impl Error {
    /// Returns whether Twilio refused, so that nothing was done. After any other error the request may have been carried out: its
    /// response was lost, or says only that something went wrong.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Unauthorised => true,
            Self::Refused { status, .. } => status.is_client_error() && *status != StatusCode::REQUEST_TIMEOUT,
            Self::Unreachable(_) | Self::Unreadable(_) => false,
        }
    }
}

impl Api {
    /// Returns every page of a list that begins at the path `first`.
    ///
    /// # Errors
    /// When any page cannot be read: with half a list, the other half would look lost.
    pub(super) async fn pages<P: DeserializeOwned>(
        &self,
        first: String,
        next_of: impl Fn(&P) -> Option<String> + Send,
    ) -> Result<Vec<P>, Error> {
        let (mut pages, mut path) = (Vec::new(), first);
        for _ in 0..MOST_PAGES {
            let url = format!("{}{path}", self.account.api_base_url);
            let page: P = self.answer(self.http.get(url).timeout(PAGE_TIMEOUT)).await?;
            let next = next_of(&page);
            pages.push(page);
            match next {
                None => return Ok(pages),
                // The request carries our credentials, so it must not go elsewhere.
                Some(uri) if !uri.starts_with(ROOT) => {
                    return Err(Error::Unreadable("the link to the next page leads elsewhere"));
                }
                Some(uri) => path = uri,
            }
        }
        Err(Error::Unreadable("its list does not end"))
    }

    /// Sends a request with our credentials, and returns Twilio's response.
    ///
    /// # Errors
    /// When there is no response, Twilio refuses, or the response is no `T`.
    pub(super) async fn answer<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<T, Error> {
        let response = self.authorised(request).send().await.map_err(|error| no_answer(&error))?;
        if !response.status().is_success() {
            return Err(refusal(response).await);
        }
        let body = response.bytes().await.map_err(|error| no_answer(&error))?;
        read_json(&body).map_err(|_| Error::Unreadable("it is not the JSON that is documented"))
    }
}

/// Parses a response. Twilio cuts texts in the middle of a character; half a character is replaced, and the rest is kept.
pub(super) fn read_json<T: DeserializeOwned>(body: &[u8]) -> serde_json::Result<T> {
    serde_json::from_str(&repair(body))
}

/// Returns why there is no response. The error itself is left out, because it contains the address.
pub(super) fn no_answer(error: &reqwest::Error) -> Error {
    if error.is_timeout() {
        Error::Unreachable("Twilio did not answer in time")
    } else if error.is_connect() || error.is_builder() {
        Error::Unreachable("no connection to Twilio; see TWILIO_API_BASE_URL if it is set")
    } else if error.is_decode() {
        Error::Unreadable("it is not the JSON that is documented")
    } else {
        Error::Unreachable("the connection broke before Twilio answered")
    }
}

pub(super) async fn refusal(response: Response) -> Error {
    let status = response.status();
    if status == StatusCode::UNAUTHORIZED {
        return Error::Unauthorised;
    }
    // Twilio's message is left out, because it may repeat the number.
    let code = response.json::<ErrorBody>().await.ok().and_then(|problem| problem.code);
    Error::Refused { status, code }
}
