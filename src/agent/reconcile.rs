//! The agent's loop: intent in, plan, kernel, status out.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Ipv4Addr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::address;
use super::associations::Associations;
use super::checked;
use super::containers::Containers;
use super::endings::{Cause, Endings};
use super::entry::{Begun, Entry, enter};
use super::events::{self, Event};
use super::forgotten::{self, Former};
use super::images::{Asking, Images, Standing};
use super::last_known::LastKnown;
use super::leader::{self, Wake};
use super::lease::{self, Lease};
use super::leaving::Departures;
use super::misfortune::{Ended, Misfortune};
use super::mounts;
use super::processes::{self, KeptProcesses, Known, Rejection};
use super::ramping::Ramps;
use super::resolvers::Resolvers;
use super::resting::{Elsewhere, Word};
use super::status::{HealthStatus, NodeStatus, RefusalReport, TaskState, TaskStatus};
use crate::clock;
use crate::health::chart::Chart;
use crate::health::rounds::Rounds;
use crate::intent::{
    Absences, Attachment, Fwmark, Id, Image, Intent, Machine, NodeName, Presence, Ramp, Reference,
    Stands, Task, TaskName, UnhealthyAction,
};
use crate::keeper::client::Client as Keeper;
use crate::keeper::daemon;
use crate::keeper::journal::say;
use crate::keeper::protocol::{Exit, Request, Running, State};
use crate::keeper::server::now;
use crate::kernel::ipvs::Ipvs;
use crate::kernel::linux::{Linux, Processes};
use crate::kernel::{Kernel, Refused, Scope, carry_out, egress, netns, xfrm};
use crate::lower::dns::{self, Knowledge};
use crate::lower::lower_sharing;
use crate::lower::shared::Shared;
use crate::memory;
use crate::node::process::Program;
use crate::node::{Node, Process, Sandbox, SandboxName};
use crate::orchestrate::health::Condition;
use crate::plan::Plan;
use crate::plan::runbook::owner_prefix;
use crate::state_dir::StateDir;
use crate::store::records::{self, Edit, Loaded};
use crate::store::{Batch, Handle, Later, Location, Revision};

/// How often what the kernel holds is read anew and compared, though nothing was told.
const AUDIT: Duration = Duration::from_secs(15);
/// How long a host command must live before it counts as running: one that ends at once never was.
const SETTLING: Duration = Duration::from_millis(250);
/// The first pause after a refused plan; it doubles up to the audit's interval.
const REFUSAL_PAUSE: Duration = Duration::from_millis(500);
/// How often a plan is made before a refusal counts, the first from what is remembered.
const ATTEMPTS: u32 = 3;
/// When what the store did not take or give is tried again.
const AGAIN: Duration = Duration::from_secs(1);

struct Agent {
    state: StateDir,
    name: NodeName,
    /// Where others reach it, when nobody said it.
    address: Option<Ipv4Addr>,
    /// Whether the store knows it: not as long as the store was out of reach from the start.
    is_known: bool,
    /// Who keeps what was asked for, where the store is on another machine.
    copies: Option<Sender<Loaded>>,
    store: Handle,
    lease: Arc<Lease>,
    keeper: Keeper,
    kernel: Linux<KeptProcesses>,
    known: Arc<Known>,
    resolvers: Arc<Resolvers>,
    rejections: Arc<Mutex<Vec<Rejection>>>,
    images: Arc<Images>,
    /// Whose images were kept last.
    holders: Option<BTreeSet<String>>,
    intent: Intent,
    revision: Revision,
    /// Of its last edit: what every node has done that loaded it at this revision or a later one.
    edited: Revision,
    /// What names mean in each sandbox, and of which revision that is.
    zones: BTreeMap<SandboxName, Knowledge>,
    /// Of which revision they are, without how many namespaces that are gone, and who was absent.
    zoned: Option<(Revision, usize, Absences)>,
    /// What other nodes say of their tasks.
    elsewhere: Word,
    /// The tasks, of all nodes, that the last plan took out of rotation as their processes were not there.
    absent: Absences,
    /// Those that leave and get connections for want of others.
    stands: Stands,
    /// How far those are that begin slowly, and as what they were lowered.
    ramps: Ramps,
    ramped: BTreeMap<Id, Ramp>,
    planned: BTreeMap<Id, Ramp>,
    /// What the last lowering shares with the next.
    shared: Shared,
    /// What the kernel held after the last plan; none when it must be read.
    observed: Option<Node>,
    /// Set when the keeper did not answer: only a new one and a new agent can go on.
    keeper_lost: bool,
    refusal: Option<RefusalReport>,
    unreadable: Option<String>,
    refusal_pause: Duration,
    misfortunes: BTreeMap<SandboxName, Misfortune>,
    rounds: Rounds,
    endings: Endings,
    reported: Option<NodeStatus>,
    /// Whether the intent could not be loaded, or the report not be saved, and must be again.
    stale: bool,
    unreported: bool,
    since: u64,
    audit: Instant,
    associations: Associations,
    departures: Departures,
    idle_marks: BTreeSet<Fwmark>,
    /// Who was there when connections to those who are gone were forgotten last, and of which intent.
    former: Former,
    forgot: Option<Revision>,
}

/// Runs until killed.
///
/// # Errors
/// When the keeper or the store is out of reach; the keeper then starts another agent.
pub fn run(
    state: &StateDir,
    name: &NodeName,
    location: &Location,
    arguments: &[String],
    asking: Asking,
) -> io::Result<()> {
    // The agent of a keeper that was killed may still be at work; two would undo each other's.
    let lock = std::fs::File::options()
        .create(true)
        .write(true)
        .truncate(false)
        .open(state.agent_lock())?;
    lock.lock()?;
    let ended = run_for_keeper(state, name, location, arguments, asking);
    if ended.is_err() && !daemon::lives(state) {
        succeed(state, arguments);
    }
    ended
}

/// Whoever started the tasks is gone, but they go on: a new keeper adopts them.
fn succeed(state: &StateDir, arguments: &[String]) {
    say("the keeper is gone; starting another");
    if let Err(error) = daemon::spawn(state, arguments) {
        say(format!("cannot start a keeper: {error}"));
    }
}

