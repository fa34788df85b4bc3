//! The same counts client by client: what is even together may be one task for each client, and
//! what is even for each client may begin with the same task for all of them.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ChiSquared, ContinuousCDF};

use crate::trace::spread::{Evenness, LEAST_EXPECTED, SIGNIFICANCE, Spread};

/// What the clients of one way show together. Rows of counts are clients, columns tasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Strata {
    /// None with fewer than two clients or tasks that had replies.
    pub heterogeneity: Option<Heterogeneity>,
    /// None where no client alone can be judged.
    pub within: Option<Within>,
    pub firsts: Firsts,
    /// Clients with two replies or more, which could have met two tasks.
    pub could_meet_two: u64,
    /// Of those, the clients that met one task only.
    pub met_one: u64,
}

/// Whether clients met the tasks in different shares: Pearson's chi-square of the table of clients
/// by tasks. It is what the chi-squares of the clients have beyond that of all together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Heterogeneity {
    pub statistic: f64,
    pub degrees_of_freedom: u64,
    /// How often clients with equal shares differ at least as much.
    pub p: f64,
    /// Effect size, `sqrt(chi2 / (N min(rows, columns) - N))`: 1 is a task of its own for each.
    pub cramers_v: f64,
    pub judgement: Sameness,
}

/// What may be said of the clients' shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sameness {
    /// Too few replies for each client and task (Cochran's rule for tables).
    TooFew,
    /// They differ no more than chance makes.
    Alike,
    /// They differ beyond chance.
    Differ,
}

/// Each client against equal shares, summed up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Within {
    /// The sum of the clients' chi-squares.
    pub statistic: f64,
    pub degrees_of_freedom: u64,
    /// How often picking at random is at least this uneven.
    pub p: f64,
    /// Effect size, `sqrt(chi2 / N)`, as for one client.
    pub cramers_w: f64,
    /// The middle one of the clients' peaks: busiest task against the mean.
    pub median_peak: f64,
}

/// What each client met first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Firsts {
    /// How many clients met each task first, in the order of the tasks.
    pub counts: Vec<u64>,
    /// Whether more of them begin with the same task than chance explains: clients in step.
    pub in_step: bool,
}

impl Strata {
    /// `rows` holds each client's replies by task, `firsts` the first task that each client met.
    /// All rows have the same length.
    pub fn of(rows: &[Vec<u64>], firsts: &[usize]) -> Self {
        let tasks = rows.first().map_or(0, Vec::len);
        let with_two = || rows.iter().filter(|row| row.iter().sum::<u64>() >= 2 && tasks >= 2);
        let is_one = |row: &&Vec<u64>| row.iter().filter(|count| **count > 0).count() == 1;
        Self {
            heterogeneity: Heterogeneity::of(rows),
            within: Within::of(rows),
            firsts: Firsts::of(firsts, tasks),
            could_meet_two: with_two().count() as u64,
            met_one: with_two().filter(is_one).count() as u64,
        }
    }
}

impl Heterogeneity {
    fn of(rows: &[Vec<u64>]) -> Option<Self> {
        let sum = |counts: &[u64]| counts.iter().sum::<u64>() as f64;
        let rows: Vec<&Vec<u64>> = rows.iter().filter(|row| sum(row) > 0.0).collect();
        let width = rows.first()?.len();
        let column =
            |index: usize| rows.iter().filter_map(|row| row.get(index)).sum::<u64>() as f64;
        let columns: Vec<(usize, f64)> =
            (0..width).map(|index| (index, column(index))).filter(|(_, sum)| *sum > 0.0).collect();
        if rows.len() < 2 || columns.len() < 2 {
            return None;
        }
        let total: f64 = columns.iter().map(|(_, sum)| sum).sum();
        let (mut statistic, mut low, mut least) = (0.0, 0, f64::INFINITY);
        for row in &rows {
            for (index, of_column) in &columns {
                let expected = sum(row) * of_column / total;
                let seen = row.get(*index).copied().unwrap_or(0) as f64;
                statistic += (seen - expected).powi(2) / expected;
                low += usize::from(expected < LEAST_EXPECTED as f64);
                least = least.min(expected);
            }
        }
        let cells = rows.len() * columns.len();
        let degrees_of_freedom = ((rows.len() - 1) * (columns.len() - 1)) as u64;
        let p = ChiSquared::new(degrees_of_freedom as f64).ok()?.sf(statistic);
        let smaller = rows.len().min(columns.len()) as f64;
        Some(Self {
            statistic,
            degrees_of_freedom,
            p,
            cramers_v: (statistic / (total * (smaller - 1.0))).sqrt(),
            judgement: match () {
                () if least < 1.0 || low * 5 > cells => Sameness::TooFew,
                () if p < SIGNIFICANCE => Sameness::Differ,
                () => Sameness::Alike,
            },
        })
    }
}

impl Within {
    /// Of the clients that have replies enough; none without any.
    fn of(rows: &[Vec<u64>]) -> Option<Self> {
        let spreads: Vec<Spread> = rows.iter().map(|row| Spread::of(row)).collect();
        let judged: Vec<&Spread> = spreads
            .iter()
            .filter(|spread| !matches!(spread.judgement, Evenness::TooFew { .. }))
            .filter(|spread| spread.chi_square.is_some())
            .collect();
        let (mut statistic, mut degrees_of_freedom, mut replies) = (0.0, 0, 0);
        let mut peaks: Vec<f64> = judged.iter().filter_map(|spread| spread.peak).collect();
        for spread in &judged {
            let chi = spread.chi_square?;
            statistic += chi.statistic;
            degrees_of_freedom += chi.degrees_of_freedom;
            replies += spread.replies;
        }
        peaks.sort_by(f64::total_cmp);
        Some(Self {
            statistic,
            degrees_of_freedom,
            p: ChiSquared::new(degrees_of_freedom as f64).ok()?.sf(statistic),
            cramers_w: (statistic / replies as f64).sqrt(),
            median_peak: *peaks.get((peaks.len() / 2).min(peaks.len().checked_sub(1)?))?,
        })
    }
}

