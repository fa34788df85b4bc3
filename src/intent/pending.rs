//! Slots that have no task yet: why not, in facts.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Constraint, NetworkName, NodeName, Scheduler, ServiceName, Transport};

/// A slot of a service that waits for a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// The node that it is for, of a global service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
    pub reason: Reason,
}

/// What is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Every node has an obstacle; none where there are no nodes.
    NoNode(Vec<Blocked>),
    /// Others hold all that a network has.
    NoAddress { network: NetworkName, capacity: u32 },
}

/// Nodes that have the same obstacle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocked {
    pub obstacle: Obstacle,
    /// How many nodes.
    pub nodes: u32,
    /// The first of them by name.
    pub first: NodeName,
}

/// Why a node does not get a task.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Obstacle {
    Down,
    Drained,
    Constraint(Constraint),
    /// IPVS balances on a network of the service, by request, and the node's kernel has none.
    NoIpvs,
    /// IPVS shall balance by this scheduler on a network of the service, and the node's kernel lacks it.
    NoScheduler(Scheduler),
    /// A network of the service is encrypted, and the node's kernel does not do that; why.
    NoEncryption(String),
    /// Its tasks cannot reach the outside; why.
    NoWayOut(String),
    /// It runs as many tasks of the service as it may.
    MaxPerNode(u32),
    /// Its gateway bridge has room for this many tasks, and has them.
    FullGateway(u32),
    /// At a port that the service publishes for its tasks' own nodes a task answers already.
    PortTaken {
        port: u16,
        transport: Transport,
        by: ServiceName,
    },
}

impl Reason {
    /// Nodes and their obstacles, put together.
    pub fn no_node<'a>(found: impl IntoIterator<Item = (&'a NodeName, Obstacle)>) -> Self {
        let mut blocked: Vec<Blocked> = Vec::new();
        for (node, obstacle) in found {
            match blocked.iter_mut().find(|held| held.obstacle == obstacle) {
                Some(held) => held.nodes += 1,
                None => blocked.push(Blocked { obstacle, nodes: 1, first: node.clone() }),
            }
        }
        blocked.sort_by(|a, b| a.obstacle.cmp(&b.obstacle));
        Self::NoNode(blocked)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::NoNode(blocked) if blocked.is_empty() => f.write_str("there is no node"),
            Reason::NoNode(blocked) => {
                let parts: Vec<String> = blocked.iter().map(ToString::to_string).collect();
                write!(f, "no suitable node: {}", parts.join("; "))
            }
            Reason::NoAddress { network, capacity } => {
                write!(f, "network {network} has no free address: all {capacity} are taken")
            }
        }
    }
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (who, many) = match self.nodes {
            1 => (self.first.to_string(), false),
            nodes => (format!("{nodes} nodes"), true),
        };
        let verb = |one, more| if many { more } else { one };
        match &self.obstacle {
            Obstacle::Down => write!(f, "{who} {} down", verb("is", "are")),
            Obstacle::Drained => write!(f, "{who} {} drained", verb("is", "are")),
            Obstacle::Constraint(constraint) => {
                write!(f, "{who} {} not satisfy {constraint}", verb("does", "do"))
            }
            Obstacle::NoIpvs => write!(f, "{who} {} no IPVS", verb("has", "have")),
            Obstacle::NoScheduler(scheduler) => {
                write!(f, "{who} {} no scheduler {scheduler}", verb("has", "have"))
            }
            Obstacle::NoEncryption(why) => {
                write!(f, "{who} cannot encrypt ({why})")
            }
            Obstacle::NoWayOut(why) => {
                write!(f, "tasks of {who} cannot reach the outside ({why})")
            }
            Obstacle::MaxPerNode(most) => {
                let verb = verb("has", "have");
                write!(f, "{who} {verb} {most} of its tasks, the most that a node may have")
            }
            Obstacle::PortTaken { port, transport, by } => {
                let verb = verb("has", "have");
                write!(f, "{who} {verb} a task of service {by} at port {port}/{transport}")
            }
            Obstacle::FullGateway(most) => write!(
                f,
                "{who} {} {most} tasks on {} gateway bridge, which has room for no more",
                verb("has", "have"),
                verb("its", "their")
            ),
        }
    }
}

/// Slots that wait for the same reason, in words: a reason a line, with how many slots have it.
pub fn told<'a>(pending: impl IntoIterator<Item = &'a Pending>) -> Vec<(usize, String)> {
    let mut told: Vec<(usize, String)> = Vec::new();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for reason in pending.into_iter().map(|pending| pending.reason.to_string()) {
        if seen.insert(reason.clone()) {
            told.push((1, reason));
        } else if let Some((count, _)) = told.iter_mut().find(|(_, known)| *known == reason) {
            *count += 1;
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_tells_which_nodes_have_which_obstacle() {
        let nodes: Vec<NodeName> =
            ["a", "b", "c", "d"].iter().map(|name| name.parse().unwrap()).collect();
        let ssd = || Obstacle::Constraint("node.label.disk==ssd".parse().unwrap());
        let found = [ssd(), Obstacle::Down, ssd(), Obstacle::MaxPerNode(1)];
        let reason = Reason::no_node(nodes.iter().zip(found));
        assert_eq!(
            reason.to_string(),
            "no suitable node: b is down; 2 nodes do not satisfy node.label.disk==ssd; \
             d has 1 of its tasks, the most that a node may have"
        );
        let again: Reason = serde_json::from_str(&serde_json::to_string(&reason).unwrap()).unwrap();
        assert_eq!(again, reason);
        assert_eq!(Reason::no_node([]).to_string(), "there is no node");
    }

    #[test]
    fn the_same_reason_is_told_once() {
        let blue = Reason::NoAddress { network: "blue".parse().unwrap(), capacity: 5 };
        let all = [blue.clone(), Reason::NoNode(vec![]), blue];
        let all: Vec<Pending> =
            all.into_iter().map(|reason| Pending { node: None, reason }).collect();
        let counts: Vec<usize> = told(&all).into_iter().map(|(count, _)| count).collect();
        assert_eq!(counts, [2, 1]);
    }
}
