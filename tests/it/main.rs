//! Stories and accidents, on real programs and a real PostgreSQL. In reading order.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod scenarios;

mod conversation;

mod understanding;

mod allocation;

mod waiting_list;

mod life;

mod stripe;

mod payments;

mod month;

mod watching;

mod stories;

mod numbers;

mod buying;

mod bad_input;

mod accidents;

mod sharing;

mod twilio;

mod schema;

mod growth;

mod tidy;
