//! Services, and the edits that make, scale and remove them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::leaving::Departure;
use super::update::FIRST_VERSION;
use super::{
    Alias, Balancing, Constraint, DataPlaneChoice, Definition, Fwmark, Id, Image, Intent,
    IntentError, NetworkName, NodeRecord, Order, Pending, PublishMode, PublishedPort, Scheduler,
    ServiceName, Span, Template, Update, UpdateConfig, Upkeep,
};

/// Most tasks that one service may have. Every sandbox of a network holds a real server for each
/// task, so the kernel's work grows with the square of this.
pub const MOST_REPLICAS: u32 = 1000;

/// How long clients may keep DNS answers about a service that does not say, in seconds. Docker says
/// 600, and its users' clients keep dead tasks that long.
pub const DNS_TTL: u32 = 2;

/// Longest time that a service may let clients keep DNS answers about it, in seconds: an hour, which
/// is as long as clients may go to tasks that are gone.
pub const LONGEST_DNS_TTL: u32 = 3600;

/// How clients find the tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndpointMode {
    /// One virtual address, balanced by the kernel.
    #[default]
    Vip,
    /// The addresses of all tasks, rotated by DNS.
    Dnsrr,
}

impl fmt::Display for EndpointMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            EndpointMode::Vip => "vip",
            EndpointMode::Dnsrr => "dnsrr",
        })
    }
}

/// How many tasks a service has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// As many as were asked for, on any nodes.
    #[default]
    Replicated,
    /// One on every node that may run it.
    Global,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Mode::Replicated => "replicated",
            Mode::Global => "global",
        })
    }
}

/// Which nodes its tasks may be on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Placement {
    /// All must be satisfied.
    pub constraints: Vec<Constraint>,
    /// How many of them one node may have; none for any number.
    pub max_per_node: Option<NonZeroU32>,
}

/// A service's address on one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vip {
    pub address: Ipv4Addr,
    pub fwmark: Fwmark,
    /// Marks that it had before: no packet gets them any more, but the connections that began under
    /// them live on in their virtual servers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retired: Vec<Retired>,
    /// Tasks that left when there was no room for another mark: their connections are under this one.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub lingering: BTreeSet<Ipv4Addr>,
}

/// A mark that gets no new connections, and the tasks' addresses that it may still have some to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retired {
    pub fwmark: Fwmark,
    pub targets: BTreeSet<Ipv4Addr>,
    /// How IPVS picks under it: its connections last, so that stays as it was.
    #[serde(default)]
    pub scheduler: Scheduler,
}

/// How long a task that leaves may still serve those who are connected to it, when nothing is said.
pub const DRAIN_TIMEOUT: Span = Span::from_secs(10);

/// A service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    pub id: Id,
    pub name: ServiceName,
    /// What its tasks are.
    #[serde(flatten)]
    pub definition: Definition,
    #[serde(default)]
    pub mode: Mode,
    /// How many tasks are wanted; of a global service, how many nodes may run it.
    pub replicas: u32,
    #[serde(default)]
    pub placement: Placement,
    /// The slots that wait for a place.
    #[serde(default)]
    pub pending: BTreeMap<u32, Pending>,
    pub networks: Vec<NetworkName>,
    /// Its other names, each on one network only. Services may share one.
    #[serde(default)]
    pub aliases: BTreeMap<NetworkName, BTreeSet<Alias>>,
    pub endpoint_mode: EndpointMode,
    /// By which IPVS picks under the marks that packets get now.
    pub scheduler: Scheduler,
    /// How its VIPs are balanced, as asked.
    #[serde(default)]
    pub balancing: Balancing,
    pub data_plane: DataPlaneChoice,
    pub vips: BTreeMap<NetworkName, Vip>,
    /// The ports at which it is reached from outside.
    #[serde(default)]
    pub ports: Vec<PublishedPort>,
    /// What stands for it in the routing mesh; none while it publishes nothing there.
    #[serde(default)]
    pub ingress: Option<Vip>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// How long a task that leaves may still serve those who are connected to it.
    #[serde(default = "default_drain_timeout")]
    pub drain_timeout: Span,
    /// How long clients may keep DNS answers about it, in seconds.
    #[serde(default = "dns_ttl")]
    pub dns_ttl: u32,
    /// What becomes of its tasks when they end or are unhealthy.
    #[serde(flatten)]
    pub upkeep: Upkeep,
    /// How long a task that begins takes to come to its share of new connections.
    #[serde(default = "no_time")]
    pub slow_start: Span,
    /// When it was created: seconds since 1970.
    pub created: u64,
    /// Which of the templates that it ever had is the one that it has.
    #[serde(default = "first_version")]
    pub version: u64,
    /// Those that some of its tasks are still made from, by their versions.
    #[serde(default)]
    pub older: BTreeMap<u64, Template>,
    /// How often it was asked for new tasks though nothing else changed.
    #[serde(default)]
    pub forced: u64,
    #[serde(default)]
    pub update_config: UpdateConfig,
    #[serde(default)]
    pub rollback_config: UpdateConfig,
    /// The last update, until something else is asked for.
    #[serde(default, rename = "update_status")]
    pub update: Option<Update>,
    /// What it was before it was changed last, to go back to.
    #[serde(default, rename = "previous_spec")]
    pub former: Option<Box<Service>>,
}

