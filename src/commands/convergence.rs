//! Waiting until what was asked for is so: every task of it runs, and observed equals desired in
//! every sandbox. What the kernel refused is put back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::interrupt;
use super::narration::tell;
use super::output::last_words;
use super::progress::{Progress, Shown};
use super::session::{Committed, Session};
use crate::agent::status::{NodeStatus, TaskState, TaskStatus};
use crate::failure::{Exit, Failure};
use crate::intent::pending::told;
use crate::intent::{
    Intent, Liveness, NodeName, NodeRecord, Pending, Service, ServiceName, Task, TaskName, Update,
    UpdateState,
};
use crate::killpoint;
use crate::orchestrate::health::Condition;
use crate::render::english::count;
use crate::render::table::printable;
use crate::store::records::{self, STATUS};
use crate::store::{Revision, Store};

/// A node that reports nothing for this long is not waited for.
const SILENCE: Duration = Duration::from_secs(30);
/// How often a wait looks up, for Ctrl-C.
const ATTENTION: Duration = Duration::from_millis(200);
/// A task that ended this often before it ran is not waited for.
const FAILURES: u32 = 3;
/// What the end of a way back says that was asked for.
const ROLLED_BACK: &str = "rollback completed";

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// What was asked for is so.
    Done,
    /// Ctrl-C: the work goes on without the command.
    LeftGoing,
}

/// The tasks that are waited for, with their ids.
struct Wanted {
    running: BTreeMap<TaskName, String>,
    /// Until they are gone, or called back.
    leaving: BTreeMap<TaskName, String>,
    /// They wait for a place, and what they wait for is not waited for.
    pending: BTreeMap<TaskName, Pending>,
    /// Those among them that are not made from what their service is now.
    old: BTreeSet<TaskName>,
    /// How far the updates are that were asked for.
    updates: Vec<(ServiceName, Update)>,
    /// What every node must have done.
    revision: Revision,
}

impl Wanted {
    fn is_updating(&self) -> bool {
        self.updates.iter().any(|(_, update)| update.state.is_going())
    }

    fn shown(&self) -> Shown {
        let placed = self.running.keys().chain(self.leaving.keys());
        let placed = placed.map(|name| (name.clone(), "waiting".to_owned()));
        let pending = self.pending.iter();
        let pending =
            pending.map(|(name, pending)| (name.clone(), format!("pending: {}", pending.reason)));
        Shown {
            tasks: placed.chain(pending).collect(),
            wanted: self.running.len(),
            replaces: self.is_updating(),
        }
    }
}

fn is_leaving(status: &TaskStatus) -> bool {
    status.state == TaskState::Draining
}

/// What is waited for.
pub struct Wait<'a> {
    pub session: &'a Session,
    pub store: &'a dyn Store,
    pub what: &'a str,
    pub quiet: bool,
    pub services: &'a [ServiceName],
}

