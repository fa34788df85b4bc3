//! swarmlb's nftables table in a sandbox: which packets are marked, refused and balanced.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::encryption::Carrier;
use crate::intent::{Fwmark, Transport};

/// What the chain of [`BaseRule::MarkEntry`] is called.
pub const ENTRY: &str = "mangle-entry";
/// What the chains of [`BaseRule::KeepSource`] are called, with the port behind it.
pub const KEEP: &str = "nat-keep-";

/// The rules that every VIP of a sandbox shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BaseRule {
    /// mangle output: a packet to a VIP gets its mark.
    MarkOut,
    /// filter input: what reaches a VIP unbalanced is refused, never delivered to this sandbox.
    RejectIn,
    /// filter input, before that: what reaches a VIP unbalanced over TCP is reset. An ICMP error does
    /// not end a connection that was open. Only on the `ipvs` data plane, which forgets connections.
    ResetIn,
    /// nat output: a marked packet goes to the mark's chain. Only on the `nftables` data plane.
    BalanceOut,
    /// nat postrouting: what comes from this range and goes elsewhere takes this machine's address.
    MasqueradeOut(Ipv4Net),
    /// filter forward: nobody begins a connection into this range from beyond the machine, nor from
    /// one task to another by way of it, unless a published port led there.
    DropForward(Ipv4Net),
    /// nat prerouting and output: what comes to a published port of any of this machine's addresses
    /// goes where the map of such ports says.
    Publish,
    /// The same for ports of one address each.
    PublishAt,
    /// nat postrouting: what a task of this range sends to a published port takes this machine's
    /// address, or its answer would not come back this way.
    MasqueradeHairpin(Ipv4Net),
    /// nat postrouting: the same for what this machine sends there from 127.0.0.0/8.
    MasqueradeLocalhost(Ipv4Net),
    /// filter input: nobody else begins a connection to 127.0.0.0/8, which the routes to published
    /// ports let in.
    GuardLocalhost,
    /// mangle prerouting: what comes to a published port of the ingress sandbox gets its service's mark.
    MarkIn,
    /// nat prerouting: a marked packet goes to the mark's chain. Only on the `nftables` data plane.
    BalanceIn,
    /// nat postrouting: what leaves by the mesh's network takes this address, so that answers come
    /// back here.
    SourceOut(Ipv4Addr),
    /// nat postrouting, before that: what comes to this TCP port from beyond the machine, and so not
    /// from this range, keeps its source.
    KeepSource { port: u16, range: Ipv4Net },
    /// mangle prerouting: what comes to this address gets the mark of the sandbox that sent it here,
    /// which is in its MAC. See [`Mac::mark`](super::Mac::mark).
    MarkEntry(Ipv4Addr),
    /// filter forward: nobody begins a connection from the mesh's network on.
    DropBack,
    /// mangle output: what a network sends to other nodes gets the mark that policies encrypt by.
    MarkCarried(Carrier),
    /// filter input: what comes of a network in clear text is dropped.
    DropClearIn(Carrier),
    /// filter postrouting: what would leave of a network in clear text is dropped.
    DropClearOut(Carrier),
}

impl BaseRule {
    /// Those that are about nothing in particular.
    pub const PLAIN: [BaseRule; 10] = [
        BaseRule::MarkOut,
        BaseRule::RejectIn,
        BaseRule::ResetIn,
        BaseRule::BalanceOut,
        BaseRule::Publish,
        BaseRule::PublishAt,
        BaseRule::GuardLocalhost,
        BaseRule::MarkIn,
        BaseRule::BalanceIn,
        BaseRule::DropBack,
    ];

    /// Those by which a network is encrypted, or drops.
    pub fn of_encryption(carrier: Carrier) -> [BaseRule; 3] {
        [
            BaseRule::MarkCarried(carrier),
            BaseRule::DropClearIn(carrier),
            BaseRule::DropClearOut(carrier),
        ]
    }

    /// Whether it is one of those.
    pub fn encrypts(self) -> bool {
        matches!(
            self,
            BaseRule::MarkCarried(_) | BaseRule::DropClearIn(_) | BaseRule::DropClearOut(_)
        )
    }

    /// Those that a gateway bridge with this range needs.
    pub fn of_gateway(range: Ipv4Net) -> [BaseRule; 2] {
        [BaseRule::MasqueradeOut(range), BaseRule::DropForward(range)]
    }

    /// Those that may be about this range.
    pub fn of_range(range: Ipv4Net) -> [BaseRule; 4] {
        [
            BaseRule::MasqueradeOut(range),
            BaseRule::DropForward(range),
            BaseRule::MasqueradeHairpin(range),
            BaseRule::MasqueradeLocalhost(range),
        ]
    }

