//! A command's way to the cluster: the store for what was asked, the kernel for what is.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use super::narration::Narration;
use super::store;
use crate::agent::associations::private_key;
use crate::agent::status::NodeStatus;
use crate::agent::{can_encrypt, has_ipvs, way_out};
use crate::api::Membership;
use crate::cli::Global;
use crate::failure::{Exit, Failure};
use crate::intent::{ClusterId, Intent, IntentError, Machine, NodeName, NodeRecord, TaskName};
use crate::keeper::client::Client as Keeper;
use crate::keeper::daemon;
use crate::kernel::linux::{Linux, NoProcesses};
use crate::kernel::rehearsal::Rehearsal;
use crate::kernel::{Kernel, Scope, egress};
use crate::killpoint;
use crate::lower::key::Keyring;
use crate::lower::lower;
use crate::node::{Node, SandboxName};
use crate::orchestrate::updating::{Memory, Word};
use crate::plan::Plan;
use crate::plan::runbook::show_key;
use crate::render::english::count;
use crate::state_dir::StateDir;
use crate::store::records::{self, Edit, Loaded, RecordError};
use crate::store::{Handle, Location, Revision, Store, StoreError};
use crate::trace::vip::Traffic;

/// How long the first agent may take to make its node known.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the store of another node may be out of reach: longer than its keeper takes to be started
/// again, and not so long that one would wonder.
const REACH: Duration = Duration::from_secs(4);
/// How long the store may be away before it is looked whether its keeper lives.
const LOOK: Duration = Duration::from_millis(500);
/// How often an edit that others overtook is tried again.
const ATTEMPTS: usize = 1000;

/// How long an etcd may take to answer for the first time.
const ANSWER: Duration = Duration::from_secs(3);

/// What a command works on.
pub struct Session {
    pub state: StateDir,
    pub node: NodeName,
    pub location: Location,
    narration: Narration,
    arguments: Vec<String>,
    /// What it is about to do, for errors.
    what: String,
    recorded_intent: Option<Intent>,
    recorded_node: Option<Node>,
    /// This node's private key, where keys are to be shown.
    keyring: Option<Keyring>,
}

/// An edit that was committed.
pub struct Committed {
    pub revision: Revision,
    pub before: Intent,
    pub after: Intent,
}

impl Session {
    /// # Errors
    /// When the options name what cannot be.
    pub fn new(global: &Global, what: impl Into<String>) -> Result<Self, Failure> {
        let what = what.into();
        let state = StateDir::new(&global.state_dir).map_err(|error| {
            let what = format!("use state directory {}", global.state_dir.display());
            Failure::new(Exit::Usage, what, error)
        })?;
        let node = node_name(global, &state)?;
        let location = store::choose(&global.store, &state)?;
        let mut arguments = vec!["--state-dir".to_owned(), state.root().display().to_string()];
        arguments.extend(["--node".to_owned(), node.to_string()]);
        arguments.extend(location.arguments());
        let recorded_intent = global.intent.as_deref().map(read_json).transpose()?;
        let recorded_node = global.kernel.as_deref().map(read_json).transpose()?;
        let narration = Narration::of(global.verbose);
        narration.step(|| format!("node {node}, state in {}", state.root().display()));
        for setting in global.typed.settings.iter().filter(|setting| setting.source != "default") {
            let value = setting.value.as_deref().unwrap_or_default();
            narration.step(|| format!("{} is {value}: {}", setting.name, setting.source));
        }
        let keyring = match global.show_keys {
            false => None,
            true => {
                private_key(&state.private_key()).map_err(|error| Failure::state(&state, &error))?
            }
        };
        Ok(Self {
            state,
            node,
            location,
            narration,
            arguments,
            what,
            recorded_intent,
            recorded_node,
            keyring,
        })
    }

    /// What `--verbose` asked to be told.
    pub fn narration(&self) -> Narration {
        self.narration
    }

    pub fn arguments(&self) -> &[String] {
        &self.arguments
    }