fn run_for_keeper(
    state: &StateDir,
    name: &NodeName,
    location: &Location,
    arguments: &[String],
    asking: Asking,
) -> io::Result<()> {
    // Before anything that waits: a keeper that comes meanwhile has an agent of its own.
    let watched = Keeper::connect(&state.keeper_socket())?;
    let keeper = watched.status().map_err(io::Error::other)?.keeper;
    if keeper != std::os::unix::process::parent_id() as i32 {
        say("another keeper has taken over, and has an agent of its own");
        return Ok(());
    }
    let resolvers = Arc::new(Resolvers::start(&state.keeper_socket())?);
    let (sender, receiver) = channel();
    let known = Arc::new(Known::default());
    let successor = (state.clone(), arguments.to_vec());
    let succeed = move || succeed(&successor.0, &successor.1);
    processes::follow(watched, Arc::clone(&known), sender.clone(), succeed)
        .map_err(io::Error::other)?;
    mounts::keep(state.clone(), Arc::clone(&known))?;
    let associations = Associations::open(state)?;
    let copy = LastKnown::of(state, location)?;
    let entry = Entry { state, name, location, associations: &associations };
    let Begun { store, lease, loaded, is_known } = entry.begin(copy.as_ref())?;
    let lease = Arc::new(lease);
    let zones = dns::zones(&loaded.intent, name);
    resolvers.add_zones(&zones);
    answer_for_those_who_run(&known, &resolvers);
    let (wakes, woken) = channel();
    let healths = sender.clone();
    let (events, wake) = (sender.clone(), wakes.clone());
    let tell = move |_: Option<&Batch>| {
        events.send(Event::Intent).is_ok() && wake.send(Wake::Intent).is_ok()
    };
    let after = is_known.then_some(loaded.revision);
    events::follow(store.clone(), records::INTENT, after, tell)?;
    let mut reports = BTreeSet::new();
    let mut elsewhere = Elsewhere::new(name.clone());
    // Where the store is away, nothing is known of others, and nobody of theirs counts as absent.
    let word = match is_known {
        true => elsewhere.note(None, &*store).map_err(io::Error::other)?.unwrap_or_default(),
        false => Word::default(),
    };
    let (events, asked) = (sender.clone(), store.clone());
    let tell = move |changed: Option<&Batch>| {
        match elsewhere.note(changed, &*asked) {
            Ok(Some(word)) => {
                if events.send(Event::Elsewhere(word)).is_err() {
                    return false;
                }
            }
            Ok(None) => {}
            Err(error) => say(format!("cannot load what the nodes report: {error}")),
        }
        let concerns = changed.is_none_or(|batch| leader::concerns(batch, &mut reports));
        wakes.send(if concerns { Wake::Reports } else { Wake::Word }).is_ok()
    };
    events::follow(store.clone(), records::STATUS, after, tell)?;
    leader::stand(store.clone(), name.clone(), Arc::clone(&lease), woken)?;
    let waits = Later::new(location.clone(), state.store_socket(), lease::PATIENCE);
    let images = Images::new(state.clone(), asking, sender.clone());
    lease.keep(Arc::new(waits), sender)?;
    let rejections = Arc::new(Mutex::new(Vec::new()));
    let kernel = Linux::new(KeptProcesses {
        keeper: Keeper::connect(&state.keeper_socket())?,
        known: Arc::clone(&known),
        resolvers: Arc::clone(&resolvers),
        resolv_conf: resolv_conf(),
        containers: Containers::new(
            Arc::clone(&images),
            state.clone(),
            loaded.intent.cluster.id.clone(),
        ),
        rejections: Arc::clone(&rejections),
    });
    let mut agent = Agent {
        state: state.clone(),
        name: name.clone(),
        store,
        lease,
        keeper: Keeper::connect(&state.keeper_socket())?,
        kernel,
        known,
        resolvers,
        rejections,
        images,
        holders: None,
        address: address::towards(location),
        is_known,
        copies: copy.map(LastKnown::keeper).transpose()?,
        intent: loaded.intent,
        revision: loaded.revision,
        edited: loaded.edited,
        zones,
        zoned: None,
        elsewhere: word,
        absent: Absences::default(),
        stands: Stands::default(),
        ramps: Ramps::default(),
        ramped: BTreeMap::new(),
        planned: BTreeMap::new(),
        shared: Shared::default(),
        observed: None,
        keeper_lost: false,
        refusal: None,
        unreadable: None,
        refusal_pause: REFUSAL_PAUSE,
        misfortunes: BTreeMap::new(),
        rounds: Rounds::start(move || healths.send(Event::Health).is_ok())?,
        endings: Endings::default(),
        reported: None,
        stale: false,
        unreported: false,
        since: now(),
        audit: Instant::now(),
        associations,
        departures: Departures::default(),
        idle_marks: BTreeSet::new(),
        former: Former::default(),
        forgot: None,
    };
    if is_known {
        agent.keep(&Loaded {
            edited: loaded.edited,
            revision: agent.revision,
            intent: agent.intent.clone(),
        });
    }
    agent.recall_misfortunes();
    agent.run(&receiver);
    Ok(())
}

/// Waits until the keeper's end is seen and its successor started, unless it lives after all.
fn await_end(events: &Receiver<Event>) {
    let deadline = Instant::now() + AGAIN;
    while let Ok(event) = events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        if matches!(event, Event::KeeperGone) {
            return;
        }
    }
}

/// Answers names again where a former agent did, before the kernel is read: tasks are waiting.
fn answer_for_those_who_run(known: &Known, resolvers: &Resolvers) {
    let running: Vec<Running> = known.lock().values().cloned().collect();
    for running in running {
        let alive = !running.has_ended();
        // What has its name may be a stranger's by now.
        if alive
            && is_at_home(&running)
            && let Err(refusal) = resolvers.ensure(&running.sandbox)
        {
            eprintln!("no DNS in sandbox `{}` yet: {refusal}", running.sandbox);
        }
    }
}

/// What a gateway bridge's range must not overlap.
///
/// # Errors
/// Why tasks cannot reach the outside from here.
pub fn way_out() -> Result<Machine, String> {
    egress::can_masquerade().map_err(|refusal| format!("no masquerading: {refusal}"))?;
    let routes = egress::routes().map_err(|refusal| refusal.to_string())?;
    Ok(Machine { routes })
}

/// Whether this machine's kernel encrypts as encrypted networks need it.
///
/// # Errors
/// Why it does not.
pub fn can_encrypt() -> Result<(), String> {
    xfrm::can_encrypt().map_err(|refusal| refusal.sentence)
}

/// Whether this machine's kernel has IPVS, its module loaded if need be.
pub fn has_ipvs() -> bool {
    matches!(Ipvs::open_here(), Ok(Some(_)))
}

/// The resolv.conf of tasks: the sandbox's own resolver, and the machine's search list.
pub fn resolv_conf() -> String {
    resolv_conf_after(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default())
}

