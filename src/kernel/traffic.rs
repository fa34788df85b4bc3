//! What the kernel counted of each target, whichever data plane balances.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;

use nix::errno::Errno;

use super::ipvs::{self, Ipvs};
use super::nft::Nft;
use super::{Refusal, netns};
use crate::intent::Fwmark;
use crate::node::{Entry, SandboxName, Table, VirtualServer, VirtualServerKey};
use crate::plan::runbook::table_of;
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
    let namespace = netns::of(sandbox)?;
    let mut nft = present(Nft::open(namespace.as_fd()))?;
    // What IPVS does in a namespace of others is theirs.
    let mut ipvs = match sandbox.guest() {
        None => Ipvs::open(namespace.as_fd())?,
        Some(_) => None,
    };
    let (_, counted) = table(nft.as_mut(), &table_of(sandbox))?;
    let (_, balanced) = virtual_servers(ipvs.as_mut())?;
    for (mark, target, tally) in counted.into_iter().chain(balanced) {
        traffic.insert((sandbox.clone(), mark, target), tally);
    }
    Ok(())
}

/// What was counted of targets, by mark and address.
type Tallies = Vec<(Fwmark, Ipv4Addr, Tally)>;

/// A kernel without netfilter has no tables.
pub fn present(opened: Result<Nft, Refusal>) -> Result<Option<Nft>, Refusal> {
    match opened {
        Ok(nft) => Ok(Some(nft)),
        Err(refusal) if refusal.errno == Errno::EPROTONOSUPPORT => Ok(None),
        Err(refusal) => Err(refusal),
    }
}

/// swarmlb's table of that name and what the nftables data plane counted.
///
/// # Errors
/// The kernel's refusal.
pub fn table(nft: Option<&mut Nft>, name: &str) -> Result<(Option<Table>, Tallies), Refusal> {
    let Some((table, counters)) = nft.map(|nft| nft.read(name)).transpose()?.flatten() else {
        return Ok((None, Vec::new()));
    };
    let tally =
        |((mark, target), connections)| (mark, target, Tally { connections, ..Tally::default() });
    Ok((Some(table), counters.into_iter().map(tally).collect()))
}

/// Virtual servers and what IPVS counted.
///
/// # Errors
/// The kernel's refusal.
pub fn virtual_servers(
    ipvs: Option<&mut Ipvs>,
) -> Result<(BTreeMap<VirtualServerKey, VirtualServer>, Tallies), Refusal> {
    let entries = ipvs.map(Ipvs::entries).transpose()?.unwrap_or_default();
    let mut tallies = Vec::new();
    for entry in &entries {
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
            tallies.push((mark, address, tally));
        }
    }
    Ok((ipvs::seen(&entries), tallies))
}
