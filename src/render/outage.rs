//! What clients met when a task was killed, as text: a row for each way and each way to keep addresses,
//! and what follows.

use comfy_table::CellAlignment;

use crate::render::comparison::borderless;
use crate::render::figure::{count, shortened, thousands, time};
use crate::trace::conditions::ClientCache;
use crate::trace::outage::{Outage, Outages, Slice};

/// So many columns tell the time of an episode.
const COLUMNS: usize = 30;
/// Longer names are cut.
const LONGEST_NAME: usize = 18;
/// Eighths of a column's height, from the least that can be seen.
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The heading and the table; ends without a line break.
pub fn table(outages: &Outages) -> String {
    let heading = [
        "WAY",
        "CLIENTS KEEP",
        "REQUESTS",
        "FAILED",
        "TO THE DEAD",
        "LAST FAILED",
        "FAILED OVER TIME",
    ];
    let mut table = borderless(heading);
    for outage in &outages.episodes {
        table.add_row([
            shortened(&outage.mechanism, LONGEST_NAME),
            kept(outage.client_cache).to_owned(),
            thousands(outage.requests),
            thousands(outage.failed()),
            thousands(outage.to_the_dead),
            last(outage),
            over_time(&outage.slices),
        ]);
    }
    for column in 2..6 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    format!("{}\n{}", heading_of(outages), table.trim_fmt())
}

/// What was done to whom.
pub fn heading_of(outages: &Outages) -> String {
    let seconds = |millis: u64| time(millis as f64 * 1e3);
    let mut victims: Vec<&str> = outages.episodes.iter().map(|o| o.victim.as_str()).collect();
    victims.sort_unstable();
    victims.dedup();
    let what = match victims[..] {
        [only] => only.to_owned(),
        _ => "a task".to_owned(),
    };
    format!(
        "Killed: {what}, {} into each episode of {}, and again whenever it had started",
        seconds(outages.killed_after_ms),
        seconds(outages.lasted_ms)
    )
}

/// One sentence for each episode.
pub fn sentences(outages: &Outages) -> Vec<String> {
    outages.episodes.iter().map(|outage| sentence(outage, outages)).collect()
}

fn sentence(outage: &Outage, outages: &Outages) -> String {
    let who = match outage.client_cache {
        ClientCache::None => "keep nothing",
        ClientCache::Ttl => "keep answers for their TTL",
        ClientCache::Forever => "keep the first address",
    };
    let head = format!("A killed task cost clients of {} that {who}", outage.mechanism);
    let Some(last) = outage.last_failure_ms else { return format!("{head} no request.") };
    let left = outages.lasted_ms.saturating_sub(outages.killed_after_ms) as f64;
    let until = match last {
        // Of each client the last request begins one interval before the end.
        _ if last >= left * 0.95 => "until the end of the episode".to_owned(),
        _ if last <= 0.0 => "which were under way at the kill".to_owned(),
        _ => format!("the last one begun {} after the kill", time(last * 1e3)),
    };
    let failed = count(outage.failed(), "request", "requests");
    format!("{head} {failed} of {}, {until}.", thousands(outage.requests))
}

fn last(outage: &Outage) -> String {
    match outage.last_failure_ms {
        None => "-".to_owned(),
        Some(millis) if millis <= 0.0 => "at the kill".to_owned(),
        Some(millis) => time(millis * 1e3),
    }
}

/// What clients keep, in a word or two.
pub fn kept(cache: ClientCache) -> &'static str {
    match cache {
        ClientCache::None => "nothing",
        ClientCache::Ttl => "for the TTL",
        ClientCache::Forever => "for ever",
    }
}

/// The part that failed of what began in each stretch of the time: a dot for none, a full block for all.
fn over_time(slices: &[Slice]) -> String {
    let each = slices.len().div_ceil(COLUMNS).max(1);
    let column = |slices: &[Slice]| {
        let failed: u64 = slices.iter().map(|slice| slice.failed).sum();
        let all: u64 = failed + slices.iter().map(|slice| slice.answered).sum::<u64>();
        match (failed, all) {
            (_, 0) => ' ',
            (0, _) => '·',
            (failed, all) => {
                let level = (failed as f64 / all as f64 * LEVELS.len() as f64).ceil() as usize;
                LEVELS.get(level.saturating_sub(1)).copied().unwrap_or('█')
            }
        }
    };
    slices.chunks(each).map(column).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::outage::SLICES;
    use crate::trace::sample::{FailureKind, Way};

    fn outage(mechanism: &str, cache: ClientCache, failed: u64, last: Option<f64>) -> Outage {
        let mut slices = vec![Slice { answered: 5, failed: 0 }; SLICES];
        for slice in slices.iter_mut().skip(30).take(failed as usize) {
            *slice = Slice { answered: 4, failed: 1 };
        }
        Outage {
            way: Way::Dns,
            mechanism: mechanism.into(),
            client_cache: cache,
            victim: "web.1".into(),
            kills: 3,
            requests: 300,
            after: 150,
            failures: (failed > 0).then_some((FailureKind::Refused, failed)).into_iter().collect(),
            to_the_dead: failed,
            last_failure_ms: last,
            slices,
        }
    }

    fn outages() -> Outages {
        Outages {
            killed_after_ms: 3000,
            lasted_ms: 6000,
            episodes: vec![
                outage("RR-DNS", ClientCache::Ttl, 18, Some(1830.0)),
                outage("RR-DNS", ClientCache::Forever, 30, Some(2980.0)),
                outage("nftables numgen", ClientCache::None, 0, None),
            ],
        }
    }

    #[test]
    fn each_episode_is_a_row_with_its_failures_over_time() {
        let text = table(&outages());
        assert_eq!(
            text,
            "\
Killed: web.1, 3.00 s into each episode of 6.00 s, and again whenever it had started
WAY               CLIENTS KEEP   REQUESTS   FAILED   TO THE DEAD   LAST FAILED   FAILED OVER TIME
RR-DNS            for the TTL         300       18            18        1.83 s   ···············▂▂▂▂▂▂▂▂▂······
RR-DNS            for ever            300       30            30        2.98 s   ···············▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂
nftables numgen   nothing             300        0             0             -   ······························"
        );
    }

    #[test]
    fn sentences_say_how_many_and_until_when() {
        assert_eq!(
            sentences(&outages()),
            [
                "A killed task cost clients of RR-DNS that keep answers for their TTL 18 requests of 300, the \
                 last one begun 1.83 s after the kill.",
                "A killed task cost clients of RR-DNS that keep the first address 30 requests of 300, until \
                 the end of the episode.",
                "A killed task cost clients of nftables numgen that keep nothing no request.",
            ]
        );
    }

    #[test]
    fn a_stretch_without_requests_is_blank_and_one_that_all_failed_is_full() {
        let slice = |answered, failed| Slice { answered, failed };
        let slices = [slice(0, 0), slice(1, 0), slice(7, 1), slice(0, 3)];
        assert_eq!(over_time(&slices), " ·▁█");
    }
}
