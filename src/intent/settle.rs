//! Tasks find their places: what an edit freed is given to slots that wait, what may not stay where it
//! is leaves, and global services follow the nodes. Every edit that can change any of it goes through
//! [`Intent::rearrange`].

use std::collections::{BTreeMap, BTreeSet};

use super::leaving::{Departure, Renewal};
use super::{
    Endpoint, Id, Intent, Leaving, Liveness, Mode, NetworkName, NodeName, Pending, Presence,
    Reason, Service, ServiceName, Task, TaskName,
};
use crate::orchestrate::placement;

/// A slot that wants a task.
struct Vacancy {
    slot: u32,
    /// The node that it is for, of a global service.
    only: Option<NodeName>,
    place: Result<NodeName, Reason>,
}

impl Intent {
    /// Gives a place to every slot that waits for one and can have it. To be called after changes that
    /// the edits of an intent did not make.
    pub fn settle(&mut self) {
        self.rearrange(|_| ());
    }

    /// Has tasks leave the nodes that they may not be on any more (at once where the node is gone, else
    /// as long as their service lets them), and settles. Tasks that nothing is wrong with stay where
    /// they are. `now` is in milliseconds since 1970.
    pub fn evacuate(&mut self, now: u64) {
        self.rearrange(|intent| {
            for name in intent.services.keys().cloned().collect::<Vec<_>>() {
                intent.leave_nodes(&name, now);
            }
        });
    }

    /// Makes a change, and then fills every service up; VIPs whose tasks are others than before get
    /// new marks.
    pub(super) fn rearrange<T>(&mut self, change: impl FnOnce(&mut Self) -> T) -> T {
        let rotation = |intent: &Self, name: &ServiceName| -> BTreeSet<Id> {
            intent.rotation_of(name).map(|task| task.id.clone()).collect()
        };
        let before: BTreeMap<ServiceName, BTreeSet<Id>> =
            self.services.keys().map(|name| (name.clone(), rotation(self, name))).collect();
        let changed = change(self);
        for name in self.services.keys().cloned().collect::<Vec<_>>() {
            self.fill(&name);
            self.forget_versions(&name);
        }
        for (name, old) in &before {
            let new = rotation(self, name);
            if *old != new && !old.is_empty() {
                self.renew_marks(name, old, Renewal::Tasks);
            }
        }
        self.settle_schedulers();
        changed
    }

    pub(super) fn leave_nodes(&mut self, name: &ServiceName, now: u64) {
        let Some(service) = self.services.get(name) else { return };
        let departure = Departure::of(service, now);
        let mut lost = Vec::new();
        let mut unwanted = Vec::new();
        for task in self.tasks_of(name) {
            let node = self.nodes.get(&task.node).filter(|node| node.liveness == Liveness::Up);
            let may_stay = |node| placement::eligible(self, node, service).is_ok();
            match node {
                None => lost.push(task.name.clone()),
                Some(node) if task.in_rotation() && !may_stay(node) => {
                    unwanted.push(task.name.clone());
                }
                Some(_) => {}
            }
        }
        self.depart(&lost, Departure::AtOnce);
        self.depart(&unwanted, departure);
    }

    /// Places what a service lacks, and notes what cannot be placed.
    fn fill(&mut self, name: &ServiceName) {
        let Some(service) = self.services.get(name).cloned() else { return };
        let vacancies = match service.mode {
            Mode::Replicated => self.vacant_slots(&service),
            Mode::Global => self.vacant_nodes(&service),
        };
        let pending = self.place(&service, vacancies);
        if let Some(service) = self.services.get_mut(name) {
            service.pending = pending;
        }
    }

    /// The slots that a replicated service lacks tasks in, after those that are leaving were called
    /// back.
    fn vacant_slots(&mut self, service: &Service) -> Vec<Vacancy> {
        self.take_back_places(service);
        let missing = self.missing(service);
        if missing == 0 {
            return Vec::new();
        }
        let leaving = self.tasks_of(&service.name).filter(|task| may_return(service, task));
        for task in leaving.map(|task| task.name.clone()).collect::<Vec<_>>() {
            if self.missing(service) > 0 {
                self.call_back(service, &task);
            }
        }
        let missing = self.missing(service);
        let spread = placement::spread(self, service, missing);
        let slots = self.free_slots(&service.name, missing);
        let mut nodes = spread.nodes.into_iter();
        let vacancy = |slot| {
            let rest = || spread.rest.clone().unwrap_or(Reason::NoNode(Vec::new()));
            Vacancy { slot, only: None, place: nodes.next().ok_or_else(rest) }
        };
        slots.into_iter().map(vacancy).collect()
    }

