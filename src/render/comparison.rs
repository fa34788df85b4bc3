//! A comparison as text, at most 100 columns wide: who asked whom, a block per way, then the
//! verdict.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};

use crate::render::figure::{count, p, percent, shortened, thousands, time};
use crate::render::outage;
use crate::render::verdict::{by_task, verdict};
use crate::trace::balance::{ClientResult, Comparison, Latencies, TaskShare, WayResult};
use crate::trace::conditions::{ClientCache, Conditions};
use crate::trace::latency::Latency;
use crate::trace::order::Pattern;
use crate::trace::sample::Way;

/// No line is longer than this.
pub const WIDTH: usize = 100;

/// The longest bar; all bars of a comparison are drawn to one scale.
const LONGEST_BAR: f64 = 40.0;

/// Longer names are cut: 36 + 3 + 7 + 3 + 7 + 3 + 40 columns are 99.
const LONGEST_NAME: usize = 36;

/// Clients are named in the heading up to so many, and beyond by the first and the last.
const NAMED: usize = 3;

/// More addresses of an answer than this are left out.
const ADDRESSES: usize = 6;

/// Shorter than a task's, for a client's row has more to tell.
const LONGEST_CLIENT: usize = 24;

/// As are its counts: longer ones are summed up.
const LONGEST_COUNTS: usize = 17;

/// The whole comparison; ends without a line break.
pub fn table(comparison: &Comparison) -> String {
    let shares = comparison.ways.iter().flat_map(|way| &way.tasks).map(|task| task.share);
    let largest = shares.fold(0.0, f64::max);
    let mut blocks: Vec<String> = heading(&comparison.conditions).lines().map(wrap).collect();
    blocks = vec![blocks.join("\n")];
    blocks.extend(comparison.ways.iter().map(|way| block(way, largest)));
    blocks.extend(comparison.outages.as_ref().map(outage::table));
    let words: Vec<String> = verdict(comparison).lines().map(wrap).collect();
    blocks.push(words.join("\n"));
    blocks.retain(|block| !block.is_empty());
    blocks.join("\n\n")
}

/// Who asked whom, how often, and how: one sentence a line. Nothing without clients.
pub fn heading(conditions: &Conditions) -> String {
    let Conditions { service, network, clients, .. } = conditions;
    let requests = count(conditions.requests, "request", "requests");
    let (each_way, who) = match (&conditions.data_plane, asking(clients)) {
        (_, None) => return String::new(),
        (Some(_), Some(who)) => (" each way", who),
        (None, Some(who)) => ("", who),
    };
    let each = if clients.len() > 1 { " each" } else { "" };
    let mut text = format!(
        "{requests}{each_way} from {who} to {service} on network {network}, {} at a time{each}",
        conditions.concurrency
    );
    if conditions.data_plane.is_none() {
        text.push_str(&format!(
            "\nService {service} has endpoint mode dnsrr: there is no VIP to compare with"
        ));
    }
    match (conditions.throwaway_service, conditions.throwaway_clients) {
        (true, _) => {
            text.push_str("\nNetwork, service and clients were made for this, and are removed")
        }
        (false, true) => text.push_str("\nThe clients were made for this, and are removed"),
        (false, false) => {}
    }
    text
}

fn asking(clients: &[String]) -> Option<String> {
    let (first, last) = (clients.first()?, clients.last()?);
    Some(match clients.len() {
        ..=NAMED => clients.join(", "),
        number => format!("{number} clients ({first} to {last})"),
    })
}

/// What clients keep, in a few words.
pub fn keeping(cache: ClientCache) -> &'static str {
    match cache {
        ClientCache::None => "nothing: they ask anew for each connection",
        ClientCache::Ttl => "answers as long as their TTL says",
        ClientCache::Forever => "the first address, for ever",
    }
}

