//! Plays the six scenarios on real programs and a real database, and compares everything with the plan.
//!
//! The plan is `plan.md`, verbatim: texts, logs and SQL are read from it and not written anew, so that nothing here can drift
//! away from it.

mod plan;

mod report;

mod scenarios;

mod stage;

pub use report::{Check, Report};
pub use scenarios::play;
pub use stage::Stage;
