//! Everything that rtnetlink tells of a namespace, whoever made it. Only requests to read go out.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{
    InfoData, InfoVxlan, LinkAttribute, LinkInfo, LinkMessage, State, Stats64,
};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteNextHop,
    RouteProtocol, RouteScope, RouteType, RouteVia,
};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::{Body, Refusal, RouteSocket, bytes, link_seen, parse};
use crate::dump::interface::{Address, OtherEnd, Place, Traffic};
use crate::dump::route::Hop;
use crate::dump::{Forward, Interface, Neighbour, Route, Rule};
use crate::node::{LinkKind, LinkName, Mac};

body!(NeighbourMessage, NewNeighbour);
body!(RuleMessage, NewRule);

/// A link, with this namespace's number for the one that its other end is in.
#[derive(Debug, Clone)]
pub struct Numbered {
    pub interface: Interface,
    pub namespace: Option<i32>,
}

type Links = HashMap<u32, LinkName>;

impl RouteSocket {
    /// Every link in detail, with its addresses of both families, by number.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn interfaces(&mut self) -> Result<Vec<Numbered>, Refusal> {
        let messages: Vec<LinkMessage> =
            self.all(RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
        let names: Links =
            messages.iter().map(|m| (m.header.index, super::attribute_name(m))).collect();
        let mut found: Vec<Numbered> = messages.iter().map(|m| interface(m, &names)).collect();
        let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        for message in self.all::<AddressMessage>(request)? {
            let holder = found.iter_mut().find(|link| link.interface.index == message.header.index);
            if let (Some(link), Some(address)) = (holder, address(&message)) {
                link.interface.addresses.push(address);
            }
        }
        found.sort_by_key(|link| link.interface.index);
        Ok(found)
    }

    /// Every route of both families and every table.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn every_route(&mut self) -> Result<Vec<Route>, Refusal> {
        let names = self.link_names()?;
        let mut routes = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut request = RouteMessage::default();
            request.header.address_family = family;
            for message in self.all::<RouteMessage>(RouteNetlinkMessage::GetRoute(request))? {
                // A kernel without the family answers with another's; a clone is a cached use.
                let cached = message.header.flags.contains(RouteFlags::Cloned);
                if message.header.address_family == family && !cached {
                    routes.extend(route(&message, &names));
                }
            }
        }
        Ok(routes)
    }

    /// The rules that choose a routing table.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn rules(&mut self) -> Result<Vec<Rule>, Refusal> {
        let mut rules = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut request = RuleMessage::default();
            request.header.family = family;
            for message in self.all::<RuleMessage>(RouteNetlinkMessage::GetRule(request))? {
                if message.header.family == family {
                    rules.push(rule(&message));
                }
            }
        }
        Ok(rules)
    }

    /// The neighbours of both families, and those answered for; multicast is left out.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn neighbours(&mut self) -> Result<Vec<Neighbour>, Refusal> {
        let names = self.link_names()?;
        let mut neighbours = Vec::new();
        for flags in [NeighbourFlags::empty(), NeighbourFlags::Proxy] {
            let mut request = NeighbourMessage::default();
            request.header.flags = flags;
            let request = RouteNetlinkMessage::GetNeighbour(request);
            for message in self.all::<NeighbourMessage>(request)? {
                neighbours.extend(neighbour(&message, &names));
            }
        }
        neighbours.sort();
        neighbours.dedup();
        Ok(neighbours)
    }

    /// Where bridges and tunnels send frames.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn fdb(&mut self) -> Result<Vec<Forward>, Refusal> {
        let names = self.link_names()?;
        let mut request = NeighbourMessage::default();
        request.header.family = AddressFamily::Bridge;
        let messages = self.all::<NeighbourMessage>(RouteNetlinkMessage::GetNeighbour(request))?;
        let mut entries: Vec<Forward> =
            messages.iter().filter_map(|message| forward(message, &names)).collect();
        entries.sort_by(|a, b| (&a.link, a).cmp(&(&b.link, b)));
        Ok(entries)
    }

    fn link_names(&mut self) -> Result<Links, Refusal> {
        let messages: Vec<LinkMessage> =
            self.all(RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
        Ok(messages.iter().map(|m| (m.header.index, super::attribute_name(m))).collect())
    }

    fn all<T: Body>(&mut self, request: RouteNetlinkMessage) -> Result<Vec<T>, Refusal> {
        let payloads = self.netlink.dump(&bytes(request, 0))?;
        payloads.iter().map(|payload| parse::<T>(payload)).collect()
    }
}

