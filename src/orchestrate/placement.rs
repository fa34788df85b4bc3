//! Placement: which node gets a task. As Docker does, tasks are spread: a node with fewer tasks of the
//! service comes first, then one with fewer tasks in all, then the first by name.

use std::collections::BTreeMap;

use crate::intent::{
    Availability, DataPlane, Egress, Intent, Liveness, NodeName, NodeRecord, Obstacle, PublishMode,
    Reason, Scheduler, Service,
};

/// Whether a node may run tasks of a service: what does not hold any more makes them leave it.
///
/// # Errors
/// What stands against it.
pub fn eligible(intent: &Intent, node: &NodeRecord, service: &Service) -> Result<(), Obstacle> {
    if node.liveness == Liveness::Down {
        return Err(Obstacle::Down);
    }
    if node.availability == Availability::Drain {
        return Err(Obstacle::Drained);
    }
    let broken = service.placement.constraints.iter().find(|c| !c.admits(node));
    if let Some(constraint) = broken {
        return Err(Obstacle::Constraint(constraint.clone()));
    }
    if !node.ipvs && needs_ipvs(intent, service) {
        return Err(Obstacle::NoIpvs);
    }
    if let Some(scheduler) = lacking(intent, node, service) {
        return Err(Obstacle::NoScheduler(scheduler));
    }
    match intent.keeps_from(node, service) {
        Some(why) => Err(Obstacle::NoEncryption(why.to_owned())),
        None => Ok(()),
    }
}

/// Why the nodes that may not run a service may not.
pub fn obstacles(intent: &Intent, service: &Service) -> Reason {
    let nodes = intent.nodes.values();
    Reason::no_node(nodes.filter_map(|node| {
        eligible(intent, node, service).err().map(|obstacle| (&node.name, obstacle))
    }))
}

/// Whether IPVS, and nothing else, shall balance some VIP in the sandboxes of a service's tasks: its
/// own, or that of another service on one of its networks.
fn needs_ipvs(intent: &Intent, service: &Service) -> bool {
    let beside =
        |other: &&Service| other.networks.iter().any(|network| service.networks.contains(network));
    intent.services.values().filter(beside).any(Service::needs_ipvs)
}

/// A scheduler that is asked for in the sandboxes of a service's tasks, and that a node lacks.
fn lacking(intent: &Intent, node: &NodeRecord, service: &Service) -> Option<Scheduler> {
    let beside =
        |other: &&Service| other.networks.iter().any(|network| service.networks.contains(network));
    let by_ipvs = |other: &&Service| other.data_plane.on(node) == DataPlane::Ipvs;
    let asked = intent.services.values().filter(beside).filter(by_ipvs);
    asked.filter_map(|other| other.balancing.scheduler).find(|asked| node.lacks(*asked))
}

/// Whether a node runs fewer tasks of a service than the most that it may.
///
/// # Errors
/// What stands against it.
pub fn is_below_most(
    intent: &Intent,
    node: &NodeRecord,
    service: &Service,
) -> Result<(), Obstacle> {
    let here = || intent.rotation_of(&service.name).filter(|task| task.node == node.name).count();
    match service.placement.max_per_node {
        Some(most) if here() as u32 >= most.get() => Err(Obstacle::MaxPerNode(most.get())),
        _ => Ok(()),
    }
}

/// Whether a node that is eligible takes one more task: what does not hold any more makes none leave.
///
/// # Errors
/// What stands against it.
pub fn has_room(intent: &Intent, node: &NodeRecord, service: &Service) -> Result<(), Obstacle> {
    is_below_most(intent, node, service)?;
    if let Some((port, by)) = intent.holder_of_ports(&service.ports, &node.name) {
        let (port, transport) = (port.published, port.transport);
        return Err(Obstacle::PortTaken { port, transport, by });
    }
    if !intent.is_outward(&service.networks) {
        return Ok(());
    }
    match &node.egress {
        Egress::Impossible(why) => Err(Obstacle::NoWayOut(why.clone())),
        Egress::Through(pool) if intent.room_on_gateway(&node.name) == Some(0) => {
            Err(Obstacle::FullGateway(pool.subnet.capacity()))
        }
        Egress::Through(_) | Egress::Unknown => Ok(()),
    }
}

