//! IPVS's connections as `ipvsadm -Lnc` lists them.

use crate::kernel::ipvs::wire::{Family, Key};
use crate::node::{Connection, Protocol, VirtualServerKey};

const HEADING: &str = "IPVS connection entries";

/// The whole list. With `persistence`, what a persistence engine knows a client by, too.
pub fn connections(entries: &[Connection], persistence: bool) -> String {
    let mut lines = vec![HEADING.to_owned()];
    let columns = match persistence {
        true => format!(
            "pro expire {:<11} {:<18} {:<18} {:<18} {:<16} pe_data",
            "state", "source", "virtual", "destination", "pe name"
        ),
        false => {
            format!("pro expire {:<11} {:<18} {:<18} destination", "state", "source", "virtual")
        }
    };
    lines.push(columns);
    lines.extend(entries.iter().map(|entry| line(entry, persistence)));
    lines.join("\n")
}

fn line(entry: &Connection, persistence: bool) -> String {
    let protocol = match entry.protocol {
        Protocol::Other(0) => "IP".to_owned(),
        protocol => protocol.to_string(),
    };
    let expires = format!("{:02}:{:02}", entry.expires / 60, entry.expires % 60);
    let ends = [entry.client, entry.target, entry.real_server];
    let [client, target, real] = ends.map(|end| end.to_string());
    let head = format!("{protocol:<3} {expires:<6} {:<11} {client:<18} {target:<18}", entry.state);
    match (&entry.engine, persistence) {
        (Some(engine), true) => {
            format!("{head} {real:<16} {:<18} {}", engine.name, engine.data)
        }
        (None, true) => format!("{head} {real:<16} {:<18} ", ""),
        (_, false) => format!("{head} {real}"),
    }
}

/// Whether a connection came in by a virtual server. Those by a mark cannot be told from others by
/// their addresses, but for the templates of persistence.
pub fn is_of(entry: &Connection, key: &Key) -> bool {
    match *key {
        Key::Fwmark { mark, family } => {
            let same = |found: crate::intent::Fwmark| found.0 == mark;
            entry.fwmark().is_some_and(same) && entry.client.is_ipv6() == (family == Family::V6)
        }
        Key::Address { .. } => {
            let (protocol, target) = (entry.protocol, entry.target);
            let (address, port) = (target.ip(), target.port());
            Key::from(VirtualServerKey::Address { protocol, address, port }) == *key
        }
    }
}
