//! Kernel settings inside a namespace, as files under /proc/sys.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use super::{Outcome, Refusal, netns};
use crate::node::{SandboxName, Sysctl};

fn path(sandbox: &SandboxName, sysctl: Sysctl) -> PathBuf {
    PathBuf::from("/proc/sys").join(sysctl.name_in(sandbox).replace('.', "/"))
}

/// Writes settings, and tells what came of each. One without a value is left as it is.
///
/// # Errors
/// When the namespace cannot be entered.
pub fn write(
    namespace: BorrowedFd<'_>,
    sandbox: &SandboxName,
    settings: &[(Sysctl, Option<u32>)],
) -> io::Result<Vec<Outcome>> {
    netns::within(namespace, || {
        settings
            .iter()
            .map(|(sysctl, value)| {
                let Some(value) = value else { return Ok(()) };
                std::fs::write(path(sandbox, *sysctl), value.to_string()).map_err(|error| {
                    let refusal = Refusal::from(error);
                    let name = sysctl.name_in(sandbox);
                    Refusal::saying(refusal.errno, format!("{name}: {}", refusal.sentence))
                })
            })
            .collect()
    })
}

/// Those of some settings of the calling thread's namespace that differ from the kernel's default. One
/// that the kernel does not have (those of IPVS where it is missing) is left out.
pub fn read_here(sandbox: &SandboxName, settings: &[Sysctl]) -> BTreeMap<Sysctl, u32> {
    settings
        .iter()
        .copied()
        .filter_map(|sysctl| {
            let value = std::fs::read_to_string(path(sandbox, sysctl)).ok()?.trim().parse().ok()?;
            (value != sysctl.default_value()).then_some((sysctl, value))
        })
        .collect()
}

/// Sees to it that what passes the bridges of a namespace goes no way through netfilter.
///
/// # Errors
/// When the namespace cannot be entered, or the kernel refuses.
pub fn spare_bridges(namespace: BorrowedFd<'_>, sandbox: &SandboxName) -> io::Result<()> {
    netns::within(namespace, || {
        match std::fs::write(path(sandbox, Sysctl::BridgeCallIptables), "0") {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            // Without br_netfilter there is no such way.
            _ => Ok(()),
        }
    })?
}

/// Settings of the network that decide where packets go, below /proc/sys. `*` stands for every
/// directory or file there.
const THAT_MATTER: [&str; 34] = [
    "net/core/somaxconn",
    "net/ipv4/ip_forward",
    "net/ipv4/ip_local_port_range",
    "net/ipv4/ip_nonlocal_bind",
    "net/ipv4/ip_unprivileged_port_start",
    "net/ipv4/fwmark_reflect",
    "net/ipv4/tcp_fwmark_accept",
    "net/ipv4/tcp_l3mdev_accept",
    "net/ipv4/tcp_tw_reuse",
    "net/ipv4/conf/*/accept_local",
    "net/ipv4/conf/*/arp_announce",
    "net/ipv4/conf/*/arp_ignore",
    "net/ipv4/conf/*/forwarding",
    "net/ipv4/conf/*/proxy_arp",
    "net/ipv4/conf/*/route_localnet",
    "net/ipv4/conf/*/rp_filter",
    "net/ipv4/conf/*/src_valid_mark",
    "net/ipv4/neigh/default/gc_thresh1",
    "net/ipv4/neigh/default/gc_thresh2",
    "net/ipv4/neigh/default/gc_thresh3",
    "net/ipv4/vs/*",
    "net/ipv6/bindv6only",
    "net/ipv6/conf/*/accept_dad",
    "net/ipv6/conf/*/disable_ipv6",
    "net/ipv6/conf/*/forwarding",
    "net/ipv6/fwmark_reflect",
    "net/ipv6/ip_nonlocal_bind",
    "net/bridge/bridge-nf-call-ip6tables",
    "net/bridge/bridge-nf-call-iptables",
    "net/netfilter/nf_conntrack_acct",
    "net/netfilter/nf_conntrack_count",
    "net/netfilter/nf_conntrack_max",
    "net/netfilter/nf_conntrack_tcp_be_liberal",
    "net/netfilter/nf_conntrack_tcp_loose",
];

/// What the settings that matter to balancing are, by name. One that the kernel lacks is left out.
///
/// # Errors
/// When the namespace cannot be entered.
pub fn that_matter(namespace: BorrowedFd<'_>) -> io::Result<BTreeMap<String, String>> {
    netns::within(namespace, || {
        let mut settings = BTreeMap::new();
        for pattern in THAT_MATTER {
            for path in matching(pattern) {
                let file = PathBuf::from("/proc/sys").join(&path);
                // A setting may be for writing only.
                if let Ok(value) = std::fs::read_to_string(file) {
                    settings.insert(dotted(&path), value.trim().replace('\t', " "));
                }
            }
        }
        settings
    })
}

fn matching(pattern: &str) -> Vec<String> {
    let Some((before, after)) = pattern.split_once('*') else { return vec![pattern.to_owned()] };
    let directory = PathBuf::from("/proc/sys").join(before);
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.map(|name| format!("{before}{name}{after}")).collect()
}

/// As `sysctl` writes it: a dot in the name of a link is a slash.
fn dotted(path: &str) -> String {
    path.chars()
        .map(|c| {
            if c == '/' {
                '.'
            } else if c == '.' {
                '/'
            } else {
                c
            }
        })
        .collect()
}
