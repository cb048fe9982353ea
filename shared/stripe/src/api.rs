//! Stripe's REST API for events and subscriptions. This module only reads, so every request may be repeated.
//!
//! An event of the list has the version of the API that the account had when it happened, not that of the request, and `facts.rs`
//! reads old and new ones. The pinned version is for the list itself, and for subscriptions.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_json::repair;
use reqwest::{Response, StatusCode, header};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::event::{self, Body, Incoming, make_storable};
use crate::facts::{CHECKOUT, TYPES};

/// The version of Stripe's API that requests ask for.
pub const VERSION: &str = "2026-10-28.endive";

/// The time that Stripe keeps an event in its list.
pub const KEPT_FOR: TimeDelta = TimeDelta::days(30);

/// The longest that one request may take, connecting included.
const TIMEOUT: Duration = Duration::from_secs(20);

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The number of events that a page is asked to hold: the most that Stripe allows.
const PAGE_SIZE: &str = "100";

/// The most that a `Retry-After` can make us wait.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// The access to an account at Stripe.
#[derive(Clone, Debug)]
pub struct Access {
    /// A restricted key: `rk_live_…` or `rk_test_…`.
    pub key: SecretString,
    /// Where Stripe's API is, without a slash at the end.
    pub api_base_url: String,
}

/// Stripe's REST API for one account.
#[derive(Clone, Debug)]
pub struct Api {
    http: reqwest::Client,
    access: Access,
}

/// A page of the list of events, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The events, without those that cannot be read.
    pub events: Vec<Incoming>,
    /// The event that the next page comes after; `None` if there is no next page.
    pub next: Option<String>,
}

/// A subscription as Stripe has it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The whole object, as Stripe wrote it. Characters that the database cannot store are replaced.
    pub subscription: Value,
    /// A time by Stripe's clock, in whole seconds, at which it was not read yet.
    pub not_before: DateTime<Utc>,
}

