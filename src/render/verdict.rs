//! A comparison in plain English: what the numbers say, and no more than they say.

use crate::render::figure::{count, p, percent, thousands, time};
use crate::render::outage;
use crate::trace::balance::{Comparison, EvennessVerdict, TaskShare, WayResult};
use crate::trace::conditions::ClientCache;
use crate::trace::counters::CrossCheck;
use crate::trace::order::Pattern;
use crate::trace::sample::Way;
use crate::trace::spread::{ChiSquare, Evenness, SIGNIFICANCE, is_exact};
use crate::trace::strata::{Sameness, Strata};

/// More tasks than this are summed up rather than listed.
const LISTED: usize = 6;

/// The verdict, one statement a line: the spread of each way, of all clients and client by client,
/// what clients kept and in what order answers and tasks came, which way was more even, which was faster,
/// what names cost, what failed, and whether the kernel counted the same.
pub fn verdict(comparison: &Comparison) -> String {
    let ways = &comparison.ways;
    let mut lines: Vec<String> = ways.iter().map(spread).collect();
    lines.extend(ways.iter().filter_map(silent));
    lines.extend(ways.iter().filter_map(strangers));
    lines.extend(keeping(comparison));
    lines.extend(ways.iter().filter_map(order));
    lines.extend(ways.iter().flat_map(clients));
    lines.extend(evenness(comparison));
    lines.extend(per_client(comparison));
    lines.extend(speed(comparison));
    lines.extend(resolution(ways));
    lines.extend(failures(ways));
    lines.extend(ways.iter().filter_map(counters));
    lines.extend(comparison.outages.iter().flat_map(outage::sentences));
    lines.join("\n")
}

fn spread(way: &WayResult) -> String {
    let name = &way.mechanism;
    let spread = &way.spread;
    let counts = by_task(&way.tasks);
    let head = format!("{name} spread {} {counts}", connections(spread.replies));
    let jain = spread.jain.map(|jain| format!(" (Jain {jain:.3})")).unwrap_or_default();
    match spread.judgement {
        Evenness::NoReplies => no_replies(way),
        Evenness::OneTask => match way.tasks.first() {
            Some(only) => {
                format!(
                    "{name} sent {} to the only task, {}.",
                    connections(spread.replies),
                    only.task
                )
            }
            None => no_replies(way),
        },
        Evenness::TooFew { needed } => {
            format!("{head}: too few requests to judge; {} replies would do.", thousands(needed))
        }
        Evenness::Exact | Evenness::TooEven | Evenness::LikeChance if each_met_one(way) => {
            format!("{head}{jain} over all clients together, but each client met one task only.")
        }
        Evenness::Exact => format!("{head}{jain}, as exact as round robin can be."),
        Evenness::TooEven => format!(
            "{head}{jain}, more even than picking at random would be{}.",
            in_brackets(way, |chi| p(chi.lower_p))
        ),
        Evenness::LikeChance => format!("{head}{jain}, {}.", like_chance(way)),
        Evenness::Skewed => format!("{head}{jain}, {}.", skewed(way)),
    }
}

fn no_replies(way: &WayResult) -> String {
    let name = &way.mechanism;
    match (way.requests, way.answered) {
        (0, _) => format!("No request was made through {name}."),
        (1, 0) => format!("The one request through {name} was not answered."),
        (requests, 0) => {
            format!("None of the {} requests through {name} was answered.", thousands(requests))
        }
        _ => format!("No expected task answered through {name}."),
    }
}

fn like_chance(way: &WayResult) -> String {
    let counts: Vec<u64> = way.tasks.iter().map(|task| task.replies).collect();
    if is_exact(&counts) {
        let p = in_brackets(way, |chi| p(chi.lower_p));
        return format!(
            "as even as whole numbers allow, which chance also does with so few connections{p}"
        );
    }
    let p = in_brackets(way, |chi| format!("chi-square {:.2}, {}", chi.statistic, p(chi.upper_p)));
    format!("as even as picking at random would be{p}")
}

fn skewed(way: &WayResult) -> String {
    let w = way.spread.cramers_w.unwrap_or(0.0);
    let effect = match w {
        _ if w < 0.01 => ", but by a negligible effect",
        _ if w < 0.1 => ", but by a small effect",
        _ => ", and by no small effect",
    };
    let over = way.spread.peak.map_or(0.0, |peak| peak - 1.0);
    let p = in_brackets(way, |chi| format!("chi-square {:.1}, {}", chi.statistic, p(chi.upper_p)));
    format!(
        "more uneven than chance{p}{effect} (w {w:.3}): the busiest task got {} more than the mean",
        percent(over)
    )
}

