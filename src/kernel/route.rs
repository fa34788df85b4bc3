//! Links, addresses and routes of a sandbox, over rtnetlink. The messages come from rtnetlink's
//! builders; they go out on a socket that was opened inside the namespace.

/// A message body of one kind.
macro_rules! body {
    ($type:ty, $variant:ident) => {
        impl Body for $type {
            fn from(message: RouteNetlinkMessage) -> Option<Self> {
                match message {
                    RouteNetlinkMessage::$variant(message) => Some(message),
                    _ => None,
                }
            }
        }
    };
}

pub mod detail;
pub mod rows;

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use ipnet::Ipv4Net;
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use nix::errno::Errno;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{
    InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoVeth, InfoVxlan, LinkAttribute,
    LinkFlags, LinkInfo, LinkMessage,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteProtocol,
    RouteScope, RouteType,
};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{
    AddressMessageBuilder, LinkBridge, LinkBridgePort, LinkMessageBuilder, LinkUnspec, LinkVxlan,
    RouteMessageBuilder,
};

use super::netlink::{Message, NLM_F_CREATE_EXCL, Netlink};
use super::{Outcome, Refusal};
use crate::intent::Fwmark;
use crate::node::object::Port;
use crate::node::{Address, Link, LinkKind, LinkName, Mac, Path, Route};
use crate::plan::runbook::{ROUTE_PROTOCOL, TURN_PRIORITY};

/// The routing table of local addresses (RT_TABLE_LOCAL in linux/rtnetlink.h).
const TABLE_LOCAL: u8 = 255;

/// A link as the kernel tells it, with what only its numbers say.
#[derive(Debug, Clone)]
pub struct Seen {
    pub index: u32,
    pub name: LinkName,
    pub link: Link,
    pub alias: Option<String>,
    /// The index of a veth's other end, in its own namespace.
    pub peer_index: Option<u32>,
    /// This namespace's number for the one that the other end is in.
    pub peer_namespace: Option<i32>,
}

/// rtnetlink in one namespace.
pub struct RouteSocket {
    netlink: Netlink,
}

impl RouteSocket {
    /// # Errors
    /// When the socket cannot be opened there.
    pub fn open(namespace: BorrowedFd<'_>) -> std::io::Result<Self> {
        Ok(Self { netlink: Netlink::open(namespace, netlink_sys::protocols::NETLINK_ROUTE)? })
    }

    /// # Errors
    /// When the socket cannot be opened.
    pub fn open_here() -> std::io::Result<Self> {
        Ok(Self { netlink: Netlink::open_here(netlink_sys::protocols::NETLINK_ROUTE)? })
    }

