//! What addresses and marks belong to.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::dump::{Container, Contents, Iptables, Part, ipvs};
use crate::intent::Intent;
use crate::node::VirtualServerKey;

/// The address at which each sandbox's resolver answers, Docker's and ours.
const RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
/// More tasks than this are counted instead of named.
const NAMED_TASKS: usize = 4;

/// What addresses and marks belong to.
#[derive(Debug, Clone, Default)]
pub struct Names {
    addresses: BTreeMap<IpAddr, String>,
    marks: BTreeMap<u32, Marked>,
}

/// What a mark is for.
#[derive(Debug, Clone)]
struct Marked {
    /// `service web (network blue)`
    service: String,
    /// Its tasks, or the addresses of those that have no name.
    tasks: Vec<String>,
    /// What these are: `task`, or `real server` where nothing tells more.
    noun: &'static str,
}

impl Marked {
    /// Whether an address is called after the same service: `VIP of web`.
    fn is_told_by(&self, name: &str) -> bool {
        let Some(service) = name.strip_prefix("VIP of ") else { return false };
        self.service == service || self.service.starts_with(&format!("service {service} "))
    }

    fn words(&self) -> String {
        let Self { service, tasks, noun } = self;
        let named = tasks.iter().take(NAMED_TASKS).cloned().collect::<Vec<_>>().join(" ");
        match tasks.len() {
            0 => format!("{service}, no {noun}s"),
            1 => format!("{service}, {noun} {named}"),
            n if n <= NAMED_TASKS => format!("{service}, {noun}s {named}"),
            n => format!("{service}, {noun}s {named} and {} more", n - NAMED_TASKS),
        }
    }
}

