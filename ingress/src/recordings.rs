//! Recordings at Twilio, and how many of them are looked up and passed on at a time.

use std::sync::Arc;

use jobrun_twilio::api::Api;
use tokio::sync::Semaphore;

/// How many links are looked up at a time: a quarter of the connections, so that webhooks keep the others.
const LOOKUPS_MAX: usize = 4;

/// How many recordings are passed on at a time.
const SOUNDS_MAX: usize = 16;

/// The recordings at Twilio.
#[derive(Clone, Debug)]
pub struct Recordings {
    pub(crate) api: Api,
    pub(crate) lookups: Arc<Semaphore>,
    pub(crate) sounds: Arc<Semaphore>,
}

impl Recordings {
    /// Prepares requests with `api`.
    #[must_use]
    pub fn new(api: Api) -> Self {
        let slots = |count| Arc::new(Semaphore::new(count));
        Self { api, lookups: slots(LOOKUPS_MAX), sounds: slots(SOUNDS_MAX) }
    }
}
