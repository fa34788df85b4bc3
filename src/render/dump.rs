//! A sandbox's rules and tables as the original tools print them, with the names of what they
//! belong to behind a `#`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use crate::intent::{Fwmark, Intent};
use crate::kernel::ipvs::wire;
use crate::node::{Entry, LinkKind, Sandbox, VirtualServerKey};

/// What addresses and marks belong to.
pub struct Names {
    addresses: BTreeMap<Ipv4Addr, String>,
    marks: BTreeMap<Fwmark, String>,
}

impl Names {
    pub fn of(intent: &Intent) -> Self {
        let mut addresses = BTreeMap::new();
        let mut marks = BTreeMap::new();
        for service in intent.services.values() {
            for vip in service.vips.values() {
                addresses.insert(vip.address, format!("VIP of {}", service.name));
                marks.insert(vip.fwmark, format!("VIP of {}", service.name));
            }
        }
        for task in intent.tasks.values() {
            for endpoint in &task.endpoints {
                addresses.insert(endpoint.address, task.name.to_string());
            }
        }
        for network in intent.networks.values() {
            let name = format!("gateway of {}", network.name);
            for pool in &network.pools {
                addresses.insert(pool.gateway, name.clone());
            }
        }
        Self { addresses, marks }
    }

    /// What the addresses and marks in a line belong to.
    fn note(&self, line: &str) -> String {
        let mut notes: Vec<&str> = Vec::new();
        for word in line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '.')) {
            let named = match word.strip_prefix("0x") {
                Some(digits) => u32::from_str_radix(digits, 16)
                    .ok()
                    .and_then(|mark| self.marks.get(&Fwmark(mark))),
                None => {
                    word.parse().ok().and_then(|address: Ipv4Addr| self.addresses.get(&address))
                }
            };
            if let Some(name) = named
                && !notes.contains(&name.as_str())
            {
                notes.push(name);
            }
        }
        if notes.is_empty() { String::new() } else { format!("  # {}", notes.join(", ")) }
    }
}

/// What a chain does to packets, as iptables sorts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainKind {
    Mangle,
    Nat,
    Filter,
}

/// The part of an nftables ruleset that does one kind of thing, annotated. Chains without a hook
/// go with the chains that jump to them; sets and maps with the chains that look into them.
pub fn rules(ruleset: &str, kind: ChainKind, names: &Names) -> String {
    let mut text = String::new();
    for table in tables(ruleset) {
        let wanted = wanted(&table.blocks, kind);
        if wanted.is_empty() {
            continue;
        }
        text.push_str(&format!("{} {{\n", table.heading));
        for block in table.blocks.iter().filter(|block| wanted.contains(&block.name.as_str())) {
            for line in &block.lines {
                for line in split_elements(line) {
                    text.push_str(&line);
                    text.push_str(&names.note(&line));
                    text.push('\n');
                }
            }
        }
        text.push_str("}\n");
    }
    if text.is_empty() { "(no rules)\n".into() } else { text }
}

/// `elements = { a : b, c : d }` with an element a line, so that each can be annotated.
fn split_elements(line: &str) -> Vec<String> {
    let Some((before, elements)) = line.split_once("elements = { ") else {
        return vec![line.to_owned()];
    };
    let elements = elements.trim_end_matches([' ', '}']);
    let indent = before.len() + "elements = { ".len();
    let mut lines = Vec::new();
    for (i, element) in elements.split(", ").enumerate() {
        let element = element.trim().trim_end_matches(',');
        let prefix = if i == 0 { format!("{before}elements = {{ ") } else { tabs(before, indent) };
        lines.push(format!("{prefix}{element},"));
    }
    if let Some(last) = lines.last_mut() {
        last.pop();
        last.push_str(" }");
    }
    lines
}

fn tabs(before: &str, indent: usize) -> String {
    format!("{before}{}", " ".repeat(indent - before.len()))
}

struct TableText<'a> {
    heading: &'a str,
    blocks: Vec<Block<'a>>,
}

struct Block<'a> {
    name: String,
    lines: Vec<&'a str>,
}

