//! What an edit of the intent refuses, with the values that it refused it for.

use ipnet::Ipv4Net;
use thiserror::Error;

use super::{EchoError, NetworkName, ServiceName, Subnet, TaskName, Vni};

/// A request that cannot be. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IntentError {
    #[error("there is no network `{name}`")]
    NoSuchNetwork { name: String, meant: Option<String> },
    #[error("there is no service `{name}`")]
    NoSuchService { name: String, meant: Option<String> },
    #[error("there is no task `{}`", name.escape_debug())]
    NoSuchTask { name: String, meant: Option<String> },
    #[error("`{}` begins the ids of tasks {}", prefix.escape_debug(), tasks(names))]
    ManyTasks { prefix: String, names: Vec<TaskName> },
    #[error("network `{name}` exists already")]
    NetworkExists { name: NetworkName },
    #[error("network `{name}` would be a number, and `web.{name}` the name of a task")]
    NumericNetwork { name: NetworkName },
    #[error("service `{name}` exists already")]
    ServiceExists { name: ServiceName },
    #[error("network `{name}` is in use by {}", services(by))]
    NetworkInUse { name: NetworkName, by: Vec<ServiceName> },
    #[error("VNI {vni} is already used by network `{by}`")]
    VniUsed { vni: Vni, by: NetworkName, free: Option<Vni> },
    #[error("all 24-bit VNIs are in use")]
    NoFreeVni,
    #[error("subnet {subnet} overlaps {other} of network `{by}`")]
    SubnetUsed { subnet: Subnet, other: Subnet, by: NetworkName },
    #[error("subnet {subnet} overlaps the route {route} of this machine")]
    SubnetRouted { subnet: Subnet, route: Ipv4Net },
    #[error("{count} subnets were given; a network has one")]
    TooManySubnets { count: usize },
    #[error("10.0.0.0/8 has no free /24 left beside this machine's routes and other networks")]
    NoFreeSubnet,
    #[error("MTU {mtu} is out of range: 576 to 8950")]
    Mtu { mtu: u32 },
    #[error(
        "subnet {subnet} of network `{network}` has too few addresses: {needed} needed, {free} free of {capacity}"
    )]
    NoFreeAddress { network: NetworkName, subnet: Subnet, needed: u32, free: u32, capacity: u32 },
    #[error("{asked} replicas are more than one service may have ({most})")]
    TooManyReplicas { asked: u32, most: u32 },
    #[error("a DNS TTL of {asked} seconds is too long: at most {most}")]
    DnsTtl { asked: u32, most: u32 },
    #[error("image `host` needs a command to run")]
    NoCommand,
    #[error("image `builtin:whoami` takes no command")]
    NeedlessCommand,
    #[error(transparent)]
    Echo(#[from] EchoError),
    #[error("network `{name}` was given twice")]
    NetworkTwice { name: NetworkName },
    #[error("no node is there to run tasks")]
    NoNode,
    #[error("node `{node}` has no IPVS")]
    NoIpvs { node: String },
    #[error("all fwmarks are in use")]
    NoFreeFwmark,
}

fn tasks(names: &[TaskName]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn services(names: &[ServiceName]) -> String {
    let list: Vec<&str> = names.iter().map(ServiceName::as_str).collect();
    let noun = if list.len() == 1 { "service" } else { "services" };
    format!("{noun} {}", list.join(", "))
}
