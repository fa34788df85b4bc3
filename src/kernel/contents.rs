//! Reads what a namespace holds, part by part. Nothing is made, loaded or changed by it: where
//! asking would load a module, or make a table, nothing is asked, and the part says so.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::process::Output;

use nix::errno::Errno;

use super::ipvs::{Ipvs, connections};
use super::route::RouteSocket;
use super::{Refusal, module, namespaces, netns, nft, program, sysctl};
use crate::dump::choice::Machine;
use crate::dump::interface::{OtherEnd, Place};
use crate::dump::{
    Contents, Interface, Iptables, Namespace, Part, Table, Tracked, Xfrm, conntrack, iptables,
    ipvs, nftables,
};
use crate::node::{Connection, Entry, LinkName};

/// Reads the parts of a namespace that belong to `tables`.
///
/// # Errors
/// When the namespace cannot be entered; a part that cannot be read says so itself.
pub fn read(
    file: &File,
    namespace: &Namespace,
    tables: &BTreeSet<Table>,
    machine: &Machine,
) -> Result<Contents, Refusal> {
    netns::within(file.as_fd(), || ())?;
    let at = file.as_fd();
    let has = |table: Table| tables.contains(&table);
    let mut contents = Contents { namespace: namespace.clone(), ..Contents::default() };
    if has(Table::Links) {
        contents.links = Some(part(links(at, namespace, machine)));
    }
    if has(Table::Routes) {
        contents.routes = Some(part(routing(at, RouteSocket::every_route)));
        contents.routing_rules = Some(part(routing(at, RouteSocket::rules)));
    }
    if has(Table::Neighbours) {
        contents.neighbours = Some(part(routing(at, RouteSocket::neighbours)));
    }
    if has(Table::Fdb) {
        contents.fdb = Some(part(routing(at, RouteSocket::fdb)));
    }
    if tables.iter().any(|table| table.chains().is_some()) {
        read_rules(at, &mut contents);
    }
    if has(Table::Ipvs) {
        contents.ipvs = Some(virtual_servers(at));
    }
    if has(Table::Connections) {
        contents.ipvs_connections = Some(ipvs_connections(at));
        contents.conntrack = Some(tracked(at));
    }
    if has(Table::Xfrm) {
        contents.xfrm = Some(xfrm(at));
    }
    if has(Table::Sysctl) {
        contents.sysctls = Some(part(sysctl::that_matter(at).map_err(Refusal::from)));
    }
    Ok(contents)
}

/// swarmlb's own table as a node has it; none where reading it would load nf_tables.
pub fn own_table(at: BorrowedFd<'_>, name: &str) -> Option<crate::node::Table> {
    if module::would_load("nf_tables") {
        return None;
    }
    let (table, _) = nft::Nft::open(at).and_then(|mut nft| nft.read(name)).ok().flatten()?;
    Some(table)
}

fn part<T>(read: Result<T, Refusal>) -> Part<T> {
    match read {
        Ok(value) => Part::Read(value),
        Err(refusal) => Part::unreadable(refusal.to_string()),
    }
}

fn routing<T>(
    at: BorrowedFd<'_>,
    read: impl FnOnce(&mut RouteSocket) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    read(&mut RouteSocket::open(at)?)
}

/// Links, each with where its other end is.
fn links(
    at: BorrowedFd<'_>,
    namespace: &Namespace,
    machine: &Machine,
) -> Result<Vec<Interface>, Refusal> {
    let mut socket = RouteSocket::open(at)?;
    let found = socket.interfaces()?;
    let mut others = match found.iter().any(|link| link.namespace.is_some()) {
        true => others(&mut socket, namespace, machine),
        false => BTreeMap::new(),
    };
    let mut links = Vec::new();
    for link in found {
        let mut interface = link.interface;
        if let (Some(end), Some(number)) = (&mut interface.other_end, link.namespace)
            && let Some(other) = others.get_mut(&number)
        {
            other.name(end);
        }
        links.push(interface);
    }
    Ok(links)
}

/// A namespace that this one has a number for.
struct Other {
    name: String,
    file: File,
    links: Option<BTreeMap<u32, LinkName>>,
}

impl Other {
    fn name(&mut self, end: &mut OtherEnd) {
        let file = &self.file;
        let links = self.links.get_or_insert_with(|| {
            let seen = RouteSocket::open(file.as_fd()).map_err(Refusal::from);
            let seen = seen.and_then(|mut socket| socket.links()).unwrap_or_default();
            seen.into_iter().map(|link| (link.index, link.name)).collect()
        });
        end.link = links.get(&end.index).cloned();
        end.place = Place::Sandbox(self.name.clone());
    }
}

