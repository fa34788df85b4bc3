//! IPVS's entries: virtual servers and their real servers.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::RealServers;
use crate::intent::Fwmark;

/// A transport protocol that IPVS balances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
    /// AH, ESP or one that is not known here, by its number.
    Other(u16),
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Protocol::Tcp => f.pad("TCP"),
            Protocol::Udp => f.pad("UDP"),
            Protocol::Sctp => f.pad("SCTP"),
            Protocol::Other(number) => f.pad(&number.to_string()),
        }
    }
}

/// What a virtual server matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VirtualServerKey {
    /// Packets with this mark.
    Fwmark(Fwmark),
    /// Packets to this address; swarmlb makes none of these.
    Address { protocol: Protocol, address: IpAddr, port: u16 },
    /// Marked IPv6 packets; swarmlb makes none of these.
    Fwmark6(Fwmark),
}

impl VirtualServerKey {
    /// Whether swarmlb makes such virtual servers.
    pub fn is_of_our_kind(&self) -> bool {
        matches!(self, Self::Fwmark(mark) if *mark >= Fwmark::FIRST)
    }
}

impl PartialOrd for VirtualServerKey {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// By kind, in the order in which they stand above. Marks are what maps of thousands are searched for.
impl Ord for VirtualServerKey {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Fwmark(one), Self::Fwmark(other)) => one.cmp(other),
            _ => self.in_full().cmp(&other.in_full()),
        }
    }
}

impl VirtualServerKey {
    /// Its kind, its mark, and its address.
    fn in_full(self) -> (u8, Fwmark, Option<(Protocol, IpAddr, u16)>) {
        match self {
            Self::Fwmark(mark) => (0, mark, None),
            Self::Address { protocol, address, port } => {
                (1, Fwmark(0), Some((protocol, address, port)))
            }
            Self::Fwmark6(mark) => (2, mark, None),
        }
    }
}

impl fmt::Display for VirtualServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            VirtualServerKey::Fwmark(mark) => format!("FWM  {}", mark.0),
            VirtualServerKey::Fwmark6(mark) => format!("FWM  {} IPv6", mark.0),
            VirtualServerKey::Address { protocol, address: IpAddr::V4(address), port } => {
                format!("{protocol:<4} {address}:{port}")
            }
            VirtualServerKey::Address { protocol, address: IpAddr::V6(address), port } => {
                format!("{protocol:<4} [{address}]:{port}")
            }
        };
        f.pad(&text)
    }
}

/// How a packet gets to a real server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Forwarding {
    Masquerade,
    Local,
    Tunnel,
    Route,
    Bypass,
}

impl fmt::Display for Forwarding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Forwarding::Masquerade => "Masq",
            Forwarding::Local => "Local",
            Forwarding::Tunnel => "Tunnel",
            Forwarding::Route => "Route",
            Forwarding::Bypass => "Bypass",
        })
    }
}

/// Which target a sandbox begins with. The kernel does not tell the order of real servers, so two
/// rotations are always equal: the order is no part of comparing nodes.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rotation(pub u32);

impl PartialEq for Rotation {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Rotation {}

impl PartialOrd for Rotation {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Rotation {
    fn cmp(&self, _: &Self) -> Ordering {
        Ordering::Equal
    }
}

/// What a real server is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RealServerKey {
    pub address: IpAddr,
    /// 0 keeps the port that the client asked for.
    pub port: u16,
}

impl fmt::Display for RealServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.address {
            IpAddr::V4(address) => format!("{address}:{}", self.port),
            IpAddr::V6(address) => format!("[{address}]:{}", self.port),
        };
        f.pad(&text)
    }
}

/// A target of a virtual server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RealServer {
    pub forwarding: Forwarding,
    /// Its share; 0 gives it no new connections.
    pub weight: u32,
    /// With so many connections it gets no new ones; 0 for any number.
    #[serde(default, skip_serializing_if = "is_none")]
    pub most: u32,
    /// Below so many it gets new ones again; 0 for three quarters of the most.
    #[serde(default, skip_serializing_if = "is_none")]
    pub least: u32,
}