fn in_brackets(way: &WayResult, words: impl Fn(ChiSquare) -> String) -> String {
    way.spread.chi_square.map(|chi| format!(" ({})", words(chi))).unwrap_or_default()
}

fn connections(number: u64) -> String {
    count(number, "connection", "connections")
}

/// `100/99/101`, or how many each when there are many.
pub fn by_task(tasks: &[TaskShare]) -> String {
    let counts = tasks.iter().map(|task| task.replies);
    if tasks.len() <= LISTED {
        return counts.map(|count| count.to_string()).collect::<Vec<_>>().join("/");
    }
    let (least, most) = (counts.clone().min().unwrap_or(0), counts.max().unwrap_or(0));
    let tasks = tasks.len();
    match least == most {
        true => format!("over {tasks} tasks, {} each", thousands(least)),
        false => format!("over {tasks} tasks, {} to {} each", thousands(least), thousands(most)),
    }
}

/// Whether every client that could have met two tasks met one only.
fn each_met_one(way: &WayResult) -> bool {
    let all =
        |strata: &Strata| strata.could_meet_two > 0 && strata.met_one == strata.could_meet_two;
    way.strata.as_ref().is_some_and(all)
}

/// What clients kept of the answers, and how often they asked.
fn keeping(comparison: &Comparison) -> Option<String> {
    let asked = |way: &WayResult| {
        let lookups = count(way.lookups, "time", "times");
        format!("through {} {lookups} for {}", way.mechanism, requests(way.requests))
    };
    let ways = &comparison.ways;
    if ways.iter().all(|way| way.requests == 0) {
        return None;
    }
    let asked: Vec<String> = ways.iter().map(asked).collect();
    let asked = asked.join(", ");
    let clients = if comparison.conditions.clients.len() > 1 { "Clients" } else { "The client" };
    Some(match comparison.conditions.client_cache {
        ClientCache::None => format!("{clients} asked for the name anew for each request."),
        ClientCache::Ttl => {
            let ttl = ways.iter().filter_map(|way| way.ttl).max();
            let ttl = ttl.map(|ttl| format!(" ({ttl} s)")).unwrap_or_default();
            // One question of each client and no second one.
            let all_of_one = |way: &WayResult| way.lookups <= way.clients.len() as u64;
            let short = match ways.iter().all(all_of_one) {
                true => " It was over before an answer had expired: more requests would tell more.",
                false => "",
            };
            format!(
                "{clients} kept an answer as long as its TTL says{ttl}, and asked {asked}.{short}"
            )
        }
        ClientCache::Forever => {
            format!("{clients} asked once and stayed with the first address: {asked}.")
        }
    })
}

fn requests(number: u64) -> String {
    count(number, "request", "requests")
}

/// In what order a client meets its choices: addresses in answers, tasks behind a VIP.
fn order(way: &WayResult) -> Option<String> {
    let name = &way.mechanism;
    let patterns: Vec<Pattern> = way
        .clients
        .iter()
        .map(|client| match way.way {
            Way::Dns => client.answers.first_address.pattern,
            Way::Vip => client.order.pattern,
        })
        .filter(|pattern| !matches!(pattern, Pattern::OneChoice | Pattern::TooFew))
        .collect();
    let first = *patterns.first()?;
    if patterns.iter().any(|pattern| *pattern != first) {
        let mut numbers = std::collections::BTreeMap::<&str, u64>::new();
        for pattern in &patterns {
            *numbers.entry(manner(*pattern)).or_default() += 1;
        }
        let parts: Vec<String> = numbers
            .into_iter()
            .map(|(manner, number)| format!("{manner} for {}", count(number, "client", "clients")))
            .collect();
        let what = match way.way {
            Way::Dns => format!("The first address of {name}'s answers came"),
            Way::Vip => format!("Through {name} the tasks came"),
        };
        return Some(format!("{what} {}.", parts.join(", ")));
    }
    let manner = manner(first);
    Some(match way.way {
        Way::Dns => format!("The first address of {name}'s answers came {manner}."),
        Way::Vip => format!("Through {name} the tasks came {manner}."),
    })
}

