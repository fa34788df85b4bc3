//! Latencies of a run in numbers, and whether two runs differ in them.
//!
//! Quantiles are nearest-rank: every figure is one that was measured. Their intervals are by order
//! statistics, which need no assumption about the shape; resampling (bootstrap) would come to the
//! same with more work and a seed. A closed-loop client cannot
//! see the requests that a stall kept it from making, so these are not latencies under load.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use statrs::distribution::{Binomial, DiscreteCDF};
use statrs::function::erf::erfc;

/// Latencies in microseconds, of answered requests only.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    pub min: f64,
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
    pub intervals: Intervals,
}

/// Between what, at 95 %, the quantiles of such requests lie; none where too few were measured to
/// say, or where the upper end is beyond all that was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Intervals {
    pub p50: Option<(f64, f64)>,
    pub p90: Option<(f64, f64)>,
    pub p99: Option<(f64, f64)>,
    pub p999: Option<(f64, f64)>,
}

/// How many points a [`curve`] has.
const POINTS: usize = 48;

impl Latency {
    /// None without measurements.
    pub fn of(measured: impl IntoIterator<Item = Duration>) -> Option<Self> {
        let sorted = sorted(measured);
        Some(Self {
            min: *sorted.first()?,
            mean: sorted.iter().sum::<f64>() / sorted.len() as f64,
            p50: nearest_rank(&sorted, 500)?,
            p90: nearest_rank(&sorted, 900)?,
            p99: nearest_rank(&sorted, 990)?,
            p999: nearest_rank(&sorted, 999)?,
            max: *sorted.last()?,
            intervals: Intervals {
                p50: interval(&sorted, 0.5),
                p90: interval(&sorted, 0.9),
                p99: interval(&sorted, 0.99),
                p999: interval(&sorted, 0.999),
            },
        })
    }
}

/// A latency at each of some fractions, 0 to below 1, for drawing: evenly spaced towards the slow
/// end, as many nines as the measurements have; empty without any.
pub fn curve(measured: impl IntoIterator<Item = Duration>) -> Vec<(f64, f64)> {
    let sorted = sorted(measured);
    let nines = (sorted.len() as f64).log10();
    let last = POINTS.min(sorted.len()).saturating_sub(1);
    let point = |step: usize| {
        let fraction = match last {
            0 => 0.0,
            _ => 1.0 - 10f64.powf(-nines * step as f64 / last as f64),
        };
        // The slowest is at 1 - 1/N, for the axis never gets to 1.
        let rank = (fraction * sorted.len() as f64).round() as usize;
        Some((fraction, *sorted.get(rank.min(sorted.len().checked_sub(1)?))?))
    };
    (0..=last).filter_map(point).collect()
}

fn sorted(measured: impl IntoIterator<Item = Duration>) -> Vec<f64> {
    let mut sorted: Vec<f64> = measured.into_iter().map(micros).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}

/// The measurements between which the quantile lies at 95 %: how many of N are below it is
/// binomial.
fn interval(sorted: &[f64], quantile: f64) -> Option<(f64, f64)> {
    let below = Binomial::new(quantile, sorted.len() as u64).ok()?;
    let low = usize::try_from(below.inverse_cdf(0.025)).ok()?.checked_sub(1)?;
    let high = usize::try_from(below.inverse_cdf(0.975)).ok()?;
    Some((*sorted.get(low)?, *sorted.get(high)?))
}

fn micros(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1_000.0
}

fn nearest_rank(sorted: &[f64], permille: usize) -> Option<f64> {
    let rank = (sorted.len() * permille).div_ceil(1000).max(1);
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
    fn the_slowest_of_a_thousand_is_a_quantile_of_its_own() {
        let latency = Latency::of((1..=1000).map(Duration::from_micros)).expect("measured");
        assert_eq!((latency.p99, latency.p999, latency.max), (990.0, 999.0, 1000.0));
    }

    #[test]
    fn intervals_are_order_statistics() {
        let of = |count: u64| {
            Latency::of((1..=count).map(Duration::from_micros)).expect("measured").intervals
        };
        // scipy.stats.binom.ppf([0.025, 0.975], n, q): 40 and 60 of (100, 0.5), 84 and 95 of
        // (100, 0.9), 983 and 996 of (1000, 0.99), 4990 and 4999 of (5000, 0.999); the upper end
        // is the next one.
        assert_eq!(of(100).p50, Some((40.0, 61.0)));
        assert_eq!(of(100).p90, Some((84.0, 96.0)));
        assert_eq!(of(1000).p99, Some((983.0, 997.0)));
        assert_eq!(of(5000).p999, Some((4990.0, 5000.0)));
        // 97 and 100 of (100, 0.99): the upper end is beyond what was measured.
        assert_eq!((of(100).p99, of(1).p50), (None, None));
    }

    #[test]
    fn a_curve_goes_from_the_fastest_to_the_slowest() {
        let points = curve((1..=1000).map(Duration::from_micros));
        assert_eq!(points.first(), Some(&(0.0, 1.0)));
        let (fraction, slowest) = *points.last().expect("points");
        assert!((fraction - 0.999).abs() < 1e-12 && slowest == 1000.0, "{fraction}, {slowest}");
        assert!(points.len() == POINTS && points.is_sorted(), "{points:?}");
        assert_eq!(curve([Duration::from_micros(7)]), [(0.0, 7.0)]);
        assert!(curve([]).is_empty());
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
