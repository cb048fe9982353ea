//! Stripe's REST API for events and subscriptions: the list of everything that happened, whether or not its webhook arrived.
//!
//! It refuses what Stripe refuses: a wrong key, a parameter that it does not know, a page that is too long.

use std::sync::{Arc, MutexGuard, PoisonError};

use axum::extract::{Path, Query, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use chrono::TimeDelta;
use jobrun_shared::clock;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::state_file::Entry;
use crate::{StandIn, State};

/// The key of test systems, whose databases are thrown away.
pub const KEY: &str = "rk_test_stand_in";

const LIMIT: usize = 10;

const LIMIT_MAX: usize = 100;

const TYPES_MAX: usize = 20;

/// The days for which Stripe keeps an event.
const KEPT_DAYS: i64 = 30;

/// Everything that has happened at Stripe, and how its API behaves.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// The events, in the order in which they happened.
    events: Vec<Value>,
    /// The events of another account, and whether the key is one of that account.
    events_elsewhere: Vec<Value>,
    is_elsewhere: bool,
    loses_webhooks: bool,
    fault: Option<StatusCode>,
    retry_after_seconds: Option<u64>,
    page_max: Option<usize>,
    /// The number of requests that get a response; the later ones wait.
    hangs_after: Option<u64>,
    goes_on: Arc<Notify>,
    requests: u64,
    under_way: u64,
}

impl Log {
    /// The events of the account that the key is of.
    fn of_the_key(&self) -> &[Value] {
        if self.is_elsewhere { &self.events_elsewhere } else { &self.events }
    }
}

impl StandIn {
    /// Lets an event happen at Stripe whose webhook is lost for good.
    pub fn lose(&self, event: &Value) {
        self.state.remember(event);
    }

    /// From now on, the webhooks of payments on the page are lost for good, or are sent again.
    pub fn lose_webhooks(&self, lost: bool) {
        self.state.log().loses_webhooks = lost;
    }

    /// From now on, Stripe's API answers every request with this status, or as it should.
    pub fn stripe_api_fault(&self, status: Option<u16>) {
        self.state.log().fault = status.and_then(|status| StatusCode::from_u16(status).ok());
    }

    /// From now on, refusals of too many requests ask for this many seconds of quiet.
    pub fn stripe_api_retry_after(&self, seconds: u64) {
        self.state.log().retry_after_seconds = Some(seconds);
    }

    /// From now on, pages hold this many events at most, however many are asked for.
    pub fn stripe_api_page_max(&self, events: usize) {
        self.state.log().page_max = Some(events);
    }

    /// From now on, requests get no response, or one at once, those that wait included.
    pub fn stripe_api_hangs(&self, hangs: bool) {
        let mut log = self.state.log();
        log.hangs_after = hangs.then_some(0);
        if !hangs {
            log.goes_on.notify_waiters();
        }
    }

    /// From now on, this many requests get a response, and the later ones none.
    pub fn stripe_api_hangs_after(&self, requests: u64) {
        let mut log = self.state.log();
        log.hangs_after = Some(log.requests + requests);
    }

    /// From now on, the key is one of another account, or of the account whose webhooks are sent.
    pub fn stripe_key_of_another_account(&self, is_elsewhere: bool) {
        self.state.log().is_elsewhere = is_elsewhere;
    }

    /// Lets an event happen in the other account.
    pub fn happen_elsewhere(&self, event: &Value) {
        self.state.log().events_elsewhere.push(event.clone());
    }

    /// Returns how many requests Stripe's API has had.
    #[must_use]
    pub fn stripe_requests(&self) -> u64 {
        self.state.log().requests
    }

    /// Returns how many requests wait for a response.
    #[must_use]
    pub fn stripe_requests_under_way(&self) -> u64 {
        self.state.log().under_way
    }
}

impl State {
    /// Forgets everything that happened at Stripe, and the faults of its API.
    pub(crate) fn forget_stripe(&self) {
        *self.log() = Log::default();
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.stripe_log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event to the list, once.
    pub(crate) fn remember(&self, event: &Value) {
        let mut log = self.log();
        if log.events.iter().all(|known| known["id"] != event["id"]) {
            self.persist(&Entry::StripeEvent(event.clone()));
            log.events.push(event.clone());
        }
    }

    pub(crate) fn restore_stripe_event(&self, event: Value) {
        self.log().events.push(event);
    }

    pub(crate) fn set_loses_webhooks(&self, lost: bool) {
        self.log().loses_webhooks = lost;
    }

    pub(crate) fn loses_webhooks(&self) -> bool {
        self.log().loses_webhooks
    }
}

pub(crate) fn router() -> Router<Arc<State>> {
    Router::new()
        .route("/v1/events", get(list))
        .route("/v1/events/{id}", get(fetch_event))
        .route("/v1/subscriptions/{id}", get(fetch))
}

/// A refusal, as Stripe words it.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    code: Option<&'static str>,
    message: String,
    retry_after_seconds: Option<u64>,
}

