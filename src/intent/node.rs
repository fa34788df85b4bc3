//! Nodes: machines that run tasks.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Encryption, Id, Ingress, NodeName, Pool, Scheduler};

/// The random name of a cluster; what it made in a kernel bears it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClusterId(pub String);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What is known of a node for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    pub name: NodeName,
    /// Random; another node that comes under the same name has another one.
    #[serde(default)]
    pub id: Id,
    /// Whether its kernel has IPVS.
    pub ipvs: bool,
    /// The schedulers of its IPVS; none where that cannot be told without trying them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedulers: Option<BTreeSet<Scheduler>>,
    #[serde(default)]
    pub egress: Egress,
    /// Where other nodes reach it, with the packets of overlays and by the API; none for a node that
    /// is alone in its cluster.
    #[serde(default)]
    pub address: Option<Ipv4Addr>,
    /// What its links to other nodes carry, in bytes, as its agent saw at its start; none where it has
    /// no address.
    #[serde(default)]
    pub underlay_mtu: Option<u32>,
    /// The TCP port of its API, where it has an address.
    #[serde(default)]
    pub port: Option<u16>,
    /// The fingerprint of the certificate that it shows to others: SHA-256, hexadecimal.
    #[serde(default)]
    pub certificate: Option<String>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub availability: Availability,
    /// Its place in the routing mesh, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Ingress>,
    #[serde(default)]
    pub encryption: Encryption,
    #[serde(default)]
    pub liveness: Liveness,
}

/// Whether a node is there, as its lease tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Liveness {
    #[default]
    Up,
    /// Its lease ran out, or it never had one: what it runs counts for nothing.
    Down,
}

/// Whether a node takes tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Availability {
    #[default]
    Active,
    /// It takes none, and those that it has go elsewhere.
    Drain,
}

impl fmt::Display for Availability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Availability::Active => "active",
            Availability::Drain => "drain",
        })
    }
}

/// How the tasks of a node reach the outside.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Egress {
    /// Its agent has not looked yet.
    #[default]
    Unknown,
    /// They cannot; why its kernel does not do it.
    Impossible(String),
    /// Over the gateway bridge, with addresses of this range.
    Through(Pool),
}

impl NodeRecord {
    /// A node of which nothing more is known.
    pub fn new(name: NodeName, ipvs: bool) -> Self {
        Self {
            name,
            id: Id::new(),
            ipvs,
            schedulers: None,
            egress: Egress::default(),
            address: None,
            underlay_mtu: None,
            port: None,
            certificate: None,
            labels: BTreeMap::new(),
            availability: Availability::default(),
            ingress: None,
            encryption: Encryption::default(),
            liveness: Liveness::default(),
        }
    }

    /// The range of its gateway bridge.
    pub fn gateway(&self) -> Option<&Pool> {
        match &self.egress {
            Egress::Through(pool) => Some(pool),
            Egress::Unknown | Egress::Impossible(_) => None,
        }
    }
}

/// What balances the connections to a VIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataPlane {
    Ipvs,
    Nftables,
}

impl fmt::Display for DataPlane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            DataPlane::Ipvs => "ipvs",
            DataPlane::Nftables => "nftables",
        })
    }
}

/// What the operator said about the data plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataPlaneChoice {
    /// IPVS on a node whose kernel has it, nftables on another.
    #[default]
    Auto,
    /// Kernel IPVS; refused where a node lacks it.
    Ipvs,
    /// nftables maps, on any kernel.
    Nftables,
}

impl DataPlaneChoice {
    /// What balances on one node.
    pub fn on(self, node: &NodeRecord) -> DataPlane {
        match self {
            DataPlaneChoice::Auto if node.ipvs => DataPlane::Ipvs,
            DataPlaneChoice::Ipvs => DataPlane::Ipvs,
            DataPlaneChoice::Auto | DataPlaneChoice::Nftables => DataPlane::Nftables,
        }
    }
}

impl FromStr for DataPlaneChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "ipvs" => Ok(Self::Ipvs),
            "nftables" => Ok(Self::Nftables),
            _ => Err(format!("`{text}` is not a data plane: auto, ipvs or nftables")),
        }
    }
}
