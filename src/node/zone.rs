//! What the resolver of one sandbox knows by itself.
//!
//! Pure data: which names a sandbox sees is decided elsewhere, and how a question is answered too.
//! Sandboxes on the same networks know the same, so they share one.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// The names and addresses that a sandbox's resolver answers without asking anyone.
///
/// Names are lower case and have no trailing dot: `web`, `tasks.web`, `web.1`, `web.blue`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zone {
    names: HashMap<String, Named>,
    pointers: HashMap<IpAddr, Pointed>,
    subnets: Vec<IpNet>,
    /// Whether nobody outside is asked for what is not known here: a query that goes out carries data
    /// out, in its name.
    pub secluded: bool,
}

/// What a name stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// How long an answer may be kept, in seconds.
    pub ttl: u32,
    /// Its IPv4 addresses, in the order in which they are first given out.
    pub v4: Vec<Ipv4Addr>,
    /// Its IPv6 addresses, likewise.
    pub v6: Vec<Ipv6Addr>,
    /// The names of those who serve under it, when it is not one that serves by itself.
    pub targets: Vec<String>,
}

/// What an address is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pointed {
    /// How long an answer may be kept, in seconds.
    pub ttl: u32,
    /// Its names, the preferred one first.
    pub names: Vec<String>,
}

impl Zone {
    /// Adds a name, or addresses to one; of two times to keep it the shorter counts.
    pub fn add(&mut self, name: &str, ttl: u32, addresses: &[IpAddr]) -> &mut Named {
        let fresh = || Named { ttl, ..Named::default() };
        let named = self.names.entry(lower(name).into_owned()).or_insert_with(fresh);
        named.ttl = named.ttl.min(ttl);
        for address in addresses {
            match address {
                IpAddr::V4(address) if !named.v4.contains(address) => named.v4.push(*address),
                IpAddr::V6(address) if !named.v6.contains(address) => named.v6.push(*address),
                IpAddr::V4(_) | IpAddr::V6(_) => {}
            }
        }
        named
    }

    /// Adds a name of an address, or an address without one.
    pub fn point(&mut self, address: IpAddr, ttl: u32, name: Option<&str>) {
        let fresh = || Pointed { ttl, names: Vec::new() };
        let pointed = self.pointers.entry(address).or_insert_with(fresh);
        pointed.ttl = pointed.ttl.min(ttl);
        pointed.names.extend(name.map(|name| lower(name).into_owned()));
    }

    /// Says that all of a range is the cluster's, whether its addresses are held or not.
    pub fn claim(&mut self, subnet: IpNet) {
        self.subnets.push(subnet);
    }

    /// Takes in what another zone knows; of a name that both know, what is known already stays.
    pub fn take_in(&mut self, other: Zone) {
        for (name, named) in other.names {
            self.names.entry(name).or_insert(named);
        }
        for (address, pointed) in other.pointers {
            self.pointers.entry(address).or_insert(pointed);
        }
    }

    /// What a name stands for, in any case and with or without a trailing dot; `None` when it is not
    /// of this zone, which is not the same as a name without addresses.
    pub fn named(&self, name: &str) -> Option<&Named> {
        self.names.get(&*lower(name.strip_suffix('.').unwrap_or(name)))
    }

    /// What an address is called; `None` when nobody of this zone has it.
    pub fn pointed(&self, address: IpAddr) -> Option<&Pointed> {
        self.pointers.get(&address)
    }

    /// Whether all of a range is the cluster's.
    pub fn claims(&self, range: IpNet) -> bool {
        self.subnets.iter().any(|subnet| subnet.contains(&range))
    }
}

fn lower(name: &str) -> Cow<'_, str> {
    match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => name.to_ascii_lowercase().into(),
        false => name.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_in_any_case_and_with_a_trailing_dot() {
        let mut zone = Zone::default();
        let vip = Ipv4Addr::new(10, 0, 1, 2);
        zone.add("Web", 2, &[vip.into()]);
        assert_eq!(zone.named("WeB.").map(|named| &named.v4[..]), Some(&[vip][..]));
        assert_eq!(zone.named("web"), zone.named("WeB."));
        assert_eq!(zone.named("web.."), None);
        assert_eq!(zone.named("webs"), None);
    }

    #[test]
    fn a_name_without_addresses_is_still_known() {
        let mut zone = Zone::default();
        zone.add("tasks.web", 2, &[]);
        assert_eq!(zone.named("tasks.web"), Some(&Named { ttl: 2, ..Named::default() }));
    }

    #[test]
    fn what_is_added_twice_is_there_once_and_kept_for_the_shorter_time() {
        let mut zone = Zone::default();
        let [one, two] = [3, 4].map(|last| IpAddr::from([10, 0, 1, last]));
        zone.add("tasks.web", 9, &[one]);
        zone.add("tasks.web", 5, &[one, two]);
        zone.add("tasks.web", 7, &[]);
        let named = zone.named("tasks.web").unwrap();
        assert_eq!((named.ttl, named.v4.len()), (5, 2));
        zone.point(one, 9, Some("web.1"));
        zone.point(one, 5, Some("Other.1"));
        let pointed = Pointed { ttl: 5, names: vec!["web.1".into(), "other.1".into()] };
        assert_eq!(zone.pointed(one), Some(&pointed));
        assert_eq!(zone.pointed(two), None);
    }

    #[test]
    fn a_range_is_the_clusters_when_all_of_it_is() {
        let mut zone = Zone::default();
        zone.claim("10.0.3.0/24".parse().unwrap());
        for (range, claimed) in [
            ("10.0.3.0/24", true),
            ("10.0.3.7/32", true),
            ("10.0.0.0/16", false),
            ("10.0.4.7/32", false),
            ("fd00::/64", false),
        ] {
            assert_eq!(zone.claims(range.parse().unwrap()), claimed, "{range}");
        }
    }
}
