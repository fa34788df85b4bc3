//! Tasks that are not there or do not serve: their process ended, is new on its node, or is not healthy.
//! Meanwhile no node sends anybody there.

use std::collections::{BTreeMap, BTreeSet};

use super::status::{NodeStatus, TaskState};
use crate::intent::{Absences, Id, Intent, NodeName, Stands};
use crate::store::records::{self, RecordError};
use crate::store::{Batch, Event, Store};

/// What the nodes said of their tasks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Word(BTreeMap<NodeName, Heard>);

/// The same of one node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Heard {
    /// Those that ran when it was last heard of, and since.
    there: BTreeSet<Id>,
    resting: BTreeSet<Id>,
    unhealthy: BTreeSet<Id>,
    unproven: BTreeSet<Id>,
}

impl Word {
    /// As of these reports.
    pub fn of<'a>(reports: impl IntoIterator<Item = (&'a NodeName, &'a NodeStatus)>) -> Self {
        let mut word = Self::default();
        for (name, status) in reports {
            word.heard(name, status);
        }
        word
    }

    /// The tasks of nodes other than `own` that are not there. Of a node that was never heard of nothing
    /// is known, and its tasks count as there.
    pub fn absences(&self, intent: &Intent, own: &NodeName) -> Absences {
        let mut absences = Absences::default();
        for task in intent.tasks.values().filter(|task| task.node != *own) {
            let Some(heard) = self.0.get(&task.node) else { continue };
            if heard.resting.contains(&task.id) {
                absences.resting.insert(task.id.clone());
            } else if heard.unhealthy.contains(&task.id) {
                absences.unhealthy.insert(task.id.clone());
            } else if !heard.there.contains(&task.id) {
                absences.awaited.insert(task.id.clone());
            }
            if heard.unproven.contains(&task.id) {
                absences.unproven.insert(task.id.clone());
            }
        }
        absences
    }

    fn heard(&mut self, name: &NodeName, status: &NodeStatus) {
        // An agent that only just began has not looked yet.
        if status.revision == 0 {
            return;
        }
        let heard = self.0.entry(name.clone()).or_default();
        let there = status.tasks.values().filter(|task| match task.state {
            TaskState::Running | TaskState::Draining | TaskState::Unhealthy => true,
            TaskState::Starting if !task.is_unproven() => heard.there.contains(&task.task),
            _ => task.rests(),
        });
        let Absences { resting, unhealthy, unproven, .. } = status.absences();
        let there = there.map(|task| task.task.clone()).collect();
        *heard = Heard { there, resting, unhealthy, unproven };
    }

    /// What becomes of the tasks of a node that is silent, the leader decides: what ran may run yet.
    fn silent(&mut self, name: &NodeName) {
        if let Some(heard) = self.0.get_mut(name) {
            heard.resting.clear();
        }
    }
}

/// Takes those tasks of an intent out of rotation that are not there, as the node's own agent does that
/// made the reports.
pub fn note(intent: &mut Intent, own: &NodeName, reports: &BTreeMap<NodeName, NodeStatus>) {
    let mut absences = Word::of(reports).absences(intent, own);
    let mut stands = Stands::default();
    if let Some(status) = reports.get(own) {
        absences.extend(status.absences());
        stands.now.clone_from(&status.standing);
    }
    let leaving = intent.leaving().map(|(task, _)| task.id.clone());
    stands.ever = leaving.collect();
    intent.note_presence(&absences, &stands);
}

/// What the nodes say of their tasks, as it comes in.
#[derive(Debug)]
pub struct Elsewhere {
    own: NodeName,
    word: Word,
}

impl Elsewhere {
    /// Nothing is known yet; of `own` nothing ever will be, for its agent knows better.
    pub fn new(own: NodeName) -> Self {
        Self { own, word: Word::default() }
    }