/// The machine's search list and options stay; names are asked for as they are before the list is
/// gone through (`ndots:0`, as in Docker), or every `web` would first be asked for elsewhere.
fn resolv_conf_after(machine: &str) -> String {
    let lines: Vec<Vec<&str>> =
        machine.lines().map(|line| line.split_whitespace().collect()).collect();
    let search = lines.iter().rfind(|words| matches!(words[..], ["search" | "domain", _, ..]));
    let options = lines.iter().filter(|words| words.first() == Some(&"options"));
    let options = options.flat_map(|words| words.iter().skip(1));
    let options = options.filter(|option| !option.starts_with("ndots:"));
    let options: Vec<&str> = options.copied().chain(["ndots:0"]).collect();
    let mut text = format!("nameserver {}\n", crate::keeper::sockets::RESOLVER.ip());
    text.extend(search.map(|words| format!("search {}\n", words[1..].join(" "))));
    text.push_str(&format!("options {}\n", options.join(" ")));
    text
}

impl Agent {
    fn run(mut self, events: &Receiver<Event>) {
        loop {
            self.turn();
            if self.keeper_lost {
                await_end(events);
                return;
            }
            self.departures.take_note(&self.intent, self.edited, &self.name);
            let due = self.next_due();
            let mut rest = Some(Instant::now() + memory::REST);
            let first = loop {
                self.see_off();
                if memory::give_back_after(&mut rest) {
                    continue;
                }
                let until =
                    [self.departures.due(), rest].into_iter().flatten().fold(due, Instant::min);
                match events.recv_timeout(until.saturating_duration_since(Instant::now())) {
                    Ok(event) => break Some(event),
                    Err(RecvTimeoutError::Timeout) if Instant::now() < due => {}
                    Err(RecvTimeoutError::Timeout) => break None,
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            };
            // Everything that came meanwhile is one turn.
            let mut reload = false;
            for event in first.into_iter().chain(events.try_iter()) {
                match event {
                    Event::Intent => reload = true,
                    Event::Processes(changed) => self.note(&changed),
                    Event::Health => {}
                    Event::Elsewhere(word) => self.elsewhere = word,
                    Event::Image => {}
                    Event::KeeperGone => return,
                    // The report went with the old one.
                    Event::LeaseAnew => {
                        self.reported = None;
                        reload |= !self.is_known;
                    }
                }
            }
            if reload || self.stale {
                self.reload();
            }
        }
    }

    /// What was asked for, as the store has it; where it could not be reached until now, this node is
    /// made known first.
    fn load(&mut self) -> io::Result<Option<Loaded>> {
        if self.is_known || self.lease.id().is_err() {
            return records::load_intent(&self.store).map_err(io::Error::other);
        }
        let (address, associations) = (self.address, &self.associations);
        let loaded = enter(&*self.store, &self.name, &self.lease, address, associations)?;
        self.is_known = true;
        Ok(Some(loaded))
    }

    fn reload(&mut self) {
        match self.load() {
            Ok(Some(loaded)) => {
                self.keep(&loaded);
                self.intent = loaded.intent;
                self.revision = loaded.revision;
                self.edited = loaded.edited;
                let retired = self.intent.retired_marks();
                self.idle_marks.retain(|mark| retired.contains(mark));
                self.refusal = None;
                self.refusal_pause = REFUSAL_PAUSE;
                self.stale = false;
            }
            Ok(None) => {}
            Err(error) => {
                say(format!("cannot load the intent: {error}"));
                self.stale = true;
            }
        }
    }

    /// Has what was asked for kept, for when the store is out of reach.
    fn keep(&self, loaded: &Loaded) {
        if let Some(copies) = &self.copies {
            let _ = copies.send(loaded.clone());
        }
    }

    /// Looks after what leaves, when it is time to, and takes away what has left.
    fn see_off(&mut self) {
        let mut left = Vec::new();
        if self.departures.tasks_are_due() {
            if self.departures.lacks_word() {
                let statuses = statuses(&self.store);
                let standing = statuses.values().flat_map(|status| &status.standing).collect();
                self.departures.acknowledge(done_by_all(&statuses), &standing);
            }
            let known = Arc::clone(&self.known);
            let ended = |task: &TaskName| {
                let known = known.lock();
                let running = known.get(&SandboxName::from(task));
                running.is_none_or(Running::has_ended)
            };
            left = self.departures.left(&self.intent, &self.name, ended);
            left.retain(|(task, _)| self.is_ended_or_asked(task));
            self.report();
        }
        let mut idle = BTreeSet::new();
        // A mark that a refused plan left in use gets packets still.
        if self.departures.marks_are_due() && self.refusal.is_none() && self.observed.is_some() {
            self.idle_marks = self.look_at_marks();
            self.departures.marks_were_seen();
            self.report();
            idle = self.idle_everywhere();
        }
        if !left.is_empty() || !idle.is_empty() {
            self.take_away(&left, &idle);
        }
        self.kill_overdue();
    }

    /// Whether the process of a task that may go is no more, or no signal helps; one that is there is
    /// asked to end. Meanwhile the agent sees to others.
    fn is_ended_or_asked(&mut self, task: &TaskName) -> bool {
        let sandbox = SandboxName::from(task);
        let running = self.known.lock().get(&sandbox).filter(|held| !held.has_ended()).cloned();
        let Some(running) = running else { return true };
        if self.endings.begin(&running, Cause::Leaving) {
            self.signal(&sandbox, running.stop_signal, false);
        }
        self.endings.is_stuck(&sandbox, running.pid)
    }

    fn kill_overdue(&mut self) {
        for name in self.endings.overdue() {
            self.signal(&name, nix::libc::SIGKILL, true);
        }
    }

    /// Old marks that no sandbox of this node has connections under.
    fn look_at_marks(&mut self) -> BTreeSet<Fwmark> {
        let mut idle = self.intent.retired_marks();
        let here = self.intent.tasks.values().filter(|task| task.node == self.name);
        let sandboxes = here.map(|task| (&task.name).into()).chain([SandboxName::ingress()]);
        let sandboxes: Vec<SandboxName> = sandboxes.collect();
        for sandbox in sandboxes {
            match self.kernel.busy_marks(&sandbox, &idle) {
                Ok(busy) => idle.retain(|mark| !busy.contains(mark)),
                Err(refusal) if refusal.errno == nix::errno::Errno::ENOENT => {}
                Err(refusal) => {
                    eprintln!("cannot see the connections of sandbox `{sandbox}`: {refusal}");
                    return BTreeSet::new();
                }
            }
        }
        idle
    }

    /// Old marks that no node has connections under.
    fn idle_everywhere(&self) -> BTreeSet<Fwmark> {
        let statuses = statuses(&self.store);
        let idle = |mark: &&Fwmark| statuses.values().all(|s| s.idle_marks.contains(*mark));
        self.idle_marks.iter().filter(idle).copied().collect()
    }

    /// Edits the intent; when others are quicker, the next look tries again.
    fn take_away(&mut self, left: &[(TaskName, Id)], idle: &BTreeSet<Fwmark>) {
        let edit = || -> Result<(), records::RecordError> {
            let Some(loaded) = records::load_intent(&self.store)? else { return Ok(()) };
            let mut intent = loaded.intent.clone();
            let any = intent.finish_leaving(left) | intent.forget_retired(idle);
            if any {
                records::commit_intent(&self.store, loaded.edited, Some(&loaded.intent), &intent)?;
            }
            Ok(())
        };
        if let Err(error) = edit() {
            eprintln!("cannot take away what has left: {error}");
        }
    }

    fn turn(&mut self) {
        if Instant::now() >= self.audit {
            self.observed = None;
            self.refusal = None;
        }
        self.check_those_who_run();
        if self.refusal.is_none() {
            let audits = self.observed.is_none();
            self.reconcile();
            if self.keeper_lost {
                // What was refused for want of a keeper is the next agent's to do, and no news.
                return;
            }
            if audits && self.refusal.is_none() {
                // From the end of it: a node of many sandboxes shall not read without a pause.
                self.audit = Instant::now() + AUDIT;
            }
        }
        self.take_rejections();
        self.check_those_who_run();
        self.report();
        self.replace_unhealthy();
        self.turn_keys();
    }

    /// Does what is due about the lives of this node's keys; when others are quicker, the next look
    /// tries again.
    fn turn_keys(&mut self) {
        if self.refusal.is_some() || self.observed.is_none() {
            return;
        }
        let store = self.store.clone();
        let done = || done_everywhere(&store);
        let Some(step) = self.associations.step(&self.intent, &self.name, self.edited, done) else {
            return;
        };
        let edited =
            records::load_intent(&self.store).map_err(io::Error::other).and_then(|loaded| {
                let Some(loaded) = loaded else { return Ok(()) };
                let mut intent = loaded.intent.clone();
                if self.associations.take(step, &mut intent, &self.name)? {
                    let (edited, before) = (loaded.edited, Some(&loaded.intent));
                    records::commit_intent(&self.store, edited, before, &intent)
                        .map_err(io::Error::other)?;
                }
                Ok(())
            });
        if let Err(error) = edited {
            say(format!("cannot turn keys over: {error}"));
        }
    }

    fn reconcile(&mut self) {
        let mut shared = std::mem::take(&mut self.shared);
        let absences = self.absences();
        self.note_ramps(&absences);
        let (intent, gone, standing) = self.present(&absences);
        let mut desired = lower_sharing(&intent, &self.name, &mut shared);
        self.associations.keyring.complete(&intent, &self.name, &mut desired);
        let zoned = Some((self.revision, gone, absences.clone()));
        let zones = (self.zoned != zoned).then(|| dns::zones(&intent, &self.name));
        // Who asks before a task runs is not sent to it, and after it left neither.
        let unstarted = self.unstarted();
        let meanwhile = zones.as_ref().filter(|_| !unstarted.is_empty()).map(|_| {
            let mut intent = intent.clone().into_owned();
            let tasks = intent.tasks.values_mut().filter(|task| unstarted.contains(&task.id));
            tasks.for_each(|task| task.presence = Presence::Resting);
            dns::zones(&intent, &self.name)
        });
        if let Some(zones) = zones {
            self.zoned = zoned;
            self.zones = zones;
        }
        self.shared = shared;
        self.resolvers.add_zones(meanwhile.as_ref().unwrap_or(&self.zones));
        self.want_images(&desired);
        self.hold_back(&mut desired);
        // What is remembered may be out of date, and what was just read too: somebody may be
        // changing it right now. So a refusal counts only when the kernel, read anew, repeats it.
        let mut attempts = if self.observed.is_some() { ATTEMPTS } else { ATTEMPTS - 1 };
        while let Some(refused) = self.carry_out(&desired, &absences) {
            if refused.refusal.errno == nix::errno::Errno::EPIPE {
                self.keeper_lost = true;
                return;
            }
            attempts -= 1;
            if attempts == 0 {
                self.refused(&refused);
                return;
            }
            say(format!("reading the kernel anew after: {}", refused.refusal));
        }
        if meanwhile.is_some() {
            self.resolvers.add_zones(&self.zones);
        }
        if self.unreadable.is_none() {
            self.stands.note(standing, &self.intent);
            self.forget_connections();
        }
        self.forget_left();
        // A task that leaves asks names until it ends.
        self.resolvers.drop_others(&self.zones);
        self.resolvers.ensure_all();
    }

    /// The tasks of this node that were never started.
    fn unstarted(&self) -> BTreeSet<Id> {
        let known = self.known.lock();
        let here = self.intent.tasks.values().filter(|task| task.node == self.name);
        let is_known = |task: &&Task| {
            let running = known.get(&SandboxName::from(&task.name));
            running.is_some_and(|running| running.process.task == task.id)
        };
        here.filter(|task| !is_known(task)).map(|task| task.id.clone()).collect()
    }

    /// Takes note of who begins slowly. For how long others' tasks were there before, nobody told.
    fn note_ramps(&mut self, absences: &Absences) {
        let known = self.known.lock();
        let age = |task: &Task| {
            let running = known.get(&SandboxName::from(&task.name));
            let running = running.filter(|running| running.process.task == task.id)?;
            Some(Duration::from_secs(now().saturating_sub(running.started)))
        };
        self.ramps.note(&self.intent, absences, age);
        drop(known);
        self.ramped = self.ramps.parts(&self.intent);
    }

    /// The tasks, of all nodes, whose processes are not there or do not serve.
    fn absences(&self) -> Absences {
        let in_question = |task: &&Task| {
            let is_unhappy = self.misfortunes.contains_key(&SandboxName::from(&task.name));
            is_unhappy || checked::check_of(&self.intent, task, &self.images).is_some()
        };
        let here = self.intent.tasks.values().filter(|task| task.node == self.name);
        let mut absences = self.elsewhere.absences(&self.intent, &self.name);
        let here = here.filter(in_question);
        here.for_each(|task| self.task_status(task).lay_over(&mut absences));
        absences.awaited.extend(self.awaiting_images());
        absences.awaited.extend(self.unsettled());
        absences
    }

    /// Has those processes checked that are there, and no others.
    fn check_those_who_run(&self) {
        let known = self.known.lock();
        let here = self.intent.tasks.values().filter(|task| task.node == self.name);
        let subjects = here.filter_map(|task| {
            let sandbox = SandboxName::from(&task.name);
            let running = known.get(&sandbox)?;
            Some((
                sandbox,
                checked::subject(&self.intent, task, running, &self.images, &self.state)?,
            ))
        });
        let subjects = subjects.collect();
        drop(known);
        self.rounds.set(subjects);
    }

    /// What the checks of a task's process say; none when there is no process.
    fn chart(&self, task: &Task) -> Option<Chart> {
        let sandbox = SandboxName::from(&task.name);
        let known = self.known.lock();
        let running = known.get(&sandbox).filter(|running| running.process.task == task.id)?;
        self.rounds.chart(&sandbox, running.pid)
    }

    /// Ends unhealthy tasks whose services want it, now that nobody is sent to them any more.
    fn replace_unhealthy(&mut self) {
        let replaces = |task: &&Task| {
            let service = self.intent.services.get(&task.name.service);
            let action = service.map(|service| service.upkeep.unhealthy_action);
            task.node == self.name && action == Some(UnhealthyAction::Replace)
        };
        let charts = self.intent.tasks.values().filter(replaces).filter_map(|task| {
            let chart = self.chart(task).filter(|c| c.condition == Condition::Unhealthy)?;
            Some((SandboxName::from(&task.name), chart))
        });
        let charts: Vec<(SandboxName, Chart)> = charts.collect();
        for (name, chart) in charts {
            let running =
                self.known.lock().get(&name).filter(|held| held.pid == chart.pid).cloned();
            let Some(running) = running else { continue };
            if self.endings.begin(&running, Cause::Unhealthy(chart.why.clone())) {
                say(format!("ending task {name}, which is unhealthy: {}", chart.why));
                self.signal(&name, running.stop_signal, false);
            }
        }
        self.kill_overdue();
    }

    /// One that ended by itself meanwhile needs no signal.
    fn signal(&self, sandbox: &SandboxName, signal: i32, session: bool) {
        let request = Request::Signal { sandbox: sandbox.clone(), signal, session };
        if let Err(refusal) = self.keeper.ask(&request)
            && refusal.errno != nix::errno::Errno::ESRCH
        {
            let signal = crate::render::task::signal(signal);
            say(format!("task {sandbox} cannot be sent {signal}: {refusal}"));
        }
    }

    /// The tasks of this node whose image is not here, and whose process neither.
    fn awaiting_images(&self) -> Vec<Id> {
        let known = self.known.lock();
        let alive = |task: &Task| {
            known
                .get(&SandboxName::from(&task.name))
                .is_some_and(|running| running.process.task == task.id && !running.has_ended())
        };
        let awaits = |task: &&Task| {
            let image = self.intent.definition_of(task).map(|definition| &definition.image);
            matches!(image, Some(Image::Oci(image)) if self.images.ready(image).is_none())
        };
        let here = self.intent.tasks.values().filter(|task| task.node == self.name);
        let waiting = here.filter(awaits).filter(|task| !alive(task));
        waiting.map(|task| task.id.clone()).collect()
    }

    /// Has the images come that containers shall be made from, and lets go of those that none is.
    fn want_images(&mut self, desired: &Node) {
        let contained = desired.sandboxes.iter().filter_map(|(name, sandbox)| {
            match &sandbox.process.as_ref()?.program {
                Program::Container(container) => Some((name, &container.image)),
                _ => None,
            }
        });
        let contained: Vec<(&SandboxName, &Reference)> = contained.collect();
        let wanted = contained.iter().map(|(_, image)| (*image).clone()).collect();
        self.images.want(&wanted);
        let known = self.known.lock();
        let running = known.values().filter(|running| !running.has_ended());
        let running = running.map(|running| running.sandbox.to_string());
        let holders: BTreeSet<String> =
            contained.iter().map(|(name, _)| name.to_string()).chain(running).collect();
        drop(known);
        if self.holders.as_ref() != Some(&holders) {
            self.images.release_others(&holders);
            self.holders = Some(holders);
        }
    }

    /// The tasks of this node that cannot tell when they are ready, and did not live long enough yet to
    /// count as running. Those that tell are waited for when they are started.
    fn unsettled(&self) -> Vec<Id> {
        let here = self.intent.tasks.values().filter(|task| task.node == self.name);
        let silent = here.filter(|task| {
            let image = self.intent.definition_of(task).map(|definition| &definition.image);
            image.is_some_and(|image| !matches!(image, Image::Whoami | Image::Echo))
        });
        let new = silent.filter(|task| {
            matches!(
                self.task_status(task).state,
                TaskState::Pending | TaskState::Preparing | TaskState::Starting
            )
        });
        new.map(|task| task.id.clone()).collect()
    }

    /// The intent with those tasks out of rotation that are absent, without the namespaces of others that
    /// are gone from here, how many those are (what was in them went with them), and who stands in.
    fn present(&self, absences: &Absences) -> (Cow<'_, Intent>, usize, BTreeSet<Id>) {
        let cluster = &self.intent.cluster.id;
        let gone = |held: &Attachment| {
            let name = SandboxName::of_attached(cluster, &held.namespace);
            held.node == self.name && netns::of(&name).is_err()
        };
        let count = self.intent.attachments.values().filter(|held| gone(held)).count();
        let is_plain = absences.is_empty() && self.stands.ever.is_empty() && self.ramped.is_empty();
        if count == 0 && is_plain {
            return (Cow::Borrowed(&self.intent), 0, BTreeSet::new());
        }
        let mut intent = self.intent.clone();
        let standing = intent.note_presence(absences, &self.stands);
        self.ramps.lay_over(&mut intent);
        intent.attachments.retain(|_, held| !gone(held));
        (Cow::Owned(intent), count, standing)
    }

    /// Forgets connections to tasks that are gone, now that nothing leads to these any more.
    fn forget_connections(&mut self) {
        if self.forgot.replace(self.revision) == Some(self.revision) {
            return;
        }
        for (network, nobodys) in self.former.lost(&self.intent) {
            for place in forgotten::places(&self.intent, &self.name, &network) {
                let which = |entry: &_| nobodys.has(&place, entry);
                match self.kernel.forget_connections(&place.sandbox, which) {
                    Ok(0) => {}
                    Ok(count) => say(format!(
                        "sandbox `{}`: {count} connections to tasks that are gone are forgotten",
                        place.sandbox
                    )),
                    Err(refusal) if refusal.errno == nix::errno::Errno::ENOENT => {}
                    Err(refusal) => say(format!(
                        "sandbox `{}`: connections to tasks that are gone are not forgotten: {refusal}",
                        place.sandbox
                    )),
                }
            }
        }
    }

    /// Forgets the namespaces of others that left, once nothing of ours is in them.
    fn forget_left(&mut self) {
        let left = |held: &Attachment| held.leaving && held.node == self.name;
        if self.unreadable.is_some() || !self.intent.attachments.values().any(left) {
            return;
        }
        let forgotten = records::load_intent(&self.store).and_then(|loaded| {
            let Some(loaded) = loaded else { return Ok(Edit::Overtaken) };
            let mut intent = loaded.intent.clone();
            // One that came back meanwhile is another by now.
            intent.attachments.retain(|key, held| {
                !(left(held) && self.intent.attachments.get(key) == Some(held))
            });
            intent.settle();
            records::commit_intent(&self.store, loaded.edited, Some(&loaded.intent), &intent)
        });
        match forgotten {
            Ok(Edit::Done(_)) => self.intent.forget_left(&self.name),
            // Whoever was quicker wakes this agent again.
            Ok(Edit::Overtaken) => {}
            Err(error) => eprintln!("cannot forget what left: {error}"),
        }
    }

    /// Makes the node what it shall be; a refusal was undone.
    fn carry_out(&mut self, desired: &Node, absences: &Absences) -> Option<Box<Refused>> {
        let mut observed = match self.observe(desired) {
            Ok(observed) => observed,
            Err(refusal) => {
                say(format!("cannot observe: {refusal}"));
                self.unreadable = Some(refusal.to_string());
                return None;
            }
        };
        self.unreadable = None;
        let desired = self.associations.makeable(&self.intent, &mut observed, desired);
        let plan = Plan::between(&observed, &desired);
        if let Err(error) = self.associations.note(&plan) {
            say(format!("cannot note which keys are used: {error}"));
            self.unreadable = Some(format!("cannot note which keys are used: {error}"));
            return None;
        }
        let is_done = |status: &NodeStatus| status.settled && status.revision == self.revision.0;
        let heals = self.reported.as_ref().is_some_and(is_done)
            && self.absent == *absences
            && std::mem::replace(&mut self.planned, self.ramped.clone()) == self.ramped;
        for op in plan.kernel_ops().filter(|_| heals) {
            say(format!("mending what somebody changed: {op}"));
        }
        match carry_out(&mut self.kernel, observed, &plan) {
            Ok(mut node) => {
                node.forget_keys();
                self.observed = Some(node);
                self.absent.clone_from(absences);
                None
            }
            Err(refused) => Some(refused),
        }
    }

    fn refused(&mut self, refused: &Refused) {
        let report = RefusalReport {
            number: refused.number,
            of: refused.of,
            op: refused.op.to_string(),
            sentence: refused.refusal.to_string(),
            undone: refused.undone,
            left: refused.left.iter().map(ToString::to_string).collect(),
            rehearsed: refused.rehearsed,
        };
        say(format!(
            "operation {} of {} was refused: {}",
            report.number, report.of, report.sentence
        ));
        say(format!("  {}", report.op));
        self.refusal = Some(report);
        self.observed = None;
        self.audit = Instant::now() + self.refusal_pause;
        self.refusal_pause = (self.refusal_pause * 2).min(AUDIT);
    }

    /// What the kernel holds: as remembered, or read anew; processes always as the keeper says.
    fn observe(&mut self, desired: &Node) -> Result<Node, crate::kernel::Refusal> {
        let mut node = match self.observed.take() {
            Some(node) => node,
            None => {
                for name in netns::remove_unbound(&owner_prefix(&self.intent.cluster.id))? {
                    eprintln!(
                        "removed the name {name}, which a killed run left without a namespace"
                    );
                }
                // Those of others that left still hold what is to be taken back.
                let cluster = &self.intent.cluster.id;
                let own = self.intent.attachments.values().filter(|held| held.node == self.name);
                let guests = own.map(|held| SandboxName::of_attached(cluster, &held.namespace));
                let wanted: BTreeSet<SandboxName> =
                    desired.sandboxes.keys().cloned().chain(guests).collect();
                let wanted = wanted.into_iter().collect();
                let scope = Scope::Cluster(self.intent.cluster.id.clone(), wanted);
                let mut node = self.kernel.observe(&scope)?;
                node.disown_others(&self.intent.cluster.id);
                node.share_with(desired);
                node
            }
        };
        self.stop_strays(&node);
        let known = self.known.lock();
        for (name, sandbox) in &mut node.sandboxes {
            let wanted = desired.sandboxes.get(name).and_then(|sandbox| sandbox.process.as_ref());
            let stands =
                |running: &&Running| !running.has_ended() || self.is_unnoted(running, wanted);
            let standing = known.get(name).filter(stands);
            sandbox.process = standing.map(|running| running.process.clone());
        }
        Ok(node)
    }

    /// Whether a process that is wanted ended and the agent has not heard of it: the watch knows before it
    /// tells. Until then it stands, or it would be started again without a pause and uncounted.
    fn is_unnoted(&self, running: &Running, wanted: Option<&Process>) -> bool {
        let is_wanted = wanted.is_some_and(|process| process.task == running.process.task);
        is_wanted && !self.is_noted(running)
    }

    /// Stops tasks that are in no sandbox any more: somebody deleted or replaced the namespace, and
    /// they live on in one that has no name.
    fn stop_strays(&mut self, node: &Node) {
        let strays: Vec<Running> = {
            let known = self.known.lock();
            let alive = known.values().filter(|r| !r.has_ended());
            let stray = |running: &&Running| {
                !node.sandboxes.contains_key(&running.sandbox) || !is_at_home(running)
            };
            alive.filter(stray).cloned().collect()
        };
        for running in &strays {
            say(format!(
                "stopping pid {}, whose sandbox `{}` is gone",
                running.pid, running.sandbox
            ));
        }
        let strays: Vec<_> = strays.iter().map(|r| (&r.sandbox, &r.process)).collect();
        if !strays.is_empty() {
            self.kernel.processes().stop(&strays);
        }
    }

    /// Takes out processes that shall rest a while after a misfortune.
    fn hold_back(&mut self, desired: &mut Node) {
        let (kept, gone): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.misfortunes).into_iter().partition(|(name, misfortune)| {
                let process = desired.sandboxes.get(name).and_then(|s| s.process.as_ref());
                process.is_some_and(|process| process.task == misfortune.task)
            });
        self.misfortunes = kept;
        let ended: Vec<SandboxName> = {
            let known = self.known.lock();
            let unwanted = known.iter().filter(|(name, running)| {
                let process = desired.sandboxes.get(*name).and_then(|s| s.process.as_ref());
                running.has_ended()
                    && process.is_none_or(|process| process.task != running.process.task)
            });
            unwanted.map(|(name, _)| name.clone()).chain(gone.into_keys()).collect()
        };
        self.forget(&ended);
        let now = Instant::now();
        let resting = self.misfortunes.iter().filter(|(_, m)| m.holds_back(now));
        let resting: Vec<SandboxName> = resting.map(|(name, _)| name.clone()).collect();
        let unprepared = self.unprepared(desired);
        for name in resting.into_iter().chain(self.ended_while_leaving()).chain(unprepared) {
            if let Some(sandbox) = desired.sandboxes.get_mut(&name) {
                sandbox.process = None;
            }
        }
    }

