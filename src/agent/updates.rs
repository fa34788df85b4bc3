//! Updates, as the leader sees to them: what the nodes report becomes the word that the next step is
//! decided by, and the step an edit.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::status::{NodeStatus, TaskState, TaskStatus};
use crate::clock;
use crate::intent::{Id, Intent, NodeName, ServiceName, Task};
use crate::orchestrate::updating::{Memory, Word};
use crate::store::Revision;
use crate::store::records::Loaded;

/// What the leader remembers of updates.
pub struct Updates {
    memory: Memory,
    begun: Instant,
    /// The revision at which each new task was first seen: what a node must have done to know it.
    seen: BTreeMap<Id, Revision>,
}

/// What becomes of the intent, and when to look again.
pub struct Advanced {
    pub intent: Intent,
    pub due: Option<Duration>,
}

impl Updates {
    pub fn new() -> Self {
        Self { memory: Memory::default(), begun: Instant::now(), seen: BTreeMap::new() }
    }

    /// Takes each update that is going one step further.
    pub fn advance(
        &mut self,
        loaded: &Loaded,
        statuses: &BTreeMap<NodeName, NodeStatus>,
    ) -> Advanced {
        let mut intent = loaded.intent.clone();
        self.memory.retain(&intent);
        let names: Vec<ServiceName> = updating(&intent).cloned().collect();
        let now = self.begun.elapsed();
        let word = self.word(&intent, &names, statuses, loaded.edited);
        let mut due: Option<Duration> = None;
        for name in &names {
            let look = self.memory.look(&intent, name, &word, now);
            if !look.step.is_empty() {
                intent.advance_update(name, &look.step, clock::millis());
            }
            due = due.into_iter().chain(look.due).min();
        }
        Advanced { intent, due: due.map(|due| due.saturating_sub(now)) }
    }

    /// What the nodes say of the tasks of services.
    fn word(
        &mut self,
        intent: &Intent,
        names: &[ServiceName],
        statuses: &BTreeMap<NodeName, NodeStatus>,
        edited: Revision,
    ) -> Word {
        let tasks: Vec<&Task> = names.iter().flat_map(|name| intent.tasks_of(name)).collect();
        self.seen.retain(|id, _| tasks.iter().any(|task| task.id == *id));
        let mut word = Word::default();
        for task in tasks {
            let known = *self.seen.entry(task.id.clone()).or_insert(edited);
            let Some(status) = status(statuses, task) else { continue };
            if let Some(how) = failure(status) {
                word.failed.insert(task.id.clone(), how);
            }
            let sends = |status: &NodeStatus| {
                let knows = status.settled && status.revision >= known.0;
                knows && !status.awaited.contains(&task.id)
            };
            if status.state == TaskState::Running && statuses.values().all(sends) {
                word.up.insert(task.id.clone());
            }
        }
        word
    }
}

/// The services that are being updated.
pub fn updating(intent: &Intent) -> impl Iterator<Item = &ServiceName> {
    intent.services.values().filter(|service| service.is_updating()).map(|service| &service.name)
}

fn status<'a>(statuses: &'a BTreeMap<NodeName, NodeStatus>, task: &Task) -> Option<&'a TaskStatus> {
    let status = statuses.get(&task.node)?.tasks.get(&task.name)?;
    (status.task == task.id).then_some(status)
}

/// How a task failed, if it did.
fn failure(status: &TaskStatus) -> Option<String> {
    (status.rests() || status.failures > 0).then(|| status.error.clone().unwrap_or_default())
}
