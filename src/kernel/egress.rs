//! Whether tasks can reach the outside from this machine: what its kernel can do, which ranges are
//! taken, and what of others stands in the way.

use std::os::fd::AsFd;

use ipnet::Ipv4Net;

use super::nft::guest;
use super::route::RouteSocket;
use super::{Outcome, Refusal, netns, program};
use crate::node::BaseRule;
use crate::plan::runbook::commands;

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
    let range = Ipv4Net::default();
    let table = "swarmlb-trial";
    let lines = [
        commands::add_table(table),
        commands::add_rule(table, BaseRule::MasqueradeOut(range)),
        commands::add_rule(table, BaseRule::DropForward(range)),
    ];
    netns::throwaway(|namespace| guest::run(namespace, &lines.join("\n")))?
}

/// Which firewall chains of others drop what is forwarded in the node's namespace.
///
/// # Errors
/// When they cannot be read.
pub fn obstacles() -> Result<Vec<String>, Refusal> {
    let node = netns::node()?;
    let mut chains = guest::forward_drops(node.as_fd())?;
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
