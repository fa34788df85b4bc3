//! `swarmlb sandbox …`

use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;

use serde::Serialize;

use super::Report;
use super::session::{Session, must_be_root};
use crate::cli::sandbox::{Command, Table};
use crate::cli::{Format, Global};
use crate::failure::{Exit, Failure};
use crate::intent::{Intent, name};
use crate::keeper::child;
use crate::kernel::linux::{Linux, NoProcesses};
use crate::kernel::{Kernel, Scope, netns, nft, program, traffic};
use crate::node::{Node, Owner, SandboxName};
use crate::render::dump::{self, ChainKind, Names};
use crate::render::table::table;

pub fn run(global: &Global, command: Command) -> Result<Report, Failure> {
    match command {
        Command::Ls { all } => ls(global, all),
        Command::Dump { name, tables } => show(global, &name, &tables),
        Command::Exec { name, command } => exec(global, &name, &command),
    }
}

/// A sandbox on one line.
#[derive(Serialize)]
struct Row {
    name: String,
    kind: &'static str,
    belongs_to: String,
    addresses: Vec<String>,
    virtual_servers: usize,
    process: Option<String>,
}

fn ls(global: &Global, all: bool) -> Result<Report, Failure> {
    let session = Session::new(global, "list sandboxes")?;
    let intent = session.intent()?;
    let scope = match all {
        true => Scope::All,
        false => Scope::Cluster(intent.cluster.id.clone(), Vec::new()),
    };
    let node = session.observe(&scope)?;
    let rows: Vec<Row> = node.sandboxes.keys().map(|name| row(&intent, &node, name)).collect();
    if global.format == Format::Json {
        return Report::json(&rows);
    }
    if global.quiet {
        return Ok(Report::lines(rows.iter().map(|row| &row.name)));
    }
    let cells = rows.into_iter().map(|row| {
        [
            row.name,
            row.kind.into(),
            row.belongs_to,
            row.addresses.join(" "),
            row.virtual_servers.to_string(),
            row.process.unwrap_or_else(|| "-".into()),
        ]
    });
    let heading = ["SANDBOX", "KIND", "BELONGS TO", "ADDRESSES", "VIRTUAL SERVERS", "PROCESS"];
    Ok(Report::good(table(heading, cells.collect())))
}

fn row(intent: &Intent, node: &Node, name: &SandboxName) -> Row {
    let sandbox = &node.sandboxes[name];
    let task = intent.tasks.values().find(|task| SandboxName::from(&task.name) == *name);
    let network = intent.networks.values().find(|n| SandboxName::from(&n.name) == *name);
    let ours = sandbox.owner == Owner::Cluster(intent.cluster.id.clone());
    let (kind, belongs_to) = match (ours, task, network) {
        (true, Some(task), _) => ("task", format!("service {}", task.name.service)),
        (true, None, Some(network)) => ("overlay", format!("network {}", network.name)),
        (true, None, None) => ("left over", "nothing any more".into()),
        (false, _, _) => match &sandbox.owner {
            Owner::Cluster(id) => ("foreign", format!("swarmlb cluster {id}")),
            Owner::Guest(id) if *id == intent.cluster.id => ("node", "the gateway bridge".into()),
            Owner::Guest(id) => ("foreign", format!("swarmlb cluster {id}")),
            Owner::Foreign => ("foreign", "-".into()),
        },
    };
    let dispatches = sandbox.table.as_ref().map_or(0, |table| table.dispatches.len());
    Row {
        name: name.to_string(),
        kind,
        belongs_to,
        addresses: sandbox.addresses.iter().map(|address| address.net.to_string()).collect(),
        virtual_servers: sandbox.virtual_servers.len() + dispatches,
        process: sandbox.process.as_ref().map(|process| match &process.program {
            crate::node::process::Program::Whoami => "builtin:whoami".into(),
            crate::node::process::Program::Host(words) => words.join(" "),
        }),
    }
}