/// The namespaces of the machine by the number that this one has for them. Asking gives none.
fn others(
    socket: &mut RouteSocket,
    namespace: &Namespace,
    machine: &Machine,
) -> BTreeMap<i32, Other> {
    let mut others = BTreeMap::new();
    for other in machine.namespaces.iter().filter(|other| other.inode != namespace.inode) {
        let Ok(file) = namespaces::open(other) else { continue };
        if let Ok(Some(number)) = socket.namespace_number(file.as_fd()) {
            others.insert(number, Other { name: machine.name(other), file, links: None });
        }
    }
    others
}

fn read_rules(at: BorrowedFd<'_>, contents: &mut Contents) {
    let ruleset = match module::would_load("nf_tables") {
        true => Part::unreadable(
            "module nf_tables is not loaded, so it has no rules; reading would load it",
        ),
        false => part(nft::text(at)).map(|text| nftables::parse(&text)),
    };
    for back_end in Iptables::ALL {
        let saved = match back_end.family() {
            None => legacy(at, back_end),
            Some(family) => over_nft(at, back_end, family, &ruleset),
        };
        contents.iptables.insert(back_end, saved);
    }
    contents.nftables = Some(ruleset);
}

/// A table of the old back end is there when the kernel lists it; reading one that is not there
/// would make it.
fn legacy(at: BorrowedFd<'_>, back_end: Iptables) -> Part<Vec<iptables::Table>> {
    let list = match back_end {
        Iptables::Legacy6 => "ip6_tables_names",
        _ => "ip_tables_names",
    };
    match proc_net(at, list) {
        Ok(None) => Part::Read(Vec::new()),
        Ok(Some(names)) if names.trim().is_empty() => Part::Read(Vec::new()),
        Ok(Some(_)) => saved(at, back_end),
        Err(refusal) => Part::unreadable(refusal.to_string()),
    }
}

/// iptables-nft knows its own rules better than nft does, where it has any.
fn over_nft(
    at: BorrowedFd<'_>,
    back_end: Iptables,
    family: &str,
    ruleset: &Part<Vec<nftables::Table>>,
) -> Part<Vec<iptables::Table>> {
    let tables = match ruleset {
        Part::Read(tables) => tables,
        Part::Unreadable { why } => return Part::unreadable(why.clone()),
    };
    if !tables.iter().any(|table| table.family == family && table.is_of_iptables()) {
        return Part::Read(Vec::new());
    }
    if module::would_load("nft_compat") {
        return Part::unreadable("reading would load module nft_compat; see nftables");
    }
    saved(at, back_end)
}

fn saved(at: BorrowedFd<'_>, back_end: Iptables) -> Part<Vec<iptables::Table>> {
    let name = format!("{}-save", back_end.name());
    let printed = match said(at, &name, &["-c"]) {
        Err(refusal) if refusal.errno == Errno::ENOPKG => match plain_legacy(back_end) {
            Some(plain) => said(at, plain, &["-c"]),
            None => Err(refusal),
        },
        printed => printed,
    };
    part(printed).map(|text| iptables::parse(&text))
}

/// Where there is no other back end, the old one goes by its plain name.
fn plain_legacy(back_end: Iptables) -> Option<&'static str> {
    let plain = match back_end {
        Iptables::Legacy => "iptables-save",
        Iptables::Legacy6 => "ip6tables-save",
        Iptables::Nft | Iptables::Nft6 => return None,
    };
    let file = program::find(plain)?.canonicalize().ok()?;
    (!file.file_name()?.to_str()?.contains("nft")).then_some(plain)
}

/// What a program printed, or why it did not.
fn said(at: BorrowedFd<'_>, name: &str, arguments: &[&str]) -> Result<String, Refusal> {
    let missing = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => {
            let package = package(name);
            let sentence = format!("`{name}` is not installed (Debian: {package})");
            Refusal::saying(Errno::ENOPKG, sentence)
        }
        _ => error.into(),
    };
    let output: Output = program::run(at, name, arguments, "").map_err(missing)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let told = String::from_utf8_lossy(&output.stderr);
    let line = told.lines().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    Err(Refusal::saying(Errno::EIO, format!("`{name}` ended with an error: {}", line.trim())))
}

fn package(program: &str) -> &'static str {
    match program {
        "ip" | "bridge" => "iproute2",
        "conntrack" => "conntrack",
        _ => "iptables",
    }
}

