//! What the log says of an outage: that it begins, every half minute that it lasts, and that it is over.
//!
//! While the database is away, every queue of a worker fails once a second, and for the same reason.

use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How often at most the log repeats that an outage lasts.
const SAID_EVERY: Duration = Duration::from_secs(30);

/// An outage, as far as the log has told of it. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Outage(Arc<Mutex<Option<Told>>>);

#[derive(Clone, Copy, Debug)]
struct Told {
    began_at: Instant,
    said_at: Instant,
}

impl Outage {
    /// Warns that work has failed for this reason, unless that was said less than `SAID_EVERY` ago.
    pub fn warn(&self, error: &dyn Display, consequence: &'static str) {
        if self.begin(Instant::now()) {
            tracing::warn!(%error, "{consequence}");
        }
    }

    /// Says that the outage is over, if there was one.
    pub fn end(&self, consequence: &'static str) {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(told) = told {
            tracing::info!(seconds = told.began_at.elapsed().as_secs(), "{consequence}");
        }
    }

    /// Returns whether the log is to say so.
    fn begin(&self, now: Instant) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let began_at = told.map_or(now, |told| told.began_at);
        let is_due = told.is_none_or(|told| now - told.said_at >= SAID_EVERY);
        if is_due {
            *told = Some(Told { began_at, said_at: now });
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_of_when_it_begins_and_every_half_minute() {
        let (outage, begin) = (Outage::default(), Instant::now());
        let at = |tenths: u64| outage.begin(begin + Duration::from_millis(tenths * 100));
        let said: Vec<u64> = (0..700).filter(|tenths| at(*tenths)).collect();
        assert_eq!(said, [0, 300, 600]);
        outage.end("over");
        assert!(at(700), "another outage");
    }
}
