//! Random intents: what some sequence of an operator's edits leads to. Edits that the intent refuses
//! are part of it, and must change nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::num::NonZeroU32;
use std::time::Duration;

use proptest::prelude::*;
use swarmlb::intent::{
    Alias, AttachmentSpec, ClusterId, DataPlaneChoice, Definition, EndpointMode, Image, Intent,
    IntentError, Machine, Mode, Namespace, NetworkName, NetworkSpec, NodeName, NodeRecord, Order,
    Placement, PortSpec, ServiceName, ServiceSpec, Span,
};
use swarmlb::orchestrate::updating::{Memory, Word};

pub const CLUSTER: &str = "c1";
const NETWORKS: [&str; 3] = ["blue", "green", "red"];
/// Fewer than networks, so that one network takes the range of another that went. The /29 is soon full.
const SUBNETS: [&str; 3] = ["10.0.3.0/24", "10.0.4.0/24", "10.0.9.0/29"];
/// Second subnets, for networks that were given a first.
const MORE: [&str; 2] = ["10.0.20.0/29", "10.0.21.0/24"];
const ALIASES: [&str; 2] = ["store", "api"];
const SERVICES: [&str; 4] = ["web", "api", "db", "box"];
/// What services publish: one of each kind, and two that want the same.
const PORTS: [&str; 6] = [
    "8080:80",
    "53/udp",
    "192.0.2.1:9:9/sctp",
    "published=8082,target=80,source=client",
    "published=8081,target=80,mode=host",
    "published=8080,target=81,mode=host",
];
const NODES: [&str; 3] = ["node-1", "node-2", "node-3"];
const CONSTRAINTS: [&str; 3] =
    ["node.label.disk==ssd", "node.label.disk!=ssd", "node.name!=node-2"];

#[derive(Debug, Clone)]
pub enum Edit {
    CreateNetwork {
        name: usize,
        subnet: Option<usize>,
        more: Option<usize>,
        mtu: Option<u32>,
        internal: bool,
    },
    RemoveNetwork(usize),
    Connect {
        network: usize,
        namespace: usize,
    },
    Disconnect {
        network: usize,
        namespace: usize,
    },
    /// The nodes have taken back what was disconnected.
    ForgetLeft,
    CreateService(Create),
    RemoveService(usize),
    Scale {
        name: usize,
        replicas: u32,
        drained: bool,
    },
    Update {
        name: usize,
        change: Change,
    },
    Rollback(usize),
    /// Every task is up, and the updates go one step further.
    Advance,
    Weigh {
        name: usize,
        weight: u32,
    },
    /// What is leaving has left, and no connection holds an old mark.
    Settle,
    /// Something befalls a node.
    Node(usize, Fate),
}

/// What becomes different about a service.
#[derive(Debug, Clone)]
pub enum Change {
    Image,
    Forced,
    Order(Order),
    Networks(Vec<usize>),
    Ports(Vec<usize>),
    Replicas(u32),
    Constraint(usize),
    SlowStart(u64),
    EndpointMode(EndpointMode),
}

#[derive(Debug, Clone)]
pub enum Fate {
    Drained,
    Activated,
    Down,
    Up,
    Labelled,
    Unlabelled,
    Dismissed,
    /// It comes, unless it is there.
    Come,
}

#[derive(Debug, Clone)]
pub struct Create {
    name: usize,
    networks: Vec<usize>,
    replicas: u32,
    endpoint_mode: EndpointMode,
    data_plane: DataPlaneChoice,
    command: Option<String>,
    /// Published ports, by their place.
    ports: Vec<usize>,
    mode: Mode,
    constraint: Option<usize>,
    max_per_node: u32,
}

/// Which nodes a cluster has, and what each kernel can.
#[derive(Debug, Clone)]
pub struct Cluster {
    pub ipvs: Vec<bool>,
    /// Whether tasks reach the outside.
    pub egress: bool,
}

pub fn cluster() -> impl Strategy<Value = Cluster> {
    // Mostly with IPVS: it is the plane with more to it.
    let ipvs = prop::collection::vec(prop::bool::weighted(0.7), 1..=NODES.len());
    (ipvs, prop::bool::weighted(0.7)).prop_map(|(ipvs, egress)| Cluster { ipvs, egress })
}

