//! Twilio's answers to requests that may be made again: those that ask, that set something up, and that buy a number.
//!
//! Handing over a text is not among them; that is in `api.rs`.

use std::time::Duration;

use reqwest::{Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::api::Api;
use crate::json;

/// The path that everything of an account lies below. Twilio's links to next pages begin with it, too.
pub(super) const ROOT: &str = "/2010-04-01/Accounts/";

/// How many entries a page is asked to hold: the most that Twilio allows.
pub(super) const PAGE_SIZE: u32 = 1000;

/// How long a page may take, which is many times what a text may.
const PAGE_TIMEOUT: Duration = Duration::from_secs(30);

/// How many pages are read before something must be wrong.
const MOST_PAGES: usize = 200;

#[derive(Deserialize)]
struct Problem {
    code: Option<i32>,
}

/// Twilio did not do what was asked. No message holds an address, a number or a secret.
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
    /// Nobody answered.
    #[error("{0}")]
    Unreachable(&'static str),
    /// The answer is not what Twilio's documentation says.
    #[error("Twilio's answer cannot be read: {0}")]
    Unreadable(&'static str),
}

impl Error {
    /// Whether Twilio said no, so that nothing was done. Everything else may have been done: its answer was
    /// lost, or says only that something went wrong.
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
    /// Every page of a list that begins at the path `first`.
    ///
    /// # Errors
    /// When any page cannot be read: half a list would make the other half look lost.
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
                // Our credentials go along: not to anywhere else.
                Some(uri) if !uri.starts_with(ROOT) => {
                    return Err(Error::Unreadable("the link to the next page leads elsewhere"));
                }
                Some(uri) => path = uri,
            }
        }
        Err(Error::Unreadable("its list does not end"))
    }

    /// What Twilio answers to a request, which is given our credentials.
    ///
    /// # Errors
    /// When that is not what was asked for.
    pub(super) async fn answer<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<T, Error> {
        let response = self.authorised(request).send().await.map_err(|error| no_answer(&error))?;
        if !response.status().is_success() {
            return Err(refusal(response).await);
        }
        let body = response.bytes().await.map_err(|error| no_answer(&error))?;
        read_json(&body).map_err(|_| Error::Unreadable("it is not the JSON that is documented"))
    }
}

/// Reads an answer. Twilio cuts texts without regard for characters, and half a character costs only itself.
pub(super) fn read_json<T: DeserializeOwned>(body: &[u8]) -> serde_json::Result<T> {
    serde_json::from_str(&json::repair(body))
}

/// Why there is no answer. The error itself is left out, because it holds the address.
fn no_answer(error: &reqwest::Error) -> Error {
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

async fn refusal(response: Response) -> Error {
    let status = response.status();
    if status == StatusCode::UNAUTHORIZED {
        return Error::Unauthorised;
    }
    // Twilio's words are left out: they may repeat the number.
    let code = response.json::<Problem>().await.ok().and_then(|problem| problem.code);
    Error::Refused { status, code }
}
