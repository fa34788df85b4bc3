//! Overlay networks: on each node that has something on one, a sandbox with a bridge, the gateway and
//! a VXLAN device, in which stand the ways to what is on it elsewhere, and no others. So nothing is
//! ever flooded to other nodes, and none of them is asked by ARP.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::intent::{Intent, Network, NetworkName, NodeName};
use crate::node::object::{BRIDGE, VXLAN};
use crate::node::{
    Address, ForwardingEntry, Link, LinkKind, Mac, Neighbour, Node, Sandbox, SandboxName,
};

/// The MTU of every Linux loopback, in bytes.
const LOOPBACK_MTU: u32 = 65536;
/// What an Ethernet underlay carries, in bytes.
const ETHERNET_MTU: u32 = 1500;
/// What an overlay's MTU may be, in bytes.
const LEAST_MTU: u32 = 576;
const LARGEST_MTU: u32 = 8950;

/// In what a frame of an overlay crosses the underlay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrapping {
    /// VXLAN.
    Plain,
    /// VXLAN in ESP: transport mode, AES-GCM with an integrity value of 128 bits.
    Encrypted,
}

impl Wrapping {
    /// The longest packet that fits into one of the underlay.
    pub fn room(self, underlay: u32) -> u32 {
        // Of the underlay's packet: IPv4, UDP, VXLAN, and the frame's own Ethernet header.
        let (ip, udp_vxlan_ethernet) = (20, 8 + 8 + 14);
        let room = match self {
            Wrapping::Plain => underlay.saturating_sub(ip + udp_vxlan_ethernet),
            Wrapping::Encrypted => {
                // SPI and sequence number, nonce, integrity value; what is between the last two ends
                // with two bytes of its own and is a multiple of four long (RFC 4303, RFC 4106).
                let enclosed = underlay.saturating_sub(ip + 8 + 8 + 16) & !3;
                enclosed.saturating_sub(2 + udp_vxlan_ethernet)
            }
        };
        room.clamp(LEAST_MTU, LARGEST_MTU)
    }
}

/// A network's MTU, the same on every node: the one that was asked for, else what the narrowest of
/// the nodes' links leaves. By it every link of the network changes when a node with a narrower one
/// joins.
pub fn mtu(intent: &Intent, network: &Network) -> u32 {
    let wrapping = if network.encrypted { Wrapping::Encrypted } else { Wrapping::Plain };
    network.mtu.unwrap_or_else(|| wrapping.room(underlay_mtu(intent)))
}

/// What every node's links carry.
fn underlay_mtu(intent: &Intent) -> u32 {
    let told = intent.nodes.values().filter_map(|record| record.underlay_mtu);
    told.min().unwrap_or(ETHERNET_MTU)
}

/// What is on a network: on which node, with which address.
pub type Members<'a> = Vec<(&'a NodeName, Ipv4Addr)>;

/// What is on each network.
pub fn members(intent: &Intent) -> BTreeMap<&NetworkName, Members<'_>> {
    let mut members = BTreeMap::<_, Members<'_>>::new();
    for task in intent.tasks.values() {
        for endpoint in &task.endpoints {
            members.entry(&endpoint.network).or_default().push((&task.node, endpoint.address));
        }
    }
    for record in intent.nodes.values().filter(|_| intent.has_meshed_services()) {
        if let Some(ingress) = &record.ingress {
            let on = &ingress.endpoint;
            members.entry(&on.network).or_default().push((&record.name, on.address));
        }
    }
    for held in intent.attachments.values().filter(|held| !held.leaving) {
        let on = &held.endpoint;
        members.entry(&on.network).or_default().push((&held.node, on.address));
    }
    members
}

pub fn loopback() -> Link {
    Link {
        kind: LinkKind::Loopback,
        mac: None,
        mtu: LOOPBACK_MTU,
        master: None,
        isolated: false,
        up: true,
    }
}

