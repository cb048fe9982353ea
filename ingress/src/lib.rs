//! The ingress: verifies webhooks, records them, and acknowledges them.
//!
//! A webhook passes [`server`], [`routes`], [`signed`] (verification), [`twilio`] or `stripe` (conversion into an event) and
//! [`group_commit`]. It is acknowledged only after the commit of its event and of the job that processes it. A webhook that fails
//! verification leaves only a log line. This crate never decides what an event means. Besides, it plays messages of callers
//! ([`voicemail`]).

mod body;

mod form;

pub mod group_commit;

mod refusal_log;

pub mod recordings;

pub mod rejection;

pub mod routes;

pub mod server;

pub mod signed;

pub mod state;

mod stripe;

pub mod twilio;

pub mod voicemail;
