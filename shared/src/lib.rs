//! What the ingress, the worker and the operator's command have in common.
//!
//! In reading order: [`config`] is the only reader of the environment, [`clock`] the only reader of the time,
//! [`telemetry`] the only printer; [`db`] is the rows, [`queue`] the only door to the job queue, [`twilio`] the
//! protocol, [`numbers`] what can be wrong with our numbers there, [`operator`] what an operator does by hand with
//! the same functions that the worker uses, [`purchases`] buying numbers, [`watch`] what clients and the operator are
//! told before anybody asks, and [`retention`] how long what is over is kept.

pub mod config;

pub mod clock;

pub mod json;

pub mod shutdown;

pub mod telemetry;

pub mod db;

pub mod queue;

pub mod twilio;

pub mod stripe;

pub mod numbers;

pub mod operator;

pub mod purchases;

pub mod watch;

pub mod retention;