fn block(way: &WayResult, largest: f64) -> String {
    let mut parts = vec![wrap(&title(way))];
    if !way.tasks.is_empty() {
        parts.push(tasks(&way.tasks, largest));
    }
    if let Some(spread) = evenness(way) {
        parts.push(wrap(&spread));
    }
    if let Some(latency) = &way.latency {
        parts.push(latencies(latency));
        parts.extend(intervals(&latency.total));
    }
    if way.clients.len() > 1 {
        parts.push(clients(way));
    }
    parts.extend(first_answers(way).map(|answers| wrap(&answers)));
    parts.join("\n")
}

fn title(way: &WayResult) -> String {
    let failed = way.requests - way.answered.min(way.requests);
    let rate = way
        .requests_per_second
        .map(|rate| format!(", {} a second", thousands(rate.round() as u64)));
    format!(
        "{} ({}): {}, {} failed{}",
        way.mechanism,
        way.way,
        count(way.requests, "request", "requests"),
        thousands(failed),
        rate.unwrap_or_default()
    )
}

fn tasks(tasks: &[TaskShare], largest: f64) -> String {
    let mut table = borderless(["TASK", "REPLIES", "SHARE", ""]);
    for task in tasks {
        table.add_row([
            shortened(&task.task, LONGEST_NAME),
            thousands(task.replies),
            percent(task.share),
            bar(task.share, largest),
        ]);
    }
    align_right(&mut table, 1..3);
    table.trim_fmt()
}

/// A bar as long as the share is of the largest; whoever got anything has some.
fn bar(share: f64, largest: f64) -> String {
    if share <= 0.0 || largest <= 0.0 {
        return String::new();
    }
    let blocks = (share / largest * LONGEST_BAR).round().clamp(1.0, LONGEST_BAR);
    "█".repeat(blocks as usize)
}

fn evenness(way: &WayResult) -> Option<String> {
    let spread = &way.spread;
    let mut words = format!("Jain {:.3}, peak {:.2}", spread.jain?, spread.peak?);
    if let (Some(chi), Some(w)) = (spread.chi_square, spread.cramers_w) {
        words.push_str(&format!(
            ", w {w:.3} ({:.3} by chance), chi2 {:.2} (df {}), by chance as uneven {}, as even {}",
            spread.variation_by_chance?,
            chi.statistic,
            chi.degrees_of_freedom,
            p(chi.upper_p),
            p(chi.lower_p),
        ));
    }
    Some(words)
}

fn latencies(latencies: &Latencies) -> String {
    let mut table = borderless(["TIME", "MIN", "MEAN", "P50", "P90", "P99", "P99.9", "MAX"]);
    for (name, latency) in [
        ("resolve", &latencies.resolve),
        ("connect", &latencies.connect),
        ("total", &latencies.total),
    ] {
        let Latency { min, mean, p50, p90, p99, p999, max, .. } = *latency;
        let mut row = vec![name.to_owned()];
        row.extend([min, mean, p50, p90, p99, p999, max].map(time));
        table.add_row(row);
    }
    align_right(&mut table, 1..8);
    table.trim_fmt()
}

/// Between what the quantiles lie, where that can be said.
fn intervals(latency: &Latency) -> Option<String> {
    let named = [
        ("P50", latency.intervals.p50),
        ("P90", latency.intervals.p90),
        ("P99", latency.intervals.p99),
        ("P99.9", latency.intervals.p999),
    ];
    let parts: Vec<String> = named
        .into_iter()
        .filter_map(|(name, interval)| Some((name, interval?)))
        .map(|(name, (low, high))| format!("{name} {} to {}", time(low), time(high)))
        .collect();
    (!parts.is_empty()).then(|| wrap(&format!("Total, at 95 %: {}", parts.join(", "))))
}

