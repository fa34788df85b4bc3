//! Whether tasks can reach the outside from this machine: what its kernel can do, which ranges are
//! taken, and what of others stands in the way.

use std::net::Ipv4Addr;
use std::os::fd::AsFd;

use ipnet::Ipv4Net;

use super::nft::{Nft, forward};
use super::route::RouteSocket;
use super::{Outcome, Refusal, netns, program};
use crate::node::{BaseRule, Object, SandboxName};
use crate::plan::{Change, Op};

/// The ranges that the node's namespace has routes to, default routes left out.
///
/// # Errors
/// The kernel's refusal.
pub fn routes() -> Result<Vec<Ipv4Net>, Refusal> {
    RouteSocket::open(netns::node()?.as_fd())?.ranges()
}

/// Whether the kernel masquerades and drops as the gateway bridge needs it: tried for real, in a
/// namespace that ends at once.
///
/// # Errors
/// Why it does not.
pub fn can_masquerade() -> Outcome {
    let rules = BaseRule::of_range(RANGE).map(Object::BaseRule);
    let sandbox = SandboxName("trial".into());
    let op = |object| Op { sandbox: sandbox.clone(), change: Change::Add(object) };
    let ops: Vec<Op> = [Object::Table].into_iter().chain(rules).map(op).collect();
    netns::throwaway(|namespace| {
        let outcomes = Nft::open(namespace)?.change(&ops)?;
        outcomes.into_iter().collect()
    })?
}

/// Any range will do.
const RANGE: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 0, 0), 22);

/// Which firewall chains of others drop what is forwarded in the node's namespace.
///
/// # Errors
/// When they cannot be read.
pub fn obstacles() -> Result<Vec<String>, Refusal> {
    let node = netns::node()?;
    let mut chains = forward::drops(node.as_fd())?;
    // What `iptables-legacy` makes is seen by nobody else.
    let tables = netns::within(node.as_fd(), || {
        std::fs::read_to_string("/proc/thread-self/net/ip_tables_names").unwrap_or_default()
    })?;
    if tables.lines().any(|table| table == "filter") {
        let arguments = ["-w", "-S", "FORWARD"];
        let listed = program::run(node.as_fd(), "iptables-legacy", &arguments, "");
        let drops = |text: &[u8]| String::from_utf8_lossy(text).contains("-P FORWARD DROP");
        if listed.is_ok_and(|output| drops(&output.stdout)) {
            chains.push("filter FORWARD".into());
        }
    }
    Ok(chains)
}
