//! The processes of tasks, started and stopped through the keeper.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::containers::Containers;
use super::events::Event;
use super::resolvers::Resolvers;
use crate::keeper::client::Client;
use crate::keeper::protocol::{Reply, Request, Running, Start, State};
use crate::kernel::linux::Processes;
use crate::kernel::{Outcome, Refusal};
use crate::node::{Process, SandboxName};

/// How long a process may take to be ready before it is left to itself.
const READINESS: Duration = Duration::from_secs(10);
/// How long the kernel may take to end a killed one.
const AFTER_KILL: Duration = Duration::from_secs(5);

/// What the keeper said of each sandbox's process, last.
#[derive(Default)]
pub struct Known {
    running: Mutex<BTreeMap<SandboxName, Running>>,
    changed: Condvar,
    /// Set when the keeper is gone: nothing is told any more.
    gone: AtomicBool,
}

impl Known {
    pub fn lock(&self) -> MutexGuard<'_, BTreeMap<SandboxName, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    fn end(&self) {
        // Under the lock, or one that is about to wait would miss it.
        let running = self.lock();
        self.gone.store(true, Ordering::Release);
        drop(running);
        self.changed.notify_all();
    }

    fn note(&self, running: Running) {
        let mut known = self.lock();
        let other = known.get(&running.sandbox).is_some_and(|held| held.pid != running.pid);
        // The end of a process whose successor was already started is told late.
        let alive = known.get(&running.sandbox).is_some_and(|running| !running.has_ended());
        if !(other && alive && running.has_ended()) {
            known.insert(running.sandbox.clone(), running);
        }
        drop(known);
        self.changed.notify_all();
    }

    /// Notes a process that was just started, unless the watch told more of it already: the keeper
    /// answers and tells on two connections, and the second may be read first.
    fn note_started(&self, running: Running) {
        let mut known = self.lock();
        let told = known.get(&running.sandbox).is_some_and(|held| held.pid == running.pid);
        if !told {
            known.insert(running.sandbox.clone(), running);
        }
        self.changed.notify_all();
    }

    /// Waits until `done` holds, or the deadline.
    fn wait(
        &self,
        deadline: Instant,
        done: impl Fn(&BTreeMap<SandboxName, Running>) -> bool,
    ) -> bool {
        let mut running = self.lock();
        while !done(&running) {
            if self.is_gone() {
                return false;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.changed.wait_timeout(running, left);
            running = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

/// Follows what the keeper tells of processes, and tells the agent. Once the keeper is gone,
/// `succeed` is called first: the agent may be waiting for the store, which went with it.
///
/// # Errors
/// When the keeper does not answer or no thread can be made.
pub fn follow(
    keeper: Client,
    known: Arc<Known>,
    events: Sender<Event>,
    succeed: impl FnOnce() + Send + 'static,
) -> Result<(), Refusal> {
    let (first, watch) = keeper.watch()?;
    first.into_iter().for_each(|running| known.note(running));
    std::thread::Builder::new().name("keeper".into()).spawn(move || {
        while let Some(changed) = watch.next() {
            changed.iter().for_each(|running| known.note(running.clone()));
            if events.send(Event::Processes(changed)).is_err() {
                return;
            }
        }
        known.end();
        succeed();
        let _ = events.send(Event::KeeperGone);
    })?;
    Ok(())
}

/// A process that could not be started.
#[derive(Debug, Clone)]
pub struct Rejection {
    pub sandbox: SandboxName,
    pub sentence: String,
}

/// The keeper, as the kernel sees it.
pub struct KeptProcesses {
    pub keeper: Client,
    pub known: Arc<Known>,
    pub resolvers: Arc<Resolvers>,
    pub resolv_conf: String,
    pub containers: Containers,
    /// What could not be started since it was last taken. That is no refusal of the kernel's: the
    /// sandbox stays, and the start is tried again.
    pub rejections: Arc<Mutex<Vec<Rejection>>>,
}

impl KeptProcesses {
    fn start_one(&self, sandbox: &SandboxName, process: &Process) -> Outcome {
        self.resolvers.ensure(sandbox)?;
        let outfit = match self.containers.outfit(sandbox, process) {
            Ok(outfit) => outfit,
            Err(sentence) => {
                self.reject(sandbox, sentence);
                return Ok(());
            }
        };
        let request = Request::Start(Box::new(Start {
            sandbox: sandbox.clone(),
            process: process.clone(),
            resolv_conf: self.resolv_conf.clone(),
            tells_readiness: process.program.tells_readiness(),
            bundle: outfit.bundle,
            group: outfit.group,
            stop_signal: outfit.stop_signal,
        }));
        match self.keeper.ask(&request) {
            Ok((Reply::Started(running), _)) => self.known.note_started(*running),
            Ok(_) => return Err(Errno::EBADMSG.into()),
            Err(refusal) if refusal.errno == Errno::EPIPE => return Err(refusal),
            Err(refusal) => {
                self.reject(sandbox, refusal.sentence);
            }
        }
        Ok(())
    }

    fn reject(&self, sandbox: &SandboxName, sentence: String) {
        self.known.lock().remove(sandbox);
        let rejection = Rejection { sandbox: sandbox.clone(), sentence };
        self.rejections.lock().unwrap_or_else(PoisonError::into_inner).push(rejection);
    }

    /// What asks a process to end, as the keeper was told at its start.
    fn stop_signal(&self, sandbox: &SandboxName) -> i32 {
        self.known.lock().get(sandbox).map_or(nix::libc::SIGTERM, |running| running.stop_signal)
    }

    /// Kills those that had their time, and tells how long the others have.
    fn kill_overdue(&self, processes: &[(&SandboxName, &Process)], begun: Instant) -> Instant {
        let now = Instant::now();
        let mut next = now + AFTER_KILL;
        for (name, process) in processes {
            let due = begun + process.setup.grace();
            if due > now {
                next = next.min(due);
            } else if self.known.lock().get(*name).is_some_and(|running| !running.has_ended()) {
                let _ = self.signal(name, nix::libc::SIGKILL, true);
            }
        }
        next
    }

    fn signal(&self, sandbox: &SandboxName, signal: i32, session: bool) -> Outcome {
        let request = Request::Signal { sandbox: sandbox.clone(), signal, session };
        match self.keeper.ask(&request) {
            // It ended by itself.
            Err(refusal) if refusal.errno == Errno::ESRCH => Ok(()),
            other => other.map(drop),
        }
    }
}

impl Processes for KeptProcesses {
    fn running(&mut self) -> Result<BTreeMap<SandboxName, Process>, Refusal> {
        let known = self.known.lock();
        let alive = known.iter().filter(|(_, running)| !running.has_ended());
        Ok(alive.map(|(name, running)| (name.clone(), running.process.clone())).collect())
    }

    fn start(&mut self, processes: &[(&SandboxName, &Process)]) -> Vec<Outcome> {
        let outcomes = processes.iter().map(|(name, process)| self.start_one(name, process));
        let outcomes: Vec<Outcome> = outcomes.collect();
        let ready = |known: &BTreeMap<SandboxName, Running>| {
            processes.iter().all(|(name, _)| {
                known.get(*name).is_none_or(|running| running.state != State::Starting)
            })
        };
        self.known.wait(Instant::now() + READINESS, ready);
        outcomes
    }

    fn stop(&mut self, processes: &[(&SandboxName, &Process)]) -> Vec<Outcome> {
        let ask = |name: &SandboxName| self.signal(name, self.stop_signal(name), false);
        let mut outcomes: Vec<Outcome> = processes.iter().map(|(name, _)| ask(name)).collect();
        let begun = Instant::now();
        let longest = processes.iter().map(|(_, process)| process.setup.grace()).max();
        let last = begun + longest.unwrap_or_default() + AFTER_KILL;
        let all_ended = |known: &BTreeMap<SandboxName, Running>| {
            processes.iter().all(|(name, _)| known.get(*name).is_none_or(Running::has_ended))
        };
        loop {
            let next = self.kill_overdue(processes, begun).min(last);
            if self.known.wait(next, all_ended) || self.known.is_gone() || Instant::now() >= last {
                break;
            }
        }
        for ((name, _), outcome) in processes.iter().zip(&mut outcomes) {
            if self.known.lock().get(*name).is_some_and(|running| !running.has_ended()) {
                *outcome = Err(match self.known.is_gone() {
                    true => Refusal::saying(Errno::EPIPE, "the keeper is gone"),
                    false => Refusal::saying(Errno::EBUSY, "the process does not end"),
                });
                continue;
            }
            self.known.lock().remove(*name);
            if let Err(refusal) = self.keeper.ask(&Request::Forget((*name).clone())) {
                *outcome = Err(refusal);
            }
        }
        outcomes
    }
}