fn clients(way: &WayResult) -> String {
    let mut table = borderless(["CLIENT", "REPLIES", "BY TASK", "LOOKUPS", "ORDER", "PEAK", "P50"]);
    let dash = || "-".to_owned();
    for client in &way.clients {
        let total = client.latency.map(|latency| latency.total);
        table.add_row([
            shortened(&client.client, LONGEST_CLIENT),
            thousands(client.answered),
            counts(client),
            thousands(client.lookups),
            order(way.way, client).to_owned(),
            client.spread.peak.map_or_else(dash, |peak| format!("{peak:.2}")),
            total.map_or_else(dash, |total| time(total.p50)),
        ]);
    }
    for column in [1, 3, 5, 6] {
        align_right(&mut table, column..column + 1);
    }
    table.trim_fmt()
}

/// `17/17/16`, or between what they are where that is too long.
fn counts(client: &ClientResult) -> String {
    let each = by_task(&client.tasks);
    if each.chars().count() <= LONGEST_COUNTS {
        return each;
    }
    let replies = || client.tasks.iter().map(|task| task.replies);
    let (least, most) = (replies().min().unwrap_or(0), replies().max().unwrap_or(0));
    format!("{} to {}", thousands(least), thousands(most))
}

/// The order that matters: of the answers through DNS, where there were enough of them, else of the
/// tasks.
pub fn order(way: Way, client: &ClientResult) -> &'static str {
    let of_answers = client.answers.first_address.pattern;
    pattern(match (way, of_answers) {
        (Way::Vip, _) | (_, Pattern::TooFew | Pattern::OneChoice) => client.order.pattern,
        (Way::Dns, _) => of_answers,
    })
}

fn pattern(pattern: Pattern) -> &'static str {
    match pattern {
        Pattern::OneChoice | Pattern::TooFew => "-",
        Pattern::Fixed => "always one",
        Pattern::Rotation => "in turn",
        Pattern::NearRotation => "nearly in turn",
        Pattern::Sticky => "clinging",
        Pattern::Avoiding => "changing",
        Pattern::Shuffle => "random",
    }
}

/// How the answers to the first client began, where they have an order.
fn first_answers(way: &WayResult) -> Option<String> {
    let client = way.clients.first()?;
    let answers = &client.answers.begin;
    if answers.iter().all(|answer| answer.len() < 2) {
        return None;
    }
    let answer = |addresses: &Vec<std::net::IpAddr>| {
        let mut words: Vec<String> =
            addresses.iter().take(ADDRESSES).map(ToString::to_string).collect();
        if addresses.len() > ADDRESSES {
            words.push("…".to_owned());
        }
        words.join(" ")
    };
    let all: Vec<String> = answers.iter().take(3).map(answer).collect();
    Some(format!("First answers to {}: {}", client.client, all.join("; ")))
}

pub(super) fn borderless<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header);
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    table
}

