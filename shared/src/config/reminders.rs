//! The settings of reminders.

use std::time::Duration;

use chrono::{NaiveTime, TimeDelta};
use jobrun_onboarding::quiet_hours::QuietHours;
use jobrun_onboarding::reminders::Schedule;

use super::reader::Reader;

/// The value of a setting that switches it off.
const OFF: &str = "off";

/// The longest silence after which a client is reminded.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The shortest time between two reminders. No reminder may come within minutes of a text.
const SHORTEST: Duration = Duration::from_secs(60 * 60);

impl Reader<'_> {
    pub(super) fn reminders(&mut self) -> Option<Schedule> {
        let after = self.reminded_after();
        let quiet = self.quiet_hours();
        Some(Schedule { after: after?, quiet: quiet?, has_cases: true })
    }

    fn reminded_after(&mut self) -> Option<Vec<TimeDelta>> {
        let after = self.get("REMINDERS").as_deref().and_then(read_reminders);
        if after.is_none() {
            self.add_invalid(
                "REMINDERS",
                "neither off nor durations from 1h to 30d, each at least 1h longer than the one before, such as 1h,1d,3d",
            );
        }
        after
    }

    fn quiet_hours(&mut self) -> Option<Option<QuietHours>> {
        let quiet = self.get("QUIET_HOURS").as_deref().and_then(read_quiet_hours);
        if quiet.is_none() {
            self.add_invalid(
                "QUIET_HOURS",
                "neither off nor two times with at least eight hours outside of them, such as 20:00-08:00",
            );
        }
        quiet
    }
}

fn read_reminders(value: &str) -> Option<Vec<TimeDelta>> {
    if value == OFF {
        return Some(Vec::new());
    }
    let mut before = Duration::ZERO;
    let each = value.split(',').map(|duration| {
        let duration = humantime::parse_duration(duration.trim()).ok()?;
        let fits = duration >= before + SHORTEST && duration <= LONGEST;
        before = duration;
        TimeDelta::from_std(duration).ok().filter(|_| fits)
    });
    each.collect()
}

/// Returns `Some(None)` if there are no quiet hours.
fn read_quiet_hours(value: &str) -> Option<Option<QuietHours>> {
    if value == OFF {
        return Some(None);
    }
    let (from, to) = value.split_once('-')?;
    let time = |time: &str| NaiveTime::parse_from_str(time.trim(), "%H:%M").ok();
    let quiet = QuietHours { from: time(from)?, to: time(to)? };
    // From New York to Honolulu it is day for six hours less, and a reminder takes up to an hour and a quarter to leave.
    let awake = (quiet.from - quiet.to + TimeDelta::days(1)).num_minutes() % (24 * 60);
    (awake >= 8 * 60).then_some(Some(quiet))
}
