//! Tasks: the copies of a service, each in a slot on a node.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::{Id, NetworkName, NodeName, TaskName};

/// One copy of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    pub id: Id,
    pub name: TaskName,
    /// Where it was placed.
    pub node: NodeName,
    pub endpoints: Vec<Endpoint>,
    /// Its address on its node's gateway bridge, by which it reaches the outside; none when all its
    /// networks are internal or the node cannot.
    #[serde(default)]
    pub egress: Option<Ipv4Addr>,
}

/// What joins a task's sandbox to one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    pub network: NetworkName,
    pub address: Ipv4Addr,
    /// The place of this sandbox among those on the network, from 0 and without gaps: it rotates
    /// the order of real servers, so that sandboxes do not all begin with the same one.
    pub rank: u32,
}

impl Task {
    pub fn endpoint(&self, network: &NetworkName) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.network == *network)
    }
}
