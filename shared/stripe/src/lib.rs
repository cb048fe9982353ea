//! Stripe's protocol: the signature of its webhooks, the content of its events, and its REST API for events and subscriptions.

pub mod api;

pub mod signature;

pub mod event;

pub mod facts;

pub mod bookkeeping;

/// The path that Stripe posts its events to.
pub const WEBHOOK: &str = "/webhooks/stripe";
