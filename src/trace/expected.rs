//! What a VIP should be, against which what a node holds is judged: by the intent, or, for a recorded
//! node that came without one, by what its sandboxes agree on.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;

use super::mesh::Mesh;
use crate::intent::{
    DataPlane, Endpoint, Fwmark, Intent, NetworkName, NodeName, PublishMode, Service, Source, Vip,
};
use crate::lower::attachment;
use crate::lower::dns::{self, Knowledge};
use crate::lower::ingress::kept_source;
use crate::node::object::ENDPOINT;
use crate::node::virtual_server;
use crate::node::{LinkKind, Node, Owner, Sandbox, SandboxName, VirtualServerKey};

/// A VIP as it should be on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// The service, or what a recorded node suggests.
    pub service: String,
    pub network: String,
    pub address: Ipv4Addr,
    pub fwmark: Fwmark,
    /// Marks that it had before, which old connections hold.
    pub retired: Vec<Fwmark>,
    pub plane: DataPlane,
    /// As IPVS names it; None where any is right.
    pub scheduler: Option<String>,
    /// Who may use it on this node, with each one's own address and what the service's name should
    /// resolve to there.
    pub clients: Vec<Client>,
    pub tasks: Vec<Member>,
    /// Of the VIP of the routing mesh: the node's end of that.
    pub mesh: Option<Mesh>,
}

/// A sandbox on the VIP's network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    pub sandbox: SandboxName,
    pub own: Ipv4Addr,
    pub resolved: BTreeSet<IpAddr>,
    /// What balances there, and under which mark: a namespace of others is not as the node's tasks.
    pub plane: DataPlane,
    pub fwmark: Fwmark,
}

/// A task behind a VIP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub task: String,
    pub node: String,
    pub address: Ipv4Addr,
    /// Whether it gets no new connections any more.
    pub leaving: bool,
    /// Where it can be looked at.
    pub sandbox: Option<SandboxName>,
    /// The address of the other node that it is on.
    pub vtep: Option<Ipv4Addr>,
    /// How that node says it is; of this node's, what its checks say, unless it is healthy.
    pub told: Option<String>,
}

/// Every VIP that `wanted` picks, as the intent has it.
pub fn of_intent(
    intent: &Intent,
    node: &NodeName,
    wanted: impl Fn(&Service, &Vip) -> bool,
) -> Vec<Expected> {
    let mut expected = Vec::new();
    let zones = dns::zones(intent, node);
    for service in intent.services.values() {
        for (network, vip) in service.vips.iter().filter(|(_, vip)| wanted(service, vip)) {
            expected.push(one_of_intent(intent, node, &zones, service, network, vip));
        }
        let ingress = service.ingress.as_ref().filter(|vip| wanted(service, vip));
        expected.extend(ingress.and_then(|vip| of_mesh(intent, node, &zones, service, vip)));
    }
    expected
}

/// A service's VIP in the mesh: only the ingress sandbox uses it.
fn of_mesh(
    intent: &Intent,
    node: &NodeName,
    zones: &BTreeMap<SandboxName, Knowledge>,
    service: &Service,
    vip: &Vip,
) -> Option<Expected> {
    let network = &intent.mesh()?.name;
    let record = intent.nodes.get(node)?;
    let ingress = record.ingress.as_ref()?;
    let kept = |port| kept_source(port, record.gateway()?);
    let keeps = service.ports.iter().any(|port| port.source == Source::Client);
    let nodes = keeps.then(|| intent.ingress_on(network).map(|(_, at)| at.address).collect());
    let ports = service.ports.iter().filter(|port| port.mode == PublishMode::Ingress);
    let mesh = Mesh {
        home: SandboxName::of_node(&intent.cluster.id),
        sandbox: SandboxName::ingress(),
        own: ingress.endpoint.address,
        gateway: ingress.gateway,
        ports: ports.copied().collect(),
        kept: service.ports.iter().filter_map(kept).collect(),
        nodes: nodes.unwrap_or_default(),
    };
    let expected = one_of_intent(intent, node, zones, service, network, vip);
    let client = Client {
        sandbox: mesh.sandbox.clone(),
        own: mesh.own,
        resolved: BTreeSet::new(),
        plane: expected.plane,
        fwmark: vip.fwmark,
    };
    Some(Expected { clients: vec![client], mesh: Some(mesh), ..expected })
}

