//! Expressions: what a rule is made of. Each reads or writes registers; a lookup that finds nothing
//! ends the rule.

use super::attribute::{Attributes, DecodeError, Writer};
use super::data::Data;
use super::frame::Family;

const NAME: u16 = 1;
const DATA: u16 = 2;
/// Of a constant that an expression holds: its bytes.
const VALUE: u16 = 1;

/// A register of the packet's evaluation, by its `NFT_REG_` number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Register(pub u32);

impl Register {
    /// Where the verdict is.
    pub const VERDICT: Self = Self(0);
    /// The first of the 16-byte registers.
    pub const ONE: Self = Self(1);
    /// The second four bytes of the first one.
    pub const ONE_SECOND: Self = Self(9);
    /// The third four bytes of the first one.
    pub const ONE_THIRD: Self = Self(10);
}

/// Which header of a packet: a `NFT_PAYLOAD_` number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Base(pub u32);

impl Base {
    /// Ethernet's.
    pub const LINK: Self = Self(0);
    /// IPv4's or IPv6's.
    pub const NETWORK: Self = Self(1);
    /// TCP's, UDP's …
    pub const TRANSPORT: Self = Self(2);
}

/// What of a packet's meta data: a `NFT_META_` number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MetaKey(pub u32);

impl MetaKey {
    /// The packet's mark.
    pub const MARK: Self = Self(3);
    /// The name of the link that it came by.
    pub const LINK_IN: Self = Self(6);
    /// The name of the link that it leaves by.
    pub const LINK_OUT: Self = Self(7);
    /// The transport protocol's number.
    pub const PROTOCOL: Self = Self(16);
    /// Whether it came encrypted: 1 or 0, in one byte.
    pub const SECPATH: Self = Self(25);
}

/// What of a packet's connection: a `NFT_CT_` number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionKey(pub u32);

impl ConnectionKey {
    /// How far it got, as [`state`] bits.
    pub const STATE: Self = Self(0);
    /// What was done to it, as `IPS_` bits.
    pub const STATUS: Self = Self(2);
}

/// States of a connection: bits of `NF_CT_STATE_BIT`.
pub mod state {
    /// Both sides were heard of.
    pub const ESTABLISHED: u32 = 0x2;
    /// It belongs to such a one.
    pub const RELATED: u32 = 0x4;
}

/// The bit of a connection whose destination was rewritten (`IPS_DST_NAT`).
pub const DESTINATION_REWRITTEN: u32 = 0x20;

/// What of a packet's route: a `NFT_RT_` number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RouteKey(pub u32);

impl RouteKey {
    /// Whether it will be encrypted: 1 or 0, in one byte.
    pub const IPSEC: Self = Self(4);
}

/// How a register is compared: a `NFT_CMP_` number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Comparison(pub u32);

impl Comparison {
    /// It is the same.
    pub const EQUAL: Self = Self(0);
    /// It is another.
    pub const UNEQUAL: Self = Self(1);
}

/// What is rewritten: a `NFT_NAT_` number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NatKind(pub u32);

impl NatKind {
    /// The source.
    pub const SOURCE: Self = Self(0);
    /// The destination.
    pub const DESTINATION: Self = Self(1);
}

/// How numbers are made: a `NFT_NG_` number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NumberKind(pub u32);

impl NumberKind {
    /// One after the other.
    pub const INCREMENTAL: Self = Self(0);
    /// At random.
    pub const RANDOM: Self = Self(1);
}

/// Rewriting an address, once for each connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Nat {
    /// Source or destination.
    pub kind: NatKind,
    /// Of which family the address is.
    pub family: Family,
    /// Where the first and the last address of a range are; the same for one address.
    pub address: Option<(Register, Register)>,
    /// Where the first and the last port are.
    pub port: Option<(Register, Register)>,
    /// `NF_NAT_RANGE_` bits, without the two that say that there is an address or a port.
    pub flags: u32,
}

impl Nat {
    /// There is an address (bit 0), there is a port (bit 1): the kernel adds these by itself.
    const IMPLIED: u32 = 0x3;
}

