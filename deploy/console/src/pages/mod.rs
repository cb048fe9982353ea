//! The pages, a file each.

pub mod alerts;

pub mod audit;

pub mod bulk_texts;

pub mod cases;

pub mod client;

pub mod client_actions;

pub mod clients;

pub mod events;

pub mod number_check;

pub mod numbers;

pub mod payments;

pub mod people;

pub mod stops;

pub mod texts;

pub mod today;

pub mod waiting;

use serde::Deserialize;

/// The parameters of a list that is read from its newest row on.
#[derive(Debug, Default, Deserialize)]
pub struct Before {
    before: Option<i64>,
}
