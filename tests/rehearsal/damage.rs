//! Nodes as they are found: damaged in every way that an operator, a crash or another program can,
//! and with things in them that are none of swarmlb's business.
//!
//! A damaged node is still one that Linux could hold: with a link go its addresses, its ports and
//! the routes from it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use proptest::prelude::*;
use proptest::sample::Index;
use swarmlb::intent::{Fwmark, Transport, Vni};
use swarmlb::node::object::{BRIDGE, VXLAN};
use swarmlb::node::{
    Address, BaseRule, Dispatch, Forwarding, ForwardingEntry, Link, LinkKind, LinkName, Mac,
    Neighbour, Node, Owner, Path, PortAt, PortTo, Protocol, Publication, RealServer, RealServerKey,
    Rotation, Route, Sandbox, SandboxName, Sysctl, Table, VirtualServer, VirtualServerKey,
};

/// What is done to one sandbox.
#[derive(Debug, Clone, Copy)]
pub enum Harm {
    Sandbox,
    Process,
    OtherProcess,
    Table,
    Rule,
    NeedlessRule,
    Mark,
    OtherMark,
    StaleMark,
    Guard,
    StaleGuard,
    Dispatch,
    OtherDispatch,
    StaleDispatch,
    Publication,
    OtherPublication,
    StalePublication,
    Route,
    StaleRoute,
    OtherRoute,
    Path,
    StalePath,
    OtherPath,
    Turn,
    StaleTurn,
    Address,
    StaleAddress,
    OtherPrefix,
    VirtualServer,
    Scheduler,
    Persistence,
    StaleVirtualServer,
    RealServer,
    StaleRealServer,
    Weight,
    Forwarding,
    Sysctl,
    OtherSysctl,
    LinkDown,
    LinkUp,
    Mtu,
    Mac,
    Master,
    Link,
    OtherBridge,
    OtherVxlan,
    DummyEndpoint,
    PeerlessEndpoint,
    StaleEndpoint,
    Way,
    OtherWay,
    LearnedWay,
    StaleWay,
    Flood,
    Neighbour,
    OtherNeighbour,
    PassingNeighbour,
    StaleNeighbour,
}

const HARMS: [Harm; 58] = [
    Harm::Sandbox,
    Harm::Process,
    Harm::OtherProcess,
    Harm::Table,
    Harm::Rule,
    Harm::NeedlessRule,
    Harm::Mark,
    Harm::OtherMark,
    Harm::StaleMark,
    Harm::Guard,
    Harm::StaleGuard,
    Harm::Dispatch,
    Harm::OtherDispatch,
    Harm::StaleDispatch,
    Harm::Publication,
    Harm::OtherPublication,
    Harm::StalePublication,
    Harm::Route,
    Harm::StaleRoute,
    Harm::OtherRoute,
    Harm::Path,
    Harm::StalePath,
    Harm::OtherPath,
    Harm::Turn,
    Harm::StaleTurn,
    Harm::Address,
    Harm::StaleAddress,
    Harm::OtherPrefix,
    Harm::VirtualServer,
    Harm::Scheduler,
    Harm::Persistence,
    Harm::StaleVirtualServer,
    Harm::RealServer,
    Harm::StaleRealServer,
    Harm::Weight,
    Harm::Forwarding,
    Harm::Sysctl,
    Harm::OtherSysctl,
    Harm::LinkDown,
    Harm::LinkUp,
    Harm::Mtu,
    Harm::Mac,
    Harm::Master,
    Harm::Link,
    Harm::OtherBridge,
    Harm::OtherVxlan,
    Harm::DummyEndpoint,
    Harm::PeerlessEndpoint,
    Harm::StaleEndpoint,
    Harm::Way,
    Harm::OtherWay,
    Harm::LearnedWay,
    Harm::StaleWay,
    Harm::Flood,
    Harm::Neighbour,
    Harm::OtherNeighbour,
    Harm::PassingNeighbour,
    Harm::StaleNeighbour,
];

/// One harm, the sandbox that it befalls, and which of its things.
#[derive(Debug, Clone, Copy)]
pub struct Damage {
    harm: Harm,
    sandbox: Index,
    which: Index,
}

