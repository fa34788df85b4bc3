//! Tasks that rest: their process ended, and is not there again yet. Meanwhile no node sends anybody there.

use std::collections::{BTreeMap, BTreeSet};

use super::status::NodeStatus;
use crate::intent::{Id, NodeName};
use crate::store::records::{self, RecordError};
use crate::store::{Batch, Event, Store};

/// The resting tasks of all nodes but one, as those report them.
#[derive(Debug)]
pub struct Elsewhere {
    own: NodeName,
    nodes: BTreeMap<NodeName, BTreeSet<Id>>,
}

impl Elsewhere {
    /// Nothing is known yet; of `own` nothing ever will be, for its agent knows better.
    pub fn new(own: NodeName) -> Self {
        Self { own, nodes: BTreeMap::new() }
    }

    /// Takes note of what changed, and with none of all that stands in the store. Tells who rests,
    /// when others do than before.
    ///
    /// # Errors
    /// When the store has to be asked and cannot be reached.
    pub fn note(
        &mut self,
        changed: Option<&Batch>,
        store: &dyn Store,
    ) -> Result<Option<BTreeSet<Id>>, RecordError> {
        let before = self.all();
        match changed {
            None => {
                let (_, statuses) = records::load_status::<NodeStatus>(store)?;
                self.nodes.clear();
                for (name, status) in statuses {
                    self.heard(name, &status);
                }
            }
            Some(batch) => batch.events.iter().for_each(|event| self.note_one(event)),
        }
        let now = self.all();
        Ok((now != before).then_some(now))
    }

    fn note_one(&mut self, event: &Event) {
        match event {
            Event::Put(object) => {
                if let Some((name, status)) = records::report(object) {
                    self.heard(name, &status);
                }
            }
            // What becomes of the tasks of a node that is silent, the leader decides.
            Event::Delete { key, .. } => {
                self.nodes.retain(|name, _| records::reporter(key).as_ref() != Some(name));
            }
        }
    }

    fn heard(&mut self, name: NodeName, status: &NodeStatus) {
        if name != self.own {
            self.nodes.insert(name, status.resting().cloned().collect());
        }
    }

    fn all(&self) -> BTreeSet<Id> {
        self.nodes.values().flatten().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::status::{TaskState, TaskStatus};
    use crate::store::{Object, Revision};

    fn status(task: &str, state: TaskState, failures: u32) -> NodeStatus {
        let status = TaskStatus {
            task: task.into(),
            state,
            pid: None,
            since: 0,
            failures,
            error: None,
            connections: None,
            exit: None,
        };
        let tasks = [("web.1".parse().unwrap(), status)].into();
        NodeStatus { tasks, ..NodeStatus::default() }
    }

    fn put(node: &str, status: &NodeStatus) -> Event {
        Event::Put(Object {
            key: format!("{}{node}", records::STATUS),
            value: serde_json::to_string(status).unwrap(),
            created: Revision(1),
            modified: Revision(1),
            lease: None,
        })
    }

    fn noted(elsewhere: &mut Elsewhere, event: &Event) -> Vec<Id> {
        elsewhere.note_one(event);
        elsewhere.all().into_iter().collect()
    }

    #[test]
    fn a_task_rests_from_its_end_until_it_is_there_again() {
        let mut elsewhere = Elsewhere::new("node-1".parse().unwrap());
        let mut told = |state, failures| {
            noted(&mut elsewhere, &put("node-2", &status("one", state, failures)))
        };
        assert!(told(TaskState::Starting, 0).is_empty(), "one that never was there is waited for");
        assert_eq!(told(TaskState::Failed, 1), ["one"]);
        assert_eq!(told(TaskState::Starting, 1), ["one"]);
        assert!(told(TaskState::Running, 1).is_empty());
        assert_eq!(told(TaskState::Complete, 2), ["one"]);
        assert_eq!(told(TaskState::Rejected, 3), ["one"]);
    }

    #[test]
    fn nothing_is_known_of_a_node_that_is_silent_and_of_the_own_one_its_agent_knows_better() {
        let mut elsewhere = Elsewhere::new("node-1".parse().unwrap());
        let resting = status("one", TaskState::Failed, 1);
        assert!(noted(&mut elsewhere, &put("node-1", &resting)).is_empty());
        assert_eq!(noted(&mut elsewhere, &put("node-2", &resting)), ["one"]);
        let key = format!("{}node-2", records::STATUS);
        let silent = Event::Delete { key, revision: Revision(2) };
        assert!(noted(&mut elsewhere, &silent).is_empty());
    }
}
