//! Stripe's protocol: how a webhook is known to be Stripe's, and what it says.

pub mod signature;

pub mod event;

pub mod facts;

/// Where Stripe posts its events.
pub const WEBHOOK: &str = "/webhooks/stripe";

/// The events that Stripe is to be asked for.
pub const EVENTS: [&str; 11] = [
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.async_payment_failed",
    "customer.subscription.created",
    "customer.subscription.updated",
    "customer.subscription.deleted",
    "customer.subscription.paused",
    "customer.subscription.resumed",
    "invoice.paid",
    "invoice.payment_failed",
    "charge.refunded",
];
