//! Netlink attributes: length, number, value, padded to four bytes. Reading is total; writing cannot
//! fail, for every value that can be written is short by its type.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::virtual_server::Family;

const HEADER: usize = 4;
/// The two highest bits of an attribute's number are flags (`NLA_F_NESTED`, `NLA_F_NET_BYTEORDER`).
const NUMBER: u16 = 0x3fff;
/// Of no effect on the kernel's side, which leaves it out in its answers; `ipvsadm` sets it.
const NESTED: u16 = 0x8000;

/// Bytes that are not what the protocol says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A message says that it is longer than what was received, or shorter than its own header.
    #[error("a netlink message claims {claimed} bytes where {available} are left")]
    MessageLength {
        /// Its length by its header, in bytes.
        claimed: usize,
        /// What the buffer still holds, in bytes.
        available: usize,
    },
    /// The payload of a message is too short for its fixed part.
    #[error("{what} has {found} bytes, fewer than {expected}")]
    Payload {
        /// Which message.
        what: &'static str,
        /// The least it needs, in bytes.
        expected: usize,
        /// What it has, in bytes.
        found: usize,
    },
    /// An attribute says that it is longer than what encloses it, or shorter than its own header.
    #[error("a netlink attribute claims {claimed} bytes where {available} are left")]
    AttributeLength {
        /// Its length by its header, in bytes.
        claimed: usize,
        /// What the enclosing attribute or message still holds, in bytes.
        available: usize,
    },
    /// An attribute has not the size of its type.
    #[error("the attribute `{attribute}` has {found} bytes, not {expected}")]
    AttributeSize {
        /// The attribute in words.
        attribute: &'static str,
        /// The size of its type, in bytes.
        expected: usize,
        /// What it has, in bytes.
        found: usize,
    },
    /// A text attribute is no name: empty, too long, or not text.
    #[error("the attribute `{attribute}` is not a name: {bytes:?}")]
    NotAName {
        /// The attribute in words.
        attribute: &'static str,
        /// What it holds.
        bytes: Vec<u8>,
    },
    /// An attribute without which the object makes no sense is not there.
    #[error("{what} comes without the attribute `{attribute}`")]
    Missing {
        /// Which object.
        what: &'static str,
        /// The attribute in words.
        attribute: &'static str,
    },
    /// An address family that is neither `AF_INET` nor `AF_INET6`.
    #[error("{0} is not an address family that IPVS has")]
    AddressFamily(u16),
}

/// One attribute as it was received.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attribute<'a> {
    pub(super) number: u16,
    pub(super) value: &'a [u8],
}

/// The attributes in a payload, one after the other; it ends after the first error.
#[derive(Debug, Clone)]
pub(super) struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Attributes<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn cut(&mut self) -> Result<Attribute<'a>, DecodeError> {
        let available = self.rest.len();
        let short = |claimed| DecodeError::AttributeLength { claimed, available };
        let (header, _) = self.rest.split_first_chunk::<HEADER>().ok_or(short(HEADER))?;
        let [l0, l1, n0, n1] = *header;
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = self.rest.get(HEADER..length).ok_or(short(length))?;
        // The padding of the last attribute may be missing.
        self.rest = self.rest.get(aligned(length)..).unwrap_or_default();
        Ok(Attribute { number: u16::from_ne_bytes([n0, n1]) & NUMBER, value })
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<Attribute<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let item = self.cut();
        if item.is_err() {
            self.rest = &[];
        }
        Some(item)
    }
}

impl<'a> Attribute<'a> {
    fn fixed<const N: usize>(&self, attribute: &'static str) -> Result<[u8; N], DecodeError> {
        self.value.try_into().map_err(|_| DecodeError::AttributeSize {
            attribute,
            expected: N,
            found: self.value.len(),
        })
    }

    pub(super) fn u8(&self, attribute: &'static str) -> Result<u8, DecodeError> {
        self.fixed(attribute).map(u8::from_ne_bytes)
    }

    pub(super) fn u16(&self, attribute: &'static str) -> Result<u16, DecodeError> {
        self.fixed(attribute).map(u16::from_ne_bytes)
    }

    /// A port: 16 bits in network order.
    pub(super) fn port(&self, attribute: &'static str) -> Result<u16, DecodeError> {
        self.fixed(attribute).map(u16::from_be_bytes)
    }

