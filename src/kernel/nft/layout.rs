//! swarmlb's table as nf_tables has it: what [`commands`] says in the
//! words of `nft`. What is written and what is recognised are made of the same.

use std::net::Ipv4Addr;

use super::wire::{
    Base, Chain, Comparison, Data, DataType, Element, Expression, Family, Hook, MetaKey, Nat,
    NatKind, NumberKind, Place, Register, RouteKey, Rule, Set, SetFlags, Verdict,
};
use crate::intent::Fwmark;
use crate::node::BaseRule;
use crate::node::encryption::{Carrier, ENCRYPTION_MARK};
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

/// The base chain that holds a rule; none for those that `guest` makes.
pub fn base_chain(table: &str, rule: BaseRule) -> Option<Chain> {
    let (kind, place, priority) = match rule {
        BaseRule::MarkOut => ("route", Place::OUTPUT, -150),
        BaseRule::RejectIn => ("filter", Place::INPUT, 0),
        BaseRule::BalanceOut => ("nat", Place::OUTPUT, -100),
        BaseRule::MarkCarried(_) => ("route", Place::OUTPUT, -150),
        BaseRule::DropClearIn(_) => ("filter", Place::INPUT, 0),
        BaseRule::DropClearOut(_) => ("filter", Place::POSTROUTING, 0),
        BaseRule::MasqueradeOut(_) | BaseRule::DropForward(_) => return None,
    };
    let hook = Hook { kind: kind.into(), place, priority, policy: None };
    Some(Chain { table: table.into(), name: rule.chain().into_owned(), hook: Some(hook) })
}

pub fn base_rule(rule: BaseRule) -> Vec<Expression> {
    let lookup = |set: &str, to| Expression::Lookup {
        set: set.into(),
        set_id: None,
        from: Register::ONE,
        to,
        flags: 0,
    };
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
            // ICMP's "port unreachable".
            Expression::Reject { kind: 0, code: 3 },
        ],
        BaseRule::BalanceOut => vec![
            Expression::MetaLoad { key: MetaKey::MARK, to: Register::ONE },
            lookup(MARK_CHAIN, Some(Register::VERDICT)),
        ],
        BaseRule::MasqueradeOut(_) | BaseRule::DropForward(_) => Vec::new(),
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

const UDP: u8 = 17;
/// Where UDP's header has the destination port, and VXLAN's behind it the network's number.
const PORT_AT: u32 = 2;
const VNI_AT: u32 = 8 + 4;

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
        Expression::MetaLoad { key: MetaKey::L4_PROTOCOL, to: Register::ONE },
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

/// Counts and rewrites to one target.
pub fn target_rule(target: Ipv4Addr) -> Vec<Expression> {
    let nat = Nat {
        kind: NatKind::DESTINATION,
        family: Family::IPV4,
        address: Some((Register::ONE, Register::ONE)),
        port: None,
        flags: 0,
    };
    vec![
        Expression::counter(),
        Expression::Immediate { to: Register::ONE, data: Data::Value(target.octets().into()) },
        Expression::Nat(nat),
    ]
}

/// Each target in turn, by the anonymous map of that name or number; nobody where there is none.
pub fn balance_rule(targets: usize, set: &str, set_id: Option<u32>) -> Vec<Expression> {
    if targets == 0 {
        let back = Data::Verdict(Verdict::Return);
        return vec![Expression::Immediate { to: Register::VERDICT, data: back }];
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