/// A part of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Expression {
    /// Loads bytes of the packet.
    Payload {
        /// Which header.
        base: Base,
        /// From where in it, in bytes.
        offset: u32,
        /// How many bytes.
        length: u32,
        /// Where to.
        to: Register,
    },
    /// Loads meta data.
    MetaLoad {
        /// Which.
        key: MetaKey,
        /// Where to.
        to: Register,
    },
    /// Sets meta data.
    MetaStore {
        /// Which.
        key: MetaKey,
        /// From where.
        from: Register,
    },
    /// Loads what is known of the packet's route.
    RouteLoad {
        /// What.
        key: RouteKey,
        /// Where to.
        to: Register,
    },
    /// Goes on where the comparison holds; else ends the rule.
    Compare {
        /// What is compared.
        from: Register,
        /// How.
        comparison: Comparison,
        /// With what.
        data: Data,
    },
    /// Looks a key up in a set or a map.
    Lookup {
        /// The set.
        set: String,
        /// The set's number, where it was made in the same transaction and has no name yet.
        set_id: Option<u32>,
        /// Where the key is.
        from: Register,
        /// Where a map's data go.
        to: Option<Register>,
        /// `NFT_LOOKUP_F_` bits: 1 goes on when the key is not found.
        flags: u32,
    },
    /// Loads a constant; in the verdict's register, judges.
    Immediate {
        /// Where to.
        to: Register,
        /// What.
        data: Data,
    },
    /// Keeps the bits of a register that a mask has.
    Mask {
        /// From where.
        from: Register,
        /// Where to.
        to: Register,
        /// The mask, as long as what is masked.
        mask: Vec<u8>,
    },
    /// Loads something of the packet's connection.
    ConnectionLoad {
        /// What.
        key: ConnectionKey,
        /// Where to.
        to: Register,
    },
    /// Asks the routing tables about the packet.
    Route {
        /// Where the answer goes.
        to: Register,
        /// What is wanted: a `NFT_FIB_RESULT_` number; 3 is the type of an address.
        result: u32,
        /// Of what: `NFTA_FIB_F_` bits; 2 is the destination.
        of: u32,
    },
    /// Rewrites.
    Nat(Nat),
    /// Rewrites the source to an address of the link by which the packet leaves.
    Masquerade,
    /// Loads a number that is another each time.
    Number {
        /// Where to.
        to: Register,
        /// How it is made.
        kind: NumberKind,
        /// It is below this …
        modulus: u32,
        /// … plus this.
        offset: u32,
    },
    /// Counts.
    Counter {
        /// Packets that came here.
        packets: u64,
        /// Bytes of these.
        bytes: u64,
    },
    /// Refuses, with an answer.
    Reject {
        /// 0: ICMP; 1: TCP's reset.
        kind: u32,
        /// The code of ICMP; 3 is "port unreachable".
        code: u8,
    },
    /// What this codec does not know, or not in this form. It can be read, and not written.
    Other {
        /// Its name.
        name: String,
    },
}

impl Expression {
    /// Loads an IPv4 packet's destination address into the first register.
    pub fn ipv4_destination() -> Self {
        Self::Payload { base: Base::NETWORK, offset: 16, length: 4, to: Register::ONE }
    }

    /// Loads the type of the destination's address: [`LOCAL`](Self::LOCAL) for this machine's own.
    pub fn destination_type() -> Self {
        Self::Route { to: Register::ONE, result: 3, of: 2 }
    }

    /// `RTN_LOCAL`, the type of this machine's own addresses.
    pub const LOCAL: u32 = 2;

    /// A counter that counted nothing yet.
    pub fn counter() -> Self {
        Self::Counter { packets: 0, bytes: 0 }
    }

    /// The same, as it was when it was added: nothing counted, no number of a transaction.
    #[must_use]
    pub fn fresh(self) -> Self {
        match self {
            Self::Counter { .. } => Self::counter(),
            Self::Lookup { set, from, to, flags, .. } => {
                Self::Lookup { set, set_id: None, from, to, flags }
            }
            other => other,
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Payload { .. } => "payload",
            Self::MetaLoad { .. } | Self::MetaStore { .. } => "meta",
            Self::RouteLoad { .. } => "rt",
            Self::Compare { .. } => "cmp",
            Self::Lookup { .. } => "lookup",
            Self::Immediate { .. } => "immediate",
            Self::Mask { .. } => "bitwise",
            Self::ConnectionLoad { .. } => "ct",
            Self::Route { .. } => "fib",
            Self::Nat(_) => "nat",
            Self::Masquerade => "masq",
            Self::Number { .. } => "numgen",
            Self::Counter { .. } => "counter",
            Self::Reject { .. } => "reject",
            Self::Other { name } => name,
        }
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) {
        writer.text(NAME, self.name());
        writer.nested(DATA, |inside| self.write_data(inside));
    }