    /// Every link.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn links(&mut self) -> Result<Vec<Seen>, Refusal> {
        let request = bytes(RouteNetlinkMessage::GetLink(LinkMessage::default()), 0);
        let mut masters = HashMap::new();
        let mut seen = Vec::new();
        for message in self.netlink.dump(&request)? {
            let message = parse::<LinkMessage>(&message)?;
            seen.push(link_seen(&message));
            masters.insert(message.header.index, attribute_name(&message));
        }
        Ok(seen
            .into_iter()
            .map(|(mut seen, master)| {
                seen.link.master = master.and_then(|index| masters.get(&index).cloned());
                seen
            })
            .collect())
    }

    /// IPv4 addresses, loopback's own left out.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn addresses(&mut self, links: &[Seen]) -> Result<Vec<Address>, Refusal> {
        let mut request = AddressMessage::default();
        request.header.family = AddressFamily::Inet;
        let request = bytes(RouteNetlinkMessage::GetAddress(request), 0);
        let mut addresses = Vec::new();
        for message in self.netlink.dump(&request)? {
            let message = parse::<AddressMessage>(&message)?;
            addresses.extend(address_seen(&message, links));
        }
        Ok(addresses)
    }

    /// swarmlb's own local routes.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn local_routes(&mut self) -> Result<Vec<Route>, Refusal> {
        let routes = self.routes()?;
        Ok(routes
            .iter()
            .filter(|route| {
                route.header.table == TABLE_LOCAL
                    && route.header.protocol == RouteProtocol::Other(ROUTE_PROTOCOL)
                    && route.header.kind == RouteType::Local
            })
            .filter_map(|route| {
                let mut address = None;
                let mut source = None;
                for attribute in &route.attributes {
                    match attribute {
                        RouteAttribute::Destination(RouteAddress::Inet(to)) => address = Some(*to),
                        RouteAttribute::PrefSource(RouteAddress::Inet(from)) => {
                            source = Some(*from)
                        }
                        _ => {}
                    }
                }
                let address = address?;
                Some(Route { address, source: source.unwrap_or(address) })
            })
            .collect())
    }

    /// swarmlb's own routes beyond the links' subnets.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn paths(&mut self, links: &[Seen]) -> Result<Vec<Path>, Refusal> {
        let routes = self.routes()?;
        let ours = routes.iter().filter(|route| {
            route.header.kind == RouteType::Unicast
                && route.header.protocol == RouteProtocol::Other(ROUTE_PROTOCOL)
        });
        Ok(ours.filter_map(|route| path_seen(route, links)).collect())
    }

    /// The marks by which packets are routed, by swarmlb's own rules.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn turns(&mut self) -> Result<BTreeSet<Fwmark>, Refusal> {
        let mut request = RuleMessage::default();
        request.header.family = AddressFamily::Inet;
        let request = bytes(RouteNetlinkMessage::GetRule(request), 0);
        let rules: Result<Vec<RuleMessage>, Refusal> =
            self.netlink.dump(&request)?.iter().map(parse).collect();
        let seen = rules?.into_iter().filter_map(|rule| {
            let mark = rule.attributes.iter().find_map(|attribute| match attribute {
                RuleAttribute::FwMark(mark) => Some(Fwmark(*mark)),
                _ => None,
            })?;
            let wanted = turn_message(mark);
            let has = |attribute| rule.attributes.contains(attribute);
            wanted.attributes.iter().all(has).then_some(mark)
        });
        Ok(seen.collect())
    }

    /// The ranges that any table has routes to, default routes left out.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn ranges(&mut self) -> Result<Vec<Ipv4Net>, Refusal> {
        let routes = self.routes()?;
        let mut ranges: Vec<Ipv4Net> = routes.iter().filter_map(destination).collect();
        ranges.retain(|range| range.prefix_len() > 0);
        // The widest says most of where an overlap comes from.
        ranges.sort_by_key(|range| (range.prefix_len(), *range));
        ranges.dedup();
        Ok(ranges)
    }

    fn routes(&mut self) -> Result<Vec<RouteMessage>, Refusal> {
        let mut request = RouteMessage::default();
        request.header.address_family = AddressFamily::Inet;
        let request = bytes(RouteNetlinkMessage::GetRoute(request), 0);
        self.netlink.dump(&request)?.iter().map(parse::<RouteMessage>).collect()
    }

    /// This namespace's number for another, none when it has given it none.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn namespace_number(&mut self, other: BorrowedFd<'_>) -> Result<Option<i32>, Refusal> {
        use rtnetlink::packet_route::nsid::{NsidAttribute, NsidMessage};
        let mut request = NsidMessage::default();
        request.attributes.push(NsidAttribute::Fd(other.as_raw_fd() as u32));
        let request = bytes(RouteNetlinkMessage::GetNsId(request), 0);
        for message in self.netlink.get(request)? {
            let message = parse::<NsidMessage>(&message)?;
            for attribute in &message.attributes {
                if let NsidAttribute::Id(number) = attribute {
                    return Ok((*number >= 0).then_some(*number));
                }
            }
        }
        Ok(None)
    }

    fn index(&mut self, name: &LinkName) -> Result<u32, Refusal> {
        let request = LinkMessageBuilder::<LinkUnspec>::new().name(name.as_str()).build();
        let request = bytes(RouteNetlinkMessage::GetLink(request), 0);
        match self.netlink.get(request)?.first() {
            Some(message) => Ok(parse::<LinkMessage>(message)?.header.index),
            None => Err(Errno::ENODEV.into()),
        }
    }

    /// Makes `lo` say whose the namespace is.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn set_alias(&mut self, name: &LinkName, alias: &str) -> Outcome {
        let index = self.index(name)?;
        let message = LinkMessageBuilder::<LinkUnspec>::new().index(index).alias(alias).build();
        self.set_link(message)
    }

    fn set_link(&mut self, message: LinkMessage) -> Outcome {
        self.netlink.request(&bytes(RouteNetlinkMessage::SetLink(message), 0))
    }

    fn new_link(&mut self, message: LinkMessage) -> Outcome {
        let message = RouteNetlinkMessage::NewLink(message);
        self.netlink.request(&bytes(message, NLM_F_CREATE_EXCL))
    }

    /// # Errors
    /// The kernel's refusal.
    pub fn add_bridge(&mut self, name: &LinkName, link: &Link) -> Outcome {
        let mut message = LinkBridge::new(name.as_str()).mtu(link.mtu);
        if let Some(mac) = link.mac {
            message = message.address(mac.0.to_vec());
        }
        if link.up {
            message = message.up();
        }
        self.new_link(message.build())
    }

    /// Makes a VXLAN device under `name` in `target`; its UDP socket is and stays in this namespace.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn add_vxlan_into(
        &mut self,
        target: BorrowedFd<'_>,
        name: &LinkName,
        link: &Link,
    ) -> Outcome {
        let LinkKind::Vxlan { vni, port, learning, proxy, local } = link.kind else {
            return Err(Errno::EINVAL.into());
        };
        let mut message = LinkVxlan::new(name.as_str(), vni.0)
            .port(port)
            .learning(learning)
            .append_info_data(InfoVxlan::Proxy(proxy))
            .mtu(link.mtu)
            .setns_by_fd(target.as_raw_fd());
        if let Some(vtep) = local {
            message = message.local(vtep);
        }
        self.new_link(message.build())
    }

    /// Makes a veth pair: `name` in `end`'s namespace, the other end in this one.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn add_veth_from(
        &mut self,
        end: BorrowedFd<'_>,
        name: &LinkName,
        mac: Option<Mac>,
        mtu: u32,
        port: &Port,
    ) -> Outcome {
        let master = match &port.master {
            Some(master) => Some(self.index(master)?),
            None => None,
        };
        let mut inner = LinkMessageBuilder::<LinkUnspec>::new()
            .name(name.as_str())
            .mtu(mtu)
            .setns_by_fd(end.as_raw_fd());
        if let Some(mac) = mac {
            inner = inner.address(mac.0.to_vec());
        }
        let mut message = LinkMessageBuilder::<LinkUnspec>::new_with_info_kind(InfoKind::Veth)
            .name(port.peer.link.as_str())
            .mtu(port.mtu)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(inner.build())));
        if let Some(master) = master {
            message = message.controller(master);
        }
        if port.up {
            message = message.up();
        }
        self.new_link(message.build())?;
        if !port.isolated {
            return Ok(());
        }
        self.isolate(&port.peer.link, true).inspect_err(|_| {
            let _ = self.del_link(&port.peer.link);
        })
    }

    /// Keeps a bridge's port apart from its other isolated ports, or lets it be one of all.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn isolate(&mut self, port: &LinkName, isolated: bool) -> Outcome {
        let index = self.index(port)?;
        let message = LinkBridgePort::new(index).isolated(isolated).build();
        // The settings of a port are taken with a message for new links, and by no other.
        self.netlink.request(&bytes(RouteNetlinkMessage::NewLink(message), 0))
    }

    /// Changes a link in place.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn change_link(
        &mut self,
        name: &LinkName,
        mac: Option<Mac>,
        mtu: u32,
        master: Option<&LinkName>,
        up: bool,
    ) -> Outcome {
        let index = self.index(name)?;
        let mut message = LinkMessageBuilder::<LinkUnspec>::new().index(index).mtu(mtu);
        if let Some(mac) = mac {
            message = message.address(mac.0.to_vec());
        }
        message = match master {
            Some(master) => message.controller(self.index(master)?),
            None => message.nocontroller(),
        };
        message = if up { message.up() } else { message.down() };
        self.set_link(message.build())
    }

    /// # Errors
    /// The kernel's refusal.
    pub fn set_up(&mut self, name: &LinkName, up: bool) -> Outcome {
        let index = self.index(name)?;
        let message = LinkMessageBuilder::<LinkUnspec>::new().index(index);
        self.set_link(if up { message.up() } else { message.down() }.build())
    }

    /// # Errors
    /// The kernel's refusal.
    pub fn del_link(&mut self, name: &LinkName) -> Outcome {
        let index = self.index(name)?;
        let message = LinkMessageBuilder::<LinkUnspec>::new().index(index).build();
        self.netlink.request(&bytes(RouteNetlinkMessage::DelLink(message), 0))
    }

    /// # Errors
    /// The kernel's refusal.
    pub fn add_address(&mut self, address: &Address) -> Outcome {
        let message = self.address_message(address)?;
        let message = RouteNetlinkMessage::NewAddress(message);
        self.netlink.request(&bytes(message, NLM_F_CREATE_EXCL))
    }

    /// # Errors
    /// The kernel's refusal.
    pub fn del_address(&mut self, address: &Address) -> Outcome {
        let message = self.address_message(address)?;
        self.netlink.request(&bytes(RouteNetlinkMessage::DelAddress(message), 0))
    }

    fn address_message(&mut self, address: &Address) -> Result<AddressMessage, Refusal> {
        Ok(AddressMessageBuilder::<Ipv4Addr>::new()
            .index(self.index(&address.link)?)
            .address(address.net.addr(), address.net.prefix_len())
            .build())
    }

    /// What the route to an address carries, in bytes; none where its link is unknown.
    ///
    /// # Errors
    /// The kernel's refusal: there is no route.
    pub fn mtu_to(&mut self, address: Ipv4Addr, links: &[Seen]) -> Result<Option<u32>, Refusal> {
        let mut request = RouteMessage::default();
        request.header.address_family = AddressFamily::Inet;
        request.header.destination_prefix_length = 32;
        request.attributes.push(RouteAttribute::Destination(RouteAddress::Inet(address)));
        let request = bytes(RouteNetlinkMessage::GetRoute(request), 0);
        let answers = self.netlink.get(request)?;
        let Some(answer) = answers.first() else { return Ok(None) };
        let (mut own, mut link) = (None, None);
        for attribute in parse::<RouteMessage>(answer)?.attributes {
            match attribute {
                RouteAttribute::Metrics(metrics) => {
                    own = metrics.into_iter().find_map(|metric| match metric {
                        RouteMetric::Mtu(mtu) => Some(mtu),
                        _ => None,
                    });
                }
                RouteAttribute::Oif(index) => {
                    link = links.iter().find(|link| link.index == index).map(|link| link.link.mtu);
                }
                _ => {}
            }
        }
        Ok(own.into_iter().chain(link).min())
    }

    /// Adds and removes routes, in batches. It ends with the batch in which one is refused: there is
    /// one outcome for each that was tried.
    pub fn change_routes(&mut self, changes: &[RouteChange]) -> Vec<Outcome> {
        let mut indexes = HashMap::new();
        for link in changes.iter().filter_map(RouteChange::link) {
            match self.index(&link) {
                Ok(index) => indexes.insert(link, index),
                Err(refusal) => return vec![Err(refusal)],
            };
        }
        self.netlink.batch(changes, |change, to| {
            let index = change.link().and_then(|link| indexes.get(&link)).copied();
            let index = index.unwrap_or_default();
            to.extend(match change {
                RouteChange::Add(route) => new_route(route_message(route, index)),
                RouteChange::AddPath(path) => new_route(path_message(path, index)),
                RouteChange::Del(route) => del_route(route_message(route, index)),
                RouteChange::DelPath(path) => del_route(path_message(path, index)),
                RouteChange::AddTurn(mark) => {
                    let message = RouteNetlinkMessage::NewRule(turn_message(*mark));
                    bytes(message, NLM_F_CREATE_EXCL)
                }
                RouteChange::DelTurn(mark) => {
                    bytes(RouteNetlinkMessage::DelRule(turn_message(*mark)), 0)
                }
            });
            Ok(())
        })
    }
}

