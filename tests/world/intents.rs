//! Intents, made with the edits that the commands use.

use std::net::Ipv4Addr;

use swarmlb::intent::{
    ClusterId, DataPlaneChoice, Intent, Machine, NetworkName, NetworkSpec, NodeName, NodeRecord,
    PortSpec, ServiceName, ServiceSpec,
};
use swarmlb::lower::lower;
use swarmlb::node::Node;

use super::in_vm;
use super::node::without_processes;

pub fn node_name() -> NodeName {
    "node-1".parse().expect("a name")
}

/// A cluster of one node, which has a gateway bridge, and which has IPVS in the virtual machine and not elsewhere.
pub fn empty() -> Intent {
    let mut intent = Intent::new(ClusterId("test".into()));
    intent.nodes.insert(node_name(), NodeRecord::new(node_name(), in_vm()));
    intent.settle_egress(&node_name(), Ok(&Machine::default()));
    intent
}

pub fn network(intent: &mut Intent, name: &str, subnet: &str) {
    let subnets = subnet.split(',').map(|subnet| subnet.parse().expect("a subnet"));
    let spec = NetworkSpec {
        subnets: subnets.collect(),
        ..NetworkSpec::new(name.parse().expect("a name"))
    };
    intent.create_network(spec, format!("id-{name}"), &Machine::default()).expect("a network");
}

pub fn service(intent: &mut Intent, name: &str, networks: &[&str], replicas: u32) {
    service_on(intent, name, networks, replicas, DataPlaneChoice::Auto);
}

pub fn service_on(
    intent: &mut Intent,
    name: &str,
    networks: &[&str],
    replicas: u32,
    data_plane: DataPlaneChoice,
) {
    let networks: Vec<NetworkName> =
        networks.iter().map(|network| network.parse().expect("a name")).collect();
    let spec = ServiceSpec::new(name.parse().expect("a name"), networks[0].clone());
    let spec = ServiceSpec { replicas, networks, data_plane, ..spec };
    intent.create_service(spec, format!("id-{name}"), 0).expect("a service");
}

/// `collabnet`, `collabweb` with three tasks and `collab-box`.
pub fn story() -> Intent {
    let mut intent = empty();
    network(&mut intent, "collabnet", "10.0.3.0/24");
    service(&mut intent, "collabweb", &["collabnet"], 3);
    service(&mut intent, "collab-box", &["collabnet"], 1);
    intent
}

/// Two networks, one of two subnets, a service on both, of which one task is on another node, one without tasks, one on the other data plane.
pub fn crossing() -> Intent {
    let mut intent = story();
    network(&mut intent, "second", "10.0.4.0/29,10.0.5.0/28");
    service(&mut intent, "both", &["collabnet", "second"], 2);
    service(&mut intent, "idle", &["second"], 0);
    service_on(&mut intent, "plain", &["second"], 2, DataPlaneChoice::Nftables);
    let mut intent = with_a_peer(intent);
    let moved = intent.tasks.get_mut(&"both.2".parse().expect("a name")).expect("a task");
    moved.node = "node-2".parse().expect("a name");
    intent
}

/// The same with a second node, to which the next tasks go.
pub fn with_a_peer(mut intent: Intent) -> Intent {
    let peer: NodeName = "node-2".parse().expect("a name");
    intent.nodes.insert(peer.clone(), NodeRecord::new(peer, in_vm()));
    for (record, last) in intent.nodes.values_mut().zip(1..) {
        record.address = Some(Ipv4Addr::new(192, 0, 2, last));
    }
    intent
}

/// The crossing, with ports published in each way on both data planes.
pub fn published() -> Intent {
    let mut intent = crossing();
    intent.create_ingress("id-ingress".into(), &Machine::default()).expect("a mesh");
    publish(
        &mut intent,
        "front",
        2,
        DataPlaneChoice::Auto,
        &["published=8080,target=80,source=client", "53:53/udp"],
    );
    publish(&mut intent, "side", 1, DataPlaneChoice::Nftables, &["192.0.2.1:9:9/sctp"]);
    publish(&mut intent, "own", 1, DataPlaneChoice::Auto, &["mode=host,published=81,target=80"]);
    intent
}

pub fn publish(
    intent: &mut Intent,
    name: &str,
    replicas: u32,
    data_plane: DataPlaneChoice,
    ports: &[&str],
) {
    let ports: Vec<PortSpec> = ports.iter().map(|port| port.parse().expect("a port")).collect();
    let ports = intent.choose_ports(&ports, &[]).expect("free ports");
    let network: NetworkName = "collabnet".parse().expect("a name");
    let spec = ServiceSpec::new(name.parse().expect("a name"), network);
    let spec = ServiceSpec { replicas, data_plane, ports, ..spec };
    intent.create_service(spec, format!("id-{name}"), 0).expect("a service");
}

/// What the node shall hold, processes left aside.
pub fn desired(intent: &Intent) -> Node {
    without_processes(lower(intent, &node_name()))
}

/// A fixed sequence of numbers (splitmix64).
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }
}

/// One edit at random: its words, and the intent afterwards. What the intent refuses is no edit.
pub fn random_edit(intent: &Intent, dice: &mut Dice) -> (String, Intent) {
    loop {
        let mut edited = intent.clone();
        let services: Vec<ServiceName> = intent.services.keys().cloned().collect();
        let number = dice.below(3);
        let words = match dice.below(7) {
            0 if intent.networks.len() < 3 => {
                let subnet = format!("10.0.{}.0/27", 10 + number);
                let name = format!("net-{number}");
                if intent.networks.contains_key(&name.parse().expect("a name")) {
                    continue;
                }
                network(&mut edited, &name, &subnet);
                format!("network {name}")
            }
            1 if intent.services.len() < 4 && !intent.networks.is_empty() => {
                let name = format!("svc-{number}");
                if intent.services.contains_key(&name.parse().expect("a name")) {
                    continue;
                }
                let networks: Vec<&str> =
                    intent.networks.keys().skip(dice.below(2)).map(|n| n.as_str()).collect();
                if networks.is_empty() {
                    continue;
                }
                service(&mut edited, &name, &networks, number as u32);
                format!("service {name} × {number} on {networks:?}")
            }
            2 | 3 if !services.is_empty() => {
                let name = &services[dice.below(services.len())];
                let replicas = dice.below(4) as u32;
                let at_once = dice.below(2) == 0;
                let scaled = match at_once {
                    true => edited.scale_service(name, replicas),
                    false => edited.drain_service(name, replicas, 0),
                };
                if scaled.is_err() {
                    continue;
                }
                format!("scale {name} to {replicas}, at once: {at_once}")
            }
            6 => {
                let left = intent.leaving().map(|(task, _)| (task.name.clone(), task.id.clone()));
                let left: Vec<_> = left.collect();
                let any =
                    edited.finish_leaving(&left) | edited.forget_retired(&intent.retired_marks());
                if !any {
                    continue;
                }
                format!("take away {} and old marks", left.len())
            }
            4 if !services.is_empty() => {
                let name = &services[dice.below(services.len())];
                edited.remove_service(name).expect("it is there");
                format!("remove service {name}")
            }
            5 => {
                let names: Vec<_> = intent.networks.keys().cloned().collect();
                if names.is_empty() {
                    continue;
                }
                let name = &names[dice.below(names.len())];
                if edited.remove_network(name).is_err() {
                    continue;
                }
                format!("remove network {name}")
            }
            _ => continue,
        };
        return (words, edited);
    }
}