    fn missing(&self, service: &Service) -> usize {
        (service.replicas as usize).saturating_sub(self.places(&service.name).len())
    }

    /// No place is kept for whoever follows a task that leaves, where what it is made from is wanted
    /// again, or its node may not have another.
    fn take_back_places(&mut self, service: &Service) {
        let is_kept = |task: &Task| {
            let node = self.nodes.get(&task.node);
            let may_follow =
                node.is_some_and(|node| placement::eligible(self, node, service).is_ok());
            may_follow && !service.is_current(task)
        };
        let gone = self.tasks_of(&service.name).filter(|task| !is_kept(task));
        for name in gone.map(|task| task.name.clone()).collect::<Vec<_>>() {
            let leaving = self.tasks.get_mut(&name).and_then(|task| task.leaving.as_mut());
            if let Some(leaving) = leaving {
                leaving.handed_on = false;
            }
        }
    }

    /// The same of a global service, for each node that may run it and does not.
    fn vacant_nodes(&mut self, service: &Service) -> Vec<Vacancy> {
        self.take_back_places(service);
        let eligible = |node: &&super::NodeRecord| placement::eligible(self, node, service).is_ok();
        let nodes: BTreeSet<NodeName> =
            self.nodes.values().filter(eligible).map(|node| node.name.clone()).collect();
        if let Some(held) = self.services.get_mut(&service.name) {
            held.replicas = nodes.len() as u32;
        }
        let mut lacking = nodes;
        for place in self.places(&service.name) {
            lacking.remove(&place.task.node);
        }
        let leaving = self.tasks_of(&service.name).filter(|task| may_return(service, task));
        for (task, node) in
            leaving.map(|task| (task.name.clone(), task.node.clone())).collect::<Vec<_>>()
        {
            if lacking.contains(&node) && self.call_back(service, &task) {
                lacking.remove(&node);
            }
        }
        let slots = self.free_slots(&service.name, lacking.len());
        let place = |node: &NodeName| {
            let Some(record) = self.nodes.get(node) else { return Err(Reason::NoNode(Vec::new())) };
            let open = placement::has_room(self, record, service);
            open.map(|()| node.clone()).map_err(|obstacle| Reason::no_node([(node, obstacle)]))
        };
        let vacancy = |(slot, node)| Vacancy { slot, place: place(&node), only: Some(node) };
        slots.into_iter().zip(lacking).map(vacancy).collect()
    }

    /// The lowest slots that no task has, not even one that is leaving.
    pub(super) fn free_slots(&self, service: &ServiceName, count: usize) -> Vec<u32> {
        let held: BTreeSet<u32> = self.tasks_of(service).map(|task| task.name.slot).collect();
        (1..).filter(|slot| !held.contains(slot)).take(count).collect()
    }

    /// Makes tasks in the slots that have a node, as far as there are addresses; tells what waits.
    fn place(&mut self, service: &Service, vacancies: Vec<Vacancy>) -> BTreeMap<u32, Pending> {
        let wanted = vacancies.iter().filter(|vacancy| vacancy.place.is_ok()).count();
        let networks = self.networks_of_tasks(service);
        let scarce = networks.iter().map(|network| (self.left_on(network), network)).min();
        let room = scarce.map_or(wanted, |(free, _)| wanted.min(free as usize));
        let mut pending = BTreeMap::new();
        let mut placed = Vec::new();
        for Vacancy { slot, only, place } in vacancies {
            let reason = match (place, scarce) {
                (Ok(node), _) if placed.len() < room => {
                    placed.push((slot, node));
                    continue;
                }
                (Ok(_), Some((_, network))) => {
                    let capacity = self.networks.get(network).map_or(0, |held| held.capacity());
                    Reason::NoAddress { network: network.clone(), capacity }
                }
                (Ok(_), None) => Reason::NoNode(Vec::new()),
                (Err(reason), _) => reason,
            };
            pending.insert(slot, Pending { node: only, reason });
        }
        self.add_tasks(service, placed);
        pending
    }

    /// The networks that a service's tasks are on, the mesh's last.
    pub(super) fn networks_of_tasks(&self, service: &Service) -> Vec<NetworkName> {
        let mesh = self.mesh().filter(|_| service.ingress.is_some());
        service.networks.iter().chain(mesh.map(|network| &network.name)).cloned().collect()
    }

