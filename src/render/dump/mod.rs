//! What a sandbox holds, as the original tools print it, with the names of what it belongs to
//! behind a `#`.

mod note;
mod raw;
mod recorded;
mod rules;

use std::collections::BTreeMap;

use crate::dump::interface::Traffic;
use crate::dump::ipvs::{RealServer, Server};
use crate::dump::names::Names;
use crate::dump::{Contents, Interface, Part, Table, Tracked, Xfrm};
use crate::node::{Connection, LinkKind, Sysctl, VirtualServerKey};

use super::table::printable;
use note::{annotate, of_mark};

pub use raw::{Section, raw, sections};
pub use recorded::recorded;

/// The parts of a sandbox, each under a heading when there are several.
pub fn contents(contents: &Contents, tables: &[Table], names: &Names) -> String {
    let text = |table: Table| match table {
        Table::Links => part(contents.links.as_ref(), |links| self::links(links, names)),
        Table::Routes => routes(contents, names),
        Table::Neighbours => part(contents.neighbours.as_ref(), |neighbours| {
            annotated(neighbours.iter().map(ToString::to_string), names, "(no neighbours)\n")
        }),
        Table::Fdb => part(contents.fdb.as_ref(), |fdb| {
            annotated(fdb.iter().map(ToString::to_string), names, "(no entries)\n")
        }),
        Table::Mangle | Table::Nat | Table::Filter => {
            table.chains().map(|kind| rules::rules(contents, kind, names)).unwrap_or_default()
        }
        Table::Ipvs => {
            part(contents.ipvs.as_ref(), |servers| ipvs(servers, is_ours(&contents.kind), names))
        }
        Table::Connections => connections(contents, names),
        Table::Xfrm => part(contents.xfrm.as_ref(), xfrm),
        Table::Sysctl => part(contents.sysctls.as_ref(), sysctls),
    };
    headed(tables, text)
}

fn headed(tables: &[Table], text: impl Fn(Table) -> String) -> String {
    let several = tables.len() > 1;
    let one = |table: &Table| match several {
        true => format!("# {}\n{}", heading(*table), harmless(&text(*table))),
        false => harmless(&text(*table)),
    };
    tables.iter().map(one).collect::<Vec<_>>().join("\n")
}

/// Comments of rules and names of links are others' words.
fn harmless(text: &str) -> String {
    let line = |line: &str| line.split('\t').map(printable).collect::<Vec<_>>().join("\t");
    text.lines().map(|text| line(text) + "\n").collect()
}

fn heading(table: Table) -> &'static str {
    match table {
        Table::Links => "links and addresses",
        Table::Routes => "routes of every table, and the rules that choose one",
        Table::Neighbours => "neighbours: who has an address",
        Table::Fdb => "fdb: where bridges and tunnels send frames",
        Table::Mangle => "mangle: which packets are marked",
        Table::Nat => "nat: which packets are rewritten",
        Table::Filter => "filter: which packets are refused",
        Table::Ipvs => "ipvs: virtual and real servers",
        Table::Connections => "connections of IPVS and netfilter",
        Table::Xfrm => "xfrm: what is encrypted",
        Table::Sysctl => "kernel settings that matter",
    }
}

/// A part, or why there is none.
fn part<T>(part: Option<&Part<T>>, text: impl FnOnce(&T) -> String) -> String {
    match part {
        Some(Part::Read(value)) => text(value),
        Some(Part::Unreadable { why }) => format!("(not read: {why})\n"),
        None => "(the dump does not have this part)\n".into(),
    }
}

fn annotated(lines: impl Iterator<Item = String>, names: &Names, none: &str) -> String {
    let text: String = lines.map(|line| annotate(&line, names) + "\n").collect();
    if text.is_empty() { none.into() } else { text }
}

/// IPVS's table as `ipvsadm -Ln --stats` and `ipvsadm -Ln` together would print it.
fn ipvs(servers: &[Server], ours: bool, names: &Names) -> String {
    if servers.is_empty() {
        return "(no virtual servers)\n".into();
    }
    let mut text = format!(
        "Prot LocalAddress:Port Scheduler Flags\n  -> {:<22} {:<8} {:>6} {:>10} {:>12} {:>12} {:>10}\n",
        "RemoteAddress:Port", "Forward", "Weight", "ActiveConn", "InActConn", "Conns", "InPkts"
    );
    for server in servers {
        text.push_str(&server_line(server, ours, names));
        for real in &server.real_servers {
            text.push_str(&real_line(real, names));
        }
    }
    text
}

