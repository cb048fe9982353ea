//! Integration tests with the real programs and a real PostgreSQL, in reading order.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod onboarding;

mod payments;

mod numbers;

mod messaging;

mod ingress;

mod queue;

mod operator;

mod console;

mod crashes;

mod simulation;

mod database;

mod tidy;
