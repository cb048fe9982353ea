//! How much the sections on many rows measure, as the command line says.

use std::time::Duration;

use clap::{Args, value_parser};

use crate::growth::FEW;

/// How many events the inbox of `growth` and `console` holds by default, and that of `floor` and `lasting`.
const MANY: i64 = 10_000_000;
const A_MILLION: i64 = 1_000_000;

#[derive(Clone, Copy, Args)]
pub(crate) struct Extent {
    /// How many events the inbox holds: by default ten million in `growth` (the larger one) and `console`, a million in
    /// `floor` and `lasting`
    #[arg(long, value_name = "N", value_parser = value_parser!(i64).range(FEW..=1_000_000_000))]
    rows: Option<i64>,
    /// How long a run of `lasting` counts; `floor` exchanges 1,200 texts in a run for each of these seconds
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = value_parser!(u32).range(1..=3_600))]
    seconds: u32,
    /// How often `floor` and `lasting` measure each figure
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = value_parser!(u32).range(1..=100))]
    pub(crate) runs: u32,
}

impl Extent {
    pub(crate) fn many_rows(&self) -> i64 {
        self.rows.unwrap_or(MANY)
    }

    pub(crate) fn a_million_rows(&self) -> i64 {
        self.rows.unwrap_or(A_MILLION)
    }

    pub(crate) const fn seconds(&self) -> usize {
        self.seconds as usize
    }

    pub(crate) fn window(&self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }
}
