//! The things in a node that one operation makes or removes.
//!
//! A [`Node`] is a set of objects in another form: plans are differences of such sets.

use std::borrow::Cow;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::{
    Address, BaseRule, Dispatch, ForwardingEntry, Link, LinkKind, LinkName, Neighbour, Node, Owner,
    Path, PeerName, PortAt, PortMap, Process, Publication, RealServer, RealServerKey, Rotation,
    Route, Sandbox, SandboxName, SecurityPolicy, SecurityState, Sysctl, VirtualServerKey,
};
use crate::intent::{ClusterId, Fwmark, Spi};

/// One thing in a sandbox. There may be as many as real servers, so what is large and rare is boxed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Object {
    /// The namespace itself, marked as its owner's.
    Namespace {
        owner: ClusterId,
    },
    /// A link other than a veth; `lo` is there from the start, and an object only when it is up.
    Link {
        name: LinkName,
        link: Box<Link>,
    },
    /// A veth pair, seen from the end that is no bridge's port.
    Veth {
        name: LinkName,
        mac: Option<Mac>,
        mtu: u32,
        up: bool,
        port: Box<Port>,
    },
    Address(Address),
    Forwarding(ForwardingEntry),
    Neighbour(Neighbour),
    Path(Path),
    /// What has this mark goes by the routing table of that number.
    Turn(Fwmark),
    Route(Route),
    Sysctl {
        sysctl: Sysctl,
        value: u32,
    },
    Table,
    BaseRule(BaseRule),
    /// What reaches this VIP unbalanced is refused.
    Guard(Ipv4Addr),
    Mark {
        address: Ipv4Addr,
        fwmark: Fwmark,
    },
    Dispatch {
        fwmark: Fwmark,
        dispatch: Dispatch,
    },
    Publication(Publication),
    VirtualServer {
        key: VirtualServerKey,
        scheduler: Cow<'static, str>,
        flags: u32,
        persistence: u32,
        client_bits: u32,
        rotation: Rotation,
    },
    RealServer {
        server: VirtualServerKey,
        key: RealServerKey,
        real: RealServer,
    },
    Process(Box<Process>),
    State(Box<SecurityState>),
    Policy(Box<SecurityPolicy>),
}

use super::Mac;

/// The other end of a veth pair, in the overlay's sandbox.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Port {
    pub peer: PeerName,
    pub master: Option<LinkName>,
    pub mtu: u32,
    /// Kept apart from the bridge's other isolated ports.
    #[serde(default)]
    pub isolated: bool,
    pub up: bool,
}

/// What an object is known by: two objects with one key cannot be in one sandbox.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Namespace,
    Link(LinkName),
    Address(Address),
    /// The last tells rows of one group's MAC apart.
    Forwarding(LinkName, Mac, Option<Ipv4Addr>),
    Neighbour(LinkName, Ipv4Addr),
    Path(Option<Fwmark>, Ipv4Net),
    Turn(Fwmark),
    Route(Ipv4Addr),
    Sysctl(Sysctl),
    Table,
    BaseRule(BaseRule),
    Guard(Ipv4Addr),
    Mark(Ipv4Addr),
    Dispatch(Fwmark),
    Publication(PortMap, PortAt),
    VirtualServer(VirtualServerKey),
    RealServer(VirtualServerKey, RealServerKey),
    Process,
    /// By whom it is received, and the number.
    State(Ipv4Addr, Spi),
    /// From, to, port and mark.
    Policy(Ipv4Addr, Ipv4Addr, u16, Fwmark),
}

impl Object {
    pub fn key(&self) -> Key {
        match self {
            Object::Namespace { .. } => Key::Namespace,
            Object::Link { name, .. } | Object::Veth { name, .. } => Key::Link(name.clone()),
            Object::Address(address) => Key::Address(address.clone()),
            Object::Forwarding(entry) => {
                Key::Forwarding(entry.link.clone(), entry.mac, entry.one_of_many())
            }
            Object::Neighbour(held) => Key::Neighbour(held.link.clone(), held.address),
            Object::Path(path) => Key::Path(path.mark, path.to),
            Object::Turn(mark) => Key::Turn(*mark),
            Object::Route(route) => Key::Route(route.address),
            Object::Sysctl { sysctl, .. } => Key::Sysctl(*sysctl),
            Object::Table => Key::Table,
            Object::BaseRule(rule) => Key::BaseRule(*rule),
            Object::Guard(address) => Key::Guard(*address),
            Object::Mark { address, .. } => Key::Mark(*address),
            Object::Dispatch { fwmark, .. } => Key::Dispatch(*fwmark),
            Object::Publication(held) => Key::Publication(held.map(), held.at),
            Object::VirtualServer { key, .. } => Key::VirtualServer(*key),
            Object::RealServer { server, key, .. } => Key::RealServer(*server, *key),
            Object::Process(_) => Key::Process,
            Object::State(state) => Key::State(state.destination, state.spi),
            Object::Policy(policy) => {
                let (source, destination, port, mark) = policy.packets();
                Key::Policy(source, destination, port, mark)
            }
        }
    }

