//! Payments, refunds and disputes, and a simulated month of all.

mod subscriptions;

mod refunds;

mod simulated_month;
