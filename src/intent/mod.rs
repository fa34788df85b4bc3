//! What the operator asked for, in the operator's words.
//!
//! An [`Intent`] is always valid: its edits refuse the impossible and leave it unchanged when they
//! do. Everything that is *chosen* (VNI, subnet, VIP, task address, fwmark, rank) is chosen here,
//! once, by pure allocators, and remembered. Nothing here knows a kernel, a file or a clock.

pub mod allocate;
pub mod attachment;
pub mod balancing;
pub mod capability;
pub mod constraint;
pub mod definition;
pub mod echo;
pub mod egress;
pub mod encryption;
pub mod error;
pub mod health;
pub mod ingress;
mod leaving;
mod log;
mod membership;
pub mod mount;
pub mod name;
pub mod network;
pub mod node;
pub mod pending;
pub mod places;
pub mod port;
pub mod presence;
pub mod reference;
mod renewal;
pub mod restart;
pub mod scheduler;
pub mod service;
mod settle;
pub mod setup;
pub mod span;
pub mod subnet;
pub mod task;
mod undo;
pub mod update;
pub mod vni;
pub mod weight;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use attachment::{Attachment, AttachmentSpec, Namespace};
pub use balancing::{Affinity, Balancing, ClientMask, Thresholds};
pub use capability::Capability;
pub use constraint::{Constraint, ConstraintError};
pub use definition::{Definition, Image};
pub use echo::{Echo, EchoError};
pub use encryption::{Encryption, Esp, Hexadecimal, Life, Nonce, PublicKey, Spi};
pub use error::IntentError;
pub use health::{Health, NoHealthy, UnhealthyAction};
pub use ingress::Ingress;
pub use log::{LogLimits, LogOption};
pub use membership::Newcomer;
pub use mount::Mount;
pub use name::{Alias, NetworkName, NodeName, ServiceName, TaskName};
pub use network::{Machine, Network, NetworkSpec, Pool};
pub use node::{Availability, ClusterId, DataPlane, DataPlaneChoice, Egress, Liveness, NodeRecord};
pub use pending::{Blocked, Obstacle, Pending, Reason};
pub use places::Place;
pub use port::{Listener, PortSpec, Ports, PublishMode, PublishedPort, Source, Transport};
pub use presence::{Absences, Stands};
pub use reference::{Digest, Reference, ReferenceError};
pub use renewal::{Outcome, Step};
pub use restart::{RestartPolicy, Upkeep};
pub use scheduler::{Scheduler, SchedulerFlag, SchedulerFlags};
pub use service::{EndpointMode, Mode, Placement, Retired, Service, ServiceSpec, Vip};
pub use setup::{Limits, Setup, StopSignal, UserName};
pub use span::Span;
pub use subnet::Subnet;
pub use task::{Endpoint, Leaving, Presence, Task};
pub use update::{FailureAction, Order, Ratio, Template, Update, UpdateConfig, UpdateState};
pub use vni::{Fwmark, Vni};
pub use weight::Ramp;

/// A random name of an object, as Docker's ids are: 25 letters and digits.
pub type Id = String;

/// What belongs to the cluster as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    pub id: ClusterId,
    /// The mark given out last; marks are not reused at once, so that an old one can drain.
    pub last_fwmark: Option<Fwmark>,
    /// How many tasks were ever made; it makes their ids unique.
    pub tasks_made: u64,
    /// The UDP port of VXLAN on every node.
    #[serde(default = "data_port")]
    pub data_port: u16,
}

/// IANA's port for VXLAN, which Docker uses too.
pub const DATA_PORT: u16 = 4789;

fn data_port() -> u16 {
    DATA_PORT
}

/// Everything that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    pub cluster: Cluster,
    pub nodes: BTreeMap<NodeName, NodeRecord>,
    pub networks: BTreeMap<NetworkName, Network>,
    pub services: BTreeMap<ServiceName, Service>,
    pub tasks: BTreeMap<TaskName, Task>,
    /// Namespaces of others, by network and identity.
    #[serde(default)]
    pub attachments: BTreeMap<String, Attachment>,
}

