//! From samples to a comparison: which way spread the connections how, client by client and
//! together, how fast, and with which failures.
//!
//! Pure: it measures nothing and puts nothing into words.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::trace::conditions::Conditions;
use crate::trace::counters::{Counters, CrossCheck};
use crate::trace::latency::{Latency, curve, rank_sum_p};
use crate::trace::order::Order;
use crate::trace::outage::Outages;
use crate::trace::sample::{FailureKind, Sample, Source, Way};
use crate::trace::spread::{Evenness, SIGNIFICANCE, Spread, is_exact, wilson};
use crate::trace::strata::Strata;

/// A difference of medians smaller than this ratio is nothing an operator would act upon.
const NOTICEABLE_RATIO: f64 = 1.1;

/// A difference of Cramér's w smaller than this is small (Cohen's convention).
const NOTICEABLE_W: f64 = 0.1;

/// So many tasks are told in the order in which a client met them.
const MET: usize = 60;

/// One way to be compared with others.
#[derive(Debug, Clone)]
pub struct Run {
    /// The way all its samples took.
    pub way: Way,
    /// What did the balancing, in the operator's words: `IPVS rr`, `RR-DNS`.
    pub mechanism: String,
    /// What each client did.
    pub clients: Vec<ClientRun>,
}

/// What one client did one way.
#[derive(Debug, Clone, Default)]
pub struct ClientRun {
    /// Its sandbox.
    pub client: String,
    /// All its requests, in the order in which they were begun.
    pub samples: Vec<Sample>,
    /// The first few answers to its questions for the name, whole and in their order.
    pub answers: Vec<Vec<IpAddr>>,
    /// The TTL of the last answer, in seconds.
    pub ttl: Option<u32>,
    /// What the kernel counted in its sandbox meanwhile, where it counts.
    pub counters: Option<Counters>,
}

/// Several ways to one service, side by side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    pub conditions: Conditions,
    pub ways: Vec<WayResult>,
    pub verdict: Verdict,
    /// What clients met when a task was killed, where one was.
    #[serde(default)]
    pub outages: Option<Outages>,
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
    /// Of all clients together.
    pub spread: Spread,
    /// The clients against each other; none with fewer than two.
    pub strata: Option<Strata>,
    /// Questions for the name, where the others were answered from what was kept.
    pub lookups: u64,
    /// How long answers may be kept, in seconds.
    pub ttl: Option<u32>,
    /// Of answered requests; none when there are none.
    pub latency: Option<Latencies>,
    pub curves: Option<Curves>,
    /// Answered requests per second of the whole run; none when nothing was answered.
    pub requests_per_second: Option<f64>,
    /// Of all clients together.
    pub counters: Option<CrossCheck>,
    /// In the order given.
    pub clients: Vec<ClientResult>,
}

/// What one client met one way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClientResult {
    pub client: String,
    pub requests: u64,
    pub answered: u64,
    pub failures: BTreeMap<FailureKind, u64>,
    pub tasks: Vec<TaskShare>,
    pub spread: Spread,
    /// The order in which it met the tasks.
    pub order: Order,
    /// The first of them, as places in `tasks`.
    pub met: Vec<usize>,
    pub lookups: u64,
    /// What it was told when it asked for the name.
    pub answers: Answers,
    pub latency: Option<Latencies>,
    pub counters: Option<CrossCheck>,
}

/// The answers to one client's questions for the name, in the order asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answers {
    /// How the first address moves from answer to answer.
    pub first_address: Order,
    /// The first few answers, whole.
    pub begin: Vec<Vec<IpAddr>>,
}

/// What one task got.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskShare {
    pub task: String,
    pub replies: u64,
    /// Of the replies of all expected tasks, 0 to 1; 0 when there are none.
    pub share: f64,
    /// The share's interval at 95 %, were tasks picked at random (Wilson's); none without replies.
    pub interval: Option<(f64, f64)>,
}

/// Where the time went.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Latencies {
    pub resolve: Latency,
    pub connect: Latency,
    /// Includes the other two.
    pub total: Latency,
}

/// The same for drawing: pairs of a fraction of the requests and the microseconds in which that many were
/// done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Curves {
    pub resolve: Vec<(f64, f64)>,
    pub total: Vec<(f64, f64)>,
}

