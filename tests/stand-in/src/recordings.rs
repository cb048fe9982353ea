//! Messages of callers: the response to a call asks for one, the stand-in records it, and serves, lists and deletes the recording.

use std::sync::{Arc, MutexGuard, PoisonError};

use axum::extract::{ConnectInfo, Path, Query, State as Shared};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::api::{refuse, unauthorised, with_fault};
use crate::connection::Connection;
use crate::{Answer, Fault, StandIn, State, Undelivered};

/// A recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// Its SID.
    pub sid: String,
    /// The SID of the call.
    pub call_sid: String,
    /// The caller, and the number that was called.
    pub from_to: (String, String),
    /// When it was made.
    pub made_at: DateTime<Utc>,
    /// Its sound, which is no real MP3.
    pub sound: Vec<u8>,
    /// Whether it was deleted.
    pub is_deleted: bool,
    /// How often its sound was fetched.
    pub fetched: u32,
}

/// A message that a caller left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The SID of the recording.
    pub sid: String,
    /// What the caller heard before the tone.
    pub asked: Answer,
    /// What the caller heard after it.
    pub thanked: Answer,
    /// The address to which the recording was reported, and its form, so that the report can be repeated.
    pub report: (String, Vec<(String, String)>),
}

pub(crate) fn router() -> Router<Arc<State>> {
    Router::new()
        .route("/2010-04-01/Accounts/{account}/Recordings.json", get(list))
        .route("/2010-04-01/Accounts/{account}/Recordings/{file}", get(fetch).delete(delete))
        .route("/2010-04-01/Accounts/{account}/Calls/{file}", get(fetch_call))
}

/// Returns the value of an attribute in TwiML.
fn attribute(twiml: &str, name: &str) -> Option<String> {
    let value = twiml.split_once(&format!(" {name}=\""))?.1.split_once('"')?.0;
    Some(value.replace("&amp;", "&"))
}

impl StandIn {
    /// Places a call in which a message is left, if the response asks for one. Returns nothing otherwise.
    ///
    /// # Errors
    /// When a webhook cannot be delivered.
    pub async fn leave_message(&self, from: &str, to: &str, sound: &[u8]) -> Result<Option<Left>, Undelivered> {
        let left = self.state.leave_message(from, to, sound).await?;
        if let Some(left) = &left {
            self.state.deliver(&left.report.0, &left.report.1).await?;
        }
        Ok(left)
    }

    /// As [`Self::leave_message`], but the report that the recording is ready gets lost.
    ///
    /// # Errors
    /// When a webhook cannot be delivered.
    pub async fn leave_unreported(&self, from: &str, to: &str, sound: &[u8]) -> Result<Option<Left>, Undelivered> {
        self.state.leave_message(from, to, sound).await
    }

    /// Adds a recording of a call that no webhook told of. Returns its SID.
    pub fn record_call(&self, from: &str, to: &str, made_at: DateTime<Utc>) -> String {
        let (sid, call_sid) = (self.state.new_sid("RE"), self.state.new_sid("CA"));
        self.state.add_recording(&sid, &call_sid, [from, to], b"ID3: of a call", made_at);
        sid
    }

    /// Makes every recording older.
    pub fn age_recordings(&self, by: TimeDelta) {
        self.state.recordings().iter_mut().for_each(|it| it.made_at -= by);
    }

    /// Returns every recording, also those that were deleted.
    #[must_use]
    pub fn recordings(&self) -> Vec<Recording> {
        self.state.recordings().clone()
    }

    /// Posts a signed form to an address, once.
    ///
    /// # Errors
    /// When the form cannot be delivered.
    pub async fn report(&self, report: &(String, Vec<(String, String)>)) -> Result<Answer, Undelivered> {
        self.state.post(&report.0, &report.1).await
    }
}

impl State {
    fn recordings(&self) -> MutexGuard<'_, Vec<Recording>> {
        self.recordings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add_recording(&self, sid: &str, call_sid: &str, [from, to]: [&str; 2], sound: &[u8], made_at: DateTime<Utc>) {
        self.recordings().push(Recording {
            sid: sid.to_owned(),
            call_sid: call_sid.to_owned(),
            from_to: (from.to_owned(), to.to_owned()),
            made_at,
            sound: sound.to_vec(),
            is_deleted: false,
            fetched: 0,
        });
    }

    /// Does something with a recording, if there is one of this SID.
    fn with_recording<T>(&self, sid: Option<&str>, act: impl FnOnce(&mut Recording) -> T) -> Option<T> {
        self.recordings().iter_mut().find(|it| Some(it.sid.as_str()) == sid && !it.is_deleted).map(act)
    }

