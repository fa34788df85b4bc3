//! Netlink messages around the payload: headers, acknowledgements, the end of a dump.

use super::attribute::{Attributes, DecodeError};

pub(super) const HEADER: usize = 16;
const GENERIC_HEADER: usize = 4;

pub(super) const REQUEST: u16 = 0x1;
pub(super) const ACKNOWLEDGE: u16 = 0x4;
pub(super) const DUMP: u16 = 0x300;
const DUMP_INTERRUPTED: u16 = 0x10;
const CAPPED: u16 = 0x100;
const ACK_ATTRIBUTES: u16 = 0x200;

pub(super) const KIND_ERROR: u16 = 2;
pub(super) const KIND_DONE: u16 = 3;

const ERROR_TEXT: u16 = 1;

/// Whether an answer may miss something because what it lists changed while it was listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completeness {
    /// Nothing says that it may.
    Whole,
    /// `NLM_F_DUMP_INTR`: ask again.
    Interrupted,
}

/// The kernel's word on one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// The sequence number of the request.
    pub sequence: u32,
    /// 0 where it was done, else why not, as a positive `errno`.
    pub errno: i32,
    /// The kernel's own sentence, where the socket has `NETLINK_EXT_ACK` and the kernel one to say.
    pub message: Option<String>,
}

/// A message as it was received.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    pub(super) sequence: u32,
    flags: u16,
    payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// Cuts the first message off a buffer.
    pub(super) fn cut(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), DecodeError> {
        let available = bytes.len();
        let short = |claimed| DecodeError::MessageLength { claimed, available };
        let (header, _) = bytes.split_first_chunk::<HEADER>().ok_or(short(HEADER))?;
        let [l0, l1, l2, l3, k0, k1, f0, f1, s0, s1, s2, s3, ..] = *header;
        let length = u32::from_ne_bytes([l0, l1, l2, l3]);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let payload = bytes.get(HEADER..length).ok_or(short(length))?;
        let message = Self {
            kind: u16::from_ne_bytes([k0, k1]),
            flags: u16::from_ne_bytes([f0, f1]),
            sequence: u32::from_ne_bytes([s0, s1, s2, s3]),
            payload,
        };
        let rest = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Ok((message, rest))
    }

    pub(super) fn completeness(&self) -> Completeness {
        match self.flags & DUMP_INTERRUPTED {
            0 => Completeness::Whole,
            _ => Completeness::Interrupted,
        }
    }

    /// The command and the attributes of a generic netlink message.
    pub(super) fn generic(&self) -> Result<(u8, Attributes<'a>), DecodeError> {
        let (header, rest) = self
            .payload
            .split_first_chunk::<GENERIC_HEADER>()
            .ok_or(self.too_short("a generic netlink message", GENERIC_HEADER))?;
        let [command, ..] = *header;
        Ok((command, Attributes::new(rest)))
    }

    /// The payload of an acknowledgement, or of the end of a dump.
    pub(super) fn ack(&self) -> Result<Ack, DecodeError> {
        let (error, rest) =
            self.payload.split_first_chunk::<4>().ok_or(self.too_short("an acknowledgement", 4))?;
        let error = i32::from_ne_bytes(*error);
        let message = match (self.flags & ACK_ATTRIBUTES, self.kind) {
            (0, _) => None,
            (_, KIND_ERROR) => sentence(self.behind_request(rest)),
            _ => sentence(rest),
        };
        Ok(Ack { sequence: self.sequence, errno: error.checked_neg().unwrap_or(i32::MAX), message })
    }

    /// An acknowledgement repeats the header of the request and, unless capped, all of it.
    fn behind_request(&self, rest: &'a [u8]) -> &'a [u8] {
        let repeated = match (self.flags & CAPPED, rest.first_chunk::<4>()) {
            (0, Some(length)) => usize::try_from(u32::from_ne_bytes(*length)).unwrap_or(usize::MAX),
            _ => HEADER,
        };
        repeated.checked_next_multiple_of(4).and_then(|end| rest.get(end..)).unwrap_or_default()
    }

    fn too_short(&self, what: &'static str, expected: usize) -> DecodeError {
        DecodeError::Payload { what, expected, found: self.payload.len() }
    }
}

/// The sentence is an extra: one that cannot be read is none, and the errno still counts.
fn sentence(bytes: &[u8]) -> Option<String> {
    Attributes::new(bytes)
        .map_while(Result::ok)
        .find(|attribute| attribute.number == ERROR_TEXT)
        .map(|attribute| String::from_utf8_lossy(attribute.text()).into_owned())
        .filter(|text| !text.is_empty())
}

/// The fixed part of a request: `nlmsghdr` and `genlmsghdr`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    pub(super) command: u8,
    pub(super) version: u8,
}

impl Head {
    /// Appends a message whose attributes `fill` writes. The port is left 0: the kernel knows the sender.
    pub(super) fn write(self, bytes: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
        let start = bytes.len();
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&self.kind.to_ne_bytes());
        bytes.extend_from_slice(&self.flags.to_ne_bytes());
        bytes.extend_from_slice(&self.sequence.to_ne_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&[self.command, self.version, 0, 0]);
        fill(bytes);
        let length = u32::try_from(bytes.len() - start).unwrap_or(u32::MAX);
        for (slot, byte) in bytes.iter_mut().skip(start).zip(length.to_ne_bytes()) {
            *slot = byte;
        }
    }
}
