//! Where the other nodes' parts of an overlay are: rows of a VXLAN device that neither learns nor asks.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::{LinkName, Mac};

/// A row of a VXLAN device's forwarding database: which node has a MAC.
/// `bridge fdb add MAC dev LINK dst VTEP self permanent`
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ForwardingEntry {
    pub link: LinkName,
    pub mac: Mac,
    /// The node's address on the underlay.
    pub vtep: Ipv4Addr,
    /// Whether it stays until it is removed, as all that swarmlb makes; others were learned.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub permanent: bool,
}

/// A neighbour, for which a VXLAN device with `proxy` answers ARP itself, so that none crosses nodes.
/// `ip neigh add ADDRESS lladdr MAC dev LINK nud permanent`
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Neighbour {
    pub link: LinkName,
    pub address: Ipv4Addr,
    /// Zeros where it is being looked for in vain.
    pub mac: Mac,
    /// Whether it stays until it is removed, as all that swarmlb makes.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub permanent: bool,
}

fn yes() -> bool {
    true
}

impl ForwardingEntry {
    /// What tells it from other rows of its MAC: nothing for the MAC of one; frames to a group, and
    /// to whoever is unknown, go to several nodes.
    pub fn one_of_many(&self) -> Option<Ipv4Addr> {
        let is_group = self.mac.0[0] & 1 == 1 || self.mac == Mac([0; 6]);
        is_group.then_some(self.vtep)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_frames_to_many_go_to_several_nodes() {
        let entry = |mac: &str| ForwardingEntry {
            link: "vxlan0".into(),
            mac: mac.parse().unwrap(),
            vtep: Ipv4Addr::new(192, 0, 2, 1),
            permanent: true,
        };
        assert_eq!(entry("02:42:0a:00:03:05").one_of_many(), None);
        for many in ["00:00:00:00:00:00", "01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff"] {
            assert!(entry(many).one_of_many().is_some(), "{many}");
        }
    }

    #[test]
    fn what_stays_is_written_without_saying_so() {
        let entry = Neighbour {
            link: "vxlan0".into(),
            address: Ipv4Addr::new(10, 0, 3, 5),
            mac: Mac([2, 66, 10, 0, 3, 5]),
            permanent: true,
        };
        let written = serde_json::to_string(&entry).unwrap();
        assert!(!written.contains("permanent"), "{written}");
        assert_eq!(serde_json::from_str::<Neighbour>(&written).unwrap(), entry);
        let learned = Neighbour { permanent: false, ..entry };
        let written = serde_json::to_string(&learned).unwrap();
        assert_eq!(serde_json::from_str::<Neighbour>(&written).unwrap(), learned);
    }
}
