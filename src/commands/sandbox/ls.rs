//! `swarmlb sandbox ls`

use std::collections::BTreeMap;
use std::fs::File;

use serde::Serialize;

use super::{known_intent, own_table, sandbox_name, tell};
use crate::cli::sandbox::Which;
use crate::cli::{Format, Global};
use crate::commands::Report;
use crate::commands::session::{Session, must_be_root};
use crate::dump::choice::Machine;
use crate::dump::namespace::Inhabitant;
use crate::dump::{Belonging, Contents, Namespace, Part, Table};
use crate::failure::Failure;
use crate::intent::{ClusterId, Intent};
use crate::kernel::{Refusal, Scope, contents, namespaces};
use crate::node::process::Program;
use crate::node::{LinkKind, Owner, Process, Sandbox, SandboxName};
use crate::render::english::count;
use crate::render::table::table;

/// Longer commands are cut in the table.
const LONGEST_COMMAND: usize = 32;

/// A sandbox on one line.
#[derive(Serialize)]
struct Row {
    name: String,
    kind: &'static str,
    belongs_to: String,
    /// None where the namespace may not be entered.
    addresses: Option<Vec<String>>,
    links: Option<usize>,
    virtual_servers: Option<usize>,
    process: Option<String>,
    #[serde(flatten)]
    namespace: Option<Namespace>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unreadable: Option<String>,
}

pub fn run(global: &Global, which: Which) -> Result<Report, Failure> {
    let what = "list sandboxes";
    let session = Session::new(global, what)?;
    let rows = match session.is_recorded() {
        true => recorded(&session, which)?,
        false => found(&session, which, what)?,
    };
    if global.format == Format::Json {
        return Report::json(&rows);
    }
    if global.quiet {
        return Ok(Report::lines(rows.iter().map(|row| &row.name)));
    }
    let heading = ["SANDBOX", "KIND", "BELONGS TO", "ADDRESSES", "VIRTUAL SERVERS", "PROCESSES"];
    Ok(Report::good(table(heading, rows.iter().map(cells).collect())))
}

fn cells(row: &Row) -> [String; 6] {
    let unknown = || "?".to_owned();
    [
        row.name.clone(),
        row.kind.into(),
        row.belongs_to.clone(),
        row.addresses.as_ref().map_or_else(unknown, |addresses| addresses.join(" ")),
        row.virtual_servers.map_or_else(unknown, |count| count.to_string()),
        processes(row),
    ]
}

/// `4711 builtin:whoami`, `4711 nginx: master process and 4 more`
fn processes(row: &Row) -> String {
    let inhabitants = row.namespace.as_ref().map_or(&[][..], |namespace| &namespace.processes);
    let first = match (&row.process, inhabitants.first()) {
        (Some(process), Some(first)) => format!("{} {process}", first.pid),
        (Some(process), None) => process.clone(),
        (None, Some(Inhabitant { pid, command, .. })) => format!("{pid} {}", cut(command)),
        (None, None) => return "-".into(),
    };
    match inhabitants.len() {
        0 | 1 => first,
        n => format!("{first} and {} more", n - 1),
    }
}

fn cut(command: &str) -> String {
    match command.char_indices().nth(LONGEST_COMMAND) {
        Some((end, _)) => format!("{}…", &command[..end]),
        None => command.to_owned(),
    }
}

fn words(process: &Process) -> String {
    match &process.program {
        Program::Whoami => "builtin:whoami".into(),
        Program::Echo { .. } => "builtin:echo".into(),
        Program::Host(words) => words.join(" "),
        Program::Container(container) => container.image.to_string(),
    }
}

/// What a recorded node has.
fn recorded(session: &Session, which: Which) -> Result<Vec<Row>, Failure> {
    let intent = session.intent()?;
    let scope = match which.all {
        true => Scope::All,
        false => Scope::Cluster(intent.cluster.id.clone(), Vec::new()),
    };
    let node = session.observe(&scope)?;
    let wanted = node.sandboxes.iter().filter(|_| !which.docker);
    Ok(wanted.map(|(name, sandbox)| recorded_row(&intent, name, sandbox)).collect())
}

fn recorded_row(intent: &Intent, name: &SandboxName, sandbox: &Sandbox) -> Row {
    let owner = match &sandbox.owner {
        Owner::Cluster(id) | Owner::Guest(id) => Some(id),
        Owner::Foreign => None,
    };
    let belonging = Belonging::recorded(name, owner, intent);
    let dispatches = sandbox.table.as_ref().map_or(0, |table| table.dispatches.len());
    let addresses = sandbox.addresses.iter().map(|address| address.net.to_string());
    Row {
        name: name.to_string(),
        kind: belonging.kind(),
        belongs_to: belonging.to_string(),
        addresses: Some(addresses.collect()),
        links: Some(sandbox.links.len()),
        virtual_servers: Some(sandbox.virtual_servers.len() + dispatches),
        process: sandbox.process.as_ref().map(words),
        namespace: None,
        unreadable: None,
    }
}

