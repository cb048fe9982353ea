//! What the log says of an outage: that it begins, every half minute that it lasts, and that it is over.
//!
//! While the database is away, every queue of a worker fails once a second, and for the same reason.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How often at most the log repeats that an outage lasts.
const SAID_EVERY: Duration = Duration::from_secs(30);

/// An outage, as far as the log has told of it. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Outage(Arc<Mutex<Option<Told>>>);

#[derive(Clone, Debug)]
struct Told {
    began_at: Instant,
    said_at: Instant,
    /// What has failed and not succeeded since, by name.
    failing: BTreeSet<&'static str>,
    /// What has failed since the outage began, by name.
    failed: BTreeSet<&'static str>,
}

impl Outage {
    /// Warns that `what` has failed for this reason, unless an outage was told of less than `SAID_EVERY` ago.
    pub fn warn(&self, what: &'static str, error: &dyn Display, consequence: &'static str) {
        if let Some(what) = self.begin(what, Instant::now()) {
            tracing::warn!(what, %error, "{consequence}");
        }
    }

    /// Records that `what` works. Says that the outage is over if nothing fails any more.
    pub fn end(&self, what: &'static str, consequence: &'static str) {
        if let Some(told) = self.recover(what) {
            let seconds = told.began_at.elapsed().as_secs();
            tracing::info!(what = names(&told.failed), seconds, "{consequence}");
        }
    }

    /// Returns what fails, if the log is to say so.
    fn begin(&self, what: &'static str, now: Instant) -> Option<String> {
        let mut outage = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = outage.is_none();
        let told = outage.get_or_insert_with(|| Told {
            began_at: now,
            said_at: now,
            failing: BTreeSet::new(),
            failed: BTreeSet::new(),
        });
        told.failing.insert(what);
        told.failed.insert(what);
        let is_due = is_new || now - told.said_at >= SAID_EVERY;
        is_due.then(|| {
            told.said_at = now;
            names(&told.failing)
        })
    }

    /// Returns the outage, if it is over now.
    fn recover(&self, what: &'static str) -> Option<Told> {
        let mut outage = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        outage.as_mut()?.failing.remove(what);
        outage.take_if(|told| told.failing.is_empty())
    }
}

fn names(of: &BTreeSet<&'static str>) -> String {
    of.iter().copied().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_of_when_it_begins_and_every_half_minute() {
        let (outage, begin) = (Outage::default(), Instant::now());
        let at = |tenths: u64| outage.begin("sweep", begin + Duration::from_millis(tenths * 100)).is_some();
        let said: Vec<u64> = (0..700).filter(|tenths| at(*tenths)).collect();
        assert_eq!(said, [0, 300, 600]);
        assert!(outage.recover("sweep").is_some());
        assert!(at(700), "another outage");
    }

    #[test]
    fn an_outage_names_what_fails_and_is_over_when_all_of_it_works_again() {
        let (outage, begin) = (Outage::default(), Instant::now());
        assert!(outage.recover("sweep").is_none(), "no outage");
        assert_eq!(outage.begin("sweep", begin).as_deref(), Some("sweep"));
        assert_eq!(outage.begin("reconcile", begin), None);
        assert_eq!(outage.begin("send-messages", begin), None);
        assert!(outage.recover("process-events").is_none(), "it never failed");
        assert!(outage.recover("sweep").is_none(), "others fail");
        let still = outage.begin("reconcile", begin + SAID_EVERY);
        assert_eq!(still.as_deref(), Some("reconcile, send-messages"));
        assert!(outage.recover("send-messages").is_none());
        let over = outage.recover("reconcile").map(|told| names(&told.failed));
        assert_eq!(over.as_deref(), Some("reconcile, send-messages, sweep"));
    }
}
