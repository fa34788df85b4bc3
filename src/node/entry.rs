//! IPVS's entries with every counter, as the kernel tells them.

use super::{Protocol, VirtualServerKey};
use crate::intent::Fwmark;
// The codec is pure: it knows bytes and no sockets.
use crate::kernel::ipvs::wire;

/// A virtual server and its real servers.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub server: wire::VirtualServer,
    pub real_servers: Vec<wire::RealServer>,
}

impl From<&wire::Key> for VirtualServerKey {
    fn from(key: &wire::Key) -> Self {
        match *key {
            wire::Key::Fwmark { mark, family: wire::Family::V4 } => {
                VirtualServerKey::Fwmark(Fwmark(mark))
            }
            wire::Key::Fwmark { mark, family: wire::Family::V6 } => {
                VirtualServerKey::Fwmark6(Fwmark(mark))
            }
            wire::Key::Address { protocol, address, port } => {
                let protocol = match protocol {
                    wire::Protocol::TCP => Protocol::Tcp,
                    wire::Protocol::UDP => Protocol::Udp,
                    wire::Protocol::SCTP => Protocol::Sctp,
                    wire::Protocol(number) => Protocol::Other(number),
                };
                VirtualServerKey::Address { protocol, address, port }
            }
        }
    }
}

impl From<VirtualServerKey> for wire::Key {
    fn from(key: VirtualServerKey) -> Self {
        match key {
            VirtualServerKey::Fwmark(Fwmark(mark)) => {
                Self::Fwmark { mark, family: wire::Family::V4 }
            }
            VirtualServerKey::Fwmark6(Fwmark(mark)) => {
                Self::Fwmark { mark, family: wire::Family::V6 }
            }
            VirtualServerKey::Address { protocol, address, port } => {
                let protocol = match protocol {
                    Protocol::Tcp => wire::Protocol::TCP,
                    Protocol::Udp => wire::Protocol::UDP,
                    Protocol::Sctp => wire::Protocol::SCTP,
                    Protocol::Other(number) => wire::Protocol(number),
                };
                Self::Address { protocol, address, port }
            }
        }
    }
}
