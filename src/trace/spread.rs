//! How evenly connections were spread over tasks: the numbers, and what they allow to be said.
//!
//! Pearson's chi-square against equal shares, both tails, because "too even" is a finding too: it
//! is how round robin differs from chance. Weights other than equal ones are not handled here.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ChiSquared, ContinuousCDF};
use statrs::function::gamma::ln_gamma;

/// The p below which a spread is called unlike chance, in either tail.
pub const SIGNIFICANCE: f64 = 0.01;

/// Below this expected count per task chi-square says nothing (Cochran's rule).
pub const LEAST_EXPECTED: u64 = 5;

/// The evenness of one list of counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// How many tasks there are, those with no reply included.
    pub tasks: u64,
    /// How many replies were spread over them.
    pub replies: u64,
    /// None with fewer than two tasks or without replies.
    pub chi_square: Option<ChiSquare>,
    /// Effect size, `sqrt(chi2 / N)`: below 0.01 negligible, below 0.1 small.
    pub cramers_w: Option<f64>,
    /// Jain's index, `(sum x)^2 / (n sum x^2)`: 1 is equal shares, `1/n` is one task for all.
    pub jain: Option<f64>,
    /// The busiest task against the mean: the capacity that must be bought, 1 at best.
    pub peak: Option<f64>,
    /// Coefficient of variation of the counts, their standard deviation against the mean.
    pub variation: Option<f64>,
    /// What it is on average when tasks are picked at random: `sqrt((n - 1) / N)`.
    pub variation_by_chance: Option<f64>,
    /// What follows.
    pub judgement: Evenness,
}

/// Pearson's chi-square against equal shares.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ChiSquare {
    pub statistic: f64,
    pub degrees_of_freedom: u64,
    /// How often picking at random is at least this uneven.
    pub upper_p: f64,
    /// How often picking at random is at least this even; never understated.
    pub lower_p: f64,
}

/// What may be said of a spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Evenness {
    /// Nothing was answered by a task that was expected.
    NoReplies,
    /// One task (or none): nothing to spread over.
    OneTask,
    /// Fewer than [`LEAST_EXPECTED`] replies per task; `needed` would do.
    TooFew { needed: u64 },
    /// No two tasks differ by more than one, and chance hardly ever does that: round robin.
    Exact,
    /// More even than chance, though not as exact as one round robin.
    TooEven,
    /// What picking at random with equal shares gives.
    LikeChance,
    /// More uneven than chance.
    Skewed,
}

impl Spread {
    /// Measures the counts of all expected tasks, in any order.
    pub fn of(counts: &[u64]) -> Self {
        let replies = total(counts);
        let chi_square = ChiSquare::of(counts);
        Self {
            tasks: counts.len() as u64,
            replies,
            chi_square,
            cramers_w: chi_square.map(|chi| (chi.statistic / replies as f64).sqrt()),
            jain: jain(counts),
            peak: peak(counts),
            variation: variation(counts),
            variation_by_chance: mean(counts)
                .map(|_| (counts.len().saturating_sub(1) as f64 / replies as f64).sqrt()),
            judgement: judge(counts, chi_square),
        }
    }
}

impl ChiSquare {
    fn of(counts: &[u64]) -> Option<Self> {
        let freedom = (counts.len() as u64).checked_sub(1).filter(|df| *df > 0)?;
        let expected = mean(counts)?;
        let distance = |count: &u64| (*count as f64 - expected).powi(2) / expected;
        let statistic = counts.iter().map(distance).sum();
        let chance = ChiSquared::new(freedom as f64).ok()?;
        Some(Self {
            statistic,
            degrees_of_freedom: freedom,
            upper_p: chance.sf(statistic),
            lower_p: lower_tail(counts, statistic, expected, &chance),
        })
    }
}

/// How often picking at random is at least this even.
///
/// Counts are whole numbers, and near perfect evenness the chi-square curve forgets that: it gives
/// 8/8/8 a p of 0, though chance does it once in 30 times. So the most even spread gets its exact
/// multinomial probability, and any other a bound from above: the ball of at-least-as-even spreads,
/// widened until it covers the whole cell of the lattice (A n-1) around each point on its edge.
fn lower_tail(counts: &[u64], statistic: f64, expected: f64, chance: &ChiSquared) -> f64 {
    if is_exact(counts) {
        return most_even_probability(counts.len() as u64, total(counts));
    }
    let tasks = counts.len() as f64;
    let half = (counts.len() / 2) as f64;
    let covering_radius = (half * (tasks - half) / tasks).sqrt();
    let radius = statistic.sqrt() + covering_radius / expected.sqrt();
    chance.cdf(radius * radius)
}

/// The probability that `replies` thrown at random on `tasks` fall so that no two tasks differ by
/// more than one.
fn most_even_probability(tasks: u64, replies: u64) -> f64 {
    let (Some(each), Some(extra)) = (replies.checked_div(tasks), replies.checked_rem(tasks)) else {
        return 1.0;
    };
    let (n, r) = (tasks as f64, extra as f64);
    let arrangements = ln_factorial(tasks) - ln_factorial(extra) - ln_factorial(tasks - extra);
    let orders = ln_factorial(replies)
        - (n - r) * ln_factorial(each)
        - r * ln_factorial(each + 1)
        - replies as f64 * n.ln();
    (arrangements + orders).exp().min(1.0)
}