    /// Containers that do not run and whose image is not here.
    fn unprepared(&self, desired: &Node) -> Vec<SandboxName> {
        let known = self.known.lock();
        let runs = |name: &SandboxName| known.get(name).is_some_and(|held| !held.has_ended());
        let waits = |(name, sandbox): (&SandboxName, &Sandbox)| {
            let Program::Container(container) = &sandbox.process.as_ref()?.program else {
                return None;
            };
            let is_ready = self.images.ready(&container.image).is_some();
            (!is_ready && !runs(name)).then(|| name.clone())
        };
        desired.sandboxes.iter().filter_map(waits).collect()
    }

    /// Tasks that end while they leave are not started again.
    fn ended_while_leaving(&self) -> Vec<SandboxName> {
        let known = self.known.lock();
        let leaving = self.intent.leaving().map(|(task, _)| SandboxName::from(&task.name));
        let ended = |name: &SandboxName| known.get(name).is_none_or(Running::has_ended);
        leaving.filter(ended).collect()
    }

    /// Has the keeper forget tasks that do not run and are not wanted any more.
    fn forget(&mut self, gone: &[SandboxName]) {
        for name in gone {
            if let Err(refusal) = self.keeper.ask(&Request::Forget(name.clone()))
                && refusal.errno != nix::errno::Errno::EBUSY
            {
                say(format!("what is left of task {name} cannot be removed: {refusal}"));
            }
            let mut known = self.known.lock();
            if known.get(name).is_some_and(Running::has_ended) {
                known.remove(name);
            }
        }
    }

