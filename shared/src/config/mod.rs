//! The settings of the programs: the only reader of the environment.
//!
//! Every setting that is missing or makes no sense is named at once. Only values of settings that hold no secret are shown:
//! durations, counts, addresses to listen at, and choices.

mod alert_webhook;

mod console;

mod pool;

mod problems;

mod programs;

mod reader;

mod forwarding;

mod reminders;

mod shown;

mod stripe;

mod table;

#[cfg(test)]
mod tests;

mod traces;

mod twilio;

mod wording;

pub use alert_webhook::{AlertFormat, AlertWebhook};
pub use console::Console;
pub use problems::{Problems, near_misses};
pub use programs::{Buying, Erasing, Ingress, Numbers, Operator, Worker, ops_addr};
pub use reader::Origin;
pub use shown::{Shown, show};
pub use stripe::{Stripe, StripeAudit};
pub use table::{SETTINGS, Setting};
pub use traces::Traces;
pub use twilio::{AccountKind, STAND_IN_ACCOUNT_SID, SignatureMode, Twilio};
pub use wording::{read_wordings, wordings};

/// The format and the filter of log lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// `LOG_FORMAT`: `plain`, `full` or `json`.
    pub format: LogFormat,
    /// `RUST_LOG`: which lines are printed. The journal is always printed.
    pub filter: String,
}

/// The format of a printed line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// The message and nothing else.
    Plain,
    /// Time, level and target before the message.
    Full,
    /// One JSON object.
    Json,
}