fn ln_factorial(n: u64) -> f64 {
    ln_gamma(n as f64 + 1.0)
}

fn judge(counts: &[u64], chi_square: Option<ChiSquare>) -> Evenness {
    let needed = LEAST_EXPECTED.saturating_mul(counts.len() as u64);
    match chi_square {
        _ if total(counts) == 0 => Evenness::NoReplies,
        None => Evenness::OneTask,
        Some(_) if total(counts) < needed => Evenness::TooFew { needed },
        Some(chi) if chi.upper_p < SIGNIFICANCE => Evenness::Skewed,
        Some(chi) if chi.lower_p >= SIGNIFICANCE => Evenness::LikeChance,
        Some(_) if is_exact(counts) => Evenness::Exact,
        Some(_) => Evenness::TooEven,
    }
}

/// Whether no two tasks differ by more than one: as even as whole numbers can be.
pub fn is_exact(counts: &[u64]) -> bool {
    let least = counts.iter().min().copied().unwrap_or(0);
    let most = counts.iter().max().copied().unwrap_or(0);
    most - least <= 1
}

fn total(counts: &[u64]) -> u64 {
    counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
}

/// None without counts, or when all are 0.
fn mean(counts: &[u64]) -> Option<f64> {
    let sum = total(counts);
    (sum > 0).then(|| sum as f64 / counts.len() as f64)
}

fn jain(counts: &[u64]) -> Option<f64> {
    mean(counts)?;
    let sum: f64 = counts.iter().map(|count| *count as f64).sum();
    let squares: f64 = counts.iter().map(|count| (*count as f64).powi(2)).sum();
    Some(sum * sum / (counts.len() as f64 * squares))
}

fn peak(counts: &[u64]) -> Option<f64> {
    Some(*counts.iter().max()? as f64 / mean(counts)?)
}

fn variation(counts: &[u64]) -> Option<f64> {
    let mean = mean(counts)?;
    let squares: f64 = counts.iter().map(|count| (*count as f64 - mean).powi(2)).sum();
    Some((squares / counts.len() as f64).sqrt() / mean)
}

