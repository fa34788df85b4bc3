//! swarmlb's table as nf_tables has it: what [`commands`] says in the
//! words of `nft`. What is written and what is recognised are made of the same.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::wire::{
    Base, Chain, Comparison, ConnectionKey, Data, DataType, Element, Expression, Family, Hook,
    MetaKey, Nat, NatKind, NumberKind, Place, Register, Rule, Set, SetFlags, Verdict, state,
};
use crate::intent::Fwmark;
use crate::node::BaseRule;
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

/// The base chain that holds a rule.
pub fn base_chain(table: &str, rule: BaseRule) -> Chain {
    let (kind, place, priority) = match rule {
        BaseRule::MarkOut => ("route", Place::OUTPUT, -150),
        BaseRule::RejectIn => ("filter", Place::INPUT, 0),
        BaseRule::BalanceOut => ("nat", Place::OUTPUT, -100),
        BaseRule::MasqueradeOut(_) => ("nat", Place::POSTROUTING, 100),
        BaseRule::DropForward(_) => ("filter", Place::FORWARD, 0),
    };
    let hook = Hook { kind: kind.into(), place, priority, policy: None };
    Chain { table: table.into(), name: rule.chain().into(), hook: Some(hook) }
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
        BaseRule::MasqueradeOut(range) => [
            in_range(SOURCE, range, Comparison::EQUAL),
            in_range(DESTINATION, range, Comparison::UNEQUAL),
            vec![Expression::counter(), Expression::Masquerade],
        ]
        .concat(),
        BaseRule::DropForward(range) => [
            in_range(DESTINATION, range, Comparison::EQUAL),
            is_new(),
            vec![Expression::counter(), judge(Verdict::Drop)],
        ]
        .concat(),
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
    let compared =
        Expression::Compare { from: Register::ONE, how, with: network[..bytes].to_vec() };
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
        Expression::Compare { from, how, with: 0u32.to_ne_bytes().into() },
    ]
}

fn judge(verdict: Verdict) -> Expression {
    Expression::Immediate { to: Register::VERDICT, data: Data::Verdict(verdict) }
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
        Expression::Compare { with, .. } => {
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
    vec![
        Expression::counter(),
        Expression::Immediate { to: Register::ONE, data: Data::Value(target.octets().into()) },
        Expression::Nat(nat),
    ]
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
