//! IPVS's connections as `ipvsadm -Lnc` lists them.

use std::net::SocketAddr;

use crate::kernel::ipvs::wire::{self, Family, Key};
use crate::node::{Connection, Protocol};

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
    let [client, target, real] = [entry.client, entry.target, entry.real_server].map(end);
    let head = format!("{protocol:<3} {expires:<6} {:<11} {client:<18} {target:<18}", entry.state);
    match (&entry.engine, persistence) {
        (Some(engine), true) => {
            format!("{head} {real:<16} {:<18} {}", engine.name, engine.data)
        }
        (None, true) => format!("{head} {real:<16} {:<18} ", ""),
        (_, false) => format!("{head} {real}"),
    }
}

fn end(address: SocketAddr) -> String {
    address.to_string()
}

/// Whether a connection came in by a virtual server. Those by a mark cannot be told from others by
/// their addresses, but for the templates of persistence.
pub fn is_of(entry: &Connection, key: &Key) -> bool {
    match *key {
        Key::Fwmark { mark, family } => {
            let same = |found: crate::intent::Fwmark| found.0 == mark;
            entry.fwmark().is_some_and(same) && entry.client.is_ipv6() == (family == Family::V6)
        }
        Key::Address { protocol, address, port } => {
            let number = match entry.protocol {
                Protocol::Tcp => wire::Protocol::TCP,
                Protocol::Udp => wire::Protocol::UDP,
                Protocol::Sctp => wire::Protocol::SCTP,
                Protocol::Other(number) => wire::Protocol(number),
            };
            number == protocol && entry.target == SocketAddr::new(address, port)
        }
    }
}