pub fn damages(
    count: impl Into<prop::collection::SizeRange>,
) -> impl Strategy<Value = Vec<Damage>> {
    let one = (prop::sample::select(&HARMS[..]), any::<Index>(), any::<Index>())
        .prop_map(|(harm, sandbox, which)| Damage { harm, sandbox, which });
    prop::collection::vec(one, count)
}

/// Every harm there is, each once.
pub fn every_harm() -> impl Iterator<Item = Harm> {
    HARMS.into_iter()
}

/// An address, mark and server that no intent of these tests has.
pub const STALE: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 9);
const STALE_MARK: Fwmark = Fwmark(0xbad);

pub fn apply(node: &mut Node, damages: &[Damage]) {
    for damage in damages {
        let names: Vec<SandboxName> = node.sandboxes.keys().cloned().collect();
        if names.is_empty() {
            return;
        }
        let name = damage.sandbox.get(&names);
        apply_one(node, name, damage.harm, &damage.which);
        settle(node);
    }
}

/// Does one harm to one sandbox, where it can be done there.
pub fn apply_one(node: &mut Node, name: &SandboxName, harm: Harm, which: &Index) {
    if let Harm::Sandbox = harm {
        node.sandboxes.remove(name);
    } else if let Some(sandbox) = node.sandboxes.get_mut(name) {
        to_table(sandbox, harm, which);
        to_servers(sandbox, harm, which);
        to_addresses(sandbox, harm, which);
        to_links(sandbox, harm, which);
        to_ways(sandbox, harm, which);
        to_rest(sandbox, harm, which);
    }
    settle(node);
}

fn key_of<K: Clone + Ord, V>(map: &BTreeMap<K, V>, which: &Index) -> Option<K> {
    let keys: Vec<&K> = map.keys().collect();
    (!keys.is_empty()).then(|| (*which.get(&keys)).clone())
}

fn real_key_of(server: &VirtualServer, which: &Index) -> Option<RealServerKey> {
    let keys: Vec<RealServerKey> = server.real_servers.keys().copied().collect();
    (!keys.is_empty()).then(|| *which.get(&keys))
}

fn item_of<T: Clone + Ord>(set: &BTreeSet<T>, which: &Index) -> Option<T> {
    let items: Vec<&T> = set.iter().collect();
    (!items.is_empty()).then(|| (*which.get(&items)).clone())
}

fn any_of<'a, K: Clone + Ord, V>(map: &'a mut BTreeMap<K, V>, which: &Index) -> Option<&'a mut V> {
    let key = key_of(map, which)?;
    map.get_mut(&key)
}

fn to_table(sandbox: &mut Sandbox, harm: Harm, which: &Index) {
    if let Harm::Table = harm {
        // Gone where it was, empty where there was none.
        sandbox.table = if sandbox.table.is_some() { None } else { Some(Table::default()) };
    }
    if let Harm::NeedlessRule = harm {
        sandbox.table.get_or_insert_default().rules.insert(BaseRule::BalanceOut);
    }
    let Some(table) = &mut sandbox.table else { return };
    match harm {
        Harm::Rule => {
            item_of(&table.rules, which).map(|rule| table.rules.remove(&rule));
        }
        Harm::Publication => {
            let held = item_of(&table.publications, which);
            held.map(|held| table.publications.remove(&held));
        }
        Harm::OtherPublication => {
            if let Some(held) = item_of(&table.publications, which) {
                let to = match held.to {
                    PortTo::Address { port, .. } => PortTo::Address { address: STALE, port },
                    PortTo::Mark(_) => PortTo::Mark(STALE_MARK),
                };
                table.publications.remove(&held);
                table.publications.insert(Publication { to, ..held });
            }
        }
        Harm::StalePublication => {
            let at = PortAt { address: None, transport: Transport::Tcp, port: 1 };
            let to = PortTo::Address { address: STALE, port: 1 };
            // Only a rule's map can hold one.
            if table.rules.contains(&BaseRule::Publish) {
                table.publications.insert(Publication { at, to });
            }
        }
        Harm::Mark => {
            key_of(&table.marks, which).map(|vip| table.marks.remove(&vip));
        }
        Harm::OtherMark => {
            if let Some(mark) = any_of(&mut table.marks, which) {
                *mark = STALE_MARK;
            }
        }
        Harm::StaleMark => {
            table.marks.insert(STALE, STALE_MARK);
        }
        Harm::Guard => {
            item_of(&table.guards, which).map(|vip| table.guards.remove(&vip));
        }
        Harm::StaleGuard => {
            table.guards.insert(STALE);
        }
        Harm::Dispatch => {
            key_of(&table.dispatches, which).map(|mark| table.dispatches.remove(&mark));
        }
        Harm::OtherDispatch => {
            if let Some(dispatch) = any_of(&mut table.dispatches, which) {
                dispatch.targets.pop();
                dispatch.targets.insert(0, STALE);
            }
        }
        Harm::StaleDispatch => {
            table.dispatches.insert(STALE_MARK, Dispatch { targets: vec![STALE] });
        }
        _ => {}
    }
}

