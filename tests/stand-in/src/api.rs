//! The REST API: creating messages, and listing them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::{Path, Query, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Form, Json, Router};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::json;

use crate::{State, form};

/// A message that was taken.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its name.
    pub sid: String,
    /// From which number.
    pub from: String,
    /// To whom.
    pub to: String,
    /// What it says.
    pub body: String,
    /// The address of its delivery reports.
    pub status_callback: Option<String>,
    /// How far it got.
    pub status: MessageStatus,
    /// When it was taken, RFC 2822.
    pub date_created: String,
}

/// How far a message got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageStatus {
    /// Taken.
    Queued,
    /// Handed to the carrier.
    Sent,
    /// Arrived.
    Delivered,
}

impl MessageStatus {
    /// Twilio's name for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
        }
    }
}

pub(crate) fn router() -> Router<Arc<State>> {
    Router::new().route("/2010-04-01/Accounts/{account}/Messages.json", post(create).get(list))
}

fn refuse(status: StatusCode, code: u32, message: &str) -> Response {
    let more_info = format!("https://www.twilio.com/docs/errors/{code}");
    let problem = json!({"code": code, "message": message, "more_info": more_info, "status": status.as_u16()});
    (status, Json(problem)).into_response()
}

/// The refusal of whoever is not the account.
fn unauthorised(state: &State, account: &str, headers: &HeaderMap) -> Option<Response> {
    let credentials = format!("{}:{}", state.account.sid, state.account.auth_token.expose());
    let expected = format!("Basic {}", BASE64_STANDARD.encode(credentials));
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let authorised = given == Some(&expected) && account == state.account.sid;
    (!authorised).then(|| refuse(StatusCode::UNAUTHORIZED, 20003, "Authenticate"))
}

async fn create(
    Shared(state): Shared<Arc<State>>,
    Path(account): Path<String>,
    headers: HeaderMap,
    Form(fields): Form<HashMap<String, String>>,
) -> Response {
    if let Some(refusal) = unauthorised(&state, &account, &headers) {
        return refusal;
    }
    let get = |name: &str| fields.get(name).cloned().unwrap_or_default();
    let (to, from, body) = (get("To"), get("From"), get("Body"));
    match (is_e164(&to), is_e164(&from), body.chars().count()) {
        (false, _, _) => return refuse(StatusCode::BAD_REQUEST, 21211, "Invalid 'To' Phone Number"),
        (_, false, _) => return refuse(StatusCode::BAD_REQUEST, 21212, "Invalid From Number"),
        (_, _, 0) => return refuse(StatusCode::BAD_REQUEST, 21602, "Message body is required"),
        (_, _, 1601..) => return refuse(StatusCode::BAD_REQUEST, 21617, "The message body exceeds 1600 characters"),
        (true, true, _) => {}
    }
    let message = Message {
        sid: state.new_sid("SM"),
        from,
        to,
        body,
        status_callback: fields.get("StatusCallback").cloned(),
        status: MessageStatus::Queued,
        date_created: jobrun_shared::clock::now().to_rfc2822(),
    };
    state.messages().push(message.clone());
    let delay = Duration::from_millis(state.answer_after_ms.load(Ordering::Relaxed));
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    if state.account.delivery_reports {
        tokio::spawn(report(Arc::clone(&state), message.clone()));
    }
    (StatusCode::CREATED, Json(as_json(&message))).into_response()
}

fn is_e164(number: &str) -> bool {
    let digits = number.strip_prefix('+').unwrap_or_default();
    (7..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Reports that a message was sent, and then that it was delivered.
async fn report(state: Arc<State>, message: Message) {
    for status in [MessageStatus::Sent, MessageStatus::Delivered] {
        if let Some(message) = state.messages().iter_mut().find(|it| it.sid == message.sid) {
            message.status = status;
        }
        let Some(url) = &message.status_callback else { continue };
        let fields = form(&[
            ("MessageSid", &message.sid),
            ("SmsSid", &message.sid),
            ("MessageStatus", status.name()),
            ("SmsStatus", status.name()),
            ("AccountSid", &state.account.sid),
            ("From", &message.from),
            ("To", &message.to),
            ("ApiVersion", "2010-04-01"),
        ]);
        // As with Twilio, a report that cannot be delivered is lost.
        let _ = state.post(url, &fields).await;
    }
}

async fn list(
    Shared(state): Shared<Arc<State>>,
    Path(account): Path<String>,
    Query(filter): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    if let Some(refusal) = unauthorised(&state, &account, &headers) {
        return refusal;
    }
    let fits = |name: &str, value: &str| filter.get(name).is_none_or(|wanted| wanted == value);
    let page: usize = filter.get("PageSize").and_then(|size| size.parse().ok()).unwrap_or(50);
    let messages: Vec<serde_json::Value> = state
        .messages()
        .iter()
        .rev()
        .filter(|message| fits("To", &message.to) && fits("From", &message.from))
        .take(page)
        .map(as_json)
        .collect();
    Json(json!({"messages": messages, "page": 0, "page_size": page, "next_page_uri": null})).into_response()
}

fn as_json(message: &Message) -> serde_json::Value {
    json!({
        "sid": message.sid,
        "status": message.status.name(),
        "to": message.to,
        "from": message.from,
        "body": message.body,
        "direction": "outbound-api",
        "num_segments": "1",
        "date_created": message.date_created,
        "date_sent": null,
        "error_code": null,
        "error_message": null,
    })
}