fn named(names: &Links, index: u32) -> LinkName {
    names.get(&index).cloned().unwrap_or_else(|| LinkName(format!("if{index}")))
}

fn interface(message: &LinkMessage, names: &Links) -> Numbered {
    let (seen, master) = link_seen(message);
    let mut interface = Interface {
        index: seen.index,
        name: seen.name,
        kind: seen.link.kind,
        mac: None,
        mtu: seen.link.mtu,
        master: master.map(|index| named(names, index)),
        up: seen.link.up,
        state: "unknown".into(),
        alias: seen.alias,
        other_end: None,
        local: None,
        remote: None,
        addresses: Vec::new(),
        received: Traffic::default(),
        sent: Traffic::default(),
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Address(mac) => interface.mac = mac_of(mac),
            LinkAttribute::OperState(state) => interface.state = state_word(*state),
            LinkAttribute::Stats64(counted) => {
                (interface.received, interface.sent) = traffic(counted);
            }
            LinkAttribute::LinkInfo(infos) => tunnel_ends(&mut interface, infos),
            _ => {}
        }
    }
    if interface.kind == LinkKind::Loopback {
        interface.mac = None;
    }
    interface.other_end = seen.peer_index.map(|index| match seen.peer_namespace {
        None => OtherEnd { index, link: names.get(&index).cloned(), place: Place::Here },
        Some(_) => OtherEnd { index, link: None, place: Place::Elsewhere },
    });
    Numbered { interface, namespace: seen.peer_namespace }
}

fn state_word(state: State) -> String {
    match state {
        State::Other(number) => number.to_string(),
        known => format!("{known:?}").to_lowercase(),
    }
}

fn traffic(counted: &Stats64) -> (Traffic, Traffic) {
    let received = Traffic {
        packets: counted.rx_packets,
        bytes: counted.rx_bytes,
        errors: counted.rx_errors,
        dropped: counted.rx_dropped,
    };
    let sent = Traffic {
        packets: counted.tx_packets,
        bytes: counted.tx_bytes,
        errors: counted.tx_errors,
        dropped: counted.tx_dropped,
    };
    (received, sent)
}

fn tunnel_ends(interface: &mut Interface, infos: &[LinkInfo]) {
    for info in infos {
        let LinkInfo::Data(InfoData::Vxlan(data)) = info else { continue };
        for attribute in data {
            match attribute {
                InfoVxlan::Local(address) => interface.local = Some((*address).into()),
                InfoVxlan::Local6(address) => interface.local = Some((*address).into()),
                InfoVxlan::Group(address) => interface.remote = Some((*address).into()),
                InfoVxlan::Group6(address) => interface.remote = Some((*address).into()),
                _ => {}
            }
        }
    }
}

fn address(message: &AddressMessage) -> Option<Address> {
    let (mut local, mut far) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => local = Some(*address),
            AddressAttribute::Address(address) => far = Some(*address),
            _ => {}
        }
    }
    let own = local.or(far)?;
    Some(Address {
        net: IpNet::new(own, message.header.prefix_len).ok()?,
        scope: scope_word(&message.header.scope.to_string()),
        peer: far.filter(|far| *far != own),
    })
}

/// As `ip` says it.
fn scope_word(scope: &str) -> String {
    if scope == "universe" { "global".into() } else { scope.to_owned() }
}

fn mac_of(bytes: &[u8]) -> Option<Mac> {
    bytes.try_into().ok().map(Mac)
}

