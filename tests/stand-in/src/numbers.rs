//! The REST API for the numbers of the account: list them page by page, buy them, and update their settings.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, MutexGuard, PoisonError};

use axum::extract::{ConnectInfo, Path, Query, State as Shared};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::api::{refuse, unauthorised, with_fault};
use crate::connection::Connection;
use crate::faults::Fault;
use crate::state_file::Entry;
use crate::{StandIn, State};

/// The largest page. Twilio's limit is 1000, which no test would reach.
pub(crate) const LARGEST_PAGE: usize = 50;

/// The settable fields: the name in an update, and the name in a response.
const FIELDS: [(&str, &str); 10] = [
    ("SmsUrl", "sms_url"),
    ("SmsMethod", "sms_method"),
    ("SmsApplicationSid", "sms_application_sid"),
    ("VoiceUrl", "voice_url"),
    ("VoiceMethod", "voice_method"),
    ("VoiceApplicationSid", "voice_application_sid"),
    ("StatusCallback", "status_callback"),
    ("StatusCallbackMethod", "status_callback_method"),
    ("TrunkSid", "trunk_sid"),
    ("FriendlyName", "friendly_name"),
];

/// A number of the account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Number {
    /// The number, E.164.
    pub phone_number: String,
    /// Whether it supports texts.
    pub sms: bool,
    /// Whether it supports calls.
    pub voice: bool,
    /// The fields that are set, by the names that updates use: `SmsUrl` and so on.
    pub fields: BTreeMap<String, String>,
    /// How often it has been updated.
    pub updates: u32,
    /// Whether updates of it are refused with 503.
    pub refuses_updates: bool,
}

impl Number {
    /// Returns a number as Twilio sells it: its texts and calls go to Twilio's demonstration.
    #[must_use]
    pub fn new(phone_number: &str) -> Self {
        let number = Self {
            phone_number: phone_number.to_owned(),
            sms: true,
            voice: true,
            fields: BTreeMap::new(),
            updates: 0,
            refuses_updates: false,
        };
        number
            .with("SmsUrl", "https://demo.twilio.com/welcome/sms/reply")
            .with("SmsMethod", "POST")
            .with("VoiceUrl", "https://demo.twilio.com/welcome/voice/")
            .with("VoiceMethod", "POST")
            .with("StatusCallbackMethod", "POST")
    }

    /// Returns the number with a field set.
    #[must_use]
    pub fn with(mut self, field: &str, value: &str) -> Self {
        self.fields.insert(field.to_owned(), value.to_owned());
        self
    }

    /// Returns the SID, `PN…`.
    #[must_use]
    pub fn sid(&self) -> String {
        format!("PN{:0>32}", self.phone_number.trim_start_matches('+'))
    }

    /// Sets the settable fields. As with Twilio, others are ignored.
    fn set(&mut self, fields: HashMap<String, String>) {
        self.fields.extend(fields.into_iter().filter(|(field, _)| FIELDS.iter().any(|(name, _)| name == field)));
    }

    fn as_json(&self) -> Value {
        let mut shown = json!({
            "sid": self.sid(),
            "phone_number": self.phone_number,
            "capabilities": {"voice": self.voice, "sms": self.sms, "mms": false, "fax": false},
            "status": "in-use",
            "origin": "twilio",
        });
        for (field, name) in FIELDS {
            let value = self.fields.get(field).filter(|value| !value.is_empty());
            // Twilio shows an unset SID as null, and another unset field as an empty string.
            let unset = if name.ends_with("_sid") { Value::Null } else { json!("") };
            shown[name] = value.map_or(unset, |value| json!(value));
        }
        shown
    }
}

impl StandIn {
    /// Replaces the numbers of the account.
    pub fn set_numbers(&self, numbers: Vec<Number>) {
        *self.state.numbers() = numbers;
    }

    /// Puts these numbers first in the account, in place of those with the same phone number. Others stay as they are.
    pub fn set_up_numbers(&self, set_up: Vec<Number>) {
        let mut numbers = self.state.numbers();
        numbers.retain(|number| set_up.iter().all(|it| it.phone_number != number.phone_number));
        numbers.splice(0..0, set_up);
    }

    /// Returns the numbers of the account.
    #[must_use]
    pub fn numbers(&self) -> Vec<Number> {
        self.state.numbers().clone()
    }
}

impl State {
    pub(crate) fn numbers(&self) -> MutexGuard<'_, Vec<Number>> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn router() -> Router<Arc<State>> {
    Router::new()
        .route("/2010-04-01/Accounts/{account}/IncomingPhoneNumbers.json", get(list).post(buy))
        .route("/2010-04-01/Accounts/{account}/IncomingPhoneNumbers/{file}", post(update))
}

