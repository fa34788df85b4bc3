//! swarmlb's table as nf_tables has it: what [`commands`] says in the
//! words of `nft`. What is written and what is recognised are made of the same.

use std::borrow::Cow;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::wire::{
    Base, Chain, Comparison, ConnectionKey, DESTINATION_REWRITTEN, Data, DataType, Element,
    Expression, Family, Hook, MetaKey, Nat, NatKind, NumberKind, Place, Register, RouteKey, Rule,
    Set, SetFlags, Verdict, state,
};
use crate::intent::{Fwmark, Transport};
use crate::node::encryption::{Carrier, ENCRYPTION_MARK};
use crate::node::{BaseRule, PortAt, PortMap, PortTo, Publication};
use crate::plan::runbook::commands;

pub const VIPS: &str = "vips";
pub const VIP_MARK: &str = "vip-mark";
pub const MARK_CHAIN: &str = "mark-chain";
/// How the kernel names an anonymous map.
pub const ANONYMOUS: &str = "__map%d";

/// What `nft` notes of a set: the byte order of its keys (1 the machine's, 2 the network's), of a map's
/// data, and that those are no intervals. Without it `nft` prints marks the wrong way round.
const NETWORK_KEYS: [u8; 6] = [0, 4, 2, 0, 0, 0];
const NETWORK_KEYS_OWN_DATA: [u8; 18] = [0, 4, 2, 0, 0, 0, 1, 4, 1, 0, 0, 0, 6, 4, 0, 0, 0, 0];
const OWN_KEYS_NO_DATA: [u8; 18] = [0, 4, 1, 0, 0, 0, 1, 4, 0, 0, 0, 0, 6, 4, 0, 0, 0, 0];
/// As above, and that the keys are numbers of 32 bits.
const OWN_NUMBERS_NO_DATA: [u8; 28] =
    [0, 4, 1, 0, 0, 0, 1, 4, 0, 0, 0, 0, 4, 8, 0, 4, 1, 0, 0, 0, 1, 0, 6, 4, 0, 0, 0, 0];

/// Of keys that are joined of several things, and of data that are joined of an address and a port, or
/// are in the machine's own order.
const JOINED_KEYS_JOINED_DATA: [u8; 38] = [
    0, 4, 0, 0, 0, 0, 1, 4, 0, 0, 0, 0, 3, 8, 0, 4, 13, 0, 0, 0, 1, 0, 4, 8, 0, 4, 13, 0, 0, 0, 1,
    0, 6, 4, 0, 0, 0, 0,
];
const JOINED_KEYS_OWN_DATA: [u8; 28] =
    [0, 4, 0, 0, 0, 0, 1, 4, 1, 0, 0, 0, 3, 8, 0, 4, 13, 0, 0, 0, 1, 0, 6, 4, 0, 0, 0, 0];

/// The named sets, numbered from 1.
pub fn sets(table: &str) -> [Set; 3] {
    let set = |id, name: &str, key, data: Option<(DataType, u32)>, user_data: &[u8]| Set {
        table: table.into(),
        name: name.into(),
        flags: if data.is_some() { SetFlags::MAP } else { SetFlags::default() },
        key: (key, 4),
        data,
        id: Some(id),
        size: None,
        user_data: user_data.to_vec(),
    };
    let mark = Some((DataType::MARK, 4));
    let verdict = Some((DataType::VERDICT, 0));
    [
        set(1, VIPS, DataType::IPV4, None, &NETWORK_KEYS),
        set(2, VIP_MARK, DataType::IPV4, mark, &NETWORK_KEYS_OWN_DATA),
        set(3, MARK_CHAIN, DataType::MARK, verdict, &OWN_KEYS_NO_DATA),
    ]
}

/// The map from a turn to the chain of the target whose turn it is.
pub fn turns(table: &str, id: u32, count: usize) -> Set {
    Set {
        table: table.into(),
        name: ANONYMOUS.into(),
        flags: SetFlags::ANONYMOUS.with(SetFlags::CONSTANT).with(SetFlags::MAP),
        key: (DataType::INTEGER, 4),
        data: Some((DataType::VERDICT, 0)),
        id: Some(id),
        size: u32::try_from(count).ok(),
        user_data: OWN_NUMBERS_NO_DATA.to_vec(),
    }
}

