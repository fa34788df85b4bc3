//! The way out: in the node's own namespace a bridge, as docker_gwbridge is, with masquerading; in
//! each task's sandbox one more link, with the default route.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::intent::{Intent, Pool, Task};
use crate::node::object::ENDPOINT;
use crate::node::{
    Address, BaseRule, Link, LinkKind, LinkName, Mac, Node, Owner, Path, PeerName, Sandbox,
    SandboxName, Sysctl,
};

/// The MTU of the gateway bridge and the links to it, in bytes: Ethernet's.
const MTU: u32 = 1500;

pub(super) fn lower(intent: &Intent, task: &Task, node: &mut Node) {
    let pool = intent.nodes.get(&task.node).and_then(|record| record.gateway());
    if let (Some(pool), Some(address)) = (pool, task.egress) {
        // Behind the endpoints, as in Docker.
        let link = LinkName(format!("{ENDPOINT}{}", task.endpoints.len()));
        let joint = Joint { link, address, reach: Reach::Apart };
        join(intent, &SandboxName::from(&task.name), joint, pool, node);
    }
}

/// Whom a sandbox reaches over the gateway bridge beside the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Nobody who is apart too.
    Apart,
    /// Everybody there.
    All,
}

/// How a sandbox is joined to the gateway bridge.
pub(super) struct Joint {
    pub(super) link: LinkName,
    pub(super) address: Ipv4Addr,
    pub(super) reach: Reach,
}

/// Joins a sandbox to the gateway bridge, with the default route.
pub(super) fn join(
    intent: &Intent,
    inside: &SandboxName,
    Joint { link, address, reach }: Joint,
    pool: &Pool,
    node: &mut Node,
) {
    let link = &link;
    let outside = SandboxName::of_node(&intent.cluster.id);
    let bridge = LinkName::gateway_bridge(&intent.cluster.id);
    let port = LinkName::gateway_port_of(address);
    let peer = |sandbox: &SandboxName, link: &LinkName| LinkKind::Veth {
        peer: Some(PeerName { sandbox: sandbox.clone(), link: link.clone() }),
    };
    let length = pool.subnet.prefix_len();

    let end = Link {
        kind: peer(inside, link),
        mac: None,
        mtu: MTU,
        master: Some(bridge),
        isolated: reach == Reach::Apart,
        up: true,
    };
    home(intent, pool, node).links.insert(port.clone(), end);

    let sandbox = super::sandbox(intent, node, inside.clone());
    let end = Link {
        kind: peer(&outside, &port),
        mac: Some(Mac::of(address)),
        mtu: MTU,
        master: None,
        isolated: false,
        up: true,
    };
    sandbox.links.insert(link.clone(), end);
    if let Ok(net) = Ipv4Net::new(address, length) {
        sandbox.addresses.insert(Address { link: link.clone(), net });
    }
    let (to, via) = (Ipv4Net::default(), Some(pool.gateway));
    sandbox.paths.insert(Path { to, link: link.clone(), via, source: address, mark: None });
}

/// The node's own namespace, with what it holds whichever tasks there are.
pub(super) fn home<'a>(intent: &Intent, pool: &Pool, node: &'a mut Node) -> &'a mut Sandbox {
    let name = SandboxName::of_node(&intent.cluster.id);
    node.sandboxes.entry(name).or_insert_with(|| gateway(intent, pool))
}

fn gateway(intent: &Intent, pool: &Pool) -> Sandbox {
    let bridge = LinkName::gateway_bridge(&intent.cluster.id);
    let mut sandbox =
        Sandbox { owner: Owner::Guest(intent.cluster.id.clone()), ..Sandbox::default() };
    let link = Link {
        kind: LinkKind::Bridge,
        mac: Some(Mac::of(pool.gateway)),
        mtu: MTU,
        master: None,
        isolated: false,
        up: true,
    };
    sandbox.links.insert(bridge.clone(), link);
    if let Ok(net) = Ipv4Net::new(pool.gateway, pool.subnet.prefix_len()) {
        sandbox.addresses.insert(Address { link: bridge, net });
    }
    sandbox.sysctls.insert(Sysctl::IpForward, 1);
    let range = pool.subnet.net();
    let table = sandbox.table.get_or_insert_default();
    table.rules.extend(BaseRule::of_gateway(range));
    sandbox
}
