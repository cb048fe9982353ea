//! The REST API for messages: create, fetch and list.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::{ConnectInfo, Path, Query, State as Shared};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jobrun_twilio::signature;
use secrecy::ExposeSecret;
use serde_json::json;

use crate::connection::Connection;
use crate::faults::{Fault, Reports, Treatment};
use crate::listing::Listing;
use crate::{Direction, Message, MessageStatus, State, form};

/// The longest validity period of a message, in seconds, which is also the default.
const VALIDITY_PERIOD_MAX: u32 = 36_000;

pub(crate) fn router() -> Router<Arc<State>> {
    Router::new()
        .route("/2010-04-01/Accounts/{account}/Messages.json", post(create).get(list))
        .route("/2010-04-01/Accounts/{account}/Messages/{file}", get(fetch).post(redact))
}

pub(crate) fn refuse(status: StatusCode, code: u32, message: &str) -> Response {
    let more_info = format!("https://www.twilio.com/docs/errors/{code}");
    let problem = json!({"code": code, "message": message, "more_info": more_info, "status": status.as_u16()});
    (status, Json(problem)).into_response()
}

/// Returns a refusal, unless the credentials and the path name the account.
pub(crate) fn unauthorised(state: &State, account: &str, headers: &HeaderMap) -> Option<Response> {
    let credentials = format!("{}:{}", state.account.sid, state.account.auth_token.expose_secret());
    let expected = format!("Basic {}", BASE64_STANDARD.encode(credentials));
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let authorised = given == Some(&expected) && account == state.account.sid;
    (!authorised).then(|| refuse(StatusCode::UNAUTHORIZED, 20003, "Authenticate"))
}

async fn create(
    Shared(state): Shared<Arc<State>>,
    Path(account): Path<String>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    headers: HeaderMap,
    Form(fields): Form<HashMap<String, String>>,
) -> Response {
    if let Some(refusal) = unauthorised(&state, &account, &headers) {
        return refusal;
    }
    let message = match read_message(&state, &fields) {
        Ok(message) => message,
        Err((code, why)) => return refuse(StatusCode::BAD_REQUEST, code, why),
    };
    let treatment = state.faults.of_text(&message.to, &message.body);
    let is_taken = treatment.fault.is_none_or(Fault::takes);
    let answer = if is_taken { take(&state, message, treatment).await } else { StatusCode::NO_CONTENT.into_response() };
    with_fault(treatment.fault, answer, &connection).await
}

/// Returns `answer`, or the response with which the fault replaces it.
pub(crate) async fn with_fault(fault: Option<Fault>, answer: Response, connection: &Connection) -> Response {
    match fault {
        Some(fault) => fault.apply(answer, connection).await,
        None => answer,
    }
}

/// Returns the message that a form asks for, or the error code and the words of its refusal.
fn read_message(state: &State, fields: &HashMap<String, String>) -> Result<Message, (u32, &'static str)> {
    let get = |name: &str| fields.get(name).cloned().unwrap_or_default();
    let (to, from, body) = (get("To"), get("From"), get("Body"));
    match (is_e164(&to), is_e164(&from), body.chars().count()) {
        (false, _, _) => return Err((21211, "Invalid 'To' Phone Number")),
        (_, false, _) => return Err((21212, "Invalid From Number")),
        (_, _, 0) => return Err((21602, "Message body is required")),
        (_, _, 1601..) => return Err((21617, "The message body exceeds 1600 characters")),
        (true, true, _) => {}
    }
    let validity_period =
        fields.get("ValidityPeriod").map_or(Some(VALIDITY_PERIOD_MAX), |seconds| seconds.parse().ok());
    let validity_period = validity_period.filter(|seconds| (1..=VALIDITY_PERIOD_MAX).contains(seconds));
    let now = jobrun_shared::clock::now();
    Ok(Message {
        sid: state.new_sid("SM"),
        from,
        to,
        body,
        direction: Direction::Outbound,
        status_callback: fields.get("StatusCallback").cloned(),
        validity_period: Some(validity_period.ok_or((21624, "Invalid validity period"))?),
        status: MessageStatus::Queued,
        error_code: None,
        date_created: now,
        date_sent: None,
        listed_from: now,
    })
}

