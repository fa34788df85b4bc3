//! Links, their addresses, and routes.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::SandboxName;
use crate::intent::{ClusterId, Fwmark, Vni};

/// What the names of our links in the node's namespace begin with.
const GATEWAY: &str = "swlb";

/// A link's name: at most 15 bytes (IFNAMSIZ).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LinkName(pub String);

impl LinkName {
    /// The bridge's end of the endpoint that holds `address`: `v` and the address in hexadecimal.
    pub fn port_of(address: Ipv4Addr) -> Self {
        Self(format!("v{:08x}", u32::from(address)))
    }

    /// The gateway bridge of a cluster in the node's namespace. The cluster's id is part of it, so
    /// that the name alone tells whose it is.
    pub fn gateway_bridge(cluster: &ClusterId) -> Self {
        Self(format!("{GATEWAY}-{}", cluster.0.chars().take(8).collect::<String>()))
    }

    /// The gateway bridge's end of the link of the task that has `address` there.
    pub fn gateway_port_of(address: Ipv4Addr) -> Self {
        Self(format!("{GATEWAY}{:08x}", u32::from(address)))
    }

    /// The id of the cluster whose gateway bridge has this name.
    pub fn gateway_of(&self) -> Option<ClusterId> {
        let id = self.0.strip_prefix(GATEWAY)?.strip_prefix('-')?;
        (!id.is_empty()).then(|| ClusterId(id.to_owned()))
    }

    /// Whether it is a name that [`LinkName::port_of`] or [`LinkName::gateway_port_of`] gives.
    pub fn is_port(&self) -> bool {
        let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_hex = |hex: &str| hex.len() == 8 && hex.bytes().all(digit);
        ["v", GATEWAY].iter().any(|prefix| self.0.strip_prefix(prefix).is_some_and(is_hex))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for LinkName {
    fn from(name: &str) -> Self {
        Self(name.to_owned())
    }
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A link-layer address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// 02:42 and the address's bytes: Docker's way, so that an address keeps its MAC.
    pub fn of(address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        Self([0x02, 0x42, a, b, c, d])
    }

    /// The address that it follows from.
    pub fn address(self) -> Option<Ipv4Addr> {
        match self.0 {
            [0x02, 0x42, a, b, c, d] => Some(Ipv4Addr::new(a, b, c, d)),
            _ => None,
        }
    }
}

impl Mac {
    /// The mark of what this MAC sent, as nftables' `meta mark set @ll,64,32` makes it: its last four
    /// bytes, in the order of this machine.
    pub fn mark(self) -> Fwmark {
        let [_, _, last @ ..] = self.0;
        Fwmark(u32::from_ne_bytes(last))
    }
}

impl FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            *byte = parts
                .next()
                .and_then(|part| u8::from_str_radix(part, 16).ok())
                .ok_or_else(|| format!("`{text}` is not a MAC address"))?;
        }
        match parts.next() {
            None => Ok(Self(bytes)),
            Some(_) => Err(format!("`{text}` is not a MAC address")),
        }
    }
}

impl TryFrom<String> for Mac {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> String {
        mac.to_string()
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        f.pad(&format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}"))
    }
}

/// The other end of a veth pair.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PeerName {
    pub sandbox: SandboxName,
    pub link: LinkName,
}

/// What a link is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum LinkKind {
    Loopback,
    Bridge,
    /// A VXLAN device with static entries only (`nolearning proxy`).
    Vxlan {
        vni: Vni,
        port: u16,
        learning: bool,
        proxy: bool,
        /// The node's address, from which its packets go; none where there is no other node.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        local: Option<Ipv4Addr>,
    },
    /// One end of a veth pair; the peer is unknown when it is in a namespace of somebody else.
    Veth {
        peer: Option<PeerName>,
    },
    /// Anything else; swarmlb makes none of these.
    Other {
        name: String,
    },
}

/// A link.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Link {
    #[serde(flatten)]
    pub kind: LinkKind,
    /// None for a loopback, and where the kernel may choose it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mac: Option<Mac>,
    /// Bytes.
    pub mtu: u32,
    /// The bridge that it is a port of.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub master: Option<LinkName>,
    /// Whether, as a bridge's port, it exchanges nothing with other such ports of the bridge.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub isolated: bool,
    pub up: bool,
}

/// An address on a link.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Address {
    pub link: LinkName,
    pub net: Ipv4Net,
}

/// A route to a range beyond the subnet of a link: over the link itself, or by a router on it.
/// `ip route add TO [via VIA] dev LINK src SOURCE [table MARK]`
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Path {
    pub to: Ipv4Net,
    pub link: LinkName,
    /// The router; none where the range is on the link itself.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub via: Option<Ipv4Addr>,
    /// The address that connections to it come from.
    pub source: Ipv4Addr,
    /// Only for packets with this mark: the routing table of that number, which a [`Sandbox::turns`]
    /// leads to. The main table when none.
    ///
    /// [`Sandbox::turns`]: super::Sandbox::turns
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mark: Option<Fwmark>,
}

/// A route that makes an address local without an interface holding it:
/// `ip route add local ADDRESS dev lo src SOURCE table local`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Route {
    pub address: Ipv4Addr,
    /// The address that connections to it come from.
    pub source: Ipv4Addr,
}