/// What follows from the ways together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// All clients together; none when fewer than two ways can be judged.
    pub evenness: Option<EvennessVerdict>,
    /// Client by client; none with one client, or where clients have too few replies.
    pub per_client: Option<EvennessVerdict>,
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
pub fn compare(conditions: Conditions, runs: &[Run], expected: &[String]) -> Comparison {
    let expected = unique(expected);
    let ways: Vec<WayResult> = runs.iter().map(|run| judge(run, &expected)).collect();
    let verdict = Verdict {
        evenness: evenness(&ways),
        per_client: per_client(&ways),
        speed: speed(runs, &ways),
        failures: ways.iter().map(|way| way.requests - way.answered).sum(),
        agrees: agreement(&ways),
    };
    Comparison { conditions, ways, verdict, outages: None }
}

fn unique(names: &[String]) -> Vec<String> {
    let mut unique: Vec<String> = Vec::with_capacity(names.len());
    for name in names {
        if !unique.contains(name) {
            unique.push(name.clone());
        }
    }
    unique
}

fn judge(run: &Run, expected: &[String]) -> WayResult {
    let samples = || run.clients.iter().flat_map(|client| &client.samples);
    let mut tally = Tally::of(samples());
    let tasks = shares(&tally.replies, expected);
    let counts: Vec<u64> = tasks.iter().map(|task| task.replies).collect();
    let clients: Vec<ClientResult> =
        run.clients.iter().map(|client| judge_client(client, expected)).collect();
    tally.replies.retain(|task, _| !expected.contains(task));
    let checks: Vec<&CrossCheck> =
        clients.iter().filter_map(|client| client.counters.as_ref()).collect();
    WayResult {
        way: run.way,
        mechanism: run.mechanism.clone(),
        requests: tally.requests,
        answered: tally.requests - tally.failed(),
        spread: Spread::of(&counts),
        tasks,
        strata: (clients.len() > 1).then(|| strata(&clients)),
        lookups: clients.iter().map(|client| client.lookups).sum(),
        ttl: run.clients.iter().filter_map(|client| client.ttl).max(),
        latency: latencies(samples()),
        curves: curves(samples()),
        requests_per_second: rate(samples(), tally.requests - tally.failed()),
        counters: CrossCheck::together(&checks),
        clients,
        failures: tally.failures,
        unexpected: tally.replies,
    }
}

fn judge_client(run: &ClientRun, expected: &[String]) -> ClientResult {
    let tally = Tally::of(&run.samples);
    let tasks = shares(&tally.replies, expected);
    let counts: Vec<u64> = tasks.iter().map(|task| task.replies).collect();
    let place = |task: &String| expected.iter().position(|name| name == task);
    let met: Vec<usize> = answered(&run.samples)
        .filter_map(|sample| sample.outcome.as_ref().ok().and_then(place))
        .collect();
    let asked = || run.samples.iter().filter(|sample| sample.source == Source::Asked);
    let told: Vec<IpAddr> = asked().filter_map(|sample| sample.address).collect();
    // A name that has one address, as a VIP's, has nothing to be ordered.
    let choices = run.answers.iter().map(Vec::len).max().unwrap_or(0) as u64;
    ClientResult {
        client: run.client.clone(),
        requests: tally.requests,
        answered: tally.requests - tally.failed(),
        spread: Spread::of(&counts),
        tasks,
        order: Order::of(&met, expected.len() as u64),
        met: met.into_iter().take(MET).collect(),
        lookups: asked().count() as u64,
        answers: Answers { first_address: Order::of(&told, choices), begin: run.answers.clone() },
        latency: latencies(&run.samples),
        counters: run
            .counters
            .as_ref()
            .map(|counters| CrossCheck::of(&tally.replies, counters, tally.failed())),
        failures: tally.failures,
    }
}

fn strata(clients: &[ClientResult]) -> Strata {
    let row = |client: &ClientResult| client.tasks.iter().map(|task| task.replies).collect();
    let rows: Vec<Vec<u64>> = clients.iter().map(row).collect();
    let firsts: Vec<usize> =
        clients.iter().filter_map(|client| client.met.first().copied()).collect();
    Strata::of(&rows, &firsts)
}

/// Samples, counted.
struct Tally {
    requests: u64,
    replies: BTreeMap<String, u64>,
    failures: BTreeMap<FailureKind, u64>,
}

impl Tally {
    fn of<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> Self {
        let mut tally = Self { requests: 0, replies: BTreeMap::new(), failures: BTreeMap::new() };
        for sample in samples {
            tally.requests += 1;
            match &sample.outcome {
                Ok(task) => match tally.replies.get_mut(task) {
                    Some(count) => *count += 1,
                    None => drop(tally.replies.insert(task.clone(), 1)),
                },
                Err(failure) => *tally.failures.entry(failure.kind()).or_default() += 1,
            }
        }
        tally
    }

