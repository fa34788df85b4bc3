//! What can be asked of the kernel, and what it can be told to change.

use std::net::IpAddr;

use super::attribute::Writer;
use super::family::{self, FamilyId};
use super::frame::{ACKNOWLEDGE, DUMP, Head, REQUEST};
use super::real_server::{self, RealServer};
use super::reply::Timeouts;
use super::virtual_server::{Key, VirtualServer};

/// `IPVS_GENL_VERSION`
const VERSION: u8 = 1;

pub(super) const NEW_SERVICE: u8 = 1;
const SET_SERVICE: u8 = 2;
const DEL_SERVICE: u8 = 3;
const GET_SERVICE: u8 = 4;
pub(super) const NEW_DEST: u8 = 5;
const SET_DEST: u8 = 6;
const DEL_DEST: u8 = 7;
const GET_DEST: u8 = 8;
pub(super) const SET_CONFIG: u8 = 12;
const GET_CONFIG: u8 = 13;
pub(super) const SET_INFO: u8 = 14;
const GET_INFO: u8 = 15;
const ZERO: u8 = 16;
const FLUSH: u8 = 17;

pub(super) const SERVICE: u16 = 1;
pub(super) const DEST: u16 = 2;

/// Something to change. Each is answered by one [`Ack`](super::Ack).
#[derive(Debug, Clone, Copy)]
pub enum Change<'a> {
    /// Adds a virtual server; EEXIST where its key is taken, ENOENT where the kernel has no such scheduler.
    NewService(&'a VirtualServer),
    /// Replaces scheduler, flags, timeout and netmask; connections live on. ESRCH where it is missing.
    SetService(&'a VirtualServer),
    /// Removes a virtual server with its real servers. ESRCH where it is missing.
    DelService(&'a Key),
    /// Adds a real server; EEXIST where the virtual server has it, ESRCH where that is missing.
    NewDest(&'a Key, &'a RealServer),
    /// Replaces forwarding, weight, thresholds and tunnel; ENOENT where it is missing.
    SetDest(&'a Key, &'a RealServer),
    /// Removes a real server by its address and port; ENOENT where it is missing.
    DelDest(&'a Key, IpAddr, u16),
    /// Sets the timeouts of this network namespace; those that are 0 stay as they are.
    SetConfig(Timeouts),
    /// Zeroes the counters of one virtual server and its real servers, or of all.
    Zero(Option<&'a Key>),
    /// Removes everything.
    Flush,
}

/// Something to ask.
#[derive(Debug, Clone, Copy)]
pub enum Query<'a> {
    /// Which number the IPVS family has. It goes to, and the answer comes from, [`FamilyId::CONTROL`].
    /// ENOENT where the kernel has no IPVS.
    Family,
    /// Version and table size. One reply.
    Info,
    /// Timeouts of this network namespace. One reply.
    Config,
    /// One virtual server, one reply; ESRCH where it is missing.
    Service(&'a Key),
    /// All virtual servers, then [`Reply::Done`](super::Reply::Done).
    Services,
    /// All real servers of one virtual server, then [`Reply::Done`](super::Reply::Done). Of a virtual
    /// server that is missing there are none: the kernel does not tell the two apart.
    Dests(&'a Key),
}

impl Change<'_> {
    /// The whole message, which asks for an acknowledgement.
    pub fn to_bytes(&self, family: FamilyId, sequence: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write(family, sequence, &mut bytes);
        bytes
    }

    /// Appends the whole message to others.
    pub fn write(&self, family: FamilyId, sequence: u32, bytes: &mut Vec<u8>) {
        let head = Head {
            kind: family.0,
            flags: REQUEST | ACKNOWLEDGE,
            sequence,
            command: self.command(),
            version: VERSION,
        };
        head.write(bytes, |bytes| self.write_attributes(&mut Writer::new(bytes)));
    }

    fn command(&self) -> u8 {
        match self {
            Self::NewService(_) => NEW_SERVICE,
            Self::SetService(_) => SET_SERVICE,
            Self::DelService(_) => DEL_SERVICE,
            Self::NewDest(..) => NEW_DEST,
            Self::SetDest(..) => SET_DEST,
            Self::DelDest(..) => DEL_DEST,
            Self::SetConfig(_) => SET_CONFIG,
            Self::Zero(_) => ZERO,
            Self::Flush => FLUSH,
        }
    }

    fn write_attributes(&self, writer: &mut Writer<'_>) {
        match self {
            Self::NewService(server) | Self::SetService(server) => {
                writer.nested(SERVICE, |inside| server.write(inside));
            }
            Self::DelService(key) | Self::Zero(Some(key)) => write_key(key, writer),
            Self::NewDest(key, server) | Self::SetDest(key, server) => {
                write_key(key, writer);
                writer.nested(DEST, |inside| server.write(inside));
            }
            Self::DelDest(key, address, port) => {
                write_key(key, writer);
                writer.nested(DEST, |inside| real_server::write_key(*address, *port, inside));
            }
            Self::SetConfig(timeouts) => timeouts.write(writer),
            Self::Zero(None) | Self::Flush => {}
        }
    }
}

impl Query<'_> {
    /// The whole message. `family` is that of IPVS, but for [`Query::Family`], which needs none.
    pub fn to_bytes(&self, family: FamilyId, sequence: u32) -> Vec<u8> {
        let (kind, command, version) = match self {
            Self::Family => (FamilyId::CONTROL, family::COMMAND_GET, family::COMMAND_VERSION),
            Self::Info => (family, GET_INFO, VERSION),
            Self::Config => (family, GET_CONFIG, VERSION),
            Self::Service(_) | Self::Services => (family, GET_SERVICE, VERSION),
            Self::Dests(_) => (family, GET_DEST, VERSION),
        };
        let flags = match self {
            Self::Services | Self::Dests(_) => REQUEST | DUMP,
            _ => REQUEST,
        };
        let mut bytes = Vec::new();
        let head = Head { kind: kind.0, flags, sequence, command, version };
        head.write(&mut bytes, |bytes| self.write_attributes(&mut Writer::new(bytes)));
        bytes
    }

    fn write_attributes(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Family => family::write_question(writer),
            Self::Service(key) | Self::Dests(key) => write_key(key, writer),
            Self::Info | Self::Config | Self::Services => {}
        }
    }
}

fn write_key(key: &Key, writer: &mut Writer<'_>) {
    writer.nested(SERVICE, |inside| key.write(inside));
}
