//! Netlink messages around the attributes: `nlmsghdr` and `nfgenmsg`.

use super::attribute::{Attributes, DecodeError};

pub(super) const REQUEST: u16 = 0x1;
pub(super) const ACKNOWLEDGE: u16 = 0x4;
pub(super) const DUMP: u16 = 0x300;
pub(super) const EXCLUSIVE: u16 = 0x200;
pub(super) const CREATE: u16 = 0x400;
pub(super) const APPEND: u16 = 0x800;

const HEADER: usize = 16;
/// `nfgenmsg`: family, version, and in answers the low half of the ruleset's generation.
const NETFILTER_HEADER: usize = 4;
/// `NFNL_SUBSYS_NFTABLES`, the high byte of a message's type.
const SUBSYSTEM: u16 = 10;
/// Where in a message its flags are.
pub(super) const FLAGS_AT: usize = 6;

/// The address family of a table: an `NFPROTO_` number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Family(pub u8);

impl Family {
    /// `ip`
    pub const IPV4: Self = Self(2);
    /// `ip6`
    pub const IPV6: Self = Self(10);
    /// `inet`: both
    pub const INET: Self = Self(1);
}

/// The generation of the ruleset that an answer is of, as far as the answer tells: its low 16 bits.
/// Answers of different generations do not belong together.
pub fn generation(payload: &[u8]) -> Option<u16> {
    let [_, _, high, low, ..] = *payload else { return None };
    Some(u16::from_be_bytes([high, low]))
}

/// The attributes of an answer.
pub(super) fn attributes(payload: &[u8]) -> Result<Attributes<'_>, DecodeError> {
    let (_, rest) = payload
        .split_first_chunk::<NETFILTER_HEADER>()
        .ok_or(DecodeError::Header { found: payload.len() })?;
    Ok(Attributes::new(rest))
}

/// The fixed part of a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    pub(super) family: Family,
    /// In network order in the message; 0 but for the ends of a transaction.
    pub(super) resource: u16,
}

impl Head {
    /// A message of nf_tables.
    pub(super) fn tables(number: u16, flags: u16, sequence: u32, family: Family) -> Self {
        let kind = SUBSYSTEM << 8 | number;
        Self { kind, flags: REQUEST | flags, sequence, family, resource: 0 }
    }

    /// `NFNL_MSG_BATCH_BEGIN` or `NFNL_MSG_BATCH_END`.
    pub(super) fn end(kind: u16, sequence: u32) -> Self {
        Self { kind, flags: REQUEST, sequence, family: Family(0), resource: SUBSYSTEM }
    }

    /// Appends a message whose attributes `fill` writes. The port is left 0: the kernel knows the sender.
    pub(super) fn write(self, bytes: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
        let start = bytes.len();
        bytes.reserve(HEADER + NETFILTER_HEADER);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&self.kind.to_ne_bytes());
        bytes.extend_from_slice(&self.flags.to_ne_bytes());
        bytes.extend_from_slice(&self.sequence.to_ne_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&[self.family.0, 0]);
        bytes.extend_from_slice(&self.resource.to_be_bytes());
        fill(bytes);
        let length = u32::try_from(bytes.len() - start).unwrap_or(u32::MAX);
        for (slot, byte) in bytes.iter_mut().skip(start).zip(length.to_ne_bytes()) {
            *slot = byte;
        }
    }
}