    fn note(&mut self, changed: &[Running]) {
        for running in changed {
            let State::Exited(exit) = &running.state else { continue };
            // One that was stopped on purpose is not known any more, or another by then.
            if self.known.lock().get(&running.sandbox).is_none_or(|held| held.pid != running.pid) {
                continue;
            }
            let lived = now().saturating_sub(running.started);
            let (mut state, mut error) = match exit {
                Exit::OutOfMemory => (TaskState::Failed, self.out_of_memory(running)),
                exit => Ended::told(exit),
            };
            let mut unhealthy = false;
            match self.endings.ended(&running.sandbox, running.pid) {
                Some(Cause::Unhealthy(why)) => {
                    (state, error) = (TaskState::Failed, format!("unhealthy: {why}"));
                    unhealthy = true;
                }
                // However it took it, that was asked for; and now it may go.
                Some(Cause::Leaving) => {
                    state = TaskState::Complete;
                    self.departures.hurry();
                }
                None => {}
            }
            let ended = Ended {
                pid: Some(running.pid),
                state,
                error,
                exit: Some(exit.clone()),
                unhealthy,
                lived: Duration::from_secs(lived),
                at: clock::millis(),
            };
            self.misfortune(&running.sandbox, ended);
        }
    }

    fn out_of_memory(&self, running: &Running) -> String {
        let limit = running.process.setup.limits.memory;
        let limit = limit.map_or_else(String::new, |limit| format!(": its limit is {limit}"));
        format!("OOM killed{limit}")
    }