/// What this machine has.
fn found(session: &Session, which: Which, what: &str) -> Result<Vec<Row>, Failure> {
    let intent = match which.docker || which.all {
        true => known_intent(session),
        false => {
            must_be_root(what)?;
            Some(session.intent()?)
        }
    };
    let processes = session.processes();
    let machine = namespaces::machine();
    let mut rows = Vec::new();
    for namespace in &machine.namespaces {
        let is_attached = || {
            let held = intent.iter().flat_map(|intent| intent.attachments.values());
            held.into_iter().any(|held| namespace.is_at(&held.namespace.path))
        };
        let wanted = match (which.docker, which.all) {
            (_, true) => true,
            (true, _) => namespace.in_docker().is_some(),
            _ => namespace.named().is_some() || is_attached(),
        };
        if wanted {
            let (row, belonging) = row(namespace, intent.as_ref(), &machine, &processes);
            let kept = which.all || (which.docker && belonging.is_dockers());
            if kept || (!which.docker && belonging.concerns_us()) {
                rows.push(row);
            }
        }
    }
    tell_of_hidden(&rows, &machine);
    rows.sort_by(|one, other| (rank(one), &one.name).cmp(&(rank(other), &other.name)));
    Ok(rows)
}

fn tell_of_hidden(rows: &[Row], machine: &Machine) {
    let unreadable: Vec<&String> = rows.iter().filter_map(|row| row.unreadable.as_ref()).collect();
    if let Some(why) = unreadable.first() {
        let sandboxes = count(unreadable.len(), "sandbox");
        tell(&format!("{sandboxes} could not be looked into: {why}."));
    }
    if machine.hidden > 0 && !nix::unistd::geteuid().is_root() {
        let hidden = machine.hidden;
        tell(&format!(
            "The namespaces of {hidden} other users' processes are not shown: this needs root."
        ));
    }
}

/// Ours first, the machine's own last.
fn rank(row: &Row) -> usize {
    let order = [
        "task",
        "network",
        "ingress",
        "attached",
        "left over",
        "foreign",
        "docker",
        "named",
        "anonymous",
        "host",
    ];
    order.iter().position(|kind| *kind == row.kind).unwrap_or(order.len())
}

fn row(
    namespace: &Namespace,
    intent: Option<&Intent>,
    machine: &Machine,
    processes: &BTreeMap<SandboxName, Process>,
) -> (Row, Belonging) {
    let nobodys = Intent::new(ClusterId(String::new()));
    let name = machine.name(namespace);
    let opened = namespaces::open(namespace).map_err(Refusal::from);
    let looked = opened.and_then(|file| {
        let tables = [Table::Links, Table::Ipvs].into();
        Ok((contents::read(&file, namespace, &tables, machine)?, file))
    });
    let looked = looked.map_err(|refusal| refusal.to_string());
    // The name that its mark has is the one below /run/netns.
    let marked = sandbox_name(namespace.named().unwrap_or(&name));
    let owner = looked.as_ref().ok().and_then(|(contents, _)| contents.owner(&marked));
    let intent = intent.unwrap_or(&nobodys);
    let contents = looked.as_ref().ok();
    let belonging = Belonging::of(namespace, owner.as_ref(), intent, &machine.containers);
    let belonging = match contents {
        Some((held, _)) => belonging.joined(held, intent),
        None => belonging,
    };
    let process = processes.get(&marked).filter(|_| belonging.is_ours()).map(words);
    let row = Row {
        name,
        kind: belonging.kind(),
        belongs_to: belonging.to_string(),
        addresses: contents.map(|(contents, _)| addresses(contents)),
        links: contents.and_then(|(contents, _)| Some(contents.links.as_ref()?.read()?.len())),
        virtual_servers: contents
            .map(|(contents, file)| virtual_servers(contents, file, belonging.concerns_us())),
        process,
        namespace: Some(namespace.clone()),
        unreadable: looked.err(),
    };
    (row, belonging)
}

/// Of both families, but for those that the kernel made by itself.
fn addresses(contents: &Contents) -> Vec<String> {
    let links = contents.links.as_ref().and_then(Part::read);
    let chosen = links.into_iter().flatten().filter(|link| link.kind != LinkKind::Loopback);
    chosen
        .flat_map(|link| &link.addresses)
        .filter(|address| address.scope != "link")
        .map(|address| address.net.to_string())
        .collect()
}

/// Of whichever data plane.
fn virtual_servers(contents: &Contents, file: &File, ours: bool) -> usize {
    let balanced = contents.ipvs.as_ref().and_then(Part::read).map_or(0, Vec::len);
    let table = if ours { own_table(file, contents) } else { None };
    balanced + table.map_or(0, |table| table.dispatches.len())
}