impl Firsts {
    fn of(firsts: &[usize], tasks: usize) -> Self {
        let mut counts = vec![0; tasks];
        for first in firsts {
            if let Some(count) = counts.get_mut(*first) {
                *count += 1;
            }
        }
        let clients = counts.iter().sum::<u64>();
        let all_one = counts.contains(&clients) && clients > 1 && tasks > 1;
        // One task for all of them: n of n^clients ways.
        let by_chance = (tasks as f64).powf(1.0 - clients as f64);
        let in_step = (all_one && by_chance < SIGNIFICANCE)
            || Spread::of(&counts).judgement == Evenness::Skewed;
        Self { counts, in_step }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCIPY_STATISTIC: f64 = 17.693_216_508_584_43;
    const SCIPY_P: f64 = 0.001_416_620_465_162_079;

    #[track_caller]
    fn close(value: f64, expected: f64, within: f64) {
        assert!((value - expected).abs() <= within, "{value} is not {expected}");
    }

    #[test]
    fn a_table_gives_what_scipy_gives() {
        // scipy.stats.chi2_contingency([[10, 20, 30], [6, 9, 17], [25, 15, 12]], correction=False)
        let table = [vec![10, 20, 30], vec![6, 9, 17], vec![25, 15, 12]];
        let found = Strata::of(&table, &[]).heterogeneity.expect("a table");
        close(found.statistic, SCIPY_STATISTIC, 1e-9);
        close(found.p, SCIPY_P, 1e-9);
        assert_eq!((found.degrees_of_freedom, found.judgement), (4, Sameness::Differ));
        close(found.cramers_v, (SCIPY_STATISTIC / (144.0 * 2.0)).sqrt(), 1e-12);
    }

    #[test]
    fn one_task_for_each_client_is_even_together_and_not_for_any() {
        let rows = [vec![100, 0, 0], vec![0, 100, 0], vec![0, 0, 100]];
        let strata = Strata::of(&rows, &[0, 1, 2]);
        let found = strata.heterogeneity.expect("a table");
        assert_eq!(found.judgement, Sameness::Differ);
        close(found.cramers_v, 1.0, 1e-12);
        close(found.statistic, 600.0, 1e-9);
        let within = strata.within.expect("judged");
        close(within.cramers_w, 2f64.sqrt(), 1e-12);
        close(within.median_peak, 3.0, 1e-12);
        assert_eq!((strata.could_meet_two, strata.met_one), (3, 3));
        assert_eq!(Spread::of(&[100, 100, 100]).judgement, Evenness::Exact);
        assert!(!strata.firsts.in_step);
    }

    #[test]
    fn clients_that_begin_alike_are_in_step_though_each_is_even() {
        let rows = vec![vec![5, 5, 5]; 8];
        let strata = Strata::of(&rows, &[2; 8]);
        assert!(strata.firsts.in_step);
        assert_eq!(strata.firsts.counts, [0, 0, 8]);
        assert_eq!(strata.heterogeneity.expect("a table").judgement, Sameness::Alike);
        assert_eq!(strata.met_one, 0);
        // Three of three are alike once in nine times, by chance alone.
        assert!(!Strata::of(&rows[..3], &[2; 3]).firsts.in_step);
        assert!(!Strata::of(&rows[..1], &[2]).firsts.in_step);
    }

    #[test]
    fn one_shot_clients_cannot_be_compared_with_each_other() {
        let rows: Vec<Vec<u64>> =
            (0..24).map(|i| (0..3).map(|task| u64::from(i % 3 == task)).collect()).collect();
        let strata = Strata::of(&rows, &[0; 24]);
        assert_eq!(strata.heterogeneity.expect("a table").judgement, Sameness::TooFew);
        assert_eq!((strata.within, strata.could_meet_two), (None, 0));
        assert!(strata.firsts.in_step);
    }

    #[test]
    fn without_two_clients_or_two_tasks_there_is_nothing_to_compare() {
        for rows in [&[][..], &[vec![3, 4]], &[vec![3], vec![4]], &[vec![0, 4], vec![0, 9]]] {
            assert_eq!(Strata::of(rows, &[]).heterogeneity, None, "{rows:?}");
        }
        let strata = Strata::of(&[vec![40], vec![40]], &[0, 0]);
        assert_eq!((strata.could_meet_two, strata.met_one), (0, 0));
        assert!(!strata.firsts.in_step && strata.within.is_none());
    }

    #[test]
    fn the_chi_squares_of_clients_are_that_of_all_and_what_they_differ_by() {
        // Exactly so when all clients have as many replies and the tasks had equal shares.
        let rows = [vec![12, 20, 16], vec![20, 12, 16]];
        let strata = Strata::of(&rows, &[]);
        let together = Spread::of(&[32, 32, 32]).chi_square.expect("counts").statistic;
        let within = strata.within.expect("judged").statistic;
        close(within, together + strata.heterogeneity.expect("a table").statistic, 1e-9);
    }
}