impl Block<'_> {
    fn kind(&self) -> Option<ChainKind> {
        let hook = self.lines.iter().find(|line| line.trim_start().starts_with("type "))?;
        if !hook.contains(" hook ") {
            return None;
        }
        let words: Vec<&str> = hook.split_whitespace().collect();
        let after = |word: &str| {
            words.iter().position(|w| *w == word).and_then(|i| words.get(i + 1)).copied()
        };
        Some(match (after("type")?, after("priority").unwrap_or_default()) {
            ("nat", _) => ChainKind::Nat,
            ("route", _) | (_, "mangle;" | "mangle" | "-150;") => ChainKind::Mangle,
            _ => ChainKind::Filter,
        })
    }
}

fn tables(ruleset: &str) -> Vec<TableText<'_>> {
    let mut tables: Vec<TableText<'_>> = Vec::new();
    for line in ruleset.lines() {
        if let Some(heading) = line.strip_suffix(" {").filter(|line| line.starts_with("table ")) {
            tables.push(TableText { heading, blocks: Vec::new() });
            continue;
        }
        let Some(table) = tables.last_mut() else { continue };
        let opens = line.strip_prefix('\t').filter(|l| !l.starts_with('\t') && l.ends_with(" {"));
        if let Some(block) = opens {
            let name = block.split_whitespace().nth(1).unwrap_or_default().to_owned();
            table.blocks.push(Block { name, lines: vec![line] });
        } else if line != "}"
            && !line.is_empty()
            && let Some(block) = table.blocks.last_mut()
        {
            block.lines.push(line);
        }
    }
    tables
}