fn align_right(table: &mut Table, columns: std::ops::Range<usize>) {
    for index in columns {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// Breaks a line between words; what follows the break is indented.
fn wrap(line: &str) -> String {
    let mut wrapped = String::with_capacity(line.len() + 8);
    let mut width = 0;
    for word in line.split_inclusive(' ') {
        let length = word.trim_end().chars().count();
        if width > 0 && width + length > WIDTH {
            wrapped.truncate(wrapped.trim_end().len());
            wrapped.push_str("\n  ");
            width = 2;
        }
        wrapped.push_str(word);
        width += word.chars().count();
    }
    wrapped
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::trace::balance::{ClientRun, Run, compare};
    use crate::trace::sample::{Failure, Sample, Source};

    fn run(way: Way, counts: &[(&str, u64)], failed: usize, micros: u64) -> Vec<Sample> {
        let most = counts.iter().map(|(_, count)| *count).max().unwrap_or(0);
        let round = |turn| counts.iter().filter(move |(_, count)| turn < *count);
        let answered = (0..most).flat_map(round).map(|(task, _)| Ok((*task).to_owned()));
        let outcomes = answered.chain(std::iter::repeat_n(Err(Failure::Refused), failed));
        (0u32..)
            .zip(outcomes)
            .map(|(sequence, outcome)| {
                let extra = u64::from(sequence * 37 % 101);
                Sample {
                    way,
                    sequence,
                    worker: 0,
                    started: Duration::from_micros(u64::from(sequence) * micros),
                    resolve: Duration::from_micros(micros / 2 + extra / 2),
                    source: Source::Asked,
                    connect: Duration::from_micros(micros / 4 + extra / 4),
                    total: Duration::from_micros(micros + extra),
                    address: None,
                    outcome,
                }
            })
            .collect()
    }

    fn one(way: Way, mechanism: &str, samples: Vec<Sample>) -> Run {
        let client = ClientRun { client: "box.1".to_owned(), samples, ..ClientRun::default() };
        Run { way, mechanism: mechanism.to_owned(), clients: vec![client] }
    }

    fn conditions(clients: &[&str]) -> Conditions {
        Conditions {
            service: "collabweb".to_owned(),
            network: "collabnet".to_owned(),
            data_plane: Some("ipvs".to_owned()),
            clients: clients.iter().map(|name| (*name).to_owned()).collect(),
            requests: 300,
            concurrency: 1,
            ..Conditions::default()
        }
    }

    #[test]
    fn two_ways_stand_one_above_the_other_and_the_verdict_below() {
        let vip = run(
            Way::Vip,
            &[("collabweb.1", 100), ("collabweb.2", 100), ("collabweb.3", 100)],
            0,
            480,
        );
        let dns = run(
            Way::Dns,
            &[("collabweb.1", 122), ("collabweb.2", 98), ("collabweb.3", 77)],
            3,
            410,
        );
        let expected = ["collabweb.1", "collabweb.2", "collabweb.3"].map(String::from);
        let runs = [one(Way::Vip, "IPVS rr", vip), one(Way::Dns, "RR-DNS", dns)];
        insta::assert_snapshot!(table(&compare(conditions(&["box.1"]), &runs, &expected)), @r"
        300 requests each way from box.1 to collabweb on network collabnet, 1 at a time

        IPVS rr (VIP): 300 requests, 0 failed, 2,083 a second
        TASK          REPLIES    SHARE
        collabweb.1       100   33.3 %   ████████████████████████████████
        collabweb.2       100   33.3 %   ████████████████████████████████
        collabweb.3       100   33.3 %   ████████████████████████████████
        Jain 1.000, peak 1.00, w 0.000 (0.082 by chance), chi2 0.00 (df 2), by chance as uneven p 1.000, as
          even p 0.003
        TIME         MIN     MEAN      P50      P90      P99    P99.9      MAX
        resolve   240 µs   265 µs   265 µs   285 µs   289 µs   290 µs   290 µs
        connect   120 µs   132 µs   132 µs   142 µs   144 µs   145 µs   145 µs
        total     480 µs   530 µs   530 µs   570 µs   579 µs   580 µs   580 µs
        Total, at 95 %: P50 524 µs to 536 µs, P90 566 µs to 574 µs

        RR-DNS (DNS): 300 requests, 3 failed, 2,414 a second
        TASK          REPLIES    SHARE
        collabweb.1       122   41.1 %   ████████████████████████████████████████
        collabweb.2        98   33.0 %   ████████████████████████████████
        collabweb.3        77   25.9 %   █████████████████████████
        Jain 0.967, peak 1.23, w 0.186 (0.082 by chance), chi2 10.24 (df 2), by chance as uneven p 0.006, as
          even p 0.995
        TIME         MIN     MEAN      P50      P90      P99    P99.9      MAX
        resolve   205 µs   230 µs   230 µs   250 µs   255 µs   255 µs   255 µs
        connect   102 µs   114 µs   114 µs   124 µs   127 µs   127 µs   127 µs
        total     410 µs   460 µs   460 µs   500 µs   510 µs   510 µs   510 µs
        Total, at 95 %: P50 454 µs to 466 µs, P90 497 µs to 504 µs

        IPVS rr spread 300 connections 100/100/100 (Jain 1.000), as exact as round robin can be.
        RR-DNS spread 297 connections 122/98/77 (Jain 0.967), more uneven than chance (chi-square 10.2, p
          0.006), and by no small effect (w 0.186): the busiest task got 23.2 % more than the mean.
        The client asked for the name anew for each request.
        Through IPVS rr the tasks came in turn, without an exception.
        IPVS rr was more even than RR-DNS: the busiest task got 1.00 against 1.23 times the mean; a
          difference that matters.
        RR-DNS was faster than IPVS rr: 460 µs against 530 µs per request (medians, 1.15 times); a real
          difference (p < 0.001).
        For resolving the name each request paid through IPVS rr 265 µs of 530 µs, through RR-DNS 230 µs of
          460 µs (medians).
        Failures: 3 of 300 through RR-DNS (3 refused).
        ");
    }

    /// Three clients, the first of which asks anew and the others stay with what they were told.
    fn clients_that(way: Way, mechanism: &str, kept: bool) -> Run {
        let client = |number: u8| {
            let mut samples = run(way, &[("web.1", 20), ("web.2", 20), ("web.3", 20)], 0, 300);
            for (place, sample) in samples.iter_mut().enumerate() {
                sample.address = Some(std::net::IpAddr::from([10, 0, 3, place as u8 % 3]));
                if kept {
                    sample.outcome = Ok(format!("web.{number}"));
                    sample.source = if place == 0 { Source::Asked } else { Source::Kept };
                }
            }
            let answers = match way {
                Way::Dns => vec![[3, 4, 5].map(|last| [10, 0, 3, last].into()).to_vec(); 2],
                Way::Vip => vec![vec![[10, 0, 3, 2].into()]],
            };
            ClientRun { client: format!("box.{number}"), samples, answers, ..ClientRun::default() }
        };
        Run { way, mechanism: mechanism.to_owned(), clients: [1, 2, 3].map(client).into() }
    }

    #[test]
    fn clients_that_keep_their_first_answer_are_told_one_by_one() {
        let runs = [
            clients_that(Way::Dns, "RR-DNS", true),
            clients_that(Way::Vip, "nftables numgen", false),
        ];
        let tasks = ["web.1", "web.2", "web.3"].map(String::from);
        let conditions = Conditions {
            client_cache: ClientCache::Forever,
            throwaway_clients: true,
            ..conditions(&["box.1", "box.2", "box.3"])
        };
        insta::assert_snapshot!(table(&compare(conditions, &runs, &tasks)), @r"
        300 requests each way from box.1, box.2, box.3 to collabweb on network collabnet, 1 at a time each
        The clients were made for this, and are removed

        RR-DNS (DNS): 180 requests, 0 failed, 9,966 a second
        TASK    REPLIES    SHARE
        web.1        60   33.3 %   ████████████████████████████████████████
        web.2        60   33.3 %   ████████████████████████████████████████
        web.3        60   33.3 %   ████████████████████████████████████████
        Jain 1.000, peak 1.00, w 0.000 (0.105 by chance), chi2 0.00 (df 2), by chance as uneven p 1.000, as
          even p 0.005
        TIME          MIN      MEAN       P50       P90      P99    P99.9      MAX
        resolve    150 µs    175 µs    174 µs    194 µs   200 µs   200 µs   200 µs
        connect   75.0 µs   87.0 µs   87.0 µs   97.0 µs   100 µs   100 µs   100 µs
        total      300 µs    350 µs    349 µs    389 µs   400 µs   400 µs   400 µs
        Total, at 95 %: P50 342 µs to 357 µs, P90 386 µs to 394 µs
        CLIENT   REPLIES   BY TASK   LOOKUPS   ORDER        PEAK      P50
        box.1         60   60/0/0          1   always one   3.00   349 µs
        box.2         60   0/60/0          1   always one   3.00   349 µs
        box.3         60   0/0/60          1   always one   3.00   349 µs
        First answers to box.1: 10.0.3.3 10.0.3.4 10.0.3.5; 10.0.3.3 10.0.3.4 10.0.3.5

        nftables numgen (VIP): 180 requests, 0 failed, 9,966 a second
        TASK    REPLIES    SHARE
        web.1        60   33.3 %   ████████████████████████████████████████
        web.2        60   33.3 %   ████████████████████████████████████████
        web.3        60   33.3 %   ████████████████████████████████████████
        Jain 1.000, peak 1.00, w 0.000 (0.105 by chance), chi2 0.00 (df 2), by chance as uneven p 1.000, as
          even p 0.005
        TIME          MIN      MEAN       P50       P90      P99    P99.9      MAX
        resolve    150 µs    175 µs    174 µs    194 µs   200 µs   200 µs   200 µs
        connect   75.0 µs   87.0 µs   87.0 µs   97.0 µs   100 µs   100 µs   100 µs
        total      300 µs    350 µs    349 µs    389 µs   400 µs   400 µs   400 µs
        Total, at 95 %: P50 342 µs to 357 µs, P90 386 µs to 394 µs
        CLIENT   REPLIES   BY TASK    LOOKUPS   ORDER     PEAK      P50
        box.1         60   20/20/20        60   in turn   1.00   349 µs
        box.2         60   20/20/20        60   in turn   1.00   349 µs
        box.3         60   20/20/20        60   in turn   1.00   349 µs

        RR-DNS spread 180 connections 60/60/60 (Jain 1.000) over all clients together, but each client met
          one task only.
        nftables numgen spread 180 connections 60/60/60 (Jain 1.000), as exact as round robin can be.
        Clients asked once and stayed with the first address: through RR-DNS 3 times for 180 requests,
          through nftables numgen 180 times for 180 requests.
        Through nftables numgen the tasks came in turn, without an exception.
        Through RR-DNS each of 3 clients met one task only; together they met 3 tasks.
        Through nftables numgen the clients' shares of the tasks differ no more than chance makes
          (chi-square 0.0, df 4, p 1.000, V 0.000).
        For all clients together the ways do not differ in evenness.
        Client by client nftables numgen was more even than RR-DNS: for the middle client the busiest task
          got 1.00 against 3.00 times the mean; a difference that matters.
        RR-DNS and nftables numgen did not differ in speed beyond chance: 349 µs and 349 µs per request
          (medians, p 1.000).
        For resolving the name each request paid through RR-DNS 174 µs of 349 µs, through nftables numgen
          174 µs of 349 µs (medians).
        Failures: none.
        ");
    }

    #[test]
    fn clients_that_ask_anew_are_told_in_which_order_answers_came() {
        let runs = [clients_that(Way::Dns, "RR-DNS", false)];
        let tasks = ["web.1", "web.2", "web.3"].map(String::from);
        let clients = ["box.1", "box.2", "box.3", "box.4"];
        let conditions = Conditions { data_plane: None, ..conditions(&clients) };
        insta::assert_snapshot!(table(&compare(conditions, &runs, &tasks)), @r"
        300 requests from 4 clients (box.1 to box.4) to collabweb on network collabnet, 1 at a time each
        Service collabweb has endpoint mode dnsrr: there is no VIP to compare with

        RR-DNS (DNS): 180 requests, 0 failed, 9,966 a second
        TASK    REPLIES    SHARE
        web.1        60   33.3 %   ████████████████████████████████████████
        web.2        60   33.3 %   ████████████████████████████████████████
        web.3        60   33.3 %   ████████████████████████████████████████
        Jain 1.000, peak 1.00, w 0.000 (0.105 by chance), chi2 0.00 (df 2), by chance as uneven p 1.000, as
          even p 0.005
        TIME          MIN      MEAN       P50       P90      P99    P99.9      MAX
        resolve    150 µs    175 µs    174 µs    194 µs   200 µs   200 µs   200 µs
        connect   75.0 µs   87.0 µs   87.0 µs   97.0 µs   100 µs   100 µs   100 µs
        total      300 µs    350 µs    349 µs    389 µs   400 µs   400 µs   400 µs
        Total, at 95 %: P50 342 µs to 357 µs, P90 386 µs to 394 µs
        CLIENT   REPLIES   BY TASK    LOOKUPS   ORDER     PEAK      P50
        box.1         60   20/20/20        60   in turn   1.00   349 µs
        box.2         60   20/20/20        60   in turn   1.00   349 µs
        box.3         60   20/20/20        60   in turn   1.00   349 µs
        First answers to box.1: 10.0.3.3 10.0.3.4 10.0.3.5; 10.0.3.3 10.0.3.4 10.0.3.5

        RR-DNS spread 180 connections 60/60/60 (Jain 1.000), as exact as round robin can be.
        Clients asked for the name anew for each request.
        The first address of RR-DNS's answers came in turn, without an exception.
        Through RR-DNS the clients' shares of the tasks differ no more than chance makes (chi-square 0.0, df
          4, p 1.000, V 0.000).
        For resolving the name each request paid through RR-DNS 174 µs of 349 µs (medians).
        Failures: none.
        ");
    }

    #[test]
    fn json_tells_everything_there_is() {
        let mut runs = [clients_that(Way::Dns, "RR-DNS", false)];
        runs[0].clients.truncate(2);
        runs[0].clients.iter_mut().for_each(|client| client.samples.truncate(2));
        let tasks = ["web.1", "web.2"].map(String::from);
        let comparison = compare(conditions(&["box.1", "box.2"]), &runs, &tasks);
        let json = serde_json::to_string_pretty(&comparison).expect("it serialises");
        insta::assert_snapshot!(json);
        let back: Comparison = serde_json::from_str(&json).expect("it parses");
        assert_eq!((back.conditions, back.verdict), (comparison.conditions, comparison.verdict));
    }

    #[test]
    fn nothing_asked_is_a_short_page() {
        let runs = [one(Way::Dns, "RR-DNS", Vec::new())];
        let nothing = Conditions::default;
        insta::assert_snapshot!(table(&compare(nothing(), &runs, &["web.1".to_owned()])), @r"
        RR-DNS (DNS): 0 requests, 0 failed
        TASK    REPLIES   SHARE
        web.1         0   0.0 %

        No request was made through RR-DNS.
        ");
        assert_eq!(table(&compare(nothing(), &[], &[])), "");
    }

    #[test]
    fn no_line_is_wider_than_a_hundred_columns() {
        let long = "a".repeat(63);
        let names: Vec<String> = (1..=40).map(|slot| format!("{long}.{slot}")).collect();
        let counts: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 1_234)).collect();
        let samples = run(Way::Vip, &counts, 2_000, 4_000_000);
        let mut run = one(Way::Vip, "nftables numgen", samples);
        run.clients[0].answers = vec![vec![std::net::IpAddr::from([10, 200, 100, 100]); 40]; 4];
        run.clients = vec![run.clients[0].clone(); 10];
        for (number, client) in run.clients.iter_mut().enumerate() {
            client.client = format!("{long}.{number}");
        }
        let clients: Vec<&str> = run.clients.iter().map(|client| client.client.as_str()).collect();
        let comparison =
            compare(conditions(&clients), &[run.clone()], names.get(..7).expect("seven"));
        for line in table(&comparison).lines() {
            // A single word may be longer: it is not cut.
            let longest = line.split(' ').map(str::len).max().unwrap_or(0);
            assert!(line.chars().count() <= WIDTH || longest > WIDTH, "{line}");
        }
    }
}