fn manner(pattern: Pattern) -> &'static str {
    match pattern {
        Pattern::OneChoice | Pattern::TooFew => "in no order that could be told",
        Pattern::Fixed => "always the same",
        Pattern::Rotation => "in turn, without an exception",
        Pattern::NearRotation => "in turn, with exceptions",
        Pattern::Sticky => "in runs, the same again more often than chance makes",
        Pattern::Avoiding => "mixed, the same again less often than chance makes",
        Pattern::Shuffle => "in random order",
    }
}

/// What the clients of one way show, next to each other.
fn clients(way: &WayResult) -> Vec<String> {
    let Some(strata) = &way.strata else { return Vec::new() };
    let name = &way.mechanism;
    let mut lines = Vec::new();
    let met = way.tasks.iter().filter(|task| task.replies > 0).count();
    if each_met_one(way) {
        lines.push(format!(
            "Through {name} each of {} met one task only; together they met {}.",
            count(strata.could_meet_two, "client", "clients"),
            count(met as u64, "task", "tasks"),
        ));
    } else {
        if strata.met_one > 0 {
            lines.push(format!(
                "Through {name} {} of {} met one task only.",
                strata.met_one,
                count(strata.could_meet_two, "client", "clients")
            ));
        }
        lines.extend(heterogeneity(name, strata));
    }
    if strata.firsts.in_step {
        let firsts = strata.firsts.counts.iter().copied().zip(&way.tasks);
        if let Some((most, task)) = firsts.max_by_key(|(count, _)| *count) {
            lines.push(format!(
                "Through {name} the clients begin in step: {most} of {} met {} first.",
                strata.firsts.counts.iter().sum::<u64>(),
                task.task
            ));
        }
    }
    lines
}

fn heterogeneity(name: &str, strata: &Strata) -> Option<String> {
    let found = strata.heterogeneity?;
    let words = match found.judgement {
        Sameness::TooFew => return None,
        Sameness::Alike => "differ no more than chance makes",
        Sameness::Differ => "differ beyond chance",
    };
    Some(format!(
        "Through {name} the clients' shares of the tasks {words} (chi-square {:.1}, df {}, {}, V {:.3}).",
        found.statistic,
        found.degrees_of_freedom,
        p(found.p),
        found.cramers_v
    ))
}

/// Expected tasks that never answered, where others did.
fn silent(way: &WayResult) -> Option<String> {
    let names: Vec<&str> =
        way.tasks.iter().filter(|task| task.replies == 0).map(|task| task.task.as_str()).collect();
    let some = !names.is_empty() && way.spread.replies > 0;
    some.then(|| format!("Through {} no reply came from {}.", way.mechanism, enumerate(&names)))
}

/// Tasks that answered though nobody expected them.
fn strangers(way: &WayResult) -> Option<String> {
    let total: u64 = way.unexpected.values().sum();
    let names: Vec<String> =
        way.unexpected.iter().map(|(task, count)| format!("{task} ({count})")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    (total > 0).then(|| {
        format!(
            "Through {} {} came from tasks that were not expected: {}.",
            way.mechanism,
            count(total, "reply", "replies"),
            enumerate(&names)
        )
    })
}

/// The first few names, and how many more there are.
fn enumerate(names: &[&str]) -> String {
    match names.get(..LISTED) {
        Some(first) if names.len() > LISTED => {
            format!("{} and {} more", first.join(", "), names.len() - LISTED)
        }
        _ => names.join(", "),
    }
}

fn evenness(comparison: &Comparison) -> Option<String> {
    let verdict = comparison.verdict.evenness?;
    let several = comparison.ways.iter().any(|way| way.clients.len() > 1);
    let Some((better, worse)) = ends(comparison, &verdict) else {
        let who = if several { "For all clients together the" } else { "The" };
        return Some(format!("{who} ways do not differ in evenness."));
    };
    let what_of_it = match worse.spread.judgement {
        _ if verdict.matters => "a difference that matters",
        Evenness::LikeChance => "no more of a difference than chance makes",
        _ => "too small a difference to matter",
    };
    let together = if several { "For all clients together " } else { "" };
    Some(format!(
        "{together}{} was more even than {}: the busiest task got {:.2} against {:.2} times the mean; {what_of_it}.",
        better.mechanism, worse.mechanism, better.spread.peak?, worse.spread.peak?,
    ))
}

fn per_client(comparison: &Comparison) -> Option<String> {
    let verdict = comparison.verdict.per_client?;
    let Some((better, worse)) = ends(comparison, &verdict) else {
        return Some("Client by client the ways do not differ in evenness.".to_owned());
    };
    let peak = |way: &WayResult| Some(way.strata.as_ref()?.within?.median_peak);
    let what_of_it = match verdict.matters {
        true => "a difference that matters",
        false => "too small a difference to matter",
    };
    Some(format!(
        "Client by client {} was more even than {}: for the middle client the busiest task got {:.2} against {:.2} times the mean; {what_of_it}.",
        better.mechanism,
        worse.mechanism,
        peak(better)?,
        peak(worse)?,
    ))
}

/// The more and the less even way; none when they were equally even.
fn ends<'a>(
    comparison: &'a Comparison,
    verdict: &EvennessVerdict,
) -> Option<(&'a WayResult, &'a WayResult)> {
    let way = |index: Option<usize>| comparison.ways.get(index?);
    Some((way(verdict.more_even)?, way(verdict.less_even)?))
}

