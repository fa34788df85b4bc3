//! A sandbox: one network namespace and all that is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    Address, ForwardingEntry, Link, LinkName, Neighbour, Path, Process, Route, SecurityPolicy,
    SecurityState, Table, VirtualServer, VirtualServerKey,
};
use crate::intent::{ClusterId, Fwmark, Namespace, NetworkName, TaskName};

/// The name of a sandbox, under which `ip netns` knows it: a task's name, or a network's for the
/// overlay's own sandbox. Clones share it: each operation of a plan has one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SandboxName(pub Arc<str>);

impl SandboxName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where a sandbox is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// Below /run/netns, under this name.
    Named(&'a str),
    /// It is the machine's own namespace, the node's, in which this cluster is a guest.
    Node { cluster: &'a str },
    /// It is somebody's, who let this cluster in: the file that names it, and its identity.
    Attached { cluster: &'a str, identity: u64, path: &'a str },
}

impl SandboxName {
    /// A node's end of the routing mesh. No network can be called so, and no task.
    pub fn ingress() -> Self {
        Self("ingress.sandbox".into())
    }

    /// The node's own namespace, as far as a cluster has things in it. Nothing that is named below
    /// /run/netns by this cluster can be called so.
    pub fn of_node(cluster: &ClusterId) -> Self {
        Self(format!("@{cluster}").into())
    }

    /// A namespace of somebody else. `path` is absolute.
    pub fn of_attached(cluster: &ClusterId, namespace: &Namespace) -> Self {
        Self(format!("@{cluster}/{}{}", namespace.identity, namespace.path).into())
    }

    pub fn place(&self) -> Place<'_> {
        let Some(rest) = self.0.strip_prefix('@') else { return Place::Named(&self.0) };
        let Some((cluster, rest)) = rest.split_once('/') else {
            return Place::Node { cluster: rest };
        };
        let at = rest.find('/').unwrap_or(rest.len());
        let (identity, path) = rest.split_at(at);
        // One that is no number is the identity of nothing.
        Place::Attached { cluster, identity: identity.parse().unwrap_or_default(), path }
    }

    /// What an operator calls it, and may say to `sandbox dump`.
    pub fn called(&self) -> &str {
        match self.place() {
            Place::Named(name) => name,
            Place::Node { .. } => "host",
            Place::Attached { path, .. } => {
                let process = path.strip_prefix("/proc/").and_then(|p| p.strip_suffix("/ns/net"));
                path.strip_prefix("/run/netns/").or(process).unwrap_or(path)
            }
        }
    }

    /// The cluster that is a guest there; none where the sandbox as such is somebody's.
    pub fn guest(&self) -> Option<ClusterId> {
        match self.place() {
            Place::Named(_) => None,
            Place::Node { cluster } | Place::Attached { cluster, .. } => {
                Some(ClusterId(cluster.to_owned()))
            }
        }
    }
}

impl From<&TaskName> for SandboxName {
    fn from(task: &TaskName) -> Self {
        Self(task.to_string().into())
    }
}

impl From<&NetworkName> for SandboxName {
    fn from(network: &NetworkName) -> Self {
        Self(network.to_string().into())
    }
}

impl fmt::Display for SandboxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Who made a sandbox. What is foreign is shown, never touched.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Owner {
    Cluster(ClusterId),
    /// Somebody else; but what the sandbox holds here is this cluster's, and all that it holds of
    /// others is left out.
    Guest(ClusterId),
    #[default]
    Foreign,
}

/// One of the kernel's settings inside a network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Sysctl {
    /// A removed real server's connections end at their next packet.
    #[serde(rename = "net.ipv4.vs.expire_nodest_conn")]
    ExpireNodestConn,
    /// Persistence ends when its real server's weight is 0.
    #[serde(rename = "net.ipv4.vs.expire_quiescent_template")]
    ExpireQuiescentTemplate,
    /// Whether a link answers ARP for local addresses that are not its own; 1 keeps VIPs silent.
    /// The largest of `all` and the link's own counts, and `all` outlives a link made anew.
    #[serde(rename = "net.ipv4.conf.all.arp_ignore")]
    ArpIgnore,
    /// Whether packets are passed on from link to link. In the node's own namespace, where it is
    /// turned on and stays on, for others may have come to rely on it; and in an ingress sandbox.
    #[serde(rename = "net.ipv4.ip_forward")]
    IpForward,
    /// Whether what IPVS rewrites is rewritten by others too: in an ingress sandbox, its source.
    #[serde(rename = "net.ipv4.vs.conntrack")]
    VsConntrack,
    /// Of the gateway bridge: whether what comes from 127.0.0.0/8 goes out there, and is let in.
    #[serde(rename = "net.ipv4.conf.GATEWAY.route_localnet")]
    RouteLocalnet,
    /// Whether an accepted connection has the mark of its first packet.
    #[serde(rename = "net.ipv4.tcp_fwmark_accept")]
    FwmarkAccept,
    /// Whether what the kernel itself answers, a reset or ICMP, has the mark of what it answers.
    #[serde(rename = "net.ipv4.fwmark_reflect")]
    FwmarkReflect,
    /// Whether the check of a packet's source goes by its mark too. A new namespace has what the
    /// machine has, so it is only read where packets are routed by marks.
    #[serde(rename = "net.ipv4.conf.all.src_valid_mark")]
    SourceByMark,
    /// Of a network's sandbox: whether frames that pass its bridge go through netfilter as packets. The
    /// bridge is made with 0, which spares them the way: nothing filters there. Only br_netfilter brings
    /// it, and then 1; without it they never do.
    #[serde(rename = "net.bridge.bridge-nf-call-iptables")]
    BridgeCallIptables,
}