fn one_of_intent(
    intent: &Intent,
    node: &NodeName,
    zones: &BTreeMap<SandboxName, Knowledge>,
    service: &Service,
    network: &NetworkName,
    vip: &Vip,
) -> Expected {
    let record = intent.nodes.get(node);
    let plane = record.map_or(DataPlane::Nftables, |record| service.data_plane.on(record));
    let client = |sandbox: SandboxName, endpoint: &Endpoint, plane, fwmark| {
        let known = zones.get(&sandbox).and_then(|known| known.zone.named(service.name.as_str()));
        let resolved = known.iter().flat_map(|named| &named.v4).copied().map(IpAddr::V4).collect();
        Client { sandbox, own: endpoint.address, resolved, plane, fwmark }
    };
    let tasks = intent.tasks_on(network).filter(|(task, _)| task.node == *node);
    let tasks = tasks
        .map(|(task, endpoint)| client(SandboxName::from(&task.name), endpoint, plane, vip.fwmark));
    let guests = intent.attached_to(network).filter(|held| held.node == *node).map(|held| {
        let sandbox = SandboxName::of_attached(&intent.cluster.id, &held.namespace);
        client(sandbox, &held.endpoint, DataPlane::Nftables, attachment::mark(vip.address))
    });
    let clients = tasks.chain(guests).collect();
    let tasks = intent.tasks_of(&service.name).filter_map(|task| {
        Some(Member {
            task: task.name.to_string(),
            node: task.node.to_string(),
            address: task.endpoint(network)?.address,
            leaving: !task.takes_new(),
            sandbox: (task.node == *node).then(|| SandboxName::from(&task.name)),
            vtep: match task.node == *node {
                true => None,
                false => intent.nodes.get(&task.node).and_then(|record| record.address),
            },
            told: None,
        })
    });
    Expected {
        service: service.name.to_string(),
        network: network.to_string(),
        address: vip.address,
        fwmark: vip.fwmark,
        retired: vip.retired.iter().map(|retired| retired.fwmark).collect(),
        plane,
        scheduler: (plane == DataPlane::Ipvs).then(|| picking(service)),
        clients,
        tasks: tasks.collect(),
        mesh: None,
    }
}

/// How IPVS shall pick for a service, as a virtual server says it.
pub fn picking(service: &Service) -> String {
    let asked = &service.balancing;
    let affinity = asked
        .affinity
        .map_or((0, 0), |affinity| (affinity.seconds.get(), affinity.netmask.bits_if_any()));
    let bounds = asked
        .thresholds
        .map_or((0, 0), |bounds| (bounds.most.get(), bounds.least.map_or(0, NonZeroU32::get)));
    virtual_server::picking(service.scheduler.name(), asked.flag_bits(), affinity, bounds)
}

/// Every VIP that some sandbox of a node knows of. What most sandboxes hold is taken for right: a
/// sandbox that was recorded alone is judged by itself.
pub fn of_node(node: &Node) -> Vec<Expected> {
    let holders = BTreeMap::from_iter(node.sandboxes.iter().flat_map(|(name, sandbox)| {
        sandbox.addresses.iter().map(move |held| (held.net.addr(), name))
    }));
    let vips: BTreeSet<Ipv4Addr> = node.sandboxes.values().flat_map(vips_of).collect();
    vips.into_iter().map(|vip| one_of_node(node, vip, &holders)).collect()
}

fn vips_of(sandbox: &Sandbox) -> BTreeSet<Ipv4Addr> {
    let mut vips: BTreeSet<Ipv4Addr> = sandbox.routes.iter().map(|route| route.address).collect();
    if let Some(table) = &sandbox.table {
        vips.extend(table.guards.iter().chain(table.marks.keys()));
    }
    vips
}

fn one_of_node(node: &Node, vip: Ipv4Addr, holders: &BTreeMap<Ipv4Addr, &SandboxName>) -> Expected {
    let sandboxes = tried(node, vip);
    let marks = sandboxes.iter().filter_map(|sandbox| sandbox.table.as_ref()?.marks.get(&vip));
    let fwmark = most(marks.copied()).unwrap_or(Fwmark(0));
    let dispatched = |sandbox: &&Sandbox| {
        sandbox.table.as_ref().is_some_and(|table| table.dispatches.contains_key(&fwmark))
    };
    let plane = match sandboxes.iter().any(dispatched) {
        true => DataPlane::Nftables,
        false => DataPlane::Ipvs,
    };
    let held: Vec<BTreeSet<Ipv4Addr>> =
        sandboxes.iter().filter_map(|sandbox| targets(sandbox, fwmark, plane)).collect();
    let key = VirtualServerKey::Fwmark(fwmark);
    let schedulers = sandboxes.iter().filter_map(|s| Some(s.virtual_servers.get(&key)?.picking()));
    let tasks: Vec<Member> = most(held.into_iter())
        .unwrap_or_default()
        .into_iter()
        .map(|address| {
            let sandbox = holders.get(&address).map(|name| (*name).clone());
            let task = sandbox.as_ref().map_or_else(|| address.to_string(), ToString::to_string);
            Member {
                task,
                node: "-".into(),
                address,
                leaving: false,
                sandbox,
                vtep: None,
                told: None,
            }
        })
        .collect();
    let clients = clients_of_node(node, vip, plane, fwmark);
    Expected {
        service: service_of(&tasks),
        network: clients.iter().find_map(|(_, network)| network.clone()).unwrap_or("-".into()),
        address: vip,
        fwmark,
        retired: Vec::new(),
        plane,
        scheduler: most(schedulers).filter(|_| plane == DataPlane::Ipvs),
        clients: clients.into_iter().map(|(client, _)| client).collect(),
        tasks,
        mesh: None,
    }
}

