//! Latencies of a run in numbers, and whether two runs differ in them.
//!
//! Quantiles are nearest-rank: every figure is one that was measured. A closed-loop client cannot
//! see the requests that a stall kept it from making, so these are not latencies under load.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use statrs::function::erf::erfc;

/// Latencies in microseconds, of answered requests only.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    pub min: f64,
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub max: f64,
}

impl Latency {
    /// None without measurements.
    pub fn of(measured: impl IntoIterator<Item = Duration>) -> Option<Self> {
        let mut sorted: Vec<f64> = measured.into_iter().map(micros).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        Some(Self {
            min: *sorted.first()?,
            mean: sorted.iter().sum::<f64>() / sorted.len() as f64,
            p50: nearest_rank(&sorted, 50)?,
            p90: nearest_rank(&sorted, 90)?,
            p99: nearest_rank(&sorted, 99)?,
            max: *sorted.last()?,
        })
    }
}

fn micros(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1_000.0
}

fn nearest_rank(sorted: &[f64], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// How often two runs of equal speed would differ in their ranks as much as these: the two-sided p
/// of the Mann-Whitney test, by the normal approximation with ties. None when either is empty.
pub fn rank_sum_p(one: &[Duration], other: &[Duration]) -> Option<f64> {
    if one.is_empty() || other.is_empty() {
        return None;
    }
    let mut all: Vec<(Duration, bool)> = one.iter().map(|d| (*d, true)).collect();
    all.extend(other.iter().map(|d| (*d, false)));
    all.sort_unstable_by_key(|(duration, _)| *duration);
    let (n1, n2, n) = (one.len() as f64, other.len() as f64, all.len() as f64);
    let (mut rank_sum, mut ties, mut before) = (0.0, 0.0, 0.0);
    for group in all.chunk_by(|a, b| a.0 == b.0) {
        let size = group.len() as f64;
        let of_one = group.iter().filter(|(_, is_one)| *is_one).count() as f64;
        rank_sum += of_one * (before + (size + 1.0) / 2.0);
        ties += size.powi(3) - size;
        before += size;
    }
    let u = rank_sum - n1 * (n1 + 1.0) / 2.0;
    let variance = n1 * n2 / 12.0 * ((n + 1.0) - ties / (n * (n - 1.0)));
    if variance <= 0.0 {
        return Some(1.0);
    }
    let distance = ((u - n1 * n2 / 2.0).abs() - 0.5).max(0.0);
    Some(erfc(distance / variance.sqrt() / std::f64::consts::SQRT_2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(micros: &[u64]) -> Vec<Duration> {
        micros.iter().map(|us| Duration::from_micros(*us)).collect()
    }

    #[test]
    fn quantiles_are_measured_values() {
        let latency = Latency::of((1..=100).map(Duration::from_micros)).expect("measured");
        assert_eq!((latency.min, latency.p50, latency.p90), (1.0, 50.0, 90.0));
        assert_eq!((latency.p99, latency.max, latency.mean), (99.0, 100.0, 50.5));
    }

    #[test]
    fn one_measurement_is_every_quantile() {
        let latency = Latency::of([Duration::from_nanos(1_500)]).expect("measured");
        assert_eq!((latency.min, latency.p50, latency.p99, latency.max), (1.5, 1.5, 1.5, 1.5));
    }

    #[test]
    fn nothing_measured_is_no_latency() {
        assert_eq!(Latency::of([]), None);
        assert_eq!(rank_sum_p(&[], &times(&[1])), None);
    }

    #[test]
    fn the_rank_sum_agrees_with_a_textbook_value() {
        // U = 0 of 5 x 5: z = (12.5 - 0.5) / sqrt(5 * 5 * 11 / 12) = 2.507, two-sided p 0.0122.
        let p = rank_sum_p(&times(&[1, 2, 3, 4, 5]), &times(&[6, 7, 8, 9, 10])).expect("a p");
        assert!((p - 0.0122).abs() < 0.0001, "{p}");
    }

    #[test]
    fn equal_runs_do_not_differ_and_ties_do_not_break_it() {
        assert_eq!(rank_sum_p(&times(&[5, 5, 5]), &times(&[5, 5, 5])), Some(1.0));
        let same = times(&[1, 2, 3, 4]);
        assert_eq!(rank_sum_p(&same, &same), Some(1.0));
        assert_eq!(rank_sum_p(&times(&[7]), &times(&[7])), Some(1.0));
    }
}
