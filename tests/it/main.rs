//! Stories and accidents, on real programs and a real PostgreSQL. In reading order.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod scenarios;

mod up;

mod conversation;

mod understanding;

mod allocation;

mod waiting_list;

mod life;

mod ownerless;

mod stripe;

mod payments;

mod refunds;

mod month;

mod watching;

mod stories;

mod numbers;

mod buying;

mod bad_input;

mod commands;

mod tls;

mod attacks;

mod accidents;

mod failing_statements;

mod database_trouble;

mod sharing;

mod twilio;

mod schema;

mod migrations;

mod growth;

mod tidy;