/// What shall happen to a route.
#[derive(Debug, Clone)]
pub enum RouteChange {
    Add(Route),
    AddPath(Path),
    Del(Route),
    DelPath(Path),
    AddTurn(Fwmark),
    DelTurn(Fwmark),
}

impl RouteChange {
    /// The link that it leads to; a rule leads to none.
    fn link(&self) -> Option<LinkName> {
        match self {
            RouteChange::Add(_) | RouteChange::Del(_) => Some("lo".into()),
            RouteChange::AddPath(path) | RouteChange::DelPath(path) => Some(path.link.clone()),
            RouteChange::AddTurn(_) | RouteChange::DelTurn(_) => None,
        }
    }
}

fn new_route(message: RouteMessage) -> Vec<u8> {
    bytes(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE_EXCL)
}

fn del_route(message: RouteMessage) -> Vec<u8> {
    bytes(RouteNetlinkMessage::DelRoute(message), 0)
}

fn destination(route: &RouteMessage) -> Option<Ipv4Net> {
    let length = route.header.destination_prefix_length;
    let to = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(to)) => Some(*to),
        _ => None,
    });
    // A default route has none.
    Ipv4Net::new(to.unwrap_or(Ipv4Addr::UNSPECIFIED), length).ok()
}

fn path_seen(route: &RouteMessage, links: &[Seen]) -> Option<Path> {
    let mut table = u32::from(route.header.table);
    let (mut index, mut via, mut source) = (None, None, None);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Oif(number) => index = Some(*number),
            RouteAttribute::Gateway(RouteAddress::Inet(router)) => via = Some(*router),
            RouteAttribute::PrefSource(RouteAddress::Inet(from)) => source = Some(*from),
            _ => {}
        }
    }
    let link = links.iter().find(|link| Some(link.index) == index)?.name.clone();
    let mark = (table != u32::from(RouteHeader::RT_TABLE_MAIN)).then_some(Fwmark(table));
    Some(Path { to: destination(route)?, link, via, source: source?, mark })
}

