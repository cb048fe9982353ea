//! The outbox: every text that we owe, and what became of it.
//!
//! A text is claimed in one short transaction, posted to Twilio with none open, and its result is recorded in another.
//! The schedule of attempts is in the row. Statuses only move forward, and texts to one recipient leave in order.

mod insert;

mod withdraw;

mod claim;

mod attempts;

mod replay;

mod reports;

mod upkeep;

pub mod pace;

pub use attempts::*;
pub use claim::*;
pub use insert::*;
pub use replay::*;
pub use reports::*;
pub use upkeep::*;
pub use withdraw::*;
