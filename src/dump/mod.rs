//! What network namespaces hold, beyond what swarmlb would make there: every rule, route and
//! counter, of whoever made it.
//!
//! A dump is what `sandbox dump --format json` prints and what `--from` reads back. A part that
//! could not be read says why, and is never an empty one. Nothing here touches a kernel.

pub mod choice;
pub mod conntrack;
pub mod docker;
pub mod interface;
pub mod iptables;
pub mod ipvs;
pub mod names;
pub mod namespace;
pub mod nftables;
pub mod route;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::intent::{ClusterId, Fwmark};
use crate::node::object::BRIDGE;
use crate::node::{
    self, Connection, LinkKind, LinkName, Node, Owner, Sandbox, SandboxName, Sysctl,
};
use crate::plan::runbook::{guest_alias, guest_of, owner_of};

pub use conntrack::Tracked;
pub use docker::Container;
pub use interface::{Forward, Interface, Neighbour};
pub use names::Names;
pub use namespace::{Belonging, Namespace};
pub use route::{Route, Rule};

/// A part of a sandbox that can be asked for by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    Links,
    Routes,
    Neighbours,
    Fdb,
    Mangle,
    Nat,
    Filter,
    Ipvs,
    Connections,
    Xfrm,
    Sysctl,
}

impl Table {
    /// All, in the order in which they are shown.
    pub const ALL: [Table; 11] = [
        Table::Links,
        Table::Routes,
        Table::Neighbours,
        Table::Fdb,
        Table::Mangle,
        Table::Nat,
        Table::Filter,
        Table::Ipvs,
        Table::Connections,
        Table::Xfrm,
        Table::Sysctl,
    ];

    /// What a chain of this table does; none for what is no table of rules.
    pub fn chains(self) -> Option<ChainKind> {
        match self {
            Table::Mangle => Some(ChainKind::Mangle),
            Table::Nat => Some(ChainKind::Nat),
            Table::Filter => Some(ChainKind::Filter),
            _ => None,
        }
    }
}

/// What a chain does to packets, as iptables sorts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChainKind {
    /// Changes them: marks, above all.
    Mangle,
    /// Rewrites their addresses.
    Nat,
    /// Lets them through or not; raw and security are here too.
    Filter,
}

/// A part that was read, or why it could not be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part<T> {
    Read(T),
    Unreadable { why: String },
}

impl<T> Part<T> {
    pub fn unreadable(why: impl Into<String>) -> Self {
        Self::Unreadable { why: why.into() }
    }

    /// What was read.
    pub fn read(&self) -> Option<&T> {
        match self {
            Part::Read(value) => Some(value),
            Part::Unreadable { .. } => None,
        }
    }

    /// Why it was not read.
    pub fn why(&self) -> Option<&str> {
        match self {
            Part::Read(_) => None,
            Part::Unreadable { why } => Some(why),
        }
    }

    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Part<U> {
        match self {
            Part::Read(value) => Part::Read(change(value)),
            Part::Unreadable { why } => Part::Unreadable { why },
        }
    }
}

/// A part that may not have been asked for.
type Asked<T> = Option<Part<T>>;

/// The programs that print the rules of iptables, by back end and family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Iptables {
    #[serde(rename = "iptables-legacy")]
    Legacy,
    #[serde(rename = "ip6tables-legacy")]
    Legacy6,
    #[serde(rename = "iptables-nft")]
    Nft,
    #[serde(rename = "ip6tables-nft")]
    Nft6,
}

impl Iptables {
    pub const ALL: [Iptables; 4] =
        [Iptables::Legacy, Iptables::Legacy6, Iptables::Nft, Iptables::Nft6];

    /// Its name, without `-save`.
    pub fn name(self) -> &'static str {
        match self {
            Iptables::Legacy => "iptables-legacy",
            Iptables::Legacy6 => "ip6tables-legacy",
            Iptables::Nft => "iptables-nft",
            Iptables::Nft6 => "ip6tables-nft",
        }
    }

    /// The family of nftables that its rules are in; none for the legacy ones.
    pub fn family(self) -> Option<&'static str> {
        match self {
            Iptables::Legacy | Iptables::Legacy6 => None,
            Iptables::Nft => Some("ip"),
            Iptables::Nft6 => Some("ip6"),
        }
    }
}

