//! `swarmlb node drain`, `activate`, `update` and `rm`.

use std::collections::{BTreeMap, BTreeSet};

use super::Report;
use crate::cli::Global;
use crate::cli::node::{self, Update};
use crate::clock;
use crate::commands::session::Session;
use crate::failure::{Exit, Failure};
use crate::intent::{Availability, Intent, IntentError, NodeName};

/// Says whether nodes take tasks.
pub fn availability(
    global: &Global,
    names: &[NodeName],
    wanted: Availability,
) -> Result<Report, Failure> {
    edit(global, "change what takes tasks", names, |intent, name| {
        set_availability(intent, name, wanted)
    })
}

fn set_availability(
    intent: &mut Intent,
    name: &NodeName,
    wanted: Availability,
) -> Result<(), IntentError> {
    match wanted {
        Availability::Active => intent.activate_node(name, clock::millis()),
        Availability::Drain => intent.drain_node(name, clock::millis()),
    }
}

pub fn update(global: &Global, asked: &Update) -> Result<Report, Failure> {
    let changes = &asked.changes;
    let added = changes.label_add.iter().map(|label| (label.key.clone(), label.value.clone()));
    let added: BTreeMap<String, String> = added.collect();
    let removed: BTreeSet<String> = changes.label_rm.iter().cloned().collect();
    let wanted = changes.availability.map(|wanted| match wanted {
        node::Availability::Active => Availability::Active,
        node::Availability::Drain => Availability::Drain,
    });
    let names = std::slice::from_ref(&asked.name);
    edit(global, "update a node", names, |intent, name| {
        intent.label_node(name, added.clone(), &removed, clock::millis())?;
        wanted.map_or(Ok(()), |wanted| set_availability(intent, name, wanted))
    })
}

/// Edits the record of each of these nodes, and tells their names.
fn edit(
    global: &Global,
    what: &str,
    names: &[NodeName],
    change: impl Fn(&mut Intent, &NodeName) -> Result<(), IntentError>,
) -> Result<Report, Failure> {
    let session = Session::new(global, what)?;
    let store = session.store()?;
    session.edit(&store, |intent| names.iter().try_for_each(|name| change(intent, name)))?;
    Ok(Report::lines(names))
}

pub fn rm(global: &Global, names: &[NodeName], force: bool) -> Result<Report, Failure> {
    let what = "take a node out of the cluster";
    let session = Session::new(global, what)?;
    let statuses = session.statuses()?;
    if let Some(own) = names.iter().find(|name| **name == session.node) {
        return Err(Failure::new(Exit::Usage, what, format!("`{own}` is this node"))
            .hint("see `swarmlb node leave`"));
    }
    if let Some(name) = names.iter().find(|name| !force && statuses.contains_key(*name)) {
        let problem = format!("node `{name}` lives");
        return Err(Failure::new(Exit::Usage, what, problem)
            .hint("type `swarmlb node leave` there; `--force` takes it out as it is"));
    }
    edit(global, what, names, |intent, name| intent.dismiss_node(name, clock::millis()))
}
