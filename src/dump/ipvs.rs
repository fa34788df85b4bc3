//! IPVS's tables with every counter, and the same in the words of `ipvsadm -Sn`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::ipvsadm;
use crate::kernel::ipvs::wire;
use crate::node::{
    self, Entry, Forwarding, RealServerKey, Rotation, VirtualServer, VirtualServerKey,
};

/// A virtual server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    pub key: VirtualServerKey,
    pub scheduler: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistence: Option<Persistence>,
    /// `--ops`: every UDP packet is scheduled by itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub one_packet: bool,
    /// Flags of the scheduler, from 1 to 3.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scheduler_flags: Vec<u8>,
    pub counted: Counted,
    pub real_servers: Vec<RealServer>,
}

/// A client stays with its real server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Persistence {
    /// Seconds.
    pub timeout: u32,
    /// How many neighbours count as one client: the length of a prefix, none for each by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
}

/// A target of a virtual server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RealServer {
    pub key: RealServerKey,
    /// As `ipvsadm -Ln` says it: `Masq`, `Route`, `Tunnel`, `Local`.
    pub forwarding: String,
    pub weight: u32,
    #[serde(default)]
    pub upper_threshold: u32,
    #[serde(default)]
    pub lower_threshold: u32,
    pub active: u32,
    pub inactive: u32,
    #[serde(default)]
    pub persistent: u32,
    pub counted: Counted,
}

/// Since it was made or its counters were zeroed; 64 bits where the kernel has them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    pub connections: u64,
    pub packets_in: u64,
    pub packets_out: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

impl From<&wire::Statistics> for Counted {
    fn from(statistics: &wire::Statistics) -> Self {
        Self {
            connections: statistics.connections,
            packets_in: statistics.packets_in,
            packets_out: statistics.packets_out,
            bytes_in: statistics.bytes_in,
            bytes_out: statistics.bytes_out,
        }
    }
}

impl From<&Entry> for Server {
    fn from(entry: &Entry) -> Self {
        let server = &entry.server;
        let has = |flag| server.flags.contains(flag);
        let prefix = server.netmask.length();
        let whole = if server.key.family() == wire::Family::V4 { 32 } else { 128 };
        let flags = [wire::Flags::SCHEDULER_1, wire::Flags::SCHEDULER_2, wire::Flags::SCHEDULER_3];
        Self {
            key: VirtualServerKey::from(&server.key),
            scheduler: server.scheduler.as_str().to_owned(),
            persistence: has(wire::Flags::PERSISTENT).then(|| Persistence {
                timeout: server.timeout,
                prefix: (prefix != whole).then_some(prefix),
                engine: server.persistence_engine.as_ref().map(|name| name.as_str().to_owned()),
            }),
            one_packet: has(wire::Flags::ONE_PACKET),
            scheduler_flags: (1..).zip(flags).filter(|(_, flag)| has(*flag)).map(|p| p.0).collect(),
            counted: Counted::from(&server.statistics),
            real_servers: entry.real_servers.iter().map(RealServer::from).collect(),
        }
    }
}

impl Server {
    /// The same in the words of a node.
    pub fn in_a_node(&self) -> (VirtualServerKey, VirtualServer) {
        let scheduler_flags = self.scheduler_flags.iter().map(|number| 0x4 << number);
        let one_packet = if self.one_packet { wire::Flags::ONE_PACKET.0 } else { 0 };
        let real = |real: &RealServer| {
            let forwarding = match real.forwarding.as_str() {
                "Local" => Forwarding::Local,
                "Tunnel" => Forwarding::Tunnel,
                "Route" => Forwarding::Route,
                "Bypass" => Forwarding::Bypass,
                _ => Forwarding::Masquerade,
            };
            let (most, least) = (real.upper_threshold, real.lower_threshold);
            (real.key, node::RealServer { forwarding, weight: real.weight, most, least })
        };
        let server = VirtualServer {
            scheduler: self.scheduler.clone().into(),
            flags: scheduler_flags.sum::<u32>() | one_packet,
            persistence: self.persistence.as_ref().map_or(0, |persistence| persistence.timeout),
            client_bits: self.persistence.as_ref().and_then(|held| held.prefix).unwrap_or(0),
            rotation: Rotation::default(),
            real_servers: self.real_servers.iter().map(real).collect(),
        };
        (self.key, server)
    }
}

impl From<&wire::RealServer> for RealServer {
    fn from(real: &wire::RealServer) -> Self {
        let forwarding = match real.forwarding {
            wire::Forwarding::Masquerade => "Masq".to_owned(),
            wire::Forwarding::Local => "Local".into(),
            wire::Forwarding::Tunnel => "Tunnel".into(),
            wire::Forwarding::Route => "Route".into(),
            wire::Forwarding::Bypass => "Bypass".into(),
            wire::Forwarding::Other(number) => number.to_string(),
        };
        Self {
            key: RealServerKey { address: real.address, port: real.port },
            forwarding,
            weight: real.weight,
            upper_threshold: real.upper_threshold,
            lower_threshold: real.lower_threshold,
            active: real.active,
            inactive: real.inactive,
            persistent: real.persistent,
            counted: Counted::from(&real.statistics),
        }
    }
}

