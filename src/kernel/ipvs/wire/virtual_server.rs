//! A virtual server (the protocol says service) and the key that names it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::BitOr;

use super::attribute::{Attribute, Attributes, DecodeError, Writer, address};
use super::name::Name;
use super::statistics::{Statistics, StatisticsPair};

const WHAT: &str = "a virtual server";

const AF: u16 = 1;
const PROTOCOL: u16 = 2;
const ADDRESS: u16 = 3;
const PORT: u16 = 4;
const FWMARK: u16 = 5;
const SCHEDULER: u16 = 6;
const FLAGS: u16 = 7;
const TIMEOUT: u16 = 8;
const NETMASK: u16 = 9;
const STATS: u16 = 10;
const PE_NAME: u16 = 11;
const STATS64: u16 = 12;

/// An address family that IPVS has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// `AF_INET`
    V4,
    /// `AF_INET6`
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    pub(super) fn number(self) -> u16 {
        match self {
            Self::V4 => 2,
            Self::V6 => 10,
        }
    }

    pub(super) fn from_number(number: u16) -> Result<Self, DecodeError> {
        match number {
            2 => Ok(Self::V4),
            10 => Ok(Self::V6),
            other => Err(DecodeError::AddressFamily(other)),
        }
    }
}

/// A transport protocol by its number (`IPPROTO_*`). IPVS takes TCP, UDP and SCTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protocol(pub u16);

impl Protocol {
    /// TCP, 6.
    pub const TCP: Self = Self(6);
    /// UDP, 17.
    pub const UDP: Self = Self(17);
    /// SCTP, 132.
    pub const SCTP: Self = Self(132);
}

/// What names a virtual server: no two in a network namespace have the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// All packets with a firewall mark.
    Fwmark {
        /// The mark; the kernel takes 0 for "no mark" and refuses it.
        mark: u32,
        /// The same mark may serve once for each family.
        family: Family,
    },
    /// All packets to an address and port.
    Address {
        /// The transport protocol.
        protocol: Protocol,
        /// The virtual address.
        address: IpAddr,
        /// The port; 0, which the kernel takes for persistent ones only, is every port.
        port: u16,
    },
}

impl Key {
    /// The address family of the packets that it matches.
    pub fn family(&self) -> Family {
        match self {
            Self::Fwmark { family, .. } => *family,
            Self::Address { address, .. } => Family::of(*address),
        }
    }

    /// A key by mark leaves out protocol, address and port, as the kernel does in its answers.
    pub(super) fn write(&self, writer: &mut Writer<'_>) {
        writer.u16(AF, self.family().number());
        match self {
            Self::Fwmark { mark, .. } => writer.u32(FWMARK, *mark),
            Self::Address { protocol, address, port } => {
                writer.u16(PROTOCOL, protocol.0);
                writer.address(ADDRESS, *address);
                writer.port(PORT, *port);
            }
        }
    }
}

/// Flags of a virtual server (`IP_VS_SVC_F_*`).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Flags(pub u32);

impl Flags {
    /// None.
    pub const NONE: Self = Self(0);
    /// A client stays with the real server it had, for the persistence timeout.
    pub const PERSISTENT: Self = Self(0x1);
    /// The kernel's own: the virtual server is in its table. It is set in every answer and ignored in
    /// requests.
    pub const HASHED: Self = Self(0x2);
    /// Every UDP packet is scheduled by itself.
    pub const ONE_PACKET: Self = Self(0x4);
    /// First flag of the scheduler: `sh-fallback`, `mh-fallback`.
    pub const SCHEDULER_1: Self = Self(0x8);
    /// Second flag of the scheduler: `sh-port`, `mh-port`.
    pub const SCHEDULER_2: Self = Self(0x10);
    /// Third flag of the scheduler.
    pub const SCHEDULER_3: Self = Self(0x20);

    /// Whether all flags of `other` are set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These flags but those of `other`.
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Flags({:#x})", self.0)
    }
}

/// How many neighbours count as one client for persistence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Netmask {
    /// An IPv4 mask; 255.255.255.255 is every client by itself.
    V4(Ipv4Addr),
    /// The length of an IPv6 prefix, 1 to 128.
    V6(u32),
}

impl Netmask {
    /// Every client by itself, the default of `ipvsadm`.
    pub fn host(family: Family) -> Self {
        match family {
            Family::V4 => Self::V4(Ipv4Addr::BROADCAST),
            Family::V6 => Self::V6(128),
        }
    }

    /// So many bits from the first on.
    pub fn of_length(length: u32, family: Family) -> Self {
        match family {
            Family::V4 => {
                let rest = 32_u32.saturating_sub(length);
                Self::V4(Ipv4Addr::from(u32::MAX.checked_shl(rest).unwrap_or(0)))
            }
            Family::V6 => Self::V6(length),
        }
    }

    /// How many bits of an address it leaves.
    pub fn length(self) -> u32 {
        match self {
            Self::V4(mask) => u32::from(mask).leading_ones(),
            Self::V6(length) => length,
        }
    }

