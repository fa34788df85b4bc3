//! Operations in the words of `ip`, `nft`, `ipvsadm` and `sysctl`: what an operator would type.
//! `swarmlb … --dry-run | sh` does the same as the command itself.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv4Addr;

use super::encryption;
use super::op::{Change, Op};
use crate::intent::{ClusterId, Fwmark};
use crate::node::encryption::{Carrier, ENCRYPTION_MARK};
use crate::node::object::{BRIDGE, Port};
use crate::node::process::Program;
use crate::node::{
    BaseRule, Dispatch, Forwarding, ForwardingEntry, Link, LinkKind, LinkName, Neighbour, Object,
    Path, Place, PortAt, PortMap, PortTo, Publication, RealServer, Route, SandboxName, Sysctl,
    VirtualServerKey,
};

/// The protocol number that marks swarmlb's routes as its own (`ip route` shows `proto 108`;
/// free in /etc/iproute2/rt_protos).
pub const ROUTE_PROTOCOL: u8 = 108;

/// Of the rules by which packets are routed by their mark: before the kernel's own for the main table,
/// and behind that for local addresses.
pub const TURN_PRIORITY: u32 = 108;

/// The name of swarmlb's nftables table.
pub const TABLE: &str = "swarmlb";

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.sandbox;
        match &self.change {
            Change::Add(object) => f.write_str(&add(name, object)),
            Change::Del(object) => f.write_str(&del(name, object)),
            Change::Set { from, to } => f.write_str(&set(name, from, to)),
        }
    }
}

fn inside(sandbox: &SandboxName, command: impl fmt::Display) -> String {
    match sandbox.place() {
        Place::Named(name) => format!("ip netns exec {name} {command}"),
        Place::Node { .. } => command.to_string(),
        Place::Attached { path, .. } => format!("nsenter --net={} {command}", quoted(path)),
    }
}

/// `ip`, at work in a sandbox.
fn ip(sandbox: &SandboxName) -> String {
    match sandbox.place() {
        Place::Named(name) => format!("ip -n {name}"),
        Place::Node { .. } => "ip".into(),
        Place::Attached { path, .. } => format!("nsenter --net={} ip", quoted(path)),
    }
}

/// Where `ip link add` shall put a link; it is typed in the node's namespace.
fn into(sandbox: &SandboxName) -> String {
    match sandbox.place() {
        Place::Named(name) => format!(" netns {name}"),
        Place::Node { .. } => String::new(),
        Place::Attached { path, .. } => format!(" netns {}", quoted(path)),
    }
}

/// The name of swarmlb's nftables table in a sandbox. Where other clusters may be guests too, it
/// tells whose it is.
pub fn table_of(sandbox: &SandboxName) -> String {
    match sandbox.guest() {
        None => TABLE.to_owned(),
        Some(cluster) => format!("{TABLE}-{cluster}"),
    }
}

fn nft(sandbox: &SandboxName, commands: &str) -> String {
    inside(sandbox, format_args!("nft '{commands}'"))
}

