//! How tasks leave rotation, and how a VIP's mark changes when the tasks behind it do.
//!
//! IPVS puts a new real server at the head of its list, so after a change in place every sandbox would
//! begin with the same task. Therefore a VIP gets a new mark whenever the tasks in rotation change: its
//! virtual server is built in each sandbox's own order beside the old one, which keeps the connections
//! that began under the old mark until the last is gone.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::{
    DataPlane, Fwmark, Id, Intent, Leaving, NetworkName, Retired, Service, ServiceName, TaskName,
    Vip,
};
use crate::orchestrate::placement;

/// Most old marks that a VIP keeps while connections hold them. Beyond that its tasks change under the
/// mark that it has: evenness is given up before connections are.
pub const MOST_RETIRED: usize = 8;

/// Why a VIP gets another mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Renewal {
    /// The tasks in rotation are others.
    Tasks,
    /// IPVS shall pick in another way.
    Scheduler,
}

/// How tasks go that are not wanted any more.
#[derive(Debug, Clone, Copy)]
pub(super) enum Departure {
    AtOnce,
    Drained(Leaving),
}

impl Vip {
    /// One that nobody was ever connected to.
    pub fn new(address: Ipv4Addr, fwmark: Fwmark) -> Self {
        Self { address, fwmark, retired: Vec::new(), lingering: BTreeSet::new() }
    }

    /// Every mark that is its own: the one that packets get, and those of old connections.
    pub fn fwmarks(&self) -> impl Iterator<Item = Fwmark> {
        let retired = self.retired.iter().map(|retired| retired.fwmark);
        std::iter::once(self.fwmark).chain(retired)
    }
}

impl Intent {
    /// Takes a task that is leaving back into rotation, unless its node may not run it any more; tells
    /// whether it did.
    pub(super) fn call_back(&mut self, service: &Service, name: &TaskName) -> bool {
        let node = self.tasks.get(name).and_then(|task| self.nodes.get(&task.node));
        let may_stay = node.is_some_and(|node| {
            let eligible = placement::eligible(self, node, service);
            eligible.and_then(|()| placement::is_below_most(self, node, service)).is_ok()
        });
        if may_stay && let Some(task) = self.tasks.get_mut(name) {
            task.leaving = None;
        }
        may_stay
    }

    /// Lets tasks leave.
    pub(super) fn depart(&mut self, leave: &[TaskName], departure: Departure) {
        for name in leave {
            match departure {
                Departure::AtOnce => self.remove_task(name),
                Departure::Drained(leaving) => {
                    if let Some(task) = self.tasks.get_mut(name) {
                        task.leaving = Some(leaving);
                    }
                }
            }
        }
    }

    fn uses_ipvs(&self, service: &ServiceName) -> bool {
        let choice = self.services.get(service).map(|service| service.data_plane);
        choice.is_some_and(|choice| {
            self.nodes.values().any(|node| choice.on(node) == DataPlane::Ipvs)
        })
    }

    /// Gives a service's VIPs new marks, where IPVS balances. The old ones keep what is left of the
    /// tasks in `old`. Where a mark has to stay, those that leave stay under it: so it is too when other
    /// tasks come to a service with affinity, for IPVS remembers by the mark who had which task.
    pub(super) fn renew_marks(&mut self, service: &ServiceName, old: &BTreeSet<Id>, why: Renewal) {
        if !self.uses_ipvs(service) {
            return;
        }
        let Some(held) = self.services.get(service) else { return };
        let mesh = self.mesh().map(|network| &network.name);
        let vips = held.all_vips(mesh);
        // Where nobody is left there is nobody to be even about.
        let is_empty = self.rotation_of(service).next().is_none();
        let is_kept = why == Renewal::Tasks && held.balancing.affinity.is_some();
        let stays = |vip: &Vip| is_empty || is_kept || vip.retired.len() >= MOST_RETIRED;
        let vips: Vec<(NetworkName, bool)> =
            vips.map(|(network, vip)| (network.clone(), stays(vip))).collect();
        for (network, stays) in vips {
            let had = self.tasks_of(service).filter(|task| old.contains(&task.id));
            let had = had.filter_map(|task| {
                Some((task.endpoint(&network)?.address, task.leaving.is_some()))
            });
            let had: Vec<(Ipv4Addr, bool)> = had.collect();
            // When no mark is free, evenness is given up as well.
            let mark = if stays { None } else { self.next_fwmark().ok() };
            let Some(held) = self.services.get_mut(service) else { return };
            let scheduler = held.scheduler;
            let Some(vip) = held.vip_mut(&network) else { continue };
            let Some(mark) = mark else {
                let left = had.iter().filter(|(_, leaves)| *leaves);
                vip.lingering.extend(left.map(|(address, _)| *address));
                continue;
            };
            let fwmark = std::mem::replace(&mut vip.fwmark, mark);
            let mut targets = std::mem::take(&mut vip.lingering);
            targets.extend(had.iter().map(|(address, _)| *address));
            if !targets.is_empty() {
                vip.retired.push(Retired { fwmark, targets, scheduler });
            }
        }
    }