/// The map that a rule looks ports up in.
pub fn port_map(table: &str, map: PortMap, id: u32) -> Set {
    let (protocol, port) = (DataType::PROTOCOL, DataType::PORT);
    let key = match map {
        PortMap::Published => (protocol.then(port), 8),
        PortMap::PublishedAt | PortMap::Marks => (DataType::IPV4.then(protocol).then(port), 12),
    };
    let (data, user_data) = match map {
        PortMap::Published | PortMap::PublishedAt => {
            ((DataType::IPV4.then(port), 8), &JOINED_KEYS_JOINED_DATA[..])
        }
        PortMap::Marks => ((DataType::MARK, 4), &JOINED_KEYS_OWN_DATA[..]),
    };
    Set {
        table: table.into(),
        name: map.name().into(),
        flags: SetFlags::MAP,
        key,
        data: Some(data),
        id: Some(id),
        size: None,
        user_data: user_data.to_vec(),
    }
}

/// The base chains that hold a rule, and what stands in each.
pub fn base_rules(table: &str, rule: BaseRule) -> Vec<(Chain, Vec<Expression>)> {
    let expressions = base_rule(rule);
    let chains = rule.chains().into_iter().zip(hooks(rule));
    let chain = |(name, (kind, place, priority)): (Cow<'static, str>, &(&str, Place, i32))| {
        let hook = Hook { kind: (*kind).into(), place: *place, priority: *priority, policy: None };
        Chain { table: table.into(), name: name.into_owned(), hook: Some(hook) }
    };
    chains.map(|entry| (chain(entry), expressions.clone())).collect()
}

/// Where the chains of a rule hang.
fn hooks(rule: BaseRule) -> &'static [(&'static str, Place, i32)] {
    match rule {
        BaseRule::MarkOut | BaseRule::MarkCarried(_) => &[("route", Place::OUTPUT, -150)],
        BaseRule::MarkIn | BaseRule::MarkEntry(_) => &[("filter", Place::PREROUTING, -150)],
        BaseRule::KeepSource { .. } => &[("nat", Place::POSTROUTING, 99)],
        BaseRule::RejectIn | BaseRule::GuardLocalhost | BaseRule::DropClearIn(_) => {
            &[("filter", Place::INPUT, 0)]
        }
        BaseRule::ResetIn => &[("filter", Place::INPUT, -1)],
        BaseRule::DropClearOut(_) => &[("filter", Place::POSTROUTING, 0)],
        BaseRule::DropForward(_) | BaseRule::DropBack => &[("filter", Place::FORWARD, 0)],
        BaseRule::BalanceOut => &[("nat", Place::OUTPUT, -100)],
        BaseRule::BalanceIn => &[("nat", Place::PREROUTING, -100)],
        BaseRule::Publish | BaseRule::PublishAt => {
            &[("nat", Place::PREROUTING, -100), ("nat", Place::OUTPUT, -100)]
        }
        BaseRule::MasqueradeOut(_)
        | BaseRule::MasqueradeHairpin(_)
        | BaseRule::MasqueradeLocalhost(_)
        | BaseRule::SourceOut(_) => &[("nat", Place::POSTROUTING, 100)],
    }
}