fn is_e164(number: &str) -> bool {
    let digits = number.strip_prefix('+').unwrap_or_default();
    (7..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Accepts a message, and returns the response, in which it is queued. Only later fetches and lists show its delivery outcome.
async fn take(state: &Arc<State>, mut message: Message, treatment: Treatment) -> Response {
    let answer = (StatusCode::CREATED, Json(message.as_json(&state.account.sid))).into_response();
    if let Some(status) = treatment.outcome.steps().last() {
        message.status = *status;
        message.error_code = treatment.outcome.error_code();
        message.date_sent = (*status != MessageStatus::Failed).then_some(message.date_created);
    }
    message.listed_from = message.date_created + treatment.unlisted;
    state.add_message(message.clone());
    state.taken.fetch_add(1, Ordering::Release);

    let answer_after = Duration::from_millis(state.answer_after_ms.load(Ordering::Relaxed));
    // A task of their own sends the reports even if the caller stops waiting for the response.
    let reports_after = match treatment.reports {
        Reports::BeforeAnswer => Duration::ZERO,
        Reports::Late(by) => answer_after + by,
        _ => answer_after,
    };
    let reported = tokio::spawn(report(Arc::clone(state), message, treatment, reports_after));
    if treatment.reports == Reports::BeforeAnswer {
        // The response follows even if the task failed.
        let _ = reported.await;
    }
    pause(answer_after).await;
    answer
}

/// Sleeps for `duration`. Returns at once if it is zero.
async fn pause(duration: Duration) {
    if !duration.is_zero() {
        tokio::time::sleep(duration).await;
    }
}

/// Sends the delivery reports of a message.
async fn report(state: Arc<State>, message: Message, treatment: Treatment, after: Duration) {
    let Some(url) = message.status_callback.as_ref().filter(|_| state.account.delivery_reports) else { return };
    pause(after).await;
    let steps = treatment.outcome.steps().iter().copied();
    let steps: Vec<MessageStatus> = match treatment.reports {
        Reports::Missing => Vec::new(),
        Reports::Twice => steps.flat_map(|status| [status, status]).collect(),
        Reports::Reordered => steps.rev().collect(),
        Reports::InOrder | Reports::Late(_) | Reports::BeforeAnswer => steps.collect(),
    };
    for status in steps {
        // As with Twilio, a report that cannot be delivered is lost. The fragment is meant for Twilio, and is not signed.
        let url = url.split('#').next().unwrap_or_default();
        let _ = state.post(url, &report_form(&state, &message, status)).await;
    }
}

fn report_form(state: &State, message: &Message, status: MessageStatus) -> signature::Form {
    let mut fields = form(&[
        ("MessageSid", &message.sid),
        ("SmsSid", &message.sid),
        ("MessageStatus", status.name()),
        ("SmsStatus", status.name()),
        ("AccountSid", &state.account.sid),
        ("From", &message.from),
        ("To", &message.to),
        ("ApiVersion", "2010-04-01"),
    ]);
    let is_bad_end = matches!(status, MessageStatus::Undelivered | MessageStatus::Failed);
    if let Some(code) = message.error_code.filter(|_| is_bad_end) {
        fields.push(("ErrorCode".to_owned(), code.to_string()));
    }
    fields
}

async fn list(
    Shared(state): Shared<Arc<State>>,
    Path(account): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    headers: HeaderMap,
) -> Response {
    if let Some(refusal) = unauthorised(&state, &account, &headers) {
        return refusal;
    }
    let (asked, answer) = match Listing::read(&query) {
        Ok(listing) => {
            let page = listing.page(&state.messages(), jobrun_shared::clock::now(), &account, &query);
            (listing.asked(), Json(page).into_response())
        }
        Err(name) => {
            let why = format!("Invalid parameter {name}");
            (name, refuse(StatusCode::BAD_REQUEST, 20001, &why))
        }
    };
    with_fault(state.faults.of_read(&asked), answer, &connection).await
}

async fn fetch(
    Shared(state): Shared<Arc<State>>,
    Path((account, file)): Path<(String, String)>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    if let Some(refusal) = unauthorised(&state, &account, &headers) {
        return refusal;
    }
    let sid = file.strip_suffix(".json").unwrap_or_default();
    let found = state.messages().iter().find(|message| message.sid == sid).cloned();
    // SIDs differ from run to run; faults by a seed must not. So they depend on recipient and body.
    let asked = found.as_ref().map(|message| format!("{} {}", message.to, message.body)).unwrap_or_default();
    let answer = match found {
        Some(message) => Json(message.as_json(&account)).into_response(),
        None => refuse(StatusCode::NOT_FOUND, 20404, &format!("The requested resource {} was not found", uri.path())),
    };
    with_fault(state.faults.of_read(&asked), answer, &connection).await
}

/// Redacts a message, which only an empty body asks for.
async fn redact(
    Shared(state): Shared<Arc<State>>,
    Path((account, file)): Path<(String, String)>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    headers: HeaderMap,
    Form(fields): Form<HashMap<String, String>>,
) -> Response {
    if let Some(refusal) = unauthorised(&state, &account, &headers) {
        return refusal;
    }
    let sid = file.strip_suffix(".json").unwrap_or_default();
    let answer = if fields.get("Body").is_some_and(String::is_empty) {
        let redacted = state.redact_message(sid);
        redacted.map_or_else(
            || refuse(StatusCode::NOT_FOUND, 20404, "The requested resource was not found"),
            |message| Json(message.as_json(&account)).into_response(),
        )
    } else {
        refuse(StatusCode::BAD_REQUEST, 20001, "Only an empty Body is accepted")
    };
    with_fault(state.faults.of_read(sid), answer, &connection).await
}