    pub(super) fn u32(&self, attribute: &'static str) -> Result<u32, DecodeError> {
        self.fixed(attribute).map(u32::from_ne_bytes)
    }

    /// The first half of `struct ip_vs_flags { flags, mask }`.
    pub(super) fn masked_u32(&self, attribute: &'static str) -> Result<u32, DecodeError> {
        let [a, b, c, d, ..] = self.fixed::<8>(attribute)?;
        Ok(u32::from_ne_bytes([a, b, c, d]))
    }

    /// A counter, which the kernel sends with 32 or with 64 bits.
    pub(super) fn counter(&self, attribute: &'static str) -> Result<u64, DecodeError> {
        match self.value.len() {
            4 => self.u32(attribute).map(u64::from),
            _ => self.fixed(attribute).map(u64::from_ne_bytes),
        }
    }

    /// `union nf_inet_addr`: always 16 bytes, of which IPv4 has the first four.
    pub(super) fn address_bytes(&self, attribute: &'static str) -> Result<[u8; 16], DecodeError> {
        self.fixed(attribute)
    }

    pub(super) fn four_bytes(&self, attribute: &'static str) -> Result<[u8; 4], DecodeError> {
        self.fixed(attribute)
    }

    /// Text up to its first NUL.
    pub(super) fn text(&self) -> &'a [u8] {
        self.value.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    pub(super) fn nested(&self) -> Attributes<'a> {
        Attributes::new(self.value)
    }
}

/// What 16 bytes mean in a family.
pub(super) fn address(bytes: [u8; 16], family: Family) -> IpAddr {
    let [a, b, c, d, ..] = bytes;
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
        Family::V6 => IpAddr::V6(Ipv6Addr::from(bytes)),
    }
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

/// Puts attributes at the end of a buffer.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    bytes: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(bytes: &'a mut Vec<u8>) -> Self {
        Self { bytes }
    }

    pub(super) fn raw(&mut self, number: u16, value: &[u8]) {
        self.header(number, HEADER + value.len());
        self.bytes.extend_from_slice(value);
        self.pad();
    }

    pub(super) fn u8(&mut self, number: u16, value: u8) {
        self.raw(number, &value.to_ne_bytes());
    }

    pub(super) fn u16(&mut self, number: u16, value: u16) {
        self.raw(number, &value.to_ne_bytes());
    }

    pub(super) fn port(&mut self, number: u16, value: u16) {
        self.raw(number, &value.to_be_bytes());
    }

    pub(super) fn u32(&mut self, number: u16, value: u32) {
        self.raw(number, &value.to_ne_bytes());
    }

    /// `struct ip_vs_flags`, with a mask that sets and clears every flag.
    pub(super) fn masked_u32(&mut self, number: u16, value: u32) {
        let [a, b, c, d] = value.to_ne_bytes();
        self.raw(number, &[a, b, c, d, 0xff, 0xff, 0xff, 0xff]);
    }

    pub(super) fn text(&mut self, number: u16, value: &str) {
        self.header(number, HEADER + value.len() + 1);
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(0);
        self.pad();
    }

    pub(super) fn address(&mut self, number: u16, value: IpAddr) {
        let mut bytes = [0; 16];
        match value {
            IpAddr::V4(address) => {
                for (slot, octet) in bytes.iter_mut().zip(address.octets()) {
                    *slot = octet;
                }
            }
            IpAddr::V6(address) => bytes = address.octets(),
        }
        self.raw(number, &bytes);
    }

    /// An attribute that holds what `fill` writes.
    pub(super) fn nested(&mut self, number: u16, fill: impl FnOnce(&mut Writer<'_>)) {
        let start = self.bytes.len();
        self.header(number | NESTED, HEADER);
        fill(&mut Writer::new(self.bytes));
        let length = length(self.bytes.len() - start).to_ne_bytes();
        for (slot, byte) in self.bytes.iter_mut().skip(start).zip(length) {
            *slot = byte;
        }
    }

    fn header(&mut self, number: u16, whole: usize) {
        self.bytes.extend_from_slice(&length(whole).to_ne_bytes());
        self.bytes.extend_from_slice(&number.to_ne_bytes());
    }

    fn pad(&mut self) {
        self.bytes.resize(aligned(self.bytes.len()), 0);
    }
}

/// Everything that is written here is bounded far below 64 KiB by its type.
fn length(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}