impl Refusal {
    fn of(status: StatusCode, code: Option<&'static str>, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retry_after_seconds: None }
    }

    fn invalid(code: &'static str, message: impl Into<String>) -> Self {
        Self::of(StatusCode::BAD_REQUEST, Some(code), message)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let error = json!({"type": "invalid_request_error", "code": self.code, "message": self.message});
        let mut response = (self.status, Json(json!({"error": error}))).into_response();
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(header::RETRY_AFTER, self.retry_after_seconds.unwrap_or(1).into());
        }
        response
    }
}

/// A request that waits for its response. It ends also when the other end gives it up.
struct UnderWay<'a>(&'a State);

impl<'a> UnderWay<'a> {
    fn begin(state: &'a State) -> Self {
        state.log().under_way += 1;
        Self(state)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.log().under_way -= 1;
    }
}

/// Fails unless the key is right, and no fault was ordered.
async fn admit(state: &State, headers: &HeaderMap) -> Result<(), Refusal> {
    let _under_way = UnderWay::begin(state);
    let waits = {
        let mut log = state.log();
        log.requests += 1;
        let hangs = log.hangs_after.is_some_and(|answered| log.requests > answered);
        hangs.then(|| Arc::clone(&log.goes_on).notified_owned())
    };
    if let Some(waits) = waits {
        waits.await;
    }
    let log = state.log();
    let expected = format!("Bearer {}", state.account.stripe_api_key.expose_secret());
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if given != Some(&expected) {
        return Err(Refusal::of(StatusCode::UNAUTHORIZED, None, "Invalid API Key provided"));
    }
    match log.fault {
        Some(status) => {
            let refusal = Refusal::of(status, None, "as ordered");
            Err(Refusal { retry_after_seconds: log.retry_after_seconds, ..refusal })
        }
        None => Ok(()),
    }
}

/// A query of the list of events.
#[derive(Debug, Default)]
struct Listing {
    limit: Option<usize>,
    since: Option<i64>,
    before: Option<i64>,
    types: Vec<String>,
    after: Option<String>,
}

impl Listing {
    fn read(query: Vec<(String, String)>) -> Result<Self, Refusal> {
        let mut listing = Self::default();
        for (name, value) in query {
            let number = || value.parse::<i64>().map_err(|_| Refusal::invalid("parameter_invalid_integer", &name));
            match name.as_str() {
                "limit" => listing.limit = Some(usize::try_from(number()?).unwrap_or_default()),
                "created[gte]" => listing.since = Some(number()?),
                "created[lt]" => listing.before = Some(number()?),
                "types[]" => listing.types.push(value),
                "starting_after" => listing.after = Some(value),
                _ => return Err(Refusal::invalid("parameter_unknown", format!("Received unknown parameter: {name}"))),
            }
        }
        if listing.limit.is_some_and(|limit| !(1..=LIMIT_MAX).contains(&limit)) {
            return Err(Refusal::invalid("parameter_invalid_integer", "limit is not between 1 and 100"));
        }
        if listing.types.len() > TYPES_MAX || listing.types.iter().any(|name| name.is_empty() || name.contains('*')) {
            return Err(Refusal::invalid("parameter_invalid", "types are up to 20 names of events"));
        }
        Ok(listing)
    }

    fn fits(&self, event: &Value) -> bool {
        let created = event["created"].as_i64().unwrap_or_default();
        let oldest = (clock::now() - TimeDelta::days(KEPT_DAYS)).timestamp();
        created >= self.since.unwrap_or(oldest).max(oldest)
            && self.before.is_none_or(|before| created < before)
            && (self.types.is_empty() || self.types.iter().any(|name| event["type"] == *name))
    }

