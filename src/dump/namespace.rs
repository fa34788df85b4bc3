//! Network namespaces of the machine, and whom each belongs to.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::docker::{self, Kind};
use super::{Container, Contents};
use crate::intent::{ClusterId, Intent, NetworkName, TaskName};
use crate::node::SandboxName;

/// Where `ip netns` binds namespaces.
pub const NAMED: &str = "/run/netns";

/// A network namespace, as it was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Namespace {
    /// What the kernel knows it by: `net:[4026531840]`.
    pub inode: u64,
    /// Whether it is the machine's own.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub host: bool,
    /// Where it is bound; none for one that only processes hold.
    pub paths: Vec<String>,
    /// Who lives in it.
    pub processes: Vec<Inhabitant>,
}

/// A process in a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inhabitant {
    pub pid: i32,
    pub command: String,
    /// Whose it is; the number of a user without a name.
    #[serde(default)]
    pub user: String,
    /// The id of the container that its control group names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
}

impl Namespace {
    /// Its name below `/run/netns`.
    pub fn named(&self) -> Option<&str> {
        self.paths.iter().find_map(|path| below(path, NAMED))
    }

    /// Its name in Docker's directory.
    pub fn in_docker(&self) -> Option<&str> {
        let below = |path| docker::DIRECTORIES.iter().find_map(|directory| below(path, directory));
        self.paths.iter().map(String::as_str).find_map(below)
    }

    /// Whether a path names it, `/proc/PID/ns/net` among others.
    pub fn is_at(&self, path: &str) -> bool {
        // /var/run is /run.
        let plain = |path: &str| path.strip_prefix("/var").unwrap_or(path).to_owned();
        let process = path.strip_prefix("/proc/").and_then(|path| path.strip_suffix("/ns/net"));
        let process = process.and_then(|pid| pid.parse::<i32>().ok());
        self.paths.iter().any(|known| plain(known) == plain(path))
            || process.is_some_and(|pid| self.processes.iter().any(|one| one.pid == pid))
    }

    /// Without the arguments of commands: they may hold what is nobody else's business.
    #[must_use]
    pub fn without_arguments(mut self) -> Self {
        for process in &mut self.processes {
            let program = process.command.split(' ').next().unwrap_or_default();
            process.command = program.to_owned();
        }
        self
    }

    /// What it may be called, the best first. Not every one may mean it and no other.
    pub fn candidates(&self) -> Vec<String> {
        let mut names = Vec::new();
        if self.host {
            names.push("host".to_owned());
        }
        names.extend(self.named().map(str::to_owned));
        names.extend(self.in_docker().map(str::to_owned));
        names.extend(self.paths.iter().cloned());
        names.extend(self.processes.first().map(|process| process.pid.to_string()));
        names
    }
}

fn below<'a>(path: &'a str, directory: &str) -> Option<&'a str> {
    path.strip_prefix(directory)?.strip_prefix('/').filter(|name| !name.contains('/'))
}

/// Whom a namespace belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Belonging {
    /// The machine itself.
    Host,
    Task(TaskName),
    Network(NetworkName),
    /// This node's end of the routing mesh.
    Mesh,
    /// It is ours, and nothing in the intent needs it any more.
    LeftOver,
    /// Another cluster of swarmlb.
    Cluster(ClusterId),
    /// Somebody's that was let onto networks of ours.
    Attached {
        networks: Vec<NetworkName>,
        /// Whose it is.
        own: Box<Belonging>,
    },
    /// An overlay of Docker, by the name that its containers know it by, or its id.
    DockerNetwork(String),
    /// What balances on that network.
    Balancer(String),
    Ingress,
    /// A container in Docker's directory, by its task or name and its id.
    Container {
        name: String,
        id: String,
        service: Option<String>,
    },
    /// One in Docker's directory that no file tells of.
    Docker,
    /// Somebody's who gave it a name.
    Named,
    /// Held by processes only; the container that their control group names.
    Anonymous {
        container: Option<String>,
        user: String,
    },
}

impl Belonging {
    pub fn of(
        namespace: &Namespace,
        owner: Option<&ClusterId>,
        intent: &Intent,
        containers: &[Container],
    ) -> Self {
        if namespace.host {
            return Belonging::Host;
        }
        if let Some(owner) = owner {
            return match namespace.named() {
                Some(name) if *owner == intent.cluster.id => Self::ours(name, intent),
                _ => Belonging::Cluster(owner.clone()),
            };
        }
        if let Some(name) = namespace.in_docker() {
            return Self::dockers(name, containers);
        }
        let mut inhabitants = namespace.processes.iter();
        let user = inhabitants.clone().next().map(|process| process.user.clone());
        let container = inhabitants.find_map(|process| process.container.clone());
        match namespace.paths.is_empty() {
            true => Belonging::Anonymous { container, user: user.unwrap_or_default() },
            false => Belonging::Named,
        }
    }

