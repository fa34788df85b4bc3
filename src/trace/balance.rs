//! From samples to a comparison: which way spread the connections how, how fast, and with which
//! failures.
//!
//! Pure: it measures nothing and puts nothing into words.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::trace::counters::{Counters, CrossCheck};
use crate::trace::latency::{Latency, rank_sum_p};
use crate::trace::sample::{FailureKind, Sample, Way};
use crate::trace::spread::{Evenness, SIGNIFICANCE, Spread};

/// A difference of medians smaller than this ratio is nothing an operator would act upon.
const NOTICEABLE_RATIO: f64 = 1.1;

/// A difference of Cramér's w smaller than this is small (Cohen's convention).
const NOTICEABLE_W: f64 = 0.1;

/// One run of the measuring client, to be compared with others.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// The way all its samples took.
    pub way: Way,
    /// What did the balancing, in the operator's words: `IPVS rr`, `RR-DNS`.
    pub mechanism: &'a str,
    /// All its requests, in any order.
    pub samples: &'a [Sample],
    /// What the kernel counted meanwhile, where it counts.
    pub counters: Option<&'a Counters>,
}

/// Several ways to one service, side by side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    pub ways: Vec<WayResult>,
    pub verdict: Verdict,
}

/// What one way did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WayResult {
    pub way: Way,
    pub mechanism: String,
    pub requests: u64,
    /// Requests that a task answered, expected or not.
    pub answered: u64,
    /// Only kinds that occurred.
    pub failures: BTreeMap<FailureKind, u64>,
    /// The expected tasks in the order given, those without a reply included.
    pub tasks: Vec<TaskShare>,
    /// Replies of tasks that were not expected; not part of `spread`.
    pub unexpected: BTreeMap<String, u64>,
    pub spread: Spread,
    /// Of answered requests; none when there are none.
    pub latency: Option<Latencies>,
    /// Answered requests per second of the whole run; none when nothing was answered.
    pub requests_per_second: Option<f64>,
    pub counters: Option<CrossCheck>,
}

/// What one task got.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskShare {
    pub task: String,
    pub replies: u64,
    /// Of the replies of all expected tasks, 0 to 1; 0 when there are none.
    pub share: f64,
}

/// Where the time went.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Latencies {
    pub resolve: Latency,
    pub connect: Latency,
    /// Includes the other two.
    pub total: Latency,
}

/// What follows from the ways together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// None when fewer than two ways can be judged.
    pub evenness: Option<EvennessVerdict>,
    /// None when fewer than two ways were answered.
    pub speed: Option<SpeedVerdict>,
    /// Requests without an answer, over all ways.
    pub failures: u64,
    /// Whether the kernel's counters say the same as the replies, over all ways that have them;
    /// none when no way has them.
    pub agrees: Option<bool>,
}

/// The most even way against the least even one. Indices are into [`Comparison::ways`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EvennessVerdict {
    /// None when they were equally even.
    pub more_even: Option<usize>,
    pub less_even: Option<usize>,
    /// Whether the less even one is skewed beyond chance, and noticeably so.
    pub matters: bool,
}

/// The fastest way against the slowest, by the median of the total.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SpeedVerdict {
    pub faster: usize,
    pub slower: usize,
    /// The slower median over the faster one, at least 1.
    pub ratio: f64,
    /// The slower median minus the faster one, in microseconds.
    pub difference: f64,
    /// How often equal ways would differ as much (Mann-Whitney, two-sided).
    pub p: f64,
    /// Whether it is neither chance (p below [`SIGNIFICANCE`]) nor too little to notice (10 %).
    pub matters: bool,
}

