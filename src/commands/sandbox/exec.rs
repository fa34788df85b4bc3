//! `swarmlb sandbox exec`

use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::find::{Target, find};
use super::sandbox_name;
use crate::cli::Global;
use crate::commands::Report;
use crate::commands::session::{Session, must_be_root};
use crate::dump::choice::Machine;
use crate::failure::{Exit, Failure};
use crate::keeper::child;
use crate::kernel::{namespaces, program};

/// Becomes the command, inside the sandbox; its exit code is the program's.
pub fn run(global: &Global, name: &str, words: &[String]) -> Result<Report, Failure> {
    let what = format!("run a command in sandbox `{}`", name.escape_debug());
    let session = Session::new(global, what.as_str())?;
    must_be_root(&what)?;
    let machine = namespaces::machine();
    let target = find(&machine, name, &what)?;
    let Some((first, rest)) = words.split_first() else {
        return Err(Failure::new(Exit::Usage, what, "the command is missing"));
    };
    let path = match first.contains('/') {
        true => PathBuf::from(first),
        false => program::find(first).ok_or_else(|| no_command(&what, first))?,
    };
    let resolv_conf = resolv_conf(&session, &machine, &target);
    child::enter_now(&target.file, resolv_conf.as_deref())
        .map_err(|error| Failure::io(what.as_str(), &error))?;
    let error = program::command(path).args(rest).stdin(Stdio::inherit()).exec();
    Err(match error.kind() {
        ErrorKind::NotFound => no_command(&what, first),
        _ => {
            let Failure { problem, .. } = Failure::io(what.as_str(), &error);
            let problem = format!("`{}`: {problem}", first.escape_debug());
            Failure::new(Exit::NotRunnable, what, problem)
        }
    })
}

fn no_command(what: &str, first: &str) -> Failure {
    let problem = format!("there is no program `{}`", first.escape_debug());
    Failure::new(Exit::NoCommand, what, problem)
}

/// What resolves names there; none where the machine's own does.
fn resolv_conf(session: &Session, machine: &Machine, target: &Target) -> Option<PathBuf> {
    let named = target.namespace.named();
    let task = named.map(|name| session.state.task(&sandbox_name(name)).join("resolv.conf"));
    let container = machine.container_in(&target.namespace);
    let dockers = container.and_then(|container| container.resolv_conf.as_ref()).map(PathBuf::from);
    // As `ip netns exec` does.
    let custom = named.map(|name| Path::new("/etc/netns").join(name).join("resolv.conf"));
    [task, dockers, custom].into_iter().flatten().find(|path| path.is_file())
}
