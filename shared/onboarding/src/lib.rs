//! The pure core of JobRun onboarding. From a client, an event and the facts, it computes what happens next.
//!
//! Nothing in this crate does I/O, reads a clock, uses randomness or fails. Facts come in as arguments, and effects leave as data.
//! The crate must not depend on a crate that does any of these.
//!
//! In reading order: a [`Client`] is in a [`State`], an [`Event`] arrives, and [`decide`] returns a [`Decision`]: the next state,
//! the [`Text`]s to send and the journal lines to print. The words of a text come from [`Wordings`], where it is saved.

#![deny(
    clippy::wildcard_enum_match_arm,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod state;

mod client;

mod phone;

pub mod action;

mod event;

mod answer;

mod decision;

mod payment_gate;

mod decide;

mod callers;

mod caller_text;

pub mod text_back;

pub mod calls;

mod open_question;

mod corrections;

mod texts;

mod service;

mod operator;

mod cancelling;

pub mod phone_change;

mod phone_change_texts;

mod takeover;

pub mod quiet_hours;

mod reminder;

mod forwarding_check;

pub mod forwarding_checks;

mod forwarding_help;

pub mod network;

pub mod reminders;

pub mod payment;

pub mod dispute;

mod text_kind;

mod wording_name;

pub mod words;

pub mod wording;

pub mod wording_file;

pub mod journal;

pub mod waiting;

pub mod free_numbers;

pub mod pool_number;

pub mod level;

pub mod segments;

pub mod loop_guard;

pub mod replay;

pub mod sent_text;

pub use client::{Client, Collected, Exchange};
pub use decide::decide;
pub use decision::{Concern, Decision, Facts, OptChange, Step, Switches};
pub use event::{Allocation, Call, Event, VoiceMessage};
pub use open_question::MISFITS_MAX;
pub use payment::Payment;
pub use phone::{E164, NotE164, as_people_write, caller, can_hold_a_conversation, home_region, region_of};
pub use state::{PhoneType, State};
pub use takeover::Takeover;
pub use wording::{Text, TextKind, WrittenText};
pub use wording_file::Wordings;
pub use wording_name::Name;

pub use answer::{ANSWER_CHARS_MAX, Field, Half, Keyword, Meaning, keyword, read, read_network, refuses};
