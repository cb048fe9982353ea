//! Recordings of callers' messages: their sound, their list, and their deletion.

use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use reqwest::{Response, StatusCode, header};
use serde::Deserialize;
use serde_json::Value;

use crate::Error;
use crate::answers::{PAGE_SIZE, ROOT, no_answer, refusal};
use crate::api::Api;
use crate::parameters;

/// Twilio's code for "not found".
const UNKNOWN: i32 = 20404;

/// How long a recording may take to arrive: its listener may have a slow connection.
const SOUND_TIMEOUT: Duration = Duration::from_secs(60);

/// A message of a caller in the list of recordings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its SID.
    pub sid: String,
    /// The SID of the call.
    pub call_sid: String,
    /// When it was made, to the second.
    pub made_at: DateTime<Utc>,
    /// How long it is.
    pub seconds: Option<u32>,
}

impl Listed {
    /// Reads an entry of the list. Returns nothing if it is no message that a response of ours asked for, is not ready, or cannot be
    /// read.
    fn read(entry: &Value) -> Option<Self> {
        let field = |name: &str| entry.get(name).and_then(Value::as_str);
        let is_message = field("source") == Some("RecordVerb") && field("status") == Some("completed");
        let sid = field("sid").filter(|sid| is_message && parameters::is_recording_sid(sid))?;
        let call_sid = field("call_sid").filter(|sid| parameters::is_call_sid(sid))?;
        let made_at = DateTime::parse_from_rfc2822(field("date_created")?).ok()?.to_utc();
        let seconds = field("duration").and_then(|seconds| seconds.parse().ok());
        Some(Self { sid: sid.to_owned(), call_sid: call_sid.to_owned(), made_at, seconds })
    }
}

#[derive(Deserialize)]
struct Page {
    recordings: Vec<Value>,
    next_page_uri: Option<String>,
}

#[derive(Deserialize)]
struct CalledNumber {
    to: Option<String>,
}

/// The sound of a recording, as it arrives.
#[derive(Debug)]
pub struct Sound {
    response: Response,
}

impl Sound {
    /// Returns its length in bytes, if Twilio says so.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// Returns its next part, or nothing at its end.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let part = self.response.chunk().await.map_err(|error| no_answer(&error))?;
        Ok(part.map(|part| part.to_vec()))
    }
}

impl Api {
    /// Returns the sound of a recording, as MP3. A redirect is not followed: it counts as a refusal.
    ///
    /// # Errors
    /// When Twilio does not answer, refuses, or sends something else.
    pub async fn recording(&self, sid: &str) -> Result<Sound, Error> {
        let url = format!("{}.mp3", self.recording_url(sid));
        let request = self.authorised(self.http.get(url).timeout(SOUND_TIMEOUT));
        let response = request.send().await.map_err(|error| no_answer(&error))?;
        if response.status() != StatusCode::OK {
            return Err(refusal(response).await);
        }
        let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if kind.is_some_and(|kind| kind.starts_with("audio/mpeg")) {
            Ok(Sound { response })
        } else {
            Err(Error::Unreadable("it is no MP3"))
        }
    }

    /// Deletes a recording. One that Twilio does not know is deleted already.
    ///
    /// # Errors
    /// When Twilio does not answer, or refuses.
    pub async fn delete_recording(&self, sid: &str) -> Result<(), Error> {
        let request = self.authorised(self.http.delete(format!("{}.json", self.recording_url(sid))));
        let response = request.send().await.map_err(|error| no_answer(&error))?;
        if response.status().is_success() {
            return Ok(());
        }
        match refusal(response).await {
            // Without the code it is another server's answer.
            Error::Refused { status: StatusCode::NOT_FOUND, code: Some(UNKNOWN), .. } => Ok(()),
            error => Err(error),
        }
    }

    /// Returns the messages of callers that were made on `day` (UTC) and are still there.
    ///
    /// # Errors
    /// When the list cannot be read to its end.
    pub async fn list_recordings(&self, day: NaiveDate) -> Result<Vec<Listed>, Error> {
        let day = day.format("%Y-%m-%d");
        let first = format!("{ROOT}{}/Recordings.json?DateCreated={day}&PageSize={PAGE_SIZE}", self.account.sid);
        let pages: Vec<Page> = self.pages(first, |page: &Page| page.next_page_uri.clone()).await?;
        Ok(pages.iter().flat_map(|page| &page.recordings).filter_map(Listed::read).collect())
    }

    /// Returns the number that was called; nothing, if Twilio does not know the call, or it was none to a number.
    ///
    /// # Errors
    /// When Twilio does not answer, or refuses.
    pub async fn find_called_number(&self, call_sid: &str) -> Result<Option<String>, Error> {
        let url = format!("{}{ROOT}{}/Calls/{call_sid}.json", self.account.api_base_url, self.account.sid);
        match self.answer::<CalledNumber>(self.http.get(url)).await {
            Ok(call) => Ok(call.to.filter(|to| parameters::is_our_number(to))),
            Err(Error::Refused { status: StatusCode::NOT_FOUND, code: Some(UNKNOWN), .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn recording_url(&self, sid: &str) -> String {
        format!("{}{ROOT}{}/Recordings/{sid}", self.account.api_base_url, self.account.sid)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_messages_of_callers_that_are_ready_are_read_from_the_list() {
        let (sid, call_sid) = (format!("RE{}", "0".repeat(32)), format!("CA{}", "0".repeat(32)));
        let entry = json!({
            "sid": sid, "call_sid": call_sid, "date_created": "Fri, 14 Oct 2016 21:56:34 +0000", "duration": "42",
            "source": "RecordVerb", "status": "completed",
        });
        let made_at = DateTime::parse_from_rfc3339("2016-10-14T21:56:34Z").unwrap().to_utc();
        assert_eq!(Listed::read(&entry), Some(Listed { sid, call_sid, made_at, seconds: Some(42) }));
        for (field, value) in [
            ("source", json!("DialVerb")),
            ("status", json!("processing")),
            ("sid", json!("RE1")),
            ("call_sid", json!(null)),
            ("date_created", json!("yesterday")),
        ] {
            let mut other = entry.clone();
            other[field] = value;
            assert_eq!(Listed::read(&other), None, "{field}");
        }
    }
}
