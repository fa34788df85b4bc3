//! Configurations of balancers of others: in front of the nodes, over published ports, or inside the
//! cluster, over what the names of tasks resolve to.
//!
//! They are whole files. Every word in them that is not written here is a name, an address or a number
//! of the intent, whose types let nothing else be.

mod haproxy;
mod nginx;

use std::net::Ipv4Addr;

use serde::Serialize;

use crate::intent::service::MOST_REPLICAS;
use crate::intent::{
    Intent, NodeName, PublishMode, PublishedPort, Service, ServiceName, Transport,
};

/// For whom a configuration is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balancer {
    Haproxy,
    Nginx,
}

impl Balancer {
    /// As it calls itself.
    pub fn name(self) -> &'static str {
        match self {
            Balancer::Haproxy => "HAProxy",
            Balancer::Nginx => "nginx",
        }
    }

    pub fn carries(self, transport: Transport) -> bool {
        match self {
            Balancer::Haproxy => transport == Transport::Tcp,
            Balancer::Nginx => transport != Transport::Sctp,
        }
    }
}

/// Where the balancer runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On a machine of its own: it knows nodes.
    InFront,
    /// As a task on the services' networks: it knows names, from the resolver there.
    Inside { resolver: std::net::SocketAddrV4 },
}

/// A port that the balancer listens on, and who is behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entrance {
    pub service: ServiceName,
    #[serde(rename = "protocol")]
    pub transport: Transport,
    pub listen: u16,
    /// The port of who is behind it.
    pub port: u16,
    /// As it is published; none for a port that only tasks of its networks reach.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<PublishMode>,
    #[serde(flatten)]
    pub behind: Behind,
}

/// Who is behind an entrance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Behind {
    /// Nodes.
    Servers(Vec<Server>),
    /// All tasks, by what a name resolves to.
    Tasks(Tasks),
}

/// A node as the balancer reaches it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Server {
    pub name: String,
    pub address: Ipv4Addr,
}

/// All tasks of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tasks {
    pub name: String,
    /// For so many of them there is room.
    pub most: u32,
}

/// There is room behind a name for so many tasks at least.
const ROOM: u32 = 20;

/// A port that a service publishes, for a balancer in front of the nodes.
pub fn in_front(intent: &Intent, service: &Service, port: &PublishedPort) -> Entrance {
    Entrance {
        service: service.name.clone(),
        transport: port.transport,
        listen: port.published,
        port: port.published,
        mode: Some(port.mode),
        behind: Behind::Servers(servers(intent, service, port)),
    }
}

/// Who answers at a port. In the mesh that is every node, also one that is silent now: it may come back,
/// and the balancer looks itself.
fn servers(intent: &Intent, service: &Service, port: &PublishedPort) -> Vec<Server> {
    let nodes = intent.nodes.values();
    // Of a node that is alone in its cluster no address is known but to itself.
    let all = nodes.map(|node| (node, node.address.unwrap_or(Ipv4Addr::LOCALHOST)));
    if let Some(address) = port.address {
        let of_node = all.into_iter().find(|(_, known)| *known == address);
        let name =
            of_node.map_or_else(|| "published".to_owned(), |(node, _)| node.name.to_string());
        return vec![Server { name, address }];
    }
    // The same port may be another service's on other nodes.
    let has_task =
        |name: &NodeName| intent.rotation_of(&service.name).any(|task| task.node == *name);
    all.filter(|(node, _)| port.mode == PublishMode::Ingress || has_task(&node.name))
        .map(|(node, address)| Server { name: node.name.to_string(), address })
        .collect()
}

/// A port that a service's tasks listen on, for a balancer that is on its networks.
pub fn inside(service: &Service, transport: Transport, listen: u16, port: u16) -> Entrance {
    let most = service.replicas.saturating_mul(2).clamp(ROOM, MOST_REPLICAS);
    let tasks = Tasks { name: format!("tasks.{}", service.name), most };
    let behind = Behind::Tasks(tasks);
    Entrance { service: service.name.clone(), transport, listen, port, mode: None, behind }
}

/// The configuration, whole: a file that the balancer starts with. What it does not carry stands there
/// as a comment.
pub fn configuration(balancer: Balancer, place: Place, entrances: &[Entrance]) -> String {
    match balancer {
        Balancer::Haproxy => haproxy::configuration(place, entrances),
        Balancer::Nginx => nginx::configuration(place, entrances),
    }
}

impl Entrance {
    /// A name for it that no other entrance has.
    fn key(&self) -> String {
        match self.transport {
            Transport::Tcp => format!("{}-{}", self.service, self.listen),
            transport => format!("{}-{}-{transport}", self.service, self.listen),
        }
    }

    /// Says what it is, and what follows from it for whoever runs the balancer.
    fn comment(&self) -> String {
        let Self { service, port, .. } = self;
        match &self.behind {
            Behind::Tasks(Tasks { most, .. }) => {
                format!("{service}: port {port} of its tasks; there is room for {most} of them.")
            }
            Behind::Servers(servers) => {
                let who = match servers.as_slice() {
                    [] => "no node has a task of it now: export anew when one has",
                    all if all.iter().all(|server| server.address.is_loopback()) => {
                        "for a balancer on this machine: its node is alone"
                    }
                    _ if self.mode == Some(PublishMode::Host) => {
                        "nodes that have a task of it; export anew when others have"
                    }
                    _ => "the nodes that answer there",
                };
                format!("{service}, published at port {port}: {who}.")
            }
        }
    }

    /// What stands there of one that the balancer does not carry.
    fn left_out(&self, balancer: Balancer) -> String {
        let Self { service, transport, port, .. } = self;
        format!(
            "Left out: {transport} port {port} of {service}, {} carries no {transport}.",
            balancer.name()
        )
    }
}

#[cfg(test)]
mod tests;
