//! States (security associations): `xfrm_usersa_info` and its attributes.

use std::fmt;
use std::net::Ipv4Addr;

use super::bytes::{Attributes, DecodeError, Reader, Writer};
use super::policy::Selector;

const SIZE: usize = 224;
const WHAT: &str = "a state";
pub(super) const IPV4: u16 = 2;

const AUTHENTICATION: u16 = 1;
const CIPHER: u16 = 2;
const COMPRESSION: u16 = 3;
const ENCAPSULATION: u16 = 4;
const AEAD: u16 = 18;
const TRUNCATED_AUTHENTICATION: u16 = 20;
pub(super) const MARK: u16 = 21;
const REPLAY_ESN: u16 = 23;
/// The length of an algorithm's name, in bytes.
const NAME: usize = 64;

/// What a state is known by, with its destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// Who receives by it.
    pub destination: Ipv4Addr,
    /// Its number.
    pub spi: u32,
    /// 50 for ESP.
    pub protocol: u8,
}

impl Identity {
    /// The protocol number of ESP.
    pub const ESP: u8 = 50;
}

/// How much of a packet is protected: an `XFRM_MODE_` number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mode(pub u8);

impl Mode {
    /// What is behind IP's header.
    pub const TRANSPORT: Self = Self(0);
    /// All of it.
    pub const TUNNEL: Self = Self(1);
}

/// `XFRM_STATE_` bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateFlags(pub u8);

impl StateFlags {
    /// Packets are numbered with 64 bits.
    pub const ESN: Self = Self(128);
}

/// Which packets it is for, by their mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    /// What the mark is, under the mask.
    pub value: u32,
    /// Which bits count.
    pub mask: u32,
}

/// Authenticated encryption.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Aead {
    /// As the kernel's crypto calls it: `rfc4106(gcm(aes))`.
    pub name: String,
    /// The check value's length, in bits.
    pub check_bits: u32,
    /// The key and the counter's salt.
    pub key: Vec<u8>,
}

impl fmt::Debug for Aead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, check_bits, key } = self;
        write!(f, "{name} with a key of {} bytes, {check_bits} bits to check", key.len())
    }
}

/// How packets are numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Numbering {
    /// With 32 bits, and a window of so many packets.
    Short(u8),
    /// As [`Replay`] says.
    Long(Replay),
}

/// The window of what was received, and the numbers given out last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Replay {
    /// How many packets may overtake one another.
    pub window: u32,
    /// The number that was given out last.
    pub sent: u64,
    /// The highest number that came.
    pub received: u64,
}

impl Replay {
    /// One of which nothing was sent or received yet.
    pub fn new(window: u32) -> Self {
        Self { window, ..Self::default() }
    }
}

/// One key for one direction.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    /// What it is known by.
    pub identity: Identity,
    /// Who sends by it.
    pub source: Ipv4Addr,
    /// Ties it to policies.
    pub reqid: u32,
    /// How much is protected.
    pub mode: Mode,
    /// What else was asked for.
    pub flags: StateFlags,
    /// Which packets it is for; all, where there is none.
    pub mark: Option<Mark>,
    /// How it encrypts and authenticates; none where that is not one algorithm for both.
    pub aead: Option<Aead>,
    /// Whether it has algorithms of another kind, or is encapsulated.
    pub is_otherwise: bool,
    /// How packets are numbered.
    pub numbering: Numbering,
    /// How many packets went by it.
    pub packets: u64,
    /// The bytes of these.
    pub bytes: u64,
}

impl State {
    /// ESP in transport mode with 64-bit numbers.
    pub fn new(identity: Identity, source: Ipv4Addr, reqid: u32, aead: Aead, window: u32) -> Self {
        Self {
            identity,
            source,
            reqid,
            mode: Mode::TRANSPORT,
            flags: StateFlags::ESN,
            mark: None,
            aead: Some(aead),
            is_otherwise: false,
            numbering: Numbering::Long(Replay::new(window)),
            packets: 0,
            bytes: 0,
        }
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) {
        Selector::default().write(writer);
        write_id(&self.identity, writer);
        writer.address(self.source);
        write_no_limits(writer);
        // What was counted, and how often it failed.
        writer.zeros(32 + 12);
        writer.u32(0);
        writer.u32(self.reqid);
        writer.u16(IPV4);
        writer.u8(self.mode.0);
        writer.u8(match self.numbering {
            Numbering::Short(window) => window,
            Numbering::Long(_) => 0,
        });
        writer.u8(self.flags.0);
        writer.zeros(7);
        if let Some(aead) = &self.aead {
            writer.attribute(AEAD, |inside| aead.write(inside));
        }
        if let Numbering::Long(replay) = &self.numbering {
            writer.attribute(REPLAY_ESN, |inside| replay.write(inside));
        }
        if let Some(mark) = &self.mark {
            writer.attribute(MARK, |inside| mark.write(inside));
        }
    }

