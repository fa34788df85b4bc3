//! The measuring itself: the clients of a comparison ask both ways in turns, side by side.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use super::PATIENCE;
use super::throwaway::interrupted;
use crate::commands::interrupt;
use crate::failure::Failure;
use crate::intent::{DataPlane, Intent, NetworkName, Service, Vip};
use crate::keeper::sockets::RESOLVER;
use crate::kernel::{netns, traffic};
use crate::lower::attachment;
use crate::node::SandboxName;
use crate::probe::crowd::{self, Found, Plan, Resolve, ResolveFailure};
use crate::probe::ports::{Ports, remembered_by};
use crate::probe::resolve::{Client, RecordType};
use crate::probe::stub::Stub;
use crate::trace::balance::{ClientRun, Run};
use crate::trace::conditions::ClientCache;
use crate::trace::counters::Counters;
use crate::trace::sample::{Sample, Way};
use crate::trace::vip::Traffic;

/// How old IPVS's counters may be: the kernel sums them up every 2 seconds (ip_vs_est.c), and before
/// Linux 6.2 it tells the sums only. A little more, for a timer that is late.
const ESTIMATION: Duration = Duration::from_millis(2200);
/// How often the ways take turns.
const TURNS: u32 = 10;
/// How often a wait looks up, for Ctrl-C.
const ATTENTION: Duration = Duration::from_millis(50);

/// What is measured, in an intent.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    pub intent: &'a Intent,
    pub service: &'a Service,
    pub network: &'a NetworkName,
    /// None in endpoint mode dnsrr.
    pub vip: Option<&'a Vip>,
    pub plane: DataPlane,
}

/// How it is measured.
#[derive(Clone, Copy)]
pub struct Manner {
    /// Each way, by all clients together.
    pub requests: u32,
    /// Of each client.
    pub concurrency: u32,
    pub cache: ClientCache,
    /// Whether clients may have connections of before, which must not be counted as the command's.
    pub clients_are_new: bool,
}

/// Everybody in place.
pub struct Bench<'a> {
    subject: Subject<'a>,
    manner: Manner,
    what: &'a str,
    ways: Vec<WayName>,
    seats: Vec<Seat>,
    progress: ProgressBar,
}

/// A way, and the name that leads there.
pub(super) struct WayName {
    pub way: Way,
    pub mechanism: String,
    pub name: String,
    /// How long this way has had its turns.
    spent: Duration,
}

/// One client, and what it did so far.
struct Seat {
    sandbox: SandboxName,
    namespace: File,
    /// Of both ways together: a task that still remembers a connection of the first would disturb
    /// one of the second.
    ports: Arc<Ports>,
    requests: u32,
    before: BTreeMap<String, u64>,
    /// By way.
    doings: Vec<Doing>,
}

struct Doing {
    stub: Stub,
    samples: Vec<Sample>,
}

impl<'a> Bench<'a> {
    /// Enters the clients' sandboxes, which are all of this node.
    ///
    /// # Errors
    /// When one cannot be entered.
    pub fn open(
        subject: Subject<'a>,
        manner: Manner,
        clients: &[SandboxName],
        what: &'a str,
        progress: ProgressBar,
    ) -> Result<Self, Failure> {
        let ways = ways(&subject);
        let taken = taken_ports(&subject).map_err(|error| Failure::io(what, &error))?;
        let mut seats = Vec::with_capacity(clients.len());
        for (client, requests) in clients.iter().zip(shares(manner.requests, clients.len())) {
            let failed = |error: std::io::Error| {
                Failure::io(what, &error).fact("sandbox:", client.called().to_owned())
            };
            let namespace = netns::of(client).map_err(failed)?;
            let ports = Arc::new(Ports::of(namespace.as_fd(), &taken).map_err(failed)?);
            let doing = |_: &WayName| Doing { stub: Stub::new(manner.cache), samples: Vec::new() };
            seats.push(Seat {
                sandbox: client.clone(),
                namespace,
                ports,
                requests,
                before: BTreeMap::new(),
                doings: ways.iter().map(doing).collect(),
            });
        }
        Ok(Self { subject, manner, what, ways, seats, progress })
    }

    /// Measures.
    ///
    /// # Errors
    /// When a client cannot work, the counters cannot be read, or somebody interrupts.
    pub fn run(mut self) -> Result<Vec<Run>, Failure> {
        let counts_late = self.subject.vip.is_some() && self.subject.plane == DataPlane::Ipvs;
        if counts_late && !self.manner.clients_are_new {
            self.sleep(ESTIMATION)?;
        }
        for index in 0..self.seats.len() {
            let before = self.counted(index)?;
            if let Some(seat) = self.seats.get_mut(index) {
                seat.before = before;
            }
        }
        let longest = self.seats.iter().map(|seat| seat.requests).max().unwrap_or_default();
        let turns = longest.min(TURNS);
        // In turns, so that a machine that becomes busier meanwhile does so for both.
        for turn in 0..turns {
            for way in 0..self.ways.len() {
                self.turn(way, turn, turns)?;
            }
        }
        let after = self.counted_after()?;
        self.progress.finish_and_clear();
        Ok(self.runs(after))
    }