    /// Takes note of what changed, and with none of all that stands in the store. Tells the word when
    /// it is another than before.
    ///
    /// # Errors
    /// When the store has to be asked and cannot be reached.
    pub fn note(
        &mut self,
        changed: Option<&Batch>,
        store: &dyn Store,
    ) -> Result<Option<Word>, RecordError> {
        let before = self.word.clone();
        match changed {
            None => {
                let (_, statuses) = records::load_status::<NodeStatus>(store)?;
                let known: Vec<NodeName> = self.word.0.keys().cloned().collect();
                known
                    .iter()
                    .filter(|n| !statuses.contains_key(*n))
                    .for_each(|n| self.word.silent(n));
                statuses.iter().for_each(|(name, status)| self.heard(name, status));
            }
            Some(batch) => batch.events.iter().for_each(|event| self.note_one(event)),
        }
        Ok((self.word != before).then(|| self.word.clone()))
    }

    fn note_one(&mut self, event: &Event) {
        match event {
            Event::Put(object) => {
                if let Some((name, status)) = records::report(object) {
                    self.heard(&name, &status);
                }
            }
            Event::Delete { key, .. } => {
                if let Some(name) = records::reporter(key) {
                    self.word.silent(&name);
                }
            }
        }
    }

    fn heard(&mut self, name: &NodeName, status: &NodeStatus) {
        if *name != self.own {
            self.word.heard(name, status);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::status::{HealthStatus, TaskStatus};
    use crate::intent::NodeRecord;
    use crate::intent::tests::{network, one_node, service};
    use crate::orchestrate::health::Condition;
    use crate::store::{Object, Revision};

    /// One task on node-2, as node-1 sees it.
    struct Scene {
        intent: Intent,
        elsewhere: Elsewhere,
        task: Id,
        /// What its checks say, where it has any.
        health: Option<Condition>,
    }

    impl Scene {
        fn new() -> Self {
            let mut intent = one_node();
            network(&mut intent, "n", "10.0.1.0/24");
            let name: NodeName = "node-2".parse().unwrap();
            intent.nodes.insert(name.clone(), NodeRecord::new(name, true));
            service(&mut intent, "own", "n", 1);
            service(&mut intent, "web", "n", 1);
            let task = intent.tasks[&"web.1".parse().unwrap()].clone();
            assert_eq!(task.node.as_str(), "node-2");
            let elsewhere = Elsewhere::new("node-1".parse().unwrap());
            Self { intent, elsewhere, task: task.id, health: None }
        }

        fn status(&self, state: TaskState, failures: u32) -> NodeStatus {
            let status = TaskStatus {
                task: self.task.clone(),
                state,
                pid: None,
                since: 0,
                failures,
                error: None,
                connections: None,
                exit: None,
                over: false,
                health: self.health.map(|condition| HealthStatus {
                    condition,
                    since: 0,
                    ended_it: false,
                }),
            };
            let tasks = [("web.1".parse().unwrap(), status)].into();
            NodeStatus { tasks, revision: 7, ..NodeStatus::default() }
        }

        fn note(&mut self, event: &Event) -> &'static str {
            self.elsewhere.note_one(event);
            self.told()
        }

        fn told(&self) -> &'static str {
            let absences = self.elsewhere.word.absences(&self.intent, &"node-1".parse().unwrap());
            let sets = [&absences.resting, &absences.awaited, &absences.unhealthy];
            match sets.map(BTreeSet::len) {
                [0, 0, 0] => "there",
                [1, 0, 0] => "resting",
                [0, 1, 0] => "awaited",
                [0, 0, 1] => "unhealthy",
                other => panic!("{other:?}"),
            }
        }

        fn says(&mut self, state: TaskState, failures: u32) -> &'static str {
            self.note(&put("node-2", &self.status(state, failures)))
        }
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

    fn silence(node: &str) -> Event {
        Event::Delete { key: format!("{}{node}", records::STATUS), revision: Revision(2) }
    }

