//! Alerts about the pool, and about clients who wait for a number.

use chrono::TimeDelta;
use jobrun_onboarding::level::{Forecast, Level};
use jobrun_onboarding::region_of;
use jobrun_onboarding::waiting::MARKS;

use super::{Kind, cause_of_waiting};
use crate::db::alerts::NewAlert;

/// Clients who paid wait, because their region has no number left for them. `region` is in the form of `clients.region`.
#[must_use]
pub fn pool_empty(region: &str) -> NewAlert {
    let region = region_of(region);
    NewAlert {
        cause: Kind::PoolEmpty.of(&region),
        about: format!(
            "Clients who paid wait for a number: the pool of {region} has none left for them. `jobrun waiting` shows whom; \
             `jobrun pool buy` or `jobrun pool seed` adds numbers."
        ),
    }
}

/// A region has fewer than `min` free numbers that no client has a claim on.
#[must_use]
pub fn pool_low(region: &str, level: &Level, min: u32) -> NewAlert {
    let free = match level.unclaimed() {
        1 => "1 free number".to_owned(),
        free => format!("{free} free numbers"),
    };
    let lasts = match level.forecast() {
        Forecast::DryNow { waiting: 0 } => "Whoever pays next has to wait.".to_owned(),
        dry @ Forecast::DryNow { .. } => format!("It is {dry}."),
        at @ Forecast::InDays(_) => format!("At the pace of the last 7 days, the pool runs dry {at}."),
        Forecast::NotInSight => "At the pace of the last 7 days, they last.".to_owned(),
    };
    NewAlert {
        cause: Kind::PoolLow.of(region),
        about: format!(
            "The pool of {region} has {free} left that nobody has a claim on, fewer than {min}. {lasts} `jobrun pool buy` or \
             `jobrun pool seed` adds numbers."
        ),
    }
}

/// Clients have waited `hours` for a number: one of [`MARKS`].
#[must_use]
pub fn waiting(hours: i32) -> NewAlert {
    let promise = MARKS.into_iter().find(|(mark, _)| *mark == hours).map_or(TimeDelta::zero(), |(_, before)| before);
    let stands = match promise.num_hours() {
        0 => "which is all that they were promised".to_owned(),
        left => format!("and the promised time is over in {left}"),
    };
    NewAlert {
        cause: cause_of_waiting(hours),
        about: format!(
            "Clients who paid have waited {hours} hours for a number, {stands}. `jobrun waiting` shows whom; `jobrun pool buy` \
             or `jobrun pool seed` adds numbers."
        ),
    }
}

/// Numbers are assigned to an id that is no client's, and may have been that of a client who was deleted.
#[must_use]
pub fn unclear_holder(id: &str, numbers: usize) -> NewAlert {
    NewAlert {
        cause: Kind::UnclearHolder.of(id),
        about: format!(
            "{numbers} of the pool's numbers are assigned to {id}, which is no client, and it is not known whether a client had \
             them that was deleted. `jobrun pool status` shows them. If one did, or they may be given out again, let each cool \
             down with `jobrun pool release`; if they are kept out of use, say so with `jobrun pool drain`."
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_low_pool_alert_says_how_long_the_numbers_last_and_what_to_do() {
        let about = |free, spoken_for, assigned_in_7_days| {
            let level = Level { free, spoken_for, assigned_in_7_days, returns_in_days: Vec::new() };
            pool_low("GB", &level, 3).about
        };
        assert!(about(2, 0, 7).starts_with(
            "The pool of GB has 2 free numbers left that nobody has a claim on, fewer than 3. At the pace of the last 7 days, the \
             pool runs dry in about 2 days. `jobrun pool buy`"
        ));
        assert!(about(1, 0, 0).contains("1 free number left") && about(1, 0, 0).contains("they last."));
        assert!(about(1, 3, 0).contains("0 free numbers left") && about(1, 3, 0).contains("dry now: 2 clients wait."));
        assert!(about(0, 0, 0).contains("Whoever pays next has to wait."));
    }

    #[test]
    fn a_waiting_alert_says_how_much_of_the_promised_time_is_left() {
        assert!(waiting(20).about.contains("waited 20 hours for a number, and the promised time is over in 4."));
        assert!(waiting(24).about.contains("waited 24 hours for a number, which is all that they were promised."));
    }
}