fn base_rule(rule: BaseRule) -> Vec<Expression> {
    match rule {
        BaseRule::MarkOut => vec![
            Expression::ipv4_destination(),
            lookup(VIP_MARK, Some(Register::ONE)),
            Expression::MetaStore { key: MetaKey::MARK, from: Register::ONE },
        ],
        BaseRule::RejectIn => vec![
            Expression::ipv4_destination(),
            lookup(VIPS, None),
            Expression::counter(),
            Expression::Reject { kind: UNREACHABLE, code: PORT },
        ],
        BaseRule::ResetIn => vec![
            Expression::MetaLoad { key: MetaKey::PROTOCOL, to: Register::ONE },
            equals(&[TCP]),
            Expression::ipv4_destination(),
            lookup(VIPS, None),
            Expression::counter(),
            Expression::Reject { kind: RESET, code: 0 },
        ],
        BaseRule::BalanceOut | BaseRule::BalanceIn => vec![
            Expression::MetaLoad { key: MetaKey::MARK, to: Register::ONE },
            lookup(MARK_CHAIN, Some(Register::VERDICT)),
        ],
        BaseRule::MasqueradeOut(range) => [
            in_range(SOURCE, range, Comparison::EQUAL),
            in_range(DESTINATION, range, Comparison::UNEQUAL),
            vec![Expression::counter(), Expression::Masquerade],
        ]
        .concat(),
        BaseRule::MasqueradeHairpin(range) => masquerade_between(range, range),
        BaseRule::MasqueradeLocalhost(range) => masquerade_between(LOCALHOST, range),
        BaseRule::DropForward(range) => {
            let load = Expression::ConnectionLoad { key: ConnectionKey::STATUS, to: Register::ONE };
            [
                in_range(DESTINATION, range, Comparison::EQUAL),
                is_new(),
                vec![load],
                none_of(DESTINATION_REWRITTEN),
                vec![Expression::counter(), judge(Verdict::Drop)],
            ]
            .concat()
        }
        BaseRule::GuardLocalhost => [
            by_link(MetaKey::LINK_IN, "lo", Comparison::UNEQUAL),
            in_range(DESTINATION, LOCALHOST, Comparison::EQUAL),
            is_new(),
            vec![Expression::counter(), judge(Verdict::Drop)],
        ]
        .concat(),
        BaseRule::DropBack => [
            by_link(MetaKey::LINK_IN, MESH_LINK, Comparison::EQUAL),
            is_new(),
            vec![Expression::counter(), judge(Verdict::Drop)],
        ]
        .concat(),
        BaseRule::Publish => [local(), port_key(None), send(PortMap::Published)].concat(),
        BaseRule::PublishAt => [local(), port_key(Some(())), send(PortMap::PublishedAt)].concat(),
        BaseRule::MarkIn => [
            port_key(Some(())),
            vec![
                lookup(PortMap::Marks.name(), Some(Register::ONE)),
                Expression::MetaStore { key: MetaKey::MARK, from: Register::ONE },
            ],
        ]
        .concat(),
        BaseRule::SourceOut(address) => [
            by_link(MetaKey::LINK_OUT, MESH_LINK, Comparison::EQUAL),
            vec![Expression::counter(), constant(address), source_rewritten()],
        ]
        .concat(),
        BaseRule::KeepSource { port, range } => keep_source(port, range),
        BaseRule::MarkEntry(address) => [
            in_range(DESTINATION, address.into(), Comparison::EQUAL),
            vec![
                Expression::Payload {
                    base: Base::LINK,
                    offset: SENDER,
                    length: 4,
                    to: Register::ONE,
                },
                Expression::MetaStore { key: MetaKey::MARK, from: Register::ONE },
            ],
        ]
        .concat(),
        BaseRule::MarkCarried(carrier) => {
            let mark = Data::Value(ENCRYPTION_MARK.0.to_ne_bytes().into());
            let marked = [
                Expression::Immediate { to: Register::ONE, data: mark },
                Expression::MetaStore { key: MetaKey::MARK, from: Register::ONE },
            ];
            carried(carrier).into_iter().chain(marked).collect()
        }
        BaseRule::DropClearIn(carrier) => {
            let secured = Expression::MetaLoad { key: MetaKey::SECPATH, to: Register::ONE };
            clear_dropped(carrier, secured)
        }
        BaseRule::DropClearOut(carrier) => {
            let secured = Expression::RouteLoad { key: RouteKey::IPSEC, to: Register::ONE };
            clear_dropped(carrier, secured)
        }
    }
}

/// Where Ethernet's header has the last four bytes of the sender's MAC.
const SENDER: u32 = 8;
const TCP: u8 = 6;
/// What a rejected packet is answered by: an ICMP error, here that there is no such port, or a reset.
const UNREACHABLE: u32 = 0;
const PORT: u8 = 3;
const RESET: u32 = 1;
const UDP: u8 = 17;
/// Where UDP's header has the destination port, and VXLAN's behind it the network's number.
const PORT_AT: u32 = 2;
const VNI_AT: u32 = 8 + 4;

/// The source becomes the address in the first register.
fn source_rewritten() -> Expression {
    Expression::Nat(Nat {
        kind: NatKind::SOURCE,
        family: Family::IPV4,
        address: Some((Register::ONE, Register::ONE)),
        port: None,
        flags: 0,
    })
}

