//! Tasks of nodes that are dead, gone or drained: others take their places.

use std::collections::BTreeSet;

use super::leaving::Departure;
use super::{Availability, Intent, IntentError, Leaving, NodeName, ServiceName, Task, TaskName};

/// What becomes of a task by what became of its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Stays,
    /// Its node is drained: it leaves as one that is scaled away.
    Leaves,
    /// Its node is dead or gone: whatever it is doing there, nobody reaches it.
    Lost,
}

impl Intent {
    /// Takes note of which nodes are dead and which are alive; of others nothing new is known. `now`
    /// is in seconds since 1970.
    pub fn note_lives(&mut self, dead: &BTreeSet<NodeName>, alive: &BTreeSet<NodeName>, now: u64) {
        for (name, node) in &mut self.nodes {
            if alive.contains(name) {
                node.down = None;
            } else if dead.contains(name) {
                node.down.get_or_insert(now);
            }
        }
    }

    /// Gives every service the tasks that it lacks, as far as there is room, in the place of those
    /// whose nodes are dead, gone or drained. `now` is in milliseconds since 1970.
    pub fn fill_services(&mut self, now: u64) {
        let names: Vec<ServiceName> = self.services.keys().cloned().collect();
        for name in names {
            let mut filled = self.clone();
            // What has no place waits for one.
            if filled.fill_service(&name, now).is_ok() {
                *self = filled;
            }
        }
    }

    fn fate(&self, task: &Task) -> Fate {
        match self.nodes.get(&task.node) {
            None => Fate::Lost,
            Some(node) if node.down.is_some() => Fate::Lost,
            Some(node) if node.availability == Availability::Drain => Fate::Leaves,
            Some(_) => Fate::Stays,
        }
    }

    fn fill_service(&mut self, name: &ServiceName, now: u64) -> Result<(), IntentError> {
        let service = self.service(name)?.clone();
        let of = |intent: &Self, fate: Fate, all: bool| -> Vec<TaskName> {
            let tasks = intent.tasks_of(name).filter(|task| all || task.in_rotation());
            tasks.filter(|task| intent.fate(task) == fate).map(|task| task.name.clone()).collect()
        };
        let lost = of(self, Fate::Lost, true);
        let leave = of(self, Fate::Leaves, false);
        let stay = of(self, Fate::Stays, false);
        let wanted = service.replicas as usize;
        if lost.is_empty() && leave.is_empty() && stay.len() >= wanted {
            return Ok(());
        }
        let before: Vec<TaskName> = stay.iter().chain(&leave).cloned().collect();
        lost.iter().for_each(|task| self.remove_task(task));
        let missing = wanted.saturating_sub(stay.len());
        let missing = missing - self.call_back(name, missing);
        let taken: BTreeSet<u32> = self.tasks_of(name).map(|task| task.name.slot).collect();
        let free: Vec<u32> = (1..).filter(|slot| !taken.contains(slot)).take(missing).collect();
        self.add_what_fits(name, &free);
        let departure = match service.drain_timeout.millis() {
            0 => Departure::AtOnce,
            timeout => {
                Departure::Drained(Leaving { since: now, until: now.saturating_add(timeout) })
            }
        };
        self.turn_over(name, &before, &leave, departure)
    }

