//! The operator's command as a library, which the tests use as well.
//!
//! [`commands`] has a file for each command, and [`demo`] plays the scenarios. [`data_dir`] is the folder of the data, [`ports`] takes
//! addresses, or names the process that holds one, [`playground`] lets time pass in `jobrun up`, [`local_postgres`] and [`programs`]
//! run the real server and the real programs, and [`table`] prints rows.

use std::time::Duration;

use jobrun_shared::db;

pub mod data_dir;

pub mod ports;

pub mod local_postgres;

pub mod playground;

pub mod programs;

pub mod table;

pub mod commands;

pub mod demo;

/// The database connections of a command.
pub const CONNECTIONS: db::Connections = db::Connections {
    application: "jobrun",
    kept: 1,
    max: 8,
    acquire_timeout: Duration::from_secs(30),
    lock_timeout: Duration::from_secs(10),
    statement_timeout: Duration::from_secs(600),
};

/// The format of a time in printed output.
pub const MINUTE: &str = "%Y-%m-%d %H:%M UTC";