fn to_servers(sandbox: &mut Sandbox, harm: Harm, which: &Index) {
    let servers = &mut sandbox.virtual_servers;
    match harm {
        Harm::VirtualServer => {
            key_of(servers, which).map(|key| servers.remove(&key));
        }
        Harm::StaleVirtualServer => {
            servers.insert(VirtualServerKey::Fwmark(STALE_MARK), virtual_server(0));
        }
        _ => {}
    }
    let Some(server) = any_of(servers, which) else { return };
    match harm {
        Harm::Scheduler => server.scheduler = "wlc".into(),
        Harm::Persistence => (server.persistence, server.flags) = (360, 1),
        Harm::RealServer => {
            real_key_of(server, which).map(|key| server.real_servers.remove(&key));
        }
        Harm::StaleRealServer => {
            let key = RealServerKey { address: IpAddr::V4(STALE), port: 0 };
            server.real_servers.insert(key, real_server(1));
        }
        Harm::Weight => {
            let key = real_key_of(server, which);
            if let Some(real) = key.and_then(|key| server.real_servers.get_mut(&key)) {
                real.weight = 0;
            }
        }
        Harm::Forwarding => {
            let key = real_key_of(server, which);
            if let Some(real) = key.and_then(|key| server.real_servers.get_mut(&key)) {
                real.forwarding = Forwarding::Tunnel;
            }
        }
        _ => {}
    }
}

fn to_addresses(sandbox: &mut Sandbox, harm: Harm, which: &Index) {
    let held = item_of(&sandbox.addresses, which);
    match (harm, held) {
        (Harm::Address, Some(address)) => {
            sandbox.addresses.remove(&address);
        }
        (Harm::StaleAddress, Some(Address { link, .. })) => {
            sandbox.addresses.insert(Address { link, net: net(STALE, 24) });
        }
        (Harm::OtherPrefix, Some(address)) => {
            sandbox.addresses.remove(&address);
            let net = net(address.net.addr(), 16);
            sandbox.addresses.insert(Address { link: address.link, net });
        }
        (Harm::Route, _) => {
            item_of(&sandbox.routes, which).map(|route| sandbox.routes.remove(&route));
        }
        (Harm::StaleRoute, Some(Address { net, .. })) if lo_is_up(sandbox) => {
            // One route to an address is all that a table holds.
            sandbox.routes.retain(|route| route.address != STALE);
            sandbox.routes.insert(Route { address: STALE, source: net.addr() });
        }
        (Harm::Path, _) => {
            item_of(&sandbox.paths, which).map(|path| sandbox.paths.remove(&path));
        }
        (Harm::StalePath, Some(Address { link, net: own })) => {
            let to = net(Ipv4Addr::new(10, 99, 9, 0), 24);
            sandbox.paths.retain(|path| path.to != to);
            sandbox.paths.insert(Path { to, link, via: None, source: own.addr(), mark: None });
        }
        (Harm::Turn, _) => {
            item_of(&sandbox.turns, which).map(|mark| sandbox.turns.remove(&mark));
        }
        (Harm::StaleTurn, _) => {
            sandbox.turns.insert(STALE_MARK);
        }
        (Harm::OtherPath, Some(Address { link, net: own })) => {
            let Some(path) = item_of(&sandbox.paths, which) else { return };
            sandbox.paths.remove(&path);
            let via = own.hosts().find(|host| Some(*host) != path.via && *host != own.addr());
            sandbox.paths.insert(Path { link, via, source: own.addr(), ..path });
        }
        (Harm::OtherRoute, Some(Address { link, .. })) => {
            let Some(route) = item_of(&sandbox.routes, which) else { return };
            sandbox.routes.remove(&route);
            sandbox.addresses.insert(Address { link, net: net(STALE, 24) });
            sandbox.routes.insert(Route { address: route.address, source: STALE });
        }
        _ => {}
    }
}