    /// Has IPVS pick as weights want it, where it balances. In place that would lose connections, for the
    /// kernel takes the old scheduler away before it brings the new one: so it is under a new mark.
    pub(super) fn settle_schedulers(&mut self) {
        for (name, rotation) in self.otherwise_scheduled() {
            let Some(service) = self.services.get(&name) else { continue };
            let wanted = self.scheduler_for(service);
            let is_full = service.held_vips().any(|vip| vip.retired.len() >= MOST_RETIRED);
            let uses_ipvs = self.uses_ipvs(&name);
            if uses_ipvs && is_full {
                continue;
            }
            if uses_ipvs && !rotation.is_empty() {
                self.renew_marks(&name, &rotation, Renewal::Scheduler);
            }
            if let Some(service) = self.services.get_mut(&name) {
                service.scheduler = wanted;
            }
        }
    }

    /// Takes tasks away that have left; those that were called back meanwhile stay. What waited for
    /// their addresses gets them. Tells whether any was there.
    pub fn finish_leaving(&mut self, tasks: &[(TaskName, Id)]) -> bool {
        let left = |(name, id): &&(TaskName, Id)| {
            self.tasks.get(name).is_some_and(|task| task.id == *id && task.leaving.is_some())
        };
        let left: Vec<TaskName> = tasks.iter().filter(left).map(|(name, _)| name.clone()).collect();
        if !left.is_empty() {
            self.rearrange(|intent| left.iter().for_each(|name| intent.remove_task(name)));
        }
        !left.is_empty()
    }

    /// Takes old marks away that no connection holds any more. Tells whether any was there.
    pub fn forget_retired(&mut self, idle: &BTreeSet<Fwmark>) -> bool {
        let mut forgotten = false;
        for vip in self.services.values_mut().flat_map(Service::held_vips_mut) {
            let before = vip.retired.len();
            vip.retired.retain(|retired| !idle.contains(&retired.fwmark));
            forgotten |= vip.retired.len() < before;
        }
        self.settle_schedulers();
        forgotten
    }

    /// The tasks that are leaving.
    pub fn leaving(&self) -> impl Iterator<Item = (&super::Task, &Leaving)> {
        self.tasks.values().filter_map(|task| Some((task, task.leaving.as_ref()?)))
    }

    /// Every mark that only old connections hold.
    pub fn retired_marks(&self) -> BTreeSet<Fwmark> {
        let vips = self.services.values().flat_map(Service::held_vips);
        vips.flat_map(|vip| &vip.retired).map(|retired| retired.fwmark).collect()
    }

