//! Routes of every table, and the rules that choose the table.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::intent::Fwmark;
use crate::node::{self, LinkName};
use crate::plan::runbook::{ROUTE_PROTOCOL, TURN_PRIORITY};

/// A route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// `unicast`, `local`, `broadcast`, `blackhole` …
    pub kind: String,
    pub to: IpNet,
    /// `main`, `local`, `default` or a number.
    pub table: String,
    /// Who made it: `kernel`, `boot`, `static` or a number.
    pub protocol: String,
    /// `global`, `link`, `host` …
    pub scope: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<u32>,
    /// Bytes, where the route sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// One, but for a route of several paths; none for a route that goes nowhere.
    pub hops: Vec<Hop>,
}

impl Route {
    /// In the words of a node, where it is a local route of swarmlb's to a VIP.
    pub fn in_a_node(&self) -> Option<node::Route> {
        let ours = self.kind == "local"
            && self.table == "local"
            && self.protocol == ROUTE_PROTOCOL.to_string();
        let IpAddr::V4(address) = self.to.addr() else { return None };
        let source = match self.source {
            Some(IpAddr::V4(source)) => source,
            _ => address,
        };
        ours.then_some(node::Route { address, source })
    }

    /// In the words of a node, where it is one of swarmlb's to what lies beyond a link's own subnet.
    pub fn path_in_a_node(&self) -> Option<node::Path> {
        let ours = self.kind == "unicast" && self.protocol == ROUTE_PROTOCOL.to_string();
        let mark = match self.table.as_str() {
            "main" => None,
            table => Some(Fwmark(table.parse().ok()?)),
        };
        let (IpNet::V4(to), [hop]) = (self.to, &self.hops[..]) else { return None };
        let Some(IpAddr::V4(source)) = self.source else { return None };
        let via = match hop.via {
            Some(IpAddr::V4(via)) => Some(via),
            Some(IpAddr::V6(_)) => return None,
            None => None,
        };
        ours.then_some(node::Path { to, link: hop.link.clone()?, via, source, mark })
    }
}

/// Where a route goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hop {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkName>,
    /// Its share among several.
    pub weight: u32,
}

impl Hop {
    fn words(&self) -> String {
        let via = self.via.map(|via| format!(" via {via}")).unwrap_or_default();
        let dev = self.link.as_ref().map(|link| format!(" dev {link}")).unwrap_or_default();
        via + &dev
    }
}

/// `local 10.0.3.2 dev lo table local proto 108 scope host src 10.0.3.3`, as `ip route` says it.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind != "unicast" {
            write!(f, "{} ", self.kind)?;
        }
        match self.to.prefix_len() {
            0 => f.write_str("default")?,
            length if length == self.to.max_prefix_len() => write!(f, "{}", self.to.addr())?,
            _ => write!(f, "{}", self.to)?,
        }
        if let [hop] = self.hops.as_slice() {
            f.write_str(&hop.words())?;
        }
        if self.table != "main" {
            write!(f, " table {}", self.table)?;
        }
        if self.protocol != "boot" {
            write!(f, " proto {}", self.protocol)?;
        }
        if self.scope != "global" {
            write!(f, " scope {}", self.scope)?;
        }
        if let Some(source) = self.source {
            write!(f, " src {source}")?;
        }
        if let Some(metric) = self.metric {
            write!(f, " metric {metric}")?;
        }
        if let Some(mtu) = self.mtu {
            write!(f, " mtu {mtu}")?;
        }
        if self.hops.len() > 1 {
            for hop in &self.hops {
                write!(f, " nexthop{} weight {}", hop.words(), hop.weight)?;
            }
        }
        Ok(())
    }
}

/// A rule that chooses a routing table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// `ipv4` or `ipv6`.
    pub family: String,
    pub priority: u32,
    /// What it matches, as `ip rule` says it: `from all fwmark 0x1`.
    pub matches: String,
    /// What it does: `lookup main`, `blackhole`.
    pub action: String,
}

impl Rule {
    /// The mark that it is about, where it is one of swarmlb's.
    pub fn in_a_node(&self) -> Option<Fwmark> {
        let mark = Fwmark(self.action.strip_prefix("lookup ")?.parse().ok()?);
        let ours = self.family == "ipv4"
            && self.priority == TURN_PRIORITY
            && self.matches == format!("from all fwmark {mark}");
        ours.then_some(mark)
    }
}

/// `32766: from all lookup main`
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {}", self.priority, self.matches, self.action)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_read_as_ip_route_prints_them() {
        let hop = |via: Option<&str>, link: &str| Hop {
            via: via.map(|via| via.parse().unwrap()),
            link: Some(link.into()),
            weight: 1,
        };
        let main = Route {
            kind: "unicast".into(),
            to: "0.0.0.0/0".parse().unwrap(),
            table: "main".into(),
            protocol: "boot".into(),
            scope: "global".into(),
            source: None,
            metric: None,
            mtu: None,
            hops: vec![hop(Some("172.18.0.1"), "eth1")],
        };
        assert_eq!(main.to_string(), "default via 172.18.0.1 dev eth1");
        let local = Route {
            kind: "local".into(),
            to: "10.0.3.2/32".parse().unwrap(),
            table: "local".into(),
            protocol: "108".into(),
            scope: "host".into(),
            source: Some([10, 0, 3, 3].into()),
            hops: vec![hop(None, "lo")],
            ..main.clone()
        };
        let words = "local 10.0.3.2 dev lo table local proto 108 scope host src 10.0.3.3";
        assert_eq!(local.to_string(), words);
        let in_a_node = local.in_a_node().unwrap();
        assert_eq!(
            (in_a_node.address, in_a_node.source),
            ([10, 0, 3, 2].into(), [10, 0, 3, 3].into())
        );
        assert_eq!(Route { protocol: "kernel".into(), ..local }.in_a_node(), None);
        let paths = Route {
            to: "10.9.0.0/16".parse().unwrap(),
            metric: Some(5),
            hops: vec![hop(Some("10.0.0.1"), "a"), hop(None, "b")],
            ..main
        };
        let words =
            "10.9.0.0/16 metric 5 nexthop via 10.0.0.1 dev a weight 1 nexthop dev b weight 1";
        assert_eq!(paths.to_string(), words);
    }
}
