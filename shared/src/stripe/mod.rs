//! Stripe's protocol: how a webhook is known to be Stripe's, and what it says.

pub mod signature;

pub mod event;

pub mod facts;

/// Where Stripe posts its events.
pub const WEBHOOK: &str = "/webhooks/stripe";
