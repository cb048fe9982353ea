//! Medians and percentiles.

use std::time::Duration;

/// How often each figure is measured. The median is reported.
pub(crate) const RUNS: usize = 5;

/// Returns the median of `figure` over the runs.
pub(crate) fn median<T>(runs: &[T], figure: impl Fn(&T) -> f64) -> f64 {
    let mut figures: Vec<f64> = runs.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// As [`median`], for figures that not every system reports: `None` unless every run has one.
pub(crate) fn median_if_known<T>(runs: &[T], figure: impl Fn(&T) -> Option<f64>) -> Option<f64> {
    let figures: Vec<f64> = runs.iter().map(figure).collect::<Option<_>>()?;
    Some(median(&figures, |figure| *figure))
}

/// Returns the median of the ratios of `figure` to that of the reference in the same round.
pub(crate) fn median_ratio<T>(runs: &[T], references: &[T], figure: impl Fn(&T) -> f64) -> f64 {
    let ratios: Vec<f64> =
        runs.iter().zip(references).map(|(run, reference)| figure(run) / figure(reference)).collect();
    median(&ratios, |ratio| *ratio)
}

/// Returns the value that `share` of `sorted` do not exceed, in milliseconds.
pub(crate) fn percentile_ms(sorted: &[Duration], share: f64) -> f64 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
}
