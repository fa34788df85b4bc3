//! Episodes in which a task is killed under the clients of a comparison: each way, and each way to keep
//! addresses, one after the other.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use super::PATIENCE;
use super::bench::{Names, Subject, WayName, shares, taken_ports, ways};
use super::throwaway::interrupted;
use crate::agent::status::{NodeStatus, TaskState};
use crate::commands::interrupt;
use crate::commands::session::Session;
use crate::failure::{Exit, Failure};
use crate::intent::{NodeName, Task};
use crate::keeper::client::Client as Keeper;
use crate::keeper::protocol::Request;
use crate::keeper::record::Record;
use crate::keeper::sockets::RESOLVER;
use crate::kernel::netns;
use crate::node::SandboxName;
use crate::probe::crowd::{self, Pace, Plan};
use crate::probe::ports::Ports;
use crate::probe::resolve::Client;
use crate::probe::stub::Stub;
use crate::trace::conditions::ClientCache;
use crate::trace::outage::{Episode, Outage, Outages};
use crate::trace::sample::Sample;

/// All workers are there and have made their sockets.
const HEAD_START: Duration = Duration::from_millis(100);
/// How often the killer looks whether the task has started again.
const GLANCE: Duration = Duration::from_millis(1);
/// How often a wait looks up, for Ctrl-C.
const ATTENTION: Duration = Duration::from_millis(50);
/// A service that is not whole so long after an episode is not waited for: a task that was killed
/// several times is started again after up to 5 s.
const RECOVERY: Duration = Duration::from_secs(30);

/// What shall happen in every episode.
#[derive(Clone, Copy)]
pub struct Script<'a> {
    pub lasts: Duration,
    /// From its beginning.
    pub kill_after: Duration,
    /// By all clients together.
    pub requests: u32,
    /// Of each client at a time.
    pub concurrency: u32,
    pub caches: &'a [ClientCache],
}

/// Everybody in place.
pub struct Stage<'a> {
    pub session: &'a Session,
    pub subject: Subject<'a>,
    pub clients: &'a [SandboxName],
    pub what: &'a str,
    pub progress: ProgressBar,
}

/// One client.
struct Seat<'a> {
    sandbox: &'a SandboxName,
    namespace: File,
    ports: Arc<Ports>,
    requests: u32,
    /// Clients begin one after the other, so that together they ask evenly in time.
    turn: Duration,
    stub: Stub,
}

/// When the task was dead first, and how often it was killed.
struct Killed {
    at: Instant,
    times: u32,
}