    /// The store, with keeper and agent running.
    ///
    /// # Errors
    /// Without root, or when they do not start.
    pub fn store(&self) -> Result<Handle, Failure> {
        must_be_root(&self.what)?;
        self.state.create().map_err(|error| Failure::state(&self.state, &error))?;
        // Before anything is started that could not work without it.
        let elsewhere = match self.location.is_embedded() {
            true => None,
            false => Some(self.elsewhere()?),
        };
        store::remember(&self.location, &self.state)
            .map_err(|error| Failure::state(&self.state, &error))?;
        let patience = if self.first().is_some() { REACH } else { PATIENCE };
        let deadline = Instant::now() + patience;
        loop {
            let started = daemon::ensure(&self.state, &self.arguments, &self.location)
                .map_err(|error| Failure::keeper(self.what.as_str(), &self.state, &error))?;
            self.narration.step(|| match started {
                true => "started the keeper, which runs what else there is".into(),
                false => "the keeper runs already".into(),
            });
            killpoint::pass(|| "the keeper answers".into());
            if let Some(store) = elsewhere {
                return Ok(store);
            }
            match store::connect(&self.location, &self.state, LOOK) {
                // Its keeper may have been killed just now, and whoever would start another with it.
                Err(StoreError::Unreachable { .. }) if Instant::now() < deadline => {}
                other => return other.map_err(|error| self.failed(&error.into())),
            }
        }
    }

    /// Where the store is, when that is on another node.
    fn first(&self) -> Option<SocketAddrV4> {
        let membership = Membership::load(&self.state.membership()).ok().flatten();
        membership.and_then(|membership| membership.first)
    }

    /// What the store did not do.
    pub fn failed(&self, error: &RecordError) -> Failure {
        let is_away = matches!(error, RecordError::Store(StoreError::Unreachable { .. }));
        match self.first().filter(|_| is_away && self.location.is_embedded()) {
            Some(first) => Failure::cut_off(self.what.as_str(), &self.node, first),
            None => Failure::record(self.what.as_str(), error),
        }
    }

    /// A store that is no process of this node's.
    fn elsewhere(&self) -> Result<Handle, Failure> {
        let begun = Instant::now();
        let store = store::connect(&self.location, &self.state, ANSWER)
            .map_err(|error| self.failed(&error.into()))?;
        self.narration.step(|| {
            let milliseconds = begun.elapsed().as_millis();
            format!("{} answered after {milliseconds} ms", self.location.address())
        });
        Ok(store)
    }

    /// Whether anything was ever made in this state directory.
    pub fn is_fresh(&self) -> bool {
        let first = match self.location {
            Location::Embedded => self.state.database(),
            Location::Etcd(_) => self.state.node_name(),
        };
        // What may not be looked at is not fresh: it is root's.
        matches!(first.try_exists(), Ok(false))
            && matches!(self.state.membership().try_exists(), Ok(false))
    }