    /// A sandbox of a recorded node, which knows neither processes nor Docker.
    pub fn recorded(name: &SandboxName, owner: Option<&ClusterId>, intent: &Intent) -> Self {
        match owner {
            Some(owner) if *owner == intent.cluster.id => Self::ours(name.as_str(), intent),
            Some(owner) => Belonging::Cluster(owner.clone()),
            None => Belonging::Named,
        }
    }

    /// The same, where this cluster is a guest there: on which networks.
    #[must_use]
    pub fn joined(self, contents: &Contents, intent: &Intent) -> Self {
        if self.is_ours() || contents.guest().as_ref() != Some(&intent.cluster.id) {
            return self;
        }
        let held: Vec<_> = contents.guest_addresses();
        let here = |network: &&NetworkName| {
            intent.attached_to(network).any(|on| held.contains(&on.endpoint.address))
        };
        let networks = intent.networks.keys().filter(here).cloned().collect();
        Belonging::Attached { networks, own: Box::new(self) }
    }

    fn ours(name: &str, intent: &Intent) -> Self {
        let is = |other: SandboxName| other.as_str() == name;
        let task = intent.tasks.values().find(|task| is(SandboxName::from(&task.name)));
        let network = intent.networks.values().find(|n| is(SandboxName::from(&n.name)));
        let has_mesh = intent.networks.contains_key(&NetworkName::ingress());
        match (task, network) {
            (Some(task), _) => Belonging::Task(task.name.clone()),
            (None, Some(network)) => Belonging::Network(network.name.clone()),
            (None, None) if is(SandboxName::ingress()) && has_mesh => Belonging::Mesh,
            (None, None) => Belonging::LeftOver,
        }
    }

    fn dockers(name: &str, containers: &[Container]) -> Self {
        let network = |id: &str| docker::network(containers, id).unwrap_or(id).to_owned();
        match Kind::of(name) {
            Kind::Ingress => Belonging::Ingress,
            Kind::Balancer(id) => Belonging::Balancer(network(id)),
            Kind::Overlay(id) => Belonging::DockerNetwork(network(id)),
            Kind::Container => {
                let holds = |container: &&Container| container.sandbox.as_deref() == Some(name);
                match containers.iter().find(holds) {
                    Some(container) => Belonging::Container {
                        name: container.short().to_owned(),
                        id: container.id.chars().take(12).collect(),
                        service: container.service.clone(),
                    },
                    None => Belonging::Docker,
                }
            }
        }
    }

    /// Of what kind it is, in a word.
    pub fn kind(&self) -> &'static str {
        match self {
            Belonging::Host => "host",
            Belonging::Task(_) => "task",
            Belonging::Network(_) => "network",
            Belonging::Mesh => "ingress",
            Belonging::LeftOver => "left over",
            Belonging::Attached { .. } => "attached",
            Belonging::Cluster(_) => "foreign",
            Belonging::DockerNetwork(_)
            | Belonging::Balancer(_)
            | Belonging::Ingress
            | Belonging::Container { .. }
            | Belonging::Docker => "docker",
            Belonging::Named => "named",
            Belonging::Anonymous { .. } => "anonymous",
        }
    }

    /// Whether this cluster has something there.
    pub fn concerns_us(&self) -> bool {
        self.is_ours() || matches!(self, Belonging::Attached { .. })
    }

    /// Whether it is of this cluster.
    pub fn is_ours(&self) -> bool {
        matches!(
            self,
            Belonging::Task(_) | Belonging::Network(_) | Belonging::Mesh | Belonging::LeftOver
        )
    }

    /// Whether it is Docker's.
    pub fn is_dockers(&self) -> bool {
        match self {
            Belonging::Attached { own, .. } => own.is_dockers(),
            _ => self.kind() == "docker",
        }
    }
}

impl fmt::Display for Belonging {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Belonging::Host => f.write_str("this machine"),
            Belonging::Task(task) => write!(f, "service {}", task.service),
            Belonging::Network(network) => write!(f, "network {network}"),
            Belonging::Mesh => f.write_str("published ports"),
            Belonging::LeftOver => f.write_str("nothing any more"),
            Belonging::Attached { networks, own } => {
                let names: Vec<String> = networks.iter().map(ToString::to_string).collect();
                let noun = if names.len() == 1 { "network" } else { "networks" };
                write!(f, "{noun} {}", names.join(", "))?;
                match **own {
                    Belonging::Named => Ok(()),
                    _ => write!(f, " ({own})"),
                }
            }
            Belonging::Cluster(id) => write!(f, "swarmlb cluster {id}"),
            Belonging::DockerNetwork(network) => write!(f, "Docker network {network}"),
            Belonging::Balancer(network) => {
                write!(f, "load balancing of Docker network {network}")
            }
            Belonging::Ingress => f.write_str("Docker's published ports (ingress)"),
            Belonging::Container { name, id, service: Some(service) } => {
                write!(f, "container {id} ({name}), Docker service {service}")
            }
            Belonging::Container { name, id, service: None } => {
                write!(f, "container {id} ({name})")
            }
            Belonging::Docker => f.write_str("Docker"),
            Belonging::Anonymous { container: Some(id), .. } => {
                write!(f, "container {}", id.chars().take(12).collect::<String>())
            }
            Belonging::Anonymous { container: None, user } => write!(f, "user {user}"),
            Belonging::Named => f.write_str("-"),
        }
    }
}

