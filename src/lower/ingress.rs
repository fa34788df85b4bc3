//! Published ports. In the node's own namespace what comes to one is sent on: to the node's ingress
//! sandbox, which balances it over all tasks by way of the mesh's network, or to the node's own task.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::egress::{Joint, Reach};
use super::shared::Shared;
use crate::intent::{
    DataPlane, Ingress, Intent, NodeName, NodeRecord, Pool, PublishMode, PublishedPort, Service,
    Source, Task,
};
use crate::node::object::ENDPOINT;
use crate::node::{
    BaseRule, LinkName, Mac, Node, Path, PortAt, PortTo, Publication, Sandbox, SandboxName, Sysctl,
};

pub(super) fn lower(intent: &Intent, name: &NodeName, shared: &mut Shared, node: &mut Node) {
    let Some(record) = intent.nodes.get(name) else { return };
    let Some(pool) = record.gateway() else { return };
    let mesh = record.ingress.as_ref().filter(|_| intent.has_meshed_services());
    if let Some(ingress) = mesh {
        lower_mesh(intent, record, ingress, pool, shared, node);
    }
    for task in intent.tasks.values().filter(|task| task.node == *name) {
        if let Some(service) = intent.services.get(&task.name.service) {
            lower_host_ports(intent, service, task, pool, node);
            redirect(intent, service, task, node);
        }
    }
}

fn ports(service: &Service, mode: PublishMode) -> impl Iterator<Item = &PublishedPort> {
    service.ports.iter().filter(move |port| port.mode == mode)
}

/// The node's end of the mesh: in its own namespace, and in its ingress sandbox.
fn lower_mesh(
    intent: &Intent,
    record: &NodeRecord,
    ingress: &Ingress,
    pool: &Pool,
    shared: &mut Shared,
    node: &mut Node,
) {
    let Some(gateway) = ingress.gateway else { return };
    let name = SandboxName::ingress();
    super::endpoint::join(intent, &name, &link(0), &ingress.endpoint, node);
    // Where br_netfilter is at work, what a task sends to a published port of its own node never leaves
    // the bridge.
    let joint = Joint { link: link(1), address: gateway, reach: Reach::All };
    super::egress::join(intent, &name, joint, pool, node);
    let sandbox = super::sandbox(intent, node, name);
    sandbox.sysctls.insert(Sysctl::IpForward, 1);
    let rules =
        [BaseRule::MarkIn, BaseRule::SourceOut(ingress.endpoint.address), BaseRule::DropBack];
    sandbox.table.get_or_insert_default().rules.extend(rules);
    for service in intent.services.values() {
        let Some(vip) = &service.ingress else { continue };
        let plane = service.data_plane.on(record);
        for port in ports(service, PublishMode::Ingress) {
            let at =
                PortAt { address: Some(gateway), transport: port.transport, port: port.published };
            let to = PortTo::Mark(vip.fwmark);
            let table = sandbox.table.get_or_insert_default();
            table.publications.insert(Publication { at, to });
            table.rules.extend(kept_source(port, pool));
        }
        match plane {
            DataPlane::Ipvs => {
                sandbox.sysctls.insert(Sysctl::VsConntrack, 1);
            }
            DataPlane::Nftables => {
                sandbox.table.get_or_insert_default().rules.insert(BaseRule::BalanceIn);
            }
        }
        super::vip::balance(intent, &ingress.endpoint, service, vip, plane, shared, sandbox);
    }
    let home = super::egress::home(intent, pool, node);
    for port in intent.services.values().flat_map(|s| ports(s, PublishMode::Ingress)) {
        publish(home, pool, port, PortTo::Address { address: gateway, port: port.published });
    }
}

/// What leaves a kept port's clients their addresses. Those of this node's own range, which stand for
/// its tasks and its localhost, are on other nodes too: these are rewritten as any.
pub fn kept_source(port: &PublishedPort, pool: &Pool) -> Option<BaseRule> {
    let kept = port.mode == PublishMode::Ingress && port.source == Source::Client;
    kept.then_some(BaseRule::KeepSource { port: port.published, range: pool.subnet.net() })
}

/// What comes to a node's own address at a port goes to its task, while that takes anything new.
fn lower_host_ports(intent: &Intent, service: &Service, task: &Task, pool: &Pool, node: &mut Node) {
    let Some(address) = task.egress.filter(|_| task.takes_new()) else { return };
    for port in ports(service, PublishMode::Host) {
        let home = super::egress::home(intent, pool, node);
        publish(home, pool, port, PortTo::Address { address, port: port.target });
    }
}

/// Sends what comes to a port of the node where `to` says.
fn publish(home: &mut Sandbox, pool: &Pool, port: &PublishedPort, to: PortTo) {
    let range = pool.subnet.net();
    let at = PortAt { address: port.address, transport: port.transport, port: port.published };
    let held = Publication { at, to };
    let table = home.table.get_or_insert_default();
    table.rules.extend([
        held.map().rule(),
        BaseRule::MasqueradeHairpin(range),
        BaseRule::MasqueradeLocalhost(range),
        BaseRule::GuardLocalhost,
    ]);
    table.publications.insert(held);
    home.sysctls.insert(Sysctl::RouteLocalnet, 1);
}

/// In a task's sandbox, what the mesh sends to a published port goes to the port that the task
/// listens on.
fn redirect(intent: &Intent, service: &Service, task: &Task, node: &mut Node) {
    let mut endpoints = task.endpoints.iter().enumerate();
    let mesh = endpoints.find(|(_, endpoint)| intent.is_mesh(&endpoint.network));
    let Some((number, endpoint)) = mesh else { return };
    let sandbox = super::sandbox(intent, node, SandboxName::from(&task.name));
    let table = sandbox.table.get_or_insert_default();
    for port in ports(service, PublishMode::Ingress) {
        let (address, transport) = (endpoint.address, port.transport);
        let at = PortAt { address: Some(address), transport, port: port.published };
        let held = Publication { at, to: PortTo::Address { address, port: port.target } };
        table.rules.insert(held.map().rule());
        table.publications.insert(held);
    }
    if service.ports.iter().any(|port| port.source == Source::Client) {
        let nodes = intent.ingress_on(&endpoint.network).map(|(_, at)| at.address).collect();
        Return { link: link(number), own: endpoint.address, nodes }.stand_in(sandbox);
    }
}

/// How a task answers clients whose addresses it sees: by the node that they came by. What comes has
/// that node's mark, an accepted connection keeps it, and it is routed by a table of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Return {
    /// The task's link to the mesh's network, and its address there.
    pub link: LinkName,
    pub own: Ipv4Addr,
    /// The addresses of the nodes' ingress sandboxes.
    pub nodes: Vec<Ipv4Addr>,
}

impl Return {
    fn stand_in(&self, sandbox: &mut Sandbox) {
        sandbox.sysctls.extend(Sysctl::OF_MARKS.map(|sysctl| (sysctl, 1)));
        let table = sandbox.table.get_or_insert_default();
        table.rules.insert(BaseRule::MarkEntry(self.own));
        for path in self.paths() {
            sandbox.turns.extend(path.mark);
            sandbox.paths.insert(path);
        }
    }

    /// The routes back, one by each node.
    pub fn paths(&self) -> impl Iterator<Item = Path> {
        self.nodes.iter().map(|node| Path {
            to: Ipv4Net::default(),
            link: self.link.clone(),
            via: Some(*node),
            source: self.own,
            mark: Some(Mac::of(*node).mark()),
        })
    }
}

fn link(number: usize) -> LinkName {
    LinkName(format!("{ENDPOINT}{number}"))
}