pub(super) fn lower(intent: &Intent, name: &NodeName, node: &mut Node) {
    let members = members(intent);
    // A node that is alone holds them all, so that one that its kernel will not have is refused when
    // it is made.
    let alone = intent.nodes.len() == 1;
    for network in intent.networks.values() {
        let on_it = members.get(&network.name).map(Vec::as_slice).unwrap_or_default();
        if alone || on_it.iter().any(|(node, _)| *node == name) {
            let sandbox = lower_one(intent, network, name, node);
            lower_ways(intent, on_it, name, sandbox);
        }
    }
}

fn lower_one<'a>(
    intent: &Intent,
    network: &Network,
    name: &NodeName,
    node: &'a mut Node,
) -> &'a mut Sandbox {
    let sandbox = super::sandbox(intent, node, SandboxName::from(&network.name));
    let mtu = mtu(intent, network);
    let bridge = Link {
        kind: LinkKind::Bridge,
        // A bridge without a MAC of its own changes it with every port that comes or goes.
        mac: network.pools.first().map(|pool| Mac::of(pool.gateway)),
        mtu,
        master: None,
        isolated: false,
        up: true,
    };
    let vxlan = Link {
        kind: LinkKind::Vxlan {
            vni: network.vni,
            port: intent.cluster.data_port,
            learning: false,
            proxy: true,
            local: intent.nodes.get(name).and_then(|record| record.address),
        },
        mac: None,
        mtu,
        master: Some(BRIDGE.into()),
        isolated: false,
        up: true,
    };
    sandbox.links.insert(BRIDGE.into(), bridge);
    sandbox.links.insert(VXLAN.into(), vxlan);
    for pool in &network.pools {
        if let Ok(net) = Ipv4Net::new(pool.gateway, pool.subnet.prefix_len()) {
            sandbox.addresses.insert(Address { link: BRIDGE.into(), net });
        }
    }
    sandbox
}

/// The ways to what is on other nodes. Not to the gateways: each node has its own, of one MAC.
fn lower_ways(
    intent: &Intent,
    members: &[(&NodeName, Ipv4Addr)],
    name: &NodeName,
    sandbox: &mut Sandbox,
) {
    for (node, address) in members.iter().filter(|(node, _)| *node != name) {
        let Some(vtep) = intent.nodes.get(node).and_then(|record| record.address) else { continue };
        let (entry, neighbour) = way(*address, vtep);
        sandbox.forwarding.insert(entry);
        sandbox.neighbours.insert(neighbour);
    }
}