impl Intent {
    /// An intent without anything in it.
    pub fn new(cluster: ClusterId) -> Self {
        Self {
            cluster: Cluster {
                id: cluster,
                last_fwmark: None,
                tasks_made: 0,
                data_port: DATA_PORT,
            },
            nodes: BTreeMap::new(),
            networks: BTreeMap::new(),
            services: BTreeMap::new(),
            tasks: BTreeMap::new(),
            attachments: BTreeMap::new(),
        }
    }

    /// # Errors
    /// [`IntentError::NoSuchNetwork`], with the name that may have been meant.
    pub fn network(&self, name: &NetworkName) -> Result<&Network, IntentError> {
        self.networks.get(name).ok_or_else(|| IntentError::NoSuchNetwork {
            name: name.to_string(),
            meant: name::nearest(name.as_str(), self.networks.keys().map(NetworkName::as_str))
                .map(str::to_owned),
        })
    }

    /// # Errors
    /// [`IntentError::NoSuchService`], with the name that may have been meant.
    pub fn service(&self, name: &ServiceName) -> Result<&Service, IntentError> {
        self.services.get(name).ok_or_else(|| IntentError::NoSuchService {
            name: name.to_string(),
            meant: name::nearest(name.as_str(), self.services.keys().map(ServiceName::as_str))
                .map(str::to_owned),
        })
    }

    /// The task of that name, or the one whose id begins so.
    ///
    /// # Errors
    /// [`IntentError::NoSuchTask`], with the name that may have been meant, [`IntentError::Unplaced`]
    /// or [`IntentError::ManyTasks`].
    pub fn task(&self, asked: &str) -> Result<&Task, IntentError> {
        let named = asked.parse::<TaskName>().ok().and_then(|name| self.tasks.get(&name));
        if let Some(task) = named {
            return Ok(task);
        }
        if let Some((name, reason)) = self.unplaced(asked) {
            return Err(IntentError::Unplaced { name, reason });
        }
        let begins = |task: &&Task| !asked.is_empty() && task.id.starts_with(asked);
        let found: Vec<&Task> = self.tasks.values().filter(begins).collect();
        match found.as_slice() {
            [task] => Ok(task),
            [] => {
                let names: Vec<String> = self.tasks.keys().map(ToString::to_string).collect();
                let first = format!("{asked}.1");
                let of_service = names.iter().find(|name| **name == first).map(String::as_str);
                let near = name::nearest(asked, names.iter().map(String::as_str));
                Err(IntentError::NoSuchTask {
                    name: asked.to_owned(),
                    meant: of_service.or(near).map(str::to_owned),
                })
            }
            many => Err(IntentError::ManyTasks {
                prefix: asked.to_owned(),
                names: many.iter().map(|task| task.name.clone()).collect(),
            }),
        }
    }

    /// A slot that has no task yet, and why.
    fn unplaced(&self, asked: &str) -> Option<(TaskName, Reason)> {
        let name: TaskName = asked.parse().ok()?;
        let pending = self.services.get(&name.service)?.pending.get(&name.slot)?;
        Some((name, pending.reason.clone()))
    }

    /// The tasks of one service, by slot.
    pub fn tasks_of<'a>(&'a self, service: &'a ServiceName) -> impl Iterator<Item = &'a Task> {
        let from = TaskName { service: service.clone(), slot: 0 };
        self.tasks
            .range(from..)
            .take_while(move |(name, _)| name.service == *service)
            .map(|(_, task)| task)
    }

    /// What a task is made from; none when its service is not there.
    pub fn definition_of(&self, task: &Task) -> Option<&Definition> {
        let service = self.services.get(&task.name.service)?;
        match service.is_current(task) {
            true => Some(&service.definition),
            false => service.older.get(&task.version).map(|template| &template.definition),
        }
    }

    /// The tasks of one service that get new connections, by slot.
    pub fn rotation_of<'a>(&'a self, service: &'a ServiceName) -> impl Iterator<Item = &'a Task> {
        self.tasks_of(service).filter(|task| task.in_rotation())
    }

