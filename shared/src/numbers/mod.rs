//! Numbers of the pool: allocated to clients, offered to waiting clients, bought, counted and checked.
//!
//! Only [`crate::db::numbers`] changes the rows of the pool.

pub mod account_check;

pub mod allocate;

pub mod offer;

pub mod pool_alerts;

pub mod promise;

pub mod purchase;

pub mod seed_release;

pub mod status;