fn to_links(sandbox: &mut Sandbox, harm: Harm, which: &Index) {
    let other = |name: &str| LinkKind::Other { name: name.into() };
    let named = |prefix: &str, sandbox: &Sandbox| {
        sandbox.links.keys().find(|name| name.as_str().starts_with(prefix)).cloned()
    };
    let set_kind = |sandbox: &mut Sandbox, name: &str, kind: LinkKind| {
        if let Some(link) = sandbox.links.get_mut(&LinkName::from(name)) {
            link.kind = kind;
        }
    };
    match harm {
        Harm::LinkDown | Harm::LinkUp => {
            if let Some(link) = any_of(&mut sandbox.links, which) {
                link.up = matches!(harm, Harm::LinkUp);
            }
        }
        Harm::Mtu => {
            // Not lo's: it goes up and down with the MTU that it has.
            let links = sandbox.links.values_mut().filter(|l| l.kind != LinkKind::Loopback);
            links.for_each(|link| link.mtu = 1280);
        }
        Harm::Mac => {
            let links = sandbox.links.values_mut().filter(|link| link.mac.is_some());
            links.for_each(|link| link.mac = Some(Mac([2, 0, 0, 0, 0, 1])));
        }
        Harm::Master => {
            if let Some(link) = any_of(&mut sandbox.links, which) {
                link.master = None;
            }
        }
        Harm::Link => {
            let name = key_of(&sandbox.links, which).filter(|name| name.as_str() != "lo");
            name.map(|name| sandbox.links.remove(&name));
        }
        Harm::OtherBridge => set_kind(sandbox, BRIDGE, other("team")),
        Harm::OtherVxlan => {
            let kind = LinkKind::Vxlan {
                vni: Vni(77),
                port: 8472,
                learning: true,
                proxy: false,
                local: None,
            };
            set_kind(sandbox, VXLAN, kind);
        }
        Harm::DummyEndpoint => {
            if let Some(name) = named("eth", sandbox) {
                set_kind(sandbox, name.as_str(), other("dummy"));
            }
        }
        Harm::PeerlessEndpoint => {
            let kind = LinkKind::Veth { peer: None };
            if let Some(name) = named("eth", sandbox) {
                set_kind(sandbox, name.as_str(), kind);
            }
        }
        Harm::StaleEndpoint => {
            sandbox.links.insert("eth7".into(), link(LinkKind::Veth { peer: None }));
        }
        _ => {}
    }
}

fn to_ways(sandbox: &mut Sandbox, harm: Harm, which: &Index) {
    let mac = Mac::of(STALE);
    let stale = |mac| ForwardingEntry { link: VXLAN.into(), mac, vtep: STALE, permanent: true };
    let held = item_of(&sandbox.forwarding, which);
    match (harm, held) {
        (Harm::Way | Harm::OtherWay | Harm::LearnedWay, Some(entry)) => {
            sandbox.forwarding.remove(&entry);
            let other = match harm {
                Harm::OtherWay => Some(ForwardingEntry { vtep: STALE, ..entry }),
                Harm::LearnedWay => Some(ForwardingEntry { permanent: false, ..entry }),
                _ => None,
            };
            sandbox.forwarding.extend(other);
        }
        (Harm::StaleWay, _) => {
            sandbox.forwarding.insert(stale(mac));
        }
        // To several, as only frames to whoever is unknown go.
        (Harm::Flood, _) => {
            let other = Ipv4Addr::new(192, 0, 2, 77);
            let flood = stale(Mac([0; 6]));
            sandbox.forwarding.extend([ForwardingEntry { vtep: other, ..flood.clone() }, flood]);
        }
        _ => {}
    }
    let held = item_of(&sandbox.neighbours, which);
    match (harm, held) {
        (Harm::Neighbour | Harm::OtherNeighbour | Harm::PassingNeighbour, Some(held)) => {
            sandbox.neighbours.remove(&held);
            let other = match harm {
                Harm::OtherNeighbour => Some(Neighbour { mac, ..held }),
                Harm::PassingNeighbour => Some(Neighbour { permanent: false, ..held }),
                _ => None,
            };
            sandbox.neighbours.extend(other);
        }
        (Harm::StaleNeighbour, _) => {
            let (link, address) = (VXLAN.into(), STALE);
            sandbox.neighbours.insert(Neighbour { link, address, mac, permanent: true });
        }
        _ => {}
    }
}

