//! What the kernel counted of each target, whichever data plane balances.

use std::net::IpAddr;
use std::os::fd::AsFd;

use super::ipvs::Ipvs;
use super::nft::Nft;
use super::{Refusal, netns};
use crate::node::{Entry, SandboxName, VirtualServerKey};
use crate::trace::vip::{Tally, Traffic};

/// IPVS's table of a sandbox, with every counter; none where the kernel has no IPVS.
///
/// # Errors
/// The kernel's refusal.
pub fn entries(sandbox: &SandboxName) -> Result<Option<Vec<Entry>>, Refusal> {
    let namespace = netns::open(sandbox.as_str())?;
    match Ipvs::open(namespace.as_fd())? {
        Some(mut ipvs) => ipvs.entries().map(Some),
        None => Ok(None),
    }
}

/// Adds the counters of a sandbox to `traffic`.
///
/// # Errors
/// The kernel's refusal.
pub fn count(sandbox: &SandboxName, traffic: &mut Traffic) -> Result<(), Refusal> {
    count_ipvs(sandbox, traffic)?;
    count_nftables(sandbox, traffic)
}

/// Adds what IPVS counted in a sandbox to `traffic`.
///
/// # Errors
/// The kernel's refusal.
pub fn count_ipvs(sandbox: &SandboxName, traffic: &mut Traffic) -> Result<(), Refusal> {
    for entry in entries(sandbox)?.unwrap_or_default() {
        let VirtualServerKey::Fwmark(mark) = VirtualServerKey::from(&entry.server.key) else {
            continue;
        };
        for real in &entry.real_servers {
            let IpAddr::V4(address) = real.address else { continue };
            let tally = Tally {
                active: u64::from(real.active),
                inactive: u64::from(real.inactive),
                connections: real.statistics.connections,
                packets: Some(real.statistics.packets_in),
            };
            traffic.insert((sandbox.clone(), mark, address), tally);
        }
    }
    Ok(())
}

/// Adds what the nftables data plane counted in a sandbox to `traffic`.
///
/// # Errors
/// The kernel's refusal.
pub fn count_nftables(sandbox: &SandboxName, traffic: &mut Traffic) -> Result<(), Refusal> {
    let namespace = netns::open(sandbox.as_str())?;
    let Some((_, counters)) = Nft::open(namespace.as_fd())?.read()? else { return Ok(()) };
    for ((mark, address), connections) in counters {
        let tally = Tally { connections, ..Tally::default() };
        traffic.insert((sandbox.clone(), mark, address), tally);
    }
    Ok(())
}