fn route(message: &RouteMessage, names: &Links) -> Option<Route> {
    let header = &message.header;
    let mut table = u32::from(header.table);
    let (mut to, mut source, mut metric, mut mtu) = (None, None, None, None);
    let mut hops = Vec::new();
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => to = ip(address),
            RouteAttribute::PrefSource(address) => source = ip(address),
            RouteAttribute::Priority(number) => metric = Some(*number),
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Metrics(metrics) => {
                mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) => Some(*mtu),
                    _ => None,
                });
            }
            RouteAttribute::MultiPath(paths) => {
                hops = paths.iter().map(|p| path(p, names)).collect()
            }
            _ => {}
        }
    }
    let single = hop(&message.attributes, None, names);
    if hops.is_empty() && (single.via.is_some() || single.link.is_some()) {
        hops.push(single);
    }
    let any: IpAddr = match header.address_family {
        AddressFamily::Inet6 => IpAddr::from([0; 16]),
        _ => IpAddr::from([0; 4]),
    };
    Some(Route {
        kind: kind_word(header.kind),
        to: IpNet::new(to.unwrap_or(any), header.destination_prefix_length).ok()?,
        table: table_word(table),
        protocol: protocol_word(header.protocol),
        scope: match header.scope {
            RouteScope::Universe => "global".into(),
            RouteScope::Other(number) => number.to_string(),
            scope => format!("{scope:?}").to_lowercase(),
        },
        source,
        metric,
        mtu,
        hops,
    })
}

fn kind_word(kind: RouteType) -> String {
    match kind {
        RouteType::Other(number) => number.to_string(),
        known => format!("{known:?}").to_lowercase(),
    }
}

/// As /etc/iproute2/rt_tables names them everywhere.
fn table_word(table: u32) -> String {
    match table {
        253 => "default".into(),
        254 => "main".into(),
        255 => "local".into(),
        number => number.to_string(),
    }
}

fn protocol_word(protocol: RouteProtocol) -> String {
    match protocol {
        RouteProtocol::Other(number) => number.to_string(),
        RouteProtocol::IcmpRedirect => "redirect".into(),
        known => known.to_string().to_lowercase(),
    }
}

fn path(next: &RouteNextHop, names: &Links) -> Hop {
    let hop = hop(&next.attributes, Some(next.interface_index), names);
    Hop { weight: u32::from(next.hops) + 1, ..hop }
}

fn hop(attributes: &[RouteAttribute], index: Option<u32>, names: &Links) -> Hop {
    let mut hop = Hop { via: None, link: index.map(|index| named(names, index)), weight: 1 };
    for attribute in attributes {
        match attribute {
            RouteAttribute::Gateway(address) => hop.via = ip(address),
            RouteAttribute::Via(RouteVia::Inet(address)) => hop.via = Some((*address).into()),
            RouteAttribute::Via(RouteVia::Inet6(address)) => hop.via = Some((*address).into()),
            RouteAttribute::Oif(index) => hop.link = Some(named(names, *index)),
            _ => {}
        }
    }
    hop
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

/// In the words of `ip rule`.
fn rule(message: &RuleMessage) -> Rule {
    let header = &message.header;
    let (mut from, mut to, mut priority) = ("all".to_owned(), None, 0);
    let (mut mark, mut mask, mut goto) = (None, None, None);
    let mut table = u32::from(header.table);
    let mut more = String::new();
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Source(address) => from = prefix(*address, header.src_len),
            RuleAttribute::Destination(address) => to = Some(prefix(*address, header.dst_len)),
            RuleAttribute::Priority(number) => priority = *number,
            RuleAttribute::FwMark(number) => mark = Some(*number),
            RuleAttribute::FwMask(number) => mask = Some(*number),
            RuleAttribute::Table(number) => table = *number,
            RuleAttribute::Goto(number) => goto = Some(*number),
            RuleAttribute::Iifname(name) => more.push_str(&format!(" iif {name}")),
            RuleAttribute::Oifname(name) => more.push_str(&format!(" oif {name}")),
            RuleAttribute::UidRange(range) => {
                more.push_str(&format!(" uidrange {}-{}", range.start, range.end));
            }
            RuleAttribute::IpProtocol(protocol) => {
                more.push_str(&format!(" ipproto {}", format!("{protocol:?}").to_lowercase()));
            }
            RuleAttribute::SourcePortRange(range) => {
                more.push_str(&format!(" sport {}-{}", range.start, range.end));
            }
            RuleAttribute::DestinationPortRange(range) => {
                more.push_str(&format!(" dport {}-{}", range.start, range.end));
            }
            RuleAttribute::SuppressPrefixLen(length) if *length != u32::MAX => {
                more.push_str(&format!(" suppress_prefixlength {length}"));
            }
            RuleAttribute::L3MDev(true) => more.push_str(" l3mdev"),
            _ => {}
        }
    }
    let not = if header.flags.contains(RuleFlags::Invert) { "not " } else { "" };
    let mut matches = format!("{not}from {from}");
    if let Some(to) = to {
        matches.push_str(&format!(" to {to}"));
    }
    match (mark, mask) {
        (Some(mark), None | Some(u32::MAX)) => matches.push_str(&format!(" fwmark {mark:#x}")),
        (mark, Some(mask)) if mask != u32::MAX => {
            matches.push_str(&format!(" fwmark {:#x}/{mask:#x}", mark.unwrap_or_default()));
        }
        _ => {}
    }
    matches.push_str(&more);
    let action = match header.action {
        RuleAction::ToTable => format!("lookup {}", table_word(table)),
        RuleAction::Goto => format!("goto {}", goto.unwrap_or_default()),
        RuleAction::Other(number) => number.to_string(),
        known => format!("{known:?}").to_lowercase(),
    };
    let family = if header.family == AddressFamily::Inet6 { "ipv6" } else { "ipv4" };
    Rule { family: family.into(), priority, matches, action }
}

