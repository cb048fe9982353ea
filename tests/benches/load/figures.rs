//! Medians and percentiles.

use std::time::Duration;

/// How often each figure is taken; the median counts.
pub(crate) const RUNS: usize = 5;

/// The median of what `figure` reads from each run.
pub(crate) fn median<T>(runs: &[T], figure: impl Fn(&T) -> f64) -> f64 {
    let mut figures: Vec<f64> = runs.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// As [`median`], of what not every system can tell: nothing unless every run has it.
pub(crate) fn median_if_known<T>(runs: &[T], figure: impl Fn(&T) -> Option<f64>) -> Option<f64> {
    let figures: Vec<f64> = runs.iter().map(figure).collect::<Option<_>>()?;
    Some(median(&figures, |figure| *figure))
}

/// The value that `share` of `sorted` do not exceed, in milliseconds.
pub(crate) fn percentile_ms(sorted: &[Duration], share: f64) -> f64 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
}
