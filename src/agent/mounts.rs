//! Keeps each task's own resolv.conf in its place. Whoever replaces the machine's file by another, as
//! systemd-resolved and NetworkManager do, takes along what was mounted on it, in every task: then it
//! is mounted again.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::processes::Known;
use crate::keeper::child;
use crate::keeper::journal::say;
use crate::keeper::record::Record;
use crate::node::SandboxName;
use crate::state_dir::StateDir;

const MACHINES: &str = "/etc/resolv.conf";
/// How often the machine's file is looked at.
const PAUSE: Duration = Duration::from_secs(1);

/// Starts the thread that sees to it.
///
/// # Errors
/// When no thread can be made.
pub fn keep(state: StateDir, known: Arc<Known>) -> io::Result<()> {
    std::thread::Builder::new().name("resolv.conf".into()).spawn(move || {
        // It may have been replaced while no agent was there: the first look is at every task.
        let mut before = None;
        loop {
            let now = identity(MACHINES.as_ref());
            if now.is_some() && now != before {
                match mend_all(&state, &known) {
                    Ok(()) => before = now,
                    Err(error) => say(format!("cannot put a task's resolv.conf back: {error}")),
                }
            }
            std::thread::sleep(PAUSE);
        }
    })?;
    Ok(())
}

/// Which file a path leads to.
fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

fn mend_all(state: &StateDir, known: &Known) -> io::Result<()> {
    let running: Vec<SandboxName> = {
        let known = known.lock();
        let alive = known.values().filter(|running| !running.has_ended());
        alive.map(|running| running.sandbox.clone()).collect()
    };
    let mut failed = None;
    for sandbox in &running {
        let directory = state.task(sandbox);
        // A container has no file of the machine's.
        let record = Record::read(&directory).filter(|record| record.runtime.is_none());
        let Some(record) = record else { continue };
        match mend(&record, &directory.join("resolv.conf")) {
            Ok(false) => {}
            Ok(true) => say(format!("put the resolv.conf of task {sandbox} back")),
            // One that ended meanwhile needs none.
            Err(error) if record.is_alive() => failed = Some(error),
            Err(_) => {}
        }
    }
    failed.map_or(Ok(()), Err)
}

/// Mounts a task's resolv.conf where it is not; whether it was not.
fn mend(record: &Record, own: &Path) -> io::Result<bool> {
    let mounts = File::open(format!("/proc/{}/ns/mnt", record.pid))?;
    if !record.is_alive() {
        return Err(io::ErrorKind::NotFound.into());
    }
    // On a thread of its own: namespaces belong to threads.
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            child::enter_mounts(&mounts)?;
            if identity(own) == identity(MACHINES.as_ref()) {
                return Ok(false);
            }
            child::mount_resolv_conf(own).map(|()| true)
        });
        worker.join().unwrap_or_else(|_| Err(io::Error::other("the thread ended")))
    })
}
