//! The numbers for sale: the search, and the conditions of a purchase.
//!
//! Only UK numbers are sold. Each purchase needs a regulatory bundle.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError};

use axum::extract::{ConnectInfo, Path, Query, State as Shared};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::api::{refuse, unauthorised, with_fault};
use crate::connection::Connection;
use crate::numbers::LARGEST_PAGE;
use crate::{StandIn, State};

/// The only country whose numbers are sold.
const COUNTRY: &str = "GB";

/// How many numbers are for sale at first.
const FRESH: u32 = 100;

/// A number for sale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The number, E.164.
    pub phone_number: String,
    /// Its type, as a search names it: `Mobile`, `Local`, `National` or `TollFree`.
    pub kind: &'static str,
    /// Whether it supports texts.
    pub sms: bool,
    /// Whether it supports calls.
    pub voice: bool,
    /// The address that its buyer needs: `none`, `any`, `local` or `foreign`.
    pub address_requirements: &'static str,
    /// Whether it is new to Twilio (the filter `Beta` of a search).
    pub beta: bool,
}

impl Offer {
    /// Returns a mobile number that supports texts and calls, and needs no address.
    #[must_use]
    pub fn new(phone_number: &str) -> Self {
        let phone_number = phone_number.to_owned();
        Self { phone_number, kind: "Mobile", sms: true, voice: true, address_requirements: "none", beta: false }
    }

    fn as_json(&self) -> Value {
        json!({
            "phone_number": self.phone_number,
            "friendly_name": self.phone_number,
            "iso_country": COUNTRY,
            "capabilities": {"voice": self.voice, "SMS": self.sms, "mms": false},
            "address_requirements": self.address_requirements,
            "beta": self.beta,
            "locality": null,
            "region": null,
        })
    }
}

/// Returns the numbers for sale at every start: +447400100001 and so on.
pub(crate) fn fresh_numbers() -> Vec<Offer> {
    (1..=FRESH).map(|n| Offer::new(&format!("+447400{:06}", 100_000 + n))).collect()
}

impl StandIn {
    /// Replaces the numbers for sale.
    pub fn offer(&self, offers: Vec<Offer>) {
        *self.state.market() = offers;
    }

    /// Returns the numbers for sale.
    #[must_use]
    pub fn offers(&self) -> Vec<Offer> {
        self.state.market().clone()
    }

    /// Makes another buyer take a number just after the next search, which still shows it.
    pub fn sell_elsewhere(&self, phone_number: &str) {
        self.state.faults.orders().sold_elsewhere.push(phone_number.to_owned());
    }
}

impl State {
    pub(crate) fn market(&self) -> MutexGuard<'_, Vec<Offer>> {
        self.market.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a number off the market, or returns the error code and the words of a refusal.
    pub(crate) fn take_from_market(
        &self,
        wanted: &str,
        fields: &HashMap<String, String>,
    ) -> Result<Offer, (u32, &'static str)> {
        let given = |field: &str, prefix: &str| fields.get(field).is_some_and(|sid| is_sid(sid, prefix));
        let mut market = self.market();
        let place = market.iter().position(|offer| offer.phone_number == wanted);
        match place {
            _ if !wanted.starts_with('+') => Err((21421, "PhoneNumber is invalid")),
            _ if !given("BundleSid", "BU") => Err((21649, "Phone Number Requires a Bundle")),
            None => Err((21422, "PhoneNumber is not available")),
            Some(place) if market[place].address_requirements != "none" && !given("AddressSid", "AD") => {
                Err((21631, "Phone Number Requires an Address"))
            }
            Some(place) => Ok(market.remove(place)),
        }
    }
}

/// Whether `sid` consists of `prefix` and 32 hexadecimal digits.
fn is_sid(sid: &str, prefix: &str) -> bool {
    let digits = sid.strip_prefix(prefix).unwrap_or_default();
    digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

pub(crate) fn router() -> Router<Arc<State>> {
    Router::new().route("/2010-04-01/Accounts/{account}/AvailablePhoneNumbers/{country}/{file}", get(search))
}

async fn search(
    Shared(state): Shared<Arc<State>>,
    Path((account, country, file)): Path<(String, String, String)>,
    Query(query): Query<HashMap<String, String>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    headers: HeaderMap,
) -> Response {
    if let Some(refusal) = unauthorised(&state, &account, &headers) {
        return refusal;
    }
    let kind = file.strip_suffix(".json").unwrap_or_default();
    let answer = if country == COUNTRY && ["Mobile", "Local", "National", "TollFree"].contains(&kind) {
        Json(json!({"available_phone_numbers": shown(&state, kind, &query)})).into_response()
    } else {
        refuse(StatusCode::NOT_FOUND, 20404, "The requested resource was not found")
    };
    with_fault(state.faults.of_read("numbers for sale"), answer, &connection).await
}

/// Returns the numbers that match the filters. As with Twilio, an absent filter matches every number.
fn shown(state: &State, kind: &str, query: &HashMap<String, String>) -> Vec<Value> {
    let asked = |name: &str| query.get(name).map(|value| value == "true");
    let fits = |asked: Option<bool>, is: bool| asked.is_none_or(|asked| asked == is);
    let size = query.get("PageSize").and_then(|size| size.parse().ok()).unwrap_or(LARGEST_PAGE).clamp(1, LARGEST_PAGE);
    let mut market = state.market();
    let found: Vec<Value> = market
        .iter()
        .filter(|offer| offer.kind == kind)
        .filter(|offer| fits(asked("SmsEnabled"), offer.sms) && fits(asked("VoiceEnabled"), offer.voice))
        // Only `Beta=false` leaves out numbers that are new to Twilio.
        .filter(|offer| asked("Beta") != Some(false) || !offer.beta)
        .take(size)
        .map(Offer::as_json)
        .collect();
    let sold_elsewhere = std::mem::take(&mut state.faults.orders().sold_elsewhere);
    market.retain(|offer| !sold_elsewhere.contains(&offer.phone_number));
    found
}