async fn list(
    Shared(state): Shared<Arc<State>>,
    Path(account): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    headers: HeaderMap,
) -> Response {
    if let Some(refusal) = unauthorised(&state, &account, &headers) {
        return refusal;
    }
    let answer = page(&state.numbers(), &account, &query);
    with_fault(state.faults.of_read("numbers"), answer, &connection).await
}

fn page(numbers: &[Number], account: &str, query: &HashMap<String, String>) -> Response {
    let given = |name: &str| query.get(name).and_then(|value| value.parse::<usize>().ok());
    let size = given("PageSize").unwrap_or(LARGEST_PAGE).clamp(1, LARGEST_PAGE);
    let page = given("Page").unwrap_or(0);
    if page > 0 && !query.contains_key("PageToken") {
        return refuse(StatusCode::BAD_REQUEST, 20006, "A page after the first is only found by its link");
    }
    let wanted = query.get("PhoneNumber");
    let numbers: Vec<&Number> =
        numbers.iter().filter(|number| wanted.is_none_or(|wanted| number.phone_number.contains(wanted))).collect();
    let shown: Vec<Value> = numbers.iter().skip(page * size).take(size).map(|number| number.as_json()).collect();
    let next = (numbers.len() > (page + 1) * size).then(|| {
        let path = format!("/2010-04-01/Accounts/{account}/IncomingPhoneNumbers.json");
        let last = numbers[(page + 1) * size - 1].sid();
        format!("{path}?PageSize={size}&Page={}&PageToken=PA{last}", page + 1)
    });
    let body = json!({"incoming_phone_numbers": shown, "page": page, "page_size": size, "next_page_uri": next});
    Json(body).into_response()
}

async fn buy(
    Shared(state): Shared<Arc<State>>,
    Path(account): Path<String>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    headers: HeaderMap,
    Form(fields): Form<HashMap<String, String>>,
) -> Response {
    if let Some(refusal) = unauthorised(&state, &account, &headers) {
        return refusal;
    }
    let fault = state.faults.of_purchase();
    let is_sold = fault.is_none_or(Fault::takes);
    let answer = if is_sold { sell(&state, fields) } else { StatusCode::NO_CONTENT.into_response() };
    with_fault(fault, answer, &connection).await
}

fn sell(state: &State, fields: HashMap<String, String>) -> Response {
    let wanted = fields.get("PhoneNumber").cloned().unwrap_or_default();
    if let Some(refusal) = fields.iter().find_map(|(field, value)| refuse_value(field, value)) {
        return refusal;
    }
    let offer = match state.take_from_market(&wanted, &fields) {
        Ok(offer) => offer,
        Err((code, why)) => return refuse(StatusCode::BAD_REQUEST, code, why),
    };
    let mut number = Number { sms: offer.sms, voice: offer.voice, ..Number::new(&wanted) };
    number.set(fields);
    let answer = (StatusCode::CREATED, Json(number.as_json())).into_response();
    state.add_number(number);
    answer
}

async fn update(
    Shared(state): Shared<Arc<State>>,
    Path((account, file)): Path<(String, String)>,
    headers: HeaderMap,
    Form(fields): Form<HashMap<String, String>>,
) -> Response {
    if let Some(refusal) = unauthorised(&state, &account, &headers) {
        return refusal;
    }
    let mut numbers = state.numbers();
    let Some(number) = numbers.iter_mut().find(|number| file == format!("{}.json", number.sid())) else {
        return refuse(StatusCode::NOT_FOUND, 20404, "The requested resource was not found");
    };
    if number.refuses_updates {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, 20503, "Service unavailable");
    }
    for (field, value) in &fields {
        if let Some(refusal) = refuse_value(field, value) {
            return refusal;
        }
    }
    number.set(fields);
    number.updates += 1;
    state.persist(&Entry::Number(number.clone()));
    Json(number.as_json()).into_response()
}

fn refuse_value(field: &str, value: &str) -> Option<Response> {
    let is_url = field.ends_with("Url") || field == "StatusCallback";
    if is_url && !value.is_empty() && !value.starts_with("https://") && !value.starts_with("http://") {
        return Some(refuse(StatusCode::BAD_REQUEST, 21402, "Invalid Url"));
    }
    let is_method = field.ends_with("Method");
    (is_method && !["GET", "POST"].contains(&value)).then(|| refuse(StatusCode::BAD_REQUEST, 21403, "Invalid Method"))
}
