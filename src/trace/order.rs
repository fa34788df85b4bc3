//! The order in which one client meets its choices: round robin, shuffle, or always the same.
//!
//! Counts cannot tell round robin from a lucky shuffle; the sequence can. Two figures do it: how
//! often a choice comes twice in a row (the runs test is this), and how often it comes back after
//! one whole cycle, which round robin does every time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use statrs::function::erf::erfc;
use statrs::function::gamma::ln_gamma;

use crate::trace::spread::SIGNIFICANCE;

/// Below this many per choice the tests' normal approximation says nothing.
const LEAST_EACH: u64 = 5;

/// What one sequence shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// How long the sequence is.
    pub seen: u64,
    /// How many different choices stand in it.
    pub distinct: u64,
    pub pattern: Pattern,
    /// How often the next one is the same: the runs test.
    pub next: Option<Repeats>,
    /// How often the one after a whole cycle, `distinct` later, is the same.
    pub cycle: Option<Repeats>,
}

/// What may be said of a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pattern {
    /// There is but one choice.
    OneChoice,
    /// Too short to tell.
    TooFew,
    /// Always the same, though there are others.
    Fixed,
    /// Each in its turn, without an exception.
    Rotation,
    /// In turns far beyond chance, with exceptions: failures, or several requests at a time.
    NearRotation,
    /// The same again more often than chance: something keeps or sorts.
    Sticky,
    /// The same again less often than chance, though not in turns.
    Avoiding,
    /// What drawing at random gives.
    Shuffle,
}

/// How often two places at a distance hold the same, against every order of the same choices.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Repeats {
    pub lag: u64,
    /// How many pairs of places there are at this distance.
    pub pairs: u64,
    pub same: u64,
    /// The mean over every order.
    pub expected: f64,
    /// How often a random order is at least as far from the mean, either way (normal
    /// approximation with the exact variance).
    pub p: f64,
}

impl Order {
    /// Looks at a sequence drawn from `choices` possible ones.
    pub fn of<T: Ord>(sequence: &[T], choices: u64) -> Self {
        let mut numbers = BTreeMap::new();
        for item in sequence {
            let number = numbers.len();
            numbers.entry(item).or_insert(number);
        }
        let numbered: Vec<usize> =
            sequence.iter().filter_map(|item| numbers.get(item).copied()).collect();
        let distinct = numbers.len();
        let next = Repeats::of(&numbered, 1);
        let cycle = if distinct > 1 { Repeats::of(&numbered, distinct) } else { None };
        let choices = choices.max(distinct as u64);
        let pattern = pattern(&numbered, distinct, choices, next, cycle);
        Self { seen: sequence.len() as u64, distinct: distinct as u64, pattern, next, cycle }
    }
}

fn pattern(
    sequence: &[usize],
    distinct: usize,
    choices: u64,
    next: Option<Repeats>,
    cycle: Option<Repeats>,
) -> Pattern {
    let seen = sequence.len() as u64;
    if choices < 2 {
        return Pattern::OneChoice;
    }
    let by_chance = (choices as f64).ln() * -(seen as f64);
    let rare = |orders: f64| (orders + by_chance).exp() < SIGNIFICANCE;
    match distinct {
        0 => return Pattern::TooFew,
        1 if rare((choices as f64).ln()) => return Pattern::Fixed,
        1 => return Pattern::TooFew,
        _ => {}
    }
    // Any order of a cycle is one in turn.
    let cycles =
        ln_gamma(choices as f64 + 1.0) - ln_gamma((choices - distinct as u64) as f64 + 1.0);
    if is_rotation(sequence, distinct) && rare(cycles) {
        return Pattern::Rotation;
    }
    if seen < LEAST_EACH * choices {
        return Pattern::TooFew;
    }
    let (more, less) = (Repeats::is_more, Repeats::is_less);
    match (next, cycle) {
        (Some(next), _) if more(&next) => Pattern::Sticky,
        (_, Some(cycle)) if more(&cycle) => Pattern::NearRotation,
        (Some(next), _) if less(&next) => Pattern::Avoiding,
        _ => Pattern::Shuffle,
    }
}