/// Associations and policies of IPsec, as `ip xfrm` prints them, keys left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Xfrm {
    pub states: Vec<String>,
    pub policies: Vec<String>,
}

/// Everything that one namespace holds. What was not asked for is none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Contents {
    pub namespace: Namespace,
    /// What it is: `task`, `docker`, `anonymous` …
    pub kind: String,
    pub belongs_to: String,
    /// What addresses and marks in it belong to, as it was known where it was read.
    #[serde(skip_serializing_if = "Names::is_empty")]
    pub names: Names,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub links: Asked<Vec<Interface>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routes: Asked<Vec<Route>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routing_rules: Asked<Vec<Rule>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub neighbours: Asked<Vec<Neighbour>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fdb: Asked<Vec<Forward>>,
    /// Every table of nftables; those that iptables-nft made are here too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nftables: Asked<Vec<nftables::Table>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub iptables: BTreeMap<Iptables, Part<Vec<iptables::Table>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipvs: Asked<Vec<ipvs::Server>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipvs_connections: Asked<Vec<Connection>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conntrack: Asked<Vec<Tracked>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xfrm: Asked<Xfrm>,
    /// By the name that `sysctl` has; one that the kernel lacks is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sysctls: Asked<BTreeMap<String, String>>,
}

impl Contents {
    /// Only what belongs to these tables.
    #[must_use]
    pub fn only(&self, tables: &BTreeSet<Table>) -> Self {
        fn kept<T: Clone>(wanted: bool, part: &Asked<T>) -> Asked<T> {
            part.clone().filter(|_| wanted)
        }
        let has = |table| tables.contains(&table);
        let kinds: BTreeSet<ChainKind> = tables.iter().filter_map(|table| table.chains()).collect();
        let nftables = kept(!kinds.is_empty(), &self.nftables);
        let nftables = nftables.map(|part| part.map(|tables| nftables::only(&tables, &kinds)));
        let mut iptables = self.iptables.clone();
        iptables.retain(|_, _| !kinds.is_empty());
        for part in iptables.values_mut() {
            if let Part::Read(tables) = part {
                tables.retain(|table| kinds.contains(&table.kind()));
            }
        }
        Self {
            namespace: self.namespace.clone(),
            kind: self.kind.clone(),
            belongs_to: self.belongs_to.clone(),
            names: self.names.clone(),
            links: kept(has(Table::Links), &self.links),
            routes: kept(has(Table::Routes), &self.routes),
            routing_rules: kept(has(Table::Routes), &self.routing_rules),
            neighbours: kept(has(Table::Neighbours), &self.neighbours),
            fdb: kept(has(Table::Fdb), &self.fdb),
            nftables,
            iptables,
            ipvs: kept(has(Table::Ipvs), &self.ipvs),
            ipvs_connections: kept(has(Table::Connections), &self.ipvs_connections),
            conntrack: kept(has(Table::Connections), &self.conntrack),
            xfrm: kept(has(Table::Xfrm), &self.xfrm),
            sysctls: kept(has(Table::Sysctl), &self.sysctls),
        }
    }

    /// The parts that could not be read, and why: what the [`Sandbox`] of the same name lacks
    /// because of them is not known to be missing.
    pub fn unreadable(&self) -> Vec<(&'static str, &str)> {
        fn why<T>(part: &Asked<T>) -> Option<&str> {
            part.as_ref().and_then(Part::why)
        }
        let mut parts = vec![
            ("links", why(&self.links)),
            ("routes", why(&self.routes)),
            ("routing rules", why(&self.routing_rules)),
            ("neighbours", why(&self.neighbours)),
            ("fdb", why(&self.fdb)),
            ("nftables", why(&self.nftables)),
            ("ipvs", why(&self.ipvs)),
            ("ipvs connections", why(&self.ipvs_connections)),
            ("conntrack", why(&self.conntrack)),
            ("xfrm", why(&self.xfrm)),
            ("sysctls", why(&self.sysctls)),
        ];
        parts.extend(self.iptables.iter().map(|(program, part)| (program.name(), part.why())));
        parts.into_iter().filter_map(|(name, why)| Some((name, why?))).collect()
    }
}

