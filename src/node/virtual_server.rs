//! IPVS's entries: virtual servers and their real servers.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::intent::Fwmark;

/// A transport protocol that IPVS balances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
    /// AH, ESP or one that is not known here, by its number.
    Other(u16),
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Protocol::Tcp => f.pad("TCP"),
            Protocol::Udp => f.pad("UDP"),
            Protocol::Sctp => f.pad("SCTP"),
            Protocol::Other(number) => f.pad(&number.to_string()),
        }
    }
}

/// What a virtual server matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VirtualServerKey {
    /// Packets with this mark.
    Fwmark(Fwmark),
    /// Packets to this address; swarmlb makes none of these.
    Address { protocol: Protocol, address: IpAddr, port: u16 },
    /// Marked IPv6 packets; swarmlb makes none of these.
    Fwmark6(Fwmark),
}

impl VirtualServerKey {
    /// Whether swarmlb makes such virtual servers.
    pub fn is_of_our_kind(&self) -> bool {
        matches!(self, Self::Fwmark(mark) if *mark >= Fwmark::FIRST)
    }
}

impl fmt::Display for VirtualServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            VirtualServerKey::Fwmark(mark) => format!("FWM  {}", mark.0),
            VirtualServerKey::Fwmark6(mark) => format!("FWM  {} IPv6", mark.0),
            VirtualServerKey::Address { protocol, address: IpAddr::V4(address), port } => {
                format!("{protocol:<4} {address}:{port}")
            }
            VirtualServerKey::Address { protocol, address: IpAddr::V6(address), port } => {
                format!("{protocol:<4} [{address}]:{port}")
            }
        };
        f.pad(&text)
    }
}

/// How a packet gets to a real server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Forwarding {
    Masquerade,
    Local,
    Tunnel,
    Route,
    Bypass,
}

impl fmt::Display for Forwarding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Forwarding::Masquerade => "Masq",
            Forwarding::Local => "Local",
            Forwarding::Tunnel => "Tunnel",
            Forwarding::Route => "Route",
            Forwarding::Bypass => "Bypass",
        })
    }
}

/// Which target a sandbox begins with. The kernel does not tell the order of real servers, so two
/// rotations are always equal: the order is no part of comparing nodes.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rotation(pub u32);

impl PartialEq for Rotation {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Rotation {}

impl PartialOrd for Rotation {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Rotation {
    fn cmp(&self, _: &Self) -> Ordering {
        Ordering::Equal
    }
}

/// What a real server is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RealServerKey {
    pub address: IpAddr,
    /// 0 keeps the port that the client asked for.
    pub port: u16,
}

impl fmt::Display for RealServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.address {
            IpAddr::V4(address) => format!("{address}:{}", self.port),
            IpAddr::V6(address) => format!("[{address}]:{}", self.port),
        };
        f.pad(&text)
    }
}

/// A target of a virtual server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RealServer {
    pub forwarding: Forwarding,
    /// Its share; 0 gives it no new connections.
    pub weight: u32,
}

/// An entry of IPVS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtualServer {
    /// By the kernel's name, which may be one that swarmlb never asks for.
    pub scheduler: String,
    #[serde(default)]
    pub flags: u32,
    /// Persistence in seconds; 0 for none.
    #[serde(default)]
    pub persistence: u32,
    #[serde(default, skip_serializing)]
    pub rotation: Rotation,
    #[serde(with = "real_servers_as_list")]
    pub real_servers: BTreeMap<RealServerKey, RealServer>,
}

/// JSON keys are strings, so maps with other keys are written as lists of entries.
macro_rules! map_as_list {
    ($module:ident, $key:ty, $value:ty) => {
        pub mod $module {
            use std::collections::BTreeMap;

            use serde::{Deserialize, Deserializer, Serialize, Serializer};

            use super::*;

            #[derive(Serialize)]
            struct Lent<'a> {
                key: &'a $key,
                #[serde(flatten)]
                value: &'a $value,
            }

            #[derive(Deserialize)]
            struct Owned {
                key: $key,
                #[serde(flatten)]
                value: $value,
            }

            pub fn serialize<S: Serializer>(
                map: &BTreeMap<$key, $value>,
                serializer: S,
            ) -> Result<S::Ok, S::Error> {
                serializer.collect_seq(map.iter().map(|(key, value)| Lent { key, value }))
            }

            pub fn deserialize<'de, D: Deserializer<'de>>(
                deserializer: D,
            ) -> Result<BTreeMap<$key, $value>, D::Error> {
                let list = Vec::<Owned>::deserialize(deserializer)?;
                Ok(list.into_iter().map(|entry| (entry.key, entry.value)).collect())
            }
        }
    };
}

map_as_list!(as_list, VirtualServerKey, VirtualServer);
map_as_list!(real_servers_as_list, RealServerKey, RealServer);