/// `ip rule add fwmark MARK table MARK`
fn turn_message(mark: Fwmark) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.action = RuleAction::ToTable;
    message.attributes = vec![
        RuleAttribute::Priority(TURN_PRIORITY),
        RuleAttribute::FwMark(mark.0),
        RuleAttribute::FwMask(u32::MAX),
        RuleAttribute::Table(mark.0),
        RuleAttribute::Protocol(RouteProtocol::Other(ROUTE_PROTOCOL)),
    ];
    message
}

fn path_message(path: &Path, index: u32) -> RouteMessage {
    let message = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(path.to.addr(), path.to.prefix_len())
        .output_interface(index)
        .pref_source(path.source)
        .table_id(path.mark.map_or(u32::from(RouteHeader::RT_TABLE_MAIN), |mark| mark.0))
        .protocol(RouteProtocol::Other(ROUTE_PROTOCOL))
        .kind(RouteType::Unicast);
    match path.via {
        Some(via) => message.gateway(via).scope(RouteScope::Universe),
        None => message.scope(RouteScope::Link),
    }
    .build()
}

fn route_message(route: &Route, index: u32) -> RouteMessage {
    RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(route.address, 32)
        .output_interface(index)
        .pref_source(route.source)
        .table_id(u32::from(TABLE_LOCAL))
        .protocol(RouteProtocol::Other(ROUTE_PROTOCOL))
        .scope(RouteScope::Host)
        .kind(RouteType::Local)
        .build()
}