/// Where tasks go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spread {
    /// In the order in which they are placed.
    pub nodes: Vec<NodeName>,
    /// Why there is no node for the others.
    pub rest: Option<Reason>,
}

/// A node that takes tasks.
struct Candidate<'a> {
    of_service: usize,
    in_all: usize,
    name: &'a NodeName,
    /// How many more it takes, and what stands against more.
    room: Option<(u32, Obstacle)>,
}

/// Nodes for up to `count` tasks of a service.
pub fn spread(intent: &Intent, service: &Service, count: usize) -> Spread {
    let mut blocked: Vec<(&NodeName, Obstacle)> = Vec::new();
    let mut candidates = Vec::new();
    let mut in_all: BTreeMap<&NodeName, usize> = BTreeMap::new();
    for task in intent.tasks.values() {
        *in_all.entry(&task.node).or_default() += 1;
    }
    for (name, node) in &intent.nodes {
        let open = eligible(intent, node, service).and_then(|()| has_room(intent, node, service));
        match open {
            Ok(()) => candidates.push(candidate(intent, service, node, &in_all)),
            Err(obstacle) => blocked.push((name, obstacle)),
        }
    }
    let mut nodes = Vec::with_capacity(count);
    while nodes.len() < count {
        let least =
            candidates.iter().enumerate().min_by_key(|(_, c)| (c.of_service, c.in_all, c.name));
        let Some((at, _)) = least else { break };
        let least = &mut candidates[at];
        nodes.push(least.name.clone());
        least.of_service += 1;
        least.in_all += 1;
        if let Some((room, obstacle)) = &mut least.room {
            *room -= 1;
            if *room == 0 {
                blocked.push((least.name, obstacle.clone()));
                candidates.remove(at);
            }
        }
    }
    blocked.sort();
    let rest = (nodes.len() < count).then(|| Reason::no_node(blocked));
    Spread { nodes, rest }
}

