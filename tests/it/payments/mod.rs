//! Payments, refunds and disputes, a simulated month of all, and events that were missed.

pub(crate) mod subscriptions;

mod coming_back;

mod refunds;

mod simulated_month;

mod stripe_audit;
