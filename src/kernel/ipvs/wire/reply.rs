//! What the kernel answers.

use super::attribute::{Attributes, DecodeError, Writer};
use super::family::{self, FamilyId, FamilyInfo};
use super::frame::{Ack, Completeness, KIND_DONE, KIND_ERROR, Message};
use super::real_server::RealServer;
use super::request::{DEST, NEW_DEST, NEW_SERVICE, SERVICE, SET_CONFIG, SET_INFO};
use super::virtual_server::VirtualServer;

const TIMEOUT_TCP: u16 = 4;
const TIMEOUT_TCP_FIN: u16 = 5;
const TIMEOUT_UDP: u16 = 6;
const INFO_VERSION: u16 = 1;
const INFO_TABLE: u16 = 2;

/// Timeouts of connections in one network namespace, in seconds. In a request 0 leaves one as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Timeouts {
    /// An idle TCP connection; the kernel's default is 900.
    pub tcp: u32,
    /// A TCP connection after FIN; the kernel's default is 120.
    pub tcp_fin: u32,
    /// A UDP flow; the kernel's default is 300.
    pub udp: u32,
}

/// What IPVS says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Info {
    /// Major, minor, patch; 1.2.1 since 2004.
    pub version: (u8, u8, u8),
    /// Slots of the connection table, not a bound on connections.
    pub connection_table_size: u32,
}

/// One message from the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// The sequence number of the request that it answers.
    pub sequence: u32,
    /// Whether the list that it is part of may miss something.
    pub completeness: Completeness,
    /// What it says.
    pub reply: Reply,
}

/// What a message from the kernel says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A virtual server.
    Service(VirtualServer),
    /// A real server of the virtual server that was asked for.
    Dest(RealServer),
    /// Version and table size.
    Info(Info),
    /// Timeouts of the network namespace.
    Config(Timeouts),
    /// The number of the IPVS family.
    Family(FamilyInfo),
    /// A request was done or refused.
    Ack(Ack),
    /// A list is at its end; an errno other than 0 is why it ended early.
    Done(Ack),
    /// A message of another kind, which asks for nothing.
    Other {
        /// `nlmsg_type`
        kind: u16,
    },
}

/// The messages in a buffer as received. See [`replies`].
#[derive(Debug, Clone)]
pub struct Replies<'a> {
    rest: &'a [u8],
    family: FamilyId,
}

/// Reads the messages in one received buffer. `family` is that of IPVS; messages of
/// [`FamilyId::CONTROL`] are read in any case. A message with wrong contents is an error and the next
/// one follows; a message with a wrong length is an error and the end.
pub fn replies(bytes: &[u8], family: FamilyId) -> Replies<'_> {
    Replies { rest: bytes, family }
}

impl Iterator for Replies<'_> {
    type Item = Result<Incoming, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match Message::cut(self.rest) {
            Ok((message, rest)) => {
                self.rest = rest;
                Some(incoming(&message, self.family))
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}

fn incoming(message: &Message<'_>, family: FamilyId) -> Result<Incoming, DecodeError> {
    let reply = match message.kind {
        KIND_ERROR => Reply::Ack(message.ack()?),
        KIND_DONE => Reply::Done(message.ack()?),
        kind if kind == family.0 || kind == FamilyId::CONTROL.0 => generic(message)?,
        kind => Reply::Other { kind },
    };
    Ok(Incoming { sequence: message.sequence, completeness: message.completeness(), reply })
}

fn generic(message: &Message<'_>) -> Result<Reply, DecodeError> {
    let (command, attributes) = message.generic()?;
    if message.kind == FamilyId::CONTROL.0 {
        return match command {
            family::COMMAND_NEW => FamilyInfo::decode(attributes).map(Reply::Family),
            _ => Ok(Reply::Other { kind: message.kind }),
        };
    }
    match command {
        NEW_SERVICE => {
            let inside = enclosed(attributes, SERVICE, "a virtual server")?;
            VirtualServer::decode(inside).map(Reply::Service)
        }
        NEW_DEST => {
            let inside = enclosed(attributes, DEST, "a real server")?;
            RealServer::decode(inside).map(Reply::Dest)
        }
        SET_CONFIG => Timeouts::decode(attributes).map(Reply::Config),
        SET_INFO => Info::decode(attributes).map(Reply::Info),
        _ => Ok(Reply::Other { kind: message.kind }),
    }
}

/// The attributes inside the one with this number.
fn enclosed<'a>(
    attributes: Attributes<'a>,
    number: u16,
    what: &'static str,
) -> Result<Attributes<'a>, DecodeError> {
    for attribute in attributes {
        let attribute = attribute?;
        if attribute.number == number {
            return Ok(attribute.nested());
        }
    }
    Err(DecodeError::Missing { what, attribute: "the object itself" })
}

impl Timeouts {
    pub(super) fn write(self, writer: &mut Writer<'_>) {
        writer.u32(TIMEOUT_TCP, self.tcp);
        writer.u32(TIMEOUT_TCP_FIN, self.tcp_fin);
        writer.u32(TIMEOUT_UDP, self.udp);
    }

    /// A kernel that is built without a protocol leaves out its timeout: 0.
    fn decode(attributes: Attributes<'_>) -> Result<Self, DecodeError> {
        let mut timeouts = Self::default();
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.number {
                TIMEOUT_TCP => timeouts.tcp = attribute.u32("TCP timeout")?,
                TIMEOUT_TCP_FIN => timeouts.tcp_fin = attribute.u32("TCP FIN timeout")?,
                TIMEOUT_UDP => timeouts.udp = attribute.u32("UDP timeout")?,
                _ => {}
            }
        }
        Ok(timeouts)
    }
}

impl Info {
    fn decode(attributes: Attributes<'_>) -> Result<Self, DecodeError> {
        let (mut version, mut size) = (None, None);
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.number {
                INFO_VERSION => version = Some(attribute.u32("version")?),
                INFO_TABLE => size = Some(attribute.u32("connection table size")?),
                _ => {}
            }
        }
        let missing = |attribute| DecodeError::Missing { what: "IPVS's information", attribute };
        let [_, major, minor, patch] = version.ok_or(missing("version"))?.to_be_bytes();
        Ok(Self {
            version: (major, minor, patch),
            connection_table_size: size.ok_or(missing("connection table size"))?,
        })
    }
}
