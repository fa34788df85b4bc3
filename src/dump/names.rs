//! What addresses and marks belong to.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::{Container, Contents, Iptables, Part, ipvs};
use crate::intent::Intent;
use crate::lower::attachment;
use crate::node::{Mac, SandboxName, VirtualServerKey};

/// The address at which each sandbox's resolver answers, Docker's and ours.
const RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// What addresses and marks belong to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Names {
    addresses: BTreeMap<IpAddr, String>,
    marks: BTreeMap<u32, Marked>,
}

/// What a mark is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marked {
    /// `service web (network blue)`; none where nothing tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The address that is given this mark, where a rule tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vip: Option<IpAddr>,
    /// Its tasks, or the addresses of those that have no name.
    pub tasks: Vec<String>,
}

impl Names {
    pub fn of(intent: &Intent) -> Self {
        let mut names = Self::default();
        names.addresses.insert(RESOLVER.into(), "resolver".into());
        for service in intent.services.values() {
            for (network, vip) in &service.vips {
                let words = format!("service {} (network {network})", service.name);
                let of = |task: &&crate::intent::Task| task.name.service == service.name;
                let tasks = intent.tasks.values().filter(of);
                let tasks: Vec<String> = tasks.map(|task| task.name.to_string()).collect();
                names.addresses.insert(vip.address.into(), format!("VIP of {}", service.name));
                let marked = |service| Marked {
                    service: Some(service),
                    vip: Some(vip.address.into()),
                    tasks: Vec::clone(&tasks),
                };
                for retired in &vip.retired {
                    let words = format!("{words}, for old connections");
                    names.marks.insert(retired.fwmark.0, marked(words));
                }
                if intent.attached_to(network).next().is_some() {
                    let mark = attachment::mark(vip.address);
                    names.marks.insert(mark.0, marked(words.clone()));
                }
                names.marks.insert(vip.fwmark.0, marked(words));
            }
        }
        for task in intent.tasks.values() {
            for endpoint in &task.endpoints {
                names.addresses.insert(endpoint.address.into(), task.name.to_string());
            }
        }
        for record in intent.nodes.values() {
            let address = record.address.map(IpAddr::from);
            names.addresses.extend(address.map(|at| (at, format!("node {}", record.name))));
        }
        for held in intent.attachments.values().filter(|held| !held.leaving) {
            let called = SandboxName::of_attached(&intent.cluster.id, &held.namespace);
            names.addresses.insert(held.endpoint.address.into(), called.called().to_owned());
        }
        for network in intent.networks.values() {
            for pool in &network.pools {
                let name = format!("gateway of {}", network.name);
                names.addresses.insert(pool.gateway.into(), name);
            }
        }
        names
    }

    /// Adds the addresses of Docker's containers; what swarmlb's own are called stays.
    pub fn add_containers(&mut self, containers: &[Container]) {
        for container in containers {
            for address in container.networks.iter().flat_map(|network| &network.addresses) {
                let name = container.short().to_owned();
                self.addresses.entry(*address).or_insert(name);
            }
        }
    }

    /// Learns from a namespace of somebody else which mark is for which virtual server, and which
    /// address gets that mark, as Docker's load balancing sandboxes tie them.
    pub fn learn(&mut self, contents: &Contents, containers: &[Container]) {
        let servers = contents.ipvs.as_ref().and_then(Part::read).into_iter().flatten();
        for server in servers {
            if let VirtualServerKey::Fwmark(mark) | VirtualServerKey::Fwmark6(mark) = server.key
                && !self.marks.contains_key(&mark.0)
            {
                let marked = self.marked(server, containers);
                self.marks.insert(mark.0, marked);
            }
        }
        for back_end in Iptables::ALL {
            let tables = contents.iptables.get(&back_end).and_then(Part::read);
            let rules = tables.into_iter().flatten().flat_map(|table| &table.rules);
            for rule in rules {
                if let (Some(mark), Some(address)) = (rule.mark(), rule.destination())
                    && let Some(marked) = self.marks.get_mut(&mark)
                {
                    marked.vip.get_or_insert(address);
                    let vip = match &marked.service {
                        Some(service) => format!("VIP of {service}"),
                        None => format!("VIP of mark {mark:#x}"),
                    };
                    self.addresses.entry(address).or_insert(vip);
                }
            }
        }
    }

    /// What is behind a virtual server: a service when its real servers are of one.
    fn marked(&self, server: &ipvs::Server, containers: &[Container]) -> Marked {
        let addresses: Vec<IpAddr> =
            server.real_servers.iter().map(|real| real.key.address).collect();
        let holder = |address: &IpAddr| {
            containers.iter().find(|container| {
                container.networks.iter().any(|network| network.addresses.contains(address))
            })
        };
        let mut services: Vec<&str> =
            addresses.iter().filter_map(|a| holder(a)?.service.as_deref()).collect();
        services.sort_unstable();
        services.dedup();
        let service = match services.as_slice() {
            [service] => Some(format!("Docker service {service}")),
            _ => None,
        };
        let name = |address: &IpAddr| {
            self.addresses.get(address).cloned().unwrap_or_else(|| address.to_string())
        };
        Marked { service, vip: None, tasks: addresses.iter().map(name).collect() }
    }

    /// What an address is called.
    pub fn address(&self, address: IpAddr) -> Option<&str> {
        self.addresses.get(&address).map(String::as_str)
    }

    /// What a mark is for.
    pub fn mark(&self, mark: u32) -> Option<&Marked> {
        self.marks.get(&mark)
    }

    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.marks.is_empty()
    }

    /// Those that a text mentions: of a large cluster, a sandbox knows a part.
    #[must_use]
    pub fn used_in(&self, text: &str) -> Self {
        let words: HashSet<&str> =
            text.split(|c: char| !(c.is_ascii_alphanumeric() || ".:[]".contains(c))).collect();
        let addresses: HashSet<IpAddr> = words.iter().filter_map(|word| address_in(word)).collect();
        let decimal = |word: &&str| word.parse::<u32>().ok();
        let marks: HashSet<u32> =
            words.iter().filter_map(|word| mark_in(word).or_else(|| decimal(word))).collect();
        let mut used = self.clone();
        used.addresses.retain(|address, _| addresses.contains(address));
        used.marks.retain(|mark, _| marks.contains(mark));
        used
    }
}

/// nft and iptables print marks in hexadecimal.
pub fn mark_in(word: &str) -> Option<u32> {
    u32::from_str_radix(word.strip_prefix("0x")?, 16).ok()
}

/// An address, or an address and a port, or the MAC that follows from an address.
pub fn address_in(word: &str) -> Option<IpAddr> {
    let word = word.trim_matches(['.', ':']);
    let socket = || word.parse::<SocketAddr>().ok().map(|socket| socket.ip());
    let mac = || word.parse::<Mac>().ok()?.address().map(IpAddr::from);
    word.parse().ok().or_else(socket).or_else(mac)
}
