//! The hours of the night, in which no text leaves that its client does not wait for.
//!
//! A client's night is told by its region: in a region with several time zones, it is night while it is night in any of them. The
//! zones come with the program, so that the clocks change on the right days on every machine.

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use chrono_tz::Tz;

/// The hours of the night, by the client's own clock: from `from` until `to`. The two may lie on two days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuietHours {
    /// When the night begins.
    pub from: NaiveTime,
    /// When it ends.
    pub to: NaiveTime,
}

/// Times are looked at in steps of this length. No time zone differs from another by less.
const STEP: TimeDelta = TimeDelta::minutes(15);

/// The furthest that a time out of the night is looked for. Beyond it, there is none on any day.
const SEARCHED: TimeDelta = TimeDelta::days(2);

impl QuietHours {
    /// Returns the first time from `at` on at which a text may be written that leaves within `leaves_within`, and never at night.
    /// `None` if the region's time zones are not known, or the night has no end.
    #[must_use]
    pub fn first_out_of_them(
        &self,
        region: &str,
        at: DateTime<Utc>,
        leaves_within: TimeDelta,
    ) -> Option<DateTime<Utc>> {
        let zones = zones(region);
        if zones.is_empty() {
            return None;
        }
        steps(at, SEARCHED).find(|time| steps(*time, leaves_within).all(|leaves| !self.is_night(zones, leaves)))
    }

    fn is_night(&self, zones: &[Tz], at: DateTime<Utc>) -> bool {
        zones.iter().any(|zone| {
            let time = at.with_timezone(zone).time();
            if self.from <= self.to { self.from <= time && time < self.to } else { time >= self.from || time < self.to }
        })
    }
}

/// Returns the times from `at` to `at + length`, both included, in steps.
fn steps(at: DateTime<Utc>, length: TimeDelta) -> impl Iterator<Item = DateTime<Utc>> {
    std::iter::successors(Some(at), |time| Some(*time + STEP))
        .take_while(move |time| *time < at + length)
        .chain([at + length])
}

/// Returns the time zone of a region (ISO 3166) that has one only.
pub(crate) fn only_zone(region: &str) -> Option<Tz> {
    match zones(region) {
        [zone] => Some(*zone),
        _ => None,
    }
}

/// Returns the time zones of a region (ISO 3166), without islands far from everywhere. None for a region that is not known.
fn zones(region: &str) -> &'static [Tz] {
    match region {
        "GB" | "UK" | "GG" | "IM" | "JE" => &[Tz::Europe__London],
        "IE" => &[Tz::Europe__Dublin],
        "AT" => &[Tz::Europe__Vienna],
        "BE" => &[Tz::Europe__Brussels],
        "CH" => &[Tz::Europe__Zurich],
        "DE" => &[Tz::Europe__Berlin],
        "DK" => &[Tz::Europe__Copenhagen],
        "ES" => &[Tz::Europe__Madrid, Tz::Atlantic__Canary],
        "FI" => &[Tz::Europe__Helsinki],
        "FR" => &[Tz::Europe__Paris],
        "IT" => &[Tz::Europe__Rome],
        "LU" => &[Tz::Europe__Luxembourg],
        "NL" => &[Tz::Europe__Amsterdam],
        "NO" => &[Tz::Europe__Oslo],
        "PL" => &[Tz::Europe__Warsaw],
        "PT" => &[Tz::Europe__Lisbon, Tz::Atlantic__Azores],
        "SE" => &[Tz::Europe__Stockholm],
        "US" => &[
            Tz::America__New_York,
            Tz::America__Chicago,
            Tz::America__Denver,
            Tz::America__Phoenix,
            Tz::America__Los_Angeles,
            Tz::America__Anchorage,
            Tz::Pacific__Honolulu,
        ],
        "CA" => &[
            Tz::America__St_Johns,
            Tz::America__Halifax,
            Tz::America__Toronto,
            Tz::America__Winnipeg,
            Tz::America__Regina,
            Tz::America__Edmonton,
            Tz::America__Vancouver,
        ],
        "AU" => &[
            Tz::Australia__Sydney,
            Tz::Australia__Brisbane,
            Tz::Australia__Adelaide,
            Tz::Australia__Darwin,
            Tz::Australia__Perth,
        ],
        "NZ" => &[Tz::Pacific__Auckland],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeZone;
    use proptest::prelude::*;

    const NIGHT: QuietHours = QuietHours { from: hour(20), to: hour(8) };

    const fn hour(hour: u32) -> NaiveTime {
        NaiveTime::from_hms_opt(hour, 0, 0).unwrap()
    }

    fn utc(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn first(region: &str, at: &str) -> Option<DateTime<Utc>> {
        NIGHT.first_out_of_them(region, utc(at), TimeDelta::hours(1))
    }

    #[test]
    fn a_text_waits_for_the_morning_of_the_client() {
        assert_eq!(first("GB", "2026-01-10T12:00:00Z"), Some(utc("2026-01-10T12:00:00Z")));
        assert_eq!(first("GB", "2026-01-10T19:30:00Z"), Some(utc("2026-01-11T08:00:00Z")), "it may leave until 20:30");
        assert_eq!(first("GB", "2026-01-10T23:00:00Z"), Some(utc("2026-01-11T08:00:00Z")));
        assert_eq!(first("GB", "2026-07-10T23:00:00Z"), Some(utc("2026-07-11T07:00:00Z")), "in summer");
    }

    #[test]
    fn the_clocks_change_on_both_days() {
        assert_eq!(first("GB", "2026-03-28T23:00:00Z"), Some(utc("2026-03-29T07:00:00Z")), "an hour is left out");
        assert_eq!(first("GB", "2026-10-24T23:00:00Z"), Some(utc("2026-10-25T08:00:00Z")), "an hour comes twice");
    }

    #[test]
    fn a_region_with_many_zones_sleeps_while_one_of_them_does() {
        assert_eq!(first("US", "2026-01-10T14:00:00Z"), Some(utc("2026-01-10T18:00:00Z")), "08:00 in Honolulu");
        assert_eq!(first("US", "2026-01-11T00:30:00Z"), Some(utc("2026-01-11T18:00:00Z")), "nearly 20:00 in New York");
    }

    #[test]
    fn an_unknown_region_and_a_night_without_an_end_have_no_day() {
        assert_eq!(first("ZZ", "2026-01-10T12:00:00Z"), None);
        let always = QuietHours { from: hour(8), to: hour(7) };
        assert_eq!(always.first_out_of_them("GB", utc("2026-01-10T12:00:00Z"), TimeDelta::hours(2)), None);
    }

    proptest! {
        /// In every region, on every day of a year, with both days on which clocks change.
        #[test]
        fn nothing_leaves_at_night(
            region in prop::sample::select(vec!["GB", "IE", "ES", "PT", "US", "CA", "AU", "NZ", "FI"]),
            minute in 0i64..366 * 24 * 60,
            waits in 0i64..=60,
        ) {
            let at = Utc.with_ymd_and_hms(2026, 1, 1, 0, 0, 0).unwrap() + TimeDelta::minutes(minute);
            let time = NIGHT.first_out_of_them(region, at, TimeDelta::hours(1)).unwrap();
            prop_assert!(time >= at && time < at + TimeDelta::hours(24));
            for zone in zones(region) {
                let local = (time + TimeDelta::minutes(waits)).with_timezone(zone).time();
                prop_assert!(hour(8) <= local && local <= hour(20), "{region} {local}");
            }
        }
    }
}