impl Wait<'_> {
    /// Waits for a committed edit.
    ///
    /// # Errors
    /// When the kernel refused (the intent is put back), or a task does not start.
    pub fn until(&self, committed: &Committed) -> Result<Waited, Failure> {
        let waited = self.until_noted(committed)?;
        if waited == Waited::LeftGoing {
            self.tell_how_to_look();
        }
        Ok(waited)
    }

    /// The same for a caller that listens itself, and has something else to say when it is not
    /// waited for any longer.
    ///
    /// # Errors
    /// As [`Wait::until`].
    pub fn until_noted(&self, committed: &Committed) -> Result<Waited, Failure> {
        let wanted = self.wanted(&committed.after, committed);
        killpoint::pass(|| "before it is waited for".into());
        let mut progress = Progress::new(self.quiet, &wanted.shown());
        let result = self.follow(committed, wanted, &mut progress);
        progress.end();
        result
    }

    /// The tasks to wait for, but for those of dead nodes: nobody tells of them.
    fn wanted(&self, intent: &Intent, committed: &Committed) -> Wanted {
        let up = |node: &NodeRecord| node.liveness == Liveness::Up;
        let lives = |task: &&Task| intent.nodes.get(&task.node).is_some_and(up);
        let tasks = || self.services.iter().flat_map(|name| intent.tasks_of(name)).filter(lives);
        let is_old = |task: &&Task| {
            let service = intent.services.get(&task.name.service);
            service.is_some_and(|service| !service.is_current(task))
        };
        let by_name = |task: &Task| (task.name.clone(), task.id.clone());
        Wanted {
            running: tasks().filter(|task| task.in_rotation()).map(by_name).collect(),
            leaving: tasks().filter(|task| !task.in_rotation()).map(by_name).collect(),
            pending: pending(intent, self.services),
            old: tasks().filter(is_old).map(|task| task.name.clone()).collect(),
            updates: self.updates(intent, committed),
            revision: committed.revision,
        }
    }

    fn follow(
        &self,
        committed: &Committed,
        mut wanted: Wanted,
        progress: &mut Progress,
    ) -> Result<Waited, Failure> {
        let failed = |error: records::RecordError| self.session.failed(&error);
        let mut looked = Instant::now();
        let mut last_word = Instant::now();
        let mut watch = None;
        loop {
            let (revision, statuses) =
                records::load_status::<NodeStatus>(self.store).map_err(failed)?;
            if let Some(done) = self.judge(committed, &wanted, &statuses, progress)? {
                return done.map(|()| Waited::Done);
            }
            // A node may have died meanwhile, and its tasks go elsewhere.
            if looked.elapsed() > ATTENTION {
                if let Some(loaded) = records::load_intent(self.store).map_err(failed)? {
                    wanted = self.wanted(&loaded.intent, committed);
                    if !wanted.updates.is_empty() {
                        wanted.revision = loaded.edited;
                    }
                    progress.follow(&wanted.shown());
                }
                looked = Instant::now();
            }
            // A report stands as long as its agent keeps its lease.
            if !statuses.is_empty() {
                last_word = Instant::now();
            }
            if interrupt::was_pressed() {
                return Ok(Waited::LeftGoing);
            }
            if last_word.elapsed() > SILENCE {
                return Err(Failure::new(Exit::Bad, self.what, "the agent does not report")
                    .hint("see `swarmlb agent status`; what was asked for stays asked for"));
            }
            if watch.is_none() {
                watch = Some(self.store.watch(STATUS, revision).map_err(|e| failed(e.into()))?);
            }
            if let Some(following) = &mut watch {
                match following.next(ATTENTION) {
                    Ok(_) => {}
                    Err(_) => watch = None,
                }
            }
        }
    }

    /// The updates that a committed edit began, as they are by now; others are others' to wait for.
    fn updates(&self, intent: &Intent, committed: &Committed) -> Vec<(ServiceName, Update)> {
        let of = |intent: &Intent, name: &ServiceName| -> Option<Update> {
            intent.services.get(name)?.update.clone()
        };
        let began = |name: &&ServiceName| {
            let after = of(&committed.after, name);
            after.is_some() && after != of(&committed.before, name)
        };
        let names = self.services.iter().filter(began);
        names.filter_map(|name| Some((name.clone(), of(intent, name)?))).collect()
    }

    fn tell_how_to_look(&self) {
        let look = match self.services {
            [] => "swarmlb agent status".to_owned(),
            services => format!("swarmlb service ps {}", names(services)),
        };
        tell(&format!("Not waiting any longer: it goes on in the background. See `{look}`."));
    }

    /// Whether it is done, cannot be done, or must be waited for.
    fn judge(
        &self,
        committed: &Committed,
        wanted: &Wanted,
        statuses: &BTreeMap<NodeName, NodeStatus>,
        progress: &Progress,
    ) -> Result<Option<Result<(), Failure>>, Failure> {
        let there: Vec<&NodeStatus> =
            statuses.values().filter(|status| status.revision >= wanted.revision.0).collect();
        if let Some(report) = there.iter().find_map(|status| status.refusal.as_ref()) {
            killpoint::pass(|| "before a refused edit is taken back".into());
            let put_back = self.put_back(committed)?;
            return Ok(Some(Err(Failure::refused(self.what, report, put_back))));
        }
        if let Some(sentence) = there.iter().find_map(|status| status.unreadable.as_ref()) {
            let problem = format!("the kernel cannot be read: {sentence}");
            let failure = Failure::new(Exit::Cannot, self.what, problem)
                .hint("see `swarmlb system info` for what is missing");
            return Ok(Some(Err(match self.put_back(committed)? {
                true => failure,
                false => failure.fact("left:", "the intent, for others changed it meanwhile"),
            })));
        }
        if let Some(failure) = self.stopped(wanted) {
            return Ok(Some(Err(failure)));
        }
        let updating = wanted.is_updating();
        let status_of = |name: &TaskName| there.iter().find_map(|status| status.tasks.get(name));
        let (mut running, mut new) = (0, 0);
        for (name, id) in &wanted.running {
            let status = status_of(name).filter(|status| status.task == *id);
            let known = statuses.values().find_map(|status| status.tasks.get(name));
            progress.tell(name, known.filter(|status| status.task == *id));
            match status.map(|status| (status.state, status.over)) {
                Some((TaskState::Running, _) | (TaskState::Complete, true)) => {
                    running += 1;
                    new += usize::from(!wanted.old.contains(name));
                }
                // What becomes of those is the update's to say.
                Some(_) if updating => {}
                Some(_) => {
                    if let Some(failure) = self.hopeless(name, status) {
                        return Ok(Some(Err(failure)));
                    }
                }
                None => {}
            }
        }
        progress.total(new);
        let mut leaving = 0;
        for (name, id) in &wanted.leaving {
            let known = statuses.values().find_map(|status| status.tasks.get(name));
            let there = known.filter(|status| status.task == *id && is_leaving(status));
            progress.tell(name, there);
            leaving += usize::from(there.is_some());
        }
        let settled = !statuses.is_empty()
            && there.len() == statuses.len()
            && there.iter().all(|status| status.settled);
        // A node that has not heard yet that a task runs sends nobody there.
        let awaits = |id: &String| there.iter().any(|status| status.awaited.contains(id));
        let met = running == wanted.running.len() && !wanted.running.values().any(awaits);
        let done = settled && met && leaving == 0 && !updating;
        Ok(done.then(|| match wanted.pending.is_empty() {
            true => Ok(()),
            false => Err(self.unplaced(wanted)),
        }))
    }

    /// What an update came to that is not what was asked for.
    fn stopped(&self, wanted: &Wanted) -> Option<Failure> {
        let stopped = |update: &Update| match update.state {
            UpdateState::Paused | UpdateState::RollbackPaused => true,
            UpdateState::RollbackCompleted => update.message != ROLLED_BACK,
            _ => false,
        };
        let (name, update) = wanted.updates.iter().find(|(_, update)| stopped(update))?;
        let hint = match update.state {
            UpdateState::RollbackCompleted => {
                format!("it is what it was before: see `swarmlb service ps {name}`")
            }
            _ => format!(
                "mend it with another `swarmlb service update {name}`, which goes on, or \
                 `swarmlb service rollback {name}`"
            ),
        };
        Some(Failure::new(Exit::Bad, self.what, &update.message).hint(hint))
    }

    /// All that could be placed runs; the rest waits for what may never come.
    fn unplaced(&self, wanted: &Wanted) -> Failure {
        let all = wanted.running.len() + wanted.pending.len();
        let what = self.what.replacen("create", "bring up", 1);
        let waiting = wanted.pending.len();
        let problem = format!(
            "{waiting} of {} {}",
            count(all, "task"),
            match waiting {
                1 => "waits for a place",
                _ => "wait for a place",
            }
        );
        let reasons = told(wanted.pending.values());
        let failure = Failure::new(Exit::Bad, what, problem);
        let failure = reasons.into_iter().fold(failure, |failure, (slots, reason)| {
            failure.fact(&format!("{}:", count(slots, "task")), reason)
        });
        let names = names(self.services);
        failure.hint(format!(
            "each is started as soon as there is a place for it: see `swarmlb service ps {names}`; take it \
             back with `swarmlb service scale` or `rm`"
        ))
    }

    fn hopeless(&self, name: &TaskName, status: Option<&TaskStatus>) -> Option<Failure> {
        let status = status?;
        let rejected = status.state == TaskState::Rejected;
        let unhealthy = status
            .health
            .as_ref()
            .is_some_and(|health| health.ended_it || health.condition == Condition::Unhealthy);
        if !rejected && !unhealthy && !status.over && status.failures < FAILURES {
            return None;
        }
        let error = status.error.clone().unwrap_or_default();
        let problem = if rejected {
            format!("task {name} cannot be started: {error}")
        } else if unhealthy {
            format!("task {name} is not healthy: {}", error.trim_start_matches("unhealthy: "))
        } else {
            format!("task {name} does not stay up: {error}")
        };
        let follows = match status.over {
            true => "its restart policy lets it be",
            false => "it is tried again and again",
        };
        let hint = format!(
            "{follows}: see `swarmlb service ps {0}`; take it back with `swarmlb service rm {0}`",
            name.service
        );
        let what = self.what.replacen("create", "bring up", 1);
        let failure = Failure::new(Exit::Bad, what, problem).hint(hint);
        // One that was not started has said nothing.
        let words = self.last_words(name).filter(|_| !rejected);
        Some(match words {
            Some(words) => failure.fact("it said:", words),
            None => failure,
        })
    }

    /// The last line that a task of this node wrote.
    fn last_words(&self, name: &TaskName) -> Option<String> {
        last_words(&self.session.state.task(&name.into())).map(|line| printable(&line))
    }

    /// Takes the edit back, unless others changed the same things meanwhile.
    fn put_back(&self, committed: &Committed) -> Result<bool, Failure> {
        let failed = |error: records::RecordError| self.session.failed(&error);
        let undone = records::take_back(self.store, &committed.before, &committed.after);
        let Some(revision) = undone.map_err(failed)? else { return Ok(false) };
        self.wait_for_revision(revision);
        Ok(true)
    }

    /// Gives the agents time to take note that the intent was put back.
    fn wait_for_revision(&self, revision: Revision) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            match records::load_status::<NodeStatus>(self.store) {
                Ok((_, statuses)) if statuses.values().all(|s| s.revision >= revision.0) => return,
                Ok(_) => std::thread::sleep(Duration::from_millis(5)),
                Err(_) => return,
            }
        }
    }
}

/// The slots of services that wait for a place.
pub fn pending(intent: &Intent, services: &[ServiceName]) -> BTreeMap<TaskName, Pending> {
    let services = services.iter().filter_map(|name| intent.services.get(name));
    let of = |service: &Service| {
        let name = service.name.clone();
        let pending = service.pending.clone().into_iter();
        pending.map(move |(slot, pending)| (TaskName { service: name.clone(), slot }, pending))
    };
    services.flat_map(of).collect()
}

fn names(services: &[ServiceName]) -> String {
    services.iter().map(ServiceName::as_str).collect::<Vec<_>>().join(" ")
}