/// A share's interval at 95 % (Wilson's), for `part` of `whole` picked at random; none of nothing.
pub fn wilson(part: u64, whole: u64) -> Option<(f64, f64)> {
    if whole == 0 {
        return None;
    }
    const Z: f64 = 1.959_963_984_540_054;
    let (n, share) = (whole as f64, part as f64 / whole as f64);
    let middle = share + Z * Z / (2.0 * n);
    let half = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    Some((((middle - half) / scale).max(0.0), ((middle + half) / scale).min(1.0)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn close(value: Option<f64>, expected: f64, within: f64) {
        let value = value.expect("a value");
        assert!((value - expected).abs() <= within, "{value} is not {expected}");
    }

    fn statistic(spread: &Spread) -> Option<f64> {
        spread.chi_square.map(|chi| chi.statistic)
    }

    fn upper_p(spread: &Spread) -> Option<f64> {
        spread.chi_square.map(|chi| chi.upper_p)
    }

    fn lower_p(spread: &Spread) -> Option<f64> {
        spread.chi_square.map(|chi| chi.lower_p)
    }

    #[test]
    fn everything_on_one_of_three_is_as_uneven_as_can_be() {
        let spread = Spread::of(&[0, 0, 24]);
        close(statistic(&spread), 48.0, 1e-9);
        close(upper_p(&spread), 3.775e-11, 1e-13);
        close(spread.jain, 1.0 / 3.0, 1e-12);
        close(spread.peak, 3.0, 1e-12);
        close(spread.cramers_w, 2f64.sqrt(), 1e-12);
        assert_eq!(spread.judgement, Evenness::Skewed);
    }

    #[test]
    fn eight_each_is_even_but_chance_does_it_once_in_thirty_times() {
        let spread = Spread::of(&[8, 8, 8]);
        close(statistic(&spread), 0.0, 0.0);
        close(upper_p(&spread), 1.0, 0.0);
        // 24! / (8!)^3 / 3^24
        close(lower_p(&spread), 9_465_511_770.0 / 282_429_536_481.0, 1e-9);
        close(spread.jain, 1.0, 0.0);
        assert_eq!(spread.judgement, Evenness::LikeChance);
    }

    #[test]
    fn variation_is_told_beside_what_chance_makes_of_it() {
        let spread = Spread::of(&[122, 98, 77]);
        // scipy.stats.chisquare([122, 98, 77]): 10.242424, p 0.0059687836
        close(statistic(&spread), 10.242_424_242_4, 1e-9);
        close(upper_p(&spread), 0.005_968_783_6, 1e-9);
        // numpy: std of the counts 18.384776 / mean 99, and sqrt(2 / 297)
        close(spread.variation, 18.384_776_310_850_235 / 99.0, 1e-12);
        close(spread.variation_by_chance, 0.082_060_993_986_220_75, 1e-12);
        close(Spread::of(&[8, 8, 8]).variation, 0.0, 0.0);
    }

    #[test]
    fn the_interval_of_a_share_is_wilsons() {
        // scipy.stats.binomtest(122, 297).proportion_ci(0.95, "wilson")
        let (low, high) = wilson(122, 297).expect("an interval");
        close(Some(low), 0.356_308_854_764_999_3, 1e-9);
        close(Some(high), 0.467_518_618_324_111_3, 1e-9);
        assert_eq!(wilson(0, 0), None);
        assert_eq!(wilson(0, 9).map(|(low, _)| low), Some(0.0));
    }

    #[test]
    fn one_round_robin_over_4357_connections_is_exact() {
        let spread = Spread::of(&[1452, 1452, 1453]);
        assert!(statistic(&spread).expect("a statistic") < 0.001);
        assert!(lower_p(&spread).expect("a p") < 0.001);
        assert_eq!(spread.judgement, Evenness::Exact);
    }

    #[test]
    fn least_connections_under_load_is_skewed_with_a_small_effect() {
        let spread = Spread::of(&[2298, 2080, 2114]);
        close(statistic(&spread), 12.7, 0.05);
        close(upper_p(&spread), 0.002, 0.0005);
        close(spread.jain, 0.998, 0.0005);
        close(spread.peak, 1.06, 0.005);
        close(spread.cramers_w, 0.044, 0.0005);
        assert_eq!(spread.judgement, Evenness::Skewed);
    }

    #[test]
    fn a_spread_as_chance_makes_it_is_like_chance() {
        let spread = Spread::of(&[103, 92, 105]);
        assert_eq!(spread.judgement, Evenness::LikeChance);
    }

    #[test]
    fn nearly_exact_over_many_is_too_even() {
        let spread = Spread::of(&[1001, 999, 1000]);
        assert_eq!(spread.judgement, Evenness::TooEven);
    }

    #[test]
    fn fourteen_replies_over_three_tasks_are_too_few() {
        assert_eq!(Spread::of(&[14, 0, 0]).judgement, Evenness::TooFew { needed: 15 });
        assert_eq!(Spread::of(&[15, 0, 0]).judgement, Evenness::Skewed);
    }

    #[test]
    fn one_task_has_nothing_to_be_compared_with() {
        let spread = Spread::of(&[40]);
        assert_eq!(spread.judgement, Evenness::OneTask);
        assert_eq!(spread.chi_square, None);
        close(spread.jain, 1.0, 0.0);
    }

    #[test]
    fn without_replies_no_number_is_claimed() {
        for counts in [&[][..], &[0], &[0, 0, 0]] {
            let spread = Spread::of(counts);
            assert_eq!(spread.judgement, Evenness::NoReplies);
            assert_eq!((spread.chi_square, spread.jain, spread.peak), (None, None, None));
        }
    }

    /// Every way to throw `replies` on three tasks, with its probability.
    fn every_throw(replies: u64) -> Vec<([u64; 3], f64)> {
        let mut throws = Vec::new();
        for a in 0..=replies {
            for b in 0..=replies - a {
                let counts = [a, b, replies - a - b];
                let ways = ln_factorial(replies)
                    - counts.iter().map(|count| ln_factorial(*count)).sum::<f64>();
                throws.push((counts, (ways - replies as f64 * 3f64.ln()).exp()));
            }
        }
        throws
    }

    fn squares(counts: &[u64]) -> u64 {
        counts.iter().map(|count| count * count).sum()
    }

    #[test]
    fn the_lower_tail_is_never_below_the_enumerated_one_near_evenness() {
        for replies in [15, 30, 60, 61, 62] {
            let throws = every_throw(replies);
            for (counts, _) in &throws {
                let at_least_as_even =
                    throws.iter().filter(|(other, _)| squares(other) <= squares(counts));
                let true_p: f64 = at_least_as_even.map(|(_, p)| p).sum();
                let stated = lower_p(&Spread::of(counts)).expect("a p");
                assert!(
                    true_p > 0.2 || stated >= true_p * 0.95,
                    "{counts:?}: stated {stated}, truly {true_p}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn no_counts_give_a_number_out_of_its_range(counts in prop::collection::vec(any::<u64>(), 0..12)) {
            let spread = Spread::of(&counts);
            if let Some(chi) = spread.chi_square {
                prop_assert!((0.0..=1.0).contains(&chi.upper_p));
                prop_assert!((0.0..=1.0).contains(&chi.lower_p));
            }
        }

        #[test]
        fn the_order_of_tasks_does_not_matter(mut counts in prop::collection::vec(0u64..1000, 2..12)) {
            let jain = Spread::of(&counts).jain.unwrap_or(0.0);
            counts.reverse();
            prop_assert!((jain - Spread::of(&counts).jain.unwrap_or(0.0)).abs() < 1e-9);
        }
    }
}
