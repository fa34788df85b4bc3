//! `swarmlb sandbox …`

mod apply;
mod dump;
mod exec;
mod find;
mod ipvs;
mod ls;

use std::io::Write;

use super::Report;
use super::session::Session;
use crate::cli::Global;
use crate::cli::sandbox::Command;
use crate::dump::Contents;
use crate::failure::Failure;
use crate::intent::Intent;
use crate::kernel::contents;
use crate::node::SandboxName;
use crate::plan::runbook::{TABLE, table_of};

pub fn run(global: &Global, command: Command) -> Result<Report, Failure> {
    match command {
        Command::Ls(which) => ls::run(global, which),
        Command::Dump(options) => dump::run(global, options),
        Command::Ipvs(options) => ipvs::run(global, &options),
        Command::Apply(options) => apply::run(global, &options),
        Command::Exec { name, command } => exec::run(global, &name, &command),
    }
}

/// What was asked for, as far as it can be known: what is somebody else's can be looked at without.
fn known_intent(session: &Session) -> Option<Intent> {
    session
        .intent()
        .inspect_err(|failure| {
            tell(&format!(
                "What is this cluster's is shown without its names: {}.",
                failure.problem
            ));
        })
        .ok()
}

fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// swarmlb's own table of nftables in a sandbox: where it is somebody's, that of the guest.
fn own_table(file: &std::fs::File, held: &Contents) -> Option<crate::node::Table> {
    use std::os::fd::AsFd;
    let guest = held.guest().map(|cluster| SandboxName::of_node(&cluster));
    let name = guest.map_or_else(|| TABLE.to_owned(), |guest| table_of(&guest));
    contents::own_table(file.as_fd(), &name)
}

fn sandbox_name(name: &str) -> SandboxName {
    SandboxName(name.into())
}
