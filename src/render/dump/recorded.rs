//! A sandbox of a recorded node, which holds neither the text of rules nor counters.

use super::headed;
use super::note::{annotate, of_mark};
use crate::dump::Table;
use crate::dump::names::Names;
use crate::node::{ForwardingEntry, LinkKind, Neighbour, Sandbox};

/// The parts that a node has; of the others it is said that it has them not.
pub fn recorded(sandbox: &Sandbox, tables: &[Table], names: &Names) -> String {
    let text = |table: Table| match table {
        Table::Links => links(sandbox, names),
        Table::Routes => routes(sandbox, names),
        Table::Sysctl => sysctls(sandbox),
        Table::Mangle | Table::Nat | Table::Filter => {
            "(a recorded node does not hold the text of rules; see --format json)\n".into()
        }
        Table::Ipvs => virtual_servers(sandbox, names),
        Table::Neighbours => neighbours(sandbox, names),
        Table::Fdb => forwarding(sandbox, names),
        Table::Connections | Table::Xfrm => "(a recorded node does not hold this)\n".into(),
    };
    headed(tables, text)
}

/// Links with their addresses, as `ip -br` prints them.
fn links(sandbox: &Sandbox, names: &Names) -> String {
    let mut text = String::new();
    for (name, link) in &sandbox.links {
        let kind = match &link.kind {
            LinkKind::Loopback => "loopback".to_owned(),
            LinkKind::Bridge => "bridge".into(),
            LinkKind::Vxlan { vni, port, learning, proxy, local } => format!(
                "vxlan id {vni}{} dstport {port}{}{}",
                local.map(|vtep| format!(" local {vtep}")).unwrap_or_default(),
                if *learning { " learning" } else { " nolearning" },
                if *proxy { " proxy" } else { "" }
            ),
            LinkKind::Veth { peer: Some(peer) } => {
                format!("veth to {} in {}", peer.link, peer.sandbox)
            }
            LinkKind::Veth { peer: None } => "veth".into(),
            LinkKind::Other { name } => name.clone(),
        };
        let state = if link.up { "UP" } else { "DOWN" };
        let mac = link.mac.map(|mac| format!(" {mac}")).unwrap_or_default();
        let master =
            link.master.as_ref().map(|master| format!(" master {master}")).unwrap_or_default();
        let line = format!("{name:<12} {state:<5} mtu {:<6}{mac}{master} {kind}", link.mtu);
        text.push_str(line.trim_end());
        text.push('\n');
        for address in sandbox.addresses.iter().filter(|address| address.link == *name) {
            text.push_str(&(annotate(&format!("    {}", address.net), names) + "\n"));
        }
    }
    text
}

fn routes(sandbox: &Sandbox, names: &Names) -> String {
    if sandbox.routes.is_empty() {
        return "(no local routes to VIPs)\n".into();
    }
    let line = |route: &crate::node::Route| {
        let line = format!("local {} dev lo src {}", route.address, route.source);
        annotate(&line, names) + "\n"
    };
    sandbox.routes.iter().map(line).collect()
}

/// Those of VXLAN devices, as `ip neighbour` prints them.
fn neighbours(sandbox: &Sandbox, names: &Names) -> String {
    let line = |held: &Neighbour| {
        let Neighbour { address, link, mac, permanent } = held;
        let state = if *permanent { " PERMANENT" } else { "" };
        annotate(&format!("{address} dev {link} lladdr {mac}{state}"), names) + "\n"
    };
    match sandbox.neighbours.is_empty() {
        true => "(no neighbours on other nodes)\n".into(),
        false => sandbox.neighbours.iter().map(line).collect(),
    }
}

/// Those of VXLAN devices, as `bridge fdb` prints them.
fn forwarding(sandbox: &Sandbox, names: &Names) -> String {
    let line = |entry: &ForwardingEntry| {
        let ForwardingEntry { link, mac, vtep, permanent } = entry;
        let state = if *permanent { " permanent" } else { "" };
        annotate(&format!("{mac} dev {link} dst {vtep} self{state}"), names) + "\n"
    };
    match sandbox.forwarding.is_empty() {
        true => "(no entries that lead to other nodes)\n".into(),
        false => sandbox.forwarding.iter().map(line).collect(),
    }
}

fn virtual_servers(sandbox: &Sandbox, names: &Names) -> String {
    if sandbox.virtual_servers.is_empty() {
        return "(no virtual servers)\n".into();
    }
    let mut text = String::new();
    for (key, server) in &sandbox.virtual_servers {
        let note = match key {
            crate::node::VirtualServerKey::Fwmark(mark) => names
                .mark(mark.0)
                .map(of_mark)
                .map_or_else(|| format!("  # {mark}"), |name| format!("  # {mark}, {name}")),
            _ => "  # foreign".into(),
        };
        text.push_str(&format!("{key} {}{note}\n", server.scheduler));
        for (key, real) in &server.real_servers {
            let line = format!("  -> {key} {} weight {}", real.forwarding, real.weight);
            text.push_str(&(annotate(&line, names) + "\n"));
        }
    }
    text + "(a recorded node has no counters)\n"
}

fn sysctls(sandbox: &Sandbox) -> String {
    if sandbox.sysctls.is_empty() {
        return "(all as the kernel's defaults)\n".into();
    }
    let line = |(sysctl, value): (&crate::node::Sysctl, &u32)| {
        format!("{sysctl} = {value}  # default {}\n", sysctl.default_value())
    };
    sandbox.sysctls.iter().map(line).collect()
}