fn add(sandbox: &SandboxName, object: &Object) -> String {
    let (ip, table) = (ip(sandbox), table_of(sandbox));
    match object {
        Object::Namespace { owner } => format!(
            "ip netns add {sandbox} && {ip} link set lo alias {}",
            owner_alias(owner, sandbox)
        ),
        Object::Link { name, link } => add_link(sandbox, name, link),
        Object::Veth { name, mac, mtu, up, port } => {
            let address = mac.map(|mac| format!(" address {mac}")).unwrap_or_default();
            let peer = &port.peer;
            let mut line = format!(
                "ip link add {name}{}{address} mtu {mtu} type veth peer {}{} mtu {}",
                into(sandbox),
                peer.link,
                into(&peer.sandbox),
                port.mtu
            );
            line.push_str(&port_settings(port));
            if let Some(cluster) = sandbox.guest() {
                let alias = guest_alias(&cluster);
                line.push_str(&format!(" && {ip} link set {name} alias {alias}"));
            }
            if *up {
                line.push_str(&format!(" && {ip} link set {name} up"));
            }
            line
        }
        Object::Address(address) => {
            format!("{ip} address add {} dev {}", address.net, address.link)
        }
        Object::Forwarding(entry) => row(sandbox, "add", entry),
        Object::Neighbour(held) => format!("{ip} neigh add {}", neighbour_words(held)),
        Object::Path(path) => format!("{ip} route add {}", path_words(path)),
        Object::Turn(mark) => format!("{ip} rule add {}", turn_words(*mark)),
        Object::Route(route) => format!("{ip} route add {}", route_words(route)),
        Object::Sysctl { sysctl, value } => {
            inside(sandbox, format_args!("sysctl -qw {}={value}", sysctl.name_in(sandbox)))
        }
        Object::Table => nft(sandbox, &commands::add_table(&table)),
        Object::BaseRule(rule) => nft(sandbox, &commands::add_rule(&table, *rule)),
        Object::Guard(address) => nft(sandbox, &commands::add_guard(&table, *address)),
        Object::Mark { address, fwmark } => {
            nft(sandbox, &commands::add_mark(&table, *address, *fwmark))
        }
        Object::Dispatch { fwmark, dispatch } => {
            nft(sandbox, &commands::add_dispatch(&table, *fwmark, dispatch))
        }
        Object::Publication(held) => nft(sandbox, &commands::add_publication(&table, held)),
        Object::VirtualServer { key, scheduler, persistence, .. } => inside(
            sandbox,
            format_args!(
                "ipvsadm -A {} -s {scheduler}{}",
                key_words(key),
                persistent(*persistence)
            ),
        ),
        Object::RealServer { server, key, real } => inside(
            sandbox,
            format_args!("ipvsadm -a {} -r {key} {}", key_words(server), real_words(real)),
        ),
        Object::Process(process) => inside(sandbox, program(&process.program)),
        Object::State(state) => format!("{ip} xfrm state add {}", encryption::state(state)),
        Object::Policy(policy) => format!("{ip} xfrm policy add {}", encryption::policy(policy)),
    }
}

fn del(sandbox: &SandboxName, object: &Object) -> String {
    let (ip, table) = (ip(sandbox), table_of(sandbox));
    match object {
        Object::Namespace { .. } => format!("ip netns del {sandbox}"),
        Object::Link { name, link } if link.kind == LinkKind::Loopback => {
            format!("{ip} link set {name} down")
        }
        Object::Link { name, .. } | Object::Veth { name, .. } => {
            format!("{ip} link del {name}")
        }
        Object::Address(address) => {
            format!("{ip} address del {} dev {}", address.net, address.link)
        }
        Object::Forwarding(entry) => row(sandbox, "del", entry),
        Object::Neighbour(Neighbour { link, address, .. }) => {
            format!("{ip} neigh del {address} dev {link}")
        }
        Object::Path(path) => format!("{ip} route del {}", path_words(path)),
        Object::Turn(mark) => format!("{ip} rule del {}", turn_words(*mark)),
        Object::Route(route) => format!("{ip} route del {}", route_words(route)),
        Object::Sysctl { sysctl, .. } if sysctl.stays() && sandbox.guest().is_some() => {
            format!("# {sysctl} stays as it is: others may rely on it")
        }
        Object::Sysctl { sysctl, .. } => {
            let (name, value) = (sysctl.name_in(sandbox), sysctl.default_value());
            inside(sandbox, format_args!("sysctl -qw {name}={value}"))
        }
        Object::Table => nft(sandbox, &commands::del_table(&table)),
        Object::BaseRule(rule) => nft(sandbox, &commands::del_rule(&table, *rule)),
        Object::Guard(address) => nft(sandbox, &commands::del_guard(&table, *address)),
        Object::Mark { address, fwmark } => {
            nft(sandbox, &commands::del_mark(&table, *address, *fwmark))
        }
        Object::Dispatch { fwmark, dispatch } => {
            nft(sandbox, &commands::del_dispatch(&table, *fwmark, dispatch))
        }
        Object::Publication(held) => nft(sandbox, &commands::del_publication(&table, held)),
        Object::VirtualServer { key, .. } => {
            inside(sandbox, format_args!("ipvsadm -D {}", key_words(key)))
        }
        Object::RealServer { server, key, .. } => {
            inside(sandbox, format_args!("ipvsadm -d {} -r {key}", key_words(server)))
        }
        Object::State(state) => format!("{ip} xfrm state del {}", encryption::state_key(state)),
        Object::Policy(policy) => {
            format!("{ip} xfrm policy del {}", encryption::policy_key(policy))
        }
        Object::Process(process) => {
            inside(sandbox, format_args!("kill the process of task {}", process.task))
        }
    }
}

