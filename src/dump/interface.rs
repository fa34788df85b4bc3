//! Links in detail, what they know of their neighbours, and where bridges send frames.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::node::object::ENDPOINT;
use crate::node::{self, Link, LinkKind, LinkName, Mac, PeerName, SandboxName};

/// The state of what stays until it is removed.
const PERMANENT: &str = "permanent";

/// A link with its addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    pub index: u32,
    pub name: LinkName,
    #[serde(flatten)]
    pub kind: LinkKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// Bytes.
    pub mtu: u32,
    /// The bridge that it is a port of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master: Option<LinkName>,
    pub up: bool,
    /// The kernel's operational state: `up`, `down`, `lowerlayerdown`, `unknown` …
    pub state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// The other end of a pair, or the link that this one stands on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_end: Option<OtherEnd>,
    /// Where a tunnel begins and ends, where that is fixed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<IpAddr>,
    pub addresses: Vec<Address>,
    pub received: Traffic,
    pub sent: Traffic,
}

impl Interface {
    /// The same in the words of a node. An endpoint and its port know each other by name.
    pub fn in_a_node(&self) -> Link {
        let mut link = Link {
            kind: self.kind.clone(),
            mac: self.mac,
            mtu: self.mtu,
            master: self.master.clone(),
            isolated: false,
            up: self.up,
        };
        if matches!(self.kind, LinkKind::Loopback | LinkKind::Vxlan { .. }) {
            // Nobody chose it.
            link.mac = None;
        }
        let is_endpoint = |name: &LinkName| name.as_str().starts_with(ENDPOINT);
        if let LinkKind::Veth { .. } = self.kind
            && let Some(OtherEnd { link: Some(other), place: Place::Sandbox(name), .. }) =
                &self.other_end
            && (is_endpoint(&self.name) || is_endpoint(other))
        {
            let sandbox = SandboxName(name.as_str().into());
            link.kind = LinkKind::Veth { peer: Some(PeerName { sandbox, link: other.clone() }) };
            if !is_endpoint(&self.name) {
                link.mac = None;
            }
        }
        link
    }

    /// Its IPv4 addresses in the words of a node, loopback's own left out.
    pub fn addresses_in_a_node(&self) -> Vec<node::Address> {
        let v4 = |address: &Address| match address.net {
            IpNet::V4(net) if self.kind != LinkKind::Loopback => {
                Some(node::Address { link: self.name.clone(), net })
            }
            _ => None,
        };
        self.addresses.iter().filter_map(v4).collect()
    }
}

/// A link that another one names by number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherEnd {
    /// Its number in its own namespace.
    pub index: u32,
    /// Its name, where it could be found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkName>,
    pub place: Place,
}

/// Where the other end is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// In the same namespace.
    Here,
    /// In the sandbox of this name.
    Sandbox(String),
    /// In a namespace that could not be found.
    Elsewhere,
}

impl fmt::Display for OtherEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.link {
            Some(link) => write!(f, "{link}")?,
            None => write!(f, "link {}", self.index)?,
        }
        match &self.place {
            Place::Here => Ok(()),
            Place::Sandbox(name) => write!(f, " in {name}"),
            Place::Elsewhere => f.write_str(" in a namespace that was not found"),
        }
    }
}

/// An address of a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    pub net: IpNet,
    /// `global`, `link`, `host`.
    pub scope: String,
    /// The other end of a point-to-point link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<IpAddr>,
}

/// What passed a link in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    pub packets: u64,
    pub bytes: u64,
    pub errors: u64,
    pub dropped: u64,
}

/// An entry of the neighbour table: who has an address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Neighbour {
    pub address: IpAddr,
    pub link: LinkName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// `permanent`, `reachable`, `stale`, `failed` …
    pub state: String,
    /// `router`, `proxy`, `extern_learn` …
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
}

impl Neighbour {
    /// As a node has it, with its link.
    pub fn in_a_node(&self) -> Option<(&LinkName, node::Neighbour)> {
        let IpAddr::V4(address) = self.address else { return None };
        if self.state == "proxy" {
            return None;
        }
        let (link, mac) = (self.link.clone(), self.mac.unwrap_or(Mac([0; 6])));
        let permanent = self.state == PERMANENT;
        Some((&self.link, node::Neighbour { link, address, mac, permanent }))
    }
}

/// `10.0.3.3 dev vxlan0 lladdr 02:42:0a:00:03:03 PERMANENT`
impl fmt::Display for Neighbour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} dev {}", self.address, self.link)?;
        if let Some(mac) = self.mac {
            write!(f, " lladdr {mac}")?;
        }
        for flag in &self.flags {
            write!(f, " {flag}")?;
        }
        write!(f, " {}", self.state.to_uppercase())
    }
}

/// An entry of a forwarding table: where frames to a MAC go.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Forward {
    pub mac: Mac,
    pub link: LinkName,
    /// The other end of a tunnel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vni: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master: Option<LinkName>,
    /// `self`, `extern_learn`, `sticky` …
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
    /// `permanent`, `static`, `reachable`, `stale`.
    pub state: String,
}

impl Forward {
    /// As a node has it, with its link: only what leads to another node.
    pub fn in_a_node(&self) -> Option<(&LinkName, node::ForwardingEntry)> {
        let Some(IpAddr::V4(vtep)) = self.to else { return None };
        let (link, mac) = (self.link.clone(), self.mac);
        let permanent = self.state == PERMANENT;
        Some((&self.link, node::ForwardingEntry { link, mac, vtep, permanent }))
    }
}

/// `02:42:0a:00:03:03 dev vxlan0 dst 192.168.77.2 self permanent`
impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} dev {}", self.mac, self.link)?;
        if let Some(to) = self.to {
            write!(f, " dst {to}")?;
        }
        if let Some(port) = self.port {
            write!(f, " port {port}")?;
        }
        if let Some(vni) = self.vni {
            write!(f, " vni {vni}")?;
        }
        if let Some(vlan) = self.vlan {
            write!(f, " vlan {vlan}")?;
        }
        for flag in &self.flags {
            write!(f, " {flag}")?;
        }
        if let Some(master) = &self.master {
            write!(f, " master {master}")?;
        }
        // A learned one is reachable until it ages, and `bridge` does not say so.
        if ["permanent", "static", "stale"].contains(&self.state.as_str()) {
            write!(f, " {}", self.state)?;
        }
        Ok(())
    }
}
