//! The operator's command.

mod up;

mod commands;

mod dead_workers;

mod history;