/// A source that was rewritten, to what it is, is rewritten by nobody else.
fn keep_source(port: u16, range: Ipv4Net) -> Vec<Expression> {
    let payload =
        |base, offset, length| Expression::Payload { base, offset, length, to: Register::ONE };
    [
        by_link(MetaKey::LINK_OUT, MESH_LINK, Comparison::EQUAL),
        in_range(SOURCE, range, Comparison::UNEQUAL),
        vec![
            Expression::MetaLoad { key: MetaKey::PROTOCOL, to: Register::ONE },
            equals(&[TCP]),
            payload(Base::TRANSPORT, PORT_AT, 2),
            equals(&port.to_be_bytes()),
            Expression::counter(),
            payload(Base::NETWORK, SOURCE, 4),
            source_rewritten(),
        ],
    ]
    .concat()
}

/// The packets of one network.
fn carried(carrier: Carrier) -> Vec<Expression> {
    let [_, vni @ ..] = carrier.vni.0.to_be_bytes();
    let transport = |offset, length| Expression::Payload {
        base: Base::TRANSPORT,
        offset,
        length,
        to: Register::ONE,
    };
    vec![
        Expression::MetaLoad { key: MetaKey::PROTOCOL, to: Register::ONE },
        equals(&[UDP]),
        transport(PORT_AT, 2),
        equals(&carrier.port.to_be_bytes()),
        transport(VNI_AT, 3),
        equals(&vni),
    ]
}

fn equals(value: &[u8]) -> Expression {
    let data = Data::Value(value.into());
    Expression::Compare { from: Register::ONE, comparison: Comparison::EQUAL, data }
}

/// `secured` loads 0 for a packet in clear text.
fn clear_dropped(carrier: Carrier, secured: Expression) -> Vec<Expression> {
    let dropped = Data::Verdict(Verdict::Drop);
    let judged = [
        secured,
        equals(&[0]),
        Expression::counter(),
        Expression::Immediate { to: Register::VERDICT, data: dropped },
    ];
    carried(carrier).into_iter().chain(judged).collect()
}

/// The port that a rule about a network's packets looks for.
pub fn port_of(rule: &[Expression]) -> Option<u16> {
    match rule.get(3)? {
        Expression::Compare { data: Data::Value(port), .. } => {
            Some(u16::from_be_bytes(port.as_slice().try_into().ok()?))
        }
        _ => None,
    }
}

/// 127.0.0.0/8.
const LOCALHOST: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);
/// The ingress sandbox's link to the mesh's network.
const MESH_LINK: &str = "eth0";

fn lookup(set: &str, to: Option<Register>) -> Expression {
    Expression::Lookup { set: set.into(), set_id: None, from: Register::ONE, to, flags: 0 }
}

fn constant(address: Ipv4Addr) -> Expression {
    Expression::Immediate { to: Register::ONE, data: Data::Value(address.octets().into()) }
}

fn masquerade_between(from: Ipv4Net, to: Ipv4Net) -> Vec<Expression> {
    [
        in_range(SOURCE, from, Comparison::EQUAL),
        in_range(DESTINATION, to, Comparison::EQUAL),
        vec![Expression::counter(), Expression::Masquerade],
    ]
    .concat()
}

/// Goes on for packets by a link of that name, or not of that name.
fn by_link(key: MetaKey, name: &str, how: Comparison) -> Vec<Expression> {
    // As long as a register, which holds a name with zeros behind it.
    let mut with = name.as_bytes().to_vec();
    with.resize(16, 0);
    let load = Expression::MetaLoad { key, to: Register::ONE };
    vec![
        load,
        Expression::Compare { from: Register::ONE, comparison: how, data: Data::Value(with) },
    ]
}

/// Goes on for packets to this machine's own addresses.
fn local() -> Vec<Expression> {
    let (from, how) = (Register::ONE, Comparison::EQUAL);
    let with = Expression::LOCAL.to_ne_bytes().into();
    vec![
        Expression::destination_type(),
        Expression::Compare { from, comparison: how, data: Data::Value(with) },
    ]
}