    fn write_data(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Payload { base, offset, length, to } => {
                writer.u32(payload::TO, to.0);
                writer.u32(payload::BASE, base.0);
                writer.u32(payload::OFFSET, *offset);
                writer.u32(payload::LENGTH, *length);
            }
            Self::MetaLoad { key, to } => {
                writer.u32(meta::KEY, key.0);
                writer.u32(meta::TO, to.0);
            }
            Self::MetaStore { key, from } => {
                writer.u32(meta::KEY, key.0);
                writer.u32(meta::FROM, from.0);
            }
            Self::RouteLoad { key, to } => {
                writer.u32(route::TO, to.0);
                writer.u32(route::KEY, key.0);
            }
            Self::Compare { from, comparison, data } => {
                writer.u32(compare::FROM, from.0);
                writer.u32(compare::COMPARISON, comparison.0);
                writer.nested(compare::DATA, |inside| data.write(inside));
            }
            Self::Lookup { set, set_id, from, to, flags } => {
                writer.u32(lookup::FROM, from.0);
                if let Some(to) = to {
                    writer.u32(lookup::TO, to.0);
                }
                writer.text(lookup::SET, set);
                if let Some(id) = set_id {
                    writer.u32(lookup::SET_ID, *id);
                }
                if *flags != 0 {
                    writer.u32(lookup::FLAGS, *flags);
                }
            }
            Self::Immediate { to, data } => {
                writer.u32(immediate::TO, to.0);
                writer.nested(immediate::DATA, |inside| data.write(inside));
            }
            Self::Mask { from, to, mask } => {
                writer.u32(mask::FROM, from.0);
                writer.u32(mask::TO, to.0);
                writer.u32(mask::LENGTH, u32::try_from(mask.len()).unwrap_or(u32::MAX));
                writer.nested(mask::MASK, |inside| inside.raw(VALUE, mask));
                writer.nested(mask::XOR, |inside| inside.raw(VALUE, &vec![0; mask.len()]));
            }
            Self::ConnectionLoad { key, to } => {
                writer.u32(connection::KEY, key.0);
                writer.u32(connection::TO, to.0);
            }
            Self::Route { to, result, of } => {
                writer.u32(fib::OF, *of);
                writer.u32(fib::RESULT, *result);
                writer.u32(fib::TO, to.0);
            }
            Self::Nat(nat) => nat.write(writer),
            Self::Masquerade => {}
            Self::Number { to, kind, modulus, offset } => {
                writer.u32(number::TO, to.0);
                writer.u32(number::MODULUS, *modulus);
                writer.u32(number::KIND, kind.0);
                writer.u32(number::OFFSET, *offset);
            }
            Self::Counter { packets, bytes } => {
                if *bytes != 0 {
                    writer.u64(counter::BYTES, *bytes);
                }
                if *packets != 0 {
                    writer.u64(counter::PACKETS, *packets);
                }
            }
            Self::Reject { kind, code } => {
                writer.u32(reject::KIND, *kind);
                writer.u8(reject::CODE, *code);
            }
            Self::Other { .. } => {}
        }
    }

    pub(super) fn decode(attributes: Attributes<'_>) -> Result<Self, DecodeError> {
        let (mut name, mut data) = (String::new(), Attributes::new(&[]));
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.number {
                NAME => name = attribute.text(),
                DATA => data = attribute.nested(),
                _ => {}
            }
        }
        let known = match name.as_str() {
            "payload" => payload::decode(data)?,
            "meta" => meta::decode(data)?,
            "rt" => route::decode(data)?,
            "cmp" => compare::decode(data)?,
            "lookup" => lookup::decode(data)?,
            "immediate" => immediate::decode(data)?,
            "bitwise" => mask::decode(data)?,
            "ct" => connection::decode(data)?,
            "fib" => fib::decode(data)?,
            "masq" => masquerade::decode(data)?,
            "nat" => Some(Self::Nat(Nat::decode(data)?)),
            "numgen" => number::decode(data)?,
            "counter" => counter::decode(data)?,
            "reject" => reject::decode(data)?,
            _ => None,
        };
        Ok(known.unwrap_or(Self::Other { name }))
    }
}

/// Each expression's attributes. One with an attribute that is not known here is not known here: it
/// may mean something else.
mod payload {
    use super::{Attributes, Base, DecodeError, Expression, Register};