    fn remove_task(&mut self, name: &TaskName) {
        let Some(task) = self.tasks.remove(name) else { return };
        let Some(service) = self.services.get_mut(&name.service) else { return };
        for endpoint in &task.endpoints {
            let Some(vip) = service.vip_mut(&endpoint.network) else { continue };
            // Its address may be given to another: no old virtual server shall mean that one.
            vip.lingering.remove(&endpoint.address);
            for retired in &mut vip.retired {
                retired.targets.remove(&endpoint.address);
            }
            vip.retired.retain(|retired| !retired.targets.is_empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Span;
    use super::super::tests::{network, one_node, service, story};
    use super::*;

    const NOW: u64 = 1_000_000;

    fn web() -> ServiceName {
        "collabweb".parse().unwrap()
    }

    fn vip(intent: &Intent) -> &Vip {
        intent.services[&web()].vips.values().next().unwrap()
    }

    fn slots(intent: &Intent) -> Vec<u32> {
        intent.rotation_of(&web()).map(|task| task.name.slot).collect()
    }

    #[test]
    fn scaling_down_lets_the_highest_slots_leave_until_the_drain_timeout() {
        let mut intent = story();
        intent.drain_service(&web(), 1, NOW).unwrap();
        assert_eq!(slots(&intent), [1]);
        let leaving: Vec<_> =
            intent.leaving().map(|(task, until)| (task.name.slot, *until)).collect();
        let until = Leaving { since: NOW, until: NOW + 10_000, handed_on: false };
        assert_eq!(leaving, [(2, until), (3, until)]);
        assert_eq!(intent.services[&web()].replicas, 1);
    }

    #[test]
    fn a_drain_timeout_of_nothing_lets_tasks_go_at_once() {
        let mut intent = story();
        intent.services.get_mut(&web()).unwrap().drain_timeout = Span::from_secs(0);
        intent.drain_service(&web(), 1, NOW).unwrap();
        assert_eq!(intent.tasks_of(&web()).count(), 1);
    }

    #[test]
    fn scaling_up_calls_back_what_is_leaving_before_anything_new_is_made() {
        let mut intent = story();
        let before: Vec<_> = intent.tasks.values().cloned().collect();
        intent.drain_service(&web(), 1, NOW).unwrap();
        intent.drain_service(&web(), 3, NOW).unwrap();
        let after: Vec<_> = intent.tasks.values().cloned().collect();
        assert_eq!(before, after);
        intent.drain_service(&web(), 2, NOW).unwrap();
        intent.drain_service(&web(), 4, NOW).unwrap();
        assert_eq!(slots(&intent), [1, 2, 3, 4]);
    }

    #[test]
    fn a_new_task_takes_no_slot_of_one_that_is_leaving() {
        let mut intent = story();
        intent.drain_service(&web(), 2, NOW).unwrap();
        let leaving = intent.tasks[&"collabweb.3".parse().unwrap()].clone();
        intent.drain_service(&web(), 4, NOW).unwrap();
        assert_eq!(intent.tasks[&leaving.name].id, leaving.id);
        assert_eq!(slots(&intent), [1, 2, 3, 4]);
    }

    #[test]
    fn the_mark_changes_with_the_tasks_and_the_old_one_keeps_its_targets() {
        let mut intent = story();
        let first = vip(&intent).fwmark;
        intent.drain_service(&web(), 4, NOW).unwrap();
        let second = vip(&intent).fwmark;
        assert_ne!(first, second);
        assert_eq!(vip(&intent).retired[0].fwmark, first);
        assert_eq!(vip(&intent).retired[0].targets.len(), 3);
        intent.drain_service(&web(), 4, NOW).unwrap();
        assert_eq!(vip(&intent).fwmark, second, "nothing changed");
        assert_eq!(intent.retired_marks(), [first].into());
        assert!(intent.forget_retired(&[first].into()));
        assert!(vip(&intent).retired.is_empty());
        assert!(!intent.forget_retired(&[first].into()));
    }

    #[test]
    fn the_mark_stays_where_nftables_balances() {
        let mut intent = one_node();
        intent.nodes.values_mut().for_each(|node| node.ipvs = false);
        network(&mut intent, "n", "10.0.3.0/24");
        service(&mut intent, "collabweb", "n", 2);
        let mark = vip(&intent).fwmark;
        intent.drain_service(&web(), 3, NOW).unwrap();
        assert_eq!(vip(&intent).fwmark, mark);
        assert!(vip(&intent).retired.is_empty());
    }

    #[test]
    fn too_many_old_marks_are_not_added_to() {
        let mut intent = story();
        for replicas in (2..4).cycle().take(30) {
            intent.drain_service(&web(), replicas, NOW).unwrap();
        }
        assert_eq!(vip(&intent).retired.len(), MOST_RETIRED);
        let marks: BTreeSet<Fwmark> = vip(&intent).fwmarks().collect();
        assert_eq!(marks.len(), MOST_RETIRED + 1, "each mark is another");
    }

    #[test]
    fn a_task_that_leaves_without_another_mark_keeps_its_place_under_the_one_that_there_is() {
        let mut intent = story();
        for replicas in (2..4).cycle().take(31) {
            intent.drain_service(&web(), replicas, NOW).unwrap();
        }
        assert_eq!(vip(&intent).retired.len(), MOST_RETIRED);
        let third = intent.tasks[&"collabweb.3".parse().unwrap()].clone();
        assert!(third.leaving.is_some());
        let address = third.endpoints[0].address;
        assert_eq!(vip(&intent).lingering, [address].into());
        let marks = intent.retired_marks();
        intent.forget_retired(&marks);
        intent.drain_service(&web(), 1, NOW).unwrap();
        assert!(vip(&intent).retired[0].targets.contains(&address), "and under it when it is old");
        assert!(vip(&intent).lingering.is_empty());
        intent.finish_leaving(&[(third.name, third.id)]);
        assert!(!vip(&intent).retired[0].targets.contains(&address));
    }

    #[test]
    fn a_task_that_left_is_in_no_old_mark() {
        let mut intent = story();
        intent.drain_service(&web(), 1, NOW).unwrap();
        let left: Vec<_> =
            intent.leaving().map(|(task, _)| (task.name.clone(), task.id.clone())).collect();
        let other = vec![("collabweb.1".parse().unwrap(), "x".into())];
        assert!(!intent.clone().finish_leaving(&other), "it is not leaving");
        assert!(intent.finish_leaving(&left));
        assert_eq!(intent.tasks_of(&web()).count(), 1);
        assert_eq!(vip(&intent).retired[0].targets.len(), 1);
        assert!(!intent.finish_leaving(&left));
    }

    #[test]
    fn a_task_that_was_called_back_stays_though_it_was_found_idle() {
        let mut intent = story();
        intent.drain_service(&web(), 2, NOW).unwrap();
        let left: Vec<_> =
            intent.leaving().map(|(task, _)| (task.name.clone(), task.id.clone())).collect();
        intent.drain_service(&web(), 3, NOW).unwrap();
        assert!(!intent.finish_leaving(&left));
        assert_eq!(slots(&intent), [1, 2, 3]);
    }
}
