//! From what was typed to an open namespace.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::dump::Namespace;
use crate::dump::choice::{Choice, Machine, NoChoice};
use crate::failure::{Exit, Failure};
use crate::intent::name;
use crate::kernel::{namespaces, netns};

/// A namespace to look into.
pub struct Target {
    pub file: File,
    pub namespace: Namespace,
    pub name: String,
}

/// Finds what an argument means.
pub fn find(machine: &Machine, argument: &str, what: &str) -> Result<Target, Failure> {
    match machine.choose(argument) {
        Ok(Choice::Path(path)) => by_path(machine, path, what),
        Ok(Choice::Process(pid)) => by_process(machine, pid, what),
        Ok(Choice::Namespace(namespace)) => open(machine, namespace, what),
        Err(NoChoice::Unknown { meant }) => {
            let known = machine.namespaces.iter().filter_map(Namespace::named).collect();
            Err(unknown(&known, argument, meant, what))
        }
        Err(error @ NoChoice::Ambiguous { .. }) => {
            Err(Failure::new(Exit::Usage, what, error).hint("give more of it"))
        }
    }
}

/// Opens a namespace that was found.
pub fn open(machine: &Machine, namespace: &Namespace, what: &str) -> Result<Target, Failure> {
    let file = namespaces::open(namespace).map_err(|error| Failure::io(what, &error))?;
    Ok(Target { file, namespace: namespace.clone(), name: machine.name(namespace) })
}

fn by_path(machine: &Machine, path: &str, what: &str) -> Result<Target, Failure> {
    let shown = path.escape_debug();
    // A pipe would keep who opens it waiting.
    let opened =
        File::options().read(true).custom_flags(nix::libc::O_NONBLOCK).open(Path::new(path));
    let file = opened.map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            Failure::new(Exit::Usage, what, format!("there is no file {shown}"))
                .hint("see `swarmlb sandbox ls --all`")
        }
        _ => Failure::io(what, &error),
    })?;
    if !namespaces::is_one(&file) {
        let problem = format!("{shown} is no network namespace");
        return Err(Failure::new(Exit::Usage, what, problem)
            .hint("that of a process is /proc/PID/ns/net; see `swarmlb sandbox ls --all`"));
    }
    let inode = netns::inode(&file).map_err(|error| Failure::io(what, &error))?;
    Ok(known(machine, file, inode, path))
}

fn by_process(machine: &Machine, pid: i32, what: &str) -> Result<Target, Failure> {
    let path = namespaces::process_path(pid);
    let opened = File::open(&path).and_then(|file| Ok((netns::inode(&file)?, file)));
    let (inode, file) = opened.map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            Failure::new(Exit::Usage, what, format!("there is no process {pid}, or it ended"))
                .hint("see `swarmlb sandbox ls --all`")
        }
        _ => Failure::io(what, &error),
    })?;
    Ok(known(machine, file, inode, &path.display().to_string()))
}

/// One that was found another way is called as it is called there.
fn known(machine: &Machine, file: File, inode: u64, path: &str) -> Target {
    match machine.of_inode(inode) {
        Some(namespace) => {
            Target { file, namespace: namespace.clone(), name: machine.name(namespace) }
        }
        None => {
            let namespace =
                Namespace { inode, paths: vec![path.to_owned()], ..Namespace::default() };
            Target { file, namespace, name: path.to_owned() }
        }
    }
}

/// The answer to a name that no sandbox has.
pub fn unknown(known: &BTreeSet<&str>, name: &str, meant: Option<String>, what: &str) -> Failure {
    let failure = Failure::new(Exit::Usage, what, "there is no such sandbox");
    let first = format!("{name}.1");
    if known.contains(first.as_str()) {
        return failure.hint(format!("`{name}` is a service: its first task is `{first}`"));
    }
    let meant = meant.or_else(|| name::nearest(name, known.iter().copied()).map(Into::into));
    match meant {
        Some(meant) => failure.hint(format!("did you mean `{meant}`?")),
        None => failure.hint("see `swarmlb sandbox ls --all`"),
    }
}