    fn take_rejections(&mut self) {
        let taken = {
            let mut rejections = self.rejections.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *rejections)
        };
        for rejection in taken {
            let ended = Ended {
                pid: None,
                state: TaskState::Rejected,
                error: rejection.sentence,
                exit: None,
                unhealthy: false,
                lived: Duration::ZERO,
                at: clock::millis(),
            };
            self.misfortune(&rejection.sandbox, ended);
        }
    }

    fn misfortune(&mut self, name: &SandboxName, ended: Ended) {
        let Some(task) = self.intent.tasks.values().find(|t| SandboxName::from(&t.name) == *name)
        else {
            return;
        };
        let Some(service) = self.intent.services.get(&task.name.service) else { return };
        let before = self.misfortunes.get(name);
        let after = Misfortune::after(before, &task.id, &service.upkeep.restart, ended);
        if let Err(error) = after.write(&self.state.task(name)) {
            say(format!("the end of task {name} cannot be kept: {error}"));
        }
        self.misfortunes.insert(name.clone(), after);
    }

    /// Takes over what a former agent knew of tasks that ended, and takes note of those that ended
    /// after it.
    fn recall_misfortunes(&mut self) {
        let here = self.intent.tasks.values().filter(|task| task.node == self.name);
        let recalled = here.filter_map(|task| {
            let sandbox = SandboxName::from(&task.name);
            let held = Misfortune::read(&self.state.task(&sandbox))?;
            (held.task == task.id).then_some((sandbox, held))
        });
        self.misfortunes = recalled.collect();
        let known: Vec<Running> = self.known.lock().values().cloned().collect();
        let news: Vec<Running> =
            known.into_iter().filter(|running| !self.is_noted(running)).collect();
        self.note(&news);
    }

    /// Whether the end of this very process was taken note of.
    fn is_noted(&self, running: &Running) -> bool {
        self.misfortunes.get(&running.sandbox).is_some_and(|held| held.is_of(running.pid))
    }

    /// When the next turn is due though nothing happens.
    fn next_due(&self) -> Instant {
        let now = Instant::now();
        let retries = self.misfortunes.values().filter_map(Misfortune::retry);
        let retries = retries.filter(|retry| *retry > now).chain(self.endings.due());
        let settling = self.reported.iter().flat_map(|status| status.tasks.values());
        let settling = settling.filter(|task| task.state == TaskState::Starting);
        let settling = settling.map(|_| now + SETTLING);
        let again = (self.stale || self.unreported).then_some(now + AGAIN);
        let keys = self.associations.due(&self.intent, &self.name);
        // Its process came to be there while the plan was carried out.
        let is_behind = self.refusal.is_none() && self.observed.is_some();
        let behind = (is_behind && self.absent != self.absences()).then_some(now);
        let rises = self.ramps.due(&self.intent);
        let more = [self.images.due(), rises].into_iter().flatten();
        let due = retries.chain(settling).chain(again).chain(keys).chain(behind).chain(more);
        due.chain([self.audit]).min().unwrap_or(self.audit)
    }

    fn report(&mut self) {
        let tasks = self.intent.tasks.values().filter(|task| task.node == self.name);
        let tasks: BTreeMap<TaskName, TaskStatus> =
            tasks.map(|task| (task.name.clone(), self.task_status(task))).collect();
        let status = NodeStatus {
            revision: self.revision.0,
            settled: self.refusal.is_none()
                && self.observed.is_some()
                && !self.associations.is_lost(),
            refusal: self.refusal.clone(),
            unreadable: self.unreadable.clone(),
            tasks,
            idle_marks: self.idle_marks.clone(),
            awaited: self.absent.awaited.clone(),
            standing: self.stands.now.clone(),
            agent: std::process::id() as i32,
            since: self.since,
        };
        if self.reported.as_ref() == Some(&status) {
            return;
        }
        // With a lease the report is made anew.
        let Ok(lease) = self.lease.id() else { return };
        match records::save_status(&self.store, &self.name, lease, &status) {
            Ok(()) => {
                self.reported = Some(status);
                self.unreported = false;
            }
            Err(error) => {
                say(format!("cannot report: {error}"));
                self.unreported = true;
            }
        }
    }

    fn task_status(&self, task: &Task) -> TaskStatus {
        let (sandbox, id) = (SandboxName::from(&task.name), &task.id);
        let known = self.known.lock();
        let running = known.get(&sandbox).filter(|running| running.process.task == *id);
        let alive = running.filter(|running| !running.has_ended());
        let misfortune = self.misfortunes.get(&sandbox).filter(|m| m.task == *id);
        if alive.is_none()
            && misfortune.is_none()
            && let Some(status) = self.image_status(task)
        {
            return status;
        }
        let chart = alive.and_then(|running| self.rounds.chart(&sandbox, running.pid));
        let health = checked::check_of(&self.intent, task, &self.images).map(|_| HealthStatus {
            condition: chart.as_ref().map_or(Condition::Starting, |chart| chart.condition),
            since: chart.as_ref().map_or(0, |chart| chart.since),
            ended_it: misfortune.is_some_and(|m| m.unhealthy),
        });
        let condition = health.as_ref().map_or(Condition::Healthy, |health| health.condition);
        let state = match (alive, misfortune) {
            (Some(_), _) if !task.in_rotation() => TaskState::Draining,
            (Some(running), _) if is_settled(running) => match condition {
                Condition::Starting => TaskState::Starting,
                Condition::Healthy => TaskState::Running,
                Condition::Unhealthy => TaskState::Unhealthy,
            },
            (Some(_), _) => TaskState::Starting,
            // Its process is gone, and the rest of it goes.
            (None, Some(_)) if task.leaving.is_some() => TaskState::Draining,
            (None, Some(misfortune)) => misfortune.state,
            (None, None) => TaskState::Pending,
        };
        let complaint = chart.as_ref().filter(|chart| !chart.why.is_empty());
        let complaint = complaint.and_then(|chart| match state {
            TaskState::Unhealthy => Some(format!("unhealthy: {}", chart.why)),
            TaskState::Starting => Some(format!("not healthy yet: {}", chart.why)),
            _ => None,
        });
        TaskStatus {
            task: id.clone(),
            state,
            pid: alive.map(|running| running.pid),
            since: match (alive, misfortune) {
                _ if !task.in_rotation() => task.leaving.map_or(0, |leaving| leaving.since / 1000),
                (Some(running), _) => {
                    let since = health.as_ref().map_or(0, |health| health.since / 1000);
                    running.started.max(since)
                }
                (None, Some(misfortune)) => misfortune.since,
                (None, None) => self.since,
            },
            failures: misfortune.map_or(0, Misfortune::failures),
            error: complaint.or_else(|| misfortune.map(|m| m.error.clone())),
            connections: self.departures.connections(&task.name),
            exit: misfortune.and_then(|m| m.exit.clone()),
            over: alive.is_none() && misfortune.is_some_and(Misfortune::is_over),
            health,
        }
    }

    /// How a task is that has no process for want of its image; none when that is here.
    fn image_status(&self, task: &Task) -> Option<TaskStatus> {
        let Image::Oci(image) = &self.intent.definition_of(task)?.image else { return None };
        let (state, since, failures, error) = match self.images.standing(image) {
            Some(Standing::Ready(_)) => return None,
            Some(Standing::Failed { error, failures, since, .. }) => {
                (TaskState::Rejected, since, failures, Some(error))
            }
            Some(Standing::Coming { since }) => (TaskState::Preparing, since, 0, None),
            None => (TaskState::Preparing, self.since, 0, None),
        };
        let (task, pid, connections, exit) = (task.id.clone(), None, None, None);
        let (over, health) = (false, None);
        Some(TaskStatus {
            task,
            state,
            pid,
            since,
            failures,
            error,
            connections,
            exit,
            over,
            health,
        })
    }
}

