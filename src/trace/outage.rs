//! What clients met when a task was killed under them: how many requests failed, until when, and how
//! many still went to the dead.
//!
//! Pure: it kills nothing and puts nothing into words.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::trace::conditions::ClientCache;
use crate::trace::sample::{Failure, FailureKind, Sample, Way};

/// So many slices of time are told of each episode.
pub const SLICES: usize = 60;

/// The same killing, met one way after the other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outages {
    /// Milliseconds from the beginning of an episode to the kill.
    pub killed_after_ms: u64,
    /// Milliseconds that an episode lasted; until then the task was killed whenever it started.
    pub lasted_ms: u64,
    pub episodes: Vec<Outage>,
}

/// What clients that went one way, and kept addresses one way, met.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outage {
    pub way: Way,
    /// What did the balancing, in the operator's words.
    pub mechanism: String,
    pub client_cache: ClientCache,
    /// The task that was killed.
    pub victim: String,
    /// How often it was: once, and whenever it had started again.
    pub kills: u32,
    pub requests: u64,
    /// Those that began after the kill.
    pub after: u64,
    /// Of all of them, by kind; only kinds that occurred.
    pub failures: BTreeMap<FailureKind, u64>,
    /// Requests begun after the kill that went to the dead task: to its address through DNS; through a VIP,
    /// where only the kernel knows, those that failed otherwise than for want of an address.
    pub to_the_dead: u64,
    /// Milliseconds from the kill to the beginning of the last request that failed; none when none did.
    pub last_failure_ms: Option<f64>,
    /// The episode in [`SLICES`] equal parts of its time, by when requests began.
    pub slices: Vec<Slice>,
}

/// Requests that began in one part of the time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slice {
    pub answered: u64,
    pub failed: u64,
}

impl Outage {
    /// How many requests failed.
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }
}

/// One episode as it was measured.
#[derive(Debug, Clone)]
pub struct Episode<'a> {
    pub way: Way,
    pub mechanism: &'a str,
    pub client_cache: ClientCache,
    pub victim: &'a str,
    pub address: IpAddr,
    pub kills: u32,
    /// From the beginning to the moment when the task was dead.
    pub killed: Duration,
    pub lasted: Duration,
    /// Of all clients, counted from the same beginning.
    pub samples: &'a [Sample],
}

impl Episode<'_> {
    /// Counts.
    pub fn judge(&self) -> Outage {
        let mut outage = Outage {
            way: self.way,
            mechanism: self.mechanism.to_owned(),
            client_cache: self.client_cache,
            victim: self.victim.to_owned(),
            kills: self.kills,
            requests: self.samples.len() as u64,
            after: 0,
            failures: BTreeMap::new(),
            to_the_dead: 0,
            last_failure_ms: None,
            slices: vec![Slice::default(); SLICES],
        };
        for sample in self.samples {
            self.count(sample, &mut outage);
        }
        outage
    }

    fn count(&self, sample: &Sample, outage: &mut Outage) {
        let is_after = sample.started >= self.killed;
        outage.after += u64::from(is_after);
        outage.to_the_dead += u64::from(is_after && self.went_to_the_dead(sample));
        if let Err(failure) = &sample.outcome {
            *outage.failures.entry(failure.kind()).or_default() += 1;
            let since = sample.started.saturating_sub(self.killed).as_micros() as f64 / 1e3;
            outage.last_failure_ms = Some(outage.last_failure_ms.map_or(since, |at| at.max(since)));
        }
        if let Some(slice) = outage.slices.get_mut(self.slice(sample.started)) {
            match sample.outcome {
                Ok(_) => slice.answered += 1,
                Err(_) => slice.failed += 1,
            }
        }
    }

    fn went_to_the_dead(&self, sample: &Sample) -> bool {
        match (self.way, &sample.outcome) {
            (Way::Dns, _) => sample.address == Some(self.address),
            (Way::Vip, Ok(task)) => task == self.victim,
            (Way::Vip, Err(failure)) => !matches!(failure, Failure::Resolve(_)),
        }
    }

    /// Requests that began late are of the last slice.
    fn slice(&self, started: Duration) -> usize {
        let part = started.as_secs_f64() / self.lasted.as_secs_f64().max(f64::MIN_POSITIVE);
        ((part * SLICES as f64) as usize).min(SLICES - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::sample::Source;

    const DEAD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 3, 4));
    const ALIVE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 3, 5));

    fn sample(way: Way, millis: u64, address: IpAddr, outcome: Result<&str, Failure>) -> Sample {
        Sample {
            way,
            sequence: 0,
            worker: 0,
            started: Duration::from_millis(millis),
            resolve: Duration::ZERO,
            source: Source::Asked,
            connect: Duration::ZERO,
            total: Duration::ZERO,
            address: Some(address),
            outcome: outcome.map(str::to_owned),
        }
    }

    fn judged(way: Way, samples: &[Sample]) -> Outage {
        let episode = Episode {
            way,
            mechanism: "x",
            client_cache: ClientCache::None,
            victim: "web.1",
            address: DEAD,
            kills: 2,
            killed: Duration::from_millis(3000),
            lasted: Duration::from_millis(6000),
            samples,
        };
        episode.judge()
    }

    #[test]
    fn through_dns_what_went_to_the_dead_is_known_by_its_address() {
        let outage = judged(
            Way::Dns,
            &[
                sample(Way::Dns, 0, DEAD, Ok("web.1")),
                // It was under way when its task was killed.
                sample(Way::Dns, 2999, DEAD, Err(Failure::Reset)),
                sample(Way::Dns, 3010, DEAD, Err(Failure::Refused)),
                sample(Way::Dns, 3020, ALIVE, Ok("web.2")),
                sample(Way::Dns, 5000, DEAD, Err(Failure::Refused)),
                sample(Way::Dns, 5010, ALIVE, Err(Failure::TimedOut)),
                // The task was up for a moment.
                sample(Way::Dns, 6100, DEAD, Ok("web.1")),
            ],
        );
        assert_eq!((outage.requests, outage.after, outage.failed()), (7, 5, 4));
        assert_eq!(outage.to_the_dead, 3);
        assert_eq!(outage.last_failure_ms, Some(2010.0));
        assert_eq!(outage.failures[&FailureKind::Refused], 2);
        assert_eq!(outage.slices[0], Slice { answered: 1, failed: 0 });
        assert_eq!(outage.slices[29], Slice { answered: 0, failed: 1 });
        assert_eq!(outage.slices[30], Slice { answered: 1, failed: 1 });
        assert_eq!(outage.slices[50], Slice { answered: 0, failed: 2 });
        assert_eq!(outage.slices[59], Slice { answered: 1, failed: 0 });
    }

    #[test]
    fn through_a_vip_it_is_told_from_what_came_of_it() {
        let outage = judged(
            Way::Vip,
            &[
                sample(Way::Vip, 3001, DEAD, Err(Failure::Refused)),
                sample(Way::Vip, 3002, DEAD, Ok("web.2")),
                sample(Way::Vip, 3003, DEAD, Ok("web.1")),
                sample(Way::Vip, 3004, DEAD, Err(Failure::Resolve("no answer".into()))),
            ],
        );
        assert_eq!((outage.to_the_dead, outage.failed()), (2, 2));
    }

    #[test]
    fn without_failures_there_is_no_last_one() {
        let outage = judged(Way::Vip, &[sample(Way::Vip, 10, ALIVE, Ok("web.2"))]);
        assert_eq!((outage.last_failure_ms, outage.failed(), outage.after), (None, 0, 0));
        assert_eq!(judged(Way::Dns, &[]).requests, 0);
    }
}
