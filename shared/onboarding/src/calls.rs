//! The calls of one caller as the rows have them, and how a text tells of them.
//!
//! All callers whose numbers are withheld count as one, because nothing tells them apart. Calls are counted in the local day of the
//! client's region. Where that is not known, the last 24 hours count, and no time is named.

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

use crate::E164;
use crate::quiet_hours::only_zone;
use crate::wording_name::Name;
use crate::words::Words;

/// The most earlier calls of one caller that a decision looks at, so that its cost has a limit.
pub const EARLIER_MAX: usize = 100;

/// How many times of calls one text lists. More do not fit into a segment.
const LISTED_MAX: usize = 10;

/// An earlier call of the same caller to the same client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EarlierCall {
    /// When its first report reached us.
    pub at: DateTime<Utc>,
    /// Whether the owner was told of it.
    pub told: bool,
    /// Whether the caller was texted back.
    pub texted_back: bool,
}

/// What the rows say of a caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallHistory {
    /// The day in which calls are counted.
    pub day: Day,
    /// Whether the other report of this call came before, or the call was the test call.
    pub is_known: bool,
    /// The last calls of the same caller before this one, oldest first: at most [`EARLIER_MAX`]. They may begin before the day.
    pub earlier: Vec<EarlierCall>,
}

/// A call to a live number that is counted from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountedCall {
    /// Twilio's `CallSid`.
    pub sid: String,
    /// The caller, unless its number is withheld.
    pub caller: Option<E164>,
    /// When its first report reached us.
    pub at: DateTime<Utc>,
    /// Whether the owner is told of it.
    pub told: bool,
    /// Whether the caller is texted back.
    pub texted_back: bool,
}

/// How long the link to a message lasts. Then the recording is deleted.
pub const LINK_LASTS: TimeDelta = TimeDelta::days(7);

/// What becomes of the recording of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptRecording {
    /// Twilio's name for it.
    pub recording: String,
    /// The link that the owner is texted, which lasts for [`LINK_LASTS`]. Without one, the recording is deleted at once.
    pub link: Option<String>,
}

/// The day in which calls are counted: that of a time zone, or the last 24 hours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Day(Option<Tz>);

impl Day {
    /// Returns the day of a region (ISO 3166). It is the last 24 hours if the region is not known or has several time zones.
    #[must_use]
    pub fn of(region: &str) -> Self {
        Self(only_zone(region))
    }

    /// Returns when the day of `at` began.
    #[must_use]
    pub fn began_at(self, at: DateTime<Utc>) -> DateTime<Utc> {
        let midnight = self.0.and_then(|zone| {
            let date = at.with_timezone(&zone).date_naive();
            // Clocks that change at midnight may leave it out, or have it twice.
            zone.from_local_datetime(&date.and_time(NaiveTime::MIN)).earliest()
        });
        midnight.map_or_else(|| at - TimeDelta::hours(24), |midnight| midnight.with_timezone(&Utc))
    }

    /// Returns the date of `at`: the local one if it is known, and otherwise that of UTC.
    pub(crate) fn date_of(self, at: DateTime<Utc>) -> NaiveDate {
        self.0.map_or_else(|| at.date_naive(), |zone| at.with_timezone(&zone).date_naive())
    }

    /// Returns the words for this day after a count.
    const fn words(self) -> Name {
        if self.0.is_some() { Name::CallsToday } else { Name::CallsInDay }
    }

    /// Returns the local time of `at`, if it is known.
    fn clock(self, at: DateTime<Utc>) -> Option<String> {
        self.0.map(|zone| at.with_timezone(&zone).format("%H:%M").to_string())
    }
}

/// The calls of one caller in a day, the last one included, in words.
pub(crate) struct CallsToday {
    day: Day,
    count: usize,
    times: Option<Vec<String>>,
}

impl CallsToday {
    pub(crate) fn new(day: Day, earlier: &[EarlierCall], at: DateTime<Utc>) -> Self {
        let times = earlier.iter().map(|it| it.at).chain([at]);
        Self { day, count: earlier.len() + 1, times: times.map(|at| day.clock(at)).collect() }
    }

    /// Returns the one call of a day.
    #[cfg(test)]
    pub(crate) fn one() -> Self {
        Self { day: Day(None), count: 1, times: None }
    }

    /// Returns whether this is the only one.
    pub(crate) const fn is_first(&self) -> bool {
        self.count == 1
    }

    /// Returns how often: `twice`, `3 times`.
    pub(crate) fn how_often(&self) -> Words {
        if self.count == 2 { Name::CallsTwice.into() } else { Name::CallsTimes.with("count", self.number()) }
    }

    /// Returns how many: `3`, or `over 100` if not all were counted.
    pub(crate) fn number(&self) -> Words {
        if self.count > EARLIER_MAX {
            Name::CallsOver.with("limit", EARLIER_MAX.to_string())
        } else {
            self.count.to_string().into()
        }
    }

    /// Returns the words for the day.
    pub(crate) fn day(&self) -> Words {
        self.day.words().into()
    }

    /// Returns when, with a comma before it: `, at 09:12, 09:40 and 11:05`. It is empty if there is one call only, or if the local
    /// time is not known.
    pub(crate) fn when(&self) -> Words {
        match self.times.as_deref() {
            None | Some([] | [_]) => "".into(),
            Some([.., last]) if self.count > EARLIER_MAX => Name::CallsLastAt.with("last", last.as_str()),
            Some([others @ .., last]) if self.count <= LISTED_MAX => {
                Name::CallsAt.with("times", others.join(", ")).with("last", last.as_str())
            }
            Some([first, .., last]) => Name::CallsFromTo.with("first", first.as_str()).with("last", last.as_str()),
        }
    }
}