    fn failed(&self) -> u64 {
        self.failures.values().sum()
    }
}

/// The replies of each expected task.
fn shares(replies: &BTreeMap<String, u64>, expected: &[String]) -> Vec<TaskShare> {
    let of = |name: &String| replies.get(name).copied().unwrap_or(0);
    let total: u64 = expected.iter().map(of).sum();
    let share = |name: &String| TaskShare {
        task: name.clone(),
        replies: of(name),
        share: if total > 0 { of(name) as f64 / total as f64 } else { 0.0 },
        interval: wilson(of(name), total),
    };
    expected.iter().map(share).collect()
}

fn answered<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> impl Iterator<Item = &'a Sample> {
    samples.into_iter().filter(|sample| sample.outcome.is_ok())
}

fn latencies<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> Option<Latencies> {
    let answered: Vec<&Sample> = answered(samples).collect();
    Some(Latencies {
        resolve: Latency::of(answered.iter().map(|sample| sample.resolve))?,
        connect: Latency::of(answered.iter().map(|sample| sample.connect))?,
        total: Latency::of(answered.iter().map(|sample| sample.total))?,
    })
}

fn curves<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> Option<Curves> {
    let answered: Vec<&Sample> = answered(samples).collect();
    (!answered.is_empty()).then(|| Curves {
        resolve: curve(answered.iter().map(|sample| sample.resolve)),
        total: curve(answered.iter().map(|sample| sample.total)),
    })
}

/// Answers per second between the first request's start and the last one's end.
fn rate<'a>(samples: impl Iterator<Item = &'a Sample>, answered: u64) -> Option<f64> {
    let (mut first, mut last) = (Duration::MAX, Duration::ZERO);
    for sample in samples {
        first = first.min(sample.started);
        last = last.max(sample.started.saturating_add(sample.total));
    }
    let seconds = last.saturating_sub(first).as_secs_f64();
    (answered > 0 && seconds > 0.0).then(|| answered as f64 / seconds)
}

fn evenness(ways: &[WayResult]) -> Option<EvennessVerdict> {
    let way = |way: &WayResult| {
        let w = way.spread.cramers_w.filter(|_| is_judged(way.spread.judgement))?;
        Some(Judged {
            w,
            exact: way.spread.judgement == Evenness::Exact,
            skewed: way.spread.judgement == Evenness::Skewed,
        })
    };
    EvennessVerdict::of(ways.iter().map(way))
}

/// As [`evenness`], with each client's own chi-square against equal shares.
fn per_client(ways: &[WayResult]) -> Option<EvennessVerdict> {
    let way = |way: &WayResult| {
        let within = way.strata.as_ref()?.within?;
        Some(Judged {
            w: within.cramers_w,
            exact: way.clients.iter().all(|client| {
                let counts: Vec<u64> = client.tasks.iter().map(|task| task.replies).collect();
                is_exact(&counts)
            }),
            skewed: within.p < SIGNIFICANCE,
        })
    };
    EvennessVerdict::of(ways.iter().map(way))
}

/// How even one way is, in figures that can be compared.
#[derive(Clone, Copy)]
struct Judged {
    w: f64,
    exact: bool,
    skewed: bool,
}

impl EvennessVerdict {
    fn of(ways: impl Iterator<Item = Option<Judged>>) -> Option<Self> {
        let mut judged: Vec<(usize, Judged)> =
            ways.enumerate().filter_map(|(index, way)| Some((index, way?))).collect();
        judged.sort_by(|(_, one), (_, other)| one.w.total_cmp(&other.w));
        let [(best, better), .., (worst, worse)] = judged[..] else { return None };
        if (better.exact && worse.exact) || better.w == worse.w {
            return Some(Self { more_even: None, less_even: None, matters: false });
        }
        Some(Self {
            more_even: Some(best),
            less_even: Some(worst),
            matters: worse.skewed && worse.w - better.w >= NOTICEABLE_W,
        })
    }
}

fn is_judged(evenness: Evenness) -> bool {
    match evenness {
        Evenness::NoReplies | Evenness::OneTask | Evenness::TooFew { .. } => false,
        Evenness::Exact | Evenness::TooEven | Evenness::LikeChance | Evenness::Skewed => true,
    }
}

