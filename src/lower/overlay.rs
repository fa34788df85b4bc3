//! Overlay networks: on each node, a sandbox with a bridge, the gateway and a VXLAN device.

use ipnet::Ipv4Net;

use crate::intent::{Intent, Network, NodeName};
use crate::node::object::{BRIDGE, VXLAN};
use crate::node::{Address, Link, LinkKind, Mac, Node, SandboxName};

/// The MTU of every Linux loopback, in bytes.
const LOOPBACK_MTU: u32 = 65536;

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

pub(super) fn lower(intent: &Intent, _name: &NodeName, node: &mut Node) {
    for network in intent.networks.values() {
        lower_one(intent, network, node);
    }
}

fn lower_one(intent: &Intent, network: &Network, node: &mut Node) {
    let sandbox = super::sandbox(intent, node, SandboxName::from(&network.name));
    let bridge = Link {
        kind: LinkKind::Bridge,
        // A bridge without a MAC of its own changes it with every port that comes or goes.
        mac: network.pools.first().map(|pool| Mac::of(pool.gateway)),
        mtu: network.mtu,
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
        },
        mac: None,
        mtu: network.mtu,
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
}