fn bytes(message: RouteNetlinkMessage, flags: u16) -> Vec<u8> {
    let mut message = NetlinkMessage::from(message);
    message.header.flags = flags | super::netlink::NLM_F_REQUEST;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// A message body that the kernel sends.
trait Body: Sized {
    fn from(message: RouteNetlinkMessage) -> Option<Self>;
}

body!(LinkMessage, NewLink);
body!(AddressMessage, NewAddress);
body!(RouteMessage, NewRoute);
body!(rtnetlink::packet_route::nsid::NsidMessage, NewNsId);

fn parse<T: Body>(message: &Message) -> Result<T, Refusal> {
    let unreadable = |error: String| {
        Refusal::saying(Errno::EBADMSG, format!("the kernel's answer cannot be read: {error}"))
    };
    let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(message.as_bytes())
        .map_err(|error| unreadable(error.to_string()))?;
    match message.payload {
        NetlinkPayload::InnerMessage(message) => T::from(message),
        _ => None,
    }
    .ok_or_else(|| unreadable("another kind of message".into()))
}

fn attribute_name(message: &LinkMessage) -> LinkName {
    let name = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    });
    LinkName(name.unwrap_or_default())
}

fn link_seen(message: &LinkMessage) -> (Seen, Option<u32>) {
    let mut seen = Seen {
        index: message.header.index,
        name: attribute_name(message),
        link: Link {
            kind: LinkKind::Other { name: "unknown".into() },
            mac: None,
            mtu: 0,
            master: None,
            isolated: false,
            up: message.header.flags.contains(LinkFlags::Up),
        },
        alias: None,
        peer_index: None,
        peer_namespace: None,
    };
    let mut master = None;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Mtu(mtu) => seen.link.mtu = *mtu,
            LinkAttribute::Address(mac) => {
                seen.link.mac = mac.as_slice().try_into().ok().map(Mac);
            }
            LinkAttribute::Controller(index) => master = Some(*index),
            LinkAttribute::IfAlias(alias) => seen.alias = Some(alias.clone()),
            LinkAttribute::Link(index) => seen.peer_index = Some(*index),
            LinkAttribute::LinkNetNsId(number) => seen.peer_namespace = Some(*number),
            LinkAttribute::LinkInfo(infos) => {
                seen.link.kind = kind_seen(infos);
                seen.link.isolated = is_isolated(infos);
            }
            _ => {}
        }
    }
    if message.header.flags.contains(LinkFlags::Loopback) {
        seen.link.kind = LinkKind::Loopback;
    }
    normalise(&mut seen.link);
    (seen, master)
}

