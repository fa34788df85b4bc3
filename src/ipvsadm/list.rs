//! Tables as `ipvsadm -Ln` lists them.

use std::net::SocketAddr;

use super::save::scheduler_flags;
use super::words::listed;
use crate::kernel::ipvs::wire::{
    Flags, Forwarding, Info, Netmask, RealServer, Statistics, Tunnel, TunnelKind, VirtualServer,
};
use crate::node::Entry;

/// What stands behind each real server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Columns {
    /// Forwarding, weight and connections.
    #[default]
    Connections,
    /// What passed.
    Counters,
    /// What passes in a second.
    Rates,
    /// How many connections it may have.
    Thresholds,
    /// How many clients stay with it.
    Persistence,
    /// As `Connections`, and what a tunnel wraps packets in.
    Tunnels,
}

/// How a table shall be listed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Listing {
    pub columns: Columns,
    /// Numbers in full, where they are shortened by K, M, G and T otherwise.
    pub exact: bool,
}

impl Listing {
    /// The whole list: with the version of IPVS if known, the headings, and the entries as they come.
    pub fn of(&self, info: Option<Info>, entries: &[Entry]) -> String {
        let mut lines = Vec::new();
        if let Some(Info { version: (major, minor, patch), connection_table_size }) = info {
            lines.push(format!(
                "IP Virtual Server version {major}.{minor}.{patch} (size={connection_table_size})"
            ));
        }
        lines.extend(self.headings());
        for entry in entries {
            lines.push(self.server(&entry.server));
            lines.extend(entry.real_servers.iter().map(|real| self.real(real)));
        }
        lines.join("\n")
    }

    fn headings(&self) -> [String; 2] {
        let first = "Prot LocalAddress:Port";
        let second = "  -> RemoteAddress:Port".to_owned();
        let numbers = |names: [&str; 5]| {
            let [a, b, c, d, e] = names;
            format!("{first:<33} {a:>8} {b:>8} {c:>8} {d:>8} {e:>8}")
        };
        match self.columns {
            Columns::Counters => {
                [numbers(["Conns", "InPkts", "OutPkts", "InBytes", "OutBytes"]), second]
            }
            Columns::Rates => [numbers(["CPS", "InPPS", "OutPPS", "InBPS", "OutBPS"]), second],
            Columns::Thresholds => {
                let names = ("Uthreshold", "Lthreshold", "ActiveConn", "InActConn");
                let (a, b, c, d) = names;
                [format!("{first:<33} {a:<10} {b:<10} {c:<10} {d:<10}"), second]
            }
            Columns::Persistence => {
                let names = ("Weight", "PersistConn", "ActiveConn", "InActConn");
                let (a, b, c, d) = names;
                [format!("{first:<33} {a:<9} {b:<11} {c:<10} {d:<10}"), second]
            }
            Columns::Tunnels => [
                format!("{first} Scheduler Flags"),
                format!("{second:<33} Forward TunnelInfo    Weight ActiveConn InActConn"),
            ],
            Columns::Connections => [
                format!("{first} Scheduler Flags"),
                format!("{second:<33} Forward Weight ActiveConn InActConn"),
            ],
        }
    }

    fn server(&self, server: &VirtualServer) -> String {
        let name = listed(&server.key);
        match self.columns {
            Columns::Counters => format!("{name:<33}{}", self.counters(&server.statistics)),
            Columns::Rates => format!("{name:<33}{}", self.rates(&server.statistics)),
            _ => format!("{name} {}", scheduling(server)),
        }
    }