    /// Returns a page, newest first. `events` are in the order in which they happened.
    fn page(&self, events: &[Value]) -> Result<Value, Refusal> {
        let mut listed: Vec<&Value> = events.iter().rev().collect();
        listed.sort_by_key(|event| std::cmp::Reverse(event["created"].as_i64()));
        let from = match &self.after {
            None => 0,
            Some(after) => {
                let place = listed.iter().position(|event| event["id"] == **after);
                let missing = || Refusal::invalid("resource_missing", format!("No such event: '{after}'"));
                place.ok_or_else(missing)? + 1
            }
        };
        let mut rest = listed.into_iter().skip(from).filter(|event| self.fits(event));
        let data: Vec<&Value> = rest.by_ref().take(self.limit.unwrap_or(LIMIT)).collect();
        let has_more = rest.next().is_some();
        Ok(json!({"object": "list", "url": "/v1/events", "has_more": has_more, "data": data}))
    }
}

async fn list(
    Shared(state): Shared<Arc<State>>,
    headers: HeaderMap,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Json<Value>, Refusal> {
    admit(&state, &headers).await?;
    let mut listing = Listing::read(query)?;
    let log = state.log();
    let limit = listing.limit.unwrap_or(LIMIT);
    listing.limit = Some(log.page_max.map_or(limit, |most| limit.min(most)));
    listing.page(log.of_the_key()).map(Json)
}

async fn fetch_event(
    Shared(state): Shared<Arc<State>>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Json<Value>, Refusal> {
    admit(&state, &headers).await?;
    let log = state.log();
    let oldest = (clock::now() - TimeDelta::days(KEPT_DAYS)).timestamp();
    let is_it = |event: &&Value| event["id"] == *id && event["created"].as_i64().is_some_and(|at| at >= oldest);
    let missing = || Refusal::of(StatusCode::NOT_FOUND, Some("resource_missing"), format!("No such event: '{id}'"));
    log.of_the_key().iter().find(is_it).cloned().map(Json).ok_or_else(missing)
}

/// The subscription as it is after the last of its events that happened.
async fn fetch(
    Shared(state): Shared<Arc<State>>,
    headers: HeaderMap,
    Path(id): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Json<Value>, Refusal> {
    admit(&state, &headers).await?;
    if let Some((name, _)) = query.first() {
        return Err(Refusal::invalid("parameter_unknown", format!("Received unknown parameter: {name}")));
    }
    let log = state.log();
    let objects = log.of_the_key().iter().rev().map(|event| &event["data"]["object"]);
    let missing =
        || Refusal::of(StatusCode::NOT_FOUND, Some("resource_missing"), format!("No such subscription: '{id}'"));
    let last = objects.into_iter().find(|object| object["object"] == "subscription" && object["id"] == *id);
    last.cloned().map(Json).ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(count: i64) -> Vec<Value> {
        let now = clock::now().timestamp();
        let event = |n| json!({"id": format!("evt_{n}"), "type": "invoice.paid", "created": now - count + n});
        (1..=count).map(event).collect()
    }

    fn listing(query: &[(&str, &str)]) -> Result<Listing, Refusal> {
        Listing::read(query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    fn ids(page: &Value) -> Vec<&str> {
        page["data"].as_array().unwrap().iter().map(|event| event["id"].as_str().unwrap()).collect()
    }

    #[test]
    fn pages_are_newest_first_and_follow_each_other() {
        let mut events = events(12);
        events.push(json!({"id": "evt_old", "type": "invoice.paid", "created": 1}));
        let first = listing(&[]).ok().unwrap().page(&events).ok().unwrap();
        assert_eq!((ids(&first).len(), ids(&first)[0], &first["has_more"]), (10, "evt_12", &json!(true)));
        let rest = listing(&[("starting_after", "evt_3")]).ok().unwrap().page(&events).ok().unwrap();
        assert_eq!(
            (ids(&rest), &rest["has_more"]),
            (vec!["evt_2", "evt_1"], &json!(false)),
            "nothing older than 30 days"
        );
        assert!(listing(&[("starting_after", "evt_99")]).ok().unwrap().page(&events).is_err());
    }

    #[test]
    fn what_stripe_does_not_take_is_refused() {
        let twenty_one: Vec<(&str, &str)> = vec![("types[]", "invoice.paid"); 21];
        for wrong in
            [&[("limit", "101")][..], &[("limit", "0")], &[("pages", "1")], &[("created[gte]", "soon")], &twenty_one]
        {
            assert!(listing(wrong).is_err(), "{wrong:?}");
        }
        assert!(listing(&[("limit", "100"), ("created[gte]", "1"), ("types[]", "invoice.paid")]).is_ok());
    }
}