/// What leads to an address that is on another node.
pub fn way(address: Ipv4Addr, vtep: Ipv4Addr) -> (ForwardingEntry, Neighbour) {
    let (link, mac) = (VXLAN.into(), Mac::of(address));
    let entry = ForwardingEntry { link, mac, vtep, permanent: true };
    (entry, Neighbour { link: VXLAN.into(), address, mac, permanent: true })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::tests::{network, one_node, service, spec};
    use crate::intent::{Availability, NetworkSpec, NodeRecord};
    use crate::lower::lower;
    use crate::plan::Plan;

    /// Nodes with addresses 192.0.2.1 onwards.
    fn cluster(nodes: u8) -> Intent {
        let mut intent = one_node();
        for number in 1..=nodes {
            let name: NodeName = format!("node-{number}").parse().unwrap();
            let mut record = NodeRecord::new(name.clone(), true);
            record.address = Some(Ipv4Addr::new(192, 0, 2, number));
            record.underlay_mtu = Some(1500);
            intent.nodes.insert(name, record);
        }
        intent
    }

    fn name(number: u8) -> NodeName {
        format!("node-{number}").parse().unwrap()
    }

    fn on(intent: &Intent, number: u8) -> Node {
        lower(intent, &name(number))
    }

    fn overlay(node: &Node, network: &str) -> Option<Sandbox> {
        node.sandboxes.get(&SandboxName(network.into())).cloned()
    }

    fn placed(intent: &Intent, number: u8) -> Vec<Ipv4Addr> {
        let tasks = intent.tasks.values().filter(|task| task.node == name(number));
        tasks.map(|task| task.endpoints[0].address).collect()
    }

    #[test]
    fn each_node_has_the_ways_to_what_the_others_have_and_only_those() {
        let mut intent = cluster(3);
        network(&mut intent, "blue", "10.0.3.0/24");
        service(&mut intent, "web", "blue", 5);
        for here in 1..=3 {
            let sandbox = overlay(&on(&intent, here), "blue").expect("it has tasks of it");
            let mut expected = Vec::new();
            for there in (1..=3).filter(|there| *there != here) {
                let vtep = Ipv4Addr::new(192, 0, 2, there);
                expected.extend(placed(&intent, there).into_iter().map(|at| way(at, vtep)));
            }
            assert!(!expected.is_empty());
            let (entries, neighbours) = expected.into_iter().unzip();
            assert_eq!((sandbox.forwarding, sandbox.neighbours), (entries, neighbours));
            let LinkKind::Vxlan { local, .. } = &sandbox.links[&VXLAN.into()].kind else {
                panic!("no VXLAN device");
            };
            assert_eq!(*local, Some(Ipv4Addr::new(192, 0, 2, here)));
        }
    }

    #[test]
    fn a_node_without_a_task_of_a_network_holds_nothing_of_it_and_others_have_no_way_to_it() {
        let mut intent = cluster(2);
        network(&mut intent, "blue", "10.0.3.0/24");
        network(&mut intent, "empty", "10.0.4.0/24");
        intent.nodes.get_mut(&name(2)).unwrap().availability = Availability::Drain;
        service(&mut intent, "web", "blue", 1);
        for task in intent.tasks.values_mut() {
            task.node = name(1);
        }
        assert_eq!(on(&intent, 2), Node::default());
        let sandbox = overlay(&on(&intent, 1), "blue").expect("it has a task of it");
        assert!(sandbox.forwarding.is_empty() && sandbox.neighbours.is_empty());
        assert_eq!(overlay(&on(&intent, 1), "empty"), None);
    }

    #[test]
    fn a_node_that_is_alone_holds_every_network() {
        let mut intent = one_node();
        network(&mut intent, "empty", "10.0.4.0/24");
        assert!(overlay(&on(&intent, 1), "empty").is_some());
    }

    #[test]
    fn the_way_to_a_task_stands_before_anybody_is_sent_to_it_and_after_nobody_is() {
        let mut intent = cluster(2);
        network(&mut intent, "blue", "10.0.3.0/24");
        service(&mut intent, "web", "blue", 2);
        let before = on(&intent, 1);
        intent.scale_service(&"web".parse().unwrap(), 4).unwrap();
        let after = on(&intent, 1);
        let lines = |from, to| -> Vec<String> {
            Plan::between(from, to).ops.iter().map(ToString::to_string).collect()
        };
        let remote = placed(&intent, 2).into_iter().max().expect("a new task").to_string();
        let place = |lines: &[String], words: &str| {
            lines.iter().position(|line| line.contains(words) && line.contains(&remote))
        };
        let up = lines(&before, &after);
        // In a sandbox that was there before; in a new one nothing runs yet.
        let used = |verb: &str| format!("exec web.1 ipvsadm {verb} ");
        assert!(place(&up, "neigh add").unwrap() < place(&up, &used("-a")).unwrap(), "{up:#?}");
        let down = lines(&after, &before);
        let gone = place(&down, "neigh del").unwrap();
        assert!(place(&down, &used("-d")).unwrap() < gone, "{down:#?}");
    }

    #[test]
    fn rows_display_as_what_an_operator_would_type() {
        let mut intent = cluster(2);
        network(&mut intent, "blue", "10.0.3.0/24");
        service(&mut intent, "web", "blue", 2);
        let node = on(&intent, 1);
        let plan = Plan::between(&Node::default(), &node);
        let lines: Vec<String> = plan.ops.iter().map(ToString::to_string).collect();
        let there = placed(&intent, 2)[0];
        for line in [
            "ip link add vxlan0 netns blue mtu 1450 type vxlan id 4097 dstport 4789 local \
             192.0.2.1 nolearning proxy && ip -n blue link set vxlan0 master br0 up"
                .to_owned(),
            format!(
                "bridge -n blue fdb add {} dev vxlan0 dst 192.0.2.2 self permanent",
                Mac::of(there)
            ),
            format!(
                "ip -n blue neigh add {there} lladdr {} dev vxlan0 nud permanent",
                Mac::of(there)
            ),
        ] {
            assert!(lines.contains(&line), "`{line}` is not in {lines:#?}");
        }
    }

    #[test]
    fn the_mtu_is_what_the_narrowest_node_leaves_unless_one_was_asked_for() {
        let mut intent = cluster(3);
        network(&mut intent, "blue", "10.0.3.0/24");
        let asked = NetworkSpec { mtu: Some(1300), ..NetworkSpec::new("set".parse().unwrap()) };
        intent.create_network(asked, "id".into(), &Default::default()).unwrap();
        let of =
            |intent: &Intent, name: &str| mtu(intent, &intent.networks[&name.parse().unwrap()]);
        assert_eq!((of(&intent, "blue"), of(&intent, "set")), (1450, 1300));
        intent.nodes.get_mut(&name(2)).unwrap().underlay_mtu = Some(9000);
        assert_eq!(of(&intent, "blue"), 1450);
        intent.nodes.get_mut(&name(3)).unwrap().underlay_mtu = Some(1400);
        assert_eq!((of(&intent, "blue"), of(&intent, "set")), (1350, 1300));
        // Every link of the network has it, on every node.
        service(&mut intent, "web", "blue", 3);
        for here in 1..=3 {
            let node = on(&intent, here);
            let links = node.sandboxes.values().flat_map(|sandbox| &sandbox.links);
            let mtus: Vec<u32> =
                links.filter(|(name, _)| name.as_str() != "lo").map(|l| l.1.mtu).collect();
            assert!(mtus.iter().all(|mtu| *mtu == 1350), "{mtus:?}");
        }
    }

    #[test]
    fn what_wraps_a_packet_leaves_it_so_much_room() {
        // Docker's figures, and those of an integrity value of 128 bits.
        for (wrapping, underlay, room) in [
            (Wrapping::Plain, 1500, 1450),
            (Wrapping::Plain, 9000, 8950),
            (Wrapping::Plain, 65536, 8950),
            (Wrapping::Plain, 100, 576),
            (Wrapping::Encrypted, 1500, 1416),
            (Wrapping::Encrypted, 1501, 1416),
            (Wrapping::Encrypted, 9000, 8916),
        ] {
            assert_eq!(wrapping.room(underlay), room, "{wrapping:?} {underlay}");
        }
    }

    #[test]
    fn two_hundred_networks_are_lowered_and_planned_at_once() {
        let mut intent = cluster(6);
        for number in 0..200 {
            network(&mut intent, &format!("net-{number}"), &format!("10.{number}.0.0/24"));
            let spec = spec(&format!("svc-{number}"), &format!("net-{number}"), 2);
            intent.create_service(spec, format!("id-{number}"), 0).unwrap();
        }
        let nodes: Vec<Node> = (1..=6).map(|number| on(&intent, number)).collect();
        let held =
            |node: &Node| (0..200).filter(|n| overlay(node, &format!("net-{n}")).is_some()).count();
        assert_eq!(nodes.iter().map(held).sum::<usize>(), 400, "two tasks of each, on two nodes");
        for node in &nodes {
            let plan = Plan::between(&Node::default(), node);
            assert_eq!(
                plan.ops.iter().filter(|op| op.to_string().contains(" fdb add ")).count(),
                held(node)
            );
        }
    }
}