/// A request to Stripe failed. No error message contains an address, an id or a secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key is wrong, or has expired.
    #[error("Stripe does not accept STRIPE_API_KEY (HTTP 401)")]
    Unauthorised,
    /// The key lacks a right.
    #[error("STRIPE_API_KEY may not read {0} (HTTP 403)")]
    Forbidden(&'static str),
    /// Too many requests were made.
    #[error("Stripe takes no more requests for now (HTTP 429)")]
    RateLimited {
        /// How long Stripe asks us to wait.
        retry_after: Option<Duration>,
    },
    /// Stripe refused for another reason.
    #[error("Stripe answered HTTP {}{}", .status.as_u16(), .code.as_ref().map(|code| format!(", {code}")).unwrap_or_default())]
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// Stripe's error code.
        code: Option<String>,
    },
    /// There was no response.
    #[error("{0}")]
    Unreachable(&'static str),
    /// The response differs from Stripe's documentation.
    #[error("Stripe's answer cannot be read: {0}")]
    Unreadable(&'static str),
}

impl Error {
    /// Returns whether the key is at fault. Then a later attempt fails as well, until the operator replaces the key.
    #[must_use]
    pub const fn is_of_the_key(&self) -> bool {
        match self {
            Self::Unauthorised | Self::Forbidden(_) => true,
            Self::RateLimited { .. } | Self::Refused { .. } | Self::Unreachable(_) | Self::Unreadable(_) => false,
        }
    }
}

#[derive(Deserialize)]
struct ErrorBody {
    error: ErrorDetails,
}

#[derive(Deserialize)]
struct ErrorDetails {
    code: Option<String>,
}

#[derive(Deserialize)]
struct List {
    data: Vec<Value>,
    has_more: bool,
}

impl Api {
    /// Prepares requests with `access`. Nothing is sent yet.
    ///
    /// # Errors
    /// When this machine's certificates cannot be loaded.
    pub fn new(access: &Access) -> Result<Self, reqwest::Error> {
        // Only the first call of the process installs it; the error of a later call does not matter.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self { http, access: access.clone() })
    }

    /// Returns a page of the events that happened from `since` on and before `until`, of the types in [`TYPES`]: the newest ones, or
    /// those that come after the event `after` in the list.
    ///
    /// # Errors
    /// When the page cannot be read.
    pub async fn list_events(
        &self,
        since: DateTime<Utc>,
        until: DateTime<Utc>,
        after: Option<&str>,
    ) -> Result<Page, Error> {
        self.list(&TYPES, since, until, after).await
    }

    /// Like [`Api::list_events`], for the completed checkouts alone.
    ///
    /// # Errors
    /// When the page cannot be read.
    pub async fn list_checkouts(
        &self,
        since: DateTime<Utc>,
        until: DateTime<Utc>,
        after: Option<&str>,
    ) -> Result<Page, Error> {
        self.list(&[CHECKOUT], since, until, after).await
    }

    async fn list(
        &self,
        types: &[&str],
        since: DateTime<Utc>,
        until: DateTime<Utc>,
        after: Option<&str>,
    ) -> Result<Page, Error> {
        let (since, until) = (since.timestamp().to_string(), until.timestamp().to_string());
        let mut query = vec![("limit", PAGE_SIZE), ("created[gte]", since.as_str()), ("created[lt]", until.as_str())];
        query.extend(types.iter().map(|name| ("types[]", *name)));
        query.extend(after.map(|id| ("starting_after", id)));
        let url = format!("{}/v1/events", self.access.api_base_url);
        let response = self.response(self.http.get(url).query(&query), "events").await?;
        read_page(json(response).await?)
    }

    /// Returns whether the account has the event `id`. Stripe keeps an event for [`KEPT_FOR`].
    ///
    /// # Errors
    /// When Stripe does not say.
    pub async fn has_event(&self, id: &str) -> Result<bool, Error> {
        if !is_id(id, "evt_") {
            return Ok(false);
        }
        let url = format!("{}/v1/events/{id}", self.access.api_base_url);
        match self.response(self.http.get(url), "events").await {
            Err(Error::Refused { status: StatusCode::NOT_FOUND, .. }) => Ok(false),
            response => response.map(|_| true),
        }
    }

    /// Returns the subscription `id` as Stripe has it now; nothing, if the account has no such subscription.
    ///
    /// # Errors
    /// When the subscription cannot be read.
    pub async fn find_subscription(&self, id: &str) -> Result<Option<Standing>, Error> {
        if !is_subscription(id) {
            return Ok(None);
        }
        let url = format!("{}/v1/subscriptions/{id}", self.access.api_base_url);
        let response = match self.response(self.http.get(url), "subscriptions").await {
            Err(Error::Refused { status: StatusCode::NOT_FOUND, .. }) => return Ok(None),
            response => response?,
        };
        let responded_at = time_of(&response).ok_or(Error::Unreadable("it has no date"))?;
        let mut subscription: Value = json(response).await?;
        if subscription.get("id").and_then(Value::as_str) != Some(id) || subscription.get("status").is_none() {
            return Err(Error::Unreadable("it is not the subscription"));
        }
        make_storable(&mut subscription);
        // Stripe read it at some time during the request.
        let not_before = responded_at - TimeDelta::seconds(TIMEOUT.as_secs().cast_signed());
        Ok(Some(Standing { subscription, not_before }))
    }

    /// Sends a request for `what` with our key, and returns Stripe's response if it is a success.
    async fn response(&self, request: reqwest::RequestBuilder, what: &'static str) -> Result<Response, Error> {
        let request = request.bearer_auth(self.access.key.expose_secret()).header("Stripe-Version", VERSION);
        let response = request.send().await.map_err(|error| no_answer(&error))?;
        match response.status() {
            status if status.is_success() => Ok(response),
            StatusCode::UNAUTHORIZED => Err(Error::Unauthorised),
            StatusCode::FORBIDDEN => Err(Error::Forbidden(what)),
            StatusCode::TOO_MANY_REQUESTS => Err(Error::RateLimited { retry_after: retry_after(&response) }),
            // Stripe's message is left out, because it may repeat an id.
            status => {
                let code = response.json::<ErrorBody>().await.ok().and_then(|body| body.error.code);
                Err(Error::Refused { status, code })
            }
        }
    }
}

/// Returns whether `id` is that of a subscription. A payment without one is known by its checkout session, `cs_…`.
#[must_use]
pub fn is_subscription(id: &str) -> bool {
    is_id(id, "sub_")
}

/// Returns whether `id` may become part of an address.
fn is_id(id: &str, prefix: &str) -> bool {
    id.starts_with(prefix) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Reads a page. An event that cannot be read must not hide the others, but the last one has to name the next page.
fn read_page(list: List) -> Result<Page, Error> {
    let last = list.data.last().and_then(|event| event.get("id")?.as_str()).map(str::to_owned);
    let next = if list.has_more { Some(last.ok_or(Error::Unreadable("the last event has no id"))?) } else { None };
    let mut events = Vec::new();
    let mut skipped = 0;
    for event in list.data {
        match event::read_value(event) {
            Ok(Body::Event(event)) => events.push(event),
            Ok(Body::Thin) => {}
            Err(_) => skipped += 1,
        }
    }
    if skipped > 0 {
        tracing::warn!(skipped, "Stripe's list has events that cannot be read");
    }
    Ok(Page { events, next })
}

async fn json<T: DeserializeOwned>(response: Response) -> Result<T, Error> {
    let body = response.bytes().await.map_err(|error| no_answer(&error))?;
    serde_json::from_str(&repair(&body)).map_err(|_| Error::Unreadable("it is not the JSON that is documented"))
}

/// Returns why there is no response. The error itself is left out, because it contains the address.
fn no_answer(error: &reqwest::Error) -> Error {
    if error.is_timeout() {
        Error::Unreachable("Stripe did not answer in time")
    } else if error.is_connect() || error.is_builder() {
        Error::Unreachable("no connection to Stripe; see STRIPE_API_BASE_URL if it is set")
    } else {
        Error::Unreachable("the connection broke before Stripe answered")
    }
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

fn time_of(response: &Response) -> Option<DateTime<Utc>> {
    let date = response.headers().get(header::DATE)?.to_str().ok()?;
    Some(DateTime::parse_from_rfc2822(date).ok()?.to_utc())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn page(list: &Value) -> Result<Page, Error> {
        read_page(serde_json::from_value(list.clone()).unwrap())
    }

    fn event(id: &str) -> Value {
        json!({"id": id, "object": "event", "type": "invoice.paid", "created": 1, "livemode": false,
               "data": {"object": {"id": "in_1", "name": "A\0B"}}})
    }

    #[test]
    fn an_unreadable_event_does_not_hide_the_rest_of_a_page() {
        let listed = json!({"object": "list", "url": "/v1/events", "has_more": true, "data": [
            event("evt_3"), null, {"id": "evt_2", "object": "event"}, {"object": "v2.core.event"}, event("evt_1"),
        ]});
        let read = page(&listed).unwrap();
        assert_eq!(read.events.iter().map(|event| event.id.as_str()).collect::<Vec<_>>(), ["evt_3", "evt_1"]);
        assert_eq!(read.next.as_deref(), Some("evt_1"));
        assert!(!read.events[0].event.to_string().contains("\\u0000"), "as from a webhook");
    }

    #[test]
    fn a_page_ends_the_list_only_if_stripe_says_so() {
        let last =
            |has_more: bool, data: &[Value]| page(&json!({"has_more": has_more, "data": data})).map(|it| it.next);
        assert_eq!(last(false, &[event("evt_1")]).unwrap(), None);
        assert_eq!(last(true, &[event("evt_2"), json!({"id": "evt_1"})]).unwrap().as_deref(), Some("evt_1"));
        assert!(matches!(last(true, &[event("evt_1"), json!({})]), Err(Error::Unreadable(_))));
        assert!(matches!(last(true, &[]), Err(Error::Unreadable(_))), "an empty page cannot be followed by another");
        for broken in [json!({"data": []}), json!({"has_more": false}), json!([])] {
            assert!(serde_json::from_value::<List>(broken).is_err());
        }
    }

    #[test]
    fn only_ids_of_subscriptions_become_part_of_an_address() {
        assert!(is_subscription("sub_1NG8Du2eZvKYlo2C") && is_subscription("sub_sched_1"));
        for other in ["cs_test_1", "sub_1/../customers", "sub_1?expand[]=customer", "sub_é", ""] {
            assert!(!is_subscription(other), "{other}");
        }
    }

    #[test]
    fn no_error_names_the_key_or_an_address() {
        let key = SecretString::from("rk_test_hush");
        let access = Access { key, api_base_url: "http://127.0.0.1:1".to_owned() };
        assert!(!format!("{:?}", Api::new(&access).unwrap()).contains("hush"));
        let refused = Error::Refused { status: StatusCode::BAD_REQUEST, code: Some("parameter_unknown".to_owned()) };
        assert_eq!(refused.to_string(), "Stripe answered HTTP 400, parameter_unknown");
        assert!(Error::Forbidden("events").is_of_the_key() && !refused.is_of_the_key());
    }
}
