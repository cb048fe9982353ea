//! The inbox: every received event, once each.
//!
//! An event is inserted in the same transaction as the job that processes it, and a webhook is acknowledged only after
//! the commit. This module does not decide what an event means.

mod payload;

mod record;

mod pending;

mod upkeep;

pub use payload::*;
pub use pending::*;
pub use record::*;
pub use upkeep::*;