fn speed(comparison: &Comparison) -> Option<String> {
    let verdict = comparison.verdict.speed?;
    let way = |index: usize| comparison.ways.get(index);
    let (faster, slower) = (way(verdict.faster)?, way(verdict.slower)?);
    let (one, other) = (&faster.mechanism, &slower.mechanism);
    let median = |way: &WayResult| way.latency.map(|latency| time(latency.total.p50));
    let (low, high, p) = (median(faster)?, median(slower)?, p(verdict.p));
    if verdict.p >= SIGNIFICANCE {
        return Some(format!(
            "{one} and {other} did not differ in speed beyond chance: {low} and {high} per request (medians, {p})."
        ));
    }
    let what_of_it = match verdict.matters {
        true => "a real difference",
        false => "a real difference, but too small to notice",
    };
    Some(format!(
        "{one} was faster than {other}: {low} against {high} per request (medians, {:.2} times); {what_of_it} ({p}).",
        verdict.ratio,
    ))
}

fn resolution(ways: &[WayResult]) -> Option<String> {
    let paid = |way: &WayResult| {
        let latency = way.latency?;
        let name = time(latency.resolve.p50);
        Some(format!("through {} {name} of {}", way.mechanism, time(latency.total.p50)))
    };
    let parts: Vec<String> = ways.iter().filter_map(paid).collect();
    (!parts.is_empty()).then(|| {
        format!("For resolving the name each request paid {} (medians).", parts.join(", "))
    })
}

fn failures(ways: &[WayResult]) -> Option<String> {
    let parts: Vec<String> = ways.iter().filter_map(failed).collect();
    match parts.is_empty() {
        true if ways.iter().all(|way| way.requests == 0) => None,
        true => Some("Failures: none.".to_owned()),
        false => Some(format!("Failures: {}.", parts.join("; "))),
    }
}

fn failed(way: &WayResult) -> Option<String> {
    let total: u64 = way.failures.values().sum();
    let kinds: Vec<String> =
        way.failures.iter().map(|(kind, count)| format!("{} {kind}", thousands(*count))).collect();
    (total > 0).then(|| {
        format!(
            "{} of {} through {} ({})",
            thousands(total),
            thousands(way.requests),
            way.mechanism,
            kinds.join(", ")
        )
    })
}

fn counters(way: &WayResult) -> Option<String> {
    let check = way.counters.as_ref()?;
    let name = &way.mechanism;
    if check.agrees {
        return Some(format!(
            "The kernel's counters for {name} agree with the replies, task by task."
        ));
    }
    let differences = differences(check);
    let differences: Vec<&str> = differences.iter().map(String::as_str).collect();
    let why = match check.failures_may_explain {
        true => "Requests that failed after they were balanced may explain it",
        false => "Nothing seen here explains it",
    };
    Some(format!(
        "The kernel's counters for {name} do not agree with the replies: {}. {why}.",
        enumerate(&differences)
    ))
}