fn set(sandbox: &SandboxName, from: &Object, to: &Object) -> String {
    let (ip, table) = (ip(sandbox), table_of(sandbox));
    match to {
        Object::Link { name, link } => format!(
            "{ip} link set {name}{} mtu {} {}{}",
            link.mac.map(|mac| format!(" address {mac}")).unwrap_or_default(),
            link.mtu,
            master(link.master.as_ref()),
            state(link.up)
        ),
        Object::Veth { name, mac, mtu, up, port } => {
            let address = mac.map(|mac| format!("address {mac} ")).unwrap_or_default();
            format!("{ip} link set {name} {address}mtu {mtu} {}{}", state(*up), port_settings(port))
        }
        Object::Sysctl { .. } => add(sandbox, to),
        Object::Policy(policy) => {
            format!("{ip} xfrm policy update {}", encryption::policy(policy))
        }
        Object::Forwarding(entry) => row(sandbox, "replace", entry),
        Object::Neighbour(held) => format!("{ip} neigh replace {}", neighbour_words(held)),
        Object::Mark { address, fwmark } => match from {
            Object::Mark { fwmark: old, .. } => {
                nft(sandbox, &commands::set_mark(&table, *address, *old, *fwmark))
            }
            _ => add(sandbox, to),
        },
        Object::Dispatch { fwmark, dispatch } => match from {
            Object::Dispatch { dispatch: old, .. } => {
                nft(sandbox, &commands::set_dispatch(&table, *fwmark, old, dispatch))
            }
            _ => add(sandbox, to),
        },
        Object::Publication(held) => match from {
            Object::Publication(old) => nft(sandbox, &commands::set_publication(&table, old, held)),
            _ => add(sandbox, to),
        },
        Object::VirtualServer { key, scheduler, persistence, .. } => inside(
            sandbox,
            format_args!(
                "ipvsadm -E {} -s {scheduler}{}",
                key_words(key),
                persistent(*persistence)
            ),
        ),
        Object::RealServer { server, key, real } => inside(
            sandbox,
            format_args!("ipvsadm -e {} -r {key} {}", key_words(server), real_words(real)),
        ),
        other => add(sandbox, other),
    }
}

/// What a sandbox's `lo` bears as its alias, so that a later run knows whose it is. The name is part
/// of it: a second name that somebody gives the namespace makes no second sandbox of ours.
pub fn owner_alias(owner: &ClusterId, sandbox: &SandboxName) -> String {
    owner_prefix(owner) + sandbox.as_str()
}

/// What the aliases of all of a cluster's sandboxes begin with.
pub fn owner_prefix(owner: &ClusterId) -> String {
    format!("swarmlb:{owner}/")
}

/// What a link of ours bears as its alias in a namespace of somebody else.
pub fn guest_alias(cluster: &ClusterId) -> String {
    format!("swarmlb:{cluster}/guest")
}

/// The cluster whose mark as a guest it is.
pub fn guest_of(alias: &str) -> Option<ClusterId> {
    let cluster = alias.strip_prefix("swarmlb:")?.strip_suffix("/guest")?;
    Some(ClusterId(cluster.to_owned()))
}

/// The owner that an alias tells of the sandbox of that name.
pub fn owner_of(alias: &str, sandbox: &SandboxName) -> Option<ClusterId> {
    let (owner, name) = alias.strip_prefix("swarmlb:")?.split_once('/')?;
    (name == sandbox.as_str()).then(|| ClusterId(owner.to_owned()))
}

