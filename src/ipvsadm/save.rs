//! Tables as `ipvsadm -Sn` prints them and `ipvsadm -R` reads them.

use std::net::SocketAddr;

use super::words::typed;
use crate::kernel::ipvs::wire::{
    Flags, Forwarding, Netmask, RealServer, Tunnel, TunnelKind, VirtualServer,
};
use crate::node::Entry;

/// A line for each virtual server and for each real server. With thresholds, which `ipvsadm -Sn`
/// forgets and `ipvsadm -R` reads.
pub fn saved(entries: &[Entry]) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in entries {
        let key = typed(&entry.server.key);
        lines.push(format!("-A {key} {}", server(&entry.server)));
        for one in &entry.real_servers {
            lines.push(format!("-a {key} {}", real(one)));
        }
    }
    lines
}

/// What `-A` and `-E` say behind the key.
pub(super) fn server(server: &VirtualServer) -> String {
    let mut line = format!("-s {}", server.scheduler);
    if server.flags.contains(Flags::PERSISTENT) {
        line.push_str(&format!(" -p {}", server.timeout));
        if server.netmask != Netmask::host(server.key.family()) {
            match server.netmask {
                Netmask::V4(mask) => line.push_str(&format!(" -M {mask}")),
                Netmask::V6(length) => line.push_str(&format!(" -M {length}")),
            }
        }
    }
    if let Some(engine) = &server.persistence_engine {
        line.push_str(&format!(" --pe {engine}"));
    }
    if server.flags.contains(Flags::ONE_PACKET) {
        line.push_str(" -o");
    }
    let flags = scheduler_flags(server);
    if !flags.is_empty() {
        line.push_str(&format!(" -b {}", flags.join(",")));
    }
    line
}

/// Those that are set, by name.
pub(super) fn scheduler_flags(server: &VirtualServer) -> Vec<&'static str> {
    let names = flag_names(server.scheduler.as_str());
    let flags = [Flags::SCHEDULER_1, Flags::SCHEDULER_2, Flags::SCHEDULER_3];
    let set = |(flag, name): (Flags, &'static str)| server.flags.contains(flag).then_some(name);
    flags.into_iter().zip(names).filter_map(set).collect()
}

/// What a scheduler's flags are called.
pub(super) fn flag_names(scheduler: &str) -> [&'static str; 3] {
    match scheduler {
        "sh" => ["sh-fallback", "sh-port", "flag-3"],
        "mh" => ["mh-fallback", "mh-port", "flag-3"],
        _ => ["flag-1", "flag-2", "flag-3"],
    }
}

/// What `-a` and `-e` say behind the key of the virtual server.
pub(super) fn real(real: &RealServer) -> String {
    let end = SocketAddr::new(real.address, real.port);
    let forwarding = match real.forwarding {
        Forwarding::Masquerade => "-m",
        Forwarding::Tunnel => "-i",
        // To an address of the machine itself the kernel needs none of them.
        Forwarding::Route | Forwarding::Local | Forwarding::Bypass | Forwarding::Other(_) => "-g",
    };
    let mut line = format!("-r {end} {forwarding} -w {}", real.weight);
    if real.forwarding == Forwarding::Tunnel {
        line.push_str(&tunnel(&real.tunnel));
    }
    if real.upper_threshold > 0 {
        line.push_str(&format!(" -x {}", real.upper_threshold));
    }
    if real.lower_threshold > 0 {
        line.push_str(&format!(" -y {}", real.lower_threshold));
    }
    line
}

/// By the number that it stands for in the kernel's flags.
pub(super) const CHECKSUMS: [&str; 3] = ["--tun-nocsum", "--tun-csum", "--tun-remcsum"];

fn tunnel(tunnel: &Tunnel) -> String {
    let checksum = CHECKSUMS.get(usize::from(tunnel.flags)).copied().unwrap_or(CHECKSUMS[0]);
    match tunnel.kind {
        TunnelKind::Gue => format!(" --tun-type gue --tun-port {} {checksum}", tunnel.port),
        TunnelKind::Gre => format!(" --tun-type gre {checksum}"),
        TunnelKind::Ipip | TunnelKind::Other(_) => " --tun-type ipip".into(),
    }
}