    pub const TO: u16 = 1;
    pub const BASE: u16 = 2;
    pub const OFFSET: u16 = 3;
    pub const LENGTH: u16 = 4;

    pub fn decode(data: Attributes<'_>) -> Result<Option<Expression>, DecodeError> {
        let (mut to, mut base, mut offset, mut length) = (None, None, None, None);
        for attribute in data {
            let attribute = attribute?;
            let place = match attribute.number {
                TO => &mut to,
                BASE => &mut base,
                OFFSET => &mut offset,
                LENGTH => &mut length,
                _ => return Ok(None),
            };
            *place = Some(attribute.u32("payload")?);
        }
        let (Some(to), Some(base), Some(offset), Some(length)) = (to, base, offset, length) else {
            return Ok(None);
        };
        let (base, to) = (Base(base), Register(to));
        Ok(Some(Expression::Payload { base, offset, length, to }))
    }
}

mod meta {
    use super::{Attributes, DecodeError, Expression, MetaKey, Register};

    pub const TO: u16 = 1;
    pub const KEY: u16 = 2;
    pub const FROM: u16 = 3;

    pub fn decode(data: Attributes<'_>) -> Result<Option<Expression>, DecodeError> {
        let (mut to, mut key, mut from) = (None, None, None);
        for attribute in data {
            let attribute = attribute?;
            let place = match attribute.number {
                TO => &mut to,
                KEY => &mut key,
                FROM => &mut from,
                _ => return Ok(None),
            };
            *place = Some(attribute.u32("meta")?);
        }
        Ok(match (key.map(MetaKey), to.map(Register), from.map(Register)) {
            (Some(key), Some(to), None) => Some(Expression::MetaLoad { key, to }),
            (Some(key), None, Some(from)) => Some(Expression::MetaStore { key, from }),
            _ => None,
        })
    }
}

mod route {
    use super::{Attributes, DecodeError, Expression, Register, RouteKey};

    pub const TO: u16 = 1;
    pub const KEY: u16 = 2;

    pub fn decode(data: Attributes<'_>) -> Result<Option<Expression>, DecodeError> {
        let (mut to, mut key) = (None, None);
        for attribute in data {
            let attribute = attribute?;
            let place = match attribute.number {
                TO => &mut to,
                KEY => &mut key,
                _ => return Ok(None),
            };
            *place = Some(attribute.u32("rt")?);
        }
        let (Some(to), Some(key)) = (to, key) else { return Ok(None) };
        Ok(Some(Expression::RouteLoad { key: RouteKey(key), to: Register(to) }))
    }
}

mod compare {
    use super::{Attributes, Comparison, Data, DecodeError, Expression, Register};

    pub const FROM: u16 = 1;
    pub const COMPARISON: u16 = 2;
    pub const DATA: u16 = 3;

    pub fn decode(data: Attributes<'_>) -> Result<Option<Expression>, DecodeError> {
        let (mut from, mut comparison, mut value) = (None, None, None);
        for attribute in data {
            let attribute = attribute?;
            match attribute.number {
                FROM => from = Some(attribute.u32("cmp")?),
                COMPARISON => comparison = Some(attribute.u32("cmp")?),
                DATA => value = Some(Data::decode(attribute.nested())?),
                _ => return Ok(None),
            }
        }
        let (Some(from), Some(comparison), Some(data)) = (from, comparison, value) else {
            return Ok(None);
        };
        let (from, comparison) = (Register(from), Comparison(comparison));
        Ok(Some(Expression::Compare { from, comparison, data }))
    }
}

mod lookup {
    use super::{Attributes, DecodeError, Expression, Register};

    pub const SET: u16 = 1;
    pub const FROM: u16 = 2;
    pub const TO: u16 = 3;
    pub const SET_ID: u16 = 4;
    pub const FLAGS: u16 = 5;

    pub fn decode(data: Attributes<'_>) -> Result<Option<Expression>, DecodeError> {
        let (mut set, mut set_id, mut from, mut to, mut flags) = (None, None, None, None, 0);
        for attribute in data {
            let attribute = attribute?;
            match attribute.number {
                SET => set = Some(attribute.text()),
                FROM => from = Some(Register(attribute.u32("lookup")?)),
                TO => to = Some(Register(attribute.u32("lookup")?)),
                SET_ID => set_id = Some(attribute.u32("lookup")?),
                FLAGS => flags = attribute.u32("lookup")?,
                _ => return Ok(None),
            }
        }
        let (Some(set), Some(from)) = (set, from) else { return Ok(None) };
        Ok(Some(Expression::Lookup { set, set_id, from, to, flags }))
    }
}