fn add_link(sandbox: &SandboxName, name: &LinkName, link: &Link) -> String {
    let ip = ip(sandbox);
    let up = || format!("{ip} link set {name} {}{}", master(link.master.as_ref()), state(link.up));
    match &link.kind {
        LinkKind::Loopback => format!("{ip} link set {name} up"),
        // Typed in the node's namespace, where its UDP socket is and stays.
        LinkKind::Vxlan { vni, port, local, .. } => format!(
            "ip link add {name}{} mtu {} type vxlan id {vni} dstport {port} \
             {}nolearning proxy && {}",
            into(sandbox),
            link.mtu,
            local.map(|vtep| format!("local {vtep} ")).unwrap_or_default(),
            up()
        ),
        LinkKind::Bridge => {
            let address = link.mac.map(|mac| format!(" address {mac}")).unwrap_or_default();
            let spared = match name.as_str() {
                // It may be missing, where br_netfilter is.
                BRIDGE => {
                    let word = format!("sysctl -qew {}=0", Sysctl::BridgeCallIptables);
                    format!("{} && ", inside(sandbox, word))
                }
                _ => String::new(),
            };
            format!(
                "{spared}{ip} link add {name}{address} mtu {} type bridge && {}",
                link.mtu,
                up()
            )
        }
        LinkKind::Veth { .. } | LinkKind::Other { .. } => {
            format!("{ip} link set {name} {}", state(link.up))
        }
    }
}

fn port_settings(port: &Port) -> String {
    let (ip, link) = (ip(&port.peer.sandbox), &port.peer.link);
    format!(
        " && {ip} link set {link} mtu {} {}{}{}",
        port.mtu,
        master(port.master.as_ref()),
        state(port.up),
        isolation(&ip, link, port.isolated)
    )
}

fn master(master: Option<&LinkName>) -> String {
    match master {
        Some(master) => format!("master {master} "),
        None => "nomaster ".into(),
    }
}

/// What keeps a port apart; that of most is the kernel's default.
fn isolation(ip: &str, port: &LinkName, isolated: bool) -> String {
    match isolated {
        true => format!(" && {ip} link set {port} type bridge_slave isolated on"),
        false => String::new(),
    }
}

fn state(up: bool) -> &'static str {
    if up { "up" } else { "down" }
}

/// `bridge`, at work in a sandbox, on a row of a VXLAN device.
fn row(sandbox: &SandboxName, verb: &str, entry: &ForwardingEntry) -> String {
    let bridge = match sandbox.place() {
        Place::Named(name) => format!("bridge -n {name}"),
        Place::Node { .. } | Place::Attached { .. } => inside(sandbox, "bridge"),
    };
    let ForwardingEntry { link, mac, vtep, permanent } = entry;
    let state = match (verb, permanent) {
        ("del", _) => "",
        (_, true) => " permanent",
        (_, false) => " dynamic",
    };
    format!("{bridge} fdb {verb} {mac} dev {link} dst {vtep} self{state}")
}

fn neighbour_words(held: &Neighbour) -> String {
    let Neighbour { link, address, mac, permanent } = held;
    let state = if *permanent { "permanent" } else { "stale" };
    format!("{address} lladdr {mac} dev {link} nud {state}")
}

fn path_words(path: &Path) -> String {
    let Path { to, link, source, .. } = path;
    let via = path.via.map(|via| format!("via {via} ")).unwrap_or_default();
    let to = if to.prefix_len() == 0 { "default".to_owned() } else { to.to_string() };
    let table = path.mark.map(|mark| format!(" table {}", mark.0)).unwrap_or_default();
    format!("{to} {via}dev {link} src {source}{table} proto {ROUTE_PROTOCOL}")
}

fn turn_words(mark: Fwmark) -> String {
    format!("fwmark {mark} table {} priority {TURN_PRIORITY} protocol {ROUTE_PROTOCOL}", mark.0)
}

fn route_words(route: &Route) -> String {
    format!(
        "local {}/32 dev lo src {} table local proto {ROUTE_PROTOCOL}",
        route.address, route.source
    )
}

fn key_words(key: &VirtualServerKey) -> String {
    match key {
        VirtualServerKey::Fwmark(mark) => format!("-f {}", mark.0),
        VirtualServerKey::Fwmark6(mark) => format!("-f {} -6", mark.0),
        VirtualServerKey::Address { protocol, address, port } => {
            let flag = match protocol {
                crate::node::Protocol::Udp => "-u",
                crate::node::Protocol::Sctp => "--sctp-service",
                _ => "-t",
            };
            match address {
                std::net::IpAddr::V4(address) => format!("{flag} {address}:{port}"),
                std::net::IpAddr::V6(address) => format!("{flag} [{address}]:{port}"),
            }
        }
    }
}

fn real_words(real: &RealServer) -> String {
    let forwarding = match real.forwarding {
        Forwarding::Route => "-g",
        Forwarding::Tunnel => "-i",
        _ => "-m",
    };
    format!("{forwarding} -w {}", real.weight)
}