    fn real(&self, real: &RealServer) -> String {
        let end = SocketAddr::new(real.address, real.port).to_string();
        let RealServer { weight, active, inactive, .. } = real;
        let forwarding = forwarding(real.forwarding);
        match self.columns {
            Columns::Counters => format!("  -> {end:<28}{}", self.counters(&real.statistics)),
            Columns::Rates => format!("  -> {end:<28}{}", self.rates(&real.statistics)),
            Columns::Thresholds => {
                let (upper, lower) = (real.upper_threshold, real.lower_threshold);
                format!("  -> {end:<28} {upper:<10} {lower:<10} {active:<10} {inactive:<10}")
            }
            Columns::Persistence => {
                let persistent = real.persistent;
                format!("  -> {end:<28} {weight:<9} {persistent:<11} {active:<10} {inactive:<10}")
            }
            Columns::Tunnels => {
                let tunnel = tunnel(real);
                format!(
                    "  -> {end:<28} {forwarding:<7} {tunnel:<13} {weight:<6} {active:<10} {inactive:<10}"
                )
            }
            Columns::Connections => {
                format!("  -> {end:<28} {forwarding:<7} {weight:<6} {active:<10} {inactive:<10}")
            }
        }
    }

    fn counters(&self, counted: &Statistics) -> String {
        self.numbers([
            counted.connections,
            counted.packets_in,
            counted.packets_out,
            counted.bytes_in,
            counted.bytes_out,
        ])
    }

    fn rates(&self, counted: &Statistics) -> String {
        self.numbers([
            counted.connection_rate,
            counted.packet_rate_in,
            counted.packet_rate_out,
            counted.byte_rate_in,
            counted.byte_rate_out,
        ])
    }

    fn numbers(&self, numbers: [u64; 5]) -> String {
        numbers.map(|number| self.number(number)).concat()
    }

    /// Nine columns wide, or one more than an exact one needs.
    fn number(&self, number: u64) -> String {
        const STEPS: [(u64, u64, char); 4] = [
            (1_000_000_000, 1_000, 'K'),
            (100_000_000_000, 1_000_000, 'M'),
            (100_000_000_000_000, 1_000_000_000, 'G'),
            (u64::MAX, 1_000_000_000_000, 'T'),
        ];
        if self.exact {
            return format!("{:>9}", format!(" {number}"));
        }
        if number < 100_000_000 {
            return format!("{number:>9}");
        }
        let step = STEPS.into_iter().find(|(below, ..)| number < *below).unwrap_or(STEPS[3]);
        format!("{:>8}{}", number / step.1, step.2)
    }
}

/// The scheduler and what else the virtual server does.
fn scheduling(server: &VirtualServer) -> String {
    let mut text = server.scheduler.to_string();
    let flags = scheduler_flags(server);
    if !flags.is_empty() {
        text.push_str(&format!(" ({})", flags.join(",")));
    }
    if server.flags.contains(Flags::PERSISTENT) {
        text.push_str(&format!(" persistent {}", server.timeout));
        if server.netmask != Netmask::host(server.key.family()) {
            match server.netmask {
                Netmask::V4(mask) => text.push_str(&format!(" mask {mask}")),
                Netmask::V6(length) => text.push_str(&format!(" mask {length}")),
            }
        }
        if let Some(engine) = &server.persistence_engine {
            text.push_str(&format!(" pe {engine}"));
        }
    }
    if server.flags.contains(Flags::ONE_PACKET) {
        text.push_str(" ops");
    }
    text
}

fn forwarding(forwarding: Forwarding) -> &'static str {
    match forwarding {
        Forwarding::Masquerade => "Masq",
        Forwarding::Local => "Local",
        Forwarding::Tunnel => "Tunnel",
        Forwarding::Route => "Route",
        Forwarding::Bypass => "Bypass",
        Forwarding::Other(_) => "Other",
    }
}

fn tunnel(real: &RealServer) -> String {
    if real.forwarding != Forwarding::Tunnel {
        return "n/a".into();
    }
    let Tunnel { kind, port, flags } = real.tunnel;
    let checksum = ["-c", "+c", "r+c"].get(usize::from(flags)).copied().unwrap_or("-c");
    match kind {
        TunnelKind::Ipip => "ipip".into(),
        TunnelKind::Gue => format!("gue:{port}:{checksum}"),
        TunnelKind::Gre => format!("gre:{checksum}"),
        TunnelKind::Other(number) => number.to_string(),
    }
}