impl RealServer {
    /// One that takes any number of connections.
    pub fn new(forwarding: Forwarding, weight: u32) -> Self {
        Self { forwarding, weight, most: 0, least: 0 }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_none(number: &u32) -> bool {
    *number == 0
}

/// An entry of IPVS.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VirtualServer {
    /// By the kernel's name, which may be one that swarmlb never asks for.
    pub scheduler: Cow<'static, str>,
    #[serde(default)]
    pub flags: u32,
    /// Persistence in seconds; 0 for none.
    #[serde(default)]
    pub persistence: u32,
    /// How many bits of their address tell persistent clients apart; 0 for all.
    #[serde(default, skip_serializing_if = "is_none")]
    pub client_bits: u32,
    #[serde(default, skip_serializing)]
    pub rotation: Rotation,
    pub real_servers: RealServers,
}

impl PartialEq for VirtualServer {
    fn eq(&self, other: &Self) -> bool {
        let Self { scheduler, flags, persistence, client_bits, rotation, real_servers } = self;
        *flags == other.flags
            && *persistence == other.persistence
            && *client_bits == other.client_bits
            && *rotation == other.rotation
            && *real_servers == other.real_servers
            && is_same(scheduler, &other.scheduler)
    }
}

impl VirtualServer {
    /// How it picks, with all that belongs to it: `mh port, persistent 60 s by /24`.
    pub fn picking(&self) -> String {
        let first = self.real_servers.values().next();
        let alike = |real: &&RealServer| {
            self.real_servers
                .values()
                .all(|other| (other.most, other.least) == (real.most, real.least))
        };
        let (most, least) = first.filter(alike).map_or((0, 0), |real| (real.most, real.least));
        picking(&self.scheduler, self.flags, (self.persistence, self.client_bits), (most, least))
    }
}

/// How a virtual server picks: its scheduler with flags, affinity (seconds, and how many bits of an
/// address count) and thresholds (the most and the least), each 0 where there is none.
pub fn picking(scheduler: &str, flags: u32, affinity: (u32, u32), bounds: (u32, u32)) -> String {
    let mut words = scheduler.to_owned();
    let hashes = matches!(scheduler, "sh" | "mh");
    for (bit, name, number) in [(0x8, "fallback", 1), (0x10, "port", 2), (0x20, "flag-3", 3)] {
        match (flags & bit > 0, hashes) {
            (true, true) => words.push_str(&format!(" {name}")),
            (true, false) => words.push_str(&format!(" flag-{number}")),
            (false, _) => {}
        }
    }
    if flags & 0x4 > 0 {
        words.push_str(" ops");
    }
    match affinity {
        (0, _) => {}
        (seconds, 0) => words.push_str(&format!(", persistent {seconds} s")),
        (seconds, bits) => words.push_str(&format!(", persistent {seconds} s by /{bits}")),
    }
    match bounds {
        (0, _) => {}
        (most, 0) => words.push_str(&format!(", at most {most} connections a task")),
        (most, least) => {
            words.push_str(&format!(", at most {most} connections a task and again below {least}"))
        }
    }
    words
}

/// Whether names are equal. Those of one place in the program are, without a look there.
fn is_same(one: &str, other: &str) -> bool {
    std::ptr::eq(one, other) || one == other
}

impl Eq for VirtualServer {}

/// JSON keys are strings, so maps with other keys are written as lists of entries.
pub mod as_list {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// One entry: its key, and beside it what the value consists of.
    #[derive(Serialize, Deserialize)]
    struct Entry<K, V> {
        key: K,
        #[serde(flatten)]
        value: V,
    }

    /// # Errors
    /// What the serializer refuses.
    pub fn serialize<'a, K, V, S>(
        map: impl IntoIterator<Item = (&'a K, &'a V)>,
        serializer: S,
    ) -> Result<S::Ok, S::Error>
    where
        K: Serialize + 'a,
        V: Serialize + 'a,
        S: Serializer,
    {
        serializer.collect_seq(map.into_iter().map(|(key, value)| Entry { key, value }))
    }

    /// # Errors
    /// What is no such list.
    pub fn deserialize<'de, K, V, M, D>(deserializer: D) -> Result<M, D::Error>
    where
        K: Deserialize<'de>,
        V: Deserialize<'de>,
        M: FromIterator<(K, V)>,
        D: Deserializer<'de>,
    {
        let list = Vec::<Entry<K, V>>::deserialize(deserializer)?;
        Ok(list.into_iter().map(|entry| (entry.key, entry.value)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_by_kind_and_then_by_what_they_match() {
        let at = |protocol, last: u8, port| VirtualServerKey::Address {
            protocol,
            address: [10, 0, 3, last].into(),
            port,
        };
        let sorted = [
            VirtualServerKey::Fwmark(Fwmark(1)),
            VirtualServerKey::Fwmark(Fwmark(256)),
            at(Protocol::Tcp, 2, 80),
            at(Protocol::Tcp, 2, 81),
            at(Protocol::Tcp, 3, 80),
            at(Protocol::Udp, 2, 80),
            VirtualServerKey::Fwmark6(Fwmark(1)),
            VirtualServerKey::Fwmark6(Fwmark(256)),
        ];
        for (place, one) in sorted.iter().enumerate() {
            for (number, other) in sorted.iter().enumerate() {
                assert_eq!(one.cmp(other), place.cmp(&number), "{one} beside {other}");
            }
        }
    }
}