fn speed(runs: &[Run], ways: &[WayResult]) -> Option<SpeedVerdict> {
    let mut medians: Vec<(usize, f64, &Run)> = Vec::new();
    for (index, (way, run)) in ways.iter().zip(runs).enumerate() {
        if let Some(latency) = way.latency {
            medians.push((index, latency.total.p50, run));
        }
    }
    medians.sort_by(|(_, one, _), (_, other, _)| one.total_cmp(other));
    let [(faster, low, fast), .., (slower, high, slow)] = medians.as_slice() else {
        return None;
    };
    let totals = |run: &Run| -> Vec<Duration> {
        let samples = run.clients.iter().flat_map(|client| &client.samples);
        answered(samples).map(|sample| sample.total).collect()
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
    use crate::trace::order::Pattern;
    use crate::trace::sample::Failure;

    fn sample(sequence: u32, outcome: Result<&str, Failure>, total: u64) -> Sample {
        Sample {
            way: Way::Vip,
            sequence,
            worker: 0,
            started: Duration::from_millis(u64::from(sequence)),
            resolve: Duration::from_micros(total / 2),
            source: Source::Asked,
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

    fn client(name: &str, samples: &[Sample]) -> ClientRun {
        ClientRun { client: name.to_owned(), samples: samples.to_vec(), ..ClientRun::default() }
    }

    fn run(mechanism: &str, samples: &[Sample]) -> Run {
        let clients = vec![client("box.1", samples)];
        Run { way: Way::Vip, mechanism: mechanism.to_owned(), clients }
    }

    fn compare(runs: &[Run], expected: &[String]) -> Comparison {
        super::compare(Conditions::default(), runs, expected)
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
        let mut runs = [run("x", &samples)];
        runs[0].clients[0].counters = Some(Counters::default());
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

    /// Three clients that each meet the next task of three, always the same one.
    fn kept() -> Vec<ClientRun> {
        let tasks = ["a", "b", "c"];
        let always = |task: &'static str| thousand(|_| task, |_| 400);
        tasks.iter().map(|task| client(&format!("box.{task}"), &always(task))).collect()
    }

    #[test]
    fn what_is_even_together_is_told_from_what_is_even_for_each_client() {
        let turns = |_: &str| thousand(|i| ["a", "b", "c"][i as usize % 3], |_| 400);
        let ways = [
            Run { way: Way::Dns, mechanism: "kept".to_owned(), clients: kept() },
            Run {
                way: Way::Vip,
                mechanism: "turns".to_owned(),
                clients: ["x", "y", "z"].map(|name| client(name, &turns(name))).into(),
            },
        ];
        let comparison = compare(&ways, &names(&["a", "b", "c"]));
        let verdict = comparison.verdict;
        let together = verdict.evenness.expect("two ways");
        assert!(!together.matters, "{together:?}");
        let each = verdict.per_client.expect("two ways");
        assert_eq!((each.more_even, each.less_even, each.matters), (Some(1), Some(0), true));
        let [kept, turns] = &comparison.ways[..] else { panic!("two ways") };
        assert_eq!(kept.spread.judgement, Evenness::Exact);
        assert_eq!(kept.strata.as_ref().map(|strata| strata.met_one), Some(3));
        assert_eq!(turns.strata.as_ref().map(|strata| strata.met_one), Some(0));
        assert!(turns.clients.iter().all(|c| c.order.pattern == Pattern::Rotation));
        assert!(kept.clients.iter().all(|c| c.order.pattern == Pattern::Fixed));
    }

    #[test]
    fn answers_are_ordered_by_those_that_were_asked_for() {
        let mut samples = thousand(|_| "a", |_| 400);
        samples.truncate(40);
        for (sequence, sample) in samples.iter_mut().enumerate() {
            // Every second one is kept, so that the answers go round by themselves.
            let asked = sequence % 2 == 0;
            sample.source = if asked { Source::Asked } else { Source::Kept };
            sample.address = Some(IpAddr::from([10, 0, 3, (sequence as u8 / 2) % 3]));
        }
        let mut runs = [run("x", &samples)];
        runs[0].clients[0].answers = vec![vec![IpAddr::from([10, 0, 3, 0]); 3]];
        let way = compare(&runs, &names(&["a"])).ways.remove(0);
        let client = way.clients.first().expect("a client");
        assert_eq!(
            (way.lookups, client.lookups, client.order.pattern),
            (20, 20, Pattern::OneChoice)
        );
        assert_eq!(client.answers.first_address.pattern, Pattern::Rotation);
        assert_eq!(client.answers.first_address.seen, 20);
    }

    #[test]
    fn one_client_is_compared_with_no_other() {
        let samples = thousand(in_turn, |_| 400);
        let way = compare(&[run("x", &samples)], &names(&["a", "b"])).ways.remove(0);
        assert_eq!((way.strata, way.clients.len()), (None, 1));
    }
}
