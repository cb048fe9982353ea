//! Forecasts how long the numbers of a region last.
//!
//! The forecast makes four assumptions. Numbers are assigned as fast as in the last 7 days. Every number that cools down comes
//! back on its day. After 30 days as many numbers a day come back as within the 30 days. The operator neither adds nor removes
//! numbers.

use std::fmt;

/// The returns of single numbers count this far ahead, in days.
const HORIZON: f64 = 30.0;

/// The forecast ends here, in days.
const SIGHT: f64 = 365.0;

/// The stock of one region: the free numbers, the claims on them, how fast numbers are assigned, and which come back.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Level {
    /// Numbers that can be assigned now.
    pub free: usize,
    /// Waiting clients with a claim on a free number: they have been offered one, or will be as soon as there is one.
    pub spoken_for: usize,
    /// Numbers that were assigned in the last 7 days.
    pub assigned_in_7_days: usize,
    /// The days until each number that cools down comes back, soonest first. A number that is overdue comes back at once.
    pub returns_in_days: Vec<f64>,
}

/// When no number will be left for a new client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forecast {
    /// No number is left for a new client now.
    DryNow {
        /// Clients with a claim for whom there is no number.
        waiting: usize,
    },
    /// In about this many days. 0 is today.
    InDays(u32),
    /// As many numbers come back as are assigned, or none are assigned, or the end is more than a year away.
    NotInSight,
}

impl Level {
    /// Returns the number of free numbers without a claim on them.
    #[must_use]
    pub fn unclaimed(&self) -> usize {
        self.free.saturating_sub(self.spoken_for)
    }

    /// Returns when the region runs dry.
    #[must_use]
    pub fn forecast(&self) -> Forecast {
        if self.unclaimed() == 0 {
            return Forecast::DryNow { waiting: self.spoken_for.saturating_sub(self.free) };
        }
        let days = self.days_left().filter(|days| *days <= SIGHT);
        // Rounding down is early rather than late. The cast loses nothing, because `days` is at most `SIGHT`.
        days.map_or(Forecast::NotInSight, |days| Forecast::InDays(days.floor() as u32))
    }

    /// Returns how many unclaimed numbers are left after each of the next `days` days, today first. Below zero, clients wait.
    #[must_use]
    pub fn curve(&self, days: u32) -> Vec<f64> {
        let a_day = count(self.assigned_in_7_days) / 7.0;
        let within = self.returns_in_days.iter().filter(|day| **day <= HORIZON).count();
        let claimed = count(self.free) - count(self.spoken_for);
        let left = |day: f64| {
            let returned = self.returns_in_days.iter().filter(|at| **at <= day.min(HORIZON)).count();
            let later = count(within) / HORIZON * (day - HORIZON).max(0.0);
            claimed + count(returned) + later - a_day * day
        };
        (0..=days).map(f64::from).map(left).collect()
    }

    fn days_left(&self) -> Option<f64> {
        let a_day = count(self.assigned_in_7_days) / 7.0;
        if a_day <= 0.0 {
            return None;
        }
        let mut left = count(self.unclaimed());
        let within: Vec<f64> = self.returns_in_days.iter().copied().filter(|day| *day <= HORIZON).collect();
        for day in &within {
            if left / a_day < *day {
                return Some(left / a_day);
            }
            left += 1.0;
        }
        let days = left / a_day;
        if days <= HORIZON {
            return Some(days);
        }
        let net = a_day - count(within.len()) / HORIZON;
        (net > 0.0).then(|| HORIZON + (left - a_day * HORIZON) / net)
    }
}