    pub(super) fn add_tasks(&mut self, service: &Service, placed: Vec<(u32, NodeName)>) {
        // In the order in which they were given: `eth0` is on the first.
        let mut addresses = Vec::new();
        for network in &self.networks_of_tasks(service) {
            let chosen = self.next_addresses(network, placed.len() as u32).unwrap_or_default();
            addresses.push((network.clone(), chosen.into_iter()));
        }
        for (slot, node) in placed {
            let name = TaskName { service: service.name.clone(), slot };
            let endpoints = addresses
                .iter_mut()
                .filter_map(|(network, addresses)| {
                    let rank = self.next_rank(network);
                    Some(Endpoint { network: network.clone(), address: addresses.next()?, rank })
                })
                .collect();
            let egress =
                if self.is_outward(&service.networks) { self.next_egress(&node) } else { None };
            self.cluster.tasks_made += 1;
            let id = super::task::id(&service.id, self.cluster.tasks_made);
            let task = Task {
                id,
                name: name.clone(),
                node,
                endpoints,
                egress,
                version: service.version,
                follows: None,
                weight: super::weight::WEIGHT,
                ramp: None,
                leaving: None,
                presence: Presence::Present,
            };
            self.tasks.insert(name, task);
        }
    }

    /// Every task that is not leaving is where it may be.
    pub(super) fn is_well_placed(&self) -> bool {
        let fits = |task: &Task| {
            let of = self.nodes.get(&task.node).zip(self.services.get(&task.name.service));
            of.is_some_and(|(node, service)| placement::eligible(self, node, service).is_ok())
        };
        self.tasks.values().filter(|task| task.in_rotation()).all(fits)
    }
}

/// Whether a task that leaves is one that the service would have made.
fn may_return(service: &Service, task: &Task) -> bool {
    !task.in_rotation() && service.is_current(task)
}