/// As `ipvsadm -Sn` prints the tables and `ipvsadm -R` reads them; with thresholds, which `-Sn` loses.
pub fn saved(servers: &[Server]) -> Vec<String> {
    let mut lines = Vec::new();
    for server in servers {
        let key = ipvsadm::typed(&server.key.into());
        let mut line = format!("-A {key} -s {}", server.scheduler);
        if let Some(persistence) = &server.persistence {
            line.push_str(&format!(" -p {}", persistence.timeout));
            if let Some(prefix) = persistence.prefix {
                line.push_str(&format!(" -M {}", mask(&server.key, prefix)));
            }
            if let Some(engine) = &persistence.engine {
                line.push_str(&format!(" --pe {engine}"));
            }
        }
        if server.one_packet {
            line.push_str(" -o");
        }
        if !server.scheduler_flags.is_empty() {
            let flags: Vec<String> =
                server.scheduler_flags.iter().map(|flag| format!("flag-{flag}")).collect();
            line.push_str(&format!(" -b {}", flags.join(",")));
        }
        lines.push(line);
        for real in &server.real_servers {
            lines.push(real_words(&key, real));
        }
    }
    lines
}

fn real_words(key: &str, real: &RealServer) -> String {
    let forwarding = match real.forwarding.as_str() {
        "Masq" => "-m",
        "Tunnel" => "-i",
        _ => "-g",
    };
    let mut line = format!("-a {key} -r {} {forwarding} -w {}", real.key, real.weight);
    if real.upper_threshold > 0 {
        line.push_str(&format!(" -x {}", real.upper_threshold));
    }
    if real.lower_threshold > 0 {
        line.push_str(&format!(" -y {}", real.lower_threshold));
    }
    line
}

fn mask(key: &VirtualServerKey, prefix: u32) -> String {
    let v6 = match key {
        VirtualServerKey::Fwmark6(_) => true,
        VirtualServerKey::Fwmark(_) => false,
        VirtualServerKey::Address { address, .. } => matches!(address, IpAddr::V6(_)),
    };
    if v6 {
        return prefix.to_string();
    }
    let bits = u32::MAX.checked_shl(32 - prefix.min(32)).unwrap_or_default();
    std::net::Ipv4Addr::from(bits).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::Fwmark;

    #[test]
    fn the_tables_read_as_ipvsadm_saves_them() {
        let entry = |key: wire::Key, change: fn(&mut wire::VirtualServer)| {
            let mut server = wire::VirtualServer::new(key, "rr".parse().unwrap());
            change(&mut server);
            let address = match key.family() {
                wire::Family::V4 => "10.0.3.3".parse().unwrap(),
                wire::Family::V6 => "fd00:3::3".parse().unwrap(),
            };
            let mut real = wire::RealServer::new(address, 0, wire::Forwarding::Masquerade);
            real.upper_threshold = 9;
            Server::from(&Entry { server, real_servers: vec![real] })
        };
        let mark = |family| wire::Key::Fwmark { mark: 268, family };
        let servers = [
            entry(mark(wire::Family::V4), |_| {}),
            entry(mark(wire::Family::V6), |server| {
                server.flags = wire::Flags::PERSISTENT | wire::Flags::HASHED;
                server.timeout = 300;
            }),
            entry(
                wire::Key::Address {
                    protocol: wire::Protocol::UDP,
                    address: [192, 0, 2, 9].into(),
                    port: 53,
                },
                |server| {
                    server.flags = wire::Flags::ONE_PACKET
                        | wire::Flags::PERSISTENT
                        | wire::Flags::SCHEDULER_2;
                    server.timeout = 60;
                    server.netmask = wire::Netmask::V4([255, 255, 255, 0].into());
                },
            ),
        ];
        insta::assert_snapshot!(saved(&servers).join("\n"), @r"
        -A -f 268 -s rr
        -a -f 268 -r 10.0.3.3:0 -m -w 1 -x 9
        -A -f 268 -6 -s rr -p 300
        -a -f 268 -6 -r [fd00:3::3]:0 -m -w 1 -x 9
        -A -u 192.0.2.9:53 -s rr -p 60 -M 255.255.255.0 -o -b flag-2
        -a -u 192.0.2.9:53 -r 10.0.3.3:0 -m -w 1 -x 9
        ");
        assert_eq!(servers[0].key, VirtualServerKey::Fwmark(Fwmark(268)));
        let (_, in_a_node) = servers[2].in_a_node();
        let flags = wire::Flags::ONE_PACKET | wire::Flags::SCHEDULER_2;
        assert_eq!((in_a_node.flags, in_a_node.persistence), (flags.0, 60));
        let text = serde_json::to_string(&servers).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Server>>(&text).unwrap(), servers);
    }
}