impl Contents {
    /// The same in the words of a [`Node`], as far as it was read. `table` is swarmlb's own table of
    /// nftables, which is read by itself.
    pub fn sandbox(&self, name: &SandboxName, table: Option<node::Table>) -> Sandbox {
        let read = |part: &Asked<Vec<Interface>>| {
            part.as_ref().and_then(Part::read).cloned().unwrap_or_default()
        };
        let links = read(&self.links);
        if let Some(cluster) = self.guest() {
            return self.as_guest(cluster, &links, table);
        }
        let routes = self.routes.as_ref().and_then(Part::read).into_iter().flatten();
        let servers = self.ipvs.as_ref().and_then(Part::read).into_iter().flatten();
        Sandbox {
            owner: self.owner(name).map_or(Owner::Foreign, Owner::Cluster),
            links: links.iter().map(|link| (link.name.clone(), link.in_a_node())).collect(),
            addresses: links.iter().flat_map(Interface::addresses_in_a_node).collect(),
            routes: routes.clone().filter_map(Route::in_a_node).collect(),
            paths: routes.filter_map(Route::path_in_a_node).collect(),
            turns: self.turns(),
            forwarding: rows(&links, &self.fdb, Forward::in_a_node),
            neighbours: rows(&links, &self.neighbours, Neighbour::in_a_node),
            sysctls: self.own_sysctls(&links),
            table,
            // A key daemon's, or a cluster's in the node's own namespace: in no sandbox of ours.
            states: BTreeSet::new(),
            policies: BTreeSet::new(),
            virtual_servers: servers.map(ipvs::Server::in_a_node).collect(),
            process: None,
        }
    }

    /// What a cluster has in a namespace of others: its links, and what stands on these.
    fn as_guest(
        &self,
        cluster: ClusterId,
        links: &[Interface],
        table: Option<node::Table>,
    ) -> Sandbox {
        let alias = guest_alias(&cluster);
        let own: Vec<&Interface> =
            links.iter().filter(|link| link.alias.as_deref() == Some(&alias)).collect();
        let addresses: BTreeSet<node::Address> =
            own.iter().flat_map(|link| link.addresses_in_a_node()).collect();
        let routes = self.routes.as_ref().and_then(Part::read).into_iter().flatten();
        let is_own = |route: &node::Route| {
            addresses.iter().any(|address| address.net.addr() == route.source)
        };
        Sandbox {
            owner: Owner::Guest(cluster),
            links: own.iter().map(|link| (link.name.clone(), link.in_a_node())).collect(),
            routes: routes.filter_map(Route::in_a_node).filter(is_own).collect(),
            addresses,
            table,
            ..Sandbox::default()
        }
    }

    /// The cluster that is a guest there.
    pub fn guest(&self) -> Option<ClusterId> {
        let links = self.links.as_ref().and_then(Part::read)?;
        links.iter().find_map(|link| guest_of(link.alias.as_deref()?))
    }

    /// The addresses that it has as one.
    pub fn guest_addresses(&self) -> Vec<Ipv4Addr> {
        let links = self.links.as_ref().and_then(Part::read).into_iter().flatten();
        let own = links.filter(|link| link.alias.as_deref().and_then(guest_of).is_some());
        let addresses = own.flat_map(Interface::addresses_in_a_node);
        addresses.map(|address| address.net.addr()).collect()
    }

    /// The cluster whose mark the namespace bears.
    pub fn owner(&self, name: &SandboxName) -> Option<ClusterId> {
        let links = self.links.as_ref().and_then(Part::read)?;
        let mut loopbacks = links.iter().filter(|link| link.kind == LinkKind::Loopback);
        loopbacks.find_map(|link| owner_of(link.alias.as_deref()?, name))
    }

    /// The marks by which swarmlb's rules route.
    fn turns(&self) -> BTreeSet<Fwmark> {
        let rules = self.routing_rules.as_ref().and_then(Part::read).into_iter().flatten();
        rules.filter_map(Rule::in_a_node).collect()
    }

