//! The setting of the checks of forwarding.

use std::time::Duration;

use chrono::TimeDelta;

use super::reader::Reader;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The shortest silence about which a client is told: many have no call in a few days.
const SHORTEST: Duration = Duration::from_secs(7 * DAY.as_secs());

/// The longest. Calls are kept for as long at least: see `RETENTION`.
const LONGEST: Duration = Duration::from_secs(30 * DAY.as_secs());

impl Reader<'_> {
    /// Returns `Some(None)` if no client is told that no call has come for long.
    pub(super) fn forwarding_check(&mut self) -> Option<Option<TimeDelta>> {
        let after = self.get("FORWARDING_CHECK").as_deref().and_then(read_check);
        if after.is_none() {
            self.add_invalid("FORWARDING_CHECK", "neither off nor a duration from 7d to 30d, such as 30d");
        }
        after
    }
}

fn read_check(value: &str) -> Option<Option<TimeDelta>> {
    if value == "off" {
        return Some(None);
    }
    let after = humantime::parse_duration(value).ok().filter(|after| (SHORTEST..=LONGEST).contains(after))?;
    TimeDelta::from_std(after).ok().map(Some)
}