impl Sysctl {
    /// Those of a sandbox of ours.
    pub const ALL: [Sysctl; 6] = [
        Sysctl::ExpireNodestConn,
        Sysctl::ExpireQuiescentTemplate,
        Sysctl::ArpIgnore,
        Sysctl::VsConntrack,
        Sysctl::FwmarkAccept,
        Sysctl::FwmarkReflect,
    ];

    /// What routing by marks needs.
    pub const OF_MARKS: [Sysctl; 3] =
        [Sysctl::FwmarkAccept, Sysctl::FwmarkReflect, Sysctl::SourceByMark];

    /// Those of the node's own namespace.
    pub const OF_NODE: [Sysctl; 2] = [Sysctl::IpForward, Sysctl::RouteLocalnet];

    /// Its name in a sandbox, as `sysctl` has it.
    pub fn name_in(self, sandbox: &SandboxName) -> String {
        match (self, sandbox.guest()) {
            (Sysctl::RouteLocalnet, Some(cluster)) => {
                let bridge = LinkName::gateway_bridge(&cluster);
                format!("net.ipv4.conf.{bridge}.route_localnet")
            }
            _ => self.name().to_owned(),
        }
    }

    /// Its name as `sysctl` has it; of one that is of a link, the link's is left open.
    pub fn name(self) -> &'static str {
        match self {
            Sysctl::ExpireNodestConn => "net.ipv4.vs.expire_nodest_conn",
            Sysctl::ExpireQuiescentTemplate => "net.ipv4.vs.expire_quiescent_template",
            Sysctl::ArpIgnore => "net.ipv4.conf.all.arp_ignore",
            Sysctl::IpForward => "net.ipv4.ip_forward",
            Sysctl::VsConntrack => "net.ipv4.vs.conntrack",
            Sysctl::RouteLocalnet => "net.ipv4.conf.GATEWAY.route_localnet",
            Sysctl::FwmarkAccept => "net.ipv4.tcp_fwmark_accept",
            Sysctl::FwmarkReflect => "net.ipv4.fwmark_reflect",
            Sysctl::SourceByMark => "net.ipv4.conf.all.src_valid_mark",
            Sysctl::BridgeCallIptables => "net.bridge.bridge-nf-call-iptables",
        }
    }

    /// What a new sandbox has (Documentation/networking/ipvs-sysctl.rst, ip-sysctl.rst). Only
    /// values that differ stand in a [`Sandbox`].
    pub fn default_value(self) -> u32 {
        match self {
            Sysctl::ExpireNodestConn
            | Sysctl::ExpireQuiescentTemplate
            | Sysctl::ArpIgnore
            | Sysctl::IpForward
            | Sysctl::VsConntrack
            | Sysctl::RouteLocalnet
            | Sysctl::FwmarkAccept
            | Sysctl::FwmarkReflect
            | Sysctl::SourceByMark
            | Sysctl::BridgeCallIptables => 0,
        }
    }

    /// Whether it is never set back in a namespace of others.
    pub fn stays(self) -> bool {
        self == Sysctl::IpForward
    }
}

impl fmt::Display for Sysctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One network namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sandbox {
    pub owner: Owner,
    pub links: BTreeMap<LinkName, Link>,
    pub addresses: BTreeSet<Address>,
    /// Local routes that swarmlb added; those that the kernel made by itself are left out.
    pub routes: BTreeSet<Route>,
    /// Routes beyond the links' own subnets, those that swarmlb added.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub paths: BTreeSet<Path>,
    /// Packets with such a mark are routed by the table of the same number.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub turns: BTreeSet<Fwmark>,
    /// Where VXLAN devices find the MACs of other nodes.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub forwarding: BTreeSet<ForwardingEntry>,
    /// Whom VXLAN devices answer ARP for.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub neighbours: BTreeSet<Neighbour>,
    /// Settings that differ from the kernel's default.
    pub sysctls: BTreeMap<Sysctl, u32>,
    /// swarmlb's nftables table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<Table>,
    /// What encrypts between nodes: those of the cluster that is a guest here.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub states: BTreeSet<SecurityState>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub policies: BTreeSet<SecurityPolicy>,
    #[serde(with = "super::virtual_server::as_list")]
    pub virtual_servers: BTreeMap<VirtualServerKey, VirtualServer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
}

impl Sandbox {
    /// Whether it holds nothing that a guest made and would take along.
    pub fn is_vacant(&self) -> bool {
        let kept =
            Self { owner: self.owner.clone(), sysctls: self.sysctls.clone(), ..Self::default() };
        *self == kept && self.sysctls.keys().all(|sysctl| sysctl.stays())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_where_its_sandbox_is_found() {
        let cluster = ClusterId("c1".into());
        assert_eq!(SandboxName("web.1".into()).place(), Place::Named("web.1"));
        assert_eq!(SandboxName::of_node(&cluster).place(), Place::Node { cluster: "c1" });
        let (path, identity) = ("/proc/12/ns/net", 4_026_532_008);
        let namespace = Namespace { target: "12".into(), path: path.into(), identity };
        let name = SandboxName::of_attached(&cluster, &namespace);
        assert_eq!(name.place(), Place::Attached { cluster: "c1", identity, path });
        assert_eq!(name.guest(), Some(cluster.clone()));
        assert_eq!(name.called(), "12");
        for (path, called) in [("/run/netns/old", "old"), ("/srv/ns", "/srv/ns")] {
            let namespace = Namespace { target: "x".into(), path: path.into(), identity };
            assert_eq!(SandboxName::of_attached(&cluster, &namespace).called(), called);
        }
    }
}
