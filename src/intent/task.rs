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
    /// Set while it leaves: it gets no new connections any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaving: Option<Leaving>,
}

/// A task on its way out: weight 0 and out of DNS, until nobody is connected to it any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaving {
    /// When it was taken out of rotation: milliseconds since 1970.
    pub since: u64,
    /// When it goes although somebody is still connected: milliseconds since 1970.
    pub until: u64,
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
    /// Whether it gets new connections.
    pub fn in_rotation(&self) -> bool {
        self.leaving.is_none()
    }

    pub fn endpoint(&self, network: &NetworkName) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.network == *network)
    }
}