pub fn edits(count: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = Vec<Edit>> {
    prop::collection::vec(edit(), count)
}

fn edit() -> impl Strategy<Value = Edit> {
    let network = 0..NETWORKS.len();
    let service = 0..SERVICES.len();
    let service_name = service.clone();
    prop_oneof![
        3 => create_network(),
        1 => (0..=NETWORKS.len()).prop_map(Edit::RemoveNetwork),
        5 => create_service().prop_map(Edit::CreateService),
        1 => service.clone().prop_map(Edit::RemoveService),
        3 => (service, 0..6u32, prop::bool::ANY)
            .prop_map(|(name, replicas, drained)| Edit::Scale { name, replicas, drained }),
        3 => (service_name.clone(), change())
            .prop_map(|(name, change)| Edit::Update { name, change }),
        1 => service_name.clone().prop_map(Edit::Rollback),
        4 => Just(Edit::Advance),
        1 => (service_name, 0..4u32).prop_map(|(name, weight)| Edit::Weigh { name, weight }),
        2 => Just(Edit::Settle),
        2 => (network.clone(), 0..3usize)
            .prop_map(|(network, namespace)| Edit::Connect { network, namespace }),
        1 => (network, 0..3usize)
            .prop_map(|(network, namespace)| Edit::Disconnect { network, namespace }),
        1 => Just(Edit::ForgetLeft),
        6 => (0..NODES.len(), fate()).prop_map(|(node, fate)| Edit::Node(node, fate)),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let networks = prop::sample::subsequence(vec![0, 1, 2], 0..=2);
    let ports = prop::sample::subsequence((0..PORTS.len()).collect::<Vec<_>>(), 0..=2);
    prop_oneof![
        3 => Just(Change::Image),
        2 => Just(Change::Forced),
        2 => prop_oneof![Just(Order::StopFirst), Just(Order::StartFirst)].prop_map(Change::Order),
        1 => networks.prop_map(Change::Networks),
        1 => ports.prop_map(Change::Ports),
        1 => (0..5u32).prop_map(Change::Replicas),
        1 => (0..CONSTRAINTS.len()).prop_map(Change::Constraint),
        1 => (0..3u64).prop_map(Change::SlowStart),
        1 => prop_oneof![Just(EndpointMode::Vip), Just(EndpointMode::Dnsrr)]
            .prop_map(Change::EndpointMode),
    ]
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        2 => Just(Fate::Drained),
        2 => Just(Fate::Activated),
        2 => Just(Fate::Down),
        2 => Just(Fate::Up),
        1 => Just(Fate::Labelled),
        1 => Just(Fate::Unlabelled),
        1 => Just(Fate::Dismissed),
        2 => Just(Fate::Come),
    ]
}

pub fn create_network() -> impl Strategy<Value = Edit> {
    let subnet = prop::option::weighted(0.8, 0..SUBNETS.len());
    let mtu = prop::option::of(prop_oneof![Just(1400), Just(8950)]);
    let more = prop::option::weighted(0.4, 0..MORE.len());
    let internal = prop::bool::weighted(0.3);
    (0..NETWORKS.len(), subnet, more, mtu, internal).prop_map(
        |(name, subnet, more, mtu, internal)| {
            let more = subnet.and(more);
            Edit::CreateNetwork { name, subnet, more, mtu, internal }
        },
    )
}

fn create_service() -> impl Strategy<Value = Create> {
    let networks = prop::sample::subsequence(vec![0, 1, 2], 1..=2);
    let mode = prop_oneof![4 => Just(EndpointMode::Vip), 1 => Just(EndpointMode::Dnsrr)];
    let plane = prop_oneof![
        4 => Just(DataPlaneChoice::Auto),
        1 => Just(DataPlaneChoice::Ipvs),
        2 => Just(DataPlaneChoice::Nftables),
    ];
    let command = prop::option::weighted(0.2, "[ -~\n\t\u{1b}é']{1,12}");
    let global = prop_oneof![3 => Just(Mode::Replicated), 1 => Just(Mode::Global)];
    let constraint = prop::option::weighted(0.3, 0..CONSTRAINTS.len());
    let most = prop_oneof![4 => Just(0), 1 => 1..3u32];
    let placement = (global, constraint, most);
    let ports = prop::sample::subsequence((0..PORTS.len()).collect::<Vec<_>>(), 0..=2);
    let ports = prop_oneof![1 => Just(Vec::new()), 1 => ports];
    (0..SERVICES.len(), networks, 0..5u32, mode, plane, command, placement, ports).prop_map(
        |(name, networks, replicas, endpoint_mode, data_plane, command, placement, ports)| {
            let (mode, constraint, max_per_node) = placement;
            Create {
                name,
                networks,
                replicas,
                endpoint_mode,
                data_plane,
                command,
                ports,
                mode,
                constraint,
                max_per_node,
            }
        },
    )
}

impl Cluster {
    pub fn names(&self) -> Vec<NodeName> {
        NODES.iter().take(self.ipvs.len()).map(|name| node(name)).collect()
    }

    /// An intent without networks.
    pub fn empty(&self) -> Intent {
        let mut intent = Intent::new(ClusterId(CLUSTER.into()));
        for (number, (name, ipvs)) in self.names().into_iter().zip(&self.ipvs).enumerate() {
            let mut record = NodeRecord::new(name.clone(), *ipvs);
            if self.ipvs.len() > 1 {
                record.address = Some(Ipv4Addr::new(192, 0, 2, 1 + number as u8));
            }
            intent.nodes.insert(name.clone(), record);
            if self.egress {
                intent.settle_egress(&name, Ok(&Machine::default()));
            }
        }
        intent
    }

    pub fn after(&self, edits: &[Edit]) -> Intent {
        let mut intent = self.empty();
        apply(&mut intent, edits);
        intent
    }
}

/// Does the edits that can be done.
pub fn apply(intent: &mut Intent, edits: &[Edit]) {
    for edit in edits {
        let before = intent.clone();
        if let Err(refused) = apply_one(intent, edit) {
            assert_eq!(*intent, before, "{edit:?} was refused ({refused}) and left a trace");
        }
    }
}

fn apply_one(intent: &mut Intent, edit: &Edit) -> Result<(), IntentError> {
    match edit {
        Edit::CreateNetwork { name, subnet, more, mtu, internal } => {
            let texts = subnet.iter().map(|at| SUBNETS[*at]).chain(more.iter().map(|at| MORE[*at]));
            let spec = NetworkSpec {
                subnets: texts.map(|text| text.parse().expect("a subnet")).collect(),
                mtu: *mtu,
                internal: *internal,
                attachable: true,
                ..NetworkSpec::new(network(*name))
            };
            intent.create_network(spec, format!("id-{name}"), &Machine::default())
        }
        // Beyond the networks that are made by name stands the mesh's.
        Edit::RemoveNetwork(name) if *name == NETWORKS.len() => {
            intent.remove_network(&NetworkName::ingress())
        }
        Edit::RemoveNetwork(name) => intent.remove_network(&network(*name)),
        Edit::CreateService(create) => {
            let id = format!("id-{}-{}", create.name, intent.cluster.tasks_made);
            let mut edited = intent.clone();
            if edited.mesh().is_none() && !create.ports.is_empty() {
                edited.create_ingress("id-ingress".into(), &Machine::default())?;
            }
            let ports: Vec<PortSpec> =
                create.ports.iter().map(|at| PORTS[*at].parse().expect("a port")).collect();
            let ports = edited.choose_ports(&ports, &[])?;
            edited.create_service(ServiceSpec { ports, ..create.spec() }, id, 0)?;
            *intent = edited;
            Ok(())
        }
        Edit::Connect { network: on, namespace } => {
            // A namespace is on one node, for good.
            let node = node(NODES[*namespace % NODES.len()]);
            if !intent.nodes.contains_key(&node) {
                return Ok(());
            }
            let (identity, target) = (7 + *namespace as u64, format!("legacy-{namespace}"));
            let path = format!("/run/netns/{target}");
            intent.connect(AttachmentSpec {
                network: network(*on),
                node,
                namespace: Namespace { target, path, identity },
                link: format!("eth{on}"),
                address: None,
                aliases: [ALIASES[*namespace % ALIASES.len()].parse().expect("an alias")].into(),
            })
        }
        Edit::Disconnect { network: on, namespace } => {
            intent.disconnect(&network(*on), &format!("legacy-{namespace}"), None)
        }
        Edit::ForgetLeft => {
            for node in intent.nodes.keys().cloned().collect::<Vec<_>>() {
                intent.forget_left(&node);
            }
            intent.settle();
            Ok(())
        }
        Edit::RemoveService(name) => intent.remove_service(&service(*name)),
        Edit::Scale { name, replicas, drained: false } => {
            intent.scale_service(&service(*name), *replicas)
        }
        Edit::Scale { name, replicas, drained: true } => {
            intent.drain_service(&service(*name), *replicas, 0)
        }
        Edit::Update { name, change } => update(intent, &service(*name), change),
        Edit::Rollback(name) => intent.rollback_service(&service(*name), 0),
        Edit::Advance => {
            advance(intent);
            Ok(())
        }
        Edit::Weigh { name, weight } => {
            let name = service(*name);
            let first = intent.tasks_of(&name).next().map(|task| task.name.clone());
            first.map_or(Ok(()), |task| intent.weigh_task(&task, *weight))
        }
        Edit::Settle => {
            let left = intent.leaving().map(|(task, _)| (task.name.clone(), task.id.clone()));
            let left: Vec<_> = left.collect();
            intent.finish_leaving(&left);
            intent.forget_retired(&intent.retired_marks());
            Ok(())
        }
        Edit::Node(at, fate) => befall(intent, &node(NODES[*at]), fate),
    }
}

fn update(intent: &mut Intent, name: &ServiceName, change: &Change) -> Result<(), IntentError> {
    let mut edited = intent.clone();
    let mut changed = edited.service(name)?.clone();
    match change {
        Change::Image => {
            changed.definition = Definition::new(match changed.definition.image {
                Image::Whoami => Image::Echo,
                _ => Image::Whoami,
            });
        }
        Change::Forced => changed.forced += 1,
        Change::Order(order) => {
            changed.update_config.order = *order;
            changed.rollback_config.order = *order;
        }
        Change::Networks(networks) => {
            changed.networks = networks.iter().map(|at| network(*at)).collect();
        }
        Change::Ports(ports) => {
            if edited.mesh().is_none() && !ports.is_empty() {
                edited.create_ingress("id-ingress".into(), &Machine::default())?;
            }
            let ports: Vec<PortSpec> =
                ports.iter().map(|at| PORTS[*at].parse().expect("a port")).collect();
            let mut others = edited.clone();
            if let Some(held) = others.services.get_mut(name) {
                held.ports.clear();
            }
            changed.ports = others.choose_ports(&ports, &[])?;
        }
        Change::Replicas(replicas) => changed.replicas = *replicas,
        Change::Constraint(at) => {
            changed.placement.constraints = vec![CONSTRAINTS[*at].parse().expect("a constraint")];
        }
        Change::SlowStart(seconds) => changed.slow_start = Span::from_secs(*seconds),
        Change::EndpointMode(mode) => changed.endpoint_mode = *mode,
    }
    edited.update_service(changed, 0)?;
    *intent = edited;
    Ok(())
}

/// What the leader would do if every task were up for long.
fn advance(intent: &mut Intent) {
    let names: Vec<ServiceName> = intent.services.keys().cloned().collect();
    for name in names {
        let up = intent.tasks.values().map(|task| task.id.clone()).collect();
        let word = Word { up, ..Word::default() };
        let mut memory = Memory::default();
        memory.look(intent, &name, &word, Duration::ZERO);
        let look = memory.look(intent, &name, &word, Duration::from_secs(3600));
        if !look.step.is_empty() {
            intent.advance_update(&name, &look.step, 0);
        }
    }
}

fn befall(intent: &mut Intent, name: &NodeName, fate: &Fate) -> Result<(), IntentError> {
    let label = ("disk".to_owned(), "ssd".to_owned());
    match fate {
        Fate::Drained => intent.drain_node(name, 0),
        Fate::Activated => intent.activate_node(name, 0),
        Fate::Labelled => intent.label_node(name, [label].into(), &BTreeSet::new(), 0),
        Fate::Unlabelled => intent.label_node(name, BTreeMap::new(), &[label.0].into(), 0),
        Fate::Dismissed => intent.dismiss_node(name, 0),
        Fate::Down => {
            intent.node_is_down(name, 0);
            Ok(())
        }
        Fate::Up => {
            intent.node_is_up(name, 0);
            Ok(())
        }
        Fate::Come => {
            let record = NodeRecord::new(name.clone(), false);
            intent.nodes.entry(name.clone()).or_insert(record);
            intent.settle();
            Ok(())
        }
    }
}

impl Create {
    fn aliases(&self) -> BTreeMap<NetworkName, BTreeSet<Alias>> {
        let alias = |at: &usize| {
            let alias = ALIASES[*at % ALIASES.len()].parse().expect("an alias");
            (network(*at), [alias].into())
        };
        self.networks.iter().map(alias).collect()
    }

    fn spec(&self) -> ServiceSpec {
        ServiceSpec {
            name: service(self.name),
            definition: Definition {
                command: self.command.iter().flat_map(|word| ["sh".into(), word.clone()]).collect(),
                ..Definition::new(if self.command.is_some() { Image::Host } else { Image::Whoami })
            },
            replicas: self.replicas,
            networks: self.networks.iter().map(|at| network(*at)).collect(),
            aliases: self.aliases(),
            endpoint_mode: self.endpoint_mode,
            data_plane: self.data_plane,
            mode: self.mode,
            placement: Placement {
                constraints: self
                    .constraint
                    .iter()
                    .map(|at| CONSTRAINTS[*at].parse().expect("a constraint"))
                    .collect(),
                max_per_node: NonZeroU32::new(self.max_per_node),
            },
            ..ServiceSpec::new(service(self.name), network(self.networks[0]))
        }
    }
}

pub fn network_spec(name: &str, subnet: &str) -> NetworkSpec {
    let spec = NetworkSpec::new(name.parse().expect("a network's name"));
    NetworkSpec { subnets: vec![subnet.parse().expect("a subnet")], ..spec }
}

fn network(at: usize) -> NetworkName {
    NETWORKS[at].parse().expect("a network's name")
}

fn service(at: usize) -> ServiceName {
    SERVICES[at].parse().expect("a service's name")
}

fn node(name: &str) -> NodeName {
    name.parse().expect("a node's name")
}
