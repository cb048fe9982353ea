//! Stripe's protocol: what its events say.

pub mod facts;