/// Loads the key of a port, with its address or without.
fn port_key(address: Option<()>) -> Vec<Expression> {
    let (protocol, port) = match address {
        None => (Register::ONE, Register::ONE_SECOND),
        Some(()) => (Register::ONE_SECOND, Register::ONE_THIRD),
    };
    let mut key: Vec<Expression> =
        address.map(|()| Expression::ipv4_destination()).into_iter().collect();
    key.push(Expression::MetaLoad { key: MetaKey::PROTOCOL, to: protocol });
    let (base, offset, length) = (Base::TRANSPORT, 2, 2);
    key.push(Expression::Payload { base, offset, length, to: port });
    key
}

/// Rewrites to the address and port that the key stands for.
fn send(map: PortMap) -> Vec<Expression> {
    let nat = Nat {
        kind: NatKind::DESTINATION,
        family: Family::IPV4,
        address: Some((Register::ONE, Register::ONE)),
        port: Some((Register::ONE_SECOND, Register::ONE_SECOND)),
        flags: 0,
    };
    vec![lookup(map.name(), Some(Register::ONE)), Expression::Nat(nat)]
}

/// The element of a published port.
pub fn publication(held: &Publication) -> Element {
    let port = |port: u16| {
        let [high, low] = port.to_be_bytes();
        [high, low, 0, 0]
    };
    let protocol = [number_of(held.at.transport), 0, 0, 0];
    let address = held.at.address.map(|address| address.octets());
    let key: Vec<[u8; 4]> = address.into_iter().chain([protocol, port(held.at.port)]).collect();
    let data = match held.to {
        PortTo::Address { address, port: to } => [address.octets(), port(to)].concat(),
        PortTo::Mark(fwmark) => fwmark.0.to_ne_bytes().into(),
    };
    Element { key: key.concat(), data: Some(Data::Value(data)) }
}

/// What an element of a map of ports stands for.
pub fn published(map: PortMap, element: &Element) -> Option<Publication> {
    let words: Vec<[u8; 4]> =
        element.key.chunks(4).filter_map(|word| word.try_into().ok()).collect();
    let (address, protocol, port) = match (map, words.as_slice()) {
        (PortMap::Published, [protocol, port]) => (None, protocol, port),
        (_, [address, protocol, port]) => (Some(Ipv4Addr::from(*address)), protocol, port),
        _ => return None,
    };
    let port_of = |word: &[u8; 4]| u16::from_be_bytes([word[0], word[1]]);
    let transport = TRANSPORTS.into_iter().find(|t| number_of(*t) == protocol[0])?;
    let Some(Data::Value(data)) = &element.data else { return None };
    let to = match (map, data.as_slice()) {
        (PortMap::Marks, data) => PortTo::Mark(Fwmark(u32::from_ne_bytes(data.try_into().ok()?))),
        (_, &[a, b, c, d, high, low, ..]) => {
            PortTo::Address { address: [a, b, c, d].into(), port: u16::from_be_bytes([high, low]) }
        }
        _ => return None,
    };
    let held = Publication { at: PortAt { address, transport, port: port_of(port) }, to };
    (publication(&held) == *element).then_some(held)
}

const TRANSPORTS: [Transport; 3] = [Transport::Tcp, Transport::Udp, Transport::Sctp];

/// `IPPROTO_`.
fn number_of(transport: Transport) -> u8 {
    match transport {
        Transport::Tcp => 6,
        Transport::Udp => 17,
        Transport::Sctp => 132,
    }
}

/// Where IPv4's header has its addresses, in bytes.
const SOURCE: u32 = 12;
const DESTINATION: u32 = 16;

/// Goes on when an address is in a range, or is not.
fn in_range(offset: u32, range: Ipv4Net, how: Comparison) -> Vec<Expression> {
    let whole = usize::from(range.prefix_len() / 8);
    // As `nft` does: where only whole bytes count, no more than these are loaded.
    let bytes = if range.prefix_len().is_multiple_of(8) { whole } else { 4 };
    let (network, mask) = (range.network().octets(), range.netmask().octets());
    let load = Expression::Payload {
        base: Base::NETWORK,
        offset,
        length: u32::try_from(bytes).unwrap_or(4),
        to: Register::ONE,
    };
    let masked = (bytes > whole).then(|| Expression::Mask {
        from: Register::ONE,
        to: Register::ONE,
        mask: mask.into(),
    });
    let compared = Expression::Compare {
        from: Register::ONE,
        comparison: how,
        data: Data::Value(network[..bytes].to_vec()),
    };
    [load].into_iter().chain(masked).chain([compared]).collect()
}

