//! The door: verifies webhooks, records them, and acknowledges them.
//!
//! What happens to a webhook stands in [`webhooks`], and how it is known to be Twilio's in [`verify`]. Nothing here
//! decides what an event means.

mod form;

pub mod recorder;

pub mod verify;

pub mod webhooks;
