//! Recordings of callers' messages: their sound, and their deletion.

use std::time::Duration;

use reqwest::{Response, StatusCode, header};

use crate::Error;
use crate::answers::{ROOT, no_answer, refusal};
use crate::api::Api;

/// Twilio's code for "not found".
const UNKNOWN: i32 = 20404;

/// How long a recording may take to arrive: its listener may have a slow connection.
const SOUND_TIMEOUT: Duration = Duration::from_secs(60);

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

    fn recording_url(&self, sid: &str) -> String {
        format!("{}{ROOT}{}/Recordings/{sid}", self.account.api_base_url, self.account.sid)
    }
}