    /// One turn of one way: all clients at the same time.
    fn turn(&mut self, index: usize, turn: u32, turns: u32) -> Result<(), Failure> {
        let Some(way) = self.ways.get_mut(index) else { return Ok(()) };
        let (manner, progress) = (&self.manner, &self.progress);
        let asked = {
            let (way, name) = (way.way, way.name.as_str());
            std::thread::scope(|scope| {
                let ask =
                    |seat: &'_ Seat| seat.ask(index, way, name, turn, turns, manner, progress);
                let threads: Vec<_> =
                    self.seats.iter().map(|seat| scope.spawn(move || ask(seat))).collect();
                let ended = threads.into_iter().map(|thread| {
                    thread
                        .join()
                        .unwrap_or_else(|_| Err(std::io::Error::other("a client panicked")))
                });
                ended.collect::<Vec<_>>()
            })
        };
        if interrupt::was_pressed() {
            return Err(interrupted(self.what));
        }
        let mut longest = Duration::ZERO;
        for (seat, samples) in self.seats.iter_mut().zip(asked) {
            let samples = samples.map_err(|error| {
                Failure::io(self.what, &error).fact("sandbox:", seat.sandbox.called().to_owned())
            })?;
            let ends = samples.iter().map(|sample| sample.started + sample.total);
            longest = longest.max(ends.max().unwrap_or_default());
            seat.add(index, samples, way.spent);
        }
        way.spent += longest;
        Ok(())
    }

    fn sleep(&self, time: Duration) -> Result<(), Failure> {
        let deadline = Instant::now() + time;
        while Instant::now() < deadline {
            if interrupt::was_pressed() {
                return Err(interrupted(self.what));
            }
            std::thread::sleep(ATTENTION);
        }
        Ok(())
    }

    /// The counters of each client once they have taken in every answered request, or after two
    /// estimations.
    fn counted_after(&self) -> Result<Vec<BTreeMap<String, u64>>, Failure> {
        let sum = |counted: &BTreeMap<String, u64>| counted.values().sum::<u64>();
        let deadline = Instant::now() + 2 * ESTIMATION;
        let mut all = Vec::with_capacity(self.seats.len());
        for (index, seat) in self.seats.iter().enumerate() {
            let answered = seat.answered(self.way(Way::Vip));
            loop {
                let after = self.counted(index)?;
                let grown = sum(&after).saturating_sub(sum(&seat.before));
                if grown >= answered || Instant::now() > deadline {
                    all.push(after);
                    break;
                }
                self.sleep(ATTENTION)?;
            }
        }
        Ok(all)
    }

    fn way(&self, way: Way) -> Option<usize> {
        self.ways.iter().position(|known| known.way == way)
    }

    /// Connections by task, as one client's sandbox counted them; nothing without a VIP.
    fn counted(&self, index: usize) -> Result<BTreeMap<String, u64>, Failure> {
        let (Some(seat), Some(vip)) = (self.seats.get(index), self.subject.vip) else {
            return Ok(BTreeMap::new());
        };
        let mut counted = Traffic::new();
        let mark = match seat.sandbox.guest() {
            None => vip.fwmark,
            Some(_) => attachment::mark(vip.address),
        };
        traffic::count(&seat.sandbox, &mut counted)
            .map_err(|refusal| Failure::kernel(self.what, &refusal))?;
        let mut by_task = BTreeMap::new();
        for task in self.subject.intent.rotation_of(&self.subject.service.name) {
            let Some(endpoint) = task.endpoint(self.subject.network) else { continue };
            let at = (seat.sandbox.clone(), mark, endpoint.address);
            if let Some(tally) = counted.get(&at) {
                by_task.insert(task.name.to_string(), tally.connections);
            }
        }
        Ok(by_task)
    }

    fn runs(mut self, after: Vec<BTreeMap<String, u64>>) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for WayName { way, mechanism, .. } in &self.ways {
            runs.push(Run { way: *way, mechanism: mechanism.clone(), clients: Vec::new() });
        }
        for (seat, after) in self.seats.iter_mut().zip(after) {
            for (run, doing) in runs.iter_mut().zip(seat.doings.drain(..)) {
                let seen = doing.stub.seen();
                let counters = (run.way == Way::Vip)
                    .then(|| Counters { before: seat.before.clone(), after: after.clone() });
                run.clients.push(ClientRun {
                    client: seat.sandbox.called().to_owned(),
                    samples: doing.samples,
                    answers: seen.first,
                    ttl: seen.ttl,
                    counters,
                });
            }
        }
        runs
    }
}

