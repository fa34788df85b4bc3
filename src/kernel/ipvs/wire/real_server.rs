//! A real server (the protocol says destination) of a virtual server.

use std::net::IpAddr;

use super::attribute::{Attribute, Attributes, DecodeError, Writer, address};
use super::statistics::{Statistics, StatisticsPair};
use super::virtual_server::Family;

const WHAT: &str = "a real server";

const ADDRESS: u16 = 1;
const PORT: u16 = 2;
const FORWARDING: u16 = 3;
const WEIGHT: u16 = 4;
const UPPER_THRESHOLD: u16 = 5;
const LOWER_THRESHOLD: u16 = 6;
const ACTIVE: u16 = 7;
const INACTIVE: u16 = 8;
const PERSISTENT: u16 = 9;
const STATS: u16 = 10;
const ADDRESS_FAMILY: u16 = 11;
const STATS64: u16 = 12;
const TUNNEL_KIND: u16 = 13;
const TUNNEL_PORT: u16 = 14;
const TUNNEL_FLAGS: u16 = 15;

/// `IP_VS_CONN_F_FWD_MASK`: the other bits belong to connections.
const FORWARDING_MASK: u32 = 0x7;

/// How packets get to a real server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Forwarding {
    /// Destination address and port are rewritten, and rewritten back in answers (`-m`).
    #[default]
    Masquerade,
    /// The real server is this network namespace itself. The kernel says so of its own accord.
    Local,
    /// The packet is sent inside another (`-i`).
    Tunnel,
    /// The packet is sent unchanged to the real server's link address (`-g`).
    Route,
    /// The packet goes where it was going; the kernel's own, for caches.
    Bypass,
    /// A number that has no meaning today, 5 to 7.
    Other(u8),
}

impl Forwarding {
    fn number(self) -> u32 {
        match self {
            Self::Masquerade => 0,
            Self::Local => 1,
            Self::Tunnel => 2,
            Self::Route => 3,
            Self::Bypass => 4,
            Self::Other(number) => u32::from(number) & FORWARDING_MASK,
        }
    }

    fn from_number(number: u32) -> Self {
        match number & FORWARDING_MASK {
            0 => Self::Masquerade,
            1 => Self::Local,
            2 => Self::Tunnel,
            3 => Self::Route,
            4 => Self::Bypass,
            5 => Self::Other(5),
            6 => Self::Other(6),
            _ => Self::Other(7),
        }
    }
}

/// What a tunnel wraps packets in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum TunnelKind {
    /// IP in IP.
    #[default]
    Ipip,
    /// Generic UDP encapsulation.
    Gue,
    /// Generic routing encapsulation.
    Gre,
    /// One that later kernels have.
    Other(u8),
}

impl TunnelKind {
    fn number(self) -> u8 {
        match self {
            Self::Ipip => 0,
            Self::Gue => 1,
            Self::Gre => 2,
            Self::Other(number) => number,
        }
    }

    fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Ipip,
            1 => Self::Gue,
            2 => Self::Gre,
            other => Self::Other(other),
        }
    }
}

/// The tunnel to a real server; it means something with [`Forwarding::Tunnel`] only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Tunnel {
    /// What packets are wrapped in.
    pub kind: TunnelKind,
    /// UDP port of [`TunnelKind::Gue`]; 0 for the others.
    pub port: u16,
    /// `IP_VS_TUNNEL_ENCAP_FLAG_*`: 1 checksum, 2 remote checksum offload.
    pub flags: u16,
}

/// A real server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RealServer {
    /// Its address, which for a tunnel may be of the other family than the virtual server.
    pub address: IpAddr,
    /// Its port; 0 where the virtual server is a mark and the packet's port shall stay.
    pub port: u16,
    /// How packets get there.
    pub forwarding: Forwarding,
    /// Its share, up to 2^31 − 1; 0 takes no new connections and lets the present ones end.
    pub weight: u32,
    /// Above that many connections it takes no new ones; 0 is no bound.
    pub upper_threshold: u32,
    /// Below that many connections it takes new ones again; 0 is three quarters of the upper one.
    pub lower_threshold: u32,
    /// The tunnel to it.
    pub tunnel: Tunnel,
    /// Active connections now. Requests leave this out.
    pub active: u32,
    /// Connections that are not active, all of UDP among them. Requests leave this out.
    pub inactive: u32,
    /// Persistence entries. Requests leave this out.
    pub persistent: u32,
    /// Counters. Requests leave them out.
    pub statistics: Statistics,
}