fn persistent(seconds: u32) -> String {
    if seconds == 0 { String::new() } else { format!(" -p {seconds}") }
}

fn program(program: &Program) -> String {
    match program {
        Program::Whoami => "swarmlb builtin whoami".into(),
        Program::Echo { port, greets } => {
            let greet = if *greets { " --greet" } else { "" };
            format!("swarmlb builtin echo --port {port}{greet}")
        }
        Program::Host(words) => quoted_all(words),
        Program::Container(container) => format!(
            "# run a container of {}{}{}",
            container.image,
            if container.command.is_empty() { "" } else { ": " },
            quoted_all(&container.command)
        ),
    }
}

fn quoted_all(words: &[String]) -> String {
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

/// What stands between `$'` and `'`.
fn escaped(word: &str) -> String {
    let bytes = |c: char| c.to_string().bytes().map(|byte| format!("\\x{byte:02x}")).collect();
    let escape = |c: char| match c {
        _ if c.is_control() => bytes(c),
        '\'' | '\\' => format!("\\{c}"),
        _ => c.to_string(),
    };
    word.chars().map(escape).collect()
}

/// A word as a shell reads it back, on one line.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    match word {
        _ if !word.is_empty() && word.chars().all(plain) => word.to_owned(),
        _ if word.chars().any(char::is_control) => format!("$'{}'", escaped(word)),
        _ => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

pub use super::encryption::show_key;

/// The commands for `nft`. `kernel::nft` sends the same to the kernel, message for message.
pub mod commands {
    use super::*;

    pub fn add_table(table: &str) -> String {
        format!(
            "create table ip {table}; \
             create set ip {table} vips {{ type ipv4_addr; }}; \
             create map ip {table} vip-mark {{ type ipv4_addr : mark; }}; \
             create map ip {table} mark-chain {{ type mark : verdict; }}"
        )
    }

    pub fn del_table(table: &str) -> String {
        format!("delete table ip {table}")
    }

    pub fn add_rule(table: &str, rule: BaseRule) -> String {
        let map = rule.map().map(|map| {
            let kind = match map {
                PortMap::Published => "inet_proto . inet_service : ipv4_addr . inet_service",
                PortMap::PublishedAt => {
                    "ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service"
                }
                PortMap::Marks => "ipv4_addr . inet_proto . inet_service : mark",
            };
            format!("add map ip {table} {} {{ type {kind}; }}; ", map.name())
        });
        let (hooks, words) = rule_words(rule);
        let chains = rule.chains().into_iter().zip(hooks).map(|(chain, hook)| {
            // What is left of a chain that somebody emptied, or hung elsewhere, goes first.
            format!(
                "add chain ip {table} {chain}; delete chain ip {table} {chain}; \
                 add chain ip {table} {chain} {{ {hook}; }}; \
                 add rule ip {table} {chain} {words}"
            )
        });
        map.unwrap_or_default() + &chains.collect::<Vec<_>>().join("; ")
    }

    const PREROUTING: &str = "type nat hook prerouting priority -100";
    const OUTPUT: &str = "type nat hook output priority -100";
    const POSTROUTING: &str = "type nat hook postrouting priority 100";
    const FORWARD: &str = "type filter hook forward priority 0";
    const INPUT: &str = "type filter hook input priority 0";
    const NEW: &str = "ct state & (established | related) == 0";

    /// Where the chains of a rule hang, and what stands in each.
    fn rule_words(rule: BaseRule) -> (&'static [&'static str], String) {
        match rule {
            BaseRule::MarkOut => (
                &["type route hook output priority -150"],
                "meta mark set ip daddr map @vip-mark".to_owned(),
            ),
            BaseRule::RejectIn => (&[INPUT], "ip daddr @vips counter reject".to_owned()),
            BaseRule::ResetIn => (
                &["type filter hook input priority -1"],
                "meta l4proto tcp ip daddr @vips counter reject with tcp reset".to_owned(),
            ),
            BaseRule::BalanceOut => (&[OUTPUT], "meta mark vmap @mark-chain".to_owned()),
            BaseRule::MasqueradeOut(range) => {
                (&[POSTROUTING], format!("ip saddr {range} ip daddr != {range} counter masquerade"))
            }
            BaseRule::DropForward(range) => {
                (&[FORWARD], format!("ip daddr {range} {NEW} ct status & dnat == 0 counter drop"))
            }
            BaseRule::Publish => (
                &[PREROUTING, OUTPUT],
                "fib daddr type local dnat ip to meta l4proto . th dport map @published".to_owned(),
            ),
            BaseRule::PublishAt => (
                &[PREROUTING, OUTPUT],
                "fib daddr type local dnat ip to ip daddr . meta l4proto . th dport \
                 map @published-at"
                    .to_owned(),
            ),
            BaseRule::MasqueradeHairpin(range) => {
                (&[POSTROUTING], format!("ip saddr {range} ip daddr {range} counter masquerade"))
            }
            BaseRule::MasqueradeLocalhost(range) => (
                &[POSTROUTING],
                format!("ip saddr 127.0.0.0/8 ip daddr {range} counter masquerade"),
            ),
            BaseRule::GuardLocalhost => {
                (&[INPUT], format!("iifname != \"lo\" ip daddr 127.0.0.0/8 {NEW} counter drop"))
            }
            BaseRule::MarkIn => (
                &["type filter hook prerouting priority -150"],
                "meta mark set ip daddr . meta l4proto . th dport map @port-mark".to_owned(),
            ),
            BaseRule::BalanceIn => (&[PREROUTING], "meta mark vmap @mark-chain".to_owned()),
            BaseRule::SourceOut(address) => {
                (&[POSTROUTING], format!("oifname \"eth0\" counter snat to {address}"))
            }
            BaseRule::KeepSource { port, range } => (
                &["type nat hook postrouting priority 99"],
                format!(
                    "oifname \"eth0\" ip saddr != {range} tcp dport {port} counter snat to ip saddr"
                ),
            ),
            BaseRule::MarkEntry(address) => (
                &["type filter hook prerouting priority -150"],
                format!("ip daddr {address} meta mark set @ll,64,32"),
            ),
            BaseRule::DropBack => (&[FORWARD], format!("iifname \"eth0\" {NEW} counter drop")),
            BaseRule::MarkCarried(carrier) => (
                &["type route hook output priority -150"],
                format!("{} meta mark set {ENCRYPTION_MARK}", carried(carrier)),
            ),
            BaseRule::DropClearIn(carrier) => {
                (&[INPUT], format!("{} meta secpath missing counter drop", carried(carrier)))
            }
            BaseRule::DropClearOut(carrier) => (
                &["type filter hook postrouting priority 0"],
                format!("{} rt ipsec missing counter drop", carried(carrier)),
            ),
        }
    }

    /// The packets of one network: its number is in VXLAN's header.
    fn carried(carrier: Carrier) -> String {
        format!("udp dport {} @th,96,24 {:#x}", carrier.port, carrier.vni.0)
    }

    pub fn del_rule(table: &str, rule: BaseRule) -> String {
        let del = |chain: &Cow<'_, str>| {
            format!("flush chain ip {table} {chain}; delete chain ip {table} {chain}")
        };
        let chains: Vec<String> = rule.chains().iter().map(del).collect();
        let map = rule.map().map(|map| format!("; delete map ip {table} {}", map.name()));
        chains.join("; ") + &map.unwrap_or_default()
    }

    fn port_words(at: &PortAt) -> String {
        let address = at.address.map(|address| format!("{address} . ")).unwrap_or_default();
        format!("{address}{} . {}", at.transport, at.port)
    }

    pub fn add_publication(table: &str, held: &Publication) -> String {
        let to = match held.to {
            PortTo::Address { address, port } => format!("{address} . {port}"),
            PortTo::Mark(fwmark) => fwmark.to_string(),
        };
        let (map, at) = (held.map().name(), port_words(&held.at));
        format!("create element ip {table} {map} {{ {at} : {to} }}")
    }

    pub fn del_publication(table: &str, held: &Publication) -> String {
        let (map, at) = (held.map().name(), port_words(&held.at));
        format!("delete element ip {table} {map} {{ {at} }}")
    }

    pub fn set_publication(table: &str, from: &Publication, to: &Publication) -> String {
        format!("{}; {}", del_publication(table, from), add_publication(table, to))
    }

    pub fn add_guard(table: &str, address: Ipv4Addr) -> String {
        format!("create element ip {table} vips {{ {address} }}")
    }

    pub fn del_guard(table: &str, address: Ipv4Addr) -> String {
        format!("delete element ip {table} vips {{ {address} }}")
    }

    pub fn add_mark(table: &str, address: Ipv4Addr, fwmark: Fwmark) -> String {
        format!("create element ip {table} vip-mark {{ {address} : {fwmark} }}")
    }

    pub fn del_mark(table: &str, address: Ipv4Addr, fwmark: Fwmark) -> String {
        format!("delete element ip {table} vip-mark {{ {address} : {fwmark} }}")
    }

    pub fn set_mark(table: &str, address: Ipv4Addr, from: Fwmark, to: Fwmark) -> String {
        format!("{}; {}", del_mark(table, address, from), add_mark(table, address, to))
    }

    /// The chain that balances one mark.
    pub fn balance_chain(fwmark: Fwmark) -> String {
        format!("vs-{fwmark}")
    }

    /// The chain that rewrites to one target of one mark and counts its connections.
    pub fn target_chain(fwmark: Fwmark, target: Ipv4Addr) -> String {
        format!("rs-{fwmark}-{target}")
    }

    fn add_target(table: &str, fwmark: Fwmark, target: Ipv4Addr) -> String {
        let chain = target_chain(fwmark, target);
        format!(
            "{}add rule ip {table} {chain} counter dnat to {target}; ",
            empty_chain(table, &chain)
        )
    }

    /// What is left of a chain that somebody emptied or unhooked is still there: `add` takes that.
    fn empty_chain(table: &str, chain: &str) -> String {
        format!("add chain ip {table} {chain}; flush chain ip {table} {chain}; ")
    }

    fn del_target(table: &str, fwmark: Fwmark, target: Ipv4Addr) -> String {
        let chain = target_chain(fwmark, target);
        format!("; flush chain ip {table} {chain}; delete chain ip {table} {chain}")
    }

    fn balance_rule(table: &str, fwmark: Fwmark, dispatch: &Dispatch) -> String {
        let chain = balance_chain(fwmark);
        if dispatch.targets.is_empty() {
            // Nothing to pick: the packet goes on to the VIP itself and is refused there.
            return format!("add rule ip {table} {chain} return");
        }
        let jumps: Vec<String> = dispatch
            .targets
            .iter()
            .enumerate()
            .map(|(i, target)| format!("{i} : jump {}", target_chain(fwmark, *target)))
            .collect();
        format!(
            "add rule ip {table} {chain} numgen inc mod {} vmap {{ {} }}",
            dispatch.targets.len(),
            jumps.join(", ")
        )
    }

    pub fn add_dispatch(table: &str, fwmark: Fwmark, dispatch: &Dispatch) -> String {
        let chain = balance_chain(fwmark);
        let targets: String =
            dispatch.each().into_iter().map(|target| add_target(table, fwmark, target)).collect();
        format!(
            "{targets}{}{}; \
             add element ip {table} mark-chain {{ {fwmark} : jump {chain} }}",
            empty_chain(table, &chain),
            balance_rule(table, fwmark, dispatch)
        )
    }

    pub fn del_dispatch(table: &str, fwmark: Fwmark, dispatch: &Dispatch) -> String {
        let chain = balance_chain(fwmark);
        let targets: String =
            dispatch.each().into_iter().map(|target| del_target(table, fwmark, target)).collect();
        format!(
            "delete element ip {table} mark-chain {{ {fwmark} : jump {chain} }}; \
             flush chain ip {table} {chain}; delete chain ip {table} {chain}{targets}"
        )
    }

    /// One transaction: targets that stay keep their counters.
    pub fn set_dispatch(table: &str, fwmark: Fwmark, from: &Dispatch, to: &Dispatch) -> String {
        let chain = balance_chain(fwmark);
        let added: String = to
            .each_not_of(from)
            .into_iter()
            .map(|target| add_target(table, fwmark, target))
            .collect();
        let removed: String = from
            .each_not_of(to)
            .into_iter()
            .map(|target| del_target(table, fwmark, target))
            .collect();
        format!(
            "{added}flush chain ip {table} {chain}; {}{removed}",
            balance_rule(table, fwmark, to)
        )
    }
}
