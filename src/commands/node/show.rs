//! `swarmlb node ls` and `node inspect`.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::agent::status::NodeStatus;
use crate::cli::node::Filter;
use crate::cli::task::List;
use crate::cli::{Format, Global};
use crate::commands::Report;
use crate::commands::session::Session;
use crate::commands::task::{self, Which};
use crate::failure::Failure;
use crate::intent::{Availability, Intent, NodeName, NodeRecord};
use crate::render::table::{printable, table};

/// Docker's word for the node that a command is typed on.
const SELF: &str = "self";

/// A node, as it is told.
#[derive(Serialize)]
struct Row<'a> {
    id: &'a str,
    hostname: &'a NodeName,
    /// Whether this is the node that was asked.
    #[serde(rename = "self")]
    own: bool,
    status: &'static str,
    availability: Availability,
    /// Whether its agent decides for all.
    leader: bool,
    address: Option<String>,
    port: Option<u16>,
    labels: &'a BTreeMap<String, String>,
    data_plane: &'static str,
    /// How many tasks were placed there.
    tasks: usize,
    /// The fingerprint of the certificate that it shows to others.
    certificate: Option<&'a str>,
}

fn row<'a>(
    intent: &'a Intent,
    statuses: &BTreeMap<NodeName, NodeStatus>,
    session: &Session,
    leader: Option<&NodeName>,
    node: &'a NodeRecord,
) -> Row<'a> {
    Row {
        id: &node.id,
        hostname: &node.name,
        own: node.name == session.node,
        status: if statuses.contains_key(&node.name) { "ready" } else { "down" },
        availability: node.availability,
        leader: leader == Some(&node.name),
        address: node.address.map(|address| address.to_string()),
        port: node.port,
        labels: &node.labels,
        data_plane: if node.ipvs { "ipvs" } else { "nftables" },
        tasks: intent.tasks.values().filter(|task| task.node == node.name).count(),
        certificate: node.certificate.as_deref(),
    }
}

/// Whether a node is one of those asked for: one of the ids, one of the names, all of the labels.
fn fits(node: &NodeRecord, filters: &[Filter]) -> bool {
    let any = |fit: &dyn Fn(&Filter) -> Option<bool>| {
        let mut fits = filters.iter().filter_map(fit).peekable();
        fits.peek().is_none() || fits.any(|fits| fits)
    };
    let has = |key: &String, value: &Option<String>| {
        let held = node.labels.get(key);
        held.is_some_and(|held| value.as_ref().is_none_or(|value| value == held))
    };
    any(&|filter| match filter {
        Filter::Id(part) => Some(node.id.starts_with(part)),
        _ => None,
    }) && any(&|filter| match filter {
        Filter::Name(part) => Some(node.name.as_str().starts_with(part)),
        _ => None,
    }) && filters.iter().all(|filter| match filter {
        Filter::Label(key, value) => has(key, value),
        _ => true,
    })
}

/// The nodes that are meant, `self` and none being this one.
fn meant(session: &Session, names: &[NodeName]) -> Vec<NodeName> {
    let own = |name: &NodeName| name.as_str() == SELF;
    match names {
        [] => vec![session.node.clone()],
        names => names
            .iter()
            .map(|name| if own(name) { session.node.clone() } else { name.clone() })
            .collect(),
    }
}

/// The tasks of nodes, a line each.
pub fn ps(global: &Global, names: &[NodeName], options: &List) -> Result<Report, Failure> {
    let what = "list the tasks of a node";
    let session = Session::new(global, what)?;
    let nodes = meant(&session, names);
    let intent = session.intent()?;
    for name in &nodes {
        intent.node(name).map_err(|error| Failure::intent(what, &error))?;
    }
    task::list(global, Which::OnNodes(&nodes), options, what.into())
}

/// The nodes of the cluster, a line each.
pub fn ls(global: &Global, filters: &[Filter]) -> Result<Report, Failure> {
    let session = Session::new(global, "list nodes")?;
    let intent = session.intent()?;
    let statuses = session.statuses()?;
    let leader = session.leader()?;
    let of = |node| row(&intent, &statuses, &session, leader.as_ref(), node);
    let rows = intent.nodes.values().filter(|node| fits(node, filters)).map(of);
    let rows: Vec<Row<'_>> = rows.collect();
    if global.format == Format::Json {
        return Report::json(&rows);
    }
    if global.quiet {
        return Ok(Report::lines(rows.iter().map(|row| row.id)));
    }
    let cells = rows.iter().map(|row| {
        let id: String = row.id.chars().take(12).collect();
        [
            if row.own { format!("{id} *") } else { id },
            row.hostname.to_string(),
            capital(row.status),
            capital(&row.availability.to_string()),
            if row.leader { "Leader".into() } else { String::new() },
            row.address.clone().unwrap_or_else(|| "-".into()),
            row.tasks.to_string(),
        ]
    });
    let heading =
        ["ID", "HOSTNAME", "STATUS", "AVAILABILITY", "MANAGER STATUS", "ADDRESS", "TASKS"];
    Ok(Report::good(table(heading, cells.collect())))
}

/// As Docker writes it in a table.
fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// All that is known of nodes, for people or programs.
pub fn inspect(global: &Global, names: &[NodeName], pretty: bool) -> Result<Report, Failure> {
    let what = "inspect a node";
    let session = Session::new(global, what)?;
    let intent = session.intent()?;
    let statuses = session.statuses()?;
    let leader = session.leader()?;
    let mut rows = Vec::new();
    for name in meant(&session, names) {
        let node = intent.node(&name).map_err(|error| Failure::intent(what, &error))?;
        rows.push(row(&intent, &statuses, &session, leader.as_ref(), node));
    }
    if pretty && global.format != Format::Json {
        let texts: Vec<String> = rows.iter().map(in_words).collect();
        return Ok(Report::good(texts.join("\n")));
    }
    Report::json(&rows)
}

/// A node, a fact a line.
fn in_words(row: &Row<'_>) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: &str| {
        text.push_str(&format!("{:<15}{}\n", format!("{label}:"), printable(value)));
    };
    line("ID", row.id);
    line("Hostname", row.hostname.as_str());
    for (key, value) in row.labels {
        line("Label", &format!("{key}={value}"));
    }
    line("State", &capital(row.status));
    line("Availability", &capital(&row.availability.to_string()));
    if row.leader {
        line("Leader", "yes");
    }
    if let Some(address) = &row.address {
        line("Address", address);
    }
    if let Some(port) = row.port {
        line("Port", &port.to_string());
    }
    line("Data plane", row.data_plane);
    line("Tasks", &row.tasks.to_string());
    if let Some(certificate) = row.certificate {
        line("Certificate", &format!("SHA-256 {certificate}"));
    }
    text
}