fn differences(check: &CrossCheck) -> Vec<String> {
    let mut words = Vec::new();
    for task in &check.tasks {
        let replies = count(task.replies, "reply", "replies");
        match task.counted {
            Some(counted) if counted == task.replies => {}
            Some(counted) => {
                words.push(format!("{} had {} for {replies}", task.task, connections(counted)))
            }
            None => words.push(format!("{}'s counter went back or away ({replies})", task.task)),
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::trace::balance::{ClientRun, Run, compare};
    use crate::trace::conditions::Conditions;
    use crate::trace::counters::Counters;
    use crate::trace::sample::{Failure, Sample, Source};

    /// Requests answered by each task so often, then those that failed; each takes `micros`.
    fn samples(counts: &[(&str, u64)], failures: &[Failure], micros: u64) -> Vec<Sample> {
        let most = counts.iter().map(|(_, count)| *count).max().unwrap_or(0);
        let round = |turn| counts.iter().filter(move |(_, count)| turn < *count);
        let answered = (0..most).flat_map(round).map(|(task, _)| Ok((*task).to_owned()));
        let outcomes = answered.chain(failures.iter().cloned().map(Err));
        (0u32..)
            .zip(outcomes)
            .map(|(sequence, outcome)| Sample {
                way: Way::Vip,
                sequence,
                worker: 0,
                started: Duration::from_micros(u64::from(sequence) * micros),
                resolve: Duration::from_micros(micros / 2),
                source: Source::Asked,
                connect: Duration::from_micros(micros / 4),
                total: Duration::from_micros(micros + u64::from(sequence % 7)),
                address: None,
                outcome,
            })
            .collect()
    }

    fn says(runs: &[(&str, &[Sample], Option<&Counters>)], expected: &[&str]) -> String {
        let runs: Vec<Run> = runs
            .iter()
            .map(|(mechanism, samples, counters)| Run {
                way: Way::Vip,
                mechanism: (*mechanism).to_owned(),
                clients: vec![ClientRun {
                    client: "box.1".to_owned(),
                    samples: samples.to_vec(),
                    counters: counters.cloned(),
                    ..ClientRun::default()
                }],
            })
            .collect();
        let expected: Vec<String> = expected.iter().map(|name| (*name).to_owned()).collect();
        verdict(&compare(Conditions::default(), &runs, &expected))
    }

    const THREE: [&str; 3] = ["web.1", "web.2", "web.3"];

    #[test]
    fn round_robin_against_dns_is_told_with_its_numbers() {
        let vip = samples(&[("web.1", 100), ("web.2", 100), ("web.3", 100)], &[], 480);
        let dns = samples(&[("web.1", 103), ("web.2", 99), ("web.3", 98)], &[], 410);
        insta::assert_snapshot!(says(&[("IPVS rr", &vip, None), ("RR-DNS", &dns, None)], &THREE), @r"
        IPVS rr spread 300 connections 100/100/100 (Jain 1.000), as exact as round robin can be.
        RR-DNS spread 300 connections 103/99/98 (Jain 1.000), as even as picking at random would be (chi-square 0.14, p 0.932).
        The client asked for the name anew for each request.
        Through IPVS rr the tasks came in turn, without an exception.
        Through RR-DNS the tasks came in turn, with exceptions.
        IPVS rr was more even than RR-DNS: the busiest task got 1.00 against 1.03 times the mean; no more of a difference than chance makes.
        RR-DNS was faster than IPVS rr: 413 µs against 483 µs per request (medians, 1.17 times); a real difference (p < 0.001).
        For resolving the name each request paid through IPVS rr 240 µs of 483 µs, through RR-DNS 205 µs of 413 µs (medians).
        Failures: none.
        ");
    }

    #[test]
    fn a_dead_task_is_named_and_the_difference_matters() {
        let vip = samples(&[("web.1", 50), ("web.2", 50)], &[], 480);
        let refused = vec![Failure::Refused; 34];
        let dns = samples(&[("web.1", 66)], &refused, 480);
        insta::assert_snapshot!(says(&[("IPVS rr", &vip, None), ("RR-DNS", &dns, None)], &["web.1", "web.2"]), @r"
        IPVS rr spread 100 connections 50/50 (Jain 1.000), as even as whole numbers allow, which chance also does with so few connections (p 0.080).
        RR-DNS spread 66 connections 66/0 (Jain 0.500), more uneven than chance (chi-square 66.0, p < 0.001), and by no small effect (w 1.000): the busiest task got 100.0 % more than the mean.
        Through RR-DNS no reply came from web.2.
        The client asked for the name anew for each request.
        Through IPVS rr the tasks came in turn, without an exception.
        Through RR-DNS the tasks came always the same.
        IPVS rr was more even than RR-DNS: the busiest task got 1.00 against 2.00 times the mean; a difference that matters.
        IPVS rr and RR-DNS did not differ in speed beyond chance: 483 µs and 483 µs per request (medians, p 0.901).
        For resolving the name each request paid through IPVS rr 240 µs of 483 µs, through RR-DNS 240 µs of 483 µs (medians).
        Failures: 34 of 100 through RR-DNS (34 refused).
        ");
    }

    #[test]
    fn few_requests_are_not_judged() {
        let few = samples(&[("web.1", 5), ("web.2", 5), ("web.3", 4)], &[], 500);
        insta::assert_snapshot!(says(&[("IPVS rr", &few, None)], &THREE), @r"
        IPVS rr spread 14 connections 5/5/4: too few requests to judge; 15 replies would do.
        The client asked for the name anew for each request.
        Through IPVS rr the tasks came in turn, without an exception.
        For resolving the name each request paid through IPVS rr 250 µs of 503 µs (medians).
        Failures: none.
        ");
    }

    #[test]
    fn eight_each_is_not_called_round_robin() {
        let some = samples(&[("web.1", 8), ("web.2", 8), ("web.3", 8)], &[], 500);
        insta::assert_snapshot!(says(&[("IPVS rr", &some, None)], &THREE), @r"
        IPVS rr spread 24 connections 8/8/8 (Jain 1.000), as even as whole numbers allow, which chance also does with so few connections (p 0.034).
        The client asked for the name anew for each request.
        Through IPVS rr the tasks came in turn, without an exception.
        For resolving the name each request paid through IPVS rr 250 µs of 502 µs (medians).
        Failures: none.
        ");
    }

    #[test]
    fn counters_that_disagree_are_quoted() {
        let vip = samples(&[("web.1", 8), ("web.2", 8), ("web.3", 8)], &[Failure::TimedOut], 500);
        let count = |counts: [u64; 3]| -> BTreeMap<String, u64> {
            THREE.iter().map(|name| (*name).to_owned()).zip(counts).collect()
        };
        let explained = Counters { before: count([1, 2, 3]), after: count([9, 10, 12]) };
        let odd = Counters { before: count([1, 2, 3]), after: count([9, 10, 2]) };
        let right = Counters { before: count([1, 2, 3]), after: count([9, 10, 11]) };
        insta::assert_snapshot!(
            says(
                &[("one", &vip, Some(&explained)), ("two", &vip, Some(&odd)), ("three", &vip, Some(&right))],
                &THREE
            ), @r"
        one spread 24 connections 8/8/8 (Jain 1.000), as even as whole numbers allow, which chance also does with so few connections (p 0.034).
        two spread 24 connections 8/8/8 (Jain 1.000), as even as whole numbers allow, which chance also does with so few connections (p 0.034).
        three spread 24 connections 8/8/8 (Jain 1.000), as even as whole numbers allow, which chance also does with so few connections (p 0.034).
        The client asked for the name anew for each request.
        Through one the tasks came in turn, without an exception.
        Through two the tasks came in turn, without an exception.
        Through three the tasks came in turn, without an exception.
        The ways do not differ in evenness.
        one and three did not differ in speed beyond chance: 502 µs and 502 µs per request (medians, p 1.000).
        For resolving the name each request paid through one 250 µs of 502 µs, through two 250 µs of 502 µs, through three 250 µs of 502 µs (medians).
        Failures: 1 of 25 through one (1 timed out); 1 of 25 through two (1 timed out); 1 of 25 through three (1 timed out).
        The kernel's counters for one do not agree with the replies: web.3 had 9 connections for 8 replies. Requests that failed after they were balanced may explain it.
        The kernel's counters for two do not agree with the replies: web.3's counter went back or away (8 replies). Nothing seen here explains it.
        The kernel's counters for three agree with the replies, task by task.
        ");
    }

    #[test]
    fn requests_that_all_failed_are_not_called_even() {
        let unresolved = vec![Failure::Resolve("NXDOMAIN".to_owned()); 3];
        let failed = samples(&[], &unresolved, 900);
        insta::assert_snapshot!(says(&[("RR-DNS", &failed, None), ("IPVS rr", &[], None)], &THREE), @r"
        None of the 3 requests through RR-DNS was answered.
        No request was made through IPVS rr.
        The client asked for the name anew for each request.
        Failures: 3 of 3 through RR-DNS (3 unresolved).
        ");
    }

    #[test]
    fn a_stranger_is_named_and_one_task_is_not_judged() {
        let mixed = samples(&[("web.1", 30), ("old.1", 2)], &[], 900);
        insta::assert_snapshot!(says(&[("IPVS rr", &mixed, None)], &["web.1"]), @r"
        IPVS rr sent 30 connections to the only task, web.1.
        Through IPVS rr 2 replies came from tasks that were not expected: old.1 (2).
        The client asked for the name anew for each request.
        For resolving the name each request paid through IPVS rr 450 µs of 903 µs (medians).
        Failures: none.
        ");
    }
}
