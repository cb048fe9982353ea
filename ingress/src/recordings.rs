//! Recordings at Twilio, and how many of them are looked up and passed on at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jobrun_twilio::api::Api;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many links are looked up at a time: a quarter of the connections, so that webhooks keep the others.
const LOOKUPS_MAX: usize = 4;

/// How many recordings are passed on at a time.
const SOUNDS_MAX: usize = 16;

/// How many of them may be the same one: a link that is passed on leaves places for the others.
const LISTENERS_OF_ONE_MAX: usize = 4;

/// The number of listeners of each recording that is being passed on, by its SID.
type Listeners = Arc<Mutex<HashMap<String, usize>>>;

/// A place of a listener, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    listeners: Listeners,
    recording_sid: String,
    _slot: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = listeners.get_mut(&self.recording_sid) {
            *count -= 1;
            if *count == 0 {
                listeners.remove(&self.recording_sid);
            }
        }
    }
}

/// The recordings at Twilio.
#[derive(Clone, Debug)]
pub struct Recordings {
    pub(crate) api: Api,
    pub(crate) lookups: Arc<Semaphore>,
    sounds: Arc<Semaphore>,
    listeners: Listeners,
}

impl Recordings {
    /// Prepares requests with `api`.
    #[must_use]
    pub fn new(api: Api) -> Self {
        let slots = |count| Arc::new(Semaphore::new(count));
        Self { api, lookups: slots(LOOKUPS_MAX), sounds: slots(SOUNDS_MAX), listeners: Arc::default() }
    }

    /// Takes a place for a listener of a recording. Returns nothing if all places are taken, or those of this recording.
    pub(crate) fn take_place(&self, recording_sid: &str) -> Option<Place> {
        let slot = Arc::clone(&self.sounds).try_acquire_owned().ok()?;
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        let count = listeners.entry(recording_sid.to_owned()).or_default();
        if *count >= LISTENERS_OF_ONE_MAX {
            return None;
        }
        *count += 1;
        drop(listeners);
        let recording_sid = recording_sid.to_owned();
        Some(Place { listeners: Arc::clone(&self.listeners), recording_sid, _slot: slot })
    }
}