fn to_rest(sandbox: &mut Sandbox, harm: Harm, which: &Index) {
    match harm {
        Harm::Process => sandbox.process = None,
        Harm::OtherProcess => {
            if let Some(process) = &mut sandbox.process {
                process.task = "a-task-of-before".into();
            }
        }
        Harm::Sysctl => {
            key_of(&sandbox.sysctls, which).map(|sysctl| sandbox.sysctls.remove(&sysctl));
        }
        Harm::OtherSysctl => {
            sandbox.sysctls.insert(*which.get(&Sysctl::ALL), 2);
        }
        _ => {}
    }
}

fn lo_is_up(sandbox: &Sandbox) -> bool {
    sandbox.links.get(&LinkName::from("lo")).is_some_and(|lo| lo.up)
}

/// Whether all that a node holds could be put back: no kernel takes a real server where `lo` is
/// down, though it keeps those that it has.
pub fn can_be_put_back(node: &Node) -> bool {
    // The map of ports stands with its rule.
    let ruled = |s: &Sandbox| {
        let table = s.table.iter();
        table
            .flat_map(|t| t.publications.iter().map(|held| t.rules.contains(&held.map().rule())))
            .all(|ruled| ruled)
    };
    let idle = |s: &Sandbox| s.virtual_servers.values().all(|v| v.real_servers.is_empty());
    node.sandboxes.values().all(|sandbox| (lo_is_up(sandbox) || idle(sandbox)) && ruled(sandbox))
}

/// What Linux takes along: ports of a bridge that went, the other end of a veth pair, addresses of
/// links, rows of links, routes from addresses, and the routes over a loopback that is down.
fn settle(node: &mut Node) {
    let held: BTreeSet<(SandboxName, LinkName)> = node
        .sandboxes
        .iter()
        .flat_map(|(name, sandbox)| sandbox.links.keys().map(|link| (name.clone(), link.clone())))
        .collect();
    let mut back = BTreeMap::new();
    for (name, sandbox) in &node.sandboxes {
        for (link_name, link) in &sandbox.links {
            if let LinkKind::Veth { peer: Some(peer) } = &link.kind {
                back.insert(
                    (name.clone(), link_name.clone()),
                    (peer.sandbox.clone(), peer.link.clone()),
                );
            }
        }
    }
    for (name, sandbox) in &mut node.sandboxes {
        sandbox.links.retain(|link_name, link| match &link.kind {
            LinkKind::Veth { peer: Some(peer) } => {
                let there = (peer.sandbox.clone(), peer.link.clone());
                let here = (name.clone(), link_name.clone());
                held.contains(&there) && back.get(&there) == Some(&here)
            }
            _ => true,
        });
        let links: BTreeSet<LinkName> = sandbox.links.keys().cloned().collect();
        for link in sandbox.links.values_mut() {
            link.master = link.master.take().filter(|master| links.contains(master));
        }
        sandbox.addresses.retain(|address| links.contains(&address.link));
        if name.guest().is_some_and(|id| !links.contains(&LinkName::gateway_bridge(&id))) {
            sandbox.sysctls.remove(&Sysctl::RouteLocalnet);
        }
        let sources: BTreeSet<Ipv4Addr> =
            sandbox.addresses.iter().map(|address| address.net.addr()).collect();
        // A guest's loopback is its host's, which is not looked at.
        let lo = lo_is_up(sandbox) || name.guest().is_some();
        sandbox.routes.retain(|route| lo && sources.contains(&route.source));
        let up = |link: &LinkName| sandbox.links.get(link).is_some_and(|link| link.up);
        let stays = |path: &Path| up(&path.link) && sources.contains(&path.source);
        let neighbours = sandbox.neighbours.iter().filter(|held| up(&held.link));
        sandbox.neighbours = neighbours.cloned().collect();
        sandbox.forwarding.retain(|entry| links.contains(&entry.link));
        sandbox.paths = sandbox.paths.iter().filter(|path| stays(path)).cloned().collect();
    }
    // Where we are guests and have nothing, we are not.
    node.sandboxes.retain(|name, held| name.guest().is_none() || !held.is_vacant());
}