    /// What was asked for. Where nothing ever was, nothing is started to say so.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub fn intent(&self) -> Result<Intent, Failure> {
        if let Some(intent) = &self.recorded_intent {
            return Ok(intent.clone());
        }
        if self.is_fresh() {
            return self.intent_of_others();
        }
        Ok(self.loaded(&self.store()?)?.intent)
    }

    /// What was asked for without this node, which is in no cluster yet.
    fn intent_of_others(&self) -> Result<Intent, Failure> {
        if self.location.is_embedded() {
            return Ok(self.first_intent());
        }
        let loaded =
            records::load_intent(&self.elsewhere()?).map_err(|error| self.failed(&error))?;
        Ok(loaded.map_or_else(|| self.first_intent(), |loaded| loaded.intent))
    }

    fn first_intent(&self) -> Intent {
        let mut intent = Intent::new(ClusterId("new".into()));
        let record = NodeRecord::new(self.node.clone(), has_ipvs());
        intent.nodes.insert(self.node.clone(), record);
        // Without root nothing is found out, and nothing would be made either.
        if nix::unistd::geteuid().is_root() && !self.is_recorded() {
            intent.settle_egress(&self.node, way_out().as_ref().map_err(Clone::clone));
            intent.note_esp(&self.node, can_encrypt());
        }
        intent
    }

    /// What was asked for, by a store that is connected already.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub fn loaded_intent(&self, store: &dyn Store) -> Result<Intent, Failure> {
        self.loaded(store).map(|loaded| loaded.intent)
    }

    /// Waits until this node is part of the cluster, then loads.
    fn loaded(&self, store: &dyn Store) -> Result<Loaded, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let loaded = records::load_intent(store).map_err(|error| self.failed(&error))?;
            match loaded {
                Some(loaded) if loaded.intent.nodes.contains_key(&self.node) => return Ok(loaded),
                _ if Instant::now() > deadline => {
                    return Err(Failure::new(
                        Exit::Cannot,
                        self.what.as_str(),
                        format!("the agent of node `{}` does not come up", self.node),
                    )
                    .hint(format!("see {}", self.state.log("agent").display())));
                }
                _ => std::thread::sleep(Duration::from_millis(3)),
            }
        }
    }

    /// Edits the intent and commits it; when somebody else was quicker, edits theirs.
    ///
    /// # Errors
    /// What the edit refused, or when the store cannot be reached.
    pub fn edit<T>(
        &self,
        store: &dyn Store,
        mut edit: impl FnMut(&mut Intent) -> Result<T, IntentError>,
    ) -> Result<Committed, Failure> {
        for _ in 0..ATTEMPTS {
            let loaded = self.loaded(store)?;
            let mut after = loaded.intent.clone();
            edit(&mut after).map_err(|error| Failure::intent(self.what.as_str(), &error))?;
            let before = loaded.intent;
            match records::commit_intent(store, loaded.edited, Some(&before), &after) {
                Ok(Edit::Done(revision)) => {
                    self.narrate(revision, &before, &after);
                    return Ok(Committed { revision, before, after });
                }
                Ok(Edit::Overtaken) => {}
                Err(error) => return Err(self.failed(&error)),
            }
        }
        Err(Failure::new(Exit::Cannot, self.what.as_str(), "others change the intent all the time"))
    }

    /// Tells what was asked for, and what that means on this node.
    fn narrate(&self, revision: Revision, before: &Intent, after: &Intent) {
        if self.narration == Narration::Silent {
            return;
        }
        let plan = Plan::between(&lower(before, &self.node), &lower(after, &self.node));
        self.narration.step(|| {
            let operations = count(plan.kernel_ops().count(), "operation");
            format!("revision {} is asked for: {operations} on node {}", revision.0, self.node)
        });
        for op in plan.kernel_ops() {
            self.narration.operation(|| op.to_string());
        }
    }

    /// What an edit would change on this node, as commands; nothing is changed or allocated.
    ///
    /// # Errors
    /// What the edit refused.
    pub fn dry_run<T>(
        &self,
        edit: impl FnOnce(&mut Intent) -> Result<T, IntentError>,
    ) -> Result<super::Report, Failure> {
        let before = self.intent()?;
        let mut after = before.clone();
        edit(&mut after).map_err(|error| Failure::intent(self.what.as_str(), &error))?;
        let observed = match &self.recorded_node {
            Some(node) => node.clone(),
            None => self.desired(&before),
        };
        let mut text = format!("# on node {}\n", self.node);
        for service in after.services.values() {
            for (slot, pending) in &service.pending {
                if before
                    .services
                    .get(&service.name)
                    .is_some_and(|b| b.pending.get(slot) == Some(pending))
                {
                    continue;
                }
                text.push_str(&format!(
                    "# {}.{slot} waits for a place: {}\n",
                    service.name, pending.reason
                ));
            }
        }
        let mut held = observed;
        let mut is_idle = true;
        for (condition, intent) in stages(after) {
            let plan = Plan::between(&held, &self.desired(&intent));
            held = self.rehearse(held, &plan)?;
            text.extend(condition.map(|condition| format!("# {condition}\n")));
            text.extend(plan.kernel_ops().map(|op| format!("{}\n", show_key(op))));
            is_idle &= plan.kernel_ops().next().is_none();
        }
        if is_idle {
            text.push_str("# nothing to do\n");
        }
        Ok(super::Report::good(text))
    }

    /// What this node shall hold: with its keys, where these are asked for.
    fn desired(&self, intent: &Intent) -> Node {
        let mut desired = lower(intent, &self.node);
        if let Some(keyring) = &self.keyring {
            keyring.complete(intent, &self.node, &mut desired);
        }
        desired
    }

    /// What this node shall hold, with its keys.
    ///
    /// # Errors
    /// When its private key cannot be read.
    pub fn desired_with_keys(&self, intent: &Intent) -> Result<Node, Failure> {
        let mut desired = lower(intent, &self.node);
        let key = private_key(&self.state.private_key());
        if let Some(keyring) = key.map_err(|error| Failure::state(&self.state, &error))? {
            keyring.complete(intent, &self.node, &mut desired);
        }
        Ok(desired)
    }

    fn rehearse(&self, held: Node, plan: &Plan) -> Result<Node, Failure> {
        let mut rehearsal = Rehearsal::new(held);
        for (op, outcome) in plan.ops.iter().zip(rehearsal.apply(&plan.ops)) {
            if let Err(refusal) = outcome {
                return Err(Failure::new(Exit::Undone, self.what.as_str(), refusal)
                    .fact("refused:", op.to_string()));
            }
        }
        Ok(rehearsal.into_node())
    }

    /// What the nodes report.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub fn statuses(&self) -> Result<BTreeMap<NodeName, NodeStatus>, Failure> {
        if self.recorded_intent.is_some() || self.is_fresh() && self.location.is_embedded() {
            return Ok(BTreeMap::new());
        }
        let store = match self.is_fresh() {
            true => self.elsewhere()?,
            false => self.store()?,
        };
        if !self.is_fresh() {
            self.loaded(&store)?;
        }
        records::load_status(&store)
            .map(|(_, statuses)| statuses)
            .map_err(|error| self.failed(&error))
    }

    /// What was asked for, and what the nodes report, by one connection.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub fn intent_and_statuses(&self) -> Result<(Intent, BTreeMap<NodeName, NodeStatus>), Failure> {
        if self.recorded_intent.is_some() || self.is_fresh() {
            return Ok((self.intent()?, self.statuses()?));
        }
        let store = self.store()?;
        let intent = self.loaded_intent(&store)?;
        let reported = records::load_status(&store).map_err(|error| self.failed(&error))?;
        Ok((intent, reported.1))
    }

    /// The node whose agent decides for all.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub fn leader(&self) -> Result<Option<NodeName>, Failure> {
        if self.recorded_intent.is_some() || self.is_fresh() {
            return Ok(None);
        }
        records::load_reports(&self.store()?)
            .map(|reports| reports.leadership.map(|leadership| leadership.node))
            .map_err(|error| self.failed(&error))
    }

    /// What this machine holds, with the processes that the keeper knows.
    ///
    /// # Errors
    /// When the kernel cannot be read.
    pub fn observe(&self, scope: &Scope) -> Result<Node, Failure> {
        self.observe_counted(scope).map(|(node, _)| node)
    }

    /// The same, and what was counted there. A recorded node counts nothing.
    ///
    /// # Errors
    /// When the kernel cannot be read.
    pub fn observe_counted(&self, scope: &Scope) -> Result<(Node, Traffic), Failure> {
        let failed = |refusal| Failure::kernel(self.what.as_str(), &refusal);
        if let Some(node) = &self.recorded_node {
            let node = Rehearsal::new(node.clone()).observe(scope).map_err(failed)?;
            return Ok((node, Traffic::new()));
        }
        must_be_root(&self.what)?;
        let begun = Instant::now();
        let (mut node, traffic) = Linux::new(NoProcesses).observe_counted(scope).map_err(failed)?;
        self.narration.step(|| {
            let milliseconds = begun.elapsed().as_millis();
            format!("read {} in {milliseconds} ms", count(node.sandboxes.len(), "sandbox"))
        });
        for (name, process) in self.processes() {
            if let Some(sandbox) = node.sandboxes.get_mut(&name) {
                sandbox.process = Some(process);
            }
        }
        Ok((node, traffic))
    }

    /// The ranges that this machine has routes to; a recorded one has none.
    ///
    /// # Errors
    /// Without root, or when the kernel cannot be asked.
    pub fn machine(&self) -> Result<Machine, Failure> {
        if self.is_recorded() {
            return Ok(Machine::default());
        }
        must_be_root(&self.what)?;
        egress::routes()
            .map(|routes| Machine { routes })
            .map_err(|refusal| Failure::kernel(self.what.as_str(), &refusal))
    }

    /// Whether the kernel is a recorded one.
    pub fn is_recorded(&self) -> bool {
        self.recorded_node.is_some()
    }

    /// Whether the intent is a recorded one.
    pub fn is_told_an_intent(&self) -> bool {
        self.recorded_intent.is_some()
    }

    /// What the keeper runs, by sandbox; nothing where there is no keeper.
    pub fn processes(&self) -> BTreeMap<SandboxName, crate::node::Process> {
        let listed = Keeper::connect(&self.state.keeper_socket())
            .map_err(crate::kernel::Refusal::from)
            .and_then(|keeper| keeper.list());
        let alive = |running: &crate::keeper::protocol::Running| !running.has_ended();
        let running = listed.unwrap_or_default().into_iter().filter(alive);
        running.map(|running| (running.sandbox, running.process)).collect()
    }
}