/// The chains of a kind, and everything that they lead to.
fn wanted<'a>(blocks: &'a [Block<'a>], kind: ChainKind) -> Vec<&'a str> {
    let hooked = blocks.iter().filter(|block| block.kind() == Some(kind));
    let mut names: Vec<&str> = hooked.map(|block| block.name.as_str()).collect();
    let mut next = 0;
    while let Some(name) = names.get(next).copied() {
        next += 1;
        let Some(block) = blocks.iter().find(|block| block.name == name) else { continue };
        for line in &block.lines {
            for word in line.split(|c: char| c.is_whitespace() || ",{}".contains(c)) {
                let word = word.trim_start_matches('@');
                let known = blocks.iter().find(|block| block.name == word);
                if let Some(known) = known
                    && !names.contains(&known.name.as_str())
                {
                    names.push(&known.name);
                }
            }
        }
    }
    names
}

/// IPVS's table as `ipvsadm -Ln --stats` and `ipvsadm -Ln` together would print it, annotated.
pub fn ipvs(entries: &[Entry], names: &Names) -> String {
    if entries.is_empty() {
        return "(no virtual servers)\n".into();
    }
    let mut text = format!(
        "Prot LocalAddress:Port Scheduler Flags\n  -> {:<22} {:<8} {:>6} {:>10} {:>12} {:>12} {:>10}\n",
        "RemoteAddress:Port", "Forward", "Weight", "ActiveConn", "InActConn", "Conns", "InPkts"
    );
    let mut entries: Vec<&Entry> = entries.iter().collect();
    entries.sort_by_key(|entry| entry.server.key);
    for entry in entries {
        text.push_str(&server_line(&entry.server, names));
        for real in &entry.real_servers {
            text.push_str(&real_line(real, names));
        }
    }
    text
}

fn server_line(server: &wire::VirtualServer, names: &Names) -> String {
    let key = VirtualServerKey::from(&server.key);
    let note = match key {
        VirtualServerKey::Fwmark(mark) => match names.marks.get(&mark) {
            Some(name) => format!("  # {mark}, {name}"),
            None => format!("  # {mark}"),
        },
        _ => "  # foreign".into(),
    };
    let persistent = match server.flags.contains(wire::Flags::PERSISTENT) {
        true => format!(" persistent {}", server.timeout),
        false => String::new(),
    };
    format!("{key} {}{persistent}{note}\n", server.scheduler)
}

fn real_line(real: &wire::RealServer, names: &Names) -> String {
    let address = match real.address {
        IpAddr::V4(address) => format!("{address}:{}", real.port),
        IpAddr::V6(address) => format!("[{address}]:{}", real.port),
    };
    let forwarding = match real.forwarding {
        wire::Forwarding::Masquerade => "Masq",
        wire::Forwarding::Local => "Local",
        wire::Forwarding::Tunnel => "Tunnel",
        wire::Forwarding::Route => "Route",
        wire::Forwarding::Bypass => "Bypass",
        wire::Forwarding::Other(_) => "?",
    };
    let line = format!(
        "  -> {address:<22} {forwarding:<8} {:>6} {:>10} {:>12} {:>12} {:>10}",
        real.weight,
        real.active,
        real.inactive,
        real.statistics.connections,
        real.statistics.packets_in
    );
    let note = names.note(&real.address.to_string());
    format!("{line}{note}\n")
}

/// Links with their addresses, as `ip -br` prints them.
pub fn links(sandbox: &Sandbox, names: &Names) -> String {
    let mut text = String::new();
    for (name, link) in &sandbox.links {
        let kind = match &link.kind {
            LinkKind::Loopback => "loopback".to_owned(),
            LinkKind::Bridge => "bridge".into(),
            LinkKind::Vxlan { vni, port, learning, proxy } => format!(
                "vxlan id {vni} dstport {port}{}{}",
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
            let line = format!("    {}", address.net);
            text.push_str(&format!("{line}{}\n", names.note(&address.net.addr().to_string())));
        }
    }
    text
}

/// Local routes to VIPs, and routes beyond the links' own subnets.
pub fn routes(sandbox: &Sandbox, names: &Names) -> String {
    let mut text = String::new();
    for path in &sandbox.paths {
        let via = path.via.map(|via| format!(" via {via}")).unwrap_or_default();
        let line = format!("{}{via} dev {} src {}", path.to, path.link, path.source);
        let noted = path.via.map(|via| names.note(&via.to_string())).unwrap_or_default();
        text.push_str(&format!("{line}{noted}\n"));
    }
    if sandbox.routes.is_empty() {
        text.push_str("(no local routes to VIPs)\n");
    }
    for route in &sandbox.routes {
        let line = format!("local {} dev lo src {}", route.address, route.source);
        text.push_str(&format!("{line}{}\n", names.note(&route.address.to_string())));
    }
    text
}

/// Settings that differ from the kernel's default.
pub fn sysctls(sandbox: &Sandbox) -> String {
    if sandbox.sysctls.is_empty() {
        return "(all as the kernel's defaults)\n".into();
    }
    let line = |(sysctl, value): (&crate::node::Sysctl, &u32)| {
        format!("{sysctl} = {value}  # default {}\n", sysctl.default_value())
    };
    sandbox.sysctls.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::tests::story;

    const RULESET: &str = "table ip swarmlb {
\tmap vip-mark {
\t\ttype ipv4_addr : mark
\t\telements = { 10.0.3.2 : 0x00000100, 10.0.3.6 : 0x00000101 }
\t}

\tchain mangle-out {
\t\ttype route hook output priority mangle; policy accept;
\t\tmeta mark set ip daddr map @vip-mark
\t}

\tchain filter-in {
\t\ttype filter hook input priority filter; policy accept;
\t\tip daddr @vip-mark counter packets 0 bytes 0 reject
\t}
}
";

    #[test]
    fn rules_are_sorted_by_what_they_do_and_annotated() {
        let names = Names::of(&story());
        insta::assert_snapshot!(rules(RULESET, ChainKind::Mangle, &names), @r"
        table ip swarmlb {
        	map vip-mark {
        		type ipv4_addr : mark
        		elements = { 10.0.3.2 : 0x00000100,  # VIP of collabweb
        		             10.0.3.6 : 0x00000101 }  # VIP of collab-box
        	}
        	chain mangle-out {
        		type route hook output priority mangle; policy accept;
        		meta mark set ip daddr map @vip-mark
        	}
        }
        ");
        assert_eq!(rules(RULESET, ChainKind::Nat, &names), "(no rules)\n");
        assert!(rules(RULESET, ChainKind::Filter, &names).contains("reject"));
    }
}
