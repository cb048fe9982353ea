//! Payments, refunds and disputes, and a simulated month of all.

pub(crate) mod subscriptions;

mod refunds;

mod simulated_month;
