//! Structures of fixed size in the machine's order, then netlink attributes. Reading is total; writing
//! cannot fail.

use std::net::Ipv4Addr;

const HEADER: usize = 4;
/// The two highest bits of an attribute's number are flags.
const NUMBER: u16 = 0x3fff;

/// Bytes that are not what the protocol says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A message or an attribute is too short for the structure that it begins with.
    #[error("{what} has fewer bytes than its structure ({expected})")]
    Short {
        /// Of what.
        what: &'static str,
        /// The structure's size, in bytes.
        expected: usize,
    },
    /// An attribute says that it is longer than what is left, or shorter than its own header.
    #[error("a netlink attribute claims {claimed} bytes where {available} are left")]
    AttributeLength {
        /// Its length by its header, in bytes.
        claimed: usize,
        /// What is left, in bytes.
        available: usize,
    },
}

/// Takes one value after another from a structure.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    what: &'static str,
    whole: usize,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A structure of that size at the beginning of `bytes`, and what is behind it.
    pub(super) fn new(
        what: &'static str,
        size: usize,
        bytes: &'a [u8],
    ) -> Result<(Self, &'a [u8]), DecodeError> {
        match bytes.split_at_checked(size) {
            Some((rest, behind)) => Ok((Self { what, whole: size, rest }, behind)),
            None => Err(DecodeError::Short { what, expected: size }),
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let short = DecodeError::Short { what: self.what, expected: self.whole };
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(short)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn skip(&mut self, count: usize) {
        self.rest = self.rest.get(count..).unwrap_or_default();
    }

    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.take::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.take().map(u16::from_ne_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.take().map(u32::from_ne_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.take().map(u64::from_ne_bytes)
    }

    /// Numbers in network order.
    pub(super) fn be16(&mut self) -> Result<u16, DecodeError> {
        self.take().map(u16::from_be_bytes)
    }

    pub(super) fn be32(&mut self) -> Result<u32, DecodeError> {
        self.take().map(u32::from_be_bytes)
    }

    /// The first four of an address's sixteen bytes.
    pub(super) fn address(&mut self) -> Result<Ipv4Addr, DecodeError> {
        let [a, b, c, d, ..] = self.take::<16>()?;
        Ok(Ipv4Addr::new(a, b, c, d))
    }

    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let short = DecodeError::Short { what: self.what, expected: self.whole };
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(short)?;
        self.rest = rest;
        Ok(taken)
    }
}

/// The attributes behind a structure, by number; it ends after the first error.
#[derive(Debug, Clone)]
pub(super) struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Attributes<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn cut(&mut self) -> Result<(u16, &'a [u8]), DecodeError> {
        let available = self.rest.len();
        let short = |claimed| DecodeError::AttributeLength { claimed, available };
        let [l0, l1, n0, n1] = *self.rest.first_chunk::<HEADER>().ok_or(short(HEADER))?;
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = self.rest.get(HEADER..length).ok_or(short(length))?;
        // The padding of the last attribute may be missing.
        self.rest = self.rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Ok((u16::from_ne_bytes([n0, n1]) & NUMBER, value))
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<(u16, &'a [u8]), DecodeError>;

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

/// Puts values at the end of a buffer.
#[derive(Debug)]
pub(super) struct Writer<'a>(pub(super) &'a mut Vec<u8>);

impl Writer<'_> {
    pub(super) fn zeros(&mut self, count: usize) {
        self.0.resize(self.0.len() + count, 0);
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_ne_bytes());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_ne_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_ne_bytes());
    }

    pub(super) fn be16(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn be32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn address(&mut self, address: Ipv4Addr) {
        self.0.extend_from_slice(&address.octets());
        self.zeros(12);
    }

    /// Bytes and so many zeros that they are `size` together; what is longer is cut.
    pub(super) fn padded(&mut self, bytes: &[u8], size: usize) {
        let bytes = bytes.get(..size).unwrap_or(bytes);
        self.0.extend_from_slice(bytes);
        self.zeros(size - bytes.len());
    }

    /// An attribute with what `fill` writes.
    pub(super) fn attribute(&mut self, number: u16, fill: impl FnOnce(&mut Writer<'_>)) {
        let start = self.0.len();
        self.u16(0);
        self.u16(number);
        fill(self);
        let length = u16::try_from(self.0.len() - start).unwrap_or(u16::MAX);
        if let Some(place) = self.0.get_mut(start..start + 2) {
            place.copy_from_slice(&length.to_ne_bytes());
        }
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}