    /// The tasks that have an endpoint on a network.
    pub fn tasks_on<'a>(
        &'a self,
        network: &'a NetworkName,
    ) -> impl Iterator<Item = (&'a Task, &'a Endpoint)> {
        self.tasks.values().filter_map(move |task| Some((task, task.endpoint(network)?)))
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A cluster of one node that has IPVS, without networks.
    pub fn one_node() -> Intent {
        let mut intent = Intent::new(ClusterId("c1".into()));
        let name: NodeName = "node-1".parse().unwrap();
        intent.nodes.insert(name.clone(), NodeRecord::new(name, true));
        intent
    }

    pub fn network(intent: &mut Intent, name: &str, subnet: &str) {
        let spec = NetworkSpec {
            subnets: vec![subnet.parse().unwrap()],
            ..NetworkSpec::new(name.parse().unwrap())
        };
        intent.create_network(spec, format!("id-{name}"), &Machine::default()).unwrap();
    }

    pub fn spec(name: &str, network: &str, replicas: u32) -> ServiceSpec {
        let spec = ServiceSpec::new(name.parse().unwrap(), network.parse().unwrap());
        ServiceSpec { replicas, ..spec }
    }

    pub fn service(intent: &mut Intent, name: &str, network: &str, replicas: u32) {
        let id = format!("id-{name}");
        intent.create_service(spec(name, network, replicas), id, 0).unwrap();
    }

    /// The story of the examples: `collabnet`, `collabweb` × 3 and `collab-box`.
    pub fn story() -> Intent {
        let mut intent = one_node();
        network(&mut intent, "collabnet", "10.0.3.0/24");
        service(&mut intent, "collabweb", "collabnet", 3);
        service(&mut intent, "collab-box", "collabnet", 1);
        intent
    }

    #[test]
    fn the_story_gets_the_addresses_of_docker() {
        let intent = story();
        let net: NetworkName = "collabnet".parse().unwrap();
        let vip = |name: &str| {
            let service: ServiceName = name.parse().unwrap();
            let vip = &intent.services[&service].vips[&net];
            (vip.address.to_string(), vip.fwmark.0)
        };
        assert_eq!(vip("collabweb"), ("10.0.3.2".into(), 0x100));
        assert_eq!(vip("collab-box"), ("10.0.3.6".into(), 0x101));
        let addresses: Vec<String> =
            intent.tasks_on(&net).map(|(t, e)| format!("{} {}", t.name, e.address)).collect();
        assert_eq!(
            addresses,
            [
                "collab-box.1 10.0.3.7",
                "collabweb.1 10.0.3.3",
                "collabweb.2 10.0.3.4",
                "collabweb.3 10.0.3.5"
            ]
        );
    }

    #[test]
    fn ranks_on_a_network_are_dense_and_reused() {
        let mut intent = story();
        let net: NetworkName = "collabnet".parse().unwrap();
        let ranks = |intent: &Intent| {
            let mut ranks: Vec<u32> = intent.tasks_on(&net).map(|(_, e)| e.rank).collect();
            ranks.sort_unstable();
            ranks
        };
        assert_eq!(ranks(&intent), [0, 1, 2, 3]);
        intent.scale_service(&"collabweb".parse().unwrap(), 1).unwrap();
        intent.scale_service(&"collabweb".parse().unwrap(), 4).unwrap();
        assert_eq!(ranks(&intent), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_task_is_found_by_its_name_or_by_the_beginning_of_its_id() {
        let intent = story();
        let named = |asked: &str| intent.task(asked).map(|task| task.name.to_string());
        let id = intent.tasks[&"collabweb.2".parse().unwrap()].id.clone();
        assert_eq!(id.len(), 25);
        assert_eq!(named("collabweb.2").unwrap(), "collabweb.2");
        assert_eq!(named(&id).unwrap(), "collabweb.2");
        assert_eq!(named(&id[..12]).unwrap(), "collabweb.2");
        let missing = |asked: &str| match named(asked).unwrap_err() {
            IntentError::NoSuchTask { meant, .. } => meant,
            other => panic!("{other}"),
        };
        assert_eq!(missing("colabweb.2"), Some("collabweb.2".into()));
        assert_eq!(missing("collab-box"), Some("collab-box.1".into()));
        assert_eq!(missing(""), None);
        assert_eq!(missing("nothing-like-it"), None);
    }

    #[test]
    fn ids_of_a_thousand_tasks_differ_in_their_first_eight_letters() {
        let mut intent = one_node();
        network(&mut intent, "wide", "10.4.0.0/16");
        service(&mut intent, "web", "wide", 1000);
        let short: std::collections::BTreeSet<&str> =
            intent.tasks.values().map(|task| &task.id[..8]).collect();
        assert_eq!(short.len(), 1000);
        let mut twins = story();
        for task in twins.tasks.values_mut() {
            task.id = format!("same{}", task.name.slot);
        }
        let found = twins.task("same1").unwrap_err();
        assert_eq!(found.to_string(), "`same1` begins the ids of tasks collab-box.1, collabweb.1");
    }

    #[test]
    fn a_refused_edit_changes_nothing() {
        let mut intent = one_node();
        network(&mut intent, "small", "10.0.9.0/29");
        let before = intent.clone();
        let refused = intent.create_service(spec("web", "small", 5), "id".into(), 0);
        assert!(matches!(refused, Err(IntentError::NoFreeAddress { .. })), "{refused:?}");
        assert_eq!(intent, before);
        service(&mut intent, "web", "small", 4);
        let before = intent.clone();
        assert!(intent.scale_service(&"web".parse().unwrap(), 5).is_err());
        assert_eq!(intent, before);
    }

    #[test]
    fn a_freed_address_is_not_handed_out_again_at_once() {
        let mut intent = story();
        let net: NetworkName = "collabnet".parse().unwrap();
        intent.scale_service(&"collabweb".parse().unwrap(), 2).unwrap();
        intent.scale_service(&"collabweb".parse().unwrap(), 3).unwrap();
        let task = &intent.tasks[&"collabweb.3".parse().unwrap()];
        assert_eq!(task.endpoint(&net).unwrap().address.to_string(), "10.0.3.8");
    }

    #[test]
    fn a_chosen_subnet_avoids_routes_and_other_networks() {
        let mut intent = one_node();
        network(&mut intent, "one", "10.0.0.0/24");
        let machine = Machine { routes: vec!["10.0.1.0/24".parse().unwrap()] };
        let spec = NetworkSpec::new("two".parse().unwrap());
        intent.create_network(spec, "id".into(), &machine).unwrap();
        let network = &intent.networks[&"two".parse().unwrap()];
        assert_eq!(network.pools[0].subnet.to_string(), "10.0.2.0/24");
    }

    #[test]
    fn what_is_taken_is_refused_with_its_owner() {
        let mut intent = story();
        let said = |error: IntentError| error.to_string();
        let mut spec = NetworkSpec {
            subnets: vec!["10.0.4.0/24".parse().unwrap()],
            vni: Some(Vni(4097)),
            ..NetworkSpec::new("collabnet".parse().unwrap())
        };
        let machine = Machine { routes: vec!["192.168.7.0/24".parse().unwrap()] };
        let error = intent.create_network(spec.clone(), "x".into(), &machine).unwrap_err();
        assert_eq!(said(error), "network `collabnet` exists already");
        spec.name = "blue".parse().unwrap();
        let error = intent.create_network(spec.clone(), "x".into(), &machine).unwrap_err();
        assert_eq!(said(error), "VNI 4097 is already used by network `collabnet`");
        spec.vni = None;
        spec.subnets = vec!["10.0.3.128/25".parse().unwrap()];
        let error = intent.create_network(spec.clone(), "x".into(), &machine).unwrap_err();
        assert_eq!(said(error), "subnet 10.0.3.128/25 overlaps 10.0.3.0/24 of network `collabnet`");
        spec.subnets = vec!["192.168.0.0/16".parse().unwrap()];
        let error = intent.create_network(spec, "x".into(), &machine).unwrap_err();
        assert_eq!(
            said(error),
            "subnet 192.168.0.0/16 overlaps the route 192.168.7.0/24 of this machine"
        );
        let error = intent.remove_network(&"collabnet".parse().unwrap()).unwrap_err();
        assert_eq!(said(error), "network `collabnet` is in use by services collab-box, collabweb");
        let error = intent.remove_service(&"colabweb".parse().unwrap()).unwrap_err();
        assert_eq!(said(error), "there is no service `colabweb`");
    }

    #[test]
    fn removing_a_service_takes_its_tasks_along() {
        let mut intent = story();
        intent.remove_service(&"collabweb".parse().unwrap()).unwrap();
        intent.remove_service(&"collab-box".parse().unwrap()).unwrap();
        assert!(intent.tasks.is_empty());
        intent.remove_network(&"collabnet".parse().unwrap()).unwrap();
        assert!(intent.networks.is_empty());
    }
}