    #[test]
    fn a_task_rests_from_its_end_until_it_is_there_again() {
        let mut scene = Scene::new();
        assert_eq!(scene.says(TaskState::Running, 0), "there");
        assert_eq!(scene.says(TaskState::Failed, 1), "resting");
        assert_eq!(scene.says(TaskState::Starting, 1), "resting");
        assert_eq!(scene.says(TaskState::Running, 1), "there");
        assert_eq!(scene.says(TaskState::Complete, 2), "resting");
        assert_eq!(scene.says(TaskState::Rejected, 3), "resting");
    }

    #[test]
    fn a_task_that_is_new_elsewhere_is_awaited_until_its_node_says_that_it_runs() {
        let mut scene = Scene::new();
        let before = NodeStatus { revision: 6, ..NodeStatus::default() };
        assert_eq!(scene.note(&put("node-2", &before)), "awaited", "its node has not seen it yet");
        assert_eq!(scene.says(TaskState::Pending, 0), "awaited");
        assert_eq!(scene.says(TaskState::Starting, 0), "awaited");
        assert_eq!(scene.says(TaskState::Running, 0), "there");
        assert_eq!(scene.says(TaskState::Starting, 0), "there", "it ran already");
        assert_eq!(scene.says(TaskState::Draining, 0), "there");
        assert_eq!(scene.says(TaskState::Pending, 0), "awaited", "its node began anew without it");
    }

    #[test]
    fn a_task_with_checks_is_there_while_they_say_that_it_is_healthy() {
        let mut scene = Scene::new();
        scene.health = Some(Condition::Starting);
        assert_eq!(scene.says(TaskState::Pending, 0), "awaited");
        assert_eq!(scene.says(TaskState::Starting, 0), "awaited");
        scene.health = Some(Condition::Healthy);
        assert_eq!(scene.says(TaskState::Running, 0), "there");
        scene.health = Some(Condition::Unhealthy);
        assert_eq!(scene.says(TaskState::Unhealthy, 0), "unhealthy");
        assert_eq!(scene.says(TaskState::Failed, 1), "resting");
        scene.health = Some(Condition::Starting);
        assert_eq!(scene.says(TaskState::Starting, 1), "resting");
        scene.health = Some(Condition::Healthy);
        assert_eq!(scene.says(TaskState::Running, 1), "there");
        scene.health = Some(Condition::Starting);
        assert_eq!(scene.says(TaskState::Starting, 0), "awaited", "its process is another");
        scene.health = Some(Condition::Unhealthy);
        scene.says(TaskState::Unhealthy, 0);
        assert_eq!(scene.note(&silence("node-2")), "unhealthy", "nobody said otherwise");
    }

    #[test]
    fn an_agent_that_begins_anew_takes_nobody_out() {
        let mut scene = Scene::new();
        assert_eq!(scene.note(&put("node-2", &NodeStatus::default())), "there");
        assert_eq!(scene.says(TaskState::Running, 0), "there");
        assert_eq!(scene.note(&put("node-2", &NodeStatus::default())), "there");
    }

    #[test]
    fn of_a_node_that_is_silent_what_ran_runs_yet_and_what_did_not_does_not() {
        let mut scene = Scene::new();
        assert_eq!(scene.told(), "there", "nothing was heard of its node ever");
        scene.says(TaskState::Failed, 1);
        assert_eq!(scene.note(&silence("node-2")), "there");
        let mut scene = Scene::new();
        scene.says(TaskState::Starting, 0);
        assert_eq!(scene.note(&silence("node-2")), "awaited");
    }

    #[test]
    fn of_the_own_node_its_agent_knows_better() {
        let mut scene = Scene::new();
        let status = scene.status(TaskState::Failed, 1);
        scene.elsewhere.note_one(&put("node-1", &status));
        assert_eq!(scene.elsewhere.word, Word::default());
    }
}
