//! Payments, refunds and disputes, and events that were missed.

pub(crate) mod subscriptions;

mod coming_back;

mod refunds;

mod stripe_audit;
