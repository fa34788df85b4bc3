//! Whose processes are there, as one node knows it: no part of what was asked for, but laid over it
//! before it is lowered.

use std::collections::BTreeSet;

use super::{Id, Intent, Presence, ServiceName};

/// The tasks whose processes are not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Absences {
    /// They ended, and are not there again yet.
    pub resting: BTreeSet<Id>,
    /// They are new on other nodes, which did not say yet that they run.
    pub awaited: BTreeSet<Id>,
}

impl Absences {
    /// Whether a task is one of them.
    pub fn has(&self, task: &Id) -> bool {
        self.resting.contains(task) || self.awaited.contains(task)
    }

    pub fn is_empty(&self) -> bool {
        self.resting.is_empty() && self.awaited.is_empty()
    }
}

/// The tasks that leave and get connections nevertheless, as nobody else of their service is there yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stands {
    pub now: BTreeSet<Id>,
    /// Those that did at some time: once somebody else was there, they do not again, for they may go at
    /// any moment.
    pub ever: BTreeSet<Id>,
}

impl Stands {
    fn allow(&self, task: &Id) -> bool {
        self.now.contains(task) || !self.ever.contains(task)
    }

    /// Takes note of who does now, and forgets those that are gone.
    pub fn note(&mut self, now: BTreeSet<Id>, intent: &Intent) {
        self.ever.extend(now.iter().cloned());
        let leaving: BTreeSet<&Id> = intent.leaving().map(|(task, _)| &task.id).collect();
        self.ever.retain(|task| leaving.contains(task));
        self.now = now;
    }
}

impl Intent {
    /// Takes those tasks out of rotation whose processes are not there. Where that leaves a service
    /// with nobody but tasks that are awaited, those that leave stand in for them: tells which.
    pub fn note_presence(&mut self, absences: &Absences, stands: &Stands) -> BTreeSet<Id> {
        for task in self.tasks.values_mut() {
            task.presence = match (absences.has(&task.id), stands.ever.contains(&task.id)) {
                (true, _) => Presence::Resting,
                (false, true) => Presence::Stood,
                (false, false) => Presence::Present,
            };
        }
        let mut services: BTreeSet<ServiceName> =
            self.leaving().map(|(task, _)| task.name.service.clone()).collect();
        services.retain(|service| self.is_awaited(service, absences));
        let mut standing = BTreeSet::new();
        let leaving = self.tasks.values_mut().filter(|task| task.leaving.is_some());
        for task in leaving.filter(|task| services.contains(&task.name.service)) {
            if !absences.resting.contains(&task.id) && stands.allow(&task.id) {
                task.presence = Presence::Standing;
                standing.insert(task.id.clone());
            }
        }
        standing
    }

    /// Whether all tasks of a service that are to stay are yet to come.
    fn is_awaited(&self, service: &ServiceName, absences: &Absences) -> bool {
        let mut stay = self.tasks_of(service).filter(|task| task.leaving.is_none()).peekable();
        stay.peek().is_some() && stay.all(|task| absences.awaited.contains(&task.id))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{network, one_node, service};
    use super::super::{NodeName, NodeRecord, ServiceName};
    use super::*;

    const NOW: u64 = 1_000_000;

    /// One task on node-1, which is drained, so that another one comes on node-2.
    fn drained() -> Intent {
        let mut intent = one_node();
        network(&mut intent, "n", "10.0.1.0/24");
        service(&mut intent, "a", "n", 1);
        let name: NodeName = "node-2".parse().unwrap();
        intent.nodes.insert(name.clone(), NodeRecord::new(name, true));
        intent.drain_node(&"node-1".parse().unwrap(), NOW).unwrap();
        intent
    }

    fn id(intent: &Intent, task: &str) -> Id {
        intent.tasks[&task.parse().unwrap()].id.clone()
    }

    fn rotation(intent: &Intent) -> Vec<String> {
        let service: ServiceName = "a".parse().unwrap();
        intent.rotation_of(&service).map(|task| task.name.to_string()).collect()
    }

    fn awaiting(intent: &Intent, task: &str) -> Absences {
        Absences { awaited: [id(intent, task)].into(), ..Absences::default() }
    }

    #[test]
    fn the_last_task_of_a_service_stands_until_the_one_after_it_is_there() {
        let mut intent = drained();
        assert_eq!(rotation(&intent), ["a.2"]);
        let mut stands = Stands::default();
        let awaited = awaiting(&intent, "a.2");
        let standing = intent.note_presence(&awaited, &stands);
        assert_eq!(standing, [id(&intent, "a.1")].into());
        assert_eq!(rotation(&intent), ["a.1"]);
        stands.note(standing, &intent);
        assert_eq!(intent.note_presence(&awaited, &stands).len(), 1, "still");
        let standing = intent.note_presence(&Absences::default(), &stands);
        assert!(standing.is_empty());
        assert_eq!(rotation(&intent), ["a.2"]);
        stands.note(standing, &intent);
        assert!(intent.note_presence(&awaited, &stands).is_empty(), "it may go at any moment");
        let left = (intent.tasks.keys().next().unwrap().clone(), id(&intent, "a.1"));
        intent.finish_leaving(&[left]);
        stands.note(BTreeSet::new(), &intent);
        assert_eq!(stands, Stands::default());
    }

    #[test]
    fn who_leaves_does_not_stand_in_for_one_that_ended_nor_for_nobody() {
        let mut intent = drained();
        let ended = Absences { resting: [id(&intent, "a.2")].into(), ..Absences::default() };
        assert!(intent.note_presence(&ended, &Stands::default()).is_empty());
        let awaited = awaiting(&intent, "a.2");
        let gone = Absences { resting: [id(&intent, "a.1")].into(), ..awaited };
        assert!(intent.note_presence(&gone, &Stands::default()).is_empty());
        intent.drain_service(&"a".parse().unwrap(), 0, NOW).unwrap();
        let nobody = Absences::default();
        assert!(intent.note_presence(&nobody, &Stands::default()).is_empty(), "all shall leave");
    }
}