/// Goes on for packets that begin something.
fn is_new() -> Vec<Expression> {
    let load = Expression::ConnectionLoad { key: ConnectionKey::STATE, to: Register::ONE };
    let bits = state::ESTABLISHED | state::RELATED;
    [vec![load], none_of(bits)].concat()
}

/// Goes on when the first register has none of these bits.
fn none_of(bits: u32) -> Vec<Expression> {
    let (from, to) = (Register::ONE, Register::ONE);
    let how = Comparison::EQUAL;
    vec![
        Expression::Mask { from, to, mask: bits.to_ne_bytes().into() },
        Expression::Compare { from, comparison: how, data: Data::Value(0u32.to_ne_bytes().into()) },
    ]
}

fn judge(verdict: Verdict) -> Expression {
    Expression::Immediate { to: Register::VERDICT, data: Data::Verdict(verdict) }
}

/// The addresses that a rule rewrites to.
pub fn addresses(expressions: &[Expression]) -> impl Iterator<Item = Ipv4Addr> {
    expressions.iter().filter_map(|expression| match expression {
        Expression::Immediate { data: Data::Value(bytes), .. } => {
            Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes.as_slice()).ok()?))
        }
        _ => None,
    })
}

/// The ranges that a rule compares addresses with.
pub fn ranges(expressions: &[Expression]) -> impl Iterator<Item = Ipv4Net> {
    let mut length = 32;
    expressions.iter().filter_map(move |expression| match expression {
        Expression::Payload { length: bytes, .. } => {
            length = u8::try_from(bytes.saturating_mul(8)).unwrap_or(u8::MAX);
            None
        }
        Expression::Mask { mask, .. } => {
            let mask = <[u8; 4]>::try_from(mask.as_slice()).ok()?;
            length = u8::try_from(u32::from_be_bytes(mask).leading_ones()).unwrap_or(u8::MAX);
            None
        }
        Expression::Compare { data: Data::Value(with), .. } => {
            let mut address = [0; 4];
            address.get_mut(..with.len())?.copy_from_slice(with);
            Ipv4Net::new(address.into(), length).ok()
        }
        _ => None,
    })
}

/// Counts and rewrites to one target.
pub fn target_rule(target: Ipv4Addr) -> Vec<Expression> {
    let nat = Nat {
        kind: NatKind::DESTINATION,
        family: Family::IPV4,
        address: Some((Register::ONE, Register::ONE)),
        port: None,
        flags: 0,
    };
    vec![Expression::counter(), constant(target), Expression::Nat(nat)]
}

/// Each target in turn, by the anonymous map of that name or number; nobody where there is none.
pub fn balance_rule(targets: usize, set: &str, set_id: Option<u32>) -> Vec<Expression> {
    if targets == 0 {
        return vec![judge(Verdict::Return)];
    }
    vec![
        Expression::Number {
            to: Register::ONE,
            kind: NumberKind::INCREMENTAL,
            modulus: u32::try_from(targets).unwrap_or(u32::MAX),
            offset: 0,
        },
        Expression::Lookup {
            set: set.into(),
            set_id,
            from: Register::ONE,
            to: Some(Register::VERDICT),
            flags: 0,
        },
    ]
}

pub fn rule(table: &str, chain: &str, expressions: Vec<Expression>) -> Rule {
    Rule::new(table, chain, expressions)
}

pub fn guard(address: Ipv4Addr) -> Element {
    Element { key: address.octets().into(), data: None }
}

pub fn mark(address: Ipv4Addr, fwmark: Fwmark) -> Element {
    let data = Data::Value(fwmark.0.to_ne_bytes().into());
    Element { key: address.octets().into(), data: Some(data) }
}

/// A marked packet goes to the mark's chain.
pub fn dispatch(fwmark: Fwmark) -> Element {
    jump(fwmark.0, commands::balance_chain(fwmark))
}

/// Whose turn the `number`-th is.
pub fn turn(number: u32, fwmark: Fwmark, target: Ipv4Addr) -> Element {
    jump(number, commands::target_chain(fwmark, target))
}

fn jump(key: u32, chain: String) -> Element {
    let data = Data::Verdict(Verdict::Jump(chain));
    Element { key: key.to_ne_bytes().into(), data: Some(data) }
}
