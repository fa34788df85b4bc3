//! What the resolver of one sandbox knows by itself.
//!
//! Pure data: which names a sandbox sees is decided elsewhere, and how a question is answered too.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The names and addresses that one sandbox's resolver answers without asking anyone.
///
/// Names are lower case and have no trailing dot: `web`, `tasks.web`, `web.1`, `web.blue`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zone {
    /// How long an answer may be kept, in seconds.
    pub ttl: u32,
    /// The addresses of a name, of both families, in the order in which they are first given out.
    pub names: BTreeMap<String, Vec<IpAddr>>,
    /// The names of an address, the preferred one first.
    pub pointers: BTreeMap<IpAddr, Vec<String>>,
    /// Whether nobody outside is asked for what is not known here: a query that goes out carries data
    /// out, in its name.
    #[serde(default)]
    pub secluded: bool,
}

impl Zone {
    /// A zone that knows nothing yet. `ttl` is in seconds.
    pub fn new(ttl: u32) -> Self {
        Self { ttl, ..Self::default() }
    }

    /// The addresses of a name, in any case and with or without a trailing dot; `None` when the
    /// name is not of this zone, which is not the same as a name without addresses.
    pub fn addresses(&self, name: &str) -> Option<&[IpAddr]> {
        let name = name.strip_suffix('.').unwrap_or(name);
        if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return self.names.get(&name.to_ascii_lowercase()).map(Vec::as_slice);
        }
        self.names.get(name).map(Vec::as_slice)
    }

    /// The names of an address; `None` when the address is not of this zone.
    pub fn names_of(&self, address: IpAddr) -> Option<&[String]> {
        self.pointers.get(&address).map(Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_in_any_case_and_with_a_trailing_dot() {
        let mut zone = Zone::new(2);
        let vip = IpAddr::from([10, 0, 1, 2]);
        zone.names.insert("web".to_owned(), vec![vip]);
        assert_eq!(zone.addresses("WeB."), Some([vip].as_slice()));
        assert_eq!(zone.addresses("web"), Some([vip].as_slice()));
        assert_eq!(zone.addresses("web.."), None);
        assert_eq!(zone.addresses("webs"), None);
    }

    #[test]
    fn a_name_without_addresses_is_still_known() {
        let mut zone = Zone::new(2);
        zone.names.insert("tasks.web".to_owned(), Vec::new());
        assert_eq!(zone.addresses("tasks.web"), Some([].as_slice()));
    }

    #[test]
    fn an_address_without_names_is_still_known() {
        let mut zone = Zone::new(2);
        let address = IpAddr::from([10, 0, 1, 3]);
        zone.pointers.insert(address, Vec::new());
        assert_eq!(zone.names_of(address), Some([].as_slice()));
        assert_eq!(zone.names_of(IpAddr::from([10, 0, 1, 4])), None);
    }
}