/// By what a dump calls a sandbox of ours.
fn is_ours(kind: &str) -> bool {
    matches!(kind, "task" | "network" | "ingress" | "left over")
}

fn server_line(server: &Server, ours: bool, names: &Names) -> String {
    let note = match server.key {
        key if ours && !key.is_of_our_kind() => "  # foreign".into(),
        VirtualServerKey::Fwmark(mark) | VirtualServerKey::Fwmark6(mark) => {
            match names.mark(mark.0).map(of_mark) {
                Some(name) => format!("  # {mark}, {name}"),
                None => format!("  # {mark}"),
            }
        }
        VirtualServerKey::Address { .. } => "  # foreign".into(),
    };
    let mut flags = String::new();
    if let Some(persistence) = &server.persistence {
        flags.push_str(&format!(" persistent {}", persistence.timeout));
        if let Some(engine) = &persistence.engine {
            flags.push_str(&format!(" pe {engine}"));
        }
    }
    if server.one_packet {
        flags.push_str(" ops");
    }
    format!("{} {}{flags}{note}\n", server.key, server.scheduler)
}

fn real_line(real: &RealServer, names: &Names) -> String {
    let line = format!(
        "  -> {:<22} {:<8} {:>6} {:>10} {:>12} {:>12} {:>10}",
        real.key.to_string(),
        real.forwarding,
        real.weight,
        real.active,
        real.inactive,
        real.counted.connections,
        real.counted.packets_in
    );
    annotate(&line, names) + "\n"
}

/// Settings; those of a link only where they differ from what a new link gets.
fn sysctls(settings: &BTreeMap<String, String>) -> String {
    let is_new = |(name, value): &(&String, &String)| {
        let of_link = || {
            let (before, rest) = name.split_once(".conf.")?;
            let (link, setting) = rest.rsplit_once('.')?;
            (!["all", "default"].contains(&link))
                .then(|| settings.get(&format!("{before}.conf.default.{setting}")))?
        };
        of_link() != Some(value)
    };
    let line = |(name, value): (&String, &String)| {
        let known = Sysctl::ALL.into_iter().find(|sysctl| sysctl.name() == name.as_str());
        let default = known.map(|sysctl| sysctl.default_value().to_string());
        match default.filter(|default| default != value) {
            Some(default) => format!("{name} = {value}  # default {default}\n"),
            None => format!("{name} = {value}\n"),
        }
    };
    settings.iter().filter(is_new).map(line).collect()
}

/// Links with their addresses, as `ip -br` prints them, and a little more.
fn links(links: &[Interface], names: &Names) -> String {
    let mut text = String::new();
    for link in links {
        let state = if link.up { "UP" } else { "DOWN" };
        let mac = link.mac.map(|mac| format!(" {mac}")).unwrap_or_default();
        let master =
            link.master.as_ref().map(|master| format!(" master {master}")).unwrap_or_default();
        let kind = kind(link);
        let mtu = link.mtu;
        let line =
            format!("{:<12} {state:<5} mtu {mtu:<6}{mac}{master} {kind}", link.name.as_str());
        text.push_str(line.trim_end());
        if link.up && !["up", "unknown"].contains(&link.state.as_str()) {
            text.push_str(&format!(", {}", link.state));
        }
        text.push('\n');
        if let Some(alias) = &link.alias {
            text.push_str(&format!("    alias {alias}\n"));
        }
        for address in &link.addresses {
            let peer = address.peer.map(|peer| format!(" peer {peer}")).unwrap_or_default();
            let scope = if address.scope == "global" { "" } else { &address.scope };
            let scope = if scope.is_empty() { String::new() } else { format!(" scope {scope}") };
            text.push_str(&(annotate(&format!("    {}{peer}{scope}", address.net), names) + "\n"));
        }
        if link.received.packets + link.sent.packets > 0 {
            let (received, sent) = (traffic(&link.received), traffic(&link.sent));
            text.push_str(&format!("    received {received}; sent {sent}\n"));
        }
    }
    text
}

