//! Endpoints: a veth pair between a task's sandbox and the overlay's bridge.

use ipnet::Ipv4Net;

use crate::intent::{Endpoint, Intent, Task};
use crate::node::object::{BRIDGE, ENDPOINT};
use crate::node::{
    Address, Link, LinkKind, LinkName, Mac, Node, Path, PeerName, Sandbox, SandboxName, Sysctl,
};

pub(super) fn lower<'a>(intent: &Intent, task: &Task, node: &'a mut Node) -> &'a mut Sandbox {
    let name = SandboxName::from(&task.name);
    super::sandbox(intent, node, name.clone());
    for (number, endpoint) in task.endpoints.iter().enumerate() {
        join(intent, &name, &LinkName(format!("{ENDPOINT}{number}")), endpoint, node);
    }
    let sandbox = super::sandbox(intent, node, name);
    if !task.endpoints.is_empty() {
        sandbox.sysctls.insert(Sysctl::ArpIgnore, 1);
    }
    sandbox
}

/// Joins a sandbox to a network by `link`.
pub(super) fn join(
    intent: &Intent,
    name: &SandboxName,
    link: &LinkName,
    endpoint: &Endpoint,
    node: &mut Node,
) {
    let Some(network) = intent.networks.get(&endpoint.network) else { return };
    let overlay = SandboxName::from(&network.name);
    let port = LinkName::port_of(endpoint.address);
    let mtu = super::overlay::mtu(intent, network);
    let end = |sandbox: &SandboxName, link: &LinkName, mac, master| Link {
        kind: LinkKind::Veth {
            peer: Some(PeerName { sandbox: sandbox.clone(), link: link.clone() }),
        },
        mac,
        mtu,
        master,
        isolated: false,
        up: true,
    };
    super::sandbox(intent, node, overlay.clone())
        .links
        .insert(port.clone(), end(name, link, None, Some(BRIDGE.into())));
    let sandbox = super::sandbox(intent, node, name.clone());
    let mac = Mac::of(endpoint.address);
    sandbox.links.insert(link.clone(), end(&overlay, &port, Some(mac), None));
    let Some(own) = network.subnet_of(endpoint.address) else { return };
    if let Ok(net) = Ipv4Net::new(endpoint.address, own.prefix_len()) {
        sandbox.addresses.insert(Address { link: link.clone(), net });
    }
    // All of a network's subnets are on one link layer: nobody need route between them.
    for pool in network.pools.iter().filter(|pool| pool.subnet != own) {
        let (to, source) = (pool.subnet.net(), endpoint.address);
        sandbox.paths.insert(Path { to, link: link.clone(), via: None, source, mark: None });
    }
}