/// The sandboxes that tell how a VIP is balanced: namespaces of others do it in their own way, and
/// are asked where nobody else was recorded that knows of it.
fn tried(node: &Node, vip: Ipv4Addr) -> Vec<&Sandbox> {
    let is_guest = |sandbox: &&&Sandbox| matches!(sandbox.owner, Owner::Guest(_));
    let (guests, own): (Vec<&Sandbox>, Vec<&Sandbox>) =
        node.sandboxes.values().partition(|sandbox| is_guest(&sandbox));
    match own.iter().any(|sandbox| vips_of(sandbox).contains(&vip)) {
        true => own,
        false => guests,
    }
}

/// The sandboxes whose endpoint is in the VIP's range, with the network's name where it is known: that
/// of the sandbox where the endpoint's other end is.
fn clients_of_node(
    node: &Node,
    vip: Ipv4Addr,
    plane: DataPlane,
    fwmark: Fwmark,
) -> Vec<(Client, Option<String>)> {
    let mut clients = Vec::new();
    for (name, sandbox) in &node.sandboxes {
        let own = sandbox
            .addresses
            .iter()
            .find(|held| held.link.as_str().starts_with(ENDPOINT) && held.net.contains(&vip));
        let Some(own) = own else { continue };
        let network = sandbox.links.get(&own.link).and_then(|link| match &link.kind {
            LinkKind::Veth { peer: Some(peer) } => Some(peer.sandbox.to_string()),
            _ => None,
        });
        let (plane, fwmark) = match sandbox.owner {
            Owner::Guest(_) => (DataPlane::Nftables, attachment::mark(vip)),
            Owner::Cluster(_) | Owner::Foreign => (plane, fwmark),
        };
        let (sandbox, own, resolved) = (name.clone(), own.net.addr(), BTreeSet::new());
        let client = Client { sandbox, own, resolved, plane, fwmark };
        clients.push((client, network));
    }
    clients
}

/// The targets that a sandbox holds for a mark; None where it balances no such mark.
fn targets(sandbox: &Sandbox, fwmark: Fwmark, plane: DataPlane) -> Option<BTreeSet<Ipv4Addr>> {
    match plane {
        DataPlane::Nftables => {
            let dispatch = sandbox.table.as_ref()?.dispatches.get(&fwmark)?;
            Some(dispatch.targets.iter().copied().collect())
        }
        DataPlane::Ipvs => {
            let server = sandbox.virtual_servers.get(&VirtualServerKey::Fwmark(fwmark))?;
            let v4 = |address| match address {
                IpAddr::V4(address) => Some(address),
                IpAddr::V6(_) => None,
            };
            Some(server.real_servers.keys().filter_map(|key| v4(key.address)).collect())
        }
    }
}

/// A task is called after its service.
fn service_of(tasks: &[Member]) -> String {
    let of = |task: &Member| {
        let (service, _) = task.sandbox.as_ref()?.as_str().rsplit_once('.')?;
        Some(service.to_owned())
    };
    most(tasks.iter().filter_map(of)).unwrap_or_else(|| "-".into())
}

/// What comes most often; of those that come as often, the last by order.
fn most<T: Ord>(values: impl Iterator<Item = T>) -> Option<T> {
    let mut counts = BTreeMap::<T, usize>::new();
    values.for_each(|value| *counts.entry(value).or_default() += 1);
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(value, _)| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::tests::story;
    use crate::lower::lower;

    fn node_1() -> NodeName {
        "node-1".parse().unwrap()
    }

    fn node() -> Node {
        lower(&story(), &node_1())
    }

    #[test]
    fn a_whole_node_suggests_what_its_intent_says() {
        let (mut said, mut suggested) =
            (of_intent(&story(), &node_1(), |_, _| true), of_node(&node()));
        for expected in said.iter_mut().chain(&mut suggested) {
            expected.tasks.iter_mut().for_each(|task| task.node.clear());
            expected.clients.iter_mut().for_each(|client| client.resolved.clear());
        }
        said.sort_by_key(|expected| expected.address);
        assert_eq!(said, suggested);
    }

    #[test]
    fn one_sandbox_alone_suggests_its_vips_and_the_addresses_behind_them() {
        let name = SandboxName("collabweb.2".into());
        let mut node = node();
        node.sandboxes.retain(|held, _| *held == name);
        let suggested = of_node(&node);
        let web = &suggested[0];
        assert_eq!((web.service.as_str(), web.network.as_str()), ("collabweb", "collabnet"));
        let tasks: Vec<&str> = web.tasks.iter().map(|task| task.task.as_str()).collect();
        assert_eq!(tasks, ["10.0.3.3", "collabweb.2", "10.0.3.5"]);
        assert_eq!(web.clients.len(), 1);
    }

    #[test]
    fn a_sandbox_that_differs_is_outvoted() {
        let mut node = node();
        let sandbox = node.sandboxes.get_mut(&SandboxName("collabweb.1".into())).unwrap();
        let table = sandbox.table.as_mut().unwrap();
        table.marks.values_mut().for_each(|mark| *mark = Fwmark(0x1ff));
        sandbox.virtual_servers.values_mut().for_each(|server| server.real_servers.clear());
        let mut whole = of_node(&self::node());
        assert_eq!(of_node(&node), std::mem::take(&mut whole));
    }
}