/// A file of the namespace below /proc/net; none when the kernel has no such file.
fn proc_net(at: BorrowedFd<'_>, name: &str) -> Result<Option<String>, Refusal> {
    let path = PathBuf::from("/proc/thread-self/net").join(name);
    match netns::within(at, || std::fs::read(&path))? {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

const NO_IPVS: &str = "the kernel has no IPVS, or its module ip_vs is not loaded";

/// Only where IPVS is there already: to open it elsewhere loads it.
fn virtual_servers(at: BorrowedFd<'_>) -> Part<Vec<ipvs::Server>> {
    match proc_net(at, "ip_vs") {
        Ok(Some(_)) => {}
        Ok(None) => return Part::unreadable(NO_IPVS),
        Err(refusal) => return Part::unreadable(refusal.to_string()),
    }
    let entries = || -> Result<Option<Vec<Entry>>, Refusal> {
        Ipvs::open(at)?.map(|mut ipvs| ipvs.entries()).transpose()
    };
    match entries() {
        Ok(Some(mut entries)) => {
            entries.sort_by_key(|entry| entry.server.key);
            Part::Read(entries.iter().map(ipvs::Server::from).collect())
        }
        Ok(None) => Part::unreadable(NO_IPVS),
        Err(refusal) => Part::unreadable(refusal.to_string()),
    }
}

fn ipvs_connections(at: BorrowedFd<'_>) -> Part<Vec<Connection>> {
    match connections(at) {
        Ok(Some(connections)) => Part::Read(connections),
        Ok(None) => Part::unreadable(NO_IPVS),
        Err(refusal) => Part::unreadable(refusal.to_string()),
    }
}

/// What netfilter tracks: the kernel's own list, and where it is built without, `conntrack`.
fn tracked(at: BorrowedFd<'_>) -> Part<Vec<Tracked>> {
    let text = match proc_net(at, "nf_conntrack") {
        Ok(Some(text)) => Ok(text),
        Ok(None) if !PathBuf::from("/proc/sys/net/netfilter/nf_conntrack_max").exists() => {
            return Part::unreadable("module nf_conntrack is not loaded, so nothing is tracked");
        }
        Ok(None) if module::would_load("nf_conntrack_netlink") => {
            return Part::unreadable("reading would load module nf_conntrack_netlink");
        }
        Ok(None) => said(at, "conntrack", &["-L"]),
        Err(refusal) => Err(refusal),
    };
    let unreadable =
        |error: conntrack::NotTracked| Refusal::saying(Errno::EBADMSG, error.to_string());
    part(text.and_then(|text| conntrack::parse(&text).map_err(unreadable)))
}

/// Associations without their keys, and policies.
fn xfrm(at: BorrowedFd<'_>) -> Part<Xfrm> {
    if module::would_load("xfrm_user") {
        return Part::unreadable(
            "module xfrm_user is not loaded, so there is nothing; reading would load it",
        );
    }
    let read = || -> Result<Xfrm, Refusal> {
        let states = said(at, "ip", &["xfrm", "state", "list", "nokeys"])?;
        let policies = said(at, "ip", &["xfrm", "policy", "list"])?;
        Ok(Xfrm { states: blocks(&states), policies: blocks(&policies) })
    };
    part(read())
}

/// A line that is not indented begins the next one.
fn blocks(text: &str) -> Vec<String> {
    let mut blocks: Vec<String> = Vec::new();
    for line in text.lines().map(str::trim_end) {
        match blocks.last_mut() {
            Some(block) if line.starts_with([' ', '\t']) => {
                block.push('\n');
                block.push_str(line);
            }
            _ if line.is_empty() => {}
            _ => blocks.push(line.to_owned()),
        }
    }
    blocks
}

/// What the original tools print of a part, run inside the namespace: name, and text or why not.
pub fn originals(file: &File, table: Table) -> Vec<(String, Result<String, Refusal>)> {
    let commands: &[(&str, &[&str])] = match table {
        Table::Links => &[("ip", &["-d", "address"])],
        Table::Routes => &[
            ("ip", &["route", "show", "table", "all"]),
            ("ip", &["rule"]),
            ("ip", &["-6", "rule"]),
        ],
        Table::Neighbours => &[("ip", &["neighbour"])],
        Table::Fdb => &[("bridge", &["fdb"])],
        _ => &[],
    };
    let run = |(name, arguments): &(&str, &[&str])| {
        (format!("{name} {}", arguments.join(" ")), said(file.as_fd(), name, arguments))
    };
    commands.iter().map(run).collect()
}

/// The tables of connections as the kernel gives them: name, and text or why not.
pub fn connection_files(file: &File) -> Vec<(String, Result<String, Refusal>)> {
    let read = |name: &str| {
        let missing = || Refusal::saying(Errno::ENOENT, "the kernel has no such file");
        let text = proc_net(file.as_fd(), name).and_then(|text| text.ok_or_else(missing));
        (format!("/proc/net/{name}"), text)
    };
    vec![read("ip_vs_conn"), read("nf_conntrack")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_together_is_one_block() {
        let text = "src 10.0.0.1 dst 10.0.0.2\n\tproto esp spi 0x1\n\nsrc a\n\tb\n";
        let expected = ["src 10.0.0.1 dst 10.0.0.2\n\tproto esp spi 0x1", "src a\n\tb"];
        assert_eq!(blocks(text), expected);
        assert!(blocks("").is_empty());
    }
}
