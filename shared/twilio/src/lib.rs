//! Twilio's protocol: its webhooks and their signature, its REST API for messages and numbers, and its error codes.

mod answers;

pub mod api;

pub mod errors;

pub mod lists;

pub mod numbers;

pub mod parameters;

pub mod recordings;

pub mod signature;

pub mod webhooks;

pub use answers::Error;
