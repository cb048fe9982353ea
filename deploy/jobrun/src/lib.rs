//! What the operator's command is made of, so that tests can use it as well.
//!
//! [`local_postgres`] and [`programs`] run the real server and the real programs; [`up`] and [`demo`] put them together.

pub mod local_postgres;

pub mod programs;

pub mod up;

pub mod demo;