/// The container that a line of `/proc/PID/cgroup` names: 64 hexadecimal digits, as Docker,
/// containerd, CRI-O and Podman write it.
pub fn container_of(cgroup: &str) -> Option<&str> {
    cgroup
        .split(|c: char| !c.is_ascii_hexdigit())
        .find(|word| word.len() == 64 && word.bytes().all(|b| !b.is_ascii_uppercase()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dump::docker::tests::config;
    use crate::intent::tests::story;

    fn at(path: &str) -> Namespace {
        Namespace { paths: vec![path.into()], ..Namespace::default() }
    }

    #[test]
    fn each_namespace_is_told_whom_it_belongs_to() {
        let intent = story();
        let ours = Some(&intent.cluster.id);
        let containers =
            [docker::parse(&config("78098b732bae", "web.1", "b2bfa013ce3a", "10.0.3.3")).unwrap()];
        let other = ClusterId("other".into());
        let mine = Inhabitant {
            pid: 8,
            user: "nobody".into(),
            command: "sh -c x".into(),
            container: None,
        };
        let mine = Namespace { processes: vec![mine], ..Namespace::default() };
        assert_eq!(mine.clone().without_arguments().processes[0].command, "sh");
        let anonymous = Namespace {
            processes: vec![Inhabitant {
                pid: 7,
                command: "sleep".into(),
                user: "root".into(),
                container: Some("78098b732bae00".into()),
            }],
            ..Namespace::default()
        };
        let told = [
            (Namespace { host: true, ..Namespace::default() }, None),
            (at("/run/netns/collabweb.1"), ours),
            (at("/run/netns/collabnet"), ours),
            (at("/run/netns/gone.1"), ours),
            (at("/run/netns/ingress.sandbox"), ours),
            (at("/run/netns/collabweb.1"), Some(&other)),
            (at("/run/netns/collabweb.1"), None),
            (at("/run/docker/netns/1-ukva5yq4iy"), None),
            (at("/var/run/docker/netns/lb_ukva5yq4i"), None),
            (at("/var/run/docker/netns/1-frp2t9xycm"), None),
            (at("/var/run/docker/netns/ingress_sbox"), None),
            (at("/var/run/docker/netns/b2bfa013ce3a"), None),
            (at("/var/run/docker/netns/c45431650947"), None),
            (anonymous, None),
            (mine, None),
        ]
        .map(|(namespace, owner)| {
            let belonging = Belonging::of(&namespace, owner, &intent, &containers);
            format!("{}: {belonging}", belonging.kind())
        });
        insta::assert_snapshot!(told.join("\n"), @r"
        host: this machine
        task: service collabweb
        network: network collabnet
        left over: nothing any more
        left over: nothing any more
        foreign: swarmlb cluster other
        named: -
        docker: Docker network collabnet
        docker: load balancing of Docker network collabnet
        docker: Docker network frp2t9xycm
        docker: Docker's published ports (ingress)
        docker: container 78098b732bae (web.1), Docker service web
        docker: Docker
        anonymous: container 78098b732bae
        anonymous: user nobody
        ");
    }

    #[test]
    fn the_end_of_the_mesh_is_known_as_long_as_there_is_one() {
        let mut intent = story();
        let mesh = SandboxName::ingress();
        let told = |intent: &Intent| {
            let belonging = Belonging::recorded(&mesh, Some(&intent.cluster.id), intent);
            format!("{}: {belonging}", belonging.kind())
        };
        assert_eq!(told(&intent), "left over: nothing any more");
        let network = intent.networks.values().next().unwrap().clone();
        intent.networks.insert(NetworkName::ingress(), network);
        assert_eq!(told(&intent), "ingress: published ports");
    }

    #[test]
    fn a_control_group_names_its_container() {
        let id = "78098b732bae".repeat(5) + "0123";
        for line in [
            format!("0::/system.slice/docker-{id}.scope"),
            format!("12:memory:/docker/{id}\n0::/"),
            format!("0::/kubepods.slice/cri-containerd-{id}.scope"),
        ] {
            assert_eq!(container_of(&line), Some(id.as_str()));
        }
        assert_eq!(container_of("0::/user.slice/user-1000.slice/session-3.scope"), None);
    }
}