impl Names {
    pub fn of(intent: &Intent) -> Self {
        let mut names = Self::default();
        names.addresses.insert(RESOLVER.into(), "resolver".into());
        for service in intent.services.values() {
            for (network, vip) in &service.vips {
                let network_name = intent.networks.get(network).map(|network| &network.name);
                let network = network_name.map_or_else(|| network.to_string(), ToString::to_string);
                let words = format!("service {} (network {network})", service.name);
                let of = |task: &&crate::intent::Task| task.name.service == service.name;
                let tasks = intent.tasks.values().filter(of);
                let tasks = tasks.map(|task| task.name.to_string()).collect();
                names.addresses.insert(vip.address.into(), format!("VIP of {}", service.name));
                names.marks.insert(vip.fwmark.0, Marked { service: words, tasks, noun: "task" });
            }
        }
        for task in intent.tasks.values() {
            for endpoint in &task.endpoints {
                names.addresses.insert(endpoint.address.into(), task.name.to_string());
            }
        }
        for network in intent.networks.values() {
            let name = format!("gateway of {}", network.name);
            names.addresses.insert(network.pool.gateway.into(), name);
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
                    && let Some(marked) = self.marks.get(&mark)
                {
                    let vip = format!("VIP of {}", marked.service);
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
        let (service, noun) = match services.as_slice() {
            [service] => (format!("Docker service {service}"), "task"),
            _ => {
                let key = server.key.to_string().replace("  ", " ");
                (format!("virtual server {key}"), "real server")
            }
        };
        let name = |address: &IpAddr| {
            self.addresses.get(address).cloned().unwrap_or_else(|| address.to_string())
        };
        Marked { service, tasks: addresses.iter().map(name).collect(), noun }
    }

    /// What a mark is for: the service.
    pub fn service(&self, mark: u32) -> Option<&str> {
        self.marks.get(&mark).map(|marked| marked.service.as_str())
    }

    /// The line, and behind it what its addresses and marks belong to.
    pub fn annotate(&self, line: &str) -> String {
        let mut marks: Vec<&Marked> = Vec::new();
        let mut addresses: Vec<&str> = Vec::new();
        for word in line.split(|c: char| !(c.is_ascii_alphanumeric() || ".:[]".contains(c))) {
            if let Some(marked) = mark(word).and_then(|mark| self.marks.get(&mark)) {
                marks.push(marked);
            } else if let Some(name) = address(word).and_then(|a| self.addresses.get(&a)) {
                addresses.push(name);
            }
        }
        // Where a mark tells the service, its VIP in the same line tells nothing more.
        addresses.retain(|name| !marks.iter().any(|marked| marked.is_told_by(name)));
        let mut notes: Vec<String> = Vec::new();
        let words = |marked: &&Marked| match addresses.is_empty() {
            true => marked.words(),
            false => marked.service.clone(),
        };
        for note in marks.iter().map(words).chain(addresses.iter().map(ToString::to_string)) {
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
        if notes.is_empty() { line.to_owned() } else { format!("{line}  # {}", notes.join(", ")) }
    }
}

/// nft and iptables print marks in hexadecimal.
fn mark(word: &str) -> Option<u32> {
    u32::from_str_radix(word.strip_prefix("0x")?, 16).ok()
}

/// An address, or an address and a port.
fn address(word: &str) -> Option<IpAddr> {
    let word = word.trim_matches(['.', ':']);
    let socket = || word.parse::<SocketAddr>().ok().map(|socket| socket.ip());
    word.parse().ok().or_else(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dump::docker;
    use crate::dump::docker::tests::config;
    use crate::dump::iptables;
    use crate::intent::tests::story;
    use crate::kernel::ipvs::wire;
    use crate::node::Entry;

    #[test]
    fn lines_are_annotated_with_services_and_tasks() {
        let names = Names::of(&story());
        let lines = [
            "meta mark set 0x00000100",
            "10.0.3.2 : 0x00000100",
            "ip daddr 10.0.3.3 accept",
            "-A OUTPUT -d 127.0.0.11/32 -p udp -j DNAT --to-destination 127.0.0.11:5353",
            "tcp 10.0.3.3:4711 -> 10.0.3.2:80 => 10.0.3.4:80",
            "to 10.0.3.0/24 and 0xffffffff and 10.0.3.1.",
            "nothing 1.2.3 10.0.33.2",
        ];
        let annotated: Vec<String> = lines.iter().map(|line| names.annotate(line)).collect();
        insta::assert_snapshot!(annotated.join("\n"), @r"
        meta mark set 0x00000100  # service collabweb (network collabnet), tasks collabweb.1 collabweb.2 collabweb.3
        10.0.3.2 : 0x00000100  # service collabweb (network collabnet), tasks collabweb.1 collabweb.2 collabweb.3
        ip daddr 10.0.3.3 accept  # collabweb.1
        -A OUTPUT -d 127.0.0.11/32 -p udp -j DNAT --to-destination 127.0.0.11:5353  # resolver
        tcp 10.0.3.3:4711 -> 10.0.3.2:80 => 10.0.3.4:80  # collabweb.1, VIP of collabweb, collabweb.2
        to 10.0.3.0/24 and 0xffffffff and 10.0.3.1.  # gateway of collabnet
        nothing 1.2.3 10.0.33.2
        ");
    }

    /// A sandbox that balances a Docker network, as it was recorded from Docker 20.10.
    #[test]
    fn dockers_marks_are_known_by_their_virtual_servers() {
        let key = wire::Key::Fwmark { mark: 0x100, family: wire::Family::V4 };
        let real =
            |last| wire::RealServer::new([10, 0, 3, last].into(), 0, wire::Forwarding::Masquerade);
        let server = |key, reals: &[u8]| {
            ipvs::Server::from(&Entry {
                server: wire::VirtualServer::new(key, "rr".parse().unwrap()),
                real_servers: reals.iter().map(|last| real(*last)).collect(),
            })
        };
        let other = wire::Key::Fwmark { mark: 0x102, family: wire::Family::V4 };
        let saved = "*mangle\n:INPUT ACCEPT [0:0]\n\
             -A INPUT -d 10.0.3.2/32 -j MARK --set-xmark 0x100/0xffffffff\n\
             -A INPUT -d 10.0.3.7/32 -j MARK --set-xmark 0x102/0xffffffff\nCOMMIT\n";
        let contents = Contents {
            ipvs: Some(Part::Read(vec![server(key, &[3, 4, 5]), server(other, &[8])])),
            iptables: [(Iptables::Legacy, Part::Read(iptables::parse(saved)))].into(),
            ..Contents::default()
        };
        let container = |slot: &str, last: u8| {
            docker::parse(&config(slot, slot, slot, &format!("10.0.3.{last}"))).unwrap()
        };
        let containers = [container("web.1", 3), container("web.2", 4), container("web.3", 5)];
        let mut names = Names::default();
        names.add_containers(&containers);
        names.learn(&contents, &containers);
        let lines = [
            "INPUT -d 10.0.3.2/32 -j MARK 0x100",
            "-d 10.0.3.7/32 MARK 0x102",
            "10.0.3.2 10.0.3.4",
        ];
        let annotated: Vec<String> = lines.iter().map(|line| names.annotate(line)).collect();
        insta::assert_snapshot!(annotated.join("\n"), @r"
        INPUT -d 10.0.3.2/32 -j MARK 0x100  # Docker service web, tasks web.1 web.2 web.3
        -d 10.0.3.7/32 MARK 0x102  # virtual server FWM 258, real server 10.0.3.8
        10.0.3.2 10.0.3.4  # VIP of Docker service web, web.2
        ");
    }
}
