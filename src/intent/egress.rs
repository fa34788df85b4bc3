//! How tasks reach the outside: each node has a gateway bridge, and each task that is on a network
//! which is not internal has an address on it. The range is chosen once for each node.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::{Egress, Intent, IntentError, Machine, NodeName, Pool, Service, Subnet};

/// The length of a gateway bridge's range: a bridge has at most 1024 ports (BR_MAX_PORTS).
const LENGTH: u8 = 22;
/// Ranges are looked for here, one after another: first where Docker takes none by default.
const WITHIN: [([u8; 4], u8); 3] =
    [([172, 16, 0, 0], 16), ([172, 16, 0, 0], 12), ([192, 168, 0, 0], 16)];

impl Intent {
    /// Notes how a node reaches the outside. The range that it has stays while a task has an address
    /// of it, and while no route of the machine came to overlap it. Tasks that lack an address get
    /// one.
    pub fn settle_egress(&mut self, name: &NodeName, found: Result<&Machine, String>) {
        let held = self.nodes.get(name).and_then(|node| node.gateway().cloned());
        let in_use = self.tasks.values().any(|task| task.node == *name && task.egress.is_some());
        let egress = match (held, found) {
            (Some(pool), _) if in_use => Egress::Through(pool),
            (_, Err(reason)) => Egress::Impossible(reason),
            (held, Ok(machine)) => self.choose_egress(name, held, machine),
        };
        if let Some(node) = self.nodes.get_mut(name) {
            node.egress = egress;
        }
        self.complete_egress(name);
        self.settle();
    }

    fn choose_egress(&self, name: &NodeName, held: Option<Pool>, machine: &Machine) -> Egress {
        let mut others = self.clone();
        others.nodes.remove(name);
        let free = |subnet: &Subnet| others.free_subnet(*subnet, machine).is_ok();
        // The bridge of an agent that was killed may still have a route: to exactly this range.
        let own = |pool: &Pool| {
            machine
                .routes
                .iter()
                .all(|route| *route == pool.subnet.net() || !pool.subnet.overlaps(route))
        };
        if let Some(pool) = held.filter(own) {
            return Egress::Through(pool);
        }
        match candidates(self.turn(name)).find(free) {
            Some(subnet) => Egress::Through(Pool::new(subnet, None)),
            None => Egress::Impossible(format!(
                "its routes leave no /{LENGTH} of 172.16.0.0/12 or 192.168.0.0/16"
            )),
        }
    }

    /// Where a node begins to look, so that two clusters on one machine seldom want the same.
    fn turn(&self, name: &NodeName) -> usize {
        let words = self.cluster.id.0.bytes().chain(name.as_str().bytes());
        words.fold(0, |turn: usize, byte| turn.wrapping_mul(31).wrapping_add(usize::from(byte)))
    }

    /// Gives tasks of a node an address that they lack; a full bridge leaves some without.
    fn complete_egress(&mut self, name: &NodeName) {
        let lacking = |intent: &Intent| -> Vec<super::TaskName> {
            let on_node = intent.tasks.values().filter(|t| t.node == *name && t.egress.is_none());
            let outward = on_node.filter(|task| {
                let service = intent.services.get(&task.name.service);
                service.is_some_and(|service| intent.is_outward(service))
            });
            outward.map(|task| task.name.clone()).collect()
        };
        for task in lacking(self) {
            let address = self.next_egress(name);
            if let Some(task) = self.tasks.get_mut(&task) {
                task.egress = address;
            }
        }
    }

    /// Whether a service's tasks reach the outside, as far as its networks go.
    pub fn is_outward(&self, service: &Service) -> bool {
        let internal = |name| self.networks.get(name).is_none_or(|network| network.internal);
        !service.networks.iter().all(internal)
    }

    /// The next address on a node's gateway bridge; none where there is no such bridge, or no room.
    pub(super) fn next_egress(&mut self, name: &NodeName) -> Option<Ipv4Addr> {
        let mut used = self.egress_used(name);
        let Egress::Through(pool) = &mut self.nodes.get_mut(name)?.egress else { return None };
        if pool.left(&used) == 0 {
            return None;
        }
        pool.take(1, &mut used).pop()
    }

    /// How many more tasks a node's gateway bridge has room for; none where there is no such bridge.
    pub fn room_on_gateway(&self, name: &NodeName) -> Option<u32> {
        let pool = self.nodes.get(name)?.gateway()?;
        Some(pool.left(&self.egress_used(name)))
    }

    /// The addresses of a node's gateway bridge that tasks have.
    pub fn egress_used(&self, name: &NodeName) -> BTreeSet<Ipv4Addr> {
        let tasks = self.tasks.values().filter(|task| task.node == *name);
        tasks.filter_map(|task| task.egress).collect()
    }

    /// A network with a way to the outside needs nodes that have one.
    pub(super) fn check_egress(&self) -> Result<(), IntentError> {
        for node in self.nodes.values() {
            if let Egress::Impossible(reason) = &node.egress {
                let (node, reason) = (node.name.clone(), reason.clone());
                return Err(IntentError::NoEgress { node, reason });
            }
        }
        Ok(())
    }
}