fn prefix(address: IpAddr, length: u8) -> String {
    match IpNet::new(address, length) {
        Ok(net) if net.prefix_len() < net.max_prefix_len() => net.to_string(),
        _ => address.to_string(),
    }
}

fn neighbour(message: &NeighbourMessage, names: &Links) -> Option<Neighbour> {
    let mut address = None;
    let mut mac = None;
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(to)) => {
                address = Some(IpAddr::from(*to));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(to)) => {
                address = Some(IpAddr::from(*to));
            }
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = mac_of(bytes),
            _ => {}
        }
    }
    let proxy = message.header.flags.contains(NeighbourFlags::Proxy);
    if message.header.state == NeighbourState::Noarp && !proxy {
        return None;
    }
    let state = match message.header.state {
        NeighbourState::Other(bits) => format!("{bits:#x}"),
        _ if proxy => "proxy".into(),
        state => state.to_string(),
    };
    let flags = flag_words(message.header.flags & !NeighbourFlags::Proxy);
    Some(Neighbour {
        address: address?,
        link: named(names, message.header.ifindex),
        mac,
        state,
        flags,
    })
}

fn flag_words(flags: NeighbourFlags) -> Vec<String> {
    let known = [
        (NeighbourFlags::Own, "self"),
        (NeighbourFlags::Router, "router"),
        (NeighbourFlags::Proxy, "proxy"),
        (NeighbourFlags::ExtLearned, "extern_learn"),
        (NeighbourFlags::Offloaded, "offload"),
        (NeighbourFlags::Sticky, "sticky"),
    ];
    known.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, w)| (*w).to_owned()).collect()
}

fn forward(message: &NeighbourMessage, names: &Links) -> Option<Forward> {
    let header = &message.header;
    let mut mac = None;
    let mut entry = Forward {
        mac: Mac([0; 6]),
        link: named(names, header.ifindex),
        to: None,
        port: None,
        vni: None,
        vlan: None,
        master: None,
        flags: flag_words(header.flags),
        state: fdb_state(header.state).into(),
    };
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = mac_of(bytes),
            NeighbourAttribute::Destination(NeighbourAddress::Other(bytes)) => {
                let v4 = <[u8; 4]>::try_from(bytes.as_slice()).map(IpAddr::from);
                let v6 = <[u8; 16]>::try_from(bytes.as_slice()).map(IpAddr::from);
                entry.to = v4.or(v6).ok();
            }
            NeighbourAttribute::Port(port) => entry.port = Some(*port),
            NeighbourAttribute::Vni(vni) => entry.vni = Some(*vni),
            NeighbourAttribute::Vlan(vlan) => entry.vlan = Some(*vlan),
            NeighbourAttribute::Controller(index) => entry.master = Some(named(names, *index)),
            _ => {}
        }
    }
    Some(Forward { mac: mac?, ..entry })
}

/// Several bits may be set (linux/neighbour.h).
fn fdb_state(state: NeighbourState) -> &'static str {
    const REACHABLE: u16 = 0x02;
    const STALE: u16 = 0x04;
    const NOARP: u16 = 0x40;
    const PERMANENT: u16 = 0x80;
    let bits = u16::from(state);
    match bits {
        bits if bits & PERMANENT != 0 => "permanent",
        bits if bits & NOARP != 0 => "static",
        bits if bits & REACHABLE != 0 => "reachable",
        bits if bits & STALE != 0 => "stale",
        _ => "none",
    }
}
