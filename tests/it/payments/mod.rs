//! Payments, refunds and disputes, and events that were missed.

pub(crate) mod subscriptions;

mod refunds;

mod stripe_audit;