/// Whether each stands where it stood one cycle before.
fn is_rotation(sequence: &[usize], cycle: usize) -> bool {
    let back = sequence.get(cycle..).unwrap_or_default();
    sequence.len() > cycle && sequence.iter().zip(back).all(|(before, now)| before == now)
}

impl Repeats {
    /// None for sequences that say nothing: too short, or the same in every order.
    fn of(sequence: &[usize], lag: usize) -> Option<Self> {
        let pairs = sequence.len().checked_sub(lag).filter(|pairs| *pairs > 0)?;
        let later = sequence.get(lag..)?;
        let same = sequence.iter().zip(later).filter(|(one, other)| one == other).count();
        let (expected, variance) = moments(sequence, lag, pairs);
        if variance <= 1e-9 {
            return None;
        }
        let distance = ((same as f64 - expected).abs() - 0.5).max(0.0);
        Some(Self {
            lag: lag as u64,
            pairs: pairs as u64,
            same: same as u64,
            expected,
            p: erfc(distance / variance.sqrt() / std::f64::consts::SQRT_2).min(1.0),
        })
    }

    fn is_more(&self) -> bool {
        self.p < SIGNIFICANCE && self.same as f64 > self.expected
    }

    fn is_less(&self) -> bool {
        self.p < SIGNIFICANCE && (self.same as f64) < self.expected
    }
}