/// What the nodes report; nothing when the store cannot say.
fn statuses(store: &Handle) -> BTreeMap<NodeName, NodeStatus> {
    match records::load_status(store) {
        Ok((_, statuses)) => statuses,
        Err(error) => {
            eprintln!("cannot load what the nodes report: {error}");
            BTreeMap::new()
        }
    }
}

/// The revision that every node has done.
fn done_everywhere(store: &Handle) -> Revision {
    done_by_all(&statuses(store))
}

fn done_by_all(statuses: &BTreeMap<NodeName, NodeStatus>) -> Revision {
    let done = |status: &NodeStatus| if status.settled { status.revision } else { 0 };
    Revision(statuses.values().map(done).min().unwrap_or_default())
}

/// Whether a process is in the namespace that has its sandbox's name; true when that cannot be said.
fn is_at_home(running: &Running) -> bool {
    let home = netns::open(running.sandbox.as_str()).and_then(netns::inode);
    let own = std::fs::File::open(format!("/proc/{}/ns/net", running.pid)).and_then(netns::inode);
    match (home, own) {
        (Ok(home), Ok(own)) => home == own,
        _ => true,
    }
}

/// Whether a process counts as running: it said so, or it has lived a moment.
fn is_settled(running: &Running) -> bool {
    match running.process.program.tells_readiness() {
        true => running.state == State::Ready,
        false => {
            running.state == State::Ready && age(running.pid).is_some_and(|age| age >= SETTLING)
        }
    }
}

/// How long a process has been there; none when that cannot be read.
fn age(pid: i32) -> Option<Duration> {
    let ticks = crate::keeper::record::start_time(pid)?;
    let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??;
    let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
    let uptime: f64 = uptime.split(' ').next()?.parse().ok()?;
    Duration::try_from_secs_f64(uptime - ticks as f64 / per_second as f64).ok()
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_asks_its_own_resolver_and_searches_as_the_machine_does() {
        let own = "nameserver 127.0.0.11\n";
        for (machine, rest) in [
            ("nameserver 10.0.0.1\n", "options ndots:0\n"),
            ("domain one\nsearch two  three\n", "search two three\noptions ndots:0\n"),
            ("search two\ndomain\tone", "search one\noptions ndots:0\n"),
            ("search\n#options rotate\n", "options ndots:0\n"),
            ("options timeout:1 ndots:5\noptions edns0", "options timeout:1 edns0 ndots:0\n"),
        ] {
            assert_eq!(resolv_conf_after(machine), format!("{own}{rest}"), "{machine}");
        }
    }
}
