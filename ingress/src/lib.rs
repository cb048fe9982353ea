//! The door: verifies webhooks, records them, and acknowledges them.
//!
//! What happens to a webhook stands in [`webhooks`]. Nothing here decides what an event means.

mod form;

pub mod webhooks;