impl Departure {
    /// How tasks of a service leave. `now` is in milliseconds since 1970.
    pub(super) fn of(service: &Service, now: u64) -> Self {
        match service.drain_timeout.millis() {
            0 => Self::AtOnce,
            timeout => Self::Drained(Leaving {
                since: now,
                until: now.saturating_add(timeout),
                handed_on: false,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{network, one_node, service, spec};
    use super::super::{
        Availability, DataPlaneChoice, IntentError, NodeRecord, Placement, ServiceSpec,
    };
    use super::*;

    const NOW: u64 = 1_000_000;

    /// Nodes node-1 to node-`count` on a network with that subnet.
    fn nodes(count: usize, subnet: &str) -> Intent {
        let mut intent = one_node();
        for number in 2..=count {
            let name = node(number);
            intent.nodes.insert(name.clone(), NodeRecord::new(name, true));
        }
        network(&mut intent, "n", subnet);
        intent
    }

    fn node(number: usize) -> NodeName {
        format!("node-{number}").parse().unwrap()
    }

    fn name(service: &str) -> ServiceName {
        service.parse().unwrap()
    }

    fn global(intent: &mut Intent, name: &str, constraint: Option<&str>) {
        let constraints = constraint.iter().map(|text| text.parse().unwrap()).collect();
        let placement = Placement { constraints, max_per_node: None };
        let spec = ServiceSpec { mode: Mode::Global, placement, ..spec(name, "n", 1) };
        intent.create_service(spec, format!("id-{name}"), 0).unwrap();
    }

    fn rotation(intent: &Intent, service: &str) -> Vec<String> {
        let of = |task: &Task| format!("{} {}", task.name.slot, task.node);
        intent.rotation_of(&name(service)).map(of).collect()
    }

    fn waiting(intent: &Intent, service: &str) -> Vec<(u32, String)> {
        let pending = intent.services[&name(service)].pending.iter();
        pending.map(|(slot, pending)| (*slot, pending.reason.to_string())).collect()
    }

    fn finish(intent: &mut Intent) {
        let left = intent.leaving().map(|(task, _)| (task.name.clone(), task.id.clone()));
        let left: Vec<_> = left.collect();
        intent.finish_leaving(&left);
    }

    #[test]
    fn what_addresses_lack_for_waits_until_others_free_some() {
        let mut intent = nodes(1, "10.0.9.0/29");
        service(&mut intent, "a", "n", 2);
        service(&mut intent, "b", "n", 3);
        let said = "network n has no free address: all 5 are taken".to_owned();
        assert_eq!(waiting(&intent, "b"), [(2, said.clone()), (3, said)]);
        intent.drain_service(&name("a"), 1, NOW).unwrap();
        assert_eq!(waiting(&intent, "b").len(), 2, "what is leaving still has its address");
        finish(&mut intent);
        assert_eq!(waiting(&intent, "b").len(), 1);
        intent.remove_service(&name("a")).unwrap();
        assert_eq!(rotation(&intent, "b"), ["1 node-1", "2 node-1", "3 node-1"]);
        assert!(waiting(&intent, "b").is_empty());
    }

    #[test]
    fn what_a_network_could_never_hold_is_refused() {
        let mut intent = nodes(1, "10.0.9.0/29");
        service(&mut intent, "a", "n", 1);
        let before = intent.clone();
        let refused = intent.create_service(spec("b", "n", 5), "x".into(), 0).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "subnet 10.0.9.0/29 of network `n` has too few addresses: 6 needed, 3 free of 5"
        );
        let refused = intent.scale_service(&name("a"), 5).unwrap_err();
        assert!(matches!(refused, IntentError::NoFreeAddress { needed: 6, free: 5, .. }));
        assert_eq!(intent, before);
        service(&mut intent, "b", "n", 4);
        assert_eq!(waiting(&intent, "b").len(), 2);
        let refused = intent.create_service(spec("c", "n", 0), "x".into(), 0).unwrap_err();
        assert!(
            matches!(refused, IntentError::NoFreeAddress { needed: 1, free: 0, .. }),
            "its VIP"
        );
    }

    #[test]
    fn scaling_down_gives_up_what_waits_before_what_runs() {
        let mut intent = nodes(1, "10.0.9.0/29");
        service(&mut intent, "a", "n", 2);
        service(&mut intent, "b", "n", 3);
        intent.scale_service(&name("b"), 1).unwrap();
        assert_eq!(rotation(&intent, "b"), ["1 node-1"]);
        assert!(waiting(&intent, "b").is_empty());
    }

    #[test]
    fn a_drained_nodes_tasks_leave_while_others_take_their_place_in_free_slots() {
        let mut intent = nodes(2, "10.0.1.0/24");
        service(&mut intent, "a", "n", 3);
        let mark = intent.services[&name("a")].vips.values().next().unwrap().fwmark;
        intent.drain_node(&node(1), NOW).unwrap();
        assert_eq!(rotation(&intent, "a"), ["2 node-2", "4 node-2", "5 node-2"]);
        let leaving: Vec<_> = intent.leaving().map(|(task, how)| (task.name.slot, *how)).collect();
        let how = Leaving { since: NOW, until: NOW + 10_000, handed_on: false };
        assert_eq!(leaving, [(1, how), (3, how)]);
        let vip = intent.services[&name("a")].vips.values().next().unwrap();
        assert_ne!(vip.fwmark, mark);
        assert_eq!(vip.retired[0].targets.len(), 3);
        let drained = intent.clone();
        intent.evacuate(NOW + 1);
        assert_eq!(intent, drained, "there is no more to do");
        finish(&mut intent);
        assert_eq!(intent.tasks.len(), 3);
        intent.activate_node(&node(1), NOW).unwrap();
        assert_eq!(rotation(&intent, "a").len(), 3, "what runs elsewhere stays there");
    }

    #[test]
    fn tasks_of_the_only_node_are_called_back_when_it_is_activated_in_time() {
        let mut intent = nodes(1, "10.0.1.0/24");
        service(&mut intent, "a", "n", 2);
        let before = intent.tasks.clone();
        intent.drain_node(&node(1), NOW).unwrap();
        let said = "no suitable node: node-1 is drained".to_owned();
        assert_eq!(waiting(&intent, "a"), [(3, said.clone()), (4, said)]);
        intent.activate_node(&node(1), NOW).unwrap();
        assert_eq!(intent.tasks, before);
        assert!(waiting(&intent, "a").is_empty());
    }

    #[test]
    fn a_dead_nodes_slots_get_new_tasks_elsewhere_with_other_ids_and_addresses() {
        let mut intent = nodes(2, "10.0.1.0/24");
        service(&mut intent, "a", "n", 4);
        let lost = intent.tasks[&"a.1".parse().unwrap()].clone();
        assert!(intent.node_is_down(&node(1), NOW));
        assert!(!intent.node_is_down(&node(1), NOW), "that is no news");
        assert_eq!(rotation(&intent, "a"), ["1 node-2", "2 node-2", "3 node-2", "4 node-2"]);
        let new = &intent.tasks[&"a.1".parse().unwrap()];
        assert_ne!(new.id, lost.id);
        assert_ne!(new.endpoints[0].address, lost.endpoints[0].address);
        let vip = intent.services[&name("a")].vips.values().next().unwrap();
        let old = lost.endpoints[0].address;
        assert!(vip.retired.iter().all(|retired| !retired.targets.contains(&old)));
        assert!(intent.node_is_up(&node(1), NOW));
        assert_eq!(rotation(&intent, "a").len(), 4);
        intent.dismiss_node(&node(2), NOW).unwrap();
        assert_eq!(rotation(&intent, "a"), ["1 node-1", "2 node-1", "3 node-1", "4 node-1"]);
    }

    #[test]
    fn what_was_leaving_a_node_that_died_is_gone() {
        let mut intent = nodes(2, "10.0.1.0/24");
        service(&mut intent, "a", "n", 2);
        intent.drain_node(&node(1), NOW).unwrap();
        assert_eq!(intent.leaving().count(), 1);
        intent.node_is_down(&node(1), NOW);
        assert_eq!(intent.leaving().count(), 0);
    }

    #[test]
    fn a_global_service_has_a_task_on_every_node_and_slots_stay_with_their_nodes() {
        let mut intent = nodes(3, "10.0.1.0/24");
        global(&mut intent, "g", None);
        assert_eq!(rotation(&intent, "g"), ["1 node-1", "2 node-2", "3 node-3"]);
        assert_eq!(intent.services[&name("g")].replicas, 3);
        intent.node_is_down(&node(2), NOW);
        assert_eq!(rotation(&intent, "g"), ["1 node-1", "3 node-3"]);
        assert_eq!(intent.services[&name("g")].replicas, 2);
        intent.nodes.insert(node(4), NodeRecord::new(node(4), true));
        intent.settle();
        intent.node_is_up(&node(2), NOW);
        let expected = ["1 node-1", "2 node-4", "3 node-3", "4 node-2"];
        assert_eq!(rotation(&intent, "g"), expected);
        intent.drain_node(&node(1), NOW).unwrap();
        assert_eq!(rotation(&intent, "g"), expected[1..]);
        intent.activate_node(&node(1), NOW).unwrap();
        assert_eq!(rotation(&intent, "g"), expected, "it was called back");
        let refused = intent.scale_service(&name("g"), 5).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "service `g` is global: how many tasks it has follows from the nodes"
        );
    }

    #[test]
    fn labels_move_tasks() {
        let mut intent = nodes(2, "10.0.1.0/24");
        global(&mut intent, "g", Some("node.label.disk==ssd"));
        assert!(rotation(&intent, "g").is_empty());
        let ssd = || [("disk".to_owned(), "ssd".to_owned())].into();
        intent.label_node(&node(2), ssd(), &BTreeSet::new(), NOW).unwrap();
        assert_eq!(rotation(&intent, "g"), ["1 node-2"]);
        intent.label_node(&node(1), ssd(), &BTreeSet::new(), NOW).unwrap();
        assert_eq!(rotation(&intent, "g"), ["1 node-2", "2 node-1"]);
        intent.label_node(&node(2), BTreeMap::new(), &["disk".to_owned()].into(), NOW).unwrap();
        assert_eq!(rotation(&intent, "g"), ["2 node-1"]);
        assert_eq!(intent.leaving().count(), 1);
    }

    #[test]
    fn a_node_that_lacks_ipvs_takes_no_task_beside_a_service_that_needs_it() {
        let mut intent = nodes(2, "10.0.1.0/24");
        intent.nodes.get_mut(&node(2)).unwrap().ipvs = false;
        let ipvs = || ServiceSpec { data_plane: DataPlaneChoice::Ipvs, ..spec("b", "n", 1) };
        service(&mut intent, "a", "n", 2);
        let refused = intent.create_service(ipvs(), "x".into(), 0).unwrap_err();
        assert_eq!(refused, IntentError::NoIpvs { node: "node-2".into() }, "a.2 is there");
        intent.scale_service(&name("a"), 1).unwrap();
        intent.create_service(ipvs(), "x".into(), 0).unwrap();
        global(&mut intent, "g", None);
        assert_eq!(rotation(&intent, "g"), ["1 node-1"]);
        intent.remove_service(&name("b")).unwrap();
        assert_eq!(rotation(&intent, "g"), ["1 node-1", "2 node-2"]);
    }

    #[test]
    fn a_node_that_came_back_drained_gets_nothing() {
        let mut intent = nodes(2, "10.0.1.0/24");
        service(&mut intent, "a", "n", 2);
        intent.node_is_down(&node(1), NOW);
        intent.drain_node(&node(1), NOW).unwrap();
        intent.node_is_up(&node(1), NOW);
        assert_eq!(intent.nodes[&node(1)].availability, Availability::Drain);
        intent.scale_service(&name("a"), 4).unwrap();
        assert!(intent.tasks.values().all(|task| task.node == node(2)));
    }
}