    /// Reads one answer to [`Query::States`](super::Query::States); `payload` is what is behind the
    /// message's header.
    ///
    /// # Errors
    /// When the bytes are no state.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let (mut fixed, attributes) = Reader::new(WHAT, SIZE, payload)?;
        Selector::decode(&mut fixed)?;
        let identity = read_id(&mut fixed)?;
        let source = fixed.address()?;
        fixed.skip(64);
        let (bytes, packets) = (fixed.u64()?, fixed.u64()?);
        fixed.skip(16 + 12 + 4);
        let reqid = fixed.u32()?;
        let _family = fixed.u16()?;
        let mode = Mode(fixed.u8()?);
        let short = fixed.u8()?;
        let flags = StateFlags(fixed.u8()?);
        let mut state = Self {
            identity,
            source,
            reqid,
            mode,
            flags,
            mark: None,
            aead: None,
            is_otherwise: false,
            numbering: Numbering::Short(short),
            packets,
            bytes,
        };
        for attribute in Attributes::new(attributes) {
            let (number, value) = attribute?;
            match number {
                AEAD => state.aead = Some(Aead::decode(value)?),
                REPLAY_ESN => state.numbering = Numbering::Long(Replay::decode(value)?),
                MARK => state.mark = Some(Mark::decode(value)?),
                AUTHENTICATION
                | CIPHER
                | COMPRESSION
                | ENCAPSULATION
                | TRUNCATED_AUTHENTICATION => state.is_otherwise = true,
                _ => {}
            }
        }
        Ok(state)
    }
}

impl Aead {
    const SIZE: usize = NAME + 8;

    fn write(&self, writer: &mut Writer<'_>) {
        // The last byte of the name is its end.
        let name = self.name.as_bytes();
        writer.padded(name.get(..NAME - 1).unwrap_or(name), NAME);
        writer.u32(u32::try_from(self.key.len() * 8).unwrap_or(u32::MAX));
        writer.u32(self.check_bits);
        writer.padded(&self.key, self.key.len());
    }

    fn decode(value: &[u8]) -> Result<Self, DecodeError> {
        let (mut fixed, key) = Reader::new("an algorithm", Self::SIZE, value)?;
        let name = fixed.bytes(NAME)?.split(|byte| *byte == 0).next().unwrap_or_default();
        let name = String::from_utf8_lossy(name).into_owned();
        let (key_bits, check_bits) = (fixed.u32()?, fixed.u32()?);
        let length = usize::try_from(key_bits).unwrap_or(usize::MAX).div_ceil(8);
        let short = DecodeError::Short { what: "a key", expected: length };
        let key = key.get(..length).ok_or(short)?.to_vec();
        Ok(Self { name, check_bits, key })
    }
}

impl Replay {
    const SIZE: usize = 24;

    fn write(&self, writer: &mut Writer<'_>) {
        // The bitmap itself is left out: the kernel's begins empty.
        writer.u32(self.window.div_ceil(32));
        writer.u32(self.sent as u32);
        writer.u32(self.received as u32);
        writer.u32((self.sent >> 32) as u32);
        writer.u32((self.received >> 32) as u32);
        writer.u32(self.window);
    }

    fn decode(value: &[u8]) -> Result<Self, DecodeError> {
        let (mut fixed, _) = Reader::new("a replay window", Self::SIZE, value)?;
        let _words = fixed.u32()?;
        let (sent, received) = (fixed.u32()?, fixed.u32()?);
        let (sent_high, received_high) = (fixed.u32()?, fixed.u32()?);
        let long = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
        Ok(Self {
            window: fixed.u32()?,
            sent: long(sent_high, sent),
            received: long(received_high, received),
        })
    }
}

impl Mark {
    pub(super) fn write(&self, writer: &mut Writer<'_>) {
        writer.u32(self.value);
        writer.u32(self.mask);
    }

    pub(super) fn decode(value: &[u8]) -> Result<Self, DecodeError> {
        let (mut fixed, _) = Reader::new("a mark", 8, value)?;
        Ok(Self { value: fixed.u32()?, mask: fixed.u32()? })
    }
}

/// `xfrm_id`
pub(super) fn write_id(identity: &Identity, writer: &mut Writer<'_>) {
    writer.address(identity.destination);
    writer.be32(identity.spi);
    writer.u8(identity.protocol);
    writer.zeros(3);
}

pub(super) fn read_id(fixed: &mut Reader<'_>) -> Result<Identity, DecodeError> {
    let destination = fixed.address()?;
    let identity = Identity { destination, spi: fixed.be32()?, protocol: fixed.u8()? };
    fixed.skip(3);
    Ok(identity)
}

/// `xfrm_lifetime_cfg`: no limits of bytes and packets, nor of time.
pub(super) fn write_no_limits(writer: &mut Writer<'_>) {
    (0..4).for_each(|_| writer.u64(u64::MAX));
    (0..4).for_each(|_| writer.u64(0));
}