    fn own_sysctls(&self, links: &[Interface]) -> BTreeMap<Sysctl, u32> {
        let held = self.sysctls.as_ref().and_then(Part::read);
        let differs = |sysctl: Sysctl| {
            let value = held?.get(sysctl.name())?.parse().ok()?;
            (value != sysctl.default_value()).then_some((sysctl, value))
        };
        let by_mark = (!self.turns().is_empty()).then_some(Sysctl::SourceByMark);
        let has_bridge = links.iter().any(|link| link.name.as_str() == BRIDGE);
        let of_bridge = has_bridge.then_some(Sysctl::BridgeCallIptables);
        Sysctl::ALL.into_iter().chain(by_mark).chain(of_bridge).filter_map(differs).collect()
    }
}

/// What a node has of a table of rows: those of VXLAN devices.
fn rows<T, N: Ord>(
    links: &[Interface],
    table: &Asked<Vec<T>>,
    in_a_node: impl Fn(&T) -> Option<(&LinkName, N)>,
) -> BTreeSet<N> {
    let is_vxlan = |name: &LinkName| {
        let named = links.iter().find(|link| link.name == *name);
        named.is_some_and(|link| matches!(link.kind, LinkKind::Vxlan { .. }))
    };
    let all = table.as_ref().and_then(Part::read).into_iter().flatten();
    let of_vxlan = all.filter_map(in_a_node).filter(|(link, _)| is_vxlan(link));
    of_vxlan.map(|(_, row)| row).collect()
}

/// A dump: one or several sandboxes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Dump {
    /// The same in the words of a [`Node`]; none where only some tables were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandboxes: Option<BTreeMap<SandboxName, Sandbox>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub contents: BTreeMap<SandboxName, Contents>,
}

/// A dump that has only some tables, and so is no node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the dump has some tables only, and not the whole of a sandbox")]
pub struct NotWhole;

impl Dump {
    /// The dump as a node, that can be traced, rehearsed on, and compared with an intent.
    ///
    /// # Errors
    /// When only some tables were dumped.
    pub fn node(&self) -> Result<Node, NotWhole> {
        let sandboxes = self.sandboxes.clone().ok_or(NotWhole)?;
        Ok(Node { sandboxes })
    }

    /// The sandboxes in it.
    pub fn names(&self) -> BTreeSet<&SandboxName> {
        let whole = self.sandboxes.iter().flat_map(BTreeMap::keys);
        whole.chain(self.contents.keys()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_cannot_be_read_says_why_in_json_too() {
        let part: Part<Vec<u8>> = Part::unreadable("no `ip` here");
        let text = serde_json::to_string(&part).unwrap();
        assert_eq!(text, r#"{"unreadable":{"why":"no `ip` here"}}"#);
        assert_eq!(serde_json::from_str::<Part<Vec<u8>>>(&text).unwrap(), part);
        assert_eq!(serde_json::to_string(&Part::Read(vec![1])).unwrap(), r#"{"read":[1]}"#);
    }

    #[test]
    fn a_recorded_node_is_a_dump_and_a_whole_dump_is_a_node() {
        let node: Node = serde_json::from_str(r#"{"sandboxes":{"web.1":{}}}"#).unwrap();
        let dump: Dump = serde_json::from_str(&serde_json::to_string(&node).unwrap()).unwrap();
        assert_eq!(dump.node().unwrap(), node);
        let whole = Dump {
            sandboxes: Some(node.sandboxes.clone()),
            contents: [(SandboxName("web.1".into()), Contents::default())].into(),
        };
        let text = serde_json::to_string(&whole).unwrap();
        assert_eq!(serde_json::from_str::<Node>(&text).unwrap(), node);
        assert_eq!(serde_json::from_str::<Dump>(&text).unwrap(), whole);
    }

    #[test]
    fn some_tables_are_no_node() {
        let contents = Contents { ipvs: Some(Part::Read(Vec::new())), ..Contents::default() };
        let dump =
            Dump { sandboxes: None, contents: [(SandboxName("web.1".into()), contents)].into() };
        assert_eq!(dump.node(), Err(NotWhole));
        let text = serde_json::to_string(&dump).unwrap();
        assert!(!text.contains("\"sandboxes\""), "{text}");
        assert!(serde_json::from_str::<Node>(&text).is_err());
        assert_eq!(serde_json::from_str::<Dump>(&text).unwrap(), dump);
    }
}
