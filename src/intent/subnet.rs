//! Subnets of networks: their addresses, and which of them may be handed out.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The range of one network. Between /8 and /29: a smaller one has no room for a gateway, a VIP
/// and two tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet(Ipv4Net);

/// A subnet that cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SubnetError {
    #[error("`{}` is not an IPv4 subnet: write it as ADDRESS/LENGTH, for example 10.0.3.0/24", text.escape_debug())]
    Malformed { text: String },
    #[error("{text} has bits set behind its length; the subnet is {meant}")]
    HostBits { text: String, meant: Ipv4Net },
    #[error(
        "{subnet} is too small: the smallest subnet is a /29, with room for a gateway, a VIP and four tasks"
    )]
    TooSmall { subnet: Ipv4Net },
    #[error("{subnet} is too large: the largest subnet is a /8")]
    TooLarge { subnet: Ipv4Net },
    #[error("{subnet} cannot be used: its addresses are {reserved}")]
    Reserved { subnet: Ipv4Net, reserved: &'static str },
}

impl Subnet {
    /// # Errors
    /// When the range is outside /8../29 or reserved for something else.
    pub fn new(net: Ipv4Net) -> Result<Self, SubnetError> {
        if net.trunc() != net {
            return Err(SubnetError::HostBits { text: net.to_string(), meant: net.trunc() });
        }
        if net.prefix_len() > 29 {
            return Err(SubnetError::TooSmall { subnet: net });
        }
        if net.prefix_len() < 8 {
            return Err(SubnetError::TooLarge { subnet: net });
        }
        let first = net.network();
        let reserved = match first.octets() {
            [0, ..] => "\"this network\" (0.0.0.0/8)",
            [127, ..] => "loopback (127.0.0.0/8)",
            [169, 254, ..] => "link-local (169.254.0.0/16)",
            [224..=255, ..] => "multicast or reserved (224.0.0.0/3)",
            _ => return Ok(Self(net)),
        };
        Err(SubnetError::Reserved { subnet: net, reserved })
    }

    pub fn net(&self) -> Ipv4Net {
        self.0
    }

    pub fn prefix_len(&self) -> u8 {
        self.0.prefix_len()
    }

    pub fn contains(&self, address: Ipv4Addr) -> bool {
        self.0.contains(&address)
    }

    pub fn overlaps(&self, other: &Ipv4Net) -> bool {
        self.0.contains(&other.network()) || other.contains(&self.0.network())
    }

    /// The first address, where the gateway lives, as in Docker.
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.0.network()) + 1)
    }

    /// How many addresses can be handed out to VIPs and tasks: all but network, broadcast and
    /// gateway.
    pub fn capacity(&self) -> u32 {
        (1u32 << (32 - u32::from(self.0.prefix_len()))) - 3
    }

    /// What an address of this range cannot be used for, when it is its first or last.
    pub fn reserves(&self, address: Ipv4Addr) -> Option<&'static str> {
        match address {
            _ if address == self.0.network() => Some("network"),
            _ if address == self.0.broadcast() => Some("broadcast"),
            _ => None,
        }
    }

    /// The address after `last` that is neither the network's nor the broadcast address; wraps
    /// round at the end of the range.
    pub fn after(&self, last: Ipv4Addr) -> Ipv4Addr {
        let first = u32::from(self.0.network()) + 1;
        let end = u32::from(self.0.broadcast());
        let next = u32::from(last).saturating_add(1);
        Ipv4Addr::from(if (first..end).contains(&next) { next } else { first })
    }
}

impl FromStr for Subnet {
    type Err = SubnetError;

    fn from_str(text: &str) -> Result<Self, SubnetError> {
        let net = text.parse::<Ipv4Net>();
        Self::new(net.map_err(|_| SubnetError::Malformed { text: text.into() })?)
    }
}

impl TryFrom<String> for Subnet {
    type Error = SubnetError;

    fn try_from(text: String) -> Result<Self, SubnetError> {
        text.parse()
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> String {
        subnet.0.to_string()
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_handed_out_in_order_and_wrap() {
        let subnet: Subnet = "10.0.3.0/29".parse().unwrap();
        assert_eq!(subnet.gateway(), Ipv4Addr::new(10, 0, 3, 1));
        assert_eq!(subnet.capacity(), 5);
        assert_eq!(subnet.after(subnet.gateway()), Ipv4Addr::new(10, 0, 3, 2));
        assert_eq!(subnet.after(Ipv4Addr::new(10, 0, 3, 6)), Ipv4Addr::new(10, 0, 3, 1));
    }

    #[test]
    fn a_subnet_that_cannot_work_is_refused_with_its_reason() {
        for (text, said) in [
            ("10.0.3.5/24", "the subnet is 10.0.3.0/24"),
            ("10.0.3.0/30", "too small"),
            ("0.0.0.0/0", "too large"),
            ("127.1.0.0/16", "loopback"),
            ("224.0.0.0/24", "multicast"),
            ("10.0.3.0", "is not an IPv4 subnet"),
            ("fd00::/64", "is not an IPv4 subnet"),
        ] {
            let error = text.parse::<Subnet>().unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
