//! What the operator's command is made of, so that tests can use it as well.
//!
//! [`data_dir`] is where data is kept, and [`ports`] says who listens where; [`local_postgres`] and [`programs`] run the real
//! server and the real programs; [`up`] and [`demo`] put them together;
//! [`numbers`] looks after the numbers at Twilio, [`buy`] buys some, and [`payments`] looks after what was paid by nobody that we
//! know; [`pool`], [`waiting`], [`alerts`] and [`client`] show what the rows say, in a [`table`] where there are many.

use std::time::Duration;

use jobrun_shared::db;

pub mod data_dir;

pub mod ports;

pub mod local_postgres;

pub mod programs;

pub mod table;

pub mod numbers;

pub mod buy;

pub mod payments;

pub mod pool;

pub mod waiting;

pub mod alerts;

pub mod client;

pub mod up;

pub mod demo;

/// What a command needs.
pub const CONNECTIONS: db::Connections = db::Connections {
    application: "jobrun",
    kept: 1,
    max: 8,
    acquire_timeout: Duration::from_secs(30),
    lock_timeout: Duration::from_secs(10),
    statement_timeout: Duration::from_secs(600),
};

/// How a time is shown to people.
pub const MINUTE: &str = "%Y-%m-%d %H:%M UTC";