/// Every range that a gateway bridge may have; those of the first block rotated by `turn`.
fn candidates(turn: usize) -> impl Iterator<Item = Subnet> {
    let all = |(first, length): ([u8; 4], u8)| {
        let block = Ipv4Net::new(Ipv4Addr::from(first), length).ok();
        let ranges: Vec<Ipv4Net> =
            block.and_then(|block| block.subnets(LENGTH).ok()).into_iter().flatten().collect();
        ranges
    };
    let [mut first, second, third] = WITHIN.map(all);
    let middle = turn % first.len().max(1);
    first.rotate_left(middle);
    let ranges = first.into_iter().chain(second).chain(third);
    ranges.filter_map(|range| Subnet::new(range).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::tests::{network, one_node, service, story};
    use crate::intent::{NetworkSpec, TaskName};

    fn node_1() -> NodeName {
        "node-1".parse().unwrap()
    }

    fn machine(routes: &[&str]) -> Machine {
        Machine { routes: routes.iter().map(|route| route.parse().unwrap()).collect() }
    }

    fn range(intent: &Intent) -> String {
        intent.nodes[&node_1()].gateway().expect("a range").subnet.to_string()
    }

    fn egress(intent: &Intent, task: &str) -> Option<Ipv4Addr> {
        let task: TaskName = task.parse().unwrap();
        intent.tasks[&task].egress
    }

    #[test]
    fn a_range_is_chosen_once_and_overlaps_nothing() {
        let mut intent = one_node();
        intent.settle_egress(&node_1(), Ok(&machine(&[])));
        let first = range(&intent);
        assert!(first.ends_with("/22") && first.starts_with("172.16."), "{first}");
        intent.settle_egress(&node_1(), Ok(&machine(&["10.0.0.0/8"])));
        assert_eq!(range(&intent), first);
        let mut other = one_node();
        other.settle_egress(&node_1(), Ok(&machine(&["172.16.0.0/16", &first])));
        assert_eq!(range(&other), "172.17.0.0/22");
        network(&mut other, "wide", "172.18.0.0/15");
        other.settle_egress(&node_1(), Ok(&machine(&["172.16.0.0/15"])));
        assert_eq!(range(&other), "172.20.0.0/22");
    }

    #[test]
    fn a_range_in_use_stays_whatever_routes_come() {
        let mut intent = one_node();
        intent.settle_egress(&node_1(), Ok(&machine(&[])));
        let first = range(&intent);
        network(&mut intent, "blue", "10.0.3.0/24");
        service(&mut intent, "web", "blue", 2);
        intent.settle_egress(&node_1(), Ok(&machine(&["172.16.0.0/12"])));
        assert_eq!(range(&intent), first);
        intent.settle_egress(&node_1(), Err("no more".into()));
        assert_eq!(range(&intent), first);
    }

    #[test]
    fn tasks_get_an_address_of_it_unless_all_their_networks_are_internal() {
        let mut intent = one_node();
        intent.settle_egress(&node_1(), Ok(&machine(&[])));
        network(&mut intent, "blue", "10.0.3.0/24");
        let hidden = NetworkSpec { internal: true, ..NetworkSpec::new("hidden".parse().unwrap()) };
        intent.create_network(hidden, "id".into(), &machine(&[])).unwrap();
        service(&mut intent, "web", "blue", 2);
        service(&mut intent, "inner", "hidden", 1);
        let mut both = crate::intent::tests::spec("both", "hidden", 1);
        both.networks.push("blue".parse().unwrap());
        intent.create_service(both, "id".into(), 0).unwrap();
        assert_eq!(egress(&intent, "inner.1"), None);
        let addresses: BTreeSet<_> =
            ["web.1", "web.2", "both.1"].map(|task| egress(&intent, task).unwrap()).into();
        assert_eq!(addresses.len(), 3);
        let gateway = intent.nodes[&node_1()].gateway().unwrap().gateway;
        assert!(!addresses.contains(&gateway));
    }

    #[test]
    fn tasks_from_before_get_an_address_once_there_is_a_range() {
        let mut intent = story();
        assert_eq!(egress(&intent, "collabweb.1"), None);
        intent.settle_egress(&node_1(), Ok(&machine(&[])));
        assert_eq!(intent.egress_used(&node_1()).len(), intent.tasks.len());
    }

    #[test]
    fn without_masquerading_only_internal_networks_are_made() {
        let mut intent = one_node();
        intent.settle_egress(&node_1(), Err("no masquerading".into()));
        let spec = NetworkSpec::new("blue".parse().unwrap());
        let error = intent.create_network(spec.clone(), "id".into(), &machine(&[])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "node `node-1` cannot let tasks reach the outside: no masquerading"
        );
        let spec = NetworkSpec { internal: true, ..spec };
        intent.create_network(spec, "id".into(), &machine(&[])).unwrap();
    }

    #[test]
    fn a_network_never_takes_the_range_of_a_gateway_bridge() {
        let mut intent = one_node();
        intent.settle_egress(&node_1(), Ok(&machine(&[])));
        let subnet = intent.nodes[&node_1()].gateway().unwrap().subnet;
        let spec =
            NetworkSpec { subnets: vec![subnet], ..NetworkSpec::new("blue".parse().unwrap()) };
        let error = intent.create_network(spec, "id".into(), &machine(&[])).unwrap_err();
        assert!(matches!(error, IntentError::SubnetGateway { .. }), "{error}");
    }

    #[test]
    fn a_task_that_a_full_gateway_bridge_has_no_room_for_waits_until_there_is() {
        let mut intent = one_node();
        intent.settle_egress(&node_1(), Ok(&machine(&[])));
        network(&mut intent, "blue", "10.8.0.0/16");
        service(&mut intent, "web", "blue", 1000);
        service(&mut intent, "api", "blue", 22);
        let api = "api".parse().unwrap();
        let waiting = &intent.services[&api].pending;
        assert_eq!(
            waiting[&22].reason.to_string(),
            "no suitable node: node-1 has 1021 tasks on its gateway bridge, which has room for no more"
        );
        intent.scale_service(&"web".parse().unwrap(), 999).unwrap();
        assert!(intent.services[&api].pending.is_empty());
        assert!(egress(&intent, "api.22").is_some());
    }
}