/// Puts things into a node that are not swarmlb's: a sandbox that looks like one of ours but for
/// its owner, and in each of `hosts`, which are ours, links and virtual servers that we never make.
pub fn add_foreign(node: &mut Node, hosts: &BTreeSet<SandboxName>) {
    let twin = node.sandboxes.values().next_back().cloned().unwrap_or_default();
    let mut twin = Sandbox { owner: Owner::Foreign, ..twin };
    for link in twin.links.values_mut() {
        if let LinkKind::Veth { peer } = &mut link.kind {
            *peer = None;
        }
    }
    node.sandboxes.insert(SandboxName("web.9".into()), twin);
    for name in hosts {
        if let Some(sandbox) = node.sandboxes.get_mut(name) {
            add_foreign_things(sandbox);
        }
    }
}

pub fn add_foreign_things(sandbox: &mut Sandbox) {
    let wg0 = LinkName::from("wg0");
    sandbox.links.insert(wg0.clone(), link(LinkKind::Other { name: "wireguard".into() }));
    sandbox.links.insert("veth1".into(), link(LinkKind::Veth { peer: None }));
    sandbox.addresses.insert(Address { link: wg0, net: net(Ipv4Addr::new(192, 0, 2, 1), 24) });
    sandbox.virtual_servers.extend(foreign_servers());
}

fn foreign_servers() -> [(VirtualServerKey, VirtualServer); 3] {
    let (v4, v6) = (IpAddr::V4(STALE), "fd00::1".parse().expect("an address"));
    let address = |address, protocol| VirtualServerKey::Address { protocol, address, port: 80 };
    [
        (address(v4, Protocol::Tcp), virtual_server(0)),
        (address(v6, Protocol::Other(132)), virtual_server(360)),
        (VirtualServerKey::Fwmark(Fwmark(7)), virtual_server(0)),
    ]
}

/// What of a node is none of swarmlb's: whole sandboxes, and what [`add_foreign_things`] adds.
pub fn foreign_part(node: &Node) -> Node {
    let mut part = node.clone();
    for sandbox in part.sandboxes.values_mut().filter(|s| s.owner != Owner::Foreign) {
        let names = ["wg0", "veth1"];
        sandbox.links.retain(|name, _| names.contains(&name.as_str()));
        sandbox.addresses.retain(|address| names.contains(&address.link.as_str()));
        let keys = foreign_servers().map(|(key, _)| key);
        sandbox.virtual_servers.retain(|key, _| keys.contains(key));
        let (links, addresses) = (sandbox.links.clone(), sandbox.addresses.clone());
        let virtual_servers = sandbox.virtual_servers.clone();
        *sandbox = Sandbox { links, addresses, virtual_servers, ..Sandbox::default() };
    }
    part.sandboxes.retain(|name, sandbox| {
        let foreign = node.sandboxes.get(name).is_some_and(|s| s.owner == Owner::Foreign);
        foreign || *sandbox != Sandbox::default()
    });
    part
}

fn link(kind: LinkKind) -> Link {
    Link { kind, mac: None, mtu: 1420, master: None, isolated: false, up: true }
}

fn virtual_server(persistence: u32) -> VirtualServer {
    let key = RealServerKey { address: IpAddr::V4(STALE), port: 80 };
    VirtualServer {
        scheduler: "wlc".into(),
        flags: 0,
        persistence,
        client_bits: 0,
        rotation: Rotation::default(),
        real_servers: [(key, real_server(100))].into(),
    }
}

fn real_server(weight: u32) -> RealServer {
    RealServer::new(Forwarding::Masquerade, weight)
}

fn net(address: Ipv4Addr, length: u8) -> Ipv4Net {
    Ipv4Net::new(address, length).expect("a length of at most 32")
}