mod immediate {
    use super::{Attributes, Data, DecodeError, Expression, Register};

    pub const TO: u16 = 1;
    pub const DATA: u16 = 2;

    pub fn decode(data: Attributes<'_>) -> Result<Option<Expression>, DecodeError> {
        let (mut to, mut value) = (None, None);
        for attribute in data {
            let attribute = attribute?;
            match attribute.number {
                TO => to = Some(Register(attribute.u32("immediate")?)),
                DATA => value = Some(Data::decode(attribute.nested())?),
                _ => return Ok(None),
            }
        }
        let (Some(to), Some(data)) = (to, value) else { return Ok(None) };
        Ok(Some(Expression::Immediate { to, data }))
    }
}

mod mask {
    use super::{Attributes, Data, DecodeError, Expression, Register};

    pub const FROM: u16 = 1;
    pub const TO: u16 = 2;
    pub const LENGTH: u16 = 3;
    pub const MASK: u16 = 4;
    pub const XOR: u16 = 5;
    /// 0: mask and exclusive or.
    const OPERATION: u16 = 6;

    pub fn decode(data: Attributes<'_>) -> Result<Option<Expression>, DecodeError> {
        let (mut from, mut to, mut mask) = (None, None, None);
        for attribute in data {
            let attribute = attribute?;
            match attribute.number {
                FROM => from = Some(Register(attribute.u32("mask")?)),
                TO => to = Some(Register(attribute.u32("mask")?)),
                MASK => mask = Some(Data::decode(attribute.nested())?),
                LENGTH => {}
                OPERATION if attribute.u32("operation")? == 0 => {}
                XOR => match Data::decode(attribute.nested())? {
                    Data::Value(bytes) if bytes.iter().all(|byte| *byte == 0) => {}
                    _ => return Ok(None),
                },
                _ => return Ok(None),
            }
        }
        let (Some(from), Some(to), Some(Data::Value(mask))) = (from, to, mask) else {
            return Ok(None);
        };
        Ok(Some(Expression::Mask { from, to, mask }))
    }
}

mod connection {
    use super::{Attributes, ConnectionKey, DecodeError, Expression, Register};

    pub const TO: u16 = 1;
    pub const KEY: u16 = 2;

    pub fn decode(data: Attributes<'_>) -> Result<Option<Expression>, DecodeError> {
        let (mut to, mut key) = (None, None);
        for attribute in data {
            let attribute = attribute?;
            let place = match attribute.number {
                TO => &mut to,
                KEY => &mut key,
                _ => return Ok(None),
            };
            *place = Some(attribute.u32("ct")?);
        }
        let (Some(to), Some(key)) = (to, key) else { return Ok(None) };
        Ok(Some(Expression::ConnectionLoad { key: ConnectionKey(key), to: Register(to) }))
    }
}

mod fib {
    use super::{Attributes, DecodeError, Expression, Register};

    pub const TO: u16 = 1;
    pub const RESULT: u16 = 2;
    pub const OF: u16 = 3;

    pub fn decode(data: Attributes<'_>) -> Result<Option<Expression>, DecodeError> {
        let (mut to, mut result, mut of) = (None, None, None);
        for attribute in data {
            let attribute = attribute?;
            let place = match attribute.number {
                TO => &mut to,
                RESULT => &mut result,
                OF => &mut of,
                _ => return Ok(None),
            };
            *place = Some(attribute.u32("fib")?);
        }
        let (Some(to), Some(result), Some(of)) = (to, result, of) else { return Ok(None) };
        Ok(Some(Expression::Route { to: Register(to), result, of }))
    }
}

mod masquerade {
    use super::{Attributes, DecodeError, Expression};

    const FLAGS: u16 = 1;

    pub fn decode(data: Attributes<'_>) -> Result<Option<Expression>, DecodeError> {
        for attribute in data {
            let attribute = attribute?;
            if attribute.number != FLAGS || attribute.u32("masquerading")? != 0 {
                return Ok(None);
            }
        }
        Ok(Some(Expression::Masquerade))
    }
}

mod number {
    use super::{Attributes, DecodeError, Expression, NumberKind, Register};