impl Stage<'_> {
    /// Plays all episodes.
    ///
    /// # Errors
    /// When no task can be killed from here, a client cannot work, the service does not recover, or
    /// somebody interrupts.
    pub fn play(&self, script: &Script<'_>) -> Result<Outages, Failure> {
        let mut episodes = Vec::new();
        for way in ways(&self.subject) {
            for cache in script.caches {
                self.recovered()?;
                episodes.push(self.episode(&way, *cache, script)?);
            }
        }
        self.recovered()?;
        self.progress.finish_and_clear();
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Ok(Outages {
            killed_after_ms: millis(script.kill_after),
            lasted_ms: millis(script.lasts),
            episodes,
        })
    }

    fn episode(
        &self,
        way: &WayName,
        cache: ClientCache,
        script: &Script<'_>,
    ) -> Result<Outage, Failure> {
        let seats = self.seats(cache, script)?;
        let first = seats.first();
        let begin = Instant::now() + HEAD_START;
        let end = begin + script.lasts;
        let (asked, killed) = thread::scope(|scope| {
            let ask = |seat: &'_ Seat<'_>| seat.ask(way, begin, script, &self.progress);
            let threads: Vec<_> = seats.iter().map(|seat| scope.spawn(move || ask(seat))).collect();
            sleep_until(begin + script.kill_after);
            let killed = self
                .victim(first.and_then(|seat| seat.stub.kept()))
                .and_then(|victim| Ok((victim, self.kill(victim.0, end)?)));
            let asked: Vec<_> = threads
                .into_iter()
                .map(|thread| {
                    let panicked = |_| Err(std::io::Error::other("a client panicked"));
                    thread.join().unwrap_or_else(panicked)
                })
                .collect();
            (asked, killed)
        });
        if interrupt::was_pressed() {
            return Err(interrupted(self.what));
        }
        let mut samples = Vec::new();
        for (seat, asked) in seats.iter().zip(asked) {
            samples.extend(asked.map_err(|error| self.failed(seat.sandbox, &error))?);
        }
        let ((victim, address), killed) = killed?;
        let episode = Episode {
            way: way.way,
            mechanism: &way.mechanism,
            client_cache: cache,
            victim: &victim.name.to_string(),
            address,
            kills: killed.times,
            killed: killed.at.saturating_duration_since(begin),
            lasted: script.lasts,
            samples: &samples,
        };
        Ok(episode.judge())
    }

    fn seats(&self, cache: ClientCache, script: &Script<'_>) -> Result<Vec<Seat<'_>>, Failure> {
        let taken = taken_ports(&self.subject).map_err(|error| Failure::io(self.what, &error))?;
        let between = script.lasts / script.requests.max(1);
        let seat = |sandbox, requests, number| {
            let namespace = netns::of(sandbox)?;
            let ports = Arc::new(Ports::of(namespace.as_fd(), &taken)?);
            let turn = between * number;
            Ok(Seat { sandbox, namespace, ports, requests, turn, stub: Stub::new(cache) })
        };
        let shares = shares(script.requests, self.clients.len());
        let seated =
            self.clients.iter().zip(shares).zip(0..).map(|((sandbox, requests), number)| {
                seat(sandbox, requests, number)
                    .map_err(|error: std::io::Error| self.failed(sandbox, &error))
            });
        seated.collect()
    }

    fn failed(&self, sandbox: &SandboxName, error: &std::io::Error) -> Failure {
        Failure::io(self.what, error).fact("sandbox:", sandbox.called().to_owned())
    }

    /// The task that has the address which a client keeps, or the first of those here; and its own address.
    fn victim(&self, kept: Option<IpAddr>) -> Result<(&Task, IpAddr), Failure> {
        let Subject { intent, service, network, .. } = self.subject;
        let here: Vec<(&Task, IpAddr)> = intent
            .rotation_of(&service.name)
            .filter(|task| task.node == self.session.node)
            .filter(|task| !self.clients.contains(&SandboxName::from(&task.name)))
            .filter_map(|task| Some((task, task.endpoint(network)?.address.into())))
            .collect();
        let chosen = here.iter().find(|(_, address)| Some(*address) == kept).or(here.first());
        chosen.copied().ok_or_else(|| {
            let problem = "no task of it that asks nobody runs on this node, to be killed";
            Failure::new(Exit::Usage, self.what, problem).hint(format!(
                "ask on a node that has one, see `swarmlb service ps {}`, or from other sandboxes with \
                 `--clients`",
                service.name
            ))
        })
    }

    /// Kills a task, and again whenever it has started until a moment.
    fn kill(&self, task: &Task, until: Instant) -> Result<Killed, Failure> {
        let io = |error: std::io::Error| Failure::io(self.what, &error);
        let keeper = Keeper::connect(&self.session.state.keeper_socket()).map_err(io)?;
        let sandbox = SandboxName::from(&task.name);
        let directory = self.session.state.task(&sandbox);
        let mut killed: Option<Killed> = None;
        let mut last = None;
        while Instant::now() < until && !interrupt::was_pressed() {
            let record = Record::read(&directory);
            let alive = record.filter(|record| record.process.task == task.id && record.is_alive());
            let life = alive.map(|record| (record.pid, record.start_time));
            if life.is_some() && life != last {
                let request = Request::Signal {
                    sandbox: sandbox.clone(),
                    signal: nix::libc::SIGKILL,
                    session: false,
                };
                // One that ended by itself meanwhile is as dead.
                if keeper.ask(&request).is_ok() {
                    let at = Instant::now();
                    killed.get_or_insert(Killed { at, times: 0 }).times += 1;
                }
                last = life;
            }
            thread::sleep(GLANCE);
        }
        killed.ok_or_else(|| match interrupt::was_pressed() {
            true => interrupted(self.what),
            false => {
                let problem = format!("task {} did not run, to be killed", task.name);
                Failure::new(Exit::Cannot, self.what, problem)
                    .hint(format!("see `swarmlb task inspect {}`", task.name))
            }
        })
    }

    /// Waits until all tasks run and every node that sends to them knows.
    fn recovered(&self) -> Result<(), Failure> {
        let deadline = Instant::now() + RECOVERY;
        loop {
            if self.is_whole(&self.session.statuses()?) {
                return Ok(());
            }
            if interrupt::was_pressed() {
                return Err(interrupted(self.what));
            }
            if Instant::now() > deadline {
                let name = &self.subject.service.name;
                let problem = "the service's tasks do not all run";
                return Err(Failure::new(Exit::Cannot, self.what, problem)
                    .hint(format!("see `swarmlb service ps {name}`")));
            }
            thread::sleep(ATTENTION);
        }
    }

    fn is_whole(&self, statuses: &BTreeMap<NodeName, NodeStatus>) -> bool {
        let runs = |task: &Task| {
            let status = statuses.get(&task.node).and_then(|status| status.tasks.get(&task.name));
            status.is_some_and(|status| status.state == TaskState::Running)
        };
        let awaited = |task: &Task| statuses.values().any(|node| node.awaited.contains(&task.id));
        statuses.values().all(|status| status.settled)
            && self
                .subject
                .intent
                .rotation_of(&self.subject.service.name)
                .all(|task| runs(task) && !awaited(task))
    }
}

impl Seat<'_> {
    fn names<'a>(&'a self, name: &'a str) -> std::io::Result<Names<'a>> {
        let client = Client::open(self.namespace.as_fd(), SocketAddr::V4(RESOLVER), PATIENCE);
        Ok(Names { client: client.map_err(std::io::Error::other)?, name, stub: &self.stub })
    }

    fn ask(
        &self,
        way: &WayName,
        begin: Instant,
        script: &Script<'_>,
        progress: &ProgressBar,
    ) -> std::io::Result<Vec<Sample>> {
        let plan = Plan {
            requests: self.requests,
            concurrency: script.concurrency,
            timeout: PATIENCE,
            port: 80,
            path: "/".into(),
            ports: Some(Arc::clone(&self.ports)),
            pace: Some(Pace {
                begin: begin + self.turn,
                interval: script.lasts / self.requests.max(1),
            }),
        };
        let told = |_: u32| {
            progress.inc(1);
            match interrupt::was_pressed() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        };
        let names = || self.names(&way.name);
        let samples = crowd::run(self.namespace.as_fd(), way.way, &plan, names, &told)?;
        let shared = |sample: Sample| Sample { started: sample.started + self.turn, ..sample };
        Ok(samples.into_iter().map(shared).collect())
    }
}

fn sleep_until(moment: Instant) {
    while Instant::now() < moment && !interrupt::was_pressed() {
        let left = moment.saturating_duration_since(Instant::now());
        thread::sleep(left.min(ATTENTION));
    }
}

/// All ways to keep addresses that make a difference.
pub const CACHES: [ClientCache; 3] = [ClientCache::None, ClientCache::Ttl, ClientCache::Forever];