fn show(global: &Global, name: &str, tables: &[Table]) -> Result<Report, Failure> {
    let what = format!("dump sandbox `{}`", name.escape_debug());
    let session = Session::new(global, what.as_str())?;
    let intent = session.intent()?;
    let sandbox_name = SandboxName(name.to_owned());
    // The other ends of its links are in other sandboxes of ours.
    let scope = match session.is_recorded() {
        true => Scope::All,
        false => Scope::Cluster(intent.cluster.id.clone(), vec![sandbox_name.clone()]),
    };
    let node = session.observe(&scope)?;
    let Some(sandbox) = node.sandboxes.get(&sandbox_name) else {
        return Err(no_sandbox(&node, name, what));
    };
    if global.format == Format::Json {
        let only = Node { sandboxes: [(sandbox_name, sandbox.clone())].into() };
        return Report::json(&only);
    }
    let names = Names::of(&intent);
    let all = [
        Table::Links,
        Table::Routes,
        Table::Mangle,
        Table::Nat,
        Table::Filter,
        Table::Ipvs,
        Table::Sysctl,
    ];
    let wanted = if tables.is_empty() { &all[..] } else { tables };
    let failed = |refusal| Failure::kernel(what.as_str(), &refusal);
    let ruleset = match session.is_recorded() {
        true => None,
        false => {
            let namespace =
                netns::open(name).map_err(|error| Failure::io(what.as_str(), &error))?;
            Some(nft::text(namespace.as_fd()).map_err(failed)?)
        }
    };
    let rules = |kind| match &ruleset {
        Some(ruleset) => dump::rules(ruleset, kind, &names),
        None => "(a recorded node does not hold the text of rules; see --format json)\n".into(),
    };
    let mut text = String::new();
    for (number, table) in wanted.iter().enumerate() {
        if number > 0 {
            text.push('\n');
        }
        if wanted.len() > 1 {
            text.push_str(&format!("# {}\n", heading(*table)));
        }
        text.push_str(&match table {
            Table::Mangle => rules(ChainKind::Mangle),
            Table::Nat => rules(ChainKind::Nat),
            Table::Filter => rules(ChainKind::Filter),
            Table::Ipvs if session.is_recorded() => {
                "(a recorded node has no counters; see --format json)\n".into()
            }
            Table::Ipvs => match traffic::entries(&sandbox_name).map_err(failed)? {
                Some(entries) => dump::ipvs(&entries, &names),
                None => "(this kernel has no IPVS: module ip_vs is missing)\n".into(),
            },
            Table::Links => dump::links(sandbox, &names),
            Table::Routes => dump::routes(sandbox, &names),
            Table::Sysctl => dump::sysctls(sandbox),
        });
    }
    Ok(Report::good(text))
}

fn heading(table: Table) -> &'static str {
    match table {
        Table::Mangle => "mangle: which packets are marked",
        Table::Nat => "nat: which packets are rewritten",
        Table::Filter => "filter: which packets are refused",
        Table::Ipvs => "ipvs: virtual and real servers",
        Table::Links => "links and addresses",
        Table::Routes => "local routes to VIPs",
        Table::Sysctl => "kernel settings that differ from their default",
    }
}

/// The answer to a name that no sandbox has.
pub fn no_sandbox(node: &Node, name: &str, what: String) -> Failure {
    let failure = Failure::new(Exit::Usage, what, "there is no such sandbox");
    let first = format!("{name}.1");
    if node.sandboxes.contains_key(&SandboxName(first.clone())) {
        return failure.hint(format!("`{name}` is a service: its first task is `{first}`"));
    }
    match name::nearest(name, node.sandboxes.keys().map(SandboxName::as_str)) {
        Some(meant) => failure.hint(format!("did you mean `{meant}`?")),
        None => failure.hint("see `swarmlb sandbox ls --all`"),
    }
}

/// Becomes the command, inside the sandbox; its exit code is the program's.
fn exec(global: &Global, name: &str, words: &[String]) -> Result<Report, Failure> {
    let what = format!("run a command in sandbox `{}`", name.escape_debug());
    let session = Session::new(global, what.as_str())?;
    must_be_root(&what)?;
    let namespace = match netns::open(name) {
        Ok(namespace) if !name.contains('/') => namespace,
        _ => {
            let node = Linux::new(NoProcesses).observe(&Scope::All).unwrap_or_default();
            return Err(no_sandbox(&node, name, what));
        }
    };
    let failed = |error: &std::io::Error| Failure::io(what.as_str(), error);
    let Some((first, rest)) = words.split_first() else {
        return Err(Failure::new(Exit::Usage, what, "the command is missing"));
    };
    let path = match first.contains('/') {
        true => std::path::PathBuf::from(first),
        false => program::find(first).ok_or_else(|| {
            Failure::new(
                Exit::Usage,
                what.as_str(),
                format!("there is no program `{}`", first.escape_debug()),
            )
        })?,
    };
    // Other sandboxes have no resolver of ours; their processes resolve as the machine does.
    let resolv = session.state.task(&SandboxName(name.to_owned())).join("resolv.conf");
    let resolv = if resolv.exists() { resolv } else { "/etc/resolv.conf".into() };
    child::enter_now(&namespace, &resolv).map_err(|error| failed(&error))?;
    let error = program::command(path).args(rest).stdin(std::process::Stdio::inherit()).exec();
    Err(Failure::io(what, &error))
}