    fn bytes(self) -> [u8; 4] {
        match self {
            Self::V4(mask) => mask.octets(),
            Self::V6(length) => length.to_ne_bytes(),
        }
    }

    fn from_bytes(bytes: [u8; 4], family: Family) -> Self {
        match family {
            Family::V4 => Self::V4(Ipv4Addr::from(bytes)),
            Family::V6 => Self::V6(u32::from_ne_bytes(bytes)),
        }
    }
}

/// A virtual server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualServer {
    /// What names it.
    pub key: Key,
    /// The scheduler; the kernel says `none` of a virtual server that has none.
    pub scheduler: Name,
    /// Its flags; in answers [`Flags::HASHED`] is among them.
    pub flags: Flags,
    /// Persistence timeout in seconds; it means something with [`Flags::PERSISTENT`] only.
    pub timeout: u32,
    /// Granularity of persistence; its family should be that of the key.
    pub netmask: Netmask,
    /// The persistence engine, if it has one.
    pub persistence_engine: Option<Name>,
    /// Counters; requests leave them out.
    pub statistics: Statistics,
}

impl VirtualServer {
    /// One without flags and persistence.
    pub fn new(key: Key, scheduler: Name) -> Self {
        Self {
            key,
            scheduler,
            flags: Flags::NONE,
            timeout: 0,
            netmask: Netmask::host(key.family()),
            persistence_engine: None,
            statistics: Statistics::default(),
        }
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) {
        self.key.write(writer);
        writer.text(SCHEDULER, self.scheduler.as_str());
        if let Some(engine) = &self.persistence_engine {
            writer.text(PE_NAME, engine.as_str());
        }
        writer.masked_u32(FLAGS, self.flags.0);
        writer.u32(TIMEOUT, self.timeout);
        writer.raw(NETMASK, &self.netmask.bytes());
    }

    pub(super) fn decode(attributes: Attributes<'_>) -> Result<Self, DecodeError> {
        let mut found = Found::default();
        for attribute in attributes {
            found.take(&attribute?)?;
        }
        found.assemble()
    }
}

/// The attributes seen so far: they come in any order, and the meaning of some depends on others.
#[derive(Debug, Default)]
struct Found {
    family: Option<u16>,
    protocol: Option<u16>,
    address: Option<[u8; 16]>,
    port: Option<u16>,
    mark: Option<u32>,
    scheduler: Option<Name>,
    flags: Option<u32>,
    timeout: Option<u32>,
    netmask: Option<[u8; 4]>,
    engine: Option<Name>,
    statistics: StatisticsPair,
}

impl Found {
    fn take(&mut self, attribute: &Attribute<'_>) -> Result<(), DecodeError> {
        match attribute.number {
            AF => self.family = Some(attribute.u16("address family")?),
            PROTOCOL => self.protocol = Some(attribute.u16("protocol")?),
            ADDRESS => self.address = Some(attribute.address_bytes("address")?),
            PORT => self.port = Some(attribute.port("port")?),
            FWMARK => self.mark = Some(attribute.u32("fwmark")?),
            SCHEDULER => self.scheduler = Some(name(attribute, "scheduler")?),
            FLAGS => self.flags = Some(attribute.masked_u32("flags")?),
            TIMEOUT => self.timeout = Some(attribute.u32("timeout")?),
            NETMASK => self.netmask = Some(attribute.four_bytes("netmask")?),
            PE_NAME => self.engine = Some(name(attribute, "persistence engine")?),
            STATS => self.statistics.narrow = Some(Statistics::decode(attribute)?),
            STATS64 => self.statistics.wide = Some(Statistics::decode(attribute)?),
            _ => {}
        }
        Ok(())
    }

    fn key(&self) -> Result<Key, DecodeError> {
        let family = Family::from_number(self.family.ok_or(missing("address family"))?)?;
        if let Some(mark) = self.mark {
            return Ok(Key::Fwmark { mark, family });
        }
        Ok(Key::Address {
            protocol: Protocol(self.protocol.ok_or(missing("protocol"))?),
            address: address(self.address.ok_or(missing("address"))?, family),
            port: self.port.ok_or(missing("port"))?,
        })
    }

    fn assemble(self) -> Result<VirtualServer, DecodeError> {
        let key = self.key()?;
        let family = key.family();
        Ok(VirtualServer {
            key,
            scheduler: self.scheduler.ok_or(missing("scheduler"))?,
            flags: Flags(self.flags.unwrap_or_default()),
            timeout: self.timeout.unwrap_or_default(),
            netmask: self
                .netmask
                .map_or(Netmask::host(family), |bytes| Netmask::from_bytes(bytes, family)),
            persistence_engine: self.engine,
            statistics: self.statistics.best(),
        })
    }
}

fn missing(attribute: &'static str) -> DecodeError {
    DecodeError::Missing { what: WHAT, attribute }
}

fn name(attribute: &Attribute<'_>, what: &'static str) -> Result<Name, DecodeError> {
    let text = attribute.text();
    Name::from_bytes(text)
        .ok_or_else(|| DecodeError::NotAName { attribute: what, bytes: text.to_vec() })
}
