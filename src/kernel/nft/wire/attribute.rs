//! Netlink attributes as nf_tables has them: length, number, value, padded to four bytes, integers in
//! network order. Reading is total; writing cannot fail.

const HEADER: usize = 4;
/// The two highest bits of an attribute's number are flags (`NLA_F_NESTED`, `NLA_F_NET_BYTEORDER`).
const NUMBER: u16 = 0x3fff;
/// Of no effect on the kernel's side, which leaves it out in its answers; `nft` sets it.
const NESTED: u16 = 0x8000;

/// Bytes that are not what the protocol says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The payload of a message is too short for netfilter's header.
    #[error("a netfilter message has {found} bytes, fewer than its header")]
    Header {
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
    /// An attribute without which the object makes no sense is not there.
    #[error("{what} comes without the attribute `{attribute}`")]
    Missing {
        /// Which object.
        what: &'static str,
        /// The attribute in words.
        attribute: &'static str,
    },
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
        self.rest = self.rest.get(length.next_multiple_of(4)..).unwrap_or_default();
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
        self.fixed::<1>(attribute).map(|[byte]| byte)
    }

    pub(super) fn u32(&self, attribute: &'static str) -> Result<u32, DecodeError> {
        self.fixed(attribute).map(u32::from_be_bytes)
    }

    pub(super) fn i32(&self, attribute: &'static str) -> Result<i32, DecodeError> {
        self.fixed(attribute).map(i32::from_be_bytes)
    }

    pub(super) fn u64(&self, attribute: &'static str) -> Result<u64, DecodeError> {
        self.fixed(attribute).map(u64::from_be_bytes)
    }

    /// Text up to its first NUL.
    pub(super) fn text(&self) -> String {
        let text = self.value.split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(text).into_owned()
    }

    pub(super) fn nested(&self) -> Attributes<'a> {
        Attributes::new(self.value)
    }
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
        self.enclosed(number, |bytes| bytes.extend_from_slice(value));
    }

    pub(super) fn u8(&mut self, number: u16, value: u8) {
        self.raw(number, &[value]);
    }

    pub(super) fn u32(&mut self, number: u16, value: u32) {
        self.raw(number, &value.to_be_bytes());
    }

    pub(super) fn i32(&mut self, number: u16, value: i32) {
        self.raw(number, &value.to_be_bytes());
    }

    pub(super) fn u64(&mut self, number: u16, value: u64) {
        self.raw(number, &value.to_be_bytes());
    }

    pub(super) fn text(&mut self, number: u16, value: &str) {
        self.enclosed(number, |bytes| {
            bytes.extend_from_slice(value.as_bytes());
            bytes.push(0);
        });
    }

    /// An attribute that holds what `fill` writes.
    pub(super) fn nested(&mut self, number: u16, fill: impl FnOnce(&mut Writer<'_>)) {
        self.enclosed(number | NESTED, |bytes| fill(&mut Writer::new(bytes)));
    }

    fn enclosed(&mut self, number: u16, fill: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&number.to_ne_bytes());
        fill(self.bytes);
        // What is longer than 64 KiB the kernel refuses: see [`Elements::ROOM`](super::Elements::ROOM).
        let length = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        for (slot, byte) in self.bytes.iter_mut().skip(start).zip(length.to_ne_bytes()) {
            *slot = byte;
        }
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}
