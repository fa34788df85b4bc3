//! The places of a service's replicas. While tasks are replaced two of them may share one.

use std::collections::BTreeMap;

use super::{Intent, ServiceName, Task, TaskName};

/// One replica's place.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Who has it: a task that stays, or one that leaves and is followed by another once it is gone.
    pub task: &'a Task,
    /// Who takes it as soon as everybody sends to that one.
    pub successor: Option<&'a Task>,
}

impl Place<'_> {
    /// Whether its task leaves, for another to be made.
    pub fn is_handed_on(&self) -> bool {
        self.task.leaving.is_some()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = TaskName> {
        [Some(self.task), self.successor].into_iter().flatten().map(|task| task.name.clone())
    }
}

impl Intent {
    /// The places of a service that are taken, by slot.
    pub fn places<'a>(&'a self, service: &'a ServiceName) -> Vec<Place<'a>> {
        let mut stay: BTreeMap<&str, &Task> = BTreeMap::new();
        let counts = |task: &&Task| task.leaving.is_none_or(|leaving| leaving.handed_on);
        for task in self.tasks_of(service).filter(counts) {
            stay.insert(&task.id, task);
        }
        let follows = |task: &&Task| {
            let before = task.follows.as_ref().and_then(|id| stay.get(id.as_str()));
            before.filter(|before| before.leaving.is_none()).copied()
        };
        let successors: BTreeMap<&str, &Task> =
            stay.values().filter_map(|task| Some((follows(task)?.id.as_str(), *task))).collect();
        let held = self.tasks_of(service).filter(counts).filter(|task| follows(task).is_none());
        held.map(|task| Place { task, successor: successors.get(task.id.as_str()).copied() })
            .collect()
    }

    /// Lets those places go that are too many: first those that nobody has any more, then the last.
    /// Tells the tasks that have to leave.
    pub(super) fn give_up_places(&mut self, service: &ServiceName, keep: u32) -> Vec<TaskName> {
        let mut places = self.places(service);
        places.sort_by_key(|place| (place.is_handed_on(), place.task.name.slot));
        let surplus = places.get(keep as usize..).unwrap_or_default();
        let names: Vec<TaskName> = surplus.iter().flat_map(Place::names).collect();
        let mut stay = Vec::new();
        for name in names {
            match self.tasks.get_mut(&name).and_then(|task| task.leaving.as_mut()) {
                Some(leaving) => leaving.handed_on = false,
                None => stay.push(name),
            }
        }
        stay
    }
}
