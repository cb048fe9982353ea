//! Stripe's protocol: the signature of its webhooks, and the content of its events.

pub mod signature;

pub mod event;

pub mod facts;

/// The path that Stripe posts its events to.
pub const WEBHOOK: &str = "/webhooks/stripe";