    /// The chains that hold it, one rule in each.
    pub fn chains(self) -> Vec<Cow<'static, str>> {
        let of = |name: String| vec![Cow::Owned(name)];
        let names: &[&'static str] = match self {
            BaseRule::MarkOut => &["mangle-out"],
            BaseRule::RejectIn => &["filter-in"],
            BaseRule::ResetIn => &["filter-in-tcp"],
            BaseRule::BalanceOut => &["nat-out"],
            BaseRule::MasqueradeOut(_) => &["nat-post"],
            BaseRule::DropForward(_) => &["filter-forward"],
            BaseRule::Publish => &["publish-in", "publish-out"],
            BaseRule::PublishAt => &["publish-at-in", "publish-at-out"],
            BaseRule::MasqueradeHairpin(_) => &["nat-hairpin"],
            BaseRule::MasqueradeLocalhost(_) => &["nat-local"],
            BaseRule::GuardLocalhost => &["filter-local"],
            BaseRule::MarkIn => &["mangle-in"],
            BaseRule::BalanceIn => &["nat-in"],
            BaseRule::SourceOut(_) => &["nat-source"],
            BaseRule::KeepSource { port, .. } => return of(format!("{KEEP}{port}")),
            BaseRule::MarkEntry(_) => &[ENTRY],
            BaseRule::DropBack => &["filter-back"],
            BaseRule::MarkCarried(carrier) => return of(format!("esp-mark-{}", carrier.vni)),
            BaseRule::DropClearIn(carrier) => return of(format!("esp-in-{}", carrier.vni)),
            BaseRule::DropClearOut(carrier) => return of(format!("esp-out-{}", carrier.vni)),
        };
        names.iter().copied().map(Cow::Borrowed).collect()
    }

    /// The map that it looks ports up in, and which stands and goes with it.
    pub fn map(self) -> Option<PortMap> {
        PortMap::ALL.into_iter().find(|map| map.rule() == self)
    }
}

impl fmt::Display for BaseRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.chains().first().map_or("", |chain| chain))
    }
}

/// Where the nftables data plane sends the connections of one mark: to one target after the other, from the
/// first; one that has more weight than others has more turns. The order is the sandbox's own, rotated by its rank.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Dispatch {
    pub targets: Vec<Ipv4Addr>,
}

impl Dispatch {
    /// Each target once, however many turns it has.
    pub fn each(&self) -> BTreeSet<Ipv4Addr> {
        self.targets.iter().copied().collect()
    }

    /// Those that another has not.
    pub fn each_not_of(&self, other: &Self) -> BTreeSet<Ipv4Addr> {
        &self.each() - &other.each()
    }
}

/// Where packets come to: a port, and the address that it is of; any of this machine's when none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PortAt {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    #[serde(rename = "protocol")]
    pub transport: Transport,
    pub port: u16,
}

/// What becomes of packets to a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PortTo {
    /// They go to a port of this address.
    Address { address: Ipv4Addr, port: u16 },
    /// They get this mark.
    Mark(Fwmark),
}

/// A published port, as one sandbox sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Publication {
    pub at: PortAt,
    pub to: PortTo,
}

/// The map of the table that an entry stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortMap {
    /// From ports of any address to addresses.
    Published,
    /// From ports of one address to addresses.
    PublishedAt,
    /// From ports of one address to marks.
    Marks,
}

impl PortMap {
    pub const ALL: [PortMap; 3] = [PortMap::Published, PortMap::PublishedAt, PortMap::Marks];

    pub fn name(self) -> &'static str {
        match self {
            PortMap::Published => "published",
            PortMap::PublishedAt => "published-at",
            PortMap::Marks => "port-mark",
        }
    }

    /// What looks ports up in it.
    pub fn rule(self) -> BaseRule {
        match self {
            PortMap::Published => BaseRule::Publish,
            PortMap::PublishedAt => BaseRule::PublishAt,
            PortMap::Marks => BaseRule::MarkIn,
        }
    }
}

impl Publication {
    pub fn map(&self) -> PortMap {
        match (self.to, self.at.address) {
            (PortTo::Mark(_), _) => PortMap::Marks,
            (PortTo::Address { .. }, None) => PortMap::Published,
            (PortTo::Address { .. }, Some(_)) => PortMap::PublishedAt,
        }
    }
}

/// The table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Table {
    pub rules: BTreeSet<BaseRule>,
    /// VIPs whose unbalanced packets [`BaseRule::RejectIn`] refuses. (Linux 6.1 does not look a rule's
    /// address up in the map of marks, so they stand in a set of their own.)
    pub guards: BTreeSet<Ipv4Addr>,
    pub marks: BTreeMap<Ipv4Addr, Fwmark>,
    pub dispatches: BTreeMap<Fwmark, Dispatch>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub publications: BTreeSet<Publication>,
}