/// A MAC that nobody chose is no part of comparing links.
fn normalise(link: &mut Link) {
    if matches!(link.kind, LinkKind::Loopback | LinkKind::Vxlan { .. }) {
        link.mac = None;
    }
}

fn kind_seen(infos: &[LinkInfo]) -> LinkKind {
    let kind = infos.iter().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind.clone()),
        _ => None,
    });
    match kind {
        Some(InfoKind::Bridge) => LinkKind::Bridge,
        Some(InfoKind::Veth) => LinkKind::Veth { peer: None },
        Some(InfoKind::Vxlan) => vxlan_seen(infos),
        Some(other) => LinkKind::Other { name: format!("{other:?}").to_lowercase() },
        None => LinkKind::Other { name: "physical".into() },
    }
}

fn is_isolated(infos: &[LinkInfo]) -> bool {
    infos.iter().any(|info| match info {
        LinkInfo::PortData(InfoPortData::BridgePort(settings)) => {
            settings.contains(&InfoBridgePort::Isolated(true))
        }
        _ => false,
    })
}

fn vxlan_seen(infos: &[LinkInfo]) -> LinkKind {
    let (mut vni, mut port, mut learning, mut proxy, mut local) = (0, 0, false, false, None);
    for info in infos {
        let LinkInfo::Data(InfoData::Vxlan(data)) = info else { continue };
        for attribute in data {
            match attribute {
                InfoVxlan::Id(id) => vni = *id,
                InfoVxlan::Port(number) => port = *number,
                InfoVxlan::Learning(on) => learning = *on,
                InfoVxlan::Proxy(on) => proxy = *on,
                InfoVxlan::Local(vtep) => local = Some(*vtep),
                _ => {}
            }
        }
    }
    LinkKind::Vxlan { vni: crate::intent::Vni(vni), port, learning, proxy, local }
}

fn address_seen(message: &AddressMessage, links: &[Seen]) -> Option<Address> {
    let link = links.iter().find(|link| link.index == message.header.index)?;
    if link.link.kind == LinkKind::Loopback {
        return None;
    }
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(IpAddr::V4(address)) => Some(*address),
        _ => None,
    })?;
    let net = Ipv4Net::new(local, message.header.prefix_len).ok()?;
    Some(Address { link: link.name.clone(), net })
}