fn kind(link: &Interface) -> String {
    let other = link.other_end.as_ref();
    match &link.kind {
        LinkKind::Loopback => "loopback".to_owned(),
        LinkKind::Bridge => "bridge".into(),
        LinkKind::Vxlan { vni, port, learning, proxy, .. } => {
            let mut words = format!("vxlan id {vni}");
            if let Some(local) = link.local {
                words.push_str(&format!(" local {local}"));
            }
            if let Some(remote) = link.remote {
                words.push_str(&format!(" remote {remote}"));
            }
            let learning = if *learning { "learning" } else { "nolearning" };
            let proxy = if *proxy { " proxy" } else { "" };
            words + &format!(" dstport {port} {learning}{proxy}")
        }
        LinkKind::Veth { .. } => match other {
            Some(other) => format!("veth to {other}"),
            None => "veth".into(),
        },
        LinkKind::Other { name } => match other {
            Some(other) => format!("{name} on {other}"),
            None => name.clone(),
        },
    }
}

fn traffic(counted: &Traffic) -> String {
    let mut words = format!("{} packets {} bytes", counted.packets, counted.bytes);
    if counted.errors > 0 {
        words.push_str(&format!(" {} errors", counted.errors));
    }
    if counted.dropped > 0 {
        words.push_str(&format!(" {} dropped", counted.dropped));
    }
    words
}

fn routes(contents: &Contents, names: &Names) -> String {
    let routes = part(contents.routes.as_ref(), |routes| {
        annotated(routes.iter().map(ToString::to_string), names, "(no routes)\n")
    });
    let rules = part(contents.routing_rules.as_ref(), |rules| {
        let line = |rule: &crate::dump::Rule| {
            let family = if rule.family == "ipv6" { "-6 " } else { "" };
            format!("ip {family}rule {rule}")
        };
        annotated(rules.iter().map(line), names, "(no rules choose a table)\n")
    });
    routes + &rules
}

fn connections(contents: &Contents, names: &Names) -> String {
    let balanced = part(contents.ipvs_connections.as_ref(), |connections| {
        let lines = connections.iter().map(|connection| balanced(connection, names));
        annotated(lines, names, "(IPVS has no connections)\n")
    });
    let tracked = part(contents.conntrack.as_ref(), |connections| {
        annotated(connections.iter().map(tracked), names, "(netfilter tracks no connections)\n")
    });
    format!("ipvs:\n{balanced}conntrack:\n{tracked}")
}

fn balanced(connection: &Connection, names: &Names) -> String {
    let target = match connection.fwmark() {
        Some(mark) => match names.mark(mark.0).map(of_mark) {
            Some(name) => format!("FWM {} ({name})", mark.0),
            None => format!("FWM {}", mark.0),
        },
        None => connection.target.to_string(),
    };
    let Connection { protocol, client, real_server, state, expires, .. } = connection;
    format!("{protocol} {expires}s {state} {client} -> {target} => {real_server}")
}

fn tracked(connection: &Tracked) -> String {
    let Tracked { protocol, asked, mark, .. } = connection;
    let mut words = protocol.clone();
    if let Some(expires) = connection.expires {
        words.push_str(&format!(" {expires}s"));
    }
    if let Some(state) = &connection.state {
        words.push_str(&format!(" {state}"));
    }
    words.push_str(&format!(" {asked}"));
    if let Some((address, port)) = connection.rewritten_to() {
        match port {
            Some(port) => words.push_str(&format!(" => {}", socket(address, port))),
            None => words.push_str(&format!(" => {address}")),
        }
    }
    if *mark != 0 {
        words.push_str(&format!(" mark {mark:#x}"));
    }
    for flag in &connection.flags {
        words.push_str(&format!(" [{flag}]"));
    }
    words
}

fn socket(address: std::net::IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(address, port).to_string()
}

fn xfrm(xfrm: &Xfrm) -> String {
    if xfrm.states.is_empty() && xfrm.policies.is_empty() {
        return "(no states and no policies)\n".into();
    }
    let blocks = xfrm.states.iter().chain(&xfrm.policies);
    blocks.map(|block| format!("{block}\n")).collect()
}