/// Compares runs against one service. `expected` names the tasks that could have answered.
pub fn compare(runs: &[Run<'_>], expected: &[String]) -> Comparison {
    let ways: Vec<WayResult> = runs.iter().map(|run| judge(run, expected)).collect();
    let verdict = Verdict {
        evenness: evenness(&ways),
        speed: speed(runs, &ways),
        failures: ways.iter().map(|way| way.requests - way.answered).sum(),
        agrees: agreement(&ways),
    };
    Comparison { ways, verdict }
}

fn judge(run: &Run<'_>, expected: &[String]) -> WayResult {
    let mut replies: BTreeMap<String, u64> = BTreeMap::new();
    let mut failures: BTreeMap<FailureKind, u64> = BTreeMap::new();
    for sample in run.samples {
        match &sample.outcome {
            Ok(task) => match replies.get_mut(task) {
                Some(count) => *count += 1,
                None => drop(replies.insert(task.clone(), 1)),
            },
            Err(failure) => *failures.entry(failure.kind()).or_default() += 1,
        }
    }
    let failed = failures.values().sum();
    let requests = run.samples.len() as u64;
    let tasks = shares(&replies, expected);
    let counts: Vec<u64> = tasks.iter().map(|task| task.replies).collect();
    let counters = run.counters.map(|counters| CrossCheck::of(&replies, counters, failed));
    replies.retain(|task, _| !expected.contains(task));
    WayResult {
        way: run.way,
        mechanism: run.mechanism.to_owned(),
        requests,
        answered: requests - failed,
        failures,
        spread: Spread::of(&counts),
        tasks,
        unexpected: replies,
        latency: latencies(run.samples),
        requests_per_second: rate(run.samples, requests - failed),
        counters,
    }
}

/// The replies of each expected task, one entry per name.
fn shares(replies: &BTreeMap<String, u64>, expected: &[String]) -> Vec<TaskShare> {
    let mut tasks: Vec<TaskShare> = Vec::with_capacity(expected.len());
    for name in expected {
        if tasks.iter().all(|known| known.task != *name) {
            let replies = replies.get(name).copied().unwrap_or(0);
            tasks.push(TaskShare { task: name.clone(), replies, share: 0.0 });
        }
    }
    let total: u64 = tasks.iter().map(|task| task.replies).sum();
    if total > 0 {
        for task in &mut tasks {
            task.share = task.replies as f64 / total as f64;
        }
    }
    tasks
}

fn answered(samples: &[Sample]) -> impl Iterator<Item = &Sample> {
    samples.iter().filter(|sample| sample.outcome.is_ok())
}

fn latencies(samples: &[Sample]) -> Option<Latencies> {
    Some(Latencies {
        resolve: Latency::of(answered(samples).map(|sample| sample.resolve))?,
        connect: Latency::of(answered(samples).map(|sample| sample.connect))?,
        total: Latency::of(answered(samples).map(|sample| sample.total))?,
    })
}

/// Answers per second between the first request's start and the last one's end.
fn rate(samples: &[Sample], answered: u64) -> Option<f64> {
    let first = samples.iter().map(|sample| sample.started).min()?;
    let last = samples.iter().map(|sample| sample.started.saturating_add(sample.total)).max()?;
    let seconds = last.saturating_sub(first).as_secs_f64();
    (answered > 0 && seconds > 0.0).then(|| answered as f64 / seconds)
}

fn evenness(ways: &[WayResult]) -> Option<EvennessVerdict> {
    let mut judged: Vec<(usize, f64)> = Vec::new();
    for (index, way) in ways.iter().enumerate() {
        if let (true, Some(w)) = (is_judged(way.spread.judgement), way.spread.cramers_w) {
            judged.push((index, w));
        }
    }
    judged.sort_by(|(_, one), (_, other)| one.total_cmp(other));
    let (&[(best, least_w), .., (worst, most_w)], true) = (&judged[..], judged.len() > 1) else {
        return None;
    };
    let counts = |index: usize| ways.get(index).map(|way| way.spread.judgement);
    let both_exact =
        counts(best) == Some(Evenness::Exact) && counts(worst) == Some(Evenness::Exact);
    if both_exact || least_w == most_w {
        return Some(EvennessVerdict { more_even: None, less_even: None, matters: false });
    }
    Some(EvennessVerdict {
        more_even: Some(best),
        less_even: Some(worst),
        matters: counts(worst) == Some(Evenness::Skewed) && most_w - least_w >= NOTICEABLE_W,
    })
}

fn is_judged(evenness: Evenness) -> bool {
    match evenness {
        Evenness::NoReplies | Evenness::OneTask | Evenness::TooFew { .. } => false,
        Evenness::Exact | Evenness::TooEven | Evenness::LikeChance | Evenness::Skewed => true,
    }
}

fn speed(runs: &[Run<'_>], ways: &[WayResult]) -> Option<SpeedVerdict> {
    let mut medians: Vec<(usize, f64, &Run<'_>)> = Vec::new();
    for (index, (way, run)) in ways.iter().zip(runs).enumerate() {
        if let Some(latency) = way.latency {
            medians.push((index, latency.total.p50, run));
        }
    }
    medians.sort_by(|(_, one, _), (_, other, _)| one.total_cmp(other));
    let [(faster, low, fast), .., (slower, high, slow)] = medians.as_slice() else {
        return None;
    };
    let totals = |run: &Run<'_>| -> Vec<Duration> {
        answered(run.samples).map(|sample| sample.total).collect()
    };
    let p = rank_sum_p(&totals(fast), &totals(slow))?;
    let ratio = if *low > 0.0 { high / low } else { 1.0 };
    Some(SpeedVerdict {
        faster: *faster,
        slower: *slower,
        ratio,
        difference: high - low,
        p,
        matters: p < SIGNIFICANCE && ratio >= NOTICEABLE_RATIO,
    })
}

fn agreement(ways: &[WayResult]) -> Option<bool> {
    ways.iter()
        .filter_map(|way| way.counters.as_ref())
        .map(|check| check.agrees)
        .reduce(|a, b| a && b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::sample::Failure;

    fn sample(sequence: u32, outcome: Result<&str, Failure>, total: u64) -> Sample {
        Sample {
            way: Way::Vip,
            sequence,
            worker: 0,
            started: Duration::from_millis(u64::from(sequence)),
            resolve: Duration::from_micros(total / 2),
            connect: Duration::from_micros(total / 4),
            total: Duration::from_micros(total),
            address: None,
            outcome: outcome.map(str::to_owned),
        }
    }

    /// A thousand requests, one a millisecond, dealt by `task`, each as long as `total` says.
    fn thousand(task: impl Fn(u32) -> &'static str, total: impl Fn(u32) -> u64) -> Vec<Sample> {
        (0..1000).map(|sequence| sample(sequence, Ok(task(sequence)), total(sequence))).collect()
    }

    fn in_turn(sequence: u32) -> &'static str {
        if sequence.is_multiple_of(2) { "a" } else { "b" }
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn run<'a>(mechanism: &'a str, samples: &'a [Sample]) -> Run<'a> {
        Run { way: Way::Vip, mechanism, samples, counters: None }
    }

    #[test]
    fn replies_failures_and_silence_are_all_counted() {
        let samples = [
            sample(0, Ok("a"), 100),
            sample(1, Ok("a"), 200),
            sample(2, Ok("stranger"), 300),
            sample(3, Err(Failure::Refused), 9_000),
            sample(4, Err(Failure::Resolve("no".to_owned())), 9_000),
            sample(5, Err(Failure::Resolve("no again".to_owned())), 1_000),
        ];
        let comparison = compare(&[run("x", &samples)], &names(&["b", "a", "a"]));
        let way = comparison.ways.first().expect("one way");
        assert_eq!((way.requests, way.answered, comparison.verdict.failures), (6, 3, 3));
        let failures = [(FailureKind::Resolve, 2), (FailureKind::Refused, 1)];
        assert_eq!(way.failures, BTreeMap::from(failures));
        let tasks: Vec<(&str, u64, f64)> =
            way.tasks.iter().map(|task| (task.task.as_str(), task.replies, task.share)).collect();
        assert_eq!(tasks, [("b", 0, 0.0), ("a", 2, 1.0)]);
        assert_eq!(way.unexpected, BTreeMap::from([("stranger".to_owned(), 1)]));
        assert_eq!(way.latency.map(|latency| latency.total.max), Some(300.0));
        // From 0 ms to the end of the fourth request, 3 ms + 9 ms, or the fifth, 4 ms + 9 ms.
        assert_eq!(way.requests_per_second.map(f64::round), Some((3.0f64 / 0.013).round()));
    }

    #[test]
    fn no_requests_give_no_numbers() {
        let comparison = compare(&[run("x", &[])], &names(&["a", "b"]));
        let way = comparison.ways.first().expect("one way");
        assert_eq!(way.spread.judgement, Evenness::NoReplies);
        assert_eq!((way.latency, way.requests_per_second), (None, None));
        assert_eq!((comparison.verdict.evenness, comparison.verdict.speed), (None, None));
        assert_eq!(comparison.verdict.agrees, None);
    }

    #[test]
    fn a_noticeably_slower_way_matters_and_a_barely_slower_one_does_not() {
        let base = thousand(in_turn, |sequence| 400 + u64::from(sequence % 10));
        let double = thousand(in_turn, |sequence| 800 + u64::from(sequence % 10));
        let barely = thousand(in_turn, |sequence| 420 + u64::from(sequence % 10));
        let speed = |other: &[Sample]| {
            compare(&[run("other", other), run("base", &base)], &names(&["a", "b"]))
                .verdict
                .speed
                .expect("speed")
        };
        let verdict = speed(&double);
        assert_eq!((verdict.faster, verdict.slower, verdict.matters), (1, 0, true));
        assert!((verdict.ratio - 804.0 / 404.0).abs() < 1e-9 && verdict.difference == 400.0);
        let verdict = speed(&barely);
        assert!(!verdict.matters && verdict.p < SIGNIFICANCE, "{verdict:?}");
    }

    #[test]
    fn equal_speed_is_left_to_chance() {
        let base = thousand(in_turn, |sequence| 400 + u64::from(sequence % 10));
        let verdict = compare(&[run("x", &base), run("y", &base)], &names(&["a", "b"])).verdict;
        let speed = verdict.speed.expect("speed");
        assert!(!speed.matters && speed.p > 0.9 && speed.ratio == 1.0);
        let evenness = verdict.evenness.expect("evenness");
        assert_eq!((evenness.more_even, evenness.matters), (None, false));
    }

    #[test]
    fn a_heavy_skew_matters_and_a_light_one_does_not() {
        let even = thousand(in_turn, |_| 400);
        let heavy = thousand(|sequence| if sequence % 10 < 7 { "a" } else { "b" }, |_| 400);
        let light = thousand(|sequence| if sequence % 100 < 54 { "a" } else { "b" }, |_| 400);
        let evenness = |other: &[Sample]| {
            let runs = [run("other", other), run("even", &even)];
            compare(&runs, &names(&["a", "b"])).verdict.evenness.expect("evenness")
        };
        let verdict = evenness(&heavy);
        assert_eq!(
            (verdict.more_even, verdict.less_even, verdict.matters),
            (Some(1), Some(0), true)
        );
        let verdict = evenness(&light);
        assert_eq!((verdict.more_even, verdict.matters), (Some(1), false));
    }

    #[test]
    fn a_comparison_survives_json() {
        let samples = thousand(in_turn, |sequence| 401 + u64::from(sequence));
        let counters = Counters::default();
        let runs =
            [Run { way: Way::Vip, mechanism: "x", samples: &samples, counters: Some(&counters) }];
        let comparison = compare(&runs, &names(&["a", "b", "c"]));
        assert_eq!(comparison.verdict.agrees, Some(false));
        let json = serde_json::to_string(&comparison).expect("serialises");
        let back: Comparison = serde_json::from_str(&json).expect("parses");
        let parts = |comparison: &Comparison| {
            let way = comparison.ways.first().expect("one way").clone();
            (way.tasks, way.counters, way.latency, comparison.verdict.clone())
        };
        assert_eq!(parts(&back), parts(&comparison));
    }
}
