//! The delay between attempts that fail. How many there are is for the caller.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

/// Returns the delay after the `failures`th failure in a row, counted from 1: `first`, doubling, at most `max`.
#[must_use]
pub fn delay_after(failures: usize, first: Duration, max: Duration) -> Duration {
    let delays = ExponentialBuilder::new().with_min_delay(first).with_max_delay(max).without_max_times().build();
    delays.into_iter().nth(failures.saturating_sub(1)).unwrap_or(max)
}