impl Seat {
    #[expect(clippy::too_many_arguments, reason = "a turn's particulars, passed on once")]
    fn ask(
        &self,
        index: usize,
        way: Way,
        name: &str,
        turn: u32,
        turns: u32,
        manner: &Manner,
        progress: &ProgressBar,
    ) -> std::io::Result<Vec<Sample>> {
        let Some(doing) = self.doings.get(index) else { return Ok(Vec::new()) };
        let plan = Plan {
            requests: share(self.requests, turns, turn),
            concurrency: manner.concurrency,
            timeout: PATIENCE,
            port: 80,
            path: "/".into(),
            ports: Some(Arc::clone(&self.ports)),
            pace: None,
        };
        let resolver = || {
            let server = SocketAddr::V4(RESOLVER);
            let client = Client::open(self.namespace.as_fd(), server, PATIENCE);
            let client = client.map_err(std::io::Error::other)?;
            Ok(Names { client, name, stub: &doing.stub })
        };
        let told = |_: u32| {
            progress.inc(1);
            match interrupt::was_pressed() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        };
        crowd::run(self.namespace.as_fd(), way, &plan, resolver, &told)
    }

    /// Adds a turn's samples as if all turns had been one run: the other way's do not count as time.
    fn add(&mut self, index: usize, samples: Vec<Sample>, spent: Duration) {
        let Some(doing) = self.doings.get_mut(index) else { return };
        let sequence = doing.samples.last().map_or(0, |last| last.sequence + 1);
        doing.samples.extend(samples.into_iter().map(|sample| Sample {
            sequence: sample.sequence + sequence,
            started: sample.started + spent,
            ..sample
        }));
    }

    fn answered(&self, index: Option<usize>) -> u64 {
        let doing = index.and_then(|index| self.doings.get(index));
        let samples = doing.map_or(&[][..], |doing| &doing.samples);
        samples.iter().filter(|sample| sample.outcome.is_ok()).count() as u64
    }
}

pub(super) fn ways(subject: &Subject<'_>) -> Vec<WayName> {
    let name = &subject.service.name;
    let way = |way, mechanism: String, name: String| WayName {
        way,
        mechanism,
        name,
        spent: Duration::ZERO,
    };
    let dns = |name| way(Way::Dns, "RR-DNS".into(), name);
    if subject.vip.is_none() {
        return vec![dns(name.to_string())];
    }
    let mechanism = match subject.plane {
        DataPlane::Ipvs => format!("IPVS {}", subject.service.scheduler),
        DataPlane::Nftables => "nftables numgen".into(),
    };
    vec![dns(format!("tasks.{name}")), way(Way::Vip, mechanism, name.to_string())]
}

/// Client ports that tasks of the service remember.
pub(super) fn taken_ports(subject: &Subject<'_>) -> std::io::Result<BTreeSet<u16>> {
    let mut taken = BTreeSet::new();
    for task in subject.intent.rotation_of(&subject.service.name) {
        // A task of another node has its own memory, which cannot be looked into from here.
        match netns::open(&task.name.to_string()) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            opened => taken.extend(remembered_by(opened?.as_fd())?),
        }
    }
    Ok(taken)
}

/// A number shared out, the first ones getting one more.
pub(super) fn shares(number: u32, among: usize) -> impl Iterator<Item = u32> {
    let parts = u32::try_from(among).unwrap_or(u32::MAX).max(1);
    (0..parts).map(move |part| share(number, parts, part))
}

fn share(number: u32, parts: u32, part: u32) -> u32 {
    number / parts + u32::from(part < number % parts)
}

/// A sandbox's resolver, asked through what the client keeps.
pub(super) struct Names<'a> {
    pub client: Client,
    pub name: &'a str,
    pub stub: &'a Stub,
}

impl Resolve for Names<'_> {
    fn resolve(&mut self) -> Result<Found, ResolveFailure> {
        self.stub.resolve(|| {
            let answer = self.client.lookup(self.name, RecordType::A);
            answer.map_err(|error| ResolveFailure(error.to_string()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_shared_out_to_the_last_one() {
        assert_eq!(shares(10, 3).collect::<Vec<_>>(), [4, 3, 3]);
        assert_eq!(shares(24, 24).collect::<Vec<_>>(), [1; 24]);
        for (number, parts) in [(1, 1), (7, 10), (300, 10), (25_000, 7)] {
            let sum: u32 = (0..parts).map(|part| share(number, parts, part)).sum();
            assert_eq!(sum, number, "{number} in {parts}");
        }
    }
}