    /// Whether the kernel can turn `self` into `other` in place, so that connections live.
    pub fn can_become(&self, other: &Object) -> bool {
        match (self, other) {
            (Object::Veth { port: from, .. }, Object::Veth { port: to, .. }) => {
                from.peer == to.peer
            }
            (Object::Link { link: from, .. }, Object::Link { link: to, .. }) => {
                from.kind == to.kind
            }
            (Object::Forwarding(_), Object::Forwarding(_))
            | (Object::Neighbour(_), Object::Neighbour(_))
            | (Object::Mark { .. }, Object::Mark { .. })
            | (Object::Sysctl { .. }, Object::Sysctl { .. })
            | (Object::Policy(_), Object::Policy(_))
            | (Object::Dispatch { .. }, Object::Dispatch { .. })
            | (Object::Publication(_), Object::Publication(_))
            | (Object::VirtualServer { .. }, Object::VirtualServer { .. })
            | (Object::RealServer { .. }, Object::RealServer { .. }) => true,
            _ => false,
        }
    }

    /// Whether swarmlb makes such things. What it never makes it never removes either, even
    /// inside a sandbox of its own.
    pub fn is_of_our_kind(&self) -> bool {
        match self {
            Object::VirtualServer { key, .. } | Object::RealServer { server: key, .. } => {
                key.is_of_our_kind()
            }
            // Whatever bears one of our names stands where ours shall be.
            Object::Link { name, link } => link.kind == LinkKind::Loopback || is_our_name(name),
            Object::Veth { name, .. } => is_our_name(name),
            Object::Address(address) => is_our_name(&address.link),
            Object::Forwarding(entry) => is_our_name(&entry.link),
            Object::Neighbour(held) => is_our_name(&held.link),
            _ => true,
        }
    }
}

/// The overlay's bridge.
pub const BRIDGE: &str = "br0";
/// The overlay's VXLAN device.
pub const VXLAN: &str = "vxlan0";
/// A task's endpoints are `eth0`, `eth1` …
pub const ENDPOINT: &str = "eth";

fn is_our_name(link: &LinkName) -> bool {
    let name = link.as_str();
    name == BRIDGE
        || name == VXLAN
        || name.starts_with(ENDPOINT)
        || link.is_port()
        || link.gateway_of().is_some()
}

impl Node {
    /// Makes the sandboxes of other clusters foreign.
    pub fn disown_others(&mut self, cluster: &ClusterId) {
        for sandbox in self.sandboxes.values_mut() {
            let ours = [Owner::Cluster(cluster.clone()), Owner::Guest(cluster.clone())];
            if !ours.contains(&sandbox.owner) {
                sandbox.owner = Owner::Foreign;
            }
        }
    }

    /// Every object of every sandbox that belongs to a cluster.
    pub fn objects(&self) -> impl Iterator<Item = (&SandboxName, Object)> {
        let ours = |(_, sandbox): &(_, &Sandbox)| sandbox.owner != Owner::Foreign;
        self.sandboxes.iter().filter(ours).flat_map(move |(name, sandbox)| {
            sandbox.objects(self).into_iter().map(move |o| (name, o))
        })
    }
}

impl Sandbox {
    /// Every object of a sandbox. The other ends of its veth pairs are looked up in `node`.
    pub fn objects(&self, node: &Node) -> Vec<Object> {
        let mut objects = self.ground_objects(node);
        objects.extend(self.virtual_server_objects(self.virtual_servers.keys()));
        objects
    }

    /// Whether both have the same but for their virtual servers.
    pub fn has_the_ground_of(&self, other: &Sandbox) -> bool {
        let Sandbox {
            owner,
            links,
            addresses,
            paths,
            turns,
            routes,
            forwarding,
            neighbours,
            sysctls,
            table,
            states,
            policies,
            virtual_servers,
            process,
        } = self;
        let _ = virtual_servers;
        *owner == other.owner
            && *links == other.links
            && *addresses == other.addresses
            && *paths == other.paths
            && *turns == other.turns
            && *routes == other.routes
            && *forwarding == other.forwarding
            && *neighbours == other.neighbours
            && *sysctls == other.sysctls
            && *table == other.table
            && *states == other.states
            && *policies == other.policies
            && *process == other.process
    }

