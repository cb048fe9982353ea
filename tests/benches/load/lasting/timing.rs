//! How a run is cut into a warm-up, which does not count, and a window, which does.

use std::time::Duration;

pub(crate) const WARM_UP: Duration = Duration::from_secs(5);

/// Returns whether a run that ended when its requests were used up has nevertheless lasted for most of the window.
pub(crate) fn is_long_enough(lasted: Duration, window: Duration) -> bool {
    lasted > window / 2
}
