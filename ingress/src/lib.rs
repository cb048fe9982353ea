//! The door: verifies webhooks, records them, and acknowledges them.
//!
//! What happens to a webhook stands in [`webhooks`], how it is known to be Twilio's in [`verify`], and what its form must look
//! like in [`twilio`]. Nothing here decides what an event means.

mod body;

mod form;

pub mod recorder;

mod refusals;

pub mod rejection;

pub mod server;

pub mod twilio;

pub mod verify;

pub mod webhooks;
