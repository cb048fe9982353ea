//! The settings of the pool, of the batch size and of the retention.

use std::time::Duration;

use super::reader::Reader;

impl Reader<'_> {
    pub(super) fn pool_level_min(&mut self) -> Option<u32> {
        self.parsed("POOL_LEVEL_MIN", "a number of numbers, such as 3")
    }

    pub(super) fn buy_max(&mut self) -> Option<u32> {
        self.parsed("POOL_BUY_MAX", "a number of phone numbers, such as 10")
    }

    pub(super) fn batch_max(&mut self) -> Option<u32> {
        let expected = "a number of rows from 1 to 1000, such as 200";
        let rows = self.parsed("BATCH_MAX", expected)?;
        if !(1..=1_000).contains(&rows) {
            self.add_invalid("BATCH_MAX", &format!("not {expected}"));
        }
        Some(rows)
    }

    pub(super) fn hold(&mut self) -> Option<Duration> {
        let hold = self.duration("HOLD_DURATION");
        let hold = hold.filter(|it| it.as_secs() >= 1 && it.as_secs() <= 366 * 24 * 60 * 60);
        if hold.is_none() {
            self.add_invalid("HOLD_DURATION", "not a duration of up to a year, such as 48h");
        }
        hold
    }

    pub(super) fn cooling(&mut self) -> Option<Duration> {
        let cooling = self.duration("NUMBER_COOLING");
        let cooling = cooling.filter(|it| it.as_secs() <= 5 * 366 * 24 * 60 * 60);
        if cooling.is_none() {
            self.add_invalid("NUMBER_COOLING", "not a duration of up to five years, such as 30d or 0s");
        }
        cooling
    }

    /// At least 30 days: younger events and texts may still get a report, be compared with Twilio's list, or be delivered again.
    pub(super) fn retention(&mut self) -> Option<Duration> {
        const DAY: u64 = 24 * 60 * 60;
        let retention = self.duration("RETENTION");
        let retention = retention.filter(|it| it.is_zero() || (30 * DAY..=36_600 * DAY).contains(&it.as_secs()));
        if retention.is_none() {
            let expected = "neither 0s, which keeps everything, nor a duration of 30 days or more, such as 400d";
            self.add_invalid("RETENTION", expected);
        }
        retention
    }
}