    /// Every object but virtual servers and their real servers.
    pub fn ground_objects(&self, node: &Node) -> Vec<Object> {
        let mut objects = Vec::new();
        if let Owner::Cluster(owner) = &self.owner {
            objects.push(Object::Namespace { owner: owner.clone() });
        }
        objects.extend(self.links.iter().filter_map(|(name, link)| link_object(name, link, node)));
        objects.extend(self.addresses.iter().cloned().map(Object::Address));
        objects.extend(self.forwarding.iter().cloned().map(Object::Forwarding));
        objects.extend(self.neighbours.iter().cloned().map(Object::Neighbour));
        objects.extend(self.paths.iter().cloned().map(Object::Path));
        objects.extend(self.turns.iter().copied().map(Object::Turn));
        objects.extend(self.routes.iter().cloned().map(Object::Route));
        let sysctl =
            |(sysctl, value): (&Sysctl, &u32)| Object::Sysctl { sysctl: *sysctl, value: *value };
        objects.extend(self.sysctls.iter().map(sysctl));
        self.table_objects(&mut objects);
        objects.extend(self.states.iter().cloned().map(Box::new).map(Object::State));
        objects.extend(self.policies.iter().cloned().map(Box::new).map(Object::Policy));
        objects.extend(self.process.iter().cloned().map(Box::new).map(Object::Process));
        objects
    }

    /// The virtual servers of these keys, where they are there, and then their real servers.
    pub fn virtual_server_objects<'a>(
        &'a self,
        keys: impl Iterator<Item = &'a VirtualServerKey> + Clone,
    ) -> impl Iterator<Item = Object> {
        let found = keys.filter_map(|key| Some((key, self.virtual_servers.get(key)?)));
        let servers = found.clone().map(|(key, server)| Object::VirtualServer {
            key: *key,
            scheduler: server.scheduler.clone(),
            flags: server.flags,
            persistence: server.persistence,
            client_bits: server.client_bits,
            rotation: server.rotation,
        });
        let real_servers = found.flat_map(|(server, held)| {
            let object = |(key, real): (&_, &_)| Object::RealServer {
                server: *server,
                key: *key,
                real: *real,
            };
            held.real_servers.iter().map(object)
        });
        servers.chain(real_servers)
    }

    fn table_objects(&self, objects: &mut Vec<Object>) {
        let Some(table) = &self.table else { return };
        objects.push(Object::Table);
        objects.extend(table.rules.iter().copied().map(Object::BaseRule));
        objects.extend(table.guards.iter().copied().map(Object::Guard));
        for (address, fwmark) in &table.marks {
            objects.push(Object::Mark { address: *address, fwmark: *fwmark });
        }
        for (fwmark, dispatch) in &table.dispatches {
            objects.push(Object::Dispatch { fwmark: *fwmark, dispatch: dispatch.clone() });
        }
        objects.extend(table.publications.iter().copied().map(Object::Publication));
    }
}

fn link_object(name: &LinkName, link: &Link, node: &Node) -> Option<Object> {
    match &link.kind {
        LinkKind::Loopback if !link.up => None,
        LinkKind::Loopback | LinkKind::Bridge | LinkKind::Vxlan { .. } | LinkKind::Other { .. } => {
            Some(Object::Link { name: name.clone(), link: Box::new(link.clone()) })
        }
        LinkKind::Veth { peer } if name.as_str().starts_with(ENDPOINT) => {
            Some(endpoint_object(name, link, peer.as_ref(), node))
        }
        // The end of a pair whose other end is in no sandbox that is known: what is left when a
        // namespace was deleted by hand while something still holds it.
        LinkKind::Veth { .. } if name.is_port() && !link.has_peer_in(node) => {
            Some(Object::Link { name: name.clone(), link: Box::new(link.clone()) })
        }
        LinkKind::Veth { .. } => None,
    }
}

impl Link {
    fn has_peer_in(&self, node: &Node) -> bool {
        let LinkKind::Veth { peer: Some(peer) } = &self.kind else { return false };
        let sandbox = node.sandboxes.get(&peer.sandbox);
        sandbox.is_some_and(|sandbox| sandbox.links.contains_key(&peer.link))
    }
}

/// The pair that an endpoint is one end of; the end alone, where the other is out of sight.
fn endpoint_object(name: &LinkName, link: &Link, peer: Option<&PeerName>, node: &Node) -> Object {
    let other = |peer: &PeerName| node.sandboxes.get(&peer.sandbox)?.links.get(&peer.link);
    let name = name.clone();
    match peer.and_then(|peer| Some((peer, other(peer)?))) {
        None => Object::Link { name, link: Box::new(link.clone()) },
        Some((peer, other)) => {
            let (peer, master) = (peer.clone(), other.master.clone());
            let (mtu, isolated, up) = (other.mtu, other.isolated, other.up);
            let port = Box::new(Port { peer, master, mtu, isolated, up });
            Object::Veth { name, mac: link.mac, mtu: link.mtu, up: link.up, port }
        }
    }
}