/// An intent, and what becomes of it by itself: updates go on, task by task, as long as nothing fails; what
/// leaves goes, and then the marks that it had.
fn stages(intent: Intent) -> Vec<(Option<String>, Intent)> {
    let mut stages = vec![(None, intent)];
    let mut memory = Memory::default();
    for number in 1..=MOST_STAGES {
        let Some((_, last)) = stages.last() else { break };
        let Some((condition, next)) = updated(last, &mut memory, LONG * number) else { break };
        stages.push((Some(condition), next));
    }
    if let Some((condition, last)) = stages.pop() {
        let mut rest = departures(last);
        if let Some(first) = rest.first_mut() {
            first.0 = condition;
        }
        stages.extend(rest);
    }
    stages
}

/// More than the tasks of one service, each of which is two stages.
const MOST_STAGES: u32 = 4000;
/// Nothing that an update waits for takes longer.
const LONG: Duration = Duration::from_secs(1_000_000_000);

/// What becomes of an intent by the next step of its updates, and when; none when they are over.
fn updated(intent: &Intent, memory: &mut Memory, now: Duration) -> Option<(String, Intent)> {
    let names: Vec<_> = intent.services.values().filter(|service| service.is_updating()).collect();
    let name = names.first()?.name.clone();
    let leaving: Vec<_> =
        intent.leaving().map(|(task, _)| (task.name.clone(), task.id.clone())).collect();
    let mut next = intent.clone();
    if next.finish_leaving(&leaving) {
        return Some((departed(&leaving), next));
    }
    let up = next.tasks.values().map(|task| task.id.clone()).collect();
    let word = Word { up, ..Word::default() };
    memory.look(&next, &name, &word, now);
    let look = memory.look(&next, &name, &word, now + LONG / 2);
    next.advance_update(&name, &look.step, 0);
    let told =
        |tasks: &[TaskName]| tasks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let is_over = look.step.replace.is_empty() && look.step.retire.is_empty();
    let condition = match look.step.retire.is_empty() {
        true => format!("when it is the turn of {}:", told(&look.step.replace)),
        false => format!("once every node sends to whoever follows {}:", told(&look.step.retire)),
    };
    (!is_over && next.tasks != intent.tasks).then_some((condition, next))
}

