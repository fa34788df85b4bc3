//! How tasks leave rotation, and how a VIP's mark changes when the tasks behind it do.
//!
//! IPVS puts a new real server at the head of its list, so after a change in place every sandbox would
//! begin with the same task. Therefore a VIP gets a new mark whenever the tasks in rotation change: its
//! virtual server is built in each sandbox's own order beside the old one, which keeps the connections
//! that began under the old mark until the last is gone.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::{
    DataPlane, Fwmark, Id, Intent, IntentError, Leaving, NetworkName, NodeRecord, Retired,
    ServiceName, Task, TaskName, Vip,
};

/// Most old marks that a VIP keeps while connections hold them. Beyond that its tasks change under the
/// mark that it has: evenness is given up before connections are.
pub const MOST_RETIRED: usize = 8;

/// How tasks go that are not wanted any more.
#[derive(Debug, Clone, Copy)]
pub(super) enum Departure {
    AtOnce,
    Drained(Leaving),
}

impl Vip {
    /// Every mark that is its own: the one that packets get, and those of old connections.
    pub fn fwmarks(&self) -> impl Iterator<Item = Fwmark> {
        let retired = self.retired.iter().map(|retired| retired.fwmark);
        std::iter::once(self.fwmark).chain(retired)
    }
}

impl Intent {
    /// Takes up to `count` tasks that are leaving back into rotation, the lowest slots first; tells
    /// how many.
    pub(super) fn call_back(&mut self, service: &ServiceName, count: usize) -> usize {
        let takes = |task: &Task| self.nodes.get(&task.node).is_some_and(NodeRecord::takes_tasks);
        let leaving = self.tasks_of(service).filter(|task| !task.in_rotation() && takes(task));
        let names: Vec<TaskName> = leaving.map(|task| task.name.clone()).take(count).collect();
        for name in &names {
            if let Some(task) = self.tasks.get_mut(name) {
                task.leaving = None;
            }
        }
        names.len()
    }

    /// Lets tasks leave, and gives the service's VIPs new marks when the tasks in rotation are not
    /// those of `before`.
    pub(super) fn turn_over(
        &mut self,
        service: &ServiceName,
        before: &[TaskName],
        leave: &[TaskName],
        departure: Departure,
    ) -> Result<(), IntentError> {
        let old: BTreeSet<TaskName> = before.iter().cloned().collect();
        let gone: BTreeSet<&TaskName> = leave.iter().collect();
        let new = self.rotation_of(service).map(|task| task.name.clone());
        let new: BTreeSet<TaskName> = new.filter(|name| !gone.contains(name)).collect();
        if old != new && !old.is_empty() && !new.is_empty() && self.uses_ipvs(service) {
            self.renew_marks(service, &old)?;
        }
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
        Ok(())
    }

    fn uses_ipvs(&self, service: &ServiceName) -> bool {
        let choice = self.services.get(service).map(|service| service.data_plane);
        choice.is_some_and(|choice| {
            self.nodes.values().any(|node| choice.on(node) == DataPlane::Ipvs)
        })
    }

    fn renew_marks(
        &mut self,
        service: &ServiceName,
        old: &BTreeSet<TaskName>,
    ) -> Result<(), IntentError> {
        let Some(held) = self.services.get(service) else { return Ok(()) };
        let full = |vip: &Vip| vip.retired.len() >= MOST_RETIRED;
        let renewed = held.vips.iter().filter(|(_, vip)| !full(vip));
        let renewed: Vec<NetworkName> = renewed.map(|(network, _)| network.clone()).collect();
        for network in renewed {
            let endpoint = |name| Some(self.tasks.get(name)?.endpoint(&network)?.address);
            let targets: BTreeSet<Ipv4Addr> = old.iter().filter_map(endpoint).collect();
            let mark = self.next_fwmark()?;
            let vip = self.services.get_mut(service).and_then(|held| held.vips.get_mut(&network));
            if let Some(vip) = vip {
                let fwmark = std::mem::replace(&mut vip.fwmark, mark);
                vip.retired.push(Retired { fwmark, targets });
            }
        }
        Ok(())
    }

    /// Takes tasks away that have left; those that were called back meanwhile stay. Tells whether
    /// any was there.
    pub fn finish_leaving(&mut self, tasks: &[(TaskName, Id)]) -> bool {
        let left = |(name, id): &&(TaskName, Id)| {
            self.tasks.get(name).is_some_and(|task| task.id == *id && task.leaving.is_some())
        };
        let left: Vec<TaskName> = tasks.iter().filter(left).map(|(name, _)| name.clone()).collect();
        left.iter().for_each(|name| self.remove_task(name));
        !left.is_empty()
    }

    /// Takes old marks away that no connection holds any more. Tells whether any was there.
    pub fn forget_retired(&mut self, idle: &BTreeSet<Fwmark>) -> bool {
        let mut forgotten = false;
        for vip in self.services.values_mut().flat_map(|service| service.vips.values_mut()) {
            let before = vip.retired.len();
            vip.retired.retain(|retired| !idle.contains(&retired.fwmark));
            forgotten |= vip.retired.len() < before;
        }
        forgotten
    }

    /// The tasks that are leaving.
    pub fn leaving(&self) -> impl Iterator<Item = (&Task, &Leaving)> {
        self.tasks.values().filter_map(|task| Some((task, task.leaving.as_ref()?)))
    }

    /// Every mark that only old connections hold.
    pub fn retired_marks(&self) -> BTreeSet<Fwmark> {
        let vips = self.services.values().flat_map(|service| service.vips.values());
        vips.flat_map(|vip| &vip.retired).map(|retired| retired.fwmark).collect()
    }

    pub(super) fn remove_task(&mut self, name: &TaskName) {
        let Some(task) = self.tasks.remove(name) else { return };
        let Some(service) = self.services.get_mut(&name.service) else { return };
        for endpoint in &task.endpoints {
            let Some(vip) = service.vips.get_mut(&endpoint.network) else { continue };
            // Its address may be given to another: no old virtual server shall mean that one.
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
        let until = Leaving { since: NOW, until: NOW + 10_000 };
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