/// Mean and variance of the number of equal pairs over every order of the same items.
///
/// With falling powers of the counts, P(2 places alike), P(3 alike) and P(2 pairs alike) are exact;
/// the variance needs only how many pairs there are and how many of them share a place.
fn moments(sequence: &[usize], lag: usize, pairs: usize) -> (f64, f64) {
    let mut counts: BTreeMap<usize, f64> = BTreeMap::new();
    for item in sequence {
        *counts.entry(*item).or_default() += 1.0;
    }
    let falling = |n: f64, power: i32| (0..power).map(|k| n - f64::from(k)).product::<f64>();
    let sum = |power: i32| counts.values().map(|count| falling(*count, power)).sum::<f64>();
    let (n, pairs) = (sequence.len() as f64, pairs as f64);
    let ratio = |over: f64, under: f64| if under > 0.0 { over / under } else { 0.0 };
    let two = ratio(sum(2), falling(n, 2));
    let three = ratio(sum(3), falling(n, 3));
    let crossed = sum(2).powi(2) - counts.values().map(|c| falling(*c, 2).powi(2)).sum::<f64>();
    let four = ratio(sum(4) + crossed, falling(n, 4));
    let sharing = 2.0 * (sequence.len().saturating_sub(2 * lag)) as f64;
    let mean = pairs * two;
    let square = mean + sharing * three + (pairs * (pairs - 1.0) - sharing) * four;
    (mean, square - mean * mean)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A linear congruential generator (Knuth's MMIX), so that the draws are the same everywhere.
    fn draws(seed: u64, length: usize, choices: u64) -> Vec<u64> {
        let mut state = seed;
        (0..length)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) % choices
            })
            .collect()
    }

    fn pattern_of(sequence: &[u64], choices: u64) -> Pattern {
        Order::of(sequence, choices).pattern
    }

    #[test]
    fn each_in_its_turn_is_a_rotation_wherever_it_begins_and_however_it_goes() {
        for cycle in [[0, 1, 2], [2, 0, 1], [2, 1, 0]] {
            let sequence: Vec<u64> = cycle.into_iter().cycle().take(50).collect();
            assert_eq!(pattern_of(&sequence, 3), Pattern::Rotation);
        }
        let two: Vec<u64> = (0..20).map(|i| i % 2).collect();
        assert_eq!(pattern_of(&two, 2), Pattern::Rotation);
    }

    #[test]
    fn five_in_turn_may_be_chance_and_seven_are_not() {
        // 3! / 3^5 = 0.025, 3! / 3^7 = 0.0027
        assert_eq!(pattern_of(&[0, 1, 2, 0, 1], 3), Pattern::TooFew);
        assert_eq!(pattern_of(&[0, 1, 2, 0, 1, 2, 0], 3), Pattern::Rotation);
    }

    #[test]
    fn a_rotation_with_a_fault_now_and_then_is_nearly_one() {
        let mut sequence: Vec<u64> = (0..60).map(|i| i % 3).collect();
        sequence.swap(20, 21);
        sequence.remove(40);
        assert_eq!(pattern_of(&sequence, 3), Pattern::NearRotation);
    }

    #[test]
    fn always_the_same_is_fixed_when_there_are_others() {
        assert_eq!(pattern_of(&[7; 30], 3), Pattern::Fixed);
        assert_eq!(pattern_of(&[7; 30], 1), Pattern::OneChoice);
        assert_eq!(pattern_of(&[7, 7], 3), Pattern::TooFew);
        assert_eq!(pattern_of(&[], 3), Pattern::TooFew);
    }

    #[test]
    fn draws_at_random_are_a_shuffle_about_as_often_as_the_tests_promise() {
        let shuffles = (1..=500)
            .filter(|seed| pattern_of(&draws(*seed, 120, 3), 3) == Pattern::Shuffle)
            .count();
        // Two tests at 1 % each.
        assert!((480..=499).contains(&shuffles), "{shuffles} of 500");
    }

    #[test]
    fn one_that_is_kept_for_a_while_is_sticky() {
        let sequence: Vec<u64> = draws(3, 30, 3).into_iter().flat_map(|c| [c; 5]).collect();
        assert_eq!(pattern_of(&sequence, 3), Pattern::Sticky);
    }

    #[test]
    fn decks_that_are_shuffled_anew_avoid_the_same_again() {
        let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        let decks = draws(11, 200, 6).into_iter().filter_map(|i| orders.get(i as usize).copied());
        let sequence: Vec<u64> = decks.flatten().collect();
        assert_eq!(pattern_of(&sequence, 3), Pattern::Avoiding);
    }

    /// Every distinct order of the items, each as likely as any other.
    fn every_order(items: &mut Vec<usize>, from: usize, seen: &mut impl FnMut(&[usize])) {
        if from == items.len() {
            return seen(items);
        }
        for at in from..items.len() {
            items.swap(from, at);
            every_order(items, from + 1, seen);
            items.swap(from, at);
        }
    }

    #[test]
    fn mean_and_variance_are_those_of_every_order() {
        for (items, lag) in [
            (vec![0, 0, 0, 1, 1, 2, 2], 1),
            (vec![0, 0, 1, 1, 2, 2, 2], 3),
            (vec![0, 0, 0, 0, 1, 1], 2),
        ] {
            let (mut sum, mut squares, mut orders) = (0.0, 0.0, 0.0);
            every_order(&mut items.clone(), 0, &mut |order| {
                let same = order.iter().zip(&order[lag..]).filter(|(a, b)| a == b).count() as f64;
                sum += same;
                squares += same * same;
                orders += 1.0;
            });
            let (mean, variance) = moments(&items, lag, items.len() - lag);
            let true_mean: f64 = sum / orders;
            assert!((mean - true_mean).abs() < 1e-9, "{mean} is not {true_mean}");
            let true_variance: f64 = squares / orders - true_mean.powi(2);
            assert!((variance - true_variance).abs() < 1e-9, "{variance} is not {true_variance}");
        }
    }

    #[test]
    fn runs_of_two_kinds_are_those_of_wald_and_wolfowitz() {
        // 11 of one and 14 of another: runs have mean 13.32 and variance 5.8112...
        // (1 + 2ab/n and 2ab(2ab - n)/(n^2 (n - 1))); runs are 25 less the repeats.
        let sequence: Vec<usize> = (0..25).map(|i| usize::from(i >= 11)).collect();
        let (mean, variance) = moments(&sequence, 1, 24);
        assert!((25.0 - mean - 13.32).abs() < 1e-9, "{mean}");
        assert!((variance - 308.0 * 283.0 / (625.0 * 24.0)).abs() < 1e-9, "{variance}");
    }
}