impl RealServer {
    /// One with weight 1 and no thresholds.
    pub fn new(address: IpAddr, port: u16, forwarding: Forwarding) -> Self {
        Self {
            address,
            port,
            forwarding,
            weight: 1,
            upper_threshold: 0,
            lower_threshold: 0,
            tunnel: Tunnel::default(),
            active: 0,
            inactive: 0,
            persistent: 0,
            statistics: Statistics::default(),
        }
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) {
        write_key(self.address, self.port, writer);
        writer.u32(FORWARDING, self.forwarding.number());
        writer.u32(WEIGHT, self.weight);
        writer.u8(TUNNEL_KIND, self.tunnel.kind.number());
        writer.port(TUNNEL_PORT, self.tunnel.port);
        writer.u16(TUNNEL_FLAGS, self.tunnel.flags);
        writer.u32(UPPER_THRESHOLD, self.upper_threshold);
        writer.u32(LOWER_THRESHOLD, self.lower_threshold);
    }

    pub(super) fn decode(attributes: Attributes<'_>) -> Result<Self, DecodeError> {
        let mut found = Found::default();
        for attribute in attributes {
            found.take(&attribute?)?;
        }
        found.assemble()
    }
}

/// What names a real server within its virtual server.
pub(super) fn write_key(address: IpAddr, port: u16, writer: &mut Writer<'_>) {
    writer.u16(ADDRESS_FAMILY, Family::of(address).number());
    writer.address(ADDRESS, address);
    writer.port(PORT, port);
}

/// The attributes seen so far: the meaning of the address depends on one that comes later.
#[derive(Debug, Default)]
struct Found {
    family: Option<u16>,
    address: Option<[u8; 16]>,
    port: Option<u16>,
    forwarding: Option<u32>,
    weight: Option<u32>,
    upper_threshold: Option<u32>,
    lower_threshold: Option<u32>,
    active: Option<u32>,
    inactive: Option<u32>,
    persistent: Option<u32>,
    tunnel: Tunnel,
    statistics: StatisticsPair,
}

impl Found {
    fn take(&mut self, attribute: &Attribute<'_>) -> Result<(), DecodeError> {
        match attribute.number {
            ADDRESS => self.address = Some(attribute.address_bytes("address")?),
            PORT => self.port = Some(attribute.port("port")?),
            FORWARDING => self.forwarding = Some(attribute.u32("forwarding")?),
            WEIGHT => self.weight = Some(attribute.u32("weight")?),
            UPPER_THRESHOLD => self.upper_threshold = Some(attribute.u32("upper threshold")?),
            LOWER_THRESHOLD => self.lower_threshold = Some(attribute.u32("lower threshold")?),
            ACTIVE => self.active = Some(attribute.u32("active connections")?),
            INACTIVE => self.inactive = Some(attribute.u32("inactive connections")?),
            PERSISTENT => self.persistent = Some(attribute.u32("persistent connections")?),
            ADDRESS_FAMILY => self.family = Some(attribute.u16("address family")?),
            TUNNEL_KIND => self.tunnel.kind = TunnelKind::from_number(attribute.u8("tunnel type")?),
            TUNNEL_PORT => self.tunnel.port = attribute.port("tunnel port")?,
            TUNNEL_FLAGS => self.tunnel.flags = attribute.u16("tunnel flags")?,
            STATS => self.statistics.narrow = Some(Statistics::decode(attribute)?),
            STATS64 => self.statistics.wide = Some(Statistics::decode(attribute)?),
            _ => {}
        }
        Ok(())
    }

    /// Kernels before 3.18 leave out the address family; they are too old to read here.
    fn assemble(self) -> Result<RealServer, DecodeError> {
        let family = Family::from_number(self.family.ok_or(missing("address family"))?)?;
        Ok(RealServer {
            address: address(self.address.ok_or(missing("address"))?, family),
            port: self.port.ok_or(missing("port"))?,
            forwarding: Forwarding::from_number(self.forwarding.ok_or(missing("forwarding"))?),
            weight: self.weight.ok_or(missing("weight"))?,
            upper_threshold: self.upper_threshold.unwrap_or_default(),
            lower_threshold: self.lower_threshold.unwrap_or_default(),
            tunnel: self.tunnel,
            active: self.active.unwrap_or_default(),
            inactive: self.inactive.unwrap_or_default(),
            persistent: self.persistent.unwrap_or_default(),
            statistics: self.statistics.best(),
        })
    }
}

fn missing(attribute: &'static str) -> DecodeError {
    DecodeError::Missing { what: WHAT, attribute }
}
