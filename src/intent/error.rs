//! What an edit of the intent refuses, with the values that it refused it for.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use ipnet::Ipv4Net;
use thiserror::Error;

use super::setup::Bytes;
use super::{
    EchoError, Image, NetworkName, NodeName, PublishedPort, Reason, Scheduler, SchedulerFlag,
    ServiceName, Subnet, TaskName, Transport, Vni,
};

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
    #[error("network `{name}` is in use by {}", users(by, namespaces))]
    NetworkInUse { name: NetworkName, by: Vec<ServiceName>, namespaces: Vec<String> },
    #[error("network `{name}` is not attachable")]
    NotAttachable { name: NetworkName },
    #[error("`{target}` is on network `{name}` already")]
    Connected { target: String, name: NetworkName },
    #[error("`{target}` is not on network `{name}`")]
    NotConnected { target: String, name: NetworkName },
    #[error("address {address} of network `{name}` cannot be given: {why}")]
    NoSuchAddress { address: Ipv4Addr, name: NetworkName, why: &'static str },
    #[error("VNI {vni} is already used by network `{by}`")]
    VniUsed { vni: Vni, by: NetworkName, free: Option<Vni> },
    #[error("all 24-bit VNIs are in use")]
    NoFreeVni,
    #[error("subnet {subnet} overlaps {other} of network `{by}`")]
    SubnetUsed { subnet: Subnet, other: Subnet, by: NetworkName },
    #[error("subnet {subnet} overlaps the route {route} of this machine")]
    SubnetRouted { subnet: Subnet, route: Ipv4Net },
    #[error("subnet {subnet} overlaps {other}, which was given too")]
    SubnetTwice { subnet: Subnet, other: Subnet },
    #[error("gateway {gateway} is {}", no_subnet(subnets))]
    GatewayOutside { gateway: Ipv4Addr, subnets: Vec<Subnet> },
    #[error("gateway {gateway} is the {what} address of subnet {subnet}")]
    GatewayReserved { gateway: Ipv4Addr, subnet: Subnet, what: &'static str },
    #[error("subnet {subnet} was given two gateways, {first} and {second}")]
    GatewayTwice { subnet: Subnet, first: Ipv4Addr, second: Ipv4Addr },
    #[error("10.0.0.0/8 has no free /24 left beside this machine's routes and other networks")]
    NoFreeSubnet,
    #[error("MTU {mtu} is out of range: 576 to 8950")]
    Mtu { mtu: u32 },
    #[error(
        "{} of network `{network}` {} too few addresses: {needed} needed, {free} free of {capacity}",
        list(subnets), if subnets.len() == 1 { "has" } else { "have" }
    )]
    NoFreeAddress {
        network: NetworkName,
        subnets: Vec<Subnet>,
        needed: u32,
        free: u32,
        capacity: u32,
    },
    #[error("{asked} replicas are more than one service may have ({most})")]
    TooManyReplicas { asked: u32, most: u32 },
    #[error("a DNS TTL of {asked} seconds is too long: at most {most}")]
    DnsTtl { asked: u32, most: u32 },
    #[error("image `host` needs a command to run")]
    NoCommand,
    #[error("image `{image}` has no health check that times or counts could be for")]
    NoHealthCheck { image: String },
    #[error("`{option}` is for containers, and `{image}` is none")]
    OnlyContainers { option: &'static str, image: Image },
    #[error("a limit of {asked} of memory is too little: {least} is the least")]
    LittleMemory { asked: Bytes, least: Bytes },
    #[error("two mounts have the target {}", target.display())]
    MountTwice { target: PathBuf },
    #[error("image `builtin:whoami` takes no command")]
    NeedlessCommand,
    #[error(transparent)]
    Echo(#[from] EchoError),
    #[error("network `{name}` was given twice")]
    NetworkTwice { name: NetworkName },
    #[error("node `{node}` cannot let tasks reach the outside: {reason}")]
    NoEgress { node: NodeName, reason: String },
    #[error("subnet {subnet} overlaps {other}, from which node `{node}` reaches the outside")]
    SubnetGateway { subnet: Subnet, other: Subnet, node: NodeName },
    #[error("node `{node}` cannot encrypt: {reason}")]
    NoEncryption { node: NodeName, reason: String },
    #[error("network `{name}` is not encrypted")]
    NotEncrypted { name: NetworkName },
    #[error("there is no node `{name}`")]
    NoSuchNode { name: String, meant: Option<String> },
    #[error("node `{name}` is in the cluster already")]
    DuplicateNode { name: NodeName },
    #[error("{address} is the address of node `{by}`")]
    DuplicateNodeAddress { address: Ipv4Addr, by: NodeName },
    #[error("service `{name}` is global: how many tasks it has follows from the nodes")]
    ScaleGlobal { name: ServiceName },
    #[error("service `{name}` was not changed since it was made, or went back already")]
    NothingToGoBackTo { name: ServiceName },
    #[error("service `{name}` would be on no network")]
    NoNetwork { name: ServiceName },
    #[error(
        "a new task cannot start first: port {} in mode host is one task's on each node",
        port_words(port)
    )]
    StartFirstAtHostPort { port: PublishedPort },
    #[error("`{option}` says how a VIP is balanced, and a service in endpoint mode dnsrr has none")]
    BalancingWithoutVip { option: &'static str },
    #[error("{what} is IPVS's, and nftables shall balance")]
    OnlyByIpvs { what: String },
    #[error("flag `{flag}` is one of the schedulers sh and mh, and the scheduler is {scheduler}")]
    FlagWithoutHash { flag: SchedulerFlag, scheduler: &'static str },
    #[error(
        "a slow start raises weights, and scheduler {scheduler} does not take them for shares of what is new"
    )]
    SlowStartIgnored { scheduler: Scheduler },
    #[error(
        "task {name} has weight {weight}, and scheduler {scheduler} takes no account of weights"
    )]
    WeightsIgnored { scheduler: Scheduler, name: TaskName, weight: u32 },
    #[error("`--persistent-netmask` is for services with `--persistent`")]
    NetmaskWithoutAffinity,
    #[error("`--min-connections` is for services with `--max-connections`")]
    LeastWithoutMost,
    #[error("a task cannot take new connections again below {least} and none from {most} on")]
    Thresholds { least: u32, most: u32 },
    #[error(
        "the kernel of node `{node}` has no scheduler {scheduler}; it has {}",
        super::scheduler::names(has)
    )]
    NoScheduler { scheduler: Scheduler, node: NodeName, has: BTreeSet<Scheduler> },
    #[error("task {name} leaves")]
    WeightOfLeaving { name: TaskName },
    #[error(
        "with such weights {turns} turns pass before each task of service `{name}` had its share, and where \
         nftables balances there is room for {most}"
    )]
    TooManyTurns { name: ServiceName, turns: u64, most: u64 },
    #[error("task {name} has no place yet: {reason}")]
    Unplaced { name: TaskName, reason: Reason },
    #[error("node `{node}` has no IPVS")]
    NoIpvs { node: String },
    #[error("network `{name}` is the routing mesh's")]
    MeshOnly { name: NetworkName },
    #[error("network `{name}` was made before services could publish ports, and is not the mesh's")]
    IngressTaken { name: NetworkName },
    #[error("port {} is published by service `{by}` already", port_words(port))]
    PortTaken { port: PublishedPort, by: ServiceName },
    #[error("port {} is published twice", port_words(port))]
    PortTwice { port: PublishedPort },
    #[error(
        "port {} is listened on by {} on {}",
        port_words(port), program.as_deref().unwrap_or("a program that cannot be seen"),
        node.as_ref().map_or_else(|| "this node".to_owned(), |node| format!("node {node}"))
    )]
    PortListening { port: PublishedPort, program: Option<String>, node: Option<NodeName> },
    #[error("all ports from 30000 to 32767 are published for {transport}")]
    NoFreePort { transport: Transport },
    #[error(
        "port {} cannot be in the routing mesh: a service in endpoint mode dnsrr is not balanced",
        port_words(port)
    )]
    MeshWithoutVip { port: PublishedPort },
    #[error(
        "port {} cannot be published by the tasks' own nodes: all networks of the service are internal",
        port_words(port)
    )]
    HostPortInternal { port: PublishedPort },
    #[error("all fwmarks are in use")]
    NoFreeFwmark,
}

fn port_words(port: &PublishedPort) -> String {
    format!("{}/{}", port.published, port.transport)
}

fn tasks(names: &[TaskName]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// `subnet A` or `subnets A, B`.
fn list(subnets: &[Subnet]) -> String {
    let list: Vec<String> = subnets.iter().map(Subnet::to_string).collect();
    let noun = if list.len() == 1 { "subnet" } else { "subnets" };
    format!("{noun} {}", list.join(", "))
}

fn no_subnet(subnets: &[Subnet]) -> String {
    match subnets {
        [] => "in no subnet, for none was given".to_owned(),
        [subnet] => format!("outside subnet {subnet}"),
        _ => format!("in none of {}", list(subnets)),
    }
}

/// `services a, b and namespace c`.
fn users(services: &[ServiceName], namespaces: &[String]) -> String {
    let services: Vec<String> = services.iter().map(ServiceName::to_string).collect();
    let listed = |noun: &str, names: &[String]| {
        let plural = if names.len() == 1 { "" } else { "s" };
        (!names.is_empty()).then(|| format!("{noun}{plural} {}", names.join(", ")))
    };
    let parts = [listed("service", &services), listed("namespace", namespaces)];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" and ")
}