fn no_time() -> Span {
    Span::from_secs(0)
}

fn first_version() -> u64 {
    FIRST_VERSION
}

fn dns_ttl() -> u32 {
    DNS_TTL
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSpec {
    pub name: ServiceName,
    pub definition: Definition,
    pub mode: Mode,
    /// Of a replicated service; a global one follows the nodes.
    pub replicas: u32,
    pub placement: Placement,
    pub networks: Vec<NetworkName>,
    /// Names beside its own, by network.
    pub aliases: BTreeMap<NetworkName, BTreeSet<Alias>>,
    pub endpoint_mode: EndpointMode,
    pub balancing: Balancing,
    pub data_plane: DataPlaneChoice,
    /// Chosen already: see [`Intent::choose_ports`].
    pub ports: Vec<PublishedPort>,
    pub labels: BTreeMap<String, String>,
    pub drain_timeout: Span,
    /// Seconds.
    pub dns_ttl: u32,
    pub upkeep: Upkeep,
    pub slow_start: Span,
    pub update_config: UpdateConfig,
    pub rollback_config: UpdateConfig,
}

fn default_drain_timeout() -> Span {
    DRAIN_TIMEOUT
}

impl ServiceSpec {
    /// A service of one task with everything else as it is by default.
    pub fn new(name: ServiceName, network: NetworkName) -> Self {
        Self {
            name,
            definition: Definition::new(Image::Whoami),
            mode: Mode::default(),
            replicas: 1,
            placement: Placement::default(),
            networks: vec![network],
            aliases: BTreeMap::new(),
            endpoint_mode: EndpointMode::default(),
            balancing: Balancing::default(),
            data_plane: DataPlaneChoice::default(),
            ports: Vec::new(),
            labels: BTreeMap::new(),
            drain_timeout: DRAIN_TIMEOUT,
            dns_ttl: DNS_TTL,
            upkeep: Upkeep::default(),
            slow_start: no_time(),
            update_config: UpdateConfig::default(),
            rollback_config: UpdateConfig::default(),
        }
    }
}

impl Service {
    /// Refuses what no service could be in an intent; what it publishes is looked at elsewhere.
    pub(super) fn check(&self, intent: &Intent) -> Result<(), IntentError> {
        self.definition.check()?;
        let twice = |(i, name): (usize, &NetworkName)| self.networks[..i].contains(name);
        if let Some((_, name)) = self.networks.iter().enumerate().find(|entry| twice(*entry)) {
            return Err(IntentError::NetworkTwice { name: name.clone() });
        }
        if self.networks.is_empty() {
            return Err(IntentError::NoNetwork { name: self.name.clone() });
        }
        if self.dns_ttl > LONGEST_DNS_TTL {
            return Err(IntentError::DnsTtl { asked: self.dns_ttl, most: LONGEST_DNS_TTL });
        }
        check_replicas(self.replicas)?;
        self.check_orders()?;
        for network in &self.networks {
            intent.network(network)?;
            if intent.is_mesh(network) {
                return Err(IntentError::MeshOnly { name: network.clone() });
            }
        }
        intent.check_ipvs(self)?;
        self.check_balancing(intent)?;
        match self.mode {
            Mode::Replicated => intent.check_capacity(self),
            Mode::Global => Ok(()),
        }
    }

    /// Of two tasks at a time one could not answer at a port of their node.
    fn check_orders(&self) -> Result<(), IntentError> {
        let orders = [self.update_config.order, self.rollback_config.order];
        let port = self.ports.iter().find(|port| port.mode == PublishMode::Host);
        match port.filter(|_| orders.contains(&Order::StartFirst)) {
            Some(port) => Err(IntentError::StartFirstAtHostPort { port: *port }),
            None => Ok(()),
        }
    }
}

fn check_replicas(asked: u32) -> Result<(), IntentError> {
    if asked > MOST_REPLICAS {
        return Err(IntentError::TooManyReplicas { asked, most: MOST_REPLICAS });
    }
    Ok(())
}

impl Intent {
    /// Adds a service with its VIPs and tasks.
    ///
    /// # Errors
    /// When the name is taken, a network is missing or full, or no node can run it.
    pub fn create_service(
        &mut self,
        spec: ServiceSpec,
        id: Id,
        created: u64,
    ) -> Result<(), IntentError> {
        let mut edited = self.clone();
        edited.add_service(spec, id, created)?;
        *self = edited;
        Ok(())
    }

    fn add_service(&mut self, spec: ServiceSpec, id: Id, created: u64) -> Result<(), IntentError> {
        // DNS does not tell names apart by case.
        let taken = |name: &&ServiceName| name.as_str().eq_ignore_ascii_case(spec.name.as_str());
        if let Some(name) = self.services.keys().find(taken) {
            return Err(IntentError::ServiceExists { name: name.clone() });
        }
        let mut service = Service {
            id,
            name: spec.name,
            definition: spec.definition,
            mode: spec.mode,
            replicas: spec.replicas,
            placement: spec.placement,
            pending: BTreeMap::new(),
            networks: spec.networks,
            aliases: spec.aliases,
            endpoint_mode: spec.endpoint_mode,
            scheduler: match (spec.balancing.scheduler, spec.slow_start.millis()) {
                (Some(scheduler), _) => scheduler,
                (None, 0) => Scheduler::Rr,
                (None, _) => Scheduler::Wrr,
            },
            balancing: spec.balancing,
            data_plane: spec.data_plane,
            vips: BTreeMap::new(),
            ports: spec.ports,
            ingress: None,
            labels: spec.labels,
            drain_timeout: spec.drain_timeout,
            dns_ttl: spec.dns_ttl,
            upkeep: spec.upkeep,
            slow_start: spec.slow_start,
            created,
            version: FIRST_VERSION,
            older: BTreeMap::new(),
            forced: 0,
            update_config: spec.update_config,
            rollback_config: spec.rollback_config,
            update: None,
            former: None,
        };
        service.check(self)?;
        let is_outward = self.is_outward(&service.networks);
        self.check_publishing(&service.ports, service.endpoint_mode, is_outward)?;
        if service.endpoint_mode == EndpointMode::Vip {
            for network in &service.networks {
                service.vips.insert(network.clone(), self.choose_vip(network)?);
            }
        }
        let meshed = service.template().meshed;
        service.ingress = meshed.then(|| self.choose_mesh_vip()).transpose()?;
        self.rearrange(|intent| intent.services.insert(service.name.clone(), service));
        Ok(())
    }

    /// A service that IPVS shall balance needs a node that can, and no sandbox on its networks where it
    /// cannot.
    fn check_ipvs(&self, service: &Service) -> Result<(), IntentError> {
        if !service.needs_ipvs() || service.data_plane == DataPlaneChoice::Nftables {
            return Ok(());
        }
        let lacks = |node: &&NodeRecord| !node.ipvs;
        let on_it = |node: &&NodeRecord| {
            let mut tasks = self.tasks.values().filter(|task| task.node == node.name);
            tasks
                .any(|task| service.networks.iter().any(|network| task.endpoint(network).is_some()))
        };
        let all = self.nodes.values().all(|node| lacks(&node));
        let lacking = self.nodes.values().filter(lacks).find(|node| all || on_it(node));
        match lacking {
            Some(node) => Err(IntentError::NoIpvs { node: node.name.to_string() }),
            None => Ok(()),
        }
    }

    /// Refuses what could never be, whoever went: more tasks than a network has addresses. Addresses
    /// that others hold may come free, so tasks that only lack those wait for them.
    fn check_capacity(&self, service: &Service) -> Result<(), IntentError> {
        for network in &service.networks {
            let held = self.network(network)?;
            let is_balanced = service.endpoint_mode == EndpointMode::Vip;
            let needed = service.replicas + u32::from(is_balanced);
            let (capacity, subnets) = (held.capacity(), held.subnets());
            if needed > capacity {
                let free = self.left_on(network) + self.held_by(&service.name, network);
                let network = network.clone();
                return Err(IntentError::NoFreeAddress {
                    network,
                    subnets,
                    needed,
                    free,
                    capacity,
                });
            }
        }
        Ok(())
    }

    /// How many addresses of a network a service has.
    fn held_by(&self, name: &ServiceName, network: &NetworkName) -> u32 {
        let vip = self.services.get(name).and_then(|service| service.vips.get(network));
        let tasks = self.tasks_of(name).filter(|task| task.endpoint(network).is_some());
        u32::from(vip.is_some()) + tasks.count() as u32
    }

    pub(super) fn choose_vip(&mut self, network: &NetworkName) -> Result<Vip, IntentError> {
        let address = self.next_addresses(network, 1)?[0];
        Ok(Vip::new(address, self.next_fwmark()?))
    }

    /// Changes how many tasks a service has, at once: the lowest free slots are filled, and the
    /// highest ones are gone.
    ///
    /// # Errors
    /// When there is no such service, or a network has too few addresses.
    pub fn scale_service(&mut self, name: &ServiceName, replicas: u32) -> Result<(), IntentError> {
        self.set_replicas(name, replicas, |_| Departure::AtOnce)
    }

    /// Changes how many tasks a service has; those in the highest slots leave, as long as its drain
    /// timeout lets them. `now` is in milliseconds since 1970.
    ///
    /// # Errors
    /// As [`Intent::scale_service`].
    pub fn drain_service(
        &mut self,
        name: &ServiceName,
        replicas: u32,
        now: u64,
    ) -> Result<(), IntentError> {
        self.set_replicas(name, replicas, |service| Departure::of(service, now))
    }

    fn set_replicas(
        &mut self,
        name: &ServiceName,
        replicas: u32,
        departure: impl FnOnce(&Service) -> Departure,
    ) -> Result<(), IntentError> {
        check_replicas(replicas)?;
        let service = self.service(name)?;
        if service.mode == Mode::Global {
            return Err(IntentError::ScaleGlobal { name: name.clone() });
        }
        let scaled = Service { replicas, ..service.clone() };
        self.check_capacity(&scaled)?;
        let departure = departure(service);
        self.rearrange(|intent| {
            intent.services.insert(name.clone(), scaled);
            let surplus = intent.give_up_places(name, replicas);
            intent.depart(&surplus, departure);
        });
        Ok(())
    }

    /// Takes a service and its tasks away; what waited for their places gets them.
    ///
    /// # Errors
    /// When there is no such service.
    pub fn remove_service(&mut self, name: &ServiceName) -> Result<(), IntentError> {
        self.service(name)?;
        self.rearrange(|intent| {
            intent.services.remove(name);
            intent.tasks.retain(|task, _| task.service != *name);
        });
        Ok(())
    }
}
