//! The pure heart of JobRun onboarding: given where a client stands and what just happened, what happens next.
//!
//! Nothing in this crate does I/O, reads a clock, throws dice or fails: facts come in as arguments, and what the world
//! must do comes out as data. It must never depend on a crate that could do otherwise.
//!
//! In reading order: a [`Client`] stands in a [`State`], an [`Event`] arrives, and [`decide`] answers with a
//! [`Decision`]: the next state, the [`Text`]s to send and the journal lines to print.

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

mod event;

mod answer;

mod decide;

mod texts;

mod service;

pub mod payment;

pub mod dispute;

mod text_kind;

pub mod wording;

pub mod journal;

pub mod waiting;

pub mod free_numbers;

pub mod pool_number;

pub mod level;

pub mod segments;

pub mod loop_guard;

pub use client::{Client, Collected, Exchange};
pub use decide::{Concern, Decision, Facts, OptChange, Step, decide};
pub use event::{Allocation, Call, Event};
pub use payment::Payment;
pub use phone::{E164, NotE164, as_people_write, caller, can_hold_a_conversation, home_region, region_of};
pub use state::{PhoneType, State};
pub use wording::{Text, TextKind};

pub use answer::{ANSWER_CHARS_MAX, Field, Half, Keyword, Meaning, keyword, read, refuses};
