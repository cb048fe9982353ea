//! Webhooks: who may send them, and what they must look like.

mod stripe_webhooks;

mod attacks;

mod bad_input;