    pub const TO: u16 = 1;
    pub const MODULUS: u16 = 2;
    pub const KIND: u16 = 3;
    pub const OFFSET: u16 = 4;

    pub fn decode(data: Attributes<'_>) -> Result<Option<Expression>, DecodeError> {
        let (mut to, mut modulus, mut kind, mut offset) = (None, None, None, None);
        for attribute in data {
            let attribute = attribute?;
            let place = match attribute.number {
                TO => &mut to,
                MODULUS => &mut modulus,
                KIND => &mut kind,
                OFFSET => &mut offset,
                _ => return Ok(None),
            };
            *place = Some(attribute.u32("numgen")?);
        }
        let (Some(to), Some(modulus), Some(kind)) = (to, modulus, kind) else { return Ok(None) };
        let (to, kind, offset) = (Register(to), NumberKind(kind), offset.unwrap_or_default());
        Ok(Some(Expression::Number { to, kind, modulus, offset }))
    }
}

mod counter {
    use super::{Attributes, DecodeError, Expression};

    pub const BYTES: u16 = 1;
    pub const PACKETS: u16 = 2;
    /// Aligns 64 bits on machines that need it.
    const PADDING: u16 = 3;

    pub fn decode(data: Attributes<'_>) -> Result<Option<Expression>, DecodeError> {
        let (mut packets, mut bytes) = (0, 0);
        for attribute in data {
            let attribute = attribute?;
            match attribute.number {
                BYTES => bytes = attribute.u64("bytes")?,
                PACKETS => packets = attribute.u64("packets")?,
                PADDING => {}
                _ => return Ok(None),
            }
        }
        Ok(Some(Expression::Counter { packets, bytes }))
    }
}

mod reject {
    use super::{Attributes, DecodeError, Expression};

    pub const KIND: u16 = 1;
    pub const CODE: u16 = 2;

    pub fn decode(data: Attributes<'_>) -> Result<Option<Expression>, DecodeError> {
        let (mut kind, mut code) = (None, 0);
        for attribute in data {
            let attribute = attribute?;
            match attribute.number {
                KIND => kind = Some(attribute.u32("reject")?),
                CODE => code = attribute.u8("code of ICMP")?,
                _ => return Ok(None),
            }
        }
        Ok(kind.map(|kind| Expression::Reject { kind, code }))
    }
}

impl Nat {
    const KIND: u16 = 1;
    const FAMILY: u16 = 2;
    const ADDRESS_FIRST: u16 = 3;
    const ADDRESS_LAST: u16 = 4;
    const PORT_FIRST: u16 = 5;
    const PORT_LAST: u16 = 6;
    const FLAGS: u16 = 7;

    fn write(&self, writer: &mut Writer<'_>) {
        writer.u32(Self::KIND, self.kind.0);
        writer.u32(Self::FAMILY, u32::from(self.family.0));
        let ranges = [
            (self.address, Self::ADDRESS_FIRST, Self::ADDRESS_LAST),
            (self.port, Self::PORT_FIRST, Self::PORT_LAST),
        ];
        for (range, first, last) in ranges {
            let Some((from, to)) = range else { continue };
            writer.u32(first, from.0);
            if to != from {
                writer.u32(last, to.0);
            }
        }
        if self.flags != 0 {
            writer.u32(Self::FLAGS, self.flags);
        }
    }

    fn decode(data: Attributes<'_>) -> Result<Self, DecodeError> {
        let mut values = [None; 8];
        for attribute in data {
            let attribute = attribute?;
            if let Some(place) = values.get_mut(usize::from(attribute.number)) {
                *place = Some(attribute.u32("nat")?);
            }
        }
        let value = |number: u16| values.get(usize::from(number)).copied().flatten();
        let range = |first, last| {
            let first = value(first)?;
            Some((Register(first), Register(value(last).unwrap_or(first))))
        };
        let missing = |attribute| DecodeError::Missing { what: "a rewriting", attribute };
        let family = value(Self::FAMILY).ok_or(missing("family"))?;
        Ok(Self {
            kind: NatKind(value(Self::KIND).ok_or(missing("kind"))?),
            family: Family(u8::try_from(family).unwrap_or(u8::MAX)),
            address: range(Self::ADDRESS_FIRST, Self::ADDRESS_LAST),
            port: range(Self::PORT_FIRST, Self::PORT_LAST),
            flags: value(Self::FLAGS).unwrap_or_default() & !Self::IMPLIED,
        })
    }
}
