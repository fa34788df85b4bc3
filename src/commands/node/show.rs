//! `swarmlb node ls` and `node inspect`.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::agent::status::NodeStatus;
use crate::cli::{Format, Global};
use crate::commands::Report;
use crate::commands::session::Session;
use crate::failure::Failure;
use crate::intent::{Availability, Intent, NodeName, NodeRecord};
use crate::render::table::table;

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

/// The nodes of the cluster, a line each.
pub fn ls(global: &Global) -> Result<Report, Failure> {
    let session = Session::new(global, "list nodes")?;
    let intent = session.intent()?;
    let statuses = session.statuses()?;
    let leader = session.leader()?;
    let of = |node| row(&intent, &statuses, &session, leader.as_ref(), node);
    let rows = intent.nodes.values().map(of);
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

/// All that is known of nodes, as JSON.
pub fn inspect(global: &Global, names: &[NodeName]) -> Result<Report, Failure> {
    let what = "inspect a node";
    let session = Session::new(global, what)?;
    let intent = session.intent()?;
    let statuses = session.statuses()?;
    let leader = session.leader()?;
    let meant = |name: &NodeName| match name.as_str() {
        SELF => session.node.clone(),
        _ => name.clone(),
    };
    let mut rows = Vec::new();
    for name in names.iter().map(meant) {
        let node = intent.node(&name).map_err(|error| Failure::intent(what, &error))?;
        rows.push(row(&intent, &statuses, &session, leader.as_ref(), node));
    }
    Report::json(&rows)
}
