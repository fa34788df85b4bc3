//! `swarmlb lab …`

use clap::Subcommand;

use super::number;
use crate::intent::NodeName;
use crate::lab::MOST_NODES;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Bring up a cluster of nodes on this machine
    ///
    /// Each node is a machine of its own as far as the kernel goes: it has its own network, mounts,
    /// processes, keeper and agent, and joins as any machine would. They are called node-1, node-2 and
    /// so on, and reach each other, and this machine them, over a range of 10.213.0.0/16. Every other
    /// command with the same --state-dir goes to the first node, or to the one that --node names.
    ///
    /// What is there and should be is kept: of a lab that is up, nodes that are down are started.
    Up {
        /// How many nodes
        #[arg(long, value_name = "N", default_value_t = 3)]
        #[arg(value_parser = number::number(1..=MOST_NODES))]
        nodes: u8,
    },
    /// Show the nodes of the lab: their addresses, and which reach each other
    Status,
    /// Cut nodes off from all others, as if a cable was pulled
    ///
    /// They go on reaching each other, and lose the store when it is not on one of them. Each
    /// partition is another group; `lab heal` joins all of them again.
    Partition {
        #[arg(required = true, value_name = "NODE")]
        names: Vec<NodeName>,
    },
    /// Let all nodes reach each other again
    Heal,
    /// Kill nodes at once, as if their power was cut
    #[command(name = "kill-node")]
    Kill {
        #[arg(required = true, value_name = "NODE")]
        names: Vec<NodeName>,
    },
    /// Start nodes that were killed
    #[command(name = "start-node")]
    Start {
        #[arg(required = true, value_name = "NODE")]
        names: Vec<NodeName>,
    },
    /// Take the lab down; nothing is left of it
    Down,
}
