//! Policies: `xfrm_userpolicy_info` and its attributes.

use std::net::Ipv4Addr;

use super::bytes::{Attributes, DecodeError, Reader, Writer};
use super::state::{IPV4, Identity, MARK, Mark, Mode, read_id, write_id, write_no_limits};

const SIZE: usize = 168;
const WHAT: &str = "a policy";
const TEMPLATES: u16 = 5;

/// Which packets are meant: `xfrm_selector`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector {
    /// From which range: its address and its length.
    pub source: (Ipv4Addr, u8),
    /// To which range.
    pub destination: (Ipv4Addr, u8),
    /// From which port, and which bits of it count.
    pub source_port: (u16, u16),
    /// To which port, and which bits of it count.
    pub destination_port: (u16, u16),
    /// `AF_INET` (2), or 0 where nothing is selected.
    pub family: u16,
    /// Of which protocol; 0 for any.
    pub protocol: u8,
    /// By which interface; 0 for any.
    pub interface: i32,
}

impl Default for Selector {
    fn default() -> Self {
        let any = (Ipv4Addr::UNSPECIFIED, 0);
        Self {
            source: any,
            destination: any,
            source_port: (0, 0),
            destination_port: (0, 0),
            family: 0,
            protocol: 0,
            interface: 0,
        }
    }
}

impl Selector {
    /// What one host sends to one port of another.
    pub fn to_port(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, port: u16) -> Self {
        Self {
            source: (source, 32),
            destination: (destination, 32),
            destination_port: (port, u16::MAX),
            family: IPV4,
            protocol,
            ..Self::default()
        }
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) {
        writer.address(self.destination.0);
        writer.address(self.source.0);
        for (port, mask) in [self.destination_port, self.source_port] {
            writer.be16(port);
            writer.be16(mask);
        }
        writer.u16(self.family);
        writer.u8(self.destination.1);
        writer.u8(self.source.1);
        writer.u8(self.protocol);
        writer.zeros(3);
        writer.u32(self.interface.cast_unsigned());
        // For whom.
        writer.u32(0);
    }

    pub(super) fn decode(fixed: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (destination, source) = (fixed.address()?, fixed.address()?);
        let destination_port = (fixed.be16()?, fixed.be16()?);
        let source_port = (fixed.be16()?, fixed.be16()?);
        let family = fixed.u16()?;
        let (destination_length, source_length) = (fixed.u8()?, fixed.u8()?);
        let protocol = fixed.u8()?;
        fixed.skip(3);
        let interface = fixed.u32()?.cast_signed();
        fixed.skip(4);
        Ok(Self {
            source: (source, source_length),
            destination: (destination, destination_length),
            source_port,
            destination_port,
            family,
            protocol,
            interface,
        })
    }
}

/// When a policy is asked: an `XFRM_POLICY_` number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Direction(pub u8);

impl Direction {
    /// For what comes in.
    pub const IN: Self = Self(0);
    /// For what goes out.
    pub const OUT: Self = Self(1);
    /// For what is passed on.
    pub const FORWARD: Self = Self(2);
}

/// What becomes of a packet: an `XFRM_POLICY_` number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyAction(pub u8);

impl PolicyAction {
    /// It passes, protected as the templates say.
    pub const ALLOW: Self = Self(0);
    /// It is dropped.
    pub const BLOCK: Self = Self(1);
}

/// By which state a packet is to be protected: `xfrm_user_tmpl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Template {
    /// Which state; its number is 0 for any.
    pub identity: Identity,
    /// Who sends by it.
    pub source: Ipv4Addr,
    /// What ties it to states.
    pub reqid: u32,
    /// How much is protected.
    pub mode: Mode,
    /// Not 0: it passes unprotected where there is no such state.
    pub optional: u8,
}

impl Template {
    const SIZE: usize = 64;

    fn write(&self, writer: &mut Writer<'_>) {
        write_id(&self.identity, writer);
        writer.u16(IPV4);
        writer.zeros(2);
        writer.address(self.source);
        writer.u32(self.reqid);
        writer.u8(self.mode.0);
        // Shared by all.
        writer.u8(0);
        writer.u8(self.optional);
        writer.zeros(1);
        // Any algorithms.
        (0..3).for_each(|_| writer.u32(u32::MAX));
    }

    fn decode(fixed: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let identity = read_id(fixed)?;
        fixed.skip(4);
        let (source, reqid) = (fixed.address()?, fixed.u32()?);
        let mode = Mode(fixed.u8()?);
        fixed.skip(1);
        let optional = fixed.u8()?;
        Ok(Self { identity, source, reqid, mode, optional })
    }
}

/// Which packets are protected how.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Policy {
    /// Which packets.
    pub selector: Selector,
    /// Those with this mark only; all, where there is none.
    pub mark: Option<Mark>,
    /// When it is asked.
    pub direction: Direction,
    /// What becomes of them.
    pub action: PolicyAction,
    /// The lower, the earlier it is asked.
    pub priority: u32,
    /// The kernel's number for it; 0 before it was added.
    pub index: u32,
    /// By which states, one after the other.
    pub templates: Vec<Template>,
}

impl Policy {
    pub(super) fn write(&self, writer: &mut Writer<'_>) {
        self.selector.write(writer);
        write_no_limits(writer);
        writer.zeros(32);
        writer.u32(self.priority);
        writer.u32(self.index);
        writer.u8(self.direction.0);
        writer.u8(self.action.0);
        // No flags, shared by all.
        writer.zeros(2 + 4);
        if !self.templates.is_empty() {
            writer.attribute(TEMPLATES, |inside| {
                self.templates.iter().for_each(|template| template.write(inside));
            });
        }
        if let Some(mark) = &self.mark {
            writer.attribute(MARK, |inside| mark.write(inside));
        }
    }

    /// `xfrm_userpolicy_id`: by what it is found again.
    pub(super) fn write_key(&self, writer: &mut Writer<'_>) {
        self.selector.write(writer);
        writer.u32(0);
        writer.u8(self.direction.0);
        writer.zeros(3);
        if let Some(mark) = &self.mark {
            writer.attribute(MARK, |inside| mark.write(inside));
        }
    }

    /// Reads one answer to [`Query::Policies`](super::Query::Policies); `payload` is what is behind the
    /// message's header.
    ///
    /// # Errors
    /// When the bytes are no policy.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let (mut fixed, attributes) = Reader::new(WHAT, SIZE, payload)?;
        let selector = Selector::decode(&mut fixed)?;
        fixed.skip(64 + 32);
        let (priority, index) = (fixed.u32()?, fixed.u32()?);
        let direction = Direction(fixed.u8()?);
        let action = PolicyAction(fixed.u8()?);
        let (mut mark, mut templates) = (None, Vec::new());
        for attribute in Attributes::new(attributes) {
            match attribute? {
                (MARK, value) => mark = Some(Mark::decode(value)?),
                (TEMPLATES, mut value) => {
                    while !value.is_empty() {
                        let (mut one, rest) = Reader::new("a template", Template::SIZE, value)?;
                        templates.push(Template::decode(&mut one)?);
                        value = rest;
                    }
                }
                _ => {}
            }
        }
        Ok(Self { selector, mark, direction, action, priority, index, templates })
    }
}
