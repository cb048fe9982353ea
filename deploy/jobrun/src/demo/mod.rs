//! Plays the six scenarios on real programs and a real database, and compares every result with the plan.
//!
//! The plan is `plan.md`. Texts, logs and SQL are read from it and not repeated here, so that they cannot drift away from it.

mod plan;

mod report;

mod scenarios;

mod test_system;

pub use report::{Check, Report};
pub use scenarios::play;
pub use test_system::TestSystem;