fn departed(leaving: &[(TaskName, String)]) -> String {
    let names: Vec<String> = leaving.iter().map(|(name, _)| name.to_string()).collect();
    format!("once nobody is connected to {}, or at the drain timeout:", names.join(", "))
}

/// An intent, what it is when all that leaves is gone, and what it is when old marks are too.
fn departures(intent: Intent) -> Vec<(Option<String>, Intent)> {
    let leaving: Vec<_> =
        intent.leaving().map(|(task, _)| (task.name.clone(), task.id.clone())).collect();
    let mut left = intent.clone();
    let tasks_leave = left.finish_leaving(&leaving);
    let marks = left.retired_marks();
    let mut forgotten = left.clone();
    let marks_go = forgotten.forget_retired(&marks);
    let marks: Vec<String> = marks.iter().map(ToString::to_string).collect();
    let mut stages = vec![(None, intent)];
    if tasks_leave {
        stages.push((Some(departed(&leaving)), left));
    }
    if marks_go {
        let condition = format!("once no connection holds mark {}:", marks.join(", "));
        stages.push((Some(condition), forgotten));
    }
    stages
}

/// # Errors
/// When the effective user is not root.
pub fn must_be_root(what: &str) -> Result<(), Failure> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    Err(Failure::new(Exit::Cannot, what, "this needs root")
        .hint("network namespaces and IPVS need CAP_SYS_ADMIN and CAP_NET_ADMIN: use `sudo`"))
}

pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    let what = format!("read {}", path.display());
    let text = std::fs::read(path).map_err(|error| Failure::io(what.as_str(), &error))?;
    serde_json::from_slice(&text).map_err(|error| Failure::new(Exit::Usage, what, error))
}

/// As the node was named at its first start, as it is named now, or as the machine is called.
fn node_name(global: &Global, state: &StateDir) -> Result<NodeName, Failure> {
    let held = std::fs::read_to_string(state.node_name()).ok();
    let held: Option<NodeName> = held.and_then(|name| name.trim().parse().ok());
    match (&global.node, held) {
        (Some(asked), Some(held)) if *asked != held => Err(Failure::new(
            Exit::Usage,
            format!("be node `{asked}`"),
            format!("the node of {} is `{held}`", state.root().display()),
        )
        .hint("leave out `--node`, or give another `--state-dir`")),
        (Some(name), _) => Ok(name.clone()),
        (None, Some(name)) => Ok(name),
        (None, None) => {
            let host = nix::unistd::gethostname().unwrap_or_default();
            let host = host.to_string_lossy().into_owned();
            host.parse().map_err(|error| {
                Failure::new(Exit::Usage, "name this node after its host", error)
                    .hint("give it a name with `--node`")
            })
        }
    }
}