    /// Adds tasks in these slots until one finds no place.
    fn add_what_fits(&mut self, name: &ServiceName, slots: &[u32]) {
        let Some(service) = self.services.get(name).cloned() else { return };
        let mut all = self.clone();
        if all.add_tasks(&service, slots).is_ok() {
            *self = all;
            return;
        }
        for slot in slots {
            let mut one = self.clone();
            if one.add_tasks(&service, &[*slot]).is_err() {
                return;
            }
            *self = one;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::NodeRecord;
    use crate::intent::tests::{network, one_node, service};

    const NOW: u64 = 5_000;

    fn node(number: u32) -> NodeName {
        format!("node-{number}").parse().unwrap()
    }

    /// Three nodes, and service `web` with two tasks on each.
    fn three_nodes() -> Intent {
        let mut intent = one_node();
        for number in 2..=3 {
            intent.nodes.insert(node(number), NodeRecord::new(node(number), true));
        }
        network(&mut intent, "n", "10.0.3.0/24");
        service(&mut intent, "web", "n", 6);
        intent
    }

    fn web() -> ServiceName {
        "web".parse().unwrap()
    }

    fn on(intent: &Intent, number: u32) -> usize {
        intent.rotation_of(&web()).filter(|task| task.node == node(number)).count()
    }

    #[test]
    fn a_dead_nodes_tasks_are_placed_anew_in_their_slots_with_other_ids_and_addresses() {
        let mut intent = three_nodes();
        let before = intent.clone();
        intent.note_lives(&[node(2)].into(), &[node(1), node(3)].into(), 5);
        intent.fill_services(NOW);
        assert_eq!([on(&intent, 1), on(&intent, 2), on(&intent, 3)], [3, 0, 3]);
        let slots: Vec<u32> = intent.tasks.keys().map(|name| name.slot).collect();
        assert_eq!(slots, [1, 2, 3, 4, 5, 6]);
        for (name, task) in before.tasks.iter().filter(|(_, task)| task.node == node(2)) {
            assert_ne!(intent.tasks[name].id, task.id);
            let address = task.endpoints[0].address;
            let again = |task: &Task| task.endpoints.iter().any(|held| held.address == address);
            assert!(!intent.tasks.values().any(again), "{address} is given to another");
        }
        let once = intent.clone();
        intent.fill_services(NOW + 1);
        assert_eq!(intent, once);
    }

    #[test]
    fn a_node_that_returns_keeps_what_is_placed_there_from_then_on() {
        let mut intent = three_nodes();
        intent.note_lives(&[node(2)].into(), &[node(1), node(3)].into(), 5);
        intent.fill_services(NOW);
        intent.note_lives(&[].into(), &[node(2)].into(), 9);
        assert_eq!(intent.nodes[&node(2)].down, None);
        let before = intent.clone();
        intent.fill_services(NOW);
        assert_eq!(intent, before, "nothing moves back by itself");
        intent.scale_service(&web(), 7).unwrap();
        assert_eq!(on(&intent, 2), 1);
    }

    #[test]
    fn a_drained_nodes_tasks_leave_rotation_and_are_not_called_back() {
        let mut intent = three_nodes();
        intent.set_availability(&node(3), Availability::Drain).unwrap();
        intent.fill_services(NOW);
        assert_eq!([on(&intent, 1), on(&intent, 2), on(&intent, 3)], [3, 3, 0]);
        let leaving: Vec<_> = intent.leaving().map(|(task, _)| task.node.clone()).collect();
        assert_eq!(leaving, [node(3), node(3)]);
        let once = intent.clone();
        intent.fill_services(NOW + 1);
        assert_eq!(intent, once);
        intent.drain_service(&web(), 8, NOW).unwrap();
        assert_eq!([on(&intent, 1), on(&intent, 2), on(&intent, 3)], [4, 4, 0]);
    }

    #[test]
    fn what_has_no_place_waits_for_one() {
        let mut intent = three_nodes();
        let all: BTreeSet<NodeName> = (1..=3).map(node).collect();
        intent.note_lives(&all, &[].into(), 5);
        intent.fill_services(NOW);
        assert!(intent.tasks.is_empty());
        intent.note_lives(&[].into(), &[node(1)].into(), 5);
        intent.fill_services(NOW);
        assert_eq!(on(&intent, 1), 6);
    }

    #[test]
    fn the_tasks_of_a_node_that_was_taken_out_are_placed_anew() {
        let mut intent = three_nodes();
        intent.dismiss_node(&node(1)).unwrap();
        intent.fill_services(NOW);
        assert_eq!([on(&intent, 2), on(&intent, 3)], [3, 3]);
    }
}