    async fn leave_message(&self, from: &str, to: &str, sound: &[u8]) -> Result<Option<Left>, Undelivered> {
        let (base, call_sid) = (&self.account.webhook_base_url, self.new_sid("CA"));
        let arrived = self.call_form(&call_sid, from, to, "ringing");
        let asked = self.deliver(&format!("{base}/webhooks/twilio/voice"), &arrived).await?;
        let left = match (attribute(&asked.body, "action"), attribute(&asked.body, "recordingStatusCallback")) {
            (Some(done), Some(made)) => {
                let sid = self.new_sid("RE");
                self.add_recording(&sid, &call_sid, [from, to], sound, jobrun_shared::clock::now());
                let mut ended = self.call_form(&call_sid, from, to, "in-progress");
                let of_recording = [("RecordingSid", sid.as_str()), ("RecordingDuration", "42")];
                ended.extend(of_recording.map(|(name, value)| (name.to_owned(), value.to_owned())));
                let thanked = self.deliver(&done, &ended).await?;
                let report = [
                    ("AccountSid", self.account.sid.as_str()),
                    ("CallSid", &call_sid),
                    ("RecordingSid", &sid),
                    ("RecordingStatus", "completed"),
                    ("RecordingDuration", "42"),
                    ("RecordingChannels", "1"),
                    ("RecordingSource", "RecordVerb"),
                ];
                let report = report.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
                Some(Left { sid, asked, thanked, report: (made, report) })
            }
            _ => None,
        };
        let ended = self.call_form(&call_sid, from, to, "completed");
        // The recording is ready after the call.
        self.deliver(&format!("{base}/webhooks/twilio/voice/status"), &ended).await?;
        Ok(left)
    }
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
    let fault = state.faults.of_read(&file);
    let sound = state.with_recording(file.strip_suffix(".mp3"), |recording| {
        recording.fetched += 1;
        recording.sound.clone()
    });
    let answer =
        sound.map_or_else(|| not_found(&uri), |sound| ([(header::CONTENT_TYPE, "audio/mpeg")], sound).into_response());
    with_fault(fault, answer, &connection).await
}

async fn delete(
    Shared(state): Shared<Arc<State>>,
    Path((account, file)): Path<(String, String)>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    if let Some(refusal) = unauthorised(&state, &account, &headers) {
        return refusal;
    }
    let fault = state.faults.of_read(&file);
    let takes = fault.is_none_or(Fault::takes);
    let deleted = state.with_recording(file.strip_suffix(".json"), |recording| {
        if takes {
            recording.is_deleted = true;
            recording.sound.clear();
        }
    });
    let answer = deleted.map_or_else(|| not_found(&uri), |()| StatusCode::NO_CONTENT.into_response());
    with_fault(fault, answer, &connection).await
}

/// Lists the recordings, the newest first, a thousand at most, without another page.
async fn list(
    Shared(state): Shared<Arc<State>>,
    Path(account): Path<String>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Response {
    if let Some(refusal) = unauthorised(&state, &account, &headers) {
        return refusal;
    }
    let day = query.iter().find(|(name, _)| name == "DateCreated").map(|(_, day)| day.parse::<NaiveDate>());
    let Some(day) = day.transpose().ok() else {
        return refuse(StatusCode::BAD_REQUEST, 20001, "Invalid parameter: DateCreated");
    };
    let fits = |it: &&Recording| !it.is_deleted && day.is_none_or(|day| it.made_at.date_naive() == day);
    let mut listed: Vec<Recording> = state.recordings().iter().filter(fits).cloned().collect();
    listed.sort_by_key(|it| std::cmp::Reverse(it.made_at));
    let entries: Vec<Value> = listed.iter().take(1000).map(|it| entry(it, &account)).collect();
    let answer = Json(json!({ "recordings": entries, "page": 0, "next_page_uri": null })).into_response();
    with_fault(state.faults.of_read("Recordings"), answer, &connection).await
}

fn entry(recording: &Recording, account: &str) -> Value {
    json!({
        "sid": recording.sid,
        "account_sid": account,
        "call_sid": recording.call_sid,
        "date_created": recording.made_at.to_rfc2822(),
        "duration": "42",
        "channels": 1,
        "source": "RecordVerb",
        "status": "completed",
        "error_code": null,
    })
}

/// Shows a call in which something was recorded.
async fn fetch_call(
    Shared(state): Shared<Arc<State>>,
    Path((account, file)): Path<(String, String)>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    if let Some(refusal) = unauthorised(&state, &account, &headers) {
        return refusal;
    }
    let sid = file.strip_suffix(".json");
    let call = state.recordings().iter().find(|it| Some(it.call_sid.as_str()) == sid).map(|it| it.from_to.clone());
    let shown = |(from, to)| {
        let sid = sid.unwrap_or_default();
        Json(json!({ "sid": sid, "from": from, "to": to, "direction": "inbound", "status": "completed" }))
            .into_response()
    };
    let answer = call.map_or_else(|| not_found(&uri), shown);
    with_fault(state.faults.of_read(&file), answer, &connection).await
}

fn not_found(uri: &Uri) -> Response {
    refuse(StatusCode::NOT_FOUND, 20404, &format!("The requested resource {} was not found", uri.path()))
}
