//! The addresses of the namespace a task lives in, remembered for a moment.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::sys::socket::SockaddrStorage;

/// Asking the kernel costs more than answering a request, and addresses seldom change.
const FRESH: Duration = Duration::from_secs(1);

/// Every address of the namespace but loopback ones, with its prefix length, sorted.
#[derive(Debug, Default)]
pub struct Addresses {
    list: Vec<String>,
    read: Option<Instant>,
}

impl Addresses {
    /// The addresses as they were at most a second ago; the last ones known when the kernel does
    /// not answer.
    pub fn at(&mut self, now: Instant) -> &[String] {
        let fresh = self.read.is_some_and(|read| now.saturating_duration_since(read) < FRESH);
        if !fresh && let Ok(found) = getifaddrs() {
            let mut found: Vec<(IpAddr, u32)> = found.filter_map(|entry| prefix(&entry)).collect();
            found.sort_unstable();
            found.dedup();
            self.list =
                found.iter().map(|(address, length)| format!("{address}/{length}")).collect();
            self.read = Some(now);
        }
        &self.list
    }
}

fn prefix(entry: &InterfaceAddress) -> Option<(IpAddr, u32)> {
    let address = ip(entry.address.as_ref()?).filter(|address| !address.is_loopback())?;
    let length = match entry.netmask.as_ref().and_then(ip) {
        Some(IpAddr::V4(mask)) => mask.to_bits().count_ones(),
        Some(IpAddr::V6(mask)) => mask.to_bits().count_ones(),
        None if address.is_ipv4() => 32,
        None => 128,
    };
    Some((address, length))
}

fn ip(storage: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = storage.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
    v4.or_else(|| storage.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
}
