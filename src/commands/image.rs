//! `swarmlb image …`

mod progress;
mod show;

use std::io::Write;

use super::session::must_be_root;
use super::{Report, confirmation};
use crate::cli::image::{Command, Pull};
use crate::cli::{Format, Global};
use crate::failure::Failure;
use crate::image::{
    ImageError, Platform, PullOptions, Reference, Removed, Store, usual_credentials,
};
use crate::render::english::count;
use crate::render::figure;
use crate::state_dir::StateDir;
use progress::Bars;

pub fn run(global: &Global, command: Command) -> Result<Report, Failure> {
    match command {
        Command::Pull(pull) => bring(global, &pull),
        Command::Ls(list) => show::ls(global, &list),
        Command::Inspect { images } => show::inspect(global, &images),
        Command::Prune { all, force } => prune(global, all, force),
        Command::Rm { images, force } => rm(global, &images, force),
    }
}

/// The images of this node.
fn store(global: &Global, what: &str) -> Result<Store, Failure> {
    must_be_root(what)?;
    let state = StateDir::new(&global.state_dir).map_err(|error| Failure::io(what, &error))?;
    state.create().map_err(|error| Failure::state(&state, &error))?;
    Store::open(&state).map_err(|error| Failure::image(what, &error))
}

/// A name that was typed here. What lies in a file is meant from where it was typed.
fn placed(reference: &Reference) -> Reference {
    match std::env::current_dir() {
        Ok(here) => reference.clone().below(&here),
        Err(_) => reference.clone(),
    }
}

/// What was typed, and the name that it may be.
fn named(typed: &str) -> (String, Option<Reference>) {
    (typed.to_owned(), typed.parse().ok().map(|reference| placed(&reference)))
}

fn bring(global: &Global, pull: &Pull) -> Result<Report, Failure> {
    let options = PullOptions {
        platform: pull.platform.clone().unwrap_or_else(Platform::here),
        insecure: pull.registries.insecure.clone(),
        credentials: pull.registries.credentials.clone().or_else(usual_credentials),
        ..PullOptions::default()
    };
    let mut told = Vec::new();
    for reference in &pull.images {
        let reference = placed(reference);
        let what = format!("pull image `{reference}`");
        let store = store(global, &what)?;
        let bars = Bars::new(global.quiet);
        let brought = store.pull(&reference, &options, &bars);
        bars.end();
        if let Err(error) = brought {
            let failure = Failure::image(what, &error);
            return Err(match told.is_empty() {
                true => failure,
                false => failure.fact("pulled", told.join(", ")),
            });
        }
        told.push(reference.to_string());
    }
    Ok(Report::lines(told))
}

fn rm(global: &Global, images: &[String], force: bool) -> Result<Report, Failure> {
    let what = format!("remove image `{}`", images.join("`, `").escape_debug());
    let store = store(global, &what)?;
    let wanted: Vec<_> = images.iter().map(|typed| named(typed)).collect();
    let removed = store.remove(&wanted, force);
    let removed = removed.map_err(|error| Failure::image(what.as_str(), &error))?;
    told(global, &removed)
}

fn prune(global: &Global, all: bool, force: bool) -> Result<Report, Failure> {
    let what = "remove unused images";
    let store = store(global, what)?;
    let failed = |error: ImageError| Failure::image(what, &error);
    let index = store.index().map_err(failed)?;
    let unused = store.unused(&index, all).map_err(failed)?;
    if !force && !unused.is_empty() {
        let names: Vec<String> = unused.iter().map(|id| show::called(&index, id)).collect();
        let question =
            format!("This removes {}: {}.", count(names.len(), "image"), names.join(", "));
        confirmation::ask(what, &question, "--force")?;
    }
    let pruned = store.prune(all).map_err(failed)?;
    let report = told(global, &pruned.removed)?;
    if !global.quiet && global.format == Format::Table {
        let freed = figure::size(pruned.freed);
        let _ = writeln!(std::io::stderr(), "Total reclaimed space: {freed}");
    }
    Ok(report)
}

/// What was removed, as Docker says it.
fn told(global: &Global, removed: &Removed) -> Result<Report, Failure> {
    if global.format == Format::Json {
        let names: Vec<String> = removed.names.iter().map(ToString::to_string).collect();
        let images: Vec<&str> = removed.images.iter().map(|id| id.as_str()).collect();
        return Report::json(&serde_json::json!({ "untagged": names, "deleted": images }));
    }
    if global.quiet {
        return Ok(Report::lines(&removed.images));
    }
    let names = removed.names.iter().map(|name| format!("Untagged: {name}"));
    let images = removed.images.iter().map(|id| format!("Deleted: {id}"));
    Ok(Report::lines(names.chain(images)))
}
