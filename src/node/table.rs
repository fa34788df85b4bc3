//! swarmlb's nftables table in a sandbox: which packets are marked, refused and balanced.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::encryption::Carrier;
use crate::intent::Fwmark;

/// The rules that every VIP of a sandbox shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BaseRule {
    /// mangle output: a packet to a VIP gets its mark.
    MarkOut,
    /// filter input: what reaches a VIP unbalanced is refused, never delivered to this sandbox.
    RejectIn,
    /// nat output: a marked packet goes to the mark's chain. Only on the `nftables` data plane.
    BalanceOut,
    /// nat postrouting: what comes from this range and goes elsewhere takes this machine's address.
    MasqueradeOut(Ipv4Net),
    /// filter forward: nobody begins a connection into this range from beyond the machine, nor from
    /// one task to another by way of it.
    DropForward(Ipv4Net),
    /// mangle output: what a network sends to other nodes gets the mark that policies encrypt by.
    MarkCarried(Carrier),
    /// filter input: what comes of a network in clear text is dropped.
    DropClearIn(Carrier),
    /// filter postrouting: what would leave of a network in clear text is dropped.
    DropClearOut(Carrier),
}

impl BaseRule {
    /// Those that VIPs need.
    pub const OF_VIPS: [BaseRule; 3] =
        [BaseRule::MarkOut, BaseRule::RejectIn, BaseRule::BalanceOut];

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

    /// The chain that holds it.
    pub fn chain(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            BaseRule::MarkOut => "mangle-out",
            BaseRule::RejectIn => "filter-in",
            BaseRule::BalanceOut => "nat-out",
            BaseRule::MasqueradeOut(_) => "nat-post",
            BaseRule::DropForward(_) => "filter-forward",
            BaseRule::MarkCarried(carrier) => return format!("esp-mark-{}", carrier.vni).into(),
            BaseRule::DropClearIn(carrier) => return format!("esp-in-{}", carrier.vni).into(),
            BaseRule::DropClearOut(carrier) => return format!("esp-out-{}", carrier.vni).into(),
        })
    }
}

impl fmt::Display for BaseRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.chain())
    }
}

/// Where the nftables data plane sends the connections of one mark: each target in turn, from the
/// first. The order is the sandbox's own, rotated by its rank.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Dispatch {
    pub targets: Vec<Ipv4Addr>,
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
}