fn candidate<'a>(
    intent: &Intent,
    service: &Service,
    node: &'a NodeRecord,
    in_all: &BTreeMap<&NodeName, usize>,
) -> Candidate<'a> {
    let of_service =
        intent.rotation_of(&service.name).filter(|task| task.node == node.name).count();
    let most = service.placement.max_per_node.map(|most| {
        let left = most.get().saturating_sub(of_service as u32);
        (left, Obstacle::MaxPerNode(most.get()))
    });
    let gateway =
        node.gateway().filter(|_| intent.is_outward(&service.networks)).and_then(|pool| {
            let left = intent.room_on_gateway(&node.name)?;
            Some((left, Obstacle::FullGateway(pool.subnet.capacity())))
        });
    // One task of a node can answer at a port.
    let port = service.ports.iter().find(|port| port.mode == PublishMode::Host).map(|port| {
        let (port, transport) = (port.published, port.transport);
        (1, Obstacle::PortTaken { port, transport, by: service.name.clone() })
    });
    Candidate {
        of_service,
        in_all: in_all.get(&node.name).copied().unwrap_or_default(),
        name: &node.name,
        room: most.into_iter().chain(gateway).chain(port).min(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::tests::{network, one_node, service, spec};
    use crate::intent::{Placement, ServiceName};

    /// A cluster of as many nodes, with network `n`.
    fn nodes(count: usize) -> Intent {
        let mut intent = one_node();
        for number in 2..=count {
            let name: NodeName = format!("node-{number}").parse().unwrap();
            intent.nodes.insert(name.clone(), NodeRecord::new(name, true));
        }
        network(&mut intent, "n", "10.0.1.0/24");
        intent
    }

    fn name(node: &str) -> NodeName {
        node.parse().unwrap()
    }

    fn node<'a>(intent: &'a mut Intent, node: &str) -> &'a mut NodeRecord {
        intent.nodes.get_mut(&name(node)).unwrap()
    }

    fn placed(intent: &Intent) -> Vec<String> {
        let of = |task: &crate::intent::Task| format!("{} {}", task.name, task.node);
        intent.tasks.values().map(of).collect()
    }

    fn on(constraint: &str) -> Placement {
        Placement { constraints: vec![constraint.parse().unwrap()], max_per_node: None }
    }

    fn make(intent: &mut Intent, name: &str, replicas: u32, placement: Placement) {
        let spec = crate::intent::ServiceSpec { placement, ..spec(name, "n", replicas) };
        intent.create_service(spec, format!("id-{name}"), 0).unwrap();
    }

    fn waiting(intent: &Intent, service: &str) -> Vec<(u32, String)> {
        let service: ServiceName = service.parse().unwrap();
        let pending = &intent.services[&service].pending;
        pending.iter().map(|(slot, pending)| (*slot, pending.reason.to_string())).collect()
    }

    #[test]
    fn tasks_spread_over_the_nodes() {
        let mut intent = nodes(2);
        service(&mut intent, "a", "n", 3);
        service(&mut intent, "b", "n", 1);
        let expected = ["a.1 node-1", "a.2 node-2", "a.3 node-1", "b.1 node-2"];
        assert_eq!(placed(&intent), expected);
    }

    #[test]
    fn a_node_without_the_service_comes_before_one_with_fewer_tasks_in_all() {
        let mut intent = nodes(2);
        make(&mut intent, "a", 5, on("node.name==node-1"));
        service(&mut intent, "b", "n", 1);
        assert_eq!(intent.tasks[&"b.1".parse().unwrap()].node, name("node-2"));
        intent.scale_service(&"b".parse().unwrap(), 2).unwrap();
        assert_eq!(intent.tasks[&"b.2".parse().unwrap()].node, name("node-1"));
    }

    #[test]
    fn nodes_that_are_drained_or_down_or_lack_ipvs_get_no_task() {
        let mut intent = nodes(4);
        node(&mut intent, "node-1").availability = Availability::Drain;
        node(&mut intent, "node-2").liveness = Liveness::Down;
        node(&mut intent, "node-3").ipvs = false;
        let ipvs = crate::intent::ServiceSpec {
            data_plane: crate::intent::DataPlaneChoice::Ipvs,
            ..spec("a", "n", 2)
        };
        intent.create_service(ipvs, "x".into(), 0).unwrap();
        assert_eq!(placed(&intent), ["a.1 node-4", "a.2 node-4"]);
        service(&mut intent, "b", "n", 1);
        assert_eq!(placed(&intent).last().unwrap(), "b.1 node-4", "`a` is on its network");
        network(&mut intent, "m", "10.0.2.0/24");
        service(&mut intent, "c", "m", 1);
        assert_eq!(placed(&intent).last().unwrap(), "c.1 node-3");
    }

    #[test]
    fn without_a_suitable_node_a_task_waits_and_the_reason_is_kept() {
        let mut intent = nodes(3);
        node(&mut intent, "node-2").availability = Availability::Drain;
        make(&mut intent, "a", 1, on("node.label.disk==ssd"));
        let said =
            "no suitable node: node-2 is drained; 2 nodes do not satisfy node.label.disk==ssd";
        assert_eq!(waiting(&intent, "a"), [(1, said.to_owned())]);
        assert!(intent.tasks.is_empty());
        let error = intent.task("a.1").unwrap_err().to_string();
        assert_eq!(error, format!("task a.1 has no place yet: {said}"));
        let mut empty = nodes(1);
        empty.nodes.clear();
        service(&mut empty, "a", "n", 1);
        assert_eq!(waiting(&empty, "a"), [(1, "there is no node".to_owned())]);
    }

    #[test]
    fn no_node_gets_more_tasks_of_a_service_than_it_may() {
        let mut intent = nodes(2);
        let two = Placement { max_per_node: 2.try_into().ok(), ..Placement::default() };
        make(&mut intent, "a", 5, two);
        assert_eq!(placed(&intent).len(), 4);
        let said = "no suitable node: 2 nodes have 2 of its tasks, the most that a node may have";
        assert_eq!(waiting(&intent, "a"), [(5, said.to_owned())]);
    }
}