fn count(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

impl fmt::Display for Forecast {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DryNow { waiting: 0 } => write!(formatter, "dry now"),
            Self::DryNow { waiting: 1 } => write!(formatter, "dry now: 1 client waits"),
            Self::DryNow { waiting } => write!(formatter, "dry now: {waiting} clients wait"),
            Self::InDays(0) => write!(formatter, "within a day"),
            Self::InDays(1) => write!(formatter, "in about 1 day"),
            Self::InDays(days) => write!(formatter, "in about {days} days"),
            Self::NotInSight => write!(formatter, "not in sight"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn level(free: usize, spoken_for: usize, assigned_in_7_days: usize, returns_in_days: &[f64]) -> Level {
        Level { free, spoken_for, assigned_in_7_days, returns_in_days: returns_in_days.to_vec() }
    }

    #[test]
    fn the_forecast_follows_the_pace_of_the_last_week() {
        assert_eq!(level(9, 0, 7, &[]).forecast(), Forecast::InDays(9));
        assert_eq!(level(9, 4, 7, &[]).forecast(), Forecast::InDays(5), "a number with a claim on it does not count");
        assert_eq!(level(1, 0, 14, &[]).forecast(), Forecast::InDays(0));
        assert_eq!(level(9, 0, 0, &[]).forecast(), Forecast::NotInSight, "no number is assigned");
        assert_eq!(level(400, 0, 7, &[]).forecast(), Forecast::NotInSight, "more than a year");
    }

    #[test]
    fn a_number_that_comes_back_counts_from_its_day_on() {
        assert_eq!(level(3, 0, 7, &[2.0, 3.5]).forecast(), Forecast::InDays(5));
        assert_eq!(level(3, 0, 7, &[3.5]).forecast(), Forecast::InDays(3), "the number comes back too late");
        assert_eq!(level(3, 0, 7, &[-1.0]).forecast(), Forecast::InDays(4), "overdue");
        assert_eq!(level(40, 0, 7, &[35.0; 9]).forecast(), Forecast::InDays(40), "beyond the horizon of returns");
    }

    #[test]
    fn the_end_is_not_in_sight_when_as_many_numbers_come_back_as_are_assigned() {
        let one_a_day: Vec<f64> = (1..=30).map(f64::from).collect();
        assert_eq!(level(2, 0, 7, &one_a_day).forecast(), Forecast::NotInSight);
        let every_other_day: Vec<f64> = (1..=15).map(|n| f64::from(2 * n)).collect();
        assert_eq!(level(20, 0, 7, &every_other_day).forecast(), Forecast::InDays(40));
    }

    #[test]
    fn a_region_is_dry_when_a_new_client_would_get_no_number() {
        assert_eq!(level(0, 3, 7, &[1.0]).forecast(), Forecast::DryNow { waiting: 3 });
        assert_eq!(level(2, 2, 0, &[]).forecast(), Forecast::DryNow { waiting: 0 });
        assert_eq!(level(0, 0, 0, &[]).forecast().to_string(), "dry now");
        assert_eq!(level(1, 2, 0, &[]).forecast().to_string(), "dry now: 1 client waits");
        assert_eq!(Forecast::InDays(9).to_string(), "in about 9 days");
    }

    #[test]
    fn the_curve_falls_with_each_assignment_and_rises_with_each_return() {
        assert_eq!(level(3, 1, 7, &[2.0]).curve(4), [2.0, 1.0, 1.0, 0.0, -1.0]);
        assert_eq!(level(2, 0, 0, &[]).curve(2), [2.0, 2.0, 2.0]);
        let one_a_day: Vec<f64> = (1..=30).map(f64::from).collect();
        assert_eq!(level(5, 0, 7, &one_a_day).curve(60).last(), Some(&5.0), "as many return as are assigned");
    }

    proptest! {
        /// One more free number, or one more that comes back, never shortens the forecast.
        #[test]
        fn more_numbers_last_longer(
            free in 1usize..40, assigned in 0usize..60, returns in prop::collection::vec(0.0f64..60.0, 0..20),
        ) {
            let days = |forecast| match forecast {
                Forecast::DryNow { .. } => 0,
                Forecast::InDays(days) => days,
                Forecast::NotInSight => u32::MAX,
            };
            let mut returns = returns;
            returns.sort_by(f64::total_cmp);
            let before = days(level(free, 0, assigned, &returns).forecast());
            prop_assert!(days(level(free + 1, 0, assigned, &returns).forecast()) >= before);
            returns.insert(0, 0.0);
            prop_assert!(days(level(free, 0, assigned, &returns).forecast()) >= before);
        }
    }
}
